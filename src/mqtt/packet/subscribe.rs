//! SUBSCRIBE and SUBACK (MQTT 5.0 sections 3.8 and 3.9).

use std::sync::Arc;

use crate::mqtt::{PacketId, QoS, ReasonCode, SubscriptionIdentifier, UserProperties};

/// A request for subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Which SUBACK answers it.
    pub packet_id: PacketId,
    /// The identifier of all of its subscriptions.
    pub identifier: Option<SubscriptionIdentifier>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// What is asked for; never empty \[MQTT-3.8.3-2\].
    pub entries: Vec<SubscribeEntry>,
}

/// One of the subscriptions that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeEntry {
    /// The filter as it was sent: whether it is one is for the broker to say, entry by entry.
    pub filter: Arc<str>,
    /// How its messages are to be delivered.
    pub options: SubscriptionOptions,
}

/// How the messages of a subscription are delivered (MQTT 5.0 section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS.
    pub qos: QoS,
    /// Whether the client's own publications are kept from it.
    pub no_local: bool,
    /// Whether the retain flag is passed on as it was published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RetainHandling {
    /// With each SUBSCRIBE.
    #[default]
    Always,
    /// Only if the subscription was not there yet.
    IfNew,
    /// Never.
    Never,
}

/// The answer to SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each entry, in order. For MQTT 3.x a failure is written as 0x80.
    pub reasons: Vec<ReasonCode>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}
