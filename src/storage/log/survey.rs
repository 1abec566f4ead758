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
    /// What the file says that says which format it is.
    pub(crate) format: FormatFile,
    /// All segments, oldest first.
    pub(crate) parts: Vec<Part>,
    /// Segments that are no part of the log: they begin before those that were made before them do, and those behind them
    /// do not. Nothing of ours writes that; it is what a copy of an old segment under a new name looks like.
    pub(crate) strays: Vec<Part>,
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

/// The file that says which format a directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormatFile {
    /// It says so.
    Sound,
    /// It is not there, and nothing else is: the directory is new.
    New,
    /// It is not there, and segments are.
    Missing,
    /// It is there and says nothing that makes sense, and segments are there that do.
    Damaged,
}

impl FormatFile {
    /// What is wrong with it.
    pub(crate) const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Sound | Self::New => None,
            Self::Missing => Some("the file `format` is missing"),
            Self::Damaged => Some("the file `format` is damaged"),
        }
    }
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
        let has_format_file = names.iter().any(|name| name == FORMAT_FILE);
        let format = if has_format_file { header_of(directory, FORMAT_FILE)? } else { None };
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
                let contents = Contents::of_any(directory, &part.name)?;
                part.first = first_in(&contents.bytes, salt);
            }
        }
        let unfinished = names.into_iter().filter(|name| is_unfinished(name)).collect();
        let format = match format {
            Some(_) => FormatFile::Sound,
            // A crash may leave it half written before there is anything else.
            None if parts.is_empty() => FormatFile::New,
            None if has_format_file => FormatFile::Damaged,
            None => FormatFile::Missing,
        };
        let strays = take_strays(&mut parts);
        Ok(Self { salt, format, parts, strays, unfinished })
    }

    /// Where the segment with this index has to end.
    pub(crate) fn bound(&self, index: usize) -> Bound {
        self.next_to(index).and_then(|part| part.first).map_or(Bound::Last, Bound::Next)
    }

    /// The name of the file that says so.
    pub(crate) fn behind(&self, index: usize) -> &str {
        self.next_to(index).map_or("", |part| &part.name)
    }

    fn next_to(&self, index: usize) -> Option<&Part> {
        self.parts.get(index + 1..).unwrap_or_default().iter().find(|part| part.first.is_some())
    }
}

/// Takes out what is no part of the log.
fn take_strays(parts: &mut Vec<Part>) -> Vec<Part> {
    let mut strays = Vec::new();
    let mut highest = Sequence::FIRST;
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        let mut behind = parts.get(at + 1..).unwrap_or_default().iter().filter_map(|part| part.first);
        let goes_on = behind.next().is_none_or(|next| next >= highest);
        if part.first.is_some_and(|first| first < highest) && goes_on {
            strays.push(parts.remove(at));
            continue;
        }
        highest = part.first.unwrap_or(highest);
        at += 1;
    }
    strays
}

/// Opens a file that is there. The outer error is one that goes away when somebody lets us at the file: to go on without
/// it would lose what is in it. The inner one is the disk's.
pub(crate) fn open<D: Directory>(
    directory: &D,
    name: &str,
    access: Access,
) -> Result<io::Result<D::File>, StorageError> {
    match directory.open(name, access) {
        Err(source) if is_refusal(&source) => {
            Err(StorageError::Unopenable { file: directory.path_of(name), source })
        }
        opened => Ok(opened),
    }
}

/// Whether this error is none of the disk's: who we are, how the file system is mounted or how much we have open is.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, OutOfMemory, PermissionDenied, ReadOnlyFilesystem};
    #[cfg(unix)]
    if let Some(code) = error.raw_os_error() {
        use nix::errno::Errno;
        let errno = Errno::from_raw(code);
        if [Errno::EMFILE, Errno::ENFILE, Errno::ELOOP].contains(&errno) {
            return true;
        }
    }
    // It was there a moment ago: it is a link to a file that is elsewhere.
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | OutOfMemory | NotFound)
}

/// The header of a file, if it has one that can be read.
fn header_of(directory: &impl Directory, name: &str) -> Result<Option<SegmentHeader>, StorageError> {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    let file = open(directory, name, Access::Read)?;
    let read = file.and_then(|file| file.read_fully(&mut bytes, 0));
    match SegmentHeader::parse(&bytes) {
        Ok(header) if read.is_ok() => Ok(Some(header)),
        Ok(_) | Err(NoHeader::Damaged) => Ok(None),
        Err(NoHeader::Newer(version)) => Err(StorageError::Newer { file: directory.path_of(name), version }),
    }
}

impl Contents {
    /// Reads a file. What of it the disk cannot read is zero, or not there.
    pub(crate) fn of_any(directory: &impl Directory, name: &str) -> Result<Self, StorageError> {
        let mut contents = Self::default();
        contents.read_any(directory, name)?;
        Ok(contents)
    }

    /// The same, into the memory that another file took.
    pub(crate) fn read_any(&mut self, directory: &impl Directory, name: &str) -> Result<(), StorageError> {
        self.unreadable.clear();
        let read = match open(directory, name, Access::Read)? {
            Ok(file) => self.read(&file),
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            self.bytes.clear();
            self.unreadable = vec![(0..1, error.to_string())];
        }
        Ok(())
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
