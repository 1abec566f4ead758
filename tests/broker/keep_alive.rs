//! Keep-alive.

use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn a_silent_client_is_disconnected_after_one_and_a_half_times_the_keep_alive() {
    let broker = Broker::start(&[]);
    let start = Instant::now();
    let mut clients =
        Version::ALL.map(|version| Client::connect(&broker, connect().version(version).keep_alive(1)));
    for client in &mut clients {
        client.expect_disconnect(0x8D);
        let silence = start.elapsed();
        assert!(silence >= Duration::from_millis(1450), "{silence:?}");
    }
    assert!(broker.counter("keep_alive_timeouts") >= 3);
}

#[test]
fn any_packet_keeps_a_client_alive() {
    let broker = Broker::start(&[]);
    let mut pinging = Client::connect(&broker, connect().keep_alive(2));
    let mut publishing = Client::connect(&broker, connect().version(Version::V311).keep_alive(2));
    let mut silent = Client::connect(&broker, connect().keep_alive(2));
    for _ in 0..4 {
        broker.let_pass(1);
        pinging.expect_nothing();
        publishing.send(publish("a").qos(1).id(1));
        publishing.expect(puback(1));
    }
    silent.expect_disconnect(0x8D);
    pinging.expect_nothing();
}

#[test]
fn what_is_received_does_not_keep_a_client_alive() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().keep_alive(1));
    client.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    let start = Instant::now();
    loop {
        publisher.send(publish("a"));
        match client.receive() {
            Packet::Publish(_) => assert!(start.elapsed() < Duration::from_secs(8), "it lives on"),
            Packet::Disconnect(disconnect) => break assert_eq!(disconnect.reason, 0x8D),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_keep_alive_silence_is_allowed() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().keep_alive(0));
    broker.let_pass(3);
    client.expect_nothing();
}

#[test]
fn half_a_packet_keeps_nobody_alive_for_ever() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(&broker, connect().keep_alive(1));
    client.send(frame(0x30, &[0, 1, b'a']).announce(1000));
    client.expect_disconnect(0x8D);
}

#[test]
fn the_server_may_set_the_keep_alive() {
    let broker = Broker::start(&["--mqtt-server-keep-alive=1"]);
    let mut clients = [0, 1, 1000].map(|asked| Client::connect(&broker, connect().keep_alive(asked)));
    for client in &mut clients {
        assert!(client.connack().has(&Property::ServerKeepAlive(1)));
        client.expect_disconnect(0x8D);
    }
}

#[test]
fn older_clients_keep_their_own_keep_alive_as_they_cannot_be_told() {
    let broker = Broker::start(&["--mqtt-server-keep-alive=1"]);
    let mut clients = [(Version::V31, 0), (Version::V311, 1000)]
        .map(|(version, asked)| Client::connect(&broker, connect().version(version).keep_alive(asked)));
    broker.let_pass(3);
    for client in &mut clients {
        client.expect_nothing();
    }
    let broker = Broker::start(&["--mqtt-server-keep-alive=1000"]);
    let mut client = Client::connect(&broker, connect().version(Version::V311).keep_alive(1));
    client.expect_closed();
}

#[test]
fn the_server_may_do_without_keep_alive() {
    let broker = Broker::start(&["--mqtt-server-keep-alive=0"]);
    let mut client = Client::connect(&broker, connect().keep_alive(1));
    assert!(client.connack().has(&Property::ServerKeepAlive(0)));
    broker.let_pass(3);
    client.expect_nothing();
}
