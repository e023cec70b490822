//! From a message to what it means: the rooms in their order.

use super::about::{self, About};
use super::addresses;
use super::authentication::{Authentication, Verdict};
use super::automatic::{self, Kind};
use super::channel::{self, Found};
use super::conversation::{self, Conversation, Question, base_subject};
use super::event::{
    AboutData, AttachmentData, AutomaticData, ConversationData, EnvelopeData, Event, EventType, MailboxData,
    MessageData, Notice, ReplyData, VerificationData, notice, shown,
};
use super::mail::Mail;
use super::mailbox::{self, Facts, Identification, account};
use super::token;
use super::verification::{self, Asked, Candidate, Decision};
use super::{DuplicateKey, EndsHere, Index, Interpret, Interpretation, Known, SentText, answer, format};
use crate::config::schema::{EventFormat, Mailbox};
use crate::message::trace;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Octets of attachments, decoded, that an event holds in all.
pub const INLINE_LIMIT: usize = 1 << 20;

/// What a message means. Never fails: a message of which nothing can be understood is held with what there is.
#[must_use]
pub fn interpret(input: &Interpret<'_>, known: &Known<'_>) -> Interpretation {
    understand(input, known).conclude(known)
}

/// What is told of a message that can't be read: that it came, and how.
#[must_use]
pub fn unread(input: &Interpret<'_>) -> Option<Event> {
    let mut mail = Mail::read(b"");
    mail.truncated = true;
    let identification = Identification::unread();
    let answer = answer::extract(None, None, &[]);
    let message =
        Message { automatic: None, correspondent: None, answer, cut_by: None, index: Index::default() };
    let picture = Picture {
        mail: &mail,
        identification: &identification,
        conversation: None,
        message: &message,
        about: None,
    };
    picture.event(&Interpret { message: b"", ..*input })
}

/// The larger part of [`interpret`]: what the message says by itself. Of what the store knows, it only asks for texts
/// that the mailbox sent, so that messages may be understood side by side; [`Understood::conclude`] is for one after the
/// other.
#[must_use]
pub fn understand<'a>(input: &Interpret<'a>, known: &Known<'_>) -> Understood<'a> {
    let mail = Mail::read(input.message);
    let channel = channel::recognise(&mail, input.channels);
    let automatic =
        automatic::kind(&mail, input.envelope.sender, channel.as_ref().is_some_and(|found| found.is_guests));
    let answers = answers(input, &mail, known);
    let read = |authentication: &Authentication| {
        let input = &Interpret { authentication, ..*input };
        (identify(input, &mail, automatic, answers), recognise(input, &mail))
    };
    let (identification, candidate) = read(input.authentication);
    let is_other = |verdict| {
        let (other, asked) = read(&input.authentication.if_dns_said(verdict));
        asked != candidate || candidate.is_none() && other.mailbox != identification.mailbox
    };
    let leans_on_dns =
        input.authentication.is_incomplete() && (is_other(Verdict::Pass) || is_other(Verdict::Fail));
    if let Some(candidate) = candidate {
        let says = Says::Question(Box::new(candidate));
        return Understood { input: *input, mail, identification, leans_on_dns, says };
    }
    let correspondent = correspondent(&mail, channel.as_ref());
    let sent: Vec<SentText> = match (&identification.mailbox, &correspondent) {
        // Of the mailbox's own words, what it wrote isn't quoted.
        (Some(_), Some(_)) if is_author(&mail, &identification) => Vec::new(),
        (Some(mailbox), Some(who)) => (known.sent_texts)(mailbox, &who.to_lowercase()),
        _ => Vec::new(),
    };
    let (answer, cut_by) = answer(&mail, channel.as_ref(), &sent);
    let index = Index {
        message_id: mail.message_id.clone(),
        channel_key: channel.as_ref().and_then(|found| found.key.clone()),
        correspondent: correspondent.as_deref().map(str::to_lowercase),
        subject: base_subject(&mail.subject),
    };
    let message = Message { automatic, correspondent, answer, cut_by, index };
    let says = Says::Message(Box::new(message));
    Understood { input: *input, mail, identification, leans_on_dns, says }
}

/// A message by itself: all but what earlier messages make of it.
pub struct Understood<'a> {
    input: Interpret<'a>,
    mail: Mail<'a>,
    identification: Identification,
    leans_on_dns: bool,
    says: Says,
}

enum Says {
    /// A provider asks whether it may forward.
    Question(Box<Candidate>),
    Message(Box<Message>),
}

struct Message {
    automatic: Option<Kind>,
    correspondent: Option<String>,
    answer: answer::Answer,
    /// What cut the answer.
    cut_by: Option<String>,
    index: Index,
}

impl Understood<'_> {
    /// What it means beside the messages before it, which the store must know by now.
    #[must_use]
    pub fn conclude(self, known: &Known<'_>) -> Interpretation {
        let Understood { input, mail, identification, leans_on_dns, says } = self;
        let input = &input;
        let message = match says {
            Says::Question(candidate) => {
                let read = question(input, &mail, identification, *candidate, known);
                return Interpretation { leans_on_dns, ..read };
            }
            Says::Message(message) => *message,
        };
        let automatic = message.automatic;
        let duplicate_key = duplicate_key(&mail, &identification);
        let duplicate_of = duplicate_key.as_ref().and_then(|key| (known.duplicate)(key));
        let report = automatic::report(&mail, automatic);
        let about = identification.mailbox.as_deref().zip(report.as_ref()).and_then(|(mailbox, report)| {
            let from = mail.from.as_ref().map(|from| from.address.as_str());
            about::find(report, automatic, from, mailbox, identification.conversation, known)
        });
        let was_sent = is_own(&mail, &identification, known);
        let is_form = was_sent && is_form(&mail, &identification, input);
        let ends_here = if input.assigned.is_none() && trace::loops(&mail.header, input.hostname) {
            Some(EndsHere::Loop)
        } else {
            (was_sent && !is_form).then_some(EndsHere::OwnMail)
        };
        // A form's mail is known since it was sent: answers to it will name the conversation it got then.
        let begun = identification.mailbox.as_deref().zip(mail.message_id.as_deref()).filter(|_| is_form);
        let begun = begun.and_then(|(mailbox, id)| (known.by_message_id)(mailbox, id));
        let input = &Interpret { new_conversation: begun.unwrap_or(input.new_conversation), ..*input };
        let conversation = converse(input, &mail, &identification, &message, about.as_ref(), known);
        let picture = Picture {
            mail: &mail,
            identification: &identification,
            conversation,
            message: &message,
            about: about.as_ref(),
        };
        let event = if duplicate_of.is_none() && ends_here.is_none() { picture.event(input) } else { None };
        Interpretation {
            mailbox: identification.mailbox.clone(),
            conversation,
            leaves_out: event.is_some()
                && input.inbox.format != EventFormat::Raw
                && fitting(&mail).contains(&false),
            index: message.index,
            duplicate_key,
            duplicate_of,
            automatic,
            report,
            about,
            ends_here,
            verification: None,
            event,
            identification,
            leans_on_dns,
        }
    }
}

/// The only mailbox that sent what a message answers, where it came to an address that asks for answers.
fn answers<'a>(input: &Interpret<'a>, mail: &Mail<'_>, known: &Known<'_>) -> Option<&'a str> {
    let sent_it = |mailbox: &&&Mailbox| {
        let ids = mail.in_reply_to.iter().chain(mail.references.iter().rev()).take(20);
        ids.into_iter().any(|id| !(known.sent)(&mailbox.name, id).is_empty())
    };
    let local = input.envelope.recipient.rsplit_once('@').map_or("", |(local, _)| local);
    let may_answer = local.rsplit_once('+').is_some_and(|(_, detail)| token::is_token(detail));
    let mut senders = input.mailboxes.iter().filter(sent_it);
    let only = if may_answer { senders.next().filter(|_| senders.next().is_none()) } else { None };
    only.map(|mailbox| mailbox.name.as_str())
}

fn identify(
    input: &Interpret<'_>,
    mail: &Mail<'_>,
    automatic: Option<Kind>,
    answers: Option<&str>,
) -> Identification {
    let recipients: Vec<String> = mail.to.iter().chain(&mail.cc).map(|party| party.address.clone()).collect();
    mailbox::identify(&Facts {
        header: &mail.header,
        sender: input.envelope.sender,
        recipient: input.envelope.recipient,
        machine: automatic.and(mail.from.as_ref()).map(|from| from.address.as_str()),
        recipients: &recipients,
        inbox: input.inbox.address.as_str(),
        mailboxes: input.mailboxes,
        authentication: input.authentication,
        token_keys: input.token_keys,
        answers,
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
    known: &Known<'_>,
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
    let duplicate_of = duplicate_key.as_ref().and_then(|key| (known.duplicate)(key));
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
        about: None,
        ends_here: None,
        verification: Some(candidate),
        leaves_out: false,
        leans_on_dns: false,
    }
}

/// Where an answer goes: the channel's relay, what the author asks for, or the author.
fn correspondent(mail: &Mail<'_>, channel: Option<&Found<'_>>) -> Option<String> {
    let asked = mail.reply_to.first().or(mail.from.as_ref()).map(|party| party.address.clone());
    channel.map(|found| found.relay.clone()).or(asked)
}

/// Two guests may write the same word, and one guest may write it twice: without a Message-ID only what else differs
/// between two mails tells a copy from a second mail, and without a Date nothing does. What is nobody's is no copy of
/// anything: who knows whose it will be when it is released.
fn duplicate_key(mail: &Mail<'_>, identification: &Identification) -> Option<DuplicateKey> {
    let mailbox = identification.mailbox.clone()?;
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let message_id = mail.message_id.clone().or_else(|| {
        let date = mail.field("Date").filter(|date| !date.trim().is_empty())?;
        let from = mail.field("From").unwrap_or_default();
        let whole = format!("{from}\n{date}\n{}", mail.subject);
        Some(hex(digest(&SHA256, whole.as_bytes()).as_ref()))
    })?;
    let body_hash = hex(&mail.body_hash);
    Some(DuplicateKey { mailbox, message_id, body_hash })
}

/// Whether the mailbox sent this itself through us: its author is the mailbox, and its Message-ID is known as sent.
fn is_own(mail: &Mail<'_>, identification: &Identification, known: &Known<'_>) -> bool {
    let Some(name) = &identification.mailbox else { return false };
    let is_sent = |id: &String| !(known.sent)(name, id).is_empty();
    is_author(mail, identification) && mail.message_id.as_ref().is_some_and(is_sent)
}

fn is_author(mail: &Mail<'_>, identification: &Identification) -> bool {
    let author = mail.from.as_ref().map(|from| account(&from.address));
    author.is_some() && author == identification.address.as_deref().map(account)
}

/// Whether what the mailbox sent is a guest's word all the same: a website's form writes to the mailbox, or to a
/// colleague's, in the mailbox's name, and answers are to go to the guest.
fn is_form(mail: &Mail<'_>, identification: &Identification, input: &Interpret<'_>) -> bool {
    let Some(own) = identification.address.as_deref().map(account) else { return false };
    let is_ours = |address: &str| {
        let address = account(address);
        input.mailboxes.iter().any(|mailbox| account(mailbox.address.as_str()) == address)
            || mailbox::is_at_inbox(&address, input.inbox.address.as_str())
    };
    let domain = own.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !mailbox::is_shared(domain));
    let is_own_side = |address: &str| {
        let address = account(address);
        address == own || domain.is_some() && address.rsplit_once('@').map(|(_, domain)| domain) == domain
    };
    mail.reply_to.first().is_some_and(|party| !is_ours(&party.address))
        && (mail.to.is_empty() && mail.cc.is_empty()
            || mail.to.iter().any(|party| is_own_side(&party.address)))
}

fn converse(
    input: &Interpret<'_>,
    mail: &Mail<'_>,
    identification: &Identification,
    message: &Message,
    about: Option<&About>,
    known: &Known<'_>,
) -> Option<Conversation> {
    let index = &message.index;
    // What a bounce is about stands in its report, not in fields of its own.
    let spoken_of = about.filter(|about| about.is_believed).map(|about| about.message_id.clone());
    let in_reply_to: Vec<String> = spoken_of.into_iter().chain(mail.in_reply_to.iter().cloned()).collect();
    let question = Question {
        mailbox: identification.mailbox.as_deref()?,
        token: identification.conversation,
        in_reply_to: &in_reply_to,
        references: &mail.references,
        channel_key: index.channel_key.as_deref(),
        correspondent: index.correspondent.as_deref(),
        subject: index.subject.as_deref(),
        text: mail.text.as_deref(),
        is_automatic: message.automatic.is_some(),
        now: input.received_at,
        fresh: input.new_conversation,
    };
    Some(conversation::find(&question, known))
}

/// What is known of a message before its event is written.
struct Picture<'a> {
    mail: &'a Mail<'a>,
    identification: &'a Identification,
    conversation: Option<Conversation>,
    message: &'a Message,
    about: Option<&'a About>,
}

impl Picture<'_> {
    fn event(&self, input: &Interpret<'_>) -> Option<Event> {
        let mail = self.mail;
        let Message { automatic, correspondent, answer, cut_by, .. } = self.message;
        let include = input.inbox.include;
        let mailbox = self.mailbox();
        let (headers, headers_cut) = include.headers.then(|| format::all_fields(mail)).unzip();
        let headers_cut = headers_cut == Some(true);
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
            reply_address: correspondent.as_deref(),
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
            truncated: mail.truncated || headers_cut,
            message_id: mail.message_id.as_deref(),
            in_reply_to: &mail.in_reply_to,
            references: &mail.references,
            headers,
            attachments: attachments(input.id, mail),
            authentication: input.authentication,
            automatic: AutomaticData { is_automatic: automatic.is_some(), kind: *automatic },
            about: self.about.filter(|about| about.is_believed).map(AboutData::from),
            envelope: EnvelopeData {
                sender: input.envelope.sender.unwrap_or_default(),
                recipient: input.envelope.recipient,
                client: input.envelope.client.map(|client| client.to_string()),
            },
            duplicate_of: None,
            mailbox,
        };
        let kind = if data.mailbox.is_some() { EventType::MessageReceived } else { EventType::MessageHeld };
        let source = format::Source {
            kind,
            now: input.now,
            hostname: input.hostname,
            octets: input.message,
            mail,
            data: &data,
            detail: addresses::detail(input.envelope.recipient, input.inbox.address.as_str())
                .unwrap_or_default(),
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
}

/// The words that were written, and what cut them; without the channel's own and without what is quoted.
fn answer(
    mail: &Mail<'_>,
    channel: Option<&Found<'_>>,
    sent: &[SentText],
) -> (answer::Answer, Option<String>) {
    let known: Vec<&str> = sent.iter().map(|sent| sent.text.as_str()).collect();
    let text = mail.text.as_deref().filter(|_| !mail.text_is_derived);
    let told = answer::Told {
        is_answer: !mail.in_reply_to.is_empty()
            || !mail.references.is_empty()
            || conversation::has_prefix(&mail.subject),
        has_attachments: !mail.attachments.is_empty(),
    };
    let marked = channel.zip(mail.text.as_deref()).and_then(|(found, text)| {
        let cut = channel::without_markers(text, found.channel);
        (cut.len() < text.len()).then_some((found, cut))
    });
    if let Some((found, cut)) = marked {
        let answer = answer::extract_told(Some(cut), None, &known, told);
        let cut_by = answer.cut_by.map_or_else(|| format!("channel:{}", found.channel.name), str::to_owned);
        return (answer, Some(cut_by));
    }
    let answer = answer::extract_told(text, mail.html.as_deref(), &known, told);
    let cut_by = answer.cut_by.map(str::to_owned);
    (answer, cut_by)
}

/// Which attachments an event has room for: as long as there is some, in their order.
fn fitting(mail: &Mail<'_>) -> Vec<bool> {
    let mut room = INLINE_LIMIT;
    let mut takes = |octets: usize| {
        let fits = octets <= room;
        if fits {
            room -= octets;
        }
        fits
    };
    mail.attachments.iter().map(|attachment| takes(attachment.content.len())).collect()
}

/// Attachments with their content while there is room for it.
fn attachments<'m>(id: &str, mail: &'m Mail<'_>) -> Vec<AttachmentData<'m>> {
    mail.attachments
        .iter()
        .zip(fitting(mail))
        .zip(1_usize..)
        .map(|((attachment, fits), number)| AttachmentData {
            id: format!("{id}-{number}"),
            filename: &attachment.filename,
            content_type: &attachment.content_type,
            size_bytes: attachment.content.len(),
            sha256: &attachment.sha256,
            content_id: attachment.content_id.as_deref(),
            disposition: if attachment.inline { "inline" } else { "attachment" },
            content: fits.then(|| STANDARD.encode(&attachment.content)),
        })
        .collect()
}
