//! Shows statement by statement that the server keeps the standards. Each test cites what it shows; see `matrix`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics, and it names only what it expects"
)]

#[path = "../support/mod.rs"]
mod support;

mod acknowledge;
mod authentication;
mod connack;
mod connect;
mod disconnect;
mod fixed_header;
mod flow;
mod matrix;
mod properties;
mod publish;
mod qos;
mod retain;
mod sessions;
mod shared;
mod strings;
mod subscribe;
mod topics;
mod unsubscribe;
mod will;

use support::{Broker, Client, Connect, Packet, Property, Publish, Version, connect, publish, will};

/// Runs a test for each version of the protocol, each time with a broker of its own.
fn in_each_version(test: impl Fn(&Broker, Version)) {
    in_versions(&Version::ALL, test);
}

/// Runs a test for the two versions whose standards number their statements.
fn in_numbered_versions(test: impl Fn(&Broker, Version)) {
    in_versions(&[Version::V311, Version::V5], test);
}

fn in_versions(versions: &[Version], test: impl Fn(&Broker, Version)) {
    for &version in versions {
        eprintln!("with {version:?}");
        test(&Broker::start(&[]), version);
    }
}

/// A client of this version with a session of its own that ends with the connection.
fn join(broker: &Broker, version: Version) -> Client {
    Client::connect(broker, connect().version(version))
}

/// A CONNECT that takes up the session of this identifier and keeps it for an hour, or for good.
fn stay(version: Version, client_id: &str) -> Connect {
    connect().version(version).client_id(client_id).persistent()
}

/// Has a client of its own publish a message, and waits until the broker has taken it.
#[track_caller]
fn publish_from(broker: &Broker, version: Version, message: Publish) {
    join(broker, version).publish(message);
}

/// Insists that the broker ends the connection; to a client of MQTT 5.0 it may first say why, with one of these codes.
#[track_caller]
fn expect_end(client: &mut Client, reasons: &[u8]) {
    match client.try_receive() {
        None => {}
        Some(Packet::Disconnect(disconnect)) => {
            assert!(reasons.contains(&disconnect.reason), "{disconnect:?}");
            client.expect_closed();
        }
        Some(other) => panic!("expected the end of the connection, received {other:?}"),
    }
}

/// Insists that a CONNECT is refused: the connection is closed, and the client may first be told why, with one of
/// these codes.
#[track_caller]
fn expect_refusal(client: &mut Client, reasons: &[u8]) {
    match client.try_receive() {
        None => {}
        Some(Packet::ConnAck(connack)) => {
            assert!(reasons.contains(&connack.reason), "{connack:?}");
            client.expect_closed();
        }
        Some(other) => panic!("expected a refusal, received {other:?}"),
    }
}

/// Lets so many seconds pass on the broker's own clock: it publishes a will with that delay.
fn let_pass(broker: &Broker, seconds: u32) {
    let mut watcher = join(broker, Version::V5);
    watcher.subscribe("seconds/passed", 0);
    let clock = connect().session_expiry(seconds + 60).will(will("seconds/passed").delay(seconds));
    Client::connect(broker, clock).cut();
    watcher.expect(publish("seconds/passed"));
}

/// A property of this number whose string is not well-formed.
fn ill_formed(number: u8) -> Property {
    Property::Raw(vec![number, 0, 1, 0xFF])
}
