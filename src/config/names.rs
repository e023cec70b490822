//! Names of things outside: hosts, addresses, sockets, fingerprints, hashes. Each either reads or tells what to write.

use super::schema::{AddressPattern, ListenAddress};
use crate::smtp::address::{Address, dns_domain};
use base64::Engine as _;
use std::net::{IpAddr, SocketAddr};

/// A domain name as EHLO takes it (RFC 5321 §4.1.2): letters, digits and inner hyphens.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("\"{text}\" is an address; write a name, like \"relay.example.com\""));
    }
    labels(name, false).map(|()| name.to_owned())
}

/// Where to connect to: a domain name, a name of the local network, or an IP address.
/// A host with a port.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let wanted = || format!("\"{text}\" is no host and port; write them like \"smtp.example.com:587\"");
    let (name, port) = text.rsplit_once(':').ok_or_else(wanted)?;
    let port: std::num::NonZeroU16 = port.parse().map_err(|_| wanted())?;
    let is_bare_ipv6 = name.contains(':') && !name.starts_with('[');
    if is_bare_ipv6 {
        return Err(wanted());
    }
    let name = host(name)?;
    Ok(if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") })
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("\"{text}\" is a URL; write the host's name alone, like \"smtp.example.com\""));
    }
    if text.contains('@') {
        return Err(format!(
            "\"{text}\" is a mail address; write the server's name, like \"smtp.example.com\""
        ));
    }
    if let Some((name, port)) = text.rsplit_once(':') {
        return Err(format!("\"{text}\" holds more than a name; write host = \"{name}\" and port = {port}"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && !name.is_empty() {
        return Err(format!("\"{text}\" is not an IP address"));
    }
    labels(name, true).map(|()| name.to_owned())
}

/// Container networks know names with underscores; DNS host names don't have them (RFC 952).
fn labels(name: &str, underscores: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty; write a name, like \"smtp.example.com\"".to_owned());
    }
    if !name.is_ascii() {
        return Err(format!("\"{name}\" has letters that DNS doesn't; write its xn-- form"));
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (underscores && b == b'_');
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(good) {
        Ok(())
    } else {
        Err(format!("\"{name}\" is not a domain name"))
    }
}

/// A mail address.
pub(super) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text, true)
        .map_err(|_| format!("\"{text}\" is not a mail address, like \"shop@example.com\""))
}

impl AddressPattern {
    /// Reads `"shop@example.com"` or `"@example.com"`.
    ///
    /// # Errors
    ///
    /// A sentence that tells what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(domain) = text.strip_prefix('@') {
            let clean = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
            let literal = domain.starts_with('[') && domain.ends_with(']');
            let good = !domain.split('.').any(str::is_empty) && domain.chars().all(clean);
            return if good || literal {
                Ok(Self::Domain(domain.to_lowercase()))
            } else {
                Err(format!("\"{text}\" is not a domain behind an @, like \"@example.com\""))
            };
        }
        if text == "*" || text == "*@*" || text.is_empty() {
            return Err("leave the key out to mean any address".to_owned());
        }
        if let Some(domain) = text.strip_prefix("*@") {
            return Err(format!("\"{text}\": write \"@{domain}\" to mean any address at {domain}"));
        }
        if !text.contains('@') {
            return Err(format!(
                "\"{text}\" is not an address; write \"@{text}\" to mean any address at {text}"
            ));
        }
        address(text).map(Self::Exact)
    }

    /// Reads a pattern for senders, which may be `"<>"`.
    ///
    /// # Errors
    ///
    /// As [`AddressPattern::parse`].
    pub fn parse_sender(text: &str) -> Result<Self, String> {
        if text == "<>" { Ok(Self::Null) } else { Self::parse(text) }
    }

    /// Whether a sender fits; none is the null sender.
    #[must_use]
    pub fn matches_sender(&self, sender: Option<&Address>) -> bool {
        sender.map_or(*self == Self::Null, |sender| self.matches(sender))
    }

    /// Whether an address fits, without case.
    ///
    /// Deviation: RFC 5321 §2.4 lets local parts differ by case alone. No provider does, so that an exact comparison
    /// would only refuse `Shop@example.com` where `shop@example.com` is meant.
    #[must_use]
    pub fn matches(&self, address: &Address) -> bool {
        match self {
            Self::Exact(exact) => {
                exact.local().to_lowercase() == address.local().to_lowercase()
                    && same_domain(exact.domain(), address.domain())
            }
            Self::Domain(domain) => same_domain(domain, address.domain()),
            Self::Null => false,
        }
    }
}

impl std::fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(address) => address.fmt(f),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Null => f.write_str("<>"),
        }
    }
}

fn same_domain(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && dns_domain(a) == dns_domain(b))
}

/// `"127.0.0.1:2525"`, `"[::]:587"`, `"fd:NAME"`.
pub(super) fn listen(text: &str) -> Result<ListenAddress, String> {
    if let Some(name) = text.strip_prefix("fd:") {
        let good = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        return if good {
            Ok(ListenAddress::Passed(name.to_owned()))
        } else {
            Err(format!("\"{text}\" names no socket; write \"fd:\" and FileDescriptorName= of the unit"))
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Socket(address));
    }
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    Err(match (text.parse::<IpAddr>(), port) {
        (Ok(IpAddr::V4(address)), _) => format!("\"{text}\" has no port; write \"{address}:2525\""),
        (Ok(IpAddr::V6(address)), _) => format!("\"{text}\" has no port; write \"[{address}]:2525\""),
        (_, Some(port)) if text.starts_with("localhost:") => {
            format!("\"{text}\" has a name where an IP address must stand; write \"127.0.0.1:{port}\"")
        }
        (_, Some(port)) => format!(
            "\"{text}\" is not an IP address and a port; write \"127.0.0.1:{port}\" for this machine alone, \"[::]:{port}\" for all"
        ),
        (_, None) => {
            format!(
                "\"{text}\" is not an IP address and a port, like \"127.0.0.1:2525\" or \"[::]:587\", nor \"fd:NAME\""
            )
        }
    })
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

/// An absolute URL of the web.
pub(super) fn url(text: &str) -> Result<String, String> {
    match crate::net::http::Url::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) if why.contains("login") => Err(why),
        Err(_) => Err(format!("\"{text}\" is not a URL, like \"https://app.example.com/hooks/mail\"")),
    }
}

/// `"rolling"` or a time zone.
pub(super) fn day(text: &str) -> Result<String, String> {
    if text == "rolling" || jiff::tz::TimeZone::get(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is neither \"rolling\" nor a time zone, like \"Europe/Warsaw\""))
    }
}

/// A SHA-256: 64 hex digits, with or without colons, or base64.
pub(super) fn pin(text: &str) -> Result<[u8; 32], String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let hex = || -> Option<[u8; 32]> {
        let nibbles: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
        let bytes: Vec<u8> = nibbles?
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [high, low] => u8::try_from(high << 4 | low).ok(),
                _ => None,
            })
            .collect();
        <[u8; 32]>::try_from(bytes).ok()
    };
    if digits.len() == 64
        && let Some(pin) = hex()
    {
        return Ok(pin);
    }
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or_else(|| {
            "is not a SHA-256; write 64 hex digits or 44 signs of base64 (`waystation doctor` prints it)"
                .to_owned()
        })
}

/// A PHC string of argon2id with costs that one login may have.
pub(super) fn password_hash(text: &str) -> Result<(), String> {
    const HOW: &str = "write what `waystation passwd` prints";
    if !text.starts_with("$argon2id$") {
        return Err(if text.starts_with('$') {
            format!("is a hash, but not of argon2id; {HOW}")
        } else {
            format!("is not a hash; {HOW}, never the password itself")
        });
    }
    let hash = argon2::PasswordHash::new(text).map_err(|_| format!("is a damaged argon2id hash; {HOW}"))?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(format!("is a part of an argon2id hash; {HOW}"));
    }
    // Beyond 1 GiB or 100 passes one login could stop the machine.
    let too_much = |name: &str, most: u32| hash.params.get_decimal(name).is_some_and(|cost| cost > most);
    if too_much("m", 1 << 20) || too_much("t", 100) || too_much("p", 64) {
        return Err(format!("costs more than a login may; {HOW}"));
    }
    Ok(())
}

/// Whether a host name or address is this machine without asking DNS.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || name == "localhost"
        || name.ends_with(".localhost")
        || name == "localhost.localdomain"
        || name == "ip6-localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_its_port_is_one_word() {
        for (text, expected) in [
            ("smtp.example.com:587", Some("smtp.example.com:587")),
            ("[2001:db8::1]:465", Some("[2001:db8::1]:465")),
            ("10.0.0.9:25", Some("10.0.0.9:25")),
            ("2001:db8::1:465", None),
            ("smtp.example.com", None),
            ("smtp.example.com:0", None),
            ("https://smtp.example.com:465", None),
            (":587", None),
        ] {
            assert_eq!(host_and_port(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_and_nothing_more() {
        for (text, good) in [
            ("smtp.example.com", Some("smtp.example.com")),
            ("smtp.example.com.", Some("smtp.example.com")),
            ("mail_sink", Some("mail_sink")),
            ("[::1]", Some("::1")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.300", None),
            ("smtp.example.com:587", None),
            ("smtp://example.com", None),
            ("a@example.com", None),
            ("-a.example", None),
            ("a..b", None),
            ("bücher.example", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(host(text).ok().as_deref(), good, "{text}");
        }
        assert!(domain("mail_sink").is_err());
        assert!(domain("127.0.0.1").is_err());
    }

    #[test]
    fn patterns_match_without_case() {
        let matches = |pattern: &str, text: &str| {
            AddressPattern::parse(pattern).unwrap().matches(&Address::parse(text, true).unwrap())
        };
        assert!(matches("shop@example.com", "shop@EXAMPLE.com"));
        assert!(matches("shop@example.com", "Shop@example.com"));
        assert!(matches("żółw@example.com", "ŻÓŁW@example.com"));
        assert!(!matches("shop@example.com", "shop1@example.com"));
        assert!(matches("@Example.com", "anyone@example.COM"));
        assert!(!matches("@example.com", "a@sub.example.com"));
        assert!(!matches("@example.com", "a@notexample.com"));
        let null = AddressPattern::parse_sender("<>").unwrap();
        assert!(null.matches_sender(None) && null.to_string() == "<>");
        assert!(!null.matches_sender(Some(&Address::parse("a@example.com", true).unwrap())));
        for text in ["<>", "*", "*@example.com", "example.com", "@", "@a..b", "", "a@", "@exa mple.com"] {
            assert!(AddressPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pins_are_read_in_hex_and_base64() {
        let hex = "00:01:02:03".to_owned() + &"ff".repeat(28);
        assert_eq!(pin(&hex).unwrap()[..5], [0, 1, 2, 3, 255]);
        assert_eq!(pin(&base64::engine::general_purpose::STANDARD.encode([7; 32])), Ok([7; 32]));
        assert!(pin("abc").is_err());
        assert!(pin(&"zz".repeat(32)).is_err());
        assert!(pin(&"é".repeat(32)).is_err());
    }

    #[test]
    fn only_whole_argon2id_hashes_of_sane_cost_are_taken() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                    RdescudvJCsgt3ub+b4dWRWJTmaasrBIVhSUpXCQnZw";
        assert_eq!(password_hash(good), Ok(()));
        for (text, reason) in [
            ("secret".to_owned(), "a password"),
            ("$2y$10$abc".to_owned(), "bcrypt"),
            ("$argon2id$v=19$m=19456".to_owned(), "cut off"),
            (good.replace("m=19456", "m=4194304"), "4 GiB for each login"),
        ] {
            let message = password_hash(&text).unwrap_err();
            assert!(!message.contains("secret"), "{reason}: {message}");
        }
    }
}
