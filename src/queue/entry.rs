//! What the operator sees of a message and asks for: entries, filters, actions, totals.

use super::{LaneName, QueueId, pattern};
use crate::message::envelope::Class;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// A message in `queue list` and `journal`, with exactly the names of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    #[serde(serialize_with = "as_text")]
    pub received_at: Timestamp,
    /// The lane it is in, or left by.
    pub lane: LaneName,
    /// Its class.
    #[serde(serialize_with = "class_name")]
    pub class: Class,
    /// The envelope sender; empty for the null sender.
    pub sender: String,
    /// Content length.
    pub size_bytes: u64,
    /// The decoded Subject, cut.
    pub subject: Option<String>,
    /// `X-Waystation-Tag`.
    pub tag: Option<String>,
    /// `X-Waystation-Meta-NAME`, in the order given.
    #[serde(serialize_with = "pairs")]
    pub meta: Vec<(String, String)>,
    /// Every recipient and what became of it.
    pub recipients: Vec<RecipientEntry>,
}

impl Entry {
    /// Shows what waits as held, for this reason: nothing of it can go before an admin does something.
    pub fn hold(&mut self, reason: &str) {
        let waiting = |one: &&mut RecipientEntry| matches!(one.state, State::Queued | State::Deferred);
        for recipient in self.recipients.iter_mut().filter(waiting) {
            recipient.state = State::Held;
            recipient.next_attempt = None;
            recipient.reply = Some(reason.to_owned());
        }
    }
}

/// One recipient of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipientEntry {
    /// The forward-path.
    pub address: String,
    /// What became of it so far.
    pub state: State,
    /// Attempts made.
    pub attempts: u32,
    /// When it is tried next; none when it is final or held.
    #[serde(serialize_with = "as_text_if_any")]
    pub next_attempt: Option<Timestamp>,
    /// The last reply, word for word; a line per line of the reply.
    pub reply: Option<String>,
}

/// A recipient's state, by the contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not tried yet.
    Queued,
    /// Tried, and to be tried again.
    Deferred,
    /// Waits for an operator.
    Held,
    /// A smarthost took it.
    Delivered,
    /// Refused for good.
    Failed,
    /// Its time ran out.
    Expired,
    /// A rule dropped it.
    Discarded,
    /// An operator dropped it.
    Deleted,
}

impl State {
    /// All of them, in the order of their row values.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Deferred,
        Self::Held,
        Self::Delivered,
        Self::Failed,
        Self::Expired,
        Self::Discarded,
        Self::Deleted,
    ];

    /// The contract's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Discarded => "discarded",
            Self::Deleted => "deleted",
        }
    }

    /// From the contract's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// As the index stores it.
    pub(super) fn to_row(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Deferred => 1,
            Self::Held => 2,
            Self::Delivered => 3,
            Self::Failed => 4,
            Self::Expired => 5,
            Self::Discarded => 6,
            Self::Deleted => 7,
        }
    }

    pub(super) fn from_row(row: i64) -> Option<Self> {
        usize::try_from(row).ok().and_then(|row| Self::ALL.get(row).copied())
    }

    /// Whether something is still to be done.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Deferred | Self::Held)
    }
}

/// Which messages are meant; every condition given must hold, none given means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// These only.
    pub ids: Vec<QueueId>,
    /// In this lane.
    pub lane: Option<LaneName>,
    /// Of this class.
    #[serde(skip)]
    pub class: Option<Class>,
    /// With a recipient in one of these states.
    pub states: Vec<State>,
    /// By sender: an address, `@domain`, or a pattern with `*`. `<>` is the null sender. Case doesn't matter.
    pub sender: Option<String>,
    /// With such a recipient, in the same way.
    pub recipient: Option<String>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before: `--until`, and now less `--older-than`.
    pub before: Option<Timestamp>,
    /// Whose client asked for no time after this.
    #[serde(default)]
    pub wanted_by: Option<Timestamp>,
    /// Of no more octets than this.
    #[serde(default)]
    pub up_to: Option<u64>,
    /// From this application.
    #[serde(default)]
    pub application: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Whose time, by a route's `expires_after`, was over by then; none in a lane that is removed.
    #[serde(default)]
    pub over: Option<Timestamp>,
    /// What its lane has for this one and gives back when it can't send it: not what may have arrived.
    #[serde(default)]
    pub home: Option<LaneName>,
    /// With this text in id, sender, subject, tag, a recipient or a reply. Case doesn't matter.
    pub text: Option<String>,
    /// Only messages with something still to be done (`queue list`, not `journal`).
    pub open: bool,
    /// Lanes that no smarthost is configured for; what waits in them counts as held. The daemon's to say.
    #[serde(skip)]
    pub removed: Vec<LaneName>,
}

impl Filter {
    /// Whether it says which recipients are meant, not only which messages.
    #[must_use]
    pub fn picks_recipients(&self) -> bool {
        !self.states.is_empty() || self.recipient.is_some()
    }

    /// Whether it means this recipient of a message in this lane.
    #[must_use]
    pub fn means(&self, lane: &LaneName, address: &str, state: State) -> bool {
        let waits = matches!(state, State::Queued | State::Deferred);
        let state = if waits && self.removed.contains(lane) { State::Held } else { state };
        let wanted = self.recipient.as_ref();
        (self.states.is_empty() || self.states.contains(&state))
            && wanted.is_none_or(|wanted| pattern::Pattern::of(wanted).matches(address))
    }
}

/// What an operator does to messages that aren't done, and have an open recipient that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adjust {
    /// Not to be tried until released.
    Hold,
    /// The same because a route says so now: of those that were never tried, aren't being delivered just then, and that no
    /// operator released.
    HoldByRoute,
    /// Held ones are due now.
    Release,
    /// The same for mail to an inbox that is this mailbox's, as an operator knows.
    Assign(String),
    /// Waiting ones are due now.
    Retry,
    /// Those of their open recipients that the filter means end as `deleted`, and no others. A delivery under way may still succeed and is then told as `delivered`.
    Delete,
    /// They leave by another lane, at once but for a time that their client asked for; those being delivered just
    /// then stay.
    Reroute(LaneName),
}

/// What an adjustment came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjusted {
    /// Messages changed.
    pub count: u64,
    /// Their names, the first 10,000 of them.
    pub ids: Vec<QueueId>,
    /// How many of them were being delivered just then: the change takes effect when that delivery ends.
    pub in_flight: u64,
    /// Their open recipients that the filter doesn't mean: a deletion leaves these, all else is done to a message as a
    /// whole.
    #[serde(default)]
    pub others: u64,
    /// How many of the released ones expire at once: a route's `expires_after` ended while they were held.
    #[serde(default)]
    pub expired: u64,
    /// The lanes that they are in now, and how many in each wait there: those that expire at once don't.
    #[serde(default)]
    pub lanes: BTreeMap<LaneName, u64>,
}

/// What waits in one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// The lane.
    pub lane: LaneName,
    /// Messages never tried.
    pub queued: u64,
    /// Messages tried, and to be tried again.
    pub deferred: u64,
    /// Messages that wait for an operator.
    pub held: u64,
    /// Messages being delivered just now; they are counted above, too.
    pub in_flight: u64,
    /// When the next one is due; none when nothing waits.
    #[serde(serialize_with = "as_text_if_any")]
    pub next_due: Option<Timestamp>,
}

/// Something that happened to a message and can't be told from its final state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// To which recipient; none for all.
    pub recipient: Option<u32>,
    /// What.
    pub kind: Kind,
    /// In words: a reply, a reason.
    pub detail: String,
}

/// What a [`Happening`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An attempt ended in "later".
    Deferred,
    /// An operator, a rule or damage held it.
    Held,
    /// An operator released it.
    Released,
    /// An operator asked for a try now.
    Retried,
    /// An operator dropped it.
    Deleted,
    /// An operator moved it to another lane.
    Rerouted,
    /// The next try may be a second copy.
    MaybeDuplicate,
    /// A delay notice or bounce was written.
    Noticed,
    /// The index was rebuilt from the content files.
    Salvaged,
    /// Fields or the sender were changed, by a rule or for a smarthost.
    Rewritten,
    /// A bounce came back after the smarthost had taken it.
    BouncedLater,
    /// So did a notice that it is late.
    DelayedLater,
    /// A machine answered it: somebody is away.
    AutoReplied,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Deferred,
        Self::Held,
        Self::Released,
        Self::Retried,
        Self::Deleted,
        Self::Rerouted,
        Self::MaybeDuplicate,
        Self::Noticed,
        Self::Salvaged,
        Self::Rewritten,
        Self::BouncedLater,
        Self::DelayedLater,
        Self::AutoReplied,
    ];

    pub(super) fn to_row(self) -> i64 {
        Self::ALL.into_iter().zip(0..).find(|(kind, _)| *kind == self).map_or(0, |(_, row)| row)
    }

    pub(super) fn from_row(row: i64) -> Option<Self> {
        usize::try_from(row).ok().and_then(|row| Self::ALL.get(row).copied())
    }
}

/// `journal show`: a message's whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Life {
    /// The message as it stands.
    #[serde(flatten)]
    pub entry: Entry,
    /// Where it came from: the client's address.
    pub client: Option<String>,
    /// The EHLO argument.
    pub helo: String,
    /// The application that logged in.
    pub application: Option<String>,
    /// When the last recipient was done.
    #[serde(serialize_with = "as_text_if_any")]
    pub done_at: Option<Timestamp>,
    /// The later time that its client asked for.
    #[serde(serialize_with = "as_text_if_any")]
    pub release_at: Option<Timestamp>,
    /// From this time on it is reported instead of tried, by its route.
    #[serde(serialize_with = "as_text_if_any")]
    pub expires_at: Option<Timestamp>,
    /// How each recipient stands, and since when.
    pub standings: Vec<Standing>,
    /// What happened on the way, oldest first.
    pub happenings: Vec<Happening>,
}

/// How a recipient stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its number in the message, as [`Happening::recipient`] has it.
    pub recipient: u32,
    /// The forward-path.
    pub address: String,
    /// What became of it so far.
    pub state: State,
    /// Since when.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
}

/// A class's word.
#[must_use]
pub fn class_word(class: Class) -> &'static str {
    match class {
        Class::Priority => "priority",
        Class::Normal => "normal",
        Class::Bulk => "bulk",
    }
}

/// RFC 3339 in UTC, always with three digits behind the second, so that such texts sort as times do.
#[must_use]
pub fn in_milliseconds(time: Timestamp) -> jiff::fmt::strtime::Display<'static> {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
}

pub(crate) fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&in_milliseconds(*time))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
pub(crate) fn as_text_if_any<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(&in_milliseconds(*time)),
        None => to.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn class_name<S: Serializer>(class: &Class, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(class_word(*class))
}

pub(crate) fn pairs<S: Serializer>(pairs: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_contracts_names_and_no_others() {
        let entry = Entry {
            id: "0000000000001".parse().unwrap(),
            received_at: Timestamp::from_second(1_795_000_000).unwrap(),
            lane: LaneName::new("shop"),
            class: Class::Normal,
            sender: String::new(),
            size_bytes: 3,
            subject: None,
            tag: Some("t".into()),
            meta: vec![("order".into(), "7".into())],
            recipients: vec![RecipientEntry {
                address: "a@b.example".into(),
                state: State::Queued,
                attempts: 0,
                next_attempt: Some(Timestamp::from_second(1_795_000_060).unwrap()),
                reply: None,
            }],
        };
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            concat!(
                r#"{"id":"0000000000001","received_at":"2026-11-18T11:06:40.000Z","lane":"shop","class":"normal","sender":"","#,
                r#""size_bytes":3,"subject":null,"tag":"t","meta":{"order":"7"},"recipients":[{"address":"a@b.example","#,
                r#""state":"queued","attempts":0,"next_attempt":"2026-11-18T11:07:40.000Z","reply":null}]}"#
            )
        );
    }

    #[test]
    fn states_and_kinds_survive_their_rows() {
        for state in State::ALL {
            assert_eq!(State::from_row(state.to_row()), Some(state));
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::from_row(kind.to_row()), Some(kind));
        }
    }
}
