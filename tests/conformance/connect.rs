//! CONNECT: section 3.1 of both standards.

use std::time::{Duration, Instant};

use crate::support::*;
use crate::{expect_refusal, in_each_version, in_numbered_versions, join, stay};

const ACCOUNTS: &str = r##"{
    authentication: [{name: "ada", method: "plain_password", password: "right"}],
    authorization: [{topic: "#", allow: {sub: ["@any"], pub: ["@any"]}}],
}"##;

/// Opens a connection, sends a CONNECT that is wrong, and insists on its being refused. Before 5.0 there must be no
/// CONNACK.
fn expect_malformed(broker: &Broker, version: Version, packet: impl Encode) {
    let mut client = Client::open(broker);
    client.set_version(version);
    client.send(packet);
    if version.is_v5() {
        expect_refusal(&mut client, &[0x81, 0x82]);
    } else {
        client.expect_closed();
    }
}

/// Keeps [MQTT-3.1.0-1] [MQTT-3.2.0-1] [MQTT-3.14.0-1] [MQTT3-3.1.0-1] [MQTT3-3.2.0-1].
#[test]
fn what_is_not_connect_in_the_first_place_is_not_answered() {
    in_each_version(|broker, version| {
        for packet in [pingreq(), publish("t").frame(version), subscribe("t", 0).frame(version)] {
            let mut client = Client::open(broker);
            client.send(packet);
            client.expect_closed();
        }
    });
}

/// Keeps [MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT3-3.1.0-2].
#[test]
fn a_second_connect_ends_the_connection() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(connect().version(version));
        client.expect_disconnect(0x82);
    });
}

/// Keeps [MQTT-3.1.2-1] [MQTT3-3.1.2-1].
#[test]
fn another_protocol_name_is_refused() {
    in_each_version(|broker, version| {
        for name in ["MQTY", "mqtt", "MQIsd", "", "MQTTMQTT"] {
            let mut client = Client::open(broker);
            client.set_version(version);
            client.send(connect().version(version).protocol_name(name));
            expect_refusal(&mut client, if version.is_v5() { &[0x84] } else { &[1] });
        }
    });
}

/// Keeps [MQTT-3.1.2-2].
#[test]
fn a_later_protocol_version_is_refused() {
    let broker = Broker::start(&[]);
    for level in [6, 7, 255] {
        let mut client = Client::open(&broker);
        client.send(connect().level(level));
        expect_refusal(&mut client, &[0x84]);
    }
}

/// Keeps [MQTT3-3.1.2-2] [MQTT3-3.2.2-5].
#[test]
fn a_protocol_level_that_never_was_is_answered_with_return_code_1() {
    let broker = Broker::start(&[]);
    for level in [0, 1, 2] {
        Client::refused(&broker, connect().version(Version::V311).level(level), 1);
    }
}

/// Keeps [MQTT-3.1.2-3] [MQTT3-3.1.2-3].
#[test]
fn the_reserved_flag_of_connect_must_be_zero() {
    in_numbered_versions(|broker, version| {
        expect_malformed(broker, version, connect().version(version).flags(0x03));
    });
}

/// Keeps [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT3-3.1.2-11] [MQTT3-3.1.2-13] [MQTT3-3.1.2-15].
#[test]
fn the_flags_of_a_will_that_is_not_there_must_be_zero() {
    in_numbered_versions(|broker, version| {
        for flags in [0x02 | 0x08, 0x02 | 0x10, 0x02 | 0x20] {
            expect_malformed(broker, version, connect().version(version).flags(flags));
        }
    });
}

/// Keeps [MQTT-3.1.2-12] [MQTT3-3.1.2-14].
#[test]
fn a_will_has_no_qos_3() {
    in_each_version(|broker, version| {
        expect_malformed(broker, version, connect().version(version).will(will("w").qos(3)));
    });
}

/// Keeps [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19].
/// Keeps [MQTT3-3.1.2-9] [MQTT3-3.1.2-19] [MQTT3-3.1.2-21].
#[test]
fn what_the_flags_announce_must_be_there() {
    in_numbered_versions(|broker, version| {
        // A will, a user name, and a user name with a password.
        for flags in [0x02 | 0x04, 0x02 | 0x80, 0x02 | 0xC0] {
            expect_malformed(broker, version, connect().version(version).flags(flags));
        }
    });
}

/// Keeps [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT3-3.1.2-18] [MQTT3-3.1.2-20].
#[test]
fn what_the_flags_do_not_announce_must_not_be_there() {
    in_numbered_versions(|broker, version| {
        expect_malformed(broker, version, connect().version(version).user("u").flags(0x02));
        expect_malformed(broker, version, connect().version(version).user("u").password("p").flags(0x82));
    });
}

/// Keeps [MQTT3-3.1.2-22].
#[test]
fn a_password_without_a_user_name_is_refused_in_3_1_1() {
    let broker = Broker::start(&[]);
    expect_malformed(&broker, Version::V311, connect().version(Version::V311).password("p"));
}

/// Keeps [MQTT-3.1.2-22] [MQTT-3.2.2-22] [MQTT3-3.1.2-24].
#[test]
fn a_silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    in_each_version(|broker, version| {
        let mut watcher = join(broker, version);
        watcher.subscribe("w", 0);
        let start = Instant::now();
        let mut client = Client::connect(broker, connect().version(version).keep_alive(1).will(will("w")));
        assert!(client.connack().all(0x13).is_empty(), "there is a Server Keep Alive");
        client.expect_disconnect(0x8D);
        assert!(start.elapsed() >= Duration::from_millis(1_400), "after {:?}", start.elapsed());
        watcher.expect(publish("w"));
    });
}

/// Keeps [MQTT-3.1.2-21] [MQTT-3.2.2-21].
#[test]
fn the_server_keep_alive_replaces_the_client_s() {
    let broker = Broker::start(&["--mqtt-server-keep-alive=1"]);
    let start = Instant::now();
    let mut client = Client::connect(&broker, connect().keep_alive(600));
    assert!(client.connack().has(&Property::ServerKeepAlive(1)));
    client.expect_disconnect(0x8D);
    assert!(start.elapsed() >= Duration::from_millis(1_400), "after {:?}", start.elapsed());
}

/// Keeps [MQTT-3.1.2-24] [MQTT-3.1.2-25].
#[test]
fn a_message_too_large_for_the_client_counts_as_sent() {
    let broker = Broker::start(&[]);
    let limited = connect().receive_maximum(1).property(Property::MaximumPacketSize(50));
    let mut client = Client::connect(&broker, limited);
    client.subscribe("t", 1);
    let mut publisher = join(&broker, Version::V5);
    // 2 bytes of header, 3 of topic, 2 of identifier and 1 of properties leave 42.
    publisher.publish(publish("t").qos(1).payload([b'x'; 43]));
    publisher.publish(publish("t").qos(1).payload([b'x'; 42]));
    client.expect(publish("t").qos(1).payload([b'x'; 42]));
    client.expect_nothing();
}

/// Keeps [MQTT-3.1.2-26] [MQTT-3.3.2-8] [MQTT-3.3.2-11].
#[test]
fn topic_aliases_to_the_client_keep_within_its_maximum() {
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias"]);
    let mut client = Client::connect(&broker, connect().property(Property::TopicAliasMaximum(2)));
    client.subscribe("#", 0);
    let mut publisher = join(&broker, Version::V5);
    let mut used = 0;
    for topic in ["a", "b", "c", "d", "a", "b", "c", "d"] {
        publisher.publish(publish(topic));
        let message = client.receive_publish();
        for alias in message.all(0x23) {
            assert!([Property::TopicAlias(1), Property::TopicAlias(2)].contains(&alias), "{message:?}");
            used += 1;
        }
    }
    assert!(used > 0, "no topic alias was sent at all");
}

/// Keeps [MQTT-3.1.2-27].
#[test]
fn a_client_that_allows_no_topic_aliases_gets_none() {
    let broker = Broker::start(&["--mqtt-auto-map-topic-alias"]);
    for connect in [connect(), connect().property(Property::TopicAliasMaximum(0))] {
        let mut client = Client::connect(&broker, connect);
        client.subscribe("t", 0);
        for _ in 0..2 {
            client.send(publish("t"));
            client.expect(publish("t"));
        }
    }
}

/// Keeps [MQTT-3.1.2-28].
#[test]
fn response_information_comes_only_if_asked_for() {
    let broker = Broker::start(&[]);
    for connect in [connect(), connect().property(Property::RequestResponseInformation(0))] {
        let client = Client::connect(&broker, connect);
        assert!(client.connack().all(0x1A).is_empty(), "{:?}", client.connack());
    }
    let client = Client::connect(&broker, connect().property(Property::RequestResponseInformation(1)));
    assert!(!client.connack().all(0x1A).is_empty(), "{:?}", client.connack());
}

/// Keeps [MQTT-3.1.2-29].
#[test]
fn a_client_that_asks_for_no_problem_information_gets_none() {
    let rules = r##"{
        authentication: [{name: "guest", method: "anonymous"}],
        authorization: [{topic: "#", allow: {sub: ["guest"]}}],
    }"##;
    let broker = Setup::new().file("auth.json", rules).start();
    let mut client = Client::connect(&broker, connect().property(Property::RequestProblemInformation(0)));
    client.send(publish("t").qos(1).id(1));
    client.send(publish("t").qos(2).id(2));
    client.send(subscribe("a/#/b", 0).id(3));
    client.send(unsubscribe("never").id(4));
    client.send(pubrel(5));
    client.send(pubrec(6));
    for expected in [
        Packet::from(puback(1).reason(0x87)),
        pubrec(2).reason(0x87).into(),
        suback(3, &[0x8F]).into(),
        unsuback(4, &[0x11]).into(),
        pubcomp(5).reason(0x92).into(),
        pubrel(6).reason(0x92).into(),
    ] {
        // Other than `expect` this allows no Reason String.
        assert_eq!(client.receive(), expected);
    }
}

/// Keeps [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT3-3.1.3-1] [MQTT3-3.1.3-3].
#[test]
fn the_payload_is_read_in_the_order_of_the_standard() {
    in_each_version(|broker, version| {
        let mut watcher = join(broker, version);
        watcher.subscribe("the/topic", 0);
        let full = connect().version(version).client_id("c").will(will("the/topic").payload("the payload"));
        Client::connect(broker, full.user("name").password("word")).cut();
        watcher.expect(publish("the/topic").payload("the payload"));
    });
}

/// Keeps [MQTT-3.1.3-2] [MQTT3-3.1.3-2].
#[test]
fn each_client_identifier_has_a_session_of_its_own() {
    in_each_version(|broker, version| {
        let mut one = Client::connect(broker, stay(version, "one"));
        one.subscribe("only/one", 1);
        one.disconnect();
        let mut publisher = join(broker, version);
        publisher.publish(publish("only/one").qos(1));
        let mut other = Client::connect(broker, stay(version, "One"));
        assert!(!other.connack().session_present);
        other.expect_nothing();
        let mut one = Client::connect(broker, stay(version, "one"));
        assert_eq!(one.connack().session_present, version != Version::V31);
        one.expect(publish("only/one").qos(1));
    });
}

/// Keeps [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT3-3.1.3-4] [MQTT3-3.1.3-10] [MQTT3-3.1.3-11].
#[test]
fn the_strings_of_connect_must_be_well_formed() {
    in_each_version(|broker, version| {
        let full =
            connect().version(version).client_id("qqqq").will(will("wwww")).user("uuuu").frame(version);
        for letter in *b"qwu" {
            // The name of MQTT 3.1 has a q too, but not four.
            let at = full.body().windows(4).position(|window| window == [letter; 4]).unwrap();
            expect_malformed(broker, version, full.clone().replace(at, 0xFF));
        }
    });
}

/// Keeps [MQTT-3.1.3-5] [MQTT3-3.1.3-5].
#[test]
fn client_identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    in_each_version(|broker, version| {
        let characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for client_id in ["x", &characters[..23], &characters[23..46], &characters[39..]] {
            Client::connect(broker, connect().version(version).client_id(client_id)).expect_nothing();
        }
    });
}

/// Keeps [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16].
#[test]
fn a_client_without_an_identifier_is_told_the_one_it_is_given() {
    let broker = Broker::start(&[]);
    let nameless = || connect().client_id("").session_expiry(60);
    let assigned = |client: &Client| match client.connack().all(0x12).as_slice() {
        [Property::AssignedClientId(client_id)] => client_id.clone(),
        other => panic!("assigned: {other:?}"),
    };
    let mut one = Client::connect(&broker, nameless());
    let other = Client::connect(&broker, nameless());
    assert_ne!(assigned(&one), assigned(&other));
    let client_id = assigned(&one);
    one.subscribe("t", 1);
    one.disconnect();
    let mut again = Client::connect(&broker, connect().client_id(&client_id).clean_start(false));
    assert!(again.connack().session_present);
    again.send(publish("t"));
    again.expect(publish("t"));
}

/// Keeps [MQTT3-3.1.3-6].
#[test]
fn clients_without_an_identifier_do_not_disturb_each_other() {
    let broker = Broker::start(&[]);
    let nameless = || connect().version(Version::V311).client_id("");
    let mut one = Client::connect(&broker, nameless());
    let mut other = Client::connect(&broker, nameless());
    one.expect_nothing();
    other.expect_nothing();
}

/// Keeps [MQTT-3.1.3-8].
#[test]
fn the_identifier_of_another_user_s_session_is_refused() {
    let accounts = r#"{
        authentication: [
            {name: "ada", method: "plain_password", password: "a"},
            {name: "bob", method: "plain_password", password: "b"},
        ],
        authorization: [],
    }"#;
    let broker = Setup::new().file("auth.json", accounts).start();
    let mut ada = Client::connect(&broker, connect().client_id("c").user("ada").password("a"));
    let mut bob = Client::open(&broker);
    let connack = bob.handshake(connect().client_id("c").user("bob").password("b"));
    assert!([0x85, 0x87].contains(&connack.reason), "{connack:?}");
    bob.expect_closed();
    ada.expect_nothing();
}

/// Keeps [MQTT3-3.1.3-7] [MQTT3-3.1.3-8] [MQTT3-3.1.3-9].
#[test]
fn a_client_without_an_identifier_cannot_have_its_session_kept_in_3_1_1() {
    let broker = Broker::start(&[]);
    let nameless = connect().version(Version::V311).client_id("").clean_start(false);
    Client::refused(&broker, nameless, 2);
}

/// Keeps [MQTT-3.1.4-1] [MQTT3-3.1.4-1] [MQTT3-3.2.2-6].
#[test]
fn a_malformed_connect_ends_the_connection() {
    in_each_version(|broker, version| {
        let whole = connect().version(version).frame(version);
        let length = whole.body().len();
        expect_malformed(broker, version, whole.clone().append(b"x"));
        for length in [length - 1, length - 8, 11] {
            expect_malformed(broker, version, whole.clone().truncate(length));
        }
    });
}

/// Keeps [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-4.13.2-1] [MQTT3-3.2.2-4] [MQTT3-3.2.2-5].
#[test]
fn a_wrong_password_ends_the_connection() {
    let broker = Setup::new().file("auth.json", ACCOUNTS).start();
    for version in Version::ALL {
        let right = stay(version, "c").user("ada").password("right");
        Client::connect(&broker, right).disconnect();
        let mut client = Client::open(&broker);
        let connack = client.handshake(stay(version, "c").user("ada").password("wrong"));
        let reasons: &[u8] = if version.is_v5() { &[0x86, 0x87] } else { &[4, 5] };
        assert!(reasons.contains(&connack.reason) && !connack.session_present, "{connack:?}");
        client.expect_closed();
    }
}

/// Keeps [MQTT-3.1.4-6] [MQTT3-3.1.4-5].
#[test]
fn nothing_is_processed_after_a_connect_that_is_refused() {
    let broker = Setup::new().file("auth.json", ACCOUNTS).start();
    for version in Version::ALL {
        let connect = || connect().version(version).user("ada");
        let mut watcher = Client::connect(&broker, connect().password("right"));
        watcher.subscribe("#", 0);
        let mut client = Client::open(&broker);
        client.set_version(version);
        client.send_all([connect().password("wrong").frame(version), publish("t").retain().frame(version)]);
        assert!(matches!(client.receive(), Packet::ConnAck(_)));
        client.expect_closed();
        watcher.expect_nothing();
    }
}

/// Keeps [MQTT-3.1.4-3] [MQTT3-3.1.4-2].
#[test]
fn a_second_connection_takes_over_from_the_first() {
    in_each_version(|broker, version| {
        let mut first = Client::connect(broker, connect().version(version).client_id("c"));
        let mut second = Client::connect(broker, connect().version(version).client_id("c"));
        first.expect_disconnect(0x8E);
        second.expect_nothing();
    });
}

/// Keeps [MQTT-3.1.2-30].
#[test]
fn packets_before_the_end_of_a_refused_authentication_are_not_processed() {
    let broker = Broker::start(&[]);
    let mut watcher = join(&broker, Version::V5);
    watcher.subscribe("#", 0);
    let mut client = Client::open(&broker);
    client.send(connect().property(Property::AuthenticationMethod("none such".to_owned())));
    // It may have been closed already.
    let _ = client.try_send_raw(&publish("t").frame(Version::V5).bytes());
    expect_refusal(&mut client, &[0x87, 0x8C]);
    watcher.expect_nothing();
}
