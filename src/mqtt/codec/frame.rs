//! The fixed header: what a packet is, and how long.

use super::FrameHeader;
use crate::mqtt::DecodeError;

/// Reads the fixed header at the beginning of `bytes`; `None` while more bytes are needed to tell.
pub fn frame_header(bytes: &[u8]) -> Result<Option<FrameHeader>, DecodeError> {
    let Some((&first, lengths)) = bytes.split_first() else {
        return Ok(None);
    };
    if first >> 4 == 0 {
        return Err(DecodeError::malformed("packet type 0 is reserved"));
    }
    let mut body_len = 0;
    for ((&byte, header_len), shift) in lengths.iter().zip(2..=5).zip([0, 7, 14, 21]) {
        body_len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(FrameHeader {
                first,
                header_len,
                body_len,
            }));
        }
    }
    if lengths.len() < 4 {
        Ok(None)
    } else {
        Err(DecodeError::malformed(
            "the remaining length is longer than four bytes",
        ))
    }
}
