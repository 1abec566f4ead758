//! SUBSCRIBE and what it brings.

use crate::support::*;

#[test]
fn filters_match_as_the_standard_says() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let mut publisher = Client::connect(&broker, connect());
    for (filter, topic, matches) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a/b", false),
        ("a", "A", false),
        ("a/b", "a/b", true),
        ("/a", "a", false),
        ("/a", "/a", true),
        ("a/", "a", false),
        ("a/", "a/", true),
        ("+", "a", true),
        ("+", "/a", false),
        ("+", "a/b", false),
        ("/+", "/a", true),
        ("+/+", "/a", true),
        ("+/+", "a", false),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a//c", true),
        ("a/+/c", "a/b/d", false),
        ("+/b/+", "a/b/c", true),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/+/#", "a", false),
        ("a/+/#", "a/b", true),
        ("+/#", "a", true),
        ("#", "$a", false),
        ("#", "$a/b", false),
        ("+", "$a", false),
        ("+/b", "$a/b", false),
        ("+/#", "$a/b", false),
        ("$a/#", "$a/b", true),
        ("$a/#", "$a", true),
        ("$a/+", "$a/b", true),
        ("$a", "$a", true),
        ("a/$b", "a/$b", true),
        ("a/+", "a/$b", true),
        ("a b/é", "a b/é", true),
    ] {
        client.subscribe(filter, 0);
        let reason = publisher.publish(publish(topic).qos(1).payload(filter));
        assert_eq!(reason, if matches { 0 } else { 0x10 }, "{filter} {topic}");
        if matches {
            client.expect(publish(topic).payload(filter));
        }
        client.send(unsubscribe(filter));
        client.expect(unsuback(1, &[0]));
    }
}

#[test]
fn each_entry_has_its_result() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(
        subscribe("a", 0).and("a/#/b", 1).and("b", 2).and("+b", 0).and("$share/g/c", 1).and("", 1).id(77),
        &[0, 0x8F, 2, 0x8F, 1, 0x8F],
    );
    for topic in ["a", "b", "c"] {
        assert_eq!(client.publish_to_others(&broker, topic), 0);
    }
}

#[test]
fn filters_that_are_not_valid_are_refused() {
    let broker = Broker::start(&[]);
    for filter in [
        "a/#/b",
        "#/a",
        "a#",
        "a/b#",
        "a+",
        "+a",
        "a/+b/c",
        "##",
        "++",
        "a/##",
        "$share/g",
        "$share//a",
        "$share/g/",
    ] {
        let mut client = Client::connect(&broker, connect());
        client.subscribe_with(subscribe(filter, 1), &[0x8F]);
        client.expect_nothing();
    }
    for filter in ["$share/+/a", "$share/#/a", "$share/g+/a", "$share/g#/a", "$share/g/a#", "$share/g/#/a"] {
        let mut client = Client::connect(&broker, connect());
        client.subscribe_with(subscribe(filter, 1), &[0x8F]);
    }
}

#[test]
fn older_clients_learn_of_refused_filters() {
    let broker = Broker::start(&[]);
    for filter in ["a/#/b", "a+", "a#", "$share/+/a"] {
        let mut client = Client::connect(&broker, connect().version(Version::V311));
        client.send(subscribe(filter, 1).and("good", 1));
        match client.try_receive() {
            None => {}
            Some(packet) => assert!(packet.is(&suback(1, &[0x80, 1]).into()), "{packet:?}"),
        }
        let mut client = Client::connect(&broker, connect().version(Version::V31));
        client.expect_subscription_refused(filter);
    }
}

#[test]
fn packets_with_errors_in_them_end_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let good = subscribe("a", 0).frame(version);
        let body = good.body().to_vec();
        for (what, packet) in [
            ("flags 0", good.clone().flags(0)),
            ("flags 1", good.clone().flags(1)),
            ("flags F", good.clone().flags(0xF)),
            ("identifier 0", subscribe("a", 0).id(0).frame(version)),
            ("no filter", good.clone().truncate(if version.is_v5() { 3 } else { 2 })),
            ("no options", good.clone().truncate(body.len() - 1)),
            ("half a filter", good.clone().truncate(body.len() - 2)),
            ("QoS 3", subscribe("a", 3).frame(version)),
            ("bad UTF-8", subscribe(b"a\xff", 0).frame(version)),
            ("U+0000", subscribe("a\0", 0).frame(version)),
            ("something behind", good.clone().append(&[0])),
        ] {
            if version == Version::V31 && what.starts_with("flags") {
                continue; // DUP and QoS mean something there.
            }
            eprintln!("{version:?}: {what}");
            let mut client = Client::connect(&broker, connect().version(version));
            client.send(packet);
            client.expect_disconnect_for(&[0x81, 0x82, 0x8F]);
        }
    }
    for packet in [
        subscribe("a", 0).option(0x40),
        subscribe("a", 0).option(0x80),
        subscribe("a", 0).retain_handling(3),
        subscribe("a", 0).identifier(0),
        subscribe("a", 0).identifier(1).identifier(2),
        subscribe("a", 0).property(Property::Raw(vec![0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])),
        subscribe("a", 0).property(Property::ReasonString("a".to_owned())),
        subscribe("$share/g/a", 0).no_local(),
    ] {
        eprintln!("{packet:?}");
        let mut client = Client::connect(&broker, connect());
        client.send(packet);
        client.expect_disconnect_for(&[0x81, 0x82]);
    }
    // The options of 5.0 are reserved bits before.
    for bits in [0x04, 0x08, 0x10, 0x80] {
        let mut client = Client::connect(&broker, connect().version(Version::V311));
        client.send(subscribe("a", 0).option(bits));
        client.expect_closed();
    }
}

#[test]
fn overlapping_subscriptions_bring_one_copy() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(subscribe("a/b", 0).and("a/+", 2).and("a/#", 1).and("#", 0));
        client.expect(suback(1, &[0, 2, 1, 0]));
        for (sent, expected) in [(0, 0), (1, 1), (2, 2)] {
            Client::connect(&broker, connect()).publish(publish("a/b").qos(sent).payload("x"));
            assert_eq!(client.receive_messages(1)[0].qos, expected);
            client.expect_nothing();
        }
        client.disconnect();
    }
}

#[test]
fn one_copy_has_all_identifiers_and_the_best_of_the_options() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a/b", 0).identifier(1), &[0]);
    client.subscribe_with(subscribe("a/+", 1).identifier(268_435_455), &[1]);
    client.subscribe_with(subscribe("#", 0), &[0]);
    client.subscribe_with(subscribe("a/#", 0).retain_as_published().identifier(128), &[0]);
    client.subscribe_with(subscribe("other", 2).identifier(5), &[2]);
    Client::connect(&broker, connect()).publish(publish("a/b").qos(2).retain().payload("x"));
    client.expect(
        publish("a/b")
            .qos(1)
            .retain()
            .payload("x")
            .property(Property::SubscriptionIdentifier(1))
            .property(Property::SubscriptionIdentifier(128))
            .property(Property::SubscriptionIdentifier(268_435_455)),
    );
    client.expect_nothing();
}

#[test]
fn the_same_identifier_for_several_subscriptions_is_allowed() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 0).and("b", 0).identifier(9), &[0, 0]);
    for topic in ["a", "b"] {
        client.send(publish(topic));
        client.expect(publish(topic).property(Property::SubscriptionIdentifier(9)));
    }
}

#[test]
fn each_overlapping_subscription_brings_a_copy_if_wanted() {
    let broker = Broker::start(&["--overlapping-subscriptions=each"]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a/b", 0).identifier(1), &[0]);
    client.subscribe_with(subscribe("a/+", 1).retain_as_published().identifier(2), &[1]);
    client.subscribe_with(subscribe("#", 2), &[2]);
    client.subscribe_with(subscribe("other", 2), &[2]);
    Client::connect(&broker, connect()).publish(publish("a/b").qos(2).retain().payload("x"));
    client.expect_unordered([
        publish("a/b").payload("x").property(Property::SubscriptionIdentifier(1)).into(),
        publish("a/b").qos(1).retain().payload("x").property(Property::SubscriptionIdentifier(2)).into(),
        publish("a/b").qos(2).payload("x").into(),
    ]);
    client.expect_nothing();
}

#[test]
fn no_local_keeps_a_message_from_its_publisher_only() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let mut other = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 1).no_local(), &[1]);
    other.subscribe("a", 1);
    client.publish(publish("a").qos(1).payload("own"));
    client.expect_nothing();
    other.receive_messages(1);
    other.send(publish("a").qos(1).id(1).payload("foreign"));
    other.expect_unordered([puback(1).into(), publish("a").qos(1).payload("foreign").into()]);
    client.expect(publish("a").qos(1).payload("foreign"));
}

#[test]
fn no_local_holds_for_a_session_that_was_away() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("local").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe_with(subscribe("a", 1).no_local(), &[1]);
    client.cut();
    let mut client = Client::connect(&broker, persistent());
    client.publish(publish("a").qos(1).payload("own"));
    client.expect_nothing();
}

#[test]
fn no_local_of_one_subscription_does_not_silence_another() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a/+", 0).no_local().identifier(1), &[0]);
    client.subscribe_with(subscribe("a/b", 0).identifier(2), &[0]);
    client.send(publish("a/c"));
    client.expect_nothing();
    client.send(publish("a/b"));
    let message = client.receive_publish();
    assert!(message.has(&Property::SubscriptionIdentifier(2)), "{message:?}");
    client.expect_nothing();
}

#[test]
fn a_second_subscription_to_the_same_filter_replaces_the_first() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let mut publisher = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 0).identifier(1), &[0]);
    client.subscribe_with(subscribe("a", 2).identifier(2), &[2]);
    publisher.publish(publish("a").qos(1).payload("x"));
    client.expect(publish("a").qos(1).payload("x").property(Property::SubscriptionIdentifier(2)));
    client.subscribe_with(subscribe("a", 0).no_local(), &[0]);
    publisher.publish(publish("a").qos(1).payload("y"));
    client.expect(publish("a").payload("y"));
    client.send(publish("a"));
    client.expect_nothing();
    client.send(unsubscribe("a"));
    client.expect(unsuback(1, &[0]));
    assert_eq!(publisher.publish(publish("a").qos(1)), 0x10);
}

#[test]
fn replacing_a_subscription_loses_and_repeats_nothing() {
    const COUNT: usize = 300;
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    let publishing = std::thread::spawn(move || {
        for index in 0..COUNT {
            publisher.publish(publish("a").qos(1).payload(index.to_string()));
        }
    });
    let (mut seen, mut replaced) = (Vec::new(), 0_u8);
    client.send(subscribe("a", 1).retain_handling(2));
    while seen.len() < COUNT {
        match client.receive() {
            Packet::Publish(message) => {
                seen.push(message.text().parse::<usize>().unwrap());
                client.send(puback(message.id));
            }
            Packet::SubAck(_) if replaced < 50 => {
                replaced += 1;
                client.send(subscribe("a", 1 + replaced % 2).retain_handling(2));
            }
            Packet::SubAck(_) => {}
            // Some were granted QoS 2, but were published with 1.
            other => panic!("{other:?}"),
        }
    }
    publishing.join().unwrap();
    assert!(seen == (0..COUNT).collect::<Vec<_>>(), "{seen:?}");
}

#[test]
fn a_packet_may_hold_many_filters() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        let packet = (1..500).fold(subscribe("f/0", 1), |packet, index| packet.and(format!("f/{index}"), 1));
        client.subscribe_with(packet, &[1; 500]);
        for index in [0, 250, 499] {
            client.send(publish(format!("f/{index}")));
            client.expect(publish(format!("f/{index}")));
        }
    }
}

#[test]
fn a_user_property_does_no_harm() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let (one, two) = (Property::user("k", "v"), Property::user("k", "v"));
    client.subscribe_with(subscribe("a", 0).property(one).property(two), &[0]);
}

impl Client {
    /// Publishes with QoS 1 as somebody else; returns the reason code.
    fn publish_to_others(&mut self, broker: &Broker, topic: &str) -> u8 {
        let reason = Self::connect(broker, connect()).publish(publish(topic).qos(1));
        self.receive_messages(1);
        reason
    }
}
