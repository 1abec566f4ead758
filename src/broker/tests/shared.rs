//! Shared subscriptions.

use super::*;

fn group(rig: &mut Rig, clients: &[&str], qos: u8) -> Vec<ConnectionId> {
    let group: Vec<_> = clients.iter().map(|client| rig.connect(lasting(client))).collect();
    for member in &group {
        rig.say(*member, subscribe("$share/g/t/#", qos));
        rig.heard(*member);
    }
    group
}

fn payloads(rig: &mut Rig, connection: ConnectionId) -> Vec<String> {
    rig.heard(connection).iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn each_message_goes_to_one_member_in_turn() {
    let mut rig = Rig::new();
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a", "b", "c"], 0);
    for number in 0..6 {
        rig.say(publisher, publish("t/x", &number.to_string(), 0, 0));
    }
    assert_eq!(payloads(&mut rig, members[0]), ["0", "3"]);
    assert_eq!(payloads(&mut rig, members[1]), ["1", "4"]);
    assert_eq!(payloads(&mut rig, members[2]), ["2", "5"]);
}

#[test]
fn who_is_away_gets_nothing_while_others_can_take_it() {
    let mut rig = Rig::new();
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a", "b"], 1);
    rig.cut(members[0]);
    for number in 1..=4 {
        rig.say(publisher, publish("t/x", &number.to_string(), 1, number));
    }
    assert_eq!(payloads(&mut rig, members[1]), ["1", "2", "3", "4"]);
    rig.cut(members[1]);
    rig.say(publisher, publish("t/x", "5", 1, 5));
    let a = rig.connect(lasting("a"));
    assert_eq!(payloads(&mut rig, a), ["5"], "the least loaded member's queue");
}

#[test]
fn what_a_member_leaves_behind_goes_to_another() {
    let mut rig = Rig::new();
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a"], 1);
    rig.say(publisher, publish("t/x", "1", 1, 1));
    rig.say(publisher, publish("t/x", "2", 1, 2));
    rig.say(members[0], (AcknowledgementKind::PubAck, 1));
    let others = group(&mut rig, &["b"], 1);
    rig.say(
        members[0],
        Disconnect { session_expiry_interval: Some(0), ..Disconnect::because(ReasonCode::Success) },
    );
    assert_eq!(payloads(&mut rig, others[0]), ["2"]);
    assert_eq!(rig.broker.counters().shared_redelivered, 1);
}

#[test]
fn a_qos_2_message_under_way_goes_to_nobody_else() {
    let mut rig = Rig::with(|config| config.limits.inflight_messages = 1);
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a"], 2);
    rig.say(publisher, publish("t/x", "under way", 2, 1));
    rig.say(publisher, publish("t/x", "waiting", 2, 2));
    let others = group(&mut rig, &["b"], 2);
    rig.cut(members[0]);
    rig.connect(Connect { clean_start: true, ..v5("a") });
    assert_eq!(rig.heard(others[0]), ["t/x waiting q2 #1"]);
}

#[test]
fn hash_sticky_and_least_inflight_choose_as_they_say() {
    for strategy in [
        SharedStrategy::HashTopic,
        SharedStrategy::HashClient,
        SharedStrategy::Sticky,
        SharedStrategy::Random,
    ] {
        let mut rig = Rig::with(|config| config.shared_strategy = strategy);
        let publisher = rig.connect(v5("p"));
        let members = group(&mut rig, &["a", "b", "c", "d"], 0);
        for number in 0..40 {
            rig.say(publisher, publish("t/x", &number.to_string(), 0, 0));
        }
        let mut counts: Vec<_> = members.iter().map(|member| payloads(&mut rig, *member).len()).collect();
        counts.sort_unstable();
        if strategy == SharedStrategy::Random {
            assert!(counts[0] > 0 && counts[3] < 30, "{counts:?}");
        } else {
            assert_eq!(counts, [0, 0, 0, 40], "{strategy:?}");
        }
    }
    let mut rig = Rig::with(|config| config.shared_strategy = SharedStrategy::LeastInflight);
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a", "b"], 1);
    for number in 1..=3 {
        rig.say(publisher, publish("t/x", &number.to_string(), 1, number));
    }
    assert_eq!(payloads(&mut rig, members[0]), ["1", "3"]);
    rig.say(members[0], (AcknowledgementKind::PubAck, 1));
    rig.say(members[0], (AcknowledgementKind::PubAck, 2));
    rig.say(publisher, publish("t/x", "4", 1, 4));
    assert_eq!(payloads(&mut rig, members[0]), ["4"]);
}

#[test]
fn a_full_member_is_passed_over() {
    let mut rig = Rig::with(|config| config.limits.inflight_messages = 1);
    let publisher = rig.connect(v5("p"));
    let members = group(&mut rig, &["a", "b"], 1);
    for number in 1..=2 {
        rig.say(publisher, publish("t/x", &number.to_string(), 1, number));
    }
    rig.say(members[1], (AcknowledgementKind::PubAck, 1));
    rig.say(publisher, publish("t/x", "3", 1, 3));
    assert_eq!(payloads(&mut rig, members[0]), ["1"]);
    assert_eq!(payloads(&mut rig, members[1]), ["2", "3"]);
}
