//! MQTT on several QUIC streams, and in datagrams.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::*;

/// The header of a client's flow.
fn header(flow: u8, expires: u8, flags: u8) -> [u8; 4] {
    [0x12, flow, expires, flags]
}

const CLEAN: u8 = 0x01;
const ABORT_WITHOUT_STATE: u8 = 0x02;

#[test]
fn acknowledgements_come_on_the_stream_of_their_message() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 0);
    let mut streams = [connection.open_bi().client(), connection.open_bi().begin(&header(2, 0, 0)).client()];
    for (id, stream) in (1..).zip(&mut streams) {
        assert_eq!(stream.publish(publish("a").qos(1).id(10 * id)), 0);
        assert_eq!(stream.publish(publish("a").qos(2).id(10 * id + 1)), 0);
    }
    for _ in 0..4 {
        assert_eq!(control.receive_publish().topic, b"a");
    }
    control.send(publish("b").qos(1).id(7));
    control.expect_unordered([puback(7).into(), publish("b").into()]);
    let [first, second] = &mut streams;
    first.send(publish("a").qos(2).id(1));
    second.send(publish("a").qos(2).id(2));
    second.expect(pubrec(2));
    first.expect(pubrec(1));
    second.send(pubrel(2));
    first.send(pubrel(1));
    first.expect(pubcomp(1));
    second.expect(pubcomp(2));
}

#[test]
fn what_comes_on_a_stream_without_a_way_back_is_acknowledged_on_the_control_stream() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut streams =
        [connection.open_uni().client(), connection.open_uni().begin(&header(2, 9, 0)).client()];
    for (id, stream) in (1..).zip(&mut streams) {
        stream.send(publish("a").qos(1).id(id));
        control.expect(puback(id).reason(0x10));
        stream.send(publish("a").qos(2).id(id));
        control.expect(pubrec(id).reason(0x10));
        stream.send(pubrel(id));
        control.expect(pubcomp(id));
    }
}

#[test]
fn all_streams_are_one_session() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut data = connection.open_bi().client();
    data.subscribe("a", 1);
    data.send(unsubscribe("b").id(9));
    data.expect(unsuback(9, &[0x11]));
    control.send(publish("a").qos(1).id(1));
    control.expect(puback(1));
    assert_eq!(data.receive_publish().topic, b"a");
    assert_eq!(broker.counter("connections_accepted"), 1);
}

#[test]
fn a_stream_that_has_all_it_asked_for_is_finished() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut data = connection.open_bi().client();
    data.send(publish("a").qos(1).id(1));
    data.send(publish("a").qos(1).id(2));
    data.shutdown_write();
    data.expect(puback(1).reason(0x10));
    data.expect(puback(2).reason(0x10));
    data.expect_closed();
    control.expect_nothing();
}

#[test]
fn a_packet_that_does_not_get_on_holds_up_only_its_stream() {
    let broker = start_with_quic(&["--quic-stream-timeout=1"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut half = connection.open_bi().begin(&[0x32, 100, 0, 1, b'a']);
    let mut half_header = connection.open_uni().begin(&[0x12, 2]);
    let mut other = connection.open_bi().client();
    assert_eq!(other.publish(publish("a").qos(1)), 0x10);
    control.expect_nothing();
    assert_eq!(half.refusal(), 0xBA);
    assert_eq!(half_header.refusal(), 0xBA);
    assert_eq!(other.publish(publish("a").qos(1)), 0x10);
    control.expect_nothing();
}

#[test]
fn a_stream_may_be_silent_between_its_packets() {
    let broker = start_with_quic(&["--quic-stream-timeout=1"]);
    let (connection, _control) = Quic::new().connected(&broker);
    let mut data = connection.open_bi().client();
    assert_eq!(data.publish(publish("a").qos(1)), 0x10);
    broker.let_pass(3);
    assert_eq!(data.publish(publish("a").qos(1)), 0x10);
}

#[test]
fn a_stream_that_ends_within_a_packet_is_refused() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    for bytes in [&[0x32, 100, 0, 1, b'a'][..], &[0x12, 2]] {
        let mut stream = connection.open_bi().begin(bytes);
        stream.send.as_mut().unwrap().finish().unwrap();
        assert_eq!(stream.reset_code(), 0xBA);
    }
    control.expect_nothing();
}

#[test]
fn headers_that_cannot_be_are_refused_with_their_code() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    for (bytes, code) in [
        (&[0x11, 0, 0][..], 0xB5),
        (&header(3, 0, 0), 0xB6),
        (&[0x13, 1, 0, 0], 0xB6),
        (&header(2, 0, 0x80), 0xB9),
        (&[0x14, 0], 0xBE),
        (&header(2, 0, CLEAN | ABORT_WITHOUT_STATE), 0xBF),
    ] {
        assert_eq!(connection.open_bi().begin(bytes).refusal(), code, "{bytes:02x?}");
        assert_eq!(connection.open_uni().begin(bytes).refusal(), code, "{bytes:02x?}");
    }
    control.expect_nothing();
}

#[test]
fn a_flow_has_one_stream_at_a_time() {
    let broker = start_with_quic(&[]);
    let (connection, _control) = Quic::new().connected(&broker);
    let mut first = connection.open_bi().begin(&header(2, 0, 0)).client();
    assert_eq!(first.publish(publish("a").qos(1)), 0x10);
    assert_eq!(connection.open_bi().begin(&header(2, 0, 0)).refusal(), 0xB4);
    first.shutdown_write();
    first.expect_closed();
    let mut again = connection.open_bi().begin(&header(2, 0, 0)).client();
    assert_eq!(again.publish(publish("a").qos(1)), 0x10);
}

#[test]
fn a_flow_that_broke_can_be_resumed_and_one_that_ended_cannot() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    connection.open_uni().begin(&header(2, 60, 0)).client().send(publish("a").qos(1).id(1));
    control.expect(puback(1).reason(0x10));
    // Dropping the stream has finished it: nothing is remembered.
    assert_eq!(connection.open_uni().begin(&header(2, 60, ABORT_WITHOUT_STATE)).refusal(), 0xB3);

    let mut data = connection.open_bi().begin(&header(4, 60, 0));
    data.wait_until_heard();
    data.reset();
    let mut resumed = connection.open_bi().begin(&header(4, 0, ABORT_WITHOUT_STATE)).client();
    assert_eq!(resumed.publish(publish("a").qos(1)), 0x10);

    assert_eq!(connection.open_uni().begin(&header(6, 60, ABORT_WITHOUT_STATE)).refusal(), 0xB3);
    let _second = connection.open_uni().begin(&header(8, 60, ABORT_WITHOUT_STATE));
    assert_eq!(connection.close_code(), 0xB3);
}

#[test]
fn no_more_than_256_flows_are_remembered() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    for number in 1..=256_u16 {
        let [high, low] = (0x4000 | (2 * number)).to_be_bytes();
        let mut stream = connection.open_bi().begin(&[0x12, high, low, 60, 0]);
        stream.wait_until_heard();
        stream.reset();
    }
    assert_eq!(connection.open_bi().begin(&header(0, 0, 0)).refusal(), 0xBE);
    control.expect_nothing();
}

#[test]
fn streams_have_a_bound() {
    let broker = start_with_quic(&["--quic-max-streams=1"]);
    let (connection, _control) = Quic::new().connected(&broker);
    let mut only = connection.open_bi().client();
    assert_eq!(only.publish(publish("a").qos(1)), 0x10);
    assert!(connection.has_no_stream_left());
    only.shutdown_write();
    only.expect_closed();
    drop(only);
    assert_eq!(connection.open_bi().client().publish(publish("a").qos(1)), 0x10);

    let broker = start_with_quic(&["--quic-max-streams=0"]);
    let (connection, _control) = Quic::new().connected(&broker);
    assert!(connection.has_no_stream_left());
}

#[test]
fn the_streams_share_what_may_wait() {
    let broker = start_with_quic(&["--mqtt-maximum-packet-size=1000"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let packet = publish("a").qos(1).payload(vec![b'x'; 900]);
    let packets = (1..=20).map(|id| packet.clone().id(id).frame(Version::V5).bytes());
    let halves: Vec<_> =
        packets.map(|bytes| (connection.open_bi().begin(&bytes[..500]), bytes[500..].to_vec())).collect();
    control.expect_nothing();
    let mut streams: Vec<_> = halves.into_iter().map(|(stream, rest)| stream.begin(&rest).client()).collect();
    for (id, stream) in (1..).zip(&mut streams) {
        stream.expect(puback(id).reason(0x10));
    }
    let mut large = connection.open_bi().client();
    large.send(publish("a").payload(vec![b'x'; 1_000]));
    control.expect(disconnect().reason(0x95));
    control.expect_closed();
}

#[test]
fn half_packets_on_streams_and_on_other_connections_have_one_bound() {
    let broker = start_with_quic(&["--max-unfinished-bytes-total=100000"]);
    let half = &publish("a").payload(vec![b'x'; 50_000]).frame(Version::V5).bytes()[..40_000];
    let mut other = Client::connect(&broker, connect());
    let received = broker.counter("bytes_received");
    other.send_raw(half);
    while broker.counter("bytes_received") < received + 40_000 {}
    let (connection, mut control) = Quic::new().connected(&broker);
    let _halves = [connection.open_bi().begin(half), connection.open_uni().begin(half)];
    control.expect_disconnect(0x97);
    control.expect_closed();
    assert_eq!(broker.counter("refused_unfinished"), 1);
    // What they held is free again.
    let (connection, mut control) = Quic::new().connected(&broker);
    let _half = connection.open_bi().begin(half);
    control.expect_nothing();
}

#[test]
fn large_messages_on_several_streams_come_through_whole() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 0);
    let payloads: Vec<String> =
        (0..4).map(|shift| ('a'..='w').cycle().skip(shift).take(300_000).collect()).collect();
    let mut streams: Vec<_> = payloads.iter().map(|_| connection.open_bi().client()).collect();
    for (id, (stream, payload)) in (1..).zip(streams.iter_mut().zip(&payloads)) {
        stream.send(publish("a").qos(1).id(id).payload(payload));
    }
    control.expect_unordered(payloads.iter().map(|payload| publish("a").payload(payload).into()));
    for (id, stream) in (1..).zip(&mut streams) {
        stream.expect(puback(id));
    }
}

#[test]
fn what_is_no_mqtt_ends_the_connection() {
    let broker = start_with_quic(&[]);
    for (bytes, reason) in
        [(&[0x00, 0x00][..], 0x81), (&[0x10, 0x00], 0x82), (&[0x36, 4, 0, 1, b'a', 0], 0x81)]
    {
        let (connection, mut control) = Quic::new().connected(&broker);
        let _data = connection.open_bi().begin(bytes);
        control.expect(disconnect().reason(reason));
        control.expect_closed();
    }
}

#[test]
fn data_waits_until_its_client_is_accepted() {
    let broker = start_with_quic(&[]);
    let connection = Quic::new().open(broker.addresses()[1]).unwrap();
    let mut control = connection.client();
    control.send_raw(&[0x10]);
    let mut data = connection.open_bi().client();
    data.send(publish("a").qos(1).id(1));
    control.send_raw(&connect().frame(Version::V5).bytes()[1..]);
    control.expect_accepted();
    data.expect(puback(1).reason(0x10));
}

#[test]
fn little_can_wait_until_its_client_is_accepted() {
    const MUCH: usize = 250 << 10;
    let broker = start_with_quic(&[]);
    let connection = Quic::new().open(broker.addresses()[1]).unwrap();
    assert_eq!(connection.open_bi().room_for(MUCH), 64 << 10);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.expect_nothing();
    assert_eq!(connection.open_bi().room_for(MUCH), MUCH);
}

#[test]
fn large_packets_may_come_before_their_client_is_accepted() {
    let broker = start_with_quic(&[]);
    let mut control = Quic::new().connect(broker.addresses()[1]);
    let large = "x".repeat(60_000);
    let connect =
        (0..10).fold(connect(), |connect, _| connect.property(Property::User("name".into(), large.clone())));
    control.attach(connect);
}

#[test]
fn a_stream_that_breaks_within_a_packet_leaves_nothing() {
    let broker = start_with_quic(&["--mqtt-maximum-packet-size=1000"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let packet = publish("a").qos(1).id(2).payload(vec![b'x'; 900]).frame(Version::V5).bytes();
    let question = publish("a").qos(2).id(1).frame(Version::V5).bytes();
    // It would still be told that its message has been released.
    let mut first = connection.open_bi().begin(&question).begin(&packet[..900]);
    first.wait_until_heard();
    first.reset();
    let mut other = connection.open_bi().begin(&packet[..500]);
    other.wait_until_heard();
    other.begin(&packet[500..]).client().expect(puback(2).reason(0x10));
    control.expect_nothing();
}

#[test]
fn streams_that_are_opened_and_not_used_harm_nobody() {
    let broker = start_with_quic(&["--quic-max-streams=200", "--quic-stream-timeout=1"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let empty: Vec<_> = (0..100).map(|_| connection.open_bi()).collect();
    let mut one_byte: Vec<_> = (0..100).map(|_| connection.open_uni().begin(&[0x30])).collect();
    let mut data = connection.open_bi().client();
    assert_eq!(data.publish(publish("a").qos(1)), 0x10);
    for stream in &mut one_byte {
        assert_eq!(stream.refusal(), 0xBA);
    }
    drop(empty);
    assert_eq!(data.publish(publish("a").qos(1)), 0x10);
    control.expect_nothing();
}

#[test]
fn the_control_stream_may_have_a_header() {
    let broker = start_with_quic(&[]);
    let open = || Quic::new().open(broker.addresses()[1]).unwrap();
    let connection = open();
    let mut control = connection.open_bi().begin(&[0x11, 0, 0]).client();
    control.attach(connect());
    control.expect_nothing();
    for bytes in [&[0x12, 2, 0, 0][..], &[0x14], &[0x11, 0, 0x80]] {
        let connection = open();
        let _control = connection.open_bi().begin(bytes);
        assert_eq!(connection.close_code(), 0xB4, "{bytes:02x?}");
    }
}

#[test]
fn a_datagram_carries_one_message_of_qos_0() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 1);
    let datagram = |packet: Publish| packet.frame(Version::V5).bytes();
    let two = [datagram(publish("two")), datagram(publish("two"))].concat();
    for wrong in
        [vec![], vec![0; 9], two, datagram(publish("a").qos(1).id(1)), vec![0xC0, 0], vec![0x30, 9, 0]]
    {
        connection.send_datagram(&wrong);
    }
    // Datagrams may be lost, but not on the way to this machine.
    connection.send_datagram(&datagram(publish("a").payload("x")));
    control.expect(publish("a").payload("x"));
    control.expect_nothing();
}

#[test]
fn a_datagram_waits_until_its_client_is_accepted() {
    let broker = start_with_quic(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("a", 0);
    let datagram = publish("a").payload("early").frame(Version::V5).bytes();
    let connection = Quic::new().open(broker.addresses()[1]).unwrap();
    connection.send_datagram(&datagram);
    // This client has no identifier and wants a session: it is refused.
    let mut refused = connection.client();
    refused.send_raw(b"\x10\x0C\x00\x04MQTT\x04\x00\x00\x00\x00\x00");
    refused.receive_raw();
    refused.expect_closed();
    watcher.expect_nothing();
    let connection = Quic::new().open(broker.addresses()[1]).unwrap();
    connection.send_datagram(&datagram);
    connection.client().attach(connect());
    watcher.expect(publish("a").payload("early"));
    watcher.expect_nothing();
}

#[test]
fn all_answers_come_before_the_end() {
    let broker = start_with_quic(&[]);
    for _ in 0..10 {
        let (connection, mut control) = Quic::new().connected(&broker);
        let mut data = connection.open_bi().client();
        for id in 1..=100 {
            data.send(publish("a").qos(1).id(id));
        }
        data.expect(puback(1).reason(0x10));
        control.send(disconnect().reason(4));
        control.expect_closed();
        let mut id = 1;
        while let Some(packet) = data.try_receive() {
            id += 1;
            assert!(packet.is(&puback(id).reason(0x10).into()), "{packet:?}");
        }
    }
}

#[test]
fn answers_that_are_not_read_hold_up_only_their_stream() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::narrow(1_000).connected(&broker);
    let mut unread = connection.open_bi().client();
    let packets: Vec<u8> =
        (1..=30_000).flat_map(|id| publish("a").qos(1).id(id).frame(Version::V5).bytes()).collect();
    unread.send_raw(&packets);
    control.expect_nothing();
    let mut other = connection.open_bi().client();
    assert_eq!(other.publish(publish("a").qos(1).id(40_000)), 0x10);
    assert_eq!(control.publish(publish("a").qos(1).id(40_001)), 0x10);
    for id in 1..=30_000 {
        unread.expect(puback(id).reason(0x10));
    }
}

#[test]
fn other_streams_are_served_while_one_sends_much() {
    let broker = start_with_quic(&[]);
    let (connection, mut control) = Quic::new().connected(&broker);
    let mut busy = connection.open_uni().client();
    let mut calm = connection.open_bi().client();
    let payload = vec![b'x'; 10_000];
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    for id in 1..=20 {
        for _ in 0..20 {
            busy.send(publish("busy").payload(&payload));
        }
        let asked = Instant::now();
        assert_eq!(calm.publish(publish("calm").qos(1).id(id)), 0x10);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(start.elapsed() < PATIENCE, "slowest: {slowest:?}");
    control.expect_nothing();
}

/// A stream that the broker has opened for a topic, behind its header.
fn topic_stream(connection: &QuicConnection, number: u8) -> Client {
    let mut stream = connection.accept_bi();
    let mut header = [0; 12];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header, [0x13, 0xC0, 0, 0, 0, 0, 0, 0, number, 0x41, 0x2C, 0], "300 seconds");
    stream.client()
}

#[test]
fn each_topic_may_have_a_stream() {
    let broker = start_with_quic(&["--quic-delivery=per-topic"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 2);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("1"));
    let mut a = topic_stream(&connection, 1);
    a.expect(publish("a").qos(1).payload("1"));
    a.send(puback(1));
    publisher.publish(publish("b").qos(2).payload("2"));
    let mut b = topic_stream(&connection, 3);
    let id = b.receive_publish().id;
    b.send(pubrec(id));
    b.expect(pubrel(id));
    b.send(pubcomp(id));
    publisher.publish(publish("a").payload("3"));
    a.expect(publish("a").payload("3"));
    let large = "large".repeat(100_000);
    publisher.publish(publish("b").payload(&large));
    b.expect(publish("b").payload(&large));
    control.expect_nothing();
}

#[test]
fn streams_for_topics_have_a_bound() {
    let broker = start_with_quic(&["--quic-delivery=per-topic"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 0);
    let mut publisher = Client::connect(&broker, connect());
    let mut streams: Vec<Client> = Vec::new();
    for number in 0..100_u8 {
        publisher.publish(publish(number.to_string()));
        streams.push(topic_stream(&connection, 2 * number + 1));
        streams.last_mut().unwrap().receive_publish();
    }
    // The stream of the topic that was used longest ago ends, and when it has there is a place again.
    publisher.publish(publish("more"));
    control.expect(publish("more"));
    streams[0].expect_closed();
    streams[0].shutdown_write();
    control.expect_nothing();
    publisher.publish(publish("99"));
    streams[99].expect(publish("99"));
}

#[test]
fn each_message_may_have_a_stream() {
    let broker = start_with_quic(&["--quic-delivery=per-publish"]);
    let (connection, mut control) = Quic::new().connected(&broker);
    control.subscribe("#", 2);
    let mut publisher = Client::connect(&broker, connect());
    for payload in ["1", "2"] {
        publisher.publish(publish("a").payload(payload));
        let mut stream = connection.accept_uni().client();
        stream.expect(publish("a").payload(payload));
        stream.expect_closed();
    }
    for _ in 0..2 {
        publisher.publish(publish("a").qos(1));
        let mut stream = connection.accept_bi().client();
        let id = stream.receive_publish().id;
        stream.send(puback(id));
        stream.expect_closed();
        publisher.publish(publish("a").qos(2));
        let mut stream = connection.accept_bi().client();
        let id = stream.receive_publish().id;
        stream.send(pubrec(id));
        stream.expect(pubrel(id));
        stream.send(pubcomp(id));
        stream.expect_closed();
    }
    control.expect_nothing();
}

#[test]
fn messages_come_on_the_control_stream_where_the_broker_may_open_no_others() {
    for how in ["--quic-delivery=per-topic", "--quic-delivery=per-publish"] {
        let broker = start_with_quic(&[how]);
        let mut control = Quic::without_streams().connect(broker.addresses()[1]);
        control.attach(connect());
        control.subscribe("#", 2);
        let mut publisher = Client::connect(&broker, connect());
        for qos in 0..=2 {
            publisher.publish(publish("a").qos(qos));
        }
        assert_eq!(control.receive_messages(3).len(), 3);
    }
}

#[test]
fn aliases_and_streams_that_overtake_each_other_exclude_each_other() {
    let finished = run(&["--quic-delivery=per-topic", "--mqtt-auto-map-topic-alias"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("--quic-delivery"), "{}", finished.stderr);
}
