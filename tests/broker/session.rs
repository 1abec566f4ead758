//! Sessions: what is kept of a client that is away, for how long, and what it finds when it returns.

use crate::support::*;

#[test]
fn a_session_is_present_when_its_client_returns() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("returns-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        assert!(!client.connack().session_present);
        client.subscribe("a", 1);
        client.disconnect();

        let mut client = Client::open(&broker);
        let connack = client.attach(persistent());
        // MQTT 3.1 cannot say so.
        assert_eq!(connack.session_present, version != Version::V31);
        client.send(publish("a"));
        client.expect(publish("a"));
    }
}

#[test]
fn subscriptions_outlive_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("keeps-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        client.subscribe("a", 1);
        client.cut();
        let mut client = Client::connect(&broker, persistent());
        client.send(publish("a").qos(1).id(1).payload("x"));
        client.expect_unordered([publish("a").qos(1).payload("x").into(), puback(1).into()]);
    }
}

#[test]
fn a_clean_start_discards_the_session() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("discards-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        client.subscribe("a", 1);
        client.disconnect();
        let mut publisher = Client::connect(&broker, connect());
        publisher.publish(publish("a").qos(1).payload("lost"));

        let mut client = Client::connect(&broker, persistent().clean_start(true));
        assert!(!client.connack().session_present);
        client.expect_nothing();
        assert_eq!(publisher.publish(publish("a").qos(1)), 0x10, "nobody is subscribed any more");
    }
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    for packet in [
        connect().client_id("ends"),
        connect().client_id("ends").clean_start(false),
        connect().client_id("ends").clean_start(false).session_expiry(0),
        connect().client_id("ends").version(Version::V311),
        connect().client_id("ends").version(Version::V31),
    ] {
        let mut client = Client::connect(&broker, packet);
        client.subscribe("a", 1);
        assert_eq!(publisher.publish(publish("a").qos(1)), 0);
        client.receive_messages(1);
        client.disconnect();
        assert_eq!(publisher.publish(publish("a").qos(1)), 0x10);
        let client = Client::connect(&broker, connect().client_id("ends").clean_start(false));
        assert!(!client.connack().session_present);
        client.disconnect();
    }
}

#[test]
fn a_session_can_be_resumed_by_another_version_of_the_protocol() {
    let broker = Broker::start(&[]);
    let mut client =
        Client::connect(&broker, connect().version(Version::V311).client_id("moves").persistent());
    client.subscribe("a", 2);
    client.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(2).payload("x").property(Property::user("k", "v")));

    let mut client = Client::connect(&broker, connect().client_id("moves").persistent());
    assert!(client.connack().session_present);
    client.expect(publish("a").qos(2).payload("x").property(Property::user("k", "v")));
    client.disconnect();
    let mut client =
        Client::connect(&broker, connect().version(Version::V31).client_id("moves").persistent());
    client.expect(publish("a").qos(2).payload("x").dup());
}

#[test]
fn messages_of_qos_1_and_2_wait_for_a_client_that_is_away() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("away-{version:?}");
        let topic = format!("waits/{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        client.subscribe(&topic, 2);
        client.disconnect();

        let mut publisher = Client::connect(&broker, connect());
        publisher.publish(publish(&topic).qos(1).payload("1"));
        publisher.publish(publish(&topic).payload("not kept: QoS 0"));
        publisher.publish(publish(&topic).qos(2).payload("2"));
        publisher.publish(publish(&topic).qos(1).payload("3"));

        let mut client = Client::connect(&broker, persistent());
        let messages = client.receive_messages(3);
        let seen: Vec<_> =
            messages.iter().map(|message| (message.qos, message.text(), message.dup)).collect();
        assert_eq!(seen, [(1, "1", false), (2, "2", false), (1, "3", false)]);
        client.expect_nothing();
    }
}

#[test]
fn what_waited_is_delivered_once() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("once").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 1);
    client.disconnect();
    Client::connect(&broker, connect()).publish(publish("a").qos(1).payload("x"));
    let mut client = Client::connect(&broker, persistent());
    client.receive_messages(1);
    client.expect_nothing();
    client.disconnect();
    let mut client = Client::connect(&broker, persistent());
    client.expect_nothing();
}

#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    let broker = Broker::start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("ended", 0);
    // The will comes at the end of the session, which is before its delay has passed.
    let will = will("ended").delay(1000);
    let client = Client::connect(&broker, connect().client_id("expires").session_expiry(1).will(will));
    client.cut();
    watcher.expect(publish("ended"));
    let client = Client::connect(&broker, connect().client_id("expires").persistent());
    assert!(!client.connack().session_present);
}

#[test]
fn a_session_that_is_resumed_does_not_end() {
    let broker = Broker::start(&[]);
    let expiring = || connect().client_id("resumed").clean_start(false).session_expiry(1);
    let mut client = Client::connect(&broker, expiring());
    client.subscribe("a", 0);
    client.cut();
    let mut client = Client::connect(&broker, expiring());
    assert!(client.connack().session_present);
    broker.let_pass(2);
    client.send(publish("a"));
    client.expect(publish("a"));
}

#[test]
fn disconnect_may_shorten_the_expiry() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("shortens").persistent();
    let client = Client::connect(&broker, persistent());
    client.disconnect_with(disconnect().property(Property::SessionExpiry(0)));
    let client = Client::connect(&broker, persistent());
    assert!(!client.connack().session_present);
}

#[test]
fn disconnect_may_lengthen_the_expiry() {
    let broker = Broker::start(&[]);
    let client = Client::connect(&broker, connect().client_id("lengthens").session_expiry(1));
    client.disconnect_with(disconnect().property(Property::SessionExpiry(0xFFFF_FFFF)));
    broker.let_pass(2);
    let client = Client::connect(&broker, connect().client_id("lengthens").persistent());
    assert!(client.connack().session_present);
}

#[test]
fn disconnect_cannot_make_a_session_last_that_was_not_to() {
    let broker = Broker::start(&[]);
    for packet in [connect(), connect().session_expiry(0)] {
        let mut client = Client::connect(&broker, packet);
        client.send(disconnect().property(Property::SessionExpiry(10)));
        client.expect_disconnect(0x82);
    }
    // Zero stays zero.
    Client::connect(&broker, connect()).disconnect_with(disconnect().property(Property::SessionExpiry(0)));
}

#[test]
fn an_expiry_of_all_ones_never_ends() {
    let broker = Broker::start(&[]);
    let client = Client::connect(&broker, connect().client_id("for ever").session_expiry(u32::MAX));
    client.cut();
    broker.let_pass(1);
    let client = Client::connect(&broker, connect().client_id("for ever").persistent());
    assert!(client.connack().session_present);
}

#[test]
fn the_option_replaces_the_expiry_that_clients_ask_for() {
    let broker = Broker::start(&["--mqtt-session-expiry-interval=1000"]);
    for asked in [connect(), connect().session_expiry(5), connect().session_expiry(u32::MAX)] {
        let client = Client::connect(&broker, asked.client_id("overridden"));
        assert!(client.connack().has(&Property::SessionExpiry(1000)));
        client.disconnect();
        let client = Client::connect(&broker, connect().client_id("overridden").clean_start(false));
        assert!(client.connack().session_present);
        client.disconnect();
    }

    let broker = Broker::start(&["--mqtt-session-expiry-interval=0"]);
    for version in Version::ALL {
        let persistent = || connect().version(version).client_id("nothing kept").persistent();
        let client = Client::connect(&broker, persistent());
        assert_eq!(client.connack().has(&Property::SessionExpiry(0)), version.is_v5());
        client.disconnect();
        let client = Client::connect(&broker, persistent());
        assert!(!client.connack().session_present);
        client.disconnect();
    }
}

#[test]
fn what_was_under_way_is_sent_again_on_return_and_only_then() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("again-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        client.subscribe("a", 2);
        let mut publisher = Client::connect(&broker, connect());
        for (payload, qos) in [("1", 1), ("2", 2), ("3", 1)] {
            publisher.publish(publish("a").qos(qos).payload(payload));
        }
        let first: Vec<Publish> = (0..3).map(|_| client.receive_publish()).collect();
        client.expect_nothing();
        client.cut();

        let mut client = Client::connect(&broker, persistent());
        for message in &first {
            assert!(!message.dup);
            client.expect(message.clone().dup());
        }
        client.expect_nothing();
        // What has been acknowledged is not sent a third time.
        client.send(puback(first[0].id));
        client.expect_nothing();
        client.cut();
        let mut client = Client::connect(&broker, persistent());
        client.expect(first[1].clone().dup());
        client.expect(first[2].clone().dup());
        client.expect_nothing();
        client.disconnect_with(disconnect());
        Client::connect(&broker, connect().version(version).client_id(&id)).disconnect();
    }
}

#[test]
fn many_sessions_wait_side_by_side() {
    let broker = Broker::start(&[]);
    let persistent = |index: usize| connect().client_id(&format!("side-{index}")).persistent();
    for index in 0..50 {
        let mut client = Client::connect(&broker, persistent(index));
        client.subscribe(&format!("to/{index}"), 1);
        client.subscribe("to/all", 1);
        client.disconnect();
    }
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("to/all").qos(1).payload("all"));
    for index in 0..50 {
        publisher.publish(publish(format!("to/{index}")).qos(1).payload(index.to_string()));
    }
    for index in 0..50 {
        let mut client = Client::connect(&broker, persistent(index));
        let messages = client.receive_messages(2);
        assert_eq!([messages[0].text(), messages[1].text()], ["all", &index.to_string()]);
        client.expect_nothing();
    }
}
