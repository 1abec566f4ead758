//! CONNECT (MQTT 5.0 section 3.1).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::{ClientId, ProtocolVersion, PublishProperties, QoS, TopicName, UserProperties};

/// A client's request to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Which MQTT the client speaks.
    pub version: ProtocolVersion,
    /// Whether a session that is there already is to be discarded (in MQTT 3.x: clean session).
    pub clean_start: bool,
    /// Seconds; 0 turns the keep-alive off.
    pub keep_alive: u16,
    /// Who connects. May be empty: then the server names the client.
    pub client_id: ClientId,
    /// What is published when the connection ends otherwise than by a normal DISCONNECT.
    pub will: Option<Box<Will>>,
    /// The user name.
    pub username: Option<Arc<str>>,
    /// The password.
    pub password: Option<Password>,
    /// What else MQTT 5.0 says.
    pub properties: ConnectProperties,
}

/// A password. Its `Debug` prints only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({} bytes)", self.0.len())
    }
}

/// The will of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published.
    pub payload: Bytes,
    /// With which QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds between the end of the connection and the publication.
    pub delay_interval: u32,
    /// The properties of the publication.
    pub properties: PublishProperties,
}

/// The properties of CONNECT, with the values that hold where the client left them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds for which the session outlives the connection; `u32::MAX`: for ever. In MQTT 3.x it follows from
    /// `clean_start`: 0, or for ever.
    pub session_expiry_interval: u32,
    /// How many QoS 1 and 2 messages the client takes at a time.
    pub receive_maximum: NonZeroU16,
    /// The largest packet that the client takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The largest topic alias that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the client wants response information.
    pub request_response_information: bool,
    /// Whether the client wants reason strings and user properties elsewhere than on PUBLISH, CONNACK, DISCONNECT.
    pub request_problem_information: bool,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// The method of an authentication exchange.
    pub authentication_method: Option<Arc<str>>,
    /// What the method wants said.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: UserProperties::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}
