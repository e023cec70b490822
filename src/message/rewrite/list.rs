//! Address lists as people write them (RFC 5322 §3.4 and its obsolete forms in §4.4), read from the raw octets.
//!
//! Promises: whatever the octets, there is a list; one pass, no recursion; an address comes out exactly as it was
//! written, only white space and comments between its parts and an obsolete route are left out. A missing comma,
//! bracket or quote ends an entry instead of hiding what follows it. What is no address is an entry without one, so
//! that nobody takes a list for harmless that couldn't be read. The time it takes grows with the length and no faster.
//! Nothing here fails.

use super::phrase::{Phrase, Word};
use crate::smtp::address::Address;
use std::ops::Range;

/// Hops in an obsolete route, in tokens; behind them a comma is a comma.
const MAX_ROUTE: usize = 64;
/// Octets in the name of a charset, and more.
const MAX_CHARSET: usize = 60;
/// Octets in an address literal.
const MAX_LITERAL: usize = 64;

/// What an address field holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    /// Every mailbox, those in groups too, and everything that should have been one.
    pub entries: Vec<Entry>,
    /// The name of the first group (`Team:` …`;`).
    pub group: Option<Phrase>,
}

/// One mailbox of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its display name; for the bare form `ana@x.test (Ana)` the comment (RFC 5322 §3.4).
    pub name: Option<Phrase>,
    /// Its address; none when what stands there isn't one.
    pub address: Option<Address>,
}

impl AddressList {
    /// Reads the value of an address field, folded as it came.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let mut reader = Reader::default();
        for token in tokens(value) {
            reader.take(token);
        }
        reader.end_entry();
        reader.list
    }

    /// Where in the value of an address field a domain is missing: behind each local part that stands alone, as `root`
    /// or `<root>`. Words that aren't US-ASCII, and encoded words, are names.
    #[must_use]
    pub fn unqualified(value: &[u8]) -> Vec<usize> {
        let mut reader = Reader::default();
        for token in tokens(value) {
            reader.take(token);
        }
        reader.end_entry();
        reader.unqualified
    }

    /// Adds what another field of the same name holds.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        if self.group.is_none() {
            self.group = other.group;
        }
    }

    /// All addresses in it.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.entries.iter().filter_map(|entry| entry.address.as_ref())
    }
}

/// A piece of a field value, and where it stood: pieces that touch are one word.
#[derive(Debug, Clone)]
struct Token<'a> {
    kind: TokenKind,
    octets: &'a [u8],
    range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    /// Atoms, dots, and any octet that has no meaning of its own.
    Atom,
    /// With its quotes; the last one may be missing.
    Quoted,
    /// `[192.0.2.1]` behind an `@`.
    Literal,
    /// With its parentheses; the last one may be missing.
    Comment,
    /// One of `<>,;:@`.
    Special(u8),
}

/// Reads tokens into entries.
#[derive(Debug, Default)]
struct Reader<'a> {
    list: AddressList,
    /// What stands before a `<`, or all of the entry.
    outside: Vec<Token<'a>>,
    /// Whether there is an `@` among it.
    outside_at: bool,
    angle: Angle<'a>,
    comment: Option<Token<'a>>,
    /// Behind each local part without a domain.
    unqualified: Vec<usize>,
}

#[derive(Debug, Default)]
enum Angle<'a> {
    #[default]
    None,
    Open(Vec<Token<'a>>),
    Closed(Vec<Token<'a>>),
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: Token<'a>) {
        if token.kind == TokenKind::Comment {
            self.comment = Some(token);
            return;
        }
        match (&mut self.angle, token.kind) {
            (Angle::Open(inside), TokenKind::Special(b'>')) => {
                self.angle = Angle::Closed(std::mem::take(inside));
            }
            // A route has commas of its own; without one a comma says that the bracket was forgotten.
            (Angle::Open(inside), TokenKind::Special(b',' | b':')) if is_route(inside) => inside.push(token),
            (Angle::Open(_), TokenKind::Special(b',' | b';')) => self.end_entry(),
            (Angle::Open(_), TokenKind::Special(b'<')) => {
                self.end_entry();
                self.angle = Angle::Open(Vec::new());
            }
            (Angle::Open(inside), _) => inside.push(token),
            (_, TokenKind::Special(b',' | b';')) => self.end_entry(),
            (Angle::None, TokenKind::Special(b'<')) => self.angle = Angle::Open(Vec::new()),
            (Angle::None, TokenKind::Special(b':')) if !self.outside_at => {
                // "mailto:" is a slip, and no name for anybody.
                let name = phrase(&self.outside).filter(|name| !name.text().eq_ignore_ascii_case("mailto"));
                if self.list.group.is_none() {
                    self.list.group = name;
                }
                self.outside.clear();
            }
            (Angle::Closed(_), _) => {
                // No comma: whatever another reader takes it for, it is looked at.
                self.end_entry();
                match token.kind {
                    TokenKind::Special(b'<') => self.angle = Angle::Open(Vec::new()),
                    TokenKind::Special(b'>') => {}
                    _ => self.push(token),
                }
            }
            (Angle::None, _) => self.push(token),
        }
    }

    fn push(&mut self, token: Token<'a>) {
        self.outside_at |= token.kind == TokenKind::Special(b'@');
        self.outside.push(token);
    }

    fn end_entry(&mut self) {
        let outside = std::mem::take(&mut self.outside);
        let has_at = std::mem::take(&mut self.outside_at);
        let comment = self.comment.take();
        let entry = match std::mem::take(&mut self.angle) {
            Angle::Open(inside) | Angle::Closed(inside) => {
                self.unqualified.extend(local_part_end(&inside));
                Entry { name: phrase(&outside), address: address(without_route(&inside)) }
            }
            Angle::None if outside.is_empty() => return,
            Angle::None => {
                self.unqualified.extend(local_part_end(&outside));
                let address = address(&outside);
                let name = match address {
                    Some(_) => comment.and_then(|comment| Phrase::new(Word::of_comment(comment.octets))),
                    None if has_at => None,
                    None => phrase(&outside),
                };
                Entry { name, address }
            }
        };
        self.list.entries.push(entry);
    }
}

fn is_route(inside: &[Token<'_>]) -> bool {
    inside.len() < MAX_ROUTE
        && inside.first().is_some_and(|token| token.kind == TokenKind::Special(b'@'))
        && !inside.iter().any(|token| token.kind == TokenKind::Special(b':'))
}

/// `@one,@two:` in front of an address (RFC 5322 §4.4), cut off.
fn without_route<'t, 'a>(inside: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let starts = inside.first().is_some_and(|token| token.kind == TokenKind::Special(b'@'));
    let colon = inside.iter().position(|token| token.kind == TokenKind::Special(b':'));
    match colon.filter(|_| starts) {
        Some(colon) => inside.get(colon + 1..).unwrap_or_default(),
        None => inside,
    }
}

/// An addr-spec: words parted by dots, an `@`, a domain; white space and folding between them don't count.
fn address(tokens: &[Token<'_>]) -> Option<Address> {
    Address::parse(&spelled(tokens)?, true).ok()
}

/// The end of a local part that stands alone.
fn local_part_end(tokens: &[Token<'_>]) -> Option<usize> {
    let end = tokens.last()?.range.end;
    let local = spelled(tokens).filter(|local| !local.contains(&b'@') && !local.starts_with(b"=?"))?;
    Address::parse([&local, &b"@localhost"[..]].concat(), false).is_ok().then_some(end)
}

fn spelled(tokens: &[Token<'_>]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut behind_word = false;
    for token in tokens {
        let is_at = match token.kind {
            TokenKind::Special(b'@') => true,
            TokenKind::Special(_) => return None,
            TokenKind::Atom | TokenKind::Quoted | TokenKind::Literal | TokenKind::Comment => false,
        };
        // Two words side by side are a name, not an address.
        if !is_at && behind_word && !text.ends_with(b".") && !token.octets.starts_with(b".") {
            return None;
        }
        text.extend(token.octets.iter().filter(|octet| !matches!(octet, b'\r' | b'\n')));
        behind_word = !is_at;
    }
    Some(text)
}

/// A display name of these tokens; those that touch are one word.
fn phrase(tokens: &[Token<'_>]) -> Option<Phrase> {
    let mut words: Vec<Word> = Vec::new();
    let mut last_end = None;
    for token in tokens {
        let word = match token.kind {
            TokenKind::Quoted => Word::of_quoted(token.octets),
            _ => Word::of_atom(token.octets),
        };
        match words.last_mut().filter(|_| last_end == Some(token.range.start)) {
            Some(last) => last.join(&word),
            None => words.push(word),
        }
        last_end = Some(token.range.end);
    }
    Phrase::new(words)
}

fn tokens(value: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    let mut behind_at = false;
    std::iter::from_fn(move || {
        let rest = value.get(at..)?;
        at += rest.iter().take_while(|octet| is_space(**octet)).count();
        let rest = value.get(at..)?;
        let first = *rest.first()?;
        let (kind, length) = match first {
            b'"' => (TokenKind::Quoted, quoted_length(rest)),
            b'(' => (TokenKind::Comment, comment_length(rest)),
            b'[' if behind_at => (TokenKind::Literal, literal_length(rest)),
            b'<' | b'>' | b',' | b';' | b':' | b'@' => (TokenKind::Special(first), 1),
            _ => (TokenKind::Atom, atom_length(rest)),
        };
        if kind != TokenKind::Comment {
            behind_at = kind == TokenKind::Special(b'@');
        }
        let range = at..at + length;
        at = range.end;
        Some(Token { kind, octets: value.get(range.clone())?, range })
    })
}

/// White space, line ends, and controls that nobody may send: they part words and mean nothing.
fn is_space(octet: u8) -> bool {
    octet == b' ' || octet.is_ascii_control()
}

fn atom_length(rest: &[u8]) -> usize {
    let word = encoded_word_length(rest).unwrap_or(0);
    let ends = |octet: &u8| is_space(*octet) || b"\"(<>,;:@".contains(octet);
    rest.iter().skip(word).position(ends).map_or(rest.len(), |more| word + more).max(1)
}

/// An encoded word that a list begins with (RFC 2047 §2), also one with what a phrase's may not have. Not one in which
/// somebody to whom it is none could read an address, or the end of a comment or a quoted string elsewhere than we do.
fn encoded_word_length(rest: &[u8]) -> Option<usize> {
    let mut parts = rest.strip_prefix(b"=?")?.splitn(3, |octet| *octet == b'?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_*.+".contains(octet);
    if charset.len() > MAX_CHARSET || !charset.iter().all(is_token) || encoding.len() != 1 {
        return None;
    }
    let text = rest.get(..rest.iter().position(|octet| *octet == b'?')?)?;
    let has = |octets: &[u8]| text.iter().any(|octet| octets.contains(octet));
    let is_plain = text.iter().all(u8::is_ascii_graphic) && !has(b"<>\"\\");
    let is_word = is_plain && !(has(b"@") && has(b",;:()")) && is_balanced(text);
    let length = 2 + charset.len() + 1 + 1 + 1 + text.len() + 2;
    (is_word && rest.get(text.len()..)?.starts_with(b"?=")).then_some(length)
}

/// Whether each comment that begins in it ends in it.
fn is_balanced(text: &[u8]) -> bool {
    let depth = text.iter().try_fold(0_usize, |depth, octet| match octet {
        b'(' => Some(depth + 1),
        b')' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (index, octet) in rest.iter().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut escaped) = (0_usize, false);
    for (index, octet) in rest.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return index + 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    rest.len()
}

fn literal_length(rest: &[u8]) -> usize {
    rest.iter()
        .take(MAX_LITERAL)
        .position(|octet| *octet == b']')
        .map_or_else(|| atom_length(rest), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name <address>` of each entry, `-` for what isn't there.
    fn read(value: &str) -> Vec<String> {
        let shown = |entry: &Entry| {
            let name = entry.name.as_ref().map_or_else(|| "-".to_owned(), Phrase::text);
            format!("{name} <{}>", entry.address.as_ref().map_or("-", Address::as_str))
        };
        AddressList::of(value.as_bytes()).entries.iter().map(shown).collect()
    }

    #[test]
    fn every_form_of_a_mailbox() {
        for (value, expected, reason) in [
            ("ana@x.test", &["- <ana@x.test>"][..], "bare"),
            ("Ana <ana@x.test>", &["Ana <ana@x.test>"], "name"),
            ("<ana@x.test>", &["- <ana@x.test>"], "brackets alone"),
            ("\"Ana, the \\\"boss\\\"\" <ana@x.test>", &["Ana, the \"boss\" <ana@x.test>"], "quoted name"),
            ("Ana\r\n Maria\r\n\t<ana@x.test>", &["Ana Maria <ana@x.test>"], "folded"),
            ("ana@x.test (Ana (the boss))", &["Ana (the boss) <ana@x.test>"], "old form: name in a comment"),
            ("Ana (boss) <ana(a)@(b)x.test>(c)", &["Ana <ana@x.test>"], "comments everywhere"),
            ("ana . lopez @ x . test", &["- <ana.lopez@x.test>"], "RFC 5322 §4.4: spaces around dots"),
            ("<@a.test,@b.test:ana@x.test>", &["- <ana@x.test>"], "obsolete route"),
            ("\"ana@home\"@x.test", &["- <\"ana@home\"@x.test>"], "quoted local part"),
            ("\"ana\r\n lopez\"@x.test", &["- <\"ana lopez\"@x.test>"], "folded inside quotes"),
            ("ana@[192.0.2.1]", &["- <ana@[192.0.2.1]>"], "literal"),
            ("[EXT] Ana <ana@x.test>", &["[EXT] Ana <ana@x.test>"], "brackets in a name"),
            ("a@x.test, , b@y.test,", &["- <a@x.test>", "- <b@y.test>"], "empty places"),
            (
                "Team: a@x.test, B <b@y.test>; c@z.test",
                &["- <a@x.test>", "B <b@y.test>", "- <c@z.test>"],
                "group",
            ),
            ("nobody:;", &[], "empty group"),
            ("mailto:ana@x.test", &["- <ana@x.test>"], "reads as a group, names the same address"),
            ("ana@żółw.test", &["- <ana@żółw.test>"], "IDN as it is"),
            ("=?UTF-8?Q?Ana,_Lopez?= <a@x.test>", &["=?utf-8?q?Ana=2C_Lopez?= <a@x.test>"], "encoded words"),
            ("=?UTF-8?Q?Ana_(Sales)?=<a@x.test>", &["=?utf-8?q?Ana_=28Sales=29?= <a@x.test>"], "… that hold"),
            ("=?UTF-8?Q?Foo:_Bar;?= a@x.test", &["- <->"], "… what no atom may"),
            (
                "=?UTF-8?Q?i@x.test?= <a@x.test>",
                &["=?utf-8?q?i=40x=2Etest?= <a@x.test>"],
                "… one after the other",
            ),
            ("a@x.test (=?utf-8?q?Zo=C3=AB?=)", &["=?utf-8?q?Zo=C3=AB?= <a@x.test>"], "… in a comment"),
            ("\"evil@y.test\" <ana@x.test>", &["evil@y.test <ana@x.test>"], "a name that is an address"),
            ("evil@y.test <ana@x.test>", &["evil@y.test <ana@x.test>"], "the same without quotes"),
        ] {
            assert_eq!(read(value), expected, "{reason}: {value}");
        }
    }

    #[test]
    fn a_local_part_that_stands_alone_lacks_its_domain() {
        for (value, expected, reason) in [
            (" root", " root@h", "alone"),
            ("root (Cron Daemon)", "root@h (Cron Daemon)", "with the old form of a name"),
            ("Ana <ana.lopez>, root,ana@x.test", "Ana <ana.lopez@h>, root@h,ana@x.test", "in a list"),
            ("Team: ana,\r\n bob;\r\n", "Team: ana@h,\r\n bob@h;\r\n", "in a group"),
            ("\"the boss\"", "\"the boss\"@h", "quoted: RFC 5322 §3.4.1"),
            ("<\"a@b\">", "<\"a@b\">", "an @ inside quotes is told by few readers: left alone"),
            ("undisclosed-recipients:;", "undisclosed-recipients:;", "an empty group"),
            ("Shop Robot", "Shop Robot", "a name"),
            ("=?utf-8?q?a?=", "=?utf-8?q?a?=", "an encoded word"),
            ("żółw", "żółw", "would take SMTPUTF8"),
            (
                "<>, <@hop.test:ana@x.test>, a@b@c, @x.test",
                "<>, <@hop.test:ana@x.test>, a@b@c, @x.test",
                "others",
            ),
        ] {
            let mut written = value.to_owned();
            for at in AddressList::unqualified(value.as_bytes()).into_iter().rev() {
                written.insert_str(at, "@h");
            }
            assert_eq!(written, expected, "{reason}");
        }
    }

    #[test]
    fn what_is_broken_hides_nothing() {
        for (value, expected, reason) in [
            ("<a@x.test> <b@y.test>", &["- <a@x.test>", "- <b@y.test>"][..], "no comma"),
            ("<a@x.test> b@y.test", &["- <a@x.test>", "- <b@y.test>"], "no comma, no bracket"),
            ("A <a@x.test, B <b@y.test>", &["A <a@x.test>", "B <b@y.test>"], "no closing bracket"),
            ("A <a@x.test B <b@y.test>", &["A <->", "- <b@y.test>"], "neither bracket nor comma"),
            ("\"A <a@x.test>", &["A <a@x.test> <->"], "no closing quote"),
            ("A (a <a@x.test>", &["A <->"], "no closing parenthesis"),
            ("Shop Robot", &["Shop Robot <->"], "no address"),
            ("root", &["root <->"], "no domain"),
            ("ana lopez@x.test", &["- <->"], "two words as a local part"),
            ("a@b@x.test", &["- <->"], "two at signs"),
            ("<>", &["- <->"], "nothing in the brackets"),
            ("a@x..test", &["- <->"], "no domain name"),
            ("a@x.test:b", &["- <->"], "a colon behind an address"),
            (
                "=?utf-8?q?a,evil@y.test,b?= <a@x.test>",
                &["=?utf-8?q?a <->", "- <evil@y.test>", "b?= <a@x.test>"],
                "an encoded word that others may read as a list",
            ),
            (
                "=?utf-8?q?a<evil@y.test>?= <a@x.test>",
                &["=?utf-8?q?a <evil@y.test>", "?= <a@x.test>"],
                "as one",
            ),
            (
                "=?utf-8?q?(?= \"x) <evil@y.test> \" <a@x.test>",
                &["=?utf-8?q? <evil@y.test>", "<a@x.test> <->"],
                "that they may read as the start of a comment",
            ),
            ("=?utf-8?q?a,b?=@y.test", &["- <->"], "beside a domain"),
            (">,<", &["> <->", "- <->"], "brackets the wrong way round"),
        ] {
            assert_eq!(read(value), expected, "{reason}: {value}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_some_list(value in prop::collection::vec(any::<u8>(), 0..200), dense in "[a@.,:;<>()\"\\\\\\[\\] \r\n]{0,80}") {
            let _ = AddressList::of(&value);
            let list = AddressList::of(dense.as_bytes());
            prop_assert!(list.entries.len() <= dense.len() + 1);
        }

        #[test]
        fn every_address_that_is_written_down_is_found(
            list in prop::collection::vec(("[a-z]{1,8}@[a-z]{1,8}\\.test", 0..5_usize), 1..8)
        ) {
            let written: Vec<String> = list.iter().map(|(address, form)| match form {
                0 => address.clone(),
                1 => format!("<{address}>"),
                2 => format!("\"Name, {address}\" <{address}>"),
                3 => format!("{address} (a, b)"),
                _ => format!("=?utf-8?q?a?=\r\n <@hop.test:{address}>"),
            }).collect();
            let read = AddressList::of(written.join(",\r\n ").as_bytes());
            let found: Vec<&str> = read.addresses().map(Address::as_str).collect();
            let expected: Vec<&str> = list.iter().map(|(address, _)| address.as_str()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
