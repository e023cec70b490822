//! The ladder: which mailbox forwarded a message, how that is known, and how sure it is.
//!
//! A token in the address that the message came to settles it. Everything else stands in fields that whoever knows the
//! shared address can write, so each answer is weighed by what backs it ([`Backing`]), and the first rung with the best
//! backing wins. Promises: nothing but a registered mailbox is ever identified; fields alone, with nobody's word behind
//! them and contradicted or unsupported by anything else, identify nothing: such mail is held, never dropped and never
//! given to the wrong mailbox; every answer is kept as evidence.

mod rungs;
mod shared;

pub use rungs::{RUNGS, Rung, Source, account, comparable, is_within};
pub use shared::is_shared;

use super::addresses;
use super::authentication::{Authentication, Verdict};
use super::conversation::ConversationId;
use super::token::{self, TokenKey};
use crate::config::schema::Mailbox;
use crate::message::decode::clean;
use crate::message::fields::HeaderSection;
use crate::smtp::address::dns_domain;

/// Evidence kept of one message.
const MAX_EVIDENCE: usize = 40;
/// What a contradiction takes from the confidence.
const CONFLICT: f32 = 0.2;
/// What is left of a rung's confidence when only the message's own fields speak for it.
const UNPROVEN: f32 = 0.85;

/// What the ladder is climbed with.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The message's fields.
    pub header: &'a HeaderSection<'a>,
    /// The reverse-path.
    pub sender: Option<&'a str>,
    /// The forward-path.
    pub recipient: &'a str,
    /// The author, when a machine wrote it.
    pub machine: Option<&'a str>,
    /// Addresses in To and Cc.
    pub recipients: &'a [String],
    /// The inbox's own address.
    pub inbox: &'a str,
    /// The mailboxes that forward to it.
    pub mailboxes: &'a [&'a Mailbox],
    /// What is known of the hop that reached us.
    pub authentication: &'a Authentication,
    /// Keys of reply tokens.
    pub token_keys: &'a [TokenKey],
    /// The only mailbox that sent what it answers, by In-Reply-To and References.
    pub answers: Option<&'a str>,
    /// An operator's word.
    pub assigned: Option<&'a str>,
}

/// What one rung says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Evidence {
    /// Which rung.
    pub rung: &'static str,
    /// What it says: an address, or a token.
    pub value: String,
}

/// Which mailbox, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    /// Its name; none when no answer can be believed.
    pub mailbox: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// The rung that decided.
    pub identified_by: Option<&'static str>,
    /// 0 to 1.
    pub confidence: f32,
    /// What every rung says, in their order.
    pub evidence: Vec<Evidence>,
    /// Whether rungs name different mailboxes.
    pub is_contradicted: bool,
    /// The conversation of a reply token that holds.
    pub conversation: Option<ConversationId>,
}

/// What stands behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Backing {
    /// Only the field itself, which anybody can write.
    Bare,
    /// Another part of the message says the same, and none says otherwise.
    Agreed,
    /// The forwarder that adds such fields sealed it. It seals what anybody sends through it, too.
    Sealed,
    /// That forwarder handed it to us, as it hands over what any of its customers writes.
    Forwarder,
    /// The mailbox's own domain, where no strangers are, vouches for the hop.
    Own,
    /// The envelope names the mailbox and its domain vouches for the envelope.
    Proven,
}

struct Claim<'a> {
    rung: &'static Rung,
    mailbox: &'a Mailbox,
    backing: Backing,
}

impl Claim<'_> {
    fn is_contradicted(&self, claims: &[Self]) -> bool {
        claims.iter().any(|claim| claim.mailbox.name != self.mailbox.name)
    }
}

/// Climbs the ladder.
#[must_use]
pub fn identify(facts: &Facts<'_>) -> Identification {
    let mut evidence = Vec::new();
    let mut claims = Vec::new();
    for rung in RUNGS {
        for (place, answer) in rungs::answers(rung.source, facts).into_iter().enumerate() {
            keep(&mut evidence, rung.name, &answer);
            if let Some(mailbox) = facts.claimed(rung, &answer) {
                // Only the rung's own answer may be backed; what else stands in the fields may contradict it.
                let backing = if place == 0 { backing(rung, mailbox, facts) } else { Backing::Bare };
                claims.push(Claim { rung, mailbox, backing });
            }
        }
    }
    if let Some(told) = told(facts) {
        let contradicted = claims.iter().any(|claim| claim.mailbox.name != told.mailbox.name);
        return told.with(evidence, contradicted);
    }
    if facts.has_detail() {
        // Somebody's own address that is nobody's: what fields say doesn't mend it.
        return Identification::none(evidence, is_contradicted(&claims));
    }
    agree(&mut claims, facts);
    match best(&claims) {
        Some(claim) => {
            let mut confidence = claim.rung.confidence;
            if claim.backing < Backing::Sealed && claim.rung.source != Source::Recipients {
                confidence *= UNPROVEN;
            }
            // To names all whom it was written to, and this may be the copy of one of the others.
            let is_others =
                claim.rung.source == Source::Recipients && facts.has_stranger_at(&domain_of(claim.mailbox));
            Told { mailbox: claim.mailbox, by: claim.rung.name, confidence, conversation: None }
                .with(evidence, is_others || is_strange(facts) || claim.is_contradicted(&claims))
        }
        None => match answered(facts).filter(|_| !is_contradicted(&claims)) {
            Some(told) => {
                let contradicted = claims.iter().any(|claim| claim.mailbox.name != told.mailbox.name);
                told.with(evidence, contradicted)
            }
            None => Identification::none(evidence, is_contradicted(&claims)),
        },
    }
}

/// Whose mail is answered at an address that asked for answers, when its token says nothing any more: whoever knows the
/// mail's Message-ID got it.
fn answered<'a>(facts: &Facts<'a>) -> Option<Told<'a>> {
    let name = facts.answers.filter(|_| facts.detail().is_some_and(token::is_token))?;
    let mailbox = facts.mailboxes.iter().find(|mailbox| mailbox.name == name)?;
    Some(Told { mailbox, by: "in_reply_to", confidence: 0.6, conversation: None })
}

/// An answer that no field can outweigh.
struct Told<'a> {
    mailbox: &'a Mailbox,
    by: &'static str,
    confidence: f32,
    conversation: Option<ConversationId>,
}

/// The operator's word, the mailbox's own address, or a reply token.
fn told<'a>(facts: &Facts<'a>) -> Option<Told<'a>> {
    let sure = |mailbox, by, conversation| Told { mailbox, by, confidence: 1.0, conversation };
    if let Some(name) = facts.assigned {
        let mailbox = facts.mailboxes.iter().find(|mailbox| mailbox.name == name)?;
        return Some(sure(*mailbox, "operator", None));
    }
    let detail = facts.detail()?;
    let by_token = |mailbox: &&&Mailbox| {
        mailbox.token.as_deref().is_some_and(|token| token.eq_ignore_ascii_case(detail))
    };
    if let Some(mailbox) = facts.mailboxes.iter().find(by_token) {
        return Some(sure(*mailbox, "inbox_token", None));
    }
    facts.mailboxes.iter().find_map(|mailbox| {
        let conversation = token::check(detail, mailbox.address.as_str(), facts.token_keys)?;
        Some(sure(*mailbox, "reply_token", Some(conversation)))
    })
}

impl Told<'_> {
    fn with(self, mut evidence: Vec<Evidence>, contradicted: bool) -> Identification {
        let confidence = if contradicted { (self.confidence - CONFLICT).max(0.1) } else { self.confidence };
        if matches!(self.by, "inbox_token" | "reply_token" | "in_reply_to") {
            let value = self.mailbox.address.to_string();
            evidence.insert(0, Evidence { rung: self.by, value });
        }
        Identification {
            mailbox: Some(self.mailbox.name.clone()),
            address: Some(self.mailbox.address.to_string()),
            identified_by: Some(self.by),
            confidence: (confidence * 100.0).round() / 100.0,
            evidence,
            is_contradicted: contradicted,
            conversation: self.conversation,
        }
    }
}

impl Identification {
    /// Of a message that wasn't read.
    #[must_use]
    pub fn unread() -> Self {
        Self::none(Vec::new(), false)
    }

    fn none(evidence: Vec<Evidence>, is_contradicted: bool) -> Self {
        Self {
            mailbox: None,
            address: None,
            identified_by: None,
            confidence: 0.0,
            evidence,
            is_contradicted,
            conversation: None,
        }
    }
}

impl<'a> Facts<'a> {
    /// What stands behind the `+` of the address the message came to.
    fn detail(&self) -> Option<&'a str> {
        addresses::detail(self.recipient, self.inbox)
    }

    /// A reply token of a key that is gone is nobody's own address: what it was for is found by other means.
    fn has_detail(&self) -> bool {
        self.detail().is_some_and(|detail| !token::is_token(detail))
    }

    /// Whether this is the inbox's address, or the one that the message came to.
    fn is_inbox(&self, address: &str) -> bool {
        is_at_inbox(address, self.inbox) || comparable(address) == comparable(self.recipient)
    }

    /// The mailbox of this address, or of what stands before a `+` in it.
    fn mailbox_at(&self, address: &str) -> Option<&'a Mailbox> {
        let whose = |asked: &str| {
            self.mailboxes.iter().copied().find(|mailbox| account(mailbox.address.as_str()) == asked)
        };
        let asked = account(address);
        let without_detail = || {
            let (local, domain) = asked.rsplit_once('@')?;
            whose(&format!("{}@{domain}", local.split_once('+')?.0))
        };
        whose(&asked).or_else(without_detail)
    }

    /// Whether somebody at this domain who is no mailbox is named where forwarders stand: a colleague, who forwards, too.
    fn has_stranger_at(&self, domain: &str) -> bool {
        let rungs = RUNGS.iter().filter(|rung| rung.source != Source::Recipients);
        let mut answers = rungs.flat_map(|rung| rungs::answers(rung.source, self));
        answers.any(|answer| self.is_stranger_at(&answer, domain))
    }

    fn is_stranger_at(&self, address: &str, domain: &str) -> bool {
        address
            .rsplit_once('@')
            .is_some_and(|(local, of)| !local.is_empty() && of.eq_ignore_ascii_case(domain))
            && self.mailbox_at(address).is_none()
            && !self.is_inbox(address)
    }

    /// The mailbox that an answer of this rung means.
    fn claimed(&self, rung: &Rung, answer: &str) -> Option<&'a Mailbox> {
        let named = self.mailbox_at(answer);
        if rungs::ON_ANSWERS.contains(&rung.name)
            && self.machine.is_some_and(|author| account(author) == account(answer))
        {
            // A mailbox's own answering machine says who wrote, not who forwarded.
            return None;
        }
        if rung.source != Source::SrsDomain || named.is_some() {
            return named;
        }
        let domain = answer.rsplit_once('@')?.1;
        let mut there = self.mailboxes.iter().copied().filter(|mailbox| domain_of(mailbox) == domain);
        let only = there.next().filter(|_| there.next().is_none() && !is_shared(domain))?;
        // A colleague's mailbox at the same domain forwards, too: then the domain says nothing.
        let has_stranger = self.recipients.iter().any(|address| self.is_stranger_at(address, domain))
            || self.has_stranger_at(domain);
        (!has_stranger).then_some(only)
    }
}

/// Whether this is the inbox's address, with or without a token.
#[must_use]
pub fn is_at_inbox(address: &str, inbox: &str) -> bool {
    let (own, _) = inbox.rsplit_once('@').unwrap_or((inbox, ""));
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let local = if own.contains('+') { local } else { local.split('+').next().unwrap_or(local) };
    comparable(&format!("{local}@{domain}")) == comparable(inbox)
}

fn domain_of(mailbox: &Mailbox) -> String {
    dns_domain(mailbox.address.domain())
}

/// What the hop that reached us says of an answer.
fn backing(rung: &Rung, mailbox: &Mailbox, facts: &Facts<'_>) -> Backing {
    let authentication = facts.authentication;
    let vouched = authentication.spf.domain.as_deref().filter(|_| authentication.spf.result == Verdict::Pass);
    if rung.source == Source::CafEnvelope {
        return envelope_backing(mailbox, facts);
    }
    if rung.source == Source::Recipients || is_strange(facts) {
        return Backing::Bare;
    }
    let own = domain_of(mailbox);
    let by_own = vouched.is_some_and(|vouched| is_within(&vouched.to_lowercase(), &own) && !is_shared(&own));
    let among = |domain: &str| rung.forwarders.iter().any(|known| is_within(&domain.to_lowercase(), known));
    let by_forwarder = vouched.is_some_and(among);
    let sealed = authentication.arc.result == Verdict::Pass;
    let by_seal = sealed && authentication.arc.sealer.as_deref().is_some_and(among);
    match (by_own, by_forwarder, by_seal) {
        (true, _, _) => Backing::Own,
        (_, true, _) => Backing::Forwarder,
        (_, _, true) => Backing::Sealed,
        _ => Backing::Bare,
    }
}

/// Whether the envelope's domain disowns the host. Whose names its SPF asks for the sender may choose (`ptr`, RFC 7208
/// §5.5; `%{h}`, §7.2), and so keep an answer back; but not Google's, which says then whether the host is one of its own.
fn is_refuted(authentication: &Authentication) -> bool {
    match authentication.spf.result {
        Verdict::Fail | Verdict::Softfail => true,
        Verdict::Temperror => {
            matches!(authentication.google, Verdict::Fail | Verdict::Softfail | Verdict::Neutral)
        }
        Verdict::Pass | Verdict::Neutral | Verdict::None | Verdict::Permerror => false,
    }
}

/// What stands behind Google's envelope: its own domain, a host of Google's, or a seal of Google's. The trace in the fields
/// is asked only where DNS tells nothing: whoever writes the envelope could write that, too.
fn envelope_backing(mailbox: &Mailbox, facts: &Facts<'_>) -> Backing {
    let Authentication { spf, arc, google, .. } = facts.authentication;
    let domain = facts.sender.and_then(|sender| sender.rsplit_once('@')).map(|(_, domain)| domain);
    let is_its = |vouched: &str| domain.is_some_and(|domain| domain.eq_ignore_ascii_case(vouched));
    let is_googles = |sealer: &str| is_within(&sealer.to_lowercase(), "google.com");
    // Gmail's own domain has an SPF record, which asks for names of Google's alone: who can't see it sees nothing,
    // whatever the sender does.
    let is_blind = [spf.result, *google].iter().all(|result| is_silent(*result));
    if spf.result == Verdict::Pass && spf.domain.as_deref().is_some_and(is_its) {
        Backing::Proven
    } else if is_refuted(facts.authentication) {
        // A domain that disowns the host isn't at Google.
        Backing::Bare
    } else if *google == Verdict::Pass || is_blind && is_coherent(mailbox, facts) {
        Backing::Forwarder
    } else if arc.result == Verdict::Pass && arc.sealer.as_deref().is_some_and(is_googles) {
        Backing::Sealed
    } else {
        Backing::Bare
    }
}

fn is_silent(result: Verdict) -> bool {
    matches!(result, Verdict::None | Verdict::Temperror | Verdict::Permerror)
}

/// Whether the trace fits Google's envelope: whoever touched the message last is the account in it, and the visible
/// recipients don't speak of another mailbox that the trace doesn't.
fn is_coherent(mailbox: &Mailbox, facts: &Facts<'_>) -> bool {
    let own = account(mailbox.address.as_str());
    let is_own = |address: &String| account(address) == own;
    let last = rungs::topmost(facts.header, "Delivered-To", facts);
    let through: Vec<String> = rungs::answers(Source::LowestField("Delivered-To"), facts);
    let named = rungs::answers(Source::Recipients, facts);
    last.as_ref().is_none_or(is_own)
        && rungs::answers(Source::ForwardedFor("X-Forwarded-For"), facts).iter().all(is_own)
        && (named.is_empty() || named.iter().any(is_own) || named.iter().all(|other| through.contains(other)))
        && (last.is_some() || !named.is_empty() || facts.header.count("X-Forwarded-For") > 0)
}

/// Whether an account of Google's that isn't ours forwarded it, as far as the envelope says: then fields that name a mailbox
/// came from somewhere else, and To says only whom it was written to.
fn is_strange(facts: &Facts<'_>) -> bool {
    let accounts = rungs::answers(Source::CafEnvelope, facts);
    accounts.first().is_some_and(|account| facts.mailbox_at(account).is_none())
}

/// Lifts bare claims that another part of the message bears out: the recipients, or an envelope that its domain vouches for.
fn agree(claims: &mut [Claim<'_>], facts: &Facts<'_>) {
    // Not where DNS doesn't answer: the sender may see to that.
    let is_vouched = facts.authentication.spf.result == Verdict::Pass;
    let is_refuted = is_refuted(facts.authentication);
    let is_strange = is_strange(facts);
    let of = |source: fn(&Source) -> bool, claims: &[Claim<'_>]| -> Vec<String> {
        let named = claims.iter().filter(|claim| source(&claim.rung.source));
        named.map(|claim| claim.mailbox.name.clone()).collect()
    };
    let mut recipients = of(|source| *source == Source::Recipients, claims);
    // One account may be written in two ways.
    recipients.dedup();
    let envelope = of(|source| *source == Source::SrsDomain, claims);
    let fields =
        of(|source| !matches!(source, Source::Recipients | Source::CafEnvelope | Source::SrsDomain), claims);
    let only = match recipients.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    for claim in claims.iter_mut().filter(|claim| claim.backing == Backing::Bare) {
        let name = &claim.mailbox.name;
        let is_named = only.as_ref() == Some(name);
        let borne_out = match claim.rung.source {
            Source::Recipients => only.is_some(),
            Source::CafEnvelope => is_named && !is_refuted,
            _ if is_strange => false,
            Source::SrsDomain => is_named || is_vouched && fields.contains(name),
            _ => is_named || is_vouched && envelope.contains(name),
        };
        if borne_out {
            claim.backing = Backing::Agreed;
        }
    }
}

/// The first rung with the best backing, if what backs it leaves no doubt.
fn best<'c, 'a>(claims: &'c [Claim<'a>]) -> Option<&'c Claim<'a>> {
    let top = claims.iter().map(|claim| claim.backing).max()?;
    let first = claims.iter().find(|claim| claim.backing == top)?;
    let differs = |claim: &&Claim<'_>| claim.mailbox.name != first.mailbox.name;
    let rivals = || claims.iter().filter(differs);
    let is_recipient = |claim: &Claim<'_>| claim.rung.source == Source::Recipients;
    let is_named = claims.iter().any(|claim| is_recipient(claim) && claim.mailbox.name == first.mailbox.name);
    let settled = match top {
        Backing::Proven => true,
        Backing::Own => rivals().all(|claim| claim.backing < Backing::Own),
        // Whoever may send from there may write any field: a single voice against it is doubt enough. A mail to two
        // mailboxes is no such voice.
        Backing::Forwarder => rivals().all(|claim| is_named && is_recipient(claim)),
        // Nobody's word but the message's own, or one that everybody gets.
        Backing::Sealed | Backing::Agreed => rivals().next().is_none(),
        Backing::Bare => false,
    };
    settled.then_some(first)
}

fn is_contradicted(claims: &[Claim<'_>]) -> bool {
    claims.first().is_some_and(|first| first.is_contradicted(claims))
}

fn keep(evidence: &mut Vec<Evidence>, rung: &'static str, value: &str) {
    if evidence.len() < MAX_EVIDENCE {
        evidence.push(Evidence { rung, value: clean(value, 320) });
    }
}
