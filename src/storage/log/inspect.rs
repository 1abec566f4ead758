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
    /// What is wrong with the file that says which format the directory has. What it says, the segments say as well.
    Format(&'static str),
    /// Another segment.
    Segment { bytes: u64 },
    /// A record.
    Record { file: &'s str, offset: u64, frame: Frame<'s> },
    /// Something that is damaged.
    Damaged(Damaged),
    /// The end of the log, which a crash has left half written. A start cuts it off.
    Torn(Cut),
    /// Bytes at the end of a segment that do not count, as the one named behind it begins with the record that is next
    /// here. So it is where writing failed, and was done again elsewhere; or where the other is a copy of an old one.
    Superseded { file: &'s str, offset: u64, bytes: u64, by: &'s str },
}

/// Shows everything that is in a directory, in the order in which a start finds it, and says the number that the next
/// record would have. Ends at the first error that `see` returns.
pub(crate) fn inspect<E: From<StorageError>>(
    directory: &impl Directory,
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
) -> Result<Sequence, E> {
    let survey = Survey::of(directory)?;
    if let Some(trouble) = survey.format.trouble() {
        see(Seen::Format(trouble))?;
    }
    for stray in &survey.strays {
        see(Seen::Damaged(Damaged::stray(stray)))?;
    }
    let mut next = Sequence::FIRST;
    for (index, part) in survey.parts.iter().enumerate() {
        let contents = Contents::of_any(directory, &part.name)?;
        see(Seen::Segment { bytes: length(contents.bytes.len()) })?;
        match (part.first, survey.salt) {
            (Some(first), Some(salt)) => {
                let (bound, by) = (survey.bound(index), survey.behind(index));
                next = inspect_segment((part, by), (first, next), bound, salt, &contents, see)?;
            }
            _ if contents.is_unused() => {}
            _ => see(Seen::Damaged(Damaged::new(&part.name, &Damage::of_all(&contents, next), &contents)))?,
        }
    }
    Ok(next)
}

fn inspect_segment<E>(
    (part, by): (&Part, &str),
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
        Tail::Abandoned(bytes) if bytes > 0 => {
            let (offset, bytes) = (length(scan.end()), length(bytes));
            see(Seen::Superseded { file: &part.name, offset, bytes, by })?;
        }
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
