//! Mail transactions: what is said for each job, how far ahead of its replies, and what the replies mean.
//!
//! Without PIPELINING one command at a time. With it, MAIL, RCPT… and DATA go in one flight, and the next job's
//! behind this one's final dot (RFC 2920 §3.1). With CHUNKING too, whole messages go ahead of their replies, as many
//! as the window holds; RSET parts them, because what a refused BDAT leaves behind isn't certain (RFC 3030 §2).

use super::commands::{needs_smtputf8, refusal, write_bdat, write_mail, write_rcpt};
use super::flight::{Answer, Encoding, Flight, Sending};
use super::{
    Action, Bdat, Cause, Client, FLIGHT_OCTETS, Fault, Job, Refusal, Refused, Said, Stage, State, Supply,
    stage_of,
};
use crate::smtp::capabilities::Capabilities;
use crate::smtp::data_out::{DotStuffer, LineEnds};
use crate::smtp::reply::{Enhanced, Reply};

impl Client {
    /// Why this job could not be sent over this connection, window aside. Before [`Action::NeedJob`] the server's
    /// offer isn't known and [`Refusal::NotNow`] comes.
    #[must_use]
    pub fn refusal(&self, job: &Job) -> Option<Refusal> {
        if matches!(self.state, State::Ready) {
            refusal(job, &self.capabilities)
        } else {
            Some(Refusal::NotNow)
        }
    }

    /// Takes a job, if [`Client::takes_jobs`].
    ///
    /// # Errors
    /// The job comes back with a [`Refusal`]; nothing was written and no report follows.
    pub fn submit(&mut self, mut job: Job) -> Result<(), Box<Refused>> {
        let refusal = if self.takes_jobs() { self.refusal(&job) } else { Some(Refusal::NotNow) };
        if let Some(refusal) = refusal {
            return Err(Box::new(Refused { job, refusal }));
        }
        job.smtputf8 |= needs_smtputf8(&job);
        // An earlier chunk may yet be refused, and leave its transaction open.
        self.needs_reset |= self.chunks() && !self.flights.is_empty();
        let most =
            self.settings.recipients_per_message.min(self.capabilities.recipients_max.unwrap_or(usize::MAX));
        self.flights.push_back(Flight::new(job, most));
        self.jobs_taken += 1;
        self.supply = Supply::Unknown;
        self.advance();
        Ok(())
    }

    /// Whether [`Client::submit`] would find room now; true also after [`Client::no_job`].
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        if !matches!(self.state, State::Ready) || self.is_at_its_end() {
            return false;
        }
        match self.flights.back() {
            None => true,
            Some(last) if last.sending != Sending::Done || !self.pipelines() => false,
            Some(_) if self.chunks() => {
                let octets: u64 = self.flights.iter().map(|flight| flight.job.size).sum();
                self.flights.len() < self.settings.window.messages && octets < self.settings.window.octets
            }
            // The dot of the only one before is said; the next may stand behind it.
            Some(_) => self.flights.len() == 1 && self.settings.window.messages > 1,
        }
    }

    /// Takes no more jobs, as [`Client::quit`], and gives back those of which no octet was written: their tokens,
    /// latest first. No report follows for them.
    #[must_use]
    pub fn withdraw(&mut self) -> Vec<u64> {
        self.quit();
        let mut withdrawn = Vec::new();
        while let Some(flight) = self.flights.pop_back_if(|flight| flight.is_unwritten(self.written)) {
            let begins = flight.begins.unwrap_or(u64::MAX);
            self.expected.retain(|expected| expected.end <= begins);
            let kept = usize::try_from(begins.saturating_sub(self.written)).unwrap_or(usize::MAX);
            self.out.truncate(self.out_written.saturating_add(kept));
            withdrawn.push(flight.job.token);
        }
        withdrawn
    }

    /// Answers [`Action::NeedJob`]: nothing is due. It isn't asked again until a job is over.
    pub fn no_job(&mut self) {
        if self.supply == Supply::Unknown {
            self.supply = Supply::NoneDue;
        }
    }

    /// Answers [`Action::Content`] with the next octets: at least one, at most `length`.
    pub fn content(&mut self, block: &[u8]) {
        let Some(Flight { job, sending, .. }) = self.flights.back_mut() else { return };
        let Sending::Content { offset, encoding } = sending else { return };
        let length = block.len() as u64;
        if length == 0 || length > job.size.saturating_sub(*offset) {
            return self.content_failed();
        }
        match encoding {
            Encoding::Dots(stuffer) => stuffer.encode(block, &mut self.out),
            Encoding::Chunk(ends) => {
                if !ends.are_whole(block) {
                    return self.break_off(Fault::BareLineEnd);
                }
                self.out.extend_from_slice(block);
            }
        }
        *offset += length;
        if *offset == job.size {
            self.finish_content();
        }
    }

    /// Answers [`Action::Content`]: it can't be read. The job is reported, earlier ones run to their end, and
    /// the connection closes, since only that takes a half-sent message back.
    pub fn content_failed(&mut self) {
        if self.flights.back().is_some_and(Flight::is_in_content) {
            self.break_off(Fault::ContentUnreadable);
        }
    }

    fn break_off(&mut self, fault: Fault) {
        if let Some(flight) = self.flights.back_mut() {
            flight.sending = Sending::Broken(fault);
        }
        self.end_if_broken();
    }

    /// A broken message at the front: nothing earlier is awaited, so it can end.
    fn end_if_broken(&mut self) {
        if let Some(Flight { sending: Sending::Broken(fault), .. }) = self.flights.front() {
            let cause = Cause::Fault(fault.clone());
            self.fail(Stage::Content, cause);
        }
    }

    /// What is wanted from the shell while the connection is ready, output and replies aside.
    pub(super) fn next_in_transactions(&self) -> Option<Action> {
        if self.output().len() >= FLIGHT_OCTETS {
            return None;
        }
        if let Some(Flight { job, sending: Sending::Content { offset, .. }, .. }) = self.flights.back() {
            let left = usize::try_from(job.size - offset).unwrap_or(usize::MAX);
            return Some(Action::Content {
                token: job.token,
                offset: *offset,
                length: left.min(FLIGHT_OCTETS),
            });
        }
        (self.supply == Supply::Unknown && self.takes_jobs()).then_some(Action::NeedJob)
    }

    fn pipelines(&self) -> bool {
        self.settings.pipelining && self.capabilities.pipelining
    }

    fn chunks(&self) -> bool {
        self.settings.chunking && self.capabilities.chunking
    }

    /// Says what can be said now for the last job.
    pub(super) fn advance(&mut self) {
        let (pipelines, chunks) = (self.pipelines(), self.chunks());
        while matches!(self.state, State::Ready) {
            let (all_answered, queued) = (self.expected.is_empty(), self.queued());
            let Some(flight) = self.flights.back_mut() else { return };
            // A message bigger than the window isn't sent on the off-chance that somebody wants it.
            let goes_ahead = pipelines
                && !(chunks
                    && flight.sending == Sending::Data
                    && flight.job.size > self.settings.window.octets);
            if !goes_ahead && !all_answered {
                return;
            }
            let offered: &Capabilities = &self.capabilities;
            let said = match flight.sending {
                Sending::Mail if self.needs_reset => {
                    self.needs_reset = false;
                    self.out.extend_from_slice(b"RSET\r\n");
                    self.expect(Said::Rset);
                    continue;
                }
                Sending::Mail => {
                    flight.begins = Some(queued);
                    write_mail(&flight.job, offered, &mut self.out);
                    flight.sending = Sending::Rcpt(0);
                    Said::Mail
                }
                Sending::Rcpt(_) | Sending::Data if flight.is_hopeless() => return self.drop_hopeless(),
                Sending::Rcpt(number) if number < flight.tried => {
                    if let Some(recipient) = flight.job.recipients.get(number) {
                        write_rcpt(recipient, offered, &mut self.out);
                    }
                    flight.sending = Sending::Rcpt(number + 1);
                    Said::Rcpt(number)
                }
                Sending::Rcpt(_) => {
                    flight.sending = Sending::Data;
                    continue;
                }
                Sending::Data if chunks => {
                    write_bdat(flight.job.size, &mut self.out);
                    return self.begin_content(Encoding::Chunk(LineEnds::default()));
                }
                Sending::Data => {
                    self.out.extend_from_slice(b"DATA\r\n");
                    flight.sending = Sending::GoAhead;
                    Said::Data
                }
                Sending::GoAhead | Sending::Content { .. } | Sending::Done | Sending::Broken(_) => return,
            };
            flight.pending += 1;
            self.expect(said);
        }
    }

    /// Nobody is left to send the last job's content to, and DATA isn't said yet.
    fn drop_hopeless(&mut self) {
        if let Some(flight) = self.flights.back_mut() {
            flight.sending = Sending::Done;
            self.needs_reset |= flight.mail == Answer::Accepted;
        }
        self.land();
    }

    fn begin_content(&mut self, encoding: Encoding) {
        let Some(flight) = self.flights.back_mut() else { return };
        flight.sending = Sending::Content { offset: 0, encoding };
        if flight.job.size == 0 {
            self.finish_content();
        }
    }

    /// The last octet is in the output: ends the message.
    fn finish_content(&mut self) {
        let Some(flight) = self.flights.back_mut() else { return };
        let Sending::Content { encoding, .. } = &mut flight.sending else { return };
        match encoding {
            Encoding::Dots(stuffer) => stuffer.finish(&mut self.out),
            Encoding::Chunk(ends) if ends.end_whole() => {}
            Encoding::Chunk(_) => return self.break_off(Fault::BareLineEnd),
        }
        self.end_content();
    }

    /// The message's end was put out; its reply decides.
    fn end_content(&mut self) {
        let end = self.queued();
        if let Some(flight) = self.flights.back_mut() {
            flight.sending = Sending::Done;
            flight.pending += 1;
            flight.content_end = Some(end);
        }
        self.expect(Said::Dot);
    }

    /// A reply came within a transaction.
    pub(super) fn answered(&mut self, said: Said, reply: Reply) {
        if said == Said::Rset {
            return self.reset_answered(reply);
        }
        if said == Said::Dot && self.is_chunk_refusal(&reply) {
            return self.chunks_refused(reply);
        }
        let chunks = self.chunks();
        let Some(flight) = self.flights.front_mut() else {
            return self.out_of_place(Stage::Idle, reply);
        };
        let fits = match said {
            // A 250 to DATA or a 354 to anything else: replies and commands are out of step.
            Said::Data => !reply.is_positive(),
            // A recipient without a sender can't be accepted (RFC 5321 §4.1.1.3).
            Said::Rcpt(_) if flight.mail == Answer::Refused => {
                !reply.is_positive() && !reply.is_intermediate()
            }
            _ => !reply.is_intermediate(),
        };
        if !fits {
            // It says that it goes on with what it refused, and all of that is out.
            if flight.mail == Answer::Refused && flight.is_sent(self.written) {
                flight.reopen();
            }
            return self.out_of_place(stage_of(said), reply);
        }
        flight.pending = flight.pending.saturating_sub(1);
        match said {
            Said::Mail if reply.is_positive() => flight.mail = Answer::Accepted,
            Said::Mail => {
                flight.mail = Answer::Refused;
                flight.set_back(Stage::Mail, Cause::Reply(reply));
            }
            Said::Rcpt(number) => flight.rcpt_answered(number, reply),
            Said::Data if reply.is_intermediate() && flight.is_hopeless() => {
                // RFC 2920 §3.1: nobody to send to, and yet a 354. A lone dot, and no content.
                self.out.extend_from_slice(b".\r\n");
                self.end_content();
            }
            Said::Data if reply.is_intermediate() => {
                self.begin_content(Encoding::Dots(DotStuffer::default()));
            }
            Said::Data => {
                flight.set_back(Stage::Data, Cause::Reply(reply));
                flight.sending = Sending::Done;
                self.needs_reset |= flight.mail == Answer::Accepted;
            }
            _ if reply.is_positive() => {
                if chunks {
                    self.bdat = Bdat::Known;
                }
                flight.settle(Ok(reply));
            }
            _ => {
                flight.set_back(Stage::Dot, Cause::Reply(reply));
                // RFC 3030 §2: a refused BDAT leaves an open transaction, or doesn't.
                self.needs_reset |= chunks;
            }
        }
        self.land();
        self.advance();
    }

    /// Whether a reply to the first job's BDAT says that BDAT isn't known here, whatever EHLO said.
    pub(super) fn is_chunk_refusal(&self, reply: &Reply) -> bool {
        let is_awaited = self.flights.front().is_some_and(|flight| flight.accepted > 0);
        // Where it took a message by BDAT, it must say so in earnest.
        let is_meant = is_about_the_command(reply) && (self.bdat != Bdat::Known || is_unknown_command(reply));
        self.chunks() && is_awaited && is_meant
    }

    /// BDAT isn't known here, as it seems. The message has its answer, so that nothing about it is uncertain: it goes again,
    /// by DATA.
    ///
    /// Those behind it may be out whole, and a server that knows BDAT and only words its refusals badly takes them. The reply
    /// to the RSET in front of the next one tells: who doesn't know BDAT reads the content as commands and answers its first
    /// line, a header field, by another refusal; it can't take anything behind that, since each BDAT is refused alike.
    pub(super) fn chunks_refused(&mut self, reply: Reply) {
        let cause = Cause::Fault(Fault::ChunksRefused(reply.clone()));
        if let Some(flight) = self.flights.front_mut() {
            flight.set_back(Stage::Dot, cause.clone());
            flight.pending = flight.pending.saturating_sub(1);
        }
        if !self.is_any_sent_behind(1) {
            // What is left of the content is read as commands: nothing more is said.
            return self.fail(Stage::Dot, cause);
        }
        // Who took some before may have taken those behind, whatever it says to RSET.
        self.bdat = if self.bdat == Bdat::Known { Bdat::Untold } else { Bdat::Doubted(reply) };
        self.quit();
        self.land();
        self.advance();
    }

    /// RSET can't be refused (RFC 5321 §4.1.1.5); where it is, nothing that follows means what it says.
    fn reset_answered(&mut self, reply: Reply) {
        match &self.bdat {
            Bdat::Doubted(_) if reply.is_positive() => self.bdat = Bdat::Untold,
            Bdat::Doubted(refused) if !reply.is_intermediate() => {
                let cause = Cause::Fault(Fault::ChunksRefused(refused.clone()));
                return self.fail(Stage::Mail, cause);
            }
            _ => {}
        }
        if reply.is_positive() {
            self.advance();
        } else {
            self.out_of_place(Stage::Mail, reply);
        }
    }

    /// Reports the first job if it is over.
    fn land(&mut self) {
        if let Some(flight) = self.flights.pop_front_if(|flight| flight.is_over()) {
            self.reports.push_back(flight.report(false));
            if self.supply == Supply::NoneDue {
                self.supply = Supply::Unknown;
            }
        }
        self.end_if_broken();
    }
}

/// Whether a reply to BDAT is about the command and not about the message (RFC 5321 §4.2.4). Some refuse content by
/// such a code, too, and tell it by the enhanced code (RFC 3463 §3: X.5 is the protocol, X.0 says nothing) or in words.
fn is_about_the_command(reply: &Reply) -> bool {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let says = |word| text.contains(word);
    let is_about_content = says("content") || says("line") && (says("long") || says("length"));
    matches!(reply.code, 500 | 502 | 503 | 504)
        && reply.enhanced.is_none_or(|Enhanced(_, subject, _)| matches!(subject, 0 | 5))
        && !is_about_content
}

/// Whether it says that there is no such command, as behind a proxy that comes to another server.
fn is_unknown_command(reply: &Reply) -> bool {
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let says = || ["not implemented", "recogni", "unknown command"].iter().any(|words| text.contains(words));
    matches!(reply.code, 500 | 502) && (reply.enhanced == Some(Enhanced(5, 5, 1)) || says())
}
