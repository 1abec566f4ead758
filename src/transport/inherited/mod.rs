//! Sockets that were opened for us before we were started: socket activation, where there is such a thing.

#[cfg(not(unix))]
mod nothing;
#[cfg(unix)]
mod systemd;

use std::io;

#[cfg(not(unix))]
pub use nothing::Inherited;
#[cfg(unix)]
pub use systemd::Inherited;

/// Why a socket is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// What the environment says about them makes no sense.
    #[error("LISTEN_PID and LISTEN_FDS, which say that sockets were passed on, are not numbers")]
    Environment,
    /// Its name does not say what for.
    #[error(
        "a socket was passed on with the name {0:?}: expected tcp, tls, ws, wss, quic or unix (FileDescriptorName= in the \
         socket unit)"
    )]
    Name(String),
    /// It is none that listens, or not of that kind.
    #[error("the socket that was passed on with the name {name:?} cannot be listened on: {source}")]
    Socket {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

fn not_there() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such socket was passed on")
}
