//! The PROXY protocol header, versions 1 and 2 (haproxy.org/download/1.8/doc/proxy-protocol.txt). Pure and bounded.

use std::net::SocketAddr;

/// Whom a load balancer speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The balancer itself, or a kind of address we don't know: the connection's own address stands.
    Connection,
    /// This client.
    Client {
        /// The client's address.
        client: SocketAddr,
        /// The address it connected to.
        destination: SocketAddr,
    },
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whom it names.
    pub peer: Peer,
    /// How many octets it took; what follows is the client's.
    pub length: usize,
}

/// Why it isn't a header. The connection is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It begins like nothing we know.
    #[error("no PROXY header")]
    Absent,
    /// It begins like one, and isn't one.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
}

/// Reads a header from the start of `buffer`. None: it isn't all there yet.
///
/// # Errors
///
/// When it can't become one.
pub fn parse(buffer: &[u8]) -> Result<Option<Header>, ProxyError> {
    let _ = buffer;
    Err(ProxyError::Absent)
}
