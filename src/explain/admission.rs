//! Which listener would take a message, and as whose. Every listener that the client can reach is asked; the first one
//! that takes the whole message counts, else what the first one says.

use super::{Question, Refusal};
use crate::config::schema::{AuthMode, Config, ListenAddress, Listener, TlsMode};
use crate::inbox::addresses::Inboxes;
use crate::intake::access::Access;
use crate::message::trace::Protocol;
use crate::smtp::address::Address;

/// How a message comes in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// In words.
    pub(super) words: String,
    /// Recipients that are taken; never none.
    pub(super) taken: Vec<Address>,
    /// Why others aren't.
    pub(super) denied: Option<Refusal>,
    pub(super) may_relay: bool,
    pub(super) protocol: Protocol,
}

/// Finds the way in.
///
/// # Errors
/// What the first listener says, when none takes it.
pub(super) fn admission(
    config: &Config,
    inboxes: &Inboxes,
    question: &Question<'_>,
) -> Result<Entry, Refusal> {
    let reachable = config.listeners.iter().filter(|listener| reaches(listener, question));
    let mut tried: Vec<Result<Entry, Refusal>> =
        reachable.map(|listener| at(config, inboxes, listener, question)).collect();
    let whole = |entry: &Result<Entry, Refusal>| entry.as_ref().is_ok_and(|entry| entry.denied.is_none());
    let best = tried.iter().position(whole).or_else(|| tried.iter().position(Result::is_ok)).unwrap_or(0);
    if best < tried.len() {
        return tried.swap_remove(best);
    }
    let why = match question.application {
        Some(name) => {
            format!("no listener that {} can reach takes logins, {name}'s among them", question.client)
        }
        None => format!("no listener can be reached from {}", question.client),
    };
    Err(Refusal { reply: "before it says a word".into(), why })
}

/// Whether the client could get there, and log in if it is to.
fn reaches(listener: &Listener, question: &Question<'_>) -> bool {
    let closed = match listener.address {
        ListenAddress::Socket(address) => address.ip().is_loopback() && !question.client.is_loopback(),
        ListenAddress::Passed(_) => false,
    };
    // Behind a PROXY header any client may be.
    let reachable = !closed || !listener.proxy_protocol.is_empty();
    reachable && (question.application.is_none() || listener.auth != AuthMode::None)
}

fn at(
    config: &Config,
    inboxes: &Inboxes,
    listener: &Listener,
    question: &Question<'_>,
) -> Result<Entry, Refusal> {
    let place = &listener.address;
    let access = Access::of(listener, question.client);
    let login = question.application.and_then(|name| config.applications.get(name));
    let said = match question.application {
        Some(name) => format!("listener {place}, application {name}"),
        None => format!("listener {place}, client {}", question.client),
    };
    if let Err(refusal) = access.sender(login, question.mail.sender.as_ref(), inboxes) {
        return Err(Refusal::new(&refusal.reply(), format!("{said}: {refusal}")));
    }
    let (mut taken, mut denied) = (Vec::new(), None);
    for recipient in question.recipients {
        match access.recipient(login, recipient, inboxes) {
            Ok(()) => taken.push(recipient.clone()),
            Err(refusal) => {
                let why = format!("{said}: {recipient}: {refusal}");
                denied.get_or_insert(Refusal::new(&refusal.reply(), why));
            }
        }
    }
    if taken.is_empty()
        && let Some(refusal) = denied
    {
        return Err(refusal);
    }
    let may_relay = access.may_relay(login);
    let words = match (login, may_relay) {
        (Some(_), _) => format!("{said} logged in"),
        (None, true) => format!("{said} is in its trust"),
        (None, false) => format!("{said} is a stranger, who may write to inboxes"),
    };
    let encrypted = match listener.tls {
        TlsMode::None => false,
        TlsMode::Implicit => true,
        // A login waits for TLS; others may do without.
        TlsMode::StartTls => login.is_some() && !listener.auth_without_tls,
    };
    let protocol = Protocol {
        extended: true,
        tls: encrypted,
        authenticated: login.is_some(),
        utf8: question.mail.smtputf8,
    };
    Ok(Entry { words, taken, denied, may_relay, protocol })
}
