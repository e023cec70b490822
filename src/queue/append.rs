//! The content half of a turn: all content of a batch goes to the active segment with one write and one sync.
//!
//! A segment is active until it is full or a write or sync on it failed; then it is never written again.

use super::content::{ROLL, Segment, Segments, put_record};
use super::draft::Body;
use super::inbox::Command;
use super::record;
use super::work::Location;
use std::io;
use std::mem::take;
use std::sync::Arc;

/// Octets of buffer that are kept from one batch to the next.
const KEPT_BUFFER: usize = 16 << 20;

/// Appends batches to the active segment.
pub(super) struct Appender {
    segments: Arc<Segments>,
    active: Option<Segment>,
    retired: Vec<u64>,
    buffer: Vec<u8>,
}

impl Appender {
    pub(super) fn new(segments: Arc<Segments>) -> Self {
        Self { segments, active: None, retired: Vec::new(), buffer: Vec::new() }
    }

    /// The active segment's number and length.
    pub(super) fn active(&self) -> Option<(u64, u64)> {
        self.active.as_ref().map(|active| (active.number, active.end))
    }

    /// Writes no more to the active segment; the next batch begins another.
    pub(super) fn retire_active(&mut self) {
        self.retired.extend(self.active.take().map(|active| active.number));
    }

    /// Segments that ceased to be active since this was asked last.
    pub(super) fn retired(&mut self) -> Vec<u64> {
        take(&mut self.retired)
    }

    /// Where each command's content is, in their order, when all of it is on stable storage. After an error none of
    /// it counts.
    pub(super) fn append_all(&mut self, batch: &[Command]) -> io::Result<Vec<Option<Location>>> {
        let mut is_new = false;
        if batch.iter().any(brings_content) {
            is_new = self.make_active()?;
        }
        let mut locations = self.gather(batch);
        let Some(active) = self.active.as_mut().filter(|_| !self.buffer.is_empty()) else {
            return Ok(locations);
        };
        let (before, number) = (active.end, active.number);
        let written = self.segments.append(active, &self.buffer).and_then(|start| {
            self.segments.sync(active)?;
            if is_new {
                self.segments.sync_folder()?;
            }
            Ok(start)
        });
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        if written.is_err() {
            Segments::truncate(active, before);
            self.active = None;
            self.retired.push(number);
        }
        let start = written?;
        for location in locations.iter_mut().flatten().filter(|location| location.segment == number) {
            location.offset += start;
        }
        Ok(locations)
    }

    /// Puts the records of a batch into the buffer. Offsets are within it.
    fn gather(&mut self, batch: &[Command]) -> Vec<Option<Location>> {
        self.buffer.clear();
        let segment_and_nonce = self.active.as_ref().map(|active| (active.number, active.nonce));
        let buffer = &mut self.buffer;
        let mut put = |octets: &[u8], crc: u32, header: &[u8]| {
            let (segment, nonce) = segment_and_nonce?;
            let offset = put_record(buffer, nonce, octets, crc, header);
            Some(Location { segment, offset, length: octets.len() as u64 })
        };
        let place = |command: &Command| match command {
            Command::Keep(keep) => match &keep.body {
                Body::Memory(held) => put(&held.octets, keep.content_crc, &keep.header),
                Body::Spilled(spill) => Some(spill.location()),
            },
            Command::Settle(outcome, ids) => outcome.notice.as_ref().and_then(|notice| {
                let header = record::encode_header(ids, &notice.submission);
                put(&notice.octets, crc32c::crc32c(&notice.octets), &header)
            }),
            _ => None,
        };
        batch.iter().map(place).collect()
    }

    /// Makes sure that there is a segment to append to; whether it is new.
    fn make_active(&mut self) -> io::Result<bool> {
        if let Some(full) = self.active.take_if(|active| active.end >= ROLL) {
            self.retired.push(full.number);
        }
        if self.active.is_some() {
            return Ok(false);
        }
        self.active = Some(self.segments.create()?);
        Ok(true)
    }
}

/// Whether a command's content is for the active segment.
pub(super) fn brings_content(command: &Command) -> bool {
    match command {
        Command::Keep(keep) => matches!(keep.body, Body::Memory(_)),
        Command::Settle(outcome, _) => outcome.notice.is_some(),
        _ => false,
    }
}
