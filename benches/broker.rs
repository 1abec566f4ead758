//! What the broker itself costs, without sockets and tasks: one message to 1, 100 or 10,000 subscribers, and clients
//! that come and go.
//!
//! `cargo bench --bench broker`

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its packets has nothing to measure")]

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use mqtt_broker::broker::{
    Attach, Broker, BrokerConfig, Closure, ConnectionId, Identity, Input, Output, Policy, PolicyName,
    ToClient,
};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, ConnectProperties, Disconnect, Publish, Subscribe,
    SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicName, UserProperties,
};

/// Publications that reach the broker as one input, as they do when a socket is read under load.
const BURST: u64 = 64;

const PUBLISHER: ConnectionId = ConnectionId(0);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        fan_out(&mut criterion, qos);
    }
    come_and_go(&mut criterion);
    criterion.final_summary();
}

/// One publisher; each of its messages goes to all subscribers. Counted are deliveries.
fn fan_out(criterion: &mut Criterion, qos: QoS) {
    let mut group = criterion.benchmark_group(format!("fan out/{qos:?}"));
    for subscribers in [1, 100, 10_000] {
        let mut stage = Stage::new();
        stage.attach(PUBLISHER);
        for number in 1..=subscribers {
            stage.attach(ConnectionId(number));
            stage.subscribe(ConnectionId(number), "site/7/line/3/temperature", qos);
        }
        group.throughput(Throughput::Elements(subscribers * BURST));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                stage.say(PUBLISHER, (1..=BURST).map(|number| publish(number, qos)).collect());
                assert_eq!(stage.settle(), subscribers * BURST);
            });
        });
    }
    group.finish();
}

/// A client connects, subscribes and disconnects, among others that stay.
fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("come and go");
    group.throughput(Throughput::Elements(1));
    for others in [0, 100_000] {
        let mut stage = Stage::new();
        for number in 0..others {
            stage.attach(ConnectionId(number));
            stage.subscribe(ConnectionId(number), &format!("device/{number}/command"), QoS::AtLeastOnce);
        }
        let mut next = others;
        group.bench_function(BenchmarkId::from_parameter(others), |bencher| {
            bencher.iter(|| {
                let connection = ConnectionId(next);
                next += 1;
                stage.attach(connection);
                stage.subscribe(connection, "device/new/command", QoS::AtLeastOnce);
                stage.say(
                    connection,
                    vec![Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success)))],
                );
                stage.handle(Input::Closed { connection, how: Closure::Asked });
                stage.settle();
            });
        });
    }
    group.finish();
}

/// A broker, and clients that take and acknowledge all they get.
struct Stage {
    broker: Broker,
    /// What the clients have to say to what they got.
    answers: Vec<Input>,
}

impl Stage {
    fn new() -> Self {
        let broker = Broker::new(BrokerConfig::default(), Arc::new(Policy::AllowAll), 1);
        Self { broker, answers: Vec::new() }
    }

    fn handle(&mut self, input: Input) {
        self.broker.handle(input, Instant::START);
    }

    fn say(&mut self, connection: ConnectionId, packets: Vec<Packet>) {
        self.handle(Input::Received { connection, packets });
    }

    fn attach(&mut self, connection: ConnectionId) {
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive: 0,
            client_id: ClientId::new(format!("client-{connection}")),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        self.handle(Input::Attach(Box::new(Attach {
            connection,
            connect,
            identity: Identity::Anonymous,
            grants: None,
            policy: PolicyName::default(),
        })));
        self.settle();
    }

    fn subscribe(&mut self, connection: ConnectionId, filter: &str, qos: QoS) {
        let entry = SubscribeEntry {
            filter: Arc::from(filter),
            options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
        };
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            identifier: None,
            user_properties: UserProperties::new(),
            entries: vec![entry],
        };
        self.say(connection, vec![Packet::Subscribe(Box::new(subscribe))]);
        self.settle();
    }

    /// Takes what the broker hands over, lets the clients answer, and goes on until nothing more comes. Returns the
    /// number of deliveries.
    fn settle(&mut self) -> u64 {
        let mut deliveries = 0;
        loop {
            while let Some(Output::ToClient { connection, items }) = self.broker.poll_output() {
                deliveries += self.take(connection, items);
            }
            if self.answers.is_empty() {
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
            if let ToClient::Deliver(delivery) = item {
                deliveries += 1;
                bytes += delivery.handed_over_bytes();
                packets.extend(delivery.packet_id.map(acknowledge));
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

fn publish(number: u64, qos: QoS) -> Packet {
    let number = u16::try_from(number).expect("a burst has fewer");
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::parse("site/7/line/3/temperature").expect("a topic name")),
        topic_alias: None,
        packet_id: PacketId::new(number).filter(|_| qos > QoS::AtMostOnce),
        payload: Bytes::from_static(&[b'x'; 64]),
        properties: None,
    })
}

fn acknowledge(packet_id: PacketId) -> Packet {
    Packet::Acknowledgement(Acknowledgement {
        kind: AcknowledgementKind::PubAck,
        packet_id,
        reason: ReasonCode::Success,
        details: None,
    })
}
