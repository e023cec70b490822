//! Booking channels relay mail under addresses of their own: which channel it is, which conversation, and where an answer
//! goes. Rules are data ([`rows`], and `[channel.NAME]` of the file); this is what reads them.
//!
//! Promises: a channel is recognised by the domain of From or Reply-To alone, never by words.

mod outgoing;
mod rows;
mod submission;

pub use outgoing::{Outgoing, Refusal, refusals};
pub use submission::{Bound, Guard, Newest, refused, reply};

use super::conversation::is_nobody;
use super::mail::Mail;
use super::mailbox::is_within;
use crate::config::schema::{Channel, ChannelKey};
use std::sync::LazyLock;

/// The built-in rows, made once.
static KNOWN: LazyLock<Vec<Channel>> = LazyLock::new(rows::known);

/// What a message has to do with a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'c> {
    /// Whose rules hold.
    pub channel: &'c Channel,
    /// The relay address it came from: an answer goes there.
    pub relay: String,
    /// What all mail of the conversation has in common, with the channel's name: `booking:4123456789`.
    pub key: Option<String>,
    /// Whether that address is one guest's, rather than the channel's own for everybody.
    pub is_guests: bool,
}

/// The channel at whose domain this address is; the operator's own rows first.
#[must_use]
pub fn of_address<'c>(address: &str, own: &[&'c Channel]) -> Option<&'c Channel> {
    let domain = address.rsplit_once('@')?.1.to_lowercase();
    let replaced = |channel: &Channel| own.iter().any(|each| each.name == channel.name);
    let built_in = KNOWN.iter().filter(|channel| !replaced(channel));
    let all = own.iter().copied().chain(built_in);
    all.into_iter().find(|channel| channel.domains.iter().any(|known| is_within(&domain, known)))
}

/// Recognises the channel that relayed a message.
#[must_use]
pub fn recognise<'c>(mail: &Mail<'_>, own: &[&'c Channel]) -> Option<Found<'c>> {
    let mut addresses = mail.reply_to.iter().chain(&mail.from).map(|party| party.address.as_str());
    addresses.find_map(|address| addressed(mail, address, own))
}

/// The channel that a message is to or from, if this address of it is a channel's relay.
#[must_use]
pub fn addressed<'c>(mail: &Mail<'_>, relay: &str, own: &[&'c Channel]) -> Option<Found<'c>> {
    let channel = of_address(relay, own)?;
    let key = channel.keys.iter().find_map(|key| find(*key, relay, mail));
    let key = key.map(|key| format!("{}:{key}", channel.name));
    Some(Found { channel, relay: relay.to_owned(), key, is_guests: !is_everybodys(relay) })
}

/// Whether a channel writes to everybody from this address: what comes from there has nothing else in common.
fn is_everybodys(address: &str) -> bool {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local).to_lowercase();
    is_nobody(address)
        || ["sender", "express", "info", "support", "notification", "notifications"].contains(&local.as_str())
}

fn find(key: ChannelKey, relay: &str, mail: &Mail<'_>) -> Option<String> {
    let local = relay.rsplit_once('@').map_or(relay, |(local, _)| local);
    match key {
        ChannelKey::LeadingDigits => leading_digits(local),
        ChannelKey::LocalPart => {
            Some(local.to_lowercase()).filter(|local| !local.is_empty() && !is_everybodys(relay))
        }
        ChannelKey::ThreadLink => thread(mail.html.as_deref()).or_else(|| thread(mail.text.as_deref())),
        ChannelKey::SubjectCode => words(&mail.subject).find(|word| is_code(word)).map(str::to_owned),
        ChannelKey::SubjectNumber => words(&mail.subject).find(|word| is_number(word)).map(str::to_owned),
    }
}

/// `4123456789-abc…`: a reservation's number and something opaque behind it.
fn leading_digits(local: &str) -> Option<String> {
    let end = local.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = local.split_at_checked(end)?;
    ((6..=12).contains(&digits.len()) && rest.starts_with('-')).then(|| digits.to_owned())
}

/// The number behind `/thread/` or `/threads/` in a link.
fn thread(text: Option<&str>) -> Option<String> {
    let text = text?;
    for mark in ["/thread/", "/threads/"] {
        for (at, _) in text.match_indices(mark).take(20) {
            let rest = text.get(at + mark.len()..).unwrap_or_default();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).take(20).collect();
            if digits.len() >= 5 {
                return Some(digits);
            }
        }
    }
    None
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| !word.is_empty())
}

fn is_code(word: &str) -> bool {
    let fits = (8..=16).contains(&word.len());
    let plain = word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    let both = word.contains(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_digit());
    fits && plain && both
}

fn is_number(word: &str) -> bool {
    (6..=12).contains(&word.len()) && word.chars().all(|c| c.is_ascii_digit())
}

/// The text without what the channel puts around it: from a marker line on, or up to one that stands at the top.
#[must_use]
pub fn without_markers<'t>(text: &'t str, channel: &Channel) -> &'t str {
    let lower = text.to_lowercase();
    // Lower case may have another length in some scripts; then the places don't fit and nothing is cut.
    if lower.len() != text.len() {
        return text;
    }
    let mut rest = text;
    for marker in &channel.markers {
        let marker = marker.to_lowercase();
        let Some(at) = lower.get(..rest.len()).and_then(|lower| lower.find(&marker)) else { continue };
        let above = text.get(..at).unwrap_or_default();
        let above = above.get(..above.rfind('\n').map_or(0, |end| end + 1)).unwrap_or_default();
        if !above.trim().is_empty() {
            rest = above;
        }
    }
    rest
}
