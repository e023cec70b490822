//! What a channel would drop without a word: refused when it is submitted, with a code and what to do.

use crate::config::schema::Channel;
use crate::inbox::mailbox::comparable;
use crate::message::attachments::Attachment;
use crate::smtp::reply::{Enhanced, Reply};

/// A message that is about to leave for a channel's address.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The From address it will have.
    pub from: &'a str,
    /// The recipient: the channel's relay address.
    pub recipient: &'a str,
    /// Addresses of the mailboxes that it may be sent for; empty when it is no mailbox's.
    pub mailboxes: &'a [&'a str],
    /// The newest address the conversation wants answers at, if the store knows.
    pub latest: Option<&'a str>,
    /// File name and octets of each attachment.
    pub attachments: &'a [Attachment],
}

/// Why a channel would not deliver it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It takes mail only from the mailbox's own address.
    #[error("{channel} drops mail that isn't from the mailbox's own address, {address}; send it from there")]
    From {
        /// The channel.
        channel: String,
        /// The mailbox's address.
        address: String,
    },
    /// The address belongs to an older message.
    #[error("{channel} gives each message an address of its own; answer to the newest one, {latest}")]
    OldAddress {
        /// The channel.
        channel: String,
        /// Where the answer must go.
        latest: String,
    },
    /// Too much.
    #[error("{channel} takes {most} octets of attachments, and these have {have}; send a link, or less")]
    TooBig {
        /// The channel.
        channel: String,
        /// The most it takes.
        most: u64,
        /// What there is.
        have: u64,
    },
    /// A kind of file it refuses.
    #[error("{channel} refuses files that end in .{extension} ({filename}); send another kind")]
    Extension {
        /// The channel.
        channel: String,
        /// The file.
        filename: String,
        /// Its ending.
        extension: String,
    },
}

impl Refusal {
    /// A code for programs; it never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::From { .. } => "channel_from",
            Self::OldAddress { .. } => "channel_old_address",
            Self::TooBig { .. } => "channel_attachment_size",
            Self::Extension { .. } => "channel_attachment_type",
        }
    }

    /// The setting that says so, by which another row of the channel could say otherwise.
    #[must_use]
    pub fn setting(&self) -> String {
        let (channel, key) = match self {
            Self::From { channel, .. } => (channel, "from_must_be_mailbox"),
            Self::OldAddress { channel, .. } => (channel, "reply_to_latest"),
            Self::TooBig { channel, .. } => (channel, "max_attachments"),
            Self::Extension { channel, .. } => (channel, "blocked_extensions"),
        };
        format!("channel.{channel}.{key}")
    }

    /// What the client is told, in one line, about mail to this address.
    #[must_use]
    pub fn reply(&self, recipient: &str) -> Reply {
        let (code, enhanced) = match self {
            Self::From { .. } => (550, Enhanced(5, 7, 1)),
            // RFC 3463 §3.2: the mailbox has moved.
            Self::OldAddress { .. } => (550, Enhanced(5, 1, 6)),
            Self::TooBig { .. } => (552, Enhanced(5, 3, 4)),
            // RFC 3463 §3.7: media not supported.
            Self::Extension { .. } => (554, Enhanced(5, 6, 1)),
        };
        Reply::new(code, Some(enhanced), format!("{}: <{recipient}>: {self}", self.code()))
    }
}

/// Everything for which the channel would drop the message; empty when it will take it.
#[must_use]
pub fn refusals(outgoing: &Outgoing<'_>, channel: &Channel) -> Vec<Refusal> {
    let name = || channel.name.clone();
    let mut found = Vec::new();
    let is_from = |mailbox: &&str| comparable(outgoing.from) == comparable(mailbox);
    if channel.from_must_be_mailbox
        && !outgoing.mailboxes.is_empty()
        && !outgoing.mailboxes.iter().any(is_from)
    {
        found.push(Refusal::From { channel: name(), address: outgoing.mailboxes.join(" or ") });
    }
    if channel.reply_to_latest
        && let Some(latest) = outgoing.latest
        && comparable(outgoing.recipient) != comparable(latest)
    {
        found.push(Refusal::OldAddress { channel: name(), latest: latest.to_owned() });
    }
    let have: u64 = outgoing.attachments.iter().map(|(_, octets)| octets).sum();
    if let Some(most) = channel.max_attachment_bytes.filter(|most| have > *most) {
        found.push(Refusal::TooBig { channel: name(), most, have });
    }
    for (filename, _) in outgoing.attachments {
        // Windows takes `a.exe.` for `a.exe`.
        let whole = filename.trim_end_matches(['.', ' ']);
        let extension =
            whole.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default();
        if channel.blocked_extensions.contains(&extension) {
            found.push(Refusal::Extension { channel: name(), filename: filename.clone(), extension });
        }
    }
    found
}
