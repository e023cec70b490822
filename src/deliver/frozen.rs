//! Of which smarthosts webhooks were told that they are frozen, and not yet of the end: `state_dir/frozen.json`, so that a
//! restart tells nothing twice and no end is missed.
//!
//! What can fail: reading and writing; then things are as if nothing had been kept.

use crate::events::Events;
use crate::queue::LaneName;
use crate::state_file;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The file's name in `state_dir`.
const NAME: &str = "frozen.json";

/// Lanes, and since when each is frozen.
type Told = BTreeMap<String, Timestamp>;

/// The file, and what stands in it.
#[derive(Debug)]
pub struct Frozen {
    state_dir: PathBuf,
    told: Mutex<Told>,
    /// Held by whoever writes the file.
    writing: Mutex<()>,
    events: Events,
}

impl Frozen {
    /// What is there; nothing where it can't be read.
    #[must_use]
    pub fn load(state_dir: &Path, events: Events) -> Arc<Self> {
        let told = match std::fs::read(state_dir.join(NAME)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Told::new()),
            Err(cause) => Err(cause),
        };
        let told = told.unwrap_or_else(|cause| {
            events.frozen_not_kept(&cause);
            Told::new()
        });
        Arc::new(Self {
            state_dir: state_dir.to_owned(),
            told: Mutex::new(told),
            writing: Mutex::default(),
            events,
        })
    }

    /// A lane froze; whether nobody was told yet.
    pub(super) fn began(self: &Arc<Self>, lane: &LaneName, now: Timestamp) -> bool {
        let mut told = self.told.lock();
        let is_news = !told.contains_key(lane.as_str());
        if is_news {
            told.insert(lane.to_string(), now);
            self.write();
        }
        is_news
    }

    /// A lane works; since when it was frozen, if that was told.
    pub(super) fn ended(self: &Arc<Self>, lane: &LaneName) -> Option<Timestamp> {
        let since = self.told.lock().remove(lane.as_str())?;
        self.write();
        Some(since)
    }

    /// Lanes without a smarthost work no more, and nobody is told of their end.
    pub fn keep(self: &Arc<Self>, is_configured: impl Fn(&str) -> bool) {
        let mut told = self.told.lock();
        let before = told.len();
        told.retain(|lane, _| is_configured(lane));
        if told.len() < before {
            self.write();
        }
    }

    /// Writes what stands here by then, off the async threads.
    fn write(self: &Arc<Self>) {
        let this = self.clone();
        spawn_blocking(move || {
            let _turn = this.writing.lock();
            let told = this.told.lock().clone();
            let written = serde_json::to_vec(&told)
                .map_err(io::Error::from)
                .and_then(|text| state_file::write(&this.state_dir, NAME, &text));
            if let Err(cause) = written {
                this.events.frozen_not_kept(&cause);
            }
        });
    }
}
