//! The log: segments of records, the last of which is written to.
//!
//! # What is kept
//! [`Log::sync`] returns without an error when all that was pushed before is on the disk. A segment is made, and its
//! name is durable, before a record is written into it; it is sealed and synced before the next is made. So all before
//! the first record of any segment was once on the disk, and if it is not there, that is damage and no crash.
//!
//! # What happens when writing fails
//! After a failed write or sync nobody knows what the file holds: the system may have dropped what it could not write,
//! and a second sync would succeed. The file is given up ([`Log::write_out`] and [`Log::sync`] return an error), and all
//! that was not synced, which is still in memory, is written into a new segment by the next [`Log::write_out`]. That
//! segment gets its name when all of that is in it and on the disk: until then the old one is the last, and whatever of
//! its end can be read still counts. From then on the first record of the new segment says where the old one ends.

mod closed;
pub(super) mod inspect;
mod quarantine;
mod read;
mod recovery;
mod scan;
mod segment;
mod survey;

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, mem};

pub use read::{ReadError, Record, Slice};
pub use recovery::{Cut, Damaged, Recovery};
pub use segment::FORMAT_VERSION;

use self::closed::Closed;
use self::read::Cursor;
use self::segment::{
    Index, MARK_LEN, Own, SEAL_LEN, SEGMENT_HEADER_LEN, SegmentHeader, file_name, unfinished_name,
};
use super::Fault;
use super::checksum::{RunningChecksum, Salt};
use super::directory::{Access, Directory, File, length};
use crate::broker::record::{Batch, Sequence};

/// Bytes of a segment where nothing asks for smaller ones: few enough to have one read at once, many enough that making
/// one does not count.
const SEGMENT_BYTES: u64 = 32 << 20;

/// The smallest segments that are made.
const SMALLEST_SEGMENT: u64 = 64 << 10;

/// Segments for which there is room at least, if the room is bounded.
const SEGMENTS_AT_LEAST: u64 = 16;

/// Bytes that may be written while a sync is under way that does not cover them. A mark says that all before it is on the
/// disk, so that there is none between these: the less there are, the more of a segment is known to have been there.
const BESIDE_SYNC: u64 = 8 << 20;

/// How a log uses its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes that a segment may have; a batch that is larger gets a larger one for itself.
    pub segment_bytes: u64,
    /// Bytes that all segments together may have.
    pub disk_max: Option<u64>,
    /// Something that clients do not know; it salts the checksums of a directory that is new.
    pub seed: u64,
}

impl LogOptions {
    /// Options for a bound of the disk space.
    pub fn new(disk_max: Option<u64>, seed: u64) -> Self {
        let bounded = disk_max.map_or(SEGMENT_BYTES, |max| max / SEGMENTS_AT_LEAST);
        Self { segment_bytes: bounded.clamp(SMALLEST_SEGMENT, SEGMENT_BYTES), disk_max, seed }
    }

    /// Bytes that a batch may have, where the disk space is bounded. A larger one might wait for ever, and everything
    /// behind it.
    pub fn largest_batch(&self) -> Option<u64> {
        self.disk_max.map(|max| max / 4)
    }
}

/// Records on disk.
#[derive(Debug)]
pub struct Log<D: Directory> {
    directory: D,
    options: LogOptions,
    salt: Salt,
    closed: Closed<D::File>,
    active: Option<Active<D::File>>,
    /// The number of the next segment.
    number: u64,
    /// What is not known to be on the disk, oldest first.
    unsynced: VecDeque<Batch>,
    unsynced_bytes: usize,
    /// How many of these have been written into the active segment.
    written_batches: usize,
    written_bytes: usize,
    /// What the sync covers that is under way.
    syncing: Option<Covered>,
    /// All before this record has been written.
    written: Sequence,
    /// All before this record is on the disk.
    synced: Sequence,
    /// The record after all that has been pushed.
    next: Sequence,
    /// How far the oldest segment has been looked through.
    cursor: Option<Cursor>,
    /// Whether the segment that was written to has been given up, so that what is not synced needs another place.
    is_homeless: bool,
    /// Where the synced part of that segment ends, which is the last of those that are closed.
    abandoned_end: Option<u64>,
    /// Files without a record that counts, which could not be removed.
    discarded: Vec<String>,
    /// Whether a segment has been removed, and could come back after a loss of power.
    removal_is_due: bool,
    /// Whether segments may be made though that is more than may be used of the disk.
    may_overdraw: bool,
}

/// A sync of what has been written. Whoever has it runs it, on any thread, while more is written.
#[derive(Debug)]
pub struct Syncing<F>(Arc<F>);

impl<F: File> Syncing<F> {
    /// Returns when it is done, what [`Log::end_sync`] has to be told.
    pub fn run(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// What a sync covers.
#[derive(Debug, Clone, Copy)]
struct Covered {
    /// How many of the batches that are not known to be on the disk.
    batches: usize,
    /// Where they end in the segment.
    end: u64,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active<F> {
    file: Arc<F>,
    number: u64,
    first: Sequence,
    /// The record that comes next into it.
    next: Sequence,
    /// Where it comes.
    end: u64,
    /// Where that ends which is on the disk.
    synced_end: u64,
    /// Bytes that it may have.
    capacity: u64,
    count: u32,
    sum: RunningChecksum,
    index: Index,
    /// Whether something has been synced since the last mark.
    mark_is_due: bool,
}

impl<D: Directory> Log<D> {
    /// Takes records over. They are written by the next [`Self::write_out`]. Their numbers follow those of the records
    /// before them; where they do not, the log remembers that there is a gap.
    ///
    /// # Panics
    /// If records with such numbers have been pushed before: a fault of ours.
    pub fn push(&mut self, batch: Batch) {
        assert!(batch.first() >= self.next, "record {} is not new", batch.first());
        if batch.is_empty() {
            return;
        }
        self.next = batch.next();
        self.unsynced_bytes += batch.len();
        self.unsynced.push_back(batch);
    }

    /// Writes what has been pushed and what could not be written before: all of it, unless a sync is under way. Then some
    /// of it may have to wait for the next call after that.
    pub fn write_out(&mut self) -> Result<(), Fault> {
        if self.is_homeless {
            if self.syncing.is_some() {
                return Ok(());
            }
            self.rehouse()?;
        }
        while let Some(batch) = self.unsynced.get(self.written_batches) {
            let len = length(batch.len());
            let is_full = |active: &Active<D::File>| !active.has_room(len) && active.count > 0;
            // To seal is to sync, and of two syncs of a file only one may hear that it failed.
            let must_wait = |active: &Active<D::File>| is_full(active) || active.unsynced() > BESIDE_SYNC;
            if self.syncing.is_some() && self.active.as_ref().is_none_or(must_wait) {
                break;
            }
            if self.active.as_ref().is_some_and(is_full) {
                self.seal()?;
                continue;
            }
            if self.active.is_none() {
                self.active = Some(self.make_segment(len)?);
            }
            let (Some(active), Some(batch)) = (&mut self.active, self.unsynced.get_mut(self.written_batches))
            else {
                break;
            };
            if let Err(fault) = active.write(batch, self.salt) {
                self.give_up();
                return Err(fault);
            }
            self.written_batches += 1;
            self.written_bytes += batch.len();
            self.written = self.written.max(batch.next());
        }
        Ok(())
    }

    /// Returns when all that has been written is on the disk. No other sync may be under way.
    pub fn sync(&mut self) -> Result<(), Fault> {
        match self.begin_sync() {
            Some(syncing) => self.end_sync(syncing.run()),
            None => Ok(()),
        }
    }

    /// Begins to make durable what has been written. None if there is nothing, or such a sync is under way.
    pub fn begin_sync(&mut self) -> Option<Syncing<D::File>> {
        if self.written_batches == 0 || self.syncing.is_some() {
            return None;
        }
        let active = self.active.as_ref()?;
        self.syncing = Some(Covered { batches: self.written_batches, end: active.end });
        Some(Syncing(Arc::clone(&active.file)))
    }

    /// The sync is over that was begun, in this way.
    pub fn end_sync(&mut self, result: io::Result<()>) -> Result<(), Fault> {
        let Some(covered) = self.syncing.take() else { return Ok(()) };
        // If the segment has been given up meanwhile, all that this covers is written again elsewhere.
        let Some(active) = &mut self.active else { return Ok(()) };
        if let Err(error) = result {
            self.give_up();
            return Err(error.into());
        }
        active.synced_end = covered.end;
        active.mark_is_due = active.end == covered.end;
        self.release(covered.batches);
        Ok(())
    }

    /// So many batches have been synced: they need not be remembered.
    fn release(&mut self, batches: usize) {
        self.written_batches -= batches;
        for batch in self.unsynced.drain(..batches) {
            self.unsynced_bytes -= batch.len();
            self.written_bytes -= batch.len();
            self.synced = batch.next();
        }
    }

    /// All before this record has been written.
    pub const fn written(&self) -> Sequence {
        self.written
    }

    /// All before this record is on the disk.
    pub const fn synced(&self) -> Sequence {
        self.synced
    }

    /// The number that the next record will have.
    pub const fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// Bytes that have been pushed and are not known to be on the disk.
    pub const fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// Bytes that have been pushed and not written, or not where they are safe.
    pub const fn unwritten_bytes(&self) -> usize {
        self.unsynced_bytes - self.written_bytes
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.is_some())
    }

    /// Bytes that all segments take on the disk.
    pub fn bytes(&self) -> u64 {
        self.closed.bytes() + self.active.as_ref().map_or(0, |active| active.capacity)
    }

    /// Bytes of memory that it takes to find records.
    pub fn index_bytes(&self) -> usize {
        self.closed.index_bytes() + self.active.as_ref().map_or(0, |active| active.index.bytes())
    }

    /// Whether segments may be made from now on though all together have more than [`LogOptions::disk_max`] then. That
    /// is right where more can be removed soon, and for that something must be written first.
    pub const fn allow_overdraft(&mut self, allowed: bool) {
        self.may_overdraw = allowed;
    }

    /// How it uses its directory.
    pub const fn options(&self) -> &LogOptions {
        &self.options
    }

    /// Bytes that can still be written, as far as that is known.
    pub fn room(&self) -> Option<u64> {
        let free = self.directory.free_space().ok().flatten();
        let allowed = self.options.disk_max.map(|max| max.saturating_sub(self.bytes()));
        [free, allowed].into_iter().flatten().min()
    }

    /// Writes and syncs all, and says so in the file, so that the next start has nothing to find out. The log can be
    /// used again after that. No sync may be under way.
    pub fn rest(&mut self) -> Result<(), Fault> {
        self.write_out()?;
        self.sync()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        if let Err(fault) = active.rest(self.salt) {
            self.give_up();
            return Err(fault);
        }
        Ok(())
    }

    /// Makes a segment that takes at least so many bytes of records.
    fn make_segment(&mut self, len: u64) -> Result<Active<D::File>, Fault> {
        let number = self.number;
        self.number += 1;
        let made = self.make_file(number, &file_name(number), len).and_then(|active| {
            active.file.sync_data()?;
            self.directory.sync()?;
            Ok(active)
        });
        if made.is_err() {
            self.discard(file_name(number));
        }
        made
    }

    /// Makes the file of a segment under any name.
    fn make_file(&self, number: u64, name: &str, len: u64) -> Result<Active<D::File>, Fault> {
        let around = length(SEGMENT_HEADER_LEN) + 2 * MARK_LEN + SEAL_LEN;
        let capacity = self.options.segment_bytes.max(len.saturating_add(around));
        if let Some(max) = self.options.disk_max
            && !self.may_overdraw
            && self.bytes().saturating_add(capacity) > max
        {
            return Err(Fault::Full(format!("--disk-max={max} has no room for one more segment")));
        }
        let file = self.directory.create(name)?;
        file.allocate(capacity)?;
        let header = SegmentHeader { salt: self.salt, first: self.synced };
        file.write_all_at(&header.to_bytes(), 0)?;
        Ok(Active::new(file, number, self.synced, capacity))
    }

    /// Finds a new place for what has been written to a segment that was given up.
    fn rehouse(&mut self) -> Result<(), Fault> {
        let number = self.number;
        self.number += 1;
        let (name, unfinished) = (file_name(number), unfinished_name(number));
        let made = self.make_file(number, &unfinished, length(self.unsynced_bytes)).and_then(|mut active| {
            for batch in &mut self.unsynced {
                active.write(batch, self.salt)?;
            }
            active.file.sync_data()?;
            self.directory.rename(&unfinished, &name)?;
            self.directory.sync()?;
            Ok(active)
        });
        let mut active = match made {
            Ok(active) => active,
            Err(fault) => {
                // It has one of the two. Under the second it is complete, and superseded by the next that is made, which
                // begins with the same record.
                self.discard(unfinished);
                self.discard(name);
                return Err(fault);
            }
        };
        active.synced_end = active.end;
        active.mark_is_due = true;
        self.active = Some(active);
        (self.written_batches, self.written_bytes) = (self.unsynced.len(), self.unsynced_bytes);
        self.release(self.written_batches);
        self.written = self.synced;
        self.is_homeless = false;
        self.tidy_abandoned();
        Ok(())
    }

    /// Removes what does not count of the segment that was given up. If that fails it is passed over.
    fn tidy_abandoned(&mut self) {
        let Some(end) = self.abandoned_end.take() else { return };
        let Some(number) = self.closed.newest_number() else { return };
        if end == length(SEGMENT_HEADER_LEN) {
            self.closed.pop_newest();
            self.discard(file_name(number));
            return;
        }
        let file = self.directory.open(&file_name(number), Access::Write);
        if file.and_then(|file| file.truncate(end)).is_ok() {
            self.closed.cut_newest(end);
        }
    }

    /// Ends the active segment.
    fn seal(&mut self) -> Result<(), Fault> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if let Err(fault) = active.seal(self.salt) {
            self.give_up();
            return Err(fault);
        }
        self.release(self.written_batches);
        if let Some(active) = self.active.take() {
            let Active { file, number, first, end, index, .. } = active;
            self.closed.push(number, first, end, index, Some(file));
        }
        Ok(())
    }

    /// Removes a file without a record that counts, if not now, then before any segment is removed that comes behind it:
    /// should it come back alone, those would be missed.
    fn discard(&mut self, name: String) {
        self.removal_is_due = true;
        if self.directory.remove(&name).is_err() {
            self.discarded.push(name);
        }
    }

    /// Writes no more to the active segment, as nobody knows what happens to it.
    fn give_up(&mut self) {
        (self.written_batches, self.written_bytes) = (0, 0);
        self.is_homeless = true;
        let Some(active) = self.active.take() else { return };
        let Active { file, number, first, end, synced_end, index, .. } = active;
        self.abandoned_end = Some(synced_end);
        self.closed.push(number, first, file.len().unwrap_or(end), index, Some(file));
    }
}

impl<F: File> Active<F> {
    fn new(file: F, number: u64, first: Sequence, capacity: u64) -> Self {
        let end = length(SEGMENT_HEADER_LEN);
        Self {
            file: Arc::new(file),
            number,
            first,
            next: first,
            end,
            synced_end: end,
            capacity,
            count: 0,
            sum: RunningChecksum::default(),
            index: Index::default(),
            mark_is_due: false,
        }
    }

    /// Whether so many bytes of records fit in.
    fn has_room(&self, len: u64) -> bool {
        let own = 2 * MARK_LEN + SEAL_LEN;
        self.end.saturating_add(len).saturating_add(own) <= self.capacity
    }

    /// Bytes that are not known to be on the disk.
    const fn unsynced(&self) -> u64 {
        self.end - self.synced_end
    }

    fn write(&mut self, batch: &mut Batch, salt: Salt) -> Result<(), Fault> {
        if mem::take(&mut self.mark_is_due) {
            self.write_own(Own::Mark, salt)?;
        }
        if batch.first() > self.next {
            self.next = batch.first();
            self.write_own(Own::Gap, salt)?;
        }
        let mut at = usize::try_from(self.end).unwrap_or(usize::MAX);
        batch.seal(|header, body| {
            let checksum = salt.checksum(&header, body);
            self.sum.add(checksum);
            self.count = self.count.saturating_add(1);
            self.index.note(self.first, header.sequence, at);
            at = at.saturating_add(header.frame_len());
            checksum
        });
        self.file.write_all_at(batch.bytes(), self.end)?;
        self.end += length(batch.len());
        self.next = batch.next();
        Ok(())
    }

    fn write_own(&mut self, own: Own, salt: Salt) -> Result<(), Fault> {
        let bytes = own.to_bytes(self.next, salt);
        self.file.write_all_at(&bytes, self.end)?;
        self.end += length(bytes.len());
        Ok(())
    }

    fn seal(&mut self, salt: Salt) -> Result<(), Fault> {
        self.write_own(Own::Seal { count: self.count, sum: self.sum }, salt)?;
        // Gives back what was reserved and not used.
        self.file.truncate(self.end)?;
        self.file.sync_data()?;
        self.index.finish();
        Ok(())
    }

    fn rest(&mut self, salt: Salt) -> Result<(), Fault> {
        if mem::take(&mut self.mark_is_due) {
            self.write_own(Own::Mark, salt)?;
        }
        self.file.truncate(self.end)?;
        self.file.sync_data()?;
        self.synced_end = self.end;
        Ok(())
    }
}
