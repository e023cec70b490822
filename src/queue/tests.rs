//! The queue as a whole: what is kept is claimed, what is settled is done, and what the disk does is survived.

use super::testing::{Hand, settings, submission};
use super::*;
use crate::message::envelope::Class;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

const START: i64 = 1_795_000_100;

fn reply(code: u16, text: &'static str) -> Reply {
    Reply {
        code,
        enhanced: Some(Enhanced(u8::try_from(code / 100).unwrap(), 0, 0)),
        lines: vec![text.into()],
    }
}

fn outcome(due: &Due, at: Timestamp, fates: Vec<(u32, Fate)>) -> Outcome {
    Outcome { fates, ..Outcome::of(due.id, due.lane.clone(), at) }
}

fn delivered(due: &Due, at: Timestamp) -> Outcome {
    let fates = due.open.iter().map(|open| (open.number, Fate::Delivered(reply(250, "ok")))).collect();
    outcome(due, at, fates)
}

async fn keep(queue: &Queue, submission: Submission, content: &[u8]) -> Result<Vec<Receipt>, KeepError> {
    let mut draft = queue.draft();
    draft.write(content).await?;
    queue.keep(draft, submission).await
}

/// Claims everything that is due.
async fn claim_all(queue: &Queue, lane: &str, hand: &Hand) -> Vec<Due> {
    let lane = queue.lane(&lane.into());
    let mut claimed = Vec::new();
    while lane.next_due().is_some_and(|due| due <= hand.now()) {
        claimed.extend(lane.claim(10_000, 10_000));
        tokio::task::yield_now().await;
    }
    lane.stand_down();
    claimed
}

/// Claims one message that is due.
async fn claim_one(queue: &Queue, lane: &str) -> Due {
    let lane = queue.lane(&lane.into());
    let nothing = lane.claim(0, 1);
    assert!(nothing.is_empty());
    lane.wait().await;
    lane.claim(1, 0).remove(0)
}

/// Claims what is due and within the limits.
async fn claim_some(queue: &Queue, lane: &str) -> Vec<Due> {
    let lane = queue.lane(&lane.into());
    // What is due is read, then claimed, each with a turn of another thread.
    let mut claimed = lane.claim(1_000, 1_000);
    for _ in 0..2 {
        while lane.is_reading() {
            tokio::task::yield_now().await;
        }
        queue.flush().await;
        claimed.extend(lane.claim(1_000, 1_000));
    }
    lane.stand_down();
    claimed
}

async fn states(queue: &Queue) -> Vec<(QueueId, Vec<(State, u32)>)> {
    let entries = queue.query(Filter::default(), 10_000, None).await.unwrap();
    let recipients = |entry: &Entry| entry.recipients.iter().map(|one| (one.state, one.attempts)).collect();
    entries.iter().map(|entry| (entry.id, recipients(entry))).collect()
}

fn content_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("content")).unwrap().count()
}

#[tokio::test]
async fn a_kept_message_is_claimed_read_settled_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let receipts = keep(&queue, submission("shop", &["a@b.example"]), b"hello").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    assert_eq!((due.id, due.size_bytes, due.maybe_duplicate), (receipts[0].id(), 5, false));
    assert!(matches!(due.content, Content::Memory(_)));
    assert_eq!(&queue.read(&due.content, 0, 100).await.unwrap()[..], b"hello");
    queue.settle(delivered(&due, hand.now())).await;
    queue.flush().await;
    let life = queue.life(due.id).await.unwrap().unwrap();
    assert_eq!(life.entry.recipients[0].state, State::Delivered);
    assert_eq!(life.entry.recipients[0].reply.as_deref(), Some("250 2.0.0 ok"));
    assert_eq!((life.done_at, life.happenings), (Some(hand.now()), vec![]));
    assert_eq!(queue.totals()[0].queued, 0);
    queue.close().await;
}

#[tokio::test]
async fn after_a_restart_what_is_open_is_due_and_what_is_done_stays_done() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    for content in ["one", "two", "three"] {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), content.as_bytes()).await.unwrap();
    }
    let claimed = claim_one(&queue, "shop").await;
    queue.settle(delivered(&claimed, hand.now())).await;
    queue.close().await;
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    assert!(!queue.was_unclean());
    let mut contents = Vec::new();
    for due in claim_all(&queue, "shop", &hand).await {
        contents.push(queue.read(&due.content, 0, 100).await.unwrap());
        queue.settle(delivered(&due, hand.now())).await;
    }
    assert_eq!(contents, ["two", "three"]);
    queue.close().await;
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    queue.flush().await;
    assert_eq!(content_files(folder.path()), 0);
    assert_eq!(states(&queue).await.len(), 3);
}

#[tokio::test]
async fn each_recipient_has_a_state_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ =
        keep(&queue, submission("shop", &["a@b.example", "b@b.example", "c@b.example"]), b"x").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let fates = vec![
        (0, Fate::Delivered(reply(250, "ok"))),
        (1, Fate::Deferred(reply(451, "later"))),
        (2, Fate::Failed(reply(550, "never"))),
    ];
    let later = hand.now() + jiff::SignedDuration::from_secs(60);
    queue.settle(Outcome { next_attempt: Some(later), ..outcome(&due, hand.now(), fates) }).await;
    queue.flush().await;
    assert_eq!(
        states(&queue).await,
        [(due.id, vec![(State::Delivered, 1), (State::Deferred, 1), (State::Failed, 1)])]
    );
    assert_eq!(queue.lane(&"shop".into()).next_due(), Some(later));
    assert_eq!(claim_all(&queue, "shop", &hand).await.len(), 0);
    hand.turn(61);
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let tried_at = Timestamp::from_second(START).ok();
    assert_eq!(due.open, [Open { number: 1, attempts: 1, tried_at, waits_until: None }]);
    assert_eq!(due.envelope.recipients[0].address.as_str(), "b@b.example");
    let totals = queue.totals().remove(0);
    assert_eq!((totals.queued, totals.deferred, totals.in_flight), (0, 1, 1));
    queue.settle(delivered(&due, hand.now())).await;
    queue.flush().await;
    assert_eq!(queue.totals()[0].deferred, 0);
}

#[tokio::test]
async fn who_was_tried_waits_until_an_operator_wants_it_tried() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example", "c@d.example"]), b"x").await.unwrap();
    let waits = async || {
        let due = claim_all(&queue, "shop", &hand).await.remove(0);
        let wait = |open: &Open| open.waits_until.map(|until| until.as_second() - START);
        let waits = due.open.iter().map(wait).collect::<Vec<_>>();
        (due, waits)
    };
    let defer = async |due: &Due, number, wait: i64| {
        let deferred_until = Some(hand.now() + jiff::SignedDuration::from_secs(wait));
        let fates = vec![(number, Fate::Deferred(reply(451, "later")))];
        queue.settle(Outcome { deferred_until, ..outcome(due, hand.now(), fates) }).await;
        queue.flush().await;
    };
    let (due, _) = waits().await;
    defer(&due, 0, 60).await;
    let (due, seen) = waits().await;
    assert_eq!(seen, [Some(60), None], "it is due for the other one");
    assert_eq!(due.open[0].tried_at.map(Timestamp::as_second), Some(START));
    queue.lane(&"shop".into()).release(due);
    hand.turn(1);
    assert_eq!(queue.adjust(Filter::default(), Adjust::Retry).await.unwrap().count, 1);
    let (due, seen) = waits().await;
    assert_eq!(seen, [None, None]);
    hand.turn(1);
    defer(&due, 1, 60).await;
    let (due, seen) = waits().await;
    assert_eq!(seen, [None, Some(62)]);
    // Another lane doesn't end a wait, unless an operator wanted it there.
    queue.divert(due, "other".into(), "from shop to other".into()).await;
    queue.flush().await;
    let due = claim_all(&queue, "other", &hand).await.remove(0);
    assert_eq!(due.open[1].waits_until.map(|until| until.as_second() - START), Some(62));
    queue.lane(&"other".into()).release(due);
    assert_eq!(queue.adjust(Filter::default(), Adjust::Reroute("shop".into())).await.unwrap().count, 1);
    assert_eq!(waits().await.1, [None, None]);
}

#[tokio::test]
async fn what_a_route_drops_has_ended_when_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let mut two = submission("shop", &["a@b.example", "b@b.example"]);
    two.parts[0].recipients = vec![0];
    two.parts.push(Part { held: true, discarded: true, recipients: vec![1], ..two.parts[0].clone() });
    let receipts = keep(&queue, two, b"shared").await.unwrap();
    let [stays, gone] = [0, 1].map(|at: usize| receipts[at].id());
    assert_eq!(
        states(&queue).await,
        [(stays, vec![(State::Queued, 0)]), (gone, vec![(State::Discarded, 0)])]
    );
    let life = queue.life(gone).await.unwrap().unwrap();
    assert!(life.happenings.is_empty() && life.done_at.is_some(), "{life:?}");
    let totals = queue.totals().remove(0);
    assert_eq!((totals.queued, totals.held), (1, 0));
    let due = claim_one(&queue, "shop").await;
    queue.settle(delivered(&due, hand.now())).await;
    queue.close().await;
    Queue::open(settings(folder.path()), hand.clock()).unwrap().close().await;
    let content = std::fs::read_dir(folder.path().join("content")).unwrap().count();
    assert_eq!(content, 0, "nothing keeps the file");
}

#[tokio::test]
async fn parts_share_content_and_leave_by_their_own_lanes() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let mut two = submission("shop", &["a@b.example", "b@b.example"]);
    two.parts[0].recipients = vec![1];
    two.parts.push(Part { lane: "sol".into(), recipients: vec![0], ..two.parts[0].clone() });
    let receipts = keep(&queue, two, b"shared").await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.lane().as_str()).collect::<Vec<_>>(), ["shop", "sol"]);
    for (lane, address, number) in [("shop", "b@b.example", 1), ("sol", "a@b.example", 0)] {
        let due = claim_all(&queue, lane, &hand).await.remove(0);
        assert_eq!(due.envelope.recipients.len(), 1);
        assert_eq!((due.envelope.recipients[0].address.as_str(), due.open[0].number), (address, number));
        assert_eq!(&queue.read(&due.content, 0, 100).await.unwrap()[..], b"shared");
        queue.settle(delivered(&due, hand.now())).await;
    }
    queue.flush().await;
    assert!(states(&queue).await.iter().all(|(_, recipients)| recipients == &[(State::Delivered, 1)]));
}

#[tokio::test]
async fn a_large_message_is_streamed_to_a_file_of_its_own_and_the_file_goes_when_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let mut draft = queue.draft();
    for piece in 0..100_u8 {
        draft.write(&[piece; 10_000]).await.unwrap();
    }
    let _ = queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let mut read = Vec::new();
    while read.len() < 1_000_000 {
        read.extend(queue.read(&due.content, read.len() as u64, 64 << 10).await.unwrap());
    }
    assert!(read.chunks(10_000).zip(0..).all(|(chunk, piece)| chunk == [piece; 10_000]));
    queue.settle(delivered(&due, hand.now())).await;
    queue.flush().await;
    assert_eq!(content_files(folder.path()), 0);
}

#[tokio::test]
async fn a_bounce_is_kept_with_the_outcome_that_caused_it() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let fates = vec![(0, Fate::Failed(reply(550, "never")))];
    let notice = Notice { submission: submission("sol", &["from@a.example"]), octets: "bounce".into() };
    queue.settle(Outcome { notice: Some(notice), ..outcome(&due, hand.now(), fates) }).await;
    queue.flush().await;
    let bounce = claim_all(&queue, "sol", &hand).await.remove(0);
    assert_eq!(&queue.read(&bounce.content, 0, 100).await.unwrap()[..], b"bounce");
    assert_eq!(queue.life(due.id).await.unwrap().unwrap().happenings[0].kind, Kind::Noticed);
}

#[tokio::test]
async fn an_operator_holds_releases_reroutes_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    let all = Filter::default;
    assert_eq!(queue.adjust(all(), Adjust::Hold).await.unwrap().count, 1);
    assert_eq!(claim_all(&queue, "shop", &hand).await.len(), 0);
    assert_eq!((queue.totals()[0].queued, queue.totals()[0].held), (0, 1));
    assert_eq!(queue.adjust(all(), Adjust::Hold).await.unwrap().count, 0);
    assert_eq!(queue.adjust(all(), Adjust::Release).await.unwrap().count, 1);
    assert_eq!(queue.adjust(all(), Adjust::Reroute("sol".into())).await.unwrap().count, 1);
    assert_eq!(claim_all(&queue, "shop", &hand).await.len(), 0);
    let due = claim_all(&queue, "sol", &hand).await.remove(0);
    queue.lane(&"sol".into()).release(due);
    assert_eq!(queue.adjust(all(), Adjust::Delete).await.unwrap().count, 1);
    assert_eq!(claim_all(&queue, "sol", &hand).await.len(), 0);
    let entries = states(&queue).await;
    assert_eq!(entries[0].1, [(State::Deleted, 0)]);
    let kinds: Vec<Kind> =
        queue.life(entries[0].0).await.unwrap().unwrap().happenings.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Held, Kind::Released, Kind::Deleted, Kind::Rerouted]);
}

#[tokio::test]
async fn a_change_is_for_the_open_recipients_that_its_filter_means() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ =
        keep(&queue, submission("shop", &["a@b.example", "c@d.example", "e@f.example"]), b"x").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let fates = vec![(0, Fate::Delivered(reply(250, "ok"))), (1, Fate::Deferred(reply(451, "later")))];
    queue.settle(Outcome { next_attempt: Some(hand.now()), ..outcome(&due, hand.now(), fates) }).await;
    queue.flush().await;

    let to = |address: &str| Filter { recipient: Some(address.into()), ..Filter::default() };
    let done = Filter { states: vec![State::Delivered], ..Filter::default() };
    for (filter, action) in [
        (to("a@b.example"), Adjust::Delete),
        (done.clone(), Adjust::Delete),
        (done, Adjust::Hold),
        (to("a@b.example"), Adjust::Reroute("sol".into())),
        (Filter { states: vec![State::Queued], ..to("C@d.example") }, Adjust::Delete),
    ] {
        assert_eq!(queue.adjust(filter, action).await.unwrap(), Adjusted::default());
    }
    let deleted = queue.adjust(to("C@D.example"), Adjust::Delete).await.unwrap();
    assert_eq!((deleted.count, deleted.others, deleted.in_flight), (1, 1, 0));
    let stand = |queue: &Queue| {
        let queue = queue.clone();
        async move { states(&queue).await[0].1.clone() }
    };
    assert_eq!(stand(&queue).await, [(State::Delivered, 1), (State::Deleted, 1), (State::Queued, 0)]);
    assert_eq!((queue.totals()[0].queued, queue.totals()[0].deferred), (0, 1));

    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    assert_eq!(due.open.iter().map(|open| open.number).collect::<Vec<_>>(), [2]);
    let deleted = queue.adjust(to("e@*"), Adjust::Delete).await.unwrap();
    assert_eq!((deleted.count, deleted.others, deleted.in_flight), (1, 0, 1));
    queue.settle(delivered(&due, hand.now())).await;
    queue.flush().await;
    assert_eq!(stand(&queue).await, [(State::Delivered, 1), (State::Deleted, 1), (State::Delivered, 1)]);
    assert_eq!(queue.totals()[0].deferred, 0);
}

#[tokio::test]
async fn what_is_deleted_while_being_delivered_is_told_as_delivered_when_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    for _ in 0..2 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    let claimed = claim_all(&queue, "shop", &hand).await;
    let deleted = queue.adjust(Filter::default(), Adjust::Delete).await.unwrap();
    assert_eq!((deleted.count, deleted.in_flight), (2, 2));
    queue.settle(delivered(&claimed[0], hand.now())).await;
    let fates = vec![(0, Fate::Deferred(reply(451, "later")))];
    queue.settle(Outcome { next_attempt: Some(hand.now()), ..outcome(&claimed[1], hand.now(), fates) }).await;
    queue.flush().await;
    let states: Vec<_> = states(&queue).await.into_iter().map(|(_, recipients)| recipients[0].0).collect();
    assert_eq!(states, [State::Delivered, State::Deleted]);
    assert_eq!(claim_all(&queue, "shop", &hand).await.len(), 0);
}

#[tokio::test]
async fn a_crash_loses_nothing_kept_and_marks_what_was_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    for content in ["one", "two"] {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), content.as_bytes()).await.unwrap();
    }
    let on_its_way = claim_one(&queue, "shop").await;
    // The next commit records the claim.
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"three").await.unwrap();
    drop(queue);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    assert!(queue.was_unclean());
    let claimed = claim_all(&queue, "shop", &hand).await;
    let marks: Vec<bool> = claimed.iter().map(|due| due.maybe_duplicate).collect();
    assert_eq!(marks, [true, false, false]);
    let life = queue.life(on_its_way.id).await.unwrap().unwrap();
    assert_eq!(life.happenings[0].kind, Kind::MaybeDuplicate);
}

#[tokio::test]
async fn damaged_content_is_set_aside_and_the_rest_flows() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let large = vec![b'x'; 300_000];
    let _ = keep(&queue, submission("shop", &["a@b.example"]), &large).await.unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"small").await.unwrap();
    let claimed = claim_all(&queue, "shop", &hand).await;
    std::fs::remove_file(folder.path().join("content/00000001.seg")).unwrap();
    let error = queue.read(&claimed[0].content, 0, 100).await.unwrap_err();
    assert!(Damaged::is_in(&error));
    queue.set_aside(claimed[0].clone(), &error.to_string()).await;
    queue.settle(delivered(&claimed[1], hand.now())).await;
    queue.flush().await;
    let states: Vec<_> = states(&queue).await.into_iter().map(|(_, recipients)| recipients[0].0).collect();
    assert_eq!(states, [State::Held, State::Delivered]);
    assert!(queue.life(claimed[0].id).await.unwrap().unwrap().happenings[0].detail.contains("missing"));
}

#[tokio::test]
async fn a_backlog_larger_than_the_window_is_claimed_whole_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let mut keeps = tokio::task::JoinSet::new();
    for _ in 0..2_500 {
        let queue = queue.clone();
        keeps.spawn(async move { keep(&queue, submission("shop", &["a@b.example"]), b"x").await });
    }
    let mut kept: Vec<QueueId> =
        keeps.join_all().await.into_iter().map(|kept| kept.unwrap()[0].id()).collect();
    kept.sort_unstable();
    let next_due = || queue.totals()[0].next_due;
    assert!(next_due().is_some());
    assert_eq!(queue.adjust(Filter::default(), Adjust::Hold).await.unwrap().count, 2_500);
    assert_eq!(next_due(), None, "nothing waits, whatever the window remembers of the disk");
    assert_eq!(queue.adjust(Filter::default(), Adjust::Release).await.unwrap().count, 2_500);
    let mut claimed: Vec<QueueId> = claim_all(&queue, "shop", &hand).await.iter().map(|due| due.id).collect();
    claimed.sort_unstable();
    assert!(claimed == kept, "{} of {}", claimed.len(), kept.len());
}

#[tokio::test]
async fn when_the_clock_is_set_back_waits_are_kept_and_wishes_too() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"deferred").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    let later = hand.now() + jiff::SignedDuration::from_secs(60);
    let fates = vec![(0, Fate::Deferred(reply(451, "later")))];
    queue.settle(Outcome { next_attempt: Some(later), ..outcome(&due, hand.now(), fates) }).await;
    let mut wish = submission("wish", &["a@b.example"]);
    wish.parts[0].due = Timestamp::from_second(START + 600).unwrap();
    let _ = keep(&queue, wish, b"wished for").await.unwrap();
    queue.flush().await;
    hand.turn(-100_000);
    queue.flush().await;
    assert_eq!(claim_all(&queue, "wish", &hand).await.len(), 0);
    hand.turn(61);
    assert_eq!(claim_all(&queue, "shop", &hand).await.len(), 1);
    assert_eq!(claim_all(&queue, "wish", &hand).await.len(), 0);
}

#[tokio::test]
async fn finished_messages_leave_the_journal_in_time_and_waiting_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    for _ in 0..2 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    let claimed = claim_all(&queue, "shop", &hand).await;
    queue.settle(delivered(&claimed[0], hand.now())).await;
    queue.flush().await;
    hand.turn(31 * 24 * 3_600);
    queue.change(settings(folder.path()));
    // One turn prunes behind its answers, the next one's answer comes after that.
    queue.flush().await;
    queue.flush().await;
    let left: Vec<QueueId> = states(&queue).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [claimed[1].id]);
}

/// A disk that fails on demand.
#[derive(Debug, Default)]
struct FailingDisk {
    /// Syncs that fail from now on.
    syncs: AtomicUsize,
    /// Writes that find the disk full from now on.
    full: AtomicUsize,
    /// Octets that one write takes at most; 0 for all.
    at_most: AtomicUsize,
}

fn spend(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Disk for FailingDisk {
    fn write_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<usize> {
        if spend(&self.full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at_most = match self.at_most.load(Ordering::SeqCst) {
            0 => octets.len(),
            at_most => at_most.min(octets.len()),
        };
        SystemDisk.write_at(file, &octets[..at_most], offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if spend(&self.syncs) { Err(io::Error::from_raw_os_error(5)) } else { SystemDisk.sync(file) }
    }
}

#[tokio::test]
async fn a_failed_sync_refuses_the_batch_and_that_file_is_never_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let disk = Arc::new(FailingDisk::default());
    let queue =
        Queue::open_on(settings(folder.path()), hand.clock(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"before").await.unwrap();
    disk.syncs.store(1, Ordering::SeqCst);
    let refused = keep(&queue, submission("shop", &["a@b.example"]), b"lost ground").await;
    assert!(matches!(refused, Err(KeepError::Io { .. })), "{refused:?}");
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"after").await.unwrap();
    drop(queue);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let claimed = claim_all(&queue, "shop", &hand).await;
    let places: Vec<u64> = claimed
        .iter()
        .map(|due| match due.content {
            Content::Stored(_, location) => location.segment,
            Content::Memory(_) => 0,
        })
        .collect();
    assert_eq!(places, [1, 2]);
    for (due, content) in claimed.iter().zip(["before", "after"]) {
        assert_eq!(queue.read(&due.content, 0, 100).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_mail_and_recovers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let disk = Arc::new(FailingDisk::default());
    let queue =
        Queue::open_on(settings(folder.path()), hand.clock(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    for large in [false, true] {
        let content = vec![b'x'; if large { 300_000 } else { 3 }];
        disk.full.store(1, Ordering::SeqCst);
        let refused = keep(&queue, submission("shop", &["a@b.example"]), &content).await;
        assert!(matches!(refused, Err(KeepError::DiskFull)), "{refused:?}");
        assert_eq!(content_files(folder.path()), usize::from(large));
        assert!(queue.found_full() && queue.room(0).is_ok(), "whatever the free space says");
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"again").await.unwrap();
        assert!(!queue.found_full());
    }
    let claimed = claim_all(&queue, "shop", &hand).await;
    assert_eq!(claimed.len(), 2);
}

#[tokio::test]
async fn short_writes_are_written_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let disk = Arc::new(FailingDisk::default());
    disk.at_most.store(7, Ordering::SeqCst);
    let queue = Queue::open_on(settings(folder.path()), hand.clock(), disk).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), &[b'x'; 1_000]).await.unwrap();
    drop(queue);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    assert_eq!(queue.read(&due.content, 0, 2_000).await.unwrap(), [b'x'; 1_000][..]);
}

#[tokio::test]
async fn an_outcome_whose_bounce_found_a_full_disk_is_kept_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let disk = Arc::new(FailingDisk::default());
    let queue =
        Queue::open_on(settings(folder.path()), hand.clock(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    let due = claim_all(&queue, "shop", &hand).await.remove(0);
    disk.full.store(1, Ordering::SeqCst);
    let fates = vec![(0, Fate::Failed(reply(550, "never")))];
    let notice = Notice { submission: submission("sol", &["from@a.example"]), octets: "bounce".into() };
    queue.settle(Outcome { notice: Some(notice), ..outcome(&due, hand.now(), fates) }).await;
    queue.flush().await;
    assert_eq!(claim_all(&queue, "sol", &hand).await.len(), 1);
    assert_eq!(states(&queue).await[0].1, [(State::Failed, 1)]);
}

type Spoil = fn(&mut Vec<u8>);

#[test]
fn an_index_that_is_not_ours_or_newer_is_refused_untouched() {
    let newer: Spoil = |octets: &mut Vec<u8>| octets[63] = 99;
    let foreign: Spoil = |octets: &mut Vec<u8>| octets[68] = 0;
    let garbage: Spoil = |octets: &mut Vec<u8>| octets.fill(b'x');
    let spoils: [(Spoil, &str); 3] =
        [(newer, "newer waystation"), (foreign, "salvage"), (garbage, "salvage")];
    for (spoil, words) in spoils {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("queue.db");
        drop(index::open(&index).unwrap());
        let mut octets = std::fs::read(&index).unwrap();
        spoil(&mut octets);
        std::fs::write(&index, &octets).unwrap();
        let error = Queue::open(settings(folder.path()), Hand::at(START).clock()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(std::fs::read(&index).unwrap(), octets);
    }
}

#[tokio::test]
async fn a_folder_behind_a_link_is_opened_but_an_index_that_is_a_link_is_not() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("private")).unwrap();
    let state = home.path().join("link");
    std::os::unix::fs::symlink("private", &state).unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(&state), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    assert_eq!(states(&queue).await.len(), 1);
    queue.close().await;
    super::salvage(&state, Unknown::Hold, &[], &hand.clock()).unwrap();

    let index = state.join("queue.db");
    std::fs::rename(&index, state.join("elsewhere.db")).unwrap();
    std::os::unix::fs::symlink("elsewhere.db", &index).unwrap();
    let error = Queue::open(settings(&state), hand.clock()).unwrap_err();
    assert!(matches!(error, QueueError::Kind { wanted: "regular file", .. }), "{error}");
}

#[tokio::test]
async fn content_without_an_index_is_never_taken_for_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    queue.close().await;
    std::fs::remove_file(folder.path().join("queue.db")).unwrap();
    let error = Queue::open(settings(folder.path()), hand.clock()).unwrap_err();
    assert!(matches!(error, QueueError::IndexMissing { .. }), "{error}");
    assert_eq!(content_files(folder.path()), 1);
}

#[tokio::test]
async fn classes_are_claimed_by_urgency() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    for class in [Class::Bulk, Class::Normal, Class::Priority] {
        let mut submission = submission("shop", &["a@b.example"]);
        submission.parts[0].class = class;
        let _ = keep(&queue, submission, b"x").await.unwrap();
    }
    let classes: Vec<Class> = claim_all(&queue, "shop", &hand).await.iter().map(|due| due.class).collect();
    assert_eq!(classes, [Class::Priority, Class::Normal, Class::Bulk]);
}

/// Rules of so many recipients a minute.
fn a_minute(most: u64) -> Vec<limits::Rule> {
    limits::Limits { per_minute: Some(most), ..limits::Limits::default() }.rules()
}

/// A queue whose lane `shop` lets so many recipients go in a minute.
fn limited(folder: &Path, hand: &Hand, most: u64) -> Queue {
    let queue = Queue::open(settings(folder), hand.clock()).unwrap();
    queue.lane(&"shop".into()).limit(a_minute(most));
    queue
}

#[tokio::test]
async fn a_limit_holds_over_a_restart_and_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let open = || limited(folder.path(), &hand, 3);
    let queue = open();
    for _ in 0..6 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    let one = claim_one(&queue, "shop").await;
    queue.settle(delivered(&one, hand.now())).await;
    queue.close().await;
    let queue = open();
    hand.turn(30);
    let two = claim_some(&queue, "shop").await;
    assert_eq!(two.len(), 2);
    queue.settle(delivered(&two[0], hand.now())).await;
    queue.flush().await;
    assert_eq!(claim_some(&queue, "shop").await.len(), 0, "one sent, one sent, one in flight");
    drop(queue);
    // Of the one in flight nobody knows whether it was taken.
    let queue = open();
    assert_eq!(claim_some(&queue, "shop").await.len(), 0);
    hand.turn(31);
    let third = claim_some(&queue, "shop").await;
    assert_eq!(third.len(), 1);
    assert!(third[0].maybe_duplicate);
    hand.turn(60);
    assert_eq!(claim_some(&queue, "shop").await.len(), 2);
}

#[tokio::test]
async fn what_is_sent_past_the_queue_counts_from_its_beginning_until_a_window_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let open = || limited(folder.path(), &hand, 2);
    let queue = open();
    for _ in 0..4 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    assert!(queue.charge(&"shop".into()).await.unwrap());
    hand.turn(90);
    assert_eq!(claim_some(&queue, "shop").await.len(), 1, "the letter is still on its way");
    queue.landed("shop".into());
    queue.flush().await;
    hand.turn(59);
    assert_eq!(claim_some(&queue, "shop").await.len(), 0, "it was taken within this minute");
    assert!(!queue.charge(&"shop".into()).await.unwrap());
    hand.turn(2);
    assert_eq!(claim_some(&queue, "shop").await.len(), 1);
    queue.close().await;

    // One that nobody saw the end of counts from its beginning.
    let queue = open();
    hand.turn(3600);
    assert!(queue.charge(&"shop".into()).await.unwrap());
    queue.close().await;
    let queue = open();
    assert_eq!(claim_some(&queue, "shop").await.len(), 1);
}

#[tokio::test]
async fn what_the_smarthost_refused_uses_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    queue.lane(&"shop".into()).limit(a_minute(2));
    for _ in 0..4 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    let two = claim_some(&queue, "shop").await;
    queue.settle(outcome(&two[0], hand.now(), vec![(0, Fate::Failed(reply(550, "no")))])).await;
    let unsure = Outcome {
        maybe_duplicate: true,
        next_attempt: Some(hand.now() + jiff::SignedDuration::from_secs(600)),
        ..outcome(&two[1], hand.now(), vec![(0, Fate::Deferred(reply(451, "gone")))])
    };
    queue.settle(unsure).await;
    queue.flush().await;
    let one = claim_some(&queue, "shop").await;
    assert_eq!(one.len(), 1);
    queue.lane(&"shop".into()).release(one[0].clone());
    assert_eq!(claim_some(&queue, "shop").await.len(), 1);
}

#[tokio::test]
async fn a_message_with_more_recipients_than_a_limit_goes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    queue.lane(&"shop".into()).limit(a_minute(2));
    let addresses = ["a@b.example", "b@b.example", "c@b.example", "d@b.example", "e@b.example"];
    let _ = keep(&queue, submission("shop", &addresses), b"x").await.unwrap();
    let mut parts = Vec::new();
    for _ in 0..3 {
        let due = claim_some(&queue, "shop").await.remove(0);
        parts.push(
            due.envelope.recipients.iter().map(|one| one.address.as_str().to_owned()).collect::<Vec<_>>(),
        );
        queue.settle(delivered(&due, hand.now())).await;
        queue.flush().await;
        assert_eq!(claim_some(&queue, "shop").await.len(), 0);
        hand.turn(61);
    }
    assert_eq!(parts, [&addresses[..2], &addresses[2..4], &addresses[4..]]);
    assert_eq!(states(&queue).await[0].1, [(State::Delivered, 1); 5]);
}

#[tokio::test]
async fn priority_goes_first_and_has_its_reserve_when_the_day_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let limits = limits::Limits { per_day: Some(10), priority_reserve: 2, ..limits::Limits::default() };
    queue.lane(&"shop".into()).limit(limits.rules());
    let of_class = |class| {
        let mut submission = submission("shop", &["a@b.example"]);
        submission.parts[0].class = class;
        submission
    };
    for _ in 0..30 {
        let _ = keep(&queue, of_class(Class::Bulk), b"x").await.unwrap();
    }
    for due in claim_some(&queue, "shop").await {
        queue.settle(delivered(&due, hand.now())).await;
    }
    queue.flush().await;
    assert_eq!(claim_some(&queue, "shop").await.len(), 0);
    let standing = &queue.lane(&"shop".into()).standings()[0];
    assert_eq!((standing.1.used, standing.1.left, standing.1.left_for_priority), (8, 0, 2));
    let receipt = keep(&queue, of_class(Class::Priority), b"reset").await.unwrap().remove(0);
    assert_eq!(receipt.due(), Timestamp::from_second(1_795_000_000).unwrap(), "at once");
    let due = claim_some(&queue, "shop").await;
    assert_eq!(due.iter().map(|due| due.class).collect::<Vec<_>>(), [Class::Priority]);
    // The next bulk one goes when the first eight are a day old, and those behind it eight a day.
    let receipt = keep(&queue, of_class(Class::Bulk), b"x").await.unwrap().remove(0);
    assert_eq!(receipt.due().duration_since(hand.now()).as_hours(), 24 * 3);
}

#[tokio::test]
async fn mail_that_is_not_due_stands_in_front_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let open = || limited(folder.path(), &hand, 2);
    let queue = open();
    let at = |seconds: i64| {
        let mut submission = submission("shop", &["a@b.example"]);
        submission.parts[0].due = Timestamp::from_second(START + seconds).unwrap();
        submission
    };
    let tried = keep(&queue, at(0), b"x").await.unwrap().remove(0);
    let due = claim_one(&queue, "shop").await;
    assert_eq!(due.id, tried.id());
    let later = Outcome {
        next_attempt: Some(hand.now() + jiff::SignedDuration::from_secs(7_200)),
        ..outcome(&due, hand.now(), vec![(0, Fate::Deferred(reply(451, "later")))])
    };
    queue.settle(later).await;
    for _ in 0..10 {
        let _ = keep(&queue, at(3_600), b"x").await.unwrap();
    }
    let waits = async |queue: &Queue| {
        let receipt = keep(queue, at(0), b"x").await.unwrap().remove(0);
        receipt.due().duration_since(hand.now()).as_secs()
    };
    assert_eq!([waits(&queue).await, waits(&queue).await, waits(&queue).await], [0, 0, 60]);
    queue.close().await;
    let queue = open();
    assert_eq!([waits(&queue).await, waits(&queue).await], [60, 120], "a restart knows it, too");
    hand.turn(7_200);
    assert_eq!(queue.waiting_up_to(&"shop".into(), Class::Bulk).all.messages, 16, "now it is due");
}

#[tokio::test]
async fn what_is_due_later_is_told_when_the_limits_will_let_it_go() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let lane = LaneName::from("shop");
    queue.lane(&lane).limit(a_minute(2));
    let time = |seconds: i64| Timestamp::from_second(START + seconds).unwrap();
    let schedule = async |seconds: i64, class: Class| {
        let mut submission = submission("shop", &["a@b.example"]);
        (submission.parts[0].due, submission.parts[0].class) = (time(seconds), class);
        let id = keep(&queue, submission, b"x").await.unwrap()[0].id();
        let told = queue.forecast_later(&lane, class, time(seconds), Units::default());
        ((id, class, time(seconds)), told.map(|at| at.duration_since(hand.now()).as_secs()))
    };
    let listed = async |messages: &[(QueueId, Class, Timestamp)]| {
        let told = queue.forecasts_later(&lane, messages.to_vec()).await.unwrap();
        let told =
            messages.iter().map(|(id, ..)| told.get(id).map(|at| at.duration_since(hand.now()).as_secs()));
        told.collect::<Vec<_>>()
    };
    // Two a minute, and class priority first; an hour later each minute ends with its ten seconds.
    let (mut kept, mut told) = (Vec::new(), Vec::new());
    for class in [Class::Bulk, Class::Normal, Class::Normal, Class::Normal, Class::Bulk] {
        let (message, at) = schedule(3_600, class).await;
        kept.push(message);
        told.push(at);
    }
    let minute = |told: Vec<Option<i64>>| told.into_iter().map(|at| at.map(|at| at / 60)).collect::<Vec<_>>();
    assert_eq!(minute(told), [None, None, None, Some(61), Some(62)]);
    assert_eq!(minute(listed(&kept).await), [Some(61), None, None, Some(61), Some(62)]);
    assert_eq!(queue.next_later(&lane).map(|at| at <= time(3_600)), Some(true), "nothing keeps the first");
    // The limit is used up now, and in five seconds still.
    for _ in 0..2 {
        let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    }
    for due in claim_some(&queue, "shop").await {
        queue.settle(delivered(&due, hand.now())).await;
    }
    queue.flush().await;
    let (mut soon, mut told) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (message, at) = schedule(5, Class::Normal).await;
        soon.push(message);
        told.push(at);
    }
    assert_eq!(told, [Some(60), Some(60), Some(120)]);
    assert_eq!(listed(&soon).await, [Some(60), Some(60), Some(120)]);
    assert_eq!(queue.next_later(&lane), Some(time(60)));
    // What goes before them doesn't keep those an hour later.
    assert_eq!(minute(listed(&kept).await), [Some(61), None, None, Some(61), Some(62)]);
}

#[tokio::test]
async fn release_keeps_the_time_that_a_client_asked_for_and_retry_only_gives_it_up_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let mut later = submission("shop", &["a@b.example"]);
    later.parts[0].due = Timestamp::from_second(START + 3_600).unwrap();
    let asked = later.parts[0].due;
    let id = keep(&queue, later, b"x").await.unwrap()[0].id();
    let named = || Filter { ids: vec![id], ..Filter::default() };
    let next = async || queue.query(named(), 10, None).await.unwrap()[0].recipients[0].next_attempt;
    for action in [Adjust::Hold, Adjust::Release] {
        assert_eq!(queue.adjust(named(), action).await.unwrap().count, 1);
    }
    assert_eq!(next().await, Some(asked));
    assert_eq!(queue.adjust(Filter::default(), Adjust::Retry).await.unwrap().count, 0);
    assert_eq!(next().await, Some(asked));
    assert_eq!(queue.adjust(named(), Adjust::Retry).await.unwrap().count, 1);
    assert_eq!(next().await, Some(hand.now()));
}

#[tokio::test]
async fn a_retry_of_what_is_due_already_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    let receipt = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap().remove(0);
    let (first, due) = (receipt.id(), receipt.due());
    hand.turn(60);
    let named = || Filter { ids: vec![first], ..Filter::default() };
    assert_eq!(queue.adjust(named(), Adjust::Retry).await.unwrap().count, 1);
    let entry = queue.query(named(), 10, None).await.unwrap().remove(0);
    assert_eq!(entry.recipients[0].next_attempt, Some(due));
}

#[tokio::test]
async fn messages_that_are_kept_together_are_each_told_their_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
    queue.lane(&"shop".into()).limit(a_minute(10));
    let mut keeps = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let queue = queue.clone();
        keeps.spawn(async move { keep(&queue, submission("shop", &["a@b.example"]), b"x").await });
    }
    let mut told: Vec<(QueueId, i64)> = Vec::new();
    for receipts in keeps.join_all().await {
        let receipt = receipts.unwrap().remove(0);
        told.push((receipt.id(), receipt.due().duration_since(hand.now()).as_secs().max(0)));
    }
    told.sort_unstable();
    let told: Vec<i64> = told.into_iter().map(|(_, wait)| wait).collect();
    let goes: Vec<i64> = (0..100).map(|number| number / 10 * 60).collect();
    assert_eq!(told, goes);
}

#[tokio::test]
async fn a_change_of_many_tells_how_many_in_each_lane_beyond_the_ids_it_names() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let mut many = submission("shop", &["a@b.example"]);
    many.parts = vec![many.parts[0].clone(); super::writer::TOLD_IDS + 1];
    many.parts[0].lane = "desk".into();
    let mut draft = queue.draft();
    draft.write(b"x").await.unwrap();
    let _ = queue.keep(draft, many).await.unwrap();
    let adjusted = queue.adjust(Filter::default(), Adjust::Retry).await.unwrap();
    let lanes = [("desk".into(), 1), ("shop".into(), super::writer::TOLD_IDS as u64)];
    assert_eq!(adjusted.lanes, lanes.into_iter().collect());
    assert_eq!((adjusted.count, adjusted.ids.len()), (10_001, 10_000));
    queue.close().await;
}

#[tokio::test]
async fn whose_a_lent_message_is_outlives_the_process_and_ends_where_it_comes_home() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    for _ in 0..2 {
        let _ = keep(&queue, submission("shop", &["a@b.example", "c@d.example"]), b"x").await.unwrap();
    }
    for due in claim_all(&queue, "shop", &hand).await {
        assert_eq!(due.home, None);
        queue.divert(due, "sol".into(), "from shop to sol".into()).await;
    }
    queue.flush().await;
    for due in claim_all(&queue, "sol", &hand).await {
        assert_eq!(due.home, Some("shop".into()));
        queue.divert(due, "luna".into(), "from sol to luna".into()).await;
    }
    queue.close().await;
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let luna = queue.lane(&"luna".into());
    let guests =
        async |home: &str, room| queue.claim_guests(&"luna".into(), &home.into(), None, room).await.unwrap();
    let lent = claim_all(&queue, "luna", &hand).await;
    assert!(guests("shop", 9).await.is_empty(), "they are being delivered");
    for due in lent {
        luna.release(due);
    }
    assert!(guests("sol", 9).await.is_empty());
    let mut lent = guests("shop", 1).await;
    lent.extend(guests("shop", 9).await);
    assert!(lent.len() == 2 && lent.iter().all(|due| due.home == Some("shop".into())), "{lent:?}");
    // One goes back with what is left of it, an operator moves the other one, which was luna's own by then.
    let [back, other] = <[Due; 2]>::try_from(lent).unwrap();
    let fates = vec![(1, Fate::Failed(reply(550, "nobody")))];
    let moves = Some(("shop".into(), "from luna back to shop".to_owned()));
    queue.settle(Outcome { moves, ..outcome(&back, hand.now(), fates) }).await;
    let id = other.id;
    queue.settle(outcome(&other, hand.now(), Vec::new())).await;
    queue.flush().await;
    let filter = Filter { ids: vec![id], ..Filter::default() };
    let keeps = async || {
        let to = Adjust::Reroute("luna".into());
        let count = queue.adjust(filter.clone(), to).await.unwrap().count;
        let due = claim_all(&queue, "luna", &hand).await.remove(0);
        let home = due.home.clone();
        queue.lane(&"luna".into()).release(due);
        (count, home)
    };
    assert_eq!((keeps().await, keeps().await), ((1, None), (0, None)));
    assert_eq!(queue.adjust(filter, Adjust::Reroute("sol".into())).await.unwrap().count, 1);
    let there = claim_all(&queue, "sol", &hand).await;
    assert_eq!(there.iter().map(|due| (due.id, due.home.clone())).collect::<Vec<_>>(), [(id, None)]);
    let home = claim_all(&queue, "shop", &hand).await;
    let open: Vec<u32> = home[0].open.iter().map(|open| open.number).collect();
    assert_eq!((home.len(), home[0].id, home[0].home.clone(), open), (1, back.id, None, vec![0]));
    let totals = queue.totals();
    let queued = |lane: &str| totals.iter().find(|one| one.lane == lane.into()).map(|one| one.queued);
    assert_eq!((queued("shop"), queued("sol"), queued("luna").unwrap_or(0)), (Some(1), Some(1), 0));
}

#[tokio::test]
async fn what_an_operator_held_meanwhile_stays_where_it_is_and_is_still_anothers() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), b"x").await.unwrap();
    let due = claim_one(&queue, "shop").await;
    queue.divert(due, "sol".into(), "from shop to sol".into()).await;
    queue.flush().await;
    let due = claim_one(&queue, "sol").await;
    queue.adjust(Filter::default(), Adjust::Hold).await.unwrap();
    let moves = Some(("shop".into(), "from sol back to shop".to_owned()));
    queue.settle(Outcome { moves, ..outcome(&due, hand.now(), Vec::new()) }).await;
    queue.flush().await;
    queue.adjust(Filter::default(), Adjust::Release).await.unwrap();
    let due = claim_one(&queue, "sol").await;
    assert_eq!(due.home, Some("shop".into()));
}

#[tokio::test]
async fn nothing_is_taken_where_the_index_or_the_content_is_removed_under_the_queue() {
    for gone in ["queue.db", "content"] {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
        keep(&queue, submission("shop", &["a@b.test"]), b"one").await.unwrap();
        let path = state.path().join(gone);
        let moved = state.path().join("away");
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::rename(&path, &moved).unwrap();
            assert!(!path.exists());
        }
        for _ in 0..2 {
            let refused = keep(&queue, submission("shop", &["a@b.test"]), b"two").await.unwrap_err();
            assert!(matches!(refused, KeepError::Io { .. }), "{gone}: {refused}");
        }
        assert!(!path.exists(), "it isn't made anew, empty");
        if gone == "queue.db" {
            std::fs::rename(&moved, &path).unwrap();
            keep(&queue, submission("shop", &["a@b.test"]), b"three").await.unwrap();
            assert_eq!(states(&queue).await.len(), 2);
        }
        queue.close().await;
    }
}

#[tokio::test]
async fn what_names_no_mailbox_takes_a_quarter_of_the_spool_held_or_not_and_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand::at(START);
    let settings = QueueSettings { max_size: 400_000, ..settings(folder.path()) };
    let queue = Queue::open(settings.clone(), hand.clock()).unwrap();
    let _ = keep(&queue, submission("shop", &["a@b.example"]), "x".repeat(100_000).as_bytes()).await.unwrap();
    let _ = keep(&queue, submission("inbox:guests", &["a@b.example"]), "x".repeat(60_000).as_bytes())
        .await
        .unwrap();
    queue.flush().await;
    assert!(queue.has_room_for_strangers());
    let _ = keep(&queue, submission("inbox:staff", &["a@b.example"]), "x".repeat(40_000).as_bytes())
        .await
        .unwrap();
    queue.flush().await;
    assert!(!queue.has_room_for_strangers(), "all inboxes together");
    let due = claim_one(&queue, "inbox:guests").await;
    queue
        .settle(Outcome { hold: Some("whose?".into()), ..Outcome::of(due.id, due.lane.clone(), hand.now()) })
        .await;
    queue.flush().await;
    assert!(!queue.has_room_for_strangers(), "held");
    queue.close().await;
    let queue = Queue::open(settings, hand.clock()).unwrap();
    assert!(!queue.has_room_for_strangers(), "opened anew");
    let due = claim_one(&queue, "inbox:staff").await;
    queue.settle(delivered(&due, hand.now())).await;
    queue.flush().await;
    assert!(queue.has_room_for_strangers());
    queue.close().await;
}
