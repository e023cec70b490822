//! The state folder: made, judged, locked.
//!
//! Two daemons never share one: the lock is the kernel's (`flock`), so that it ends with the process that held it.

use super::QueueError;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock on a state folder; dropped, it is given back.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes what is missing, refuses what isn't safe, and takes the lock.
    pub(super) fn lock(path: &Path) -> Result<Self, QueueError> {
        make(path)?;
        // The way to the folder may lead over links, as systemd's `DynamicUser=` has it; the files in it may not be any.
        let path = path.canonicalize().map_err(QueueError::io(path))?;
        let lock = take_lock(&path).map_err(|error| within(&path, error))?;
        let folder = Self { path, _lock: lock };
        if folder.has_content() {
            folder.make_content()?;
        }
        Ok(folder)
    }

    /// Whether there is a content folder.
    pub(super) fn has_content(&self) -> bool {
        self.content().exists()
    }

    /// Makes the content folder, if it is missing.
    pub(super) fn make_content(&self) -> Result<(), QueueError> {
        make(&self.content()).map_err(|error| within(&self.path, error))
    }

    /// The first of our files that belongs to someone else than us, whose folder it is. Root reads and writes them all.
    pub(super) fn stray(&self) -> Option<QueueError> {
        let named = ["lock", "queue.db", "queue.db-wal", "queue.db-shm", "content"];
        let content = std::fs::read_dir(self.content()).into_iter().flatten().flatten();
        let is_ours = |path: &PathBuf| {
            path.extension().is_some_and(|name| ["seg", "lost", "damaged"].iter().any(|ours| name == *ours))
        };
        let content = content.map(|entry| entry.path()).filter(is_ours);
        let mut all = named.iter().map(|name| self.path.join(name)).chain(content);
        if geteuid().is_root() { None } else { all.find_map(|path| stray(&self.path, &path)) }
    }

    /// What kept us out, if it is whose our files are.
    pub(super) fn or_stray(&self, error: QueueError) -> QueueError {
        match error {
            QueueError::Io { ref cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {}
            QueueError::Index(_) => {}
            _ => return error,
        }
        self.stray().unwrap_or(error)
    }

    pub(super) fn content(&self) -> PathBuf {
        self.path.join("content")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.path.join("queue.db")
    }
}

/// The process that has the queue in this folder, if there is one that this user may know of; 0 when it didn't say.
#[must_use]
pub fn holder(state_dir: &Path) -> Option<u32> {
    let mut lock = File::open(state_dir.join("lock")).ok()?;
    // Got, it is given back at once: `lock` goes.
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err().then(|| written_in(&mut lock))
}

fn written_in(lock: &mut File) -> u32 {
    let mut pid = String::new();
    let _ = lock.take(20).read_to_string(&mut pid);
    pid.trim().parse().unwrap_or(0)
}

/// An error at something in `folder`, which is ours: what belongs to someone else there is to be given back to us.
fn within(folder: &Path, error: QueueError) -> QueueError {
    match &error {
        QueueError::Owner { path, .. } => stray(folder, path),
        QueueError::Io { path, cause } if cause.kind() == ErrorKind::PermissionDenied => stray(folder, path),
        _ => None,
    }
    .unwrap_or(error)
}

fn stray(folder: &Path, path: &Path) -> Option<QueueError> {
    let (owner, me) = (path.symlink_metadata().ok()?.uid(), geteuid().as_raw());
    let stray = || QueueError::Stray { path: path.to_owned(), owner, folder: folder.to_owned(), me };
    (owner != me).then(stray)
}

fn make(path: &Path) -> Result<(), QueueError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            QueueError::Kind { path: path.to_owned(), wanted: "folder" }
        }
        _ => QueueError::Io { path: path.to_owned(), cause: error },
    })?;
    let found = std::fs::metadata(path).map_err(QueueError::io(path))?;
    let (owner, me, mode) = (found.uid(), geteuid().as_raw(), found.mode() & 0o7777);
    if owner != me {
        return Err(QueueError::Owner { path: path.to_owned(), owner, me });
    }
    if mode & 0o022 != 0 {
        return Err(QueueError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, QueueError> {
    let name = path.join("lock");
    let io = QueueError::io(&name);
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(&name)
        .map_err(io)?;
    if !lock.metadata().is_ok_and(|data| data.is_file()) {
        return Err(QueueError::Kind { path: name, wanted: "regular file" });
    }
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(QueueError::Locked { path: path.to_owned(), pid: written_in(&mut lock) });
    }
    // Only a courtesy to whoever comes second; a full disk must not keep us from starting.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_daemon_is_told_who_has_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let first = Folder::lock(&state).unwrap();
        let error = Folder::lock(&state).unwrap_err();
        assert!(matches!(error, QueueError::Locked { pid, .. } if pid == std::process::id()), "{error}");
        assert_eq!(holder(&state), Some(std::process::id()));
        drop(first);
        assert_eq!(holder(&state), None);
        Folder::lock(&state).unwrap();
    }

    #[test]
    fn what_we_make_is_ours_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("deep/state");
        Folder::lock(&state).unwrap().make_content().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join("content")), 0o700);
        assert_eq!(mode(&state.join("lock")), 0o600);
    }

    #[test]
    fn a_folder_behind_a_link_is_known_by_its_own_name() {
        let home = tempfile::tempdir().unwrap();
        let private = home.path().canonicalize().unwrap().join("private");
        std::fs::create_dir(&private).unwrap();
        std::os::unix::fs::symlink("private", home.path().join("link")).unwrap();
        let folder = Folder::lock(&home.path().join("link/state")).unwrap();
        assert_eq!(folder.index(), private.join("state/queue.db"));
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused_with_the_cure() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let error = Folder::lock(home.path()).unwrap_err().to_string();
        assert!(error.contains("mode 0777") && error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        std::fs::write(&state, b"").unwrap();
        assert!(matches!(Folder::lock(&state), Err(QueueError::Kind { wanted: "folder", .. })));
    }
}
