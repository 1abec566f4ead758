//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10 and 3.11).

use std::sync::Arc;

use crate::mqtt::{PacketId, ReasonCode, UserProperties};

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Which UNSUBACK answers it.
    pub packet_id: PacketId,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// The filters as they were sent; never empty \[MQTT-3.10.3-2\].
    pub filters: Vec<Arc<str>>,
}

/// The answer to UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order. MQTT 3.x does not write them.
    pub reasons: Vec<ReasonCode>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}
