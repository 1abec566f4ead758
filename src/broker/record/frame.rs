//! Records in their frames: how one is told from the next, and how damage is seen.
//!
//! A frame is a header of [`HEADER_LEN`] bytes and a body; numbers are little endian:
//!
//! | Bytes | Are |
//! | --- | --- |
//! | 0..4 | the length of the body |
//! | 4..8 | the checksum |
//! | 8..16 | the sequence |
//! | 16 | the kind of the record |
//! | 17..20 | zero |
//! | 20.. | the body |
//!
//! The checksum covers all else: [`FrameHeader::covered`], then the body. It is not computed here: the broker task
//! has better things to do, and the storage knows with which salt.

use std::fmt;

/// Bytes of the header of a frame.
pub const HEADER_LEN: usize = 20;

/// Bytes that a body may have: the largest packet of MQTT has 256 MiB, and to what a client sent the broker adds
/// little.
pub const BODY_MAX: usize = 272 << 20;

/// Kinds from here on, and 0, are not the broker's: the storage writes records of its own between them.
pub const FIRST_RESERVED_KIND: u8 = 0xF0;

/// The number of a record. Each is one more than that of the record before it; no number is used twice for what has
/// been kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The number of the first record that there is.
    pub const FIRST: Self = Self(1);

    /// The record with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The number of the record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The number of the record that comes `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        // At a million records a second, numbers last for half a million years.
        Self(self.0.saturating_add(count))
    }

    /// How many records there are from `earlier` to this one; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The header of a frame, taken apart. That it could be does not mean that the frame is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the body, at most [`BODY_MAX`].
    pub body_len: u32,
    /// The checksum that was written.
    pub checksum: u32,
    /// The number of the record.
    pub sequence: Sequence,
    /// What kind of record it is.
    pub kind: u8,
}

impl FrameHeader {
    /// Reads the header that these bytes begin with, if they can be one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (&[kind, 0, 0, 0], _) = rest.split_first_chunk::<4>()? else { return None };
        let header = Self {
            body_len: u32::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
            sequence: Sequence(u64::from_le_bytes(*sequence)),
            kind,
        };
        (header.body_len() <= BODY_MAX).then_some(header)
    }

    /// The bytes of the header.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[16] = self.kind;
        bytes
    }

    /// What of the header the checksum covers, in the order in which it does: sequence, kind, zeros, length.
    pub fn covered(&self) -> [u8; 16] {
        let [sequence, kind, length]: [u128; 3] =
            [self.sequence.0.into(), self.kind.into(), self.body_len.into()];
        let covered: u128 = sequence | (kind << 64) | (length << 96);
        covered.to_le_bytes()
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> usize {
        usize::try_from(self.body_len).unwrap_or(usize::MAX)
    }

    /// Bytes of the frame.
    pub fn frame_len(&self) -> usize {
        self.body_len().saturating_add(HEADER_LEN)
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its number.
    pub sequence: Sequence,
    /// What kind of record it is; what follows from that is told by whoever wrote it.
    pub kind: u8,
    /// All the rest.
    pub body: &'b [u8],
}

/// The frames that stand in these bytes one behind the other, up to the first that is not whole. Their checksums are
/// not looked at.
#[derive(Debug, Clone)]
pub struct Frames<'b> {
    bytes: &'b [u8],
}

impl<'b> Frames<'b> {
    /// Those in `bytes`.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        let header = FrameHeader::parse(self.bytes)?;
        let (frame, rest) = self.bytes.split_at_checked(header.frame_len())?;
        self.bytes = rest;
        Some(Frame { sequence: header.sequence, kind: header.kind, body: frame.get(HEADER_LEN..)? })
    }
}

/// Records on their way to the disk, one behind the other in the bytes that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    first: Sequence,
    next: Sequence,
    awaited: Awaited,
}

/// What somebody waits for before he says that a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Awaited {
    written: bool,
    synced: bool,
}

/// How well a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Horizon {
    /// The operating system has it: it survives the end of this process.
    Written,
    /// The disk has it: it survives the loss of power.
    Synced,
}

impl Batch {
    /// A batch whose first record will have the number `first`.
    pub const fn new(first: Sequence) -> Self {
        let awaited = Awaited { written: false, synced: false };
        Self { bytes: Vec::new(), first, next: first, awaited }
    }

    /// Takes all records out. Those that come next will need as much memory: it is asked for once.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let bytes = Vec::with_capacity(self.bytes.len());
        let awaited = Awaited { written: false, synced: false };
        std::mem::replace(self, Self { bytes, first: self.next, next: self.next, awaited })
    }

    /// Adds a record whose body is what `write` adds to the bytes that it is given, and says its number.
    ///
    /// # Panics
    /// If the kind is one of the storage's, the body is larger than [`BODY_MAX`], or `write` takes away bytes: faults
    /// of ours.
    pub fn append(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Sequence {
        assert!((1..FIRST_RESERVED_KIND).contains(&kind), "the kind {kind} is not the broker's");
        let sequence = self.next;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        write(&mut self.bytes);
        let body_len = self.bytes.len().checked_sub(start + HEADER_LEN).filter(|len| *len <= BODY_MAX);
        let Some(body_len) = body_len.and_then(|len| u32::try_from(len).ok()) else {
            panic!("the body of record {sequence} has more bytes than a packet of MQTT, or fewer than none");
        };
        let header = FrameHeader { body_len, checksum: 0, sequence, kind };
        if let Some(place) = self.bytes.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&header.to_bytes());
        }
        self.next = sequence.next();
        sequence
    }

    /// Somebody waits until all that is in the batch by now is kept so well.
    pub const fn wait_for(&mut self, horizon: Horizon) {
        match horizon {
            Horizon::Written => self.awaited.written = true,
            Horizon::Synced => self.awaited.synced = true,
        }
    }

    /// Whether somebody waits until the batch is kept so well.
    pub const fn awaits(&self, horizon: Horizon) -> bool {
        match horizon {
            Horizon::Written => self.awaited.written,
            Horizon::Synced => self.awaited.synced,
        }
    }

    /// Takes its first records out, as many as have `most` bytes in all, and one at the least.
    #[must_use]
    pub fn take_front(&mut self, most: usize) -> Self {
        let mut end = 0;
        let mut next = self.first;
        let mut rest = self.bytes.as_slice();
        while let Some(header) = FrameHeader::parse(rest) {
            let behind = end + header.frame_len();
            if end > 0 && behind > most {
                break;
            }
            (end, next) = (behind, header.sequence.next());
            rest = self.bytes.get(end..).unwrap_or_default();
        }
        let bytes = self.bytes.split_off(end);
        let front = std::mem::replace(&mut self.bytes, bytes);
        let first = std::mem::replace(&mut self.first, next);
        Self { bytes: front, first, next, awaited: self.awaited }
    }

    /// The number of its first record, or of the one that would be.
    pub const fn first(&self) -> Sequence {
        self.first
    }

    /// The number after that of its last record.
    pub const fn next(&self) -> Sequence {
        self.next
    }

    /// Whether there is no record in it.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of its records with their headers.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The records with their headers, as they will be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its records.
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(&self.bytes)
    }

    /// Fills in all checksums. `checksum` computes one: of [`FrameHeader::covered`], then the body.
    pub fn seal(&mut self, mut checksum: impl FnMut(FrameHeader, &[u8]) -> u32) {
        let mut rest = self.bytes.as_mut_slice();
        while let Some(header) = FrameHeader::parse(rest) {
            let Some((frame, behind)) = rest.split_at_mut_checked(header.frame_len()) else { return };
            if let Some((place, body)) = frame.split_first_chunk_mut::<HEADER_LEN>() {
                let checksum = checksum(header, body);
                *place = FrameHeader { checksum, ..header }.to_bytes();
            }
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::new(Sequence::new(7));
        batch.append(1, |body| body.extend_from_slice(b"one"));
        batch.append(2, |_| ());
        batch.append(0xEF, |body| body.extend_from_slice(&[0; 100]));
        batch
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let batch = batch();
        assert_eq!((batch.first(), batch.next()), (Sequence::new(7), Sequence::new(10)));
        assert_eq!(batch.len(), 3 * HEADER_LEN + 103);
        let frames: Vec<_> = batch.frames().collect();
        assert_eq!(frames[0], Frame { sequence: Sequence::new(7), kind: 1, body: b"one" });
        assert_eq!(frames[1], Frame { sequence: Sequence::new(8), kind: 2, body: b"" });
        assert_eq!(frames[2], Frame { sequence: Sequence::new(9), kind: 0xEF, body: &[0; 100] });
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn a_batch_is_taken_in_parts() {
        let mut rest = batch();
        rest.wait_for(Horizon::Synced);
        let whole: Vec<u8> = rest.bytes().to_vec();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            parts.push(rest.take_front(50));
        }
        assert_eq!(parts.iter().map(|part| part.frames().count()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(parts.iter().map(|part| part.first().number()).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(parts.iter().map(|part| part.next().number()).collect::<Vec<_>>(), [9, 10]);
        assert!(parts.iter().all(|part| part.awaits(Horizon::Synced)));
        assert_eq!(parts.iter().flat_map(|part| part.bytes().to_vec()).collect::<Vec<_>>(), whole);
        assert_eq!((rest.first(), rest.next()), (Sequence::new(10), Sequence::new(10)));
        assert_eq!(batch().take_front(usize::MAX), batch());
    }

    #[test]
    fn sealing_fills_in_what_is_computed_of_each_record() {
        let mut batch = batch();
        batch.seal(|header, body| header.body_len * 1_000 + u32::try_from(body.len()).unwrap());
        let mut rest = batch.bytes();
        for expected in [3_003, 0, 100_100] {
            let header = FrameHeader::parse(rest).unwrap();
            assert_eq!(header.checksum, expected);
            rest = &rest[header.frame_len()..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_header_is_the_bytes_that_the_format_says() {
        let header =
            FrameHeader { body_len: 0x0102, checksum: 0x0304_0506, sequence: Sequence::new(0x0708), kind: 9 };
        let bytes = [2, 1, 0, 0, 6, 5, 4, 3, 8, 7, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(FrameHeader::parse(&bytes), Some(header));
        assert_eq!(header.covered(), [8, 7, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 1, 0, 0]);
        assert_eq!(FrameHeader::parse(&bytes[..19]), None, "it is not whole");
        for place in 17..20 {
            let mut wrong = bytes;
            wrong[place] = 1;
            assert_eq!(FrameHeader::parse(&wrong), None, "what is zero is not");
        }
        let mut long = bytes;
        long[3] = 0x80;
        assert_eq!(FrameHeader::parse(&long), None, "no body is so long");
    }

    #[test]
    fn frames_end_where_one_is_not_whole() {
        let batch = batch();
        for cut in 1..=HEADER_LEN + 100 {
            assert_eq!(Frames::new(&batch.bytes()[..batch.len() - cut]).count(), 2);
        }
    }

    #[test]
    #[should_panic(expected = "the kind 255 is not the broker's")]
    fn the_kinds_of_the_storage_are_not_taken() {
        Batch::new(Sequence::FIRST).append(0xFF, |_| ());
    }
}
