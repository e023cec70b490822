//! SPF, DKIM, DMARC and ARC as events tell them, of records that a name server really gave and signatures that dkimpy made.

use crate::signer::{Job, Signer, Tools, place};
use crate::support::client::submit;
use crate::support::dns::{Record, Say, TXT};
use crate::support::receiver::{Receiver, Request};
use crate::support::relay::Relay;
use crate::support::until;
use crate::support::world::World;
use crate::{SECRET, relay};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use waystation::inbox::authentication::Verdict;

const MAILBOX: &str = "inbox+sol@users.example.com";
const SHARED: &str = "inbox@users.example.com";

struct Stage {
    world: World,
    signer: Signer,
    receiver: Receiver,
    relay: Relay,
}

impl Stage {
    fn enter(test: &str) -> Option<Self> {
        let tools = Tools::find()?;
        let world = World::enter(test, &[])?;
        let signer = tools.signer(&world.folder);
        let receiver = Receiver::taking();
        let relay = relay(&world, &receiver);
        Some(Self { world, signer, receiver, relay })
    }

    /// A domain that signs, allows this machine and asks for rejection; as far as `spf` lets it.
    fn publish(&self, domain: &str, spf: &str) {
        self.world.dns.txt(domain, spf);
        self.world.dns.txt(&place(domain), &self.signer.record);
        self.world.dns.txt(&format!("_dmarc.{domain}"), "v=DMARC1; p=reject");
    }

    /// The event that a message becomes; `number` of them were there before.
    fn event(&self, number: usize, sender: &str, recipient: &str, message: &[u8]) -> Value {
        submit(self.relay.plain(), sender, &[recipient], message);
        self.told(number)
    }

    fn told(&self, number: usize) -> Value {
        let request = self.receiver.requests(number + 1).remove(number);
        request.verify(SECRET);
        request.json()
    }
}

fn letter(from: &str, body: &str) -> String {
    let id = format!("{}.{from}", body.len());
    format!(
        "From: Ana <{from}>\r\nTo: hola@casasol.example\r\nSubject: Hi\r\nMessage-ID: <{id}>\r\n\r\n{body}"
    )
}

#[test]
fn an_event_tells_what_dns_says_of_its_message() {
    let Some(stage) = Stage::enter("authentication::an_event_tells_what_dns_says_of_its_message") else {
        return;
    };
    stage.publish("good.example", "v=spf1 ip4:127.0.0.1 -all");
    stage.publish("bad.example", "v=spf1 -all");
    stage.publish("list.example", "v=spf1 include:good.example -all");
    stage
        .world
        .dns
        .set("mx.example", &[Record::Txt("v=spf1 mx -all".into()), Record::Mx(10, "a.mx.example".into())]);
    stage.world.dns.set("a.mx.example", &[Record::A("127.0.0.1".parse().unwrap())]);
    stage.world.dns.script("broken.example", |_, _| Say::Failure);
    stage.world.dns.script("_dmarc.broken.example", |_, _| Say::Failure);
    let signed = |from: &str, domain: &str| stage.signer.signed(&letter(from, "Hello\r\n"), domain);
    let dkim = |result: &str, domain: &str| json!([{ "result": result, "domain": domain, "selector": "s1" }]);
    let spf = |result: &str, domain: &str| json!({ "result": result, "domain": domain });

    let good = stage.event(0, "ana@good.example", MAILBOX, &signed("ana@good.example", "good.example"));
    let expected = json!({ "spf": spf("pass", "good.example"), "dkim": dkim("pass", "good.example"),
        "dmarc": { "result": "pass", "policy": "reject" }, "arc": { "result": "none" } });
    assert_eq!(good["data"]["authentication"], expected);

    let changed =
        String::from_utf8(signed("ana@bad.example", "bad.example")).unwrap().replace("Hello", "Hallo");
    let bad = stage.event(1, "ana@bad.example", MAILBOX, changed.as_bytes());
    let expected = json!({ "spf": spf("fail", "bad.example"), "dkim": dkim("fail", "bad.example"),
        "dmarc": { "result": "fail", "policy": "reject" }, "arc": { "result": "none" } });
    assert_eq!(bad["data"]["authentication"], expected);

    let nothing =
        stage.event(2, "ana@nothing.example", MAILBOX, letter("ana@nothing.example", "Hi\r\n").as_bytes());
    assert_eq!(nothing["data"]["authentication"]["spf"], spf("none", "nothing.example"));
    assert_eq!(nothing["data"]["authentication"]["dkim"], json!([]));
    assert_eq!(nothing["data"]["authentication"]["dmarc"]["result"], "none");

    let from_mx = stage.event(3, "ana@mx.example", MAILBOX, letter("ana@mx.example", "Hi\r\n").as_bytes());
    assert_eq!(from_mx["data"]["authentication"]["spf"], spf("pass", "mx.example"));

    let broken =
        stage.event(4, "ana@broken.example", MAILBOX, letter("ana@broken.example", "Hi\r\n").as_bytes());
    assert_eq!(broken["data"]["authentication"]["spf"], spf("temperror", "broken.example"));
    assert_eq!(broken["data"]["authentication"]["dmarc"]["result"], "temperror");

    // Two policies are none that could be followed; a record that only looks like one counts for nothing.
    let txt = |text: &str| Record::Txt(text.to_owned());
    let two = [txt("v=spf1 -all"), txt("a token"), txt("v=spf1 ip4:127.0.0.1 -all")];
    stage.world.dns.set("two.example", &two);
    stage.world.dns.set("one.example", &[txt("v=spf10 -all"), txt("v=spf1 ip4:127.0.0.1 -all")]);
    for (number, domain, result) in [(5, "two.example", "permerror"), (6, "one.example", "pass")] {
        let from = format!("ana@{domain}");
        let told = stage.event(number, &from, MAILBOX, letter(&from, "Hi\r\n").as_bytes());
        assert_eq!(told["data"]["authentication"]["spf"], spf(result, domain));
    }

    // A list that changed the message, and sealed what it saw before.
    let sealed = |text: &str| {
        let fields = "Authentication-Results: list.example; spf=pass smtp.mailfrom=bad.example\r\n";
        let message = format!("{fields}{}", letter("ana@bad.example", text));
        let canonicalization = "relaxed/relaxed";
        let job = Job { message: message.as_bytes(), domain: "list.example", canonicalization, arc: true };
        stage.signer.sign(&[job]).remove(0)
    };
    let arc = stage.event(7, "bounces@list.example", MAILBOX, &sealed("Sealed\r\n"));
    assert_eq!(arc["data"]["authentication"]["arc"], json!({ "result": "pass" }));
    assert_eq!(arc["data"]["authentication"]["spf"], spf("pass", "list.example"));
    assert_eq!(arc["data"]["authentication"]["dmarc"]["result"], "fail", "aligned with nobody");
    let changed = String::from_utf8(sealed("Sealed once\r\n")).unwrap().replace("once", "Once");
    let arc = stage.event(8, "bounces@list.example", MAILBOX, changed.as_bytes());
    assert_eq!(arc["data"]["authentication"]["arc"], json!({ "result": "fail" }));
}

/// Bodies as mail ends, or nearly; the last four are those that mail-auth's relaxed canonicalisation gets wrong.
const SHAPES: [(&str, &str); 10] = [
    ("text", "Hello\r\n"),
    ("several lines", "Hello\r\n\r\nWorld  \t wide \r\n"),
    ("empty lines", "Hello\r\n\r\n\r\n"),
    ("nothing", ""),
    ("one empty line", "\r\n"),
    ("white space in the middle", "Hello\r\n \t\r\nWorld\r\n"),
    ("a signature and white space", "Hello\r\n-- \r\n  \r\n\t\r\n"),
    ("a space at the end", "Hello\r\n \r\n"),
    ("white space alone", "  \r\n"),
    ("white space and empty lines", "Hello\r\n\t\r\n\r\n \r\n\r\n"),
];

#[test]
fn every_shape_of_body_that_dkimpy_signed_passes() {
    let Some(stage) = Stage::enter("authentication::every_shape_of_body_that_dkimpy_signed_passes") else {
        return;
    };
    stage.publish("good.example", "v=spf1 ip4:127.0.0.1 -all");
    let mut cases = Vec::new();
    for (shape, body) in SHAPES {
        for canonicalization in ["relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed"] {
            let from = format!("a{}@good.example", cases.len());
            cases.push((shape, canonicalization, letter(&from, body)));
        }
    }
    let jobs: Vec<Job<'_>> = cases
        .iter()
        .map(|(_, canonicalization, message)| Job {
            message: message.as_bytes(),
            domain: "good.example",
            canonicalization,
            arc: false,
        })
        .collect();
    for (number, ((shape, canonicalization, _), signed)) in
        cases.iter().zip(stage.signer.sign(&jobs)).enumerate()
    {
        let event = stage.event(number, "ana@good.example", MAILBOX, &signed);
        let result = &event["data"]["authentication"]["dkim"][0]["result"];
        assert_eq!(result, "pass", "{canonicalization}: {shape}");
    }
    // The check can fail: white space within a line is not at the end.
    let changed = stage.signer.signed(&letter("z@good.example", "Hello\r\n \r\n"), "good.example");
    let changed = String::from_utf8(changed).unwrap().replace("Hello\r\n", "Hello\r\n!");
    let event = stage.event(cases.len(), "ana@good.example", MAILBOX, changed.as_bytes());
    assert_eq!(event["data"]["authentication"]["dkim"][0]["result"], "fail");
}

#[test]
fn mail_that_is_nobodys_only_because_dns_is_away_waits_for_it() {
    let name = "authentication::mail_that_is_nobodys_only_because_dns_is_away_waits_for_it";
    let Some(stage) = Stage::enter(name) else { return };
    stage.publish("casasol.example", "v=spf1 ip4:127.0.0.1 -all");
    stage.world.dns.trouble(Some(Say::Failure));
    // Gmail's envelope: the mailbox's own domain must vouch for it.
    let forwarded = "hola+caf_=inbox=users.example.com@casasol.example";
    let list = letter("ana@guest.example", "Shared\r\n").replace("hola@casasol.example", "list@else.example");
    submit(stage.relay.plain(), forwarded, &[SHARED], list.as_bytes());
    stage.relay.logged(&["forwarded mail waits for DNS"]);
    // One that nobody needs to vouch for doesn't wait.
    let token =
        stage.event(0, "ana@guest.example", MAILBOX, letter("ana@guest.example", "Token\r\n").as_bytes());
    assert_eq!(
        (&token["type"], &token["data"]["mailbox"]["name"]),
        (&json!("message.received"), &json!("sol"))
    );
    assert_eq!(token["data"]["authentication"]["spf"]["result"], json!(Verdict::Temperror));
    // Nor one that nobody could vouch for.
    let nobody =
        letter("ana@guest.example", "Nobody\r\n").replace("hola@casasol.example", "who@else.example");
    let held = stage.event(1, "ana@guest.example", SHARED, nobody.as_bytes());
    assert_eq!(held["type"], "message.held");
    let waiting = stage.relay.json(&["queue", "list", "--state", "deferred", "--json"]);
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting}");
    stage.world.dns.trouble(None);
    // What its author writes to it waits for it, though DNS is back and says all of that.
    let (_, id) = list.split_once("Message-ID: ").unwrap();
    let (id, _) = id.split_once("\r\n").unwrap();
    let answer = format!("In-Reply-To: {id}\r\n{}", letter("ana@guest.example", "Answer\r\n"));
    let answer = stage.event(3, "luis@guest.example", MAILBOX, answer.as_bytes());
    assert_eq!(answer["data"]["envelope"]["sender"], "luis@guest.example");
    assert_eq!(answer["data"]["conversation"]["is_new"], false, "{answer}");
    let received = stage.told(2);
    assert_eq!(received["type"], "message.received");
    assert_eq!(received["data"]["mailbox"]["identified_by"], "gmail_envelope", "{received}");
    assert_eq!(received["data"]["authentication"]["spf"]["result"], "pass");
    assert!(stage.world.dns.asked("casasol.example", TXT) >= 2);
}

#[test]
fn a_client_whose_own_name_cant_be_found_forges_no_forwarding() {
    let name = "authentication::a_client_whose_own_name_cant_be_found_forges_no_forwarding";
    let Some(stage) = Stage::enter(name) else { return };
    stage.publish("casasol.example", "v=spf1 a:%{h} -all");
    let own = "client.test";
    stage.world.dns.script(own, |_, _| Say::Failure);
    let rewritten = "SRS0=AbC=XY=guest.example=ana@casasol.example";
    let forged =
        letter("ana@guest.example", "Forged\r\n").replace("hola@casasol.example", "you@else.example");
    submit(
        stage.relay.plain(),
        rewritten,
        &[SHARED],
        format!("Delivered-To: hola@casasol.example\r\n{forged}").as_bytes(),
    );
    stage.relay.logged(&["forwarded mail waits for DNS"]);
    stage.world.dns.script(own, |_, _| Say::NoName);
    let held = stage.told(0);
    assert_eq!(
        held["data"]["authentication"]["spf"],
        json!({ "result": "fail", "domain": "casasol.example" })
    );
    assert_eq!(held["type"], "message.held");
}

#[test]
fn a_message_that_the_daemon_dies_of_three_times_is_held_and_others_are_read() {
    let name = "authentication::a_message_that_the_daemon_dies_of_three_times_is_held_and_others_are_read";
    let Some(mut stage) = Stage::enter(name) else { return };
    // What is read waits for this name, which leaves time to kill it.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    stage.world.dns.script("poison.example", move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Say::Silence
    });
    let message = |from: &str| letter(from, "Hi\r\n");
    submit(stage.relay.plain(), "eve@poison.example", &[MAILBOX], message("eve@poison.example").as_bytes());
    let reading = stage.world.folder.join("state/reading");
    let written = || std::fs::read_to_string(&reading).unwrap_or_default().trim().to_owned();
    until("it is read", || written().ends_with(" 1").then_some(()));
    stage.relay.kill();
    // It is tried first, and survived; what ends the daemon while it waits for DNS behind that isn't its doing.
    for _ in 0..3 {
        let before = asked.load(Ordering::SeqCst);
        stage.relay = relay(&stage.world, &stage.receiver);
        until("DNS is asked", || (asked.load(Ordering::SeqCst) > before).then_some(()));
        stage.relay.kill();
        assert!(written().ends_with(" 1"), "{}", written());
    }
    // As it stands where it ended the daemon each time it was tried.
    let id = written().split_once(' ').unwrap().0.to_owned();
    std::fs::write(&reading, format!("{id} 3\n")).unwrap();
    stage.relay = relay(&stage.world, &stage.receiver);
    submit(stage.relay.plain(), "ana@guest.example", &[MAILBOX], message("ana@guest.example").as_bytes());
    stage.relay.logged(&["ended the daemon and is held", "deaths=3"]);
    let events = stage.receiver.requests(2);
    let of = |kind: &str| events.iter().map(Request::json).find(|event| event["type"] == kind).unwrap();
    let held = of("message.held");
    assert_eq!(held["data"]["envelope"]["sender"], "eve@poison.example");
    assert_eq!((&held["data"]["text"], &held["data"]["truncated"]), (&json!(""), &json!(true)), "{held}");
    assert_eq!(of("message.received")["data"]["envelope"]["sender"], "ana@guest.example");
    let listed = stage.relay.json(&["queue", "list", "--state", "held", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let why = "reading it ended the daemon 3 times";
    assert!(
        listed.to_string().contains(why) || {
            let id = listed[0]["id"].as_str().unwrap();
            stage.relay.command(&["queue", "show", id]).text().contains(why)
        }
    );
    until("nothing is read", || std::fs::read_to_string(&reading).ok()?.trim().is_empty().then_some(()));
}

#[test]
fn mail_that_has_no_room_beside_one_that_was_tried_is_read_behind_it() {
    let name = "authentication::mail_that_has_no_room_beside_one_that_was_tried_is_read_behind_it";
    let Some(mut stage) = Stage::enter(name) else { return };
    stage.world.dns.script("dead.example", |_, _| Say::Silence);
    let large = |from: &str, mib: usize| {
        let line = format!("{}\r\n", "A".repeat(76));
        letter(from, &line.repeat((mib << 20) / line.len()))
    };
    // The first two together are more than is read at once.
    let [first, others @ ..] =
        [("ana@dead.example", 20), ("bob@guest.example", 14), ("eva@guest.example", 0)];
    let send = |relay: &Relay, (from, mib): (&str, usize)| {
        submit(relay.plain(), from, &[MAILBOX], large(from, mib).as_bytes());
    };
    send(&stage.relay, first);
    let reading = stage.world.folder.join("state/reading");
    until("it is read", || std::fs::read_to_string(&reading).ok()?.trim().ends_with(" 1").then_some(()));
    stage.relay.kill();
    // It is tried alone, then waits for its DNS.
    stage.relay = relay(&stage.world, &stage.receiver);
    for mail in others {
        send(&stage.relay, mail);
    }
    let sender = |event: &Request| event.json()["data"]["envelope"]["sender"].as_str().map(str::to_owned);
    let all = BTreeSet::from([first, others[0], others[1]].map(|(from, _)| from.to_owned()));
    stage.receiver.wait("told of each", |seen| {
        let told: BTreeSet<String> = seen.iter().filter_map(sender).collect();
        (told == all).then_some(())
    });
}

#[test]
fn mail_that_waits_for_one_senders_names_is_passed_by_others() {
    let name = "authentication::mail_that_waits_for_one_senders_names_is_passed_by_others";
    let Some(stage) = Stage::enter(name) else { return };
    stage.publish("dead.example", "v=spf1 ip4:127.0.0.1 -all");
    stage.world.dns.script("_dmarc.dead.example", |_, _| Say::Silence);
    // More than are read at once.
    let dead = 100;
    for number in 0..dead {
        let message = letter(&format!("ana{number}@dead.example"), "Hi\r\n");
        submit(stage.relay.plain(), "ana@dead.example", &[MAILBOX], message.as_bytes());
    }
    submit(
        stage.relay.plain(),
        "bob@guest.example",
        &[MAILBOX],
        letter("bob@guest.example", "Hi\r\n").as_bytes(),
    );
    let told: Vec<Value> = stage.receiver.requests(dead + 1).iter().map(Request::json).collect();
    let dmarc = |event: &Value| event["data"]["authentication"]["dmarc"]["result"].clone();
    let place = told.iter().position(|event| dmarc(event) == "none").unwrap();
    assert!(place < dead / 2, "it came behind {place} that waited");
    assert_eq!(told.iter().filter(|event| dmarc(event) == "temperror").count(), dead);
}

#[test]
fn a_name_server_that_says_nothing_holds_up_nobody() {
    let Some(stage) = Stage::enter("authentication::a_name_server_that_says_nothing_holds_up_nobody") else {
        return;
    };
    stage.world.dns.trouble(Some(Say::Silence));
    for number in 0..20 {
        // The first waits for DNS for a while, and the others for the first.
        let message = letter(&format!("ana{number}@guest.example"), "Hi\r\n");
        submit(stage.relay.plain(), "ana@guest.example", &[MAILBOX], message.as_bytes());
    }
    for number in 0..20 {
        let event = stage.told(number);
        assert_eq!(event["type"], "message.received");
        assert_eq!(event["data"]["authentication"]["spf"]["result"], "temperror");
        assert_eq!(event["data"]["authentication"]["dmarc"]["result"], "temperror");
    }
}
