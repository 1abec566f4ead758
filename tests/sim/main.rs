//! Simulation: the pure parts of the broker, many clients and the network between them, in one thread, under a
//! simulated clock, driven by one seed, beside a reference broker. See docs/simulation.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a simulation ends with the first thing that is not as it should be, and says so"
)]

mod answer;
mod arb;
mod checks;
mod claims;
mod client;
mod endpoint;
mod network;
mod reference;
mod scenario;
mod seeds;
mod trace;
mod transition;
mod world;
