//! Mail that goes by another smarthost than its own: what of it that one is known not to take, and what it gave back.
//!
//! Such mail is better off waiting for its own smarthost than failing at another. What is known of the other one
//! beforehand (its settings, and what its last answer to EHLO said) keeps mail from going there; what it says of size or sender
//! only when it sees the message sends that back. Whose a message is stands in the queue ([`Due::home`]); that it was refused
//! is forgotten with the process and with other settings, and then told anew.
//!
//! [`Due::home`]: crate::queue::Due::home

use super::connections::Lane;
use super::fates::Attempt;
use super::notices;
use super::outgoing;
use super::providers::{self, Meaning};
use super::target::Target;
use super::verdict::{Cause, Stage, Verdict};
use crate::config::schema::Smarthost;
use crate::message::fields::HeaderSection;
use crate::queue::{Due, LaneName, Open, QueueId};
use crate::smtp::address::Address;
use crate::smtp::capabilities::{Capabilities, SizeLimit};
use crate::smtp::reply::Enhanced;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Messages that are remembered of a lane.
const MOST: usize = 100_000;

/// What a message needs of whoever takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Its size.
    pub size_bytes: u64,
    /// Whether an address of its envelope is outside US-ASCII (RFC 6531).
    pub smtputf8: bool,
}

impl Needs {
    /// Those of a message of this size and envelope.
    pub fn of<'a>(size_bytes: u64, addresses: impl IntoIterator<Item = &'a Address>) -> Self {
        Self { size_bytes, smtputf8: !addresses.into_iter().all(Address::is_ascii) }
    }
}

/// What a smarthost's last answer to EHLO said of [`Needs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    size: Option<u64>,
    smtputf8: bool,
}

impl From<&Capabilities> for Offers {
    fn from(offered: &Capabilities) -> Self {
        let size = match offered.size {
            SizeLimit::Octets(most) => Some(most),
            SizeLimit::NotOffered | SizeLimit::Unlimited => None,
        };
        Self { size, smtputf8: offered.smtputf8 }
    }
}

/// A message of another lane.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Its name, once it is kept.
    pub id: Option<QueueId>,
    /// Its header section.
    pub header: &'a HeaderSection<'a>,
    /// The envelope's sender.
    pub sender: Option<&'a Address>,
    /// What it needs.
    pub needs: Needs,
    /// Whether it is a notice of ours: any address of the smarthost's does as its From.
    pub is_notice: bool,
}

impl<'a> Mail<'a> {
    /// A message of the queue, with its header section.
    #[must_use]
    pub fn of(due: &'a Due, header: &'a HeaderSection<'a>) -> Self {
        let sender = due.envelope.sender.as_ref();
        let addresses = due.envelope.recipients.iter().map(|recipient| &recipient.address).chain(sender);
        let needs = Needs::of(due.size_bytes, addresses);
        Self {
            id: Some(due.id),
            header,
            sender,
            needs,
            is_notice: notices::is_ours(&due.envelope, &due.origin),
        }
    }
}

/// Why a smarthost doesn't take a message whose own can't, as far as its settings tell: its From must be accepted as it is,
/// and the envelope's sender be allowed or become the account's own.
#[must_use]
pub fn objection(smarthost: &Smarthost, mail: &Mail<'_>) -> Option<&'static str> {
    let suits = if mail.is_notice {
        notices::accepts(smarthost, mail.header)
    } else {
        smarthost.with_account(|account| account.accepts(mail.header))
    };
    if !suits {
        return Some("doesn't accept this From");
    }
    let is_allowed = |sender: &Address| {
        smarthost.with_account(|account| {
            account.address.is_some() || account.allowed.is_none_or(|allowed| allowed(sender))
        })
    };
    if !mail.sender.is_none_or(is_allowed) {
        return Some("doesn't accept this envelope sender");
    }
    lack(smarthost, None, mail.needs)
}

/// What a message needs that a smarthost doesn't have, by its settings and by what it said.
fn lack(smarthost: &Smarthost, offers: Option<Offers>, needs: Needs) -> Option<&'static str> {
    let most = [smarthost.max_size, offers.and_then(|offers| offers.size)].into_iter().flatten().min();
    if most.is_some_and(|most| needs.size_bytes > most) {
        return Some("takes no message of this size");
    }
    let takes_utf8 = offers.is_none_or(|offers| offers.smtputf8);
    (needs.smtputf8 && !takes_utf8).then_some("takes no address outside US-ASCII")
}

/// The mail of others in a lane.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// What was given back.
    refused: BTreeSet<QueueId>,
    /// Of what may have arrived, the recipients by number to whom it hasn't: they were refused.
    unsent: BTreeMap<QueueId, BTreeSet<u32>>,
}

/// What goes back to the lane that it is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Return {
    /// That lane.
    pub(super) home: LaneName,
    /// What was said.
    pub(super) why: String,
    /// The recipients that it was said of, by index into [`Due::open`](crate::queue::Due::open), ascending.
    pub(super) refused: Vec<usize>,
}

impl Guests {
    /// Other settings are in force: what was refused may be taken now.
    pub(super) fn try_all_again(&mut self) {
        self.refused.clear();
    }

    /// Whom a message may have reached is no longer among those whom it hasn't.
    fn may_have_arrived(&mut self, id: QueueId, open: &[Open], verdicts: &[Option<Verdict>]) {
        let Some(unsent) = self.unsent.get_mut(&id) else { return };
        for (open, verdict) in open.iter().zip(verdicts) {
            if matches!(verdict, Some(Verdict::Uncertain(_))) {
                unsent.remove(&open.number);
            }
        }
    }
}

impl Lane {
    /// Why it doesn't take a message whose own smarthost can't, as far as anybody knows.
    #[must_use]
    pub fn objection(&self, mail: &Mail<'_>) -> Option<&'static str> {
        let was_refused = mail.id.is_some_and(|id| self.guests.lock().refused.contains(&id));
        let objection = || objection(&self.target().smarthost, mail).or_else(|| self.lack(mail.needs));
        if was_refused { Some("has refused it") } else { objection() }
    }

    /// What a message needs that the smarthost doesn't have, as far as anybody knows.
    #[must_use]
    pub fn lack(&self, needs: Needs) -> Option<&'static str> {
        lack(&self.target().smarthost, self.offers(), needs)
    }

    /// A claimed message, unless it is another lane's and the settings here wouldn't let it come any more: then it goes back. One
    /// that may have arrived through this smarthost stays, and what its own lane wouldn't send.
    pub(super) async fn unless_unwanted(&self, due: Due, target: &Target) -> Option<Due> {
        let Some(home) = due.home.clone().filter(|_| !due.maybe_duplicate) else { return Some(due) };
        // Where it can't be read, whoever sends it says so.
        let Ok(octets) = outgoing::header_of(&self.queue, &due.content).await else { return Some(due) };
        let header = HeaderSection::of(&octets);
        let why = objection(&target.smarthost, &Mail::of(&due, &header));
        let Some(why) = why.filter(|_| target.smarthosts.get(&home) == Some(&true)) else { return Some(due) };
        let why = format!("{} {why}", self.name);
        self.events.given_back(due.id, &self.name, &home, &why);
        let why = format!("from {} back to {home}: {why}", self.name);
        self.queue.divert(due, home, why).await;
        None
    }

    /// What goes back of an attempt at another lane's message, because this smarthost can't or won't do what its own may. None
    /// when nothing does, when its own is configured no more, or of recipients to whom the message may have arrived through this
    /// one before: then what was said is final.
    ///
    /// A message is in one lane. Where it may have arrived for some, the others wait with them until these are settled.
    pub(super) fn gives_back(&self, attempt: &mut Attempt) -> Option<Return> {
        let Attempt { due, verdicts, .. } = attempt;
        let home = due.home.clone()?;
        let target = self.target();
        let is_enabled = *target.smarthosts.get(&home)?;
        let mut guests = self.guests.lock();
        guests.may_have_arrived(due.id, &due.open, verdicts);
        let unsent = guests.unsent.get(&due.id);
        let is_unsent = |at: usize| {
            let is_known = |open: &Open| unsent.is_some_and(|unsent| unsent.contains(&open.number));
            !due.maybe_duplicate || due.open.get(at).is_some_and(is_known)
        };
        let refused = refusals(verdicts, &target.smarthost, is_unsent);
        let Some(Verdict::Failed(cause)) = verdicts.get(*refused.first()?)? else { return None };
        let said = cause.reply.to_string();
        if arrived_for_others(verdicts, &refused, due.maybe_duplicate, !due.left.is_empty()) {
            wait(verdicts, &refused);
            let numbers = refused.iter().filter_map(|at| due.open.get(*at)).map(|open| open.number);
            if guests.unsent.len() >= MOST {
                guests.unsent.pop_first();
            }
            guests.unsent.entry(due.id).or_default().extend(numbers);
            return None;
        }
        guests.unsent.remove(&due.id);
        if guests.refused.len() >= MOST {
            guests.refused.pop_first();
        }
        guests.refused.insert(due.id);
        let name = &self.name;
        let holds = if is_enabled { String::new() } else { format!("; {home} is disabled and holds it") };
        Some(Return { why: format!("{name} doesn't take it: {said}{holds}"), home, refused })
    }
}

/// Which verdicts refuse a message for what the smarthost can't or won't do, among the recipients to whom it is `unsent`.
fn refusals(
    verdicts: &[Option<Verdict>],
    smarthost: &Smarthost,
    unsent: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let is_one = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Failed(cause)) if is_refusal(cause, smarthost));
    let refused = verdicts.iter().enumerate().filter(|(at, verdict)| is_one(verdict) && unsent(*at));
    refused.map(|(at, _)| at).collect()
}

/// Whether the message may have arrived for recipients that aren't settled: for some of these verdicts, or, where it `may_have` at an
/// earlier attempt, for any that is still open, `left` ones included.
fn arrived_for_others(verdicts: &[Option<Verdict>], refused: &[usize], may_have: bool, left: bool) -> bool {
    let is_uncertain = verdicts.iter().flatten().any(|verdict| matches!(verdict, Verdict::Uncertain(_)));
    let is_open = |(at, verdict): (usize, &Option<Verdict>)| {
        !refused.contains(&at) && !matches!(verdict, Some(Verdict::Delivered(_) | Verdict::Failed(_)))
    };
    is_uncertain || may_have && (left || verdicts.iter().enumerate().any(is_open))
}

/// Those that were refused are tried again with the others.
fn wait(verdicts: &mut [Option<Verdict>], refused: &[usize]) {
    for at in refused {
        if let Some(verdict) = verdicts.get_mut(*at)
            && let Some(Verdict::Failed(cause)) = verdict
        {
            *verdict = Some(Verdict::Deferred(cause.clone()));
        }
    }
}

/// Whether a smarthost refuses a message for what it can't or won't do for its sender, whoever the recipient is.
fn is_refusal(cause: &Cause, smarthost: &Smarthost) -> bool {
    let meaning = providers::meaning(&smarthost.host, &cause.reply, &smarthost.replies);
    // Relaying that is denied is denied to this account.
    let is_about_sender = matches!(meaning, Some((Meaning::Sender | Meaning::NeedsLogin, _)))
        || cause.reply.lines.join(" ").to_ascii_lowercase().contains(POSTFIX);
    // Size, octets and addresses outside US-ASCII; bad sender's mailbox or system (RFC 3463 §3.2, RFC 7505 §4.2). Where the reply
    // has no enhanced code, 552 is about the size (RFC 5321 §4.2.3).
    let is_lack = match cause.reply.enhanced {
        Some(enhanced) => matches!(
            enhanced,
            Enhanced(5, 3, 4) | Enhanced(5, 6, 3 | 7) | Enhanced(5, 1, 7 | 8) | Enhanced(5, 7, 27)
        ),
        None => cause.reply.code == 552,
    };
    cause.stage == Stage::Mail || is_about_sender || is_lack
}

/// What Postfix says, mostly at RCPT, in whatever its sender restrictions refuse.
const POSTFIX: &str = "sender address rejected";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::verdict::tests::{reply, upstream};
    use crate::deliver::verdict::{self, Event, Upstream};
    use std::path::Path;

    fn smarthost(lines: &str) -> Smarthost {
        let text = format!("[smarthost.sol]\nhost = \"mx.test\"\ntls = \"none\"\n{lines}");
        let loaded = crate::config::parse(Path::new("w.toml"), &text, std::iter::empty()).unwrap();
        { loaded.config }.smarthosts.remove("sol").unwrap()
    }

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    fn said(stage: Stage, line: &str) -> Verdict {
        let host = upstream("mx.test");
        verdict::judge(stage, Event::Reply(&reply(line)), &host)
    }

    #[test]
    fn what_is_said_of_size_or_sender_is_taken_back_and_nothing_else() {
        let smarthost = smarthost("");
        for (stage, line, goes_back) in [
            (Stage::Mail, "550 no", true),
            (Stage::Rcpt, "553 5.7.1 <a@shop.test>: Sender address rejected: not owned by user b", true),
            (Stage::Rcpt, "554 5.7.1 <a@shop.test>: Sender address rejected: Access denied", true),
            (Stage::Rcpt, "550 5.1.8 <a@shop.test>: no such domain", true),
            (Stage::Dot, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", true),
            (Stage::Dot, "552 too much", true),
            (Stage::Dot, "552 5.3.4 too big", true),
            (Stage::Dot, "550 5.7.1 listed as spam", false),
            (Stage::Dot, "552 5.2.2 mailbox full", false),
            (Stage::Rcpt, "550 5.1.1 no such user", false),
            (Stage::Rcpt, "553 5.1.3 bad address", false),
            (Stage::Rcpt, "450 4.7.1 <a@shop.test>: Sender address rejected: later", false),
        ] {
            let refused = refusals(&[Some(said(stage, line))], &smarthost, |_| true);
            assert_eq!(refused, Vec::from_iter(goes_back.then_some(0)), "{line}");
        }
        let text = "[[provider_reply]]\nhost = \"mx.test\"\ntext = \"not yours\"\nmeans = \"sender\"\n";
        let own = self::smarthost(text);
        assert_eq!(refusals(&[Some(said(Stage::Rcpt, "550 5.7.1 not yours"))], &own, |_| true), [0]);
    }

    #[test]
    fn what_is_settled_stays_settled_and_what_may_have_arrived_stays() {
        let smarthost = smarthost("");
        let nobody = said(Stage::Rcpt, "550 5.1.1 no such user");
        let later = said(Stage::Rcpt, "450 4.2.0 later");
        let too_big = said(Stage::Dot, "552 5.3.4 too big");
        let taken = said(Stage::Dot, "250 2.0.0 taken");
        let cut_off = Upstream { content_sent: true, ..upstream("mx.test") };
        let uncertain = verdict::judge(Stage::Dot, Event::TimedOut, &cut_off);
        let all = [
            Some(nobody.clone()),
            Some(too_big.clone()),
            None,
            Some(taken.clone()),
            Some(later.clone()),
            Some(too_big.clone()),
        ];
        assert_eq!(refusals(&all, &smarthost, |_| true), [1, 5]);
        assert!(!arrived_for_others(&all, &[1, 5], false, true));
        let mut verdicts = [Some(nobody.clone()), Some(too_big.clone()), Some(uncertain)];
        assert_eq!(refusals(&verdicts, &smarthost, |_| true), [1]);
        assert!(arrived_for_others(&verdicts, &[1], false, false));
        wait(&mut verdicts, &[1]);
        assert!(
            matches!(&verdicts[..2], [Some(Verdict::Failed(_)), Some(Verdict::Deferred(_))]),
            "{verdicts:?}"
        );
        assert_eq!(refusals(&[Some(nobody.clone()), None], &smarthost, |_| true), [0; 0]);
        // The next attempt: who was refused before goes back when nobody else is open.
        for (other, left, stays) in [
            (Some(taken), false, false),
            (Some(nobody), false, false),
            (Some(later), false, true),
            (None, false, true),
            (Some(too_big.clone()), true, true),
        ] {
            let verdicts = [Some(too_big.clone()), other];
            let refused = refusals(&verdicts, &smarthost, |at| at == 0);
            assert_eq!(refused, [0], "the other one may have it");
            assert_eq!(arrived_for_others(&verdicts, &refused, true, left), stays, "{verdicts:?}");
        }
    }

    #[test]
    fn whom_a_message_may_have_reached_since_is_not_among_those_whom_it_has_not() {
        let id = QueueId::from_row(7);
        let mut guests =
            Guests { unsent: BTreeMap::from([(id, BTreeSet::from([0, 2]))]), ..Guests::default() };
        let open = [0, 1, 2].map(|number| Open { number, attempts: 1, tried_at: None, waits_until: None });
        let cut_off = Upstream { content_sent: true, ..upstream("mx.test") };
        let uncertain = verdict::judge(Stage::Dot, Event::TimedOut, &cut_off);
        guests.may_have_arrived(QueueId::from_row(8), &open, &vec![Some(uncertain.clone()); 3]);
        let too_big = said(Stage::Dot, "552 5.3.4 too big");
        guests.may_have_arrived(id, &open, &[Some(uncertain.clone()), Some(uncertain), Some(too_big)]);
        assert_eq!(guests.unsent[&id], BTreeSet::from([2]));
    }

    #[test]
    fn what_another_smarthost_is_known_not_to_take_is_named() {
        let header = HeaderSection::of(b"From: x@ok.test\r\n\r\n");
        let (ours, theirs) = (address("x@ok.test"), address("bounce@other.test"));
        let small = Needs::of(1024, [&ours]);
        let large = Needs { size_bytes: 1025, ..small };
        let utf8 = Needs::of(10, [&address("jörg@x.test"), &ours]);
        let allowed = "from = \"keep\"\nallowed_from = [\"@ok.test\"]\n";
        let own = "address = \"x@ok.test\"\n";
        let sized = "max_size = \"1 KiB\"\n";
        for (lines, sender, needs, expected) in [
            (allowed, Some(&ours), large, None),
            (allowed, None, small, None),
            (allowed, Some(&theirs), small, Some("doesn't accept this envelope sender")),
            (&format!("{allowed}{own}"), Some(&theirs), small, None),
            (
                "from = \"keep\"\nallowed_from = [\"@no.test\"]\n",
                Some(&ours),
                small,
                Some("doesn't accept this From"),
            ),
            (sized, Some(&theirs), small, None),
            (sized, Some(&theirs), large, Some("takes no message of this size")),
            ("", Some(&ours), utf8, None),
        ] {
            let mail = Mail { id: None, header: &header, sender, needs, is_notice: false };
            assert_eq!(objection(&smarthost(lines), &mail), expected, "{lines} {sender:?} {needs:?}");
        }
    }

    #[test]
    fn what_it_said_counts_beside_what_is_configured() {
        let said = |size, smtputf8| Some(Offers { size, smtputf8 });
        let needs = Needs { size_bytes: 2000, smtputf8: true };
        let (size, utf8) = (Some("takes no message of this size"), Some("takes no address outside US-ASCII"));
        for (lines, offers, expected) in [
            ("", None, None),
            ("", said(None, true), None),
            ("", said(Some(2000), false), utf8),
            ("", said(Some(1999), true), size),
            ("max_size = \"1 KiB\"\n", said(Some(9999), true), size),
        ] {
            assert_eq!(lack(&smarthost(lines), offers, needs), expected, "{lines} {offers:?}");
        }
    }
}
