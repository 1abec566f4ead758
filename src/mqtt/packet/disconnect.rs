//! DISCONNECT (MQTT 5.0 section 3.14).

use std::sync::Arc;

use crate::mqtt::codec::EncodeError;
use crate::mqtt::codec::frame::PacketType;
use crate::mqtt::codec::property::{EncodeProperties, PropertyId, PropertyReader, PropertySink};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::codec::writer::{EncodePacket, Sink};
use crate::mqtt::{DecodeError, ProtocolVersion, ReasonCode, UserProperties};

/// The last packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Seconds for which the session outlives the connection, where the client changes its mind about it.
    pub session_expiry_interval: Option<u32>,
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
    /// Another server to use.
    pub server_reference: Option<Arc<str>>,
}

impl Disconnect {
    /// A DISCONNECT that gives this reason and nothing else.
    pub fn because(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::new(),
            server_reference: None,
        }
    }
}

impl Disconnect {
    /// Whether a client may send it: some reasons are for servers only.
    pub fn may_come_from_client(&self) -> bool {
        !is_of_servers(self.reason)
    }

    pub(crate) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut disconnect = Self::because(ReasonCode::Success);
        // Where the packet ends early, it is a normal disconnection, and there is no more to say.
        if version.is_v5() && !reader.is_empty() {
            disconnect.reason = reader.reason(may_disconnect)?;
            if !reader.is_empty() {
                disconnect.read_properties(reader.properties()?)?;
            }
        }
        Ok(disconnect)
    }

    fn read_properties(&mut self, mut properties: PropertyReader<'_, '_>) -> Result<(), DecodeError> {
        while let Some(id) = properties.next_id()? {
            match id {
                PropertyId::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(properties.u32()?),
                PropertyId::REASON_STRING => self.reason_string = Some(properties.text()?),
                PropertyId::USER_PROPERTY => properties.user_property(&mut self.user_properties)?,
                PropertyId::SERVER_REFERENCE => self.server_reference = Some(properties.text()?),
                _ => return PropertyReader::misplaced(),
            }
        }
        Ok(())
    }

    /// Whether this version can say it: in MQTT 3.x only clients disconnect with a packet, and without a reason.
    pub(crate) fn is_expressible(&self, version: ProtocolVersion) -> bool {
        version.is_v5() || self.reason == ReasonCode::Success
    }
}

/// Whether only servers may give this reason (MQTT 5.0 table 3-13).
const fn is_of_servers(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::NotAuthorized
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::KeepAliveTimeout
            | ReasonCode::SessionTakenOver
            | ReasonCode::TopicFilterInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::MaximumConnectTime
            | ReasonCode::SubscriptionIdentifiersNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported
    )
}

/// Whether DISCONNECT may give this reason \[MQTT-3.14.2-1\].
const fn may_disconnect(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::Success
        | ReasonCode::DisconnectWithWill
        | ReasonCode::UnspecifiedError
        | ReasonCode::MalformedPacket
        | ReasonCode::ProtocolError
        | ReasonCode::ImplementationSpecificError
        | ReasonCode::NotAuthorized
        | ReasonCode::ServerBusy
        | ReasonCode::ServerShuttingDown
        // In the list of section 2.4, though not in that of section 3.14.2.1.
        | ReasonCode::BadAuthenticationMethod
        | ReasonCode::KeepAliveTimeout
        | ReasonCode::SessionTakenOver
        | ReasonCode::TopicFilterInvalid
        | ReasonCode::TopicNameInvalid
        | ReasonCode::ReceiveMaximumExceeded
        | ReasonCode::TopicAliasInvalid
        | ReasonCode::PacketTooLarge
        | ReasonCode::MessageRateTooHigh
        | ReasonCode::QuotaExceeded
        | ReasonCode::AdministrativeAction
        | ReasonCode::PayloadFormatInvalid
        | ReasonCode::RetainNotSupported
        | ReasonCode::QoSNotSupported
        | ReasonCode::UseAnotherServer
        | ReasonCode::ServerMoved
        | ReasonCode::SharedSubscriptionsNotSupported
        | ReasonCode::ConnectionRateExceeded
        | ReasonCode::MaximumConnectTime
        | ReasonCode::SubscriptionIdentifiersNotSupported
        | ReasonCode::WildcardSubscriptionsNotSupported
    )
}

impl EncodePacket for Disconnect {
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Ok(());
        }
        let has_properties = !self.is_empty();
        if has_properties || self.reason != ReasonCode::Success {
            out.u8(self.reason.as_u8());
        }
        if has_properties {
            out.properties(self)?;
        }
        Ok(())
    }
}

impl EncodeProperties for Disconnect {
    fn encode_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        out.u32_property(PropertyId::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.text_property(PropertyId::REASON_STRING, self.reason_string.as_ref())?;
        out.user_properties(&self.user_properties)?;
        out.text_property(PropertyId::SERVER_REFERENCE, self.server_reference.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Packet;
    use crate::mqtt::codec::testing::{VERSIONS, assert_both_ways, decode_one, encoded, framed};

    #[test]
    fn the_normal_one_is_the_same_in_all_versions() {
        let packet = Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success)));
        for version in VERSIONS {
            assert_both_ways(&packet, version, &[0xE0, 0]);
        }
        for bytes in [&[0xE0, 1, 0][..], &[0xE0, 2, 0, 0]] {
            assert_eq!(decode_one(bytes, ProtocolVersion::V5).as_ref(), Ok(&packet));
        }
    }

    #[test]
    fn a_reason_is_said_in_mqtt_5_only() {
        let packet = Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::SessionTakenOver)));
        assert_both_ways(&packet, ProtocolVersion::V5, &[0xE0, 1, 0x8E]);
        assert!(encoded(&packet, ProtocolVersion::V3_1).is_empty());
        assert!(encoded(&packet, ProtocolVersion::V3_1_1).is_empty());
    }

    #[test]
    fn carries_its_properties() {
        let packet = Packet::Disconnect(Box::new(Disconnect {
            reason: ReasonCode::Success,
            session_expiry_interval: Some(60),
            reason_string: Some(Arc::from("x")),
            user_properties: vec![(Arc::from("k"), Arc::from("v"))],
            server_reference: Some(Arc::from("s")),
        }));
        let properties =
            [&[0x11, 0, 0, 0, 60, 0x1F, 0, 1, b'x'][..], &[0x26, 0, 1, b'k', 0, 1, b'v', 0x1C, 0, 1, b's']];
        let body = [&[0, 20], &properties.concat()[..]].concat();
        assert_both_ways(&packet, ProtocolVersion::V5, &framed(0xE0, &body));
    }

    #[test]
    fn refuses_what_is_wrong() {
        let v5 = ProtocolVersion::V5;
        let v3 = ProtocolVersion::V3_1_1;
        for (bytes, version, reason) in [
            (&[0xE0, 1, 0][..], v3, ReasonCode::MalformedPacket),
            (&[0xE1, 0], v3, ReasonCode::MalformedPacket),
            (&[0xE8, 0], v5, ReasonCode::MalformedPacket),
            (&[0xE0, 1, 1], v5, ReasonCode::ProtocolError),
            (&[0xE0, 1, 0x05], v5, ReasonCode::ProtocolError),
            (&[0xE0, 3, 0, 0, 0], v5, ReasonCode::MalformedPacket),
            (&[0xE0, 2, 0, 1], v5, ReasonCode::MalformedPacket),
            (&[0xE0, 5, 0, 3, 0x21, 0, 1], v5, ReasonCode::MalformedPacket),
        ] {
            let error = decode_one(bytes, version).unwrap_err();
            assert_eq!(error.reason, reason, "{bytes:02X?} {version}: {error}");
        }
        // The 29 of section 3.14.2.1, and 0x8C of section 2.4.
        assert_eq!(ReasonCode::ALL.iter().filter(|&&reason| may_disconnect(reason)).count(), 30);
    }
}
