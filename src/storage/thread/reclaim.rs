//! When the oldest segment is looked through, to be removed.
//!
//! Always the oldest: a record that says that something has ended is then never removed before the record that says
//! that it is there.

use std::time::{Duration, Instant};

use super::Event;
use super::worker::Worker;
use crate::broker::record::Sequence;
use crate::storage::Fault;
use crate::storage::directory::{Directory, length};

/// Bytes that the broker gets to look through at a time: so few that nobody waits long for it.
const SLICE: u64 = 128 << 10;

/// While more is written, it gets twice as many bytes as that: half of them are dead, so that this keeps up. But not
/// more than so many.
const LARGEST_SLICE: u64 = 4 << 20;

/// Segments that may be there whatever is in them.
const SEGMENTS_AT_LEAST: u64 = 4;

/// Segments that may be there beyond twice those that are needed: each start after a crash may leave a short one.
const SHORT_SEGMENTS: u64 = 16;

/// After something failed, it is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reclaim {
    /// Nothing is being looked through.
    #[default]
    Idle,
    /// The broker looks through a slice.
    LookedThrough { up_to: Sequence, ends_segment: bool },
    /// The broker has looked through all before `up_to`: the segment can be removed.
    Removable { up_to: Sequence },
}

impl<D: Directory> Worker<D> {
    /// The broker has looked through a slice, and the last record that it has appended for that is this.
    pub(super) fn slice_done(&mut self, done: Sequence, moved: Option<Sequence>) {
        self.moved = self.moved.max(moved.map(Sequence::next));
        self.reclaim = match self.reclaim {
            Reclaim::LookedThrough { up_to, ends_segment: true } if up_to == done => {
                Reclaim::Removable { up_to }
            }
            Reclaim::LookedThrough { up_to, .. } if up_to == done => Reclaim::Idle,
            reclaim @ (Reclaim::Idle | Reclaim::LookedThrough { .. } | Reclaim::Removable { .. }) => reclaim,
        };
    }

    /// Whether a segment can be removed as soon as what was moved out of it is on the disk.
    pub(super) fn waits_for_sync(&self) -> bool {
        matches!(self.reclaim, Reclaim::Removable { .. }) && !self.is_moved()
    }

    fn is_moved(&self) -> bool {
        self.moved.is_none_or(|moved| moved <= self.log.synced())
    }

    /// Does what comes next, if anything does.
    pub(super) fn reclaim(&mut self) {
        let now = Instant::now();
        if self.reclaim_at.is_some_and(|at| now < at) {
            return;
        }
        self.reclaim_at = None;
        if let Err(fault) = self.try_to_reclaim() {
            tracing::error!("storage: the oldest records cannot be looked through or removed: {fault}");
            self.reclaim_at = Some(now + RETRY);
        }
    }

    fn try_to_reclaim(&mut self) -> Result<(), Fault> {
        if let Reclaim::Removable { up_to } = self.reclaim
            && self.is_moved()
        {
            let before = self.log.segments();
            self.log.remove_before(up_to)?;
            self.counters().segments_reclaimed.add(length(before - self.log.segments()));
            self.reclaim = Reclaim::Idle;
            self.moved = None;
            // If there was no room, there is now.
            self.retry_now();
        }
        if self.reclaim == Reclaim::Idle
            && self.is_worthwhile()
            && let Some(slice) = self.log.next_slice(self.slice_len())?
        {
            self.sliced = self.taken;
            let (up_to, ends_segment) = (slice.up_to(), slice.ends_segment());
            self.reclaim = Reclaim::LookedThrough { up_to, ends_segment };
            if !slice.lost().is_empty() {
                self.counters().damaged_places.add(length(slice.lost().len()));
                tracing::error!("records {:?} are damaged and have been set aside", slice.lost());
            }
            self.tell(Event::Reclaim(slice));
        }
        Ok(())
    }

    fn slice_len(&self) -> usize {
        let pace = self.taken.saturating_sub(self.sliced).saturating_mul(2);
        usize::try_from(pace.clamp(SLICE, LARGEST_SLICE)).unwrap_or(usize::MAX)
    }

    /// Whether looking through the oldest segments makes room, by what the broker says: before it has said what still
    /// matters, all does.
    pub(super) fn makes_room(&self) -> bool {
        let segment = self.log.options().segment_bytes;
        self.live_bytes.is_some_and(|live| self.log.bytes() > live.saturating_add(2 * segment))
    }

    fn is_worthwhile(&self) -> bool {
        let Some(live) = self.live_bytes else { return false };
        let (bytes, segment) = (self.log.bytes(), self.log.options().segment_bytes);
        let count = length(self.log.segments());
        let is_half_dead = bytes > (SEGMENTS_AT_LEAST * segment).max(live.saturating_mul(2));
        // Where room is short, less has to be gained.
        let is_short = self.room_left.is_some_and(|left| left < SEGMENTS_AT_LEAST * segment);
        let is_scattered = count > SHORT_SEGMENTS + 2 * bytes / segment.max(1);
        is_half_dead || (is_short && self.makes_room()) || is_scattered
    }
}
