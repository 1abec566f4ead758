//! Unix sockets, on systems that have none: they cannot be listened on, and so nothing ever comes.

#![expect(clippy::unused_async, reason = "elsewhere it is waited for")]

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{PeerProcess, UnixAccess};

/// A listener that there is none of.
#[derive(Debug)]
pub struct OwnedUnixListener(Infallible);

/// A connection that there is none of.
#[derive(Debug)]
pub struct UnixStream(Infallible);

impl OwnedUnixListener {
    pub(in crate::transport) fn bind(_path: &Path, _access: UnixAccess) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
    }

    pub(in crate::transport) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(in crate::transport) async fn accept(&self) -> io::Result<UnixStream> {
        match self.0 {}
    }
}

impl PeerProcess {
    pub(in crate::transport) fn of(stream: &UnixStream) -> Option<Self> {
        match stream.0 {}
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, _bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
