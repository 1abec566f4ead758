//! Connections come and go; sessions, queues and wills stay as they should.

use super::AcknowledgementKind::{PubAck, PubRec};
use super::*;
use crate::broker::permissions::{Names, Rule, RuleTopic, Verdicts};

fn user(name: &str) -> Identity {
    Identity::User(Arc::from(name))
}

#[test]
fn what_was_under_way_is_sent_again_and_what_waited_follows() {
    let mut rig = Rig::new();
    let publisher = rig.connect(v5("p"));
    let client = rig.connect(lasting("c"));
    rig.say(client, subscribe("t", 2));
    for (number, qos) in [(1, 2), (2, 1), (3, 2)] {
        rig.say(publisher, publish("t", &number.to_string(), qos, number));
    }
    rig.say(client, (PubRec, 1));
    rig.cut(client);
    rig.say(publisher, publish("t", "4", 1, 4));
    rig.say(publisher, publish("t", "zero", 0, 0));
    let again = rig.try_connect(lasting("c"), Identity::Anonymous);
    rig.expect(
        again,
        &["CONNACK 00 present=true", "PUBREL 1 00", "t 2 q1 #2 dup", "t 3 q2 #3 dup", "t 4 q1 #4"],
    );
}

#[test]
fn a_smaller_receive_maximum_holds_for_what_is_sent_again_too() {
    let mut rig = Rig::new();
    let client = rig.connect(lasting("c"));
    rig.say(client, subscribe("t", 1));
    for number in 1..=3 {
        rig.say(client, publish("t", &number.to_string(), 1, number));
    }
    rig.cut(client);
    let mut connect = lasting("c");
    connect.properties.receive_maximum = 1.try_into().unwrap();
    let again = rig.connect(connect);
    rig.say(again, publish("t", "4", 1, 9));
    rig.expect(again, &["t 1 q1 #1 dup", "PUBACK 9 00"]);
    for (id, next) in [(1, "t 2 q1 #2 dup"), (2, "t 3 q1 #3 dup"), (3, "t 4 q1 #4")] {
        rig.say(again, (PubAck, id));
        rig.expect(again, &[next]);
    }
}

#[test]
fn a_session_ends_when_it_should() {
    let mut rig = Rig::new();
    let present = |rig: &mut Rig, connect: Connect| {
        let connection = rig.try_connect(connect, Identity::Anonymous);
        let line = rig.heard(connection).remove(0);
        rig.cut(connection);
        line == "CONNACK 00 present=true"
    };
    let expiring = |seconds| {
        let mut connect = v5("c");
        connect.properties.session_expiry_interval = seconds;
        connect
    };
    assert!(!present(&mut rig, expiring(10)));
    rig.wait(9);
    assert!(present(&mut rig, expiring(10)));
    rig.wait(10);
    assert!(!present(&mut rig, expiring(0)));
    assert!(!present(&mut rig, v3("c", false)));
    rig.wait(1_000_000);
    assert!(present(&mut rig, v3("c", false)));
    assert!(!present(&mut rig, v3("c", true)));
    assert!(!present(&mut rig, v3("c", false)));
    assert_eq!(rig.broker.sessions.len(), 1);
}

#[test]
fn disconnect_may_change_the_session_expiry_but_not_from_zero() {
    let mut rig = Rig::new();
    let goodbye = |seconds| Disconnect {
        session_expiry_interval: Some(seconds),
        ..Disconnect::because(ReasonCode::Success)
    };
    let client = rig.connect(lasting("c"));
    rig.say(client, goodbye(5));
    rig.expect(client, &["CLOSE"]);
    rig.wait(5);
    assert_eq!(rig.broker.sessions.len(), 0);
    let client = rig.connect(v5("c"));
    rig.say(client, goodbye(5));
    rig.expect(client, &["CLOSE 82"]);
    assert_eq!(rig.broker.sessions.len(), 0);
}

#[test]
fn the_old_connection_is_told_that_it_was_taken_over() {
    let mut rig = Rig::new();
    let old = rig.connect(lasting("c"));
    rig.say(old, subscribe("t", 1));
    let new = rig.try_connect(lasting("c"), Identity::Anonymous);
    rig.expect(old, &["SUBACK 01", "CLOSE 8e"]);
    rig.expect(new, &["CONNACK 00 present=true"]);
    rig.say(old, publish("t", "late", 0, 0));
    rig.cut(old);
    rig.say(new, publish("t", "x", 0, 0));
    rig.expect(new, &["t x q0"]);
}

#[test]
fn a_session_belongs_to_the_identity_that_made_it() {
    let mut rig = Rig::new();
    let owner = rig.try_connect(lasting("c"), user("one"));
    let other = rig.try_connect(lasting("c"), user("two"));
    rig.expect(other, &["CONNACK 87 present=false", "CLOSE"]);
    rig.expect(owner, &["CONNACK 00 present=false"]);
    rig.cut(owner);
    let other = rig.try_connect(Connect { clean_start: true, ..lasting("c") }, user("two"));
    rig.expect(other, &["CONNACK 87 present=false", "CLOSE"]);
    let owner = rig.try_connect(lasting("c"), user("one"));
    rig.expect(owner, &["CONNACK 00 present=true"]);
}

#[test]
fn a_will_is_published_once_and_only_without_a_goodbye() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.say(watcher, subscribe("will/#", 0));
    rig.heard(watcher);
    let with_will = |delay| Connect { will: Some(will("will/x", delay)), ..lasting("c") };

    let client = rig.connect(with_will(0));
    rig.cut(client);
    rig.expect(watcher, &["will/x gone q0"]);

    let client = rig.connect(with_will(0));
    rig.say(client, Disconnect::because(ReasonCode::Success));
    rig.expect(watcher, &[]);

    let client = rig.connect(with_will(0));
    rig.say(client, Disconnect::because(ReasonCode::DisconnectWithWill));
    rig.expect(watcher, &["will/x gone q0"]);

    let client = rig.connect(with_will(5));
    rig.cut(client);
    rig.wait(4);
    let client2 = rig.connect(with_will(5));
    rig.wait(10);
    rig.expect(watcher, &[]);
    rig.cut(client2);
    rig.wait(5);
    rig.wait(5);
    rig.expect(watcher, &["will/x gone q0"]);
    assert_eq!(rig.heard(client), ["CLOSE"].map(String::from)[1..]);
}

#[test]
fn a_delayed_will_is_published_when_the_session_ends() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.say(watcher, subscribe("will/#", 0));
    rig.heard(watcher);
    let with_will = |expiry| {
        let mut connect = Connect { will: Some(will("will/x", 100)), ..v5("c") };
        connect.properties.session_expiry_interval = expiry;
        connect
    };
    let client = rig.connect(with_will(3));
    rig.cut(client);
    rig.expect(watcher, &[]);
    rig.wait(3);
    rig.expect(watcher, &["will/x gone q0"]);

    let client = rig.connect(with_will(1_000));
    rig.cut(client);
    rig.connect(Connect { clean_start: true, ..v5("c") });
    rig.expect(watcher, &["will/x gone q0"]);

    // A session that ends with its connection ends when it is taken over.
    let _taken_over = rig.connect(with_will(0));
    rig.connect(v5("c"));
    rig.expect(watcher, &["will/x gone q0"]);

    // A connection that goes on with the session in time keeps the will from being published [MQTT-3.1.3-9].
    let _taken_over = rig.connect(with_will(1_000));
    rig.connect(v5("c"));
    rig.wait(1_000);
    rig.expect(watcher, &[]);
}

#[test]
fn empty_client_identifiers_are_assigned_where_they_may_be() {
    let mut rig = Rig::new();
    let connection = rig.try_connect(v5(""), Identity::Anonymous);
    rig.expect(connection, &["CONNACK 00 present=false"]);
    let connection = rig.try_connect(v3("", true), Identity::Anonymous);
    rig.expect(connection, &["CONNACK 00 present=false"]);
    let connection = rig.try_connect(v3("", false), Identity::Anonymous);
    rig.expect(connection, &["CONNACK 85 present=false", "CLOSE"]);
    assert_eq!(rig.broker.sessions.len(), 2);
}

#[test]
fn a_message_that_expires_while_it_waits_is_not_delivered() {
    let mut rig = Rig::new();
    let (publisher, client) = (rig.connect(v5("p")), rig.connect(lasting("c")));
    rig.say(client, subscribe("t", 1));
    rig.cut(client);
    let expiring = |seconds| Publish {
        properties: Some(Box::new(PublishProperties {
            message_expiry_interval: Some(seconds),
            ..PublishProperties::default()
        })),
        ..publish("t", &seconds.to_string(), 1, 1)
    };
    rig.say(publisher, expiring(5));
    rig.say(publisher, expiring(20));
    rig.wait(10);
    let again = rig.connect(lasting("c"));
    rig.expect(again, &["t 20 q1 #1"]);
    assert_eq!(rig.broker.counters().expired_messages, 1);
}

#[test]
fn a_new_policy_holds_at_once() {
    let mut rig = Rig::new();
    let (one, two) = (rig.try_connect(lasting("1"), user("u1")), rig.try_connect(lasting("2"), user("u2")));
    rig.say(one, subscribe("#", 0));
    rig.heard(one);
    let policy =
        Policy::Rules { rules: Vec::new(), users: [Arc::from("u1")].into(), tokens: BTreeSet::new() };
    rig.handle(Input::PolicyChanged { name: PolicyName::default(), policy: Arc::new(policy) });
    rig.expect(two, &["CONNACK 00 present=false", "CLOSE 87"]);
    rig.say(one, publish("t", "x", 1, 1));
    rig.expect(one, &["PUBACK 1 87"]);
}

#[test]
fn what_may_no_longer_be_received_is_not_sent_again() {
    let mut rig = Rig::new();
    let client = rig.try_connect(lasting("c"), user("u1"));
    rig.say(client, subscribe("t", 2));
    rig.say(client, publish("t", "one", 1, 1));
    rig.say(client, publish("t", "two", 2, 2));
    rig.cut(client);
    let policy =
        Policy::Rules { rules: Vec::new(), users: [Arc::from("u1")].into(), tokens: BTreeSet::new() };
    rig.handle(Input::PolicyChanged { name: PolicyName::default(), policy: Arc::new(policy) });
    let again = rig.try_connect(lasting("c"), user("u1"));
    rig.expect(again, &["CONNACK 00 present=true", "PUBREL 2 00"]);
    let late = rig.try_connect(lasting("d"), user("u2"));
    rig.expect(late, &["CONNACK 87 present=false", "CLOSE"]);
}

/// A policy that knows these users and tokens of these keys, and lets everybody do everything.
fn policy(users: &[&str], tokens: &[u64]) -> Arc<Policy> {
    let everybody = || Verdicts { allow: Names { any: true, ..Names::default() }, deny: Names::default() };
    let all = Rule {
        topic: RuleTopic::parse("#").unwrap(),
        publish: everybody(),
        subscribe: everybody(),
        receive: everybody(),
    };
    let users = users.iter().copied().map(Arc::from).collect();
    let tokens = tokens.iter().copied().map(TokenKey).collect();
    Arc::new(Policy::Rules { rules: vec![all], users, tokens })
}

#[test]
fn each_client_is_under_the_policy_under_which_it_has_come() {
    let mut rig = Rig::new();
    let (main, other) = (PolicyName::default(), PolicyName::new("other"));
    let early = rig.try_connect_under(other.clone(), lasting("0"), user("u2"), None);
    rig.expect(early, &["CONNACK 87 present=false", "CLOSE"]);

    rig.handle(Input::PolicyChanged { name: main.clone(), policy: policy(&["u1", "u"], &[]) });
    rig.handle(Input::PolicyChanged { name: other.clone(), policy: policy(&["u2", "u"], &[]) });
    let stranger = rig.try_connect_under(other.clone(), lasting("1"), user("u1"), None);
    rig.expect(stranger, &["CONNACK 87 present=false", "CLOSE"]);
    let (one, two) = (
        rig.try_connect(lasting("1"), user("u")),
        rig.try_connect_under(other.clone(), lasting("2"), user("u"), None),
    );
    rig.expect(one, &["CONNACK 00 present=false"]);
    rig.expect(two, &["CONNACK 00 present=false"]);
    // Of the same name, and somebody else.
    let thief = rig.try_connect_under(other.clone(), lasting("1"), user("u"), None);
    rig.expect(thief, &["CONNACK 87 present=false", "CLOSE"]);

    rig.handle(Input::PolicyChanged { name: other, policy: policy(&["u2"], &[]) });
    rig.expect(two, &["CLOSE 87"]);
    rig.say(one, subscribe("#", 0));
    rig.expect(one, &["SUBACK 00"]);
    rig.handle(Input::PolicyChanged { name: main, policy: policy(&[], &[]) });
    rig.expect(one, &["CLOSE 87"]);
}

#[test]
fn a_client_with_a_token_stays_as_long_as_its_key_is_there() {
    let mut rig = Rig::new();
    let main = PolicyName::default;
    let by = |key| Some(Arc::new(Grants { key: TokenKey(key), ..Grants::default() }));
    rig.handle(Input::PolicyChanged { name: main(), policy: policy(&["u1"], &[1, 2]) });
    let (one, two) = (
        rig.try_connect_under(main(), lasting("1"), user("u1"), by(1)),
        rig.try_connect_under(main(), lasting("2"), user("u2"), by(2)),
    );
    let late = rig.try_connect_under(main(), lasting("3"), user("u1"), by(3));
    rig.expect(late, &["CONNACK 87 present=false", "CLOSE"]);
    rig.handle(Input::PolicyChanged { name: main(), policy: policy(&["u1"], &[2]) });
    rig.expect(one, &["CONNACK 00 present=false", "CLOSE 87"]);
    rig.expect(two, &["CONNACK 00 present=false"]);
    rig.handle(Input::Reauthenticated { connection: two, grants: by(1) });
    rig.expect(two, &["CLOSE 87"]);
}

#[test]
fn everybody_is_told_of_the_shutdown() {
    let mut rig = Rig::new();
    let (one, two) = (rig.connect(v5("1")), rig.connect(lasting("2")));
    rig.handle(Input::ShutDown);
    rig.expect(one, &["CLOSE 8b"]);
    rig.expect(two, &["CLOSE 8b"]);
}
