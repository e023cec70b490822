//! Asking the name server itself, where the system's resolver found nothing: for each kind of address, what it says.
//!
//! Knows the servers of the system's configuration and nothing of its hosts file. Asks once, over UDP and then TCP.

use super::finding::{Answered, Records};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// What the system's name servers say of a name; none when none is configured.
pub(super) async fn ask(name: &str, limit: Duration) -> Option<Records> {
    let (config, options) = read_system_conf().ok()?;
    ask_at(config, options, name, limit).await
}

/// The same by this configuration.
async fn ask_at(
    config: ResolverConfig,
    mut options: ResolverOpts,
    name: &str,
    limit: Duration,
) -> Option<Records> {
    if config.name_servers().is_empty() {
        return None;
    }
    (options.attempts, options.cache_size) = (1, 0);
    options.timeout = limit / 2;
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let resolver = resolver.with_options(options).build().ok()?;
    let (a, aaaa) = tokio::join!(
        timeout(limit, kind(&resolver, name, RecordType::A)),
        timeout(limit, kind(&resolver, name, RecordType::AAAA)),
    );
    let in_time = |answered: Result<Answered, _>| answered.unwrap_or(Answered::Silence);
    Some(Records { a: in_time(a), aaaa: in_time(aaaa) })
}

async fn kind(resolver: &TokioResolver, name: &str, kind: RecordType) -> Answered {
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let address = |data: &RData| data.ip_addr();
            let all: Vec<IpAddr> =
                found.answers().iter().filter_map(|record| address(&record.data)).collect();
            if all.is_empty() { Answered::NoRecord } else { Answered::Addresses(all) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => code(none.response_code),
        Err(NetError::Dns(DnsError::ResponseCode(error))) => code(error),
        Err(NetError::Timeout) => Answered::Silence,
        Err(NetError::Io(cause)) if cause.kind() == io::ErrorKind::TimedOut => Answered::Silence,
        Err(error) => Answered::Other(error.to_string()),
    }
}

fn code(code: ResponseCode) -> Answered {
    match code {
        ResponseCode::NoError => Answered::NoRecord,
        ResponseCode::NXDomain => Answered::NoSuchName,
        ResponseCode::ServFail => Answered::Failure,
        ResponseCode::Refused => Answered::Refused,
        other => Answered::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::NameServerConfig;
    use std::net::Ipv4Addr;
    use tokio::net::UdpSocket;

    /// Longer than an answer takes on a machine with other work.
    const PATIENCE: Duration = Duration::from_mins(1);
    /// So long a name server is waited for that says nothing to one question, and something to the other.
    const SILENCE: Duration = Duration::from_secs(10);

    /// What a stand-in says to a question: a response code, and an address.
    #[derive(Debug, Clone, Copy)]
    enum Says {
        Code(u8),
        Address,
        Nothing,
    }

    /// Answers each question for A and AAAA so; where it is asked.
    async fn stand_in(a: Says, aaaa: Says) -> ResolverConfig {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut query = [0; 1024];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                if let Some(reply) = reply(&query[..length], a, aaaa) {
                    let _ = socket.send_to(&reply, peer).await;
                }
            }
        });
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections[0].port = port;
        ResolverConfig::from_name_servers(vec![server])
    }

    /// The question sent back with an answer (RFC 1035 §4.1).
    fn reply(query: &[u8], a: Says, aaaa: Says) -> Option<Vec<u8>> {
        const A: u8 = 1;
        let end = 12 + query[12..].iter().position(|octet| *octet == 0)? + 5;
        let says = if query[end - 3] == A { a } else { aaaa };
        let (code, answers) = match says {
            Says::Code(code) => (code, 0),
            Says::Address => (0, 1),
            Says::Nothing => return None,
        };
        let mut reply =
            [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], &query[12..end]].concat();
        if answers > 0 {
            let address: &[u8] = if query[end - 3] == A { &[192, 0, 2, 1] } else { &[0; 16] };
            let length = u8::try_from(address.len()).unwrap();
            reply.extend([&[0xc0, 12], &query[end - 4..end], &[0, 0, 0, 60, 0, length], address].concat());
        }
        Some(reply)
    }

    #[tokio::test]
    async fn each_kind_of_address_is_told_by_what_the_name_server_says_of_it() {
        let address = Answered::Addresses(vec![[192, 0, 2, 1].into()]);
        for (a, aaaa, told) in [
            (Says::Code(3), Says::Code(3), (Answered::NoSuchName, Answered::NoSuchName)),
            (Says::Code(0), Says::Code(0), (Answered::NoRecord, Answered::NoRecord)),
            (Says::Code(2), Says::Code(0), (Answered::Failure, Answered::NoRecord)),
            (Says::Code(0), Says::Code(2), (Answered::NoRecord, Answered::Failure)),
            (Says::Code(5), Says::Code(5), (Answered::Refused, Answered::Refused)),
            (Says::Address, Says::Code(2), (address.clone(), Answered::Failure)),
            (Says::Nothing, Says::Code(3), (Answered::Silence, Answered::NoSuchName)),
        ] {
            let config = stand_in(a, aaaa).await;
            let limit = if matches!(a, Says::Nothing) { SILENCE } else { PATIENCE };
            let records = ask_at(config, ResolverOpts::default(), "smtp.shop.test.", limit).await.unwrap();
            assert_eq!((records.a, records.aaaa), told, "{a:?} {aaaa:?}");
        }
    }

    #[tokio::test]
    async fn without_a_name_server_nobody_is_asked() {
        let config = ResolverConfig::from_name_servers(Vec::new());
        assert_eq!(ask_at(config, ResolverOpts::default(), "smtp.shop.test.", PATIENCE).await, None);
    }
}
