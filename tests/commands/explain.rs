//! `waystation explain`: what it says is what happens.

use crate::home::{Home, LIMIT, finish, recipients, text};
use crate::login::hash;
use crate::smarthost::{Smarthost, Taken};
use crate::smtp::Smtp;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use waystation::config::schema::Config;
use waystation::explain::{Explanation, Question, Way, explain};
use waystation::smtp::address::Address;
use waystation::smtp::command::{Mail, Release};

/// As many as the promise is made for.
const MESSAGES: usize = 10_000;
/// Connections at once; each has one client and one login.
const CONNECTIONS: usize = 18;
/// Messages that are refused over one connection; more RSETs than a hundred in a row close it.
const REFUSALS: usize = 50;
/// Some of them come to a smarthost that takes them; everything else waits in lanes that are switched off.
const TO_LIVE: u64 = 25;

/// Random numbers that are the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.roll(chances) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

/// One message, as it is sent.
#[derive(Debug)]
pub struct Letter {
    pub number: usize,
    pub sender: &'static str,
    pub recipients: Vec<String>,
    pub content: String,
    pub priority: Option<i8>,
    pub hold_until: Option<Timestamp>,
}

/// Who sends: a client behind a PROXY header, and a login.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    pub client: &'static str,
    pub application: Option<&'static str>,
}

impl Party {
    pub fn connected(self, address: SocketAddr) -> Smtp {
        let mut smtp = Smtp::connect(address);
        smtp.send(format!("PROXY TCP4 {} 127.0.0.1 12345 25\r\n", self.client).as_bytes());
        assert!(smtp.reply().starts_with("220 "));
        assert!(smtp.say("EHLO client.test").starts_with("250-"));
        if let Some(user) = self.application {
            assert!(smtp.login(user, "hunter2").starts_with("235 "), "{user}");
        }
        smtp
    }
}

fn party(connection: usize) -> Party {
    let clients = ["10.1.2.3", "10.99.0.1", "192.0.2.1"];
    let applications = [None, Some("shop"), Some("cron"), Some("desk"), None, Some("shop")];
    Party { client: clients[connection % 3], application: applications[connection / 3] }
}

impl Letter {
    fn made(number: usize, dice: &mut Dice, now: Timestamp) -> Self {
        let sender =
            dice.pick(&["a@shop.test", "b@shop.test", "news@far.test", "boss@x.test", "", "cron@cron.test"]);
        let is_live = dice.one_in(TO_LIVE);
        let mut recipients: Vec<String> = Vec::new();
        for place in 0..=dice.roll(4) {
            let domain = match (is_live, dice.roll(60)) {
                (true, _) if place == 0 => dice.pick(&["live.test", "force.test"]),
                (_, 0) => "never.test",
                (_, 1..8) => "hold.test",
                (_, 8..14) => "drop.test",
                (_, 14..24) => "far.test",
                (_, 24..30) => "Late.Test",
                _ => dice.pick(&["guest.test", "rest.test"]),
            };
            recipients.push(format!("r{place}@{domain}"));
        }
        let mut content = String::new();
        let mut add = |field: &str| content.push_str(&format!("{field}\r\n"));
        if dice.one_in(150) {
            (0..51).for_each(|_| add("Received: from a by b; today"));
        }
        add(&format!("X-Waystation-Tag: {number}"));
        let from = dice.pick(&[
            "shop@shop.test",
            "The Boss <boss@x.test>",
            "\"Comma, Ann\" <ann@far.test>, b@shop.test",
            "=?utf-8?q?Zo=C3=AB?=\r\n <zoe@x.test>",
            "live@shop.test",
        ]);
        if !dice.one_in(40) {
            add(&format!("From: {from}"));
        }
        add(&format!("Subject: message {number}"));
        if dice.one_in(3) {
            add(&format!("X-Kind: {}", dice.pick(&["reset", "Reset 7", "news"])));
        }
        if dice.one_in(4) {
            add("x-internal: secret\r\n folded");
        }
        if dice.one_in(5) {
            add("Reply-To: answers@x.test");
        }
        if dice.one_in(8) {
            add("Sender: clerk@x.test");
        }
        if dice.one_in(6) {
            add("Bcc: hidden@x.test,\r\n other@x.test");
        }
        if dice.one_in(3) {
            add("Date: Sun, 22 Nov 2026 12:00:00 +0000");
        }
        if dice.one_in(3) {
            add(&format!("Message-ID: <{number}@x.test>"));
        }
        if dice.one_in(4) {
            add(&format!("X-Waystation-Class: {}", dice.pick(&["priority", "normal", "bulk", "Bulk"])));
        } else if dice.one_in(100) {
            add("X-Waystation-Class: urgent");
        }
        let mut letter =
            Self { number, sender, recipients, content: String::new(), priority: None, hold_until: None };
        if !is_live {
            let later = |dice: &mut Dice| {
                let hours = i64::try_from(dice.roll(600)).unwrap() - 24;
                Timestamp::from_second(now.as_second() + hours * 3_600 + 1_800).unwrap()
            };
            if dice.one_in(5) {
                add(&format!("X-Waystation-Send-At: {}", later(dice)));
            } else if dice.one_in(200) {
                add("X-Waystation-Send-At: tomorrow");
            }
            letter.hold_until = dice.one_in(8).then(|| later(dice)).filter(|time| *time > now);
        }
        let party = party(number % CONNECTIONS);
        if party.application.is_none() && !party.client.starts_with("10.") {
            // Strangers are offered neither of the parameters.
            letter.hold_until = None;
        } else {
            letter.priority = dice.one_in(5).then(|| i8::try_from(dice.roll(19)).unwrap() - 9);
        }
        if dice.one_in(50) {
            add("a line without a colon");
        }
        letter.content = format!("{content}\r\nX-Kind: reset\r\nbody of {number}\r\n");
        letter
    }

    fn mail_command(&self) -> String {
        let mut command = format!("MAIL FROM:<{}>", self.sender);
        if let Some(priority) = self.priority {
            write!(command, " MT-PRIORITY={priority}").unwrap();
        }
        if let Some(time) = self.hold_until {
            write!(command, " HOLDUNTIL={time}").unwrap();
        }
        command
    }

    /// Sends it; the reply to its final dot, or the first refusal.
    pub fn send(&self, smtp: &mut Smtp) -> String {
        let mut reply = smtp.say(&self.mail_command());
        for recipient in &self.recipients {
            if !reply.starts_with('2') {
                break;
            }
            reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        }
        if reply.starts_with('2') {
            reply = smtp.say("DATA");
        }
        if !reply.starts_with("354 ") {
            smtp.say("RSET");
            return reply;
        }
        smtp.send(format!("{}.\r\n", self.content).as_bytes());
        smtp.reply()
    }

    pub fn explained(&self, config: &Config, party: Party, id: &str, now: Timestamp) -> Explanation {
        let address = |text: &str| Address::parse(text, false).unwrap();
        let recipients: Vec<Address> = self.recipients.iter().map(|text| address(text)).collect();
        let sender = Some(self.sender).filter(|sender| !sender.is_empty()).map(address);
        let release = self.hold_until.map(Release::At);
        explain(
            config,
            &Question {
                newest: &BTreeMap::new(),
                content: self.content.as_bytes(),
                mail: Mail { sender, priority: self.priority, release, ..Mail::from_null() },
                recipients: &recipients,
                client: party.client.parse::<IpAddr>().unwrap(),
                helo: "client.test",
                application: party.application,
                id,
                now,
                secrets: &BTreeMap::new(),
            },
        )
    }
}

/// Lanes that wait, two that flow, and a rule for everything that rules can look at.
fn rules(live: &Smarthost, force: &Smarthost) -> String {
    let nowhere = "host = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nenabled = false\n";
    let hash = hash();
    let mut config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"optional\"\nproxy_protocol = [\"127.0.0.0/8\"]\n\
         trust = [\"10.0.0.0/8\"]\n[intake]\nmax_errors = 1000000\n\
         [application.shop]\npassword_hash = \"{hash}\"\nfrom = [\"@shop.test\", \"boss@x.test\"]\nsmarthost = \"own\"\n\
         [application.cron]\npassword_hash = \"{hash}\"\n\
         [application.desk]\npassword_hash = \"{hash}\"\nclass = \"bulk\"\nsmarthost = \"far\"\n\
         {}address = \"live@shop.test\"\nallowed_from = [\"@shop.test\"]\n\
         {}address = \"force@shop.test\"\nfrom = \"force\"\ndisplay_name = \"The Shop\"\n\
         [smarthost.rest]\ndefault = true\n{nowhere}[smarthost.own]\n{nowhere}[smarthost.far]\n{nowhere}",
        live.section("live"),
        force.section("force"),
    );
    for route in [
        "recipient = \"@never.test\"\naction = \"reject\"",
        "recipient = \"@drop.test\"\naction = \"discard\"",
        "recipient = \"@hold.test\"\nheader = { X-Kind = \"res*\" }\naction = \"hold\"\nclass = \"priority\"",
        "recipient = \"@hold.test\"\naction = \"hold\"",
        "recipient = \"@live.test\"\nsmarthost = \"live\"",
        "recipient = \"@force.test\"\nsmarthost = \"force\"\nclass = \"normal\"",
        "application = \"cron\"\nheader = { X-Kind = \"news\" }\nclass = \"bulk\"",
        "client = \"10.99.0.0/16\"\nfrom = \"boss@x.test\"\nsmarthost = \"far\"\nclass = \"priority\"",
        "sender = \"@far.test\"\nrecipient = \"@far.test\"\nsmarthost = \"far\"\nexpires_after = \"15m\"",
        "recipient = \"@late.test\"\nexpires_after = \"2h\"",
    ] {
        write!(config, "[[route]]\n{route}\n").unwrap();
    }
    config
        + "[[rewrite]]\nheader = { X-Internal = \"*\" }\nremove = [\"X-Internal\"]\nadd = { X-Relay = \"waystation\" }\n\
           [[rewrite]]\nrecipient = \"@force.test\"\nreplace = { Subject = \"from the shop\" }\n\
           [[rewrite]]\nsender = \"boss@x.test\"\nclient = \"10.0.0.0/8\"\nreplace = { Reply-To = \"desk@shop.test\" }\n"
}

/// The reply that an explanation expects, with the id and without the time.
fn expected_reply(explanation: &Explanation) -> Vec<String> {
    if let Some(refusal) = &explanation.refused {
        return vec![refusal.reply.clone()];
    }
    let leaving = explanation.ways.iter().filter(|way| way.action != "discard");
    let lines: Vec<String> = leaving
        .map(|way| match way.action {
            "hold" => format!("held for {} until it is released", way.smarthost),
            _ => format!("queued for {}", way.smarthost),
        })
        .collect();
    if lines.is_empty() { vec!["taken and discarded by a route".to_owned()] } else { lines }
}

/// A reply as [`expected_reply`] says it, and its ids.
pub fn told(reply: &str) -> (Vec<String>, Vec<String>) {
    if !reply.starts_with('2') {
        return (vec![reply.to_owned()], vec![]);
    }
    let line = |line: &str| {
        let (id, words) = line[10..].split_once(' ').unwrap();
        (words.split(", ").next().unwrap().to_owned(), id.to_owned())
    };
    reply.lines().map(line).unzip()
}

/// What the journal must say of a message: lane, class, recipients, state, and the time if that isn't soon.
fn expected_entry(way: &Way, soon: Timestamp) -> String {
    let state = match (way.action, way.smarthost.as_str()) {
        ("discard", _) => "discarded",
        ("hold", _) => "held",
        (_, "live" | "force") => "delivered",
        _ => "queued",
    };
    let due = if state == "queued" && way.due > soon { way.due.to_string() } else { String::new() };
    format!("{} {:?} {state} {due} {}", way.smarthost, way.class, way.recipients.join(" ")).to_lowercase()
}

fn entry(message: &Value, soon: Timestamp) -> String {
    let all = recipients(std::slice::from_ref(message));
    let addresses: Vec<String> = all.iter().map(|each| text(each, "address")).collect();
    let state = text(all[0], "state");
    assert!(all.iter().all(|each| text(each, "state") == state), "{message}");
    let next = all[0]["next_attempt"].as_str().and_then(|next| next.parse::<Timestamp>().ok());
    let ahead = next.filter(|time| state == "queued" && *time > soon);
    let due = ahead.map_or_else(String::new, |time| time.to_string());
    let (lane, class) = (text(message, "lane"), text(message, "class"));
    format!("{lane} {class} {state} {due} {}", addresses.join(" ")).to_lowercase()
}

/// When a message was taken, by what the relay wrote on top of it: the Message-ID tells it exactly, if it is the
/// relay's own, and the Received field to the second.
pub fn taken_at(taken: &Taken, id: &str) -> Timestamp {
    let own = format!(".{id}@relay.test>");
    let line = taken.content.lines().find(|line| line.starts_with("Message-ID: <") && line.ends_with(&own));
    if let Some(line) = line {
        let milliseconds = line["Message-ID: <".len()..line.len() - own.len()].parse().unwrap();
        return Timestamp::from_millisecond(milliseconds).unwrap();
    }
    let date = taken.content.lines().find(|line| line.ends_with(" +0000")).unwrap().trim();
    Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", date).unwrap()
}

/// Sends the letters of each connection at once; the reply to each.
fn send_all(letters: &Arc<Vec<Letter>>, address: SocketAddr) -> Vec<String> {
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let letters = Arc::clone(letters);
            std::thread::spawn(move || {
                let party = party(connection);
                let (mut smtp, mut refused) = (party.connected(address), 0);
                let mine = letters.iter().filter(|letter| letter.number % CONNECTIONS == connection);
                mine.map(|letter| {
                    let reply = letter.send(&mut smtp);
                    refused += usize::from(!reply.starts_with('2'));
                    if refused == REFUSALS {
                        (smtp, refused) = (party.connected(address), 0);
                    }
                    (letter.number, reply)
                })
                .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut replies = vec![String::new(); letters.len()];
    for (number, reply) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        replies[number] = reply;
    }
    replies
}

#[test]
fn what_is_explained_is_what_happens_to_ten_thousand_messages() {
    let (live, force) = (Smarthost::start(), Smarthost::start());
    let home = Home::new(&rules(&live, &force));
    let config = waystation::config::load(&home.path("waystation.toml"), std::iter::empty()).unwrap().config;
    let daemon = home.start();
    // A time that a letter asks for is either past or half an hour ahead at least.
    let (mut dice, now) = (Dice(0x005E_ED0F_5741), Timestamp::now());
    let letters: Arc<Vec<Letter>> =
        Arc::new((0..MESSAGES).map(|number| Letter::made(number, &mut dice, now)).collect());
    let soon = now + jiff::SignedDuration::from_mins(25);
    let replies = send_all(&letters, daemon.address());

    // The reply, and with it lane, hold, discard and every refusal.
    let mut wrong = Vec::new();
    let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut by_id: HashMap<String, (usize, &'static str)> = HashMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (letter, reply) in letters.iter().zip(&replies) {
        let party = party(letter.number % CONNECTIONS);
        let explanation = letter.explained(&config, party, "0000000000000", now);
        let (said, ids) = told(reply);
        if said != expected_reply(&explanation) {
            wrong.push(format!("{letter:?} {party:?}: said {said:?}, explained {explanation:?}"));
        }
        for way in &explanation.ways {
            entries.entry(letter.number.to_string()).or_default().push(expected_entry(way, soon));
            *counts.entry(format!("{} {}", way.action, way.smarthost)).or_default() += 1;
            *counts.entry(format!("class {:?}", way.class)).or_default() += 1;
            if let ("send", name @ ("live" | "force")) = (way.action, way.smarthost.as_str()) {
                let name = if name == "live" { "live" } else { "force" };
                by_id.insert(format!("{} {name}", ids[0]), (letter.number, name));
            }
        }
        if let Some(refusal) = &explanation.refused {
            *counts.entry(format!("refused {}", &refusal.reply[..9])).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {MESSAGES} differ, the first: {}", wrong.len(), wrong[0]);

    // What a smarthost gets: envelope and every octet.
    let mut delivered = 0;
    for (name, smarthost) in [("live", &live), ("force", &force)] {
        let count = by_id.values().filter(|(_, lane)| *lane == name).count();
        for taken in (0..count).map(|_| smarthost.next()) {
            let id =
                taken.content.split(" id ").nth(1).and_then(|rest| rest.split(['\n', ';']).next()).unwrap();
            let (number, _) = by_id[&format!("{id} {name}")];
            let letter = &letters[number];
            let party = party(number % CONNECTIONS);
            let explanation = letter.explained(&config, party, id, taken_at(&taken, id));
            let fits = |way: &&Way| {
                way.smarthost == name && way.action == "send" && way.recipients == taken.recipients
            };
            let way =
                explanation.ways.iter().find(fits).unwrap_or_else(|| panic!("{taken:?}: {explanation:?}"));
            let content = String::from_utf8(way.content.clone()).unwrap().replace("\r\n", "\n");
            assert_eq!((&taken.sender, &taken.content), (&way.sender, &content), "{letter:?}");
            delivered += 1;
        }
        assert!(smarthost.rest().is_empty(), "{name} got more than was explained");
    }

    // Lane, class, state and time, as the journal has them; an outcome is written behind what the smarthost saw.
    let deadline = Instant::now() + LIMIT;
    while home.json(["journal", "--json", "--state", "delivered"]).len() < delivered {
        assert!(Instant::now() < deadline, "not all {delivered} are delivered");
    }
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in home.journal_when(&["queued", "held", "discarded", "delivered"]) {
        kept.entry(text(&message, "tag")).or_default().push(entry(&message, soon));
    }
    for all in entries.values_mut().chain(kept.values_mut()) {
        all.sort();
    }
    for (number, explained) in &entries {
        assert_eq!(kept.get(number), Some(explained), "message {number}");
    }
    assert_eq!(kept.len(), entries.len(), "nothing is in the journal that wasn't explained");

    // The dice threw everything that there is.
    eprintln!("{MESSAGES} messages, {delivered} of them compared at a smarthost: {counts:#?}");
    assert!(delivered > 100, "{delivered}");
    for what in [
        "hold rest",
        "hold own",
        "hold far",
        "discard rest",
        "send rest",
        "send own",
        "send far",
        "send live",
        "send force",
        "class Priority",
        "class Normal",
        "class Bulk",
        "refused 550 5.7.1",
        "refused 554 5.6.0",
        "refused 554 5.4.6",
    ] {
        assert!(counts.contains_key(what), "no {what} in {counts:?}");
    }
}

/// A station of which everything can be told.
const STATION: &str = "\
[[listener]]
address = \"127.0.0.1:0\"
[[listener]]
address = \"127.0.0.2:0\"
auth = \"required\"
[smarthost.shop]
default = true
host = \"127.0.0.1\"
port = 9
tls = \"none\"
enabled = false
address = \"shop@shop.test\"
allowed_from = [\"@shop.test\"]
per_day = 500
priority_reserve = 50
fallback = [\"spare\", \"strict\"]
[smarthost.spare]
host = \"127.0.0.1\"
port = 9
tls = \"none\"
[smarthost.strict]
host = \"127.0.0.1\"
port = 9
tls = \"none\"
address = \"strict@strict.test\"
allowed_from = [\"@strict.test\"]
[[route]]
recipient = \"@far.test\"
header = { X-Kind = \"reset\" }
class = \"priority\"
expires_after = \"15m\"
[[route]]
recipient = \"@never.test\"
action = \"reject\"
[[route]]
recipient = \"@drop.test\"
action = \"discard\"
[[rewrite]]
header = { X-Internal = \"*\" }
remove = [\"X-Internal\"]
add = { X-Relay = \"waystation\" }
";

fn station() -> String {
    let login = format!("password_hash = \"{}\"\nfrom = [\"@shop.test\"]\nclass = \"bulk\"\n", hash());
    format!("{STATION}[application.shop]\n{login}")
}

/// Times are the day's; everything else is the same each time.
fn timeless(told: &str) -> String {
    let is_time = |word: &str| {
        let word = word.trim_end_matches([',', ';']);
        word.parse::<Timestamp>().is_ok()
            || word.parse::<jiff::civil::Time>().is_ok_and(|_| word.contains(':'))
    };
    let line = |line: &str| {
        if let Some((before, _)) = line.split_once("Message-ID: <") {
            return format!("{before}Message-ID: <…>");
        }
        if line.contains(" +0000") {
            let before = line.split("Date:").next().unwrap();
            return if line.contains("Date:") {
                format!("{before}Date: …")
            } else {
                "    + …".to_owned()
            };
        }
        line.split(' ').map(|word| if is_time(word) { "TIME" } else { word }).collect::<Vec<_>>().join(" ")
    };
    told.lines().map(|each| line(each) + "\n").collect()
}

#[test]
fn each_decision_is_told_with_its_reason() {
    let home = Home::new(&station());
    home.write(
        "letter.eml",
        "From: Ann <ann@x.test>\nTo: bob@far.test\nCc: eve@drop.test\nSubject: Hi\nX-Internal: 1\nX-Kind: reset\n\nhello\n",
    );
    assert_eq!(
        timeless(&home.cli(["explain", "letter.eml"]).good()),
        "\
from ann@x.test to bob@far.test, eve@drop.test, 113 octets
subject: Hi
may come in: listener 127.0.0.1:0, client 127.0.0.1 is in its trust
rewrite 1 (header.X-Internal = \"*\") matches
  X-Internal: removed
  X-Relay: \"waystation\" added

shop: bob@far.test
  why: route 1 (recipient = \"@far.test\", header.X-Kind = \"reset\")
  class: priority (route 1)
  expires: TIME 15m after it may leave; then it is reported instead of delivered
  shop is switched off (enabled = false): its mail waits
  envelope sender: shop@shop.test, not ann@x.test
  changed: From: ann@x.test → shop@shop.test (not allowed by smarthost shop)
  changed: Reply-To: ann@x.test added
  changed: envelope sender: ann@x.test → shop@shop.test (as From)
  fallback: spare, accepts this From
  fallback: strict, doesn't accept this From
  quota and expected time: not known, no daemon was asked
  header lines, as they come (-) and as they go (+):
    @@ -1,2 +1,8 @@
    -From: Ann <ann@x.test>
    +Received: from client.invalid ([127.0.0.1])
    + by relay.test (waystation) with ESMTP id 0000000000000;
    + …
    +Date: …
    +Message-ID: <…>
    +From: Ann <shop@shop.test>
    +Reply-To: Ann <ann@x.test>
     To: bob@far.test
    @@ -4,3 +10,3 @@
     Subject: Hi
    -X-Internal: 1
     X-Kind: reset
    +X-Relay: waystation

shop: eve@drop.test
  why: route 3 (recipient = \"@drop.test\")
  action: discard; it is taken, dropped and told of in the journal
"
    );
    let told = |words: &[&str]| home.cli(["explain"].iter().chain(words)).good();
    assert_eq!(
        told(&["--from", "ann@x.test", "--to", "bob@never.test"]),
        "from ann@x.test to bob@never.test, 65 octets\n\
         may come in: listener 127.0.0.1:0, client 127.0.0.1 is in its trust\n\
         would be refused 550 5.7.1 <bob@never.test>: refused by a route of this relay; nothing was sent: \
         route 2 (recipient = \"@never.test\")\n"
    );
    assert_eq!(
        told(&["--from", "ann@x.test", "--to", "bob@y.test", "--application", "shop"]),
        "from ann@x.test to bob@y.test, 61 octets\n\
         would be refused 550 5.7.1 this login may not use that sender address: \
         listener 127.0.0.2:0, application shop: sender not allowed\n"
    );
    let later = told(&[
        "--from",
        "<>",
        "--to",
        "bob@y.test",
        "--application",
        "shop",
        "--header",
        "X-Waystation-Class: normal",
        "--header",
        "X-Waystation-Tag: spring",
    ]);
    for line in [
        "from <> to bob@y.test,",
        "tag: spring",
        "may come in: listener 127.0.0.2:0, application shop logged in",
        "  why: default smarthost",
        "  class: normal (X-Waystation-Class)",
        "  envelope sender: <>",
    ] {
        assert!(later.contains(line), "no {line:?} in\n{later}");
    }
}

#[test]
fn a_recipient_that_is_named_twice_is_explained_once_and_a_refused_field_says_why_once() {
    let home = Home::new(&station());
    let ask =
        ["explain", "--from", "a@shop.test", "--to", "b@c.test", "--to", "d@c.test", "--to", "b@c.test"];
    let told = home.cli(ask).good();
    assert!(told.contains("from a@shop.test to b@c.test, d@c.test, "), "{told}");
    assert_eq!(told.matches("b@c.test").count(), 2, "{told}");
    let ask = ["explain", "--from", "a@shop.test", "--to", "b@c.test", "--header", "X-Waystation-Class: odd"];
    let told = home.cli(ask).good();
    let line = told.lines().find(|line| line.starts_with("would be refused 5")).unwrap();
    assert_eq!(line.matches("X-Waystation-Class").count(), 1, "{line}");
}

#[test]
fn raw_octets_in_fields_come_without_smtputf8_and_are_encoded_where_they_must_be() {
    let home = Home::new(&station());
    let letter =
        |content: &str| format!("From: Zoë <zoë@x.test>\nTo: bob@far.test\nX-Kind: reset\n{content}");
    home.write("letter.eml", &letter("\nzażółć\n"));
    home.write("odd.eml", &letter("Received: from zoë by y.test\n\nhello\n"));
    let told = home.cli(["explain", "letter.eml", "--from", "a@x.test"]).good();
    for part in [
        "with ESMTP id",
        "Reply-To: zoë@x.test left out, it would take SMTPUTF8",
        "  where shop doesn't offer 8BITMIME: its 8-bit text is encoded before it leaves, in its header section too\n",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let told = home.cli(["explain", "letter.eml", "--from", "a@x.test", "--smtputf8"]).good();
    for part in ["with UTF8SMTP id", "Reply-To: zoë@x.test added"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let told = home.cli(["explain", "odd.eml", "--from", "a@x.test"]).good();
    assert!(told.contains("doesn't offer 8BITMIME: it fails: 5.6.7 a header field holds"), "{told}");
    let told = home.cli(["explain", "--from", "a@x.test", "--to", "bob@far.test"]).good();
    assert!(!told.contains("8BITMIME"), "{told}");
}

#[test]
fn what_is_asked_wrongly_is_told_what_to_do() {
    let home = Home::new(&station());
    home.write("empty.eml", "Subject: to nobody\n\n");
    for (words, code, told) in [
        (&["explain"][..], 64, "explain what? Name a message's FILE, or --from and --to"),
        (&["explain", "--from", "a@b.test"], 64, "explain what?"),
        (&["explain", "none.eml"], 65, "none.eml: No such file"),
        (&["explain", "empty.eml"], 65, "no To, Cc or Bcc; name recipients with --to"),
        (
            &["explain", "--from", "a@b..test", "--to", "b@c.test"],
            64,
            "--from: \"a@b..test\" is not an address",
        ),
        (
            &["explain", "--from", "a@b.test", "--to", "b@c.test", "--application", "desk"],
            64,
            "no such application; there are: shop",
        ),
        (
            &["explain", "--from", "a@b.test", "--to", "b@c.test", "--header", "no field"],
            64,
            "write one field, like 'X-Kind: reset'",
        ),
    ] {
        let complaint = home.cli(words).failed(code);
        assert!(complaint.contains(told), "{words:?}: {complaint}");
    }
    let command = home.command(["explain", "-", "--json"]);
    let out = finish(command, "From: a@shop.test\nTo: b@c.test\n\nhello\n").good();
    let array: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(array.len(), 1);
    assert_eq!(array[0]["ways"][0]["smarthost"], "shop");
    assert_eq!(array[0]["ways"][0]["reasons"], serde_json::json!(["default smarthost"]));
    assert_eq!(array[0]["ways"][0]["live"], Value::Null);
}

#[test]
fn the_daemon_tells_quota_time_and_fallback() {
    let smarthost = Smarthost::start();
    let limited =
        smarthost.section("shop") + "default = true\nper_hour = 1\nfallback = [\"strict\", \"spare\"]\n";
    let others = "[smarthost.strict]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\naddress = \"a@strict.test\"\nallowed_from = [\"@strict.test\"]\n\
                  [smarthost.spare]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n";
    let home = Home::new(&(limited + others));
    let daemon = home.start();
    let asked = ["explain", "--from", "a@shop.test", "--to", "b@c.test"];
    let told = home.cli(asked).good();
    for line in [
        "  lane: flowing; 0 queued, 0 deferred",
        "  quota per_hour: 0 of 1 used, 1 left",
        "  expected: at once",
    ] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    Smtp::hello(daemon.address()).post("a@shop.test", &["ana@guest.test"], crate::smtp::LETTER);
    smarthost.next();
    home.journal_when(&["delivered"]);
    let told = home.cli(asked).good();
    for line in [
        "  quota per_hour: 1 of 1 used, 0 left",
        "  fallback: strict, doesn't accept this From, works and lets one more go within a minute",
        "  fallback: spare, accepts this From, works and lets one more go within a minute",
        "  would go by spare instead: shop has used up its limit",
        "  expected: at once, by the fallback",
    ] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    home.extend("\n[journal]\nkeep = \"7d\"\n");
    let ended = home.cli(asked);
    assert!(ended.err.contains("the daemon runs by another configuration"), "{ended:?}");
    assert!(ended.good().contains("lane: flowing"));
}

#[test]
fn what_fails_by_its_size_is_told_no_time() {
    let smarthost = Smarthost::start();
    let home = Home::new(&format!("{}max_size = \"1 KiB\"\n", smarthost.section("shop")));
    let _daemon = home.start();
    let explained = |size: usize| {
        let command = home.command(["explain", "-"]);
        finish(command, &format!("From: a@shop.test\nTo: b@c.test\n\n{}\n", "x".repeat(size))).good()
    };
    assert!(explained(10).contains("  expected: at once\n"));
    let big = explained(1100);
    assert!(big.contains("  fails: ") && big.contains("  expected: never: it fails by its size\n"), "{big}");
}
