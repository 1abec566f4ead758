//! What the black-box tests share: the broker as a process, a client that speaks raw packets, and an encoder and
//! decoder of its own. Nothing here uses the library's codec, so that the two check each other.
//!
//! ```ignore
//! let broker = Broker::start(&["--mqtt-receive-maximum=2"]);
//! let mut client = Client::connect(&broker, connect().client_id("x"));
//! client.subscribe("a/#", 1);
//! client.send(publish("a/b").qos(1).id(7).payload("hello"));
//! client.expect(publish("a/b").qos(1).payload("hello"));
//! client.expect(puback(7));
//! ```
//!
//! To be included by each test binary as `#[path = "../support/mod.rs"] mod support;`. Its `main.rs` allows what the
//! lints forbid to the product: a test that cannot go on panics.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

mod client;
mod connect;
mod decode;
mod packet;
mod property;
mod quic;
mod server;
mod tls;
mod websocket;
mod wire;

pub(crate) use client::{Client, Layered, tcp_from};
pub(crate) use connect::{Connect, Will, connect, will};
pub(crate) use packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe, auth, connack,
    disconnect, pingreq, pingresp, puback, pubcomp, publish, pubrec, pubrel, suback, subscribe, unsuback,
    unsubscribe,
};
pub(crate) use property::Property;
pub(crate) use quic::{Quic, QuicConnection, QuicStream, setup_with_quic, start_with_quic};
pub(crate) use server::{Broker, Finished, PATIENCE, Setup, run};
pub(crate) use tls::{Tls, TlsStream, certificate, certs, install_certificate, server_certificate};
pub(crate) use websocket::{
    BINARY, CLOSE, PING, PONG, REQUEST, TEXT, WebSocket, WebSocketFrame, websocket_frame,
};
pub(crate) use wire::{Encode, Frame, Version, frame, split};
