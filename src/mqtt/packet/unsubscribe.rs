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
            filters.push(reader.owned_text()?);
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
