//! While the disk refuses: when the next try is due, and whether one more refusal is worth a line of the log.

use std::time::{Duration, Instant};

/// From a refusal to the next try.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// Between two lines of the log that say the same.
const QUIET: Duration = Duration::from_secs(10);

/// What is remembered of refusals.
#[derive(Debug, Default)]
pub(super) struct Patience {
    refused: Option<Instant>,
    told: Option<Instant>,
}

impl Patience {
    /// The disk refused; true when that should be told.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.refused = Some(now);
        let is_news = self.told.is_none_or(|told| now.duration_since(told) >= QUIET);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    /// The disk took something.
    pub(super) fn took(&mut self) {
        self.refused = None;
    }

    /// How long to rest before the next try; none when nothing stands in its way.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let left = RETRY.saturating_sub(now.duration_since(self.refused?));
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_behind_each_refusal_and_tells_one_in_ten_seconds() {
        let (start, mut patience) = (Instant::now(), Patience::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(patience.rest(at(0)), None);
        let told: Vec<bool> =
            [0, 250, 9_999, 10_000, 10_250, 20_000].map(|ms| patience.refused(at(ms))).into();
        assert_eq!(told, [true, false, false, true, false, true]);
        assert_eq!(patience.rest(at(20_100)), Some(Duration::from_millis(150)));
        assert_eq!(patience.rest(at(20_250)), None);
        assert!(!patience.refused(at(21_000)));
        patience.took();
        assert_eq!(patience.rest(at(21_000)), None);
        assert!(!patience.refused(at(21_001)), "a disk that takes one write in two fills no log either");
    }
}
