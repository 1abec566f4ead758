//! What the fuzz targets check, checked here too: over the committed corpus, and over what a seed makes.

use std::fs;
use std::path::Path;

use mqtt_broker::mqtt::codec::encode;
use mqtt_broker::mqtt::packet::{
    Connect, ConnectProperties, Disconnect, Publish, Subscribe, SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicAlias, TopicName, UserProperties,
};

use crate::arb::Choices;
use crate::{fuzzing, matching, split};

/// Hands each file of a target's corpus to `check`.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        eprintln!("{}", file.display()); // Shown if it fails.
        check(&fs::read(&file).unwrap());
    }
}

#[test]
fn the_corpus_of_trie_passes() {
    replay("trie", fuzzing::trie);
}

#[test]
fn the_corpus_of_connection_split_passes() {
    replay("connection_split", fuzzing::connection_split);
}

#[test]
fn the_corpus_of_broker_ops_passes() {
    replay("broker_ops", fuzzing::broker_ops);
}

#[test]
fn searching_finds_what_looking_at_each_finds() {
    for seed in 0..200 {
        matching::check(&mut Choices::from_seed(seed), 300);
    }
}

#[test]
fn cuts_do_not_matter() {
    for seed in 0..400 {
        let mut choices = Choices::from_seed(seed);
        let mut stream = some_stream(&mut choices);
        if choices.chance(1, 3) {
            let at = choices.below(stream.len());
            stream[at] = choices.among(&[0, 0xFF, 0x80, 0x30, 0x10]);
        }
        split::check(&stream, &mut choices);
    }
}

/// A client's packets, one behind the other.
fn some_stream(choices: &mut Choices<'_>) -> Vec<u8> {
    let version = choices.among(&[ProtocolVersion::V5, ProtocolVersion::V3_1_1, ProtocolVersion::V3_1]);
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::new("c"),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let mut packets = vec![Packet::Connect(Box::new(connect))];
    for _ in 0..choices.below(8) {
        packets.push(some_packet(choices, version));
    }
    let mut stream = Vec::new();
    for packet in packets {
        encode(&packet, version, &mut stream).unwrap();
    }
    stream
}

fn some_packet(choices: &mut Choices<'_>, version: ProtocolVersion) -> Packet {
    let packet_id = PacketId::new(1 + u16::try_from(choices.below(3)).unwrap());
    match choices.below(8) {
        0 => Packet::PingReq,
        1 => Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success))),
        2 => {
            let entry = SubscribeEntry { filter: "a/+".into(), options: SubscriptionOptions::default() };
            Packet::Subscribe(Box::new(Subscribe {
                packet_id: packet_id.unwrap(),
                identifier: None,
                user_properties: UserProperties::new(),
                entries: vec![entry],
            }))
        }
        _ => {
            let qos = choices.among(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
            let alias = if version.is_v5() { choices.below(4) } else { 0 };
            let is_named = alias == 0 || choices.chance(1, 2);
            let len = choices.among(&[0, 10, 130, 4_000, 4_200, 19_000]);
            Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: is_named.then(|| TopicName::parse("a/b").unwrap()),
                topic_alias: TopicAlias::new(u16::try_from(alias).unwrap()),
                packet_id: packet_id.filter(|_| qos > QoS::AtMostOnce),
                payload: vec![b'.'; len].into(),
                properties: None,
            })
        }
    }
}
