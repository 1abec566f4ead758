//! Packets to bytes and back.

mod delivery;
mod frame;

use bytes::Bytes;

pub use delivery::{DeliveryTopic, delivery_len, encode_delivery_head};
pub use frame::frame_header;

use super::packet::Packet;
use super::{DecodeError, ProtocolVersion, ReasonCode};

/// What decoding one packet may cost, beyond its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// User properties of one packet; more are refused with 0x97 (quota exceeded).
    pub user_properties: usize,
}

/// The fixed header of a packet (MQTT 5.0 section 2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// The bytes that the fixed header takes: 2 to 5.
    pub header_len: usize,
    /// The bytes that follow it.
    pub body_len: usize,
}

/// The bytes behind the fixed header.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// In a buffer that will be used again: what is kept must be copied.
    Borrowed(&'a [u8]),
    /// In a buffer of their own: the payload is kept as a slice of it, without a copy.
    Shared(&'a Bytes),
}

/// Why a packet cannot be written: it holds more than MQTT can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is too long for an MQTT packet")]
pub struct EncodeError {
    /// What is too long.
    pub what: &'static str,
}

/// Decodes the body of a packet.
///
/// While `version` is `None`, nothing but CONNECT is acceptable \[MQTT-3.1.0-1\].
pub fn decode(
    header: FrameHeader,
    body: Body<'_>,
    version: Option<ProtocolVersion>,
    limits: DecodeLimits,
) -> Result<Packet, DecodeError> {
    let _ = (header, body, version, limits);
    Err(DecodeError::because(
        ReasonCode::ImplementationSpecificError,
        "not readable yet",
    ))
}

/// Appends the packet to `out`, in the form of this version. After an error `out` is as it was.
pub fn encode(packet: &Packet, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let _ = (packet, version, out);
    Err(EncodeError { what: "any packet" })
}
