//! A segment: a file with records one behind the other.
//!
//! It begins with a header of [`SEGMENT_HEADER_LEN`] bytes: the magic bytes, the version of the format, the salt of the
//! checksums, the number of the first record, four zero bytes, and a checksum over these; numbers are little endian.
//! The records that follow are the broker's, in frames, and a few of the storage's own, see [`Own`].

use crate::broker::record::Sequence;
use crate::broker::record::frame::{FIRST_RESERVED_KIND, FrameHeader, HEADER_LEN};
use crate::storage::checksum::{RunningChecksum, Salt, checksum};
use crate::storage::directory::length;

/// Bytes before the first record.
pub(crate) const SEGMENT_HEADER_LEN: usize = 32;

/// The version of the format that is written, and the highest that is read.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"mqtt-log";

/// Bytes of a segment between entries in its index.
const INDEX_SPACING: u32 = 16 << 10;

/// The name of the file of a segment. Segments are numbered in the order in which they are made, and no number is used
/// again.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016}.log")
}

/// The name of such a file until what has to be in it from the beginning is in it.
pub(crate) fn unfinished_name(number: u64) -> String {
    format!("{number:016}.unfinished")
}

/// Whether this is the name of a segment that was not finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".unfinished").is_some_and(|number| number_of(&format!("{number}.log")).is_some())
}

/// The number of a segment from the name of its file, if it is one.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) salt: Salt,
    /// The number of the first record. All before it is in older segments, and was on the disk before this segment was
    /// made.
    pub(crate) first: Sequence,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// These are not the bytes of one.
    Damaged,
    /// A later version of this program has written it, in a format with this number.
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> [u8; SEGMENT_HEADER_LEN] {
        Self::of_version(FORMAT_VERSION, self.salt, self.first)
    }

    fn of_version(version: u32, salt: Salt, first: Sequence) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&salt.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&first.number().to_le_bytes());
        let sum = checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header that these bytes begin with.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        Self::parts(bytes).ok_or(NoHeader::Damaged).and_then(|(version, header)| match version {
            FORMAT_VERSION => Ok(header),
            0 => Err(NoHeader::Damaged),
            newer => Err(NoHeader::Newer(newer)),
        })
    }

    fn parts(bytes: &[u8]) -> Option<(u32, Self)> {
        let (covered, rest) = bytes.split_first_chunk::<28>()?;
        let (sum, _) = rest.split_first_chunk()?;
        (checksum(covered) == u32::from_le_bytes(*sum)).then_some(())?;
        let rest = covered.strip_prefix(&MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (first, _) = rest.split_first_chunk()?;
        let salt = Salt(u32::from_le_bytes(*salt));
        Some((u32::from_le_bytes(*version), Self { salt, first: Sequence::new(u64::from_le_bytes(*first)) }))
    }
}

/// The storage's own records. They have no number of their own; in its place stands the number that the next of the
/// broker's records has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// All before was on the disk when this was written. What is damaged before it was torn by no crash.
    Mark,
    /// Nobody knows what came before: it was lost, and that is known.
    Gap,
    /// The end: nothing more is written into this segment. Its body has the count of the broker's records and the
    /// checksum over theirs.
    Seal { count: u32, sum: RunningChecksum },
}

const MARK: u8 = 0xF0;
const GAP: u8 = 0xF1;
const SEAL: u8 = 0xF2;

/// Bytes of a mark, and of a gap.
pub(crate) const MARK_LEN: u64 = 20;
/// Bytes of a seal.
pub(crate) const SEAL_LEN: u64 = 28;

impl Own {
    /// The frame of such a record.
    pub(crate) fn to_bytes(self, next: Sequence, salt: Salt) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Mark => (MARK, Vec::new()),
            Self::Gap => (GAP, Vec::new()),
            Self::Seal { count, sum } => (SEAL, [count.to_le_bytes(), sum.0.to_le_bytes()].concat()),
        };
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut header = FrameHeader { body_len, checksum: 0, sequence: next, kind };
        header.checksum = salt.checksum(&header, &body);
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The record of the storage that this frame is; `Err` if it claims to be one and is none of those.
    pub(crate) fn parse(kind: u8, body: &[u8]) -> Result<Option<Self>, ()> {
        match (kind, body) {
            (1..FIRST_RESERVED_KIND, _) => Ok(None),
            (MARK, []) => Ok(Some(Self::Mark)),
            (GAP, []) => Ok(Some(Self::Gap)),
            (SEAL, _) => {
                let (count, sum) = body.split_first_chunk().ok_or(())?;
                let sum = RunningChecksum(u32::from_le_bytes(sum.try_into().map_err(drop)?));
                Ok(Some(Self::Seal { count: u32::from_le_bytes(*count), sum }))
            }
            _ => Err(()),
        }
    }
}

/// Where in a segment some of its records are: eight bytes for each 16 KiB, so that finding a record is one read and a
/// short search.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// How far a record's number is from the first of the segment, and its offset.
    entries: Vec<(u32, u32)>,
}

impl Index {
    /// A record is there. Records come in the order in which they stand.
    pub(crate) fn note(&mut self, first: Sequence, sequence: Sequence, offset: usize) {
        // What cannot be noted is found from an earlier entry.
        let (Ok(number), Ok(offset)) = (u32::try_from(sequence.since(first)), u32::try_from(offset)) else {
            return;
        };
        let due = self.entries.last().is_none_or(|(_, last)| offset - last.min(&offset) >= INDEX_SPACING);
        if due {
            self.entries.push((number, offset));
        }
    }

    /// An offset at which a record begins, and from which the one with this number is not far.
    pub(crate) fn offset_before(&self, first: Sequence, sequence: Sequence) -> u64 {
        let number = sequence.since(first);
        let behind = self.entries.partition_point(|(noted, _)| u64::from(*noted) <= number);
        let entry = behind.checked_sub(1).and_then(|at| self.entries.get(at));
        entry.map_or_else(|| length(SEGMENT_HEADER_LEN), |(_, offset)| (*offset).into())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u32, u32)>()
    }

    /// Gives back memory that is not needed, as nothing more is noted.
    pub(crate) fn finish(&mut self) {
        self.entries.shrink_to_fit();
    }
}

/// The header of the frame that `bytes` begin with, and its body, if it is whole and as it was written.
pub(crate) fn whole_frame(bytes: &[u8], salt: Salt) -> Option<(FrameHeader, &[u8])> {
    let header = FrameHeader::parse(bytes)?;
    let body = bytes.get(HEADER_LEN..header.frame_len())?;
    (salt.checksum(&header, body) == header.checksum).then_some((header, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0xABCD);

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_otherwise() {
        let header = SegmentHeader { salt: SALT, first: Sequence::new(42) };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            assert_eq!(SegmentHeader::parse(&wrong), Err(NoHeader::Damaged), "byte {at}");
            assert_eq!(SegmentHeader::parse(&bytes[..at]), Err(NoHeader::Damaged), "{at} bytes");
        }
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let bytes = SegmentHeader::of_version(2, SALT, Sequence::FIRST);
        assert_eq!(SegmentHeader::parse(&bytes), Err(NoHeader::Newer(2)));
    }

    #[test]
    fn names_are_numbers() {
        assert_eq!(number_of(&file_name(12)), Some(12));
        for other in ["lock", "12.log", "+000000000000012.log", "0000000000000012.txt", ".log"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn records_of_the_storage_are_read_as_they_were_written() {
        let seal = Own::Seal { count: 3, sum: RunningChecksum(4) };
        for (own, len) in [(Own::Mark, MARK_LEN), (Own::Gap, MARK_LEN), (seal, SEAL_LEN)] {
            let bytes = own.to_bytes(Sequence::new(9), SALT);
            assert_eq!(length(bytes.len()), len);
            let (header, body) = whole_frame(&bytes, SALT).unwrap();
            assert_eq!(header.sequence, Sequence::new(9));
            assert_eq!(Own::parse(header.kind, body), Ok(Some(own)));
        }
        assert_eq!(Own::parse(1, b""), Ok(None));
        assert_eq!(Own::parse(MARK, b"x"), Err(()));
        assert_eq!(Own::parse(0, b""), Err(()));
        assert_eq!(Own::parse(0xFF, b""), Err(()));
    }

    #[test]
    fn the_index_leads_to_a_place_before_a_record_and_near_it() {
        let (mut index, first) = (Index::default(), Sequence::new(100));
        let place = |number: u64| SEGMENT_HEADER_LEN + usize::try_from(number).unwrap() * 1_000;
        for number in 0..1_000 {
            index.note(first, first.plus(number), place(number));
        }
        for number in 0..1_000 {
            let offset = usize::try_from(index.offset_before(first, first.plus(number))).unwrap();
            assert!(offset <= place(number) && place(number) - offset < 20_000, "{number}: {offset}");
            assert_eq!((offset - SEGMENT_HEADER_LEN) % 1_000, 0);
        }
        assert!(index.entries.len() < 70);
    }
}
