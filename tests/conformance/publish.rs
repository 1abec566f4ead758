//! PUBLISH: its fields and what a server does with it, section 3.3 of both standards.

use crate::support::*;
use crate::{expect_end, in_each_version, join, publish_from, stay};

/// Keeps [MQTT-3.3.1-1] [MQTT3-3.3.1-1].
#[test]
fn a_message_that_is_sent_again_has_dup() {
    in_each_version(|broker, version| {
        for qos in [1, 2] {
            let mut client = Client::connect(broker, stay(version, "c"));
            client.subscribe("t", qos);
            publish_from(broker, version, publish("t").qos(qos));
            let first = client.receive_publish();
            assert!(!first.dup);
            client.cut();
            let mut client = Client::connect(broker, stay(version, "c"));
            client.expect(publish("t").qos(qos).id(first.id).dup());
            Client::connect(broker, connect().version(version).client_id("c")).disconnect();
        }
    });
}

/// Keeps [MQTT-3.3.1-2] [MQTT-4.3.1-1] [MQTT3-3.3.1-2] [MQTT3-4.3.1-1].
#[test]
fn dup_is_not_set_in_qos_0() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 0);
        // The same rule binds the client; whether such a message is refused or not, none comes with DUP.
        publish_from(broker, version, publish("t").qos(1).dup().id(1));
        client.expect(publish("t"));
    });
}

/// Keeps [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT3-3.3.1-3].
#[test]
fn the_dup_of_the_publisher_is_not_forwarded() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 2);
        for qos in [1, 2] {
            publish_from(broker, version, publish("t").qos(qos).dup());
            let message = client.receive_publish();
            assert!(message.qos == qos && !message.dup, "{message:?}");
        }
    });
}

/// Keeps [MQTT-3.3.1-4] [MQTT3-3.3.1-4].
#[test]
fn a_message_of_qos_3_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(publish("t").qos(3).id(1));
        client.expect_disconnect(0x81);
    });
}

/// Keeps [MQTT-3.3.2-1] [MQTT3-3.3.2-1].
#[test]
fn a_message_whose_topic_is_cut_short_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(frame(0x30, b"\x00\x05abc"));
        client.expect_disconnect(0x81);
    });
}

/// Keeps [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT3-3.3.2-2] [MQTT3-4.7.1-1].
#[test]
fn a_topic_name_with_wildcards_ends_the_connection() {
    in_each_version(|broker, version| {
        for topic in ["+", "#", "a/+", "a/#", "a/b+", "a#/b"] {
            let mut client = join(broker, version);
            client.send(publish(topic));
            expect_end(&mut client, &[0x81, 0x82, 0x90]);
        }
    });
}

/// Keeps [MQTT-3.3.2-3] [MQTT3-3.3.2-3].
#[test]
fn a_subscriber_gets_only_topics_that_match_its_filter() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("a/+/c", 0);
        for topic in ["a/c", "a/b", "a/b/c", "a/b/c/d", "a//c", "A/b/c", "/a/b/c"] {
            client.send(publish(topic));
        }
        client.expect(publish("a/b/c"));
        client.expect(publish("a//c"));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11] [MQTT3-3.3.4-1].
#[test]
fn each_qos_has_its_own_answer() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 0);
        client.send(publish("t"));
        client.expect(publish("t"));
        client.expect_nothing();
        client.send(publish("t").qos(1).id(7));
        client.expect_unordered([puback(7).into(), publish("t").into()]);
        client.expect_nothing();
        client.send(publish("t").qos(2).id(8));
        client.expect_unordered([pubrec(8).into(), publish("t").into()]);
        client.expect_nothing();
        client.send(pubrel(8));
        client.expect(pubcomp(8));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.3.4-2] [MQTT3-3.3.5-1].
#[test]
fn overlapping_subscriptions_get_the_highest_qos_among_them() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe_with(subscribe("t/+", 1).and("t/#", 2).and("t/x", 0), &[1, 2, 0]);
        publish_from(broker, version, publish("t/x").qos(2));
        assert_eq!(client.receive_messages(1)[0].qos, 2);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.3.4-3] [MQTT-3.3.4-4].
#[test]
fn a_single_copy_has_the_identifiers_of_all_matching_subscriptions() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("t/+", 2).identifier(1), &[2]);
    client.subscribe_with(subscribe("t/#", 2).identifier(268_435_455), &[2]);
    client.subscribe_with(subscribe("t/x", 2), &[2]);
    client.subscribe_with(subscribe("t/y", 2).identifier(3), &[2]);
    for qos in 0..3 {
        publish_from(&broker, Version::V5, publish("t/x").qos(qos));
        let mut identifiers = client.receive_messages(1)[0].all(0x0B);
        identifiers.sort_unstable();
        assert_eq!(identifiers, [1, 268_435_455].map(Property::SubscriptionIdentifier));
        client.expect_nothing();
    }
}

/// Keeps [MQTT-3.3.4-3] [MQTT-3.3.4-5].
#[test]
fn each_of_several_copies_has_the_identifier_of_its_subscription() {
    let broker = Broker::start(&["--overlapping-subscriptions=each"]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("t/+", 0).identifier(1), &[0]);
    client.subscribe_with(subscribe("t/#", 0).identifier(2), &[0]);
    client.subscribe_with(subscribe("t/x", 0), &[0]);
    client.send(publish("t/x"));
    let copy = |identifier| publish("t/x").property(Property::SubscriptionIdentifier(identifier));
    client.expect_unordered([copy(1).into(), copy(2).into(), publish("t/x").into()]);
    client.expect_nothing();
}

/// Keeps [MQTT-3.3.4-6].
#[test]
fn a_client_that_sends_a_subscription_identifier_is_disconnected() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.send(publish("t").property(Property::SubscriptionIdentifier(1)));
    client.expect_disconnect(0x82);
}

/// Keeps [MQTT3-3.3.5-2].
#[test]
fn a_message_that_is_not_authorized_is_acknowledged_or_ends_the_connection() {
    let rules = r##"{
        authentication: [{name: "guest", method: "anonymous"}],
        authorization: [{topic: "#", allow: {sub: ["guest"]}}],
    }"##;
    let broker = Setup::new().file("auth.json", rules).start();
    let mut watcher = join(&broker, Version::V311);
    watcher.subscribe("#", 2);
    for qos in [1, 2] {
        let mut client = join(&broker, Version::V311);
        client.send(publish("t").qos(qos).id(1));
        match client.try_receive() {
            None => {}
            Some(answer) if qos == 1 => assert!(answer.is(&puback(1).into()), "{answer:?}"),
            Some(answer) => assert!(answer.is(&pubrec(1).into()), "{answer:?}"),
        }
    }
    watcher.expect_nothing();
}
