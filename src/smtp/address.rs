//! Mail addresses as the wire carries them (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! An [`Address`] keeps the exact characters that came in, checked once, so that writing it back into
//! `MAIL FROM:<…>` or `RCPT TO:<…>` can't inject anything. Nothing in it is ever decoded or unquoted:
//! `"a> NOTIFY=NEVER x"@b.example` stays what it is, quotes and all.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets in a domain (RFC 5321 §4.5.3.1.2).
const MAX_DOMAIN: usize = 255;
/// Octets in an address: a path of 256 less its brackets (RFC 5321 §4.5.3.1.3).
///
/// Deviation: a local part may fill it. RFC 5321 §4.5.3.1.1 lets a server take more than 64 octets, and what forwarders
/// make of a sender (SRS, VERP, Gmail's `+caf_=`) and the relays of booking channels have more.
const MAX_ADDRESS: usize = 254;
/// Octets in a label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A checked `Local-part@Domain`, with the exact characters of its source.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Box<str>,
    /// Byte index of the `@` that parts local part and domain.
    at: usize,
}

/// What stands between the angle brackets of `MAIL` and `RCPT` (RFC 5321 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`, the null reverse-path (RFC 5321 §4.5.5).
    Null,
    /// `<Postmaster>` without a domain, in any case (RFC 5321 §4.1.1.3).
    Postmaster,
    /// An ordinary mailbox.
    Mailbox(Address),
}

/// Why a text is no address. The client's doing, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing on one side of it.
    #[error("an address is local-part@domain")]
    Incomplete,
    /// The local part is neither atoms and dots nor a quoted string.
    #[error("the local part is neither a dot-string nor a quoted string")]
    LocalPart,
    /// The domain breaks the rules for labels.
    #[error("the domain is not a domain name")]
    Domain,
    /// The brackets don't hold an IPv4 or IPv6 address.
    #[error("the address literal is not [192.0.2.1] or [IPv6:2001:db8::1]")]
    Literal,
    /// A `xn--` label stands for plain ASCII or for nothing (RUSTSEC-2024-0421).
    #[error("a punycode label of the domain stands for plain ASCII or is broken")]
    Punycode,
    /// More than 254 octets in all.
    #[error("the address is longer than 254 octets")]
    TooLong,
    /// Octets above 127 without SMTPUTF8 (RFC 6531 §3.5).
    #[error("the address needs SMTPUTF8")]
    NeedsUtf8,
    /// Octets above 127 that aren't UTF-8.
    #[error("the address is not UTF-8")]
    NotUtf8,
    /// The route in front of the address (`@a,@b:`) is malformed.
    #[error("the source route is malformed")]
    Route,
}

impl Address {
    /// Checks an address without brackets. `utf8`: whether SMTPUTF8 stands, so that octets above 127 may.
    ///
    /// # Errors
    /// The first rule of RFC 5321 §4.1.2 and §4.5.3.1 that it breaks.
    pub fn parse(source: impl AsRef<[u8]>, utf8: bool) -> Result<Self, AddressError> {
        let bytes = source.as_ref();
        if bytes.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| AddressError::NotUtf8)?;
        let at = local_end(bytes)?;
        let (local, domain) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Incomplete);
        }
        if !utf8 && !text.is_ascii() {
            return Err(AddressError::NeedsUtf8);
        }
        // ASCII controls fell out above; these are the C1 ones.
        if !local.is_ascii() && local.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        check_domain(domain)?;
        Ok(Self { text: text.into(), at })
    }

    /// Checks what stands between the angle brackets. A source route is checked and dropped, as RFC 5321 §3.6.1
    /// and appendix C ask of a server: mail goes to the address behind it and nowhere else.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse_path(inside: &[u8], utf8: bool) -> Result<Path, AddressError> {
        if inside.is_empty() {
            return Ok(Path::Null);
        }
        if inside.eq_ignore_ascii_case(b"postmaster") {
            return Ok(Path::Postmaster);
        }
        Self::parse(without_route(inside)?, utf8).map(Path::Mailbox)
    }

    /// The part before the last `@`, quotes included.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part behind the `@`: a domain name or an address literal in brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The whole address, without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same address with its domain as DNS has it, which travels without SMTPUTF8 if the local part does.
    #[must_use]
    pub fn with_dns_domain(&self) -> Self {
        if self.domain().is_ascii() {
            return self.clone();
        }
        let text = format!("{}@{}", self.local(), dns_domain(self.domain()));
        Self::parse(text, true).unwrap_or_else(|_| self.clone())
    }

    /// Whether it can travel without SMTPUTF8 (RFC 6531 §3.3).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// Where a path ends that begins at the start of `bytes`: the index of its `>` outside quotes.
#[must_use]
pub fn path_end(bytes: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// `@one,@two:` in front of a mailbox, cut off (RFC 5321 appendix C).
fn without_route(inside: &[u8]) -> Result<&[u8], AddressError> {
    if inside.first() != Some(&b'@') {
        return Ok(inside);
    }
    // A domain name holds no colon; an IPv6 literal in a route does, and nobody has sent one since routes went.
    let colon = memchr::memchr(b':', inside).ok_or(AddressError::Route)?;
    let (route, mailbox) = inside.split_at_checked(colon).ok_or(AddressError::Route)?;
    for hop in route.split(|&byte| byte == b',') {
        let domain = hop.strip_prefix(b"@").and_then(|hop| std::str::from_utf8(hop).ok());
        check_domain(domain.ok_or(AddressError::Route)?).map_err(|_| AddressError::Route)?;
    }
    Ok(mailbox.get(1..).unwrap_or_default())
}

/// Walks over the local part and returns the index of the `@` behind it.
///
/// Deviation: dots may stand anywhere. Japanese mobile carriers gave out addresses like `a..b.@example.ne.jp`, and their
/// owners write to this day.
fn local_end(bytes: &[u8]) -> Result<usize, AddressError> {
    if bytes.first() == Some(&b'"') {
        return quoted_end(bytes);
    }
    let mut has_atom = false;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'@' if index == 0 => return Err(AddressError::Incomplete),
            b'@' if has_atom => return Ok(index),
            b'.' => {}
            _ if is_atext(byte) => has_atom = true,
            _ => return Err(AddressError::LocalPart),
        }
    }
    Err(AddressError::Incomplete)
}

/// The same for a quoted string: `"` qtextSMTP / quoted-pairSMTP `"`. An empty one is allowed by the grammar.
fn quoted_end(bytes: &[u8]) -> Result<usize, AddressError> {
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b' '..=b'~' if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let behind = index + 1;
                return if bytes.get(behind) == Some(&b'@') {
                    Ok(behind)
                } else {
                    Err(AddressError::LocalPart)
                };
            }
            b' '..=b'~' | 0x80.. if !escaped => {}
            _ => return Err(AddressError::LocalPart),
        }
    }
    Err(AddressError::LocalPart)
}

/// RFC 5321 §4.1.2 atext, with RFC 6531's octets above 127.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// A local part without quotes that say nothing: `"ana"` is `ana` (RFC 5321 §4.1.2). One that needs them, or has a
/// quoted pair, stays as it is.
#[must_use]
pub fn plain_local(local: &str) -> &str {
    let inside = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_plain = |inside: &&str| {
        inside.bytes().any(is_atext) && inside.bytes().all(|byte| byte == b'.' || is_atext(byte))
    };
    inside.filter(is_plain).unwrap_or(local)
}

fn check_domain(domain: &str) -> Result<(), AddressError> {
    if let Some(literal) = domain.strip_prefix('[') {
        return check_literal(literal.strip_suffix(']').ok_or(AddressError::Literal)?);
    }
    if domain.len() > MAX_DOMAIN {
        return Err(AddressError::Domain);
    }
    domain.split('.').try_for_each(check_label)
}

/// `[192.0.2.1]` or `[IPv6:…]`; a general literal has no standardized tag to this day (RFC 5321 §4.1.3).
fn check_literal(inside: &str) -> Result<(), AddressError> {
    let good = match inside.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inside.get(5..).is_some_and(|rest| rest.parse::<Ipv6Addr>().is_ok())
        }
        _ => inside.parse::<Ipv4Addr>().is_ok(),
    };
    if good { Ok(()) } else { Err(AddressError::Literal) }
}

/// A domain as DNS has it, in lower case: labels above 127 become A-labels (RFC 5890 §2.3.2.1). One that has no such form stays as
/// it is.
#[must_use]
pub fn dns_domain(domain: &str) -> String {
    let lower = domain.to_lowercase();
    if lower.is_ascii() { lower } else { idna::domain_to_ascii(&lower).unwrap_or(lower) }
}

/// Letters, digits and inner hyphens; above 127, a U-label's characters (RFC 5890 §2.3.2.1).
///
/// Deviation: an underscore passes, because host names with one exist in private networks that send through us.
fn check_label(label: &str) -> Result<(), AddressError> {
    let bytes = label.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    if bytes.is_empty() || bytes.len() > MAX_LABEL || edges.contains(&Some(&b'-')) {
        return Err(AddressError::Domain);
    }
    if let Some(encoded) = label.get(..4).filter(|tag| tag.eq_ignore_ascii_case("xn--")).and(label.get(4..)) {
        return check_punycode(encoded);
    }
    let allowed = |character: char| match character {
        '-' | '_' | 'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        // Stops that IDNA mapping turns into a dot, and what looks like nothing at all.
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => false,
        _ => !character.is_ascii() && !character.is_control() && !is_invisible(character),
    };
    if label.chars().all(allowed) { Ok(()) } else { Err(AddressError::Domain) }
}

/// Spaces, zero-width characters and direction marks: none may stand in a U-label (RFC 5892).
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether `encoded` is sound punycode for a label with something above 127 in it (RFC 3492 §6.2).
///
/// Only the code points matter here, so that their places aren't computed: a delta is enough to know them.
fn check_punycode(encoded: &str) -> Result<(), AddressError> {
    let (basic, digits) = encoded.rsplit_once('-').unwrap_or(("", encoded));
    let basic_is_ldh = basic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if digits.is_empty() || !basic_is_ldh {
        return Err(AddressError::Punycode);
    }
    let mut length = u32::try_from(basic.len()).map_err(|_| AddressError::Punycode)?;
    let (mut code_point, mut index, mut bias) = (0x80_u32, 0_u32, 72_u32);
    let mut digits = digits.bytes().peekable();
    while digits.peek().is_some() {
        let start = index;
        index = punycode_delta(&mut digits, index, bias).ok_or(AddressError::Punycode)?;
        length += 1;
        bias = adapt(index - start, length, start == 0);
        code_point = code_point.checked_add(index / length).ok_or(AddressError::Punycode)?;
        let character = char::from_u32(code_point).ok_or(AddressError::Punycode)?;
        if character.is_control()
            || is_invisible(character)
            || !character.is_alphanumeric() && is_symbol(character)
        {
            return Err(AddressError::Punycode);
        }
        index = index % length + 1;
    }
    Ok(())
}

/// Full-width forms and dots that map to ASCII (RFC 5895 §2): a U-label is never encoded from them.
fn is_symbol(character: char) -> bool {
    matches!(character, '\u{3002}' | '\u{ff00}'..='\u{ff65}')
}

/// One generalized variable-length integer, added to `index` (RFC 3492 §3.3).
fn punycode_delta(digits: &mut impl Iterator<Item = u8>, mut index: u32, bias: u32) -> Option<u32> {
    let (mut weight, mut step) = (1_u32, 36_u32);
    loop {
        let digit = match digits.next()? {
            letter @ (b'a'..=b'z' | b'A'..=b'Z') => u32::from(letter.to_ascii_lowercase() - b'a'),
            number @ b'0'..=b'9' => u32::from(number - b'0') + 26,
            _ => return None,
        };
        index = index.checked_add(digit.checked_mul(weight)?)?;
        let threshold = step.saturating_sub(bias).clamp(1, 26);
        if digit < threshold {
            return Some(index);
        }
        weight = weight.checked_mul(36 - threshold)?;
        step += 36;
    }
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, length: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / length;
    let mut step = 0;
    while delta > 455 {
        delta /= 35;
        step += 36;
    }
    step + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests;
