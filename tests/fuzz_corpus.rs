//! The inputs that the fuzzer has found worth keeping, without the fuzzer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/properties/proxy.rs"]
mod proxy;
#[path = "../fuzz/properties/quic_header.rs"]
mod quic_header;
#[path = "../fuzz/properties/storage.rs"]
mod storage;
#[path = "../fuzz/properties/websocket.rs"]
mod websocket;

/// Checks each input of a target, and all that begin like it.
fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for len in 0..=bytes.len() {
            check(&bytes[..len]);
        }
        count += 1;
    }
    assert!(count > 0, "there is nothing in {}", directory.display());
}

#[test]
fn proxy_headers() {
    replay("proxy", proxy::check);
}

#[test]
fn quic_headers() {
    replay("quic_header", quic_header::check);
}

#[test]
fn websocket_inputs() {
    replay("websocket", websocket::check);
}

#[test]
fn damaged_logs() {
    replay("storage", storage::check);
}
