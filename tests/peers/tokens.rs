//! Logging in by access token: a stand-in that takes one token and no other, and what becomes of mail meanwhile.

use crate::support::client::{letter, submit};
use crate::support::relay::Relay;
use crate::support::smarthost::{Settings, Smarthost};
use crate::support::{folder, write_secret};
use std::path::Path;

const TOP: &str = "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
const BOTH: [(&str, &str); 2] = [("xoauth2", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")];

/// A stand-in that takes the token `fresh` of the user `shop`.
fn server(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Smarthost {
    Smarthost::start(Settings {
        login: Some(("shop".into(), "fresh".into())),
        mechanisms: "PLAIN XOAUTH2 OAUTHBEARER",
        reply: Box::new(reply),
        ..Settings::default()
    })
}

fn config(server: &Smarthost, auth: &str, secret: &str) -> String {
    let port = server.address.port();
    format!(
        "{TOP}[smarthost.out]\nhost = \"localhost\"\nport = {port}\ntls = \"none\"\nauth = \"{auth}\"\n\
         username = \"shop\"\naddress = \"shop@shop.test\"\n{secret}\n"
    )
}

/// A program that prints `stale` the first time, then `fresh`, and keeps count of its runs.
fn program(folder: &Path) -> String {
    let script = folder.join("token.sh");
    let count = folder.join("runs");
    let count = count.display();
    write_secret(
        &script,
        &format!(
            "echo run >> {count}\nif [ $(wc -l < {count}) -gt 1 ]; then echo fresh; else echo stale; fi\n"
        ),
    );
    format!("password_command = [\"sh\", \"{}\"]", script.display())
}

fn logins(server: &Smarthost) -> usize {
    server.transcript().iter().filter(|line| line.starts_with("AUTH")).count()
}

fn send(relay: &Relay, subject: &str) {
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(subject));
}

#[test]
fn a_token_from_a_file_or_a_program_logs_in() {
    for (auth, mechanism) in BOTH {
        let (folder, server) = (folder(), server(|_| None));
        write_secret(&folder.path().join("token"), "fresh\n");
        let relay = Relay::start(folder.path(), &config(&server, auth, "password_file = \"token\""));
        send(&relay, "by-token");
        server.mails(1);
        server.heard(&format!("AUTH {mechanism} "), 1);
        let live = relay.command(&["check", "--live"]);
        live.expect_success();
        assert!(live.text().contains("login good"), "{}", live.text());
        relay.command(&["test", "out", "ana@guest.test"]).expect_success();
        server.mails(2);
        assert!(server.transcript().iter().all(|line| !line.contains("AUTH PLAIN")));
    }
}

#[test]
fn a_token_that_ran_out_is_fetched_once_more_before_the_lane_freezes() {
    for (auth, _) in BOTH {
        let (folder, server) = (folder(), server(|_| None));
        let relay = Relay::start(folder.path(), &config(&server, auth, &program(folder.path())));
        send(&relay, "after-another-token");
        server.mails(1);
        relay.logged(&["access token refused, fetched once more", "lane=out"]);
        assert_eq!(relay.count_logged(&["lane frozen"]), 0);
        assert_eq!(logins(&server), 2, "{:?}", server.transcript());
        let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap();
        assert_eq!(runs.lines().count(), 2, "once for each connection");
    }
}

#[test]
fn a_token_file_that_is_renewed_meanwhile_is_picked_up() {
    let folder = folder();
    let token = folder.path().join("token");
    write_secret(&token, "stale\n");
    let renewed = token.clone();
    let server = server(move |line| {
        // Another program renews it while the first login is being refused.
        if line == "refused" {
            write_secret(&renewed, "fresh\n");
        }
        None
    });
    let relay = Relay::start(folder.path(), &config(&server, "xoauth2", "password_file = \"token\""));
    send(&relay, "renewed");
    server.mails(1);
    assert_eq!((logins(&server), relay.count_logged(&["lane frozen"])), (2, 0));
}

#[test]
fn a_wrong_token_freezes_the_lane_with_what_the_smarthost_said_of_it() {
    for (auth, answer) in [("xoauth2", ""), ("oauthbearer", "AQ==")] {
        let (folder, server) = (folder(), server(|_| None));
        let token = folder.path().join("token");
        write_secret(&token, "no good\n");
        let relay = Relay::start(folder.path(), &config(&server, auth, "password_file = \"token\""));
        send(&relay, "waits");
        relay.logged(&["lane frozen", "lane=out", "status 401"]);
        let lane = relay.lane("out");
        assert_eq!((&lane["state"], &lane["queued"]), (&"frozen".into(), &1.into()), "{lane}");
        let reason = lane["reason"].as_str().unwrap();
        let told =
            "the access token was refused: status 401, scope https://mail.example/, authentication failed";
        assert!(reason.contains(told), "{lane}");
        assert!(lane["advice"].as_str().unwrap().contains("scope"), "{lane}");
        let said = server.transcript();
        assert_eq!(logins(&server), 2, "once more, and no storm: {said:?}");
        assert_eq!(said.iter().filter(|line| *line == answer).count(), 2, "each error is answered: {said:?}");
        // The same words from the commands that only look.
        let tested = relay.command(&["test", "out", "ana@guest.test"]);
        assert_eq!(
            (tested.status.code(), tested.text().contains(told)),
            (Some(77), true),
            "{}",
            tested.text()
        );
        let live = relay.command(&["check", "--live"]);
        assert_eq!((live.status.code(), live.text().contains(told)), (Some(78), true), "{}", live.text());
        let port = server.address.port().to_string();
        let doctor = relay.command(&["doctor", "out", "--timeout", "60", "--port", &port]);
        let words = doctor.text();
        assert_eq!(
            (doctor.status.code(), words.contains("The login by access token came to nothing")),
            (Some(77), true),
            "{words}"
        );
        assert!(!words.contains("app password"), "{words}");
        write_secret(&token, "fresh\n");
        relay.command(&["queue", "retry", "--all"]).expect_success();
        server.mails(1);
    }
}

#[test]
fn a_smarthost_that_falls_silent_behind_its_error_has_refused_the_token() {
    for manner in ["silence", "close"] {
        let (folder, server) = (folder(), server(move |line| (line == "refused").then(|| manner.to_owned())));
        write_secret(&folder.path().join("token"), "no good\n");
        let relay = Relay::start(folder.path(), &config(&server, "xoauth2", "password_file = \"token\""));
        send(&relay, "waits");
        relay.logged(&["lane frozen", "the access token was refused: status 401"]);
        assert_eq!(logins(&server), 2, "{:?}", server.transcript());
    }
}

#[test]
fn logins_that_are_switched_off_are_told_and_not_tried_again() {
    let refused =
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.";
    let (folder, server) =
        (folder(), server(move |line| line.starts_with("AUTH").then(|| refused.to_owned())));
    write_secret(&folder.path().join("token"), "fresh\n");
    let relay = Relay::start(folder.path(), &config(&server, "xoauth2", "password_file = \"token\""));
    send(&relay, "waits");
    relay.logged(&["lane frozen", "lane=out"]);
    let lane = relay.lane("out");
    assert!(lane["advice"].as_str().unwrap().contains("an admin must allow it"), "{lane}");
    assert_eq!(logins(&server), 1, "{:?}", server.transcript());
}

#[test]
fn a_program_that_gives_no_token_stops_the_lane_with_its_name() {
    let (folder, server) = (folder(), server(|_| None));
    let secret = "password_command = [\"sh\", \"-c\", \"exit 3\"]";
    let relay = Relay::start(folder.path(), &config(&server, "xoauth2", secret));
    send(&relay, "waits");
    let line = relay.logged(&["lane stopped", "lane=out"]);
    assert!(line.contains("password_command") && line.contains("run it by hand"), "{line}");
    assert_eq!(server.transcript(), Vec::<String>::new(), "nothing was said without it");
}
