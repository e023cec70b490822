//! One message on its way in: the header section is judged as soon as it is whole, everything else flows through
//! to the queue's draft.
//!
//! Only the header section is held here, and only until it ends or reaches [`HEADER_LIMIT`]; it takes shares of
//! `intake.memory` as it grows, waits where there are none, and is refused with 452 when it waited in vain. What is
//! refused is read to its end and dropped.

use super::decision::{self, Arrival, Decision, HEADER_LIMIT, Rules};
use super::listener::{Detour, Leaving, Way};
use super::session::Client;
use crate::inbox::channel::{self, Bound, Newest};
use crate::message::attachments::Scan;
use crate::message::envelope::{Origin, Recipient};
use crate::message::fields::{HeaderScan, HeaderSection};
use crate::message::trace::Protocol;
use crate::queue::{Draft, KeepError, Notes, Part, QueueId, Receipt, Shares, Submission};
use crate::smtp::replies;
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;
use jiff::Timestamp;
use tokio::time::Instant;

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
    /// For each of the others: whether another lane may take it.
    detours: Vec<Option<Detour>>,
    eight_bit_header: bool,
    /// What the message is if it is bound for booking channels.
    bound: Option<Box<BoundForChannels>>,
}

/// What leaves for booking channels, and the attachments as they pass by.
struct BoundForChannels {
    bound: Vec<Bound>,
    scan: Scan,
}

/// What became of a whole message.
pub(super) enum Kept {
    /// On disk; one for each lane it leaves by; none when a route drops it.
    Safe(Vec<Promise>),
    /// Not taken; the reply says why.
    Refused(Reply),
    /// The queue failed; the cause is for the log, the reply for the client.
    Failed(KeepError, Reply),
}

/// What is promised of a part.
pub(super) struct Promise {
    receipt: Receipt,
    held: bool,
    /// When it is reported instead of tried.
    expires_at: Option<Timestamp>,
    /// What becomes of it if its own lane can't take it when it is due.
    detour: Option<Way>,
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

    /// When its header section must have ended, if it is a large one: the memory it stands in is what others wait for.
    pub(super) fn header_must_end_by(&self) -> Option<Instant> {
        match &self.state {
            State::Header { shares, .. } => shares.must_end_by(),
            State::Body(_) | State::Refused(_) => None,
        }
    }

    /// More octets of the message. They are taken out of `octets`, whose room can be used again.
    pub(super) async fn push(&mut self, octets: &mut Vec<u8>, envelope: &Transaction, client: &Client) {
        self.eight_bit |= !octets.is_ascii();
        match &mut self.state {
            State::Header { seen, scan, shares } => {
                // What is on its way when we stop is still taken where there is room; only nobody waits for room then.
                let covered = tokio::select! {
                    biased;
                    covered = self.draft.cover(shares, seen.len() + octets.len()) => Some(covered),
                    () = client.stop.cancelled() => None,
                };
                if covered != Some(true) {
                    let reply = if covered.is_none() { replies::SHUTTING_DOWN } else { replies::BUSY };
                    if covered.is_some() {
                        client.events.too_busy(client.session);
                    }
                    self.state = State::Refused(reply.reply());
                    return octets.clear();
                }
                seen.append(octets);
                if scan.is_complete(seen) {
                    self.judge(envelope, client).await;
                }
            }
            State::Body(judged) => {
                if let Some(bound) = &mut judged.bound {
                    bound.scan.push(octets);
                }
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
        let mut judged = match self.state {
            State::Body(judged) => judged,
            State::Refused(reply) => return Kept::Refused(reply),
            State::Header { .. } => return Kept::Refused(replies::NOT_KEPT.reply()),
        };
        if let Some(bound) = judged.bound.take()
            && let Some(reply) = refused_by_channel(*bound, self.draft.id(), client).await
        {
            return Kept::Refused(reply);
        }
        let size_bytes = self.draft.len();
        let Transaction { mail, recipients, .. } = transaction;
        let recipients = recipients.into_iter().map(decision::recipient).collect();
        let submission = Submission {
            envelope: decision::envelope(mail, recipients, self.eight_bit, judged.eight_bit_header),
            origin: self.origin,
            received_at: client.clock.now(),
            notes: judged.notes,
            parts: judged.parts,
        };
        let sender = submission.envelope.sender.clone();
        let held: Vec<_> = submission.parts.iter().map(|part| (part.held, part.expires_at)).collect();
        match client.queue.keep(self.draft, submission).await {
            Ok(mut receipts) => {
                let leaving = receipts.len().saturating_sub(judged.discarded);
                for receipt in receipts.split_off(leaving) {
                    client.events.discarded(client.session, receipt.id());
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
                let detours = judged.detours.into_iter().map(|ask| ask.and_then(|ask| ask(size_bytes)));
                let promises = receipts.into_iter().zip(held).zip(detours);
                let promise =
                    |((receipt, (held, expires_at)), detour)| Promise { receipt, held, expires_at, detour };
                let promises: Vec<Promise> = promises.map(promise).collect();
                for stranded in promises.iter().filter(|promise| promise.detour == Some(Way::Removed)) {
                    client.events.smarthost_removed(stranded.receipt.lane().as_str(), 1);
                }
                Kept::Safe(promises)
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
        let id = self.draft.id().to_string();
        let recipients = recipients(transaction);
        let arrival = Arrival {
            id: &id,
            mail: &transaction.mail,
            recipients: &recipients,
            origin: &self.origin,
            protocol: self.protocol,
            tls: client.tls.as_deref(),
            may_relay: client.may_relay(),
            now: client.clock.now(),
        };
        let policy = &client.policy;
        let rules = Rules {
            hostname: &policy.hostname,
            rewrites: &policy.rewrites,
            router: &policy.router,
            inboxes: &policy.inboxes,
            guard: &policy.guard,
        };
        let decision = match decision::decide(&seen, &arrival, &rules) {
            Ok(decision) => decision,
            Err(refused) => {
                self.state = State::Refused(refused.reply());
                return;
            }
        };
        for name in &decision.prepared.unknown {
            client.events.control_unknown(client.session, self.draft.id(), name);
        }
        let begun = || Box::new(BoundForChannels { bound: decision.bound.clone(), scan: Scan::default() });
        let mut bound = (!decision.bound.is_empty()).then(begun);
        for piece in decision.pieces(&seen) {
            if let Some(bound) = &mut bound {
                bound.scan.push(piece);
            }
            if let Err(cause) = self.draft.write(piece).await {
                self.state = State::Refused(refusal(&cause));
                return;
            }
        }
        let header = HeaderSection::within(decision.edited(&seen), usize::MAX);
        let detour = |part: &Part| {
            let sender = transaction.mail.sender.as_ref();
            let reached = part.recipients.iter().filter_map(|index| recipients.get(*index));
            let mut addresses = reached.map(|recipient| &recipient.address).chain(sender);
            let smtputf8 = addresses.any(|address| !address.is_ascii());
            let leaving = Leaving { part, header: &header, sender, smtputf8 };
            (!part.held).then(|| (client.detours)(&leaving)).flatten()
        };
        let detours = decision.sorted.parts.iter().map(detour).collect();
        let came = decision.came(&seen);
        let Decision { ruled, mut prepared, due, routed, sorted, eight_bit_header, .. } = decision;
        let dropped = decision::dropped(&sorted.discarded, &routed, due);
        let discarded = dropped.len();
        let parts = sorted.parts.into_iter().chain(dropped).collect();
        prepared.notes.came = came;
        prepared.notes.rewritten = ruled.map_or_else(Vec::new, |ruled| ruled.changes);
        self.state =
            State::Body(Judged { notes: prepared.notes, parts, discarded, detours, eight_bit_header, bound });
    }
}

/// The reply, if a booking channel would drop the message without a word. What can't be found out refuses nothing.
async fn refused_by_channel(found: BoundForChannels, id: QueueId, client: &Client) -> Option<Reply> {
    let BoundForChannels { bound, scan } = found;
    let attachments = scan.finish().unwrap_or_default();
    let queue = client.queue.clone();
    let judging = tokio::task::spawn_blocking(move || {
        let newest =
            |address: &str| -> Vec<Newest> { queue.knowledge(id).newest(address).unwrap_or_default() };
        channel::reply(&channel::refused(&bound, newest, &attachments))
    });
    judging.await.ok().flatten()
}

fn recipients(transaction: &Transaction) -> Vec<Recipient> {
    transaction.recipients.iter().cloned().map(decision::recipient).collect()
}

/// What a client is told when the queue can't take its message. The cause goes to the log.
pub(super) fn refusal(cause: &KeepError) -> Reply {
    match cause {
        KeepError::DiskFull => replies::DISK_FULL.reply(),
        KeepError::Closed => replies::SHUTTING_DOWN.reply(),
        _ => replies::NOT_KEPT.reply(),
    }
}

/// `250 2.0.0 ID queued for shop, due 14:32`, a line for each lane: the one it will be tried by, as things stand.
pub(super) fn thanks(promises: &[Promise], id: &str, now: Timestamp) -> Reply {
    let mut replies = promises.iter().map(|Promise { receipt, held, expires_at, detour }| {
        let id = receipt.id().to_string();
        if *held {
            return replies::held(&id, receipt.lane().as_str());
        }
        let (lane, due) = match detour {
            None => (receipt.lane(), receipt.due()),
            Some(Way::By(lane, due)) => (lane, (*due).max(now)),
            Some(Way::SwitchedOff) => return replies::switched_off(&id, receipt.lane().as_str()),
            Some(Way::Removed) => return replies::stranded(&id, receipt.lane().as_str()),
        };
        let mut told = shown(due, now);
        if let Some(expires_at) = expires_at.filter(|expires_at| *expires_at < due) {
            told = format!("{told}, but its route lets it expire {} before that", shown(expires_at, now));
        }
        replies::queued(&id, lane.as_str(), &told)
    });
    let Some(mut reply) = replies.next() else { return replies::discarded(id) };
    reply.lines.extend(replies.flat_map(|more| more.lines));
    reply
}

/// A time by the system's zone, with its day where that isn't today.
fn shown(time: Timestamp, now: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    let (told, today) = (time.to_zoned(zone.clone()), now.to_zoned(zone).date());
    // What is due already may have been so just before midnight.
    let form = if time <= now || told.date() == today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    told.strftime(form).to_string()
}
