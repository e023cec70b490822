//! What a lane was taught by its smarthost while it runs: fewer connections at once, or fewer recipients in one
//! transaction, than we would use, no BDAT, or no long lines; and what it said last that it takes. Pure; time is an argument; a reload or restart forgets it.

use super::guests::Offers;
use jiff::{SignedDuration, Timestamp};

/// How long until one connection more is tried again.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Limits that nobody configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// Connections that were open when one more was refused, and when that was.
    connections: Option<(usize, Timestamp)>,
    /// Recipients that were taken when one more was too many.
    recipients: Option<usize>,
    /// What it said last.
    offers: Option<Offers>,
    /// It lists CHUNKING and doesn't know BDAT.
    refuses_chunks: bool,
    /// It refused a message for the length of its lines.
    refuses_long_lines: bool,
    /// When it last refused a connection beside others without a word on their number.
    suspected: Option<Timestamp>,
}

impl Learned {
    /// The smarthost refused a connection beside `open` others; whether that shows a limit. It does where its reply
    /// says so, or where it does it again within ten minutes.
    pub fn refused_beside(&mut self, open: usize, says_so: bool, now: Timestamp) -> bool {
        let before = self.suspected.replace(now);
        let again = before.is_some_and(|before| now.duration_since(before) < PATIENCE);
        if says_so || again {
            self.connections = Some((open.max(1), now));
        }
        says_so || again
    }

    /// The smarthost said what it takes.
    pub fn offered(&mut self, offers: Offers) {
        self.offers = Some(offers);
    }

    /// What the smarthost said last.
    #[must_use]
    pub fn offers(&self) -> Option<Offers> {
        self.offers
    }

    /// The smarthost doesn't know BDAT, whatever it lists.
    pub fn refused_chunks(&mut self) {
        self.refuses_chunks = true;
    }

    /// Whether BDAT may be used where it is listed.
    #[must_use]
    pub fn takes_chunks(&self) -> bool {
        !self.refuses_chunks
    }

    /// The smarthost doesn't take lines of more than 998 octets; whether that is news.
    pub fn refused_long_lines(&mut self) -> bool {
        !std::mem::replace(&mut self.refuses_long_lines, true)
    }

    /// Whether lines may be as long as they are.
    #[must_use]
    pub fn takes_long_lines(&self) -> bool {
        !self.refuses_long_lines
    }

    /// The smarthost took `taken` recipients in one transaction and no more.
    pub fn took(&mut self, taken: usize) {
        self.recipients = Some(taken.max(1));
    }

    /// Connections that may be open: as configured, or as learnt and one more for each ten minutes since.
    #[must_use]
    pub fn connections(&self, configured: usize, now: Timestamp) -> usize {
        let Some((open, at)) = self.connections else { return configured };
        let passed = now.duration_since(at).as_secs() / PATIENCE.as_secs();
        open.saturating_add(usize::try_from(passed).unwrap_or(0)).min(configured)
    }

    /// The most recipients of one transaction, if that was learnt.
    #[must_use]
    pub fn recipients(&self) -> Option<usize> {
        self.recipients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_counts_for_a_while() {
        let at = |minutes: i64| Timestamp::from_second(1_795_000_000 + minutes * 60).unwrap();
        let mut learned = Learned::default();
        assert_eq!(learned.connections(5, at(0)), 5);
        assert!(learned.refused_beside(2, true, at(0)));
        let most: Vec<usize> =
            [-60, 0, 9, 10, 20, 30, 1000].map(|minutes| learned.connections(5, at(minutes))).into();
        assert_eq!(most, [2, 2, 2, 3, 4, 5, 5]);
        assert!(learned.refused_beside(0, true, at(0)));
        assert_eq!(learned.connections(5, at(0)), 1, "never none");
    }

    #[test]
    fn one_that_says_nothing_of_others_counts_when_it_comes_again_soon() {
        let at = |minutes: i64| Timestamp::from_second(1_795_000_000 + minutes * 60).unwrap();
        let mut learned = Learned::default();
        assert!(!learned.refused_beside(2, false, at(0)));
        assert!(!learned.refused_beside(2, false, at(10)));
        assert_eq!(learned.connections(5, at(10)), 5);
        assert!(learned.refused_beside(2, false, at(19)));
        assert_eq!(learned.connections(5, at(19)), 2);
    }

    #[test]
    fn recipients_are_as_many_as_were_taken() {
        let mut learned = Learned::default();
        assert_eq!(learned.recipients(), None);
        learned.took(10);
        assert_eq!(learned.recipients(), Some(10));
    }
}
