//! What the simulation has found, each made a small conversation.

use super::journal::Kept;
use super::*;

use AcknowledgementKind::PubRel;

#[test]
fn what_a_client_cannot_be_told_is_refused_is_known_to_have_been_received() {
    let mut kept = Kept::new();
    let writer = kept.connect(v3("writer", false));
    kept.say(writer, publish("$SYS/x", "x", 2, 1));
    kept.rig.expect(writer, &["PUBREC 1 00"]);
    kept.restart(0);
    let writer = kept.connect(v3("writer", false));
    kept.say(writer, (PubRel, 1));
    kept.rig.expect(writer, &["PUBCOMP 1 00"]);
}

#[test]
fn a_session_is_not_taken_for_connected_while_a_later_broker_ran() {
    let mut kept = Kept::new();
    let mut connect = v5("short");
    connect.properties.session_expiry_interval = 1_000;
    kept.connect(connect);
    kept.connect(lasting("long"));
    kept.recover(500);
    kept.tear(1);
    kept.restart(600);
    assert_eq!(
        kept.rig.broker.sessions.len(),
        1,
        "the one expired 1000 seconds after the first broker had ended"
    );
}

#[test]
fn a_will_that_is_due_is_not_forgotten_before_it_is_published() {
    for count in 0..=2 {
        let mut kept = Kept::new();
        let reader = kept.connect(lasting("reader"));
        kept.say(reader, subscribe("gone", 1));
        let mut connect = lasting("writer");
        connect.will = Some(Box::new(Will { qos: QoS::AtLeastOnce, ..*will("gone", 0) }));
        let writer = kept.connect(connect.clone());
        kept.rig.cut(reader);
        kept.sync();
        kept.rig.cut(writer);
        kept.tear(count);
        kept.restart(0);
        let reader = kept.connect(lasting("reader"));
        kept.rig.expect(reader, &["gone gone q1 #1"]);
    }
}

#[test]
fn a_new_will_is_not_taken_for_the_one_that_was_published() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("+", 1));
    let with_will = |topic| Connect { will: Some(will(topic, 0)), ..lasting("writer") };
    kept.connect(with_will("one"));
    kept.connect(with_will("two"));
    kept.rig.expect(reader, &["SUBACK 01", "one gone q0"]);
    kept.restart(0);
    assert_eq!(kept.rig.broker.counters().wills_published, 1, "the second, once its connection is gone");
}

#[test]
fn a_client_is_not_told_that_it_begins_anew_before_that_is_kept() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.rig.cut(reader);
    kept.sync();
    let mut clean = v5("reader");
    clean.clean_start = true;
    let reader = kept.rig.try_connect(clean, Identity::Anonymous);
    kept.rig.expect(reader, &[]);
    kept.sync();
    kept.rig.expect(reader, &["CONNACK 00 present=false"]);
}

#[test]
fn a_copy_that_gives_way_to_another_of_the_same_message_does_not_come_back() {
    let mut kept = Kept::with(|config| {
        config.limits.queued_messages = 1;
        config.overlapping = OverlappingSubscriptions::Each;
    });
    let reader = kept.connect(lasting("reader"));
    for filter in ["a", "+", "#"] {
        kept.say(reader, subscribe(filter, 1));
    }
    kept.rig.cut(reader);
    let writer = kept.connect(v5("writer"));
    kept.say(writer, publish("a", "1", 1, 1));
    kept.restart(0);
    assert_eq!(kept.recovered.queued, 1);
}

#[test]
fn a_session_goes_on_when_the_message_that_it_waits_for_gives_way_to_another() {
    let mut kept = Kept::with(|config| {
        config.limits.cached_bytes = 0;
        config.limits.queued_messages = 2;
    });
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    kept.rig.cut(reader);
    let writer = kept.connect(v5("writer"));
    kept.say(writer, publish("a", "1", 1, 1));
    kept.say(writer, publish("a", "2", 1, 2));
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.sync();
    kept.rig.say(writer, publish("a", "3", 1, 3));
    kept.read();
    kept.rig.expect(reader, &["CONNACK 00 present=true", "a 2 q1 #1", "a 3 q1 #2"]);
}

#[test]
fn what_a_departed_member_has_left_is_not_forgotten_before_another_has_it() {
    for reclaims in [false, true] {
        let mut kept = Kept::with(|config| config.limits.cached_bytes = 0);
        let one = kept.connect(lasting("one"));
        kept.say(one, subscribe("$share/g/a", 1));
        kept.rig.cut(one);
        let writer = kept.connect(v5("writer"));
        kept.say(writer, publish("a", "1", 1, 1));
        kept.say(writer, publish("a", "2", 1, 2));
        let two = kept.connect(lasting("two"));
        kept.say(two, subscribe("$share/g/a", 1));
        kept.rig.cut(two);
        kept.sync();
        let mut clean = lasting("one");
        clean.clean_start = true;
        kept.rig.try_connect(clean, Identity::Anonymous);
        kept.sync();
        assert_eq!(kept.rig.wanted.len(), 2, "they are to be read before they go to another");
        if reclaims {
            kept.reclaim();
            kept.reclaim();
        }
        kept.restart(0);
        assert_eq!((kept.recovered.sessions, kept.recovered.incomplete), (2, 0));
        kept.read();
        kept.sync();
        kept.restart(0);
        let two = kept.connect(lasting("two"));
        kept.read();
        kept.rig.expect(two, &["a 1 q1 #1", "a 2 q1 #2"]);
    }
}
