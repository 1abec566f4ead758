//! A stream of bytes, cut anywhere: the same packets, and the same objection.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mqtt_broker_fuzz::connection_split(bytes));
