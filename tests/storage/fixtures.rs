//! Directories in each format that a release has written. They open for ever.
//!
//! They are never written again. A new format gets a new directory, by
//! `cargo test --test storage -- --ignored write_the_fixture`, from the program that writes that format.

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::log::{FORMAT_VERSION, LogOptions, Recovery};
use mqtt_broker::storage::{DiskDirectory, Log};

use crate::testing::TemporaryDirectory;

const OPTIONS: LogOptions = LogOptions { segment_bytes: 2_000, disk_max: None, seed: 77 };

/// Records of the fixture; after the twentieth there is a gap of 100.
const RECORDS: u64 = 40;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/storage/v{version}"))
}

/// The record with this index: its number, its kind, its body.
fn record(index: u64) -> (u64, u8, Vec<u8>) {
    let number = if index < 20 { index + 1 } else { index + 101 };
    let body = (0..index * 7).map(|at| at.to_le_bytes()[0]).collect();
    (number, index.to_le_bytes()[0] % 9 + 1, body)
}

#[test]
#[ignore = "it makes the fixture of a new format"]
fn write_the_fixture() {
    let path = fixture(FORMAT_VERSION);
    fs::create_dir_all(&path).unwrap();
    let (mut log, _) = Log::open(DiskDirectory::take(&path).unwrap(), OPTIONS, &mut |_| ()).unwrap();
    for index in 0..RECORDS {
        let (number, kind, body) = record(index);
        let mut batch = Batch::new(Sequence::new(number));
        batch.append(kind, |bytes| bytes.extend_from_slice(&body));
        log.push(batch);
        log.write_out().unwrap();
        if index % 3 == 0 {
            log.sync().unwrap();
        }
    }
    drop(log);
    // A damaged record, and a torn end.
    let first = path.join("0000000000000001.log");
    let mut bytes = fs::read(&first).unwrap();
    bytes[200] ^= 1;
    fs::write(&first, bytes).unwrap();
    let last = newest(&path);
    let mut bytes = fs::read(&last).unwrap();
    bytes.extend([0xFF; 50]);
    fs::write(&last, bytes).unwrap();
    fs::remove_file(path.join("lock")).unwrap();
}

fn newest(path: &Path) -> PathBuf {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

/// Records: their numbers, kinds and bodies.
type Found = Vec<(u64, u8, Vec<u8>)>;

fn open(path: &Path) -> (Log<DiskDirectory>, Recovery, Found) {
    let mut found = Vec::new();
    let directory = DiskDirectory::take(path).unwrap();
    let (log, recovery) = Log::open(directory, OPTIONS, &mut |frame| {
        found.push((frame.sequence.number(), frame.kind, frame.body.to_vec()));
    })
    .unwrap();
    (log, recovery, found)
}

#[test]
fn version_1_opens() {
    let copy = TemporaryDirectory::new();
    for entry in fs::read_dir(fixture(1)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    // The fifth record is damaged.
    let mut expected: Vec<_> = (0..RECORDS).filter(|index| *index != 4).map(record).collect();

    let (mut log, recovery, found) = open(copy.path());
    assert_eq!(found, expected);
    let [damaged] = recovery.damaged.as_slice() else { panic!("{recovery:?}") };
    assert_eq!((damaged.file.as_str(), damaged.first.number()), ("0000000000000001.log", 5));
    assert_eq!((damaged.next.number(), damaged.kind), (6, Some(5)));
    assert_eq!(recovery.cut.unwrap().bytes, 50);
    assert_eq!(recovery.trouble, None);
    assert_eq!(log.next_sequence().number(), 141);

    // It is written to as if it were of today.
    let mut batch = Batch::new(log.next_sequence());
    batch.append(1, |body| body.extend_from_slice(b"new"));
    log.push(batch);
    log.rest().unwrap();
    drop(log);
    expected.push((141, 1, b"new".to_vec()));
    let (_, recovery, found) = open(copy.path());
    assert_eq!((found, recovery.cut), (expected, None));
}
