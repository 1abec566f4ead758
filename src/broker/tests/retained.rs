//! Retained messages, kept and replayed.

use super::*;
use crate::mqtt::packet::RetainHandling;

#[test]
fn the_last_retained_message_is_replayed_and_an_empty_one_clears_it() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.say(client, retained("a", "1"));
    rig.say(client, retained("a", "2"));
    rig.say(client, retained("b", "x"));
    rig.say(client, retained("b", ""));
    rig.say(client, subscribe("+", 1));
    rig.expect(client, &["SUBACK 01", "a 2 q0 retain"]);
    rig.say(client, retained("c", "live"));
    rig.expect(client, &["c live q0"]);
}

#[test]
fn retain_handling_and_retain_as_published_are_kept() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.say(client, retained("a", "1"));
    let with = |retain_handling| SubscriptionOptions { retain_handling, ..SubscriptionOptions::default() };
    rig.say(client, subscribe_with("a", with(RetainHandling::Never), 0));
    rig.expect(client, &["SUBACK 00"]);
    rig.say(client, subscribe_with("a", with(RetainHandling::IfNew), 0));
    rig.expect(client, &["SUBACK 00"]);
    rig.say(client, subscribe_with("a", with(RetainHandling::Always), 3));
    rig.expect(client, &["SUBACK 00", "a 1 q0 retain id3"]);
    rig.say(client, unsubscribe("a"));
    let as_published = SubscriptionOptions { retain_as_published: true, ..with(RetainHandling::IfNew) };
    rig.say(client, subscribe_with("a", as_published, 0));
    rig.say(client, retained("a", "2"));
    rig.expect(client, &["UNSUBACK 00", "SUBACK 00", "a 1 q0 retain", "a 2 q0 retain"]);
}

#[test]
fn any_number_is_replayed_through_a_small_window_without_queueing() {
    let mut rig = Rig::with(|config| {
        config.limits.outbound_window = 200;
        config.limits.queued_messages = 1;
    });
    let publisher = rig.connect(v5("p"));
    for number in 0..5_000_u32 {
        rig.say(publisher, retained(&format!("t/{number}/{}", number % 7), "x"));
    }
    let client = rig.connect(v5("c"));
    rig.say(client, subscribe("t/+/3", 0));
    let mut seen = rig.heard(client).len() - 1;
    while seen < 714 {
        rig.written(client);
        rig.wait(0);
        let heard = rig.heard(client);
        assert!(heard.len() <= 12, "{} at once", heard.len());
        seen += heard.iter().filter(|line| line.starts_with("t/")).count();
    }
    rig.written(client);
    rig.wait(0);
    rig.expect(client, &[]);
    assert_eq!(rig.broker.counters().dropped_queue_full_qos0, 0);
}

#[test]
fn a_replay_goes_on_with_the_session() {
    let mut rig = Rig::new();
    let publisher = rig.connect(v5("p"));
    for number in 0..10 {
        rig.say(publisher, Publish { retain: true, ..publish(&format!("t/{number}"), "x", 1, 1) });
    }
    let mut connect = lasting("c");
    connect.properties.receive_maximum = 3.try_into().unwrap();
    let client = rig.connect(connect.clone());
    rig.say(client, subscribe("t/#", 1));
    assert_eq!(rig.heard(client).len(), 4);
    rig.cut(client);
    let again = rig.connect(connect);
    let mut seen = Vec::new();
    for id in 1..=10 {
        seen.extend(rig.heard(again));
        rig.say(again, (AcknowledgementKind::PubAck, id));
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[test]
fn retained_messages_expire() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let properties = PublishProperties { message_expiry_interval: Some(5), ..PublishProperties::default() };
    rig.say(client, Publish { properties: Some(Box::new(properties)), ..retained("a", "x") });
    rig.wait(5);
    assert_eq!(rig.broker.retained.len(), 0);
    assert_eq!(rig.broker.counters().expired_retained, 1);
}
