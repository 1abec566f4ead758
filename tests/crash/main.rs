//! The crash rig: the broker as a process on a data directory, many clients that publish, subscribe and acknowledge at
//! random, and `kill -9` at random moments, while it serves, makes room or starts. After each restart, and at the end,
//! what clients are told is compared with what they were promised. See docs/durability.md.
//!
//! `CRASH_KILLS=1000 CRASH_SEED=7 cargo test --release --test crash` kills that often, from that seed on.

#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics, and it names only what it expects"
)]

#[path = "../sim/arb.rs"]
#[allow(dead_code, reason = "bytes of a fuzzer drive the simulation only")]
mod arb;
#[path = "../support/mod.rs"]
mod support;

mod link;
mod model;
mod mourner;
mod publisher;
mod rig;
mod session;
mod subscriber;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use rig::{Account, Rig};

/// How often the broker is killed where nothing else is asked for.
const KILLS: u64 = 32;

/// How often it is killed on the same directory.
const KILLS_OF_ONE_DIRECTORY: u64 = 8;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let (kills, first) = (number("CRASH_KILLS").unwrap_or(KILLS), number("CRASH_SEED").unwrap_or(0));
    let started = Instant::now();
    let mut account = Account::default();
    let mut left = kills;
    for seed in first.. {
        let now = left.min(KILLS_OF_ONE_DIRECTORY);
        let run = || Rig::new(seed).run(usize::try_from(now).unwrap());
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => account.add(done),
            Err(panic) => {
                eprintln!(
                    "failed after {} kills in {} s; what was drawn: CRASH_SEED={seed} CRASH_KILLS={now}",
                    account.kills + account.early_kills,
                    started.elapsed().as_secs()
                );
                resume_unwind(panic);
            }
        }
        left -= now;
        if left == 0 {
            break;
        }
    }
    eprintln!("{account:#?} in {} s", started.elapsed().as_secs());
    assert!(account.acknowledged > 0 && account.received > 0 && account.probes > 0, "nothing was tested");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
