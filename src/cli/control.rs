//! `waystation reload` and `waystation stop`: as the signals, with an answer.

use super::{Done, Failure, load, print};
use crate::admin::{Client, Request};
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

/// A connection to the daemon that runs with this configuration's `state_dir`.
pub(super) fn client(config: Option<&Path>) -> Result<Client, Failure> {
    let loaded = load(config, false)?;
    Ok(Client::connect(&loaded.config.state_dir)?)
}
