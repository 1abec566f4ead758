//! The inputs that the fuzzer has found worth keeping, without the fuzzer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::cell::Cell;
use std::fs;
use std::path::Path;

#[path = "../fuzz/properties/jwt.rs"]
mod jwt;
#[path = "../fuzz/properties/proxy.rs"]
mod proxy;
#[path = "../fuzz/properties/quic_header.rs"]
mod quic_header;
#[path = "../fuzz/properties/storage.rs"]
mod storage;
#[path = "../fuzz/properties/websocket.rs"]
mod websocket;

/// Checks each input of a target, and all that begin like it.
fn replay(target: &str, check: impl Fn(&[u8])) {
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

/// Tokens among the inputs that are as they should be, and their beginnings that are so too.
const TAKEN: usize = 4;

/// The directory of the auth files for tokens.
const TOKENS: &str = "fuzz/tokens";

#[test]
fn tokens() {
    let readers = jwt::Readers::open();
    let taken = Cell::new(0);
    replay("jwt", |bytes| taken.set(taken.get() + readers.check(bytes)));
    assert_eq!(taken.get(), TAKEN);
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
