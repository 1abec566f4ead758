//! Unix stream sockets.

#[cfg(not(unix))]
mod absent;
#[cfg(unix)]
mod socket;

use std::fmt;

#[cfg(not(unix))]
pub use absent::{OwnedUnixListener, UnixStream};
#[cfg(unix)]
pub use socket::{OwnedUnixListener, UnixStream};

/// Who may connect to a Unix socket, where it is not left to the umask and to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnixAccess {
    /// The permissions of its file.
    pub mode: Option<u32>,
    /// The user that owns it.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

/// The process at the other end of a Unix socket, as of when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProcess {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its identifier, where the system tells it.
    pub pid: Option<i32>,
}

impl fmt::Display for PeerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid={},gid={}", self.uid, self.gid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, ",pid={pid}"))
    }
}
