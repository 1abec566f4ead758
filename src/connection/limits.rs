//! The bounds on one connection.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::rate::RateLimitPolicy;

/// Every bound on one connection, with its default. CONNACK announces those that MQTT 5.0 can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// From the first byte of the transport to a whole CONNECT, and to the end of authentication.
    pub connect_timeout: Duration,
    /// The largest packet before the client is authenticated, in bytes.
    pub packet_before_connected: u32,
    /// The largest packet after that, in bytes; `None`: what MQTT can say, 268,435,460.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// QoS 1 and 2 messages a client may have under way to us; `None`: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest topic alias a client may use; 0: none.
    pub topic_alias_maximum: u16,
    /// Whether topics are given aliases on their way to clients that take them.
    pub auto_map_topic_alias: bool,
    /// Topic aliases that are given to one client at most, however many it would take: each costs memory.
    pub outbound_topic_aliases: u16,
    /// The keep-alive that replaces the client's, in seconds; 0: none is kept.
    pub server_keep_alive: Option<u16>,
    /// Bytes taken from a socket at a time.
    pub receive_buffer: usize,
    /// User properties of one packet.
    pub user_properties: usize,
    /// Bytes of packets that have begun and not ended, and of the requests and headers of transports that come before
    /// them, in all connections together.
    pub unfinished_bytes_total: usize,
    /// Topic filters of one SUBSCRIBE or UNSUBSCRIBE: in memory each is many times as long as on the wire.
    pub filters_per_packet: usize,
    /// Messages that a client may publish in a second, and at once; `None`: any number.
    pub message_rate: Option<NonZeroU32>,
    /// Bytes that a client may send in a second, and at once; `None`: any number.
    pub byte_rate: Option<NonZeroU64>,
    /// What is done about a client that sends more.
    pub rate_limit_policy: RateLimitPolicy,
    /// A write that makes no progress for so long ends the connection.
    pub write_timeout: Duration,
    /// How long the last words may take to be written before the connection is cut.
    pub close_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            packet_before_connected: 1 << 20,
            maximum_packet_size: None,
            receive_maximum: None,
            topic_alias_maximum: 0,
            auto_map_topic_alias: false,
            outbound_topic_aliases: 1_024,
            server_keep_alive: None,
            receive_buffer: 64 << 10,
            user_properties: 256,
            unfinished_bytes_total: 1 << 30,
            filters_per_packet: 4_096,
            message_rate: None,
            byte_rate: None,
            rate_limit_policy: RateLimitPolicy::Delay,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
        }
    }
}
