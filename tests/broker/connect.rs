//! CONNECT and CONNACK.

use crate::support::*;

#[test]
fn every_version_is_accepted() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.expect_nothing();
    }
}

#[test]
fn every_version_is_served_by_one_listener_at_a_time() {
    let broker = Broker::start(&[]);
    let mut clients = Version::ALL.map(|version| {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("all", 1);
        client
    });
    clients[0].send(publish("all").payload("x"));
    for client in &mut clients {
        client.expect(publish("all").payload("x"));
    }
}

#[test]
fn nothing_is_announced_by_default() {
    let broker = Broker::start(&[]);
    let client = Client::connect(&broker, connect());
    assert_eq!(client.connack().properties, []);
}

#[test]
fn an_empty_client_identifier_is_replaced_by_an_assigned_one() {
    let broker = Broker::start(&[]);
    let mut assigned = Vec::new();
    for _ in 0..3 {
        let client = Client::connect(&broker, connect().client_id("").session_expiry(60));
        let [Property::AssignedClientId(id)] = &client.connack().all(0x12)[..] else {
            panic!("no identifier in {:?}", client.connack());
        };
        assert!(!id.is_empty() && !assigned.contains(id), "{id} of {assigned:?}");
        assigned.push(id.clone());
        client.disconnect();
    }
    // It is the client's from then on.
    for id in &assigned {
        let client = Client::connect(&broker, connect().client_id(id).persistent());
        assert!(client.connack().session_present);
        assert_eq!(client.connack().all(0x12), []);
    }
}

#[test]
fn an_empty_client_identifier_may_be_used_in_3_1_1_with_a_clean_session_only() {
    let broker = Broker::start(&[]);
    let empty = || connect().version(Version::V311).client_id("");
    let mut one = Client::connect(&broker, empty());
    let mut other = Client::connect(&broker, empty());
    one.expect_nothing();
    other.expect_nothing();
    Client::refused(&broker, empty().clean_start(false), 2);
}

#[test]
fn an_empty_client_identifier_is_refused_in_3_1() {
    let broker = Broker::start(&[]);
    for clean in [true, false] {
        Client::refused(&broker, connect().version(Version::V31).client_id("").clean_start(clean), 2);
    }
}

#[test]
fn a_long_client_identifier_is_accepted() {
    let broker = Broker::start(&[]);
    let long = "é0123456789/+#$ ".repeat(60);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version).client_id(&long));
        client.expect_nothing();
    }
}

#[test]
fn an_unknown_protocol_level_is_answered_and_refused() {
    let broker = Broker::start(&[]);
    for (name, level) in [("MQTT", 0), ("MQTT", 3), ("MQTT", 6), ("MQTT", 255), ("MQIsdp", 4), ("MQIsdp", 5)]
    {
        let mut client = Client::open(&broker);
        client.set_version(if level > 5 { Version::V5 } else { Version::V311 });
        client.send(connect().version(Version::V311).protocol_name(name).level(level));
        // The client's version of MQTT not being known, either form is right.
        let answer = client.receive_raw();
        let in_v5 = answer.starts_with(&[0x20]) && answer.get(2..4) == Some(&[0, 0x84]);
        assert!(answer == [0x20, 2, 0, 1] || in_v5, "{name} {level}: {answer:02x?}");
    }
}

#[test]
fn another_protocol_is_refused() {
    let broker = Broker::start(&[]);
    for name in ["", "MQT", "MQTTT", "mqtt", "HTTP", "MQIsdpx"] {
        for version in Version::ALL {
            let mut client = Client::open(&broker);
            client.set_version(version);
            client.send(connect().version(version).protocol_name(name));
            client.expect_refusal(&[0x01, 0x84, 0x81, 0x82]);
        }
    }
}

#[test]
fn what_is_not_connect_is_not_answered_before_it() {
    let broker = Broker::start(&[]);
    for packet in [
        frame(0x30, &[0, 1, b'a']),
        pingreq(),
        disconnect().into(),
        subscribe("#", 0).into(),
        unsubscribe("#").into(),
        puback(1).into(),
        pubrel(1).into(),
        auth(0x18).into(),
    ] {
        let mut client = Client::open(&broker);
        client.send(packet);
        client.expect_closed();
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(connect().version(version));
        client.expect_disconnect(0x82);
    }
}

#[test]
fn connect_flags_that_contradict_each_other_are_refused() {
    let broker = Broker::start(&[]);
    // Reserved bit; will QoS and retain without a will.
    for flags in [0x03, 0x0A, 0x12, 0x22] {
        for version in [Version::V311, Version::V5] {
            let mut client = Client::open(&broker);
            client.set_version(version);
            client.send(connect().version(version).flags(flags));
            client.expect_refusal(&[0x81, 0x82]);
        }
    }
    // Will QoS 3.
    for version in [Version::V311, Version::V5] {
        let mut client = Client::open(&broker);
        client.set_version(version);
        client.send(connect().version(version).will(will("a")).flags(0x1E));
        client.expect_refusal(&[0x81, 0x82]);
    }
}

#[test]
fn a_password_needs_a_user_name_before_5_0() {
    let broker = Broker::start(&[]);
    let mut client = Client::open(&broker);
    client.set_version(Version::V311);
    client.send(connect().version(Version::V311).password("secret"));
    client.expect_closed();
    Client::connect(&broker, connect().password("secret")).expect_nothing();
}

#[test]
fn what_follows_connect_at_once_is_served() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::open(&broker);
        client.set_version(version);
        client.send_all([
            connect().version(version).frame(version),
            subscribe("a", 1).id(3).frame(version),
            publish("a").qos(1).id(4).payload("x").frame(version),
            pingreq(),
        ]);
        client.expect(connack(0));
        client.expect(suback(3, &[1]));
        client.expect_unordered([publish("a").qos(1).payload("x").into(), puback(4).into()]);
        client.expect(Packet::PingResp);
    }
}

#[test]
fn packets_may_come_byte_by_byte() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::open(&broker);
        client.set_version(version);
        let will = will("w").payload("gone").qos(1);
        for byte in connect().version(version).will(will).user("u").password("p").frame(version).bytes() {
            client.send_raw(&[byte]);
        }
        client.expect(connack(0));
        for byte in publish("a").qos(2).id(9).payload("x").frame(version).bytes() {
            client.send_raw(&[byte]);
        }
        let reason = if version.is_v5() { 0x10 } else { 0 };
        client.expect(pubrec(9).reason(reason));
    }
}

#[test]
fn values_that_connect_must_not_have_are_refused() {
    let broker = Broker::start(&[]);
    for properties in [
        vec![Property::ReceiveMaximum(0)],
        vec![Property::MaximumPacketSize(0)],
        vec![Property::RequestProblemInformation(2)],
        vec![Property::RequestResponseInformation(2)],
        vec![Property::ReceiveMaximum(5), Property::ReceiveMaximum(5)],
        vec![Property::SessionExpiry(5), Property::SessionExpiry(5)],
        vec![Property::TopicAliasMaximum(5), Property::TopicAliasMaximum(5)],
        vec![Property::AuthenticationData(vec![1])],
        vec![Property::TopicAlias(1)],
        vec![Property::MaximumQos(1)],
        vec![Property::ReasonString("x".to_owned())],
        vec![Property::Raw(vec![0x7F])],
        vec![Property::Raw(vec![0x11, 0])],
    ] {
        let mut client = Client::open(&broker);
        let packet = properties.iter().cloned().fold(connect(), Connect::property);
        client.send(packet);
        client.expect_refusal(&[0x81, 0x82]);
    }
    for properties in [
        vec![Property::WillDelay(1), Property::WillDelay(1)],
        vec![Property::PayloadFormat(2)],
        vec![Property::ReceiveMaximum(1)],
        vec![Property::TopicAlias(1)],
    ] {
        let mut client = Client::open(&broker);
        let will = properties.iter().cloned().fold(will("w"), Will::property);
        client.send(connect().will(will));
        client.expect_refusal(&[0x81, 0x82]);
    }
}

#[test]
fn properties_that_the_broker_has_no_use_for_are_accepted() {
    let broker = Broker::start(&[]);
    let packet = connect()
        .property(Property::user("a", "1"))
        .property(Property::user("a", "1"))
        .property(Property::RequestProblemInformation(1))
        .property(Property::RequestResponseInformation(0))
        .property(Property::MaximumPacketSize(u32::MAX))
        .property(Property::TopicAliasMaximum(u16::MAX))
        .property(Property::ReceiveMaximum(u16::MAX));
    Client::connect(&broker, packet).expect_nothing();
}

#[test]
fn an_authentication_method_is_refused_as_none_is_configured() {
    let broker = Broker::start(&[]);
    let method = || connect().property(Property::AuthenticationMethod("SCRAM-SHA-256".to_owned()));
    Client::refused(&broker, method(), 0x8C);
    Client::refused(&broker, method().property(Property::AuthenticationData(vec![1, 2])), 0x8C);
}

#[test]
fn auth_without_a_method_ends_the_connection() {
    let broker = Broker::start(&[]);
    for reason in [0x00, 0x18, 0x19] {
        let mut client = Client::connect(&broker, connect());
        client.send(auth(reason).property(Property::AuthenticationMethod("x".to_owned())));
        client.expect_disconnect(0x82);
    }
    for version in [Version::V31, Version::V311] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(frame(0xF0, &[]));
        client.expect_closed();
    }
}

#[test]
fn the_broker_closes_after_disconnect() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(disconnect());
        client.expect_closed();
    }
}

#[test]
fn what_follows_disconnect_is_ignored() {
    let broker = Broker::start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("late", 0);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send_all([disconnect().frame(version), publish("late").frame(version)]);
        client.expect_closed();
    }
    watcher.expect_nothing();
}
