//! Bytes: where connections come from.

mod handshake;
mod inherited;
mod listener;
pub mod proxy;
pub mod quic;
mod tcp;
pub mod tls;
mod unfinished;
mod unix;
pub mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use handshake::{Handshake, HandshakeError, Plain, Then};
pub use inherited::{InheritError, Inherited};
pub use listener::{Accepted, BoundAddress, Listener};
pub use unfinished::{TooMuch, UnfinishedPackets, UnfinishedPart};
pub use unix::{OwnedUnixListener, PeerProcess, UnixAccess, UnixStream};
pub use websocket::WebSocketOptions;

use quic::QuicSettings;

/// Connections that the system may hold ready until they are accepted.
const BACKLOG: i32 = 1_024;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerConfig {
    /// Plain TCP.
    Tcp {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// How its sockets are set up.
        socket: SocketOptions,
    },
    /// TLS over TCP.
    Tls {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// How its sockets are set up.
        socket: SocketOptions,
    },
    /// WebSocket over TCP.
    WebSocket {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// How its sockets are set up.
        socket: SocketOptions,
        /// Which requests are taken.
        options: WebSocketOptions,
    },
    /// WebSocket over TLS over TCP.
    WebSocketTls {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// How its sockets are set up.
        socket: SocketOptions,
        /// Which requests are taken.
        options: WebSocketOptions,
    },
    /// QUIC over UDP.
    Quic {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// How its socket is set up, which all its connections share; what concerns TCP only is of no effect.
        socket: SocketOptions,
        /// How QUIC is spoken.
        settings: QuicSettings,
    },
    /// A socket that was opened before this process was started.
    Inherited {
        /// Which, of those in [`Inherited`].
        index: usize,
        /// What for.
        transport: Transport,
        /// How its sockets are set up, if it is one of TCP.
        socket: SocketOptions,
        /// Which requests are taken, if it is for WebSocket.
        options: WebSocketOptions,
        /// How QUIC is spoken, if it is for QUIC.
        settings: QuicSettings,
    },
    /// A Unix stream socket.
    Unix {
        /// The file of the socket.
        path: PathBuf,
        /// Who may connect.
        access: UnixAccess,
    },
}

/// How sockets are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NODELAY`.
    pub no_delay: bool,
    /// `SO_SNDBUF` in bytes; `None`: the system's.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes; `None`: the system's.
    pub receive_buffer: Option<usize>,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_KEEPALIVE` with this idle time; `None`: off.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { no_delay: true, send_buffer: None, receive_buffer: None, reuse_port: false, keepalive: None }
    }
}

impl fmt::Display for ListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => write!(f, "tcp {address}"),
            Self::Tls { address, .. } => write!(f, "tls {address}"),
            Self::WebSocket { address, .. } => write!(f, "ws {address}"),
            Self::WebSocketTls { address, .. } => write!(f, "wss {address}"),
            Self::Quic { address, .. } => write!(f, "quic {address}"),
            Self::Inherited { index, transport, .. } => write!(f, "{transport} socket {index}, as passed on"),
            Self::Unix { path, .. } => write!(f, "unix {}", path.display()),
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// How it is connected.
    pub transport: Transport,
    /// Its address, where it has one.
    pub address: Option<SocketAddr>,
    /// Its process, where it is one of this host and the system tells.
    pub process: Option<PeerProcess>,
    /// Who it is according to its certificate, where it has shown one that was verified and that says so.
    pub certificate: Option<Arc<str>>,
    /// The name by which it called this server, where it did.
    pub server_name: Option<Arc<str>>,
}

impl Peer {
    /// A peer of which no more is known.
    pub const fn new(transport: Transport, address: Option<SocketAddr>) -> Self {
        Self { transport, address, process: None, certificate: None, server_name: None }
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS over TCP.
    WebSocketTls,
    /// QUIC over UDP.
    Quic,
    /// A Unix stream socket.
    Unix,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::Quic => "quic",
            Self::Unix => "unix",
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.transport;
        match (self.address, self.process) {
            (Some(address), _) => write!(f, "{transport}:{address}"),
            (None, Some(process)) => write!(f, "{transport}:{process}"),
            (None, None) => fmt::Display::fmt(&transport, f),
        }
    }
}
