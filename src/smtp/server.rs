//! The session machine of the listening side (RFC 5321 §4.1.4): one input in, one [`Step`] out.

mod step;

pub use step::{AuthPolicy, Checked, Closing, LineEnd, Progress, ServerSettings, Step, Transaction};

use super::command::{Leniences, Mail, Rcpt};
use super::reply::Reply;
use std::sync::Arc;

/// The longest command line, CRLF included (RFC 5321 §4.5.3.1.4 asks for 512 and more for parameters).
pub const MAX_COMMAND_LINE: usize = 2048;
/// The longest line of a login, CRLF included (RFC 4954 §4.3). The shell keeps so much of a line and no more.
pub const MAX_AUTH_LINE: usize = 12288;
/// So many octets without a line end close the session.
pub const MAX_ENDLESS_LINE: usize = 1024 * 1024;

/// One client's session.
#[derive(Debug)]
pub struct Server {
    settings: Arc<ServerSettings>,
}

impl Server {
    /// A session that has said nothing yet. `secured`: TLS was established on connect (implicit TLS).
    #[must_use]
    pub fn new(settings: Arc<ServerSettings>, secured: bool) -> Self {
        let _ = secured;
        Self { settings }
    }

    /// The first thing to say.
    pub fn greeting(&mut self) -> Step {
        unimplemented!()
    }

    /// Instead of the greeting, when octets came in before it (RFC 5321 §3.1).
    pub fn spoke_early(&mut self) -> Step {
        unimplemented!()
    }

    /// Looks at the first octets of a plain connection before they are a line: a TLS handshake has no line end
    /// to wait for. None: go on.
    #[must_use]
    pub fn peek(&mut self, unread: &[u8]) -> Option<Step> {
        let _ = unread;
        unimplemented!()
    }

    /// One line without its end: a command, or the client's part of a login.
    pub fn line(&mut self, line: &[u8], end: LineEnd) -> Step {
        let _ = (line, end);
        unimplemented!()
    }

    /// A line that ended, but was longer than [`MAX_AUTH_LINE`]; the shell threw it away.
    pub fn long_line(&mut self) -> Step {
        unimplemented!()
    }

    /// [`MAX_ENDLESS_LINE`] octets without a line end.
    pub fn endless_line(&mut self) -> Step {
        unimplemented!()
    }

    /// Octets of content, after [`Step::ReadContent`]; what belongs to the message is appended to `out`.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let _ = (input, out);
        unimplemented!()
    }

    /// Answers [`Step::Sender`]; `mail` may have been changed by the shell's rules.
    pub fn allow_sender(&mut self, mail: Mail) -> Step {
        let _ = mail;
        unimplemented!()
    }

    /// Answers [`Step::Recipient`].
    pub fn allow_recipient(&mut self, rcpt: Rcpt) -> Step {
        let _ = rcpt;
        unimplemented!()
    }

    /// Answers [`Step::Sender`] or [`Step::Recipient`] with no; a 421 closes.
    pub fn refuse(&mut self, reply: Reply) -> Step {
        let _ = reply;
        unimplemented!()
    }

    /// Answers [`Step::Keep`]: a positive reply, made from a receipt, or why not. A 421 closes.
    pub fn kept(&mut self, reply: Reply) -> Step {
        let _ = reply;
        unimplemented!()
    }

    /// Answers [`Step::Verify`].
    pub fn verified(&mut self, checked: Checked) -> Step {
        let _ = checked;
        unimplemented!()
    }

    /// Answers [`Step::StartTls`]; the session starts over and waits for EHLO. No reply is due.
    pub fn tls_established(&mut self) {
        unimplemented!()
    }

    /// The EHLO or HELO argument, once given.
    #[must_use]
    pub fn helo(&self) -> Option<&str> {
        None
    }

    /// What stands behind `with` in our Received field (RFC 3848, RFC 6531 §4.3): `ESMTPSA` and the like.
    #[must_use]
    pub fn with_protocol(&self, smtputf8: bool) -> &'static str {
        let _ = smtputf8;
        "SMTP"
    }

    /// Whether TLS is up.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        let _ = &self.settings;
        false
    }

    /// Whether a login succeeded. Whose it was stood in [`Step::Verify`].
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        false
    }

    /// Leniences that this client needed so far.
    #[must_use]
    pub fn leniences(&self) -> Leniences {
        Leniences::default()
    }
}
