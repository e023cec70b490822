//! Webhooks: who may be called, and that what is said can be said.

use super::super::endpoint::EVENTS;
use super::super::schema::{Config, Endpoint};
use super::super::walk::{Ledger, Table, Tables};
use crate::net::http::forbidden;

/// Looks at `[events]` and `[alert]`, and at the names of inboxes.
pub(super) fn check(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    if let Some(table) = tables.one("events") {
        events(config, table, ledger);
    }
    if let Some(table) = tables.one("alert") {
        webhook(config.alert.endpoint.as_ref(), table, ledger);
        let told = table.mentions("webhook") || table.mentions("command");
        for key in ["oldest_message", "min_free"].into_iter().filter(|_| !told) {
            if table.given(key).is_some() {
                let message = "has no effect: nobody is told; give webhook or command";
                ledger.warn(&table.at(key), table.path(key), message);
            }
        }
        alone(table, ledger);
    }
    for table in tables.all("inbox") {
        let endpoint = config.inboxes.get(&table.name).and_then(Endpoint::of_inbox);
        webhook(endpoint.as_ref(), table, ledger);
        if table.name == EVENTS {
            let message = "is the name of the webhook in [events]; give the inbox another one";
            ledger.error(&table.place, table.label.clone(), message);
        }
    }
}

fn events(config: &Config, table: &Table, ledger: &mut Ledger<'_>) {
    webhook(config.events.endpoint.as_ref(), table, ledger);
    let complain = |key: &str, message: &str, ledger: &mut Ledger<'_>| {
        ledger.error(&table.at(key), table.path(key), message);
    };
    if table.mentions("webhook") && !table.mentions("secret_file") {
        let message = "needs secret_file, or nobody can tell our events from forged ones; `waystation events secret` prints a secret";
        complain("webhook", message, ledger);
    }
    alone(table, ledger);
    let waits = &config.events.schedule;
    if !table.broken("schedule") && waits.iter().any(std::time::Duration::is_zero) {
        complain("schedule", "holds a wait of nothing; the least is \"1s\"", ledger);
    }
}

/// A secret without anybody to sign for was meant otherwise.
fn alone(table: &Table, ledger: &mut Ledger<'_>) {
    if table.given("secret_file").is_some() && !table.mentions("webhook") {
        let message = "has no effect without webhook; give both or none";
        ledger.error(&table.at("secret_file"), table.path("secret_file"), message);
    }
}

/// An address in the URL itself is judged now; a name, when it is connected to.
fn webhook(endpoint: Option<&Endpoint>, table: &Table, ledger: &mut Ledger<'_>) {
    let Some(Endpoint { url, allow_private, .. }) = endpoint else { return };
    let mut complain = |message: String| ledger.error(&table.at("webhook"), table.path("webhook"), message);
    let literal = url.literal();
    if let Some(why) = literal.and_then(|address| forbidden(address, *allow_private, url.is_encrypted())) {
        complain(format!("is at {why}"));
    } else if literal.is_none() && !url.is_encrypted() && !allow_private {
        complain(
            "is not encrypted; use https, or set allow_private = true if it is at a private address"
                .to_owned(),
        );
    }
}
