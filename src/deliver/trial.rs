//! A connection that somebody watches: each step is told as it happens, and nothing of it touches the queue.
//!
//! `check --live` logs in over one, `doctor` also asks about an envelope, `test` sends a letter. All of it is the code
//! that delivers: [`relay::open`], the client machine, and [`verdict::judge`]. Once
//! connected, no step takes longer than the limit that is given. Passwords are never told.

use super::relay;
use super::target::Target;
use super::verdict::{self, Event, Lack, Stage, Upstream, Verdict};
use crate::message::decode::clean;
use crate::net::stream::{Exchange, Stream};
use crate::smtp::address::Address;
use crate::smtp::capabilities::{Capabilities, SizeLimit};
use crate::smtp::client::{Action, Client, ClientSettings, Ending, Job, Loss, Refusal};
use crate::smtp::reply::{Reply, ReplyParser};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// What happened, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The connection is up.
    Connected(SocketAddr),
    /// TLS is up: version and cipher suite.
    Secured(String),
    /// What we said: a command, with stars for its secret, or that the content goes.
    Us(String),
    /// What the smarthost said.
    Smarthost(Reply),
}

/// Where [`Said`] goes.
pub type Tell<'a> = Box<dyn FnMut(Said) + Send + 'a>;

/// What became of an envelope that was asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The replies to MAIL and RCPT, as far as they came.
    pub replies: Vec<Reply>,
    /// Why none came to the next of the two.
    pub unanswered: Option<Unanswered>,
}

/// Why a command has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Nothing came in time, or no whole reply.
    Silence,
    /// The connection ended.
    Closed,
    /// What came is no reply.
    Garbled,
}

/// A connection, ready for a letter, or on its way there.
pub struct Trial<'a> {
    target: &'a Target,
    /// No reply is waited for longer than this.
    limit: Duration,
    stream: Stream,
    client: Client,
    told: Told<'a>,
}

impl<'a> Trial<'a> {
    /// Somebody waits: a limit for each reply.
    pub const LIMIT: Duration = Duration::from_secs(15);

    /// Connects, encrypts and logs in as the target's settings say; no reply is waited for longer than `limit`.
    ///
    /// # Errors
    /// The verdict on what stood in the way; never [`Verdict::Delivered`].
    pub async fn open(target: &'a Target, limit: Duration, tell: Tell<'a>) -> Result<Self, Verdict> {
        let mut told =
            Told { tell, parser: ReplyParser::default(), line: Vec::new(), hears: Hears::Commands };
        let opened = relay::open(target, None, &[]).await;
        let (stream, settings) = opened.map_err(|trouble| trouble.judge(target))?;
        (told.tell)(Said::Connected(stream.peer()));
        told.secured(&stream);
        // One command at a time, so that each reply stands below what it answers.
        let settings = ClientSettings { pipelining: false, chunking: false, ..settings };
        let mut trial = Self { target, limit, stream, client: Client::new(settings), told };
        match trial.until_ready().await? {
            None => Ok(trial),
            Some(ending) => Err(trial.ended(ending)),
        }
    }

    /// What the smarthost offers.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.client.capabilities()
    }

    /// Protocol version and cipher suite; none in plain text.
    #[must_use]
    pub fn tls_summary(&self) -> Option<String> {
        self.stream.tls_summary()
    }

    /// Sends one letter to one recipient; what became of it, or of the connection before it came to that.
    pub async fn send(mut self, job: Job, content: Bytes) -> Verdict {
        if let Err(refused) = self.client.submit(job) {
            let text = refused.refusal.to_string();
            let event = match refused.refusal {
                Refusal::NotNow => Event::Local(&text),
                Refusal::NeedsSevenBit => Event::Lacks(Lack::EightBit),
                Refusal::NeedsSmtpUtf8 => Event::Lacks(Lack::SmtpUtf8),
                Refusal::TooBig { .. } => Event::Lacks(Lack::Size),
                Refusal::UnsafeEnvelope => Event::Lacks(Lack::Envelope),
            };
            return verdict::judge(Stage::Mail, event, &self.upstream(false));
        }
        let mut verdict = None;
        loop {
            match self.client.next() {
                Action::Content { offset, length, .. } => {
                    self.told.content(content.len());
                    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                    let end = start.saturating_add(length).min(content.len());
                    self.client.content(&content.slice(start..end));
                }
                Action::Report(report) => {
                    let upstream = self.upstream(report.uncertain);
                    verdict = report.outcomes.into_iter().next().map(|outcome| match outcome {
                        Ok(reply) => Verdict::Delivered(reply),
                        Err(setback) => relay::judge(&setback, &upstream),
                    });
                    self.client.quit();
                }
                Action::NeedJob => self.client.no_job(),
                Action::Idle => self.client.quit(),
                Action::StartTls => self.client.lost(Loss::Handshake),
                Action::Closed(ending) => {
                    self.stream.close().await;
                    return verdict.unwrap_or_else(|| self.ended(ending));
                }
                Action::Write => self.write().await,
                Action::Wait(_) => self.listen().await,
            }
        }
    }

    /// Asks whether an envelope would be taken, takes it back and says goodbye: MAIL, RCPT, RSET, QUIT, never DATA.
    pub async fn ask(mut self, sender: &Address, recipient: &Address) -> Asked {
        let mut asked = Asked::default();
        for command in [format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{recipient}>")] {
            match self.command(&command).await {
                Ok(reply) => {
                    let goes_on = reply.is_positive();
                    asked.replies.push(reply);
                    if !goes_on {
                        break;
                    }
                }
                Err(unanswered) => {
                    asked.unanswered = Some(unanswered);
                    return asked;
                }
            }
        }
        // Whoever doesn't answer this doesn't answer QUIT.
        if self.command("RSET").await.is_ok() {
            self.quit().await;
        }
        asked
    }

    /// Says goodbye.
    pub async fn quit(mut self) {
        self.client.quit();
        loop {
            match self.client.next() {
                Action::Write => self.write().await,
                Action::Wait(_) => self.listen().await,
                Action::Closed(_) => return self.stream.close().await,
                Action::NeedJob => self.client.no_job(),
                _ => self.client.lost(Loss::Closed),
            }
        }
    }

    /// One command past the machine, which has nothing unanswered. The limit holds for the whole reply.
    async fn command(&mut self, command: &str) -> Result<Reply, Unanswered> {
        let said = format!("{command}\r\n");
        self.told.said(said.as_bytes());
        self.stream.output().extend_from_slice(said.as_bytes());
        let limit = self.limit;
        let reply = timeout(limit, self.reply()).await.unwrap_or(Err(Unanswered::Silence))?;
        (self.told.tell)(Said::Smarthost(reply.clone()));
        Ok(reply)
    }

    async fn reply(&mut self) -> Result<Reply, Unanswered> {
        let mut parser = ReplyParser::default();
        loop {
            self.stream.flush().await.map_err(|_| Unanswered::Closed)?;
            let filled = self.stream.fill(false).await;
            if filled.map_err(|_| Unanswered::Closed)? == 0 {
                return Err(Unanswered::Closed);
            }
            let fed = parser.feed(self.stream.buffered());
            self.stream.consume(fed.consumed);
            if let Some(reply) = fed.reply {
                return reply.map_err(|_| Unanswered::Garbled);
            }
        }
    }

    /// Up to where a letter could be sent; how it ended if it didn't come there.
    async fn until_ready(&mut self) -> Result<Option<Ending>, Verdict> {
        loop {
            match self.client.next() {
                Action::Write => self.write().await,
                Action::Wait(_) => self.listen().await,
                Action::StartTls => {
                    let shaking = relay::handshake(&mut self.stream, self.target);
                    let Ok(shaken) = timeout(self.limit, shaking).await else {
                        self.client.lost(Loss::TimedOut);
                        continue;
                    };
                    shaken.map_err(|trouble| trouble.judge(self.target))?;
                    self.told.secured(&self.stream);
                    self.client.tls_started();
                }
                Action::NeedJob | Action::Idle => return Ok(None),
                Action::Content { .. } | Action::Report(_) => self.client.content_failed(),
                Action::Closed(ending) => return Ok(Some(ending)),
            }
        }
    }

    async fn write(&mut self) {
        let limit = self.limit();
        match timeout(limit, self.stream.exchange(self.client.output())).await {
            Ok(Ok(Exchange::Wrote(count))) if count > 0 => {
                self.told.said(self.client.output().get(..count).unwrap_or_default());
                self.client.wrote(count);
            }
            Ok(Ok(Exchange::Read(count))) if count > 0 => self.hear(),
            Ok(Ok(_)) => self.client.lost(Loss::Closed),
            Ok(Err(cause)) => self.client.lost(relay::loss(&cause)),
            Err(_) => self.client.lost(Loss::TimedOut),
        }
    }

    async fn listen(&mut self) {
        let limit = self.limit();
        let stream = &mut self.stream;
        let read = async {
            stream.flush().await?;
            stream.fill(false).await
        };
        match timeout(limit, read).await {
            Ok(Ok(1..)) => self.hear(),
            Ok(Ok(_)) => self.client.lost(Loss::Closed),
            Ok(Err(cause)) => self.client.lost(relay::loss(&cause)),
            Err(_) => self.client.lost(Loss::TimedOut),
        }
    }

    fn hear(&mut self) {
        self.told.heard(self.stream.buffered());
        let count = self.stream.buffered().len();
        self.client.read(self.stream.buffered());
        self.stream.consume(count);
    }

    fn limit(&self) -> Duration {
        self.client.phase().phase.limit().min(self.limit)
    }

    fn ended(&self, ending: Ending) -> Verdict {
        match ending {
            Ending::Failed(setback) => relay::judge(&setback, &self.upstream(false)),
            Ending::Finished => {
                verdict::judge(Stage::Mail, Event::Lost("closed before its turn"), &self.upstream(false))
            }
        }
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

/// Turns octets into what is told.
struct Told<'a> {
    tell: Tell<'a>,
    parser: ReplyParser,
    /// A command whose end wasn't written yet.
    line: Vec<u8>,
    hears: Hears,
}

/// What the octets that are written are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    Commands,
    /// The answer to a challenge.
    Secret,
    Content,
}

impl Told<'_> {
    fn secured(&mut self, stream: &Stream) {
        if let Some(summary) = stream.tls_summary() {
            // RFC 3207 §4.2: the conversation begins anew.
            self.parser = ReplyParser::default();
            (self.tell)(Said::Secured(summary));
        }
    }

    fn said(&mut self, octets: &[u8]) {
        if self.hears == Hears::Content {
            return;
        }
        for octet in octets {
            if *octet != b'\n' {
                self.line.push(*octet);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let text = String::from_utf8_lossy(&line);
            let shown = match (self.hears, text.split_once(' ')) {
                (Hears::Secret, _) => "***".to_owned(),
                (_, Some(("AUTH", words))) => match words.trim_end().split_once(' ') {
                    Some((mechanism, _)) => format!("AUTH {mechanism} ***"),
                    None => format!("AUTH {}", words.trim_end()),
                },
                _ => clean(text.trim_end(), 500),
            };
            (self.tell)(Said::Us(shown));
        }
    }

    /// The letter begins.
    fn content(&mut self, octets: usize) {
        if self.hears != Hears::Content {
            self.hears = Hears::Content;
            (self.tell)(Said::Us(format!("(the letter, {octets} octets)")));
        }
    }

    fn heard(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let fed = self.parser.feed(octets);
            octets = octets.get(fed.consumed..).unwrap_or_default();
            match fed.reply {
                Some(Ok(reply)) => {
                    self.hears = if reply.code == 334 { Hears::Secret } else { Hears::Commands };
                    (self.tell)(Said::Smarthost(reply));
                }
                Some(Err(_)) => return,
                None => {}
            }
        }
    }
}

/// Logs in and says goodbye; nothing is sent. What the smarthost offers, or why it doesn't work and what to do.
///
/// # Errors
/// In words, for the admin.
pub async fn try_login(target: &Target) -> Result<String, String> {
    let trial =
        Trial::open(target, Trial::LIMIT, Box::new(|_| {})).await.map_err(|verdict| in_words(&verdict))?;
    // Without a login nothing but mail would tell whether it takes any, and nothing is sent.
    let (works, login) = if target.smarthost.login.is_some() {
        ("works", "login good")
    } else {
        ("answers", "no login configured (whether it takes mail so, `waystation test` tells)")
    };
    let tls = trial.tls_summary().unwrap_or_else(|| "plain text".into());
    let size = match trial.capabilities().size {
        SizeLimit::Octets(octets) => format!(", takes {octets} octets"),
        SizeLimit::Unlimited | SizeLimit::NotOffered => String::new(),
    };
    trial.quit().await;
    Ok(format!("{works}: {tls}, {login}{size}"))
}

/// A verdict as one line: the reply, and what to do about it.
#[must_use]
pub fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered(reply) => reply.to_string(),
        Verdict::Deferred(cause)
        | Verdict::LaneStopped(_, cause)
        | Verdict::Failed(cause)
        | Verdict::Uncertain(cause) => match cause.advice {
            Some(advice) => format!("{} → {advice}", cause.reply),
            None => cause.reply.to_string(),
        },
    }
}
