//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10 and 3.11).

use std::sync::Arc;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, Explanation, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{DecodeError, PacketId, ProtocolVersion, ReasonCode, UserProperties};

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Which UNSUBACK answers it.
    pub packet_id: PacketId,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// The filters as they were sent; never empty \[MQTT-3.10.3-2\].
    pub filters: Vec<Arc<str>>,
}

/// The answer to UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order. MQTT 3.x does not write them.
    pub reasons: Vec<ReasonCode>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}

impl Unsubscribe {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::new();
        if version.is_v5() {
            let mut properties = reader.properties()?;
            while let Some(id) = properties.next_id()? {
                match id {
                    PropertyId::USER_PROPERTY => properties.user_property(&mut user_properties)?,
                    _ => return PropertyReader::misplaced(),
                }
            }
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(reader.filter()?);
        }
        // [MQTT-3.10.3-2]
        if filters.is_empty() {
            return Err(DecodeError::protocol("an UNSUBSCRIBE names nothing"));
        }
        Ok(Self { packet_id, user_properties, filters })
    }
}

impl EncodePacket for Unsubscribe {
    fn first_byte(&self) -> u8 {
        PacketType::Unsubscribe.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version.is_v5() {
            out.properties(self)?;
        }
        for filter in &self.filters {
            out.text("a topic filter", filter)?;
        }
        Ok(())
    }
}

impl EncodeProperties for Unsubscribe {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.user_properties(&self.user_properties)
    }
}

impl UnsubAck {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut unsuback = Self {
            packet_id,
            reasons: Vec::new(),
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        if version.is_v5() {
            (unsuback.reason_string, unsuback.user_properties) = reader.properties()?.explanation()?;
            while !reader.is_empty() {
                unsuback.reasons.push(reader.reason(may_answer_unsubscribe)?);
            }
        }
        Ok(unsuback)
    }
}

/// Whether UNSUBACK may give this reason \[MQTT-3.11.3-2\].
const fn may_answer_unsubscribe(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::Success
            | ReasonCode::NoSubscriptionExisted
            | ReasonCode::UnspecifiedError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::NotAuthorized
            | ReasonCode::TopicFilterInvalid
            | ReasonCode::PacketIdentifierInUse
    )
}

impl EncodePacket for UnsubAck {
    fn first_byte(&self) -> u8 {
        PacketType::UnsubAck.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version.is_v5() {
            out.properties(&Explanation {
                reason_string: self.reason_string.as_ref(),
                user_properties: &self.user_properties,
            })?;
            for reason in &self.reasons {
                out.u8(reason.as_u8());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{assert_both_ways, decode_one, encoded, framed};

    #[test]
    fn is_as_in_the_examples_of_section_3_10() {
        let packet = Packet::Unsubscribe(Box::new(Unsubscribe {
            packet_id: PacketId::new(10).unwrap(),
            user_properties: UserProperties::new(),
            filters: vec![Arc::from("a/b"), Arc::from("c/d")],
        }));
        let payload = [0, 3, b'a', b'/', b'b', 0, 3, b'c', b'/', b'd'];
        for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
            assert_both_ways(&packet, version, &framed(0xA2, &[&[0, 10], &payload[..]].concat()));
        }
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0xA2, &[&[0, 10, 0], &payload[..]].concat()));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        let v3 = ProtocolVersion::V3_1_1;
        for (body, version, reason) in [
            (&[0, 0, 0, 0, 1, b'a'][..], v5, ReasonCode::ProtocolError),
            (&[0, 1, 0], v5, ReasonCode::ProtocolError),
            (&[0, 1], v3, ReasonCode::ProtocolError),
            (&[0, 1, 0, 0, 2, b'a'], v5, ReasonCode::MalformedPacket),
            (&[0, 1, 0, 1, 0xFE], v3, ReasonCode::MalformedPacket),
            (&[0, 1, 2, 0x0B, 1, 0, 1, b'a'], v5, ReasonCode::MalformedPacket),
        ] {
            let error = decode_one(&framed(0xA2, body), version).unwrap_err();
            assert_eq!(error.reason, reason, "{body:02X?} {version}: {error}");
        }
    }

    #[test]
    fn the_answer_says_how_each_went_in_mqtt_5_only() {
        let mut unsuback = UnsubAck {
            packet_id: PacketId::new(10).unwrap(),
            reasons: vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted],
            reason_string: None,
            user_properties: vec![(Arc::from("k"), Arc::from("v"))],
        };
        let packet = Packet::UnsubAck(Box::new(unsuback.clone()));
        let bytes = [0xB0, 12, 0, 10, 7, 0x26, 0, 1, b'k', 0, 1, b'v', 0, 0x11];
        assert_both_ways(&packet, ProtocolVersion::V5, &bytes);
        assert_eq!(encoded(&packet, ProtocolVersion::V3_1), [0xB0, 2, 0, 10]);

        unsuback.reasons.clear();
        unsuback.user_properties.clear();
        assert_both_ways(&Packet::UnsubAck(Box::new(unsuback)), ProtocolVersion::V3_1_1, &[0xB0, 2, 0, 10]);
        assert!(decode_one(&[0xB0, 3, 0, 10, 0], ProtocolVersion::V3_1_1).is_err());
        assert!(decode_one(&[0xB0, 4, 0, 10, 0, 1], ProtocolVersion::V5).is_err());
        assert_eq!(ReasonCode::ALL.iter().filter(|&&reason| may_answer_unsubscribe(reason)).count(), 7);
    }
}
