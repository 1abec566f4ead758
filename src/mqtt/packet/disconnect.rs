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

/// Whether DISCONNECT may give this reason \[MQTT-3.14.2-1\].
const fn may_disconnect(reason: ReasonCode) -> bool {
    match reason {
        ReasonCode::GrantedQoS1
        | ReasonCode::GrantedQoS2
        | ReasonCode::NoMatchingSubscribers
        | ReasonCode::NoSubscriptionExisted
        | ReasonCode::ContinueAuthentication
        | ReasonCode::ReAuthenticate
        | ReasonCode::UnsupportedProtocolVersion
        | ReasonCode::ClientIdentifierNotValid
        | ReasonCode::BadUserNameOrPassword
        | ReasonCode::ServerUnavailable
        | ReasonCode::Banned
        | ReasonCode::PacketIdentifierInUse
        | ReasonCode::PacketIdentifierNotFound => false,
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
        | ReasonCode::WildcardSubscriptionsNotSupported => true,
    }
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
