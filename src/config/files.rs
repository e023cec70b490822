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
    for table in tables.all("smarthost") {
        readable(table, "ca_file", base, ledger);
        if let Some(path) =
            table.path_value("password_file", base).filter(|_| table.given("password_file").is_some())
        {
            let (place, key) = (table.at("password_file"), table.path("password_file"));
            match read_secret(&path) {
                Ok(_) => private(&path, &place, &key, around, ledger),
                Err(error) => ledger.error(&place, key, error.to_string()),
            }
        }
    }
    for table in tables.all("inbox") {
        if let Some(path) =
            table.path_value("secret_file", base).filter(|_| table.given("secret_file").is_some())
        {
            let (place, key) = (table.at("secret_file"), table.path("secret_file"));
            match webhook_secret::read(&path) {
                Ok(_) => private(&path, &place, &key, around, ledger),
                Err(error) => ledger.error(&place, key, error.to_string()),
            }
        }
    }
    if let Some(table) = tables.one("tls") {
        readable(table, "certificate", base, ledger);
        if readable(table, "key", base, ledger) {
            private(
                &base.join(table.text("key").unwrap_or_default()),
                &table.at("key"),
                &table.path("key"),
                around,
                ledger,
            );
        }
    }
    if let Some(top) = tables.one("")
        && std::fs::metadata(&config.state_dir).is_ok_and(|found| !found.is_dir())
    {
        let message = format!("{} is not a folder; name one, or remove it", config.state_dir.display());
        ledger.error(&top.at("state_dir"), "state_dir", message);
    }
    own(config, tables, ledger);
}

/// A regular file that we may read. False when there is nothing more to say about it.
fn readable(table: &Table, key: &str, base: &Path, ledger: &mut Ledger<'_>) -> bool {
    let Some(path) = table.path_value(key, base).filter(|_| table.given(key).is_some()) else { return false };
    let shown = path.display();
    let message = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("{shown}: no such file; paths are relative to the configuration file")
        }
        Err(error) => format!("{shown}: {error}; see that waystation's user may read it"),
        Ok(found) if found.is_dir() => format!("{shown} is a folder; name a file in it"),
        Ok(found) if !found.is_file() => format!("{shown} is a pipe, socket or device; name a regular file"),
        Ok(_) => match std::fs::File::open(&path) {
            Ok(_) => return true,
            Err(error) => format!("{shown}: {error}; chown it to the user waystation runs as"),
        },
    };
    ledger.error(&table.at(key), table.path(key), message);
    false
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
