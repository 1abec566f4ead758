//! What can be wrong with bytes that should be a packet.

use super::ReasonCode;

/// Why bytes are not a packet: always the peer's fault. Knows the reason code that tells the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}: {reason}")]
pub struct DecodeError {
    /// What to tell the peer, where its version of the protocol has a way to.
    pub reason: ReasonCode,
    /// What was wrong, for log and reason string.
    pub detail: &'static str,
}

impl DecodeError {
    /// The bytes do not follow the format (0x81).
    pub const fn malformed(detail: &'static str) -> Self {
        Self { reason: ReasonCode::MalformedPacket, detail }
    }

    /// The bytes follow the format but say what must not be said (0x82).
    pub const fn protocol(detail: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, detail }
    }

    /// Another reason.
    pub const fn because(reason: ReasonCode, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

impl From<DecodeError> for ReasonCode {
    fn from(error: DecodeError) -> Self {
        error.reason
    }
}
