//! A small file of `state_dir`: written beside itself, synced and renamed, so that no crash leaves half of it. Nobody else
//! may read it. What can fail: the disk; then what stood there before still does.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts these octets in place of what the file holds, if there is one. Blocks.
///
/// # Errors
/// The disk's.
pub fn write(state_dir: &Path, name: &str, octets: &[u8]) -> io::Result<()> {
    let draft = state_dir.join(format!("{name}.new"));
    // Of one that a crash left nobody knows who may read it.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&draft, state_dir.join(name))?;
    File::open(state_dir)?.sync_all()
}
