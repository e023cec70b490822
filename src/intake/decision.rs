//! What becomes of a message, by its envelope and its header section: which rules change it, what is added and taken
//! away, how urgent it is, when it may leave, and by which lanes. Pure.
//!
//! The session asks when a header section is whole, `waystation explain` asks for a message that never came; both get
//! the same answer. Fails when the message is to be refused, with the reply that the client gets.

use super::steering;
use crate::config::schema::Rewrite;
use crate::deliver::route::{self, Facts, Routed, Router, Sorted, Why};
use crate::inbox::addresses::{self, Inboxes};
use crate::inbox::channel::{Bound, Guard};
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::message::fields::{HeaderSection, Separator, without};
use crate::message::rewrite::from::Message;
use crate::message::rewrite::rules::{self, Ruled};
use crate::message::trace::{self, Controls, Prepared, Protocol, TraceContext};
use crate::queue::Part;
use crate::smtp::address::Address;
use crate::smtp::command::{Mail, Rcpt};
use crate::smtp::replies;
use crate::smtp::reply::Reply;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A header section that goes on beyond this is refused, but for forwarded mail: there nothing hangs on what it hides.
pub const HEADER_LIMIT: usize = 256 * 1024;

/// What messages are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Our own name.
    pub hostname: &'a str,
    /// Edits of the header section, in order.
    pub rewrites: &'a [Rewrite],
    /// Where mail goes.
    pub router: &'a Router,
    /// Addresses that take forwarded mail.
    pub inboxes: &'a Inboxes,
    /// What mail for booking channels is judged by.
    pub guard: &'a Guard,
}

/// What is known of a message beside its octets.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The queue's name for it.
    pub id: &'a str,
    /// What MAIL said.
    pub mail: &'a Mail,
    /// The recipients that were accepted.
    pub recipients: &'a [Recipient],
    /// Where it came from.
    pub origin: &'a Origin,
    /// How it came.
    pub protocol: Protocol,
    /// Version and cipher of the TLS session, if there was one.
    pub tls: Option<&'a str>,
    /// Whether the client is trusted or logged in.
    pub may_relay: bool,
    /// The time of the decision.
    pub now: Timestamp,
}

/// What becomes of a message.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What `[[rewrite]]` made of the beginning of the message; none when nothing changes.
    pub ruled: Option<Ruled>,
    /// The `[[rewrite]]` tables that match, counted from 1.
    pub rewrites: Vec<usize>,
    /// What is added and taken away, as a change of what rules left.
    pub prepared: Prepared,
    /// The class that the message asks for.
    pub asked: Option<Class>,
    /// When it may leave.
    pub due: Timestamp,
    /// Where each recipient's copy goes, in their order.
    pub routed: Vec<Routed>,
    /// The same as parts that are queued.
    pub sorted: Sorted,
    /// Whether the header section holds octets above 127.
    pub eight_bit_header: bool,
    /// Whether all recipients are inboxes: then the message is kept exactly as it came.
    pub only_forwarded: bool,
    /// What is bound for booking channels: they may refuse it yet, once it is whole.
    pub bound: Vec<Bound>,
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Bcc and loops might hide behind the limit: what can't be looked at can't be judged.
    HeaderTooBig,
    /// For what stands in the header section.
    Header(trace::Refusal),
    /// A route says so for this recipient; one is enough, for there is only one reply for all of them.
    Route {
        /// The recipient.
        recipient: Address,
        /// Which rule.
        why: Why,
    },
}

impl Refused {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::HeaderTooBig => replies::HEADER_TOO_BIG.reply(),
            Self::Header(refusal) => refusal.reply(),
            Self::Route { recipient, .. } => replies::rejected_by_route(recipient.as_str()),
        }
    }
}

impl Decision {
    /// The beginning of the message as it is kept; `seen` is what was decided about.
    #[must_use]
    pub fn pieces<'a>(&'a self, seen: &'a [u8]) -> Vec<&'a [u8]> {
        let edited = self.edited(seen);
        if self.only_forwarded { vec![edited] } else { self.prepared.pieces(edited).collect() }
    }

    /// What of the header section isn't kept as it came: by name, the fields of that name as they came. Added trace doesn't
    /// count.
    #[must_use]
    pub fn came(&self, seen: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        if self.only_forwarded || self.ruled.is_none() && self.prepared.cut.is_empty() {
            return Vec::new();
        }
        let kept = without(self.edited(seen), &self.prepared.cut).collect::<Vec<_>>().concat();
        let (mut came, mut kept) = (by_name(seen), by_name(&kept));
        let names: BTreeSet<Vec<u8>> = came.keys().chain(kept.keys()).cloned().collect();
        let fields = names.into_iter().map(|name| {
            let (came, kept) =
                (came.remove(&name).unwrap_or_default(), kept.remove(&name).unwrap_or_default());
            (name, came, kept)
        });
        fields.filter(|(_, came, kept)| came != kept).map(|(name, came, _)| (name, came)).collect()
    }

    /// The same before anything was added or taken away.
    pub(super) fn edited<'a>(&'a self, seen: &'a [u8]) -> &'a [u8] {
        self.ruled.as_ref().map_or(seen, |ruled| ruled.content.as_slice())
    }
}

/// The fields of each name, names in small letters.
fn by_name(content: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for field in HeaderSection::within(content, usize::MAX).fields() {
        found.entry(field.name().to_ascii_lowercase()).or_default().extend_from_slice(field.octets());
    }
    found
}

/// Decides. `seen` is the header section, whole or up to [`HEADER_LIMIT`], and whatever came with it.
///
/// # Errors
/// When the message is to be refused.
pub fn decide(seen: &[u8], arrival: &Arrival<'_>, policy: &Rules<'_>) -> Result<Decision, Refused> {
    let header = HeaderSection::within(seen, HEADER_LIMIT);
    let to_inbox = |recipient: &Recipient| policy.inboxes.find(&recipient.address).is_some();
    let forwarded = arrival.recipients.iter().any(to_inbox);
    let only_forwarded = forwarded && arrival.recipients.iter().all(to_inbox);
    // Of forwarded mail no 5xx, or its forwarder switches forwarding off. Fields beyond it are kept, and not looked at.
    if header.separator() == Separator::Limit && !only_forwarded {
        return Err(Refused::HeaderTooBig);
    }
    // What a mailbox forwards is read as it came: no rule touches it, and its fields steer nothing.
    let (rewrites, ruled) =
        if forwarded { (Vec::new(), None) } else { ruled(seen, &header, arrival, policy) };
    let edited = ruled.as_ref().map_or(seen, |ruled| ruled.content.as_slice());
    let edited = HeaderSection::within(edited, usize::MAX);
    let context = context(arrival, policy, forwarded);
    let prepared = match trace::prepare(&edited, &context) {
        // A 5xx would make its forwarder switch forwarding off. It is taken, and held when it is read.
        Err(trace::Refusal::Loop) if only_forwarded => trace::prepare(&HeaderSection::of(b"\r\n"), &context),
        prepared => prepared,
    };
    let prepared = prepared.map_err(Refused::Header)?;
    let eight_bit_header = !edited.octets().is_ascii();
    let asked = steering::class(arrival.mail, prepared.class);
    let due = steering::release(arrival.mail, prepared.send_at, arrival.now);
    let mut routed = policy.router.route(&facts(arrival, &header, asked));
    for (recipient, routed) in arrival.recipients.iter().zip(&mut routed) {
        // No route speaks for an inbox: forwarded mail is never refused, held or dropped by a rule.
        if let Some(lane) = policy.inboxes.find(&recipient.address) {
            *routed = Routed::inbox(lane.clone());
        }
    }
    let mut sorted = route::sort(&routed, due);
    let rejected = sorted.rejected.first().copied();
    if let Some((recipient, routed)) =
        rejected.and_then(|index| arrival.recipients.get(index).zip(routed.get(index)))
    {
        return Err(Refused::Route { recipient: recipient.address.clone(), why: routed.why });
    }
    sorted.parts = sorted.parts.into_iter().flat_map(each_alone).collect();
    let bound = Vec::new();
    let mut decision = Decision {
        ruled,
        rewrites,
        prepared,
        asked,
        due,
        routed,
        sorted,
        eight_bit_header,
        only_forwarded,
        bound,
    };
    decision.bound = bound_for_channels(&decision, seen, arrival, policy);
    Ok(decision)
}

/// What leaves for booking channels.
fn bound_for_channels(
    decision: &Decision,
    seen: &[u8],
    arrival: &Arrival<'_>,
    policy: &Rules<'_>,
) -> Vec<Bound> {
    let message = Message { sender: arrival.mail.sender.as_ref(), smtputf8: arrival.mail.smtputf8 };
    let of_part = |part: &Part| {
        let named = part.recipients.iter().filter_map(|index| arrival.recipients.get(*index));
        let addresses = named.map(|recipient| &recipient.address);
        policy.guard.bound(part.lane.as_str(), addresses, message, || decision.pieces(seen).concat())
    };
    decision.sorted.parts.iter().flat_map(of_part).collect()
}

/// Mail to an inbox is one message for each address of it: each may name another mailbox.
fn each_alone(part: Part) -> Vec<Part> {
    if addresses::of_lane(&part.lane).is_none() {
        return vec![part];
    }
    let alone = |&recipient: &usize| Part { recipients: vec![recipient], ..part.clone() };
    part.recipients.iter().map(alone).collect()
}

/// What `[[rewrite]]` makes of the header section. All rules are matched against the message as it came in.
fn ruled(
    seen: &[u8],
    header: &HeaderSection<'_>,
    arrival: &Arrival<'_>,
    policy: &Rules<'_>,
) -> (Vec<usize>, Option<Ruled>) {
    if policy.rewrites.is_empty() {
        return (Vec::new(), None);
    }
    let facts = facts(arrival, header, None);
    let matching: Vec<(usize, &Rewrite)> = (1..)
        .zip(policy.rewrites)
        .filter(|(_, each)| route::matches_message(&each.matches, &facts))
        .collect();
    let ruled = rules::apply(seen, matching.iter().map(|(_, each)| &each.rule));
    (matching.into_iter().map(|(number, _)| number).collect(), ruled)
}

/// What rules and routes look at.
#[must_use]
pub fn facts<'a>(arrival: &'a Arrival<'a>, header: &'a HeaderSection<'a>, class: Option<Class>) -> Facts<'a> {
    Facts {
        application: arrival.origin.application.as_deref(),
        sender: arrival.mail.sender.as_ref(),
        recipients: arrival.recipients,
        client: arrival.origin.client,
        header,
        class,
    }
}

fn context<'a>(arrival: &'a Arrival<'a>, policy: &'a Rules<'a>, forwarded: bool) -> TraceContext<'a> {
    TraceContext {
        hostname: policy.hostname,
        id: arrival.id,
        origin: arrival.origin,
        protocol: arrival.protocol,
        tls: arrival.tls,
        received_at: arrival.now,
        recipient: match arrival.recipients {
            [only] => Some(&only.address),
            _ => None,
        },
        controls: if arrival.may_relay && !forwarded { Controls::Read } else { Controls::Ignore },
    }
}

/// Recipients that a route drops, by lane.
#[must_use]
pub fn dropped(indexes: &[usize], routed: &[Routed], due: Timestamp) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for &index in indexes {
        let Some(Routed { lane, class, .. }) = routed.get(index) else { continue };
        match parts.iter_mut().find(|part| part.lane == *lane) {
            Some(part) => part.recipients.push(index),
            None => parts.push(Part {
                lane: lane.clone(),
                class: *class,
                recipients: vec![index],
                due,
                held: true,
                discarded: true,
                expires_at: None,
            }),
        }
    }
    parts
}

/// The recipient of an envelope that RCPT named.
#[must_use]
pub fn recipient(rcpt: Rcpt) -> Recipient {
    Recipient { address: rcpt.address, notify: rcpt.notify, orcpt: rcpt.orcpt }
}

/// The envelope as it is kept: what the message really needs, not only what the client declared, so that no
/// smarthost is asked for more (RFC 6531 §3.4) or told less (RFC 6152 §2) than is true.
#[must_use]
pub fn envelope(mail: Mail, recipients: Vec<Recipient>, eight_bit: bool, eight_bit_header: bool) -> Envelope {
    let eight_bit_address = |address: &Address| !address.is_ascii();
    let needs_utf8 = eight_bit_header
        || mail.sender.as_ref().is_some_and(eight_bit_address)
        || recipients.iter().any(|recipient| eight_bit_address(&recipient.address));
    Envelope {
        sender: mail.sender,
        recipients,
        body: if eight_bit { Body::EightBitMime } else { Body::SevenBit },
        smtputf8: mail.smtputf8 && needs_utf8,
        ret: mail.ret,
        envid: mail.envid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{Action, AddressPattern, EventFormat, Inbox, Include, Match, Route};
    use crate::message::rewrite::rules::Rule;

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    fn decided(content: &[u8], rules: Vec<Route>, rewrites: &[Rewrite]) -> Result<Decision, Refused> {
        decided_with(content, rules, rewrites, &Inboxes::default())
    }

    fn decided_with(
        content: &[u8],
        rules: Vec<Route>,
        rewrites: &[Rewrite],
        inboxes: &Inboxes,
    ) -> Result<Decision, Refused> {
        let mail = Mail { sender: Some(address("ana@x.test")), ..Mail::from_null() };
        let recipients = ["bob@y.test", "eve@z.test"].map(|text| Recipient {
            address: address(text),
            notify: None,
            orcpt: None,
        });
        let origin = Origin { client: None, helo: "client.test".into(), application: None };
        let router = Router::new(rules, BTreeMap::new(), "shop".into());
        let arrival = Arrival {
            id: "1",
            mail: &mail,
            recipients: &recipients,
            origin: &origin,
            protocol: Protocol { extended: true, tls: false, authenticated: false, utf8: false },
            tls: None,
            may_relay: true,
            now: Timestamp::UNIX_EPOCH,
        };
        decide(
            content,
            &arrival,
            &Rules { hostname: "relay.test", rewrites, router: &router, inboxes, guard: &Guard::default() },
        )
    }

    #[test]
    fn routes_see_what_came_in_and_fix_ups_what_rules_left() {
        let replace = vec![("Subject".to_owned(), "two".to_owned())];
        let rewrite = Rewrite { matches: Match::default(), rule: Rule { replace, ..Rule::default() } };
        let other = Rewrite {
            matches: Match { application: Some("cron".into()), ..Match::default() },
            rule: Rule::default(),
        };
        let route = Route {
            matches: Match { header: vec![("Subject".into(), "one".into())], ..Match::default() },
            smarthost: Some("far".into()),
            class: None,
            expires_after: None,
            action: Action::Send,
        };
        let content = b"Subject: one\r\nX-Waystation-Class: bulk\r\n\r\nbody";
        let decision = decided(content, vec![route], &[other, rewrite]).unwrap();
        assert_eq!(decision.rewrites, [2]);
        assert_eq!(decision.prepared.notes.subject.as_deref(), Some("two"));
        assert!(decision.edited(content).starts_with(b"Subject: two\r\n"));
        assert_eq!(decision.asked, Some(Class::Bulk));
        let part = &decision.sorted.parts[0];
        assert_eq!(
            (part.lane.as_str(), part.class, part.recipients.as_slice()),
            ("far", Class::Bulk, &[0, 1][..])
        );
    }

    #[test]
    fn what_is_not_kept_as_it_came_is_known_by_name() {
        let rule = Rule {
            remove: vec!["X-Kind".to_owned()],
            replace: vec![("Subject".to_owned(), "two".to_owned())],
            add: vec![("X-Relay".to_owned(), "we".to_owned())],
        };
        let rewrite = Rewrite { matches: Match::default(), rule };
        let content =
            b"Bcc: a@x.test\r\nX-Kind: reset\r\nFrom: b@x.test\r\nSubject: one\r\nx-kind: more\r\n\r\nbody";
        let decision = decided(content, vec![], &[rewrite]).unwrap();
        let told = decision.came(content);
        let told: Vec<(&str, &str)> = told
            .iter()
            .map(|(name, fields)| (str::from_utf8(name).unwrap(), str::from_utf8(fields).unwrap()))
            .collect();
        let kind = "X-Kind: reset\r\nx-kind: more\r\n";
        assert_eq!(
            told,
            [
                ("bcc", "Bcc: a@x.test\r\n"),
                ("subject", "Subject: one\r\n"),
                ("x-kind", kind),
                ("x-relay", "")
            ]
        );
        assert_eq!(decided(b"Subject: one\r\n\r\n", vec![], &[]).unwrap().came(b"Subject: one\r\n\r\n"), []);
    }

    #[test]
    fn one_rejected_recipient_refuses_the_message() {
        let route = Route {
            matches: Match { recipient: Some(AddressPattern::Domain("z.test".into())), ..Match::default() },
            smarthost: None,
            class: None,
            expires_after: None,
            action: Action::Reject,
        };
        let refused = decided(b"A: 1\r\n\r\n", vec![route], &[]).unwrap_err();
        assert_eq!(refused, Refused::Route { recipient: address("eve@z.test"), why: Why::Route(1) });
        assert_eq!((refused.reply().code, refused.reply().enhanced.unwrap().0), (550, 5));
    }

    #[test]
    fn what_cannot_be_looked_at_is_refused() {
        let content = [b"A: 1\r\nTo: ".to_vec(), b"a@x.test,\r\n ".repeat(30_000)].concat();
        assert_eq!(decided(&content, vec![], &[]).unwrap_err(), Refused::HeaderTooBig);
        let inbox = |text: &str| Inbox {
            name: text.to_owned(),
            address: address(text),
            webhook: String::new(),
            secret_file: "x".into(),
            allow_private: false,
            format: EventFormat::Native,
            include: Include { text: true, html: true, headers: false },
        };
        let (bob, eve) = (inbox("bob@y.test"), inbox("eve@z.test"));
        let one = Inboxes::new([&bob].into_iter());
        assert_eq!(decided_with(&content, vec![], &[], &one).unwrap_err(), Refused::HeaderTooBig);
        // What a mailbox forwards is taken as it is.
        let both = Inboxes::new([&bob, &eve].into_iter());
        let taken = decided_with(&content, vec![], &[], &both).unwrap();
        assert!(taken.only_forwarded && taken.sorted.parts.len() == 2);
        assert_eq!(taken.pieces(&content).concat(), content);
        let content = b"X-Waystation-Class: urgent\r\n\r\n";
        assert!(matches!(decided(content, vec![], &[]).unwrap_err(), Refused::Header(_)));
    }
}
