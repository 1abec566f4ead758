//! Simulation: the pure parts of the broker, many clients and the network between them, in one thread, under a
//! simulated clock, driven by one seed, beside a reference broker. See docs/simulation.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "a simulation ends with the first thing that is not as it should be, and says so; scenarios are switches"
)]

mod account;
mod answer;
mod arb;
mod checks;
mod claims;
mod client;
mod corpus;
mod crash;
mod disk;
mod endpoint;
mod fuzzing;
mod keeping;
#[cfg(feature = "server")]
mod log_disk;
mod matching;
mod network;
mod reference;
mod scenario;
mod seeds;
mod split;
mod trace;
mod transition;
mod world;
