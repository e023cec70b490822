//! One client's session: drives [`Server`] over a [`Stream`]. Protocol decisions are the machine's; this file
//! reads, writes, waits, and asks [`Access`], [`Credentials`](super::credentials::Credentials) and the queue.

use super::access::Access;
use super::credentials::Verified;
use super::incoming::{self, Incoming, Kept};
use super::listener::{Detours, Intakes, Policy};
use crate::clock::Clock;
use crate::config::schema::Application;
use crate::events::Events;
use crate::message::envelope::Origin;
use crate::message::trace::Protocol;
use crate::net::stream::{Line, Stream};
use crate::queue::Queue;
use crate::smtp::command::{Leniences, Mail, Rcpt};
use crate::smtp::replies;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Credentials;
use crate::smtp::server::{Checked, LineEnd, MAX_AUTH_LINE, MAX_ENDLESS_LINE, Server, Step, Transaction};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// A command must be there within this time (RFC 5321 §4.5.3.2.7), and a reply be read.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);
/// A TLS handshake must be over within this time.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Content octets are handed on at this many.
const CONTENT_PIECE: usize = 64 * 1024;
/// The same while the header section arrives: what is read here isn't counted in `intake.memory` yet, and every client
/// may come with a header section at once. Most messages fit whole.
const HEADER_PIECE: usize = 8 * 1024;
/// After a close, this much of what still comes is read, so that the client gets to read our last reply instead of
/// a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Everything a session knows about its client, and what it works with.
pub(super) struct Client {
    pub(super) session: u64,
    pub(super) peer: SocketAddr,
    /// What it was greeted under: its TLS and its limits are those to the end.
    pub(super) greeted: Arc<Policy>,
    /// What its transaction is judged by.
    pub(super) policy: Arc<Policy>,
    pub(super) intakes: Arc<Intakes>,
    pub(super) access: Access,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) stop: CancellationToken,
    pub(super) detours: Detours,
    /// The application that logged in.
    pub(super) login: Option<Box<str>>,
    /// Version and cipher, inside TLS.
    pub(super) tls: Option<String>,
}

/// How a session ended.
enum End {
    /// A reply was said and the connection is to be closed; why, for the log.
    Closed(&'static str),
    /// The client went away, or the connection broke.
    Lost,
    /// The client was too slow.
    TimedOut,
    /// We are shutting down.
    Stopped,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

pub(super) struct Session {
    client: Client,
    stream: Stream,
    server: Server,
    /// The message of the open transaction, once octets of it have come.
    incoming: Option<Incoming>,
    /// Messages taken.
    messages: u32,
}

impl Client {
    fn application(&self) -> Option<&Application> {
        self.login.as_deref().and_then(|name| self.policy.applications.get(name))
    }

    /// What begins now is judged by the rules in force now. A login that isn't configured any more is none.
    fn renew(&mut self) {
        let Some(policy) = self.intakes.renewed().filter(|policy| !Arc::ptr_eq(policy, &self.policy)) else {
            return;
        };
        self.policy = policy;
        if self.application().is_none() {
            self.login = None;
        }
    }

    /// Whether it is trusted or logged in.
    pub(super) fn may_relay(&self) -> bool {
        self.access.may_relay(self.application())
    }
}

impl Session {
    pub(super) fn new(client: Client, stream: Stream, server: Server) -> Self {
        Self { client, stream, server, incoming: None, messages: 0 }
    }

    /// Runs to the end. `early`: the client spoke before it was greeted (RFC 5321 §3.1).
    pub(super) async fn run(mut self, early: bool) {
        let first = if early { self.spoke_early().await } else { self.server.greeting() };
        let why = match self.converse(first).await {
            Ok(never) => match never {},
            Err(End::Closed(why)) => {
                let _ = timeout(LINGER, self.linger()).await;
                why
            }
            Err(End::Lost) => "connection lost",
            Err(End::TimedOut) => {
                let _ = timeout(LINGER, self.say_and_flush(&replies::TIMED_OUT.reply())).await;
                "client was too slow"
            }
            Err(End::Stopped) => {
                let _ = timeout(LINGER, self.part(&replies::SHUTTING_DOWN.reply())).await;
                "we are shutting down"
            }
        };
        let Client { session, peer, events, .. } = &self.client;
        let leniences = self.server.leniences();
        if leniences != Leniences::default() {
            events.tolerated(*session, peer.ip(), leniences);
        }
        events.session_ended(*session, why, self.messages);
        let _ = timeout(LINGER, self.stream.close()).await;
    }

    /// A TLS handshake on a plain port speaks first by its nature; whoever sends one is told of the mode instead.
    async fn spoke_early(&mut self) -> Step {
        if self.stream.buffered().is_empty() {
            // It is there already; what an error here means the reply's way back will tell.
            let _ = self.stream.fill(false).await;
        }
        match self.server.peek(self.stream.buffered()) {
            Some(step) => step,
            None => self.server.spoke_early(),
        }
    }

    async fn converse(&mut self, mut step: Step) -> Result<Infallible, End> {
        loop {
            step = match step {
                Step::Say(reply) => {
                    self.say(&reply);
                    self.next_line().await?
                }
                Step::Proceed => self.next_line().await?,
                Step::Sender(mail) => self.sender(mail),
                Step::Recipient(rcpt) => self.recipient(rcpt),
                Step::ReadContent(reply) => {
                    if let Some(reply) = reply {
                        self.say(&reply);
                    }
                    self.content().await?
                }
                Step::Keep(transaction) => self.keep(*transaction).await,
                Step::StartTls(reply) => {
                    self.say_and_flush(&reply).await?;
                    self.start_tls().await?;
                    self.next_line().await?
                }
                Step::Verify(credentials) => self.verify(credentials).await,
                Step::Close(reply, closing) => {
                    self.say_and_flush(&reply).await?;
                    self.tell_closing(closing);
                    return Err(End::Closed(closing.note()));
                }
            };
        }
    }

    fn say(&mut self, reply: &Reply) {
        if reply.is_transient() || reply.is_permanent() {
            self.client.events.refused(self.client.session, self.client.peer.ip(), reply);
        }
        reply.write_to(self.stream.output());
    }

    async fn say_and_flush(&mut self, reply: &Reply) -> Result<(), End> {
        self.say(reply);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), End> {
        timeout(COMMAND_LIMIT, self.stream.flush()).await.map_err(|_| End::TimedOut)??;
        Ok(())
    }

    /// The deadline, or an earlier one while a large header section is on its way.
    fn within_header(&self, deadline: Instant) -> Instant {
        let by = self.incoming.as_ref().and_then(Incoming::header_must_end_by);
        by.map_or(deadline, |by| by.min(deadline))
    }

    /// The next line's step. Replies wait while a whole line is already there (RFC 2920 §3.2), up to a bound.
    async fn next_line(&mut self) -> Result<Step, End> {
        if !self.stream.has_line() || self.stream.output().len() > CONTENT_PIECE {
            self.flush().await?;
        }
        if self.server.transaction().is_none() {
            self.incoming = None;
        }
        let deadline = self.within_header(Instant::now() + COMMAND_LIMIT);
        if self.stream.buffered().is_empty() {
            let more = wait(self.stream.fill(false), deadline, &self.client.stop).await?;
            if more == 0 {
                return Err(End::Lost);
            }
        }
        if let Some(step) = self.server.peek(self.stream.buffered()) {
            return Ok(step);
        }
        match wait(self.stream.line(MAX_AUTH_LINE), deadline, &self.client.intakes.last_call).await? {
            Line::Whole { octets, crlf } => {
                let end = if crlf { LineEnd::CrLf } else { LineEnd::BareLf };
                Ok(self.server.line(&octets, end))
            }
            Line::TooLong => self.skip_line(deadline).await,
            Line::Closed => Err(End::Lost),
        }
    }

    /// Reads a line that is too long to its end, or to where that is too much to ask.
    async fn skip_line(&mut self, deadline: Instant) -> Result<Step, End> {
        let mut skipped = 0;
        let start: Vec<u8> = self.stream.buffered().iter().copied().take(8).collect();
        loop {
            let buffered = self.stream.buffered();
            if let Some(end) = memchr::memchr(b'\n', buffered) {
                self.stream.consume(end + 1);
                return Ok(self.server.long_line(&start));
            }
            skipped += buffered.len();
            let count = buffered.len();
            self.stream.consume(count);
            if skipped >= MAX_ENDLESS_LINE {
                return Ok(self.server.endless_line());
            }
            let more = wait(self.stream.fill(true), deadline, &self.client.intakes.last_call).await?;
            if more == 0 {
                return Err(End::Lost);
            }
        }
    }

    fn sender(&mut self, mail: Mail) -> Step {
        self.incoming = None;
        self.client.renew();
        if self.client.login.is_none() {
            self.server.forget_login();
        }
        let allowed = self.client.access.sender(
            self.client.application(),
            mail.sender.as_ref(),
            &self.client.policy.inboxes,
        );
        if let Err(refusal) = allowed {
            return self.server.refuse(refusal.reply());
        }
        match self.client.queue.room(mail.size.unwrap_or(0)) {
            Ok(()) => self.server.allow_sender(mail),
            Err(cause) => {
                self.client.events.not_kept(self.client.session, &cause);
                self.server.refuse(incoming::refusal(&cause))
            }
        }
    }

    fn recipient(&mut self, rcpt: Rcpt) -> Step {
        let Client { access, policy, .. } = &self.client;
        match access.recipient(self.client.application(), &rcpt.address, &policy.inboxes) {
            Ok(())
                if self.client.login.is_none()
                    && policy.inboxes.is_anybodys(&rcpt.address)
                    && !self.client.queue.has_room_for_strangers() =>
            {
                self.client.events.inbox_full(self.client.session, &rcpt.address);
                self.server.refuse(replies::INBOX_FULL.reply())
            }
            // A forwarder that hears 5xx for what it passes on may end forwarding.
            Ok(()) if policy.inboxes.find(&rcpt.address).is_some() => {
                self.server.allow_lenient_recipient(rcpt)
            }
            Ok(()) => self.server.allow_recipient(rcpt),
            Err(refusal) => self.server.refuse(refusal.reply()),
        }
    }

    async fn verify(&mut self, credentials: Credentials) -> Step {
        let Client { policy, peer, clock, session, events, .. } = &self.client;
        let Credentials { username, password } = credentials;
        let verified = match &password {
            Some(password) => {
                let password = password.expose_secret();
                // Who guessed is slowed down for some time, whoever sets the clock meanwhile.
                let now = Timestamp::from_millisecond(clock.since_boot()).unwrap_or_default();
                policy.credentials.verify(peer.ip(), &username, password, now).await
            }
            None => Verified::Bad,
        };
        self.server.verified(match verified {
            Verified::Good => {
                self.client.login = Some(username.into());
                Checked::Good
            }
            Verified::Bad => {
                events.login_failed(*session, peer.ip(), &username);
                Checked::Bad
            }
            Verified::Later(delay) => {
                events.login_postponed(*session, peer.ip(), &username, delay.note());
                Checked::Unknown
            }
        })
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let Some(acceptor) = self.client.greeted.tls.clone() else { return Err(End::Lost) };
        match timeout(HANDSHAKE_LIMIT, self.stream.accept_tls(&acceptor)).await {
            Ok(Ok(())) => {
                self.client.tls = self.stream.tls_summary();
                self.client.login = None;
                self.server.tls_established();
                Ok(())
            }
            Ok(Err(cause)) => {
                self.client.events.handshake_failed(self.client.session, self.client.peer.ip(), &cause);
                Err(End::Lost)
            }
            Err(_) => {
                self.client.events.handshake_failed(
                    self.client.session,
                    self.client.peer.ip(),
                    &"no answer in 10 s",
                );
                Err(End::Lost)
            }
        }
    }

    // ---- content ----

    /// Reads a message, or a chunk of one, until the machine has a step that is no content any more.
    async fn content(&mut self) -> Result<Step, End> {
        let mut octets = Vec::new();
        let mut pace = Pace::new(self.client.greeted.min_rate);
        loop {
            if self.stream.buffered().is_empty() {
                self.flush().await?;
                let in_header = self.incoming.as_ref().is_none_or(Incoming::is_in_header);
                let room = if in_header { HEADER_PIECE } else { CONTENT_PIECE };
                let deadline = self.within_header(pace.deadline);
                let more = self.stream.fill_within(room);
                let count = wait(more, deadline, &self.client.intakes.last_call).await?;
                if count == 0 {
                    return Err(End::Lost);
                }
                pace.moved(count);
            }
            let progress = self.server.receive(self.stream.buffered(), &mut octets);
            self.stream.consume(progress.consumed);
            match progress.step {
                None => {
                    let began = Instant::now();
                    self.push(&mut octets).await;
                    pace.waited(began.elapsed());
                }
                Some(Step::Keep(transaction)) => {
                    let begun = self.incoming.take();
                    self.incoming = Some(self.pushed(begun, &mut octets, &transaction).await);
                    return Ok(Step::Keep(transaction));
                }
                Some(step) => {
                    // A chunk that isn't the last one; or nothing that will be kept, and then this is dropped with the
                    // transaction.
                    self.push(&mut octets).await;
                    return Ok(step);
                }
            }
        }
    }

    /// Hands content on. Without a transaction there is nobody it could be for, and it is dropped.
    async fn push(&mut self, octets: &mut Vec<u8>) {
        let begun = self.incoming.take();
        let Some(transaction) = self.server.transaction() else { return octets.clear() };
        self.incoming = Some(self.pushed(begun, octets, transaction).await);
    }

    /// The message of this transaction, with these octets added.
    async fn pushed(
        &self,
        begun: Option<Incoming>,
        octets: &mut Vec<u8>,
        transaction: &Transaction,
    ) -> Incoming {
        let mut incoming = begun.unwrap_or_else(|| self.begin(transaction));
        incoming.push(octets, transaction, &self.client).await;
        incoming
    }

    fn begin(&self, transaction: &Transaction) -> Incoming {
        let Client { peer, login, queue, .. } = &self.client;
        let helo = self.server.helo().unwrap_or_default().into();
        let origin = Origin { client: Some(peer.ip()), helo, application: login.clone() };
        let protocol = Protocol {
            extended: self.server.is_extended(),
            tls: self.server.is_secured(),
            authenticated: login.is_some(),
            utf8: transaction.mail.smtputf8,
        };
        Incoming::new(queue.draft(), origin, protocol)
    }

    /// Keeps a message that is whole. None was begun where the only chunk is empty (RFC 3030 §2).
    async fn keep(&mut self, transaction: Transaction) -> Step {
        let incoming = self.incoming.take().unwrap_or_else(|| self.begin(&transaction));
        let id = incoming.id();
        let reply = match incoming.finish(transaction, &self.client).await {
            Kept::Safe(receipts) => {
                self.messages += 1;
                incoming::thanks(&receipts, &id.to_string(), self.client.clock.now())
            }
            Kept::Refused(reply) => reply,
            Kept::Failed(cause, reply) => {
                self.client.events.not_kept(self.client.session, &cause);
                reply
            }
        };
        self.server.kept(reply)
    }

    fn tell_closing(&self, closing: crate::smtp::server::Closing) {
        use crate::smtp::server::Closing;
        let Client { session, peer, events, .. } = &self.client;
        match closing {
            Closing::TlsOnPlain => events.wrong_tls_mode(*session, peer.ip(), closing.note()),
            Closing::Quit | Closing::Asked => {}
            _ => events.connection_refused(peer.ip(), closing.note()),
        }
    }

    /// A last word, and the end.
    async fn part(&mut self, reply: &Reply) -> Result<(), End> {
        self.say_and_flush(reply).await?;
        self.linger().await;
        Ok(())
    }

    /// Ends our half, for some clients close only when we did; then reads and drops what the client had already
    /// sent: closing with unread input would reset the connection and take our last reply with it.
    async fn linger(&mut self) {
        self.stream.close().await;
        loop {
            let count = self.stream.buffered().len();
            self.stream.consume(count);
            if !matches!(self.stream.fill(true).await, Ok(1..)) {
                return;
            }
        }
    }
}

/// Waits for the client, until a deadline or the end of it all. Reading may be broken off at any time.
async fn wait<T>(
    reading: impl Future<Output = io::Result<T>>,
    deadline: Instant,
    end: &CancellationToken,
) -> Result<T, End> {
    tokio::select! {
        biased;
        read = timeout_at(deadline, reading) => Ok(read.map_err(|_| End::TimedOut)??),
        () = end.cancelled() => Err(End::Stopped),
    }
}

/// The time a client has for content: a command's, and more with every octet, so that a slow line is served and a
/// stalling one isn't (the minimum rate is `intake.min_rate`).
struct Pace {
    deadline: Instant,
    min_rate: u64,
}

impl Pace {
    fn new(min_rate: u64) -> Self {
        Self { deadline: Instant::now() + COMMAND_LIMIT, min_rate: min_rate.max(1) }
    }

    /// We made the client wait; that is no fault of its own.
    fn waited(&mut self, by: Duration) {
        self.deadline += by;
    }

    fn moved(&mut self, count: usize) {
        let earned = Duration::from_micros(1_000_000 * count as u64 / self.min_rate);
        self.deadline = (self.deadline + earned).min(Instant::now() + COMMAND_LIMIT);
    }
}
