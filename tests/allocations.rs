//! What a message of QoS 0 takes from the allocator on its way through the broker, from the bytes of its publisher to
//! those of its subscribers: itself, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::broker::{
    Attach, Broker, BrokerConfig, ConnectionId, Identity, Input, Output, Policy, PolicyName, ToClient,
};
use mqtt_broker::clock::Instant;
use mqtt_broker::connection::{Connection, ConnectionLimits, Transmit};
use mqtt_broker::mqtt::codec::encode;
use mqtt_broker::mqtt::packet::{
    Connect, ConnectProperties, Publish, Subscribe, SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{ClientId, Packet, PacketId, ProtocolVersion, QoS, TopicName, UserProperties};

/// The name of its topic, its payload, and the message that holds both and is shared by all who get it.
const OF_A_MESSAGE: u64 = 3;

/// Messages that come with one read, in the smaller of two batches; the larger one has twice as many.
const BATCH: u16 = 64;

const NOW: Instant = Instant::START;

#[test]
fn a_message_to_one_subscriber_allocates_itself() {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        // The packets of a batch and the deliveries of a client stand in vectors that double once for twice as many.
        let of_the_batch = 1 + 1;
        assert_eq!(of_another_batch(version, 1), OF_A_MESSAGE * u64::from(BATCH) + of_the_batch, "{version}");
    }
}

#[test]
fn a_message_to_many_subscribers_allocates_itself_once() {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let allocations = of_another_batch(version, 100);
        let of_messages = OF_A_MESSAGE * u64::from(BATCH);
        // Vectors again, of the batch and of each client. The 6,400 deliveries are far more than these.
        assert!((of_messages..=of_messages + 2 * 101).contains(&allocations), "{version}: {allocations}");
    }
}

/// How many more allocations it takes to bring twice as many messages to so many subscribers.
fn of_another_batch(version: ProtocolVersion, subscribers: u64) -> u64 {
    let mut stage = Stage::new(version, subscribers);
    let (one, two) = (burst(version, BATCH), burst(version, 2 * BATCH));
    // What is kept from time to time grows to its size.
    stage.pass(&two);
    let of_one = allocation_counter::measure(|| assert_eq!(stage.pass(&one), subscribers * u64::from(BATCH)));
    let of_two =
        allocation_counter::measure(|| assert_eq!(stage.pass(&two), 2 * subscribers * u64::from(BATCH)));
    assert_eq!((of_one.count_current, of_two.count_current), (0, 0), "all is given back");
    of_two.count_total - of_one.count_total
}

/// So many messages of QoS 0, as their publisher sends them.
fn burst(version: ProtocolVersion, count: u16) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..count {
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(TopicName::parse("site/7/line/3/temperature").unwrap()),
            topic_alias: None,
            packet_id: None,
            payload: Bytes::from_static(&[b'x'; 64]),
            properties: None,
        });
        encode(&publish, version, &mut wire).unwrap();
    }
    wire
}

/// A broker with one publisher and many subscribers, each behind its connection.
struct Stage {
    broker: Broker,
    connections: Vec<Connection>,
    out: Transmit,
}

impl Stage {
    fn new(version: ProtocolVersion, subscribers: u64) -> Self {
        let broker = Broker::new(BrokerConfig::default(), Arc::new(Policy::AllowAll), 1);
        let mut stage = Self { broker, connections: Vec::new(), out: Transmit::new() };
        for number in 0..=subscribers {
            stage.connect(ConnectionId(number), version);
        }
        let subscribe = Packet::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::MIN,
            identifier: None,
            user_properties: UserProperties::new(),
            entries: vec![SubscribeEntry {
                filter: Arc::from("site/+/line/3/#"),
                options: SubscriptionOptions::default(),
            }],
        }));
        let mut wire = Vec::new();
        encode(&subscribe, version, &mut wire).unwrap();
        for number in 1..=subscribers {
            stage.receive(ConnectionId(number), &wire);
        }
        stage.send();
        stage
    }

    fn connect(&mut self, connection: ConnectionId, version: ProtocolVersion) {
        let connect = Packet::Connect(Box::new(Connect {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id: ClientId::new(format!("client-{connection}")),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        }));
        let mut protocol = Connection::new(Arc::new(ConnectionLimits::default()), NOW);
        let (mut wire, mut packets) = (Vec::new(), Vec::new());
        encode(&connect, version, &mut wire).unwrap();
        protocol.receive(&wire, NOW, &mut packets).unwrap();
        protocol.accept(NOW, &mut packets).unwrap();
        let Some(Packet::Connect(connect)) = packets.pop() else { panic!("a CONNECT is read as what it is") };
        self.connections.push(protocol);
        let attach = Attach {
            connection,
            connect: *connect,
            identity: Identity::Anonymous,
            grants: None,
            policy: PolicyName::default(),
            durability: None,
        };
        self.broker.handle(Input::Attach(Box::new(attach)), NOW);
        self.send();
    }

    /// Brings what the publisher sent to all subscribers. Returns how many deliveries were written.
    fn pass(&mut self, wire: &[u8]) -> u64 {
        self.receive(ConnectionId(0), wire);
        let mut deliveries = self.send();
        // What is more than a turn's work waits for the next one.
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.broker.handle(Input::Tick, NOW);
            deliveries += self.send();
        }
        deliveries
    }

    fn receive(&mut self, connection: ConnectionId, wire: &[u8]) {
        let mut packets = Vec::new();
        self.connection(connection).receive(wire, NOW, &mut packets).unwrap();
        self.broker.handle(Input::Received { connection, packets }, NOW);
    }

    fn send(&mut self) -> u64 {
        let mut deliveries = 0;
        while let Some(output) = self.broker.poll_output() {
            let Output::ToClient { connection, items } = output else { panic!("there is no journal") };
            let mut bytes = 0;
            let mut out = std::mem::take(&mut self.out);
            let protocol = self.connection(connection);
            for item in items {
                match item {
                    ToClient::Deliver(delivery) => {
                        bytes += delivery.handed_over_bytes();
                        protocol.send_delivery(&delivery, NOW, &mut out).unwrap();
                        deliveries += 1;
                    }
                    ToClient::Send(packet) => protocol.send(*packet, &mut out).unwrap(),
                    other @ (ToClient::Acknowledge(_) | ToClient::PingResp | ToClient::Close { .. }) => {
                        panic!("nothing like this is sent here: {other:?}")
                    }
                }
            }
            out.clear();
            self.out = out;
            self.broker.handle(Input::Written { connection, bytes }, NOW);
        }
        deliveries
    }

    fn connection(&mut self, connection: ConnectionId) -> &mut Connection {
        &mut self.connections[usize::try_from(connection.0).unwrap()]
    }
}
