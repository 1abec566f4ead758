//! A publication at rest, and on its way to one client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::{PacketId, PublishProperties, QoS, SubscriptionIdentifier, TopicName};
use crate::clock::Instant;

/// A publication at rest: shared, behind an `Arc`, by all the sessions that wait for it and by the retained store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// What was published.
    pub payload: Bytes,
    /// The QoS with which it was published.
    pub qos: QoS,
    /// Whether its publisher set the retain flag.
    pub retain: bool,
    /// From when on it is not worth delivering; from the message expiry interval.
    pub expires_at: Option<Instant>,
    /// What else its publisher said about it; `None` where nothing was. The message expiry interval in here is the
    /// publisher's: what is left of it at delivery follows from `expires_at`.
    pub properties: Option<Box<PublishProperties>>,
    /// In how many places it waits.
    pub places: Places,
}

/// In how many places a message waits, so that it is known when the first of them takes it in and the last one gives it
/// up: that is when memory is taken and given back, however many there are. Who counts is one, and does so alone.
///
/// It does not tell messages apart, and a copy waits nowhere.
#[derive(Debug, Default)]
pub struct Places(AtomicU32);

impl Places {
    /// One place more. Whether it is the first.
    pub fn add(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.saturating_add(1), Ordering::Relaxed);
        before == 0
    }

    /// One place less. Whether it was the last.
    pub fn remove(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.saturating_sub(1), Ordering::Relaxed);
        before == 1
    }
}

impl Clone for Places {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Message {
    /// Whether it is not worth delivering any more.
    pub fn has_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What of its [footprint](Self::footprint) it has beside topic, payload and properties.
    pub(crate) const FIXED_FOOTPRINT: usize = 160;

    /// The bytes that it occupies while it waits, by and large: what bounds on bytes count.
    pub fn footprint(&self) -> usize {
        Self::FIXED_FOOTPRINT
            + self.topic.as_str().len()
            + self.payload.len()
            + self.properties.as_deref().map_or(0, properties_footprint)
    }
}

/// The bytes that subscription identifiers occupy.
pub(crate) fn identifiers_footprint(identifiers: Option<&[SubscriptionIdentifier]>) -> usize {
    identifiers.map_or(0, size_of_val)
}

/// The bytes that the properties of a message occupy.
pub(crate) fn properties_footprint(properties: &PublishProperties) -> usize {
    const FIXED: usize = 160;
    const PAIR: usize = 64;
    FIXED
        + properties.response_topic.as_ref().map_or(0, |topic| topic.as_str().len())
        + properties.correlation_data.as_ref().map_or(0, Bytes::len)
        + properties.content_type.as_ref().map_or(0, |text| text.len())
        + properties
            .user_properties
            .iter()
            .map(|(name, value)| PAIR + name.len() + value.len())
            .sum::<usize>()
}

/// A [`Message`] on its way to one client, as a PUBLISH packet in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is delivered.
    pub message: Arc<Message>,
    /// Set exactly if `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// Whether this packet may have been sent before.
    pub dup: bool,
    /// The retain flag of this delivery.
    pub retain: bool,
    /// The identifiers of the subscriptions that the message matched; `None` where there is none.
    pub identifiers: Option<Box<[SubscriptionIdentifier]>>,
}

impl Delivery {
    /// The bytes that a delivery counts against the outbound window of its connection: about what it occupies, in
    /// memory and then on the wire, that is not shared with others.
    pub fn handed_over_bytes(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + self.message.topic.as_str().len()
            + self.message.payload.len()
            + self.message.properties.as_deref().map_or(0, properties_footprint)
            + identifiers_footprint(self.identifiers.as_deref())
    }
}
