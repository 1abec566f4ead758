//! What the tests of all packets use.

use super::{Body, DecodeLimits, decode, encode, frame_header};
use crate::mqtt::{DecodeError, Packet, ProtocolVersion};

pub(crate) const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];

pub(crate) const LIMITS: DecodeLimits = DecodeLimits { user_properties: 64, filters: 64 };

/// Decodes bytes that are one whole packet, from a client that speaks this version.
pub(crate) fn decode_one(bytes: &[u8], version: ProtocolVersion) -> Result<Packet, DecodeError> {
    let header = frame_header(bytes)?.expect("a whole fixed header");
    let body = &bytes[header.header_len..];
    assert_eq!(body.len(), header.body_len, "one whole packet: {bytes:02X?}");
    decode(header, Body::Borrowed(body), Some(version), LIMITS)
}

/// The bytes of a packet.
pub(crate) fn encoded(packet: &Packet, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, version, &mut out).unwrap();
    out
}

/// A packet of this first byte and body, with the length between them.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).expect("a short packet");
    assert!(len < 0x80, "a short packet");
    [&[first, len], body].concat()
}

/// Asserts that the packet is written as these bytes, and that they are read as this packet.
#[track_caller]
pub(crate) fn assert_both_ways(packet: &Packet, version: ProtocolVersion, bytes: &[u8]) {
    assert_eq!(encoded(packet, version), bytes, "{version}");
    assert_eq!(decode_one(bytes, version).as_ref(), Ok(packet), "{version}");
}
