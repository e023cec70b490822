//! How many events may be on their way to one endpoint at once. Pure; time is an argument.
//!
//! Four, as a rule. One, while the endpoint says that it is strained. While it can't be reached at all, one in a while
//! as a probe: the others wait without an attempt, so that a day's outage doesn't use up what the schedule gives them.

use super::schedule::Health;
use jiff::{SignedDuration, Timestamp};

/// Posts at once to an endpoint that is well.
pub const AT_ONCE: usize = 4;
/// Seconds between probes, by how many failed; the last one repeats. None is longer than the wait of the contract's
/// schedule, so that a lone event goes by that schedule exactly.
const PROBES: &[i64] = &[4, 10, 30, 60, 120, 300];

/// Lets through as many as the endpoint can take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// Nothing goes before then.
    not_before: Option<Timestamp>,
    /// Nor before this, which it asked for (`Retry-After`).
    asked: Option<Timestamp>,
    /// One at a time.
    strained: bool,
    /// Since when it can't be reached, and how many probes said so.
    down: Option<(Timestamp, usize)>,
}

impl Gate {
    /// How many more may go at `now`, with so many under way.
    #[must_use]
    pub fn room(&self, now: Timestamp, under_way: usize) -> usize {
        if self.opens().is_some_and(|time| now < time) {
            return 0;
        }
        let most = if self.strained || self.down.is_some() { 1 } else { AT_ONCE };
        most.saturating_sub(under_way)
    }

    /// When there may be room, if not now.
    #[must_use]
    pub fn opens(&self) -> Option<Timestamp> {
        self.not_before.max(self.asked)
    }

    /// Since when it can't be reached.
    #[must_use]
    pub fn down_since(&self) -> Option<Timestamp> {
        self.down.map(|(since, _)| since)
    }

    /// An attempt ended at `now`; whether that changes if the endpoint can be reached.
    pub fn ended(&mut self, health: Health, now: Timestamp) -> bool {
        let was_down = self.down.is_some();
        // What it asked for holds, whatever else was under way then and ends now.
        let asked = self.asked_until(now);
        match health {
            Health::Answers => *self = Self { asked, strained: asked.is_some(), ..Self::default() },
            Health::Strained(until) => {
                *self = Self { asked: asked.max(until), strained: true, ..Self::default() };
            }
            Health::Unreachable => {
                // What was under way when it went down says nothing new.
                let early = was_down && self.not_before.is_some_and(|time| now < time);
                let (since, failed) = self.down.unwrap_or((now, 0));
                if !early {
                    let wait = PROBES.get(failed.min(PROBES.len() - 1)).copied().unwrap_or(300);
                    self.not_before = now.checked_add(SignedDuration::from_secs(wait)).ok();
                    self.down = Some((since, failed + 1));
                }
                self.strained = false;
            }
        }
        was_down != self.down.is_some()
    }

    /// A reload wants it tried now; what it asked for holds.
    pub fn open_now(&mut self) {
        let down = self.down.map(|(since, _)| (since, 0));
        *self = Self { not_before: None, asked: self.asked, strained: self.asked.is_some(), down };
    }

    /// What it asked for before a restart holds.
    pub fn resume(&mut self, asked: Option<Timestamp>, now: Timestamp) {
        self.asked = self.asked.max(asked.filter(|time| now < *time));
        self.strained |= self.asked.is_some();
    }

    /// An admin wants it tried now, whatever it asked for.
    pub fn open_by_force(&mut self) {
        self.asked = None;
        self.open_now();
    }

    /// Until when it asked for a pause, if that isn't over at `now`.
    #[must_use]
    pub fn asked_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.asked.filter(|time| now < *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    #[test]
    fn four_go_at_once_to_an_endpoint_that_is_well() {
        let gate = Gate::default();
        assert_eq!([0, 1, 3, 4, 9].map(|under_way| gate.room(at(0), under_way)), [4, 3, 1, 0, 0]);
    }

    #[test]
    fn a_strained_endpoint_gets_one_at_a_time_and_none_before_it_said() {
        let mut gate = Gate::default();
        assert!(!gate.ended(Health::Strained(None), at(0)));
        assert_eq!((gate.room(at(0), 0), gate.room(at(0), 1)), (1, 0));
        assert!(!gate.ended(Health::Strained(Some(at(60))), at(1)));
        assert_eq!((gate.room(at(59), 0), gate.room(at(60), 0), gate.opens()), (0, 1, Some(at(60))));
        assert!(!gate.ended(Health::Answers, at(60)));
        assert_eq!(gate.room(at(60), 0), 4);
    }

    #[test]
    fn what_an_endpoint_asked_for_holds_whatever_else_ends_meanwhile() {
        for health in
            [Health::Answers, Health::Strained(None), Health::Strained(Some(at(5))), Health::Unreachable]
        {
            let mut gate = Gate::default();
            assert!(!gate.ended(Health::Strained(Some(at(60))), at(0)));
            gate.ended(health, at(1));
            gate.open_now();
            assert_eq!((gate.room(at(59), 0), gate.opens()), (0, Some(at(60))));
            gate.ended(Health::Answers, at(60));
            assert_eq!(gate.room(at(60), 0), 4);
        }
    }

    #[test]
    fn an_admin_is_above_what_an_endpoint_asked_for() {
        let mut gate = Gate::default();
        assert!(!gate.ended(Health::Strained(Some(at(60))), at(0)));
        assert_eq!((gate.asked_until(at(59)), gate.asked_until(at(60))), (Some(at(60)), None));
        gate.open_by_force();
        assert_eq!((gate.room(at(1), 0), gate.asked_until(at(1))), (4, None));
    }

    #[test]
    fn an_endpoint_that_is_down_is_probed_less_and_less_often() {
        let mut gate = Gate::default();
        assert!(gate.ended(Health::Unreachable, at(0)));
        // Three others were under way.
        for _ in 0..3 {
            assert!(!gate.ended(Health::Unreachable, at(1)));
        }
        let mut times = Vec::new();
        for _ in 0..8 {
            let next = gate.opens().unwrap();
            assert_eq!((gate.room(next - SignedDuration::from_secs(1), 0), gate.room(next, 0)), (0, 1));
            assert_eq!(gate.room(next, 1), 0);
            times.push(next.as_second() - at(0).as_second());
            assert!(!gate.ended(Health::Unreachable, next));
        }
        assert_eq!(times, [4, 14, 44, 104, 224, 524, 824, 1124]);
        assert_eq!(gate.down_since(), Some(at(0)));
        assert!(gate.ended(Health::Answers, at(1124)), "it is told that it is back");
        assert_eq!((gate.room(at(1124), 0), gate.down_since()), (4, None));
    }

    #[test]
    fn what_it_asked_for_before_a_restart_holds() {
        let mut gate = Gate::default();
        gate.resume(Some(at(-1)), at(0));
        assert_eq!((gate.clone(), gate.room(at(0), 0)), (Gate::default(), AT_ONCE), "it is over");
        gate.resume(Some(at(60)), at(0));
        assert_eq!((gate.room(at(59), 0), gate.room(at(60), 0)), (0, 1));
        assert_eq!(gate.asked_until(at(0)), Some(at(60)));
    }

    #[test]
    fn a_reload_lets_a_probe_go_at_once() {
        let mut gate = Gate::default();
        let _ = gate.ended(Health::Unreachable, at(0));
        gate.open_now();
        assert_eq!((gate.room(at(0), 0), gate.room(at(0), 1)), (1, 0));
        assert!(gate.ended(Health::Answers, at(0)), "it is told that it is back");
        gate.open_now();
        assert_eq!(gate.room(at(0), 0), 4);
    }
}
