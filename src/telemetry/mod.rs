//! Logging: what the broker says about itself, on the standard error.
//!
//! Names of fields, the same everywhere: `connection`, `client_id`, `peer`, `transport`, `topic`, `filter`, `qos`,
//! `packet_id`, `reason`, `session_present`, `elapsed_ms`. Never logged: passwords, payloads, authentication data.

mod logging;
mod writer;

pub use logging::{LogSettings, Logging};
