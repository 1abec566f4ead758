//! What the thread does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::reclaim::Reclaim;
use super::syncer::Syncer;
use super::{Command, Event, Room, Shared, StorageSettings};
use crate::broker::record::Sequence;
use crate::broker::record::frame::Horizon;
use crate::storage::Fault;
use crate::storage::counters::StorageCounters;
use crate::storage::directory::{Directory, length};
use crate::storage::log::Log;

/// Bytes that are taken to be written at once; what is behind them waits for the next time.
const GROUP_BYTES: usize = 8 << 20;

/// Segments that are kept free for what must be written so that something can be removed.
const RESERVE: u64 = 2;

/// How often it is looked how much room there is, if nothing else asks for it.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's own.
pub(super) struct Worker<D: Directory> {
    pub(super) log: Log<D>,
    settings: StorageSettings,
    commands: Receiver<Command>,
    syncer: Syncer<D::File>,
    /// The sync that is under way.
    syncing: Option<UnderWay>,
    /// Whether nobody is left who could tell it anything.
    has_ended: bool,
    shared: Arc<Shared>,
    events: Box<dyn FnMut(Event) + Send>,
    /// What has been taken and not been written, and who waits for it.
    group: Group,
    /// Bytes that were taken since the start.
    pub(super) taken: u64,
    /// The same, when the broker last got something to look through.
    pub(super) sliced: u64,
    /// The horizons as they were last told.
    told: (Sequence, Sequence),
    pub(super) reclaim: Reclaim,
    /// All before this record has to be on the disk before the segment is removed that is being looked through.
    pub(super) moved: Option<Sequence>,
    /// When it is tried again to look through or remove a segment, after that has failed.
    pub(super) reclaim_at: Option<Instant>,
    pub(super) live_bytes: Option<u64>,
    pub(super) room_left: Option<u64>,
    room: Room,
    room_at: Instant,
    /// When what nobody waits for has to be on the disk.
    sync_at: Option<Instant>,
    /// When that is tried again which could not be done, and how long after that for the next time.
    retry: Option<(Instant, Duration)>,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Group {
    awaits_written: bool,
    awaits_synced: bool,
    /// When the oldest batch was handed over that is not on the disk.
    since: Option<Instant>,
}

/// A sync that is under way.
#[derive(Debug)]
struct UnderWay {
    /// All before this record was on the disk before.
    first: Sequence,
    /// All before this one will be.
    next: Sequence,
    /// Bytes of those between.
    bytes: usize,
    /// When the oldest batch was handed over that it covers.
    since: Option<Instant>,
}

/// Why the thread goes on.
enum Wake {
    Command(Command),
    Time,
    /// Nobody is left who could tell it anything.
    End,
}

impl<D: Directory> Worker<D> {
    pub(super) fn new(
        log: Log<D>,
        settings: StorageSettings,
        (commands, syncer): (Receiver<Command>, Syncer<D::File>),
        shared: Arc<Shared>,
        events: Box<dyn FnMut(Event) + Send>,
    ) -> Self {
        let now = Instant::now();
        Self {
            told: (log.written(), log.synced()),
            // What is left over from the last run is seen to at once.
            sync_at: (log.unsynced_bytes() > 0).then_some(now),
            log,
            settings,
            commands,
            syncer,
            syncing: None,
            has_ended: false,
            shared,
            events,
            group: Group::default(),
            taken: 0,
            sliced: 0,
            reclaim: Reclaim::default(),
            moved: None,
            reclaim_at: None,
            live_bytes: None,
            room_left: None,
            room: Room::Enough,
            room_at: now,
            retry: None,
        }
    }

    pub(super) fn run(mut self) {
        self.look_for_room();
        loop {
            self.commit();
            self.reclaim();
            self.account();
            if self.has_ended {
                break;
            }
            match self.wait() {
                Wake::Command(command) => self.take_all(command),
                Wake::Time => {}
                Wake::End => break,
            }
        }
        self.wait_for_sync();
        self.retry = None;
        match self.log.rest() {
            Ok(()) => self.tell_horizons(),
            Err(fault) => tracing::error!("the last records are not on the disk: {fault}"),
        }
        self.account();
    }

    /// Waits for something to do.
    fn wait(&self) -> Wake {
        let is_syncing = self.syncing.is_some();
        // While it is not known how a sync ends, nothing is tried again.
        let retry = self.retry.map(|(at, _)| at).filter(|_| !is_syncing);
        // Before that nothing else can be done either.
        let room = (self.room != Room::Enough).then(|| self.room_at + ROOM_INTERVAL);
        let [room, sync] = [room, self.sync_at].map(|at| at.filter(|_| self.retry.is_none() && !is_syncing));
        let Some(until) = [room, retry, sync, self.reclaim_at].into_iter().flatten().min() else {
            return self.commands.recv().map_or(Wake::End, Wake::Command);
        };
        match self.commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(command) => Wake::Command(command),
            Err(RecvTimeoutError::Timeout) => Wake::Time,
            Err(RecvTimeoutError::Disconnected) => Wake::End,
        }
    }

    /// Takes a command, and all others that wait.
    fn take_all(&mut self, command: Command) {
        let end = self.taken.saturating_add(length(GROUP_BYTES));
        self.take(command);
        while self.taken < end {
            let Ok(command) = self.commands.try_recv() else { break };
            self.take(command);
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append { batch, live_bytes, at } => {
                self.live_bytes = Some(live_bytes);
                if batch.is_empty() {
                    return;
                }
                self.taken += length(batch.len());
                self.group.awaits_written |= batch.awaits(Horizon::Written);
                self.group.awaits_synced |= batch.awaits(Horizon::Synced);
                self.group.since.get_or_insert(at);
                self.log.push(batch);
            }
            Command::Fetch(sequences) => sequences.into_iter().for_each(|sequence| self.fetch(sequence)),
            Command::SliceDone { up_to, moved } => self.slice_done(up_to, moved),
            Command::Synced(result) => self.synced(result),
            Command::End => self.has_ended = true,
        }
    }

    fn fetch(&mut self, sequence: Sequence) {
        let record = self.log.read(sequence);
        self.counters().records_fetched.add(1);
        if let Err(error) = &record {
            self.counters().records_not_fetched.add(1);
            tracing::error!("storage: {error}");
        }
        self.tell(Event::Fetched { sequence, record });
    }

    /// Writes what was taken, and makes it durable if that is due.
    fn commit(&mut self) {
        let now = Instant::now();
        let is_syncing = self.syncing.is_some();
        let has_to_wait = is_syncing && (self.retry.is_some() || !self.group.awaits_written);
        if has_to_wait || self.retry.is_some_and(|(at, _)| now < at) {
            return;
        }
        match self.try_to_commit(now) {
            Ok(()) => self.retry = None,
            Err(fault) => self.put_off(now, &fault),
        }
        self.look_for_room();
    }

    fn try_to_commit(&mut self, now: Instant) -> Result<(), Fault> {
        let (unwritten, first) = (self.log.unwritten_bytes(), self.log.written());
        // What has been taken may be more than the reserve, and what is to be moved comes behind it: if it had to wait
        // for room, there would never be any.
        self.log.allow_overdraft(self.makes_room());
        self.log.write_out()?;
        self.counters().bytes_written.add(length(unwritten));
        self.counters().records_written.add(self.log.written().since(first));
        if self.log.unsynced_bytes() > 0 && self.sync_at.is_none() {
            self.sync_at = Some(now + self.settings.sync_interval);
        }
        let is_due = self.sync_at.is_some_and(|at| at <= now)
            || self.group.awaits_synced
            || self.waits_for_sync()
            || self.log.unsynced_bytes() > self.settings.unsynced_max;
        if is_due && self.syncing.is_none() {
            self.begin_sync();
        }
        // Who goes on when a batch is written has to know, if it is not known with the sync soon.
        if self.group.awaits_written || !is_due {
            self.tell_horizons();
        }
        // Beside a sync not all may have been written.
        self.group.awaits_written &= self.log.unwritten_bytes() > 0;
        Ok(())
    }

    fn begin_sync(&mut self) {
        let (first, next) = (self.log.synced(), self.log.written());
        let bytes = self.log.unsynced_bytes() - self.log.unwritten_bytes();
        let under_way = UnderWay { first, next, bytes, since: self.group.since.take() };
        self.group.awaits_synced = false;
        self.sync_at = None;
        match self.log.begin_sync() {
            Some(syncing) => {
                self.syncing = Some(under_way);
                self.syncer.run(syncing);
            }
            // Where a segment was sealed or exchanged, that has been done with it.
            None => self.count_commit(&under_way),
        }
    }

    /// A sync is over.
    fn synced(&mut self, result: io::Result<()>) {
        let ended = self.log.end_sync(result);
        let Some(under_way) = self.syncing.take() else { return };
        if self.log.synced() >= under_way.next {
            self.count_commit(&under_way);
        } else {
            // It is still to be done, for whoever waits for it.
            self.group.awaits_synced = true;
            self.group.since = under_way.since.or(self.group.since);
        }
        if let Err(fault) = ended {
            self.put_off(Instant::now(), &fault);
        }
    }

    fn count_commit(&mut self, done: &UnderWay) {
        if let Some(since) = done.since {
            self.counters().commit_times.add(since.elapsed());
        }
        let counters = self.counters();
        counters.commits.add(1);
        counters.largest_commit_records.raise(done.next.since(done.first));
        counters.largest_commit_bytes.raise(length(done.bytes));
        self.tell_horizons();
    }

    /// Returns when no sync is under way.
    fn wait_for_sync(&mut self) {
        while self.syncing.is_some() {
            // What else is said comes from nobody who is still there.
            match self.commands.recv() {
                Ok(command) => self.take(command),
                Err(_) => return,
            }
        }
    }

    /// Something could not be done. It is tried again after a while.
    fn put_off(&mut self, now: Instant, fault: &Fault) {
        let wait = self.retry.map_or(self.settings.retry_first, |(_, wait)| wait);
        let longest = self.settings.retry_longest;
        self.retry = Some((now + wait, wait.saturating_mul(2).min(longest)));
        let room = match fault {
            Fault::Full(_) => {
                self.counters().full_faults.add(1);
                Room::Full
            }
            Fault::Failing(_) => {
                self.counters().write_faults.add(1);
                Room::Failing
            }
        };
        self.set_room(room, &fault.to_string());
    }

    /// What could not be done is tried again at once.
    pub(super) fn retry_now(&mut self) {
        if let Some((at, _)) = &mut self.retry {
            *at = Instant::now();
        }
    }

    /// Looks how much can be written, where nothing has gone wrong.
    fn look_for_room(&mut self) {
        let now = Instant::now();
        let disk = length(self.log.segments());
        let has_changed = self.counters().segments.value() != disk;
        // Nothing is known of it at the start.
        let is_known = self.room_left.is_some();
        if is_known && !has_changed && now < self.room_at + ROOM_INTERVAL && self.room <= Room::Low {
            return;
        }
        self.room_at = now;
        self.room_left = self.log.room();
        if self.retry.is_some() {
            return;
        }
        let segment = self.log.options().segment_bytes;
        // So that it does not go to and fro, there has to be one more before there is enough again.
        let wanted = if self.room == Room::Enough { RESERVE } else { RESERVE + 1 } * segment;
        match self.room_left {
            Some(left) if left < wanted => {
                self.set_room(Room::Low, &format!("there is room for {left} bytes more"));
            }
            _ => self.set_room(Room::Enough, ""),
        }
    }

    fn set_room(&mut self, room: Room, reason: &str) {
        if room == self.room {
            return;
        }
        self.room = room;
        match room {
            Room::Enough => tracing::info!("storage: there is room again"),
            Room::Low => tracing::warn!("storage: {reason}"),
            Room::Full | Room::Failing => tracing::error!("storage: {reason}"),
        }
        self.tell(Event::Room { room, reason: reason.to_owned() });
    }

    fn tell_horizons(&mut self) {
        self.note_backlog();
        let (written, synced) = (self.log.written(), self.log.synced());
        if self.told != (written, synced) {
            self.told = (written, synced);
            self.tell(Event::Appended { written, synced });
        }
    }

    fn note_backlog(&self) {
        let unsynced = length(self.log.unsynced_bytes());
        self.shared.released.store(self.taken.saturating_sub(unsynced), Ordering::Relaxed);
    }

    pub(super) fn tell(&mut self, event: Event) {
        (self.events)(event);
    }

    fn account(&self) {
        self.note_backlog();
        let counters = self.counters();
        counters.segments.set(length(self.log.segments()));
        counters.disk_bytes.set(self.log.bytes());
        counters.live_bytes.set(self.live_bytes.unwrap_or(0));
        counters.index_bytes.set(length(self.log.index_bytes()));
    }

    pub(super) fn counters(&self) -> &StorageCounters {
        &self.shared.counters
    }
}

impl<D: Directory> Drop for Worker<D> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the storage thread has ended by a fault of its own".to_owned();
            (self.events)(Event::Room { room: Room::Failing, reason });
        }
    }
}
