//! A lane's limits at work: the rules, what was sent, what is in flight, and the answer that is asked for most.

use super::ledger::{Allowance, Flying, Ledger, Moment, Sent, Standing};
use super::limits::{Rule, Units};
use crate::message::envelope::Class;

/// What a lane may send, and did.
#[derive(Debug, Default)]
pub(super) struct Quota {
    rules: Vec<Rule>,
    ledger: Ledger,
    flying: Flying,
    /// What each class may send at that millisecond; forgotten when more may have become free.
    known: (i64, [Option<Allowance>; 3]),
}

impl Quota {
    /// Takes new rules; what was sent under the old ones counts.
    pub(super) fn rule(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
        self.known = Default::default();
    }

    /// Takes what was sent from the index.
    pub(super) fn load(&mut self, sent: Vec<Sent>) {
        self.ledger = Ledger::of(sent);
        self.known = Default::default();
    }

    /// Whether anything is limited at all.
    pub(super) fn is_limited(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What of a class may go now.
    pub(super) fn allowance(&mut self, class: Class, now: Moment) -> Allowance {
        if !self.is_limited() {
            return Allowance::UNLIMITED;
        }
        if self.known.0 != now.at {
            self.known = (now.at, [None; 3]);
        }
        let index = super::lane::index(class);
        if let Some(Some(known)) = self.known.1.get(index) {
            return *known;
        }
        let allowance = self.ledger.allowance(&self.rules, now, self.flying, class);
        if let Some(known) = self.known.1.get_mut(index) {
            *known = Some(allowance);
        }
        allowance
    }

    /// Milliseconds until `units` more of a class will have gone.
    pub(super) fn wait(&mut self, class: Class, units: Units, now: Moment) -> i64 {
        let allowance = self.allowance(class, now);
        if units.messages <= allowance.messages && units.recipients <= allowance.recipients {
            return 0;
        }
        self.ledger.wait(&self.rules, now, self.flying, class, units)
    }

    /// Something took off.
    pub(super) fn take_off(&mut self, class: Class, units: Units) {
        self.flying.all = self.flying.all.plus(units);
        if class == Class::Priority {
            self.flying.priority = self.flying.priority.plus(units);
        }
        let (_, known) = &mut self.known;
        for (index, known) in known.iter_mut().enumerate() {
            // The other classes' share depends on what is kept for priority.
            *known = known.filter(|_| index == super::lane::index(class)).map(|known| known.without(units));
        }
    }

    /// Something came down.
    pub(super) fn land(&mut self, class: Class, units: Units) {
        self.flying.all = self.flying.all.minus(units);
        if class == Class::Priority {
            self.flying.priority = self.flying.priority.minus(units);
        }
        self.known = Default::default();
    }

    /// Something was taken by the smarthost.
    pub(super) fn record(&mut self, now: Moment, units: Units, class: Class) {
        if units.messages > 0 {
            self.ledger.record(now, units, class);
            self.known = Default::default();
        }
    }

    /// The slot that [`record`](Self::record) would use.
    pub(super) fn slot(&self, now: Moment) -> i64 {
        self.ledger.slot(now)
    }

    /// What is in flight.
    pub(super) fn flying(&self) -> Units {
        self.flying.all
    }

    /// How each limit stands, and how long until one more message of class normal may go.
    pub(super) fn standings(&self, now: Moment) -> Vec<(Rule, Standing, i64)> {
        let stands = |rule: &Rule| {
            let one = std::slice::from_ref(rule);
            let wait = self.ledger.wait(one, now, self.flying, Class::Normal, Units::message(1));
            (rule.clone(), self.ledger.standing(rule, now, self.flying), wait)
        };
        self.rules.iter().map(stands).collect()
    }

    /// Makes old slots coarser: see [`Ledger::tidy`].
    pub(super) fn tidy(&mut self, now: Moment) -> (Vec<i64>, Vec<Sent>) {
        self.known = Default::default();
        self.ledger.tidy(now)
    }
}
