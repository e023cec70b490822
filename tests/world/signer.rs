//! Signatures that aren't ours: dkimpy's.

use crate::support::foreign::{peer, python_with, run};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools; none where they can't be had.
pub struct Tools {
    python: PathBuf,
    openssl: PathBuf,
}

/// A key, and who signs with it.
pub struct Signer {
    python: PathBuf,
    key: PathBuf,
    /// Its public half, as it stands in DNS.
    pub record: String,
}

/// A message to sign.
pub struct Job<'a> {
    pub message: &'a [u8],
    pub domain: &'a str,
    pub canonicalization: &'a str,
    /// A seal (RFC 8617) instead of a signature.
    pub arc: bool,
}

pub const SELECTOR: &str = "s1";

impl Tools {
    pub fn find() -> Option<Self> {
        Some(Self { python: python_with("dkim, authres")?, openssl: peer("openssl")? })
    }

    /// A new key in this folder.
    pub fn signer(&self, folder: &Path) -> Signer {
        let key = folder.join("dkim.key");
        run(Command::new(&self.openssl).args(["genrsa", "-out"]).arg(&key).arg("2048"), b"").expect_success();
        let mut public = Command::new(&self.openssl);
        let public = run(public.args(["rsa", "-pubout", "-outform", "DER", "-in"]).arg(&key), b"");
        let record = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(&public.stdout));
        Signer { python: self.python.clone(), key, record }
    }
}

impl Signer {
    /// Each message with its signature on top.
    pub fn sign(&self, jobs: &[Job<'_>]) -> Vec<Vec<u8>> {
        let line = |job: &Job<'_>| {
            let Job { message, domain, canonicalization, arc } = job;
            let message = STANDARD.encode(message);
            serde_json::json!({ "message": message, "domain": domain, "selector": SELECTOR,
                "canonicalization": canonicalization, "arc": arc })
            .to_string()
        };
        let input = jobs.iter().map(line).collect::<Vec<_>>().join("\n");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/sign.py");
        let signed = run(Command::new(&self.python).arg(script).arg(&self.key), input.as_bytes());
        signed.expect_success();
        let signed = String::from_utf8(signed.stdout).unwrap();
        let signed: Vec<Vec<u8>> = signed.lines().map(|line| STANDARD.decode(line).unwrap()).collect();
        assert_eq!(signed.len(), jobs.len());
        signed
    }

    /// One message, signed by this domain as most sign.
    pub fn signed(&self, message: &str, domain: &str) -> Vec<u8> {
        let canonicalization = "relaxed/relaxed";
        self.sign(&[Job { message: message.as_bytes(), domain, canonicalization, arc: false }]).remove(0)
    }
}

/// Where the key of a domain stands in DNS.
pub fn place(domain: &str) -> String {
    format!("{SELECTOR}._domainkey.{domain}")
}
