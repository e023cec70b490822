//! What webhooks are told of outgoing mail: signed, numbered, again and again until they take it, and never twice as
//! two. The receiver is a stand-in that does what receivers do on bad days.

use crate::home::{Daemon, Home, NOWHERE, TRUSTED, text};
use crate::receiver::{Answer, OTHER_SECRET, Receiver, Request, SECRET};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// `[events]` that posts to this receiver, and what else is in that section.
fn events(receiver: &Receiver, more: &str) -> String {
    let url = receiver.url();
    format!("[events]\nwebhook = \"{url}\"\nsecret_file = \"events.secret\"\nallow_private = true\n{more}\n")
}

/// A home whose smarthost and webhook are these.
fn home(smarthost: &str, events: &str) -> Home {
    let home = Home::new(&format!("{smarthost}\n{events}"));
    home.write("events.secret", &format!("{SECRET}\n"));
    home
}

fn endpoint(home: &Home) -> Value {
    home.json(["events", "endpoints", "--json"]).remove(0)
}

/// The endpoint once this is true of it.
#[track_caller]
fn endpoint_when(home: &Home, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + crate::home::LIMIT;
    loop {
        let endpoint = endpoint(home);
        if is_so(&endpoint) {
            return endpoint;
        }
        assert!(std::time::Instant::now() < deadline, "never {what}: {endpoint:#}");
    }
}

#[test]
fn the_service_is_told_what_became_of_each_recipient() {
    let (smarthost, receiver) = (Smarthost::start(), Receiver::taking());
    let home = home(&smarthost.section("shop"), &events(&receiver, ""));
    let daemon = home.start();
    let letter = format!(
        "X-Waystation-Tag: welcome\r\nX-Waystation-Meta-Order: 4711 \u{17c}\u{22}\r\n{}",
        LETTER.replace("Hello\r\n\r\n", "=?utf-8?q?Za=C5=BC=C3=B3=C5=82=C4=87?=\r\n\r\n")
    );
    let mut smtp = Smtp::hello(daemon.address());
    let reply =
        smtp.submit("shop@shop.test", &["ana@guest.test", "no@guest.test", "later@guest.test"], &letter);
    let id = reply.split_whitespace().nth(2).unwrap().to_owned();

    // The bounce to the sender is a message of its own, with an event of its own.
    let all = receiver.requests(4);
    assert_eq!(all.iter().map(Request::seq).collect::<BTreeSet<_>>(), (1..=4).collect());
    let about = |request: &&Request| text(&request.json()["data"], "id") == id;
    let seen: Vec<Request> = all.iter().filter(about).cloned().collect();
    let mut told = BTreeMap::new();
    for request in &seen {
        request.verify(SECRET);
        assert_eq!(request.line, "POST /hooks/mail HTTP/1.1");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["webhook-attempt"], "1");
        assert!(request.headers["user-agent"].starts_with("waystation/"));
        assert!(request.id().starts_with("evt_"));
        let event = request.json();
        let data = &event["data"];
        assert_eq!((text(data, "id"), text(data, "smarthost")), (id.clone(), "shop".into()));
        assert_eq!((text(data, "subject"), text(data, "tag")), ("Zażółć".into(), "welcome".into()));
        assert_eq!(text(&data["meta"], "Order"), "4711 ż\"");
        assert_eq!(
            (text(data, "sender"), text(data, "direction")),
            ("shop@shop.test".into(), "outbound".into())
        );
        assert_eq!(data["attempts"], 1);
        let kind = text(&event, "type");
        assert_eq!(data["next_attempt"].is_null(), kind != "message.deferred", "{event:#}");
        told.insert(text(data, "recipient"), (kind, text(data, "reply")));
    }
    let said = |kind: &str, reply: &str| (kind.to_owned(), reply.to_owned());
    assert_eq!(
        told,
        BTreeMap::from([
            ("ana@guest.test".into(), said("message.delivered", "250 2.0.0 taken")),
            ("no@guest.test".into(), said("message.bounced", "550 5.1.1 no such mailbox")),
            ("later@guest.test".into(), said("message.deferred", "451 4.2.0 come again")),
        ])
    );
    let listed = home.json(["events", "list", "--json", "--type", "message.bounced"]);
    assert_eq!(listed.len(), 1);
    let shown = home.json(["events", "show", &text(&listed[0], "id"), "--json"]).remove(0);
    let posted = seen.iter().find(|request| request.kind() == "message.bounced").unwrap();
    assert_eq!(text(&shown, "body").as_bytes(), posted.body);
    assert_eq!(text(&shown, "id"), posted.id());
}

#[test]
fn secrets_are_changed_without_an_unsigned_moment() {
    let receiver = Receiver::taking();
    let home = home(NOWHERE, &events(&receiver, ""));
    let _daemon = home.start();
    home.cli(["events", "test", "events"]).good();
    home.write("events.secret", &format!("{OTHER_SECRET}\n{SECRET}\n"));
    home.cli(["reload"]).good();
    home.cli(["events", "test", "events"]).good();
    home.write("events.secret", &format!("{OTHER_SECRET}\n"));
    home.cli(["reload"]).good();
    home.cli(["events", "test", "events"]).good();
    let seen = receiver.requests(3);
    seen[0].verify(SECRET);
    seen[1].verify(SECRET);
    seen[1].verify(OTHER_SECRET);
    seen[2].verify(OTHER_SECRET);
    assert_eq!(seen[2].headers["webhook-signature"].split(' ').count(), 1);
    home.write("events.secret", "hunter2\n");
    let told = home.cli(["reload"]).failed(78);
    assert!(told.contains("line 1 doesn't begin with whsec_") && !told.contains("hunter2"), "{told}");
    home.cli(["events", "test", "events"]).good();
    receiver.requests(4)[3].verify(OTHER_SECRET);
}

#[test]
fn a_test_shows_the_answer_and_is_no_event() {
    let receiver = Receiver::start(|number, _, _| match number {
        0 => Answer::Say(200, "", b"all is well".to_vec()),
        1 => Answer::Say(401, "", b"who are you\x1b[2J".to_vec()),
        _ => Answer::Say(302, "Location: http://127.0.0.1:1/elsewhere\r\n", Vec::new()),
    });
    let home = home(NOWHERE, &events(&receiver, ""));
    let _daemon = home.start();
    let told = home.cli(["events", "test", "events"]).good();
    assert!(told.contains("all is well"), "{told}");
    let told = home.cli(["events", "test", "events"]).failed(69);
    assert!(told.contains("401 who are you") && !told.contains('\u{1b}'), "{told}");
    let told = home.cli(["events", "test", "events"]).failed(69);
    assert!(told.contains("302"), "{told}");
    let seen = receiver.requests(3);
    assert_eq!(seen.len(), 3, "the redirect wasn't followed");
    assert_eq!((seen[0].kind().as_str(), &seen[0].json()["data"]["seq"]), ("endpoint.test", &Value::Null));
    assert!(home.json(["events", "list", "--json"]).is_empty());
    let told = home.cli(["events", "test", "guests"]).failed(64);
    assert!(told.contains("no webhook is called guests; there are: events"), "{told}");
}

#[test]
fn what_was_given_up_is_kept_and_replayed_under_its_old_name() {
    let (smarthost, receiver) = (Smarthost::start(), Receiver::start(|_, _, _| Answer::status(500)));
    let home = home(&smarthost.section("shop"), &events(&receiver, "schedule = [\"1s\"]"));
    let daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let seen = receiver.requests(2);
    assert_eq!((seen[0].id(), &seen[0].body), (seen[1].id(), &seen[1].body));
    assert_eq!(seen[1].headers["webhook-attempt"], "2");
    endpoint_when(&home, "given up", |endpoint| endpoint["failed"] == 1);
    let failed = home.json(["events", "list", "--state", "failed", "--json"]);
    assert_eq!((text(&failed[0], "id").as_str(), failed[0]["attempts"].as_u64()), (seen[0].id(), Some(2)));
    assert_eq!(text(&failed[0], "answer"), "500");

    receiver.change(|_, _, _| Answer::status(202));
    let told = home.cli(["events", "replay", "--failed", "--endpoint", "events"]).good();
    assert_eq!(told, "1 event due now\n");
    let seen = receiver.requests(3);
    assert_eq!((seen[2].id(), &seen[2].body), (seen[0].id(), &seen[0].body));
    endpoint_when(&home, "done", |endpoint| endpoint["failed"] == 0 && endpoint["waiting"] == 0);
    // Again by its name, though it was taken.
    assert_eq!(home.cli(["events", "replay", seen[0].id()]).good(), "1 event due now\n");
    assert_eq!(receiver.requests(4)[3].body, seen[0].body);
    home.cli(["events", "replay"]).failed(64);
}

/// Says `429` to the first post and asks for an hour; takes all others.
fn first_asks_for_an_hour(number: usize) -> Answer {
    if number == 0 { Answer::Say(429, "Retry-After: 3600\r\n", Vec::new()) } else { Answer::status(202) }
}

/// The states of all endpoints once these are `pausing`.
#[track_caller]
fn states_when_pausing(home: &Home, pausing: &[&str]) -> BTreeMap<String, String> {
    let deadline = std::time::Instant::now() + crate::home::LIMIT;
    loop {
        let all = home.json(["events", "endpoints", "--json"]);
        let states: BTreeMap<String, String> =
            all.iter().map(|each| (text(each, "endpoint"), text(each, "state"))).collect();
        if pausing.iter().all(|name| states.get(*name).is_some_and(|state| state == "pausing")) {
            return states;
        }
        assert!(std::time::Instant::now() < deadline, "{states:?}");
    }
}

#[test]
fn a_replay_ends_the_pause_that_its_own_webhook_asked_for_and_no_other() {
    let smarthost = Smarthost::start();
    let [outcomes, guests] = [(); 2].map(|()| Receiver::start(|number, _, _| first_asks_for_an_hour(number)));
    let inbox = format!(
        "[inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{}\"\nsecret_file = \"events.secret\"\n\
         allow_private = true\n",
        guests.url()
    );
    let home = home(&smarthost.section("shop"), &events(&outcomes, &inbox));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
    smtp.submit("ana@guest.test", &["inbox@users.test"], LETTER);
    let id = outcomes.requests(1).remove(0).id().to_owned();
    guests.requests(1);
    states_when_pausing(&home, &["events", "guests"]);
    assert_eq!(home.cli(["events", "replay", &id]).good(), "1 event due now\n");
    assert_eq!(outcomes.requests(2)[1].id(), id);
    let states = states_when_pausing(&home, &["guests"]);
    assert_eq!(states["events"], "flowing");
    assert_eq!(guests.seen().len(), 1);
}

#[test]
fn a_pause_that_a_webhook_asked_for_outlives_a_restart_until_an_admin_ends_it() {
    let (smarthost, receiver) =
        (Smarthost::start(), Receiver::start(|number, _, _| first_asks_for_an_hour(number)));
    let home = home(&smarthost.section("shop"), &events(&receiver, ""));
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    receiver.requests(1);
    endpoint_when(&home, "answered", |endpoint| endpoint["answer"] == "429");
    home.cli(["reload"]).good();
    daemon.stop();
    daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["bob@guest.test"], LETTER);
    endpoint_when(&home, "told of", |endpoint| endpoint["waiting"] == 2);
    states_when_pausing(&home, &["events"]);
    assert_eq!(receiver.seen().len(), 1);
    home.cli(["events", "enable", "events"]).good();
    receiver.requests(2);
    endpoint_when(&home, "posted", |endpoint| endpoint["waiting"] == 1);
    daemon.stop();
    let _daemon = home.start();
    let state = endpoint_when(&home, "shown", |endpoint| endpoint["state"] != "removed");
    assert_eq!(text(&state, "state"), "flowing");
}

#[test]
fn a_receiver_that_has_gone_for_good_is_left_alone_until_somebody_says_otherwise() {
    let (smarthost, receiver) = (Smarthost::start(), Receiver::start(|_, _, _| Answer::status(410)));
    let home = home(&smarthost.section("shop"), &events(&receiver, "schedule = [\"1s\", \"1s\"]"));
    let mut daemon = home.start();
    let submit = |daemon: &crate::home::Daemon| {
        Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    };
    submit(&daemon);
    daemon.logged("endpoint disabled");
    let status = endpoint_when(&home, "disabled", |endpoint| endpoint["state"] == "disabled");
    assert!(text(&status, "advice").contains("waystation events enable events"), "{status:#}");
    assert!(home.cli(["status"]).good().contains("disabled"));
    submit(&daemon);
    endpoint_when(&home, "two waiting", |endpoint| endpoint["waiting"] == 2);
    // Also over a crash.
    daemon.signal(Signal::KILL);
    daemon.wait();
    let mut daemon = home.start();
    assert_eq!(text(&endpoint(&home), "state"), "disabled");
    assert_eq!(receiver.seen().len(), 1, "nothing was posted behind the 410");
    receiver.change(|_, _, _| Answer::status(200));
    assert_eq!(home.cli(["events", "enable", "events"]).good(), "events enabled\n");
    endpoint_when(&home, "empty", |endpoint| endpoint["waiting"] == 0 && endpoint["state"] == "flowing");
    let seen = receiver.seen();
    assert_eq!(seen[1..].iter().map(Request::seq).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    // A reload enables, too.
    receiver.change(|_, _, _| Answer::status(410));
    submit(&daemon);
    daemon.logged("endpoint disabled");
    endpoint_when(&home, "disabled again", |endpoint| endpoint["state"] == "disabled");
    receiver.change(|_, _, _| Answer::status(200));
    home.cli(["reload"]).good();
    endpoint_when(&home, "empty again", |endpoint| endpoint["waiting"] == 0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_webhook_that_comes_back_posts_nothing_beside_what_it_had_on_its_way() {
    let (let_go, is_let_go) = std::sync::mpsc::channel::<()>();
    let is_let_go = Mutex::new(is_let_go);
    let receiver = Receiver::start(move |_, _, _| {
        // Until the other end is dropped.
        let _ = is_let_go.lock().unwrap().recv();
        Answer::status(200)
    });
    let smarthost = Smarthost::start();
    let (shop, events) = (smarthost.section("shop"), events(&receiver, ""));
    let home = home(&shop, &events);
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    endpoint_when(&home, "on its way", |endpoint| endpoint["posting"] == 1);
    for config in [shop.clone(), format!("{shop}\n{events}")] {
        home.configure(&config);
        home.cli(["reload"]).good();
    }
    endpoint_when(&home, "back", |endpoint| endpoint["state"] == "flowing");
    drop(let_go);
    endpoint_when(&home, "posted", |endpoint| endpoint["waiting"] == 0);
    assert_eq!(receiver.seen().len(), 1);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_private_address_is_refused_after_the_look_up_unless_it_is_meant() {
    let (smarthost, receiver) = (Smarthost::start(), Receiver::taking());
    let url = format!("https://localhost:{}/hooks", receiver.address.port());
    let section = format!("[events]\nwebhook = \"{url}\"\nsecret_file = \"events.secret\"\n");
    let home = home(&smarthost.section("shop"), &section);
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let line = daemon.logged("endpoint unreachable");
    assert!(
        line.contains("a private or reserved address") && line.contains("allow_private = true"),
        "{line}"
    );
    let status = endpoint_when(&home, "unreachable", |endpoint| endpoint["state"] == "unreachable");
    assert_eq!(status["waiting"], 1);
    assert!(receiver.seen().is_empty());
    home.configure(&format!("{}\n{}", smarthost.section("shop"), events(&receiver, "schedule = [\"1s\"]")));
    home.cli(["reload"]).good();
    home.cli(["events", "replay", &text(&home.json(["events", "list", "--json"])[0], "id")]).good();
    receiver.requests(1)[0].verify(SECRET);
}

#[test]
fn a_certificate_is_judged_by_the_systems_trust_store() {
    let home = home(NOWHERE, "");
    home.certify();
    let chain = CertificateDer::pem_file_iter(home.path("relay.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(home.path("relay.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let receiver =
        Receiver::encrypted(Arc::new(server.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    home.configure(&format!("{NOWHERE}{}", events(&receiver, "")));
    let mut daemon = home.start();
    let told = home.cli(["events", "test", "events"]).failed(69);
    assert!(told.contains("certificate"), "{told}");
    assert_eq!(daemon.stop(), 0);
    let mut command = home.command(["run"]);
    command.env("SSL_CERT_FILE", home.path("ca.pem"));
    let mut daemon = crate::home::Daemon::of(command, 1);
    home.cli(["events", "test", "events"]).good();
    receiver.requests(1)[0].verify(SECRET);
    assert_eq!(daemon.stop(), 0);
}

/// A smarthost that lets nobody in.
fn refusing() -> String {
    answering("535 5.7.8 bad credentials", "503 5.5.1 log in first")
}

/// A smarthost that answers AUTH and MAIL so.
fn answering(auth: &'static str, mail: &'static str) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in socket.incoming().map_while(Result::ok) {
            let say = |reply: &str| (&connection).write_all(format!("{reply}\r\n").as_bytes());
            // A connection that breaks is the relay's to tell of.
            let _ = say("220 smarthost.test");
            for line in BufReader::new(&connection).lines().map_while(Result::ok) {
                let _ = match line.get(..4).unwrap_or_default() {
                    "EHLO" => say("250-smarthost.test\r\n250 AUTH PLAIN"),
                    "AUTH" => say(auth),
                    "MAIL" => say(mail),
                    _ => say("221 2.0.0 bye"),
                };
            }
        }
    });
    format!(
        "[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nusername = \"shop\"\npassword = \"x\"\n"
    )
}

#[test]
fn a_frozen_smarthost_is_told_to_the_service_and_to_the_admin_and_so_is_its_end() {
    let (receiver, pager) = (Receiver::taking(), Receiver::taking());
    let alert = format!(
        "[alert]\nwebhook = \"{}\"\nallow_private = true\ncommand = [\"sh\", \"-c\", \"cat >> alerts\"]\nmin_free = \"0 B\"\n",
        pager.url()
    );
    let home = home(&refusing(), &format!("{}{alert}", events(&receiver, "")));
    let daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let seen = receiver.requests(1);
    assert_eq!(
        (seen[0].kind().as_str(), text(&seen[0].json()["data"], "id")),
        ("smarthost.frozen", "shop".into())
    );
    assert!(text(&seen[0].json()["data"], "reason").contains("535"));
    let raised = pager.requests(1)[0].clone();
    assert_eq!(raised.kind(), "alert.raised");
    let data = raised.json()["data"].clone();
    assert_eq!(
        (text(&data, "condition"), text(&data, "subject")),
        ("smarthost_frozen".into(), "shop".into())
    );
    assert_eq!(text(&data, "hostname"), "relay.test");
    assert!(!raised.headers.contains_key("webhook-signature"), "no secret was given");

    let smarthost = Smarthost::start();
    home.configure(&format!("{}{}{alert}", smarthost.section("shop"), events(&receiver, "")));
    home.cli(["reload"]).good();
    let ended = pager.requests(2)[1].json();
    assert_eq!(
        (text(&ended, "type"), text(&ended["data"], "condition")),
        ("alert.ended".into(), "smarthost_frozen".into())
    );
    assert_eq!(text(&ended["data"], "began_at"), text(&data, "began_at"));
    let kinds: BTreeSet<String> = receiver.requests(3).iter().map(Request::kind).collect();
    let expected = ["smarthost.frozen", "smarthost.resumed", "message.delivered"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
    let deadline = std::time::Instant::now() + crate::home::LIMIT;
    let told = || std::fs::read_to_string(home.path("alerts")).unwrap_or_default();
    while !(told().contains("alert.raised") && told().contains("alert.ended")) {
        assert!(std::time::Instant::now() < deadline, "{}", told());
        std::thread::yield_now();
    }
}

/// Waits until it is kept in this file that the smarthost was told of.
fn kept(home: &Home, daemon: &mut Daemon, file: &str) {
    let deadline = std::time::Instant::now() + crate::home::LIMIT;
    while !std::fs::read_to_string(home.path(file)).is_ok_and(|kept| kept.contains("shop")) {
        assert!(std::time::Instant::now() < deadline, "{:#?}", daemon.stop());
        std::thread::yield_now();
    }
}

#[test]
fn what_was_frozen_before_a_restart_is_no_event_again_and_its_end_is_one() {
    let receiver = Receiver::taking();
    let refusing = refusing();
    let home = home(&refusing, &events(&receiver, ""));
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let frozen = receiver.requests(1)[0].clone();
    assert_eq!(frozen.kind(), "smarthost.frozen");
    kept(&home, &mut daemon, "state/frozen.json");
    assert_eq!(daemon.stop(), 0);
    let mut daemon = home.start();
    daemon.logged("lane frozen");
    assert_eq!(daemon.stop(), 0);
    let smarthost = Smarthost::start();
    home.configure(&format!("{}{}", smarthost.section("shop"), events(&receiver, "")));
    let _daemon = home.start();
    let seen = receiver.requests(3);
    let kinds: BTreeSet<String> = seen[1..].iter().map(Request::kind).collect();
    assert_eq!(kinds, ["smarthost.resumed", "message.delivered"].map(str::to_owned).into());
}

#[test]
fn a_restart_raises_no_alert_again_and_tells_the_end_of_what_was_mended() {
    let pager = Receiver::taking();
    let alert = |free: &str| {
        format!("[alert]\nwebhook = \"{}\"\nallow_private = true\nmin_free = \"{free}\"\n", pager.url())
    };
    let refusing = refusing();
    let home = Home::new(&format!("{refusing}{}", alert("0 B")));
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let raised = pager.requests(1)[0].clone();
    let frozen = |kind: &str| (kind.to_owned(), "smarthost_frozen".to_owned(), "shop".to_owned());
    assert_eq!(about(&raised), frozen("alert.raised"));
    // It stands there once the webhook has taken it.
    kept(&home, &mut daemon, "state/alerts.json");
    assert_eq!(daemon.stop(), 0);

    // The disk is the next thing that is told, by a look at everything after the login was refused once more.
    let mut daemon = home.start();
    daemon.logged("lane frozen");
    // That it can't be reached any more doesn't mean that it takes the login.
    let port = crate::ports::closed_port();
    let closed = format!("[smarthost.shop]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n");
    home.configure(&format!("{closed}{}", alert("0 B")));
    home.cli(["reload"]).good();
    daemon.logged("lane stopped");
    home.configure(&format!("{closed}{}", alert("1000000000 GiB")));
    home.cli(["reload"]).good();
    let next = about(&pager.requests(2)[1]);
    assert_eq!((next.0.as_str(), next.1.as_str()), ("alert.raised", "disk_low"));
    assert_eq!(daemon.stop(), 0);

    let smarthost = Smarthost::start();
    home.configure(&format!("{}{}", smarthost.section("shop"), alert("1000000000 GiB")));
    let _daemon = home.start();
    let find = |seen: &[Request]| seen.iter().find(|seen| about(seen) == frozen("alert.ended")).cloned();
    let ended = pager.wait("told of the end", find);
    let began_at = |request: &Request| text(&request.json()["data"], "began_at");
    assert_eq!(began_at(&ended), began_at(&raised));
    let raised = pager.seen().iter().filter(|seen| about(seen) == frozen("alert.raised")).count();
    assert_eq!(raised, 1, "it was told once");
}

#[test]
fn an_end_waits_for_its_beginning_which_goes_to_the_webhook_that_is_configured_by_then() {
    let wrong = Receiver::start(|_, _, _| Answer::status(404));
    // It takes nothing before the end is there to be told.
    let pager = Receiver::start(|number, _, _| Answer::status(if number == 0 { 500 } else { 200 }));
    let alert =
        |url: &str| format!("[alert]\nwebhook = \"{url}\"\nallow_private = true\nmin_free = \"0 B\"\n");
    let refusing = refusing();
    let home = Home::new(&format!("{refusing}{}", alert(&wrong.url())));
    let daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    let raised = wrong.requests(1)[0].clone();
    home.configure(&format!("{refusing}{}", alert(&pager.url())));
    home.cli(["reload"]).good();
    assert_eq!(about(&pager.requests(1)[0]), about(&raised), "tried again where it belongs by now");
    let smarthost = Smarthost::start();
    home.configure(&format!("{}{}", smarthost.section("shop"), alert(&pager.url())));
    home.cli(["reload"]).good();
    let kinds: Vec<String> = pager.requests(3).iter().map(Request::kind).collect();
    assert_eq!(kinds, ["alert.raised", "alert.raised", "alert.ended"]);
}

#[test]
fn a_webhook_that_is_down_costs_its_events_no_attempts() {
    let (smarthost, receiver) = (Smarthost::start(), Receiver::taking());
    let dead = std::net::SocketAddr::from(([127, 0, 0, 1], crate::ports::closed_port()));
    let section = |address| {
        format!(
            "[events]\nwebhook = \"http://{address}/\"\nsecret_file = \"events.secret\"\nallow_private = true\n"
        )
    };
    let home = home(&smarthost.section("shop"), &section(dead));
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for _ in 0..40 {
        smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    daemon.logged("endpoint unreachable");
    endpoint_when(&home, "all waiting", |endpoint| endpoint["waiting"] == 40);
    let tried = home.json(["events", "list", "--json"]).iter().filter(|event| event["attempts"] != 0).count();
    assert!(tried < 12, "{tried} of 40 events were tried against a closed port");
    home.configure(&format!("{}\n{}", smarthost.section("shop"), section(receiver.address)));
    home.cli(["reload"]).good();
    let untried = 40 - tried;
    receiver.requests(untried);
    daemon.logged("endpoint reached again");
}

/// 0 or more, less than a hundred, and the same each time.
fn dice(number: usize) -> usize {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..4 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    usize::try_from(state % 100).unwrap()
}

/// Nine of ten fail, in every way there is; later on every other one.
fn bad_days(number: usize) -> Answer {
    let good = if number < 200 { 10 } else { 50 };
    match dice(number) {
        roll if roll < good / 2 => Answer::status(200),
        roll if roll < good / 2 + good / 4 => Answer::SayAndReset(200),
        roll if roll < good => Answer::Flood(202),
        90 => Answer::Hang,
        91 => Answer::Say(429, "Retry-After: 1\r\n", Vec::new()),
        92 => Answer::Say(503, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Vec::new()),
        93..95 => Answer::Say(302, "Location: /elsewhere\r\n", Vec::new()),
        95..97 => Answer::Flood(500),
        roll if roll % 4 == 0 => Answer::Reset,
        roll if roll % 4 == 1 => Answer::Close,
        roll if roll % 4 == 2 => Answer::Say(500, "Content-Encoding: gzip\r\n", vec![0x1f, 0x8b, 8]),
        _ => Answer::status(404),
    }
}

#[test]
fn over_bad_days_and_kills_every_event_arrives_exactly_once() {
    const LIVES: usize = 8;
    const MAILS: usize = 6;
    let smarthost = Smarthost::start();
    let receiver = Receiver::start(|number, _, _| bad_days(number));
    let schedule = format!("schedule = [{}]", ["\"1s\""; 200].join(", "));
    let home = home(&smarthost.section("shop"), &events(&receiver, &schedule));
    let mut mails = BTreeSet::new();
    for life in 0..LIVES {
        let mut daemon = home.start();
        let mut smtp = Smtp::hello(daemon.address());
        for _ in 0..MAILS {
            let reply = smtp.submit("shop@shop.test", &["ana@guest.test"], LETTER);
            mails.insert(reply.split_whitespace().nth(2).unwrap().to_owned());
        }
        receiver.requests((life + 1) * 12);
        daemon.signal(Signal::KILL);
        daemon.wait();
    }
    let mut daemon = home.start();
    home.journal_when(&["delivered"]);
    let done = |seen: &[Request]| {
        let taken: BTreeSet<&str> = seen.iter().filter(|one| one.answer.is_done()).map(Request::id).collect();
        (taken.len() >= mails.len()).then(|| seen.to_vec())
    };
    receiver.wait("all events taken", done);
    endpoint_when(&home, "nothing waiting", |endpoint| endpoint["waiting"] == 0 && endpoint["failed"] == 0);
    assert_eq!(daemon.stop(), 0);

    exactly_once(&receiver.seen(), &mails, "message.delivered");
    println!("{} events, {} attempts, {LIVES} kills", mails.len(), receiver.seen().len());
}

/// One body for each id, whatever was done about it, each with a good signature, and one event for each message.
fn exactly_once(seen: &[Request], mails: &BTreeSet<String>, kind: &str) {
    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for request in seen {
        request.verify(SECRET);
        let body = bodies.entry(request.id().to_owned()).or_insert_with(|| request.body.clone());
        assert_eq!(*body, request.body, "{} changed on the way", request.id());
    }
    let bodies: Vec<Value> = bodies.values().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let seqs: Vec<i64> = bodies.iter().map(|body| body["data"]["seq"].as_i64().unwrap()).collect();
    let count = i64::try_from(mails.len()).unwrap();
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (1..=count).collect(), "no gaps");
    assert_eq!(seqs.len(), mails.len(), "no number twice");
    let told: BTreeSet<String> = bodies.iter().map(|body| text(&body["data"], "id")).collect();
    assert_eq!(told, *mails, "an event for each message");
    assert!(bodies.iter().all(|body| body["type"] == kind));
}

#[test]
fn over_bad_days_and_kills_every_forwarded_message_becomes_one_event() {
    const LIVES: usize = 6;
    const MAILS: usize = 5;
    let receiver = Receiver::start(|number, _, _| bad_days(number));
    let schedule = format!("schedule = [{}]", ["\"1s\""; 200].join(", "));
    let home = Home::new(&format!(
        "{NOWHERE}[events]\n{schedule}\n[inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{}\"\n\
         secret_file = \"events.secret\"\nallow_private = true\n\
         [mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\n",
        receiver.url()
    ));
    home.write("events.secret", &format!("{SECRET}\n"));
    let mut mails = BTreeSet::new();
    for life in 0..LIVES {
        let mut daemon = home.start();
        let mut smtp = Smtp::hello(daemon.address());
        let mut submit = |number: usize| {
            // Two of one guest are of one conversation: the second waits for the first.
            let guest = format!("guest{life}.{}@far.test", number / 2);
            let letter = format!(
                "From: {guest}\r\nTo: hola@casasol.test\r\nSubject: Stay\r\nMessage-ID: <{life}.{number}@far.test>\r\n\r\nNumber {life}.{number}\r\n"
            );
            let reply = smtp.submit(&guest, &["inbox+sol@users.test"], &letter);
            mails.insert(reply.split_whitespace().nth(2).unwrap().to_owned());
        };
        (1..MAILS).for_each(&mut submit);
        receiver.requests((life + 1) * 12);
        // One that may not be read yet when the end comes.
        submit(0);
        daemon.signal(Signal::KILL);
        daemon.wait();
    }
    let mut daemon = home.start();
    home.journal_when(&["delivered"]);
    let done = |seen: &[Request]| {
        let taken: BTreeSet<&str> = seen.iter().filter(|one| one.answer.is_done()).map(Request::id).collect();
        (taken.len() >= mails.len()).then_some(())
    };
    receiver.wait("all events taken", done);
    endpoint_when(&home, "nothing waiting", |endpoint| endpoint["waiting"] == 0 && endpoint["failed"] == 0);
    assert_eq!(daemon.stop(), 0);
    exactly_once(&receiver.seen(), &mails, "message.received");
    println!("{} events, {} attempts, {LIVES} kills", mails.len(), receiver.seen().len());
}

#[test]
fn nothing_is_kept_for_nobody() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{TRUSTED}{}", smarthost.section("shop")));
    let daemon = home.start();
    Smtp::hello(daemon.address()).submit("shop@shop.test", &["ana@guest.test"], LETTER);
    smarthost.next();
    home.journal_when(&["delivered"]);
    assert!(home.json(["events", "list", "--json"]).is_empty());
    assert!(home.json(["events", "endpoints", "--json"]).is_empty());
}

#[test]
fn the_admin_is_told_when_a_limit_keeps_priority_mail_waiting() {
    let (smarthost, alerts) = (Smarthost::start(), Receiver::taking());
    let limits = "per_hour = 1\n";
    let alert =
        format!("[alert]\nwebhook = \"{}\"\nallow_private = true\nmin_free = \"0 B\"\n", alerts.url());
    let home = Home::new(&format!("{}{limits}{alert}", smarthost.section("shop")));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let reset = format!("X-Waystation-Class: priority\r\n{LETTER}");
    for _ in 0..2 {
        smtp.post("shop@shop.test", &["ana@guest.test"], &reset);
    }
    let raised = alerts.requests(1).remove(0);
    assert_eq!(raised.kind(), "alert.raised");
    let data = &raised.json()["data"];
    assert_eq!((text(data, "condition"), text(data, "subject")), ("quota_exhausted".into(), "shop".into()));
    home.configure(&format!("{}{alert}", smarthost.section("shop")));
    home.cli(["reload"]).good();
    assert_eq!(alerts.requests(2).remove(1).kind(), "alert.ended");
}

/// What an alert is about.
fn about(alert: &Request) -> (String, String, String) {
    let json = alert.json();
    (text(&json, "type"), text(&json["data"], "condition"), text(&json["data"], "subject"))
}

#[test]
fn the_admin_is_told_when_the_smarthost_says_that_its_quota_is_used_up_and_priority_mail_waits() {
    let (smarthost, alerts) = (Smarthost::start(), Receiver::taking());
    let alert =
        format!("[alert]\nwebhook = \"{}\"\nallow_private = true\nmin_free = \"0 B\"\n", alerts.url());
    let full = answering("235 2.7.0 in", "450 4.7.1 Mail send limit exceeded");
    let home = Home::new(&format!("{full}{alert}"));
    let daemon = home.start();
    let reset = format!("X-Waystation-Class: priority\r\n{LETTER}");
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], &reset);
    let raised = alerts.requests(1).remove(0);
    let condition = |kind: &str| (kind.to_owned(), "quota_exhausted".to_owned(), "shop".to_owned());
    assert_eq!(about(&raised), condition("alert.raised"));
    assert!(
        text(&raised.json()["data"], "detail").contains("Mail send limit exceeded"),
        "{:#}",
        raised.json()
    );
    home.configure(&format!("{}{alert}", smarthost.section("shop")));
    home.cli(["reload"]).good();
    assert_eq!(about(&alerts.requests(2)[1]), condition("alert.ended"));
}

#[test]
fn the_admin_is_told_once_of_an_old_message_that_waits_for_a_limit_and_of_its_end() {
    let (smarthost, alerts) = (Smarthost::start(), Receiver::taking());
    let alert = |age: &str| {
        let webhook =
            format!("[alert]\nwebhook = \"{}\"\nallow_private = true\nmin_free = \"0 B\"\n", alerts.url());
        format!("{webhook}oldest_message = \"{age}\"\n")
    };
    let home = Home::new(&format!("{}per_day = 1\n{}", smarthost.section("shop"), alert("1s")));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    // What was asked to go later is nobody's trouble.
    let later = format!("X-Waystation-Send-At: 2099-01-01T00:00:00Z\r\n{LETTER}");
    assert!(smtp.submit("shop@shop.test", &["late@guest.test"], &later).starts_with('5'), "30 days at most");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    smtp.post(
        "shop@shop.test",
        &["late@guest.test"],
        &format!("X-Waystation-Send-At: {tomorrow}\r\n{LETTER}"),
    );
    for _ in 0..2 {
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    smarthost.next();
    let raised = alerts.requests(1).remove(0);
    let condition = |kind: &str| (kind.to_owned(), "oldest_message".to_owned(), "shop".to_owned());
    assert_eq!(about(&raised), condition("alert.raised"));
    let waiting = home.json(["queue", "list", "--json"]);
    let detail = text(&raised.json()["data"], "detail");
    assert!(detail.contains(&text(&waiting[1], "id")), "{detail} {waiting:#?}");
    // It is told once, whatever else is looked for meanwhile: the second request is the end.
    home.configure(&format!("{}{}", smarthost.section("shop"), alert("1s")));
    home.cli(["reload"]).good();
    smarthost.next();
    assert_eq!(about(&alerts.requests(2)[1]), condition("alert.ended"));
}

#[test]
fn the_admin_is_told_of_a_full_disk_and_of_its_end() {
    let (smarthost, alerts) = (Smarthost::start(), Receiver::taking());
    let alert = |free: &str| {
        let webhook = format!("[alert]\nwebhook = \"{}\"\nallow_private = true\n", alerts.url());
        format!("{}{webhook}min_free = \"{free}\"\n", smarthost.section("shop"))
    };
    let home = Home::new(&alert("1000000000 GiB"));
    let _daemon = home.start();
    let state = home.path("state").display().to_string();
    let condition = |kind: &str| (kind.to_owned(), "disk_low".to_owned(), state.clone());
    assert_eq!(about(&alerts.requests(1)[0]), condition("alert.raised"));
    home.configure(&alert("0 B"));
    home.cli(["reload"]).good();
    assert_eq!(about(&alerts.requests(2)[1]), condition("alert.ended"));
}
