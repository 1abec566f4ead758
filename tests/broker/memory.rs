//! The ceiling on memory: what gives way near to it, in which order, and that others do not notice.

#![cfg(target_os = "linux")]

use crate::support::*;

const MEBIBYTE: u64 = 1 << 20;

/// Subscribers that read nothing.
fn stall(broker: &Broker, count: usize, topic: impl Fn(usize) -> String, qos: u8) -> Vec<Client> {
    let stall_one = |number| {
        let mut client = Client::open_narrow(broker, 4_096);
        client.attach(connect().client_id(&format!("stalled-{number}")).receive_maximum(65_535));
        client.subscribe(&topic(number), qos);
        client
    };
    (0..count).map(stall_one).collect()
}

/// Two clients that have nothing to do with the rest.
struct Others {
    publisher: Client,
    subscriber: Client,
}

impl Others {
    fn connect(broker: &Broker) -> Self {
        let publisher = Client::connect(broker, connect().client_id("other publisher"));
        let mut subscriber = Client::connect(broker, connect().client_id("other subscriber"));
        subscriber.subscribe("others", 1);
        Self { publisher, subscriber }
    }

    /// A message comes from one to the other, and is acknowledged.
    fn exchange(&mut self) {
        self.publisher.publish(publish("others").qos(1).payload("hello"));
        assert_eq!(self.subscriber.receive_messages(1)[0].text(), "hello");
    }
}

fn payload(number: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(256 << 10, b'x');
    payload
}

/// The broker is built without optimization here, so that its code alone takes more than what is set aside for that.
fn check_memory(broker: &Broker, empty: u64) {
    let (now, released) = (broker.resident_memory(), 8 * MEBIBYTE);
    if now >= 64 * MEBIBYTE + empty.saturating_sub(released) {
        broker.counter("memory"); // So that it is in the log.
        panic!("{empty} bytes before, now {now}");
    }
}

#[test]
fn stalled_subscribers_do_not_fill_the_memory_and_others_go_on() {
    let broker = Broker::start(&["--memory-max=64MiB", "--allow-anonymous"]);
    let empty = broker.resident_memory();
    let mut others = Others::connect(&broker);
    let stalled = stall(&broker, 200, |_| "all".to_owned(), 1);
    let own = stall_own(&broker, 40);
    let mut publisher = Client::connect(&broker, connect());
    // More than all memory for those who share it, and for those with their own; and until the publisher has to wait.
    for number in 0..400_usize {
        let topic = if number % 10 == 0 { "all".to_owned() } else { format!("own/{}", number % 40) };
        publisher.publish(publish(&topic).qos(1).payload(payload(number)));
        if number % 20 == 0 {
            others.exchange();
            check_memory(&broker, empty);
            if number >= 160 && broker.counter("publishers_held_back") > 0 {
                break;
            }
        }
    }
    others.exchange();
    check_memory(&broker, empty);
    let counters =
        ["publishers_held_back", "dropped_memory", "refused_memory", "panics", "mailboxes_overflowed"];
    let [held_back, dropped, refused, panics, overflowed] = counters.map(|name| broker.counter(name));
    assert!(held_back > 0 && dropped > 0, "{held_back} {dropped}");
    // What is accounted for has a large message as often as it is on its way, and may be more for a while; what is
    // resident was looked at above.
    assert_eq!((refused, panics, overflowed), (0, 0, 0), "nobody had to be refused");
    drop((stalled, own));
}

/// Subscribers that read nothing and have messages of their own.
fn stall_own(broker: &Broker, count: usize) -> Vec<Client> {
    let stall_one = |number| {
        let mut client = Client::open_narrow(broker, 4_096);
        client.attach(connect().client_id(&format!("own-{number}")));
        client.subscribe(&format!("own/{number}"), 1);
        client
    };
    (0..count).map(stall_one).collect()
}

#[test]
fn measures_are_taken_in_their_order() {
    let broker = Broker::start(&["--memory-max=64MiB", "--allow-anonymous"]);
    let empty = broker.resident_memory();
    let counters =
        || ["publishers_held_back", "dropped_memory_qos0", "dropped_memory"].map(|name| broker.counter(name));
    let mut unacknowledged = stall(&broker, 1, |_| "zero".to_owned(), 0);
    let mut away = Client::connect(&broker, connect().client_id("away").persistent());
    away.subscribe("one", 1);
    away.disconnect();
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..40 {
        publisher.publish(publish("zero").payload(payload(number)));
    }
    assert_eq!(counters(), [0, 0, 0], "there is room enough");
    let mut order = Vec::new();
    for number in 0..400 {
        publisher.publish(publish("one").qos(1).payload(payload(number)));
        if number % 2 == 0 {
            let counters = counters();
            let begun = counters.iter().filter(|count| **count > 0).count();
            if order.last() != Some(&begun) {
                order.push(begun);
                assert!(counters[..begun].iter().all(|count| *count > 0), "{counters:?}");
            }
            if begun == 3 {
                break;
            }
        }
    }
    assert!(order.is_sorted() && order.last() == Some(&3), "{order:?}");
    check_memory(&broker, empty);
    unacknowledged.clear();
}

#[test]
fn new_clients_are_refused_where_nothing_is_left() {
    // Retained messages stay: nothing can give way for them.
    let broker = Broker::start(&["--memory-max=32MiB", "--max-retained-bytes=30MiB", "--allow-anonymous"]);
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..130 {
        publisher.publish(publish(format!("r/{number}")).qos(1).retain().payload(payload(number)));
    }
    for version in Version::ALL {
        let mut client = Client::open(&broker);
        client.set_version(version);
        client.send(connect().version(version));
        client.expect_refusal(&[if version.is_v5() { 0x97 } else { 3 }]);
    }
    assert_eq!(broker.counter("refused_memory"), 3);
    publisher.subscribe_with(subscribe("a", 0), &[0x97]);
    for number in 0..130 {
        publisher.publish(publish(format!("r/{number}")).qos(1).retain().payload(""));
    }
    Client::connect(&broker, connect()).expect_nothing();
}
