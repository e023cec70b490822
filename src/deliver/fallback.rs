//! Mail whose smarthost can't take it goes by another one that the configuration names: when the first is down, frozen
//! or out of quota for more than a minute, and the other one works and accepts the message's From.
//!
//! A message that may have arrived already stays where it is: the other smarthost would send a second copy. So does
//! one that is needed to find out whether the first smarthost works again.

use super::connections::Lane;
use super::lane_state::LaneState;
use super::verdict::Stop;
use crate::config::schema::Smarthost;
use crate::message::envelope::Class;
use crate::message::fields::HeaderSection;
use crate::queue::{Due, LaneName, QueueId};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Messages of a lane that are moved in one round.
const ROUND: usize = 100;
/// A wait that isn't worth another way.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);
/// Octets of a message that are read for its header section.
const HEADER: usize = 256 * 1024;

/// Finds other ways, round after round.
#[derive(Debug, Default)]
pub struct Fallback {
    /// Messages that no other smarthost accepts, by lane, until the lane flows again.
    refused: HashMap<LaneName, HashSet<QueueId>>,
}

impl Fallback {
    /// One round over all lanes.
    pub async fn relieve(&mut self, lanes: &BTreeMap<String, Arc<Lane>>, now: Timestamp) {
        for lane in lanes.values() {
            let target = lane.target();
            let names = target.smarthost.fallback.iter();
            let others: Vec<&Arc<Lane>> = names.filter_map(|name| lanes.get(name)).collect();
            let Some((why, classes)) = stuck(lane, now).filter(|_| !others.is_empty()) else {
                self.refused.remove(lane.name());
                continue;
            };
            let refused = self.refused.entry(lane.name().clone()).or_default();
            let claimed = lane.entries().claim_stuck(&classes, ROUND, |id| !refused.contains(&id));
            for due in claimed {
                if let Some(other) = takes(lane, &others, &due, now).await {
                    let to = other.name().clone();
                    let why = format!("from {} to {to}: {why}", lane.name());
                    lane.queue().divert(due, to, why).await;
                } else {
                    refused.insert(due.id);
                    lane.unclaim(due);
                }
            }
        }
    }
}

/// Why a lane's mail can't go by it, and which classes can't.
#[must_use]
pub fn stuck(lane: &Lane, now: Timestamp) -> Option<(String, Vec<Class>)> {
    const ALL: [Class; 3] = [Class::Priority, Class::Normal, Class::Bulk];
    if !lane.target().smarthost.enabled {
        // Switched off, it holds its mail.
        return None;
    }
    if let LaneState::Stopped(halt) | LaneState::Frozen(halt) = lane.state() {
        let is_brief = matches!(halt.stop, Stop::Busy | Stop::Local);
        let needs_probe = halt.next_probe <= now && !halt.probing;
        let why = format!("{} doesn't work: {}", lane.name(), halt.cause.reply);
        return (!is_brief && !needs_probe).then(|| (why, ALL.to_vec()));
    }
    let waits = |class: &Class| {
        lane.entries().wait_of(*class).is_some_and(|next| next.duration_since(now) > PATIENCE)
    };
    let classes: Vec<Class> = ALL.into_iter().filter(waits).collect();
    (!classes.is_empty()).then(|| (format!("{} has used up its limit", lane.name()), classes))
}

/// The first of the other lanes that works and takes the message as it is.
async fn takes<'l>(
    lane: &Lane,
    others: &[&'l Arc<Lane>],
    due: &Due,
    now: Timestamp,
) -> Option<&'l Arc<Lane>> {
    let octets = lane.queue().read(&due.content, 0, HEADER).await.ok()?;
    let header = HeaderSection::of(&octets);
    others
        .iter()
        .copied()
        .find(|other| has_room(other, due.class, now) && accepts(&other.target().smarthost, &header))
}

/// Whether a lane works and lets mail of a class go soon.
#[must_use]
pub fn has_room(lane: &Lane, class: Class, now: Timestamp) -> bool {
    let soon = lane.entries().wait_of(class).is_none_or(|next| next.duration_since(now) <= PATIENCE);
    matches!(lane.state(), LaneState::Flowing) && lane.target().smarthost.enabled && soon
}

/// Whether a smarthost takes a message's From as it is.
#[must_use]
pub fn accepts(smarthost: &Smarthost, header: &HeaderSection<'_>) -> bool {
    smarthost.with_account(|account| account.accepts(header))
}
