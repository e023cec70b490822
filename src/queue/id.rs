//! Names: of messages (time-ordered, never reused) and of lanes.
//!
//! A [`QueueId`] is 44 bits of milliseconds since 1970 and 20 bits of counting, so that sorting by id is sorting
//! by age and the journal can be pruned by a range. It is shown as 13 lower-case characters of Crockford's base32.

use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Crockford's alphabet: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Bits that count within one millisecond.
const COUNTER_BITS: u32 = 20;
/// Characters of a shown id: 13 × 5 = 65 bits.
const SHOWN: usize = 13;

/// A message's name in the queue, the journal and every reply: time-ordered, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

impl QueueId {
    /// The smallest id of a message received at `time`: the border for pruning and for "since".
    #[must_use]
    pub fn first_at(time: Timestamp) -> Self {
        Self(u64::try_from(time.as_millisecond()).unwrap_or(0) << COUNTER_BITS)
    }

    /// When it was given out, to the millisecond (later than the clock's time if ids ran ahead of a clock that fell back).
    #[must_use]
    pub fn time(self) -> Timestamp {
        i64::try_from(self.0 >> COUNTER_BITS)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// As the index stores it. Ids of this millennium stay below 2^63.
    #[must_use]
    pub fn to_row(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// From a row of the index.
    #[must_use]
    pub fn from_row(row: i64) -> Self {
        Self(u64::try_from(row).unwrap_or(0))
    }

    /// As a number.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = (0..SHOWN)
            .rev()
            .filter_map(|place| {
                let five = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or(0);
                ALPHABET.get(five).map(|&letter| char::from(letter))
            })
            .collect();
        f.pad(&shown)
    }
}

/// A text that is no queue id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue id has 13 letters and digits, none of them i, l, o or u")]
pub struct NotAnId;

impl FromStr for QueueId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != SHOWN {
            return Err(NotAnId);
        }
        text.bytes()
            .try_fold(0_u64, |bits, byte| {
                let five = ALPHABET.iter().position(|&letter| letter == byte.to_ascii_lowercase())?;
                bits.checked_mul(32)?.checked_add(u64::try_from(five).ok()?)
            })
            .map(Self)
            .ok_or(NotAnId)
    }
}

impl<'de> serde::Deserialize<'de> for QueueId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for QueueId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Gives out ids: each greater than the last, and not behind the clock.
#[derive(Debug)]
pub(super) struct Ids(AtomicU64);

impl Ids {
    /// Goes on behind `last`.
    pub(super) fn after(last: QueueId) -> Self {
        Self(AtomicU64::new(last.0))
    }

    /// The next one.
    pub(super) fn next(&self, now: Timestamp) -> QueueId {
        let clock = QueueId::first_at(now).0;
        let step = |last: u64| (last + 1).max(clock);
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(step(last)));
        QueueId(step(last.unwrap_or_else(|last| last)))
    }

    /// The last one given out.
    pub(super) fn last(&self) -> QueueId {
        QueueId(self.0.load(Ordering::Relaxed))
    }
}

/// The queue of one smarthost, by that smarthost's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneName(Arc<str>);

impl LaneName {
    /// A lane of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for LaneName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::new(&<std::borrow::Cow<'de, str>>::deserialize(from)?))
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for LaneName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl serde::Serialize for LaneName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn ids_never_fall_back_with_the_clock() {
        let ids = Ids::after(QueueId(0));
        let first = ids.next(at(1_000));
        let second = ids.next(at(1_000));
        let earlier = ids.next(at(10));
        assert!(first < second && second < earlier);
        assert_eq!(first.time(), at(1_000));
        assert_eq!(earlier.time(), at(1_000));
        assert!(ids.next(at(1_001)).time() == at(1_001));
    }

    #[test]
    fn shown_ids_sort_as_the_ids_do_and_read_back_in_either_case() {
        let ids = Ids::after(QueueId(0));
        let some: Vec<QueueId> = (0..2_000).map(|ms| ids.next(at(1_795_000_000_000 + ms / 3))).collect();
        let shown: Vec<String> = some.iter().map(QueueId::to_string).collect();
        assert!(shown.is_sorted() && shown.iter().all(|id| id.len() == SHOWN));
        let upper = shown[7].to_uppercase();
        assert_eq!(upper.parse(), Ok(some[7]));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "il0000000000o", "00000000000000", "zzzzzzzzzzzzz", "1ä34567890ab"] {
            assert_eq!(text.parse::<QueueId>(), Err(NotAnId), "{text}");
        }
    }
}
