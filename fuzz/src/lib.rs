//! What the fuzz targets share: the simulation of `tests/sim`, driven by the fuzzer's bytes instead of a seed.

#![allow(dead_code)] // The tests use more of it.

#[path = "../../tests/sim/account.rs"]
mod account;
#[path = "../../tests/sim/answer.rs"]
mod answer;
#[path = "../../tests/sim/arb.rs"]
mod arb;
#[path = "../../tests/sim/checks.rs"]
mod checks;
#[path = "../../tests/sim/claims.rs"]
mod claims;
#[path = "../../tests/sim/client.rs"]
mod client;
#[path = "../../tests/sim/crash.rs"]
mod crash;
#[path = "../../tests/sim/disk.rs"]
mod disk;
#[path = "../../tests/sim/endpoint.rs"]
mod endpoint;
#[path = "../../tests/sim/fuzzing.rs"]
mod fuzzing;
#[path = "../../tests/sim/keeping.rs"]
mod keeping;
#[cfg(feature = "server")]
#[path = "../../tests/sim/log_disk.rs"]
mod log_disk;
#[path = "../../tests/sim/matching.rs"]
mod matching;
#[path = "../../tests/sim/network.rs"]
mod network;
#[path = "../../tests/sim/reference/mod.rs"]
mod reference;
#[path = "../../tests/sim/scenario.rs"]
mod scenario;
#[path = "../../tests/sim/split.rs"]
mod split;
#[path = "../../tests/sim/trace.rs"]
mod trace;
#[path = "../../tests/sim/transition.rs"]
mod transition;
#[path = "../../tests/sim/world.rs"]
mod world;

/// Subscriptions and retained messages against looking at each.
pub fn trie(bytes: &[u8]) {
    fuzzing::trie(bytes);
}

/// A stream of bytes in one piece against the same in several.
pub fn connection_split(bytes: &[u8]) {
    fuzzing::connection_split(bytes);
}

/// The broker against the reference broker.
pub fn broker_ops(bytes: &[u8]) {
    fuzzing::broker_ops(bytes);
}
