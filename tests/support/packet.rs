//! Packets: made by hand for sending, and as received.
//!
//! A type that goes both ways is one type: what [`puback`] makes can be sent and can be expected.

use super::connect::Connect;
use super::property::{Property, put_properties};
use super::wire::{Encode, Frame, Version, frame, put_binary, put_u16};

/// A packet that a server may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    Ack(Ack),
    SubAck(SubAck),
    UnsubAck(UnsubAck),
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

macro_rules! with_properties {
    ($($name:ident),*) => {
        $(impl $name {
            /// Adds a property. What may not be repeated can be.
            pub(crate) fn property(mut self, property: Property) -> Self {
                self.properties.push(property);
                self
            }

            /// The properties of this number.
            pub(crate) fn all(&self, number: u8) -> Vec<Property> {
                self.properties.iter().filter(|property| property.number() == number).cloned().collect()
            }

            /// Whether it has this property with this value.
            pub(crate) fn has(&self, property: &Property) -> bool {
                self.properties.contains(property)
            }

            /// Its Reason String.
            pub(crate) fn reason_string(&self) -> Option<&str> {
                self.properties.iter().find_map(|property| match property {
                    Property::ReasonString(text) => Some(text.as_str()),
                    _ => None,
                })
            }
        }

        impl From<$name> for Frame {
            /// As MQTT 5.0 has it.
            fn from(packet: $name) -> Self {
                packet.frame(Version::V5)
            }
        })*
    };
}

with_properties!(Connect, ConnAck, Publish, Ack, Subscribe, SubAck, Unsubscribe, UnsubAck, Disconnect, Auth);

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    /// The reason code of 5.0, or the return code of the older versions.
    pub(crate) reason: u8,
    pub(crate) properties: Vec<Property>,
}

/// A CONNACK with this reason code, without a session.
pub(crate) fn connack(reason: u8) -> ConnAck {
    ConnAck { session_present: false, reason, properties: Vec::new() }
}

impl ConnAck {
    pub(crate) fn session_present(mut self) -> Self {
        self.session_present = true;
        self
    }
}

impl Encode for ConnAck {
    fn frame(&self, version: Version) -> Frame {
        let mut body = vec![u8::from(self.session_present), self.reason];
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        frame(0x20, &body)
    }
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    /// Zero where none has been set: when expected, it stands for any.
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: Vec<Property>,
}

/// A PUBLISH of QoS 0 with an empty payload.
pub(crate) fn publish(topic: impl AsRef<[u8]>) -> Publish {
    let topic = topic.as_ref().to_vec();
    let payload = Vec::new();
    Publish { topic, payload, qos: 0, id: 0, retain: false, dup: false, properties: Vec::new() }
}

impl Publish {
    pub(crate) fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// The topic as text.
    pub(crate) fn topic(&self) -> &str {
        str::from_utf8(&self.topic).unwrap()
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.payload).unwrap()
    }
}

impl Encode for Publish {
    fn frame(&self, version: Version) -> Frame {
        let mut body = Vec::new();
        put_binary(&mut body, &self.topic);
        if self.qos > 0 {
            put_u16(&mut body, self.id);
        }
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        body.extend_from_slice(&self.payload);
        frame(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The first byte of the packet.
    pub(crate) first: u8,
    pub(crate) id: u16,
    /// Always 0 before MQTT 5.0.
    pub(crate) reason: u8,
    pub(crate) properties: Vec<Property>,
}

pub(crate) fn puback(id: u16) -> Ack {
    Ack { first: 0x40, id, reason: 0, properties: Vec::new() }
}

pub(crate) fn pubrec(id: u16) -> Ack {
    Ack { first: 0x50, ..puback(id) }
}

pub(crate) fn pubrel(id: u16) -> Ack {
    Ack { first: 0x62, ..puback(id) }
}

pub(crate) fn pubcomp(id: u16) -> Ack {
    Ack { first: 0x70, ..puback(id) }
}

impl Ack {
    pub(crate) fn reason(mut self, reason: u8) -> Self {
        self.reason = reason;
        self
    }
}

impl Encode for Ack {
    fn frame(&self, version: Version) -> Frame {
        let mut body = self.id.to_be_bytes().to_vec();
        if version.is_v5() {
            put_reason(&mut body, self.reason, &self.properties);
        }
        frame(self.first, &body)
    }
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribe {
    pub(crate) id: u16,
    entries: Vec<(Vec<u8>, u8)>,
    properties: Vec<Property>,
}

/// A SUBSCRIBE with packet identifier 1 and one filter.
pub(crate) fn subscribe(filter: impl AsRef<[u8]>, qos: u8) -> Subscribe {
    let entries = vec![(filter.as_ref().to_vec(), qos)];
    Subscribe { id: 1, entries, properties: Vec::new() }
}

impl Subscribe {
    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// One more filter.
    pub(crate) fn and(mut self, filter: impl AsRef<[u8]>, qos: u8) -> Self {
        self.entries.push((filter.as_ref().to_vec(), qos));
        self
    }

    /// No Local for the last filter.
    pub(crate) fn no_local(self) -> Self {
        self.option(0x04)
    }

    /// Retain As Published for the last filter.
    pub(crate) fn retain_as_published(self) -> Self {
        self.option(0x08)
    }

    /// Retain Handling of the last filter.
    pub(crate) fn retain_handling(self, handling: u8) -> Self {
        self.option(handling << 4)
    }

    /// Sets more bits in the options of the last filter.
    pub(crate) fn option(mut self, bits: u8) -> Self {
        self.entries.last_mut().unwrap().1 |= bits;
        self
    }

    pub(crate) fn identifier(self, identifier: u32) -> Self {
        self.property(Property::SubscriptionIdentifier(identifier))
    }

    /// How many filters it has.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }
}

impl Encode for Subscribe {
    fn frame(&self, version: Version) -> Frame {
        let mut body = self.id.to_be_bytes().to_vec();
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        for (filter, options) in &self.entries {
            put_binary(&mut body, filter);
            body.push(*options);
        }
        frame(0x82, &body)
    }
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubAck {
    pub(crate) id: u16,
    pub(crate) reasons: Vec<u8>,
    pub(crate) properties: Vec<Property>,
}

pub(crate) fn suback(id: u16, reasons: &[u8]) -> SubAck {
    SubAck { id, reasons: reasons.to_vec(), properties: Vec::new() }
}

impl Encode for SubAck {
    fn frame(&self, version: Version) -> Frame {
        let mut body = self.id.to_be_bytes().to_vec();
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        body.extend_from_slice(&self.reasons);
        frame(0x90, &body)
    }
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsubscribe {
    pub(crate) id: u16,
    filters: Vec<Vec<u8>>,
    properties: Vec<Property>,
}

/// An UNSUBSCRIBE with packet identifier 1 and one filter.
pub(crate) fn unsubscribe(filter: impl AsRef<[u8]>) -> Unsubscribe {
    Unsubscribe { id: 1, filters: vec![filter.as_ref().to_vec()], properties: Vec::new() }
}

impl Unsubscribe {
    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// One more filter.
    pub(crate) fn and(mut self, filter: impl AsRef<[u8]>) -> Self {
        self.filters.push(filter.as_ref().to_vec());
        self
    }
}

impl Encode for Unsubscribe {
    fn frame(&self, version: Version) -> Frame {
        let mut body = self.id.to_be_bytes().to_vec();
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        for filter in &self.filters {
            put_binary(&mut body, filter);
        }
        frame(0xA2, &body)
    }
}

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnsubAck {
    pub(crate) id: u16,
    /// Empty before MQTT 5.0.
    pub(crate) reasons: Vec<u8>,
    pub(crate) properties: Vec<Property>,
}

pub(crate) fn unsuback(id: u16, reasons: &[u8]) -> UnsubAck {
    UnsubAck { id, reasons: reasons.to_vec(), properties: Vec::new() }
}

impl Encode for UnsubAck {
    fn frame(&self, version: Version) -> Frame {
        let mut body = self.id.to_be_bytes().to_vec();
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
            body.extend_from_slice(&self.reasons);
        }
        frame(0xB0, &body)
    }
}

/// DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disconnect {
    pub(crate) reason: u8,
    pub(crate) properties: Vec<Property>,
}

/// A DISCONNECT with reason code 0.
pub(crate) fn disconnect() -> Disconnect {
    Disconnect { reason: 0, properties: Vec::new() }
}

impl Disconnect {
    pub(crate) fn reason(mut self, reason: u8) -> Self {
        self.reason = reason;
        self
    }
}

impl Encode for Disconnect {
    fn frame(&self, version: Version) -> Frame {
        let mut body = Vec::new();
        if version.is_v5() {
            put_reason(&mut body, self.reason, &self.properties);
        }
        frame(0xE0, &body)
    }
}

/// AUTH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Auth {
    pub(crate) reason: u8,
    pub(crate) properties: Vec<Property>,
}

pub(crate) fn auth(reason: u8) -> Auth {
    Auth { reason, properties: Vec::new() }
}

impl Encode for Auth {
    fn frame(&self, _version: Version) -> Frame {
        let mut body = Vec::new();
        put_reason(&mut body, self.reason, &self.properties);
        frame(0xF0, &body)
    }
}

pub(crate) fn pingreq() -> Frame {
    frame(0xC0, &[])
}

/// To be sent the wrong way; what is received is [`Packet::PingResp`].
pub(crate) fn pingresp() -> Frame {
    frame(0xD0, &[])
}

/// A reason code and properties, both left out where the standard allows it.
fn put_reason(body: &mut Vec<u8>, reason: u8, properties: &[Property]) {
    if reason != 0 || !properties.is_empty() {
        body.push(reason);
    }
    if !properties.is_empty() {
        put_properties(body, properties);
    }
}

macro_rules! into_packet {
    ($($name:ident),*) => {
        $(impl From<$name> for Packet {
            fn from(packet: $name) -> Self {
                Self::$name(packet)
            }
        })*
    };
}

into_packet!(ConnAck, Publish, Ack, SubAck, UnsubAck, Disconnect, Auth);
