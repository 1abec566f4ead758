//! Bytes: where connections come from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// A Unix stream socket.
    Unix {
        /// The file of the socket.
        path: PathBuf,
    },
}

/// How TCP sockets are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// SO_SNDBUF in bytes; `None`: the system's.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF in bytes; `None`: the system's.
    pub receive_buffer: Option<usize>,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_KEEPALIVE with this idle time; `None`: off.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { no_delay: true, send_buffer: None, receive_buffer: None, reuse_port: false, keepalive: None }
    }
}
