//! From a message to what it means: the rooms in their order.

use super::automatic::{self, Kind};
use super::channel::{self, Found};
use super::conversation::{self, Conversation, Question, base_subject};
use super::event::{
    AttachmentData, AutomaticData, ConversationData, EnvelopeData, Event, EventType, MailboxData,
    MessageData, Notice, ReplyData, VerificationData, notice, shown,
};
use super::mail::Mail;
use super::mailbox::{self, Facts, Identification};
use super::verification::{self, Asked, Candidate, Decision};
use super::{DuplicateKey, Index, Interpret, Interpretation, SentText, answer, format};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Octets of attachments, decoded, that an event holds in all.
pub const INLINE_LIMIT: usize = 1 << 20;

/// What a message means. Never fails: a message of which nothing can be understood is held with what there is.
#[must_use]
pub fn interpret(input: &Interpret<'_>) -> Interpretation {
    let mail = Mail::read(input.message);
    let identification = identify(input, &mail);
    if let Some(candidate) = recognise(input, &mail) {
        return question(input, &mail, identification, candidate);
    }
    let channel = channel::recognise(&mail, input.channels);
    let automatic = automatic::kind(&mail, input.envelope.sender, channel.is_some());
    let correspondent = correspondent(&mail, channel.as_ref());
    let index = Index {
        message_id: mail.message_id.clone(),
        channel_key: channel.as_ref().and_then(|found| found.key.clone()),
        correspondent: correspondent.as_deref().map(str::to_lowercase),
        subject: base_subject(&mail.subject),
    };
    let duplicate_key = duplicate_key(&mail, &identification);
    let duplicate_of = (input.known.duplicate)(&duplicate_key);
    let conversation = converse(input, &mail, &identification, &index, automatic);
    let picture = Picture {
        mail: &mail,
        identification: &identification,
        conversation,
        channel: channel.as_ref(),
        correspondent: correspondent.as_deref(),
        automatic,
    };
    let event = if duplicate_of.is_none() { picture.event(input) } else { None };
    Interpretation {
        event,
        mailbox: identification.mailbox.clone(),
        conversation,
        index,
        duplicate_key,
        duplicate_of,
        automatic,
        report: automatic::report(&mail, automatic),
        verification: None,
        identification,
    }
}

fn identify(input: &Interpret<'_>, mail: &Mail<'_>) -> Identification {
    let recipients: Vec<String> = mail.to.iter().chain(&mail.cc).map(|party| party.address.clone()).collect();
    mailbox::identify(&Facts {
        header: &mail.header,
        sender: input.envelope.sender,
        recipient: input.envelope.recipient,
        recipients: &recipients,
        inbox: input.inbox.address.as_str(),
        mailboxes: input.mailboxes,
        authentication: input.authentication,
        token_keys: input.token_keys,
        assigned: input.assigned,
    })
}

fn recognise(input: &Interpret<'_>, mail: &Mail<'_>) -> Option<Candidate> {
    verification::recognise(&Asked {
        mail,
        recipient: input.envelope.recipient,
        inbox: input.inbox.address.as_str(),
        mailboxes: input.mailboxes,
        authentication: input.authentication,
    })
}

/// A provider's question: no message, and an event only if a human must look.
fn question(
    input: &Interpret<'_>,
    mail: &Mail<'_>,
    identification: Identification,
    candidate: Candidate,
) -> Interpretation {
    let event = match &candidate.decision {
        Decision::Confirm(_) => None,
        Decision::Ask(reason) => {
            let data = VerificationData::action_needed(&input.inbox.name, &candidate, reason);
            let about =
                Notice { id: input.id, hostname: input.hostname, now: input.now, format: input.inbox.format };
            notice(EventType::VerificationActionNeeded, &data, &about).ok()
        }
    };
    let duplicate_key = duplicate_key(mail, &identification);
    let duplicate_of = (input.known.duplicate)(&duplicate_key);
    Interpretation {
        event: event.filter(|_| duplicate_of.is_none()),
        mailbox: candidate.mailbox.clone(),
        identification,
        conversation: None,
        index: Index { message_id: mail.message_id.clone(), ..Index::default() },
        duplicate_key,
        duplicate_of,
        automatic: Some(Kind::Notification),
        report: None,
        verification: Some(candidate),
    }
}

/// Where an answer goes: the channel's relay, what the author asks for, or the author.
fn correspondent(mail: &Mail<'_>, channel: Option<&Found<'_>>) -> Option<String> {
    let asked = mail.reply_to.first().or(mail.from.as_ref()).map(|party| party.address.clone());
    channel.map(|found| found.relay.clone()).or(asked)
}

fn duplicate_key(mail: &Mail<'_>, identification: &Identification) -> DuplicateKey {
    DuplicateKey {
        mailbox: identification.mailbox.clone(),
        message_id: mail.message_id.clone().unwrap_or_default(),
        body_hash: mail.body_hash.iter().map(|octet| format!("{octet:02x}")).collect(),
    }
}

fn converse(
    input: &Interpret<'_>,
    mail: &Mail<'_>,
    identification: &Identification,
    index: &Index,
    automatic: Option<Kind>,
) -> Option<Conversation> {
    let question = Question {
        mailbox: identification.mailbox.as_deref()?,
        token: identification.conversation,
        in_reply_to: &mail.in_reply_to,
        references: &mail.references,
        channel_key: index.channel_key.as_deref(),
        correspondent: index.correspondent.as_deref(),
        subject: index.subject.as_deref(),
        text: mail.text.as_deref(),
        is_automatic: automatic.is_some(),
        now: input.received_at,
        fresh: input.new_conversation,
    };
    Some(conversation::find(&question, input.known))
}

/// What is known of a message before its event is written.
struct Picture<'a> {
    mail: &'a Mail<'a>,
    identification: &'a Identification,
    conversation: Option<Conversation>,
    channel: Option<&'a Found<'a>>,
    correspondent: Option<&'a str>,
    automatic: Option<Kind>,
}

impl Picture<'_> {
    fn event(&self, input: &Interpret<'_>) -> Option<Event> {
        let mail = self.mail;
        let (answer, cut_by) = self.answer(input);
        let include = input.inbox.include;
        let mailbox = self.mailbox();
        let data = MessageData {
            id: input.id,
            seq: 0,
            inbox: &input.inbox.name,
            direction: "inbound",
            conversation: self.conversation.map(ConversationData::from),
            from: mail.from.as_ref(),
            reply_to: mail.reply_to.first(),
            to: &mail.to,
            cc: &mail.cc,
            reply_address: self.correspondent,
            subject: &mail.subject,
            date: mail.date.as_deref(),
            received_at: shown(input.received_at),
            reply: ReplyData {
                text: &answer.text,
                html: answer.html.as_deref(),
                cut_by: cut_by.as_deref(),
                confidence: answer.confidence,
                signature: answer.signature.as_deref(),
            },
            text: mail.text.as_deref().filter(|_| include.text),
            html: mail.html.as_deref().filter(|_| include.html),
            truncated: mail.truncated,
            message_id: mail.message_id.as_deref(),
            in_reply_to: &mail.in_reply_to,
            references: &mail.references,
            headers: include.headers.then(|| format::all_fields(mail)),
            attachments: attachments(input.id, mail),
            authentication: input.authentication,
            automatic: AutomaticData { is_automatic: self.automatic.is_some(), kind: self.automatic },
            envelope: EnvelopeData {
                sender: input.envelope.sender.unwrap_or_default(),
                recipient: input.envelope.recipient,
                client: input.envelope.client.map(|client| client.to_string()),
            },
            duplicate_of: None,
            mailbox,
        };
        let kind = if data.mailbox.is_some() { EventType::MessageReceived } else { EventType::MessageHeld };
        let local = input.envelope.recipient.rsplit_once('@').map_or("", |(local, _)| local);
        let source = format::Source {
            kind,
            now: input.now,
            hostname: input.hostname,
            octets: input.message,
            mail,
            data: &data,
            detail: local.split_once('+').map_or("", |(_, detail)| detail),
            secret: input.secret,
        };
        // Everything in it is text and numbers, so there is always a JSON form.
        format::message(input.inbox.format, &source).ok()
    }

    fn mailbox(&self) -> Option<MailboxData<'_>> {
        let found = self.identification;
        Some(MailboxData {
            name: found.mailbox.as_deref()?,
            address: found.address.as_deref()?,
            identified_by: found.identified_by?,
            confidence: found.confidence,
            evidence: &found.evidence,
        })
    }

    /// The words that were written, and what cut them; without the channel's own and without what is quoted.
    fn answer(&self, input: &Interpret<'_>) -> (answer::Answer, Option<String>) {
        let sent: Vec<SentText> = match (&self.identification.mailbox, self.correspondent) {
            (Some(mailbox), Some(who)) => (input.known.sent_texts)(mailbox, &who.to_lowercase()),
            _ => Vec::new(),
        };
        let known: Vec<&str> = sent.iter().map(|sent| sent.text.as_str()).collect();
        let text = self.mail.text.as_deref().filter(|_| !self.mail.text_is_derived);
        let marked = self.channel.zip(self.mail.text.as_deref()).and_then(|(found, text)| {
            let cut = channel::without_markers(text, found.channel);
            (cut.len() < text.len()).then_some((found, cut))
        });
        if let Some((found, cut)) = marked {
            let answer = answer::extract(Some(cut), None, &known);
            let cut_by =
                answer.cut_by.map_or_else(|| format!("channel:{}", found.channel.name), str::to_owned);
            return (answer, Some(cut_by));
        }
        let answer = answer::extract(text, self.mail.html.as_deref(), &known);
        let cut_by = answer.cut_by.map(str::to_owned);
        (answer, cut_by)
    }
}

/// Attachments with their content while there is room for it.
fn attachments<'m>(id: &str, mail: &'m Mail<'_>) -> Vec<AttachmentData<'m>> {
    let mut room = INLINE_LIMIT;
    mail.attachments
        .iter()
        .zip(1_usize..)
        .map(|(attachment, number)| {
            let fits = attachment.content.len() <= room;
            if fits {
                room -= attachment.content.len();
            }
            AttachmentData {
                id: format!("{id}-{number}"),
                filename: &attachment.filename,
                content_type: &attachment.content_type,
                size_bytes: attachment.content.len(),
                sha256: &attachment.sha256,
                content_id: attachment.content_id.as_deref(),
                disposition: if attachment.inline { "inline" } else { "attachment" },
                content: fits.then(|| STANDARD.encode(&attachment.content)),
            }
        })
        .collect()
}
