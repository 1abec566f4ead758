//! CRC32C over records, with a salt.

use std::fmt;

use crate::broker::record::frame::FrameHeader;

/// Where the checksums of a data directory begin.
///
/// What a client publishes is part of a record. Without a secret it could publish something that looks like records,
/// and when the search for whole records behind a damaged one came by, it would find those.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) u32);

impl Salt {
    /// The salt of a new directory.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(crc32c::crc32c(&seed.to_le_bytes()))
    }

    /// The checksum of a record.
    pub(crate) fn checksum(self, header: &FrameHeader, body: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &header.covered()), body)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// The checksum of what is not a record.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The checksum over the checksums of records, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunningChecksum(pub(crate) u32);

impl RunningChecksum {
    pub(crate) fn add(&mut self, checksum: u32) {
        self.0 = crc32c::crc32c_append(self.0, &checksum.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::record::Sequence;

    #[test]
    fn it_is_crc32c() {
        // The check value of RFC 3720's polynomial.
        assert_eq!(checksum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn every_bit_of_a_record_counts() {
        let header = FrameHeader { body_len: 3, checksum: 0, sequence: Sequence::new(5), kind: 1 };
        let sum = Salt(7).checksum(&header, b"abc");
        assert_eq!(sum, Salt(7).checksum(&FrameHeader { checksum: 9, ..header }, b"abc"), "but for the sum");
        for other in [
            Salt(8).checksum(&header, b"abc"),
            Salt(7).checksum(&header, b"abd"),
            Salt(7).checksum(&FrameHeader { body_len: 2, ..header }, b"abc"),
            Salt(7).checksum(&FrameHeader { kind: 2, ..header }, b"abc"),
            Salt(7).checksum(&FrameHeader { sequence: Sequence::new(6), ..header }, b"abc"),
        ] {
            assert_ne!(sum, other);
        }
    }
}
