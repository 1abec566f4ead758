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
