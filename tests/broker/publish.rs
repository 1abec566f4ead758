//! PUBLISH: what goes in comes out, and what must not go in does not.

use crate::support::*;

#[test]
fn a_message_goes_from_any_version_to_any_version() {
    let broker = Broker::start(&[]);
    for to in Version::ALL {
        let mut subscriber = Client::connect(&broker, connect().version(to));
        for from in Version::ALL {
            let mut publisher = Client::connect(&broker, connect().version(from));
            for granted in 0..=2 {
                subscriber.subscribe("any", granted);
                for sent in 0..=2 {
                    let payload = format!("{sent} as {granted}");
                    publisher.publish(publish("any").qos(sent).payload(&payload));
                    let message = subscriber.receive_messages(1).remove(0);
                    let expected = publish("any").qos(sent.min(granted)).id(message.id).payload(&payload);
                    assert_eq!(message, expected, "{from:?} to {to:?}");
                }
            }
        }
        subscriber.disconnect();
    }
}

#[test]
fn a_message_keeps_its_properties_and_their_order() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 2);
    let mut old = Client::connect(&broker, connect().version(Version::V311));
    old.subscribe("a", 2);
    for qos in 0..=2 {
        let message = publish("a")
            .qos(qos)
            .payload("é")
            .property(Property::User("b".to_owned(), "2".to_owned()))
            .property(Property::PayloadFormat(1))
            .property(Property::User("a".to_owned(), "1".to_owned()))
            .property(Property::ContentType("text/plain".to_owned()))
            .property(Property::User("b".to_owned(), "2".to_owned()))
            .property(Property::ResponseTopic("answers/here".to_owned()))
            .property(Property::User(String::new(), String::new()))
            .property(Property::CorrelationData(vec![0, 255, 1]));
        Client::connect(&broker, connect()).publish(message.clone());
        let received = subscriber.receive_messages(1).remove(0);
        assert!(Packet::from(received.clone()).is(&message.into()), "{received:?}");
        let received = old.receive_messages(1).remove(0);
        assert_eq!(received, publish("a").qos(qos).id(received.id).payload("é"));
    }
}

#[test]
fn a_payload_format_of_zero_is_passed_on() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 0);
    let message = publish("a").payload([0xFF]).property(Property::PayloadFormat(0));
    client.send(&message);
    client.expect(message);
}

#[test]
fn an_empty_payload_is_a_message() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("a", 0);
        client.send(publish("a"));
        client.expect(publish("a"));
    }
}

#[test]
fn a_payload_of_ten_megabytes_goes_through() {
    let broker = Broker::start(&[]);
    let payload: Vec<u8> = (0..10_000_000_u32).map(|index| (index % 251).to_le_bytes()[0]).collect();
    for version in [Version::V311, Version::V5] {
        let mut subscriber = Client::connect(&broker, connect().version(version));
        subscriber.subscribe("big", 1);
        let mut publisher = Client::connect(&broker, connect().version(version));
        publisher.publish(publish("big").qos(1).payload(&payload));
        let message = subscriber.receive_messages(1).remove(0);
        assert!(message.payload == payload, "the payload has changed");
    }
}

#[test]
fn every_length_of_the_length_is_written_and_read() {
    let broker = Broker::start(&[]);
    for version in [Version::V311, Version::V5] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("a", 0);
        for around in [128, 16_384, 2_097_152] {
            for length in around - 8..around + 2 {
                let message = publish("a").payload(vec![b'x'; length]);
                client.send(&message);
                let received = client.receive_publish();
                assert!(received == message, "{} of {length}", received.payload.len());
            }
        }
    }
}

#[test]
fn any_topic_name_that_is_text_can_be_used() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("#", 0);
        for topic in ["/", "//", "a//b", " ", "a b", "é/日本語/🦀", "a/$b", "\u{feff}a", &"x/".repeat(100)]
        {
            client.send(publish(topic).payload("x"));
            client.expect(publish(topic).payload("x"));
        }
    }
}

#[test]
fn the_answer_says_that_nobody_is_subscribed() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    assert_eq!(client.publish(publish("nobody").qos(1)), 0x10);
    assert_eq!(client.publish(publish("nobody").qos(2)), 0x10);
    client.subscribe("somebody", 0);
    client.send(publish("somebody").qos(1).id(1));
    client.expect_unordered([puback(1).into(), publish("somebody").into()]);
    client.send(publish("somebody").qos(2).id(2));
    client.expect_unordered([pubrec(2).into(), publish("somebody").into()]);
}

#[test]
fn topic_names_that_are_not_allowed_end_the_connection() {
    let broker = Broker::start(&[]);
    let topics: [&[u8]; 9] =
        [b"+", b"#", b"a/+", b"a/#", b"a+b", b"a\0b", b"\xff", b"a\xc3", b"\xed\xa0\x80"];
    for version in Version::ALL {
        for topic in topics {
            for qos in 0..=2 {
                let mut client = Client::connect(&broker, connect().version(version));
                client.send(publish(topic).qos(qos).id(1));
                client.expect_disconnect_for(&[0x81, 0x82, 0x90]);
            }
        }
    }
}

#[test]
fn an_empty_topic_name_without_an_alias_ends_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(publish(""));
        client.expect_disconnect_for(&[0x81, 0x82, 0x90]);
    }
}

#[test]
fn impossible_headers_end_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for (what, packet) in [
            ("QoS 3", publish("a").qos(3).id(1)),
            ("DUP with QoS 0", publish("a").dup()),
            ("packet identifier 0, QoS 1", publish("a").qos(1)),
            ("packet identifier 0, QoS 2", publish("a").qos(2)),
        ] {
            let mut client = Client::connect(&broker, connect().version(version));
            client.send(packet);
            eprintln!("{what}");
            client.expect_disconnect_for(&[0x81, 0x82]);
        }
    }
}

#[test]
fn properties_that_a_client_must_not_send_end_the_connection() {
    let broker = Broker::start(&[]);
    for properties in [
        vec![Property::SubscriptionIdentifier(1)],
        vec![Property::PayloadFormat(2)],
        vec![Property::PayloadFormat(0), Property::PayloadFormat(0)],
        vec![Property::MessageExpiry(1), Property::MessageExpiry(1)],
        vec![Property::ContentType("a".to_owned()), Property::ContentType("a".to_owned())],
        vec![Property::ResponseTopic("a/+".to_owned())],
        vec![Property::ResponseTopic("#".to_owned())],
        vec![Property::ReasonString("a".to_owned())],
        vec![Property::SessionExpiry(1)],
        vec![Property::Raw(vec![0x26, 0, 1, 0xFF, 0, 0])],
        vec![Property::Raw(vec![0x09, 0, 5, 1])],
        vec![Property::Raw(vec![0x02, 0, 0])],
    ] {
        let mut client = Client::connect(&broker, connect());
        eprintln!("{properties:?}");
        client.send(properties.into_iter().fold(publish("a"), Publish::property));
        client.expect_disconnect_for(&[0x81, 0x82, 0x90]);
    }
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_to_be_is_refused() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("text", 2);
    let bad = || publish("text").payload(b"a\xff").property(Property::PayloadFormat(1));
    for qos in 1..=2 {
        let mut client = Client::connect(&broker, connect());
        client.send(bad().qos(qos).id(3));
        match client.receive() {
            Packet::Ack(ack) => {
                assert_eq!((ack.first, ack.id, ack.reason), ([0x40, 0x50][usize::from(qos) - 1], 3, 0x99));
                client.expect_nothing();
            }
            Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, 0x99),
            other => panic!("{other:?}"),
        }
    }
    let mut client = Client::connect(&broker, connect());
    client.send(bad());
    client.expect_disconnect(0x99);
    subscriber.expect_nothing();
}

#[test]
fn clients_cannot_publish_below_sys() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut subscriber = Client::connect(&broker, connect());
        subscriber.subscribe("$SYS/#", 2);
        let mut publisher = Client::connect(&broker, connect().version(version));
        for qos in 1..=2 {
            let reason = publisher.publish(publish("$SYS/broker/uptime").qos(qos).payload("forged"));
            assert!(!version.is_v5() || reason >= 0x80, "0x{reason:02x}");
        }
        publisher.publish(publish("other"));
        subscriber.expect_nothing();
    }
}

#[test]
fn a_publisher_receives_its_own_message_if_it_subscribed() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("own", 2);
        client.send(publish("own").qos(1).id(4).payload("x"));
        client.expect_unordered([puback(4).into(), publish("own").qos(1).payload("x").into()]);
    }
}
