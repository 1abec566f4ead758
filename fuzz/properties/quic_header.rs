//! What must hold of any bytes at the beginning of a QUIC stream.

use mqtt_broker::transport::quic::header::{FlowKind, read};

/// The longest header that can be read, and so the most that is waited for.
const LONGEST: usize = 18;

/// Panics unless it holds: a header ends within the bytes, is the same whatever follows it, is not seen before its last byte,
/// and is not waited for in vain.
pub(crate) fn check(bytes: &[u8]) {
    match read(bytes) {
        Ok(None) => assert!(bytes.len() < LONGEST),
        Ok(Some((header, len))) => {
            let (all, _) = bytes.split_at(len);
            assert!(len <= LONGEST);
            assert_eq!(header.is_some(), bytes.first().is_some_and(|first| (0x11..=0x14).contains(first)));
            if let Some(header) = header {
                assert_eq!(read(all), Ok(Some((Some(header), len))));
                assert!((1..len).all(|part| read(&bytes[..part]) == Ok(None)));
                assert!(!(header.flags.is_clean() && header.flags.aborts_without_state()));
                match header.kind {
                    FlowKind::Control => assert_eq!(bytes[0], 0x11),
                    FlowKind::ClientData { flow, expires } => {
                        assert!(flow % 2 == 0 && flow < 1 << 62 && expires < 1 << 62);
                    }
                }
            }
        }
        Err(error) => {
            let code = error.code().into_inner();
            assert!((0xB3..=0xC1).contains(&code));
            let more = [bytes, &[0; LONGEST]].concat();
            assert_eq!(read(&more), Err(error));
        }
    }
}
