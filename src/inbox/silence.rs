//! When a mailbox whose forwarding was regular is silent for longer than it ever is. Pure.
//!
//! What is usual is learned from the gaps between arrivals of the last weeks. Nights and weekends are such gaps: the
//! longest that occurred is taken as usual, unless it stands alone and far above the rest, as one outage does. Until two
//! weekends were seen, three days are always borne. Promises: nothing is said of a mailbox of which little is known.

use jiff::{SignedDuration, Timestamp};

/// Arrivals (of different ten minutes) without which nothing is said.
const EVIDENCE: usize = 20;
/// The days that they must span.
const SPAN: SignedDuration = SignedDuration::from_hours(5 * 24);
/// From this span on weekends were seen.
const WEEKENDS: SignedDuration = SignedDuration::from_hours(14 * 24);
/// What is always borne: before weekends were seen, and from then on.
const EARLY: SignedDuration = SignedDuration::from_hours(72);
const LEAST: SignedDuration = SignedDuration::from_hours(6);
/// Who is usually away for longer isn't regular.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// An outage of our own may have kept mail away; forwarders try again within hours.
const AFTER_START: SignedDuration = SignedDuration::from_hours(6);

/// What is usual for a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// Between two arrivals, in the middle.
    pub interval: SignedDuration,
    /// A longer gap is silence.
    pub borne: SignedDuration,
}

/// What these arrivals, oldest first, make usual; none when they are too few or too irregular.
#[must_use]
pub fn usual(times: &[Timestamp]) -> Option<Usual> {
    let span = times.last()?.duration_since(*times.first()?);
    if times.len() < EVIDENCE || span < SPAN {
        return None;
    }
    let next = times.iter().skip(1);
    let mut gaps: Vec<SignedDuration> =
        times.iter().zip(next).map(|(one, next)| next.duration_since(*one)).collect();
    gaps.sort_unstable();
    let interval = *gaps.get(gaps.len() / 2)?;
    let [.., second, first] = gaps.as_slice() else { return None };
    // One gap that is three times the next is an outage, not a habit.
    let longest = if *first > second.saturating_mul(3) { *second } else { *first };
    if longest > LONGEST {
        return None;
    }
    let least = if span < WEEKENDS { EARLY } else { LEAST };
    let half = SignedDuration::from_secs(longest.as_secs() / 2);
    Some(Usual { interval, borne: longest.saturating_add(half).max(interval.saturating_mul(6)).max(least) })
}

/// Whether a mailbox is silent at `now`, and what was usual; `listening_since`: when the daemon was started.
#[must_use]
pub fn is_silent(
    times: &[Timestamp],
    last: Timestamp,
    listening_since: Timestamp,
    now: Timestamp,
) -> Option<Usual> {
    let usual = usual(times)?;
    let listened = now.duration_since(listening_since) >= AFTER_START;
    (listened && now.duration_since(last) > usual.borne).then_some(usual)
}

/// What parts the events about a mailbox from others: they are posted one after the other.
#[must_use]
pub fn conversation(mailbox: &str) -> String {
    format!("mailbox {mailbox}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        // A Monday, midnight.
        Timestamp::from_second(1_795_392_000 + hours * 3_600).unwrap()
    }

    /// Mail each hour from 9 to 18 on working days of so many weeks.
    fn office(weeks: i64) -> Vec<Timestamp> {
        let days = (0..weeks * 7).filter(|day| day % 7 < 5);
        days.flat_map(|day| (9..=18).map(move |hour| at(day * 24 + hour))).collect()
    }

    fn silence_begins(times: &[Timestamp]) -> Option<i64> {
        let last = *times.last()?;
        (0..2_000)
            .find(|hours| is_silent(times, last, at(0), last + SignedDuration::from_hours(*hours)).is_some())
    }

    #[test]
    fn nights_and_weekends_are_no_silence_and_a_longer_one_is() {
        let times = office(4);
        for end in 20..=times.len() {
            let known = &times[..end];
            let last = *known.last().unwrap();
            let next = times.get(end).copied().unwrap_or(last);
            assert_eq!(is_silent(known, last, at(0), next), None, "at {next}");
        }
        // From Friday 18 h to Monday 9 h are 63 hours.
        assert_eq!(silence_begins(&times), Some(63 + 31 + 1), "half of it more is borne");
        let usual = usual(&times).unwrap();
        assert_eq!(usual.interval, SignedDuration::from_hours(1));
    }

    #[test]
    fn a_busy_mailbox_is_missed_after_hours() {
        let times: Vec<Timestamp> = (0..28 * 24).map(at).collect();
        assert_eq!(silence_begins(&times), Some(7));
    }

    #[test]
    fn little_evidence_says_nothing_and_a_young_one_bears_a_weekend() {
        let times: Vec<Timestamp> = (0..10).map(|day| at(day * 24)).collect();
        assert_eq!(usual(&times), None, "ten mails");
        let times: Vec<Timestamp> = (0..100).map(at).collect();
        assert_eq!(usual(&times), None, "four days");
        assert_eq!(silence_begins(&office(1)[..50]), None, "five days, less than 120 hours");
        let times: Vec<Timestamp> = (0..6 * 24).map(at).collect();
        assert_eq!(silence_begins(&times), Some(73));
        let rare: Vec<Timestamp> = (0..30).map(|week| at(week * 24 * 9)).collect();
        assert_eq!(usual(&rare), None, "each ninth day is nothing to rely on");
    }

    #[test]
    fn one_outage_doesnt_make_outages_usual() {
        let mut times: Vec<Timestamp> = (0..14 * 24).map(at).collect();
        times.extend((20 * 24..34 * 24).map(at));
        assert_eq!(silence_begins(&times), Some(7));
    }

    #[test]
    fn our_own_absence_is_no_silence() {
        let times: Vec<Timestamp> = (0..28 * 24).map(at).collect();
        let (last, now) = (at(28 * 24 - 1), at(29 * 24));
        assert_eq!(is_silent(&times, last, at(29 * 24 - 5), now), None);
        assert!(is_silent(&times, last, at(29 * 24 - 6), now).is_some());
    }
}
