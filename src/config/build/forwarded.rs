//! Inboxes, mailboxes and channels: from judged tables to values.

use crate::config::schema::{Channel, ChannelKey, Config, EventFormat, Inbox, Include, Mailbox};
use crate::config::value::Value;
use crate::config::walk::{Table, Tables};
use crate::smtp::address::Address;
use std::path::Path;

/// Fills in what forwarded mail needs. A table without a good address is left out; its complaint is made elsewhere.
pub(super) fn build(config: &mut Config, tables: &Tables, base: &Path) {
    config.inboxes = named(tables, "inbox", |table| inbox(table, base));
    config.mailboxes = named(tables, "mailbox", mailbox);
    config.channels = named(tables, "channel", |table| Some(channel(table)));
}

fn named<T>(
    tables: &Tables,
    section: &str,
    read: impl Fn(&Table) -> Option<T>,
) -> std::collections::BTreeMap<String, T> {
    tables.all(section).filter_map(|table| Some((table.name.clone(), read(table)?))).collect()
}

fn address(table: &Table) -> Option<Address> {
    match table.value("address") {
        Some(Value::Address(address)) => Some(address),
        _ => None,
    }
}

fn has(table: &Table, key: &str, wanted: &str) -> bool {
    table.list(key).iter().any(|value| matches!(value, Value::Word(word) if *word == wanted))
}

fn inbox(table: &Table, base: &Path) -> Option<Inbox> {
    Some(Inbox {
        name: table.name.clone(),
        address: address(table)?,
        webhook: table.text("webhook").unwrap_or_default(),
        secret_file: table.path_value("secret_file", base).unwrap_or_default(),
        allow_private: table.flag("allow_private"),
        format: match table.word("format") {
            "postmark" => EventFormat::Postmark,
            "mailgun" => EventFormat::Mailgun,
            "cloudevents" => EventFormat::CloudEvents,
            "raw" => EventFormat::Raw,
            _ => EventFormat::Native,
        },
        include: Include {
            text: has(table, "include", "text"),
            html: has(table, "include", "html"),
            headers: has(table, "include", "headers"),
        },
    })
}

fn mailbox(table: &Table) -> Option<Mailbox> {
    Some(Mailbox {
        name: table.name.clone(),
        address: address(table)?,
        inbox: table.text("inbox").unwrap_or_default(),
        token: table.text("token").map(|token| token.to_ascii_lowercase()),
        smarthost: table.text("smarthost"),
        reply_token: table.flag("reply_token"),
    })
}

fn channel(table: &Table) -> Channel {
    let keys = [
        ("leading_digits", ChannelKey::LeadingDigits),
        ("local_part", ChannelKey::LocalPart),
        ("thread_link", ChannelKey::ThreadLink),
        ("subject_code", ChannelKey::SubjectCode),
        ("subject_number", ChannelKey::SubjectNumber),
    ];
    let key = |value: &Value| match value {
        Value::Word(word) => keys.iter().find(|(name, _)| name == word).map(|(_, key)| *key),
        _ => None,
    };
    let lower = |key| table.texts(key).iter().map(|text| text.to_lowercase()).collect::<Vec<String>>();
    Channel {
        name: table.name.clone(),
        domains: lower("domains").iter().map(|domain| domain.trim_start_matches('@').to_owned()).collect(),
        keys: table.list("keys").iter().filter_map(key).collect(),
        markers: table.texts("markers"),
        reply_to_latest: table.flag("reply_to_latest"),
        from_must_be_mailbox: table.flag("from_must_be_mailbox"),
        max_attachment_bytes: match table.value("max_attachments") {
            Some(Value::Number(octets)) => Some(octets),
            _ => None,
        },
        blocked_extensions: lower("blocked_extensions")
            .iter()
            .map(|extension| extension.trim_start_matches('.').to_owned())
            .collect(),
    }
}
