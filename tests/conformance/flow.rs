//! Flow control and order: chapters 4.6 and 4.9 of MQTT 5.0, 4.6 of MQTT 3.1.1.

use crate::support::*;
use crate::{in_each_version, join, publish_from, stay};

/// Keeps [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2].
#[test]
fn the_server_keeps_within_the_receive_maximum_of_the_client() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(2));
    client.subscribe("t", 2);
    for payload in ["1", "2", "3", "4"] {
        publish_from(&broker, Version::V5, publish("t").qos(2).payload(payload));
    }
    let (one, two) = (client.receive_publish(), client.receive_publish());
    client.expect_nothing();
    client.send(pubrec(one.id));
    client.expect(pubrel(one.id));
    // PUBREC frees no place, PUBCOMP does.
    client.expect_nothing();
    client.send(pubcomp(one.id));
    client.expect(publish("t").qos(2).payload("3"));
    client.expect_nothing();
    client.send(pubrec(two.id).reason(0x80));
    client.expect(publish("t").qos(2).payload("4"));
    client.expect_nothing();
}

/// Keeps [MQTT-3.3.4-10] [MQTT-4.9.0-3].
#[test]
fn a_full_window_delays_nothing_but_messages_of_qos_1_and_2() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(1));
    client.subscribe("t", 1);
    publish_from(&broker, Version::V5, publish("t").qos(1));
    publish_from(&broker, Version::V5, publish("t").qos(1).payload("waits"));
    client.expect(publish("t").qos(1));
    client.expect_nothing();
    client.subscribe("u", 1);
    client.send(publish("nobody").qos(1).id(3));
    client.expect(puback(3).reason(0x10));
    client.send(publish("nobody").qos(2).id(4));
    client.expect(pubrec(4).reason(0x10));
    client.send(pubrel(4));
    client.expect(pubcomp(4));
    client.send(unsubscribe("u"));
    client.expect(unsuback(1, &[0]));
}

/// Keeps [MQTT-3.3.4-7].
#[test]
fn a_client_above_the_receive_maximum_of_the_server_is_disconnected() {
    let broker = Broker::start(&["--mqtt-receive-maximum=2"]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().has(&Property::ReceiveMaximum(2)));
    client.send_all((1..=3).map(|id| publish("t").qos(2).id(id)));
    client.expect(pubrec(1).reason(0x10));
    client.expect(pubrec(2).reason(0x10));
    client.expect_disconnect(0x93);
}

/// Keeps [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT3-4.6.0-5] [MQTT3-4.6.0-6].
#[test]
fn messages_keep_the_order_of_their_publisher() {
    in_each_version(|broker, version| {
        for qos in 0..3 {
            let mut client = join(broker, version);
            client.subscribe("t", 2);
            let mut publisher = join(broker, version);
            let message = |id: u16| publish("t").qos(qos).id(id).payload(id.to_string());
            publisher.send_all((1..=100).map(message));
            let received = client.receive_messages(100);
            let payloads: Vec<&str> = received.iter().map(Publish::text).collect();
            let expected: Vec<String> = (1..=100).map(|id| id.to_string()).collect();
            assert_eq!(payloads, expected);
        }
    });
}

/// Keeps [MQTT-4.6.0-5] [MQTT3-4.6.0-6].
#[test]
fn messages_keep_their_order_when_they_wait_and_when_they_are_sent_again() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 1);
        let mut publisher = join(broker, version);
        for payload in 1..=4 {
            publisher.publish(publish("t").qos(1).payload(payload.to_string()));
        }
        for payload in 1..=4 {
            client.expect(publish("t").qos(1).payload(payload.to_string()));
        }
        client.cut();
        for payload in 5..=8 {
            publisher.publish(publish("t").qos(1).payload(payload.to_string()));
        }
        let mut client = Client::connect(broker, stay(version, "c"));
        for payload in 1..=8 {
            let message = client.receive_publish();
            assert_eq!((message.text(), message.dup), (payload.to_string().as_str(), payload <= 4));
        }
    });
}
