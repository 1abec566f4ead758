//! Packets: made by hand for sending, and taken apart as received.
//!
//! A type that goes both ways is one type: what [`puback`] makes can be sent and can be expected.

use super::property::{Property, in_order, properties, put_properties};
use super::wire::{Encode, Frame, Reader, Version, frame, put_binary, put_u16};

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

/// CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    protocol_name: Option<String>,
    level: Option<u8>,
    clean_start: bool,
    keep_alive: u16,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    will: Option<Will>,
    flags: Option<u8>,
    properties: Vec<Property>,
}

/// A CONNECT of MQTT 5.0 with clean start, no keep-alive, and a client identifier that no other has.
pub(crate) fn connect() -> Connect {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Connect {
        version: Version::V5,
        client_id: format!("client-{number}"),
        protocol_name: None,
        level: None,
        clean_start: true,
        keep_alive: 0,
        user_name: None,
        password: None,
        will: None,
        flags: None,
        properties: Vec::new(),
    }
}

impl Connect {
    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Another protocol name than the version's.
    pub(crate) fn protocol_name(mut self, name: &str) -> Self {
        self.protocol_name = Some(name.to_owned());
        self
    }

    /// Another protocol level than the version's.
    pub(crate) fn level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    pub(crate) fn client_id(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.client_id);
        self
    }

    /// Clean Start, or in the older versions Clean Session.
    pub(crate) fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Keep-alive in seconds.
    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn user(mut self, name: &str) -> Self {
        self.user_name = Some(name.to_owned());
        self
    }

    pub(crate) fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Another value of the Connect Flags.
    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// A session that outlives its connection by so many seconds: in 5.0 by the property, before that by Clean
    /// Session 0, which has no seconds. Does not resume one unless `clean_start(false)`.
    pub(crate) fn session_expiry(self, seconds: u32) -> Self {
        self.property(Property::SessionExpiry(seconds))
    }

    /// A session that outlives its connection, and takes up the one that is there: Clean Start 0, in 5.0 with a
    /// Session Expiry Interval of an hour.
    pub(crate) fn persistent(self) -> Self {
        let v5 = self.version.is_v5();
        let connect = self.clean_start(false);
        if v5 { connect.session_expiry(3600) } else { connect }
    }

    pub(crate) fn receive_maximum(self, count: u16) -> Self {
        self.property(Property::ReceiveMaximum(count))
    }
}

impl Encode for Connect {
    fn frame(&self, _version: Version) -> Frame {
        let mut body = Vec::new();
        let name = self.protocol_name.as_deref().unwrap_or_else(|| self.version.protocol_name());
        put_binary(&mut body, name.as_bytes());
        body.push(self.level.unwrap_or_else(|| self.version.level()));
        let mut flags = u8::from(self.clean_start) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user_name.is_some()) << 7;
        body.push(self.flags.unwrap_or(flags));
        put_u16(&mut body, self.keep_alive);
        if self.version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        put_binary(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                put_properties(&mut body, &will.properties);
            }
            put_binary(&mut body, &will.topic);
            put_binary(&mut body, &will.payload);
        }
        if let Some(user_name) = &self.user_name {
            put_binary(&mut body, user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_binary(&mut body, password);
        }
        frame(0x10, &body)
    }
}

/// The will of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<Property>,
}

/// A will of QoS 0 with an empty payload.
pub(crate) fn will(topic: impl AsRef<[u8]>) -> Will {
    let topic = topic.as_ref().to_vec();
    Will { topic, payload: Vec::new(), qos: 0, retain: false, properties: Vec::new() }
}

impl Will {
    pub(crate) fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Will Delay Interval in seconds.
    pub(crate) fn delay(self, seconds: u32) -> Self {
        self.property(Property::WillDelay(seconds))
    }

    pub(crate) fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

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

impl Packet {
    /// Takes a whole packet apart. Fails the test where a server must not send it so.
    pub(crate) fn decode(version: Version, first: u8, body: &[u8]) -> Self {
        let mut reader = Reader::new(body);
        let packet = match first {
            0x20 => Self::ConnAck(decode_connack(version, &mut reader)),
            0x30..=0x3F => Self::Publish(decode_publish(version, first, &mut reader)),
            0x40 | 0x50 | 0x62 | 0x70 => Self::Ack(decode_ack(version, first, &mut reader)),
            0x90 => {
                let id = decode_id(&mut reader);
                let properties = decode_properties(version, &mut reader, &[0x1F, 0x26]);
                let reasons = reader.rest().to_vec();
                check_reasons(&reasons, suback_reasons(version));
                Self::SubAck(SubAck { id, reasons, properties })
            }
            0xB0 => {
                let id = decode_id(&mut reader);
                let properties = decode_properties(version, &mut reader, &[0x1F, 0x26]);
                let reasons = if version.is_v5() { reader.rest().to_vec() } else { Vec::new() };
                check_reasons(&reasons, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);
                Self::UnsubAck(UnsubAck { id, reasons, properties })
            }
            0xD0 => Self::PingResp,
            0xE0 => {
                assert!(version.is_v5(), "only a server of MQTT 5.0 may send DISCONNECT");
                let (reason, properties) = decode_reason(version, &mut reader, &[0x1C, 0x1F, 0x26]);
                check_reasons(&[reason], DISCONNECT_REASONS);
                Self::Disconnect(Disconnect { reason, properties })
            }
            0xF0 => {
                assert!(version.is_v5(), "AUTH is of MQTT 5.0");
                let (reason, properties) = decode_reason(version, &mut reader, &[0x15, 0x16, 0x1F, 0x26]);
                check_reasons(&[reason], &[0x00, 0x18]);
                Self::Auth(Auth { reason, properties })
            }
            other => panic!("no server may send a packet that begins with 0x{other:02x}"),
        };
        assert!(reader.is_empty(), "{reader:?} left behind {packet:?}");
        packet
    }

    /// Whether this, which has been received, is what was expected: the same, but for a Reason String that was not
    /// asked for, the packet identifier of a PUBLISH that has none, and the order of properties.
    pub(crate) fn is(&self, expected: &Self) -> bool {
        match (self, expected) {
            (Self::ConnAck(one), Self::ConnAck(other)) => {
                (one.session_present, one.reason) == (other.session_present, other.reason)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::Publish(one), Self::Publish(other)) => {
                let id = if other.id == 0 { one.id } else { other.id };
                *one == Publish { id, properties: one.properties.clone(), ..other.clone() }
                    && in_order(&one.properties) == in_order(&other.properties)
            }
            (Self::Ack(one), Self::Ack(other)) => {
                (one.first, one.id, one.reason) == (other.first, other.id, other.reason)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::SubAck(one), Self::SubAck(other)) => {
                (one.id, &one.reasons) == (other.id, &other.reasons)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::UnsubAck(one), Self::UnsubAck(other)) => {
                (one.id, &one.reasons) == (other.id, &other.reasons)
                    && same_properties(&one.properties, &other.properties)
            }
            (Self::Disconnect(one), Self::Disconnect(other)) => {
                one.reason == other.reason && same_properties(&one.properties, &other.properties)
            }
            (Self::Auth(one), Self::Auth(other)) => {
                one.reason == other.reason && same_properties(&one.properties, &other.properties)
            }
            _ => self == expected,
        }
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

fn same_properties(received: &[Property], expected: &[Property]) -> bool {
    let asked = expected.iter().any(|property| matches!(property, Property::ReasonString(_)));
    let mut received = in_order(received);
    received.retain(|property| asked || !matches!(property, Property::ReasonString(_)));
    received == in_order(expected)
}

/// Which reason codes a DISCONNECT from a server may have (table 3-10).
const DISCONNECT_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

const CONNACK_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];

fn suback_reasons(version: Version) -> &'static [u8] {
    match version {
        // 0x80 came with MQTT 3.1.1.
        Version::V31 => &[0, 1, 2],
        Version::V311 => &[0, 1, 2, 0x80],
        Version::V5 => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
    }
}

fn ack_reasons(first: u8) -> &'static [u8] {
    match first {
        0x40 | 0x50 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        _ => &[0x00, 0x92],
    }
}

fn check_reasons(reasons: &[u8], allowed: &[u8]) {
    for reason in reasons {
        assert!(allowed.contains(reason), "reason code 0x{reason:02x} must not be in this packet");
    }
}

fn decode_id(reader: &mut Reader<'_>) -> u16 {
    let id = reader.u16();
    assert_ne!(id, 0, "packet identifier 0 was sent");
    id
}

fn decode_properties(version: Version, reader: &mut Reader<'_>, allowed: &[u8]) -> Vec<Property> {
    if version.is_v5() { properties(reader, allowed) } else { Vec::new() }
}

fn decode_reason(version: Version, reader: &mut Reader<'_>, allowed: &[u8]) -> (u8, Vec<Property>) {
    if !version.is_v5() || reader.is_empty() {
        return (0, Vec::new());
    }
    let reason = reader.u8();
    let found = if reader.is_empty() { Vec::new() } else { properties(reader, allowed) };
    (reason, found)
}

fn decode_connack(version: Version, reader: &mut Reader<'_>) -> ConnAck {
    let flags = reader.u8();
    assert!(flags <= 1, "reserved flags of a CONNACK are set: 0x{flags:02x}");
    let reason = reader.u8();
    let allowed: &[u8] = if version.is_v5() { CONNACK_REASONS } else { &[0, 1, 2, 3, 4, 5] };
    check_reasons(&[reason], allowed);
    assert!(reason == 0 || flags == 0, "a CONNACK that refuses has Session Present");
    assert!(version != Version::V31 || flags == 0, "MQTT 3.1 has no Session Present");
    let allowed = [
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
    ];
    let properties = decode_properties(version, reader, &allowed);
    ConnAck { session_present: flags == 1, reason, properties }
}

fn decode_publish(version: Version, first: u8, reader: &mut Reader<'_>) -> Publish {
    let (qos, dup, retain) = (first >> 1 & 3, first & 8 != 0, first & 1 != 0);
    assert!(qos < 3, "QoS 3 was sent");
    assert!(qos > 0 || !dup, "DUP was set in a message of QoS 0");
    let topic = reader.string().into_bytes();
    assert!(!topic.iter().any(|byte| b"+#".contains(byte)), "a topic name with wildcards was sent");
    let id = if qos > 0 { decode_id(reader) } else { 0 };
    let allowed = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
    let properties = decode_properties(version, reader, &allowed);
    let aliased = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
    assert!(aliased || !topic.is_empty(), "an empty topic without an alias was sent");
    Publish { topic, payload: reader.rest().to_vec(), qos, id, retain, dup, properties }
}

fn decode_ack(version: Version, first: u8, reader: &mut Reader<'_>) -> Ack {
    let id = decode_id(reader);
    let (reason, properties) = decode_reason(version, reader, &[0x1F, 0x26]);
    check_reasons(&[reason], ack_reasons(first));
    Ack { first, id, reason, properties }
}
