//! Publishing, subscribing and acknowledging.

use super::AcknowledgementKind::{PubAck, PubComp, PubRec, PubRel};
use super::*;

#[test]
fn a_message_is_delivered_at_the_lower_qos() {
    let mut rig = Rig::new();
    let (publisher, one, two) = (rig.connect(v5("p")), rig.connect(v5("one")), rig.connect(v5("two")));
    rig.say(one, subscribe("a/+", 1));
    rig.say(two, subscribe("a/#", 2));
    rig.expect(one, &["SUBACK 01"]);
    rig.expect(two, &["SUBACK 02"]);
    rig.say(publisher, publish("a/b", "x", 2, 5));
    rig.expect(publisher, &["PUBREC 5 00"]);
    rig.expect(one, &["a/b x q1 #1"]);
    rig.expect(two, &["a/b x q2 #1"]);
    rig.say(publisher, (PubRel, 5));
    rig.expect(publisher, &["PUBCOMP 5 00"]);
    rig.say(publisher, publish("none", "x", 1, 6));
    rig.expect(publisher, &["PUBACK 6 10"]);
}

#[test]
fn a_repeated_qos_2_message_is_answered_and_not_routed_again() {
    let mut rig = Rig::new();
    let (publisher, subscriber) = (rig.connect(lasting("p")), rig.connect(v5("s")));
    rig.say(subscriber, subscribe("t", 0));
    rig.say(publisher, publish("t", "x", 2, 9));
    rig.say(publisher, Publish { dup: true, ..publish("t", "x", 2, 9) });
    rig.cut(publisher);
    let again = rig.connect(lasting("p"));
    rig.say(again, Publish { dup: true, ..publish("t", "x", 2, 9) });
    rig.expect(subscriber, &["SUBACK 00", "t x q0"]);
    rig.expect(again, &["PUBREC 9 00"]);
    rig.say(again, (PubRel, 9));
    rig.say(again, (PubRel, 9));
    rig.expect(again, &["PUBCOMP 9 00", "PUBCOMP 9 92"]);
    rig.say(again, publish("t", "y", 2, 9));
    rig.expect(subscriber, &["t y q0"]);
}

#[test]
fn overlapping_subscriptions_give_one_copy_or_one_each() {
    let options =
        |qos| SubscriptionOptions { qos: QoS::from_u8(qos).unwrap(), ..SubscriptionOptions::default() };
    for (overlapping, expected) in [
        (OverlappingSubscriptions::Once, vec!["a/b x q2 #1 id7 id8"]),
        (OverlappingSubscriptions::Each, vec!["a/b x q1 #1 id7", "a/b x q2 #2 id8"]),
    ] {
        let mut rig = Rig::with(|config| config.overlapping = overlapping);
        let client = rig.connect(v5("c"));
        rig.say(client, subscribe_with("a/b", options(1), 7));
        rig.say(client, subscribe_with("a/#", options(2), 8));
        rig.heard(client);
        rig.say(client, publish("a/b", "x", 2, 1));
        let mut heard = rig.heard(client);
        heard.retain(|line| line.starts_with("a/b"));
        heard.sort();
        let mut heard: Vec<_> = heard.iter().map(|line| line.replace("id8 id7", "id7 id8")).collect();
        heard.sort();
        assert_eq!(heard.iter().map(|line| line.replace("#2", "#1")).collect::<Vec<_>>(), {
            expected.iter().map(|line| line.replace("#2", "#1")).collect::<Vec<_>>()
        });
    }
}

#[test]
fn no_local_keeps_a_copy_back_only_if_every_subscription_has_it() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    rig.say(client, subscribe_with("a", no_local, 0));
    rig.say(client, publish("a", "x", 1, 1));
    rig.expect(client, &["SUBACK 00", "PUBACK 1 10"]);
    rig.say(client, subscribe("#", 0));
    rig.say(client, publish("a", "y", 0, 0));
    rig.expect(client, &["SUBACK 00", "a y q0"]);
}

#[test]
fn replacing_a_subscription_changes_its_options_and_nothing_else() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("t", 0));
    rig.say(client, subscribe("t", 2));
    rig.say(client, publish("t", "x", 1, 3));
    rig.expect(client, &["SUBACK 00", "SUBACK 02", "t x q1 #1", "PUBACK 3 00"]);
    rig.say(client, unsubscribe("t"));
    rig.say(client, unsubscribe("t"));
    rig.say(client, unsubscribe("t/#/x"));
    rig.say(client, publish("t", "y", 1, 4));
    rig.expect(client, &["UNSUBACK 00", "UNSUBACK 11", "UNSUBACK 8f", "PUBACK 4 10"]);
}

#[test]
fn over_the_clients_receive_maximum_messages_wait_and_qos_0_passes() {
    let mut rig = Rig::new();
    let mut connect = v5("s");
    connect.properties.receive_maximum = 2.try_into().unwrap();
    let (publisher, subscriber) = (rig.connect(v5("p")), rig.connect(connect));
    rig.say(subscriber, subscribe("t", 2));
    for number in 1..=4 {
        rig.say(publisher, publish("t", &number.to_string(), if number == 4 { 2 } else { 1 }, number));
    }
    rig.say(publisher, publish("t", "zero", 0, 0));
    rig.expect(subscriber, &["SUBACK 02", "t 1 q1 #1", "t 2 q1 #2", "t zero q0"]);
    rig.expect(publisher, &["PUBACK 1 00", "PUBACK 2 00", "PUBACK 3 00", "PUBREC 4 00"]);
    rig.say(subscriber, (PubAck, 2));
    rig.expect(subscriber, &["t 3 q1 #3"]);
    rig.say(subscriber, (PubAck, 77));
    rig.expect(subscriber, &[]);
    rig.say(subscriber, (PubAck, 3));
    rig.expect(subscriber, &["t 4 q2 #4"]);
    rig.say(subscriber, (PubRec, 4));
    rig.say(subscriber, (PubComp, 4));
    rig.expect(subscriber, &["PUBREL 4 00"]);
}

#[test]
fn an_error_in_pubrec_ends_the_exchange() {
    let mut rig = Rig::new();
    let client = rig.connect(lasting("c"));
    rig.say(client, subscribe("t", 2));
    rig.say(client, publish("t", "x", 2, 1));
    rig.say(client, (PubRec, 1, ReasonCode::QuotaExceeded));
    rig.expect(client, &["SUBACK 02", "t x q2 #1", "PUBREC 1 00"]);
    rig.say(client, (PubRec, 1));
    rig.expect(client, &["PUBREL 1 92"]);
    rig.cut(client);
    let again = rig.connect(lasting("c"));
    rig.expect(again, &[]);
}

#[test]
fn messages_wait_while_a_socket_is_slow_and_none_is_lost() {
    let mut rig = Rig::with(|config| config.limits.outbound_window = 50);
    let (publisher, subscriber) = (rig.connect(v5("p")), rig.connect(v5("s")));
    rig.say(subscriber, subscribe("t", 1));
    for number in 1..=9 {
        rig.say(publisher, publish("t", &number.to_string(), u8::from(number % 2 == 1), number));
    }
    let first = rig.heard(subscriber);
    assert!(first.len() < 6, "{first:?}");
    let mut all = first;
    for _ in 0..10 {
        rig.written(subscriber);
        all.extend(rig.heard(subscriber));
    }
    let payloads: Vec<_> =
        all.iter().skip(1).map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn sys_topics_are_not_for_clients() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("$SYS/#", 0));
    rig.say(client, publish("$SYS/x", "x", 1, 1));
    rig.say(client, publish("$SYSTEM", "x", 1, 2));
    rig.expect(client, &["SUBACK 00", "PUBACK 1 87", "PUBACK 2 10"]);
}

#[test]
fn only_the_owner_subscribes_to_response_topics() {
    let mut rig = Rig::new();
    let mut connect = v5("requester");
    connect.properties.request_response_information = true;
    let requester = rig.connect(connect);
    let prefix = rig.broker.sessions.get(SessionKey::from_raw(0)).unwrap().response_prefix.clone().unwrap();
    let (topic, other) = (format!("{prefix}/reply"), rig.connect(v5("other")));
    rig.say(requester, subscribe(&topic, 0));
    rig.expect(requester, &["SUBACK 00"]);
    rig.say(other, subscribe(&topic, 0));
    rig.say(other, subscribe("#", 0));
    rig.expect(other, &["SUBACK 87", "SUBACK 00"]);
    rig.say(other, publish(&topic, "x", 1, 1));
    rig.expect(other, &["PUBACK 1 00"]);
    rig.expect(requester, &[&format!("{topic} x q0")]);
    rig.cut(requester);
    rig.say(other, Publish { retain: true, ..publish(&topic, "late", 1, 2) });
    rig.say(other, subscribe("#", 0));
    rig.expect(other, &["PUBACK 2 00", "SUBACK 00"]);
}

#[test]
fn a_packet_that_the_client_does_not_take_is_dropped_and_the_client_is_not() {
    let mut rig = Rig::new();
    let mut connect = v5("s");
    connect.properties.maximum_packet_size = Some(20.try_into().unwrap());
    let client = rig.connect(connect);
    rig.say(client, subscribe("t", 1));
    rig.say(client, publish("t", "0123456789012345", 1, 1));
    rig.say(client, publish("t", "x", 1, 2));
    rig.expect(client, &["SUBACK 01", "PUBACK 1 00", "t x q1 #1", "PUBACK 2 00"]);
    assert_eq!(rig.broker.counters().dropped_packet_too_large, 1);
}
