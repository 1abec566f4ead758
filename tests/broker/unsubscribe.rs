//! UNSUBSCRIBE.

use crate::support::*;

#[test]
fn messages_stop() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        for filter in ["a/b", "a/+", "#", "$share/g/a/b"] {
            client.subscribe(filter, 1);
            client.send(unsubscribe(filter).id(8));
            client.expect(unsuback(8, if version.is_v5() { &[0] } else { &[] }));
            client.publish(publish("a/b").qos(1));
            client.expect_nothing();
        }
    }
}

#[test]
fn each_entry_has_its_result() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a", 0).and("b/#", 0).and("$share/g/c", 0), &[0, 0, 0]);
    client.send(unsubscribe("a").and("none").and("b/+").and("b/#").and("a").and("c").and("$share/g/c").id(9));
    client.expect(unsuback(9, &[0, 0x11, 0x11, 0, 0x11, 0x11, 0]));
}

#[test]
fn older_clients_are_answered_whatever_they_name() {
    let broker = Broker::start(&[]);
    for version in [Version::V31, Version::V311] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(unsubscribe("never subscribed").and("neither").id(4));
        client.expect(unsuback(4, &[]));
    }
}

#[test]
fn only_the_subscription_named_ends() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let mut other = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("a/b", 0).and("a/+", 0), &[0, 0]);
    other.subscribe("a/b", 0);
    client.send(unsubscribe("a/b"));
    client.expect(unsuback(1, &[0]));
    client.send(publish("a/b"));
    client.expect(publish("a/b"));
    other.expect(publish("a/b"));
}

#[test]
fn what_was_under_way_is_still_delivered() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("leaves").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("a", 2);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(1).payload("1"));
    publisher.publish(publish("a").qos(2).payload("2"));
    let one = client.receive_publish();
    let two = client.receive_publish();
    client.send(pubrec(two.id));
    client.expect(pubrel(two.id));
    client.send(unsubscribe("a"));
    client.expect(unsuback(1, &[0]));
    client.cut();
    // [MQTT-3.10.4-3]
    let mut client = Client::connect(&broker, persistent());
    client.expect_unordered([one.dup().into(), pubrel(two.id).into()]);
    client.send(pubcomp(two.id));
    client.expect_nothing();
}

#[test]
fn packets_with_errors_in_them_end_the_connection() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let good = unsubscribe("a").frame(version);
        let length = good.body().len();
        for (what, packet) in [
            ("flags 0", good.clone().flags(0)),
            ("flags 3", good.clone().flags(3)),
            ("identifier 0", unsubscribe("a").id(0).frame(version)),
            ("no filter", good.clone().truncate(if version.is_v5() { 3 } else { 2 })),
            ("half a filter", good.clone().truncate(length - 1)),
            ("bad UTF-8", unsubscribe(b"a\xff").frame(version)),
            ("something behind", good.clone().append(&[0])),
        ] {
            if version == Version::V31 && what.starts_with("flags") {
                continue;
            }
            eprintln!("{version:?}: {what}");
            let mut client = Client::connect(&broker, connect().version(version));
            client.send(packet);
            client.expect_disconnect_for(&[0x81, 0x82]);
        }
    }
}
