//! From verdicts to what the queue records: each recipient's fate, the next attempt, and who is told. Pure.

use crate::config::schema::Retry;
use crate::deliver::verdict::{Cause, Stop, Verdict};
use crate::message::bounce::{self, Kind};
use crate::queue::schedule;
use crate::queue::{Due, Fate};
use crate::smtp::reply::{Enhanced, Reply};
use jiff::{SignedDuration, Timestamp};

/// What one attempt at one message comes to.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// By index into [`Due::open`]; recipients that were not tried aren't named.
    pub fates: Vec<(usize, Fate)>,
    /// When the deferred recipients are tried again; none when no attempt was made.
    pub next_attempt: Option<Timestamp>,
    /// Content went out and no answer came.
    pub maybe_duplicate: bool,
    /// The delay notice was due, whether or not anybody wanted it.
    pub warned: bool,
    /// Recipients whose sender is told, with what, and what to say about it.
    pub told: Vec<Told>,
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

/// The recipients of the next transaction, by index into [`Due::open`]: those with the fewest attempts. So each has one
/// attempt in each round, and one at which the smarthost always breaks off doesn't take the others along for ever.
#[must_use]
pub fn turn(due: &Due) -> Vec<usize> {
    let fewest = fewest_attempts(due);
    let open = due.open.iter().enumerate();
    open.filter(|(_, open)| Some(open.attempts) == fewest).map(|(index, _)| index).collect()
}

fn fewest_attempts(due: &Due) -> Option<u32> {
    due.open.iter().map(|open| open.attempts).min()
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
    let tried =
        due.open.iter().zip(&verdicts).map(|(open, verdict)| open.attempts + u32::from(verdict.is_some()));
    let clocks = Clocks::of(due, tried.max(), now, retry);
    // Of those not tried now, some had their turn in this round, and some have it yet.
    let fewest = fewest_attempts(due);
    let untried = |had_turn: bool| {
        let mut open = due.open.iter().zip(&verdicts);
        open.any(|(open, verdict)| verdict.is_none() && (Some(open.attempts) != fewest) == had_turn)
    };
    let (had_turn, are_left) = (untried(true), untried(false));
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
    // Who is left goes at once while others get through, and when the first transaction of a round broke off; else they
    // wait with the rest.
    let goes_on = are_left && (progress || !had_turn);
    if !goes_on && (deferred || progress && had_turn) {
        conclusion.next_attempt = Some(clocks.next);
    }
    conclusion
}

/// Concludes without an attempt: the lane stands still and this message has become old. Expired recipients fail,
/// late ones are told about. Without `gives_up`, they are told about and
/// kept.
#[must_use]
pub fn age(due: &Due, cause: &Cause, now: Timestamp, retry: &Retry, gives_up: bool) -> Conclusion {
    let mut conclusion = Conclusion::default();
    let tried = due.open.iter().map(|open| open.attempts + 1).max();
    let clocks = Clocks::of(due, tried, now, retry);
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
struct Clocks {
    /// The next attempt.
    next: Timestamp,
    /// When it is given up.
    last: Timestamp,
    /// A route's `expires_after` has passed, and when.
    expired_at: Option<Timestamp>,
    /// That time has come, or would before the next attempt.
    given_up: bool,
    /// The delay notice is due and didn't go out yet.
    late: bool,
}

impl Clocks {
    /// `attempts`: the most that any recipient had, with the one being concluded.
    fn of(due: &Due, attempts: Option<u32>, now: Timestamp, retry: &Retry) -> Self {
        let attempts = attempts.unwrap_or(1);
        let after = |age: std::time::Duration| {
            let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
            due.released_at.checked_add(age).unwrap_or(Timestamp::MAX)
        };
        let give_up = after(retry.give_up_after);
        let last = due.expires_at.map_or(give_up, |expires_at| expires_at.min(give_up));
        let expired_at = due.expires_at.filter(|expires_at| *expires_at <= now);
        let next =
            schedule::next_attempt(&retry.schedule, attempts, now, due.released_at, retry.give_up_after);
        let next = next.filter(|_| expired_at.is_none()).map(|next| next.min(last));
        let late = !due.warned && retry.warn_after.is_some_and(|age| after(age) <= now);
        Self { next: next.unwrap_or(last), last, expired_at, given_up: next.is_none(), late }
    }
}

impl Conclusion {
    fn defer(&mut self, due: &Due, index: usize, cause: Cause, clocks: &Clocks) {
        if clocks.given_up {
            return self.expire(due, index, cause, clocks);
        }
        if clocks.late {
            self.warn(due, index, &cause, clocks);
        }
        self.fates.push((index, Fate::Deferred(cause.reply)));
    }

    /// The last reason is kept: it tells more than "too late" does (RFC 3464 §2.3.6).
    fn expire(&mut self, due: &Due, index: usize, cause: Cause, clocks: &Clocks) {
        let allowed = match clocks.expired_at {
            Some(time) => format!("by {}, the time that a route allows it (expires_after)", seconds(time)),
            None => "in the time allowed".to_owned(),
        };
        let text = format!("not delivered {allowed}; last: {}", cause.reply);
        let reply = Reply::new(554, Some(Enhanced(5, 4, 7)), text);
        let told = Told {
            index,
            kind: Kind::Failed,
            reply: cause.reply,
            from_peer: cause.from_peer,
            advice: cause.advice,
        };
        self.tell(due, told);
        self.fates.push((index, Fate::Expired(reply)));
    }

    fn warn(&mut self, due: &Due, index: usize, cause: &Cause, clocks: &Clocks) {
        self.warned = true;
        let kind = Kind::Delayed { retry_until: clocks.last };
        let Cause { reply, from_peer, advice, .. } = cause.clone();
        self.tell(due, Told { index, kind, reply, from_peer, advice });
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
    use crate::deliver::verdict::{Fault, Stage};
    use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
    use crate::queue::{Content, LaneName, Location, Open};
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
            class: Class::Normal,
            envelope: Arc::new(envelope),
            open: vec![Open { number: 0, attempts: 0 }],
            received_at: at(1_000),
            released_at: at(released_at),
            expires_at: expires_at.map(at),
            warned: false,
            maybe_duplicate: false,
            origin: Arc::new(Origin { client: None, helo: "".into(), application: None }),
            notes: Arc::default(),
            size_bytes: 0,
            content: Content::Stored(Location { segment: 1, offset: 0, length: 0 }),
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
        for (attempts, turn_is, verdicts, next, reason) in [
            (
                [0, 0, 0],
                vec![0, 1, 2],
                [None, deferred(), None],
                at_once,
                "broke off at one: the others go at once",
            ),
            (
                [0, 1, 0],
                vec![0, 2],
                [delivered(), None, delivered()],
                first,
                "all had their turn: that one waits",
            ),
            ([0, 1, 0], vec![0, 2], [deferred(), None, None], first, "broke off again: the rest waits"),
            ([1, 1, 0], vec![2], [None, None, deferred()], first, "the round is over"),
            ([1, 1, 1], vec![0, 1, 2], [deferred(), deferred(), deferred()], second, "the next round"),
            ([0, 0, 0], vec![0, 1, 2], [delivered(), deferred(), None], at_once, "one was too many"),
            ([0, 0, 0], vec![0, 1, 2], [None, None, None], at_once, "nobody was tried"),
        ] {
            due.open =
                attempts.iter().zip(0..).map(|(&attempts, number)| Open { number, attempts }).collect();
            assert_eq!(turn(&due), turn_is, "{reason}");
            let conclusion = conclude(&due, verdicts.to_vec(), at(1_100), &retry, false);
            assert_eq!(conclusion.next_attempt.map(Timestamp::as_second), next, "{reason}");
        }
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
