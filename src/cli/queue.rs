//! `waystation queue`: look at what is queued, and change it.

use super::change::{Change, Release, Reroute};
use super::selection::{self, Message, array, each_message};
use super::{BAD_DATA, Done, Failure, NOT_ALLOWED, USAGE, control, load, owner, print, status, story, table};
use crate::admin::{Client, Request, Status};
use crate::clock::Clock;
use crate::config::nearest_first;
use crate::queue::{Adjust, Filter, Kept, LaneName, QueueError, QueueId, Salvaged, Spoilt, Unknown, salvage};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

// Options may stand before the verb, too: there they mean the same.
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
    /// Let held messages go; one that its client wants sent later at that time
    Release(Release),
    /// Try messages now instead of when they are due; one that its client wants sent later only when it is named by its id
    Retry(Change),
    /// Send messages by another smarthost
    Reroute(Reroute),
    /// Drop messages, or with --recipient and --state only those recipients of them; nobody is notified
    Delete(Change),
    /// Rebuild the index from the content files, when queue.db is lost or damaged (the daemon must be stopped)
    Salvage(Salvage),
}

#[derive(Debug, Args)]
struct Salvage {
    /// Send what nothing is known of, instead of holding it: it may have been delivered, held or deleted before
    #[arg(long)]
    send_unknown: bool,
}

#[derive(Debug, Args, Default)]
pub(super) struct Filters {
    /// Only this smarthost's
    #[arg(long)]
    lane: Option<String>,
    /// Only what has a recipient in these states: queued, deferred, held … Delete drops such recipients alone; all
    /// other changes take the whole message
    #[arg(long, value_name = "STATE,…")]
    state: Vec<String>,
    /// Only from this sender: an address, @domain, a pattern with *, or <>
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Only what has such a recipient: an address, @domain, or a pattern with *. Delete drops such recipients alone; all
    /// other changes take the whole message
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
pub(super) struct List {
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

    /// With those that stood before the verb; what is said at both places holds as it stands behind.
    pub(super) fn with(self, before: Self) -> Self {
        let state = if self.state.is_empty() { before.state } else { self.state };
        Self {
            lane: self.lane.or(before.lane),
            state,
            sender: self.sender.or(before.sender),
            recipient: self.recipient.or(before.recipient),
            older_than: self.older_than.or(before.older_than),
            tag: self.tag.or(before.tag),
            application: self.application.or(before.application),
        }
    }

    pub(super) fn filter(&self, ids: &[String]) -> Result<Filter, Failure> {
        Ok(Filter {
            ids: selection::ids(ids)?,
            lane: selection::lane(self.lane.as_ref()),
            states: selection::states(&self.state)?,
            // As an envelope has it: nothing between the brackets.
            sender: self
                .sender
                .as_deref()
                .map(|sender| if sender.is_empty() { "<>" } else { sender }.to_owned()),
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
        let Self { verb, list: before } = self;
        match verb {
            None => before.run(config),
            Some(Verb::List(list)) => list.with(before).run(config),
            Some(Verb::Hold(change)) => change.with(before).run(config, &Adjust::Hold),
            Some(Verb::Release(release)) => release.with(before).run(config),
            Some(Verb::Retry(change)) => change.with(before).run(config, &Adjust::Retry),
            Some(Verb::Reroute(reroute)) => reroute.with(before).run(config),
            Some(Verb::Delete(change)) => change.with(before).run(config, &Adjust::Delete),
            Some(Verb::Show(_) | Verb::Salvage(_)) if !before.filters.is_empty() => {
                Err(Failure::new(USAGE, "waystation queue: show and salvage take no filter; leave it out"))
            }
            Some(Verb::Show(Show { id, json })) => show(&id, json || before.json, config),
            Some(Verb::Salvage(_)) if before.json => {
                Err(Failure::new(USAGE, "waystation queue: salvage knows no --json; leave it out"))
            }
            Some(Verb::Salvage(salvage)) => salvage.run(config),
        }
    }
}

impl List {
    /// With the options that stood before the verb.
    fn with(self, before: Self) -> Self {
        Self { filters: self.filters.with(before.filters), json: self.json || before.json }
    }

    /// What they say, apart.
    pub(super) fn into_parts(self) -> (Filters, bool) {
        (self.filters, self.json)
    }

    fn run(&self, config: Option<&Path>) -> Done {
        let filter = self.filters.filter(&[])?;
        let mut client = control::client(config)?;
        if self.json {
            let mut none = true;
            array(&mut client, &filter, |text| {
                none = text == "[]\n";
                print(text);
                Ok(())
            })?;
            return if none { doubt_names(&mut client, &filter) } else { Ok(()) };
        }
        let mut rows = Vec::new();
        each_message(&mut client, &filter, |message| {
            rows.extend(listed(&selection::told(message)?.only(&filter)));
            Ok(())
        })?;
        if rows.is_empty() {
            print("no messages\n");
            doubt_names(&mut client, &filter)?;
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

/// Where nothing was found by a name that neither the configuration nor the journal knows, a line says which there are.
pub(super) fn doubt_names(client: &mut Client, filter: &Filter) -> Done {
    if let Some(asked) = &filter.lane {
        let by_lane = Filter { lane: Some(asked.clone()), ..Filter::default() };
        let status: Status = client.ask(&Request::Status)?;
        let known: Vec<String> = status.lanes.into_iter().map(|lane| lane.lane).collect();
        doubt(client, "--lane", "lane", asked.as_str(), &known, by_lane)?;
    }
    if let Some(asked) = &filter.application {
        let by_application = Filter { application: Some(asked.clone()), ..Filter::default() };
        let known: Vec<String> = client.ask(&Request::Applications)?;
        doubt(client, "--application", "application", asked, &known, by_application)?;
    }
    Ok(())
}

fn doubt(
    client: &mut Client,
    option: &str,
    kind: &str,
    asked: &str,
    known: &[String],
    filter: Filter,
) -> Done {
    if known.iter().any(|known| known == asked) || selection::is_any(client, filter)? {
        return Ok(());
    }
    let known = nearest_first(asked, known.iter().map(String::as_str));
    let known =
        if known.is_empty() { "there is none".into() } else { format!("there are: {}", known.join(", ")) };
    eprintln!(
        "waystation: {option} {asked}: no {kind} of this name is configured or in the journal; {known}"
    );
    Ok(())
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

/// Those of these ids that neither the queue nor the journal knows.
pub(super) fn unknown(client: &mut Client, ids: &[QueueId]) -> Result<Vec<QueueId>, Failure> {
    let mut unknown = ids.to_vec();
    if !ids.is_empty() {
        each_message(client, &Filter { ids: ids.to_vec(), ..Filter::default() }, |message| {
            let found = message.get("id").and_then(Value::as_str);
            unknown.retain(|id| found.is_none_or(|found| id.to_string() != found));
            Ok(())
        })?;
    }
    Ok(unknown)
}

pub(super) fn no_such(unknown: &[QueueId]) -> Done {
    if unknown.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let text = format!("waystation: {}: no such message in the queue or the journal", ids.join(", "));
    Err(Failure::new(BAD_DATA, text))
}

pub(super) fn counted(count: u64) -> String {
    if count == 1 { "1 message".into() } else { format!("{count} messages") }
}

impl Salvage {
    fn run(&self, config: Option<&Path>) -> Done {
        let loaded = load(config, false)?;
        let unknown = if self.send_unknown { Unknown::Send } else { Unknown::Hold };
        let events = loaded.config.events.endpoint.iter().map(|endpoint| endpoint.name.as_str());
        let inboxes = loaded.config.inboxes.keys().map(String::as_str);
        let endpoints: Vec<LaneName> = events.chain(inboxes).map(LaneName::new).collect();
        let state_dir = &loaded.config.state_dir;
        let is_root = rustix::process::geteuid().is_root();
        owner::work_as(state_dir).map_err(|cause| {
            let text = format!("waystation: as the owner of {}: {cause}", state_dir.display());
            Failure::new(NOT_ALLOWED, text)
        })?;
        let salvaged = salvage(state_dir, unknown, &endpoints, &Clock::system())
            .map_err(|cause| Failure::new(cause.exit_code(), refusal(&cause, is_root)))?;
        print(&found(&salvaged));
        Ok(())
    }
}

/// Why nothing could be salvaged. What keeps a user out whose folder it isn't is no reason to change whose it is.
fn refusal(cause: &QueueError, was_root: bool) -> String {
    match cause {
        QueueError::Owner { path, owner, .. } if !was_root => {
            let path = path.display();
            format!(
                "waystation: {path} belongs to user {owner}; run this as root, which works as that user then"
            )
        }
        QueueError::Io { path, cause } if !was_root && cause.kind() == ErrorKind::PermissionDenied => {
            let path = path.display();
            format!("waystation: {path}: {cause}; run this as root, which works as the folder's owner then")
        }
        _ => format!("waystation: {cause}"),
    }
}

/// What was found, and what is left to do.
fn found(salvaged: &Salvaged) -> String {
    let Salvaged { queued, held, unknown, done, journal, spoilt, had_index, log_damaged, damaged, .. } =
        salvaged;
    let Salvaged { named, old_index, kept, kept_files, unkept, unread, .. } = salvaged;
    let mut text = format!(
        "{} found in the content files: {queued} queued again, {held} held as before, {unknown} held because nothing \
         tells what became of them, {done} done\n",
        counted(queued + held + unknown + done)
    );
    if *damaged > 0 {
        text += &format!("{damaged} damaged stretches passed over\n");
    }
    if *kept_files > 0 {
        let files = if *kept_files == 1 { "1 file".to_owned() } else { format!("{kept_files} files") };
        text += &format!("{files} with damage kept as *.damaged\n");
    }
    for (path, why) in unkept {
        let path = path.display();
        text +=
            &format!("{path} couldn't be kept as *.damaged: {why}; copy it now if a closer look is wanted\n");
    }
    for (path, why) in unread {
        text += &format!("{} can't be read, and is left as it is: {why}\n", path.display());
    }
    if *journal > 0 {
        text +=
            &format!("kept in the journal: {} more whose content has gone, as it does\n", counted(*journal));
    }
    text += &lost(*spoilt, named);
    text += &match old_index {
        Some(old) if *had_index => format!("the old index was asked, and is now {}\n", old.display()),
        Some(old) => format!("the old index can't be read at all, and is now {}\n", old.display()),
        None => "there was no old index to ask\n".to_owned(),
    };
    if *log_damaged {
        text += "the end of its log is damaged or gone, so that what happened last isn't known: what waited before that is held, for it may have been delivered, held or deleted then (--send-unknown sends it)\n";
    }
    text += &beside_mail(kept, *had_index);
    if *unknown > 0 {
        text += "the content files alone don't tell whether a message was delivered, held or deleted: look at them with \
                 `waystation queue list --state held`, send with `queue release`, drop with `queue delete`\n";
    }
    if *unknown > 0 {
        text += "an inbox's message that is released is read again: its event gets a new webhook-id and number, and may be a second one\n";
    }
    if *queued > 0 {
        text += "what left just before the damage, and isn't known to have left, will arrive a second time\n";
    }
    text
}

/// Whose content is lost, so that somebody can ask for it again.
fn lost(spoilt: u64, named: &[Spoilt]) -> String {
    if spoilt == 0 {
        return String::new();
    }
    let mut text = format!(
        "{} that waited, as far as is known, and whose content is damaged or gone: held with the reason, to be asked for again \
         or dropped (`waystation queue delete`):\n",
        counted(spoilt)
    );
    for Spoilt { id, sender, recipients } in named {
        let sender = sender.as_deref().unwrap_or_default();
        text += &format!("    {id} from <{sender}> to {}\n", recipients.join(", "));
    }
    let more = spoilt.saturating_sub(named.len() as u64);
    if more > 0 {
        text += &format!("    and {more} more: `waystation queue list --state held`\n");
    }
    text
}

/// What became of that which no content file knows.
fn beside_mail(kept: &Kept, had_index: bool) -> String {
    let Kept { waiting, bodiless, closed, conversations, verifications, mailboxes, damaged, seq_from } = kept;
    let mut text = if had_index {
        format!(
            "kept from the old index: {} to be posted and {closed} posted or given up before, {conversations} conversations, \
             {verifications} questions of providers, arrivals of {mailboxes} mailboxes\n",
            if *waiting == 1 { "1 event".to_owned() } else { format!("{waiting} events") }
        )
    } else {
        "lost with the old index: kept events, conversations and what mailboxes sent, questions of providers, arrivals of \
         forwarded mail, and what counts against limits\n"
            .to_owned()
    };
    if !damaged.is_empty() {
        text += &format!("not all of it can be read, and what can't is lost: {}\n", damaged.join(", "));
    }
    if *bodiless > 0 {
        text += &format!("{bodiless} of the events to be posted have lost their body and will be given up\n");
    }
    if let Some(number) = seq_from {
        text += &format!(
            "nothing tells which numbers (seq) events were given last: new ones are numbered from {number} on, above all of them\n"
        );
    }
    text
}
