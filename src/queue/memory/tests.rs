//! What is remembered through the queue's own door, on a real index.

use super::super::testing::{self, Hand};
use super::super::{Due, Fate, Kind, LaneName, Outcome};
use super::*;
use crate::inbox::about;
use crate::inbox::automatic::Report;
use crate::inbox::conversation::{Conversation, MatchedBy};
use crate::inbox::mailbox::Identification;
use crate::inbox::{Index, automatic};
use crate::smtp::reply::Reply;

const START: i64 = 1_795_000_100;

struct Bench {
    folder: tempfile::TempDir,
    hand: Hand,
    queue: Queue,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(testing::settings(folder.path()), hand.clock()).unwrap();
        Self { folder, hand, queue }
    }

    /// A message of a lane, claimed.
    async fn claimed(&self, lane: &str) -> Due {
        let mut draft = self.queue.draft();
        draft.write(b"x").await.unwrap();
        let mut submission = testing::submission(lane, &["a@b.example"]);
        submission.received_at = self.hand.now();
        let _ = self.queue.keep(draft, submission).await.unwrap();
        let lane = self.queue.lane(&LaneName::new(lane));
        loop {
            if let Some(due) = lane.claim(1, 1).pop() {
                lane.stand_down();
                return due;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn settle(&self, due: &Due, memory: Memory) {
        let ok = Reply { code: 250, enhanced: None, lines: vec!["ok".into()] };
        let outcome = Outcome {
            fates: vec![(0, Fate::Delivered(ok))],
            remembered: Some(Arc::new(memory)),
            ..Outcome::of(due.id, due.lane.clone(), self.hand.now())
        };
        self.queue.settle(outcome).await;
    }

    /// A message that leaves this memory.
    async fn remember(&self, memory: Memory) -> QueueId {
        let due = self.claimed("inbox.guests").await;
        self.settle(&due, memory).await;
        due.id
    }

    fn ask<T>(&self, asked: impl FnOnce(&Known<'_>) -> T) -> T {
        self.queue.knowledge(QueueId::from_bits(1)).ask(asked).unwrap()
    }

    async fn reopened(self) -> Self {
        let Self { folder, hand, queue } = self;
        queue.close().await;
        let queue = Queue::open(testing::settings(folder.path()), hand.clock()).unwrap();
        Self { folder, hand, queue }
    }
}

fn id(number: u64) -> ConversationId {
    ConversationId::from_bits(number)
}

fn place(conversation: u64) -> Place {
    Place {
        mailbox: "sol".into(),
        conversation: id(conversation),
        is_ours: true,
        message_ids: vec![format!("<{conversation}@sol>")],
        channel_key: Some(format!("booking:{conversation}")),
        correspondents: vec!["ana@x.example".into()],
        subject: Some("llegada".into()),
        answer_to: Some("ana@x.example".into()),
        text: Some(format!("text of {conversation}")),
    }
}

fn of(place: Place) -> Memory {
    Memory { place: Some(place), ..Memory::default() }
}

fn key(mailbox: &str) -> DuplicateKey {
    DuplicateKey { mailbox: mailbox.to_owned(), message_id: "<1@x>".into(), body_hash: "ab".into() }
}

/// Everything there is to ask about the conversation of [`place`].
fn all(known: &Known<'_>, conversation: u64) -> (Vec<bool>, Vec<SentTextOf>) {
    let expected = Some(id(conversation));
    let subject = (known.by_subject)("sol", "ana@x.example", "llegada");
    let found = vec![
        (known.by_message_id)("sol", &format!("<{conversation}@sol>")) == expected,
        (known.by_channel_key)("sol", &format!("booking:{conversation}")) == expected,
        subject.map(|(found, _)| found) == expected,
        (known.takes_part)("sol", id(conversation), "ana@x.example"),
        !(known.takes_part)("sol", id(conversation), "eve@x.example"),
        (known.by_message_id)("mar", &format!("<{conversation}@sol>")).is_none(),
        (known.by_channel_key)("mar", &format!("booking:{conversation}")).is_none(),
        (known.by_subject)("mar", "ana@x.example", "llegada").is_none(),
        (known.sent_texts)("mar", "ana@x.example").is_empty(),
    ];
    let texts = (known.sent_texts)("sol", "ana@x.example");
    (found, texts.into_iter().map(|sent| (sent.conversation, sent.text)).collect())
}

type SentTextOf = (ConversationId, String);

#[tokio::test]
async fn what_was_settled_is_known_before_and_behind_the_commit_and_over_a_restart() {
    let bench = Bench::new();
    bench.remember(of(place(7))).await;
    let expected = (vec![true; 9], vec![(id(7), "text of 7".to_owned())]);
    assert_eq!(bench.ask(|known| all(known, 7)), expected, "perhaps not committed yet");
    bench.queue.flush().await;
    assert_eq!(bench.queue.core.recent.all().len(), 0, "the index alone knows it now");
    assert_eq!(bench.ask(|known| all(known, 7)), expected);
    let bench = bench.reopened().await;
    assert_eq!(bench.ask(|known| all(known, 7)), expected);
}

#[tokio::test]
async fn what_waits_for_the_writer_counts_already() {
    let bench = Bench::new();
    // Nobody hands this one to the writer: it is known by what its outcome holds alone.
    let memory = Arc::new(Memory { duplicate: Some(key("sol")), ..of(place(7)) });
    let first = QueueId::from_bits(5);
    bench.queue.core.recent.push(first, bench.hand.now(), &memory);
    assert_eq!(bench.ask(|known| all(known, 7)).0, [true; 9]);
    assert_eq!(bench.ask(|known| (known.duplicate)(&key("sol"))), Some(first.to_string()));
    drop(memory);
    assert_eq!(bench.ask(|known| (known.duplicate)(&key("sol"))), None, "its outcome was dropped");
}

#[tokio::test]
async fn a_copy_is_known_within_its_mailbox_and_a_message_is_no_copy_of_itself() {
    let bench = Bench::new();
    let held = bench.remember(Memory { duplicate: Some(key("luna")), ..Memory::default() }).await;
    for flushed in [false, true] {
        if flushed {
            bench.queue.flush().await;
        }
        assert_eq!(bench.ask(|known| (known.duplicate)(&key("luna"))), Some(held.to_string()));
        assert_eq!(bench.ask(|known| (known.duplicate)(&key("sol"))), None);
        let own = bench.queue.knowledge(held).ask(|known| (known.duplicate)(&key("luna")));
        assert_eq!(own.unwrap(), None);
    }
    // A third copy names the first one, not the second.
    bench.remember(Memory { duplicate: Some(key("luna")), ..Memory::default() }).await;
    assert_eq!(bench.ask(|known| (known.duplicate)(&key("luna"))), Some(held.to_string()));
}

#[tokio::test]
async fn the_newest_use_of_a_subject_and_the_newest_texts_win() {
    let bench = Bench::new();
    for number in 0..40 {
        bench.remember(of(Place { message_ids: vec![], ..place(number) })).await;
        bench.hand.turn(1);
    }
    bench.queue.flush().await;
    let used = Timestamp::from_second(START + 39).unwrap();
    let subject = bench.ask(|known| (known.by_subject)("sol", "ana@x.example", "llegada"));
    assert_eq!(subject, Some((id(39), used)));
    let texts = bench.ask(|known| (known.sent_texts)("sol", "ana@x.example"));
    let numbers: Vec<u64> = texts.iter().map(|text| text.conversation.to_bits()).collect();
    assert_eq!(numbers, (16..40).rev().collect::<Vec<u64>>());
    let index = super::super::index::open_read_only(&bench.queue.core.index).unwrap();
    let kept: i64 = index.query_row("SELECT count(*) FROM memory_text", (), |row| row.get(0)).unwrap();
    assert_eq!(kept, 24);
}

#[tokio::test]
async fn a_conversation_that_is_used_outlives_the_journal_and_one_that_is_not_goes_whole() {
    let bench = Bench::new();
    let copied = Memory { duplicate: Some(key("luna")), ..of(place(7)) };
    bench.remember(copied).await;
    bench.remember(of(Place { subject: None, text: None, channel_key: None, ..place(8) })).await;
    bench.queue.flush().await;
    bench.hand.turn(29 * 86_400);
    let later = Place { message_ids: vec!["<later@sol>".into()], ..place(8) };
    bench.remember(of(Place { subject: None, text: None, channel_key: None, ..later })).await;
    bench.queue.flush().await;
    bench.hand.turn(2 * 86_400);
    let connection = super::super::index::open(&bench.queue.core.index).unwrap();
    let before = (bench.hand.now().as_millisecond()) - 30 * 86_400_000;
    rows::Rows::prepare(&connection).unwrap().prune(before, 100).unwrap();
    assert_eq!(bench.ask(|known| all(known, 7)).0[..4], [false; 4]);
    assert_eq!(bench.ask(|known| (known.duplicate)(&key("luna"))), None);
    for known_as in ["<8@sol>", "<later@sol>"] {
        assert_eq!(bench.ask(|known| (known.by_message_id)("sol", known_as)), Some(id(8)));
    }
    for table in ["conversation", "message", "sent", "key", "subject", "party", "text", "copy"] {
        let sql = format!("SELECT count(*) FROM memory_{table}");
        let left: i64 = connection.query_row(&sql, (), |row| row.get(0)).unwrap();
        let expected = match table {
            "conversation" | "party" | "sent" => 1,
            "message" => 2,
            _ => 0,
        };
        assert_eq!(left, expected, "{table}");
    }
}

/// A bounce about these messages, read for mailbox "sol".
fn bounce(ids: &[&str]) -> Interpretation {
    let recipients = vec![automatic::Reported {
        address: "a@b.example".into(),
        original: None,
        action: "failed".into(),
        status: Some("5.1.1".into()),
        diagnostic: Some("no such user".into()),
    }];
    let message_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Interpretation {
        event: None,
        mailbox: Some("sol".into()),
        identification: Identification {
            mailbox: Some("sol".into()),
            address: None,
            identified_by: None,
            confidence: 1.0,
            evidence: Vec::new(),
            conversation: None,
            is_contradicted: false,
        },
        conversation: Some(Conversation {
            id: id(7),
            is_new: false,
            matched_by: MatchedBy::References,
            participant_new: false,
        }),
        index: Index { message_id: Some("<b@x>".into()), ..Index::default() },
        duplicate_key: Some(key("sol")),
        leaves_out: false,
        leans_on_dns: false,
        duplicate_of: None,
        automatic: Some(automatic::Kind::Bounce),
        report: Some(Report { message_ids, recipients }),
        about: None,
        ends_here: None,
        verification: None,
    }
}

#[tokio::test]
async fn a_bounce_that_comes_back_is_told_in_the_life_of_the_message_it_is_about() {
    let bench = Bench::new();
    let sent = bench.claimed("sol").await;
    bench.settle(&sent, of(place(7))).await;
    let came = bench.claimed("inbox.guests").await;
    let read = |ids: &[&str]| {
        let mut read = bounce(ids);
        let report = read.report.clone().unwrap();
        let find = |known: &Known<'_>| about::find(&report, read.automatic, None, "sol", None, known);
        read.about = bench.ask(find);
        read
    };
    for flushed in [false, true] {
        if flushed {
            bench.queue.flush().await;
        }
        let named = read(&[&sent.id.to_string()]).about.unwrap();
        assert_eq!((named.id, named.message_id.as_str()), (sent.id, "<7@sol>"), "by our own id");
    }
    let told = read(&["<unknown@x>", "<7@sol>"]);
    let mut knowledge = bench.queue.knowledge(came.id);
    let news = knowledge.news(&told).unwrap();
    let detail = "a@b.example failed: 5.1.1: no such user".to_owned();
    let expected = News {
        about: sent.id,
        recipient: Some(0),
        kind: Kind::BouncedLater,
        detail: detail.clone(),
        bounced: Some("5.1.1 no such user".into()),
    };
    assert_eq!(news, [expected]);
    bench.settle(&came, Memory::received(&told, news)).await;
    for flushed in [false, true] {
        if flushed {
            bench.queue.flush().await;
        }
        let again = bench.queue.knowledge(came.id).news(&told).unwrap();
        assert_eq!(again[0].bounced, None, "told once");
    }
    let life = bench.queue.life(sent.id).await.unwrap().unwrap();
    let happened: Vec<_> =
        life.happenings.iter().map(|each| (each.kind, each.recipient, each.detail.clone())).collect();
    assert_eq!(happened, [(Kind::BouncedLater, Some(0), detail)]);
    // A bounce about what this mailbox never sent says nothing.
    let strange = read(&["<unknown@x>"]);
    assert_eq!((&strange.about, bench.queue.knowledge(came.id).news(&strange).unwrap()), (&None, vec![]));
    let own = read(&["<b@x>"]);
    assert_eq!(own.about, None, "that one was received, not sent");
}

#[tokio::test]
async fn what_was_sent_in_a_conversation_is_found_by_it_the_newest_first() {
    let bench = Bench::new();
    let mut expected = Vec::new();
    for number in [7, 8, 7] {
        let due = bench.claimed("sol").await;
        let message_ids = vec![format!("<{}@sol>", due.id), format!("<{}@ses>", due.id)];
        let left_as = message_ids[0].clone();
        bench.settle(&due, of(Place { message_ids, ..place(number) })).await;
        if number == 7 {
            expected.insert(0, (due.id, left_as));
        }
    }
    let _ =
        bench.remember(of(Place { is_ours: false, message_ids: vec!["<in@x>".into()], ..place(7) })).await;
    for _ in ["handed over", "committed"] {
        let found = bench.ask(|known| (known.sent_within)("sol", id(7)));
        let found: Vec<_> = found.into_iter().map(|one| (one.id, one.message_id)).collect();
        assert_eq!(found, expected);
        assert_eq!(bench.ask(|known| (known.sent_within)("luna", id(7))), []);
        bench.queue.flush().await;
    }
}

#[tokio::test]
async fn every_message_that_left_under_one_message_id_is_found_by_it_and_by_what_its_reply_revealed() {
    let bench = Bench::new();
    let mut sent = Vec::new();
    for number in 0..3 {
        let due = bench.claimed("sol").await;
        let message_ids = vec!["<7@sol>".to_owned(), format!("<{number}@ses>")];
        bench.settle(&due, of(Place { message_ids, ..place(7) })).await;
        sent.push(due.id);
    }
    sent.sort_unstable();
    let found = |bench: &Bench, id: &str| {
        let found = bench.ask(|known| (known.sent)("sol", id));
        assert!(found.iter().all(|one| one.recipients == [(0, "a@b.example".to_owned())]), "{found:?}");
        found.into_iter().map(|one| (one.id, one.message_id)).collect::<Vec<_>>()
    };
    for _ in ["handed over", "committed"] {
        let expected: Vec<_> = sent.iter().rev().map(|id| (*id, "<7@sol>".to_owned())).collect();
        assert_eq!(found(&bench, "<7@sol>"), expected);
        for (number, id) in (0..).zip(&sent) {
            let revealed = format!("<{number}@ses>");
            assert_eq!(found(&bench, &revealed), [(*id, revealed.clone())]);
            assert_eq!(found(&bench, &id.to_string()), [(*id, "<7@sol>".to_owned())], "its own comes first");
        }
        assert!(bench.ask(|known| (known.sent)("mar", "<7@sol>")).is_empty());
        bench.queue.flush().await;
    }
}

#[tokio::test]
async fn what_was_sent_is_looked_up_and_forgotten_by_an_index() {
    let bench = Bench::new();
    let connection = super::super::index::open(&bench.queue.core.index).unwrap();
    for (sql, index) in [
        (
            "SELECT message_id FROM memory_sent WHERE mailbox='sol' AND message=1 ORDER BY n LIMIT 1",
            "memory_sent_of",
        ),
        (
            "SELECT message FROM memory_sent WHERE mailbox='sol' AND message_id='1' ORDER BY message DESC",
            "PRIMARY KEY",
        ),
        ("SELECT mailbox FROM memory_sent WHERE at<1 LIMIT 9", "memory_sent_at"),
    ] {
        let plan: String =
            connection.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), (), |row| row.get(3)).unwrap();
        assert!(plan.starts_with("SEARCH") && plan.contains(index), "{sql}: {plan}");
    }
}

#[tokio::test]
async fn an_index_that_cannot_be_read_is_an_error_and_not_an_answer() {
    let bench = Bench::new();
    let writing = super::super::index::open(&bench.queue.core.index).unwrap();
    writing.execute_batch("DROP TABLE memory_copy").unwrap();
    let asked = bench.queue.knowledge(QueueId::from_bits(1)).ask(|known| (known.duplicate)(&key("luna")));
    assert!(matches!(asked, Err(QueueError::Index(_))), "{asked:?}");
}

#[tokio::test]
async fn the_newest_address_of_a_conversation_is_known_for_those_that_wrote_in_it() {
    let bench = Bench::new();
    let newest = |bench: &Bench, address: &str| {
        let found = bench.queue.knowledge(QueueId::from_bits(1)).newest(address).unwrap();
        found.into_iter().map(|newest| (newest.mailbox, newest.address)).collect::<Vec<_>>()
    };
    let wrote = |address: &str| Place {
        is_ours: false,
        message_ids: vec![format!("<{address}>")],
        correspondents: vec![address.into()],
        answer_to: Some(address.into()),
        ..place(7)
    };
    bench.remember(of(wrote("old@x"))).await;
    bench.remember(of(wrote("new@x"))).await;
    let ours = Place { correspondents: vec!["to@x".into()], answer_to: None, ..place(7) };
    bench.remember(of(ours)).await;
    for _ in ["handed over", "committed"] {
        for address in ["OLD@x", "new@x"] {
            let found = newest(&bench, address);
            assert!(
                !found.is_empty() && found.iter().all(|one| *one == ("sol".into(), "new@x".into())),
                "{found:?}"
            );
        }
        assert_eq!(newest(&bench, "to@x"), [], "only written to");
        bench.queue.flush().await;
    }
    let bench = bench.reopened().await;
    assert_eq!(newest(&bench, "old@x"), [("sol".to_owned(), "new@x".to_owned())]);
}
