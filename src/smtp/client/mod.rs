//! The transaction machine: one connection to a smarthost, from its greeting to QUIT (RFC 5321 §3).
//!
//! Sans-IO: the shell carries bytes and does what [`Client::next`] asks. A message's way through it:
//!
//! 1. greeting, EHLO (HELO where that is enough), STARTTLS and EHLO again, AUTH;
//! 2. [`Action::NeedJob`]: the shell submits what is due, as early as the next message's commands can travel with
//!    this message's content (RFC 2920), or with BDAT a whole window of messages (RFC 3030);
//! 3. [`Action::Content`]: the shell hands over blocks, which are encoded into the output;
//! 4. [`Action::Report`]: one per job, with each recipient's fate and the server's own words;
//! 5. [`Client::quit`], and [`Action::Closed`].
//!
//! [`Client::withdraw`] takes back at any time what no octet was written of.
//!
//! Promised: no MAIL, AUTH or content in plain when TLS was asked for; no MAIL without the login that was asked for;
//! every job that was taken and isn't withdrawn gets exactly one report, whatever comes or breaks; memory is bounded by the window.
//!
//! The shell's loop, reading *while* it writes (or a full window can deadlock, RFC 2920 §3.1):
//!
//! ```text
//! loop { match client.next() {
//!     Write          => write some of client.output(), client.wrote(n); meanwhile read → client.read(bytes)
//!     Content{..}    => client.content(&block) or client.content_failed()
//!     NeedJob        => client.submit(job) or client.no_job()
//!     StartTls       => handshake, then client.tls_started() or client.lost(Loss::Handshake)
//!     Report(report) => settle it
//!     Wait(wait)     => read → client.read(bytes); time over → client.lost(Loss::TimedOut); end → client.lost(Loss::Closed)
//!     Idle           => wait for work → client.submit(job), for bytes → client.read(bytes), or client.quit()
//!     Closed(ending) => drop the connection
//! }}
//! ```

pub mod settings;
pub mod job;
pub mod action;
mod commands;
mod flight;
mod handshake;
mod transaction;

pub use action::{Action, Ending, Phase, Wait};
pub use job::{
    Cause, Fault, Job, JobRecipient, JobReport, Loss, Notify, Refusal, Refused, Ret, Setback, Stage,
};
pub use settings::{ClientSettings, TlsUse, Window};

use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::{Reply, ReplyParser};
use flight::Flight;
use handshake::Login;
use std::collections::VecDeque;

/// Output beyond which the shell is asked to write before it is asked for more.
const FLIGHT_OCTETS: usize = 64 * 1024;

/// One connection's client side.
pub struct Client {
    settings: ClientSettings,
    state: State,
    /// Whether the stream is TLS now.
    private: bool,
    capabilities: Capabilities,
    parser: ReplyParser,
    /// What was said and not yet answered, oldest first.
    expected: VecDeque<Expected>,
    /// Jobs taken and not yet over, oldest first. Replies are for the first, words are from the last.
    flights: VecDeque<Flight>,
    reports: VecDeque<JobReport>,
    out: Vec<u8>,
    /// How much of `out` was written.
    out_written: usize,
    /// Octets written over the whole connection.
    written: u64,
    /// Rises with each whole reply and each write.
    step: u64,
    /// The server may still hold a transaction that came to nothing: RSET goes before the next MAIL.
    needs_reset: bool,
    /// What the shell said about further jobs.
    supply: Supply,
    /// Jobs taken so far.
    jobs_taken: u64,
    bdat: Bdat,
    /// 421 came, and what became of messages that are out whole is still to be heard.
    told_to_leave: bool,
}

/// Where the connection is.
#[derive(Debug)]
enum State {
    /// Greeting, EHLO, STARTTLS: the expected reply tells which.
    Opening,
    /// 220 came; the shell shakes hands.
    TlsHandshake,
    Login(Login),
    Ready,
    /// QUIT is said or queued.
    Quitting(Ending),
    Over(Ending),
}

/// Whether the server knows BDAT, where it lists CHUNKING.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bdat {
    Untold,
    /// This came as if it didn't, and messages behind are out whole: its reply to RSET, which comes next, decides.
    Doubted(Reply),
    /// It took a message by it.
    Known,
}

/// What the shell said about further jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// To be asked.
    Unknown,
    /// None due, until something changes.
    NoneDue,
    /// [`Client::quit`]: never again.
    Stopped,
}

/// A reply that is awaited.
#[derive(Debug, Clone, Copy)]
struct Expected {
    to: Said,
    /// Where in the output stream what is to be answered ends: a reply before that is written answers nothing.
    end: u64,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing: the greeting comes by itself.
    Connected,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt(usize),
    Data,
    /// The final dot or the last chunk.
    Dot,
    Quit,
}

impl std::fmt::Debug for Client {
    /// Leaves out the buffer, which may hold the AUTH command.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state)
            .field("private", &self.private)
            .field("capabilities", &self.capabilities)
            .field("expected", &self.expected)
            .field("in_flight", &self.flights.len())
            .field("output_octets", &self.output().len())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A connection was made (and TLS with it, if [`TlsUse::Active`]); the greeting is awaited.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            private: settings.tls == TlsUse::Active,
            settings,
            state: State::Opening,
            capabilities: Capabilities::default(),
            parser: ReplyParser::default(),
            expected: VecDeque::from([Expected { to: Said::Connected, end: 0 }]),
            flights: VecDeque::new(),
            reports: VecDeque::new(),
            out: Vec::new(),
            out_written: 0,
            written: 0,
            step: 0,
            needs_reset: false,
            supply: Supply::Unknown,
            jobs_taken: 0,
            bdat: Bdat::Untold,
            told_to_leave: false,
        }
    }

    /// What to do next. Ask again after every call of the others; a report is given once.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: what comes next depends on the shell's answers"
    )]
    pub fn next(&mut self) -> Action {
        if let Some(report) = self.reports.pop_front() {
            return Action::Report(report);
        }
        match &self.state {
            State::Over(ending) => return Action::Closed(ending.clone()),
            State::TlsHandshake => return Action::StartTls,
            State::Ready => {
                if let Some(action) = self.next_in_transactions() {
                    return action;
                }
                if self.flights.is_empty() && self.expected.is_empty() && self.is_at_its_end() {
                    self.say_quit(Ending::Finished);
                }
            }
            State::Opening | State::Login(_) | State::Quitting(_) => {}
        }
        if !self.output().is_empty() {
            Action::Write
        } else if self.expected.is_empty() && self.flights.is_empty() {
            Action::Idle
        } else {
            Action::Wait(self.phase())
        }
    }

    /// Octets to be written now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.out.get(self.out_written..).unwrap_or_default()
    }

    /// `count` octets of [`Client::output`] were written.
    pub fn wrote(&mut self, count: usize) {
        let count = count.min(self.output().len());
        self.out_written += count;
        self.written += count as u64;
        self.step += u64::from(count > 0);
        if self.out_written == self.out.len() {
            if !matches!(self.state, State::Ready) {
                // It may have held a password.
                self.out.fill(0);
            }
            self.out.clear();
            self.out_written = 0;
        }
    }

    /// These octets came. All of them are taken in; after the end of the connection they are thrown away.
    pub fn read(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            match self.state {
                State::Over(_) => return,
                // RFC 3207 §6: what stands in plain behind the 220 isn't the server's.
                State::TlsHandshake => {
                    return self.fail(Stage::StartTls, Cause::Fault(Fault::PlainTextAfterStartTls));
                }
                State::Opening | State::Login(_) | State::Ready | State::Quitting(_) => {}
            }
            let fed = self.parser.feed(rest);
            rest = rest.get(fed.consumed..).unwrap_or_default();
            match fed.reply {
                None => {}
                Some(Ok(reply)) => {
                    self.step += 1;
                    self.take_reply(reply);
                }
                Some(Err(error)) => return self.fail(self.stage(), Cause::Fault(Fault::Malformed(error))),
            }
        }
    }

    /// The handshake that [`Action::StartTls`] asked for is done and the certificate is good.
    pub fn tls_started(&mut self) {
        if !matches!(self.state, State::TlsHandshake) {
            return;
        }
        self.private = true;
        // RFC 3207 §4.2: what was learned in plain is forgotten.
        self.capabilities = Capabilities::default();
        self.parser = ReplyParser::default();
        self.state = State::Opening;
        self.say_hello(Said::Ehlo);
    }

    /// The connection is of no more use. Reports follow, then [`Action::Closed`].
    pub fn lost(&mut self, loss: Loss) {
        self.fail(self.stage(), Cause::Fault(Fault::Lost(loss)));
    }

    /// From the next job on a transaction has no more recipients than these.
    pub fn limit_recipients(&mut self, most: usize) {
        self.settings.recipients_per_message = most.max(1);
    }

    /// From now on no more messages than these are sent ahead of their replies.
    pub fn limit_window(&mut self, messages: usize) {
        self.settings.window.messages = messages.max(1);
    }

    /// Takes no more jobs, finishes those in flight, says QUIT (RFC 5321 §4.1.1.10).
    pub fn quit(&mut self) {
        self.supply = Supply::Stopped;
    }

    /// What the server offers, by its last EHLO; nothing before that.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Jobs taken and not yet over. Their reports may still have to be fetched by [`Client::next`].
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What a read or write that hangs now would be waiting for.
    #[must_use]
    pub fn phase(&self) -> Wait {
        let phase = match self.expected.front() {
            Some(expected) if expected.end <= self.written => match expected.to {
                Said::Connected => Phase::Greeting,
                Said::Data => Phase::Data,
                Said::Dot => Phase::Dot,
                Said::Quit => Phase::Quit,
                Said::Auth if matches!(&self.state, State::Login(login) if login.exchange.is_refused()) => {
                    Phase::Refusal
                }
                Said::Auth
                | Said::Ehlo
                | Said::Helo
                | Said::StartTls
                | Said::Rset
                | Said::Mail
                | Said::Rcpt(_) => Phase::Command,
            },
            Some(Expected { to: Said::Dot, .. }) | None if !self.flights.is_empty() => Phase::Content,
            Some(Expected { to: Said::Quit, .. }) => Phase::Quit,
            Some(_) | None => Phase::Command,
        };
        Wait { phase, step: self.step }
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Where the output stream ends now.
    fn queued(&self) -> u64 {
        self.written + self.output().len() as u64
    }

    /// What was just appended to the output will be answered.
    fn expect(&mut self, to: Said) {
        let end = self.queued();
        self.expected.push_back(Expected { to, end });
    }

    fn take_reply(&mut self, reply: Reply) {
        if let State::Quitting(ending) = &self.state {
            // Whatever it says: nothing depends on it.
            self.state = State::Over(ending.clone());
            return;
        }
        let written = self.written;
        let Some(expected) = self.expected.pop_front_if(|expected| expected.end <= written) else {
            return self.take_unasked(reply);
        };
        // RFC 5321 §3.8: 421 answers everything, and the channel closes.
        if reply.code == 421 && !self.reads_on(expected.to) {
            return self.fail(stage_of(expected.to), Cause::Reply(reply));
        }
        match expected.to {
            Said::Connected | Said::Ehlo | Said::Helo | Said::StartTls | Said::Auth => {
                self.opened(expected.to, reply);
            }
            Said::Rset | Said::Mail | Said::Rcpt(_) | Said::Data | Said::Dot => {
                self.answered(expected.to, reply);
            }
            // Only State::Quitting expects it.
            Said::Quit => self.out_of_place(self.stage(), reply),
        }
    }

    /// Whether 421 is taken as a refusal of this message or recipient, because the content of one that is still unanswered is
    /// out whole: there are servers that say 421 of one message and go on, and what became of the others only further
    /// replies tell, or the end of the connection.
    fn reads_on(&mut self, said: Said) -> bool {
        let answered = match said {
            // RSET stands before a MAIL.
            Said::Mail | Said::Rcpt(_) | Said::Rset => 0,
            Said::Dot => 1,
            // Before content nothing is out.
            _ => return false,
        };
        if !self.is_any_sent_behind(answered) {
            return false;
        }
        if let (Said::Rcpt(_), Some(flight)) = (said, self.flights.front_mut()) {
            flight.was_told_to_leave = true;
        }
        self.told_to_leave = true;
        self.quit();
        true
    }

    /// Whether the content of one of the jobs in flight behind the first `skipped` is out whole.
    fn is_any_sent_behind(&self, skipped: usize) -> bool {
        self.flights.iter().skip(skipped).any(|flight| flight.is_sent(self.written))
    }

    /// A reply came to nothing, or to something that isn't written yet.
    fn take_unasked(&mut self, reply: Reply) {
        let refuses = reply.is_transient() || reply.is_permanent();
        let sending = self.flights.front().is_some_and(|flight| flight.is_unfinished(self.written))
            && self.expected.front().is_none_or(|expected| expected.to == Said::Dot);
        if sending && self.is_chunk_refusal(&reply) {
            return self.chunks_refused(reply);
        }
        // A server that has enough of a message says so and closes; it can't be told from an answer to the content.
        if reply.code == 421 || (refuses && sending) {
            self.fail(self.stage(), Cause::Reply(reply));
        } else {
            self.out_of_place(self.stage(), reply);
        }
    }

    fn out_of_place(&mut self, stage: Stage, reply: Reply) {
        self.fail(stage, Cause::Fault(Fault::OutOfPlace(reply)));
    }

    /// Ends it here: every job gets its report, and nothing more is said.
    fn fail(&mut self, stage: Stage, cause: Cause) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        let cause = match (&mut self.state, cause) {
            // Its error came; that no reply followed says nothing more.
            (State::Login(login), Cause::Fault(Fault::Lost(loss))) if loss != Loss::Stopped => {
                match login.exchange.refused(None) {
                    Some(refusal) => Cause::Fault(Fault::TokenRefused(Box::new(refusal))),
                    None => Cause::Fault(Fault::Lost(loss)),
                }
            }
            (_, cause) => cause,
        };
        for (number, flight) in std::mem::take(&mut self.flights).into_iter().enumerate() {
            let is_unheard = match cause {
                // The reply was to the first, and the last one; what was sent ahead behind it wasn't looked at.
                Cause::Reply(_) => number > 0,
                // It announced its end and ended, before it answered anything of this one.
                Cause::Fault(Fault::Lost(Loss::Closed | Loss::Broken)) => {
                    self.told_to_leave && flight.mail == flight::Answer::Awaited
                }
                Cause::Fault(_) => false,
            };
            let stage = if number == 0 { stage } else { flight.stage(self.written) };
            self.reports.push_back(if is_unheard {
                flight.unheard()
            } else {
                flight.cut_off(stage, cause.clone(), self.written)
            });
        }
        self.end(match &self.state {
            State::Quitting(ending) => ending.clone(),
            _ => Ending::Failed(Setback { stage, cause }),
        });
    }

    fn end(&mut self, ending: Ending) {
        self.state = State::Over(ending);
        self.expected.clear();
        self.out.fill(0);
        self.out.clear();
        self.out_written = 0;
    }

    /// Says QUIT and ends with this, whatever comes then.
    fn say_quit(&mut self, ending: Ending) {
        self.out.extend_from_slice(b"QUIT\r\n");
        self.expect(Said::Quit);
        self.state = State::Quitting(ending);
    }

    /// Where it is, for a failure that no reply belongs to.
    fn stage(&self) -> Stage {
        match (&self.state, self.expected.front()) {
            (State::TlsHandshake, _) => Stage::StartTls,
            (State::Login(_), _) => Stage::Auth,
            (State::Opening, Some(expected)) => stage_of(expected.to),
            (State::Ready, _) => {
                self.flights.front().map_or(Stage::Idle, |flight| flight.stage(self.written))
            }
            (State::Opening | State::Quitting(_) | State::Over(_), _) => Stage::Idle,
        }
    }

    /// Whether no job will follow.
    fn is_at_its_end(&self) -> bool {
        self.supply == Supply::Stopped
            || self.capabilities.mails_max.is_some_and(|most| self.jobs_taken >= most)
    }
}

fn stage_of(said: Said) -> Stage {
    match said {
        Said::Connected => Stage::Greeting,
        Said::Ehlo | Said::Helo => Stage::Ehlo,
        Said::StartTls => Stage::StartTls,
        Said::Auth => Stage::Auth,
        Said::Mail | Said::Rset => Stage::Mail,
        Said::Rcpt(_) => Stage::Rcpt,
        Said::Data => Stage::Data,
        Said::Dot => Stage::Dot,
        Said::Quit => Stage::Idle,
    }
}

#[cfg(test)]
mod tests;
