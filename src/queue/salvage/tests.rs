//! Indexes lost, damaged and half known, and content files with holes in them.

use super::super::testing::{Hand, settings, submission};
use super::super::{Adjust, Fate, Filter, Outcome, Queue, State};
use super::*;
use crate::smtp::reply::Reply;

async fn three_messages(state: &Path, hand: &Hand) -> Vec<QueueId> {
    messages(state, hand, &["one", "two", "three"]).await
}

/// Keeps some; the first is delivered.
async fn messages(state: &Path, hand: &Hand, contents: &[&str]) -> Vec<QueueId> {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let mut ids = Vec::new();
    for content in contents {
        let mut draft = queue.draft();
        draft.write(content.as_bytes()).await.unwrap();
        ids.push(queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap()[0].id());
    }
    let lane = queue.lane(&"shop".into());
    let due = loop {
        if let Some(due) = lane.claim(1, 1).pop() {
            break due;
        }
        lane.wait().await;
    };
    lane.stand_down();
    let ok = Reply { code: 250, enhanced: None, lines: vec!["ok".into()] };
    queue
        .settle(Outcome {
            id: due.id,
            lane: due.lane,
            at: hand.now(),
            fates: vec![(0, Fate::Delivered(ok))],
            next_attempt: None,
            maybe_duplicate: false,
            notice: None,
            warned: false,
            hold: None,
            rewritten: Vec::new(),
            remembered: None,
            events: Vec::new(),
        })
        .await;
    queue.close().await;
    ids
}

async fn open_ids(state: &Path, hand: &Hand) -> Vec<QueueId> {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let filter = Filter { open: true, ..Filter::default() };
    let ids = queue.query(filter, 100, None).await.unwrap().iter().map(|entry| entry.id).collect();
    queue.close().await;
    ids
}

#[tokio::test]
async fn with_a_readable_index_only_what_was_open_is_queued_again() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    let salvaged = salvage(state.path(), Unknown::Hold, &hand.clock()).unwrap();
    assert_eq!((salvaged.queued, salvaged.done, salvaged.damaged), (2, 1, 0));
    assert_eq!(open_ids(state.path(), &hand).await, ids[1..]);
}

#[tokio::test]
async fn without_an_index_everything_is_queued_again_if_told_so_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    std::fs::write(state.path().join("queue.db"), b"garbage").unwrap();
    let salvaged = salvage(state.path(), Unknown::Send, &hand.clock()).unwrap();
    assert_eq!((salvaged.queued, salvaged.unknown, salvaged.done, salvaged.damaged), (3, 0, 0, 0));
    assert!(salvaged.old_index.unwrap().exists());
    assert_eq!(open_ids(state.path(), &hand).await, ids);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let kinds: Vec<Kind> =
        queue.life(ids[0]).await.unwrap().unwrap().happenings.iter().map(|one| one.kind).collect();
    assert!(kinds.contains(&Kind::Salvaged), "{kinds:?}");
    assert!(queue.draft().id() > ids[2]);
}

/// Each message's state, lane, attempts and last reply.
async fn told(state: &Path, hand: &Hand) -> Vec<(State, String, u32, Option<String>)> {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let entries = queue.query(Filter::default(), 100, None).await.unwrap();
    let totals = queue.totals();
    queue.close().await;
    let all: Vec<_> = entries
        .into_iter()
        .map(|mut entry| {
            let one = entry.recipients.remove(0);
            (one.state, entry.lane.to_string(), one.attempts, one.reply)
        })
        .collect();
    let count = |wanted: State| all.iter().filter(|one| one.0 == wanted).count() as u64;
    for (wanted, counted) in [
        (State::Queued, totals.iter().map(|lane| lane.queued).sum::<u64>()),
        (State::Deferred, totals.iter().map(|lane| lane.deferred).sum()),
        (State::Held, totals.iter().map(|lane| lane.held).sum()),
    ] {
        assert_eq!(counted, count(wanted), "{wanted:?}");
    }
    all
}

async fn adjust(state: &Path, hand: &Hand, id: QueueId, action: Adjust) {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    queue.adjust(Filter { ids: vec![id], ..Filter::default() }, action).await.unwrap();
    queue.close().await;
}

#[tokio::test]
async fn what_a_readable_index_says_of_a_message_stands() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = messages(state.path(), &hand, &["a", "b", "c", "d", "e"]).await;
    adjust(state.path(), &hand, ids[1], Adjust::Hold).await;
    adjust(state.path(), &hand, ids[2], Adjust::Delete).await;
    adjust(state.path(), &hand, ids[3], Adjust::Reroute("desk".into())).await;
    let before = told(state.path(), &hand).await;
    let salvaged = salvage(state.path(), Unknown::Hold, &hand.clock()).unwrap();
    let Salvaged { queued, held, unknown, done, damaged, .. } = salvaged;
    assert_eq!((queued, held, unknown, done, damaged), (2, 1, 0, 2, 0));
    assert_eq!(told(state.path(), &hand).await, before);
    let states: Vec<State> = before.iter().map(|one| one.0).collect();
    let expected = ["delivered", "held", "deleted", "queued", "queued"];
    assert_eq!(before[3].1, "desk");
    assert_eq!(states, expected.map(|word| State::parse(word).unwrap()));
    // Nor does what is done keep its segment for ever, or a second salvage change anything.
    assert_eq!(salvage(state.path(), Unknown::Hold, &hand.clock()).unwrap().done, 2);
    assert_eq!(told(state.path(), &hand).await, before);
}

#[tokio::test]
async fn what_nothing_is_known_of_is_held() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    // One row can't be found any more, of another a recipient, of the third everything is there.
    let old = Connection::open(state.path().join("queue.db")).unwrap();
    old.execute("DELETE FROM message WHERE id=?1", [ids[0].to_row()]).unwrap();
    old.execute("DELETE FROM recipient WHERE message=?1", [ids[1].to_row()]).unwrap();
    old.close().unwrap();
    let salvaged = salvage(state.path(), Unknown::Hold, &hand.clock()).unwrap();
    let Salvaged { queued, held, unknown, done, had_index, .. } = salvaged;
    assert_eq!((queued, held, unknown, done, had_index), (1, 0, 2, 0, true));
    let told = told(state.path(), &hand).await;
    assert_eq!([told[0].0, told[1].0, told[2].0], [State::Held, State::Held, State::Queued]);
    assert_eq!(told[0].3.as_deref(), Some(NOT_KNOWN));
    std::fs::remove_file(state.path().join("queue.db")).unwrap();
    let salvaged = salvage(state.path(), Unknown::Hold, &hand.clock()).unwrap();
    assert_eq!((salvaged.unknown, salvaged.had_index), (3, false));
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    assert_eq!(queue.lane(&"shop".into()).next_due(), None);
}

#[tokio::test]
async fn a_damaged_record_costs_that_message_only() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    let segment = state.path().join("content/00000001.seg");
    let sound = std::fs::read(&segment).unwrap();
    let second = memchr::memmem::find(&sound, b"two").unwrap();
    for spoilt_at in [second, second - PREFIX, second - PREFIX + 20] {
        let mut spoilt = sound.clone();
        spoilt[spoilt_at] ^= 0xff;
        std::fs::write(&segment, spoilt).unwrap();
        std::fs::remove_file(state.path().join("queue.db")).unwrap();
        let salvaged = salvage(state.path(), Unknown::Send, &hand.clock()).unwrap();
        assert_eq!((salvaged.queued, salvaged.damaged), (2, 1));
        assert_eq!(open_ids(state.path(), &hand).await, [ids[0], ids[2]]);
    }
}

#[tokio::test]
async fn a_message_that_carries_a_record_inside_is_one_message() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    three_messages(state.path(), &hand).await;
    let records = std::fs::read(state.path().join("content/00000001.seg")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(other.path()), hand.clock()).unwrap();
    let mut draft = queue.draft();
    draft.write(&records).await.unwrap();
    let _ = queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap();
    queue.close().await;
    let mut segment = std::fs::read(other.path().join("content/00000001.seg")).unwrap();
    assert_eq!(scan_octets(&segment), (1, 0));
    // Even when the outer record is spoilt, the inner ones don't come to life.
    segment[HEAD + 20] ^= 1;
    assert_eq!(scan_octets(&segment), (0, 1));
}

proptest::proptest! {
    #[test]
    fn a_spoilt_segment_is_walked_over_and_only_sound_records_are_told(
        spoils in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..8),
        cut in proptest::prelude::any::<proptest::sample::Index>(),
        whole in proptest::prelude::any::<bool>(),
    ) {
        let mut octets = include_bytes!("../../../fuzz/seeds/segment/three-records").to_vec();
        for (place, octet) in spoils {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        if !whole {
            octets.truncate(cut.index(octets.len()));
        }
        let (records, damaged) = scan_octets(&octets);
        proptest::prop_assert!(records <= 3);
        proptest::prop_assert!(records == 3 || damaged > 0 || octets.len() <= HEAD || !whole);
    }
}
