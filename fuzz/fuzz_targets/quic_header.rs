//! Any bytes at the beginning of a QUIC stream.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../properties/quic_header.rs"]
mod quic_header;

fuzz_target!(|bytes: &[u8]| quic_header::check(bytes));
