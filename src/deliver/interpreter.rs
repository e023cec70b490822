//! Forwarded mail, read: claims what an inbox took, finds out what it means, and keeps the event in the transaction
//! that takes the message off the list.
//!
//! One task per inbox. Several messages are read and authenticated at once, and understood side by side, as many in a
//! row as wait: a hand-over from thread to thread for each would cost more than a message where the processors are busy.
//! What they mean is concluded one after the other, in the order in which they came, and each is settled before the
//! next: so `seq` follows the mail, two copies of one message make one event, and an answer finds the conversation of the
//! message just before it. What nobody can say the mailbox of is held, with an event; what can't be read is held as well,
//! and an admin sees why. No bounce is ever written. DNS that doesn't answer slows nothing down: while a message waits
//! for it, others begin, and one that waits for long is passed by mail of other authors that doesn't answer it; few may
//! wait on, names of domains that said nothing lately are hardly waited for, and while DNS is away, mail goes without.
//! Only what would be another's or nobody's for want of DNS waits for it, and what answers that, up to ten minutes. What
//! was being read when the daemon died is tried alone first, and held when it died of it often enough (`perils`).

use crate::clock::Clock;
use crate::config::schema::{Channel, Inbox, Mailbox};
use crate::config::webhook_secret::{self, WebhookSecret};
use crate::deliver::announce;
use crate::deliver::confirm::{self, Confirmer};
use crate::deliver::perils::{self, Perils};
use crate::events::Events;
use crate::inbox::addresses;
use crate::inbox::authentication::{self, Authentication, Authenticator, Hop, Patience, Verdict};
use crate::inbox::conversation::ConversationId;
use crate::inbox::event::{self, Event, EventType, SilenceData, SilenceState};
use crate::inbox::mail;
use crate::inbox::probe::Came;
use crate::inbox::token::TokenKey;
use crate::inbox::{self, EndsHere, Envelope, Interpret, Interpretation, Understood};
use crate::inbox::{probe, silence};
use crate::message::decode;
use crate::message::fields::{Field, HeaderSection};
use crate::queue::{
    self, Damaged, Due, Fate, LaneName, MAILBOX, Memory, NewEvent, Outcome, Queue, QueueError, QueueId,
    Unreadable,
};
use crate::smtp::address::dns_domain;
use crate::smtp::reply::{Enhanced, Reply};
use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Messages read at once, beside those that wait for DNS.
const WIDTH: usize = 32;
/// Those together: each may have a few sockets open.
const MOST: usize = 4 * WIDTH;
/// What isn't read by then waits for DNS.
const READ_BY: Duration = Duration::from_millis(50);
/// Rows of messages understood at once: one more than there are processors, because one waits for its turn, but no more
/// than these.
const MINDS: usize = 4;
/// Octets of a From field among which an author is looked for.
const AUTHOR: usize = 4096;
/// How long a message waits whose file alone can't be read.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// Messages in a row.
const ROW: usize = 8;
/// Content that is read at once, in pieces of 64 KiB; a larger message is read alone.
const ROOM: u32 = 32 * 16;
/// What authentication may take before mail goes without.
const PATIENCE: Duration = Duration::from_secs(5);
/// A check that took so long and found nothing says that DNS may be away: see [`Outage`].
const SLOW: Duration = Duration::from_millis(500);
/// Others pass a message by then: names that answer at all mostly do so in less, all of a message's together.
const PASSED_AFTER: Duration = Duration::from_millis(2_500);
/// Of [`ROOM`], what messages may have that wait for longer: so that one sender's dead DNS leaves room for all others.
const WAITING_ROOM: u32 = ROOM / 8;
/// How long DNS that is away is left alone.
const REST: Duration = Duration::from_secs(30);
/// How long it is known that DNS is there, whatever domains without an answer may say.
const KNOWN: Duration = Duration::from_secs(10);

/// Mail that is nobody's only because DNS is away waits so long for it …
const WAIT_FOR_DNS: SignedDuration = SignedDuration::from_mins(10);
/// … and what answers it for so long, …
const WAIT_FOR_OTHERS: SignedDuration = SignedDuration::from_mins(1);
/// … at least so many times …
const LEAST_WAITS: u32 = 2;
/// So many of those are known to what answers them.
const MOST_PUT_OFF: usize = 1000;
/// … is read again this soon, and then each time when it has waited twice as long.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// What an inbox's mail is read by: one generation of the configuration.
pub struct Reading {
    inbox: Inbox,
    mailboxes: Vec<Mailbox>,
    channels: Vec<Channel>,
    hostname: String,
    secret: Result<WebhookSecret, String>,
    token_keys: Vec<TokenKey>,
    /// The webhook that is told of bounces of mail that we sent.
    told: Option<LaneName>,
}

impl Reading {
    /// Reads the secret file; trouble with it holds mail up, not the daemon.
    #[must_use]
    pub fn new<'m>(
        inbox: &Inbox,
        mailboxes: impl Iterator<Item = &'m Mailbox>,
        channels: impl Iterator<Item = &'m Channel>,
        hostname: &str,
    ) -> Self {
        let secret = webhook_secret::read(&inbox.secret_file).map_err(|error| error.to_string());
        let secret = secret.and_then(|keys| keys.into_iter().next().ok_or_else(|| "holds no key".to_owned()));
        Self {
            mailboxes: mailboxes.filter(|mailbox| mailbox.inbox == inbox.name).cloned().collect(),
            channels: channels.cloned().collect(),
            inbox: inbox.clone(),
            hostname: hostname.to_owned(),
            secret,
            token_keys: Vec::new(),
            told: None,
        }
    }

    /// Tells this webhook when a bounce comes back for mail that we sent.
    #[must_use]
    pub fn telling(self, told: Option<LaneName>) -> Self {
        Self { told, ..self }
    }

    /// Believes reply tokens of these keys.
    #[must_use]
    pub fn believing(self, token_keys: Vec<TokenKey>) -> Self {
        Self { token_keys, ..self }
    }
}

/// What all readers share.
#[derive(Clone)]
pub struct Tools {
    /// None where there is no resolver at all.
    pub authenticator: Option<Authenticator>,
    /// Answers providers' questions.
    pub confirmer: Arc<Confirmer>,
    /// What the daemon died of.
    pub perils: Perils,
}

/// The reader of one inbox.
pub struct Interpreter {
    lane: LaneName,
    queue: Queue,
    entries: queue::Lane,
    reading: ArcSwap<Reading>,
    tools: Tools,
    /// The minute in which each mailbox's latest mail was noted.
    noted: Mutex<HashMap<String, i64>>,
    /// Messages that the daemon may have died of before and that it survived once since.
    tried: Mutex<BTreeSet<QueueId>>,
    outage: Mutex<Outage>,
    /// The Message-IDs of what waits for DNS, hashed.
    put_off: Mutex<HashMap<QueueId, Words>>,
    room: Arc<Semaphore>,
    waiting_room: Semaphore,
    clock: Clock,
    events: Events,
    stop: CancellationToken,
    /// Cancelled when nothing is claimed any more.
    ended: CancellationToken,
}

/// What became of reading one message.
enum Read {
    Ready(Box<Ready>),
    /// The content can't be read back; the message stays.
    Unreadable(Due, std::io::Error),
    /// Not now: the message stays.
    NotNow(Due, String),
}

/// Messages that are being read, in the order in which they came.
#[derive(Default)]
struct Readings {
    tasks: JoinSet<Read>,
    order: VecDeque<Begun>,
    /// Those that are through.
    read: HashMap<task::Id, Read>,
}

struct Begun {
    task: task::Id,
    at: Instant,
    message: QueueId,
    voice: Voice,
}

/// What a message says of its place among others, once its content is read.
type Voice = Arc<OnceLock<Words>>;

/// Whose it is, its Message-IDs and those that it names, hashed: of one author's mail the later may follow the earlier in a
/// conversation, and so does an answer what it answers, whoever writes it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    author: u64,
    ids: Vec<u64>,
    names: Vec<u64>,
}

impl Words {
    fn of(octets: &[u8]) -> Self {
        let header = HeaderSection::of(octets);
        let of = |words: &dyn AsRef<[u8]>| {
            let mut hasher = DefaultHasher::new();
            words.as_ref().to_ascii_lowercase().hash(&mut hasher);
            hasher.finish()
        };
        let from = header.named("From").next().map(Field::value).unwrap_or_default();
        let listed = from.get(..from.len().min(AUTHOR)).unwrap_or_default();
        // As it stands where that is no address.
        let author = decode::addresses(listed).first().map_or_else(|| of(&from), |one| of(&one.as_str()));
        let ids = |name| mail::message_ids(&header, name).into_iter().map(|id| of(&id));
        let names = ids("In-Reply-To").chain(ids("References")).collect();
        Self { author, ids: ids("Message-ID").collect(), names }
    }

    fn is(&self) -> impl Iterator<Item = u64> {
        self.ids.iter().copied().chain([self.author])
    }

    fn follows(&self) -> impl Iterator<Item = u64> {
        self.names.iter().copied().chain(self.is())
    }
}

impl Begun {
    /// Whether another may begin in its place.
    fn is_read(&self) -> bool {
        self.at.elapsed() >= READ_BY
    }

    /// Whether nobody may pass it yet.
    fn is_swift(&self) -> bool {
        self.at.elapsed() < PASSED_AFTER
    }
}

impl Readings {
    fn begin(
        &mut self,
        message: QueueId,
        voice: Voice,
        reading: impl Future<Output = Read> + Send + 'static,
    ) {
        let task = self.tasks.spawn(reading).id();
        self.order.push_back(Begun { task, at: Instant::now(), message, voice });
    }

    /// How many more may begin.
    fn places(&self) -> usize {
        WIDTH.saturating_sub(self.busy()).min(MOST.saturating_sub(self.tasks.len()))
    }

    /// How many there are in whose place no other may begin yet.
    fn busy(&self) -> usize {
        self.order.iter().filter(|begun| !begun.is_read()).count()
    }

    /// The first that is through, if all before it wait for DNS, are by other authors and aren't what it answers: those it
    /// may pass.
    fn next(&mut self) -> Option<Read> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.keep(ended);
        }
        let (mut passed, mut are_known) = (HashSet::<u64>::new(), true);
        let mut place = None;
        for (number, begun) in self.order.iter().enumerate() {
            let (words, is_through) = (begun.voice.get(), self.read.contains_key(&begun.task));
            let mut follows = words.into_iter().flat_map(Words::follows);
            if is_through && are_known && !follows.any(|word| passed.contains(&word)) {
                place = Some(number);
                break;
            }
            if !is_through && begun.is_swift() {
                break;
            }
            are_known &= words.is_some();
            passed.extend(words.into_iter().flat_map(Words::is));
        }
        let place = place?;
        let read = self.read.remove(&self.order.get(place)?.task)?;
        self.order.remove(place);
        Some(read)
    }

    /// Waits until that may have changed.
    async fn change(&mut self) {
        let left = |begun: &Begun, limit: Duration| limit.saturating_sub(begun.at.elapsed());
        let swift = self.order.iter().find(|begun| begun.is_swift()).map(|begun| left(begun, PASSED_AFTER));
        let is_full = self.busy() >= WIDTH;
        let busy = self.order.iter().find(|begun| is_full && !begun.is_read());
        let until = swift.into_iter().chain(busy.map(|begun| left(begun, READ_BY))).min();
        let until = until.unwrap_or(PASSED_AFTER);
        if let Ok(Some(ended)) = timeout(until, self.tasks.join_next_with_id()).await {
            self.keep(ended);
        }
    }

    fn keep(&mut self, ended: Result<(task::Id, Read), JoinError>) {
        // A task that panicked lost its claim with it: the message is due again at the next start.
        match ended {
            Ok((task, read)) => drop(self.read.insert(task, read)),
            Err(error) => self.order.retain(|begun| begun.task != error.id()),
        }
    }
}

/// Messages that are being understood, in their place among the others.
struct Thinking {
    messages: Vec<QueueId>,
    /// Told when all before them is settled.
    turn: oneshot::Sender<()>,
    /// False when it is no use going on at once.
    thought: JoinHandle<bool>,
}

/// What the loop holds of messages behind their reading.
enum Step {
    Thinking(Thinking),
    /// It stays, or is held.
    Failed(Box<Read>),
}

impl Step {
    fn messages(&self) -> Vec<QueueId> {
        match self {
            Self::Thinking(thinking) => thinking.messages.clone(),
            Self::Failed(read) => match &**read {
                Read::Ready(ready) => vec![ready.due.id],
                Read::Unreadable(due, _) | Read::NotNow(due, _) => vec![due.id],
            },
        }
    }
}

/// A message with all that is known of it alone.
struct Ready {
    due: Due,
    octets: Bytes,
    authentication: Authentication,
    reading: Arc<Reading>,
    /// Its share of the room; given back when it is recorded.
    _room: Option<OwnedSemaphorePermit>,
}

impl Interpreter {
    /// A reader that does nothing until it is [run](Self::run).
    #[must_use]
    pub fn new(
        queue: Queue,
        reading: Reading,
        tools: Tools,
        clock: Clock,
        events: Events,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let lane = addresses::lane(&reading.inbox.name);
        Arc::new(Self {
            entries: queue.lane(&lane),
            lane,
            queue,
            reading: ArcSwap::from_pointee(reading),
            tools,
            noted: Mutex::default(),
            tried: Mutex::default(),
            outage: Mutex::default(),
            put_off: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            waiting_room: Semaphore::new(WAITING_ROOM as usize),
            clock,
            events,
            stop: stop.child_token(),
            ended: CancellationToken::new(),
        })
    }

    /// New settings; what is being read goes by the old ones.
    pub fn change(&self, reading: Reading) {
        self.reading.store(Arc::new(reading));
    }

    /// Its inbox is gone from the configuration; its mail stays.
    pub fn retire(&self) {
        self.stop.cancel();
    }

    /// Waits until a retired one has given back what it had.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Why nothing is read, if nothing is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.reading.load().secret.as_ref().err().cloned()
    }

    /// Reads until it is stopped or retired; what was begun is finished.
    pub async fn run(self: Arc<Self>) {
        let minds =
            std::thread::available_parallelism().map_or(2, |processors| processors.get() + 1).min(MINDS);
        let mut claimed: VecDeque<Due> = VecDeque::new();
        let mut under_way = Readings::default();
        let mut steps: VecDeque<Step> = VecDeque::new();
        loop {
            let stopping = self.stop.is_cancelled();
            if !stopping {
                let more = under_way.places().saturating_sub(claimed.len());
                claimed.extend(self.entries.claim(more, WIDTH));
            }
            // In their order: whoever waits for room must not wait for one that came later. With nothing under way there
            // is room for any.
            let mut begun = Vec::new();
            while !stopping
                && let Some(room) =
                    claimed.front().filter(|due| !self.is_suspect(due)).and_then(|due| self.room_for(due))
                && let Some(due) = claimed.pop_front()
            {
                begun.push((due, room));
            }
            let waiting = under_way.order.iter().map(|begun| begun.message);
            let waiting: Vec<QueueId> = waiting.chain(begun.iter().map(|(due, _)| due.id)).collect();
            let thinking: Vec<QueueId> = steps.iter().flat_map(Step::messages).collect();
            let in_peril = self.in_peril(waiting, thinking);
            self.tools.perils.reads(&self.lane, &in_peril);
            for (due, room) in begun {
                let (this, voice) = (Arc::clone(&self), Voice::default());
                let known = Arc::clone(&voice);
                under_way.begin(due.id, known, async move { this.read(due, room, &voice).await });
            }
            if !stopping
                && in_peril.is_empty()
                && claimed.front().is_some_and(|due| self.is_suspect(due))
                // Not the one again that the daemon died of last, which may be chance.
                && let Some(place) = self.least_suspect(&claimed)
                && let Some(suspect) = claimed.remove(place)
            {
                if let Some(due) = self.tried(suspect).await {
                    claimed.insert(place, due);
                }
                continue;
            }
            while steps.len() < minds {
                let row = self.next_row(&mut under_way);
                if row.is_empty() {
                    break;
                }
                steps.extend(row);
            }
            match steps.pop_front() {
                Some(step) => {
                    let messages = step.messages();
                    if self.record(step).await {
                        self.survived(&messages);
                    } else {
                        self.rest().await;
                    }
                }
                None if !under_way.order.is_empty() => tokio::select! {
                    () = under_way.change() => {}
                    // Room for one that comes is where no other waits for room.
                    () = self.entries.wait(), if !stopping && claimed.is_empty() && under_way.places() > 0 => {}
                },
                None if stopping => {
                    for due in claimed {
                        self.entries.release(due);
                    }
                    self.entries.stand_down();
                    self.entries.read_anew();
                    return self.ended.cancel();
                }
                None => tokio::select! {
                    () = self.entries.wait() => {}
                    () = self.stop.cancelled() => {}
                },
            }
        }
    }

    async fn rest(&self) {
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// What a death of the daemon would be counted for. What was tried and waits for DNS isn't to blame for one.
    fn in_peril(&self, waiting: Vec<QueueId>, thinking: Vec<QueueId>) -> BTreeSet<QueueId> {
        let tried = self.tried.lock();
        waiting.into_iter().filter(|id| !tried.contains(id)).chain(thinking).collect()
    }

    /// These were read to their end.
    fn survived(&self, messages: &[QueueId]) {
        let mut tried = self.tried.lock();
        for id in messages {
            if tried.remove(id) {
                self.tools.perils.forget(*id);
            }
        }
    }

    /// Whether the daemon may have died of it, and it wasn't tried since.
    fn is_suspect(&self, due: &Due) -> bool {
        self.tools.perils.deaths(due.id) > 0 && !self.tried.lock().contains(&due.id)
    }

    /// Where the one stands that the daemon died of least often, of those it may have died of.
    fn least_suspect(&self, claimed: &VecDeque<Due>) -> Option<usize> {
        let suspects = claimed.iter().enumerate().filter(|(_, due)| self.is_suspect(due));
        let least = suspects.min_by_key(|(_, due)| self.tools.perils.deaths(due.id));
        least.map(|(place, _)| place)
    }

    /// Tries whether the daemon survives a message that it may have died of: reads it once for nothing, with none beside it
    /// and nobody asked, so that this takes no time in which it could die of something else. None when it is held instead.
    async fn tried(self: &Arc<Self>, due: Due) -> Option<Due> {
        let (perils, id) = (&self.tools.perils, due.id);
        let _alone = perils.alone().await;
        if perils.deaths(id) >= perils::MOST {
            self.events.held_unread(id, perils.deaths(id));
            let hold = format!("reading it ended the daemon {} times; please report it", perils::MOST);
            self.hold_unread(due, hold).await;
            perils.forget(id);
            return None;
        }
        perils.tries(&self.lane, id);
        if let Ok(octets) = self.queue.read(&due.content, 0, usize::MAX).await {
            let (this, due) = (Arc::clone(self), due.clone());
            let reading = self.reading.load_full();
            let read = task::spawn_blocking(move || {
                let octets = without_our_trace(&octets, &due);
                let authentication = Authentication::unasked(&octets, &hop(&due, &reading));
                let ready = Ready { due, octets, authentication, reading, _room: None };
                let subject = Subject::of(&ready);
                let _ = subject.input(&ready, this.clock.now()).map(|input| this.understood(input, &ready));
            });
            // One that panics is dealt with when it is read in earnest.
            let _ = read.await;
        }
        perils.survived(&self.lane, id);
        self.tried.lock().insert(id);
        Some(due)
    }

    /// Holds a message of which nothing is read, and tells the receiver so.
    async fn hold_unread(&self, due: Due, hold: String) {
        let (reading, now) = (self.reading.load_full(), self.clock.now());
        let authentication = Authentication::default();
        let ready = Ready { due, octets: Bytes::new(), authentication, reading, _room: None };
        let outcome = self.unread(&ready, hold, now);
        self.queue.settle(outcome).await;
    }

    fn unread(&self, ready: &Ready, hold: String, now: Timestamp) -> Outcome {
        let subject = Subject::of(ready);
        let event = subject.input(ready, now).and_then(|input| inbox::unread(&input));
        let events = event.into_iter().map(|event| self.new_event(event, None)).collect();
        Outcome { events, hold: Some(hold), ..outcome(&ready.due, now) }
    }

    /// The messages that were read first, as many as are ready, on their way to be understood; and the one behind them
    /// that failed.
    fn next_row(self: &Arc<Self>, under_way: &mut Readings) -> Vec<Step> {
        let (mut row, mut failed) = (Vec::new(), None);
        while row.len() < ROW
            && failed.is_none()
            && let Some(read) = under_way.next()
        {
            match read {
                Read::Ready(ready) => row.push(*ready),
                other => failed = Some(Step::Failed(Box::new(other))),
            }
        }
        let thinking = (!row.is_empty()).then(|| Step::Thinking(self.understand(row)));
        thinking.into_iter().chain(failed).collect()
    }

    /// Records what became of a message, or of a row; false when it is no use going on at once.
    async fn record(&self, step: Step) -> bool {
        let read = match step {
            Step::Thinking(Thinking { turn, thought, .. }) => {
                let _ = turn.send(());
                // Its claims are lost with a thread that panicked: the messages are due again at the next start.
                return thought.await.unwrap_or(true);
            }
            Step::Failed(read) => *read,
        };
        match read {
            Read::Ready(_) => true,
            Read::Unreadable(due, cause) => {
                self.events.content_unreadable(due.id, &cause);
                if Damaged::is_in(&cause) {
                    self.queue.set_aside(due, &cause.to_string()).await;
                    return true;
                }
                if Unreadable::is_in(&cause) {
                    self.defer(due, &cause.to_string()).await;
                    return true;
                }
                self.entries.release(due);
                false
            }
            Read::NotNow(due, cause) => {
                self.events.inbox_waits(&self.lane, &cause);
                self.entries.release(due);
                false
            }
        }
    }

    /// A message that can't be read just now, while others can: it waits, however long, and they go on.
    async fn defer(&self, due: Due, why: &str) {
        let now = self.clock.now();
        let next = now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
        let reply = Reply::new(451, Some(Enhanced(4, 3, 0)), why.to_owned());
        for recipient in &due.envelope.recipients {
            self.events.deferred(due.id, &self.lane, &recipient.address, &next.to_string(), &reply);
        }
        let fates = due.open.iter().map(|open| (open.number, Fate::Deferred(reply.clone()))).collect();
        let outcome = Outcome { fates, next_attempt: Some(next), ..Outcome::of(due.id, due.lane, now) };
        self.queue.settle(outcome).await;
    }

    fn room_for(&self, due: &Due) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(pieces(due).min(ROOM)).ok()
    }

    async fn read(&self, due: Due, room: OwnedSemaphorePermit, voice: &Voice) -> Read {
        let reading = self.reading.load_full();
        if let Err(cause) = &reading.secret {
            return Read::NotNow(due, cause.clone());
        }
        let octets = match self.queue.read(&due.content, 0, usize::MAX).await {
            Ok(octets) => octets,
            Err(cause) => return Read::Unreadable(due, cause),
        };
        let octets = without_our_trace(&octets, &due);
        let _ = voice.set(Words::of(&octets));
        let authentication = self.authenticate(&octets, &due, &reading).await;
        Read::Ready(Box::new(Ready { due, octets, authentication, reading, _room: Some(room) }))
    }

    /// Begins to understand a row of messages; what they mean is concluded when their turn comes.
    fn understand(self: &Arc<Self>, row: Vec<Ready>) -> Thinking {
        let (turn, comes) = oneshot::channel();
        let (this, runtime) = (Arc::clone(self), Handle::current());
        let messages = row.iter().map(|ready| ready.due.id).collect();
        Thinking {
            messages,
            turn,
            thought: tokio::task::spawn_blocking(move || this.think(&row, comes, &runtime)),
        }
    }

    /// Understands a row of messages, waits for its turn, then concludes what each means and settles it; false when the
    /// store can't be asked.
    fn think(&self, row: &[Ready], turn: oneshot::Receiver<()>, runtime: &Handle) -> bool {
        let now = self.clock.now();
        let subjects: Vec<Subject<'_>> = row.iter().map(Subject::of).collect();
        let inputs = row.iter().zip(&subjects).map(|(ready, subject)| subject.input(ready, now));
        let understood: Vec<_> =
            inputs.zip(row).map(|(input, ready)| self.understood(input?, ready)).collect();
        let _ = turn.blocking_recv();
        let mut goes_on = true;
        for (ready, understood) in row.iter().zip(understood) {
            goes_on =
                goes_on && runtime.block_on(self.settled(ready, self.concluded(understood, ready), now));
            if !goes_on {
                self.entries.release(ready.due.clone());
            }
        }
        goes_on
    }

    /// What a message says by itself; none when it can't be understood, for nothing is lost by our own mistakes.
    fn understood<'a>(
        &self,
        input: Interpret<'a>,
        ready: &Ready,
    ) -> Option<Result<Understood<'a>, QueueError>> {
        let understand = || self.queue.knowledge(ready.due.id).ask(|known| inbox::understand(&input, known));
        catch_unwind(AssertUnwindSafe(understand)).ok()
    }

    /// What it means beside those before it, with what is remembered of it.
    fn concluded(
        &self,
        understood: Option<Result<Understood<'_>, QueueError>>,
        ready: &Ready,
    ) -> Option<Result<(Memory, Interpretation), QueueError>> {
        let understood = match understood? {
            Ok(understood) => understood,
            Err(cause) => return Some(Err(cause)),
        };
        let conclude = || {
            let mut knowledge = self.queue.knowledge(ready.due.id);
            let read = knowledge.ask(|known| understood.conclude(known))?;
            let news = knowledge.news(&read)?;
            Ok((Memory::received(&read, news), read))
        };
        catch_unwind(AssertUnwindSafe(conclude)).ok()
    }

    /// Settles a message; false, with nothing done, when the store can't be asked.
    async fn settled(
        &self,
        ready: &Ready,
        concluded: Option<Result<(Memory, Interpretation), QueueError>>,
        now: Timestamp,
    ) -> bool {
        let due = &ready.due;
        let failed = |cause: &QueueError| {
            self.events.inbox_waits(&self.lane, &cause.to_string());
            false
        };
        let outcome = match concluded {
            Some(Ok((_, interpretation)))
                if may_wait(due, now)
                    && (interpretation.leans_on_dns || self.names_put_off(due, &ready.octets, now)) =>
            {
                self.put_off(due, &ready.octets, now);
                self.postponed(due, now)
            }
            Some(Ok((memory, interpretation))) => {
                let interpretation = match self.note(due, &ready.octets, interpretation).await {
                    Ok(interpretation) => interpretation,
                    Err(cause) => return failed(&cause),
                };
                let bounced = match self.bounced(&memory, ready.reading.told.as_ref(), now).await {
                    Ok(bounced) => bounced,
                    Err(cause) => return failed(&cause),
                };
                let remembered = Some(memory).filter(|memory| !memory.is_empty()).map(Arc::new);
                let mut outcome = Outcome { remembered, ..self.outcome(due, interpretation, now) };
                outcome.events.extend(bounced);
                outcome
            }
            Some(Err(cause)) => return failed(&cause),
            None => {
                self.events.not_interpreted(due.id);
                self.unread(ready, "it can't be interpreted; please report it".to_owned(), now)
            }
        };
        if outcome.next_attempt.is_none() {
            self.put_off.lock().remove(&due.id);
        }
        self.queue.settle(outcome).await;
        true
    }

    /// It waits for DNS, and so does what answers it.
    fn put_off(&self, due: &Due, octets: &[u8], now: Timestamp) {
        let mut put_off = self.put_off.lock();
        // One that an admin deleted isn't heard of again.
        put_off.retain(|id, _| now.duration_since(id.time()) < WAIT_FOR_DNS * 2);
        if put_off.len() < MOST_PUT_OFF {
            put_off.insert(due.id, Words::of(octets));
        }
    }

    /// Whether it answers another of its author that waits for DNS, and hasn't waited long for that: anybody may write anybody's
    /// Message-ID.
    fn names_put_off(&self, due: &Due, octets: &[u8], now: Timestamp) -> bool {
        let put_off = self.put_off.lock();
        let mut others = put_off.iter().filter(|(other, _)| **other < due.id).peekable();
        if others.peek().is_none() || now.duration_since(due.received_at) >= WAIT_FOR_OTHERS {
            return false;
        }
        let words = Words::of(octets);
        others.any(|(_, other)| {
            other.author == words.author && other.ids.iter().any(|id| words.names.contains(id))
        })
    }

    /// What `[events]` is told of mail that had been delivered and came back.
    async fn bounced(
        &self,
        memory: &Memory,
        told: Option<&LaneName>,
        now: Timestamp,
    ) -> Result<Vec<NewEvent>, QueueError> {
        let Some(endpoint) = told else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        for news in &memory.news {
            let (Some(number), Some(said)) = (news.recipient, &news.bounced) else { continue };
            if let Some(life) = self.queue.life(news.about).await? {
                events.extend(announce::bounced_later(endpoint, &life, number, said, now));
            }
        }
        Ok(events)
    }

    /// To be read again when DNS may be back.
    fn postponed(&self, due: &Due, now: Timestamp) -> Outcome {
        let wait = now.duration_since(due.received_at).max(FIRST_WAIT);
        let last = due.received_at.checked_add(WAIT_FOR_DNS).unwrap_or(now);
        let next = now.checked_add(wait).unwrap_or(now);
        // No longer than it may wait in all, but where nobody read for so long.
        let next = if last > now { next.min(last) } else { next };
        self.events.inbox_waits_for_dns(due.id, &self.lane, &next);
        let told = "DNS doesn't answer, and without it nobody can say which mailbox forwarded this, or what this \
                    answers; it is read again";
        let reply = Reply::new(451, Some(Enhanced(4, 4, 3)), told);
        let fates = due.open.iter().map(|open| (open.number, Fate::Deferred(reply.clone()))).collect();
        Outcome { fates, next_attempt: Some(next), ..outcome(due, now) }
    }

    /// Keeps what a message says of forwarding itself, before the message is settled; doing so again changes nothing.
    async fn note(
        &self,
        due: &Due,
        octets: &[u8],
        mut found: Interpretation,
    ) -> Result<Interpretation, QueueError> {
        if let Some(question) = &found.verification {
            let inbox = addresses::of_lane(&self.lane).unwrap_or_default();
            if !self.tools.confirmer.ask(due.id, inbox, question, due.received_at).await? {
                found.event = None;
            }
            return Ok(found);
        }
        let header = HeaderSection::of(octets);
        if let Some(token) = probe::token_in(&header)
            && let Some(sent) = self.queue.probe(&token).await?
            && let to = due.envelope.recipients.first().map(|recipient| recipient.address.as_str())
            && let answer = found.automatic.zip(found.report.as_ref())
            && let came = probe::came(to.unwrap_or_default(), &sent.mailbox, &found.identification, answer)
            && came != Came::Answer
        {
            let astray = match came {
                Came::Bounced(said) => Some(said),
                Came::Back(astray) => astray,
                Came::Answer => None,
            };
            let trace = probe::trace(&header);
            self.queue.probe_returned(&token, due.received_at, trace, astray.clone()).await?;
            // Ours, not a guest's. It shows that forwarding works, but makes nothing usual.
            (found.event, found.ends_here) = (None, None);
            if let Some(mailbox) = found.mailbox.as_ref().filter(|_| astray.is_none()) {
                let told = self.end_of_silence(mailbox, due).await?;
                if self.queue.was_heard(mailbox, due.received_at, told).await? {
                    self.events.mailbox_heard(mailbox);
                }
            }
            return Ok(found);
        }
        if let Some(mailbox) = &found.mailbox {
            let minute = due.received_at.as_second().div_euclid(60);
            let is_noted = self.noted.lock().get(mailbox) == Some(&minute);
            if !is_noted {
                let told = self.end_of_silence(mailbox, due).await?;
                if self.queue.arrived(mailbox, due.received_at, told).await? {
                    self.events.mailbox_heard(mailbox);
                }
                self.noted.lock().insert(mailbox.clone(), minute);
            }
        }
        Ok(found)
    }

    /// Who is told that a silent mailbox is heard again; empty when it isn't silent.
    async fn end_of_silence(&self, mailbox: &str, due: &Due) -> Result<Vec<NewEvent>, QueueError> {
        let Some(since) = self.queue.silent_since(mailbox).await? else { return Ok(Vec::new()) };
        let reading = self.reading.load_full();
        let known = reading.mailboxes.iter().find(|known| known.name == mailbox);
        let data = SilenceData {
            inbox: &reading.inbox.name,
            mailbox,
            address: known.map(|known| known.address.as_str()).unwrap_or_default(),
            state: SilenceState::Ended,
            last_received_at: event::shown(since),
            usual_interval_seconds: None,
            ended_at: Some(event::shown(due.received_at)),
        };
        let id = format!("{mailbox}-{}-ended", since.as_second());
        let (now, format) = (self.clock.now(), reading.inbox.format);
        let about = event::Notice { id: &id, hostname: &reading.hostname, now, format };
        // It is text and numbers, so there always is one.
        let made = event::notice(EventType::MailboxSilent, &data, &about).ok();
        let conversation = Some(silence::conversation(mailbox));
        Ok(made.map(|made| self.new_event(made, conversation)).into_iter().collect())
    }

    /// Whether DNS, which is away, isn't asked for a message: once, for what leans on the answer comes again.
    fn spares_dns(&self, due: &Due) -> bool {
        !is_tried(due) && self.outage.lock().lasts(Instant::now())
    }

    /// What the hop that reached us is worth.
    async fn authenticate(&self, octets: &Bytes, due: &Due, reading: &Arc<Reading>) -> Authentication {
        let authenticator = self.tools.authenticator.clone().filter(|_| !self.spares_dns(due));
        let is_asked = authenticator.is_some();
        let place = async || match &authenticator {
            Some(authenticator) => authenticator.place().await,
            None => None,
        };
        let check = async |place, patience| {
            let (message, asked_of, asks) = (octets.clone(), due.clone(), Arc::clone(reading));
            let asked = authenticator.clone().zip(place);
            let checking = Box::pin(async move {
                let hop = hop(&asked_of, &asks);
                match asked {
                    Some((authenticator, place)) => {
                        authenticator.check(place, &message, &hop, patience).await
                    }
                    None => Authentication::unasked(&message, &hop),
                }
            });
            authentication::aside(octets.len(), checking).await
        };
        let patience = if is_tried(due) { Patience::Full } else { Patience::Short };
        let own = place().await;
        let begun = Instant::now();
        let Some(mut checked) = check(own, patience(PASSED_AFTER)).await else {
            return Authentication::unlooked(&hop(due, reading));
        };
        if is_asked
            && checked.is_incomplete()
            && begun.elapsed() >= PASSED_AFTER
            && let Ok(_place) = self.waiting_room.try_acquire_many(pieces(due).min(WAITING_ROOM))
        {
            // What was answered is remembered.
            let again = check(place().await, Patience::Full(PATIENCE.saturating_sub(PASSED_AFTER))).await;
            checked = again.unwrap_or(checked);
        }
        if !is_asked {
            return checked;
        }
        let sender = due.envelope.sender.as_ref().map(crate::smtp::address::Address::as_str);
        let domain = sender.and_then(|sender| sender.rsplit_once('@')).map_or("", |(_, domain)| domain);
        if checked.spf.result != Verdict::Temperror {
            self.outage.lock().answered();
        } else if begun.elapsed() > SLOW
            && let Some(authenticator) = &self.tools.authenticator
            && self.outage.lock().is_suspected(domain, Instant::now())
        {
            let name = own_name(due, reading);
            let is_away = !authenticator.is_answered(&name).await;
            self.outage.lock().asked(is_away, Instant::now());
        }
        checked
    }

    /// What an interpretation comes to.
    fn outcome(&self, due: &Due, interpretation: Interpretation, now: Timestamp) -> Outcome {
        let Interpretation {
            event, mailbox, conversation, duplicate_of, verification, about, ends_here, ..
        } = interpretation;
        if let Some(about) = about.filter(|about| !about.is_believed) {
            self.events.bounce_disbelieved(due.id, about.id);
        }
        let conversation = conversation.map(|conversation| conversation.id.to_string());
        let is_message = verification.is_none() && duplicate_of.is_none();
        let is_held = mailbox.is_none() && event.is_some() && is_message;
        let told = match (&mailbox, &duplicate_of, &event) {
            (_, Some(first), _) => format!("a copy of {first}"),
            _ if ends_here == Some(EndsHere::OwnMail) => "our own mail came back".to_owned(),
            _ if ends_here == Some(EndsHere::Loop) => "a mail loop".to_owned(),
            (Some(mailbox), None, Some(event)) => format!("{} for mailbox {mailbox}", event.kind.as_str()),
            (None, None, Some(event)) => event.kind.as_str().to_owned(),
            (_, None, None) if verification.is_none() => "a probe that came back".to_owned(),
            (Some(mailbox), None, None) => format!("a provider's question for mailbox {mailbox}"),
            (None, None, None) => "a provider's question".to_owned(),
        };
        self.events.interpreted(due.id, &self.lane, &told);
        let events = event.into_iter().map(|event| self.new_event(event, conversation.clone())).collect();
        if is_held {
            let hold =
                "nobody can say which mailbox forwarded it; `waystation queue release --mailbox NAME` can";
            return Outcome { events, hold: Some(hold.into()), ..outcome(due, now) };
        }
        if ends_here == Some(EndsHere::Loop) && is_message {
            let hold = "it goes in a circle: it went through too many hands, or through ours too often; look where its \
                        mailbox forwards to, then delete it";
            return Outcome { hold: Some(hold.into()), ..outcome(due, now) };
        }
        let reply = Reply::new(250, Some(Enhanced(2, 0, 0)), told);
        let fates = due.open.iter().map(|open| (open.number, Fate::Delivered(reply.clone()))).collect();
        Outcome { fates, events, ..outcome(due, now) }
    }

    fn new_event(&self, event: Event, conversation: Option<String>) -> NewEvent {
        let endpoint = LaneName::new(addresses::of_lane(&self.lane).unwrap_or_default());
        confirm::kept(&endpoint, conversation, event)
    }
}

/// Whether DNS is away for everybody: then asking only costs time. Senders choose whose DNS is asked for them, so that
/// domains without an answer raise no more than a suspicion, however many: it takes a name of our own to confirm it.
#[derive(Debug, Default)]
struct Outage {
    /// The domain that had no answer last, and when.
    unanswered: Option<(String, Instant)>,
    /// When the own name was asked for last.
    asked: Option<Instant>,
    until: Option<Instant>,
}

impl Outage {
    fn lasts(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn answered(&mut self) {
        (self.unanswered, self.until) = (None, None);
    }

    /// Notes a domain without an answer; whether the own name is to be asked for, which somebody does then: the second
    /// domain in a row says so, every few seconds at most.
    fn is_suspected(&mut self, domain: &str, now: Instant) -> bool {
        let is_second = self
            .unanswered
            .as_ref()
            .is_some_and(|(other, at)| !other.eq_ignore_ascii_case(domain) && now.duration_since(*at) < REST);
        let is_known = self.asked.is_some_and(|asked| now.duration_since(asked) < KNOWN);
        self.unanswered = Some((domain.to_owned(), now));
        if is_second && !is_known {
            self.asked = Some(now);
        }
        is_second && !is_known
    }

    /// What came of asking.
    fn asked(&mut self, is_away: bool, now: Instant) {
        self.until = is_away.then_some(now + REST);
    }
}

/// Whether it was read before, and waited for DNS.
fn is_tried(due: &Due) -> bool {
    due.open.iter().any(|open| open.attempts > 0)
}

/// Whether it may wait for DNS: for so long, and some times whatever time went by while nobody read.
fn may_wait(due: &Due, now: Timestamp) -> bool {
    let is_new = due.open.iter().all(|open| open.attempts < LEAST_WAITS);
    is_new || now.duration_since(due.received_at) < WAIT_FOR_DNS
}

/// A name in the inbox's own domain that no cache can know.
fn own_name(due: &Due, reading: &Reading) -> String {
    let address = reading.inbox.address.as_str();
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    format!("{}.{}", due.id, dns_domain(domain))
}

/// The hop that a message reached us by.
fn hop<'a>(due: &'a Due, reading: &'a Reading) -> Hop<'a> {
    let sender = due.envelope.sender.as_ref().map(crate::smtp::address::Address::as_str);
    Hop { client: due.origin.client, helo: &due.origin.helo, sender, hostname: &reading.hostname }
}

fn outcome(due: &Due, now: Timestamp) -> Outcome {
    Outcome::of(due.id, due.lane.clone(), now)
}

/// What its content takes, in pieces of 64 KiB.
fn pieces(due: &Due) -> u32 {
    u32::try_from(due.size_bytes >> 16).unwrap_or(u32::MAX).saturating_add(1)
}

/// A message that went to others, too, begins with our own Received field; the mailbox's copy begins behind it.
fn without_our_trace(octets: &Bytes, due: &Due) -> Bytes {
    let header = HeaderSection::of(octets);
    let id = format!(" id {}", due.id);
    let ours = header.fields().next().filter(|field| field.name().eq_ignore_ascii_case(b"Received"));
    let ours = ours.filter(|field| memchr::memmem::find(field.octets(), id.as_bytes()).is_some());
    let length = ours.map_or(0, |field| field.octets().len());
    octets.slice(length..)
}

/// What the question about a message borrows from.
struct Subject<'r> {
    id: String,
    mailboxes: Vec<&'r Mailbox>,
    channels: Vec<&'r Channel>,
}

impl<'r> Subject<'r> {
    fn of(ready: &'r Ready) -> Self {
        let Reading { mailboxes, channels, .. } = &*ready.reading;
        let (mailboxes, channels) = (mailboxes.iter().collect(), channels.iter().collect());
        Self { id: ready.due.id.to_string(), mailboxes, channels }
    }

    /// None for a message without a recipient, or without a key to sign with: there is no such message here.
    fn input(&'r self, ready: &'r Ready, now: Timestamp) -> Option<Interpret<'r>> {
        let Ready { due, octets, authentication, reading, .. } = ready;
        let mut meta = due.notes.meta.iter();
        Some(Interpret {
            id: &self.id,
            new_conversation: ConversationId::from_bits(due.id.to_bits()),
            message: octets,
            envelope: Envelope {
                sender: due.envelope.sender.as_ref().map(crate::smtp::address::Address::as_str),
                recipient: due.envelope.recipients.first()?.address.as_str(),
                client: due.origin.client,
            },
            received_at: due.received_at,
            now,
            hostname: &reading.hostname,
            inbox: &reading.inbox,
            mailboxes: &self.mailboxes,
            assigned: meta.find(|(name, _)| name == MAILBOX).map(|(_, mailbox)| mailbox.as_str()),
            channels: &self.channels,
            authentication,
            token_keys: &reading.token_keys,
            secret: reading.secret.as_ref().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_follows_its_authors_however_he_is_written_and_what_it_answers() {
        let follows = |later: &str, earlier: &str| {
            let of = |fields: &str| Words::of(format!("{fields}\r\n\r\nHi\r\n").as_bytes());
            let (later, earlier) = (of(later), of(earlier));
            later.follows().any(|word| earlier.is().any(|one| one == word))
        };
        let first = "From: \"Ana\" <ana@guest.example>\r\nMessage-ID: <1@guest.example>";
        let luis = "From: Luis <luis@guest.example>";
        let long = format!("From: {}", "x".repeat(2 * AUTHOR));
        let cases: [(&str, &str, bool); 8] = [
            ("From: Ana@Guest.Example", first, true),
            ("From: =?utf-8?q?An=C3=A1?=\r\n <ana@guest.example>, luis@guest.example", first, true),
            (luis, first, false),
            (&format!("{luis}\r\nIn-Reply-To: <1@guest.example>"), first, true),
            (&format!("{luis}\r\nReferences: <0@guest.example> <1@guest.example>"), first, true),
            (&format!("{luis}\r\nIn-Reply-To: <2@guest.example>"), first, false),
            ("From: nobody", "From: nobody", true),
            (&long, &format!("{long}y"), false),
        ];
        for (later, earlier, expected) in cases {
            assert_eq!(follows(later, earlier), expected, "{later:.80}");
        }
    }

    #[test]
    fn domains_without_an_answer_are_an_outage_only_where_our_own_name_has_none_either() {
        let (start, mut outage) = (Instant::now(), Outage::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..5 {
            assert!(!outage.is_suspected("dead.example", at(second)), "one domain, however often");
        }
        assert!(outage.is_suspected("other.example", at(6)));
        assert!(!outage.is_suspected("dead.example", at(6)), "somebody asks");
        outage.asked(false, at(7));
        assert!(!outage.lasts(at(7)));
        assert!(!outage.is_suspected("other.example", at(8)), "just asked");
        assert!(outage.is_suspected("dead.example", at(16)));
        outage.asked(true, at(17));
        assert!(outage.lasts(at(18)) && !outage.lasts(at(47)));
        outage.answered();
        assert!(!outage.lasts(at(18)), "one answer shows that DNS is there");
        assert!(!outage.is_suspected("dead.example", at(30)));
        assert!(!outage.is_suspected("other.example", at(61)), "long ago");
    }
}
