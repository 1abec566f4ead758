//! CONNACK: section 3.2 of both standards.

use crate::support::*;
use crate::{in_each_version, in_numbered_versions, join, stay};

const LOCKED: &str = r#"{
    authentication: [{name: "ada", method: "plain_password", password: "right"}],
    authorization: [],
}"#;

/// Keeps [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1] [MQTT3-3.1.4-4] [MQTT3-3.2.0-1].
#[test]
fn an_accepted_connect_is_answered_once_and_first() {
    in_each_version(|broker, version| {
        let mut client = Client::open(broker);
        client.set_version(version);
        let packets =
            [connect().version(version).frame(version), subscribe("t", 0).frame(version), pingreq()];
        client.send_all(packets);
        client.expect(connack(0));
        client.expect(suback(1, &[0]));
        client.expect(Packet::PingResp);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.2.0-1] [MQTT3-3.2.0-1].
#[test]
fn connack_comes_before_what_waited_in_the_session() {
    in_each_version(|broker, version| {
        let mut client = Client::connect(broker, stay(version, "c"));
        client.subscribe("t", 1);
        client.disconnect();
        join(broker, version).publish(publish("t").qos(1));
        let mut client = Client::connect(broker, stay(version, "c"));
        client.expect(publish("t").qos(1));
    });
}

/// Keeps [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT3-3.2.2-1] [MQTT3-3.2.2-2] [MQTT3-3.2.2-3].
#[test]
fn session_present_says_whether_the_session_goes_on() {
    in_numbered_versions(|broker, version| {
        let present = |connect| {
            let client = Client::connect(broker, connect);
            let present = client.connack().session_present;
            client.disconnect();
            present
        };
        assert!(!present(stay(version, "c")), "there was none");
        assert!(present(stay(version, "c")), "there was one");
        assert!(!present(stay(version, "c").clean_start(true)), "it has been discarded");
    });
}

/// Keeps [MQTT-3.2.2-8].
#[test]
fn refusals_have_reason_codes_of_connack() {
    // The client of these tests takes no others.
    let broker = Setup::new().option("--mqtt-maximum-qos=0").file("auth.json", LOCKED).start();
    let ada = || connect().user("ada");
    Client::refused(&broker, ada().password("right").will(will("w").qos(1)), 0x9B);
    let mut client = Client::open(&broker);
    assert!([0x86, 0x87].contains(&client.handshake(ada().password("wrong")).reason));
    client.expect_closed();
}

/// Keeps [MQTT-3.2.2-9].
#[test]
fn a_maximum_qos_is_announced() {
    for maximum in [0, 1] {
        let broker = Broker::start(&[&format!("--mqtt-maximum-qos={maximum}")]);
        let client = join(&broker, Version::V5);
        assert!(client.connack().has(&Property::MaximumQos(maximum)), "{:?}", client.connack());
    }
    let broker = Broker::start(&[]);
    assert!(join(&broker, Version::V5).connack().all(0x24).is_empty());
}

/// Keeps [MQTT-3.2.2-10].
#[test]
fn a_subscription_above_the_maximum_qos_is_granted_what_there_is() {
    let broker = Broker::start(&["--mqtt-maximum-qos=0"]);
    let mut client = join(&broker, Version::V5);
    client.subscribe_with(subscribe("a", 0).and("b", 1).and("c", 2), &[0, 0, 0]);
}

/// Keeps [MQTT-3.2.2-11].
#[test]
fn a_message_above_the_maximum_qos_ends_the_connection() {
    let broker = Broker::start(&["--mqtt-maximum-qos=1"]);
    let mut client = join(&broker, Version::V5);
    client.send(publish("t").qos(2).id(1));
    client.expect_disconnect(0x9B);
}

/// Keeps [MQTT-3.2.2-12].
#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    let broker = Broker::start(&["--mqtt-maximum-qos=1"]);
    Client::refused(&broker, connect().will(will("w").qos(2)), 0x9B);
}

/// Keeps [MQTT-3.2.2-13].
#[test]
fn a_retained_will_is_refused_where_there_are_no_retained_messages() {
    let broker = Broker::start(&["--mqtt-retain-support=false"]);
    Client::refused(&broker, connect().will(will("w").retain()), 0x9A);
}

/// Keeps [MQTT-3.2.2-14].
#[test]
fn a_retained_message_ends_the_connection_where_there_are_none() {
    let broker = Broker::start(&["--mqtt-retain-support=false"]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().has(&Property::RetainAvailable(0)));
    client.send(publish("t").retain());
    client.expect_disconnect(0x9A);
}

/// Keeps [MQTT-3.2.2-15].
#[test]
fn a_packet_above_the_maximum_packet_size_ends_the_connection() {
    let broker = Broker::start(&["--mqtt-maximum-packet-size=100"]);
    let mut client = join(&broker, Version::V5);
    assert!(client.connack().has(&Property::MaximumPacketSize(100)));
    client.send(publish("t").payload([0; 100]));
    client.expect_disconnect(0x95);
}

/// Keeps [MQTT-3.2.2-19].
#[test]
fn a_refusal_fits_into_the_maximum_packet_size() {
    let broker = Setup::new().file("auth.json", LOCKED).start();
    let mut client = Client::open(&broker);
    // Flags, Reason Code, no properties.
    let smallest = Property::MaximumPacketSize(5);
    let connack = client.handshake(connect().user("ada").password("wrong").property(smallest));
    assert!(connack.reason >= 0x80 && connack.properties.is_empty(), "{connack:?}");
}
