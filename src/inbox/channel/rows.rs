//! What is known of booking channels' mail relays, as data. November 2026; from the channels' own help pages and from
//! addresses on their mail. A user's `[channel.NAME]` goes before these and replaces the one of its name.

use crate::config::schema::{Channel, ChannelKey};

/// A built-in row.
struct Row {
    name: &'static str,
    domains: &'static [&'static str],
    keys: &'static [ChannelKey],
    markers: &'static [&'static str],
    reply_to_latest: bool,
    from_must_be_mailbox: bool,
    max_attachment_mib: Option<u64>,
    blocked_extensions: &'static [&'static str],
}

const PLAIN: Row = Row {
    name: "",
    domains: &[],
    keys: &[],
    markers: &[],
    reply_to_latest: false,
    from_must_be_mailbox: false,
    max_attachment_mib: None,
    blocked_extensions: &[],
};

const ROWS: &[Row] = &[
    // The relay takes mail only from the address in the extranet; anything else vanishes.
    Row {
        name: "booking",
        domains: &["guest.booking.com", "mchat.booking.com", "property.booking.com", "reply.booking.com"],
        keys: &[ChannelKey::LeadingDigits, ChannelKey::LocalPart],
        markers: &["Please type your reply above this line"],
        from_must_be_mailbox: true,
        max_attachment_mib: Some(15),
        blocked_extensions: &["zip", "rar", "exe"],
        ..PLAIN
    },
    // The address changes with every message: only the thread in its links stays.
    Row {
        name: "airbnb",
        domains: &["reply.airbnb.com", "guest.airbnb.com", "host.airbnb.com"],
        keys: &[ChannelKey::ThreadLink, ChannelKey::SubjectCode],
        reply_to_latest: true,
        max_attachment_mib: Some(15),
        ..PLAIN
    },
    Row {
        name: "vrbo",
        domains: &["messages.homeaway.com", "guest.vrbo.com"],
        keys: &[ChannelKey::LocalPart, ChannelKey::SubjectCode, ChannelKey::SubjectNumber],
        ..PLAIN
    },
    Row {
        name: "expedia",
        domains: &["m.expediapartnercentral.com"],
        keys: &[ChannelKey::LocalPart],
        ..PLAIN
    },
    Row { name: "agoda", domains: &["agoda-messaging.com"], keys: &[ChannelKey::LocalPart], ..PLAIN },
    Row { name: "trip", domains: &["trip.com"], keys: &[ChannelKey::LocalPart], ..PLAIN },
];

/// The built-in channels.
#[must_use]
pub fn known() -> Vec<Channel> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    ROWS.iter()
        .map(|row| Channel {
            name: row.name.to_owned(),
            domains: owned(row.domains),
            keys: row.keys.to_vec(),
            markers: owned(row.markers),
            reply_to_latest: row.reply_to_latest,
            from_must_be_mailbox: row.from_must_be_mailbox,
            max_attachment_bytes: row.max_attachment_mib.map(|mib| mib << 20),
            blocked_extensions: owned(row.blocked_extensions),
        })
        .collect()
}
