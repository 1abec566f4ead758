//! Every switch, in every version of the protocol and with every QoS.

use crate::support::*;

/// A client that would receive whatever is published to `a`, live or retained, with the highest QoS that is granted.
fn watcher(broker: &Broker) -> Client {
    let mut watcher = Client::connect(broker, connect());
    watcher.send(subscribe("a", 2));
    let Packet::SubAck(_) = watcher.receive() else { panic!("no SUBACK") };
    watcher
}

fn refused_with_will(broker: &Broker, version: Version, will: Will, reason: u8) {
    let mut client = Client::open(broker);
    let connack = client.handshake(connect().version(version).will(will));
    if version.is_v5() {
        assert_eq!(connack.reason, reason);
    } else {
        assert_ne!(connack.reason, 0);
    }
    client.expect_closed();
}

#[test]
fn what_is_switched_off_is_announced() {
    for (option, property) in [
        ("--mqtt-retain-support=false", Property::RetainAvailable(0)),
        ("--mqtt-shared-sub-support=false", Property::SharedAvailable(0)),
        ("--mqtt-sub-id-support=false", Property::SubscriptionIdentifiersAvailable(0)),
        ("--mqtt-wc-support=false", Property::WildcardAvailable(0)),
        ("--mqtt-maximum-qos=0", Property::MaximumQos(0)),
        ("--mqtt-maximum-qos=1", Property::MaximumQos(1)),
        ("--mqtt-receive-maximum=7", Property::ReceiveMaximum(7)),
        ("--mqtt-maximum-packet-size=1000", Property::MaximumPacketSize(1000)),
        ("--mqtt-topic-alias-maximum=9", Property::TopicAliasMaximum(9)),
        ("--mqtt-server-keep-alive=77", Property::ServerKeepAlive(77)),
        ("--mqtt-session-expiry-interval=123456", Property::SessionExpiry(123_456)),
    ] {
        let broker = Broker::start(&[option]);
        let persistent = || connect().client_id("told").persistent();
        let client = Client::connect(&broker, persistent());
        assert_eq!(client.connack().properties.as_slice(), std::slice::from_ref(&property), "{option}");
        client.cut();
        // A session that is resumed is told the same.
        let client = Client::connect(&broker, persistent());
        assert!(client.connack().session_present);
        assert_eq!(client.connack().properties, [property], "{option}");
    }
}

#[test]
fn what_is_switched_on_in_so_many_words_is_not_announced() {
    let broker = Broker::start(&[
        "--mqtt-retain-support",
        "--mqtt-shared-sub-support=true",
        "--mqtt-sub-id-support",
        "--mqtt-wc-support=true",
        "--mqtt-maximum-qos=2",
        "--mqtt-topic-alias-maximum=0",
    ]);
    let mut client = Client::connect(&broker, connect());
    assert_eq!(client.connack().properties, []);
    client.subscribe_with(subscribe("$share/g/+/#", 2).identifier(3), &[2]);
    Client::connect(&broker, connect()).publish(publish("a/b").retain().payload("x").qos(2));
    client.expect(publish("a/b").payload("x").qos(2).property(Property::SubscriptionIdentifier(3)));
}

#[test]
fn without_retained_messages_a_retained_publish_is_refused() {
    let broker = Broker::start(&["--mqtt-retain-support=false"]);
    let mut watcher = watcher(&broker);
    for version in Version::ALL {
        for qos in 0..=2 {
            for payload in ["x", ""] {
                let mut client = Client::connect(&broker, connect().version(version));
                client.send(publish("a").qos(qos).id(5).retain().payload(payload));
                match (version.is_v5(), qos) {
                    (true, 1) => drop(client.expect(puback(5).reason(0x83))),
                    (true, 2) => drop(client.expect(pubrec(5).reason(0x83))),
                    _ => client.expect_disconnect(0x9A),
                }
            }
        }
        watcher.expect_nothing();
        // Others pass.
        let mut client = Client::connect(&broker, connect().version(version));
        client.publish(publish("a").qos(2).payload("not retained"));
        watcher.receive_messages(1);
        refused_with_will(&broker, version, will("a").retain(), 0x9A);
        Client::connect(&broker, connect().version(version).will(will("a").qos(2))).disconnect();
    }
    watcher.send(subscribe("a", 2));
    watcher.expect(suback(1, &[2]));
    watcher.expect_nothing();
}

#[test]
fn without_shared_subscriptions_they_are_refused_one_by_one() {
    let broker = Broker::start(&["--mqtt-shared-sub-support=false"]);
    for (version, reason) in [(Version::V5, 0x9E), (Version::V311, 0x80)] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe_with(
            subscribe("$share/g/a", 1).and("a", 1).and("$share/g/b", 0),
            &[reason, 1, reason],
        );
        Client::connect(&broker, connect()).publish(publish("a").qos(1));
        client.expect(publish("a").qos(1));
        client.expect_nothing();
        client.disconnect();
    }
    let mut client = Client::connect(&broker, connect().version(Version::V31));
    client.expect_subscription_refused("$share/g/a");
}

#[test]
fn without_subscription_identifiers_what_has_one_is_refused() {
    let broker = Broker::start(&["--mqtt-sub-id-support=false"]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 1).and("b", 1).identifier(4), &[0xA1, 0xA1]);
    assert_eq!(Client::connect(&broker, connect()).publish(publish("a").qos(1)), 0x10);
    client.subscribe("a", 1);
    assert_eq!(Client::connect(&broker, connect()).publish(publish("a").qos(1)), 0);
    client.expect(publish("a").qos(1));
}

#[test]
fn without_wildcards_they_are_refused_one_by_one() {
    let broker = Broker::start(&["--mqtt-wc-support=false"]);
    for (version, reason) in [(Version::V5, 0xA2), (Version::V311, 0x80)] {
        let mut client = Client::connect(&broker, connect().version(version));
        let packet = subscribe("#", 1).and("a", 1).and("a/+", 0).and("$share/g/+", 0).and("$share/g/b", 2);
        client.subscribe_with(packet, &[reason, 1, reason, reason, 2]);
        Client::connect(&broker, connect()).publish(publish("a").qos(1));
        client.expect(publish("a").qos(1));
        client.expect_nothing();
        client.disconnect();
    }
    let mut client = Client::connect(&broker, connect().version(Version::V31));
    client.expect_subscription_refused("#");
}

#[test]
fn a_maximum_qos_bounds_what_is_granted_and_what_is_taken() {
    for maximum in 0..=2 {
        let broker = Broker::start(&[&format!("--mqtt-maximum-qos={maximum}")]);
        for version in Version::ALL {
            let mut subscriber = Client::connect(&broker, connect().version(version));
            subscriber.send(subscribe("a", 0).and("b", 1).and("c", 2));
            subscriber.expect(suback(1, &[0, maximum.min(1), maximum]));
            for qos in 0..=2 {
                let mut client = Client::connect(&broker, connect().version(version));
                if qos <= maximum {
                    client.publish(publish("c").qos(qos));
                    assert_eq!(subscriber.receive_messages(1)[0].qos, qos);
                    let with_will = connect().version(version).will(will("elsewhere").qos(qos));
                    Client::connect(&broker, with_will).disconnect();
                } else {
                    client.send(publish("c").qos(qos).id(1));
                    client.expect_disconnect(0x9B);
                    refused_with_will(&broker, version, will("c").qos(qos), 0x9B);
                }
            }
            subscriber.expect_nothing();
        }
    }
}

#[test]
fn too_high_a_qos_fires_the_will() {
    let broker = Broker::start(&["--mqtt-maximum-qos=0"]);
    let mut watcher = watcher(&broker);
    let mut client = Client::connect(&broker, connect().will(will("a").payload("will")));
    client.send(publish("a").qos(1).id(1).payload("too high"));
    client.expect_disconnect(0x9B);
    watcher.expect(publish("a").payload("will"));
}

#[test]
fn several_switches_hold_together() {
    let broker = Broker::start(&[
        "--mqtt-retain-support=false",
        "--mqtt-shared-sub-support=false",
        "--mqtt-sub-id-support=false",
        "--mqtt-wc-support=false",
        "--mqtt-maximum-qos=0",
    ]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(subscribe("a", 2));
        client.expect(suback(1, &[0]));
        client.send(publish("a").payload("x"));
        client.expect(publish("a").payload("x"));
        client.disconnect();
    }
}
