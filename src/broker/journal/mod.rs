//! What is written down so that it survives, and who waits until it is.
//!
//! A broker with a journal says each change of what outlives it as a [`Record`], in a [`Batch`] that the shell takes
//! to the disk. It is told how far the journal is written and synced, and lets go then what had to wait: the
//! acknowledgements that promise something, and what would be sent twice if nobody knew that it was sent.
//!
//! `messages` has the messages that the journal holds, `hold` what waits, `keep` how places in queues are written
//! down, `room` what is when there is little room, `live` how much of all is needed, `recovery` how all is read again, `reclaim` how the oldest records are made unnecessary.

pub(super) mod hold;
pub(super) mod keep;
pub(super) mod live;
pub(super) mod messages;
pub(super) mod orphans;
mod recent;
mod reclaim;
pub mod recovery;
pub(super) mod room;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use self::room::Allowance;
use super::memory::HELD;
use super::record::{Batch, Horizon, Number, Record, Sequence, SessionId};
use super::session::SessionKey;
use crate::clock::{Epoch, Instant, WallTime};
use crate::mqtt::TopicFilter;

/// What has to be true before an acknowledgement leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// Nothing: what was acknowledged is written behind.
    Memory,
    /// The operating system has it: it survives the end of the broker, and not the loss of power.
    Os,
    /// The disk has it.
    #[default]
    Fsync,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Fsync => "fsync",
        })
    }
}

/// How sure which messages have to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DurabilityRules {
    /// Where nothing else is said.
    pub default: Durability,
    /// For messages whose topic matches; the first that matches decides.
    pub by_topic: Vec<(TopicFilter, Durability)>,
}

/// Whether there is room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// There is.
    #[default]
    Enough,
    /// The disk, or what may be used of it, is full but for what acknowledgements and ends need.
    Low,
    /// Nothing can be written: the disk, or what may be used of it, is full.
    Full,
    /// Nothing can be written: the disk does not do what it is told.
    Failing,
}

/// Bytes of records that may wait for the disk before clients are no longer listened to.
const BATCH_BYTES: usize = 8 << 20;

/// Places that one record says are done with.
const SETTLED_MAX: usize = 256;

/// The way to the disk.
#[derive(Debug)]
pub(super) struct Journal {
    is_open: bool,
    pub(super) epoch: Epoch,
    batch: Batch,
    /// What a session is done with, and is not in the batch yet: a client often acknowledges many messages at once, and
    /// one record is for all of them.
    settled: Option<(SessionId, Vec<Number>)>,
    /// Where the records of what is being handled begin.
    mark: Sequence,
    /// What has to be true before what is being handled is acknowledged.
    pub(super) durability: Durability,
    /// The last record that says that something is there no more.
    gone: Option<Sequence>,
    /// All records before this one are written.
    written: Sequence,
    /// All records before this one are synced.
    synced: Sequence,
    pub(super) room: Room,
    last_number: u64,
    last_session: u64,
    /// Bytes of the records that say how the sessions are.
    pub(super) session_bytes: u64,
    /// Sessions whose connection waits for the journal.
    holding: Vec<SessionKey>,
    /// How much waits for these connections.
    held: usize,
    /// Where nothing waits, for the next who has to.
    #[expect(clippy::vec_box, reason = "the boxes, too, are used again")]
    spare: Vec<Box<hold::Held>>,
    /// What may still be written about sessions while there is little room.
    allowance: Allowance,
    /// Batches that have been taken and are not written: the record behind each, and its bytes.
    taken: VecDeque<(Sequence, usize)>,
    taken_bytes: usize,
    /// Records before this one have been made unnecessary.
    reclaimed: Option<Sequence>,
    /// When a record said last that the broker was running.
    last_alive: Option<Instant>,
    /// That record.
    alive_record: Option<Sequence>,
    /// When it was last asked whether there should be one.
    alive_asked: Option<Instant>,
}

impl Journal {
    /// No journal: all is in memory.
    pub(super) fn none() -> Self {
        Self {
            is_open: false,
            epoch: Epoch::default(),
            batch: Batch::new(Sequence::FIRST),
            settled: None,
            mark: Sequence::FIRST,
            durability: Durability::Memory,
            gone: None,
            written: Sequence::FIRST,
            synced: Sequence::FIRST,
            room: Room::Enough,
            last_number: 0,
            last_session: 0,
            session_bytes: 0,
            holding: Vec::new(),
            held: 0,
            spare: Vec::new(),
            allowance: Allowance::default(),
            taken: VecDeque::new(),
            taken_bytes: 0,
            reclaimed: None,
            last_alive: None,
            alive_record: None,
            alive_asked: None,
        }
    }

    /// A journal whose next record is `next`, all before it being kept.
    fn open(&mut self, next: Sequence) {
        self.is_open = true;
        self.batch = Batch::new(next);
        (self.mark, self.written, self.synced) = (next, next, next);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// What is handled from here on is acknowledged when this holds for it.
    pub(super) const fn begin(&mut self, durability: Durability) {
        self.mark = self.batch.next();
        self.durability = durability;
    }

    /// The bytes of what has not been taken to the disk, and of what waits for that.
    pub(super) const fn bytes(&self) -> usize {
        self.batch.len() + self.held * HELD
    }

    /// All records before this one are written.
    pub(super) const fn written(&self) -> Sequence {
        self.written
    }

    /// The bytes of the records that have not been taken to the disk.
    pub(super) const fn batch_bytes(&self) -> usize {
        self.batch.len()
    }

    pub(super) fn append(&mut self, record: &Record<'_>) -> Sequence {
        debug_assert!(self.is_open, "a record without a journal");
        self.flush_settled();
        let sequence = record.append(&mut self.batch);
        if record.says_gone() {
            self.gone = Some(sequence);
        }
        sequence
    }

    /// Writes down that the session no longer has a message at this place: at once, or with others that follow.
    pub(super) fn settle(&mut self, session: SessionId, number: Number) {
        debug_assert!(self.is_open, "a record without a journal");
        if self.settled.as_ref().is_some_and(|(of, numbers)| *of != session || numbers.len() >= SETTLED_MAX) {
            self.flush_settled();
        }
        self.settled.get_or_insert_with(|| (session, Vec::new())).1.push(number);
    }

    /// Writes down what has been settled and is not in the batch yet: before anything else is, and before what is being
    /// handled is done with.
    pub(super) fn flush_settled(&mut self) {
        if let Some((session, numbers)) = self.settled.take() {
            Record::Settled { session, numbers }.append(&mut self.batch);
        }
    }

    /// The last record of what is being handled, if there is one.
    pub(super) fn awaited(&self) -> Option<Sequence> {
        self.last().filter(|last| *last >= self.mark)
    }

    /// The last record there is.
    pub(super) fn last(&self) -> Option<Sequence> {
        let before = self.batch.next().since(Sequence::FIRST).checked_sub(1)?;
        Some(Sequence::FIRST.plus(before))
    }

    /// Whether this holds for the record by now.
    fn is_kept(&self, record: Sequence, durability: Durability) -> bool {
        match durability {
            Durability::Memory => true,
            Durability::Os => record < self.written,
            Durability::Fsync => record < self.synced,
        }
    }

    fn wait_for(&mut self, durability: Durability) {
        match durability {
            Durability::Memory => {}
            Durability::Os => self.batch.wait_for(Horizon::Written),
            Durability::Fsync => self.batch.wait_for(Horizon::Synced),
        }
    }

    /// The bytes of the records that are not written.
    pub(super) const fn unwritten_bytes(&self) -> usize {
        self.batch.len() + self.taken_bytes
    }

    /// All records before this one have been written.
    pub(super) fn wrote(&mut self, written: Sequence) {
        while let Some((_, bytes)) = self.taken.front().filter(|(next, _)| *next <= written) {
            self.taken_bytes -= bytes;
            self.taken.pop_front();
        }
    }

    /// Says that the broker is running.
    pub(super) fn say_alive(&mut self, now: Instant) {
        self.last_alive = Some(now);
        let at = self.wall(now);
        self.alive_record = Some(self.append(&Record::Alive { at }));
    }

    pub(super) const fn next_number(&mut self) -> Number {
        self.last_number += 1;
        Number(self.last_number)
    }

    pub(super) const fn next_session(&mut self) -> SessionId {
        self.last_session += 1;
        SessionId(self.last_session)
    }

    pub(super) fn wall(&self, now: Instant) -> WallTime {
        self.epoch.to_wall(now)
    }
}

/// How often a record says that the broker is running, while there are sessions whose end is counted from when they
/// were connected last.
const ALIVE: Duration = Duration::from_secs(2);

impl super::Broker {
    /// When it is to be written down again that the broker is running.
    pub(super) fn alive_deadline(&self) -> Option<Instant> {
        (self.kept_attached > 0).then(|| self.journal.alive_asked.map_or(Instant::START, |at| at + ALIVE))
    }

    /// Writes down that the broker is running, if it is time to.
    pub(super) fn write_alive(&mut self, now: Instant) {
        if self.alive_deadline().is_some_and(|at| at <= now) {
            self.journal.alive_asked = Some(now);
            let is_pending = self.journal.alive_record.is_some_and(|record| record >= self.journal.written);
            if is_pending && !self.journal.room.is_there() {
                return; // One that cannot be written is enough.
            }
            self.journal.say_alive(now);
        }
    }

    /// Takes the records that are to be written next, if there are any. While a batch is on its way the next one
    /// gathers: whoever takes one early makes it small.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.journal.flush_settled();
        if self.journal.batch.is_empty() {
            return None;
        }
        let most = BATCH_BYTES.min(self.config.limits.kept_message_bytes);
        let journal = &mut self.journal;
        let is_long = journal.batch.len() > most;
        let batch = if is_long { journal.batch.take_front(most) } else { journal.batch.take() };
        journal.taken.push_back((batch.next(), batch.len()));
        journal.taken_bytes += batch.len();
        Some(batch)
    }

    /// Whether the records that wait to be taken are worth a batch although more come at once: they have so many bytes, or
    /// somebody waits until they are on the disk.
    pub const fn has_batch(&self, bytes: usize) -> bool {
        self.journal.batch.len() >= bytes || self.journal.batch.awaits(Horizon::Synced)
    }

    /// Whether more waits for the disk than should, `times` over. Where the disk is bounded that is what its reserve has
    /// room for.
    pub(super) fn is_journal_behind(&self, times: usize) -> bool {
        let most = (2 * BATCH_BYTES).min(self.config.limits.kept_message_bytes);
        self.journal.unwritten_bytes() > most.saturating_mul(times)
    }

    /// The number of the record that will be appended next.
    pub const fn next_record(&self) -> Sequence {
        self.journal.batch.next()
    }

    /// The number of the record that was appended last.
    pub fn last_record(&self) -> Option<Sequence> {
        self.journal.last()
    }

    /// Takes the place in the journal before which all records have become unnecessary, once the batches that were
    /// taken before are synced.
    pub const fn take_reclaimed(&mut self) -> Option<Sequence> {
        self.journal.reclaimed.take()
    }
}
