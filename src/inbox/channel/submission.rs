//! Mail that a mailbox submits for a channel's relay: who it is bound for and by whose rules, found out by the header
//! section; and what the channel would drop of it, once its attachments and the newest address are known. Pure.
//!
//! Promises: only mail that leaves by a smarthost which some mailbox sends through is ever judged. What isn't known
//! (attachments that can't be followed, a conversation that nobody remembers) refuses nothing.

use super::outgoing::{Outgoing, Refusal, refusals};
use crate::config::schema::{Channel, Config, Smarthost};
use crate::inbox::mailbox::comparable;
use crate::message::attachments::Attachment;
use crate::message::fields::HeaderSection;
use crate::message::rewrite::from::{self, Message};
use crate::message::rewrite::list::AddressList;
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;
use std::collections::BTreeMap;

/// Lines of a reply.
const MAX_LINES: usize = 10;

/// What mail for channels is judged by, of one configuration.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    senders: BTreeMap<String, Sender>,
    channels: Vec<Channel>,
}

/// A smarthost that mailboxes send through.
#[derive(Debug, Clone)]
struct Sender {
    smarthost: Smarthost,
    mailboxes: Vec<Mailbox>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mailbox {
    name: String,
    address: String,
}

/// A message that is bound for a channel's relay address.
#[derive(Debug, Clone)]
pub struct Bound {
    /// That address.
    pub recipient: String,
    channel: Channel,
    /// The From address that it leaves with; empty when there is none.
    from: String,
    mailboxes: Vec<Mailbox>,
}

/// The newest address of a conversation in which an older one wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Newest {
    /// Whose conversation it is.
    pub mailbox: String,
    /// Where answers are wanted by now.
    pub address: String,
}

impl Guard {
    /// Of this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut senders: BTreeMap<String, Sender> = BTreeMap::new();
        for mailbox in config.mailboxes.values() {
            let Some(smarthost) = mailbox.smarthost.as_ref().and_then(|name| config.smarthosts.get(name))
            else {
                continue;
            };
            let sender = senders
                .entry(smarthost.name.clone())
                .or_insert_with(|| Sender { smarthost: smarthost.clone(), mailboxes: Vec::new() });
            let address = mailbox.address.as_str().to_owned();
            sender.mailboxes.push(Mailbox { name: mailbox.name.clone(), address });
        }
        Self { senders, channels: config.channels.values().cloned().collect() }
    }

    /// What is bound for channels of a message that leaves by this smarthost. `beginning` is the message as it is
    /// kept, with its whole header section.
    #[must_use]
    pub fn bound<'a>(
        &self,
        smarthost: &str,
        recipients: impl Iterator<Item = &'a Address>,
        message: Message<'_>,
        beginning: impl FnOnce() -> Vec<u8>,
    ) -> Vec<Bound> {
        let Some(sender) = self.senders.get(smarthost) else { return Vec::new() };
        let own: Vec<&Channel> = self.channels.iter().collect();
        let found: Vec<(&Address, &Channel)> = recipients
            .filter_map(|address| Some((address, super::of_address(address.as_str(), &own)?)))
            .collect();
        if found.is_empty() {
            return Vec::new();
        }
        let from = sender.from(&beginning(), message);
        let bound = |(address, channel): (&Address, &Channel)| Bound {
            recipient: address.as_str().to_owned(),
            channel: channel.clone(),
            from: from.clone(),
            mailboxes: sender.mailboxes.clone(),
        };
        found.into_iter().map(bound).collect()
    }
}

impl Sender {
    /// The From address as the smarthost gets it.
    fn from(&self, beginning: &[u8], message: Message<'_>) -> String {
        let header = HeaderSection::within(beginning, usize::MAX);
        let rewriting = self.smarthost.with_account(|account| from::rewrite(&header, message, account));
        let mut head = rewriting.edits.head(beginning);
        head.octets.extend_from_slice(beginning.get(head.replaces..).unwrap_or_default());
        let leaving = HeaderSection::within(&head.octets, usize::MAX);
        let author = leaving.named("From").find_map(|field| {
            AddressList::of(field.raw_value()).addresses().next().map(|address| address.as_str().to_owned())
        });
        author.unwrap_or_default()
    }
}

impl Bound {
    /// Whether it matters which address of the conversation is the newest.
    #[must_use]
    pub fn needs_newest(&self) -> bool {
        self.channel.reply_to_latest
    }

    /// Everything for which the channel would drop it. `newest`: by what the recipient's conversations are known to
    /// have become.
    #[must_use]
    pub fn refusals(&self, newest: &[Newest], attachments: &[Attachment]) -> Vec<Refusal> {
        let mailboxes: Vec<&str> = self.mailboxes.iter().map(|mailbox| mailbox.address.as_str()).collect();
        let ours = |newest: &&Newest| self.mailboxes.iter().any(|mailbox| mailbox.name == newest.mailbox);
        let mut newest = newest.iter().filter(ours).map(|newest| newest.address.as_str());
        let itself = comparable(&self.recipient);
        let latest = newest.clone().find(|address| comparable(address) == itself).or(newest.next());
        let outgoing = Outgoing {
            from: &self.from,
            recipient: &self.recipient,
            mailboxes: &mailboxes,
            latest,
            attachments,
        };
        refusals(&outgoing, &self.channel)
    }
}

/// Everything for which channels would drop a message, with the recipient each is about; empty when they will take it.
/// `newest` asks for what a recipient's conversations are known to have become.
#[must_use]
pub fn refused(
    bound: &[Bound],
    newest: impl Fn(&str) -> Vec<Newest>,
    attachments: &[Attachment],
) -> Vec<(String, Refusal)> {
    let one = |bound: &Bound| {
        let known = if bound.needs_newest() { newest(&bound.recipient) } else { Vec::new() };
        let found = bound.refusals(&known, attachments).into_iter();
        found.map(|refusal| (bound.recipient.clone(), refusal)).collect::<Vec<_>>()
    };
    bound.iter().flat_map(one).collect()
}

/// The one reply for all of them, by the code of the first; none when there are none.
#[must_use]
pub fn reply(refused: &[(String, Refusal)]) -> Option<Reply> {
    let mut replies = refused.iter().take(MAX_LINES).map(|(recipient, refusal)| refusal.reply(recipient));
    let mut reply = replies.next()?;
    reply.lines.extend(replies.flat_map(|more| more.lines));
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn guard(smarthost: &str) -> Guard {
        let text = format!(
            "[smarthost.sol]\nhost = \"127.0.0.1\"\ntls = \"none\"\nauth = \"none\"\ndefault = true\n{smarthost}\n\
             [smarthost.other]\nhost = \"127.0.0.1\"\ntls = \"none\"\nauth = \"none\"\n\
             [inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"https://app.test/\"\nsecret_file = \"s\"\n\
             [mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\nsmarthost = \"sol\"\n\
             [channel.villas]\ndomains = [\"guest.villas.test\"]\nreply_to_latest = true\n"
        );
        Guard::of(&config::parse(Path::new("waystation.toml"), &text, std::iter::empty()).unwrap().config)
    }

    fn bound(guard: &Guard, smarthost: &str, from: &str, to: &[&str]) -> Vec<Bound> {
        let to: Vec<Address> = to.iter().map(|text| Address::parse(text, false).unwrap()).collect();
        let message = Message { sender: None, smtputf8: false };
        guard.bound(smarthost, to.iter(), message, || format!("From: {from}\r\n\r\n").into_bytes())
    }

    fn codes(bound: &[Bound], newest: &[(&str, &str)]) -> Vec<&'static str> {
        let known = |_: &str| {
            let one = |(mailbox, address): &(&str, &str)| Newest {
                mailbox: (*mailbox).to_owned(),
                address: (*address).to_owned(),
            };
            newest.iter().map(one).collect()
        };
        refused(bound, known, &[]).iter().map(|(_, refusal)| refusal.code()).collect()
    }

    #[test]
    fn from_is_judged_as_the_smarthost_gets_it() {
        let (kept, forced) = (guard(""), guard("address = \"hola@casasol.test\"\nfrom = \"force\""));
        let guest = &["ana.1@guest.booking.com"][..];
        assert_eq!(codes(&bound(&kept, "sol", "Sol <Hola@CasaSol.test>", guest), &[]), [""; 0]);
        let other = bound(&kept, "sol", "team@casasol.test", guest);
        assert_eq!(codes(&other, &[]), ["channel_from"]);
        assert_eq!(codes(&bound(&forced, "sol", "team@casasol.test", guest), &[]), [""; 0]);
        let told = reply(&refused(&other, |_| Vec::new(), &[])).unwrap().to_string();
        assert!(
            told.starts_with("550 5.7.1 channel_from: <ana.1@guest.booking.com>: booking drops"),
            "{told}"
        );
        assert!(told.contains("hola@casasol.test"), "{told}");
    }

    #[test]
    fn nobody_else_is_judged() {
        let guard = guard("");
        assert_eq!(bound(&guard, "other", "team@casasol.test", &["ana.1@guest.booking.com"]).len(), 0);
        assert_eq!(bound(&guard, "sol", "team@casasol.test", &["ana@booking.com", "b@x.test"]).len(), 0);
        assert_eq!(bound(&Guard::default(), "sol", "a@b.test", &["ana.1@guest.booking.com"]).len(), 0);
    }

    #[test]
    fn an_old_address_is_one_whose_conversation_of_this_mailbox_has_a_newer_one() {
        let bound = bound(&guard(""), "sol", "hola@casasol.test", &["Old@guest.villas.test"]);
        let new = "new@guest.villas.test";
        assert_eq!(codes(&bound, &[]), [""; 0], "nothing is known");
        assert_eq!(codes(&bound, &[("mar", new)]), [""; 0], "of another mailbox");
        assert_eq!(codes(&bound, &[("sol", new)]), ["channel_old_address"]);
        assert_eq!(
            codes(&bound, &[("sol", new), ("sol", "old@guest.villas.test")]),
            [""; 0],
            "newest of another"
        );
    }
}
