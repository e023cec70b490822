//! `check`, with and without `--live`.

use crate::home::{Daemon, Home, NOWHERE, PROGRAM, clean, finish};
use crate::login::hash;
use std::process::Command;

#[test]
fn a_right_file_is_called_correct_and_doubts_go_to_standard_error() {
    let home = Home::new("[smarthost.shop]\nhost = \"smtp.example.com\"\n");
    let checked = home.cli(["check"]);
    assert!(checked.out.ends_with("waystation.toml: correct\n") && checked.err.is_empty(), "{checked:?}");
    assert_eq!(checked.code, 0);
    home.configure("[smarthost.shop]\nhost = \"smtp.example.com\"\npassword = \"x\"\nusername = \"y\"\n");
    home.mode("waystation.toml", 0o644);
    let doubtful = home.cli(["check"]);
    assert_eq!(doubtful.code, 0);
    assert!(doubtful.err.contains("warning: ") && doubtful.err.contains("chmod 600"), "{doubtful:?}");
}

#[test]
fn more_than_a_provider_is_known_to_allow_is_doubted_and_nothing_else_is() {
    let home = Home::new("[smarthost.work]\nhost = \"smtp.office365.com\"\nconnections = 5\n");
    let checked = home.cli(["check"]);
    let doubt = "warning: smarthost.work: connections = 5 is more than Microsoft 365 is known to allow: 3 connections at once";
    assert!(checked.code == 0 && checked.err.contains(doubt), "{checked:?}");
    let note = "note: smarthost.work: by default, as is known of Microsoft 365 (November 2026): per_day = 10000, per_minute = 30 messages;";
    assert!(checked.err.contains(note), "{checked:?}");
    let kept = "connections = 3\nper_day = 9000\nper_minute = 0\n";
    home.configure(&format!("[smarthost.work]\nhost = \"smtp.office365.com\"\n{kept}"));
    let checked = home.cli(["check"]);
    assert!(checked.code == 0 && checked.err.is_empty(), "{checked:?}");
}

#[test]
fn a_part_of_a_default_limit_may_be_kept_for_class_priority() {
    let work = |reserve: u32, rest: &str| {
        format!(
            "[smarthost.work]\nhost = \"smtp.office365.com\"\nenabled = false\npriority_reserve = {reserve}\n{rest}"
        )
    };
    let home = Home::new(&work(50, ""));
    assert!(home.cli(["check"]).good().ends_with("waystation.toml: correct\n"));
    let _daemon = home.start();
    let limits = home.json(["status", "--json"])[0]["limits"].clone();
    let day = limits.as_array().unwrap().iter().find(|limit| limit["limit"] == "per_day").unwrap();
    assert_eq!((&day["left"], &day["left_for_priority"]), (&9950.into(), &10_000.into()));
    let own = "[[provider]]\nhost = \"office365.com\"\nper_day = 60\n";
    home.configure(&work(50, own));
    home.cli(["reload"]).good();
    for (config, complaint) in [
        (work(60, own), "leaves nothing of per_day = 60 for the other classes; write less than 60"),
        (work(50, "per_day = 0\n"), "is a part of per_day, which has no limit"),
        (
            work(50, "[[provider]]\nhost = \"office365.com\"\nper_hour = 60\n"),
            "is a part of per_day, which has no",
        ),
    ] {
        home.configure(&config);
        assert!(home.cli(["check"]).failed(78).contains(complaint), "{config}");
        assert!(home.cli(["reload"]).failed(78).contains(complaint), "{config}");
    }
}

#[test]
fn a_default_limit_is_in_force_and_told_as_such_until_the_admin_writes_another() {
    let work = "[smarthost.work]\nhost = \"smtp.office365.com\"\nenabled = false\n";
    let home = Home::new(work);
    let _daemon = home.start();
    let told = |what: &str| {
        let status = home.cli(["status"]).good();
        let narrow = status.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(narrow.contains(what), "no {what:?} in\n{status}");
    };
    told("work per_minute (default) 30 0 30 30 now");
    told("work: by default, as is known of Microsoft 365 (November 2026): per_day = 10000,");
    let explained = home.cli(["explain", "--from", "a@x.test", "--to", "b@y.test"]).good();
    assert!(
        explained
            .contains("  quota per_day: 0 of 10000 used, 10000 left (by default, known of Microsoft 365)\n"),
        "{explained}"
    );
    let limits = || home.json(["status", "--json"])[0]["limits"].clone();
    assert_eq!(limits()[0]["default_of"], "Microsoft 365");
    home.configure(&format!("{work}per_minute = 0\nper_day = 20000\n"));
    home.cli(["reload"]).good();
    assert_eq!((limits().as_array().unwrap().len(), &limits()[0]["most"]), (1, &20_000.into()));
    assert!(limits()[0]["default_of"].is_null());
    home.configure(&format!("{work}[[provider]]\nhost = \"office365.com\"\nname = \"Ours\"\nper_hour = 7\n"));
    home.cli(["reload"]).good();
    told("work per_hour (default) 7 0 7 7 now");
    told("work: by default, as is known of Ours (by [[provider]]): per_hour = 7;");
}

#[test]
fn status_shows_what_the_provider_is_known_to_allow() {
    let home = Home::new("[smarthost.post]\nhost = \"smtp.gmail.com\"\nenabled = false\n");
    let _daemon = home.start();
    let told = home.cli(["status"]).good();
    assert!(told.contains("post: Gmail is known to allow 2,000 messages and 3,000 recipients"), "{told}");
    let lanes = home.json(["status", "--json"]);
    assert!(lanes[0]["known_limits"].as_str().is_some_and(|limits| limits.starts_with("Gmail")), "{lanes:?}");
}

#[test]
fn every_complaint_comes_at_once_with_its_line_and_the_nearest_right_word() {
    let home = Home::new(
        "[smarthost.shop]\nhots = \"smtp.example.com\"\nport = \"46S\"\n[retry]\ngive_up_after = \"5 fortnights\"\n",
    );
    let complaints = home.cli(["check"]).failed(78);
    for part in [
        "waystation.toml:7:1: smarthost.shop.hots: no such key; did you mean \"host\"?",
        "    7 | hots = \"smtp.example.com\"\n      | ^^^^",
        ":8:8: smarthost.shop.port: ",
        ":10:17: retry.give_up_after: ",
        "complaints, not started",
    ] {
        assert!(complaints.contains(part), "{part} is missing in\n{complaints}");
    }
    assert_eq!(home.cli(["run"]).failed(78), complaints, "run says the same");
}

#[test]
fn doubts_and_dead_ends_beyond_single_keys_are_told() {
    let home =
        Home::new(&format!("[application.shop]\npassword_hash = \"{}\"\n{NOWHERE}", crate::login::hash()));
    let told = home.cli(["check"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.err.contains("application.shop: nobody can log in with it: no listener offers logins"),
        "{told:?}"
    );

    let home = Home::new(&format!("{NOWHERE}username = \"shop\"\npassword = \"hunter2\"\n"));
    home.cli(["check"]).good();
    home.mode("waystation.toml", 0o644);
    let told = home.cli(["check"]).err;
    assert!(told.contains("every user of this machine can read it here; chmod 600"), "{told}");
    assert!(
        home.start().logged("every user of this machine can read it").contains("WARN"),
        "at a start, too"
    );

    let home = Home::new(NOWHERE);
    let text = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    let long = format!("/tmp/{}", "long-".repeat(20));
    home.write("waystation.toml", &text.replace("\"state\"", &format!("\"{long}\"")));
    let told = home.cli(["check"]).failed(78);
    assert!(told.contains("too long for a socket: 116 octets") && told.contains("a shorter path"), "{told}");
    home.write("waystation.toml", &text.replace("\"state\"", "\"/proc/nope\""));
    let told = home.cli(["run"]).failed(78);
    assert!(
        told.contains("/proc/nope") && told.contains("set state_dir to a folder that can be made"),
        "{told}"
    );
}

#[test]
fn without_a_file_the_places_that_were_looked_at_are_told() {
    let home = Home::new("");
    let mut command = Command::new(PROGRAM);
    clean(&mut command);
    command.arg("check").current_dir(home.path(""));
    let told = finish(command, "").failed(78);
    for part in [
        "waystation: no configuration file",
        "config/waystation.toml",
        "/etc/waystation/waystation.toml",
        "--config FILE",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let mut named = Command::new(PROGRAM);
    clean(&mut named);
    named.env("WAYSTATION_CONFIG", "/no/such.toml").arg("check");
    let told = finish(named, "").failed(78);
    assert!(told.contains("/no/such.toml: no such file, though WAYSTATION_CONFIG names it"), "{told}");
}

/// A relay of our own as a provider with STARTTLS on one address and implicit TLS on another.
fn provider() -> (Home, Daemon) {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\nauth = \"required\"\n\
         [[listener]]\naddress = \"127.0.0.2:0\"\ntls = \"implicit\"\nauth = \"required\"\n\
         [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n\
         [application.shop]\npassword_hash = \"{}\"\n[smarthost.none]\nhost = \"127.0.0.1\"\n",
        hash()
    ));
    home.certify();
    let daemon = home.start();
    (home, daemon)
}

/// The line of `check --live` about one smarthost.
fn verdict(name: &str, host: &str, port: u16, rest: &str, home: &Home) -> (i32, String) {
    home.configure(&format!("[smarthost.{name}]\nhost = \"{host}\"\nport = {port}\n{rest}"));
    let checked = home.cli(["check", "--live"]);
    let place = format!("smarthost.{name} ({host}:{port}): ");
    let told = checked.out.lines().find_map(|line| line.strip_prefix(&place));
    (checked.code, told.unwrap_or_else(|| panic!("{checked:?}")).to_owned())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn live_logs_in_or_says_what_is_wrong_and_what_to_do() {
    let (provider, daemon) = provider();
    let (starttls, implicit) = (daemon.listener(0).port(), daemon.listener(1).port());
    let home = Home::new("");
    // This one takes the provider's ten seconds for a handshake.
    let late = std::thread::spawn({
        let elsewhere = Home::new("");
        move || verdict("too_late", "127.0.0.2", implicit, "", &elsewhere)
    });
    home.write("right", "hunter2\n");
    home.write("wrong", "hunter3\n");
    let ca = format!("ca_file = \"{}\"\nserver_name = \"localhost\"\n", provider.path("ca.pem").display());
    let login = |file: &str| format!("username = \"shop\"\npassword_file = \"{file}\"\n");
    let right = format!("{ca}{}", login("right"));
    let closed = crate::ports::closed_port();
    for (name, host, port, rest, code, parts) in [
        (
            "good",
            "127.0.0.1",
            starttls,
            right.clone(),
            0,
            &["works: TLS1.3:", ", login good, takes 26214400 octets"][..],
        ),
        (
            "implicit",
            "127.0.0.2",
            implicit,
            format!("tls = \"implicit\"\n{right}"),
            0,
            &["works: TLS1.3:", "login good"],
        ),
        (
            "no_login",
            "127.0.0.1",
            starttls,
            ca.clone(),
            0,
            &["answers: TLS1.3:", "no login configured (whether it takes mail so, `waystation test` tells)"],
        ),
        (
            "password",
            "127.0.0.1",
            starttls,
            format!("{ca}{}", login("wrong")),
            78,
            &["535 5.7.8", "check username and password"],
        ),
        (
            "closed",
            "127.0.0.1",
            closed,
            right.clone(),
            78,
            &["refused", "nothing listens there: check host and port"],
        ),
        (
            "too_soon",
            "127.0.0.1",
            starttls,
            format!("tls = \"implicit\"\n{right}"),
            78,
            &[
                "it does not speak TLS on this port",
                "port 465 needs tls = \"implicit\", ports 587 and 25 tls = \"starttls\"",
            ],
        ),
        (
            "plain",
            "127.0.0.1",
            starttls,
            format!("tls = \"none\"\n{}", login("right")),
            78,
            &["log in", "inside TLS", "check port and tls"],
        ),
        (
            "name",
            "smtp.exmaple.invalid",
            587,
            right.clone(),
            78,
            &["smtp.exmaple.invalid: name not found", "check the host name"],
        ),
        (
            "stranger",
            "localhost",
            starttls,
            login("right"),
            78,
            &["TLS with localhost failed", "certificate", "ca_file"],
        ),
        (
            "renewed",
            "127.0.0.1",
            starttls,
            format!("pin_sha256 = \"{}\"\n{}", "ab".repeat(32), login("right")),
            78,
            &[
                "TLS with 127.0.0.1 failed: the certificate's SHA-256 is ",
                ", not the one in pin_sha256",
                "perhaps it was renewed: ask the provider",
            ],
        ),
        (
            "other",
            "127.0.0.1",
            starttls,
            format!(
                "{}server_name = \"smtp.example.com\"\n",
                right.replace("server_name = \"localhost\"\n", "")
            ),
            78,
            &["certificate", "server_name"],
        ),
    ] {
        let (found, told) = verdict(name, host, port, &rest, &home);
        assert_eq!(found, code, "{name}: {told}");
        for part in parts {
            assert!(told.contains(part), "{name}: {part} is missing in: {told}");
        }
        assert!(!told.contains("hunter"), "{told}");
    }
    let (code, told) = late.join().unwrap();
    assert!(code == 78 && told.contains("554") && told.contains("this port starts with TLS"), "{told}");
}

#[test]
fn live_does_not_wait_five_minutes_for_a_silent_port() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new("");
    let (code, told) = verdict("mute", "127.0.0.1", silent.local_addr().unwrap().port(), "", &home);
    assert_eq!(code, 78);
    assert!(told.contains("did not answer in time before its greeting"), "{told}");
    assert!(told.contains("set tls = \"implicit\""), "{told}");
}
