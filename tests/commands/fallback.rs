//! `fallback`: the other way that mail takes when its smarthost is down or out of quota, and when it doesn't.

use crate::home::{Home, LIMIT, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use std::net::TcpListener;
use std::time::Instant;

/// The first smarthost with a fallback; the other one takes mail from the shop only.
fn config(first: &str, other: &Smarthost) -> String {
    let first =
        first.replace("[smarthost.shop]\n", "[smarthost.shop]\ndefault = true\nfallback = [\"sol\"]\n");
    format!("{first}{}address = \"sol@shop.test\"\nallowed_from = [\"@shop.test\"]\n", other.section("sol"))
}

/// A port that nobody listens on.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn mail_of_a_smarthost_that_is_down_goes_by_another_that_accepts_its_from() {
    let other = Smarthost::start();
    let down = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", nobody());
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
