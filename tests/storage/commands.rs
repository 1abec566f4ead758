//! `mqtt-broker store …`, on directories that are as they should be and on others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::log::LogOptions;
use mqtt_broker::storage::{DiskDirectory, Log};

use crate::testing::TemporaryDirectory;

const OPTIONS: LogOptions = LogOptions { segment_bytes: 2_000, disk_max: None, seed: 5 };

/// Writes 30 records of 100 bytes, in segments of 16 or so.
fn fill(path: &Path) {
    let (mut log, _) = Log::open(DiskDirectory::take(path).unwrap(), OPTIONS, &mut |_| ()).unwrap();
    for _ in 0..30 {
        let mut batch = Batch::new(log.next_sequence());
        batch.append(3, |body| body.extend_from_slice(&[9; 100]));
        log.push(batch);
        log.write_out().unwrap();
        log.sync().unwrap();
    }
    log.rest().unwrap();
}

fn store(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mqtt-broker"))
        .arg("store")
        .args(&arguments[..1])
        .arg(directory)
        .args(&arguments[1..])
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, text: &str) {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
}

/// All files below a directory, with what is in them.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_sound_directory_is_found_to_be_sound_and_stays_as_it_is() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    let before = contents(path);
    check(&store(&["check"], path), 0, ": sound (segments: 3, records: 30 from 1 to 30, bytes: ");
    check(&store(&["stats"], path), 0, "ended           30 with 3000 bytes");
    let dump = store(&["dump"], path);
    check(&dump, 0, r#""file":"0000000000000001.log","kind":"ended","offset":32,"sequence":1}"#);
    assert_eq!(String::from_utf8(dump.stdout).unwrap().lines().count(), 30);
    assert_eq!(contents(path), before);
}

#[test]
fn damage_is_found_and_what_is_not_damaged_is_copied() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    let file = path.join("0000000000000001.log");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = contents(path);
    let found = "0000000000000001.log:32: the checksum is not that of the record; 120 bytes are damaged; record 1 is \
                 lost; the first told of: ended\n";
    check(&store(&["check"], path), 1, found);
    check(&store(&["stats"], path), 1, "lost records      1");

    let copy = TemporaryDirectory::new();
    let copy = copy.path();
    check(&store(&["repair", "--output", copy.to_str().unwrap()], path), 1, found);
    assert_eq!(contents(path), before);
    check(&store(&["check"], copy), 0, ": sound (segments: 1, records: 29 from 2 to 30, bytes: ");
    check(&store(&["repair", "--output", copy.to_str().unwrap()], path), 78, "it is not empty");

    let mut numbers = Vec::new();
    let directory = DiskDirectory::take(copy).unwrap();
    let (log, recovery) =
        Log::open(directory, OPTIONS, &mut |frame| numbers.push(frame.sequence.number())).unwrap();
    assert_eq!(numbers, (2..=30).collect::<Vec<u64>>());
    assert_eq!((recovery.damaged, log.next_sequence()), (Vec::new(), Sequence::new(31)));
}

#[test]
fn at_a_start_what_is_damaged_is_set_aside_once() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    let file = path.join("0000000000000001.log");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        let directory = DiskDirectory::take(path).unwrap();
        let (_, recovery) = Log::open(directory, OPTIONS, &mut |_| ()).unwrap();
        assert_eq!((recovery.records, recovery.damaged_places), (29, 1));
    }
    let aside = path.join("quarantine/0000000000000001-0000000032");
    assert_eq!(fs::read(aside.with_extension("bin")).unwrap(), bytes[32..152]);
    assert_eq!(
        fs::read_to_string(aside.with_extension("json")).unwrap(),
        "{\"file\":\"0000000000000001.log\",\"offset\":32,\"length\":120,\"sequence\":1,\"next\":2,\"kind\":3,\
         \"reason\":\"the checksum is not that of the record\"}\n"
    );
    assert_eq!(fs::read_dir(path.join("quarantine")).unwrap().count(), 2);
}

#[test]
fn a_directory_in_use_is_not_looked_into() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    let taken = DiskDirectory::take(path).unwrap();
    for command in ["check", "dump", "stats"] {
        check(&store(&[command], path), 78, "is in use: a broker runs on it, or a command looks into it");
    }
    drop(taken);
    check(&store(&["check"], path), 0, ": sound (segments: 0, records: 0, bytes: 0)");
    check(&store(&["check"], &path.join("nowhere")), 78, "cannot be used");
}

#[test]
fn what_a_directory_begins_and_ends_with_is_said() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    fs::remove_file(path.join("0000000000000001.log")).unwrap();
    // It may have been reclaimed: that it is gone is no damage, but to be seen.
    check(&store(&["check"], path), 0, ": sound (segments: 2, records: 17 from 14 to 30, bytes: ");
    check(&store(&["stats"], path), 0, "first record      14\nnext record       31\ngaps              0\n");
}

#[test]
fn a_segment_that_is_missing_between_others_is_damage() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    fs::remove_file(path.join("0000000000000002.log")).unwrap();
    check(
        &store(&["check"], path),
        1,
        "segments are missing behind this one; 13 records from 14 on are lost\n",
    );
    check(&store(&["check"], path), 1, ", gaps: 1, damaged places: 1, records lost: 13)");
}

#[test]
fn an_old_copy_under_a_new_name_takes_nothing_away() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    let copy = path.join("0000000000000009.log");
    fs::copy(path.join("0000000000000001.log"), &copy).unwrap();
    let before = contents(path);
    check(&store(&["check"], path), 1, "0000000000000009.log:0: it begins before the segment before it does");
    check(&store(&["check"], path), 1, ": damaged (segments: 3, records: 30 from 1 to 30, bytes: ");
    assert_eq!(contents(path), before);

    let (log, recovery) = Log::open(DiskDirectory::take(path).unwrap(), OPTIONS, &mut |_| ()).unwrap();
    assert_eq!((recovery.records, recovery.damaged_places), (30, 1));
    assert_eq!(log.next_sequence(), Sequence::new(31));
    drop(log);
    assert_eq!(fs::read(&copy).unwrap(), before[&copy], "whoever made it has to look at it");
}

#[test]
fn what_is_written_over_by_a_later_segment_is_said() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    // As if writing had failed behind the first records of the second segment, and been done again.
    fs::copy(path.join("0000000000000002.log"), path.join("0000000000000004.log")).unwrap();
    fs::remove_file(path.join("0000000000000003.log")).unwrap();
    let found = "0000000000000002.log:32: ";
    check(&store(&["check"], path), 0, found);
    check(
        &store(&["check"], path),
        0,
        "bytes do not count: 0000000000000004.log begins with the record that is next",
    );
}

#[test]
fn a_format_file_that_is_damaged_or_missing_is_said_and_written_again() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    fill(path);
    let format = path.join("format");
    let sound = fs::read(&format).unwrap();
    fs::write(&format, b"no header").unwrap();
    check(&store(&["check"], path), 1, "the file `format` is damaged\n");
    let opened = || Log::open(DiskDirectory::take(path).unwrap(), OPTIONS, &mut |_| ()).unwrap().1;
    assert_eq!(opened().format, Some("the file `format` is damaged"));
    assert_eq!(fs::read(&format).unwrap(), sound);
    assert_eq!(opened().format, None);
    fs::remove_file(&format).unwrap();
    check(&store(&["check"], path), 1, "the file `format` is missing\n");
    assert_eq!(opened().format, Some("the file `format` is missing"));
    check(&store(&["check"], path), 0, ": sound (");
}

#[test]
fn a_file_where_a_directory_should_be_and_a_later_format_are_named() {
    let temporary = TemporaryDirectory::new();
    let path = temporary.path();
    let file = path.join("file");
    fs::write(&file, b"").unwrap();
    let name = file.display();
    check(
        &store(&["check"], &file),
        78,
        &format!("the data directory {name} is a file; there has to be a directory"),
    );
    let serve = |directory: &Path| {
        let mut broker = Command::new(env!("CARGO_BIN_EXE_mqtt-broker"));
        broker.args(["--bind", "127.0.0.1", "--tcp-port", "0", "--data-dir"]).arg(directory).output().unwrap()
    };
    check(&serve(&file), 78, &format!("the data directory {name} is a file; there has to be a directory"));

    let directory = path.join("directory");
    fill(&directory);
    let format = directory.join("format");
    let mut bytes = fs::read(&format).unwrap();
    bytes[8] = 2;
    let sum = checksum(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&format, bytes).unwrap();
    check(&serve(&directory), 78, &format!("{} has format 2", format.display()));
}

/// CRC32C, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82F6_3B78 * (sum & 1));
        }
    }
    !sum
}
