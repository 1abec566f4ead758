//! The delivery protocols: chapter 4.3 of both standards.

use crate::support::*;
use crate::{in_each_version, join, let_pass, publish_from, stay};

/// Keeps [MQTT-4.3.2-5] [MQTT3-4.3.2-2].
#[test]
fn after_puback_the_same_identifier_means_a_new_message() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 0);
        for message in [publish("t"), publish("t").dup(), publish("t")] {
            client.send(message.qos(1).id(5).payload("x"));
            client.expect_unordered([puback(5).into(), publish("t").payload("x").into()]);
        }
        client.expect_nothing();
    });
}

/// Keeps [MQTT-4.3.3-4] [MQTT3-4.3.3-1].
#[test]
fn pubrec_is_answered_with_pubrel() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 2);
        publish_from(broker, version, publish("t").qos(2));
        let message = client.receive_publish();
        assert!(!message.dup);
        client.send(pubrec(message.id));
        client.expect(pubrel(message.id));
        client.send(pubcomp(message.id));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-4.3.3-4].
#[test]
fn a_pubrec_that_refuses_ends_the_exchange() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(1));
    client.subscribe("t", 2);
    publish_from(&broker, Version::V5, publish("t").qos(2).payload("one"));
    publish_from(&broker, Version::V5, publish("t").qos(2).payload("two"));
    let first = client.receive_publish();
    client.send(pubrec(first.id).reason(0x80));
    client.expect(publish("t").qos(2).payload("two"));
}

/// Keeps [MQTT-4.3.3-10] [MQTT3-4.3.3-2].
#[test]
fn a_repeated_message_is_acknowledged_and_not_delivered_again() {
    in_each_version(|broker, version| {
        let mut watcher = join(broker, version);
        watcher.subscribe("t", 0);
        let mut client = Client::connect(broker, stay(version, "c"));
        for message in [publish("t"), publish("t").dup(), publish("t").dup()] {
            client.send(message.qos(2).id(6));
            assert!(matches!(client.receive(), Packet::Ack(ack) if (ack.first, ack.id) == (0x50, 6)));
        }
        client.cut();
        let mut client = Client::connect(broker, stay(version, "c"));
        client.send(publish("t").dup().qos(2).id(6));
        assert!(matches!(client.receive(), Packet::Ack(ack) if (ack.first, ack.id) == (0x50, 6)));
        client.send(pubrel(6));
        client.expect(pubcomp(6));
        watcher.expect(publish("t"));
        watcher.expect_nothing();
    });
}

/// Keeps [MQTT-4.3.3-11] [MQTT3-4.3.3-2].
#[test]
fn pubrel_is_answered_with_pubcomp() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 0);
        client.send(publish("t").qos(2).id(7));
        client.expect_unordered([pubrec(7).into(), publish("t").into()]);
        client.cut();
        let mut client = Client::connect(broker, stay(version, "c"));
        client.send(pubrel(7));
        client.expect(pubcomp(7));
    });
}

/// Keeps [MQTT-4.3.3-12] [MQTT3-4.3.3-2].
#[test]
fn after_pubcomp_the_same_identifier_means_a_new_message() {
    in_each_version(|broker, version| {
        let mut watcher = join(broker, version);
        watcher.subscribe("t", 0);
        let mut client = join(broker, version);
        for payload in ["one", "two", "two"] {
            client.publish(publish("t").qos(2).id(8).payload(payload));
            watcher.expect(publish("t").payload(payload));
        }
    });
}

/// Keeps [MQTT-4.3.3-9].
#[test]
fn after_a_pubrec_that_refuses_the_same_identifier_means_a_new_message() {
    let rules = r#"{
        authentication: [{name: "guest", method: "anonymous"}],
        authorization: [{topic: "yes", allow: {sub: ["guest"], pub: ["guest"]}}],
    }"#;
    let broker = Setup::new().file("auth.json", rules).start();
    let mut client = join(&broker, Version::V5);
    client.subscribe("yes", 0);
    assert_eq!(client.publish(publish("no").qos(2).id(9)), 0x87);
    client.send(publish("yes").qos(2).id(9));
    client.expect_unordered([pubrec(9).into(), publish("yes").into()]);
}

/// Keeps [MQTT-4.3.3-7].
#[test]
fn a_message_of_qos_2_that_has_been_sent_does_not_expire() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, stay(Version::V5, "c"));
    client.subscribe("t", 2);
    publish_from(&broker, Version::V5, publish("t").qos(2).property(Property::MessageExpiry(1)));
    let first = client.receive_publish();
    client.cut();
    let_pass(&broker, 2);
    let mut client = Client::connect(&broker, stay(Version::V5, "c"));
    let again = client.receive_publish();
    assert_eq!((again.id, again.dup, again.qos), (first.id, true, 2));
}

/// Keeps [MQTT-4.3.3-13].
#[test]
fn the_handshake_goes_on_after_the_message_has_expired() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, stay(Version::V5, "c"));
    client.send(publish("t").qos(2).id(3).property(Property::MessageExpiry(1)));
    assert!(matches!(client.receive(), Packet::Ack(ack) if (ack.first, ack.id) == (0x50, 3)));
    let_pass(&broker, 2);
    client.send(pubrel(3));
    client.expect(pubcomp(3));
    // The other way round.
    client.subscribe("t", 2);
    publish_from(&broker, Version::V5, publish("t").qos(2).property(Property::MessageExpiry(1)));
    let id = client.receive_publish().id;
    let_pass(&broker, 2);
    client.send(pubrec(id));
    client.expect(pubrel(id));
}
