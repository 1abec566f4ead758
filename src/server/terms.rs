//! What holds at a listener.

use std::num::NonZeroU32;

use crate::broker::{Durability, PolicyName};
use crate::connection::ConnectionLimits;
use crate::transport::ListenerConfig;

/// Listeners on terms of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerGroup {
    /// Where to listen.
    pub listeners: Vec<ListenerConfig>,
    /// On what terms.
    pub terms: Terms,
}

/// The terms on which connections are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The bounds on each connection.
    pub connection: ConnectionLimits,
    /// How many connections there may be, and may come, on these terms; what holds for all of them holds too.
    pub accept: AcceptLimits,
    /// Under which policy clients come.
    pub policy: PolicyName,
    /// What has to hold before clients are told that something is kept; `None`: what the broker's settings say.
    pub durability: Option<Durability>,
}

/// How many connections there may be at a time, and how many may come. Those beyond are closed without a word: which
/// version of MQTT they speak is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptLimits {
    /// In all.
    pub connections: usize,
    /// From one IPv4 address, or from one IPv6 network of 64 bits. Connections over Unix sockets count only in all.
    pub connections_per_address: usize,
    /// Of all, those whose client has not been let in yet: whose handshakes are under way, or whose CONNECT.
    pub unfinished: usize,
    /// Of those from one address, the ones whose client has not been let in yet.
    pub unfinished_per_address: usize,
    /// Connections that may come in a second, and at once; `None`: any number.
    pub connection_rate: Option<NonZeroU32>,
    /// Those of them that may come from one address; `None`: any number.
    pub connection_rate_per_address: Option<NonZeroU32>,
}

impl AcceptLimits {
    /// No limits.
    pub const NONE: Self = Self {
        connections: usize::MAX,
        connections_per_address: usize::MAX,
        unfinished: usize::MAX,
        unfinished_per_address: usize::MAX,
        connection_rate: None,
        connection_rate_per_address: None,
    };
}

impl Default for AcceptLimits {
    /// No address can take more than half of what there is.
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 50_000,
            unfinished: 20_000,
            unfinished_per_address: 10_000,
            connection_rate: None,
            connection_rate_per_address: None,
        }
    }
}
