//! `waystation journal show`: a message's whole life in words, one line for each thing that happened.

use super::queue::short_time;
use super::selection::{self, Message};
use super::{BAD_DATA, Done, Failure, control, print, status, table};
use crate::admin::Request;
use crate::deliver::target::REMOVED;
use crate::queue::QueueId;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The message's id
    id: String,
    /// One array with one object
    #[arg(long)]
    json: bool,
}

/// A message and what happened to it, as the daemon tells it.
#[derive(Debug, Deserialize)]
struct Story {
    #[serde(flatten)]
    message: Message,
    client: Option<String>,
    helo: String,
    application: Option<String>,
    release_at: Option<String>,
    expires_at: Option<String>,
    standings: Vec<Standing>,
    happenings: Vec<Happening>,
}

#[derive(Debug, Deserialize)]
struct Standing {
    recipient: u32,
    address: String,
    state: String,
    since: String,
}

#[derive(Debug, Deserialize)]
struct Happening {
    at: String,
    recipient: Option<u32>,
    kind: String,
    detail: String,
}

impl Show {
    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        let life = life(&self.id, config)?;
        if self.json {
            let array = Value::Array(vec![life]);
            print(&format!("{}\n", serde_json::to_string_pretty(&array).unwrap_or_default()));
            return Ok(());
        }
        let story: Story = serde_json::from_value(life).map_err(|cause| {
            Failure::new(BAD_DATA, format!("waystation: the entry can't be read: {cause}"))
        })?;
        print(&story.in_words());
        Ok(())
    }
}

/// What the daemon knows of a message.
pub(super) fn life(id: &str, config: Option<&Path>) -> Result<Value, Failure> {
    let id: QueueId = selection::id(id)?;
    let life: Value = control::client(config)?.ask(&Request::Life { id })?;
    if life.is_null() {
        let text = format!("waystation: {id}: no such message in the queue or the journal");
        return Err(Failure::new(BAD_DATA, text));
    }
    Ok(life)
}

impl Story {
    fn in_words(&self) -> String {
        let mut text = self.head();
        // The sort is stable: what happened in one moment stays in the order of the chapters.
        let mut lines: Vec<(&str, String)> = vec![(&self.message.received_at, self.accepted())];
        lines.extend(self.happenings.iter().map(|happening| (&*happening.at, self.happened(happening))));
        lines.extend(self.standings.iter().filter_map(|standing| self.ended(standing)));
        lines.sort_by_key(|(time, _)| time.parse::<jiff::Timestamp>().ok());
        for (time, line) in lines {
            text += &format!("{}  {line}\n", short_time(time));
        }
        text.push('\n');
        for recipient in &self.message.recipients {
            let next = recipient.next_attempt.as_deref().map(short_time);
            let next = next.map_or_else(String::new, |next| format!(", next attempt {next}"));
            let address = table::printable(&recipient.address);
            // That nobody did to the message: no happening tells it.
            let why = recipient.reply.as_deref().filter(|why| recipient.state == "held" && *why == REMOVED);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            text += &format!("now: {address} {}{why}{next}\n", recipient.state);
        }
        text += "(times are UTC)\n";
        text
    }

    fn head(&self) -> String {
        let Message { id, lane, class, sender, size_bytes, subject, tag, meta, recipients, .. } =
            &self.message;
        let line = |name: &str, value: &str| format!("{name:<9}{}\n", table::printable(value));
        let to: Vec<&str> = recipients.iter().map(|recipient| &*recipient.address).collect();
        let mut text = line("message", id);
        text += &line("from", if sender.is_empty() { "<> (a notice)" } else { sender });
        text += &line("to", &to.join(", "));
        text += &subject.as_deref().map(|subject| line("subject", subject)).unwrap_or_default();
        text += &line("size", &status::size(*size_bytes));
        text += &line("lane", &format!("{lane}, class {class}"));
        text += &tag.as_deref().map(|tag| line("tag", tag)).unwrap_or_default();
        for (name, value) in meta {
            text += &line("meta", &format!("{name} = {}", value.as_str().unwrap_or_default()));
        }
        let time = |name: &str, time: &Option<String>| {
            time.as_deref().map(|time| line(name, &short_time(time))).unwrap_or_default()
        };
        text += &time("send at", &self.release_at);
        text += &time("expires", &self.expires_at);
        text.push('\n');
        text
    }

    fn accepted(&self) -> String {
        let Self { client, helo, application, .. } = self;
        let Some(client) = client else { return "written by this relay".to_owned() };
        let login = application.as_deref().map(|name| format!(", logged in as {name}")).unwrap_or_default();
        table::printable(&format!("accepted from {client} (EHLO {helo}){login}"))
    }

    fn happened(&self, happening: &Happening) -> String {
        let Happening { recipient, kind, detail, .. } = happening;
        let standing = self.standings.iter().find(|standing| Some(standing.recipient) == *recipient);
        let whom = standing.map(|standing| format!("{}: ", standing.address)).unwrap_or_default();
        let what = match kind.as_str() {
            "deferred" => "put off",
            "held" => "held",
            "released" => "released",
            "retried" => "to be tried at once",
            "deleted" => "deleted",
            "rerouted" => "moved to another lane",
            "maybe_duplicate" => "may arrive twice",
            "noticed" => "sender told",
            "bounced_later" => "bounced later",
            "delayed_later" => "late, another server says",
            "auto_replied" => "answered by a machine",
            "salvaged" => "found again in the content files",
            other => other,
        };
        table::printable(&format!("{whom}{what}: {detail}"))
    }

    /// The end of a recipient's story; none while it goes on, or when an operator's deed tells it already.
    fn ended<'a>(&self, standing: &'a Standing) -> Option<(&'a str, String)> {
        let Standing { address, state, since, recipient } = standing;
        if !matches!(state.as_str(), "delivered" | "failed" | "expired" | "discarded") {
            return None;
        }
        // Numbers count in the whole message, of which other lanes may have a part.
        let place = self.standings.iter().position(|standing| standing.recipient == *recipient)?;
        let entry = self.message.recipients.get(place)?;
        let attempts = match entry.attempts {
            0 => String::new(),
            1 => " at the first attempt".to_owned(),
            many => format!(" at attempt {many}"),
        };
        let reply = entry.reply.as_deref().unwrap_or_default();
        Some((since, table::printable(&format!("{address}: {state}{attempts}: {reply}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_told_in_the_order_it_was_lived() {
        let story: Story = serde_json::from_value(serde_json::json!({
            "id": "1m82daf7z0000", "received_at": "2026-11-22T15:40:11.902Z", "lane": "shop", "class": "normal",
            "sender": "shop@shop.test", "size_bytes": 512, "subject": "Hello\u{1b}", "tag": null, "meta": {"order": "7"},
            "recipients": [
                {"address": "ana@x.test", "state": "delivered", "attempts": 2, "next_attempt": null, "reply": "250 ok"},
                {"address": "bob@x.test", "state": "deferred", "attempts": 1,
                 "next_attempt": "2026-11-22T16:00:00Z", "reply": "451 busy"}],
            "client": "127.0.0.1", "helo": "shop.test", "application": null, "done_at": null,
            "release_at": null, "expires_at": "2026-11-22T16:40:11Z",
            "standings": [
                {"recipient": 1, "address": "ana@x.test", "state": "delivered", "since": "2026-11-22T15:42:00Z"},
                {"recipient": 3, "address": "bob@x.test", "state": "deferred", "since": "2026-11-22T15:42:00Z"}],
            "happenings": [
                {"at": "2026-11-22T15:41:00Z", "recipient": 1, "kind": "deferred", "detail": "451 busy"},
                {"at": "2026-11-22T15:42:00Z", "recipient": 3, "kind": "deferred", "detail": "451 busy"},
                {"at": "2026-11-22T15:41:30Z", "recipient": null, "kind": "fell_back", "detail": "from a to b"}],
        }))
        .unwrap();
        let told = "\
message  1m82daf7z0000
from     shop@shop.test
to       ana@x.test, bob@x.test
subject  Hello\u{fffd}
size     512 B
lane     shop, class normal
meta     order = 7
expires  2026-11-22 16:40:11

2026-11-22 15:40:11  accepted from 127.0.0.1 (EHLO shop.test)
2026-11-22 15:41:00  ana@x.test: put off: 451 busy
2026-11-22 15:41:30  fell_back: from a to b
2026-11-22 15:42:00  bob@x.test: put off: 451 busy
2026-11-22 15:42:00  ana@x.test: delivered at attempt 2: 250 ok

now: ana@x.test delivered
now: bob@x.test deferred, next attempt 2026-11-22 16:00:00
(times are UTC)
";
        assert_eq!(story.in_words(), told);
    }
}
