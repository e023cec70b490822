//! Plays the scripts in `tests/dialogues/` against the session machine. No socket: the shell is this file.
//!
//! | line | meaning |
//! |---|---|
//! | `# settings: auth=required …` | keys: `auth` `tls` `auth_without_tls` `trusted` `size` `recipients` `errors` `junk` `tolerate` |
//! | `C: text` | the client sends text and CRLF |
//! | `C+ text` | the same, in one packet with the next client line |
//! | `C! text` | the client sends text without a line end |
//! | `C*N: text` | N times in one packet |
//! | `S: text` | the server says exactly this line; a `*` at the end stands for any rest, `250-*` for a whole reply |
//! | `S*N: text` | N times |
//! | `M: text` | the next line of the kept message's content (`M. ` for a last line without CRLF) |
//! | `E: from, to, to …` | the kept message's envelope; `<>` is the null sender |
//! | `-- tls --` `-- closed --` `-- early --` | a handshake is done; the server has closed; the client speaks before the greeting |
//!
//! Escapes: `\r \n \t \0 \\ \xNN`, and `\{N:text}` repeats. Two spaces and `#` begin a comment.
//!
//! The shell allows every sender but `refused@…`, every recipient but `refused@…` when the client is trusted or logged in, to
//! strangers only `inbox@…`. The login is `shop` with `pass`; `later` can't be judged.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing script must stop the test"
)]

use secrecy::ExposeSecret;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use waystation::smtp::replies;
use waystation::smtp::reply::Reply;
use waystation::smtp::server::{
    AuthPolicy, Checked, LineEnd, MAX_AUTH_LINE, MAX_ENDLESS_LINE, Server, ServerSettings, Steering, Step,
    Transaction,
};

#[test]
fn every_dialogue_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut scripts: Vec<_> =
        fs::read_dir(folder).expect("tests/dialogues").map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "smtp"));
    scripts.sort();
    assert!(scripts.len() > 30, "scripts are missing");
    let complaints: Vec<String> = scripts
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).expect("a script");
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Whole packets and single octets must give the same.
            [usize::MAX, 1].into_iter().find_map(|piece| {
                play(&text, piece).err().map(|complaint| format!("{name}:{complaint} (pieces of {piece})"))
            })
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Plays one script; the client's packets arrive in pieces of at most `piece` octets.
fn play(text: &str, piece: usize) -> Result<(), String> {
    let (settings, trusted) = settings(text);
    let early = text.lines().any(|line| line == "-- early --");
    let mut shell = Shell::new(settings, trusted, early);
    let mut packet = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let line = line.split_once("  #").map_or(line, |(line, _)| line).trim_end_matches(' ');
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (kind, times) = match kind.trim_end_matches(':').split_once('*') {
            Some((kind, times)) => (format!("{kind}:"), times.parse::<usize>().expect("a number")),
            None => (kind.to_owned(), 1),
        };
        let step = match kind.as_str() {
            "" | "#" => Ok(()),
            "C:" | "C+" | "C!" => {
                for _ in 0..times {
                    packet.extend(unescape(rest));
                    if kind != "C!" {
                        packet.extend(b"\r\n");
                    }
                }
                if kind == "C+" { Ok(()) } else { shell.send(&std::mem::take(&mut packet), piece) }
            }
            "S:" => (0..times).try_for_each(|_| shell.expect_line(rest)),
            "M:" | "M." => {
                let mut wanted = unescape(rest);
                if kind == "M:" {
                    wanted.extend(b"\r\n");
                }
                shell.expect_content(&wanted)
            }
            "E:" => shell.expect_envelope(rest),
            "--" => shell.event(line),
            _ if line.starts_with('#') => Ok(()),
            _ => Err(format!("no such line: {line}")),
        };
        step.map_err(|complaint| format!("{number}: {complaint}"))?;
    }
    shell.nothing_left().map_err(|complaint| format!("end: {complaint}"))
}

fn settings(text: &str) -> (ServerSettings, bool) {
    let mut settings = ServerSettings { hostname: "waystation.test".into(), ..ServerSettings::default() };
    let mut trusted = true;
    let words =
        text.lines().filter_map(|line| line.strip_prefix("# settings:")).flat_map(str::split_whitespace);
    for (key, value) in words.map(|word| word.split_once('=').expect("key=value")) {
        match key {
            "auth" => {
                settings.auth = match value {
                    "required" => AuthPolicy::Required,
                    "optional" => AuthPolicy::Offered,
                    _ => AuthPolicy::NotOffered,
                }
            }
            "tls" => settings.starttls = value == "starttls",
            "auth_without_tls" => settings.auth_needs_tls = value != "yes",
            "trusted" => trusted = value == "yes",
            "size" => settings.max_message_size = value.parse().expect("size"),
            "recipients" => settings.max_recipients = value.parse().expect("recipients"),
            "steering" => {
                settings.steering = Some(Steering {
                    without_login: value == "everybody",
                    longest: 86_400,
                    latest: "2026-11-24T12:00:00Z".parse().expect("a time"),
                });
            }
            "errors" => settings.max_errors = value.parse().expect("errors"),
            "junk" => settings.max_junk = value.parse().expect("junk"),
            "tolerate" => {
                settings.tolerate.bare_lf = value.contains("bare-lf");
                settings.tolerate.space_after_colon = value.contains("space-after-colon");
                settings.tolerate.missing_brackets = value.contains("missing-brackets");
            }
            _ => panic!("no such setting: {key}"),
        }
    }
    (settings, trusted)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next().expect("an escape");
        rest = &rest[at + 2..];
        match escape {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            'x' => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            '{' => {
                let (inside, behind) = rest.split_once('}').expect("a closing brace");
                let (times, what) = inside.split_once(':').expect("N:text");
                out.extend(unescape(what).repeat(times.parse().expect("a number")));
                rest = behind;
            }
            other => out.extend(other.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The smallest shell: buffers, and a policy fit for scripts.
struct Shell {
    server: Server,
    trusted: bool,
    unread: Vec<u8>,
    said: VecDeque<String>,
    content: Vec<u8>,
    kept: Vec<(Transaction, Vec<u8>)>,
    /// How much of the latest kept message `M:` lines have compared.
    compared: usize,
    reading: Reading,
}

#[derive(PartialEq, Eq, Debug)]
enum Reading {
    Lines,
    Content,
    Handshake,
    Nothing,
}

impl Shell {
    fn new(settings: ServerSettings, trusted: bool, early: bool) -> Self {
        let mut server = Server::new(Arc::new(settings), false);
        let first = if early { server.spoke_early() } else { server.greeting() };
        let mut shell = Self {
            server,
            trusted,
            unread: Vec::new(),
            said: VecDeque::new(),
            content: Vec::new(),
            kept: Vec::new(),
            compared: 0,
            reading: Reading::Lines,
        };
        shell.obey(first);
        shell
    }

    fn send(&mut self, packet: &[u8], piece: usize) -> Result<(), String> {
        if let Some(line) = self.said.front() {
            return Err(format!("not expected: S: {line}"));
        }
        // Octet by octet only where the machine sees a difference; a line of a megabyte is one either way.
        let piece = if packet.len() > 100_000 { usize::MAX } else { piece };
        for piece in packet.chunks(piece) {
            self.unread.extend_from_slice(piece);
            self.pump();
        }
        Ok(())
    }

    fn pump(&mut self) {
        while !self.unread.is_empty() {
            let step = match self.reading {
                Reading::Handshake | Reading::Nothing => return self.unread.clear(),
                Reading::Content => {
                    let progress = self.server.receive(&self.unread, &mut self.content);
                    self.unread.drain(..progress.consumed);
                    match progress.step {
                        Some(step) => step,
                        None => continue,
                    }
                }
                Reading::Lines => match self.next_line() {
                    Some(step) => step,
                    None => return,
                },
            };
            self.obey(step);
        }
    }

    fn next_line(&mut self) -> Option<Step> {
        if let Some(step) = self.server.peek(&self.unread) {
            return Some(step);
        }
        let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') else {
            return (self.unread.len() >= MAX_ENDLESS_LINE).then(|| self.server.endless_line());
        };
        let line: Vec<u8> = self.unread.drain(..=at).collect();
        if line.len() >= MAX_ENDLESS_LINE {
            return Some(self.server.endless_line());
        }
        if line.len() > MAX_AUTH_LINE {
            return Some(self.server.long_line(&line));
        }
        let bare = line.strip_suffix(b"\n").expect("an LF");
        Some(match bare.strip_suffix(b"\r") {
            Some(line) => self.server.line(line, LineEnd::CrLf),
            None => self.server.line(bare, LineEnd::BareLf),
        })
    }

    fn obey(&mut self, mut step: Step) {
        loop {
            self.reading = Reading::Lines;
            step = match step {
                Step::Say(reply) => return self.say(&reply),
                Step::Proceed => return,
                Step::Sender(mail) => {
                    self.content.clear();
                    match &mail.sender {
                        Some(sender) if sender.local() == "refused" => {
                            self.server.refuse(replies::SENDER_NOT_ALLOWED.reply())
                        }
                        _ => self.server.allow_sender(mail),
                    }
                }
                Step::Recipient(rcpt) => match rcpt.address.local() {
                    "refused" => self.server.refuse(replies::NO_SUCH_INBOX.reply()),
                    "inbox" => self.server.allow_recipient(rcpt),
                    _ if self.trusted || self.server.is_logged_in() => self.server.allow_recipient(rcpt),
                    _ => self.server.refuse(replies::RELAYING_DENIED.reply()),
                },
                Step::ReadContent(reply) => {
                    if let Some(reply) = &reply {
                        self.say(reply);
                    }
                    self.reading = Reading::Content;
                    return;
                }
                Step::Keep(transaction) => {
                    self.kept.push((*transaction, std::mem::take(&mut self.content)));
                    self.compared = 0;
                    let id = format!("ID{}", self.kept.len());
                    self.server.kept(replies::queued(&id, "shop", "14:32"))
                }
                Step::StartTls(reply) => {
                    self.say(&reply);
                    self.unread.clear();
                    self.reading = Reading::Handshake;
                    return;
                }
                Step::Verify(found) => {
                    let password = found.password.as_ref().map(ExposeSecret::expose_secret);
                    let checked = match (found.username.as_str(), password) {
                        ("shop", Some("pass")) => Checked::Good,
                        ("later", _) => Checked::Unknown,
                        _ => Checked::Bad,
                    };
                    self.server.verified(checked)
                }
                Step::Close(reply, _) => {
                    self.say(&reply);
                    self.reading = Reading::Nothing;
                    return;
                }
            };
        }
    }

    fn say(&mut self, reply: &Reply) {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        let text = String::from_utf8(out).expect("replies are UTF-8");
        self.said.extend(text.split_terminator("\r\n").map(str::to_owned));
    }

    fn expect_line(&mut self, wanted: &str) -> Result<(), String> {
        let mut said = self.said.pop_front().ok_or(format!("silent, not S: {wanted}"))?;
        if let Some(code) = wanted.strip_suffix("-*") {
            while said.starts_with(&format!("{code}-")) {
                said = self.said.pop_front().ok_or("a reply without its last line")?;
            }
            return if said.starts_with(&format!("{code} ")) {
                Ok(())
            } else {
                Err(format!("S: {said}, not {wanted}"))
            };
        }
        let fits = wanted.strip_suffix('*').map_or(said == wanted, |start| said.starts_with(start));
        if fits { Ok(()) } else { Err(format!("S: {said}, not {wanted}")) }
    }

    fn expect_content(&mut self, wanted: &[u8]) -> Result<(), String> {
        let (_, content) = self.kept.last().ok_or("no message was kept")?;
        let rest = &content[self.compared..];
        self.compared += wanted.len();
        let (rest, shown) = (rest.starts_with(wanted), rest.escape_ascii().to_string());
        if rest { Ok(()) } else { Err(format!("content goes on with {shown}")) }
    }

    fn expect_envelope(&mut self, wanted: &str) -> Result<(), String> {
        let (transaction, _) = self.kept.last().ok_or("no message was kept")?;
        let sender = transaction.mail.sender.as_ref().map_or("<>".to_owned(), ToString::to_string);
        let recipients = transaction.recipients.iter().map(|rcpt| rcpt.address.to_string());
        let found: Vec<_> = std::iter::once(sender).chain(recipients).collect();
        if found.join(", ") == wanted { Ok(()) } else { Err(format!("envelope is {}", found.join(", "))) }
    }

    fn event(&mut self, line: &str) -> Result<(), String> {
        match line {
            "-- early --" => Ok(()),
            "-- tls --" if self.reading == Reading::Handshake => {
                self.server.tls_established();
                self.reading = Reading::Lines;
                Ok(())
            }
            "-- closed --" if self.reading == Reading::Nothing => self.nothing_left(),
            _ => Err(format!("{line} doesn't fit: {:?}", self.reading)),
        }
    }

    fn nothing_left(&self) -> Result<(), String> {
        if let Some(line) = self.said.front() {
            return Err(format!("not expected: S: {line}"));
        }
        match self.kept.last() {
            Some((_, content)) if self.compared > 0 && self.compared != content.len() => {
                Err(format!("content goes on with {}", content[self.compared..].escape_ascii()))
            }
            _ => Ok(()),
        }
    }
}
