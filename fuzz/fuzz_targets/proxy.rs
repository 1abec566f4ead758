//! Any bytes as a header of the PROXY protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../properties/proxy.rs"]
mod proxy;

fuzz_target!(|bytes: &[u8]| proxy::check(bytes));
