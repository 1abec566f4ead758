//! The properties of MQTT 5.0.

use super::wire::{Reader, put_binary, put_u16, put_u32, variable_integer};

/// A property, or bytes that pretend to be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the standard's names")]
pub(crate) enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionIdentifier(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    SubscriptionIdentifiersAvailable(u8),
    SharedAvailable(u8),
    Raw(Vec<u8>),
}

impl Property {
    /// A user property.
    pub(crate) fn user(name: &str, value: &str) -> Self {
        Self::User(name.to_owned(), value.to_owned())
    }

    /// Its number in the standard; 0 for raw bytes.
    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::Raw(_) => 0x00,
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpiry(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpiry(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelay(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQos(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(_, _) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardAvailable(_) => 0x28,
            Self::SubscriptionIdentifiersAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2A,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if !matches!(self, Self::Raw(_)) {
            out.push(self.number());
        }
        match self {
            Self::Raw(bytes) => out.extend_from_slice(bytes),
            Self::PayloadFormat(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQos(value)
            | Self::RetainAvailable(value)
            | Self::WildcardAvailable(value)
            | Self::SubscriptionIdentifiersAvailable(value)
            | Self::SharedAvailable(value) => out.push(*value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => put_u16(out, *value),
            Self::MessageExpiry(value)
            | Self::SessionExpiry(value)
            | Self::WillDelay(value)
            | Self::MaximumPacketSize(value) => put_u32(out, *value),
            Self::SubscriptionIdentifier(value) => out.extend(variable_integer(*value)),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_binary(out, text.as_bytes()),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => put_binary(out, bytes),
            Self::User(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Self {
        match reader.u8() {
            0x01 => Self::PayloadFormat(reader.u8()),
            0x02 => Self::MessageExpiry(reader.u32()),
            0x03 => Self::ContentType(reader.string()),
            0x08 => Self::ResponseTopic(reader.string()),
            0x09 => Self::CorrelationData(reader.binary()),
            0x0B => Self::SubscriptionIdentifier(reader.variable_integer()),
            0x11 => Self::SessionExpiry(reader.u32()),
            0x12 => Self::AssignedClientId(reader.string()),
            0x13 => Self::ServerKeepAlive(reader.u16()),
            0x15 => Self::AuthenticationMethod(reader.string()),
            0x16 => Self::AuthenticationData(reader.binary()),
            0x1A => Self::ResponseInformation(reader.string()),
            0x1C => Self::ServerReference(reader.string()),
            0x1F => Self::ReasonString(reader.string()),
            0x21 => Self::ReceiveMaximum(reader.u16()),
            0x22 => Self::TopicAliasMaximum(reader.u16()),
            0x23 => Self::TopicAlias(reader.u16()),
            0x24 => Self::MaximumQos(reader.u8()),
            0x25 => Self::RetainAvailable(reader.u8()),
            0x26 => Self::User(reader.string(), reader.string()),
            0x27 => Self::MaximumPacketSize(reader.u32()),
            0x28 => Self::WildcardAvailable(reader.u8()),
            0x29 => Self::SubscriptionIdentifiersAvailable(reader.u8()),
            0x2A => Self::SharedAvailable(reader.u8()),
            other => panic!("a property that no server may send: 0x{other:02x}"),
        }
    }
}

/// Appends these properties with their length.
pub(crate) fn put_properties(out: &mut Vec<u8>, properties: &[Property]) {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    out.extend(variable_integer(u32::try_from(bytes.len()).unwrap()));
    out.extend(bytes);
}

/// Reads properties with their length; each must be one of `allowed`, and only user properties and, in a PUBLISH,
/// subscription identifiers may be repeated.
pub(crate) fn properties(reader: &mut Reader<'_>, allowed: &[u8]) -> Vec<Property> {
    let length = usize::try_from(reader.variable_integer()).unwrap();
    let mut reader = Reader::new(reader.take(length));
    let mut found: Vec<Property> = Vec::new();
    while !reader.is_empty() {
        let property = Property::decode(&mut reader);
        assert!(allowed.contains(&property.number()), "{property:?} must not be in this packet");
        let repeatable = matches!(property, Property::User(_, _) | Property::SubscriptionIdentifier(_));
        assert!(
            repeatable || found.iter().all(|other| other.number() != property.number()),
            "{property:?} came twice"
        );
        found.push(property);
    }
    found
}

/// The same properties in an order that does not depend on the sender; user properties keep theirs.
pub(crate) fn in_order(properties: &[Property]) -> Vec<Property> {
    let mut properties = properties.to_vec();
    properties.sort_by(|one, other| {
        one.number().cmp(&other.number()).then_with(|| match (one, other) {
            (Property::SubscriptionIdentifier(one), Property::SubscriptionIdentifier(other)) => {
                one.cmp(other)
            }
            _ => std::cmp::Ordering::Equal,
        })
    });
    properties
}
