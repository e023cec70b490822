//! Whether a lane flows, and when a stopped one is probed. Pure; time is an argument.
//!
//! While a lane stands no attempts are counted: one message at a time goes as a probe, ever less often, and the first
//! that the smarthost answers lets everything flow. A refused login freezes the lane: the same, but seldom enough
//! that no account gets locked, and an admin is told.
//!
//! What one message was told may be about that message alone. So the first probe behind it is another one, and soon;
//! if that goes, the one that stopped the lane doesn't stop it again ([`Suspects`]). Nothing here fails.

use crate::deliver::verdict::{Cause, Stage, Stop};
use crate::queue::QueueId;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;

/// The state of one smarthost's lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LaneState {
    /// Everything that is due may go.
    #[default]
    Flowing,
    /// Nothing goes but one probe at a time; it will flow again by itself.
    Stopped(Halt),
    /// The same, but an admin must act: status says why.
    Frozen(Halt),
}

/// A halt, and how it is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// When it began.
    pub since: Timestamp,
    /// What stopped it.
    pub stop: Stop,
    /// The last reason given.
    pub cause: Cause,
    /// When the next probe may go.
    pub next_probe: Timestamp,
    /// Probes that failed.
    pub probes: u32,
    /// Whether one is on its way.
    pub probing: bool,
}

/// What a lane may send now.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Everything that is due.
    All,
    /// One message, as a probe.
    Probe,
    /// Nothing before this time; none while a probe is on its way.
    Wait(Option<Timestamp>),
}

/// What changed, for one line of the log and one event.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody must be told.
    None,
    /// It stopped.
    Stopped,
    /// It froze.
    Frozen,
    /// It flows again; it had stood since then.
    Resumed {
        /// When the halt began.
        since: Timestamp,
    },
}

impl LaneState {
    /// May something be sent at `now`? A permit to probe is given to one caller at a time, who must end it with
    /// [`stop`](Self::stop), [`succeeded`](Self::succeeded) or [`probe_abandoned`](Self::probe_abandoned).
    pub fn ask(&mut self, now: Timestamp) -> Permit {
        let Some(halt) = self.halt_mut() else { return Permit::All };
        if halt.probing {
            return Permit::Wait(None);
        }
        if now < halt.next_probe {
            return Permit::Wait(Some(halt.next_probe));
        }
        halt.probing = true;
        Permit::Probe
    }

    /// A verdict stopped the lane at `now`. Ends a probe; what fails beside it, because it was under way when the
    /// lane stopped, doesn't put the next probe off.
    pub fn stop(&mut self, stop: Stop, cause: Cause, now: Timestamp) -> Change {
        let (since, failed, was) = match self {
            Self::Flowing => (now, 0, None),
            Self::Stopped(halt) | Self::Frozen(halt) => {
                let failed = if halt.stop == stop { halt.probes + u32::from(halt.probing) } else { 0 };
                (halt.since, failed, Some((halt.stop, halt.probing, halt.next_probe)))
            }
        };
        let next_probe = match was {
            Some((before, false, next_probe)) if before == stop => next_probe,
            _ => now.checked_add(wait(stop, cause.stage, failed)).unwrap_or(Timestamp::MAX),
        };
        let halt = Halt { since, stop, cause, next_probe, probes: failed, probing: false };
        let was_frozen = matches!(self, Self::Frozen(_));
        let freezes = stop == Stop::Login;
        *self = if freezes { Self::Frozen(halt) } else { Self::Stopped(halt) };
        match (was, freezes) {
            (_, true) if !was_frozen => Change::Frozen,
            (None, false) => Change::Stopped,
            (Some((before, ..)), false) if before != stop => Change::Stopped,
            _ => Change::None,
        }
    }

    /// The smarthost did its work, if only to say no to one message: the lane flows.
    pub fn succeeded(&mut self) -> Change {
        match std::mem::take(self) {
            Self::Flowing => Change::None,
            Self::Stopped(halt) | Self::Frozen(halt) => Change::Resumed { since: halt.since },
        }
    }

    /// A probe ended without saying anything about the smarthost (nothing was due, or it was cancelled): another may
    /// go at once.
    pub fn probe_abandoned(&mut self) {
        if let Some(halt) = self.halt_mut() {
            halt.probing = false;
        }
    }

    /// An admin or a reload wants a probe at once.
    pub fn retry_now(&mut self, now: Timestamp) {
        if let Some(halt) = self.halt_mut() {
            halt.next_probe = halt.next_probe.min(now);
            halt.probes = 0;
        }
    }

    /// Why nothing flows; none if it does.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        match self {
            Self::Flowing => None,
            Self::Stopped(halt) | Self::Frozen(halt) => Some(halt),
        }
    }

    fn halt_mut(&mut self) -> Option<&mut Halt> {
        match self {
            Self::Flowing => None,
            Self::Stopped(halt) | Self::Frozen(halt) => Some(halt),
        }
    }
}

/// Messages that stopped a lane, each by what it was told from MAIL on.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Of these nobody knows yet whether it was about them.
    open: HashSet<QueueId>,
    /// Others went since: it was.
    alone: HashSet<QueueId>,
}

impl Suspects {
    /// A message stopped the lane; false when too many did for this one to be remembered.
    pub fn add(&mut self, id: QueueId) -> bool {
        let has_room = self.open.len() < MOST_SUSPECTS;
        if has_room {
            self.open.insert(id);
        }
        has_room
    }

    /// The smarthost did its work for this message, if only to say no; whether that was the `last` word on it. Gives whether
    /// any was suspected.
    pub fn goes(&mut self, id: QueueId, last: bool) -> bool {
        let any = !self.open.is_empty();
        self.open.remove(&id);
        if last {
            self.alone.remove(&id);
        }
        if self.alone.len() + self.open.len() > MOST_SUSPECTS {
            self.alone.clear();
        }
        self.alone.extend(self.open.drain());
        any
    }

    /// Whether a single message stopped the lane, so that the next one tells more.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.open.len() == 1
    }

    /// Whether what this message is told is about it alone.
    #[must_use]
    pub fn is_alone(&self, id: QueueId) -> bool {
        self.alone.contains(&id)
    }
}

/// More of them aren't remembered: each may stop the lane once more then.
const MOST_SUSPECTS: usize = 1_000;

/// How long until the first probe when a message was told something that may be about it alone.
const OTHER: SignedDuration = SignedDuration::from_secs(5);

/// How long until the next probe, after so many failed; the last one repeats.
fn wait(stop: Stop, stage: Stage, failed: u32) -> SignedDuration {
    let Some(failed) = failed.checked_sub(u32::from(stage >= Stage::Mail)) else { return OTHER };
    let seconds: &[i64] = match stop {
        Stop::Down | Stop::Tls | Stop::Local | Stop::Policy => &[30, 60, 120, 300, 600],
        Stop::Busy => &[5, 30, 60, 120, 300, 600],
        // A few logins an hour: more of them lock accounts.
        Stop::Login | Stop::LoginLater => &[300, 900, 1800],
        Stop::Quota => &[900, 1800, 3600],
    };
    let at = usize::try_from(failed).unwrap_or(usize::MAX).min(seconds.len() - 1);
    SignedDuration::from_secs(seconds.get(at).copied().unwrap_or(600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::{Fault, Stage};
    use crate::smtp::reply::Reply;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn cause() -> Cause {
        Cause {
            reply: Reply::new(451, None, "later"),
            from_peer: true,
            stage: Stage::Greeting,
            fault: Fault::Smarthost,
            advice: None,
        }
    }

    /// When the probes go if each fails the moment it goes, in seconds since the halt.
    fn probes(stop: Stop) -> Vec<i64> {
        let mut state = LaneState::default();
        let _ = state.stop(stop, cause(), at(0));
        let mut times = Vec::new();
        for _ in 0..8 {
            let due = state.halt().unwrap().next_probe;
            assert_eq!(state.ask(due), Permit::Probe);
            times.push(due.as_second() - at(0).as_second());
            let _ = state.stop(stop, cause(), due);
        }
        times
    }

    #[test]
    fn probes_go_less_and_less_often() {
        assert_eq!(probes(Stop::Down), [30, 90, 210, 510, 1110, 1710, 2310, 2910]);
        assert_eq!(probes(Stop::Tls), [30, 90, 210, 510, 1110, 1710, 2310, 2910]);
        assert_eq!(probes(Stop::Policy), [30, 90, 210, 510, 1110, 1710, 2310, 2910]);
        assert_eq!(probes(Stop::Local), [30, 90, 210, 510, 1110, 1710, 2310, 2910]);
        assert_eq!(probes(Stop::Busy), [5, 35, 95, 215, 515, 1115, 1715, 2315]);
        assert_eq!(probes(Stop::Login), [300, 1200, 3000, 4800, 6600, 8400, 10200, 12000]);
        assert_eq!(probes(Stop::LoginLater), [300, 1200, 3000, 4800, 6600, 8400, 10200, 12000]);
        assert_eq!(probes(Stop::Quota), [900, 2700, 6300, 9900, 13500, 17100, 20700, 24300]);
    }

    #[test]
    fn behind_what_a_message_was_told_another_goes_soon() {
        let told = || Cause { stage: Stage::Rcpt, ..cause() };
        let mut state = LaneState::default();
        assert_eq!(state.stop(Stop::Quota, told(), at(0)), Change::Stopped);
        for due in [5, 905, 2705, 6305] {
            assert_eq!(state.ask(at(due - 1)), Permit::Wait(Some(at(due))));
            assert_eq!(state.ask(at(due)), Permit::Probe);
            assert_eq!(state.stop(Stop::Quota, told(), at(due)), Change::None);
        }
    }

    #[test]
    fn who_stopped_the_lane_is_alone_when_others_go() {
        let id = |number: u64| format!("{number:013}").parse::<QueueId>().unwrap();
        let mut suspects = Suspects::default();
        suspects.add(id(1));
        suspects.add(id(1));
        assert!(suspects.is_one());
        suspects.add(id(2));
        assert!(!suspects.is_one(), "two were told so");
        assert!(!suspects.is_alone(id(1)));
        suspects.goes(id(2), true);
        assert!(suspects.is_alone(id(1)) && !suspects.is_alone(id(2)));
        suspects.goes(id(1), false);
        assert!(suspects.is_alone(id(1)), "it was deferred");
        suspects.goes(id(1), true);
        assert!(!suspects.is_alone(id(1)), "it went itself");
    }

    #[test]
    fn one_probe_goes_at_a_time_and_success_lets_everything_flow() {
        let mut state = LaneState::default();
        assert_eq!(state.ask(at(0)), Permit::All);
        assert_eq!(state.stop(Stop::Down, cause(), at(0)), Change::Stopped);
        assert_eq!(state.ask(at(29)), Permit::Wait(Some(at(30))));
        assert_eq!(state.ask(at(30)), Permit::Probe);
        assert_eq!(state.ask(at(31)), Permit::Wait(None));
        assert_eq!(state.succeeded(), Change::Resumed { since: at(0) });
        assert_eq!(state.ask(at(31)), Permit::All);
        assert_eq!(state.succeeded(), Change::None);
    }

    #[test]
    fn what_was_under_way_does_not_put_the_probe_off() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(0));
        assert_eq!(state.stop(Stop::Down, cause(), at(20)), Change::None);
        assert_eq!(state.halt().unwrap().next_probe, at(30));
        assert_eq!(state.halt().unwrap().since, at(0));
    }

    #[test]
    fn a_refused_login_freezes_and_another_reason_thaws() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(0));
        assert_eq!(state.ask(at(30)), Permit::Probe);
        assert_eq!(state.stop(Stop::Login, cause(), at(31)), Change::Frozen);
        assert!(matches!(&state, LaneState::Frozen(halt) if halt.next_probe == at(331)));
        assert_eq!(state.ask(at(331)), Permit::Probe);
        assert_eq!(state.stop(Stop::Login, cause(), at(332)), Change::None, "told once");
        state.retry_now(at(400));
        assert_eq!(state.ask(at(400)), Permit::Probe);
        assert_eq!(state.stop(Stop::Busy, cause(), at(401)), Change::Stopped);
        assert!(matches!(state, LaneState::Stopped(_)));
    }

    #[test]
    fn an_abandoned_probe_makes_room_for_another() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(0));
        assert_eq!(state.ask(at(30)), Permit::Probe);
        state.probe_abandoned();
        assert_eq!(state.ask(at(30)), Permit::Probe);
    }
}
