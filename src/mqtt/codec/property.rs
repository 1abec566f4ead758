//! Reading and writing properties (MQTT 5.0 section 2.2.2).

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;

use super::EncodeError;
use super::reader::Reader;
use super::writer::{Length, Sink};
use crate::mqtt::{
    DecodeError, PayloadFormat, ReasonCode, SubscriptionIdentifier, TopicAlias, TopicName, UserProperties,
};

/// What a property is. A number rather than an enum, for each packet names only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PropertyId(u8);

macro_rules! property_ids {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        impl PropertyId {
            $(pub(crate) const $name: Self = Self($id);)*

            /// The standard's name for it, in lower case; `None` if the standard has no such property.
            const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

property_ids! {
    PAYLOAD_FORMAT_INDICATOR = 0x01, "the payload format indicator";
    MESSAGE_EXPIRY_INTERVAL = 0x02, "the message expiry interval";
    CONTENT_TYPE = 0x03, "the content type";
    RESPONSE_TOPIC = 0x08, "the response topic";
    CORRELATION_DATA = 0x09, "the correlation data";
    SUBSCRIPTION_IDENTIFIER = 0x0B, "the subscription identifier";
    SESSION_EXPIRY_INTERVAL = 0x11, "the session expiry interval";
    ASSIGNED_CLIENT_IDENTIFIER = 0x12, "the assigned client identifier";
    SERVER_KEEP_ALIVE = 0x13, "the server keep alive";
    AUTHENTICATION_METHOD = 0x15, "the authentication method";
    AUTHENTICATION_DATA = 0x16, "the authentication data";
    REQUEST_PROBLEM_INFORMATION = 0x17, "the request problem information";
    WILL_DELAY_INTERVAL = 0x18, "the will delay interval";
    REQUEST_RESPONSE_INFORMATION = 0x19, "the request response information";
    RESPONSE_INFORMATION = 0x1A, "the response information";
    SERVER_REFERENCE = 0x1C, "the server reference";
    REASON_STRING = 0x1F, "the reason string";
    RECEIVE_MAXIMUM = 0x21, "the receive maximum";
    TOPIC_ALIAS_MAXIMUM = 0x22, "the topic alias maximum";
    TOPIC_ALIAS = 0x23, "the topic alias";
    MAXIMUM_QOS = 0x24, "the maximum QoS";
    RETAIN_AVAILABLE = 0x25, "the retain available";
    USER_PROPERTY = 0x26, "a user property";
    MAXIMUM_PACKET_SIZE = 0x27, "the maximum packet size";
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28, "the wildcard subscription available";
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29, "the subscription identifier available";
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A, "the shared subscription available";
}

/// The properties of one packet, or of its will: first what comes next, then its value.
#[derive(Debug)]
pub(crate) struct PropertyReader<'r, 'a> {
    section: Reader<'a>,
    user_properties_left: &'r mut usize,
    /// A bit for each property that came.
    seen: u64,
}

impl<'r, 'a> PropertyReader<'r, 'a> {
    pub(super) fn new(section: Reader<'a>, user_properties_left: &'r mut usize) -> Self {
        Self { section, user_properties_left, seen: 0 }
    }

    /// What the next property is; `None` at the end.
    ///
    /// Refuses repetition, but for the two that the standard lets be repeated: user properties, and subscription
    /// identifiers, which only PUBLISH may repeat.
    pub(crate) fn next_id(&mut self) -> Result<Option<PropertyId>, DecodeError> {
        if self.section.is_empty() {
            return Ok(None);
        }
        // The identifier is a Variable Byte Integer, but all that are known take one byte.
        let id = PropertyId(self.section.u8()?);
        if id.name().is_none() {
            return Err(DecodeError::malformed("a property has an unknown identifier"));
        }
        let bit = 1_u64.checked_shl(u32::from(id.0)).unwrap_or(0);
        let repeatable = id == PropertyId::USER_PROPERTY || id == PropertyId::SUBSCRIPTION_IDENTIFIER;
        if self.seen & bit != 0 && !repeatable {
            return Err(DecodeError::protocol("a property comes twice"));
        }
        self.seen |= bit;
        Ok(Some(id))
    }

    /// What to say of a property that the packet cannot have (MQTT 5.0 section 2.2.2.2).
    pub(crate) fn misplaced<T>() -> Result<T, DecodeError> {
        Err(DecodeError::malformed("a property does not belong in this packet"))
    }

    /// A byte that says no or yes.
    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.section.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("a property is neither 0 nor 1")),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.section.u16()
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.section.u32()
    }

    pub(crate) fn receive_maximum(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.section.u16()?).ok_or(DecodeError::protocol("the receive maximum is 0"))
    }

    pub(crate) fn maximum_packet_size(&mut self) -> Result<NonZeroU32, DecodeError> {
        NonZeroU32::new(self.section.u32()?).ok_or(DecodeError::protocol("the maximum packet size is 0"))
    }

    pub(crate) fn payload_format(&mut self) -> Result<PayloadFormat, DecodeError> {
        self.flag().map(|utf8| if utf8 { PayloadFormat::Utf8 } else { PayloadFormat::Bytes })
    }

    /// A topic alias \[MQTT-3.3.2-8\].
    pub(crate) fn topic_alias(&mut self) -> Result<TopicAlias, DecodeError> {
        TopicAlias::new(self.section.u16()?)
            .ok_or(DecodeError::because(ReasonCode::TopicAliasInvalid, "the topic alias is 0"))
    }

    pub(crate) fn subscription_identifier(&mut self) -> Result<SubscriptionIdentifier, DecodeError> {
        SubscriptionIdentifier::new(self.section.variable()?)
            .ok_or(DecodeError::protocol("the subscription identifier is 0"))
    }

    /// A response topic \[MQTT-3.3.2-14\].
    pub(crate) fn response_topic(&mut self) -> Result<TopicName, DecodeError> {
        TopicName::parse(self.section.text()?)
            .map_err(|_| DecodeError::protocol("the response topic is empty or holds a wildcard"))
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, DecodeError> {
        self.section.owned_text()
    }

    pub(crate) fn data(&mut self) -> Result<Bytes, DecodeError> {
        self.section.owned_data()
    }

    pub(crate) fn user_property(&mut self, properties: &mut UserProperties) -> Result<(), DecodeError> {
        let Some(left) = self.user_properties_left.checked_sub(1) else {
            return Err(DecodeError::because(ReasonCode::QuotaExceeded, "too many user properties"));
        };
        *self.user_properties_left = left;
        properties.push((self.section.owned_text()?, self.section.owned_text()?));
        Ok(())
    }

    /// Reads the properties of a packet that has no others than reason string and user properties.
    pub(crate) fn explanation(mut self) -> Result<(Option<Arc<str>>, UserProperties), DecodeError> {
        let mut reason_string = None;
        let mut user_properties = UserProperties::new();
        while let Some(id) = self.next_id()? {
            match id {
                PropertyId::REASON_STRING => reason_string = Some(self.text()?),
                PropertyId::USER_PROPERTY => self.user_property(&mut user_properties)?,
                _ => return Self::misplaced(),
            }
        }
        Ok((reason_string, user_properties))
    }
}

/// Properties that can be written.
pub(crate) trait EncodeProperties {
    /// Writes the properties, without their length.
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError>;

    /// Whether there is none to write.
    fn is_empty(&self) -> bool {
        let mut length = Length::default();
        self.encode_properties(&mut length).is_ok() && length.0 == 0
    }
}

/// The properties of a packet that has no others than reason string and user properties.
#[derive(Debug)]
pub(crate) struct Explanation<'a> {
    pub(crate) reason_string: Option<&'a Arc<str>>,
    pub(crate) user_properties: &'a UserProperties,
}

impl EncodeProperties for Explanation<'_> {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.text_property(PropertyId::REASON_STRING, self.reason_string)?;
        out.user_properties(self.user_properties)
    }
}

/// Writes single properties; those that are `None` are left out.
pub(crate) trait PropertySink: Sink {
    fn u8_property(&mut self, PropertyId(id): PropertyId, value: Option<u8>) {
        if let Some(value) = value {
            self.put(&[id, value]);
        }
    }

    fn u16_property(&mut self, PropertyId(id): PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id);
            self.u16(value);
        }
    }

    fn u32_property(&mut self, PropertyId(id): PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id);
            self.u32(value);
        }
    }

    /// Writes a flag that differs from the value that holds where it is left out.
    fn flag_property(&mut self, id: PropertyId, value: bool, default: bool) {
        self.u8_property(id, (value != default).then_some(u8::from(value)));
    }

    fn text_property(&mut self, id: PropertyId, value: Option<impl AsRef<str>>) -> Result<(), EncodeError> {
        self.data_property(id, value.as_ref().map(|text| text.as_ref().as_bytes()))
    }

    fn data_property(&mut self, id: PropertyId, value: Option<impl AsRef<[u8]>>) -> Result<(), EncodeError> {
        if let Some(value) = value {
            self.u8(id.0);
            self.data(id.name().unwrap_or("a property"), value.as_ref())?;
        }
        Ok(())
    }

    fn subscription_identifiers(&mut self, identifiers: &[SubscriptionIdentifier]) {
        for identifier in identifiers {
            self.u8(PropertyId::SUBSCRIPTION_IDENTIFIER.0);
            self.variable(identifier.get());
        }
    }

    fn user_properties(&mut self, properties: &UserProperties) -> Result<(), EncodeError> {
        for (name, value) in properties {
            self.u8(PropertyId::USER_PROPERTY.0);
            self.text("the name of a user property", name)?;
            self.text("the value of a user property", value)?;
        }
        Ok(())
    }
}

impl<S: Sink> PropertySink for S {}

#[cfg(test)]
mod tests {
    use super::super::{Body, DecodeLimits};
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> Result<(Option<Arc<str>>, UserProperties), DecodeError> {
        let mut reader =
            Reader::new(Body::Borrowed(bytes), DecodeLimits { user_properties: limit, filters: 0 });
        let properties = reader.properties()?.explanation()?;
        reader.finish()?;
        Ok(properties)
    }

    #[test]
    fn reads_and_writes_reason_string_and_user_properties() {
        let bytes = [12, 0x1F, 0, 1, b'x', 0x26, 0, 1, b'a', 0, 2, b'b', b'c'];
        let (reason_string, user_properties) = read(&bytes, 1).unwrap();
        assert_eq!(reason_string.as_deref(), Some("x"));
        assert_eq!(user_properties, [(Arc::from("a"), Arc::from("bc"))]);
        let explanation =
            Explanation { reason_string: reason_string.as_ref(), user_properties: &user_properties };
        assert!(!explanation.is_empty());
        let mut out = Vec::new();
        out.properties(&explanation).unwrap();
        assert_eq!(out, bytes);
    }

    #[test]
    fn refuses_what_section_2_2_2_forbids() {
        for (bytes, limit, reason) in [
            // Longer than the packet.
            (&[5, 0x1F, 0, 1, b'x'][..], 0, ReasonCode::MalformedPacket),
            // The value is longer than the properties.
            (&[4, 0x1F, 0, 2, b'x', b'y'], 0, ReasonCode::MalformedPacket),
            // Unknown.
            (&[2, 0x7E, 0], 0, ReasonCode::MalformedPacket),
            (&[2, 0xFF, 0], 0, ReasonCode::MalformedPacket),
            // Known, but of another packet.
            (&[3, 0x23, 0, 1], 0, ReasonCode::MalformedPacket),
            // Twice.
            (&[8, 0x1F, 0, 1, b'x', 0x1F, 0, 1, b'x'], 0, ReasonCode::ProtocolError),
            // More user properties than allowed.
            (&[5, 0x26, 0, 0, 0, 0], 0, ReasonCode::QuotaExceeded),
            (&[10, 0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0], 1, ReasonCode::QuotaExceeded),
        ] {
            assert_eq!(read(bytes, limit).unwrap_err().reason, reason, "{bytes:02X?}");
        }
    }

    #[test]
    fn knows_the_27_properties_of_table_2_4() {
        assert_eq!((0..=u8::MAX).filter(|&id| PropertyId(id).name().is_some()).count(), 27);
    }
}
