//! Kept events through the queue's own door, on a real index.

use super::super::testing::{self, Hand};
use super::super::{Outcome, Queue};
use super::*;

fn event(kind: &'static str, conversation: Option<&str>) -> NewEvent {
    let octets = EventOctets::AroundSeq {
        before: Bytes::from_static(b"{\"seq\":"),
        after: Bytes::from_static(b"}"),
        name_at: None,
    };
    NewEvent::new("hook".into(), kind, conversation.map(str::to_owned), "application/json", octets)
}

struct Bench {
    folder: tempfile::TempDir,
    hand: Hand,
    queue: Queue,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_000);
        let queue = Queue::open(testing::settings(folder.path()), hand.clock()).unwrap();
        Self { folder, hand, queue }
    }

    fn outbox(&self) -> Outbox {
        self.queue.outbox(&"hook".into())
    }

    async fn due(&self) -> Vec<EventEntry> {
        let page = self.outbox().due(self.hand.now(), 100, &HashSet::new()).await.unwrap();
        let ids: Vec<EventId> = page.events.iter().map(|event| event.id).collect();
        let filter = EventFilter { ids: ids.clone(), ..EventFilter::default() };
        if ids.is_empty() { Vec::new() } else { self.queue.events(filter, 100, None).await.unwrap() }
    }

    async fn due_seqs(&self) -> Vec<i64> {
        self.due().await.iter().map(|event| event.seq).collect()
    }

    async fn id_of(&self, seq: i64) -> EventId {
        let all = self.queue.events(EventFilter::default(), 100, None).await.unwrap();
        all.iter().find(|event| event.seq == seq).unwrap().id
    }

    async fn posted(&self, seq: i64, fate: PostFate) {
        let id = self.id_of(seq).await;
        let posted = Posted { id, at: self.hand.now(), answer: "an answer".into(), fate, asked: None };
        self.outbox().posted(posted).await;
    }
}

#[tokio::test]
async fn numbers_have_no_gaps_and_bytes_stay_as_they_were() {
    let bench = Bench::new();
    let all: Vec<NewEvent> = (0..20).map(|_| event("message.delivered", None)).collect();
    bench.queue.announce_now(all).await;
    bench.queue.announce_now(vec![event("message.bounced", None)]).await;
    assert_eq!(bench.due_seqs().await, (1..=21).collect::<Vec<i64>>());
    let id = bench.id_of(21).await;
    assert_eq!(bench.outbox().body(id).await.unwrap().unwrap(), "{\"seq\":21}");
    let Bench { folder, hand, queue } = bench;
    queue.close().await;
    let queue = Queue::open(testing::settings(folder.path()), hand.clock()).unwrap();
    let bench = Bench { folder, hand, queue };
    bench.queue.announce_now(vec![event("message.bounced", None)]).await;
    assert_eq!(bench.due_seqs().await, (1..=22).collect::<Vec<i64>>());
    assert_eq!(bench.id_of(21).await, id);
    assert_eq!(bench.outbox().body(id).await.unwrap().unwrap(), "{\"seq\":21}");
}

#[tokio::test]
async fn a_failing_event_holds_up_its_own_conversation_and_no_other() {
    let bench = Bench::new();
    let talk = [Some("a"), Some("a"), Some("b"), None, Some("a"), Some("b"), None];
    bench.queue.announce_now(talk.map(|talk| event("message.received", talk)).into()).await;
    assert_eq!(bench.due_seqs().await, [1, 3, 4, 7]);
    let later = bench.hand.now() + jiff::SignedDuration::from_mins(5);
    bench.posted(1, PostFate::Later(later)).await;
    bench.posted(3, PostFate::Done).await;
    assert_eq!(bench.due_seqs().await, [4, 6, 7], "2 waits for 1, 6 follows 3");
    bench.hand.turn(300);
    assert_eq!(bench.due_seqs().await, [1, 4, 6, 7]);
    bench.posted(1, PostFate::Failed).await;
    assert_eq!(bench.due_seqs().await, [2, 4, 6, 7], "a dead one holds up nobody");
    bench.posted(2, PostFate::Done).await;
    assert_eq!(bench.due_seqs().await, [4, 5, 6, 7]);
    let totals = bench.queue.endpoints().await.unwrap().remove(0);
    assert_eq!((totals.seq, totals.waiting, totals.failed), (7, 4, 1));
}

#[tokio::test]
async fn a_replayed_event_keeps_its_name_and_goes_before_what_waits_behind_it() {
    let bench = Bench::new();
    bench.queue.announce_now(vec![event("x", Some("a")), event("x", Some("a")), event("x", Some("a"))]).await;
    let id = bench.id_of(1).await;
    bench.posted(1, PostFate::Failed).await;
    assert_eq!(bench.due_seqs().await, [2]);
    let failed = EventFilter { states: vec![EventState::Failed], ..EventFilter::default() };
    assert_eq!(bench.queue.replay(failed.clone()).await.unwrap().count, 1);
    assert_eq!(bench.due_seqs().await, [2], "2 may be on its way: one of a conversation at a time");
    bench.posted(2, PostFate::Done).await;
    let due = bench.due().await;
    assert_eq!((due[0].id, due[0].seq, due[0].attempts), (id, 1, 0));
    bench.posted(1, PostFate::Done).await;
    assert_eq!(bench.due_seqs().await, [3]);
    assert_eq!(bench.queue.replay(failed).await.unwrap(), Replayed::default());
}

#[tokio::test]
async fn a_replayed_event_doesnt_wait_for_the_far_attempt_of_another_of_its_conversation() {
    let bench = Bench::new();
    bench.queue.announce_now(vec![event("x", Some("a")), event("x", Some("a")), event("x", Some("a"))]).await;
    let far = || {
        let far = bench.hand.now().checked_add(jiff::SignedDuration::from_hours(5)).unwrap();
        PostFate::Later(far)
    };
    let replay = async |seq| {
        let filter = EventFilter { ids: vec![bench.id_of(seq).await], ..EventFilter::default() };
        assert_eq!(bench.queue.replay(filter).await.unwrap().count, 1);
    };
    bench.posted(1, PostFate::Failed).await;
    bench.posted(2, far()).await;
    assert!(bench.due_seqs().await.is_empty());
    replay(1).await;
    assert_eq!(bench.due_seqs().await, [1]);
    bench.posted(1, PostFate::Failed).await;
    assert_eq!(bench.due_seqs().await, [2], "2 follows it at once");
    // Replayed while another may be on its way, it goes behind that.
    replay(1).await;
    assert_eq!(bench.due_seqs().await, [2]);
    bench.posted(2, far()).await;
    assert_eq!(bench.due_seqs().await, [1], "2 isn't any more");
    bench.posted(1, far()).await;
    assert!(bench.due_seqs().await.is_empty());
    // What has to wait for an older one has that one tried.
    replay(3).await;
    assert_eq!(bench.due_seqs().await, [1]);
    for seq in 1..=3 {
        assert_eq!(bench.due_seqs().await, [seq]);
        bench.posted(seq, PostFate::Done).await;
    }
    let totals = bench.queue.endpoints().await.unwrap().remove(0);
    assert_eq!((totals.waiting, totals.failed), (0, 0));
}

#[tokio::test]
async fn a_replay_names_the_endpoints_that_have_something_due_again() {
    let bench = Bench::new();
    let elsewhere = NewEvent { endpoint: "elsewhere".into(), ..event("x", None) };
    bench.queue.announce_now(vec![event("x", None), elsewhere]).await;
    let id = bench.id_of(1).await;
    let all = bench.queue.events(EventFilter::default(), 10, None).await.unwrap();
    let other = all.iter().find(|event| event.endpoint == "elsewhere").unwrap().id;
    for (ids, endpoints) in [
        (vec![id], vec!["hook"]),
        (vec![other], vec!["elsewhere"]),
        (vec![id, other], vec!["elsewhere", "hook"]),
    ] {
        let filter = EventFilter { ids, ..EventFilter::default() };
        let replayed = bench.queue.replay(filter).await.unwrap();
        assert_eq!(replayed.endpoints.iter().collect::<Vec<_>>(), endpoints);
    }
}

#[tokio::test]
async fn a_disabled_endpoint_keeps_its_events_until_it_is_enabled() {
    let bench = Bench::new();
    bench.queue.announce_now(vec![event("x", None), event("x", None)]).await;
    bench.posted(1, PostFate::Gone).await;
    let page = bench.outbox().due(bench.hand.now(), 10, &HashSet::new()).await.unwrap();
    assert!(page.disabled && page.events.is_empty());
    assert!(bench.queue.enable(&"hook".into(), Pause::Ends).await.unwrap());
    assert!(!bench.queue.enable(&"hook".into(), Pause::Ends).await.unwrap(), "it isn't disabled any more");
    assert_eq!(bench.due_seqs().await, [1, 2]);
}

#[tokio::test]
async fn the_longest_pause_that_was_asked_for_is_known_until_an_admin_ends_it() {
    let bench = Bench::new();
    bench.queue.announce_now(vec![event("x", None), event("x", None)]).await;
    let (one, two) = (bench.id_of(1).await, bench.id_of(2).await);
    let at = |seconds| bench.hand.now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    let ask = async |id, seconds: i64| {
        let (fate, asked) = (PostFate::Later(at(seconds)), Some(at(seconds)));
        let posted = Posted { id, at: bench.hand.now(), answer: "429".into(), fate, asked };
        bench.outbox().posted(posted).await;
    };
    assert_eq!(bench.outbox().asked_until().await.unwrap(), None);
    for (pause, left) in [(Pause::Holds, Some(at(90))), (Pause::Ends, None)] {
        ask(one, 90).await;
        ask(two, 60).await;
        let _ = bench.queue.enable(&"hook".into(), pause).await.unwrap();
        assert_eq!(bench.outbox().asked_until().await.unwrap(), left, "{pause:?}");
    }
    ask(one, 90).await;
    bench.queue.replay(EventFilter { ids: vec![two], ..EventFilter::default() }).await.unwrap();
    assert_eq!(bench.outbox().asked_until().await.unwrap(), None);
}

#[tokio::test]
async fn events_are_kept_with_their_outcome_and_only_once() {
    let bench = Bench::new();
    let mut draft = bench.queue.draft();
    draft.write(b"hello").await.unwrap();
    let receipt = bench.queue.keep(draft, testing::submission("shop", &["a@b.example"])).await.unwrap();
    let outcome = || Outcome {
        events: vec![event("message.delivered", None)],
        ..Outcome::of(receipt[0].id(), "shop".into(), bench.hand.now())
    };
    bench.queue.settle(outcome()).await;
    bench.queue.flush().await;
    assert_eq!(bench.due_seqs().await, [1]);
    // What a commit brought whose success went unseen comes again under the same name.
    let again = bench.queue.events(EventFilter::default(), 10, None).await.unwrap().remove(0).id;
    let twice = NewEvent { id: again, ..event("message.delivered", None) };
    bench.queue.core.inbox.push(Command::Outbox(Change::Announce(vec![twice], None)));
    bench.queue.flush().await;
    assert_eq!(bench.due_seqs().await, [1]);
}

#[tokio::test]
async fn closed_events_lose_their_bodies_and_then_go() {
    let bench = Bench::new();
    bench.queue.announce_now(vec![event("x", None), event("x", None), event("x", None)]).await;
    bench.posted(1, PostFate::Done).await;
    bench.posted(2, PostFate::Failed).await;
    let connection = super::super::index::open(&bench.folder.path().join("queue.db")).unwrap();
    let mut rows = rows::Rows::prepare(&connection).unwrap();
    let now = bench.hand.now().as_millisecond();
    rows.prune(now + 1, now, 10).unwrap();
    let all = bench.queue.events(EventFilter::default(), 10, None).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(bench.outbox().body(all[0].id).await.unwrap(), None);
    assert!(bench.outbox().body(all[1].id).await.unwrap().is_some());
    let everything = EventFilter::default();
    assert_eq!(
        bench.queue.replay(everything.clone()).await.unwrap(),
        Replayed { count: 2, forgotten: 1, endpoints: ["hook".to_owned()].into() }
    );
    bench.posted(2, PostFate::Failed).await;
    rows.prune(now + 1, now + 1, 10).unwrap();
    let left: Vec<i64> =
        bench.queue.events(everything, 10, None).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(left, [3], "what waits is never forgotten");
    assert_eq!(bench.queue.endpoints().await.unwrap()[0].failed, 0);
}

#[tokio::test]
async fn a_page_leaves_out_what_is_claimed_and_holds_bodies_as_far_as_it_has_room() {
    let bench = Bench::new();
    let large = |_| {
        let octets = EventOctets::Whole(Bytes::from(vec![b'x'; 700 << 10]));
        NewEvent::new("hook".into(), "message.received", None, "text/plain", octets)
    };
    bench.queue.announce_now((0..5).map(large).collect()).await;
    let claimed = HashSet::from([bench.id_of(1).await]);
    let page = bench.outbox().due(bench.hand.now(), 3, &claimed).await.unwrap();
    let ids: Vec<EventId> = page.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, [bench.id_of(2).await, bench.id_of(3).await, bench.id_of(4).await]);
    let lengths: Vec<Option<usize>> =
        page.events.iter().map(|event| event.body.as_ref().map(Bytes::len)).collect();
    assert_eq!(lengths, [Some(700 << 10), Some(700 << 10), None]);
}
