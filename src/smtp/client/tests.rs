//! What no table can list: any server, any split, any end, and still one report for each job.

use super::*;
use crate::smtp::address::Address;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The shell, with a server that answers from a list of replies, whatever it is asked.
struct Play {
    client: Client,
    jobs: VecDeque<Job>,
    taken: usize,
    reports: Vec<JobReport>,
    ending: Option<Ending>,
    /// All that was written.
    wire: Vec<u8>,
    seen: usize,
    /// Octets of BDAT still to come.
    chunk: usize,
    in_data: bool,
    /// What isn't begun when so many octets are written is taken back.
    withdraw_at: Option<usize>,
    withdrawn: Vec<u64>,
}

fn settings(pipelining: bool, chunking: bool) -> ClientSettings {
    ClientSettings {
        hostname: "relay.test".into(),
        tls: TlsUse::None,
        login: None,
        plain_password_ok: false,
        pipelining,
        chunking,
        window: Window { messages: 3, octets: 5000 },
        recipients_per_message: 3,
    }
}

fn job(token: u64, recipients: usize, size: u64) -> Job {
    let address = |text: &str| Address::parse(text, false).unwrap();
    let recipient =
        |number| JobRecipient { address: address(&format!("r{number}@y.test")), notify: None, orcpt: None };
    Job {
        token,
        sender: Some(address("a@x.test")),
        recipients: (0..recipients).map(recipient).collect(),
        size,
        eight_bit: false,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

impl Play {
    fn new(client: Client, jobs: Vec<Job>) -> Self {
        Self {
            client,
            jobs: jobs.into(),
            taken: 0,
            reports: Vec::new(),
            ending: None,
            wire: Vec::new(),
            seen: 0,
            chunk: 0,
            in_data: false,
            withdraw_at: None,
            withdrawn: Vec::new(),
        }
    }

    fn pump(&mut self) {
        for _ in 0..100_000 {
            match self.client.next() {
                Action::Write => {
                    let room = self.withdraw_at.map_or(usize::MAX, |at| at - self.wire.len());
                    let mut output = self.client.output().to_vec();
                    output.truncate(room);
                    self.wire.extend_from_slice(&output);
                    self.client.wrote(output.len());
                    if output.len() == room {
                        self.withdraw_at = None;
                        self.withdrawn = self.client.withdraw();
                    }
                }
                Action::Content { length, .. } => {
                    let block: Vec<u8> = b"line\r\n".iter().copied().cycle().take(length).collect();
                    self.client.content(&block);
                }
                Action::NeedJob => match self.jobs.pop_front() {
                    Some(job) => self.taken += usize::from(self.client.submit(job).is_ok()),
                    None => self.client.quit(),
                },
                Action::Report(report) => self.reports.push(report),
                Action::StartTls => self.client.tls_started(),
                Action::Wait(_) | Action::Idle => return,
                Action::Closed(ending) => {
                    self.ending = Some(ending);
                    return;
                }
            }
        }
        panic!("the client never rests");
    }

    /// Reads what was written as a server would; gives the verbs to be answered.
    fn commands(&mut self) -> Vec<String> {
        let mut verbs = Vec::new();
        while let Some(rest) = self.wire.get(self.seen..).filter(|rest| !rest.is_empty()) {
            if self.chunk > 0 {
                let taken = self.chunk.min(rest.len());
                self.seen += taken;
                self.chunk -= taken;
                if self.chunk == 0 {
                    verbs.push("DOT".to_owned());
                }
                continue;
            }
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { break };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            self.seen += end + 2;
            if self.in_data {
                if line == "." {
                    self.in_data = false;
                    verbs.push("DOT".to_owned());
                }
            } else if let Some(size) = line.strip_prefix("BDAT ") {
                self.chunk = size.trim_end_matches(" LAST").parse().unwrap();
                if self.chunk == 0 {
                    verbs.push("DOT".to_owned());
                }
            } else {
                verbs.push(line.split(' ').next().unwrap_or_default().to_owned());
                // What stands behind DATA is only content if it is answered so.
            }
        }
        verbs
    }
}

/// Plays against a server that is in step: it answers each command by the next fate, and knows sequences.
fn in_step(play: &mut Play, offers: &str, fates: &[u8], sizes: &[usize]) {
    let mut fates = fates.iter().copied();
    let mut sizes = sizes.iter().copied().cycle();
    let mut answers = b"220 mx\r\n".to_vec();
    let (mut mail, mut recipients) = (false, 0);
    for _ in 0..10_000 {
        while !answers.is_empty() {
            let count = sizes.next().unwrap_or(1).clamp(1, answers.len());
            let piece: Vec<u8> = answers.drain(..count).collect();
            play.client.read(&piece);
        }
        play.pump();
        if play.ending.is_some() {
            return;
        }
        for verb in play.commands() {
            let fate = fates.next().unwrap_or(0) % 8;
            let refusal = match fate {
                6 => Some("450 4.0.0 later"),
                7 => Some("550-5.0.0 no\r\n550 5.0.0 never"),
                _ => None,
            };
            let reply = match verb.as_str() {
                "EHLO" => offers.to_owned(),
                "MAIL" if refusal.is_none() => {
                    (mail, recipients) = (true, 0);
                    "250 ok".to_owned()
                }
                "RCPT" if !mail => "503 5.5.1 MAIL first".to_owned(),
                "RCPT" if refusal.is_none() => {
                    recipients += 1;
                    "250 ok".to_owned()
                }
                "DATA" if refusal.is_none() && recipients > 0 => {
                    play.in_data = true;
                    "354 go".to_owned()
                }
                "DATA" => "503 5.5.1 RCPT first".to_owned(),
                "DOT" if recipients > 0 && refusal.is_none() => {
                    (mail, recipients) = (false, 0);
                    "250 2.0.0 kept".to_owned()
                }
                "DOT" => {
                    (mail, recipients) = (false, 0);
                    refusal.unwrap_or("554 5.5.1 nobody").to_owned()
                }
                "RSET" => {
                    (mail, recipients) = (false, 0);
                    "250 ok".to_owned()
                }
                "QUIT" => "221 bye".to_owned(),
                _ => refusal.unwrap_or("500 what").to_owned(),
            };
            answers.extend_from_slice(reply.as_bytes());
            answers.extend_from_slice(b"\r\n");
        }
    }
    panic!("it never ends");
}

fn offers(pipelining: bool, chunking: bool) -> String {
    let mut lines = vec!["mx"];
    lines.extend(pipelining.then_some("PIPELINING"));
    lines.extend(chunking.then_some("CHUNKING"));
    let last = lines.pop().unwrap_or_default();
    lines.iter().fold(String::new(), |all, line| all + "250-" + line + "\r\n") + "250 " + last
}

fn jobs(shapes: &[(usize, u64)]) -> Vec<Job> {
    shapes.iter().zip(0..).map(|((recipients, size), token)| job(token, *recipients, *size)).collect()
}

proptest! {
    #[test]
    fn the_split_of_replies_changes_no_report(
        fates in proptest::collection::vec(any::<u8>(), 0..80),
        shapes in proptest::collection::vec((1usize..5, (0u64..1500).prop_map(|lines| lines * 6)), 0..6),
        (pipelining, chunking) in any::<(bool, bool)>(),
        sizes in proptest::collection::vec(1usize..30, 1..20),
    ) {
        let run = |sizes: &[usize]| {
            let mut play = Play::new(Client::new(settings(true, true)), jobs(&shapes));
            in_step(&mut play, &offers(pipelining, chunking), &fates, sizes);
            (play.reports, play.ending, play.wire)
        };
        let whole = run(&[usize::MAX]);
        prop_assert_eq!(&whole.0.len(), &shapes.len());
        prop_assert_eq!(&whole.1, &Some(Ending::Finished));
        prop_assert_eq!(run(&sizes), whole);
    }

    #[test]
    fn what_is_withdrawn_was_not_begun_and_everything_else_goes_on(
        fates in proptest::collection::vec(any::<u8>(), 0..40),
        shapes in proptest::collection::vec((1usize..5, (0u64..300).prop_map(|lines| lines * 6)), 1..6),
        (pipelining, chunking) in any::<(bool, bool)>(),
        at in 1usize..3_000,
    ) {
        let mut play = Play::new(Client::new(settings(true, true)), jobs(&shapes));
        play.withdraw_at = Some(at);
        in_step(&mut play, &offers(pipelining, chunking), &fates, &[usize::MAX]);
        prop_assert_eq!(&play.ending, &Some(Ending::Finished));
        let mut tokens: Vec<u64> = play.reports.iter().map(|report| report.token).collect();
        let mails = String::from_utf8_lossy(&play.wire).matches("MAIL FROM").count();
        prop_assert_eq!(mails, tokens.len(), "each that is begun, and no other, is reported");
        tokens.extend(play.withdrawn.iter().rev());
        prop_assert_eq!(tokens, (0..play.taken as u64).collect::<Vec<_>>());
    }

    #[test]
    fn any_server_and_any_end_give_one_report_per_job(
        replies in proptest::collection::vec(prop_oneof![
            6 => Just("250 ok\r\n"), 2 => Just("354 go\r\n"), 1 => Just("450 later\r\n"), 1 => Just("550 no\r\n"),
            1 => Just("421 bye\r\n"), 1 => Just("220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n"),
            1 => Just("220 mx\r\n"), 1 => Just("250-half\r\n"), 1 => Just("garbage\r\n"), 1 => Just("25"),
        ], 0..60),
        pump in proptest::collection::vec(any::<bool>(), 60),
        shapes in proptest::collection::vec((1usize..5, (0u64..1500).prop_map(|lines| lines * 6)), 0..6),
        (pipelining, chunking) in any::<(bool, bool)>(),
    ) {
        let mut play = Play::new(Client::new(settings(pipelining, chunking)), jobs(&shapes));
        play.pump();
        play.client.read(b"220 mx\r\n");
        play.pump();
        play.client.read(b"250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n");
        for (reply, pump) in replies.iter().zip(&pump) {
            if *pump {
                play.pump();
            }
            play.client.read(reply.as_bytes());
        }
        play.client.lost(Loss::Closed);
        play.pump();
        prop_assert!(play.ending.is_some());
        prop_assert_eq!(play.client.in_flight(), 0);
        let mut counts = BTreeMap::new();
        for report in &play.reports {
            *counts.entry(report.token).or_insert(0) += 1;
            prop_assert_eq!(report.outcomes.len(), shapes[usize::try_from(report.token).unwrap()].0);
        }
        prop_assert_eq!(counts.len(), play.taken);
        prop_assert!(counts.values().all(|count| *count == 1));
    }
}

#[test]
fn messages_that_stand_behind_one_being_written_are_given_back() {
    let mut play = Play::new(Client::new(settings(true, true)), jobs(&[(1, 600); 3]));
    let begun = b"EHLO relay.test\r\nMAIL FROM:<a@x.test>\r\n".len();
    play.withdraw_at = Some(begun);
    in_step(&mut play, &offers(true, true), &[], &[usize::MAX]);
    assert_eq!((play.withdrawn, play.reports.len()), (vec![2, 1], 1));
    assert!(play.reports[0].outcomes[0].is_ok());
    assert!(play.wire.ends_with(b"line\r\nRSET\r\nQUIT\r\n"));
}

#[test]
fn debug_shows_no_password() {
    let login = crate::smtp::sasl_client::LoginPlan {
        username: "tim".into(),
        secret: secrecy::SecretString::from("tanstaaf"),
        choice: crate::smtp::sasl_client::MechanismChoice::Plain,
        server: ("mx.test".into(), 25),
    };
    let mut client =
        Client::new(ClientSettings { login: Some(login), tls: TlsUse::Active, ..settings(true, true) });
    client.read(b"220 mx\r\n");
    let hello = client.output().len();
    client.wrote(hello);
    client.read(b"250-mx\r\n250 AUTH PLAIN\r\n");
    assert_eq!(client.output(), b"AUTH PLAIN AHRpbQB0YW5zdGFhZg==\r\n");
    let shown = format!("{client:?} {:?}", client.settings());
    assert!(!shown.contains("tanstaaf") && !shown.contains("65, 85, 84, 72"), "{shown}");
}

#[test]
fn phases_follow_what_is_awaited() {
    let phase = |client: &Client| client.phase().phase;
    let write = |client: &mut Client| {
        let _ = client.next();
        let count = client.output().len();
        client.wrote(count);
    };
    let mut client = Client::new(settings(true, true));
    assert_eq!(phase(&client), Phase::Greeting);
    client.read(b"220 mx\r\n");
    write(&mut client);
    assert_eq!(phase(&client), Phase::Command);
    client.read(b"250 mx\r\n");
    assert!(client.submit(job(1, 1, 6)).is_ok());
    write(&mut client);
    client.read(b"250 ok\r\n");
    write(&mut client);
    assert_eq!(phase(&client), Phase::Command);
    client.read(b"250 ok\r\n");
    write(&mut client);
    assert_eq!(phase(&client), Phase::Data);
    client.read(b"354 ok\r\n");
    assert_eq!(client.next(), Action::Content { token: 1, offset: 0, length: 6 });
    client.content(b"line\r\n");
    assert_eq!(phase(&client), Phase::Content);
    let before = client.phase().step;
    write(&mut client);
    assert_eq!(phase(&client), Phase::Dot);
    let after = client.phase().step;
    assert!(after > before);
    client.read(b"25");
    assert_eq!(client.phase().step, after, "an octet is no progress");
    client.quit();
    client.read(b"0 ok\r\n");
    assert!(matches!(client.next(), Action::Report(_)));
    write(&mut client);
    assert_eq!(phase(&client), Phase::Quit);
}
