//! What the tests of this room share.

use super::{LaneName, Notes, Part, QueueSettings, Submission};
use crate::clock::Clock;
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::smtp::address::Address;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A clock that only the test moves.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn at(second: i64) -> Self {
        Self(Arc::new(AtomicI64::new(second * 1_000)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn turn(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let hand = self.clone();
        Clock::from_fn(move || hand.now())
    }
}

pub(crate) fn settings(state_dir: &Path) -> QueueSettings {
    QueueSettings {
        state_dir: state_dir.to_owned(),
        memory: 1 << 20,
        max_size: 1 << 40,
        min_free: 0,
        journal_keep: Duration::from_hours(720),
    }
}

pub(crate) fn submission(lane: &str, recipients: &[&str]) -> Submission {
    let recipient = |address: &&str| Recipient {
        address: Address::parse(address, true).unwrap(),
        notify: None,
        orcpt: None,
    };
    Submission {
        envelope: Envelope {
            sender: Some(Address::parse("from@a.example", false).unwrap()),
            recipients: recipients.iter().map(recipient).collect(),
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        origin: Origin { client: None, helo: "client.example".into(), application: Some("shop".into()) },
        received_at: Timestamp::from_second(1_795_000_000).unwrap(),
        notes: Notes::default(),
        parts: vec![Part {
            lane: LaneName::new(lane),
            class: Class::Normal,
            recipients: (0..recipients.len()).collect(),
            due: Timestamp::from_second(1_795_000_000).unwrap(),
            held: false,
            discarded: false,
            expires_at: None,
        }],
    }
}
