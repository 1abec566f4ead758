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
