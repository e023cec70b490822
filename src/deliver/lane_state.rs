//! Whether a lane flows, and when a stopped one is probed. Pure; time is an argument.
//!
//! While a lane stands no attempts are counted: one message at a time goes as a probe, ever less often, and the first
//! that the smarthost answers lets everything flow. A refused login freezes the lane: the same, but seldom enough
//! that no account gets locked, and an admin is told.
//!
//! What one message was told may be about that message alone. So the first probe behind it is another one, and soon;
//! if that comes further, the one that stopped the lane doesn't stop it again ([`Suspects`]). Nothing here fails.

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
    /// The one that is on its way.
    pub probing: Option<Probe>,
    /// Of one that is only a look at another message: when the next probe was to go without it, and will go if it fails.
    pub look: Option<Timestamp>,
}

/// A probe on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Which it is; no other has this number.
    pub number: u64,
    /// When it began.
    pub since: Timestamp,
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
    /// It flows again.
    Resumed,
}

impl LaneState {
    /// May something be sent at `now`? A permit to probe is given to one caller at a time, who must end it with
    /// [`stop`](Self::stop) or [`succeeded`](Self::succeeded) as far as it tells anything, and with [`probe_over`](Self::probe_over)
    /// by this `number`, which no other has, in any case.
    pub fn ask(&mut self, now: Timestamp, number: u64) -> Permit {
        let Some(halt) = self.halt_mut() else { return Permit::All };
        if halt.probing.is_some() {
            return Permit::Wait(None);
        }
        if let Some(longest) = waits(halt.stop).last()
            && halt.next_probe.duration_since(now).as_secs() > *longest
        {
            // Somebody set the clock back.
            let next_probe = now.checked_add(SignedDuration::from_secs(*longest)).unwrap_or(now);
            let by = halt.next_probe.duration_since(next_probe);
            halt.since = halt.since.checked_sub(by).unwrap_or(halt.since);
            halt.next_probe = next_probe;
        }
        if now < halt.next_probe {
            return Permit::Wait(Some(halt.next_probe));
        }
        halt.probing = Some(Probe { number, since: now });
        Permit::Probe
    }

    /// A verdict stopped the lane at `now`. Ends a probe; what fails beside it, because it was under way when the
    /// lane stopped, doesn't put the next probe off.
    pub fn stop(&mut self, stop: Stop, cause: Cause, now: Timestamp) -> Change {
        let was = self.halt().cloned();
        let same = was.as_ref().filter(|halt| halt.stop == stop);
        let is_probe = |halt: &Halt| halt.probing.is_some() && halt.look.is_none();
        let probes = same.map_or(0, |halt| halt.probes + u32::from(is_probe(halt)));
        let (next_probe, look) = match same {
            Some(halt) if halt.probing.is_none() => (halt.next_probe, halt.look),
            Some(Halt { look: Some(planned), .. }) => (*planned, None),
            _ => (now.checked_add(wait(stop, cause.stage, probes)).unwrap_or(Timestamp::MAX), None),
        };
        let since = was.as_ref().map_or(now, |halt| halt.since);
        let halt = Halt { since, stop, cause, next_probe, probes, probing: None, look };
        let was_frozen = matches!(self, Self::Frozen(_));
        let freezes = stop == Stop::Login;
        *self = if freezes { Self::Frozen(halt) } else { Self::Stopped(halt) };
        match (was, freezes) {
            (_, true) if !was_frozen => Change::Frozen,
            (None, false) => Change::Stopped,
            (Some(before), false) if before.stop != stop => Change::Stopped,
            _ => Change::None,
        }
    }

    /// The smarthost did its work, if only to say no to one message: the lane flows.
    pub fn succeeded(&mut self) -> Change {
        match std::mem::take(self) {
            Self::Flowing => Change::None,
            Self::Stopped(_) | Self::Frozen(_) => Change::Resumed,
        }
    }

    /// A probe has ended. If it didn't say anything about the smarthost (nothing was due, it was cancelled, its message goes
    /// again in another form), another may go at once.
    pub fn probe_over(&mut self, number: u64) {
        if let Some(halt) = self.halt_mut()
            && halt.probing.is_some_and(|probe| probe.number == number)
        {
            halt.probing = None;
        }
    }

    /// A probe came to nothing that tells of the smarthost: the next one waits as behind one that failed.
    pub fn probe_told_nothing(&mut self, now: Timestamp) -> Option<Timestamp> {
        let halt = self.halt().filter(|halt| halt.probing.is_some())?;
        let (stop, cause) = (halt.stop, halt.cause.clone());
        let _ = self.stop(stop, cause, now);
        self.halt().map(|halt| halt.next_probe)
    }

    /// A look at another message is worth more than waiting. If it fails, probes go as they would have gone without it.
    pub fn look_now(&mut self, now: Timestamp) {
        if let Some(halt) = self.halt_mut()
            && halt.next_probe > now
        {
            halt.look = Some(halt.next_probe);
            halt.next_probe = now;
        }
    }

    /// An admin or a reload wants a probe at once.
    pub fn retry_now(&mut self, now: Timestamp) {
        if let Some(halt) = self.halt_mut() {
            halt.next_probe = halt.next_probe.min(now);
            halt.probes = 0;
            halt.look = None;
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

    /// Whether it stands for what a message was told, and not for what a connection met.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.halt().is_some_and(|halt| halt.cause.stage >= Stage::Mail)
    }

    fn halt_mut(&mut self) -> Option<&mut Halt> {
        match self {
            Self::Flowing => None,
            Self::Stopped(halt) | Self::Frozen(halt) => Some(halt),
        }
    }
}

/// What is known of the messages that stopped a lane, each by what it was told from MAIL on. Which they are, the queue
/// knows, because it gives others first ([`crate::queue::Lane::spare`]).
#[derive(Debug, Default)]
pub struct Suspects {
    /// The furthest stage at which one was stopped, and when the last one was; none while there are none.
    told: Option<(Stage, Timestamp)>,
    /// Others went since, soon and further: it was about these alone.
    alone: HashSet<QueueId>,
    /// Not before then is another one sent ahead of the next probe.
    next_look: Option<Timestamp>,
}

impl Suspects {
    /// A message was stopped at this stage; whether it `is_new` among the suspects.
    pub fn add(&mut self, stage: Stage, is_new: bool, now: Timestamp) {
        let furthest = self.told.map_or(stage, |(before, _)| before.max(stage));
        self.told = Some((furthest, now));
        if is_new {
            self.next_look = None;
        }
    }

    /// How far a message must come to show that the suspects were stopped for their own sake; none without suspects.
    #[must_use]
    pub fn told(&self) -> Option<Stage> {
        self.told.map(|(stage, _)| stage)
    }

    /// Another message came further at `now`. Several suspects in an outage that has passed meanwhile are none any more; one of
    /// which nobody knows more, and several that were stopped a moment ago, were stopped for their own sake.
    pub fn clear(&mut self, suspects: Vec<QueueId>, now: Timestamp) {
        let Some((_, last)) = self.told.take() else { return };
        if suspects.len() > 1 && now.duration_since(last) > LATELY {
            return;
        }
        if self.alone.len() + suspects.len() > MOST_ALONE {
            self.alone.clear();
        }
        self.alone.extend(suspects);
    }

    /// Nothing is left to say of this message.
    pub fn forget(&mut self, id: QueueId) {
        self.alone.remove(&id);
    }

    /// Whether what this message is told is about it alone.
    #[must_use]
    pub fn is_alone(&self, id: QueueId) -> bool {
        self.alone.contains(&id)
    }

    /// Whether another message may go at once, to see more, behind so many suspects: a few are worth it.
    #[must_use]
    pub fn may_look(&self, suspects: usize, now: Timestamp) -> bool {
        (1..=FEW).contains(&suspects) && self.next_look.is_none_or(|time| time <= now)
    }

    /// Another message goes; whatever comes of it, the next doesn't go at once, unless this one becomes a suspect.
    pub fn look(&mut self, now: Timestamp) {
        self.next_look = now.checked_add(OTHER).ok();
    }

    /// The one that went told nothing: the next one waits for the next probe.
    pub fn look_at(&mut self, probe: Timestamp) {
        self.next_look = Some(probe);
    }
}

/// So many messages that stop a lane one after the other may each be poisoned; when more do, it is the smarthost.
const FEW: usize = 3;
/// What was said so long ago was said of the lane, if others were told it, too, and aren't any more.
const LATELY: SignedDuration = SignedDuration::from_mins(1);
/// More of them aren't remembered: each may stop the lane once more then.
const MOST_ALONE: usize = 1_000;

/// How long until the first probe when a message was told something that may be about it alone.
const OTHER: SignedDuration = SignedDuration::from_secs(5);

/// How long until each probe, in seconds, from short to long; the last one repeats.
fn waits(stop: Stop) -> &'static [i64] {
    match stop {
        Stop::Down | Stop::Tls | Stop::Local | Stop::Policy => &[30, 60, 120, 300, 600],
        Stop::Busy => &[5, 30, 60, 120, 300, 600],
        // A few logins an hour: more of them lock accounts.
        Stop::Login | Stop::LoginLater => &[300, 900, 1800],
        Stop::Quota => &[900, 1800, 3600],
    }
}

/// How long until the next probe, after so many failed.
fn wait(stop: Stop, stage: Stage, failed: u32) -> SignedDuration {
    let Some(failed) = failed.checked_sub(u32::from(stage >= Stage::Mail)) else { return OTHER };
    let seconds = waits(stop);
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
            would_stop: false,
        }
    }

    /// When the probes go if each fails the moment it goes, in seconds since the halt.
    fn probes(stop: Stop) -> Vec<i64> {
        let mut state = LaneState::default();
        let _ = state.stop(stop, cause(), at(0));
        let mut times = Vec::new();
        for _ in 0..8 {
            let due = state.halt().unwrap().next_probe;
            assert_eq!(state.ask(due, 1), Permit::Probe);
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
            assert_eq!(state.ask(at(due - 1), 1), Permit::Wait(Some(at(due))));
            assert_eq!(state.ask(at(due), 1), Permit::Probe);
            assert_eq!(state.stop(Stop::Quota, told(), at(due)), Change::None);
        }
    }

    #[test]
    fn who_stopped_the_lane_is_alone_when_another_came_further_soon() {
        let id = |number: u64| format!("{number:013}").parse::<QueueId>().unwrap();
        for (ids, seconds, expected, reason) in [
            (vec![id(1)], 1, 1, "it was the only one"),
            (vec![id(1)], 3_600, 1, "nobody else was told so"),
            (vec![id(1), id(2)], 60, 2, "others go a moment later"),
            (vec![id(1), id(2)], 61, 0, "an outage that has passed"),
        ] {
            let mut suspects = Suspects::default();
            for _ in &ids {
                suspects.add(Stage::Mail, true, at(0));
            }
            suspects.clear(ids.clone(), at(seconds));
            assert_eq!(ids.iter().filter(|id| suspects.is_alone(**id)).count(), expected, "{reason}");
            assert_eq!(suspects.told(), None);
            suspects.forget(id(1));
            assert!(!suspects.is_alone(id(1)), "it went itself");
        }
    }

    #[test]
    fn a_few_others_go_at_once_and_then_none() {
        let mut suspects = Suspects::default();
        assert!(!suspects.may_look(0, at(0)), "nobody is one");
        for (number, may) in [(1, true), (2, true), (3, true), (4, false)] {
            suspects.add(Stage::Mail, true, at(0));
            assert_eq!(suspects.may_look(number, at(0)), may, "{number}");
            suspects.look(at(0));
            assert!(!suspects.may_look(number, at(4)), "one is on its way, or was no other");
        }
        suspects.add(Stage::Rcpt, false, at(1));
        assert!(!suspects.may_look(1, at(4)) && suspects.may_look(1, at(5)));
        suspects.look_at(at(900));
        assert!(!suspects.may_look(1, at(899)) && suspects.may_look(1, at(900)));
        assert_eq!(suspects.told(), Some(Stage::Rcpt));
    }

    #[test]
    fn a_probe_that_tells_nothing_counts_as_one_that_failed() {
        let told = || Cause { stage: Stage::Mail, ..cause() };
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Quota, told(), at(0));
        assert_eq!(state.probe_told_nothing(at(1)), None, "none is on its way");
        assert_eq!(state.ask(at(5), 1), Permit::Probe);
        assert_eq!(state.probe_told_nothing(at(6)), Some(at(906)));
        state.look_now(at(10));
        assert_eq!(state.ask(at(10), 1), Permit::Probe);
        assert_eq!(state.probe_told_nothing(at(10)), Some(at(906)), "it was no probe, and that one stays");
        assert_eq!(state.ask(at(906), 1), Permit::Probe);
        assert_eq!(state.probe_told_nothing(at(906)), Some(at(2_706)), "the waits grow all the same");
    }

    #[test]
    fn looks_at_other_messages_put_no_probe_off() {
        let told = || Cause { stage: Stage::Mail, ..cause() };
        for (stop, expected) in [
            (Stop::Quota, [5, 905, 2_705]),
            (Stop::Policy, [5, 35, 95]),
            (Stop::Busy, [5, 10, 40]),
            (Stop::LoginLater, [5, 305, 1_205]),
        ] {
            let mut state = LaneState::default();
            let _ = state.stop(stop, told(), at(0));
            for probe in expected {
                for _ in 0..3 {
                    let now = at(probe - 3);
                    state.look_now(now);
                    assert_eq!(state.ask(now, 1), Permit::Probe);
                    assert_eq!(state.stop(stop, told(), now), Change::None);
                }
                assert_eq!(state.ask(at(probe - 1), 1), Permit::Wait(Some(at(probe))), "{stop:?}");
                assert_eq!(state.ask(at(probe), 1), Permit::Probe);
                let _ = state.stop(stop, told(), at(probe));
            }
        }
    }

    #[test]
    fn one_probe_goes_at_a_time_and_success_lets_everything_flow() {
        let mut state = LaneState::default();
        assert_eq!(state.ask(at(0), 1), Permit::All);
        assert_eq!(state.stop(Stop::Down, cause(), at(0)), Change::Stopped);
        assert_eq!(state.ask(at(29), 1), Permit::Wait(Some(at(30))));
        assert_eq!(state.ask(at(30), 1), Permit::Probe);
        assert_eq!(state.ask(at(31), 1), Permit::Wait(None));
        assert_eq!(state.succeeded(), Change::Resumed);
        assert_eq!(state.ask(at(31), 1), Permit::All);
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
    fn a_clock_that_is_set_back_puts_no_probe_off_for_longer_than_the_longest_wait() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(7_200));
        assert_eq!(state.ask(at(7_000), 1), Permit::Wait(Some(at(7_230))));
        assert_eq!(state.ask(at(0), 1), Permit::Wait(Some(at(600))));
        assert_eq!(state.halt().unwrap().since, at(570), "it lasts no less for that");
        assert_eq!(state.ask(at(599), 1), Permit::Wait(Some(at(600))));
        assert_eq!(state.ask(at(600), 1), Permit::Probe);
    }

    #[test]
    fn a_refused_login_freezes_and_another_reason_thaws() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(0));
        assert_eq!(state.ask(at(30), 1), Permit::Probe);
        assert_eq!(state.stop(Stop::Login, cause(), at(31)), Change::Frozen);
        assert!(matches!(&state, LaneState::Frozen(halt) if halt.next_probe == at(331)));
        assert_eq!(state.ask(at(331), 1), Permit::Probe);
        assert_eq!(state.stop(Stop::Login, cause(), at(332)), Change::None, "told once");
        state.retry_now(at(400));
        assert_eq!(state.ask(at(400), 1), Permit::Probe);
        assert_eq!(state.stop(Stop::Busy, cause(), at(401)), Change::Stopped);
        assert!(matches!(state, LaneState::Stopped(_)));
    }

    #[test]
    fn an_abandoned_probe_makes_room_for_another() {
        let mut state = LaneState::default();
        let _ = state.stop(Stop::Down, cause(), at(0));
        assert_eq!(state.ask(at(30), 1), Permit::Probe);
        state.probe_over(1);
        assert_eq!(state.ask(at(30), 2), Permit::Probe);
        state.probe_over(1);
        assert_eq!(state.ask(at(30), 3), Permit::Wait(None), "the end of one doesn't end another");
    }
}
