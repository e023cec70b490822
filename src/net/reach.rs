//! Which addresses a webhook may be at: the public internet, the private rest, and what nobody is at. Pure.
//!
//! Asked of the address that is about to be connected to, never of a name. An IPv6 address that carries an IPv4
//! address (mapped, compatible, translated, NAT64, 6to4) is judged by what it carries. Ranges: the IANA registries
//! of special-purpose addresses (RFC 6890) as of November 2026.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far away an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the public internet.
    Public,
    /// Here, nearby, or of a range that the public internet doesn't route.
    Private,
    /// No single machine: unspecified, multicast, broadcast or reserved.
    Nobody,
}

/// Prefixes of IPv4 that aren't public: address, length, what is there.
const V4: &[([u8; 4], u32, Reach)] = &[
    ([0, 0, 0, 0], 8, Reach::Nobody),
    ([10, 0, 0, 0], 8, Reach::Private),
    ([100, 64, 0, 0], 10, Reach::Private),
    ([127, 0, 0, 0], 8, Reach::Private),
    ([169, 254, 0, 0], 16, Reach::Private),
    ([172, 16, 0, 0], 12, Reach::Private),
    ([192, 0, 0, 0], 24, Reach::Private),
    ([192, 0, 2, 0], 24, Reach::Private),
    ([192, 88, 99, 0], 24, Reach::Private),
    ([192, 168, 0, 0], 16, Reach::Private),
    ([198, 18, 0, 0], 15, Reach::Private),
    ([198, 51, 100, 0], 24, Reach::Private),
    ([203, 0, 113, 0], 24, Reach::Private),
    ([224, 0, 0, 0], 4, Reach::Nobody),
    ([240, 0, 0, 0], 4, Reach::Nobody),
];

/// Prefixes within IPv6's global unicast that aren't public: first two groups, length.
const V6: &[(u32, u32)] = &[
    // IETF protocol assignments, Teredo among them (RFC 2928).
    (0x2001_0000, 23),
    // Documentation (RFC 3849, RFC 9637).
    (0x2001_0db8, 32),
    (0x3fff_0000, 20),
];

/// Where an address leads.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let bits = address.to_bits();
    let within = |(prefix, length, _): &&([u8; 4], u32, Reach)| {
        (bits ^ u32::from_be_bytes(*prefix)) >> (32 - length) == 0
    };
    V4.iter().find(within).map_or(Reach::Public, |(_, _, reach)| *reach)
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let bits = address.to_bits();
    let top = |length: u32| bits >> (128 - length);
    if bits == 0 || top(8) == 0xff {
        return Reach::Nobody;
    }
    if bits == 1 {
        return Reach::Private;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are meant")]
    let low = Ipv4Addr::from_bits(bits as u32);
    match top(96) {
        // Mapped (RFC 4291 §2.5.5.2), translated (RFC 2765), NAT64 (RFC 6052).
        0xffff | 0xffff_0000 | 0x0064_ff9b_0000_0000_0000_0000 => return reach_v4(low),
        // Compatible (RFC 4291 §2.5.5.1): given up long ago, public to nobody.
        0 => return nearer(reach_v4(low)),
        _ => {}
    }
    if top(16) == 0x2002 {
        // 6to4 (RFC 3056).
        #[expect(clippy::cast_possible_truncation, reason = "32 of the bits are meant")]
        return reach_v4(Ipv4Addr::from_bits((bits >> 80) as u32));
    }
    // Everything public is global unicast, 2000::/3.
    #[expect(clippy::cast_possible_truncation, reason = "32 bits are left")]
    let first = top(32) as u32;
    let special = V6.iter().any(|(prefix, length)| (first ^ prefix) >> (32 - length) == 0);
    if top(3) != 1 || special { Reach::Private } else { Reach::Public }
}

fn nearer(reach: Reach) -> Reach {
    if reach == Reach::Nobody { Reach::Nobody } else { Reach::Private }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_where_it_leads() {
        let table = [
            (
                Reach::Public,
                "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
                 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 \
                 198.20.0.0 223.255.255.255 2606:4700::1111 2a00:1450:4001::1 2001:200::1 2001:4860:4860::8888 3ffe::1 \
                 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2620:fe::fe",
            ),
            (
                Reach::Private,
                "10.0.0.0 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3 127.255.255.255 169.254.169.254 \
                 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 \
                 198.51.100.7 203.0.113.7 ::1 fc00::1 fdff::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3 \
                 ::ffff:169.254.169.254 ::ffff:192.168.1.1 ::ffff:100.64.0.1 ::127.0.0.1 ::10.0.0.1 ::8.8.8.8 \
                 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 \
                 2002:7f00:1::1 2002:a00:1::1 2002:c0a8:101::1 2002:a9fe:a9fe:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 \
                 2001:10::1 2001:20::1 2001:db8::1 3fff:fff::1 100::1 5f00::1 4000::1 8000::1",
            ),
            (
                Reach::Nobody,
                "0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ff02::1 ff0e::1 \
                 ::ffff:0.0.0.0 ::ffff:224.0.0.1 ::2 64:ff9b::0.0.0.0 64:ff9b::255.255.255.255 2002:e000:1::1 2002:0:1::1",
            ),
        ];
        let mut count = 0;
        for (expected, addresses) in table {
            for text in addresses.split_whitespace() {
                assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
                count += 1;
            }
        }
        assert!(count > 90, "{count}");
    }
}
