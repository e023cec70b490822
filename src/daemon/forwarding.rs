//! What is asked about forwarding, and the watch for mailboxes that fell silent.

use super::Shared;
use super::control::{answer, queue_failure};
use crate::admin::inboxes::{Fetched, MailboxStatus, Probed, Sent};
use crate::admin::{AdminError, InboxRequest};
use crate::cli::{BAD_DATA, OUR_BUG, TRY_LATER, UNAVAILABLE, USAGE};
use crate::clock::Clock;
use crate::config::schema::{Config, Mailbox};
use crate::deliver::confirm;
use crate::inbox::event::{self, EventType, SilenceData, SilenceState};
use crate::inbox::mail::Mail;
use crate::inbox::{probe, silence};
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::queue::kept::Left;
use crate::queue::{
    Arrivals, LaneName, NewEvent, Notes, Part, Probe, Queue, QueueError, QueueId, Submission, Verification,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How often it is looked for silence.
const WATCH: Duration = Duration::from_mins(5);

/// Does what the command line asks.
pub(super) async fn obey(
    queue: &Queue,
    clock: &Clock,
    config: &Config,
    request: InboxRequest,
) -> Result<Value, AdminError> {
    match request {
        InboxRequest::List => answer(&mailboxes(queue, config).await?),
        InboxRequest::Verifications => {
            let all = queue.verifications().await.map_err(queue_failure)?;
            answer(&all.into_iter().map(Verification::without_secrets).collect::<Vec<_>>())
        }
        InboxRequest::Open { id } => {
            let all = queue.verifications().await.map_err(queue_failure)?;
            let found = all.into_iter().find(|question| question.id == id);
            if found.as_ref().is_some_and(|question| question.code.is_some() || !question.links.is_empty()) {
                queue.verification_opened(id).await.map_err(queue_failure)?;
            }
            answer(&found)
        }
        InboxRequest::Newest { address } => {
            let queue = queue.clone();
            let asking = move || queue.knowledge(queue.draft().id()).newest(&address);
            let newest = spawn_blocking(asking).await.map_err(|cause| QueueError::Index(cause.to_string()));
            answer(&newest.and_then(|newest| newest).map_err(queue_failure)?)
        }
        InboxRequest::Attachment { id } => answer(&attachment(queue, &id).await?),
        InboxRequest::Test { mailbox } => answer(&send_probe(queue, clock, config, &mailbox).await?),
        InboxRequest::Probe { token } => {
            let Some(probe) = queue.probe(&token).await.map_err(queue_failure)? else { return answer(&()) };
            let life = queue.life(probe.message).await.map_err(queue_failure)?;
            let sent = life.and_then(|life| {
                let one = life.entry.recipients.first()?;
                let lane = life.entry.lane.to_string();
                Some(Sent { lane, state: one.state, done_at: life.done_at, reply: one.reply.clone() })
            });
            answer(&Probed { probe, sent })
        }
    }
}

/// An attachment, taken out of its message once more.
async fn attachment(queue: &Queue, id: &str) -> Result<Fetched, AdminError> {
    let refuse = |code: u8, text: &str| AdminError { code, text: format!("waystation: {id}: {text}") };
    let unknown = || refuse(BAD_DATA, "the journal knows no attachment of this id");
    let (message, number) = id.rsplit_once('-').ok_or_else(unknown)?;
    let (Ok(message), Ok(number)) = (message.parse::<QueueId>(), number.parse::<usize>()) else {
        return Err(unknown());
    };
    let octets = match queue.left(message).await.map_err(queue_failure)? {
        Left::Whole(octets) => octets,
        Left::Unknown => return Err(unknown()),
        Left::Gone => {
            let why = "its message's content is gone: it is kept only for attachments that an event left out, and no \
                       longer than the journal and a quarter of the spool have room for it";
            return Err(refuse(UNAVAILABLE, why));
        }
    };
    let reading = spawn_blocking(move || {
        let mail = Mail::read(&octets);
        let found = mail.attachments.into_iter().nth(number.checked_sub(1)?)?;
        Some(Fetched {
            content: STANDARD.encode(&found.content),
            filename: found.filename,
            content_type: found.content_type,
            sha256: found.sha256,
        })
    });
    reading.await.ok().flatten().ok_or_else(unknown)
}

async fn mailboxes(queue: &Queue, config: &Config) -> Result<Vec<MailboxStatus>, AdminError> {
    let arrivals = queue.arrivals().await.map_err(queue_failure)?;
    let mut arrivals: BTreeMap<String, Arrivals> =
        arrivals.into_iter().map(|one| (one.mailbox.clone(), one)).collect();
    let status = |mailbox: &Mailbox| {
        let known = arrivals.remove(&mailbox.name).unwrap_or_default();
        MailboxStatus {
            mailbox: mailbox.name.clone(),
            address: mailbox.address.as_str().to_owned(),
            inbox: mailbox.inbox.clone(),
            forward_to: forward_to(mailbox, config),
            last_received_at: known.last,
            silent_since: known.silent_since,
            last_silence: known.last_silence,
            usual_interval_seconds: silence::usual(&known.times).map(|usual| usual.interval.as_secs()),
        }
    };
    Ok(config.mailboxes.values().map(status).collect())
}

/// `inbox+TOKEN@…`, or the inbox's own address for a mailbox without a token.
pub(super) fn forward_to(mailbox: &Mailbox, config: &Config) -> String {
    let inbox = config.inboxes.get(&mailbox.inbox).map(|inbox| inbox.address.as_str());
    let address = inbox.unwrap_or_default();
    match (&mailbox.token, address.rsplit_once('@')) {
        (Some(token), Some((local, domain))) => format!("{local}+{token}@{domain}"),
        _ => address.to_owned(),
    }
}

/// Sends a probe through the mailbox's smarthost to the mailbox; its token.
async fn send_probe(queue: &Queue, clock: &Clock, config: &Config, name: &str) -> Result<String, AdminError> {
    let refuse = |code: u8, text: String| AdminError { code, text: format!("waystation: {text}") };
    let Some(mailbox) = config.mailboxes.get(name) else {
        let known: Vec<&str> = config.mailboxes.keys().map(String::as_str).collect();
        return Err(refuse(USAGE, format!("no mailbox is called {name}; there are: {}", known.join(", "))));
    };
    let Some(smarthost) = &mailbox.smarthost else {
        let text = format!("mailbox {name} has no smarthost to send through; write smarthost = … into it");
        return Err(refuse(USAGE, text));
    };
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| refuse(OUR_BUG, "this system gives no randomness".to_owned()))?;
    let (token, now) = (probe::token(random), clock.now());
    let address = mailbox.address.clone();
    let letter = probe::letter(&token, address.as_str(), &forward_to(mailbox, config), &config.hostname, now);
    let mut draft = queue.draft();
    let unkept =
        |cause: crate::queue::KeepError| refuse(TRY_LATER, format!("the probe wasn't kept: {cause}"));
    draft.write(&letter).await.map_err(unkept)?;
    let known = Probe {
        token: token.clone(),
        mailbox: name.to_owned(),
        message: draft.id(),
        sent_at: now,
        returned_at: None,
        trace: Vec::new(),
        astray: None,
    };
    // Before it leaves: it may be back before the next line.
    queue.probe_sent(known).await.map_err(queue_failure)?;
    let submission = Submission {
        envelope: Envelope {
            sender: Some(address.clone()),
            recipients: vec![Recipient { address, notify: None, orcpt: None }],
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        origin: Origin { client: None, helo: config.hostname.as_str().into(), application: None },
        received_at: now,
        notes: Notes { subject: Some("waystation probe".to_owned()), ..Notes::default() },
        parts: vec![Part {
            lane: LaneName::new(smarthost),
            class: Class::Priority,
            recipients: vec![0],
            due: now,
            held: false,
            discarded: false,
            // A probe that is late tells nothing.
            expires_at: now.checked_add(Duration::from_hours(1)).ok(),
        }],
    };
    queue.keep(draft, submission).await.map_err(unkept)?;
    Ok(token)
}

/// Looks for mailboxes that fell silent, until the daemon stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let config = &shared.current.load_full().config;
        // An index that can't be read now is looked at again.
        for known in shared.queue.arrivals().await.unwrap_or_default() {
            let (last, now) = (known.last.unwrap_or_default(), shared.clock.now());
            let Some((since, events)) = fell_silent(&known, config, shared.started_at, now) else { continue };
            let news = shared.queue.fell_silent(&known.mailbox, since, events).await;
            if news.is_ok_and(|is_news| is_news) {
                shared.events.mailbox_silent(&known.mailbox, last);
            }
        }
    }
}

/// Since when a mailbox is silent, and who is told, if that is news.
fn fell_silent(
    known: &Arrivals,
    config: &Config,
    listening_since: Timestamp,
    now: Timestamp,
) -> Option<(Timestamp, Vec<NewEvent>)> {
    let mailbox = config.mailboxes.get(&known.mailbox)?;
    let inbox = config.inboxes.get(&mailbox.inbox)?;
    let last = known.last.filter(|_| known.silent_since.is_none())?;
    let usual = silence::is_silent(&known.times, last, listening_since, now)?;
    let data = SilenceData {
        inbox: &inbox.name,
        mailbox: &mailbox.name,
        address: mailbox.address.as_str(),
        last_received_at: event::shown(last),
        usual_interval_seconds: u64::try_from(usual.interval.as_secs()).ok(),
        state: SilenceState::Began,
        ended_at: None,
    };
    let id = format!("{}-{}", mailbox.name, last.as_second());
    let about = event::Notice { id: &id, hostname: &config.hostname, now, format: inbox.format };
    let made = event::notice(EventType::MailboxSilent, &data, &about).ok()?;
    let conversation = Some(silence::conversation(&mailbox.name));
    Some((last, vec![confirm::kept(&LaneName::new(&inbox.name), conversation, made)]))
}
