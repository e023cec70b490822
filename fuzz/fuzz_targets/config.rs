//! No text, and no override, brings the configuration's parser down; what it complains about can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // Behind a NUL: one override, "NAME=value".
    let (file, variable) = text.split_once('\0').unwrap_or((&text, ""));
    let variable =
        variable.split_once('=').map(|(name, value)| (format!("WAYSTATION__{name}"), value.to_owned()));
    match waystation::config::parse(Path::new("waystation.toml"), file, variable.into_iter()) {
        Ok(loaded) => {
            assert!(waystation::config::changes(&loaded.config, &loaded.config).is_empty());
        }
        Err(complaints) => {
            assert!(!complaints.errors.is_empty());
            let _ = complaints.to_string();
        }
    }
});
