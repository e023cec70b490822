//! What the machine asks of its shell, and how long it may take.

use super::job::{JobReport, Setback};
use std::time::Duration;

/// What the shell must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Write [`super::Client::output`], all or part, and say how much by [`super::Client::wrote`]. Read meanwhile.
    Write,
    /// Shake hands, then [`super::Client::tls_started`]. Everything read before was already handed in.
    StartTls,
    /// Hand in this piece of this message by [`super::Client::content`].
    Content {
        /// [`super::Job::token`].
        token: u64,
        /// Octets of it already handed in.
        offset: u64,
        /// Octets wanted, at most; never 0.
        length: usize,
    },
    /// There is room for another message: [`super::Client::submit`] it, or [`super::Client::no_job`].
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
    /// EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET; writing any of them: 5 minutes.
    Command,
    /// The reply behind the error that a token was refused with: 10 seconds; it is known to be refused.
    Refusal,
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
            Self::Quit | Self::Refusal => 10,
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
