//! What a token says, by an auth file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::auth::AuthError;
use crate::auth::file::AuthFile;
use crate::auth::jwt::{Bearer, TokenVerifier};
use crate::broker::Grants;

/// Reads tokens as a broker with a certain auth file would.
pub struct TokenReader(TokenVerifier);

impl TokenReader {
    /// By the file at this path; `None` if that takes no tokens.
    pub fn open(path: &Path) -> Result<Option<Self>, AuthError> {
        Ok(AuthFile::read(path)?.tokens.map(Self))
    }

    /// Whose token it is and what it grants, if it is valid at `now`; otherwise why not.
    pub fn read(&self, token: &[u8], now: SystemTime) -> Result<(Arc<str>, Grants), String> {
        self.0.verify(token, now).map(|Bearer { user, grants, .. }| (user, grants))
    }
}

impl fmt::Debug for TokenReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReader").finish_non_exhaustive()
    }
}
