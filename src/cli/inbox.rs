//! `waystation inbox`: the mailboxes that forward here, providers' questions about it, and whether forwarding works.

use super::queue::short_time;
use super::{BAD_DATA, Done, Failure, OUR_BUG, TRY_LATER, UNAVAILABLE, control, print, selection, table};
use crate::admin::inboxes::{Fetched, MailboxStatus, Probed};
use crate::admin::{Client, InboxRequest, Request, Status};
use crate::config::units;
use crate::queue::{QueueId, State, Verification};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a probe is looked for.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Inbox {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Each mailbox: where it is to forward to, its last mail, whether it is silent
    List(Plain),
    /// Providers' questions whether a mailbox may forward here
    Verifications(Verifications),
    /// Print an attachment that an event left out, decoded
    Attachment(Attachment),
    /// Send a letter through a mailbox's smarthost to the mailbox, and wait until it comes back
    Test(Test),
}

#[derive(Debug, Args)]
struct Attachment {
    /// Its id, as the event has it
    id: String,
    /// Into a file instead of standard output; - is standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Plain {
    /// One array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Verifications {
    #[command(subcommand)]
    verb: Option<Look>,
    /// One array
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Look {
    /// Print a question's link or code, and mark it as opened
    Open {
        /// Its id
        id: QueueId,
    },
}

#[derive(Debug, Args)]
struct Test {
    /// The mailbox's name: see `waystation inbox list`
    mailbox: String,
    /// Give up after so long; then the exit code is 75
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = selection::limit)]
    timeout: Duration,
}

impl Inbox {
    pub(super) fn run(self, config: Option<&Path>) -> Done {
        match self.verb {
            Verb::List(Plain { json }) => list(json, config),
            Verb::Verifications(Verifications { verb: None, json }) => verifications(json, config),
            Verb::Verifications(Verifications { verb: Some(Look::Open { id }), json }) => {
                open(id, json, config)
            }
            Verb::Attachment(Attachment { id, output }) => {
                attachment(&id, selection::output(output.as_deref()), config)
            }
            Verb::Test(test) => test.run(config),
        }
    }
}

fn list(json: bool, config: Option<&Path>) -> Done {
    let all: Vec<MailboxStatus> = control::client(config)?.ask(&Request::Inbox(InboxRequest::List))?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default()));
        return Ok(());
    }
    if all.is_empty() {
        print("no mailboxes\n");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let usual = one.usual_interval_seconds.map(roughly);
            vec![
                one.mailbox.clone(),
                one.address.clone(),
                one.forward_to.clone(),
                shown(one.last_received_at),
                usual.unwrap_or_default(),
                silence(one),
            ]
        })
        .collect();
    let header = ["MAILBOX", "ADDRESS", "FORWARDS TO", "LAST MAIL", "USUALLY EACH", "SILENT"];
    print(&table::aligned(&header, &rows));
    Ok(())
}

/// Since when it is silent, else when it was the last time.
fn silence(one: &MailboxStatus) -> String {
    match (one.silent_since, &one.last_silence) {
        (Some(since), _) => format!("since {}", shown(Some(since))),
        (None, Some(last)) => format!("was, {} to {}", shown(Some(last.since)), shown(Some(last.ended_at))),
        (None, None) => String::new(),
    }
}

/// A stretch of time, roughly.
fn roughly(seconds: i64) -> String {
    match seconds / 60 {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes @ 120..2_880 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 1_440),
    }
}

fn shown(time: Option<Timestamp>) -> String {
    time.map(|time| short_time(&time.to_string())).unwrap_or_default()
}

fn verifications(json: bool, config: Option<&Path>) -> Done {
    let request = Request::Inbox(InboxRequest::Verifications);
    let all: Vec<Verification> = control::client(config)?.ask(&request)?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default()));
        return Ok(());
    }
    if all.is_empty() {
        print("no provider has asked\n");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                one.id.to_string(),
                one.inbox.clone(),
                one.provider.clone(),
                table::printable(one.requested_by.as_deref().unwrap_or_default()),
                word(one),
                shown(Some(one.received_at)),
                shown(one.next_attempt),
                table::printable(one.answer.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    let header = ["ID", "INBOX", "PROVIDER", "ACCOUNT", "STATE", "ASKED", "NEXT", "ANSWER"];
    print(&table::aligned(&header, &rows));
    Ok(())
}

/// Its state as the event says it.
fn word(question: &Verification) -> String {
    let state = serde_json::to_value(question.state).unwrap_or_default();
    state.as_str().unwrap_or_default().to_owned()
}

fn open(id: QueueId, json: bool, config: Option<&Path>) -> Done {
    let request = Request::Inbox(InboxRequest::Open { id });
    let found: Option<Verification> = control::client(config)?.ask(&request)?;
    let Some(question) = found else {
        return Err(Failure::new(BAD_DATA, format!("waystation: {id}: no provider asked by that message")));
    };
    if question.links.is_empty() && question.code.is_none() {
        let why = table::printable(question.answer.as_deref().unwrap_or_default());
        let text = format!("waystation: {id}: there is nothing to open: {} ({why})", word(&question));
        return Err(Failure::new(BAD_DATA, text));
    }
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&[&question]).unwrap_or_default()));
        return Ok(());
    }
    for link in &question.links {
        print(&format!("link: {}\n", table::printable(link)));
    }
    if let Some(code) = &question.code {
        print(&format!("code: {}\n", table::printable(code)));
    }
    Ok(())
}

fn attachment(id: &str, output: Option<&Path>, config: Option<&Path>) -> Done {
    let request = Request::Inbox(InboxRequest::Attachment { id: id.to_owned() });
    let found: Fetched = control::client(config)?.ask(&request)?;
    let odd = || Failure::new(OUR_BUG, format!("waystation: {id}: the daemon's answer is no base64"));
    let content = STANDARD.decode(&found.content).map_err(|_| odd())?;
    let written = match output {
        Some(path) => std::fs::write(path, &content),
        None => std::io::stdout().write_all(&content).and_then(|()| std::io::stdout().flush()),
    };
    written.map_err(|cause| {
        let place = output.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        Failure::new(UNAVAILABLE, format!("waystation: {place}: {cause}"))
    })
}

impl Test {
    /// 0: it came back; 65: at the wrong place, or as a bounce; 69: the smarthost refused it, or waits for an admin; 75: not in time.
    fn run(&self, config: Option<&Path>) -> Done {
        let begun = Instant::now();
        let mut client = control::client(config)?;
        let test = InboxRequest::Test { mailbox: self.mailbox.clone() };
        let token: String = client.ask(&Request::Inbox(test))?;
        let mut told_sent = false;
        let mut latest = String::new();
        loop {
            let probe = InboxRequest::Probe { token: token.clone() };
            let probed: Option<Probed> = client.ask(&Request::Inbox(probe))?;
            let Some(Probed { probe, sent }) = probed else {
                return Err(Failure::new(BAD_DATA, "waystation: the probe was forgotten"));
            };
            if latest.is_empty() {
                print(&format!("{} kept as {}\n", short_time(&probe.sent_at.to_string()), probe.message));
                "not sent yet".clone_into(&mut latest);
            }
            if let Some(sent) = &sent {
                let reply = table::printable(sent.reply.as_deref().unwrap_or_default());
                match sent.state {
                    State::Delivered if !told_sent => {
                        print(&format!("{} the smarthost took it: {reply}\n", shown(sent.done_at)));
                        told_sent = true;
                        "the smarthost took it; it didn't come back: is forwarding on, and to the address that \
                         `waystation inbox list` shows?"
                            .clone_into(&mut latest);
                    }
                    State::Failed | State::Expired | State::Deleted | State::Discarded => {
                        let why = format!("waystation: the smarthost didn't take it: {reply}");
                        return Err(Failure::new(UNAVAILABLE, why));
                    }
                    State::Deferred => latest = format!("the smarthost says later: {reply}"),
                    State::Held => latest = format!("it is held: {reply}"),
                    State::Queued => latest = waits(&mut client, &sent.lane)?,
                    State::Delivered => {}
                }
            }
            for hop in probe.trace.iter().rev() {
                print(&format!("  hop: {}\n", table::printable(hop)));
            }
            if let Some(astray) = &probe.astray {
                return Err(Failure::new(BAD_DATA, format!("waystation: {}", table::printable(astray))));
            }
            if let Some(returned) = probe.returned_at {
                let seconds = returned.duration_since(probe.sent_at).as_secs();
                print(&format!("{} back at the inbox after {seconds} s\n", shown(Some(returned))));
                return Ok(());
            }
            if begun.elapsed() >= self.timeout {
                let limit = units::show_duration(self.timeout);
                let why = format!("waystation: not back after {limit}: {latest}");
                return Err(Failure::new(TRY_LATER, why));
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What a letter waits for that wasn't sent yet, in words.
///
/// # Errors
/// When it waits for an admin.
fn waits(client: &mut Client, name: &str) -> Result<String, Failure> {
    let status: Status = client.ask(&Request::Status)?;
    let Some(lane) = status.lanes.into_iter().find(|lane| lane.lane == name) else {
        return Ok("not sent yet".to_owned());
    };
    let why = [lane.reason, lane.advice].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let why = if why.is_empty() { why } else { format!(": {}", table::printable(&why)) };
    match lane.state.as_str() {
        "flowing" if lane.quota_left == Some(0) => {
            let next = lane.next_due.map(|next| format!(" before {}", short_time(&next))).unwrap_or_default();
            Ok(format!("not sent yet: smarthost.{name} has used up its limit; nothing goes{next}"))
        }
        "flowing" => Ok("not sent yet".to_owned()),
        "stopped" => Ok(format!("not sent yet: smarthost.{name} is stopped{why}")),
        state => Err(Failure::new(
            UNAVAILABLE,
            format!("waystation: the letter waits in the queue: smarthost.{name} is {state}{why}"),
        )),
    }
}
