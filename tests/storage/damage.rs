//! Damage, where it is known what it does, and where nobody has thought of it.

use std::io;
use std::path::Path;

use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::faulty::FaultyDirectory;
use mqtt_broker::storage::log::{LogOptions, Recovery};
use mqtt_broker::storage::{Log, StorageError};

use crate::splitmix::SplitMix;

#[path = "../../fuzz/properties/storage.rs"]
mod property;

const OPTIONS: LogOptions = LogOptions { segment_bytes: 1 << 20, disk_max: None, seed: 1 };

const ONLY: &str = "0000000000000001.log";

#[test]
fn any_damage_leaves_what_is_not_damaged() {
    for seed in 0..3_000 {
        let mut random = SplitMix::new(seed);
        let bytes: Vec<u8> = (0..5 * (1 + random.below(5))).map(|_| random.byte()).collect();
        let result = std::panic::catch_unwind(|| property::check(&bytes));
        assert!(result.is_ok(), "seed {seed}: {bytes:?}");
    }
}

/// A log of one segment with 20 records of 1,000 bytes, each synced before the next was written. The power has gone.
fn synced_one_by_one() -> FaultyDirectory {
    let directory = FaultyDirectory::new(1, 1 << 30);
    let (mut log, ..) = open(&directory);
    for _ in 0..20 {
        let mut batch = Batch::new(log.next_sequence());
        batch.append(1, |body| body.resize(body.len() + 1_000, 5));
        log.push(batch);
        log.write_out().unwrap();
        log.sync().unwrap();
    }
    directory.lose_power()
}

fn open(directory: &FaultyDirectory) -> (Log<FaultyDirectory>, Recovery, Vec<u64>) {
    let mut found = Vec::new();
    let (log, recovery) =
        Log::open(directory.clone(), OPTIONS, &mut |frame| found.push(frame.sequence.number())).unwrap();
    (log, recovery, found)
}

#[test]
fn damage_to_what_was_synced_does_not_take_away_what_is_behind_it() {
    let directory = synced_one_by_one();
    // In the eleventh record: each has 1,020 bytes, and a mark of 20 is before each but the first.
    directory.damage(ONLY, |bytes| bytes[10_500..10_600].fill(0));
    let (mut log, recovery, found) = open(&directory);
    let expected: Vec<u64> = (1..=20).filter(|number| *number != 11).collect();
    assert_eq!((found, recovery.cut), (expected, None));
    assert_eq!(recovery.damaged[0].reason, "the checksum is not that of the record");
    assert!(log.read(Sequence::new(11)).is_err());
    assert_eq!(log.read(Sequence::new(12)).unwrap().body.len(), 1_000);
}

#[test]
fn the_header_of_the_only_segment_can_be_done_without() {
    let directory = synced_one_by_one();
    directory.damage(ONLY, |bytes| bytes[..512].fill(0));
    let (log, recovery, found) = open(&directory);
    assert_eq!(found, (2..=20).collect::<Vec<u64>>());
    assert!(recovery.damaged_places > 0);
    assert_eq!(log.next_sequence(), Sequence::new(21));
}

#[test]
fn what_the_disk_cannot_read_is_damage_like_any_other() {
    let directory = synced_one_by_one();
    directory.spoil(ONLY, 10_500);
    let (mut log, recovery, found) = open(&directory);
    // What is read at once is a page, and that has parts of the eighth record to the twelfth.
    assert_eq!(found, (1..=7).chain(13..=20).collect::<Vec<u64>>());
    assert_eq!(recovery.damaged[0].reason, "input/output error");
    assert!(log.read(Sequence::new(11)).is_err());
}

#[test]
fn a_start_does_not_go_on_without_a_file_that_it_may_not_open() {
    let directory = synced_one_by_one();
    directory.close(ONLY, io::ErrorKind::PermissionDenied);
    let opened = Log::open(directory, OPTIONS, &mut |_| ());
    let Err(StorageError::Unopenable { file, source }) = opened else {
        panic!("it started without its records")
    };
    assert_eq!(file, Path::new(ONLY));
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn what_the_disk_cannot_open_is_damage_and_the_broker_starts() {
    let directory = synced_one_by_one();
    directory.close(ONLY, io::ErrorKind::Other);
    let (.., recovery, found) = open(&directory);
    assert_eq!((found, recovery.damaged_places), (Vec::new(), 1));
    assert_eq!(recovery.damaged[0].reason, "other error");
}
