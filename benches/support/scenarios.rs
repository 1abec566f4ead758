//! What is counted: each scenario makes ready, and is then an operation that tells how many there were of its kind.

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its packets has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::broker::subscriptions::{Subscription, Subscriptions};
use mqtt_broker::broker::{ConnectionId, SessionKey};
use mqtt_broker::clock::Instant;
use mqtt_broker::connection::{Connection, ConnectionLimits, Transmit};
use mqtt_broker::mqtt::codec::encode;
use mqtt_broker::mqtt::packet::{
    ConnAck, ConnAckProperties, Connect, ConnectProperties, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Delivery, Message, Packet, PacketId, Places, ProtocolVersion, QoS, ReasonCode,
    SubscriptionFilter, TopicName,
};

use super::stage::{Stage, publish, subscribe};

/// Does something several times, and tells how many.
pub(crate) type Operation = Box<dyn FnMut() -> u64>;

/// Makes ready for an operation.
pub(crate) type Prepare = fn() -> Operation;

/// By name.
pub(crate) const SCENARIOS: &[(&str, Prepare)] = &[
    ("read PUBLISH QoS 0, 3.1.1", || read(ProtocolVersion::V3_1_1, QoS::AtMostOnce)),
    ("read PUBLISH QoS 0, 5.0", || read(ProtocolVersion::V5, QoS::AtMostOnce)),
    ("read PUBLISH QoS 1, 5.0", || read(ProtocolVersion::V5, QoS::AtLeastOnce)),
    ("read SUBSCRIBE of 4 filters", read_subscribe),
    ("write delivery QoS 0, 3.1.1", || write(ProtocolVersion::V3_1_1, QoS::AtMostOnce)),
    ("write delivery QoS 0, 5.0", || write(ProtocolVersion::V5, QoS::AtMostOnce)),
    ("write delivery QoS 1, 5.0", || write(ProtocolVersion::V5, QoS::AtLeastOnce)),
    ("match exact among 30,000", || matching(0)),
    ("match + among 30,000", || matching(1)),
    ("match # among 30,000", || matching(2)),
    ("match 1,000 of one filter", match_many),
    ("subscribe and unsubscribe", come_and_go),
    ("publish to nobody", || fan_out(Stage::new(), 0, QoS::AtMostOnce)),
    ("publish QoS 0 to 1", || fan_out(Stage::new(), 1, QoS::AtMostOnce)),
    ("publish QoS 1 to 1", || fan_out(Stage::new(), 1, QoS::AtLeastOnce)),
    ("publish QoS 2 to 1", || fan_out(Stage::new(), 1, QoS::ExactlyOnce)),
    ("publish QoS 0 to 100, each", || fan_out(Stage::new(), 100, QoS::AtMostOnce)),
    ("publish QoS 1 to 100, each", || fan_out(Stage::new(), 100, QoS::AtLeastOnce)),
    ("kept: publish QoS 1 to 1", || fan_out(Stage::kept(), 1, QoS::AtLeastOnce)),
    ("kept: publish QoS 2 to 1", || fan_out(Stage::kept(), 1, QoS::ExactlyOnce)),
    ("kept: publish QoS 1 to 100, each", || fan_out(Stage::kept(), 100, QoS::AtLeastOnce)),
    ("connect and disconnect", connect_and_disconnect),
    ("client with 1,000 filters, each", filters_come_and_go),
    ("retain", retain),
    ("retained message to #, each", fetch_retained),
];

const TOPIC: &str = "site/7/line/3/temperature";

const PUBLISHER: ConnectionId = ConnectionId(0);

/// Publications that reach the broker as one input, as they do when a socket is read under load.
const BURST: u64 = 64;

fn read(version: ProtocolVersion, qos: QoS) -> Operation {
    let packets: Vec<Packet> = (1..=BURST).map(|number| publish(TOPIC, number, qos, false)).collect();
    reading(version, &packets)
}

fn read_subscribe() -> Operation {
    let filters = ["site/+/line/1/#", "site/+/line/2/#", "site/7/+/+", "site/7/line/3/temperature"];
    let packets: Vec<Packet> = (0..BURST).map(|_| subscribe(&filters, QoS::AtLeastOnce)).collect();
    reading(ProtocolVersion::V5, &packets)
}

/// Reads all of these, which come in one piece.
fn reading(version: ProtocolVersion, packets: &[Packet]) -> Operation {
    let mut wire = Vec::new();
    for packet in packets {
        encode(packet, version, &mut wire).expect("a packet that fits");
    }
    let mut read = Vec::with_capacity(packets.len());
    Box::new(move || {
        // Another one each time: what it has received of QoS 1 and 2 would have to be answered.
        let mut connection = connected(version);
        connection.receive(black_box(&wire), Instant::START, &mut read).expect("good packets");
        let count = read.len();
        read.clear();
        u64::try_from(count).expect("a burst")
    })
}

fn write(version: ProtocolVersion, qos: QoS) -> Operation {
    let delivery = Delivery {
        message: Arc::new(Message {
            topic: TopicName::parse(TOPIC).expect("a topic name"),
            payload: Bytes::from_static(&[b'x'; 64]),
            qos,
            retain: false,
            expires_at: None,
            properties: None,
            places: Places::default(),
        }),
        packet_id: PacketId::new(77).filter(|_| qos > QoS::AtMostOnce),
        qos,
        dup: false,
        retain: false,
        identifiers: None,
    };
    let mut connection = connected(version);
    let mut out = Transmit::new();
    Box::new(move || {
        out.clear();
        for _ in 0..BURST {
            connection.send_delivery(black_box(&delivery), Instant::START, &mut out).expect("it fits");
        }
        BURST
    })
}

/// A connection whose client has been let in.
fn connected(version: ProtocolVersion) -> Connection {
    let mut connection = Connection::new(Arc::new(ConnectionLimits::default()), Instant::START);
    let connect = Packet::Connect(Box::new(Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::new("client"),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }));
    let (mut wire, mut packets) = (Vec::new(), Vec::new());
    encode(&connect, version, &mut wire).expect("a packet that fits");
    connection.receive(&wire, Instant::START, &mut packets).expect("a good CONNECT");
    connection.accept(Instant::START, &mut packets).expect("nothing behind it");
    let connack = ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnAckProperties::default(),
    };
    connection.send(Packet::ConnAck(Box::new(connack)), &mut Transmit::new()).expect("it fits");
    connection
}

/// Topics each of which matches one subscription of 30,000, of those whose number is `third` modulo three.
fn matching(third: u32) -> Operation {
    let mut subscriptions = Subscriptions::new(1);
    for number in 0..30_000 {
        subscriptions.subscribe(&filter(number), of(number));
    }
    let topics: Vec<String> = (0..64).map(|number| topic(third + 3 * number * 100)).collect();
    let (mut plain, mut groups) = (Vec::new(), Vec::new());
    Box::new(move || {
        for topic in &topics {
            plain.clear();
            subscriptions.matching(black_box(topic), &mut plain, &mut groups);
            assert_eq!(plain.len(), 1);
        }
        64
    })
}

fn topic(number: u32) -> String {
    format!("site/{}/device/{}/state", number / 1_000, number % 1_000)
}

/// Thirds exact, with `+` and with `#`.
fn filter(number: u32) -> SubscriptionFilter {
    let (site, device) = (number / 1_000, number % 1_000);
    let text = match number % 3 {
        0 => topic(number),
        1 => format!("site/{site}/+/{device}/state"),
        _ => format!("site/{site}/device/{device}/#"),
    };
    SubscriptionFilter::parse(&text).expect("a filter")
}

fn of(session: u32) -> Subscription {
    let session = SessionKey::from_raw(session);
    Subscription { session, options: SubscriptionOptions::default(), identifier: None }
}

fn match_many() -> Operation {
    let mut subscriptions = Subscriptions::new(1);
    let filter = SubscriptionFilter::parse(TOPIC).expect("a filter");
    for number in 0..1_000 {
        subscriptions.subscribe(&filter, of(number));
    }
    let (mut plain, mut groups) = (Vec::new(), Vec::new());
    Box::new(move || {
        plain.clear();
        subscriptions.matching(black_box(TOPIC), &mut plain, &mut groups);
        assert_eq!(plain.len(), 1_000);
        1
    })
}

fn come_and_go() -> Operation {
    let mut subscriptions = Subscriptions::new(1);
    for number in 0..1_000 {
        subscriptions.subscribe(&filter(number), of(number));
    }
    let others: Vec<_> = (1_000..1_300).map(filter).collect();
    Box::new(move || {
        for (number, filter) in (1_000..).zip(&others) {
            subscriptions.subscribe(black_box(filter), of(number));
        }
        for (number, filter) in (1_000..).zip(&others) {
            let key = subscriptions.find(filter, of(number).session).expect("it was just made");
            subscriptions.unsubscribe(key, of(number).session);
        }
        300
    })
}

/// A publisher whose bursts go to so many subscribers.
fn fan_out(mut stage: Stage, subscribers: u64, qos: QoS) -> Operation {
    stage.attach(PUBLISHER);
    for number in 1..=subscribers {
        stage.attach(ConnectionId(number));
        stage.subscribe(ConnectionId(number), &[TOPIC], qos);
    }
    let burst: Vec<Packet> = (1..=BURST).map(|number| publish(TOPIC, number, qos, false)).collect();
    Box::new(move || {
        stage.say(PUBLISHER, burst.clone());
        assert_eq!(stage.settle(), subscribers * BURST);
        subscribers.max(1) * BURST
    })
}

fn connect_and_disconnect() -> Operation {
    let mut stage = Stage::new();
    let mut next = 0;
    Box::new(move || {
        for number in next..next + 100 {
            stage.attach(ConnectionId(number));
            stage.disconnect(ConnectionId(number));
        }
        next += 100;
        100
    })
}

fn filters_come_and_go() -> Operation {
    let filters: Vec<String> = (0..1_000).map(|number| filter(number).filter.as_str().to_owned()).collect();
    let mut stage = Stage::new();
    let mut next = 0;
    Box::new(move || {
        stage.attach(ConnectionId(next));
        for some in filters.chunks(10) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            stage.subscribe(ConnectionId(next), &some, QoS::AtLeastOnce);
        }
        stage.disconnect(ConnectionId(next));
        next += 1;
        1_000
    })
}

fn retained_messages(number: u64) -> Vec<Packet> {
    let topics = (0..1_000).map(|place| format!("store/{}/{}", place % 30, number + place));
    topics.map(|topic| publish(&topic, 0, QoS::AtMostOnce, true)).collect()
}

fn retain() -> Operation {
    let mut stage = Stage::new();
    stage.attach(PUBLISHER);
    let mut next = 0;
    Box::new(move || {
        stage.say(PUBLISHER, retained_messages(next));
        stage.settle();
        next += 1_000;
        1_000
    })
}

fn fetch_retained() -> Operation {
    let mut stage = Stage::new();
    stage.attach(PUBLISHER);
    stage.say(PUBLISHER, retained_messages(0));
    stage.settle();
    let mut next = 1;
    Box::new(move || {
        stage.attach(ConnectionId(next));
        assert_eq!(stage.subscribe(ConnectionId(next), &["store/#"], QoS::AtMostOnce), 1_000);
        stage.disconnect(ConnectionId(next));
        next += 1;
        1_000
    })
}
