//! An index that was damaged, cut or lost, and what receivers of events notice of it.

use crate::home::{Daemon, Home, LIMIT, NOWHERE, finish, recipients, text};
use crate::receiver::{Answer, Receiver, Request, SECRET};
use crate::smarthost::Smarthost;
use crate::smtp::Smtp;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

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
    // Its log stays where somebody still read when the daemon ended.
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.path(&format!("state/queue.db{suffix}")));
    }
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

#[test]
fn a_limit_holds_over_a_kill_and_a_salvage() {
    let (smarthost, let_go) = Smarthost::slow();
    let home = Home::new(&format!("{}per_day = 4\nconnections = 2\n", smarthost.section("shop")));
    let daemon = home.start();
    let post = |number: u32| {
        let to = format!("guest{number}@guest.test");
        Smtp::hello(daemon.address()).post("shop@shop.test", &[&to], "Subject: x\r\n\r\nx\r\n")
    };
    let ids: Vec<String> = (0..8).map(post).collect();
    let deadline = Instant::now() + LIMIT;
    while smarthost.most_at_once() < 2 {
        assert!(Instant::now() < deadline, "two connections were never at work");
        std::thread::yield_now();
    }
    drop(daemon);
    home.cli(["queue", "salvage"]).good();
    // What hung there is taken, too.
    drop(let_go);
    let daemon = home.start();
    loop {
        let status = home.json(["status", "--json"]);
        let day = status[0]["limits"].as_array().unwrap().iter().find(|one| one["limit"] == "per_day");
        if day.unwrap()["used"] == 4 && status[0]["connections"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{status:#?}");
    }
    drop(daemon);
    let taken = [smarthost.next(), smarthost.next()].into_iter().chain(smarthost.rest()).count();
    assert!(taken <= 4, "{taken} were sent, 4 a day are allowed");
    let _daemon = home.start();
    let life = home.json(["queue", "show", &ids[0], "--json"]);
    let may_be_twice = |one: &serde_json::Value| one["kind"] == "maybe_duplicate";
    assert!(life[0]["happenings"].as_array().unwrap().iter().any(may_be_twice), "{life:#?}");
}

/// Gives all of a home to the user as whom [`as_owner`] runs the daemon: somebody whom permissions hold back.
fn give_away(home: &Home) {
    if rustix::process::geteuid().is_root() {
        let given =
            std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(home.path("")).status();
        assert!(given.unwrap().success());
    }
}

fn as_owner(home: &Home) -> std::process::Command {
    let mut command = home.command(["run"]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn start_as_owner(home: &Home) -> Daemon {
    Daemon::of(as_owner(home), 1)
}

/// The reply of the one recipient of this message, once there is one.
fn reply_of(home: &Home, id: &str) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let life = home.json(["queue", "show", id, "--json"]);
        let recipient = recipients(&life)[0];
        if recipient["state"] == "deferred" {
            return text(recipient, "reply");
        }
        assert!(Instant::now() < deadline, "{life:#?}");
    }
}

#[test]
fn a_content_file_that_cannot_be_read_defers_its_own_mail_and_holds_up_no_other() {
    let home = Home::new(NOWHERE);
    give_away(&home);
    let post = |daemon: &Daemon, to: &str| {
        Smtp::hello(daemon.address()).post("shop@shop.test", &[to], "Subject: x\r\n\r\nx\r\n")
    };
    let mut daemon = start_as_owner(&home);
    let ids = ["ana@guest.test", "bea@guest.test"].map(|to| post(&daemon, to));
    daemon.stop();
    home.mode("state/content/00000001.seg", 0);
    let mut daemon = start_as_owner(&home);
    post(&daemon, "cid@guest.test");
    daemon.stop();
    let smarthost = Smarthost::start();
    home.configure(&format!("{}connections = 1\n", smarthost.section("shop")));
    let daemon = start_as_owner(&home);
    for to in ["cid@guest.test", "dan@guest.test"] {
        if to.starts_with("dan") {
            post(&daemon, to);
        }
        assert_eq!(smarthost.next().recipients, [to]);
    }
    for id in &ids {
        let reply = reply_of(&home, id);
        assert!(reply.contains("content/00000001.seg can't be read: Permission denied"), "{reply}");
        assert!(reply.contains("; run: chmod 600 /"), "{reply}");
    }
    let status = home.json(["status", "--json"]);
    assert_eq!(text(&status[0], "state"), "flowing", "{status:#?}");
    home.mode("state/content/00000001.seg", 0o600);
    home.cli(["queue", "retry", "--all"]).good();
    let mut rest = [smarthost.next(), smarthost.next()].map(|taken| taken.recipients.join(" "));
    rest.sort();
    assert_eq!(rest, ["ana@guest.test", "bea@guest.test"]);
}

#[test]
fn a_content_file_that_cannot_be_read_holds_up_no_other_forwarded_mail() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    give_away(&home);
    // Nobody's mailbox: it is held, each in a file of its own.
    let ids = ["ana", "eva"].map(|guest| {
        let mut daemon = start_as_owner(&home);
        let (from, letter) = (format!("{guest}@guest.test"), letter(guest, 1, None));
        let letter = letter.replace("hola@casasol.test", "who@knows.test");
        let id = Smtp::hello(daemon.address()).post(&from, &["inbox@users.test"], &letter);
        let deadline = Instant::now() + LIMIT;
        while recipients(&home.json(["queue", "show", &id, "--json"]))[0]["state"] != "held" {
            assert!(Instant::now() < deadline, "{id} is never held");
        }
        daemon.stop();
        id
    });
    home.mode("state/content/00000001.seg", 0);
    let _daemon = start_as_owner(&home);
    let is_of = |guest: &str, request: &Request| {
        let body = request.json();
        body["type"] == "message.received" && text(&body["data"], "subject") == format!("{guest} 1")
    };
    home.cli(["queue", "release", "--mailbox", "sol", &ids[0], &ids[1]]).good();
    receiver.wait("the one behind it", |seen| seen.iter().any(|one| is_of("eva", one)).then_some(()));
    assert!(reply_of(&home, &ids[0]).contains("content/00000001.seg can't be read"));
    home.mode("state/content/00000001.seg", 0o600);
    home.cli(["queue", "retry", &ids[0]]).good();
    receiver.wait("the first one", |seen| seen.iter().any(|one| is_of("ana", one)).then_some(()));
}

#[test]
fn what_root_copied_back_is_told_with_the_one_command_that_puts_it_right() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new(NOWHERE);
    accept(&home, &["ana"]);
    give_away(&home);
    for name in ["state/content", "state/lock", "state/queue.db", "state/content/00000001.seg"] {
        std::os::unix::fs::chown(home.path(name), Some(0), Some(0)).unwrap();
        let cure = "run: chown -R 65534 ";
        let told = home.cli(["queue", "salvage"]).failed(77);
        let whose = format!("{name} belongs to user 0");
        assert!(told.contains(&whose) && told.contains(cure), "{name}: {told}");
        // Mail in a content file waits; without the others there is no start.
        if name != "state/content/00000001.seg" {
            let told = finish(as_owner(&home), "").failed(77);
            assert!(told.contains(&whose) && told.contains(cure), "{name}: {told}");
        }
        give_away(&home);
    }
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.starts_with("1 message found in the content files: 1 queued again"), "{told}");
}

#[test]
fn a_link_in_place_of_a_content_file_is_named_and_not_said_to_be_kept() {
    let home = Home::new(NOWHERE);
    accept(&home, &["ana"]);
    let segment = home.path("state/content/00000001.seg");
    std::fs::rename(&segment, home.path("away")).unwrap();
    std::os::unix::fs::symlink(home.path("away"), &segment).unwrap();
    let told = home.cli(["queue", "salvage"]).good();
    assert!(
        told.contains("00000001.seg can't be read, and is left as it is: the file is not a regular file"),
        "{told}"
    );
    assert!(!told.contains("*.damaged") && told.contains("whose content is damaged or gone: held"), "{told}");
}
