//! MQTT over QUIC: one stream, its handshake, its end, and clients that move.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;

fn quic_address(broker: &Broker) -> SocketAddr {
    broker.addresses()[1]
}

#[test]
fn every_version_of_mqtt_is_spoken_on_the_first_stream() {
    let broker = start_with_quic(&[]);
    for version in Version::ALL {
        Quic::new().connect(quic_address(&broker)).exchange(connect().version(version));
    }
}

#[test]
fn large_messages_come_through_whole() {
    let broker = start_with_quic(&[]);
    Quic::new().connect(quic_address(&broker)).exchange_much(connect());
}

#[test]
fn it_is_one_broker() {
    let broker = start_with_quic(&[]);
    let mut over_quic = Quic::new().connect(quic_address(&broker));
    over_quic.attach(connect());
    over_quic.subscribe("a", 2);
    Client::connect(&broker, connect()).publish(publish("a").qos(2).payload("x"));
    assert_eq!(over_quic.receive_messages(1)[0].payload, b"x");
}

#[test]
fn the_ports_file_and_the_log_name_each_address() {
    let broker = start_with_quic(&["--quic-port=0", "--bind=127.0.0.2"]);
    assert_eq!(broker.addresses().len(), 6);
    let ports = std::fs::read_to_string(broker.path("ports")).unwrap();
    for address in &broker.addresses()[2..] {
        assert!(ports.lines().any(|line| line == format!("quic {address}")), "{ports}");
        broker.wait_for_log(0, &format!("listening on quic {address}"));
        Quic::new().connect(*address).exchange(connect());
    }
}

#[test]
fn quic_alone_is_enough() {
    let broker = setup_with_quic(&["--bind=127.0.0.1"]).listeners_as_told().start();
    assert_eq!(broker.addresses().len(), 1);
    Quic::new().connect(broker.address()).exchange(connect());
}

#[test]
fn a_port_in_use_is_a_failure() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let finished = setup_with_quic(&["--bind=127.0.0.1", &format!("--quic-port={port}")]).run();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(&format!("cannot listen on quic 127.0.0.1:{port}")),
        "{}",
        finished.stderr
    );
}

#[test]
fn quic_needs_a_certificate() {
    let finished = run(&["--quic-port=0"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("expected --server-crt and --server-key"), "{}", finished.stderr);
}

#[test]
fn two_names_of_the_protocol_are_taken_and_no_other() {
    let broker = start_with_quic(&[]);
    let open = |names: &[&str]| Quic::over(Tls::new().offering(names)).open(quic_address(&broker));
    let taken = ["mqtt", "MQTT-next"].map(|name| {
        let connection = open(&["other", name]).unwrap();
        assert_eq!(connection.protocol(), Some(name.as_bytes().to_vec()));
        connection
    });
    for names in [&["h3"][..], &[]] {
        let refused = open(names).unwrap_err().to_string();
        assert!(refused.contains("120"), "no_application_protocol: {refused}");
    }
    assert_eq!(broker.counter("handshakes_failed"), 2);
    for connection in taken {
        connection.client().exchange(connect());
    }
}

#[test]
fn certificates_say_who_a_client_is() {
    const AUTH: &str = r#"{
        authentication: [{ name: "device1", method: "client_cert" }],
        authorization: [{ topic: "of/device1", allow: { pub: ["device1"], sub: ["@any"] } }],
    }"#;
    let (authority, list) = (certs("ca.crt"), certs("ca.crl"));
    let options = ["--client-cert=required", "--client-ca", &authority, "--client-crl", &list];
    let broker = setup_with_quic(&options).file("auth.json", AUTH).start();
    let quic = Quic::certificate("client");
    // The second session is the first one resumed.
    for _ in 0..2 {
        let mut client = quic.connect(quic_address(&broker));
        client.attach(connect());
        assert_eq!(client.publish(publish("of/device1").qos(1)), 0x10);
        assert_eq!(client.publish(publish("of/device2").qos(1)), 0x87);
        client.disconnect();
    }
    for quic in [Quic::new(), Quic::certificate("client-revoked"), Quic::certificate("client-unknown")] {
        // With TLS 1.3 a client believes that it is in until it hears otherwise.
        if let Ok(connection) = quic.open(quic_address(&broker)) {
            assert!(
                connection.ended().to_string().contains("cryptographic handshake"),
                "{}",
                connection.ended()
            );
        }
    }
}

#[test]
fn new_connections_get_the_renewed_certificate() {
    let setup = Setup::new().options(&["--quic-port=0", "--server-crt=a.crt", "--server-key=a.key"]);
    install_certificate(&setup.path(""), "server");
    let broker = setup.start();
    let mut before = Quic::new().connect(quic_address(&broker));
    before.attach(connect());
    install_certificate(&broker.path(""), "server-renewed");
    broker.reload();
    let after = Quic::new().open(quic_address(&broker)).unwrap();
    assert_eq!(after.server_certificate(), certificate("server-renewed.crt"));
    before.expect_nothing();
}

#[test]
fn the_last_word_comes_before_the_connection_is_closed() {
    let broker = start_with_quic(&[]);
    let connection = Quic::new().open(quic_address(&broker)).unwrap();
    let mut client = connection.client();
    client.attach(connect().client_id("x"));
    let _other = Client::connect(&broker, connect().client_id("x"));
    client.expect(disconnect().reason(0x8E));
    // It is the stream that ends, not the connection that breaks.
    client.expect_closed();
    client.shutdown_write();
    assert_eq!(connection.close_code(), 0);
}

#[test]
fn refusals_are_told() {
    let broker = setup_with_quic(&[]).file("auth.json", "{ authentication: [], authorization: [] }").start();
    let mut client = Quic::new().connect(quic_address(&broker));
    assert_eq!(client.handshake(connect()).reason, 0x87);
    client.expect_closed();
}

#[test]
fn what_was_answered_comes_although_the_client_has_left() {
    let broker = start_with_quic(&[]);
    for _ in 0..20 {
        let mut client = Quic::new().connect(quic_address(&broker));
        client.attach(connect());
        client.send(publish("a").qos(1).id(1));
        client.send(disconnect());
        client.shutdown_write();
        client.expect(puback(1).reason(0x10));
        client.expect_closed();
    }
}

#[test]
fn a_client_that_says_goodbye_and_hangs_up_at_once_has_said_goodbye() {
    let broker = start_with_quic(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("will/#", 0);
    for _ in 0..20 {
        let connection = Quic::new().open(quic_address(&broker)).unwrap();
        let mut client = connection.client();
        client.attach(connect().will(will("will/after goodbye")));
        client.send(disconnect());
        connection.finish_and_close(client);
    }
    let connection = Quic::new().open(quic_address(&broker)).unwrap();
    connection.client().attach(connect().will(will("will/without goodbye")));
    connection.close();
    watcher.expect(publish("will/without goodbye"));
    watcher.expect_nothing();
}

#[test]
fn a_client_may_move() {
    let broker = start_with_quic(&["--log-level=debug"]);
    let quic = Quic::new();
    let mut client = quic.connect(quic_address(&broker));
    client.exchange(connect());
    client.send(puback(1));
    for _ in 0..3 {
        let from = broker.log_length();
        quic.migrate();
        client.send(publish("a").payload("from elsewhere"));
        client.expect(publish("a").payload("from elsewhere"));
        broker.wait_for_log(from, "a QUIC client has moved");
    }
}

#[test]
fn a_client_that_moves_is_counted_where_it_is() {
    let broker = start_with_quic(&["--max-connections-per-address=1", "--log-level=debug"]);
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let is_full = |address: [u8; 4]| {
        let mut client = Client::open_from(address.into(), &broker);
        let _ = client.try_send_raw(&connect().frame(Version::V5).bytes());
        client.try_receive().is_none()
    };
    let quic = Quic::new();
    let mut client = quic.connect(quic_address(&broker));
    client.attach(connect());
    assert!(is_full(here));
    quic.migrate_to(there.into());
    client.expect_nothing();
    until(|| !is_full(here));
    assert!(is_full(there));
    client.expect_nothing();
}

#[test]
fn a_client_that_is_there_need_not_say_anything() {
    let broker = start_with_quic(&["--quic-idle-timeout=1"]);
    let mut client = Quic::new().connect(quic_address(&broker));
    client.attach(connect().keep_alive(0));
    broker.let_pass(3);
    client.expect_nothing();
}

#[test]
fn a_client_that_has_vanished_is_missed() {
    let broker = start_with_quic(&["--quic-idle-timeout=1"]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("will", 0);
    let quic = Quic::new();
    let mut client = quic.connect(quic_address(&broker));
    client.attach(connect().keep_alive(0).will(will("will")));
    quic.vanish();
    watcher.expect(publish("will"));
}

#[test]
fn early_data_is_taken_only_where_it_is_wanted() {
    let broker = start_with_quic(&[]);
    let quic = Quic::new();
    quic.connect(quic_address(&broker)).exchange(connect());
    assert!(quic.open_early(quic_address(&broker)).is_none());

    let broker = start_with_quic(&["--quic-early-data"]);
    let quic = Quic::new();
    quic.connect(quic_address(&broker)).exchange(connect());
    let (connection, accepted) = quic.open_early(quic_address(&broker)).unwrap();
    let mut client = connection.client();
    client.send(connect());
    client.send(publish("a").qos(1).id(1));
    assert!(accepted());
    client.expect_accepted();
    client.expect(puback(1).reason(0x10));
}

/// What a client sent early is recorded and sent to the broker by somebody who cannot complete the handshake.
#[test]
fn early_data_that_is_repeated_has_no_effect() {
    let broker = start_with_quic(&["--quic-early-data", "--connect-timeout=1"]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("a", 0);
    let quic = Quic::new();
    quic.connect(quic_address(&broker)).exchange(connect());
    let trap = Trap::new(quic_address(&broker));
    // The session belongs to the name, not to the address.
    let (connection, _) = quic.open_early(trap.address).unwrap();
    let mut client = connection.client();
    client.send(connect());
    client.send(publish("a").payload("replayed"));
    let ended = |broker: &Broker| broker.counter("connect_timeouts") + broker.counter("handshakes_failed");
    until(|| ended(&broker) > 0);
    assert_eq!(broker.counter("authentications_refused"), 0);
    watcher.expect(publish("a").payload("x"));
    watcher.expect_nothing();
}

#[test]
fn silent_handshakes_keep_nobody_waiting() {
    const SILENT: u64 = 300;
    let broker = start_with_quic(&["--connect-timeout=120"]);
    let trap = Trap::new(quic_address(&broker));
    let quic = Quic::new();
    let _silent: Vec<_> = (0..SILENT).map(|_| quic.begin(trap.address)).collect();
    until(|| broker.counter("connections_accepted") >= SILENT);
    let mut client = Quic::new().connect(quic_address(&broker));
    client.attach(connect());
    assert_eq!(broker.counter("connections_ended"), 0, "they all are still waited for");
}

#[test]
fn handshakes_and_connections_without_a_stream_are_ended_in_time() {
    let broker = start_with_quic(&["--connect-timeout=1"]);
    let trap = Trap::new(quic_address(&broker));
    let quic = Quic::new();
    let _silent = quic.begin(trap.address);
    until(|| broker.counter("connections_accepted") == 1);
    let without_stream = quic.open(quic_address(&broker)).unwrap();
    let connection = quic.open(quic_address(&broker)).unwrap();
    let mut without_connect = connection.client();
    without_connect.send_raw(&[0x10]);
    assert_eq!(without_stream.close_code(), 0);
    without_connect.expect_closed();
    until(|| broker.counter("connect_timeouts") == 3);
}

#[test]
fn clients_that_leave_during_their_handshakes_leave_nothing() {
    let broker = start_with_quic(&["--connect-timeout=120"]);
    let quic = Quic::new();
    for _ in 0..10 {
        drop(quic.begin(quic_address(&broker)));
        quic.open(quic_address(&broker)).unwrap().close();
        let connection = quic.open(quic_address(&broker)).unwrap();
        connection.client().send_raw(&[0x10]);
        connection.close();
    }
    until(|| broker.counter("connections_accepted") == broker.counter("connections_ended"));
    assert!(broker.counter("connections_accepted") >= 20);
    quic.connect(quic_address(&broker)).exchange(connect());
}

#[test]
fn who_comes_when_many_are_waited_for_shows_its_address_first() {
    let broker = start_with_quic(&["--max-handshakes-per-address=16", "--connect-timeout=120"]);
    let trap = Trap::new(quic_address(&broker));
    let quic = Quic::new();
    let _silent: Vec<_> = (0..100).map(|_| quic.begin(trap.address)).collect();
    until(|| broker.counter("addresses_asked_for") >= 98);
    // Others than these two, which may have been at any address, take no places.
    assert_eq!(broker.counter("connections_accepted"), 2);
    quic.connect(quic_address(&broker)).exchange(connect());
    assert_eq!(broker.counter("connections_refused_unfinished_address"), 0);
}

#[test]
fn too_many_are_refused() {
    let broker = start_with_quic(&["--max-connections=2"]);
    let first = Quic::new();
    let connection = first.open(quic_address(&broker)).unwrap();
    let mut client = connection.client();
    client.attach(connect());
    let _second = Client::connect(&broker, connect());
    let refused = Quic::new().open(quic_address(&broker)).unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    assert_eq!(broker.counter("connections_refused_total"), 1);
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let broker = start_with_quic(&["--write-timeout=1"]);
    let mut slow = Quic::new().connect(quic_address(&broker));
    slow.attach(connect());
    slow.subscribe("a", 0);
    let mut publisher = Client::connect(&broker, connect());
    let payload = vec![b'x'; 1 << 20];
    while broker.counter("write_stalls") == 0 {
        publisher.publish(publish("a").payload(&payload));
    }
}

#[test]
fn all_are_told_when_the_broker_stops() {
    let mut broker = start_with_quic(&[]);
    let connection = Quic::new().open(quic_address(&broker)).unwrap();
    let mut client = connection.client();
    client.attach(connect());
    let silent = Quic::new().open(quic_address(&broker)).unwrap();
    broker.signal("TERM");
    client.expect(disconnect().reason(0x8B));
    client.expect_closed();
    assert_eq!(silent.close_code(), 0);
    assert_eq!(connection.close_code(), 0);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn what_is_not_quic_is_passed_over() {
    let broker = start_with_quic(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(quic_address(&broker)).unwrap();
    for len in [0, 1, 20, 1_200, 9_000] {
        for first in [0x00, 0x10, 0x40, 0xC0, 0xFF] {
            socket.send(&vec![first; len]).unwrap();
        }
    }
    Quic::new().connect(quic_address(&broker)).exchange(connect());
}

/// Waits for something that is only seen by asking again.
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Clients that speak to its address are heard by the broker, but do not hear the broker.
struct Trap {
    address: SocketAddr,
    is_over: std::sync::Arc<AtomicBool>,
}

impl Trap {
    fn new(broker: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let is_over = std::sync::Arc::new(AtomicBool::new(false));
        let ends = std::sync::Arc::clone(&is_over);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        thread::spawn(move || {
            let onward = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut datagram = [0; 2_048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok(len) = socket.recv(&mut datagram) {
                    onward.send_to(&datagram[..len], broker).unwrap();
                }
            }
        });
        Self { address, is_over }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
