//! What rewriting needs to make sense: a mailbox to rewrite to, and fields that may be touched.

use super::refers;
use crate::config::schema::{Config, FromMode, Rewrite, Smarthost};
use crate::config::value::Value;
use crate::config::walk::{Ledger, Table, Tables};
use crate::message::rewrite::rules::{Wish, objection};
use crate::smtp::address::Address;

pub(super) fn check(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    for table in tables.all("smarthost") {
        if let Some(smarthost) = config.smarthosts.get(&table.name) {
            from(table, smarthost, ledger);
        }
    }
    for (table, rewrite) in tables.all("rewrite").zip(&config.rewrites) {
        refers(table, "application", "application", tables, ledger);
        fields(table, rewrite, ledger);
    }
}

fn from(table: &Table, smarthost: &Smarthost, ledger: &mut Ledger<'_>) {
    if ["address", "from", "allowed_from", "display_name"].iter().any(|key| table.broken(key)) {
        return;
    }
    let mode = smarthost.from;
    let limited = !smarthost.allowed_from.is_empty();
    match &smarthost.address {
        None if mode == FromMode::Force => {
            let message = format!("rewrites From to the mailbox's own address; write {}", example(smarthost));
            ledger.error(&table.at("from"), table.path("from"), message);
        }
        None if mode == FromMode::IfNotAllowed && limited => {
            let message = format!(
                "From is rewritten to the mailbox's own address where it isn't among these; write {}, or from = \"keep\"",
                example(smarthost)
            );
            ledger.error(&table.at("allowed_from"), table.path("allowed_from"), message);
        }
        Some(address)
            if limited && !smarthost.allowed_from.iter().any(|pattern| pattern.matches(address)) =>
        {
            let message = format!(
                "isn't in allowed_from, so that this smarthost would refuse what we rewrite; add \"{address}\" there"
            );
            ledger.error(&table.at("address"), table.path("address"), message);
        }
        // A domain is written as DNS has it; for a local part there is no such form.
        Some(address) if !address.is_ascii() && mode != FromMode::Keep => {
            let message = "is outside of US-ASCII before the @: where this smarthost doesn't offer SMTPUTF8, all mail that \
                           is rewritten to it fails";
            ledger.warn(&table.at("address"), table.path("address"), message);
        }
        _ => {}
    }
    if smarthost.display_name.is_none() {
        return;
    }
    let place = table.at("display_name");
    let key = table.path("display_name");
    if smarthost.address.is_none() && mode != FromMode::Force && !(mode == FromMode::IfNotAllowed && limited)
    {
        let message = format!("goes with the mailbox's own address; write {}", example(smarthost));
        ledger.error(&place, key, message);
    }
}

/// The line to write; the user name is the address more often than not.
fn example(smarthost: &Smarthost) -> String {
    let name = smarthost.login.as_ref().map(|login| login.username.as_str());
    let name = name.filter(|name| Address::parse(name, true).is_ok()).unwrap_or("shop@example.com");
    format!("address = \"{name}\"")
}

fn fields(table: &Table, rewrite: &Rewrite, ledger: &mut Ledger<'_>) {
    let rule = &rewrite.rule;
    for (index, name) in rule.remove.iter().enumerate() {
        if let Some(message) = objection(Wish::Remove, name, "") {
            let place = match table.given("remove").map(|item| &item.value) {
                Some(Value::List(items)) => items.get(index).map(|item| item.place.clone()),
                _ => None,
            };
            let place = place.unwrap_or_else(|| table.at("remove"));
            ledger.error(&place, format!("{}.{}", table.path("remove"), index + 1), message);
        }
    }
    for (wish, key, pairs) in [(Wish::Replace, "replace", &rule.replace), (Wish::Add, "add", &rule.add)] {
        for (name, value) in pairs {
            if let Some(message) = objection(wish, name, value) {
                ledger.error(&table.at(key), format!("{}.{name}", table.path(key)), message);
            }
        }
    }
    for (name, _) in &rule.replace {
        if rule.remove.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            let message = "is removed by the same rule; to have it always, write it in remove and in add";
            ledger.error(&table.at("replace"), format!("{}.{name}", table.path("replace")), message);
        }
    }
    let edits = ["add", "remove", "replace"];
    let is_empty = rule.add.is_empty() && rule.remove.is_empty() && rule.replace.is_empty();
    if is_empty && !edits.iter().any(|key| table.broken(key)) {
        ledger.warn(&table.place, table.label.clone(), "says nothing to do; give add, remove or replace");
    }
}
