//! An MQTT broker for MQTT 3.1, 3.1.1 and 5.0.
//!
//! The broker is a value without I/O: [`broker::Broker`] is told what happened and what time it is, and says what
//! should be done. [`connection::Connection`] is the same for one client's protocol: bytes in, packets out. Around
//! both stands a thin tokio shell, compiled with the default feature `server`.
//!
//! Where to start reading: `mqtt` for the words of the wire, `connection` for one connection's protocol, `broker`
//! for sessions and routing, `actor` for the tasks that drive them. `docs/architecture.md` is the map.

// The core: clippy.toml lists what it must not use, and why.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod broker;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod clock;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod connection;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod mqtt;

#[cfg(feature = "server")]
pub mod actor;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
mod files;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod storage;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod transport;
