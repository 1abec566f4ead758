//! What it costs to keep records on disk.
//!
//! `cargo bench --bench storage`; `STORAGE_BENCH_DIR` names a directory on the disk to measure, otherwise it is that of
//! temporary files.

#![expect(clippy::expect_used, reason = "a benchmark that cannot write has nothing to measure")]
#![expect(clippy::print_stdout, reason = "its answer")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use mqtt_broker::broker::record::Batch;
use mqtt_broker::storage::log::LogOptions;
use mqtt_broker::storage::{DiskDirectory, Log};

/// Bytes of the body of a record.
const BODY: usize = 156;

/// How long each rate is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Records of which the start is measured.
const MANY: u64 = 2_000_000;

fn main() {
    let directory = Directory::new();
    println!("{:<28}{:>12}{:>12}{:>12}", "", "records/s", "p50 ms", "p99 ms");
    for (name, synced) in [("written and synced", true), ("written", false)] {
        for records in [1, 32, 256] {
            let path = directory.0.join(format!("{name} {records}"));
            let (rate, mut times) = append(&path, records, synced);
            times.sort_unstable();
            let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
            let [middle, late] = [at(50), at(99)].map(|time| time.as_secs_f64() * 1_000.0);
            println!("{:<28}{rate:>12.0}{middle:>12.3}{late:>12.3}", format!("{name}, {records} at once"));
        }
    }
    start(&directory.0.join("start"));
}

/// Appends for a while, and says how many records in a second, and how long each commit took.
fn append(path: &Path, records: usize, synced: bool) -> (f64, Vec<Duration>) {
    let mut log = open(path, &mut 0);
    let (mut times, mut count, started) = (Vec::new(), 0.0, Instant::now());
    while started.elapsed() < MEASURED {
        let batch = batch(&log, records);
        let begun = Instant::now();
        log.push(batch);
        log.write_out().expect("room");
        if synced {
            log.sync().expect("a disk");
        }
        times.push(begun.elapsed());
        count += f64::from(u32::try_from(records).unwrap_or(u32::MAX));
        // Nothing of it is needed again.
        let synced = log.synced();
        log.remove_before(synced).expect("a disk");
    }
    (count / started.elapsed().as_secs_f64(), times)
}

fn start(path: &Path) {
    let mut log = open(path, &mut 0);
    while log.next_sequence().number() <= MANY {
        let batch = batch(&log, 1_000);
        log.push(batch);
        log.write_out().expect("room");
    }
    log.rest().expect("a disk");
    let bytes = log.bytes();
    drop(log);
    for _ in 0..3 {
        let (mut count, started) = (0, Instant::now());
        let log = open(path, &mut count);
        let took = started.elapsed().as_secs_f64();
        println!(
            "start with {count} records, {} MB: {took:.2} s, index {} kB",
            bytes / 1_000_000,
            log.index_bytes() / 1_000
        );
    }
}

fn open(path: &Path, count: &mut u64) -> Log<DiskDirectory> {
    let directory = DiskDirectory::take(path).expect("a directory");
    Log::open(directory, LogOptions::new(None, 1), &mut |_| *count += 1).expect("a log").0
}

fn batch(log: &Log<DiskDirectory>, records: usize) -> Batch {
    let mut batch = Batch::new(log.next_sequence());
    for _ in 0..records {
        batch.append(1, |body| body.resize(body.len() + BODY, 7));
    }
    batch
}

/// Removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let below = env::var_os("STORAGE_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
        let path = below.join(format!("mqtt-broker-storage-bench-{}", process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
