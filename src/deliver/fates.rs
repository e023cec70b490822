//! What becomes of a message after an attempt: recorded in one transaction with what its sender and webhooks are told, and one line of the log for
//! each recipient. What an outcome means stands in [`super::outcome`]; here it is carried out.

use super::announce;
use super::connections::Lane;
use super::outcome::{self, Conclusion};
use super::sent::Sent;
use super::target::Target;
use super::verdict::{self, Event, Stage, Upstream, Verdict};
use crate::queue::{Damaged, Due, Fate, Memory, Notice, Outcome};
use jiff::Timestamp;
use std::io;
use std::sync::Arc;

impl Lane {
    /// Records what an attempt came to: one verdict per open recipient, none for those not tried; what was changed
    /// of the message for it, in words; and what to remember of it when a mailbox sends it.
    pub async fn conclude(
        &self,
        due: Due,
        verdicts: Vec<Option<Verdict>>,
        target: &Target,
        smarthost_sends_dsn: bool,
        rewritten: Vec<String>,
        sent: Option<Sent>,
    ) {
        let now = self.clock.now();
        let mut conclusion = outcome::conclude(&due, verdicts, now, &target.retry, !smarthost_sends_dsn);
        match conclusion.stop.take() {
            Some((stop, cause)) => {
                self.halt(stop, &cause);
                if cause.stage >= Stage::Mail && self.suspects.lock().add(due.id) {
                    self.entries.spare(due.id);
                }
            }
            None if conclusion.fates.is_empty() => {}
            None => {
                let is_last = |(_, fate): &(usize, Fate)| !matches!(fate, Fate::Deferred(_));
                if self.suspects.lock().goes(due.id, conclusion.fates.iter().any(is_last)) {
                    self.entries.spare_none();
                }
                self.succeeded();
            }
        }
        let fates = conclusion.fates.iter().map(|(_, fate)| fate);
        let remembered = sent.and_then(|sent| sent.settled(&target.smarthost.host, fates));
        self.settle(due, conclusion, now, target, rewritten, remembered.map(Arc::new)).await;
    }

    pub(super) async fn settle(
        &self,
        due: Due,
        conclusion: Conclusion,
        now: Timestamp,
        target: &Target,
        rewritten: Vec<String>,
        remembered: Option<Arc<Memory>>,
    ) {
        if conclusion.fates.is_empty() && conclusion.told.is_empty() && !conclusion.warned {
            return self.entries.release(due);
        }
        self.tell_fates(&due, &conclusion);
        let told = target.announce_to.as_ref();
        let events = told.map(|endpoint| announce::outcome(endpoint, &due, &conclusion, now));
        let mut notices = self.notices(&due, &conclusion, now, target).await.into_iter();
        let number = |index: usize| due.open.get(index).map(|open| open.number);
        let outcome = Outcome {
            id: due.id,
            lane: due.lane.clone(),
            at: now,
            fates: conclusion
                .fates
                .into_iter()
                .filter_map(|(index, fate)| Some((number(index)?, fate)))
                .collect(),
            next_attempt: conclusion.next_attempt,
            maybe_duplicate: conclusion.maybe_duplicate,
            warned: conclusion.warned,
            hold: None,
            notice: notices.next(),
            events: events.unwrap_or_default(),
            rewritten,
            remembered,
        };
        self.queue.settle(outcome).await;
        // News of several kinds at once is rare: the first kind goes along with the outcome, the others by themselves.
        for Notice { submission, octets } in notices {
            let mut draft = self.queue.draft();
            let kept = match draft.write(&octets).await {
                Ok(()) => self.queue.keep(draft, submission).await.map(drop),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = kept {
                self.events.notice_lost(due.id, &cause);
            }
        }
    }

    fn tell_fates(&self, due: &Due, conclusion: &Conclusion) {
        for (index, fate) in &conclusion.fates {
            let (Some(recipient), Some(open)) = (due.envelope.recipients.get(*index), due.open.get(*index))
            else {
                continue;
            };
            let (id, lane, address) = (due.id, &self.name, &recipient.address);
            match fate {
                Fate::Delivered(reply) => self.events.delivered(id, lane, address, open.attempts + 1, reply),
                Fate::Deferred(reply) => {
                    let next =
                        conclusion.next_attempt.map_or_else(|| "at once".into(), |next| next.to_string());
                    self.events.deferred(id, lane, address, &next, reply);
                }
                Fate::Failed(reply) => self.events.failed(id, lane, address, reply),
                Fate::Expired(reply) => self.events.expired(id, lane, address, reply),
                // No attempt comes to this; intake does it.
                Fate::Discarded(_) => {}
            }
        }
        if conclusion.maybe_duplicate {
            self.events.maybe_duplicate(due.id, &self.name);
        }
    }

    /// The content can't be read. If it isn't what was written, an admin must look; else the disk may recover.
    pub async fn unreadable(&self, due: Due, cause: &io::Error) {
        self.events.content_unreadable(due.id, cause);
        if Damaged::is_in(cause) {
            return self.queue.set_aside(due, &cause.to_string()).await;
        }
        let target = self.target();
        let verdict = verdict::judge(
            Stage::Resolve,
            Event::Local(&cause.to_string()),
            &Upstream {
                host: &target.smarthost.host,
                authenticated: false,
                content_sent: false,
                alone: false,
                takes_mail: false,
                replies: &target.smarthost.replies,
            },
        );
        self.entries.release(due);
        self.stopped(verdict);
    }
}
