//! The sockets that are listened on: bound here, or passed by systemd.

use super::StartError;
use crate::config::schema::{ListenAddress, Listener};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A listener's name over reloads.
pub(super) fn key(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Socket(address) => address.to_string(),
        ListenAddress::Passed(name) => format!("fd:{name}"),
    }
}

/// Binds an address, or takes the sockets that systemd passed under a name.
pub(super) fn bind(address: &ListenAddress, passed: &mut Passed) -> Result<Vec<TcpListener>, StartError> {
    let failed = |cause: io::Error| {
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there, perhaps another waystation: stop it, or choose another address"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a port above, or use systemd"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address",
            io::ErrorKind::NotFound => {
                "systemd passed no socket of this name: see FileDescriptorName= in the socket unit"
            }
            _ => "choose another address",
        };
        StartError::Bind { address: key(address), cause, advice }
    };
    match address {
        ListenAddress::Socket(address) => Ok(vec![bound(*address).map_err(failed)?]),
        ListenAddress::Passed(name) => passed.take(name).map_err(failed),
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// The sockets that systemd passed (`sd_listen_fds(3)`). Read once: reading takes them out of the environment. Each is
/// kept for as long as the daemon runs, and listeners get copies: a reload that fails, or takes a listener away, loses none.
pub(super) struct Passed {
    descriptors: listenfd::ListenFd,
    names: Vec<String>,
    kept: Vec<(String, std::net::TcpListener)>,
}

impl Passed {
    pub(super) fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let descriptors = listenfd::ListenFd::from_env();
        let names = named(&names, descriptors.len());
        Self { descriptors, names, kept: Vec::new() }
    }

    /// The names that none of these listeners has. Nobody can refuse clients there: systemd listens as well.
    pub(super) fn unclaimed(&self, listeners: &[Listener]) -> Vec<String> {
        unclaimed(&self.names, listeners)
    }

    /// All sockets of one name.
    fn take(&mut self, name: &str) -> io::Result<Vec<TcpListener>> {
        for (index, _) in self.names.iter().enumerate().filter(|(_, found)| *found == name) {
            if let Some(socket) = self.descriptors.take_tcp_listener(index)? {
                socket.set_nonblocking(true)?;
                self.kept.push((name.to_owned(), socket));
            }
        }
        let mut sockets = Vec::new();
        for (_, socket) in self.kept.iter().filter(|(kept, _)| kept == name) {
            sockets.push(TcpListener::from_std(socket.try_clone()?)?);
        }
        if sockets.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(sockets) }
    }
}

/// A name for each of `count` sockets: what `sd_listen_fds_with_names(3)` tells.
fn named(names: &str, count: usize) -> Vec<String> {
    let names = names.split(':').filter(|_| !names.is_empty());
    names.chain(std::iter::repeat("unknown")).take(count).map(str::to_owned).collect()
}

fn unclaimed(names: &[String], listeners: &[Listener]) -> Vec<String> {
    let is_named = |name: &str| {
        listeners
            .iter()
            .any(|listener| matches!(&listener.address, ListenAddress::Passed(own) if own.as_str() == name))
    };
    let mut unclaimed: Vec<String> = names.iter().filter(|name| !is_named(name)).cloned().collect();
    unclaimed.sort();
    unclaimed.dedup();
    unclaimed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_name() {
        assert_eq!(named("submission:local", 2), ["submission", "local"]);
        assert_eq!(named("submission", 2), ["submission", "unknown"]);
        assert_eq!(named("", 1), ["unknown"]);
        // They were passed to another process.
        assert_eq!(named("submission", 0), [""; 0]);
    }
}
