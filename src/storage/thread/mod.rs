//! The thread that writes, and the one that syncs.
//!
//! It takes all batches that wait, writes them, has them made durable with one sync if somebody waits for that, says so,
//! and takes all that came meanwhile. So the first message after a pause waits for one sync and nothing else, and many
//! messages at once share one.
//!
//! Syncs are a thread's of their own: meanwhile records are read, and those are written for which somebody waits who does
//! not wait for the disk. All others wait for the end of the sync, as they would have to anyway, and are written behind a
//! mark that says that what is before them is on the disk.
//!
//! ```text
//!              Append, Fetch, SliceDone                         run
//!  broker task ───────────────────────▶ storage thread ──▶ Log ────▶ sync thread
//!              ◀───────────────────────       ▲                          │
//!              Appended, Fetched, Reclaim, Room └────────────────────────┘
//!                                                       Synced
//! ```

#[cfg(test)]
mod gated;
mod reclaim;
mod syncer;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use self::syncer::Syncer;
use self::worker::Worker;
use super::counters::StorageCounters;
use super::directory::{Directory, length};
use super::log::{Log, ReadError, Record, Slice};
use crate::broker::record::{Batch, Sequence};

/// How the thread works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// What nobody waits for is on the disk after so long.
    pub sync_interval: Duration,
    /// Bytes that may be written and not durable, before they are made durable though nobody waits for it. What is not
    /// durable is in memory, too.
    pub unsynced_max: usize,
    /// After something could not be written, it is tried again after so long; each time after twice as long.
    pub retry_first: Duration,
    /// But never after more than this.
    pub retry_longest: Duration,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_secs(1),
            unsynced_max: 4 << 20,
            retry_first: Duration::from_millis(50),
            retry_longest: Duration::from_secs(2),
        }
    }
}

/// What the thread tells the broker.
#[derive(Debug)]
pub enum Event {
    /// Records have been written.
    Appended {
        /// All before this record has been handed to the operating system.
        written: Sequence,
        /// All before this record is on the disk.
        synced: Sequence,
    },
    /// A record that was asked for.
    Fetched {
        /// Which.
        sequence: Sequence,
        /// The record, or why there is none.
        record: Result<Record, ReadError>,
    },
    /// The oldest records. Those that still matter are to be appended again, and then
    /// [`StorageHandle::slice_done`] be said. No other slice comes before that.
    Reclaim(Slice),
    /// How much can be written has changed.
    Room {
        /// How much.
        room: Room,
        /// Why, where it is not enough.
        reason: String,
    },
}

/// How much can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// As much as anybody wants.
    Enough,
    /// Only a reserve is left: for records that say that something has ended, and for what must be moved so that a
    /// segment can be removed. Nothing new should be taken on.
    Low,
    /// Nothing: the disk is full. What was appended waits in memory.
    Full,
    /// Nothing: the disk or the file system does not do what it has to. What was appended waits in memory.
    Failing,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enough => "enough",
            Self::Low => "low",
            Self::Full => "full",
            Self::Failing => "failing",
        })
    }
}

/// What the broker tells the thread.
#[derive(Debug)]
enum Command {
    Append {
        batch: Batch,
        live_bytes: u64,
        at: Instant,
    },
    Fetch(Vec<Sequence>),
    SliceDone {
        up_to: Sequence,
        moved: Option<Sequence>,
    },
    /// From the thread that syncs: what was begun is over.
    Synced(io::Result<()>),
    /// Nobody is left who could tell it anything.
    End,
}

/// The end of the way to the thread, which says when nobody uses it any more.
#[derive(Debug)]
struct Commands(Sender<Command>);

impl Drop for Commands {
    fn drop(&mut self) {
        let _ = self.0.send(Command::End);
    }
}

/// The way to the thread.
#[derive(Debug, Clone)]
pub struct StorageHandle {
    commands: Arc<Commands>,
    shared: Arc<Shared>,
}

/// What both sides see.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that were handed over since the start.
    handed_over: AtomicU64,
    /// Bytes of these that are no longer in memory, as they are on the disk.
    released: AtomicU64,
    counters: Arc<StorageCounters>,
}

impl StorageHandle {
    /// Hands records over, and says how many bytes of all records, with their headers, still matter when these are
    /// among them. Their numbers follow those of the batch before; the first is that of
    /// [`Log::next_sequence`].
    ///
    /// This never waits. What the broker takes on while [`Self::backlog_bytes`] is high, it keeps in memory.
    pub fn append(&self, batch: Batch, live_bytes: u64) {
        self.shared.handed_over.fetch_add(length(batch.len()), Ordering::Relaxed);
        self.send(Command::Append { batch, live_bytes, at: Instant::now() });
    }

    /// Asks for records. Each is answered with an [`Event::Fetched`], in this order.
    pub fn fetch(&self, sequences: Vec<Sequence>) {
        self.send(Command::Fetch(sequences));
    }

    /// What of an [`Event::Reclaim`] still matters has been appended; `up_to` is [`Slice::up_to`], and `moved` the last
    /// record that has to be on the disk before the segment goes: of what was moved, and of what made the rest of no
    /// matter.
    pub fn slice_done(&self, up_to: Sequence, moved: Option<Sequence>) {
        self.send(Command::SliceDone { up_to, moved });
    }

    /// Bytes that were handed over and are in memory, as they are not known to be on the disk.
    pub fn backlog_bytes(&self) -> u64 {
        let released = self.shared.released.load(Ordering::Relaxed);
        self.shared.handed_over.load(Ordering::Relaxed).saturating_sub(released)
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<StorageCounters> {
        &self.shared.counters
    }

    fn send(&self, command: Command) {
        // The thread ends only with its last handle, or by a fault of ours, of which it has told the broker.
        let _ = self.commands.0.send(command);
    }
}

/// The thread. It ends when all handles are gone, when everything is written and durable, or cannot be.
#[derive(Debug)]
pub struct Storage(JoinHandle<()>);

impl Storage {
    /// Starts the thread on a log. It calls `events` with what there is to tell, and must not be kept waiting there by
    /// somebody who waits for it.
    pub fn start<D>(
        log: Log<D>,
        settings: StorageSettings,
        events: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<(StorageHandle, Self)>
    where
        D: Directory + Send + 'static,
    {
        let (sender, commands) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let syncer = Syncer::start(sender.clone())?;
        let handle = StorageHandle { commands: Arc::new(Commands(sender)), shared: Arc::clone(&shared) };
        let worker = Worker::new(log, settings, (commands, syncer), shared, Box::new(events));
        let thread = Builder::new().name("storage".to_owned()).spawn(|| worker.run())?;
        Ok((handle, Self(thread)))
    }

    /// Returns when it has ended.
    pub fn join(self) {
        // A panic has been printed where it happened, and the broker was told.
        let _ = self.0.join();
    }
}
