//! TLS at both ends: who we are to clients, and whom we believe among smarthosts.
//!
//! Everything is built with the aws-lc-rs provider by name, so that a second provider in the tree can't change
//! which one is used. Certificates are verified always; the only ways around the system's trust store are an
//! extra anchor (`ca_file`) and a pin (`pin_sha256`), both named in the configuration.

use super::pem::{self, PairError, PemError};
use super::tls_trouble::Explaining;
use crate::config::schema::{Smarthost, TlsFiles, TlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, NamedGroup, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why TLS can't be set up; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path}: {cause}; see that waystation's user may read it")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file holds the wrong things.
    #[error("{path} {cause}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: PemError,
    },
    /// Certificate and key are right, but not a pair.
    #[error("{certificate} and {key} can't be used together: {cause}")]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        cause: PairError,
    },
    /// The system has no trust anchors, and the smarthost names none.
    #[error("no trusted certificate authorities: {0}; install the package ca-certificates or set ca_file")]
    NoAnchors(rustls::Error),
    /// Not a name a certificate can hold.
    #[error("{0:?} is not a host name that a certificate can be checked against; set server_name")]
    Name(String),
    /// Anything else rustls refuses.
    #[error("TLS: {0}")]
    Other(#[from] rustls::Error),
}

/// Why a smarthost's certificate can't be judged.
#[derive(Debug, thiserror::Error)]
#[error("smarthost.{name}: {cause}")]
pub struct ConnectorError {
    /// Which smarthost.
    pub name: String,
    /// Why.
    pub cause: Box<TlsError>,
}

/// Whether every smarthost's certificate can be judged: what would stop a lane later is told before a configuration
/// is taken.
///
/// # Errors
/// The first that can't.
pub fn check_connectors<'c>(
    smarthosts: impl IntoIterator<Item = &'c Smarthost>,
) -> Result<(), ConnectorError> {
    for smarthost in smarthosts.into_iter().filter(|smarthost| smarthost.tls != TlsMode::None) {
        connector(smarthost).map_err(|cause| {
            let (name, cause) = (smarthost.name.clone(), Box::new(cause));
            ConnectorError { name, cause }
        })?;
    }
    Ok(())
}

pub(super) fn provider(post_quantum: bool) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !post_quantum {
        provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    }
    Arc::new(provider)
}

/// What stands in a PEM file.
fn read<T>(path: &Path, understand: impl FnOnce(&[u8]) -> Result<T, PemError>) -> Result<T, TlsError> {
    let octets = std::fs::read(path).map_err(|cause| TlsError::File { path: path.into(), cause })?;
    understand(&octets).map_err(|cause| TlsError::Pem { path: path.into(), cause })
}

/// What listeners need to speak TLS: 1.2 and up, no client certificates, no session carried to another listener.
///
/// # Errors
/// When a file can't be read or the two don't belong together.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let chain = read(&files.certificate, pem::chain)?;
    let key = read(&files.key, pem::key)?;
    pem::pair(&chain, &key).map_err(|cause| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        cause,
    })?;
    let mut config = ServerConfig::builder_with_provider(provider(true))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // All listeners share this; a session resumed would be one carried from one of them to another.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How a smarthost's certificate is judged, and the name it must hold.
///
/// # Errors
/// When there are no trust anchors, `ca_file` can't be read, or the host's name can't stand in a certificate.
pub fn connector(smarthost: &Smarthost) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
    let name = server_name(smarthost)?;
    let provider = provider(smarthost.post_quantum);
    let verifier = verifier(smarthost, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}

/// How a web server's certificate is judged: by the system's trust store alone.
///
/// # Errors
/// When there are no trust anchors.
pub fn web_client() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider(true);
    let verifier = Verifier::new(provider.clone()).map_err(TlsError::NoAnchors)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name that a smarthost's certificate must hold.
pub(super) fn server_name(smarthost: &Smarthost) -> Result<ServerName<'static>, TlsError> {
    let wanted = smarthost.server_name.as_deref().unwrap_or(&smarthost.host);
    let bare = wanted.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(wanted);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(wanted.to_owned()))
}

/// How a smarthost's certificate is judged: by its pin alone, or by the trust anchors.
pub(super) fn verifier(
    smarthost: &Smarthost,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    Ok(Arc::new(Explaining(match (smarthost.pin_sha256, &smarthost.ca_file) {
        (Some(pin), _) => Arc::new(Pinned { pin, algorithms: provider.signature_verification_algorithms }),
        (None, Some(path)) => with_extra_anchors(path, provider)?,
        (None, None) => Arc::new(Verifier::new(provider.clone()).map_err(TlsError::NoAnchors)?),
    })))
}

/// The system's anchors and these; these alone where the system has none (a minimal container).
fn with_extra_anchors(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let extra = read(path, pem::anchors)?;
    if let Ok(verifier) = Verifier::new_with_extra_roots(extra.clone(), provider.clone()) {
        return Ok(Arc::new(verifier));
    }
    let mut roots = RootCertStore::empty();
    for certificate in extra {
        roots.add(certificate)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|cause| rustls::Error::General(cause.to_string()))?;
    Ok(verifier)
}

/// The smarthost showed another certificate than the one that is pinned.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the certificate's SHA-256 is {sha256}, not the one in pin_sha256")]
pub struct NotPinned {
    /// In hex.
    sha256: String,
}

impl NotPinned {
    /// Whether this is why a handshake failed.
    #[must_use]
    pub fn among(cause: &std::io::Error) -> Option<&Self> {
        found_by_us(cause.get_ref()?.downcast_ref()?)
    }
}

/// What a verifier of ours found wrong with a certificate, where it is of this kind.
pub(super) fn found_by_us<T: std::error::Error + 'static>(error: &rustls::Error) -> Option<&T> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Believes exactly one certificate, whatever its names and dates say; the handshake still proves that the
/// peer holds its key.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, leaf);
        if found.as_ref() == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let sha256 = found.as_ref().iter().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"));
        Err(CertificateError::Other(OtherError(Arc::new(NotPinned { sha256 }))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
