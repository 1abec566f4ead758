//! UNSUBSCRIBE and UNSUBACK: sections 3.10 and 3.11 of both standards.

use crate::support::*;
use crate::{in_each_version, join, publish_from};

/// Unsubscribes and insists on these results, which only 5.0 tells.
#[track_caller]
fn leave(client: &mut Client, version: Version, unsubscribe: Unsubscribe, reasons: &[u8]) {
    let id = unsubscribe.id;
    client.send(unsubscribe);
    client.expect(unsuback(id, if version.is_v5() { reasons } else { &[] }));
}

/// Keeps [MQTT-3.10.3-2] [MQTT3-3.10.3-2].
#[test]
fn an_unsubscribe_without_filters_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        let body: &[u8] = if version.is_v5() { &[0, 1, 0] } else { &[0, 1] };
        client.send(frame(0xA2, body));
        client.expect_disconnect(0x82);
    });
}

/// Keeps [MQTT-3.10.4-1] [MQTT3-3.10.4-1].
#[test]
fn only_the_very_same_filter_is_deleted() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("a/+", 0);
        for other in ["a/b", "A/+", "a/#", "+/+", "a/+/", "#"] {
            leave(&mut client, version, unsubscribe(other), &[0x11]);
        }
        client.send(publish("a/b"));
        client.expect(publish("a/b"));
        leave(&mut client, version, unsubscribe("a/+"), &[0]);
        client.send(publish("a/b"));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.10.4-2] [MQTT3-3.10.4-2].
#[test]
fn no_message_is_added_after_unsubscribe() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 1);
        leave(&mut client, version, unsubscribe("t"), &[0]);
        for qos in 0..3 {
            publish_from(broker, version, publish("t").qos(qos));
        }
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.10.4-3] [MQTT3-3.10.4-3].
#[test]
fn deliveries_that_have_begun_are_completed_after_unsubscribe() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, crate::stay(version, "c"));
        client.subscribe("t", 2);
        publish_from(broker, version, publish("t").qos(2));
        publish_from(broker, version, publish("t").qos(1));
        let (two, one) = (client.receive_publish(), client.receive_publish());
        leave(&mut client, version, unsubscribe("t"), &[0]);
        client.send(pubrec(two.id));
        client.expect(pubrel(two.id));
        client.cut();
        let mut client = Client::connect(broker, crate::stay(version, "c"));
        client.expect_unordered([pubrel(two.id).into(), one.dup().into()]);
        client.send(pubcomp(two.id));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2] [MQTT3-3.10.4-4] [MQTT3-3.10.4-5].
#[test]
fn unsubscribe_is_answered_even_if_nothing_is_deleted() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        leave(&mut client, version, unsubscribe("never").id(11), &[0x11]);
        client.subscribe("t", 0);
        leave(&mut client, version, unsubscribe("t").id(12), &[0]);
        leave(&mut client, version, unsubscribe("t").id(13), &[0x11]);
    });
}

/// Keeps [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT3-3.10.4-6].
#[test]
fn several_filters_have_one_answer_in_their_order() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe_with(subscribe("a", 0).and("b", 0).and("c", 0), &[0, 0, 0]);
        let filters = unsubscribe("c").and("x").and("a").and("a");
        leave(&mut client, version, filters, &[0, 0x11, 0, 0x11]);
        for topic in ["a", "b", "c"] {
            client.send(publish(topic));
        }
        client.expect(publish("b"));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.11.2-1].
#[test]
fn an_unsuback_fits_the_client() {
    let broker = Broker::start(&[]);
    // Identifier, no properties, one Reason Code.
    let mut client = Client::connect(&broker, connect().property(Property::MaximumPacketSize(6)));
    client.send(unsubscribe("never"));
    assert_eq!(client.receive(), unsuback(1, &[0x11]).into());
}
