//! Any bytes in the place of a token.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../properties/jwt.rs"]
mod jwt;

/// The directory of the auth files.
const TOKENS: &str = "tokens";

static READERS: LazyLock<jwt::Readers> = LazyLock::new(jwt::Readers::open);

fuzz_target!(|bytes: &[u8]| {
    READERS.check(bytes);
});
