//! Who may come in: open relays, logins in plain text, sockets that collide.

use crate::config::build::is_loopback;
use crate::config::names;
use crate::config::network::cover_everything;
use crate::config::schema::{AuthMode, Config, ListenAddress, Listener, TlsMode};
use crate::config::value::Value;
use crate::config::walk::{Ledger, Table, Tables};
use std::net::{IpAddr, SocketAddr};

pub(super) fn check(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let pairs: Vec<(&Table, &Listener)> = tables.all("listener").zip(&config.listeners).collect();
    for (index, (table, listener)) in pairs.iter().enumerate() {
        trust(table, listener, "trust", ledger);
        trust(table, listener, "proxy_protocol", ledger);
        login(table, listener, tables, ledger);
        nobody(table, listener, ledger);
        if listener.tls != TlsMode::None && tables.one("tls").is_none() && !tables.spoilt("tls") {
            let message = "needs a certificate; write a section [tls] with certificate and key";
            ledger.error(&table.at("tls"), table.path("tls"), message);
        }
        if !table.broken("address")
            && let Some(other) =
                pairs.iter().take(index).position(|(_, earlier)| earlier.address.overlaps(&listener.address))
        {
            let message =
                format!("listener.{} takes it already; remove one or give it another port", other + 1);
            ledger.error(&table.at("address"), table.path("address"), message);
        }
    }
}

/// Whoever is trusted relays; whoever sends a PROXY header may claim to be somebody trusted.
fn trust(table: &Table, listener: &Listener, key: &str, ledger: &mut Ledger<'_>) {
    let networks = if key == "trust" { &listener.trust } else { &listener.proxy_protocol };
    let what = if key == "trust" {
        "everybody could send mail through it"
    } else {
        "everybody could claim to be a trusted client"
    };
    let advice = "name your own networks, or let clients log in with auth = \"required\"";
    let mut told = table.broken(key);
    for (index, item) in table.elements(key) {
        let Value::Network(network) = item.value else { continue };
        let path = format!("{}.{}", table.path(key), index + 1);
        if network.prefix == 0 {
            told = true;
            ledger.error(&item.place, path, format!("{network} makes an open relay: {what}; {advice}"));
        } else if network.is_public()
            && !table.flag("allow_public_trust")
            && !table.broken("allow_public_trust")
        {
            let message = format!(
                "{network} is a network of the public internet; {advice}, or write allow_public_trust = true if all of it is yours"
            );
            ledger.error(&item.place, path, message);
        }
    }
    if !told && cover_everything(networks) {
        let message = format!(
            "these networks together are the whole internet and make an open relay: {what}; {advice}"
        );
        ledger.error(&table.at(key), table.path(key), message);
    }
}

fn login(table: &Table, listener: &Listener, tables: &Tables, ledger: &mut Ledger<'_>) {
    if listener.auth == AuthMode::None || table.broken("auth") {
        return;
    }
    if tables.names("application").next().is_none() && !tables.spoilt("application") {
        let message = "nobody can log in: there is no [application.NAME]; write one, with a password_hash";
        ledger.error(&table.at("auth"), table.path("auth"), message);
    }
    let plain = listener.tls == TlsMode::None && !table.broken("tls");
    let outside = !is_loopback(&listener.address) && !table.broken("address");
    if plain && outside && !listener.auth_without_tls && !table.broken("auth_without_tls") {
        let message = "passwords would travel in plain text; write tls = \"starttls\" or \"implicit\", or auth_without_tls = true if the network is safe";
        ledger.error(&table.at("auth"), table.path("auth"), message);
    }
}

/// Logins that no listener asks for.
pub(super) fn unused_applications(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let any_broken = tables.spoilt("listener") || tables.all("listener").any(|table| table.broken("auth"));
    if any_broken || config.listeners.iter().any(|listener| listener.auth != AuthMode::None) {
        return;
    }
    for table in tables.all("application") {
        let message = "nobody can log in with it: no listener offers logins; write auth = \"optional\" or \"required\" in a [[listener]]";
        ledger.warn(&table.place, table.label.clone(), message);
    }
}

/// A door through which nobody may pass is most likely a slip.
fn nobody(table: &Table, listener: &Listener, ledger: &mut Ledger<'_>) {
    let closed = listener.auth == AuthMode::None && listener.trust.is_empty();
    if closed && !table.broken("trust") && !table.broken("auth") && !table.broken("address") {
        let message = "nobody may send mail through it; name networks in trust, or write auth = \"required\"";
        ledger.warn(&table.place, table.label.clone(), message);
    }
}

/// Whether connecting to `host:port` would end at one of our own listeners.
pub(super) fn is_ourselves(config: &Config, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let named = names::is_loopback(host) || host.eq_ignore_ascii_case(&config.hostname);
    let reaches = |socket: &SocketAddr| {
        let ip = socket.ip().to_canonical();
        let everywhere = ip.is_unspecified();
        socket.port() == port
            && match address.map(|address| address.to_canonical()) {
                Some(address) => {
                    address == ip || (everywhere && (address.is_loopback() || address.is_unspecified()))
                }
                None => named && (everywhere || ip.is_loopback()),
            }
    };
    config.listeners.iter().any(|listener| match &listener.address {
        ListenAddress::Socket(socket) => reaches(socket),
        ListenAddress::Passed(_) => false,
    })
}
