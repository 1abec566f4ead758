//! MQTT over TLS: who is let in, who is refused and why, and what holds while files change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::*;

const AUTH: &str = r##"{
    authentication: [
        { name: "device1", method: "client_cert" },
        { name: "device2", method: "client_cert" },
        { name: "device1.example", method: "client_cert" },
        { name: "urn:example:device1", method: "client_cert" },
        { name: "CN=device1,O=Example\\, Inc.", method: "client_cert" },
        { name: "alice", method: "plain_password", password: "secret" },
    ],
    authorization: [
        { topic: "#", allow: { pub: ["@any"], sub: ["@any"] } },
        { topic: "of/device1", deny: { pub: ["@any"] } },
        { topic: "of/device1", allow: { pub: ["device1"] } },
    ],
}"##;

/// A broker with this certificate, beside the TCP listener that all have.
fn setup(certificate: &str, options: &[&str]) -> Setup {
    let [certificate, key] = server_certificate(certificate);
    Setup::new().options(&["--tls-port=0", &certificate, &key]).options(options)
}

fn start(options: &[&str]) -> Broker {
    setup("server", options).start()
}

/// One that asks for certificates.
fn asking(policy: &str, options: &[&str]) -> Setup {
    let (authority, list) = (certs("ca.crt"), certs("ca.crl"));
    setup("server", &["--client-cert", policy, "--client-ca", &authority, "--client-crl", &list])
        .options(options)
}

/// The first of its TLS addresses.
fn tls_address(broker: &Broker) -> SocketAddr {
    broker.addresses()[1]
}

#[test]
fn mqtt_is_spoken_over_both_versions_of_tls() {
    let broker = start(&[]);
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut tls = Tls::with(None, &[version], "ca.crt");
        assert_eq!(tls.open(tls_address(&broker)).unwrap().version(), Some(expected));
        tls.connect(tls_address(&broker)).exchange(connect());
    }
}

#[test]
fn every_kind_of_key_and_chain_is_served() {
    for certificate in ["server-rsa", "server-ed25519", "server-chain"] {
        let broker = setup(certificate, &[]).start();
        Tls::new().connect(tls_address(&broker)).exchange(connect());
    }
}

#[test]
fn large_messages_come_through_whole() {
    let broker = start(&[]);
    Tls::new().connect(tls_address(&broker)).exchange_much(connect());
}

#[test]
fn the_name_of_the_protocol_is_offered_and_optional() {
    let broker = start(&[]);
    let address = tls_address(&broker);
    assert_eq!(Tls::new().open(address).unwrap().protocol(), None);
    let agreed = Tls::new().offering(&["other", "mqtt"]).open(address).unwrap();
    assert_eq!(agreed.protocol(), Some(b"mqtt".as_slice()));
    let refused = Tls::new().offering(&["http/1.1"]).refused(address);
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn several_ports_and_addresses_are_served() {
    let broker = start(&["--tls-port=0", "--bind=127.0.0.2"]);
    assert_eq!(broker.addresses().len(), 6);
    for address in &broker.addresses()[2..] {
        Tls::new().connect(*address).exchange(connect());
    }
}

#[test]
fn the_name_that_a_client_calls_chooses_the_certificate() {
    let [certificate_option, key_option] = server_certificate("server-sni");
    let broker = start(&[&certificate_option, &key_option]);
    for (name, expected) in [
        ("localhost", "server.crt"),
        ("broker.example", "server-sni.crt"),
        ("any.wild.example", "server-sni.crt"),
    ] {
        let stream = Tls::new().server_name(name).open(tls_address(&broker)).unwrap();
        assert_eq!(stream.server_certificate(), certificate(expected), "{name}");
    }
}

#[test]
fn sessions_are_resumed() {
    let broker = asking("required", &[]).file("auth.json", AUTH).start();
    for version in [&TLS12, &TLS13] {
        let mut tls = Tls::with(Some("client"), &[version], "ca.crt");
        // The tickets come behind the handshake, with the first bytes.
        tls.connect(tls_address(&broker)).exchange(connect());
        assert!(tls.open(tls_address(&broker)).unwrap().is_resumed(), "{version:?}");
        let mut resumed = tls.connect(tls_address(&broker));
        resumed.attach(connect());
        assert_eq!(resumed.publish(publish("of/device1").qos(1)), 0x10);
    }
}

#[test]
fn a_client_that_trusts_another_authority_goes_away() {
    let broker = start(&[]);
    let refused = Tls::with(None, rustls::ALL_VERSIONS, "other-ca.crt").refused(tls_address(&broker));
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    Tls::new().connect(tls_address(&broker)).exchange(connect());
}

#[test]
fn certificates_that_do_not_hold_are_refused() {
    let broker = asking("required", &[]).start();
    for (name, alert) in [
        (None, "CertificateRequired"),
        (Some("client-unknown"), "UnknownCA"),
        (Some("client-expired"), "CertificateExpired"),
        (Some("client-revoked"), "CertificateRevoked"),
    ] {
        let refused = Tls::with(name, &[&TLS13], "ca.crt").refused(tls_address(&broker));
        assert!(refused.contains(alert), "{name:?}: {refused}");
        Tls::with(name, &[&TLS12], "ca.crt").refused(tls_address(&broker));
    }
    assert_eq!(broker.counter("handshakes_failed"), 8);
    Tls::certificate("client").connect(tls_address(&broker)).exchange(connect());
    Tls::certificate("client-chain").connect(tls_address(&broker)).exchange(connect());
}

#[test]
fn where_certificates_are_optional_a_wrong_one_is_refused_all_the_same() {
    let broker = asking("optional", &[]).start();
    Tls::new().connect(tls_address(&broker)).exchange(connect());
    Tls::certificate("client").connect(tls_address(&broker)).exchange(connect());
    Tls::certificate("client-revoked").refused(tls_address(&broker));
    Tls::certificate("client-unknown").refused(tls_address(&broker));
}

#[test]
fn a_certificate_is_that_of_its_user_and_of_nobody_else() {
    let broker = asking("optional", &[]).file("auth.json", AUTH).start();
    let address = tls_address(&broker);
    let device1 = || Tls::certificate("client").connect(address);

    for accepted in [connect(), connect().user("device1"), connect().user("device1").password("any")] {
        let mut client = device1();
        client.attach(accepted);
        assert_eq!(client.publish(publish("of/device1").qos(1)), 0x10, "allowed, and nobody has subscribed");
    }
    let refuse = |mut client: Client, connect: Connect| {
        assert_eq!(client.handshake(connect).reason, 0x87);
        client.expect_closed();
    };
    for name in ["device2", "alice", "nobody", ""] {
        refuse(device1(), connect().user(name));
        refuse(device1(), connect().user(name).password("secret"));
    }
    let device2 = || Tls::certificate("client-other").connect(address);
    refuse(device2(), connect().user("device1"));
    let mut client = device2();
    client.attach(connect());
    assert_eq!(client.publish(publish("of/device1").qos(1)), 0x87);

    for without in
        [|broker: &Broker| Client::open(broker), |broker: &Broker| Tls::new().connect(tls_address(broker))]
    {
        refuse(without(&broker), connect().user("device1"));
        refuse(without(&broker), connect().user("device1").password(""));
        refuse(without(&broker), connect());
        without(&broker).attach(connect().user("alice").password("secret"));
    }
    // A certificate of which the file does not know is as good as none.
    refuse(Tls::certificate("client-chain").connect(address), connect());
    Tls::certificate("client-chain").connect(address).attach(connect().user("alice").password("secret"));
}

#[test]
fn the_identity_is_the_part_of_the_certificate_that_was_chosen() {
    for (part, user) in [
        ("cn", "device1"),
        ("san-dns", "device1.example"),
        ("san-uri", "urn:example:device1"),
        ("subject", "CN=device1,O=Example\\, Inc."),
    ] {
        let broker = asking("required", &["--client-cert-identity", part]).file("auth.json", AUTH).start();
        let client = || Tls::certificate("client").connect(tls_address(&broker));
        client().attach(connect().user(user));
        assert_eq!(client().handshake(connect().user("device2")).reason, 0x87, "{part}");
    }
}

#[test]
fn silent_connections_keep_nobody_waiting() {
    const SILENT: usize = 1_000;
    let broker = start(&["--connect-timeout=120"]);
    let address = tls_address(&broker);
    let _silent: Vec<_> = (0..SILENT).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut client = Tls::new().connect(address);
    client.attach(connect());
    assert_eq!(broker.counter("connections_ended"), 0, "they all are still waited for");
}

#[test]
fn a_handshake_that_stops_half_way_is_ended_in_time() {
    let broker = start(&["--connect-timeout=1"]);
    let mut half = TcpStream::connect(tls_address(&broker)).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    // The header of a handshake record that promises more than comes.
    half.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).unwrap();
    let mut silent = TcpStream::connect(tls_address(&broker)).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(half.read(&mut [0]).unwrap(), 0);
    // After the handshake the time goes on, it does not begin anew.
    let start = Instant::now();
    let mut mute = Tls::new().connect(tls_address(&broker));
    mute.expect_closed();
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(broker.counter("connect_timeouts"), 3);
}

#[test]
fn handshakes_have_a_bound_for_each_address() {
    let broker = start(&["--max-handshakes-per-address=2"]);
    let address = tls_address(&broker);
    let mut first = Tls::new().connect(address);
    let _second = TcpStream::connect(address).unwrap();
    assert!(Tls::new().open(address).is_err());
    assert_eq!(broker.counter("connections_refused_unfinished_address"), 1);
    first.attach(connect());
    Tls::new().connect(address).exchange(connect());
}

#[test]
fn what_is_not_tls_is_refused() {
    let broker = start(&[]);
    let mut plain = Client::open_at(tls_address(&broker));
    plain.send(connect());
    let answer = plain.receive_raw();
    // Nothing, or an alert.
    assert!(answer.first().is_none_or(|first| *first == 0x15), "{answer:02x?}");
    assert!(Tls::new().open(broker.address()).is_err());
    assert_eq!(broker.counter("handshakes_failed"), 1);
    Tls::new().connect(tls_address(&broker)).exchange(connect());
}

/// A broker whose certificate can be changed, and the file name of that.
fn renewable() -> Broker {
    let setup = Setup::new().options(&["--tls-port=0", "--server-crt=a.crt", "--server-key=a.key"]);
    install_certificate(&setup.path(""), "server");
    setup.start()
}

#[test]
fn a_certificate_is_changed_under_load_and_no_connection_is_dropped() {
    let broker = renewable();
    let address = tls_address(&broker);
    let mut clients: Vec<Client> = (0..4)
        .map(|number| {
            let mut client = Tls::new().connect(address);
            client.attach(connect());
            client.subscribe(&format!("topic/{number}"), 1);
            client
        })
        .collect();
    let load = |clients: &mut [Client]| {
        for (number, client) in clients.iter_mut().enumerate() {
            let topic = format!("topic/{number}");
            for _ in 0..20 {
                client.send(publish(&topic).qos(1).id(1).payload("x"));
                client.expect_unordered([puback(1).into(), publish(&topic).qos(1).payload("x").into()]);
                client.send(puback(1));
            }
        }
    };
    for (round, name) in ["server-renewed", "server", "server-rsa"].into_iter().enumerate() {
        install_certificate(&broker.path(""), name);
        let from = broker.log_length();
        broker.signal("HUP");
        load(&mut clients);
        broker.wait_for_log(from, "certificates reloaded");
        let stream = Tls::new().open(address).unwrap();
        assert_eq!(stream.server_certificate(), certificate(&format!("{name}.crt")), "{round}");
        load(&mut clients);
    }
}

#[test]
fn a_reload_changes_all_or_nothing() {
    let broker = renewable();
    let shown = || Tls::new().open(tls_address(&broker)).unwrap().server_certificate();
    // The new certificate without its key, and an auth file that nobody could pass.
    std::fs::copy(certs("server-renewed.crt"), broker.path("a.crt")).unwrap();
    broker.write_file("auth.json", "{ authentication: [], authorization: [] }");
    let from = broker.log_length();
    broker.reload();
    let line = broker.wait_for_log(from, "not reloaded");
    assert!(
        line.contains("a.key:1: the private key is not that of the first certificate in a.crt"),
        "{line}"
    );
    assert_eq!(shown(), certificate("server.crt"));
    Client::open(&broker).exchange(connect());

    install_certificate(&broker.path(""), "server-renewed");
    broker.write_file("auth.json", "{");
    let from = broker.log_length();
    broker.reload();
    broker.wait_for_log(from, "not reloaded");
    assert_eq!(shown(), certificate("server.crt"));

    broker.write_file("auth.json", "{ authentication: [], authorization: [] }");
    broker.reload();
    assert_eq!(shown(), certificate("server-renewed.crt"));
    assert_eq!(Client::open(&broker).handshake(connect()).reason, 0x87);
}

#[test]
fn a_revocation_holds_from_the_reload_on_also_for_resumed_sessions() {
    let setup =
        setup("server", &["--client-ca", &certs("ca.crt"), "--client-cert=required", "--client-crl=list"]);
    std::fs::copy(certs("none.crl"), setup.path("list")).unwrap();
    let broker = setup.start();
    let mut revoked = Tls::certificate("client-revoked");
    let mut client = revoked.connect(tls_address(&broker));
    client.exchange(connect());
    assert!(revoked.open(tls_address(&broker)).unwrap().is_resumed());

    std::fs::copy(certs("ca.crl"), broker.path("list")).unwrap();
    broker.reload();
    revoked.refused(tls_address(&broker));
    // Who is in stays in.
    client.send(puback(1));
    client.expect_nothing();
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_78() {
    for (certificate, key, parts) in [
        ("server.crt", "client.key", ["client.key:1: ", "not that of the first certificate in "]),
        (
            "server.crt",
            "server-encrypted.key",
            ["server-encrypted.key:1: ", "is encrypted, expected one without"],
        ),
        ("server.key", "server.key", ["server.key: ", "there is no certificate in it, expected one in PEM"]),
        ("server.crt", "server.crt", ["server.crt: ", "there is no private key in it, expected one in PEM"]),
        ("none.crt", "server.key", ["none.crt: ", "cannot be read"]),
        ("server.crt", "none.key", ["none.key: ", "cannot be read"]),
    ] {
        let finished =
            run(&["--tls-port=0", "--server-crt", &certs(certificate), "--server-key", &certs(key)]);
        assert_eq!(finished.code, Some(78), "{certificate} {key}: {}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "no {part:?} in {}", finished.stderr);
        }
    }
    let finished = setup("server", &["--client-ca", &certs("ca.crl")]).run();
    assert_eq!(finished.code, Some(78));
    assert!(finished.stderr.contains("ca.crl: there is no certificate in it"), "{}", finished.stderr);
}

#[test]
fn the_days_that_are_left_are_logged_and_counted() {
    let broker = start(&[]);
    broker.wait_for_log(0, "the server's certificate is valid");
    assert!(broker.counter("certificate_days_left") > 30_000);
    let expired = setup("server-expired", &[]).start();
    expired.wait_for_log(0, "the server's certificate has expired");
    assert_eq!(expired.counter("certificate_days_left"), 0);
}
