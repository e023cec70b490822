//! What is remembered of mail that a mailbox sends through us: its conversation, so that the answer finds it.
//!
//! A message is a mailbox's when it leaves through the mailbox's smarthost and its From, as it goes out, is the mailbox's
//! address. Then its Message-ID, whom it is to, subject, and words are kept in the transaction that records its
//! delivery; and every Message-ID that the smarthost's reply reveals, because some give a message a new one. With
//! `reply_token` it asks for answers at a signed address of the inbox, unless it says itself where answers go, or is to
//! a booking channel, which wants the mailbox's own address.
//!
//! Pure but for the look-ups in the queue's index; a lane without mailboxes never comes here.

use crate::config::schema::{Channel, Config, Mailbox};
use crate::inbox::conversation::{self, ConversationId, Question, base_subject};
use crate::inbox::mail::Mail;
use crate::inbox::mailbox::account;
use crate::inbox::token::{self, TokenKey};
use crate::inbox::{answer, automatic, channel};
use crate::queue::memory::{CORRESPONDENTS, TEXT_OCTETS};
use crate::queue::{Due, Fate, Knowledge, Memory, Place, QueueError};
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;
use std::sync::Arc;

/// Octets of a message that are looked at; words and fields stand in front.
pub const SEEN: usize = 256 * 1024;

/// The mailboxes that send through one smarthost.
#[derive(Debug, Clone, Default)]
pub struct Senders(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    /// Each with its inbox's address.
    mailboxes: Vec<(Mailbox, String)>,
    channels: Vec<Channel>,
    key: Option<TokenKey>,
}

/// A mailbox's message on its way out.
#[derive(Debug)]
pub struct Sent {
    memory: Memory,
    /// Where answers are asked for.
    pub reply_to: Option<String>,
}

impl Senders {
    /// Those of this smarthost. The first key signs reply tokens; without one there are none.
    #[must_use]
    pub fn of(config: &Config, smarthost: &str, keys: &[TokenKey]) -> Self {
        let sends = |mailbox: &&Mailbox| mailbox.smarthost.as_deref() == Some(smarthost);
        let with_inbox = |mailbox: &Mailbox| {
            let inbox = config.inboxes.get(&mailbox.inbox)?;
            Some((mailbox.clone(), inbox.address.as_str().to_owned()))
        };
        let mailboxes: Vec<_> = config.mailboxes.values().filter(sends).filter_map(with_inbox).collect();
        if mailboxes.is_empty() {
            return Self(None);
        }
        let channels = config.channels.values().cloned().collect();
        Self(Some(Arc::new(Known { mailboxes, channels, key: keys.first().cloned() })))
    }

    /// Whether no mailbox sends through it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The message, if a mailbox sends it. `octets` is its beginning as it goes out, with the whole header section.
    /// Beside it: what kept its conversation from being looked up; it is then a new one.
    #[must_use]
    pub fn read(
        &self,
        octets: &[u8],
        due: &Due,
        knowledge: &mut Knowledge,
    ) -> (Option<Sent>, Option<QueueError>) {
        let Some(known) = &self.0 else { return (None, None) };
        let mail = Mail::read(octets.get(..octets.len().min(SEEN)).unwrap_or_default());
        let Some(from) = mail.from.as_ref().map(|from| account(&from.address)) else {
            return (None, None);
        };
        let is_sender = |(mailbox, _): &&(Mailbox, String)| account(mailbox.address.as_str()) == from;
        let Some((mailbox, inbox)) = known.mailboxes.iter().find(is_sender) else { return (None, None) };
        let (place, trouble) = known.place(&mail, mailbox, due, knowledge);
        let is_to_channel = {
            let named = place.correspondents.iter().map(String::as_str);
            let all = named.chain(due.envelope.recipients.iter().map(|recipient| recipient.address.as_str()));
            let own: Vec<&Channel> = known.channels.iter().collect();
            all.into_iter().any(|address| channel::of_address(address, &own).is_some())
        };
        let may_ask = mailbox.reply_token && !is_to_channel && inbox.is_ascii();
        let says_itself = mail.header.named("Reply-To").next().is_some();
        let key = known.key.as_ref().filter(|_| may_ask && !says_itself);
        let address = mailbox.address.as_str();
        let reply_to = key.and_then(|key| token::address(inbox, address, place.conversation, key));
        (Some(Sent { memory: Memory { place: Some(place), ..Memory::default() }, reply_to }), trouble)
    }
}

impl Known {
    fn place(
        &self,
        mail: &Mail<'_>,
        mailbox: &Mailbox,
        due: &Due,
        knowledge: &mut Knowledge,
    ) -> (Place, Option<QueueError>) {
        let correspondents = correspondents(mail, mailbox, due);
        let own: Vec<&Channel> = self.channels.iter().collect();
        let found = correspondents.iter().find_map(|address| channel::addressed(mail, address, &own));
        let channel_key = found.and_then(|found| found.key);
        let subject = base_subject(&mail.subject);
        // A message that was delivered in part before is in its conversation already.
        let in_reply_to: Vec<String> = mail.message_id.iter().chain(&mail.in_reply_to).cloned().collect();
        let sender = due.envelope.sender.as_ref().map(Address::as_str);
        let fresh = ConversationId::from_bits(due.id.to_bits());
        let question = Question {
            mailbox: &mailbox.name,
            token: None,
            in_reply_to: &in_reply_to,
            references: &mail.references,
            channel_key: channel_key.as_deref(),
            correspondent: correspondents.first().map(String::as_str),
            subject: subject.as_deref(),
            text: None,
            is_automatic: automatic::kind(mail, sender, false).is_some(),
            now: due.received_at,
            fresh,
        };
        let found = knowledge.ask(|known| conversation::find(&question, known).id);
        let (conversation, trouble) = match found {
            Ok(found) => (found, None),
            Err(cause) => (fresh, Some(cause)),
        };
        let place = Place {
            mailbox: mailbox.name.clone(),
            conversation,
            is_ours: true,
            message_ids: mail.message_id.iter().cloned().collect(),
            channel_key,
            correspondents,
            subject,
            answer_to: None,
            text: own_words(mail),
        };
        (place, trouble)
    }
}

/// Whom To and Cc name, without the mailbox itself; the envelope's recipients when they name nobody.
fn correspondents(mail: &Mail<'_>, mailbox: &Mailbox, due: &Due) -> Vec<String> {
    let itself = account(mailbox.address.as_str());
    let named = mail.to.iter().chain(&mail.cc).map(|party| party.address.as_str());
    let enveloped = due.envelope.recipients.iter().map(|recipient| recipient.address.as_str());
    let mut found: Vec<String> = Vec::new();
    for address in named.map(Some).chain([None]).chain(enveloped.map(Some)) {
        match address {
            Some(address) if found.len() < CORRESPONDENTS => {
                let lower = address.to_lowercase();
                if account(address) != itself && !found.contains(&lower) {
                    found.push(lower);
                }
            }
            None if !found.is_empty() => break,
            Some(_) | None => {}
        }
    }
    found
}

/// What the mailbox wrote itself, without what it quotes.
fn own_words(mail: &Mail<'_>) -> Option<String> {
    let text = mail.text.as_deref().filter(|_| !mail.text_is_derived);
    let mut words = answer::extract(text, mail.html.as_deref(), &[]).text;
    words.truncate(words.floor_char_boundary(TEXT_OCTETS));
    Some(words).filter(|words| !words.trim().is_empty())
}

impl Sent {
    /// What to remember once it is delivered or refused for good: the bounce of a refused one comes back, too. None when
    /// it is only tried again. `host` is the smarthost's, whose replies may reveal what it made of the Message-ID.
    #[must_use]
    pub fn settled<'f>(self, host: &str, fates: impl Iterator<Item = &'f Fate>) -> Option<Memory> {
        let fates: Vec<&Fate> = fates.filter(|fate| !matches!(fate, Fate::Deferred(_))).collect();
        let replies: Vec<&Reply> = fates
            .iter()
            .filter_map(|fate| match fate {
                Fate::Delivered(reply) => Some(reply),
                _ => None,
            })
            .collect();
        let mut memory = self.memory;
        let place = memory.place.as_mut().filter(|_| !fates.is_empty())?;
        if replies.is_empty() {
            // Nobody can quote what nobody got.
            place.text = None;
        }
        for id in replies.into_iter().filter_map(|reply| revealed(host, reply)) {
            if !place.message_ids.contains(&id) {
                place.message_ids.push(id);
            }
        }
        Some(memory)
    }
}

/// The Message-ID that a positive reply to the content reveals, with brackets.
///
/// Amazon SES puts one of its own in place of the message's and answers with its local part; the domain is the
/// region's (docs.aws.amazon.com/ses: "`SendEmail` returns a message ID"; seen on mail: `email.amazonses.com` for
/// us-east-1, `REGION.amazonses.com` elsewhere). Others, such as Microsoft 365, answer with the whole in brackets.
#[must_use]
pub fn revealed(host: &str, reply: &Reply) -> Option<String> {
    let text = reply.lines.join(" ");
    if let Some((id, _)) = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        let is_one = id.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
        let is_plain = id.bytes().all(|octet| octet.is_ascii_graphic());
        return (is_one && is_plain && id.len() <= 500).then(|| format!("<{id}>"));
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let mut labels = host.strip_suffix(".amazonaws.com")?.split('.');
    let region = labels.next().filter(|first| first.starts_with("email-smtp")).and(labels.next())?;
    let id = text.split_whitespace().last().filter(|word| {
        word.len() >= 20 && word.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-')
    })?;
    let domain = if region == "us-east-1" { "email" } else { region };
    Some(format!("<{id}@{domain}.amazonses.com>"))
}
