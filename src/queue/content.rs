//! Segment files: `state_dir/content/NNNNNNNN.seg`, written at the end only, deleted when the last message in them
//! is done.
//!
//! One file is *active*: the writer appends each batch to it and rolls at [`ROLL`]. A message too large for memory
//! gets a file of its own ([`Spill`]). A file whose write or sync failed is never written again: what the kernel
//! dropped of it is unknown. What was committed in it before stays readable.
//!
//! Whatever stands where a segment should be (a folder, a FIFO, a link, garbage) reads as [`Damaged`], not as mail.

use super::error::{KeepError, is_everywhere};
use super::record::{self, HEAD, Nonce, PREFIX, Prefix};
use super::{Damaged, Location, QueueId, Unreadable};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Octets after which the active segment is closed and a new one begun.
pub(super) const ROLL: u64 = 64 << 20;
/// Files kept open for reading.
const READERS: usize = 16;
/// Numbers of files stay below: nobody gives out so many, and a file that somebody named so must not end the counting.
const MOST: u64 = 1 << 62;
/// Octets checked at a time.
const CHUNK: usize = 256 << 10;

/// How content files are written and synced: the system's calls, or calls that fail for a test.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// As `pwrite(2)`: may write less than asked.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<usize>;

    /// As `fdatasync(2)`.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The system's own calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn write_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(octets, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The content folder.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    next: AtomicU64,
    readers: Mutex<VecDeque<(u64, Arc<File>)>>,
    /// Whether the latest content found no room.
    is_full: AtomicBool,
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) nonce: Nonce,
    file: File,
    /// Where the next octet goes.
    pub(super) end: u64,
}

impl Segments {
    /// The folder; new files are numbered from `next`.
    pub(super) fn new(folder: PathBuf, disk: Arc<dyn Disk>, next: u64) -> Self {
        let (readers, is_full) = (Mutex::default(), AtomicBool::new(false));
        Self { folder, disk, next: AtomicU64::new(next), readers, is_full }
    }

    /// Notes whether there was room for a message's content.
    pub(super) fn met<T>(&self, written: &Result<T, KeepError>) {
        match written {
            Ok(_) => self.is_full.store(false, Ordering::Relaxed),
            Err(KeepError::DiskFull) => self.is_full.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
    }

    /// Whether the latest content found no room, whatever the free space says.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// The highest number given out.
    pub(super) fn last_number(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_sub(1)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// Begins a file. Its name is on disk when [`Segments::sync_folder`] was called, its head with its first sync.
    pub(super) fn create(&self) -> io::Result<Segment> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(number))?;
        let mut nonce = Nonce::default();
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
        let mut segment = Segment { number, nonce, file, end: 0 };
        match self.append(&mut segment, &record::head(nonce)) {
            Ok(_) => Ok(segment),
            Err(error) => {
                self.remove(number);
                Err(error)
            }
        }
    }

    /// Writes at the end and returns where. After an error the file must not be written again.
    pub(super) fn append(&self, segment: &mut Segment, octets: &[u8]) -> io::Result<u64> {
        let start = segment.end;
        self.write_all_at(&segment.file, octets, start)?;
        segment.end += octets.len() as u64;
        Ok(start)
    }

    fn write_all_at(&self, file: &File, mut octets: &[u8], mut offset: u64) -> io::Result<()> {
        while !octets.is_empty() {
            match self.disk.write_at(file, octets, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    octets = octets.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts what was written on stable storage.
    pub(super) fn sync(&self, segment: &Segment) -> io::Result<()> {
        self.disk.sync(&segment.file)
    }

    /// Puts the names of new files on stable storage.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync(&File::open(&self.folder)?)
    }

    /// Best effort: takes back what a failed batch left at the end.
    pub(super) fn truncate(segment: &Segment, end: u64) {
        let _ = segment.file.set_len(end);
    }

    /// Best effort: a file that can't be deleted now is garbage at the next start.
    pub(super) fn remove(&self, number: u64) {
        self.readers.lock().retain(|(open, _)| *open != number);
        let _ = std::fs::remove_file(self.path(number));
    }

    /// A piece of a message's stored content. The whole content in one piece is checked by its checksum; of a larger one
    /// the first piece is given only when all of it was checked. So is whose record it stands in: where files were put
    /// back from different times, another message's may be as long and begin at the same place.
    pub(super) fn read(
        &self,
        id: QueueId,
        location: Location,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        self.read_record(id, location, offset, length).map_err(|error| self.blame(location, error))
    }

    fn read_record(&self, id: QueueId, location: Location, offset: u64, length: usize) -> io::Result<Bytes> {
        let damaged = |what| Damaged { segment: location.segment, offset: location.offset, what };
        let file = self.reader(location.segment)?;
        let left = location.length.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let mut octets = vec![0; length];
        if offset == 0 {
            let prefix = read_prefix(&file, location)?.ok_or_else(|| damaged("its prefix is spoilt"))?;
            check_whose(&file, prefix, id, location)?;
            if u64::try_from(length).is_ok_and(|length| length < location.length) {
                let crc = checksum(&file, location.offset, location.length)?;
                if crc != Some(prefix.content_crc) {
                    return Err(damaged("its checksum is wrong").into());
                }
                read_exact(&file, &mut octets, 0, location, damaged)?;
            } else {
                read_exact(&file, &mut octets, 0, location, damaged)?;
                if crc32c::crc32c(&octets) != prefix.content_crc {
                    return Err(damaged("its checksum is wrong").into());
                }
            }
        } else {
            read_exact(&file, &mut octets, offset, location, damaged)?;
        }
        Ok(octets.into())
    }

    /// Tells what is wrong with one file from what is wrong with the disk, the folder or ourselves.
    fn blame(&self, location: Location, error: io::Error) -> io::Error {
        let path = self.path(location.segment);
        if Damaged::is_in(&error) {
            return error;
        }
        // Where not even a name can be looked up, no other message's content can be read either.
        let can_look = std::fs::read_dir(&self.folder)
            .and_then(|mut entries| entries.next().transpose())
            .and_then(|_| self.folder.join(".").metadata());
        match can_look {
            Ok(_) if is_everywhere(&error) => {}
            Ok(_) if error.kind() == io::ErrorKind::NotFound => {
                let what = "the file is missing";
                return Damaged { segment: location.segment, offset: location.offset, what }.into();
            }
            Ok(_) => return Unreadable::new(path, error).into(),
            Err(_) => {}
        }
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    }

    /// The header that stands behind stored content in its record.
    pub(super) fn read_header(&self, id: QueueId, location: Location) -> io::Result<Bytes> {
        let damaged = |what| Damaged { segment: location.segment, offset: location.offset, what };
        let file = self.reader(location.segment)?;
        let prefix = read_prefix(&file, location)?.ok_or_else(|| damaged("its prefix is spoilt"))?;
        let octets = check_whose(&file, prefix, id, location)?;
        if crc32c::crc32c(&octets) != prefix.header_crc {
            return Err(damaged("its header's checksum is wrong").into());
        }
        Ok(octets.into())
    }

    fn reader(&self, number: u64) -> io::Result<Arc<File>> {
        let mut readers = self.readers.lock();
        if let Some((_, file)) = readers.iter().find(|(open, _)| *open == number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open_plain(&self.path(number), number)?);
        if readers.len() >= READERS {
            readers.pop_front();
        }
        readers.push_back((number, Arc::clone(&file)));
        Ok(file)
    }
}

/// `00000042.seg`
pub(super) fn file_name(number: u64) -> String {
    format!("{number:08}.seg")
}

/// The number of a segment's file name.
pub(super) fn file_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?;
    number.filter(|number| *number < MOST)
}

/// The highest number that a file's name begins with, whatever follows: segments, and what was set aside as one.
pub(super) fn highest_number(folder: &Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.split_once('.')).map(|(stem, _)| stem);
        highest = stem.and_then(|stem| file_number(&format!("{stem}.seg"))).unwrap_or(0).max(highest);
    }
    Ok(highest)
}

/// Renames a segment's file to one with this extension; to its new name. It keeps its number if that is above `above`
/// and no file has the name, else it gets one that no file has: nothing is ever written over. Only for whoever has the
/// lock of the state folder.
pub(super) fn rename_free(path: &Path, extension: &str, above: u64) -> io::Result<PathBuf> {
    let own = path.file_stem().and_then(|stem| file_number(&format!("{}.seg", stem.to_str()?)));
    let mut to = path.with_extension(extension);
    if own.is_none_or(|own| own <= above) || to.symlink_metadata().is_ok() {
        let folder = path.parent().unwrap_or(Path::new("."));
        let number = highest_number(folder)?.max(above) + 1;
        to = folder.join(file_name(number)).with_extension(extension);
    }
    std::fs::rename(path, &to)?;
    Ok(to)
}

/// Gives a segment's file a second name with this extension, under a number that no file has if another file has that
/// name.
pub(super) fn link_free(path: &Path, extension: &str) -> io::Result<()> {
    let to = path.with_extension(extension);
    match std::fs::hard_link(path, &to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        linked => return linked,
    }
    let (own, other) = (path.symlink_metadata()?, to.symlink_metadata()?);
    if (own.dev(), own.ino()) == (other.dev(), other.ino()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let number = highest_number(folder)? + 1;
    std::fs::hard_link(path, folder.join(file_name(number)).with_extension(extension))
}

/// Opens a regular file and nothing else: no link is followed, no FIFO waited for.
pub(super) fn open_plain(path: &Path, number: u64) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let not_plain = || Damaged { segment: number, offset: 0, what: "the file is not a regular file" };
    let flags = i32::try_from(flags).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| if path.is_symlink() { not_plain().into() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_plain().into()) }
}

fn read_prefix(file: &File, location: Location) -> io::Result<Option<Prefix>> {
    let mut octets = [0; PREFIX];
    let Some(at) = location.offset.checked_sub(PREFIX as u64) else { return Ok(None) };
    match file.read_exact_at(&mut octets, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    Ok(Prefix::decode(&octets).filter(|prefix| prefix.content_length == location.length))
}

/// The header of a record, which must be this message's.
fn check_whose(file: &File, prefix: Prefix, id: QueueId, location: Location) -> io::Result<Vec<u8>> {
    let damaged = |what| Damaged { segment: location.segment, offset: location.offset, what };
    let mut header = vec![0; usize::try_from(prefix.header_length).unwrap_or(0)];
    read_exact(file, &mut header, location.length, location, damaged)?;
    if record::holds(&header, id) { Ok(header) } else { Err(damaged("another message stands there").into()) }
}

fn read_exact(
    file: &File,
    octets: &mut [u8],
    offset: u64,
    location: Location,
    damaged: impl Fn(&'static str) -> Damaged,
) -> io::Result<()> {
    file.read_exact_at(octets, location.offset.saturating_add(offset)).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("the file is too short").into(),
        _ => error,
    })
}

/// The CRC-32C of a stretch of a file; none when the file ends before it.
pub(super) fn checksum(file: &File, mut at: u64, length: u64) -> io::Result<Option<u32>> {
    let end = at.saturating_add(length);
    let mut buffer = vec![0; CHUNK];
    let mut crc = 0;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
        let Some(buffer) = buffer.get_mut(..want) else { return Ok(None) };
        match file.read_exact_at(buffer, at) {
            Ok(()) => crc = crc32c::crc32c_append(crc, buffer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        at += want as u64;
    }
    Ok(Some(crc))
}

/// Adds a record to a buffer and returns where its content starts in it.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    nonce: Nonce,
    content: &[u8],
    content_crc: u32,
    header: &[u8],
) -> u64 {
    let prefix = Prefix {
        nonce,
        header_length: u32::try_from(header.len()).unwrap_or(u32::MAX),
        content_length: content.len() as u64,
        content_crc,
        header_crc: crc32c::crc32c(header),
    };
    out.extend_from_slice(&prefix.encode());
    let start = out.len() as u64;
    out.extend_from_slice(content);
    out.extend_from_slice(header);
    start
}

/// A message on its way into a file of its own. Dropped before [`Spill::seal`] was answered by a commit, it takes
/// the file with it.
#[derive(Debug)]
pub(super) struct Spill {
    segments: Arc<Segments>,
    segment: Segment,
    length: u64,
    crc: u32,
    kept: bool,
}

impl Spill {
    pub(super) fn begin(segments: &Arc<Segments>) -> io::Result<Self> {
        let mut segment = segments.create()?;
        segment.end = (HEAD + PREFIX) as u64;
        Ok(Self { segments: Arc::clone(segments), segment, length: 0, crc: 0, kept: false })
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.segments.append(&mut self.segment, octets)?;
        self.crc = crc32c::crc32c_append(self.crc, octets);
        self.length += octets.len() as u64;
        Ok(())
    }

    /// Completes the record and syncs file and folder: what remains is the row.
    pub(super) fn seal(&mut self, header: &[u8]) -> io::Result<()> {
        self.segments.append(&mut self.segment, header)?;
        let prefix = Prefix {
            nonce: self.segment.nonce,
            header_length: u32::try_from(header.len()).unwrap_or(u32::MAX),
            content_length: self.length,
            content_crc: self.crc,
            header_crc: crc32c::crc32c(header),
        };
        self.segments.write_all_at(&self.segment.file, &prefix.encode(), HEAD as u64)?;
        self.segments.sync(&self.segment)?;
        self.segments.sync_folder()
    }

    /// Where the content is.
    pub(super) fn location(&self) -> Location {
        Location { segment: self.segment.number, offset: (HEAD + PREFIX) as u64, length: self.length }
    }

    /// Octets of the whole file.
    pub(super) fn file_length(&self) -> u64 {
        self.segment.end
    }

    /// The row is committed (or may be): the file stays.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept {
            self.segments.remove(self.segment.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    const OURS: QueueId = QueueId::from_bits(7);

    fn header() -> Vec<u8> {
        record::encode_header(&[OURS], &super::super::testing::submission("shop", &["a@b.example"]))
    }

    fn segments(folder: &Path) -> Arc<Segments> {
        Arc::new(Segments::new(folder.to_owned(), Arc::new(SystemDisk), 1))
    }

    fn one_record(segments: &Segments, content: &[u8]) -> Location {
        let mut segment = segments.create().unwrap();
        let mut record = Vec::new();
        let start = put_record(&mut record, segment.nonce, content, crc32c::crc32c(content), &header());
        let at = segments.append(&mut segment, &record).unwrap();
        Location { segment: segment.number, offset: at + start, length: content.len() as u64 }
    }

    #[test]
    fn content_reads_back_whole_and_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let segments = segments(folder.path());
        let location = one_record(&segments, b"0123456789");
        assert_eq!(&segments.read(OURS, location, 0, 100).unwrap()[..], b"0123456789");
        assert_eq!(&segments.read(OURS, location, 0, 4).unwrap()[..], b"0123");
        assert_eq!(&segments.read(OURS, location, 4, 4).unwrap()[..], b"4567");
        assert_eq!(&segments.read(OURS, location, 8, 4).unwrap()[..], b"89");
        assert_eq!(&segments.read(OURS, location, 10, 4).unwrap()[..], b"");
    }

    #[test]
    fn a_spilled_message_reads_back_and_a_dropped_one_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let segments = segments(folder.path());
        let mut spill = Spill::begin(&segments).unwrap();
        spill.write(b"hello ").unwrap();
        spill.write(b"world").unwrap();
        let location = spill.location();
        spill.seal(&header()).unwrap();
        spill.keep();
        assert_eq!(&segments.read(OURS, location, 0, 100).unwrap()[..], b"hello world");
        drop(Spill::begin(&segments).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn whatever_stands_in_place_of_a_segment_is_damaged_and_never_mail() {
        type Spoil = fn(&Path);
        let spoils: [(&str, Spoil); 8] = [
            ("missing", |path| std::fs::remove_file(path).unwrap()),
            ("empty", |path| std::fs::write(path, b"").unwrap()),
            ("truncated", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(75).unwrap()),
            ("garbage", |path| std::fs::write(path, [0xa5; 4096]).unwrap()),
            ("a sparse 4 GB", |path| {
                std::fs::write(path, b"").unwrap();
                OpenOptions::new().write(true).open(path).unwrap().set_len(4 << 30).unwrap();
            }),
            ("a folder", |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(path).unwrap();
            }),
            ("a link", |path| {
                let away = path.with_extension("away");
                std::fs::rename(path, &away).unwrap();
                std::os::unix::fs::symlink(away, path).unwrap();
            }),
            ("a FIFO", |path| {
                std::fs::remove_file(path).unwrap();
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }),
        ];
        for (name, spoil) in spoils {
            let folder = tempfile::tempdir().unwrap();
            let segments = segments(folder.path());
            let location = one_record(&segments, b"0123456789");
            spoil(&segments.path(location.segment));
            for length in [4, 100] {
                let error = segments.read(OURS, location, 0, length).unwrap_err();
                assert!(Damaged::is_in(&error), "{name}: {error}");
            }
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_in_the_content_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let segments = segments(folder.path());
        let location = one_record(&segments, b"0123456789");
        let path = segments.path(location.segment);
        let sound = std::fs::read(&path).unwrap();
        for bit in 0..80 {
            let mut spoilt = sound.clone();
            spoilt[usize::try_from(location.offset).unwrap() + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, spoilt).unwrap();
            assert!(Damaged::is_in(&segments.read(OURS, location, 0, 100).unwrap_err()), "{bit}");
            assert!(Damaged::is_in(&segments.read(OURS, location, 0, 5).unwrap_err()), "{bit}");
        }
    }

    #[test]
    fn another_messages_content_is_never_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let segments = segments(folder.path());
        let location = one_record(&segments, b"0123456789");
        for length in [4, 100] {
            let error = segments.read(QueueId::from_bits(8), location, 0, length).unwrap_err();
            assert!(Damaged::is_in(&error) && error.to_string().contains("another message"), "{error}");
        }
        assert!(Damaged::is_in(&segments.read_header(QueueId::from_bits(8), location).unwrap_err()));
        assert_eq!(segments.read_header(OURS, location).unwrap(), header());
    }

    #[test]
    fn one_file_that_cannot_be_read_is_told_from_a_folder_that_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        std::fs::create_dir(&content).unwrap();
        let segments = segments(&content);
        let location = one_record(&segments, b"0123456789");
        let refused = || io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error());
        for (one, words) in [
            (refused(), "00000001.seg can't be read: Permission denied (os error 13); run: chmod 600 /"),
            (io::Error::from_raw_os_error(Errno::IO.raw_os_error()), "look at the disk"),
        ] {
            let told = segments.blame(location, one);
            assert!(Unreadable::is_in(&told) && told.to_string().contains(words), "{told}");
        }
        for everywhere in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            let told = segments.blame(location, io::Error::from_raw_os_error(everywhere.raw_os_error()));
            assert!(!Unreadable::is_in(&told) && !Damaged::is_in(&told), "{told}");
        }
        std::fs::rename(&content, folder.path().join("away")).unwrap();
        for one in [refused(), io::ErrorKind::NotFound.into()] {
            let told = segments.blame(location, one);
            assert!(!Unreadable::is_in(&told) && !Damaged::is_in(&told), "{told}");
            assert!(told.to_string().contains("content/00000001.seg: "), "{told}");
        }
    }

    #[test]
    fn a_file_takes_no_name_that_another_has_and_no_number_that_was_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str| std::fs::write(path(name), name).unwrap();
        for name in ["00000002.seg", "00000002.lost", "00000005.damaged", "README", "9.seg", "lost+found"] {
            write(name);
        }
        assert_eq!(highest_number(folder.path()).unwrap(), 5);
        let lost = |name: &str, above: u64| rename_free(&path(name), "lost", above).unwrap();
        assert_eq!(lost("00000002.seg", 0), path("00000006.lost"));
        assert_eq!(lost("00000005.damaged", 0), path("00000005.lost"));
        let restored = rename_free(&path("00000002.lost"), "seg", 9).unwrap();
        assert_eq!(restored, path("00000010.seg"), "the index gave out nine");
        let content = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        assert_eq!(content("00000006.lost"), "00000002.seg");
        assert_eq!(content("00000010.seg"), "00000002.lost");
    }

    #[test]
    fn file_names_are_numbers_of_eight_digits_or_more() {
        assert_eq!(file_number("00000042.seg"), Some(42));
        assert_eq!(file_number(&file_name(123_456_789)), Some(123_456_789));
        for name in ["42.seg", "0000004x.seg", "00000042.lost", "+0000042.seg", "18446744073709551615.seg"] {
            assert_eq!(file_number(name), None, "{name}");
        }
    }
}
