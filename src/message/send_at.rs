//! The value of `X-Waystation-Send-At`: a point in time as RFC 3339 or RFC 5322 §3.3 writes it, with its offset.
//!
//! A time without an offset is nobody's time and isn't guessed at.

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

/// Mail is held for so long at most: a year too many is easily typed, and a forgotten message is a lost one.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Reads a value; none when it isn't a point in time.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.as_bytes().get(4) == Some(&b'-') {
        // A zone in brackets (RFC 9557) could contradict the offset.
        return text.parse().ok().filter(|_| !text.contains('['));
    }
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let evening = "2026-12-24T17:00:00Z".parse().ok();
        for (value, expected) in [
            ("2026-12-24T17:00:00Z", evening),
            ("2026-12-24T18:00:00+01:00", evening),
            (" 2026-12-24t18:00:00.000+01:00 ", evening),
            ("Thu, 24 Dec 2026 18:00:00 +0100", evening),
            ("24 Dec 2026 18:00 +0100 (CET)", evening),
            ("Thu, 24 Dec 2026 17:00:00 GMT", evening),
            ("2026-12-24T18:00:00", None),
            ("2026-12-24", None),
            ("2026-12-24T18:00:00+01:00[Europe/Warsaw]", None),
            ("Wed, 24 Dec 2026 18:00:00 +0100", None),
            ("24 Dec 2026 18:00:00", None),
            ("tomorrow", None),
            ("1795000000", None),
            ("", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_time_or_none(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&value);
        }
    }
}
