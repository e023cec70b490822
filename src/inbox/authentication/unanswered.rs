//! Names that one message asks DNS for, and domains that lately let us wait for nothing.
//!
//! Senders choose whose DNS is asked for their mail, and may choose such as says nothing. Nothing is kept from being
//! asked for that: a name that wasn't answered lately is waited for [briefly](BRIEF), which is enough for most that answer at
//! all, and so is one below it, or one of many that somebody makes up in a domain of which no other is found. So neither a lost datagram nor a stranger who names a dead corner of somebody else's domain hides what its DNS says.
//! What is unknown for want of time is unknown as if DNS hadn't answered: nothing is believed for it.

use super::Records;
use mail_auth::{RecordSet, ResolverCache, Txt};
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A name that takes so long without an answer isn't waited for any more, nor is any below it.
const LONG: Duration = Duration::from_millis(800);
/// How long such a name is waited for.
const BRIEF: Duration = Duration::from_millis(300);
/// Then one mail waits for it as for any other.
const REMEMBERED: Duration = Duration::from_secs(30);
/// So many names of a domain without an answer are made up, and stand for all of it …
const SEVERAL: u32 = 4;
/// … unless one of it was found in this time.
const ALIVE: Duration = Duration::from_mins(10);
/// Names and domains that are remembered.
const MOST: usize = 4096;

/// Names that had no answer.
#[derive(Default)]
pub(super) struct Unanswered(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Since when they aren't waited for, nor those below them.
    silent: HashMap<String, Instant>,
    domains: HashMap<String, Heard>,
}

/// What was heard of a domain.
#[derive(Clone, Copy)]
struct Heard {
    /// Names of it in a row that had no answer.
    unanswered: u32,
    /// When that changed last.
    at: Instant,
}

impl Unanswered {
    /// How a name is worth waiting for.
    fn worth(&self, name: &str, now: Instant) -> Worth {
        let mut known = self.0.lock();
        let mut worth = Worth::Waiting;
        for name in upwards(name) {
            match known.silent.get_mut(name) {
                None => {}
                Some(since) if now.duration_since(*since) < REMEMBERED => return Worth::Little,
                Some(since) => {
                    *since = now;
                    worth = Worth::Trying;
                }
            }
        }
        worth
    }

    fn remember(&self, name: &str, now: Instant) {
        let mut known = self.0.lock();
        known.make_room(now);
        let is_new = known.note(name, now);
        let domain = domain(name);
        if !is_new || domain == name {
            return;
        }
        let before = known.domains.get(domain).copied();
        let before = before.filter(|heard| {
            now.duration_since(heard.at) < if heard.unanswered == 0 { ALIVE } else { REMEMBERED }
        });
        match before {
            Some(Heard { unanswered: 0, .. }) => {}
            Some(Heard { unanswered, .. }) if unanswered + 1 >= SEVERAL => _ = known.note(domain, now),
            before => {
                let unanswered = before.map_or(0, |heard| heard.unanswered) + 1;
                known.hear(domain, Heard { unanswered, at: now });
            }
        }
    }

    /// There is an answer for this name.
    fn found(&self, name: &str, now: Instant) {
        let mut known = self.0.lock();
        for name in upwards(name) {
            known.silent.remove(name);
        }
        known.make_room(now);
        known.hear(domain(name), Heard { unanswered: 0, at: now });
    }
}

impl Known {
    fn make_room(&mut self, now: Instant) {
        if self.silent.len() >= MOST {
            self.silent.retain(|_, since| now.duration_since(*since) < REMEMBERED);
        }
        if self.domains.len() >= MOST {
            self.domains.retain(|_, heard| now.duration_since(heard.at) < ALIVE);
        }
    }

    /// Whether it is news.
    fn note(&mut self, name: &str, now: Instant) -> bool {
        if self.silent.len() >= MOST && !self.silent.contains_key(name) {
            return false;
        }
        self.silent.insert(name.to_owned(), now).is_none()
    }

    fn hear(&mut self, domain: &str, heard: Heard) {
        if self.domains.len() < MOST || self.domains.contains_key(domain) {
            self.domains.insert(domain.to_owned(), heard);
        }
    }
}

/// A name, and those that it is below, up to its domain.
fn upwards(name: &str) -> impl Iterator<Item = &str> {
    let least = domain(name).len();
    let above = |name: &str| name.find('.').map(|dot| dot + 1);
    std::iter::successors(Some(name), move |name| name.get(above(name)?..))
        .take_while(move |name| name.len() >= least)
}

/// How a name is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Waiting,
    /// Nobody answered for it lately.
    Little,
    /// Nobody did a while ago: whoever hears this waits, and finds out for all others, who don't.
    Trying,
}

/// What one check of a message asks for, one name after the other. It stands where mail-auth looks for what it knows
/// already, which is how it hears of each name.
pub(super) struct Asking<'a> {
    records: &'a Records,
    unanswered: &'a Unanswered,
    client: Option<IpAddr>,
    /// Whether names are waited for whatever is remembered of their domains.
    is_patient: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: Option<Asked>,
    /// Names that took long and weren't found.
    slow: Vec<String>,
}

/// A name that is being asked for.
struct Asked {
    name: String,
    at: Instant,
    worth: Worth,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        records: &'a Records,
        unanswered: &'a Unanswered,
        client: Option<IpAddr>,
        is_patient: bool,
    ) -> Self {
        Self { records, unanswered, client, is_patient, state: Mutex::default() }
    }

    /// Does a part of the check, and waits neither beyond `until` nor for a name longer than it is worth.
    pub(super) async fn within<T>(&self, until: Instant, part: impl Future<Output = T>) -> Option<T> {
        let mut part = pin!(part);
        let mut end = pin!(sleep_until(until));
        let done = poll_fn(|context| {
            if let Poll::Ready(done) = part.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let until = self.gives_up().map_or(until, |brief| brief.min(until));
            if end.deadline() != until {
                end.as_mut().reset(until);
            }
            end.as_mut().poll(context).map(|()| None)
        });
        let done = done.await;
        self.is_through(false);
        done
    }

    /// A name is asked for, and the one before is through.
    pub(super) fn asks(&self, name: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.is_through(false);
        let at = Instant::now();
        let worth = if self.is_patient { Worth::Waiting } else { self.unanswered.worth(&name, at) };
        self.state.lock().asked = Some(Asked { name, at, worth });
    }

    /// DNS kept something of the message from being known: what took long is to blame for it.
    pub(super) fn failed(&self) {
        for name in self.state.lock().slow.drain(..) {
            self.unanswered.remember(&name, Instant::now());
        }
    }

    fn is_through(&self, is_found: bool) {
        let mut state = self.state.lock();
        let Some(Asked { name, at, worth }) = state.asked.take() else { return };
        if is_found || worth == Worth::Trying && at.elapsed() < LONG {
            self.unanswered.found(&name, Instant::now());
        } else if at.elapsed() >= LONG {
            state.slow.push(name);
        }
    }

    /// When the name that is being asked for isn't waited for any longer.
    fn gives_up(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.asked.as_ref().filter(|asked| asked.worth == Worth::Little).map(|asked| asked.at + BRIEF)
    }
}

impl ResolverCache<Box<str>, Txt> for Asking<'_> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let known = self.records.get(name);
        if known.is_none() {
            self.asks(&text(name));
        }
        known
    }

    fn remove<Q>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _name: Box<str>, _found: Txt, _until: std::time::Instant) {
        self.is_through(true);
    }
}

/// Other records of a name.
impl<T> ResolverCache<Box<str>, RecordSet<T>> for Asking<'_> {
    fn get<Q>(&self, name: &Q) -> Option<RecordSet<T>>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.asks(&text(name));
        None
    }

    fn remove<Q>(&self, _name: &Q) -> Option<RecordSet<T>>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _name: Box<str>, _found: RecordSet<T>, _until: std::time::Instant) {
        self.is_through(true);
    }
}

/// The names of an address; the client's is the only one that is asked for.
impl ResolverCache<IpAddr, RecordSet<Box<str>>> for Asking<'_> {
    fn get<Q>(&self, _address: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.asks(&self.client.map(|client| client.to_string().replace('.', "-")).unwrap_or_default());
        None
    }

    fn remove<Q>(&self, _address: &Q) -> Option<RecordSet<Box<str>>>
    where
        IpAddr: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _address: IpAddr, _found: RecordSet<Box<str>>, _until: std::time::Instant) {
        self.is_through(true);
    }
}

/// The domain that somebody registered a name in, or nearly: names made up under it count together. Without a list of
/// suffixes, two labels are one, and three where the second is as short as that of `co.uk`.
fn domain(name: &str) -> &str {
    let mut labels = name.rsplit('.');
    let (last, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let count = if last.len() == 2 && second.len() <= 3 { 3 } else { 2 };
    let start = name.rmatch_indices('.').nth(count - 1).map_or(0, |(dot, _)| dot + 1);
    name.get(start..).unwrap_or_default()
}

/// The text of a name of which nothing is known but that it hashes as its text does (`Borrow`).
fn text<Q: Hash + ?Sized>(name: &Q) -> String {
    struct Octets(Vec<u8>);
    impl Hasher for Octets {
        fn write(&mut self, octets: &[u8]) {
            self.0.extend_from_slice(octets);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut octets = Octets(Vec::new());
    name.hash(&mut octets);
    // No text holds the octet that ends it.
    String::from_utf8_lossy(octets.0.strip_suffix(b"\xff").unwrap_or(&octets.0)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_up_under_one_domain_count_together() {
        for (name, expected) in [
            ("x1.dead.example", "dead.example"),
            ("_dmarc.x2.dead.example", "dead.example"),
            ("dead.example", "dead.example"),
            ("s1._domainkey.guest.co.uk", "guest.co.uk"),
            ("co.uk", "co.uk"),
            ("mail.guest.es", "guest.es"),
            ("example", "example"),
            ("", ""),
        ] {
            assert_eq!(domain(&text::<str>(name)), expected, "{name}");
        }
    }

    /// Asks for a name that has its answer after so long; whether it was waited for.
    async fn asked(unanswered: &Unanswered, name: &str, is_patient: bool, answer: Duration) -> bool {
        let records = Records::default();
        let asking = Asking::new(&records, unanswered, None, is_patient);
        let part = async {
            let known: Option<Txt> = asking.get(name);
            assert!(known.is_none());
            tokio::time::sleep(answer).await;
            ResolverCache::<_, RecordSet<IpAddr>>::insert(
                &asking,
                name.into(),
                RecordSet { rrset: [].into(), dnssec_status: mail_auth::DnssecStatus::Indeterminate },
                std::time::Instant::now(),
            );
        };
        let is_answered = asking.within(Instant::now() + Duration::from_secs(2), part).await.is_some();
        if !is_answered {
            asking.failed();
        }
        is_answered
    }

    const SOON: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_millis(900);
    const NEVER: Duration = Duration::from_mins(1);

    /// Whether a name was waited for that has its answer after so long, and tenths of a second that this took.
    async fn takes(unanswered: &Unanswered, name: &str, answer: Duration) -> (bool, u128) {
        let begun = Instant::now();
        (asked(unanswered, name, false, answer).await, begun.elapsed().as_millis() / 100)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_answer_is_waited_for_briefly_for_a_while() {
        let unanswered = Unanswered::default();
        assert_eq!(takes(&unanswered, "Dead.example.", NEVER).await, (false, 20));
        assert_eq!(takes(&unanswered, "dead.example.", LATE).await, (false, 3));
        assert_eq!(takes(&unanswered, "_dmarc.dead.example.", LATE).await, (false, 3), "below it");
        assert!(asked(&unanswered, "x.dead.example.", true, LATE).await, "who must know waits");
        assert_eq!(takes(&unanswered, "_dmarc.other.example.", NEVER).await, (false, 20));
        assert_eq!(takes(&unanswered, "other.example.", LATE).await, (true, 9), "above it");
        assert_eq!(
            takes(&unanswered, "_dmarc.other.example.", LATE).await,
            (false, 3),
            "it still says nothing"
        );
        // One finds out for all.
        tokio::time::advance(REMEMBERED).await;
        let first = takes(&unanswered, "_dmarc.other.example.", NEVER);
        let second = async {
            tokio::task::yield_now().await;
            takes(&unanswered, "_dmarc.other.example.", NEVER).await
        };
        assert_eq!(tokio::join!(first, second), ((false, 20), (false, 3)));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(takes(&unanswered, "_dmarc.other.example.", SOON).await, (true, 2));
        assert_eq!(takes(&unanswered, "_dmarc.other.example.", LATE).await, (true, 9), "it answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn names_made_up_in_a_domain_stand_for_it_where_nothing_of_it_is_found() {
        let unanswered = Unanswered::default();
        for number in 0..SEVERAL {
            assert_eq!(takes(&unanswered, &format!("x{number}.dead.example."), NEVER).await, (false, 20));
        }
        assert_eq!(takes(&unanswered, "x9.dead.example.", LATE).await, (false, 3));
        assert_eq!(takes(&unanswered, "x9.dead.example.", SOON).await, (true, 2), "it is asked for");
        assert_eq!(takes(&unanswered, "x8.dead.example.", LATE).await, (true, 9), "and was found");
        // A stranger who names dead corners of a domain that answers.
        assert_eq!(takes(&unanswered, "bank.example.", SOON).await, (true, 2));
        for number in 0..3 * SEVERAL {
            assert_eq!(
                takes(&unanswered, &format!("x{number}.dead.bank.example."), NEVER).await,
                (false, 20)
            );
        }
        assert_eq!(takes(&unanswered, "_dmarc.bank.example.", LATE).await, (true, 9));
        tokio::time::advance(ALIVE).await;
        assert_eq!(takes(&unanswered, "x.dead.bank.example.", NEVER).await, (false, 20));
        assert_eq!(takes(&unanswered, "bank.example.", LATE).await, (true, 9), "one name isn't several");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_took_long_is_no_trouble_where_all_is_known() {
        let unanswered = Unanswered::default();
        let records = Records::default();
        let asking = Asking::new(&records, &unanswered, None, false);
        let until = Instant::now() + Duration::from_secs(5);
        asking
            .within(until, async {
                asking.asks("guest.example.");
                tokio::time::sleep(LONG).await;
            })
            .await;
        assert_eq!(unanswered.worth("guest.example", Instant::now()), Worth::Waiting, "it may not exist");
        asking.failed();
        assert_eq!(unanswered.worth("guest.example", Instant::now()), Worth::Little);
    }

    #[test]
    fn no_more_domains_are_remembered_than_there_is_room_for() {
        let (unanswered, start) = (Unanswered::default(), Instant::now());
        for number in 0..=MOST {
            unanswered.remember(&format!("x{number}.example"), start);
            unanswered.found(&format!("y{number}.example"), start);
        }
        let counts = |unanswered: &Unanswered| {
            let known = unanswered.0.lock();
            (known.silent.len(), known.domains.len())
        };
        assert_eq!(counts(&unanswered), (MOST, MOST));
        unanswered.remember("z.example", start + REMEMBERED);
        unanswered.found("z.example", start + ALIVE);
        assert_eq!(counts(&unanswered), (0, 1), "those of long ago made room");
    }
}
