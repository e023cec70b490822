//! `fallback`: the other way that mail takes when its smarthost is down or out of quota, and when it doesn't.

use crate::home::{Daemon, Home, LIMIT, text};
use crate::ports::closed_port;
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use serde_json::Value;
use std::time::Instant;

/// The first smarthost with a fallback; the other one takes mail from the shop only.
fn config(first: &str, other: &Smarthost) -> String {
    let first =
        first.replace("[smarthost.shop]\n", "[smarthost.shop]\ndefault = true\nfallback = [\"sol\"]\n");
    format!("{first}{}address = \"sol@shop.test\"\nallowed_from = [\"@shop.test\"]\n", other.section("sol"))
}

#[test]
fn mail_of_a_smarthost_that_is_down_goes_by_another_that_accepts_its_from() {
    let other = Smarthost::start();
    let down = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", closed_port());
    let home = Home::new(&config(&down, &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let foreign = LETTER.replace("From: shop@shop.test", "From: boss@elsewhere.test");
    smtp.post("shop@shop.test", &["first@guest.test"], &foreign);
    smtp.post("shop@shop.test", &["second@guest.test"], LETTER);
    other.next();
    assert!(other.rest().is_empty());
    let deadline = Instant::now() + LIMIT;
    let journal = loop {
        let journal = home.json(["journal", "--json"]);
        if journal[1]["recipients"][0]["state"] == "delivered" {
            break journal;
        }
        assert!(Instant::now() < deadline, "{journal:#?}");
    };
    assert_eq!((text(&journal[0], "lane"), text(&journal[1], "lane")), ("shop".into(), "sol".into()));
    assert_eq!(text(&journal[0]["recipients"][0], "state"), "queued", "no attempt was burnt");
    let life = &home.json(["queue", "show", &text(&journal[1], "id"), "--json"])[0];
    let told = life["happenings"].as_array().unwrap().iter().find(|one| one["kind"] == "rerouted").unwrap();
    assert!(text(told, "detail").starts_with("from shop to sol: shop doesn't work: "), "{told}");
}

#[test]
fn mail_over_the_days_limit_goes_by_another() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let home = Home::new(&config(&format!("{}per_day = 2\n", first.section("shop")), &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..3 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let _ = (first.next(), first.next(), other.next());
}

#[test]
fn a_fallback_must_be_another_smarthost_that_there_is() {
    let home = Home::new("[smarthost.shop]\nhost = \"a.example\"\nfallback = [\"shop\", \"shopp\"]\n");
    let told = home.cli(["check"]).failed(78);
    assert!(
        told.contains("is this smarthost itself") && told.contains("there is no [smarthost.shopp]"),
        "{told}"
    );
}

/// Mail that waits in a lane, and when it is to leave.
fn waits(home: &Home, lane: &str) -> Vec<jiff::Timestamp> {
    let queued = home.json(["queue", "list", "--json", "--lane", lane]);
    let next = |entry: &Value| text(&entry["recipients"][0], "next_attempt").parse().unwrap();
    queued.iter().map(next).collect()
}

fn lane(home: &Home, name: &str) -> Value {
    home.json(["status", "--json"]).into_iter().find(|lane| lane["lane"] == name).unwrap()
}

/// Waits until a lane has used so much of its first limit, and none of it is on its way.
fn used(home: &Home, name: &str, count: u64) {
    let deadline = Instant::now() + LIMIT;
    let delivered =
        || home.json(["journal", "--json", "--state", "delivered", "--lane", name]).len() as u64 >= count;
    while !(lane(home, name)["limits"][0]["used"] == count && delivered()) {
        assert!(Instant::now() < deadline, "{:#}", lane(home, name));
    }
}

/// A third smarthost that is down, with a fallback of its own: what is posted to it arrives there when a round over
/// all lanes is over.
fn marker(at: &Smarthost) -> String {
    let down = format!("[smarthost.zeta]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", closed_port());
    let route = "[[route]]\nrecipient = \"mark@guest.test\"\nsmarthost = \"zeta\"\n";
    format!("{down}fallback = [\"mark\"]\n{}{route}", at.section("mark"))
}

fn rounds_pass(smtp: &mut Smtp, at: &Smarthost) {
    for _ in 0..2 {
        smtp.post("shop@shop.test", &["mark@guest.test"], LETTER);
        at.next();
    }
}

#[test]
fn over_the_limit_the_reply_and_the_queue_tell_the_time_of_the_smarthost_that_takes_over() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let config = config(&format!("{}per_day = 2\n", first.section("shop")), &other);
    let home = Home::new(&format!("{config}per_hour = 2\n"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let told: Vec<String> =
        (0..6).map(|_| smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER)).collect();
    assert!(told[..2].iter().all(|reply| reply.contains(" queued for shop, due ")), "{told:?}");
    assert!(told[2..].iter().all(|reply| reply.contains(" queued for sol, due ")), "{told:?}");
    let _ = (first.next(), first.next(), other.next(), other.next());
    used(&home, "shop", 2);
    used(&home, "sol", 2);
    // The other two stay where they are until the other smarthost has room, which it has sooner than the first.
    let (now, waits) = (jiff::Timestamp::now(), waits(&home, "shop"));
    let minutes: Vec<i64> = waits.iter().map(|at| at.duration_since(now).as_mins()).collect();
    assert!(minutes.len() == 2 && minutes.iter().all(|wait| (50..=60).contains(wait)), "{minutes:?}");
    let (shop, next) = (lane(&home, "shop"), waits.iter().min().unwrap().to_string());
    let seconds = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((seconds(&text(&shop, "next_due")) - seconds(&next)).abs() <= 1, "{next} {shop:#}");
    // Whose From the other one doesn't accept waits for its own smarthost, until tomorrow.
    let foreign = LETTER.replace("From: shop@shop.test", "From: boss@elsewhere.test");
    let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], &foreign);
    let due = reply.split(" queued for shop, due ").nth(1).unwrap_or_else(|| panic!("{reply}"));
    assert!(due.contains('-'), "another day: {reply}");
}

#[test]
fn while_a_smarthost_is_down_the_reply_names_the_one_that_takes_over_or_the_next_try() {
    let other = Smarthost::start();
    let down = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", closed_port());
    let home = Home::new(&config(&down, &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["first@guest.test"], LETTER);
    other.next();
    let reply = smtp.submit("shop@shop.test", &["second@guest.test"], LETTER);
    assert!(reply.contains(" queued for sol, due "), "{reply}");
    other.next();
    let foreign = LETTER.replace("From: shop@shop.test", "From: boss@elsewhere.test");
    let reply = smtp.submit("shop@shop.test", &["third@guest.test"], &foreign);
    assert!(reply.contains(" queued for shop, due "), "{reply}");
    let deadline = Instant::now() + LIMIT;
    loop {
        // A try between two questions moves the next one.
        let (before, waits, after) = (lane(&home, "shop"), waits(&home, "shop"), lane(&home, "shop"));
        let probe = text(&before, "next_probe");
        if probe == text(&after, "next_probe") && after["next_due"] == after["next_probe"] {
            let told: jiff::Timestamp = probe.parse().unwrap();
            let told = told.as_millisecond();
            assert_eq!(waits.iter().map(|at| at.as_millisecond()).collect::<Vec<_>>(), [told]);
            return;
        }
        assert!(Instant::now() < deadline, "{before:#} {after:#}");
    }
}

#[test]
fn what_is_due_later_is_told_the_time_of_whoever_takes_it_then() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let shop = format!("{}per_day = 1\n", first.section("shop"));
    let config = config(&shop, &other);
    let home = Home::new(&format!("{config}per_day = 2\n"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..2 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let _ = (first.next(), other.next());
    used(&home, "shop", 1);
    used(&home, "sol", 1);
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let later = format!("X-Waystation-Send-At: {at}\r\n{LETTER}");
    let told = |smtp: &mut Smtp, letter: &str| {
        let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], letter);
        let told = reply.split(" queued for ").nth(1).and_then(|rest| rest.split_once(", due "));
        let (lane, due) = told.unwrap_or_else(|| panic!("{reply}"));
        let hours = waits(&home, "shop").last().unwrap().duration_since(jiff::Timestamp::now()).as_hours();
        (lane.to_owned(), due.to_owned(), hours)
    };
    // The other one has room for it, and none for what its From isn't accepted of.
    let (lane, _, hours) = told(&mut smtp, &later);
    assert_eq!((&*lane, hours), ("sol", 1), "when it is due");
    let (lane, due, hours) =
        told(&mut smtp, &later.replace("From: shop@shop.test", "From: boss@elsewhere.test"));
    assert!(lane == "shop" && hours >= 23 && due.contains('-'), "another day: {lane} {due} {hours}");
    // Nor has it room for one more.
    smtp.post("shop@shop.test", &["eve@guest.test"], LETTER);
    other.next();
    used(&home, "sol", 2);
    let (_, due, hours) = told(&mut smtp, &later);
    assert!(hours >= 23 && due.contains('-'), "another day: {due} {hours}");
}

#[test]
fn what_is_due_before_its_stopped_smarthost_is_tried_again_is_told_to_go_by_another() {
    let other = Smarthost::start();
    let nobody = closed_port();
    let shop = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {nobody}\ntls = \"none\"\n");
    let home = Home::new(&config(&shop, &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let probe = || {
        let lanes = home.json(["status", "--json"]);
        let lane = lanes.iter().find(|lane| lane["lane"] == "shop").unwrap();
        lane["next_probe"].as_str().map(|at| at.parse::<jiff::Timestamp>().unwrap())
    };
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    let deadline = Instant::now() + LIMIT;
    let reply = loop {
        assert!(Instant::now() < deadline, "no probe lay far enough ahead");
        let (now, second) = (jiff::Timestamp::now(), jiff::SignedDuration::from_secs(1));
        let Some(next) = probe().filter(|next| *next > now + second * 3) else { continue };
        let later = format!("X-Waystation-Send-At: {}\r\n{LETTER}", next - second);
        let reply = smtp.submit("shop@shop.test", &["eve@guest.test"], &later);
        // Nothing was tried meanwhile.
        if probe() == Some(next) {
            break reply;
        }
    };
    assert!(reply.contains(" queued for sol, due "), "{reply}");
    while other.next().recipients != ["eve@guest.test"] {}
}

#[test]
fn status_tells_when_the_next_message_leaves_where_many_that_came_before_it_are_due_later() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let home = Home::new(&config(&format!("{}per_day = 1\n", first.section("shop")), &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    first.next();
    used(&home, "shop", 1);
    let now = jiff::Timestamp::now();
    let mut later = |hours| {
        let at = now + jiff::SignedDuration::from_hours(hours);
        let letter = format!("X-Waystation-Send-At: {at}\r\n{LETTER}");
        smtp.submit("shop@shop.test", &["ana@guest.test"], &letter);
    };
    for _ in 0..21 {
        later(3);
    }
    later(2);
    let shop = lane(&home, "shop");
    let next: jiff::Timestamp = text(&shop, "next_due").parse().unwrap();
    let wait = next.duration_since(now).as_secs();
    assert!((7_140..=7_260).contains(&wait), "{wait} {shop:#}");
}

#[test]
fn what_is_deferred_is_not_told_the_next_try_of_a_stopped_smarthost_where_another_takes_it_sooner() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let config = config(&first.section("shop"), &other)
        .replace(&other.section("sol"), &other.section("sol").replace("127.0.0.1", "localhost"));
    let quota = "[[provider_reply]]\nhost = \"127.0.0.1\"\ntext = \"no such mailbox\"\nmeans = \"quota\"\n";
    let home = Home::new(&format!("{config}[retry]\nschedule = [\"5m\"]\n{quota}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["later@guest.test"], LETTER);
    home.journal_when(&["deferred"]);
    let deadline = Instant::now() + LIMIT;
    while text(&lane(&home, "shop"), "state") != "stopped" {
        assert!(Instant::now() < deadline, "{:#}", lane(&home, "shop"));
        smtp.post("shop@shop.test", &["no@guest.test"], LETTER);
    }
    // Another try that fails, of what only this smarthost takes, puts the next one off.
    let foreign = LETTER.replace("From: shop@shop.test", "From: boss@elsewhere.test");
    let stays = smtp.post("shop@shop.test", &["no@guest.test"], &foreign);
    let far = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(7);
    let probe = loop {
        let probe: jiff::Timestamp = text(&lane(&home, "shop"), "next_probe").parse().unwrap();
        if probe > far {
            break probe;
        }
        assert!(Instant::now() < deadline, "{:#}", lane(&home, "shop"));
        home.cli(["queue", "retry", &stays]).good();
    };
    let deferred = home.json(["queue", "list", "--json", "--state", "deferred", "--recipient", "later*"]);
    let next: jiff::Timestamp = text(&deferred[0]["recipients"][0], "next_attempt").parse().unwrap();
    assert!(next < probe, "{next} {probe}");
}

#[test]
fn no_more_is_moved_than_the_other_can_send_soon_and_nothing_goes_to_and_fro() {
    let (first, other, mark) = (Smarthost::start(), Smarthost::start(), Smarthost::start());
    let shop = format!("{}per_day = 1\n", first.section("shop"));
    let config = config(&shop, &other);
    let home = Home::new(&format!("{config}per_day = 1\nfallback = [\"shop\"]\n{}", marker(&mark)));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..6 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let _ = (first.next(), other.next());
    used(&home, "shop", 1);
    used(&home, "sol", 1);
    rounds_pass(&mut smtp, &mark);
    assert_eq!(
        (lane(&home, "shop")["queued"].as_u64(), lane(&home, "sol")["queued"].as_u64()),
        (Some(4), Some(0))
    );
    let mut journal = home.json(["journal", "--json"]);
    journal.retain(|entry| text(&entry["recipients"][0], "address") == "ana@guest.test");
    let moves = |entry: &Value| {
        let life = &home.json(["queue", "show", &text(entry, "id"), "--json"])[0];
        life["happenings"].as_array().unwrap().iter().filter(|one| one["kind"] == "rerouted").count()
    };
    assert_eq!(journal.iter().map(moves).sum::<usize>(), 1);
    assert!(first.rest().is_empty() && other.rest().is_empty());
}

#[test]
fn a_notice_of_an_exhausted_smarthost_goes_by_a_fallback_whatever_from_that_accepts() {
    let (first, other) = (Smarthost::start(), Smarthost::start());
    let shop = format!("{}per_day = 1\ncount = \"messages\"\n", first.section("shop"));
    let home = Home::new(&config(&shop, &other));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test", "no@guest.test"], LETTER);
    assert_eq!(first.next().recipients, ["ana@guest.test"]);
    let notice = other.next();
    assert_eq!((notice.sender.as_str(), notice.recipients), ("", vec!["shop@shop.test".to_owned()]));
    assert!(
        notice.content.contains("From: ") && notice.content.contains("<sol@shop.test>"),
        "{}",
        notice.content
    );
}

/// Where each message is, and what became of its first recipient, by that.
fn places(home: &Home) -> Vec<(String, String, String)> {
    let place = |one: &Value| {
        let first = &one["recipients"][0];
        (text(first, "address"), text(one, "lane"), text(first, "state"))
    };
    home.json(["journal", "--json"]).iter().map(place).collect()
}

fn place(address: &str, lane: &str, state: &str) -> (String, String, String) {
    (address.into(), lane.into(), state.into())
}

#[test]
fn what_the_other_smarthost_is_known_not_to_take_waits_for_its_own() {
    let (first, other, mark) = (Smarthost::start(), Smarthost::start(), Smarthost::start());
    let config = config(&format!("{}per_day = 1\n", first.section("shop")), &other);
    let home = Home::new(&format!("{config}max_size = \"4 KiB\"\n{}", marker(&mark)));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    first.next();
    used(&home, "shop", 1);
    smtp.post("shop@shop.test", &["bob@guest.test"], LETTER);
    other.next();
    let large = format!("{LETTER}{}", "a line of some length\r\n".repeat(200));
    let told = smtp.submit("shop@shop.test", &["large@guest.test"], &large);
    assert!(told.contains(" queued for shop, due ") && told.contains('-'), "another day: {told}");
    // Its answer to EHLO offered no SMTPUTF8.
    assert!(smtp.say("MAIL FROM:<shop@shop.test> SMTPUTF8").starts_with("250 "));
    assert!(smtp.say("RCPT TO:<j\u{f6}rg@guest.test>").starts_with("250 "));
    smtp.say("DATA");
    let told = smtp.say(&format!("{LETTER}."));
    assert!(told.contains(" queued for shop, due ") && told.contains('-'), "another day: {told}");
    rounds_pass(&mut smtp, &mark);
    let places = places(&home);
    for address in ["large@guest.test", "j\u{f6}rg@guest.test"] {
        assert!(places.contains(&place(address, "shop", "queued")), "{places:?}");
    }
    home.write("large.eml", &large);
    let told =
        home.cli(["explain", "large.eml", "--from", "shop@shop.test", "--to", "eve@guest.test"]).good();
    assert!(told.contains("  fallback: sol, takes no message of this size"), "{told}");
    assert!(told.contains("  no fallback takes it: "), "{told}");
}

#[test]
fn what_the_other_smarthost_refuses_for_its_sender_goes_back_and_is_not_bounced() {
    let (first, other, mark) = (Smarthost::start(), Smarthost::start(), Smarthost::start());
    let config = config(&format!("{}per_day = 1\n", first.section("shop")), &other);
    let home = Home::new(&format!("{config}{}", marker(&mark)));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    first.next();
    used(&home, "shop", 1);
    let id = smtp.post("no@shop.test", &["eve@guest.test"], LETTER);
    let moves = || {
        let life = home.json(["journal", "show", &id, "--json"]);
        let happenings = life[0]["happenings"].as_array().unwrap().clone();
        let moves = happenings.iter().filter(|one| one["kind"] == "rerouted");
        moves.map(|one| text(one, "detail")).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + LIMIT;
    while moves().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", moves());
    }
    rounds_pass(&mut smtp, &mark);
    let moves = moves();
    assert_eq!(moves.len(), 2, "not to and fro: {moves:?}");
    let why = "from sol back to shop: sol doesn't take it: 553 5.7.1 not an address of yours";
    assert!(moves[1].starts_with(why), "{moves:?}");
    let places = places(&home);
    assert!(places.contains(&place("eve@guest.test", "shop", "queued")), "{places:?}");
}

fn down(name: &str) -> String {
    format!("[smarthost.{name}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", closed_port())
}

/// A message from `no@shop.test` whose smarthost is down, lent to another that is down as well, which nobody knew.
fn lent() -> (Home, Daemon, String) {
    let shop = down("shop").replace("]\n", "]\ndefault = true\nfallback = [\"sol\"]\n");
    let home = Home::new(&format!("{shop}{}", down("sol")));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let id = smtp.post("no@shop.test", &["eve@guest.test"], LETTER);
    let line = daemon.logged("message moved to a fallback");
    let why = "why=\"shop doesn't work: 451 ";
    assert!(
        [format!("id={id} from=shop to=sol"), why.into()].iter().all(|part| line.contains(part)),
        "{line}"
    );
    let deadline = Instant::now() + LIMIT;
    while text(&lane(&home, "sol"), "state") != "stopped" || places(&home)[0].1 != "sol" {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
    (home, daemon, id)
}

#[test]
fn a_fallback_that_is_switched_off_or_removed_gives_back_what_it_has_of_others() {
    for (sol, why) in [
        (format!("{}enabled = false\n", down("sol")), "why=\"sol is switched off\""),
        (down("desk"), "why=\"sol isn't configured any more\""),
    ] {
        let (home, mut daemon, id) = lent();
        home.configure(&format!("{}{sol}", down("shop").replace("]\n", "]\ndefault = true\n")));
        home.cli(["reload"]).good();
        let line = daemon.logged("message given back by a fallback");
        let parts = [&*format!("id={id} from=sol to=shop"), why];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        let deadline = Instant::now() + LIMIT;
        while places(&home)[0].1 != "shop" {
            assert!(Instant::now() < deadline, "{:?}", places(&home));
        }
    }
}

#[test]
fn what_was_lent_to_one_that_does_not_work_comes_home_when_its_own_works_again() {
    let shop = Smarthost::start();
    let spare = "default = true\nfallback = [\"sol\"]\n";
    let broken = down("shop").replace("]\n", &format!("]\n{spare}"));
    let home = Home::new(&format!("{broken}{}", down("sol")));
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["eve@guest.test"], LETTER);
    daemon.logged("message moved to a fallback");
    let deadline = Instant::now() + LIMIT;
    while text(&lane(&home, "sol"), "state") != "stopped" || places(&home)[0].1 != "sol" {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
    home.configure(&format!(
        "{}{}",
        shop.section("shop").replace("]\n", &format!("]\n{spare}")),
        down("sol")
    ));
    home.cli(["reload"]).good();
    assert_eq!(shop.next().recipients, ["eve@guest.test"]);
    let line = daemon.logged("message given back by a fallback");
    assert!(line.contains("from=sol to=shop") && line.contains("why=\"sol doesn't work: "), "{line}");
}

#[test]
fn what_a_removed_fallback_has_follows_routes_that_change_with_it() {
    let (home, _daemon, _) = lent();
    let desk = Smarthost::start();
    let shop = down("shop").replace("]\n", "]\ndefault = true\n");
    let route = "[[route]]\nrecipient = \"@guest.test\"\nsmarthost = \"desk\"\n";
    home.configure(&format!("{shop}{}{route}", desk.section("desk")));
    let told = home.cli(["reload"]).good();
    assert!(told.contains("queued messages: 1 moved or held by the new routes"), "{told}");
    let deadline = Instant::now() + LIMIT;
    while places(&home)[0].1 != "desk" {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
}

#[test]
fn a_refusal_of_the_other_smarthost_gives_back_after_the_daemon_was_killed() {
    let (home, daemon, id) = lent();
    // Dropped, it is killed.
    drop(daemon);
    let other = Smarthost::start();
    home.configure(&config(&down("shop"), &other));
    let mut daemon = home.start();
    let line = daemon.logged("message given back by a fallback");
    let why = "why=\"sol doesn't take it: 553 5.7.1 not an address of yours\"";
    assert!(line.contains(&format!("id={id} from=sol to=shop {why}")), "{line}");
    let deadline = Instant::now() + LIMIT;
    while places(&home) != [place("eve@guest.test", "shop", "queued")] {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
    assert!(other.rest().is_empty());
}

#[test]
fn a_refusal_is_final_where_the_own_smarthost_was_removed() {
    let (home, _daemon, _) = lent();
    let other = Smarthost::start();
    home.configure(&other.section("sol"));
    home.cli(["reload"]).good();
    let deadline = Instant::now() + LIMIT;
    while places(&home)[0] != place("eve@guest.test", "sol", "failed") {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
}

#[test]
fn what_is_given_back_to_a_smarthost_that_was_disabled_waits_there_and_says_so() {
    let (home, mut daemon, _) = lent();
    let other = Smarthost::start();
    home.configure(&config(&format!("{}enabled = false\n", down("shop")), &other));
    home.cli(["reload"]).good();
    let line = daemon.logged("message given back by a fallback");
    assert!(line.contains("; shop is disabled and holds it"), "{line}");
    let deadline = Instant::now() + LIMIT;
    while places(&home)[0].1 != "shop" {
        assert!(Instant::now() < deadline, "{:?}", places(&home));
    }
}

#[test]
fn a_sender_refused_at_each_recipient_goes_back_with_all_but_the_recipients_that_failed() {
    let (first, other, mark) = (Smarthost::start(), Smarthost::start(), Smarthost::start());
    let config = config(&format!("{}per_day = 1\n", first.section("shop")), &other);
    let home = Home::new(&format!("{config}{}", marker(&mark)));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    first.next();
    used(&home, "shop", 1);
    smtp.post("foreign@shop.test", &["eve@guest.test"], LETTER);
    smtp.post("foreign@shop.test", &["no@guest.test", "bob@guest.test", "later@guest.test"], LETTER);
    // The bounce, from nobody, is taken.
    assert_eq!(other.next().recipients, ["foreign@shop.test"]);
    for _ in 0..2 {
        daemon.next_with("message given back by a fallback");
    }
    rounds_pass(&mut smtp, &mark);
    let mut journal = home.json(["journal", "--json"]);
    journal.retain(|one| text(one, "sender") == "foreign@shop.test");
    let told = |one: &Value| {
        let recipients = one["recipients"].as_array().unwrap().iter();
        let states: Vec<String> =
            recipients.map(|one| format!("{} {}", text(one, "address"), text(one, "state"))).collect();
        (text(one, "lane"), states.join(", "))
    };
    assert_eq!(
        journal.iter().map(told).collect::<Vec<_>>(),
        [
            ("shop".to_owned(), "eve@guest.test queued".to_owned()),
            (
                "shop".to_owned(),
                "no@guest.test failed, bob@guest.test queued, later@guest.test deferred".to_owned()
            )
        ]
    );
}

/// A message of a smarthost that is down, with two fallbacks, the first of which is down as well.
fn lent_on(second: &str) -> (Home, Daemon, String) {
    let shop = down("shop").replace("]\n", "]\ndefault = true\nfallback = [\"sol\", \"luna\"]\n");
    let home = Home::new(&format!("{shop}{}{second}", down("sol")));
    let mut daemon = home.start();
    let id = Smtp::hello(daemon.address()).post("shop@shop.test", &["eve@guest.test"], LETTER);
    for (from, to) in [("shop", "sol"), ("sol", "luna")] {
        let line = daemon.logged(&format!("message moved to a fallback id={id} from={from} to={to} "));
        assert!(line.contains(&format!("why=\"{from} doesn't work: ")), "{line}");
    }
    (home, daemon, id)
}

#[test]
fn what_was_lent_to_one_that_does_not_work_goes_on_by_the_next_that_its_own_names() {
    let luna = Smarthost::start();
    let (_home, _daemon, _) = lent_on(&luna.section("luna"));
    assert_eq!(luna.next().recipients, ["eve@guest.test"]);
}

#[test]
fn where_no_fallback_works_nothing_goes_to_and_fro_between_them() {
    let mark = Smarthost::start();
    let (home, daemon, id) = lent_on(&format!("{}{}", down("luna"), marker(&mark)));
    rounds_pass(&mut Smtp::hello(daemon.address()), &mark);
    let life = home.json(["journal", "show", &id, "--json"]);
    let moves: Vec<String> = life[0]["happenings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"] == "rerouted")
        .map(|one| text(one, "detail").split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(moves, ["from shop to sol", "from sol to luna"]);
}

#[test]
fn what_a_fallback_without_smarthost_has_of_others_is_released_to_go_back() {
    for (sol, which) in [
        (format!("{}enabled = false\n", down("sol")), "is switched off"),
        (String::new(), "isn't configured any more"),
    ] {
        let (home, daemon, id) = lent();
        home.cli(["queue", "hold", &id]).good();
        drop(daemon);
        home.configure(&format!("{}{sol}", down("shop").replace("]\n", "]\ndefault = true\n")));
        let _daemon = home.start();
        let told = format!("1 message is held no more and goes back to shop from sol, which {which}\n");
        let preview = home.cli(["queue", "release", "--lane", "sol", "--dry-run"]).good();
        assert!(preview.ends_with(&told), "{preview}");
        assert_eq!(home.cli(["queue", "release", &id]).good(), told);
        let deadline = Instant::now() + LIMIT;
        while places(&home)[0].1 != "shop" {
            assert!(Instant::now() < deadline, "{:?}", places(&home));
        }
    }
}

#[test]
fn another_try_of_a_lane_without_mail_goes_with_the_next_that_comes() {
    let home = Home::new(&down("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let id = smtp.post("shop@shop.test", &["eve@guest.test"], LETTER);
    let probe =
        || lane(&home, "shop")["next_probe"].as_str().map(|at| at.parse::<jiff::Timestamp>().unwrap());
    let deadline = Instant::now() + LIMIT;
    let tried_again = |before: Option<jiff::Timestamp>| loop {
        if let Some(next) = probe().filter(|next| before.is_none_or(|before| *next > before)) {
            break next;
        }
        assert!(Instant::now() < deadline, "{:#}", lane(&home, "shop"));
    };
    let first = tried_again(None);
    home.cli(["queue", "delete", &id]).good();
    let told = "nothing is queued in shop, which is stopped: it is tried again when mail comes for it\n";
    let preview = home.cli(["queue", "retry", "--lane", "shop", "--dry-run"]).good();
    assert!(preview.ends_with(told), "{preview}");
    assert_eq!(home.cli(["queue", "retry", "--lane", "shop"]).good(), format!("0 messages due now\n{told}"));
    assert!(probe().unwrap() < first, "the next mail needn't wait");
    smtp.post("shop@shop.test", &["eve@guest.test"], LETTER);
    let second = tried_again(Some(first));
    // With mail there it goes at once.
    assert_eq!(home.cli(["queue", "retry", "--lane", "shop"]).good(), "1 message due now\n");
    tried_again(Some(second));
}
