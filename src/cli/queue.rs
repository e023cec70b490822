//! `waystation queue`: look at what is queued, and change it.

use super::change::{Change, Reroute};
use super::selection::{self, Message, each_message, print_array};
use super::{Done, Failure, USAGE, control, load, print, status, story, table};
use crate::clock::Clock;
use crate::queue::{Adjust, Filter, salvage};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct Queue {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List queued messages (the default)
    List(List),
    /// Show one message and what happened to it
    Show(Show),
    /// Keep messages back until they are released
    Hold(Change),
    /// Let held messages go
    Release(Change),
    /// Try messages now instead of when they are due
    Retry(Change),
    /// Send messages by another smarthost
    Reroute(Reroute),
    /// Drop messages, also before the time they are to leave at; nobody is notified
    Delete(Change),
    /// Rebuild the index from the content files, when queue.db is lost or damaged (the daemon must be stopped)
    Salvage,
}

#[derive(Debug, Args, Default)]
pub(super) struct Filters {
    /// Only this smarthost's
    #[arg(long)]
    lane: Option<String>,
    /// Only recipients in these states: queued, deferred, held …
    #[arg(long, value_name = "STATE,…")]
    state: Vec<String>,
    /// Only from this sender: an address, @domain, a pattern with *, or <>
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Only to this recipient: an address, @domain, or a pattern with *
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Only those accepted longer ago than this
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
    /// Only with this X-Waystation-Tag
    #[arg(long)]
    tag: Option<String>,
    /// Only what this application handed in
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
}

#[derive(Debug, Args, Default)]
struct List {
    #[command(flatten)]
    filters: Filters,
    /// One array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The message's id
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Filters {
    pub(super) fn is_empty(&self) -> bool {
        let Self { lane, state, sender, recipient, older_than, tag, application } = self;
        let texts = [lane, sender, recipient, older_than, tag, application];
        state.is_empty() && texts.iter().all(|text| text.is_none())
    }

    pub(super) fn filter(&self, ids: &[String]) -> Result<Filter, Failure> {
        Ok(Filter {
            ids: selection::ids(ids)?,
            lane: selection::lane(self.lane.as_ref()),
            states: selection::states(&self.state)?,
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            before: self.older_than.as_deref().map(|age| selection::ago(age, "--older-than")).transpose()?,
            tag: self.tag.clone(),
            application: self.application.clone(),
            open: true,
            ..Filter::default()
        })
    }
}

impl Queue {
    pub(super) fn run(self, config: Option<&Path>) -> Done {
        if self.verb.is_some() && (self.list.json || !self.list.filters.is_empty()) {
            return Err(Failure::new(
                USAGE,
                "waystation queue: put options behind the verb: queue list --json",
            ));
        }
        match self.verb.unwrap_or(Verb::List(self.list)) {
            Verb::List(list) => list.run(config),
            Verb::Show(Show { id, json }) => show(&id, json, config),
            Verb::Hold(change) => change.run(config, &Adjust::Hold),
            Verb::Release(change) => change.run(config, &Adjust::Release),
            Verb::Retry(change) => change.run(config, &Adjust::Retry),
            Verb::Reroute(reroute) => reroute.run(config),
            Verb::Delete(change) => change.run(config, &Adjust::Delete),
            Verb::Salvage => salvage_state(config),
        }
    }
}

impl List {
    fn run(&self, config: Option<&Path>) -> Done {
        let filter = self.filters.filter(&[])?;
        let mut client = control::client(config)?;
        if self.json {
            return print_array(&mut client, &filter);
        }
        let mut rows = Vec::new();
        each_message(&mut client, &filter, |message| {
            rows.extend(listed(&selection::told(message)?));
            Ok(())
        })?;
        if rows.is_empty() {
            print("no messages\n");
        } else {
            let header = [
                "ID",
                "RECEIVED",
                "LANE",
                "CLASS",
                "SIZE",
                "SENDER",
                "RECIPIENT",
                "STATE",
                "TRIES",
                "NEXT",
                "REPLY",
            ];
            print(&table::aligned(&header, &rows));
        }
        Ok(())
    }
}

/// One row for each recipient.
fn listed(message: &Message) -> Vec<Vec<String>> {
    let Message { id, received_at, lane, class, sender, size_bytes, recipients, .. } = message;
    let sender = if sender.is_empty() { "<>" } else { sender };
    recipients
        .iter()
        .map(|recipient| {
            vec![
                id.clone(),
                short_time(received_at),
                lane.clone(),
                class.clone(),
                status::size(*size_bytes),
                table::printable(sender),
                table::printable(&recipient.address),
                recipient.state.clone(),
                recipient.attempts.to_string(),
                recipient.next_attempt.as_deref().map(short_time).unwrap_or_default(),
                table::printable(recipient.reply.as_deref().unwrap_or_default()),
            ]
        })
        .collect()
}

/// To the second, in UTC as told.
pub(super) fn short_time(time: &str) -> String {
    let (date, rest) = time.split_once('T').unwrap_or((time, ""));
    format!("{date} {}", rest.get(..8).unwrap_or(rest))
}

fn show(id: &str, json: bool, config: Option<&Path>) -> Done {
    let life = story::life(id, config)?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&Value::Array(vec![life])).unwrap_or_default()));
    } else {
        print(&shown(&life));
    }
    Ok(())
}

/// Every field on a line, recipients and happenings below.
fn shown(life: &Value) -> String {
    let mut text = String::new();
    let Some(fields) = life.as_object() else { return text };
    for (name, value) in fields {
        let plain = match value {
            Value::Null => continue,
            Value::Array(items) => {
                text += &format!("{name}:\n");
                for item in items {
                    let cells = item.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
                    let cells: Vec<String> =
                        cells.map(|(name, value)| format!("{name} {}", bare(value))).collect();
                    text += &format!("  {}\n", table::printable(&cells.join("  ")));
                }
                continue;
            }
            value => bare(value),
        };
        text += &format!("{name}: {}\n", table::printable(&plain));
    }
    text
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn counted(count: u64) -> String {
    if count == 1 { "1 message".into() } else { format!("{count} messages") }
}

fn salvage_state(config: Option<&Path>) -> Done {
    let loaded = load(config, false)?;
    let salvaged = salvage(&loaded.config.state_dir, &Clock::system())
        .map_err(|cause| Failure::new(cause.exit_code(), format!("waystation: {cause}")))?;
    print(&format!(
        "{} queued again, {} known to be done, {} damaged stretches passed over\n",
        counted(salvaged.queued),
        salvaged.done,
        salvaged.damaged
    ));
    if let Some(old) = &salvaged.old_index {
        print(&format!("the old index is now {}\n", old.display()));
    }
    if salvaged.queued > 0 {
        print("what had been delivered already, and isn't known to be, will arrive a second time\n");
    }
    Ok(())
}
