//! What in a line looks like a date, an hour, or an address, in whatever language.
//!
//! Promises: linear in the line, and no words: a date is its figures. Months and weekdays are never read, so that no
//! language is missing.

use super::steps;
use std::cell::LazyCell;

/// The figures of a line that speak for a date.
#[expect(clippy::struct_excessive_bools, reason = "facts that occur in any combination")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Hours and minutes: `10:30`, `10.30`, `10h30`.
    pub time: bool,
    /// A year from 1970 to 2099.
    pub year: bool,
    /// A day of a month, or a whole date in figures.
    pub day: bool,
    /// Day, month and year in figures: `12/05/2026`, `2026-05-12`, `2026年5月12`.
    pub numeric: bool,
}

impl Figures {
    /// A day that can be told, not just an hour.
    pub fn is_date(self) -> bool {
        self.numeric || (self.day && (self.year || self.time))
    }

    /// A day and an hour, or a day with its year: what programs write and people seldom do.
    pub fn is_stamp(self) -> bool {
        self.is_date() && (self.time || self.year || self.numeric)
    }

    /// A day and an hour.
    pub fn is_moment(self) -> bool {
        self.is_date() && self.time
    }
}

/// A number and what stands between it and the number before, when that is short.
struct Number<'a> {
    value: u32,
    length: usize,
    gap: Option<&'a str>,
}

/// Reads the figures of a folded line.
pub fn figures(folded: &str) -> Figures {
    steps::took(folded.len());
    let mut found = Figures::default();
    let mut row: Vec<Number<'_>> = Vec::new();
    let numbers = Numbers { folded, end: None };
    for number in numbers {
        let joined = number.gap.is_some_and(|gap| {
            matches!(gap.trim(), "/" | "." | "-" | ":" | "h" | "年" | "月" | "년" | "월") || gap == " h "
        });
        if !joined {
            note(&row, &mut found);
            row.clear();
        }
        row.push(number);
    }
    note(&row, &mut found);
    found
}

/// The numbers of a line, in order.
struct Numbers<'a> {
    folded: &'a str,
    /// Behind the number before.
    end: Option<usize>,
}

impl<'a> Iterator for Numbers<'a> {
    type Item = Number<'a>;

    fn next(&mut self) -> Option<Number<'a>> {
        let from = self.end.unwrap_or_default();
        let start = from + self.folded.as_bytes().get(from..)?.iter().position(u8::is_ascii_digit)?;
        let digits = self.folded.get(start..)?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        let value = digits.get(..length).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
        let gap = self.end.and_then(|end| self.folded.get(end..start)).filter(|gap| gap.len() <= 6);
        self.end = Some(start + length);
        Some(Number { value, length, gap })
    }
}

/// Judges numbers that stand in a row, as in `12/05/2026` or `10:30:15`.
fn note(row: &[Number<'_>], found: &mut Figures) {
    // An hour may follow a date closely, as in `2016-01-27.10:30`: it is judged apart.
    if let Some(at) =
        row.iter().skip(1).position(|number| matches!(number.gap.map(str::trim), Some(":" | "h")))
    {
        let (date, time) = row.split_at(at);
        found.time |= is_time(time);
        return note(date, found);
    }
    let is_year = |number: &Number<'_>| number.length == 4 && (1970..2100).contains(&number.value);
    let is_day = |number: &Number<'_>| number.length <= 2 && (1..=31).contains(&number.value);
    let dotted = row.len() == 2 && row.iter().skip(1).all(|number| number.gap == Some("."));
    if dotted && is_time(row) {
        found.time = true;
        return;
    }
    let years = row.iter().filter(|number| is_year(number)).count();
    found.year |= years > 0;
    found.day |= row.len() <= 3 && row.iter().any(is_day);
    let short = row.iter().all(|number| number.length <= 2);
    found.numeric |=
        row.len() == 3 && row.iter().filter(|number| is_day(number)).count() >= 2 && (years == 1 || short);
}

/// Hours, minutes, perhaps seconds.
fn is_time(row: &[Number<'_>]) -> bool {
    match row {
        [hour, minute, ..] => hour.value < 24 && hour.length <= 2 && minute.value < 60 && minute.length == 2,
        _ => false,
    }
}

/// An address, and whether a program wrote it: in angle brackets, or as a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// None.
    None,
    /// `ana@example.com`, as a human may write it too.
    Bare,
    /// `<ana@example.com>`, `[mailto:…]`, `(ana@example.com)`.
    Marked,
}

/// Looks for an address in a folded line.
pub fn address(folded: &str) -> Address {
    let mut found = Address::None;
    let bytes = folded.as_bytes();
    let opens = |octet: &u8| matches!(octet, b' ' | b'<' | b'[' | b'(' | b'"' | b':' | b',' | b';');
    let closes = |octet: &u8| matches!(octet, b' ' | b'>' | b']' | b')' | b'"' | b',' | b';' | b'<');
    // Where the word before the sign begins, how far was looked for that, and where the word behind it ends: what was
    // found for one sign goes for the next in the same word, so that a row of signs is read once.
    let (mut word, mut seen, mut end, mut dot) = (0, 0, 0, None);
    let is_bracketed = LazyCell::new(|| folded.contains('<'));
    steps::took(bytes.len());
    for at in memchr::memchr_iter(b'@', bytes) {
        let since = bytes.get(seen..at).unwrap_or_default();
        steps::took(since.len());
        word = since.iter().rposition(opens).map_or(word, |opening| seen + opening + 1);
        seen = at;
        if at >= end {
            let rest = bytes.get(at + 1..).unwrap_or_default();
            let domain = rest.get(..rest.iter().position(closes).unwrap_or(rest.len())).unwrap_or_default();
            steps::took(domain.len());
            dot = memchr::memrchr(b'.', domain).map(|dot| at + 1 + dot);
            end = at + 1 + domain.len();
        }
        let is_dotted = dot.is_some_and(|dot| dot > at);
        if word == at || end - at < 4 || !is_dotted && !*is_bracketed {
            continue;
        }
        let front = bytes.get(..word).unwrap_or_default();
        // "<", and the address on the next line.
        let front = front.strip_suffix(b" ").filter(|front| front.ends_with(b"<")).unwrap_or(front);
        if matches!(front.last(), Some(b'<' | b'[' | b'(')) || front.ends_with(b"mailto:") {
            return Address::Marked;
        }
        found = Address::Bare;
    }
    if found == Address::None && folded.contains("mailto:") { Address::Marked } else { found }
}

#[cfg(test)]
mod tests {
    use super::{Address, address, figures};

    #[test]
    fn dates_of_many_habits_are_told() {
        for line in [
            "on mon, apr 2, 2012 at 6:26 pm, ana wrote:",
            "am 12.06.2016 um 10:00 schrieb w:",
            "2013.02.08. 7:31 keltezéssel",
            "le lun. 24 janv. 2023 à 18:14",
            "w dniu 2017-01-09 11:59:39",
            "2024年1月2日(火) 15:45",
            "2024년 1월 2일 (화) 오후 3:45",
            "13 يونيو 2024، 6:30 م",
            "op 2 feb. 2015 om 05:28",
            "6/16/2016 08:32 pm",
            "mercredi 30 novembre 2016 10h30",
            "12-may-2026, 9.15",
        ] {
            assert!(figures(line).is_moment(), "{line}: {:?}", figures(line));
        }
        assert!(figures("12/05/26").is_date());
        assert!(figures("2016-01-27").is_date());
    }

    #[test]
    fn figures_that_are_no_dates_are_not() {
        for line in [
            "call +49 170 1234567",
            "we are 4 people",
            "price: 120.00",
            "at 10:30",
            "room 2012",
            "ratio 16:9",
        ] {
            assert!(!figures(line).is_date(), "{line}: {:?}", figures(line));
        }
    }

    #[test]
    fn addresses_are_bare_or_marked() {
        assert_eq!(address("write to ana@example.com please"), Address::Bare);
        assert_eq!(address("ana <ana@example.com> wrote:"), Address::Marked);
        assert_eq!(address("ana [mailto:ana@example.com]"), Address::Marked);
        assert_eq!(address("see you @ home"), Address::None);
    }
}
