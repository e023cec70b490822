//! The PROXY protocol header, versions 1 and 2 (haproxy.org/download/1.8/doc/proxy-protocol.txt). Pure and bounded.
//!
//! Promises: a header is read whole or not at all, never past its end, and takes no more than [`MAX_LENGTH`] octets.
//! Whether the sender may be believed is [`access::believes_proxy`](super::access::believes_proxy)'s to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header: a version 2 one with all the room for TLVs that we grant.
pub const MAX_LENGTH: usize = 16 + MAX_V2_PAYLOAD;

/// §2.1: the longest version 1 line, CRLF included.
const MAX_V1: usize = 107;
const MAX_V2_PAYLOAD: usize = 2048;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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
    if begins(buffer, V1) {
        v1(buffer)
    } else if begins(buffer, V2) {
        v2(buffer)
    } else {
        Err(ProxyError::Absent)
    }
}

/// Whether the buffer begins with the signature, as far as either goes.
fn begins(buffer: &[u8], signature: &[u8]) -> bool {
    let common = buffer.len().min(signature.len());
    buffer.get(..common) == signature.get(..common)
}

/// §2.1: `PROXY TCP4 192.0.2.1 192.0.2.2 51234 25`, one space between words, CRLF.
fn v1(buffer: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = buffer.get(..MAX_V1).unwrap_or(buffer);
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return if buffer.len() >= MAX_V1 { Err(ProxyError::Malformed("line too long")) } else { Ok(None) };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(ProxyError::Malformed("line does not end in CRLF"))?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed("not US-ASCII"))?;
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let peer = match words[..] {
        // What follows is to be ignored.
        ["UNKNOWN", ..] => Peer::Connection,
        [family @ ("TCP4" | "TCP6"), client, destination, client_port, destination_port] => Peer::Client {
            client: SocketAddr::new(address(family, client)?, port(client_port)?),
            destination: SocketAddr::new(address(family, destination)?, port(destination_port)?),
        },
        _ => return Err(ProxyError::Malformed("not a family, two addresses and two ports")),
    };
    Ok(Some(Header { peer, length: end + 1 }))
}

fn address(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    let address: IpAddr = text.parse().map_err(|_| ProxyError::Malformed("not an address"))?;
    if address.is_ipv4() == (family == "TCP4") {
        Ok(address)
    } else {
        Err(ProxyError::Malformed("address of another family"))
    }
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyError::Malformed("not a port"))
}

/// §2.2: signature, version and command, family and protocol, length, addresses, TLVs.
fn v2(buffer: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some((head, rest)) = buffer.split_at_checked(16) else { return Ok(None) };
    let [.., command, family, high, low] = head else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_V2_PAYLOAD {
        return Err(ProxyError::Malformed("header too long"));
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let peer = match (command, family) {
        (0x21, 0x11) => ends::<4>(payload, |octets| Ipv4Addr::from(octets).into())?,
        (0x21, 0x21) => ends::<16>(payload, |octets| Ipv6Addr::from(octets).into())?,
        // LOCAL: the balancer speaks for itself, say to see whether we live. PROXY with another family (unspecified,
        // datagrams, local sockets): nothing that names an SMTP client.
        (0x20 | 0x21, _) => Peer::Connection,
        _ => return Err(ProxyError::Malformed("unknown version or command")),
    };
    Ok(Some(Header { peer, length: 16 + length }))
}

/// Client and destination addresses of `N` octets each, then their ports; what follows are TLVs.
fn ends<const N: usize>(payload: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Result<Peer, ProxyError> {
    let short = ProxyError::Malformed("too short for its addresses");
    let (client, rest) = payload.split_first_chunk::<N>().ok_or(short)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(short)?;
    let (client_port, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
    let (destination_port, _) = rest.split_first_chunk::<2>().ok_or(short)?;
    Ok(Peer::Client {
        client: SocketAddr::new(address(*client), u16::from_be_bytes(*client_port)),
        destination: SocketAddr::new(address(*destination), u16::from_be_bytes(*destination_port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(from: &str, to: &str) -> Peer {
        Peer::Client { client: from.parse().unwrap(), destination: to.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, payload].concat()
    }

    /// Parses every prefix: incomplete until the last octet, then whole, and blind to what follows.
    fn parsed(header: &[u8]) -> Peer {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{end}");
        }
        let followed = [header, b"EHLO x\r\n"].concat();
        let found = parse(&followed).unwrap().unwrap();
        assert_eq!(found.length, header.len());
        found.peer
    }

    #[test]
    fn version_1_names_a_client() {
        assert_eq!(
            parsed(b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 25\r\n"),
            client("192.0.2.1:51234", "198.51.100.2:25")
        );
        assert_eq!(
            parsed(b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n"),
            client("[2001:db8::1]:0", "[2001:db8::2]:65535")
        );
        assert_eq!(parsed(b"PROXY UNKNOWN\r\n"), Peer::Connection);
        assert_eq!(parsed(b"PROXY UNKNOWN ffff::1 whatever\r\n"), Peer::Connection);
    }

    #[test]
    fn version_2_names_a_client() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xc8, 0x22, 0, 25];
        assert_eq!(parsed(&v2(0x21, 0x11, &four)), client("192.0.2.1:51234", "198.51.100.2:25"));
        let with_tlv = [&four[..], &[0x03, 0, 2, 1, 2]].concat();
        assert_eq!(parsed(&v2(0x21, 0x11, &with_tlv)), client("192.0.2.1:51234", "198.51.100.2:25"));
        let mut six = vec![0; 36];
        (six[15], six[31], six[35]) = (1, 2, 25);
        assert_eq!(parsed(&v2(0x21, 0x21, &six)), client("[::1]:0", "[::2]:25"));
        assert_eq!(parsed(&v2(0x20, 0x00, &[])), Peer::Connection, "LOCAL");
        assert_eq!(parsed(&v2(0x20, 0x11, &four)), Peer::Connection, "LOCAL with addresses");
        assert_eq!(parsed(&v2(0x21, 0x00, &[1, 2])), Peer::Connection, "UNSPEC");
        assert_eq!(parsed(&v2(0x21, 0x31, &[0; 216])), Peer::Connection, "AF_UNIX");
    }

    #[test]
    fn what_is_no_header_is_refused_at_the_first_octet_that_shows_it() {
        assert_eq!(parse(b"E"), Err(ProxyError::Absent));
        assert_eq!(parse(b"PROXI"), Err(ProxyError::Absent));
        assert_eq!(parse(b"\r\nEHLO"), Err(ProxyError::Absent));
        for header in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 25\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 25 x\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.2 51234 25\r\n",
            b"PROXY TCP4 ::1 ::2 51234 25\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.2 51234 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +51 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 051 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n",
            b"PROXY \xff\r\n",
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 2049]),
        ] {
            assert!(matches!(parse(header), Err(ProxyError::Malformed(_))), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_answered_within_the_bound(mut octets in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3) {
            match kind {
                1 => { octets.splice(0..0, V1.iter().copied()); }
                2 => { octets.splice(0..0, V2.iter().copied()); }
                _ => {}
            }
            if let Ok(Some(header)) = parse(&octets) {
                prop_assert!(header.length <= octets.len().min(MAX_LENGTH));
            }
        }
    }
}
