//! What a lane has sent, and so what it may send now and when it may send more. Pure; time is an argument.
//!
//! A message counts from the moment it is claimed until a whole window behind the moment its outcome was recorded.
//! Its smarthost took it somewhere in between, so that by the smarthost's own clock no window ever holds more than
//! its limit, however long a transfer takes. What the smarthost didn't take stops counting with its outcome.
//!
//! Windows are measured in time that nobody can set ([`Moment::at`]); a clock that is set forward doesn't empty them.
//! Calendar windows need the wall clock: something counts as today's if either the clock of then or the clock of now
//! says so.
//!
//! Entries are slots of a tenth of a second, of a second and of a minute and half an hour when they are older; a slot
//! counts as if all of it had been sent at its end. So a limit is never exceeded, and used in full with a delay of at
//! most a slot.

use super::drain::{BATCHES, Drain, Flow, MANY_BATCHES, Played};
use super::limits::{Mixed, Rule, Span, Units};
use crate::message::envelope::Class;
use jiff::{Timestamp, ToSpan, Zoned};

/// The length of a fresh slot, in milliseconds.
const SLOT: i64 = 100;
/// From which age on slots are how long, in milliseconds.
const COARSER: [(i64, i64); 3] = [(48 * 3_600_000, 1_800_000), (2 * 3_600_000, 60_000), (2 * 60_000, 1_000)];
/// What is older counts nowhere: longer than any window there is, in milliseconds.
const FORGOTTEN: i64 = 32 * 24 * 3_600_000;
/// No calendar day is longer, in milliseconds.
const LONGEST_DAY: i64 = 26 * 3_600_000;

/// A point in time by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds that nobody sets, over restarts.
    pub at: i64,
    /// Milliseconds since 1970 by the wall clock.
    pub wall: i64,
}

/// What was sent in one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The slot's end.
    pub at: i64,
    /// The same by the wall clock of then.
    pub wall: i64,
    /// All classes together.
    pub all: Units,
    /// Class priority alone.
    pub priority: Units,
}

/// How much may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Messages.
    pub messages: u64,
    /// Recipients, in all of them.
    pub recipients: u64,
}

impl Allowance {
    /// No limit at all.
    pub const UNLIMITED: Self = Self { messages: u64::MAX, recipients: u64::MAX };

    /// What is left when something of it is used.
    #[must_use]
    pub fn without(self, units: Units) -> Self {
        let recipients = self.recipients.saturating_sub(units.recipients);
        let messages = self.messages.saturating_sub(units.messages);
        Self { messages: if recipients == 0 { 0 } else { messages }, recipients }
    }

    /// How many recipients of a message that has so many may be tried.
    #[must_use]
    pub fn part_of(self, recipients: usize) -> usize {
        let most = usize::try_from(self.recipients).unwrap_or(usize::MAX);
        if self.messages == 0 { 0 } else { recipients.min(most) }
    }
}

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What counts now.
    pub used: u64,
    /// What the other classes may still send.
    pub left: u64,
    /// What class priority may still send.
    pub left_for_priority: u64,
}

/// What was sent, oldest first.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: Vec<Sent>,
}

impl Ledger {
    /// A ledger of slots read from the index, oldest first.
    #[must_use]
    pub fn of(sent: Vec<Sent>) -> Self {
        Self { sent }
    }

    /// The slot that something sent now belongs to.
    #[must_use]
    pub fn slot(&self, now: Moment) -> i64 {
        let last = self.sent.last().map_or(i64::MIN, |sent| sent.at);
        slot_end(now.at).max(last)
    }

    /// Records what the smarthost took, or may have taken.
    pub fn record(&mut self, now: Moment, units: Units, class: Class) {
        let at = self.slot(now);
        if self.sent.last().is_none_or(|last| last.at < at) {
            self.sent.push(Sent { at, wall: now.wall, ..Sent::default() });
        }
        let Some(slot) = self.sent.last_mut() else { return };
        slot.wall = slot.wall.max(now.wall);
        slot.all = slot.all.plus(units);
        if class == Class::Priority {
            slot.priority = slot.priority.plus(units);
        }
    }

    /// How a limit stands.
    #[must_use]
    pub fn standing(&self, rule: &Rule, now: Moment, flying: Mixed) -> Standing {
        stands(rule, self.used(rule, now, flying))
    }

    /// What counts by a rule.
    fn used(&self, rule: &Rule, now: Moment, flying: Mixed) -> Mixed {
        self.within(rule, now).fold(flying, |used, slot| Mixed {
            all: used.all.plus(slot.all),
            priority: used.priority.plus(slot.priority),
        })
    }

    /// What of a class may go now, by all limits.
    #[must_use]
    pub fn allowance(&self, rules: &[Rule], now: Moment, flying: Mixed, class: Class) -> Allowance {
        let mut allowance = Allowance::UNLIMITED;
        for rule in rules {
            let left = left(self.standing(rule, now, flying), class);
            let bound = match rule.count {
                super::limits::Count::Messages => &mut allowance.messages,
                super::limits::Count::Recipients => &mut allowance.recipients,
            };
            *bound = left.min(*bound);
        }
        if allowance.recipients == 0 {
            allowance.messages = 0;
        }
        allowance
    }

    /// How many milliseconds until `units` more of a class will have gone, if they go as fast as the limits let them
    /// and nothing else comes between; the last of them counts. See [`drain`](super::drain) for how right that is.
    #[must_use]
    pub fn wait(&self, rules: &[Rule], now: Moment, flying: Mixed, class: Class, units: Units) -> i64 {
        let flow = Flow::of(rules, units);
        let enough = flow.count(units).max(1);
        let played = self.play(rules, now, flying, class, flow, Units::default(), enough);
        played.wait(rules, now, class, units).unwrap_or(0)
    }

    /// When mail of a class goes behind what of class priority goes `first`, until `enough` of it has gone.
    #[expect(clippy::too_many_arguments, reason = "the state of a lane, and what is asked of it")]
    pub(super) fn play(
        &self,
        rules: &[Rule],
        now: Moment,
        flying: Mixed,
        class: Class,
        flow: Flow,
        first: Units,
        enough: u64,
    ) -> Played {
        self.drain(rules, now, flying, class, flow).played(first, enough)
    }

    /// How many milliseconds until `units` will have gone and what is due `later`: when, by the clock that nobody sets and
    /// earliest first, and how much. What isn't of class priority is of `class`, as is all that is due later.
    pub(super) fn empties(
        &self,
        rules: &[Rule],
        now: Moment,
        flying: Mixed,
        class: Class,
        waiting: Mixed,
        later: &[(i64, Units)],
    ) -> i64 {
        let all = later.iter().fold(waiting.all, |sum, (_, more)| sum.plus(*more));
        let flow = Flow::of(rules, all);
        if flow.count(all) == 0 {
            return 0;
        }
        let (first, others) = waiting.parted(class);
        let rest = later.iter().fold(others, |sum, (_, more)| sum.plus(*more));
        if flow.count(rest) == 0 {
            let enough = flow.count(first);
            let played = self.play(rules, now, flying, Class::Priority, flow, Units::default(), enough);
            return played.wait(rules, now, Class::Priority, first).unwrap_or(0);
        }
        let played = self.drain(rules, now, flying, class, flow).emptied(first, others, later, MANY_BATCHES);
        played.wait(rules, now, class, rest).unwrap_or(0)
    }

    /// The same as it is played, in order and no further than what is asked for each message.
    pub(super) fn joined(
        &self,
        rules: &[Rule],
        now: Moment,
        flying: Mixed,
        class: Class,
        waiting: Mixed,
        later: &[(i64, Units)],
    ) -> Played {
        let flow = Flow::of(rules, later.iter().fold(waiting.all, |sum, (_, more)| sum.plus(*more)));
        let (first, others) = waiting.parted(class);
        self.drain(rules, now, flying, class, flow).emptied(first, others, later, BATCHES)
    }

    /// What counts now, before time goes by.
    fn drain<'a>(
        &'a self,
        rules: &'a [Rule],
        now: Moment,
        flying: Mixed,
        class: Class,
        flow: Flow,
    ) -> Drain<'a> {
        let used = rules.iter().map(|rule| self.used(rule, now, flying)).collect();
        Drain::new(&self.sent, rules, used, now, flying, class, flow)
    }

    /// The slots that count by a rule, oldest first.
    fn within(&self, rule: &Rule, now: Moment) -> impl Iterator<Item = &Sent> {
        // However wrong a clock was, nothing counts for longer than the longest day or month there is.
        let (from, start) = match rule.span {
            Span::Rolling(span) => (now.at.saturating_sub(span), None),
            Span::Day(_) => (now.at - LONGEST_DAY, Some(start_of(&rule.span, now.wall))),
            Span::Month(_) => (now.at - FORGOTTEN, Some(start_of(&rule.span, now.wall))),
        };
        let first = self.sent.partition_point(|slot| slot.at <= from);
        let slots = self.sent.get(first..).unwrap_or_default().iter();
        slots.filter(move |slot| {
            start.is_none_or(|start| slot.wall >= start || now.wall - (now.at - slot.at) >= start)
        })
    }

    /// Makes old slots coarser and forgets those that count nowhere: slots that are no more, and slots as they are
    /// now.
    pub fn tidy(&mut self, now: Moment) -> (Vec<i64>, Vec<Sent>) {
        let mut kept: Vec<Sent> = Vec::with_capacity(self.sent.len());
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for slot in &self.sent {
            let age = now.at - slot.at;
            if age > FORGOTTEN {
                gone.push(slot.at);
                continue;
            }
            let length = COARSER.iter().find(|(from, _)| age > *from).map_or(SLOT, |(_, length)| *length);
            let at = end_of(slot.at, length);
            if at != slot.at {
                gone.push(slot.at);
            }
            if let Some(last) = kept.last_mut().filter(|last| last.at >= at) {
                last.wall = last.wall.max(slot.wall);
                last.all = last.all.plus(slot.all);
                last.priority = last.priority.plus(slot.priority);
                if slot.at != last.at && gone.last() != Some(&slot.at) {
                    gone.push(slot.at);
                }
                changed.push(last.at);
            } else {
                if at != slot.at {
                    changed.push(at);
                }
                kept.push(Sent { at, ..*slot });
            }
        }
        changed.dedup();
        let changed = kept.iter().filter(|slot| changed.binary_search(&slot.at).is_ok()).copied().collect();
        self.sent = kept;
        (gone, changed)
    }
}

impl Played {
    /// Milliseconds from now until so much of a class has gone; none when that wasn't played.
    pub(super) fn wait(&self, rules: &[Rule], now: Moment, class: Class, units: Units) -> Option<i64> {
        let at = self.when(units)?;
        let wait = at.map(|at| at - now.at);
        let far =
            |far: i64| (far - now.at).max(by_calendar(rules, &self.used, now, class, units.plus(self.first)));
        Some(wait.unwrap_or_else(far).max(0))
    }
}

/// How a rule stands when so much is used.
pub(super) fn stands(rule: &Rule, used: Mixed) -> Standing {
    let [all, priority] = [used.all, used.priority].map(|units| units.counted(rule.count));
    let left_for_priority = rule.most.saturating_sub(all);
    let kept = rule.reserve.saturating_sub(priority);
    Standing { used: all, left: left_for_priority.saturating_sub(kept), left_for_priority }
}

/// What a rule lets go of a class in one window; at least one, so that a count of windows has an end.
pub(super) fn most(rule: &Rule, class: Class) -> u64 {
    let most = match class {
        Class::Priority => rule.most,
        Class::Normal | Class::Bulk => rule.most.saturating_sub(rule.reserve),
    };
    most.max(1)
}

/// A window's length in milliseconds; a calendar's at most.
pub(super) fn length(span: &Span) -> i64 {
    match span {
        Span::Rolling(length) => *length,
        Span::Day(_) => LONGEST_DAY,
        Span::Month(_) => FORGOTTEN,
    }
}

/// About when a queue that is years long will have gone where days and months are the calendar's: as many whole ones as
/// it takes if each is used up, and the others' longest window more.
fn by_calendar(rules: &[Rule], used: &[Mixed], now: Moment, class: Class, units: Units) -> i64 {
    let rolling = rules.iter().filter(|rule| matches!(rule.span, Span::Rolling(_)));
    let paces = rolling.clone().map(|rule| {
        let rounds = i64::try_from(units.counted(rule.count) / most(rule, class)).unwrap_or(i64::MAX);
        length(&rule.span).saturating_mul(rounds)
    });
    let calendars = rules.iter().zip(used).filter(|(rule, _)| !matches!(rule.span, Span::Rolling(_)));
    let days = calendars.map(|(rule, used)| {
        let beyond = units.counted(rule.count).saturating_sub(left(stands(rule, *used), class));
        let begun = starts_after(&rule.span, now.wall, beyond.div_ceil(most(rule, class)).saturating_add(1));
        begun.saturating_sub(now.wall)
    });
    let longest = rolling.map(|rule| length(&rule.span)).max().unwrap_or(0);
    paces.chain(days).max().unwrap_or(0).saturating_add(longest)
}

pub(super) fn left(standing: Standing, class: Class) -> u64 {
    match class {
        Class::Priority => standing.left_for_priority,
        Class::Normal | Class::Bulk => standing.left,
    }
}

/// The end of the fresh slot that a time falls into.
pub(super) fn slot_end(at: i64) -> i64 {
    end_of(at, SLOT)
}

/// The end of the slot of a length that a time falls into.
fn end_of(at: i64, length: i64) -> i64 {
    at.div_euclid(length).saturating_add(i64::from(at.rem_euclid(length) != 0)).saturating_mul(length)
}

/// When the calendar window around `wall` began, in milliseconds since 1970.
fn start_of(span: &Span, wall: i64) -> i64 {
    starts_after(span, wall, 0)
}

/// When the calendar window so many behind the one around `wall` begins.
pub(super) fn starts_after(span: &Span, wall: i64, later: u64) -> i64 {
    let later = i64::try_from(later).unwrap_or(i64::MAX).min(10_000);
    let begun = |zoned: Zoned| {
        let first = match span {
            Span::Rolling(_) | Span::Day(_) => zoned.start_of_day()?.checked_add(later.days())?,
            Span::Month(_) => zoned.first_of_month()?.start_of_day()?.checked_add(later.months())?,
        };
        // A day may begin at one o'clock.
        first.start_of_day()
    };
    let zone = match span {
        Span::Rolling(_) => return wall,
        Span::Day(zone) | Span::Month(zone) => zone.clone(),
    };
    let wall = Timestamp::from_millisecond(wall).unwrap_or(Timestamp::UNIX_EPOCH);
    begun(wall.to_zoned(zone)).map_or(wall.as_millisecond(), |zoned| zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::super::limits::{Count, Day, Limits};
    use super::*;
    use jiff::tz::TimeZone;
    use std::time::Duration;

    const NOW: i64 = 1_795_000_000_000;

    fn at(seconds: i64) -> Moment {
        Moment { at: NOW + seconds * 1_000, wall: NOW + seconds * 1_000 }
    }

    fn one() -> Units {
        Units::message(1)
    }

    fn ledger(seconds: &[i64]) -> Ledger {
        let mut ledger = Ledger::default();
        for &second in seconds {
            ledger.record(at(second), one(), Class::Normal);
        }
        ledger
    }

    fn wait(ledger: &Ledger, limits: &Limits, second: i64, messages: u64) -> i64 {
        let units = Units { messages, recipients: messages };
        ledger.wait(&limits.rules(), at(second), Mixed::default(), Class::Normal, units)
    }

    #[test]
    fn a_window_is_free_again_when_its_oldest_falls_out() {
        let limits = Limits { per_minute: Some(3), ..Limits::default() };
        let ledger = ledger(&[0, 10, 20]);
        let left =
            |second| ledger.allowance(&limits.rules(), at(second), Mixed::default(), Class::Bulk).recipients;
        assert_eq!([left(20), left(59), left(60), left(69), left(70), left(80)], [0, 0, 1, 1, 2, 3]);
        assert_eq!(wait(&ledger, &limits, 20, 1), 40_000);
        assert_eq!(wait(&ledger, &limits, 20, 3), 60_000);
        assert_eq!(wait(&ledger, &limits, 20, 4), 100_000);
        assert_eq!(wait(&ledger, &limits, 20, 7), 160_000);
        assert_eq!(wait(&ledger, &limits, 75, 2), 0);
        assert_eq!(wait(&ledger, &limits, 75, 3), 5_000);
    }

    /// When each of so many messages goes that go as soon as they may, in milliseconds from `second` on.
    fn drain(mut ledger: Ledger, limits: &Limits, second: i64, messages: usize) -> Vec<i64> {
        let (rules, begun) = (limits.rules(), at(second));
        let mut now = begun;
        let go = |_| {
            let wait = ledger.wait(&rules, now, Mixed::default(), Class::Normal, one());
            now = Moment { at: now.at + wait, wall: now.wall + wait };
            ledger.record(now, one(), Class::Normal);
            now.at - begun.at
        };
        (0..messages).map(go).collect()
    }

    #[test]
    fn limits_that_hold_together_are_forecast_together() {
        let batch = |seconds, most| Some((Duration::from_secs(seconds), most));
        for limits in [
            Limits { batch: batch(2, 1), per_minute: Some(10), ..Limits::default() },
            Limits { batch: batch(120, 4), per_minute: Some(3), ..Limits::default() },
            Limits { per_minute: Some(5), per_hour: Some(20), per_day: Some(50), ..Limits::default() },
            Limits { per_minute: Some(7), per_hour: Some(100), count: Count::Messages, ..Limits::default() },
        ] {
            for (used, second) in [(0_usize, 0_i64), (8, 31), (33, 4_000)] {
                let before = || {
                    let mut ledger = Ledger::default();
                    for ms in drain(Ledger::default(), &limits, 0, used) {
                        let then = Moment { at: NOW + ms, wall: NOW + ms };
                        if then.at <= at(second).at {
                            ledger.record(then, one(), Class::Normal);
                        }
                    }
                    ledger
                };
                let real = drain(before(), &limits, second, 120);
                let ledger = before();
                let forecast: Vec<i64> = (1..=120).map(|n| wait(&ledger, &limits, second, n)).collect();
                assert_eq!(forecast, real, "{limits:?} {used} {second}");
            }
        }
        let zone = TimeZone::get("Europe/Warsaw").unwrap();
        let limits =
            Limits { per_minute: Some(5), per_day: Some(20), day: Day::Calendar(zone), ..Limits::default() };
        let real = drain(Ledger::default(), &limits, 0, 50);
        let forecast: Vec<i64> = (1..=50).map(|n| wait(&Ledger::default(), &limits, 0, n)).collect();
        assert_eq!(forecast, real);
    }

    #[test]
    fn what_is_claimed_counts_and_so_does_the_number_of_recipients() {
        let limits = Limits { per_minute: Some(10), ..Limits::default() };
        let flying = Mixed { all: Units { messages: 1, recipients: 7 }, ..Mixed::default() };
        let rules = limits.rules();
        let ledger = ledger(&[0]);
        let allowance = ledger.allowance(&rules, at(1), flying, Class::Normal);
        assert_eq!((allowance.recipients, allowance.part_of(5), allowance.part_of(1)), (2, 2, 1));
        let by_message = Limits { count: Count::Messages, ..limits };
        let allowance = ledger.allowance(&by_message.rules(), at(1), flying, Class::Normal);
        assert_eq!((allowance.messages, allowance.part_of(500)), (8, 500));
    }

    #[test]
    fn the_reserve_is_for_priority_and_what_priority_used_of_it_is_no_longer_kept() {
        let limits = Limits { per_day: Some(10), priority_reserve: 4, ..Limits::default() };
        let rules = limits.rules();
        let mut ledger = ledger(&[0; 6]);
        let left = |ledger: &Ledger| {
            let standing = ledger.standing(&rules[0], at(1), Mixed::default());
            (standing.left, standing.left_for_priority)
        };
        assert_eq!(left(&ledger), (0, 4));
        ledger.record(at(1), Units::message(3), Class::Priority);
        assert_eq!(left(&ledger), (0, 1));
        let mut ledger = Ledger::default();
        ledger.record(at(0), Units::message(4), Class::Priority);
        assert_eq!(left(&ledger), (6, 6));
    }

    #[test]
    fn a_calendar_day_begins_anew_at_midnight_in_its_zone() {
        let zone = TimeZone::get("Europe/Warsaw").unwrap();
        let limits = Limits { per_day: Some(2), day: Day::Calendar(zone.clone()), ..Limits::default() };
        // 2026-10-25 is the long day: 25 hours.
        let noon: Zoned = "2026-10-24T12:00[Europe/Warsaw]".parse().unwrap();
        let noon = noon.timestamp().as_millisecond();
        let moment = |hours: i64| Moment { at: noon + hours * 3_600_000, wall: noon + hours * 3_600_000 };
        let mut ledger = Ledger::default();
        ledger.record(moment(0), one(), Class::Normal);
        ledger.record(moment(11), one(), Class::Normal);
        let rules = limits.rules();
        let left = |ledger: &Ledger, hours| {
            ledger.allowance(&rules, moment(hours), Mixed::default(), Class::Normal).recipients
        };
        assert_eq!([left(&ledger, 11), left(&ledger, 12)], [0, 2]);
        let until = |n| {
            ledger.wait(
                &rules,
                moment(11),
                Mixed::default(),
                Class::Normal,
                Units { messages: n, recipients: n },
            )
        };
        assert_eq!([until(1), until(2), until(3), until(5)].map(|ms| ms / 3_600_000), [1, 1, 26, 50]);
    }

    #[test]
    fn a_clock_set_forward_empties_no_window_and_one_set_back_fills_none() {
        let zone = TimeZone::get("Europe/Warsaw").unwrap();
        for day in [Day::Rolling, Day::Calendar(zone)] {
            let limits = Limits { per_day: Some(2), day, ..Limits::default() };
            let mut ledger = ledger(&[0, 0]);
            // A day ahead by the wall clock, a second later in truth.
            let ahead = Moment { at: NOW + 1_000, wall: NOW + 86_401_000 };
            let left = |ledger: &Ledger, now| {
                ledger.allowance(&limits.rules(), now, Mixed::default(), Class::Normal).recipients
            };
            assert_eq!(left(&ledger, ahead), 0);
            ledger.record(ahead, one(), Class::Normal);
            // Set right again, it is still the same day, and nothing was forgotten.
            assert_eq!(left(&ledger, at(2)), 0);
            assert_eq!(left(&ledger, at(3 * 86_400)), 2);
        }
    }

    #[test]
    fn tidying_makes_old_slots_coarser_and_never_earlier() {
        let mut ledger = Ledger::default();
        for step in 0..10_000 {
            let ms = NOW + step * 50;
            ledger.record(Moment { at: ms, wall: ms }, one(), Class::Priority);
        }
        let rules = Limits { batch: Some((Duration::from_hours(3), 20_000)), ..Limits::default() }.rules();
        let before: Vec<u64> = (0..200)
            .map(|second| ledger.standing(&rules[0], at(second * 60), Mixed::default()).used)
            .collect();
        let (mut rows, mut lengths) = (ledger.sent.clone(), Vec::new());
        for second in [500, 7_300, 7_900, 180_000, 180_001, 40 * 86_400] {
            let (gone, changed) = ledger.tidy(at(second));
            rows.retain(|row| !gone.contains(&row.at));
            for row in changed {
                rows.retain(|other| other.at != row.at);
                rows.push(row);
            }
            rows.sort_by_key(|row| row.at);
            assert_eq!(rows, ledger.sent, "rows follow what is in memory");
            lengths.push(rows.len());
            if second < 200_000 {
                let total: u64 = rows.iter().map(|row| row.priority.messages).sum();
                assert_eq!(total, 10_000);
                for (used, second) in before.iter().zip((0..).step_by(60)) {
                    let now = ledger.standing(&rules[0], at(second), Mixed::default()).used;
                    assert!(now >= *used, "{now} {used} at {second}");
                }
            }
        }
        assert_eq!(lengths, [1_581, 363, 9, 1, 1, 0]);
    }
}
