//! Looking through a log without changing a byte of it.

use super::recovery::{Cut, Damaged};
use super::scan::{Bound, Damage, Found, Scan, Tail};
use super::segment::SEGMENT_HEADER_LEN;
use super::survey::{Contents, Part, Survey};
use crate::broker::record::{Frame, Sequence};
use crate::storage::StorageError;
use crate::storage::checksum::Salt;
use crate::storage::directory::{Directory, length};

/// What is seen.
#[derive(Debug)]
pub(crate) enum Seen<'s> {
    /// Another segment.
    Segment { bytes: u64 },
    /// A record.
    Record { file: &'s str, offset: u64, frame: Frame<'s> },
    /// Something that is damaged.
    Damaged(Damaged),
    /// The end of the log, which a crash has left half written. A start cuts it off.
    Torn(Cut),
    /// What was written again elsewhere, after writing it here had failed.
    Superseded { bytes: u64 },
}

/// Shows everything that is in a directory, in the order in which a start finds it, and says the number that the next
/// record would have. Ends at the first error that `see` returns.
pub(crate) fn inspect<E: From<StorageError>>(
    directory: &impl Directory,
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
) -> Result<Sequence, E> {
    let survey = Survey::of(directory)?;
    let mut next = Sequence::FIRST;
    for (index, part) in survey.parts.iter().enumerate() {
        let contents = Contents::of_any(directory, &part.name);
        see(Seen::Segment { bytes: length(contents.bytes.len()) })?;
        match (part.first, survey.salt) {
            (Some(first), Some(salt)) => {
                next = inspect_segment(part, (first, next), survey.bound(index), salt, &contents, see)?;
            }
            _ if contents.is_unused() => {}
            _ => see(Seen::Damaged(Damaged::new(&part.name, &Damage::of_all(&contents, next), &contents)))?,
        }
    }
    Ok(next)
}

fn inspect_segment<E>(
    part: &Part,
    (first, next): (Sequence, Sequence),
    bound: Bound,
    salt: Salt,
    contents: &Contents,
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
) -> Result<Sequence, E> {
    if !part.has_header {
        see(Seen::Damaged(Damaged::new(&part.name, &Damage::of_header(first), contents)))?;
    }
    let mut scan = Scan::new(&contents.bytes, salt, first.max(next), bound);
    while let Some(found) = scan.next() {
        see(match found {
            Found::Record { at, frame } => Seen::Record { file: &part.name, offset: length(at), frame },
            Found::Damage(damage) => Seen::Damaged(Damaged::new(&part.name, &damage, contents)),
        })?;
    }
    match scan.tail() {
        Tail::Torn(bytes) => {
            let (file, offset) = (part.name.clone(), length(scan.end()));
            see(Seen::Torn(Cut { file, offset, bytes: length(bytes) }))?;
        }
        Tail::Abandoned(bytes) if bytes > 0 => see(Seen::Superseded { bytes: length(bytes) })?,
        Tail::Open | Tail::Sealed | Tail::Abandoned(_) => {}
    }
    Ok(scan.next_sequence())
}

impl Contents {
    /// Whether nothing was ever written to the segment: records follow only when the header is on the disk.
    pub(super) fn is_unused(&self) -> bool {
        self.unreadable.is_empty()
            && (self.bytes.len() <= SEGMENT_HEADER_LEN || self.bytes.iter().all(|byte| *byte == 0))
    }
}

impl Damage {
    /// A segment in which nothing can be found.
    pub(super) fn of_all(contents: &Contents, next: Sequence) -> Self {
        let (len, reason) = (contents.bytes.len(), "there is no record in the segment");
        Self { at: 0, len, first: next, next, kind: None, reason }
    }

    /// The header of a segment whose first record is this.
    pub(super) const fn of_header(first: Sequence) -> Self {
        let reason = "the header of the segment is damaged";
        Self { at: 0, len: SEGMENT_HEADER_LEN, first, next: first, kind: None, reason }
    }
}
