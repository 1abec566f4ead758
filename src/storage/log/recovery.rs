//! Opening a log: whatever has happened to it, it opens.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::closed::Closed;
use super::scan::{Bound, Damage, Found, Scan, Tail};
use super::segment::{Index, SegmentHeader};
use super::survey::{Contents, FORMAT_FILE, FormatFile, Part, Survey, open};
use super::{Active, Log, LogOptions, quarantine};
use crate::broker::record::frame::{FIRST_RESERVED_KIND, Frames};
use crate::broker::record::{Batch, Frame, Sequence};
use crate::storage::checksum::Salt;
use crate::storage::directory::{Access, Directory, File, length};
use crate::storage::{Fault, StorageError};

/// Damaged places that are described; more are only counted.
const DESCRIBED: usize = 1_000;

/// What was found at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many records.
    pub records: u64,
    /// In how many segments.
    pub segments: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// What is wrong with the file that says which format the directory has. It has been written again.
    pub format: Option<&'static str>,
    /// What a crash had left half written at the end.
    pub cut: Option<Cut>,
    /// What is damaged, up to a thousand places.
    pub damaged: Vec<Damaged>,
    /// How many places are damaged.
    pub damaged_places: u64,
    /// Why the end of the log could not be made fit to go on behind it. The log writes elsewhere, once it can.
    pub trouble: Option<String>,
}

/// The torn end of a log, cut off: what a crash had left half written. Nobody was told that it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The name of the file.
    pub file: String,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were not zero, or before one that was not.
    pub bytes: u64,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The name of the file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes; 0 where records are missing.
    pub len: u64,
    /// The first record that is lost.
    pub first: Sequence,
    /// The record behind those that are lost; the same where none is.
    pub next: Sequence,
    /// What kind of record the first was, if that can still be told.
    pub kind: Option<u8>,
    /// What is wrong.
    pub reason: String,
}

impl Damaged {
    pub(crate) fn new(file: &str, damage: &Damage, contents: &Contents) -> Self {
        let &Damage { at, len, first, next, kind, reason } = damage;
        let reason = contents.why_unreadable(&(at..at + len)).unwrap_or(reason).to_owned();
        Self { file: file.to_owned(), offset: length(at), len: length(len), first, next, kind, reason }
    }

    /// A segment that is no part of the log. It stays where it is.
    pub(crate) fn stray(part: &Part) -> Self {
        let first = part.first.unwrap_or(Sequence::FIRST);
        let reason =
            "it begins before the segment before it does, as a copy of an old one; it is passed over";
        let (file, reason) = (part.name.clone(), reason.to_owned());
        Self { file, offset: 0, len: 0, first, next: first, kind: None, reason }
    }
}

impl<D: Directory> Log<D> {
    /// Opens the log in a directory, and hands each record that is in it to `visit`, in the order of their numbers.
    ///
    /// A torn end is cut off. Damaged records are set aside, in the directory below named `quarantine`, and passed over.
    pub fn open(
        directory: D,
        options: LogOptions,
        visit: &mut dyn FnMut(Frame<'_>),
    ) -> Result<(Self, Recovery), StorageError> {
        let survey = Survey::of(&directory)?;
        let mut log =
            Self::empty(directory, options, survey.salt.unwrap_or_else(|| Salt::from_seed(options.seed)));
        if survey.format != FormatFile::Sound {
            // The segments say it as well: it can be tried again at the next start.
            let _ = log.write_format();
        }
        let recovery = Recovery { format: survey.format.trouble(), ..Recovery::default() };
        for name in &survey.unfinished {
            // What was to be in it is still where it was.
            log.discard(name.clone());
        }
        let mut opening = Opening { log, visit, contents: Contents::default(), recovery };
        for stray in &survey.strays {
            opening.recovery.damaged_places += 1;
            opening.recovery.damaged.push(Damaged::stray(stray));
        }
        for (index, part) in survey.parts.iter().enumerate() {
            opening.take(part, survey.bound(index))?;
        }
        let Opening { mut log, mut recovery, .. } = opening;
        // No file gets the name of one that is there.
        let highest = survey.strays.iter().map(|stray| stray.number.saturating_add(1)).max();
        log.number = log.number.max(highest.unwrap_or(0));
        log.written = log.next;
        if log.unsynced.is_empty() {
            log.synced = log.next;
        }
        recovery.segments = log.segments();
        recovery.bytes = log.bytes();
        Ok((log, recovery))
    }

    fn empty(directory: D, options: LogOptions, salt: Salt) -> Self {
        let first = Sequence::FIRST;
        Self {
            directory,
            options,
            salt,
            closed: Closed::default(),
            active: None,
            number: 1,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            written_batches: 0,
            written_bytes: 0,
            syncing: None,
            written: first,
            synced: first,
            next: first,
            is_homeless: false,
            discarded: Vec::new(),
            abandoned_end: None,
            cursor: None,
            removal_is_due: false,
            may_overdraw: false,
        }
    }

    fn write_format(&self) -> Result<(), Fault> {
        // What is there under this name is damaged.
        let _ = self.directory.remove(FORMAT_FILE);
        let file = self.directory.create(FORMAT_FILE)?;
        let header = SegmentHeader { salt: self.salt, first: Sequence::new(0) };
        file.write_all_at(&header.to_bytes(), 0)?;
        file.sync_data()?;
        Ok(self.directory.sync()?)
    }
}

/// A log that is being opened.
struct Opening<'v, D: Directory> {
    log: Log<D>,
    visit: &'v mut dyn FnMut(Frame<'_>),
    /// What the segment holds that is being read.
    contents: Contents,
    recovery: Recovery,
}

impl<D: Directory> Opening<'_, D> {
    /// Reads a segment and takes it over.
    fn take(&mut self, part: &Part, bound: Bound) -> Result<(), StorageError> {
        self.log.number = part.number.saturating_add(1);
        self.contents.read_any(&self.log.directory, &part.name)?;
        // The rest of `self` is written to while the segment is read.
        let contents = mem::take(&mut self.contents);
        match part.first {
            Some(first) => self.read(part, first, bound, &contents)?,
            None => self.put_by(part, &contents),
        }
        self.contents = contents;
        Ok(())
    }

    fn read(
        &mut self,
        part: &Part,
        first: Sequence,
        bound: Bound,
        contents: &Contents,
    ) -> Result<(), StorageError> {
        if !part.has_header {
            self.meet(part, &Damage::of_header(first), contents);
        }
        let mut index = Index::default();
        let mut scan = Scan::new(&contents.bytes, self.log.salt, first.max(self.log.next), bound);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { at, frame } => {
                    index.note(first, frame.sequence, at);
                    self.recovery.records += 1;
                    (self.visit)(frame);
                }
                Found::Damage(damage) => self.meet(part, &damage, contents),
            }
        }
        self.log.next = scan.next_sequence();
        match bound {
            Bound::Next(_) => self.close(part, first, &scan, contents, index),
            Bound::Last => self.go_on(part, first, &scan, contents, index)?,
        }
        Ok(())
    }

    /// Takes over a segment behind which there is another.
    fn close(
        &mut self,
        part: &Part,
        first: Sequence,
        scan: &Scan<'_>,
        contents: &Contents,
        mut index: Index,
    ) {
        index.finish();
        let mut len = length(contents.bytes.len());
        if matches!(scan.tail(), Tail::Abandoned(1..)) {
            // What is there does not count; but it is better gone.
            let end = length(scan.end());
            let file = self.log.directory.open(&part.name, Access::Write);
            if file.and_then(|file| file.truncate(end)).is_ok() {
                len = end;
            }
        }
        self.log.closed.push(part.number, first, len, index, None);
    }

    /// Takes over the last segment, to go on behind its end.
    fn go_on(
        &mut self,
        part: &Part,
        first: Sequence,
        scan: &Scan<'_>,
        contents: &Contents,
        index: Index,
    ) -> Result<(), StorageError> {
        let end = length(scan.end());
        if let Tail::Torn(bytes) = scan.tail() {
            self.recovery.cut = Some(Cut { file: part.name.clone(), offset: end, bytes: length(bytes) });
        }
        let (proven, proven_at) = scan.proven();
        let unproven = contents.bytes.get(proven_at..scan.end()).unwrap_or_default();
        let file = open(&self.log.directory, &part.name, Access::Write)?.map_err(Fault::from);
        let file = match file.and_then(|file| self.secure(file, end, unproven, proven_at, contents)) {
            Ok(file) => file,
            Err(fault) => {
                // As after any failed write: all that may not be on the disk gets another place.
                self.recovery.trouble = Some(format!("{}: {fault}", part.name));
                self.log.synced = proven;
                self.log.is_homeless = true;
                self.log.unsynced = batches(unproven);
                self.log.unsynced_bytes = self.log.unsynced.iter().map(Batch::len).sum();
                self.log.closed.push(part.number, first, length(contents.bytes.len()), index, None);
                return Ok(());
            }
        };
        if scan.tail() == Tail::Sealed || !part.has_header {
            self.log.closed.push(part.number, first, end, index, Some(Arc::new(file)));
            return Ok(());
        }
        // Where no room can be reserved, a new segment is tried for.
        let capacity = self.log.options.segment_bytes.max(end);
        let capacity = if file.allocate(capacity).is_ok() { capacity } else { end };
        let (count, sum) = scan.sum();
        self.log.active = Some(Active {
            next: scan.next_sequence(),
            end,
            synced_end: end,
            count,
            sum,
            index,
            mark_is_due: !unproven.is_empty(),
            ..Active::new(file, part.number, first, capacity)
        });
        Ok(())
    }

    /// Makes the last segment end where its records do, and makes those durable of which nobody knows whether they are.
    /// That they can be read says nothing: the system may have failed to write them and kept them in memory all the
    /// same. So they are written again, in their own place.
    fn secure(
        &self,
        file: D::File,
        end: u64,
        unproven: &[u8],
        unproven_at: usize,
        contents: &Contents,
    ) -> Result<D::File, Fault> {
        let is_cut = end < length(contents.bytes.len());
        if is_cut {
            file.truncate(end)?;
        }
        if is_cut || !unproven.is_empty() {
            file.write_all_at(unproven, length(unproven_at))?;
            file.sync_data()?;
        }
        // The last run may have ended before it could make sure of the file's name.
        self.log.directory.sync()?;
        Ok(file)
    }

    /// A segment in which nothing can be found. If nothing was ever written to it, it is not missed.
    fn put_by(&mut self, part: &Part, contents: &Contents) {
        if contents.is_unused() {
            self.log.discard(part.name.clone());
            return;
        }
        let next = self.log.next;
        self.meet(part, &Damage::of_all(contents, next), contents);
        self.log.closed.push(part.number, next, length(contents.bytes.len()), Index::default(), None);
    }

    /// Reports a damaged place and sets it aside.
    fn meet(&mut self, part: &Part, damage: &Damage, contents: &Contents) {
        self.recovery.damaged_places += 1;
        if self.recovery.damaged.len() < DESCRIBED {
            self.recovery.damaged.push(Damaged::new(&part.name, damage, contents));
        }
        if damage.len > 0 {
            quarantine::set_aside(&self.log.directory, &part.name, &contents.bytes, damage);
        }
    }
}

/// The broker's records in these bytes, as they were before they were written.
fn batches(bytes: &[u8]) -> VecDeque<Batch> {
    let mut batches: VecDeque<Batch> = VecDeque::new();
    for frame in Frames::new(bytes).filter(|frame| frame.kind < FIRST_RESERVED_KIND) {
        if batches.back().is_none_or(|batch| batch.next() != frame.sequence) {
            batches.push_back(Batch::new(frame.sequence));
        }
        if let Some(batch) = batches.back_mut() {
            batch.append(frame.kind, |body| body.extend_from_slice(frame.body));
        }
    }
    batches
}
