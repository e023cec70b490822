//! The command line: one file per command.
//!
//! `run`, `check`, `demo`, `doctor`, `test`, `passwd` and `queue salvage` do their work here; everything else asks the daemon
//! through [`crate::admin`]. Exit codes are sysexits(3)'.

mod change;
mod check;
mod control;
mod demo;
mod doctor;
mod events;
mod explain;
mod inbox;
mod journal;
mod owner;
mod passwd;
mod queue;
mod run;
mod secret_input;
mod send_test;
mod selection;
mod sendmail;
mod stand_in;
mod receiver;
mod status;
mod story;
mod table;
mod workbook;

use crate::config::schema::Config;
use crate::config::{self, Complaints, Loaded};
use crate::deliver::providers;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A local SMTP relay that keeps its word.
#[derive(Debug, Parser)]
#[command(name = "waystation", version, max_term_width = 110, arg_required_else_help = true)]
struct Arguments {
    /// The configuration; without it, the environment (see the manual), ./config, then /etc/waystation
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, in the foreground
    Run,
    /// Show everything at once, on loopback, with nothing to set up
    Demo(demo::Demo),
    /// Check the configuration
    Check(check::Check),
    /// Send a test letter through a smarthost and show what it says
    Test(send_test::SendTest),
    /// Find out why mail doesn't go to a host, and what to write
    Doctor(doctor::Doctor),
    /// Is it running, and how are its lanes
    Status(status::Status),
    /// Look at what is queued, and change it
    Queue(queue::Queue),
    /// What happened to every message
    Journal(journal::Journal),
    /// sendmail's interface: a message on standard input, for programs that know no SMTP
    Sendmail(sendmail::Sendmail),
    /// What webhooks are told: look at it, post it again, try a webhook
    Events(events::Events),
    /// What would become of a message: which rule, which smarthost, what is changed, when it would go
    Explain(explain::Explain),
    /// Mailboxes that forward here: list them, confirm forwarding, try it
    Inbox(inbox::Inbox),
    /// Make a hash for [application.NAME] from a password
    Passwd,
    /// Make the daemon read its configuration again
    Reload,
    /// Make the daemon finish what is in flight and end
    Stop,
}

/// Why a command failed: a sentence for the user and a sysexits code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

pub(crate) const USAGE: u8 = 64;
pub(crate) const BAD_DATA: u8 = 65;
pub(crate) const UNAVAILABLE: u8 = 69;
pub(crate) const OUR_BUG: u8 = 70;
pub(crate) const TRY_LATER: u8 = 75;
pub(crate) const NOT_ALLOWED: u8 = 77;
pub(crate) const CONFIGURATION: u8 = 78;

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<crate::admin::AdminError> for Failure {
    fn from(error: crate::admin::AdminError) -> Self {
        Self { code: error.code, text: error.text }
    }
}

type Done = Result<(), Failure>;

/// Runs one command; the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == "sendmail") {
        let sendmail = sendmail::Sendmail { words: arguments.into_iter().skip(1).collect() };
        return exit(sendmail.run(None));
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Nowhere to complain to if the terminal is gone.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { USAGE } else { 0 });
        }
    };
    let config = arguments.config.as_deref();
    let done = match arguments.command {
        Command::Run => run::run(config),
        Command::Demo(demo) => demo.run(),
        Command::Check(check) => check.run(config),
        Command::Test(test) => test.run(config),
        Command::Doctor(doctor) => doctor.run(config),
        Command::Status(status) => status.run(config),
        Command::Queue(queue) => queue.run(config),
        Command::Journal(journal) => journal.run(config),
        Command::Sendmail(sendmail) => sendmail.run(config),
        Command::Events(events) => events.run(config),
        Command::Explain(explain) => explain.run(config),
        Command::Inbox(inbox) => inbox.run(config),
        Command::Passwd => passwd::run(),
        Command::Reload => control::reload(config),
        Command::Stop => control::stop(config),
    };
    exit(done)
}

fn exit(done: Done) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("{}", failure.text.trim_end());
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Finds and loads the configuration, or says what is wrong with it; warnings go to standard error.
fn load(explicit: Option<&Path>, warn: bool) -> Result<Loaded, Failure> {
    let path = find(explicit)?;
    let mut loaded = config::load_knowing(&path, config::environment(), providers::assume_one)
        .map_err(|complaints| wrong(&complaints))?;
    providers::assume(loaded.config.smarthosts.values_mut());
    if warn {
        for warning in &loaded.warnings {
            eprintln!("{warning}");
        }
    }
    Ok(loaded)
}

/// Loads what one must know to queue mail, secrets left out.
fn load_to_queue(path: &Path) -> Result<Config, Failure> {
    let mut loaded = config::load_to_queue(path, config::environment(), providers::assume_one)
        .map_err(|complaints| wrong(&complaints))?;
    providers::assume(loaded.config.smarthosts.values_mut());
    Ok(loaded.config)
}

fn wrong(complaints: &Complaints) -> Failure {
    Failure::new(CONFIGURATION, format!("{complaints}"))
}

fn find(explicit: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = std::env::var_os(config::VARIABLE);
    let here = std::env::current_dir().unwrap_or_default();
    config::find(explicit, variable.as_deref(), &here)
        .map_err(|missing| Failure::new(CONFIGURATION, format!("waystation: {missing}")))
}

/// Prints to standard output. A closed pipe (`| head`) ends the program quietly; what can't be written for another
/// reason, on a full disk, ends it with a word and a code.
fn print(text: &str) {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(cause) => {
            eprintln!("waystation: standard output: {cause}; what was written is not whole");
            std::process::exit(UNAVAILABLE.into());
        }
    }
}
