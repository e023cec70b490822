//! What an admin was told of and not yet of its end: `state_dir/alerts.json`, so that a restart repeats nothing and
//! the end of what was mended meanwhile is told.
//!
//! A condition stands there from when its beginning was told (or given up) until its end was. What can fail: reading and
//! writing; then things are as if nothing had been kept.

use super::conditions::{Change, Key, Since};
use super::{Condition, Kind};
use crate::state_file;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file's name in `state_dir`.
const NAME: &str = "alerts.json";

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Kept {
    state_dir: PathBuf,
    told: BTreeMap<Key, Since>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    condition: Kind,
    subject: String,
    detail: String,
    began_at: Timestamp,
}

impl Kept {
    /// What is there; nothing where it can't be read, with the reason.
    pub(super) fn load(state_dir: &Path) -> (Self, Option<io::Error>) {
        let rows = match std::fs::read(state_dir.join(NAME)) {
            Ok(text) => serde_json::from_slice::<Vec<Row>>(&text).map_err(io::Error::from),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(cause),
        };
        let (rows, trouble) = match rows {
            Ok(rows) => (rows, None),
            Err(cause) => (Vec::new(), Some(cause)),
        };
        let told =
            rows.into_iter().map(|row| ((row.condition, row.subject), (row.detail, row.began_at))).collect();
        (Self { state_dir: state_dir.to_owned(), told }, trouble)
    }

    /// All of it.
    pub(super) fn told(&self) -> &BTreeMap<Key, Since> {
        &self.told
    }

    /// A change was told; `holds` is whether what began is still so.
    pub(super) fn change(&mut self, change: &Change, holds: bool) -> io::Result<()> {
        let Change { condition: Condition { kind, subject, detail }, began_at, ended_at } = change;
        let key = (*kind, subject.clone());
        match ended_at {
            None if holds => {
                self.told.insert(key, (detail.clone(), *began_at));
            }
            // It began anew since then, or its beginning was never told.
            Some(_) if self.told.get(&key).is_some_and(|(_, since)| since == began_at) => {
                self.told.remove(&key);
            }
            _ => return Ok(()),
        }
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let row = |((condition, subject), (detail, began_at)): (&Key, &Since)| Row {
            condition: *condition,
            subject: subject.clone(),
            detail: detail.clone(),
            began_at: *began_at,
        };
        let rows: Vec<Row> = self.told.iter().map(row).collect();
        state_file::write(&self.state_dir, NAME, &serde_json::to_vec(&rows)?)
    }
}
