//! When mail leaves: FUTURERELEASE, `X-Waystation-Send-At`, MT-PRIORITY, and a route's `expires_after`.

use crate::home::{Home, LIMIT, NOWHERE, STRANGERS, TRUSTED, states_of, text};
use crate::login::hash;
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use jiff::{SignedDuration, Timestamp};
use std::time::Instant;

/// The time in a JSON object.
fn time(value: &serde_json::Value, key: &str) -> Timestamp {
    text(value, key).parse().unwrap()
}

#[test]
fn what_is_to_leave_later_waits_and_can_be_cancelled() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::connect(daemon.address());
    smtp.reply();
    let offered = smtp.say("EHLO client.test");
    assert!(
        offered.contains("\n250-FUTURERELEASE 2592000 20") && offered.contains("MT-PRIORITY"),
        "{offered}"
    );
    let before = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let later = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    let last = later(48);
    let mut waiting = Vec::new();
    for (parameter, field, hours) in [
        (" HOLDFOR=3600", String::new(), 1),
        (&format!(" HOLDUNTIL={}", later(2).strftime("%Y-%m-%dT%H:%M:%SZ")), String::new(), 2),
        ("", format!("X-Waystation-Send-At: {}\r\n", later(3)), 3),
        (
            " HOLDFOR=3600",
            format!("X-Waystation-Send-At: {}\r\n", last.strftime("%a, %d %b %Y %T +0000")),
            48,
        ),
        (" HOLDFOR=7200", format!("X-Waystation-Send-At: {}\r\n", later(1)), 2),
    ] {
        assert!(smtp.say(&format!("MAIL FROM:<shop@shop.test>{parameter}")).starts_with("250 "));
        assert!(smtp.say("RCPT TO:<ana@guest.test>").starts_with("250 "));
        assert!(smtp.say("DATA").starts_with("354 "));
        let reply = smtp.say(&format!("{field}{LETTER}."));
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        if hours == 48 {
            let date = last.to_zoned(jiff::tz::TimeZone::system()).strftime(", due %Y-%m-%d ").to_string();
            assert!(reply.contains(&date), "{reply} without {date}");
        }
        let id = reply.split(' ').nth(2).unwrap().to_owned();
        let message = home.json(["queue", "list", "--json"]).pop().unwrap();
        assert_eq!(
            (text(&message, "id"), states_of(std::slice::from_ref(&message))),
            (id.clone(), vec!["queued".into()])
        );
        let due = time(&message["recipients"][0], "next_attempt");
        assert!(due >= before + hour * i32::try_from(hours).unwrap() - SignedDuration::from_secs(1), "{due}");
        assert!(due <= later(hours), "{due}");
        waiting.push(id);
    }
    // The one that waits for nothing overtakes them all.
    smtp.post("shop@shop.test", &["bob@guest.test"], LETTER);
    assert_eq!(smarthost.next().recipients, ["bob@guest.test"]);
    // What its client wants later goes now only when it is named, and the preview knows.
    let deadline = Instant::now() + LIMIT;
    loop {
        let told = home.cli(["queue", "retry", "--all", "--dry-run"]).good();
        if told.starts_with("0 messages would be due now\n") {
            break;
        }
        // The one that just left is recorded in a moment.
        assert!(told.starts_with("1 message ") && told.contains("bob@guest.test"), "{told}");
        assert!(Instant::now() < deadline, "{told}");
    }
    let told = home.cli(["queue", "retry", &waiting[2], "--dry-run"]).good();
    assert!(told.starts_with("1 message would be due now\n"), "{told}");
    assert_eq!(home.cli(["queue", "delete", &waiting[0]]).good(), "1 message deleted\n");
    assert_eq!(home.cli(["queue", "retry", &waiting[2]]).good(), "1 message due now\n");
    let early = smarthost.next();
    assert!(!early.content.contains("Send-At"), "{}", early.content);
    let left = home.json(["queue", "list", "--json"]);
    let left: Vec<String> = left.iter().map(|message| text(message, "id")).collect();
    for (number, id) in waiting.iter().enumerate().filter(|(number, _)| *number != 2) {
        assert_eq!(left.contains(id), number != 0, "{number}: {left:?}");
    }
    assert_eq!(smarthost.rest(), []);
}

#[test]
fn a_short_wait_ends_by_itself_and_times_that_make_no_sense_are_refused() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let sent = Timestamp::now();
    assert!(smtp.say("MAIL FROM:<shop@shop.test> HOLDFOR=1").starts_with("250 "));
    assert!(smtp.say("RCPT TO:<ana@guest.test>").starts_with("250 "));
    assert!(smtp.say("DATA").starts_with("354 "));
    assert!(smtp.say(&format!("{LETTER}.")).starts_with("250 "));
    assert_eq!(smarthost.next().recipients, ["ana@guest.test"]);
    assert!(Timestamp::now().duration_since(sent) >= SignedDuration::from_secs(1));

    assert!(smtp.say("MAIL FROM:<shop@shop.test> HOLDFOR=2592001").starts_with("501 5.5.4 "));
    for value in ["tomorrow", "2026-12-24T18:00:00", "2126-12-24T18:00:00Z"] {
        let content = format!("X-Waystation-Send-At: {value}\r\n{LETTER}");
        let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], &content);
        assert!(reply.starts_with("554 5.6.0 X-Waystation-Send-At: "), "{value}: {reply}");
    }
    home.journal_when(&["delivered"]);
    assert_eq!(smarthost.rest(), []);
}

#[test]
fn who_is_not_known_steers_nothing() {
    let config = format!(
        "{TRUSTED}{STRANGERS}{NOWHERE}[application.shop]\npassword_hash = \"{}\"\nclass = \"bulk\"\n",
        hash()
    );
    let home = Home::new(&config);
    let daemon = home.start();
    let mut smtp = Smtp::connect(daemon.listener(1));
    smtp.reply();
    assert!(!smtp.say("EHLO client.test").contains("FUTURERELEASE"));
    assert!(smtp.say("MAIL FROM:<a@b.test> MT-PRIORITY=9").starts_with("555 5.5.4 "));
    assert!(smtp.login("shop", "hunter2").starts_with("235 "));
    assert!(smtp.say("EHLO client.test").contains("FUTURERELEASE"));
}

#[test]
fn the_class_is_the_routes_then_the_mails_then_the_applications() {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"optional\"\n{NOWHERE}\
         [application.shop]\npassword_hash = \"{}\"\nclass = \"bulk\"\n\
         [[route]]\nrecipient = \"@ruled.test\"\nclass = \"normal\"\n",
        hash()
    );
    let home = Home::new(&config);
    let daemon = home.start();
    let mut expected = Vec::new();
    for (login, priority, field, recipient, class) in [
        (false, "", "", "ana@guest.test", "normal"),
        (true, "", "", "ana@guest.test", "bulk"),
        (true, " MT-PRIORITY=0", "", "ana@guest.test", "normal"),
        (true, " MT-PRIORITY=1", "", "ana@guest.test", "priority"),
        (false, " MT-PRIORITY=-3", "", "ana@guest.test", "bulk"),
        (true, " MT-PRIORITY=-3", "X-Waystation-Class: priority\r\n", "ana@guest.test", "priority"),
        (true, " MT-PRIORITY=9", "X-Waystation-Class: priority\r\n", "ana@ruled.test", "normal"),
    ] {
        let mut smtp = Smtp::hello(daemon.address());
        if login {
            assert!(smtp.login("shop", "hunter2").starts_with("235 "));
            smtp.say("EHLO client.test");
        }
        assert!(smtp.say(&format!("MAIL FROM:<a@b.test>{priority}")).starts_with("250 "));
        assert!(smtp.say(&format!("RCPT TO:<{recipient}>")).starts_with("250 "));
        assert!(smtp.say("DATA").starts_with("354 "));
        assert!(smtp.say(&format!("{field}{LETTER}.")).starts_with("250 "));
        expected.push(class);
    }
    let classes: Vec<String> =
        home.json(["queue", "list", "--json"]).iter().map(|message| text(message, "class")).collect();
    assert_eq!(classes, expected);
}

#[test]
fn what_a_route_lets_expire_is_reported_while_its_lane_stands_still() {
    let smarthost = Smarthost::start();
    let config = format!(
        "{NOWHERE}{}default = true\n\
         [[route]]\nrecipient = \"@late.test\"\nsmarthost = \"shop\"\nexpires_after = \"1s\"\n\
         [[route]]\nrecipient = \"@patient.test\"\nsmarthost = \"shop\"\nexpires_after = \"1h\"\n",
        smarthost.section("up")
    );
    let home = Home::new(&config);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let late = smtp.post("shop@shop.test", &["ana@late.test"], LETTER);
    let patient = smtp.post("shop@shop.test", &["ana@patient.test"], LETTER);
    let line = daemon.logged("message expired");
    assert!(line.contains(&late) && line.contains("expires_after"), "{line}");
    let bounce = smarthost.next();
    assert_eq!((&*bounce.sender, &*bounce.recipients[0]), ("", "shop@shop.test"));
    for part in ["Status: 5.4.7", "expires_after", "a rule of this relay", "ana@late.test"] {
        assert!(bounce.content.contains(part), "no {part} in\n{}", bounce.content);
    }
    let journal = home.json(["journal", "--json", "--state", "expired"]);
    assert_eq!(journal.iter().map(|message| text(message, "id")).collect::<Vec<_>>(), [&*late]);
    assert_eq!(journal[0]["recipients"][0]["attempts"], 0);
    let queued = home.json(["queue", "list", "--json"]);
    assert!(queued.iter().any(|message| text(message, "id") == patient), "{queued:#?}");
}

#[test]
fn held_mail_expires_when_it_is_released_and_without_an_attempt() {
    let smarthost = Smarthost::start();
    let config = format!(
        "{}[[route]]\nrecipient = \"@late.test\"\naction = \"hold\"\nexpires_after = \"1s\"\n",
        smarthost.section("shop")
    );
    let home = Home::new(&config);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let held = smtp.post("shop@shop.test", &["ana@late.test"], LETTER);
    // Another message's expiry says that the first one's time is over, too.
    let config = format!("{NOWHERE}[[route]]\nrecipient = \"@late.test\"\nexpires_after = \"1s\"\n");
    home.configure(&config);
    home.cli(["reload"]).good();
    let other = Smtp::hello(daemon.address()).post("shop@shop.test", &["bob@late.test"], LETTER);
    assert!(daemon.logged("message expired").contains(&other));
    assert_eq!(states_of(&home.json(["queue", "list", "--json", "--state", "held"])), ["held"]);
    let told = home.cli(["queue", "release", "--dry-run", "--all"]).good();
    let over = "1 of them would expire at once instead of being sent: the time that a route allows (expires_after) ended while it was held\n";
    assert!(told.starts_with("1 message would be released\n") && told.ends_with(over), "{told}");
    let told = home.cli(["queue", "release", &held]).good();
    let over = "1 message expires now instead of being sent: the time that a route allows (expires_after) ended while it was held\n";
    assert_eq!(told, over);
    let line = daemon.next_with("message expired");
    assert!(line.contains(&held), "{line}");
    assert_eq!(smarthost.rest(), []);
}

#[test]
fn a_reply_says_when_a_route_lets_mail_expire_before_it_can_go() {
    let smarthost = Smarthost::start();
    let home = Home::new(
        &(smarthost.section("shop")
            + "per_hour = 1\n[[route]]\nrecipient = \"@soon.test\"\nsmarthost = \"shop\"\nexpires_after = \"10m\"\n"),
    );
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let mut told = |recipient: &str| smtp.submit("shop@shop.test", &[recipient], LETTER);
    assert!(!told("ana@soon.test").contains("expire"), "it goes at once");
    let reply = told("ana@soon.test");
    assert!(reply.contains(", due ") && reply.contains(", but its route lets it expire "), "{reply}");
    assert!(!told("ana@guest.test").contains("expire"), "another route");
}
