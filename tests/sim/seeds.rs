//! Which seeds are run, and what is said when one fails.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::arb::Choices;
use crate::trace::Trace;
use crate::world::World;

/// Seeds that once failed, one a line; what follows a `#` says why.
const ONCE_FAILED: &str = include_str!("seeds.txt");

/// What runs where the environment says nothing.
const SEEDS: Range<u64> = 0..15_000;
const STEPS: usize = 300;

/// Lines of the trace that are shown of a failure.
const SHOWN: usize = 60;

/// Runs one seed to its end. What came of it, as a number.
fn run(seed: u64, steps: usize) -> u64 {
    let mut world = World::new(Choices::from_seed(seed), Trace::new(false));
    world.run(steps);
    world.trace.digest()
}

/// Runs a seed that fails once more, and says what led to it.
fn explain(seed: u64, steps: usize) {
    let mut world = World::new(Choices::from_seed(seed), Trace::new(true));
    let shown = number_from("SIM_TRACE").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(SHOWN);
    let Err(fault) = catch_unwind(AssertUnwindSafe(|| world.run(steps))) else {
        panic!("seed {seed} failed once and not twice: something is not left to the seed");
    };
    for line in world.trace.last(shown) {
        eprintln!("{line}");
    }
    let what =
        fault.downcast_ref::<String>().map(String::as_str).or_else(|| fault.downcast_ref::<&str>().copied());
    eprintln!("\n{}", what.unwrap_or("it failed"));
    eprintln!("seed={seed} step={}", world.trace.step());
    eprintln!("replay: SIM_SEEDS={seed}..{} SIM_STEPS={steps} cargo test --test sim seeds::", seed + 1);
}

fn sweep(seeds: Range<u64>, steps: usize) {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let threads = thread::available_parallelism().map_or(1, Into::into);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.load(Ordering::Relaxed) < u64::MAX {
                        return;
                    }
                    if catch_unwind(|| run(seed, steps)).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    if failed < u64::MAX {
        explain(failed, steps);
        panic!("seed {failed} failed");
    }
}

fn steps() -> usize {
    number_from("SIM_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap())
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn what_must_hold_holds_for_many_seeds() {
    let seeds = std::env::var("SIM_SEEDS").map_or(SEEDS, |text| {
        let (from, to) = text.split_once("..").expect("SIM_SEEDS is written from..to");
        from.parse().expect("a seed is a number")..to.parse().expect("a seed is a number")
    });
    sweep(seeds, steps());
}

#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    for line in ONCE_FAILED.lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            let seed = seed.parse().expect("seeds.txt holds numbers");
            sweep(seed..seed + 1, STEPS);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let digests: Vec<u64> = (0..40).map(|seed| run(seed, STEPS)).collect();
    let again: Vec<u64> = (0..40).map(|seed| run(seed, STEPS)).collect();
    assert_eq!(digests, again);
    let different: std::collections::BTreeSet<u64> = digests.iter().copied().collect();
    assert_eq!(different.len(), digests.len(), "other seeds give other traces");
}
