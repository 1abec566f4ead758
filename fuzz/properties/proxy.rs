//! Any bytes as a PROXY header: what is said to be lacking is, and nothing depends on how the bytes were cut.

use mqtt_broker::transport::proxy::{Progress, parse};

/// The longest header that is taken.
const LONGEST: usize = 4_096;

pub(crate) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    if let Ok(Progress::Whole { len, .. }) = whole {
        assert!(len <= bytes.len() && len <= LONGEST);
        assert_eq!(parse(&bytes[..len]), whole, "what follows a header does not belong to it");
    }
    // As it is read from a connection: never more than is known to belong to it.
    let mut read = 0;
    loop {
        match parse(&bytes[..read]) {
            Ok(Progress::Lacks(missing)) => {
                assert!(missing > 0 && read + missing <= LONGEST);
                if read + missing > bytes.len() {
                    assert!(!matches!(whole, Ok(Progress::Whole { .. })), "it is read in part only");
                    return;
                }
                read += missing;
            }
            Ok(Progress::Whole { len, .. }) => {
                assert_eq!(len, read, "a byte too much was read");
                assert_eq!(parse(&bytes[..read]), whole);
                return;
            }
            Err(error) => {
                assert_eq!(whole, Err(error), "it is wrong as soon as that is seen");
                return;
            }
        }
    }
}
