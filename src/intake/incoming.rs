//! One message on its way in: the header section is judged as soon as it is whole, everything else flows through
//! to the queue's draft.
//!
//! Only the header section is held here, and only until it ends or reaches [`HEADER_LIMIT`]; it takes shares of
//! `intake.memory` as it grows, waits where there are none, and is refused with 452 when it waited in vain. What is
//! refused is read to its end and dropped.

use super::session::Client;
use super::steering;
use crate::deliver::route::{self, Facts, Routed};
use crate::inbox::addresses;
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::message::fields::{HeaderScan, HeaderSection, Separator};
use crate::message::rewrite::rules::{self, Ruled};
use crate::message::trace::{self, Controls, Protocol, TraceContext};
use crate::queue::{Draft, Fate, KeepError, Notes, Outcome, Part, QueueId, Receipt, Shares, Submission};
use crate::smtp::command::Rcpt;
use crate::smtp::replies;
use crate::smtp::reply::{Enhanced, Reply};
use crate::smtp::server::Transaction;
use jiff::Timestamp;

/// A header section that goes on beyond this is refused.
const HEADER_LIMIT: usize = 256 * 1024;

/// A message of which some octets have come.
pub(super) struct Incoming {
    draft: Draft,
    origin: Origin,
    protocol: Protocol,
    state: State,
    eight_bit: bool,
}

enum State {
    /// The header section isn't whole yet.
    Header { seen: Vec<u8>, scan: HeaderScan, shares: Shares },
    /// It was judged; octets flow to the draft.
    Body(Judged),
    /// Refused; octets are dropped.
    Refused(Reply),
}

/// What the header section decided.
struct Judged {
    notes: Notes,
    parts: Vec<Part>,
    /// How many of the parts, the last ones, a route drops.
    discarded: usize,
    eight_bit_header: bool,
}

/// What became of a whole message.
pub(super) enum Kept {
    /// On disk; one receipt for each lane it leaves by, and whether it is held there; none when a route drops it.
    Safe(Vec<(Receipt, bool)>),
    /// Not taken; the reply says why.
    Refused(Reply),
    /// The queue failed; the cause is for the log, the reply for the client.
    Failed(KeepError, Reply),
}

impl Incoming {
    pub(super) fn new(draft: Draft, origin: Origin, protocol: Protocol) -> Self {
        let (seen, scan) = (Vec::new(), HeaderScan::new(HEADER_LIMIT));
        let state = State::Header { seen, scan, shares: Shares::default() };
        Self { draft, origin, protocol, state, eight_bit: false }
    }

    pub(super) fn id(&self) -> QueueId {
        self.draft.id()
    }

    /// Whether the header section is still arriving.
    pub(super) fn is_in_header(&self) -> bool {
        matches!(self.state, State::Header { .. })
    }

    /// More octets of the message. They are taken out of `octets`, whose room can be used again.
    pub(super) async fn push(&mut self, octets: &mut Vec<u8>, envelope: &Transaction, client: &Client) {
        self.eight_bit |= !octets.is_ascii();
        match &mut self.state {
            State::Header { seen, scan, shares } => {
                let covered = tokio::select! {
                    covered = self.draft.cover(shares, seen.len() + octets.len()) => covered,
                    () = client.stop.cancelled() => false,
                };
                if !covered {
                    client.events.too_busy(client.session);
                    self.state = State::Refused(replies::BUSY.reply());
                    return octets.clear();
                }
                seen.append(octets);
                if scan.is_complete(seen) {
                    self.judge(envelope, client).await;
                }
            }
            State::Body(_) => {
                if let Err(cause) = self.draft.write(octets).await {
                    self.state = State::Refused(refusal(&cause));
                }
            }
            State::Refused(_) => {}
        }
        octets.clear();
    }

    /// The message is whole: keeps it.
    pub(super) async fn finish(mut self, transaction: Transaction, client: &Client) -> Kept {
        if matches!(self.state, State::Header { .. }) {
            self.judge(&transaction, client).await;
        }
        let judged = match self.state {
            State::Body(judged) => judged,
            State::Refused(reply) => return Kept::Refused(reply),
            State::Header { .. } => return Kept::Refused(replies::NOT_KEPT.reply()),
        };
        let size_bytes = self.draft.len();
        let submission = Submission {
            envelope: envelope(transaction, self.eight_bit, judged.eight_bit_header),
            origin: self.origin,
            received_at: client.clock.now(),
            notes: judged.notes,
            parts: judged.parts,
        };
        let sender = submission.envelope.sender.clone();
        let leaving = submission.parts.len().saturating_sub(judged.discarded);
        let held: Vec<bool> = submission.parts.iter().map(|part| part.held).collect();
        let dropped: Vec<Vec<usize>> =
            submission.parts.iter().skip(leaving).map(|part| part.recipients.clone()).collect();
        match client.queue.keep(self.draft, submission).await {
            Ok(mut receipts) => {
                let leaving = receipts.len().saturating_sub(dropped.len());
                for (receipt, recipients) in receipts.split_off(leaving).iter().zip(dropped) {
                    discard(receipt, recipients, client).await;
                }
                for receipt in &receipts {
                    client.events.accepted(
                        client.session,
                        receipt.id(),
                        receipt.lane(),
                        sender.as_ref(),
                        size_bytes,
                    );
                }
                Kept::Safe(receipts.into_iter().zip(held).collect())
            }
            Err(cause) => {
                let reply = refusal(&cause);
                Kept::Failed(cause, reply)
            }
        }
    }

    /// Judges the header section, and lets it through with what is added and without what is taken away.
    async fn judge(&mut self, transaction: &Transaction, client: &Client) {
        let State::Header { seen, shares: _shares, .. } =
            std::mem::replace(&mut self.state, State::Refused(replies::NOT_KEPT.reply()))
        else {
            return;
        };
        let header = HeaderSection::within(&seen, HEADER_LIMIT);
        if header.separator() == Separator::Limit {
            // What can't be looked at can't be judged: Bcc and loops might hide behind the limit.
            self.state = State::Refused(replies::HEADER_TOO_BIG.reply());
            return;
        }
        let inboxes = &client.policy.inboxes;
        let to_inbox = |rcpt: &Rcpt| inboxes.find(&rcpt.address).is_some();
        let forwarded = transaction.recipients.iter().any(to_inbox);
        let only_forwarded = forwarded && transaction.recipients.iter().all(to_inbox);
        let id = self.draft.id().to_string();
        let only = match transaction.recipients.as_slice() {
            [recipient] => Some(&recipient.address),
            _ => None,
        };
        // What a mailbox forwards is read as it came: no rule touches it.
        let ruled = if forwarded { None } else { ruled(transaction, &header, &seen, client) };
        let edited = ruled.as_ref().map_or(seen.as_slice(), |ruled| ruled.content.as_slice());
        let edited_header = HeaderSection::within(edited, usize::MAX);
        let prepared = trace::prepare(
            &edited_header,
            &TraceContext {
                hostname: &client.policy.hostname,
                id: &id,
                origin: &self.origin,
                protocol: self.protocol,
                tls: client.tls.as_deref(),
                received_at: client.clock.now(),
                recipient: only,
                controls: if client.may_relay() && !forwarded { Controls::Read } else { Controls::Ignore },
            },
        );
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.state = State::Refused(refusal.reply());
                return;
            }
        };
        for name in &prepared.unknown {
            client.events.control_unknown(client.session, self.draft.id(), name);
        }
        let class = steering::class(&transaction.mail, prepared.class);
        let due = steering::release(&transaction.mail, prepared.send_at, client.clock.now());
        let (parts, discarded) = match parts(transaction, &header, class, due, client) {
            Ok(parts) => parts,
            Err(reply) => {
                self.state = State::Refused(reply);
                return;
            }
        };
        let eight_bit_header = !edited_header.octets().is_ascii();
        let pieces: Vec<&[u8]> =
            if only_forwarded { vec![edited] } else { prepared.pieces(edited).collect() };
        for piece in pieces {
            if let Err(cause) = self.draft.write(piece).await {
                self.state = State::Refused(refusal(&cause));
                return;
            }
        }
        prepared.notes.rewritten = ruled.map_or_else(Vec::new, |ruled| ruled.changes);
        self.state = State::Body(Judged { notes: prepared.notes, parts, discarded, eight_bit_header });
    }
}

/// What `[[rewrite]]` makes of the header section; none when nothing changes. All rules are matched against the
/// message as it came in.
fn ruled(
    transaction: &Transaction,
    header: &HeaderSection<'_>,
    seen: &[u8],
    client: &Client,
) -> Option<Ruled> {
    if client.policy.rewrites.is_empty() {
        return None;
    }
    let recipients: Vec<Recipient> = transaction.recipients.iter().cloned().map(recipient).collect();
    let facts = facts(transaction, &recipients, header, None, client);
    let matching = client.policy.rewrites.iter().filter(|each| route::matches_message(&each.matches, &facts));
    rules::apply(seen, matching.map(|each| &each.rule))
}

/// What rules and routes look at.
fn facts<'a>(
    transaction: &'a Transaction,
    recipients: &'a [Recipient],
    header: &'a HeaderSection<'a>,
    class: Option<Class>,
    client: &'a Client,
) -> Facts<'a> {
    Facts {
        application: client.login.as_deref(),
        sender: transaction.mail.sender.as_ref(),
        recipients,
        client: Some(client.peer.ip()),
        header,
        class,
    }
}

/// Which lanes it leaves by from `due` on, then those where it is dropped and how many these are; or why it may not.
fn parts(
    transaction: &Transaction,
    header: &HeaderSection<'_>,
    class: Option<Class>,
    due: Timestamp,
    client: &Client,
) -> Result<(Vec<Part>, usize), Reply> {
    let recipients: Vec<Recipient> = transaction.recipients.iter().cloned().map(recipient).collect();
    let mut routed = client.policy.router.route(&facts(transaction, &recipients, header, class, client));
    let inboxes = &client.policy.inboxes;
    let lane_of = |index: usize| recipients.get(index).and_then(|recipient| inboxes.find(&recipient.address));
    for (index, routed) in routed.iter_mut().enumerate() {
        // No route speaks for an inbox: forwarded mail is never refused, held or dropped by a rule.
        if let Some(lane) = lane_of(index) {
            *routed = Routed::inbox(lane.clone());
        }
    }
    let mut sorted = route::sort(&routed, due);
    if let Some(recipient) = sorted.rejected.first().and_then(|index| recipients.get(*index)) {
        return Err(replies::rejected_by_route(recipient.address.as_str()));
    }
    let dropped = dropped(&sorted.discarded, &routed, due);
    let count = dropped.len();
    sorted.parts = sorted.parts.into_iter().flat_map(each_alone).collect();
    sorted.parts.extend(dropped);
    Ok((sorted.parts, count))
}

/// Mail to an inbox is one message for each address of it: each may name another mailbox.
fn each_alone(part: Part) -> Vec<Part> {
    if addresses::of_lane(&part.lane).is_none() {
        return vec![part];
    }
    let alone = |&recipient: &usize| Part { recipients: vec![recipient], ..part.clone() };
    part.recipients.iter().map(alone).collect()
}

/// Recipients that a route drops, by lane. They are kept as held, so that nobody delivers them before [`discard`]
/// has told the journal; were we killed in between, an admin would find them held.
fn dropped(indexes: &[usize], routed: &[Routed], due: Timestamp) -> Vec<Part> {
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
                expires_at: None,
            }),
        }
    }
    parts
}

/// Ends the recipients of a part that a route drops, so that the journal shows them as discarded.
async fn discard(receipt: &Receipt, recipients: Vec<usize>, client: &Client) {
    let reply = Reply::new(250, Some(Enhanced(2, 0, 0)), "discarded by a route");
    let fates = recipients
        .into_iter()
        .filter_map(|number| Some((u32::try_from(number).ok()?, Fate::Discarded(reply.clone()))))
        .collect();
    client.events.discarded(client.session, receipt.id());
    let outcome = Outcome {
        id: receipt.id(),
        lane: receipt.lane().clone(),
        at: client.clock.now(),
        fates,
        next_attempt: None,
        maybe_duplicate: false,
        notice: None,
        warned: false,
        hold: None,
        events: Vec::new(),
        rewritten: Vec::new(),
        remembered: None,
    };
    client.queue.settle(outcome).await;
}

/// The envelope as it is kept: what the message really needs, not only what the client declared, so that no
/// smarthost is asked for more (RFC 6531 §3.4) or told less (RFC 6152 §2) than is true.
fn envelope(transaction: Transaction, eight_bit: bool, eight_bit_header: bool) -> Envelope {
    let Transaction { mail, recipients, .. } = transaction;
    let eight_bit_address = |address: &crate::smtp::address::Address| !address.is_ascii();
    let needs_utf8 = eight_bit_header
        || mail.sender.as_ref().is_some_and(eight_bit_address)
        || recipients.iter().any(|recipient| eight_bit_address(&recipient.address));
    Envelope {
        sender: mail.sender,
        recipients: recipients.into_iter().map(recipient).collect(),
        body: if eight_bit { Body::EightBitMime } else { Body::SevenBit },
        smtputf8: mail.smtputf8 && needs_utf8,
        ret: mail.ret,
        envid: mail.envid,
    }
}

fn recipient(rcpt: crate::smtp::command::Rcpt) -> Recipient {
    Recipient { address: rcpt.address, notify: rcpt.notify, orcpt: rcpt.orcpt }
}

/// What a client is told when the queue can't take its message. The cause goes to the log.
pub(super) fn refusal(cause: &KeepError) -> Reply {
    match cause {
        KeepError::DiskFull => replies::DISK_FULL.reply(),
        KeepError::Closed => replies::SHUTTING_DOWN.reply(),
        _ => replies::NOT_KEPT.reply(),
    }
}

/// `250 2.0.0 ID queued for shop, due 14:32`, a line for each lane.
pub(super) fn thanks(receipts: &[(Receipt, bool)], id: &str, now: Timestamp) -> Reply {
    let mut replies = receipts.iter().map(|(receipt, held)| {
        let (id, lane) = (receipt.id().to_string(), receipt.lane().as_str());
        if *held {
            return replies::held(&id, lane);
        }
        let zone = jiff::tz::TimeZone::system();
        let (due, today) = (receipt.due().to_zoned(zone.clone()), now.to_zoned(zone).date());
        // What is due already may have been so just before midnight.
        let form = if receipt.due() <= now || due.date() == today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        replies::queued(&id, lane, &due.strftime(form).to_string())
    });
    let Some(mut reply) = replies.next() else { return replies::discarded(id) };
    reply.lines.extend(replies.flat_map(|more| more.lines));
    reply
}
