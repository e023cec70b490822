//! Sizes, durations and rates as people write them: `"25 MiB"`, `"90s"`, `"500 B/s"`.
//!
//! Only whole numbers; a unit is always written out, so that nobody has to guess what a bare number counts.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];
const DURATIONS: [(&str, u64); 5] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1), ("w", 604_800)];

/// Octets: `"25 MiB"`.
///
/// # Errors
/// What is wrong with it, for a complaint.
pub fn size(text: &str) -> Result<u64, String> {
    let (count, unit) =
        split(text).ok_or_else(|| format!("\"{text}\" is not a size; write it like \"25 MiB\""))?;
    let factor = if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit; write it like \"25 MiB\" or \"{text} B\""));
    } else {
        SIZES.iter().find(|(name, _)| *name == unit || name.eq_ignore_ascii_case(unit))
    };
    let (_, factor) = factor.ok_or_else(|| {
        format!("\"{unit}\" is not a unit of size; there are B, KiB, MiB, GiB, TiB and kB, MB, GB")
    })?;
    count
        .checked_mul(*factor)
        .filter(|octets| *octets <= i64::MAX.unsigned_abs())
        .ok_or_else(|| too_big(text))
}

/// `"90s"`, `"5m"`, `"2h"`, `"5d"`, `"1w"`; also `"1h 30m"`.
///
/// # Errors
/// What is wrong with it, for a complaint.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration; write it like \"90s\", \"5m\", \"2h\" or \"5d\"");
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let count = rest.get(..digits).and_then(|digits| digits.parse::<u64>().ok()).ok_or_else(wrong)?;
        rest = rest.get(digits..).unwrap_or_default().trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = rest.get(..letters).unwrap_or_default();
        if unit.is_empty() {
            return Err(format!("\"{text}\" has no unit; write it like \"90s\", \"5m\", \"2h\" or \"5d\""));
        }
        let (_, factor) = DURATIONS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("\"{unit}\" is not a unit of time; there are s, m, h, d and w"))?;
        let part = count.checked_mul(*factor).ok_or_else(|| too_big(text))?;
        seconds = seconds.checked_add(part).ok_or_else(|| too_big(text))?;
        rest = rest.get(letters..).unwrap_or_default().trim_start();
    }
    // A century is beyond every use here, and safely within what clocks can add.
    if seconds > 100 * 366 * 86_400 { Err(too_big(text)) } else { Ok(Duration::from_secs(seconds)) }
}

/// Octets per second: `"500 B/s"`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a rate; write it like \"500 B/s\"");
    let amount = text.trim().strip_suffix("/s").ok_or_else(wrong)?;
    size(amount.trim_end()).map_err(|_| wrong())
}

/// The shortest way to write a size.
pub(crate) fn show_size(octets: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| octets >= *factor && octets.is_multiple_of(*factor);
    let mut units: Vec<_> = SIZES.iter().filter(|(name, _)| name.ends_with("iB") || *name == "B").collect();
    units.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
    units
        .into_iter()
        .find(fits)
        .map_or_else(|| "0 B".to_owned(), |(name, factor)| format!("{} {name}", octets / factor))
}

/// The shortest way to write a duration.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    DURATIONS
        .iter()
        .filter(|(name, _)| *name != "w")
        .find(|(_, factor)| seconds >= *factor && seconds.is_multiple_of(*factor))
        .map_or_else(|| format!("{seconds}s"), |(name, factor)| format!("{}{name}", seconds / factor))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count = text.get(..digits)?.parse().ok()?;
    Some((count, text.get(digits..)?.trim_start()))
}

fn too_big(text: &str) -> String {
    format!("\"{text}\" is too much")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_know_both_families() {
        for (text, octets) in [
            ("25 MiB", Some(26_214_400)),
            ("25MiB", Some(26_214_400)),
            ("20 GiB", Some(21_474_836_480)),
            ("1 kB", Some(1_000)),
            ("1 KB", Some(1_000)),
            ("3 MB", Some(3_000_000)),
            ("0 B", Some(0)),
            ("25", None),
            ("25 MiBs", None),
            ("-1 B", None),
            ("1.5 MiB", None),
            ("99999999999 GiB", None),
            ("", None),
        ] {
            assert_eq!(size(text).ok(), octets, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_may_be_composed() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("2h", Some(7_200)),
            ("30d", Some(2_592_000)),
            ("1h 30m", Some(5_400)),
            ("1 h", Some(3_600)),
            ("90", None),
            ("5 minutes", None),
            ("-5m", None),
            ("99999999999999999999d", None),
            ("9999999999d", None),
            ("", None),
            ("5mé", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn rates_are_sizes_per_second() {
        assert_eq!(rate("500 B/s"), Ok(500));
        assert_eq!(rate("1 KiB/s"), Ok(1_024));
        assert_eq!(rate("500 B").ok(), None);
        assert_eq!(rate("500/s").ok(), None);
    }

    #[test]
    fn what_is_shown_reads_back() {
        for octets in [0, 1, 500, 1_024, 26_214_400, 21_474_836_480, 1_500] {
            assert_eq!(size(&show_size(octets)), Ok(octets));
        }
        for seconds in [0, 1, 60, 90, 3_600, 86_400, 2_592_000] {
            let duration_ = Duration::from_secs(seconds);
            assert_eq!(duration(&show_duration(duration_)), Ok(duration_));
        }
    }
}
