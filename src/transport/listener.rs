//! Listeners of all kinds, as one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::inherited::Inherited;
use super::tls::{Application, Tls, TlsLayer};
use super::unix::{OwnedUnixListener, PeerProcess};
use super::websocket::Upgrade;
use super::{ListenerConfig, Peer, SocketOptions, Then, Transport, tcp};

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
    /// TLS over TCP.
    Tls {
        /// The listener itself.
        listener: TcpListener,
        /// How its connections are set up.
        socket: SocketOptions,
        /// What its connections open.
        layer: TlsLayer,
    },
    /// WebSocket over TCP.
    WebSocket {
        /// The listener itself.
        listener: TcpListener,
        /// How its connections are set up.
        socket: SocketOptions,
        /// What its connections begin with.
        upgrade: Upgrade,
    },
    /// WebSocket over TLS over TCP.
    WebSocketTls {
        /// The listener itself.
        listener: TcpListener,
        /// How its connections are set up.
        socket: SocketOptions,
        /// What its connections open, and begin with then.
        layers: Then<TlsLayer, Upgrade>,
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
    /// TLS over TCP.
    Tls(TcpStream, Peer, TlsLayer),
    /// WebSocket over TCP.
    WebSocket(TcpStream, Peer, Upgrade),
    /// WebSocket over TLS over TCP.
    WebSocketTls(TcpStream, Peer, Then<TlsLayer, Upgrade>),
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
    /// TLS over TCP.
    Tls(SocketAddr),
    /// WebSocket over TCP.
    WebSocket(SocketAddr),
    /// WebSocket over TLS over TCP.
    WebSocketTls(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Listener {
    /// Begins to listen. To be called within the runtime. A listener for TLS needs `tls`, and one that was passed on
    /// to this process is taken from `inherited`.
    pub fn bind(
        config: &ListenerConfig,
        tls: Option<&Arc<Tls>>,
        inherited: &mut Inherited,
    ) -> io::Result<Self> {
        let layer = |application| {
            let tls = tls.ok_or_else(|| io::Error::other("there is no certificate for it"))?;
            Ok::<_, io::Error>(tls.layer(application))
        };
        match config {
            ListenerConfig::Tcp { address, socket } => {
                Ok(Self::Tcp { listener: tcp::bind(*address, socket)?, socket: socket.clone() })
            }
            ListenerConfig::Tls { address, socket } => Ok(Self::Tls {
                layer: layer(Application::Mqtt)?,
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::WebSocket { address, socket, options } => Ok(Self::WebSocket {
                upgrade: Upgrade::new(options.clone()),
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::WebSocketTls { address, socket, options } => Ok(Self::WebSocketTls {
                layers: Then(layer(Application::Http)?, Upgrade::new(options.clone())),
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::Inherited { index, transport, socket, options } => {
                let socket = socket.clone();
                let mut listener = || TcpListener::from_std(inherited.tcp(*index)?);
                match transport {
                    Transport::Tcp => Ok(Self::Tcp { listener: listener()?, socket }),
                    Transport::Tls => {
                        Ok(Self::Tls { listener: listener()?, socket, layer: layer(Application::Mqtt)? })
                    }
                    Transport::WebSocket => {
                        let upgrade = Upgrade::new(options.clone());
                        Ok(Self::WebSocket { listener: listener()?, socket, upgrade })
                    }
                    Transport::WebSocketTls => {
                        let layers = Then(layer(Application::Http)?, Upgrade::new(options.clone()));
                        Ok(Self::WebSocketTls { listener: listener()?, socket, layers })
                    }
                    Transport::Unix => OwnedUnixListener::adopt(inherited.unix(*index)?).map(Self::Unix),
                }
            }
            ListenerConfig::Unix { path, access } => OwnedUnixListener::bind(path, *access).map(Self::Unix),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<BoundAddress> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr().map(BoundAddress::Tcp),
            Self::Tls { listener, .. } => listener.local_addr().map(BoundAddress::Tls),
            Self::WebSocket { listener, .. } => listener.local_addr().map(BoundAddress::WebSocket),
            Self::WebSocketTls { listener, .. } => listener.local_addr().map(BoundAddress::WebSocketTls),
            Self::Unix(listener) => Ok(BoundAddress::Unix(listener.path().to_owned())),
        }
    }

    /// The next connection. Nothing is lost when the future is dropped.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp { listener, socket } => {
                let (stream, address) = tcp::accept(listener, socket).await?;
                Ok(Accepted::Tcp(stream, Peer::new(Transport::Tcp, Some(address))))
            }
            Self::Tls { listener, socket, layer } => {
                let (stream, address) = tcp::accept(listener, socket).await?;
                Ok(Accepted::Tls(stream, Peer::new(Transport::Tls, Some(address)), layer.clone()))
            }
            Self::WebSocket { listener, socket, upgrade } => {
                let (stream, address) = tcp::accept(listener, socket).await?;
                Ok(Accepted::WebSocket(
                    stream,
                    Peer::new(Transport::WebSocket, Some(address)),
                    upgrade.clone(),
                ))
            }
            Self::WebSocketTls { listener, socket, layers } => {
                let (stream, address) = tcp::accept(listener, socket).await?;
                Ok(Accepted::WebSocketTls(
                    stream,
                    Peer::new(Transport::WebSocketTls, Some(address)),
                    layers.clone(),
                ))
            }
            Self::Unix(listener) => {
                let stream = listener.accept().await?;
                let process = PeerProcess::of(&stream);
                Ok(Accepted::Unix(stream, Peer { process, ..Peer::new(Transport::Unix, None) }))
            }
        }
    }
}

impl Accepted {
    /// The other end, as far as it is known before the handshake.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Tcp(_, peer)
            | Self::Tls(_, peer, _)
            | Self::WebSocket(_, peer, _)
            | Self::WebSocketTls(_, peer, _)
            | Self::Unix(_, peer) => peer,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Tls(address) => write!(f, "tls {address}"),
            Self::WebSocket(address) => write!(f, "ws {address}"),
            Self::WebSocketTls(address) => write!(f, "wss {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}
