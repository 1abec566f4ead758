//! Records on disk.
//!
//! The broker's core says in records what must survive a restart ([`crate::broker::record`]); here they are written, one
//! behind the other, into the files of a [`Log`], and read again at the next start. Nothing here knows what is in a
//! record.
//!
//! [`Log`] does what it is told, when it is told, on a [`Directory`]: the real one ([`DiskDirectory`]), or one that
//! loses and damages what it is given ([`faulty`]). A thread ([`Storage`]) drives it for the broker: it writes together
//! what came together, and says when it is kept.

mod checksum;
pub mod command;
pub mod counters;
pub mod directory;
mod disk;
pub mod faulty;
pub mod log;
#[cfg(test)]
mod testing;
pub mod thread;

use std::io;
use std::path::PathBuf;

pub use directory::Directory;
pub use disk::DiskDirectory;
pub use log::Log;
pub use thread::{Event, Room, Storage, StorageHandle, StorageSettings};

/// Why a data directory cannot be used. Damage is no reason.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// It cannot be made, listed or locked.
    #[error("the data directory {path} cannot be used: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is something by its name that is no directory.
    #[error("the data directory {path} is a file; there has to be a directory, or nothing by that name yet")]
    NoDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// Somebody else uses it.
    #[error("the data directory {path} is in use: a broker runs on it, or a command looks into it")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A later version has written it.
    #[error("{file} has format {version}, and this version knows formats up to {known}",
        known = log::FORMAT_VERSION)]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Its files cannot be listed.
    #[error("the data directory cannot be read: {0}")]
    Unreadable(io::Error),
    /// One of its files is there, and whoever asks for it is not let at it. That is no damage: nothing is lost, unless
    /// one goes on without it.
    #[error("{file} cannot be opened: {source}")]
    Unopenable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why something could not be written. It may be possible later.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no room: the disk is full, or all is used that may be.
    #[error("there is no room: {0}")]
    Full(String),
    /// The disk or the file system does not do what it has to.
    #[error("{0}")]
    Failing(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full(error.to_string())
        } else {
            Self::Failing(error)
        }
    }
}
