//! Sessions: section 3.1.2.4 and chapters 4.1, 4.4 and 4.5 of both standards.

use crate::support::*;
use crate::{in_each_version, in_numbered_versions, join, let_pass, publish_from, stay};

/// Keeps [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT3-3.1.2-6] [MQTT3-3.1.4-3].
#[test]
fn a_clean_start_discards_the_session() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 1);
        client.disconnect();
        publish_from(broker, version, publish("t").qos(1));
        let mut client = Client::connect(broker, stay(version, "c").clean_start(true));
        publish_from(broker, version, publish("t").qos(1));
        client.expect_nothing();
    });
}

/// Keeps [MQTT3-3.1.2-6].
#[test]
fn a_clean_session_is_not_reused() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, connect().version(version).client_id("c"));
        client.subscribe("t", 1);
        client.disconnect();
        publish_from(broker, version, publish("t").qos(1));
        let mut client = Client::connect(broker, stay(version, "c"));
        assert!(!client.connack().session_present);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-4.5.0-1] [MQTT3-3.1.2-4] [MQTT3-3.1.2-5] [MQTT3-4.5.0-1].
#[test]
fn a_session_keeps_subscriptions_and_messages() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 2);
        client.disconnect();
        for qos in [1, 2] {
            publish_from(broker, version, publish("t").qos(qos).payload(qos.to_string()));
        }
        let mut client = Client::connect(broker, stay(version, "c"));
        client.expect(publish("t").qos(1).payload("1"));
        client.expect(publish("t").qos(2).payload("2"));
        client.send(publish("t").payload("0"));
        client.expect(publish("t").payload("0"));
    });
}

/// Keeps [MQTT-3.1.2-6] [MQTT3-3.1.2-4].
#[test]
fn a_session_is_created_if_there_is_none() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "new"));
        assert!(!client.connack().session_present);
        client.subscribe("t", 0);
        client.send(publish("t"));
        client.expect(publish("t"));
    });
}

/// Keeps [MQTT-4.1.0-1] [MQTT3-4.1.0-1] [MQTT3-4.1.0-2].
#[test]
fn a_session_lasts_as_long_as_its_connection() {
    in_each_version(|broker, version| {
        // In 5.0 this has a Session Expiry Interval of 0, which does not count while the connection is there.
        let mut client = join(broker, version);
        client.subscribe("t", 1);
        let_pass(broker, 1);
        publish_from(broker, version, publish("t").qos(1));
        client.expect(publish("t").qos(1));
    });
}

/// Keeps [MQTT-4.1.0-2].
#[test]
fn a_session_ends_after_its_expiry_interval() {
    let broker = Broker::start(&[]);
    let session = |seconds| connect().client_id("c").clean_start(false).session_expiry(seconds);
    Client::connect(&broker, session(0)).disconnect();
    let client = Client::connect(&broker, session(1));
    assert!(!client.connack().session_present);
    client.disconnect();
    let_pass(&broker, 2);
    assert!(!Client::connect(&broker, session(1)).connack().session_present);
}

/// Keeps [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT3-4.4.0-1] [MQTT3-4.3.2-1] [MQTT3-2.3.1-4].
#[test]
fn unacknowledged_messages_are_sent_again_on_resuming() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 2);
        let sent: Vec<Publish> = [1, 2, 1]
            .map(|qos| {
                publish_from(broker, version, publish("t").qos(qos).payload(qos.to_string()));
                client.receive_publish()
            })
            .into();
        client.send(puback(sent[0].id));
        client.expect_nothing();
        for _ in 0..2 {
            client.cut();
            client = Client::connect(broker, stay(version, "c"));
            client.expect(sent[1].clone().dup());
            client.expect(sent[2].clone().dup());
        }
    });
}

/// Keeps [MQTT-4.4.0-1].
#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    in_numbered_versions(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 2);
        publish_from(broker, version, publish("t").qos(1));
        publish_from(broker, version, publish("t").qos(2));
        client.expect(publish("t").qos(1));
        client.expect(publish("t").qos(2));
        let_pass(broker, 2);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT3-4.3.3-1] [MQTT3-4.4.0-1].
#[test]
fn an_unacknowledged_pubrel_is_sent_again_and_the_message_is_not() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 2);
        publish_from(broker, version, publish("t").qos(2));
        let id = client.receive_publish().id;
        client.send(pubrec(id));
        client.expect(pubrel(id));
        for _ in 0..2 {
            client.cut();
            client = Client::connect(broker, stay(version, "c"));
            client.expect(pubrel(id));
            client.expect_nothing();
        }
        client.send(pubcomp(id));
        client.expect_nothing();
        client.cut();
        Client::connect(broker, stay(version, "c")).expect_nothing();
    });
}

/// Keeps [MQTT-4.4.0-2].
#[test]
fn a_message_that_was_refused_is_not_sent_again() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, stay(Version::V5, "c"));
    client.subscribe("t", 2);
    publish_from(&broker, Version::V5, publish("t").qos(1));
    publish_from(&broker, Version::V5, publish("t").qos(2));
    let (one, two) = (client.receive_publish(), client.receive_publish());
    client.send(puback(one.id).reason(0x80));
    client.send(pubrec(two.id).reason(0x97));
    client.expect_nothing();
    client.cut();
    Client::connect(&broker, stay(Version::V5, "c")).expect_nothing();
}
