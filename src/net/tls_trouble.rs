//! Why TLS failed, where rustls' own words lead astray: a server that wants a certificate of ours, and RSA keys that are too short.

use super::certificate::rsa_bits;
use super::tls::found_by_us;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::io;
use std::sync::Arc;

/// What the verifiers take of RSA at least; below, each signature is a bad one to them.
const LEAST_BITS: usize = 2048;

/// Whether the server ended it because it wants a client certificate. With TLS 1.3 the handshake is over for us by then, and
/// the alert stands in place of the first answer (RFC 8446 §4.4.2.4).
#[must_use]
pub fn wants_certificate(cause: &io::Error) -> bool {
    let alert = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(
        alert,
        Some(Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::NoCertificate))
    )
}

/// A key in the server's certificates is too short to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{whose} has an RSA key of {bits} bits, and {LEAST_BITS} are the least that is safe")]
pub struct WeakKey {
    whose: &'static str,
    bits: usize,
}

impl WeakKey {
    /// Whether this is why a handshake failed.
    #[must_use]
    pub fn among(cause: &io::Error) -> Option<&Self> {
        Self::of(cause.get_ref()?.downcast_ref()?)
    }

    /// Whether this is the error.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        found_by_us(error)
    }

    /// The error, or this in its place where it says that a signature is bad and a short key explains it.
    fn explain(error: Error, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Error {
        if !matches!(error, Error::InvalidCertificate(CertificateError::BadSignature)) {
            return error;
        }
        let short = |whose| {
            move |certificate: &CertificateDer<'_>| {
                let bits = rsa_bits(certificate).filter(|bits| *bits < LEAST_BITS)?;
                Some(Self { whose, bits })
            }
        };
        let weak = short("its certificate")(leaf)
            .or_else(|| chain.iter().find_map(short("an authority of its certificate")));
        weak.map_or(error, |weak| CertificateError::Other(OtherError(Arc::new(weak))).into())
    }
}

/// Judges as another does, and tells short keys from bad signatures.
#[derive(Debug)]
pub(super) struct Explaining(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.0.verify_server_cert(leaf, chain, name, ocsp, now);
        judged.map_err(|error| WeakKey::explain(error, leaf, chain))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.0.verify_tls12_signature(message, certificate, signature);
        judged.map_err(|error| WeakKey::explain(error, certificate, &[]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.0.verify_tls13_signature(message, certificate, signature);
        judged.map_err(|error| WeakKey::explain(error, certificate, &[]))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::certificate::tests::WEAK;

    #[test]
    fn a_bad_signature_of_a_short_key_is_told_by_the_key() {
        let weak = crate::net::pem::chain(WEAK.as_bytes()).unwrap().remove(0);
        let strong = CertificateDer::from(
            rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert.der().to_vec(),
        );
        let told = |error: CertificateError, leaf, chain: &[_]| {
            let error = io::Error::other(WeakKey::explain(error.into(), leaf, chain));
            WeakKey::among(&error).map(ToString::to_string)
        };
        let bad = || CertificateError::BadSignature;
        let words = " has an RSA key of 1024 bits, and 2048 are the least that is safe";
        assert_eq!(told(bad(), &weak, &[]), Some(format!("its certificate{words}")));
        assert_eq!(
            told(bad(), &strong, &[strong.clone(), weak.clone()]),
            Some(format!("an authority of its certificate{words}"))
        );
        assert_eq!(told(bad(), &strong, &[]), None);
        assert_eq!(told(CertificateError::Expired, &weak, &[]), None);
    }
}
