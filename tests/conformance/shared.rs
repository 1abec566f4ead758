//! Shared Subscriptions: chapter 4.8.2 of MQTT 5.0.

use crate::support::*;
use crate::{join, publish_from, stay};

/// Keeps [MQTT-4.8.2-1] [MQTT-4.8.2-2].
#[test]
fn a_shared_subscription_needs_a_name_and_a_filter() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    for filter in ["$share/", "$share/g", "$share/g/", "$share//t", "$share/g+/t", "$share/#/t", "$share/+/t"]
    {
        client.subscribe_with(subscribe(filter, 0), &[0x8F]);
    }
    client.subscribe("$share/g/t", 0);
    client.send(publish("t"));
    client.expect(publish("t"));
    client.expect_nothing();
}

/// Keeps [MQTT-4.8.2-3].
#[test]
fn a_member_gets_messages_at_the_qos_granted_to_it() {
    let broker = Broker::start(&[]);
    let mut members = [0, 1, 2].map(|qos| {
        let mut member = join(&broker, Version::V5);
        member.subscribe("$share/g/t", qos);
        (qos, member)
    });
    for _ in 0..9 {
        publish_from(&broker, Version::V5, publish("t").qos(2));
    }
    // A member knows by PINGRESP that it has them all.
    let mut received = 0;
    for (qos, member) in &mut members {
        member.send(pingreq());
        loop {
            match member.receive() {
                Packet::Publish(message) => assert_eq!(message.qos, *qos),
                other => break assert_eq!(other, Packet::PingResp),
            }
            received += 1;
        }
    }
    assert_eq!(received, 9);
}

/// A member that stays away, and has got a message of QoS 2 which it has not acknowledged; and another member.
fn a_message_in_flight(broker: &Broker, session: Connect) -> (Publish, Client) {
    let mut member = Client::connect(broker, session);
    member.subscribe("$share/g/t", 2);
    publish_from(broker, Version::V5, publish("t").qos(2).payload("once"));
    let message = member.receive_publish();
    let mut other = join(broker, Version::V5);
    other.subscribe("$share/g/t", 2);
    member.cut();
    (message, other)
}

/// Keeps [MQTT-4.8.2-4].
#[test]
fn a_qos_2_delivery_is_completed_when_the_member_comes_back() {
    let broker = Broker::start(&[]);
    let (message, mut other) = a_message_in_flight(&broker, stay(Version::V5, "c"));
    other.expect_nothing();
    let mut member = Client::connect(&broker, stay(Version::V5, "c"));
    member.expect(message.clone().dup());
    member.send(pubrec(message.id));
    member.expect(pubrel(message.id));
}

/// Keeps [MQTT-4.8.2-5].
#[test]
fn a_qos_2_message_goes_to_no_other_member_if_the_session_ends() {
    let broker = Broker::start(&[]);
    let (_, mut other) = a_message_in_flight(&broker, connect());
    other.expect_nothing();
    let broker = Broker::start(&[]);
    let (_, mut other) = a_message_in_flight(&broker, stay(Version::V5, "c"));
    Client::connect(&broker, connect().client_id("c")).expect_nothing();
    other.expect_nothing();
}

/// Keeps [MQTT-4.8.2-6].
#[test]
fn a_message_that_a_member_refuses_goes_to_no_other() {
    let broker = Broker::start(&[]);
    let mut member = join(&broker, Version::V5);
    member.subscribe("$share/g/t", 2);
    publish_from(&broker, Version::V5, publish("t").qos(1));
    publish_from(&broker, Version::V5, publish("t").qos(2));
    let (one, two) = (member.receive_publish(), member.receive_publish());
    let mut other = join(&broker, Version::V5);
    other.subscribe("$share/g/t", 2);
    member.send(puback(one.id).reason(0x80));
    member.send(pubrec(two.id).reason(0x83));
    member.expect_nothing();
    other.expect_nothing();
}
