//! What the log needs of a file system, so that simulations can put a bad one under it.

use std::io;
use std::path::PathBuf;

/// What is done with a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is read.
    Read,
    /// It is read and written.
    Write,
}

/// A directory and the files in it.
pub trait Directory {
    /// An open file.
    type File: File + Send + Sync + 'static;

    /// Where a file is, for who reads about it.
    fn path_of(&self, name: &str) -> PathBuf;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet. That it is there outlives a loss of power only after [`Self::sync`].
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file.
    fn open(&self, name: &str, access: Access) -> io::Result<Self::File>;

    /// Removes a file; for good only after [`Self::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, which no file has; for good only after [`Self::sync`]. After a loss of power it has
    /// one of the two.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes durable which files there are.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that can still be written, where that is known.
    fn free_space(&self) -> io::Result<Option<u64>>;
}

/// An open file.
pub trait File {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from an offset, and says how many bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset, and says how many bytes were taken.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Returns when what was written is on the disk.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or makes it longer by zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Sees to it that the file can become so long without the disk being full before. Its length stays as it is.
    /// Where the file system cannot do that, nothing happens.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Reads as much as fits into the buffer or is there, and says how much.
    fn read_fully(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset.saturating_add(length(read))) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Writes all of it.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    offset = offset.saturating_add(length(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A length in memory as one in a file.
pub(crate) fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
