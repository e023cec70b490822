//! Queued mail follows new routes: after a reload that changed them, what waits goes to the lane they name now, if that
//! isn't the one that the old ones named. So what an admin or a fallback moved stays there when other routes change.
//! What they hold now and didn't before is held, unless it was tried already or an admin released it; a notice of ours
//! never is.
//!
//! Held mail goes along and stays held. Mail of a smarthost that was removed stays: which account may send it instead is the
//! admin's to say (`queue reroute`). So does a message whose recipients would part ways, and one that is on its way just
//! then; both are counted. Class, expiry, discard and reject were decided when the message was accepted: of the class that its
//! client asked for nothing is kept, and its sender was told the rest by the reply.

use super::route::{Facts, Router};
use crate::config::schema::Action;
use crate::events::Events;
use crate::message::fields::{Field, HeaderSection};
use crate::queue::waiting::Waiting;
use crate::queue::{Adjust, Filter, LaneName, Queue, QueueError, QueueId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Messages looked at together.
const PAGE: usize = 500;
/// Octets of a message that are read for its header section.
const HEADER: usize = 256 * 1024;

/// What became of what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rerouted {
    /// Messages that moved, or are held now.
    pub messages: u64,
    /// Those that stay as they were, because their recipients would part ways.
    pub parting: u64,
    /// Those that stay because they were on their way just then.
    pub on_their_way: u64,
}

impl Rerouted {
    /// In words, where there is anything to tell.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let Self { messages, parting, on_their_way } = *self;
        let mut told = Vec::new();
        let mut tell = |count: u64, words: &str| {
            if count > 0 {
                told.push(format!("{count} {words}"));
            }
        };
        tell(messages, "moved or held by the new routes");
        tell(
            parting,
            "left as it was, for the new routes part its recipients (`waystation queue reroute` moves it)",
        );
        tell(on_their_way, "left as it was, for it is on its way");
        (!told.is_empty()).then(|| format!("queued messages: {}", told.join(", ")))
    }
}

/// Routes all that waits anew where the routes changed for it. `smarthosts` are those that are configured.
///
/// # Errors
/// The queue's; some messages may have moved then.
pub async fn reroute(
    queue: &Queue,
    old: &Router,
    router: &Router,
    smarthosts: &BTreeSet<String>,
    events: &Events,
) -> Result<Rerouted, QueueError> {
    let (mut after, mut rerouted) = (None, Rerouted::default());
    loop {
        let page = queue.waiting(after, PAGE).await?;
        after = page.last().map(|waiting| waiting.id);
        let mut to: BTreeMap<LaneName, Vec<QueueId>> = BTreeMap::new();
        let mut held: Vec<QueueId> = Vec::new();
        // What a fallback has is judged as mail of its own smarthost.
        let owner =
            |waiting: &&Waiting| smarthosts.contains(waiting.home.as_ref().unwrap_or(&waiting.lane).as_str());
        for waiting in page.iter().filter(owner) {
            let Some([was, is]) = ways_of(queue, [old, router], waiting).await else { continue };
            match is.lanes.as_slice() {
                _ if is.lanes == was.lanes => {}
                [lane] if *lane != waiting.lane || waiting.home.is_some() => {
                    to.entry(lane.clone()).or_default().push(waiting.id);
                }
                [] | [_] => {}
                _ => rerouted.parting += 1,
            }
            if is.holds && !was.holds && !is_ours(waiting) {
                held.push(waiting.id);
            }
        }
        // What moved and is held as well is one message.
        let mut changed: HashSet<QueueId> = HashSet::new();
        for (lane, ids) in to {
            let asked = ids.len() as u64;
            let filter = Filter { ids, ..Filter::default() };
            let moved = queue.adjust(filter, Adjust::Reroute(lane)).await?;
            rerouted.on_their_way += asked.saturating_sub(moved.count);
            changed.extend(moved.ids);
        }
        if !held.is_empty() {
            let filter = Filter { ids: held, ..Filter::default() };
            changed.extend(queue.adjust(filter, Adjust::HoldByRoute).await?.ids);
        }
        rerouted.messages += changed.len() as u64;
        if page.len() < PAGE {
            events.rerouted(rerouted.messages, rerouted.parting, rerouted.on_their_way);
            return Ok(rerouted);
        }
    }
}

/// What routes say of a message as a whole.
struct Way {
    /// The lanes of its recipients, each once: one, unless they part ways.
    lanes: Vec<LaneName>,
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
        let kept = queue.read(&waiting.content, 0, HEADER).await.ok()?;
        as_it_came(&kept, &queue.came(&waiting.content).await.ok()?)
    } else {
        Vec::new()
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
        let mut lanes: Vec<LaneName> = Vec::new();
        for answer in &answers {
            if !lanes.contains(&answer.lane) {
                lanes.push(answer.lane.clone());
            }
        }
        Way {
            lanes,
            holds: !answers.is_empty() && answers.iter().all(|answer| answer.action == Action::Hold),
        }
    }))
}

/// A header section with the fields of these names as they came; what follows it doesn't matter.
fn as_it_came(kept: &[u8], came: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    if came.is_empty() {
        return kept.to_vec();
    }
    let changed: HashSet<&[u8]> = came.iter().map(|(name, _)| name.as_slice()).collect();
    let header = HeaderSection::of(kept);
    let stays =
        header.fields().filter(|field| !changed.contains(field.name().to_ascii_lowercase().as_slice()));
    let stays = stays.map(Field::octets);
    let mut octets = Vec::new();
    for fields in stays.chain(came.iter().map(|(_, fields)| fields.as_slice())) {
        octets.extend_from_slice(fields);
        if !octets.is_empty() && !octets.ends_with(b"\n") {
            octets.extend_from_slice(b"\r\n");
        }
    }
    octets.extend_from_slice(b"\r\n");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_back_as_they_came() {
        let kept = b"Received: us\r\nSubject: two\r\nX-Relay: we\r\nTo: a@x.test\r\n\r\nbody: text\r\n";
        let came: Vec<(Vec<u8>, Vec<u8>)> =
            [("subject", "SUBJECT: one\r\n"), ("x-relay", ""), ("bcc", "Bcc: b@x.test")]
                .map(|(name, fields)| (name.into(), fields.into()))
                .into();
        let expected = "Received: us\r\nTo: a@x.test\r\nSUBJECT: one\r\nBcc: b@x.test\r\n\r\n";
        assert_eq!(String::from_utf8(as_it_came(kept, &came)).unwrap(), expected);
        assert_eq!(as_it_came(kept, &[]), kept);
    }

    #[test]
    fn what_became_of_the_queue_is_told_where_there_is_something_to_tell() {
        assert_eq!(Rerouted::default().told(), None);
        let told = Rerouted { messages: 3, parting: 1, on_their_way: 0 }.told().unwrap();
        assert!(
            told.starts_with("queued messages: 3 moved or held by the new routes, 1 left as it was, "),
            "{told}"
        );
    }
}
