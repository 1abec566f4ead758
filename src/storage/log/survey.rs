//! What is in a data directory, before anything is done with it.

use std::io;
use std::ops::Range;

use super::scan::{Bound, first_in};
use super::segment::{NoHeader, SEGMENT_HEADER_LEN, SegmentHeader, file_name, is_unfinished, number_of};
use crate::broker::record::Sequence;
use crate::storage::StorageError;
use crate::storage::checksum::Salt;
use crate::storage::directory::{Access, Directory, File, length};

/// The name of the file that says which format the directory has. It holds the header of a segment whose first record
/// is 0: should the header of the only segment be damaged, its salt is still known.
pub(crate) const FORMAT_FILE: &str = "format";

/// Bytes that are read at once where a larger read has failed.
const BLOCK: usize = 4 << 10;

/// The segments of a directory, as far as can be said without reading them.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The salt, unless nothing is there that says it.
    pub(crate) salt: Option<Salt>,
    /// Whether the file that says which format it is says so.
    pub(crate) has_format: bool,
    /// All segments, oldest first.
    pub(crate) parts: Vec<Part>,
    /// Names of segments that were not finished.
    pub(crate) unfinished: Vec<String>,
}

/// A segment, as far as can be said without reading it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) name: String,
    /// The record that it begins with, if it holds any.
    pub(crate) first: Option<Sequence>,
    /// Whether its header says that.
    pub(crate) has_header: bool,
}

/// All bytes of a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    /// Where zeros stand for what could not be read, and why.
    pub(crate) unreadable: Vec<(Range<usize>, String)>,
}

impl Survey {
    /// Looks at a directory.
    pub(crate) fn of(directory: &impl Directory) -> Result<Self, StorageError> {
        let names = directory.list().map_err(StorageError::Unreadable)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        let format = header_of(directory, FORMAT_FILE)?;
        let mut parts = Vec::with_capacity(numbers.len());
        let mut salt = format.map(|header| header.salt);
        for number in numbers {
            let name = file_name(number);
            let header = header_of(directory, &name)?;
            salt = salt.or_else(|| header.map(|header| header.salt));
            let first = header.map(|header| header.first);
            parts.push(Part { number, name, first, has_header: header.is_some() });
        }
        if let Some(salt) = salt {
            for part in parts.iter_mut().filter(|part| part.first.is_none()) {
                let contents = Contents::of_any(directory, &part.name);
                part.first = first_in(&contents.bytes, salt);
            }
        }
        let unfinished = names.into_iter().filter(|name| is_unfinished(name)).collect();
        Ok(Self { salt, has_format: format.is_some(), parts, unfinished })
    }

    /// Where the segment with this index has to end.
    pub(crate) fn bound(&self, index: usize) -> Bound {
        let behind = self.parts.get(index + 1..).unwrap_or_default();
        behind.iter().find_map(|part| part.first).map_or(Bound::Last, Bound::Next)
    }
}

/// The header of a file, if it has one that can be read.
fn header_of(directory: &impl Directory, name: &str) -> Result<Option<SegmentHeader>, StorageError> {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    let read = directory.open(name, Access::Read).and_then(|file| file.read_fully(&mut bytes, 0));
    match SegmentHeader::parse(&bytes) {
        Ok(header) if read.is_ok() => Ok(Some(header)),
        Ok(_) | Err(NoHeader::Damaged) => Ok(None),
        Err(NoHeader::Newer(version)) => Err(StorageError::Newer { file: name.to_owned(), version }),
    }
}

impl Contents {
    /// Reads a file. What of it cannot be read is zero, or not there.
    pub(crate) fn of_any(directory: &impl Directory, name: &str) -> Self {
        let mut contents = Self::default();
        contents.read_any(directory, name);
        contents
    }

    /// The same, into the memory that another file took.
    pub(crate) fn read_any(&mut self, directory: &impl Directory, name: &str) {
        self.unreadable.clear();
        let read = directory.open(name, Access::Read).and_then(|file| self.read(&file));
        if let Err(error) = read {
            self.bytes.clear();
            self.unreadable = vec![(0..1, error.to_string())];
        }
    }

    fn read(&mut self, file: &impl File) -> io::Result<()> {
        self.bytes.clear();
        self.bytes.resize(usize::try_from(file.len()?).map_err(io::Error::other)?, 0);
        if file.read_fully(&mut self.bytes, 0).is_ok() {
            return Ok(());
        }
        // In blocks, of which only some cannot be read.
        let mut at = 0;
        for block in self.bytes.chunks_mut(BLOCK) {
            let range = at..at + block.len();
            at = range.end;
            if let Err(error) = file.read_fully(block, length(range.start)) {
                block.fill(0);
                self.unreadable.push((range, error.to_string()));
            }
        }
        Ok(())
    }

    /// Why some of these bytes could not be read, if so.
    pub(crate) fn why_unreadable(&self, range: &Range<usize>) -> Option<&str> {
        let touches =
            |other: &Range<usize>| range.start < other.end && other.start < range.end.max(range.start + 1);
        self.unreadable.iter().find(|(other, _)| touches(other)).map(|(_, why)| why.as_str())
    }
}
