//! Every bound: what happens where it is hit, and the counter that tells.

use std::time::{Duration, Instant};

use crate::support::*;

/// A session that is away and subscribed to `q` with QoS 2.
fn away(broker: &Broker, id: &str) {
    let mut client = Client::connect(broker, connect().client_id(id).persistent());
    client.subscribe("q", 2);
    client.disconnect();
}

/// What waits for it.
fn waiting(broker: &Broker, id: &str) -> Vec<String> {
    let mut client = Client::connect(broker, connect().client_id(id).persistent());
    client.send(pingreq());
    let mut waiting = Vec::new();
    loop {
        match client.receive() {
            Packet::Publish(message) => {
                client.send(puback(message.id));
                waiting.push(message.text().to_owned());
            }
            Packet::PingResp => return waiting,
            other => panic!("{other:?}"),
        }
    }
}

fn publish_numbers(broker: &Broker, topic: &str, count: usize) {
    let mut publisher = Client::connect(broker, connect());
    for number in 0..count {
        assert_eq!(publisher.publish(publish(topic).qos(1).payload(number.to_string())), 0);
    }
}

/// Connects as soon as there is room: the broker notices the end of a connection a moment after its client.
fn connect_when_possible(broker: &Broker) -> Client {
    let start = Instant::now();
    loop {
        let mut client = Client::open(broker);
        // It may be closed before this is sent.
        let _ = client.try_send_raw(&connect().frame(Version::V5).bytes());
        if client.try_receive().is_some() {
            return client;
        }
        assert!(start.elapsed() < PATIENCE, "there is no room again");
    }
}

#[test]
fn connections_in_all() {
    let broker = Broker::start(&["--max-connections=3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&broker, connect())).collect();
    for _ in 0..2 {
        Client::open(&broker).expect_closed();
    }
    assert_eq!(broker.counter("connections_refused_total"), 2);
    for client in &mut clients {
        client.expect_nothing();
    }
    clients.remove(0).disconnect();
    connect_when_possible(&broker).expect_nothing();
}

#[test]
fn connections_from_one_address() {
    let broker = Broker::start(&["--max-connections-per-address=2"]);
    let clients: Vec<Client> = (0..2).map(|_| Client::connect(&broker, connect())).collect();
    Client::open(&broker).expect_closed();
    assert_eq!(broker.counter("connections_refused_address"), 1);
    let mut other = Client::open_from("127.0.0.2".parse().unwrap(), &broker);
    other.attach(connect());
    drop(clients);
    connect_when_possible(&broker).expect_nothing();
}

#[test]
fn time_to_connect() {
    let broker = Broker::start(&["--connect-timeout=1"]);
    let start = Instant::now();
    let mut silent = Client::open(&broker);
    let mut half = Client::open(&broker);
    half.send_raw(&connect().frame(Version::V5).bytes()[..10]);
    let mut connected = Client::connect(&broker, connect());
    silent.expect_closed();
    half.expect_closed();
    assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());
    connected.expect_nothing();
    assert_eq!(broker.counter("connect_timeouts"), 2);
}

#[test]
fn bytes_that_trickle_do_not_extend_the_time_to_connect() {
    let broker = Broker::start(&["--connect-timeout=1"]);
    let bytes = connect().client_id(&"x".repeat(5000)).frame(Version::V5).bytes();
    let mut client = Client::open(&broker);
    client.set_patience(Duration::from_millis(20));
    let start = Instant::now();
    for byte in bytes {
        if client.try_send_raw(&[byte]).is_err() || client.is_closed() {
            assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());
            return;
        }
    }
    panic!("it was let in");
}

#[test]
fn a_packet_before_authentication() {
    let broker = Broker::start(&["--max-packet-before-connect=200"]);
    let mut client = Client::connect(&broker, connect().client_id(&"x".repeat(100)));
    // Only before.
    client.subscribe("a", 0);
    client.send(publish("a").payload([b'x'; 1000]));
    client.expect(publish("a").payload([b'x'; 1000]));
    for version in Version::ALL {
        let mut client = Client::open(&broker);
        client.set_version(version);
        client.send(connect().version(version).client_id(&"x".repeat(200)));
        client.expect_refusal(&[0x95]);
    }
}

#[test]
fn a_packet_before_authentication_by_default() {
    let broker = Broker::start(&[]);
    let with_will = |size| connect().will(will("a").payload(vec![b'x'; size]));
    Client::connect(&broker, with_will(65_535)).disconnect();
    let mut client = Client::open(&broker);
    // The announcement is enough.
    client.send(with_will(100).frame(Version::V5).announce((1 << 20) + 1));
    client.expect_refusal(&[0x95]);
}

#[test]
fn unfinished_packets_of_all_connections() {
    let broker = Broker::start(&["--max-unfinished-bytes-total=1MiB"]);
    let unfinished = |client: &mut Client| {
        client.send(publish("a").payload(vec![b'x'; 600 << 10]).frame(Version::V5).announce(10 << 20));
    };
    let mut first = Client::connect(&broker, connect());
    unfinished(&mut first);
    while broker.counter("bytes_received") < 600 << 10 {}
    let mut second = Client::connect(&broker, connect());
    unfinished(&mut second);
    second.expect_disconnect(0x97);
    assert_eq!(broker.counter("refused_unfinished"), 1);
    drop((first, second));
    while broker.counter("connections_ended") < 2 {}
    let mut third = Client::connect(&broker, connect());
    third.subscribe("a", 0);
    third.send(publish("a").payload(vec![b'x'; 900 << 10]));
    third.expect(publish("a").payload(vec![b'x'; 900 << 10]));
}

#[test]
fn requests_and_headers_before_mqtt_have_the_same_room_as_packets() {
    let broker = Broker::start(&[
        "--max-unfinished-bytes-total=20000",
        "--ws-port=0",
        "--proxy-from=127.0.0.2",
        "--proxy-protocol=tcp",
    ]);
    let request = format!("GET /mqtt HTTP/1.1\r\nCookie: {}", "x".repeat(7_000));
    let addresses = [127, 0, 0, 9, 127, 0, 0, 1, 0xC0, 0, 0x07, 0x5B];
    let nothing = [&[0x04, 0x0F, 0x00][..], &[0; 0x0F00]].concat();
    let len = u16::try_from(addresses.len() + nothing.len()).unwrap().to_be_bytes();
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &len, &addresses, &nothing].concat();
    let open = || {
        let mut proxy = Client::open_from([127, 0, 0, 2].into(), &broker);
        proxy.send_raw(&header);
        let mut browser = WebSocket::connect(broker.addresses()[1]);
        browser.send_raw(request.as_bytes());
        (proxy, browser)
    };
    let mut client = Client::connect(&broker, connect());
    let received = broker.counter("bytes_received");
    client.send(publish("a").payload(vec![b'x'; 17_000]).frame(Version::V5).announce(20_000));
    while broker.counter("bytes_received") < received + 17_000 {}
    let (mut proxy, mut browser) = open();
    proxy.expect_closed();
    assert!(browser.receive_rest().is_empty());
    while broker.counter("connections_ended") < 2 {}
    assert_eq!(broker.counter("refused_unfinished"), 2);
    drop(client);
    while broker.counter("connections_ended") < 3 {}
    let (mut proxy, mut browser) = open();
    proxy.attach(connect());
    browser.send_raw(b"\r\n\r\n");
    assert!(browser.receive_head().starts_with("HTTP/1.1 400"));
    assert_eq!(broker.counter("refused_unfinished"), 2);
}

#[test]
fn subscriptions_of_a_client() {
    let broker = Broker::start(&["--max-subscriptions-per-client=3"]);
    for (version, reason) in [(Version::V5, 0x97), (Version::V311, 0x80)] {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe_with(
            subscribe("1", 1).and("$share/g/2", 1).and("3/#", 1).and("4", 1),
            &[1, 1, 1, reason],
        );
        // To replace one is not one more.
        client.subscribe_with(subscribe("1", 2).and("5", 0), &[2, reason]);
        client.send(unsubscribe("1"));
        client.expect(unsuback(1, if version.is_v5() { &[0] } else { &[] }));
        client.subscribe("5", 0);
    }
    assert_eq!(broker.counter("refused_subscriptions_limit"), 4);
}

#[test]
fn levels_of_a_topic() {
    let broker = Broker::start(&["--max-topic-levels=3"]);
    refuses_topics(&broker, "a/b/c", "a/b/c/d");
}

#[test]
fn bytes_of_a_topic() {
    let broker = Broker::start(&["--max-topic-length=10"]);
    refuses_topics(&broker, "0123456789", "0123456789a");
}

fn refuses_topics(broker: &Broker, good: &str, bad: &str) {
    let mut client = Client::connect(broker, connect());
    client.subscribe_with(subscribe(good, 1).and(bad, 1), &[1, 0x8F]);
    client.send(publish(good));
    client.expect(publish(good));
    assert_eq!(client.publish(publish(bad).qos(1)), 0x90);
    assert_eq!(client.publish(publish(bad).qos(2)), 0x90);
    client.send(publish(bad));
    client.expect_disconnect(0x90);
    let mut old = Client::connect(broker, connect().version(Version::V311));
    old.subscribe_with(subscribe(bad, 1).and(good, 1), &[0x80, 1]);
    old.send(publish(bad).qos(1).id(1));
    old.expect_closed();
    Client::refused(broker, connect().will(will(bad)), 0x90);
    assert!(broker.counter("refused_topic_limit") >= 7);
}

#[test]
fn user_properties_of_a_packet() {
    let broker = Broker::start(&["--max-user-properties=3"]);
    let users = |count: usize| (0..count).map(|index| Property::user("k", &index.to_string()));
    let mut client = Client::connect(&broker, users(3).fold(connect(), Connect::property));
    client.subscribe_with(users(3).fold(subscribe("a", 1), Subscribe::property), &[1]);
    client.send(users(3).fold(publish("a"), Publish::property));
    client.expect(users(3).fold(publish("a"), Publish::property));
    for packet in [
        users(4).fold(publish("a"), Publish::property).frame(Version::V5),
        users(4).fold(subscribe("a", 1), Subscribe::property).frame(Version::V5),
        users(4).fold(unsubscribe("a"), Unsubscribe::property).frame(Version::V5),
        users(4).fold(puback(1), Ack::property).frame(Version::V5),
    ] {
        let mut client = Client::connect(&broker, connect());
        client.send(packet);
        client.expect_disconnect(0x97);
    }
    let mut client = Client::open(&broker);
    client.send(users(4).fold(connect(), Connect::property));
    client.expect_refusal(&[0x97]);
    assert_eq!(broker.counter("refused_packet_parts"), 5);
}

#[test]
fn messages_that_wait_drop_the_oldest() {
    let broker = Broker::start(&["--max-queued-messages=5"]);
    away(&broker, "away");
    publish_numbers(&broker, "q", 8);
    assert_eq!(waiting(&broker, "away"), ["3", "4", "5", "6", "7"]);
    assert_eq!(broker.counter("dropped_queue_full"), 3);
}

#[test]
fn messages_that_wait_drop_the_newest_if_wanted() {
    let broker = Broker::start(&["--max-queued-messages=5", "--queue-policy=drop-newest"]);
    away(&broker, "away");
    publish_numbers(&broker, "q", 8);
    assert_eq!(waiting(&broker, "away"), ["0", "1", "2", "3", "4"]);
    assert_eq!(broker.counter("dropped_queue_full"), 3);
}

#[test]
fn messages_that_wait_disconnect_the_client_if_wanted() {
    let broker = Broker::start(&["--max-queued-messages=5", "--queue-policy=disconnect"]);
    let narrow = || connect().client_id("narrow").persistent().receive_maximum(1);
    let mut client = Client::connect(&broker, narrow());
    client.subscribe("q", 1);
    publish_numbers(&broker, "q", 7);
    client.expect(publish("q").qos(1).payload("0"));
    client.expect_disconnect(0x97);
    assert_eq!(broker.counter("disconnected_queue_full"), 1);
    // It may return, and finds what had room.
    let mut client = Client::connect(&broker, narrow());
    let messages = client.receive_messages(6);
    assert_eq!(messages.iter().map(Publish::text).collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
    client.expect_nothing();
}

#[test]
fn messages_of_qos_0_give_way_first() {
    for policy in ["drop-oldest", "drop-newest", "disconnect"] {
        let policy = format!("--queue-policy={policy}");
        // A window that is soon full.
        let broker = Broker::start(&["--max-queued-messages=10", "--outbound-window=1024", &policy]);
        let mut client = Client::open_narrow(&broker, 2048);
        client.attach(connect().receive_maximum(1));
        client.subscribe_with(subscribe("zero", 0).and("one", 1).and("fill", 0), &[0, 1, 0]);
        let mut publisher = Client::connect(&broker, connect());
        publisher.publish(publish("one").qos(1).payload("first"));
        // Far more than all buffers between take.
        for _ in 0..200 {
            publisher.publish(publish("fill").qos(1).payload(vec![b'x'; 65_536]));
        }
        for number in 0..9 {
            publisher.publish(publish("one").qos(1).payload(number.to_string()));
        }
        publisher.publish(publish("zero").payload("too many"));
        let mut ones = Vec::new();
        while ones.len() < 10 {
            let message = client.receive_publish();
            match message.topic() {
                "one" => {
                    client.send(puback(message.id));
                    ones.push(message.text().to_owned());
                }
                "fill" => {}
                other => assert_eq!(other, "zero"),
            }
        }
        assert_eq!(ones, ["first", "0", "1", "2", "3", "4", "5", "6", "7", "8"], "{policy}");
        assert!(broker.counter("dropped_queue_full_qos0") > 0);
        assert_eq!(broker.counter("dropped_queue_full"), 0);
    }
}

#[test]
fn bytes_that_wait() {
    let broker = Broker::start(&["--max-queued-bytes=100000"]);
    away(&broker, "away");
    let mut publisher = Client::connect(&broker, connect());
    for number in 0..20 {
        publisher.publish(publish("q").qos(1).payload(format!("{number}{}", " ".repeat(10_000))));
    }
    let waiting: Vec<String> = waiting(&broker, "away").iter().map(|text| text.trim().to_owned()).collect();
    assert!((8..=9).contains(&waiting.len()), "{waiting:?}");
    assert_eq!(waiting.last().unwrap(), "19");
    assert_eq!(broker.counter("dropped_queue_full"), 20 - u64::try_from(waiting.len()).unwrap());
}

#[test]
fn bytes_that_wait_for_all() {
    let broker = Broker::start(&["--max-queued-bytes-total=200000"]);
    for id in ["a", "b", "c", "d"] {
        away(&broker, id);
    }
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..20 {
        publisher.publish(publish("q").qos(1).payload([b'x'; 10_000]));
    }
    let counts: Vec<usize> = ["a", "b", "c", "d"].map(|id| waiting(&broker, id).len()).to_vec();
    let all: usize = counts.iter().sum();
    assert!((12..=20).contains(&all), "{counts:?}");
    assert_eq!(broker.counter("dropped_queue_full"), 80 - u64::try_from(all).unwrap());
}

#[test]
fn retained_messages() {
    let broker = Broker::start(&["--max-retained-messages=3"]);
    let mut publisher = Client::connect(&broker, connect());
    for topic in ["1", "2", "3"] {
        assert_eq!(publisher.publish(publish(topic).qos(1).retain().payload("x")), 0x10);
    }
    assert_eq!(publisher.publish(publish("4").qos(1).retain().payload("x")), 0x97);
    assert_eq!(publisher.publish(publish("4").qos(2).retain().payload("x")), 0x97);
    // To replace or to remove one is always possible.
    assert_eq!(publisher.publish(publish("3").qos(1).retain().payload("y")), 0x10);
    publisher.publish(publish("1").qos(1).retain());
    assert_eq!(publisher.publish(publish("4").qos(1).retain().payload("x")), 0x10);
    assert_eq!(broker.counter("refused_retained_limit"), 2);
    let mut client = Client::connect(&broker, connect());
    client.subscribe("#", 0);
    let mut topics: Vec<String> =
        client.receive_messages(3).iter().map(|message| message.topic().to_owned()).collect();
    topics.sort();
    assert_eq!(topics, ["2", "3", "4"]);
    client.expect_nothing();
}

#[test]
fn bytes_of_retained_messages() {
    let broker = Broker::start(&["--max-retained-bytes=50000"]);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 20_000];
    for (topic, reason) in [("1", 0x10), ("2", 0x10), ("3", 0x97)] {
        assert_eq!(publisher.publish(publish(topic).qos(1).retain().payload(&payload)), reason);
    }
    assert_eq!(publisher.publish(publish("1").qos(1).retain().payload(vec![b'x'; 40_000])), 0x97);
    assert_eq!(broker.counter("refused_retained_limit"), 2);
}

#[test]
fn a_write_that_makes_no_progress() {
    let broker = Broker::start(&["--write-timeout=1"]);
    let mut stalled = Client::open_narrow(&broker, 4096);
    stalled.attach(connect().client_id("stalled"));
    stalled.subscribe("a", 0);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("gone", 0);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..200 {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; 65_536]));
    }
    let start = Instant::now();
    while broker.counter("write_stalls") == 0 {
        assert!(start.elapsed() < PATIENCE, "it stands");
    }
    // Its subscription went with it.
    assert_eq!(publisher.publish(publish("a").qos(1)), 0x10);
    watcher.expect_nothing();
}

#[test]
fn a_slow_reader_is_not_a_stalled_one() {
    let broker = Broker::start(&["--write-timeout=2", "--socket-send-buf-size=65536"]);
    let mut slow = Client::open_narrow(&broker, 4096);
    slow.attach(connect());
    slow.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..50 {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; 65_536]));
    }
    for round in 0..50 {
        // Longer than the time allowed in all, but each time with some progress.
        if round % 15 == 10 {
            broker.let_pass(1);
        }
        assert_eq!(slow.receive_publish().payload.len(), 65_536);
    }
    slow.expect_nothing();
    assert_eq!(broker.counter("write_stalls"), 0);
}

#[test]
fn the_last_words_to_a_client_that_does_not_read() {
    let broker = Broker::start(&["--close-timeout=1", "--write-timeout=1000"]);
    let mut stalled = Client::open_narrow(&broker, 4096);
    stalled.attach(connect().client_id("stalled"));
    stalled.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    for _ in 0..200 {
        publisher.publish(publish("a").qos(1).payload(vec![b'x'; 65_536]));
    }
    let mut new = Client::connect(&broker, connect().client_id("stalled"));
    let start = Instant::now();
    while broker.counter("connections_ended") == 0 {
        assert!(start.elapsed() < PATIENCE, "the old connection stands");
    }
    new.expect_nothing();
}

#[test]
fn topic_filters_of_a_packet() {
    let broker = Broker::start(&["--max-filters-per-packet=3"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.subscribe_with(subscribe("1", 0).and("2", 1).and("3", 2), &[0, 1, 2]);
        client.send(subscribe("1", 0).and("2", 0).and("3", 0).and("4", 0));
        client.expect_disconnect(0x97);
        let mut client = Client::connect(&broker, connect().version(version));
        client.send(unsubscribe("1").and("2").and("3").and("4"));
        client.expect_disconnect(0x97);
    }
    // As many as the default allows by far.
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect());
    let filters = [0, 1, b'a', 0].repeat(1_000_000);
    client.send(Frame::from(subscribe("a", 0)).append(&filters));
    client.expect_disconnect(0x97);
}

#[test]
fn sessions() {
    let broker = Broker::start(&["--max-sessions=2"]);
    let kept = || connect().client_id("kept").persistent();
    Client::connect(&broker, kept()).disconnect();
    let other = Client::connect(&broker, connect());
    Client::refused(&broker, connect(), 0x97);
    Client::refused(&broker, connect().version(Version::V311), 3);
    assert_eq!(broker.counter("refused_sessions_limit"), 2);
    // Who has one may use it.
    Client::connect(&broker, kept()).disconnect();
    other.disconnect();
    Client::connect(&broker, connect()).disconnect();
}

#[test]
fn the_time_that_a_session_outlives_its_connection() {
    let broker = Broker::start(&["--max-session-expiry=1"]);
    let client = Client::connect(&broker, connect().client_id("capped").session_expiry(u32::MAX));
    assert!(client.connack().has(&Property::SessionExpiry(1)));
    client.cut();
    let old = Client::connect(&broker, connect().version(Version::V311).client_id("old").persistent());
    old.cut();
    broker.let_pass(2);
    for (version, id) in [(Version::V5, "capped"), (Version::V311, "old")] {
        let client = Client::connect(&broker, connect().version(version).client_id(id).persistent());
        assert!(!client.connack().session_present);
    }
}

#[test]
fn the_cap_holds_for_what_disconnect_asks() {
    let broker = Broker::start(&["--max-session-expiry=1"]);
    let client = Client::connect(&broker, connect().client_id("capped").session_expiry(1));
    client.disconnect_with(disconnect().property(Property::SessionExpiry(1000)));
    broker.let_pass(2);
    let client = Client::connect(&broker, connect().client_id("capped").persistent());
    assert!(!client.connack().session_present);
}

#[test]
fn messages_of_qos_2_that_are_not_released() {
    let broker = Broker::start(&["--max-inbound-qos2=3"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        for id in 1..=3 {
            client.send(publish("a").qos(2).id(id));
            client.expect(pubrec(id).reason(if version.is_v5() { 0x10 } else { 0 }));
        }
        client.send(publish("a").qos(2).id(4));
        client.expect_disconnect(0x93);
    }
    assert_eq!(broker.counter("refused_qos2_limit"), 3);
}

/// Opens connections one after the other until one is closed. Returns how many were let in before.
fn connect_until_refused(broker: &Broker, source: [u8; 4]) -> usize {
    (0..1_000)
        .take_while(|_| {
            let mut client = Client::open_from(source.into(), broker);
            // It may be closed before this is sent.
            let _ = client.try_send_raw(&connect().frame(Version::V5).bytes());
            client.try_receive().is_some()
        })
        .count()
}

#[test]
fn connections_that_come_in_a_second() {
    let broker = Broker::start(&["--max-connection-rate=5"]);
    assert!(connect_until_refused(&broker, [127, 0, 0, 1]) >= 5);
    assert_eq!(broker.counter("connections_refused_rate_total"), 1);
    // Others are let in again soon.
    connect_when_possible(&broker).expect_nothing();
}

#[test]
fn connections_that_come_from_an_address_in_a_second() {
    let broker = Broker::start(&["--max-connection-rate-per-address=5"]);
    assert!(connect_until_refused(&broker, [127, 0, 0, 2]) >= 5);
    assert_eq!(broker.counter("connections_refused_rate_address"), 1);
    let mut other = Client::open_from([127, 0, 0, 3].into(), &broker);
    other.attach(connect());
}

#[test]
fn messages_that_a_client_publishes_in_a_second() {
    let broker = Broker::start(&["--max-message-rate=20", "--rate-limit-policy=disconnect"]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.send_all((0..20).map(|_| publish("a").payload("x")));
        client.expect_nothing();
        client.send_all((0..100).map(|_| publish("a").payload("x")));
        client.expect_disconnect(0x96);
    }
    assert_eq!(broker.counter("rate_limit_disconnects"), 3);
}

#[test]
fn bytes_that_a_client_sends_in_a_second() {
    let broker = Broker::start(&["--max-byte-rate=20KiB", "--rate-limit-policy=disconnect"]);
    let mut client = Client::connect(&broker, connect());
    client.send(publish("a").payload(vec![b'x'; 15_000]));
    client.expect_nothing();
    client.send(publish("a").payload(vec![b'x'; 100_000]));
    client.expect_disconnect(0x96);
    assert_eq!(broker.counter("rate_limit_disconnects"), 1);
}

#[test]
fn a_client_that_is_slowed_down_loses_nothing_and_delays_nobody() {
    let broker = Broker::start(&["--max-message-rate=200"]);
    let mut subscriber = Client::connect(&broker, connect());
    subscriber.subscribe("a", 0);
    let mut fast = Client::connect(&broker, connect());
    fast.send_all((0..300).map(|number| publish("a").payload(number.to_string())));
    for number in 0..300 {
        subscriber.expect(publish("a").payload(number.to_string()));
    }
    subscriber.expect_nothing();
    assert!(broker.counter("rate_limit_delays") > 0);
}

#[test]
fn the_counters_of_bounds_are_all_told() {
    let broker = Broker::start(&[]);
    for name in [
        "connections_refused_total",
        "connections_refused_address",
        "connections_refused_rate_total",
        "connections_refused_rate_address",
        "rate_limit_delays",
        "rate_limit_disconnects",
        "connect_timeouts",
        "write_stalls",
        "packets_too_large",
        "refused_sessions_limit",
        "refused_subscriptions_limit",
        "refused_topic_limit",
        "refused_retained_limit",
        "refused_qos2_limit",
        "dropped_queue_full",
        "dropped_queue_full_qos0",
        "disconnected_queue_full",
    ] {
        assert_eq!(broker.counter(name), 0);
    }
}
