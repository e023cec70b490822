//! The way to the queue: the control socket, the queue itself, or a listener; see the table in the parent.

use super::options::Options;
use super::user::{self, User};
use crate::admin::Client;
use crate::cli::{Done, Failure, NOT_ALLOWED, OUR_BUG, TRY_LATER, load};
use crate::clock::Clock;
use crate::config;
use crate::daemon;
use crate::queue::QueueError;
use rustix::process::geteuid;
use std::fs::{DirBuilder, Metadata};
use std::io::{self, BufReader, ErrorKind, Read, Write};
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
const PAUSE: Duration = Duration::from_millis(50);
/// A listener on this machine answers at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
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
            return by_listener(config, config);
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&state_dir) {
                Ok(client) => return Ok(Self::open(Wire::Control(client.submit()?), None)),
                Err(refused) if refused.code == NOT_ALLOWED => return by_listener(config, &state_dir),
                // Nobody listens there.
                Err(_) => {}
            }
            let me = geteuid().as_raw();
            match std::fs::metadata(&state_dir) {
                Ok(folder) if me == 0 && folder.uid() != 0 => {
                    return Ok(Self::AsOwner(Owner { user: folder.uid(), group: folder.gid() }));
                }
                Ok(folder) if folder.uid() != me => return by_listener(config, &state_dir),
                Err(cause) if cause.kind() == ErrorKind::PermissionDenied => {
                    return by_listener(config, &state_dir);
                }
                Err(_) if me == 0 => {
                    // Made by root it would keep a daemon of another user out.
                    if let Some(owner) = Owner::to_be(config, &state_dir)? {
                        return Ok(Self::AsOwner(owner));
                    }
                }
                Ok(_) | Err(_) => {}
            }
            match daemon::serve_one(load(Some(config), false)?.config, Clock::system()) {
                Ok((wire, session)) => return Ok(Self::open(Wire::Queue(wire), Some(session))),
                Err(QueueError::Locked { .. }) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(QueueError::Io { cause, .. }) if cause.kind() == ErrorKind::PermissionDenied => {
                    return by_listener(config, &state_dir);
                }
                Err(cause) => return Err(Failure::new(cause.exit_code(), format!("sendmail: {cause}"))),
            }
        }
    }

    fn open(wire: Wire, session: Option<JoinHandle<()>>) -> Self {
        Self::Open(Connection { wire: BufReader::new(wire), session })
    }
}

/// Users who may not touch the queue hand in their mail as any application does.
fn by_listener(config: &Path, forbidden: &Path) -> Result<Way, Failure> {
    let usual = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))];
    let addresses = config::open_listeners(config, config::environment()).unwrap_or_else(usual);
    for address in &addresses {
        if let Ok(socket) = TcpStream::connect_timeout(address, CONNECT_LIMIT) {
            return Ok(Way::open(Wire::Listener(socket), None));
        }
    }
    let asked: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let place = forbidden.display();
    Err(if asked.is_empty() {
        let cure = "run this as the daemon's user or root, or give the daemon a listener on loopback";
        let text = format!(
            "sendmail: {place}: this user may not queue mail there, and no listener trusts this machine; {cure}"
        );
        Failure::new(NOT_ALLOWED, text)
    } else {
        let asked = asked.join(", ");
        let text = format!(
            "sendmail: no daemon answers at {asked}, and this user may not queue mail in {place}; start the daemon, or run this as its user or root"
        );
        Failure::new(TRY_LATER, text)
    })
}

impl Connection {
    /// Joins standard input and output to the session (`-bs`).
    pub(super) fn bridge(self) -> Done {
        let failed = |cause: io::Error| Failure::new(TRY_LATER, format!("sendmail: {cause}"));
        let mut from = self.wire.into_inner();
        let mut writer = from.second_handle().map_err(failed)?;
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
