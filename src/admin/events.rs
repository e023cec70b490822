//! What the command line may ask about kept events, and what it is answered.

use crate::queue::{EventEntry, EventFilter, EventId};
use serde::{Deserialize, Serialize};

/// A question or an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventsRequest {
    /// One page of events, answered by a list of [`EventEntry`], oldest first.
    List {
        /// Which.
        filter: EventFilter,
        /// At most so many.
        limit: usize,
        /// Only those behind this one.
        after: Option<EventId>,
    },
    /// One event and its body; answered by [`Shown`], or null.
    Show {
        /// Which.
        id: EventId,
    },
    /// Makes events due again; answered by [`Replayed`](crate::queue::outbox::Replayed).
    Replay {
        /// Which.
        filter: EventFilter,
    },
    /// Lets a disabled endpoint's events go again; answered whether it was disabled.
    Enable {
        /// Which.
        endpoint: String,
    },
    /// Posts `endpoint.test`; answered by [`Tested`].
    Test {
        /// To whom.
        endpoint: String,
    },
    /// Every endpoint; answered by a list of [`EndpointStatus`](crate::deliver::webhook::EndpointStatus).
    Endpoints,
}

/// An event with what is posted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    /// What is known of it.
    #[serde(flatten)]
    pub event: EventEntry,
    /// The body, if it is kept and is text.
    pub body: Option<String>,
    /// The body in base64, if it is kept and isn't text.
    pub body_base64: Option<String>,
}

/// What became of a test.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tested {
    /// Where it was posted.
    pub url: String,
    /// Its `webhook-id`.
    pub id: EventId,
    /// The answer's status; none when no answer came.
    pub status: Option<u16>,
    /// The beginning of the answer, or why none came.
    pub answer: String,
    /// From the first octet to the answer.
    pub elapsed_ms: u64,
}
