//! Whether the log of an index (`queue.db-wal`) was spoilt or cut before its end.
//!
//! `SQLite` stops at the first frame that doesn't fit and says nothing: the index then tells an earlier state than the one that was
//! committed. The form is that of <https://sqlite.org/fileformat2.html#walformat>. A frame that a power cut tore looks the same as
//! a spoilt one, and counts as one.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// Checksums by little-endian words; one more says big-endian.
const MAGIC: u32 = 0x377f_0682;

/// Whether something of the log can't be believed; one that isn't there, or is empty, can.
pub(super) fn is_damaged(log: &Path) -> io::Result<bool> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut head = [0; HEAD];
    if file.read_exact(&mut head).is_err() {
        return Ok(true);
    }
    let magic = word(&head, 0, false);
    let little = magic == MAGIC;
    let (covered, _) = head.split_at(24);
    let mut sum = checksum((0, 0), covered, little);
    if magic & !1 != MAGIC || sum != sum_at(&head, 24) {
        return Ok(true);
    }
    let page = usize::try_from(word(&head, 8, false)).unwrap_or(0).clamp(512, 1 << 16);
    let mut frame = vec![0; FRAME_HEAD + page];
    let mut sound = true;
    let length = file.get_ref().metadata()?.len();
    let is_cut = !(length - HEAD as u64).is_multiple_of(frame.len() as u64);
    while file.read_exact(&mut frame).is_ok() {
        // Frames of an earlier round have other salts; they end the log, unless one of this round follows.
        let is_of_this_round = frame.get(8..16) == head.get(16..24);
        if is_of_this_round && sound {
            let (start, content) = (frame.get(..8).unwrap_or_default(), frame.get(FRAME_HEAD..));
            sum = checksum(checksum(sum, start, little), content.unwrap_or_default(), little);
            sound = sum == sum_at(&frame, 16);
        } else {
            sound = false;
        }
        if is_of_this_round && !sound {
            return Ok(true);
        }
    }
    Ok(sound && is_cut)
}

fn word(octets: &[u8], at: usize, little: bool) -> u32 {
    let octets = octets.get(at..at + 4).and_then(|octets| octets.try_into().ok()).unwrap_or_default();
    if little { u32::from_le_bytes(octets) } else { u32::from_be_bytes(octets) }
}

fn sum_at(octets: &[u8], at: usize) -> (u32, u32) {
    (word(octets, at, false), word(octets, at + 4, false))
}

fn checksum(before: (u32, u32), octets: &[u8], little: bool) -> (u32, u32) {
    octets.as_chunks::<8>().0.iter().fold(before, |(one, two), octets| {
        let one = one.wrapping_add(word(octets, 0, little)).wrapping_add(two);
        (one, two.wrapping_add(word(octets, 4, little)).wrapping_add(one))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::fs;

    #[test]
    fn a_log_is_believed_until_something_of_it_is_spoilt_or_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index-wal");
        assert!(!is_damaged(&path).unwrap(), "there is none");
        let index = Connection::open(folder.path().join("index")).unwrap();
        index.pragma_update(None, "journal_mode", "WAL").unwrap();
        index.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)").unwrap();
        let first = fs::read(&path).unwrap();
        assert!(!is_damaged(&path).unwrap());
        // Another round over the same file: what is left of the first one is no damage.
        index.execute_batch("INSERT INTO t VALUES(zeroblob(100000)); PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(3)").unwrap();
        let sound = fs::read(&path).unwrap();
        assert!(sound.len() > first.len() && !is_damaged(&path).unwrap());
        for at in [0, 20, 26, HEAD + 3, HEAD + 12, HEAD + 17, HEAD + FRAME_HEAD + 100] {
            let mut spoilt = first.clone();
            spoilt[at] ^= 4;
            let copy = folder.path().join("copy");
            fs::write(&copy, &spoilt).unwrap();
            assert!(is_damaged(&copy).unwrap(), "octet {at}");
        }
        for length in [20, HEAD + 3, first.len() - 5000, first.len() - 1] {
            fs::write(folder.path().join("short"), &first[..length]).unwrap();
            assert!(is_damaged(&folder.path().join("short")).unwrap(), "{length} octets of it");
        }
    }
}
