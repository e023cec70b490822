//! `reload` and SIGHUP: the new configuration as a whole or not at all.

use crate::home::{Home, LIMIT, NOWHERE, TRUSTED, finish, recipients, states_of, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use rustix::process::Signal;
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn a_good_file_is_taken_and_its_change_told_in_words() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    assert_eq!(home.cli(["reload"]).good(), "reloaded; nothing changed\n");
    home.extend("connections = 7\n");
    assert_eq!(home.cli(["reload"]).good(), "reloaded: smarthost shop: connections 5 → 7\n");
    assert!(home.cli(["status"]).good().contains("generation 3"));
    home.extend("messages_per_connection = 9\n");
    daemon.signal(Signal::HUP);
    let told = daemon.next_with("messages_per_connection");
    assert!(told.contains("configuration reloaded") && told.contains("100 → 9"), "{told}");
}

#[test]
fn a_broken_file_is_refused_the_old_one_stays_and_status_says_why() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    for (wrong, complaint) in [
        ("prot = 25\n", "smarthost.shop.prot: no such key; did you mean \"port\"?"),
        ("port = [\n", "not TOML"),
    ] {
        home.configure(NOWHERE);
        home.extend(wrong);
        let told = home.cli(["reload"]).failed(78);
        assert!(told.contains(complaint) && told.contains("not reloaded"), "{told}");
        let status = home.cli(["status"]).good();
        assert!(status.contains("THE LATEST RELOAD WAS REFUSED, this generation stays:"), "{status}");
        assert!(status.contains(complaint) && status.contains("generation 1"), "{status}");
        Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
        assert_eq!(home.cli(["queue", "list", "--json"]).code, 0, "commands work beside a broken file");
    }
    home.configure(NOWHERE);
    home.cli(["reload"]).good();
    assert!(!home.cli(["status"]).good().contains("REFUSED"));
    for _ in 0..2 {
        daemon.next_with("configuration refused");
    }
    home.extend("nonsense\n");
    daemon.signal(Signal::HUP);
    let logged = daemon.next_with("configuration refused, the last good one stays");
    assert!(logged.contains("ERROR"), "{logged}");
    assert!(home.cli(["status"]).good().contains("REFUSED"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_can_not_change_or_be_had_is_refused_as_a_whole() {
    let home = Home::new(NOWHERE);
    let _daemon = home.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    home.configure(&format!("{TRUSTED}[[listener]]\naddress = \"{address}\"\n{NOWHERE}connections = 9\n"));
    let told = home.cli(["reload"]).failed(78);
    assert!(told.contains(&address.to_string()) && told.contains("another program listens there"), "{told}");
    assert!(home.cli(["status"]).good().contains("generation 1 "));
}

#[test]
fn sessions_of_a_removed_listener_go_on_and_an_added_one_opens() {
    let home = Home::new(&format!("{TRUSTED}[[listener]]\naddress = \"127.0.0.2:0\"\n{NOWHERE}"));
    let mut daemon = home.start();
    let removed = daemon.listener(1);
    let mut session = Smtp::hello(removed);
    let mut other = Smtp::hello(daemon.address());
    home.configure(&format!("{TRUSTED}[[listener]]\naddress = \"127.0.0.3:0\"\n{NOWHERE}"));
    let told = home.cli(["reload"]).good();
    assert!(
        told.contains("listener 127.0.0.2:0 removed") && told.contains("listener 127.0.0.3:0 added"),
        "{told}"
    );
    let added = daemon.opened();
    assert_eq!(added.ip().to_string(), "127.0.0.3");
    session.post("shop@shop.test", &["ana@guest.test"], LETTER);
    other.post("shop@shop.test", &["ana@guest.test"], LETTER);
    Smtp::hello(added).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let begun = Instant::now();
    while TcpStream::connect(removed).is_ok() {
        assert!(begun.elapsed() < LIMIT, "the removed listener still takes connections");
    }
    assert!(!home.cli(["status"]).good().contains(&removed.to_string()));
}

#[test]
fn a_listener_becomes_wider_and_narrower_or_stays_as_it_was() {
    let port = crate::ports::free_port();
    let config = |address: &str| {
        let trust = "trust = [\"127.0.0.1\"]";
        format!("[[listener]]\naddress = \"{address}:{port}\"\nauth = \"none\"\n{trust}\n{NOWHERE}")
    };
    let home = Home::new(&config("127.0.0.1"));
    let mut daemon = home.start();
    let mut session = Smtp::hello(daemon.address());
    for wider in ["0.0.0.0", "127.0.0.1"] {
        home.configure(&config(wider));
        let told = home.cli(["reload"]).good();
        assert!(told.contains(&format!("listener {wider}:{port} added")), "{told}");
        let address = daemon.opened();
        assert_eq!(address.to_string(), format!("{wider}:{port}"));
        Smtp::hello((std::net::Ipv4Addr::LOCALHOST, port).into());
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("[[listener]]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    home.configure(&format!("{other}{}", config("0.0.0.0")));
    let told = home.cli(["reload"]).failed(78);
    assert!(told.contains("another program listens there"), "{told}");
    assert_eq!(daemon.opened().to_string(), format!("127.0.0.1:{port}"));
    session.post("shop@shop.test", &["ana@guest.test"], LETTER);
    Smtp::hello((std::net::Ipv4Addr::LOCALHOST, port).into());
}

#[test]
fn a_replaced_certificate_is_served_and_a_broken_one_refused() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
    let files = "[tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n";
    let home = Home::new(&format!("{listener}{files}{NOWHERE}"));
    home.certify();
    let daemon = home.start();
    let shown = || {
        let mut smtp = Smtp::hello(daemon.address());
        assert!(smtp.say("STARTTLS").starts_with("220 "));
        smtp.into_tls(&home).certificate()
    };
    let before = shown();
    let mut open = Smtp::hello(daemon.address());
    home.certify();
    assert_eq!(home.cli(["reload"]).good(), "reloaded: tls: another certificate\n");
    let after = shown();
    assert_ne!(before, after);
    home.write("relay.pem", "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n");
    let told = home.cli(["reload"]).failed(78);
    assert!(told.contains(": tls.certificate: ") && told.contains("relay.pem is damaged PEM"), "{told}");
    assert_eq!(shown(), after, "the last good one stays");
    let key = rcgen::KeyPair::generate().unwrap();
    home.certify();
    home.write("relay.key", &key.serialize_pem());
    let told = home.cli(["reload"]).failed(78);
    assert!(told.contains(": tls.key: ") && told.contains("can't be used together"), "{told}");
    open.post("shop@shop.test", &["ana@guest.test"], LETTER);
}

#[test]
fn the_log_shows_addresses_in_the_new_way_and_what_must_wait_is_told() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("first@shop.test", &["ana@guest.test"], LETTER);
    assert!(daemon.next_with("message accepted").contains("first@shop.test"));
    home.extend("[log]\naddresses = \"domain\"\nlevel = \"debug\"\n");
    let told = home.cli(["reload"]).good();
    assert!(told.contains("log: format and level count from the next start on"), "{told}");
    smtp.post("second@shop.test", &["ana@guest.test"], LETTER);
    let logged = daemon.next_with("message accepted");
    assert!(logged.contains("…@shop.test") && !logged.contains("second"), "{logged}");
}

#[test]
fn queued_mail_follows_a_smarthost_that_changed() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let smarthost = Smarthost::start();
    home.configure(&smarthost.section("shop"));
    let told = home.cli(["reload"]).good();
    assert!(told.contains("smarthost shop: ") && told.contains("enabled false → true"), "{told}");
    assert_eq!(smarthost.next().recipients, ["ana@guest.test"]);
    home.journal_when(&["delivered"]);
    home.configure(&smarthost.section("other"));
    home.cli(["reload"]).good();
    home.configure(NOWHERE);
    home.cli(["reload"]).good();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["bob@guest.test"], LETTER);
    home.configure(&smarthost.section("other"));
    home.cli(["reload"]).good();
    let status = home.cli(["status"]).good();
    assert!(
        status.contains("no smarthost of this name is configured"),
        "mail of a removed one is told of: {status}"
    );
    let lanes = home.json(["status", "--json"]);
    let lane = lanes.iter().find(|lane| lane["lane"] == "shop").unwrap();
    assert_eq!((&lane["state"], &lane["held"], &lane["queued"]), (&"removed".into(), &1.into(), &0.into()));
    assert!(daemon.logged("smarthost removed, its mail is held").contains("messages=1"));
    let held = home.json(["queue", "list", "--state", "held", "--json"]);
    assert_eq!(states_of(&held), ["held"]);
    assert_eq!(text(recipients(&held)[0], "reply"), "no smarthost of this name is configured");
    assert!(recipients(&held)[0]["next_attempt"].is_null());
    assert_eq!(home.cli(["queue", "list", "--state", "queued", "--json"]).good(), "[]\n");
    let shown = home.cli(["queue", "show", &text(&held[0], "id")]).good();
    assert!(shown.contains("state held"), "{shown}");
    let story = home.cli(["journal", "show", &text(&held[0], "id")]).good();
    assert!(story.contains("now: bob@guest.test held: no smarthost of this name is configured\n"), "{story}");
    let retried = home.cli(["queue", "retry", &text(&held[0], "id")]).good();
    assert!(retried.starts_with("1 message waits for shop, which isn't configured any more; "), "{retried}");
    let preview = home.cli(["queue", "release", "--all", "--dry-run"]).good();
    let nothing = home.cli(["queue", "release", "--all", "--yes"]).good();
    assert!(
        preview.starts_with("0 messages would be") && nothing.starts_with("0 messages released"),
        "{nothing}"
    );
    assert!(
        nothing.contains("1 message not changed: its smarthost isn't configured any more; "),
        "{nothing}"
    );
    let preview = home.cli(["queue", "hold", "--state", "held", "--dry-run"]).good();
    assert!(preview.starts_with("1 message would be held"), "{preview}");
    home.cli(["queue", "hold", "--all"]).good();
    let released = home.cli(["queue", "release", "--all"]).good();
    let gone = "1 message is held no more, but waits for shop, which isn't configured any more; ";
    assert!(released.starts_with(gone), "{released}");
    let preview = home.cli(["queue", "retry", "--all", "--dry-run"]).good();
    assert!(preview.contains("1 message waits for shop, which isn't configured any more; "), "{preview}");
    let way = "move its mail with `waystation queue reroute --to`";
    assert!(retried.contains(way) && home.cli(["status"]).good().contains(way), "{retried}");
    home.configure(&smarthost.section("shop"));
    home.cli(["reload"]).good();
    assert_eq!(smarthost.next().recipients, ["bob@guest.test"], "and leaves when it is back");
}

#[test]
fn what_waits_for_a_removed_smarthost_does_not_expire() {
    let smarthost = Smarthost::start();
    let late = |lane: &str| {
        format!("[[route]]\nrecipient = \"@{lane}.test\"\nsmarthost = \"{lane}\"\nexpires_after = \"1s\"\n")
    };
    let both = format!("{NOWHERE}default = true\n{}", NOWHERE.replace("shop", "other"));
    let home = Home::new(&format!("{both}{}{}", late("shop"), late("other")));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let gone = smtp.post("shop@shop.test", &["ana@shop.test"], LETTER);
    home.configure(&format!("{}{}", NOWHERE.replace("shop", "other"), late("other")));
    home.cli(["reload"]).good();
    // One that comes later has expired: so would the first have.
    smtp.post("shop@shop.test", &["ana@other.test"], LETTER);
    daemon.logged("message expired");
    assert_eq!(states_of(&home.json(["queue", "show", &gone, "--json"])), ["held"]);
    home.configure(&format!("{}{}", smarthost.section("shop"), late("shop")));
    home.cli(["reload"]).good();
    let expired = daemon.next_with("message expired");
    assert!(expired.contains(&gone), "now that it is back: {expired}");
}

#[test]
fn an_open_session_goes_by_the_routes_that_were_in_force_when_its_transaction_began() {
    let (old, new) = (Smarthost::start(), Smarthost::start());
    let home = Home::new(&old.section("shop"));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let (mut begun, mut amid) = (Smtp::hello(daemon.address()), Smtp::hello(daemon.address()));
    for command in ["MAIL FROM:<shop@shop.test>", "RCPT TO:<bob@guest.test>"] {
        assert!(begun.say(command).starts_with("250 "));
        assert!(amid.say(command).starts_with("250 "));
    }
    // Its header section is judged already.
    assert!(
        amid.say(&format!("BDAT {}\r\n{}", LETTER.len(), LETTER.trim_end_matches("\r\n")))
            .starts_with("250 ")
    );
    home.configure(&new.section("other"));
    home.cli(["reload"]).good();
    let told = smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(told.contains(" queued for other, due "), "{told}");
    assert_eq!(new.next().recipients, ["ana@guest.test"]);
    assert!(begun.say("DATA").starts_with("354 "));
    let told = begun.say(&format!("{LETTER}."));
    assert!(told.contains(" held for shop, which isn't configured any more"), "{told}");
    daemon.logged("smarthost removed, its mail is held");
    let told = amid.say("BDAT 0 LAST");
    assert!(told.contains(" held for shop, which isn't configured any more"), "{told}");
    let told = begun.submit("shop@shop.test", &["eve@guest.test"], LETTER);
    assert!(told.contains(" queued for other, due "), "{told}");
}

/// Three smarthosts that are switched off, and what follows.
fn three(rest: &str) -> String {
    let lanes = NOWHERE.replace("enabled", "default = true\nenabled");
    format!("{lanes}{}{}{rest}", NOWHERE.replace("shop", "b"), NOWHERE.replace("shop", "c"))
}

/// The lane and the state of each message, by its first recipient.
fn lanes_of(home: &Home) -> Vec<(String, String, String)> {
    let listed = home.json(["queue", "list", "--json"]);
    let place = |one: &serde_json::Value| {
        let first = &one["recipients"][0];
        (text(first, "address"), text(one, "lane"), text(first, "state"))
    };
    listed.iter().map(place).collect()
}

fn place(address: &str, lane: &str, state: &str) -> (String, String, String) {
    (address.into(), lane.into(), state.into())
}

#[test]
fn queued_mail_is_routed_anew_by_its_header_as_it_came() {
    let config = |first: &str, second: &str, third: &str| {
        three(&format!(
            "[[route]]\nheader = {{ X-Kind = \"reset\" }}\nsmarthost = \"{first}\"\n\
             [[route]]\nheader = {{ Bcc = \"*boss@*\" }}\nsmarthost = \"{third}\"\n\
             [[route]]\nfrom = \"@shop.test\"\nsmarthost = \"{second}\"\n\
             [[rewrite]]\nheader = {{ X-Kind = \"*\" }}\nremove = [\"X-Kind\"]\n"
        ))
    };
    let home = Home::new(&config("b", "shop", "b"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], &format!("X-Kind: reset\r\n{LETTER}"));
    smtp.post("shop@shop.test", &["bob@guest.test"], &format!("Bcc: boss@shop.test\r\n{LETTER}"));
    smtp.post("shop@shop.test", &["eve@guest.test"], LETTER);
    let expected = |ana: &str, bob: &str, eve: &str| {
        [("ana", ana), ("bob", bob), ("eve", eve)]
            .map(|(name, lane)| place(&format!("{name}@guest.test"), lane, "queued"))
    };
    assert_eq!(lanes_of(&home), expected("b", "b", "shop"));
    home.configure(&config("b", "c", "b"));
    let told = home.cli(["reload"]).good();
    assert!(told.contains("queued messages: 1 moved or held by the new routes"), "{told}");
    assert_eq!(lanes_of(&home), expected("b", "b", "c"));
    home.configure(&config("c", "c", "shop"));
    home.cli(["reload"]).good();
    assert_eq!(lanes_of(&home), expected("c", "shop", "c"));
}

#[test]
fn a_message_that_new_routes_both_move_and_hold_is_counted_once() {
    let home = Home::new(&three(""));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@far.test"], LETTER);
    home.configure(&three("[[route]]\nrecipient = \"@far.test\"\nsmarthost = \"b\"\naction = \"hold\"\n"));
    let told = home.cli(["reload"]).good();
    assert!(told.contains("queued messages: 1 moved or held by the new routes"), "{told}");
    assert_eq!(lanes_of(&home), [place("ana@far.test", "b", "held")]);
}

#[test]
fn held_mail_follows_new_routes_and_mail_whose_recipients_part_ways_is_told() {
    let home = Home::new(&three(""));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@far.test", "bob@guest.test"], LETTER);
    let held = smtp.post("shop@shop.test", &["cid@far.test"], LETTER);
    home.cli(["queue", "hold", &held]).good();
    home.configure(&three("[[route]]\nrecipient = \"@far.test\"\nsmarthost = \"b\"\n"));
    let told = home.cli(["reload"]).good();
    let words = "queued messages: 1 moved or held by the new routes, 1 left as it was, for the new routes part its recipients";
    assert!(told.contains(words), "{told}");
    let expected = [place("ana@far.test", "shop", "queued"), place("cid@far.test", "b", "held")];
    assert_eq!(lanes_of(&home), expected);
}

#[test]
fn a_lower_limit_holds_for_what_a_connection_has_and_did_not_begin() {
    let (smarthost, let_go) = Smarthost::slow();
    let lane = |limit: u32| format!("{}connections = 1\nper_day = {limit}\n", smarthost.section("shop"));
    let home = Home::new(&lane(100));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let to = |number: usize| format!("guest{number}@guest.test");
    for number in 0..10 {
        smtp.post("shop@shop.test", &[&to(number)], LETTER);
    }
    assert_eq!(smarthost.next().recipients, [to(0)]);
    home.configure(&lane(3));
    home.cli(["reload"]).good();
    drop(let_go);
    assert_eq!([smarthost.next(), smarthost.next()].map(|taken| taken.recipients), [[to(1)], [to(2)]]);
    // An idle connection ends by itself: then nothing is on its way.
    let deadline = Instant::now() + LIMIT;
    while home.json(["status", "--json"])[0]["connections"] != 0 {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(smarthost.rest(), [], "what the connection had claimed went back");
    let waiting = home.json(["queue", "list", "--json"]);
    assert_eq!(states_of(&waiting), ["queued"; 7]);
    assert!(recipients(&waiting).iter().all(|one| one["attempts"] == 0), "untried: {waiting:#?}");
    home.configure(&lane(100));
    home.cli(["reload"]).good();
    let mut rest: Vec<String> = (3..10).flat_map(|_| smarthost.next().recipients).collect();
    rest.sort();
    assert_eq!(rest, (3..10).map(to).collect::<Vec<_>>());
    assert_eq!(smarthost.rest(), [], "nothing twice");
}

#[test]
fn a_spoilt_trust_anchor_is_refused_at_start_and_reload_as_by_check() {
    const PLACE: &str = ": smarthost.shop.ca_file: ";
    let smarthost = "[smarthost.shop]\nhost = \"smtp.shop.test\"\nenabled = false\nca_file = \"ca.pem\"\n";
    let home = Home::new(smarthost);
    home.certify();
    let mut daemon = home.start();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for spoilt in ["", "no PEM\n", garbage] {
        home.write("ca.pem", spoilt);
        for command in [["check"], ["reload"]] {
            let told = home.cli(command).failed(78);
            assert!(told.contains(PLACE) && told.contains("ca.pem is "), "{spoilt:?} {command:?}: {told}");
        }
    }
    assert!(home.cli(["status"]).good().contains("THE LATEST RELOAD WAS REFUSED"));
    let lanes = home.json(["status", "--json"]);
    let told = &lanes[0]["daemon"]["configuration"];
    assert_eq!(told["generation"], 1);
    assert!(text(told, "refused").contains("ca.pem"), "{told}");
    assert_eq!(lanes[0]["daemon"]["listeners"][0], daemon.address().to_string());
    home.certify();
    home.cli(["reload"]).good();
    assert_eq!(daemon.stop(), 0);
    home.write("ca.pem", garbage);
    let told = home.cli(["run"]).failed(78);
    assert!(told.contains(PLACE) && told.contains("ca.pem is "), "{told}");
}

#[test]
fn a_state_dir_that_changed_in_the_file_is_told_with_the_daemon_that_runs() {
    let home = Home::new(NOWHERE);
    let _daemon = home.start();
    let file = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    home.write("waystation.toml", &file.replace("state_dir = \"state\"", "state_dir = \"other\""));
    let old = home.path("state").canonicalize().unwrap();
    for command in ["reload", "status"] {
        let told = home.cli([command]).failed(69);
        let runs = format!("runs with state_dir = \"{}\"", old.display());
        assert!(told.contains(&runs) && told.contains("until it is restarted"), "{command}: {told}");
    }
    let mut stop = home.command(["stop"]);
    stop.env("WAYSTATION__STATE_DIR", &old);
    assert_eq!(finish(stop, "").good(), "stopped\n");
}
