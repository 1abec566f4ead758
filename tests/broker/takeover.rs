//! A client that connects while it is still connected.

use crate::support::*;

#[test]
fn a_taken_over_connection_is_told_why() {
    let broker = Broker::start(&[]);
    for old_version in Version::ALL {
        for new_version in Version::ALL {
            let mut old = Client::connect(&broker, connect().version(old_version).client_id("same"));
            let mut new = Client::connect(&broker, connect().version(new_version).client_id("same"));
            old.expect_disconnect(0x8E);
            new.expect_nothing();
            new.disconnect();
        }
    }
}

#[test]
fn the_session_goes_over_with_all_that_is_under_way() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("over").persistent().receive_maximum(2);
    let mut old = Client::connect(&broker, persistent());
    old.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    for payload in ["1", "2", "3"] {
        publisher.publish(publish("a").qos(1).payload(payload));
    }
    old.expect(publish("a").qos(1).payload("1"));
    old.expect(publish("a").qos(1).payload("2"));

    let mut new = Client::connect(&broker, persistent());
    assert!(new.connack().session_present);
    old.expect_disconnect(0x8E);
    let messages = new.receive_messages(3);
    let seen: Vec<_> = messages.iter().map(|message| (message.text(), message.dup)).collect();
    assert_eq!(seen, [("1", true), ("2", true), ("3", false)]);
    new.expect_nothing();
}

#[test]
fn a_session_without_expiry_can_be_taken_over_too() {
    let broker = Broker::start(&[]);
    let mut old = Client::connect(&broker, connect().client_id("live"));
    old.subscribe("a", 0);
    let mut new = Client::connect(&broker, connect().client_id("live").clean_start(false));
    old.expect_disconnect(0x8E);
    // [MQTT-3.1.4-3] closes the old connection and with it ends a session that was not to outlive it; that it goes on
    // is right as well. Either way, the client is told the truth.
    if new.connack().session_present {
        new.send(publish("a"));
        new.expect(publish("a"));
    } else {
        new.publish(publish("a"));
    }
}

#[test]
fn a_clean_start_takes_over_but_not_the_session() {
    let broker = Broker::start(&[]);
    let mut old = Client::connect(&broker, connect().client_id("clean").persistent());
    old.subscribe("a", 1);
    let mut new = Client::connect(&broker, connect().client_id("clean"));
    assert!(!new.connack().session_present);
    old.expect_disconnect(0x8E);
    assert_eq!(new.publish(publish("a").qos(1)), 0x10);
}

#[test]
fn an_identifier_of_qos_2_is_remembered_by_the_new_connection() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 2);
    let persistent = || connect().client_id("publisher").persistent();
    let mut old = Client::connect(&broker, persistent());
    old.send(publish("a").qos(2).id(5).payload("x"));
    old.expect(pubrec(5));
    let mut new = Client::connect(&broker, persistent());
    old.expect_disconnect(0x8E);
    new.send(publish("a").qos(2).id(5).payload("x").dup());
    new.expect(pubrec(5));
    new.send(pubrel(5));
    new.expect(pubcomp(5));
    subscriber.receive_messages(1);
    subscriber.expect_nothing();
}

#[test]
fn a_storm_of_takeovers_leaves_the_last_one_standing() {
    let broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("done", 0);
    let persistent = || connect().client_id("storm").persistent();
    let mut clients: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = Client::open(&broker);
            client.send(persistent());
            client.send(subscribe("a", 1));
            client
        })
        .collect();
    for client in &mut clients {
        client.expect_accepted();
    }
    // All have had their turn, in what order only the broker knows; this one comes after them.
    let mut last = Client::connect(&broker, persistent());
    assert!(last.connack().session_present);
    for client in &mut clients {
        while let Some(packet) = client.try_receive() {
            match packet {
                Packet::SubAck(_) => {}
                packet => assert!(packet.is(&disconnect().reason(0x8E).into()), "{packet:?}"),
            }
        }
    }
    last.publish(publish("done"));
    subscriber.expect(publish("done"));
}

#[test]
fn a_connection_that_does_not_read_can_be_taken_over() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("deaf").persistent();
    let mut old = Client::open_narrow(&broker, 4096);
    old.attach(persistent());
    old.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 100_000];
    for _ in 0..50 {
        publisher.publish(publish("a").qos(1).payload(&payload));
    }
    let mut new = Client::connect(&broker, persistent());
    assert!(new.connack().session_present);
    let messages = new.receive_messages(50);
    assert!(messages.iter().all(|message| message.payload == payload));
    new.expect_nothing();
}

#[test]
fn the_will_of_the_old_connection_follows_the_rules() {
    let broker = Broker::start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("will", 0);
    let client = || connect().client_id("wills");

    // Without delay it is published at once.
    let mut old = Client::connect(&broker, client().session_expiry(60).will(will("will").payload("at once")));
    let new = Client::connect(&broker, client().clean_start(false));
    old.expect_disconnect(0x8E);
    watcher.expect(publish("will").payload("at once"));
    new.disconnect();

    // With a delay, and the session going on, it is not.
    let delayed = will("will").payload("never").delay(60);
    let mut old = Client::connect(&broker, client().session_expiry(60).will(delayed));
    let new = Client::connect(&broker, client().clean_start(false).session_expiry(60));
    old.expect_disconnect(0x8E);
    watcher.expect_nothing();
    new.disconnect();

    // A clean start ends the session, and so the delay.
    let delayed = will("will").payload("ended").delay(60);
    let mut old = Client::connect(&broker, client().session_expiry(60).will(delayed));
    let _new = Client::connect(&broker, client());
    old.expect_disconnect(0x8E);
    watcher.expect(publish("will").payload("ended"));
    watcher.expect_nothing();
}
