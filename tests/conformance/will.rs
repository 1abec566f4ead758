//! Wills: sections 3.1.2 and 3.1.3 of both standards.

use std::time::{Duration, Instant};

use crate::support::*;
use crate::{in_each_version, join, let_pass};

fn watcher(broker: &Broker, version: Version) -> Client {
    let mut watcher = join(broker, version);
    watcher.subscribe("w", 2);
    watcher
}

/// Keeps [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT3-3.1.2-8].
#[test]
fn a_will_is_published_when_the_connection_breaks() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        for qos in 0..3 {
            let will = will("w").payload("bye").qos(qos);
            Client::connect(broker, connect().version(version).will(will)).cut();
            let messages = watcher.receive_messages(1);
            assert_eq!((messages[0].text(), messages[0].qos), ("bye", qos));
        }
    });
}

/// Keeps [MQTT-3.1.2-8] [MQTT3-3.1.2-8].
#[test]
fn a_will_is_published_when_the_server_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        let mut client = Client::connect(broker, connect().version(version).will(will("w")));
        client.send(connect().version(version));
        watcher.expect(publish("w"));
    });
}

/// Keeps [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT3-3.1.2-10] [MQTT3-3.14.4-3].
#[test]
fn disconnect_discards_the_will() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        Client::connect(broker, connect().version(version).will(will("w"))).disconnect();
        watcher.expect_nothing();
    });
}

/// Keeps [MQTT-3.1.2-8].
#[test]
fn disconnect_with_will_message_does_not_discard_the_will() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    Client::connect(&broker, connect().will(will("w"))).disconnect_with(disconnect().reason(0x04));
    watcher.expect(publish("w"));
}

/// Keeps [MQTT-3.1.2-10] [MQTT3-3.1.2-10] [MQTT3-3.1.2-12].
#[test]
fn a_will_that_was_published_is_gone() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        let keeping = || connect().version(version).client_id("c").persistent();
        Client::connect(broker, keeping().will(will("w"))).cut();
        watcher.expect(publish("w"));
        Client::connect(broker, keeping()).cut();
        watcher.expect_nothing();
    });
}

/// Keeps [MQTT-3.1.2-14] [MQTT3-3.1.2-16].
#[test]
fn a_will_without_retain_is_not_retained() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        Client::connect(broker, connect().version(version).will(will("w").payload("x"))).cut();
        watcher.expect(publish("w").payload("x"));
        let mut later = join(broker, version);
        later.subscribe("w", 0);
        later.expect_nothing();
    });
}

/// Keeps [MQTT-3.1.2-15] [MQTT3-3.1.2-17].
#[test]
fn a_will_with_retain_is_retained() {
    in_each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        Client::connect(broker, connect().version(version).will(will("w").payload("x").retain())).cut();
        watcher.expect(publish("w").payload("x"));
        let mut later = join(broker, version);
        later.subscribe("w", 0);
        later.expect(publish("w").payload("x").retain());
    });
}

/// Keeps [MQTT-3.1.2-8].
#[test]
fn a_will_waits_for_its_delay() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    let client = Client::connect(&broker, connect().session_expiry(60).will(will("w").delay(1)));
    let start = Instant::now();
    client.cut();
    watcher.expect_nothing();
    watcher.expect(publish("w"));
    assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
}

/// Keeps [MQTT-3.1.2-8].
#[test]
fn a_will_does_not_wait_longer_than_its_session() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    Client::connect(&broker, connect().will(will("w").payload("at once").delay(600))).cut();
    watcher.expect(publish("w").payload("at once"));
    let brief = connect().session_expiry(1).will(will("w").payload("with the session").delay(600));
    Client::connect(&broker, brief).cut();
    watcher.expect(publish("w").payload("with the session"));
}

/// Keeps [MQTT-3.1.2-8] [MQTT-3.1.3-9].
#[test]
fn a_client_that_comes_back_within_the_delay_has_no_will_published() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    let keeping = || connect().client_id("c").clean_start(false).session_expiry(60);
    Client::connect(&broker, keeping().will(will("w").delay(1))).cut();
    let mut client = Client::connect(&broker, keeping().will(will("w")));
    assert!(client.connack().session_present);
    let_pass(&broker, 2);
    watcher.expect_nothing();
    client.expect_nothing();
}

/// Keeps [MQTT-3.1.2-8].
#[test]
fn a_will_is_published_when_a_takeover_ends_its_session() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    let connect = || connect().client_id("c").session_expiry(60);
    let mut first = Client::connect(&broker, connect().will(will("w").delay(600)));
    Client::connect(&broker, connect().clean_start(true)).expect_nothing();
    first.expect_disconnect(0x8E);
    watcher.expect(publish("w"));
}

/// Keeps [MQTT-3.1.3-10].
#[test]
fn the_user_properties_of_a_will_keep_their_order() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker, Version::V5);
    let properties = [("b", "1"), ("a", "2"), ("b", "0")].map(|(name, value)| Property::user(name, value));
    let will = properties.iter().cloned().fold(will("w"), Will::property);
    Client::connect(&broker, connect().will(will)).cut();
    assert_eq!(watcher.receive_publish().all(0x26), properties);
}
