//! Starting attempts: what a lane wants and its limits allow is claimed by the writer, with its next commit.
//!
//! Three steps for a message: claimed ([`Window::start`], or [`Window::start_fresh`] when it is being kept by that
//! very commit), committed ([`Window::started`]; a commit that failed gives everything back, [`Window::not_started`]),
//! handed out ([`Window::claim`](super::lane::Lane::claim)). A claim counts against the limits for as long as it lasts.
//!
//! What isn't handed out yet goes back when the rules change ([`Window::rule`]), and when mail of a higher class needs
//! what it uses up of a limit.

use super::lane::{Claim, Ready};
use super::ledger::{Moment, Sent, Standing};
use super::limits::{Mixed, Rule, Units};
use super::window::{ClassWindow, State, Window};
use super::work::Open;
use super::{LaneName, Part, QueueId};
use crate::message::envelope::Class;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

impl Window {
    /// Claims what is wanted and allowed: priority first, then normal, then bulk; whether that was anything.
    pub(super) fn start(self: &Arc<Self>, now: Moment) -> bool {
        let (mut state, mut any_yielded) = (self.state.lock(), false);
        // What is spared comes behind all others.
        let rounds: &[bool] = if state.spared.is_empty() { &[false] } else { &[true, false] };
        for (&spares, class) in rounds.iter().flat_map(|spares| Class::ALL.map(|class| (spares, class))) {
            if Class::ALL
                .into_iter()
                .take_while(|above| *above != class)
                .any(|above| state.is_unread(above, now))
            {
                // It is a moment until it is here.
                continue;
            }
            let is_last_resort = rounds.len() > 1 && !spares;
            if is_last_resort
                && (!state.starting.is_empty()
                    || state.started.iter().any(|class| !class.is_empty())
                    || state.classes.iter().any(|class| !class.back.is_empty()))
            {
                break;
            }
            while state.hunger() > 0 {
                let Some((key, open)) = state.first(class, spares) else { break };
                let mut part = state.quota.allowance(class, now).part_of(open);
                while part < open && state.yield_to(class) {
                    any_yielded = true;
                    part = state.quota.allowance(class, now).part_of(open);
                }
                if part == 0 {
                    break;
                }
                let Some(ready) = state.class(class).take(key) else { break };
                self.shared.gave_up(&ready);
                state.begin(ready, part);
            }
        }
        if any_yielded {
            self.shared.claims_ended();
            self.refill(&mut state, now.wall);
        }
        !state.starting.is_empty()
    }

    /// Whether something else than what is spared is due and may go by the limits.
    pub(super) fn has_unspared(self: &Arc<Self>) -> bool {
        let now = self.shared.moment();
        let mut state = self.state.lock();
        self.refill(&mut state, now.wall);
        Class::ALL.into_iter().any(|class| {
            let open = state.unspared(class);
            open.is_some_and(|open| state.quota.allowance(class, now).part_of(open) > 0)
        })
    }

    /// Claims a message that is being kept, if it may go at once and nothing older waits; whether it did.
    pub(super) fn start_fresh(&self, id: QueueId, part: &Part, now: Moment) -> bool {
        let mut state = self.state.lock();
        let at = part.due.as_millisecond();
        let waits = |class: &mut ClassWindow| {
            let nothing = class.ready.is_empty() && class.back.is_empty();
            !nothing || class.disk.is_some_and(|disk| disk.0 <= now.wall)
        };
        if part.held || at > now.wall || state.hunger() == 0 || waits(state.class(part.class)) {
            return false;
        }
        let mut above = Class::ALL.into_iter().take_while(|above| *above != part.class);
        if above.any(|above| state.is_unread(above, now)) {
            return false;
        }
        let recipients = part.recipients.len();
        if state.quota.allowance(part.class, now).part_of(recipients) < recipients {
            return false;
        }
        state.claim(id, at, part.class, recipients);
        true
    }

    /// The commit that claimed them is done.
    pub(super) fn started(&self) {
        let (mut state, mut any_outdated) = (self.state.lock(), false);
        for due in std::mem::take(&mut state.starting) {
            let generation = state.claims.get(&due.id).map(|claim| claim.generation);
            if generation != Some(state.generation) {
                // The rules changed while the disk was written.
                any_outdated = true;
                state.give_back(due.id);
            } else if let Some(class) = state.started.get_mut(super::window::index(due.class)) {
                class.push_back(due);
            }
        }
        drop(state);
        if any_outdated {
            self.shared.claims_ended();
        }
        self.changed.notify_waiters();
    }

    /// Takes new rules, or lets nothing go: what was claimed under the old ones and isn't handed out goes back.
    pub(super) fn rule(self: &Arc<Self>, rules: Vec<Rule>, is_shut: bool) {
        let mut state = self.state.lock();
        state.quota.rule(rules, is_shut);
        state.generation += 1;
        for due in std::mem::take(&mut state.starting) {
            state.give_back(due.id);
        }
        drop(state);
        self.stand_down();
        self.refill(&mut self.state.lock(), self.shared.clock.now().as_millisecond());
        self.shared.claims_ended();
        self.changed.notify_waiters();
    }

    /// The commit that should have claimed them failed.
    pub(super) fn not_started(&self, fresh: &[QueueId]) {
        let mut state = self.state.lock();
        for due in std::mem::take(&mut state.starting) {
            state.give_back(due.id);
        }
        for id in fresh {
            state.end_claim(*id);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn stand_down(&self) {
        let mut state = self.state.lock();
        state.wanted = 0;
        let started = std::mem::take(&mut state.started);
        let any = started.iter().any(|class| !class.is_empty());
        for due in started.into_iter().flatten() {
            state.give_back(due.id);
        }
        drop(state);
        if any {
            self.shared.claims_ended();
            self.changed.notify_waiters();
        }
    }

    /// The slot that what is sent now counts in, and the class of a claim.
    pub(super) fn slot(&self, id: QueueId, now: Moment) -> (i64, Option<Class>) {
        let state = self.state.lock();
        (state.quota.slot(now), state.claims.get(&id).map(|claim| claim.class))
    }

    /// Whether the limits have room for a message of class normal that is sent past the queue.
    pub(super) fn has_room_beside(&self, now: Moment) -> bool {
        self.state.lock().quota.has_room(Class::Normal, now)
    }

    /// A message is being sent past the queue.
    pub(super) fn took_off_beside(&self) {
        self.state.lock().quota.take_off(Class::Normal, Units::message(1));
    }

    /// It came to its end.
    pub(super) fn landed_beside(&self, now: Moment) {
        let mut state = self.state.lock();
        state.quota.land(Class::Normal, Units::message(1));
        state.quota.record(now, Units::message(1), Class::Normal);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether anything limits the lane.
    pub(super) fn is_limited(&self) -> bool {
        self.state.lock().quota.is_limited()
    }

    /// When the limits will have let so much mail of a class go, what is in flight included; none when they let it go
    /// at once.
    pub(super) fn forecast(&self, class: Class, waiting: Mixed, now: Moment) -> Option<Timestamp> {
        let mut state = self.state.lock();
        if !state.quota.is_limited() || state.quota.is_shut() {
            return None;
        }
        let ahead = waiting.minus(state.quota.flying_up_to(class));
        let yields = state.yields_to(class);
        let wait = state.quota.wait(class, ahead, yields, now);
        drop(state);
        later_or_so(now, wait)
    }

    /// Whether the limits let so much mail of a class go within `patience` where nothing was sent before.
    pub(super) fn lets_go_whole(&self, class: Class, units: Units, patience: SignedDuration) -> bool {
        let wait = self.state.lock().quota.wait_afresh(class, units, self.shared.moment());
        i128::from(wait) <= patience.as_millis()
    }

    /// When all of so much mail of a class will have gone, what is in flight included, and what is due `later` by the
    /// wall clock; none when that is now, or nothing may go.
    pub(super) fn empties(
        &self,
        class: Class,
        waiting: Mixed,
        later: Vec<(i64, Units)>,
        now: Moment,
    ) -> Option<Timestamp> {
        let state = self.state.lock();
        if state.quota.is_shut() {
            return None;
        }
        let steady = |(wall, units): (i64, Units)| (now.at + (wall - now.wall), units);
        let later: Vec<(i64, Units)> = later.into_iter().map(steady).collect();
        let ahead = waiting.minus(state.quota.flying_up_to(class));
        let wait = state.quota.empties(class, ahead, &later, now);
        drop(state);
        self::later(now, wait)
    }

    /// What of so much mail up to a class, what is in flight included, will wait for the limits for longer than
    /// `patience` at a stretch, and when it begins to: when all else has gone. None when nothing of the class itself will.
    pub(super) fn surplus(
        &self,
        class: Class,
        waiting: Mixed,
        patience: SignedDuration,
    ) -> Option<(Mixed, Option<Timestamp>)> {
        let now = self.shared.moment();
        let mut state = self.state.lock();
        let ahead = waiting.minus(state.quota.flying_up_to(class));
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        let surplus = state.quota.surplus(class, ahead, patience, now)?;
        // What goes first may be too much by itself.
        let (first, others) = ahead.parted(class);
        let first = Mixed::of(Class::Priority, first);
        let too_much = state.quota.surplus(Class::Priority, first, patience, now).unwrap_or_default();
        let too_much = Mixed::of(Class::Priority, too_much);
        let goes = Mixed::of(class, others.minus(surplus)).plus(first.minus(too_much));
        let yields = state.yields_to(class);
        let begins = later_or_so(now, state.quota.wait(class, goes, yields, now));
        Some((Mixed::of(class, surplus).plus(too_much), begins))
    }

    /// How each limit stands, and when the next message of class normal may go if that isn't now.
    pub(super) fn standings(&self) -> Vec<(Rule, Standing, Option<Timestamp>)> {
        let now = self.shared.moment();
        let standings = self.state.lock().quota.standings(now);
        standings.into_iter().map(|(rule, standing, wait)| (rule, standing, later_or_so(now, wait))).collect()
    }

    /// When the next message goes: when it is due, or when the limits let it.
    pub(super) fn next_chance(&self) -> Option<Timestamp> {
        let due = self.next_due()?;
        let now = self.shared.moment();
        let wait = self.state.lock().wait_for_limits(now).and_then(|wait| later(now, wait));
        Some(wait.map_or(due, |allowed| due.max(allowed)))
    }

    pub(super) fn waiting_hint(&self) -> usize {
        let now = self.shared.moment();
        let mut state = self.state.lock();
        let State { classes, quota, started, .. } = &mut *state;
        let mut waiting = started.iter().map(VecDeque::len).sum();
        for (class, window) in Class::ALL.into_iter().zip(classes) {
            if !window.ready.is_empty() {
                let allowed = usize::try_from(quota.allowance(class, now).messages).unwrap_or(usize::MAX);
                waiting += window.ready.len().min(allowed);
            }
        }
        waiting
    }

    /// The ledger, tidied: slots that are no more, and slots as they are now.
    pub(super) fn tidy_ledger(&self, now: Moment) -> (LaneName, Vec<i64>, Vec<Sent>) {
        let (gone, changed) = self.state.lock().quota.tidy(now);
        (self.name.clone(), gone, changed)
    }
}

/// The same rounded up: two clocks are a millisecond apart now and then, and midnight isn't the last of yesterday.
fn later_or_so(now: Moment, wait: i64) -> Option<Timestamp> {
    let at = later(now, wait)?.as_millisecond();
    Timestamp::from_millisecond(at.saturating_add(9).div_euclid(10) * 10).ok()
}

/// A wait as a time by the wall clock; none when there is none.
fn later(now: Moment, wait: i64) -> Option<Timestamp> {
    let now = Timestamp::from_millisecond(now.wall).ok()?;
    if wait <= 0 {
        return None;
    }
    now.checked_add(SignedDuration::from_millis(wait)).ok()
}

impl State {
    /// How many more messages should be claimed.
    pub(super) fn hunger(&self) -> usize {
        let started: usize = self.started.iter().map(VecDeque::len).sum();
        let most = if self.quota.is_shut() { 0 } else { self.wanted };
        most.saturating_sub(started + self.starting.len())
    }

    /// Milliseconds until something that is due may go by the limits; none when nothing in memory is due, or nothing
    /// may go at all.
    pub(super) fn wait_for_limits(&mut self, now: Moment) -> Option<i64> {
        if self.quota.is_shut() {
            return None;
        }
        let waits = Class::ALL.into_iter().zip(&self.classes).filter(|(_, window)| !window.ready.is_empty());
        waits
            .map(|(class, _)| {
                self.quota.wait(class, Mixed::of(class, Units::message(1)), Units::default(), now)
            })
            .min()
    }

    /// Claims `part` recipients of a message: those tried longest ago, who was never tried before all others.
    fn begin(&mut self, ready: Ready, part: usize) {
        let Ready { mut due, at, .. } = ready;
        if part < due.open.len() {
            let mut order: Vec<usize> = (0..due.open.len()).collect();
            order.sort_by_key(|&index| due.open.get(index).map(|open| open.tried_at));
            let later: HashSet<usize> = order.split_off(part).into_iter().collect();
            let mut goes = (0..).map(|index| !later.contains(&index));
            Arc::make_mut(&mut due.envelope).recipients.retain(|_| goes.next().unwrap_or_default());
            let open = std::mem::take(&mut due.open).into_iter().enumerate();
            let (left, goes) = open.partition::<Vec<_>, _>(|(index, _)| later.contains(index));
            let without_index = |some: Vec<(usize, Open)>| some.into_iter().map(|(_, open)| open).collect();
            (due.open, due.left) = (without_index(goes), without_index(left));
        }
        self.claim(due.id, at, due.class, part);
        self.starting.push(due);
    }

    fn claim(&mut self, id: QueueId, at: i64, class: Class, recipients: usize) {
        let (units, generation) = (Units::message(recipients as u64), self.generation);
        self.quota.take_off(class, units);
        self.claims.insert(id, Claim { at, class, units, generation });
    }

    /// Gives back what was claimed last and isn't handed out, of the lowest class below this one; whether there was any.
    fn yield_to(&mut self, class: Class) -> bool {
        let mut lower = self.started.iter_mut().skip(super::window::index(class) + 1).rev();
        let Some(last) = lower.find_map(VecDeque::pop_back) else { return false };
        self.give_back(last.id);
        true
    }

    /// What would go back for mail of this class.
    fn yields_to(&self, class: Class) -> Units {
        let lower = self.started.iter().skip(super::window::index(class) + 1).flatten();
        let claims = lower.filter_map(|due| self.claims.get(&due.id));
        claims.fold(Units::default(), |sum, claim| sum.plus(claim.units))
    }

    /// Ends a claim, and with it what it used up.
    pub(super) fn end_claim(&mut self, id: QueueId) -> Option<Claim> {
        let claim = self.claims.remove(&id)?;
        self.quota.land(claim.class, claim.units);
        Some(claim)
    }

    /// Ends a claim; its message waits on disk.
    pub(super) fn give_back(&mut self, id: QueueId) {
        if let Some(claim) = self.end_claim(id) {
            // An operator may have changed the row meanwhile: it is read anew, and the bound is only ever too low.
            self.class(claim.class).on_disk((claim.at, id));
        }
    }

    /// Takes a message back that was claimed and not handed out.
    pub(super) fn take_started(&mut self, id: QueueId) -> bool {
        if let Some(at) = self.starting.iter().position(|due| due.id == id) {
            self.starting.remove(at);
            return true;
        }
        for class in &mut self.started {
            if let Some(at) = class.iter().position(|due| due.id == id) {
                class.remove(at);
                return true;
            }
        }
        false
    }
}
