//! An index that was damaged, cut or lost, and what receivers of events notice of it.

use crate::home::{Home, NOWHERE, text};
use crate::receiver::{Answer, Receiver, Request, SECRET};
use crate::smarthost::Smarthost;
use crate::smtp::Smtp;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// A user who isn't root.
const NOBODY: u32 = 65534;

fn home(receiver: &Receiver) -> Home {
    let url = receiver.url();
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{NOWHERE}[inbox.guests]\naddress = \"inbox@users.test\"\n\
         webhook = \"{url}\"\nsecret_file = \"guests.secret\"\nallow_private = true\n\
         [mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\n"
    ));
    home.write("guests.secret", &format!("{SECRET}\n"));
    home
}

/// A guest's message; those of one guest are one conversation.
fn letter(guest: &str, number: usize, answers: Option<usize>) -> String {
    let answers = answers.map_or(String::new(), |to| format!("In-Reply-To: <{guest}-{to}@guest.test>\r\n"));
    format!(
        "From: <{guest}@guest.test>\r\nTo: hola@casasol.test\r\nSubject: {guest} {number}\r\n\
         Message-ID: <{guest}-{number}@guest.test>\r\n{answers}\r\nWords of {guest}, {number}.\r\n"
    )
}

fn post(smtp: &mut Smtp, guest: &str, number: usize, answers: Option<usize>) {
    smtp.post(&format!("{guest}@guest.test"), &["inbox+sol@users.test"], &letter(guest, number, answers));
}

/// Every event's number and octets by its name.
fn by_name(requests: &[Request]) -> BTreeMap<String, (i64, Vec<u8>)> {
    let named = |request: &Request| (request.id().to_owned(), (request.seq(), request.body.clone()));
    requests.iter().map(named).collect()
}

#[test]
fn events_that_were_not_taken_are_posted_as_they_were_after_a_salvage() {
    let receiver = Receiver::start(|_, _, _| Answer::status(500));
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for guest in ["ana", "eva", "luz"] {
        post(&mut smtp, guest, 1, None);
    }
    let before = by_name(&receiver.requests(3));
    drop(daemon);
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.contains("kept from the old index: 3 events to be posted"), "{told}");
    assert!(told.contains("3 conversations") && !told.contains("numbered from"), "{told}");
    receiver.change(|_, _, _| Answer::status(200));
    let daemon = home.start();
    let taken = |seen: &[Request]| {
        let taken: Vec<Request> = seen.iter().filter(|request| request.answer.is_done()).cloned().collect();
        (taken.len() >= 3).then_some(taken)
    };
    let after = receiver.wait("posted again", taken);
    assert_eq!(by_name(&after), before, "the same names, numbers and octets");
    for request in &after {
        request.verify(SECRET);
    }
    post(&mut Smtp::hello(daemon.address()), "ana", 2, Some(1));
    let next = receiver.wait("the next one", |seen| seen.iter().find(|request| request.seq() == 4).cloned());
    let conversation = |request: &Request| text(&request.json()["data"]["conversation"], "id");
    let first = after.iter().find(|request| text(&request.json()["data"], "subject") == "ana 1").unwrap();
    assert_eq!(conversation(&next), conversation(first), "the conversation goes on");
}

#[test]
fn without_an_index_numbers_go_on_above_and_what_was_lost_is_told() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let mut daemon = home.start();
    post(&mut Smtp::hello(daemon.address()), "ana", 1, None);
    assert_eq!(receiver.requests(1)[0].seq(), 1);
    daemon.stop();
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        let _ = std::fs::remove_file(home.path("state").join(file));
    }
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.contains("lost with the old index: kept events, conversations"), "{told}");
    assert!(told.contains("new ones are numbered from "), "{told}");
    let daemon = home.start();
    post(&mut Smtp::hello(daemon.address()), "ana", 2, None);
    let next = receiver.requests(2).remove(1);
    let from: i64 = told.split("numbered from ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(next.seq(), from);
    assert!(from > 1);
}

#[test]
fn an_index_with_a_damaged_page_gives_up_no_more_than_that_page_and_says_so() {
    let receiver = Receiver::start(|_, _, _| Answer::status(500));
    let home = home(&receiver);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for number in 1..=60 {
        post(&mut smtp, &format!("guest{number}"), 1, None);
    }
    let sixty = |seen: &[Request]| Some(by_name(seen)).filter(|names| names.len() == 60);
    let before = receiver.wait("all of them", sixty);
    daemon.stop();
    // A leaf of bodies: the page in which the words of the thirtieth stand.
    let index = home.path("state/queue.db");
    let mut octets = std::fs::read(&index).unwrap();
    let at = memchr::memmem::find(&octets, b"Words of guest30, 1.").unwrap() / 4096 * 4096;
    octets[at..at + 4096].fill(0xa5);
    std::fs::write(&index, octets).unwrap();
    let told = home.cli(["queue", "salvage"]).good();
    receiver.change(|_, _, _| Answer::status(200));
    let _daemon = home.start();
    let waiting = home.json(["events", "list", "--state", "waiting", "--json"]);
    // What is due already may have been taken meanwhile, all of it perhaps.
    if !waiting.is_empty() {
        let waiting = waiting.iter().map(|event| text(event, "id"));
        home.cli(["events".to_owned(), "replay".into()].into_iter().chain(waiting)).good();
    }
    let taken = |seen: &[Request]| {
        let taken: Vec<Request> = seen.iter().filter(|request| request.answer.is_done()).cloned().collect();
        let named = by_name(&taken);
        (named.len() >= 50).then_some(named)
    };
    let after = receiver.wait("most of them", taken);
    assert!(after.iter().all(|(name, event)| before.get(name) == Some(event)), "{told}");
    assert!(told.contains("not all of it can be read"), "{told}");
}

#[test]
fn root_salvages_as_the_user_whose_queue_it_is_behind_a_folder_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], "Subject: x\r\n\r\nx\r\n");
    daemon.stop();
    std::fs::remove_file(home.path("state/queue.db")).unwrap();
    for name in ["state", "state/lock", "state/content", "state/content/00000001.seg"] {
        std::os::unix::fs::chown(home.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // As systemd's DynamicUser= has it: only root comes to the folder.
    home.mode("", 0o700);
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.starts_with("1 message found in the content files"), "{told}");
    let found = std::fs::metadata(home.path("state/queue.db")).unwrap();
    assert_eq!((found.uid(), found.gid()), (NOBODY, NOBODY));
}

/// Takes the index away, with its log, and puts this one in its place.
fn put_back(home: &Home, backup: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.path(&format!("state/queue.db{suffix}")));
    }
    std::fs::write(home.path("state/queue.db"), backup).unwrap();
}

/// Queues a letter to each of these and stops.
fn accept(home: &Home, names: &[&str]) {
    let mut daemon = home.start();
    for name in names {
        // Equally long, so that they begin at the same places in their files.
        let letter = format!("Subject: x\r\n\r\nsecret for {name}\r\n");
        Smtp::hello(daemon.address()).post("shop@shop.test", &[&format!("{name}@guest.test")], &letter);
    }
    daemon.stop();
}

#[test]
fn an_index_from_a_backup_put_back_twice_costs_no_mail_and_sends_none_to_the_wrong_person() {
    let home = Home::new(NOWHERE);
    accept(&home, &["ana"]);
    let backup = std::fs::read(home.path("state/queue.db")).unwrap();
    accept(&home, &["bea", "bob"]);
    put_back(&home, &backup);
    accept(&home, &[]);
    put_back(&home, &backup);
    accept(&home, &["cid", "cyd"]);
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.contains("3 queued again, 0 held as before, 2 held because nothing"), "{told}");
    let smarthost = Smarthost::start();
    home.configure(&smarthost.section("shop"));
    let _daemon = home.start();
    home.cli(["queue", "release", "--state", "held"]).good();
    let mut arrived: Vec<(String, String)> = (0..5)
        .map(|_| {
            let taken = smarthost.next();
            let secret = taken.content.lines().last().unwrap().to_owned();
            (taken.recipients.join(" "), secret)
        })
        .collect();
    arrived.sort();
    let expected = ["ana", "bea", "bob", "cid", "cyd"]
        .map(|name| (format!("{name}@guest.test"), format!("secret for {name}")));
    assert_eq!(arrived, expected);
}
