//! A network of the test's own: a Linux network namespace with nothing in it but loopback, addresses that look public on it, a
//! name server and an authority whose certificates the program trusts.
//!
//! The test's process starts itself anew within (`unshare`), for that one test alone, with `/etc/hosts` and
//! `/etc/resolv.conf` of its own. Where that can't be had the test says so and passes; with `WAYSTATION_REQUIRE_PEERS=1`
//! it fails.

use super::dns::Dns;
use super::foreign::{peer, run, run_for};
use super::{LIMIT, write_secret};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Names the folder of the test that runs within.
const FOLDER: &str = "WAYSTATION_TEST_WORLD";

/// The world, seen from within.
pub struct World {
    pub dns: Dns,
    pub folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl World {
    /// Enters a world where these addresses are on `lo`. None in the process that starts it: the test ran within, and went
    /// well. `test` is the test's own name, with its modules.
    pub fn enter(test: &str, addresses: &[&str]) -> Option<Self> {
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            outside(test);
            return None;
        };
        let program = peer("ip").unwrap();
        let ip = |arguments: &[&str]| run(Command::new(&program).args(arguments), b"").expect_success();
        ip(&["link", "set", "lo", "up"]);
        for address in addresses {
            let length = if address.contains(':') { 128 } else { 32 };
            let nodad: &[&str] = if length == 128 { &["nodad"] } else { &[] };
            let address = format!("{address}/{length}");
            ip(&[&["addr", "add", &address, "dev", "lo"], nodad].concat());
        }
        for (name, text) in [("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "nameserver 127.0.0.1\n")] {
            let (ours, theirs) = (folder.join(name), Path::new("/etc").join(name));
            std::fs::write(&ours, text).unwrap();
            run(Command::new("mount").arg("--bind").args([&ours, &theirs]), b"").expect_success();
        }
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.join("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
        Some(Self { dns: Dns::start(), folder, issuer: Issuer::new(ca, key) })
    }

    /// A server's settings with a certificate for these names that the program trusts.
    pub fn certified(&self, names: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = builder.unwrap().with_no_client_auth();
        Arc::new(server.with_single_cert(vec![leaf.der().clone()], key).unwrap())
    }

    /// A file in the world's folder that nobody else may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        write_secret(&path, text);
        path
    }
}

/// Runs the test within, and fails as it fails.
fn outside(test: &str) {
    let (Some(unshare), Some(_)) = (peer("unshare"), peer("ip")) else { return };
    let isolated = || {
        let mut command = Command::new(&unshare);
        let is_root = rustix::process::geteuid().is_root();
        command.args(if is_root { &[][..] } else { &["--map-root-user"] }).args(["--net", "--mount"]);
        command
    };
    let possible = run(isolated().args(["mount", "--bind", "/etc/hosts", "/etc/hosts"]), b"");
    if !possible.status.success() {
        let why = format!("skipped: no network namespace can be made here: {}", possible.text().trim());
        let required = std::env::var("WAYSTATION_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "{why}");
        eprintln!("{why}");
        return;
    }
    let folder = super::folder();
    let mut within = isolated();
    within.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    within.env(FOLDER, folder.path()).env("SSL_CERT_FILE", folder.path().join("ca.pem"));
    within.env_remove("SSL_CERT_DIR");
    // The limits within end it first, with a better reason.
    let ended = run_for(5 * LIMIT, &mut within, b"");
    assert!(ended.status.success() && ended.text().contains("1 passed"), "{}", ended.text());
}
