//! The log on disk: under simulated faults, and in the formats that were ever written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod commands;
mod damage;
mod fixtures;
mod simulation;
#[path = "../../src/mqtt/codec/splitmix.rs"]
mod splitmix;
#[path = "../../src/storage/testing.rs"]
mod testing;
