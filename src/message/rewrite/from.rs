//! From, Sender, Reply-To and the envelope sender, made such that a smarthost accepts them (RFC 5322 §3.6.2).
//!
//! A rewritten From holds exactly one mailbox, the account's own, with the name of the original or the configured
//! one; whom the original named is put into Reply-To, unless the message has one, which stays exactly as it came.
//! Sender then goes, because From says it all. A From that is the account's own mailbox already only gets the configured name. The null sender stays null (RFC 5321 §4.5.5). A display name that
//! looks like an address is a name and nothing else.

use super::list::{AddressList, Entry};
use super::phrase::{self, Phrase};
use super::{Edits, listed, signature};
use crate::message::decode;
use crate::message::fields::{Field, HeaderSection};
use crate::smtp::address::{Address, dns_domain};

/// Octets of a Reply-To that we write; a list that goes on beyond is no list of people.
const MAX_REPLY_TO: usize = 16 * 1024;

/// When From is rewritten (`from = …` of a smarthost).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromMode {
    /// Never.
    Keep,
    /// When it isn't among `allowed_from`.
    IfNotAllowed,
    /// Whenever it isn't the mailbox already.
    Force,
}

impl std::fmt::Display for FromMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::IfNotAllowed => "if_not_allowed",
            Self::Force => "force",
        })
    }
}

/// The account at the smarthost, as far as it matters who a message is from.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// The smarthost's name, for the journal.
    pub smarthost: &'a str,
    /// When From is rewritten.
    pub mode: FromMode,
    /// The mailbox's own address; without one nothing is ever changed.
    pub address: Option<&'a Address>,
    /// The name it goes by; none keeps the original's.
    pub display_name: Option<&'a str>,
    /// What the smarthost accepts as From; none is any.
    pub allowed: Option<&'a dyn Fn(&Address) -> bool>,
}

/// What is changed for a smarthost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// In the header section.
    pub edits: Edits,
    /// The envelope sender to use instead of the message's own.
    pub sender: Option<Address>,
    /// Every change in words.
    pub changes: Vec<String>,
}

/// What [`rewrite`] must know of a message beside its header section.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The envelope sender.
    pub sender: Option<&'a Address>,
    /// Whether it travels with SMTPUTF8 (RFC 6531), so that addresses in fields may have octets above 127.
    pub smtputf8: bool,
}

impl Account<'_> {
    /// Whether the header section matters at all. If not, [`rewrite`] needs an empty one only.
    #[must_use]
    pub fn reads_header(&self) -> bool {
        self.address.is_some() && (self.mode != FromMode::Keep || self.display_name.is_some())
    }

    /// Whether this smarthost would take the message's From as it is; for the choice of a fallback.
    #[must_use]
    pub fn accepts(&self, header: &HeaderSection<'_>) -> bool {
        let Some(allowed) = self.allowed else { return true };
        all(&field_list(header, "From"), allowed)
    }
}

/// Decides what is changed when a message leaves through this account.
#[must_use]
pub fn rewrite(header: &HeaderSection<'_>, message: Message<'_>, account: &Account<'_>) -> Rewriting {
    let Some(address) = account.address else { return Rewriting::default() };
    let mut draft = Draft {
        header,
        account,
        address,
        smtputf8: message.smtputf8,
        result: Rewriting::default(),
        touched: Vec::new(),
    };
    let rewritten = draft.from();
    draft.envelope(message.sender, rewritten);
    if let Some(words) = signature::broken(header, &draft.touched) {
        draft.result.changes.push(words);
    }
    draft.result
}

struct Draft<'d, 'a> {
    header: &'d HeaderSection<'a>,
    account: &'d Account<'d>,
    address: &'d Address,
    smtputf8: bool,
    result: Rewriting,
    touched: Vec<&'static str>,
}

impl<'a> Draft<'_, 'a> {
    /// From and what depends on it; whether From is another now.
    fn from(&mut self) -> bool {
        let fields: Vec<Field<'a>> = self.header.named("From").cloned().collect();
        let judged = match self.account.mode {
            FromMode::Keep => false,
            FromMode::IfNotAllowed => self.account.allowed.is_some(),
            FromMode::Force => true,
        };
        let Some(first) = fields.first() else {
            if self.account.mode != FromMode::Keep && self.add_from() && judged {
                self.sender(true);
            }
            return false;
        };
        let list = field_list(self.header, "From");
        if !judged {
            if let [only] = fields.as_slice() {
                self.name(only, &list);
            }
            return false;
        }
        if self.fits(&list) {
            let kept = self.reduce("From", &fields).unwrap_or(first);
            let authors = AddressList::of(kept.raw_value());
            self.name(kept, &authors);
            if authors.entries.len() > 1 && self.header.count("Sender") == 0 {
                self.add_sender(kept);
            }
            self.sender(matches!(authors.entries.as_slice(), [only] if self.is_mailbox(only)));
            return false;
        }
        self.replace_from(first, &fields, &list);
        self.drop_sender();
        true
    }

    /// A From that is the mailbox already gets its name, whatever else is kept.
    fn name(&mut self, from: &Field<'_>, list: &AddressList) {
        let [entry] = list.entries.as_slice() else { return };
        if !self.is_mailbox(entry) || self.is_named(entry) {
            return;
        }
        let Some(name) = self.account.display_name else { return };
        self.say("From", &format!("From: name set to {name}"));
        let named = Phrase::of_text(name);
        let octets = phrase::field("From", &mailbox(named.as_ref(), self.address));
        self.result.edits.put(from.range(), octets);
    }

    /// Whether it goes by the account's name, if that has one.
    fn is_named(&self, entry: &Entry) -> bool {
        let named = self.account.display_name.and_then(Phrase::of_text);
        named.is_none_or(|named| entry.name.as_ref().is_some_and(|name| name.written() == named.written()))
    }

    /// RFC 6409 §8.1 lets us add what RFC 5322 §3.6 wants; From is the mailbox, because nobody else is known.
    fn add_from(&mut self) -> bool {
        if self.header.unfinished().is_some_and(|name| name.eq_ignore_ascii_case(b"From")) {
            return false;
        }
        let name = self.account.display_name.and_then(Phrase::of_text);
        let field = phrase::field("From", &mailbox(name.as_ref(), self.address));
        self.result.edits.append(self.header, &field);
        self.say("From", &format!("From: {} added, the message had none", self.address));
        true
    }

    /// Whether From may stay as it is.
    fn fits(&self, list: &AddressList) -> bool {
        match (self.account.mode, self.account.allowed) {
            (FromMode::Keep, _) => true,
            (FromMode::IfNotAllowed, allowed) => allowed.is_none_or(|allowed| all(list, allowed)),
            (FromMode::Force, _) => {
                let [entry] = list.entries.as_slice() else { return false };
                self.is_mailbox(entry) && self.is_named(entry)
            }
        }
    }

    fn is_mailbox(&self, entry: &Entry) -> bool {
        entry.address.as_ref().is_some_and(|address| same(address, self.address))
    }

    fn replace_from(&mut self, first: &Field<'_>, fields: &[Field<'_>], list: &AddressList) {
        let name = match self.account.display_name {
            Some(name) => Phrase::of_text(name),
            // Of several authors the first, or what they call themselves together.
            None => list.entries.first().and_then(|entry| entry.name.clone()).or_else(|| list.group.clone()),
        };
        let mut octets = phrase::field("From", &mailbox(name.as_ref(), self.address));
        let why = match self.account.mode {
            FromMode::Force => format!("smarthost {} sends as that mailbox only", self.account.smarthost),
            _ => format!("not allowed by smarthost {}", self.account.smarthost),
        };
        let same_address = matches!(list.entries.as_slice(), [only] if self.is_mailbox(only));
        self.say(
            "From",
            &match self.account.display_name.filter(|_| same_address) {
                Some(name) => format!("From: name set to {name}"),
                None => format!("From: {} → {} ({why})", shown(list), self.address),
            },
        );
        if !same_address && let Some(reply_to) = self.reply_to(list) {
            octets.extend_from_slice(&reply_to);
        }
        self.result.edits.put(first.range(), octets);
        self.cut_rest("From", fields);
    }

    /// The original From as Reply-To, if the message has none that names anybody: answers go to whom they would have gone.
    fn reply_to(&mut self, list: &AddressList) -> Option<Vec<u8>> {
        if !self.header.named("Reply-To").all(|field| is_void(field.raw_value())) {
            return None;
        }
        let (mut written, mut told, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let (mut length, mut beyond) = (0, 0);
        for entry in &list.entries {
            let Some(address) = &entry.address else { continue };
            if !address.is_ascii() && !self.smtputf8 {
                left.push(address.as_str());
                continue;
            }
            let mailbox = mailbox(entry.name.as_ref(), address);
            length += mailbox.len();
            if length > MAX_REPLY_TO && !written.is_empty() {
                beyond += 1;
                continue;
            }
            written.push(mailbox);
            told.push(address.as_str());
        }
        if beyond > 0 {
            self.result.changes.push(format!("Reply-To: {beyond} addresses left out, there are too many"));
        }
        if !left.is_empty() {
            let left = listed(left.iter());
            self.result.changes.push(format!("Reply-To: {left} left out, it would take SMTPUTF8"));
        }
        if written.is_empty() {
            return None;
        }
        for field in self.header.named("Reply-To") {
            self.result.edits.cut(field.range());
        }
        let words = format!("Reply-To: {} added", listed(told.iter()));
        self.say("Reply-To", &words);
        Some(phrase::field("Reply-To", &written.join(", ")))
    }

    /// One field of a name that may stand once (RFC 5322 §3.6): the first that says anything.
    fn reduce<'f>(&mut self, name: &'static str, fields: &'f [Field<'a>]) -> Option<&'f Field<'a>> {
        let says = |field: &&Field<'_>| !AddressList::of(field.raw_value()).entries.is_empty();
        let kept = fields.iter().find(says).or(fields.first());
        for field in fields.iter().filter(|field| Some(*field) != kept) {
            self.result.edits.cut(field.range());
        }
        if fields.len() > 1 {
            self.say(name, &format!("{name}: {} fields made one, as RFC 5322 wants", fields.len()));
        }
        kept
    }

    fn cut_rest(&mut self, name: &'static str, fields: &[Field<'_>]) {
        for field in fields.iter().skip(1) {
            self.result.edits.cut(field.range());
        }
        if fields.len() > 1 {
            self.say(name, &format!("{name}: {} fields made one, as RFC 5322 wants", fields.len()));
        }
    }

    /// From is one mailbox now, which also sends: Sender would say it twice or say something else.
    fn drop_sender(&mut self) {
        let fields: Vec<Field<'a>> = self.header.named("Sender").cloned().collect();
        if fields.is_empty() {
            return;
        }
        for field in &fields {
            self.result.edits.cut(field.range());
        }
        let list = field_list(self.header, "Sender");
        self.say("Sender", &format!("Sender: {} removed, From is the mailbox", shown(&list)));
    }

    /// RFC 5322 §3.6.2 wants one where From names several.
    fn add_sender(&mut self, from: &Field<'_>) {
        let end = from.range().end;
        let mut field = phrase::field("Sender", self.address.as_str());
        if !from.octets().ends_with(b"\n") {
            field.splice(0..0, *b"\r\n");
        }
        self.result.edits.put(end..end, field);
        self.say("Sender", &format!("Sender: {} added, From names several", self.address));
    }

    /// From stays; a Sender must be one that the smarthost allows. `from_is_mailbox`: then none is needed.
    fn sender(&mut self, from_is_mailbox: bool) {
        let fields: Vec<Field<'a>> = self.header.named("Sender").cloned().collect();
        let Some(first) = fields.first() else { return };
        let sender = field_list(self.header, "Sender");
        let good = match self.account.mode {
            FromMode::Force => matches!(sender.entries.as_slice(), [only] if self.is_mailbox(only)),
            _ => self.account.allowed.is_none_or(|allowed| all(&sender, allowed)),
        };
        if good {
            self.reduce("Sender", &fields);
            return;
        }
        if from_is_mailbox {
            return self.drop_sender();
        }
        self.result.edits.put(first.range(), phrase::field("Sender", self.address.as_str()));
        let words = format!(
            "Sender: {} → {} (not allowed by smarthost {})",
            shown(&sender),
            self.address,
            self.account.smarthost
        );
        self.say("Sender", &words);
        self.cut_rest("Sender", &fields);
    }

    /// A smarthost that wants its mailbox in From wants it in MAIL, too.
    fn envelope(&mut self, sender: Option<&Address>, rewritten: bool) {
        let Some(sender) = sender.filter(|sender| !same(sender, self.address)) else { return };
        let why = match self.account.mode {
            _ if rewritten => "as From",
            FromMode::Force => "as From",
            _ if self.account.allowed.is_some_and(|allowed| !allowed(sender)) => {
                "not allowed by the smarthost"
            }
            _ => return,
        };
        self.result.changes.push(format!("envelope sender: {sender} → {} ({why})", self.address));
        self.result.sender = Some(self.address.clone());
    }

    fn say(&mut self, name: &'static str, words: &str) {
        if !self.touched.contains(&name) {
            self.touched.push(name);
        }
        self.result.changes.push(decode::clean(words, 2000));
    }
}

/// What all fields of a name hold together.
fn field_list(header: &HeaderSection<'_>, name: &str) -> AddressList {
    let mut list = AddressList::default();
    for field in header.named(name) {
        list.extend(AddressList::of(field.raw_value()));
    }
    list
}

/// Whether it is a list of allowed addresses and nothing else.
fn all(list: &AddressList, allowed: &dyn Fn(&Address) -> bool) -> bool {
    !list.entries.is_empty() && list.entries.iter().all(|entry| entry.address.as_ref().is_some_and(allowed))
}

fn shown(list: &AddressList) -> String {
    if list.entries.is_empty() {
        return "no address".to_owned();
    }
    listed(list.entries.iter().map(|entry| entry.address.as_ref().map_or("no address", Address::as_str)))
}

fn mailbox(name: Option<&Phrase>, address: &Address) -> String {
    match name {
        Some(name) => format!("{} <{address}>", name.written()),
        None => address.to_string(),
    }
}

/// Whether a list of addresses is empty, or an empty group. What can't be read may mean somebody all the same.
fn is_void(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let group = value.strip_suffix(b";").map(<[u8]>::trim_ascii_end).and_then(|rest| rest.strip_suffix(b":"));
    value.is_empty()
        || group.is_some_and(|name| {
            name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b' ' || *octet == b'-')
        })
}

/// The same mailbox: local parts exactly (RFC 5321 §2.4), domains without case.
fn same(a: &Address, b: &Address) -> bool {
    a.local() == b.local() && dns_domain(a.domain()) == dns_domain(b.domain())
}
