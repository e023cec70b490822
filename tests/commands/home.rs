//! A folder with a configuration, the commands run in it, and the daemon that lives there.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a machine with much else to do.
pub const LIMIT: Duration = Duration::from_mins(1);
/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_waystation");
/// A smarthost that nobody is behind; its mail waits.
pub const NOWHERE: &str =
    "[smarthost.shop]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nenabled = false\n";
/// A listener on loopback, trusted.
pub const TRUSTED: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
/// A listener on loopback that trusts nobody and where logins are optional.
pub const STRANGERS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrust = []\nauth = \"optional\"\n";

/// What a command came to.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Its output, if it went well.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Its complaint, if it failed with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}

pub struct Home {
    folder: TempDir,
}

impl Home {
    /// A folder whose `waystation.toml` is this, below a host name, a state folder and, unless it has listeners of
    /// its own, one on loopback.
    pub fn new(config: &str) -> Self {
        let home = Self { folder: TempDir::new().unwrap() };
        home.configure(config);
        home
    }

    pub fn configure(&self, config: &str) {
        let top = "hostname = \"relay.test\"\nstate_dir = \"state\"\n\n";
        let listener = if config.contains("[[listener]]") { "" } else { TRUSTED };
        self.write("waystation.toml", &format!("{top}{listener}{config}"));
    }

    /// Adds to what is configured.
    pub fn extend(&self, config: &str) {
        let path = self.path("waystation.toml");
        let before = fs::read_to_string(&path).unwrap();
        self.write("waystation.toml", &format!("{before}{config}"));
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.mode(name, 0o600);
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `ca.pem`, and with it `relay.pem` and `relay.key` for `localhost` and `127.0.0.1`.
    pub fn certify(&self) {
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        self.write("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        self.write("relay.pem", &leaf.pem());
        self.write("relay.key", &key.serialize_pem());
    }

    /// The program with this configuration and nothing of ours in its environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(PROGRAM);
        clean(&mut command);
        command.arg("--config").arg(self.path("waystation.toml")).args(arguments);
        command.current_dir(self.folder.path());
        command
    }

    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        finish(self.command(arguments), "")
    }

    /// The array that a command prints with `--json`.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<Value> {
        let text = self.cli(arguments).good();
        serde_json::from_str(&text).unwrap_or_else(|cause| panic!("{cause}: {text}"))
    }

    /// The journal once every recipient in it is in one of these states.
    pub fn journal_when(&self, states: &[&str]) -> Vec<Value> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let journal = self.json(["journal", "--json"]);
            if states_of(&journal).iter().all(|state| states.contains(&state.as_str())) {
                return journal;
            }
            assert!(Instant::now() < deadline, "{journal:#?}");
        }
    }

    /// Runs the daemon until each of its listeners is open.
    pub fn start(&self) -> Daemon {
        let text = fs::read_to_string(self.path("waystation.toml")).unwrap();
        Daemon::of(self.command(["run"]), text.matches("[[listener]]").count())
    }
}

/// The states of all recipients in `queue list` or `journal`, in order.
pub fn states_of(messages: &[Value]) -> Vec<String> {
    recipients(messages).iter().map(|recipient| text(recipient, "state")).collect()
}

pub fn recipients(messages: &[Value]) -> Vec<&Value> {
    messages.iter().flat_map(|message| message["recipients"].as_array().unwrap()).collect()
}

/// A text of a JSON object.
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}")).to_owned()
}

/// Takes away what the environment of the tests would tell the program.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("WAYSTATION")
            || name.starts_with("LISTEN_")
            || name == "RUST_LOG"
            || name == "NOTIFY_SOCKET"
        {
            command.env_remove(name);
        }
    }
}

/// Runs a command to its end with this on standard input.
pub fn finish(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that doesn't read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A daemon that runs; dropped, it is killed.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    addresses: Vec<SocketAddr>,
}

impl Daemon {
    /// Starts a command that is a daemon with so many listeners, and waits until all are open.
    pub fn of(mut command: Command, listeners: usize) -> Self {
        // Standard input and output are the command's to set: sockets may be passed through them.
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Self { child, lines, log: Vec::new(), addresses: Vec::new() };
        while daemon.addresses.len() < listeners.max(1) {
            daemon.opened();
        }
        daemon
    }

    /// The address of the next listener that is opened.
    pub fn opened(&mut self) -> SocketAddr {
        let line = self.next_with("listener opened");
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        self.addresses.push(address);
        address
    }

    /// The first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn listener(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// A log line that holds this, among those that came already or will.
    #[track_caller]
    pub fn logged(&mut self, wanted: &str) -> String {
        match self.log.iter().find(|line| line.contains(wanted)) {
            Some(line) => line.clone(),
            None => self.next_with(wanted),
        }
    }

    /// The next log line that holds this.
    #[track_caller]
    pub fn next_with(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("never logged {wanted:?} in {:#?}", self.log),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {wanted:?}: {:#?}", self.log),
            };
            self.log.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Everything logged, when it is known to be over.
    pub fn log(&mut self) -> &[String] {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.log.push(line);
        }
        &self.log
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Highest resident memory so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(Path::new(&path)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Time that it has computed so far, in the system's ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // User and system time are the fields 14 and 15; the second one, a name in brackets, may hold spaces.
        let behind_name = stat.rsplit(") ").next().unwrap();
        behind_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> i32 {
        self.log();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Asks for its end; the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
