//! What a channel would drop without a word: told before it is sent, with a code and what to do.

use crate::config::schema::Channel;
use crate::inbox::mailbox::comparable;

/// A message that is about to leave for a channel's address.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The From address it will have.
    pub from: &'a str,
    /// The recipient: the channel's relay address.
    pub recipient: &'a str,
    /// The address of the mailbox it is sent for; none when it is no mailbox's.
    pub mailbox: Option<&'a str>,
    /// The newest address the conversation wants answers at, if the store knows.
    pub latest: Option<&'a str>,
    /// File name and octets of each attachment.
    pub attachments: &'a [(String, u64)],
}

/// Why a channel would not deliver it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It takes mail only from the mailbox's own address.
    #[error("{channel} drops mail that isn't from the mailbox's own address {address}; send it from there")]
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
}

/// Everything for which the channel would drop the message; empty when it will take it.
#[must_use]
pub fn refusals(outgoing: &Outgoing<'_>, channel: &Channel) -> Vec<Refusal> {
    let name = || channel.name.clone();
    let mut found = Vec::new();
    if channel.from_must_be_mailbox
        && let Some(mailbox) = outgoing.mailbox
        && comparable(outgoing.from) != comparable(mailbox)
    {
        found.push(Refusal::From { channel: name(), address: mailbox.to_owned() });
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
        let extension =
            filename.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default();
        if channel.blocked_extensions.contains(&extension) {
            found.push(Refusal::Extension { channel: name(), filename: filename.clone(), extension });
        }
    }
    found
}
