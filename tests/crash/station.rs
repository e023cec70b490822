//! A configuration and the daemon that runs on it.

use super::ledger::Ledger;
use super::stand_in::StandIn;
use super::tools::{Mount, has};
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_waystation");

/// Nothing that is awaited takes this long on a machine that works.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// An empty folder on a real disk, removed when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("crash-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A folder, a ledger, a smarthost that writes what arrives into it, and a station that sends there.
pub fn scene() -> (tempfile::TempDir, Arc<Ledger>, StandIn, Station) {
    let (home, ledger) = (folder(), Arc::new(Ledger::default()));
    let smarthost = StandIn::for_ledger(&ledger);
    let station = Station::new(home.path(), smarthost.address);
    (home, ledger, smarthost, station)
}

/// A station whose state stands on a disk of its own, and whose smarthost is still shut.
pub struct OwnDisk {
    pub station: Station,
    pub smarthost: StandIn,
    pub ledger: Arc<Ledger>,
    pub disk: Mount,
    /// Where it is mounted; it goes last.
    _home: tempfile::TempDir,
}

impl OwnDisk {
    /// None, and said to be skipped, where no disk can be made for `what`. `size` as tmpfs takes it.
    pub fn new(what: &str, size: &str, more: &str) -> Option<Self> {
        let home = folder();
        let disk = Mount::tmpfs(home.path(), size);
        if !has(what, disk.as_ref().map(|_| ()).map_err(Clone::clone)) {
            return None;
        }
        let (disk, ledger) = (disk.unwrap(), Arc::new(Ledger::default()));
        let smarthost = StandIn::for_ledger(&ledger);
        smarthost.shut();
        let station = Station::with_state(home.path(), &disk.path.join("state"), smarthost.address, more);
        Some(Self { station, smarthost, ledger, disk, _home: home })
    }
}

/// A configuration file and its state folder.
#[derive(Clone)]
pub struct Station {
    config: PathBuf,
    state: PathBuf,
}

impl Station {
    /// One smarthost on loopback; the state folder is `home/state`.
    pub fn new(home: &Path, smarthost: SocketAddr) -> Self {
        Self::with_state(home, &home.join("state"), smarthost, "")
    }

    /// As [`Station::new`] with more lines of configuration, and a state folder somewhere else.
    pub fn with_state(home: &Path, state: &Path, smarthost: SocketAddr, more: &str) -> Self {
        let config = home.join("waystation.toml");
        let mut text = format!(
            "hostname = \"relay.test\"\nstate_dir = \"{}\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n\
             [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nauth = \"none\"\n\
             [retry]\nschedule = [\"1s\"]\n",
            state.display(),
            smarthost.port(),
        );
        if !more.contains("[spool]") {
            text.push_str("[spool]\nmin_free = \"1 MiB\"\n");
        }
        writeln!(text, "{more}").unwrap();
        std::fs::write(&config, text).unwrap();
        Self { config, state: state.to_owned() }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The same with more lines about its smarthost.
    pub fn limited(home: &Path, smarthost: SocketAddr, limits: &str) -> Self {
        let station = Self::new(home, smarthost);
        let text = std::fs::read_to_string(&station.config).unwrap();
        std::fs::write(&station.config, text.replace("[retry]", &format!("{limits}[retry]"))).unwrap();
        station
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&self) -> Daemon {
        self.start_under(&[], &[])
    }

    /// The same, run by another program (`strace …`), with more in its environment.
    pub fn start_under(&self, wrapper: &[String], environment: &[(&str, &str)]) -> Daemon {
        let mut daemon = self.spawn(wrapper, environment);
        match daemon.listening() {
            Some(address) => daemon.address = address,
            None => panic!("the daemon didn't start:\n{}", daemon.log()),
        }
        daemon
    }

    /// Starts the daemon and doesn't wait; it may end before it listens.
    pub fn spawn(&self, wrapper: &[String], environment: &[(&str, &str)]) -> Daemon {
        let mut words = wrapper.iter().map(String::as_str).chain([BINARY, "--config"]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(&self.config).arg("run").envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let (lines, writing) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        std::thread::spawn(move || {
            for line in lines.lines() {
                let Ok(line) = line else { break };
                writing.add(Some(line));
            }
            writing.add(None);
        });
        Daemon { child, log, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// Starts a daemon that must refuse to: its exit code and what it says.
    pub fn refusal(&self) -> (i32, String) {
        let mut daemon = self.spawn(&[], &[]);
        let status = daemon.ended(PATIENCE).expect("it should have refused to start");
        (status.code().unwrap_or(-1), daemon.log())
    }

    /// Writes this in place of a line of the configuration, and has the daemon read it.
    pub fn reload_with(&self, line: &str, instead: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(line), "no {line} in {text}");
        std::fs::write(&self.config, text.replace(line, instead)).unwrap();
        let output = Command::new(BINARY).arg("--config").arg(&self.config).arg("reload").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A command of the binary that prints JSON.
    pub fn ask(&self, words: &[&str]) -> Value {
        let output = Command::new(BINARY).arg("--config").arg(&self.config).args(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{words:?}: {cause}: {told}"))
    }

    /// Messages that `queue list` shows in such a state; all without one.
    pub fn queued(&self, state: Option<&str>) -> Vec<Value> {
        let mut words = vec!["queue", "list", "--json"];
        words.extend(state.iter().flat_map(|state| ["--state", state]));
        let Value::Array(list) = self.ask(&words) else { panic!("not an array") };
        list
    }

    /// A message's whole life.
    pub fn life(&self, id: &str) -> Value {
        self.ask(&["queue", "show", id, "--json"])[0].take()
    }

    /// Whether the journal says that a message may have been delivered twice.
    pub fn may_be_twice(&self, id: &str) -> bool {
        let life = self.life(id);
        let happenings = life["happenings"].as_array().unwrap();
        happenings.iter().any(|happening| happening["kind"] == "maybe_duplicate")
    }

    /// Asks again and again until the queue is empty.
    pub fn wait_until_empty(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.queued(None);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still queued after {PATIENCE:?}: {left:#?}");
        }
    }
}

/// A daemon that was started. Dropped, it is killed.
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    pub address: SocketAddr,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The latest of what it wrote to standard error.
    pub fn log(&self) -> String {
        let lines = self.log.lines.lock();
        lines.0[lines.0.len().saturating_sub(60)..].join("\n")
    }

    /// Whether it wrote such a line so far.
    pub fn said(&self, phrase: &str) -> bool {
        self.log.lines.lock().0.iter().any(|line| line.contains(phrase))
    }

    /// Waits until it listens; none when it ended first.
    pub fn listening(&self) -> Option<SocketAddr> {
        let line = self.log.wait_for(|line| line.contains("listener opened"), PATIENCE)?;
        let (_, address) = line.split_once("address=").unwrap();
        Some(address.split(' ').next().unwrap().parse().unwrap())
    }

    /// Waits for a line of its log.
    pub fn wait_for(&self, phrase: &str) {
        let line = self.log.wait_for(|line| line.contains(phrase), PATIENCE);
        assert!(line.is_some(), "it never said {phrase:?}:\n{}", self.log());
    }

    /// SIGKILL, and gone. Nothing of what it still had in hand is waited for.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP, and every one of its threads stands still. (The signal comes to them one after the other.)
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        let stands = |task: std::io::Result<std::fs::DirEntry>| {
            // A thread that has ended meanwhile stands still, too.
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
        };
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().all(stands) {
            assert!(Instant::now() < deadline, "it doesn't stop:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// SIGCONT.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Takes `strace` away; what it held up goes on.
    pub fn untrace(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
        let tracer = Pid::from_raw(tracer.trim().parse().unwrap()).expect("it is traced");
        kill_process(tracer, Signal::KILL).unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// SIGTERM, and the end must be a good one.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.ended(PATIENCE).unwrap_or_else(|| panic!("it goes on:\n{}", self.log()));
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Whether it is gone, and everybody who wrote to its standard error.
    pub fn has_ended(&self) -> bool {
        self.log.lines.lock().1
    }

    /// Waits for its end.
    pub fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.log.wait_for(|_| false, limit);
        // Its end of the pipe is closed; now it only has to die, or it is none of our business.
        self.has_ended().then(|| self.child.wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of standard error, and whether it was closed.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grew: Condvar,
}

impl Log {
    fn add(&self, line: Option<String>) {
        let mut lines = self.lines.lock();
        match line {
            Some(line) => lines.0.push(line),
            None => lines.1 = true,
        }
        self.grew.notify_all();
    }

    /// The first line that matches; none when the log was closed, or time ran out, before there was one.
    fn wait_for(&self, matches: impl Fn(&str) -> bool, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = lines.0[seen..].iter().find(|line| matches(line)) {
                return Some(line.clone());
            }
            seen = lines.0.len();
            if lines.1 || self.grew.wait_until(&mut lines, deadline).timed_out() {
                return None;
            }
        }
    }
}
