//! A lane's limits at work: the rules, what was sent, what is in flight, and the answer that is asked for most.

use super::drain::{Flow, Played};
use super::ledger::{Allowance, Ledger, Moment, Sent, Standing, slot_end};
use super::limits::{Mixed, Rule, Units};
use crate::message::envelope::Class;

/// What a lane may send, and did.
#[derive(Debug, Default)]
pub(super) struct Quota {
    rules: Vec<Rule>,
    /// Nothing may go, whatever the rules say.
    is_shut: bool,
    ledger: Ledger,
    /// What is claimed, by class.
    flying: [Units; 3],
    /// What each class may send at that millisecond; forgotten when more may have become free.
    known: (i64, [Option<Allowance>; 3]),
    /// What was played for each class, and for which moment, flight and size of messages: whoever comes next in a
    /// queue far behind is told without playing it anew. Forgotten when what was sent or the rules change.
    played: [Option<(PlayedFor, Played)>; 3],
}

/// The slot of time, what is in flight, what goes, and what goes before that.
type PlayedFor = (i64, Mixed, Flow, Units);

impl Quota {
    /// Takes new rules; what was sent under the old ones counts.
    pub(super) fn rule(&mut self, rules: Vec<Rule>, is_shut: bool) {
        self.rules = rules;
        self.is_shut = is_shut;
        self.known = Default::default();
        self.played = Default::default();
    }

    /// Whether nothing may go, whatever the rules say.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Takes what was sent from the index.
    pub(super) fn load(&mut self, sent: Vec<Sent>) {
        self.ledger = Ledger::of(sent);
        self.known = Default::default();
        self.played = Default::default();
    }

    /// Whether anything is limited at all.
    pub(super) fn is_limited(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What of a class may go now.
    pub(super) fn allowance(&mut self, class: Class, now: Moment) -> Allowance {
        if self.is_shut {
            return Allowance { messages: 0, recipients: 0 };
        }
        if !self.is_limited() {
            return Allowance::UNLIMITED;
        }
        if self.known.0 != now.at {
            self.known = (now.at, [None; 3]);
        }
        let index = super::window::index(class);
        if let Some(Some(known)) = self.known.1.get(index) {
            return *known;
        }
        let allowance = self.ledger.allowance(&self.rules, now, self.in_flight(), class);
        if let Some(known) = self.known.1.get_mut(index) {
            *known = Some(allowance);
        }
        allowance
    }

    /// Whether the rules let one message of a class go, be the lane shut or not.
    pub(super) fn has_room(&self, class: Class, now: Moment) -> bool {
        self.ledger.allowance(&self.rules, now, self.in_flight(), class).part_of(1) > 0
    }

    /// Milliseconds that so much of a class takes where nothing was sent before.
    pub(super) fn wait_afresh(&self, class: Class, units: Units, now: Moment) -> i64 {
        Ledger::default().wait(&self.rules, now, Mixed::default(), class, units)
    }

    /// Milliseconds until so much more up to a class will have gone, where what is claimed and `yields` to it goes back.
    pub(super) fn wait(&mut self, class: Class, waiting: Mixed, yields: Units, now: Moment) -> i64 {
        let allowance = self.allowance(class, now);
        if waiting.all.messages <= allowance.messages && waiting.all.recipients <= allowance.recipients {
            return 0;
        }
        let (first, units) = waiting.parted(class);
        let mut flying = self.in_flight();
        flying.all = flying.all.minus(yields);
        let flow = Flow::of(&self.rules, waiting.all);
        let key = (slot_end(now.at), flying, flow, first);
        let index = super::window::index(class);
        if let Some(Some((played_for, played))) = self.played.get(index)
            && *played_for == key
            && let Some(wait) = played.wait(&self.rules, now, class, units)
        {
            return wait;
        }
        // The next messages wait behind this one.
        let enough = flow.count(units).saturating_mul(2);
        let played = self.ledger.play(&self.rules, now, flying, class, flow, first, enough);
        let wait = played.wait(&self.rules, now, class, units).unwrap_or(0);
        if let Some(place) = self.played.get_mut(index) {
            *place = Some((key, played));
        }
        wait
    }

    /// Milliseconds until so much up to a class will have gone, what is claimed beside it, and what is due `later`.
    pub(super) fn empties(&self, class: Class, waiting: Mixed, later: &[(i64, Units)], now: Moment) -> i64 {
        self.ledger.empties(&self.rules, now, self.in_flight(), class, waiting, later)
    }

    /// Milliseconds until mail will have gone that joins last of what is due `later`, behind so much up to its class: for each
    /// share of that last one, which goes first of it.
    pub(super) fn joins(
        &self,
        class: Class,
        waiting: Mixed,
        later: &[(i64, Units)],
        shares: &[Units],
        now: Moment,
    ) -> Vec<i64> {
        let played = self.ledger.joined(&self.rules, now, self.in_flight(), class, waiting, later);
        let others = waiting.parted(class).1;
        let before = later.split_last().map_or(&[][..], |(_, before)| before);
        let before = before.iter().fold(others, |sum, (_, more)| sum.plus(*more));
        let wait = |share: &Units| played.wait(&self.rules, now, class, before.plus(*share)).unwrap_or(0);
        shares.iter().map(wait).collect()
    }

    /// What is left of so much mail up to a class when the limits have let go what they let go before they make it wait for
    /// longer than `patience`, in milliseconds; none when they never do. Of what goes first nothing is left: it is asked for
    /// by itself.
    pub(super) fn surplus(
        &mut self,
        class: Class,
        waiting: Mixed,
        patience: i64,
        now: Moment,
    ) -> Option<Units> {
        let (first, units) = waiting.parted(class);
        let over = |rule: &Rule| {
            let one = std::slice::from_ref(rule);
            let standing = self.ledger.standing(rule, now, self.in_flight());
            let free = super::ledger::left(standing, class);
            // What goes first uses up what is kept for it, then what is everybody's.
            let kept = standing.left_for_priority - free;
            let left = free.saturating_sub(first.counted(rule.count).saturating_sub(kept));
            let counted = units.counted(rule.count);
            let next = free.saturating_add(1);
            let next = Units { messages: next, recipients: next };
            let is_long = || self.ledger.wait(one, now, self.in_flight(), class, next) > patience;
            (counted > left && is_long()).then(|| units.share(counted - left, counted))
        };
        self.rules.iter().filter_map(over).max_by_key(|units| (units.recipients, units.messages))
    }

    /// Something took off.
    pub(super) fn take_off(&mut self, class: Class, units: Units) {
        if let Some(flying) = self.flying.get_mut(super::window::index(class)) {
            *flying = flying.plus(units);
        }
        let (_, known) = &mut self.known;
        for (index, known) in known.iter_mut().enumerate() {
            // The other classes' share depends on what is kept for priority.
            *known = known.filter(|_| index == super::window::index(class)).map(|known| known.without(units));
        }
    }

    /// Something came down.
    pub(super) fn land(&mut self, class: Class, units: Units) {
        if let Some(flying) = self.flying.get_mut(super::window::index(class)) {
            *flying = flying.minus(units);
        }
        self.known = Default::default();
    }

    /// Something was taken by the smarthost.
    pub(super) fn record(&mut self, now: Moment, units: Units, class: Class) {
        if units.messages > 0 {
            self.ledger.record(now, units, class);
            self.known = Default::default();
            self.played = Default::default();
        }
    }

    /// The slot that [`record`](Self::record) would use.
    pub(super) fn slot(&self, now: Moment) -> i64 {
        self.ledger.slot(now)
    }

    /// What is in flight of a class and those before it.
    pub(super) fn flying_up_to(&self, class: Class) -> Mixed {
        let up_to = |class: Class| {
            let classes = self.flying.iter().take(super::window::index(class) + 1);
            classes.fold(Units::default(), |sum, one| sum.plus(*one))
        };
        Mixed { all: up_to(class), priority: up_to(Class::Priority) }
    }

    fn in_flight(&self) -> Mixed {
        self.flying_up_to(Class::Bulk)
    }

    /// How each limit stands, and how long until one more message of class normal may go.
    pub(super) fn standings(&self, now: Moment) -> Vec<(Rule, Standing, i64)> {
        let stands = |rule: &Rule| {
            let one = std::slice::from_ref(rule);
            let wait = self.ledger.wait(one, now, self.in_flight(), Class::Normal, Units::message(1));
            (rule.clone(), self.ledger.standing(rule, now, self.in_flight()), wait)
        };
        self.rules.iter().map(stands).collect()
    }

    /// Makes old slots coarser: see [`Ledger::tidy`].
    pub(super) fn tidy(&mut self, now: Moment) -> (Vec<i64>, Vec<Sent>) {
        self.known = Default::default();
        self.played = Default::default();
        self.ledger.tidy(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    const NOW: Moment = Moment { at: 1_795_000_000_000, wall: 1_795_000_000_000 };
    const MINUTE: i64 = 60_000;

    fn quota(limits: &Limits) -> Quota {
        let mut quota = Quota::default();
        quota.rule(limits.rules(), false);
        quota
    }

    fn of(messages: u64, recipients: u64) -> Units {
        Units { messages, recipients }
    }

    #[test]
    fn what_a_long_window_does_not_let_go_is_surplus() {
        let mut day = quota(&Limits { per_day: Some(10), priority_reserve: 2, ..Limits::default() });
        assert_eq!(day.surplus(Class::Normal, Mixed::of(Class::Normal, of(8, 8)), MINUTE, NOW), None);
        assert_eq!(
            day.surplus(Class::Normal, Mixed::of(Class::Normal, of(20, 20)), MINUTE, NOW),
            Some(of(12, 12))
        );
        assert_eq!(
            day.surplus(Class::Priority, Mixed::of(Class::Priority, of(20, 20)), MINUTE, NOW),
            Some(of(10, 10))
        );
        assert_eq!(
            day.surplus(Class::Normal, Mixed::of(Class::Normal, of(4, 16)), MINUTE, NOW),
            Some(of(2, 8)),
            "recipients count"
        );
        // Two of those in front use what is kept for them, the third one what is everybody's.
        let behind = |first| Mixed { all: of(8 + first, 8 + first), priority: of(first, first) };
        let left = [2, 3].map(|first| day.surplus(Class::Normal, behind(first), MINUTE, NOW));
        assert_eq!(left, [None, Some(of(1, 1))]);
        day.take_off(Class::Normal, of(8, 8));
        assert_eq!(
            day.surplus(Class::Normal, Mixed::of(Class::Normal, of(0, 0)), MINUTE, NOW),
            None,
            "all of it is in flight"
        );
        assert_eq!(
            day.surplus(Class::Normal, Mixed::of(Class::Normal, of(1, 1)), MINUTE, NOW),
            Some(of(1, 1))
        );
    }

    #[test]
    fn what_was_sent_does_not_tell_whether_so_much_ever_goes_at_a_stretch() {
        let minute = Limits { per_minute: Some(3), ..Limits::default() };
        let hour = Limits { per_hour: Some(3), ..Limits::default() };
        let second = Limits { batch: Some((std::time::Duration::from_secs(1), 2)), ..Limits::default() };
        for (limits, units, soon) in [
            (&Limits::default(), of(1, 1_000), true),
            (&minute, of(1, 3), true),
            (&minute, of(1, 7), false),
            (&hour, of(1, 3), true),
            (&hour, of(1, 4), false),
            (&second, of(20, 20), true),
            (&second, of(200, 200), false),
        ] {
            let mut quota = quota(limits);
            for _ in 0..3 {
                let wait = quota.wait_afresh(Class::Normal, units, NOW);
                assert_eq!(wait <= MINUTE, soon, "{limits:?} {units:?}: {wait}");
                quota.record(NOW, of(1, 1), Class::Normal);
            }
        }
    }

    #[test]
    fn what_was_played_for_one_message_holds_for_the_next_until_something_is_sent() {
        let limits = Limits { batch: Some((std::time::Duration::from_secs(1), 4)), ..Limits::default() };
        let mut behind = quota(&limits);
        let fresh = |behind: &Quota, units, now| {
            behind.ledger.wait(&behind.rules, now, behind.in_flight(), Class::Normal, units)
        };
        for number in (1..=100_u64).chain([4_000, 4_100, 90_000, 100_000]) {
            for ms in [0, 30, 60] {
                let (units, now) = (of(number, number), Moment { at: NOW.at + ms, wall: NOW.wall + ms });
                let told = behind.wait(Class::Normal, Mixed::of(Class::Normal, units), Units::default(), now);
                assert!((told - fresh(&behind, units, now)).abs() < 100, "{number} at {ms}: {told}");
            }
        }
        behind.record(NOW, of(4, 4), Class::Normal);
        behind.take_off(Class::Normal, of(1, 1));
        let told = behind.wait(Class::Normal, Mixed::of(Class::Normal, of(50, 50)), Units::default(), NOW);
        assert_eq!(told, fresh(&behind, of(50, 50), NOW));
    }

    #[test]
    fn a_queue_that_moves_has_no_surplus_however_long_it_is() {
        let mut slow = quota(&Limits { per_minute: Some(5), ..Limits::default() });
        assert_eq!(
            slow.surplus(Class::Normal, Mixed::of(Class::Normal, of(5_000, 5_000)), MINUTE, NOW),
            None
        );
        let mut both = quota(&Limits { per_minute: Some(5), per_day: Some(50), ..Limits::default() });
        assert_eq!(
            both.surplus(Class::Normal, Mixed::of(Class::Normal, of(60, 60)), MINUTE, NOW),
            Some(of(10, 10))
        );
    }
}
