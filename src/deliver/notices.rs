//! What senders are told: bounces, delay notices and receipts, written by [`bounce`] and routed as mail of our own.
//!
//! They count against the limits of the smarthost that they leave by, because its provider counts them. Lest they wait
//! behind everything else, a lane's first few of a day are of class priority ([`Budget`]), unless a route says
//! otherwise; and a fallback takes them whatever From it accepts, if it puts its own address there ([`is_ours`]).

use super::connections::Lane;
use super::outcome::Conclusion;
use super::route::{self, Facts};
use super::target::Target;
use crate::config::schema::Smarthost;
use crate::message::bounce::{self, Kind, Report};
use crate::message::decode;
use crate::message::envelope::{Class, Envelope, Origin};
use crate::message::fields::HeaderSection;
use crate::message::notes::MAX_SUBJECT;
use crate::queue::{Due, Notes, Notice, Submission};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// So much of the original goes into a bounce.
const QUOTED: usize = 64 * 1024;
/// Notices of a lane that are of class priority, in any 24 hours.
const URGENT: u64 = 10;
/// They take at most this part of what is kept for class priority: a burst of bounces must not use up what password
/// resets are to leave by.
const SHARE: u64 = 10;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How many notices may still be of class priority. Forgotten with the process: it protects other priority mail, not
/// the smarthost's limits.
#[derive(Debug, Default)]
pub(super) struct Budget(VecDeque<Timestamp>);

impl Budget {
    /// Whether one more may be, beside so much that is kept for the class.
    fn has_left(&mut self, reserve: u64, now: Timestamp) -> bool {
        let begin = now.checked_sub(DAY).unwrap_or(Timestamp::MIN);
        // What seems to come from the future was before a clock was set.
        self.0.retain(|at| *at > begin && *at <= now);
        (self.0.len() as u64) < most(reserve)
    }

    fn spend(&mut self, now: Timestamp) {
        self.0.push_back(now);
    }
}

/// Notices of class priority in a day, beside so much that is kept for the class.
fn most(reserve: u64) -> u64 {
    if reserve == 0 { URGENT } else { reserve.div_ceil(SHARE).min(URGENT) }
}

/// Whether a message is one of our own notices.
pub(super) fn is_ours(envelope: &Envelope, origin: &Origin) -> bool {
    let came_from_nobody = origin.client.is_none() && origin.application.is_none() && origin.helo.is_empty();
    envelope.sender.is_none() && came_from_nobody
}

/// Whether a smarthost takes our own notices: it accepts their From, or gets its own address there.
pub(super) fn accepts(smarthost: &Smarthost, header: &HeaderSection<'_>) -> bool {
    smarthost.with_account(|account| account.accepts(header) || account.reads_header())
}

impl Lane {
    /// One notice for each kind of news.
    pub(super) async fn notices(
        &self,
        due: &Due,
        conclusion: &Conclusion,
        now: Timestamp,
        target: &Target,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        if conclusion.told.is_empty() {
            return notices;
        }
        if due.envelope.sender.is_none() {
            self.events.not_notified(due.id, "it has a null sender");
            return notices;
        }
        // A bounce without its original is better than none.
        let original = self.queue.read(&due.content, 0, QUOTED).await.unwrap_or_default();
        let mut kinds: Vec<Kind> = Vec::new();
        for told in &conclusion.told {
            if !kinds.contains(&told.kind) {
                kinds.push(told.kind);
            }
        }
        for kind in kinds {
            notices.extend(self.notice(due, conclusion, kind, &original, now, target));
        }
        notices
    }

    fn notice(
        &self,
        due: &Due,
        conclusion: &Conclusion,
        kind: Kind,
        original: &[u8],
        now: Timestamp,
        target: &Target,
    ) -> Option<Notice> {
        let about = conclusion.told.iter().filter(|told| told.kind == kind);
        let recipients: Vec<bounce::Told<'_>> = about
            .filter_map(|told| {
                Some(bounce::Told {
                    recipient: due.envelope.recipients.get(told.index)?,
                    reply: &told.reply,
                    remote: told.from_peer.then_some(target.smarthost.host.as_str()),
                    last_attempt: conclusion.attempted.then_some(now),
                    advice: told.advice,
                })
            })
            .collect();
        let id = due.id.to_string();
        let notification = bounce::notify(&Report {
            kind,
            hostname: &target.hostname,
            original_id: &id,
            envelope: &due.envelope,
            received_at: due.received_at,
            now,
            smarthost: &target.smarthost.name,
            recipients: &recipients,
            original,
            original_bytes: due.size_bytes,
            may_have_arrived: due.maybe_duplicate || conclusion.maybe_duplicate,
        })?;
        let header = HeaderSection::of(&notification.octets);
        // A receipt that somebody asked for is nothing urgent.
        let is_urgent = !matches!(kind, Kind::Relayed)
            && self.budget.lock().has_left(target.smarthost.limits.priority_reserve, now);
        let routed = target.router.route(&Facts {
            application: None,
            sender: None,
            recipients: &notification.envelope.recipients,
            client: None,
            header: &header,
            class: is_urgent.then_some(Class::Priority),
        });
        let told = match kind {
            Kind::Failed => "Undelivered mail",
            Kind::Delayed { .. } => "Delayed mail",
            Kind::Relayed => "Relayed mail",
        };
        let subject = header.named("Subject").next().map(|field| decode::text(&field.value(), MAX_SUBJECT));
        let parts = route::sort(&routed, now).parts;
        if parts.is_empty() {
            self.events.not_notified(due.id, "a route drops the notice");
            return None;
        }
        if parts.iter().any(|part| part.class == Class::Priority) {
            self.budget.lock().spend(now);
        }
        self.events.notified(due.id, told);
        Some(Notice {
            submission: Submission {
                envelope: notification.envelope,
                origin: Origin { client: None, helo: "".into(), application: None },
                received_at: now,
                notes: Notes { subject, ..Notes::default() },
                parts,
            },
            octets: Bytes::from(notification.octets),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_take_a_tenth_of_what_is_kept_for_priority_at_most() {
        assert_eq!([0, 1, 10, 11, 50, 5_000].map(most), [10, 1, 1, 2, 5, 10]);
    }

    #[test]
    fn what_was_spent_comes_back_after_a_day_or_when_the_clock_is_set_back() {
        let at = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let mut budget = Budget::default();
        for spent in [1, 2] {
            assert!(budget.has_left(20, at(2)));
            budget.spend(at(spent));
        }
        assert!(!budget.has_left(20, at(24)));
        assert!(budget.has_left(20, at(25)));
        assert!(!budget.has_left(10, at(25)), "the second still counts");
        assert!(budget.has_left(10, at(1)));
    }
}
