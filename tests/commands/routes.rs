//! Where mail goes and what becomes of it: `[[route]]`, applications, `X-Waystation-…` fields, loops.

use crate::home::{Home, recipients, states_of, text};
use crate::login::hash;
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use std::fmt::Write;

#[test]
fn each_key_of_a_route_picks_its_smarthost() {
    let smarthosts: Vec<(&str, Smarthost)> =
        ["rest", "app", "sender", "recipient", "header", "from", "network", "own"]
            .map(|name| (name, Smarthost::start()))
            .into();
    let mut config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"optional\"\n[[listener]]\naddress = \"127.0.0.2:0\"\n\
         proxy_protocol = [\"127.0.0.0/8\"]\ntrust = [\"10.0.0.0/8\"]\n\
         [application.cron]\npassword_hash = \"{0}\"\n[application.desk]\npassword_hash = \"{0}\"\nsmarthost = \"own\"\nclass = \"bulk\"\n",
        hash()
    );
    for (name, smarthost) in &smarthosts {
        config.push_str(&smarthost.section(name));
    }
    config = config.replace("[smarthost.rest]\n", "[smarthost.rest]\ndefault = true\n");
    for (key, name) in [
        ("application = \"cron\"", "app"),
        ("sender = \"@special.test\"", "sender"),
        ("recipient = \"@far.test\"", "recipient"),
        ("header = { X-Kind = \"re*t\" }\nclass = \"priority\"", "header"),
        ("from = \"boss@shop.test\"", "from"),
        ("client = \"10.1.0.0/16\"", "network"),
    ] {
        write!(config, "[[route]]\n{key}\nsmarthost = \"{name}\"\n").unwrap();
    }
    let home = Home::new(&config);
    let daemon = home.start();
    let with = |login: Option<&str>, sender: &str, recipient: &str, content: &str| {
        let mut smtp = Smtp::hello(daemon.address());
        if let Some(user) = login {
            assert!(smtp.login(user, "hunter2").starts_with("235 "));
        }
        smtp.submit(sender, &[recipient], content)
    };
    let kind = format!("X-Kind: ReseT\r\n{LETTER}");
    let boss = LETTER.replace("shop@shop.test", "The Boss <boss@shop.test>");
    for (reply, lane) in [
        (with(None, "a@b.test", "ana@guest.test", LETTER), "rest"),
        (with(Some("cron"), "a@b.test", "ana@far.test", &kind), "app"),
        (with(None, "a@special.test", "ana@far.test", &kind), "sender"),
        (with(None, "a@b.test", "ana@far.test", &kind), "recipient"),
        (with(None, "a@b.test", "ana@guest.test", &kind), "header"),
        (with(None, "a@b.test", "ana@guest.test", &boss), "from"),
        (with(Some("desk"), "a@b.test", "ana@guest.test", LETTER), "own"),
    ] {
        // `250 2.0.0 ID queued for shop, due 14:32`
        let words: Vec<&str> = reply.split(' ').collect();
        assert_eq!(words.len(), 8, "{reply}");
        assert_eq!((words[0], words[1], words[2].len()), ("250", "2.0.0", 13), "{reply}");
        assert_eq!(words[3..7].join(" "), format!("queued for {lane}, due"), "{reply}");
        assert!(words[7].len() == 5 && words[7].as_bytes()[2] == b':', "{reply}");
        let taken = smarthosts.iter().find(|(name, _)| *name == lane).unwrap().1.next();
        assert_eq!(taken.recipients.len(), 1, "{lane}");
    }
    let mut proxied = Smtp::connect(daemon.listener(1));
    proxied.send(b"PROXY TCP4 10.1.2.3 127.0.0.2 12345 25\r\n");
    proxied.reply();
    proxied.say("EHLO client.test");
    proxied.post("a@b.test", &["ana@guest.test"], LETTER);
    assert_eq!(smarthosts[6].1.next().recipients, ["ana@guest.test"]);
    let journal = home.journal_when(&["delivered"]);
    let classes: Vec<(String, String)> =
        journal.iter().map(|message| (text(message, "lane"), text(message, "class"))).collect();
    let class_of = |lane: &str| &classes.iter().find(|(name, _)| name == lane).unwrap().1;
    assert_eq!(
        (&**class_of("header"), &**class_of("own"), &**class_of("rest")),
        ("priority", "bulk", "normal")
    );
    // Each smarthost got its own and nothing else.
    assert!(smarthosts.iter().all(|(_, smarthost)| smarthost.rest().is_empty()));
    let mut both = Smtp::hello(daemon.address());
    both.submit("a@b.test", &["x@far.test", "y@guest.test"], LETTER);
    assert_eq!(smarthosts[3].1.next().recipients, ["x@far.test"]);
    assert_eq!(smarthosts[0].1.next().recipients, ["y@guest.test"], "recipients of one message part ways");
}

#[test]
fn a_route_holds_discards_or_rejects() {
    let smarthost = Smarthost::start();
    let mut config = smarthost.section("shop");
    for (recipient, action) in [("@hold.test", "hold"), ("@drop.test", "discard"), ("@never.test", "reject")]
    {
        write!(config, "[[route]]\nrecipient = \"{recipient}\"\naction = \"{action}\"\n").unwrap();
    }
    let home = Home::new(&config);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let reply = smtp.submit("a@b.test", &["x@hold.test"], LETTER);
    assert!(
        reply.starts_with("250 2.0.0 ") && reply.ends_with(" held for shop until it is released"),
        "{reply}"
    );
    let held = reply.split(' ').nth(2).unwrap().to_owned();
    let dropped = smtp.submit("a@b.test", &["x@drop.test", "y@drop.test"], LETTER);
    assert!(
        dropped.starts_with("250 2.0.0 ") && dropped.ends_with(" taken and discarded by a route"),
        "{dropped}"
    );
    let refused = smtp.submit("a@b.test", &["x@never.test", "x@guest.test"], LETTER);
    assert_eq!(refused, "550 5.7.1 <x@never.test>: refused by a route of this relay; nothing was sent");
    let mixed = smtp.submit("a@b.test", &["z@drop.test", "x@hold.test", "x@guest.test"], LETTER);
    let ids: Vec<&str> = mixed.lines().map(|line| line[10..].split(' ').next().unwrap()).collect();
    assert_eq!(ids.len(), 2, "one line for each that is queued: {mixed}");
    assert!(mixed.contains(" held for shop until") && mixed.contains(" queued for shop, due "), "{mixed}");
    assert_eq!(smarthost.next().recipients, ["x@guest.test"]);
    daemon.logged("message discarded by a route");

    let journal = home.journal_when(&["held", "discarded", "delivered"]);
    let fates: Vec<(String, String)> = recipients(&journal)
        .iter()
        .map(|recipient| (text(recipient, "address"), text(recipient, "state")))
        .collect();
    let expected = [
        ("x@hold.test", "held"),
        ("x@drop.test", "discarded"),
        ("y@drop.test", "discarded"),
        ("x@hold.test", "held"),
        ("x@guest.test", "delivered"),
        ("z@drop.test", "discarded"),
    ];
    let mut found: Vec<(&str, &str)> = fates.iter().map(|(address, state)| (&**address, &**state)).collect();
    found.sort_unstable();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{journal:#?}");
    assert!(ids.iter().all(|id| journal.iter().any(|message| text(message, "id") == *id)));
    let discarded = home.json(["journal", "--json", "--state", "discarded"]);
    assert!(
        recipients(&discarded)
            .iter()
            .filter(|each| each["state"] == "discarded")
            .all(|each| { text(each, "reply").contains("discarded by a route") })
    );
    assert_eq!(states_of(&home.json(["queue", "list", "--json"])), ["held", "held"], "nothing else waits");
    assert_eq!(home.cli(["queue", "release", &held]).good(), "1 message released\n");
    assert_eq!(smarthost.next().recipients, ["x@hold.test"]);
    drop(daemon);
    let _again = home.start();
    assert_eq!(
        home.json(["journal", "--json", "--state", "discarded"]).len(),
        discarded.len(),
        "also after a kill"
    );
}

#[test]
fn control_fields_are_read_kept_in_the_journal_and_removed() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.2:0\"\n{}",
        smarthost.section("shop")
    ));
    let mut daemon = home.start();
    let fields = "X-Waystation-Class: priority\r\nX-Waystation-Tag: reset\r\nX-Waystation-Meta-Order: 4711\r\n\
                  x-waystation-meta-guest: Zo\u{eb}\r\nBcc: hidden@guest.test\r\n";
    let content = format!("{fields}X-Waystation-Clas: slip\r\nX-Other: stays\r\n{LETTER}");
    let id = Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], &content);
    let taken = smarthost.next().content;
    assert!(!taken.to_ascii_lowercase().contains("x-waystation") && !taken.contains("Bcc"), "{taken}");
    assert!(taken.starts_with("Received: from client.test") && taken.contains("X-Other: stays\n"), "{taken}");
    for added in ["\nDate: ", "\nMessage-ID: <"] {
        assert!(taken.contains(added), "{added} is missing in {taken}");
    }
    assert!(daemon.logged("unknown field removed").contains("field=\"X-Waystation-Clas\""));
    let journal = home.journal_when(&["delivered"]);
    assert_eq!(text(&journal[0], "id"), id);
    assert_eq!(text(&journal[0], "class"), "priority");
    assert_eq!(text(&journal[0], "tag"), "reset");
    let meta = journal[0]["meta"].as_object().unwrap();
    let value =
        |name: &str| meta.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    assert_eq!(value("order").unwrap(), "4711", "{meta:?}");
    assert_eq!(value("guest").unwrap(), "Zo\u{eb}", "{meta:?}");
    let mut smtp = Smtp::hello(daemon.address());
    let refused = smtp.submit(
        "shop@shop.test",
        &["ana@guest.test"],
        &format!("X-Waystation-Class: urgent\r\n{LETTER}"),
    );
    assert!(refused.starts_with("554 5.6.0 X-Waystation-Class: "), "{refused}");
}

#[test]
fn mail_that_goes_in_a_circle_is_refused_at_the_fifty_first_hop() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let hops = |count: usize| {
        format!(
            "{}{LETTER}",
            "Received: from a.test by b.test; Sun, 22 Nov 2026 15:00:00 +0000\r\n".repeat(count)
        )
    };
    let mut smtp = Smtp::hello(daemon.address());
    for (count, expected) in [(49, "250 2.0.0 "), (50, "250 2.0.0 "), (51, "554 5.4.6 ")] {
        let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], &hops(count));
        assert!(reply.starts_with(expected), "L1: {count}: {reply}");
    }
    assert!(
        smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER).starts_with("250 "),
        "the session lives"
    );
}

#[test]
fn relays_that_point_at_each_other_stop_by_themselves() {
    let home = Home::new("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n");
    let daemon = home.start();
    let own = format!(
        "[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        daemon.address().port()
    );
    home.configure(&own);
    home.cli(["reload"]).good();
    Smtp::hello(daemon.address()).post("", &["ana@guest.test"], LETTER);
    let journal = home.journal_when(&["delivered", "failed"]);
    let failed: Vec<_> = recipients(&journal).into_iter().filter(|each| each["state"] == "failed").collect();
    assert!(text(failed[0], "reply").starts_with("554 5.4.6 "), "L3: {journal:#?}");
    assert!(journal.len() <= 51);
}
