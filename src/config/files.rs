//! The files that the configuration names: there, readable, and secret where they must be.

use super::build::Surroundings;
use super::node::Place;
use super::schema::Config;
use super::secret::read_secret;
use super::walk::{Ledger, Table, Tables};
use super::webhook_secret;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
        look(table, "ca_file", Content::Public);
        look(table, "password_file", Content::Password);
    }
    let webhooks = ["events", "alert"].into_iter().filter_map(|name| tables.one(name));
    for table in tables.all("inbox").chain(webhooks) {
        look(table, "secret_file", Content::SigningKeys);
    }
    if let Some(table) = tables.one("tls") {
        look(table, "certificate", Content::Public);
        look(table, "key", Content::PrivateKey);
    }
    if let Some(top) = tables.one("")
        && std::fs::metadata(&config.state_dir).is_ok_and(|found| !found.is_dir())
    {
        let message = format!("{} is not a folder; name one, or remove it", config.state_dir.display());
        ledger.error(&top.at("state_dir"), "state_dir", message);
    }
    own(config, tables, ledger);
}

/// What a file holds, as far as it is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Anybody may read it.
    Public,
    /// A private key, which is read later.
    PrivateKey,
    /// One line.
    Password,
    /// `whsec_` keys.
    SigningKeys,
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
    let Some(path) = table.path_value(key, base).filter(|_| table.given(key).is_some()) else { return };
    let wrong = match content {
        Content::Public | Content::PrivateKey => readable(&path).err(),
        Content::Password => read_secret(&path).err().map(|error| error.to_string()),
        Content::SigningKeys => webhook_secret::read(&path).err().map(|error| error.to_string()),
    };
    let (place, key) = (table.at(key), table.path(key));
    match wrong {
        Some(message) => ledger.error(&place, key, message),
        None if content == Content::Public => {}
        None => private(&path, &place, &key, around, ledger),
    }
}

/// A regular file that we may read.
fn readable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("{shown}: no such file; paths are relative to the configuration file"))
        }
        Err(error) => Err(format!("{shown}: {error}; see that waystation's user may read it")),
        Ok(found) if found.is_dir() => Err(format!("{shown} is a folder; name a file in it")),
        Ok(found) if !found.is_file() => {
            Err(format!("{shown} is a pipe, socket or device; name a regular file"))
        }
        Ok(_) => std::fs::File::open(path)
            .map(drop)
            .map_err(|error| format!("{shown}: {error}; chown it to the user waystation runs as")),
    }
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
    let others = |found: Metadata| found.is_file() && found.mode() & 0o004 != 0;
    if !std::fs::metadata(&config.path).is_ok_and(others) {
        return;
    }
    let holders = tables.all("smarthost").map(|table| (table, "password"));
    let hashes = tables.all("application").map(|table| (table, "password_hash"));
    let written = |(table, key): &(&Table, &str)| {
        table.given(key).is_some_and(|item| matches!(item.place, Place::Span(_)))
    };
    for (table, key) in holders.chain(hashes).filter(written) {
        let file = config.path.display();
        let message = if key == "password" {
            format!("every user of this machine can read it here; chmod 600 {file}, or use password_file")
        } else {
            format!("every user of this machine can read it here; chmod 600 {file}")
        };
        ledger.warn(&table.at(key), table.path(key), message);
    }
}
