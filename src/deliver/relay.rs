//! One connection to one smarthost: drives [`crate::smtp::client`] over a [`Stream`].
//!
//! The machine says what to do next; this file does it: connects, shakes hands, carries octets both ways, claims
//! messages when there is room for one, and hands every report to [`Lane::conclude`](super::connections::Lane).

use super::connections::{Connecting, Lane};
use super::fates::Attempt;
use super::lane_state::LaneState;
use super::outcome;
use super::outgoing::{self, Outgoing};
use super::providers;
use super::target::Target;
use super::verdict::{self, Event, Lack, Stage, Tls, Upstream, Verdict};
use crate::config::schema::{Mechanism, TlsMode};
use crate::message::envelope::Body;
use crate::net::resolve::{self, ConnectError};
use crate::net::stream::{Exchange, Stream};
use crate::net::tls::NotPinned;
use crate::net::tls_trouble::{self, WeakKey};
use crate::queue::Due;
use crate::smtp::client::{
    self, Action, Cause, Client, ClientSettings, Ending, Fault, Job, JobRecipient, JobReport, Loss, Refusal,
    Setback, TlsUse, Window,
};
use crate::smtp::reply::Reply;
use crate::smtp::sasl_client::{LoginPlan, MechanismChoice};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// An idle connection is kept this long for the next message.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// The handshake's time (RFC 5321 names none; the command's would be too generous).
const HANDSHAKE_LIMIT: Duration = Duration::from_mins(1);
/// Recipients of one transaction; any server takes so many (RFC 5321 §4.5.3.1.8).
const RECIPIENTS: usize = 100;
/// When stopping, what is in flight has this long to be answered.
const STOP_LIMIT: Duration = Duration::from_secs(7);

/// How far a connection may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Everything that is due.
    Deliver,
    /// One message, to see whether the lane flows again.
    Probe,
}

/// A message on its way over this connection.
struct Carried {
    due: Due,
    outgoing: Outgoing,
    /// The recipients of this transaction, by index into [`Due::open`].
    turn: Vec<usize>,
    /// What is decided already: one for each of [`Due::open`].
    verdicts: Vec<Option<Verdict>>,
    /// Why its content couldn't be read when it was wanted.
    unreadable: Option<io::Error>,
    /// [`Lane::told`] when it was taken.
    begun: u64,
    /// Whether no line in it is too long for this smarthost, as far as that could be helped.
    is_shortened: bool,
}

impl Carried {
    fn new(due: Due, outgoing: Outgoing, turn: Vec<usize>, begun: u64) -> Self {
        let verdicts = vec![None; due.open.len()];
        Self { due, outgoing, turn, verdicts, unreadable: None, begun, is_shortened: false }
    }

    /// Decides for the recipients of this transaction, in their order.
    fn decide(&mut self, verdicts: impl IntoIterator<Item = Option<Verdict>>) {
        for (index, verdict) in self.turn.drain(..).zip(verdicts) {
            if let Some(decided) = self.verdicts.get_mut(index) {
                *decided = verdict;
            }
        }
    }

    /// Takes recipients outside US-ASCII out of this transaction, with this verdict; false when nobody would be left, and
    /// when there are none: then it is the sender who is outside.
    fn leave_out_utf8(&mut self, verdict: &Verdict) -> bool {
        let recipients = &self.due.envelope.recipients;
        let is_ascii =
            |index: &usize| recipients.get(*index).is_none_or(|recipient| recipient.address.is_ascii());
        let (ascii, utf8): (Vec<usize>, Vec<usize>) = self.turn.iter().partition(|index| is_ascii(index));
        if ascii.is_empty() || utf8.is_empty() {
            return false;
        }
        self.turn = utf8;
        self.decide(std::iter::repeat(Some(verdict.clone())));
        self.turn = ascii;
        true
    }
}

/// What stood in the way before or beside a transaction, with who said it.
pub(super) struct Trouble {
    stage: Stage,
    what: What,
    /// The address that took the connection, where it is its doing.
    at: Option<IpAddr>,
}

enum What {
    Connect(ConnectError),
    Io(io::Error),
    TimedOut,
    Tls(io::Error),
    Local(String),
}

/// Serves a lane over one new connection, until there is nothing to do, the lane stops, or the connection ends.
///
/// An access token may run out between its renewals: before a refused one freezes the lane, it is fetched once more and tried on a
/// second connection. The probes of a frozen lane fetch it anew anyway.
pub async fn serve(lane: Arc<Lane>, errand: Errand, connecting: Connecting) {
    let is_frozen = matches!(lane.state(), LaneState::Frozen(_));
    let mut connecting = Some(connecting);
    if connect(&lane, errand, !is_frozen, &mut connecting).await == End::TokenStale {
        lane.token_fetched_again();
        connect(&lane, errand, false, &mut connecting).await;
    }
}

async fn connect(
    lane: &Arc<Lane>,
    errand: Errand,
    may_fetch_again: bool,
    connecting: &mut Option<Connecting>,
) -> End {
    let target = lane.target();
    match open(&target, lane.recipients_at_most(), &lane.avoided()).await {
        Ok((stream, settings)) => {
            let window = Window { messages: lane.window(), ..settings.window };
            let settings = ClientSettings { chunking: lane.takes_chunks(), window, ..settings };
            lane.connected(stream.peer(), stream.tls_summary().as_deref());
            let connection = Connection {
                lane: lane.clone(),
                target,
                stream,
                client: Client::new(settings),
                busy_since: Instant::now(),
                carried: HashMap::new(),
                errand,
                connecting,
                may_fetch_again,
                sent: 0,
                completed: 0,
                failed_early: false,
                is_withdrawn: false,
            };
            connection.run().await
        }
        Err(trouble) => {
            trouble.stop(lane, &target);
            End::Told
        }
    }
}

/// Connects and, for implicit TLS, shakes hands; how to go on from there. Other addresses come before those that are `avoided`.
pub(super) async fn open(
    target: &Target,
    recipients: Option<usize>,
    avoided: &[IpAddr],
) -> Result<(Stream, ClientSettings), Trouble> {
    let smarthost = &target.smarthost;
    let login = match &smarthost.login {
        None => None,
        Some(login) => {
            let source = login.password.clone();
            let password = tokio::task::spawn_blocking(move || source.fetch())
                .await
                .map_err(|cause| Trouble::local(cause.to_string()))?
                .map_err(|cause| Trouble::local(cause.to_string()))?;
            Some(LoginPlan {
                username: login.username.as_str().into(),
                secret: password,
                choice: mechanism(login.mechanism),
                server: (smarthost.host.as_str().into(), smarthost.port),
            })
        }
    };
    let at_connect = |what| Trouble { stage: Stage::Connect, what, at: None };
    let connecting = resolve::connect(&smarthost.host, smarthost.port, avoided).await;
    let socket = connecting.map_err(|cause| at_connect(What::Connect(cause)))?;
    let mut stream = Stream::new(socket).map_err(|cause| at_connect(What::Io(cause)))?;
    let tls = match smarthost.tls {
        TlsMode::None => TlsUse::None,
        TlsMode::StartTls => TlsUse::StartTls,
        TlsMode::Implicit => {
            handshake(&mut stream, target).await?;
            TlsUse::Active
        }
    };
    let settings = ClientSettings {
        hostname: target.hostname.clone(),
        tls,
        login,
        plain_password_ok: stream.peer().ip().to_canonical().is_loopback(),
        pipelining: true,
        chunking: true,
        window: Window::default(),
        recipients_per_message: recipients.map_or(RECIPIENTS, |most| most.min(RECIPIENTS)),
    };
    Ok((stream, settings))
}

fn mechanism(configured: Mechanism) -> MechanismChoice {
    match configured {
        Mechanism::Auto => MechanismChoice::Auto,
        Mechanism::Plain => MechanismChoice::Plain,
        Mechanism::Login => MechanismChoice::Login,
        Mechanism::CramMd5 => MechanismChoice::CramMd5,
        Mechanism::XOAuth2 => MechanismChoice::XOAuth2,
        Mechanism::OAuthBearer => MechanismChoice::OAuthBearer,
    }
}

pub(super) async fn handshake(stream: &mut Stream, target: &Target) -> Result<(), Trouble> {
    let (config, name) = target.tls().map_err(|cause| Trouble::local(cause.to_string()))?;
    let what = match timeout(HANDSHAKE_LIMIT, stream.connect_tls(config, name)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(cause)) => What::Tls(cause),
        Err(_) => What::TimedOut,
    };
    Err(Trouble { stage: Stage::Tls, what, at: Some(stream.peer().ip()) })
}

/// What an error of the stream means for the connection.
pub(super) fn loss(cause: &io::Error) -> Loss {
    if tls_trouble::wants_certificate(cause) { Loss::NoCertificate } else { Loss::Broken }
}

/// Gives the machine everything that came.
fn hear(stream: &mut Stream, client: &mut Client) {
    let count = stream.buffered().len();
    client.read(stream.buffered());
    stream.consume(count);
}

struct Connection<'a> {
    lane: Arc<Lane>,
    target: Arc<Target>,
    stream: Stream,
    client: Client,
    /// Since when the smarthost is at work on the message whose answer comes next.
    busy_since: Instant,
    carried: HashMap<u64, Carried>,
    errand: Errand,
    /// Until it is ready for a message.
    connecting: &'a mut Option<Connecting>,
    /// Whether a refused access token is no word on the lane yet.
    may_fetch_again: bool,
    /// Messages taken onto this connection.
    sent: u32,
    /// Messages that the smarthost took over it.
    completed: u32,
    /// It ended at a message whose content it didn't answer.
    failed_early: bool,
    /// Other settings are in force, and what wasn't begun went back.
    is_withdrawn: bool,
}

impl Connection<'_> {
    async fn run(mut self) -> End {
        let mut step = self.client.phase().step;
        let mut deadline = Instant::now() + self.client.phase().phase.limit();
        let mut stopping = None;
        loop {
            if stopping.is_none() && self.lane.is_stopping() {
                stopping = Some(Instant::now() + STOP_LIMIT);
                self.client.quit();
            }
            if !self.is_withdrawn && self.target.replaced.is_cancelled() {
                self.withdraw();
            }
            match self.client.next() {
                Action::Write => {
                    let wait = self.client.phase();
                    if wait.step != step {
                        (step, deadline) = (wait.step, Instant::now() + wait.phase.limit());
                    }
                    let replaced = self.target.replaced.clone();
                    let moved = tokio::select! {
                        moved = timeout_at(deadline, self.stream.exchange(self.client.output())) => moved,
                        () = replaced.cancelled(), if !self.is_withdrawn => continue,
                    };
                    self.moved(&moved);
                }
                Action::Wait(wait) => {
                    if wait.step != step {
                        (step, deadline) = (wait.step, Instant::now() + wait.phase.limit());
                    }
                    let until = stopping.map_or(deadline, |stop| deadline.min(stop));
                    self.listen(until, stopping.is_some()).await;
                }
                Action::Content { token, offset, length } => self.feed(token, offset, length).await,
                Action::NeedJob => self.offer().await,
                Action::Report(report) => self.report(report).await,
                Action::StartTls => match handshake(&mut self.stream, &self.target).await {
                    Ok(()) => self.client.tls_started(),
                    Err(trouble) => {
                        trouble.stop(&self.lane, &self.target);
                        return End::Told;
                    }
                },
                Action::Idle => self.rest().await,
                Action::Closed(ending) => return self.end(ending).await,
            }
        }
    }

    /// Other settings are in force: what of its messages no octet was written goes back to the lane, untried and
    /// uncharged, and nothing more is taken.
    fn withdraw(&mut self) {
        self.is_withdrawn = true;
        for token in self.client.withdraw() {
            if let Some(carried) = self.carried.remove(&token) {
                self.sent = self.sent.saturating_sub(1);
                self.lane.unclaim(carried.due);
            }
        }
    }

    fn moved(&mut self, moved: &Result<io::Result<Exchange>, tokio::time::error::Elapsed>) {
        match moved {
            Ok(Ok(Exchange::Wrote(count))) if *count > 0 => self.client.wrote(*count),
            Ok(Ok(Exchange::Read(count))) if *count > 0 => self.hear(),
            Ok(Ok(_)) => self.client.lost(Loss::Closed),
            Ok(Err(cause)) => self.client.lost(loss(cause)),
            Err(_) => self.client.lost(Loss::TimedOut),
        }
    }

    /// Waits for octets; a stop ends the wait for new work, and in the end the wait for answers.
    async fn listen(&mut self, until: Instant, stopping: bool) {
        let (stop, replaced) = (self.lane.stopping(), self.target.replaced.clone());
        let heard = tokio::select! {
            heard = timeout_at(until, async { self.stream.flush().await?; self.stream.fill(false).await }) => heard,
            () = stop.cancelled(), if !stopping => return,
            () = replaced.cancelled(), if !self.is_withdrawn => return,
        };
        match heard {
            Ok(Ok(0)) => self.client.lost(Loss::Closed),
            Ok(Ok(_)) => self.hear(),
            Ok(Err(cause)) => self.client.lost(loss(&cause)),
            Err(_) if stopping => self.client.lost(Loss::Stopped),
            Err(_) => self.client.lost(Loss::TimedOut),
        }
    }

    fn hear(&mut self) {
        hear(&mut self.stream, &mut self.client);
    }

    /// Nothing is unanswered: waits for work, for the server, or until it isn't worth keeping.
    async fn rest(&mut self) {
        if self.errand == Errand::Probe && self.sent > 0 || !self.lane.flows_for(&self.target, self.errand) {
            return self.client.quit();
        }
        if self.sent > 0 {
            self.lane.succeeded();
        }
        let (lane, replaced) = (self.lane.clone(), self.target.replaced.clone());
        let (resting, stop) = (lane.resting(), lane.stopping());
        let woken = tokio::select! {
            () = lane.work() => Woken::Work,
            read = async { self.stream.flush().await?; self.stream.fill(false).await } => Woken::Heard(read),
            () = tokio::time::sleep(IDLE_LIMIT) => Woken::Enough,
            () = stop.cancelled() => Woken::Enough,
            () = replaced.cancelled() => Woken::Enough,
        };
        drop(resting);
        match woken {
            Woken::Work => self.offer().await,
            Woken::Heard(Ok(0)) => self.client.lost(Loss::Closed),
            Woken::Heard(Ok(_)) => self.hear(),
            Woken::Heard(Err(_)) => self.client.lost(Loss::Broken),
            Woken::Enough => self.client.quit(),
        }
    }

    /// Room for a message: claims the next one that can go over this connection.
    async fn offer(&mut self) {
        loop {
            let endured = self.sent >= self.lane.endurance(&self.target);
            if endured || self.errand == Errand::Probe && self.sent > 0 {
                if endured {
                    self.lane.endured(&self.target);
                }
                self.client.no_job();
                return self.client.quit();
            }
            // Ready for a message, it is at work.
            if self.connecting.take().is_some() {
                self.lane.worked_at(self.stream.peer().ip());
                self.lane.offered(self.client.capabilities().into());
            }
            let claimed =
                if self.lane.flows_for(&self.target, self.errand) { self.lane.claim() } else { None };
            let Some(due) = claimed else { return self.client.no_job() };
            if self.take(due).await {
                return;
            }
        }
    }

    /// Submits a claimed message; false when it was concluded without the wire.
    async fn take(&mut self, due: Due) -> bool {
        let Some(due) = self.lane.unless_expired(due).await else { return false };
        let Some(due) = self.lane.unless_unwanted(due, &self.target).await else { return false };
        let may_be_utf8 = self.client.capabilities().smtputf8;
        let outgoing = match outgoing::prepare(&self.lane, &due, &self.target, may_be_utf8).await {
            Ok(outgoing) => outgoing,
            Err(cause) => {
                self.lane.unreadable(due, &cause, self.lane.told(), self.errand).await;
                return false;
            }
        };
        let turn = outcome::turn(&due, self.lane.clock.now(), &self.target.retry);
        let mut carried = Carried::new(due, outgoing, turn, self.lane.told());
        let mut job = job(&carried, self.client.capabilities().dsn);
        if !self.lane.takes_long_lines() {
            carried.is_shortened = true;
            let queue = self.lane.queue();
            if carried.outgoing.has_long_line(queue).await
                && carried.outgoing.convert_to_seven_bit(queue).await
            {
                (job.size, job.eight_bit) = (carried.outgoing.len(), false);
            }
        }
        let limit = self.target.smarthost.max_size;
        loop {
            if limit.is_some_and(|limit| job.size > limit) {
                self.refused(carried, Lack::Size).await;
                return false;
            }
            if self.client.in_flight() == 0 {
                self.busy_since = Instant::now();
            }
            let Err(refused) = self.client.submit(job) else {
                self.sent += 1;
                self.carried.insert(token(&carried.due), carried);
                return true;
            };
            job = refused.job;
            let lack = match refused.refusal {
                Refusal::NotNow => {
                    self.lane.unclaim(carried.due);
                    return true;
                }
                Refusal::NeedsSevenBit => {
                    if carried.outgoing.convert_to_seven_bit(self.lane.queue()).await {
                        (job.size, job.eight_bit) = (carried.outgoing.len(), false);
                        continue;
                    }
                    Lack::EightBit
                }
                Refusal::NeedsSmtpUtf8 => {
                    if job.has_ascii_addresses() {
                        // Only the header section is in UTF-8, and that can mostly be said in US-ASCII.
                        if carried.outgoing.convert_to_seven_bit(self.lane.queue()).await {
                            (job.size, job.eight_bit, job.smtputf8) = (carried.outgoing.len(), false, false);
                            continue;
                        }
                    } else if carried.due.home.is_none()
                        && carried.leave_out_utf8(&self.lacking(Lack::SmtpUtf8))
                    {
                        job.recipients = recipients(&carried);
                        continue;
                    }
                    Lack::SmtpUtf8
                }
                Refusal::TooBig { .. } => Lack::Size,
                Refusal::UnsafeEnvelope => Lack::Envelope,
            };
            self.refused(carried, lack).await;
            return false;
        }
    }

    async fn refused(&self, mut carried: Carried, lack: Lack) {
        carried.decide(std::iter::repeat(Some(self.lacking(lack))));
        self.conclude(carried).await;
    }

    fn lacking(&self, lack: Lack) -> Verdict {
        verdict::judge(Stage::Mail, Event::Lacks(lack), &self.upstream(false))
    }

    async fn conclude(&self, carried: Carried) {
        let Carried { due, outgoing, verdicts, begun, .. } = carried;
        let dsn = self.client.capabilities().dsn;
        let (rewritten, sent) = outgoing.into_changes();
        let attempt = Attempt { due, verdicts, rewritten, sent, begun, errand: self.errand };
        self.lane.conclude(attempt, &self.target, dsn).await;
    }

    async fn feed(&mut self, token: u64, offset: u64, length: usize) {
        let Some(carried) = self.carried.get_mut(&token) else { return self.client.content_failed() };
        match carried.outgoing.read(self.lane.queue(), offset, length).await {
            Ok(octets) if !octets.is_empty() => self.client.content(&octets),
            Ok(_) => self.client.content_failed(),
            Err(cause) => {
                // Kept for the report: damage is set aside, anything else tried again later.
                carried.unreadable = Some(cause);
                self.client.content_failed();
            }
        }
    }

    async fn report(&mut self, report: JobReport) {
        let Some(mut carried) = self.carried.remove(&report.token) else { return };
        let now = Instant::now();
        self.lane.took(now - self.busy_since);
        self.busy_since = now;
        self.client.limit_window(self.lane.window());
        let unreadable = |outcome: &Result<_, Setback>| {
            matches!(outcome, Err(Setback { cause: Cause::Fault(Fault::ContentUnreadable), .. }))
        };
        if report.outcomes.iter().any(unreadable) {
            let cause = carried.unreadable.unwrap_or_else(|| io::Error::other("content can't be read back"));
            return self.lane.unreadable(carried.due, &cause, carried.begun, self.errand).await;
        }
        if let Some(Err(Setback { cause: Cause::Fault(Fault::ChunksRefused(reply)), .. })) =
            report.outcomes.iter().find(|outcome| is_chunks_refused(outcome))
        {
            self.lane.refused_chunks(reply);
        }
        let may_be_shortened = !carried.is_shortened && !report.uncertain;
        if let Some(reply) = report.outcomes.iter().find_map(long_lines_refused).filter(|_| may_be_shortened)
        {
            self.lane.refused_long_lines(reply);
        }
        if report.uncertain && report.outcomes.iter().any(broke_at_recipient) {
            self.lane.waits_for_recipients();
        }
        self.failed_early |= report.outcomes.iter().any(ended_early);
        let is_untried = |outcome: &Result<_, Setback>| {
            matches!(outcome, Err(Setback { cause: Cause::Fault(Fault::Untried), .. }))
        };
        let mut upstream = self.upstream(report.uncertain);
        upstream.alone = self.lane.suspects.lock().is_alone(carried.due.id)
            || report.outcomes.iter().any(|outcome| outcome.is_ok() || is_untried(outcome));
        let worked = self.completed > 0;
        let verdicts = report.outcomes.into_iter().map(|outcome| match outcome {
            Ok(reply) => Some(Verdict::Delivered(reply)),
            outcome if is_untried(&outcome) => None,
            // Goes again at once, by DATA.
            outcome if is_chunks_refused(&outcome) && !report.uncertain => None,
            // Goes again at once, with its long lines encoded.
            outcome if may_be_shortened && long_lines_refused(&outcome).is_some() => None,
            // The connection had done its work and ended; this message only came too late for it.
            Err(setback) if worked && ended_before(&setback, report.uncertain) => {
                self.lane.ended_after(self.completed);
                None
            }
            Err(setback) if is_stopped_by_us(&setback) && !report.uncertain => None,
            Err(setback) => Some(judge(&setback, &upstream)),
        });
        let mut verdicts: Vec<Option<Verdict>> = verdicts.collect();
        if verdicts.iter().any(|verdict| matches!(verdict, Some(Verdict::Delivered(_)))) {
            self.completed += 1;
            // Those that were too many for one transaction go at once in the next (RFC 5321 §4.5.3.1.10).
            let too_many = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Deferred(cause)) if cause.is_recipient_limit());
            if let Some(taken) = verdicts.iter().position(too_many) {
                self.lane.took_recipients(taken);
                self.client.limit_recipients(taken);
            }
            verdicts.iter_mut().filter(|verdict| too_many(verdict)).for_each(|verdict| *verdict = None);
        }
        carried.decide(verdicts);
        self.conclude(carried).await;
    }

    async fn end(mut self, ending: Ending) -> End {
        // Jobs the machine didn't report can't exist by its promise; if they did, they would go back unharmed.
        for (_, carried) in self.carried.drain() {
            self.lane.unclaim(carried.due);
        }
        if self.completed == 0 && self.failed_early {
            self.lane.failed_at(self.stream.peer().ip());
        }
        let mut end = End::Told;
        match ending {
            Ending::Failed(Setback { cause: Cause::Fault(Fault::TokenRefused(refusal)), .. })
                if self.may_fetch_again && refusal.may_be_stale() && !self.lane.is_stopping() =>
            {
                end = End::TokenStale;
            }
            // Its message goes again at once, by DATA.
            Ending::Failed(Setback { cause: Cause::Fault(Fault::ChunksRefused(_)), .. }) => {}
            Ending::Failed(setback)
                if setback.stage != client::Stage::Idle && !is_stopped_by_us(&setback) =>
            {
                let upstream = self.upstream(false);
                if may_be_the_address(&setback) {
                    self.lane.failed_at(self.stream.peer().ip());
                }
                // Each job's own verdict came with its report; what is left to say concerns the connection alone.
                if self.sent == 0 {
                    self.lane.stopped(judge(&setback, &upstream));
                }
            }
            Ending::Failed(_) | Ending::Finished => {}
        }
        self.stream.close().await;
        end
    }

    fn upstream(&self, content_sent: bool) -> Upstream<'_> {
        Upstream {
            host: &self.target.smarthost.host,
            authenticated: self.target.smarthost.login.is_some(),
            content_sent,
            alone: false,
            replies: &self.target.smarthost.replies,
        }
    }
}

/// How a connection ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The lane knows what came of it.
    Told,
    /// The access token was refused, and another one may be taken. Nothing was sent.
    TokenStale,
}

/// What ended an idle connection's rest.
enum Woken {
    Work,
    Heard(io::Result<usize>),
    Enough,
}

impl Trouble {
    fn local(text: String) -> Self {
        Self { stage: Stage::Resolve, what: What::Local(text), at: None }
    }

    /// Stops the lane, and lets other addresses come before this one.
    fn stop(&self, lane: &Lane, target: &Target) {
        if let Some(address) = self.at {
            lane.failed_at(address);
        }
        lane.stopped(self.judge(target));
    }

    pub(super) fn judge(&self, target: &Target) -> Verdict {
        let upstream = Upstream {
            host: &target.smarthost.host,
            authenticated: false,
            content_sent: false,
            alone: false,
            replies: &target.smarthost.replies,
        };
        let text;
        let event = match &self.what {
            What::Connect(cause @ ConnectError::Lookup { .. }) => {
                text = cause.to_string();
                Event::NoAddress(&text)
            }
            What::Connect(cause) => {
                text = cause.to_string();
                Event::Lost(&text)
            }
            What::Io(cause) => {
                text = cause.to_string();
                Event::Lost(&text)
            }
            What::TimedOut => Event::TimedOut,
            What::Tls(cause) => {
                let (not_pinned, weak) = (NotPinned::among(cause), WeakKey::among(cause));
                text = not_pinned
                    .map(ToString::to_string)
                    .or_else(|| weak.map(ToString::to_string))
                    .unwrap_or_else(|| cause.to_string());
                Event::Tls(match (not_pinned, weak) {
                    (Some(_), _) => Tls::NotPinned(&text),
                    (None, Some(_)) => Tls::WeakKey(&text),
                    (None, None) if tls_trouble::wants_certificate(cause) => Tls::WantsCertificate,
                    (None, None) => tls_failure(cause, &text),
                })
            }
            What::Local(cause) => Event::Local(cause),
        };
        verdict::judge(self.stage, event, &upstream)
    }
}

fn tls_failure<'a>(cause: &io::Error, text: &'a str) -> Tls<'a> {
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => Tls::Certificate(text),
        Some(rustls::Error::InvalidMessage(_)) => Tls::NotTls,
        _ => Tls::Handshake(text),
    }
}

/// What the machine's setback means, in the verdict's words.
pub(super) fn judge(setback: &Setback, upstream: &Upstream<'_>) -> Verdict {
    let stage = match setback.stage {
        client::Stage::Connect => Stage::Connect,
        client::Stage::Greeting | client::Stage::Idle => Stage::Greeting,
        client::Stage::Ehlo => Stage::Ehlo,
        client::Stage::StartTls => Stage::StartTls,
        client::Stage::Auth => Stage::Auth,
        client::Stage::Mail => Stage::Mail,
        client::Stage::Rcpt => Stage::Rcpt,
        client::Stage::Data => Stage::Data,
        client::Stage::Content | client::Stage::Dot => Stage::Dot,
    };
    let text;
    let event = match &setback.cause {
        Cause::Reply(reply) => Event::Reply(reply),
        Cause::Fault(Fault::Lost(Loss::TimedOut)) => Event::TimedOut,
        Cause::Fault(Fault::Lost(Loss::Handshake)) => Event::Tls(Tls::Handshake("TLS handshake failed")),
        Cause::Fault(Fault::Lost(Loss::NoCertificate)) => Event::Tls(Tls::WantsCertificate),
        Cause::Fault(Fault::StartTlsNotOffered) => Event::Lacks(Lack::StartTls),
        Cause::Fault(Fault::AuthNotOffered | Fault::NoCommonMechanism(_) | Fault::PasswordWithoutTls) => {
            Event::Lacks(Lack::Auth)
        }
        Cause::Fault(Fault::TokenRefused(refusal)) => Event::TokenRefused(refusal),
        Cause::Fault(fault) => {
            text = fault.to_string();
            match fault {
                Fault::Lost(_) | Fault::ChunksRefused(_) => Event::Lost(&text),
                Fault::ContentUnreadable | Fault::BareLineEnd => Event::Local(&text),
                _ => Event::Malformed(&text),
            }
        }
    };
    verdict::judge(stage, event, upstream)
}

/// Whether no answer to a recipient can be understood.
fn broke_at_recipient(outcome: &Result<Reply, Setback>) -> bool {
    matches!(outcome, Err(Setback { stage: client::Stage::Rcpt, cause: Cause::Fault(fault) }) if *fault != Fault::Untried)
}

/// Whether another address of the smarthost may do better than one at which a connection ended like this.
fn may_be_the_address(setback: &Setback) -> bool {
    match (setback.stage, &setback.cause) {
        (client::Stage::Greeting | client::Stage::Ehlo | client::Stage::StartTls, _) => true,
        // A password that is refused is refused everywhere.
        (client::Stage::Auth, Cause::Reply(reply)) => reply.is_transient(),
        (client::Stage::Auth, Cause::Fault(fault)) => matches!(fault, Fault::Lost(_)),
        _ => false,
    }
}

/// Whether the connection came to nothing before the content's turn, which mostly isn't about the message.
fn ended_early(outcome: &Result<Reply, Setback>) -> bool {
    let Err(Setback { stage: client::Stage::Mail | client::Stage::Rcpt | client::Stage::Data, cause }) =
        outcome
    else {
        return false;
    };
    match cause {
        Cause::Reply(reply) => reply.code == 421,
        Cause::Fault(Fault::Lost(loss)) => *loss != Loss::Stopped,
        Cause::Fault(_) => false,
    }
}

fn is_chunks_refused(outcome: &Result<Reply, Setback>) -> bool {
    matches!(outcome, Err(Setback { cause: Cause::Fault(Fault::ChunksRefused(_)), .. }))
}

/// The smarthost's word that this content has lines that are too long for it.
fn long_lines_refused(outcome: &Result<Reply, Setback>) -> Option<&Reply> {
    let Err(Setback { stage: client::Stage::Content | client::Stage::Dot, cause: Cause::Reply(reply) }) =
        outcome
    else {
        return None;
    };
    providers::is_about_long_lines(reply).then_some(reply)
}

/// Whether we are ending ourselves, and wait for its answer no longer.
fn is_stopped_by_us(setback: &Setback) -> bool {
    matches!(&setback.cause, Cause::Fault(Fault::Lost(Loss::Stopped)))
}

/// Whether the connection ended, or its end was announced, before anything of this message was answered. Replies come
/// in order and before an orderly end, so that nothing can have been taken; a broken connection may have lost some.
fn ended_before(setback: &Setback, uncertain: bool) -> bool {
    let ended = match &setback.cause {
        Cause::Reply(reply) => reply.code == 421,
        Cause::Fault(Fault::Lost(Loss::Closed)) => true,
        Cause::Fault(Fault::Lost(Loss::Broken)) => !uncertain,
        Cause::Fault(_) => false,
    };
    ended && matches!(setback.stage, client::Stage::Mail | client::Stage::Idle)
}

/// A message's name on this connection.
fn token(due: &Due) -> u64 {
    due.id.to_row().cast_unsigned()
}

fn job(carried: &Carried, dsn: bool) -> Job {
    let Carried { due, outgoing, .. } = carried;
    let envelope = &due.envelope;
    let sender = outgoing.sender().or(envelope.sender.as_ref());
    // A bounce of a message that left under another sender comes back to a mailbox that knows nothing of it: our id
    // in it says which one it is (RFC 3461 §4.4).
    let named = || outgoing.sender().filter(|_| dsn).map(|_| due.id.to_string().into());
    Job {
        token: token(due),
        sender: sender.cloned(),
        recipients: recipients(carried),
        size: outgoing.len(),
        eight_bit: envelope.body == Body::EightBitMime,
        smtputf8: outgoing.needs_smtputf8(envelope.smtputf8),
        ret: envelope.ret,
        envid: envelope.envid.clone().or_else(named),
    }
}

/// Those whose turn it is, in their order.
fn recipients(carried: &Carried) -> Vec<JobRecipient> {
    let recipient = |index: &usize| {
        let recipient = carried.due.envelope.recipients.get(*index)?;
        Some(JobRecipient {
            address: recipient.address.clone(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
        })
    };
    carried.turn.iter().filter_map(recipient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_is_put_off_may_go_at_another_address_and_a_refused_one_may_not() {
        let reply = |code| Cause::Reply(Reply::new(code, None, "no"));
        let lost = || Cause::Fault(Fault::Lost(Loss::Closed));
        for (stage, cause, expected) in [
            (client::Stage::Greeting, reply(554), true),
            (client::Stage::Ehlo, lost(), true),
            (client::Stage::Auth, reply(454), true),
            (client::Stage::Auth, reply(421), true),
            (client::Stage::Auth, lost(), true),
            (client::Stage::Auth, reply(535), false),
            (client::Stage::Auth, Cause::Fault(Fault::AuthNotOffered), false),
            (client::Stage::Mail, reply(421), false),
        ] {
            let told = format!("{stage:?} {cause:?}");
            assert_eq!(may_be_the_address(&Setback { stage, cause }), expected, "{told}");
        }
    }
}
