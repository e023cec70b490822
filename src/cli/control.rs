//! `waystation reload` and `waystation stop`: as the signals, with an answer.

use super::{Done, Failure, UNAVAILABLE, find, load, print, table};
use crate::admin::{self, Client, Request};
use crate::config;
use std::path::Path;

pub(super) fn reload(config: Option<&Path>) -> Done {
    let changes: Vec<String> = client(config)?.ask(&Request::Reload)?;
    if changes.is_empty() {
        print("reloaded; nothing changed\n");
    }
    for change in changes {
        print(&format!("reloaded: {change}\n"));
    }
    Ok(())
}

pub(super) fn stop(config: Option<&Path>) -> Done {
    let mut client = client(config)?;
    let (): () = client.ask(&Request::Stop)?;
    client.wait_until_closed();
    print("stopped\n");
    Ok(())
}

/// A connection to the daemon that runs with this configuration's `state_dir`. The rest of the file may be wrong by
/// now: the daemon that runs has its own.
pub(super) fn client(path: Option<&Path>) -> Result<Client, Failure> {
    let file = find(path)?;
    let state_dir = match config::state_dir(&file, config::environment()) {
        Some(state_dir) => state_dir,
        None => load(path, false)?.config.state_dir,
    };
    Client::connect(&state_dir).map_err(|refused| {
        let elsewhere = if refused.code == UNAVAILABLE { admin::state_dir_of(&file) } else { None };
        elsewhere.map_or_else(|| refused.into(), |old| moved(&state_dir, &old))
    })
}

/// The file has another `state_dir` than its daemon.
fn moved(new: &Path, old: &Path) -> Failure {
    let old = table::printable(&old.to_string_lossy());
    let text = format!(
        "waystation: the daemon of this file runs with state_dir = \"{old}\", and keeps it until it is restarted; now the file \
         says \"{}\". To stop it: WAYSTATION__STATE_DIR='{old}' waystation stop",
        new.display()
    );
    Failure::new(UNAVAILABLE, text)
}
