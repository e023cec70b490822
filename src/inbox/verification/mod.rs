//! A provider asks whether a mailbox may forward here: recognised in any language, and decided; never a guest's message.
//!
//! Gmail's question is known by its sender, Google's DKIM signature and the path of its link, never by words. It is
//! confirmed by itself only for a mailbox that is configured. Other providers' questions are shown to a human. Pure: the
//! fetching is the caller's, step by step as [`Confirmation`] says.

mod confirmation;
mod link;
mod page;

pub use confirmation::{Confirmation, MAX_PAGE, PATIENCE, Seen, Step, Why};
pub use link::{HOSTS, Link, PATH};

use super::addresses;
use super::authentication::Authentication;
use super::conversation::is_nobody;
use super::mail::Mail;
use super::mailbox::{self, comparable, is_within};
use crate::config::schema::Mailbox;
use std::ops::RangeInclusive;

/// Who sends Gmail's question.
const GMAIL: [&str; 2] = ["forwarding-noreply@google.com", "forwarding-noreply@googlemail.com"];
/// Links shown of one question.
const MAX_LINKS: usize = 10;

/// A question whether a mailbox may forward here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `gmail`, `zoho`, …
    pub provider: &'static str,
    /// The account that wants to forward, when the mail names exactly one.
    pub requested_by: Option<String>,
    /// Its mailbox here, by name.
    pub mailbox: Option<String>,
    /// The code that some providers want typed in.
    pub code: Option<String>,
    /// Links a human may open, all at the provider; empty when the sender isn't proven.
    pub links: Vec<String>,
    /// The address it came to, when nothing but a configured mailbox is needed to confirm it.
    pub waits_at: Option<String>,
    /// Whose DKIM signature holds.
    pub signing_domain: Option<String>,
    /// What to do.
    pub decision: Decision,
}

/// What to do about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Confirm it: start a [`Confirmation`] with this link, once for each account and inbox.
    Confirm(Link),
    /// Tell a human, by `verification.action_needed`.
    Ask(Reason),
}

/// Why a human must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It says it is from Google, and isn't signed by Google.
    #[error("it says it is Google's but has no valid signature of google.com; its link isn't shown")]
    NotSigned,
    /// It wasn't written to this inbox.
    #[error("it was written to another address and sent on to this inbox; its link isn't shown")]
    NotForUs,
    /// The account isn't a configured mailbox.
    #[error(
        "the account isn't a [mailbox] of this inbox; add it, and the link is opened, or open it by hand if you know it"
    )]
    UnknownAccount,
    /// It came to the own address of another mailbox.
    #[error("it came to the address of another mailbox; forward this account to its own address")]
    WrongAddress,
    /// No link, or several.
    #[error("there isn't exactly one confirmation link in it")]
    NoLink,
    /// The provider wants a human.
    #[error("this provider's question must be answered by a human")]
    ByHand,
}

/// A provider whose question is shown.
struct Provider {
    name: &'static str,
    domains: &'static [&'static str],
}

const PROVIDERS: &[Provider] = &[
    Provider { name: "gmail", domains: &["google.com"] },
    Provider { name: "zoho", domains: &["zoho.com", "zohomail.com", "zoho.eu", "zoho.in", "zohocorp.com"] },
    Provider { name: "proton", domains: &["proton.me", "protonmail.com"] },
    Provider { name: "yandex", domains: &["yandex.ru", "yandex.com"] },
    Provider { name: "gmx", domains: &["gmx.net", "gmx.de", "gmx.com", "gmx.at", "gmx.ch"] },
    Provider { name: "webde", domains: &["web.de"] },
    Provider { name: "yahoo", domains: &["yahoo.com", "yahooinc.com"] },
    Provider { name: "mailru", domains: &["mail.ru"] },
];

/// Local parts that only machines have.
const MACHINES: &[&str] =
    &["forwarding", "notification", "notifications", "verification", "verify", "mailer"];
/// And those that are a known provider's machines.
const KNOWN_MACHINES: &[&str] = &["support", "mail", "service", "team"];

/// "forward" in the languages of those providers' users.
const FORWARD: &[&str] = &[
    "forward",
    "weiterleit",
    "reenv",
    "transfér",
    "transfer",
    "inoltr",
    "encaminh",
    "doorst",
    "doorsch",
    "пересыл",
    "перенаправ",
    "przekaz",
    "转发",
    "轉寄",
    "転送",
    "전달",
];

/// What a mail is looked at with.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The mail.
    pub mail: &'a Mail<'a>,
    /// The forward-path.
    pub recipient: &'a str,
    /// The inbox's own address.
    pub inbox: &'a str,
    /// Its mailboxes.
    pub mailboxes: &'a [&'a Mailbox],
    /// What is known of the hop.
    pub authentication: &'a Authentication,
}

/// Recognises a question. None for all other mail.
#[must_use]
pub fn recognise(asked: &Asked<'_>) -> Option<Candidate> {
    let from = match asked.mail.parties("From").as_slice() {
        [only] => only.address.to_ascii_lowercase(),
        _ => return None,
    };
    if GMAIL.contains(&from.as_str()) { Some(gmail(asked)) } else { other(asked, &from) }
}

fn gmail(asked: &Asked<'_>) -> Candidate {
    let account = account(asked);
    let mailbox = account.as_ref().and_then(|account| mailbox_at(asked, account));
    let signed = asked.authentication.is_signed_by("google.com");
    let mut found = Candidate {
        provider: "gmail",
        requested_by: account,
        mailbox: mailbox.map(|mailbox| mailbox.name.clone()),
        code: code(asked.mail, &[8..=10]),
        links: Vec::new(),
        waits_at: None,
        signing_domain: signed.then(|| "google.com".to_owned()),
        decision: Decision::Ask(Reason::NotSigned),
    };
    if !signed {
        found.code = None;
        return found;
    }
    if !is_written_to_us(asked) {
        found.code = None;
        found.decision = Decision::Ask(Reason::NotForUs);
        return found;
    }
    let mut links: Vec<Link> = Vec::new();
    for link in texts(asked.mail).flat_map(link::urls).filter_map(|url| Link::parse(&url)) {
        if !links.contains(&link) {
            links.push(link);
        }
    }
    found.links = links.iter().map(|link| link.expose().to_owned()).take(MAX_LINKS).collect();
    found.decision = match (links.as_slice(), mailbox) {
        // Adding the account would not do: what comes to this address is another mailbox's.
        (_, None) if is_anothers(asked) => Decision::Ask(Reason::WrongAddress),
        (_, None) => Decision::Ask(Reason::UnknownAccount),
        (_, Some(mailbox)) if !may_come_to(asked.recipient, asked.inbox, mailbox) => {
            Decision::Ask(Reason::WrongAddress)
        }
        ([only], Some(_)) => Decision::Confirm(only.clone()),
        _ => Decision::Ask(Reason::NoLink),
    };
    let is_confirmed = matches!(found.decision, Decision::Confirm(_) | Decision::Ask(Reason::UnknownAccount));
    if links.len() == 1 && is_confirmed {
        found.waits_at = found.requested_by.as_ref().map(|_| asked.recipient.to_owned());
    }
    found
}

/// A provider's own machine writes straight to us about forwarding, with a link of its own or a code. Of one that isn't
/// known, the machine must be plainly one, and its domain must have signed.
fn other(asked: &Asked<'_>, from: &str) -> Option<Candidate> {
    let domain = from.rsplit_once('@')?.1;
    let known = PROVIDERS.iter().find(|provider| provider.domains.iter().any(|own| is_within(domain, own)));
    let local = from.split('@').next().unwrap_or_default();
    let is_machine = is_nobody(from) || MACHINES.contains(&local);
    let is_known_machine = known.is_some() && KNOWN_MACHINES.contains(&local);
    let speaks = |text: &str| {
        let text = text.to_lowercase();
        FORWARD.iter().any(|word| text.contains(word))
    };
    if !(is_machine || is_known_machine) || !is_written_to_us(asked) || !texts(asked.mail).any(speaks) {
        return None;
    }
    let (signer, theirs) = match known {
        Some(provider) => {
            let is_theirs = |host: &str| provider.domains.iter().any(|own| is_within(host, own));
            (asked.authentication.signers().find(|signer| is_theirs(signer))?, provider.domains.to_vec())
        }
        // Nobody answers a question, and nobody asks one in an answer.
        None if !asked.mail.in_reply_to.is_empty() || !is_at_own_address(asked) => return None,
        // Whoever shows Gmail's link under another name is no provider.
        None if texts(asked.mail).flat_map(link::urls).any(|url| Link::parse(&url).is_some()) => return None,
        None => {
            let aligned = |signer: &&str| is_within(domain, signer) || is_within(signer, domain);
            let signer = asked.authentication.signers().find(aligned)?;
            let base = if is_within(domain, signer) { signer } else { domain };
            (signer, vec![base])
        }
    };
    let mut links: Vec<String> = Vec::new();
    for url in texts(asked.mail).flat_map(link::urls) {
        let host = url
            .strip_prefix("https://")
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .unwrap_or_default();
        let is_theirs = theirs.iter().any(|own| is_within(&host.to_lowercase(), own));
        if is_theirs && links.len() < MAX_LINKS && !links.contains(&url) {
            links.push(url);
        }
    }
    let code = code(asked.mail, &[8..=10, 6..=7, 4..=5]);
    if links.is_empty() && code.is_none() {
        return None;
    }
    let account = account(asked);
    let mailbox = account.as_ref().and_then(|account| mailbox_at(asked, account));
    Some(Candidate {
        provider: known.map_or("other", |provider| provider.name),
        mailbox: mailbox.map(|mailbox| mailbox.name.clone()),
        requested_by: account,
        code,
        links,
        waits_at: None,
        signing_domain: Some(signer.to_owned()),
        decision: Decision::Ask(Reason::ByHand),
    })
}

/// Whether it came to the inbox's address or a mailbox's own, not to one that a message of ours asked for answers at.
fn is_at_own_address(asked: &Asked<'_>) -> bool {
    let Some(detail) = addresses::detail(asked.recipient, asked.inbox) else { return true };
    let tokens = asked.mailboxes.iter().filter_map(|mailbox| mailbox.token.as_deref());
    tokens.into_iter().any(|token| token.eq_ignore_ascii_case(detail))
}

/// To is signed by the provider: a question to somebody else, sent on to us, must not be answered.
fn is_written_to_us(asked: &Asked<'_>) -> bool {
    let ours = |address: &str| {
        comparable(address) == comparable(asked.recipient) || comparable(address) == comparable(asked.inbox)
    };
    asked.mail.to.iter().any(|party| ours(&party.address))
}

/// Whether it came to a mailbox's own address.
fn is_anothers(asked: &Asked<'_>) -> bool {
    let detail = addresses::detail(asked.recipient, asked.inbox);
    let has_it = |token: &str| detail.is_some_and(|detail| token.eq_ignore_ascii_case(detail));
    asked.mailboxes.iter().any(|mailbox| mailbox.token.as_deref().is_some_and(has_it))
}

/// Whether this mailbox's mail would be taken for its own at the address the question came to.
#[must_use]
pub fn may_come_to(recipient: &str, inbox: &str, mailbox: &Mailbox) -> bool {
    match addresses::detail(recipient, inbox) {
        Some(detail) => mailbox.token.as_deref().is_some_and(|token| token.eq_ignore_ascii_case(detail)),
        None => true,
    }
}

fn texts<'m>(mail: &'m Mail<'_>) -> impl Iterator<Item = &'m str> {
    let html = mail.html.as_deref();
    std::iter::once(mail.subject.as_str()).chain(mail.text.as_deref()).chain(html)
}

/// The only address in subject and text that is neither ours nor the provider's.
fn account(asked: &Asked<'_>) -> Option<String> {
    let stranger = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(
                c,
                '<' | '>'
                    | '('
                    | ')'
                    | '['
                    | ']'
                    | '"'
                    | '\''
                    | ','
                    | ';'
                    | ':'
                    | '：'
                    | '='
                    | '?'
                    | '/'
                    | '&'
            )
            || !c.is_ascii() && !c.is_alphanumeric()
    };
    let own = asked.inbox.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase();
    let mut found: Vec<String> = Vec::new();
    let text = [Some(asked.mail.subject.as_str()), asked.mail.text.as_deref()];
    for word in text.into_iter().flatten().flat_map(|text| text.split(stranger)) {
        let Some(address) = address_in(word) else { continue };
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let theirs = is_within(domain, "google.com");
        if domain != own && !theirs && !found.contains(&address) && found.len() < 20 {
            found.push(address);
        }
    }
    match found.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// The address in a word that other letters may stick to: in Chinese and Japanese no space parts them.
fn address_in(word: &str) -> Option<String> {
    let (before, behind) = word.split_once('@')?;
    let local = before.rsplit(|c: char| !c.is_ascii()).next().unwrap_or_default();
    let domain = behind.split(|c: char| !c.is_ascii()).next().unwrap_or_default();
    let domain = domain.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    (!local.is_empty() && domain.contains('.')).then(|| comparable(&format!("{local}@{domain}")))
}

fn mailbox_at<'a>(asked: &Asked<'a>, account: &str) -> Option<&'a Mailbox> {
    let there = asked.mailboxes.iter().copied();
    there.into_iter().find(|mailbox| mailbox::account(mailbox.address.as_str()) == mailbox::account(account))
}

/// `(#99427480)`, `(n° 99427480)`, or the only number that has so many digits: the first of these lengths that any has.
fn code(mail: &Mail<'_>, lengths: &[RangeInclusive<usize>]) -> Option<String> {
    let digits = |text: &str| {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        ((8..=10).contains(&digits.len())).then_some(digits)
    };
    let in_brackets = mail.subject.split_once(['(', '（']).and_then(|(_, rest)| rest.split_once([')', '）']));
    if let Some(code) = in_brackets.and_then(|(inner, _)| digits(inner)) {
        return Some(code);
    }
    let text = mail.text.as_deref().unwrap_or_default();
    let text = text.get(..text.floor_char_boundary(20_000)).unwrap_or_default();
    let words = || text.split(|c: char| c.is_whitespace() || matches!(c, ':' | '：' | '.' | ','));
    // What looks like a year is one.
    let is_year = |word: &str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20"));
    for length in lengths {
        let mut found: Vec<&str> = Vec::new();
        for word in words() {
            let fits = length.contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_digit());
            if fits && !is_year(word) && !found.contains(&word) {
                found.push(word);
            }
        }
        match found.as_slice() {
            [] => {}
            [only] => return Some((*only).to_owned()),
            _ => return None,
        }
    }
    None
}
