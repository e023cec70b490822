//! Where mail goes: the default, the login, and what the port says about TLS.

use super::listeners::is_ourselves;
use crate::config::build::Surroundings;
use crate::config::names;
use crate::config::node::Place;
use crate::config::schema::{Config, Smarthost, TlsMode};
use crate::config::value::Value;
use crate::config::walk::{Ledger, Table, Tables};

/// The four ways to give a password.
const SOURCES: [&str; 4] = ["password", "password_file", "password_env", "password_command"];

pub(super) fn check(config: &mut Config, tables: &Tables, around: &Surroundings, ledger: &mut Ledger<'_>) {
    config.default_smarthost = default(tables, ledger);
    for table in tables.all("smarthost") {
        let Some(smarthost) = config.smarthosts.get(&table.name) else { continue };
        login(table, smarthost, around, ledger);
        let mut effective = smarthost.clone();
        (around.assume)(&mut effective);
        super::limits::check(table, &smarthost.limits, &effective.limits, ledger);
        fallback(table, &smarthost.fallback, tables, ledger);
        encryption(table, smarthost, ledger);
        if !table.broken("port") && is_ourselves(config, &smarthost.host, smarthost.port) {
            let message = format!(
                "{}:{} is waystation itself, so mail would go round for ever; write the provider's server",
                smarthost.host, smarthost.port
            );
            ledger.error(&table.at("host"), table.path("host"), message);
        }
        if table.given("pin_sha256").is_some() && table.given("ca_file").is_some() {
            let message = "has no effect beside pin_sha256, which alone decides; remove one of them";
            ledger.error(&table.at("ca_file"), table.path("ca_file"), message);
        }
    }
}

/// Exactly one takes what no route claims.
fn default(tables: &Tables, ledger: &mut Ledger<'_>) -> String {
    let all: Vec<&Table> = tables.all("smarthost").collect();
    let chosen: Vec<&Table> = all.iter().copied().filter(|table| table.flag("default")).collect();
    match (all.as_slice(), chosen.as_slice()) {
        ([], _) if tables.spoilt("smarthost") => String::new(),
        ([], _) => {
            let message = "there is none, so mail could go nowhere; write [smarthost.NAME] with host, username and password_file";
            ledger.error(&Place::File, "smarthost", message);
            String::new()
        }
        ([only], []) if only.given("default").is_none() => only.name.clone(),
        (_, [one]) => one.name.clone(),
        (several, []) => {
            if !several.iter().any(|table| table.broken("default"))
                && let Some(last) = several.last()
            {
                let message = match several {
                    [_] => "the only smarthost must be the default one; remove the line".to_owned(),
                    _ => format!(
                        "none of {} is the default; write default = true in exactly one",
                        list(several.iter().map(|table| table.name.as_str()))
                    ),
                };
                let key = if several.len() == 1 { last.path("default") } else { "smarthost".to_owned() };
                ledger.error(&last.at("default"), key, message);
            }
            String::new()
        }
        (_, [first, rest @ ..]) => {
            for other in rest {
                let message = format!("smarthost {} is the default already; exactly one may be", first.name);
                ledger.error(&other.at("default"), other.path("default"), message);
            }
            first.name.clone()
        }
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Others that there are.
fn fallback(table: &Table, names: &[String], tables: &Tables, ledger: &mut Ledger<'_>) {
    for name in names {
        let message = if *name == table.name {
            "is this smarthost itself; name another one".to_owned()
        } else if tables.spoilt("smarthost") || tables.names("smarthost").any(|known| known == name) {
            continue;
        } else {
            let hint = crate::config::suggest::hint(name, tables.names("smarthost"));
            format!("there is no [smarthost.{name}]{hint}")
        };
        ledger.error(&table.at("fallback"), table.path("fallback"), message);
    }
}

/// A user name and exactly one password, or neither.
fn login(table: &Table, smarthost: &Smarthost, around: &Surroundings, ledger: &mut Ledger<'_>) {
    let given: Vec<&str> = SOURCES.iter().copied().filter(|key| table.mentions(key)).collect();
    let named = table.given("username").is_some();
    let auth = table.word("auth");
    let by_token = ["xoauth2", "oauthbearer"].contains(&auth);
    let secret = if by_token { "access token" } else { "password" };
    if table.broken("auth") || table.broken("username") {
        return;
    }
    if auth == "none" {
        let stray = ["username"].into_iter().filter(|_| named).chain(given.iter().copied());
        for key in stray {
            let message = "has no effect beside auth = \"none\"; remove one of them";
            ledger.error(&table.at(key), table.path(key), message);
        }
        return;
    }
    match (named, given.as_slice()) {
        (true, [_]) => {}
        (true, []) if !around.has_secrets => {}
        (true, []) => {
            let message = format!(
                "has no {secret}; write one of password_file, password_env, password_command or password"
            );
            ledger.error(&table.at("username"), table.path("username"), message);
        }
        (_, [first, rest @ ..]) => {
            for key in rest {
                let message = format!("{first} says it already; exactly one may tell the {secret}");
                ledger.error(&table.at(key), table.path(key), message);
            }
            if !named {
                let message = "has no effect without a user name; write username = \"…\"";
                ledger.error(&table.at(first), table.path(first), message);
            }
        }
        (false, []) if table.given("auth").is_some() && auth != "auto" => {
            let message = format!("\"{auth}\" needs a login; write username and password_file");
            ledger.error(&table.at("auth"), table.path("auth"), message);
        }
        (false, []) => {}
    }
    for key in ["password", "password_env"].into_iter().filter(|key| by_token && table.given(key).is_some()) {
        let message = "an access token that stands still runs out, mostly within the hour; write password_file for a \
                       file that a program renews, or password_command for one that prints a fresh token";
        ledger.warn(&table.at(key), table.path(key), message);
    }
    if around.has_secrets
        && let Some(Value::Text(variable)) = table.given("password_env").map(|item| &item.value)
    {
        match around.variable(variable) {
            None => {
                let message = format!("the environment has no {variable}; set it for the daemon");
                ledger.error(&table.at("password_env"), table.path("password_env"), message);
            }
            Some("") => {
                let message = format!("{variable} is empty in the environment; set it for the daemon");
                ledger.error(&table.at("password_env"), table.path("password_env"), message);
            }
            Some(_) => {}
        }
    }
    if table.given("password_command").is_some()
        && table.texts("password_command").iter().all(String::is_empty)
    {
        let message = "is empty; write a program and its arguments, like [\"pass\", \"show\", \"shop\"]";
        ledger.error(&table.at("password_command"), table.path("password_command"), message);
    }
    let private = names::is_loopback(&smarthost.host) || table.broken("host") || smarthost.host.is_empty();
    if named && smarthost.tls == TlsMode::None && !table.broken("tls") && !private {
        let message = format!(
            "the {secret} would travel to another machine in plain text; write tls = \"starttls\" or \"implicit\""
        );
        ledger.error(&table.at("tls"), table.path("tls"), message);
    }
}

/// What the port says must fit what `tls` says.
fn encryption(table: &Table, smarthost: &Smarthost, ledger: &mut Ledger<'_>) {
    if table.broken("port") || table.broken("tls") {
        return;
    }
    let fitting = match (smarthost.port, smarthost.tls) {
        (465, TlsMode::StartTls | TlsMode::None) => Some("implicit"),
        (587 | 25, TlsMode::Implicit) => Some("starttls"),
        _ => None,
    };
    if let Some(fitting) = fitting {
        let key = if table.given("port").is_some() { "port" } else { "tls" };
        let message = format!("port {} usually goes with tls = \"{fitting}\"", smarthost.port);
        ledger.warn(&table.at(key), table.path(key), message);
    }
    if smarthost.tls == TlsMode::None {
        for key in ["ca_file", "pin_sha256", "server_name"] {
            if table.given(key).is_some() {
                let message = "has no effect beside tls = \"none\"; remove one of them";
                ledger.error(&table.at(key), table.path(key), message);
            }
        }
    }
}
