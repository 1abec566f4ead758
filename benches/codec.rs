//! What it costs to read and to write packets.
//!
//! `cargo bench --bench codec`

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its packets has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use mqtt_broker::mqtt::codec::{
    Body, DecodeLimits, DeliveryTopic, decode, delivery_len, encode, encode_delivery_head, frame_header,
};
use mqtt_broker::mqtt::packet::{
    Connect, ConnectProperties, Password, Publish, Subscribe, SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Delivery, Message, Packet, PacketId, Places, ProtocolVersion, QoS, TopicName, UserProperties,
};

const LIMITS: DecodeLimits = DecodeLimits { user_properties: 64, filters: 64 };
const TOPIC: &str = "site/7/line/3/temperature";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    packets(&mut criterion);
    deliveries(&mut criterion);
    criterion.final_summary();
}

fn packets(criterion: &mut Criterion) {
    for (name, packet) in [
        ("publish 64 B QoS 0", publish(64, QoS::AtMostOnce)),
        ("publish 64 B QoS 1", publish(64, QoS::AtLeastOnce)),
        ("publish 1 KiB QoS 0", publish(1024, QoS::AtMostOnce)),
        ("publish 1 KiB QoS 1", publish(1024, QoS::AtLeastOnce)),
        ("connect", connect()),
        ("subscribe 4 filters", subscribe()),
    ] {
        let mut group = criterion.benchmark_group(name);
        for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
            read_and_write(&mut group, &packet, version);
        }
        group.finish();
    }
}

fn read_and_write(group: &mut BenchmarkGroup<'_, WallTime>, packet: &Packet, version: ProtocolVersion) {
    let packet = in_version(packet, version);
    let mut wire = Vec::new();
    encode(&packet, version, &mut wire).expect("a packet that fits");
    group.throughput(Throughput::Elements(1));

    group.bench_function(format!("decode borrowed {version}"), |bencher| {
        bencher.iter(|| {
            let header = frame_header(black_box(&wire)).expect("a good header").expect("a whole header");
            let body = wire.get(header.header_len..).expect("a body");
            decode(header, Body::Borrowed(body), Some(version), LIMITS)
        });
    });

    let shared = Bytes::from(wire.clone());
    group.bench_function(format!("decode shared {version}"), |bencher| {
        bencher.iter(|| {
            let header = frame_header(black_box(&shared)).expect("a good header").expect("a whole header");
            let body = shared.slice(header.header_len..);
            decode(header, Body::Shared(&body), Some(version), LIMITS)
        });
    });

    let mut out = Vec::with_capacity(wire.len());
    group.bench_function(format!("encode {version}"), |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(black_box(&packet), version, &mut out)
        });
    });
}

/// What a broker does most: one message, written for many clients.
fn deliveries(criterion: &mut Criterion) {
    let delivery = Delivery {
        message: Arc::new(Message {
            topic: topic(),
            payload: Bytes::from(vec![b'x'; 64]),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
            places: Places::default(),
        }),
        packet_id: PacketId::new(77),
        qos: QoS::AtLeastOnce,
        dup: false,
        retain: false,
        identifiers: None,
    };
    let mut group = criterion.benchmark_group("delivery 64 B QoS 1");
    group.throughput(Throughput::Elements(1));
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let mut out = Vec::with_capacity(128);
        group.bench_function(format!("head {version}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_delivery_head(black_box(&delivery), DeliveryTopic::Name, None, version, &mut out)
            });
        });
        group.bench_function(format!("size {version}"), |bencher| {
            bencher.iter(|| delivery_len(black_box(&delivery.message), delivery.qos, &[], version));
        });
    }
    group.finish();
}

fn topic() -> TopicName {
    TopicName::parse(TOPIC).expect("a topic name")
}

fn publish(payload: usize, qos: QoS) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(topic()),
        topic_alias: None,
        packet_id: PacketId::new(77).filter(|_| qos > QoS::AtMostOnce),
        payload: Bytes::from(vec![b'x'; payload]),
        properties: None,
    })
}

fn connect() -> Packet {
    Packet::Connect(Box::new(Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        keep_alive: 60,
        client_id: ClientId::new("sensor-0123456789"),
        will: None,
        username: Some(Arc::from("sensor")),
        password: Some(Password(Bytes::from_static(b"a long enough password"))),
        properties: ConnectProperties::default(),
    }))
}

fn subscribe() -> Packet {
    let entries = (1..=4).map(|line| SubscribeEntry {
        filter: Arc::from(format!("site/+/line/{line}/#")),
        options: SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() },
    });
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: PacketId::MIN,
        identifier: None,
        user_properties: UserProperties::new(),
        entries: entries.collect(),
    }))
}

/// A CONNECT names its version itself.
fn in_version(packet: &Packet, version: ProtocolVersion) -> Packet {
    let mut packet = packet.clone();
    if let Packet::Connect(connect) = &mut packet {
        connect.version = version;
    }
    packet
}
