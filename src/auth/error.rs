//! What can be wrong with an auth file.

use std::io;
use std::path::PathBuf;

/// Why there is no answer to who may do what. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error("{}: the auth file cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file can be read, but does not say what it should.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The broker is to let everybody in, but there is a file that says who may come in.
    #[error(
        "--allow-anonymous lets everybody do everything, but the auth file {} says who may do what: leave the option \
         out (a user of method \"anonymous\" in the file admits clients without credentials) or move the file away",
        path.display()
    )]
    Contradiction {
        /// The file.
        path: PathBuf,
    },
}
