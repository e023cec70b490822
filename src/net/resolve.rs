//! From a host's name to a connected socket: look-up and racing of addresses (RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// A look-up that takes longer counts as failed.
const LOOKUP_LIMIT: Duration = Duration::from_secs(20);
/// One address has this long to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// The next address starts when the one before hasn't answered by then (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// The others have this long before an avoided one starts: it would win each race against one that is far away.
const RESPITE: Duration = Duration::from_secs(5);
/// A name with more addresses than this is tried with the first ones only.
const MAX_ADDRESSES: usize = 16;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be looked up.
    #[error("{host}: name not found ({cause}); check the host name and this machine's DNS")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// No address took the connection.
    #[error("{host}:{port}: {cause}{advice}")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What the last address said.
        cause: io::Error,
        /// What to do.
        advice: &'static str,
    },
}

/// Connects to the first of the host's addresses that answers; to one of the `avoided` only where no other does so in a few
/// seconds, the first of them first.
///
/// # Errors
/// When the name doesn't resolve or no address answers.
pub async fn connect(host: &str, port: u16, avoided: &[IpAddr]) -> Result<TcpStream, ConnectError> {
    let mut addresses = look_up(host, port).await?;
    let good = put_last(&mut addresses, avoided);
    race(addresses, good).await.map_err(|cause| {
        let advice = match cause.kind() {
            io::ErrorKind::ConnectionRefused => "; nothing listens there: check host and port",
            io::ErrorKind::TimedOut => "; no answer: a firewall may filter this port, try 587, 465 or 2525",
            _ => "",
        };
        ConnectError::Connect { host: host.into(), port, cause, advice }
    })
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |cause| ConnectError::Lookup { host: host.into(), cause };
    let found: Vec<_> = timeout(LOOKUP_LIMIT, tokio::net::lookup_host((name, port)))
        .await
        .map_err(|_| failed(io::Error::new(io::ErrorKind::TimedOut, "no answer in 20 s")))?
        .map_err(failed)?
        .collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no addresses")));
    }
    Ok(interleave(found))
}

/// Families in turn, the resolver's first one first, each in its order (RFC 8305 §4).
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            mixed.truncate(MAX_ADDRESSES);
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// The others keep their order; how many those are.
fn put_last(addresses: &mut [SocketAddr], avoided: &[IpAddr]) -> usize {
    let place = |address: &SocketAddr| avoided.iter().position(|avoided| *avoided == address.ip());
    addresses.sort_by_key(place);
    addresses.partition_point(|address| place(address).is_none())
}

/// Starts one address after the other, each a little later or as soon as one before has failed; the first that
/// connects wins and the others are dropped. Those behind the first `good` ones wait longer, or until all of these failed.
pub(super) async fn race(addresses: Vec<SocketAddr>, good: usize) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter().enumerate();
    let mut racing = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no addresses");
    loop {
        let next = waiting.next();
        if let Some((_, address)) = next {
            racing.spawn(async move {
                timeout(CONNECT_LIMIT, TcpStream::connect(address))
                    .await
                    .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 30 s")))
            });
        }
        let is_last_good = next.is_some_and(|(number, _)| number + 1 == good);
        let head_start = next.map(|_| if is_last_good { RESPITE } else { HEAD_START });
        let until = head_start.map(|head_start| Instant::now() + head_start);
        loop {
            let ended = match until {
                Some(until) => timeout_at(until, racing.join_next()).await.unwrap_or(None),
                None => racing.join_next().await,
            };
            match ended {
                Some(Ok(Ok(socket))) => return Ok(socket),
                Some(Ok(Err(cause))) => last = cause,
                Some(Err(_)) => {}
                None if until.is_none() => return Err(last),
                None => break,
            }
            let others_may_come = is_last_good && !racing.is_empty();
            if until.is_some() && !others_may_come {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_list_is_capped() {
        let mixed = interleave(addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]));
        assert_eq!(mixed, addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]));
        let many: Vec<SocketAddr> = (0..1000).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(interleave(many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn avoided_addresses_come_last_in_the_order_they_are_given() {
        let mut found = addresses(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1", "[::2]:1"]);
        let good = put_last(&mut found, &["1.0.0.9", "1.0.0.2", "1.0.0.1"].map(|text| text.parse().unwrap()));
        assert_eq!(good, 2);
        assert_eq!(found, addresses(&["[::1]:1", "[::2]:1", "1.0.0.2:1", "1.0.0.1:1"]));
    }

    /// A port that is taken and where nobody listens, as long as this is held: one that was given back might be given to
    /// another test's server.
    fn dead() -> (socket2::Socket, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn a_dead_address_does_not_stop_the_living_one() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_held, dead) = dead();
        let socket = race(vec![dead, alive.local_addr().unwrap()], 2).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), alive.local_addr().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_avoided_address_waits_for_one_that_is_far_away() {
        let avoided = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Its queue is full, so that it takes a connection as late as it likes.
        let far = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        far.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        far.listen(0).unwrap();
        let far = (far.local_addr().unwrap().as_socket().unwrap(), far);
        let _filling: Vec<_> = (0..4)
            .map(|_| {
                let one = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                one.set_nonblocking(true).unwrap();
                let _ = one.connect(&far.0.into());
                one
            })
            .collect();
        let (_held, dead) = dead();
        for good in [vec![far.0], vec![far.0, dead]] {
            let (began, count) = (Instant::now(), good.len());
            let all = [good, vec![avoided.local_addr().unwrap()]].concat();
            let socket = race(all, count).await.unwrap();
            assert_eq!(socket.peer_addr().unwrap(), avoided.local_addr().unwrap());
            assert_eq!(began.elapsed().as_secs(), RESPITE.as_secs(), "{count} good ones");
        }
    }

    #[tokio::test]
    async fn a_refused_port_says_what_to_do() {
        let (_held, dead) = dead();
        let error = connect("127.0.0.1", dead.port(), &[]).await.unwrap_err().to_string();
        assert!(error.contains("nothing listens there"), "{error}");
    }
}
