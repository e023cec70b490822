//! What keys mean together: contradictions, open doors, names that lead nowhere.
//!
//! Each complaint tells what to do. A key that is broken by itself is left alone here.

mod forwarded;
mod limits;
mod listeners;
mod rewriting;
mod webhooks;
mod smarthosts;

use super::build::{Surroundings, concerns};
use super::node::Place;
use super::schema::{Action, Config};
use super::suggest;
use super::units::{show_duration, show_size};
use super::walk::{Ledger, Table, Tables};
use std::time::Duration;

/// Looks for everything that can be seen without touching the disk. Fills in the default smarthost.
pub(super) fn check(config: &mut Config, tables: &Tables, around: &Surroundings, ledger: &mut Ledger<'_>) {
    hostname(config, tables, around, ledger);
    listeners::check(config, tables, ledger);
    listeners::unused_applications(config, tables, ledger);
    state_dir(config, tables, ledger);
    smarthosts::check(config, tables, around, ledger);
    rewriting::check(config, tables, ledger);
    for table in tables.all("application") {
        refers(table, "smarthost", "smarthost", tables, ledger);
    }
    forwarded::check(config, tables, ledger);
    webhooks::check(config, tables, ledger);
    for table in tables.all("rewrite") {
        refers(table, "application", "application", tables, ledger);
    }
    routes(config, tables, ledger);
    provider_replies(config, tables, ledger);
    providers(tables, ledger);
    limits(config, tables, ledger);
}

fn hostname(config: &Config, tables: &Tables, around: &Surroundings, ledger: &mut Ledger<'_>) {
    let Some(top) = tables.one("") else { return };
    if top.broken("hostname") {
        return;
    }
    let local = super::names::is_loopback(&config.hostname);
    if top.given("hostname").is_none() && around.hostname.is_none() {
        let message = "the system's own name can't be used in mail, so we say \"localhost\"; write hostname = \"relay.example.com\"";
        ledger.warn(&Place::File, "hostname", message);
    } else if local {
        let message = format!(
            "smarthosts distrust \"{}\"; write the name this machine has to others, hostname = \"relay.example.com\"",
            config.hostname
        );
        ledger.warn(&top.at("hostname"), "hostname", message);
    }
}

/// The control socket stands in it, and the system takes no longer path for a socket (`sockaddr_un`, unix(7)).
fn state_dir(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    const LONGEST: usize = 107;
    let Some(top) = tables.one("").filter(|top| !top.broken("state_dir")) else { return };
    let length = config.state_dir.join("admin.sock").as_os_str().len();
    if length > LONGEST {
        let message = format!(
            "{}/admin.sock is too long for a socket: {length} octets, and the system takes {LONGEST}; choose a shorter path",
            config.state_dir.display()
        );
        ledger.error(&top.at("state_dir"), top.path("state_dir"), message);
    }
}

/// A key that names another table must name one that is there.
fn refers(table: &Table, key: &str, section: &str, tables: &Tables, ledger: &mut Ledger<'_>) {
    let Some(name) = table.text(key) else { return };
    if tables.spoilt(section) || tables.names(section).any(|known| known == name) {
        return;
    }
    let hint = suggest::hint(&name, tables.names(section));
    ledger.error(&table.at(key), table.path(key), format!("there is no [{section}.{name}]{hint}"));
}

fn routes(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let conditions = ["application", "sender", "from", "recipient", "client", "header"];
    let effects = ["smarthost", "class", "action", "expires_after"];
    let mut all_taken = false;
    for (table, route) in tables.all("route").zip(&config.routes) {
        refers(table, "smarthost", "smarthost", tables, ledger);
        refers(table, "application", "application", tables, ledger);
        let verb = table.word("action");
        for key in ["smarthost", "class", "expires_after"] {
            if matches!(route.action, Action::Discard | Action::Reject) && table.given(key).is_some() {
                let message = format!("has no effect beside action = \"{verb}\"; remove one of them");
                ledger.error(&table.at(key), table.path(key), message);
            }
        }
        if route.expires_after == Some(Duration::ZERO) {
            let message = "0 s lets no mail leave; action = \"reject\" or \"discard\" says so more plainly";
            ledger.error(&table.at("expires_after"), table.path("expires_after"), message);
        }
        if !effects.iter().any(|key| table.mentions(key)) {
            let message = "says nothing to do; give smarthost, class, expires_after or action";
            ledger.warn(&table.place, table.label.clone(), message);
        }
        if all_taken {
            let message =
                "never used: an earlier route without conditions takes all mail; put this one first";
            ledger.warn(&table.place, table.label.clone(), message);
        }
        let empty_header = table.given("header").is_some() && route.matches.header.is_empty();
        all_taken |= !conditions.iter().any(|key| table.mentions(key))
            || (empty_header && conditions_but_header(table));
    }
}

/// A reply of a host that no smarthost has will never come.
fn provider_replies(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    for table in tables.all("provider_reply") {
        if table.given("text").is_some() && table.text("text").is_none_or(|text| text.trim().is_empty()) {
            let message = "is empty, and so in every reply; write the words that tell this one apart";
            ledger.error(&table.at("text"), table.path("text"), message);
        }
    }
    for table in tables.all("provider_reply").chain(tables.all("provider")) {
        let Some(host) = table.text("host") else { continue };
        let used = config.smarthosts.values().any(|smarthost| concerns(Some(&host), &smarthost.host));
        if !used && !tables.spoilt("smarthost") {
            let hosts = config.smarthosts.values().map(|smarthost| smarthost.host.as_str());
            let message =
                format!("never used: no smarthost's host is {host} or in it{}", suggest::hint(&host, hosts));
            ledger.warn(&table.at("host"), table.path("host"), message);
        }
    }
}

/// One behind another for the same host would change nothing.
fn providers(tables: &Tables, ledger: &mut Ledger<'_>) {
    let mut before: Vec<String> = Vec::new();
    for table in tables.all("provider") {
        let Some(host) = table.text("host") else { continue };
        if let Some(first) = before.iter().find(|first| concerns(Some(first), &host)) {
            let cure =
                if first.eq_ignore_ascii_case(&host) { "make one of the two" } else { "put this one first" };
            let message = format!("has no effect: a [[provider]] before it is for {first}; {cure}");
            ledger.error(&table.at("host"), table.path("host"), message);
        }
        before.push(host);
    }
}

fn conditions_but_header(table: &Table) -> bool {
    !["application", "sender", "from", "recipient", "client"].iter().any(|key| table.mentions(key))
}

fn limits(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    if let Some(retry) = tables.one("retry") {
        schedule(config, retry, ledger);
    }
    let (Some(intake), Some(spool)) = (tables.one("intake"), tables.one("spool")) else { return };
    let sound = |table: &Table, key: &str| !table.broken(key);
    if sound(intake, "max_message_size") && config.intake.max_message_size == 0 {
        let message = "0 B lets no mail in; the usual is \"25 MiB\"";
        ledger.error(&intake.at("max_message_size"), intake.path("max_message_size"), message);
    }
    if sound(intake, "memory") && config.intake.memory < 1 << 20 {
        let message = "is less than any session needs; the least is \"1 MiB\"";
        ledger.error(&intake.at("memory"), intake.path("memory"), message);
    }
    let comparable = sound(intake, "max_message_size") && sound(spool, "max_size");
    if comparable && config.spool.max_size < config.intake.max_message_size {
        let message = format!(
            "is less than one message may have (intake.max_message_size = \"{}\"); make it larger",
            show_size(config.intake.max_message_size)
        );
        ledger.error(&spool.at("max_size"), spool.path("max_size"), message);
    }
    let per_client = config.intake.max_connections_per_client;
    if intake.given("max_connections_per_client").is_some() && per_client > config.intake.max_connections {
        let message =
            format!("is never reached: intake.max_connections is {}", config.intake.max_connections);
        let key = "max_connections_per_client";
        ledger.warn(&intake.at(key), intake.path(key), message);
    }
    if let Some(journal) = tables.one("journal")
        && sound(journal, "keep")
        && config.journal_keep.is_zero()
    {
        ledger.error(&journal.at("keep"), journal.path("keep"), "must be longer than nothing, like \"30d\"");
    }
}

fn schedule(config: &Config, table: &Table, ledger: &mut Ledger<'_>) {
    let retry = &config.retry;
    if !table.broken("schedule") {
        if retry.schedule.is_empty() {
            ledger.error(
                &table.at("schedule"),
                table.path("schedule"),
                "is empty; write at least one wait, like [\"5m\"]",
            );
        } else if retry.schedule.iter().any(std::time::Duration::is_zero) {
            let message = "holds a wait of nothing, which would try without end; the least is \"1s\"";
            ledger.error(&table.at("schedule"), table.path("schedule"), message);
        }
    }
    if table.broken("give_up_after") {
        return;
    }
    if retry.give_up_after.is_zero() {
        let message = "must be longer than nothing; the usual is \"5d\"";
        ledger.error(&table.at("give_up_after"), table.path("give_up_after"), message);
        return;
    }
    // The default gives way: who never asked for the notice isn't told that it would come too late.
    let asked = table.given("warn_after").is_some() && !table.broken("warn_after");
    let Some(warn_after) = retry.warn_after.filter(|_| asked) else { return };
    if warn_after > retry.give_up_after {
        let message = format!(
            "give_up_after = \"{}\" comes before warn_after = \"{}\"; make warn_after shorter, or \"never\"",
            show_duration(retry.give_up_after),
            show_duration(warn_after)
        );
        ledger.error(&table.at("warn_after"), table.path("warn_after"), message);
    }
}
