//! Indexes lost, damaged and half known, and content files with holes in them.

use super::super::kept::Left;
use super::super::limits::Limits;
use super::super::outbox::{EventFilter, EventOctets, NewEvent, PostFate, Posted};
use super::super::testing::{Hand, settings, submission};
use super::super::{Adjust, Fate, Filter, Outcome, Queue, State};
use super::*;
use crate::smtp::reply::Reply;
use bytes::Bytes;

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
            fates: vec![(0, Fate::Delivered(ok))],
            ..Outcome::of(due.id, due.lane, hand.now())
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
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    assert_eq!((salvaged.queued, salvaged.done, salvaged.damaged), (2, 1, 0));
    assert_eq!(open_ids(state.path(), &hand).await, ids[1..]);
}

#[tokio::test]
async fn without_an_index_everything_is_queued_again_if_told_so_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    std::fs::write(state.path().join("queue.db"), b"garbage").unwrap();
    let salvaged = salvage(state.path(), Unknown::Send, &[], &hand.clock()).unwrap();
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
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    let Salvaged { queued, held, unknown, done, damaged, .. } = salvaged;
    assert_eq!((queued, held, unknown, done, damaged), (2, 1, 0, 2, 0));
    assert_eq!(told(state.path(), &hand).await, before);
    let states: Vec<State> = before.iter().map(|one| one.0).collect();
    let expected = ["delivered", "held", "deleted", "queued", "queued"];
    assert_eq!(before[3].1, "desk");
    assert_eq!(states, expected.map(|word| State::parse(word).unwrap()));
    // Nor does what is done keep its segment for ever, or a second salvage change anything.
    assert_eq!(salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap().done, 2);
    assert_eq!(told(state.path(), &hand).await, before);
}

#[tokio::test]
async fn whose_a_lent_message_is_stands_in_a_readable_index() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    three_messages(state.path(), &hand).await;
    let claimed = async |queue: &Queue, lane: &str| {
        let lane = queue.lane(&lane.into());
        loop {
            if let Some(due) = lane.claim(1, 1).pop() {
                lane.stand_down();
                return due;
            }
            lane.wait().await;
        }
    };
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let due = claimed(&queue, "shop").await;
    queue.divert(due, "sol".into(), "from shop to sol".into()).await;
    queue.close().await;
    salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    assert_eq!(claimed(&queue, "sol").await.home, Some("shop".into()));
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
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    let Salvaged { queued, held, unknown, done, had_index, .. } = salvaged;
    assert_eq!((queued, held, unknown, done, had_index), (1, 0, 2, 0, true));
    let told = told(state.path(), &hand).await;
    assert_eq!([told[0].0, told[1].0, told[2].0], [State::Held, State::Held, State::Queued]);
    assert_eq!(told[0].3.as_deref(), Some(NOT_KNOWN));
    std::fs::remove_file(state.path().join("queue.db")).unwrap();
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
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
        let salvaged = salvage(state.path(), Unknown::Send, &[], &hand.clock()).unwrap();
        assert_eq!((salvaged.queued, salvaged.damaged), (2, 1));
        // Without its content its header still tells whose it is; without its prefix nothing does.
        let is_named = spoilt_at == second;
        assert_eq!(salvaged.spoilt, u64::from(is_named));
        let open = if is_named { ids.clone() } else { vec![ids[0], ids[2]] };
        assert_eq!(open_ids(state.path(), &hand).await, open);
    }
}

#[tokio::test]
async fn an_open_message_whose_content_is_damaged_is_held_with_the_reason_and_named() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    let (segment, index) = (state.path().join("content/00000001.seg"), state.path().join("queue.db"));
    let (sound, before) = (std::fs::read(&segment).unwrap(), std::fs::read(&index).unwrap());
    let [first, second] = [b"one", b"two"].map(|word| memchr::memmem::find(&sound, word).unwrap());
    let header = second + b"two".len();
    let held = [State::Delivered, State::Held, State::Queued];
    let as_before = [State::Delivered, State::Queued, State::Queued];
    for (what, spoilt_at, states) in [
        ("content", second, held),
        ("prefix", second - PREFIX, held),
        ("header alone", header, as_before),
        ("content of what is done", first, as_before),
        ("prefix of what is done", first - PREFIX, as_before),
    ] {
        let mut spoilt = sound.clone();
        spoilt[spoilt_at] ^= 0xff;
        std::fs::write(&segment, spoilt).unwrap();
        std::fs::write(&index, &before).unwrap();
        let salvaged = salvaged(state.path(), &hand);
        let told = told(state.path(), &hand).await;
        assert_eq!(told.iter().map(|one| one.0).collect::<Vec<_>>(), states, "{what}");
        assert_eq!((salvaged.damaged, salvaged.kept.damaged.len()), (1, 0), "{what}");
        if states == held {
            let to = vec!["a@b.example".to_owned()];
            let named = Spoilt { id: ids[1], sender: Some("from@a.example".into()), recipients: to };
            assert_eq!((salvaged.spoilt, salvaged.named), (1, vec![named]), "{what}");
            let reason = told[1].3.clone().unwrap();
            assert!(reason.contains("content in segment 1") && reason.contains("damaged"), "{reason}");
        } else {
            assert_eq!(salvaged.spoilt, 0, "{what}");
        }
    }
}

#[tokio::test]
async fn messages_whose_segment_has_gone_keep_their_place_in_the_journal_or_are_held() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = three_messages(state.path(), &hand).await;
    adjust(state.path(), &hand, ids[2], Adjust::Delete).await;
    let life = async || {
        let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
        let mut lives = Vec::new();
        for id in [ids[0], ids[2]] {
            lives.push(format!("{:?}", queue.life(id).await.unwrap().unwrap()));
        }
        queue.close().await;
        lives
    };
    let (before, lives) = (told(state.path(), &hand).await, life().await);
    std::fs::remove_file(state.path().join("content/00000001.seg")).unwrap();
    let salvaged = salvaged(state.path(), &hand);
    assert_eq!((salvaged.journal, salvaged.spoilt, salvaged.done), (2, 1, 0));
    assert_eq!(salvaged.named[0].id, ids[1]);
    let after = told(state.path(), &hand).await;
    assert_eq!([&after[0], &after[2]], [&before[0], &before[2]]);
    assert_eq!(after[1].0, State::Held);
    assert!(after[1].3.as_deref().unwrap().contains("the file is missing"), "{after:?}");
    assert_eq!(life().await, lives);
}

#[tokio::test]
async fn what_a_route_discarded_stays_discarded_and_what_it_held_says_so() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    for discarded in [true, false] {
        let mut draft = queue.draft();
        draft.write(b"x").await.unwrap();
        let mut submission = submission("shop", &["a@b.example"]);
        submission.parts[0].held = true;
        submission.parts[0].discarded = discarded;
        let _ = queue.keep(draft, submission).await.unwrap();
    }
    queue.close().await;
    std::fs::remove_file(state.path().join("queue.db")).unwrap();
    let salvaged = salvage(state.path(), Unknown::Send, &[], &hand.clock()).unwrap();
    assert_eq!((salvaged.done, salvaged.held, salvaged.queued), (1, 1, 0));
    let told = told(state.path(), &hand).await;
    assert_eq!([told[0].0, told[1].0], [State::Discarded, State::Held]);
    assert_eq!(told[1].3.as_deref(), Some(HELD_BY_ROUTE));
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

// ---- what stands in the index alone ----

const HOOK: &str = "hook";

/// An index with events in many states, and something in every table that is copied.
async fn full_index(state: &Path, hand: &Hand, events: usize) {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    for number in 0..events {
        let before = format!("{{\"text\":\"{}\",\"seq\":", "x".repeat(50 + number * 13 % 2_000));
        let octets =
            EventOctets::AroundSeq { before: before.into(), after: Bytes::from_static(b"}"), name_at: None };
        let talk = (number % 3 > 0).then(|| format!("talk-{}", number % 40));
        let event = NewEvent::new(HOOK.into(), "message.received", talk, "application/json", octets);
        queue.announce_now(vec![event]).await;
    }
    let page = queue
        .outbox(&HOOK.into())
        .due(hand.now(), events / 4, &std::collections::HashSet::new())
        .await
        .unwrap();
    for (place, event) in page.events.iter().enumerate() {
        let fate = match place % 3 {
            0 => PostFate::Done,
            1 => PostFate::Failed,
            _ => PostFate::Later(hand.now() + jiff::SignedDuration::from_mins(5)),
        };
        let posted = Posted { id: event.id, at: hand.now(), answer: "an answer".into(), fate, asked: None };
        queue.outbox(&HOOK.into()).posted(posted).await;
    }
    queue.close().await;
    let index = Connection::open(state.join("queue.db")).unwrap();
    index
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300)
             INSERT INTO memory_conversation SELECT i*977,'sol',i,'<'||i||'@x>' FROM n;
             INSERT INTO memory_message SELECT 'sol','<'||id||'@x>',id,NULL,used FROM memory_conversation;
             INSERT INTO memory_key SELECT 'sol','key'||id,id FROM memory_conversation;
             INSERT INTO memory_subject SELECT 'sol','ana@x','subject '||id,id,used FROM memory_conversation;
             INSERT INTO memory_party(conversation,address) SELECT id,'ana@x' FROM memory_conversation;
             INSERT INTO memory_text SELECT 'sol','ana@x',id,id,'a text of some length' FROM memory_conversation;
             INSERT INTO memory_copy(mailbox,message_id,body_hash,message,at)
               SELECT 'sol','<'||id||'@x>','hash'||id,id,used FROM memory_conversation;
             INSERT INTO verification VALUES(7,'guests','gmail','hola@x','sol',0,1,99,NULL,1,'123','[]',x'0102',NULL);
             INSERT INTO arrival VALUES('sol',3,4,5);
             INSERT INTO silence(mailbox,since) VALUES('sol',6);
             INSERT INTO probe(token,mailbox,message,sent_at) VALUES('t','sol',1,2);",
        )
        .unwrap();
    index.close().unwrap();
}

/// Every row of every table that is copied, as text; by table and row.
fn rows_of(index: &Path) -> Vec<String> {
    let index = Connection::open(index).unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type='table' AND (name IN
                  ('endpoint','posting','posting_body','verification','arrival','silence','probe') OR name LIKE 'memory%')";
    let mut tables = index.prepare(tables).unwrap();
    let tables: Vec<String> = tables.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = Vec::new();
    for table in tables {
        let mut rows = index.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let rows = rows.query_map((), |row| {
            let values = (0..columns).map(|at| format!("{:?}", row.get::<_, rusqlite::types::Value>(at)));
            Ok(format!("{table} {}", values.collect::<Vec<_>>().join(" ")))
        });
        all.extend(rows.unwrap().map(Result::unwrap));
    }
    all.sort();
    all
}

fn salvaged(state: &Path, hand: &Hand) -> Salvaged {
    salvage(state, Unknown::Hold, &[HOOK.into()], &hand.clock()).unwrap()
}

/// The number that the next event gets, and whether posting goes on.
async fn next_seq(state: &Path, hand: &Hand) -> i64 {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let octets = EventOctets::Whole(Bytes::from_static(b"{}"));
    let event = NewEvent::new(HOOK.into(), "message.received", None, "application/json", octets);
    queue.announce_now(vec![event]).await;
    let filter = EventFilter::default();
    let events = queue.events(filter, 10_000, None).await.unwrap();
    queue.close().await;
    events.iter().map(|event| event.seq).max().unwrap()
}

#[tokio::test]
async fn everything_beside_mail_is_kept_as_it_was() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    full_index(state.path(), &hand, 120).await;
    let index = state.path().join("queue.db");
    let before = rows_of(&index);
    let Salvaged { kept, log_damaged, .. } = salvaged(state.path(), &hand);
    assert_eq!(rows_of(&index), before);
    assert_eq!((kept.waiting + kept.closed, kept.bodiless, kept.conversations), (120, 0, 300));
    assert_eq!((kept.verifications, kept.mailboxes), (1, 1));
    assert_eq!((kept.damaged, kept.seq_from, log_damaged), (vec![], None, false));
    assert_eq!(next_seq(state.path(), &hand).await, 121, "no gap where nothing was lost");
}

#[tokio::test]
async fn a_damaged_page_costs_its_own_rows_and_no_number_comes_twice() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    full_index(state.path(), &hand, 300).await;
    let index = state.path().join("queue.db");
    let before = rows_of(&index);
    let sound = std::fs::read(&index).unwrap();
    let pages = sound.len() / 4096;
    let (mut damaged, mut readable, mut roots) = (0, 0, 0);
    // Page 1 is the head; two pages at a time, far apart, so that there is a middle.
    for page in (1..pages / 2).step_by(4) {
        let mut spoilt = sound.clone();
        for page in [page, page + pages / 2] {
            spoilt[page * 4096..(page + 1) * 4096].fill(0xa5);
        }
        std::fs::write(&index, spoilt).unwrap();
        let Salvaged { kept, had_index, .. } = salvaged(state.path(), &hand);
        if had_index {
            readable += 1;
            damaged += usize::from(!kept.damaged.is_empty());
            let after = rows_of(&index);
            // The counts of an endpoint, and what became due for want of what was before it, are made to fit.
            let copied = |row: &&String| !row.starts_with("endpoint") && !row.starts_with("posting ");
            let foreign = after.iter().filter(copied).find(|row| before.binary_search(row).is_err());
            assert_eq!(foreign, None, "page {page}");
            let bodies = |rows: &[String]| rows.iter().filter(|row| row.starts_with("posting_body")).count();
            // Two leaves hold so many events at most; only a root costs its whole table.
            roots += usize::from(bodies(&after) + 130 < bodies(&before));
        }
        assert!(next_seq(state.path(), &hand).await > 300, "page {page}: {kept:?}");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(state.path().join(format!("queue.db{suffix}")));
        }
    }
    assert!(damaged > 2 && readable > pages / 16, "{damaged} and {readable} of {pages}");
    assert!(roots <= 4, "{roots}: endpoint, posting, posting_body");
}

#[tokio::test]
async fn cut_or_lost_an_index_leaves_numbers_above_all_that_were_given() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    full_index(state.path(), &hand, 120).await;
    let index = state.path().join("queue.db");
    let sound = std::fs::read(&index).unwrap();
    for length in [sound.len() / 2, sound.len() - 4096, 5_000, 100, 0] {
        std::fs::write(&index, &sound[..length]).unwrap();
        let Salvaged { kept, had_index, .. } = salvaged(state.path(), &hand);
        let next = next_seq(state.path(), &hand).await;
        assert!(next > 120, "{length}: {kept:?}");
        assert_eq!(
            kept.seq_from.is_some_and(|from| from == next),
            !had_index || next > 121,
            "{length}: {kept:?}"
        );
    }
}

#[tokio::test]
async fn a_spoilt_log_is_told_and_no_number_comes_twice() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    full_index(state.path(), &hand, 20).await;
    end_in_damaged_log(state.path(), "UPDATE endpoint SET seq=21; UPDATE endpoint SET seq=22");
    let Salvaged { kept, log_damaged, had_index, .. } = salvaged(state.path(), &hand);
    assert_eq!((log_damaged, had_index, kept.waiting + kept.closed), (true, true, 20));
    assert_eq!(Some(next_seq(state.path(), &hand).await), kept.seq_from);
}

/// Changes the index as a kill leaves it: with a log beside it that nobody wrote back, and a flipped bit at its end.
fn end_in_damaged_log(state: &Path, sql: &str) {
    let path = state.join("queue.db");
    let index = Connection::open(&path).unwrap();
    index.execute_batch(sql).unwrap();
    let log = state.join("queue.db-wal");
    let mut octets = std::fs::read(&log).unwrap();
    let last = octets.len() - 10;
    octets[last] ^= 1;
    let copy = std::fs::read(&path).unwrap();
    index.close().unwrap();
    std::fs::write(&path, copy).unwrap();
    std::fs::write(&log, octets).unwrap();
}

#[tokio::test]
async fn what_waited_is_held_where_the_end_of_the_log_is_lost() {
    for (unknown, counts) in [(Unknown::Hold, (0, 1, 1)), (Unknown::Send, (1, 0, 1))] {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_100);
        let ids = keep_all(state.path(), &hand, &["one", "two"]).await;
        let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
        let filter = Filter { ids: vec![ids[0]], ..Filter::default() };
        queue.adjust(filter, Adjust::Delete).await.unwrap();
        queue.close().await;
        end_in_damaged_log(state.path(), "UPDATE state SET at=at+1; UPDATE state SET at=at+1");
        let salvaged = salvage(state.path(), unknown, &[], &hand.clock()).unwrap();
        assert!(salvaged.log_damaged);
        assert_eq!((salvaged.queued, salvaged.unknown, salvaged.done), counts, "{unknown:?}");
        let reply = told(state.path(), &hand).await[1].3.clone();
        assert_eq!(reply.as_deref(), Some(NOT_SURE).filter(|_| unknown == Unknown::Hold));
    }
}

#[tokio::test]
async fn what_an_inbox_had_read_is_not_read_again_where_that_is_known() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let lane = addresses::lane("guests");
    let mut ids = Vec::new();
    for content in ["one", "two", "three"] {
        let mut draft = queue.draft();
        draft.write(content.as_bytes()).await.unwrap();
        ids.push(queue.keep(draft, submission(lane.as_str(), &["in@b.example"])).await.unwrap()[0].id());
    }
    queue.close().await;
    let old = Connection::open(state.path().join("queue.db")).unwrap();
    let copy = "INSERT INTO memory_copy(mailbox,message_id,body_hash,message,at) VALUES(?1,?2,'h',?3,1)";
    old.execute(copy, rusqlite::params!["sol", "<1@x>", ids[0].to_row()]).unwrap();
    old.execute(copy, rusqlite::params!["", "<2@x>", ids[1].to_row()]).unwrap();
    old.execute("DELETE FROM message", ()).unwrap();
    old.close().unwrap();
    let salvaged = salvage(state.path(), Unknown::Send, &[], &hand.clock()).unwrap();
    assert_eq!((salvaged.done, salvaged.queued), (1, 2), "held mail wasn't read to its end");
    let told = told(state.path(), &hand).await;
    assert_eq!([told[0].0, told[1].0, told[2].0], [State::Delivered, State::Queued, State::Queued]);
}

#[test]
fn where_no_queue_is_none_is_made() {
    let home = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let refusal = |state: &Path| salvage(state, Unknown::Hold, &[], &hand.clock()).unwrap_err();
    let slip = home.path().join("wyastation");
    assert!(matches!(refusal(&slip), QueueError::NoQueue { .. }));
    assert!(!slip.exists());
    // What a start leaves behind that never came to a queue.
    let bare = home.path().join("bare");
    drop(Folder::lock(&bare).unwrap());
    assert!(matches!(refusal(&bare), QueueError::NoQueue { .. }));
    std::fs::write(bare.join("queue.db"), b"").unwrap();
    assert!(matches!(refusal(&bare), QueueError::ContentMissing { .. }));
}

async fn keep_all(state: &Path, hand: &Hand, contents: &[&str]) -> Vec<QueueId> {
    hand.turn(1);
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let mut ids = Vec::new();
    for content in contents {
        let mut draft = queue.draft();
        draft.write(content.as_bytes()).await.unwrap();
        ids.push(queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap()[0].id());
    }
    queue.close().await;
    ids
}

/// What is handed out as each message's content.
async fn contents(state: &Path, hand: &Hand, ids: &[QueueId]) -> Vec<Option<String>> {
    let queue = Queue::open(settings(state), hand.clock()).unwrap();
    let mut contents = Vec::new();
    for id in ids {
        contents.push(match queue.left(*id).await.unwrap() {
            Left::Whole(octets) => Some(String::from_utf8(octets.to_vec()).unwrap()),
            Left::Gone | Left::Unknown => None,
        });
    }
    queue.close().await;
    contents
}

#[tokio::test]
async fn an_index_put_back_again_and_again_costs_no_message_that_came_since() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let index = state.path().join("queue.db");
    let mut ids = keep_all(state.path(), &hand, &["of A"]).await;
    let backup = std::fs::read(&index).unwrap();
    // Equally long, so that each begins at the same place in its file.
    for content in ["of B", "of C", "of D"] {
        ids.extend(keep_all(state.path(), &hand, &[content]).await);
        std::fs::write(&index, &backup).unwrap();
        // A start with nothing to do sets aside what it doesn't know.
        keep_all(state.path(), &hand, &[]).await;
        std::fs::write(&index, &backup).unwrap();
    }
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    assert_eq!((salvaged.queued, salvaged.unknown, salvaged.spoilt, salvaged.damaged), (1, 3, 0, 0));
    let expected = ["of A", "of B", "of C", "of D"].map(|content| Some(content.to_owned()));
    assert_eq!(contents(state.path(), &hand, &ids).await, expected);
    assert_eq!(open_ids(state.path(), &hand).await, ids);
}

#[tokio::test]
async fn content_that_a_salvage_counts_again_is_set_aside_again_by_a_start_with_the_old_index() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let index = state.path().join("queue.db");
    keep_all(state.path(), &hand, &["of A"]).await;
    let backup = std::fs::read(&index).unwrap();
    let lost = keep_all(state.path(), &hand, &["of B"]).await;
    std::fs::write(&index, backup).unwrap();
    // The old index has given out higher numbers since than the file has that was set aside.
    keep_all(state.path(), &hand, &["of C"]).await;
    // A salvage that is killed before it has a new index.
    restore_lost(&state.path().join("content"), 3).unwrap();
    keep_all(state.path(), &hand, &[]).await;
    assert_eq!(salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap().unknown, 1);
    assert_eq!(contents(state.path(), &hand, &lost).await, [Some("of B".to_owned())]);
}

#[tokio::test]
async fn a_message_in_whose_place_another_stands_is_held_and_not_given_its_content() {
    let [state, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let hand = Hand::at(1_795_000_100);
    let ids = keep_all(state.path(), &hand, &["mine", "ours"]).await;
    let theirs = keep_all(other.path(), &hand, &["hers", "oars"]).await;
    let segment = |folder: &Path| folder.join("content/00000001.seg");
    std::fs::copy(segment(other.path()), segment(state.path())).unwrap();
    assert_eq!(contents(state.path(), &hand, &ids).await, [None, None]);
    let salvaged = salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    assert_eq!((salvaged.unknown, salvaged.spoilt), (2, 2));
    let reason = |one: &(State, String, u32, Option<String>)| one.3.clone().unwrap_or_default();
    let told = told(state.path(), &hand).await;
    assert!(told[..2].iter().all(|one| reason(one).contains("another message stands there")), "{told:?}");
    let expected = ["hers", "oars"].map(|content| Some(content.to_owned()));
    assert_eq!(contents(state.path(), &hand, &theirs).await, expected);
}

#[tokio::test]
async fn what_was_on_its_way_at_a_kill_counts_after_a_salvage_as_after_a_start() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = keep_all(state.path(), &hand, &["one", "two"]).await;
    let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
    let lane = queue.lane(&"shop".into());
    // The second one isn't claimed ahead.
    lane.limit(Limits { per_minute: Some(1), ..Limits::default() }.rules());
    let due = loop {
        if let Some(due) = lane.claim(1, 1).pop() {
            break due;
        }
        lane.wait().await;
    };
    assert_eq!(due.id, ids[0]);
    drop((due, lane, queue));
    for _ in 0..2 {
        salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
        let index = index::open_read_only(&state.path().join("queue.db")).unwrap();
        let sent = index::sent(&index).unwrap();
        let messages: u64 = sent[&"shop".into()].iter().map(|slot| slot.all.messages).sum();
        assert_eq!(messages, 1, "once, however often");
        let sql = "SELECT flags&4 FROM message WHERE id=?1";
        let flag: i64 = index.query_row(sql, [ids[0].to_row()], |row| row.get(0)).unwrap();
        assert_ne!(flag, 0, "it may be a second copy");
    }
}

#[tokio::test]
async fn two_salvages_within_a_second_keep_both_old_indexes() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    three_messages(state.path(), &hand).await;
    let index = state.path().join("queue.db");
    let olds = [(); 3].map(|()| {
        let before = std::fs::read(&index).unwrap();
        (before, salvaged(state.path(), &hand).old_index.unwrap())
    });
    for (before, old) in &olds {
        assert_eq!(&std::fs::read(old).unwrap(), before, "{}", old.display());
    }
}

#[tokio::test]
async fn what_is_no_file_is_left_as_it_is_and_nothing_is_said_to_be_kept_of_it() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    three_messages(state.path(), &hand).await;
    let (segment, away) = (state.path().join("content/00000001.seg"), state.path().join("away"));
    std::fs::rename(&segment, &away).unwrap();
    std::os::unix::fs::symlink(&away, &segment).unwrap();
    let salvaged = salvaged(state.path(), &hand);
    assert_eq!((salvaged.damaged, salvaged.kept_files, salvaged.spoilt), (0, 0, 2));
    assert_eq!(salvaged.unread, [(segment.clone(), "the file is not a regular file".to_owned())]);
    std::fs::remove_file(state.path().join("queue.db")).unwrap();
    salvage(state.path(), Unknown::Hold, &[], &hand.clock()).unwrap();
    // Nothing in the index counts on it any more; it is none of ours to remove.
    open_ids(state.path(), &hand).await;
    assert!(segment.is_symlink() && !segment.with_extension("damaged").exists());
}

#[tokio::test]
async fn a_file_with_damage_gets_a_second_name_that_no_other_file_has() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    three_messages(state.path(), &hand).await;
    let content = |name: &str| state.path().join("content").join(name);
    let mut spoilt = std::fs::read(content("00000001.seg")).unwrap();
    let two = memchr::memmem::find(&spoilt, b"two").unwrap();
    spoilt[two] ^= 4;
    std::fs::write(content("00000001.seg"), &spoilt).unwrap();
    std::fs::write(content("00000001.damaged"), b"of another time").unwrap();
    for _ in 0..2 {
        let salvaged = salvaged(state.path(), &hand);
        assert_eq!((salvaged.kept_files, salvaged.unkept), (1, Vec::new()));
    }
    assert_eq!(std::fs::read(content("00000001.damaged")).unwrap(), b"of another time");
    assert_eq!(std::fs::read(content("00000002.damaged")).unwrap(), spoilt);
}

/// What a scan finds of a file with a page that can't be read: the first id of each record, and whether it is sound.
fn found_around(bad_page: usize, segment: &[u8]) -> Vec<(QueueId, bool)> {
    let bad = BadPages::default();
    let read = |octets: &mut [u8], at: u64| {
        let (from, border) = (usize::try_from(at).unwrap(), bad_page * 4096);
        let end = if from < border { border } else { segment.len() };
        let got = if (border..border + 4096).contains(&from) {
            Err(Errno::IO.into())
        } else {
            let rest = &segment[from.min(end)..end];
            let length = rest.len().min(octets.len());
            octets[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        };
        bad.passed(got, octets, at)
    };
    let mut found = Vec::new();
    let tell = |one| {
        if let Found::Record { ids, is_sound, .. } = one {
            found.push((ids[0], is_sound));
        }
    };
    scan(segment.len() as u64, read, tell).unwrap();
    assert!(bad.met().is_err() && BadPages::default().met().is_ok());
    found
}

#[tokio::test]
async fn a_page_that_can_not_be_read_hides_nothing_but_itself() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    let ids = keep_all(state.path(), &hand, &["one", &"x".repeat(20_000), "three"]).await;
    let segment = std::fs::read(state.path().join("content/00000001.seg")).unwrap();
    // In the midst of the second message.
    assert_eq!(found_around(2, &segment), [(ids[0], true), (ids[1], false), (ids[2], true)]);
    // The file's own nonce is gone with the first.
    assert_eq!(found_around(0, &segment), [(ids[2], true)]);
}

#[tokio::test]
async fn pages_that_can_not_be_read_hide_no_record_behind_them() {
    let state = tempfile::tempdir().unwrap();
    let hand = Hand::at(1_795_000_100);
    // A content that is a file like ours: it stands for nothing but itself.
    let inner = (0_u64..).find_map(|nonce| {
        let nonce = nonce.to_le_bytes();
        let prefix = Prefix { nonce, header_length: 0, content_length: 0, content_crc: 0, header_crc: 0 };
        String::from_utf8(prefix.encode().to_vec()).ok()
    });
    let inner = inner.unwrap();
    let contents: Vec<String> = (0..12).map(|_| format!("{inner}{}", "x".repeat(3000))).collect();
    let ids = keep_all(state.path(), &hand, &contents.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let segment = std::fs::read(state.path().join("content/00000001.seg")).unwrap();
    for page in 0..segment.len() / 4096 {
        let found = found_around(page, &segment);
        let sound: Vec<QueueId> = found.iter().filter(|(_, is_sound)| *is_sound).map(|(id, _)| *id).collect();
        assert!(sound.len() >= ids.len() - 3, "page {page}: {} of {}", sound.len(), ids.len());
        assert!(sound.iter().all(|id| ids.contains(id)), "page {page}");
    }
}
