//! How an alert travels: posted to a webhook, and given to a program on its standard input.

use super::Way;
use super::conditions::Change;
use crate::clock::Clock;
use crate::deliver::webhook::endpoint::shown;
use crate::deliver::webhook::{Letter, Target};
use crate::events::Events;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Waits between attempts to post.
const AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(2), Duration::from_mins(10)];
/// How long the program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// Octets of an alert's random id.
const ID: usize = 12;

/// An alert as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Message {
    id: String,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    condition: &'static str,
    subject: &'a str,
    detail: &'a str,
    hostname: &'a str,
    began_at: String,
    ended_at: Option<String>,
}

impl Message {
    pub(super) fn new(change: &Change, hostname: &str, now: Timestamp) -> Self {
        let body = Body {
            kind: if change.ended_at.is_none() { "alert.raised" } else { "alert.ended" },
            timestamp: format!("{now:.3}"),
            data: Data {
                condition: change.condition.kind.name(),
                subject: &change.condition.subject,
                detail: &change.condition.detail,
                hostname,
                began_at: format!("{:.3}", change.began_at),
                ended_at: change.ended_at.map(|time| format!("{time:.3}")),
            },
        };
        let mut octets = [0; ID];
        // Without randomness the time must do: receivers only drop repeats by it.
        let _ = aws_lc_rs::rand::fill(&mut octets);
        let random: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let id = format!("alert_{}_{random}", now.as_millisecond());
        // Texts and times always serialise.
        Self { id, body: serde_json::to_vec(&body).unwrap_or_default() }
    }
}

/// Posts, and again a few times, each time to the webhook that is configured by then. Once it is `pressing`, because another
/// message waits behind it, it is tried again at once.
pub(super) async fn post(
    way: &ArcSwap<Way>,
    message: &Message,
    pressing: &CancellationToken,
    clock: &Clock,
    events: &Events,
) {
    let mut is_pressed = false;
    for attempt in 1.. {
        let Some(target) = way.load().target.clone() else { return };
        let Err(why) = post_once(&target, message, attempt, clock.now()).await else { return };
        let again = usize::try_from(attempt).ok().and_then(|number| AGAIN.get(number - 1));
        let Some(wait) = again else { return events.alert_untold("webhook", &why) };
        tokio::select! {
            () = sleep(*wait) => {}
            () = pressing.cancelled(), if !is_pressed => is_pressed = true,
        }
    }
}

/// One attempt; an error is what went wrong.
async fn post_once(target: &Target, message: &Message, attempt: u32, now: Timestamp) -> Result<(), String> {
    if let Some(trouble) = target.trouble() {
        return Err(trouble.to_owned());
    }
    let letter = Letter {
        id: message.id.clone(),
        content_type: "application/json".into(),
        attempt,
        body: message.body.clone().into(),
    };
    let outcome = target.post(&letter, now).await;
    let is_taken = outcome.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
    if is_taken { Ok(()) } else { Err(shown(&outcome)) }
}

/// Runs the program, its process group ended when it takes too long or we are stopped.
pub(super) async fn run(words: Vec<String>, message: Message, events: Events) {
    let Some((program, arguments)) = words.split_first() else { return };
    let failed = |why: String| events.alert_untold("command", &format!("{program}: {why}"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(cause) => return failed(format!("can't be started: {cause}")),
    };
    let mut group = Group(child.id());
    if let Some(mut input) = child.stdin.take() {
        // A program that doesn't read its input may be gone already.
        let _ = timeout(PROGRAM_LIMIT, input.write_all(&message.body)).await;
    }
    let ended = timeout(PROGRAM_LIMIT, child.wait()).await;
    if ended.is_ok() {
        // Its number may be another's by now.
        group.0 = None;
    }
    match ended {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => failed(format!("failed ({status})")),
        Ok(Err(cause)) => failed(format!("can't be waited for: {cause}")),
        Err(_) => failed(format!("took longer than {} s and was ended", PROGRAM_LIMIT.as_secs())),
    }
}

/// A process group, ended when dropped: what the program started ends with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        // It is gone already when all went well.
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
    }
}
