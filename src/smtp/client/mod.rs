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
//! Promised: no MAIL, AUTH or content in plain when TLS was asked for; no MAIL without the login that was asked for;
//! every job that was taken gets exactly one report, whatever comes or breaks; memory is bounded by the window.
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

pub mod job;

pub use job::{
    Cause, Fault, Job, JobRecipient, JobReport, Loss, Notify, Refusal, Refused, Ret, Setback, Stage,
};

use crate::smtp::capabilities::Capabilities;
use crate::smtp::sasl_client::LoginPlan;
use std::time::Duration;

/// How to talk to this smarthost.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The EHLO argument: our host name or an address literal. Octets that can't stand there are left out.
    pub hostname: Box<str>,
    /// What TLS the connection has or must get.
    pub tls: TlsUse,
    /// The login, without which no mail is sent; none sends without one.
    pub login: Option<LoginPlan>,
    /// Whether PLAIN, LOGIN and tokens may be sent without TLS: the peer is loopback.
    pub plain_password_ok: bool,
    /// Whether PIPELINING is used where offered.
    pub pipelining: bool,
    /// Whether BDAT is used where offered.
    pub chunking: bool,
    /// How much may be unanswered at once with CHUNKING and PIPELINING.
    pub window: Window,
    /// Recipients per transaction unless LIMITS RCPTMAX says less; 100 is what every server takes (RFC 5321 §4.5.3.1.8).
    pub recipients_per_message: usize,
}

/// Bounds of what is sent ahead of its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Messages unanswered at once.
    pub messages: usize,
    /// Octets of content unanswered at once. A message bigger than this waits for its RCPT replies first.
    pub octets: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { messages: 10, octets: 1024 * 1024 }
    }
}

/// What TLS a connection has or must get. There is no "if offered": less than asked for is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsUse {
    /// Plain text, as configured.
    None,
    /// STARTTLS before anything of worth is said (RFC 3207).
    StartTls,
    /// The stream is TLS already (RFC 8314 §3.3).
    Active,
}

/// What the shell must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Write [`Client::output`], all or part, and say how much by [`Client::wrote`]. Read meanwhile.
    Write,
    /// Shake hands, then [`Client::tls_started`]. Everything read before was already handed in.
    StartTls,
    /// Hand in this piece of this message by [`Client::content`].
    Content {
        /// [`Job::token`].
        token: u64,
        /// Octets of it already handed in.
        offset: u64,
        /// Octets wanted, at most; never 0.
        length: usize,
    },
    /// There is room for another message: [`Client::submit`] it, or [`Client::no_job`].
    NeedJob,
    /// This job is over.
    Report(JobReport),
    /// Read, for at most this long.
    Wait(Wait),
    /// Nothing is unanswered and nothing is to be said.
    Idle,
    /// Over: drop the connection. Every report was given before.
    Closed(Ending),
}

/// What a reply is awaited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// What for; [`Phase::limit`] is its time.
    pub phase: Phase,
    /// Rises with each whole reply and each write. The time starts anew when it rises, not when an octet comes: a
    /// server that sends an octet now and then runs out of time all the same.
    pub step: u64,
}

/// What is awaited, by the times RFC 5321 §4.5.3.2 gives for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The 220: 5 minutes.
    Greeting,
    /// EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET: 5 minutes.
    Command,
    /// The 354: 2 minutes.
    Data,
    /// Progress in writing content: 3 minutes.
    Content,
    /// The reply to the final dot or last chunk: 10 minutes.
    Dot,
    /// The reply to QUIT: 10 seconds; nothing depends on it.
    Quit,
}

impl Phase {
    /// Its time limit (RFC 5321 §4.5.3.2).
    #[must_use]
    pub const fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Greeting | Self::Command => 300,
            Self::Data => 120,
            Self::Content => 180,
            Self::Dot => 600,
            Self::Quit => 10,
        })
    }
}

/// How the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// QUIT was said, or the server had nothing open with us.
    Finished,
    /// It went wrong here; jobs in flight were reported before with the same cause.
    Failed(Setback),
}

/// One connection's client side.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    capabilities: Capabilities,
    out: Vec<u8>,
}

impl Client {
    /// A connection was made (and TLS with it, if [`TlsUse::Active`]); the greeting is awaited.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        Self { settings, capabilities: Capabilities::default(), out: Vec::new() }
    }

    /// What to do next. Ask again after every call of the others; never twice for the same [`Action::Report`].
    pub fn next(&mut self) -> Action {
        Action::Idle
    }

    /// Octets to be written now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// `count` octets of [`Client::output`] were written.
    pub fn wrote(&mut self, _count: usize) {}

    /// These octets came. All of them are taken in.
    pub fn read(&mut self, _octets: &[u8]) {}

    /// The handshake that [`Action::StartTls`] asked for is done and the certificate is good.
    pub fn tls_started(&mut self) {}

    /// The connection is of no more use. Reports follow, then [`Action::Closed`].
    pub fn lost(&mut self, _loss: Loss) {}

    /// Why this job could not be sent over this connection, window aside.
    #[must_use]
    pub fn refusal(&self, _job: &Job) -> Option<Refusal> {
        None
    }

    /// Takes a job, if [`Client::takes_jobs`].
    ///
    /// # Errors
    /// The job comes back with a [`Refusal`]; nothing was written and no report follows.
    pub fn submit(&mut self, _job: Job) -> Result<(), Box<Refused>> {
        Ok(())
    }

    /// Whether [`Client::submit`] would find room now; true also after [`Client::no_job`].
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        false
    }

    /// Answers [`Action::NeedJob`]: nothing is due. It isn't asked again until a job is over.
    pub fn no_job(&mut self) {}

    /// Answers [`Action::Content`] with the next octets: at least one, at most `length`.
    pub fn content(&mut self, _block: &[u8]) {}

    /// Answers [`Action::Content`]: it can't be read. The job is reported, earlier ones run to their end, and
    /// the connection closes, since only that takes a half-sent message back.
    pub fn content_failed(&mut self) {}

    /// Takes no more jobs, finishes those in flight, says QUIT (RFC 5321 §4.1.1.10).
    pub fn quit(&mut self) {}

    /// What the server offers, by its last EHLO; nothing before that.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Jobs taken and not yet reported.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        0
    }

    /// What a read or write that hangs now would be waiting for.
    #[must_use]
    pub fn phase(&self) -> Wait {
        Wait { phase: Phase::Command, step: 0 }
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }
}
