//! PUBLISH (MQTT 5.0 section 3.3).

use bytes::Bytes;

use crate::mqtt::{PacketId, PublishProperties, QoS, TopicAlias, TopicName};

/// A publication, as a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether the packet may have been sent before.
    pub dup: bool,
    /// How surely it is to be delivered.
    pub qos: QoS,
    /// Whether it is to be kept for later subscribers.
    pub retain: bool,
    /// Where it is published; `None` where the topic alias stands for it.
    pub topic: Option<TopicName>,
    /// The number that stands for the topic, or shall from now on; MQTT 5.0 only.
    pub topic_alias: Option<TopicAlias>,
    /// Set exactly if `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// What is published.
    pub payload: Bytes,
    /// What else is said about it; `None` where nothing is.
    pub properties: Option<Box<PublishProperties>>,
}
