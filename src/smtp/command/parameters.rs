//! ESMTP parameters of MAIL and RCPT: their form, and the grammar of each value (RFC 5321 §4.1.2, RFC 1870, RFC 3461,
//! RFC 4865, RFC 6533, RFC 6710).

use super::{Body, CommandError, Notify, Ret};
use crate::smtp::chunk::is_digits;
use jiff::Timestamp;

/// Characters of `ENVID=` (RFC 3461 §4.4).
const MAX_ENVID: usize = 100;
/// Characters of `ORCPT=` (RFC 3461 §4.2).
const MAX_ORCPT: usize = 500;
/// Digits of `SIZE=` (RFC 1870 §4).
const MAX_SIZE_DIGITS: usize = 20;

/// Letters of `MT-PRIORITY`, the longest name that we know.
const LONGEST_KEYWORD: usize = 11;
/// Digits of `HOLDFOR=` (RFC 4865).
const MAX_HOLD_DIGITS: usize = 9;

/// ESMTP parameters parted by spaces (RFC 5321 §4.1.2).
pub(super) struct Parameters<'a>(pub(super) &'a [u8]);

/// A parameter's name in upper case.
pub(super) struct Keyword {
    upper: [u8; LONGEST_KEYWORD],
    length: usize,
}

impl Keyword {
    fn new(name: &[u8]) -> Self {
        let mut upper = [0; LONGEST_KEYWORD];
        // A longer name is cut here and equals none of ours, because of its length.
        for (to, from) in upper.iter_mut().zip(name) {
            *to = from.to_ascii_uppercase();
        }
        Self { upper, length: name.len() }
    }

    pub(super) fn as_upper(&self) -> &[u8] {
        self.upper.get(..self.length).unwrap_or_default()
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(Keyword, Option<&'a [u8]>), CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let (word, behind) = rest.split_at_checked(memchr::memchr(b' ', rest).unwrap_or(rest.len()))?;
        self.0 = behind;
        let (name, value) = match memchr::memchr(b'=', word).and_then(|at| word.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..)),
            None => (word, None),
        };
        let starts_well = name.first().is_some_and(u8::is_ascii_alphanumeric);
        if !starts_well || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return Some(Err(CommandError::BehindPath));
        }
        Some(Ok((Keyword::new(name), value)))
    }
}

pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), CommandError> {
    if slot.replace(value).is_some() { Err(CommandError::Twice) } else { Ok(()) }
}

pub(super) fn first(seen: &mut bool) -> Result<(), CommandError> {
    if std::mem::replace(seen, true) { Err(CommandError::Twice) } else { Ok(()) }
}

/// Twenty digits may say more than 64 bits hold; that is too big whatever the limit is.
pub(super) fn declared_size(value: Option<&[u8]>) -> Result<u64, CommandError> {
    let digits = value.filter(|value| value.len() <= MAX_SIZE_DIGITS && is_digits(value));
    Ok(digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .ok_or(CommandError::Value("SIZE"))?
        .parse()
        .unwrap_or(u64::MAX))
}

pub(super) fn body(value: Option<&[u8]>) -> Result<Body, CommandError> {
    match value {
        Some(value) if value.eq_ignore_ascii_case(b"7BIT") => Ok(Body::SevenBit),
        Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => Ok(Body::EightBitMime),
        _ => Err(CommandError::Value("BODY")),
    }
}

pub(super) fn ret(value: Option<&[u8]>) -> Result<Ret, CommandError> {
    match value {
        Some(value) if value.eq_ignore_ascii_case(b"FULL") => Ok(Ret::Full),
        Some(value) if value.eq_ignore_ascii_case(b"HDRS") => Ok(Ret::Headers),
        _ => Err(CommandError::Value("RET")),
    }
}

pub(super) fn envid(value: Option<&[u8]>) -> Result<Box<str>, CommandError> {
    let value = value.filter(|value| !value.is_empty() && value.len() <= MAX_ENVID && is_xtext(value));
    boxed(value).ok_or(CommandError::Value("ENVID"))
}

/// Seconds, from 1 to 999999999, without leading zeros (RFC 4865).
pub(super) fn hold_for(value: Option<&[u8]>) -> Result<u32, CommandError> {
    value
        .filter(|value| value.len() <= MAX_HOLD_DIGITS && is_digits(value) && !value.starts_with(b"0"))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or(CommandError::Value("HOLDFOR (seconds, 1 to 999999999)"))
}

/// A date-time of RFC 3339 in UTC, with its `T` and `Z` (RFC 4865).
pub(super) fn hold_until(value: Option<&[u8]>) -> Result<Timestamp, CommandError> {
    let wrong = CommandError::Value("HOLDUNTIL (UTC, as 2026-12-24T18:00:00Z)");
    let value = value.filter(|value| is_utc_date_time(value)).ok_or(wrong)?;
    std::str::from_utf8(value).ok().and_then(|text| text.to_ascii_uppercase().parse().ok()).ok_or(wrong)
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction]Z`; whether there is such a day is for others to say.
fn is_utc_date_time(value: &[u8]) -> bool {
    let Some((seconds, rest)) = value.split_at_checked(19) else { return false };
    let shape = seconds.iter().zip(b"dddd-dd-ddTdd:dd:dd");
    let fits = |(octet, wanted): (&u8, &u8)| match wanted {
        b'd' => octet.is_ascii_digit(),
        wanted => octet.eq_ignore_ascii_case(wanted),
    };
    let fraction = match rest {
        [b'Z' | b'z'] => return shape.into_iter().all(fits),
        [b'.', fraction @ .., b'Z' | b'z'] => fraction,
        _ => return false,
    };
    (1..=9).contains(&fraction.len()) && is_digits(fraction) && shape.into_iter().all(fits)
}

/// A whole number from -9 to 9, without leading zeros or a plus (RFC 6710 §3).
pub(super) fn priority(value: Option<&[u8]>) -> Result<i8, CommandError> {
    let digit = |digit: u8| i8::try_from(digit - b'0').unwrap_or_default();
    match value {
        Some([b'-', low @ b'1'..=b'9']) => Ok(-digit(*low)),
        Some([high @ b'0'..=b'9']) => Ok(digit(*high)),
        _ => Err(CommandError::Value("MT-PRIORITY (-9 to 9)")),
    }
}

pub(super) fn notify_value(value: Option<&[u8]>) -> Result<Notify, CommandError> {
    let value = value.ok_or(CommandError::Value("NOTIFY"))?;
    let mut notify = Notify { success: false, failure: false, delay: false };
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Ok(notify);
    }
    for word in value.split(|&byte| byte == b',') {
        let wish = match word {
            _ if word.eq_ignore_ascii_case(b"SUCCESS") => &mut notify.success,
            _ if word.eq_ignore_ascii_case(b"FAILURE") => &mut notify.failure,
            _ if word.eq_ignore_ascii_case(b"DELAY") => &mut notify.delay,
            _ => return Err(CommandError::Value("NOTIFY")),
        };
        first(wish).map_err(|_| CommandError::Value("NOTIFY"))?;
    }
    Ok(notify)
}

pub(super) fn orcpt_value(value: Option<&[u8]>, smtputf8: bool) -> Result<Box<str>, CommandError> {
    let good = value.filter(|value| value.len() <= MAX_ORCPT).filter(|value| {
        let Some((kind, address)) = memchr::memchr(b';', value)
            .and_then(|at| value.split_at_checked(at))
            .map(|(kind, rest)| (kind, rest.get(1..)))
        else {
            return false;
        };
        let address = address.unwrap_or_default();
        let is_kind =
            !kind.is_empty() && kind.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let fits = if kind.eq_ignore_ascii_case(b"utf-8") {
            is_utf8_address(address, smtputf8)
        } else {
            is_xtext(address)
        };
        is_kind && !address.is_empty() && fits
    });
    let good = good.and_then(|value| std::str::from_utf8(value).ok()).map(in_ascii);
    good.filter(|value| value.len() <= MAX_ORCPT).ok_or(CommandError::Value("ORCPT"))
}

/// `utf-8-addr-xtext`: `\x{17C}` for what isn't US-ASCII. The next hop may know no SMTPUTF8 (RFC 6533 §3).
fn in_ascii(orcpt: &str) -> Box<str> {
    let mut out = String::with_capacity(orcpt.len());
    for character in orcpt.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
        }
    }
    out.into()
}

fn boxed(value: Option<&[u8]>) -> Option<Box<str>> {
    value.and_then(|value| std::str::from_utf8(value).ok()).map(Box::from)
}

/// RFC 3461 §4, and what it stands for is printable ASCII: no line end travels in disguise (CVE-2020-28021, -28026).
pub(super) fn is_xtext(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'+', high @ (b'0'..=b'9' | b'A'..=b'F'), low @ (b'0'..=b'9' | b'A'..=b'F'), rest @ ..] => {
                if !matches!((high, low), (b'2'..=b'6', _) | (b'7', b'0'..=b'9' | b'A'..=b'E')) {
                    return false;
                }
                rest
            }
            [b'+' | b'=', ..] => return false,
            [b'!'..=b'~', rest @ ..] => rest,
            _ => return false,
        };
    }
}

/// `utf-8-addr-xtext`, and `utf-8-addr-unitext` where UTF-8 may travel (RFC 6533 §3).
pub(super) fn is_utf8_address(text: &[u8], smtputf8: bool) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        match character {
            '\\' => {
                let Some((point, behind)) = rest.strip_prefix("x{").and_then(|rest| rest.split_once('}'))
                else {
                    return false;
                };
                let is_hex = (2..=6).contains(&point.len())
                    && point.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
                let meant = u32::from_str_radix(point, 16).ok().and_then(char::from_u32);
                if !is_hex || meant.is_none_or(char::is_control) {
                    return false;
                }
                rest = behind;
            }
            '+' | '=' => return false,
            '!'..='~' => {}
            _ if smtputf8 && !character.is_ascii() && !character.is_control() => {}
            _ => return false,
        }
    }
    true
}
