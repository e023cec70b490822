//! When mail that waits will have gone by its limits: played through, batch after batch. Pure; time is an argument.
//!
//! Every batch that goes is looked at, whatever the windows are to one another, so that the time is exact: for any messages
//! where all limits count messages, or all count recipients, and else for messages to equally many recipients each
//! ([`Flow`]). A queue of more than [`BATCHES`] isn't played to its end: from there on it is
//! taken to go no faster than its slowest limit, behind the worst that was seen so far. That is never early, and late
//! by no more than the longest window.

use super::ledger::{Moment, Sent, left, length, most, slot_end, stands, starts_after};
use super::limits::{Count, Mixed, Rule, Span, Units};
use crate::message::envelope::Class;

/// So many batches are played.
pub(super) const BATCHES: usize = 1_024;
/// The same where it isn't asked for each message.
pub(super) const MANY_BATCHES: usize = 16 * BATCHES;
/// More than ever waits.
const ENDLESS: u64 = 1 << 40;

/// A lane's limits while time goes by.
pub(super) struct Drain<'a> {
    /// What was sent, oldest first.
    sent: &'a [Sent],
    /// What was in flight when it began, and each batch since then.
    batches: Vec<Sent>,
    windows: Vec<Window<'a>>,
    /// What counted by each rule when it began.
    used: Vec<Mixed>,
    /// What joins it later: when, earliest first, and how much.
    later: &'a [(i64, Units)],
    class: Class,
    now: Moment,
    flow: Flow,
    /// What of class priority goes before it, as it was at first.
    first: Units,
    /// Of that what hasn't gone.
    ahead: u64,
    /// Messages of the flow that were begun.
    begun: u64,
    /// Recipients of the last of them that weren't tried.
    open: u64,
    /// So much of the flow has gone whole, at each time.
    gone: Vec<(u64, i64)>,
}

/// What goes, as messages of even size: the sizes of those that wait aren't known one by one.
///
/// Where all limits count messages the size is nothing to them, and where all count recipients it doesn't matter how they are
/// shared out, because a message that is too large goes in parts. Only where they count this and that each message has
/// as many recipients as it has on average, in sixteenths and rounded up, spread as evenly as they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// What all limits count; none when not all count the same.
    counted: Option<Count>,
    /// Recipients of each message, in [`PARTS`].
    each: u64,
}

/// Parts of a recipient.
const PARTS: u64 = 16;

impl Flow {
    /// Of mail like `units`.
    pub(super) fn of(rules: &[Rule], units: Units) -> Self {
        let counted = rules.first().map_or(Count::Messages, |rule| rule.count);
        if rules.iter().all(|rule| rule.count == counted) {
            return Self { counted: Some(counted), each: PARTS };
        }
        let each = (units.recipients.saturating_mul(PARTS)).div_ceil(messages(units).max(1));
        Self { counted: None, each: each.max(PARTS) }
    }

    /// How much that is, of this flow.
    pub(super) fn count(self, units: Units) -> u64 {
        match self.counted {
            Some(Count::Recipients) => recipients(units),
            Some(Count::Messages) | None => messages(units),
        }
    }

    /// Recipients of the first so many messages.
    fn recipients_of(self, messages: u64) -> u64 {
        let parts = u128::from(messages) * u128::from(self.each);
        u64::try_from(parts / u128::from(PARTS)).unwrap_or(u64::MAX)
    }

    /// How many messages behind those that were begun have no more recipients than these.
    fn fitting(self, begun: u64, recipients: u64) -> u64 {
        let most = u128::from(self.recipients_of(begun)) + u128::from(recipients);
        let messages = ((most + 1) * u128::from(PARTS) - 1) / u128::from(self.each);
        u64::try_from(messages).unwrap_or(u64::MAX).saturating_sub(begun)
    }
}

/// What was played: when each of a flow goes, as far as that.
#[derive(Debug)]
pub(super) struct Played {
    flow: Flow,
    gone: Vec<(u64, i64)>,
    far: Option<Far>,
    /// What counted by each rule when it began.
    pub(super) used: Vec<Mixed>,
    /// What of class priority went before it.
    pub(super) first: Units,
}

impl Played {
    /// When so much has gone, by the clock that nobody sets; none when that wasn't played. An error if it is far away and a
    /// calendar's matter, with how much is known of it.
    pub(super) fn when(&self, units: Units) -> Option<Result<i64, i64>> {
        let count = self.flow.count(units).max(1);
        let at = self.gone.partition_point(|(gone, _)| *gone < count);
        if let Some((_, at)) = self.gone.get(at) {
            return Some(Ok(*at));
        }
        let far = self.far.as_ref()?;
        let gone = self.gone.last().map_or(0, |(gone, _)| *gone);
        Some(far.when(count - gone, self.flow))
    }
}

/// One rule, and what counts by it.
struct Window<'a> {
    rule: &'a Rule,
    used: Mixed,
    /// The oldest that counts, of what was sent and the batches behind it.
    oldest: usize,
    /// When a calendar's next one begins, by the wall clock.
    next: i64,
}

/// Far behind all that was played.
#[derive(Debug)]
struct Far {
    at: i64,
    /// None: a calendar's matter, or nothing limits it.
    pace: Option<Pace>,
    is_calendar: bool,
}

/// How it goes on there at the latest: see [`Drain::pace`].
#[derive(Debug)]
struct Pace {
    span: i128,
    most: i128,
    worst: i128,
    number: i128,
    of_messages: bool,
}

impl Far {
    fn when(&self, left: u64, flow: Flow) -> Result<i64, i64> {
        let Some(Pace { span, most, worst, number, of_messages }) = &self.pace else {
            return if self.is_calendar { Err(self.at) } else { Ok(self.at) };
        };
        let rest = i128::from(left) * if *of_messages { 1 } else { i128::from(flow.each) };
        let at = (worst + (number + rest) * span).div_euclid(*most) + 1;
        Ok(i64::try_from(at).unwrap_or(i64::MAX).max(self.at))
    }
}

impl<'a> Drain<'a> {
    /// `used`: what counts by each rule now, in their order, what is in `flight` included.
    pub(super) fn new(
        sent: &'a [Sent],
        rules: &'a [Rule],
        used: Vec<Mixed>,
        now: Moment,
        flight: Mixed,
        class: Class,
        flow: Flow,
    ) -> Self {
        let window = |(rule, used): (&'a Rule, &Mixed)| {
            let from = match rule.span {
                Span::Rolling(span) => now.at.saturating_sub(span),
                Span::Day(_) | Span::Month(_) => i64::MAX,
            };
            let next = starts_after(&rule.span, now.wall, 1);
            Window { rule, used: *used, oldest: sent.partition_point(|slot| slot.at <= from), next }
        };
        let windows = rules.iter().zip(&used).map(window).collect();
        let batches = vec![Sent { at: now.at, wall: now.wall, all: flight.all, priority: flight.priority }];
        let (gone, later) = (Vec::new(), &[][..]);
        let first = Units::default();
        Self {
            sent,
            used,
            batches,
            windows,
            later,
            class,
            now,
            flow,
            first,
            ahead: 0,
            begun: 0,
            open: 0,
            gone,
        }
    }

    /// Plays until `enough` has gone behind what goes `first`, whatever waits.
    pub(super) fn played(mut self, first: Units, enough: u64) -> Played {
        (self.first, self.ahead) = (first, self.flow.count(first));
        let far = self.play(ENDLESS.max(enough), enough, BATCHES).err();
        self.into_played(far)
    }

    /// Plays until so much has gone behind what goes `first`, and what joins it `later`, but no more than `most` batches.
    pub(super) fn emptied(
        mut self,
        first: Units,
        units: Units,
        later: &'a [(i64, Units)],
        most: usize,
    ) -> Played {
        (self.first, self.ahead) = (first, self.flow.count(first));
        self.later = later;
        let far = self.play(self.flow.count(units), u64::MAX, most).err();
        self.into_played(far)
    }

    fn into_played(self, far: Option<i64>) -> Played {
        let is_calendar = self.windows.iter().any(|window| !matches!(window.rule.span, Span::Rolling(_)));
        let far = far.map(|at| Far { at, pace: if is_calendar { None } else { self.pace(at) }, is_calendar });
        Played { flow: self.flow, gone: self.gone, far, used: self.used, first: self.first }
    }

    /// Plays until nothing of so much is left, or enough has gone, but no more than `most` batches; an error is when the rest
    /// goes at the earliest.
    fn play(&mut self, mut left: u64, enough: u64, most: usize) -> Result<(), i64> {
        let mut gone = 0;
        while self.batches.len() <= most {
            while let Some(((_, more), rest)) =
                self.later.split_first().filter(|(next, _)| next.0 <= self.now.at)
            {
                left += self.flow.count(*more);
                self.later = rest;
            }
            let mut ahead = self.ahead;
            let batch = self.batch(Class::Priority, &mut ahead);
            self.ahead = ahead;
            self.goes(Class::Priority, batch);
            // What is kept for class priority is nothing to those behind it.
            let before = left;
            let batch = if ahead == 0 { self.batch(self.class, &mut left) } else { Units::default() };
            if batch != Units::default() {
                gone += before - left;
                self.gone.push((gone, self.now.at));
                self.goes(self.class, batch);
            }
            let joins = self.later.first().map(|(at, _)| *at);
            let at = match (left, joins) {
                _ if gone >= enough => return Ok(()),
                (0, None) if self.ahead == 0 => return Ok(()),
                (0, Some(at)) if self.ahead == 0 => at,
                _ => {
                    let Some(at) = self.next_chance() else { break };
                    joins.map_or(at, |joins| joins.min(at))
                }
            };
            self.advance(at);
        }
        // What joins later can't go sooner than it does.
        Err(self.later.last().map_or(self.now.at, |(at, _)| self.now.at.max(*at)))
    }

    /// What goes now of so many messages of a class.
    fn batch(&mut self, class: Class, left: &mut u64) -> Units {
        let mut room = Units { messages: u64::MAX, recipients: u64::MAX };
        for window in &self.windows {
            let most = window.room(class);
            match window.rule.count {
                Count::Messages => room.messages = room.messages.min(most),
                Count::Recipients => room.recipients = room.recipients.min(most),
            }
        }
        let mut batch = Units::default();
        while *left > 0 && room.messages > 0 && room.recipients > 0 {
            let fitting = if self.open == 0 { self.flow.fitting(self.begun, room.recipients) } else { 0 };
            let whole = fitting.min(room.messages).min(*left);
            let more = if whole > 0 {
                *left -= whole;
                Units { messages: whole, recipients: self.begin(whole) }
            } else {
                // A message for more recipients than may go now goes in parts.
                if self.open == 0 {
                    self.open = self.begin(1);
                }
                let part = self.open.min(room.recipients);
                self.open -= part;
                *left -= u64::from(self.open == 0);
                Units::message(part)
            };
            (batch, room) = (batch.plus(more), room.minus(more));
        }
        batch
    }

    /// Begins so many messages; their recipients.
    fn begin(&mut self, messages: u64) -> u64 {
        let before = self.flow.recipients_of(self.begun);
        self.begun += messages;
        self.flow.recipients_of(self.begun) - before
    }

    fn goes(&mut self, class: Class, batch: Units) {
        if batch == Units::default() {
            return;
        }
        let mixed = Mixed::of(class, batch);
        let at = slot_end(self.now.at);
        self.batches.push(Sent { at, wall: self.now.wall, all: mixed.all, priority: mixed.priority });
        for window in &mut self.windows {
            window.used = window.used.plus(mixed);
        }
    }

    /// When every limit that lets nothing go now may let something go.
    fn next_chance(&self) -> Option<i64> {
        let class = if self.ahead > 0 { Class::Priority } else { self.class };
        let shut = self.windows.iter().filter(|window| window.room(class) == 0);
        let mut latest = None;
        for window in shut {
            let at = match window.rule.span {
                Span::Rolling(span) => self.opens(window, span, class)?,
                Span::Day(_) | Span::Month(_) => self.now.at + (window.next - self.now.wall),
            };
            latest = latest.max(Some(at));
        }
        latest.filter(|at| *at > self.now.at)
    }

    /// When so much has fallen out of a rolling window that there is room.
    fn opens(&self, window: &Window<'_>, span: i64, class: Class) -> Option<i64> {
        let Window { rule, mut used, mut oldest, .. } = *window;
        while left(stands(rule, used), class) == 0 {
            let slot = self.slot(oldest)?;
            oldest += 1;
            used = without(used, slot);
            if left(stands(rule, used), class) > 0 {
                return Some(slot.at + span);
            }
        }
        Some(self.now.at)
    }

    fn advance(&mut self, at: i64) {
        let gone = at - self.now.at;
        self.now = Moment { at, wall: self.now.wall + gone };
        let (sent, batches, now) = (self.sent, &self.batches, self.now);
        for window in &mut self.windows {
            match window.rule.span {
                Span::Rolling(span) => {
                    while let Some(slot) =
                        slot(sent, batches, window.oldest).filter(|slot| slot.at + span <= at)
                    {
                        window.used = without(window.used, slot);
                        window.oldest += 1;
                    }
                }
                Span::Day(_) | Span::Month(_) => {
                    if now.wall >= window.next {
                        window.used = Mixed::default();
                        window.next = starts_after(&window.rule.span, now.wall, 1);
                    }
                }
            }
        }
    }

    fn slot(&self, number: usize) -> Option<&Sent> {
        slot(self.sent, &self.batches, number)
    }

    /// How what wasn't played to its end goes on from `at`, by rolling windows alone.
    ///
    /// A window of length L for M makes the n-th go L behind the (n - M)-th at the earliest, and the latest of these by all
    /// windows is when it goes. With the slowest window's pace p, the largest L / M, what each is behind that pace is never more than
    /// the largest of those before it: so the n-th goes at n * p behind the worst so far, or sooner.
    fn pace(&self, at: i64) -> Option<Pace> {
        let of_messages = self.windows.iter().all(|window| window.rule.count == Count::Messages);
        // In messages, or in parts of recipients.
        let counted =
            |units: Units| i128::from(if of_messages { units.messages } else { units.recipients * PARTS });
        let pace = |window: &Window<'_>| {
            let size = match window.rule.count {
                Count::Messages if of_messages => 1,
                Count::Messages => self.flow.each,
                Count::Recipients => PARTS,
            };
            let most = i128::from(most(window.rule, self.class)) * i128::from(size);
            (i128::from(length(&window.rule.span)), most)
        };
        let (span, most) = self
            .windows
            .iter()
            .map(pace)
            .reduce(|one, other| if one.0 * other.1 >= other.0 * one.1 { one } else { other })?;
        let first = self.windows.iter().map(|window| window.oldest).min().unwrap_or(0);
        let (mut number, mut worst) = (0, i128::MIN);
        let known = (first..).map_while(|number| self.slot(number));
        for slot in known.filter(|slot| slot.all != Units::default()) {
            worst = worst.max(i128::from(slot.at) * most - (number + 1) * span);
            number += counted(slot.all);
        }
        // The next one goes no sooner than now.
        worst = worst.max(i128::from(at) * most - (number + 1) * span);
        Some(Pace { span, most, worst, number, of_messages })
    }
}

/// Recipients, where a message has one at least.
fn recipients(units: Units) -> u64 {
    units.recipients.max(units.messages)
}

/// Messages, where recipients have one at least.
fn messages(units: Units) -> u64 {
    units.messages.max(u64::from(units.recipients > 0))
}

impl Window<'_> {
    fn room(&self, class: Class) -> u64 {
        left(stands(self.rule, self.used), class)
    }
}

fn slot<'s>(sent: &'s [Sent], batches: &'s [Sent], number: usize) -> Option<&'s Sent> {
    sent.get(number).or_else(|| batches.get(number.checked_sub(sent.len())?))
}

fn without(used: Mixed, slot: &Sent) -> Mixed {
    Mixed { all: used.all.minus(slot.all), priority: used.priority.minus(slot.priority) }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::super::limits::{Day, Limits};
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: i64 = 1_795_000_000_000;

    fn at(ms: i64) -> Moment {
        Moment { at: NOW + ms, wall: NOW + ms }
    }

    fn units_of(sizes: &[u64]) -> Units {
        Units { messages: sizes.len() as u64, recipients: sizes.iter().sum() }
    }

    /// When the last of messages to so many recipients has gone, found by asking the ledger again whenever anything falls
    /// out of a window. `times`: when something was sent before.
    fn really(
        mut ledger: Ledger,
        rules: &[Rule],
        mut now: Moment,
        letters: &[(Class, u64)],
        mut times: Vec<i64>,
    ) -> i64 {
        let began = now.at;
        for (class, size) in letters {
            let class = *class;
            let mut open = usize::try_from(*size).unwrap();
            while open > 0 {
                let part = ledger.allowance(rules, now, Mixed::default(), class).part_of(open);
                if part > 0 {
                    ledger.record(now, Units::message(part as u64), class);
                    times.push(slot_end(now.at));
                    open -= part;
                    continue;
                }
                let falls = |rule: &Rule| match rule.span {
                    Span::Rolling(span) => {
                        times.get(times.partition_point(|at| at + span <= now.at)).map(|at| at + span)
                    }
                    _ => Some(now.at + starts_after(&rule.span, now.wall, 1) - now.wall),
                };
                let next = rules.iter().filter_map(falls).min().unwrap();
                now = Moment { at: next, wall: now.wall + next - now.at };
            }
        }
        now.at - began
    }

    /// A ledger after so many messages of a class that went as fast as they may.
    fn after(rules: &[Rule], history: &[(u64, Class)]) -> (Ledger, Moment) {
        let (mut ledger, mut now) = (Ledger::default(), at(0));
        for (wait, class) in history {
            now = Moment {
                at: now.at + i64::try_from(*wait).unwrap(),
                wall: now.wall + i64::try_from(*wait).unwrap(),
            };
            if ledger.allowance(rules, now, Mixed::default(), *class).part_of(1) > 0 {
                ledger.record(now, Units::message(1), *class);
            }
        }
        (ledger, now)
    }

    fn limits(days: bool) -> impl Strategy<Value = Limits> {
        let some = |most: std::ops::Range<u64>| proptest::option::of(most);
        let batch =
            (1..2_000_u64, 1..6_u64).prop_map(|(tenths, most)| (Duration::from_millis(tenths * 100), most));
        let day = if days { "Europe/Warsaw" } else { "rolling" };
        (some(1..9), some(3..60), some(5..200), any::<bool>(), any::<u64>(), proptest::option::of(batch))
            .prop_map(move |(per_minute, per_hour, per_day, by_message, reserve, batch)| Limits {
                per_minute,
                per_hour,
                per_day,
                count: if by_message { Count::Messages } else { Count::Recipients },
                day: TimeZone::get(day).map_or(Day::Rolling, Day::Calendar),
                priority_reserve: per_day.map_or(0, |day| reserve % (day / 2)),
                batch,
                ..Limits::default()
            })
    }

    #[test]
    fn what_is_due_later_goes_then_or_behind_what_waits_before_it() {
        let rules = Limits { per_minute: Some(2), ..Limits::default() }.rules();
        let empties = |waiting: u64, later: &[(i64, u64)]| {
            let later: Vec<(i64, Units)> = later
                .iter()
                .map(|(ms, count)| (NOW + ms, Units { messages: *count, recipients: *count }))
                .collect();
            let waiting = Mixed::of(Class::Bulk, Units { messages: waiting, recipients: waiting });
            Ledger::default().empties(&rules, at(0), Mixed::default(), Class::Bulk, waiting, &later)
        };
        assert_eq!(empties(0, &[]), 0);
        assert_eq!(empties(0, &[(36_000_000, 1)]), 36_000_000, "alone");
        assert_eq!(empties(3, &[(30_000, 1)]), 60_000, "it joins those of the second minute");
        assert_eq!(empties(3, &[(61_000, 2)]), 120_000, "only one of them has room beside the third");
        assert_eq!(empties(3, &[(30_000, 2), (600_000, 2)]), 600_000);
        assert_eq!(empties(3, &[(30_000, 2), (600_000, 5)]), 720_000);
        assert!((3_600_000..3_720_000).contains(&empties(0, &[(0, 2), (3_600_000, 1)])));
        let far: Vec<(i64, u64)> = (0..2_000).map(|number| (number * 100_000, 2)).collect();
        assert!((199_900_000..200_000_000).contains(&empties(0, &far)), "{}", empties(0, &far));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn the_time_is_when_it_really_goes_whatever_windows_are_to_one_another(
            (limits, days) in any::<bool>().prop_flat_map(|days| (limits(days), Just(days))),
            history in proptest::collection::vec((0..200_000_u64, any::<bool>()), 0..30),
            sizes in prop_oneof![
                3 => (1..80_usize).prop_map(|messages| vec![1; messages]),
                1 => (1..80_usize, 2..8_u64).prop_map(|(messages, each)| vec![each; messages]),
                2 => proptest::collection::vec(1..8_u64, 1..80),
            ],
            is_priority in any::<bool>(),
        ) {
            let rules = limits.rules();
            prop_assume!(!rules.is_empty());
            // What counts this and that is told for messages of one size.
            let is_mixed = rules.iter().any(|rule| rule.count != rules[0].count);
            let sizes = if is_mixed { vec![sizes[0]; sizes.len()] } else { sizes };
            let class = |is: bool| if is { Class::Priority } else { Class::Bulk };
            let history: Vec<(u64, Class)> = history.into_iter().map(|(wait, is)| (wait, class(is))).collect();
            let class = class(is_priority);
            let (ledger, now) = after(&rules, &history);
            let (again, _) = after(&rules, &history);
            let now = Moment { at: slot_end(now.at), wall: now.wall + slot_end(now.at) - now.at };
            let told = ledger.wait(&rules, now, Mixed::default(), class, units_of(&sizes));
            let real = goes(again, &rules, now, class, &sizes, &history);
            prop_assert_eq!(told, real, "{:?} {} {:?}", limits, days, history);
        }

        #[test]
        fn what_is_kept_for_priority_is_what_priority_mail_in_front_uses_first(
            limits in any::<bool>().prop_flat_map(limits),
            priority in 0..40_usize,
            others in 1..40_usize,
        ) {
            let rules = limits.rules();
            prop_assume!(!rules.is_empty());
            let units = |count: usize| units_of(&vec![1; count]);
            let flow = Flow::of(&rules, units(priority + others));
            let (ledger, now) = (Ledger::default(), at(0));
            let flying = Mixed::default();
            let played = ledger.play(&rules, now, flying, Class::Bulk, flow, units(priority), others as u64);
            let told = played.wait(&rules, now, Class::Bulk, units(others)).unwrap();
            let mut letters = vec![(Class::Priority, 1); priority];
            letters.extend(vec![(Class::Bulk, 1); others]);
            prop_assert_eq!(told, really(Ledger::default(), &rules, now, &letters, vec![]), "{:?}", limits);
        }

        #[test]
        fn the_size_of_a_mixture_is_its_average(
            sizes in proptest::collection::vec(1..8_u64, 20..80),
            per_minute in 8..30_u64,
        ) {
            // So much for an interval that only recipients limit, and then only messages.
            let minutes = |limits: Limits| {
                let rules = limits.rules();
                let wait = |sizes: &[u64]| {
                    let wait = Ledger::default().wait(&rules, at(0), Mixed::default(), Class::Bulk, units_of(sizes));
                    wait / 60_000
                };
                let real = goes(Ledger::default(), &rules, at(0), Class::Bulk, &sizes, &[]) / 60_000;
                (wait(&sizes), real)
            };
            let batch = |most| Some((Duration::from_mins(1), most));
            let (told, real) = minutes(Limits { per_minute: Some(per_minute), batch: batch(1_000), ..Limits::default() });
            prop_assert!((real..=real + 1 + real / 10).contains(&told), "{told} {real}");
            let (told, real) = minutes(Limits { per_minute: Some(1_000), batch: batch(3), ..Limits::default() });
            prop_assert_eq!(told, real);
        }

        #[test]
        fn what_was_played_once_tells_of_any_shorter_queue_what_playing_that_would(
            (limits, days) in any::<bool>().prop_flat_map(|days| (limits(days), Just(days))),
            messages in 1..1_400_u64,
            shorter in proptest::collection::vec(1..1_400_u64, 1..20),
        ) {
            let rules = limits.rules();
            prop_assume!(!rules.is_empty());
            let units = |count| Units { messages: count, recipients: count };
            let ledger = Ledger::default();
            let flow = Flow::of(&rules, units(messages));
            let first = Units::default();
            let played = ledger.play(&rules, at(0), Mixed::default(), Class::Bulk, flow, first, messages);
            for count in shorter.into_iter().filter(|count| *count <= messages) {
                let told = played.wait(&rules, at(0), Class::Bulk, units(count)).unwrap();
                let alone = ledger.wait(&rules, at(0), Mixed::default(), Class::Bulk, units(count));
                prop_assert_eq!(told, alone, "{:?} {} {}", limits, days, count);
            }
        }

        #[test]
        fn what_is_far_away_is_never_told_too_early_and_late_by_no_more_than_the_longest_window(
            limits in limits(false),
            messages in 1_100..1_500_u64,
        ) {
            let limits = Limits { batch: Some(limits.batch.map_or((Duration::from_secs(7), 1), |(wait, _)| (wait, 1))), ..limits };
            let rules = limits.rules();
            let units = Units { messages, recipients: messages };
            let told = Ledger::default().wait(&rules, at(0), Mixed::default(), Class::Normal, units);
            let real = goes(Ledger::default(), &rules, at(0), Class::Normal, &vec![1; usize::try_from(messages).unwrap()], &[]);
            let longest = rules.iter().map(|rule| length(&rule.span)).max().unwrap();
            prop_assert!((real..=real + longest).contains(&told), "{told} {real} {limits:?}");
        }
    }

    /// As [`really`], with what was sent before among what falls out.
    fn goes(
        ledger: Ledger,
        rules: &[Rule],
        now: Moment,
        class: Class,
        sizes: &[u64],
        history: &[(u64, Class)],
    ) -> i64 {
        let mut time = NOW;
        let before: Vec<i64> = history
            .iter()
            .map(|(wait, _)| {
                time += i64::try_from(*wait).unwrap();
                slot_end(time)
            })
            .collect();
        let letters: Vec<(Class, u64)> = sizes.iter().map(|size| (class, *size)).collect();
        really(ledger, rules, now, &letters, before)
    }
}
