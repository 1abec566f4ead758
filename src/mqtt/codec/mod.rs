//! Packets to bytes and back.

mod delivery;
pub(super) mod frame;
pub(super) mod property;
mod publication;
pub(super) mod reader;
pub(super) mod writer;

#[cfg(test)]
mod generate;
#[cfg(test)]
mod splitmix;
#[cfg(test)]
pub(super) mod testing;

use bytes::Bytes;

pub use delivery::{DeliveryTopic, delivery_len, encode_delivery_head};
pub use frame::frame_header;
pub use publication::Publication;

use self::frame::PacketType;
use self::reader::Reader;
use self::writer::EncodePacket;
use super::packet::{
    Acknowledgement, AcknowledgementKind, Auth, ConnAck, Connect, Disconnect, Packet, Publish, SubAck,
    Subscribe, UnsubAck, Unsubscribe, connect,
};
use super::{DecodeError, ProtocolVersion};

/// What decoding one packet may cost, beyond its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// User properties of one packet; more are refused with 0x97 (quota exceeded).
    pub user_properties: usize,
    /// Topic filters of one SUBSCRIBE or UNSUBSCRIBE; more are refused with 0x97 (quota exceeded).
    pub filters: usize,
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
/// While `version` is `None`, nothing but CONNECT is acceptable \[MQTT-3.1.0-1\]; afterwards nothing is known of who
/// sent the packet: that a server gets none that only servers send is for the connection to see to.
pub fn decode(
    header: FrameHeader,
    body: Body<'_>,
    version: Option<ProtocolVersion>,
    limits: DecodeLimits,
) -> Result<Packet, DecodeError> {
    let packet_type = header.packet_type().ok_or(DecodeError::malformed("packet type 0 is reserved"))?;
    let mut reader = Reader::new(body, limits);
    let packet = if packet_type == PacketType::Connect {
        let connect = Connect::decode(&mut reader)?;
        packet_type.check_flags(header.flags(), connect.version)?;
        header.check_length_encoding(connect.version)?;
        Packet::Connect(Box::new(connect))
    } else {
        let version = version.ok_or(DecodeError::protocol("the first packet is not CONNECT"))?;
        packet_type.check_flags(header.flags(), version)?;
        header.check_length_encoding(version)?;
        decode_body(packet_type, header.flags(), version, &mut reader)?
    };
    reader.finish()?;
    Ok(packet)
}

fn decode_body(
    packet_type: PacketType,
    flags: u8,
    version: ProtocolVersion,
    reader: &mut Reader<'_>,
) -> Result<Packet, DecodeError> {
    let acknowledgement =
        |kind, reader| Acknowledgement::decode(kind, version, reader).map(Packet::Acknowledgement);
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(Box::new(Connect::decode(reader)?)),
        PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::decode(version, reader)?)),
        PacketType::Publish => Packet::Publish(Publish::decode(flags, version, reader)?),
        PacketType::PubAck => acknowledgement(AcknowledgementKind::PubAck, reader)?,
        PacketType::PubRec => acknowledgement(AcknowledgementKind::PubRec, reader)?,
        PacketType::PubRel => acknowledgement(AcknowledgementKind::PubRel, reader)?,
        PacketType::PubComp => acknowledgement(AcknowledgementKind::PubComp, reader)?,
        PacketType::Subscribe => Packet::Subscribe(Box::new(Subscribe::decode(version, reader)?)),
        PacketType::SubAck => Packet::SubAck(Box::new(SubAck::decode(version, reader)?)),
        PacketType::Unsubscribe => Packet::Unsubscribe(Box::new(Unsubscribe::decode(version, reader)?)),
        PacketType::UnsubAck => Packet::UnsubAck(Box::new(UnsubAck::decode(version, reader)?)),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Box::new(Disconnect::decode(version, reader)?)),
        PacketType::Auth => Packet::Auth(Box::new(Auth::decode(version, reader)?)),
    })
}

/// In the form of which version to answer a CONNECT that cannot be decoded, given what follows its fixed header: that
/// of the version it names, or else of the one that comes nearest.
pub fn answer_version(connect_body: &[u8]) -> ProtocolVersion {
    connect::answer_version(connect_body)
}

/// Appends the packet to `out`, in the form of this version. After an error `out` is as it was.
///
/// What MQTT 3.x cannot say is left out: properties, reason codes, and whole packets, AUTH and every DISCONNECT but
/// the client's normal one. A CONNECT is written in the version that it names itself.
pub fn encode(packet: &Packet, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => connect.append(version, out),
        Packet::ConnAck(connack) => connack.append(version, out),
        Packet::Publish(publish) => publish.encode(version, out),
        Packet::Acknowledgement(acknowledgement) => acknowledgement.append(version, out),
        Packet::Subscribe(subscribe) => subscribe.append(version, out),
        Packet::SubAck(suback) => suback.append(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.append(version, out),
        Packet::UnsubAck(unsuback) => unsuback.append(version, out),
        Packet::PingReq => append_ping(PacketType::PingReq, out),
        Packet::PingResp => append_ping(PacketType::PingResp, out),
        Packet::Disconnect(disconnect) if disconnect.is_expressible(version) => {
            disconnect.append(version, out)
        }
        Packet::Auth(auth) if version.is_v5() => auth.append(version, out),
        Packet::Disconnect(_) | Packet::Auth(_) => Ok(()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "so that it reads like the other packets")]
fn append_ping(packet_type: PacketType, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&[packet_type.first_byte(), 0]);
    Ok(())
}
