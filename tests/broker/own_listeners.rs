//! Listeners on terms of their own: who may come in there, and what they may do.

use std::net::SocketAddr;

use crate::support::*;

/// An auth file with these users, whose password is `secret`, and who may do everything.
fn file(users: &[&str]) -> String {
    let entry = |name: &&str| format!("{{ name: '{name}', method: 'plain_password', password: 'secret' }}");
    let entries: Vec<String> = users.iter().map(entry).collect();
    format!(
        "{{ authentication: [{}], authorization: [{{ topic: '#', allow: {{ pub: ['@any'], sub: ['@any'] }} }}] }}",
        entries.join(", ")
    )
}

/// A broker with a listener on common terms, the first of its addresses, and one with these.
fn start(terms: &str) -> Broker {
    Setup::new().option(format!("--listener=tcp:127.0.0.1:0,{terms}")).start()
}

fn own(broker: &Broker) -> SocketAddr {
    broker.addresses()[1]
}

fn user(name: &str) -> Connect {
    connect().user(name).password("secret")
}

fn connected(address: SocketAddr, connect: Connect) -> Client {
    let mut client = Client::open_at(address);
    client.attach(connect);
    client
}

#[track_caller]
fn refused(address: SocketAddr, connect: Connect) {
    let mut client = Client::open_at(address);
    client.send(connect);
    client.expect_refusal(&[0x87]);
}

/// A broker whose common users are `alice` and `both`, and whose others are `bob` and `both`.
fn two_files() -> Broker {
    Setup::new()
        .file("auth.json", &file(&["alice", "both"]))
        .file("own.json", &file(&["bob", "both"]))
        .option("--listener=tcp:127.0.0.1:0,auth-file=own.json")
        .start()
}

#[test]
fn a_user_of_one_file_is_nobody_at_the_other_listener() {
    let broker = two_files();
    let mut alice = connected(broker.address(), user("alice"));
    let mut bob = connected(own(&broker), user("bob"));
    refused(broker.address(), user("bob"));
    refused(own(&broker), user("alice"));
    // It is one broker all the same.
    alice.subscribe("t", 0);
    bob.publish(publish("t").qos(1).payload("x"));
    alice.expect(publish("t").payload("x"));
}

#[test]
fn a_session_belongs_to_a_user_of_one_file() {
    let broker = two_files();
    let again = || user("both").client_id("c").clean_start(false).session_expiry(1_000);
    connected(broker.address(), again()).disconnect();
    refused(own(&broker), again());
    let client = connected(broker.address(), again());
    assert!(client.connack().session_present);
}

#[test]
fn one_file_may_be_for_several_listeners() {
    let broker = Setup::new()
        .file("auth.json", &file(&["alice"]))
        .options(&["--listener=tcp:127.0.0.1:0,auth-file=auth.json", "--auth-file=auth.json"])
        .start();
    let again = || user("alice").client_id("c").clean_start(false).session_expiry(1_000);
    connected(broker.address(), again()).disconnect();
    assert!(connected(own(&broker), again()).connack().session_present);
}

#[test]
fn everybody_may_be_let_in_at_one_listener() {
    let broker = Setup::new()
        .file("auth.json", &file(&["alice"]))
        .option("--listener=tcp:127.0.0.1:0,allow-anonymous")
        .start();
    broker.wait_for_log(0, "for listeners on terms of their own: everybody may do everything");
    refused(broker.address(), connect());
    let mut client = connected(own(&broker), connect());
    client.subscribe("t", 0);
    connected(broker.address(), user("alice")).publish(publish("t").qos(1).payload("x"));
    client.expect(publish("t").payload("x"));
}

#[test]
fn a_reload_of_one_file_concerns_its_listener() {
    let broker = two_files();
    let (mut alice, mut bob) =
        (connected(broker.address(), user("alice")), connected(own(&broker), user("bob")));
    let mut common = connected(broker.address(), user("both").client_id("common"));
    let mut both = connected(own(&broker), user("both").client_id("own"));
    broker.write_file("own.json", &file(&["bob"]));
    broker.reload();
    both.expect_disconnect(0x87);
    refused(own(&broker), user("both"));
    for client in [&mut alice, &mut bob, &mut common] {
        client.expect_nothing();
    }
    let log = broker.log();
    assert!(log.contains("auth reloaded, file:own.json: users removed: both"), "{log}");
    assert!(log.contains("auth reloaded: nothing has changed"), "{log}");
}

#[test]
fn a_reload_takes_all_files_or_none() {
    let broker = two_files();
    let mut alice = connected(broker.address(), user("alice"));
    broker.write_file("auth.json", &file(&["both"]));
    broker.write_file("own.json", "{");
    let from = broker.log_length();
    broker.reload();
    let line = broker.wait_for_log(from, "not reloaded");
    assert!(line.contains("own.json:1:"), "{line}");
    alice.expect_nothing();
    connected(broker.address(), user("alice").client_id("another"));
    broker.write_file("own.json", &file(&["bob"]));
    broker.reload();
    alice.expect_disconnect(0x87);
}

#[test]
fn a_file_of_one_listener_must_be_there_and_right() {
    let listener = "--listener=tcp:127.0.0.1:0,auth-file=own.json";
    for setup in [Setup::new(), Setup::new().file("own.json", "{ users: [] }")] {
        let finished = setup.option(listener).run();
        assert_eq!(finished.code, Some(78), "{}", finished.stderr);
        assert!(finished.stderr.contains("own.json"), "{}", finished.stderr);
    }
}

#[test]
fn what_is_nothing_that_a_listener_can_have_is_refused() {
    for (terms, part) in [
        (
            "max-conections=1",
            "\"max-conections\" is nothing that a listener can have by itself: expected auth-file",
        ),
        ("max-connections=many", "max-connections=many: expected a number above zero"),
    ] {
        let finished = run(&[&format!("--listener=tcp:0,{terms}")]);
        assert_eq!(finished.code, Some(2));
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
}

#[test]
fn the_largest_packet_is_announced_and_kept() {
    let broker = Setup::new()
        .options(&[
            "--mqtt-maximum-packet-size=1000",
            "--listener=tcp:127.0.0.1:0,mqtt-maximum-packet-size=200",
        ])
        .start();
    for (address, size) in [(broker.address(), 1_000), (own(&broker), 200)] {
        let mut client = connected(address, connect());
        assert_eq!(client.connack().all(0x27), [Property::MaximumPacketSize(size)]);
        let size = usize::try_from(size).unwrap();
        client.publish(publish("t").qos(1).payload(vec![b'x'; size - 50]));
        client.send(publish("t").payload(vec![b'x'; size]));
        client.expect_disconnect(0x95);
    }
}

#[test]
fn connections_are_counted_by_themselves_and_among_all() {
    let broker = Setup::new()
        .options(&["--max-connections=3", "--listener=tcp:127.0.0.1:0,max-connections=1"])
        .start();
    let first = connected(own(&broker), connect());
    Client::open_at(own(&broker)).expect_closed();
    let _others = [(); 2].map(|()| connected(broker.address(), connect()));
    Client::open(&broker).expect_closed();
    drop(first);
    assert_eq!(broker.counter("connections_refused_total"), 2);
}

#[test]
fn connections_that_come_in_a_second_are_counted_by_themselves() {
    let broker = start("max-connection-rate=1");
    let refused = (0..20).filter(|_| {
        let mut client = Client::open_at(own(&broker));
        // It may be closed before this is sent.
        let _ = client.try_send_raw(&connect().frame(Version::V5).bytes());
        client.try_receive().is_none()
    });
    assert!(refused.count() > 0);
    for _ in 0..20 {
        Client::connect(&broker, connect());
    }
}

#[test]
fn rates_of_clients_are_those_of_their_listener() {
    let broker = start("max-message-rate=5,rate-limit-policy=disconnect");
    let mut free = Client::connect(&broker, connect());
    let mut bound = connected(own(&broker), connect());
    for client in [&mut free, &mut bound] {
        client.send_all((0..100).map(|_| publish("t")));
    }
    bound.expect_disconnect(0x96);
    free.expect_nothing();
}

#[test]
fn the_time_to_connect_is_that_of_the_listener() {
    let broker = start("connect-timeout=1s");
    let mut patient = Client::open(&broker);
    Client::open_at(own(&broker)).expect_closed();
    patient.attach(connect());
}

#[test]
fn the_keep_alive_is_that_of_the_listener() {
    let broker = start("mqtt-server-keep-alive=1");
    let mut client = connected(own(&broker), connect());
    assert_eq!(client.connack().all(0x13), [Property::ServerKeepAlive(1)]);
    assert!(Client::connect(&broker, connect()).connack().all(0x13).is_empty());
    client.expect_disconnect(0x8D);
}

#[test]
fn every_kind_of_listener_can_be_one_of_its_own() {
    let setup =
        Setup::new().listeners_as_told().options(&["--bind=127.0.0.1", "--mqtt-maximum-packet-size=1000"]);
    let certificate = server_certificate("server");
    let mut setup = setup.options(&certificate.each_ref().map(String::as_str));
    for kind in ["tcp:0", "tls:0", "ws:0", "wss:127.0.0.1:0", "quic:0", "unix:mqtt.sock"] {
        setup = setup.option(format!("--listener={kind},mqtt-maximum-packet-size=300"));
    }
    let broker = setup.start();
    let [tcp, tls, ws, wss, quic] = *broker.addresses() else { panic!("{:?}", broker.addresses()) };
    let mut clients = vec![
        Client::open_at(tcp),
        Tls::new().connect(tls),
        Client::open_websocket(ws),
        Tls::new().connect_websocket(wss),
        Quic::new().connect(quic),
    ];
    #[cfg(unix)]
    clients.push(Client::open_unix(&broker.path("mqtt.sock")));
    for client in &mut clients {
        let connack = client.attach(connect());
        assert_eq!(connack.all(0x27), [Property::MaximumPacketSize(300)]);
    }
}
