//! `waystation reload` and `waystation stop`: as the signals, with an answer.

use super::{Done, Failure, find, load, print};
use crate::admin::{Client, Request};
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
    let state_dir = match config::state_dir(&find(path)?, config::environment()) {
        Some(state_dir) => state_dir,
        None => load(path, false)?.config.state_dir,
    };
    Ok(Client::connect(&state_dir)?)
}
