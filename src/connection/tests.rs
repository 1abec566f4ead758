//! Bytes in, packets out, and the other way round.

mod cutting;
mod exchange;

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::*;
use crate::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect,
    Publish, SubAck,
};
use crate::mqtt::{
    ClientId, Delivery, Message, PacketId, Places, PublishProperties, QoS, SubscriptionIdentifier,
    TopicAlias, TopicName,
};

/// A connection with its client's side of the codec.
struct Pair {
    connection: Connection,
    version: ProtocolVersion,
    now: Instant,
}

type Received = (Vec<Packet>, Result<(), ProtocolError>);

impl Pair {
    fn new(limits: ConnectionLimits, version: ProtocolVersion) -> Self {
        Self { connection: Connection::new(Arc::new(limits), Instant::START), version, now: Instant::START }
    }

    /// A pair whose client is connected.
    fn connected(limits: ConnectionLimits, connect: Connect) -> Self {
        let mut pair = Self::new(limits, connect.version);
        let (packets, result) = pair.receive(&[Packet::Connect(Box::new(connect))]);
        assert_eq!((packets.len(), result), (1, Ok(())));
        pair.connection.accept(pair.now, &mut Vec::new()).unwrap();
        let connack =
            pair.sent(|connection, out| connection.send(connack(ReasonCode::Success), out).unwrap());
        assert!(matches!(connack.as_slice(), [Packet::ConnAck(_)]));
        assert_eq!(pair.connection.phase(), Phase::Connected);
        pair
    }

    fn receive(&mut self, packets: &[Packet]) -> Received {
        let bytes = encoded(packets, self.version);
        self.receive_bytes(&bytes)
    }

    fn receive_bytes(&mut self, bytes: &[u8]) -> Received {
        let mut packets = Vec::new();
        let result = self.connection.receive(bytes, self.now, &mut packets);
        (packets, result)
    }

    #[track_caller]
    fn refuses(&mut self, packet: Packet, expected: ReasonCode) {
        let (packets, result) = self.receive(&[packet]);
        assert_eq!((packets, result.unwrap_err().reason), (Vec::new(), expected));
    }

    #[track_caller]
    fn takes(&mut self, packet: Packet) -> Packet {
        let (mut packets, result) = self.receive(&[packet]);
        result.unwrap();
        assert_eq!(packets.len(), 1);
        packets.remove(0)
    }

    /// The packets that the client gets.
    fn sent(&mut self, send: impl FnOnce(&mut Connection, &mut Transmit)) -> Vec<Packet> {
        let mut out = Transmit::new();
        send(&mut self.connection, &mut out);
        decoded(&bytes_of(&out), self.version)
    }
}

fn bytes_of(out: &Transmit) -> Vec<u8> {
    let mut slices = [std::io::IoSlice::new(&[]); 64];
    let filled = out.fill(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
}

fn encoded(packets: &[Packet], version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        codec::encode(packet, version, &mut bytes).unwrap();
    }
    bytes
}

fn decoded(mut bytes: &[u8], version: ProtocolVersion) -> Vec<Packet> {
    let limits = DecodeLimits { user_properties: 100, filters: 100 };
    let mut packets = Vec::new();
    while let Some(header) = codec::frame_header(bytes).unwrap() {
        let (frame, rest) = bytes.split_at(frame_len(header));
        let body = Body::Borrowed(&frame[header.header_len..]);
        packets.push(codec::decode(header, body, Some(version), limits).unwrap());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    packets
}

fn connect(version: ProtocolVersion) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 10,
        client_id: ClientId::new("client"),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn connect_with(properties: ConnectProperties) -> Connect {
    Connect { properties, ..connect(ProtocolVersion::V5) }
}

fn connack(reason: ReasonCode) -> Packet {
    Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason,
        properties: ConnAckProperties::default(),
    }))
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn publish(topic: Option<&str>, alias: Option<u16>, qos: QoS, packet_id: u16) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.map(|topic| TopicName::parse(topic).unwrap()),
        topic_alias: alias.and_then(TopicAlias::new),
        packet_id: PacketId::new(packet_id),
        payload: Bytes::from_static(b"payload"),
        properties: None,
    }
}

fn delivery(topic: &str, payload: Bytes) -> Delivery {
    let topic = TopicName::parse(topic).unwrap();
    let message = Message {
        topic,
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at: None,
        properties: None,
        places: Places::default(),
    };
    Delivery {
        message: Arc::new(message),
        packet_id: None,
        qos: QoS::AtMostOnce,
        dup: false,
        retain: false,
        identifiers: None,
    }
}

fn acknowledgement(kind: AcknowledgementKind, packet_id: u16, reason: ReasonCode) -> Acknowledgement {
    Acknowledgement { kind, packet_id: id(packet_id), reason, details: None }
}

const ALL: [ProtocolVersion; 3] = [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];

#[test]
fn the_first_packet_must_be_a_connect_and_is_judged_by_its_first_byte() {
    for first in [0x00, 0x20, 0x30, 0xC0, 0xE0, 0xF0] {
        let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
        let (_, result) = pair.receive_bytes(&[first]);
        assert_eq!(result.unwrap_err().reason, ReasonCode::ProtocolError);
        let said = pair.sent(|connection, out| connection.close(Some(ReasonCode::ProtocolError), "", out));
        assert_eq!(said, []);
    }
}

#[test]
fn there_is_only_one_connect() {
    for version in ALL {
        let mut pair = Pair::connected(ConnectionLimits::default(), connect(version));
        pair.refuses(Packet::Connect(Box::new(connect(version))), ReasonCode::ProtocolError);
    }
}

#[test]
fn what_follows_connect_waits_for_the_client_to_be_accepted() {
    let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V3_1_1);
    let pings = [Packet::PingReq, Packet::PingReq];
    let first = Packet::Connect(Box::new(connect(pair.version)));
    let mut bytes = encoded(std::slice::from_ref(&first), pair.version);
    bytes.extend(encoded(&pings, pair.version));
    let (partial, rest) = bytes.split_at(bytes.len() - 1);
    assert_eq!(pair.receive_bytes(partial), (vec![first], Ok(())));
    assert_eq!(pair.receive_bytes(rest), (Vec::new(), Ok(())));
    let mut packets = Vec::new();
    pair.connection.accept(pair.now, &mut packets).unwrap();
    assert_eq!(packets, pings);
    assert!(pair.connection.partial.is_empty());
}

#[test]
fn packets_of_servers_are_refused() {
    for packet in [
        connack(ReasonCode::Success),
        Packet::PingResp,
        Packet::SubAck(Box::new(SubAck {
            packet_id: id(1),
            reasons: vec![ReasonCode::Success],
            reason_string: None,
            user_properties: Vec::new(),
        })),
    ] {
        Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5))
            .refuses(packet, ReasonCode::ProtocolError);
    }
    let mut identified = publish(Some("a"), None, QoS::AtMostOnce, 0);
    let subscription_identifiers = SubscriptionIdentifier::new(1).into_iter().collect();
    identified.properties =
        Some(Box::new(PublishProperties { subscription_identifiers, ..Default::default() }));
    Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5))
        .refuses(Packet::Publish(identified), ReasonCode::ProtocolError);
}

#[test]
fn a_packet_may_be_as_large_as_its_limit_and_no_larger() {
    let packet = Packet::Publish(publish(Some("topic"), None, QoS::AtMostOnce, 0));
    let size = u32::try_from(encoded(std::slice::from_ref(&packet), ProtocolVersion::V5).len()).unwrap();
    for (limit, fits) in [(size, true), (size - 1, false)] {
        let limits = ConnectionLimits { maximum_packet_size: NonZeroU32::new(limit), ..Default::default() };
        let mut pair = Pair::connected(limits, connect(ProtocolVersion::V5));
        if fits {
            pair.takes(packet.clone());
        } else {
            pair.refuses(packet.clone(), ReasonCode::PacketTooLarge);
        }
    }
    let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
    // A CONNECT of 1 MiB and a byte is refused by its header alone.
    let (_, result) = pair.receive_bytes(&[0x10, 0xFD, 0xFF, 0x3F]);
    assert_eq!(result.unwrap_err().reason, ReasonCode::PacketTooLarge);
}

#[test]
fn aliases_are_resolved_up_to_the_maximum() {
    let limits = ConnectionLimits { topic_alias_maximum: 3, ..Default::default() };
    let mut pair = Pair::connected(limits, connect(ProtocolVersion::V5));
    pair.takes(Packet::Publish(publish(Some("a/b"), Some(3), QoS::AtMostOnce, 0)));
    let Packet::Publish(publish_again) =
        pair.takes(Packet::Publish(publish(None, Some(3), QoS::AtMostOnce, 0)))
    else {
        panic!("not a PUBLISH");
    };
    assert_eq!(publish_again.topic.unwrap().as_str(), "a/b");
    pair.refuses(
        Packet::Publish(publish(Some("a"), Some(4), QoS::AtMostOnce, 0)),
        ReasonCode::TopicAliasInvalid,
    );
    Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5)).refuses(
        Packet::Publish(publish(Some("a"), Some(1), QoS::AtMostOnce, 0)),
        ReasonCode::TopicAliasInvalid,
    );
}

#[test]
fn the_quota_is_freed_by_the_last_answer() {
    use AcknowledgementKind::{PubAck, PubComp, PubRec};
    let limits = ConnectionLimits { receive_maximum: NonZeroU16::new(1), ..Default::default() };
    let mut pair = Pair::connected(limits, connect(ProtocolVersion::V5));
    for (qos, answers, frees) in [
        (QoS::AtLeastOnce, vec![(PubAck, ReasonCode::Success)], true),
        (QoS::ExactlyOnce, vec![(PubRec, ReasonCode::Success), (PubComp, ReasonCode::Success)], true),
        (QoS::ExactlyOnce, vec![(PubRec, ReasonCode::NotAuthorized)], true),
        (QoS::ExactlyOnce, vec![(PubRec, ReasonCode::Success)], false),
    ] {
        pair.takes(Packet::Publish(publish(Some("a"), None, qos, 1)));
        for (kind, reason) in answers {
            let packet = acknowledgement(kind, 1, reason);
            assert_eq!(
                pair.sent(|connection, out| connection.send_acknowledgement(packet, out).unwrap()).len(),
                1
            );
        }
        let next = Packet::Publish(publish(Some("a"), None, QoS::AtLeastOnce, 2));
        if frees {
            pair.takes(next);
            let packet = acknowledgement(PubAck, 2, ReasonCode::Success);
            pair.sent(|connection, out| connection.send_acknowledgement(packet, out).unwrap());
        } else {
            pair.refuses(next, ReasonCode::ReceiveMaximumExceeded);
        }
    }
}

#[test]
fn only_mqtt_5_has_a_receive_maximum() {
    let limits = ConnectionLimits { receive_maximum: NonZeroU16::new(1), ..Default::default() };
    let mut pair = Pair::connected(limits, connect(ProtocolVersion::V3_1_1));
    pair.takes(Packet::Publish(publish(Some("a"), None, QoS::AtLeastOnce, 1)));
    pair.takes(Packet::Publish(publish(Some("a"), None, QoS::AtLeastOnce, 2)));
}

#[test]
fn an_auth_without_a_method_is_a_protocol_error() {
    let mut pair = Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5));
    let (_, result) = pair.receive_bytes(&[0xF0, 0x00]);
    assert_eq!(result.unwrap_err().reason, ReasonCode::ProtocolError);
}

/// What a CONNECT with this protocol name and level, and nothing sensible behind, is answered.
fn answer_to_level(name: &[u8], level: u8) -> Vec<u8> {
    let mut bytes = vec![0x10, 0, 0, u8::try_from(name.len()).unwrap()];
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&[level, 0x02, 0, 60, 0, 0, 1, b'a']);
    bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
    let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
    let (_, result) = pair.receive_bytes(&bytes);
    let error = result.unwrap_err();
    let mut out = Transmit::new();
    pair.connection.close(Some(error.reason), "", &mut out);
    bytes_of(&out)
}

#[test]
fn an_unknown_version_is_refused_in_words_that_it_may_understand() {
    assert_eq!(answer_to_level(b"MQTT", 3), [0x20, 2, 0, 1]);
    assert_eq!(answer_to_level(b"MQTT", 6), [0x20, 3, 0, 0x84, 0]);
    assert_eq!(answer_to_level(b"MQTT", 0x7F), [0x20, 3, 0, 0x84, 0]);
    // How a bridge marks itself, of 3.1.1 and of 5.0.
    assert_eq!(answer_to_level(b"MQTT", 0x84), [0x20, 2, 0, 1]);
    assert_eq!(answer_to_level(b"MQTT", 0x85), [0x20, 3, 0, 0x84, 0]);
}

#[test]
fn a_malformed_connect_is_answered_only_in_mqtt_5() {
    for (level, answer) in [(4, &[][..]), (5, &[0x20, 3, 0, 0x81, 0])] {
        let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
        // The reserved flag is set.
        let bytes = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 0x03, 0, 60, 0, 0, 1];
        let error = pair.receive_bytes(&bytes).1.unwrap_err();
        let mut out = Transmit::new();
        pair.connection.close(Some(error.reason), "", &mut out);
        assert_eq!(bytes_of(&out), answer, "level {level}");
    }
}

#[test]
fn a_disconnect_tells_mqtt_5_clients_why_once_they_are_connected() {
    for version in ALL {
        let mut pair = Pair::connected(ConnectionLimits::default(), connect(version));
        let said =
            pair.sent(|connection, out| connection.close(Some(ReasonCode::SessionTakenOver), "taken", out));
        if version.is_v5() {
            let [Packet::Disconnect(disconnect)] = said.as_slice() else { panic!("{said:?}") };
            assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
            assert_eq!(disconnect.reason_string.as_deref(), Some("taken"));
        } else {
            assert_eq!(said, []);
        }
        let nothing = pair.sent(|connection, out| connection.send(Packet::PingResp, out).unwrap());
        assert_eq!(nothing, [], "nothing follows the last word");
    }
}

#[test]
fn nothing_is_read_behind_a_disconnect_but_what_is_owed_is_written() {
    let mut pair = Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5));
    let last = Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success)));
    let (packets, result) = pair.receive(&[Packet::PingReq, last.clone(), Packet::PingReq]);
    assert_eq!((packets, result), (vec![Packet::PingReq, last], Ok(())));
    let sent = pair.sent(|connection, out| connection.send(Packet::PingResp, out).unwrap());
    assert_eq!(sent, [Packet::PingResp]);
    let said = pair.sent(|connection, out| connection.close(None, "", out));
    assert_eq!(said, []);
}

#[test]
fn a_disconnect_that_must_not_be_sent_is_answered() {
    let mut pair = Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5));
    pair.takes(Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success))));
    let said = pair.sent(|connection, out| connection.close(Some(ReasonCode::ProtocolError), "", out));
    assert_eq!(said, [Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::ProtocolError)))]);
}

fn explained_suback() -> Packet {
    Packet::SubAck(Box::new(SubAck {
        packet_id: id(1),
        reasons: vec![ReasonCode::Success],
        reason_string: Some(Arc::from("because of this and that")),
        user_properties: vec![(Arc::from("name"), Arc::from("value"))],
    }))
}

#[track_caller]
fn explains(properties: ConnectProperties, expected: bool) {
    let mut pair = Pair::connected(ConnectionLimits::default(), connect_with(properties));
    let sent = pair.sent(|connection, out| connection.send(explained_suback(), out).unwrap());
    let [Packet::SubAck(suback)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((suback.reason_string.is_some(), !suback.user_properties.is_empty()), (expected, expected));
}

#[test]
fn explanations_are_left_out_where_they_are_not_wanted_or_do_not_fit() {
    explains(ConnectProperties::default(), true);
    explains(ConnectProperties { request_problem_information: false, ..Default::default() }, false);
    explains(ConnectProperties { maximum_packet_size: NonZeroU32::new(20), ..Default::default() }, false);
}

#[test]
fn what_does_not_fit_at_all_is_not_sent() {
    let properties = ConnectProperties { maximum_packet_size: NonZeroU32::new(5), ..Default::default() };
    let mut pair = Pair::connected(ConnectionLimits::default(), connect_with(properties));
    let sent = pair.sent(|connection, out| {
        assert_eq!(connection.send(explained_suback(), out), Err(SendError::TooLarge));
        let delivery = delivery("topic", Bytes::new());
        assert_eq!(connection.send_delivery(&delivery, Instant::START, out), Err(SendError::TooLarge));
        connection.send(Packet::PingResp, out).unwrap();
    });
    assert_eq!(sent, [Packet::PingResp]);
}

#[test]
fn topics_get_aliases_where_the_client_takes_them() {
    let limits = ConnectionLimits { auto_map_topic_alias: true, ..Default::default() };
    let properties = ConnectProperties { topic_alias_maximum: 1, ..Default::default() };
    let mut pair = Pair::connected(limits, connect_with(properties));
    let sent = pair.sent(|connection, out| {
        for topic in ["first", "first", "second", "first"] {
            connection.send_delivery(&delivery(topic, Bytes::new()), Instant::START, out).unwrap();
        }
    });
    let seen: Vec<_> = sent
        .iter()
        .map(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            (publish.topic.as_ref().map(TopicName::as_str), publish.topic_alias.map(TopicAlias::get))
        })
        .collect();
    assert_eq!(
        seen,
        [(Some("first"), Some(1)), (None, Some(1)), (Some("second"), Some(1)), (Some("first"), Some(1))]
    );
}

#[test]
fn an_alias_is_not_given_where_only_the_name_fits() {
    let limits = ConnectionLimits { auto_map_topic_alias: true, ..Default::default() };
    // Fixed header 2, topic 2 + 5, property length 1.
    let maximum_packet_size = NonZeroU32::new(10);
    let properties = ConnectProperties { topic_alias_maximum: 1, maximum_packet_size, ..Default::default() };
    let mut pair = Pair::connected(limits, connect_with(properties));
    let sent = pair.sent(|connection, out| {
        for _ in 0..2 {
            connection.send_delivery(&delivery("topic", Bytes::new()), Instant::START, out).unwrap();
        }
    });
    assert_eq!(
        sent,
        [(); 2].map(|()| Packet::Publish(Publish {
            payload: Bytes::new(),
            ..publish(Some("topic"), None, QoS::AtMostOnce, 0)
        }))
    );
}

#[test]
fn the_life_that_is_left_is_rounded_up() {
    for (millis, seconds) in [(10_000, 10), (9_001, 10), (1, 1), (0, 1)] {
        let mut pair = Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5));
        let mut delivery = delivery("a", Bytes::new());
        let message = Arc::make_mut(&mut delivery.message);
        message.expires_at = Some(Instant::from_start(Duration::from_millis(millis)));
        let sent =
            pair.sent(|connection, out| connection.send_delivery(&delivery, Instant::START, out).unwrap());
        let [Packet::Publish(publish)] = sent.as_slice() else { panic!("{sent:?}") };
        let properties = publish.properties.as_ref().unwrap();
        assert_eq!(properties.message_expiry_interval, Some(seconds));
    }
}

#[test]
fn connect_must_come_in_time_and_then_something_now_and_then() {
    let at = |millis| Instant::from_start(Duration::from_millis(millis));
    let mut pair = Pair::new(ConnectionLimits::default(), ProtocolVersion::V5);
    assert_eq!(pair.connection.deadline(), Some(at(10_000)));
    assert_eq!(pair.connection.handle_timeout(at(9_999)), None);
    assert_eq!(pair.connection.handle_timeout(at(10_000)), Some(Expired::Connect));

    pair.receive(&[Packet::Connect(Box::new(connect(ProtocolVersion::V5)))]).1.unwrap();
    assert_eq!(pair.connection.deadline(), Some(at(10_000)), "authentication has the same time");
    pair.connection.accept(at(100), &mut Vec::new()).unwrap();
    assert_eq!(pair.connection.deadline(), Some(at(15_100)));
    pair.now = at(5_000);
    pair.takes(Packet::PingReq);
    assert_eq!(pair.connection.deadline(), Some(at(20_000)));
    assert_eq!(pair.connection.handle_timeout(at(20_000)), Some(Expired::KeepAlive));
}

#[test]
fn a_few_bytes_of_a_packet_are_no_sign_of_life_but_many_are() {
    let mut pair = Pair::connected(ConnectionLimits::default(), connect(ProtocolVersion::V5));
    let deadline = pair.connection.deadline();
    pair.now = Instant::from_start(Duration::from_secs(5));
    pair.receive_bytes(&[0x30, 0xFF, 0xFF, 0x7F]).1.unwrap();
    assert_eq!(pair.connection.deadline(), deadline);
    pair.receive_bytes(&[0; 1_024]).1.unwrap();
    assert!(pair.connection.deadline() > deadline);
}

#[test]
fn the_servers_keep_alive_replaces_that_of_a_client_that_can_be_told() {
    for (version, server, expected) in [
        (ProtocolVersion::V5, 20, Some(30)),
        (ProtocolVersion::V5, 0, None),
        (ProtocolVersion::V3_1_1, 20, Some(15)),
    ] {
        let limits = ConnectionLimits { server_keep_alive: Some(server), ..Default::default() };
        let pair = Pair::connected(limits, connect(version));
        let expected = expected.map(|seconds| Instant::from_start(Duration::from_secs(seconds)));
        assert_eq!(pair.connection.deadline(), expected);
    }
}
