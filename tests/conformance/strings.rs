//! Strings and numbers: section 1.5 of both standards.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;
use crate::{expect_end, in_each_version, join};

/// Keeps [MQTT-1.5.4-1] [MQTT3-1.5.3-1].
/// Keeps [MQTT-3.3.2-1] [MQTT3-3.3.2-1].
#[test]
fn a_topic_name_that_is_not_well_formed_ends_the_connection() {
    in_each_version(|broker, version| {
        for bytes in
            [&b"a/\xff"[..], b"a/\xc3\x28", b"a/\xed\xa0\x80", b"a/\xed\xbf\xbf", b"a/\xf4\x90\x80\x80"]
        {
            let mut client = join(broker, version);
            client.send(publish(bytes));
            expect_end(&mut client, &[0x81, 0x82, 0x90]);
        }
    });
}

/// Keeps [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT3-3.8.3-1] [MQTT3-3.10.3-1].
#[test]
fn a_topic_filter_that_is_not_well_formed_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(subscribe(b"a/\xff", 0));
        expect_end(&mut client, &[0x81, 0x82, 0x8F]);
        let mut client = join(broker, version);
        client.send(unsubscribe(b"a/\xff"));
        expect_end(&mut client, &[0x81, 0x82, 0x8F]);
    });
}

/// Keeps [MQTT-1.5.4-2] [MQTT-4.7.3-2] [MQTT3-1.5.3-2] [MQTT3-4.7.3-2].
#[test]
fn a_null_character_ends_the_connection() {
    in_each_version(|broker, version| {
        for packet in [publish("a\0b").frame(version), subscribe("a\0b", 0).frame(version)] {
            let mut client = join(broker, version);
            client.send(packet);
            expect_end(&mut client, &[0x81, 0x82, 0x8F, 0x90]);
        }
    });
}

/// Keeps [MQTT-1.5.4-3] [MQTT3-1.5.3-3].
#[test]
fn a_byte_order_mark_is_a_character_like_others() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe("\u{FEFF}a\u{FEFF}b", 0);
        client.subscribe("ab", 0);
        client.send(publish("\u{FEFF}a\u{FEFF}b").payload("marked"));
        client.expect(publish("\u{FEFF}a\u{FEFF}b").payload("marked"));
        client.expect_nothing();
    });
}

/// Keeps [MQTT-1.5.5-1].
#[test]
fn lengths_take_as_few_bytes_as_they_can() {
    let broker = Broker::start(&[]);
    let mut sender = join(&broker, Version::V5);
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&connect().frame(Version::V5).bytes()).unwrap();
    stream.write_all(&subscribe("t", 0).frame(Version::V5).bytes()).unwrap();
    let mut answers = [0; 5 + 6];
    stream.read_exact(&mut answers).unwrap();
    // Beside the payload there are the length of the topic, the topic and the length of the properties.
    for payload in [0, 123, 124, 16_379, 16_380] {
        let message = publish("t").payload(vec![b'x'; payload]);
        let expected = message.frame(Version::V5).bytes();
        sender.publish(message);
        let mut received = vec![0; expected.len()];
        stream.read_exact(&mut received).unwrap();
        assert!(received == expected, "{payload} bytes begin with {:02x?}", &received[..5]);
    }
}

/// Keeps [MQTT-1.5.5-1].
#[test]
fn lengths_in_more_bytes_than_needed_end_the_connection() {
    let broker = Broker::start(&[]);
    let mut client = join(&broker, Version::V5);
    client.send(pingreq().length_bytes(&[0x80, 0x00]));
    client.expect_disconnect(0x81);
    let mut client = join(&broker, Version::V5);
    client.send(frame(0x30, b"\x00\x01t\x80\x00"));
    client.expect_disconnect(0x81);
}

/// Keeps [MQTT-1.5.7-1].
#[test]
fn both_halves_of_a_string_pair_must_be_well_formed() {
    let broker = Broker::start(&[]);
    for pair in
        [&[0, 1, 0xFF, 0, 1, b'v'], &[0, 1, b'n', 0, 1, 0xFF], &[0, 1, 0, 0, 1, b'v'], &[0, 1, b'n', 0, 1, 0]]
    {
        let mut client = join(&broker, Version::V5);
        let property = Property::Raw([&[0x26][..], pair].concat());
        client.send(publish("t").property(property));
        client.expect_disconnect(0x81);
    }
}
