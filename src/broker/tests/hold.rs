//! What promises that something is kept waits until it is, and holds up nothing else.

use super::super::record::Sequence;
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
