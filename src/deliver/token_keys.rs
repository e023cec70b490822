//! The keys of reply tokens: `state_dir/reply-token.key`, one key a line in base64, the newest first.
//!
//! Made when a mailbox first wants tokens, with mode 0600. To rotate, put a new line on top; a token holds as long as
//! the line that made it stands there. Without the file every token sent so far is worth nothing: answers to them then
//! find their mailbox and conversation by other means. What can fail: reading or making it, or a file that others may read.

use crate::inbox::token::TokenKey;
use crate::state_file;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The file's name in `state_dir`.
const NAME: &str = "reply-token.key";
/// Octets of a key that we make, and the fewest of one that somebody else made.
const OCTETS: usize = 32;
/// More than any hand-written file has.
const MAX_FILE: u64 = 64 * 1024;

/// The keys, made if there are none.
///
/// # Errors
/// When the file can't be read or made, isn't ours alone, or holds something else; the text says what to do.
pub fn load(state_dir: &Path) -> io::Result<Vec<TokenKey>> {
    let path = state_dir.join(NAME);
    match File::open(&path) {
        Ok(file) => read(&path, &file),
        Err(error) if error.kind() == ErrorKind::NotFound => make(state_dir),
        Err(error) => Err(error),
    }
}

fn read(path: &Path, file: &File) -> io::Result<Vec<TokenKey>> {
    let bad = |why: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(bad("others may read it; make it yours alone with chmod 600".to_owned()));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let key = |(line, number): (&str, usize)| {
        let octets = STANDARD.decode(line.trim()).ok().filter(|octets| octets.len() >= OCTETS);
        let wanted = || bad(format!("line {number} is no base64 of {OCTETS} octets or more"));
        octets.map(|octets| TokenKey::new(&octets)).ok_or_else(wanted)
    };
    let keys = lines.map(key).collect::<io::Result<Vec<_>>>()?;
    if keys.is_empty() {
        return Err(bad("holds no key; delete it, and a new one is made".to_owned()));
    }
    Ok(keys)
}

fn make(state_dir: &Path) -> io::Result<Vec<TokenKey>> {
    let mut octets = [0; OCTETS];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| io::Error::other("no random numbers"))?;
    state_file::write(state_dir, NAME, format!("{}\n", STANDARD.encode(octets)).as_bytes())?;
    Ok(vec![TokenKey::new(&octets)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::conversation::ConversationId;
    use crate::inbox::token;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_a_new_one_on_top_signs() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let conversation = ConversationId::from_bits(7);
        let old = token::sign("hola@casasol.example", conversation, &first[0]);
        let line = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{}\n{line}", STANDARD.encode([9; OCTETS]))).unwrap();
        let both = load(folder.path()).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(token::check(&old, "hola@casasol.example", &both), Some(conversation));
        assert_ne!(token::sign("hola@casasol.example", conversation, &both[0]), old);
    }

    #[test]
    fn a_file_that_is_not_ours_alone_or_holds_no_key_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        let refused = || load(folder.path()).unwrap_err().to_string();
        std::fs::write(&path, "c2hvcnQ=\n").unwrap();
        assert!(refused().ends_with("line 1 is no base64 of 32 octets or more"), "{}", refused());
        std::fs::write(&path, "\n").unwrap();
        assert!(refused().contains("holds no key"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refused().contains("chmod 600"));
    }
}
