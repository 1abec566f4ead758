//! Reading a segment record by record, whatever has happened to it.
//!
//! What is not a whole record can be two things. In the segment that was written last it can be *torn*: it was on its
//! way to the disk when the power went, nobody was told that it is kept, and what is behind it was on its way too. Or
//! it is *damage*: it was once on the disk. The two are told apart by what is known to have been on the disk: all before
//! a later segment, and all before a mark ([`Own::Mark`]). What is torn ends the log; damage is stepped over to the next
//! whole record.

use super::segment::{Own, SEGMENT_HEADER_LEN, whole_frame};
use crate::broker::record::Sequence;
use crate::broker::record::frame::{FIRST_RESERVED_KIND, Frame, FrameHeader};
use crate::storage::checksum::{RunningChecksum, Salt};

/// Bytes that may be read for checksums in the search for a whole record, for each byte of the segment; beyond that,
/// only small records are found. A damaged record may be full of what looks like the beginnings of large ones.
const EFFORT: usize = 16;

/// What a small record is, once the search has taken long.
const SMALL: usize = 4 << 10;

/// Where a segment has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The next segment begins with this record: all before it was on the disk, and what is behind it here does not
    /// count.
    Next(Sequence),
    /// It is the last segment.
    Last,
}

/// What is found in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found<'b> {
    /// A record, and where it begins.
    Record { at: usize, frame: Frame<'b> },
    /// Something that is not a record, or that records are not there.
    Damage(Damage),
}

/// What is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where it begins.
    pub(crate) at: usize,
    /// How many bytes it has; 0 where records are missing.
    pub(crate) len: usize,
    /// The first record that was lost by it.
    pub(crate) first: Sequence,
    /// The record behind those that were lost by it.
    pub(crate) next: Sequence,
    /// What kind of record the first was, if it can still be told.
    pub(crate) kind: Option<u8>,
    pub(crate) reason: &'static str,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// With its last record; only zeros follow.
    Open,
    /// With a record that is torn; this many bytes are not zero or before one that is not.
    Torn(usize),
    /// With a seal.
    Sealed,
    /// With the record before the next segment, without a seal: it could no longer be written to. This many bytes
    /// follow that do not count.
    Abandoned(usize),
}

/// A segment that is being read.
#[derive(Debug)]
pub(crate) struct Scan<'b> {
    bytes: &'b [u8],
    salt: Salt,
    bound: Bound,
    at: usize,
    expected: Sequence,
    /// All before this record is known to have been on the disk, as marks that have been passed say.
    proven: Sequence,
    /// Where that begins of which it is not known.
    proven_at: usize,
    /// The same as of marks that are still ahead, once somebody had to know.
    proven_ahead: Option<Sequence>,
    effort: usize,
    count: u32,
    sum: RunningChecksum,
    damaged: bool,
    tail: Option<Tail>,
}

impl<'b> Scan<'b> {
    /// Reads a segment, given all its bytes. `first` is the record that it has to begin with; older ones are not looked
    /// at.
    pub(crate) fn new(bytes: &'b [u8], salt: Salt, first: Sequence, bound: Bound) -> Self {
        Self {
            bytes,
            salt,
            bound,
            at: SEGMENT_HEADER_LEN.min(bytes.len()),
            expected: first,
            proven: first,
            proven_at: SEGMENT_HEADER_LEN,
            proven_ahead: None,
            effort: bytes.len().saturating_mul(EFFORT),
            count: 0,
            sum: RunningChecksum::default(),
            damaged: false,
            tail: None,
        }
    }

    /// Where what counts ends.
    pub(crate) fn end(&self) -> usize {
        self.at
    }

    /// The number of the record that would come next.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.expected
    }

    /// The first record that may never have been on the disk, and where that begins which may not have been.
    pub(crate) fn proven(&self) -> (Sequence, usize) {
        (self.proven, self.proven_at)
    }

    /// How many records were found, and the checksum over theirs.
    pub(crate) fn sum(&self) -> (u32, RunningChecksum) {
        (self.count, self.sum)
    }

    /// How it ends; known when nothing more is found.
    pub(crate) fn tail(&self) -> Tail {
        self.tail.unwrap_or(Tail::Open)
    }

    /// What comes next, until it ends.
    pub(crate) fn next(&mut self) -> Option<Found<'b>> {
        while self.tail.is_none() {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some((header, body, own)) = whole_record(rest, self.salt) else {
                return self.step_over(Self::why(rest));
            };
            let at = self.at;
            if let Some(own) = own {
                if self.meets_own(own, header.sequence) {
                    self.at = at + header.frame_len();
                    if let Own::Seal { count, sum } = own {
                        return self.meets_seal(at, count, sum);
                    }
                    continue;
                }
                return self.step_over("records before it are missing");
            }
            if header.sequence > self.expected || self.is_beyond(header.sequence) {
                return self.step_over("records before it are missing");
            }
            self.at = at + header.frame_len();
            if header.sequence == self.expected {
                self.expected = header.sequence.next();
                self.count = self.count.saturating_add(1);
                self.sum.add(header.checksum);
                let frame = Frame { sequence: header.sequence, kind: header.kind, body };
                return Some(Found::Record { at, frame });
            }
        }
        None
    }

    fn is_beyond(&self, sequence: Sequence) -> bool {
        match self.bound {
            Bound::Next(next) => sequence >= next,
            Bound::Last => false,
        }
    }

    /// A record of the storage's own stands here. Says whether it can.
    fn meets_own(&mut self, own: Own, next: Sequence) -> bool {
        match own {
            Own::Gap if next >= self.expected && !self.is_beyond(next) => {
                self.expected = next;
                return true;
            }
            Own::Gap => return false,
            Own::Mark | Own::Seal { .. } if next != self.expected => return false,
            Own::Mark => {
                self.proven = next;
                // The mark itself was written after that.
                self.proven_at = self.at;
            }
            Own::Seal { .. } => self.tail = Some(Tail::Sealed),
        }
        true
    }

    /// Whether the seal is that of the records before it, and the next segment goes on where it ends.
    fn meets_seal(&mut self, at: usize, count: u32, sum: RunningChecksum) -> Option<Found<'b>> {
        let lost =
            |first, next, reason| Some(Found::Damage(Damage { at, len: 0, first, next, kind: None, reason }));
        let first = self.expected;
        match self.bound {
            Bound::Next(next) if next > first => {
                self.expected = next;
                lost(first, next, "segments are missing behind this one")
            }
            Bound::Next(_) | Bound::Last if !self.damaged && (count, sum) != (self.count, self.sum) => {
                lost(first, first, "the seal is not that of the records before it")
            }
            Bound::Next(_) | Bound::Last => None,
        }
    }

    fn why(rest: &[u8]) -> &'static str {
        match FrameHeader::parse(rest) {
            None => "no record begins here",
            Some(header) if header.frame_len() > rest.len() => {
                "the record goes on behind the end of the file"
            }
            Some(_) => "the checksum is not that of the record",
        }
    }

    /// What stands here does not belong here. Finds out what that means, and goes on behind it or ends.
    fn step_over(&mut self, reason: &'static str) -> Option<Found<'b>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let used = rest.len() - rest.iter().rev().take_while(|byte| **byte == 0).count();
        if let Some(tail) = self.tail_here(used) {
            self.tail = Some(tail);
            return None;
        }
        self.damaged = true;
        let (at, found) = (self.at, self.search(self.at, self.expected));
        let first = self.expected;
        self.expected = match (found, self.bound) {
            (Some((_, sequence)), _) => sequence,
            (None, Bound::Next(next)) => next,
            (None, Bound::Last) => self.proven_ahead(),
        };
        // Where nothing more is found, all that is not zero is the damage.
        self.at = found.map_or(at + used, |(at, _)| at);
        let claims = FrameHeader::parse(rest).filter(|header| header.sequence == first);
        Some(Found::Damage(Damage {
            at,
            len: self.at - at,
            first,
            next: self.expected,
            kind: claims.map(|header| header.kind).filter(|kind| (1..FIRST_RESERVED_KIND).contains(kind)),
            reason: if used == 0 { "records are missing" } else { reason },
        }))
    }

    /// How the segment ends, if it ends here: behind this only `used` bytes are not zero.
    fn tail_here(&mut self, used: usize) -> Option<Tail> {
        match self.bound {
            Bound::Next(next) => (self.expected >= next).then_some(Tail::Abandoned(used)),
            Bound::Last if used == 0 => Some(Tail::Open),
            Bound::Last => (self.proven_ahead() <= self.expected).then_some(Tail::Torn(used)),
        }
    }

    /// The highest mark from here on.
    fn proven_ahead(&mut self) -> Sequence {
        if let Some(proven) = self.proven_ahead {
            return proven.max(self.proven);
        }
        let (mut at, mut proven, mut expected) = (self.at, self.proven, self.expected);
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            match whole_record(rest, self.salt) {
                Some((header, _, own)) if self.is_plausible(header.sequence, expected) => {
                    if own == Some(Own::Mark) {
                        proven = proven.max(header.sequence);
                    }
                    expected = header.sequence;
                    at += header.frame_len();
                }
                _ => match self.search(at + 1, expected) {
                    Some((found, _)) => at = found,
                    None => break,
                },
            }
        }
        self.proven_ahead = Some(proven);
        proven
    }

    /// The next place from `from` on at which a whole record stands that can come behind what has been read, and the
    /// number of the broker's record that stands there or comes next.
    fn search(&mut self, from: usize, expected: Sequence) -> Option<(usize, Sequence)> {
        /// Zeros that a header can begin with: of length, checksum and number.
        const ZEROS: usize = 15;
        let mut at = from;
        loop {
            // Most of what is searched is zeros.
            let zeros = self.bytes.get(at..)?.iter().position(|byte| *byte != 0)?;
            at += zeros.saturating_sub(ZEROS);
            let rest = self.bytes.get(at..)?;
            if let Some(header) = FrameHeader::parse(rest)
                && self.is_plausible(header.sequence, expected)
                && header.frame_len() <= rest.len()
                && self.may_check(header.frame_len())
                && whole_record(rest, self.salt).is_some()
            {
                return Some((at, header.sequence));
            }
            at += 1;
        }
    }

    fn is_plausible(&self, sequence: Sequence, expected: Sequence) -> bool {
        sequence >= expected && !matches!(self.bound, Bound::Next(next) if sequence > next)
    }

    fn may_check(&mut self, len: usize) -> bool {
        if len <= SMALL {
            return true;
        }
        let left = self.effort.checked_sub(len);
        self.effort = left.unwrap_or(self.effort);
        left.is_some()
    }
}

/// The record that these bytes begin with, if it is whole and as it was written, and which of the storage's own it is.
fn whole_record(bytes: &[u8], salt: Salt) -> Option<(FrameHeader, &[u8], Option<Own>)> {
    let (header, body) = whole_frame(bytes, salt)?;
    let own = Own::parse(header.kind, body).ok()?;
    Some((header, body, own))
}

/// The number of the first record in a segment whose header is damaged, if a whole one can be found.
pub(crate) fn first_in(bytes: &[u8], salt: Salt) -> Option<Sequence> {
    Scan::new(bytes, salt, Sequence::FIRST, Bound::Last).search(0, Sequence::FIRST).map(|(_, first)| first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::record::Batch;
    use crate::storage::log::segment::SegmentHeader;

    const SALT: Salt = Salt(99);
    const FIRST: Sequence = Sequence::new(10);

    /// Segments are put together from pieces.
    struct Segment {
        bytes: Vec<u8>,
        next: Sequence,
        ends: Vec<usize>,
        sum: RunningChecksum,
    }

    impl Segment {
        fn new() -> Self {
            let bytes = SegmentHeader { salt: SALT, first: FIRST }.to_bytes().to_vec();
            Self { bytes, next: FIRST, ends: Vec::new(), sum: RunningChecksum::default() }
        }

        fn records(mut self, count: usize) -> Self {
            for _ in 0..count {
                let mut batch = Batch::new(self.next);
                batch.append(1, |body| body.extend_from_slice(&[7; 50]));
                batch.seal(|header, body| {
                    let checksum = SALT.checksum(&header, body);
                    self.sum.add(checksum);
                    checksum
                });
                self.bytes.extend_from_slice(batch.bytes());
                self.next = batch.next();
                self.ends.push(self.bytes.len());
            }
            self
        }

        fn own(mut self, own: Own) -> Self {
            self.bytes.extend(own.to_bytes(self.next, SALT));
            self
        }

        fn zeros(mut self) -> Self {
            self.bytes.extend([0; 5_000]);
            self
        }

        /// Damages the record with this index.
        fn damage(mut self, index: usize) -> Self {
            let end = self.ends[index];
            self.bytes[end - 5] ^= 1;
            self
        }

        #[track_caller]
        fn check(&self, bound: Bound, records: &[u64], damage: &[(u64, u64)], tail: Tail) {
            let mut scan = Scan::new(&self.bytes, SALT, FIRST, bound);
            let (mut found, mut lost) = (Vec::new(), Vec::new());
            while let Some(next) = scan.next() {
                match next {
                    Found::Record { frame, .. } => found.push(frame.sequence.number()),
                    Found::Damage(damage) => lost.push((damage.first.number(), damage.next.number())),
                }
            }
            assert_eq!((found.as_slice(), lost.as_slice(), scan.tail()), (records, damage, tail));
        }
    }

    fn next(number: u64) -> Bound {
        Bound::Next(Sequence::new(number))
    }

    #[test]
    fn zeros_behind_the_last_record_are_room() {
        Segment::new().check(Bound::Last, &[], &[], Tail::Open);
        Segment::new().records(3).check(Bound::Last, &[10, 11, 12], &[], Tail::Open);
        Segment::new().records(3).zeros().check(Bound::Last, &[10, 11, 12], &[], Tail::Open);
        Segment::new().own(Own::Mark).records(2).zeros().check(next(12), &[10, 11], &[], Tail::Abandoned(0));
    }

    #[test]
    fn in_the_last_segment_what_was_never_surely_on_the_disk_is_torn() {
        // 70 bytes for each record.
        Segment::new().records(4).damage(1).check(Bound::Last, &[10], &[], Tail::Torn(3 * 70));
        let seal = Own::Seal { count: 1, sum: RunningChecksum(u32::MAX) };
        Segment::new().records(2).damage(1).own(seal).zeros().check(Bound::Last, &[10], &[], Tail::Torn(98));
        let mut cut = Segment::new().records(2);
        cut.bytes.truncate(cut.bytes.len() - 1);
        cut.check(Bound::Last, &[10], &[], Tail::Torn(69));
    }

    #[test]
    fn what_was_on_the_disk_is_damaged_and_what_follows_is_read() {
        let segment = Segment::new().records(3).damage(1).own(Own::Mark).records(3);
        segment.check(Bound::Last, &[10, 12, 13, 14, 15], &[(11, 12)], Tail::Open);
        let both = Segment::new().records(3).damage(1).own(Own::Mark).records(3).damage(4);
        both.check(Bound::Last, &[10, 12, 13], &[(11, 12)], Tail::Torn(140));
        // With the mark in the midst of what is damaged, a later one proves the same.
        let mut later = Segment::new().records(3).own(Own::Mark).records(1).own(Own::Mark).records(1);
        let place = later.ends[1] + 60;
        later.bytes[place..place + 25].fill(0xFF);
        later.check(Bound::Last, &[10, 11, 13, 14], &[(12, 13)], Tail::Open);
    }

    #[test]
    fn before_another_segment_everything_was_on_the_disk() {
        Segment::new().records(3).damage(2).check(next(13), &[10, 11], &[(12, 13)], Tail::Abandoned(0));
        Segment::new().records(3).damage(0).check(next(13), &[11, 12], &[(10, 11)], Tail::Abandoned(0));
        Segment::new().records(2).zeros().check(next(15), &[10, 11], &[(12, 15)], Tail::Abandoned(0));
        let count = 3;
        let sealed = Segment::new().records(3);
        let seal = Own::Seal { count, sum: sealed.sum };
        sealed.own(seal).check(next(13), &[10, 11, 12], &[], Tail::Sealed);
    }

    #[test]
    fn of_a_segment_that_was_abandoned_the_end_does_not_count() {
        Segment::new().records(4).check(next(12), &[10, 11], &[], Tail::Abandoned(140));
        Segment::new().records(4).damage(2).check(next(12), &[10, 11], &[], Tail::Abandoned(140));
    }

    #[test]
    fn a_known_gap_is_no_damage() {
        let mut segment = Segment::new().records(1);
        segment.next = Sequence::new(20);
        segment.own(Own::Gap).records(2).check(next(22), &[10, 20, 21], &[], Tail::Abandoned(0));
    }

    #[test]
    fn a_record_in_the_body_of_a_damaged_one_is_not_found_without_the_salt() {
        let mut inner = Batch::new(Sequence::new(12));
        inner.append(1, |body| body.extend_from_slice(b"invented"));
        inner.seal(|header, body| Salt(0).checksum(&header, body));
        let mut batch = Batch::new(Sequence::new(12));
        batch.append(1, |body| body.extend_from_slice(inner.bytes()));
        batch.seal(|header, body| SALT.checksum(&header, body));
        let mut segment = Segment::new().records(2);
        let place = segment.bytes.len();
        segment.bytes.extend_from_slice(batch.bytes());
        segment.bytes[place] ^= 1;
        segment.next = batch.next();
        segment.records(1).check(next(14), &[10, 11, 13], &[(12, 13)], Tail::Abandoned(0));
    }

    #[test]
    fn what_is_lost_is_named_as_far_as_it_can_be() {
        let mut segment = Segment::new().records(3).damage(1);
        let damage = |segment: &Segment| {
            let mut scan = Scan::new(&segment.bytes, SALT, FIRST, next(13));
            loop {
                if let Found::Damage(damage) = scan.next().unwrap() {
                    return damage;
                }
            }
        };
        let found = damage(&segment);
        assert_eq!((found.at, found.len, found.kind), (segment.ends[0], 70, Some(1)));
        assert_eq!(found.reason, "the checksum is not that of the record");
        let place = segment.ends[0];
        segment.bytes[place..place + 20].fill(0xEE);
        let found = damage(&segment);
        assert_eq!((found.at, found.len, found.kind), (segment.ends[0], 70, None));
        assert_eq!(found.reason, "no record begins here");
    }
}
