//! SUBSCRIBE and SUBACK: sections 3.8 and 3.9 of both standards.

use crate::support::*;
use crate::{expect_end, in_each_version, in_numbered_versions, join, publish_from};

/// Keeps [MQTT-3.8.4-1] [MQTT3-3.8.4-1].
#[test]
fn subscribe_is_answered() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        for qos in 0..3 {
            client.send(subscribe("t", qos));
            client.expect(suback(1, &[qos]));
        }
    });
}

/// Keeps [MQTT-3.8.3-2] [MQTT3-3.8.3-3].
#[test]
fn a_subscribe_without_filters_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        let body: &[u8] = if version.is_v5() { &[0, 1, 0] } else { &[0, 1] };
        client.send(frame(0x82, body));
        client.expect_disconnect(0x82);
    });
}

/// Keeps [MQTT-3.8.3-3].
#[test]
fn no_local_keeps_a_client_s_own_messages_from_it() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("t", 1).no_local(), &[1]);
    client.publish(publish("t").qos(1).payload("mine"));
    client.expect_nothing();
    publish_from(&broker, Version::V5, publish("t").qos(1).payload("another's"));
    client.expect(publish("t").qos(1).payload("another's"));
}

/// Keeps [MQTT-3.8.3-4].
#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.send(subscribe("$share/g/t", 0).no_local());
    client.expect_disconnect(0x82);
}

/// Keeps [MQTT-3.8.3-5].
#[test]
fn reserved_bits_in_the_options_end_the_connection() {
    let broker = Broker::start(&[]);
    for bits in [0x40, 0x80, 0xC0] {
        let mut client = join(&broker, Version::V5);
        client.send(subscribe("t", 0).option(bits));
        client.expect_disconnect(0x81);
    }
    // These have values that are reserved: QoS 3 and Retain Handling 3.
    for bits in [0x03, 0x30] {
        let mut client = join(&broker, Version::V5);
        client.send(subscribe("t", 0).option(bits));
        expect_end(&mut client, &[0x81, 0x82]);
    }
}

/// Keeps [MQTT3-3.8.3-4].
#[test]
fn reserved_bits_beside_the_qos_end_the_connection_in_3_1_1() {
    let broker = Broker::start(&[]);
    for qos in [3, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
        let mut client = join(&broker, Version::V311);
        client.send(subscribe("t", qos));
        client.expect_closed();
    }
}

/// Keeps [MQTT3-3.8.3-2] [MQTT3-3.9.3-2].
#[test]
fn filters_with_wildcards_fail_where_wildcards_are_not_supported() {
    let broker = Broker::start(&["--mqtt-wc-support=false"]);
    let mut client = join(&broker, Version::V311);
    client.subscribe_with(subscribe("a/+", 0).and("a", 1).and("#", 2), &[0x80, 1, 0x80]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("a/+", 0).and("a", 1).and("#", 2), &[0xA2, 1, 0xA2]);
}

/// Keeps [MQTT-3.8.4-3] [MQTT3-3.8.4-3].
#[test]
fn subscribing_again_replaces_the_subscription() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 0);
        client.subscribe("t", 2);
        publish_from(broker, version, publish("t").qos(1));
        assert_eq!(client.receive_messages(1)[0].qos, 1);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.8.4-4] [MQTT3-3.8.4-3].
#[test]
fn no_message_is_lost_while_a_subscription_is_replaced() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 1);
        let packets = (1..=40).flat_map(|id| {
            let message = publish("t").qos(1).id(id).payload(id.to_string());
            [message.frame(version), subscribe("t", 1).id(100 + id).frame(version)]
        });
        client.send_all(packets);
        let mut next = 1;
        for _ in 0..120 {
            if let Packet::Publish(message) = client.receive() {
                assert_eq!(message.text(), next.to_string());
                client.send(puback(message.id));
                next += 1;
            }
        }
        assert_eq!(next, 41);
    });
}

/// Keeps [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT3-3.8.4-4] [MQTT3-3.8.4-5].
#[test]
fn several_filters_have_one_answer_with_a_code_for_each() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe_with(subscribe("a", 2).and("b", 0).and("c", 1).and("b", 1), &[2, 0, 1, 1]);
        for topic in ["a", "b", "c"] {
            client.send(publish(topic));
            client.expect(publish(topic));
        }
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT3-3.8.4-5] [MQTT3-3.9.3-1].
#[test]
fn the_codes_are_in_the_order_of_the_filters() {
    let rules = r##"{
        authentication: [{name: "guest", method: "anonymous"}],
        authorization: [{topic: "#", allow: {sub: ["guest"]}}, {topic: "no/#", deny: {sub: ["guest"]}}],
    }"##;
    let broker = Setup::new().file("auth.json", rules).start();
    for (version, failure) in [(Version::V311, 0x80), (Version::V5, 0x87)] {
        let mut client = join(&broker, version);
        let filters = subscribe("a", 2).and("no/1", 0).and("b", 0).and("no/2", 2).and("c", 1);
        client.subscribe_with(filters, &[2, failure, 0, failure, 1]);
    }
}

/// Keeps [MQTT-3.8.4-8] [MQTT3-3.8.4-6].
#[test]
fn messages_come_at_the_lesser_of_published_and_granted_qos() {
    in_each_version(|broker, version| {
        for granted in 0..3 {
            let mut client = join(broker, version);
            client.subscribe("t", granted);
            for published in 0..3 {
                publish_from(broker, version, publish("t").qos(published));
                assert_eq!(client.receive_messages(1)[0].qos, granted.min(published));
            }
            client.disconnect();
        }
    });
}

/// Keeps [MQTT-3.9.2-1].
#[test]
fn a_suback_fits_the_client() {
    let broker = Broker::start(&[]);
    // Identifier, no properties, one Reason Code.
    let mut client = Client::connect(&broker, connect().property(Property::MaximumPacketSize(6)));
    client.send(subscribe("a/#/b", 0));
    assert_eq!(client.receive(), suback(1, &[0x8F]).into());
}

/// Keeps [MQTT-3.9.3-2].
#[test]
fn suback_has_its_own_reason_codes() {
    let broker = Broker::start(&["--mqtt-shared-sub-support=false", "--mqtt-wc-support=false"]);
    let mut client = join(&broker, Version::V5);
    let filters = subscribe("a", 2).and("$share/g/a", 0).and("a/+", 0).and("a+", 0);
    client.subscribe_with(filters, &[2, 0x9E, 0xA2, 0x8F]);
    let broker = Broker::start(&["--mqtt-sub-id-support=false"]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("a", 0).identifier(1), &[0xA1]);
}

/// Keeps [MQTT-3.8.4-7] [MQTT3-3.9.3-2].
#[test]
fn a_filter_that_cannot_be_is_refused() {
    in_numbered_versions(|broker, version| {
        let mut client = join(broker, version);
        client.send(subscribe("a/#/b", 0));
        if version.is_v5() {
            client.expect(suback(1, &[0x8F]));
        } else if let Some(answer) = client.try_receive() {
            // It may close the connection instead.
            assert!(answer.is(&suback(1, &[0x80]).into()), "{answer:?}");
        }
    });
}
