//! Answers Gmail's question whether a mailbox may forward here: fetches the page, posts its form, and tells what came of it.
//!
//! What to fetch and what an answer means is [`Confirmation`]'s to say; here it is carried out, kept and told. Promises:
//! nothing is asked for but a [`Link`], over TLS, at a public address, up to [`MAX_PAGE`] octets and within
//! [`PATIENCE`]; no redirect is followed by itself, no cookie kept; one question at a time; an account that is no
//! configured mailbox any more isn't confirmed, until it is one again. Where it stands is in the queue, so that a restart goes on with it. A
//! restart in the very moment of the post ends with [`Why::Expired`], for a human to look.

use crate::clock::Clock;
use crate::config::schema::EventFormat;
use crate::events::Events;
use crate::inbox::event::{self, EventType, VerificationData};
use crate::inbox::verification::{
    Candidate, Confirmation, Decision, Link, MAX_PAGE, PATIENCE, Seen, Step, Why,
};
use crate::net::http::{self, Names, Page, PostError, Receiver, Url};
use crate::net::tls::TlsError;
use crate::queue::{
    EventOctets, LaneName, NewEvent, Progress, Queue, QueueError, QueueId, Verification, VerificationState,
};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for questions when nobody rings; also the wait behind an index that can't be read.
const LOOK: Duration = Duration::from_mins(1);
/// And at least so long between two looks.
const SOON: Duration = Duration::from_secs(1);
/// What is said of a question whose mailbox isn't there any more.
const GONE: &str = "its inbox or mailbox isn't configured any more; add it again, and the link is opened, or open it by hand";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("waystation/", env!("CARGO_PKG_VERSION")));
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The way to the web.
#[derive(Debug, Clone)]
pub struct Web {
    names: Names,
    tls: Result<Arc<ClientConfig>, Arc<TlsError>>,
    port: u16,
    allow_private: bool,
}

impl Web {
    /// The internet's: the system's names, port 443, public addresses only.
    #[must_use]
    pub fn public(tls: Result<Arc<ClientConfig>, Arc<TlsError>>) -> Self {
        Self { names: Names::system(), tls, port: 443, allow_private: false }
    }

    /// One that leads somewhere else.
    #[must_use]
    pub fn leading_to(names: Names, tls: Arc<ClientConfig>, port: u16) -> Self {
        Self { names, tls: Ok(tls), port, allow_private: true }
    }

    async fn fetch(&self, link: &Link, form: Option<String>) -> Result<Page, PostError> {
        let path = link.expose().strip_prefix("https://").and_then(|rest| rest.split_once('/'));
        let path = path.map_or("", |(_, path)| path);
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        // Its text would show the token.
        let url = Url::parse(&format!("https://{}{port}/{path}", link.host()))
            .map_err(|_| PostError::Broken("the link is no URL".to_owned()))?;
        let (tls, names) = (self.tls.clone(), self.names.clone());
        let receiver = Receiver { url, allow_private: self.allow_private, tls, names };
        let mut headers = HeaderMap::from_iter([(USER_AGENT, AGENT)]);
        let method = if form.is_some() { Method::POST } else { Method::GET };
        if form.is_some() {
            headers.insert(CONTENT_TYPE, FORM);
        }
        let body = Bytes::from(form.unwrap_or_default());
        http::fetch(&receiver, method, headers, body, MAX_PAGE, Instant::now() + PATIENCE).await
    }

    /// Carries a confirmation on until it is over or must wait; with the last answer, in words without the token.
    async fn carry_on(&self, confirmation: &mut Confirmation, first: Step) -> (Step, String) {
        let (mut step, mut answer) = (first, String::new());
        loop {
            let seen = match &step {
                Step::Get(link) => self.fetch(link, None).await,
                Step::Post(link, form) => self.fetch(link, Some(form.clone())).await,
                Step::Wait(_) | Step::Confirmed | Step::ActionNeeded(_) => return (step, answer),
            };
            answer = match &seen {
                Ok(page) => format!("the page answered {}", page.status),
                Err(PostError::Forbidden { host, address, .. }) => {
                    format!(
                        "{host} leads to {address}, which isn't a public address: what does DNS say of it?"
                    )
                }
                Err(PostError::TimedOut) => format!("no answer within {} s", PATIENCE.as_secs()),
                Err(cause) => cause.to_string(),
            };
            step = confirmation.next(match &seen {
                Ok(Page { status: 300..=399, location: Some(to), .. }) => Seen::Redirect(to),
                Ok(page) => Seen::Page(page.status, &page.content),
                Err(_) => Seen::Nothing,
            });
        }
    }
}

/// Who is told of an inbox's questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its webhook.
    pub endpoint: LaneName,
    /// The shape of its events.
    pub format: EventFormat,
    /// Our own name.
    pub hostname: String,
}

/// Who is told, if the question's inbox and its mailbox are still configured.
pub type WhoIsTold = dyn Fn(&Verification) -> Option<Told> + Send + Sync;

/// The mailbox that is configured by now for a question that waits for one.
pub type WhoseItIs = dyn Fn(&Verification) -> Option<String> + Send + Sync;

/// Keeps questions, and confirms those that may be.
pub struct Confirmer {
    queue: Queue,
    clock: Clock,
    events: Events,
    web: Web,
    told: Box<WhoIsTold>,
    whose: Box<WhoseItIs>,
    bell: Notify,
}

impl Confirmer {
    /// Nothing is done before [`run`](Self::run).
    #[must_use]
    pub fn new(
        queue: Queue,
        clock: Clock,
        events: Events,
        web: Web,
        told: Box<WhoIsTold>,
        whose: Box<WhoseItIs>,
    ) -> Arc<Self> {
        Arc::new(Self { queue, clock, events, web, told, whose, bell: Notify::new() })
    }

    /// Looks at once: the configuration may have changed.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Keeps a question that the message `id` asked, and has it confirmed if it may be. To be called before the message
    /// is settled; may be called again for the same message. False: the same question was asked before by another
    /// message, so its event is to be dropped.
    ///
    /// # Errors
    /// When it couldn't be kept: the message must not be settled then.
    pub async fn ask(
        &self,
        id: QueueId,
        inbox: &str,
        candidate: &Candidate,
        received_at: Timestamp,
    ) -> Result<bool, QueueError> {
        let (state, links, answer, next) = match &candidate.decision {
            Decision::Confirm(link) => {
                let links = vec![link.expose().to_owned()];
                (VerificationState::Confirming, links, None, Some(self.clock.now()))
            }
            Decision::Ask(reason) => {
                (VerificationState::ActionNeeded, candidate.links.clone(), Some(reason.to_string()), None)
            }
        };
        let question = Verification {
            id,
            inbox: inbox.to_owned(),
            provider: candidate.provider.to_owned(),
            requested_by: candidate.requested_by.clone(),
            mailbox: candidate.mailbox.clone(),
            state,
            attempts: 0,
            next_attempt: next,
            answer,
            received_at,
            code: candidate.code.clone(),
            links,
            came_to: candidate.waits_at.clone(),
        };
        let is_news = self.queue.ask(question).await?;
        self.bell.notify_one();
        Ok(is_news)
    }

    /// Confirms what is to be confirmed, until it is stopped; what is on its way then is taken up at the next start.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                wait = self.round() => wait,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.bell.notified() => {}
            }
        }
    }

    /// Carries out what is due; how long to wait for the next.
    pub async fn round(&self) -> Duration {
        let settled = match self.abandon().await {
            Ok(()) => self.accept().await,
            Err(cause) => Err(cause),
        };
        if let Err((id, cause)) = settled {
            self.events.verification_not_kept(id, &cause);
            return LOOK;
        }
        let Ok(waiting) = self.queue.verifications_confirming().await else { return LOOK };
        for question in waiting.iter().filter(|question| self.wait_for(question).is_zero()) {
            if let Err(cause) = self.confirm(question).await {
                self.events.verification_not_kept(question.id, &cause);
                return LOOK;
            }
        }
        // What was tried just now may have to be tried again soon.
        let Ok(waiting) = self.queue.verifications_confirming().await else { return LOOK };
        waiting
            .iter()
            .map(|question| self.wait_for(question))
            .min()
            .map_or(LOOK, |wait| wait.clamp(SOON, LOOK))
    }

    /// Lets go of the questions whose mailbox was removed, also those that aren't due for long.
    async fn abandon(&self) -> Result<(), (QueueId, QueueError)> {
        let Ok(waiting) = self.queue.verifications_confirming().await else { return Ok(()) };
        for question in waiting.iter().filter(|question| (self.told)(question).is_none()) {
            let abandoned = self.queue.verification_abandoned(question.id, GONE).await;
            if abandoned.map_err(|cause| (question.id, cause))? {
                self.tell(question, VerificationState::ActionNeeded, GONE);
            }
        }
        Ok(())
    }

    fn tell(&self, question: &Verification, state: VerificationState, answer: &str) {
        let account = question.requested_by.as_deref().unwrap_or_default();
        self.events.verification(question.id, &question.inbox, account, state, answer);
    }

    /// Takes up the questions whose mailbox was added.
    async fn accept(&self) -> Result<(), (QueueId, QueueError)> {
        // What can't be read now is looked at again soon.
        let Ok(waiting) = self.queue.verifications_waiting().await else { return Ok(()) };
        for question in waiting {
            if let Some(mailbox) = (self.whose)(&question) {
                let accepted = self.queue.verification_accepted(question.id, &mailbox).await;
                accepted.map_err(|cause| (question.id, cause))?;
            }
        }
        Ok(())
    }

    fn wait_for(&self, question: &Verification) -> Duration {
        let until = |next: Timestamp| Duration::try_from(next.duration_since(self.clock.now()));
        question.next_attempt.and_then(|next| until(next).ok()).unwrap_or_default()
    }

    async fn confirm(&self, question: &Verification) -> Result<(), QueueError> {
        let told = (self.told)(question);
        // A mailbox that was removed this moment is the next round's to see.
        let Some(told) = told else { return Ok(()) };
        let (end, failures, answer) = match question.links.first().and_then(|link| Link::parse(link)) {
            Some(link) => {
                let (mut confirmation, first) = Confirmation::again(link, question.attempts);
                let (end, answer) = self.web.carry_on(&mut confirmation, first).await;
                (end, confirmation.failures(), answer)
            }
            None => (Step::ActionNeeded(Why::LeadsAway), question.attempts, String::new()),
        };
        let progress = self.progress(question, &told, &end, failures, answer);
        let (state, answer) = (progress.state, progress.answer.clone());
        if self.queue.verification_went_on(progress).await? {
            self.tell(question, state, &answer);
        }
        Ok(())
    }

    fn progress(
        &self,
        question: &Verification,
        told: &Told,
        end: &Step,
        attempts: u32,
        answer: String,
    ) -> Progress {
        let now = self.clock.now();
        let id = question.id;
        match end {
            Step::Confirmed => {
                let data = VerificationData { links: &[], code: None, ..data(question) };
                let events = event(EventType::VerificationConfirmed, question, &data, told, now);
                let answer = "confirmed".to_owned();
                Progress {
                    id,
                    state: VerificationState::Confirmed,
                    attempts,
                    next_attempt: None,
                    answer,
                    events,
                }
            }
            Step::ActionNeeded(why) => {
                let word = serde_json::to_value(why).ok();
                let reason = word.and_then(|word| word.as_str().map(str::to_owned));
                let data = VerificationData { reason, advice: Some(why.to_string()), ..data(question) };
                let events = event(EventType::VerificationActionNeeded, question, &data, told, now);
                let answer = if answer.is_empty() { why.to_string() } else { format!("{why} ({answer})") };
                let state = VerificationState::ActionNeeded;
                Progress { id, state, attempts, next_attempt: None, answer, events }
            }
            Step::Wait(_) | Step::Get(_) | Step::Post(..) => {
                let wait = if let Step::Wait(wait) = end { *wait } else { Duration::ZERO };
                let next = now.checked_add(wait).unwrap_or(now);
                let state = VerificationState::Confirming;
                Progress { id, state, attempts, next_attempt: Some(next), answer, events: Vec::new() }
            }
        }
    }
}

fn data(question: &Verification) -> VerificationData<'_> {
    VerificationData {
        inbox: &question.inbox,
        provider: &question.provider,
        mailbox: question.mailbox.as_deref(),
        requested_by: question.requested_by.as_deref(),
        code: question.code.as_deref(),
        links: &question.links,
        reason: None,
        advice: None,
    }
}

fn event(
    kind: EventType,
    question: &Verification,
    data: &VerificationData<'_>,
    told: &Told,
    now: Timestamp,
) -> Vec<NewEvent> {
    let id = question.id.to_string();
    let about = event::Notice { id: &id, hostname: &told.hostname, now, format: told.format };
    // It is text and numbers, so there always is one.
    let made = event::notice(kind, data, &about).ok();
    made.map(|made| kept(&told.endpoint, Some(format!("verification {id}")), made)).into_iter().collect()
}

/// An event of the inbox as the queue keeps it.
#[must_use]
pub fn kept(endpoint: &LaneName, conversation: Option<String>, made: event::Event) -> NewEvent {
    let octets = EventOctets::AroundSeq {
        before: made.body.before.into(),
        after: made.body.after.into(),
        name_at: made.body.name_at,
    };
    NewEvent::new(endpoint.clone(), made.kind.as_str(), conversation, made.body.content_type, octets)
}
