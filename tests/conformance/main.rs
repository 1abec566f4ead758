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

mod matrix;
