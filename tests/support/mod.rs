//! What tests of the whole program share: the relay itself as a process, a stand-in smarthost, a bare client, and
//! foreign programs. Everything listens on loopback at ports that the system picks; waits end with an event or fail
//! at a deadline, never by the clock alone.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

pub mod client;
pub mod dns;
pub mod foreign;
pub mod gmail;
pub mod ports;
pub mod postfix;
pub mod receiver;
pub mod relay;
pub mod smarthost;
pub mod world;

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes, even in a debug build on a machine with other work.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A folder for one test; foreign programs that drop their rights may enter it.
pub fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("waystation-test-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Writes a file that nobody else may read.
pub fn write_secret(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Certificates by `certs/make.sh` for localhost, 127.0.0.1 and `::1`: `ca.pem`, `relay.pem` and `relay.key`.
pub fn make_certificates(folder: &Path) -> PathBuf {
    let certs = folder.join("certs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make.sh");
    foreign::run(std::process::Command::new("sh").arg(script).arg(&certs), b"").expect_success();
    certs
}

/// Asks again until there is an answer; for what can't tell by itself (another program's files).
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
