//! The parts of MQTT 5.0's properties that several packets share.

use std::sync::Arc;

use bytes::Bytes;

use super::{SubscriptionIdentifier, TopicName};

/// User properties: pairs of names and values, in the order in which they came, repeated ones kept.
pub type UserProperties = Vec<(Arc<str>, Arc<str>)>;

/// What a payload is said to be (MQTT 5.0 section 3.3.2.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadFormat {
    /// Unspecified bytes.
    Bytes,
    /// UTF-8 encoded text.
    Utf8,
}

/// The properties of a PUBLISH that belong to the message itself and travel on to its subscribers, and the
/// subscription identifiers that the server adds. The topic alias belongs to the packet, not to the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishProperties {
    /// What the payload is said to be.
    pub payload_format: Option<PayloadFormat>,
    /// Seconds for which the message is worth delivering.
    pub message_expiry_interval: Option<u32>,
    /// Where a response is wanted.
    pub response_topic: Option<TopicName>,
    /// What tells the requester which of its requests a response belongs to.
    pub correlation_data: Option<Bytes>,
    /// What the payload is, in the applications' own words.
    pub content_type: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// The identifiers of the subscriptions that the message matched; only from server to client.
    pub subscription_identifiers: Vec<SubscriptionIdentifier>,
}

impl PublishProperties {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.payload_format.is_none()
            && self.message_expiry_interval.is_none()
            && self.response_topic.is_none()
            && self.correlation_data.is_none()
            && self.content_type.is_none()
            && self.user_properties.is_empty()
            && self.subscription_identifiers.is_empty()
    }
}
