//! The files that the configuration names: there, readable, of the right content, and secret where they must be.
//!
//! They are read again when they are used; what is judged here is judged there by the same functions.

use super::build::Surroundings;
use super::node::Place;
use super::schema::Config;
use super::secret::{read_plain, read_secret};
use super::walk::{Ledger, Table, Tables};
use super::webhook_secret;
use crate::net::pem::{self, PemError};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Permission bits of others to read, write or execute.
const OTHERS: u32 = 0o007;
/// Permission bit of the group to write.
const GROUP_WRITE: u32 = 0o020;

/// Looks at every file named, and at the configuration file itself.
pub(super) fn check(
    config: &Config,
    base: &Path,
    tables: &Tables,
    around: &Surroundings,
    ledger: &mut Ledger<'_>,
) {
    let mut look = |table: &Table, key, content| named(table, key, content, base, around, ledger);
    for table in tables.all("smarthost") {
        look(table, "ca_file", Content::Anchors);
        look(table, "password_file", Content::Password);
    }
    let webhooks = ["events", "alert"].into_iter().filter_map(|name| tables.one(name));
    for table in tables.all("inbox").chain(webhooks) {
        look(table, "secret_file", Content::SigningKeys);
    }
    if let Some(table) = tables.one("tls") {
        look(table, "certificate", Content::Chain);
        look(table, "key", Content::PrivateKey);
        pair(table, base, ledger);
    }
    if let Some(top) = tables.one("")
        && std::fs::metadata(&config.state_dir).is_ok_and(|found| !found.is_dir())
    {
        let message = format!("{} is not a folder; name one, or remove it", config.state_dir.display());
        ledger.error(&top.at("state_dir"), "state_dir", message);
    }
    room(config, tables, ledger);
    own(config, tables, ledger);
}

/// Whether mail would be taken at all.
fn room(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let Some(table) = tables.one("spool").or_else(|| tables.one("")) else { return };
    // Before the first start the folder isn't there, and what it will stand in is.
    let disk = config.state_dir.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    let free = disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < config.spool.min_free {
        let message = format!(
            "{} MiB are free on the disk of {}, less than these {} MiB: no mail is taken; make room, or set it lower",
            free >> 20,
            config.state_dir.display(),
            config.spool.min_free >> 20
        );
        ledger.warn(&table.at("min_free"), "spool.min_free", message);
    }
}

/// What a file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Trust anchors; anybody may read them.
    Anchors,
    /// A listener's certificate and its issuers'; anybody may read them.
    Chain,
    /// A private key.
    PrivateKey,
    /// One line.
    Password,
    /// `whsec_` keys.
    SigningKeys,
}

impl Content {
    /// Reads it, for nothing but what is wrong with it.
    fn judge(self, path: &Path) -> Result<(), String> {
        match self {
            Self::Anchors => understood(path, pem::anchors).map(drop),
            Self::Chain => understood(path, pem::chain).map(drop),
            Self::PrivateKey => understood(path, pem::key).map(drop),
            Self::Password => read_secret(path).map(drop).map_err(|error| error.to_string()),
            Self::SigningKeys => webhook_secret::read(path).map(drop).map_err(|error| error.to_string()),
        }
    }

    fn is_secret(self) -> bool {
        !matches!(self, Self::Anchors | Self::Chain)
    }
}

/// The file that this key names, if it is given.
fn named(
    table: &Table,
    key: &str,
    content: Content,
    base: &Path,
    around: &Surroundings,
    ledger: &mut Ledger<'_>,
) {
    let Some(path) = given_path(table, key, base) else { return };
    let (place, key) = (table.at(key), table.path(key));
    match content.judge(&path) {
        Err(message) => ledger.error(&place, key, message),
        Ok(()) if content.is_secret() => private(&path, &place, &key, around, ledger),
        Ok(()) => {}
    }
}

fn given_path(table: &Table, key: &str, base: &Path) -> Option<PathBuf> {
    table.path_value(key, base).filter(|_| table.given(key).is_some())
}

/// A listener's certificate and key must be made for each other. What is wrong with either alone is told already.
fn pair(table: &Table, base: &Path, ledger: &mut Ledger<'_>) {
    let found = |key| given_path(table, key, base);
    let (Some(certificate), Some(key)) = (found("certificate"), found("key")) else { return };
    let (Ok(chain), Ok(secret)) = (understood(&certificate, pem::chain), understood(&key, pem::key)) else {
        return;
    };
    if let Err(cause) = pem::pair(&chain, &secret) {
        let message =
            format!("{} and {} can't be used together: {cause}", certificate.display(), key.display());
        ledger.error(&table.at("key"), table.path("key"), message);
    }
}

/// What stands in a PEM file, or what is wrong with it.
fn understood<T>(path: &Path, understand: impl FnOnce(&[u8]) -> Result<T, PemError>) -> Result<T, String> {
    let octets = read_plain(path, pem::LARGEST, "paths are relative to the configuration file")
        .map_err(|error| error.to_string())?;
    understand(&octets).map_err(|error| format!("{} {error}", path.display()))
}

/// A secret belongs to us or root, and nobody else reads or replaces it.
fn private(path: &Path, place: &Place, key: &str, around: &Surroundings, ledger: &mut Ledger<'_>) {
    let Ok(found) = std::fs::metadata(path) else { return };
    let shown = path.display();
    let us = rustix::process::geteuid().as_raw();
    // A link that a stranger owns can be turned to another file at any time.
    let owners = [Some(found.uid()), std::fs::symlink_metadata(path).ok().map(|link| link.uid())];
    if let Some(stranger) = owners.into_iter().flatten().find(|uid| *uid != 0 && *uid != us) {
        let message =
            format!("{shown} belongs to user {stranger}, who can change it; chown it to user {us} or root");
        ledger.error(place, key, message);
        return;
    }
    let mode = found.mode() & 0o777;
    if mode & (OTHERS | GROUP_WRITE) == 0 {
        return;
    }
    let message = if mode & OTHERS == 0 {
        format!("{shown} can be changed by its group (mode {mode:04o}); chmod 640 {shown}")
    } else {
        format!("{shown} can be read by every user of this machine (mode {mode:04o}); chmod 600 {shown}")
    };
    if found.uid() == 0 && mode & 0o022 == 0 && in_credentials_folder(path, around) {
        ledger.warn(place, key, message);
    } else {
        ledger.error(place, key, message);
    }
}

/// Folders whose files a service manager or container runtime puts there, with modes of its own.
fn in_credentials_folder(path: &Path, around: &Surroundings) -> bool {
    let told = around.variable("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    told.into_iter().chain(["/run/credentials", "/run/secrets"]).any(|folder| path.starts_with(folder))
}

/// The configuration file itself, when it holds secrets.
fn own(config: &Config, tables: &Tables, ledger: &mut Ledger<'_>) {
    let others = |found: &Metadata| found.is_file() && found.mode() & 0o004 != 0;
    let Some(found) = std::fs::metadata(&config.path).ok().filter(others) else { return };
    let holders = tables.all("smarthost").map(|table| (table, "password"));
    let hashes = tables.all("application").map(|table| (table, "password_hash"));
    let written = |(table, key): &(&Table, &str)| {
        table.given(key).is_some_and(|item| matches!(item.place, Place::Span(_)))
    };
    for (table, key) in holders.chain(hashes).filter(written) {
        let cure = closed(&config.path, found.uid(), reader(config));
        let or_else = if key == "password" { ", or use password_file" } else { "" };
        let message = format!("every user of this machine can read it here; {cure}{or_else}");
        ledger.warn(&table.at(key), table.path(key), message);
    }
}

/// Who must be able to read the configuration, and his group: ourselves; where root looks, the user whose `state_dir` it is.
fn reader(config: &Config) -> (u32, u32) {
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = std::fs::metadata(&config.state_dir).ok().filter(|_| us.0 == 0);
    owner.map_or(us, |folder| (folder.uid(), folder.gid()))
}

/// The users that systemd makes up (`DynamicUser=` in systemd.exec(5)).
const DYNAMIC_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The commands by which nobody but its owner and this reader can read a file any more.
fn closed(path: &Path, owner: u32, (reader, group): (u32, u32)) -> String {
    let file = path.display();
    if owner != reader && DYNAMIC_USERS.contains(&reader) {
        return format!(
            "systemd makes our user up at each start (DynamicUser): `useradd --system waystation`, User=waystation in the unit, \
             then chgrp waystation {file} && chmod 640 {file}"
        );
    }
    if owner == reader {
        format!("chmod 600 {file}")
    } else {
        format!("chgrp {group} {file} && chmod 640 {file}")
    }
}

/// Why a file can't be read that the system denies us, and what to do.
pub(super) fn denied(path: &Path) -> String {
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match std::fs::metadata(path) {
        Ok(found) => denied_to(path, found.uid(), found.mode() & 0o777, us),
        Err(_) => format!(
            "can't be read: user {}, as whom this runs, may not enter a folder on the way; open that folder to it (chmod o+x), \
             or run this as root",
            us.0
        ),
    }
}

fn denied_to(path: &Path, owner: u32, mode: u32, us: (u32, u32)) -> String {
    let cure = closed(path, owner, us);
    format!(
        "can't be read: it belongs to user {owner} (mode {mode:04o}), and this runs as user {}; if that is the daemon's user: \
         {cure}; else run this as root",
        us.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_on_permissions_leaves_the_daemon_able_to_read_its_file() {
        let path = Path::new("/etc/w.toml");
        assert_eq!(closed(path, 7, (7, 8)), "chmod 600 /etc/w.toml");
        assert_eq!(closed(path, 0, (7, 8)), "chgrp 8 /etc/w.toml && chmod 640 /etc/w.toml");
        assert!(closed(path, 0, (64_000, 64_000)).contains("User=waystation"));
        assert_eq!(
            denied_to(path, 0, 0o600, (7, 8)),
            "can't be read: it belongs to user 0 (mode 0600), and this runs as user 7; if that is the daemon's user: \
             chgrp 8 /etc/w.toml && chmod 640 /etc/w.toml; else run this as root"
        );
    }
}
