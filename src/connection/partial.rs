//! The beginning of a packet whose end has not arrived.

use std::mem;

use crate::mqtt::codec::FrameHeader;

/// Bytes that wait for more. Its buffer grows with the bytes that have arrived, never by a length that was only
/// announced, and is given back with the last byte.
#[derive(Debug, Default)]
pub(super) struct Partial(Vec<u8>);

impl Partial {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What waits.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Adds bytes that belong behind those that wait, of a frame with this header where it is known.
    pub(super) fn extend(&mut self, bytes: &[u8], header: Option<FrameHeader>) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            // Doubling keeps the copies few; no more than the frame will be keeps the payload's buffer tight.
            let doubled = self.0.capacity().saturating_mul(2);
            let room = header.map_or(needed, |header| frame_len(header).min(doubled).max(needed));
            self.0.reserve_exact(room - self.0.len());
        }
        self.0.extend_from_slice(bytes);
    }

    /// Takes what waits, and the buffer with it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.0)
    }
}

/// The bytes of a whole packet with this header.
pub(super) const fn frame_len(header: FrameHeader) -> usize {
    header.header_len + header.body_len
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCED: FrameHeader = FrameHeader { first: 0x30, header_len: 5, body_len: 200_000_000 };

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut partial = Partial::default();
        partial.extend(&[0x30; 10], Some(ANNOUNCED));
        assert!(partial.0.capacity() <= 20);
        for _ in 0..1_000 {
            partial.extend(&[0; 100], Some(ANNOUNCED));
            assert!(partial.0.capacity() <= 2 * partial.0.len());
        }
    }

    #[test]
    fn a_whole_frame_fits_exactly_and_its_buffer_goes_with_it() {
        let header = FrameHeader { first: 0x30, header_len: 3, body_len: 9_997 };
        let mut partial = Partial::default();
        for _ in 0..100 {
            partial.extend(&[0; 100], Some(header));
        }
        let frame = partial.take();
        assert_eq!((frame.len(), frame.capacity()), (10_000, 10_000));
        assert_eq!(partial.0.capacity(), 0);
    }
}
