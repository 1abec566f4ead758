//! The broker as a conversation: what each client says, and all that each of them then hears.

mod delivery;
mod found;
mod hold;
mod journal;
mod limits;
mod memory;
mod retained;
mod room;
mod sessions;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, ConnectProperties, Disconnect, Publish, Subscribe,
    SubscribeEntry, SubscriptionOptions, Unsubscribe, Will,
};
use crate::mqtt::{
    ClientId, PacketId, ProtocolVersion, PublishProperties, QoS, SubscriptionIdentifier, TopicName,
    UserProperties,
};

/// A broker, a clock, and what clients have heard.
pub(super) struct Rig {
    pub(super) broker: Broker,
    pub(super) now: Instant,
    next_connection: u64,
    heard: BTreeMap<ConnectionId, Vec<String>>,
    /// Messages that are to be read from the journal.
    pub(super) wanted: Vec<(record::Number, record::Sequence)>,
    /// Connections that were asked what is written.
    pub(super) asked: Vec<ConnectionId>,
    /// Connections that are read from again.
    pub(super) resumed: Vec<ConnectionId>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(configure: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::default();
        configure(&mut config);
        Self {
            broker: Broker::new(config, Arc::new(Policy::AllowAll), 1),
            now: Instant::START,
            next_connection: 0,
            heard: BTreeMap::new(),
            wanted: Vec::new(),
            asked: Vec::new(),
            resumed: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.broker.handle(input, self.now);
        self.broker.assert_invariants();
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::ToClient { connection, items } => {
                    self.heard.entry(connection).or_default().extend(items.iter().map(describe));
                }
                Output::Fetch(wanted) => self.wanted.extend(wanted),
                Output::AskWritten { connection } => self.asked.push(connection),
                Output::Resume { connection } => self.resumed.push(connection),
            }
        }
    }

    /// Connects, and forgets the CONNACK.
    pub(super) fn connect(&mut self, connect: Connect) -> ConnectionId {
        let connection = self.try_connect(connect, Identity::Anonymous);
        let heard = self.heard.get_mut(&connection).unwrap();
        let connack = heard.remove(0);
        assert!(connack.starts_with("CONNACK 00"), "{connack}");
        connection
    }

    pub(super) fn try_connect(&mut self, connect: Connect, identity: Identity) -> ConnectionId {
        self.try_connect_under(PolicyName::default(), connect, identity, None)
    }

    pub(super) fn try_connect_under(
        &mut self,
        policy: PolicyName,
        connect: Connect,
        identity: Identity,
        grants: Option<Arc<Grants>>,
    ) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.handle(Input::Attach(Box::new(Attach {
            connection,
            connect,
            identity,
            grants,
            policy,
            durability: None,
        })));
        connection
    }

    pub(super) fn say(&mut self, connection: ConnectionId, packet: impl Into<Said>) {
        self.handle(Input::Received { connection, packets: vec![packet.into().0] });
    }

    pub(super) fn cut(&mut self, connection: ConnectionId) {
        self.handle(Input::Closed { connection, how: Closure::Lost });
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(deadline) = self.broker.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.handle(Input::Tick);
        }
        self.now = until;
        self.handle(Input::Tick);
    }

    /// All that a client has heard since this was last asked.
    #[track_caller]
    pub(super) fn heard(&mut self, connection: ConnectionId) -> Vec<String> {
        self.heard.remove(&connection).unwrap_or_default()
    }

    #[track_caller]
    pub(super) fn expect(&mut self, connection: ConnectionId, expected: &[&str]) {
        assert_eq!(self.heard(connection), expected);
    }

    /// All that was handed over has been written.
    pub(super) fn written(&mut self, connection: ConnectionId) {
        self.handle(Input::Written { connection, bytes: usize::MAX });
    }
}

/// A packet, made from something shorter.
pub(super) struct Said(Packet);

impl From<Publish> for Said {
    fn from(publish: Publish) -> Self {
        Self(Packet::Publish(publish))
    }
}

impl From<Subscribe> for Said {
    fn from(subscribe: Subscribe) -> Self {
        Self(Packet::Subscribe(Box::new(subscribe)))
    }
}

impl From<Unsubscribe> for Said {
    fn from(unsubscribe: Unsubscribe) -> Self {
        Self(Packet::Unsubscribe(Box::new(unsubscribe)))
    }
}

impl From<Disconnect> for Said {
    fn from(disconnect: Disconnect) -> Self {
        Self(Packet::Disconnect(Box::new(disconnect)))
    }
}

impl From<(AcknowledgementKind, u16)> for Said {
    fn from((kind, id): (AcknowledgementKind, u16)) -> Self {
        (kind, id, ReasonCode::Success).into()
    }
}

impl From<(AcknowledgementKind, u16, ReasonCode)> for Said {
    fn from((kind, id, reason): (AcknowledgementKind, u16, ReasonCode)) -> Self {
        let packet_id = PacketId::new(id).unwrap();
        Self(Packet::Acknowledgement(Acknowledgement { kind, packet_id, reason, details: None }))
    }
}

pub(super) fn v5(client_id: &str) -> Connect {
    Connect {
        version: ProtocolVersion::V5,
        clean_start: false,
        keep_alive: 0,
        client_id: ClientId::new(client_id),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

/// A client whose session outlives its connections.
pub(super) fn lasting(client_id: &str) -> Connect {
    let mut connect = v5(client_id);
    connect.properties.session_expiry_interval = u32::MAX;
    connect
}

pub(super) fn v3(client_id: &str, clean_session: bool) -> Connect {
    let mut connect = v5(client_id);
    connect.version = ProtocolVersion::V3_1_1;
    connect.clean_start = clean_session;
    connect.properties.session_expiry_interval = if clean_session { 0 } else { u32::MAX };
    connect
}

pub(super) fn will(topic: &str, delay_interval: u32) -> Box<Will> {
    Box::new(Will {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtMostOnce,
        retain: false,
        delay_interval,
        properties: PublishProperties::default(),
    })
}

/// `id` is used if the QoS is above 0.
pub(super) fn publish(topic: &str, payload: &str, qos: u8, id: u16) -> Publish {
    Publish {
        dup: false,
        qos: QoS::from_u8(qos).unwrap(),
        retain: false,
        topic: Some(TopicName::parse(topic).unwrap()),
        topic_alias: None,
        packet_id: (qos > 0).then(|| PacketId::new(id).unwrap()),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: None,
    }
}

pub(super) fn retained(topic: &str, payload: &str) -> Publish {
    Publish { retain: true, ..publish(topic, payload, 0, 0) }
}

pub(super) fn subscribe(filter: &str, qos: u8) -> Subscribe {
    subscribe_with(
        filter,
        SubscriptionOptions { qos: QoS::from_u8(qos).unwrap(), ..SubscriptionOptions::default() },
        0,
    )
}

pub(super) fn subscribe_with(filter: &str, options: SubscriptionOptions, identifier: u32) -> Subscribe {
    Subscribe {
        packet_id: PacketId::MIN,
        identifier: SubscriptionIdentifier::new(identifier),
        user_properties: UserProperties::new(),
        entries: vec![SubscribeEntry { filter: Arc::from(filter), options }],
    }
}

pub(super) fn unsubscribe(filter: &str) -> Unsubscribe {
    let filters = vec![Arc::from(filter)];
    Unsubscribe { packet_id: PacketId::MIN, user_properties: UserProperties::new(), filters }
}

/// One line for one thing that a client hears.
fn describe(item: &ToClient) -> String {
    match item {
        ToClient::Deliver(delivery) => {
            let payload = String::from_utf8_lossy(&delivery.message.payload);
            let mut line = format!("{} {payload} q{}", delivery.message.topic, delivery.qos.as_u8());
            if let Some(id) = delivery.packet_id {
                let _ = write!(line, " #{}", id.get());
            }
            if delivery.dup {
                line += " dup";
            }
            if delivery.retain {
                line += " retain";
            }
            for identifier in delivery.identifiers.iter().flatten() {
                let _ = write!(line, " id{}", identifier.get());
            }
            line
        }
        ToClient::Acknowledge(acknowledgement) => {
            let kind = format!("{:?}", acknowledgement.kind).to_uppercase();
            format!("{kind} {} {:02x}", acknowledgement.packet_id.get(), acknowledgement.reason.as_u8())
        }
        ToClient::PingResp => "PINGRESP".to_owned(),
        ToClient::Send(packet) => match &**packet {
            Packet::ConnAck(connack) => {
                format!("CONNACK {:02x} present={}", connack.reason.as_u8(), connack.session_present)
            }
            Packet::SubAck(suback) => format!("SUBACK {}", codes(&suback.reasons)),
            Packet::UnsubAck(unsuback) => format!("UNSUBACK {}", codes(&unsuback.reasons)),
            other @ (Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Acknowledgement(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Auth(_)) => format!("{other:?}"),
        },
        ToClient::Close { reason: None, .. } => "CLOSE".to_owned(),
        ToClient::Close { reason: Some(reason), .. } => format!("CLOSE {:02x}", reason.as_u8()),
    }
}

fn codes(reasons: &[ReasonCode]) -> String {
    reasons.iter().map(|reason| format!("{:02x}", reason.as_u8())).collect::<Vec<_>>().join(" ")
}
