//! What can go wrong here, by whom to blame: the disk, the operator, or us.

use rustix::io::Errno;
use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a message wasn't kept. The client may come again: none of these is its fault for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// Free space is below `spool.min_free`, the spool above `spool.max_size`, or the disk refused to take more.
    #[error("the disk or the spool is full")]
    DiskFull,
    /// The disk failed; what was half written is never trusted.
    #[error("the message couldn't be written: {cause}")]
    Io {
        /// The system's words.
        cause: String,
    },
    /// A submission without parts, or a recipient index that doesn't exist: our bug.
    #[error("the submission names no recipients or some that don't exist")]
    Malformed,
    /// The queue is being closed.
    #[error("the queue is closed")]
    Closed,
}

impl From<io::Error> for KeepError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::DiskFull } else { Self::Io { cause: error.to_string() } }
    }
}

/// Whether an error says that there is no room: disk, inodes, quota, file-size limit.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Why the queue couldn't be opened, asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Another daemon has the folder.
    #[error("{} is in use by process {pid}; stop that waystation first, or set another state_dir", path.display())]
    Locked {
        /// The state folder.
        path: PathBuf,
        /// Who has it; 0 when it didn't say.
        pid: u32,
    },
    /// The folder belongs to someone else.
    #[error(
        "{} belongs to user {owner}, waystation runs as user {me}; run: chown -R {me} {}, or run waystation as user {owner}",
        path.display(), path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Ourselves.
        me: u32,
    },
    /// Something in the folder belongs to someone else than the folder: a backup that root copied back.
    #[error(
        "{} belongs to user {owner}, but {} to user {me}, as which waystation runs; run: chown -R {me} {}",
        path.display(), folder.display(), folder.display()
    )]
    Stray {
        /// What belongs to someone else.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The state folder.
        folder: PathBuf,
        /// Its owner, and ourselves.
        me: u32,
    },
    /// The folder may be written by others.
    #[error("{} may be written by others (mode {mode:04o}); run: chmod 700 {}", path.display(), path.display())]
    Mode {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something of another kind stands where a folder or file of ours should be.
    #[error("{} is not a {wanted}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// "folder" or "regular file".
        wanted: &'static str,
    },
    /// The index is of a newer waystation. Nothing was touched.
    #[error("{} was written by a newer waystation (schema {found}, this one knows {known})", path.display())]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The index can't be read, or is of another program.
    #[error("{} is damaged: {cause}; `waystation queue salvage` rebuilds it from the content files", path.display())]
    Damaged {
        /// The index.
        path: PathBuf,
        /// `SQLite`'s words.
        cause: String,
    },
    /// There is content but no index.
    #[error("{} is missing, but there is content beside it; `waystation queue salvage` rebuilds it", path.display())]
    IndexMissing {
        /// Where the index should be.
        path: PathBuf,
    },
    /// There is an index, but not the content it counts on.
    #[error("{} is missing, but mail in it waits; put it back, or mount its disk", path.display())]
    ContentMissing {
        /// Where the content should be.
        path: PathBuf,
    },
    /// There is neither index nor content.
    #[error("there is no queue in {}; set state_dir to the folder that holds queue.db and content", path.display())]
    NoQueue {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {cause}{}", path.display(), advice(cause))]
    Io {
        /// What we were at.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// There is no room for the index to grow; even what leaves has to be recorded.
    #[error(
        "the index: {0}: the disk is full; make some MiB of room where state_dir is, then start again: what is queued is safe"
    )]
    Full(String),
    /// `SQLite` refused while running.
    #[error("the index: {0}")]
    Index(String),
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let the user waystation runs as own state_dir and all in it (chown -R), or set another state_dir"
        }
        io::ErrorKind::NotFound => "; set state_dir to a folder that can be made there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: make room, or set state_dir to a folder on another disk"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; set state_dir to a folder on a disk that can be written",
        _ => "",
    }
}

impl QueueError {
    /// The sysexits(3) code of a program that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::Full(_) | Self::Index(_) | Self::Closed => 75,
            Self::Owner { .. } | Self::Stray { .. } | Self::Mode { .. } => 77,
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Kind { .. } | Self::Newer { .. } | Self::NoQueue { .. } => 78,
            Self::Io { cause, .. }
                if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                78
            }
            Self::Damaged { .. } | Self::IndexMissing { .. } | Self::ContentMissing { .. } => 65,
            Self::Io { .. } => 74,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        // Where even the log's own index finds no room, SQLite calls it an I/O error.
        let no_shared_memory = error
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        if no_shared_memory || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            return Self::Full(error.to_string());
        }
        Self::Index(error.to_string())
    }
}

/// Content that isn't what was written: carried inside an [`io::Error`] of kind `InvalidData` by `Queue::read`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("content in segment {segment} at {offset} is damaged: {what}")]
pub struct Damaged {
    /// The segment's number.
    pub segment: u64,
    /// Where the content should start.
    pub offset: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Damaged {
    /// Whether a failed read means that the content is lost (set it aside), not that the disk is busy or full.
    #[must_use]
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// One content file that can't be read though the others can: carried inside an [`io::Error`] by `Queue::read`. It
/// concerns the messages in it alone; they may be tried again.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be read: {cause}; {cure}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    cause: io::Error,
    cure: String,
}

impl Unreadable {
    pub(super) fn new(path: PathBuf, cause: io::Error) -> Self {
        let (owner, me) = (path.symlink_metadata().map(|file| file.uid()), geteuid().as_raw());
        // Where one file was copied back by somebody else, others were, too.
        let state_dir = path.ancestors().nth(2).unwrap_or(&path).display();
        let cure = match owner {
            Ok(owner) if cause.kind() == io::ErrorKind::PermissionDenied && owner != me => {
                format!(
                    "it belongs to user {owner}, waystation runs as user {me}; run: chown -R {me} {state_dir}"
                )
            }
            _ if cause.kind() == io::ErrorKind::PermissionDenied => {
                format!("run: chmod 600 {}", path.display())
            }
            _ => "look at the disk and at the system's log".to_owned(),
        };
        Self { path, cause, cure }
    }

    /// Whether a failed read concerns one file alone.
    #[must_use]
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

impl From<Unreadable> for io::Error {
    fn from(unreadable: Unreadable) -> Self {
        Self::new(unreadable.cause.kind(), unreadable)
    }
}

/// Whether every file would meet an error just now: no descriptors, no memory.
pub(super) fn is_everywhere(error: &io::Error) -> bool {
    matches!(rustix::io::Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

impl From<Damaged> for io::Error {
    fn from(damaged: Damaged) -> Self {
        Self::new(io::ErrorKind::InvalidData, damaged)
    }
}
