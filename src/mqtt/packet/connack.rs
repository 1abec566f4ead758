//! CONNACK (MQTT 5.0 section 3.2).

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{ClientId, DecodeError, ProtocolVersion, QoS, ReasonCode, UserProperties};

/// The answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the client's session was there already.
    pub session_present: bool,
    /// Accepted, or why not. For MQTT 3.x it is written as the return code that comes nearest.
    pub reason: ReasonCode,
    /// What the server tells about itself; MQTT 5.0 only.
    pub properties: ConnAckProperties,
}

/// The properties of CONNACK. `None` (or `true` for what is available) is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the standard's, and independent of each other")]
pub struct ConnAckProperties {
    /// Seconds the session outlives the connection, where the server chose another value than the client.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the client may have under way to the server.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS with which the client may publish; written if below 2.
    pub maximum_qos: QoS,
    /// Whether retained messages are supported; written if not.
    pub retain_available: bool,
    /// The largest packet that the server takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier, where the server assigned it.
    pub assigned_client_id: Option<ClientId>,
    /// The largest topic alias that the server takes; written if above 0.
    pub topic_alias_maximum: u16,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// Whether wildcards may be subscribed to; written if not.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers; written if not.
    pub subscription_identifier_available: bool,
    /// Whether shared subscriptions are supported; written if not.
    pub shared_subscription_available: bool,
    /// The keep-alive that the server uses instead of the client's, in seconds.
    pub server_keep_alive: Option<u16>,
    /// The basis for response topics.
    pub response_information: Option<Arc<str>>,
    /// Another server to use.
    pub server_reference: Option<Arc<str>>,
    /// The method of an authentication exchange.
    pub authentication_method: Option<Arc<str>>,
    /// What the method wants said.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnAckProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::new(),
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

const SESSION_PRESENT: u8 = 0b0000_0001;

impl ConnAck {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        // In MQTT 3.1 the byte has no meaning.
        let flags = if version == ProtocolVersion::V3_1 { 0 } else { flags };
        // [MQTT-3.2.2-1]
        if flags & !SESSION_PRESENT != 0 {
            return Err(DecodeError::malformed("a CONNACK has reserved flags"));
        }
        let session_present = flags & SESSION_PRESENT != 0;
        let reason = if version.is_v5() {
            reader.reason(may_answer_connect)?
        } else {
            ReasonCode::from_v3_return_code(reader.u8()?)
                .ok_or(DecodeError::protocol("the return code of a CONNACK is reserved"))?
        };
        // [MQTT-3.2.2-6], [MQTT3-3.2.2-4]
        if session_present && reason.is_error() {
            return Err(DecodeError::protocol("a CONNACK that refuses says that there is a session"));
        }
        let properties = if version.is_v5() {
            ConnAckProperties::decode(reader.properties()?)?
        } else {
            ConnAckProperties::default()
        };
        Ok(Self { session_present, reason, properties })
    }
}

impl ConnAckProperties {
    fn decode(mut reader: PropertyReader<'_, '_>) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            properties.read_property(id, &mut reader)?;
        }
        Ok(properties)
    }

    fn read_property(
        &mut self,
        id: PropertyId,
        reader: &mut PropertyReader<'_, '_>,
    ) -> Result<(), DecodeError> {
        match id {
            PropertyId::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(reader.u32()?),
            PropertyId::RECEIVE_MAXIMUM => self.receive_maximum = Some(reader.receive_maximum()?),
            PropertyId::MAXIMUM_QOS => {
                self.maximum_qos = if reader.flag()? { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            }
            PropertyId::RETAIN_AVAILABLE => self.retain_available = reader.flag()?,
            PropertyId::MAXIMUM_PACKET_SIZE => {
                self.maximum_packet_size = Some(reader.maximum_packet_size()?);
            }
            PropertyId::ASSIGNED_CLIENT_IDENTIFIER => {
                self.assigned_client_id = Some(ClientId::new(reader.text()?));
            }
            PropertyId::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = reader.u16()?,
            PropertyId::REASON_STRING => self.reason_string = Some(reader.text()?),
            PropertyId::USER_PROPERTY => reader.user_property(&mut self.user_properties)?,
            PropertyId::WILDCARD_SUBSCRIPTION_AVAILABLE => {
                self.wildcard_subscription_available = reader.flag()?;
            }
            PropertyId::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
                self.subscription_identifier_available = reader.flag()?;
            }
            PropertyId::SHARED_SUBSCRIPTION_AVAILABLE => {
                self.shared_subscription_available = reader.flag()?;
            }
            PropertyId::SERVER_KEEP_ALIVE => self.server_keep_alive = Some(reader.u16()?),
            PropertyId::RESPONSE_INFORMATION => self.response_information = Some(reader.text()?),
            PropertyId::SERVER_REFERENCE => self.server_reference = Some(reader.text()?),
            PropertyId::AUTHENTICATION_METHOD => self.authentication_method = Some(reader.text()?),
            PropertyId::AUTHENTICATION_DATA => self.authentication_data = Some(reader.data()?),
            _ => return PropertyReader::misplaced(),
        }
        Ok(())
    }
}

/// Whether CONNACK may give this reason \[MQTT-3.2.2-8\].
const fn may_answer_connect(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::Success
            | ReasonCode::UnspecifiedError
            | ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::ClientIdentifierNotValid
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::QuotaExceeded
            | ReasonCode::PayloadFormatInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::ConnectionRateExceeded
    )
}

impl EncodePacket for ConnAck {
    fn first_byte(&self) -> u8 {
        PacketType::ConnAck.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        let tells_of_session = match version {
            ProtocolVersion::V3_1 => false,
            ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => self.session_present,
        };
        out.u8(if tells_of_session { SESSION_PRESENT } else { 0 });
        if version.is_v5() {
            out.u8(self.reason.as_u8());
            out.properties(&self.properties)
        } else {
            out.u8(self.reason.v3_return_code());
            Ok(())
        }
    }
}

impl EncodeProperties for ConnAckProperties {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        let maximum_qos = (self.maximum_qos < QoS::ExactlyOnce).then_some(self.maximum_qos.as_u8());
        let topic_alias_maximum = (self.topic_alias_maximum > 0).then_some(self.topic_alias_maximum);

        out.u32_property(PropertyId::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.u16_property(PropertyId::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        out.u8_property(PropertyId::MAXIMUM_QOS, maximum_qos);
        out.flag_property(PropertyId::RETAIN_AVAILABLE, self.retain_available, true);
        out.u32_property(PropertyId::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        let assigned_client_id = self.assigned_client_id.as_ref().map(ClientId::as_str);
        out.text_property(PropertyId::ASSIGNED_CLIENT_IDENTIFIER, assigned_client_id)?;
        out.u16_property(PropertyId::TOPIC_ALIAS_MAXIMUM, topic_alias_maximum);
        out.text_property(PropertyId::REASON_STRING, self.reason_string.as_ref())?;
        out.user_properties(&self.user_properties)?;
        let wildcard = PropertyId::WILDCARD_SUBSCRIPTION_AVAILABLE;
        out.flag_property(wildcard, self.wildcard_subscription_available, true);
        let identifier = PropertyId::SUBSCRIPTION_IDENTIFIER_AVAILABLE;
        out.flag_property(identifier, self.subscription_identifier_available, true);
        let shared = PropertyId::SHARED_SUBSCRIPTION_AVAILABLE;
        out.flag_property(shared, self.shared_subscription_available, true);
        out.u16_property(PropertyId::SERVER_KEEP_ALIVE, self.server_keep_alive);
        out.text_property(PropertyId::RESPONSE_INFORMATION, self.response_information.as_ref())?;
        out.text_property(PropertyId::SERVER_REFERENCE, self.server_reference.as_ref())?;
        out.text_property(PropertyId::AUTHENTICATION_METHOD, self.authentication_method.as_ref())?;
        out.data_property(PropertyId::AUTHENTICATION_DATA, self.authentication_data.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{assert_both_ways, decode_one, encoded, framed};

    fn connack(session_present: bool, reason: ReasonCode) -> ConnAck {
        ConnAck { session_present, reason, properties: ConnAckProperties::default() }
    }

    #[test]
    fn is_as_in_section_3_2() {
        let accepted = Packet::ConnAck(Box::new(connack(true, ReasonCode::Success)));
        assert_both_ways(&accepted, ProtocolVersion::V3_1_1, &[0x20, 2, 1, 0]);
        assert_both_ways(&accepted, ProtocolVersion::V5, &[0x20, 3, 1, 0, 0]);
        // MQTT 3.1 cannot tell of the session.
        assert_eq!(encoded(&accepted, ProtocolVersion::V3_1), [0x20, 2, 0, 0]);

        let refused = Packet::ConnAck(Box::new(connack(false, ReasonCode::BadUserNameOrPassword)));
        assert_both_ways(&refused, ProtocolVersion::V3_1, &[0x20, 2, 0, 4]);
        assert_both_ways(&refused, ProtocolVersion::V3_1_1, &[0x20, 2, 0, 4]);
        assert_both_ways(&refused, ProtocolVersion::V5, &[0x20, 3, 0, 0x86, 0]);
    }

    #[test]
    fn carries_its_properties() {
        let properties = ConnAckProperties {
            session_expiry_interval: Some(1),
            receive_maximum: NonZeroU16::new(2),
            maximum_qos: QoS::AtLeastOnce,
            retain_available: false,
            maximum_packet_size: NonZeroU32::new(3),
            assigned_client_id: Some(ClientId::new("c")),
            topic_alias_maximum: 4,
            reason_string: Some(Arc::from("x")),
            user_properties: vec![(Arc::from("k"), Arc::from("v"))],
            wildcard_subscription_available: false,
            subscription_identifier_available: false,
            shared_subscription_available: false,
            server_keep_alive: Some(5),
            response_information: Some(Arc::from("i")),
            server_reference: Some(Arc::from("s")),
            authentication_method: Some(Arc::from("m")),
            authentication_data: Some(Bytes::from_static(b"d")),
        };
        let packet = Packet::ConnAck(Box::new(ConnAck { properties, ..connack(false, ReasonCode::Success) }));
        let body = [
            &[0, 0, 66, 0x11, 0, 0, 0, 1, 0x21, 0, 2, 0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 3][..],
            &[0x12, 0, 1, b'c', 0x22, 0, 4, 0x1F, 0, 1, b'x', 0x26, 0, 1, b'k', 0, 1, b'v'],
            &[0x28, 0, 0x29, 0, 0x2A, 0, 0x13, 0, 5, 0x1A, 0, 1, b'i', 0x1C, 0, 1, b's'],
            &[0x15, 0, 1, b'm', 0x16, 0, 1, b'd'],
        ];
        let mut body = body.concat();
        body[2] = u8::try_from(body.len() - 3).unwrap();
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0x20, &body));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        let v3 = ProtocolVersion::V3_1_1;
        for (bytes, version, reason) in [
            (&[0x20, 2, 2, 0][..], v3, ReasonCode::MalformedPacket),
            (&[0x20, 3, 0x80, 0, 0], v5, ReasonCode::MalformedPacket),
            // [MQTT-3.2.2-6]
            (&[0x20, 2, 1, 5], v3, ReasonCode::ProtocolError),
            (&[0x20, 3, 1, 0x87, 0], v5, ReasonCode::ProtocolError),
            (&[0x20, 2, 0, 6], v3, ReasonCode::ProtocolError),
            (&[0x20, 3, 0, 1, 0], v5, ReasonCode::ProtocolError),
            (&[0x20, 2, 0, 0], v5, ReasonCode::MalformedPacket),
            (&[0x20, 3, 0, 0, 0], v3, ReasonCode::MalformedPacket),
            (&[0x20, 6, 0, 0, 3, 0x21, 0, 0], v5, ReasonCode::ProtocolError),
            (&[0x20, 5, 0, 0, 2, 0x24, 2], v5, ReasonCode::ProtocolError),
            (&[0x20, 5, 0, 0, 2, 0x25, 2], v5, ReasonCode::ProtocolError),
            (&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 0], v5, ReasonCode::ProtocolError),
            (&[0x20, 5, 0, 0, 2, 0x17, 1], v5, ReasonCode::MalformedPacket),
        ] {
            let error = decode_one(bytes, version).unwrap_err();
            assert_eq!(error.reason, reason, "{bytes:02X?} {version}: {error}");
        }
        assert!(decode_one(&[0x20, 2, 0xFF, 0], ProtocolVersion::V3_1).is_ok());
        assert_eq!(ReasonCode::ALL.iter().filter(|&&reason| may_answer_connect(reason)).count(), 22);
    }
}
