//! Networks in CIDR notation: parsed, compared, told apart into public and private.

use super::schema::Network;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that the world can't send from: RFC 1918, RFC 6598, loopback, link-local, unique local (RFC 4193).
const PRIVATE: [Network; 9] = [
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(127, 0, 8),
    v4(169, 254, 16),
    v4(100, 64, 10),
    v6(0xfc00, 0, 7),
    v6(0xfe80, 0, 10),
    v6(0, 1, 128),
];

const fn v4(a: u8, b: u8, prefix: u8) -> Network {
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix }
}

const fn v6(first: u16, last: u16, prefix: u8) -> Network {
    Network { address: IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last)), prefix }
}

impl Network {
    /// `127.0.0.0/8` and `::1/128`.
    pub(super) const LOOPBACK: [Self; 2] = [v4(127, 0, 8), v6(0, 1, 128)];

    /// Reads `10.0.0.0/8`, `::1/128`, or a single address.
    ///
    /// # Errors
    ///
    /// A sentence that tells what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| {
            format!("\"{text}\" is not a network; write it like \"192.168.0.0/16\" or \"fd00::/8\"")
        })?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= most && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("\"/{digits}\" is not a prefix length; it goes from /0 to /{most}"))?,
        };
        let network = Self { address: masked(address, prefix), prefix }.unmapped();
        if masked(address, prefix) == address {
            return Ok(network);
        }
        let whole = Self { address: masked(address, prefix), prefix };
        Err(format!("\"{text}\" has bits set behind its prefix; write \"{whole}\" or \"{address}/{most}\""))
    }

    /// Whether an address lies within; `::ffff:192.0.2.1` counts as `192.0.2.1`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether any part of it belongs to the world rather than to one's own machines.
    #[must_use]
    pub fn is_public(&self) -> bool {
        !PRIVATE.iter().any(|private| private.prefix <= self.prefix && private.contains(self.address))
    }

    /// First and last address as numbers, for [`cover_everything`].
    fn ends(&self) -> (u128, u128) {
        match self.address {
            IpAddr::V4(address) => {
                let first = u32::from(address);
                (first.into(), (first | u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0)).into())
            }
            IpAddr::V6(address) => {
                let first = u128::from(address);
                (first, first | u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0))
            }
        }
    }

    /// An IPv4-mapped IPv6 network is that IPv4 network.
    fn unmapped(self) -> Self {
        match self.address {
            IpAddr::V6(address) if self.prefix >= 96 => match address.to_ipv4_mapped() {
                Some(mapped) => Self { address: IpAddr::V4(mapped), prefix: self.prefix - 96 },
                None => self,
            },
            _ => self,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Whether networks together let the whole of IPv4 or the whole of IPv6 in, be it in halves.
pub(super) fn cover_everything(networks: &[Network]) -> bool {
    [(true, u128::from(u32::MAX)), (false, u128::MAX)].into_iter().any(|(ipv4, last)| {
        let mut ranges: Vec<_> =
            networks.iter().filter(|n| n.address.is_ipv4() == ipv4).map(Network::ends).collect();
        ranges.sort_unstable();
        let mut next = 0;
        for (from, to) in ranges {
            if from > next {
                return false;
            }
            if to >= last {
                return true;
            }
            next = next.max(to + 1);
        }
        false
    })
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & !host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & !host).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    #[test]
    fn mapped_addresses_are_compared_as_ipv4() {
        assert!(network("10.0.0.0/8").contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network("10.0.0.0/8").contains("::ffff:11.1.2.3".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert!(!network("::/0").contains("10.1.2.3".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("10.1.2.3".parse().unwrap()));
        assert!(network("::1").contains("::1".parse().unwrap()));
    }

    #[test]
    fn host_bits_and_nonsense_are_refused() {
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "lan", "", "::/129", "1.2.3/24"]
        {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_is_private_only_if_all_of_it_is() {
        for (text, public) in [
            ("10.0.0.0/8", false),
            ("10.0.0.0/7", true),
            ("192.168.1.0/24", false),
            ("172.16.0.0/12", false),
            ("172.32.0.0/16", true),
            ("100.64.0.0/10", false),
            ("100.0.0.0/8", true),
            ("127.0.0.1/32", false),
            ("fd00::/8", false),
            ("fe80::/64", false),
            ("::1/128", false),
            ("2001:db8::/32", true),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("192.0.2.0/24", true),
        ] {
            assert_eq!(network(text).is_public(), public, "{text}");
        }
    }

    #[test]
    fn the_whole_world_in_halves_is_still_the_whole_world() {
        let all = |texts: &[&str]| cover_everything(&texts.iter().map(|t| network(t)).collect::<Vec<_>>());
        assert!(all(&["0.0.0.0/0"]));
        assert!(all(&["::/0"]));
        assert!(all(&["::ffff:0:0/96"]));
        assert!(all(&["128.0.0.0/1", "10.0.0.0/8", "0.0.0.0/1"]));
        assert!(all(&["8000::/1", "::/1"]));
        assert!(!all(&["128.0.0.0/1", "10.0.0.0/8"]));
        assert!(!all(&["0.0.0.0/1", "8000::/1"]));
        assert!(!all(&[]));
    }
}
