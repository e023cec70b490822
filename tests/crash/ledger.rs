//! Who acknowledged what, in which life of the daemon.
//!
//! A *life* is what lies between a start and a crash. A message that the smarthost took twice is excused when the
//! first copy was in flight at a crash: each copy belongs to another life, and the journal marks it as a possible
//! duplicate.
//!
//! A 250 that was heard after somebody had begun to unplug the disk counts for nothing: a real power cut takes the
//! daemon along. Here it goes on for some milliseconds, in which ext4 (tried on 6.18, with a program that does
//! nothing but write and sync) answers a sync that falls together with the shutdown with success, and drops the data.

use super::client::Reply;
use super::stand_in::{StandIn, Taken};
use super::station::Station;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// The books, open to all threads.
#[derive(Default)]
pub struct Ledger {
    books: Mutex<Books>,
    changed: Condvar,
}

/// What was written down.
#[derive(Default)]
pub struct Books {
    next: u64,
    /// When each life ended.
    ends: Vec<Instant>,
    /// When each life's disk was unplugged, if it was.
    cuts: BTreeMap<usize, Instant>,
    /// Acknowledged while the disk was being unplugged.
    too_late: usize,
    pub acknowledged: BTreeMap<u64, Acknowledgement>,
    pub arrived: BTreeMap<u64, Vec<Copy>>,
    /// Messages whose content wasn't what was sent.
    pub spoilt: BTreeSet<u64>,
    /// How often each refusal was heard.
    pub refusals: BTreeMap<String, u32>,
    /// Acknowledged and arrived in this life.
    pub of_this_life: (u32, u32),
}

/// A 250 that a client heard.
#[derive(Debug, Clone)]
pub struct Acknowledgement {
    pub id: String,
    life: usize,
    at: Instant,
}

/// A message as the smarthost took it.
#[derive(Debug, Clone)]
pub struct Copy {
    life: usize,
    at: Instant,
    id: String,
}

impl Ledger {
    /// A number that no message had before.
    pub fn next(&self) -> u64 {
        let mut books = self.books.lock();
        books.next += 1;
        books.next
    }

    /// A client got its 250.
    pub fn acknowledge(&self, number: u64, id: &str) {
        let mut books = self.books.lock();
        if books.cuts.contains_key(&books.ends.len()) {
            books.too_late += 1;
            return;
        }
        let acknowledgement =
            Acknowledgement { id: id.to_owned(), life: books.ends.len(), at: Instant::now() };
        books.acknowledged.insert(number, acknowledgement);
        books.of_this_life.0 += 1;
        self.changed.notify_all();
    }

    /// A client got something else.
    pub fn refuse(&self, reply: &Reply) {
        let mut books = self.books.lock();
        let text = format!("{} {}", reply.code, reply.text);
        *books.refusals.entry(text).or_default() += 1;
        self.changed.notify_all();
    }

    /// The smarthost is about to say 250.
    pub fn arrive(&self, taken: &Taken) {
        let mut books = self.books.lock();
        if !taken.whole {
            books.spoilt.insert(taken.number);
        }
        let copy = Copy { life: books.ends.len(), at: Instant::now(), id: taken.id.clone() };
        books.arrived.entry(taken.number).or_default().push(copy);
        books.of_this_life.1 += 1;
        self.changed.notify_all();
    }

    /// The disk is about to be unplugged.
    pub fn cut(&self) {
        let mut books = self.books.lock();
        let life = books.ends.len();
        books.cuts.insert(life, Instant::now());
    }

    /// The daemon is gone; what it had sent to the smarthost is counted first.
    pub fn end_life(&self, smarthost: &StandIn) {
        smarthost.read_to_the_end();
        let mut books = self.books.lock();
        books.ends.push(Instant::now());
        books.of_this_life = (0, 0);
    }

    /// Waits until the books say so; whether they did in time.
    pub fn wait_until(&self, limit: Duration, so: impl Fn(&Books) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut books = self.books.lock();
        while !so(&books) {
            if self.changed.wait_until(&mut books, deadline).timed_out() {
                return so(&books);
            }
        }
        true
    }

    pub fn with<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.books.lock())
    }

    /// Adds the books up. `journal` is asked, by queue id, about messages that arrived twice.
    pub fn verdict(&self, station: &Station) -> Verdict {
        let books = self.books.lock();
        let mut verdict = Verdict {
            cycles: books.ends.len(),
            acknowledged: books.acknowledged.len(),
            arrived: books.arrived.len(),
            lost: books.missing().map(|(number, yes)| books.told(*number, yes)).collect(),
            spoilt: books.spoilt.iter().copied().collect(),
            too_late: books.too_late,
            refusals: books.refusals.clone(),
            ..Verdict::default()
        };
        for (number, copies) in books.arrived.iter().filter(|(_, copies)| copies.len() > 1) {
            verdict.twice += copies.len() - 1;
            let marked = station.may_be_twice(&copies[0].id);
            verdict.marked += usize::from(marked);
            for pair in copies.windows(2) {
                let age = books.ends.get(pair[0].life).map(|end| end.saturating_duration_since(pair[0].at));
                let is_excused = pair[0].life < pair[1].life && marked;
                if let Some(age) = age.filter(|_| is_excused) {
                    verdict.oldest = verdict.oldest.max(age);
                } else {
                    verdict
                        .unexcused
                        .push(format!("{number}: {age:?} before the crash, marked: {marked}: {pair:?}"));
                }
            }
        }
        verdict
    }
}

impl Books {
    /// Acknowledged, and not arrived.
    pub fn missing(&self) -> impl Iterator<Item = (&u64, &Acknowledgement)> {
        self.acknowledged.iter().filter(|(number, _)| !self.arrived.contains_key(number))
    }

    /// An acknowledgement in words.
    fn told(&self, number: u64, yes: &Acknowledgement) -> String {
        let end = self.cuts.get(&yes.life).or(self.ends.get(yes.life));
        let age = end.map(|end| end.saturating_duration_since(yes.at));
        format!("{number} ({}), heard in life {}, {age:?} before its end", yes.id, yes.life)
    }

    pub fn all_arrived(&self) -> bool {
        self.missing().next().is_none()
    }
}

/// The sum.
#[derive(Debug, Default)]
pub struct Verdict {
    pub cycles: usize,
    pub acknowledged: usize,
    pub arrived: usize,
    pub lost: Vec<String>,
    pub spoilt: Vec<u64>,
    pub twice: usize,
    too_late: usize,
    marked: usize,
    oldest: Duration,
    unexcused: Vec<String>,
    refusals: BTreeMap<String, u32>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cycles, acknowledged, arrived, twice, marked, .. } = self;
        write!(f, "cycles={cycles} acknowledged={acknowledged} arrived={arrived} lost={} ", self.lost.len())?;
        if self.unexcused.is_empty() {
            write!(f, "twice={twice} (all in flight at a kill")?;
        } else {
            write!(f, "twice={twice} ({} OF THEM NOT in flight at a kill", self.unexcused.len())?;
        }
        if *twice > 0 {
            write!(f, "; {marked} marked in the journal; taken at most {:?} before it", self.oldest)?;
        }
        write!(f, ")")?;
        if self.too_late > 0 {
            write!(f, " unplugged_meanwhile={}", self.too_late)?;
        }
        if !self.refusals.is_empty() {
            write!(f, " refused={:?}", self.refusals)?;
        }
        Ok(())
    }
}

impl Verdict {
    /// The promise (product §6.2).
    pub fn assert_kept(&self) {
        assert!(self.lost.is_empty(), "acknowledged and never delivered: {:?}\n{self}", self.lost);
        assert!(self.spoilt.is_empty(), "delivered, but not what was sent: {:?}\n{self}", self.spoilt);
        assert!(self.unexcused.is_empty(), "delivered twice without a reason: {:#?}\n{self}", self.unexcused);
    }
}
