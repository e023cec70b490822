//! A look at a smarthost's certificate that goes on whatever it finds: for diagnosis, never for delivery.
//!
//! The handshake proves that the peer holds the certificate's key, and all that is wrong with the certificate is
//! written down instead of ending the connection at the first of it. Whoever uses such a connection must not send a
//! secret over it.

use super::certificate::{Facts, fingerprint};
use super::tls::{self, TlsError};
use super::tls_trouble::WeakKey;
use crate::config::schema::Smarthost;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// What is wrong with a certificate. There can be several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Its time is over.
    Expired,
    /// Its time hasn't come, or this machine's clock is behind.
    NotYetValid,
    /// It isn't for the name that was asked for; with this other one of its names all would be well.
    WrongName {
        /// A name it is for, whose chain is trusted.
        instead: Option<String>,
    },
    /// It vouches for itself.
    SelfSigned,
    /// Its issuer isn't known here.
    UnknownIssuer,
    /// It isn't the one in `pin_sha256`.
    NotPinned,
    /// Anything else, in rustls' words.
    Other(String),
}

/// A certificate that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What stands in it; none if it can't be read.
    pub facts: Option<Facts>,
    /// SHA-256 of its DER in hex.
    pub sha256: String,
    /// Whether the peer showed no other with it.
    pub stands_alone: bool,
    /// What is wrong with it; empty: a delivery would trust it.
    pub flaws: Vec<Flaw>,
}

/// Notes what it sees.
#[derive(Debug)]
pub struct Observer {
    judge: Arc<dyn ServerCertVerifier>,
    pinned: bool,
    seen: Mutex<Option<Seen>>,
}

/// How to shake hands with this smarthost for a look, the name to ask for, and where to find what was seen.
///
/// # Errors
/// As [`tls::connector`].
pub fn observer(
    smarthost: &Smarthost,
) -> Result<(Arc<ClientConfig>, ServerName<'static>, Arc<Observer>), TlsError> {
    let name = tls::server_name(smarthost)?;
    let provider = tls::provider(smarthost.post_quantum);
    let judge = tls::verifier(smarthost, &provider)?;
    let pinned = smarthost.pin_sha256.is_some();
    let observer = Arc::new(Observer { judge, pinned, seen: Mutex::new(None) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(observer.clone())
        .with_no_client_auth();
    Ok((Arc::new(config), name, observer))
}

impl Observer {
    /// The certificate, once a handshake has shown it.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.seen.lock().clone()
    }

    fn judge(&self, shown: &Shown<'_>) -> Seen {
        let facts = Facts::read(shown.leaf);
        let flaws = match self.verdict(shown, shown.name, shown.now) {
            Ok(()) => Vec::new(),
            Err(_) if self.pinned => vec![Flaw::NotPinned],
            Err(cause) => self.flaws(shown, facts.as_ref(), &cause),
        };
        Seen { facts, sha256: fingerprint(shown.leaf), stands_alone: shown.chain.is_empty(), flaws }
    }

    /// Each flaw by itself: rustls stops at the first, but who mends one wants to know the others.
    fn flaws(&self, shown: &Shown<'_>, facts: Option<&Facts>, cause: &rustls::Error) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let Some(facts) = facts else { return vec![Flaw::Other(cause.to_string())] };
        let seconds = |at: jiff::Timestamp| u64::try_from(at.as_second()).unwrap_or_default();
        let (from, until) = (seconds(facts.not_before), seconds(facts.not_after));
        // The rest is judged when it was, or will be, in date: then, of all times, the chain is most likely to be so, too.
        let now =
            UnixTime::since_unix_epoch(Duration::from_secs(shown.now.as_secs().clamp(from, until.max(from))));
        let is_outdated = now != shown.now;
        if is_outdated {
            flaws.push(if shown.now.as_secs() > until { Flaw::Expired } else { Flaw::NotYetValid });
        }
        let parsed = ParsedCertificate::try_from(shown.leaf).ok();
        let is_for = |name: &ServerName<'_>| {
            parsed.as_ref().is_some_and(|parsed| verify_server_name(parsed, name).is_ok())
        };
        let names = facts.concrete_names().into_iter();
        let mut others = names.filter_map(|name| ServerName::try_from(name).ok()).filter(&is_for);
        let name_fits = is_for(shown.name);
        let name = if name_fits { Some(shown.name.clone()) } else { others.next() };
        let trust = self.verdict(shown, name.as_ref().unwrap_or(shown.name), now);
        if !name_fits {
            let instead = name.as_ref().filter(|_| trust.is_ok()).map(|name| name.to_str().into_owned());
            flaws.push(Flaw::WrongName { instead });
        }
        match trust {
            Ok(()) => {}
            Err(_) if facts.self_issued => flaws.push(Flaw::SelfSigned),
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                flaws.push(Flaw::UnknownIssuer);
            }
            Err(_) if !name_fits && name.is_none() => {}
            // No time suits both: that is one flaw.
            Err(rustls::Error::InvalidCertificate(cause)) if is_outdated && is_about_dates(&cause) => {}
            Err(rustls::Error::InvalidCertificate(cause)) if is_about_dates(&cause) => {
                flaws
                    .push(Flaw::Other("a certificate above it, of its authority, is out of date".to_owned()));
            }
            Err(cause) => {
                let weak = WeakKey::of(&cause).map(ToString::to_string);
                flaws.push(Flaw::Other(weak.unwrap_or_else(|| cause.to_string())));
            }
        }
        if flaws.is_empty() {
            flaws.push(Flaw::Other(cause.to_string()));
        }
        flaws
    }

    fn verdict(&self, shown: &Shown<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), rustls::Error> {
        self.judge.verify_server_cert(shown.leaf, shown.chain, name, shown.ocsp, now).map(|_| ())
    }
}

fn is_about_dates(cause: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(cause, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// What the peer showed, and when.
struct Shown<'a> {
    leaf: &'a CertificateDer<'a>,
    chain: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    ocsp: &'a [u8],
    now: UnixTime,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = self.judge(&Shown { leaf, chain, name, ocsp, now });
        *self.seen.lock() = Some(seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
