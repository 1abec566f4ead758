//! Whatever is thrown at the broker, it goes on serving, and its memory stays bounded.

use crate::support::*;

/// Some hostile input.
struct Attack {
    name: String,
    version: Version,
    /// Whether it comes after a good CONNECT.
    connected: bool,
    bytes: Vec<u8>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The broker must end the connection, without being asked.
    Closed,
    /// The broker may do what it likes; the connection is ended by the client.
    Any,
}

use Outcome::{Any, Closed};

/// Attacks and, in between, somebody who only wants to be served.
fn survive(attacks: Vec<Attack>) {
    let broker = Broker::start(&[]);
    let mut bystander = Client::connect(&broker, connect());
    bystander.subscribe("bystander", 1);
    for attack in attacks {
        let mut client = Client::open(&broker);
        client.set_version(attack.version);
        if attack.connected {
            client.attach(connect().version(attack.version));
        }
        eprintln!("{} in {:?}", attack.name, attack.version);
        // It may be closed before all has been sent.
        let _ = client.try_send_raw(&attack.bytes);
        if attack.outcome == Any {
            client.shutdown_write();
        }
        client.receive_raw();
    }
    bystander.send(publish("bystander").qos(1).id(1));
    bystander.expect_unordered([puback(1).into(), publish("bystander").qos(1).into()]);
    Client::connect(&broker, connect()).expect_nothing();
    assert_eq!(broker.counter("panics"), 0, "a connection died of a fault of the broker");
}

fn attack(name: impl Into<String>, version: Version, packet: impl Encode, outcome: Outcome) -> Attack {
    let bytes = packet.frame(version).bytes();
    Attack { name: name.into(), version, connected: true, bytes, outcome }
}

/// One packet of each kind that a client may send, with all there can be in it.
fn packets(version: Version) -> Vec<(&'static str, Frame)> {
    let will = will("will")
        .payload("gone")
        .qos(1)
        .retain()
        .delay(5)
        .property(Property::PayloadFormat(1))
        .property(Property::user("k", "v"));
    let connect = connect()
        .version(version)
        .user("user")
        .password("password")
        .will(will)
        .session_expiry(10)
        .receive_maximum(10)
        .property(Property::MaximumPacketSize(10_000))
        .property(Property::user("k", "v"));
    let publish = publish("to/pic")
        .qos(1)
        .id(1)
        .payload("pay")
        .property(Property::PayloadFormat(1))
        .property(Property::MessageExpiry(10))
        .property(Property::ResponseTopic("answer".to_owned()))
        .property(Property::CorrelationData(vec![1, 2, 3]))
        .property(Property::ContentType("text".to_owned()))
        .property(Property::user("k", "v"));
    let reason = Property::ReasonString("because".to_owned());
    let subscribe = subscribe("fil/+", 1).and("#", 2).identifier(300).property(Property::user("k", "v"));
    let mut packets = vec![
        ("CONNECT", connect.frame(version)),
        ("PUBLISH", publish.frame(version)),
        ("PUBACK", puback(1).reason(0x80).property(reason.clone()).frame(version)),
        ("PUBREC", pubrec(1).reason(0x80).property(reason.clone()).frame(version)),
        ("PUBREL", pubrel(1).reason(0x92).property(reason.clone()).frame(version)),
        ("PUBCOMP", pubcomp(1).reason(0x92).property(reason.clone()).frame(version)),
        ("SUBSCRIBE", subscribe.frame(version)),
        ("UNSUBSCRIBE", unsubscribe("fil/+").and("#").property(Property::user("k", "v")).frame(version)),
        ("PINGREQ", pingreq()),
        ("DISCONNECT", disconnect().reason(0x04).property(reason).frame(version)),
    ];
    if version.is_v5() {
        let method = Property::AuthenticationMethod("method".to_owned());
        packets.push(("AUTH", auth(0x18).property(method).frame(version)));
    }
    packets
}

#[test]
fn every_first_byte() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for first in 0..=0xFF {
            // MQTT 3.1 gives no meaning to the flags of PINGREQ.
            let lawful = first == 0xC0 || version == Version::V31 && first & 0xF0 == 0xC0;
            let outcome = if lawful { Any } else { Closed };
            attacks.push(attack(format!("first byte {first:02x}"), version, frame(first, &[]), outcome));
            let mut early = attack(format!("early {first:02x}"), version, frame(first, &[]), Closed);
            early.connected = false;
            attacks.push(early);
        }
    }
    survive(attacks);
}

#[test]
fn packets_that_only_servers_send() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for (name, packet) in [
            ("CONNACK", connack(0).frame(version)),
            ("SUBACK", suback(1, &[0]).frame(version)),
            ("UNSUBACK", unsuback(1, &[0]).frame(version)),
            ("PINGRESP", pingresp()),
        ] {
            attacks.push(attack(name, version, packet.clone(), Closed));
            let mut early = attack(format!("{name}, early"), version, packet, Closed);
            early.connected = false;
            attacks.push(early);
        }
    }
    survive(attacks);
}

#[test]
fn packets_that_end_too_soon() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for (name, packet) in packets(version) {
            let whole = packet.bytes();
            for length in 0..packet.body().len() {
                // With a length that is true, and with one that is not.
                let short = packet.clone().truncate(length);
                let mut shortened = attack(format!("{name} of {length} bytes"), version, short, Any);
                shortened.connected = name != "CONNECT";
                attacks.push(shortened);
                let bytes = whole[..whole.len() - 1 - length].to_vec();
                let name = format!("{name} cut after {}", bytes.len());
                attacks.push(Attack { name, version, connected: whole[0] != 0x10, bytes, outcome: Any });
            }
        }
    }
    survive(attacks);
}

#[test]
fn packets_with_one_byte_changed() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for (name, packet) in packets(version) {
            for at in 0..packet.body().len() {
                for byte in [0x00, 0x7F, 0xFF] {
                    let changed = packet.clone().replace(at, byte);
                    let mut changed = attack(format!("{name}[{at}] = {byte:02x}"), version, changed, Any);
                    changed.connected = name != "CONNECT";
                    attacks.push(changed);
                }
            }
        }
    }
    survive(attacks);
}

#[test]
fn packets_with_something_behind() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for (name, packet) in packets(version) {
            // A PUBLISH takes it for payload; entries of a SUBSCRIBE could follow.
            let outcome = if name == "PUBLISH" { Any } else { Closed };
            let mut longer =
                attack(format!("{name} and more"), version, packet.append(&[0xFF, 0xFF, 1]), outcome);
            longer.connected = name != "CONNECT";
            attacks.push(longer);
        }
    }
    survive(attacks);
}

#[test]
fn lengths_that_lie() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for length in
            [&[0xFF; 4][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F], &[0x80; 4], &[0x80, 0x80, 0x80, 0x80, 0x01]]
        {
            for first in [0x10, 0x30, 0x82, 0xC0, 0xE0] {
                let packet = frame(first, &[0; 10]).length_bytes(length);
                let mut early = attack(format!("{first:02x} {length:02x?}"), version, packet.clone(), Closed);
                early.connected = false;
                attacks.push(early);
                attacks.push(attack(format!("{first:02x} {length:02x?}"), version, packet, Closed));
            }
        }
        // More bytes than needed, and a length that never ends.
        attacks.push(attack("long zero", version, frame(0xC0, &[]).length_bytes(&[0x80, 0x00]), Any));
        attacks.push(attack("half a length", version, frame(0x30, &[]).length_bytes(&[0x80]), Any));
        for (name, packet) in packets(version) {
            for announced in [0, 1, 2, 3] {
                let packet = packet.clone().announce(announced);
                let mut short = attack(format!("{name} announced as {announced}"), version, packet, Any);
                short.connected = name != "CONNECT";
                attacks.push(short);
            }
        }
    }
    survive(attacks);
}

#[test]
fn strings_inside_that_lie() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for text in [&b"\xff"[..], b"\0", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"a\0b"]
        {
            attacks.push(attack(format!("topic {text:02x?}"), version, publish(text), Closed));
            attacks.push(attack(format!("filter {text:02x?}"), version, subscribe(text, 0), Closed));
            attacks.push(attack(format!("unsubscribe {text:02x?}"), version, unsubscribe(text), Closed));
            let with_will = connect().version(version).will(will(text));
            let mut early = attack(format!("will {text:02x?}"), version, with_will, Closed);
            early.connected = false;
            attacks.push(early);
        }
    }
    for number in 0..=0xFF_u8 {
        for packet in [
            publish("a").property(Property::Raw(vec![number])).frame(Version::V5),
            publish("a").property(Property::Raw(vec![number, 0xFF, 0xFF])).frame(Version::V5),
            subscribe("a", 0).property(Property::Raw(vec![number, 0, 1])).frame(Version::V5),
            disconnect().property(Property::Raw(vec![number, 0, 0, 0, 0, 0])).frame(Version::V5),
        ] {
            attacks.push(attack(format!("property {number:02x}"), Version::V5, packet, Any));
        }
        let packet = connect().property(Property::Raw(vec![number, 0, 3, 1]));
        let mut early = attack(format!("property {number:02x} of CONNECT"), Version::V5, packet, Any);
        early.connected = false;
        attacks.push(early);
    }
    survive(attacks);
}

#[test]
fn every_reason_code() {
    let mut attacks = Vec::new();
    for reason in 0..=0xFF {
        for (name, packet) in [
            ("PUBACK", Frame::from(puback(1).reason(reason))),
            ("PUBREC", Frame::from(pubrec(1).reason(reason))),
            ("PUBREL", Frame::from(pubrel(1).reason(reason))),
            ("PUBCOMP", Frame::from(pubcomp(1).reason(reason))),
            ("DISCONNECT", Frame::from(disconnect().reason(reason))),
            ("AUTH", Frame::from(auth(reason))),
        ] {
            attacks.push(attack(format!("{name} {reason:02x}"), Version::V5, packet, Any));
        }
    }
    survive(attacks);
}

#[test]
fn other_protocols() {
    let mut attacks = Vec::new();
    for (name, bytes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"[..]),
        ("TLS", b"\x16\x03\x01\x00\x10\x01\x00\x00\x0c\x03\x03aaaaaaaaaa"),
        ("SSH", b"SSH-2.0-OpenSSH_9.0\r\n"),
        ("SMTP", b"EHLO localhost\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("AMQP", b"AMQP\x00\x00\x09\x01"),
        ("zeros", &[0; 1000]),
        ("ones", &[0xFF; 1000]),
    ] {
        let (name, bytes) = (name.to_owned(), bytes.to_vec());
        attacks.push(Attack { name, version: Version::V5, connected: false, bytes, outcome: Closed });
    }
    survive(attacks);
}

#[test]
fn noise() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for number in 0..100 {
            let connected = number % 2 == 0;
            let bytes = (0..number * 10).map(|_| random()).collect();
            attacks.push(Attack { name: format!("noise {number}"), version, connected, bytes, outcome: Any });
        }
        // What begins well and goes on badly.
        for (name, packet) in packets(version) {
            for number in 0..10 {
                let mut bytes = packet.bytes();
                bytes.extend((0..100).map(|_| random()));
                let connected = name != "CONNECT";
                let name = format!("{name} and noise {number}");
                attacks.push(Attack { name, version, connected, bytes, outcome: Any });
            }
        }
    }
    survive(attacks);
}

#[test]
fn packets_that_contradict_the_session() {
    let mut attacks = Vec::new();
    for version in Version::ALL {
        for (name, list) in [
            ("CONNECT twice", vec![connect().version(version).frame(version)]),
            ("PUBCOMP before PUBREC", vec![pubcomp(1).frame(version), pubrec(1).frame(version)]),
            ("PUBREL of nothing, often", vec![pubrel(9).frame(version); 100]),
            ("PUBACK of nothing, often", vec![puback(9).frame(version); 100]),
            ("PUBLISH after DISCONNECT", vec![disconnect().frame(version), publish("a").frame(version)]),
            (
                "the same identifier for several things",
                vec![
                    publish("a").qos(2).id(1).frame(version),
                    subscribe("a", 2).frame(version),
                    unsubscribe("a").frame(version),
                    publish("a").qos(1).id(1).frame(version),
                    pubrec(1).frame(version),
                    pubrel(1).frame(version),
                ],
            ),
            (
                "two contents for one identifier",
                vec![
                    publish("a").qos(2).id(1).payload("x").frame(version),
                    publish("b").qos(2).id(1).payload("y").frame(version),
                ],
            ),
        ] {
            let bytes = list.iter().flat_map(Frame::bytes).collect();
            attacks.push(Attack { name: name.to_owned(), version, connected: true, bytes, outcome: Any });
        }
    }
    survive(attacks);
}

#[cfg(target_os = "linux")]
mod memory {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What the broker's memory has grown by since `before`, in MiB.
    fn growth(broker: &Broker, before: u64) -> u64 {
        broker.resident_memory().saturating_sub(before) / MIB
    }

    fn still_serves(broker: &Broker) {
        let mut client = Client::connect(broker, connect());
        client.subscribe("serves", 1);
        client.send(publish("serves").qos(1).id(1));
        client.expect_unordered([puback(1).into(), publish("serves").qos(1).into()]);
        assert_eq!(broker.counter("panics"), 0);
    }

    #[test]
    fn announced_lengths_cost_nothing() {
        let broker = Broker::start(&[]);
        still_serves(&broker);
        let before = broker.resident_memory();
        let mut clients = Vec::new();
        for index in 0..200 {
            let mut client = Client::open(&broker);
            if index % 2 == 0 {
                client.attach(connect());
                client.send(frame(0x30, b"\0\x01a").announce(268_435_455));
            } else {
                client.send_raw(&connect().frame(Version::V5).announce(1_000_000).bytes()[..12]);
            }
            clients.push(client);
        }
        still_serves(&broker);
        assert!(growth(&broker, before) < 32, "{} MiB", growth(&broker, before));
    }

    #[test]
    fn half_packets_cost_what_has_come() {
        let broker = Broker::start(&[]);
        still_serves(&broker);
        let before = broker.resident_memory();
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = Client::connect(&broker, connect());
            let mut bytes = frame(0x30, b"\0\x01a").announce(100_000_000).bytes();
            bytes.resize(300_000, b'x');
            client.send_raw(&bytes);
            clients.push(client);
        }
        still_serves(&broker);
        // Fifteen megabytes have come; growing buffers may cost as much again, and somewhat more.
        assert!(growth(&broker, before) < 80, "{} MiB", growth(&broker, before));
    }

    #[test]
    fn silent_connections_cost_little() {
        let broker = Broker::start(&[]);
        still_serves(&broker);
        let before = broker.resident_memory();
        let clients: Vec<Client> = (0..400).map(|_| Client::open(&broker)).collect();
        still_serves(&broker);
        assert!(growth(&broker, before) < 32, "{} MiB", growth(&broker, before));
        drop(clients);
        still_serves(&broker);
    }

    #[test]
    fn churn_leaves_nothing_behind() {
        let broker = Broker::start(&[]);
        let churn = |count: usize| {
            for index in 0..count {
                let mut client = Client::connect(&broker, connect().will(will("w").payload([b'x'; 1000])));
                client.subscribe_with(subscribe("a/+/b", 1).and("$share/g/c", 2).and("d/#", 0), &[1, 2, 0]);
                client.publish(publish(format!("other/{index}")).qos(2).payload([b'x'; 1000]));
                if index % 2 == 0 { client.disconnect() } else { client.cut() }
            }
        };
        churn(300);
        let before = broker.resident_memory();
        churn(1500);
        still_serves(&broker);
        assert!(growth(&broker, before) < 8, "{} MiB", growth(&broker, before));
    }

    #[test]
    fn a_client_that_does_not_read_costs_no_more_than_its_bounds() {
        let broker = Broker::start(&["--max-queued-bytes=1000000"]);
        still_serves(&broker);
        let before = broker.resident_memory();
        let mut stalled: Vec<Client> = (0..5)
            .map(|_| {
                let mut client = Client::open_narrow(&broker, 4096);
                client.attach(connect());
                client.subscribe("flood", 1);
                client
            })
            .collect();
        let mut publisher = Client::connect(&broker, connect());
        for _ in 0..1500 {
            publisher.publish(publish("flood").qos(1).payload(vec![b'x'; 60_000]));
        }
        still_serves(&broker);
        // Ninety megabytes were published; one million bytes and a window may wait for each of the five.
        assert!(growth(&broker, before) < 40, "{} MiB", growth(&broker, before));
        stalled.clear();
    }

    #[test]
    fn floods_of_small_packets() {
        let broker = Broker::start(&[]);
        still_serves(&broker);
        let before = broker.resident_memory();
        for version in Version::ALL {
            for packet in [
                pingreq(),
                publish("nobody").qos(1).id(1).frame(version),
                publish("nobody").qos(2).id(1).frame(version),
                publish("nobody").frame(version),
                subscribe("a/b/c", 1).frame(version),
                unsubscribe("x").frame(version),
                pubrel(1).frame(version),
                puback(1).frame(version),
            ] {
                let mut client = Client::connect(&broker, connect().version(version));
                let bytes = packet.bytes().repeat(5000);
                let sending = {
                    let mut other = client.duplicate();
                    std::thread::spawn(move || {
                        let _ = other.try_send_raw(&bytes);
                        other.shutdown_write();
                    })
                };
                client.receive_raw();
                sending.join().unwrap();
            }
        }
        still_serves(&broker);
        assert!(growth(&broker, before) < 32, "{} MiB", growth(&broker, before));
    }

    #[test]
    fn many_subscriptions_go_with_their_client() {
        let broker = Broker::start(&[]);
        let subscribe_many = || {
            let mut client = Client::connect(&broker, connect());
            for base in 0..20 {
                let packet = (1..500).fold(subscribe(format!("{base}/0/+/x"), 1), |packet, index| {
                    packet.and(format!("{base}/{index}/+/x"), 1)
                });
                client.subscribe_with(packet, &[1; 500]);
            }
            client.disconnect();
        };
        subscribe_many();
        let before = broker.resident_memory();
        for _ in 0..5 {
            subscribe_many();
        }
        assert!(growth(&broker, before) < 16, "{} MiB", growth(&broker, before));
    }
}
