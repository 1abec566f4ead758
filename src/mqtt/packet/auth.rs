//! AUTH (MQTT 5.0 section 3.15).

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::{ReasonCode, UserProperties};

/// A step of an authentication exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue authentication, or re-authenticate.
    pub reason: ReasonCode,
    /// The method, agreed in CONNECT.
    pub method: Option<Arc<str>>,
    /// What the method wants said.
    pub data: Option<Bytes>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}
