//! SUBSCRIBE and SUBACK (MQTT 5.0 sections 3.8 and 3.9).

use std::sync::Arc;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, Explanation, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{
    DecodeError, PacketId, ProtocolVersion, QoS, ReasonCode, SubscriptionIdentifier, UserProperties,
};

/// A request for subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Which SUBACK answers it.
    pub packet_id: PacketId,
    /// The identifier of all of its subscriptions.
    pub identifier: Option<SubscriptionIdentifier>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// What is asked for; never empty \[MQTT-3.8.3-2\].
    pub entries: Vec<SubscribeEntry>,
}

/// One of the subscriptions that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeEntry {
    /// The filter as it was sent: whether it is one is for the broker to say, entry by entry.
    pub filter: Arc<str>,
    /// How its messages are to be delivered.
    pub options: SubscriptionOptions,
}

/// How the messages of a subscription are delivered (MQTT 5.0 section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS.
    pub qos: QoS,
    /// Whether the client's own publications are kept from it.
    pub no_local: bool,
    /// Whether the retain flag is passed on as it was published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RetainHandling {
    /// With each SUBSCRIBE.
    #[default]
    Always,
    /// Only if the subscription was not there yet.
    IfNew,
    /// Never.
    Never,
}

/// The answer to SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each entry, in order. For MQTT 3.x a failure is written as 0x80.
    pub reasons: Vec<ReasonCode>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}

impl Subscribe {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut identifier = None;
        let mut user_properties = UserProperties::new();
        if version.is_v5() {
            let mut properties = reader.properties()?;
            while let Some(id) = properties.next_id()? {
                match id {
                    PropertyId::SUBSCRIPTION_IDENTIFIER if identifier.is_some() => {
                        return Err(DecodeError::protocol("a SUBSCRIBE has two subscription identifiers"));
                    }
                    PropertyId::SUBSCRIPTION_IDENTIFIER => {
                        identifier = Some(properties.subscription_identifier()?);
                    }
                    PropertyId::USER_PROPERTY => properties.user_property(&mut user_properties)?,
                    _ => return PropertyReader::misplaced(),
                }
            }
        }
        let mut entries = Vec::new();
        while !reader.is_empty() {
            entries.push(SubscribeEntry::decode(version, reader)?);
        }
        // [MQTT-3.8.3-2], [MQTT3-3.8.3-3]
        if entries.is_empty() {
            return Err(DecodeError::protocol("a SUBSCRIBE asks for nothing"));
        }
        Ok(Self { packet_id, identifier, user_properties, entries })
    }
}

impl SubscribeEntry {
    fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let filter = reader.filter()?;
        let options = SubscriptionOptions::decode(reader.u8()?, version)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::protocol("a shared subscription has the no local option"));
        }
        Ok(Self { filter, options })
    }
}

const OPTION_QOS: u8 = 0b0000_0011;
const OPTION_NO_LOCAL: u8 = 0b0000_0100;
const OPTION_RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const OPTION_RETAIN_HANDLING_SHIFT: u8 = 4;
const OPTION_RETAIN_HANDLING: u8 = 0b11;
const OPTION_RESERVED: u8 = 0b1100_0000;

impl SubscriptionOptions {
    fn decode(bits: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        // [MQTT-3.8.3-5], [MQTT3-3.8.3-4]
        let reserved = if version.is_v5() { OPTION_RESERVED } else { !OPTION_QOS };
        if bits & reserved != 0 {
            return Err(DecodeError::malformed("subscription options have reserved bits"));
        }
        let qos = QoS::from_u8(bits & OPTION_QOS).ok_or(DecodeError::protocol("the maximum QoS is 3"))?;
        let retain_handling = match bits >> OPTION_RETAIN_HANDLING_SHIFT & OPTION_RETAIN_HANDLING {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::protocol("the retain handling is 3")),
        };
        Ok(Self {
            qos,
            no_local: bits & OPTION_NO_LOCAL != 0,
            retain_as_published: bits & OPTION_RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn encode(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos.as_u8();
        }
        let no_local = if self.no_local { OPTION_NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { OPTION_RETAIN_AS_PUBLISHED } else { 0 };
        let retain_handling = match self.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        };
        self.qos.as_u8() | no_local | retain_as_published | retain_handling << OPTION_RETAIN_HANDLING_SHIFT
    }
}

impl EncodePacket for Subscribe {
    fn first_byte(&self) -> u8 {
        PacketType::Subscribe.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version.is_v5() {
            out.properties(self)?;
        }
        for entry in &self.entries {
            out.text("a topic filter", &entry.filter)?;
            out.u8(entry.options.encode(version));
        }
        Ok(())
    }
}

impl EncodeProperties for Subscribe {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.subscription_identifiers(self.identifier.as_slice());
        out.user_properties(&self.user_properties)
    }
}

/// What a failure is in MQTT 3.1.1, which has but one; written for MQTT 3.1 too, which has none.
const V3_FAILURE: u8 = 0x80;

impl SubAck {
    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let (reason_string, user_properties) =
            if version.is_v5() { reader.properties()?.explanation()? } else { (None, UserProperties::new()) };
        let mut reasons = Vec::new();
        while !reader.is_empty() {
            reasons.push(reader.reason(|reason| may_answer_subscribe(reason, version))?);
        }
        Ok(Self { packet_id, reasons, reason_string, user_properties })
    }
}

/// Whether SUBACK may give this reason \[MQTT-3.9.3-2\] \[MQTT3-3.9.3-2\].
const fn may_answer_subscribe(reason: ReasonCode, version: ProtocolVersion) -> bool {
    let in_all_versions = matches!(
        reason,
        ReasonCode::Success
            | ReasonCode::GrantedQoS1
            | ReasonCode::GrantedQoS2
            | ReasonCode::UnspecifiedError
    );
    let in_v5 = matches!(
        reason,
        ReasonCode::ImplementationSpecificError
            | ReasonCode::NotAuthorized
            | ReasonCode::TopicFilterInvalid
            | ReasonCode::PacketIdentifierInUse
            | ReasonCode::QuotaExceeded
            | ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::SubscriptionIdentifiersNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported
    );
    in_all_versions || (in_v5 && version.is_v5())
}

impl EncodePacket for SubAck {
    fn first_byte(&self) -> u8 {
        PacketType::SubAck.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if version.is_v5() {
            out.properties(&Explanation {
                reason_string: self.reason_string.as_ref(),
                user_properties: &self.user_properties,
            })?;
        }
        for reason in &self.reasons {
            out.u8(if reason.is_error() && !version.is_v5() { V3_FAILURE } else { reason.as_u8() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{VERSIONS, assert_both_ways, decode_one, encoded, framed};

    fn entry(filter: &str, qos: QoS) -> SubscribeEntry {
        SubscribeEntry {
            filter: Arc::from(filter),
            options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
        }
    }

    fn subscribe(entries: Vec<SubscribeEntry>) -> Subscribe {
        Subscribe {
            packet_id: PacketId::new(10).unwrap(),
            identifier: None,
            user_properties: UserProperties::new(),
            entries,
        }
    }

    #[test]
    fn more_filters_than_allowed_are_refused() {
        for version in VERSIONS {
            let bytes = encoded(
                &Packet::Subscribe(Box::new(subscribe(vec![entry("a", QoS::AtMostOnce); 65]))),
                version,
            );
            assert_eq!(decode_one(&bytes, version).unwrap_err().reason, ReasonCode::QuotaExceeded);
        }
    }

    #[test]
    fn is_as_in_the_examples_of_section_3_8() {
        let packet = Packet::Subscribe(Box::new(subscribe(vec![
            entry("a/b", QoS::AtLeastOnce),
            entry("c/d", QoS::ExactlyOnce),
        ])));
        let payload = [0, 3, b'a', b'/', b'b', 1, 0, 3, b'c', b'/', b'd', 2];
        for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
            assert_both_ways(&packet, version, &framed(0x82, &[&[0, 10], &payload[..]].concat()));
        }
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0x82, &[&[0, 10, 0], &payload[..]].concat()));
    }

    #[test]
    fn carries_its_options_and_its_identifier() {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        };
        let packet = Packet::Subscribe(Box::new(Subscribe {
            identifier: SubscriptionIdentifier::new(268_435_455),
            user_properties: vec![(Arc::from("k"), Arc::from("v"))],
            ..subscribe(vec![SubscribeEntry { filter: Arc::from("#"), options }])
        }));
        let body = [
            &[0, 10, 12, 0x0B, 0xFF, 0xFF, 0xFF, 0x7F][..],
            &[0x26, 0, 1, b'k', 0, 1, b'v', 0, 1, b'#', 0b0010_1110],
        ];
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0x82, &body.concat()));
        // MQTT 3.x has but the QoS.
        assert_eq!(encoded(&packet, ProtocolVersion::V3_1_1), framed(0x82, &[0, 10, 0, 1, b'#', 2]));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        let v3 = ProtocolVersion::V3_1_1;
        let shared = [&[0, 1, 0, 0, 10][..], b"$share/g/a", &[0b0100]].concat();
        for (body, version, reason) in [
            (&[0, 0, 0, 0, 1, b'a', 0][..], v5, ReasonCode::ProtocolError),
            // Nothing asked for [MQTT-3.8.3-2]
            (&[0, 1, 0], v5, ReasonCode::ProtocolError),
            (&[0, 1], v3, ReasonCode::ProtocolError),
            // No options
            (&[0, 1, 0, 0, 1, b'a'], v5, ReasonCode::MalformedPacket),
            (&[0, 1, 0, 1, b'a'], v3, ReasonCode::MalformedPacket),
            // QoS 3, retain handling 3
            (&[0, 1, 0, 0, 1, b'a', 3], v5, ReasonCode::ProtocolError),
            (&[0, 1, 0, 1, b'a', 3], v3, ReasonCode::ProtocolError),
            (&[0, 1, 0, 0, 1, b'a', 0x30], v5, ReasonCode::ProtocolError),
            // Reserved bits [MQTT-3.8.3-5]
            (&[0, 1, 0, 0, 1, b'a', 0x40], v5, ReasonCode::MalformedPacket),
            (&[0, 1, 0, 0, 1, b'a', 0x80], v5, ReasonCode::MalformedPacket),
            (&[0, 1, 0, 1, b'a', 0x04], v3, ReasonCode::MalformedPacket),
            // No local and shared [MQTT-3.8.3-4]
            (&shared, v5, ReasonCode::ProtocolError),
            // Identifier 0, two identifiers, a property of another packet
            (&[0, 1, 2, 0x0B, 0, 0, 1, b'a', 0], v5, ReasonCode::ProtocolError),
            (&[0, 1, 4, 0x0B, 1, 0x0B, 1, 0, 1, b'a', 0], v5, ReasonCode::ProtocolError),
            (&[0, 1, 4, 0x1F, 0, 1, b'x', 0, 1, b'a', 0], v5, ReasonCode::MalformedPacket),
        ] {
            let error = decode_one(&framed(0x82, body), version).unwrap_err();
            assert_eq!(error.reason, reason, "{body:02X?} {version}: {error}");
        }
        for first in [0x80, 0x8A, 0x83] {
            let error = decode_one(&framed(first, &[0, 1, 0, 1, b'a', 0]), v3).unwrap_err();
            assert_eq!(error.reason, ReasonCode::MalformedPacket);
        }
        assert!(decode_one(&framed(0x8A, &[0, 1, 0, 1, b'a', 0]), ProtocolVersion::V3_1).is_ok());
    }

    #[test]
    fn the_answer_says_how_each_went() {
        let mut suback = SubAck {
            packet_id: PacketId::new(10).unwrap(),
            reasons: vec![ReasonCode::Success, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError],
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        let packet = Packet::SubAck(Box::new(suback.clone()));
        for version in VERSIONS {
            let head: &[u8] = if version.is_v5() { &[0, 10, 0] } else { &[0, 10] };
            assert_both_ways(&packet, version, &framed(0x90, &[head, &[0, 2, 0x80]].concat()));
        }
        suback.reasons = vec![ReasonCode::TopicFilterInvalid];
        suback.reason_string = Some(Arc::from("x"));
        let packet = Packet::SubAck(Box::new(suback));
        let bytes = [0x90, 8, 0, 10, 4, 0x1F, 0, 1, b'x', 0x8F];
        assert_both_ways(&packet, ProtocolVersion::V5, &bytes);
        assert_eq!(encoded(&packet, ProtocolVersion::V3_1_1), [0x90, 3, 0, 10, 0x80]);
        // [MQTT3-3.9.3-2]
        for reason in [3, 0x8F] {
            assert!(decode_one(&[0x90, 3, 0, 10, reason], ProtocolVersion::V3_1_1).is_err());
        }
        assert!(decode_one(&[0x90, 4, 0, 10, 0, 0x10], ProtocolVersion::V5).is_err());
        let allowed =
            ReasonCode::ALL.iter().filter(|&&r| may_answer_subscribe(r, ProtocolVersion::V5)).count();
        assert_eq!(allowed, 12);
    }
}
