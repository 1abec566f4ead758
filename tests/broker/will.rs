//! Wills: published when a client is lost, and only then, and only once.

use std::time::Duration;

use crate::support::*;

fn watcher(broker: &Broker) -> Client {
    let mut watcher = Client::connect(broker, connect());
    watcher.subscribe("will/#", 2);
    watcher
}

#[test]
fn a_will_is_published_when_the_connection_is_lost() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    for version in Version::ALL {
        for qos in 0..=2 {
            let will = will("will/lost").payload("gone").qos(qos);
            Client::connect(&broker, connect().version(version).will(will)).cut();
            let message = watcher.receive_messages(1).remove(0);
            assert_eq!(message, publish("will/lost").payload("gone").qos(qos).id(message.id));
        }
    }
    watcher.expect_nothing();
}

#[test]
fn a_will_is_not_published_after_disconnect() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    for version in Version::ALL {
        Client::connect(&broker, connect().version(version).will(will("will/not"))).disconnect();
    }
    watcher.expect_nothing();
}

#[test]
fn a_client_may_disconnect_with_its_will() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    for reason in [0x04, 0x80, 0x99] {
        let client = Client::connect(&broker, connect().will(will("will/wanted")));
        client.disconnect_with(disconnect().reason(reason));
        watcher.expect(publish("will/wanted"));
    }
    watcher.expect_nothing();
}

#[test]
fn a_will_is_published_after_a_protocol_error() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version).will(will("will/error")));
        client.send(connect().version(version));
        watcher.expect(publish("will/error"));
    }
}

#[test]
fn a_will_is_published_when_the_keep_alive_has_run_out() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let mut client = Client::connect(&broker, connect().keep_alive(1).will(will("will/silent")));
    watcher.expect(publish("will/silent"));
    client.expect_disconnect(0x8D);
}

#[test]
fn a_will_carries_its_properties() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".to_owned()),
        Property::ResponseTopic("answer".to_owned()),
        Property::CorrelationData(vec![1, 2]),
        Property::user("a", "1"),
        Property::user("a", "2"),
        Property::MessageExpiry(100),
    ];
    let packet = properties.iter().cloned().fold(will("will/full").payload("é"), Will::property);
    Client::connect(&broker, connect().will(packet)).cut();
    watcher.expect(properties.into_iter().fold(publish("will/full").payload("é"), Publish::property));
}

#[test]
fn a_will_may_be_retained() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let topic = format!("will/retained/{version:?}");
        let will = will(&topic).payload("kept").retain();
        Client::connect(&broker, connect().version(version).will(will)).cut();
        // Live or retained: it depends on who is first, the end of that connection or this one.
        let mut watcher = watcher(&broker);
        let message = watcher.receive_publish();
        assert_eq!((message.topic(), message.text()), (topic.as_str(), "kept"));
        watcher.disconnect();
        let mut late = self::watcher(&broker);
        late.expect(publish(&topic).payload("kept").retain());
        late.disconnect();
        Client::connect(&broker, connect()).publish(publish(&topic).retain());
    }
}

#[test]
fn a_will_of_text_that_is_not_text_is_refused() {
    let broker = Broker::start(&[]);
    let bad = will("w").payload([0xFF]).property(Property::PayloadFormat(1));
    let mut client = Client::open(&broker);
    client.send(connect().will(bad));
    client.expect_refusal(&[0x99]);
}

#[test]
fn a_will_with_a_bad_topic_is_refused() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        for topic in ["", "a/#", "+", "a\0"] {
            let mut client = Client::open(&broker);
            client.set_version(version);
            client.send(connect().version(version).will(will(topic)));
            client.expect_refusal(&[0x81, 0x82, 0x90]);
        }
    }
}

#[test]
fn a_delayed_will_waits() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let packet = connect().session_expiry(100).will(will("will/late").payload("x").delay(1));
    Client::connect(&broker, packet).cut();
    watcher.expect_nothing();
    watcher.expect(publish("will/late").payload("x"));
    watcher.expect_nothing();
}

#[test]
fn a_delayed_will_is_forgotten_when_the_client_returns() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let client = || connect().client_id("returns").clean_start(false).session_expiry(100);
    Client::connect(&broker, client().will(will("will/forgotten").delay(1))).cut();
    let _client = Client::connect(&broker, client());
    broker.let_pass(2);
    watcher.expect_nothing();
}

#[test]
fn a_delayed_will_is_published_at_the_end_of_the_session() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    // No session: at once.
    Client::connect(&broker, connect().will(will("will/at once").delay(1000))).cut();
    watcher.expect(publish("will/at once"));
    // The session ends before the delay.
    Client::connect(&broker, connect().session_expiry(1).will(will("will/soon").delay(1000))).cut();
    watcher.expect(publish("will/soon"));
    // The client begins a new one.
    let client = || connect().client_id("new").session_expiry(1000);
    Client::connect(&broker, client().will(will("will/replaced").delay(1000))).cut();
    watcher.expect_nothing();
    let _client = Client::connect(&broker, client());
    watcher.expect(publish("will/replaced"));
    watcher.expect_nothing();
}

#[test]
fn disconnect_with_will_obeys_the_delay() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let packet = connect().session_expiry(1000).will(will("will/asked").delay(1));
    Client::connect(&broker, packet).disconnect_with(disconnect().reason(0x04));
    watcher.expect_nothing();
    watcher.expect(publish("will/asked"));
    // The session is given up with the DISCONNECT: so is the delay.
    let packet = connect().session_expiry(1000).will(will("will/given up").delay(1000));
    let farewell = disconnect().reason(0x04).property(Property::SessionExpiry(0));
    Client::connect(&broker, packet).disconnect_with(farewell);
    watcher.expect(publish("will/given up"));
}

#[test]
fn a_will_is_replaced_by_that_of_the_next_connection() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let client = || connect().client_id("changes").persistent();
    Client::connect(&broker, client().will(will("will/first"))).disconnect();
    Client::connect(&broker, client().will(will("will/second"))).cut();
    watcher.expect(publish("will/second"));
    Client::connect(&broker, client()).cut();
    watcher.expect_nothing();
}

#[test]
fn the_expiry_of_a_will_begins_when_it_is_published() {
    let broker = Broker::start(&[]);
    let mut watcher = watcher(&broker);
    let packet = will("will/expiring").property(Property::MessageExpiry(30)).delay(2);
    Client::connect(&broker, connect().session_expiry(1000).will(packet)).cut();
    watcher.set_patience(Duration::from_secs(20));
    watcher.expect(publish("will/expiring").property(Property::MessageExpiry(30)));
}

#[test]
fn a_will_reaches_sessions_that_are_away() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("away").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("will/#", 1);
    client.disconnect();
    let mut witness = watcher(&broker);
    Client::connect(&broker, connect().will(will("will/waits").qos(1))).cut();
    witness.receive_messages(1);
    let mut client = Client::connect(&broker, persistent());
    client.expect(publish("will/waits").qos(1));
}
