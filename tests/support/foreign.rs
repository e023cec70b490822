//! Foreign programs: found or installed, and run with a time limit.

use super::LIMIT;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Both streams, as text.
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }

    /// Fails with what the program said, unless it succeeded.
    pub fn expect_success(&self) {
        assert!(self.status.success(), "{}\n{}", self.status, self.text());
    }
}

/// Runs a program to its end; it is killed and the test fails when it takes too long.
pub fn run(command: &mut Command, input: &[u8]) -> Finished {
    run_for(LIMIT, command, input)
}

/// The same with a limit of its own.
pub fn run_for(limit: Duration, command: &mut Command, input: &[u8]) -> Finished {
    let shown = format!("{command:?}");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|cause| panic!("{shown}: {cause}"));
    let pid = Pid::from_child(&child);
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A program may end without reading everything.
    std::thread::spawn(move || stdin.write_all(&input));
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(limit) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("{shown}: not finished in {limit:?}");
    };
    let output = output.unwrap();
    Finished { status: output.status, stdout: output.stdout, stderr: output.stderr }
}

/// Where a program is, installing it if it is missing. None, with the reason printed, when it can't be had; with
/// `WAYSTATION_REQUIRE_PEERS=1` that fails the test instead.
pub fn peer(program: &str) -> Option<PathBuf> {
    offer(program, || find(program))
}

/// Python, if it has this module (or can have it).
pub fn python_with(module: &str) -> Option<PathBuf> {
    let has = |python: &PathBuf| {
        run(Command::new(python).args(["-c", &format!("import {module}")]), b"").status.success()
    };
    offer(&format!("python3 with {module}"), || find("python3").filter(has))
}

/// A command that runs one of the scripts beside the tests.
pub fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name));
    command
}

fn offer(what: &str, look: impl Fn() -> Option<PathBuf>) -> Option<PathBuf> {
    let found = look().or_else(|| {
        install();
        look()
    });
    if found.is_none() {
        let why = format!("skipped: {what} is not here and could not be installed");
        let required = std::env::var("WAYSTATION_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "{why}");
        println!("{why}");
    }
    found
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/lib/postfix/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs `tests/install-peers.sh`, once in this process, and one process at a time.
fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("install-peers.lock")).unwrap();
        lock.lock().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install-peers.sh");
        match Command::new("bash").arg(script).stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => println!("install-peers.sh: {}", String::from_utf8_lossy(&output.stderr)),
            Err(cause) => println!("install-peers.sh: {cause}"),
        }
    });
}
