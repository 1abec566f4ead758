//! Any damage to a log: it opens; what it then holds was written, is as it was written and in order; it goes on from
//! there.

use std::collections::BTreeMap;

use mqtt_broker::broker::record::{Batch, Sequence};
use mqtt_broker::storage::Log;
use mqtt_broker::storage::directory::Directory;
use mqtt_broker::storage::faulty::{Faults, FaultyDirectory};
use mqtt_broker::storage::log::LogOptions;

const OPTIONS: LogOptions = LogOptions { segment_bytes: 1_200, disk_max: None, seed: 3 };

/// Records by their numbers, with their kinds and bodies.
type Records = BTreeMap<u64, (u8, Vec<u8>)>;

/// Records as they come.
type Found = Vec<(u64, u8, Vec<u8>)>;

pub(crate) fn check(bytes: &[u8]) {
    let (directory, written) = write();
    damage(&directory, bytes);

    let (mut log, found) = open(&directory);
    let mut before = None;
    for (number, kind, body) in &found {
        assert!(before < Some(*number), "{number} comes behind {before:?}");
        before = Some(*number);
        assert_eq!(written.get(number), Some(&(*kind, body.clone())), "record {number} was not written so");
        let read = log.read(Sequence::new(*number)).map(|record| (record.kind, record.body));
        assert_eq!(read.ok(), Some((*kind, body.clone())), "record {number} was there a moment ago");
    }
    if bytes.len() < INSTRUCTION {
        assert_eq!(found.len(), written.len(), "nothing was damaged");
    }
    assert!(before < Some(log.next_sequence().number()), "no number is used twice");

    // It goes on, and what was there stays there.
    let mut batch = Batch::new(log.next_sequence());
    batch.append(9, |body| body.extend_from_slice(b"new"));
    let new = batch.first().number();
    log.push(batch);
    log.rest().unwrap();
    drop(log);
    let (mut log, again) = open(&directory);
    let expected = found.iter().map(|(number, ..)| *number).chain([new]);
    assert!(again.iter().map(|(number, ..)| *number).eq(expected), "it was there before");

    // All of it can be looked through, and removed.
    while let Some(slice) = log.next_slice(300).unwrap() {
        for frame in slice.frames() {
            let was = again.iter().find(|(number, ..)| *number == frame.sequence.number());
            assert!(was.is_some_and(|(_, kind, body)| *kind == frame.kind && body == frame.body));
        }
        if slice.ends_segment() {
            log.remove_before(slice.up_to()).unwrap();
        }
    }
    assert!(log.segments() <= 1);
}

/// A log of several segments. One of them was given up, and the last is not sealed.
fn write() -> (FaultyDirectory, Records) {
    let directory = FaultyDirectory::new(1, 1 << 20);
    let (mut log, _) = open(&directory);
    let mut written = Records::new();
    for round in 0..12_u8 {
        let mut batch = Batch::new(log.next_sequence());
        for kind in 1..=round % 4 + 1 {
            let body: Vec<u8> = (0..kind.saturating_mul(30)).map(|at| at ^ round).collect();
            let sequence = batch.append(kind, |bytes| bytes.extend_from_slice(&body));
            written.insert(sequence.number(), (kind, body));
        }
        log.push(batch);
        if round == 7 {
            directory.set_faults(Faults { sync: 1_000, ..Faults::NONE });
            assert!(log.write_out().and_then(|()| log.sync()).is_err());
            directory.set_faults(Faults::NONE);
        }
        log.write_out().unwrap();
        if round % 3 == 0 {
            log.sync().unwrap();
        }
    }
    (directory, written)
}

fn open(directory: &FaultyDirectory) -> (Log<FaultyDirectory>, Found) {
    let mut found = Vec::new();
    let (log, _) = Log::open(directory.clone(), OPTIONS, &mut |frame| {
        found.push((frame.sequence.number(), frame.kind, frame.body.to_vec()));
    })
    .unwrap();
    (log, found)
}

/// Bytes that say what is damaged: how, in which file, where (two), how much.
const INSTRUCTION: usize = 5;

/// Does what the bytes say.
fn damage(directory: &FaultyDirectory, bytes: &[u8]) {
    let mut names = directory.list().unwrap();
    names.sort();
    for instruction in bytes.chunks_exact(INSTRUCTION).take(16) {
        let &[how, which, low, high, amount] = instruction else { continue };
        let name = &names[usize::from(which) % names.len()];
        let (at, amount) = (usize::from(u16::from_le_bytes([low, high])), usize::from(amount));
        directory.damage(name, |content| {
            let start = at % (content.len() + 1);
            let end = (start + amount).min(content.len());
            match how % 6 {
                0 => content[start..end].iter_mut().for_each(|byte| *byte ^= 0x55),
                1 => content[start..end].fill(0),
                2 => content.truncate(start),
                3 => drop(content.drain(start..end)),
                4 => content.resize(content.len() + amount, 0),
                _ => {
                    let copy = content[start..end].to_vec();
                    content.splice(start..start, copy);
                }
            }
        });
    }
}
