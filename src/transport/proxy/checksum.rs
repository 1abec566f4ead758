//! The checksum of version 2.

/// CRC-32C (RFC 3720 appendix B.4). A header has a few hundred bytes: bit by bit is fast enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        /// The polynomial 0x1EDC6F41 from its other end.
        const POLYNOMIAL: u32 = 0x82F6_3B78;
        let shift = |sum: u32| (sum >> 1) ^ (POLYNOMIAL * (sum & 1));
        let add = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shift(sum));
        Self(bytes.iter().fold(self.0, add))
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, and the check value that catalogues of checksums give.
    #[test]
    fn known_sums() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, sum) in [
            (&b"123456789"[..], 0xE306_9283),
            (&[0; 32], 0x8A91_36AA),
            (&[0xFF; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
            (&[], 0),
        ] {
            assert_eq!(Crc32c::default().add(bytes).value(), sum, "{bytes:x?}");
            let (one, other) = bytes.split_at(bytes.len() / 3);
            assert_eq!(Crc32c::default().add(one).add(other).value(), sum);
        }
    }
}
