//! Segments that are no longer written to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::segment::{Index, file_name};
use crate::broker::record::Sequence;
use crate::storage::directory::{Access, Directory};

/// Files that are kept open for reading.
const OPEN_FILES: usize = 64;

/// Segments that are no longer written to, oldest first.
#[derive(Debug)]
pub(super) struct Closed<F> {
    segments: VecDeque<Segment<F>>,
    bytes: u64,
    index_bytes: usize,
    open: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) number: u64,
    pub(super) first: Sequence,
    pub(super) len: u64,
    pub(super) index: Index,
    file: Option<Arc<F>>,
}

impl<F> Default for Closed<F> {
    fn default() -> Self {
        Self { segments: VecDeque::new(), bytes: 0, index_bytes: 0, open: 0 }
    }
}

impl<F> Closed<F> {
    /// Adds the newest.
    pub(super) fn push(
        &mut self,
        number: u64,
        first: Sequence,
        len: u64,
        index: Index,
        file: Option<Arc<F>>,
    ) {
        self.bytes += len;
        self.index_bytes += index.bytes();
        self.open += usize::from(file.is_some());
        self.segments.push_back(Segment { number, first, len, index, file });
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn index_bytes(&self) -> usize {
        self.index_bytes
    }

    pub(super) fn oldest(&self) -> Option<&Segment<F>> {
        self.segments.front()
    }

    /// The first record of the segment behind the oldest, if that is closed too.
    pub(super) fn second_first(&self) -> Option<Sequence> {
        self.segments.get(1).map(|segment| segment.first)
    }

    /// Forgets the oldest.
    pub(super) fn pop(&mut self) {
        let segment = self.segments.pop_front();
        self.forget(segment);
    }

    pub(super) fn newest_number(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.number)
    }

    /// Forgets the newest.
    pub(super) fn pop_newest(&mut self) {
        let segment = self.segments.pop_back();
        self.forget(segment);
    }

    fn forget(&mut self, segment: Option<Segment<F>>) {
        if let Some(segment) = segment {
            self.bytes -= segment.len;
            self.index_bytes -= segment.index.bytes();
            self.open -= usize::from(segment.file.is_some());
        }
    }

    /// The newest has been cut.
    pub(super) fn cut_newest(&mut self, len: u64) {
        if let Some(segment) = self.segments.back_mut() {
            self.bytes -= segment.len.saturating_sub(len);
            segment.len = segment.len.min(len);
        }
    }

    /// Where to look for a record: which segment, and from where on.
    pub(super) fn place_of(&self, sequence: Sequence) -> Option<(usize, u64)> {
        let behind = self.segments.partition_point(|segment| segment.first <= sequence);
        let at = behind.checked_sub(1)?;
        let segment = self.segments.get(at)?;
        Some((at, segment.index.offset_before(segment.first, sequence)))
    }

    /// The file of a segment, opened if need be.
    pub(super) fn file<D: Directory<File = F>>(&mut self, at: usize, directory: &D) -> io::Result<&F> {
        if self.open >= OPEN_FILES && self.segments.get(at).is_some_and(|segment| segment.file.is_none()) {
            self.segments.iter_mut().for_each(|segment| segment.file = None);
            self.open = 0;
        }
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let segment = self.segments.get_mut(at).ok_or_else(missing)?;
        if segment.file.is_none() {
            let file = directory.open(&file_name(segment.number), Access::Read)?;
            segment.file = Some(Arc::new(file));
            self.open += 1;
        }
        segment.file.as_deref().ok_or_else(missing)
    }
}
