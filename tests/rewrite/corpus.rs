//! Rewriting against a corpus of ugly header sections, a second opinion, and random ones.
//!
//! `tests/rewrite/NAME.in` holds header sections, `NAME.out` what becomes of each and what the journal says of it.
//! After a change on purpose write them anew with `UPDATE_REWRITES=1 cargo test --test rewrite` and read the difference.

use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use waystation::config::schema::{AddressPattern, FromMode};
use waystation::message::decode;
use waystation::message::fields::HeaderSection;
use waystation::message::rewrite::from::{Account, Message, Rewriting, rewrite};
use waystation::smtp::address::Address;

/// One header section of the corpus and whom it leaves through.
struct Case {
    name: String,
    settings: Settings,
    content: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Settings {
    mode: FromMode,
    address: Address,
    name: Option<String>,
    allowed: Vec<AddressPattern>,
    sender: Option<Address>,
    smtputf8: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: FromMode::IfNotAllowed,
            address: address("shop@shop.test"),
            name: None,
            allowed: vec![AddressPattern::Domain("shop.test".into())],
            sender: Some(address("app@shop.test")),
            smtputf8: false,
        }
    }
}

fn address(text: &str) -> Address {
    Address::parse(text, true).unwrap()
}

impl Settings {
    /// `mode=force name=My Shop smtputf8`
    fn read(text: &str) -> Self {
        const KEYS: [&str; 6] = ["mode=", "address=", "name=", "allowed=", "sender=", "smtputf8"];
        let mut settings = Self::default();
        let mut starts: Vec<usize> = KEYS.iter().filter_map(|key| text.find(key)).collect();
        starts.sort_unstable();
        for (index, start) in starts.iter().enumerate() {
            let part = text[*start..starts.get(index + 1).copied().unwrap_or(text.len())].trim();
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "mode" => {
                    let modes = [FromMode::Keep, FromMode::IfNotAllowed, FromMode::Force];
                    settings.mode = modes.into_iter().find(|mode| mode.to_string() == value).unwrap();
                }
                "address" => settings.address = address(value),
                "name" => settings.name = Some(value.to_owned()),
                "allowed" => {
                    let patterns = value.split(',').filter(|pattern| !pattern.is_empty());
                    settings.allowed =
                        patterns.map(|pattern| AddressPattern::parse(pattern).unwrap()).collect();
                }
                "sender" => settings.sender = (!value.is_empty()).then(|| address(value)),
                "smtputf8" => settings.smtputf8 = true,
                other => panic!("{other}"),
            }
        }
        settings
    }

    fn rewrite(&self, content: &[u8]) -> (Rewriting, Vec<u8>) {
        let allowed = |address: &Address| self.allowed.iter().any(|pattern| pattern.matches(address));
        let account = Account {
            smarthost: "shop",
            mode: self.mode,
            address: Some(&self.address),
            display_name: self.name.as_deref(),
            allowed: if self.allowed.is_empty() { None } else { Some(&allowed) },
        };
        let message = Message { sender: self.sender.as_ref(), smtputf8: self.smtputf8 };
        let rewriting = rewrite(&HeaderSection::of(content), message, &account);
        let head = rewriting.edits.clone().head(content);
        let whole = [&head.octets, &content[head.replaces..]].concat();
        (rewriting, whole)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rewrite")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|other| other == extension));
    files.sort();
    files
}

fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let sections = text.split("\n== ").skip(1);
    sections
        .map(|section| {
            let (head, lines) = section.split_once('\n').unwrap();
            let (name, settings) = head.split_once(" | ").unwrap_or((head, ""));
            let lines = lines.trim_end_matches('\n').replace('\n', "\r\n");
            let content = [unescaped(&lines), b"\r\n\r\nBody: not a field\r\n".to_vec()].concat();
            Case { name: name.to_owned(), settings: Settings::read(settings), content }
        })
        .collect()
}

fn corpus() -> Vec<Case> {
    files("in").iter().flat_map(|path| cases(path)).collect()
}

/// `\xNN` undone.
fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut parts = text.split("\\x");
    octets.extend_from_slice(parts.next().unwrap().as_bytes());
    for part in parts {
        octets.push(u8::from_str_radix(&part[..2], 16).unwrap());
        octets.extend_from_slice(&part.as_bytes()[2..]);
    }
    octets
}

/// Text as it is, and other octets as `\xNN`.
fn shown(octets: &[u8]) -> String {
    let mut text = String::new();
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                write!(text, "\\x{:02x}", u32::from(c)).unwrap();
            } else {
                text.push(c);
            }
        }
        chunk.invalid().iter().for_each(|octet| write!(text, "\\x{octet:02x}").unwrap());
    }
    text
}

#[test]
fn the_corpus_becomes_what_its_golden_files_say() {
    let update = std::env::var_os("UPDATE_REWRITES").is_some();
    let mut wrong = String::new();
    let mut count = 0;
    for path in files("in") {
        let mut text = String::new();
        for case in cases(&path) {
            let (rewriting, whole) = case.settings.rewrite(&case.content);
            let header = whole.strip_suffix(b"\r\n\r\nBody: not a field\r\n").unwrap();
            writeln!(text, "== {}", case.name).unwrap();
            if rewriting.edits.is_empty() {
                assert_eq!(whole, case.content, "{}", case.name);
                writeln!(text, "(as it was)").unwrap();
            } else {
                writeln!(text, "{}", shown(header).replace("\\x0d\n", "\n")).unwrap();
            }
            for change in &rewriting.changes {
                writeln!(text, "-- {change}").unwrap();
            }
            writeln!(text).unwrap();
            count += 1;
        }
        let golden = path.with_extension("out");
        if update {
            fs::write(&golden, &text).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != text {
            writeln!(wrong, "---- {} now gives ----\n{text}", path.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 60, "{count} cases");
}

/// The fields that rewriting may touch.
fn is_named(name: &[u8]) -> bool {
    ["From", "Sender", "Reply-To"].iter().any(|named| name.eq_ignore_ascii_case(named.as_bytes()))
}

/// Everything but those fields, gaps and body included.
fn rest(content: &[u8]) -> Vec<u8> {
    let header = HeaderSection::of(content);
    let mut rest = Vec::new();
    let mut at = 0;
    for field in header.fields().filter(|field| is_named(field.name())) {
        rest.extend_from_slice(&content[at..field.range().start]);
        at = field.range().end;
    }
    rest.extend_from_slice(&content[at..]);
    rest
}

/// What holds of any message, however it is rewritten.
fn check(settings: &Settings, content: &[u8]) {
    let (rewriting, whole) = settings.rewrite(content);
    let told = format!("{}\n→ {:?}\n{}", shown(content), rewriting.changes, shown(&whole));
    assert_eq!(shown(&rest(&whole)), shown(&rest(content)), "an unnamed line changed: {told}");
    assert_eq!(rewriting.edits.is_empty(), whole == content, "{told}");
    let (before, after) = (HeaderSection::of(content), HeaderSection::of(&whole));
    let judged = settings.mode == FromMode::Force
        || settings.mode == FromMode::IfNotAllowed && !settings.allowed.is_empty();
    if judged {
        assert_eq!(after.count("From"), 1, "{told}");
        assert!(after.count("Sender") <= 1, "{told}");
    }
    if rewriting.changes.iter().any(|change| change.starts_with("From: ") && change.contains(" → "))
        || before.count("From") == 0 && judged
    {
        let from = after.named("From").next().unwrap();
        let read = decode::addresses(&from.value());
        assert_eq!(read.as_slice(), std::slice::from_ref(&settings.address), "{told}");
        assert!(before.count("From") == 0 || after.count("Sender") == 0, "{told}");
        for field in after.fields().filter(|field| is_named(field.name())) {
            let came = before.fields().any(|other| other.octets() == field.octets());
            let lines = field.octets().strip_suffix(b"\r\n").unwrap().split(|octet| *octet == b'\n');
            for line in lines {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                assert!(came || line.len() <= 998 && !line.contains(&b'\r'), "{told}");
                assert!(came || settings.smtputf8 || line.is_ascii(), "{told}");
            }
        }
    }
    // What stood in Reply-To stands there to the octet.
    let reply_to = |header: &HeaderSection<'_>| -> Vec<Vec<u8>> {
        header.named("Reply-To").map(|field| field.octets().to_vec()).collect()
    };
    let says = |field: &Vec<u8>| {
        let value = String::from_utf8_lossy(field.split_at("Reply-To".len()).1).into_owned();
        let value = value.trim_start().trim_start_matches(':').trim();
        !value.is_empty() && !value.ends_with(';')
    };
    if reply_to(&before).iter().any(says) {
        assert_eq!(reply_to(&before), reply_to(&after), "{told}");
    }
    // Once is enough, if the mailbox itself is allowed.
    let allowed = settings.allowed.iter().any(|pattern| pattern.matches(&settings.address));
    if judged && (allowed || settings.mode == FromMode::Force) {
        let again = Settings { sender: None, ..settings.clone() };
        assert_eq!(again.rewrite(&whole).1, whole, "{told}");
    }
    if settings.sender.is_none() {
        assert_eq!(rewriting.sender, None, "the null sender stays null");
    }
}

#[test]
fn what_holds_of_every_message_holds_of_the_corpus() {
    for case in corpus() {
        check(&case.settings, &case.content);
        for mode in [FromMode::Keep, FromMode::IfNotAllowed, FromMode::Force] {
            for name in [None, Some("Sklep Żółw, \"the\" one".to_owned())] {
                check(&Settings { mode, name, ..case.settings.clone() }, &case.content);
            }
        }
    }
}

/// As long as a header section may be, of what a careless reader would take hours for.
#[test]
fn the_longest_fields_are_rewritten_like_any_other() {
    let long = |piece: &str| piece.repeat(250_000 / piece.len());
    for value in [
        long("("),
        long("\\"),
        long("\"a\""),
        long("@["),
        format!("<@{}", long(",")),
        format!("<@a{}", long(",@b")),
        format!("{}@{}", &long("x ")[..120_000], &long(":")[..120_000]),
        long("<"),
        long("a@x.test, "),
        long("ż@x.test,\r\n "),
        long("=?utf-8?q?a?=\r\n "),
        long("x"),
        long("ż"),
        long(" \r\n "),
        long("a:;"),
    ] {
        for name in ["From", "Sender"] {
            let content = format!("Received: by relay.test\r\n{name}: {value} <ana@x.test>\r\n\r\nbody\r\n");
            check(&Settings::default(), content.as_bytes());
        }
    }
    let fields = long("From: ana@x.test\r\nDKIM-Signature: d=a.test; h=from\r\n");
    check(&Settings::default(), format!("{fields}\r\nbody\r\n").as_bytes());
}

/// Python's email package reads the same out of what we wrote.
#[test]
fn a_second_reader_agrees() {
    let Some(python) = crate::support::foreign::python_with("email") else { return };
    let mut asked = Vec::new();
    for case in corpus() {
        let (rewriting, whole) = case.settings.rewrite(&case.content);
        if rewriting.edits.is_empty() || !whole.is_ascii() && case.settings.smtputf8 {
            continue;
        }
        let header = HeaderSection::of(&whole);
        let written = |name: &str| -> Vec<String> {
            let came = HeaderSection::of(&case.content);
            let fields =
                header.named(name).filter(|field| came.named(name).all(|old| old.octets() != field.octets()));
            fields.map(|field| String::from_utf8(field.octets().to_vec()).unwrap()).collect()
        };
        let original = HeaderSection::of(&case.content);
        let original: Vec<String> = original.named("From").map(|field| shown(&field.value())).collect();
        asked.push(serde_json::json!({
            "name": case.name, "mailbox": case.settings.address.as_str(), "original": original,
            "from": written("From"), "sender": written("Sender"), "reply_to": written("Reply-To"),
        }));
    }
    assert!(asked.len() > 60, "{}", asked.len());
    let mut command = std::process::Command::new(python);
    let asked = serde_json::to_vec(&asked).unwrap();
    let answer = crate::support::foreign::run(command.arg(folder().join("second_opinion.py")), &asked);
    answer.expect_success();
    println!("{}", answer.text());
}

/// Pieces of header sections, near what is dangerous.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "From",
        "FROM",
        "from ",
        "Sender",
        "Reply-To",
        "To",
        "Subject",
        "X-From",
        "DKIM-Signature",
        "Fromm",
    ]);
    let word = prop_oneof![
        Just("ana@x.test".to_owned()),
        Just("<ana@x.test>".to_owned()),
        Just("shop@shop.test".to_owned()),
        Just("Sales <sales@shop.test>".to_owned()),
        Just("=?utf-8?q?Zo=C3=AB?=".to_owned()),
        Just("\"a, b\"".to_owned()),
        Just("(c (d))".to_owned()),
        Just("Team:".to_owned()),
        Just(";".to_owned()),
        Just(", ".to_owned()),
        Just("\r\n ".to_owned()),
        Just("\r\n\t \r\n ".to_owned()),
        Just("żółw@żółw.test".to_owned()),
        Just(" h=from:sender; d=x.test;".to_owned()),
        "[<>,;:@\"()\\[\\]\\\\ a.]{1,12}",
        "\\PC{0,8}",
    ];
    let field = (name, prop::collection::vec(word, 0..6))
        .prop_map(|(name, words)| format!("{name}:{}\r\n", words.concat()));
    let line = prop_oneof![8 => field, 1 => Just("junk\r\n".to_owned()), 1 => Just(" folded\r\n".to_owned())];
    let header = prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat().into_bytes());
    let noise = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (header, noise, prop_oneof![Just(&b"\r\nbody\r\n"[..]), Just(&b""[..]), Just(&b"\r\n"[..])]).prop_map(
        |(mut header, noise, body)| {
            for (at, octet) in noise {
                // Stored content has no bare CR or LF.
                if !header.is_empty() && !matches!(octet, b'\r' | b'\n') {
                    let at = at.index(header.len());
                    if !matches!(header[at], b'\r' | b'\n') {
                        header[at] = octet;
                    }
                }
            }
            // Nor does it begin with anything but our own Received field.
            [b"Received: by relay.test\r\n", header.as_slice(), body].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_holds_of_every_message_holds_of_random_ones(
        content in pieces(),
        mode in prop::sample::select(vec![FromMode::Keep, FromMode::IfNotAllowed, FromMode::Force]),
        name in prop::option::of("\\PC{0,30}"),
        limited in any::<bool>(),
        null in any::<bool>(),
        smtputf8 in any::<bool>(),
    ) {
        let mut settings = Settings { mode, name, smtputf8, ..Settings::default() };
        if !limited {
            settings.allowed.clear();
        }
        if null {
            settings.sender = None;
        }
        check(&settings, &content);
    }
}
