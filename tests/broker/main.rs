//! Black-box tests: the broker as a process, over real sockets, with raw packets, one module for each area.
//!
//! No test waits for the clock where it can wait for the thing itself; that nothing comes is known when the answer to
//! a PINGREQ comes, which stands behind whatever would have come.

#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics, and it names only what it expects"
)]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod command_line;
mod connect;
mod durability;
mod enhanced;
mod expiry;
mod features;
mod flow_control;
mod hostile;
mod identity;
mod keep_alive;
mod life_cycle;
mod limits;
mod memory;
#[cfg(unix)]
mod open_files;
mod order;
mod own_listeners;
mod proxy;
mod publish;
mod qos1;
mod qos2;
mod quic;
mod quic_streams;
mod quic_subscriptions;
mod request_response;
mod retain;
mod secure_websocket;
mod session;
mod shared_subscription;
mod size_limits;
mod slow_subscriber;
mod subscribe;
mod takeover;
mod tls;
mod tokens;
mod topic_alias;
mod transports;
mod unsubscribe;
mod websocket;
mod will;
