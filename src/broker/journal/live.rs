//! What of the journal is needed: the bytes of the records that would be there if all were written again now.
//!
//! The storage looks through the oldest records when it has more than twice as many bytes as are needed. So what is
//! counted here must never be less than what would be written, or it would go on for ever and gain nothing; and not much
//! more, or room would be given back late. Each sum is kept where the thing is made and forgotten.

use crate::broker::Broker;
use crate::broker::record::frame::HEADER_LEN;
use crate::broker::retained::Position;
use crate::broker::session::queue::{Content, Offer, Place};
use crate::broker::session::{Replay, Session};
use crate::broker::subscribe::FIXED_FOOTPRINT;
use crate::mqtt::{ClientId, Message};

/// Bytes of the number of a message or a session (at a million a second it takes 17 years until one has more), of a time
/// or a number of 32 bits, of a length, and of a packet identifier.
const NUMBER: usize = 7;
const SHORT: usize = 6;
const LENGTH: usize = 4;
const ID: usize = 3;

/// What the record of a message has beside its publisher, targets, topic, payload and properties: number, expiry,
/// footprint, and the lengths of publisher, targets, topic and properties.
const MESSAGE: usize = HEADER_LEN + 1 + NUMBER + SHORT + LENGTH + 1 + ID + 2 + 1;

/// One of the targets in it that has the number of the message.
const TARGET: usize = 1 + NUMBER + 1 + ID;

/// A target that may have a record of its own.
const QUEUED: usize = HEADER_LEN + NUMBER + 1 + TARGET + NUMBER;

/// A subscription, beside its filter and the name of its group.
const SUBSCRIBED: usize = HEADER_LEN + NUMBER + 1 + SHORT + "$share//".len();

/// A replay that is written down, beside its filter and the topic that it has come to.
const REPLAY: usize = HEADER_LEN + NUMBER + 1 + SHORT + 2 * LENGTH + 1;

/// A packet identifier in an exchange of QoS 2 whose message is not queued.
const EXCHANGE: usize = HEADER_LEN + NUMBER + NUMBER + ID;

/// The record that says that the broker was running.
const ALIVE: usize = HEADER_LEN + SHORT;

/// A message with this footprint. That counts its properties with more than they have in a record.
pub(super) fn message(footprint: u32) -> u64 {
    let fixed = u32::try_from(Message::FIXED_FOOTPRINT).unwrap_or_default();
    u64::from(footprint.saturating_sub(fixed)) + count(MESSAGE)
}

/// The place that an offer has, if it is written down.
pub(in crate::broker) fn place(offer: &Offer) -> u64 {
    let Content::Kept(Place { message, number, .. }) = offer.content else { return 0 };
    let identifiers = offer.identifiers().map_or(0, |identifiers| ID + identifiers.len() * SHORT);
    // What was queued when it was published has the number of its message, mostly.
    let target = if message == number { TARGET } else { QUEUED };
    count(target + identifiers) + u64::from(offer.shared_bytes())
}

/// So many subscriptions that occupy so many bytes, as [`footprint`](crate::broker::subscribe::footprint) has it.
pub(in crate::broker) fn subscriptions(number: usize, bytes: usize) -> u64 {
    let texts = bytes.saturating_sub(number.saturating_mul(FIXED_FOOTPRINT));
    count(texts + number.saturating_mul(SUBSCRIBED))
}

/// How far retained messages have come on their way to a subscription, if that is written down.
pub(in crate::broker) fn replay(replay: &Replay) -> u64 {
    let topic = match &replay.position {
        Position::At(topic) => topic.len(),
        Position::Behind(topic) => topic.as_str().len(),
    };
    if replay.is_written { count(REPLAY + replay.filter.as_str().len() + topic) } else { 0 }
}

/// What the record of a message has because of who published it, if it is retained.
pub(in crate::broker) fn publisher(publisher: &ClientId) -> u64 {
    count(ID + publisher.as_str().len())
}

/// What a target has because the subscription is shared.
pub(in crate::broker) fn shared(filter: &str) -> u32 {
    u32::try_from(ID + filter.len()).unwrap_or(u32::MAX)
}

/// Exchanges of QoS 2 of the sessions that are kept, so many.
fn exchanges(number: usize) -> u64 {
    count(number.saturating_mul(EXCHANGE))
}

impl Session {
    /// Its exchanges of QoS 2 that are written down beside its messages.
    pub(in crate::broker) fn kept_exchanges(&self) -> usize {
        if self.keeping.is_some() { self.received.len() + self.inflight.completing().len() } else { 0 }
    }
}

impl Broker {
    /// Bytes of the records that are needed: what the journal has beyond is dead.
    pub fn journal_live_bytes(&self) -> u64 {
        self.messages.live_bytes()
            + self.waiting.kept
            + self.orphans.kept_bytes()
            + self.journal.session_bytes
            + self.kept_subscription_bytes
            + self.replay_bytes
            + exchanges(self.kept_exchanges)
            + count(ALIVE)
    }
}

fn count(bytes: usize) -> u64 {
    crate::broker::count(bytes)
}
