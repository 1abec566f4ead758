//! The form of packets: chapter 2 of both standards.

use std::collections::BTreeSet;

use crate::support::*;
use crate::{expect_end, expect_refusal, in_each_version, in_numbered_versions, join};

/// Sends a packet with other flags than it should have.
fn expect_refused_flags(packet: impl Fn(Version) -> Frame, right: u8) {
    in_numbered_versions(|broker, version| {
        for flags in (0..16).filter(|flags| *flags != right) {
            let mut client = join(broker, version);
            client.send(packet(version).flags(flags));
            client.expect_disconnect(0x81);
        }
    });
}

/// Keeps [MQTT-2.1.3-1] [MQTT3-2.2.2-1] [MQTT3-2.2.2-2].
#[test]
fn reserved_flags_of_pingreq_must_be_zero() {
    expect_refused_flags(|_| pingreq(), 0);
}

/// Keeps [MQTT-2.1.3-1] [MQTT3-2.2.2-1] [MQTT3-2.2.2-2].
#[test]
fn reserved_flags_of_connect_must_be_zero() {
    in_numbered_versions(|broker, version| {
        let mut client = Client::open(broker);
        client.set_version(version);
        client.send(connect().version(version).frame(version).flags(1));
        expect_refusal(&mut client, &[0x81]);
    });
}

/// Keeps [MQTT-2.1.3-1] [MQTT3-2.2.2-1] [MQTT3-2.2.2-2].
#[test]
fn reserved_flags_of_acknowledgements_must_be_zero() {
    expect_refused_flags(|version| puback(1).frame(version), 0);
    expect_refused_flags(|version| pubrec(1).frame(version), 0);
    expect_refused_flags(|version| pubcomp(1).frame(version), 0);
}

/// Keeps [MQTT-3.6.1-1] [MQTT3-3.6.1-1].
#[test]
fn other_flags_in_pubrel_end_the_connection() {
    expect_refused_flags(|version| pubrel(1).frame(version), 2);
}

/// Keeps [MQTT-3.8.1-1] [MQTT3-3.8.1-1].
#[test]
fn other_flags_in_subscribe_end_the_connection() {
    expect_refused_flags(|version| subscribe("a", 0).frame(version), 2);
}

/// Keeps [MQTT-3.10.1-1] [MQTT3-3.10.1-1].
#[test]
fn other_flags_in_unsubscribe_end_the_connection() {
    expect_refused_flags(|version| unsubscribe("a").frame(version), 2);
}

/// Keeps [MQTT-3.14.1-1] [MQTT3-3.14.1-1].
#[test]
fn other_flags_in_disconnect_end_the_connection_as_an_error() {
    expect_refused_flags(|version| disconnect().frame(version), 0);
}

/// Keeps [MQTT-4.2-1] [MQTT3-7.1.1-1].
#[test]
fn packets_are_found_in_the_stream_however_it_is_cut() {
    in_each_version(|broker, version| {
        let packets = [
            connect().version(version).frame(version),
            subscribe("t", 1).frame(version),
            publish("t").qos(1).id(9).payload("x").frame(version),
            pingreq(),
        ];
        let bytes = packets.iter().flat_map(Frame::bytes).collect::<Vec<u8>>();
        for size in [1, 2, 7, bytes.len()] {
            let mut client = Client::open(broker);
            client.set_version(version);
            for piece in bytes.chunks(size) {
                client.send_raw(piece);
            }
            client.expect(connack(0));
            client.expect(suback(1, &[1]));
            client.expect_unordered([puback(9).into(), publish("t").qos(1).payload("x").into()]);
            client.expect(Packet::PingResp);
            client.disconnect();
        }
    });
}

/// Keeps [MQTT-2.2.1-2] [MQTT3-2.3.1-5].
#[test]
fn a_message_of_qos_0_has_no_packet_identifier() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 2);
        client.send(publish("t").payload("only this"));
        // An identifier would stand before the payload.
        client.expect(publish("t").payload("only this"));
    });
}

/// Keeps [MQTT-2.2.1-3] [MQTT3-2.3.1-1].
#[test]
fn a_packet_identifier_of_zero_ends_the_connection() {
    in_each_version(|broker, version| {
        for packet in [
            publish("t").qos(1).frame(version),
            publish("t").qos(2).frame(version),
            subscribe("t", 0).id(0).frame(version),
            unsubscribe("t").id(0).frame(version),
        ] {
            let mut client = join(broker, version);
            client.send(packet);
            expect_end(&mut client, &[0x81, 0x82]);
        }
    });
}

/// Keeps [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT3-2.3.1-1] [MQTT3-2.3.1-4].
#[test]
fn messages_in_flight_have_different_packet_identifiers() {
    in_each_version(|broker, version| {
        let mut subscriber = join(broker, version);
        subscriber.subscribe("t", 2);
        let mut publisher = join(broker, version);
        let mut used = BTreeSet::new();
        for qos in [1, 2, 1, 2, 2, 1, 1, 2] {
            publisher.publish(publish("t").qos(qos));
            let message = subscriber.receive_publish();
            assert_eq!(message.qos, qos);
            assert!(message.id > 0 && used.insert(message.id), "{message:?}");
        }
    });
}

/// Keeps [MQTT-2.2.1-5] [MQTT3-2.3.1-6].
#[test]
fn acknowledgements_carry_the_packet_identifier_of_their_message() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("t", 2);
        client.send(publish("t").qos(1).id(0xFFFE));
        client.expect_unordered([puback(0xFFFE).into(), publish("t").qos(1).into()]);
        client.send(publish("t").qos(2).id(513));
        let mut outgoing = 0;
        for _ in 0..2 {
            match client.receive() {
                Packet::Publish(message) => outgoing = message.id,
                other => assert!(other.is(&pubrec(513).into()), "{other:?}"),
            }
        }
        client.send(pubrel(513));
        client.expect(pubcomp(513));
        client.send(pubrec(outgoing));
        client.expect(pubrel(outgoing));
    });
}

/// Keeps [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5] [MQTT3-2.3.1-7] [MQTT3-3.8.4-2] [MQTT3-3.10.4-4].
#[test]
fn suback_and_unsuback_carry_the_packet_identifier_of_what_they_answer() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(subscribe("t", 1).id(0xABCD));
        client.expect(suback(0xABCD, &[1]));
        client.send(unsubscribe("t").id(0xFFFF));
        let reasons: &[u8] = if version.is_v5() { &[0] } else { &[] };
        client.expect(unsuback(0xFFFF, reasons));
    });
}

/// Keeps [MQTT-2.2.2-1].
#[test]
fn the_length_of_the_properties_is_there_even_if_there_are_none() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.subscribe("t", 0);
    // Were the length missing, the payload would be read as the properties.
    let message = publish("t").payload("\u{2}no property");
    client.send(message.clone());
    client.expect(message);
    let mut without = join(&broker, Version::V5);
    without.send(frame(0x30, b"\x00\x01t"));
    without.expect_disconnect(0x81);
}
