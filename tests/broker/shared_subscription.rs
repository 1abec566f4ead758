//! Shared subscriptions.

use crate::support::*;

fn members(broker: &Broker, count: usize, filter: &str, qos: u8) -> Vec<Client> {
    let member = |_| {
        let mut client = Client::connect(broker, connect());
        client.subscribe(filter, qos);
        client
    };
    (0..count).map(member).collect()
}

/// Publishes messages one after the other and says which member got each.
fn takers(broker: &Broker, members: &mut [Client], topics: &[&str]) -> Vec<usize> {
    let mut publisher = Client::connect(broker, connect());
    for (number, topic) in topics.iter().enumerate() {
        publisher.publish(publish(topic).qos(1).payload(number.to_string()));
    }
    let mut takers = vec![None; topics.len()];
    for (index, member) in members.iter_mut().enumerate() {
        member.send(pingreq());
        while let Packet::Publish(message) = member.receive() {
            member.send(puback(message.id));
            let taker = &mut takers[message.text().parse::<usize>().unwrap()];
            assert_eq!(*taker, None, "{} was delivered twice", message.text());
            *taker = Some(index);
        }
    }
    takers.into_iter().map(|taker| taker.expect("a message was not delivered")).collect()
}

fn counts(takers: &[usize], members: usize) -> Vec<usize> {
    (0..members).map(|member| takers.iter().filter(|taker| **taker == member).count()).collect()
}

#[test]
fn one_member_after_the_other_gets_a_message() {
    let broker = Broker::start(&[]);
    let mut members = members(&broker, 3, "$share/g/a", 1);
    let takers = takers(&broker, &mut members, &["a"; 30]);
    assert_eq!(counts(&takers, 3), [10, 10, 10]);
    assert!(takers.windows(2).all(|pair| pair[0] != pair[1]), "{takers:?}");
}

#[test]
fn members_may_speak_any_version() {
    let broker = Broker::start(&[]);
    let mut members: Vec<Client> = Version::ALL
        .into_iter()
        .map(|version| {
            let mut client = Client::connect(&broker, connect().version(version));
            client.subscribe("$share/g/a/#", 1);
            client
        })
        .collect();
    assert_eq!(counts(&takers(&broker, &mut members, &["a/b"; 30]), 3), [10, 10, 10]);
}

#[test]
fn a_message_of_each_qos_is_delivered_once_with_its_own_granted_qos() {
    let broker = Broker::start(&[]);
    for granted in 0..=2 {
        for sent in 0..=2 {
            let mut members = members(&broker, 2, "$share/g/a", granted);
            let mut publisher = Client::connect(&broker, connect());
            for _ in 0..4 {
                publisher.publish(publish("a").qos(sent).payload("x"));
            }
            for member in &mut members {
                for message in member.receive_messages(2) {
                    assert_eq!(message.qos, sent.min(granted));
                }
                member.expect_nothing();
            }
            for member in members {
                member.disconnect();
            }
        }
    }
}

#[test]
fn each_group_gets_every_message() {
    let broker = Broker::start(&[]);
    // Two names for one filter, one name for two filters, and one that does not share.
    let mut clients = Vec::new();
    for filter in ["$share/one/a/b", "$share/two/a/b", "$share/one/a/+", "a/b"] {
        clients.extend(members(&broker, 1, filter, 0));
    }
    Client::connect(&broker, connect()).publish(publish("a/b").payload("x"));
    for client in &mut clients {
        client.expect(publish("a/b").payload("x"));
        client.expect_nothing();
    }
}

#[test]
fn a_client_may_share_and_not_share_the_same_filter() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    client.subscribe_with(subscribe("$share/g/a", 0).identifier(1), &[0]);
    client.subscribe_with(subscribe("a", 0).identifier(2), &[0]);
    client.send(publish("a"));
    client.expect_unordered([
        publish("a").property(Property::SubscriptionIdentifier(1)).into(),
        publish("a").property(Property::SubscriptionIdentifier(2)).into(),
    ]);
    client.expect_nothing();
}

#[test]
fn matching_strips_the_share() {
    let broker = Broker::start(&[]);
    let mut clients = members(&broker, 1, "$share/g//a", 0);
    let mut publisher = Client::connect(&broker, connect());
    assert_eq!(publisher.publish(publish("a").qos(1)), 0x10);
    assert_eq!(publisher.publish(publish("/a").qos(1)), 0);
    clients[0].expect(publish("/a"));
    let mut clients = members(&broker, 1, "$share/g/#", 0);
    assert_eq!(publisher.publish(publish("$x").qos(1)), 0x10);
    publisher.publish(publish("y"));
    clients[0].expect(publish("y"));
}

#[test]
fn sticky_keeps_to_one_member() {
    let broker = Broker::start(&["--shared-subscription-strategy=sticky"]);
    let mut members = members(&broker, 3, "$share/g/a", 1);
    let taken = takers(&broker, &mut members, &["a"; 20]);
    assert!(taken.iter().all(|taker| *taker == taken[0]), "{taken:?}");
    // Another one follows when it leaves.
    members.remove(taken[0]).disconnect();
    let taken = takers(&broker, &mut members, &["a"; 20]);
    assert!(taken.iter().all(|taker| *taker == taken[0]), "{taken:?}");
}

#[test]
fn hash_topic_gives_a_topic_to_one_member() {
    let broker = Broker::start(&["--shared-subscription-strategy=hash-topic"]);
    let mut members = members(&broker, 3, "$share/g/t/#", 1);
    let names: Vec<String> = (0..60).map(|index| format!("t/{}", index % 20)).collect();
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    let taken = takers(&broker, &mut members, &topics);
    for index in 20..60 {
        assert_eq!(taken[index], taken[index % 20], "{}", topics[index]);
    }
    assert!(counts(&taken, 3).iter().all(|count| *count > 0), "{taken:?}");
}

#[test]
fn hash_client_gives_a_publisher_to_one_member() {
    let broker = Broker::start(&["--shared-subscription-strategy=hash-client"]);
    let mut members = members(&broker, 3, "$share/g/#", 1);
    let mut all = Vec::new();
    for _ in 0..20 {
        // Each call connects as another client.
        let taken = takers(&broker, &mut members, &["a", "b", "c", "d"]);
        assert!(taken.iter().all(|taker| *taker == taken[0]), "{taken:?}");
        all.push(taken[0]);
    }
    assert!(counts(&all, 3).iter().all(|count| *count > 0), "{all:?}");
}

#[test]
fn least_inflight_prefers_who_is_idle() {
    let broker = Broker::start(&["--shared-subscription-strategy=least-inflight"]);
    let mut members = members(&broker, 2, "$share/g/a", 1);
    let mut publisher = Client::connect(&broker, connect());
    // Four that are not acknowledged go to both in turn; then only the first one acknowledges.
    for _ in 0..4 {
        publisher.publish(publish("a").qos(1));
    }
    let busy: Vec<u16> = (0..2).map(|_| members[1].receive_publish().id).collect();
    members[0].receive_messages(2);
    members[0].expect_nothing();
    for _ in 0..2 {
        publisher.publish(publish("a").qos(1).payload("to the idle one"));
    }
    for _ in 0..2 {
        assert_eq!(members[0].receive_publish().text(), "to the idle one");
    }
    members[1].expect_nothing();
    members[1].send_all(busy.into_iter().map(puback));
    members[1].expect_nothing();
    publisher.publish(publish("a").qos(1).payload("back"));
    assert_eq!(members[1].receive_publish().text(), "back");
}

#[test]
fn random_gives_each_message_to_somebody() {
    let broker = Broker::start(&["--shared-subscription-strategy=random"]);
    let mut members = members(&broker, 3, "$share/g/a", 1);
    let taken = takers(&broker, &mut members, &["a"; 200]);
    assert!(counts(&taken, 3).iter().all(|count| *count > 20), "{:?}", counts(&taken, 3));
}

#[test]
fn every_strategy_prefers_members_that_are_there() {
    for strategy in ["round-robin", "least-inflight", "sticky", "hash-topic", "hash-client", "random"] {
        let broker = Broker::start(&[&format!("--shared-subscription-strategy={strategy}")]);
        let mut away = Client::connect(&broker, connect().client_id("away").persistent());
        away.subscribe("$share/g/#", 1);
        away.disconnect();
        let mut members = members(&broker, 1, "$share/g/#", 1);
        takers(&broker, &mut members, &["a", "b", "c", "d", "e", "f", "g", "h"]);
        let mut away = Client::connect(&broker, connect().client_id("away").persistent());
        away.expect_nothing();
    }
}

#[test]
fn every_strategy_passes_by_a_member_whose_window_is_full() {
    for strategy in ["round-robin", "least-inflight", "sticky", "hash-topic", "hash-client", "random"] {
        let broker = Broker::start(&[&format!("--shared-subscription-strategy={strategy}")]);
        let mut members: Vec<Client> = (0..2)
            .map(|_| {
                let mut client = Client::connect(&broker, connect().receive_maximum(2));
                client.subscribe("$share/g/a", 1);
                client
            })
            .collect();
        let mut publisher = Client::connect(&broker, connect());
        for number in 0..4 {
            publisher.publish(publish("a").qos(1).payload(number.to_string()));
        }
        // Neither acknowledges: both get two, whoever is preferred.
        for member in &mut members {
            member.receive_publish();
            member.receive_publish();
            member.expect_nothing();
        }
    }
}

#[test]
fn messages_wait_for_a_member_if_none_is_there() {
    let broker = Broker::start(&[]);
    let persistent = |id: &str| connect().client_id(id).persistent();
    for id in ["one", "two"] {
        let mut client = Client::connect(&broker, persistent(id));
        client.subscribe("$share/g/a", 1);
        client.disconnect();
    }
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..10 {
        assert_eq!(publisher.publish(publish("a").qos(1).payload(number.to_string())), 0);
    }
    // The least loaded one gets the next: five for each.
    let mut seen = Vec::new();
    for id in ["one", "two"] {
        let mut client = Client::connect(&broker, persistent(id));
        seen.extend(client.receive_messages(5).iter().map(|message| message.text().to_owned()));
        client.expect_nothing();
        client.disconnect();
    }
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

/// A member that leaves with three messages not acknowledged, and another that has come since.
fn leave_with_three_messages(broker: &Broker, qos: u8) -> Client {
    let mut leaving = Client::connect(broker, connect());
    leaving.subscribe("$share/g/a", qos);
    let mut publisher = Client::connect(broker, connect());
    for number in 0..3 {
        publisher.publish(publish("a").qos(qos).payload(number.to_string()));
    }
    for _ in 0..3 {
        leaving.receive_publish();
    }
    let mut staying = Client::connect(broker, connect());
    staying.subscribe("$share/g/a", qos);
    staying.expect_nothing();
    leaving.cut();
    staying
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    let broker = Broker::start(&[]);
    let mut staying = leave_with_three_messages(&broker, 1);
    let mut seen: Vec<String> =
        staying.receive_messages(3).iter().map(|message| message.text().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["0", "1", "2"]);
    staying.expect_nothing();
}

#[test]
fn a_message_of_qos_2_under_way_goes_to_nobody_else() {
    // [MQTT-4.8.2-5]
    let broker = Broker::start(&[]);
    let mut staying = leave_with_three_messages(&broker, 2);
    let mut publisher = Client::connect(&broker, connect());
    publisher.publish(publish("a").qos(2).payload("next"));
    assert_eq!(staying.receive_messages(1)[0].text(), "next");
    staying.expect_nothing();
}

#[test]
fn what_waited_for_a_member_goes_to_another_when_its_session_ends() {
    let broker = Broker::start(&[]);
    let mut away = Client::connect(&broker, connect().client_id("away").persistent());
    away.subscribe("$share/g/a", 1);
    away.disconnect();
    Client::connect(&broker, connect()).publish(publish("a").qos(1).payload("x"));
    let mut staying = Client::connect(&broker, connect());
    staying.subscribe("$share/g/a", 1);
    staying.expect_nothing();
    // A clean start ends the session that was away.
    Client::connect(&broker, connect().client_id("away")).disconnect();
    staying.expect(publish("a").qos(1).payload("x"));
}

#[test]
fn a_member_that_returns_gets_what_it_did_not_acknowledge() {
    let broker = Broker::start(&[]);
    let persistent = || connect().client_id("returns").persistent();
    let mut client = Client::connect(&broker, persistent());
    client.subscribe("$share/g/a", 1);
    let mut other = Client::connect(&broker, connect());
    Client::connect(&broker, connect()).publish(publish("a").qos(1).payload("x"));
    let message = client.receive_publish();
    other.subscribe("$share/g/a", 1);
    client.cut();
    // Its session goes on, so the message stays its own.
    other.expect_nothing();
    let mut client = Client::connect(&broker, persistent());
    client.expect(message.dup());
}

#[test]
fn a_group_ends_with_its_last_member() {
    let broker = Broker::start(&[]);
    let mut members = members(&broker, 2, "$share/g/a", 1);
    members[0].send(unsubscribe("$share/g/a"));
    members[0].expect(unsuback(1, &[0]));
    assert_eq!(takers(&broker, &mut members, &["a"; 4]), [1; 4]);
    members[1].send(unsubscribe("$share/g/a"));
    members[1].expect(unsuback(1, &[0]));
    assert_eq!(Client::connect(&broker, connect()).publish(publish("a").qos(1)), 0x10);
}

#[test]
fn members_may_be_added_at_any_time() {
    let broker = Broker::start(&[]);
    let mut members = members(&broker, 1, "$share/g/a", 1);
    assert_eq!(takers(&broker, &mut members, &["a"; 4]), [0; 4]);
    members.extend(self::members(&broker, 1, "$share/g/a", 1));
    assert_eq!(counts(&takers(&broker, &mut members, &["a"; 10]), 2), [5, 5]);
    // Subscribing again does not make two members of one.
    members[0].subscribe("$share/g/a", 1);
    assert_eq!(counts(&takers(&broker, &mut members, &["a"; 10]), 2), [5, 5]);
}
