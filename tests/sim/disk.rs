//! The disk on which a broker's records stay: what is taken is written and synced later, and of what is not synced a
//! loss of power leaves as much as the seed says.

use std::collections::VecDeque;

use mqtt_broker::broker::Room;
use mqtt_broker::broker::record::frame::{Frames, HEADER_LEN};
use mqtt_broker::broker::record::{Batch, Frame, Sequence};

use crate::arb::Choices;
#[cfg(feature = "server")]
use crate::log_disk::LogDisk;

/// Where the records are.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Each record in its frame, the oldest first.
    records: VecDeque<(Sequence, Vec<u8>)>,
    /// All records that there ever were, also those that have been made unnecessary.
    history: Vec<(Sequence, Vec<u8>)>,
    /// The number of the next record.
    next: Sequence,
    written: Sequence,
    synced: Sequence,
    /// All before this record has been handed out to be made unnecessary.
    looked_through: Sequence,
    /// All before the first can be removed once all before the second is synced.
    removable: Option<(Sequence, Sequence)>,
    /// The log, if it is a real one: then it decides what is there.
    #[cfg(feature = "server")]
    log: Option<Box<LogDisk>>,
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
    /// An ideal disk.
    pub(crate) const fn new() -> Self {
        let first = Sequence::FIRST;
        Self {
            records: VecDeque::new(),
            history: Vec::new(),
            next: first,
            written: first,
            synced: first,
            looked_through: first,
            removable: None,
            #[cfg(feature = "server")]
            log: None,
        }
    }

    /// A bad one, with the real log on it; an ideal one where there is no log in what is built.
    pub(crate) fn with_log(choices: &mut Choices<'_>) -> Self {
        #[cfg(feature = "server")]
        return Self { log: Some(Box::new(LogDisk::new(choices))), ..Self::new() };
        #[cfg(not(feature = "server"))]
        return (choices, Self::new()).1;
    }

    /// Takes what is to be written.
    pub(crate) fn take(&mut self, batch: Batch) {
        assert_eq!(batch.first(), self.next, "no record is left out");
        let mut bytes = batch.bytes();
        for frame in batch.frames() {
            let (record, rest) = bytes.split_at(HEADER_LEN + frame.body.len());
            self.records.push_back((frame.sequence, record.to_vec()));
            self.history.push((frame.sequence, record.to_vec()));
            bytes = rest;
        }
        self.next = batch.next();
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            log.push(batch);
        }
    }

    /// Writes some of what was taken, or all.
    pub(crate) fn write(&mut self, choices: &mut Choices<'_>) {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            log.write();
            self.written = log.written();
            return;
        }
        let left = self.next.since(self.written);
        let count = if choices.chance(1, 3) { choices.within(0..=left) } else { left };
        self.written = self.written.plus(count);
    }

    pub(crate) fn sync(&mut self) {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            log.sync();
            (self.written, self.synced) = (log.written(), log.synced());
            return;
        }
        self.synced = self.written;
        if let Some((before, once)) = self.removable
            && once <= self.synced
        {
            self.remove_before(before);
        }
    }

    /// Writes and syncs everything, as far as it can.
    pub(crate) fn flush(&mut self) {
        self.written = self.next;
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            log.write();
        }
        self.sync();
    }

    /// From now on it is a good one.
    pub(crate) fn mend(&mut self) {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            log.mend();
        }
    }

    /// How the disk is, as far as anybody knows; `None`: nobody does.
    pub(crate) fn room(&self) -> Option<Room> {
        #[cfg(feature = "server")]
        return self.log.as_ref().map(|log| log.room());
        #[cfg(not(feature = "server"))]
        return None;
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

    /// All records that there ever were, as if none had been removed.
    pub(crate) fn history(&self) -> impl Iterator<Item = Frame<'_>> {
        self.history.iter().flat_map(|(_, bytes)| Frames::new(bytes))
    }

    /// Reads a record that has been taken, whether it has been written or not.
    pub(crate) fn read(&mut self, sequence: Sequence) -> Option<(u8, Vec<u8>)> {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            return log.read(sequence);
        }
        let frame = self.records(self.next).find(|frame| frame.sequence == sequence)?;
        Some((frame.kind, frame.body.to_vec()))
    }

    /// About so many of the oldest records.
    pub(crate) fn oldest(&mut self, count: usize) -> Vec<u8> {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            return log.oldest(count * 100);
        }
        let mut bytes = Vec::new();
        let (from, synced) = (self.looked_through, self.synced);
        let next = self.records.iter().filter(|(sequence, _)| *sequence >= from && *sequence < synced);
        for (sequence, record) in next.take(count) {
            bytes.extend_from_slice(record);
            self.looked_through = sequence.next();
        }
        bytes
    }

    /// The oldest records, which were handed out, have been made unnecessary by those that have been taken since.
    pub(crate) fn made_unnecessary(&mut self, before: Option<Sequence>) {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            return log.looked_through(self.next);
        }
        if let Some(before) = before {
            self.removable = Some((before, self.next));
        }
    }

    fn remove_before(&mut self, end: Sequence) {
        self.removable = None;
        while self.records.front().is_some_and(|(sequence, _)| *sequence < end) {
            self.records.pop_front();
        }
    }

    /// The broker has come to its end. The record behind all that is left.
    pub(crate) fn crash(&mut self, how: Crash, choices: &mut Choices<'_>) -> Sequence {
        let left = self.lose(how, choices);
        (self.next, self.written, self.synced) = (left, left, left);
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            // What can be read need not be durable.
            self.synced = log.synced();
        }
        self.looked_through = Sequence::FIRST;
        self.removable = None;
        self.history.retain(|(sequence, _)| *sequence < left);
        left
    }

    fn lose(&mut self, how: Crash, choices: &mut Choices<'_>) -> Sequence {
        #[cfg(feature = "server")]
        if let Some(log) = &mut self.log {
            let (found, left) = log.crash(how);
            let first = found.front().map_or(left, |(first, ..)| *first);
            self.records.retain(|(sequence, _)| *sequence >= first && *sequence < left);
            let there = self.records(left).map(|frame| (frame.sequence, frame.kind, frame.body));
            let found = found.iter().map(|(sequence, kind, body)| (*sequence, *kind, body.as_slice()));
            assert!(there.eq(found), "what is read is not what was written");
            return left;
        }
        let certain = match how {
            Crash::Killed => self.written,
            Crash::PowerLost => self.synced,
        };
        let left = certain.plus(choices.within(0..=self.next.since(certain)));
        self.records.retain(|(sequence, _)| *sequence < left);
        left
    }
}
