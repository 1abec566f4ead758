//! How many messages may be under way, in both directions, and what names them.

use std::collections::BTreeSet;

use crate::support::*;

#[test]
fn no_more_messages_are_sent_than_the_client_takes() {
    let broker = Broker::start(&[]);
    for qos in 1..=2 {
        let mut client = Client::connect(&broker, connect().receive_maximum(2));
        client.subscribe("a", qos);
        let mut publisher = Client::connect(&broker, connect());
        for number in 0..5 {
            publisher.publish(publish("a").qos(qos).payload(number.to_string()));
        }
        let mut under_way = vec![client.receive_publish(), client.receive_publish()];
        for number in 2..5 {
            client.expect_nothing();
            let first = under_way.remove(0);
            if qos == 1 {
                client.send(puback(first.id));
            } else {
                // Only PUBCOMP makes room.
                client.send(pubrec(first.id));
                client.expect(pubrel(first.id));
                client.expect_nothing();
                client.send(pubcomp(first.id));
            }
            under_way.push(client.receive_publish());
            assert_eq!(under_way[1].text(), number.to_string());
        }
        client.expect_nothing();
        client.disconnect();
    }
}

#[test]
fn messages_of_qos_0_are_not_counted() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().receive_maximum(1));
    client.subscribe_with(subscribe("one", 1).and("zero", 0), &[1, 0]);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("one").qos(1));
    client.expect(publish("one").qos(1));
    publisher.publish(publish("one").qos(1));
    for number in 0..5 {
        publisher.publish(publish("zero").payload(number.to_string()));
        client.expect(publish("zero").payload(number.to_string()));
    }
    client.expect_nothing();
}

#[test]
fn the_window_is_that_of_the_connection() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("narrower").persistent();
    let mut client = Client::connect(&broker, persistent().receive_maximum(3));
    client.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..5 {
        publisher.publish(publish("a").qos(1).payload(number.to_string()));
    }
    let messages: Vec<Publish> = (0..3).map(|_| client.receive_publish()).collect();
    client.expect_nothing();
    client.cut();
    // Three were under way, but now there may be one at a time.
    let mut client = Client::connect(&broker, persistent().receive_maximum(1));
    for message in messages {
        client.expect(message.clone().dup());
        client.expect_nothing();
        client.send(puback(message.id));
    }
    for number in 3..5 {
        let message = client.receive_publish();
        assert_eq!((message.text(), message.dup), (number.to_string().as_str(), false));
        client.expect_nothing();
        client.send(puback(message.id));
    }
    client.expect_nothing();
}

#[test]
fn the_option_limits_what_is_under_way_to_any_client() {
    let broker = Broker::start(&["--max-inflight=3"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe("a", 1);
        let mut publisher = Client::connect(&broker, connect());
        for _ in 0..5 {
            publisher.publish(publish("a").qos(1));
        }
        let ids: Vec<u16> = (0..3).map(|_| client.receive_publish().id).collect();
        client.expect_nothing();
        client.send_all(ids.into_iter().map(puback));
        client.receive_messages(2);
        client.disconnect();
    }
}

#[test]
fn a_client_that_sends_more_than_the_broker_takes_is_disconnected() {
    let broker = Broker::start(&["--mqtt-receive-maximum=2"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        let announced = client.connack().has(&Property::ReceiveMaximum(2));
        assert_eq!(announced, version.is_v5());
        client.subscribe("a", 0);
        for id in 1..=2 {
            client.send(publish("a").qos(2).id(id));
            client.expect_unordered([pubrec(id).into(), publish("a").into()]);
        }
        // A repeat is not one more, and QoS 0 and 1 are not in the way of the first.
        client.send(publish("a").qos(2).id(1).dup());
        client.expect(pubrec(1));
        client.send(publish("a").payload("zero"));
        client.expect(publish("a").payload("zero"));
        client.send(pubrel(1));
        client.expect(pubcomp(1));
        client.send(publish("a").qos(2).id(3));
        client.expect_unordered([pubrec(3).into(), publish("a").into()]);
        if version.is_v5() {
            client.send(publish("a").qos(2).id(4));
            client.expect_disconnect(0x93);
        }
    }
}

#[test]
fn a_burst_within_the_receive_maximum_is_taken() {
    let broker = Broker::start(&["--mqtt-receive-maximum=10"]);
    let mut client = Client::connect(&broker, connect());
    for round in 0..10 {
        client.send_all((1..=10).map(|id| publish("a").qos(2).id(round * 10 + id)));
        for id in 1..=10 {
            client.expect(pubrec(round * 10 + id).reason(0x10));
        }
        client.send_all((1..=10).map(|id| pubrel(round * 10 + id)));
        for id in 1..=10 {
            client.expect(pubcomp(round * 10 + id));
        }
    }
}

#[test]
fn messages_of_qos_1_over_the_receive_maximum_at_once_are_disconnected_or_taken_in_full() {
    // The client must not do this, but as the broker acknowledges at once it may never be over.
    let broker = Broker::start(&["--mqtt-receive-maximum=5"]);
    let mut client = Client::connect(&broker, connect());
    client.send_all((1..=50).map(|id| publish("a").qos(1).id(id)));
    let mut acknowledged = 0;
    while acknowledged < 50 {
        match client.receive() {
            Packet::Ack(ack) => {
                acknowledged += 1;
                assert_eq!(ack.id, acknowledged);
            }
            Packet::Disconnect(disconnect) => {
                assert_eq!(disconnect.reason, 0x93);
                return client.expect_closed();
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refused_message_of_qos_2_leaves_the_window() {
    let broker = Broker::start(&["--mqtt-receive-maximum=1", "--mqtt-retain-support=false"]);
    let mut client = Client::connect(&broker, connect());
    for id in 1..=5 {
        client.send(publish("a").qos(2).id(id).retain());
        client.expect(pubrec(id).reason(0x83));
    }
    client.send(publish("a").qos(2).id(9));
    client.expect(pubrec(9).reason(0x10));
}

#[test]
fn identifiers_run_out_and_are_used_again_when_free() {
    let broker = Broker::start(&["--max-inflight=65535", "--max-queued-messages=200000"]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("a", 1);
    let mut publisher = Client::connect(&broker, connect());
    let publishing = std::thread::spawn(move || {
        for _ in 0..70 {
            publisher.send_all((0..1000).map(|_| publish("a").qos(1).id(1)));
            for _ in 0..1000 {
                publisher.expect(puback(1));
            }
        }
    });
    let mut used = BTreeSet::new();
    for _ in 0..65_535 {
        assert!(used.insert(client.receive_publish().id), "an identifier in use was used");
    }
    publishing.join().unwrap();
    client.expect_nothing();
    // Each that is acknowledged, in no order, is the only one that can be used next.
    for id in [65_535, 1, 300, 299, 40_000, 2, 1, 65_535] {
        client.send(puback(id));
        assert_eq!(client.receive_publish().id, id);
        client.expect_nothing();
    }
    client.send_all([puback(10), puback(20), puback(15)]);
    let mut next = [0; 3].map(|_| client.receive_publish().id);
    next.sort_unstable();
    assert_eq!(next, [10, 15, 20]);
}
