//! The way to the queue: the control socket, the queue itself, or a listener; see the table in the parent.

use super::options::Options;
use super::user::{self, User};
use crate::admin::{self, Client};
use crate::cli::{BAD_DATA, Done, Failure, NOT_ALLOWED, OUR_BUG, TRY_LATER, load_to_queue};
use crate::clock::Clock;
use crate::config;
use crate::daemon;
use crate::queue::QueueError;
use rustix::process::geteuid;
use std::fs::{DirBuilder, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// While somebody else has the queue (a daemon that starts or stops, another sendmail) it is asked for again so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// sysexits' `EX_IOERR`.
const IO_ERROR: u8 = 74;
const PAUSE: Duration = Duration::from_millis(50);
/// A listener on this machine answers at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A daemon that lives greets at once, however slow its disk is.
const GREETING_LIMIT: Duration = Duration::from_secs(30);
/// A reply behind a whole message may wait for a disk.
const REPLY_LIMIT: Duration = Duration::from_mins(10);

/// How the message goes.
pub(super) enum Way {
    /// By this connection.
    Open(Connection),
    /// By this program as another user.
    AsOwner(Owner),
}

/// A connection over which an SMTP session begins.
pub(super) struct Connection {
    pub(super) wire: BufReader<Wire>,
    /// Serves the other end in this process.
    pub(super) session: Option<JoinHandle<()>>,
}

/// What is connected.
pub(super) enum Wire {
    Control(BufReader<UnixStream>),
    Queue(UnixStream),
    Listener(TcpStream),
}

/// The user whose queue it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    user: u32,
    group: u32,
}

impl Way {
    /// Finds the first way that this user may go now.
    pub(super) fn find(config: &Path) -> Result<Self, Failure> {
        let Some(state_dir) = config::state_dir(config, config::environment()) else {
            return by_listener(config, &format!("this user may not read {}", config.display()));
        };
        let forbidden = format!("this user may not queue mail in {}", state_dir.display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&state_dir) {
                Ok(client) => return Self::by_daemon(client),
                Err(refused) if refused.code == NOT_ALLOWED => return by_listener(config, &forbidden),
                // Nobody listens there; perhaps elsewhere, where nobody else would look for the mail.
                Err(_) => {
                    if let Some(client) = elsewhere(config, &state_dir) {
                        return Self::by_daemon(client);
                    }
                }
            }
            let me = geteuid().as_raw();
            match std::fs::metadata(&state_dir) {
                Ok(folder) if me == 0 && folder.uid() != 0 => {
                    return Ok(Self::AsOwner(Owner { user: folder.uid(), group: folder.gid() }));
                }
                Ok(folder) if folder.uid() != me => return by_listener(config, &forbidden),
                Err(cause) if cause.kind() == ErrorKind::PermissionDenied => {
                    return by_listener(config, &forbidden);
                }
                Err(_) if me == 0 => {
                    // Made by root it would keep a daemon of another user out.
                    if let Some(owner) = Owner::to_be(config, &state_dir)? {
                        return Ok(Self::AsOwner(owner));
                    }
                }
                Ok(_) | Err(_) => {}
            }
            match daemon::serve_one(load_to_queue(config)?, Clock::system()) {
                Ok((wire, session)) => return Self::open(Wire::Queue(wire), Some(session)),
                Err(QueueError::Locked { .. }) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(ref refused @ QueueError::Io { ref cause, .. })
                    if cause.kind() == ErrorKind::PermissionDenied =>
                {
                    return by_listener(config, &refused.to_string());
                }
                Err(cause) => return Err(Failure::new(exit_code(&cause), format!("sendmail: {cause}"))),
            }
        }
    }

    fn by_daemon(client: Client) -> Result<Self, Failure> {
        Self::open(Wire::Control(client.submit(GREETING_LIMIT)?), None)
    }

    fn open(mut wire: Wire, session: Option<JoinHandle<()>>) -> Result<Self, Failure> {
        wire.wait_for_greeting(GREETING_LIMIT)?;
        Ok(Self::Open(Connection { wire: BufReader::new(wire), session }))
    }
}

/// The daemon that runs with this configuration in another folder: it was started before `state_dir` was changed in the
/// file, or its environment tells it another. Anybody can say so; believed is one that runs as this user, as root, or
/// where root asks as the user whose queue it is.
fn elsewhere(config: &Path, state_dir: &Path) -> Option<Client> {
    let client = Client::connect(&admin::state_dir_of(config)?).ok()?;
    let user = client.user()?;
    let me = geteuid().as_raw();
    let owns = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.uid() == user);
    let is_named = || user::ids("waystation").is_some_and(|(named, _)| named == user);
    let is_believed = user == 0 || user == me || me == 0 && (owns(state_dir) || owns(config) || is_named());
    is_believed.then_some(client)
}

/// Nothing that is wrong with the queue is the message's fault: whoever hands it in must keep it.
fn exit_code(cause: &QueueError) -> u8 {
    match cause.exit_code() {
        BAD_DATA | IO_ERROR => TRY_LATER,
        code => code,
    }
}

/// Users who may not touch the queue hand in their mail as any application does.
/// `obstacle`: why they may not, in words.
fn by_listener(config: &Path, obstacle: &str) -> Result<Way, Failure> {
    let usual = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))];
    let addresses = config::open_listeners(config, config::environment()).unwrap_or_else(usual);
    for address in &addresses {
        if let Ok(socket) = TcpStream::connect_timeout(address, CONNECT_LIMIT) {
            return Way::open(Wire::Listener(socket), None);
        }
    }
    let asked: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Err(if asked.is_empty() {
        let cure = "run this as the daemon's user or root, or give the daemon a listener on loopback";
        let text = format!("sendmail: {obstacle}, and no listener trusts this machine; {cure}");
        Failure::new(NOT_ALLOWED, text)
    } else {
        let asked = asked.join(", ");
        let cure = "start the daemon, or run this as its user or root";
        let text = format!("sendmail: no daemon answers at {asked}, and {obstacle}; {cure}");
        Failure::new(TRY_LATER, text)
    })
}

impl Connection {
    /// Joins standard input and output to the session (`-bs`).
    pub(super) fn bridge(self) -> Done {
        let failed = |cause: io::Error| Failure::new(TRY_LATER, format!("sendmail: {cause}"));
        let mut from = self.wire;
        let mut writer = from.get_ref().second_handle().map_err(failed)?;
        // Ends with its input, or with the process when the session ends first.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut writer);
            writer.end();
        });
        let mut out = io::stdout().lock();
        let mut room = [0; 4096];
        loop {
            let count = from.read(&mut room).map_err(failed)?;
            let Some(octets) = room.get(..count).filter(|octets| !octets.is_empty()) else { break };
            // Whoever doesn't listen any more has hung up.
            if out.write_all(octets).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        drop(from);
        self.session.map(JoinHandle::join);
        Ok(())
    }
}

impl Wire {
    /// Waits until the greeting begins, which stays to be read.
    fn wait_for_greeting(&mut self, limit: Duration) -> Result<(), Failure> {
        let waited = match self {
            Self::Control(socket) => {
                let limited = socket.get_ref().set_read_timeout(Some(limit));
                limited.and_then(|()| socket.fill_buf().map(drop))
            }
            Self::Queue(_) => Ok(()),
            Self::Listener(socket) => {
                let limited = socket.set_read_timeout(Some(limit));
                limited.and_then(|()| socket.peek(&mut [0]).map(drop))
            }
        };
        waited.map_err(|cause| {
            let text = match cause.kind() {
                // A read that timed out (SO_RCVTIMEO).
                ErrorKind::WouldBlock => format!(
                    "sendmail: a daemon listens and doesn't greet within {} s: it may be stopped; try again, and see its log",
                    limit.as_secs()
                ),
                _ => format!("sendmail: lost the daemon before it took the message: {cause}"),
            };
            Failure::new(TRY_LATER, text)
        })
    }

    /// Another handle, for writing beside reading.
    fn second_handle(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Control(socket) => Self::Queue(socket.get_ref().try_clone()?),
            Self::Queue(socket) => Self::Queue(socket.try_clone()?),
            Self::Listener(socket) => Self::Listener(socket.try_clone()?),
        })
    }

    /// Says that nothing more is written.
    fn end(&self) {
        let _ = match self {
            Self::Control(socket) => socket.get_ref().shutdown(Shutdown::Write),
            Self::Queue(socket) => socket.shutdown(Shutdown::Write),
            Self::Listener(socket) => socket.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Control(socket) => {
                socket.get_ref().set_read_timeout(Some(REPLY_LIMIT))?;
                socket.read(room)
            }
            Self::Queue(socket) => socket.read(room),
            Self::Listener(socket) => {
                socket.set_read_timeout(Some(REPLY_LIMIT))?;
                socket.read(room)
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Control(socket) => socket.get_mut().write(octets),
            Self::Queue(socket) => socket.write(octets),
            Self::Listener(socket) => socket.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Owner {
    /// Whose queue it will be that isn't there yet, as far as root can tell: of whoever owns the folder that it will be
    /// made in, else the configuration, else of a user `waystation`; none: root's, as far as anything says. (systemd gives
    /// a `StateDirectory` to the service's user, whoever made it.)
    fn to_be(config: &Path, state_dir: &Path) -> Result<Option<Self>, Failure> {
        let above = state_dir.ancestors().skip(1).find_map(|folder| std::fs::metadata(folder).ok());
        let of = |found: &Metadata| Self { user: found.uid(), group: found.gid() };
        if let Some(above) = above.as_ref().filter(|above| above.uid() != 0) {
            return Ok(Some(of(above)));
        }
        let configured = std::fs::metadata(config).ok().filter(|file| file.uid() != 0);
        let named = || user::ids("waystation").map(|(user, group)| Self { user, group });
        let Some(owner) = configured.as_ref().map(of).or_else(named) else { return Ok(None) };
        // In a folder that is root's alone nobody puts another thing in its place.
        let is_safe = above.is_some_and(|above| above.mode() & 0o022 == 0);
        let make = || {
            DirBuilder::new().mode(0o700).create(state_dir)?;
            lchown(state_dir, Some(owner.user), Some(owner.group))
        };
        if is_safe && make().is_ok() {
            return Ok(Some(owner));
        }
        let (Self { user, group }, place) = (owner, state_dir.display());
        let text = format!(
            "sendmail: {place} is not there yet; make it with: install -d -m 700 -o {user} -g {group} {place}"
        );
        Err(Failure::new(TRY_LATER, text))
    }

    /// Runs this program again as the queue's owner, with this on standard input (or our own). Whose message it is
    /// stays as it was.
    pub(super) fn run(
        self,
        config: &Path,
        options: &Options,
        words: &[String],
        input: Option<&[u8]>,
    ) -> Done {
        let failed = |cause: io::Error| {
            Failure::new(TRY_LATER, format!("sendmail: as user {}, whose queue it is: {cause}", self.user))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let config = std::path::absolute(config).map_err(failed)?;
        let user = User::current();
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("sendmail");
        if options.sender.is_none() {
            command.args(["-f", &user.login]);
            command.args(user.name.iter().flat_map(|name| ["-F", name]));
        }
        command.args(words).uid(self.user).gid(self.group);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(failed)?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // If it ends before it read all, its exit code tells why.
            let _ = pipe.write_all(input);
        }
        let status = child.wait().map_err(failed)?;
        match status.code() {
            Some(0) => Ok(()),
            // What is wrong it has said itself.
            code => Err(Failure::new(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OUR_BUG), "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn who_listens_and_never_greets_is_not_waited_for_without_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connect = || Wire::Listener(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let hung = connect().wait_for_greeting(Duration::from_millis(10)).unwrap_err();
        assert_eq!(hung.code, TRY_LATER);
        assert!(hung.text.contains("doesn't greet"), "{}", hung.text);
        // Of one that greets nothing is lost.
        let mut wire = connect();
        let _hung = listener.accept().unwrap();
        listener.accept().unwrap().0.write_all(b"220 relay.test\r\n").unwrap();
        wire.wait_for_greeting(GREETING_LIMIT).unwrap();
        let mut greeting = String::new();
        wire.read_to_string(&mut greeting).unwrap();
        assert_eq!(greeting, "220 relay.test\r\n");
    }

    #[test]
    fn a_damaged_queue_is_not_the_messages_fault() {
        let path = Path::new("/state/queue.db").to_owned();
        let io = QueueError::Io { path: path.clone(), cause: io::Error::from_raw_os_error(5) };
        assert_eq!((io.exit_code(), exit_code(&io)), (IO_ERROR, TRY_LATER));
        let damaged = QueueError::Damaged { path, cause: "not a database".into() };
        assert_eq!((damaged.exit_code(), exit_code(&damaged)), (BAD_DATA, TRY_LATER));
    }
}
