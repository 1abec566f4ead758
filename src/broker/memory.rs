//! What the broker's state occupies, in bytes: what each kind of thing costs, and what all of it costs now.
//!
//! Each sum is kept where the thing is made and given back, so that asking costs nothing. What a thing costs beside
//! its strings and payloads was measured (`tests/accounting.rs` does so again): a little more than the allocator is asked
//! for, as tables and queues have room for more than they hold.

use super::Broker;
use super::journal::live;
use super::session::queue::{Content, Offer};
use crate::mqtt::message::identifiers_footprint;

/// A session: its own entry, those that lead to it, and where its first subscription stands.
pub(super) const SESSION: usize = 704;

/// What a connection adds to its session.
pub(super) const ATTACHMENT: usize = 128;

/// A place in a queue, or of a message under way.
pub(super) const PLACE: usize = 56;

/// A message that the journal holds, without its body.
pub(super) const KEPT_MESSAGE: usize = 48;

/// A retained message, beside what it takes itself.
const RETAINED: usize = 56;

/// A packet identifier that waits for its PUBREL.
pub(super) const RECEIVED: usize = 16;

/// An acknowledgement that waits for the journal.
pub(super) const HELD: usize = 128;

/// The first level of a session's response topics.
pub(super) const RESPONSE_TOPIC: usize = 160;

/// What the broker's state occupies, in bytes, by what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Sessions, with the identifiers of QoS 2 messages that they have received, and their response topics.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Wills.
    pub wills: usize,
    /// Messages that wait for clients or are under way to them and are nowhere but in memory, each once.
    pub queued: usize,
    /// The places that messages have in queues and under way.
    pub places: usize,
    /// What is known of the messages that the journal holds.
    pub kept: usize,
    /// Messages that are in memory although the journal holds them.
    pub cached: usize,
    /// What was handed over for clients and has not been written yet.
    pub outstanding: usize,
    /// Records that have not been taken to the disk, and what waits for them.
    pub journal: usize,
    /// Packets that have come and wait for their turn.
    pub backlog: usize,
    /// What is around the broker, as it [was told](super::Input::Outside).
    pub outside: usize,
}

impl Memory {
    /// All together.
    pub fn total(&self) -> usize {
        self.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Names and bytes, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
        [
            ("memory_sessions", self.sessions),
            ("memory_subscriptions", self.subscriptions),
            ("memory_retained", self.retained),
            ("memory_wills", self.wills),
            ("memory_queued", self.queued),
            ("memory_places", self.places),
            ("memory_kept", self.kept),
            ("memory_cached", self.cached),
            ("memory_outstanding", self.outstanding),
            ("memory_journal", self.journal),
            ("memory_backlog", self.backlog),
            ("memory_outside", self.outside),
        ]
        .into_iter()
    }
}

/// Messages that wait for clients or are under way to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Waiting {
    /// What the bound on all queues counts: see [`Offer::counted`].
    pub(super) counted: usize,
    /// Bytes of the messages that are nowhere else, each once.
    pub(super) bodies: usize,
    /// Bytes of the places they have.
    pub(super) places: usize,
    /// Bytes in the journal that say that they wait.
    pub(super) kept: u64,
}

impl Waiting {
    /// A message waits, or is under way.
    pub(super) fn add(&mut self, offer: &Offer) {
        self.counted += offer.counted();
        self.places += place(offer);
        self.kept += live::place(offer);
        if let Content::Here(message) = &offer.content
            && message.places.add()
        {
            self.bodies += message.footprint();
        }
    }

    /// A message that was [added](Self::add) is gone.
    pub(super) fn remove(&mut self, offer: &Offer) {
        self.counted -= offer.counted();
        self.places -= place(offer);
        self.kept -= live::place(offer);
        if let Content::Here(message) = &offer.content
            && message.places.remove()
        {
            self.bodies -= message.footprint();
        }
    }
}

pub(super) fn place(offer: &Offer) -> usize {
    PLACE + identifiers_footprint(offer.identifiers())
}

impl Broker {
    /// What its state occupies now, and what is around it, as far as it was told.
    pub fn memory(&self) -> Memory {
        Memory {
            sessions: self.sessions.bytes() + self.received_ids * RECEIVED + self.response_topics.bytes(),
            subscriptions: self.subscription_bytes,
            retained: self.retained.bytes() + self.retained.len() * RETAINED,
            wills: self.will_bytes,
            queued: self.waiting.bodies,
            places: self.waiting.places + self.orphans.bytes(),
            kept: self.messages.table_bytes(),
            cached: self.messages.cached_bytes(),
            outstanding: self.outstanding.total(),
            journal: self.journal.bytes(),
            backlog: self.backlog.bytes(),
            outside: self.outside,
        }
    }
}
