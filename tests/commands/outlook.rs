//! `waystation explain` beside a daemon whose lanes are limited, down and frozen, and stand in for one another: the
//! smarthost and the time that it tells are those of the reply, and what is delivered is what it showed.

use crate::explain::{Dice, Letter, Party, taken_at};
use crate::home::{Home, LIMIT, recipients, text};
use crate::ports::closed_port;
use crate::smarthost::{Smarthost, Taken};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use waystation::admin::{Client, LaneStatus, Request, Status};
use waystation::config::schema::Config;
use waystation::explain::{Explanation, Way, ask_live};

/// Enough for every lane to come to its limits; the ten thousand of the promise are in `explain`.
const MESSAGES: usize = 4_000;
/// Sets of lanes that have nothing to do with one another, each with limits of its own and one client.
const SETS: usize = 2;
const PARTY: Party = Party { client: "10.1.2.3", application: None };
/// A wait that fallbacks are not asked for.
const SOON: SignedDuration = SignedDuration::from_mins(1);

/// A time zone whose day neither begins nor ends while the test runs.
fn where_it_is_noon() -> String {
    match 12 - Timestamp::now().to_zoned(TimeZone::UTC).hour() {
        0 => "Etc/GMT".to_owned(),
        // West is positive in these names.
        east => format!("Etc/GMT{:+}", -east),
    }
}

/// The lanes of one set: two that work within limits, one that is down, two that are frozen.
fn lanes(set: usize, dice: &mut Dice, works: &Smarthost, stands_in: &Smarthost) -> String {
    // Nothing is given back of a window while the test runs, so that what is told stays true.
    let mut limits = |least: u64, more: u64| {
        let day = least + dice.roll(more);
        let mut limits = format!("per_day = {day}\n");
        if !dice.one_in(3) {
            writeln!(limits, "priority_reserve = {}", 1 + dice.roll(day / 3)).unwrap();
        }
        if dice.one_in(2) {
            writeln!(limits, "per_hour = {}", day * 2 / 3 + dice.roll(day / 3)).unwrap();
        }
        if dice.one_in(2) {
            limits.push_str("count = \"messages\"\n");
        }
        if dice.one_in(2) {
            writeln!(limits, "day = \"{}\"", where_it_is_noon()).unwrap();
        }
        limits
    };
    let nobody = closed_port();
    let down = format!("host = \"127.0.0.1\"\nport = {nobody}\ntls = \"none\"\n");
    let frozen = works.section(&format!("frozen{set}")) + "username = \"u\"\npassword = \"p\"\n";
    let mut lanes = format!(
        "{}address = \"shop@shop.test\"\nallowed_from = [\"@shop.test\", \"@both.test\"]\nfallback = [\"other{set}\"]\n{}\
         {}address = \"sol@both.test\"\nallowed_from = [\"@both.test\"]\n{}\
         [smarthost.down{set}]\n{down}fallback = [\"other{set}\", \"own{set}\"]\n\
         {frozen}fallback = [\"own{set}\"]\naddress = \"shop@shop.test\"\nfrom = \"force\"\ndisplay_name = \"Nobody\"\n\
         [smarthost.late{set}]\n{down}",
        works.section(&format!("own{set}")),
        limits(200, 300),
        stands_in.section(&format!("other{set}")),
        limits(100, 200),
    );
    for lane in ["own", "other", "down", "frozen", "late"] {
        let expires = if lane == "late" { "expires_after = \"2s\"\n" } else { "" };
        write!(
            lanes,
            "[[route]]\nrecipient = \"@{lane}{set}.test\"\nheader = {{ X-Kind = \"hold\" }}\nsmarthost = \"{lane}{set}\"\naction = \"hold\"\n\
             [[route]]\nrecipient = \"@{lane}{set}.test\"\nsmarthost = \"{lane}{set}\"\n{expires}"
        )
        .unwrap();
    }
    lanes
}

fn letter(number: usize, dice: &mut Dice, now: Timestamp) -> Letter {
    let set = number % SETS;
    let lane = dice.pick(&["own", "own", "own", "other", "down", "frozen", "late"]);
    let mut recipients: Vec<String> =
        (0..=dice.roll(3)).map(|place| format!("r{place}@{lane}{set}.test")).collect();
    if dice.one_in(10) {
        recipients.push(format!("more@own{set}.test"));
    }
    let from = dice.pick(&[
        "shop@shop.test",
        "\"Sol, Casa\" <sol@both.test>",
        "Both <any@both.test>",
        "The Boss <boss@x.test>",
        "=?utf-8?q?Zo=C3=AB?= <zoe@shop.test>",
    ]);
    let mut content = format!("X-Waystation-Tag: {number}\r\nFrom: {from}\r\nSubject: message {number}\r\n");
    let class = dice.pick(&["priority", "normal", "normal", "bulk"]);
    write!(content, "X-Waystation-Class: {class}\r\n").unwrap();
    if dice.one_in(30) {
        content.push_str("X-Kind: hold\r\n");
    }
    if dice.one_in(15) {
        let hours = i64::try_from(dice.roll(100)).unwrap() + 2;
        write!(content, "X-Waystation-Send-At: {}\r\n", now + SignedDuration::from_hours(hours)).unwrap();
    }
    content.push_str("\r\nhello\r\n");
    Letter { number, sender: "shop@shop.test", recipients, content, priority: None, hold_until: None }
}

/// What the command would tell of a letter now.
fn explained(letter: &Letter, config: &Config, lanes: &[LaneStatus], daemon: &mut Client) -> Explanation {
    let mut explanation = letter.explained(config, PARTY, "0000000000000", Timestamp::now());
    ask_live(&mut explanation, lanes, |inquiry| daemon.ask(inquiry)).unwrap();
    explanation
}

/// Where a way leads, and when; none: at once.
fn leads(way: &Way) -> (&str, Option<Timestamp>) {
    let outlook = &way.live.as_ref().unwrap().outlook;
    let expected = outlook.expected.as_ref().map(|time| time.parse().unwrap());
    (outlook.leaves_by.as_deref().unwrap_or(&way.smarthost), expected)
}

/// The lines that a reply may have by an explanation, for each way: minutes may end meanwhile.
fn lines(explanation: &Explanation, now: Timestamp) -> Vec<Vec<String>> {
    let line = |way: &Way| {
        let (lane, expected) = leads(way);
        if way.action == "hold" {
            return vec![format!("held for {} until it is released", way.smarthost)];
        }
        let due = expected.unwrap_or(if way.due > now + SOON { way.due } else { now });
        let zone = TimeZone::system();
        let shown = |time: Timestamp, seconds| {
            let told = (time + SignedDuration::from_secs(seconds)).to_zoned(zone.clone());
            let today = told.date() == now.to_zoned(zone.clone()).date();
            let form = if time <= now || today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
            told.strftime(form).to_string()
        };
        let form = |seconds| format!("queued for {lane}, due {}", shown(due, seconds));
        let mut lines = [-3, 0, 3].map(form).to_vec();
        if let Some(expires) = way.expires_at {
            let lets_expire = |line: &String| {
                [-3, 0, 3].map(|seconds| {
                    format!("{line}, but its route lets it expire {} before that", shown(expires, seconds))
                })
            };
            lines.extend(lines.clone().iter().flat_map(lets_expire));
        }
        lines
    };
    explanation.ways.iter().map(line).collect()
}

fn fits(explanation: &Explanation, reply: &str, now: Timestamp) -> bool {
    let (expected, told) = (lines(explanation, now), reply.lines().collect::<Vec<_>>());
    let fits = |(any, told): (&Vec<String>, &&str)| any.iter().any(|line| told.ends_with(line.as_str()));
    expected.len() == told.len() && expected.iter().zip(&told).all(fits)
}

/// What was told of each letter of a set before it was sent.
fn send(
    letters: &[Letter],
    config: &Config,
    address: SocketAddr,
    set: usize,
) -> (Vec<(usize, Explanation)>, usize, usize) {
    let mut smtp = PARTY.connected(address);
    let mut daemon = Client::connect(&config.state_dir).unwrap();
    let lanes = daemon.ask::<Status>(&Request::Status).unwrap().lanes;
    let (mut all, mut shifted, mut between) = (Vec::new(), 0, 0);
    for letter in letters.iter().filter(|letter| letter.number % SETS == set) {
        let before = explained(letter, config, &lanes, &mut daemon);
        let reply = letter.send(&mut smtp);
        let now = Timestamp::now();
        if !fits(&before, &reply, now) {
            // Something was moved or ended in between; then it is told now.
            let after = explained(letter, config, &lanes, &mut daemon);
            if !fits(&after, &reply, now) {
                eprintln!(
                    "said {reply:?}, explained before {:?} and after {:?}: {letter:?}",
                    lines(&before, now),
                    lines(&after, now)
                );
                between += 1;
            }
            shifted += 1;
        }
        all.push((letter.number, before));
    }
    (all, shifted, between)
}

/// Waits until the lanes that don't work are known to, each by a message of its own.
fn stop_lanes(home: &Home, address: SocketAddr) {
    let mut smtp = PARTY.connected(address);
    for set in 0..SETS {
        for lane in ["down", "frozen", "late"] {
            smtp.post(
                "shop@shop.test",
                &[&format!("first@{lane}{set}.test")],
                "From: a@x.test\r\n\r\nhi\r\n",
            );
        }
    }
    let deadline = Instant::now() + LIMIT;
    loop {
        let lanes = home.json(["status", "--json"]);
        let stands = |lane: &&Value| ["stopped", "frozen"].contains(&&*text(lane, "state"));
        if lanes.iter().filter(stands).count() == 3 * SETS {
            return;
        }
        // What a route lets expire may have expired before it was tried: then there has to be another one.
        let is_idle = |lane: &&Value| lane["queued"] == 0 && lane["deferred"] == 0;
        for lane in lanes.iter().filter(|lane| text(lane, "lane").starts_with("late") && !stands(lane)) {
            if is_idle(&lane) {
                let to = format!("again@{}.test", text(lane, "lane"));
                smtp.post("shop@shop.test", &[&to], "From: a@x.test\r\n\r\nhi\r\n");
            }
        }
        assert!(Instant::now() < deadline, "{lanes:#?}");
    }
}

/// What arrived at the smarthosts, by lane.
fn compare_content(
    name: &str,
    taken: &[Taken],
    letters: &[Letter],
    config: &Config,
) -> BTreeMap<usize, usize> {
    let mut arrived: BTreeMap<usize, usize> = BTreeMap::new();
    for taken in taken {
        let subject = taken.content.split("Subject: message ").nth(1);
        // Bounces of what ran out of time have another one.
        let Some(number) = subject.and_then(|rest| rest.lines().next()?.parse::<usize>().ok()) else {
            continue;
        };
        let id = taken.content.split(" id ").nth(1).and_then(|rest| rest.split(['\n', ';']).next()).unwrap();
        let explanation = letters[number].explained(config, PARTY, id, taken_at(taken, id));
        let told = explanation.ways.iter().flat_map(|way| {
            let own = (&way.smarthost, &way.sender, &way.content, &way.recipients);
            let others = way.fallbacks.iter().filter(|other| other.refuses.is_none());
            let others =
                others.map(|other| (&other.smarthost, &other.sender, &other.content, &way.recipients));
            std::iter::once(own).chain(others)
        });
        let found = told
            .filter(|(lane, ..)| *lane == name)
            .find(|(.., whom)| taken.recipients.iter().all(|one| whom.contains(one)));
        if let Some((_, sender, content, _)) = found {
            let content = String::from_utf8(content.clone()).unwrap().replace("\r\n", "\n");
            assert_eq!((&taken.sender, &taken.content), (sender, &content), "message {number} by {name}");
        } else {
            // From the frozen one to its fallback, and on to that one's.
            let is_chain = name.starts_with("other") && taken.recipients[0].contains("@frozen");
            assert!(is_chain, "{name} got {taken:?}: {explanation:?}");
        }
        *arrived.entry(number).or_default() += taken.recipients.len();
    }
    arrived
}

#[test]
fn smarthost_time_and_fallback_are_those_that_the_reply_tells_and_the_mail_takes() {
    let works: Vec<Smarthost> = (0..SETS).map(|_| Smarthost::start()).collect();
    let stand_in: Vec<Smarthost> = (0..SETS).map(|_| Smarthost::start()).collect();
    let mut dice = Dice(0x0110_0C75_EED5);
    let mut text = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]\n\
                    trust = [\"10.0.0.0/8\"]\n[smarthost.rest]\ndefault = true\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n"
        .to_owned();
    for set in 0..SETS {
        text += &lanes(set, &mut dice, &works[set], &stand_in[set]);
    }
    let home = Home::new(&text);
    let config = load(&home.path("waystation.toml"));
    let daemon = home.start();
    stop_lanes(&home, daemon.address());

    let now = Timestamp::now();
    let letters: Arc<Vec<Letter>> =
        Arc::new((0..MESSAGES).map(|number| letter(number, &mut dice, now)).collect());
    let address = daemon.address();
    let threads: Vec<_> = (0..SETS)
        .map(|set| {
            let (letters, config) = (letters.clone(), config.clone());
            std::thread::spawn(move || send(&letters, &config, address, set))
        })
        .collect();
    let (mut told, mut shifted, mut between) = (HashMap::new(), 0, 0);
    for (all, anew, neither) in threads.into_iter().map(|thread| thread.join().unwrap()) {
        told.extend(all);
        shifted += anew;
        between += neither;
    }
    // Commits may fall between a question and the reply on either side of it, and both questions miss what it told.
    assert!(between <= MESSAGES / 1_000, "{between} replies fit neither what was explained before nor after");

    // Whatever was to go soon went, and what runs out of time did.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (journal, overtaken) = settled(&home, &told, &mut counts);
    let mut arrived: BTreeMap<usize, usize> = BTreeMap::new();
    for set in 0..SETS {
        for (name, smarthost) in [("own", &works[set]), ("other", &stand_in[set])] {
            let name = format!("{name}{set}");
            let taken = smarthost.rest();
            for (number, count) in compare_content(&name, &taken, &letters, &config) {
                *arrived.entry(number).or_default() += count;
            }
        }
    }
    let delivered = recipients(&journal).iter().filter(|one| one["state"] == "delivered").count();
    assert!(arrived.values().sum::<usize>() >= delivered, "every one that is delivered was looked at");
    eprintln!(
        "{MESSAGES} messages, {shifted} told anew, {between} in between, {delivered} recipients delivered, {overtaken} of them overtaken: {counts:#?}"
    );
    assert!(shifted < MESSAGES / 100, "{shifted}");
    assert!(overtaken < MESSAGES / 25, "{overtaken}");
    for what in
        ["own soon", "other soon", "down soon", "frozen soon", "own later", "frozen later", "late later"]
    {
        assert!(counts.keys().any(|key| key.starts_with(what)), "no {what} in {counts:?}");
    }
    for what in ["by other", "by own", "expired", "held"] {
        assert!(counts.keys().any(|key| key.ends_with(what)), "no {what} in {counts:?}");
    }
}

fn load(path: &Path) -> Arc<Config> {
    Arc::new(waystation::config::load(path, std::iter::empty()).unwrap().config)
}

/// The journal once it is as it was told; and how many messages were overtaken, by mail of a higher class or older mail that
/// came from another lane, so that their limit was reached before it was their turn.
fn settled(
    home: &Home,
    told: &HashMap<usize, Explanation>,
    counts: &mut BTreeMap<String, usize>,
) -> (Vec<Value>, usize) {
    let deadline = Instant::now() + LIMIT;
    loop {
        // An idle connection ends by itself; without one nothing is on its way.
        let lanes = home.json(["status", "--json"]);
        let is_quiet = lanes.iter().all(|lane| lane["connections"] == 0);
        let journal = home.json(["journal", "--json"]);
        counts.clear();
        let (mut overtaken, mut pending) = (0, Vec::new());
        for message in journal.iter().filter(|message| message["tag"].is_string()) {
            let number: usize = text(message, "tag").parse().unwrap();
            let explanation = &told[&number];
            let all = recipients(std::slice::from_ref(message));
            let whom: Vec<String> = all.iter().map(|one| text(one, "address")).collect();
            let way = explanation.ways.iter().find(|way| way.recipients == whom).unwrap();
            let (lane, states) = (text(message, "lane"), all.iter().map(|one| text(one, "state")));
            let states: Vec<String> = states.collect();
            let is = |state: &str| states.iter().all(|one| one == state);
            assert_eq!(format!("{:?}", way.class).to_lowercase(), text(message, "class"));
            let kind = way.smarthost.trim_end_matches(char::is_numeric);
            let (by, expected) = leads(way);
            // A lane that doesn't work tells when it is tried next, and then it won't work either.
            let works = ["own", "other"].contains(&by.trim_end_matches(char::is_numeric));
            let soon = works && expected.is_none_or(|at| at.duration_since(Timestamp::now()) <= SOON);
            let by_kind = by.trim_end_matches(char::is_numeric);
            let mut count = |what: &str| *counts.entry(format!("{kind} {what}")).or_default() += 1;
            match way.action {
                "hold" => {
                    assert!(is("held") && lane == way.smarthost, "{message}");
                    count("held");
                }
                _ if way.due > Timestamp::now() + SOON => {
                    assert!(is("queued") && lane == way.smarthost, "{message}");
                    count("scheduled");
                }
                _ if way.expires_at.is_some() => {
                    if !is("expired") {
                        pending.push(message.clone());
                    }
                    count("later expired");
                }
                _ if soon && is("delivered") && lane == by => count(&format!("soon by {by_kind}")),
                _ if soon => {
                    overtaken += 1;
                    count("soon overtaken");
                }
                // It waits for its own smarthost, or room was left where a message before it was too big.
                _ if is("delivered") => {
                    overtaken += 1;
                    count("later delivered");
                }
                _ => count(&format!("later by {by_kind}")),
            }
        }
        if is_quiet && pending.is_empty() && overtaken < MESSAGES / 25 {
            return (journal, overtaken);
        }
        assert!(Instant::now() < deadline, "{overtaken} overtaken, {} pending: {pending:#?}", pending.len());
    }
}
