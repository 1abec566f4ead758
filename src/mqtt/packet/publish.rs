//! PUBLISH (MQTT 5.0 section 3.3).

use bytes::Bytes;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::{Reader, topic_name};
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{
    DecodeError, PacketId, PayloadFormat, ProtocolVersion, PublishProperties, QoS, SubscriptionIdentifier,
    TopicAlias, TopicName,
};

/// A publication, as a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether the packet may have been sent before.
    pub dup: bool,
    /// How surely it is to be delivered.
    pub qos: QoS,
    /// Whether it is to be kept for later subscribers.
    pub retain: bool,
    /// Where it is published; `None` where the topic alias stands for it.
    pub topic: Option<TopicName>,
    /// The number that stands for the topic, or shall from now on; MQTT 5.0 only.
    pub topic_alias: Option<TopicAlias>,
    /// Set exactly if `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// What is published.
    pub payload: Bytes,
    /// What else is said about it; `None` where nothing is.
    pub properties: Option<Box<PublishProperties>>,
}

const DUP: u8 = 0b1000;
const QOS_SHIFT: u8 = 1;
const QOS: u8 = 0b11;
const RETAIN: u8 = 0b0001;

impl Publish {
    pub(crate) fn decode(
        flags: u8,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let dup = flags & DUP != 0;
        let retain = flags & RETAIN != 0;
        // [MQTT-3.3.1-4]
        let qos = QoS::from_u8(flags >> QOS_SHIFT & QOS).ok_or(DecodeError::malformed("the QoS is 3"))?;
        // [MQTT-3.3.1-2]
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::malformed("a PUBLISH of QoS 0 has the DUP flag"));
        }
        let topic = match reader.text()? {
            "" => None,
            text => Some(topic_name(text)?),
        };
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let mut topic_alias = None;
        let mut properties = None;
        if version.is_v5() {
            read_properties(reader.properties()?, &mut topic_alias, &mut properties)?;
        }
        // [MQTT-4.7.3-1], and MQTT 5.0 section 3.3.2.1.
        if topic.is_none() && topic_alias.is_none() {
            return Err(DecodeError::protocol("a PUBLISH has neither topic name nor topic alias"));
        }
        let payload = reader.owned_rest();
        Ok(Self { dup, qos, retain, topic, topic_alias, packet_id, payload, properties })
    }

    /// Appends the packet to `out`. After an error `out` is as it was.
    pub(crate) fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let properties = self.properties.as_deref();
        let head = PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_ref().map_or("", TopicName::as_str),
            packet_id: self.packet_id,
            topic_alias: self.topic_alias,
            properties,
            expiry_interval: properties.and_then(|p| p.message_expiry_interval),
            identifiers: properties.map_or(&[], |p| &p.subscription_identifiers),
        };
        head.append_before(self.payload.len(), version, out)?;
        out.extend_from_slice(&self.payload);
        Ok(())
    }
}

/// The properties of PUBLISH (MQTT 5.0 section 3.3.2.3).
fn read_properties(
    mut reader: PropertyReader<'_, '_>,
    topic_alias: &mut Option<TopicAlias>,
    properties: &mut Option<Box<PublishProperties>>,
) -> Result<(), DecodeError> {
    while let Some(id) = reader.next_id()? {
        if id == PropertyId::TOPIC_ALIAS {
            *topic_alias = Some(reader.topic_alias()?);
            continue;
        }
        let properties = properties.get_or_insert_default();
        if id == PropertyId::SUBSCRIPTION_IDENTIFIER {
            properties.subscription_identifiers.push(reader.subscription_identifier()?);
        } else {
            properties.read_property(id, &mut reader)?;
        }
    }
    Ok(())
}

impl PublishProperties {
    /// Reads the value of a property that a PUBLISH and a will have in common; others are refused.
    pub(crate) fn read_property(
        &mut self,
        id: PropertyId,
        reader: &mut PropertyReader<'_, '_>,
    ) -> Result<(), DecodeError> {
        match id {
            PropertyId::PAYLOAD_FORMAT_INDICATOR => self.payload_format = Some(reader.payload_format()?),
            PropertyId::MESSAGE_EXPIRY_INTERVAL => self.message_expiry_interval = Some(reader.u32()?),
            PropertyId::RESPONSE_TOPIC => self.response_topic = Some(reader.response_topic()?),
            PropertyId::CORRELATION_DATA => self.correlation_data = Some(reader.data()?),
            PropertyId::CONTENT_TYPE => self.content_type = Some(reader.text()?),
            PropertyId::USER_PROPERTY => reader.user_property(&mut self.user_properties)?,
            _ => return PropertyReader::misplaced(),
        }
        Ok(())
    }

    /// Writes the properties that a PUBLISH and a will have in common, but for the message expiry interval, which
    /// gets shorter on the way.
    pub(crate) fn encode_common<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        let payload_format = self.payload_format.map(|format| match format {
            PayloadFormat::Bytes => 0,
            PayloadFormat::Utf8 => 1,
        });
        out.u8_property(PropertyId::PAYLOAD_FORMAT_INDICATOR, payload_format);
        out.text_property(PropertyId::RESPONSE_TOPIC, self.response_topic.as_ref().map(TopicName::as_str))?;
        out.data_property(PropertyId::CORRELATION_DATA, self.correlation_data.as_ref())?;
        out.text_property(PropertyId::CONTENT_TYPE, self.content_type.as_ref())?;
        // [MQTT-3.3.2-18]: in their order.
        out.user_properties(&self.user_properties)
    }
}

/// A PUBLISH without its payload, made of borrowed parts: a packet's, or a delivery's.
#[derive(Debug)]
pub(crate) struct PublishHead<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Empty where the alias stands for it.
    pub(crate) topic: &'a str,
    /// Set exactly if `qos` is above 0.
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) topic_alias: Option<TopicAlias>,
    /// Of which the message expiry interval and the subscription identifiers are not looked at.
    pub(crate) properties: Option<&'a PublishProperties>,
    pub(crate) expiry_interval: Option<u32>,
    pub(crate) identifiers: &'a [SubscriptionIdentifier],
}

impl EncodePacket for PublishHead<'_> {
    fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte() | dup | self.qos.as_u8() << QOS_SHIFT | retain
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        debug_assert_eq!(self.packet_id.is_some(), self.qos > QoS::AtMostOnce, "[MQTT-2.2.1-2]");
        out.text("the topic name", self.topic)?;
        if let Some(packet_id) = self.packet_id {
            out.u16(packet_id.get());
        }
        if version.is_v5() {
            out.properties(self)?;
        }
        Ok(())
    }
}

impl EncodeProperties for PublishHead<'_> {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.u16_property(PropertyId::TOPIC_ALIAS, self.topic_alias.map(TopicAlias::get));
        out.u32_property(PropertyId::MESSAGE_EXPIRY_INTERVAL, self.expiry_interval);
        if let Some(properties) = self.properties {
            properties.encode_common(out)?;
        }
        out.subscription_identifiers(self.identifiers);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mqtt::codec::testing::{LIMITS, VERSIONS, assert_both_ways, decode_one, framed};
    use crate::mqtt::codec::{Body, decode, frame_header};
    use crate::mqtt::{Packet, ReasonCode};

    fn publish(qos: QoS) -> Publish {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::parse("a/b").unwrap()),
            topic_alias: None,
            packet_id: (qos > QoS::AtMostOnce).then(|| PacketId::new(10).unwrap()),
            payload: Bytes::from_static(b"hi"),
            properties: None,
        }
    }

    #[test]
    fn is_as_in_section_3_3() {
        for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
            let at_most_once = publish(QoS::AtMostOnce);
            assert_both_ways(&Packet::Publish(at_most_once), version, &[0x30, 7, 0, 3, 97, 47, 98, 104, 105]);
            let again = Publish { dup: true, retain: true, ..publish(QoS::ExactlyOnce) };
            let bytes = [0x3D, 9, 0, 3, 97, 47, 98, 0, 10, 104, 105];
            assert_both_ways(&Packet::Publish(again), version, &bytes);
        }
        let bytes = [0x32, 10, 0, 3, 97, 47, 98, 0, 10, 0, 104, 105];
        assert_both_ways(&Packet::Publish(publish(QoS::AtLeastOnce)), ProtocolVersion::V5, &bytes);
    }

    #[test]
    fn carries_its_properties() {
        let publish = Publish {
            topic: None,
            topic_alias: TopicAlias::new(5),
            payload: Bytes::new(),
            properties: Some(Box::new(PublishProperties {
                payload_format: Some(PayloadFormat::Utf8),
                message_expiry_interval: Some(258),
                response_topic: Some(TopicName::parse("r").unwrap()),
                correlation_data: Some(Bytes::from_static(&[0, 255])),
                content_type: Some(Arc::from("t")),
                user_properties: vec![(Arc::from("k"), Arc::from("")), (Arc::from("k"), Arc::from("v"))],
                subscription_identifiers: [1, 128]
                    .map(|id| SubscriptionIdentifier::new(id).unwrap())
                    .to_vec(),
            })),
            ..publish(QoS::AtMostOnce)
        };
        let properties = [
            &[0x23, 0, 5, 0x02, 0, 0, 1, 2, 0x01, 1][..],
            &[0x08, 0, 1, b'r', 0x09, 0, 2, 0, 255, 0x03, 0, 1, b't'],
            &[0x26, 0, 1, b'k', 0, 0, 0x26, 0, 1, b'k', 0, 1, b'v'],
            &[0x0B, 1, 0x0B, 0x80, 1],
        ]
        .concat();
        let body = [&[0, 0, u8::try_from(properties.len()).unwrap()][..], &properties].concat();
        assert_both_ways(&Packet::Publish(publish), ProtocolVersion::V5, &framed(0x30, &body));
    }

    #[test]
    fn the_payload_is_a_slice_of_a_shared_buffer() {
        let bytes = Bytes::from_static(&[0x30, 5, 0, 1, b'a', 8, 9]);
        let header = frame_header(&bytes).unwrap().unwrap();
        let body = bytes.slice(header.header_len..);
        let packet = decode(header, Body::Shared(&body), Some(ProtocolVersion::V3_1_1), LIMITS);
        let Ok(Packet::Publish(publish)) = packet else { panic!("not a PUBLISH") };
        assert_eq!(&publish.payload[..], &[8, 9]);
        assert_eq!(publish.payload.as_ptr(), bytes[5..].as_ptr());
    }

    #[test]
    fn refuses_what_no_version_allows() {
        for (first, body, reason) in [
            // QoS 3 [MQTT-3.3.1-4]
            (0x36, &[0, 1, b'a', 0, 1, 0][..], ReasonCode::MalformedPacket),
            // DUP with QoS 0 [MQTT-3.3.1-2]
            (0x38, &[0, 1, b'a', 0], ReasonCode::MalformedPacket),
            // Packet identifier 0 [MQTT-2.2.1-3]
            (0x32, &[0, 1, b'a', 0, 0, 0], ReasonCode::ProtocolError),
            // Wildcards [MQTT-3.3.2-2]
            (0x30, &[0, 1, b'#', 0], ReasonCode::TopicNameInvalid),
            (0x30, &[0, 3, b'a', b'/', b'+', 0], ReasonCode::TopicNameInvalid),
            // No topic
            (0x30, &[0, 0, 0], ReasonCode::ProtocolError),
            // Not UTF-8, and U+0000
            (0x30, &[0, 1, 0xFF, 0], ReasonCode::MalformedPacket),
            (0x30, &[0, 1, 0, 0], ReasonCode::MalformedPacket),
            // Too short
            (0x30, &[0, 2, b'a'], ReasonCode::MalformedPacket),
            (0x30, &[0], ReasonCode::MalformedPacket),
            (0x30, &[], ReasonCode::MalformedPacket),
            (0x32, &[0, 1, b'a', 0], ReasonCode::MalformedPacket),
        ] {
            for version in VERSIONS {
                let error = decode_one(&framed(first, body), version).unwrap_err();
                assert_eq!(error.reason, reason, "{first:02X} {body:02X?} {version}: {error}");
            }
        }
    }

    #[test]
    fn refuses_properties_that_are_wrong() {
        for (properties, reason) in [
            (&[0x01, 2][..], ReasonCode::ProtocolError),
            (&[0x23, 0, 0], ReasonCode::TopicAliasInvalid),
            (&[0x23, 0, 1, 0x23, 0, 1], ReasonCode::ProtocolError),
            (&[0x0B, 0], ReasonCode::ProtocolError),
            (&[0x0B, 0x80, 0x00], ReasonCode::MalformedPacket),
            (&[0x0B, 0x80, 0x80, 0x80, 0x80, 0x01], ReasonCode::MalformedPacket),
            (&[0x08, 0, 1, b'#'], ReasonCode::ProtocolError),
            (&[0x08, 0, 0], ReasonCode::ProtocolError),
            (&[0x02, 0, 0, 1], ReasonCode::MalformedPacket),
            (&[0x01, 0, 0x01, 0], ReasonCode::ProtocolError),
            // Of CONNECT, and unknown.
            (&[0x21, 0, 1], ReasonCode::MalformedPacket),
            (&[0x18, 0, 0, 0, 1], ReasonCode::MalformedPacket),
            (&[0x04, 0], ReasonCode::MalformedPacket),
        ] {
            let body = [&[0, 1, b'a', u8::try_from(properties.len()).unwrap()], properties].concat();
            let error = decode_one(&framed(0x30, &body), ProtocolVersion::V5).unwrap_err();
            assert_eq!(error.reason, reason, "{properties:02X?}: {error}");
        }
        // [MQTT-2.2.2-1]: the property length is never left out.
        assert!(decode_one(&[0x30, 3, 0, 1, b'a'], ProtocolVersion::V5).is_err());
        // The properties run beyond the packet.
        assert!(decode_one(&[0x30, 5, 0, 1, b'a', 2, 0x01], ProtocolVersion::V5).is_err());
    }
}
