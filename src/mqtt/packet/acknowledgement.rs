//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape, four meanings (MQTT 5.0 sections 3.4 to 3.7).

use std::sync::Arc;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, Explanation};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{DecodeError, PacketId, ProtocolVersion, ReasonCode, UserProperties};

/// Which of the four packets it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcknowledgementKind {
    /// Answers a PUBLISH of QoS 1.
    PubAck,
    /// Answers a PUBLISH of QoS 2: received.
    PubRec,
    /// Answers PUBREC: the packet identifier may be forgotten.
    PubRel,
    /// Answers PUBREL: it is forgotten.
    PubComp,
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which of the four.
    pub kind: AcknowledgementKind,
    /// Of the PUBLISH it is about.
    pub packet_id: PacketId,
    /// How it went. [`ReasonCode::Success`] in MQTT 3.x, where the packet cannot say.
    pub reason: ReasonCode,
    /// What else was said; `None` where nothing was.
    pub details: Option<Box<AcknowledgementDetails>>,
}

/// The properties of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcknowledgementDetails {
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}

impl AcknowledgementKind {
    /// Whether such a packet may give this reason (MQTT 5.0 sections 3.4.2.1, 3.5.2.1, 3.6.2.1 and 3.7.2.1).
    const fn allows(self, reason: ReasonCode) -> bool {
        match self {
            // [MQTT-3.4.2-1], [MQTT-3.5.2-1]
            Self::PubAck | Self::PubRec => matches!(
                reason,
                ReasonCode::Success
                    | ReasonCode::NoMatchingSubscribers
                    | ReasonCode::UnspecifiedError
                    | ReasonCode::ImplementationSpecificError
                    | ReasonCode::NotAuthorized
                    | ReasonCode::TopicNameInvalid
                    | ReasonCode::PacketIdentifierInUse
                    | ReasonCode::QuotaExceeded
                    | ReasonCode::PayloadFormatInvalid
            ),
            // [MQTT-3.6.2-1], [MQTT-3.7.2-1]
            Self::PubRel | Self::PubComp => {
                matches!(reason, ReasonCode::Success | ReasonCode::PacketIdentifierNotFound)
            }
        }
    }

    const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }
}

impl Acknowledgement {
    pub(crate) fn decode(
        kind: AcknowledgementKind,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut acknowledgement = Self { kind, packet_id, reason: ReasonCode::Success, details: None };
        // Where the packet ends early, it went well, and there is no more to say.
        if version.is_v5() && !reader.is_empty() {
            acknowledgement.reason = reader.reason(|reason| kind.allows(reason))?;
            if !reader.is_empty() {
                acknowledgement.details = read_details(reader)?;
            }
        }
        Ok(acknowledgement)
    }
}

fn read_details(reader: &mut Reader<'_>) -> Result<Option<Box<AcknowledgementDetails>>, DecodeError> {
    let (reason_string, user_properties) = reader.properties()?.explanation()?;
    if reason_string.is_none() && user_properties.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(AcknowledgementDetails { reason_string, user_properties })))
}

impl EncodePacket for Acknowledgement {
    fn first_byte(&self) -> u8 {
        self.kind.packet_type().first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if !version.is_v5() {
            return Ok(());
        }
        let details = self.details.as_deref().map(AcknowledgementDetails::explanation);
        match details.filter(|details| !details.is_empty()) {
            Some(details) => {
                out.u8(self.reason.as_u8());
                out.properties(&details)
            }
            None if self.reason == ReasonCode::Success => Ok(()),
            None => {
                out.u8(self.reason.as_u8());
                Ok(())
            }
        }
    }
}

impl AcknowledgementDetails {
    fn explanation(&self) -> Explanation<'_> {
        Explanation { reason_string: self.reason_string.as_ref(), user_properties: &self.user_properties }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{VERSIONS, assert_both_ways, decode_one, encoded};

    const KINDS: [(AcknowledgementKind, u8); 4] = [
        (AcknowledgementKind::PubAck, 0x40),
        (AcknowledgementKind::PubRec, 0x50),
        (AcknowledgementKind::PubRel, 0x62),
        (AcknowledgementKind::PubComp, 0x70),
    ];

    fn acknowledgement(kind: AcknowledgementKind, reason: ReasonCode) -> Acknowledgement {
        Acknowledgement { kind, packet_id: PacketId::new(0x1234).unwrap(), reason, details: None }
    }

    #[test]
    fn success_takes_two_bytes_in_all_versions() {
        for version in VERSIONS {
            for (kind, first) in KINDS {
                let packet = Packet::Acknowledgement(acknowledgement(kind, ReasonCode::Success));
                assert_both_ways(&packet, version, &[first, 2, 0x12, 0x34]);
            }
        }
    }

    #[test]
    fn a_reason_takes_one_byte_more_and_is_left_out_in_mqtt_3() {
        for (kind, first) in KINDS {
            let reason = match kind {
                AcknowledgementKind::PubAck | AcknowledgementKind::PubRec => ReasonCode::NotAuthorized,
                AcknowledgementKind::PubRel | AcknowledgementKind::PubComp => {
                    ReasonCode::PacketIdentifierNotFound
                }
            };
            let packet = Packet::Acknowledgement(acknowledgement(kind, reason));
            assert_both_ways(&packet, ProtocolVersion::V5, &[first, 3, 0x12, 0x34, reason.as_u8()]);
            assert_eq!(encoded(&packet, ProtocolVersion::V3_1_1), [first, 2, 0x12, 0x34]);
        }
    }

    #[test]
    fn carries_its_properties() {
        let details = AcknowledgementDetails { reason_string: Some(Arc::from("x")), ..Default::default() };
        let packet = Packet::Acknowledgement(Acknowledgement {
            details: Some(Box::new(details)),
            ..acknowledgement(AcknowledgementKind::PubAck, ReasonCode::Success)
        });
        assert_both_ways(&packet, ProtocolVersion::V5, &[0x40, 8, 0x12, 0x34, 0, 4, 0x1F, 0, 1, b'x']);
    }

    #[test]
    fn the_long_form_may_say_as_little_as_the_short_one() {
        for bytes in [&[0x40, 3, 0x12, 0x34, 0][..], &[0x40, 4, 0x12, 0x34, 0, 0]] {
            let packet =
                Packet::Acknowledgement(acknowledgement(AcknowledgementKind::PubAck, ReasonCode::Success));
            assert_eq!(decode_one(bytes, ProtocolVersion::V5), Ok(packet));
        }
        // Without details, properties that hold none are not written.
        let empty = Acknowledgement {
            details: Some(Box::default()),
            ..acknowledgement(AcknowledgementKind::PubAck, ReasonCode::Success)
        };
        assert_eq!(encoded(&Packet::Acknowledgement(empty), ProtocolVersion::V5), [0x40, 2, 0x12, 0x34]);
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        let v3 = ProtocolVersion::V3_1_1;
        for (bytes, version, reason) in [
            (&[0x40, 2, 0, 0][..], v5, ReasonCode::ProtocolError),
            (&[0x40, 2, 0, 0], v3, ReasonCode::ProtocolError),
            (&[0x40, 1, 1], v5, ReasonCode::MalformedPacket),
            (&[0x40, 0], v3, ReasonCode::MalformedPacket),
            (&[0x40, 3, 0, 1, 0], v3, ReasonCode::MalformedPacket),
            // No such reason, and one of another packet.
            (&[0x40, 3, 0, 1, 0x7F], v5, ReasonCode::ProtocolError),
            (&[0x40, 3, 0, 1, 0x92], v5, ReasonCode::ProtocolError),
            (&[0x62, 3, 0, 1, 0x10], v5, ReasonCode::ProtocolError),
            // Trailing bytes, and flags.
            (&[0x40, 5, 0, 1, 0, 0, 0], v5, ReasonCode::MalformedPacket),
            (&[0x42, 2, 0, 1], v5, ReasonCode::MalformedPacket),
            (&[0x60, 2, 0, 1], v5, ReasonCode::MalformedPacket),
            (&[0x6A, 2, 0, 1], v3, ReasonCode::MalformedPacket),
        ] {
            let error = decode_one(bytes, version).unwrap_err();
            assert_eq!(error.reason, reason, "{bytes:02X?} {version}: {error}");
        }
        assert!(decode_one(&[0x6A, 2, 0, 1], ProtocolVersion::V3_1).is_ok());
    }

    #[test]
    fn each_kind_has_the_reasons_that_the_standard_lists() {
        for (kind, count) in [
            (AcknowledgementKind::PubAck, 9),
            (AcknowledgementKind::PubRec, 9),
            (AcknowledgementKind::PubRel, 2),
            (AcknowledgementKind::PubComp, 2),
        ] {
            assert_eq!(
                ReasonCode::ALL.iter().filter(|&&reason| kind.allows(reason)).count(),
                count,
                "{kind:?}"
            );
        }
    }
}
