//! Retained messages, kept and replayed.

use super::journal::Kept;
use super::*;
use crate::mqtt::packet::RetainHandling;

use AcknowledgementKind::{PubAck, PubComp, PubRec};

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
        rig.say(again, (PubAck, id));
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

/// A client that takes one message at a time, whose session outlives the broker.
fn slow(client_id: &str) -> Connect {
    let mut connect = lasting(client_id);
    connect.properties.receive_maximum = std::num::NonZeroU16::MIN;
    connect
}

/// A broker with retained messages at `r/1`, `r/2` and so on.
fn with_retained(count: usize, qos: u8) -> Kept {
    let mut kept = Kept::new();
    let writer = kept.connect(v5("writer"));
    for number in 1..=count {
        let topic = format!("r/{number}");
        kept.say(writer, Publish { retain: true, ..publish(&topic, "x", qos, 1) });
        if qos == 2 {
            kept.say(writer, (AcknowledgementKind::PubRel, 1));
        }
    }
    kept
}

/// Acknowledges the message under this packet identifier, to the end.
fn acknowledge(kept: &mut Kept, connection: ConnectionId, qos: u8, id: u16) {
    if qos == 1 {
        kept.say(connection, (PubAck, id));
    } else {
        kept.say(connection, (PubRec, id));
        kept.say(connection, (PubComp, id));
    }
}

/// The topics of the messages that a client has heard.
fn topics(heard: &[String]) -> Vec<&str> {
    heard.iter().filter(|line| line.starts_with("r/")).map(|line| &line[..3]).collect()
}

#[test]
fn a_replay_goes_on_after_a_restart_and_repeats_nothing() {
    for qos in [1, 2] {
        for reclaims in [false, true] {
            let mut kept = with_retained(5, qos);
            let reader = kept.connect(slow("reader"));
            kept.say(reader, subscribe("r/+", qos));
            acknowledge(&mut kept, reader, qos, 1);
            let heard = kept.rig.heard(reader);
            assert_eq!(topics(&heard), ["r/1", "r/2"], "{heard:?}");
            if reclaims {
                kept.reclaim();
                kept.reclaim();
            }
            kept.restart(0);
            let reader = kept.connect(slow("reader"));
            for id in [2, 3, 4, 5] {
                let heard = kept.rig.heard(reader);
                let expected = format!("r/{id} x q{qos} #{id}{} retain", if id == 2 { " dup" } else { "" });
                assert_eq!(heard.last(), Some(&expected), "reclaims: {reclaims}");
                acknowledge(&mut kept, reader, qos, id);
            }
            kept.rig.heard(reader);
            // It has come to its end.
            kept.restart(0);
            let reader = kept.connect(slow("reader"));
            kept.rig.expect(reader, &[]);
        }
    }
}

#[test]
fn a_replay_that_has_not_begun_to_be_sent_survives_whatever_is_cut_off() {
    for count in 0..=2 {
        let mut kept = with_retained(2, 1);
        let reader = kept.connect(slow("reader"));
        kept.rig.say(reader, subscribe("r/+", 1));
        kept.tear(count);
        kept.restart(0);
        let reader = kept.connect(slow("reader"));
        let is_subscribed = kept.recovered.subscriptions == 1;
        assert_eq!(is_subscribed, count == 2);
        let heard = kept.rig.heard(reader);
        assert_eq!(topics(&heard).len(), usize::from(is_subscribed), "{heard:?}");
    }
}

#[test]
fn where_nothing_is_retained_nothing_is_written_of_a_replay() {
    let mut kept = with_retained(3, 1);
    let reader = kept.connect(lasting("reader"));
    for (filter, qos, records) in [("s/#", 2, 1), ("r/#", 0, 1), ("r/1", 1, 4)] {
        let before = kept.rig.broker.next_record();
        kept.rig.say(reader, subscribe(filter, qos));
        assert_eq!(kept.rig.broker.next_record().since(before), records, "{filter}");
    }
}

#[test]
fn a_replay_ends_with_its_subscription_also_after_a_restart() {
    let mut kept = with_retained(3, 1);
    let reader = kept.connect(slow("reader"));
    kept.say(reader, subscribe("r/+", 1));
    kept.say(reader, unsubscribe("r/+"));
    kept.restart(0);
    let reader = kept.connect(slow("reader"));
    kept.say(reader, (PubAck, 1));
    let never =
        SubscriptionOptions { retain_handling: RetainHandling::Never, ..SubscriptionOptions::default() };
    kept.say(reader, subscribe_with("r/+", never, 0));
    kept.rig.expect(reader, &["r/1 x q1 #1 dup retain", "SUBACK 00"]);
}
