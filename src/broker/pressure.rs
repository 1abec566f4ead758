//! What gives way where memory becomes scarce, and in which order: reading from those who make it so, queued messages
//! of QoS 0, queued messages as the queue policy says, new connections.
//!
//! How scarce it is follows from what is accounted for ([`Memory`](super::Memory)) and the bound on it. Each measure is
//! taken bit by bit, the largest queues first, so that no client waits for it to be done; each has a counter.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::QueuePolicy;
use super::loads::{Lane, LoadIndex, SMALLEST};
use super::session::Session;
use super::session::queue::{Loads, Offer};
use super::{Broker, ConnectionId, Consequence, Output, SessionKey};
use crate::clock::Instant;
use crate::mqtt::{QoS, ReasonCode};

/// How scarce memory is, and so which measures are taken: all up to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Scarcity {
    /// There is enough.
    #[default]
    None,
    /// Those publishers are no longer read from whose messages pile up most; less is read ahead and kept in the cache.
    HoldBack,
    /// Queued messages of QoS 0 are dropped.
    DropQos0,
    /// Other queued messages are dropped, as the queue policy says.
    DropQueued,
    /// New sessions and subscriptions, and retained messages, are refused.
    Refuse,
    /// Nothing is left: nobody can come.
    Full,
}

impl Scarcity {
    /// From where on it is so, in hundredths of what there may be.
    const fn from(self) -> usize {
        match self {
            Self::None => 0,
            Self::HoldBack => 80,
            Self::DropQos0 => 86,
            Self::DropQueued => 92,
            Self::Refuse => 96,
            Self::Full => 100,
        }
    }

    /// From how many bytes on it is so.
    pub(super) const fn bytes(self, most: usize) -> usize {
        most / 100 * self.from()
    }

    fn of(bytes: usize, most: usize) -> Self {
        let all = [Self::Full, Self::Refuse, Self::DropQueued, Self::DropQos0, Self::HoldBack];
        all.into_iter().find(|scarcity| bytes >= scarcity.bytes(most)).unwrap_or_default()
    }
}

/// It is over when there is so much less than made it begin, in hundredths of what there may be.
const RELIEF: usize = 4;

/// For so long a publisher is not read from at a time. Then it gets on a little, as it may have acknowledgements to
/// send that free memory, or a sign of life.
const HOLD: Duration = Duration::from_secs(1);

/// Who has made no more pile up recently than this part of what there may be is not held back for it.
const LIGHT_PART: usize = 4_096;

/// What is counted of publishers loses half of its weight in this time.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// Messages that are dropped in a turn.
const DROPPED_AT_A_TIME: usize = 500;

/// Messages that are dropped at most for one that comes.
const DROPPED_FOR_ONE: usize = 32;

/// Publishers that are read from again in a turn.
const RESUMED_AT_A_TIME: usize = 100;

/// What is known of how scarce memory is, and why.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    scarcity: Scarcity,
    pub(super) loads: LoadIndex,
    /// What the message that is being handed around has added to queues so far, in bytes.
    pub(super) piling_up: usize,
    /// Publishers that are not read from, and when they are again.
    held_back: VecDeque<(Instant, ConnectionId)>,
    /// Half-lives since the start.
    epoch: u64,
    /// What has piled up recently, in bytes.
    piled_up: usize,
    /// The publishers to whom that is due, in this half-life and in the one before.
    publishers: [usize; 2],
}

/// What a publisher has made pile up recently, in bytes as they were in `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Share {
    epoch: u64,
    bytes: usize,
    /// Whether it is not read from.
    is_held_back: bool,
}

impl Pressure {
    pub(super) const fn scarcity(&self) -> Scarcity {
        self.scarcity
    }

    /// How many publishers are not read from.
    pub(super) fn held_back(&self) -> usize {
        self.held_back.len()
    }

    fn begin_epoch(&mut self, now: Instant) {
        let epoch = u64::try_from(now.since_start().as_millis() / HALF_LIFE.as_millis()).unwrap_or(u64::MAX);
        if epoch > self.epoch {
            let passed = epoch - self.epoch;
            self.piled_up = halved(self.piled_up, passed);
            let [now, _] = self.publishers;
            self.publishers = [0, if passed == 1 { now } else { 0 }];
            self.epoch = epoch;
        }
    }

    /// So many bytes more wait because of a publisher. Whether it has made no less pile up than others on average.
    fn blame(&mut self, share: &mut Share, bytes: usize, now: Instant) -> bool {
        self.begin_epoch(now);
        let [this, last] = &mut self.publishers;
        if share.epoch < self.epoch || share.bytes == 0 {
            *this += 1;
            share.bytes = halved(share.bytes, self.epoch - share.epoch);
            share.epoch = self.epoch;
        }
        share.bytes += bytes;
        self.piled_up += bytes;
        share.bytes.saturating_mul((*this).max(*last)) >= self.piled_up
    }
}

/// Whether the client is there, and has acknowledged all that was sent to it: those who do so do not lose what waits
/// only until they are known to have read what came before.
fn owes_nothing(session: &Session) -> bool {
    session.attachment.is_some() && session.inflight.active() == 0 && session.queue.is_empty()
}

fn halved(bytes: usize, times: u64) -> usize {
    u32::try_from(times).ok().and_then(|times| bytes.checked_shr(times)).unwrap_or_default()
}

impl Broker {
    /// Finds out how scarce memory is.
    pub(super) fn feel_pressure(&mut self) {
        let most = self.config.limits.memory;
        if most == usize::MAX {
            return;
        }
        let bytes = self.memory().total();
        let (before, now) = (self.pressure.scarcity, Scarcity::of(bytes, most));
        let relieved = || bytes + most / 100 * RELIEF < before.bytes(most);
        if now > before || (now < before && relieved()) {
            self.pressure.scarcity = now;
            if now == Scarcity::None {
                self.pressure.loads.rest();
            } else {
                self.pressure.loads.watch();
            }
            let cached = self.config.limits.cached_bytes;
            self.messages.set_cache_bytes(if now == Scarcity::None { cached } else { cached / 8 });
            tracing::debug!(?before, ?now, bytes, "memory");
        }
    }

    /// A publisher has made so many bytes more wait than before: if memory is scarce, and others did less, it has to
    /// wait.
    pub(super) fn blame(&mut self, key: SessionKey, bytes: usize, now: Instant) {
        if bytes == 0 || self.config.limits.memory == usize::MAX {
            return;
        }
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        let is_heavy = self.pressure.blame(&mut attachment.share, bytes, now)
            && attachment.share.bytes > self.config.limits.memory / LIGHT_PART;
        if is_heavy && self.pressure.scarcity >= Scarcity::HoldBack && !attachment.share.is_held_back {
            attachment.share.is_held_back = true;
            self.pressure.held_back.push_back((now + HOLD, attachment.connection));
            self.counters.publishers_held_back += 1;
        }
    }

    /// Whether memory is so scarce that something gives way.
    pub fn is_memory_scarce(&self) -> bool {
        self.pressure.scarcity > Scarcity::None
    }

    /// Whether nothing is to be read from this connection for a while. [`Output::Resume`] says when that is over.
    pub fn is_held_back(&self, connection: ConnectionId) -> bool {
        !self.pressure.held_back.is_empty()
            && self.sessions.of_connection(connection).is_some_and(|key| {
                let attachment = self.sessions.get(key).and_then(|session| session.attachment.as_ref());
                attachment.is_some_and(|attachment| attachment.share.is_held_back)
            })
    }

    /// When there is something to be done about memory.
    pub(super) fn pressure_deadline(&self) -> Option<Instant> {
        let Pressure { scarcity, loads, held_back, .. } = &self.pressure;
        let sheds = loads.has_work()
            || (*scarcity >= Scarcity::DropQos0 && loads.largest(Lane::Unacknowledged).is_some())
            || (*scarcity >= Scarcity::DropQueued && loads.largest(Lane::Acknowledged).is_some());
        let first = held_back.front().map(|(at, _)| *at);
        if sheds || (*scarcity == Scarcity::None && first.is_some()) { Some(Instant::START) } else { first }
    }

    /// Does something about memory.
    pub(super) fn relieve(&mut self, now: Instant) {
        self.feel_pressure();
        self.resume(now);
        if self.pressure.loads.has_work() {
            let sessions = &self.sessions;
            let loads_of = |key| sessions.get(key).map(|session| session.queue.loads());
            self.pressure.loads.work(sessions.places(), loads_of);
        }
        if self.pressure.scarcity == Scarcity::None {
            return;
        }
        self.messages.make_room(self.journal.written());
        for _ in 0..DROPPED_AT_A_TIME {
            let dropped = match self.pressure.scarcity {
                Scarcity::None | Scarcity::HoldBack => false,
                Scarcity::DropQos0 => self.drop_from_largest(Lane::Unacknowledged).is_some(),
                Scarcity::DropQueued | Scarcity::Refuse | Scarcity::Full => {
                    self.drop_from_largest(Lane::Unacknowledged).is_some()
                        || self.drop_from_largest(Lane::Acknowledged).is_some()
                }
            };
            if !dropped {
                break;
            }
            self.feel_pressure();
        }
    }

    /// Reads again from publishers that have waited long enough, or need not wait any more.
    fn resume(&mut self, now: Instant) {
        for _ in 0..RESUMED_AT_A_TIME {
            let is_scarce = self.pressure.scarcity >= Scarcity::HoldBack;
            let Some(&(at, connection)) = self.pressure.held_back.front() else { return };
            if is_scarce && at > now {
                return;
            }
            self.pressure.held_back.pop_front();
            let attachment = self
                .sessions
                .of_connection(connection)
                .and_then(|key| self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut()));
            if let Some(attachment) = attachment {
                attachment.share.is_held_back = false;
            }
            self.outputs.push_back(Output::Resume { connection });
        }
    }

    /// Drops one message of those who have most waiting in this lane. How many bytes that counts.
    fn drop_from_largest(&mut self, lane: Lane) -> Option<usize> {
        let key = self.pressure.loads.largest(lane)?;
        let policy = self.config.queue_policy;
        let session = self.sessions.get_mut(key)?;
        let offer = match (lane, policy) {
            (Lane::Unacknowledged, _) => session.queue.take_newest_qos0(),
            (Lane::Acknowledged, QueuePolicy::DropOldest) => session.queue.take_oldest(),
            (Lane::Acknowledged, QueuePolicy::DropNewest | QueuePolicy::Disconnect) => {
                session.queue.take_newest()
            }
        };
        let attachment = session.attachment.as_ref();
        if lane == Lane::Acknowledged
            && policy == QueuePolicy::Disconnect
            && let Some(attachment) = attachment
        {
            self.counters.disconnected_memory += 1;
            self.consequences.push_back(Consequence::Close {
                connection: attachment.connection,
                reason: ReasonCode::QuotaExceeded,
                detail: "memory is scarce and the queue of the session is large",
            });
        }
        let Some(offer) = offer else {
            self.queue_changed(key);
            return None;
        };
        session.dropped += 1;
        match lane {
            Lane::Unacknowledged => self.counters.dropped_memory_qos0 += 1,
            Lane::Acknowledged => self.counters.dropped_memory += 1,
        }
        self.waiting.remove(&offer);
        self.settle_place(key, &offer);
        self.queue_changed(key);
        Some(offer.counted())
    }

    /// Whether a message may wait that will count so much: where memory is scarce, others have to give way for it.
    pub(super) fn may_wait(&mut self, key: SessionKey, offer: &Offer, will_count: usize) -> bool {
        if self.pressure.scarcity < Scarcity::DropQos0 {
            return true;
        }
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if offer.qos == QoS::AtMostOnce {
            session.dropped += 1;
            self.counters.dropped_memory_qos0 += 1;
            return false;
        }
        let mut needed = will_count;
        for _ in 0..DROPPED_FOR_ONE {
            if needed == 0 || self.pressure.scarcity < Scarcity::DropQueued {
                break;
            }
            let Some(bytes) = self.drop_from_largest(Lane::Acknowledged) else { break };
            needed = needed.saturating_sub(bytes);
        }
        self.feel_pressure();
        if needed == 0 || self.pressure.scarcity < Scarcity::Full {
            return true;
        }
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if will_count < SMALLEST && owes_nothing(session) {
            return true;
        }
        session.dropped += 1;
        self.counters.dropped_memory += 1;
        // Its publisher has to wait as if there had been room for it.
        self.pressure.piling_up += will_count;
        false
    }

    /// A session's queue may be larger or smaller than before.
    pub(super) fn queue_changed(&mut self, key: SessionKey) {
        let loads = self.sessions.get(key).map_or_else(Loads::default, |session| session.queue.loads());
        self.pressure.loads.note_if_watching(key, loads);
    }
}
