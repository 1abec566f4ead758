//! A log on a directory that fails, through many lives, against a list of what was pushed.
//!
//! What must hold after each end, by loss of power or by a kill: the log opens; what it holds was pushed, is as it was
//! pushed, and has no hole; all that was synced and not removed is there.

use std::collections::BTreeMap;
use std::{env, io};

use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::Log;
use mqtt_broker::storage::faulty::{Faults, FaultyDirectory, FaultyFile};
use mqtt_broker::storage::log::{self, LogOptions};

use crate::splitmix::SplitMix;

/// Seeds that are tried where none is named: `STORAGE_SEEDS=FIRST..END` names others.
const SEEDS: std::ops::Range<u64> = 0..1_000;

struct World {
    random: SplitMix,
    directory: FaultyDirectory,
    /// All records that were pushed, by number.
    pushed: BTreeMap<u64, (u8, Vec<u8>)>,
    /// All before this record must be there.
    synced: u64,
    /// All before this record would be there after a kill.
    written: u64,
    /// All before this record may be gone.
    removed: u64,
    options: LogOptions,
    syncing: Option<Syncing>,
}

/// A sync that has begun, and of which the log does not know yet how it ended.
enum Syncing {
    Begun(log::Syncing<FaultyFile>),
    Over(io::Result<()>),
}

#[test]
fn what_is_synced_outlives_everything_and_nothing_is_invented() {
    let named = env::var("STORAGE_SEEDS").ok();
    let seeds = named.map_or(SEEDS, |named| {
        let (first, end) = named.split_once("..").unwrap();
        first.parse().unwrap()..end.parse().unwrap()
    });
    for seed in seeds {
        let result = std::panic::catch_unwind(|| World::new(seed).live());
        assert!(result.is_ok(), "STORAGE_SEEDS={seed}..{}", seed + 1);
    }
}

/// Seeds that have found something, and what.
#[test]
fn what_was_found_once_is_not_found_again() {
    // A mark that never reached the disk was believed, and not written again.
    World::new(3_884).live();
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix::new(seed);
        let segment_bytes = [2_000, 10_000, 60_000][random.below(3)];
        let capacity = if random.below(4) == 0 { segment_bytes * 6 } else { 1 << 30 };
        let disk_max = (random.below(4) == 0).then_some(segment_bytes * 5);
        Self {
            directory: FaultyDirectory::new(random.next(), capacity),
            options: LogOptions { segment_bytes, disk_max, seed: random.next() },
            random,
            pushed: BTreeMap::new(),
            synced: 1,
            written: 1,
            removed: 1,
            syncing: None,
        }
    }

    fn live(mut self) {
        for life in 0..8 {
            // Now and then a life without faults, in which all that waits must become durable.
            let calm = life % 3 == 2;
            let faults = self.faults(calm);
            self.directory.set_faults(faults);
            if !calm && self.random.below(3) == 0 {
                self.directory.fail_after(self.random.next() % 200);
            }
            let mut log = self.open();
            for _ in 0..self.random.below(60) {
                self.step(&mut log);
            }
            if calm && self.random.flag() {
                self.end_sync(&mut log);
                self.finish(&mut log);
            }
            self.syncing = None;
            self.directory.set_faults(Faults::NONE);
            if self.random.flag() {
                self.directory = self.directory.lose_power();
                self.written = self.synced;
            }
        }
        self.open();
    }

    fn faults(&mut self, calm: bool) -> Faults {
        if calm {
            return Faults::NONE;
        }
        let mut rate = || [0, 0, 5, 50, 300][self.random.below(5)];
        Faults { write: rate(), short_write: rate(), full: rate(), sync: rate(), name: rate() }
    }

    fn open(&mut self) -> Log<FaultyDirectory> {
        let mut found = Vec::new();
        let visit = &mut |frame: mqtt_broker::broker::record::Frame<'_>| {
            found.push((frame.sequence.number(), frame.kind, frame.body.to_vec()));
        };
        let (log, recovery) = Log::open(self.directory.clone(), self.options, visit).unwrap();
        assert_eq!(recovery.damaged, [], "a loss of power is no damage");
        for pair in found.windows(2) {
            assert_eq!(pair[0].0 + 1, pair[1].0, "there is no hole");
        }
        let next = log.next_sequence().number();
        for (number, kind, body) in &found {
            let (pushed_kind, pushed) = &self.pushed[number];
            assert!(kind == pushed_kind && body == pushed, "record {number} is as it was pushed");
        }
        let end = found.last().map_or(next, |(number, ..)| number + 1);
        assert_eq!(end, next);
        assert!(next >= self.synced, "{next}: all before {} was synced", self.synced);
        assert!(next >= self.written, "{next}: all before {} was written", self.written);
        if self.removed < next {
            assert!(found.first().unwrap().0 <= self.removed, "{:?}, {}", found.first(), self.removed);
        }
        // What did not come through may be pushed again under the same numbers.
        self.pushed.retain(|number, _| *number < next);
        // What was synced may have to be synced again; it is kept all the same.
        assert!(log.synced() <= log.written() && log.written() == log.next_sequence());
        self.written = next;
        log
    }

    fn step(&mut self, log: &mut Log<FaultyDirectory>) {
        match self.random.below(12) {
            0..4 => self.push(log),
            4..7 => drop(log.write_out()),
            7..9 => self.sync(log),
            9 => self.read(log),
            10 => self.reclaim(log),
            _ if self.random.below(10) == 0 => {
                self.end_sync(log);
                drop(log.rest());
            }
            _ => {}
        }
        self.check_horizons(log);
    }

    /// Syncs at once, or begins to and ends later; what is written meanwhile may be covered, or not.
    fn sync(&mut self, log: &mut Log<FaultyDirectory>) {
        if self.syncing.is_some() {
            return self.end_sync(log);
        }
        match self.random.below(3) {
            0 => drop(log.sync()),
            kind => {
                let syncing = log.begin_sync();
                self.syncing = syncing.map(|syncing| match kind {
                    1 => Syncing::Over(syncing.run()),
                    _ => Syncing::Begun(syncing),
                });
            }
        }
    }

    fn end_sync(&mut self, log: &mut Log<FaultyDirectory>) {
        let result = match self.syncing.take() {
            Some(Syncing::Over(result)) => result,
            Some(Syncing::Begun(syncing)) => syncing.run(),
            None => return,
        };
        drop(log.end_sync(result));
    }

    fn check_horizons(&mut self, log: &Log<FaultyDirectory>) {
        let (written, synced) = (log.written().number(), log.synced().number());
        assert!(written >= self.written && written >= synced, "{written} {synced}");
        self.written = written;
        self.synced = self.synced.max(synced);
    }

    fn push(&mut self, log: &mut Log<FaultyDirectory>) {
        let mut batch = Batch::new(log.next_sequence());
        for _ in 0..=self.random.below(10) {
            let kind = 1 + self.random.byte() % 200;
            let len = [0, 10, 100, 700, 6_000][self.random.below(5)];
            let fill = self.random.byte();
            let len = self.random.below(len + 1);
            let body: Vec<u8> = (0..=u8::MAX).cycle().map(|byte| byte.wrapping_add(fill)).take(len).collect();
            let sequence = batch.append(kind, |bytes| bytes.extend_from_slice(&body));
            self.pushed.insert(sequence.number(), (kind, body));
        }
        log.push(batch);
    }

    fn read(&mut self, log: &mut Log<FaultyDirectory>) {
        let next = log.next_sequence().number();
        if next == self.removed {
            return;
        }
        let number = self.removed + self.random.next() % (next - self.removed);
        let record = log.read(Sequence::new(number)).unwrap();
        assert_eq!((record.kind, record.body), self.pushed[&number]);
        assert!(log.read(Sequence::new(next)).is_err());
    }

    fn reclaim(&mut self, log: &mut Log<FaultyDirectory>) {
        let Ok(Some(slice)) = log.next_slice(1 + self.random.below(5_000)) else { return };
        assert_eq!(slice.lost(), []);
        for frame in slice.frames() {
            let (kind, body) = &self.pushed[&frame.sequence.number()];
            assert_eq!((frame.kind, frame.body), (*kind, body.as_slice()));
        }
        // As though nothing of it mattered any more.
        if slice.ends_segment() {
            let _ = log.remove_before(slice.up_to());
            self.removed = slice.up_to().number();
        }
    }

    /// Without faults everything can be made durable in the end.
    fn finish(&mut self, log: &mut Log<FaultyDirectory>) {
        while let Ok(Some(slice)) = log.next_slice(100_000) {
            if slice.ends_segment() {
                log.remove_before(slice.up_to()).unwrap();
                self.removed = slice.up_to().number();
            }
        }
        if self.options.disk_max.is_none() && log.room().unwrap() > 1 << 29 {
            log.rest().unwrap();
            assert_eq!(log.synced(), log.next_sequence());
        }
        self.check_horizons(log);
    }
}
