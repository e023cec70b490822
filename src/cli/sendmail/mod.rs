//! `waystation sendmail`, also under the name `sendmail`: a message on standard input, as cron, PHP, mutt and git hand
//! it to every Unix mailer.
//!
//! The message goes the way of any submission, by SMTP, and is on disk when the command ends with 0. Three ways lead
//! to the queue, tried in this order:
//!
//! | who | while | goes by |
//! |---|---|---|
//! | the daemon's user, root | the daemon runs | the control socket |
//! | the daemon's user, root | no daemon runs | the queue itself, under its lock; the daemon sends it at its start |
//! | any other user | the daemon runs | the first listener that trusts this machine |
//!
//! Any other user while no daemon runs is told to come again (75): nobody else may write to the queue. Root never
//! leaves files of its own in a queue that belongs to another user; that part runs as its owner. A daemon of the same file
//! that keeps its state elsewhere is looked for before the queue is touched.

pub(super) mod letter;
mod options;
mod submit;
mod user;
mod way;

use super::{BAD_DATA, Done, Failure, USAGE, print};
use crate::message::decode;
use crate::message::fields::HeaderSection;
use crate::smtp::address::Address;
use clap::Args;
use letter::Author;
use options::Options;
use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::path::Path;
use submit::{Envelope, Session};
use user::User;
use way::Way;

/// Octets of input that are read; any limit on messages is far below.
const MAX_INPUT: u64 = 512 << 20;

const HELP: &str = "\
Usage: waystation sendmail [OPTIONS] [RECIPIENT]...

Reads a message from standard input and queues it.

  -t             recipients are those of To, Cc and Bcc, without those on the command line
  -i, -oi        a line with a dot alone doesn't end the message
  -f ADDRESS     the envelope's sender (-r is the same); <> for none
  -F NAME        the sender's full name, for a message without a From field
  -N, -R, -V     delivery notifications: -N never|success,failure,delay -R full|hdrs -V ENVID
  -bs            speak SMTP on standard input and output
  -v             say what became of it
  -C FILE        the configuration (--config FILE is the same)

Options of other sendmails that change nothing here are taken: -m -n -s -G -U -e -A -B -L -h -p, -bm,
-oe -od -om -oo and the like. Exit codes: 0 queued, 64 usage, 65 bad data, 75 try later, 77 not allowed.
";

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Sendmail {
    /// sendmail's options and recipients; --help tells them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    pub(super) words: Vec<OsString>,
}

impl Sendmail {
    pub(super) fn run(self, config: Option<&Path>) -> Done {
        let text = |word: OsString| {
            word.into_string().map_err(|word| usage(&format!("{}: not UTF-8", word.display())))
        };
        let words = self.words.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let options = Options::parse(words.clone()).map_err(|why| usage(&why))?;
        if options.help {
            print(HELP);
            return Ok(());
        }
        let config = super::find(options.config.as_deref().or(config))?;
        if options.speaks_smtp {
            return match Way::find(&config)? {
                Way::Open(connection) => connection.bridge(),
                Way::AsOwner(owner) => owner.run(&config, &options, &words, None),
            };
        }
        let raw = read(options.ignores_dots)?;
        match Way::find(&config)? {
            Way::Open(connection) => hand_in(connection, &options, &raw),
            Way::AsOwner(owner) => owner.run(&config, &options, &words, Some(&raw)),
        }
    }
}

fn usage(why: &str) -> Failure {
    Failure::new(USAGE, format!("sendmail: {why}"))
}

/// Standard input to its end, or to the line with a dot.
fn read(ignores_dots: bool) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::new(BAD_DATA, format!("sendmail: {why}"));
    let mut input = std::io::stdin().lock().take(MAX_INPUT + 1);
    let mut raw = Vec::new();
    loop {
        let start = raw.len();
        let count = input.read_until(b'\n', &mut raw).map_err(|cause| failed(format!("input: {cause}")))?;
        if raw.len() as u64 > MAX_INPUT {
            return Err(failed(format!("a message of more than {MAX_INPUT} octets is none")));
        }
        let line = raw.get(start..).unwrap_or_default();
        let ends = !ignores_dots && matches!(line, b".\n" | b".\r\n" | b".");
        if count == 0 || ends {
            return Ok(raw);
        }
    }
}

/// Prepares the message and hands it in.
fn hand_in(connection: way::Connection, options: &Options, raw: &[u8]) -> Done {
    let way::Connection { wire, session: thread } = connection;
    let mut session = Session::begin(wire)?;
    let done = deliver(&mut session, options, raw);
    session.quit();
    // The queue is closed before we end.
    thread.map(std::thread::JoinHandle::join);
    done
}

fn deliver<W: Read + std::io::Write>(session: &mut Session<W>, options: &Options, raw: &[u8]) -> Done {
    let hostname = session.hostname.clone();
    let bad = |why: String| Failure::new(BAD_DATA, format!("sendmail: {why}"));
    let user = User::current();
    let sender = match options.sender.as_deref() {
        Some("" | "<>") => None,
        sender => Some(letter::qualify(sender.unwrap_or(&user.login), &hostname).map_err(bad)?),
    };
    let content = letter::content(raw, options.ignores_dots);
    let recipients = recipients(options, &content, &hostname)?;
    // Another's address isn't given this user's name.
    let own = user.name.as_deref().filter(|_| options.sender.is_none());
    let name = options.name.as_deref().or(own);
    let content = letter::signed(content, Author { address: sender.as_ref(), name }, &hostname);
    let content = letter::qualified(content, &hostname);
    let envelope = Envelope {
        sender: sender.as_ref(),
        recipients: &recipients,
        notify: options.notify,
        ret: options.ret,
        envid: options.envid.as_deref(),
    };
    let replies = session.submit(&envelope, &content)?;
    if options.verbose {
        print(&format!("{}\n", replies.join("\n")));
    }
    Ok(())
}

/// Whom it goes to, each once.
fn recipients(options: &Options, content: &[u8], hostname: &str) -> Result<Vec<Address>, Failure> {
    let bad = |why: String| Failure::new(BAD_DATA, format!("sendmail: {why}"));
    let mut named: Vec<Address> = Vec::new();
    for word in &options.recipients {
        for text in decode::mailboxes(word.as_bytes()) {
            let address = letter::qualify(&text, hostname).map_err(bad)?;
            if !named.contains(&address) {
                named.push(address);
            }
        }
    }
    if !options.from_header {
        let none = "no recipients: name some, or say -t for those in the header";
        return if named.is_empty() { Err(usage(none)) } else { Ok(named) };
    }
    let found = letter::recipients(&HeaderSection::of(content), &named, hostname).map_err(bad)?;
    if found.is_empty() {
        return Err(bad("no recipients in To, Cc or Bcc; nothing was sent".to_owned()));
    }
    Ok(found)
}
