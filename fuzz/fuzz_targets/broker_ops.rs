//! Clients, network, connections and broker: what the reference broker says, and nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mqtt_broker_fuzz::broker_ops(bytes));
