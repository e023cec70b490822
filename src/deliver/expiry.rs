//! Mail whose route says `expires_after`: told of when that time comes, whatever its lane does then.
//!
//! A lane that stands still, is switched off or has run out of quota expires its mail all the same, and no attempt
//! begins behind that time. What is on the wire when it comes is left alone: its outcome decides. Held mail waits for
//! its operator and expires when it is released; so does what is held because its smarthost is gone, when that is back.

use super::connections::Lane;
use super::outcome;
use crate::queue::Due;
use jiff::Timestamp;

/// Messages dealt with at once.
const BATCH: usize = 100;

impl Lane {
    /// Deals with everything that has expired.
    pub(super) async fn expire_due(&self) {
        while !self.is_removed() {
            let claimed = self.queue.claim_expired(&self.name, self.clock.now(), BATCH).await;
            let expired = match claimed {
                Ok(expired) => expired,
                Err(cause) => return self.events.not_searched(&self.name, &cause),
            };
            let found = expired.len();
            for due in expired {
                if let Some(due) = self.unless_expired(due).await {
                    self.entries.release(due);
                }
            }
            if found < BATCH || self.is_stopping() {
                return;
            }
            // The settled ones must be gone from the search before it is repeated.
            self.queue.flush().await;
        }
    }

    /// The claimed message, unless it has expired: then it is settled without an attempt.
    pub(super) async fn unless_expired(&self, due: Due) -> Option<Due> {
        let now = self.clock.now();
        let leapt = self.queue.leapt_since(due.id);
        let is_over = |expires_at: &Timestamp| now.duration_since(*expires_at) >= leapt;
        let Some(expired_at) = due.expires_at.filter(is_over) else { return Some(due) };
        let conclusion = outcome::expire(&due, expired_at);
        self.settle(due, conclusion, now, &self.target(), Vec::new(), None).await;
        None
    }
}
