//! Ports on loopback that a test must know before somebody listens there, or where nobody may.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that is free now, for programs that can't pick one themselves. Below those that the system gives to connections
/// and to whoever asks for any, or one of them might take it before the program does.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let next = || {
        let number = std::process::id().wrapping_mul(31).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        u16::try_from(20_000 + number % 12_000).unwrap()
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).take(12_000).find(is_free).expect("no port is free")
}

/// A port that refuses every connection as long as the test's process lives: it is taken, and nobody listens. One that was
/// given back might be given to another test's server.
pub fn closed_port() -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let taken = Box::leak(Box::new(socket)).local_addr().unwrap();
    taken.as_socket().unwrap().port()
}
