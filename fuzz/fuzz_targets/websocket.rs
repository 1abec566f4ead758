//! Any bytes to a listener for WebSocket, as a request and as frames.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../properties/websocket.rs"]
mod websocket;

fuzz_target!(|bytes: &[u8]| websocket::check(bytes));
