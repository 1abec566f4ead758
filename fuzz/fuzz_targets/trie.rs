//! Subscribing, unsubscribing, retaining, and what is found then: the same as by looking at each.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mqtt_broker_fuzz::trie(bytes));
