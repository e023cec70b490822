//! Which messages a command means: the filters that `queue` and `journal` share, and reading them page by page.

use super::{BAD_DATA, Failure, USAGE};
use crate::admin::{Client, Request};
use crate::config::units;
use crate::queue::{Filter, LaneName, QueueId, State};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Messages asked for at once.
const PAGE: usize = 1000;

/// One message as the daemon tells it (contract §4).
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) received_at: String,
    pub(super) lane: String,
    pub(super) class: String,
    pub(super) sender: String,
    pub(super) size_bytes: u64,
    pub(super) subject: Option<String>,
    pub(super) tag: Option<String>,
    #[serde(default)]
    pub(super) meta: serde_json::Map<String, Value>,
    pub(super) recipients: Vec<Recipient>,
}

/// One of its recipients.
#[derive(Debug, Deserialize)]
pub(super) struct Recipient {
    pub(super) address: String,
    pub(super) state: String,
    pub(super) attempts: u32,
    pub(super) next_attempt: Option<String>,
    pub(super) reply: Option<String>,
}

/// How long something may take: a duration; a number alone is seconds.
pub(super) fn limit(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => units::duration(text),
    }
}

/// The file that `--output` names; none is standard output, which `-` is, too.
pub(super) fn output(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| *path != Path::new("-"))
}

/// Gives every message that matches to `each`, oldest first, a page at a time.
pub(super) fn each_message(
    client: &mut Client,
    filter: &Filter,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<QueueId> = None;
    loop {
        let page: Vec<Value> = client.ask(&Request::Query { filter: filter.clone(), limit: PAGE, after })?;
        let full = page.len() == PAGE;
        after = page.last().and_then(|message| message.get("id")?.as_str()?.parse().ok());
        for message in page {
            each(message)?;
        }
        if !full || after.is_none() {
            return Ok(());
        }
    }
}

/// Whether any message matches.
pub(super) fn is_any(client: &mut Client, filter: Filter) -> Result<bool, Failure> {
    let page: Vec<Value> = client.ask(&Request::Query { filter, limit: 1, after: None })?;
    Ok(!page.is_empty())
}

/// Gives the pieces of one JSON array of them to `out`.
pub(super) fn array(
    client: &mut Client,
    filter: &Filter,
    mut out: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut separator = "[";
    each_message(client, filter, |message| {
        out(&format!("{separator}\n{message}"))?;
        separator = ",";
        Ok(())
    })?;
    out(if separator == "[" { "[]\n" } else { "\n]\n" })
}

impl Message {
    /// With those recipients alone that a filter means: one message may have many fates.
    pub(super) fn only(mut self, filter: &Filter) -> Self {
        let lane = LaneName::new(&self.lane);
        let wanted = |one: &Recipient| {
            State::parse(&one.state).is_some_and(|state| filter.means(&lane, &one.address, state))
        };
        if filter.picks_recipients() {
            self.recipients.retain(wanted);
        }
        self
    }

    /// What the application told of it, as a JSON object; empty when that is nothing.
    pub(super) fn meta_text(&self) -> String {
        let told = (!self.meta.is_empty()).then(|| Value::Object(self.meta.clone()).to_string());
        told.unwrap_or_default()
    }
}

/// A message as the daemon told it.
pub(super) fn told(message: Value) -> Result<Message, Failure> {
    serde_json::from_value(message)
        .map_err(|cause| Failure::new(BAD_DATA, format!("waystation: an entry can't be read: {cause}")))
}

pub(super) fn states(words: &[String]) -> Result<Vec<State>, Failure> {
    let known: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
    words
        .iter()
        .flat_map(|word| word.split(','))
        .map(|word| {
            State::parse(word).ok_or_else(|| {
                Failure::new(
                    USAGE,
                    format!("waystation: --state {word}: no such state; one of {}", known.join(", ")),
                )
            })
        })
        .collect()
}

pub(super) fn ids(words: &[String]) -> Result<Vec<QueueId>, Failure> {
    words.iter().map(|word| id(word)).collect()
}

pub(super) fn id(word: &str) -> Result<QueueId, Failure> {
    word.parse().map_err(|_| {
        let hint = "an id is what the 250 reply and `queue list` show, 13 characters";
        Failure::new(USAGE, format!("waystation: {word}: not a message id; {hint}"))
    })
}

pub(super) fn lane(name: Option<&String>) -> Option<LaneName> {
    name.map(|name| LaneName::new(name))
}

/// `2h` before now.
pub(super) fn ago(text: &str, option: &str) -> Result<Timestamp, Failure> {
    let wrong = || {
        Failure::new(USAGE, format!("waystation: {option} {text}: not a duration; write 90s, 5m, 2h or 5d"))
    };
    let age = units::duration(text).map_err(|_| wrong())?;
    let age = SignedDuration::try_from(age).map_err(|_| wrong())?;
    Timestamp::now().checked_sub(age).map_err(|_| wrong())
}

/// A time as people write it: `2026-11-22`, `2026-11-22 14:00`, RFC 3339, or a duration before now.
pub(super) fn moment(text: &str, option: &str) -> Result<Timestamp, Failure> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok();
    if let Some(zoned) = civil.and_then(|civil| civil.to_zoned(TimeZone::system()).ok()) {
        return Ok(zoned.timestamp());
    }
    ago(text, option).map_err(|_| {
        let forms = "write 2026-11-22, \"2026-11-22 14:00\", 2026-11-22T14:00:00Z, or how long ago: 2h";
        Failure::new(USAGE, format!("waystation: {option} {text}: not a time; {forms}"))
    })
}
