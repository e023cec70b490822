//! What a lane was taught by its smarthost while it runs: fewer connections at once, or fewer recipients in one
//! transaction, than we would use, no BDAT, or no long lines; at which of its addresses it doesn't do its work; and what it said last that it takes. Pure; time is an argument; a
//! reload or restart forgets it.

use super::guests::Offers;
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;

/// How long until one connection more is tried again.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// How long an address that took a connection and did nothing with it comes behind the others, and how many are remembered.
const AVOIDED_FOR: SignedDuration = SignedDuration::from_mins(10);
const MAX_AVOIDED: usize = 16;

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
    /// Addresses that took a connection and no message, and when; the latest last.
    avoided: Vec<(IpAddr, Timestamp)>,
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

    /// A connection to this address ended before anything was sent over it: a racing look-up would choose it again and again.
    pub fn failed_at(&mut self, address: IpAddr, now: Timestamp) {
        self.worked_at(address);
        if self.avoided.len() == MAX_AVOIDED {
            self.avoided.remove(0);
        }
        self.avoided.push((address, now));
    }

    /// A connection to this address is ready for mail.
    pub fn worked_at(&mut self, address: IpAddr) {
        self.avoided.retain(|(avoided, _)| *avoided != address);
    }

    /// Addresses that others come before: who failed longest ago, first.
    #[must_use]
    pub fn avoided(&self, now: Timestamp) -> Vec<IpAddr> {
        let counts = |at: &Timestamp| now.duration_since(*at) < AVOIDED_FOR;
        self.avoided.iter().filter(|(_, at)| counts(at)).map(|(address, _)| *address).collect()
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

    #[test]
    fn an_address_that_failed_comes_behind_the_others_for_a_while_or_until_it_works() {
        let at = |minutes: i64| Timestamp::from_second(1_795_000_000 + minutes * 60).unwrap();
        let [one, two] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut learned = Learned::default();
        learned.failed_at(one, at(0));
        learned.failed_at(two, at(1));
        assert_eq!(learned.avoided(at(2)), [one, two]);
        learned.failed_at(one, at(3));
        assert_eq!(learned.avoided(at(3)), [two, one], "they take turns");
        assert_eq!(learned.avoided(at(11)), [one]);
        learned.worked_at(one);
        assert_eq!(learned.avoided(at(4)), [two]);
        (0..100).for_each(|last| learned.failed_at(IpAddr::from([198, 51, 100, last]), at(5)));
        assert_eq!(learned.avoided(at(5)).len(), MAX_AVOIDED);
    }
}
