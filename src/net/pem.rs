//! PEM as people keep it in files (RFC 7468): certificates and keys, read whole and judged here alone, so that what a check calls right
//! can be used, and what can't is told before anything starts.
//!
//! Pure. Never shows what stands in a file, only the labels of its sections.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as Syntax, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

/// No bundle of certificates is larger: all authorities of the web together take a quarter of a megabyte.
pub const LARGEST: u64 = 4 << 20;
/// Labels that are shown of a file that holds the wrong things.
const SHOWN_LABELS: usize = 3;
/// So many characters of each.
const SHOWN_LABEL: usize = 40;

const BEGIN: &[u8] = b"-----BEGIN ";

/// Why a file's content is no good, and what to do. For the operator; stands behind the file's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PemError {
    /// There is nothing in it.
    #[error("is empty; {wanted} must stand in it, as PEM", wanted = wanted.words())]
    Empty {
        /// What should be there.
        wanted: Wanted,
    },
    /// DER or PKCS #12 as a rule.
    #[error(
        "is binary and not PEM; convert it: openssl {command} -inform der -in FILE -out FILE.pem, or openssl pkcs12 for a .p12 or .pfx",
        command = wanted.converter()
    )]
    Binary {
        /// What should be there.
        wanted: Wanted,
    },
    /// Text of another kind.
    #[error("is not PEM: no line begins with -----BEGIN; see that it is the right file")]
    NotPem,
    /// Sections of other kinds.
    #[error("is PEM, but holds {found} and not {wanted}; name the right file", wanted = wanted.words())]
    Other {
        /// Labels that are there.
        found: String,
        /// What should be there.
        wanted: Wanted,
    },
    /// A section of the right kind that isn't whole.
    #[error("is damaged PEM: {0}; put a whole copy there")]
    Damaged(&'static str),
    /// Well encoded, but nothing that can be used.
    #[error("is PEM, but number {number} of its certificates can't be read: {cause}; put a whole copy there")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// What rustls said.
        cause: rustls::Error,
    },
    /// The key needs a passphrase.
    #[error(
        "is locked with a passphrase, and nobody can type it at a start; unlock it: openssl pkey -in FILE -out FILE.open"
    )]
    Locked,
    /// A key of a kind or size that can't be used.
    #[error("holds no key that TLS can use; make one of RSA with 2048 bits or more, ECDSA or Ed25519")]
    Key,
}

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One or more.
    Certificates,
    /// One.
    Key,
}

impl Wanted {
    fn words(self) -> &'static str {
        match self {
            Self::Certificates => "a certificate",
            Self::Key => "a private key",
        }
    }

    fn converter(self) -> &'static str {
        match self {
            Self::Certificates => "x509",
            Self::Key => "pkey",
        }
    }
}

/// Why two files that are right by themselves don't serve a listener together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The key's certificate isn't there at all.
    #[error(
        "they were not made for each other; name the key that the certificate was made with, or make both anew"
    )]
    Strangers,
    /// It is there, behind another one.
    #[error(
        "the key's own certificate is number {0} of the file and must be the first, the issuers' behind it (RFC 8446 §4.4.2)"
    )]
    Order(usize),
}

/// The chain that a listener shows. The first certificate is its own; the others are sent as they stand.
///
/// # Errors
/// When there is none, or the first can't be read.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = certificates(pem)?;
    if let Some(own) = found.first() {
        ParsedCertificate::try_from(own).map_err(|cause| PemError::Certificate { number: 1, cause })?;
    }
    Ok(found)
}

/// Trust anchors, at least one, each good as such.
///
/// # Errors
/// When there is none, or any can't be read.
pub fn anchors(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = certificates(pem)?;
    let mut judged = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        judged
            .add(certificate.clone())
            .map_err(|cause| PemError::Certificate { number: index + 1, cause })?;
    }
    Ok(found)
}

/// The first private key.
///
/// # Errors
/// When there is none, or none that TLS can use.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    if holds(pem, b"ENCRYPTED PRIVATE KEY") || has(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(PemError::Locked);
    }
    let found = PrivateKeyDer::from_pem_slice(pem).map_err(|cause| refusal(&cause, pem, Wanted::Key))?;
    provider().key_provider.load_private_key(found.clone_key()).map_err(|_| PemError::Key)?;
    Ok(found)
}

/// Whether the chain's first certificate is the key's.
///
/// # Errors
/// When it isn't.
pub fn pair(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), PairError> {
    let belongs = |certificates: &[CertificateDer<'static>]| {
        let Ok(key) = provider().key_provider.load_private_key(key.clone_key()) else { return false };
        let judged = CertifiedKey::new(certificates.to_vec(), key).keys_match();
        // A key that can't tell its public half is the handshake's to judge.
        matches!(judged, Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)))
    };
    if belongs(chain) {
        return Ok(());
    }
    match chain.chunks(1).position(belongs) {
        Some(index) => Err(PairError::Order(index + 1)),
        None => Err(PairError::Strangers),
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let wrong = |cause: &Syntax| refusal(cause, pem, Wanted::Certificates);
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|c| wrong(&c))?;
    if found.is_empty() { Err(wrong(&Syntax::NoItemsFound)) } else { Ok(found) }
}

fn refusal(cause: &Syntax, pem: &[u8], wanted: Wanted) -> PemError {
    match cause {
        Syntax::MissingSectionEnd { .. } => PemError::Damaged("a section has no -----END line"),
        Syntax::IllegalSectionStart { .. } => PemError::Damaged("a -----BEGIN line isn't whole"),
        Syntax::Base64Decode(_) => PemError::Damaged("what stands between BEGIN and END isn't base64"),
        _ if pem.trim_ascii().is_empty() => PemError::Empty { wanted },
        _ if !has(pem, BEGIN) && std::str::from_utf8(pem).is_err() => PemError::Binary { wanted },
        _ => match labels(pem) {
            found if found.is_empty() => PemError::NotPem,
            found => PemError::Other { found: found.join(", "), wanted },
        },
    }
}

/// The labels of the first sections, each once, as they may be shown.
fn labels(pem: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let lines = pem.split(|octet| matches!(octet, b'\n' | b'\r'));
    for line in lines.filter_map(|line| line.strip_prefix(BEGIN)) {
        let label = String::from_utf8_lossy(line.strip_suffix(b"-----").unwrap_or_default());
        let label: String = label.chars().filter(|c| !c.is_control()).take(SHOWN_LABEL).collect();
        let label = format!("\"{label}\"");
        if found.len() < SHOWN_LABELS && !found.contains(&label) {
            found.push(label);
        }
    }
    found
}

/// Whether there is a section with this label.
fn holds(pem: &[u8], label: &[u8]) -> bool {
    has(pem, &[BEGIN, label].concat())
}

fn has(pem: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(pem, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    /// A certificate and its key.
    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn what_belongs_together_is_taken() {
        let (certificate, secret) = made();
        let text = format!("words before it are put up with\n{certificate}");
        let chain = chain(text.as_bytes()).unwrap();
        assert_eq!(pair(&chain, &key(secret.as_bytes()).unwrap()), Ok(()));
        assert_eq!(anchors(text.repeat(2).as_bytes()).unwrap().len(), 2);
        let both = format!("{secret}{certificate}");
        assert!(key(both.as_bytes()).is_ok() && super::chain(both.as_bytes()).is_ok(), "one file for both");
    }

    #[test]
    fn what_is_no_certificate_is_called_what_it_is() {
        let (certificate, secret) = made();
        let cut = &certificate[..certificate.len() - 10];
        let section =
            |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        for (content, words) in [
            (String::new(), "is empty; a certificate must stand in it"),
            (" \n".to_owned(), "is empty"),
            ("no PEM\n".to_owned(), "is not PEM"),
            (secret.clone(), "holds \"PRIVATE KEY\" and not a certificate"),
            (section("CERTIFICATE REQUEST", "AAAA"), "holds \"CERTIFICATE REQUEST\" and not"),
            (cut.to_owned(), "no -----END line"),
            (section("CERTIFICATE", "not base64!"), "isn't base64"),
            (section("CERTIFICATE", "AAAA"), "number 1 of its certificates can't be read"),
        ] {
            for read in [chain, anchors] {
                let told = read(content.as_bytes()).unwrap_err().to_string();
                assert!(told.contains(words), "{content:?}: {told}");
            }
        }
        let told = chain(&[0x30, 0x82, 0x01, 0x0a, 0xff]).unwrap_err().to_string();
        assert!(told.contains("binary") && told.contains("openssl x509 -inform der"), "{told}");
        let second = format!("{certificate}{}", section("CERTIFICATE", "AAAA"));
        let told = anchors(second.as_bytes()).unwrap_err().to_string();
        assert!(told.contains("number 2"), "{told}");
    }

    #[test]
    fn what_is_no_key_is_called_what_it_is_and_never_shown() {
        let (certificate, secret) = made();
        let section =
            |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        for (content, words) in [
            (String::new(), "is empty; a private key must stand in it"),
            ("aHVudGVyMg==\n".to_owned(), "is not PEM"),
            (certificate, "holds \"CERTIFICATE\" and not a private key"),
            (section("ENCRYPTED PRIVATE KEY", "aHVudGVyMg=="), "locked with a passphrase"),
            (
                section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\naHVudGVyMg=="),
                "locked with a passphrase",
            ),
            (section("PRIVATE KEY", "aHVudGVyMg=="), "no key that TLS can use"),
            (secret.replace("-----END", "-----"), "no -----END line"),
        ] {
            let told = key(content.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(words) && !told.contains("aHVudGVyMg"), "{content:?}: {told}");
        }
    }

    #[test]
    fn strangers_are_told_from_a_chain_in_the_wrong_order() {
        let ((certificate, secret), (other, _)) = (made(), made());
        let secret = key(secret.as_bytes()).unwrap();
        assert_eq!(pair(&chain(other.as_bytes()).unwrap(), &secret), Err(PairError::Strangers));
        let turned = chain(format!("{other}{certificate}").as_bytes()).unwrap();
        assert_eq!(pair(&turned, &secret), Err(PairError::Order(2)));
    }
}
