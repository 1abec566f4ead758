//! At least once.

use crate::support::*;

#[test]
fn a_message_is_acknowledged_and_delivered_until_acknowledged() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("subscriber-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut subscriber = Client::connect(&broker, persistent());
        subscriber.subscribe("a", 1);
        let mut publisher = Client::connect(&broker, connect().version(version));
        publisher.send(publish("a").qos(1).id(65_535).payload("x"));
        publisher.expect(puback(65_535));
        publisher.expect_nothing();

        let message = subscriber.receive_publish();
        assert!(!message.dup);
        for _ in 0..3 {
            subscriber.cut();
            subscriber = Client::connect(&broker, persistent());
            subscriber.expect(message.clone().dup());
        }
        subscriber.send(puback(message.id));
        subscriber.expect_nothing();
        subscriber.cut();
        subscriber = Client::connect(&broker, persistent());
        subscriber.expect_nothing();
        subscriber.send(unsubscribe("a"));
        subscriber.disconnect();
    }
}

#[test]
fn an_identifier_may_be_used_again_once_acknowledged() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    for round in 0..5 {
        publisher.send(publish("a").qos(1).id(1).payload(round.to_string()));
        publisher.expect(puback(1));
        assert_eq!(subscriber.receive_messages(1)[0].text(), round.to_string());
    }
}

#[test]
fn a_repeated_message_is_delivered_again() {
    // The broker has acknowledged the first and cannot know that the client has not heard.
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("x"));
    publisher.publish(publish("a").qos(1).payload("x").dup());
    for message in subscriber.receive_messages(2) {
        assert!(!message.dup, "DUP is not passed on [MQTT-3.3.1-3]");
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_the_messages() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        let ids: Vec<u16> =
            (1..=500_u32).map(|index| u16::try_from(index * 7919 % 65_521 + 1).unwrap()).collect();
        client.send_all(ids.iter().map(|id| publish("nobody").qos(1).id(*id)));
        let reason = if version.is_v5() { 0x10 } else { 0 };
        for id in ids {
            client.expect(puback(id).reason(reason));
        }
    }
}

#[test]
fn identifiers_of_messages_under_way_differ() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    publisher.send_all((1..=1000).map(|id| publish("a").qos(1).id(id).payload(id.to_string())));
    let mut ids: Vec<u16> = (0..1000).map(|_| subscriber.receive_publish().id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("any order").persistent();
    let mut subscriber = Client::connect(&broker, persistent());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    for payload in ["1", "2", "3"] {
        publisher.publish(publish("a").qos(1).payload(payload));
    }
    let messages: Vec<_> = (0..3).map(|_| subscriber.receive_publish()).collect();
    subscriber.send(puback(messages[2].id));
    subscriber.send(puback(messages[0].id));
    subscriber.expect_nothing();
    subscriber.cut();
    let mut subscriber = Client::connect(&broker, persistent());
    subscriber.expect(messages[1].clone().dup());
    subscriber.expect_nothing();
}

#[test]
fn an_acknowledgement_of_failure_ends_the_delivery_too() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("fails").persistent().receive_maximum(1);
    let mut subscriber = Client::connect(&broker, persistent());
    subscriber.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("1"));
    publisher.publish(publish("a").qos(1).payload("2"));
    let first = subscriber.receive_publish();
    subscriber.send(puback(first.id).reason(0x97).property(Property::ReasonString("full".to_owned())));
    let second = subscriber.receive_publish();
    assert_eq!(second.text(), "2");
    subscriber.cut();
    let mut subscriber = Client::connect(&broker, persistent());
    subscriber.expect(second.dup());
    subscriber.expect_nothing();
}

#[test]
fn an_acknowledgement_of_nothing_does_no_harm() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("a", 1);
        client.send(puback(1234));
        client.expect_nothing();
        client.send(publish("a").qos(1).id(1));
        client.expect_unordered([puback(1).into(), publish("a").qos(1).into()]);
    }
}

#[test]
fn acknowledgements_with_errors_in_them_end_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for packet in [
            frame(0x40, &[0, 0]),
            frame(0x40, &[1]),
            frame(0x40, &[]),
            frame(0x41, &[0, 1]),
            frame(0x42, &[0, 1]),
        ] {
            let mut client = Client::connect(&broker, connect().version(version));
            client.send(packet);
            client.expect_disconnect_for(&[0x81, 0x82]);
        }
    }
    for packet in [
        puback(1).reason(0x01).into(),
        puback(1).reason(0x92).into(),
        puback(1).property(Property::ContentType("x".to_owned())).into(),
        Frame::from(puback(1).reason(0x10)).append(&[5]),
    ] {
        let mut client = Client::connect(&broker, connect());
        client.send(packet);
        client.expect_disconnect_for(&[0x81, 0x82]);
    }
}
