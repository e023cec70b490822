//! What the command line asks about inboxes and their mailboxes.

use crate::queue::{Probe, QueueId, Silence, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A question about inboxes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboxRequest {
    /// Every mailbox; answered by a list of [`MailboxStatus`].
    List,
    /// Providers' questions without their links; answered by a list of [`crate::queue::Verification`].
    Verifications,
    /// One question with its link or code, marked as opened; answered by it, or null.
    Open {
        /// Which.
        id: QueueId,
    },
    /// Sends a probe through a mailbox's smarthost to itself; answered by its token.
    Test {
        /// Which.
        mailbox: String,
    },
    /// Where the conversations in which an address wrote want answers by now; answered by a list of
    /// [`Newest`](crate::inbox::channel::Newest).
    Newest {
        /// The address.
        address: String,
    },
    /// An attachment that an event left out; answered by [`Fetched`].
    Attachment {
        /// Its id, as the event has it.
        id: String,
    },
    /// How a probe is; answered by [`Probed`], or null.
    Probe {
        /// Its token.
        token: String,
    },
}

/// A mailbox, as `inbox list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxStatus {
    /// Its name.
    pub mailbox: String,
    /// Its own address.
    pub address: String,
    /// The inbox it forwards to.
    pub inbox: String,
    /// Where it is to forward to.
    pub forward_to: String,
    /// When its latest mail came, to the minute.
    pub last_received_at: Option<Timestamp>,
    /// Since when it is silent, if it was regular before.
    pub silent_since: Option<Timestamp>,
    /// The latest silence that is over.
    pub last_silence: Option<Silence>,
    /// Between two mails, as long as it was regular.
    pub usual_interval_seconds: Option<i64>,
}

/// An attachment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fetched {
    /// As the event has it.
    pub filename: String,
    /// Media type.
    pub content_type: String,
    /// Hex, of the decoded content.
    pub sha256: String,
    /// Base64.
    pub content: String,
}

/// A probe on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probed {
    /// The probe.
    pub probe: Probe,
    /// What became of the letter at the smarthost; none when the journal forgot it.
    pub sent: Option<Sent>,
}

/// A probe's letter at the smarthost.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The smarthost by which it leaves.
    pub lane: String,
    /// Its state.
    pub state: State,
    /// When it was done, if it is.
    pub done_at: Option<Timestamp>,
    /// The smarthost's latest reply.
    pub reply: Option<String>,
}
