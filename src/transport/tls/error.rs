//! What can be wrong with the files of TLS.

use std::io;
use std::path::{Path, PathBuf};

/// Why a certificate, a key or a revocation list cannot be used. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: the file cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A part of a file is not what it should be.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where the part begins, counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {message}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The parts cannot be made to work together.
    #[error("TLS cannot be set up: {0}")]
    SetUp(String),
}

impl TlsError {
    pub(super) fn invalid(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), line, message: message.into() }
    }

    pub(super) fn unfit(path: &Path, message: impl Into<String>) -> Self {
        Self::Unfit { path: path.to_owned(), message: message.into() }
    }
}
