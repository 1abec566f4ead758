//! The broker as a value, and clients around it that take and answer all they get.

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its packets has nothing to measure")]

use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::broker::record::Sequence;
use mqtt_broker::broker::{
    Attach, Broker, BrokerConfig, Closure, ConnectionId, Identity, Input, Output, Policy, PolicyName,
    Recovery, ToClient,
};
use mqtt_broker::clock::{Epoch, Instant, WallTime};
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, ConnectProperties, Disconnect, Publish, Subscribe,
    SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicName, UserProperties,
};

/// A broker, and clients that take and acknowledge all they get.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    /// What the clients have to say to what they got.
    answers: Vec<Input>,
    /// How long their sessions outlive their connections, in seconds.
    session_expiry: u32,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let broker = Broker::new(BrokerConfig::default(), Arc::new(Policy::AllowAll), 1);
        Self { broker, answers: Vec::new(), session_expiry: 0 }
    }

    /// One with a journal, whose disk takes no time, and clients whose sessions are kept.
    #[allow(dead_code, reason = "not all who use this file have kept sessions")]
    pub(crate) fn kept() -> Self {
        let epoch = Epoch::started_at(WallTime::from_unix_millis(1_800_000_000_000));
        let recovery = Recovery::new(BrokerConfig::default(), Arc::new(Policy::AllowAll), 1, epoch);
        let (broker, _) = recovery.finish(Sequence::FIRST, Instant::START);
        Self { broker, answers: Vec::new(), session_expiry: 3_600 }
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.broker.handle(input, Instant::START);
    }

    pub(crate) fn say(&mut self, connection: ConnectionId, packets: Vec<Packet>) {
        self.handle(Input::Received { connection, packets });
    }

    pub(crate) fn attach(&mut self, connection: ConnectionId) {
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive: 0,
            client_id: ClientId::new(format!("client-{connection}")),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_interval: self.session_expiry,
                ..ConnectProperties::default()
            },
        };
        self.handle(Input::Attach(Box::new(Attach {
            connection,
            connect,
            identity: Identity::Anonymous,
            grants: None,
            policy: PolicyName::default(),
            durability: None,
        })));
        self.settle();
    }

    /// The client says goodbye and is gone.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.say(connection, vec![Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success)))]);
        self.handle(Input::Closed { connection, how: Closure::Asked });
        self.settle();
    }

    /// Returns the number of deliveries, of retained messages, that came of it.
    pub(crate) fn subscribe(&mut self, connection: ConnectionId, filters: &[&str], qos: QoS) -> u64 {
        self.say(connection, vec![subscribe(filters, qos)]);
        self.settle()
    }

    /// Takes what the broker hands over, lets the clients answer, and goes on until nothing more comes. Returns the
    /// number of deliveries.
    pub(crate) fn settle(&mut self) -> u64 {
        let mut deliveries = 0;
        loop {
            while let Some(output) = self.broker.poll_output() {
                match output {
                    Output::ToClient { connection, items } => deliveries += self.take(connection, items),
                    Output::Fetch(_) | Output::AskWritten { .. } | Output::Resume { .. } => {}
                }
            }
            if let Some(batch) = self.broker.take_batch() {
                let next = batch.next();
                self.handle(Input::Kept { written: next, synced: next });
                continue;
            }
            if self.answers.is_empty() {
                if self.broker.deadline().is_some_and(|at| at <= Instant::START) {
                    self.handle(Input::Tick);
                    continue;
                }
                return deliveries;
            }
            for answer in std::mem::take(&mut self.answers) {
                self.handle(answer);
            }
        }
    }

    fn take(&mut self, connection: ConnectionId, items: Vec<ToClient>) -> u64 {
        let (mut deliveries, mut bytes) = (0, 0);
        let mut packets = Vec::new();
        for item in items {
            match item {
                ToClient::Deliver(delivery) => {
                    deliveries += 1;
                    bytes += delivery.handed_over_bytes();
                    let kind = match delivery.qos {
                        QoS::ExactlyOnce => AcknowledgementKind::PubRec,
                        QoS::AtMostOnce | QoS::AtLeastOnce => AcknowledgementKind::PubAck,
                    };
                    packets.extend(delivery.packet_id.map(|id| acknowledge(kind, id)));
                }
                ToClient::Acknowledge(Acknowledgement { kind, packet_id, .. }) => {
                    let next = match kind {
                        AcknowledgementKind::PubRec => Some(AcknowledgementKind::PubRel),
                        AcknowledgementKind::PubRel => Some(AcknowledgementKind::PubComp),
                        AcknowledgementKind::PubAck | AcknowledgementKind::PubComp => None,
                    };
                    packets.extend(next.map(|kind| acknowledge(kind, packet_id)));
                }
                ToClient::PingResp | ToClient::Send(_) | ToClient::Close { .. } => {}
            }
        }
        if bytes > 0 {
            self.answers.push(Input::Written { connection, bytes });
        }
        if !packets.is_empty() {
            self.answers.push(Input::Received { connection, packets });
        }
        deliveries
    }
}

/// A PUBLISH of 64 bytes. `number` becomes its packet identifier, where it has one.
pub(crate) fn publish(topic: &str, number: u64, qos: QoS, retain: bool) -> Packet {
    let number = u16::try_from(number).expect("a burst has fewer");
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain,
        topic: Some(TopicName::parse(topic).expect("a topic name")),
        topic_alias: None,
        packet_id: PacketId::new(number).filter(|_| qos > QoS::AtMostOnce),
        payload: Bytes::from_static(&[b'x'; 64]),
        properties: None,
    })
}

/// A SUBSCRIBE to all of these.
pub(crate) fn subscribe(filters: &[&str], qos: QoS) -> Packet {
    let entries = filters.iter().map(|filter| SubscribeEntry {
        filter: Arc::from(*filter),
        options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
    });
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: PacketId::MIN,
        identifier: None,
        user_properties: UserProperties::new(),
        entries: entries.collect(),
    }))
}

fn acknowledge(kind: AcknowledgementKind, packet_id: PacketId) -> Packet {
    Packet::Acknowledgement(Acknowledgement { kind, packet_id, reason: ReasonCode::Success, details: None })
}
