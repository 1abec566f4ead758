//! Listeners of all kinds, as one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use quinn::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::inherited::Inherited;
use super::quic::{self, QuicLayer, QuicListener};
use super::tls::{Application, Tls, TlsLayer};
use super::unix::{OwnedUnixListener, PeerProcess, UnixStream};
use super::websocket::Upgrade;
use super::{ListenerConfig, Peer, SocketOptions, Then, Transport, UnfinishedPackets, WebSocketOptions, tcp};

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
    /// QUIC over UDP.
    Quic(QuicListener),
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
    /// QUIC over UDP.
    Quic(Box<Incoming>, Peer, QuicLayer),
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
    /// QUIC over UDP.
    Quic(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Listener {
    /// Begins to listen. To be called within the runtime. A listener for TLS or QUIC needs `tls`, and one that was passed on
    /// to this process is taken from `inherited`. What its connections hold before they hand on a packet counts in `unfinished`.
    pub fn bind(
        config: &ListenerConfig,
        tls: Option<&Arc<Tls>>,
        inherited: &mut Inherited,
        unfinished: &Arc<UnfinishedPackets>,
    ) -> io::Result<Self> {
        let upgrade = |options: &WebSocketOptions| Upgrade::new(options.clone(), Arc::clone(unfinished));
        let tls = || tls.ok_or_else(|| io::Error::other("there is no certificate for it"));
        match config {
            ListenerConfig::Tcp { address, socket } => {
                Ok(Self::Tcp { listener: tcp::bind(*address, socket)?, socket: socket.clone() })
            }
            ListenerConfig::Tls { address, socket } => Ok(Self::Tls {
                layer: tls()?.layer(Application::Mqtt),
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::WebSocket { address, socket, options } => Ok(Self::WebSocket {
                upgrade: upgrade(options),
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::WebSocketTls { address, socket, options } => Ok(Self::WebSocketTls {
                layers: Then(tls()?.layer(Application::Http), upgrade(options)),
                listener: tcp::bind(*address, socket)?,
                socket: socket.clone(),
            }),
            ListenerConfig::Quic { address, socket, settings } => {
                QuicListener::bind(*address, socket, settings, tls()?, unfinished).map(Self::Quic)
            }
            ListenerConfig::Inherited { index, transport, socket, options, settings } => {
                let socket = socket.clone();
                let mut listener = || TcpListener::from_std(inherited.tcp(*index)?);
                match transport {
                    Transport::Tcp => Ok(Self::Tcp { listener: listener()?, socket }),
                    Transport::Tls => Ok(Self::Tls {
                        listener: listener()?,
                        socket,
                        layer: tls()?.layer(Application::Mqtt),
                    }),
                    Transport::WebSocket => {
                        let upgrade = upgrade(options);
                        Ok(Self::WebSocket { listener: listener()?, socket, upgrade })
                    }
                    Transport::WebSocketTls => {
                        let layers = Then(tls()?.layer(Application::Http), upgrade(options));
                        Ok(Self::WebSocketTls { listener: listener()?, socket, layers })
                    }
                    Transport::Quic => {
                        QuicListener::adopt(inherited.udp(*index)?, settings, tls()?, unfinished)
                            .map(Self::Quic)
                    }
                    #[cfg(not(unix))]
                    Transport::Unix => Err(io::ErrorKind::Unsupported.into()),
                    #[cfg(unix)]
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
            Self::Quic(listener) => listener.address().map(BoundAddress::Quic),
            Self::Unix(listener) => Ok(BoundAddress::Unix(listener.path().to_owned())),
        }
    }

    /// Whether all its connections share its one socket.
    pub fn is_of_datagrams(&self) -> bool {
        match self {
            Self::Quic { .. } => true,
            Self::Tcp { .. }
            | Self::Tls { .. }
            | Self::WebSocket { .. }
            | Self::WebSocketTls { .. }
            | Self::Unix { .. } => false,
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
            Self::Quic(listener) => {
                let (incoming, layer) = listener.accept().await?;
                let peer = Peer::new(Transport::Quic, Some(incoming.remote_address()));
                Ok(Accepted::Quic(Box::new(incoming), peer, layer))
            }
            Self::Unix(listener) => {
                let stream = listener.accept().await?;
                let process = PeerProcess::of(&stream);
                Ok(Accepted::Unix(stream, Peer { process, ..Peer::new(Transport::Unix, None) }))
            }
        }
    }

    /// Complete when the other ends of all its connections know that they have ended, where it is for the process to
    /// tell them and not for the system.
    pub fn idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let idle = match self {
            Self::Quic(listener) => Some(listener.idle()),
            Self::Tcp { .. }
            | Self::Tls { .. }
            | Self::WebSocket { .. }
            | Self::WebSocketTls { .. }
            | Self::Unix(_) => None,
        };
        async {
            if let Some(idle) = idle {
                idle.await;
            }
        }
    }
}

impl Accepted {
    /// Asks the other end to show that it is where it says it is, where its kind of connection does not show that by
    /// itself. `None`: it has been asked, and will come again.
    pub fn ask_for_address(self) -> Option<Self> {
        match self {
            Self::Quic(incoming, peer, layer) => {
                quic::ask_for_address(incoming).map(|incoming| Self::Quic(incoming, peer, layer))
            }
            Self::Tcp(..) | Self::Tls(..) | Self::WebSocket(..) | Self::WebSocketTls(..) | Self::Unix(..) => {
                Some(self)
            }
        }
    }

    /// The other end, as far as it is known before the handshake.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Tcp(_, peer)
            | Self::Tls(_, peer, _)
            | Self::WebSocket(_, peer, _)
            | Self::WebSocketTls(_, peer, _)
            | Self::Quic(_, peer, _)
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
            Self::Quic(address) => write!(f, "quic {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}
