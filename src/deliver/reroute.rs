//! Queued mail follows new routes: after a reload that changed them, what waits goes to the lane they name now, if that
//! isn't the one that the old ones named. So what an admin or a fallback moved stays there when other routes change.
//! What they hold now and didn't before is held, unless it was tried already or an admin released it; a notice of ours
//! never is.
//!
//! Held mail stays where an admin left it, and so does mail of a smarthost that was removed: which account may send it
//! instead is the admin's to say (`queue reroute`). So does a message whose recipients would part ways, and one that is
//! on its way just then. Class, expiry, discard and reject were decided when the message was accepted: of the class that its
//! client asked for nothing is kept, and its sender was told the rest by the reply.

use super::route::{Facts, Router};
use crate::config::schema::Action;
use crate::events::Events;
use crate::message::fields::HeaderSection;
use crate::queue::waiting::Waiting;
use crate::queue::{Adjust, Filter, LaneName, Queue, QueueError, QueueId};
use std::collections::{BTreeMap, BTreeSet};

/// Messages looked at together.
const PAGE: usize = 500;
/// Octets of a message that are read for its header section.
const HEADER: usize = 256 * 1024;

/// Routes all that waits anew where the routes changed for it; how many messages moved or are held. `smarthosts` are those that are
/// configured.
///
/// # Errors
/// The queue's; some messages may have moved then.
pub async fn reroute(
    queue: &Queue,
    old: &Router,
    router: &Router,
    smarthosts: &BTreeSet<String>,
    events: &Events,
) -> Result<u64, QueueError> {
    let (mut after, mut moved) = (None, 0);
    loop {
        let page = queue.waiting(after, PAGE).await?;
        after = page.last().map(|waiting| waiting.id);
        let mut to: BTreeMap<LaneName, Vec<QueueId>> = BTreeMap::new();
        let mut held: Vec<QueueId> = Vec::new();
        for waiting in page.iter().filter(|waiting| smarthosts.contains(waiting.lane.as_str())) {
            let Some([was, is]) = ways_of(queue, [old, router], waiting).await else { continue };
            if let Some(lane) =
                is.lane.filter(|lane| *lane != waiting.lane && was.lane.as_ref() != Some(lane))
            {
                to.entry(lane).or_default().push(waiting.id);
            }
            if is.holds && !was.holds && !is_ours(waiting) {
                held.push(waiting.id);
            }
        }
        for (lane, ids) in to {
            let filter = Filter { ids, ..Filter::default() };
            moved += queue.adjust(filter, Adjust::Reroute(lane)).await?.count;
        }
        if !held.is_empty() {
            let filter = Filter { ids: held, ..Filter::default() };
            moved += queue.adjust(filter, Adjust::HoldByRoute).await?.count;
        }
        if page.len() < PAGE {
            events.rerouted(moved);
            return Ok(moved);
        }
    }
}

/// What routes say of a message as a whole.
struct Way {
    /// The one lane for all recipients, if there is one.
    lane: Option<LaneName>,
    /// Whether all of it is held.
    holds: bool,
}

/// Whether a notice of ours is meant: it came from nobody.
fn is_ours(waiting: &Waiting) -> bool {
    waiting.sender.is_none() && waiting.client.is_none() && waiting.application.is_none()
}

/// The way by each router; none when the content can't be read.
async fn ways_of(queue: &Queue, routers: [&Router; 2], waiting: &Waiting) -> Option<[Way; 2]> {
    let octets = if routers.iter().any(|router| router.reads_header()) {
        queue.read(&waiting.content, 0, HEADER).await.ok()?
    } else {
        bytes::Bytes::new()
    };
    let header = HeaderSection::of(&octets);
    let facts = Facts {
        application: waiting.application.as_deref(),
        sender: waiting.sender.as_ref(),
        recipients: &waiting.recipients,
        client: waiting.client,
        header: &header,
        class: None,
    };
    Some(routers.map(|router| {
        let answers = router.route(&facts);
        let lane = answers.first().map(|first| first.lane.clone());
        Way {
            lane: lane.filter(|lane| answers.iter().all(|answer| answer.lane == *lane)),
            holds: !answers.is_empty() && answers.iter().all(|answer| answer.action == Action::Hold),
        }
    }))
}
