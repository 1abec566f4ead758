//! What promises that something is kept waits until it is, and holds up nothing else.

use super::super::record::{Horizon, Sequence};
use super::journal::Kept;
use super::*;

use AcknowledgementKind::{PubRec, PubRel};

#[test]
fn nothing_is_promised_before_it_is_kept() {
    let mut kept = Kept::new();
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(reader, &["CONNACK 00 present=false"]);
    kept.rig.say(reader, subscribe("a", 2));
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(reader, &["SUBACK 02"]);
    let writer = kept.connect(lasting("writer"));
    for (qos, acknowledgement) in [(1, "PUBACK 1 00"), (2, "PUBREC 2 00")] {
        kept.rig.say(writer, publish("a", "x", qos, u16::from(qos)));
        kept.rig.expect(writer, &[]);
        kept.sync();
        kept.rig.expect(writer, &[acknowledgement]);
    }
    kept.rig.expect(reader, &["a x q1 #1", "a x q2 #2"]);
    kept.rig.say(writer, (PubRel, 2));
    kept.rig.say(reader, (PubRec, 2));
    kept.rig.expect(writer, &[]);
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(writer, &["PUBCOMP 2 00"]);
    kept.rig.expect(reader, &["PUBREL 2 00"]);
    kept.rig.say(reader, unsubscribe("a"));
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(reader, &["UNSUBACK 00"]);
}

#[test]
fn what_nobody_keeps_waits_for_nothing_and_answers_stay_in_order() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("kept", 1));
    kept.rig.heard(reader);
    let writer = kept.connect(v5("writer"));
    kept.rig.say(writer, publish("other", "x", 1, 1));
    kept.rig.expect(writer, &["PUBACK 1 10"]);
    kept.rig.say(writer, publish("kept", "x", 1, 2));
    kept.rig.say(writer, publish("other", "x", 1, 3));
    kept.rig.expect(writer, &[]);
    kept.sync();
    kept.rig.expect(writer, &["PUBACK 2 00", "PUBACK 3 10"]);
}

#[test]
fn what_had_to_let_an_answer_go_first_is_not_overtaken() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 2));
    kept.rig.cut(reader);
    let writer = kept.connect(v5("writer"));
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    let connected = kept.rig.broker.take_batch().unwrap().next();
    kept.rig.say(writer, publish("a", "1", 2, 1));
    kept.rig.say(writer, publish("a", "2", 1, 2));
    kept.rig.expect(reader, &[]);
    kept.rig.handle(Input::Kept { written: connected, synced: connected });
    kept.rig.say(writer, publish("a", "3", 1, 3));
    kept.rig.expect(reader, &["CONNACK 00 present=true", "a 2 q1 #2", "a 3 q1 #3"]);
    kept.sync();
    kept.rig.expect(reader, &["a 1 q2 #1"]);
}

#[test]
fn a_connection_is_closed_whatever_waits_for_it() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.rig.say(reader, subscribe("a", 1));
    let other = kept.connect(lasting("reader"));
    kept.rig.expect(reader, &["CLOSE 8e"]);
    let third = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.rig.expect(other, &["CLOSE 8e"]);
    kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.rig.expect(third, &["CLOSE 8e"]);
}

#[test]
fn with_other_durability_less_is_waited_for() {
    let mut kept = Kept::with(|config| config.durability.default = Durability::Os);
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    kept.rig.heard(reader);
    kept.rig.say(reader, publish("a", "x", 1, 1));
    let batch = kept.rig.broker.take_batch().unwrap();
    kept.rig.handle(Input::Kept { written: batch.next(), synced: Sequence::FIRST });
    kept.rig.expect(reader, &["a x q1 #1", "PUBACK 1 00"]);

    let rule = (crate::mqtt::TopicFilter::parse("quick/#").unwrap(), Durability::Memory);
    let mut kept = Kept::with(|config| config.durability.by_topic.push(rule));
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("#", 1));
    kept.rig.heard(reader);
    kept.rig.say(reader, publish("quick/a", "x", 1, 1));
    kept.rig.expect(reader, &["quick/a x q1 #1", "PUBACK 1 00"]);
    kept.rig.say(reader, publish("slow/a", "x", 1, 2));
    kept.rig.expect(reader, &["slow/a x q1 #2"]);
}

/// Clears the retained message of `r` with QoS 1.
fn clear(id: u16) -> Publish {
    Publish { retain: true, ..publish("r", "", 1, id) }
}

#[test]
fn who_finds_cleared_what_another_is_clearing_is_told_so_when_that_is_kept() {
    for is_under_way in [false, true] {
        for qos in [0, 1] {
            let mut kept = Kept::new();
            let [one, other] = ["one", "other"].map(|name| kept.connect(v5(name)));
            kept.say(one, Publish { retain: true, ..publish("r", "x", 1, 1) });
            kept.rig.heard(one);
            kept.rig.say(one, if qos == 0 { retained("r", "") } else { clear(2) });
            let batch = is_under_way.then(|| kept.rig.broker.take_batch().unwrap());
            kept.rig.say(other, clear(7));
            kept.rig.expect(other, &[]);
            if let Some(batch) = batch {
                kept.rig.handle(Input::Kept { written: batch.next(), synced: batch.first() });
            }
            kept.rig.expect(other, &[]);
            let batch = kept.rig.broker.take_batch().unwrap();
            assert!(batch.awaits(Horizon::Synced), "the disk knows that somebody waits");
            kept.rig.handle(Input::Kept { written: batch.next(), synced: batch.next() });
            kept.rig.expect(other, &["PUBACK 7 10"]);
            // Of what is kept nobody need be told again.
            kept.rig.say(other, clear(8));
            kept.rig.expect(other, &["PUBACK 8 10"]);
            assert!(kept.rig.broker.take_batch().is_none());
        }
    }
}

#[test]
fn who_finds_no_session_is_told_so_when_the_end_of_the_last_one_is_kept() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    let goodbye = Disconnect::because(ReasonCode::Success);
    kept.rig.say(reader, Disconnect { session_expiry_interval: Some(0), ..goodbye });
    let reader = kept.rig.try_connect(v5("reader"), Identity::Anonymous);
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(reader, &["CONNACK 00 present=false"]);
    // Others wait for nothing.
    let other = kept.rig.try_connect(v5("other"), Identity::Anonymous);
    kept.rig.expect(other, &["CONNACK 00 present=false"]);
}

#[test]
fn what_a_connection_owes_is_waited_for_by_the_next_one() {
    let rule = (crate::mqtt::TopicFilter::parse("sure").unwrap(), Durability::Fsync);
    let mut kept = Kept::with(|config| {
        config.durability.default = Durability::Memory;
        config.durability.by_topic.push(rule);
    });
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("#", 2));
    let writer = kept.connect(lasting("writer"));
    kept.rig.say(writer, publish("sure", "x", 2, 7));
    kept.rig.expect(writer, &[]);
    for _ in 0..2 {
        // One who goes before all is kept leaves that to the next.
        let writer = kept.rig.try_connect(lasting("writer"), Identity::Anonymous);
        kept.rig.say(writer, Publish { dup: true, ..publish("sure", "x", 2, 7) });
        let batch = kept.rig.broker.take_batch().unwrap();
        assert!(batch.awaits(Horizon::Synced));
        kept.rig.handle(Input::Kept { written: batch.next(), synced: Sequence::FIRST });
        kept.rig.expect(writer, &[]);
    }
    let writer = kept.rig.try_connect(lasting("writer"), Identity::Anonymous);
    kept.rig.say(writer, Publish { dup: true, ..publish("sure", "x", 2, 7) });
    kept.sync();
    kept.rig.expect(writer, &["CONNACK 00 present=true", "PUBREC 7 00"]);
    // Nothing is owed any more.
    let writer = kept.rig.try_connect(lasting("writer"), Identity::Anonymous);
    kept.rig.expect(writer, &["CONNACK 00 present=true"]);
}
