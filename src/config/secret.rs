//! Secrets that stand elsewhere: in a file, an environment variable, or what a program prints.
//!
//! A secret is one line of UTF-8. Exactly one line end behind it is taken off; every other byte counts, so that no
//! password ever needs escaping. Nothing here shows a secret, neither in `Debug` nor in an error.

use super::schema::PasswordSource;
use secrecy::SecretString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No password is longer; whoever points us at a disk image hears so early.
const LONGEST: u64 = 64 * 1024;
/// What to do when there is no such file.
const TO_WRITE: &str = "write the secret into it and chmod 600 it";
/// The same of a credential, which nobody writes there by hand.
const FROM_SYSTEMD: &str =
    "systemd puts it there while the service runs: its unit needs LoadCredential=NAME:/path/to/file";
/// How long a password command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no secret, and what to do. All of these are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It can't be read.
    #[error("{path}: {reason}; {advice}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The variable isn't set.
    #[error("the environment has no {0}; set it for the daemon")]
    NoVariable(String),
    /// It is there, but no good.
    #[error("{place} {reason}")]
    Unfit {
        /// Where it came from.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The command gave none.
    #[error("password_command \"{program}\" {reason}")]
    Command {
        /// Its program; arguments may be secrets.
        program: String,
        /// What went wrong.
        reason: String,
    },
}

impl PasswordSource {
    /// Gets the password, anew each time. Blocks: a command may take 30 s.
    ///
    /// # Errors
    ///
    /// When there is no password, with what to do.
    pub fn fetch(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret(path),
            Self::Env(name) => match std::env::var_os(name) {
                Some(value) => one_line(value.into_encoded_bytes(), &format!("environment variable {name}")),
                None => Err(SecretError::NoVariable(name.clone())),
            },
            Self::Command(words) => run(words, PATIENCE),
        }
    }
}

/// The one line of a secret file.
pub(super) fn read_secret(path: &Path) -> Result<SecretString, SecretError> {
    one_line(read_plain(path, LONGEST, TO_WRITE)?, &path.display().to_string())
}

/// Every line of a secret file, without line ends; at least one.
pub(super) fn read_lines(path: &Path) -> Result<Vec<SecretString>, SecretError> {
    let unfit =
        |reason: &str| SecretError::Unfit { place: path.display().to_string(), reason: reason.to_owned() };
    let text = String::from_utf8(read_plain(path, LONGEST, TO_WRITE)?)
        .map_err(|_| unfit("is not UTF-8; save it as UTF-8"))?;
    let lines: Vec<SecretString> = text.lines().map(|line| line.to_owned().into()).collect();
    if lines.is_empty() { Err(unfit("is empty; write the secret into it")) } else { Ok(lines) }
}

/// The content of a regular file; a FIFO or device would make us wait for ever. `to_create`: what to do when there is none.
pub(super) fn read_plain(path: &Path, longest: u64, to_create: &'static str) -> Result<Vec<u8>, SecretError> {
    let wrong = |reason: String, advice| SecretError::File { path: path.to_owned(), reason, advice };
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound if path.starts_with("/run/credentials") => {
            wrong("no such file".to_owned(), FROM_SYSTEMD)
        }
        std::io::ErrorKind::NotFound => wrong("no such file".to_owned(), to_create),
        std::io::ErrorKind::PermissionDenied => {
            wrong("not readable for us".to_owned(), "chown it to the user waystation runs as")
        }
        _ => wrong(error.to_string(), "see that it is a readable file"),
    };
    let kind = std::fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() { "is a folder" } else { "is a pipe, socket or device" };
        return Err(wrong(what.to_owned(), "name a regular file"));
    }
    // Non-blocking, so that a FIFO put in its place after the look above can't hold us.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|e| unreadable(e.into()))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(longest + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > longest {
        return Err(wrong(
            "is too large for what should be in it".to_owned(),
            "see that it is the right file",
        ));
    }
    Ok(bytes)
}

/// What is left when one line end is taken off must be one line.
fn one_line(mut bytes: Vec<u8>, place: &str) -> Result<SecretString, SecretError> {
    let unfit = |reason: &str| SecretError::Unfit { place: place.to_owned(), reason: reason.to_owned() };
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(unfit("is empty; write the secret into it"));
    }
    if bytes.contains(&b'\n') {
        return Err(unfit("has more than one line; the secret alone must stand in it"));
    }
    if bytes.contains(&0) {
        return Err(unfit("holds a zero byte, which no login can carry"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8; save it as UTF-8"))?;
    Ok(text.into())
}

/// The first line a program prints.
fn run(words: &[String], patience: Duration) -> Result<SecretString, SecretError> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(SecretError::Command {
            program: String::new(),
            reason: "is empty; name a program".to_owned(),
        });
    };
    let failed = |reason: String| SecretError::Command { program: program.clone(), reason };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Its own group, so that what it started can be ended with it.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("can't be started: {error}")))?;
    let (send, receive) = std::sync::mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let outcome = output.take(LONGEST).read_to_end(&mut bytes).map(|_| bytes);
            let _ = send.send(outcome);
        });
    }
    let deadline = Instant::now() + patience;
    let output = receive.recv_timeout(patience);
    let mut status = None;
    while output.is_ok() && status.is_none() && Instant::now() < deadline {
        status = child.try_wait().map_err(|error| failed(format!("can't be waited for: {error}")))?;
        if status.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let Some(status) = status else {
        let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
        let _ = child.wait();
        return Err(failed(format!("took longer than {} s; run it by hand to see why", patience.as_secs())));
    };
    if !status.success() {
        return Err(failed(format!("failed ({status}); run it by hand to see why")));
    }
    let mut bytes = output.ok().and_then(Result::ok).unwrap_or_default();
    if let Some(end) = bytes.iter().position(|b| *b == b'\n') {
        bytes.truncate(end + 1);
    }
    one_line(bytes, &format!("what password_command \"{program}\" printed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn fetched(content: &[u8]) -> Result<String, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        PasswordSource::File(path).fetch().map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn every_byte_but_one_line_end_counts() {
        for (content, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" spaces \t\n", " spaces \t"),
            ("#/@%+$\"'\\ü\n", "#/@%+$\"'\\ü"),
        ] {
            assert_eq!(fetched(content.as_bytes()).unwrap(), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_advice() {
        for (content, word) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"a\nb\n", "more than one line"),
            (b"a\n\n", "more than one line"),
            (b"a\0b", "zero byte"),
            (b"\xff\xfe", "UTF-8"),
        ] {
            let message = fetched(content).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        let folder = tempfile::tempdir().unwrap();
        let told = |path: &Path| read_secret(path).unwrap_err().to_string();
        assert!(told(folder.path()).contains("folder"));
        assert!(told(&folder.path().join("none")).contains("no such file"));
        assert!(told(Path::new("/dev/zero")).contains("device"));
    }

    #[test]
    fn a_command_gives_its_first_line_or_says_why_not() {
        let sh = |script: &str, patience| {
            run(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], patience)
                .map(|secret| secret.expose_secret().to_owned())
                .map_err(|error| error.to_string())
        };
        assert_eq!(sh("echo one; echo two", PATIENCE).unwrap(), "one");
        assert!(sh("exit 3", PATIENCE).unwrap_err().contains("failed"));
        assert!(sh("true", PATIENCE).unwrap_err().contains("empty"));
        assert!(sh("sleep 60", Duration::from_millis(50)).unwrap_err().contains("longer"));
        let missing = run(&["/no/such/program".to_owned()], PATIENCE).unwrap_err().to_string();
        assert!(missing.contains("can't be started"), "{missing}");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let source = PasswordSource::Literal("hunter2".to_owned().into());
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
