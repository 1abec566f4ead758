//! Every bound: what happens when it is hit, and that it is counted.

use super::*;

fn fill(rig: &mut Rig, numbers: std::ops::RangeInclusive<u16>) {
    let publisher = rig.connect(Connect { clean_start: true, ..v5("p") });
    for number in numbers {
        rig.say(publisher, publish("t", &number.to_string(), 1, number));
    }
}

fn away(rig: &mut Rig) {
    let client = rig.connect(lasting("c"));
    rig.say(client, subscribe("t", 1));
    rig.cut(client);
    rig.heard(client);
}

fn come_back(rig: &mut Rig) -> Vec<String> {
    let client = rig.connect(lasting("c"));
    rig.heard(client).iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn a_full_queue_gives_way_as_the_policy_says() {
    for (policy, expected) in [
        (QueuePolicy::DropOldest, ["3", "4", "5"]),
        (QueuePolicy::DropNewest, ["1", "2", "3"]),
        (QueuePolicy::Disconnect, ["1", "2", "3"]),
    ] {
        let mut rig = Rig::with(|config| {
            config.queue_policy = policy;
            config.limits.queued_messages = 3;
        });
        away(&mut rig);
        fill(&mut rig, 1..=5);
        assert_eq!(rig.broker.counters().dropped_queue_full, 2);
        assert_eq!(rig.broker.lossy_clients(5), [("c".to_owned(), 2, 3)]);
        assert_eq!(come_back(&mut rig), expected, "{policy:?}");
    }
}

#[test]
fn bytes_bound_a_queue_and_all_queues() {
    for total in [false, true] {
        let mut rig = Rig::with(|config| {
            let bytes = 165 * 3;
            if total {
                config.limits.queued_bytes_total = bytes;
            } else {
                config.limits.queued_bytes = bytes;
            }
        });
        away(&mut rig);
        fill(&mut rig, 1..=5);
        assert_eq!(come_back(&mut rig), ["3", "4", "5"]);
    }
}

#[test]
fn the_newest_qos_0_goes_first() {
    let mut rig = Rig::with(|config| {
        config.limits.queued_messages = 3;
        config.limits.outbound_window = 1;
    });
    let (publisher, client) = (rig.connect(v5("p")), rig.connect(v5("c")));
    rig.say(client, subscribe("t", 1));
    rig.say(publisher, publish("t", "first", 0, 0));
    for (payload, qos) in [("a", 0), ("b", 1), ("c", 0), ("d", 0), ("e", 1), ("f", 1)] {
        rig.say(publisher, publish("t", payload, qos, 7));
    }
    let mut all = rig.heard(client);
    for _ in 0..9 {
        rig.written(client);
        all.extend(rig.heard(client));
    }
    let payloads: Vec<_> = all.iter().skip(1).map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(payloads, ["first", "b", "e", "f"]);
    assert_eq!(rig.broker.counters().dropped_queue_full_qos0, 3);
}

#[test]
fn a_client_whose_queue_is_full_is_disconnected_if_the_policy_says_so() {
    let mut rig = Rig::with(|config| {
        config.queue_policy = QueuePolicy::Disconnect;
        config.limits.queued_messages = 1;
    });
    let mut connect = lasting("c");
    connect.properties.receive_maximum = 1.try_into().unwrap();
    let client = rig.connect(connect);
    rig.say(client, subscribe("t", 1));
    fill(&mut rig, 1..=3);
    rig.expect(client, &["SUBACK 01", "t 1 q1 #1", "CLOSE 97"]);
    assert_eq!(rig.broker.counters().disconnected_queue_full, 1);
}

#[test]
fn retained_messages_are_bounded() {
    let mut rig = Rig::with(|config| config.limits.retained_messages = 2);
    let (new, old) = (rig.connect(v5("5")), rig.connect(v3("3", true)));
    for topic in ["a", "b", "a"] {
        rig.say(new, Publish { retain: true, ..publish(topic, "x", 1, 1) });
    }
    rig.say(new, Publish { retain: true, ..publish("c", "x", 1, 2) });
    rig.say(old, Publish { retain: true, ..publish("c", "x", 1, 2) });
    rig.expect(new, &["PUBACK 1 10", "PUBACK 1 10", "PUBACK 1 10", "PUBACK 2 97"]);
    rig.expect(old, &["PUBACK 2 00"]);
    assert_eq!(rig.broker.counters().refused_retained_limit, 2);
}

#[test]
fn subscriptions_sessions_and_topics_are_bounded() {
    let mut rig = Rig::with(|config| {
        config.limits.subscriptions_per_client = 2;
        config.limits.sessions = 1;
        config.limits.topic_levels = 3;
        config.limits.topic_length = 10;
    });
    let client = rig.connect(v5("c"));
    for filter in ["a", "b", "a", "c", "a/b/c/d", "01234567890"] {
        rig.say(client, subscribe(filter, 0));
    }
    rig.expect(client, &["SUBACK 00", "SUBACK 00", "SUBACK 00", "SUBACK 97", "SUBACK 8f", "SUBACK 8f"]);
    let other = rig.try_connect(v5("d"), Identity::Anonymous);
    rig.expect(other, &["CONNACK 97 present=false", "CLOSE"]);
    rig.say(client, publish("///", "x", 1, 1));
    rig.expect(client, &["PUBACK 1 90"]);
    rig.say(client, publish("01234567890", "x", 0, 0));
    rig.expect(client, &["CLOSE 90"]);
    let counters = rig.broker.counters();
    assert_eq!((counters.refused_subscriptions_limit, counters.refused_sessions_limit), (1, 1));
    assert_eq!(counters.refused_topic_limit, 4);
}

#[test]
fn features_that_are_off_are_refused_in_all_versions() {
    let off = |config: &mut BrokerConfig| {
        let features = &mut config.features;
        features.retain = false;
        features.wildcards = false;
        features.shared_subscriptions = false;
        features.subscription_identifiers = false;
        features.maximum_qos = QoS::AtLeastOnce;
    };
    let mut rig = Rig::with(off);
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("a/+", 0));
    rig.say(client, subscribe("$share/g/a", 0));
    rig.say(client, subscribe_with("a", SubscriptionOptions::default(), 1));
    rig.say(client, subscribe("a", 2));
    rig.say(client, Publish { retain: true, ..publish("a", "x", 1, 1) });
    rig.expect(client, &["SUBACK a2", "SUBACK 9e", "SUBACK a1", "SUBACK 01", "PUBACK 1 83"]);
    rig.say(client, retained("a", "x"));
    rig.expect(client, &["CLOSE 9a"]);
    for (connect, publish, code) in [
        (v5("d"), publish("a", "x", 2, 1), "CLOSE 9b"),
        (v3("e", true), publish("a", "x", 2, 1), "CLOSE 9b"),
        (v3("f", true), Publish { retain: true, ..publish("a", "x", 1, 1) }, "CLOSE 83"),
    ] {
        let client = rig.connect(connect);
        rig.say(client, publish);
        rig.expect(client, &[code]);
    }
    let mut with_will = v5("g");
    with_will.will = Some(Box::new(Will { retain: true, ..*will("w", 0) }));
    let client = rig.try_connect(with_will, Identity::Anonymous);
    rig.expect(client, &["CONNACK 9a present=false", "CLOSE"]);
}

#[test]
fn what_cannot_fit_drops_only_itself() {
    let mut rig = Rig::with(|config| config.limits.queued_bytes = 165 * 3);
    away(&mut rig);
    fill(&mut rig, 1..=3);
    let publisher = rig.connect(v5("big"));
    rig.say(publisher, publish("t", &"x".repeat(1_000), 1, 1));
    assert_eq!(rig.broker.counters().dropped_queue_full, 1);
    assert_eq!(come_back(&mut rig), ["1", "2", "3"]);
}

#[test]
fn what_is_under_way_is_bounded_in_bytes() {
    let mut rig = Rig::with(|config| config.limits.queued_bytes = 165 * 3);
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("t", 1));
    fill(&mut rig, 1..=9);
    assert_eq!(rig.heard(client).len(), 5, "SUBACK and four messages; three wait, two were dropped");
    assert_eq!(rig.broker.counters().dropped_queue_full, 2);
    rig.say(client, (AcknowledgementKind::PubAck, 1));
    rig.expect(client, &["t 7 q1 #5"]);
}

#[test]
fn wills_are_bounded_in_bytes() {
    let mut rig = Rig::with(|config| config.limits.will_bytes_total = 700);
    let with_will = |client: &str| Connect { will: Some(will("will", 1_000)), ..lasting(client) };
    for client in ["a", "b"] {
        let connection = rig.connect(with_will(client));
        rig.cut(connection);
    }
    let third = rig.try_connect(with_will("c"), Identity::Anonymous);
    rig.expect(third, &["CONNACK 97 present=false", "CLOSE"]);
    rig.wait(1_000);
    rig.connect(with_will("c"));
}

#[test]
fn subscriptions_are_bounded_in_bytes() {
    let mut rig = Rig::with(|config| config.limits.subscription_bytes_per_client = 300);
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("a/b", 0));
    rig.say(client, subscribe("a/c/d", 0));
    rig.say(client, subscribe("a/b", 1));
    rig.say(client, unsubscribe("a/b"));
    rig.say(client, subscribe("a/c", 0));
    rig.expect(client, &["SUBACK 00", "SUBACK 97", "SUBACK 01", "UNSUBACK 00", "SUBACK 00"]);
}

#[test]
fn who_sends_much_lets_others_have_their_turn_and_loses_nothing() {
    let mut rig = Rig::new();
    let (busy, other) = (rig.connect(v5("busy")), rig.connect(v5("other")));
    for number in 0..50 {
        let subscriber = rig.connect(v5(&number.to_string()));
        rig.say(subscriber, subscribe("t", 0));
    }
    rig.say(other, subscribe("end", 0));
    rig.heard(other);
    let mut packets: Vec<_> = (0..1_000).map(|_| Packet::Publish(publish("t", "", 0, 0))).collect();
    packets.push(Packet::Publish(publish("end", "x", 0, 0)));
    rig.handle(Input::Received { connection: busy, packets });
    assert!(rig.broker.is_behind(busy));
    assert_eq!(rig.broker.deadline(), Some(Instant::START));
    rig.say(other, publish("end", "in between", 0, 0));
    rig.handle(Input::Received {
        connection: busy,
        packets: vec![Packet::Publish(publish("end", "y", 0, 0))],
    });
    rig.cut(busy);
    rig.expect(other, &["end in between q0"]);
    let mut turns = 0;
    while rig.broker.is_behind(busy) {
        rig.handle(Input::Tick);
        turns += 1;
    }
    assert!(turns > 1);
    rig.expect(other, &["end x q0", "end y q0"]);
    assert_eq!(rig.broker.counters().publish_received, 1_003);
    assert_eq!(rig.broker.counters().clients_detached, 1);
}

#[test]
fn a_session_with_many_subscriptions_ends_bit_by_bit() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    for number in 0..2_000 {
        rig.say(client, subscribe(&format!("a/{number}"), 0));
    }
    rig.say(client, Disconnect::because(ReasonCode::Success));
    assert!(rig.broker.subscriptions.nodes() > 0);
    let next = rig.connect(v5("d"));
    rig.say(next, publish("a/1999", "x", 0, 0));
    rig.expect(next, &[]);
    rig.wait(0);
    while rig.broker.deadline().is_some() {
        rig.handle(Input::Tick);
    }
    assert_eq!(rig.broker.subscriptions.nodes(), 0);
}
