//! AUTH (MQTT 5.0 section 3.15).

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{DecodeError, ProtocolVersion, ReasonCode, UserProperties};

/// A step of an authentication exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue authentication, or re-authenticate.
    pub reason: ReasonCode,
    /// The method, agreed in CONNECT.
    pub method: Option<Arc<str>>,
    /// What the method wants said.
    pub data: Option<Bytes>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}

impl Auth {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !version.is_v5() {
            return Err(DecodeError::malformed("packet type 15 is reserved"));
        }
        let mut auth = Self {
            reason: ReasonCode::Success,
            method: None,
            data: None,
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        // Section 3.15.2.1: success without properties may be said by saying nothing.
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason = reader.reason(may_authenticate)?;
        if !reader.is_empty() {
            auth.read_properties(reader.properties()?)?;
        }
        // Section 3.15.2.2.2
        if auth.method.is_none() {
            return Err(DecodeError::protocol("an AUTH names no authentication method"));
        }
        Ok(auth)
    }

    fn read_properties(&mut self, mut properties: PropertyReader<'_, '_>) -> Result<(), DecodeError> {
        while let Some(id) = properties.next_id()? {
            match id {
                PropertyId::AUTHENTICATION_METHOD => self.method = Some(properties.text()?),
                PropertyId::AUTHENTICATION_DATA => self.data = Some(properties.data()?),
                PropertyId::REASON_STRING => self.reason_string = Some(properties.text()?),
                PropertyId::USER_PROPERTY => properties.user_property(&mut self.user_properties)?,
                _ => return PropertyReader::misplaced(),
            }
        }
        Ok(())
    }
}

/// Whether AUTH may give this reason \[MQTT-3.15.2-1\].
const fn may_authenticate(reason: ReasonCode) -> bool {
    matches!(reason, ReasonCode::Success | ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate)
}

impl EncodePacket for Auth {
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn encode_body<S: Sink>(&self, _version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        if self.reason == ReasonCode::Success && self.is_empty() {
            return Ok(());
        }
        out.u8(self.reason.as_u8());
        out.properties(self)
    }
}

impl EncodeProperties for Auth {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.text_property(PropertyId::AUTHENTICATION_METHOD, self.method.as_ref())?;
        out.data_property(PropertyId::AUTHENTICATION_DATA, self.data.as_ref())?;
        out.text_property(PropertyId::REASON_STRING, self.reason_string.as_ref())?;
        out.user_properties(&self.user_properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{assert_both_ways, decode_one, encoded, framed};

    fn auth(reason: ReasonCode) -> Auth {
        Auth {
            reason,
            method: Some(Arc::from("m")),
            data: None,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }

    #[test]
    fn is_as_in_section_3_15() {
        let packet = Packet::Auth(Box::new(auth(ReasonCode::ReAuthenticate)));
        assert_both_ways(&packet, ProtocolVersion::V5, &[0xF0, 6, 0x19, 4, 0x15, 0, 1, b'm']);
        assert!(encoded(&packet, ProtocolVersion::V3_1_1).is_empty());
        let nothing_said = Packet::Auth(Box::new(Auth { method: None, ..auth(ReasonCode::Success) }));
        assert_both_ways(&nothing_said, ProtocolVersion::V5, &[0xF0, 0]);
        let packet = Packet::Auth(Box::new(Auth {
            data: Some(Bytes::from_static(&[1, 2])),
            reason_string: Some(Arc::from("x")),
            user_properties: vec![(Arc::from("k"), Arc::from("v"))],
            ..auth(ReasonCode::ContinueAuthentication)
        }));
        let body = [
            &[0x18, 20, 0x15, 0, 1, b'm', 0x16, 0, 2, 1, 2][..],
            &[0x1F, 0, 1, b'x', 0x26, 0, 1, b'k', 0, 1, b'v'],
        ];
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0xF0, &body.concat()));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        for (bytes, version, reason) in [
            (&[0xF0, 0][..], ProtocolVersion::V3_1_1, ReasonCode::MalformedPacket),
            (&[0xF0, 0], ProtocolVersion::V3_1, ReasonCode::MalformedPacket),
            (&[0xF2, 0], v5, ReasonCode::MalformedPacket),
            // A reason of another packet
            (&[0xF0, 6, 0x87, 4, 0x15, 0, 1, b'm'], v5, ReasonCode::ProtocolError),
            // No method
            (&[0xF0, 1, 0x18], v5, ReasonCode::ProtocolError),
            (&[0xF0, 2, 0x18, 0], v5, ReasonCode::ProtocolError),
            (&[0xF0, 6, 0x18, 4, 0x16, 0, 1, b'd'], v5, ReasonCode::ProtocolError),
            // Two methods
            (&[0xF0, 10, 0x18, 8, 0x15, 0, 1, b'm', 0x15, 0, 1, b'm'], v5, ReasonCode::ProtocolError),
        ] {
            let error = decode_one(bytes, version).unwrap_err();
            assert_eq!(error.reason, reason, "{bytes:02X?} {version}: {error}");
        }
    }
}
