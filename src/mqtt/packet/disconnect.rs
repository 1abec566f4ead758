//! DISCONNECT (MQTT 5.0 section 3.14).

use std::sync::Arc;

use crate::mqtt::{ReasonCode, UserProperties};

/// The last packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Seconds for which the session outlives the connection, where the client changes its mind about it.
    pub session_expiry_interval: Option<u32>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// Another server to use.
    pub server_reference: Option<Arc<str>>,
}

impl Disconnect {
    /// A DISCONNECT that gives this reason and nothing else.
    pub fn because(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::new(),
            server_reference: None,
        }
    }
}
