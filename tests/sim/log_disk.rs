//! The real log, on a directory that fails and forgets as bad disks do.

use std::collections::VecDeque;

use mqtt_broker::broker::Room;
use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::Fault;
use mqtt_broker::storage::faulty::{Faults, FaultyDirectory};
use mqtt_broker::storage::log::{Log, LogOptions};

use crate::arb::Choices;
use crate::disk::Crash;

#[derive(Debug)]
pub(crate) struct LogDisk {
    directory: FaultyDirectory,
    log: Option<Log<FaultyDirectory>>,
    options: LogOptions,
    faults: Faults,
    /// What the last thing that was done came to.
    room: Room,
    /// The end of the segment that can be removed once all before the second record is synced.
    removable: Option<(Sequence, Sequence)>,
    /// The end of what has been looked through, if a segment ends there.
    segment_end: Option<Sequence>,
    /// All before this record may have been removed.
    removed_before: Sequence,
}

/// Bytes for which there is always room.
const PLENTY: u64 = 1 << 40;

impl LogDisk {
    pub(crate) fn new(choices: &mut Choices<'_>) -> Self {
        let rates = [0, 0, 5, 40, 200];
        let mut rate = || choices.among(&rates);
        let faults = Faults { write: rate(), short_write: rate(), full: rate(), sync: rate(), name: rate() };
        let options = LogOptions {
            segment_bytes: choices.among(&[700, 2_000, 64 << 10]),
            disk_max: None,
            seed: choices.within(0..=1_000),
        };
        let directory = FaultyDirectory::new(choices.within(0..=u64::from(u32::MAX)), PLENTY);
        let (log, _) = Log::open(directory.clone(), options, &mut |_| ()).unwrap();
        directory.set_faults(faults);
        if choices.chance(1, 4) {
            directory.set_capacity(choices.among(&[6_000, 12_000, 30_000]));
        }
        Self {
            directory,
            log: Some(log),
            options,
            faults,
            room: Room::Enough,
            removable: None,
            segment_end: None,
            removed_before: Sequence::FIRST,
        }
    }

    fn log(&mut self) -> &mut Log<FaultyDirectory> {
        self.log.as_mut().expect("it is closed only to be opened")
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        self.log().push(batch);
    }

    pub(crate) fn write(&mut self) {
        let result = self.log().write_out();
        self.note(&result);
    }

    pub(crate) fn sync(&mut self) {
        let result = self.log().sync();
        self.note(&result);
        self.remove();
    }

    fn note(&mut self, result: &Result<(), Fault>) {
        self.room = match result {
            Ok(()) => Room::Enough,
            Err(Fault::Full(_)) => Room::Full,
            Err(Fault::Failing(_)) => Room::Failing,
        };
    }

    /// From now on the disk is a good one.
    pub(crate) fn mend(&mut self) {
        self.directory.set_faults(Faults::NONE);
        self.directory.set_capacity(PLENTY);
        self.faults = Faults::NONE;
    }

    /// How the disk is, as far as anybody knows.
    pub(crate) const fn room(&self) -> Room {
        self.room
    }

    pub(crate) fn written(&mut self) -> Sequence {
        self.log().written()
    }

    pub(crate) fn synced(&mut self) -> Sequence {
        self.log().synced()
    }

    pub(crate) fn read(&mut self, sequence: Sequence) -> Option<(u8, Vec<u8>)> {
        self.log().read(sequence).ok().map(|record| (record.kind, record.body))
    }

    /// The next of the oldest records.
    pub(crate) fn oldest(&mut self, most: usize) -> Vec<u8> {
        if self.removable.is_some() {
            return Vec::new();
        }
        match self.log().next_slice(most) {
            Ok(Some(slice)) => {
                assert!(slice.lost().is_empty(), "nothing is damaged: {:?}", slice.lost());
                self.segment_end = slice.ends_segment().then_some(slice.up_to());
                slice.into_bytes()
            }
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    /// What was looked through last is not needed any more once all before this record is synced.
    pub(crate) fn looked_through(&mut self, once: Sequence) {
        if let Some(end) = self.segment_end.take() {
            self.removable = Some((end, once));
        }
        self.remove();
    }

    fn remove(&mut self) {
        let Some((end, once)) = self.removable else { return };
        if once <= self.synced() {
            self.removed_before = self.removed_before.max(end);
            if self.log().remove_before(end).is_ok() {
                self.removable = None;
            }
        }
    }

    /// The broker comes to its end, and the log is opened again. The records that are found, and the number of the next.
    pub(crate) fn crash(&mut self, how: Crash) -> (VecDeque<(Sequence, u8, Vec<u8>)>, Sequence) {
        let certain = match how {
            Crash::Killed => self.written(),
            Crash::PowerLost => self.synced(),
        };
        self.log = None;
        if how == Crash::PowerLost {
            self.directory = self.directory.lose_power();
        }
        self.directory.set_faults(self.faults);
        let mut found = VecDeque::new();
        let mut open = |directory: &FaultyDirectory| {
            found.clear();
            Log::open(directory.clone(), self.options, &mut |frame| {
                found.push_back((frame.sequence, frame.kind, frame.body.to_vec()));
            })
        };
        let opened = open(&self.directory).or_else(|_| {
            // A disk that fails so much that nothing can be done is replaced.
            self.directory.set_faults(Faults::NONE);
            open(&self.directory)
        });
        let (log, recovery) = opened.unwrap();
        self.directory.set_faults(self.faults);
        assert_eq!(recovery.damaged, [], "a crash damages nothing");
        let next = log.next_sequence();
        assert!(
            next >= certain,
            "{how:?}: all before {certain} was kept, and now only what was before {next}"
        );
        let first = found.front().map_or(next, |(first, ..)| *first);
        assert!(first <= self.removed_before, "records before {first} are gone");
        assert_eq!(u64::try_from(found.len()).unwrap(), next.since(first), "records between are gone");
        self.log = Some(log);
        (self.room, self.removable, self.segment_end) = (Room::Enough, None, None);
        self.removed_before = first;
        (found, next)
    }
}
