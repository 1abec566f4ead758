//! Listeners of all kinds, as one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::unix::OwnedUnixListener;
use super::websocket::Upgrade;
use super::{ListenerConfig, Peer, SocketOptions, tcp};

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
    /// WebSocket over TCP.
    WebSocket {
        /// The listener for TCP.
        listener: TcpListener,
        /// How its connections are set up.
        socket: SocketOptions,
        /// What makes each a WebSocket.
        upgrade: Upgrade,
    },
    /// A Unix stream socket.
    Unix(OwnedUnixListener),
}

/// A connection that has been accepted, and whose it is. Its handshake, where its kind has one, is still to be
/// performed.
#[derive(Debug)]
pub enum Accepted {
    /// Plain TCP.
    Tcp(TcpStream, Peer),
    /// TCP that is still to become a WebSocket.
    WebSocket(TcpStream, Peer, Upgrade),
    /// A Unix stream socket.
    Unix(UnixStream, Peer),
}

/// Where a listener listens, in fact: with the port that was taken where any would do.
///
/// Written as the transport and the address: `tcp 127.0.0.1:1883`, `unix /run/mqtt.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    /// Plain TCP.
    Tcp(SocketAddr),
    /// WebSocket over TCP.
    WebSocket(SocketAddr),
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
            ListenerConfig::WebSocket { address, socket, options } => Ok(Self::WebSocket {
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
                upgrade: Upgrade::new(options.clone()),
            }),
            ListenerConfig::Unix { path } => OwnedUnixListener::bind(path).map(Self::Unix),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<BoundAddress> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr().map(BoundAddress::Tcp),
            Self::WebSocket { listener, .. } => listener.local_addr().map(BoundAddress::WebSocket),
            Self::Unix(listener) => Ok(BoundAddress::Unix(listener.path().to_owned())),
        }
    }

    /// The next connection. Nothing is lost when the future is dropped.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp { listener, socket } => {
                let (stream, address) = listener.accept().await?;
                tcp::set_up(&stream, socket)?;
                Ok(Accepted::Tcp(stream, Peer::new("tcp", Some(address))))
            }
            Self::WebSocket { listener, socket, upgrade } => {
                let (stream, address) = listener.accept().await?;
                tcp::set_up(&stream, socket)?;
                Ok(Accepted::WebSocket(stream, Peer::new("ws", Some(address)), upgrade.clone()))
            }
            Self::Unix(listener) => {
                let stream = listener.accept().await?;
                Ok(Accepted::Unix(stream, Peer::new("unix", None)))
            }
        }
    }
}

impl Accepted {
    /// The other end, as far as it is known before the handshake.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Tcp(_, peer) | Self::WebSocket(_, peer, _) | Self::Unix(_, peer) => peer,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::WebSocket(address) => write!(f, "ws {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}
