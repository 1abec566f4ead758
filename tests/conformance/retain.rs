//! Retained messages: section 3.3.1.3 of both standards.

use crate::support::*;
use crate::{in_each_version, join};

/// Subscribes anew and insists on exactly these messages, all of topic "t".
#[track_caller]
fn expect_retained(broker: &Broker, version: Version, payloads: &[&str]) {
    let mut client = join(broker, version);
    client.subscribe("t", 2);
    for payload in payloads {
        let message = client.receive_publish();
        assert!(message.retain && message.text() == *payload, "{message:?}");
    }
    client.expect_nothing();
}

/// Keeps [MQTT-3.3.1-5] [MQTT3-3.3.1-5] [MQTT3-3.3.1-6] [MQTT3-3.3.1-8].
#[test]
fn a_retained_message_replaces_the_one_before() {
    in_each_version(|broker, version| {
        let mut publisher = join(broker, version);
        for qos in [0, 1, 2, 1, 0] {
            let payload = format!("of {qos}");
            publisher.publish(publish("t").qos(qos).retain().payload(&payload));
            let mut client = join(broker, version);
            client.subscribe("t", 2);
            client.expect(publish("t").qos(qos).retain().payload(&payload));
        }
    });
}

/// Keeps [MQTT3-3.3.1-7].
#[test]
fn a_retained_message_of_qos_0_discards_the_one_before() {
    in_each_version(|broker, version| {
        let mut publisher = join(broker, version);
        publisher.publish(publish("t").qos(2).retain().payload("old"));
        publisher.publish(publish("t").retain().payload("new"));
        expect_retained(broker, version, &["new"]);
    });
}

/// Keeps [MQTT-3.3.1-6] [MQTT3-3.3.1-10].
#[test]
fn an_empty_payload_is_delivered_and_removes_the_retained_message() {
    in_each_version(|broker, version| {
        let mut publisher = join(broker, version);
        publisher.publish(publish("t").retain().payload("x"));
        let mut subscriber = join(broker, version);
        subscriber.subscribe("t", 0);
        subscriber.expect(publish("t").retain().payload("x"));
        publisher.publish(publish("t").qos(1).retain());
        subscriber.expect(publish("t"));
        expect_retained(broker, version, &[]);
    });
}

/// Keeps [MQTT-3.3.1-7] [MQTT3-3.3.1-11].
#[test]
fn an_empty_payload_is_not_retained() {
    in_each_version(|broker, version| {
        join(broker, version).publish(publish("t").qos(1).retain());
        expect_retained(broker, version, &[]);
    });
}

/// Keeps [MQTT-3.3.1-8] [MQTT3-3.3.1-12].
#[test]
fn a_message_without_retain_leaves_the_retained_message_alone() {
    in_each_version(|broker, version| {
        let mut publisher = join(broker, version);
        publisher.publish(publish("t").payload("not this"));
        expect_retained(broker, version, &[]);
        publisher.publish(publish("t").retain().payload("this"));
        publisher.publish(publish("t").payload("nor that"));
        publisher.publish(publish("t").qos(1));
        expect_retained(broker, version, &["this"]);
    });
}

/// Keeps [MQTT3-3.1.2-7].
#[test]
fn a_retained_message_outlives_the_session_of_its_publisher() {
    in_each_version(|broker, version| {
        let mut publisher = join(broker, version);
        publisher.publish(publish("t").retain().payload("x"));
        publisher.disconnect();
        expect_retained(broker, version, &["x"]);
    });
}

/// Keeps [MQTT-3.3.1-9] [MQTT-3.8.4-4] [MQTT3-3.8.4-3].
#[test]
fn each_subscribe_brings_the_retained_messages() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        for topic in ["a/1", "a/2", "b/1"] {
            client.publish(publish(topic).retain().payload(topic));
        }
        for _ in 0..2 {
            client.subscribe("a/+", 0);
            let message = |topic| publish(topic).retain().payload(topic).into();
            client.expect_unordered([message("a/1"), message("a/2")]);
            client.expect_nothing();
        }
    });
}

/// Keeps [MQTT-3.3.1-10].
#[test]
fn retain_handling_1_brings_them_only_with_a_new_subscription() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.publish(publish("t").retain().payload("x"));
    client.subscribe_with(subscribe("t", 0).retain_handling(1), &[0]);
    client.expect(publish("t").retain().payload("x"));
    client.subscribe_with(subscribe("t", 1).retain_handling(1), &[1]);
    client.expect_nothing();
    client.send(unsubscribe("t"));
    client.expect(unsuback(1, &[0]));
    client.subscribe_with(subscribe("t", 0).retain_handling(1), &[0]);
    client.expect(publish("t").retain().payload("x"));
}

/// Keeps [MQTT-3.3.1-11].
#[test]
fn retain_handling_2_brings_none() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.publish(publish("t").retain().payload("x"));
    client.subscribe_with(subscribe("t", 0).retain_handling(2), &[0]);
    client.expect_nothing();
}

/// Keeps [MQTT-3.3.1-12] [MQTT3-3.3.1-9].
#[test]
fn an_established_subscription_gets_messages_without_retain() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 0);
        client.send(publish("t").retain().payload("x"));
        client.expect(publish("t").payload("x"));
    });
}

/// Keeps [MQTT-3.3.1-13].
#[test]
fn retain_as_published_keeps_the_flag() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("t", 0).retain_as_published(), &[0]);
    for message in [publish("t").retain().payload("x"), publish("t").payload("y"), publish("t").retain()] {
        client.send(message.clone());
        client.expect(message);
    }
}
