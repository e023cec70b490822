//! `waystation journal`: what happened to every message, also after it is gone.

use super::selection::{self, Message, each_message, print_array};
use super::{BAD_DATA, Done, Failure, UNAVAILABLE, control, print, table};
use crate::queue::Filter;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

const HEADER: [&str; 13] = [
    "id",
    "received_at",
    "lane",
    "class",
    "sender",
    "size_bytes",
    "subject",
    "tag",
    "recipient",
    "state",
    "attempts",
    "next_attempt",
    "reply",
];

#[derive(Debug, Args)]
pub(super) struct Journal {
    /// Accepted then or later: 2026-11-22, "2026-11-22 14:00", RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Sender, recipient or subject contains this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    /// X-Waystation-Tag was this
    #[arg(long)]
    tag: Option<String>,
    /// Only recipients in these states: delivered, failed …
    #[arg(long, value_name = "STATE,…")]
    state: Vec<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Into a file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

impl Journal {
    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        let filter = Filter {
            since: self.since.as_deref().map(|time| selection::moment(time, "--since")).transpose()?,
            before: self.until.as_deref().map(|time| selection::moment(time, "--until")).transpose()?,
            text: self.matching.clone(),
            tag: self.tag.clone(),
            states: selection::states(&self.state)?,
            ..Filter::default()
        };
        let mut client = control::client(config)?;
        let format = if self.json { Format::Json } else { self.format };
        if format == Format::Json && self.output.is_none() {
            return print_array(&mut client, &filter);
        }
        let mut messages = Vec::new();
        each_message(&mut client, &filter, |message| {
            messages.push(message);
            Ok(())
        })?;
        let text = match format {
            Format::Json => format!("{}\n", serde_json::to_string_pretty(&messages).unwrap_or_default()),
            Format::Csv => table::csv(&HEADER, &rows(messages)?),
            Format::Table => table::aligned(&HEADER.map(|name| name), &rows(messages)?),
        };
        match &self.output {
            None => print(&text),
            Some(path) => std::fs::write(path, text).map_err(|cause| {
                Failure::new(UNAVAILABLE, format!("waystation: --output {}: {cause}", path.display()))
            })?,
        }
        Ok(())
    }
}

/// One row for each recipient.
fn rows(messages: Vec<serde_json::Value>) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    for message in messages {
        let message: Message = serde_json::from_value(message).map_err(|cause| {
            Failure::new(BAD_DATA, format!("waystation: an entry can't be read: {cause}"))
        })?;
        for recipient in &message.recipients {
            let cells = [
                message.id.as_str(),
                &message.received_at,
                &message.lane,
                &message.class,
                &message.sender,
                &message.size_bytes.to_string(),
                message.subject.as_deref().unwrap_or_default(),
                message.tag.as_deref().unwrap_or_default(),
                &recipient.address,
                &recipient.state,
                &recipient.attempts.to_string(),
                recipient.next_attempt.as_deref().unwrap_or_default(),
                recipient.reply.as_deref().unwrap_or_default(),
            ];
            rows.push(cells.map(table::printable).to_vec());
        }
    }
    Ok(rows)
}
