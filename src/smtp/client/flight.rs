//! One mail transaction under way: how much of it was said, and what was answered.

use super::job::{Cause, Fault, Job, JobReport, Loss, Setback, Stage};
use crate::smtp::data_out::{DotStuffer, LineEnds};
use crate::smtp::reply::Reply;

/// Of a recipient left for another transaction.
const UNTRIED: Setback = Setback { stage: Stage::Rcpt, cause: Cause::Fault(Fault::Untried) };

/// A job in its transaction.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: Job,
    pub(super) sending: Sending,
    pub(super) mail: Answer,
    /// One per recipient, once its fate is known.
    outcomes: Vec<Option<Result<Reply, Setback>>>,
    /// Recipients that RCPT was, or will be, said for; those behind are for another transaction.
    pub(super) tried: usize,
    /// RCPT replies that came.
    rcpt_replies: usize,
    /// Recipients the server took.
    pub(super) accepted: usize,
    /// Replies awaited.
    pub(super) pending: usize,
    /// Where in the output stream its MAIL begins, once it is there.
    pub(super) begins: Option<u64>,
    /// Where in the output stream the message's last octet is, once all of it is there.
    pub(super) content_end: Option<u64>,
    /// A recipient was answered by 421 when nothing was left to be said.
    pub(super) was_told_to_leave: bool,
}

/// What is to be said next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sending {
    Mail,
    Rcpt(usize),
    /// DATA or BDAT.
    Data,
    /// DATA was said; its 354 decides.
    GoAhead,
    Content {
        offset: u64,
        encoding: Encoding,
    },
    /// Nothing more of this job.
    Done,
    /// Stopped within its content: only closing the connection takes it back.
    Broken(Fault),
}

/// How content goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// By DATA (RFC 5321 §4.5.2).
    Dots(DotStuffer),
    /// By BDAT (RFC 3030).
    Chunk(LineEnds),
}

/// The fate of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Awaited,
    Accepted,
    Refused,
}

impl Flight {
    pub(super) fn new(job: Job, recipients_max: usize) -> Self {
        let tried = job.recipients.len().min(recipients_max.max(1));
        let mut outcomes = vec![None; tried];
        outcomes.resize(job.recipients.len(), Some(Err(UNTRIED)));
        Self {
            job,
            sending: Sending::Mail,
            mail: Answer::Awaited,
            outcomes,
            tried,
            rcpt_replies: 0,
            accepted: 0,
            pending: 0,
            begins: None,
            content_end: None,
            was_told_to_leave: false,
        }
    }

    /// Whether no content should follow: the sender, or every recipient, was refused.
    pub(super) fn is_hopeless(&self) -> bool {
        self.mail == Answer::Refused || (self.rcpt_replies == self.tried && self.accepted == 0)
    }

    /// Whether its content has begun and not ended.
    pub(super) fn is_in_content(&self) -> bool {
        matches!(self.sending, Sending::Content { .. })
    }

    /// Whether its content has begun and isn't all written, or never will be.
    pub(super) fn is_unfinished(&self, written: u64) -> bool {
        match self.sending {
            Sending::Content { .. } | Sending::Broken(_) => true,
            _ => self.content_end.is_some_and(|end| end > written),
        }
    }

    /// Whether no octet of it was written.
    pub(super) fn is_unwritten(&self, written: u64) -> bool {
        self.begins.is_none_or(|begins| begins >= written)
    }

    /// Whether everything was said and answered.
    pub(super) fn is_over(&self) -> bool {
        self.sending == Sending::Done && self.pending == 0
    }

    /// Notes the reply to RCPT for one recipient. A refused MAIL stays the cause: its 503s say nothing.
    pub(super) fn rcpt_answered(&mut self, number: usize, reply: Reply) {
        self.rcpt_replies += 1;
        if reply.is_positive() {
            self.accepted += 1;
        } else if let Some(outcome @ None) = self.outcomes.get_mut(number) {
            *outcome = Some(Err(Setback { stage: Stage::Rcpt, cause: Cause::Reply(reply) }));
        }
    }

    /// Gives every recipient without a fate this one.
    pub(super) fn settle(&mut self, fate: Result<Reply, Setback>) {
        let last = self.outcomes.iter().rposition(Option::is_none);
        let Some((last, head)) =
            last.and_then(|last| self.outcomes.get_mut(..=last)).and_then(<[_]>::split_last_mut)
        else {
            return;
        };
        for outcome in head.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(fate.clone());
        }
        *last = Some(fate);
    }

    /// Gives every recipient without a fate this setback.
    pub(super) fn set_back(&mut self, stage: Stage, cause: Cause) {
        self.settle(Err(Setback { stage, cause }));
    }

    /// Forgets what MAIL's refusal decided.
    pub(super) fn reopen(&mut self) {
        for outcome in self.outcomes.iter_mut().take(self.tried) {
            *outcome = None;
        }
    }

    /// The connection ended with this job in it. `written`: how far the output stream was written.
    pub(super) fn cut_off(mut self, stage: Stage, cause: Cause, written: u64) -> JobReport {
        let open = self.outcomes.iter().any(Option::is_none);
        let sent = self.is_sent(written);
        // A reply, 421 too, answers; only silence leaves doubt. Who doesn't know BDAT can't have taken anything by it; who
        // answers an earlier one by 503 knows it, and may have taken this one.
        let answers = match &cause {
            Cause::Reply(_) => true,
            Cause::Fault(Fault::ChunksRefused(reply)) => matches!(reply.code, 500 | 502),
            // Behind a 421 it was announced.
            Cause::Fault(Fault::Lost(Loss::Closed | Loss::Broken)) => self.was_told_to_leave,
            Cause::Fault(_) => false,
        };
        let uncertain = open && sent && !answers;
        let cause = match &self.sending {
            Sending::Broken(fault) => Cause::Fault(fault.clone()),
            _ => cause,
        };
        // Replies come in order and before an orderly end: behind the recipient nothing was taken.
        let ended = matches!(cause, Cause::Fault(Fault::Lost(Loss::Closed)));
        if (!uncertain || ended) && self.is_broken_at_a_recipient(&cause) {
            self.leave_others();
        }
        self.set_back(stage, cause);
        self.report(uncertain)
    }

    /// The server ended the connection with its reply to a message before this one: nobody of it was tried.
    pub(super) fn unheard(mut self) -> JobReport {
        let Setback { stage, cause } = UNTRIED;
        self.set_back(stage, cause);
        self.report(false)
    }

    /// Whether the server answered everything up to a recipient, then broke off there: that is no word on the others.
    fn is_broken_at_a_recipient(&self, cause: &Cause) -> bool {
        self.mail == Answer::Accepted
            && (self.rcpt_replies < self.tried || self.was_told_to_leave)
            && !matches!(self.sending, Sending::Broken(_))
            && !matches!(cause, Cause::Fault(Fault::ChunksRefused(_)))
    }

    /// Leaves the recipients without a fate for another transaction, but for the one at which it broke off: that has its
    /// 421 already, or its answer is awaited.
    fn leave_others(&mut self) {
        let awaited = Some(self.rcpt_replies).filter(|_| !self.was_told_to_leave);
        for (number, outcome) in self.outcomes.iter_mut().enumerate() {
            if Some(number) != awaited && outcome.is_none() {
                *outcome = Some(Err(UNTRIED));
            }
        }
    }

    /// Whether its last octet is written.
    pub(super) fn is_sent(&self, written: u64) -> bool {
        self.content_end.is_some_and(|end| end <= written)
    }

    /// How far it came, as far as replies tell.
    pub(super) fn stage(&self, written: u64) -> Stage {
        match self.mail {
            _ if self.is_unfinished(written) => Stage::Content,
            Answer::Awaited => Stage::Mail,
            _ if self.rcpt_replies < self.tried => Stage::Rcpt,
            _ if self.content_end.is_some() => Stage::Dot,
            _ => Stage::Data,
        }
    }

    /// Its report.
    pub(super) fn report(self, uncertain: bool) -> JobReport {
        let unanswered = || Err(Setback { stage: Stage::Dot, cause: Cause::Fault(Fault::ContentUnreadable) });
        let outcomes = self.outcomes.into_iter().map(|fate| fate.unwrap_or_else(unanswered)).collect();
        JobReport { token: self.job.token, outcomes, uncertain }
    }
}
