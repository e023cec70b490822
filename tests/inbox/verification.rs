//! Providers' questions whether they may forward: the true one is recognised in any language, and nothing else is.

pub use crate::gmail::{CANCEL, LANGUAGES, LINK};
use crate::sample::{Sample, Station, json};
use std::time::Duration;
use waystation::inbox::authentication::Dkim;
use waystation::inbox::verification::{Confirmation, Decision, Link, Reason, Seen, Step, Why};
use waystation::inbox::{Interpretation, Known};

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub fn question(from: &str, to: &str, subject: &str, body: &str, signer: Option<&str>) -> Sample {
    let lines: Vec<String> =
        base64(body).as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    let mut sample = Sample::of(&format!(
        "From: Gmail Team <{from}>\nTo: {to}\nSubject: =?UTF-8?B?{}?=\nMessage-ID: <q@google.com>\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: base64\n\n{}\n",
        base64(subject),
        lines.join("\n")
    ));
    sample.sender = Some("3abc@mail-settings.bounces.google.com".to_owned());
    if let Some(signer) = signer {
        let (result, domain) = (crate::sample::verdict("pass"), Some(signer.to_owned()));
        sample.authentication.dkim = vec![Dkim { result, domain, selector: Some("s1".to_owned()) }];
    }
    sample
}

fn gmail(subject: &str, body: &str) -> Sample {
    let body = format!("{body}\n\n{LINK}\n\n{CANCEL}\n\nhttps://support.google.com/mail/answer/184973\n");
    question("forwarding-noreply@google.com", "inbox@users.example.com", subject, &body, Some("google.com"))
}

pub fn interpret(sample: &Sample) -> Interpretation {
    Station::new("native", "text").interpret(sample, &Known::NOTHING)
}

#[test]
fn gmails_question_is_known_in_every_language() {
    for (language, subject, body) in LANGUAGES {
        let told = interpret(&gmail(subject, body));
        let candidate = told.verification.unwrap_or_else(|| panic!("{language}: not recognised"));
        let Decision::Confirm(link) = &candidate.decision else { panic!("{language}: {candidate:?}") };
        assert_eq!(link.expose(), LINK, "{language}");
        assert_eq!(candidate.requested_by.as_deref(), Some("hola@casasol.example"), "{language}");
        assert_eq!(candidate.mailbox.as_deref(), Some("sol"), "{language}");
        let has_code = subject.contains("99427480") || body.contains("99427480");
        assert_eq!(candidate.code.as_deref(), has_code.then_some("99427480"), "{language}");
        assert_eq!(candidate.links, [LINK], "{language}: never the cancel link");
        assert!(told.event.is_none() && told.conversation.is_none(), "{language}: no message for anybody");
    }
}

#[test]
fn whoever_only_looks_like_google_is_not_confirmed() {
    let (subject, body) = (LANGUAGES[0].1, LANGUAGES[0].2);
    let body = format!("{body}\n{LINK}\n");
    let us = "inbox@users.example.com";
    for (from, to, signer, why) in [
        ("forwarding-noreply@google.com", us, None, "not signed"),
        ("forwarding-noreply@google.com", us, Some("google.com.evil.example"), "signed by a look-alike"),
        ("forwarding-noreply@google.com", us, Some("gmail.com"), "signed by a user's domain"),
        (
            "forwarding-noreply@google.com",
            "victim@elsewhere.example",
            Some("google.com"),
            "a true one, sent on",
        ),
        ("forwarding-noreply@g00gle.com", us, Some("g00gle.com"), "a look-alike sender"),
        (
            "forwarding-noreply@google.com.evil.example",
            us,
            Some("google.com"),
            "a domain that begins the same",
        ),
        ("forwarding-noreply@mail.google.com", us, Some("google.com"), "another host of Google's"),
    ] {
        let told = interpret(&question(from, to, subject, &body, signer));
        let confirms = told.verification.iter().any(|found| matches!(found.decision, Decision::Confirm(_)));
        assert!(!confirms, "{why}");
        if let Some(candidate) = &told.verification {
            let shows = signer == Some("google.com") && to == us;
            assert!(shows || candidate.links.is_empty() && candidate.code.is_none(), "{why}: {candidate:?}");
        }
    }
}

#[test]
fn two_authors_are_no_question() {
    let mut sample = gmail(LANGUAGES[0].1, LANGUAGES[0].2);
    let text = String::from_utf8(sample.message).unwrap();
    sample.message = text
        .replace(
            "From: Gmail Team <forwarding-noreply@google.com>",
            "From: forwarding-noreply@google.com, evil@evil.example",
        )
        .into_bytes();
    assert_eq!(interpret(&sample).verification, None);
}

#[test]
fn only_a_configured_mailbox_is_confirmed() {
    let sample = gmail("Gmail Forwarding Confirmation", "evil@gmail.com has requested to forward mail here.");
    let told = interpret(&sample);
    let event = json(&told);
    assert_eq!(told.verification.unwrap().decision, Decision::Ask(Reason::UnknownAccount));
    assert_eq!(event["type"], "verification.action_needed");
    assert_eq!(event["data"]["seq"], 4181);
    assert_eq!(event["data"]["requested_by"], "evil@gmail.com");
    assert_eq!(event["data"]["reason"], "unknown_account");
    let two = gmail(
        "Gmail Forwarding Confirmation",
        "hola@casasol.example or luna@gmail.com would like to forward mail.",
    );
    assert_eq!(interpret(&two).verification.unwrap().decision, Decision::Ask(Reason::UnknownAccount));
}

#[test]
fn a_mailbox_is_not_confirmed_for_the_address_of_another() {
    let mut sample = gmail(LANGUAGES[1].1, LANGUAGES[1].2);
    sample.recipient = "inbox+luna@users.example.com".to_owned();
    assert_eq!(interpret(&sample).verification.unwrap().decision, Decision::Ask(Reason::WrongAddress));
    sample.recipient = "inbox+sol@users.example.com".to_owned();
    assert!(matches!(interpret(&sample).verification.unwrap().decision, Decision::Confirm(_)));
    let mut unknown =
        gmail("Gmail Forwarding Confirmation", "evil@gmail.com has requested to forward mail here.");
    unknown.recipient = "inbox+luna@users.example.com".to_owned();
    let decision = interpret(&unknown).verification.unwrap().decision;
    assert_eq!(decision, Decision::Ask(Reason::WrongAddress), "to add the account would not do");
}

#[test]
fn links_are_pinned_by_scheme_host_and_path() {
    assert!(Link::parse(LINK).is_some() && Link::parse("https://MAIL.google.com/mail/vf-abc").is_some());
    for (url, why) in [
        (CANCEL, "cancels"),
        ("http://mail-settings.google.com/mail/vf-a", "not https"),
        ("https://mail.google.com.evil.example/mail/vf-a", "another host"),
        ("https://evil.example/mail/vf-a", "another host"),
        ("https://mail.google.com@evil.example/mail/vf-a", "a user name that looks like the host"),
        ("https://mail.google.com:8443/mail/vf-a", "another port"),
        ("https://mail.google.com/mail/vf-", "nothing behind"),
        ("https://mail.google.com/mail/x/vf-a", "another path"),
        ("https://mail.google.com/mail/vf-/../uf-a", "a way out"),
        ("https://mail.google.com/mail/vf-%2E%2e/uf-a", "a way out, encoded"),
        ("https://mail.google.com/mail/vf-a\\uf-b", "a backslash"),
        ("https://mail.google.com/mail/vf-a b", "a space"),
        ("https://mail.google.com/mail/vf-a#b", "a fragment"),
        ("//mail.google.com/mail/vf-a", "no scheme"),
    ] {
        assert_eq!(Link::parse(url), None, "{why}");
    }
    assert!(!format!("{:?}", Link::parse(LINK)).contains("k3J"), "the token never shows");
}

const QUESTION: &[u8] = b"<html><body><p>Please confirm</p><form action=\"\" method=\"post\"><input type=\"submit\" value=\"Confirm\"></form>";
const DONE: &[u8] = b"<html><body>Confirmation Success!</body>";

fn started() -> (Confirmation, Link) {
    let link = Link::parse(LINK).unwrap();
    let (confirmation, first) = Confirmation::start(link.clone());
    assert_eq!(first, Step::Get(link.clone()));
    (confirmation, link)
}

#[test]
fn the_page_is_fetched_its_form_posted_and_only_then_it_is_confirmed() {
    let (mut confirmation, _) = started();
    let landed = Link::parse("https://mail.google.com/mail/vf-%5BANGjdJ9x%5D-k3J_example").unwrap();
    assert_eq!(confirmation.next(Seen::Redirect(landed.expose())), Step::Get(landed.clone()));
    assert_eq!(confirmation.next(Seen::Page(200, QUESTION)), Step::Post(landed, String::new()));
    assert_eq!(confirmation.next(Seen::Page(200, DONE)), Step::Confirmed);
}

#[test]
fn a_page_without_a_form_confirms_nothing() {
    let (mut confirmation, _) = started();
    assert_eq!(confirmation.next(Seen::Page(200, DONE)), Step::ActionNeeded(Why::Expired));
    let (mut confirmation, _) = started();
    assert_eq!(confirmation.next(Seen::Page(404, b"")), Step::ActionNeeded(Why::Expired));
}

#[test]
fn a_form_that_comes_back_is_posted_once_more_and_no_more() {
    let (mut confirmation, link) = started();
    assert_eq!(confirmation.next(Seen::Page(200, QUESTION)), Step::Post(link.clone(), String::new()));
    assert_eq!(confirmation.next(Seen::Page(200, QUESTION)), Step::Post(link, String::new()));
    assert_eq!(confirmation.next(Seen::Page(200, QUESTION)), Step::ActionNeeded(Why::PageChanged));
}

#[test]
fn a_page_that_asks_something_else_is_left_to_a_human() {
    for page in [
        &b"<form method=post><input type=password name=p><input type=submit></form>"[..],
        b"<form method=post><textarea name=x></textarea></form>",
        b"<form action=x method=get><input type=submit></form>",
        b"<form method=post></form><form method=post></form>",
        b"<form method=post><input name=q></form>",
    ] {
        let (mut confirmation, _) = started();
        assert_eq!(confirmation.next(Seen::Page(200, page)), Step::ActionNeeded(Why::PageChanged));
    }
    let (mut confirmation, _) = started();
    let away = b"<form method='POST' action='https://evil.example/mail/vf-x'><input type=submit></form>";
    assert_eq!(confirmation.next(Seen::Page(200, away)), Step::ActionNeeded(Why::LeadsAway));
}

#[test]
fn hidden_fields_go_along_and_scripts_are_no_forms() {
    let (mut confirmation, link) = started();
    let page = b"<script>if (a<b) document.write('<form method=get>')</script><!-- <form> -->\
        <FORM METHOD=POST><input type=hidden name='at' value='x &amp; y'/><button>Confirm</button></FORM>";
    assert_eq!(confirmation.next(Seen::Page(200, page)), Step::Post(link, "at=x+%26+y".to_owned()));
}

#[test]
fn redirects_are_followed_three_times_and_never_away() {
    for away in [
        "https://evil.example/mail/vf-a",
        "http://mail.google.com/mail/vf-a",
        CANCEL,
        "/mail/uf-a",
        "//evil.example/mail/vf-a",
        "https://accounts.google.com/ServiceLogin",
    ] {
        let (mut confirmation, _) = started();
        assert_eq!(confirmation.next(Seen::Redirect(away)), Step::ActionNeeded(Why::LeadsAway), "{away}");
    }
    let (mut confirmation, _) = started();
    for _ in 0..3 {
        assert!(matches!(confirmation.next(Seen::Redirect("/mail/vf-again")), Step::Get(_)));
    }
    assert_eq!(confirmation.next(Seen::Redirect("/mail/vf-again")), Step::ActionNeeded(Why::LeadsAway));
}

#[test]
fn a_network_that_is_down_is_tried_for_an_hour() {
    let (mut confirmation, link) = started();
    let mut waits = Vec::new();
    let end = loop {
        match confirmation.next(Seen::Nothing) {
            Step::Wait(wait) => waits.push(wait),
            other => break other,
        }
        assert_eq!(confirmation.resume(), Step::Get(link.clone()));
    };
    assert_eq!(waits, [5, 30, 120, 600, 3600].map(Duration::from_secs));
    assert_eq!(end, Step::ActionNeeded(Why::Unreachable));
}

#[test]
fn a_post_without_an_answer_is_not_called_a_success() {
    let (mut confirmation, link) = started();
    assert_eq!(confirmation.next(Seen::Page(200, QUESTION)), Step::Post(link.clone(), String::new()));
    assert_eq!(confirmation.next(Seen::Page(502, b"")), Step::Wait(Duration::from_secs(5)));
    assert_eq!(confirmation.resume(), Step::Get(link));
    assert_eq!(confirmation.next(Seen::Page(200, DONE)), Step::ActionNeeded(Why::Expired));
}

#[test]
fn other_providers_questions_are_shown_and_guests_are_not_taken_for_them() {
    let us = "inbox@users.example.com";
    let body =
        "hola@casasol.example asks to forward its mail to you. Confirm: https://mail.zoho.com/verify?x=1";
    let zoho = question("noreply@zoho.com", us, "Confirm e-mail forwarding", body, Some("zoho.com"));
    let told = interpret(&zoho);
    let event = json(&told);
    let candidate = told.verification.unwrap();
    assert_eq!((candidate.provider, candidate.decision), ("zoho", Decision::Ask(Reason::ByHand)));
    assert_eq!(candidate.links, ["https://mail.zoho.com/verify?x=1"]);
    assert_eq!(event["data"]["mailbox"], "sol");
    let guest = question(
        "maria@yahoo.com",
        us,
        "Forward",
        "Please forward this: https://login.yahoo.com/x",
        Some("yahoo.com"),
    );
    assert_eq!(interpret(&guest).verification, None, "a person at a provider");
    let unsigned = question("noreply@zoho.com", us, "Confirm e-mail forwarding", body, None);
    assert_eq!(interpret(&unsigned).verification, None);
    let news = question("noreply@zoho.com", us, "News", "Look: https://www.zoho.com/news", Some("zoho.com"));
    assert_eq!(interpret(&news).verification, None, "not about forwarding");
}

#[test]
fn an_unknown_providers_machine_is_shown_when_its_domain_signed() {
    let us = "inbox@users.example.com";
    let body = "hola@casasol.example wants to forward its mail to you.\nhttps://panel.hoster.example/confirm?a=1\n\
        https://evil.example/x\nYour code: 123456\n© 2026\n";
    let told =
        interpret(&question("no-reply@hoster.example", us, "Forwarding", body, Some("hoster.example")));
    let found = told.verification.clone().unwrap();
    assert_eq!((found.provider, found.decision), ("other", Decision::Ask(Reason::ByHand)));
    assert_eq!(found.links, ["https://panel.hoster.example/confirm?a=1"]);
    assert_eq!((found.code.as_deref(), found.mailbox.as_deref()), (Some("123456"), Some("sol")));
    assert_eq!(json(&told)["type"], "verification.action_needed");
    for (from, to, body, signer, why) in [
        ("no-reply@hoster.example", us, body, None, "not signed"),
        ("no-reply@hoster.example", us, body, Some("evil.example"), "signed by another"),
        ("ana@hoster.example", us, body, Some("hoster.example"), "a person"),
        (
            "no-reply@hoster.example",
            "hola@casasol.example",
            body,
            Some("hoster.example"),
            "written to the mailbox",
        ),
        (
            "no-reply@hoster.example",
            us,
            "Your code: 123456",
            Some("hoster.example"),
            "nothing about forwarding",
        ),
        ("no-reply@hoster.example", us, "We look forward to it", Some("hoster.example"), "nothing to answer"),
    ] {
        assert_eq!(interpret(&question(from, to, "Hello", body, signer)).verification, None, "{why}");
    }
}

#[test]
fn codes_have_four_to_ten_digits() {
    for (text, code) in [
        ("Code 1234.", Some("1234")),
        ("Code: 123456, Calle Mayor 28013", Some("123456")),
        ("Code 1234567890", Some("1234567890")),
        ("Code 12345678901", None),
        ("123456 or 654321", None),
        ("in 2026", None),
    ] {
        let body = format!("{text}\nAbout forwarding: https://zoho.com/x\n");
        let told = interpret(&question(
            "noreply@zoho.com",
            "inbox@users.example.com",
            "Hi",
            &body,
            Some("zoho.com"),
        ));
        assert_eq!(told.verification.unwrap().code.as_deref(), code, "{text}");
    }
}
