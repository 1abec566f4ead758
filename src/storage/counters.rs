//! What the storage counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::log::Recovery;

macro_rules! storage_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened to the records since the start, and how much of them there is.
        #[derive(Debug, Default)]
        pub struct StorageCounters {
            $($(#[$doc])* pub $name: StorageCounter,)*
            /// How long commits took.
            pub commit_times: CommitTimes,
        }

        impl StorageCounters {
            /// Names and values, in a fixed order; of [`CommitTimes`] the sum and the longest.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let CommitTimes { micros, longest, .. } = &self.commit_times;
                let times = [("commit_microseconds", micros), ("longest_commit_microseconds", longest)];
                let times = times.map(|(name, value)| (name, value.load(Ordering::Relaxed)));
                [$((stringify!($name), self.$name.value()),)*].into_iter().chain(times)
            }
        }
    };
}

storage_counters! {
    /// Records that were written.
    records_written,
    /// Bytes of these, with their headers.
    bytes_written,
    /// Times that what had been written was made durable, all of it at once.
    commits,
    /// Most records that were made durable at once.
    largest_commit_records,
    /// Most bytes that were made durable at once.
    largest_commit_bytes,
    /// Records that were read because the broker no longer had them in memory.
    records_fetched,
    /// Of these, those that could not be read.
    records_not_fetched,
    /// Segments that were removed because nothing in them mattered any more.
    segments_reclaimed,
    /// Times that something could not be written or made durable because of the disk or the file system.
    write_faults,
    /// Times that something could not be written because there was no room.
    full_faults,
    /// Records that were found at the start.
    records_recovered,
    /// Ends of the log that a crash had left half written.
    tails_cut,
    /// Bytes of these.
    tail_bytes_cut,
    /// Damaged places that were set aside.
    damaged_places,
    /// How many segments there are.
    segments,
    /// Bytes that they take on the disk.
    disk_bytes,
    /// Bytes of them that still matter, as the broker says.
    live_bytes,
    /// Bytes of memory that it takes to find records.
    index_bytes,
}

/// A number that one thread sets and any may read.
#[derive(Debug, Default)]
pub struct StorageCounter(AtomicU64);

impl StorageCounter {
    /// What it says.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// Upper ends of the ranges in which commits are counted, in microseconds.
pub const COMMIT_BOUNDS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// From a batch's being handed over to its being durable: a histogram.
#[derive(Debug, Default)]
pub struct CommitTimes {
    counts: [AtomicU64; COMMIT_BOUNDS.len()],
    longer: AtomicU64,
    micros: AtomicU64,
    longest: AtomicU64,
}

impl CommitTimes {
    /// For each of [`COMMIT_BOUNDS`] how many commits took no longer, and longer than the one before; then those that
    /// took longer than all.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().chain([&self.longer]).map(|count| count.load(Ordering::Relaxed))
    }

    /// The sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }

    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let range = COMMIT_BOUNDS.partition_point(|bound| *bound < micros);
        self.counts.get(range).unwrap_or(&self.longer).fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.longest.fetch_max(micros, Ordering::Relaxed);
    }
}

impl StorageCounters {
    /// Counts what was found at the start.
    pub fn add_recovery(&self, recovery: &Recovery) {
        self.records_recovered.add(recovery.records);
        self.damaged_places.add(recovery.damaged_places);
        if let Some(cut) = &recovery.cut {
            self.tails_cut.add(1);
            self.tail_bytes_cut.add(cut.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_their_ranges() {
        let times = CommitTimes::default();
        for micros in [0, 50, 51, 7_000_000] {
            times.add(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = times.counts().collect();
        assert_eq!((counts[0], counts[1], counts[14]), (2, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(times.sum(), Duration::from_micros(7_000_101));
        assert_eq!(times.longest(), Duration::from_secs(7));
    }
}
