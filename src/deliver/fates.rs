//! What becomes of a message after an attempt: recorded in one transaction with what its sender and webhooks are told, and one line of the log for
//! each recipient. What an outcome means stands in [`super::outcome`]; here it is carried out.

use super::announce;
use super::connections::Lane;
use super::guests::Return;
use super::outcome::{self, Conclusion};
use super::relay::Errand;
use super::sent::Sent;
use super::target::Target;
use super::verdict::{self, Event, Stage, Upstream, Verdict};
use crate::queue::{Damaged, Due, Fate, Memory, Notice, Outcome, QueueId, Unreadable};
use jiff::Timestamp;
use std::io;
use std::sync::Arc;

/// What an outcome shows of the smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Nothing: it was begun before the lane stopped, or no answer of the smarthost's own came.
    Nothing,
    /// That it does its work.
    Answers,
    /// That others come further than those it stopped.
    OthersGo,
}

/// What became of a message over a connection.
pub struct Attempt {
    /// The message.
    pub due: Due,
    /// One for each open recipient, none for those not tried.
    pub verdicts: Vec<Option<Verdict>>,
    /// What was changed of the message for it, in words.
    pub rewritten: Vec<String>,
    /// What to remember of it when a mailbox sends it.
    pub sent: Option<Sent>,
    /// [`Lane::told`] when it was begun.
    pub begun: u64,
    /// What its connection was opened for.
    pub errand: Errand,
}

impl Lane {
    /// Records what an attempt came to.
    pub async fn conclude(&self, mut attempt: Attempt, target: &Target, smarthost_sends_dsn: bool) {
        let now = self.clock.now();
        let shows = self.shows(&attempt);
        let returned = self.gives_back(&mut attempt);
        let Attempt { mut due, verdicts, rewritten, sent, errand, .. } = attempt;
        due.follow(self.queue.leapt_since(due.id));
        let mut conclusion = outcome::conclude(&due, verdicts, now, &target.retry, !smarthost_sends_dsn);
        match conclusion.stop.take() {
            Some((stop, cause)) => {
                self.halt(stop, &cause);
                if cause.stage >= Stage::Mail {
                    self.suspect(due.id, cause.stage, now);
                }
            }
            None if conclusion.fates.is_empty() => {}
            None => {
                self.went(due.id, shows, errand, now);
                if conclusion.fates.iter().any(|(_, fate)| !matches!(fate, Fate::Deferred(_))) {
                    self.suspects.lock().forget(due.id);
                }
            }
        }
        if let Some(Return { home, why, refused }) = returned {
            self.events.given_back(due.id, &self.name, &home, &why);
            let why = format!("from {} back to {home}: {why}", self.name);
            conclusion.go_on_elsewhere(&refused, home, why);
        }
        // What was changed for a smarthost that took nothing of it is no news.
        let rewritten = if conclusion.fates.is_empty() { Vec::new() } else { rewritten };
        let fates = conclusion.fates.iter().map(|(_, fate)| fate);
        let remembered = sent.and_then(|sent| sent.settled(&target.smarthost.host, fates));
        self.settle(due, conclusion, now, target, rewritten, remembered.map(Arc::new)).await;
    }

    /// What an attempt that stopped nothing shows of the smarthost.
    fn shows(&self, attempt: &Attempt) -> Shows {
        let verdicts = || attempt.verdicts.iter().flatten();
        // What was under way when another was told shows how things were before.
        let is_fresh = attempt.errand == Errand::Probe || attempt.begun == self.told();
        if !is_fresh || !verdicts().any(Verdict::is_answer) {
            return Shows::Nothing;
        }
        let told = self.suspects.lock().told();
        let others_go = told.is_some_and(|stage| verdicts().any(|verdict| verdict.is_beyond(stage)));
        if others_go { Shows::OthersGo } else { Shows::Answers }
    }

    /// A message had its outcome and stopped nothing.
    fn went(&self, id: QueueId, shows: Shows, errand: Errand, now: Timestamp) {
        let is_told = self.state.lock().is_told();
        // Of a lane that flows, or stands for what a connection met, any outcome shows that it works.
        if !is_told || shows != Shows::Nothing {
            self.succeeded();
        } else if errand == Errand::Probe {
            let next = self.state.lock().probe_told_nothing(now);
            if let Some(next) = next {
                self.suspects.lock().look_at(next);
            }
        }
        if shows == Shows::OthersGo {
            let mut others = self.entries.spare_none();
            others.retain(|other| *other != id);
            self.suspects.lock().clear(others, now);
        }
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
        if conclusion.is_empty() {
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
            deferred_until: conclusion.deferred_until,
            maybe_duplicate: conclusion.maybe_duplicate,
            warned: conclusion.warned,
            moves: conclusion.moves,
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
                    let next = conclusion.deferred_until.map(|next| next.to_string()).unwrap_or_default();
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

    /// The content can't be read. If it isn't what was written, an admin must look. Where its file alone can't be read,
    /// this message waits and the others go on; else all of them wait for the disk.
    pub async fn unreadable(&self, due: Due, cause: &io::Error, begun: u64, errand: Errand) {
        self.events.content_unreadable(due.id, cause);
        if Damaged::is_in(cause) {
            return self.queue.set_aside(due, &cause.to_string()).await;
        }
        let target = self.target();
        let is_alone = Unreadable::is_in(cause);
        let verdict = verdict::judge(
            if is_alone { Stage::Mail } else { Stage::Resolve },
            Event::Local(&cause.to_string()),
            &Upstream {
                host: &target.smarthost.host,
                authenticated: false,
                content_sent: false,
                alone: false,
                replies: &target.smarthost.replies,
            },
        );
        if is_alone {
            let mut verdicts = vec![None; due.open.len()];
            for index in outcome::turn(&due, self.clock.now(), &target.retry) {
                if let Some(decided) = verdicts.get_mut(index) {
                    *decided = Some(verdict.clone());
                }
            }
            let attempt = Attempt { due, verdicts, rewritten: Vec::new(), sent: None, begun, errand };
            return self.conclude(attempt, &target, true).await;
        }
        self.entries.release(due);
        self.stopped(verdict);
    }
}
