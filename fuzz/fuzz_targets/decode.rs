//! Any bytes: decoding them never panics; and what is decoded can be written, and is then decoded to the same packet.
//!
//! The first byte chooses the version that the connection speaks; the packet follows.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mqtt_broker::mqtt::codec::{Body, DecodeLimits, answer_version, decode, encode, frame_header};
use mqtt_broker::mqtt::{Packet, ProtocolVersion};

const LIMITS: DecodeLimits = DecodeLimits { user_properties: 16, filters: 16 };

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, packet)) = bytes.split_first() else {
        return;
    };
    let version = match choice % 4 {
        0 => None,
        1 => Some(ProtocolVersion::V3_1),
        2 => Some(ProtocolVersion::V3_1_1),
        _ => Some(ProtocolVersion::V5),
    };
    let Some(decoded) = decode_first(packet, version) else {
        return;
    };

    let version = version.unwrap_or(ProtocolVersion::V5);
    let mut written = Vec::new();
    encode(&decoded, version, &mut written).expect("what came in a packet fits into one");
    let again = decode_first(&written, Some(version));
    assert_eq!(again.as_ref(), Some(&decoded), "written as {written:02X?}");
});

/// The packet at the beginning of `bytes`, the same from either kind of body.
fn decode_first(bytes: &[u8], version: Option<ProtocolVersion>) -> Option<Packet> {
    let header = frame_header(bytes).ok()??;
    let body = bytes.get(header.header_len..)?.get(..header.body_len)?;
    let _ = answer_version(body);
    let borrowed = decode(header, Body::Borrowed(body), version, LIMITS);
    let shared = decode(header, Body::Shared(&Bytes::copy_from_slice(body)), version, LIMITS);
    assert_eq!(borrowed, shared);
    borrowed.ok()
}
