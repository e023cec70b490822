//! `waystation events`: what webhooks are told: look at it, post it again, try a webhook.

use super::queue::short_time;
use super::{BAD_DATA, Done, Failure, OUR_BUG, UNAVAILABLE, USAGE, control, print, table};
use crate::admin::events::{Shown, Tested};
use crate::admin::{Client, EventsRequest, Request};
use crate::deliver::webhook::EndpointStatus;
use crate::net::signature;
use crate::queue::outbox::Replayed;
use crate::queue::{EventEntry, EventFilter, EventId, EventState};
use clap::{Args, Subcommand, ValueEnum};
use std::path::Path;

/// Events asked for at once.
const PAGE: usize = 500;

#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List events, oldest first
    List(List),
    /// Show one event and what is posted
    Show(Show),
    /// Post events again, under their old ids and with the same bytes
    Replay(Replay),
    /// Let the events of a webhook go again that answered 410
    Enable(Name),
    /// Post endpoint.test to a webhook, and show its answer
    Test(Name),
    /// Every webhook with what waits for it
    Endpoints(Plain),
    /// Print a new secret for a webhook's secret file
    Secret,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Where {
    Waiting,
    Done,
    Failed,
}

impl From<Where> for EventState {
    fn from(state: Where) -> Self {
        match state {
            Where::Waiting => Self::Waiting,
            Where::Done => Self::Done,
            Where::Failed => Self::Failed,
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only this webhook's
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only those that stand so
    #[arg(long, value_delimiter = ',')]
    state: Vec<Where>,
    /// Only of this type, like message.bounced
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// One array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The event's id, the webhook-id
    id: EventId,
    /// One array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Replay {
    /// Events by id
    ids: Vec<EventId>,
    /// All that were given up
    #[arg(long)]
    failed: bool,
    /// Only this webhook's
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

#[derive(Debug, Args)]
struct Name {
    /// The webhook's name: see `waystation events endpoints`
    endpoint: String,
}

#[derive(Debug, Args)]
struct Plain {
    /// One array
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) fn run(self, config: Option<&Path>) -> Done {
        match self.verb {
            Verb::List(list) => list.run(config),
            Verb::Show(show) => show.run(config),
            Verb::Replay(replay) => replay.run(config),
            Verb::Enable(Name { endpoint }) => enable(&endpoint, config),
            Verb::Test(Name { endpoint }) => test(&endpoint, config),
            Verb::Endpoints(Plain { json }) => endpoints(json, config),
            Verb::Secret => secret(),
        }
    }
}

impl List {
    fn run(self, config: Option<&Path>) -> Done {
        let states = self.state.into_iter().map(EventState::from).collect();
        let filter = EventFilter { ids: Vec::new(), endpoint: self.endpoint, states, kind: self.kind };
        let mut client = control::client(config)?;
        if self.json {
            return print_array(&mut client, &filter);
        }
        let mut rows = Vec::new();
        each(&mut client, &filter, |event| rows.push(listed(&event)))?;
        if rows.is_empty() {
            print("no events\n");
            return Ok(());
        }
        let header = ["ID", "ENDPOINT", "SEQ", "TYPE", "STATE", "KEPT", "TRIES", "NEXT", "ANSWER"];
        print(&table::aligned(&header, &rows));
        Ok(())
    }
}

/// Page by page, so that no list stands in memory whole.
fn print_array(client: &mut Client, filter: &EventFilter) -> Done {
    let mut first = true;
    print("[");
    each(client, filter, |event| {
        let text = serde_json::to_string(&event).unwrap_or_default();
        print(&format!("{}{text}", if first { "\n" } else { ",\n" }));
        first = false;
    })?;
    print("\n]\n");
    Ok(())
}

fn each(client: &mut Client, filter: &EventFilter, mut show: impl FnMut(EventEntry)) -> Done {
    let mut after = None;
    loop {
        let list = EventsRequest::List { filter: filter.clone(), limit: PAGE, after };
        let page: Vec<EventEntry> = client.ask(&Request::Events(list))?;
        let full = page.len() == PAGE;
        after = page.last().map(|event| event.id);
        page.into_iter().for_each(&mut show);
        if !full {
            return Ok(());
        }
    }
}

fn listed(event: &EventEntry) -> Vec<String> {
    let state = serde_json::to_value(event.state).unwrap_or_default();
    vec![
        event.id.to_string(),
        event.endpoint.clone(),
        event.seq.to_string(),
        event.kind.clone(),
        state.as_str().unwrap_or_default().to_owned(),
        short_time(&event.created_at.to_string()),
        event.attempts.to_string(),
        event.next_attempt.map(|time| short_time(&time.to_string())).unwrap_or_default(),
        table::printable(event.answer.as_deref().unwrap_or_default()),
    ]
}

impl Show {
    fn run(&self, config: Option<&Path>) -> Done {
        let request = Request::Events(EventsRequest::Show { id: self.id });
        let shown: Option<Shown> = control::client(config)?.ask(&request)?;
        let Some(shown) = shown else {
            return Err(Failure::new(BAD_DATA, format!("waystation: {}: no such event", self.id)));
        };
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&[&shown]).unwrap_or_default()));
            return Ok(());
        }
        let event = &shown.event;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text += &format!("{name}: {}\n", table::printable(value));
            }
        };
        let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        line("id", &event.id.to_string());
        line("type", &event.kind);
        line("endpoint", &event.endpoint);
        line("seq", &event.seq.to_string());
        line("conversation", event.conversation.as_deref().unwrap_or_default());
        line("state", listed(event).get(4).map_or("", String::as_str));
        line("kept", &event.created_at.to_string());
        line("attempts", &event.attempts.to_string());
        line("next attempt", &time(event.next_attempt));
        line("latest attempt", &time(event.tried_at));
        line("answer", event.answer.as_deref().unwrap_or_default());
        line("content type", &event.content_type);
        line("size", &event.size_bytes.to_string());
        let body = shown.body.or(shown.body_base64);
        let body = body.unwrap_or_else(|| "(the body isn't kept any more)".to_owned());
        let body: Vec<String> = body.lines().map(table::printable).collect();
        print(&format!("{text}\n{}\n", body.join("\n")));
        Ok(())
    }
}

impl Replay {
    fn run(self, config: Option<&Path>) -> Done {
        if self.ids.is_empty() != self.failed {
            let message =
                "waystation: which events? Give ids, or --failed (with --endpoint NAME for one webhook's)";
            return Err(Failure::new(USAGE, message));
        }
        let states = if self.failed { vec![EventState::Failed] } else { Vec::new() };
        let filter = EventFilter { ids: self.ids, endpoint: self.endpoint, states, kind: None };
        let request = Request::Events(EventsRequest::Replay { filter });
        let replayed: Replayed = control::client(config)?.ask(&request)?;
        print(&format!("{} due now\n", counted(replayed.count)));
        if replayed.forgotten > 0 {
            print(&format!(
                "{} can't be posted again: the body isn't kept any more\n",
                counted(replayed.forgotten)
            ));
        }
        Ok(())
    }
}

fn counted(count: u64) -> String {
    if count == 1 { "1 event".into() } else { format!("{count} events") }
}

fn enable(endpoint: &str, config: Option<&Path>) -> Done {
    let request = Request::Events(EventsRequest::Enable { endpoint: endpoint.to_owned() });
    let was_disabled: bool = control::client(config)?.ask(&request)?;
    print(&format!(
        "{endpoint} {}\n",
        if was_disabled { "enabled" } else { "was enabled already; tried now" }
    ));
    Ok(())
}

/// Fails when the webhook doesn't take it, so that scripts see it.
fn test(endpoint: &str, config: Option<&Path>) -> Done {
    let request = Request::Events(EventsRequest::Test { endpoint: endpoint.to_owned() });
    let tested: Tested = control::client(config)?.ask(&request)?;
    let Tested { url, id, answer, elapsed_ms, status } = tested;
    let answer = table::printable(&answer);
    print(&format!("posted endpoint.test {id} to {url}\n"));
    match status {
        Some(200..=299) => {
            print(&format!("taken after {elapsed_ms} ms: {answer}\n"));
            Ok(())
        }
        Some(_) => Err(Failure::new(
            UNAVAILABLE,
            format!("waystation: {endpoint} didn't take it ({elapsed_ms} ms): {answer}"),
        )),
        None => Err(Failure::new(UNAVAILABLE, format!("waystation: {endpoint}: {answer}"))),
    }
}

fn endpoints(json: bool, config: Option<&Path>) -> Done {
    let request = Request::Events(EventsRequest::Endpoints);
    let endpoints: Vec<EndpointStatus> = control::client(config)?.ask(&request)?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&endpoints).unwrap_or_default()));
    } else if endpoints.is_empty() {
        print("no webhooks\n");
    } else {
        print(&endpoint_table(&endpoints));
    }
    Ok(())
}

/// A line for each webhook, and why those that don't flow don't.
pub(super) fn endpoint_table(endpoints: &[EndpointStatus]) -> String {
    let time =
        |time: Option<jiff::Timestamp>| time.map(|time| short_time(&time.to_string())).unwrap_or_default();
    let rows: Vec<Vec<String>> = endpoints
        .iter()
        .map(|one| {
            vec![
                one.endpoint.clone(),
                one.state.clone(),
                one.waiting.to_string(),
                one.failed.to_string(),
                one.posting.to_string(),
                time(one.oldest),
                time(one.next_due),
                table::printable(one.answer.as_deref().unwrap_or_default()).chars().take(60).collect(),
            ]
        })
        .collect();
    let header = ["WEBHOOK", "STATE", "WAITING", "FAILED", "POSTING", "OLDEST", "NEXT DUE", "LATEST ANSWER"];
    let mut text = table::aligned(&header, &rows);
    for one in endpoints {
        if let Some(reason) = &one.reason {
            let advice = one.advice.as_ref().map(|advice| format!(" → {advice}")).unwrap_or_default();
            text += &format!("{}: {}{advice}\n", one.endpoint, table::printable(reason));
        }
    }
    text
}

fn secret() -> Done {
    let secret = signature::new_secret()
        .map_err(|_| Failure::new(OUR_BUG, "waystation: this system gives no randomness"))?;
    print(&format!("{secret}\n"));
    Ok(())
}
