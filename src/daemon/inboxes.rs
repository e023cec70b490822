//! The inboxes of the running daemon: one reader each.

use crate::admin::LaneStatus;
use crate::clock::Clock;
use crate::config::schema::{Config, Inbox, Mailbox};
use crate::deliver::confirm::{Confirmer, Told, Web};
use crate::deliver::interpreter::{Interpreter, Reading, Tools};
use crate::deliver::perils::Perils;
use crate::events::Events;
use crate::inbox::addresses;
use crate::inbox::authentication::Authenticator;
use crate::inbox::mailbox::account;
use crate::inbox::verification::may_come_to;
use crate::net::tls;
use crate::queue::{LaneName, Queue, Verification};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Once};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every inbox's reader.
pub(super) struct Inboxes {
    queue: Queue,
    clock: Clock,
    events: Events,
    tracker: TaskTracker,
    stop: CancellationToken,
    tools: Tools,
    confirming: Once,
    /// Who may be confirmed and who is told, by the configuration in force.
    directory: Arc<ArcSwap<Directory>>,
    readers: Mutex<BTreeMap<String, Arc<Interpreter>>>,
    /// Those whose inbox left the configuration.
    retired: Mutex<BTreeMap<String, Arc<Interpreter>>>,
}

/// Inboxes with who is told of them, and the inbox of each mailbox.
#[derive(Default)]
struct Directory {
    told: BTreeMap<String, Told>,
    mailboxes: BTreeMap<String, String>,
    /// Each mailbox with its inbox's address.
    accounts: Vec<(Mailbox, String)>,
}

impl Directory {
    fn of(config: &Config) -> Self {
        let told = |(name, inbox): (&String, &Inbox)| {
            let (endpoint, hostname) = (LaneName::new(name), config.hostname.clone());
            (name.clone(), Told { endpoint, format: inbox.format, hostname })
        };
        let inbox = |(name, mailbox): (&String, &Mailbox)| (name.clone(), mailbox.inbox.clone());
        let account = |mailbox: &Mailbox| {
            let inbox = config.inboxes.get(&mailbox.inbox)?;
            Some((mailbox.clone(), inbox.address.as_str().to_owned()))
        };
        Self {
            accounts: config.mailboxes.values().filter_map(account).collect(),
            told: config.inboxes.iter().map(told).collect(),
            mailboxes: config.mailboxes.iter().map(inbox).collect(),
        }
    }

    fn whose(&self, question: &Verification) -> Option<String> {
        let (asks, came_to) = (account(question.requested_by.as_ref()?), question.came_to.as_ref()?);
        let is_it = |(mailbox, inbox): &&(Mailbox, String)| {
            mailbox.inbox == question.inbox
                && account(mailbox.address.as_str()) == asks
                && may_come_to(came_to, inbox, mailbox)
        };
        self.accounts.iter().find(is_it).map(|(mailbox, _)| mailbox.name.clone())
    }

    fn told_of(&self, question: &Verification) -> Option<Told> {
        let inbox = question.mailbox.as_ref().and_then(|mailbox| self.mailboxes.get(mailbox));
        self.told.get(&question.inbox).filter(|_| inbox == Some(&question.inbox)).cloned()
    }
}

/// Why an inbox takes only what names a mailbox, and what helps.
const FULL: &str = "what waits or is held of inboxes takes a quarter of spool.max_size; what comes to an address without a mailbox's \
                    token is answered 452";
const MAKE_ROOM: &str = "see `waystation queue list --state held`, then release or delete";

impl Inboxes {
    pub(super) fn new(
        state_dir: &Path,
        queue: Queue,
        clock: Clock,
        events: Events,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        // Without a resolver, what needs DNS is told as such: mail flows all the same.
        let authenticator = Authenticator::system().or_else(|_| Authenticator::offline()).ok();
        let directory: Arc<ArcSwap<Directory>> = Arc::default();
        let (asked, added) = (directory.clone(), directory.clone());
        let confirmer = Confirmer::new(
            queue.clone(),
            clock.clone(),
            events.clone(),
            Web::public(tls::web_client().map_err(Arc::new)),
            Box::new(move |question| asked.load().told_of(question)),
            Box::new(move |question| added.load().whose(question)),
        );
        let now = clock.now();
        let (confirming, readers) = (Once::new(), Mutex::default());
        Self {
            queue,
            clock,
            events,
            tracker,
            stop,
            tools: Tools { authenticator, confirmer, perils: Perils::open(state_dir, now) },
            confirming,
            directory,
            readers,
            retired: Mutex::default(),
        }
    }

    /// Readers as the configuration wants them: new ones start, changed ones learn, removed ones end.
    pub(super) fn staff(&self, config: &Config) {
        self.directory.store(Arc::new(Directory::of(config)));
        // Not before it is known who may be confirmed.
        self.confirming
            .call_once(|| drop(self.tracker.spawn(self.tools.confirmer.clone().run(self.stop.clone()))));
        self.tools.confirmer.ring();
        let mut readers = self.readers.lock();
        readers.retain(|name, reader| {
            let stays = config.inboxes.contains_key(name);
            if !stays {
                reader.retire();
                self.retired.lock().insert(name.clone(), reader.clone());
            }
            stays
        });
        for (name, inbox) in &config.inboxes {
            let mailboxes = config.mailboxes.values();
            let reading = Reading::new(inbox, mailboxes, config.channels.values(), &config.hostname)
                .believing(super::lanes::token_keys(config, &self.events))
                .telling(super::webhooks::told(config));
            if let Some(reader) = readers.get(name) {
                reader.change(reading);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let reader = Interpreter::new(queue, reading, self.tools.clone(), clock, events, &self.stop);
            let (next, before) = (reader.clone(), self.retired.lock().remove(name));
            self.tracker.spawn(async move {
                // Or mail that it gives back would be read behind mail that came later.
                if let Some(before) = before {
                    before.ended().await;
                }
                next.run().await;
            });
            readers.insert(name.clone(), reader);
        }
    }

    /// How they are, by lane. Counts of messages are the queue's to add.
    pub(super) fn status(&self) -> Vec<(String, LaneStatus)> {
        let readers = self.readers.lock();
        let is_full = !self.queue.has_room_for_strangers();
        let status = |(name, reader): (&String, &Arc<Interpreter>)| {
            let lane = addresses::lane(name).to_string();
            let mut status = LaneStatus::inbox(lane.clone(), reader.trouble());
            if is_full && status.reason.is_none() {
                status.reason = Some(FULL.to_owned());
                status.advice = Some(MAKE_ROOM.to_owned());
            }
            (lane, status)
        };
        readers.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{QueueId, VerificationState};
    use jiff::Timestamp;

    #[test]
    fn a_question_is_the_mailboxs_whose_account_asks_where_it_may_ask() {
        let text = "[smarthost.s]\nhost='s.example'\n[inbox.guests]\naddress='inbox@users.example'\n\
                    webhook='https://a.example/x'\nsecret_file='s'\n\
                    [mailbox.sol]\naddress='casa.sol@gmail.com'\ninbox='guests'\ntoken='sol'\n";
        let loaded = crate::config::parse("w.toml".as_ref(), text, std::iter::empty()).unwrap();
        let directory = Directory::of(&loaded.config);
        let whose = |inbox: &str, account: &str, came_to: &str| {
            directory.whose(&Verification {
                id: QueueId::from_row(1),
                inbox: inbox.to_owned(),
                provider: "gmail".to_owned(),
                requested_by: Some(account.to_owned()),
                mailbox: None,
                state: VerificationState::ActionNeeded,
                attempts: 0,
                next_attempt: None,
                answer: None,
                received_at: Timestamp::UNIX_EPOCH,
                code: None,
                links: Vec::new(),
                came_to: Some(came_to.to_owned()),
            })
        };
        let sol = Some("sol".to_owned());
        assert_eq!(whose("guests", "casasol@gmail.com", "inbox@users.example"), sol);
        assert_eq!(whose("guests", "casasol@gmail.com", "inbox+SOL@users.example"), sol);
        for (inbox, account, came_to) in [
            ("guests", "other@gmail.com", "inbox@users.example"),
            ("guests", "casasol@gmail.com", "inbox+luna@users.example"),
            ("others", "casasol@gmail.com", "inbox@users.example"),
        ] {
            assert_eq!(whose(inbox, account, came_to), None, "{inbox} {account} {came_to}");
        }
    }
}
