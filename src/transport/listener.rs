//! Listeners of all kinds, as one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::unix::OwnedUnixListener;
use super::{ListenerConfig, Peer, SocketOptions, Transport, tcp};

/// Somewhere connections come from.
#[derive(Debug)]
pub enum Listener {
    /// Plain TCP.
    Tcp {
        /// The listener itself.
        listener: TcpListener,
        /// How its connections are set up.
        socket: SocketOptions,
    },
    /// A Unix stream socket.
    Unix(OwnedUnixListener),
}

/// A connection that has been accepted.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

/// Where a listener listens, in fact: with the port that was taken where any would do.
///
/// Written as the transport and the address: `tcp 127.0.0.1:1883`, `unix /run/mqtt.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    /// Plain TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Listener {
    /// Begins to listen. To be called within the runtime.
    pub fn bind(config: &ListenerConfig) -> io::Result<Self> {
        match config {
            ListenerConfig::Tcp { address, socket } => {
                Ok(Self::Tcp { listener: tcp::bind(*address, socket)?, socket: socket.clone() })
            }
            ListenerConfig::Unix { path } => OwnedUnixListener::bind(path).map(Self::Unix),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<BoundAddress> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr().map(BoundAddress::Tcp),
            Self::Unix(listener) => Ok(BoundAddress::Unix(listener.path().to_owned())),
        }
    }

    /// The next connection. Nothing is lost when the future is dropped.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp { listener, socket } => {
                let (stream, address) = listener.accept().await?;
                tcp::set_up(&stream, socket)?;
                Ok((Stream::Tcp(stream), Peer { transport: Transport::Tcp, address: Some(address) }))
            }
            Self::Unix(listener) => {
                let stream = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer { transport: Transport::Unix, address: None }))
            }
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}
