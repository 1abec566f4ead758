//! Whatever stands in an auth file, reading it ends with an answer.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mqtt_broker::auth::command::check;

fuzz_target!(|bytes: &[u8]| {
    // Key files that it names are not there.
    let _ = check(bytes, Path::new("/nowhere/auth.json"));
});
