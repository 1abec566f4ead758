//! CONNECT (MQTT 5.0 section 3.1).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::codec::{Body, DecodeLimits, EncodeError};
use crate::mqtt::packet::Will;
use crate::mqtt::{ClientId, DecodeError, ProtocolVersion, QoS, ReasonCode, UserProperties};

/// A client's request to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Which MQTT the client speaks.
    pub version: ProtocolVersion,
    /// Whether a session that is there already is to be discarded (in MQTT 3.x: clean session).
    pub clean_start: bool,
    /// Seconds; 0 turns the keep-alive off.
    pub keep_alive: u16,
    /// Who connects. May be empty: then the server names the client.
    pub client_id: ClientId,
    /// What is published when the connection ends otherwise than by a normal DISCONNECT.
    pub will: Option<Box<Will>>,
    /// The user name.
    pub username: Option<Arc<str>>,
    /// The password.
    pub password: Option<Password>,
    /// What else MQTT 5.0 says.
    pub properties: ConnectProperties,
}

/// A password. Its `Debug` prints only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({} bytes)", self.0.len())
    }
}

/// The properties of CONNECT, with the values that hold where the client left them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds for which the session outlives the connection; `u32::MAX`: for ever. In MQTT 3.x it follows from
    /// `clean_start`: 0, or for ever.
    pub session_expiry_interval: u32,
    /// How many QoS 1 and 2 messages the client takes at a time.
    pub receive_maximum: NonZeroU16,
    /// The largest packet that the client takes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The largest topic alias that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the client wants response information.
    pub request_response_information: bool,
    /// Whether the client wants reason strings and user properties elsewhere than on PUBLISH, CONNACK, DISCONNECT.
    pub request_problem_information: bool,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// The method of an authentication exchange.
    pub authentication_method: Option<Arc<str>>,
    /// What the method wants said.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: UserProperties::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_QOS: u8 = 0b11;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

impl Connect {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (name, level) = (reader.text()?, reader.u8()?);
        // [MQTT-3.1.2-1], [MQTT-3.1.2-2]
        let version = named_version(name, level).ok_or(DecodeError::because(
            ReasonCode::UnsupportedProtocolVersion,
            "the protocol name and level are not those of MQTT 3.1, 3.1.1 or 5.0",
        ))?;
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let clean_start = flags & CLEAN_START != 0;
        let keep_alive = reader.u16()?;
        let properties = if version.is_v5() {
            ConnectProperties::decode(reader.properties()?)?
        } else {
            // [MQTT3-3.1.2-4], [MQTT3-3.1.2-6]
            let session_expiry_interval = if clean_start { 0 } else { u32::MAX };
            ConnectProperties { session_expiry_interval, ..ConnectProperties::default() }
        };
        // The order of the payload: [MQTT-3.1.3-1].
        let client_id = ClientId::new(reader.text()?);
        let will = if flags & WILL == 0 { None } else { Some(read_will(flags, version, reader)?) };
        let username =
            if is_there(flags, USER_NAME, version, reader) { Some(reader.owned_text()?) } else { None };
        let password = if is_there(flags, PASSWORD, version, reader) {
            Some(Password(reader.owned_data()?))
        } else {
            None
        };
        Ok(Self { version, clean_start, keep_alive, client_id, will, username, password, properties })
    }
}

fn read_will(flags: u8, version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Box<Will>, DecodeError> {
    // [MQTT-3.1.2-12]
    let qos = QoS::from_u8(flags >> WILL_QOS_SHIFT & WILL_QOS)
        .ok_or(DecodeError::malformed("the will QoS is 3"))?;
    let retain = flags & WILL_RETAIN != 0;
    Will::decode(qos, retain, version, reader).map(Box::new)
}

fn named_version(name: &str, level: u8) -> Option<ProtocolVersion> {
    match (name, level) {
        ("MQIsdp", 3) => Some(ProtocolVersion::V3_1),
        ("MQTT", 4) => Some(ProtocolVersion::V3_1_1),
        ("MQTT", 5) => Some(ProtocolVersion::V5),
        _ => None,
    }
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    // [MQTT-3.1.2-3]
    if flags & RESERVED != 0 {
        return Err(DecodeError::malformed("the reserved connect flag is set"));
    }
    // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
    if flags & WILL == 0 && flags & (WILL_QOS << WILL_QOS_SHIFT | WILL_RETAIN) != 0 {
        return Err(DecodeError::malformed("a CONNECT without will has a will QoS or will retain"));
    }
    // [MQTT3-3.1.2-22]; MQTT 5.0 allows it.
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::malformed("a CONNECT has a password but no user name"));
    }
    Ok(())
}

/// Whether the user name or the password is there to be read.
///
/// MQTT 3.1 section 3.1 wants clients accepted that set the flag and end the packet without the string.
fn is_there(flags: u8, flag: u8, version: ProtocolVersion, reader: &Reader<'_>) -> bool {
    flags & flag != 0 && !(version == ProtocolVersion::V3_1 && reader.is_empty())
}

/// In the form of which version a CONNECT is answered that cannot be decoded, given what follows its fixed header:
/// that of the version it names, or of the one that comes nearest.
pub(crate) fn answer_version(body: &[u8]) -> ProtocolVersion {
    let mut reader = Reader::new(Body::Borrowed(body), DecodeLimits { user_properties: 0, filters: 0 });
    match (reader.text(), reader.u8()) {
        (Ok("MQIsdp"), Ok(_)) => ProtocolVersion::V3_1,
        (Ok(_), Ok(5..)) => ProtocolVersion::V5,
        _ => ProtocolVersion::V3_1_1,
    }
}

impl ConnectProperties {
    fn decode(mut reader: PropertyReader<'_, '_>) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            properties.read_property(id, &mut reader)?;
        }
        // Section 3.1.2.11.10
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::protocol("a CONNECT has authentication data but names no method"));
        }
        Ok(properties)
    }

    fn read_property(
        &mut self,
        id: PropertyId,
        reader: &mut PropertyReader<'_, '_>,
    ) -> Result<(), DecodeError> {
        match id {
            PropertyId::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = reader.u32()?,
            PropertyId::RECEIVE_MAXIMUM => self.receive_maximum = reader.receive_maximum()?,
            PropertyId::MAXIMUM_PACKET_SIZE => {
                self.maximum_packet_size = Some(reader.maximum_packet_size()?);
            }
            PropertyId::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = reader.u16()?,
            PropertyId::REQUEST_RESPONSE_INFORMATION => self.request_response_information = reader.flag()?,
            PropertyId::REQUEST_PROBLEM_INFORMATION => self.request_problem_information = reader.flag()?,
            PropertyId::USER_PROPERTY => reader.user_property(&mut self.user_properties)?,
            PropertyId::AUTHENTICATION_METHOD => self.authentication_method = Some(reader.text()?),
            PropertyId::AUTHENTICATION_DATA => self.authentication_data = Some(reader.data()?),
            _ => return PropertyReader::misplaced(),
        }
        Ok(())
    }
}

impl EncodePacket for Connect {
    fn first_byte(&self) -> u8 {
        PacketType::Connect.first_byte()
    }

    /// The version is the one that the packet itself names.
    fn encode_body<S: Sink>(&self, _version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        let (name, level) = match self.version {
            ProtocolVersion::V3_1 => ("MQIsdp", 3),
            ProtocolVersion::V3_1_1 => ("MQTT", 4),
            ProtocolVersion::V5 => ("MQTT", 5),
        };
        out.text("the protocol name", name)?;
        out.u8(level);
        out.u8(self.flags());
        out.u16(self.keep_alive);
        if self.version.is_v5() {
            out.properties(&self.properties)?;
        }
        out.text("the client identifier", self.client_id.as_str())?;
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                out.properties(&**will)?;
            }
            out.text("the will topic", will.topic.as_str())?;
            out.data("the will payload", &will.payload)?;
        }
        if let Some(username) = &self.username {
            out.text("the user name", username)?;
        }
        if let Some(Password(password)) = &self.password {
            out.data("the password", password)?;
        }
        Ok(())
    }
}

impl Connect {
    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.as_u8() << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        if self.username.is_some() {
            flags |= USER_NAME;
        }
        flags
    }
}

impl EncodeProperties for ConnectProperties {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        // What has the value that holds where it is left out is left out.
        let default = Self::default();
        let expiry =
            Some(self.session_expiry_interval).filter(|&value| value != default.session_expiry_interval);
        let receive_maximum = Some(self.receive_maximum).filter(|&value| value != default.receive_maximum);
        let alias_maximum =
            Some(self.topic_alias_maximum).filter(|&value| value != default.topic_alias_maximum);

        out.u32_property(PropertyId::SESSION_EXPIRY_INTERVAL, expiry);
        out.u16_property(PropertyId::RECEIVE_MAXIMUM, receive_maximum.map(NonZeroU16::get));
        out.u32_property(PropertyId::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        out.u16_property(PropertyId::TOPIC_ALIAS_MAXIMUM, alias_maximum);
        let response = PropertyId::REQUEST_RESPONSE_INFORMATION;
        out.flag_property(response, self.request_response_information, default.request_response_information);
        let problem = PropertyId::REQUEST_PROBLEM_INFORMATION;
        out.flag_property(problem, self.request_problem_information, default.request_problem_information);
        out.user_properties(&self.user_properties)?;
        out.text_property(PropertyId::AUTHENTICATION_METHOD, self.authentication_method.as_ref())?;
        out.data_property(PropertyId::AUTHENTICATION_DATA, self.authentication_data.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::codec::testing::{assert_both_ways, decode_one, framed};
    use crate::mqtt::codec::{decode, frame_header};
    use crate::mqtt::{Packet, PublishProperties, TopicName};

    const MQTT_3_1: [u8; 9] = [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3];
    const MQTT_3_1_1: [u8; 7] = [0, 4, b'M', b'Q', b'T', b'T', 4];
    const MQTT_5: [u8; 7] = [0, 4, b'M', b'Q', b'T', b'T', 5];

    fn minimal(version: ProtocolVersion) -> Connect {
        let session_expiry_interval = if version.is_v5() { 0 } else { u32::MAX };
        Connect {
            version,
            clean_start: false,
            keep_alive: 10,
            client_id: ClientId::new("c"),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
        }
    }

    fn assert_connect_both_ways(connect: Connect, bytes: &[u8]) {
        let version = connect.version;
        assert_both_ways(&Packet::Connect(Box::new(connect)), version, bytes);
    }

    fn refusal(head: &[u8], rest: &[u8]) -> DecodeError {
        decode_one(&framed(0x10, &[head, rest].concat()), ProtocolVersion::V5).unwrap_err()
    }

    #[test]
    fn the_smallest_of_each_version() {
        for (version, head, properties) in [
            (ProtocolVersion::V3_1, &MQTT_3_1[..], &[][..]),
            (ProtocolVersion::V3_1_1, &MQTT_3_1_1, &[]),
            (ProtocolVersion::V5, &MQTT_5, &[0]),
        ] {
            let bytes = framed(0x10, &[head, &[0, 0, 10], properties, &[0, 1, b'c']].concat());
            assert_connect_both_ways(minimal(version), &bytes);
        }
    }

    #[test]
    fn a_clean_session_of_mqtt_3_ends_with_its_connection() {
        let connect = Connect {
            clean_start: true,
            client_id: ClientId::new(""),
            properties: ConnectProperties::default(),
            ..minimal(ProtocolVersion::V3_1_1)
        };
        assert_connect_both_ways(connect, &framed(0x10, &[&MQTT_3_1_1[..], &[2, 0, 10, 0, 0]].concat()));
    }

    fn will(properties: PublishProperties, delay_interval: u32) -> Will {
        Will {
            topic: TopicName::parse("w").unwrap(),
            payload: Bytes::from_static(b"p"),
            qos: QoS::ExactlyOnce,
            retain: true,
            delay_interval,
            properties,
        }
    }

    #[test]
    fn the_largest_of_mqtt_3() {
        let connect = Connect {
            will: Some(Box::new(will(PublishProperties::default(), 0))),
            username: Some(Arc::from("u")),
            password: Some(Password(Bytes::from_static(&[0, 255]))),
            ..minimal(ProtocolVersion::V3_1_1)
        };
        let payload = [0, 1, b'c', 0, 1, b'w', 0, 1, b'p', 0, 1, b'u', 0, 2, 0, 255];
        let bytes = framed(0x10, &[&MQTT_3_1_1[..], &[0xF4, 0, 10], &payload].concat());
        assert_connect_both_ways(connect, &bytes);
    }

    #[test]
    fn the_largest_of_mqtt_5() {
        let will_properties = PublishProperties {
            message_expiry_interval: Some(2),
            content_type: Some(Arc::from("t")),
            ..PublishProperties::default()
        };
        let connect = Connect {
            clean_start: true,
            will: Some(Box::new(will(will_properties, 1))),
            // [MQTT-3.1.2-22] of MQTT 3.1.1 is gone: a password alone is fine.
            password: Some(Password(Bytes::from_static(b"x"))),
            properties: ConnectProperties {
                session_expiry_interval: u32::MAX,
                receive_maximum: NonZeroU16::MIN,
                maximum_packet_size: NonZeroU32::new(256),
                topic_alias_maximum: 7,
                request_response_information: true,
                request_problem_information: false,
                user_properties: vec![(Arc::from("k"), Arc::from("v"))],
                authentication_method: Some(Arc::from("m")),
                authentication_data: Some(Bytes::from_static(b"d")),
            },
            ..minimal(ProtocolVersion::V5)
        };
        let bytes = [
            &MQTT_5[..],
            &[
                0x76, 0, 10, 35, 0x11, 255, 255, 255, 255, 0x21, 0, 1, 0x27, 0, 0, 1, 0, 0x22, 0, 7, 0x19, 1,
                0x17, 0,
            ],
            &[0x26, 0, 1, b'k', 0, 1, b'v', 0x15, 0, 1, b'm', 0x16, 0, 1, b'd'],
            &[0, 1, b'c', 14, 0x18, 0, 0, 0, 1, 0x02, 0, 0, 0, 2, 0x03, 0, 1, b't'],
            &[0, 1, b'w', 0, 1, b'p', 0, 1, b'x'],
        ];
        assert_connect_both_ways(connect, &framed(0x10, &bytes.concat()));
    }

    #[test]
    fn mqtt_3_1_clients_may_announce_a_user_name_and_not_send_it() {
        let bytes = framed(0x10, &[&MQTT_3_1[..], &[0xC2, 0, 10, 0, 1, b'c']].concat());
        let Ok(Packet::Connect(connect)) = decode_one(&bytes, ProtocolVersion::V3_1) else {
            panic!("not read")
        };
        assert_eq!((connect.username, connect.password), (None, None));
        let error = refusal(&MQTT_3_1_1, &[0xC2, 0, 10, 0, 1, b'c']);
        assert_eq!(error.reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn other_names_and_levels_are_other_protocols() {
        for (head, answer) in [
            (&[0, 4, b'M', b'Q', b'T', b'T', 6][..], ProtocolVersion::V5),
            (&[0, 4, b'M', b'Q', b'T', b'T', 3], ProtocolVersion::V3_1_1),
            (&[0, 4, b'M', b'Q', b'T', b'T', 0x84], ProtocolVersion::V5),
            (&[0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 4], ProtocolVersion::V3_1),
            (&[0, 4, b'm', b'q', b't', b't', 4], ProtocolVersion::V3_1_1),
            (&[0, 0, 4], ProtocolVersion::V3_1_1),
        ] {
            let error = refusal(head, &[0, 0, 10, 0, 1, b'c']);
            assert_eq!(error.reason, ReasonCode::UnsupportedProtocolVersion, "{head:02X?}");
            assert_eq!(answer_version(head), answer, "{head:02X?}");
        }
        assert_eq!(answer_version(&MQTT_3_1), ProtocolVersion::V3_1);
        assert_eq!(answer_version(&MQTT_3_1_1), ProtocolVersion::V3_1_1);
        assert_eq!(answer_version(&MQTT_5), ProtocolVersion::V5);
        assert_eq!(answer_version(&[]), ProtocolVersion::V3_1_1);
    }

    #[test]
    fn refuses_what_is_wrong() {
        let malformed = ReasonCode::MalformedPacket;
        for (head, rest, reason) in [
            // The reserved flag [MQTT-3.1.2-3]
            (&MQTT_3_1_1[..], &[0x03, 0, 10, 0, 1, b'c'][..], malformed),
            (&MQTT_5, &[0x03, 0, 10, 0, 0, 1, b'c'], malformed),
            // Will QoS or will retain without will [MQTT-3.1.2-11], [MQTT-3.1.2-13]
            (&MQTT_3_1_1, &[0x0A, 0, 10, 0, 1, b'c'], malformed),
            (&MQTT_5, &[0x22, 0, 10, 0, 0, 1, b'c'], malformed),
            // Will QoS 3 [MQTT-3.1.2-12]
            (&MQTT_3_1_1, &[0x1E, 0, 10, 0, 1, b'c', 0, 1, b'w', 0, 0], malformed),
            // A password without user name [MQTT3-3.1.2-22]
            (&MQTT_3_1_1, &[0x42, 0, 10, 0, 1, b'c', 0, 1, b'p'], malformed),
            // A will topic that is none
            (&MQTT_3_1_1, &[0x06, 0, 10, 0, 1, b'c', 0, 1, b'#', 0, 0], ReasonCode::TopicNameInvalid),
            (&MQTT_3_1_1, &[0x06, 0, 10, 0, 1, b'c', 0, 0, 0, 0], ReasonCode::TopicNameInvalid),
            // Too short, too long, not UTF-8
            (&MQTT_3_1_1, &[0x06, 0, 10, 0, 1, b'c'], malformed),
            (&MQTT_3_1_1, &[0x02, 0, 10], malformed),
            (&MQTT_3_1_1, &[0x02, 0, 10, 0, 1, b'c', 0], malformed),
            (&MQTT_3_1_1, &[0x02, 0, 10, 0, 1, 0xFF], malformed),
            (&MQTT_3_1_1[..5], &[], malformed),
            // Properties
            (&MQTT_5, &[0, 0, 10, 3, 0x21, 0, 0, 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 5, 0x27, 0, 0, 0, 0, 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 2, 0x17, 2, 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 2, 0x19, 2, 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 4, 0x16, 0, 1, b'd', 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 6, 0x22, 0, 1, 0x22, 0, 1, 0, 1, b'c'], ReasonCode::ProtocolError),
            (&MQTT_5, &[0, 0, 10, 3, 0x23, 0, 1, 0, 1, b'c'], malformed),
            (&MQTT_5, &[0, 0, 10, 0x80, 0, 0, 1, b'c'], malformed),
            // A will has no topic alias and no subscription identifiers
            (&MQTT_5, &[4, 0, 10, 0, 0, 1, b'c', 3, 0x23, 0, 1, 0, 1, b'w', 0, 0], malformed),
            (&MQTT_5, &[4, 0, 10, 0, 0, 1, b'c', 2, 0x0B, 1, 0, 1, b'w', 0, 0], malformed),
        ] {
            let error = refusal(head, rest);
            assert_eq!(error.reason, reason, "{head:02X?} {rest:02X?}: {error}");
        }
    }

    #[test]
    fn user_properties_of_the_connection_and_of_the_will_are_counted_together() {
        let pair = [7, 0x26, 0, 1, b'k', 0, 1, b'v'];
        let body = [&MQTT_5[..], &[4, 0, 10], &pair, &[0, 1, b'c'], &pair, &[0, 1, b'w', 0, 0]].concat();
        let header = frame_header(&framed(0x10, &body)).unwrap().unwrap();
        let read = |user_properties| {
            decode(header, Body::Borrowed(&body), None, DecodeLimits { user_properties, filters: 0 })
        };
        assert!(read(2).is_ok());
        assert_eq!(read(1).unwrap_err().reason, ReasonCode::QuotaExceeded);
    }

    #[test]
    fn a_password_is_not_printed() {
        let password = Password(Bytes::from_static(b"secret"));
        assert_eq!(format!("{password:?}"), "Password(6 bytes)");
    }
}
