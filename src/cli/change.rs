//! `waystation queue hold`, `release`, `retry`, `reroute` and `delete`: what would be touched is shown first, and on a
//! terminal it is asked for.
//!
//! Ids say exactly what is meant, so that they are never asked about. A filter may mean more than its author thinks: on
//! a terminal every change by filter is asked for; elsewhere nobody can answer, and what can't be taken back (`delete`,
//! and `reroute`, which sends by another account at once) needs `--yes`.
//!
//! A filter by recipient or state means open recipients. `delete` drops these alone; a message is held, released, retried and
//! moved as a whole, and how many others go along is told.

use super::queue::{Filters, List, counted, doubt_names, no_such, unknown};
use super::selection::{self, Message, Recipient, each_message};
use super::{Done, Failure, USAGE, control, print, table};
use crate::admin::{Client, LaneStatus, Request, Status};
use crate::config::units::show_size;
use crate::deliver::target;
use crate::inbox::addresses;
use crate::queue::{Adjust, Adjusted, Filter, LaneName, QueueId, State};
use clap::Args;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Messages asked about at once.
const AT_ONCE: usize = 1000;
/// Messages that a preview shows one by one.
const SHOWN: usize = 5;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct Change {
    /// Messages by id
    ids: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// Every queued message
    #[arg(long)]
    all: bool,
    /// Don't ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// Show what would be touched, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// One array of the ids
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Release {
    /// For held mail to an inbox: the mailbox it is of
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    #[command(flatten)]
    change: Change,
}

impl Release {
    pub(super) fn with(self, before: List) -> Self {
        Self { change: self.change.with(before), ..self }
    }

    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        let action = self.mailbox.clone().map_or(Adjust::Release, Adjust::Assign);
        self.change.run(config, &action)
    }
}

#[derive(Debug, Args)]
pub(super) struct Reroute {
    /// The smarthost they leave by from now on
    #[arg(long, value_name = "SMARTHOST")]
    to: String,
    #[command(flatten)]
    change: Change,
}

impl Reroute {
    pub(super) fn with(self, before: List) -> Self {
        Self { change: self.change.with(before), ..self }
    }

    pub(super) fn run(&self, config: Option<&Path>) -> Done {
        self.change.run(config, &Adjust::Reroute(LaneName::new(&self.to)))
    }
}

impl Change {
    /// With the options that stood before the verb.
    pub(super) fn with(self, before: List) -> Self {
        let (filters, json) = before.into_parts();
        Self { filters: self.filters.with(filters), json: self.json || json, ..self }
    }

    pub(super) fn run(&self, config: Option<&Path>, action: &Adjust) -> Done {
        if self.ids.is_empty() && self.filters.is_empty() && !self.all {
            return Err(Failure::new(USAGE, "waystation: which messages? Give ids, a filter, or --all"));
        }
        let mut filter = self.filters.filter(&self.ids)?;
        let mut client = control::client(config)?;
        if let Adjust::Reroute(to) = action {
            must_be_smarthost(&mut client, to)?;
            // What is too big for it stays where it is: there it would bounce at once.
            filter.up_to = client.ask(&Request::MaxSize { lane: to.clone() })?;
        }
        let by_filter = self.ids.is_empty();
        if self.dry_run || by_filter && !self.yes {
            // What comes in while somebody reads the preview isn't meant.
            filter.before = Some(filter.before.unwrap_or(Timestamp::MAX).min(Timestamp::now()));
            let preview = Preview::of(&mut client, &filter, action)?;
            if self.dry_run && preview.count == 0 {
                doubt_names(&mut client, &filter)?;
            }
            if self.dry_run && self.json {
                print(&preview.ids());
                return Ok(());
            }
            if self.dry_run {
                let lent = Lent::of(&mut client, &filter, action)?;
                let waiting = still_waiting(&mut client, action, &preview.lanes(action), &lent)?;
                print(&format!("{}{}", preview.in_words(action), wait_in_words(&waiting, action)));
                print(&no_probe(&mut client, &filter, action)?);
                print(&self.unchanged(&mut client, &filter, action, &preview.ids.into_iter().collect())?);
                return Ok(());
            }
            if preview.count > 0 {
                let shown = preview.in_words(action);
                let left =
                    self.unchanged(&mut client, &filter, action, &preview.ids.into_iter().collect())?;
                if !may_go_on(&(shown + &left), action)? {
                    print("nothing changed\n");
                    return Ok(());
                }
            }
        }
        let unknown = unknown(&mut client, &filter.ids)?;
        let lent = Lent::of(&mut client, &filter, action)?;
        let request = Request::Adjust { filter: filter.clone(), action: action.clone() };
        let adjusted: Adjusted = client.ask(&request)?;
        if adjusted.count == 0 {
            doubt_names(&mut client, &filter)?;
        }
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&adjusted.ids).unwrap_or_default()));
            return no_such(&unknown);
        }
        let waiting = still_waiting(&mut client, action, &adjusted.lanes, &lent)?;
        let not_now =
            adjusted.in_flight + adjusted.expired + waiting.iter().map(|one| one.count).sum::<u64>();
        let changed = adjusted.count.saturating_sub(not_now);
        if changed > 0 || not_now == 0 {
            print(&format!("{} {}\n", counted(changed), done(action)));
        }
        print(&wait_in_words(&waiting, action));
        print(&no_probe(&mut client, &filter, action)?);
        if adjusted.expired > 0 {
            let s = if adjusted.expired == 1 { "s" } else { "" };
            let why = expired_while_held(adjusted.expired);
            print(&format!("{} expire{s} now instead of being sent: {why}\n", counted(adjusted.expired)));
        }
        print(&with_others(adjusted.others, action));
        if adjusted.in_flight > 0 {
            let what = if *action == Adjust::Retry { "tried again".to_owned() } else { done(action) };
            let it = if adjusted.in_flight == 1 { "it" } else { "them" };
            print(&format!(
                "{} on the wire now: {what} when the attempt ends, unless that delivers {it}\n",
                counted(adjusted.in_flight)
            ));
        }
        let changed = adjusted.ids.iter().map(ToString::to_string).collect();
        print(&self.unchanged(&mut client, &filter, action, &changed)?);
        no_such(&unknown)
    }

    /// In words, why messages that were named aren't among the changed, and how many each time; of those that a filter means,
    /// what another try isn't for, and what is too big for the smarthost that they are moved to.
    fn unchanged(
        &self,
        client: &mut Client,
        filter: &Filter,
        action: &Adjust,
        changed: &HashSet<String>,
    ) -> Result<String, Failure> {
        let mut left: Vec<QueueId> = Vec::new();
        for id in self.ids.iter().filter(|id| !changed.contains(*id)) {
            left.push(selection::id(id)?);
        }
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        let may_be_held = filter.states.is_empty() || filter.states.contains(&State::Held);
        let wide = match action {
            Adjust::Retry | Adjust::Release if may_be_held => {
                Some(Filter { states: vec![State::Held], ..filter.clone() })
            }
            Adjust::Reroute(_) if filter.up_to.is_some() => Some(Filter { up_to: None, ..filter.clone() }),
            _ => None,
        };
        let is_left = |message: &Message| match action {
            Adjust::Retry => is_held(message),
            Adjust::Release => lacks_smarthost(message),
            _ => {
                applies(action, message)
                    && is_too_big(filter, message)
                    && message.recipients.iter().any(is_open)
            }
        };
        if let Some(wide) = wide.filter(|_| self.ids.is_empty()) {
            each_message(client, &wide, |message| {
                let message = selection::told(message)?.only(&wide);
                if is_left(&message) && !changed.contains(&message.id) {
                    *reasons.entry(why_unchanged(action, filter, &message)).or_default() += 1;
                }
                Ok(())
            })?;
        }
        for ids in left.chunks(AT_ONCE) {
            let named = Filter { ids: ids.to_vec(), ..Filter::default() };
            each_message(client, &named, |message| {
                *reasons.entry(why_unchanged(action, filter, &selection::told(message)?)).or_default() += 1;
                Ok(())
            })?;
        }
        let line = |(why, count): (String, u64)| format!("{} not changed: {why}\n", counted(count));
        Ok(reasons.into_iter().map(line).collect())
    }
}

/// Why an action that named a message left it as it is.
fn why_unchanged(action: &Adjust, filter: &Filter, message: &Message) -> String {
    if !message.recipients.iter().any(is_open) {
        return "nothing of it waits any more; `waystation queue show` tells what became of it".to_owned();
    }
    if let (Adjust::Reroute(to), Some(most)) = (action, filter.up_to)
        && applies(action, message)
        && is_too_big(filter, message)
    {
        return format!(
            "it is larger than smarthost.{to}.max_size, {}, and would bounce there",
            show_size(most)
        );
    }
    if applies(action, message) {
        return "the other options leave it out".to_owned();
    }
    match action {
        Adjust::Retry => "it is held; `waystation queue release` lets it go".to_owned(),
        Adjust::Reroute(to) if message.lane == to.as_str() => format!("{to} is where it is already"),
        Adjust::Reroute(_) => "it is mail to an inbox, which is read and never sent".to_owned(),
        _ if lacks_smarthost(message) => {
            "its smarthost isn't configured any more; configure it again, or move it with `waystation queue reroute --to`"
                .to_owned()
        }
        _ if is_held(message) => "it is held already".to_owned(),
        _ => "it isn't held".to_owned(),
    }
}

/// The daemon would refuse it as well, but a preview of it would promise what can't be.
fn must_be_smarthost(client: &mut Client, to: &LaneName) -> Result<(), Failure> {
    let status: Status = client.ask(&Request::Status)?;
    let is_smarthost = |lane: &&LaneStatus| {
        lane.state != "removed" && addresses::of_lane(&LaneName::new(&lane.lane)).is_none()
    };
    let known: Vec<&str> = status.lanes.iter().filter(is_smarthost).map(|lane| &*lane.lane).collect();
    if known.contains(&to.as_str()) {
        return Ok(());
    }
    let text = format!("waystation: --to {to}: no such smarthost; there are: {}", known.join(", "));
    Err(Failure::new(USAGE, text))
}

/// What would be released of mail that a smarthost has for another one, while it is removed or switched off: it goes back at once. Asked
/// before it is released, because it is gone soon after.
#[derive(Debug, Default)]
struct Lent {
    /// How many, by the lane they are in and then by whose they are.
    counts: BTreeMap<LaneName, BTreeMap<LaneName, u64>>,
}

impl Lent {
    fn of(client: &mut Client, filter: &Filter, action: &Adjust) -> Result<Self, Failure> {
        let mut lent = Self::default();
        if *action != Adjust::Release {
            return Ok(lent);
        }
        let Status { lanes, .. } = client.ask(&Request::Status)?;
        if !lanes.iter().any(stands) {
            return Ok(lent);
        }
        for home in lanes.iter().filter(|lane| lane.state != "removed") {
            let home = LaneName::new(&home.lane);
            let filter = Filter { home: Some(home.clone()), ..filter.clone() };
            each_message(client, &filter, |message| {
                let message = selection::told(message)?;
                let lane = LaneName::new(&message.lane);
                let is_meant =
                    applies(action, &message) && message.only(&filter).recipients.iter().any(is_open);
                if is_meant {
                    *lent.counts.entry(lane).or_default().entry(home.clone()).or_default() += 1;
                }
                Ok(())
            })?;
        }
        Ok(lent)
    }
}

/// Whether a lane sends nothing before an admin changes the configuration.
fn stands(lane: &LaneStatus) -> bool {
    matches!(&*lane.state, "removed" | "disabled")
}

/// Changed messages in a lane that stands.
struct Waiting {
    lane: LaneStatus,
    count: u64,
    /// The lane that they go back to instead of waiting.
    home: Option<LaneName>,
}

/// Those of the changed messages that are where a smarthost is removed or switched off: trying again, releasing or moving them doesn't send
/// them by it.
fn still_waiting(
    client: &mut Client,
    action: &Adjust,
    changed: &BTreeMap<LaneName, u64>,
    lent: &Lent,
) -> Result<Vec<Waiting>, Failure> {
    if !matches!(action, Adjust::Retry | Adjust::Release | Adjust::Reroute(_)) {
        return Ok(Vec::new());
    }
    let Status { lanes, .. } = client.ask(&Request::Status)?;
    let mut waiting = Vec::new();
    for (name, &count) in changed {
        let Some(lane) = lanes.iter().find(|lane| lane.lane == name.as_str() && stands(lane)) else {
            continue;
        };
        let mut rest = count;
        for (home, &count) in lent.counts.get(name).into_iter().flatten() {
            let count = count.min(rest);
            rest -= count;
            waiting.push(Waiting { lane: lane.clone(), count, home: Some(home.clone()) });
        }
        waiting.push(Waiting { lane: lane.clone(), count: rest, home: None });
    }
    waiting.retain(|one| one.count > 0);
    Ok(waiting)
}

fn wait_in_words(waiting: &[Waiting], action: &Adjust) -> String {
    let line = |Waiting { lane, count, home }: &Waiting| {
        let which = if lane.state == "removed" { "isn't configured any more" } else { "is switched off" };
        if let Some(home) = home {
            let go = if *count == 1 { "is held no more and goes" } else { "are held no more and go" };
            return format!("{} {go} back to {home} from {}, which {which}\n", counted(*count), lane.lane);
        }
        let advice = lane.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        let wait = match (action, count) {
            (Adjust::Release, 1) => "is held no more, but waits",
            (Adjust::Release, _) => "are held no more, but wait",
            (Adjust::Reroute(_), 1) => "is moved, but waits",
            (Adjust::Reroute(_), _) => "are moved, but wait",
            (_, 1) => "waits",
            _ => "wait",
        };
        format!("{} {wait} for {}, which {which}{advice}\n", counted(*count), lane.lane)
    };
    waiting.iter().map(line).collect()
}

/// What another try of a lane comes to that doesn't work and has nothing to try it with.
fn no_probe(client: &mut Client, filter: &Filter, action: &Adjust) -> Result<String, Failure> {
    let Some(name) = filter.lane.as_ref().filter(|_| *action == Adjust::Retry) else {
        return Ok(String::new());
    };
    let Status { lanes, .. } = client.ask(&Request::Status)?;
    let is_it = |lane: &&LaneStatus| {
        lane.lane == name.as_str() && lane.next_probe.is_some() && lane.queued + lane.deferred == 0
    };
    let line = |lane: &LaneStatus| {
        format!(
            "nothing is queued in {name}, which is {}: it is tried again when mail comes for it\n",
            lane.state
        )
    };
    Ok(lanes.iter().find(is_it).map(line).unwrap_or_default())
}

/// Asks on a terminal, behind what is shown; elsewhere only what can be taken back goes on.
fn may_go_on(shown: &str, action: &Adjust) -> Result<bool, Failure> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        eprint!("{shown}Go on? [y/N] ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        // No answer is no.
        let _ = std::io::stdin().read_line(&mut answer);
        return Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"));
    }
    if matches!(action, Adjust::Delete | Adjust::Reroute(_)) {
        let text = format!("{shown}waystation: by a filter and without a terminal this needs --yes (or ids)");
        return Err(Failure::new(USAGE, text));
    }
    Ok(true)
}

/// What was done, as a participle.
fn done(action: &Adjust) -> String {
    match action {
        Adjust::Hold | Adjust::HoldByRoute => "held".to_owned(),
        Adjust::Release => "released".to_owned(),
        Adjust::Assign(mailbox) => format!("released for mailbox {mailbox}"),
        Adjust::Retry => "due now".to_owned(),
        Adjust::Delete => "deleted".to_owned(),
        Adjust::Reroute(to) => format!("moved to {to}"),
    }
}

/// What becomes of open recipients that the filter doesn't mean.
fn with_others(others: u64, action: &Adjust) -> String {
    let counted = match others {
        0 => return String::new(),
        1 => "1 other recipient".to_owned(),
        _ => format!("{others} other recipients"),
    };
    if *action == Adjust::Delete {
        return format!("{counted} of the same mail: left as they are\n");
    }
    format!("{counted} of the same mail: taken along, as a message is {} as a whole\n", done(action))
}

/// Why released messages aren't sent.
fn expired_while_held(count: u64) -> String {
    let they_were = if count == 1 { "it was" } else { "they were" };
    format!("the time that a route allows (expires_after) ended while {they_were} held")
}

/// Whether it is held in earnest; what only lacks its smarthost is shown as held, and isn't.
fn is_held(message: &Message) -> bool {
    message.recipients.iter().any(|recipient| recipient.state == "held" && !is_stranded(recipient))
}

fn lacks_smarthost(message: &Message) -> bool {
    message.recipients.iter().any(|recipient| recipient.state == "held" && is_stranded(recipient))
}

fn is_stranded(recipient: &Recipient) -> bool {
    recipient.reply.as_deref() == Some(target::REMOVED)
}

/// Whether a message has more octets than a filter lets through.
fn is_too_big(filter: &Filter, message: &Message) -> bool {
    filter.up_to.is_some_and(|most| message.size_bytes > most)
}

/// Whether an action changes a message that it means.
fn applies(action: &Adjust, message: &Message) -> bool {
    match action {
        Adjust::Hold | Adjust::HoldByRoute | Adjust::Retry => !is_held(message),
        Adjust::Release | Adjust::Assign(_) => is_held(message),
        Adjust::Delete => true,
        // What an inbox took is read, never sent.
        Adjust::Reroute(to) => {
            message.lane != to.as_str() && addresses::of_lane(&LaneName::new(&message.lane)).is_none()
        }
    }
}

/// What a change would touch.
#[derive(Debug, Default)]
struct Preview {
    count: u64,
    /// Messages by lane and state.
    places: BTreeMap<(String, String), u64>,
    /// The first few, one line each.
    first: Vec<String>,
    /// All of them.
    ids: Vec<String>,
    /// Their open recipients that the filter doesn't mean.
    others: u64,
    /// How many of the released ones would expire at once, by lane.
    expired: BTreeMap<LaneName, u64>,
}

impl Preview {
    fn of(client: &mut Client, filter: &Filter, action: &Adjust) -> Result<Self, Failure> {
        let mut preview = Self::default();
        // What its client wants sent later goes now only by its id.
        let wanted_by = (filter.ids.is_empty() && *action == Adjust::Retry).then(Timestamp::now);
        each_message(client, &Filter { wanted_by, ..filter.clone() }, |message| {
            let mut message = selection::told(message)?;
            let is_meant = applies(action, &message);
            let open = |message: &Message| message.recipients.iter().filter(|one| is_open(one)).count();
            let before = open(&message);
            if filter.picks_recipients() {
                message = message.only(filter);
                message.recipients.retain(is_open);
            }
            let others = (before - open(&message)) as u64;
            if !is_meant || open(&message) == 0 {
                return Ok(());
            }
            preview.others += others;
            preview.add(&message);
            Ok(())
        })?;
        if *action == Adjust::Release && preview.count > 0 {
            let over = Filter { over: Some(Timestamp::now()), ..filter.clone() };
            each_message(client, &over, |message| {
                let message = selection::told(message)?;
                let lane = LaneName::new(&message.lane);
                let is_meant =
                    applies(action, &message) && message.only(filter).recipients.iter().any(is_open);
                *preview.expired.entry(lane).or_default() += u64::from(is_meant);
                Ok(())
            })?;
        }
        Ok(preview)
    }

    fn add(&mut self, message: &Message) {
        self.count += 1;
        // A message is as far as the recipient that is furthest.
        let state = message
            .recipients
            .iter()
            .filter(|one| is_open(one))
            .map(|recipient| &*recipient.state)
            .min_by_key(|state| ["held", "deferred", "queued"].iter().position(|known| known == state));
        let state = state.unwrap_or("queued");
        *self.places.entry((message.lane.clone(), state.to_owned())).or_default() += 1;
        if self.first.len() < SHOWN {
            self.first.push(line(message));
        }
        self.ids.push(message.id.clone());
    }

    fn in_words(&self, action: &Adjust) -> String {
        let mut text = format!("{} would be {}\n", counted(self.count), done(action));
        for ((lane, state), count) in &self.places {
            text += &format!("  {lane}: {count} {state}\n");
        }
        for line in &self.first {
            text += &format!("    {line}\n");
        }
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            text += &format!("    … and {more} more\n");
        }
        let expired: u64 = self.expired.values().sum();
        if expired > 0 {
            let why = expired_while_held(expired);
            text += &format!("{expired} of them would expire at once instead of being sent: {why}\n");
        }
        text + &with_others(self.others, action)
    }

    /// Messages by the lane that they would be in, without those that would expire at once.
    fn lanes(&self, action: &Adjust) -> BTreeMap<LaneName, u64> {
        if let Adjust::Reroute(to) = action {
            return BTreeMap::from([(to.clone(), self.count)]);
        }
        let mut lanes: BTreeMap<LaneName, u64> = BTreeMap::new();
        for ((lane, _), count) in &self.places {
            *lanes.entry(LaneName::new(lane)).or_default() += count;
        }
        for (lane, expired) in &self.expired {
            lanes.entry(lane.clone()).and_modify(|count| *count = count.saturating_sub(*expired));
        }
        lanes
    }

    fn ids(&self) -> String {
        format!("{}\n", serde_json::to_string(&self.ids).unwrap_or_default())
    }
}

fn is_open(recipient: &Recipient) -> bool {
    State::parse(&recipient.state).is_some_and(State::is_open)
}

fn line(message: &Message) -> String {
    let Message { id, sender, recipients, subject, .. } = message;
    let sender = if sender.is_empty() { "<>" } else { sender };
    // What is done already isn't touched.
    let mut open = recipients.iter().filter(|recipient| is_open(recipient));
    let first = open.next().map(|recipient| &*recipient.address).unwrap_or_default();
    let others = match open.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let subject = subject.as_deref().map(|subject| format!(": {subject}")).unwrap_or_default();
    table::printable(&format!("{id}  {sender} → {first}{others}{subject}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32, lane: &str, states: &[&str]) -> Message {
        let recipient = |(number, state): (usize, &&str)| {
            serde_json::json!({"address": format!("g{number}@x.test"), "state": state, "attempts": 0, "next_attempt": null,
                "reply": null})
        };
        serde_json::from_value(serde_json::json!({
            "id": format!("{number:013}"), "received_at": "2026-11-22T15:40:12Z", "lane": lane, "class": "normal",
            "sender": "", "size_bytes": 1, "subject": "Hello\u{1b}", "tag": null, "meta": {},
            "recipients": states.iter().enumerate().map(recipient).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn only_what_an_action_changes_is_shown() {
        let (waiting, held) = (message(1, "shop", &["queued"]), message(2, "shop", &["delivered", "held"]));
        for (action, on_waiting, on_held) in [
            (Adjust::Hold, true, false),
            (Adjust::Release, false, true),
            (Adjust::Retry, true, false),
            (Adjust::Delete, true, true),
            (Adjust::Reroute("shop".into()), false, false),
            (Adjust::Reroute("other".into()), true, true),
        ] {
            assert_eq!(
                (applies(&action, &waiting), applies(&action, &held)),
                (on_waiting, on_held),
                "{action:?}"
            );
        }
    }

    #[test]
    fn why_something_stayed_as_it_is_is_told() {
        let to = |lane: &str| Adjust::Reroute(lane.into());
        let any = Filter::default();
        for (action, lane, state, why) in [
            (Adjust::Retry, "shop", "held", "it is held; `waystation queue release` lets it go"),
            (Adjust::Hold, "shop", "held", "it is held already"),
            (Adjust::Release, "shop", "deferred", "it isn't held"),
            (Adjust::Retry, "shop", "deferred", "the other options leave it out"),
            (to("shop"), "shop", "queued", "shop is where it is already"),
            (to("shop"), "inbox:a", "queued", "it is mail to an inbox, which is read and never sent"),
        ] {
            let message = message(1, lane, &["delivered", state]);
            assert_eq!(why_unchanged(&action, &any, &message), why, "{action:?}");
        }
        let small = Filter { up_to: Some(1024), ..Filter::default() };
        let big = Message { size_bytes: 1025, ..message(1, "shop", &["queued"]) };
        let why = why_unchanged(&to("spare"), &small, &big);
        assert_eq!(why, "it is larger than smarthost.spare.max_size, 1 KiB, and would bounce there");
        let fits = Message { size_bytes: 1024, ..big };
        assert_eq!(why_unchanged(&to("spare"), &small, &fits), "the other options leave it out");
        let done = why_unchanged(&Adjust::Delete, &any, &message(1, "shop", &["delivered", "failed"]));
        assert!(done.starts_with("nothing of it waits any more"), "{done}");
    }

    #[test]
    fn a_preview_counts_by_lane_and_state_and_shows_the_first() {
        let mut preview = Preview::default();
        preview.add(&message(1, "shop", &["delivered", "deferred", "queued"]));
        for number in 2..8 {
            preview.add(&message(number, "bulk", &["queued"]));
        }
        let told = "\
7 messages would be deleted
  bulk: 6 queued
  shop: 1 deferred
    0000000000001  <> → g1@x.test and 1 more: Hello\u{fffd}
    0000000000002  <> → g0@x.test: Hello\u{fffd}
    0000000000003  <> → g0@x.test: Hello\u{fffd}
    0000000000004  <> → g0@x.test: Hello\u{fffd}
    0000000000005  <> → g0@x.test: Hello\u{fffd}
    … and 2 more
";
        assert_eq!(preview.in_words(&Adjust::Delete), told);
        assert_eq!(preview.ids.len(), 7);
    }
}
