//! Exactly once: every path through the two state machines.

use crate::support::*;

/// A subscriber of `a` with QoS 2 and a client that publishes with this version and keeps its session.
fn publisher_and_subscriber(broker: &Broker, version: Version) -> (Client, Client) {
    let mut subscriber = Client::connect(broker, connect());
    subscriber.subscribe("a", 2);
    (publisher(broker, version), subscriber)
}

fn publisher(broker: &Broker, version: Version) -> Client {
    Client::connect(
        broker,
        connect().version(version).client_id(&format!("publisher-{version:?}")).persistent(),
    )
}

/// A subscriber of `a` that keeps its session, with one message on its way to it.
fn subscriber_with_message(broker: &Broker, version: Version) -> (Client, Publish) {
    let mut client = subscriber(broker, version);
    client.subscribe("a", 2);
    Client::connect(broker, connect()).publish(publish("a").qos(2).payload("x"));
    let message = client.receive_publish();
    assert_eq!((message.qos, message.dup), (2, false));
    (client, message)
}

fn subscriber(broker: &Broker, version: Version) -> Client {
    Client::connect(
        broker,
        connect().version(version).client_id(&format!("subscriber-{version:?}")).persistent(),
    )
}

#[test]
fn a_message_is_routed_when_it_arrives_and_released_later() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker, version);
        publisher.send(publish("a").qos(2).id(7).payload("x"));
        publisher.expect(pubrec(7));
        assert_eq!(subscriber.receive_messages(1)[0].text(), "x");
        publisher.send(pubrel(7));
        publisher.expect(pubcomp(7));
        publisher.expect_nothing();
        subscriber.expect_nothing();
    }
}

#[test]
fn a_repeat_before_the_release_is_answered_and_not_routed() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker, version);
        publisher.send(publish("a").qos(2).id(7).payload("x"));
        publisher.expect(pubrec(7));
        for _ in 0..3 {
            publisher.send(publish("a").qos(2).id(7).payload("x").dup());
            publisher.expect(pubrec(7));
        }
        subscriber.receive_messages(1);
        subscriber.expect_nothing();
        publisher.send(pubrel(7));
        publisher.expect(pubcomp(7));
    }
}

#[test]
fn a_repeat_after_a_reconnect_is_not_routed() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, mut subscriber) = publisher_and_subscriber(&broker, version);
        client.send(publish("a").qos(2).id(7).payload("x"));
        client.expect(pubrec(7));
        client.cut();
        let mut client = publisher(&broker, version);
        client.send(publish("a").qos(2).id(7).payload("x").dup());
        client.expect(pubrec(7));
        client.send(pubrel(7));
        client.expect(pubcomp(7));
        subscriber.receive_messages(1);
        subscriber.expect_nothing();
    }
}

#[test]
fn a_release_after_a_reconnect_is_answered() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, mut subscriber) = publisher_and_subscriber(&broker, version);
        client.send(publish("a").qos(2).id(7).payload("x"));
        client.expect(pubrec(7));
        client.cut();
        let mut client = publisher(&broker, version);
        client.send(pubrel(7));
        client.expect(pubcomp(7));
        subscriber.receive_messages(1);
        subscriber.expect_nothing();
    }
}

#[test]
fn an_identifier_is_a_new_message_after_its_release() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker, version);
        for payload in ["1", "2", "3"] {
            publisher.send(publish("a").qos(2).id(7).payload(payload));
            publisher.expect(pubrec(7));
            publisher.send(pubrel(7));
            publisher.expect(pubcomp(7));
            assert_eq!(subscriber.receive_messages(1)[0].text(), payload);
        }
    }
}

#[test]
fn a_clean_start_forgets_identifiers() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, mut subscriber) = publisher_and_subscriber(&broker, version);
        client.send(publish("a").qos(2).id(7).payload("1"));
        client.expect(pubrec(7));
        client.cut();
        let clean = connect().version(version).client_id(&format!("publisher-{version:?}"));
        let mut client = Client::connect(&broker, clean);
        client.send(publish("a").qos(2).id(7).payload("2"));
        client.expect(pubrec(7));
        let messages = subscriber.receive_messages(2);
        assert_eq!([messages[0].text(), messages[1].text()], ["1", "2"]);
    }
}

#[test]
fn a_release_of_an_unknown_identifier_is_answered() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(pubrel(99));
        client.expect(pubcomp(99).reason(if version.is_v5() { 0x92 } else { 0 }));
        // So is the same release for the second time.
        client.publish(publish("a").qos(2).id(5));
        client.send(pubrel(5));
        client.expect(pubcomp(5).reason(if version.is_v5() { 0x92 } else { 0 }));
    }
}

#[test]
fn several_messages_may_be_under_way_and_released_in_any_order() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker, version);
        publisher.send_all((1..=100).map(|id| publish("a").qos(2).id(id).payload(id.to_string())));
        for id in 1..=100 {
            publisher.expect(pubrec(id));
        }
        publisher.send_all((1..=100).rev().map(pubrel));
        for id in (1..=100).rev() {
            publisher.expect(pubcomp(id));
        }
        let messages = subscriber.receive_messages(100);
        let seen: Vec<_> = messages.iter().map(|message| message.text().parse::<u16>().unwrap()).collect();
        assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    }
}

#[test]
fn a_delivery_goes_through_its_four_packets() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, message) = subscriber_with_message(&broker, version);
        client.expect_nothing();
        client.send(pubrec(message.id));
        client.expect(pubrel(message.id));
        client.expect_nothing();
        client.send(pubcomp(message.id));
        client.expect_nothing();
        client.cut();
        let mut client = subscriber(&broker, version);
        client.expect_nothing();
    }
}

#[test]
fn a_message_not_received_is_sent_again_after_a_reconnect() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, message) = subscriber_with_message(&broker, version);
        for _ in 0..2 {
            client.cut();
            client = subscriber(&broker, version);
            client.expect(message.clone().dup());
            client.expect_nothing();
        }
        client.send(pubrec(message.id));
        client.expect(pubrel(message.id));
        client.send(pubcomp(message.id));
        client.expect_nothing();
    }
}

#[test]
fn a_release_not_completed_is_sent_again_after_a_reconnect_but_not_the_message() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, message) = subscriber_with_message(&broker, version);
        client.send(pubrec(message.id));
        client.expect(pubrel(message.id));
        for _ in 0..2 {
            client.cut();
            client = subscriber(&broker, version);
            client.expect(pubrel(message.id));
            client.expect_nothing();
        }
        client.send(pubcomp(message.id));
        client.expect_nothing();
        client.cut();
        subscriber(&broker, version).expect_nothing();
    }
}

#[test]
fn a_repeated_receipt_is_answered_by_the_release_again() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, message) = subscriber_with_message(&broker, version);
        for _ in 0..3 {
            client.send(pubrec(message.id));
            client.expect(pubrel(message.id));
        }
        client.send(pubcomp(message.id));
        client.expect_nothing();
    }
}

#[test]
fn a_receipt_of_failure_ends_the_delivery() {
    let broker = Broker::start(&[]);
    let narrow = || connect().client_id("fails").persistent().receive_maximum(1);
    let mut client = Client::connect(&broker, narrow());
    client.subscribe("a", 2);
    let mut publisher = Client::connect(&broker, connect());
    for payload in ["1", "2"] {
        publisher.publish(publish("a").qos(2).payload(payload));
    }
    let first = client.receive_publish();
    client.send(pubrec(first.id).reason(0x80));
    // No release, and its place is free for the next one.
    let second = client.receive_publish();
    assert_eq!(second.text(), "2");
    client.cut();
    let mut client = Client::connect(&broker, narrow());
    client.expect(second.dup());
    client.expect_nothing();
}

#[test]
fn a_receipt_of_an_unknown_identifier_is_answered() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(pubrec(1234));
        client.expect(pubrel(1234).reason(if version.is_v5() { 0x92 } else { 0 }));
        client.expect_nothing();
    }
}

#[test]
fn a_completion_of_an_unknown_identifier_does_no_harm() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(pubcomp(1234));
        client.expect_nothing();
        client.send(pubcomp(1234).reason(0x92));
        client.expect_nothing();
    }
}

#[test]
fn receipt_and_completion_may_come_at_once() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let (mut client, message) = subscriber_with_message(&broker, version);
        client.send_all([pubrec(message.id), pubcomp(message.id)]);
        client.expect(pubrel(message.id));
        client.expect_nothing();
        client.cut();
        subscriber(&broker, version).expect_nothing();
    }
}

#[test]
fn completions_may_be_late_while_others_pass() {
    let broker = Broker::start(&[]);
    let (mut client, first) = subscriber_with_message(&broker, Version::V5);
    let mut publisher = Client::connect(&broker, connect());
    client.send(pubrec(first.id));
    client.expect(pubrel(first.id));
    for _ in 0..50 {
        publisher.publish(publish("a").qos(2).payload("y"));
        assert_ne!(client.receive_messages(1)[0].id, first.id, "the identifier is in use");
    }
    client.send(pubcomp(first.id));
    client.expect_nothing();
}

#[test]
fn a_refused_message_leaves_its_identifier_free() {
    let broker = Broker::start(&["--mqtt-retain-support=false"]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 2);
    let mut publisher = Client::connect(&broker, connect());
    publisher.send(publish("a").qos(2).id(7).retain().payload("refused"));
    publisher.expect(pubrec(7).reason(0x83));
    publisher.send(publish("a").qos(2).id(7).payload("good"));
    publisher.expect(pubrec(7));
    assert_eq!(subscriber.receive_messages(1)[0].text(), "good");
}

#[test]
fn packets_with_errors_in_them_end_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for first in [0x50, 0x62, 0x70] {
            for packet in [
                frame(first, &[0, 0]),
                frame(first, &[1]),
                frame(first, &[]),
                frame(first ^ 0x02, &[0, 1]),
                frame(first | 0x01, &[0, 1]),
            ] {
                // [MQTT3-2.2.2-2] came with 3.1.1, and older clients may repeat a PUBREL with DUP.
                let mut client = Client::connect(&broker, connect().version(version));
                client.send(packet);
                client.expect_disconnect_for(&[0x81, 0x82]);
            }
        }
    }
}

#[test]
fn a_release_may_be_marked_as_repeated_in_3_1() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().version(Version::V31));
    client.send(publish("a").qos(2).id(7));
    client.expect(pubrec(7));
    client.send(pubrel(7).frame(Version::V31).first(0x6A));
    client.expect(pubcomp(7));
}
