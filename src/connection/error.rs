//! What a peer did wrong, and what to tell it.

use crate::mqtt::codec::EncodeError;
use crate::mqtt::{DecodeError, ReasonCode};

/// A peer broke the protocol: its connection ends, with this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}: {reason}")]
pub struct ProtocolError {
    /// What to tell the peer, where its version of the protocol has a way to.
    pub reason: ReasonCode,
    /// What was wrong, for log and reason string.
    pub detail: &'static str,
}

impl ProtocolError {
    /// The packet must not come, or not now (0x82).
    pub(super) const fn protocol(detail: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, detail }
    }

    /// Another reason.
    pub(crate) const fn because(reason: ReasonCode, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

impl From<DecodeError> for ProtocolError {
    fn from(DecodeError { reason, detail }: DecodeError) -> Self {
        Self { reason, detail }
    }
}

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is larger than the client's Maximum Packet Size, whatever is left out \[MQTT-3.1.2-24\].
    #[error("the packet is larger than the client takes")]
    TooLarge,
    /// It holds more than MQTT can say.
    #[error(transparent)]
    Unwritable(#[from] EncodeError),
}
