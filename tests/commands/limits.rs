//! What a smarthost's limits do to mail, and what users see of them.

use crate::home::{Home, LIMIT, NOWHERE, recipients, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Instant;

fn with_limits(smarthost: &Smarthost, limits: &str) -> String {
    format!("{}{limits}\n", smarthost.section("shop"))
}

/// Waits until so many count by the first limit, and none is on its way.
fn used(home: &Home, count: u64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let lane = lane(home);
        let journal = home.json(["journal", "--json", "--state", "delivered"]);
        if lane["limits"][0]["used"] == count && journal.len() as u64 >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{lane:#}");
    }
}

fn lane(home: &Home) -> Value {
    home.json(["status", "--json"]).into_iter().find(|lane| lane["lane"] == "shop").unwrap()
}

#[test]
fn over_a_limit_mail_waits_and_the_reply_the_queue_and_status_say_until_when() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_day = 3"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..3 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    used(&home, 3);
    let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(reply.starts_with("250 2.0.0 ") && reply.contains("queued for shop, due "), "{reply}");
    let status = lane(&home);
    let limit = &status["limits"][0];
    assert_eq!(
        (&limit["limit"], &limit["most"], &limit["used"], &limit["left"]),
        (&"per_day".into(), &3.into(), &3.into(), &0.into())
    );
    let queued = home.json(["queue", "list", "--json"]);
    assert_eq!(queued.len(), 1);
    let (next, due) = (text(limit, "next"), text(&queued[0]["recipients"][0], "next_attempt"));
    let seconds = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((seconds(&next) - seconds(&due)).abs() <= 1, "{next} {due}");
    let received = seconds(&text(&queued[0], "received_at"));
    assert!((seconds(&next) - received - 86_400).abs() < 3_600, "{next}");
    // Another four: the last of the five leaves with the second day's three.
    for _ in 0..4 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let status = lane(&home);
    assert_eq!((&status["queued"], &status["quota_left"]), (&5.into(), &0.into()));
    let empty = seconds(&text(&status, "empty_by"));
    assert!((empty - received - 2 * 86_400).abs() < 3_600, "{status:#}");
    assert!((seconds(&text(&status, "next_due")) - seconds(&next)).abs() <= 1, "{status:#}");
    let told = home.cli(["status"]).good();
    assert!(
        ["NEXT DUE", "EMPTY BY", "QUOTA LEFT", "LEFT FOR PRIORITY"].iter().all(|title| told.contains(title))
    );
}

/// One recipient is deferred for long, others of its message only wait for the minute's limit.
#[test]
fn a_deferred_recipient_waits_its_own_time_whatever_becomes_of_the_others() {
    let smarthost = Smarthost::start();
    let retry = "[retry]\nschedule = [\"2h\"]\n";
    let home = Home::new(&format!("{}per_minute = 3\n{retry}", smarthost.section("shop")));
    let mut daemon = home.start();
    let all = ["later@guest.test", "a@guest.test", "b@guest.test", "c@guest.test", "d@guest.test"];
    let id = Smtp::hello(daemon.address()).post("shop@shop.test", &all, LETTER);
    assert_eq!([smarthost.next().recipients.len(), smarthost.next().recipients.len()], [2, 1]);
    let waits = |name: &str| {
        let listed = home.json(["queue", "list", "--json"]);
        let one = recipients(&listed).into_iter().find(|one| text(one, "address").starts_with(name));
        let until: jiff::Timestamp = text(one.unwrap(), "next_attempt").parse().unwrap();
        until.duration_since(jiff::Timestamp::now()).as_secs()
    };
    let deferred = daemon.logged("message deferred");
    let until = deferred.split("next_attempt=").nth(1).unwrap().split(' ').next().unwrap();
    let until: jiff::Timestamp = until.parse().unwrap();
    assert!((7_000..=7_200).contains(&waits("later")) && waits("d") <= 60, "{}", waits("later"));
    home.cli(["queue", "delete", "--state", "queued", "--yes"]).good();
    let shown = home.json(["queue", "show", &id, "--json"]);
    let open = recipients(&shown).into_iter().find(|one| text(one, "state") == "deferred").unwrap();
    let told: jiff::Timestamp = text(open, "next_attempt").parse().unwrap();
    assert_eq!(told.as_second(), until.as_second());
    let due: jiff::Timestamp = text(&lane(&home), "next_due").parse().unwrap();
    assert_eq!(due.as_second(), until.as_second(), "and so does its message");
    home.cli(["queue", "retry", &id]).good();
    assert!(waits("later") <= 60, "an admin may have it tried as soon as the limit allows");
}

#[test]
fn a_lane_is_empty_when_the_last_of_what_is_scheduled_or_deferred_has_gone() {
    let smarthost = Smarthost::start();
    let other = Smarthost::start();
    let home = Home::new(&format!(
        "{}default = true\nper_day = 2\n{}[[route]]\nrecipient = \"@free.test\"\nsmarthost = \"free\"\n\
         [retry]\nschedule = [\"2h\"]\n",
        smarthost.section("shop"),
        other.section("free"),
    ));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let empty_by = |name: &str| {
        let lane = home.json(["status", "--json"]).into_iter().find(|lane| lane["lane"] == name).unwrap();
        lane["empty_by"].as_str().map(|time| time.parse::<jiff::Timestamp>().unwrap())
    };
    let due = |recipient: &str| {
        let listed = home.json(["queue", "list", "--json", "--recipient", recipient]);
        text(&listed[0]["recipients"][0], "next_attempt").parse::<jiff::Timestamp>().unwrap()
    };
    let mut later = |seconds: u32, recipient: &str| {
        let reply = smtp.say(&format!("MAIL FROM:<shop@shop.test> HOLDFOR={seconds}"));
        assert!(reply.starts_with("250 "), "{reply}");
        smtp.say(&format!("RCPT TO:<{recipient}>"));
        smtp.say("DATA");
        smtp.send(format!("{LETTER}.\r\n").as_bytes());
        assert!(smtp.reply().starts_with("250 "));
    };
    // Nothing waits; then one that is scheduled, with limits and without.
    assert_eq!((empty_by("shop"), empty_by("free")), (None, None));
    later(36_000, "ten@guest.test");
    later(7_200, "two@free.test");
    assert_eq!((empty_by("shop"), empty_by("free")), (Some(due("ten@*")), Some(due("two@*"))));
    // Three of them are more than a day holds: the last one goes a day behind the first.
    later(36_000, "eleven@guest.test");
    later(18_000, "five@guest.test");
    let (empty, first) = (empty_by("shop").unwrap(), due("five@*"));
    let behind = (empty.as_second() - first.as_second()) - 86_400;
    assert!((0..=15).contains(&behind), "{behind}");
    // What is held doesn't count, and what was deferred goes when it is tried again.
    home.cli(["queue", "hold", "--recipient", "*@guest.test", "--yes"]).good();
    assert_eq!(empty_by("shop"), None);
    Smtp::hello(daemon.address()).post("shop@shop.test", &["later@guest.test"], LETTER);
    let deadline = Instant::now() + LIMIT;
    while home.json(["queue", "list", "--json", "--state", "deferred"]).is_empty() {
        assert!(Instant::now() < deadline, "it isn't deferred");
    }
    assert_eq!(empty_by("shop"), Some(due("later@*")));
}

#[test]
fn what_is_scheduled_or_deferred_into_a_full_limit_is_told_when_the_limit_lets_it_go() {
    let smarthost = Smarthost::start();
    let other = Smarthost::start();
    let home = Home::new(&format!(
        "{}default = true\nper_day = 3\n{}fallback = [\"shop\"]\nper_day = 3\n\
         [[route]]\nrecipient = \"@sol.test\"\nsmarthost = \"sol\"\n[retry]\nschedule = [\"2h\"]\n",
        smarthost.section("shop"),
        other.section("sol"),
    ));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let mut later = |seconds: u32, recipient: &str| {
        smtp.say(&format!("MAIL FROM:<shop@shop.test> HOLDFOR={seconds}"));
        smtp.say(&format!("RCPT TO:<{recipient}>"));
        smtp.say("DATA");
        smtp.send(format!("{LETTER}.\r\n").as_bytes());
        smtp.reply()
    };
    let next = |recipient: &str| {
        let listed = home.json(["queue", "list", "--json", "--recipient", recipient]);
        text(&listed[0]["recipients"][0], "next_attempt").parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let now = jiff::Timestamp::now().as_second();
    let is_about =
        |at: i64, hours: i64| (0..LIMIT.as_secs().cast_signed()).contains(&(at - now - 3600 * hours));
    // Nothing is in its way: it goes when it is due, and so do the next two; the fourth a day after the first.
    for (recipient, hours) in [("a@x.test", 5), ("b@x.test", 5), ("c@x.test", 5), ("d@x.test", 29)] {
        let reply = later(5 * 3600, recipient);
        assert!(reply.contains(" queued for shop, due ") && is_about(next(recipient), hours), "{reply}");
        // After 24 hours the reply has the day, however late it is.
        assert_eq!(
            reply.split(", due ").nth(1).unwrap().contains('-'),
            hours > 24 || crosses_midnight(),
            "{reply}"
        );
    }
    let listed = ["a@x.test", "b@x.test", "c@x.test", "d@x.test"].map(next);
    assert!(listed.into_iter().zip([5, 5, 5, 29]).all(|(at, hours)| is_about(at, hours)), "{listed:?} {now}");
    // The smarthost that stands in has no room for the fourth then, either; with room it takes it when it is due.
    for (recipient, hours) in [("a@sol.test", 5), ("b@sol.test", 5), ("c@sol.test", 5), ("d@sol.test", 29)] {
        let reply = later(5 * 3600, recipient);
        // The fourth goes by whichever has room a moment before the other.
        let names_it = reply.contains(" queued for sol, due ") || hours > 24;
        assert!(names_it && is_about(next(recipient), hours), "{reply}");
        assert!(hours < 24 || reply.split(", due ").nth(1).unwrap().contains('-'), "{reply}");
    }
    home.cli(["queue", "delete", "--recipient", "@x.test", "--yes"]).good();
    assert!(is_about(next("d@sol.test"), 5));
    home.cli(["queue", "delete", "--recipient", "*", "--yes"]).good();
    // The day is used up while one is deferred.
    Smtp::hello(daemon.address()).post("shop@shop.test", &["later@x.test"], LETTER);
    for recipient in ["e@x.test", "f@x.test", "g@x.test"] {
        Smtp::hello(daemon.address()).post("shop@shop.test", &[recipient], LETTER);
    }
    used(&home, 3);
    let deadline = Instant::now() + LIMIT;
    while home.json(["queue", "list", "--json", "--state", "deferred"]).is_empty() {
        assert!(Instant::now() < deadline, "it isn't deferred");
    }
    assert!(is_about(next("later@x.test"), 24), "{}", home.cli(["queue", "list"]).good());
    let status = lane(&home);
    let told = text(&status, "next_due").parse::<jiff::Timestamp>().unwrap().as_second();
    assert!(is_about(told, 24), "{status:#}");
}

/// Whether five hours from now are another day.
fn crosses_midnight() -> bool {
    let now = jiff::Zoned::now();
    now.checked_add(jiff::SignedDuration::from_hours(5)).unwrap().date() != now.date()
}

#[test]
fn a_password_reset_leaves_when_bulk_mail_has_used_up_the_day() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_day = 20\npriority_reserve = 5"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let of_class = |class: &str| format!("X-Waystation-Class: {class}\r\n{LETTER}");
    for _ in 0..200 {
        smtp.post("shop@shop.test", &["ana@guest.test"], &of_class("bulk"));
    }
    used(&home, 15);
    assert!(smtp.submit("shop@shop.test", &["reset@guest.test"], &of_class("priority")).starts_with("250 "));
    used(&home, 16);
    let delivered = home.json(["journal", "--json", "--state", "delivered"]);
    assert_eq!(text(&delivered.last().unwrap()["recipients"][0], "address"), "reset@guest.test");
    assert_eq!(lane(&home)["queued"], 185);
}

#[test]
fn what_was_sent_is_not_forgotten_by_a_restart_or_a_change_of_the_limit() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_hour = 2"));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..5 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    used(&home, 2);
    daemon.stop();
    let _daemon = home.start();
    assert_eq!(lane(&home)["limits"][0]["used"], 2);
    home.configure(&with_limits(&smarthost, "per_hour = 3\nper_month = 100"));
    let told = home.cli(["reload"]).good();
    assert!(told.contains("per_hour 2 → 3") && told.contains("per_month 0 → 100"), "{told}");
    used(&home, 3);
    let limits = lane(&home)["limits"].clone();
    assert_eq!((&limits[0]["left"], &limits[1]["used"]), (&0.into(), &3.into()));
}

#[test]
fn status_tells_when_urgent_mail_leaves_behind_much_that_is_not() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_hour = 2"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..2 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    used(&home, 2);
    for class in ["bulk"; 21].into_iter().chain(["priority"; 4]) {
        smtp.post("shop@shop.test", &["ana@guest.test"], &format!("X-Waystation-Class: {class}\r\n{LETTER}"));
    }
    let listed = home.json(["queue", "list", "--json"]);
    let first = listed.iter().map(|one| text(&one["recipients"][0], "next_attempt")).min().unwrap();
    let seconds = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second();
    assert!(
        (seconds(&text(&lane(&home), "next_due")) - seconds(&first)).abs() <= 1,
        "{first} {:#}",
        lane(&home)
    );
}

#[test]
fn queued_mail_follows_new_routes() {
    let (first, second) = (Smarthost::start(), Smarthost::start());
    let config = |route: &str| {
        let shop = first
            .section("shop")
            .replace("[smarthost.shop]\n", "[smarthost.shop]\ndefault = true\nenabled = false\n");
        format!("{shop}{}{route}", second.section("sol"))
    };
    let home = Home::new(&config(""));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    smtp.post("shop@shop.test", &["eva@far.test"], &format!("X-Kind: reset\r\n{LETTER}"));
    home.configure(&config("[[route]]\nheader = { X-Kind = \"reset\" }\nsmarthost = \"sol\"\n"));
    home.cli(["reload"]).good();
    second.next();
    let journal = home.json(["journal", "--json"]);
    let lanes: Vec<(String, String)> =
        journal.iter().map(|one| (text(&one["recipients"][0], "address"), text(one, "lane"))).collect();
    assert_eq!(lanes, [("ana@guest.test".into(), "shop".into()), ("eva@far.test".into(), "sol".into())]);
}

#[test]
fn queued_mail_is_held_by_a_new_route_unless_an_admin_released_it() {
    let smarthost = Smarthost::start();
    let config = |action: &str| {
        let shop =
            smarthost.section("shop").replace("[smarthost.shop]\n", "[smarthost.shop]\nenabled = false\n");
        format!("{shop}[[route]]\nrecipient = \"@far.test\"\naction = \"{action}\"\n")
    };
    let home = Home::new(&config("send"));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let held = smtp.post("shop@shop.test", &["eva@far.test"], LETTER);
    let released = smtp.post("shop@shop.test", &["kim@far.test"], LETTER);
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    home.cli(["queue", "hold", &released]).good();
    home.cli(["queue", "release", &released]).good();
    home.configure(&config("hold"));
    home.cli(["reload"]).good();
    daemon.logged("queued mail follows the new routes");
    let ids = |state: &str| -> Vec<String> {
        home.json(["queue", "list", "--json", "--state", state]).iter().map(|one| text(one, "id")).collect()
    };
    assert_eq!((ids("held"), ids("queued").len()), (vec![held.clone()], 2));
    let life = home.json(["journal", "show", &held, "--json"]);
    assert_eq!(text(&life[0]["happenings"][0], "detail"), "by a rule, after a reload");
    // What waits for an admin stays, whatever the routes say then.
    home.configure(&config("send"));
    home.cli(["reload"]).good();
    daemon.logged("queued mail follows the new routes");
    assert_eq!(ids("held"), [held]);
}

#[test]
fn a_bounce_leaves_by_what_is_kept_for_priority_and_counts() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_day = 4\npriority_reserve = 2"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..5 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    used(&home, 2);
    let reset = |recipient: &str| (recipient.to_owned(), format!("X-Waystation-Class: priority\r\n{LETTER}"));
    for (recipient, content) in [reset("no@guest.test"), reset("no@guest.test"), reset("eva@guest.test")] {
        smtp.post("shop@shop.test", &[&recipient], &content);
    }
    used(&home, 4);
    let deadline = Instant::now() + LIMIT;
    while home.json(["journal", "--json", "--state", "failed"]).len() < 2 {
        assert!(Instant::now() < deadline, "{:#}", lane(&home));
    }
    let taken: Vec<String> = smarthost.rest().into_iter().map(|taken| taken.sender).collect();
    // A tenth of what is kept, rounded up, is one bounce; the other one waits as normal mail does.
    assert_eq!(taken.iter().filter(|sender| sender.is_empty()).count(), 1, "{taken:?}");
    let queued = home.json(["queue", "list", "--json"]);
    let waits: Vec<(String, String)> =
        queued.iter().map(|entry| (text(entry, "sender"), text(entry, "class"))).collect();
    assert_eq!(waits.len(), 4, "{waits:?}");
    assert!(waits.contains(&(String::new(), "normal".into())), "{waits:?}");
}

/// Posts so many messages over one connection, many in one packet.
fn pour(address: SocketAddr, messages: usize) {
    const AT_ONCE: usize = 25;
    let letter = format!("X-Waystation-Class: bulk\r\n{LETTER}");
    let one = format!(
        "MAIL FROM:<shop@shop.test>\r\nRCPT TO:<ana@guest.test>\r\nBDAT {} LAST\r\n{letter}",
        letter.len()
    );
    let mut smtp = Smtp::hello(address);
    for _ in 0..messages / AT_ONCE {
        smtp.send(one.repeat(AT_ONCE).as_bytes());
        for _ in 0..3 * AT_ONCE {
            let reply = smtp.reply();
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }
}

#[test]
fn a_password_reset_leaves_at_once_with_ten_thousand_bulk_messages_before_it_and_the_day_spent() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(&smarthost, "per_day = 100\npriority_reserve = 10"));
    let daemon = home.start();
    let (address, begun) = (daemon.address(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| pour(address, 1_275));
        }
    });
    println!("10,200 bulk messages were queued after {:?}", begun.elapsed());
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        let lane = lane(&home);
        if lane["limits"][0]["left"] == 0 && lane["limits"][0]["used"] == 90 {
            break lane;
        }
        assert!(Instant::now() < deadline, "{lane:#}");
    };
    assert!(status["queued"].as_u64().unwrap() >= 10_000, "{status:#}");
    let mut smtp = Smtp::hello(address);
    let asked = Instant::now();
    smtp.post("shop@shop.test", &["reset@guest.test"], &format!("X-Waystation-Class: priority\r\n{LETTER}"));
    while smarthost.next().recipients != ["reset@guest.test"] {}
    println!("the password reset left after {:?}", asked.elapsed());
}

#[test]
fn a_smarthost_that_leaves_the_file_and_comes_back_is_sent_no_more_than_it_allows() {
    let ((smarthost, leave), other) = (Smarthost::slow(), Smarthost::start());
    let without = other.section("other");
    let with = with_limits(&smarthost, "default = true\nconnections = 1\nper_hour = 2") + &without;
    let home = Home::new(&with);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..6 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    smarthost.next();
    for _ in 0..3 {
        for config in [&without, &with] {
            home.configure(config);
            home.cli(["reload"]).good();
        }
        let limit = &lane(&home)["limits"][0];
        assert!(limit["used"].as_u64().unwrap() <= 2, "{limit:#}");
    }
    for _ in 0..6 {
        leave.send(()).unwrap();
    }
    used(&home, 2);
    assert_eq!((smarthost.rest().len(), smarthost.most_at_once()), (1, 1));
    assert_eq!(lane(&home)["queued"], 4);
}

#[test]
fn mail_that_an_admin_moved_stays_where_it_is_when_other_routes_change() {
    let off = |name: &str, more: &str| {
        format!("[smarthost.{name}]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nenabled = false\n{more}")
    };
    let config = off("shop", "default = true\n") + &off("sol", "");
    let home = Home::new(&config);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    let moved = home.cli(["queue", "reroute", "--to", "sol", "--recipient", "ana@guest.test", "-y"]).good();
    assert!(moved.starts_with("1 message is moved, but waits for sol, which is switched off; "), "{moved}");
    smtp.post("shop@shop.test", &["eva@far.test"], LETTER);
    home.configure(&(config + "[[route]]\nrecipient = \"@far.test\"\nsmarthost = \"sol\"\n"));
    home.cli(["reload"]).good();
    let deadline = Instant::now() + LIMIT;
    loop {
        let lanes: Vec<String> =
            home.json(["queue", "list", "--json"]).iter().map(|one| text(one, "lane")).collect();
        assert_eq!(lanes[0], "sol", "as the admin chose");
        if lanes[1] == "sol" {
            break;
        }
        assert!(Instant::now() < deadline, "{lanes:?}");
    }
}

#[test]
fn mail_for_a_smarthost_that_is_switched_off_is_told_no_time() {
    let home = Home::new(NOWHERE);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(reply.ends_with(" queued for shop, which is switched off"), "{reply}");
    let queued = home.json(["queue", "list", "--json"]);
    assert_eq!(
        (&queued[0]["recipients"][0]["next_attempt"], &lane(&home)["next_due"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_test_letter_counts_and_is_refused_when_the_limit_is_used_up() {
    let smarthost = Smarthost::start();
    let home = Home::new(&with_limits(
        &smarthost,
        "address = \"shop@shop.test\"\ndisplay_name = \"Casa Sol\"\nper_hour = 2",
    ));
    let _daemon = home.start();
    for used in 1..=2 {
        let told = home.cli(["test", "shop", "ana@guest.test"]).good();
        assert!(told.contains("it counts against the limits"), "{told}");
        assert_eq!(lane(&home)["limits"][0]["used"], used);
        let content = smarthost.next().content;
        assert!(content.contains("From: Casa Sol <shop@shop.test>\n"), "as all mail of it goes: {content}");
    }
    let told = home.cli(["test", "shop", "ana@guest.test"]).failed(75);
    assert!(told.contains("smarthost.shop has used up its limit; there is room at 2"), "{told}");
    assert_eq!(smarthost.rest(), []);
}
