//! Reading records that are in the log: single ones, and the oldest to see which of them still matter.

use std::collections::VecDeque;
use std::ops::Range;
use std::{io, mem};

use super::scan::{Bound, Found, Scan};
use super::segment::{Own, SEGMENT_HEADER_LEN, file_name, whole_frame};
use super::{Log, quarantine};
use crate::broker::record::frame::{FIRST_RESERVED_KIND, FrameHeader, Frames, HEADER_LEN};
use crate::broker::record::{Batch, Sequence};
use crate::storage::Fault;
use crate::storage::checksum::Salt;
use crate::storage::directory::{Directory, File, length};

/// Bytes that are read at once to find a record; more than lie between entries of the index.
const READ_AT_ONCE: usize = 32 << 10;

/// A record that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What kind of record it is.
    pub kind: u8,
    /// All the rest of it.
    pub body: Vec<u8>,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there, or not as it was written.
    #[error("record {0} is not there or damaged")]
    Lost(Sequence),
    /// The file cannot be read.
    #[error("record {0} cannot be read: {1}")]
    Io(Sequence, io::Error),
}

/// Records of the oldest segment, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    bytes: Vec<u8>,
    up_to: Sequence,
    lost: Vec<Range<Sequence>>,
    ends_segment: bool,
}

impl Slice {
    /// The records.
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(&self.bytes)
    }

    /// The records with their headers, for who takes them elsewhere.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes of the records with their headers.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no records in it: it may be that all were damaged.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The record behind it. When all before it that still matters has been written again, the log is told so.
    pub const fn up_to(&self) -> Sequence {
        self.up_to
    }

    /// Records that are no longer readable; their bytes are set aside.
    pub fn lost(&self) -> &[Range<Sequence>] {
        &self.lost
    }

    /// Whether the segment ends with it, so that it can be removed.
    pub const fn ends_segment(&self) -> bool {
        self.ends_segment
    }
}

/// How far the oldest segment has been looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    number: u64,
    at: u64,
    next: Sequence,
}

/// What stands at the cursor.
#[derive(Debug)]
enum Step {
    /// A record of so many bytes, behind which comes the record with this number.
    Record(usize, Sequence),
    /// One of the storage's own.
    Own(usize, Sequence),
    /// So many bytes have to be read before that is known.
    More(usize),
    /// The end of the segment.
    End,
    /// Nothing that was written so.
    Broken,
}

impl<D: Directory> Log<D> {
    /// Reads a record.
    pub fn read(&mut self, sequence: Sequence) -> Result<Record, ReadError> {
        if sequence >= self.synced {
            return Self::read_unsynced(&self.unsynced, sequence).ok_or(ReadError::Lost(sequence));
        }
        let wrong = |error| ReadError::Io(sequence, error);
        let (file, from) = match &self.active {
            Some(active) if sequence >= active.first => {
                (&*active.file, active.index.offset_before(active.first, sequence))
            }
            _ => {
                let (at, from) = self.closed.place_of(sequence).ok_or(ReadError::Lost(sequence))?;
                (self.closed.file(at, &self.directory).map_err(wrong)?, from)
            }
        };
        let mut bytes = vec![0; READ_AT_ONCE];
        let read = file.read_fully(&mut bytes, from).map_err(wrong)?;
        bytes.truncate(read);
        let at = walk_to(&bytes, sequence);
        if let Some(record) = at.and_then(|at| take(file, (&bytes, from), at, sequence, self.salt)) {
            return Ok(record);
        }
        // Something before it is damaged.
        let record = (0..bytes.len()).find_map(|at| take(file, (&bytes, from), at, sequence, self.salt));
        record.ok_or(ReadError::Lost(sequence))
    }

    fn read_unsynced(batches: &VecDeque<Batch>, sequence: Sequence) -> Option<Record> {
        let batch = batches.iter().find(|batch| sequence < batch.next())?;
        let frame = batch.frames().find(|frame| frame.sequence == sequence)?;
        Some(Record { kind: frame.kind, body: frame.body.to_vec() })
    }

    /// The next records of the oldest segment: about `max` bytes, or one record if that has more. None if there is no
    /// segment that could be removed after that.
    ///
    /// When all slices of a segment have been looked at, and what of them still matters has been pushed again and
    /// synced, [`Self::remove_before`] removes it.
    pub fn next_slice(&mut self, max: usize) -> Result<Option<Slice>, Fault> {
        self.finish_removal()?;
        let Some(oldest) = self.closed.oldest() else { return Ok(None) };
        let active = self.active.as_ref().map(|active| active.first);
        let Some(limit) = self.closed.second_first().or(active) else { return Ok(None) };
        let start = Cursor { number: oldest.number, at: length(SEGMENT_HEADER_LEN), next: oldest.first };
        let mut cursor = self.cursor.filter(|cursor| cursor.number == oldest.number).unwrap_or(start);

        let mut slice =
            Slice { bytes: Vec::new(), up_to: cursor.next, lost: Vec::new(), ends_segment: false };
        let mut chunk = self.read_oldest(cursor.at, max.max(HEADER_LEN))?;
        let mut at = 0;
        loop {
            match step(chunk.get(at..).unwrap_or_default(), self.salt, cursor.next, limit) {
                Step::Record(len, next) => {
                    slice.bytes.extend_from_slice(chunk.get(at..at + len).unwrap_or_default());
                    (at, cursor.next) = (at + len, next);
                }
                Step::Own(len, next) => (at, cursor.next) = (at + len, next),
                Step::End => {
                    (slice.ends_segment, cursor.next) = (true, limit);
                    break;
                }
                Step::More(_) if at > 0 => break,
                Step::More(len) if len > chunk.len() => {
                    let more = self.read_oldest(cursor.at, len)?;
                    if more.len() < len {
                        (cursor.at, cursor.next) = self.step_over(cursor, limit, &mut slice)?;
                        break;
                    }
                    chunk = more;
                }
                Step::More(_) | Step::Broken => {
                    cursor.at += length(mem::take(&mut at));
                    (cursor.at, cursor.next) = self.step_over(cursor, limit, &mut slice)?;
                    break;
                }
            }
        }
        cursor.at += length(at);
        slice.up_to = cursor.next;
        self.cursor = Some(cursor);
        Ok(Some(slice))
    }

    fn read_oldest(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = self.closed.file(0, &self.directory)?.read_fully(&mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Finds the record behind what is broken at the cursor, and sets aside what lies between. Says where it is, and
    /// its number.
    fn step_over(
        &mut self,
        cursor: Cursor,
        limit: Sequence,
        slice: &mut Slice,
    ) -> io::Result<(u64, Sequence)> {
        let file = self.closed.file(0, &self.directory)?;
        let len = file.len()?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_fully(&mut bytes, 0)?;
        let first = self.closed.oldest().map_or(cursor.next, |oldest| oldest.first);
        let mut scan = Scan::new(&bytes, self.salt, first, Bound::Next(limit));
        let name = file_name(cursor.number);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { at, frame } if length(at) >= cursor.at => {
                    return Ok((length(at), frame.sequence));
                }
                Found::Damage(damage) if length(damage.at) >= cursor.at => {
                    slice.lost.push(damage.first..damage.next);
                    quarantine::set_aside(&self.directory, &name, &bytes, &damage);
                }
                Found::Record { .. } | Found::Damage(_) => {}
            }
        }
        Ok((len, limit))
    }

    /// Removes the oldest segments, as far as all their records come before this one. It returns without an error when
    /// they are gone for good: the records that say what has ended come after those that say that it is, and must not
    /// be gone alone.
    pub fn remove_before(&mut self, sequence: Sequence) -> Result<(), Fault> {
        loop {
            self.finish_removal()?;
            let active = self.active.as_ref().map(|active| active.first);
            let limit = self.closed.second_first().or(active);
            let Some((oldest, _)) = self.closed.oldest().zip(limit.filter(|limit| *limit <= sequence)) else {
                return Ok(());
            };
            self.directory.remove(&file_name(oldest.number))?;
            self.closed.pop();
            self.removal_is_due = true;
        }
    }

    /// Makes removals durable.
    fn finish_removal(&mut self) -> io::Result<()> {
        while let Some(name) = self.discarded.last() {
            match self.directory.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => drop(self.discarded.pop()),
            }
        }
        if self.removal_is_due {
            self.directory.sync()?;
            self.removal_is_due = false;
        }
        Ok(())
    }
}

fn step(bytes: &[u8], salt: Salt, next: Sequence, limit: Sequence) -> Step {
    if next >= limit {
        return Step::End;
    }
    let Some(header) = FrameHeader::parse(bytes) else {
        return if bytes.len() < HEADER_LEN { Step::More(HEADER_LEN) } else { Step::Broken };
    };
    let len = header.frame_len();
    if len > bytes.len() {
        return Step::More(len);
    }
    let Some((_, body)) = whole_frame(bytes, salt) else { return Step::Broken };
    match Own::parse(header.kind, body) {
        Ok(Some(Own::Mark)) => Step::Own(len, next),
        Ok(Some(Own::Gap)) => Step::Own(len, header.sequence.max(next)),
        Ok(None) if header.sequence < next => Step::Own(len, next),
        Ok(None) if header.sequence == next => Step::Record(len, next.next()),
        Ok(None | Some(Own::Seal { .. })) | Err(()) => Step::Broken,
    }
}

/// Where a record seems to begin in these bytes, which begin with a record.
fn walk_to(bytes: &[u8], sequence: Sequence) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = FrameHeader::parse(bytes.get(at..)?)?;
        if header.sequence == sequence && header.kind < FIRST_RESERVED_KIND {
            return Some(at);
        }
        at = at.saturating_add(header.frame_len());
    }
}

/// The record with this number, if it begins at this place of what was read from a file, and is whole. It may go on
/// behind what was read.
fn take(
    file: &impl File,
    (bytes, from): (&[u8], u64),
    at: usize,
    sequence: Sequence,
    salt: Salt,
) -> Option<Record> {
    let rest = bytes.get(at..)?;
    let header = FrameHeader::parse(rest)?;
    if header.sequence != sequence || header.kind >= FIRST_RESERVED_KIND {
        return None;
    }
    if header.frame_len() <= rest.len() {
        let (header, body) = whole_frame(rest, salt)?;
        return Some(Record { kind: header.kind, body: body.to_vec() });
    }
    let begin = from.saturating_add(length(at));
    let end = begin.saturating_add(length(header.frame_len()));
    if file.len().ok()? < end {
        return None;
    }
    let mut frame = vec![0; header.frame_len()];
    file.read_fully(&mut frame, begin).ok()?;
    whole_frame(&frame, salt)?;
    frame.drain(..HEADER_LEN);
    Some(Record { kind: header.kind, body: frame })
}
