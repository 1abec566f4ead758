//! Retained messages.

use crate::support::*;

/// Retains a message.
fn retain(broker: &Broker, topic: &str, payload: &str) {
    Client::connect(broker, connect()).publish(publish(topic).qos(1).retain().payload(payload));
}

/// What a new subscription finds: topics and payloads, sorted. All retained messages must come before the answer to a
/// PINGREQ that follows, as nothing keeps them waiting.
fn found(broker: &Broker, filter: &str) -> Vec<(String, String)> {
    let mut client = Client::connect(broker, connect());
    client.subscribe(filter, 0);
    client.send(pingreq());
    let mut found = Vec::new();
    while let Packet::Publish(message) = client.receive() {
        assert!(message.retain);
        found.push((message.topic().to_owned(), message.text().to_owned()));
    }
    found.sort();
    found
}

#[test]
fn the_last_retained_message_is_sent_to_new_subscribers() {
    let broker = Broker::start(&[]);
    for from in Version::ALL {
        let topic = format!("kept/{from:?}");
        for qos in 0..=2 {
            let mut publisher = Client::connect(&broker, connect().version(from));
            for payload in ["old", "new"] {
                publisher.publish(publish(&topic).qos(qos).retain().payload(payload));
            }
            publisher.publish(publish(&topic).qos(qos).payload("not retained"));
            for to in Version::ALL {
                for granted in 0..=2 {
                    let mut client = Client::connect(&broker, connect().version(to));
                    client.subscribe(&topic, granted);
                    let message = client.receive_messages(1).remove(0);
                    let expected =
                        publish(&topic).qos(qos.min(granted)).retain().payload("new").id(message.id);
                    assert_eq!(message, expected);
                    client.expect_nothing();
                }
            }
        }
    }
}

#[test]
fn an_empty_payload_removes() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for qos in 0..=2 {
            retain(&broker, "a", "x");
            let mut live = Client::connect(&broker, connect().version(version));
            live.subscribe("a", 0);
            live.expect(publish("a").retain().payload("x"));
            Client::connect(&broker, connect().version(version)).publish(publish("a").qos(qos).retain());
            // It is a message all the same.
            live.expect(publish("a"));
            assert_eq!(found(&broker, "a"), []);
        }
    }
}

#[test]
fn live_messages_are_not_marked_as_retained() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe(&format!("a/{version:?}"), 0);
        retain(&broker, &format!("a/{version:?}"), "x");
        client.expect(publish(format!("a/{version:?}")).payload("x"));
    }
}

#[test]
fn retain_as_published_keeps_the_mark() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 0).retain_as_published(), &[0]);
    retain(&broker, "a", "x");
    client.expect(publish("a").retain().payload("x"));
    client.send(publish("a").payload("y"));
    client.expect(publish("a").payload("y"));
}

#[test]
fn filters_find_what_they_match() {
    let broker = Broker::start(&[]);
    for topic in ["a", "a/b", "a/b/c", "a/d", "/", "/a", "b", "$hidden/a", "a/"] {
        retain(&broker, topic, topic);
    }
    for (filter, expected) in [
        ("a", vec!["a"]),
        ("a/b", vec!["a/b"]),
        ("a/#", vec!["a", "a/", "a/b", "a/b/c", "a/d"]),
        ("a/+", vec!["a/", "a/b", "a/d"]),
        ("+", vec!["a", "b"]),
        ("+/+", vec!["/", "/a", "a/", "a/b", "a/d"]),
        ("/#", vec!["/", "/a"]),
        ("#", vec!["/", "/a", "a", "a/", "a/b", "a/b/c", "a/d", "b"]),
        ("+/a", vec!["/a"]),
        ("+/b/#", vec!["a/b", "a/b/c"]),
        ("$hidden/#", vec!["$hidden/a"]),
        ("$hidden/+", vec!["$hidden/a"]),
        ("c", vec![]),
        ("a/b/c/d", vec![]),
    ] {
        let topics: Vec<String> = found(&broker, filter).into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(topics, expected, "{filter}");
    }
}

#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    let broker = Broker::start(&[]);
    retain(&broker, "a", "x");
    let mut client = Client::connect(&broker, connect());
    // 2: never.
    client.subscribe_with(subscribe("a", 0).retain_handling(2), &[0]);
    client.expect_nothing();
    // 1: only where there was no subscription.
    client.subscribe_with(subscribe("a", 0).retain_handling(1), &[0]);
    client.expect_nothing();
    client.send(unsubscribe("a"));
    client.expect(unsuback(1, &[0]));
    client.subscribe_with(subscribe("a", 0).retain_handling(1), &[0]);
    client.expect(publish("a").retain().payload("x"));
    client.expect_nothing();
    // 0: each time.
    for _ in 0..2 {
        client.subscribe("a", 0);
        client.expect(publish("a").retain().payload("x"));
    }
    client.expect_nothing();
}

#[test]
fn older_clients_get_retained_messages_with_each_subscribe() {
    let broker = Broker::start(&[]);
    retain(&broker, "a", "x");
    for version in [Version::V31, Version::V311] {
        let mut client = Client::connect(&broker, connect().version(version));
        for _ in 0..2 {
            client.subscribe("a", 0);
            client.expect(publish("a").retain().payload("x"));
        }
    }
}

#[test]
fn a_resumed_session_gets_no_retained_messages() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("resumes").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 1);
    client.disconnect();
    retain(&broker, "a", "while away");
    let mut client = Client::connect(&broker, persistent());
    client.expect(publish("a").qos(1).payload("while away"));
    client.expect_nothing();
}

#[test]
fn retained_messages_carry_their_properties() {
    let broker = Broker::start(&[]);
    let message = publish("a")
        .qos(1)
        .retain()
        .payload("x")
        .property(Property::PayloadFormat(1))
        .property(Property::ContentType("text/plain".to_owned()))
        .property(Property::ResponseTopic("answer".to_owned()))
        .property(Property::CorrelationData(vec![9]))
        .property(Property::user("k", "1"))
        .property(Property::user("k", "2"));
    Client::connect(&broker, connect()).publish(message.clone());
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 1).identifier(77), &[1]);
    client.expect(message.property(Property::SubscriptionIdentifier(77)));
}

#[test]
fn each_filter_of_a_subscribe_brings_its_retained_messages() {
    let broker = Broker::start(&[]);
    retain(&broker, "a/1", "x");
    retain(&broker, "b/1", "y");
    let mut client = Client::connect(&broker, connect());
    client.send(subscribe("a/+", 0).and("b/+", 0).and("c", 0));
    client.expect(suback(1, &[0, 0, 0]));
    client.expect_unordered([
        publish("a/1").retain().payload("x").into(),
        publish("b/1").retain().payload("y").into(),
    ]);
    client.expect_nothing();
}

#[test]
fn shared_subscriptions_bring_no_retained_messages() {
    let broker = Broker::start(&[]);
    retain(&broker, "a", "x");
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("$share/g/a", 0);
        client.expect_nothing();
    }
}

#[test]
fn a_retained_message_is_delivered_once_to_those_who_are_there() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 1);
    for round in 0..20 {
        let payload = round.to_string();
        retain(&broker, "a", &payload);
        assert_eq!(client.receive_messages(1)[0].text(), payload);
        client.expect_nothing();
    }
}

#[test]
fn any_number_of_retained_messages_passes_through_a_small_window() {
    const COUNT: usize = 5000;
    // Far fewer may wait for the session than match its subscription.
    let broker = Broker::start(&["--max-queued-messages=100"]);
    let mut publisher = Client::connect(&broker, connect());
    for base in (0..COUNT).step_by(500) {
        publisher.send_all(
            (base..base + 500).map(|index| {
                publish(format!("many/{index}")).qos(1).id(1).retain().payload(index.to_string())
            }),
        );
        for _ in 0..500 {
            publisher.expect(puback(1).reason(0x10));
        }
    }
    for (qos, version) in [(1, Version::V5), (2, Version::V5), (0, Version::V5), (0, Version::V311)] {
        let packet = connect().version(version);
        let packet = if version.is_v5() { packet.receive_maximum(3) } else { packet };
        let mut client = Client::connect(&broker, packet);
        client.send(subscribe("many/#", qos));
        client.expect(suback(1, &[qos]));
        let messages = client.receive_messages(COUNT);
        let mut seen: Vec<usize> = messages.iter().map(|message| message.text().parse().unwrap()).collect();
        seen.sort_unstable();
        assert!(seen == (0..COUNT).collect::<Vec<_>>(), "QoS {qos}: not each one once");
        client.expect_nothing();
    }
}

#[test]
fn a_replay_that_waits_delays_nobody() {
    const COUNT: usize = 2000;
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 2000];
    publisher.send_all((0..COUNT).map(|index| publish(format!("many/{index}")).retain().payload(&payload)));
    publisher.expect_nothing();

    // It reads nothing of its four megabytes for now.
    let mut waiting = Client::open_narrow(&broker, 4096);
    waiting.attach(connect());
    waiting.send(subscribe("many/#", 0));
    let mut other = Client::connect(&broker, connect());
    other.subscribe("many/7", 0);
    other.expect(publish("many/7").retain().payload(&payload));
    for round in 0..20 {
        publisher.publish(publish("many/7").qos(1).payload(round.to_string()));
        other.expect(publish("many/7").payload(round.to_string()));
    }
    waiting.expect(suback(1, &[0]));
    let mut retained = 0;
    while retained < COUNT {
        let message = waiting.receive_publish();
        retained += usize::from(message.retain);
    }
}

#[test]
fn a_replay_ends_with_its_subscription() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    publisher.send_all((0..100).map(|index| publish(format!("many/{index}")).qos(0).retain().payload("x")));
    publisher.send_all((0..1).map(|_| publish("many/qos1").qos(1).id(1).retain().payload("x")));
    publisher.expect(puback(1).reason(0x10));
    let mut client = Client::connect(&broker, connect().receive_maximum(1));
    client.send_all([
        subscribe("many/#", 1).frame(Version::V5),
        unsubscribe("many/#").id(2).frame(Version::V5),
    ]);
    client.expect(suback(1, &[1]));
    let mut before = 0;
    loop {
        match client.receive() {
            Packet::Publish(_) => before += 1,
            Packet::UnsubAck(unsuback) => break assert_eq!(unsuback.reasons, [0]),
            other => panic!("{other:?}"),
        }
    }
    assert!(before <= 101);
    // [MQTT-3.10.4-2]: none is started any more; those that had been may still come.
    client.send(pingreq());
    while let Packet::Publish(_) = client.receive() {}
    client.expect_nothing();
}
