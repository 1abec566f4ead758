//! What can be done with auth files without serving anybody: `mqtt-broker auth …`.

mod explain;
mod hash;
mod token;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use explain::{Explain, Question};
pub use hash::{Hash, HashMethod};
pub use token::TokenReader;

use super::AuthError;
use super::file::AuthFile;
use crate::broker::Policy;

/// Something to do with auth files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthCommand {
    /// Say whether a file is as it should be.
    Check(PathBuf),
    /// Say which rule decides.
    Explain(Explain),
    /// Make an entry for a user.
    Hash(Hash),
}

/// How a command that could do its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All is well; what was asked about is allowed.
    Yes,
    /// What was asked about is denied.
    No,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The auth file is not as it should be.
    #[error(transparent)]
    File(#[from] AuthError),
    /// What was asked does not make sense.
    #[error("{0}")]
    Question(String),
    /// Something could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Whether these bytes are an auth file as it should be; `path` names it in errors, and the key files that it names are
/// looked for beside it.
pub fn check(bytes: &[u8], path: &Path) -> Result<(), AuthError> {
    AuthFile::parse(bytes, path).map(drop)
}

impl AuthCommand {
    /// Does it. What it has to say goes to `out`; what only helps whoever sits there goes to `notes`.
    pub fn run(self, out: &mut dyn Write, notes: &mut dyn Write) -> Result<Answer, CommandError> {
        match self {
            Self::Check(path) => {
                let file = AuthFile::read(&path)?;
                for warning in &file.warnings {
                    writeln!(notes, "warning: {}: {warning}", path.display())?;
                }
                writeln!(out, "{}: {}", path.display(), Summary(&file))?;
                Ok(Answer::Yes)
            }
            Self::Explain(explain) => explain.run(out),
            Self::Hash(hash) => hash.run(out),
        }
    }
}

/// How much a file says, in a few words.
struct Summary<'f>(&'f AuthFile);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuthFile { accounts, policy, groups, .. } = self.0;
        let rules = match policy {
            Policy::AllowAll => 0,
            Policy::Rules { rules, .. } => rules.len(),
        };
        write!(f, "fine (users: {}, groups: {groups}, rules: {rules})", accounts.names().len())
    }
}
