//! The limits against an oracle so simple that it can't be wrong: a list of what a smarthost took, and when.
//!
//! Random lives of a lane in virtual time, thousands of days of them: mail comes in, is claimed, is taken, refused or
//! neither knows, slowly or at once; the process is killed; the wall clock is set. By the smarthost's own clock no
//! window ever holds more than its limit, and nothing waits for ever.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use waystation::message::envelope::Class;
use waystation::queue::ledger::{Ledger, Moment, Sent};
use waystation::queue::limits::{Count, Day, Limits, Mixed, Rule, Span, Units};

/// 2026-10-20, so that the end of summer time in Europe comes early in every life.
const START: i64 = 1_792_447_200_000;
const DAY: i64 = 86_400_000;

/// One step of a lane's life.
#[derive(Debug, Clone)]
enum Step {
    /// So many messages with so many recipients each come in.
    Keep {
        class: usize,
        messages: u64,
        recipients: u64,
    },
    /// As much is claimed as the limits allow, but no more than so many messages.
    Claim {
        most: usize,
    },
    /// The smarthost takes one of those claimed; what is told of it comes later.
    Take {
        which: usize,
    },
    /// An attempt is over: what the smarthost took counts; what it didn't goes back.
    Settle {
        which: usize,
    },
    /// An attempt is over, and nobody knows.
    Lose {
        which: usize,
    },
    Wait {
        ms: i64,
    },
    Crash,
    SetClock {
        by_ms: i64,
    },
    Tidy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 1..40_u64, prop_oneof![4 => Just(1_u64), 1 => 2..30_u64])
            .prop_map(|(class, messages, recipients)| Step::Keep { class, messages, recipients }),
        12 => (1..12_usize).prop_map(|most| Step::Claim { most }),
        12 => any::<usize>().prop_map(|which| Step::Take { which }),
        14 => any::<usize>().prop_map(|which| Step::Settle { which }),
        1 => any::<usize>().prop_map(|which| Step::Lose { which }),
        8 => (0..60_000_i64).prop_map(|ms| Step::Wait { ms }),
        4 => (0..DAY / 4).prop_map(|ms| Step::Wait { ms }),
        1 => (0..4 * DAY).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Crash),
        1 => (-400 * DAY..400 * DAY).prop_map(|by_ms| Step::SetClock { by_ms }),
        2 => Just(Step::Tidy),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let some = |most: std::ops::Range<u64>| proptest::option::of(most);
    let day = prop_oneof![
        Just(Day::Rolling),
        Just(Day::Calendar(TimeZone::get("Europe/Warsaw").unwrap())),
        Just(Day::Calendar(TimeZone::get("America/Santiago").unwrap())),
        Just(Day::Calendar(TimeZone::get("Australia/Lord_Howe").unwrap())),
    ];
    let batch = proptest::option::of((1_000..7_200_000_u64, 1..6_u64));
    (some(1..9), some(1..60), some(2..200), some(2..900), any::<bool>(), day, any::<u64>(), batch).prop_map(
        |(per_minute, per_hour, per_day, per_month, by_message, day, reserve, batch)| Limits {
            per_minute,
            per_hour,
            per_day,
            per_month,
            count: if by_message { Count::Messages } else { Count::Recipients },
            day,
            priority_reserve: per_day.map_or(0, |day| reserve % day),
            batch: batch.map(|(ms, most)| (Duration::from_millis(ms), most)),
            known: Vec::new(),
        },
    )
}

/// Something claimed.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    class: Class,
    units: Units,
    taken: bool,
}

/// Something that the smarthost took.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// True time.
    at: i64,
    class: Class,
    units: Units,
}

struct World {
    limits: Limits,
    rules: Vec<Rule>,
    /// True time, and what the wall clock is ahead of it.
    now: i64,
    ahead: i64,
    was_set: bool,
    ledger: Ledger,
    /// What the index would hold.
    rows: BTreeMap<i64, Sent>,
    waiting: [Vec<u64>; 3],
    flying: Vec<Attempt>,
    taken: Vec<Taken>,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            rules: limits.rules(),
            limits,
            now: START,
            ahead: 0,
            was_set: false,
            ledger: Ledger::default(),
            rows: BTreeMap::new(),
            waiting: Default::default(),
            flying: Vec::new(),
            taken: Vec::new(),
        }
    }

    fn moment(&self) -> Moment {
        Moment { at: self.now, wall: self.now + self.ahead }
    }

    fn in_flight(&self) -> Mixed {
        self.flying.iter().fold(Mixed::default(), |sum, attempt| Mixed {
            all: sum.all.plus(attempt.units),
            priority: if attempt.class == Class::Priority {
                sum.priority.plus(attempt.units)
            } else {
                sum.priority
            },
        })
    }

    fn record(&mut self, units: Units, class: Class) {
        let moment = self.moment();
        let row = self.rows.entry(self.ledger.slot(moment)).or_default();
        row.at = self.ledger.slot(moment);
        row.wall = row.wall.max(moment.wall);
        row.all = row.all.plus(units);
        if class == Class::Priority {
            row.priority = row.priority.plus(units);
        }
        self.ledger.record(moment, units, class);
    }

    /// Claims what is allowed; how many messages.
    fn claim(&mut self, most: usize) -> usize {
        let mut claimed = 0;
        for (class, index) in Class::ALL.into_iter().zip(0..) {
            while claimed < most && !self.waiting[index].is_empty() {
                let allowance = self.ledger.allowance(&self.rules, self.moment(), self.in_flight(), class);
                let open = self.waiting[index].remove(0);
                let part = allowance.part_of(usize::try_from(open).unwrap()) as u64;
                if open > part {
                    self.waiting[index].insert(0, open - part);
                }
                if part == 0 {
                    break;
                }
                self.flying.push(Attempt { class, units: Units::message(part), taken: false });
                claimed += 1;
            }
        }
        claimed
    }

    fn take(&mut self, which: usize) {
        let now = self.now;
        if let Some(attempt) = self.flying.iter_mut().filter(|attempt| !attempt.taken).nth(which) {
            attempt.taken = true;
            let Attempt { class, units, .. } = *attempt;
            self.taken.push(Taken { at: now, class, units });
        }
    }

    fn settle(&mut self, which: usize, known: bool) {
        if self.flying.is_empty() {
            return;
        }
        let attempt = self.flying.remove(which % self.flying.len());
        if attempt.taken || !known {
            self.record(attempt.units, attempt.class);
        }
        if !attempt.taken {
            self.waiting[attempt.class as usize].push(attempt.units.recipients);
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Keep { class, messages, recipients } => {
                for _ in 0..messages {
                    self.waiting[class].push(recipients);
                }
            }
            Step::Claim { most } => {
                self.claim(most);
            }
            Step::Take { which } => self.take(which % self.flying.len().max(1)),
            Step::Settle { which } => self.settle(which, true),
            Step::Lose { which } => self.settle(which, false),
            Step::Wait { ms } => self.now += ms,
            Step::Crash => {
                self.ledger = Ledger::of(self.rows.values().copied().collect());
                while !self.flying.is_empty() {
                    self.settle(0, false);
                }
            }
            Step::SetClock { by_ms } => {
                // Which calendar day it is depends on the wall clock: that is told apart, by the ledger's own tests.
                if self.limits.day == Day::Rolling {
                    self.ahead += by_ms;
                    self.was_set = true;
                }
            }
            Step::Tidy => {
                let (gone, changed) = self.ledger.tidy(self.moment());
                for at in gone {
                    self.rows.remove(&at);
                }
                for row in changed {
                    self.rows.insert(row.at, row);
                }
            }
        }
    }

    /// Everything that waits goes, in the end, and each time when the forecast says.
    fn drain(&mut self) {
        while let Some(index) = (0..3).find(|index| !self.waiting[*index].is_empty()) {
            let class = Class::ALL[index];
            let one = Units::message(1);
            let wait = self.ledger.wait(&self.rules, self.moment(), Mixed::default(), class, one);
            assert!(wait < 70 * DAY, "starved: {wait} ms for {class:?} by {:?}", self.limits);
            self.now += wait;
            let claimed = self.claim(1_000);
            assert!(claimed > 0, "the forecast was too early by {:?}", self.limits);
            for _ in 0..claimed {
                self.take(0);
            }
            while !self.flying.is_empty() {
                self.settle(0, true);
            }
        }
    }

    /// No window of what the smarthost took holds more than it may, and the other classes leave the reserve alone.
    fn judge(&self) {
        for rule in &self.rules {
            let counted = |taken: &Taken| taken.units.counted(rule.count);
            for (first, from) in self.taken.iter().enumerate() {
                let inside = |taken: &&Taken| match &rule.span {
                    Span::Rolling(span) => taken.at < from.at + span,
                    Span::Day(zone) => taken.at < end(zone, from.at, false),
                    Span::Month(zone) => taken.at < end(zone, from.at, true),
                };
                let window: Vec<&Taken> = self.taken[first..].iter().take_while(inside).collect();
                let all: u64 = window.iter().map(|taken| counted(taken)).sum();
                assert!(all <= rule.most, "{all} of {} in a window of {}", rule.most, rule.name);
                let others = window.iter().filter(|taken| taken.class != Class::Priority);
                let others: u64 = others.map(|taken| counted(taken)).sum();
                assert!(others <= rule.most - rule.reserve, "{others} of others in {}", rule.name);
            }
        }
    }
}

/// When the calendar day or month ends.
fn end(zone: &TimeZone, at: i64, month: bool) -> i64 {
    let now = Timestamp::from_millisecond(at).unwrap().to_zoned(zone.clone());
    let first = if month { now.first_of_month().unwrap() } else { now };
    let next = first.start_of_day().unwrap();
    let next = if month { next.checked_add(1.month()) } else { next.checked_add(1.day()) };
    next.unwrap().start_of_day().unwrap().timestamp().as_millisecond()
}

static DAYS: AtomicI64 = AtomicI64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100), max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_than_its_limit_and_nothing_waits_for_ever(
        limits in limits(),
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let mut world = World::new(limits);
        for step in &steps {
            world.run(step);
        }
        while !world.flying.is_empty() {
            world.settle(0, true);
        }
        world.drain();
        world.judge();
        DAYS.fetch_add((world.now - START) / DAY, Ordering::Relaxed);
        TAKEN.fetch_add(world.taken.len() as u64, Ordering::Relaxed);
        eprintln!("limits: {} days, {} messages so far", DAYS.load(Ordering::Relaxed), TAKEN.load(Ordering::Relaxed));
    }
}
