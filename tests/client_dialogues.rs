//! Plays the scripts in `tests/client_dialogues/` against the transaction machine. No socket: the shell is this file.
//!
//! A file holds several scripts, each begun by `=== what it shows`. Every reply comes once as a whole and once octet
//! by octet, and the output is taken once as a whole and once in pieces of seven; all must give the same.
//!
//! | line | meaning |
//! |---|---|
//! | `settings: tls=starttls login=auto …` | also `tls=active` `plain-ok` `no-pipelining` `no-chunking` `window=2x1000` `recipients=2` |
//! | `J: 1 from > to, to 8bit utf8 ret=full envid=x / content` | job 1 is due from here on; `to;never;rfc822;x` has NOTIFY and ORCPT |
//! | `S: text` | the server says this line; all that was written must have been expected before |
//! | `S+ text` | the same, in one packet with the next `S:` |
//! | `C: text` | the client has written this line |
//! | `C! text` | the client has written these octets |
//! | `-- tls --` | the client asks for the handshake, and it succeeds |
//! | `-- stall --` `-- flow --` | from here on nothing is written; everything is written again |
//! | `-- quit --` `-- unreadable --` | the shell quits; the content of the next piece can't be read |
//! | `-- idle --` | the client has nothing to do |
//! | `-- closed --` `-- timed out --` `-- bad certificate --` | the shell says what became of the connection |
//! | `R: 1 to stage cause` | a recipient's fate, in order; `(uncertain)` behind it if the job is |
//! | `E: stage cause` or `E: finished` | how the connection ended; none if it is still open |
//!
//! Escapes: `\r \n \0 \\ \xNN`, and `\{N:text}` repeats. The login is `tim` with `tanstaaftanstaaf`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing script must stop the test"
)]

use secrecy::SecretString;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use waystation::smtp::address::Address;
use waystation::smtp::client::{
    Action, Client, ClientSettings, Ending, Job, JobRecipient, Loss, Notify, Ret, TlsUse, Window,
};
use waystation::smtp::sasl_client::{LoginPlan, MechanismChoice};

#[test]
fn every_dialogue_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_dialogues");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut scripts, mut complaints) = (0, Vec::new());
    for file in files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "smtp")) {
        let text = fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for script in split(&text) {
            scripts += 1;
            let pieces = [(usize::MAX, usize::MAX), (1, 7)];
            complaints.extend(pieces.into_iter().find_map(|(read, write)| {
                let complaint = play(&script, read, write).err()?;
                Some(format!("{name}:{complaint} (reads of {read}, writes of {write})"))
            }));
        }
    }
    assert!(scripts >= 110, "scripts are missing: {scripts}");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The scripts of a file, as numbered lines.
fn split(text: &str) -> Vec<Vec<(usize, &str)>> {
    let mut scripts: Vec<Vec<_>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("===") {
            scripts.push(Vec::new());
        }
        if let Some(script) = scripts.last_mut() {
            script.push((number + 1, line));
        }
    }
    scripts
}

fn play(script: &[(usize, &str)], read: usize, write: usize) -> Result<(), String> {
    let title = script.first().map_or("", |(_, line)| line.trim_matches(['=', ' ']));
    let settings = script.iter().find_map(|(_, line)| line.strip_prefix("settings:")).unwrap_or_default();
    let mut shell = Shell::new(settings, read, write);
    let (mut packet, mut fates) = (Vec::new(), String::new());
    for (number, line) in script {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = match kind {
            "" | "#" | "===" | "settings:" => Ok(()),
            "J:" => {
                shell.due(rest);
                Ok(())
            }
            "S:" | "S+" | "S!" => {
                packet.extend(unescape(rest));
                if kind != "S!" {
                    packet.extend(b"\r\n");
                }
                if kind == "S+" { Ok(()) } else { shell.server_says(&std::mem::take(&mut packet)) }
            }
            "C:" => shell.expect(&[unescape(rest), b"\r\n".to_vec()].concat()),
            "C!" => shell.expect(&unescape(rest)),
            "R:" | "E:" => {
                let _infallible = writeln!(fates, "{line}");
                Ok(())
            }
            "--" => shell.event(rest.trim_end_matches("--").trim()),
            other => Err(format!("what is {other}?")),
        };
        step.map_err(|complaint| format!("{number}: {title}: {complaint}"))?;
    }
    shell.pump();
    if !shell.wire.is_empty() {
        return Err(format!(" {title}: also written: {}", shell.wire.escape_ascii()));
    }
    let got = shell.fates.clone() + &shell.ending();
    if got == fates { Ok(()) } else { Err(format!(" {title}: wanted\n{fates}  got\n{got}")) }
}

/// What `deliver/relay` will be, without a socket.
struct Shell {
    client: Client,
    read: usize,
    write: usize,
    due: VecDeque<(Job, Vec<u8>)>,
    /// Address lists and contents by token.
    taken: HashMap<u64, (Vec<String>, Vec<u8>)>,
    wire: Vec<u8>,
    fates: String,
    stalled: bool,
    unreadable: bool,
    last: Option<Action>,
}

impl Shell {
    fn new(settings: &str, read: usize, write: usize) -> Self {
        let mut this = Self {
            client: Client::new(parse_settings(settings)),
            read,
            write,
            due: VecDeque::new(),
            taken: HashMap::new(),
            wire: Vec::new(),
            fates: String::new(),
            stalled: false,
            unreadable: false,
            last: None,
        };
        this.pump();
        this
    }

    /// Does what the client asks until it waits.
    fn pump(&mut self) {
        for _ in 0..1_000_000 {
            let action = self.client.next();
            self.last = Some(action.clone());
            match action {
                Action::Write if self.stalled => return,
                Action::Write => {
                    let output = self.client.output();
                    let count = output.len().min(self.write);
                    self.wire.extend_from_slice(&output[..count]);
                    self.client.wrote(count);
                }
                Action::Content { .. } if self.unreadable => self.client.content_failed(),
                Action::Content { token, offset, length } => {
                    let (_, content) = &self.taken[&token];
                    let offset = usize::try_from(offset).unwrap();
                    let length = if self.write == usize::MAX { length } else { length.min(1000) };
                    self.client.content(&content[offset..offset + length]);
                }
                Action::NeedJob => self.submit_or_decline(),
                Action::Report(report) => {
                    let (recipients, _) = self.taken.remove(&report.token).expect("one report per job");
                    let mark = if report.uncertain { " (uncertain)" } else { "" };
                    assert_eq!(recipients.len(), report.outcomes.len(), "one outcome per recipient");
                    for (recipient, outcome) in recipients.iter().zip(&report.outcomes) {
                        let fate = match outcome {
                            Ok(reply) => format!("ok {reply}"),
                            Err(setback) => format!("{:?} {}", setback.stage, setback.cause),
                        };
                        let _infallible =
                            writeln!(self.fates, "R: {} {recipient} {fate}{mark}", report.token);
                    }
                }
                Action::StartTls | Action::Wait(_) | Action::Idle | Action::Closed(_) => return,
            }
        }
        panic!("the client never rests");
    }

    fn submit_or_decline(&mut self) {
        let Some((job, content)) = self.due.pop_front() else { return self.client.no_job() };
        let token = job.token;
        let recipients = job.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        match self.client.submit(job) {
            Ok(()) => assert!(self.taken.insert(token, (recipients, content)).is_none(), "tokens differ"),
            Err(refused) => {
                let _infallible = writeln!(self.fates, "R: {token} refused {}", refused.refusal);
            }
        }
    }

    fn due(&mut self, line: &str) {
        self.due.push_back(parse_job(line));
        if self.client.takes_jobs() {
            self.submit_or_decline();
        }
        self.pump();
    }

    fn server_says(&mut self, octets: &[u8]) -> Result<(), String> {
        if !self.wire.is_empty() {
            return Err(format!("not expected, but written: {}", self.wire.escape_ascii()));
        }
        for piece in octets.chunks(self.read.min(octets.len().max(1))) {
            self.client.read(piece);
            // Whatever can be said after a part of a packet must not depend on the parts.
        }
        self.pump();
        Ok(())
    }

    fn expect(&mut self, octets: &[u8]) -> Result<(), String> {
        if !self.wire.starts_with(octets) {
            return Err(format!("written instead: {}", self.wire.escape_ascii()));
        }
        self.wire.drain(..octets.len());
        Ok(())
    }

    fn event(&mut self, event: &str) -> Result<(), String> {
        match event {
            "tls" if self.last != Some(Action::StartTls) => {
                return Err(format!("instead of TLS: {:?}", self.last));
            }
            "tls" => self.client.tls_started(),
            "stall" => self.stalled = true,
            "flow" => self.stalled = false,
            "quit" => self.client.quit(),
            "unreadable" => self.unreadable = true,
            "idle" if self.last != Some(Action::Idle) => return Err(format!("not idle: {:?}", self.last)),
            "idle" => {}
            "closed" => self.client.lost(Loss::Closed),
            "timed out" => self.client.lost(Loss::TimedOut),
            "bad certificate" => self.client.lost(Loss::Handshake),
            other => return Err(format!("what is {other}?")),
        }
        self.pump();
        Ok(())
    }

    fn ending(&mut self) -> String {
        match self.client.next() {
            Action::Closed(Ending::Finished) => "E: finished\n".to_owned(),
            Action::Closed(Ending::Failed(setback)) => format!("E: {:?} {}\n", setback.stage, setback.cause),
            _ => String::new(),
        }
    }
}

fn parse_settings(text: &str) -> ClientSettings {
    let mut settings = ClientSettings {
        hostname: "relay.test".into(),
        tls: TlsUse::None,
        login: None,
        plain_password_ok: false,
        pipelining: true,
        chunking: true,
        window: Window::default(),
        recipients_per_message: 100,
    };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("tls", "starttls") => settings.tls = TlsUse::StartTls,
            ("tls", "active") => settings.tls = TlsUse::Active,
            ("login", choice) => {
                let choice = match choice {
                    "auto" => MechanismChoice::Auto,
                    "plain" => MechanismChoice::Plain,
                    "login" => MechanismChoice::Login,
                    "cram-md5" => MechanismChoice::CramMd5,
                    "xoauth2" => MechanismChoice::XOAuth2,
                    "oauthbearer" => MechanismChoice::OAuthBearer,
                    other => panic!("{other}"),
                };
                let secret = SecretString::from("tanstaaftanstaaf");
                let server = ("mx.test".into(), 587);
                settings.login = Some(LoginPlan { username: "tim".into(), secret, choice, server });
            }
            ("plain-ok", _) => settings.plain_password_ok = true,
            ("no-pipelining", _) => settings.pipelining = false,
            ("no-chunking", _) => settings.chunking = false,
            ("recipients", most) => settings.recipients_per_message = most.parse().unwrap(),
            ("window", size) => {
                let (messages, octets) = size.split_once('x').unwrap();
                settings.window =
                    Window { messages: messages.parse().unwrap(), octets: octets.parse().unwrap() };
            }
            _ => panic!("what is {word}?"),
        }
    }
    settings
}

fn parse_job(line: &str) -> (Job, Vec<u8>) {
    let (envelope, content) = line.split_once(" / ").unwrap_or((line, "hi\\r\\n"));
    let content = unescape(content);
    let (head, rest) = envelope.split_once(" > ").expect("a > between sender and recipients");
    let (token, sender) = head.split_once(' ').expect("a number and a sender");
    let mut job = Job {
        token: token.parse().unwrap(),
        sender: (sender != "<>").then(|| Address::parse(sender, true).unwrap()),
        recipients: Vec::new(),
        size: content.len() as u64,
        eight_bit: false,
        smtputf8: false,
        ret: None,
        envid: None,
    };
    for word in rest.split([' ', ',']).filter(|word| !word.is_empty()) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("8bit", _) => job.eight_bit = true,
            ("utf8", _) => job.smtputf8 = true,
            ("ret", "full") => job.ret = Some(Ret::Full),
            ("ret", _) => job.ret = Some(Ret::Headers),
            ("envid", id) => job.envid = Some(String::from_utf8(unescape(id)).unwrap().into()),
            ("size", size) => job.size = size.parse().unwrap(),
            _ => {
                let mut parts = word.splitn(3, ';');
                let address = Address::parse(parts.next().unwrap(), true).unwrap();
                let notify = parts.next().map(|wishes| Notify {
                    success: wishes.contains("success"),
                    failure: wishes.contains("failure"),
                    delay: wishes.contains("delay"),
                });
                job.recipients.push(JobRecipient { address, notify, orcpt: parts.next().map(Into::into) });
            }
        }
    }
    (job, content)
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (escape, behind) = rest.split_first().expect("something behind \\");
        rest = behind;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                out.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            }
            b'{' => {
                let end = rest.iter().position(|octet| *octet == b'}').expect("a }");
                let (times, text) = std::str::from_utf8(&rest[..end]).unwrap().split_once(':').expect("a :");
                out.extend(unescape(text).repeat(times.parse().unwrap()));
                rest = &rest[end + 1..];
            }
            other => panic!("\\{}?", char::from(*other)),
        }
    }
    out
}
