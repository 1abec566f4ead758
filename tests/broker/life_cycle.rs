//! Start, signals, end.

use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn it_stops_when_asked_and_tells_its_clients() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start(&[]);
        let mut clients = Version::ALL.map(|version| Client::connect(&broker, connect().version(version)));
        let mut unfinished = Client::open(&broker);
        unfinished.send_raw(&[0x10]);
        broker.signal(signal);
        for client in &mut clients {
            client.expect_disconnect(0x8B);
        }
        unfinished.expect_closed();
        // Each end closes its own side.
        drop((clients, unfinished));
        assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
    }
}

#[test]
fn what_has_been_taken_is_delivered_before_the_end() {
    let mut broker = Broker::start(&[]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    publisher.send_all((0..500).map(|number: u32| publish("a").payload(number.to_string())));
    publisher.expect_nothing();
    broker.signal("TERM");
    for number in 0..500 {
        subscriber.expect(publish("a").payload(number.to_string()));
    }
    subscriber.expect_disconnect(0x8B);
    drop((subscriber, publisher));
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn nobody_is_taken_on_any_more() {
    let mut broker = Broker::start(&[]);
    let address = broker.address();
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for_longer_than_the_grace() {
    let mut broker = Broker::start(&["--shutdown-grace=1"]);
    let _stalled = stalled_client(&broker);
    let start = Instant::now();
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut broker =
        Broker::start(&["--shutdown-grace=1000", "--close-timeout=1000", "--write-timeout=1000"]);
    let _stalled = stalled_client(&broker);
    let mut client = Client::connect(&broker, connect());
    broker.signal("TERM");
    client.expect_disconnect(0x8B);
    assert!(broker.is_running(), "it waits for the one that does not read");
    broker.signal("TERM");
    let status = broker.wait();
    assert!(!status.success() || status.code() == Some(0), "{status}");
}

/// A client for which more waits than the buffers between take.
fn stalled_client(broker: &Broker) -> Client {
    let mut stalled = Client::open_narrow(broker, 4096);
    stalled.attach(connect());
    stalled.subscribe("a", 0);
    let mut publisher = Client::connect(broker, connect());
    for _ in 0..200 {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; 65_536]));
    }
    stalled
}

#[cfg(unix)]
#[test]
fn the_file_of_the_unix_socket_is_removed() {
    let mut broker = Broker::start(&["--unix-socket=mqtt.sock"]);
    assert!(broker.path("mqtt.sock").exists());
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
    assert!(!broker.path("mqtt.sock").exists());
}

#[test]
fn counters_are_told_on_demand() {
    let broker = Broker::start(&[]);
    let before = broker.counter("publish_received");
    let mut client = Client::connect(&broker, connect());
    for _ in 0..3 {
        client.publish(publish("a").qos(1));
    }
    assert_eq!(broker.counter("publish_received"), before + 3);
    let from = broker.log_length();
    broker.signal("USR1");
    let line = broker.wait_for_log(from, "counters ");
    let (_, pairs) = line.split_once("counters ").unwrap();
    let mut names = std::collections::BTreeSet::new();
    for pair in pairs.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair:?} in {line}"));
        assert!(!name.is_empty() && value.parse::<u64>().is_ok(), "{pair}");
        assert!(names.insert(name), "{name} is told twice");
    }
}

#[test]
fn a_reload_without_an_auth_file_does_no_harm() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    broker.reload();
    client.expect_nothing();
    Client::connect(&broker, connect()).expect_nothing();
}

#[test]
fn wills_are_not_lost_when_a_client_is_gone_before_the_end() {
    let mut broker = Broker::start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("will", 0);
    Client::connect(&broker, connect().will(will("will"))).cut();
    watcher.expect(publish("will"));
    broker.signal("TERM");
    watcher.expect_disconnect(0x8B);
    drop(watcher);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn the_ports_file_is_complete_when_it_appears() {
    for _ in 0..10 {
        let broker = Broker::start(&["--bind=127.0.0.2"]);
        assert_eq!(broker.addresses().len(), 2);
        Client::connect(&broker, connect()).expect_nothing();
    }
}
