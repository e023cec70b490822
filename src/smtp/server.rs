//! The session machine of the listening side (RFC 5321 §4.1.4): one input in, one [`Step`] out.
//!
//! It owns the order of commands, the limits on errors, the open transaction and the content's way off the wire. It
//! knows no socket and no policy: who may send, whose password is right and whether a message is kept is asked of the shell by
//! a step, and the answer is the next input. Every refusal leaves no more state than the standard says, because the state is
//! taken out before anything is decided and put back only on purpose.
//!
//! What can fail: only the client. An input that isn't due is our own bug and closes the session with 421.

mod content;
mod login;
mod step;
#[cfg(test)]
mod tests;

pub use step::{
    AuthPolicy, Checked, Closing, LineEnd, Progress, ServerSettings, Steering, Step, Transaction,
};

use super::chunk::ChunkReceiver;
use super::command::{Command, CommandError, Context, Leniences, Mail, Rcpt, Release};
use super::data::DataReceiver;
use super::extension::Offer;
use super::replies::{self, Fixed};
use super::reply::Reply;
use super::sasl::Exchange;
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
    channel: Channel,
    hello: Option<Hello>,
    login: Login,
    state: State,
    /// Refused commands since the last delivered message.
    errors: u32,
    /// Commands that did nothing since the last delivered message.
    junk: u32,
    leniences: Leniences,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Plain,
    Tls,
}

#[derive(Debug)]
struct Hello {
    name: Box<str>,
    esmtp: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    Nobody { failures: u32 },
    Somebody,
}

/// Where the session stands. What belongs to a state is inside it and dies with it.
#[derive(Debug)]
enum State {
    /// No transaction; a command is due.
    Ready,
    /// A transaction; a command is due.
    Open(Box<Transaction>),
    /// Between two chunks; a command is due.
    BetweenChunks(Box<Transaction>, Box<ChunkReceiver>),
    /// AUTH has begun; a line of it is due.
    LoggingIn(Exchange),
    /// The shell judges credentials.
    Verifying,
    /// The shell judges a sender.
    AskingSender,
    /// The shell judges a recipient.
    AskingRecipient(Box<Transaction>),
    /// Content of DATA is due.
    Data(Box<Transaction>, Box<DataReceiver>),
    /// Octets of a chunk are due.
    Chunk(Box<Transaction>, Box<ChunkReceiver>),
    /// Octets of a refused chunk are due.
    Skipping { left: u64, then_close: bool },
    /// The shell keeps a message.
    Keeping,
    /// The shell shakes hands.
    StartingTls,
    /// Nothing is due any more.
    Closed,
}

impl Server {
    /// A session that has said nothing yet. `secured`: TLS was established on connect (implicit TLS).
    #[must_use]
    pub fn new(settings: Arc<ServerSettings>, secured: bool) -> Self {
        Self {
            settings,
            channel: if secured { Channel::Tls } else { Channel::Plain },
            hello: None,
            login: Login::Nobody { failures: 0 },
            state: State::Ready,
            errors: 0,
            junk: 0,
            leniences: Leniences::default(),
        }
    }

    /// The first thing to say.
    pub fn greeting(&mut self) -> Step {
        Step::Say(replies::greeting(&self.settings.hostname))
    }

    /// Instead of the greeting, when octets came in before it (RFC 5321 §3.1).
    pub fn spoke_early(&mut self) -> Step {
        self.close(replies::SPOKE_EARLY, Closing::EarlyTalker)
    }

    /// Looks at the first octets of a connection before they are a line: a TLS handshake has no line end to wait for.
    /// None: go on.
    #[must_use]
    pub fn peek(&mut self, unread: &[u8]) -> Option<Step> {
        // A handshake record (22) of any version 3.x (RFC 8446 §5.1); no command begins with a control octet.
        let is_tls = matches!(unread, [0x16] | [0x16, 0x03, ..]);
        let reply = if self.settings.starttls { replies::WRONG_TLS_MODE } else { replies::TLS_WHERE_NONE_IS };
        (is_tls && self.channel == Channel::Plain).then(|| self.close(reply, Closing::TlsOnPlain))
    }

    /// One line without its end: a command, or the client's part of a login.
    pub fn line(&mut self, line: &[u8], end: LineEnd) -> Step {
        match self.state {
            State::Ready | State::Open(_) | State::BetweenChunks(..) | State::LoggingIn(_) => {}
            _ => return self.out_of_step(),
        }
        if let Some(step) = self.peek(line) {
            return step;
        }
        if end == LineEnd::BareLf {
            if !self.settings.tolerate.bare_lf {
                return self.close(replies::BARE_LINE_FEED, Closing::BareLineFeed);
            }
            self.leniences.bare_lf = self.leniences.bare_lf.saturating_add(1);
        }
        if let State::LoggingIn(_) = self.state {
            return self.login_line(line);
        }
        let limit = if is_auth(line) { MAX_AUTH_LINE } else { MAX_COMMAND_LINE };
        if line.len() + 2 > limit {
            return self.long_command(line);
        }
        let smtputf8 =
            if let State::Open(transaction) = &self.state { transaction.mail.smtputf8 } else { true };
        // Before any greeting of the client parameters are judged as after EHLO: the sequence is what's wrong.
        let esmtp = self.hello.as_ref().is_none_or(|hello| hello.esmtp);
        let context = Context { tolerate: self.settings.tolerate, esmtp, smtputf8 };
        match Command::parse(line, context, &mut self.leniences) {
            Ok(command) => self.command(command),
            Err(CommandError::OtherProtocol) => self.close(replies::OTHER_PROTOCOL, Closing::OtherProtocol),
            Err(error) => {
                if error == CommandError::Chunk && matches!(self.state, State::BetweenChunks(..)) {
                    // How many octets were meant isn't known: what came before would be kept without them.
                    self.state = State::Ready;
                }
                self.complain(error.into())
            }
        }
    }

    /// A line that ended, but was longer than [`MAX_AUTH_LINE`]; the shell threw it away, and tells how it began.
    pub fn long_line(&mut self, start: &[u8]) -> Step {
        match self.state {
            State::Ready if is_auth(start) => self.complain(replies::LONG_AUTH_LINE.reply()),
            State::LoggingIn(_) => {
                self.state = State::Ready;
                self.complain(replies::LONG_AUTH_LINE.reply())
            }
            State::Ready | State::Open(_) | State::BetweenChunks(..) => {
                self.complain(replies::LONG_LINE.reply())
            }
            _ => self.out_of_step(),
        }
    }

    /// [`MAX_ENDLESS_LINE`] octets without a line end.
    pub fn endless_line(&mut self) -> Step {
        self.close(replies::ENDLESS_LINE, Closing::EndlessLine)
    }

    /// Answers [`Step::Sender`]; `mail` may have been changed by the shell's rules.
    pub fn allow_sender(&mut self, mail: Mail) -> Step {
        let State::AskingSender = self.state else { return self.out_of_step() };
        self.state = State::Open(Box::new(Transaction {
            mail,
            recipients: Vec::new(),
            refused_any: false,
            lenient: 0,
        }));
        Step::Say(replies::SENDER_TAKEN.reply())
    }

    /// Answers [`Step::Recipient`].
    pub fn allow_recipient(&mut self, rcpt: Rcpt) -> Step {
        self.allow(rcpt, false)
    }

    /// The same for one who takes content with bare CR and LF, too, mended: where nobody else gets it, no server behind us
    /// can be misled by it.
    pub fn allow_lenient_recipient(&mut self, rcpt: Rcpt) -> Step {
        self.allow(rcpt, true)
    }

    fn allow(&mut self, rcpt: Rcpt, lenient: bool) -> Step {
        let State::AskingRecipient(mut transaction) = self.take_state() else { return self.out_of_step() };
        // Who is named twice alike gets it once.
        if !transaction.recipients.contains(&rcpt) {
            transaction.recipients.push(rcpt);
            transaction.lenient += usize::from(lenient);
        }
        self.state = State::Open(transaction);
        Step::Say(replies::RECIPIENT_TAKEN.reply())
    }

    /// Answers [`Step::Sender`] or [`Step::Recipient`] with no; a 421 closes.
    pub fn refuse(&mut self, reply: Reply) -> Step {
        match self.take_state() {
            State::AskingSender => {}
            State::AskingRecipient(mut transaction) => {
                transaction.refused_any = true;
                self.state = State::Open(transaction);
            }
            _ => return self.out_of_step(),
        }
        if reply.is_permanent() { self.complain(reply) } else { self.say_or_close(reply) }
    }

    /// Answers [`Step::Keep`]: a positive reply, made from a receipt, or why not. A 421 closes.
    pub fn kept(&mut self, reply: Reply) -> Step {
        let State::Keeping = self.state else { return self.out_of_step() };
        self.state = State::Ready;
        if reply.is_positive() {
            (self.errors, self.junk) = (0, 0);
        } else if reply.is_permanent() {
            // Counted, but the reply is said whatever the count is: a 421 in its place would ask for a repetition.
            self.errors = self.errors.saturating_add(1);
        }
        self.say_or_close(reply)
    }

    /// Answers [`Step::StartTls`]; the session starts over and waits for EHLO (RFC 3207 §4.2). No reply is due.
    ///
    /// Only the counts of errors and failed logins live on, so that TLS doesn't buy new ones.
    pub fn tls_established(&mut self) {
        self.channel = Channel::Tls;
        self.hello = None;
        self.state = if let State::StartingTls = self.state { State::Ready } else { State::Closed };
    }

    /// Whoever logged in is nobody any more, and may log in again.
    pub fn forget_login(&mut self) {
        if self.is_logged_in() {
            self.login = Login::Nobody { failures: 0 };
        }
    }

    /// The EHLO or HELO argument, once given. Any text without control characters: escape it where it is written.
    #[must_use]
    pub fn helo(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| &*hello.name)
    }

    /// Whether the client said EHLO and not HELO.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.esmtp)
    }

    /// The open transaction, while content of it may come.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.state {
            State::Open(transaction)
            | State::BetweenChunks(transaction, _)
            | State::AskingRecipient(transaction)
            | State::Data(transaction, _)
            | State::Chunk(transaction, _) => Some(transaction),
            State::Ready
            | State::LoggingIn(_)
            | State::Verifying
            | State::AskingSender
            | State::Skipping { .. }
            | State::Keeping
            | State::StartingTls
            | State::Closed => None,
        }
    }

    /// Whether TLS is up.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.channel == Channel::Tls
    }

    /// Whether a login succeeded. Whose it was stood in [`Step::Verify`].
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.login == Login::Somebody
    }

    /// Leniences that this client needed so far.
    #[must_use]
    pub fn leniences(&self) -> Leniences {
        self.leniences
    }

    fn command(&mut self, command: Command<'_>) -> Step {
        match command {
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk),
            Command::Ehlo(name) => self.greeted(name, true),
            Command::Helo(name) => self.greeted(name, false),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::StartTls => self.start_tls(),
            Command::Rset => {
                self.state = State::Ready;
                self.idle(replies::DONE.reply())
            }
            Command::Noop => self.idle(replies::DONE.reply()),
            Command::Vrfy => self.idle(replies::NOT_VERIFIED.reply()),
            Command::Expn => self.idle(replies::NOT_IMPLEMENTED.reply()),
            Command::Help => self.idle(replies::HELP.reply()),
            Command::Quit => self.close(replies::GOODBYE, Closing::Quit),
        }
    }

    /// EHLO and HELO forget the transaction, but not the login (RFC 5321 §4.1.4, RFC 4954 §4).
    fn greeted(&mut self, name: &str, esmtp: bool) -> Step {
        self.state = State::Ready;
        let repeated = self.hello.replace(Hello { name: name.into(), esmtp }).is_some();
        let reply = if esmtp { self.offer().announce() } else { replies::hello(&self.settings.hostname) };
        if repeated { self.idle(reply) } else { Step::Say(reply) }
    }

    fn offer(&self) -> Offer<'_> {
        Offer {
            hostname: &self.settings.hostname,
            max_message_size: self.settings.max_message_size,
            max_recipients: self.settings.max_recipients,
            starttls: self.settings.starttls && !self.is_secured() && !self.is_logged_in(),
            auth: self.settings.auth != AuthPolicy::NotOffered
                && self.auth_fits_channel()
                && !self.is_logged_in(),
            steering: self.steering(),
        }
    }

    /// FUTURERELEASE and MT-PRIORITY, where this client may say them (RFC 4865: only whom we know).
    fn steering(&self) -> Option<Steering> {
        self.settings.steering.filter(|steering| steering.without_login || self.is_logged_in())
    }

    /// What is wrong with how `mail` wants to be treated.
    fn missteered(&self, mail: &Mail) -> Option<Fixed> {
        match (self.steering(), mail.release) {
            // Not offered here, so not known (RFC 5321 §4.1.1.11).
            (None, release) if release.is_some() || mail.priority.is_some() => {
                Some(replies::UNKNOWN_PARAMETER)
            }
            (Some(steering), Some(Release::After(seconds))) if seconds > steering.longest => {
                Some(replies::RELEASE_TOO_LATE)
            }
            (Some(steering), Some(Release::At(time))) if time > steering.latest => {
                Some(replies::RELEASE_TOO_LATE)
            }
            _ => None,
        }
    }

    fn mail(&mut self, mail: Mail) -> Step {
        let wrong = match self.state {
            State::Open(_) => Some(replies::MAIL_IS_OPEN),
            State::BetweenChunks(..) => Some(replies::CHUNKS_ARE_OPEN),
            _ => self.not_yet().or_else(|| self.missteered(&mail)),
        };
        match wrong {
            Some(wrong) => self.complain(wrong.reply()),
            // RFC 1870 §6.1.
            None if mail.size.is_some_and(|size| size > self.settings.max_message_size) => {
                self.complain(replies::TOO_BIG.reply())
            }
            None => {
                self.state = State::AskingSender;
                Step::Sender(mail)
            }
        }
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Step {
        match self.take_state() {
            State::Open(transaction) if transaction.recipients.len() >= self.settings.max_recipients => {
                // Not counted: a client that goes on to DATA is doing right (RFC 5321 §4.5.3.1.10).
                self.state = State::Open(transaction);
                Step::Say(replies::TOO_MANY_RECIPIENTS.reply())
            }
            State::Open(transaction) => {
                self.state = State::AskingRecipient(transaction);
                Step::Recipient(rcpt)
            }
            state => self.wrong_place(state),
        }
    }

    fn start_tls(&mut self) -> Step {
        let wrong = match () {
            () if self.is_secured() => Some(replies::TLS_IS_UP),
            () if !self.settings.starttls => Some(replies::NO_TLS),
            () if self.is_logged_in() => Some(replies::TLS_AFTER_LOGIN),
            () => None,
        };
        if let Some(wrong) = wrong {
            return self.complain(wrong.reply());
        }
        // An open transaction is forgotten along with all else.
        self.state = State::StartingTls;
        Step::StartTls(replies::START_TLS.reply())
    }

    /// Puts `state` back and says why RCPT, DATA or BDAT doesn't belong there.
    fn wrong_place(&mut self, state: State) -> Step {
        let wrong = self.why_not_here(&state);
        self.state = state;
        self.complain(wrong.reply())
    }

    fn why_not_here(&self, state: &State) -> Fixed {
        match state {
            State::BetweenChunks(..) => replies::CHUNKS_ARE_OPEN,
            State::Open(transaction) if transaction.refused_any => replies::NO_VALID_RECIPIENTS,
            State::Open(_) => replies::SAY_RCPT,
            _ => self.not_yet().unwrap_or(replies::SAY_MAIL),
        }
    }

    /// What must come before MAIL and hasn't.
    fn not_yet(&self) -> Option<Fixed> {
        if self.hello.is_none() {
            return Some(replies::SAY_EHLO);
        }
        if self.settings.auth == AuthPolicy::Required && !self.is_logged_in() {
            let possible = self.auth_fits_channel();
            return Some(if possible { replies::LOGIN_NEEDED } else { replies::TLS_AND_LOGIN_NEEDED });
        }
        None
    }

    /// A command longer than it may be.
    fn long_command(&mut self, line: &[u8]) -> Step {
        self.complain(if is_auth(line) { replies::LONG_AUTH_LINE } else { replies::LONG_LINE }.reply())
    }

    /// Says the reply of a refused command and counts it; one too many closes.
    fn complain(&mut self, reply: Reply) -> Step {
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.settings.max_errors {
            return self.close(replies::TOO_MANY_ERRORS, Closing::TooManyErrors);
        }
        self.say_or_close(reply)
    }

    /// Says the reply of a command that does nothing and counts it; one too many closes.
    fn idle(&mut self, reply: Reply) -> Step {
        self.junk = self.junk.saturating_add(1);
        if self.junk > self.settings.max_junk {
            return self.close(replies::TOO_MUCH_JUNK, Closing::TooMuchJunk);
        }
        Step::Say(reply)
    }

    fn say_or_close(&mut self, reply: Reply) -> Step {
        if reply.code == 421 { self.close(reply, Closing::Asked) } else { Step::Say(reply) }
    }

    fn close(&mut self, reply: impl Into<Reply>, why: Closing) -> Step {
        self.state = State::Closed;
        Step::Close(reply.into(), why)
    }

    fn out_of_step(&mut self) -> Step {
        self.close(replies::OUT_OF_STEP, Closing::OutOfStep)
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Ready)
    }
}

fn is_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}
