//! `waystation run` as a process.

use super::foreign::{Finished, run};
use super::{LIMIT, write_secret};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A running relay; killed when dropped, and its log shown when the test failed.
pub struct Relay {
    child: Child,
    config: PathBuf,
    log: Arc<Log>,
}

/// Lines of standard error; complete once the process has ended.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Relay {
    /// Starts with this configuration in this folder, and waits until every listener is open.
    pub fn start(folder: &Path, config: &str) -> Self {
        let file = folder.join("waystation.toml");
        write_secret(&file, config);
        let mut child = waystation(&file).arg("run").stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (lines, written) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lines.lock().unwrap().0.push(line);
                written.grown.notify_all();
            }
            written.lines.lock().unwrap().1 = true;
            written.grown.notify_all();
        });
        let relay = Self { child, config: file, log };
        let listeners = config.matches("[[listener]]").count().max(1);
        relay.wait_until("all listeners", |lines| {
            (lines.iter().filter(|line| line.contains("listener opened")).count() == listeners).then_some(())
        });
        relay
    }

    /// The address of the listener with this `tls` setting.
    pub fn address(&self, tls: &str) -> SocketAddr {
        let wanted = format!("tls={tls}").to_lowercase();
        let line = self.logged_all(&["listener opened", "address="], |line| {
            line.to_lowercase().split_whitespace().any(|word| word == wanted)
        });
        let (_, address) = line.split_once("address=").unwrap();
        address.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The plain listener's address.
    pub fn plain(&self) -> SocketAddr {
        self.address("none")
    }

    /// The first log line with all of these in it, now or later.
    pub fn logged(&self, words: &[&str]) -> String {
        self.logged_all(words, |_| true)
    }

    fn logged_all(&self, words: &[&str], also: impl Fn(&str) -> bool) -> String {
        self.wait_until(&format!("a log line with {words:?}"), |lines| {
            let has = |line: &&String| words.iter().all(|word| line.contains(word)) && also(line);
            lines.iter().find(has).cloned()
        })
    }

    /// Waits for so many log lines with all of these in them; there must not be more.
    pub fn logged_times(&self, words: &[&str], times: usize) {
        let count = self.wait_until(&format!("{times} log lines with {words:?}"), |lines| {
            let count = lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
            (count >= times).then_some(count)
        });
        assert_eq!(count, times, "{words:?}");
    }

    /// How many log lines have all of these in them, now: what happened may not be written yet.
    pub fn count_logged(&self, words: &[&str]) -> usize {
        let lines = self.log.lines.lock().unwrap();
        lines.0.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    fn wait_until<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(found) = look(&lines.0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.1 {
                let why = if lines.1 { "the relay has ended" } else { "time is over" };
                drop(lines);
                panic!("no {what}: {why}");
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Runs another command of the program beside this relay.
    pub fn command(&self, words: &[&str]) -> Finished {
        run(waystation(&self.config).args(words), b"")
    }

    /// What a command with `--json` printed.
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let finished = self.command(words);
        finished.expect_success();
        serde_json::from_slice(&finished.stdout).unwrap()
    }

    /// One lane as `status --json` shows it.
    pub fn lane(&self, name: &str) -> serde_json::Value {
        let lanes = self.json(&["status", "--json"]);
        lanes.as_array().unwrap().iter().find(|lane| lane["lane"] == name).cloned().unwrap()
    }

    /// Puts another configuration into force.
    pub fn reload(&self, config: &str) {
        write_secret(&self.config, config);
        self.command(&["reload"]).expect_success();
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.lines.lock().map(|lines| lines.0.join("\n")).unwrap_or_default();
            eprintln!("---- log of waystation ----\n{lines}\n----");
        }
    }
}

/// The program with a configuration, and nothing from our own environment that could steer it.
fn waystation(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    command.arg("--config").arg(config).env("RUST_LOG", "waystation=debug").stdin(Stdio::null());
    command.env_remove("WAYSTATION_CONFIG");
    command
}

/// The hash of a password, by `waystation passwd`.
pub fn password_hash(password: &str) -> String {
    let finished = run(Command::new(env!("CARGO_BIN_EXE_waystation")).arg("passwd"), password.as_bytes());
    finished.expect_success();
    String::from_utf8(finished.stdout).unwrap().trim().to_owned()
}
