//! MQTT over WebSocket.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::*;

/// A broker, and where it listens for WebSocket.
fn start(options: &[&str]) -> (Broker, SocketAddr) {
    let broker = Setup::new().option("--ws-port=0").options(options).start();
    let [_tcp, address] = broker.addresses() else { panic!("{:?}", broker.addresses()) };
    let address = *address;
    (broker, address)
}

fn bytes(packet: impl Encode) -> Vec<u8> {
    packet.frame(Version::V5).bytes()
}

/// A WebSocket on which a client of MQTT 5.0 is connected.
fn attach(address: SocketAddr, connect: Connect) -> WebSocket {
    let mut socket = WebSocket::open(address);
    socket.send(BINARY, &bytes(connect));
    socket.expect(BINARY, &bytes(connack(0)));
    socket
}

fn expect_pong(socket: &mut WebSocket) {
    socket.send(BINARY, &bytes(pingreq()));
    socket.expect(BINARY, &[0xD0, 0]);
}

/// Sends a request, and receives the whole answer; the broker closes the connection.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = WebSocket::connect(address);
    socket.send_raw(request.as_bytes());
    String::from_utf8(socket.receive_rest()).unwrap()
}

#[test]
fn a_session_in_every_version_with_every_qos() {
    let (broker, address) = start(&[]);
    for version in Version::ALL {
        let mut client = Client::open_websocket(address);
        client.attach(connect().version(version));
        // What goes in by one door comes out at the other.
        let mut other = Client::connect(&broker, connect().version(version));
        client.subscribe("from/tcp/#", 2);
        other.subscribe("from/ws/#", 2);
        for qos in 0..=2 {
            client.publish(publish("from/ws/a").qos(qos).id(1).payload("x"));
            let [message] = &other.receive_messages(1)[..] else { panic!("one message") };
            assert_eq!((message.qos, message.text()), (qos, "x"));
            other.publish(publish("from/tcp/a").qos(qos).id(1).payload("y"));
            let [message] = &client.receive_messages(1)[..] else { panic!("one message") };
            assert_eq!((message.qos, message.text()), (qos, "y"));
        }
        client.expect_nothing();
    }
}

#[test]
fn ten_megabytes_go_through_and_come_back() {
    let (_broker, address) = start(&[]);
    let mut client = Client::open_websocket(address);
    client.attach(connect());
    client.subscribe("large", 1);
    let payload: Vec<u8> = (0..=250).cycle().take(10 << 20).collect();
    client.send(publish("large").qos(1).id(1).payload(&payload));
    client.expect_unordered([puback(1).into(), publish("large").qos(1).payload(&payload).into()]);
}

#[test]
fn packets_and_frames_need_not_begin_together() {
    let (_broker, address) = start(&[]);
    let packets = [
        bytes(connect()),
        bytes(subscribe("a", 0).id(1)),
        bytes(publish("a").payload("x")),
        bytes(pingreq()),
    ];
    let answers =
        [bytes(connack(0)), bytes(suback(1, &[0])), bytes(publish("a").payload("x")), vec![0xD0, 0]].concat();
    let stream = packets.concat();
    let check = |frames: &[Vec<u8>]| {
        let mut socket = WebSocket::open(address);
        socket.send_raw(&frames.concat());
        let mut received = Vec::new();
        while received.len() < answers.len() {
            let frame = socket.receive();
            if frame.first != PONG {
                assert_eq!(frame.first, BINARY, "{frame:?}");
                received.extend(frame.payload);
            }
        }
        assert_eq!(received, answers);
    };
    check(&[websocket_frame(BINARY, &stream)]);
    let byte_by_byte: Vec<_> = stream.chunks(1).map(|byte| websocket_frame(BINARY, byte)).collect();
    check(&byte_by_byte);
    // One message in fragments, some of them empty, with control frames between them.
    let mut fragments = vec![websocket_frame(0x02, b"")];
    for part in stream.chunks(3) {
        fragments.extend([
            websocket_frame(0x00, part),
            websocket_frame(PING, part),
            websocket_frame(PONG, b""),
        ]);
    }
    fragments.push(websocket_frame(0x80, b""));
    check(&fragments);
}

#[test]
fn a_frame_of_any_length_streams_through() {
    let (_broker, address) = start(&[]);
    let mut socket = WebSocket::open(address);
    // The header announces more than anybody has; the mask is zero.
    let mut header = vec![BINARY, 0xFF];
    header.extend((u64::MAX / 2).to_be_bytes());
    header.extend([0; 4]);
    socket.send_raw(&header);
    socket.send_raw(&bytes(connect()));
    socket.expect(BINARY, &bytes(connack(0)));
    socket.send_raw(&bytes(pingreq()));
    socket.expect(BINARY, &[0xD0, 0]);
}

#[test]
fn what_is_written_together_is_one_frame() {
    let (_broker, address) = start(&[]);
    let mut socket = attach(address, connect());
    socket.send(BINARY, &bytes(pingreq()).repeat(1_000));
    let mut frames = 0;
    let mut received = 0;
    while received < 2_000 {
        received += socket.receive().payload.len();
        frames += 1;
    }
    assert!(frames <= 10, "1,000 answers in {frames} frames");
}

#[test]
fn pings_are_answered_and_pongs_are_not() {
    let (_broker, address) = start(&[]);
    let mut socket = WebSocket::open(address);
    // Before CONNECT as well as after.
    socket.send(PING, b"");
    socket.expect(PONG, b"");
    socket.send(PONG, b"not asked for");
    let longest = [7; 125];
    socket.send(PING, &longest);
    socket.expect(PONG, &longest);
    for byte in websocket_frame(PING, b"in parts") {
        socket.send_raw(&[byte]);
    }
    socket.expect(PONG, b"in parts");
    socket.send(BINARY, &bytes(connect())[..1]);
    socket.send(PING, b"within a packet");
    socket.expect(PONG, b"within a packet");

    let mut socket = attach(address, connect());
    for text in [&b"one"[..], b"two", b"three"] {
        socket.send(PING, text);
    }
    for text in [&b"one"[..], b"two", b"three"] {
        socket.expect(PONG, text);
    }
    expect_pong(&mut socket);
}

#[test]
fn a_breach_of_the_protocol_is_answered_with_its_code() {
    const PROTOCOL_ERROR: u16 = 1002;
    let (_broker, address) = start(&[]);
    let unmasked = [&[BINARY, 2][..], &bytes(pingreq())].concat();
    let masked_too_long = [&[PING, 0xFE, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat();
    for (sent, code) in [
        (websocket_frame(TEXT, &bytes(pingreq())), 1003),
        (websocket_frame(0x01, b""), 1003),
        (unmasked, PROTOCOL_ERROR),
        (masked_too_long, PROTOCOL_ERROR),
        (websocket_frame(0xC2, b""), PROTOCOL_ERROR),
        (websocket_frame(0xA2, b""), PROTOCOL_ERROR),
        (websocket_frame(0x92, b""), PROTOCOL_ERROR),
        (websocket_frame(0x83, b""), PROTOCOL_ERROR),
        (websocket_frame(0x8F, b""), PROTOCOL_ERROR),
        (websocket_frame(0x09, b""), PROTOCOL_ERROR),
        (websocket_frame(0x80, b"x"), PROTOCOL_ERROR),
        ([websocket_frame(0x02, b""), websocket_frame(BINARY, b"")].concat(), PROTOCOL_ERROR),
        (websocket_frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
        (websocket_frame(CLOSE, &1005_u16.to_be_bytes()), PROTOCOL_ERROR),
        (websocket_frame(CLOSE, b"\x03\xE8\xFF"), 1007),
        (vec![BINARY, 0xFE, 0, 1, 0, 0, 0, 0, 0], PROTOCOL_ERROR),
    ] {
        let mut socket = WebSocket::open(address);
        socket.send_raw(&sent);
        socket.expect_close(code);

        // What came before is answered first, and MQTT 5.0 has a word for it too.
        let mut socket = attach(address, connect());
        socket.send_raw(&[websocket_frame(BINARY, &bytes(pingreq())), sent.clone()].concat());
        socket.expect(BINARY, &[0xD0, 0]);
        let frame = socket.receive();
        assert_eq!(
            (frame.first, &frame.payload[..1], frame.payload[2]),
            (BINARY, &[0xE0][..], 0x82),
            "{sent:02x?}"
        );
        socket.expect_close(code);
    }
}

#[test]
fn a_client_that_closes_is_answered_and_its_will_is_published() {
    let (broker, address) = start(&[]);
    let mut watcher = Client::connect(&broker, connect());
    watcher.subscribe("wills/#", 0);
    for (sent, answer) in [
        (&b""[..], &b""[..]),
        (b"\x03\xE8", b"\x03\xE8"),
        (b"\x03\xE9bye", b"\x03\xE9"),
        (b"\x0F\xA0", b"\x0F\xA0"),
    ] {
        let mut socket = attach(address, connect().will(will("wills/closed").payload("gone")));
        socket.send(CLOSE, sent);
        socket.expect(CLOSE, answer);
        assert_eq!(socket.try_receive(), None);
        watcher.expect(publish("wills/closed").payload("gone"));
    }
    // So it is if the client just goes, or breaks the protocol.
    drop(attach(address, connect().will(will("wills/gone").payload("gone"))));
    watcher.expect(publish("wills/gone").payload("gone"));
    attach(address, connect().will(will("wills/text").payload("gone"))).send(TEXT, b"");
    watcher.expect(publish("wills/text").payload("gone"));
}

#[test]
fn the_broker_closes_with_a_close_frame() {
    let (_broker, address) = start(&[]);
    let mut socket = attach(address, connect());
    socket.send(BINARY, &bytes(disconnect()));
    socket.expect_close(1000);

    let mut old = attach(address, connect().client_id("x"));
    let _new = attach(address, connect().client_id("x"));
    let frame = old.receive();
    assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x8E));
    old.expect_close(1000);

    let mut socket = attach(address, connect());
    socket.send(BINARY, &[0, 0]);
    let frame = socket.receive();
    assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x81));
    socket.expect_close(1000);
}

#[test]
fn shutdown_reaches_those_on_websocket() {
    let (mut broker, address) = start(&[]);
    let mut attached = attach(address, connect());
    let mut upgraded = WebSocket::open(address);
    let mut silent = WebSocket::connect(address);
    broker.signal("TERM");
    let frame = attached.receive();
    assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x8B));
    attached.expect_close(1000);
    assert_eq!(silent.receive_rest(), b"");
    upgraded.receive_rest();
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_request_may_come_in_parts_and_frames_right_behind_it() {
    let (_broker, address) = start(&[]);
    let mut socket = WebSocket::connect(address);
    for byte in REQUEST.bytes() {
        socket.send_raw(&[byte]);
    }
    assert!(socket.receive_head().starts_with("HTTP/1.1 101 "));

    let mut socket = WebSocket::connect(address);
    let frames = [websocket_frame(PING, b"early"), websocket_frame(BINARY, &bytes(connect()))].concat();
    socket.send_raw(&[REQUEST.as_bytes(), &frames[..20]].concat());
    assert!(socket.receive_head().starts_with("HTTP/1.1 101 "));
    socket.expect(PONG, b"early");
    socket.send_raw(&frames[20..]);
    socket.expect(BINARY, &bytes(connack(0)));
}

#[test]
fn the_sub_protocol_is_echoed_if_it_is_offered() {
    let (_broker, address) = start(&[]);
    for (offered, answered) in [
        ("Sec-WebSocket-Protocol: mqtt\r\n", Some("mqtt")),
        ("Sec-WebSocket-Protocol: mqttv3.1\r\n", Some("mqttv3.1")),
        ("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", Some("mqtt")),
        ("", None),
    ] {
        let mut socket = WebSocket::connect(address);
        socket.send_raw(REQUEST.replace("Sec-WebSocket-Protocol: mqtt\r\n", offered).as_bytes());
        let head = socket.receive_head();
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        let protocol = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(protocol, answered);
        socket.send(BINARY, &bytes(connect()));
        socket.expect(BINARY, &bytes(connack(0)));
    }
}

#[test]
fn what_is_not_mqtt_over_websocket_is_told_so() {
    let (_broker, address) = start(&[]);
    let with = |from: &str, to: &str| REQUEST.replace(from, to);
    for (request, status, sentence) in [
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "426 Upgrade Required",
            "connect to it with an MQTT client",
        ),
        (with("/mqtt", "/other"), "404 Not Found", "only at /mqtt and /"),
        (with("Version: 13", "Version: 8"), "426 Upgrade Required", "13"),
        (with(": mqtt", ": chat"), "400 Bad Request", "the sub-protocol has to be mqtt"),
        (with("GET", "POST"), "400 Bad Request", "GET"),
        (with("dGhl", ""), "400 Bad Request", "Sec-WebSocket-Key"),
        ("\x16\x03\x01\0\x05hello".to_owned(), "400 Bad Request", "not an HTTP request"),
        ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_owned(), "400 Bad Request", "not an HTTP request"),
        (with("Host: ", &format!("X: {}\r\nHost: ", "x".repeat(9_000))), "431 ", "larger"),
    ] {
        let answer = ask(address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
        assert!(body.contains(sentence), "{answer}");
    }
}

#[test]
fn paths_and_origins_are_as_configured() {
    let (_broker, address) = start(&["--ws-path=/a", "--ws-path=/b", "--ws-origin=https://example.org"]);
    let request = |path: &str, origin: &str| REQUEST.replace("/mqtt", path).replace("Host:", origin);
    for request in [
        request("/a", "Host:"),
        request("/b?x", "Origin: https://example.org\r\nHost:"),
        request("/a", "Host:"),
    ] {
        let mut socket = WebSocket::connect(address);
        socket.send_raw(request.as_bytes());
        assert!(socket.receive_head().starts_with("HTTP/1.1 101 "));
    }
    for (request, status) in [
        (request("/", "Host:"), "404"),
        (request("/mqtt", "Host:"), "404"),
        (request("/a", "Origin: https://example.com\r\nHost:"), "403"),
        (request("/a", "Origin: null\r\nHost:"), "403"),
    ] {
        let answer = ask(address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn the_time_to_connect_covers_the_request() {
    let (broker, address) = start(&["--connect-timeout=1"]);
    let mut silent = WebSocket::connect(address);
    let mut half = WebSocket::connect(address);
    half.send_raw(&REQUEST.as_bytes()[..50]);
    let mut upgraded = WebSocket::open(address);
    // Pings are no reason to wait for longer.
    upgraded.send(PING, b"");
    upgraded.expect(PONG, b"");
    assert_eq!(silent.receive_rest(), b"");
    assert_eq!(half.receive_rest(), b"");
    upgraded.receive_rest();
    assert_eq!(broker.counter("connect_timeouts"), 3);
}

#[test]
fn those_who_say_nothing_keep_nobody_out() {
    let (_broker, address) = start(&[]);
    let _silent: Vec<_> = (0..300).map(|_| WebSocket::connect(address)).collect();
    let _half: Vec<_> = (0..100)
        .map(|_| {
            let mut socket = WebSocket::connect(address);
            socket.send_raw(&REQUEST.as_bytes()[..50]);
            socket
        })
        .collect();
    expect_pong(&mut attach(address, connect()));
}

#[test]
fn keep_alive_is_about_packets_and_not_about_pings() {
    let (_broker, address) = start(&[]);
    let mut socket = attach(address, connect().keep_alive(1));
    let mut pongs = 0;
    loop {
        socket.send(PING, b"");
        match socket.receive() {
            WebSocketFrame { first: PONG, .. } => pongs += 1,
            frame => break assert_eq!((frame.payload[0], frame.payload[2]), (0xE0, 0x8D)),
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(pongs > 0);
}
