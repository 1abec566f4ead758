//! PUBLISH packets made from deliveries, without a copy of the payload.

use super::EncodeError;
use crate::mqtt::{Delivery, Message, ProtocolVersion, QoS, SubscriptionIdentifier, TopicAlias};

/// How a delivery names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryTopic {
    /// By its name.
    Name,
    /// By its name, for which the alias stands from now on; MQTT 5.0 only.
    NameAndAlias(TopicAlias),
    /// By the alias alone, which the client knows already; MQTT 5.0 only.
    Alias(TopicAlias),
}

/// Appends the PUBLISH packet of a delivery to `out`, all but the payload: that follows from the message itself.
///
/// `remaining_expiry` is written as the message expiry interval, in seconds, instead of the publisher's.
pub fn encode_delivery_head(
    delivery: &Delivery,
    topic: DeliveryTopic,
    remaining_expiry: Option<u32>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let _ = (delivery, topic, remaining_expiry, version, out);
    Err(EncodeError { what: "any delivery" })
}

/// The size on the wire of the whole PUBLISH packet of a message that is delivered so, its topic named without alias.
///
/// This is what is compared with the client's Maximum Packet Size. `usize::MAX` where no packet can hold it.
pub fn delivery_len(
    message: &Message,
    qos: QoS,
    identifiers: &[SubscriptionIdentifier],
    version: ProtocolVersion,
) -> usize {
    let _ = (message, qos, identifiers, version);
    usize::MAX
}
