//! Any damage to a log.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../properties/storage.rs"]
mod storage;

fuzz_target!(|bytes: &[u8]| storage::check(bytes));
