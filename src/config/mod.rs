//! The configuration file: found, read, checked, complained about.
//!
//! The way of a file: [`find`] it; `node` parses TOML into a tree with places; `environment` puts overrides into that
//! tree; `walk` judges each key by the table in [`keys`]; `build` makes the [`schema::Config`]; `check` and `files` look
//! at what keys mean together. Every stage goes on after a complaint, so that all come at once, and a `Config` comes
//! out only if there was none.

pub mod schema;
mod endpoint;
pub mod keys;
mod complaint;
mod environment;
mod node;
mod suggest;
pub mod units;
mod names;
mod network;
mod value;
mod walk;
mod build;
mod check;
mod files;
mod secret;
pub mod webhook_secret;
mod changes;

pub use changes::changes;
pub use complaint::{Complaint, Complaints, Excerpt, Position};
pub use environment::environment;
pub use secret::SecretError;
pub use suggest::nearest_first;

use build::Surroundings;
use complaint::Source;
use schema::{Config, Smarthost};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use walk::Ledger;

/// Variable that names the configuration file.
pub const VARIABLE: &str = "WAYSTATION_CONFIG";
/// Larger than any configuration, smaller than any memory.
const LARGEST: usize = 8 << 20;

/// A configuration, and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    /// To be shown, and no reason to refuse it.
    pub warnings: Vec<Complaint>,
}

/// There is no configuration file where we looked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The file that was named isn't there.
    #[error("{path}: no such file, though {by} names it; give another or create it", path = path.display())]
    Named {
        /// What was named.
        path: PathBuf,
        /// `--config` or the variable.
        by: &'static str,
    },
    /// None was named and none stands in the usual places.
    #[error("no configuration file; looked at {}; write one there, or name one with --config FILE or {VARIABLE}", list(.0))]
    Nowhere(Vec<PathBuf>),
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// Finds the file: `explicit` (`--config`), else what `variable` ([`VARIABLE`]) says, else `config/waystation.toml` below
/// `cwd`, else `/etc/waystation/waystation.toml`.
///
/// # Errors
///
/// With every place looked at. A file that was named is never replaced by another one.
pub fn find(explicit: Option<&Path>, variable: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, NotFound> {
    let variable = variable.filter(|value| !value.is_empty()).map(Path::new);
    for (path, by) in [(explicit, "--config"), (variable, VARIABLE)] {
        if let Some(path) = path {
            // What is there but can't be read is told when it is read.
            let found = std::fs::metadata(cwd.join(path));
            return match found {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(NotFound::Named { path: path.to_owned(), by })
                }
                _ => Ok(path.to_owned()),
            };
        }
    }
    let usual = [cwd.join("config/waystation.toml"), PathBuf::from("/etc/waystation/waystation.toml")];
    match usual.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(NotFound::Nowhere(usual.to_vec())),
    }
}

/// Reads and checks the file and every file it names; `variables` are those of the process (see [`environment`]).
///
/// # Errors
///
/// With everything that is wrong, at once.
pub fn load(path: &Path, variables: impl Iterator<Item = (String, String)>) -> Result<Loaded, Complaints> {
    load_knowing(path, variables, |_| {})
}

/// The same where `assume` adds what is known of a smarthost's provider: its limits are judged together with these, and come
/// out as they are written.
///
/// # Errors
///
/// With everything that is wrong, at once.
pub fn load_knowing(
    path: &Path,
    variables: impl Iterator<Item = (String, String)>,
    assume: fn(&mut Smarthost),
) -> Result<Loaded, Complaints> {
    let around = Surroundings::new(system_hostname(), variables.collect(), assume);
    let text = read(path)?;
    understand(path, &text, &around, true)
}

/// The same for who only queues mail: secrets and certificates are the daemon's, and may be there only for it and only while
/// it runs, so that they are neither looked at nor missed.
///
/// # Errors
///
/// With everything else that is wrong, at once.
pub fn load_to_queue(
    path: &Path,
    variables: impl Iterator<Item = (String, String)>,
    assume: fn(&mut Smarthost),
) -> Result<Loaded, Complaints> {
    let around = Surroundings::new(system_hostname(), variables.collect(), assume);
    let text = read(path)?;
    understand(path, &text, &Surroundings { has_secrets: false, ..around }, false)
}

/// Checks a text as if it were the file at `path`, without looking at any file it names.
///
/// # Errors
///
/// With everything that is wrong, at once.
pub fn parse(
    path: &Path,
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Complaints> {
    let hostname = Some("relay.invalid".to_owned());
    let around = Surroundings::new(hostname, variables.collect(), |_| {});
    understand(path, text, &around, false)
}

/// Where the daemon of the file at `path` keeps its state, also when the file is wrong elsewhere: whoever broke it
/// must still be able to ask the daemon that runs. None when the file can't be read.
#[must_use]
pub fn state_dir(path: &Path, variables: impl Iterator<Item = (String, String)>) -> Option<PathBuf> {
    let text = read(path).ok()?;
    let absolute = std::path::absolute(path).ok()?;
    let mut tree = node::parse_leniently(&text);
    let source = Source::new(path, &text);
    let mut ledger = Ledger::new(&source);
    environment::overlay(&mut tree, &variables.collect::<Vec<_>>(), &mut ledger);
    let told = tree.into_iter().find(|member| member.key == "state_dir").map(|member| member.node.raw);
    let folder = match told {
        Some(node::Raw::Text(folder) | node::Raw::Loose(folder)) => folder,
        _ => "state".to_owned(),
    };
    Some(absolute.parent()?.join(folder))
}

/// Where programs on this machine may hand in mail in plain and without a login, also when the file is wrong
/// elsewhere or names secrets that its reader may not see. None when the file can't be read.
#[must_use]
pub fn open_listeners(
    path: &Path,
    variables: impl Iterator<Item = (String, String)>,
) -> Option<Vec<std::net::SocketAddr>> {
    let text = read(path).ok()?;
    let around = Surroundings::new(system_hostname(), variables.collect(), |_| {});
    let mut tree = node::parse_leniently(&text);
    let source = Source::new(path, &text);
    let mut ledger = Ledger::new(&source);
    environment::overlay(&mut tree, &around.variables, &mut ledger);
    let tables = walk::walk(&tree, &mut ledger);
    let mut config = build::build(path, Path::new("/"), &tables, &around);
    check::check(&mut config, &tables, &around, &mut ledger);
    Some(config.listeners.iter().filter_map(schema::Listener::open_at).collect())
}

/// The section `[smarthost.NAME]` of the file at `path` as it stands there: each key with its value in TOML, in the file's
/// order, without what is secret. Empty when the file can't be read or has no such section.
#[must_use]
pub fn smarthost_as_written(path: &Path, name: &str) -> Vec<(String, String)> {
    let Ok(text) = read(path) else { return Vec::new() };
    let within = |members: Vec<node::Member>, key: &str| {
        let found = members.into_iter().find(|member| member.key == key).map(|member| member.node.raw);
        if let Some(node::Raw::Table(members)) = found { members } else { Vec::new() }
    };
    let members = within(within(node::parse_leniently(&text), "smarthost"), name);
    let written = |member: node::Member| {
        let node::Place::Span(span) = member.node.place else { return None };
        let is_plain =
            !matches!(member.node.raw, node::Raw::Table(_)) && !complaint::is_secret_key(&member.key);
        Some((member.key, text.get(span)?.to_owned())).filter(|_| is_plain)
    };
    members.into_iter().filter_map(written).collect()
}

fn understand(path: &Path, text: &str, around: &Surroundings, look: bool) -> Result<Loaded, Complaints> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = absolute.parent().unwrap_or(Path::new("/"));
    let mut source = Source::new(path, text);
    let mut tree = match node::parse(text, &mut source) {
        Ok(tree) => tree,
        Err(errors) => return Err(Complaints { errors, warnings: Vec::new() }),
    };
    let mut ledger = Ledger::new(&source);
    environment::overlay(&mut tree, &around.variables, &mut ledger);
    let tables = walk::walk(&tree, &mut ledger);
    let mut config = build::build(&absolute, base, &tables, around);
    check::check(&mut config, &tables, around, &mut ledger);
    if look {
        files::check(&config, base, &tables, around, &mut ledger);
    }
    let complaints = ledger.close();
    if complaints.errors.is_empty() {
        Ok(Loaded { config, warnings: complaints.warnings })
    } else {
        Err(complaints)
    }
}

/// The file's text. Read twice and the same, so that a file being written isn't taken half.
fn read(path: &Path) -> Result<String, Complaints> {
    let refuse = |message: String| {
        let position = Position::File(path.to_owned());
        let complaint = Complaint { position, key: String::new(), message, warning: false };
        Complaints { errors: vec![complaint], warnings: Vec::new() }
    };
    let unreadable = |error: std::io::Error| {
        refuse(match error.kind() {
            std::io::ErrorKind::PermissionDenied => files::denied(path),
            _ => format!("can't be read: {error}"),
        })
    };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if found.is_dir() {
        return Err(refuse("is a folder; name the file in it".to_owned()));
    }
    let once = || -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mut bytes = once().map_err(unreadable)?;
    for _ in 0..3 {
        // A pipe can be read but once.
        let again = if found.is_file() { once().map_err(unreadable)? } else { break };
        if again == bytes {
            break;
        }
        bytes = again;
    }
    if bytes.len() > LARGEST {
        return Err(refuse("is too large to be a configuration; see that it is the right file".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(error.as_bytes());
        let at = error.utf8_error().valid_up_to();
        let excerpt = Source::new(path, &good).excerpt(&(at..at + 1));
        let message = "not UTF-8 from here on; save the file as UTF-8".to_owned();
        let complaint =
            Complaint { position: Position::Line(excerpt), key: String::new(), message, warning: false };
        Complaints { errors: vec![complaint], warnings: Vec::new() }
    })
}

/// The system's own name, if it can stand in EHLO.
#[must_use]
pub fn system_hostname() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        names::domain(text.trim()).ok()
    })
}
