//! Windows and claims, without a writer or a reader.

use super::super::limits::Limits;
use super::super::testing::{self, Hand};
use super::super::work::{Held, Open};
use super::*;
use std::sync::mpsc::{Receiver, channel};

fn window(backlog: bool) -> (Lane, Receiver<Refill>, Hand) {
    let (send, receive) = channel();
    let hand = Hand::at(1_000);
    let shared = Arc::new(Shared::new(hand.clock(), 0, Leaps::default(), 1_000, Arc::default(), send));
    (Lane(Window::new("shop".into(), shared, backlog)), receive, hand)
}

fn ready(id: u64, class: Class, at: i64) -> Ready {
    let location = Location { segment: 1, offset: 72, length: 5 };
    let due = Due {
        id: QueueId::from_bits(id),
        lane: "shop".into(),
        home: None,
        class,
        envelope: Arc::new(testing::submission("shop", &["a@b.example"]).envelope),
        open: vec![Open { number: 0, attempts: 0, tried_at: None, waits_until: None }],
        left: Vec::new(),
        received_at: Timestamp::UNIX_EPOCH,
        released_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        warned: false,
        maybe_duplicate: false,
        origin: Arc::new(testing::submission("shop", &["a@b.example"]).origin),
        notes: Arc::default(),
        size_bytes: 5,
        content: Content::Stored(QueueId::from_bits(id), location),
    };
    Ready { due, at, location }
}

/// Claims as the writer does, with its commit in between.
fn claim(lane: &Lane, room: usize) -> Vec<Due> {
    let _ = lane.claim(0, room);
    lane.0.start(lane.0.shared.moment());
    lane.0.started();
    lane.claim(room, 0)
}

fn ids(claimed: &[Due]) -> Vec<u64> {
    claimed.iter().map(|due| due.id.to_bits()).collect()
}

#[test]
fn claims_go_by_class_then_due_and_never_twice() {
    let (lane, _refills, _hand) = window(false);
    for (id, class, at) in
        [(1, Class::Bulk, 1), (2, Class::Normal, 9), (3, Class::Normal, 8), (4, Class::Priority, 100)]
    {
        lane.0.fresh(ready(id, class, at));
    }
    assert_eq!(ids(&claim(&lane, 2)), [4, 3]);
    assert_eq!(ids(&claim(&lane, 9)), [2, 1]);
    assert_eq!(ids(&claim(&lane, 9)), [0_u64; 0]);
}

#[test]
fn who_is_spared_goes_behind_all_others_and_not_never() {
    let (lane, _refills, _hand) = window(false);
    for (id, class, at) in
        [(1, Class::Priority, 1), (2, Class::Normal, 2), (3, Class::Bulk, 3), (4, Class::Normal, 4)]
    {
        lane.0.fresh(ready(id, class, at));
    }
    let new = [1, 2, 1].map(|id| lane.spare(QueueId::from_bits(id)));
    assert_eq!((new, lane.spared()), ([true, true, false], 2));
    assert!(lane.has_unspared());
    assert_eq!(ids(&claim(&lane, 1)), [4]);
    assert_eq!(ids(&claim(&lane, 2)), [3], "they don't go along with others");
    assert!(!lane.has_unspared());
    assert_eq!(ids(&claim(&lane, 1)), [1]);
    lane.0.fresh(ready(5, Class::Bulk, 5));
    assert_eq!(ids(&claim(&lane, 1)), [5]);
    assert_eq!(lane.spare_none().len(), 2);
    lane.0.fresh(ready(6, Class::Normal, 6));
    assert_eq!(ids(&claim(&lane, 1)), [2]);
}

#[test]
fn what_is_due_later_stays_on_disk_and_says_when() {
    let (lane, refills, hand) = window(false);
    lane.0.fresh(ready(1, Class::Normal, 1_000_500));
    assert_eq!(claim(&lane, 9).len(), 0);
    assert_eq!(lane.next_due(), Timestamp::from_millisecond(1_000_500).ok());
    assert!(refills.try_recv().is_err());
    hand.turn(1);
    assert_eq!(claim(&lane, 9).len(), 0);
    assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (1_000_500, _), .. })));
}

#[test]
fn new_mail_waits_behind_an_older_backlog_of_its_class_only() {
    let (lane, refills, _hand) = window(true);
    assert_eq!(claim(&lane, 9).len(), 0);
    assert_eq!(refills.try_iter().count(), 3);
    lane.0.fresh(ready(1, Class::Normal, 1_000));
    lane.0.refilled(Class::Priority, Vec::new(), None);
    assert_eq!(claim(&lane, 9).len(), 0);
    lane.0.refilled(Class::Normal, vec![ready(7, Class::Normal, 10)], None);
    assert_eq!(ids(&claim(&lane, 9)), [7]);
    // The reader's answer came from before the fresh one: that one is still known to be on disk.
    let again: Vec<Refill> = refills.try_iter().collect();
    assert!(
        matches!(&again[..], [Refill::Window { class: Class::Normal, from: (1_000, _), .. }]),
        "{again:?}"
    );
}

#[test]
fn a_stale_row_does_not_come_back_to_life() {
    let (lane, _refills, _hand) = window(false);
    lane.0.fresh(ready(1, Class::Normal, 10));
    let claimed = claim(&lane, 1);
    lane.0.put_back(QueueId::from_bits(2), Class::Normal, 20);
    assert_eq!(claim(&lane, 9).len(), 0);
    // The reader read both rows before the first was settled.
    let now = lane.0.shared.moment();
    lane.0.settled(claimed[0].id, Class::Normal, None, Units::default(), now);
    lane.0.refilled(Class::Normal, vec![ready(1, Class::Normal, 10), ready(2, Class::Normal, 20)], None);
    assert_eq!(ids(&claim(&lane, 9)), [2]);
    assert_eq!(lane.next_due(), None);
}

#[test]
fn a_full_window_leaves_the_rest_on_disk() {
    let (lane, refills, _hand) = window(false);
    for id in 1..=1_500 {
        lane.0.fresh(ready(id, Class::Normal, 10));
    }
    assert_eq!(lane.waiting_hint(), CAPACITY[1]);
    assert_eq!(claim(&lane, 100).len(), 100);
    assert!(refills.try_recv().is_err());
    assert_eq!(claim(&lane, 500).len(), 500);
    let Ok(Refill::Window { from, limit, .. }) = refills.try_recv() else { panic!("no refill") };
    assert_eq!((from, limit), ((10, QueueId::from_bits(1_001)), 600));
}

#[test]
fn a_window_keeps_no_more_content_in_memory_than_its_share() {
    let (lane, _refills, _hand) = window(false);
    for id in 1..=3 {
        let mut ready = ready(id, Class::Normal, 10);
        ready.due.content = Content::Memory(Arc::new(Held::unshared(vec![0; 400].into())));
        lane.0.fresh(ready);
    }
    let in_memory =
        |due: Vec<Due>| due.iter().filter(|due| matches!(due.content, Content::Memory(_))).count();
    assert_eq!(in_memory(claim(&lane, 9)), 2);
    assert_eq!(lane.0.shared.content.load(Ordering::Relaxed), 0);
}

#[test]
fn a_released_claim_is_read_again() {
    let (lane, refills, _hand) = window(false);
    lane.0.fresh(ready(1, Class::Normal, 10));
    let mut claimed = claim(&lane, 1);
    lane.release(claimed.remove(0));
    assert_eq!(lane.next_due(), Timestamp::from_millisecond(10).ok());
    assert_eq!(claim(&lane, 1).len(), 0);
    assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (10, _), .. })));
}

#[test]
fn what_comes_back_goes_first_however_much_is_at_hand() {
    let (lane, refills, _hand) = window(false);
    (1..=700).for_each(|id| lane.0.fresh(ready(id, Class::Normal, 10)));
    let mut claimed = claim(&lane, 3);
    assert_eq!(ids(&claimed), [1, 2, 3]);
    lane.release(claimed.remove(1));
    lane.release(claimed.remove(0));
    assert_eq!((ids(&claim(&lane, 2)), lane.has_unspared()), (vec![], true), "they are being read");
    let asked = |refill| match refill {
        Ok(Refill::Window { from: (_, id), until, limit, .. }) => {
            assert_eq!(until, 1_000_000, "as of now");
            (id.to_bits(), limit)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(refills.try_recv()), (1, 1));
    // An operator moved it meanwhile: what was read of it is stale, and what stands behind it is no answer.
    lane.0.taken_away(QueueId::from_bits(1), Class::Normal, Some(10));
    lane.0.refilled(Class::Normal, vec![ready(1, Class::Normal, 10)], None);
    assert_eq!(asked(refills.try_recv()), (2, 1), "whoever asks for mail, or nobody");
    assert_eq!(ids(&claim(&lane, 2)), [0_u64; 0]);
    lane.0.refill_failed(Class::Normal);
    assert_eq!(lane.next_due(), Timestamp::from_millisecond(10).ok());
    assert_eq!(ids(&claim(&lane, 2)), [0_u64; 0]);
    assert_eq!(asked(refills.try_recv()), (2, 1));
    lane.0.refilled(Class::Normal, vec![ready(2, Class::Normal, 10)], None);
    assert_eq!(ids(&claim(&lane, 2)), [2, 4]);
    assert!(refills.try_recv().is_err());
}

#[test]
fn what_comes_back_goes_before_mail_of_lower_classes() {
    for others in [0, 1] {
        let (lane, _refills, hand) = window(false);
        (1..=1 + others).for_each(|id| lane.0.fresh(ready(id, Class::Normal, 10)));
        lane.0.fresh(ready(8, Class::Bulk, 10));
        lane.release(claim(&lane, 1).remove(0));
        assert_eq!(ids(&claim(&lane, 1)), [0_u64; 0], "it is being read");
        let mut fresh = testing::submission("shop", &["a@b.example"]).parts.remove(0);
        (fresh.class, fresh.due) = (Class::Priority, hand.now());
        let now = lane.0.shared.moment();
        let _ = lane.claim(0, 1);
        let starts = [Class::Priority, Class::Bulk].map(|class| {
            fresh.class = class;
            lane.0.start_fresh(QueueId::from_bits(9), &fresh, now)
        });
        assert_eq!(starts, [true, false], "what came just now");
        lane.0.not_started(&[QueueId::from_bits(9)]);
        lane.0.refilled(Class::Normal, vec![ready(1, Class::Normal, 10)], None);
        assert_eq!(ids(&claim(&lane, 1)), [1]);
    }
}

#[test]
fn what_comes_back_while_more_is_read_goes_first_too() {
    let (lane, refills, _hand) = window(true);
    assert_eq!(claim(&lane, 1).len(), 0);
    assert_eq!(refills.try_iter().count(), 3);
    lane.0.refilled(Class::Priority, Vec::new(), None);
    lane.0.put_back(QueueId::from_bits(2), Class::Normal, 5);
    let rows = (11..=900).map(|id| ready(id, Class::Normal, 10)).collect();
    lane.0.refilled(Class::Normal, rows, Some((10, QueueId::from_bits(901))));
    assert_eq!(ids(&claim(&lane, 2)), [0_u64; 0]);
    assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (5, _), limit: 1, .. })));
    lane.0.refilled(Class::Normal, vec![ready(2, Class::Normal, 5)], Some((10, QueueId::from_bits(11))));
    assert_eq!(ids(&claim(&lane, 2)), [2, 11]);
    // Where the disk goes on is known as before.
    assert_eq!(claim(&lane, 500).len(), 500);
    let Ok(Refill::Window { from, .. }) = refills.try_recv() else { panic!("no refill") };
    assert_eq!(from, (10, QueueId::from_bits(901)));
}

#[test]
fn a_part_is_made_of_those_who_were_tried_longest_ago() {
    let (lane, _refills, _hand) = window(false);
    lane.limit(a_minute(3));
    let mut ready = ready(1, Class::Normal, 10);
    let all = ["a@b.example", "b@b.example", "c@b.example", "d@b.example", "e@b.example"];
    ready.due.envelope = Arc::new(testing::submission("shop", &all).envelope);
    let tried = [Some(7), None, Some(5), Some(6), None];
    let open = |(number, second): (u32, Option<i64>)| Open {
        number,
        attempts: u32::from(second.is_some()),
        tried_at: second.and_then(|second| Timestamp::from_second(second).ok()),
        waits_until: None,
    };
    ready.due.open = (0..).zip(tried).map(open).collect();
    lane.0.fresh(ready);
    let due = claim(&lane, 1).remove(0);
    let numbers = |some: &[Open]| some.iter().map(|open| open.number).collect::<Vec<_>>();
    assert_eq!((numbers(&due.open), numbers(&due.left)), (vec![1, 2, 4], vec![0, 3]));
    let addresses: Vec<&str> = due.envelope.recipients.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(addresses, ["b@b.example", "c@b.example", "e@b.example"]);
}

/// Rules of so many recipients a minute.
fn a_minute(most: u64) -> Vec<Rule> {
    Limits { per_minute: Some(most), ..Limits::default() }.rules()
}

/// A commit by the writer.
fn commit(lane: &Lane) {
    lane.0.start(lane.0.shared.moment());
    lane.0.started();
}

#[test]
fn a_change_of_rules_takes_back_what_is_claimed_and_not_handed_out() {
    let (lane, _refills, _hand) = window(false);
    let all = || (1..=6).map(|id| ready(id, Class::Normal, 10));
    all().for_each(|ready| lane.0.fresh(ready));
    let _ = lane.claim(0, 8);
    lane.0.start(lane.0.shared.moment());
    let mut part = testing::submission("shop", &["a@b.example"]).parts.remove(0);
    part.due = Timestamp::UNIX_EPOCH;
    part.class = Class::Bulk;
    assert!(lane.0.start_fresh(QueueId::from_bits(7), &part, lane.0.shared.moment()));
    lane.limit(a_minute(2));
    // The commit of what was claimed under the old rules ends behind the change.
    lane.0.fresh(ready(7, Class::Bulk, 0));
    lane.0.started();
    assert_eq!((ids(&lane.claim(9, 8)), lane.0.claim_count()), (vec![], 0));
    lane.0.refilled(Class::Normal, all().collect(), None);
    commit(&lane);
    assert_eq!(ids(&lane.claim(1, 8)), [1]);
    lane.limit(a_minute(1));
    assert_eq!((ids(&lane.claim(9, 8)), lane.0.claim_count()), (vec![], 1));
    lane.0.refilled(Class::Normal, all().collect(), None);
    commit(&lane);
    assert_eq!(ids(&lane.claim(9, 8)), [0_u64; 0], "the one that is on its way is all that may go");
}

#[test]
fn nothing_starts_in_a_lane_that_is_shut() {
    let (lane, _refills, _hand) = window(false);
    let _ = lane.claim(0, 8);
    lane.shut(Vec::new());
    lane.0.fresh(ready(1, Class::Priority, 10));
    assert_eq!((claim(&lane, 9).len(), lane.waiting_hint()), (0, 0));
    lane.limit(Vec::new());
    assert_eq!(ids(&claim(&lane, 9)), [1]);
}

#[test]
fn what_is_claimed_ahead_makes_room_for_a_higher_class_and_what_is_in_flight_does_not() {
    let (lane, _refills, _hand) = window(false);
    lane.limit(a_minute(3));
    (1..=5).for_each(|id| lane.0.fresh(ready(id, Class::Bulk, 10)));
    let _ = lane.claim(0, 8);
    commit(&lane);
    assert_eq!(ids(&lane.claim(1, 8)), [1]);
    let forecast = || lane.forecast(Class::Priority, Mixed::of(Class::Priority, Units::message(1)));
    assert_eq!(forecast(), None);
    lane.0.fresh(ready(9, Class::Priority, 10));
    commit(&lane);
    assert_eq!(ids(&lane.claim(9, 8)), [9, 2]);
    // All three of the minute are on their way, one of them of class priority.
    assert_eq!(
        lane.forecast(Class::Priority, Mixed::of(Class::Priority, Units::message(1))),
        None,
        "the one that flies"
    );
    let next = Units { messages: 2, recipients: 2 };
    let soonest = lane.0.now() + SignedDuration::from_secs(60);
    assert!(lane.forecast(Class::Priority, Mixed::of(Class::Priority, next)) >= Some(soonest));
    lane.0.fresh(ready(10, Class::Priority, 10));
    commit(&lane);
    assert_eq!(ids(&lane.claim(9, 8)), [0_u64; 0]);
}

#[test]
fn who_may_not_go_by_the_limits_is_no_better_than_who_is_spared() {
    let (lane, _refills, _hand) = window(false);
    lane.limit(a_minute(1));
    (1..=2).for_each(|id| lane.0.fresh(ready(id, Class::Normal, 10)));
    let _ = lane.spare(QueueId::from_bits(1));
    assert!(lane.has_unspared());
    assert_eq!(ids(&claim(&lane, 1)), [2]);
    lane.0.fresh(ready(3, Class::Normal, 10));
    assert!(!lane.has_unspared(), "the minute is used up");
    lane.limit(a_minute(2));
    assert!(lane.has_unspared());
    assert_eq!(lane.spare_none(), [QueueId::from_bits(1)]);
    assert_eq!(lane.spared(), 0);
}

#[tokio::test]
async fn who_waits_is_woken_by_new_mail() {
    let (lane, _refills, _hand) = window(false);
    let waiting = tokio::spawn({
        let lane = lane.clone();
        async move { lane.wait().await }
    });
    tokio::task::yield_now().await;
    lane.0.fresh(ready(1, Class::Normal, 10));
    waiting.await.unwrap();
}
