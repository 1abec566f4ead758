//! Reason codes (MQTT 5.0 section 2.4), and what older versions say instead.

use std::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// How an operation ended, or why it failed: below 0x80 it went well.
        ///
        /// 0x00 has several names in the standard (success, normal disconnection, granted QoS 0); here it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ReasonCode {
            /// All reason codes, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The reason code of this number, if the standard has one.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The number of this reason code, as on the wire.
            pub const fn as_u8(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The standard's name for it, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// It went well; also "normal disconnection" and "granted QoS 0".
    Success = 0x00, "success";
    /// The subscription was made with QoS 1 at most.
    GrantedQoS1 = 0x01, "granted QoS 1";
    /// The subscription was made with QoS 2 at most.
    GrantedQoS2 = 0x02, "granted QoS 2";
    /// The client disconnects but wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// Accepted, but nobody is subscribed.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// The authentication exchange goes on.
    ContinueAuthentication = 0x18, "continue authentication";
    /// The client begins an authentication exchange anew.
    ReAuthenticate = 0x19, "re-authenticate";
    /// No reason is given.
    UnspecifiedError = 0x80, "unspecified error";
    /// The packet cannot be read.
    MalformedPacket = 0x81, "malformed packet";
    /// The packet can be read but must not come, or not now.
    ProtocolError = 0x82, "protocol error";
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client identifier is valid but not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// Wrong user name or password.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// Not allowed.
    NotAuthorized = 0x87, "not authorized";
    /// The server is not available.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server is busy.
    ServerBusy = 0x89, "server busy";
    /// The client has been banned.
    Banned = 0x8A, "banned";
    /// The server is shutting down.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The authentication method is not supported, or not the one agreed.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing came for one and a half times the keep-alive.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E, "session taken over";
    /// The topic filter is well formed but not accepted.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic name is well formed but not accepted.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More messages under way than allowed.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// The topic alias is not allowed or not known.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// The packet is larger than allowed.
    PacketTooLarge = 0x95, "packet too large";
    /// Messages come faster than allowed.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A limit has been reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An operator ended it.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is higher than supported.
    QoSNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come faster than allowed.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The connection has lasted as long as it may.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// Whether it tells of a failure.
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The CONNACK return code of MQTT 3.x that comes nearest (MQTT 3.1.1 section 3.2.2.3).
    pub const fn v3_return_code(self) -> u8 {
        if !self.is_error() {
            return 0;
        }
        let is_about_the_server = matches!(
            self,
            Self::UnspecifiedError
                | Self::ImplementationSpecificError
                | Self::ServerUnavailable
                | Self::ServerBusy
                | Self::ServerShuttingDown
                | Self::MessageRateTooHigh
                | Self::QuotaExceeded
                | Self::UseAnotherServer
                | Self::ServerMoved
                | Self::ConnectionRateExceeded
                | Self::MaximumConnectTime
        );
        if matches!(self, Self::UnsupportedProtocolVersion) {
            1
        } else if matches!(self, Self::ClientIdentifierNotValid) {
            2
        } else if is_about_the_server {
            3
        } else if matches!(self, Self::BadUserNameOrPassword) {
            4
        } else {
            5
        }
    }

    /// The reason code that says the same as this CONNACK return code of MQTT 3.x, if there is such a return code.
    pub const fn from_v3_return_code(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.as_str(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_belong_together() {
        assert_eq!(ReasonCode::ALL.len(), 43);
        for value in 0..=u8::MAX {
            if let Some(reason) = ReasonCode::from_u8(value) {
                assert_eq!(reason.as_u8(), value);
                assert_eq!(reason.is_error(), value >= 0x80);
                assert!(ReasonCode::ALL.contains(&reason));
            }
        }
        assert_eq!(ReasonCode::SessionTakenOver.to_string(), "session taken over (0x8E)");
    }

    #[test]
    fn mqtt_3_says_no_exactly_where_mqtt_5_does() {
        for &reason in ReasonCode::ALL {
            let code = reason.v3_return_code();
            assert_eq!(code != 0, reason.is_error(), "{reason}");
            assert!(ReasonCode::from_v3_return_code(code).is_some(), "{reason}");
        }
        for code in 0..=5 {
            assert_eq!(ReasonCode::from_v3_return_code(code).map(ReasonCode::v3_return_code), Some(code));
        }
        assert_eq!(ReasonCode::from_v3_return_code(6), None);
        assert_eq!(ReasonCode::QuotaExceeded.v3_return_code(), 3);
        assert_eq!(ReasonCode::Banned.v3_return_code(), 5);
    }
}
