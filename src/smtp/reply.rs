//! Replies: what either side of SMTP says back (RFC 5321 §4.2, RFC 3463).
//!
//! [`Reply`] is written by the server half and read by the client half. [`ReplyParser`] takes whatever a peer sends,
//! in pieces of any size, within fixed bounds, and never guesses: what isn't a reply is a [`ReplyError`].
//!
//! Deviation: a line that ends in a bare LF is taken for a whole line, since some smarthosts send them and no
//! message can be smuggled in a reply. A CR elsewhere is text like any other octet, and escaped.

use std::borrow::Cow;

/// Octets in a line, its end included. RFC 5321 §4.5.3.1.5 allows 512; some providers' bounce texts exceed it.
const MAX_LINE: usize = 4096;
/// Lines in a reply.
const MAX_LINES: usize = 128;
/// Octets in a reply.
const MAX_TOTAL: usize = 64 * 1024;

/// A reply code with its enhanced status code and text lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// RFC 3463 `class.subject.detail`; none where the peer sent none, and in greetings, EHLO and 3yz replies.
    pub enhanced: Option<Enhanced>,
    /// The text of each line, without codes. At least one; octets that aren't UTF-8 stand as `\xNN`.
    pub lines: Vec<Cow<'static, str>>,
}

/// An RFC 3463 status code: `4.3.1` is `Enhanced(4, 3, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Reply {
    /// A reply of one line.
    #[must_use]
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced, lines: vec![text.into()] }
    }

    /// Appends all lines as the wire carries them, each ended by CRLF (RFC 5321 §4.2.1, RFC 2034 §4).
    ///
    /// A control character in a text is written as `?`: no text can end its line and begin another reply.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.lines.is_empty() {
            self.write_line("", true, out);
        }
        let last = self.lines.len().saturating_sub(1);
        for (number, text) in self.lines.iter().enumerate() {
            self.write_line(text, number == last, out);
        }
    }

    fn write_line(&self, text: &str, is_last: bool, out: &mut Vec<u8>) {
        push_decimal(out, u64::from(self.code));
        out.push(if is_last { b' ' } else { b'-' });
        if let Some(Enhanced(class, subject, detail)) = self.enhanced {
            push_decimal(out, u64::from(class));
            out.push(b'.');
            push_decimal(out, u64::from(subject));
            out.push(b'.');
            push_decimal(out, u64::from(detail));
            out.push(b' ');
        }
        if text.bytes().any(|octet| octet.is_ascii_control()) {
            out.extend(text.bytes().map(|octet| if octet.is_ascii_control() { b'?' } else { octet }));
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether the command was carried out (2yz).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether more input is awaited (3yz).
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// Whether the same may succeed later (4yz).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Whether the same will never succeed (5yz).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl std::fmt::Display for Enhanced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// All on one line, as journal and log show it: `550 5.1.1 no such user / try another`.
impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for (number, line) in self.lines.iter().enumerate() {
            if number > 0 {
                f.write_str(" / ")?;
            } else if !line.is_empty() {
                f.write_str(" ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

/// Appends a number without a detour through `String`.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        push_decimal(out, number / 10);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

/// Why what came is no reply (RFC 5321 §4.2). The server's doing, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyError {
    /// A line doesn't begin with three digits and a space, a hyphen or its end.
    #[error("a line has no reply code")]
    NoCode,
    /// The code isn't within 200 to 599.
    #[error("reply code {0} doesn't exist")]
    CodeOutOfRange(u16),
    /// The lines of one reply carry different codes.
    #[error("reply codes {0} and {1} in one reply")]
    MixedCodes(u16, u16),
    /// A line of more than 4,096 octets.
    #[error("a reply line is too long")]
    LineTooLong,
    /// More than 128 lines, or more than 64 KiB.
    #[error("a reply is too long")]
    TooLong,
}

/// What [`ReplyParser::feed`] did with its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Fed {
    /// How many octets were used; the rest belongs behind this reply. All of them when there is no reply yet.
    pub consumed: usize,
    /// A whole reply, or why there will never be one.
    pub reply: Option<Result<Reply, ReplyError>>,
}

/// Reads replies out of octets that come in pieces.
///
/// Never keeps more than a line and a reply within the bounds above. After an error it stays spoilt: where a reply
/// can't be told from the next, nothing that follows can be believed.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The beginning of a line whose end hasn't come.
    partial: Vec<u8>,
    /// The lines before, all of one code.
    begun: Option<Reply>,
    /// Octets of the lines before.
    total: usize,
    spoilt: Option<ReplyError>,
}

impl ReplyParser {
    /// Whether nothing of a next reply has come.
    #[must_use]
    pub fn is_between_replies(&self) -> bool {
        self.partial.is_empty() && self.begun.is_none()
    }

    /// Takes octets up to the end of the next reply.
    pub fn feed(&mut self, octets: &[u8]) -> Fed {
        let mut consumed = 0;
        while self.spoilt.is_none() {
            let rest = octets.get(consumed..).unwrap_or_default();
            let line_end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let piece = rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default();
            if self.partial.len() + piece.len() > MAX_LINE {
                self.spoil(ReplyError::LineTooLong);
                break;
            }
            consumed += piece.len();
            if line_end.is_none() {
                self.partial.extend_from_slice(piece);
                return Fed { consumed, reply: None };
            }
            let taken = if self.partial.is_empty() {
                self.take_line(piece)
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(piece);
                let taken = self.take_line(&line);
                line.clear();
                self.partial = line;
                taken
            };
            match taken {
                Ok(None) => {}
                Ok(Some(reply)) => return Fed { consumed, reply: Some(Ok(reply)) },
                Err(error) => self.spoil(error),
            }
        }
        Fed { consumed: octets.len(), reply: self.spoilt.map(Err) }
    }

    fn spoil(&mut self, error: ReplyError) {
        *self = Self { spoilt: Some(error), ..Self::default() };
    }

    /// Takes one line with its end; gives the reply if this was its last.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        self.total += line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (code, is_last, text) = split_code(text)?;
        let reply = match &mut self.begun {
            None => {
                let (enhanced, text) = split_enhanced(code, text);
                self.begun.insert(Reply { code, enhanced, lines: vec![readable(text)] })
            }
            Some(reply) if reply.code != code => return Err(ReplyError::MixedCodes(reply.code, code)),
            Some(reply) => {
                if self.total > MAX_TOTAL || reply.lines.len() == MAX_LINES {
                    return Err(ReplyError::TooLong);
                }
                // RFC 2034 §4: repeated on each line. One that differs from the first stays in the text.
                let text = match split_enhanced(code, text) {
                    (Some(enhanced), text) if Some(enhanced) == reply.enhanced => text,
                    _ => text,
                };
                reply.lines.push(readable(text));
                reply
            }
        };
        debug_assert!(!reply.lines.is_empty());
        if !is_last {
            return Ok(None);
        }
        self.total = 0;
        Ok(self.begun.take())
    }
}

/// The code, whether this is the last line, and the text (RFC 5321 §4.2: `Reply-line`).
fn split_code(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
        return Err(ReplyError::NoCode);
    };
    let digit = |octet: &u8| u16::from(octet - b'0');
    let code = digit(a) * 100 + digit(b) * 10 + digit(c);
    let (is_last, text) = match rest {
        // RFC 5321 §4.2: clients must be ready for a code without text.
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return Err(ReplyError::NoCode),
    };
    if (200..600).contains(&code) { Ok((code, is_last, text)) } else { Err(ReplyError::CodeOutOfRange(code)) }
}

/// Parts an enhanced code from the text, if its class agrees with the reply code (RFC 2034 §4).
fn split_enhanced(code: u16, text: &[u8]) -> (Option<Enhanced>, &[u8]) {
    let end = text.iter().position(|octet| *octet == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let mut numbers = word.split(|octet| *octet == b'.').map(small_number);
    let (Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return (None, text);
    };
    // RFC 3463 §2: the classes are 2, 4 and 5.
    if class != code / 100 || !matches!(class, 2 | 4 | 5) {
        return (None, text);
    }
    let class = u8::try_from(class).unwrap_or_default();
    (Some(Enhanced(class, subject, detail)), rest.strip_prefix(b" ").unwrap_or(rest))
}

/// One to three digits.
fn small_number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    digits.iter().try_fold(0, |sum, octet| octet.is_ascii_digit().then(|| sum * 10 + u16::from(octet - b'0')))
}

/// Text that can be shown: octets that aren't UTF-8 and control characters become `\xNN`.
fn readable(text: &[u8]) -> Cow<'static, str> {
    use std::fmt::Write as _;
    if let Ok(clean) = std::str::from_utf8(text)
        && !clean.chars().any(char::is_control)
    {
        return Cow::Owned(clean.to_owned());
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                let mut octets = [0; 4];
                for octet in character.encode_utf8(&mut octets).bytes() {
                    let _infallible = write!(shown, "\\x{octet:02X}");
                }
            } else {
                shown.push(character);
            }
        }
        for octet in chunk.invalid() {
            let _infallible = write!(shown, "\\x{octet:02X}");
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(code: u16, enhanced: Option<Enhanced>, lines: &[&str]) -> Reply {
        Reply { code, enhanced, lines: lines.iter().map(|line| (*line).to_owned().into()).collect() }
    }

    fn parse(octets: &[u8]) -> Fed {
        ReplyParser::default().feed(octets)
    }

    #[test]
    fn replies_are_read_as_written() {
        let rows: &[(&[u8], Reply, &str)] = &[
            (b"250\r\n", reply(250, None, &[""]), "no text at all; lettre refuses it"),
            (b"250 \r\n", reply(250, None, &[""]), "a space and no text"),
            (b"220 mx.test ESMTP\r\n", reply(220, None, &["mx.test ESMTP"]), "plain"),
            (b"250 ok\n", reply(250, None, &["ok"]), "bare LF is tolerated"),
            (b"250-a\r\n250-\r\n250 c\r\n", reply(250, None, &["a", "", "c"]), "three lines, one empty"),
            (b"250-a\r\n250\r\n", reply(250, None, &["a", ""]), "last line without space"),
            (
                b"550-5.1.1 no\r\n550 5.1.1 such\r\n",
                reply(550, Some(Enhanced(5, 1, 1)), &["no", "such"]),
                "enhanced on each line",
            ),
            (
                b"550-5.1.1 no\r\n550 5.7.1 such\r\n",
                reply(550, Some(Enhanced(5, 1, 1)), &["no", "5.7.1 such"]),
                "a different one on the second line stays in the text",
            ),
            (b"250 4.1.1 no\r\n", reply(250, None, &["4.1.1 no"]), "class disagrees with the code"),
            (b"334 3.0.0 no\r\n", reply(334, None, &["3.0.0 no"]), "no class 3"),
            (b"250 2.0.0\r\n", reply(250, Some(Enhanced(2, 0, 0)), &[""]), "enhanced code and nothing else"),
            (b"250 2.0.0.1 x\r\n", reply(250, None, &["2.0.0.1 x"]), "an IP address is no enhanced code"),
            (b"250 2.1234.0 x\r\n", reply(250, None, &["2.1234.0 x"]), "too many digits"),
            (b"550 caf\xe9\r\n", reply(550, None, &["caf\\xE9"]), "Latin-1; lettre loses the 550"),
            ("550 café\r\n".as_bytes(), reply(550, None, &["café"]), "UTF-8"),
            (
                b"550 a\x1b[2Jb\0c\rd\r\n",
                reply(550, None, &["a\\x1B[2Jb\\x00c\\x0Dd"]),
                "escape, NUL, lone CR",
            ),
            ("550 \u{85}x\r\n".as_bytes(), reply(550, None, &["\\xC2\\x85x"]), "C1 control"),
        ];
        for (octets, expected, reason) in rows {
            let fed = parse(octets);
            assert_eq!(fed, Fed { consumed: octets.len(), reply: Some(Ok(expected.clone())) }, "{reason}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let long = [b"250 ".as_slice(), &[b'x'; MAX_LINE]].concat();
        let many = b"250-x\r\n".repeat(MAX_LINES + 1);
        let big = [b"250-".as_slice(), &[b'x'; 4000], b"\r\n"].concat().repeat(17);
        let rows: &[(&[u8], ReplyError, &str)] = &[
            (b"250-a\r\n550 b\r\n", ReplyError::MixedCodes(250, 550), "smtp-proto takes it for a 250"),
            (b"150 a\r\n", ReplyError::CodeOutOfRange(150), "1yz isn't SMTP"),
            (b"650 a\r\n", ReplyError::CodeOutOfRange(650), "6yz"),
            (b"000\r\n", ReplyError::CodeOutOfRange(0), "0yz"),
            (b"hello\r\n", ReplyError::NoCode, "no digits"),
            (b"\r\n", ReplyError::NoCode, "empty line"),
            (b"25\r\n", ReplyError::NoCode, "two digits"),
            (b"2500 ok\r\n", ReplyError::NoCode, "four digits"),
            (b"250\tok\r\n", ReplyError::NoCode, "tab"),
            (b"250\0ok\r\n", ReplyError::NoCode, "NUL"),
            (b" 250 ok\r\n", ReplyError::NoCode, "space in front"),
            (b"\x16\x03\x01\x02\n", ReplyError::NoCode, "TLS"),
            (&long, ReplyError::LineTooLong, "a line without end"),
            (&many, ReplyError::TooLong, "lines without end"),
            (&big, ReplyError::TooLong, "64 KiB"),
        ];
        for (octets, expected, reason) in rows {
            assert_eq!(parse(octets).reply, Some(Err(*expected)), "{reason}");
            let mut parser = ReplyParser::default();
            let mut last = None;
            for octet in *octets {
                last = parser.feed(std::slice::from_ref(octet)).reply.or(last);
            }
            assert_eq!(last, Some(Err(*expected)), "octet by octet: {reason}");
        }
    }

    #[test]
    fn an_endless_line_never_grows_memory() {
        let mut parser = ReplyParser::default();
        for _ in 0..1000 {
            let _ = parser.feed(&[b'2'; 1024]);
        }
        assert!(parser.partial.capacity() <= 2 * MAX_LINE);
        assert_eq!(
            parser.feed(b"\r\n250 ok\r\n").reply,
            Some(Err(ReplyError::LineTooLong)),
            "it stays spoilt"
        );
    }

    #[test]
    fn two_replies_at_once_come_out_one_by_one() {
        let mut parser = ReplyParser::default();
        let fed = parser.feed(b"250 a\r\n421 b\r\n");
        assert_eq!(fed, Fed { consumed: 7, reply: Some(Ok(reply(250, None, &["a"]))) });
        assert_eq!(parser.feed(b"421 b\r\n").reply, Some(Ok(reply(421, None, &["b"]))));
        assert!(parser.is_between_replies());
    }

    #[test]
    fn a_reply_is_written_with_its_codes_on_every_line() {
        let rows: &[(Reply, &str, &str)] = &[
            (Reply::new(250, Some(Enhanced(2, 0, 0)), "ok"), "250 2.0.0 ok\r\n", "250 2.0.0 ok"),
            (Reply::new(354, None, "go on"), "354 go on\r\n", "354 go on"),
            (
                reply(550, Some(Enhanced(5, 7, 1)), &["no", "never"]),
                "550-5.7.1 no\r\n550 5.7.1 never\r\n",
                "550 5.7.1 no / never",
            ),
            (Reply::new(250, None, "a\r\n550 b"), "250 a??550 b\r\n", "250 a\r\n550 b"),
            (reply(250, None, &[]), "250 \r\n", "250"),
        ];
        for (reply, wire, shown) in rows {
            let mut out = Vec::new();
            reply.write_to(&mut out);
            assert_eq!((String::from_utf8_lossy(&out).as_ref(), reply.to_string().as_str()), (*wire, *shown));
        }
    }

    proptest! {
        #[test]
        fn the_split_of_the_stream_changes_nothing(
            octets in proptest::collection::vec(
                prop_oneof![Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()],
                0..300),
            sizes in proptest::collection::vec(1usize..9, 1..50),
        ) {
            let read = |sizes: &[usize]| {
                let (mut parser, mut all, mut rest) = (ReplyParser::default(), Vec::new(), octets.as_slice());
                for size in sizes.iter().cycle() {
                    let mut piece = &rest[..(*size).min(rest.len())];
                    rest = &rest[piece.len()..];
                    while !piece.is_empty() {
                        let fed = parser.feed(piece);
                        piece = &piece[fed.consumed..];
                        match fed.reply {
                            Some(Err(error)) => { all.push(Err(error)); return all; }
                            Some(reply) => all.push(reply),
                            None => {}
                        }
                    }
                    if rest.is_empty() { break; }
                }
                all
            };
            prop_assert_eq!(read(&sizes), read(&[usize::MAX]));
        }

        #[test]
        fn what_is_written_is_read_back(
            code in 400u16..600, subject in 0u16..1000, detail in 0u16..1000,
            lines in proptest::collection::vec("[a-zé ]{0,40}", 1..6),
        ) {
            let class = u8::try_from(code / 100).unwrap();
            let reply = Reply {
                code,
                enhanced: Some(Enhanced(class, subject, detail)),
                lines: lines.into_iter().map(Cow::Owned).collect(),
            };
            let mut out = Vec::new();
            reply.write_to(&mut out);
            prop_assert_eq!(parse(&out).reply, Some(Ok(reply)));
        }
    }
}
