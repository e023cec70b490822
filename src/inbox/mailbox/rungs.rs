//! The rungs of the ladder as data: which field or envelope names the mailbox, how it is read, and whose word backs it.
//!
//! From the headers that providers were seen to add; the order is the contract's. Pure reading: nothing is judged here.

use super::Facts;
use crate::message::fields::HeaderSection;
use crate::smtp::address::{dns_domain, plain_local};

/// One rung.
#[derive(Debug)]
pub struct Rung {
    /// As `identified_by` and the evidence name it.
    pub name: &'static str,
    /// How sure it is when nothing contradicts.
    pub confidence: f32,
    /// Where its answer stands.
    pub source: Source,
    /// Domains whose SPF or ARC pass backs it: the forwarders that add it. Subdomains count. Google isn't among them:
    /// anybody writes from there, and of Google's forwarding the envelope speaks.
    pub forwarders: &'static [&'static str],
}

/// Where a rung's answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `user+caf_=local=domain@userdomain` in the reverse-path, where `local@domain` is our own forward-path.
    CafEnvelope,
    /// The topmost field; its first address up to a `;`.
    TopField(&'static str),
    /// The topmost field whose last address is our forward-path; its first address.
    ForwardedFor(&'static str),
    /// The lowest field that isn't our own address; the others are kept as evidence.
    LowestField(&'static str),
    /// The domain of a rewritten reverse-path with one mailbox in it.
    SrsDomain,
    /// To and Cc, when they name exactly one mailbox.
    Recipients,
}

const MICROSOFT: &[&str] = &["onmicrosoft.com", "outlook.com", "microsoft.com", "hotmail.com"];
const YAHOO: &[&str] = &["yahoo.com", "yahoodns.net"];
const FASTMAIL: &[&str] = &["fastmail.com", "messagingengine.com"];

const fn rung(
    name: &'static str,
    confidence: f32,
    source: Source,
    forwarders: &'static [&'static str],
) -> Rung {
    Rung { name, confidence, source, forwarders }
}

/// The ladder below the tokens, the best rung first.
pub const RUNGS: &[Rung] = &[
    rung("gmail_envelope", 0.98, Source::CafEnvelope, &[]),
    rung("ms_forwarding_loop", 0.95, Source::TopField("X-MS-Exchange-ForwardingLoop"), MICROSOFT),
    rung("x_forwarded_for", 0.95, Source::ForwardedFor("X-Forwarded-For"), &[]),
    rung("delivered_to", 0.9, Source::LowestField("Delivered-To"), &[]),
    rung("ms_rules_loop", 0.9, Source::TopField("X-MS-Exchange-Inbox-Rules-Loop"), MICROSOFT),
    rung("resent_from", 0.9, Source::TopField("Resent-From"), MICROSOFT),
    rung("x_sieve_redirected_from", 0.85, Source::TopField("X-Sieve-Redirected-From"), &[]),
    rung("x_yahoo_forwarded", 0.85, Source::TopField("X-Yahoo-Forwarded"), YAHOO),
    rung("x_delivered_to", 0.85, Source::LowestField("X-Delivered-To"), FASTMAIL),
    rung("x_original_to", 0.85, Source::LowestField("X-Original-To"), &[]),
    rung("envelope_to", 0.85, Source::LowestField("Envelope-To"), &[]),
    rung("x_envelope_to", 0.85, Source::LowestField("X-Envelope-To"), &[]),
    rung("srs_domain", 0.7, Source::SrsDomain, &[]),
    rung("recipient_header", 0.6, Source::Recipients, &[]),
];

/// Rungs whose fields a mailbox puts on its automatic replies, too.
pub(super) const ON_ANSWERS: &[&str] = &["ms_rules_loop", "resent_from"];

/// Whether `domain` is `parent` or below it.
#[must_use]
pub fn is_within(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Every answer of one rung, the rung's own one first.
pub(super) fn answers(source: Source, facts: &Facts<'_>) -> Vec<String> {
    match source {
        Source::CafEnvelope => facts
            .sender
            .and_then(|sender| caf(sender, facts.recipient))
            .map(|address| comparable(&address))
            .into_iter()
            .collect(),
        Source::TopField(name) => {
            values(facts.header, name).next().and_then(|value| first_address(&value)).into_iter().collect()
        }
        Source::ForwardedFor(name) => values(facts.header, name)
            .find_map(|value| {
                let addresses: Vec<String> = addresses(&value).collect();
                let ours = addresses.last().is_some_and(|last| *last == comparable(facts.recipient));
                addresses.first().filter(|_| ours && addresses.len() > 1).cloned()
            })
            .into_iter()
            .collect(),
        Source::LowestField(name) => {
            let mut found: Vec<String> = values(facts.header, name)
                .filter_map(|value| first_address(&value))
                .filter(|address| !facts.is_inbox(address))
                .collect();
            found.reverse();
            found.dedup();
            found
        }
        Source::SrsDomain => facts.sender.and_then(srs).into_iter().collect(),
        Source::Recipients => {
            let named = facts.recipients.iter().map(|address| comparable(address));
            let mut named: Vec<String> =
                named.filter(|address| facts.mailbox_at(address).is_some()).collect();
            named.sort();
            named.dedup();
            named
        }
    }
}

/// The topmost address that a lowest-field rung skipped: who touched the message last.
pub(super) fn topmost(header: &HeaderSection<'_>, name: &str, facts: &Facts<'_>) -> Option<String> {
    values(header, name).filter_map(|value| first_address(&value)).find(|address| !facts.is_inbox(address))
}

/// How an address is compared: lower case, without quotes that say nothing, its domain as DNS has it, and Google's two
/// domains as one.
#[must_use]
pub fn comparable(address: &str) -> String {
    let address = address.trim();
    let lower = match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{}", plain_local(local).to_lowercase(), dns_domain(domain)),
        None => address.to_lowercase(),
    };
    match lower.strip_suffix("@googlemail.com") {
        Some(local) => format!("{local}@gmail.com"),
        None => lower,
    }
}

/// By which accounts are compared: Gmail has one account for all ways to put dots into its name; a Workspace domain hasn't.
#[must_use]
pub fn account(address: &str) -> String {
    let address = comparable(address);
    match address.strip_suffix("@gmail.com") {
        Some(local) => format!("{}@gmail.com", local.replace('.', "")),
        None => address,
    }
}

fn values<'h>(header: &'h HeaderSection<'_>, name: &'h str) -> impl Iterator<Item = String> + 'h {
    let text = |value: &[u8]| {
        String::from_utf8_lossy(value.get(..value.len().min(2000)).unwrap_or(value)).into_owned()
    };
    header.named(name).take(20).map(move |field| text(&field.value()))
}

/// The addresses in a value that is no address list: parted by spaces, commas and the like, brackets taken off.
fn addresses(value: &str) -> impl Iterator<Item = String> {
    let parts = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '"' | '(' | ')');
    let is_address = |word: &&str| {
        word.len() <= 320
            && word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.len() > 1)
    };
    value.split(parts).map(|word| word.trim_matches(':')).filter(is_address).take(20).map(comparable)
}

fn first_address(value: &str) -> Option<String> {
    addresses(value.split(';').next().unwrap_or_default()).next()
}

/// The account behind a forwarding reverse-path of Google's, if it embeds `recipient`.
fn caf(sender: &str, recipient: &str) -> Option<String> {
    let (local, domain) = sender.rsplit_once('@')?;
    let (account, destination) = local.split_once("+caf_=")?;
    let (to_local, to_domain) = destination.rsplit_once('=')?;
    let embedded = format!("{to_local}@{to_domain}");
    (!account.is_empty() && comparable(&embedded) == comparable(recipient))
        .then(|| format!("{account}@{domain}"))
}

/// What a rewritten reverse-path says of its forwarder: `user@domain` where it says that, else `@domain`.
fn srs(sender: &str) -> Option<String> {
    let (local, domain) = sender.rsplit_once('@')?;
    let upper = local.to_uppercase();
    if ["SRS0", "SRS1"]
        .iter()
        .any(|tag| upper.strip_prefix(tag).is_some_and(|rest| rest.starts_with(['=', '+', '-'])))
    {
        return Some(comparable(&format!("@{domain}")));
    }
    let at = upper.find("+SRS=").filter(|at| local.is_char_boundary(*at))?;
    match local.get(..at) {
        Some("bounces" | "bounce") | None => Some(comparable(&format!("@{domain}"))),
        Some(user) => Some(comparable(&format!("{user}@{domain}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_envelope_names_its_account_only_with_our_own_address_in_it() {
        for (sender, recipient, account) in [
            (
                "hola+caf_=inbox=users.example.com@casasol.example",
                "inbox@users.example.com",
                Some("hola@casasol.example"),
            ),
            (
                "hola+caf_=inbox+sol=users.example.com@casasol.example",
                "inbox+sol@users.example.com",
                Some("hola@casasol.example"),
            ),
            ("Hola+Caf_=inbox=users.example.com@casasol.example", "inbox@users.example.com", None),
            ("hola+caf_=other=users.example.com@casasol.example", "inbox@users.example.com", None),
            ("+caf_=inbox=users.example.com@casasol.example", "inbox@users.example.com", None),
            ("hola+caf_=inbox@casasol.example", "inbox@users.example.com", None),
        ] {
            assert_eq!(caf(sender, recipient).as_deref(), account, "{sender}");
        }
    }

    #[test]
    fn a_rewritten_envelope_tells_its_domain() {
        for (sender, told) in [
            ("SRS0=AbC=XY=guest.example=ana@fwd.example", Some("@fwd.example")),
            ("srs1=AbC=other.example==XY=z=guest.example=ana@FWD.example", Some("@fwd.example")),
            ("bounces+SRS=AbC=XY@tenant.onmicrosoft.com", Some("@tenant.onmicrosoft.com")),
            ("hola+SRS=AbC=XY=guest.example=ana@casasol.example", Some("hola@casasol.example")),
            ("SRSuser@fwd.example", None),
            ("ana@guest.example", None),
        ] {
            assert_eq!(srs(sender).as_deref(), told, "{sender}");
        }
    }

    #[test]
    fn addresses_are_found_in_what_is_no_address_list() {
        assert_eq!(addresses("from a@x.test to b@Y.test").collect::<Vec<_>>(), ["a@x.test", "b@y.test"]);
        assert_eq!(addresses("<A@GoogleMail.com>").collect::<Vec<_>>(), ["a@gmail.com"]);
        assert_eq!(
            first_address("hola@casasol.example;tenant-guid").as_deref(),
            Some("hola@casasol.example")
        );
        assert_eq!(first_address("ForwardingHandled;a@x.test"), None);
    }

    #[test]
    fn two_ways_to_write_a_mailbox_are_one() {
        for (one, other) in [
            ("Hola@Müller.example", "hola@xn--mller-kva.example"),
            ("casa@googlemail.com", "CASA@gmail.com"),
            ("\"Casa.Sol\"@x.example", "casa.sol@x.example"),
        ] {
            assert_eq!(comparable(one), comparable(other));
        }
        assert_ne!(comparable("hola@müller.example"), comparable("hola@muller.example"));
        assert_eq!(account("Ca.Sa.@GoogleMail.com"), account("casa@gmail.com"));
        assert_ne!(account("ca.sa@casasol.example"), account("casa@casasol.example"));
    }
}
