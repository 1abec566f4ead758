//! Maximum Packet Size, the client's and the broker's, and what the client does not want to be told.

use crate::support::*;

#[test]
fn a_message_that_is_too_large_for_a_client_is_dropped_and_the_client_stays() {
    let broker = Broker::start(&[]);
    for qos in 0..=2 {
        let narrow = connect().property(Property::MaximumPacketSize(60)).receive_maximum(1);
        let mut client = Client::connect(&broker, narrow);
        // The clients of the last round may still be there for the broker.
        let topic = &format!("a/{qos}");
        client.subscribe(topic, qos);
        let mut other = Client::connect(&broker, connect());
        other.subscribe(topic, qos);
        let mut publisher = Client::connect(&broker, connect());
        for length in [1, 100, 10_000, 2] {
            publisher.publish(publish(topic).qos(qos).payload(vec![b'x'; length]));
        }
        let lengths = |client: &mut Client, count| -> Vec<usize> {
            client.receive_messages(count).iter().map(|message| message.payload.len()).collect()
        };
        assert_eq!(lengths(&mut client, 2), [1, 2]);
        client.expect_nothing();
        assert_eq!(lengths(&mut other, 4), [1, 100, 10_000, 2]);
    }
    let dropped = broker.counter("dropped_packet_too_large") + broker.counter("packets_too_large");
    assert_eq!(dropped, 6);
}

#[test]
fn the_limit_is_met_to_the_byte() {
    let broker = Broker::start(&[]);
    // Header 2, topic 3, properties 1, payload 54: 60.
    let mut client = Client::connect(&broker, connect().property(Property::MaximumPacketSize(60)));
    client.subscribe("a", 0);
    client.send(publish("a").payload([b'x'; 54]));
    client.expect(publish("a").payload([b'x'; 54]));
    client.send(publish("a").payload([b'x'; 55]));
    client.expect_nothing();
}

#[test]
fn what_is_too_large_does_not_wait_for_a_client_for_ever() {
    let broker = Broker::start(&[]);
    let narrow = || connect().client_id("narrow").persistent().property(Property::MaximumPacketSize(60));
    let mut client = Client::connect(&broker, narrow());
    client.subscribe("a", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    for length in [1, 100, 2] {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; length]));
    }
    let mut client = Client::connect(&broker, narrow());
    let lengths: Vec<usize> =
        client.receive_messages(2).iter().map(|message| message.payload.len()).collect();
    assert_eq!(lengths, [1, 2]);
    client.expect_nothing();
}

#[test]
fn a_retained_message_that_is_too_large_is_passed_over() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    for (topic, length) in [("a/1", 5), ("a/2", 500), ("a/3", 6)] {
        publisher.publish(publish(topic).qos(1).retain().payload(vec![b'x'; length]));
    }
    for qos in 0..=2 {
        let narrow = connect().property(Property::MaximumPacketSize(60)).receive_maximum(1);
        let mut client = Client::connect(&broker, narrow);
        client.subscribe("a/#", qos);
        let mut lengths: Vec<usize> =
            client.receive_messages(2).iter().map(|message| message.payload.len()).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [5, 6]);
        client.expect_nothing();
    }
}

#[test]
fn a_packet_that_is_too_large_for_the_broker_ends_the_connection() {
    let broker = Broker::start(&["--mqtt-maximum-packet-size=200"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        let announced = client.connack().has(&Property::MaximumPacketSize(200));
        assert_eq!(announced, version.is_v5());
        client.subscribe("a", 0);
        // To the byte: header 3, topic 3, properties 1 in 5.0.
        let largest = if version.is_v5() { 193 } else { 194 };
        client.send(publish("a").payload(vec![b'x'; largest]));
        client.expect(publish("a").payload(vec![b'x'; largest]));
        client.send(publish("a").payload(vec![b'x'; largest + 1]));
        client.expect_disconnect(0x95);
    }
}

#[test]
fn an_announced_length_is_refused_before_the_bytes_have_come() {
    let broker = Broker::start(&["--mqtt-maximum-packet-size=200"]);
    let mut client = Client::connect(&broker, connect());
    client.send(frame(0x30, &[]).announce(268_435_455));
    client.expect_disconnect(0x95);
}

#[test]
fn packets_of_any_kind_are_measured() {
    let broker = Broker::start(&["--mqtt-maximum-packet-size=100"]);
    for packet in
        [subscribe("x".repeat(100), 0).frame(Version::V5), unsubscribe("x".repeat(100)).frame(Version::V5)]
    {
        let mut client = Client::connect(&broker, connect());
        client.send(packet);
        client.expect_disconnect(0x95);
    }
}

#[test]
fn no_reason_is_sent_that_does_not_fit_or_is_not_wanted() {
    let broker = Setup::new()
        .file("auth.json", r#"{ authentication: [{ name: "a", method: "anonymous" }], authorization: [] }"#)
        .start();
    // PUBACK with a reason code alone takes 5 bytes, SUBACK 6, DISCONNECT 3.
    let tight = connect().property(Property::MaximumPacketSize(6));
    let unwilling = connect().property(Property::RequestProblemInformation(0));
    for packet in [tight, unwilling] {
        let mut client = Client::connect(&broker, packet);
        client.send(publish("a").qos(1).id(1));
        client.expect(puback(1).reason(0x87));
        client.send(publish("a").qos(2).id(2));
        client.expect(pubrec(2).reason(0x87));
        client.send(subscribe("a", 0));
        let Packet::SubAck(suback) = client.receive() else { panic!("no SUBACK") };
        assert_eq!((suback.reasons, suback.properties), (vec![0x87], vec![]));
    }
    let mut client = Client::connect(&broker, connect().property(Property::MaximumPacketSize(6)));
    client.send(frame(0x36, &[]));
    let Packet::Disconnect(disconnect) = client.receive() else { panic!("no DISCONNECT") };
    assert_eq!((disconnect.reason, disconnect.properties), (0x81, vec![]));
    client.expect_closed();
}

#[test]
fn properties_of_messages_pass_even_where_problem_information_is_not_wanted() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().property(Property::RequestProblemInformation(0)));
    client.subscribe("a", 0);
    let message = publish("a").property(Property::user("k", "v"));
    client.send(&message);
    client.expect(message);
}

#[test]
fn a_client_that_takes_next_to_nothing_is_not_sent_more() {
    let broker = Broker::start(&[]);
    // CONNACK takes 5 bytes: such a client cannot be served, and must not be sent a packet that is too large.
    for size in 1..=4 {
        let mut client = Client::open(&broker);
        client.send(connect().property(Property::MaximumPacketSize(size)));
        let received = client.receive_raw();
        assert!(received.len() <= usize::try_from(size).unwrap(), "{received:02x?}");
    }
}
