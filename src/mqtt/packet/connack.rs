//! CONNACK (MQTT 5.0 section 3.2).

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::{ClientId, QoS, ReasonCode, UserProperties};

/// The answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the client's session was there already.
    pub session_present: bool,
    /// Accepted, or why not. For MQTT 3.x it is written as the return code that comes nearest.
    pub reason: ReasonCode,
    /// What the server tells about itself; MQTT 5.0 only.
    pub properties: ConnAckProperties,
}

/// The properties of CONNACK. `None` (or `true` for what is available) is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Seconds the session outlives the connection, where the server chose another value than the client.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the client may have under way to the server.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS with which the client may publish; written if below 2.
    pub maximum_qos: QoS,
    /// Whether retained messages are supported; written if not.
    pub retain_available: bool,
    /// The largest packet that the server takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier, where the server assigned it.
    pub assigned_client_id: Option<ClientId>,
    /// The largest topic alias that the server takes; written if above 0.
    pub topic_alias_maximum: u16,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// Whether wildcards may be subscribed to; written if not.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers; written if not.
    pub subscription_identifier_available: bool,
    /// Whether shared subscriptions are supported; written if not.
    pub shared_subscription_available: bool,
    /// The keep-alive that the server uses instead of the client's, in seconds.
    pub server_keep_alive: Option<u16>,
    /// The basis for response topics.
    pub response_information: Option<Arc<str>>,
    /// Another server to use.
    pub server_reference: Option<Arc<str>>,
    /// The method of an authentication exchange.
    pub authentication_method: Option<Arc<str>>,
    /// What the method wants said.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnAckProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::new(),
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}
