//! Whether a lane flows, and when a stopped one is probed. Pure; time is an argument.

use crate::deliver::verdict::{Cause, Stop};
use jiff::Timestamp;

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
    /// One message, as a probe; [`LaneState::probe_started`] was counted.
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
    /// May something be sent at `now`? A permit to probe is given to one caller at a time.
    pub fn ask(&mut self, now: Timestamp) -> Permit {
        let _ = now;
        Permit::All
    }

    /// A verdict stopped the lane at `now`.
    pub fn stop(&mut self, stop: Stop, cause: Cause, now: Timestamp) -> Change {
        let _ = (stop, cause, now);
        Change::None
    }

    /// The smarthost did its work: the lane flows.
    pub fn succeeded(&mut self) -> Change {
        Change::None
    }

    /// A probe ended without saying anything about the smarthost (nothing was due, or it was cancelled).
    pub fn probe_abandoned(&mut self) {}

    /// An admin or a reload wants a probe at once.
    pub fn retry_now(&mut self, now: Timestamp) {
        let _ = now;
    }
}
