//! Where memory is scarce: what gives way, in which order, and for whom.

use super::super::memory::PLACE;
use super::*;

/// A broker whose state may occupy so many bytes.
fn scarce(memory: usize) -> Rig {
    Rig::with(|config| {
        config.limits.memory = memory;
        config.limits.outbound_window = 1_024;
    })
}

/// A session that is away and subscribed with QoS 1.
fn away(rig: &mut Rig, id: &str, filter: &str) {
    let client = rig.connect(lasting(id));
    rig.say(client, subscribe(filter, 1));
    rig.cut(client);
    rig.heard(client);
}

/// A client that is connected, subscribed, and reads nothing.
fn stalled(rig: &mut Rig, id: &str, filter: &str, qos: u8) -> ConnectionId {
    let mut connect = v5(id);
    connect.properties.receive_maximum = 1.try_into().unwrap();
    let client = rig.connect(connect);
    rig.say(client, subscribe(filter, qos));
    rig.heard(client);
    client
}

fn memory(rig: &Rig) -> usize {
    rig.broker.memory().total()
}

fn kilobyte(topic: &str, qos: u8) -> Publish {
    publish(topic, &"x".repeat(1_024), qos, 1)
}

/// Lets the broker do what it wants to do at once.
fn settle(rig: &mut Rig) {
    while rig.broker.deadline() == Some(Instant::START) {
        rig.handle(Input::Tick);
    }
}

#[test]
fn a_message_that_waits_for_many_takes_its_memory_once() {
    let mut rig = Rig::new();
    for id in 0..100 {
        away(&mut rig, &id.to_string(), "t");
    }
    let publisher = rig.connect(v5("p"));
    let before = rig.broker.memory();
    rig.say(publisher, kilobyte("t", 1));
    let after = rig.broker.memory();
    assert_eq!(after.queued - before.queued, 160 + 1 + 1_024);
    assert_eq!(after.places, 100 * PLACE);
    let all = rig.broker.gauges().find(|(name, _)| *name == "queued_bytes").unwrap().1;
    assert_eq!(all, 100 * (160 + 1 + 1_024), "the bound on all queues counts it for each");
}

#[test]
fn the_publisher_that_makes_queues_grow_is_held_back_and_others_are_not() {
    let mut rig = scarce(200_000);
    away(&mut rig, "away", "heavy");
    let (heavy, light) = (rig.connect(v5("heavy")), rig.connect(v5("light")));
    let reader = rig.connect(v5("reader"));
    rig.say(reader, subscribe("light", 0));
    while memory(&rig) < 161_000 {
        assert!(!rig.broker.is_held_back(heavy));
        rig.say(heavy, kilobyte("heavy", 1));
        rig.say(light, publish("light", "x", 0, 0));
        rig.written(reader);
    }
    rig.say(heavy, kilobyte("heavy", 1));
    rig.say(light, kilobyte("light", 0));
    assert!(rig.broker.is_held_back(heavy));
    assert!(!rig.broker.is_held_back(light));
    assert_eq!(rig.broker.counters().publishers_held_back, 1);
    assert_eq!(rig.broker.counters().dropped_memory, 0);
    // It gets on, a little, though nothing has changed.
    rig.wait(1);
    assert_eq!(rig.resumed, [heavy]);
    assert!(!rig.broker.is_held_back(heavy));
    rig.say(heavy, kilobyte("heavy", 1));
    assert!(rig.broker.is_held_back(heavy));
    // There is room again: it goes on at once.
    let away = rig.connect(lasting("away"));
    for id in 1..=200 {
        rig.written(away);
        rig.say(away, (AcknowledgementKind::PubAck, id));
    }
    settle(&mut rig);
    assert_eq!(rig.resumed, [heavy, heavy]);
    assert!(!rig.broker.is_held_back(heavy));
}

#[test]
fn clients_that_acknowledge_nothing_do_not_take_all_memory() {
    let mut rig = scarce(200_000);
    let mut readers = Vec::new();
    for id in 0..20 {
        let reader = rig.connect(lasting(&id.to_string()));
        rig.say(reader, subscribe("t", 1));
        readers.push(reader);
    }
    let publisher = rig.connect(v5("p"));
    for _ in 0..1_000 {
        rig.say(publisher, publish("t", "x", 1, 1));
        for reader in &readers {
            rig.written(*reader);
        }
        settle(&mut rig);
    }
    assert!(memory(&rig) < 195_000, "{}", memory(&rig));
    assert!(rig.broker.counters().dropped_memory > 0);
    // Nobody is kept out for them, whether they stay or not.
    rig.connect(v5("newcomer"));
    for reader in readers {
        rig.cut(reader);
    }
    rig.connect(v5("another"));
    rig.connect(lasting("0"));
    assert_eq!(rig.broker.counters().refused_memory, 0);
}

#[test]
fn messages_of_qos_0_give_way_first_those_of_the_largest_queue_before_others() {
    let mut rig = scarce(200_000);
    let (large, small) = (stalled(&mut rig, "large", "large", 0), stalled(&mut rig, "small", "small", 0));
    away(&mut rig, "away", "queue");
    let publisher = rig.connect(v5("p"));
    for _ in 0..40 {
        rig.say(publisher, kilobyte("large", 0));
    }
    for _ in 0..10 {
        rig.say(publisher, kilobyte("small", 0));
    }
    while memory(&rig) < 171_000 {
        rig.say(publisher, kilobyte("queue", 1));
    }
    assert_eq!(rig.broker.counters().dropped_memory_qos0, 0);
    rig.say(publisher, kilobyte("queue", 1));
    settle(&mut rig);
    let dropped = rig.broker.counters().dropped_memory_qos0;
    assert!((1..40).contains(&dropped), "{dropped}");
    assert_eq!(rig.broker.counters().dropped_memory, 0);
    let names: Vec<_> = rig.broker.lossy_clients(5).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["large"]);
    // None is let in while it is so.
    while memory(&rig) < 172_000 {
        rig.say(publisher, kilobyte("queue", 1));
    }
    let dropped = rig.broker.counters().dropped_memory_qos0;
    rig.say(publisher, kilobyte("small", 0));
    assert!(rig.broker.counters().dropped_memory_qos0 > dropped);
    let _ = (large, small);
}

#[test]
fn queues_give_way_as_the_policy_says_the_largest_first() {
    for policy in [QueuePolicy::DropOldest, QueuePolicy::DropNewest] {
        let mut rig = Rig::with(|config| {
            config.limits.memory = 200_000;
            config.queue_policy = policy;
        });
        away(&mut rig, "large", "large");
        away(&mut rig, "small", "small");
        let publisher = rig.connect(v5("p"));
        for number in 0..10 {
            rig.say(publisher, publish("small", &format!("{number:01024}"), 1, 1));
        }
        for number in 0..400 {
            rig.say(publisher, publish("large", &format!("{number:01024}"), 1, 1));
            settle(&mut rig);
            assert!(memory(&rig) < 200_000);
        }
        let counters = rig.broker.counters();
        assert!(counters.dropped_memory > 200, "{}", counters.dropped_memory);
        let lossy = rig.broker.lossy_clients(5);
        assert_eq!(lossy.len(), 1);
        assert_eq!((lossy[0].0.as_str(), lossy[0].1), ("large", counters.dropped_memory));
        let client = rig.connect(lasting("large"));
        let mut heard = rig.heard(client);
        let number = |line: &str| line.split(' ').nth(1).unwrap().parse::<u32>().unwrap();
        match policy {
            QueuePolicy::DropOldest => assert!(number(&heard.remove(0)) > 200),
            QueuePolicy::DropNewest | QueuePolicy::Disconnect => assert_eq!(number(&heard.remove(0)), 0),
        }
    }
}

#[test]
fn where_the_policy_is_to_disconnect_the_largest_is() {
    let mut rig = Rig::with(|config| {
        config.limits.memory = 200_000;
        config.queue_policy = QueuePolicy::Disconnect;
    });
    let slow = stalled(&mut rig, "slow", "t", 1);
    let publisher = rig.connect(v5("p"));
    while rig.broker.counters().disconnected_memory == 0 {
        rig.say(publisher, kilobyte("t", 1));
        settle(&mut rig);
    }
    assert_eq!(rig.heard(slow).last().unwrap(), "CLOSE 97");
}

#[test]
fn at_last_nobody_new_is_let_in() {
    let mut rig = scarce(100_000);
    away(&mut rig, "away", "t");
    let client = rig.connect(v5("client"));
    rig.handle(Input::Outside { bytes: 96_000 - memory(&rig) });
    let refused = rig.try_connect(v5("new"), Identity::Anonymous);
    rig.expect(refused, &["CONNACK 97 present=false", "CLOSE"]);
    rig.say(client, subscribe("a", 0));
    rig.say(client, Publish { retain: true, ..publish("r", "x", 1, 1) });
    rig.expect(client, &["SUBACK 97", "PUBACK 1 97"]);
    // Who has a session may fetch what waits in it.
    let away = rig.connect(lasting("away"));
    rig.cut(away);
    rig.handle(Input::Outside { bytes: 100_000 });
    let refused = rig.try_connect(lasting("away"), Identity::Anonymous);
    rig.expect(refused, &["CONNACK 97 present=false", "CLOSE"]);
    assert_eq!(rig.broker.counters().refused_memory, 2);
    rig.handle(Input::Outside { bytes: 0 });
    rig.connect(v5("new"));
    rig.say(client, subscribe("a", 0));
    rig.expect(client, &["SUBACK 00"]);
}

#[test]
fn who_acknowledges_all_loses_nothing_small_where_nothing_is_left() {
    let mut rig = Rig::with(|config| {
        config.limits.memory = 100_000;
        config.limits.outbound_window = 8;
    });
    let readers = ["acknowledges", "owes"].map(|id| {
        let client = rig.connect(v5(id));
        rig.say(client, subscribe("t", 1));
        rig.heard(client);
        client
    });
    let publisher = rig.connect(v5("p"));
    rig.say(publisher, publish("t", "1", 1, 1));
    rig.say(readers[0], (AcknowledgementKind::PubAck, 1));
    rig.handle(Input::Outside { bytes: 100_000 });
    // Nobody is known to have read the first one.
    rig.say(publisher, publish("t", "2", 1, 2));
    assert_eq!(rig.broker.counters().dropped_memory, 1);
    let heard = readers.map(|reader| {
        rig.written(reader);
        rig.heard(reader).len()
    });
    assert_eq!(heard, [2, 1]);
}

#[test]
fn windows_shrink_for_those_who_do_not_read_when_much_is_on_its_way() {
    let mut rig = Rig::with(|config| {
        config.limits.outbound_window = 100_000;
        config.limits.outbound_total = 50_000;
    });
    let publisher = rig.connect(v5("p"));
    let readers: Vec<_> = (0..20)
        .map(|id| {
            let client = rig.connect(v5(&id.to_string()));
            rig.say(client, subscribe("t", 0));
            client
        })
        .collect();
    // One of them reads: it earns a window.
    for _ in 0..160 {
        rig.say(publisher, kilobyte("t", 0));
        rig.written(readers[0]);
        rig.heard(readers[0]);
    }
    assert!(rig.broker.memory().outstanding < 100_000, "{}", rig.broker.memory().outstanding);
    assert!(!rig.asked.is_empty() && !rig.asked.contains(&readers[0]));
    for _ in 0..8 {
        rig.say(publisher, kilobyte("t", 0));
    }
    assert_eq!(rig.heard(readers[0]).len(), 8);
    // Another one begins to read: what it says makes room for more, and it gets all.
    let mut heard = rig.heard(readers[1]).len();
    while heard < 168 {
        rig.written(readers[1]);
        let more = rig.heard(readers[1]).len();
        assert!(more > 0);
        heard += more;
    }
}

#[test]
fn what_is_on_its_way_counts_until_the_connection_has_ended() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.connect(v5("p")), rig.connect(v5("r")));
    rig.say(reader, subscribe("t", 0));
    rig.say(publisher, kilobyte("t", 0));
    let outstanding = rig.broker.memory().outstanding;
    assert!(outstanding > 1_024);
    let other = rig.connect(v5("r"));
    assert_eq!(rig.broker.memory().outstanding, outstanding);
    rig.cut(reader);
    assert_eq!(rig.broker.memory().outstanding, 0);
    rig.cut(other);
}

#[test]
fn sessions_with_most_waiting_are_known_with_the_age_of_the_oldest() {
    let mut rig = Rig::new();
    for id in ["a", "b", "c"] {
        away(&mut rig, id, id);
    }
    let publisher = rig.connect(v5("p"));
    rig.say(publisher, kilobyte("b", 1));
    rig.wait(100);
    rig.say(publisher, kilobyte("b", 1));
    rig.say(publisher, publish("a", "x", 1, 1));
    rig.wait(10);
    let loads = rig.broker.session_loads(2, rig.now);
    let told: Vec<_> =
        loads.iter().map(|load| (load.client_id.as_str(), load.messages, load.oldest.as_secs())).collect();
    assert_eq!(told, [("b", 2, 110), ("a", 1, 10)]);
    assert_eq!(loads[0].bytes, 2 * (160 + 1 + 1_024));
    assert_eq!(rig.broker.session_loads(1, rig.now), loads[..1]);
}
