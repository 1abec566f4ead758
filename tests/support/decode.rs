//! Packets as received: taken apart, with all that the standard forbids a server to send, and compared with what was
//! expected.

use super::packet::{Ack, Auth, ConnAck, Disconnect, Packet, Publish, SubAck, UnsubAck};
use super::property::{Property, in_order, properties};
use super::wire::{Reader, Version};

impl Packet {
    /// Takes a whole packet apart. Fails the test where a server must not send it so.
    pub(crate) fn decode(version: Version, first: u8, body: &[u8]) -> Self {
        let mut reader = Reader::new(body);
        let packet = match first {
            0x20 => Self::ConnAck(decode_connack(version, &mut reader)),
            0x30..=0x3F => Self::Publish(decode_publish(version, first, &mut reader)),
            0x40 | 0x50 | 0x62 | 0x70 => Self::Ack(decode_ack(version, first, &mut reader)),
            0x90 => {
                let id = decode_id(&mut reader);
                let properties = decode_properties(version, &mut reader, &[0x1F, 0x26]);
                let reasons = reader.rest().to_vec();
                check_reasons(&reasons, suback_reasons(version));
                Self::SubAck(SubAck { id, reasons, properties })
            }
            0xB0 => {
                let id = decode_id(&mut reader);
                let properties = decode_properties(version, &mut reader, &[0x1F, 0x26]);
                let reasons = if version.is_v5() { reader.rest().to_vec() } else { Vec::new() };
                check_reasons(&reasons, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);
                Self::UnsubAck(UnsubAck { id, reasons, properties })
            }
            0xD0 => Self::PingResp,
            0xE0 => {
                assert!(version.is_v5(), "only a server of MQTT 5.0 may send DISCONNECT");
                let (reason, properties) = decode_reason(version, &mut reader, &[0x1C, 0x1F, 0x26]);
                check_reasons(&[reason], DISCONNECT_REASONS);
                Self::Disconnect(Disconnect { reason, properties })
            }
            0xF0 => {
                assert!(version.is_v5(), "AUTH is of MQTT 5.0");
                let (reason, properties) = decode_reason(version, &mut reader, &[0x15, 0x16, 0x1F, 0x26]);
                check_reasons(&[reason], &[0x00, 0x18]);
                Self::Auth(Auth { reason, properties })
            }
            other => panic!("no server may send a packet that begins with 0x{other:02x}"),
        };
        assert!(reader.is_empty(), "{reader:?} left behind {packet:?}");
        packet
    }

    /// Whether this, which has been received, is what was expected: the same, but for a Reason String that was not
    /// asked for, the packet identifier of a PUBLISH that has none, and the order of properties.
    pub(crate) fn is(&self, expected: &Self) -> bool {
        match (self, expected) {
            (Self::ConnAck(one), Self::ConnAck(other)) => {
                (one.session_present, one.reason) == (other.session_present, other.reason)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::Publish(one), Self::Publish(other)) => {
                let id = if other.id == 0 { one.id } else { other.id };
                *one == Publish { id, properties: one.properties.clone(), ..other.clone() }
                    && in_order(&one.properties) == in_order(&other.properties)
            }
            (Self::Ack(one), Self::Ack(other)) => {
                (one.first, one.id, one.reason) == (other.first, other.id, other.reason)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::SubAck(one), Self::SubAck(other)) => {
                (one.id, &one.reasons) == (other.id, &other.reasons)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::UnsubAck(one), Self::UnsubAck(other)) => {
                (one.id, &one.reasons) == (other.id, &other.reasons)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::Disconnect(one), Self::Disconnect(other)) => {
                one.reason == other.reason && same_properties(&one.properties, &other.properties)
            }
            (Self::Auth(one), Self::Auth(other)) => {
                one.reason == other.reason && same_properties(&one.properties, &other.properties)
            }
            _ => self == expected,
        }
    }
}

fn same_properties(received: &[Property], expected: &[Property]) -> bool {
    let asked = expected.iter().any(|property| matches!(property, Property::ReasonString(_)));
    let mut received = in_order(received);
    received.retain(|property| asked || !matches!(property, Property::ReasonString(_)));
    received == in_order(expected)
}

/// Which reason codes a DISCONNECT from a server may have (table 3-10).
const DISCONNECT_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

const CONNACK_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];

fn suback_reasons(version: Version) -> &'static [u8] {
    match version {
        // 0x80 came with MQTT 3.1.1, but is widely used in 3.1 too, which has no other way to refuse.
        Version::V31 | Version::V311 => &[0, 1, 2, 0x80],
        Version::V5 => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
    }
}

fn ack_reasons(first: u8) -> &'static [u8] {
    match first {
        0x40 | 0x50 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        _ => &[0x00, 0x92],
    }
}

fn check_reasons(reasons: &[u8], allowed: &[u8]) {
    for reason in reasons {
        assert!(allowed.contains(reason), "reason code 0x{reason:02x} must not be in this packet");
    }
}

fn decode_id(reader: &mut Reader<'_>) -> u16 {
    let id = reader.u16();
    assert_ne!(id, 0, "packet identifier 0 was sent");
    id
}

fn decode_properties(version: Version, reader: &mut Reader<'_>, allowed: &[u8]) -> Vec<Property> {
    if version.is_v5() { properties(reader, allowed) } else { Vec::new() }
}

fn decode_reason(version: Version, reader: &mut Reader<'_>, allowed: &[u8]) -> (u8, Vec<Property>) {
    if !version.is_v5() || reader.is_empty() {
        return (0, Vec::new());
    }
    let reason = reader.u8();
    let found = if reader.is_empty() { Vec::new() } else { properties(reader, allowed) };
    (reason, found)
}

fn decode_connack(version: Version, reader: &mut Reader<'_>) -> ConnAck {
    let flags = reader.u8();
    assert!(flags <= 1, "reserved flags of a CONNACK are set: 0x{flags:02x}");
    let reason = reader.u8();
    let allowed: &[u8] = if version.is_v5() { CONNACK_REASONS } else { &[0, 1, 2, 3, 4, 5] };
    check_reasons(&[reason], allowed);
    assert!(reason == 0 || flags == 0, "a CONNACK that refuses has Session Present");
    assert!(version != Version::V31 || flags == 0, "MQTT 3.1 has no Session Present");
    let allowed = [
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
    ];
    let properties = decode_properties(version, reader, &allowed);
    ConnAck { session_present: flags == 1, reason, properties }
}

fn decode_publish(version: Version, first: u8, reader: &mut Reader<'_>) -> Publish {
    let (qos, dup, retain) = (first >> 1 & 3, first & 8 != 0, first & 1 != 0);
    assert!(qos < 3, "QoS 3 was sent");
    assert!(qos > 0 || !dup, "DUP was set in a message of QoS 0");
    let topic = reader.string().into_bytes();
    assert!(!topic.iter().any(|byte| b"+#".contains(byte)), "a topic name with wildcards was sent");
    let id = if qos > 0 { decode_id(reader) } else { 0 };
    let allowed = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
    let properties = decode_properties(version, reader, &allowed);
    let aliased = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
    assert!(aliased || !topic.is_empty(), "an empty topic without an alias was sent");
    Publish { topic, payload: reader.rest().to_vec(), qos, id, retain, dup, properties }
}

fn decode_ack(version: Version, first: u8, reader: &mut Reader<'_>) -> Ack {
    let id = decode_id(reader);
    let (reason, properties) = decode_reason(version, reader, &[0x1F, 0x26]);
    check_reasons(&[reason], ack_reasons(first));
    Ack { first, id, reason, properties }
}
