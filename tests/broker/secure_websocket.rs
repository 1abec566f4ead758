//! MQTT over WebSocket over TLS.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::support::*;

fn setup(options: &[&str]) -> Setup {
    let [certificate, key] = server_certificate("server");
    Setup::new().options(&["--ws-tls-port=0", &certificate, &key]).options(options)
}

/// A broker, and where it listens for WebSocket over TLS.
fn start(options: &[&str]) -> (Broker, SocketAddr) {
    let broker = setup(options).start();
    let address = address(&broker);
    (broker, address)
}

fn address(broker: &Broker) -> SocketAddr {
    broker.addresses()[1]
}

fn bytes(packet: impl Encode) -> Vec<u8> {
    packet.frame(Version::V5).bytes()
}

/// A connection over TLS on which no request has been sent.
fn open(address: SocketAddr) -> WebSocket<TlsStream> {
    WebSocket::over(Tls::new().open(address).unwrap())
}

fn attach(address: SocketAddr, connect: Connect) -> WebSocket<TlsStream> {
    let mut socket = open(address).upgrade();
    socket.send(BINARY, &bytes(connect));
    socket.expect(BINARY, &bytes(connack(0)));
    socket
}

#[test]
fn a_session_in_every_version_of_mqtt_and_tls() {
    let (broker, address) = start(&[]);
    for version in Version::ALL {
        for tls in [&TLS12, &TLS13] {
            let mut client = Tls::with(None, &[tls], "ca.crt").connect_websocket(address);
            client.attach(connect().version(version));
            let mut other = Client::connect(&broker, connect().version(version));
            client.subscribe("from/tcp", 2);
            other.subscribe("from/wss", 2);
            for qos in 0..=2 {
                client.publish(publish("from/wss").qos(qos).id(1).payload("x"));
                assert_eq!(other.receive_messages(1)[0].text(), "x");
                other.publish(publish("from/tcp").qos(qos).id(1).payload("y"));
                assert_eq!(client.receive_messages(1)[0].text(), "y");
            }
        }
    }
}

#[test]
fn large_messages_come_through_whole() {
    let (_broker, address) = start(&[]);
    let mut client = Tls::new().connect_websocket(address);
    client.attach(connect());
    client.subscribe("a", 0);
    let payload: Vec<u8> = (0_u32..1_000_000).flat_map(u32::to_le_bytes).collect();
    client.send(publish("a").payload(&payload));
    assert!(client.receive_publish().payload == payload);
}

#[test]
fn packets_frames_and_records_need_not_begin_together() {
    let (_broker, address) = start(&[]);
    let mut socket = open(address);
    let request = [REQUEST.as_bytes(), &websocket_frame(BINARY, &bytes(connect()))].concat();
    // A record for each byte.
    for byte in request {
        socket.send_raw(&[byte]);
    }
    assert!(socket.receive_head().starts_with("HTTP/1.1 101 "));
    socket.expect(BINARY, &bytes(connack(0)));
    // Two packets in a frame, the second of which ends in the next.
    let pings = [bytes(pingreq()), bytes(pingreq())].concat();
    let (first, rest) = pings.split_at(3);
    socket.send_raw(&[websocket_frame(BINARY, first), websocket_frame(BINARY, rest)].concat());
    let mut answered = 0;
    while answered < 4 {
        answered += socket.receive().payload.len();
    }
    socket.send(PING, b"x");
    socket.expect(PONG, b"x");
}

#[test]
fn http_is_what_is_spoken_within_tls() {
    let (broker, address) = start(&[]);
    for offered in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let stream = Tls::new().offering(offered).open(address).unwrap();
        assert_eq!(stream.protocol(), (!offered.is_empty()).then_some(&b"http/1.1"[..]));
        WebSocket::over(stream).upgrade();
    }
    Tls::new().offering(&["mqtt"]).refused(address);
    assert_eq!(broker.counter("handshakes_failed"), 1);
}

#[test]
fn what_is_not_mqtt_over_websocket_over_tls_is_refused() {
    let (broker, address) = start(&[]);
    for (request, status) in [
        ("GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 426 "),
        ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let mut socket = open(address);
        socket.send_raw(request.as_bytes());
        let head = socket.receive_head();
        assert!(head.starts_with(status), "{request:?}: {head}");
    }
    // A request that is not within TLS gets no answer in HTTP.
    let mut plain = WebSocket::connect(address);
    plain.send_raw(REQUEST.as_bytes());
    let answer = plain.receive_rest();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(broker.counter("clients_attached"), 0);
}

#[test]
fn a_certificate_is_that_of_its_user() {
    let auth = r##"{
        authentication: [{ name: "device1", method: "client_cert" }],
        authorization: [{ topic: "#", allow: { pub: ["@any"], sub: ["@any"] } }],
    }"##;
    let authority = format!("--client-ca={}", certs("ca.crt"));
    let broker = setup(&[&authority]).file("auth.json", auth).start();
    let address = address(&broker);
    Tls::certificate("client").connect_websocket(address).attach(connect());
    for tls in [&mut Tls::certificate("client-other"), &mut Tls::new()] {
        assert_eq!(tls.connect_websocket(address).handshake(connect().user("device1")).reason, 0x87);
    }
    Tls::certificate("client-unknown").refused(address);
}

#[test]
fn the_last_word_comes_in_a_frame_and_then_a_close_frame() {
    let (broker, address) = start(&[]);
    let mut socket = attach(address, connect());
    socket.send(TEXT, b"text");
    let frame = socket.receive();
    assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x82));
    let mut socket = attach(address, connect());
    broker.signal("TERM");
    let frame = socket.receive();
    assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x8B));
    socket.expect_close(1000);
}

#[test]
fn the_time_to_connect_covers_all_layers() {
    let (broker, address) = start(&["--connect-timeout=1"]);
    let mut silent = WebSocket::connect(address);
    let mut encrypted = open(address);
    let mut upgraded = open(address).upgrade();
    assert_eq!(silent.receive_rest(), b"");
    encrypted.receive_rest();
    upgraded.receive_rest();
    assert_eq!(broker.counter("connect_timeouts"), 3);
}

#[test]
fn silent_connections_keep_nobody_waiting() {
    const SILENT: usize = 1_000;
    const SOON: Duration = Duration::from_millis(100);
    let (_broker, address) = start(&[]);
    let _silent: Vec<_> = (0..SILENT).map(|_| TcpStream::connect(address).unwrap()).collect();
    let times = (0..5).map(|_| {
        let start = Instant::now();
        Tls::new().connect_websocket(address).attach(connect());
        start.elapsed()
    });
    // Other tests may take the machine for a moment.
    let fastest = times.min().unwrap();
    assert!(fastest < SOON, "{fastest:?}");
}
