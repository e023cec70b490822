//! From verdicts to what the queue records: each recipient's fate, the next attempt, and who is told. Pure.

use crate::config::schema::Retry;
use crate::deliver::verdict::{Cause, Fault, Stop, Verdict};
use crate::message::bounce::{self, Kind};
use crate::queue::schedule;
use crate::queue::{Due, Fate, LaneName, Open};
use crate::smtp::reply::{Enhanced, Reply};
use jiff::{SignedDuration, Timestamp};

/// What one attempt at one message comes to.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// By index into [`Due::open`]; recipients that were not tried aren't named.
    pub fates: Vec<(usize, Fate)>,
    /// When the message is tried again; none when no attempt was made, or what is left of it goes on at once.
    pub next_attempt: Option<Timestamp>,
    /// When the recipients deferred now are tried again, whatever the others do.
    pub deferred_until: Option<Timestamp>,
    /// Content went out and no answer came.
    pub maybe_duplicate: bool,
    /// The delay notice was due, whether or not anybody wanted it.
    pub warned: bool,
    /// Recipients whose sender is told, with what, and what to say about it.
    pub told: Vec<Told>,
    /// The lane that what is left of it goes on by, and why.
    pub moves: Option<(LaneName, String)>,
    /// Whether the smarthost was asked.
    pub attempted: bool,
    /// Why nothing more can go to this smarthost now.
    pub stop: Option<(Stop, Cause)>,
}

/// One recipient that a notice is about.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Index into [`Due::open`].
    pub index: usize,
    /// Failed, delayed or relayed.
    pub kind: Kind,
    /// The reply that decided.
    pub reply: Reply,
    /// Whether the reply is the smarthost's own.
    pub from_peer: bool,
    /// What the sender can do.
    pub advice: Option<&'static str>,
}

/// The recipients of the next transaction, by index into [`Due::open`]: of those whose wait is over, the ones with the
/// fewest attempts. So each has its attempts at its own times, and one at which the smarthost always breaks off doesn't
/// take the others along for ever.
#[must_use]
pub fn turn(due: &Due, now: Timestamp, retry: &Retry) -> Vec<usize> {
    Clocks::of(due, now, retry).turn(due)
}

/// Concludes an attempt. `verdicts` are one per open recipient, in their order, none for one that was left for another
/// transaction; `relays_success` says that the smarthost doesn't send delivery notifications itself, so that
/// we answer `NOTIFY=SUCCESS` (RFC 3461 §5.2.2).
#[must_use]
pub fn conclude(
    due: &Due,
    verdicts: Vec<Option<Verdict>>,
    now: Timestamp,
    retry: &Retry,
    relays_success: bool,
) -> Conclusion {
    let mut conclusion = Conclusion { attempted: true, ..Conclusion::default() };
    let clocks = Clocks::of(due, now, retry);
    let broke_off = clocks.turn(due).into_iter().any(|index| verdicts.get(index).is_none_or(Option::is_none));
    let next = Next::after(due, &verdicts, &clocks);
    conclusion.deferred_until = next.deferred;
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let Some(verdict) = verdict else { continue };
        match verdict {
            Verdict::Delivered(reply) => {
                if relays_success {
                    conclusion.tell(
                        due,
                        Told {
                            index,
                            kind: Kind::Relayed,
                            reply: reply.clone(),
                            from_peer: true,
                            advice: None,
                        },
                    );
                }
                conclusion.fates.push((index, Fate::Delivered(reply)));
            }
            Verdict::Failed(cause) => {
                let Cause { reply, from_peer, advice, .. } = cause;
                conclusion
                    .tell(due, Told { index, kind: Kind::Failed, reply: reply.clone(), from_peer, advice });
                conclusion.fates.push((index, Fate::Failed(reply)));
            }
            Verdict::Deferred(cause) => conclusion.defer(due, index, cause, &clocks),
            Verdict::Uncertain(cause) => {
                conclusion.maybe_duplicate = true;
                conclusion.defer(due, index, cause, &clocks);
            }
            Verdict::LaneStopped(stop, cause) => {
                if clocks.given_up {
                    conclusion.expire(due, index, cause.clone(), &clocks);
                }
                conclusion.stop = Some((stop, cause));
            }
        }
    }
    let deferred = conclusion.fates.iter().any(|(_, fate)| matches!(fate, Fate::Deferred(_)));
    let progress = conclusion.fates.iter().any(|(_, fate)| !matches!(fate, Fate::Deferred(_)));
    // Who is left goes at once, but for a smarthost that broke off at one after the other: then they wait with the rest.
    let goes_on = next.are_left && (progress || !broke_off || next.waiting.is_none());
    if !goes_on && (deferred || progress) {
        let deferred = next.deferred.filter(|_| deferred);
        conclusion.next_attempt = deferred.into_iter().chain(next.waiting).min();
    }
    conclusion
}

/// Concludes without an attempt: the lane stands still and this message has become old. Expired recipients fail,
/// late ones are told about. Without `gives_up`, they are told about and
/// kept.
#[must_use]
pub fn age(due: &Due, cause: &Cause, now: Timestamp, retry: &Retry, gives_up: bool) -> Conclusion {
    let mut conclusion = Conclusion::default();
    let clocks = Clocks::of(due, now, retry);
    for index in 0..due.open.len() {
        if clocks.given_up && gives_up {
            conclusion.expire(due, index, cause.clone(), &clocks);
        } else if clocks.late {
            conclusion.warn(due, index, cause, &clocks);
        }
    }
    conclusion
}

/// Concludes without an attempt: a route's `expires_after` has passed. Its sender is told instead of the recipients
/// being written to late.
#[must_use]
pub fn expire(due: &Due, expired_at: Timestamp) -> Conclusion {
    let mut conclusion = Conclusion::default();
    let reply = ruled(expired_at);
    for index in 0..due.open.len() {
        let kind = Kind::Failed;
        conclusion
            .tell(due, Told { index, kind, reply: reply.clone(), from_peer: false, advice: Some(RULED) });
        conclusion.fates.push((index, Fate::Expired(reply.clone())));
    }
    conclusion
}

/// What the sender of mail that a route's `expires_after` ended can do.
const RULED: &str =
    "a rule of this relay reports such mail instead of delivering it late; send it again if it still matters";

/// What a sender is told of a cause: of our own disk and settings (RFC 3463 §3.4) no more than that something is wrong with
/// them; files and programs are named in the log and the journal.
fn for_strangers(cause: Cause) -> Reply {
    let is_internal = !cause.from_peer
        && cause.fault == Fault::Relay
        && matches!(cause.reply.enhanced, Some(Enhanced(_, 3, _)));
    if is_internal {
        return Reply {
            lines: vec!["the relay has a fault of its own, which its admin can see".into()],
            ..cause.reply
        };
    }
    cause.reply
}

/// RFC 3463 §3.5: delivery time expired.
fn ruled(expired_at: Timestamp) -> Reply {
    let text =
        format!("not delivered by {}, the time that a route allows it (expires_after)", seconds(expired_at));
    Reply::new(554, Some(Enhanced(5, 4, 7)), text)
}

fn seconds(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%d %H:%M:%S UTC")
}

/// The times that matter to one message now.
struct Clocks<'r> {
    retry: &'r Retry,
    now: Timestamp,
    /// When its time began to run.
    released_at: Timestamp,
    /// When it is given up.
    last: Timestamp,
    /// A route's `expires_after` has passed, and when.
    expired_at: Option<Timestamp>,
    /// That time has come, or would before the next attempt.
    given_up: bool,
    /// The delay notice is due and didn't go out yet.
    late: bool,
}

impl<'r> Clocks<'r> {
    fn of(due: &Due, now: Timestamp, retry: &'r Retry) -> Self {
        let after = |age: std::time::Duration| {
            let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
            due.released_at.checked_add(age).unwrap_or(Timestamp::MAX)
        };
        let give_up = after(retry.give_up_after);
        let last = due.expires_at.map_or(give_up, |expires_at| expires_at.min(give_up));
        let expired_at = due.expires_at.filter(|expires_at| *expires_at <= now);
        let late = !due.warned && retry.warn_after.is_some_and(|age| after(age) <= now);
        Self { retry, now, released_at: due.released_at, last, expired_at, given_up: last <= now, late }
    }

    /// When a recipient is tried again after so many attempts, the last of them now.
    fn again(&self, attempts: u32) -> Timestamp {
        let Retry { schedule, give_up_after, .. } = self.retry;
        let next = schedule::next_attempt(schedule, attempts, self.now, self.released_at, *give_up_after);
        next.map_or(self.last, |next| next.min(self.last))
    }

    /// When a recipient's wait ends, if it waits. Its last tenth is given to those whose waits end close together: they
    /// go in one transaction.
    fn waits_until(&self, open: &Open) -> Option<Timestamp> {
        let until = open.waits_until?;
        let wait = open.tried_at.map_or(SignedDuration::ZERO, |tried_at| until.duration_since(tried_at));
        Some(until).filter(|until| until.duration_since(self.now) > wait.max(SignedDuration::ZERO) / 10)
    }

    /// See [`turn`]. A message that is due though all of them wait is due for another reason: all go.
    fn turn(&self, due: &Due) -> Vec<usize> {
        let none_may = due.open.iter().all(|open| self.waits_until(open).is_some());
        let may_go = |open: &Open| none_may || self.waits_until(open).is_none();
        let fewest = due.open.iter().filter(|open| may_go(open)).map(|open| open.attempts).min();
        let open = due.open.iter().enumerate();
        open.filter(|(_, open)| may_go(open) && Some(open.attempts) == fewest)
            .map(|(index, _)| index)
            .collect()
    }
}

/// When those go that aren't done with.
struct Next {
    /// Some were not tried now, and don't wait for a time.
    are_left: bool,
    /// When the first of those is tried that were not tried now and wait.
    waiting: Option<Timestamp>,
    /// When the first of those is tried again that are deferred now.
    deferred: Option<Timestamp>,
}

impl Next {
    fn after(due: &Due, verdicts: &[Option<Verdict>], clocks: &Clocks<'_>) -> Self {
        let (mut next, mut verdicts) =
            (Self { are_left: false, waiting: None, deferred: None }, verdicts.iter());
        for open in due.open.iter().chain(&due.left) {
            let verdict = verdicts.next().and_then(Option::as_ref);
            match (verdict, clocks.waits_until(open)) {
                (None, None) => next.are_left = true,
                (None, until) => next.waiting = until.into_iter().chain(next.waiting).min(),
                (Some(Verdict::Deferred(_) | Verdict::Uncertain(_)), _) => {
                    let again = clocks.again(open.attempts + 1);
                    next.deferred = Some(next.deferred.map_or(again, |first| first.min(again)));
                }
                (Some(Verdict::Delivered(_) | Verdict::Failed(_) | Verdict::LaneStopped(..)), _) => {}
            }
        }
        next
    }
}

impl Conclusion {
    /// Whether nothing came of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fates.is_empty() && self.told.is_empty() && !self.warned && self.moves.is_none()
    }

    /// The message goes on by another lane, at once, with all that isn't done; these recipients, in ascending order, as if
    /// they had not been tried.
    pub fn go_on_elsewhere(&mut self, untried: &[usize], lane: LaneName, why: String) {
        self.fates.retain(|(index, _)| untried.binary_search(index).is_err());
        self.told.retain(|told| untried.binary_search(&told.index).is_err());
        (self.next_attempt, self.deferred_until) = (None, None);
        self.moves = Some((lane, why));
    }

    fn defer(&mut self, due: &Due, index: usize, cause: Cause, clocks: &Clocks<'_>) {
        if clocks.given_up {
            return self.expire(due, index, cause, clocks);
        }
        if clocks.late {
            self.warn(due, index, &cause, clocks);
        }
        self.fates.push((index, Fate::Deferred(cause.reply)));
    }

    /// The last reason is kept: it tells more than "too late" does (RFC 3464 §2.3.6).
    fn expire(&mut self, due: &Due, index: usize, cause: Cause, clocks: &Clocks<'_>) {
        let allowed = match clocks.expired_at {
            Some(time) => format!("by {}, the time that a route allows it (expires_after)", seconds(time)),
            None => "in the time allowed".to_owned(),
        };
        let text = format!("not delivered {allowed}; last: {}", cause.reply);
        let reply = Reply::new(554, Some(Enhanced(5, 4, 7)), text);
        let (from_peer, advice) = (cause.from_peer, cause.advice);
        let reply_to_sender = for_strangers(cause);
        self.tell(due, Told { index, kind: Kind::Failed, reply: reply_to_sender, from_peer, advice });
        self.fates.push((index, Fate::Expired(reply)));
    }

    fn warn(&mut self, due: &Due, index: usize, cause: &Cause, clocks: &Clocks<'_>) {
        self.warned = true;
        let kind = Kind::Delayed { retry_until: clocks.last };
        let (from_peer, advice) = (cause.from_peer, cause.advice);
        self.tell(due, Told { index, kind, reply: for_strangers(cause.clone()), from_peer, advice });
    }

    fn tell(&mut self, due: &Due, told: Told) {
        let wished = due.envelope.recipients.get(told.index).and_then(|recipient| recipient.notify);
        if bounce::wants(wished, told.kind) {
            self.told.push(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::Stage;
    use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
    use crate::queue::{Content, Location};
    use crate::smtp::address::Address;
    use std::sync::Arc;
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Accepted at 1,000, for one recipient.
    fn due(released_at: i64, expires_at: Option<i64>) -> Due {
        let address = |text| Address::parse(text, true).unwrap();
        let recipient = Recipient { address: address("a@b.test"), notify: None, orcpt: None };
        let envelope = Envelope {
            sender: Some(address("s@b.test")),
            recipients: vec![recipient],
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        };
        Due {
            id: "0000000000001".parse().unwrap(),
            lane: LaneName::new("shop"),
            home: None,
            class: Class::Normal,
            envelope: Arc::new(envelope),
            open: vec![Open { number: 0, attempts: 0, tried_at: None, waits_until: None }],
            left: Vec::new(),
            received_at: at(1_000),
            released_at: at(released_at),
            expires_at: expires_at.map(at),
            warned: false,
            maybe_duplicate: false,
            origin: Arc::new(Origin { client: None, helo: "".into(), application: None }),
            notes: Arc::default(),
            size_bytes: 0,
            content: Content::Stored(
                "0000000000001".parse().unwrap(),
                Location { segment: 1, offset: 0, length: 0 },
            ),
        }
    }

    fn busy() -> Cause {
        Cause {
            reply: Reply::new(451, None, "busy"),
            from_peer: true,
            stage: Stage::Mail,
            fault: Fault::Relay,
            advice: None,
            would_stop: false,
        }
    }

    fn retry() -> Retry {
        Retry {
            schedule: vec![Duration::from_secs(100)],
            give_up_after: Duration::from_secs(1_000),
            warn_after: Some(Duration::from_secs(500)),
        }
    }

    /// What a deferral at this time comes to: the next attempt, and the kinds of news.
    fn deferred(due: &Due, now: i64) -> (Option<i64>, Vec<Kind>) {
        let verdicts = vec![Some(Verdict::Deferred(busy()))];
        let conclusion = conclude(due, verdicts, at(now), &retry(), true);
        let kinds = conclusion.told.iter().map(|told| told.kind).collect();
        (conclusion.next_attempt.map(Timestamp::as_second), kinds)
    }

    #[test]
    fn senders_are_not_told_the_names_of_our_files() {
        let local = |enhanced| Cause {
            reply: Reply::new(451, Some(enhanced), "/var/x can't be read"),
            from_peer: false,
            ..busy()
        };
        for (cause, told) in [
            (local(Enhanced(4, 3, 0)), "the relay has a fault of its own, which its admin can see"),
            (local(Enhanced(4, 7, 5)), "/var/x can't be read"),
            (Cause { from_peer: true, ..local(Enhanced(4, 3, 0)) }, "/var/x can't be read"),
        ] {
            for now in [1_500, 2_000] {
                let conclusion = conclude(
                    &due(1_000, None),
                    vec![Some(Verdict::Deferred(cause.clone()))],
                    at(now),
                    &retry(),
                    true,
                );
                assert_eq!(conclusion.told[0].reply.lines, [told], "{now}");
                let [(0, Fate::Deferred(reply) | Fate::Expired(reply))] = &conclusion.fates[..] else {
                    panic!()
                };
                assert!(reply.lines[0].contains("/var/x can't be read"), "the journal says it");
            }
        }
    }

    #[test]
    fn time_runs_from_the_release_and_ends_with_the_routes_expiry() {
        let delayed = |second| vec![Kind::Delayed { retry_until: at(second) }];
        for (released, expires, now, expected, reason) in [
            (1_000, None, 1_100, (Some(1_200), vec![]), "an ordinary retry"),
            (1_000, None, 1_500, (Some(1_600), delayed(2_000)), "late"),
            (1_000, None, 1_950, (Some(2_000), delayed(2_000)), "the last try at the end of its time"),
            (1_000, None, 2_000, (None, vec![Kind::Failed]), "given up"),
            (90_000, None, 90_100, (Some(90_200), vec![]), "not late: released a moment ago"),
            (90_000, None, 90_500, (Some(90_600), delayed(91_000)), "late, counted from the release"),
            (90_000, None, 91_000, (None, vec![Kind::Failed]), "given up, counted from the release"),
            (1_000, Some(1_150), 1_100, (Some(1_150), vec![]), "looked at again when it expires"),
            (1_000, Some(1_150), 1_150, (None, vec![Kind::Failed]), "expired"),
            (1_000, Some(9_000), 1_950, (Some(2_000), delayed(2_000)), "given up before it expires"),
        ] {
            assert_eq!(deferred(&due(released, expires), now), expected, "{reason}");
        }
    }

    #[test]
    fn each_recipient_has_one_attempt_in_each_round() {
        let delivered = || Some(Verdict::Delivered(Reply::new(250, None, "ok")));
        let deferred = || Some(Verdict::Deferred(busy()));
        let at_once = None;
        let (first, second) = (Some(1_200), Some(1_400));
        let mut due = due(1_000, None);
        let recipient = due.envelope.recipients[0].clone();
        Arc::make_mut(&mut due.envelope).recipients = vec![recipient; 3];
        let retry =
            Retry { schedule: vec![100, 300].into_iter().map(Duration::from_secs).collect(), ..retry() };
        // Attempts so far, the last of them `Some` seconds ago where it still matters.
        let (none, just) = ((0, None), (1, Some(0)));
        for (open, turn_is, verdicts, next, reason) in [
            (
                [none; 3],
                vec![0, 1, 2],
                [None, deferred(), None],
                at_once,
                "broke off at one: the others go at once",
            ),
            ([none, just, none], vec![0, 2], [delivered(), None, delivered()], first, "that one waits"),
            (
                [none, just, none],
                vec![0, 2],
                [deferred(), None, None],
                first,
                "broke off again: the rest waits",
            ),
            ([just, just, none], vec![2], [None, None, deferred()], first, "the round is over"),
            ([just, just, (0, None)], vec![2], [None, None, delivered()], first, "theirs is what is left"),
            (
                [(1, Some(100)); 3],
                vec![0, 1, 2],
                [deferred(), deferred(), deferred()],
                second,
                "the next round",
            ),
            ([none; 3], vec![0, 1, 2], [delivered(), deferred(), None], at_once, "one was too many"),
            ([none; 3], vec![0, 1, 2], [None, None, None], at_once, "nobody was tried"),
            (
                [(1, Some(40)), none, none],
                vec![1, 2],
                [None, delivered(), delivered()],
                Some(1_160),
                "its own time",
            ),
            ([(1, Some(95)), just, none], vec![2], [None, None, delivered()], at_once, "nearly over is over"),
            (
                [(3, None), none, none],
                vec![1, 2],
                [None, delivered(), deferred()],
                at_once,
                "an operator wants it",
            ),
            (
                [(2, Some(301)), just, just],
                vec![0],
                [delivered(), None, None],
                first,
                "those with fewer attempts wait",
            ),
            ([just; 3], vec![0, 1, 2], [delivered(), delivered(), delivered()], at_once, "due nonetheless"),
        ] {
            set(&mut due, &open);
            assert_eq!(turn(&due, at(1_100), &retry), turn_is, "{reason}");
            let conclusion = conclude(&due, verdicts.to_vec(), at(1_100), &retry, false);
            assert_eq!(conclusion.next_attempt.map(Timestamp::as_second), next, "{reason}");
        }
        // One is deferred and the message goes on with the next: it waits all the same.
        set(&mut due, &[none, none]);
        let conclusion = conclude(&due, vec![deferred(), None], at(1_100), &retry, false);
        assert_eq!(
            (conclusion.next_attempt, conclusion.deferred_until.map(Timestamp::as_second)),
            (None, first)
        );
        // A limit let one of them go.
        for (goes, left, verdict, next, reason) in [
            (none, vec![none, none], deferred(), at_once, "refused, it holds up nobody"),
            (none, vec![just, none], deferred(), at_once, "nor does the second one"),
            (none, vec![just], deferred(), first, "all had their turn"),
            (
                none,
                vec![(1, Some(70)), just],
                delivered(),
                Some(1_130),
                "the first one's wait goes on as it began",
            ),
            (none, vec![(1, Some(200))], delivered(), at_once, "its wait is over"),
        ] {
            let all: Vec<_> = std::iter::once(goes).chain(left).collect();
            set(&mut due, &all);
            due.left = due.open.split_off(1);
            let conclusion = conclude(&due, vec![verdict], at(1_100), &retry, false);
            assert_eq!(conclusion.next_attempt.map(Timestamp::as_second), next, "{reason}");
        }
    }

    #[test]
    fn what_goes_on_elsewhere_is_told_only_what_is_settled() {
        let mut due = due(1_000, None);
        let recipient = due.envelope.recipients[0].clone();
        Arc::make_mut(&mut due.envelope).recipients = vec![recipient; 3];
        set(&mut due, &[(0, None); 3]);
        let verdicts = vec![
            Some(Verdict::Failed(busy())),
            Some(Verdict::Failed(busy())),
            Some(Verdict::Deferred(busy())),
        ];
        let mut conclusion = conclude(&due, verdicts, at(1_100), &retry(), true);
        conclusion.go_on_elsewhere(&[1], LaneName::new("home"), "refused".into());
        let fates: Vec<usize> = conclusion.fates.iter().map(|(index, _)| *index).collect();
        let told: Vec<usize> = conclusion.told.iter().map(|told| told.index).collect();
        assert_eq!((fates, told, conclusion.next_attempt), (vec![0, 2], vec![0], None));
        assert!(!conclusion.is_empty() && conclusion.moves.is_some());
    }

    /// Attempts so far, and how many seconds before 1,100 the last one was: 100 s later the second is due, 300 s later the third.
    fn set(due: &mut Due, open: &[(u32, Option<i64>)]) {
        let open = open.iter().zip(0..).map(|(&(attempts, ago), number)| {
            let tried_at = ago.map(|ago| at(1_100 - ago));
            let wait = if attempts > 1 { 300 } else { 100 };
            Open { number, attempts, tried_at, waits_until: ago.map(|ago| at(1_100 - ago + wait)) }
        });
        (due.open, due.left) = (open.collect(), Vec::new());
    }

    #[test]
    fn an_expiry_says_that_a_route_wanted_it() {
        let due = due(1_000, Some(1_150));
        let conclusion = expire(&due, at(1_150));
        let [(0, Fate::Expired(reply))] = &conclusion.fates[..] else { panic!("{conclusion:?}") };
        let text =
            "not delivered by 1970-01-01 00:19:10 UTC, the time that a route allows it (expires_after)";
        assert_eq!((reply.code, reply.enhanced, &*reply.lines[0]), (554, Some(Enhanced(5, 4, 7)), text));
        let told = &conclusion.told[0];
        assert_eq!((told.kind, told.from_peer, told.advice), (Kind::Failed, false, Some(RULED)));
        assert_eq!(conclusion.next_attempt, None);
        // An attempt that ended behind the expiry tells both.
        let verdicts = vec![Some(Verdict::Deferred(busy()))];
        let conclusion = conclude(&due, verdicts, at(1_151), &retry(), true);
        let [(0, Fate::Expired(reply))] = &conclusion.fates[..] else { panic!("{conclusion:?}") };
        assert_eq!(reply.lines[0], format!("{text}; last: 451 busy"));
    }
}
