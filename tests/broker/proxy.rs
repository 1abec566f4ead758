//! Connections that proxies pass on, with a header that says whose they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::*;

/// A broker that believes proxies at 127.0.0.2, and no others.
fn setup(kinds: &str) -> Setup {
    Setup::new().options(&[
        "--proxy-from=127.0.0.2",
        &format!("--proxy-protocol={kinds}"),
        "--log-level=debug",
    ])
}

/// A connection of the proxy, with this header.
fn open(broker: &Broker, header: impl AsRef<[u8]>) -> Client {
    let mut client = Client::open_from([127, 0, 0, 2].into(), broker);
    client.send_raw(header.as_ref());
    client
}

/// A header of version 1.
fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.1 49152 1883\r\n")
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with the client 192.0.2.1 and these values.
fn binary(values: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0xC0, 0, 0x07, 0x5B];
    let len = u16::try_from(addresses.len() + values.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, 0x11], &len, &addresses, values].concat()
}

/// A health check.
fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

/// A client's certificate with this common name, as the proxy verified it, or did not.
fn certificate(name: &str, verified: bool) -> Vec<u8> {
    let len = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let name = [&[0x22][..], &len(name.len()), name.as_bytes()].concat();
    let value = [&[0x03, 0, 0, 0, u8::from(!verified)][..], &name].concat();
    [&[0x20][..], &len(value.len()), &value].concat()
}

#[test]
fn the_address_that_counts_is_the_client_s() {
    // Without an auth file, clients of this host are served only.
    let broker = setup("tcp").start();
    for header in [line("127.0.0.9").into_bytes(), local()] {
        open(&broker, header).attach(connect());
    }
    for header in [line("192.0.2.1").into_bytes(), binary(&[])] {
        let mut client = open(&broker, header);
        assert_eq!(client.handshake(connect()).reason, 0x87);
        client.expect_closed();
        broker.wait_for_log(0, "tcp:192.0.2.1:49152");
    }
    // Who is no proxy is served as before.
    Client::connect(&broker, connect()).expect_nothing();
}

#[test]
fn header_and_connect_may_come_in_any_parts() {
    let broker = setup("tcp").option("--allow-anonymous").start();
    for header in [line("192.0.2.1").into_bytes(), binary(&[0x04, 0, 2, 0, 0]), local()] {
        let bytes = [header, connect().frame(Version::V5).bytes()].concat();
        let mut whole = open(&broker, &bytes);
        whole.expect_accepted();
        whole.expect_nothing();
        let mut client = open(&broker, []);
        for byte in bytes {
            client.send_raw(&[byte]);
        }
        client.expect_accepted();
        client.expect_nothing();
    }
}

#[test]
fn a_client_whose_address_is_not_told_is_none_of_this_host() {
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        [SIGNATURE, &[0x21, 0, 0, 0]].concat(),
        [SIGNATURE, &[0x21, 0x31, 0, 216], &[0; 216]].concat(),
    ];
    let everybody = setup("tcp").option("--allow-anonymous").start();
    // Without an auth file, only who is of this host is let in.
    let own_host = setup("tcp").start();
    for header in headers {
        open(&everybody, &header).exchange(connect());
        let mut client = open(&own_host, &header);
        assert_eq!(client.handshake(connect()).reason, 0x87);
        client.expect_closed();
    }
    own_host.wait_for_log(0, "tcp:0.0.0.0:0");
}

#[test]
fn headers_from_elsewhere_are_refused() {
    let broker = setup("tcp").option("--allow-anonymous").start();
    for header in [line("127.0.0.1").into_bytes(), binary(&[]), local()] {
        let mut client = Client::open(&broker);
        // It may be closed before all of it is sent.
        let _ = client.try_send_raw(&[header, connect().frame(Version::V5).bytes()].concat());
        client.expect_closed();
    }
    assert_eq!(broker.counter("clients_attached"), 0);
}

#[test]
fn proxies_that_say_nothing_or_nothing_right_are_refused() {
    let broker = setup("tcp").option("--allow-anonymous").start();
    let headers = [
        connect().frame(Version::V5).bytes(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 49152\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0, 4, 192, 0, 2, 1]].concat(),
        [SIGNATURE, &[0x21, 0x32, 0, 216], &[0; 216]].concat(),
    ];
    let count = headers.len();
    for header in headers {
        open(&broker, header).expect_closed();
    }
    // They are counted when they have been closed.
    while broker.counter("connections_ended") < u64::try_from(count).unwrap() {}
    assert_eq!(broker.counter("handshakes_failed"), u64::try_from(count).unwrap());
    assert_eq!(broker.counter("clients_attached"), 0);
}

#[test]
fn a_proxy_that_falls_silent_is_closed_in_time() {
    let broker = setup("tcp").option("--connect-timeout=1").start();
    let mut silent = [open(&broker, []), open(&broker, "PROXY TCP4 "), open(&broker, &binary(&[])[..20])];
    // Nobody waits for it.
    Client::connect(&broker, connect()).expect_nothing();
    for client in &mut silent {
        client.expect_closed();
    }
    while broker.counter("connections_ended") < 4 {}
    assert_eq!(broker.counter("connect_timeouts"), 3);
}

#[test]
fn limits_of_addresses_are_for_the_clients_behind_the_proxy() {
    let broker = setup("tcp").options(&["--allow-anonymous", "--max-connections-per-address=1"]).start();
    let mut first = open(&broker, line("192.0.2.1"));
    first.attach(connect());
    let mut other = open(&broker, line("192.0.2.2"));
    other.attach(connect());
    open(&broker, line("192.0.2.1")).expect_closed();
    assert_eq!(broker.counter("connections_refused_address"), 1);
    assert_eq!(broker.counter("handshakes_failed"), 0);
    first.expect_nothing();
    other.expect_nothing();
}

#[test]
fn rates_of_addresses_are_for_the_clients_behind_the_proxy() {
    let broker = setup("tcp").options(&["--allow-anonymous", "--max-connection-rate-per-address=1"]).start();
    for number in 1..=9 {
        open(&broker, line(&format!("192.0.2.{number}"))).attach(connect());
    }
    assert_eq!(broker.counter("connections_refused_rate_address"), 0);
}

#[test]
fn the_name_in_a_certificate_is_its_user_if_the_proxy_has_verified_it() {
    let auth = r##"{
        authentication: [{ name: "device", method: "client_cert" }],
        authorization: [{ topic: "#", allow: { pub: ["device"], sub: ["device"] } }],
    }"##;
    let broker = setup("tcp").file("auth.json", auth).start();
    let mut client = open(&broker, binary(&certificate("device", true)));
    client.attach(connect());
    client.subscribe("a", 0);
    for header in [binary(&certificate("device", false)), binary(&certificate("other", true)), binary(&[])] {
        let mut client = open(&broker, header);
        assert_ne!(client.handshake(connect()).reason, 0);
        client.expect_closed();
    }
}

#[test]
fn websocket_behind_a_proxy() {
    let broker = Setup::new()
        .options(&["--bind=127.0.0.1", "--ws-port=0", "--proxy-protocol=ws", "--proxy-from=127.0.0.2"])
        .listeners_as_told()
        .start();
    let mut client = open(&broker, line("192.0.2.1"));
    client.send_raw(
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n\x88\x80\0\0\0\0",
    );
    let answer = String::from_utf8_lossy(&client.receive_raw()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let mut client = Client::open_from([127, 0, 0, 2].into(), &broker);
    client.send_raw(b"GET /mqtt HTTP/1.1\r\n");
    assert_eq!(client.receive_raw(), b"", "no header");
}

/// A broker that expects proxies on its listeners for TLS and for WebSocket over TLS, and where these are.
fn encrypted(options: &[&str]) -> (Broker, SocketAddr, SocketAddr) {
    let [certificate, key] = server_certificate("server");
    let setup = setup("tls,wss").options(&["--tls-port=0", "--ws-tls-port=0", &certificate, &key]);
    let broker = setup.options(options).start();
    let [_tcp, tls, wss] = *broker.addresses() else { panic!("{:?}", broker.addresses()) };
    (broker, tls, wss)
}

/// A TCP connection of the proxy, with this header.
fn passed_on(address: SocketAddr, header: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = tcp_from([127, 0, 0, 2].into(), address);
    stream.write_all(header.as_ref()).unwrap();
    stream
}

#[test]
fn the_header_comes_before_tls() {
    let (broker, tls, wss) = encrypted(&["--allow-anonymous"]);
    for header in [line("192.0.2.1").into_bytes(), binary(&[])] {
        for (address, kind) in [(tls, "tls"), (wss, "wss")] {
            let from = broker.log_length();
            let stream = Tls::new().open_over(passed_on(address, &header)).unwrap();
            let mut client = if kind == "tls" {
                Client::over_layers(Box::new(stream))
            } else {
                Client::over_layers(Box::new(WebSocket::over(stream).upgrade()))
            };
            client.attach(connect());
            broker.wait_for_log(from, &format!("peer={kind}:192.0.2.1:49152"));
            client.subscribe("a", 1);
            client.send(publish("a").payload("x"));
            client.expect(publish("a").payload("x"));
        }
    }
}

#[test]
fn behind_a_proxy_tls_alone_and_a_header_within_it_are_refused() {
    let (broker, tls, wss) = encrypted(&["--allow-anonymous"]);
    for address in [tls, wss] {
        // From the proxy there must be a header, and it must come first.
        let without = Tls::new().open_over(passed_on(address, []));
        assert!(without.is_err());
        for header in [line("192.0.2.1").into_bytes(), binary(&[])] {
            let mut stream = Tls::new().open_over(passed_on(address, &header)).unwrap();
            // An empty line ends what WebSocket takes for the head of a request.
            stream.write_all(&[&header, &b"\r\n"[..]].concat()).unwrap();
            let mut answer = Vec::new();
            // How the connection ends is of no matter.
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
            // From elsewhere there must be none.
            let mut spoofed = TcpStream::connect(address).unwrap();
            spoofed.write_all(&header).unwrap();
            assert!(Tls::new().open_over(spoofed).is_err());
        }
        Tls::new().open(address).unwrap();
    }
    assert_eq!(broker.counter("clients_attached"), 0);
}

#[test]
fn where_tls_ends_here_the_proxy_does_not_say_whose_certificate_it_is() {
    let auth = r##"{
        authentication: [{ name: "device1", method: "client_cert" }],
        authorization: [{ topic: "#", allow: { pub: ["device1"], sub: ["device1"] } }],
    }"##;
    let [certificate_file, key] = server_certificate("server");
    let authority = format!("--client-ca={}", certs("ca.crt"));
    let broker = setup("tls")
        .options(&["--tls-port=0", &certificate_file, &key, &authority])
        .file("auth.json", auth)
        .start();
    let address = broker.addresses()[1];
    let client = |mut tls: Tls, header: &[u8]| {
        Client::over_layers(Box::new(tls.open_over(passed_on(address, header)).unwrap()))
    };
    let claims = binary(&certificate("device1", true));
    assert_eq!(client(Tls::new(), &claims).handshake(connect()).reason, 0x87);
    client(Tls::certificate("client"), &binary(&[])).attach(connect());
    client(Tls::certificate("client"), &binary(&certificate("other", true))).attach(connect());
}
