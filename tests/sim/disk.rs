//! The disk on which a broker's records stay: what is taken is written and synced later, and of what is not synced a
//! loss of power leaves as much as the seed says.

use std::collections::VecDeque;

use mqtt_broker::broker::record::frame::{Frames, HEADER_LEN};
use mqtt_broker::broker::record::{Batch, Frame, Sequence};

use crate::arb::Choices;

#[derive(Debug)]
pub(crate) struct Disk {
    /// Each record in its frame, the oldest first.
    records: VecDeque<(Sequence, Vec<u8>)>,
    /// The number of the next record.
    next: Sequence,
    written: Sequence,
    synced: Sequence,
    /// All before this record has been handed out to be made unnecessary.
    looked_through: Sequence,
}

/// How a broker comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// It is killed: what was written stays.
    Killed,
    /// The power fails: what was synced stays.
    PowerLost,
}

impl Disk {
    pub(crate) const fn new() -> Self {
        let first = Sequence::FIRST;
        Self { records: VecDeque::new(), next: first, written: first, synced: first, looked_through: first }
    }

    /// Takes what is to be written.
    pub(crate) fn take(&mut self, batch: &Batch) {
        assert_eq!(batch.first(), self.next, "no record is left out");
        let mut bytes = batch.bytes();
        for frame in batch.frames() {
            let (record, rest) = bytes.split_at(HEADER_LEN + frame.body.len());
            self.records.push_back((frame.sequence, record.to_vec()));
            bytes = rest;
        }
        self.next = batch.next();
    }

    /// Writes some of what was taken, or all.
    pub(crate) fn write(&mut self, choices: &mut Choices<'_>) {
        let left = self.next.since(self.written);
        let count = if choices.chance(1, 3) { choices.within(0..=left) } else { left };
        self.written = self.written.plus(count);
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.written;
    }

    /// Writes and syncs everything.
    pub(crate) fn flush(&mut self) {
        self.written = self.next;
        self.synced = self.next;
    }

    pub(crate) const fn next(&self) -> Sequence {
        self.next
    }

    pub(crate) const fn written(&self) -> Sequence {
        self.written
    }

    pub(crate) const fn synced(&self) -> Sequence {
        self.synced
    }

    /// All records before `end` that are there.
    pub(crate) fn records(&self, end: Sequence) -> impl Iterator<Item = Frame<'_>> {
        let records = self.records.iter().take_while(move |(sequence, _)| *sequence < end);
        records.flat_map(|(_, bytes)| Frames::new(bytes))
    }

    /// Reads a record that has been taken, whether it has been written or not.
    pub(crate) fn read(&self, sequence: Sequence) -> Option<(u8, Vec<u8>)> {
        let frame = self.records(self.next).find(|frame| frame.sequence == sequence)?;
        Some((frame.kind, frame.body.to_vec()))
    }

    /// The next `count` of the oldest records.
    pub(crate) fn oldest(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (from, synced) = (self.looked_through, self.synced);
        let next = self.records.iter().filter(|(sequence, _)| *sequence >= from && *sequence < synced);
        for (sequence, record) in next.take(count) {
            bytes.extend_from_slice(record);
            self.looked_through = sequence.next();
        }
        bytes
    }

    /// Removes the oldest records.
    pub(crate) fn remove_before(&mut self, end: Sequence) {
        while self.records.front().is_some_and(|(sequence, _)| *sequence < end) {
            self.records.pop_front();
        }
    }

    /// The broker has come to its end. The record behind all that is left.
    pub(crate) fn crash(&mut self, how: Crash, choices: &mut Choices<'_>) -> Sequence {
        let certain = match how {
            Crash::Killed => self.written,
            Crash::PowerLost => self.synced,
        };
        let left = certain.plus(choices.within(0..=self.next.since(certain)));
        self.records.retain(|(sequence, _)| *sequence < left);
        (self.next, self.written, self.synced) = (left, left, left);
        self.looked_through = Sequence::FIRST;
        left
    }
}
