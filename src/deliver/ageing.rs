//! Mail that grows old in a lane that stands still: its sender is told of the delay, and in the end gets it back, though nobody tries it.

use super::connections::Lane;
use super::outcome;
use crate::message::envelope::Class;
use jiff::SignedDuration;
use std::time::Duration;

/// How many of those are dealt with at once.
const AGED_BATCH: usize = 100;
/// A lane that stands for less isn't why mail is old: that has waited for a limit, which is no reason to give it up.
const STOOD: Duration = Duration::from_hours(1);

impl Lane {
    /// Deals with mail that has become old in a lane that stands still, and not because a limit keeps it.
    pub(super) async fn age(&self) {
        let halted = self.state.lock().halt().map(|halt| halt.cause.clone());
        let target = self.target.load_full();
        let standstill = target.standstill();
        let may_be_for_a_limit = standstill.is_none();
        let Some(cause) = standstill.or(halted) else { return };
        if may_be_for_a_limit && Class::ALL.iter().all(|class| self.entries.wait_of(*class).is_some()) {
            return;
        }
        let now = self.clock.now();
        let since = *self.stands_since.lock();
        let stood = since.map_or(0, |since| self.clock.since_boot().saturating_sub(since));
        let stood = Duration::from_millis(u64::try_from(stood).unwrap_or(0));
        let before = |age: Duration| {
            let before = now.checked_sub(SignedDuration::try_from(age).unwrap_or_default()).ok();
            before.filter(|_| !may_be_for_a_limit || stood >= age.min(STOOD))
        };
        // A smarthost that an admin switched off keeps its mail for as long as that takes; one that was removed is
        // gone, and the sender must hear of it.
        let may_expire = target.smarthost.enabled || target.is_removed;
        let give_up = before(target.retry.give_up_after).filter(|_| may_expire);
        let searches = [
            give_up.map(|before| (before, false)),
            target.retry.warn_after.and_then(before).map(|before| (before, true)),
        ];
        for (received_before, only_unwarned) in searches.into_iter().flatten() {
            loop {
                let aged =
                    self.queue.claim_aged(&self.name, received_before, only_unwarned, AGED_BATCH).await;
                let aged = match aged {
                    Ok(aged) => aged,
                    Err(cause) => return self.events.not_searched(&self.name, &cause),
                };
                let (found, mut moved) = (aged.len(), false);
                for mut due in aged {
                    due.follow(self.queue.leapt_since(due.id));
                    let conclusion = outcome::age(&due, &cause, now, &target.retry, may_expire);
                    moved |= !conclusion.fates.is_empty() || conclusion.warned;
                    self.settle(due, conclusion, now, &target, Vec::new(), None).await;
                }
                // The settled ones must be gone from the search before it is repeated.
                self.queue.flush().await;
                if found < AGED_BATCH || !moved || self.is_stopping() {
                    break;
                }
            }
        }
    }
}
