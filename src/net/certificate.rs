//! What stands in a certificate, for people to read: names, issuer, dates, and what to pin (RFC 5280 §4.1).
//!
//! A reader of the few fields that a diagnosis needs. Trust is never decided here: whatever can't be read is left out,
//! and rustls judges the certificate by itself. Never reads beyond the octets it was given.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::net::{Ipv4Addr, Ipv6Addr};

/// DER tags (X.690 §8).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.4.3, 2.5.4.10 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// A certificate's face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses it is for (subjectAltName); wildcards as they stand.
    pub names: Vec<String>,
    /// Whom it belongs to: common name, else organisation, else nothing.
    pub subject: String,
    /// Who signed it, in the same way.
    pub issuer: String,
    /// Whether it names itself as its issuer.
    pub self_issued: bool,
    /// From when on it holds.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

impl Facts {
    /// Reads them from DER; none if it isn't a certificate as RFC 5280 §4.1 has it.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let (whole, _) = expect(certificate, SEQUENCE)?;
        let (tbs, _) = expect(whole, SEQUENCE)?;
        let rest = expect(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        // serialNumber and signature
        let rest = element(element(rest)?.rest)?.rest;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, rest) = expect(rest, SEQUENCE)?;
        let not_before = element(validity)?;
        let not_after = element(not_before.rest)?;
        // subjectPublicKeyInfo, then perhaps two identifiers nobody uses, then the extensions.
        let mut rest = element(rest)?.rest;
        let mut names = Vec::new();
        while let Some(next) = element(rest) {
            if next.tag == EXTENSIONS {
                names = alternative_names(next.content).unwrap_or_default();
            }
            rest = next.rest;
        }
        Some(Self {
            names,
            subject: shown_name(subject),
            issuer: shown_name(issuer),
            self_issued: issuer == subject,
            not_before: time(&not_before)?,
            not_after: time(&not_after)?,
        })
    }

    /// Names that a client could ask for, the wildcards among them made whole.
    #[must_use]
    pub fn concrete_names(&self) -> Vec<String> {
        self.names
            .iter()
            .map(|name| name.strip_prefix('*').map_or(name.clone(), |rest| format!("smtp{rest}")))
            .collect()
    }
}

/// How long its key is, if it is one of RSA (RFC 3279 §2.3.1).
#[must_use]
pub fn rsa_bits(certificate: &[u8]) -> Option<usize> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (tbs, _) = expect(whole, SEQUENCE)?;
    let rest = expect(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
    // serialNumber, signature, issuer, validity, subject
    let rest = (0..5).try_fold(rest, |rest, _| element(rest).map(|element| element.rest))?;
    let (info, _) = expect(rest, SEQUENCE)?;
    let (algorithm, key) = expect(info, SEQUENCE)?;
    let (kind, _) = expect(algorithm, OBJECT_IDENTIFIER)?;
    let (key, _) = expect(key, BIT_STRING)?;
    let (pair, _) = expect(key.strip_prefix(&[0])?, SEQUENCE).filter(|_| kind == RSA)?;
    let (modulus, _) = expect(pair, INTEGER)?;
    let zeros = modulus.iter().take_while(|octet| **octet == 0).count();
    let top = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - top.leading_zeros() as usize)
}

/// SHA-256 in hex, as `pin_sha256` takes it.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().iter().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"))
}

/// One tag, length and value, and what stands behind.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(octets: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

fn expect(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(octets).filter(|found| found.tag == tag).map(|found| (found.content, found.rest))
}

/// The common name, else the organisation.
fn shown_name(name: &[u8]) -> String {
    let mut organisation = String::new();
    let mut rest = name;
    while let Some((set, behind)) = expect(rest, SET) {
        rest = behind;
        let attribute = expect(set, SEQUENCE).and_then(|(pair, _)| expect(pair, OBJECT_IDENTIFIER));
        let Some((kind, value)) = attribute else { continue };
        let text = element(value).map(|value| String::from_utf8_lossy(value.content).into_owned());
        match text {
            Some(text) if kind == COMMON_NAME => return text,
            Some(text) if kind == ORGANISATION => organisation = text,
            _ => {}
        }
    }
    organisation
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let (mut rest, _) = expect(extensions, SEQUENCE)?;
    while let Some((extension, behind)) = expect(rest, SEQUENCE) {
        rest = behind;
        let (kind, value) = expect(extension, OBJECT_IDENTIFIER)?;
        let value = expect(value, BOOLEAN).map_or(value, |(_, value)| value);
        if kind == SUBJECT_ALT_NAME {
            let (octets, _) = expect(value, OCTET_STRING)?;
            let (names, _) = expect(octets, SEQUENCE)?;
            return Some(general_names(names));
        }
    }
    None
}

fn general_names(mut rest: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(next) = element(rest) {
        match next.tag {
            DNS_NAME => names.push(String::from_utf8_lossy(next.content).into_owned()),
            IP_ADDRESS => names.extend(address(next.content)),
            _ => {}
        }
        rest = next.rest;
    }
    names
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).to_string());
    v4.or(v6).ok()
}

/// `YYMMDDHHMMSSZ` of 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let century = match text.get(..2)? {
        _ if element.tag != UTC_TIME => "",
        year if year < "50" => "20",
        _ => "19",
    };
    let whole = DateTime::strptime("%Y%m%d%H%M%S", format!("{century}{text}")).ok()?;
    Some(whole.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};

    /// Of RSA with 1024 bits, which no library here makes any more.
    pub(crate) const WEAK: &str = "\
-----BEGIN CERTIFICATE-----
MIICBjCCAW+gAwIBAgIUed3s0U5QKebNCKw4yrxPf+z5klEwDQYJKoZIhvcNAQEL
BQAwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE5MzM0M1oYDzIxMjYx
MTA1MTkzMzQzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwgZ8wDQYJKoZIhvcNAQEB
BQADgY0AMIGJAoGBAKjAgSg78c/s9wEFg69OXVqD/HecI0jtQQzvJEqWsG1+i11O
aQcbvT7qxMPdsFfEzGJeEl8GqxCHtfLMKg4QGqNJDEQRsBj6ZBf9iYI1SuTvedkk
E53hSGmM/4adCW7PER6ai5vJN0H4yn3VBbaNvwWmBZWX1VnpRL1czOtZzz6/AgMB
AAGjUzBRMB0GA1UdDgQWBBTxAxzu5zrgCXldas0rHg5jAWRVrjAfBgNVHSMEGDAW
gBTxAxzu5zrgCXldas0rHg5jAWRVrjAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3
DQEBCwUAA4GBAJHjVz8lpyHH3/4F/6SS0oKyjD4ND2yd2biDjB+i7l0TRG0iu/ex
Cr8YEqfTey/OPO3UhqBa1TQ/yTR1OYQR4tyxQkxqqKMh44Td1LR+dlzzp7Q4T73L
12v9sM/g9qOTEALerarCYEyidXf9v08Gnb23jXdTDTpHQDOjHPqsyx9j
-----END CERTIFICATE-----
";

    fn certificate() -> Vec<u8> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::OrganizationName, "Żółw Hosting");
        let mut leaf =
            CertificateParams::new(["mail.x.test".to_owned(), "*.y.test".to_owned(), "192.0.2.1".to_owned()])
                .unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "mail.x.test");
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 2);
        leaf.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn names_issuer_and_dates_are_read() {
        let facts = Facts::read(&certificate()).unwrap();
        let expected = Facts {
            names: vec!["mail.x.test".into(), "*.y.test".into(), "192.0.2.1".into()],
            subject: "mail.x.test".into(),
            issuer: "Żółw Hosting".into(),
            self_issued: false,
            not_before: "2020-01-02T00:00:00Z".parse().unwrap(),
            not_after: "2051-03-04T00:00:00Z".parse().unwrap(),
        };
        assert_eq!(facts, expected);
        assert_eq!(facts.concrete_names(), ["mail.x.test", "smtp.y.test", "192.0.2.1"]);
    }

    #[test]
    fn a_key_of_rsa_is_measured() {
        let der = crate::net::pem::chain(WEAK.as_bytes()).unwrap().remove(0);
        assert_eq!(rsa_bits(&der), Some(1024));
        assert_eq!(rsa_bits(&certificate()), None, "of ECDSA");
        assert!((0..der.len() - 200).all(|end| rsa_bits(&der[..end]).is_none()));
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none_and_never_a_panic() {
        let whole = certificate();
        for end in 0..whole.len() {
            assert_eq!(Facts::read(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..600, octet: u8) {
            let mut damaged = certificate();
            let at = at % damaged.len();
            damaged[at] = octet;
            let _ = (Facts::read(&damaged), rsa_bits(&damaged));
        }
    }
}
