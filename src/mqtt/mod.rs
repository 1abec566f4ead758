//! The vocabulary of the wire: packets, topics, reason codes, and how they are written as bytes.
//!
//! Pure: it knows neither connections nor the broker. There is one set of packet types for all versions of the
//! protocol (MQTT 5.0's is the superset); the codec is told the [`ProtocolVersion`].
//!
//! Start with [`packet::Packet`], then [`codec`].

pub mod codec;
pub mod error;
pub mod identifier;
pub mod message;
pub mod packet;
pub mod property;
pub mod qos;
pub mod reason;
pub mod topic;
pub mod version;

pub use error::DecodeError;
pub use identifier::{ClientId, PacketId, SubscriptionIdentifier, TopicAlias};
pub use message::{Delivery, Message, Places};
pub use packet::Packet;
pub use property::{PayloadFormat, PublishProperties, UserProperties};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use topic::{ShareName, SubscriptionFilter, TopicFilter, TopicName};
pub use version::ProtocolVersion;
