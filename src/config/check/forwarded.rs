//! Inboxes, mailboxes and channels: each address and token means one thing.

use super::refers;
use crate::config::schema::{Config, Mailbox};
use crate::config::walk::{Ledger, Table, Tables};
use crate::inbox::mailbox::{account, comparable};
use crate::inbox::token::LONGEST_LOCAL;
use std::collections::BTreeMap;

/// Characters of a token: what survives in a local part that is folded to lower case, beside an address of 64 octets.
const LONGEST_TOKEN: usize = 40;

pub(super) fn check(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    inboxes(config, tables, ledger);
    mailboxes(config, tables, ledger);
    channels(tables, ledger);
}

fn inboxes(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for table in tables.all("inbox") {
        let Some(inbox) = config.inboxes.get(&table.name) else { continue };
        let address = comparable(inbox.address.as_str());
        if inbox.address.local().contains('+') {
            let message = "has a +, which parts an inbox from a mailbox's token; write it without";
            ledger.error(&table.at("address"), table.path("address"), message);
        }
        once(table, "address", address, "inbox", &mut owners, ledger);
        if table.given("include").is_some()
            && !inbox.include.text
            && !inbox.include.html
            && !inbox.include.headers
        {
            let message = "is empty: events will hold the answer, but not what it was cut from";
            ledger.warn(&table.at("include"), table.path("include"), message);
        }
    }
}

fn mailboxes(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let mut addresses: BTreeMap<String, String> = BTreeMap::new();
    let mut tokens: BTreeMap<String, String> = BTreeMap::new();
    for table in tables.all("mailbox") {
        refers(table, "inbox", "inbox", tables, ledger);
        refers(table, "smarthost", "smarthost", tables, ledger);
        let Some(mailbox) = config.mailboxes.get(&table.name) else { continue };
        let address = account(mailbox.address.as_str());
        if let Some(inbox) = config.inboxes.values().find(|inbox| account(inbox.address.as_str()) == address)
        {
            let message = format!(
                "is the address of [inbox.{}] itself; write the address of the mailbox that forwards",
                inbox.name
            );
            ledger.error(&table.at("address"), table.path("address"), message);
        }
        // Within one inbox: the same mailbox may forward to two.
        once(table, "address", format!("{} {address}", mailbox.inbox), "mailbox", &mut addresses, ledger);
        if let Some(token) = &mailbox.token {
            let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if token.len() > LONGEST_TOKEN
                || !token.chars().all(sound)
                || token.starts_with('.')
                || token.ends_with('.')
                || token.contains("..")
            {
                let message = format!(
                    "can't stand in an address; a token has 1 to {LONGEST_TOKEN} letters and digits, with - _ or . between them"
                );
                ledger.error(&table.at("token"), table.path("token"), message);
            } else if token.starts_with(crate::config::schema::REPLY_TOKEN_MARK) {
                let message = "begins with r-, which marks the tokens of answers; choose another one";
                ledger.error(&table.at("token"), table.path("token"), message);
            }
            once(table, "token", format!("{} {token}", mailbox.inbox), "mailbox", &mut tokens, ledger);
        }
        if mailbox.reply_token {
            reply_token(config, mailbox, table, ledger);
        }
    }
}

/// A token needs mail to stand in, and room in an address that any mailer can write to.
fn reply_token(config: &Config, mailbox: &Mailbox, table: &Table, ledger: &mut Ledger<'_>) {
    let (at, path) = (table.at("reply_token"), table.path("reply_token"));
    if mailbox.smarthost.is_none() {
        let message = "has no effect without a smarthost, because then the mailbox sends nothing through us";
        ledger.error(&at, path, message);
        return;
    }
    let Some(inbox) = config.inboxes.get(&mailbox.inbox) else { return };
    let octets = inbox.address.local().len();
    if octets > LONGEST_LOCAL {
        let message = format!(
            "has no effect: a token leaves {LONGEST_LOCAL} octets before the @ to the address of [inbox.{}], which has {octets}; choose a shorter one",
            inbox.name
        );
        ledger.warn(&at, path, message);
    } else if !inbox.address.is_ascii() {
        let message = format!(
            "has no effect: not every mailer can answer at an address outside of US-ASCII, as [inbox.{}] has; write its domain as xn--…, and its local part in plain letters",
            inbox.name
        );
        ledger.warn(&at, path, message);
    }
}

fn channels(tables: &Tables, ledger: &mut Ledger<'_>) {
    for table in tables.all("channel") {
        if table.given("domains").is_some() && table.texts("domains").is_empty() {
            let message = "is empty, so the channel would never be recognised; name its relay's domains";
            ledger.error(&table.at("domains"), table.path("domains"), message);
        }
    }
}

/// Complains when another table of the same kind has this already.
fn once(
    table: &Table,
    key: &str,
    value: String,
    section: &str,
    owners: &mut BTreeMap<String, String>,
    ledger: &mut Ledger<'_>,
) {
    if table.given(key).is_none() {
        return;
    }
    if let Some(owner) = owners.get(&value) {
        let message = format!("[{section}.{owner}] has it already; each needs its own");
        ledger.error(&table.at(key), table.path(key), message);
        return;
    }
    owners.insert(value, table.name.clone());
}
