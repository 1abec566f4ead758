//! PINGREQ, DISCONNECT and the handling of errors: sections 3.12 and 3.14 of both standards, 4.13 of MQTT 5.0, 4.8 of
//! MQTT 3.1.1.

use crate::support::*;
use crate::{in_each_version, join};

/// Keeps [MQTT-3.12.4-1] [MQTT3-3.12.4-1].
#[test]
fn pingreq_is_answered() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send_all([pingreq(), pingreq()]);
        client.expect(Packet::PingResp);
        client.expect(Packet::PingResp);
        client.expect_nothing();
    });
}

/// Keeps [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT3-4.8.0-1].
#[test]
fn an_error_ends_the_connection_and_nothing_follows() {
    in_each_version(|broker, version| {
        for error in [frame(0x00, &[]), frame(0x20, &[0, 0]), frame(0xD0, &[]), frame(0xC0, &[0])] {
            let mut client = join(broker, version);
            client.send_all([error, pingreq(), publish("t").qos(1).id(1).frame(version)]);
            match client.try_receive() {
                None => {}
                Some(Packet::Disconnect(disconnect)) => {
                    assert!([0x81, 0x82].contains(&disconnect.reason), "{disconnect:?}");
                    client.expect_closed();
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    });
}

/// Keeps [MQTT-3.14.4-2] [MQTT3-3.14.4-1] [MQTT3-3.14.4-2].
#[test]
fn what_follows_the_client_s_disconnect_is_not_processed() {
    in_each_version(|broker, version| {
        let mut watcher = join(broker, version);
        watcher.subscribe("t", 0);
        let mut client = join(broker, version);
        client.send_all([disconnect().frame(version), publish("t").frame(version)]);
        client.expect_closed();
        watcher.expect_nothing();
    });
}

/// Keeps [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.2-3].
#[test]
fn the_server_s_disconnect_has_its_own_codes_and_properties_and_fits_the_client() {
    let broker = Broker::start(&[]);
    // A Reason Code fits, a Reason String does not.
    let mut client = Client::connect(&broker, connect().property(Property::MaximumPacketSize(5)));
    client.send(connect());
    assert_eq!(client.receive(), disconnect().reason(0x82).into());
    client.expect_closed();
    let mut client = Client::connect(&broker, connect().session_expiry(60));
    client.send(connect());
    match client.receive() {
        Packet::Disconnect(disconnect) => assert!(disconnect.all(0x11).is_empty(), "{disconnect:?}"),
        other => panic!("{other:?}"),
    }
}

/// Keeps [MQTT-3.14.2-1].
#[test]
fn a_client_has_its_own_reasons_to_disconnect() {
    const OF_CLIENTS: [u8; 15] =
        [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    const OF_SERVERS: [u8; 15] =
        [0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2];
    let broker = Broker::start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("w", 0);
    for reason in OF_CLIENTS {
        let mut client = Client::connect(&broker, connect().will(will("w")));
        client.send(disconnect().reason(reason));
        client.expect_closed();
        if reason != 0 {
            watcher.expect(publish("w"));
        }
    }
    for reason in OF_SERVERS {
        let mut client = Client::connect(&broker, connect().will(will("w")));
        client.send(disconnect().reason(reason));
        client.expect_disconnect(0x82);
        watcher.expect(publish("w"));
    }
    watcher.expect_nothing();
}

/// Keeps [MQTT-3.14.0-1].
#[test]
fn a_refused_client_gets_no_disconnect() {
    let broker = Broker::start(&["--mqtt-maximum-qos=0"]);
    let mut client = Client::open(&broker);
    client.send(connect().will(will("w").qos(1)));
    assert!(matches!(client.receive(), Packet::ConnAck(_)));
    client.expect_closed();
}
