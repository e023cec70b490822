//! `[[rewrite]]`: fields that rules remove, replace and add.
//!
//! Within a rule all removals come first, then replacements, then additions; each rule finds what the one before it
//! left. Names are compared without case. `remove` takes out every field of the name. `replace` acts only where the
//! field is there; of several fields of the name the first gets the value and the others go. `add` puts the field at
//! the end of the header section; one that may stand only once (RFC 5322 §3.6) is added only where there is none.
//! [`objection`] says which fields no rule may touch.

use super::{Edits, phrase, signature};
use crate::message::decode;
use crate::message::fields::HeaderSection;

/// The edits of one `[[rewrite]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Names of fields that go.
    pub remove: Vec<String>,
    /// Names of fields and the value they get.
    pub replace: Vec<(String, String)>,
    /// Names of fields and the value they come with.
    pub add: Vec<(String, String)>,
}

/// A beginning of a message as rules changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// What was given, changed.
    pub content: Vec<u8>,
    /// Every change in words.
    pub changes: Vec<String>,
}

/// What a rule wants to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Take it out.
    Remove,
    /// Set it to another value.
    Replace,
    /// Put it in.
    Add,
}

/// Longest run of octets without a space in a value: more doesn't fit a line of 998 (RFC 5322 §2.1.1).
const MAX_WORD: usize = 900;

/// Carries out rules, in order, on `content`: a header section that is whole, and what follows it. None when nothing
/// changes.
#[must_use]
pub fn apply<'r>(content: &[u8], rules: impl IntoIterator<Item = &'r Rule>) -> Option<Ruled> {
    let mut result: Option<Ruled> = None;
    let mut touched: Vec<&str> = Vec::new();
    for rule in rules {
        let now = result.as_ref().map_or(content, |result| result.content.as_slice());
        let header = HeaderSection::within(now, usize::MAX);
        let mut draft =
            Draft { header: &header, edits: Edits::default(), changes: Vec::new(), touched: Vec::new() };
        draft.carry_out(rule);
        let Draft { edits, changes, touched: names, .. } = draft;
        touched.extend(names);
        if edits.is_empty() {
            continue;
        }
        let mut head = edits.head(now);
        head.octets.extend_from_slice(now.get(head.replaces..).unwrap_or_default());
        let mut told = result.map_or_else(Vec::new, |result| result.changes);
        told.extend(changes);
        result = Some(Ruled { content: head.octets, changes: told });
    }
    let mut result = result?;
    result.changes.extend(signature::broken(&HeaderSection::within(content, usize::MAX), &touched));
    Some(result)
}

/// Why a rule may not do that, and what to write instead; none when it may. `value` is empty for a removal.
#[must_use]
pub fn objection(wish: Wish, name: &str, value: &str) -> Option<String> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let starts =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':') {
        return Some(format!("\"{name}\" is not the name of a header field"));
    }
    if name.contains('*') {
        return Some("names have no patterns; write each name in full".to_owned());
    }
    if is("Received") || is("Return-Path") {
        return Some(format!("{name} is the message's trace, which finds loops; it can't be touched"));
    }
    if starts("X-Waystation-") {
        return Some(format!("{name} is read and removed by waystation itself; it can't be touched"));
    }
    if is("Bcc") || is("Resent-Bcc") {
        return Some(format!("{name} is removed always; it can't be touched"));
    }
    if is("Date") || is("Message-ID") {
        return Some(format!(
            "every message needs its own {name}, which is added where it is missing; it can't be touched"
        ));
    }
    if is("MIME-Version") || starts("Content-") {
        return Some(format!(
            "{name} tells how the body is to be read, which stays as it is; it can't be touched"
        ));
    }
    if is("From") && wish != Wish::Replace {
        return Some(
            "every message needs one From; use replace, or from = \"force\" in [smarthost.NAME]".to_owned(),
        );
    }
    if wish == Wish::Remove { None } else { value_objection(name, value) }
}

fn value_objection(name: &str, value: &str) -> Option<String> {
    if value.trim().is_empty() {
        return Some("is empty; to take a field out write remove = [\"…\"]".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Some("holds a line break or another control character".to_owned());
    }
    if value.split(' ').any(|word| word.len() > MAX_WORD) {
        return Some(format!(
            "holds more than {MAX_WORD} characters without a space, which no line can carry"
        ));
    }
    if !value.is_ascii() && is_structured(name) {
        return Some(format!(
            "{name} takes plain ASCII only; write names in encoded words, \"=?utf-8?q?Zo=C3=AB?= <zoe@example.com>\""
        ));
    }
    if !is_one_of(name, &MAILBOXES) {
        return None;
    }
    let list = super::list::AddressList::of(value.as_bytes());
    if is_one_of(name, &ONE_MAILBOX) {
        let good = matches!(list.entries.as_slice(), [only] if only.address.is_some());
        return (!good).then(|| "must be one address, like \"Shop <shop@example.com>\"".to_owned());
    }
    let is_empty = list.entries.is_empty() && list.group.is_none();
    let good = !is_empty && list.entries.iter().all(|entry| entry.address.is_some());
    (!good).then(|| "must be addresses, like \"Shop <shop@example.com>, ana@example.com\"".to_owned())
}

/// Fields of mailboxes (RFC 5322 §3.6).
const MAILBOXES: [&str; 9] =
    ["From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"];
/// Those of them that we want to name one.
const ONE_MAILBOX: [&str; 3] = ["From", "Sender", "Resent-Sender"];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Fields in which encoded words may not stand just anywhere (RFC 2047 §5).
fn is_structured(name: &str) -> bool {
    let names = [
        "In-Reply-To",
        "References",
        "Resent-Date",
        "Resent-Message-ID",
        "Disposition-Notification-To",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "List-ID",
        "Auto-Submitted",
        "Precedence",
        "Importance",
        "Priority",
        "X-Priority",
        "DKIM-Signature",
        "Errors-To",
        "Return-Receipt-To",
    ];
    is_one_of(name, &MAILBOXES) || is_one_of(name, &names)
}

/// Fields that stand at most once (RFC 5322 §3.6).
fn stands_once(name: &str) -> bool {
    let names = ["From", "Sender", "Reply-To", "To", "Cc", "In-Reply-To", "References", "Subject"];
    is_one_of(name, &names)
}

struct Draft<'d, 'c, 'r> {
    header: &'d HeaderSection<'c>,
    edits: Edits,
    changes: Vec<String>,
    touched: Vec<&'r str>,
}

impl<'r> Draft<'_, '_, 'r> {
    fn carry_out(&mut self, rule: &'r Rule) {
        let removed = |name: &str| rule.remove.iter().any(|other| other.eq_ignore_ascii_case(name));
        for name in &rule.remove {
            let mut count = 0;
            for field in self.header.named(name) {
                self.edits.cut(field.range());
                count += 1;
            }
            match count {
                0 => {}
                1 => self.say(name, &format!("{name}: removed")),
                _ => self.say(name, &format!("{name}: {count} fields removed")),
            }
        }
        for (name, value) in rule.replace.iter().filter(|(name, _)| !removed(name)) {
            let written = field(name, value);
            let mut fields = self.header.named(name);
            let Some(first) = fields.next() else { continue };
            let others: Vec<_> = fields.collect();
            if others.is_empty() && first.octets() == written {
                continue;
            }
            self.edits.put(first.range(), written);
            for other in &others {
                self.edits.cut(other.range());
            }
            let spaced: Vec<u8> =
                first.value().iter().map(|octet| if *octet == b'\t' { b' ' } else { *octet }).collect();
            let before = decode::text(&spaced, 200);
            self.say(name, &format!("{name}: \"{before}\" → \"{value}\""));
        }
        for (name, value) in &rule.add {
            if stands_once(name) && !removed(name) && self.header.named(name).next().is_some() {
                continue;
            }
            self.edits.append(self.header, &field(name, value));
            self.say(name, &format!("{name}: \"{value}\" added"));
        }
    }

    fn say(&mut self, name: &'r str, words: &str) {
        if !self.touched.contains(&name) {
            self.touched.push(name);
        }
        self.changes.push(decode::clean(words, 2000));
    }
}

fn field(name: &str, value: &str) -> Vec<u8> {
    if value.is_ascii() {
        phrase::field(name, value)
    } else {
        phrase::field(name, &phrase::encoded_words(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn remove(name: &str) -> Rule {
        Rule { remove: vec![name.into()], ..Rule::default() }
    }

    fn replace(name: &str, value: &str) -> Rule {
        Rule { replace: pairs(&[(name, value)]), ..Rule::default() }
    }

    fn add(name: &str, value: &str) -> Rule {
        Rule { add: pairs(&[(name, value)]), ..Rule::default() }
    }

    #[test]
    fn rules_do_what_they_say() {
        let all = |rule: Rule| vec![rule];
        for (before, rules, after, reason) in [
            (
                "A: 1\r\na : 2\r\n x\r\nB: 3\r\n\r\nA: body",
                all(remove("A")),
                "B: 3\r\n\r\nA: body",
                "every one",
            ),
            ("B: 3\r\n\r\n", all(remove("A")), "", "nothing to do"),
            (
                "A: 1\r\nB: 2\r\nA: 3\r\n\r\n",
                all(replace("a", "x")),
                "a: x\r\nB: 2\r\n\r\n",
                "several become one",
            ),
            ("B: 2\r\n\r\n", all(replace("A", "x")), "", "only where it is there"),
            ("A: x\r\n\r\n", all(replace("A", "x")), "", "it is so already"),
            ("A: 1\r\n\r\nbody", all(add("A", "2")), "A: 1\r\nA: 2\r\n\r\nbody", "at the end"),
            ("Subject: 1\r\n\r\n", all(add("subject", "2")), "", "one Subject is enough"),
            ("A: 1\r\n\r\n", all(add("Subject", "2")), "A: 1\r\nSubject: 2\r\n\r\n", "no Subject yet"),
            ("A: 1\r\n", all(add("B", "2")), "A: 1\r\nB: 2\r\n", "no body"),
            ("A: 1", all(add("B", "2")), "A: 1\r\nB: 2\r\n", "no line end"),
            ("text\r\n\r\nmore", all(add("B", "2")), "B: 2\r\n\r\ntext\r\n\r\nmore", "no header section"),
            ("A: 1\r\n\r\n", vec![add("B", "2"), remove("b")], "A: 1\r\n\r\n", "one after the other"),
            (
                "A: 1\r\n\r\n",
                vec![add("B", "2"), replace("B", "3")],
                "A: 1\r\nB: 3\r\n\r\n",
                "sees what was added",
            ),
            (
                "Subject: 1\r\nA: 1\r\n\r\n",
                all(Rule {
                    remove: vec!["Subject".into()],
                    add: pairs(&[("Subject", "ż")]),
                    ..Rule::default()
                }),
                "A: 1\r\nSubject: =?utf-8?b?xbw=?=\r\n\r\n",
                "set always",
            ),
        ] {
            let ruled = apply(before.as_bytes(), &rules);
            let content = ruled.map_or_else(String::new, |ruled| String::from_utf8(ruled.content).unwrap());
            assert_eq!(content, after, "{reason}");
        }
    }

    #[test]
    fn what_no_rule_may_touch() {
        for (wish, name, value, fine, reason) in [
            (Wish::Remove, "X-Internal", "", true, "a field like any other"),
            (Wish::Remove, "DKIM-Signature", "", true, "a signature that is broken anyway"),
            (Wish::Remove, "rECEIVED", "", false, "trace"),
            (Wish::Add, "Return-Path", "<>", false, "trace"),
            (Wish::Add, "X-Waystation-Class", "bulk", false, "ours"),
            (Wish::Add, "Bcc", "a@b.test", false, "never leaves"),
            (Wish::Replace, "Date", "now", false, "each its own"),
            (Wish::Replace, "message-id", "<1@x>", false, "each its own"),
            (Wish::Replace, "Content-Type", "text/html", false, "the body stays"),
            (Wish::Remove, "MIME-Version", "", false, "the body stays"),
            (Wish::Remove, "From", "", false, "one must be there"),
            (Wish::Replace, "From", "Shop <shop@x.test>", true, "one address"),
            (Wish::Replace, "From", "nobody", false, "no address"),
            (Wish::Add, "Reply-To", "Ana <ana@x.test>, b@y.test", true, "addresses"),
            (Wish::Add, "reply-to", "junk junk", false, "no address"),
            (Wish::Add, "Cc", "a@x.test, b", false, "one that is none"),
            (Wish::Replace, "To", "undisclosed-recipients:;", true, "a group"),
            (Wish::Replace, "Sender", "a@x.test, b@x.test", false, "one sends"),
            (Wish::Add, "X-\u{e9}", "x", false, "a name is ASCII"),
            (Wish::Add, "X Y", "x", false, "a name has no space"),
            (Wish::Add, "X-A", "a\r\nBcc: b", false, "injection"),
            (Wish::Add, "X-A", " ", false, "empty"),
            (Wish::Add, "X-A", "Zażółć", true, "text is encoded"),
            (Wish::Add, "To", "Zażółć <a@x.test>", false, "an address list isn't text"),
            (Wish::Add, "X-A", &"x".repeat(901), false, "no line can carry it"),
        ] {
            let objection = objection(wish, name, value);
            assert_eq!(objection.is_none(), fine, "{reason}: {name}: {objection:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_adds_no_line_but_its_own(name in "[A-Za-z-]{1,12}", value in "\\PC{1,300}", body in "[a-z:\r\n]{0,40}") {
            prop_assume!(objection(Wish::Add, &name, &value).is_none());
            prop_assume!(!stands_once(&name));
            let content = format!("A: 1\r\n\r\n{body}");
            let ruled = apply(content.as_bytes(), &[add(&name, &value)]).unwrap();
            let header = HeaderSection::of(&ruled.content);
            prop_assert_eq!(header.fields().count(), 2);
            prop_assert!(header.octets().is_ascii());
            prop_assert!(ruled.content.ends_with(&content.as_bytes()[4..]));
            let added = header.fields().last().unwrap();
            prop_assert!(added.is_named(&name));
            if value.is_ascii() && !value.contains("=?") {
                prop_assert_eq!(String::from_utf8(added.value().into_owned()).unwrap(), value.trim());
            }
        }
    }
}
