//! Mail that goes by another smarthost than its own: what of it that one is known not to take, and what it gave back.
//!
//! Such mail is better off waiting for its own smarthost than failing at another. What is known of the other one
//! beforehand (its settings, and what its last answer to EHLO said) keeps mail from going there; what it says only when it
//! sees the message sends that back. Forgotten with the process: then a refusal there is final, as anywhere.

use super::connections::Lane;
use super::fates::Attempt;
use super::notices;
use super::verdict::{Stage, Verdict};
use crate::config::schema::Smarthost;
use crate::message::fields::HeaderSection;
use crate::queue::{LaneName, QueueId};
use crate::smtp::address::Address;
use crate::smtp::capabilities::{Capabilities, SizeLimit};
use crate::smtp::reply::Enhanced;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Messages that are remembered of a lane, of each kind.
const MOST: usize = 10_000;

/// What a message needs of whoever takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Its size.
    pub size_bytes: u64,
    /// Whether an address of its envelope is outside US-ASCII (RFC 6531).
    pub smtputf8: bool,
}

impl Needs {
    /// Those of a message of this size and envelope.
    pub fn of<'a>(size_bytes: u64, addresses: impl IntoIterator<Item = &'a Address>) -> Self {
        Self { size_bytes, smtputf8: !addresses.into_iter().all(Address::is_ascii) }
    }
}

/// What a smarthost's last answer to EHLO said of [`Needs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    size: Option<u64>,
    smtputf8: bool,
}

impl From<&Capabilities> for Offers {
    fn from(offered: &Capabilities) -> Self {
        let size = match offered.size {
            SizeLimit::Octets(most) => Some(most),
            SizeLimit::NotOffered | SizeLimit::Unlimited => None,
        };
        Self { size, smtputf8: offered.smtputf8 }
    }
}

/// A message of another lane.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Its name, once it is kept.
    pub id: Option<QueueId>,
    /// Its header section.
    pub header: &'a HeaderSection<'a>,
    /// The envelope's sender.
    pub sender: Option<&'a Address>,
    /// What it needs.
    pub needs: Needs,
    /// Whether it is a notice of ours: any address of the smarthost's does as its From.
    pub is_notice: bool,
}

/// Why a smarthost doesn't take a message whose own can't, as far as its settings tell: its From must be accepted as it is,
/// and the envelope's sender be allowed or become the account's own.
#[must_use]
pub fn objection(smarthost: &Smarthost, mail: &Mail<'_>) -> Option<&'static str> {
    let suits = if mail.is_notice {
        notices::accepts(smarthost, mail.header)
    } else {
        smarthost.with_account(|account| account.accepts(mail.header))
    };
    if !suits {
        return Some("doesn't accept this From");
    }
    let is_allowed = |sender: &Address| {
        smarthost.with_account(|account| {
            account.address.is_some() || account.allowed.is_none_or(|allowed| allowed(sender))
        })
    };
    if !mail.sender.is_none_or(is_allowed) {
        return Some("doesn't accept this envelope sender");
    }
    lack(smarthost, None, mail.needs)
}

/// What a message needs that a smarthost doesn't have, by its settings and by what it said.
fn lack(smarthost: &Smarthost, offers: Option<Offers>, needs: Needs) -> Option<&'static str> {
    let most = [smarthost.max_size, offers.and_then(|offers| offers.size)].into_iter().flatten().min();
    if most.is_some_and(|most| needs.size_bytes > most) {
        return Some("takes no message of this size");
    }
    let takes_utf8 = offers.is_none_or(|offers| offers.smtputf8);
    (needs.smtputf8 && !takes_utf8).then_some("takes no address outside US-ASCII")
}

/// The mail of others in a lane.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// The lanes that it is of.
    homes: HashMap<QueueId, LaneName>,
    /// What was given back.
    refused: HashSet<QueueId>,
}

impl Guests {
    /// Other settings are in force: what was refused may be taken now.
    pub(super) fn try_all_again(&mut self) {
        self.refused.clear();
    }
}

impl Lane {
    /// Why it doesn't take a message whose own smarthost can't, as far as anybody knows.
    #[must_use]
    pub fn objection(&self, mail: &Mail<'_>) -> Option<&'static str> {
        let was_refused = mail.id.is_some_and(|id| self.guests.lock().refused.contains(&id));
        let objection = || objection(&self.target().smarthost, mail).or_else(|| self.lack(mail.needs));
        if was_refused { Some("has refused it") } else { objection() }
    }

    /// What a message needs that the smarthost doesn't have, as far as anybody knows.
    #[must_use]
    pub fn lack(&self, needs: Needs) -> Option<&'static str> {
        lack(&self.target().smarthost, self.offers(), needs)
    }

    /// A message of another lane comes.
    pub(super) fn welcome(&self, id: QueueId, home: LaneName) {
        let mut guests = self.guests.lock();
        if guests.homes.len() < MOST {
            guests.homes.insert(id, home);
        }
    }

    /// Whether a message is of another lane.
    pub(super) fn is_guest(&self, id: QueueId) -> bool {
        self.guests.lock().homes.contains_key(&id)
    }

    /// Where a message goes back to, and why, if it is another lane's and was refused as a whole for what this smarthost can't or
    /// won't do: its own may take it.
    pub(super) fn gives_back(&self, attempt: &Attempt) -> Option<(LaneName, String)> {
        let mut guests = self.guests.lock();
        // Hardly a lane has any.
        if guests.homes.is_empty() {
            return None;
        }
        let id = attempt.due.id;
        let tried: Vec<&Verdict> = attempt.verdicts.iter().flatten().collect();
        let is_over = |verdict: &&Verdict| matches!(verdict, Verdict::Delivered(_) | Verdict::Failed(_));
        if tried.is_empty() || !tried.iter().all(is_over) {
            return None;
        }
        // Those whose turn doesn't come any more would be told the same.
        let refusals: Option<Vec<String>> = tried.iter().map(|verdict| refusal(verdict)).collect();
        let Some(why) = refusals.and_then(|mut refusals| refusals.pop()) else {
            if tried.len() == attempt.verdicts.len() {
                guests.homes.remove(&id);
            }
            return None;
        };
        let home = guests.homes.remove(&id)?;
        if guests.refused.len() >= MOST {
            guests.refused.clear();
        }
        guests.refused.insert(id);
        let why = format!("from {} back to {home}: {} doesn't take it: {why}", self.name, self.name);
        Some((home, why))
    }
}

/// What a smarthost said that refuses a message for what it can't or won't do, whoever the recipient is.
fn refusal(verdict: &Verdict) -> Option<String> {
    let Verdict::Failed(cause) = verdict else { return None };
    // Where the reply has no enhanced code, 552 is about the size (RFC 5321 §4.2.3).
    let is_lack = match cause.reply.enhanced {
        Some(enhanced) => matches!(enhanced, Enhanced(5, 3, 4) | Enhanced(5, 6, 7)),
        None => cause.reply.code == 552,
    };
    (cause.stage == Stage::Mail || is_lack).then(|| cause.reply.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn smarthost(lines: &str) -> Smarthost {
        let text = format!("[smarthost.sol]\nhost = \"mx.test\"\ntls = \"none\"\n{lines}");
        let loaded = crate::config::parse(Path::new("w.toml"), &text, std::iter::empty()).unwrap();
        { loaded.config }.smarthosts.remove("sol").unwrap()
    }

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    #[test]
    fn what_another_smarthost_is_known_not_to_take_is_named() {
        let header = HeaderSection::of(b"From: x@ok.test\r\n\r\n");
        let (ours, theirs) = (address("x@ok.test"), address("bounce@other.test"));
        let small = Needs::of(1024, [&ours]);
        let large = Needs { size_bytes: 1025, ..small };
        let utf8 = Needs::of(10, [&address("jörg@x.test"), &ours]);
        let allowed = "from = \"keep\"\nallowed_from = [\"@ok.test\"]\n";
        let own = "address = \"x@ok.test\"\n";
        let sized = "max_size = \"1 KiB\"\n";
        for (lines, sender, needs, expected) in [
            (allowed, Some(&ours), large, None),
            (allowed, None, small, None),
            (allowed, Some(&theirs), small, Some("doesn't accept this envelope sender")),
            (&format!("{allowed}{own}"), Some(&theirs), small, None),
            (
                "from = \"keep\"\nallowed_from = [\"@no.test\"]\n",
                Some(&ours),
                small,
                Some("doesn't accept this From"),
            ),
            (sized, Some(&theirs), small, None),
            (sized, Some(&theirs), large, Some("takes no message of this size")),
            ("", Some(&ours), utf8, None),
        ] {
            let mail = Mail { id: None, header: &header, sender, needs, is_notice: false };
            assert_eq!(objection(&smarthost(lines), &mail), expected, "{lines} {sender:?} {needs:?}");
        }
    }

    #[test]
    fn what_it_said_counts_beside_what_is_configured() {
        let said = |size, smtputf8| Some(Offers { size, smtputf8 });
        let needs = Needs { size_bytes: 2000, smtputf8: true };
        let (size, utf8) = (Some("takes no message of this size"), Some("takes no address outside US-ASCII"));
        for (lines, offers, expected) in [
            ("", None, None),
            ("", said(None, true), None),
            ("", said(Some(2000), false), utf8),
            ("", said(Some(1999), true), size),
            ("max_size = \"1 KiB\"\n", said(Some(9999), true), size),
        ] {
            assert_eq!(lack(&smarthost(lines), offers, needs), expected, "{lines} {offers:?}");
        }
    }
}
