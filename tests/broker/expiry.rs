//! Messages that expire.

use crate::support::*;

fn expiring(topic: &str, seconds: u32) -> Publish {
    publish(topic).qos(1).property(Property::MessageExpiry(seconds))
}

fn expiry_of(message: &Publish) -> u32 {
    match message.all(0x02)[..] {
        [Property::MessageExpiry(seconds)] => seconds,
        ref other => panic!("no expiry in {message:?}: {other:?}"),
    }
}

#[test]
fn a_message_delivered_at_once_keeps_its_expiry() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 1);
    for seconds in [100, 1_000_000, u32::MAX] {
        Client::connect(&broker, connect()).publish(expiring("a", seconds));
        let left = expiry_of(&client.receive_messages(1)[0]);
        // A second may have turned.
        assert!(left == seconds || left == seconds - 1, "{left} of {seconds}");
    }
}

#[test]
fn waiting_is_taken_from_the_expiry() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("waits").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 1);
    client.disconnect();
    Client::connect(&broker, connect()).publish(expiring("a", 1000));
    broker.let_pass(2);
    let mut client = Client::connect(&broker, persistent());
    let left = expiry_of(&client.receive_messages(1)[0]);
    assert!((900..=998).contains(&left), "{left}");
}

#[test]
fn a_message_that_has_waited_too_long_is_not_delivered() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let id = format!("late-{version:?}");
        let persistent = || connect().version(version).client_id(&id).persistent();
        let mut client = Client::connect(&broker, persistent());
        client.subscribe("a", 2);
        client.disconnect();
    }
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("lasts"));
    publisher.publish(expiring("a", 1).payload("expires"));
    publisher.publish(expiring("a", 1).qos(2).payload("expires"));
    publisher.publish(expiring("a", 1000).payload("lasts long"));
    broker.let_pass(2);
    for version in Version::ALL {
        let packet = connect().version(version).client_id(&format!("late-{version:?}")).persistent();
        let mut client = Client::connect(&broker, packet);
        let messages = client.receive_messages(2);
        assert_eq!([messages[0].text(), messages[1].text()], ["lasts", "lasts long"]);
        client.expect_nothing();
    }
    assert!(broker.counter("expired_messages") >= 6);
}

#[test]
fn a_message_expires_behind_a_full_window_too() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(1));
    client.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("first"));
    publisher.publish(expiring("a", 1).payload("expires"));
    publisher.publish(publish("a").qos(1).payload("last"));
    let first = client.receive_publish();
    broker.let_pass(2);
    client.send(puback(first.id));
    assert_eq!(client.receive_messages(1)[0].text(), "last");
    client.expect_nothing();
}

#[test]
fn a_retained_message_expires() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(expiring("a", 1).retain().payload("expires"));
    publisher.publish(expiring("b", 1000).retain().payload("lasts"));
    broker.let_pass(2);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("#", 1);
    let message = client.receive_publish();
    assert_eq!((message.text(), message.retain), ("lasts", true));
    assert!((900..=998).contains(&expiry_of(&message)), "{message:?}");
    client.expect_nothing();
    let mut old = Client::connect(&broker, connect().version(Version::V311));
    old.subscribe("a", 1);
    old.expect_nothing();
}

#[test]
fn a_retained_message_without_expiry_replaces_one_with() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(expiring("a", 1).retain().payload("expires"));
    publisher.publish(publish("a").qos(1).retain().payload("stays"));
    broker.let_pass(2);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 0);
    client.expect(publish("a").retain().payload("stays"));
}
