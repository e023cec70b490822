//! A daemon that answers somewhere else: it was started before `state_dir` was changed in its file.
//!
//! Linux lists the sockets that are listened at, and a daemon says which file it runs with. Whoever listens there may be
//! anybody, so that little is read, for a moment, and nothing is believed but words. Who hands it mail looks first
//! whose process it is.

use super::{Answer, Request, SOCKET, Status, socket};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one of them may take to answer.
const LIMIT: Duration = Duration::from_secs(1);
/// Of so many only.
const MOST: usize = 32;
/// Octets of an answer.
const LONGEST: u64 = 1 << 20;
/// `__SO_ACCEPTCON` in the flags of `/proc/net/unix`.
const LISTENS: u32 = 0x1_0000;

/// The state folder of a daemon that runs with this configuration file, if there is one that this user may ask.
#[must_use]
pub fn state_dir_of(file: &Path) -> Option<PathBuf> {
    let file = file.canonicalize().ok()?;
    let table = std::fs::read("/proc/net/unix").ok()?;
    let runs_with = |folder: &PathBuf| asked(folder).is_some_and(|theirs| theirs == file);
    listened_in(&String::from_utf8_lossy(&table)).into_iter().take(MOST).find(runs_with)
}

/// The folders of control sockets that are listened at.
fn listened_in(table: &str) -> Vec<PathBuf> {
    let folder = |line: &str| {
        let (fields, path) = line.split_at_checked(line.find('/')?)?;
        let flags = u32::from_str_radix(fields.split_ascii_whitespace().nth(3)?, 16).ok()?;
        let path = Path::new(path);
        let is_ours = flags & LISTENS != 0 && path.file_name().is_some_and(|name| name == SOCKET);
        path.parent().filter(|_| is_ours).map(Path::to_owned)
    };
    table.lines().filter_map(folder).collect()
}

/// The configuration file of the daemon that listens in a folder.
fn asked(folder: &Path) -> Option<PathBuf> {
    let mut stream = UnixStream::connect(socket(folder)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.set_write_timeout(Some(LIMIT)).ok()?;
    let mut request = serde_json::to_vec(&Request::Status).ok()?;
    request.push(b'\n');
    stream.write_all(&request).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).ok()?;
    let Answer::Ok(status) = serde_json::from_str(&line).ok()? else { return None };
    let status: Status = serde_json::from_value(status).ok()?;
    // Named as it was at its start, from where it was started.
    let there = PathBuf::from(format!("/proc/{}/cwd", status.pid));
    there.join(status.configuration.file).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_sockets_that_are_listened_at_are_looked_at() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 23455 /var/lib/way station/admin.sock
0000000000000000: 00000003 00000000 00000000 0001 03 23456 /var/lib/other/admin.sock
0000000000000000: 00000002 00000000 00010000 0001 01 23457 /run/systemd/notify
0000000000000000: 00000002 00000000 00010000 0001 01 23458 @/abstract/admin.sock
0000000000000000: 00000003 00000000 00000000 0001 03 23459
";
        assert_eq!(listened_in(table), [Path::new("/var/lib/way station"), Path::new("/abstract")]);
    }
}
