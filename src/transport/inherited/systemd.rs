//! Socket activation as systemd does it.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockRef, Type};

use super::{InheritError, not_there};
use crate::transport::Transport;

/// Sockets that are bound, and listen already where that is their way. Their names say what for.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Transport, Option<Socket>)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
}

impl Inherited {
    /// Takes what the environment says was passed on to this process; once: after that there is nothing. To be called
    /// before the process opens anything itself.
    pub fn take() -> Result<Self, InheritError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(Self::default());
        }
        let passed_on = sd_listen_fds::get().map_err(|_| InheritError::Environment)?;
        let taken = passed_on.into_iter().map(|(name, socket)| {
            let name = name.unwrap_or_default();
            let transport = transport(&name)?;
            let socket =
                take(socket.into_std(), transport).map_err(|source| InheritError::Socket { name, source })?;
            Ok((transport, Some(socket)))
        });
        Ok(Self { sockets: taken.collect::<Result<_, _>>()? })
    }

    /// What each of them is for.
    pub fn transports(&self) -> Vec<Transport> {
        self.sockets.iter().map(|(transport, _)| *transport).collect()
    }

    /// One of TCP.
    pub(in crate::transport) fn tcp(&mut self, index: usize) -> io::Result<TcpListener> {
        match self.remove(index) {
            Some(Socket::Tcp(listener)) => Ok(listener),
            Some(Socket::Udp(_) | Socket::Unix(_)) | None => Err(not_there()),
        }
    }

    /// One of UDP.
    pub(in crate::transport) fn udp(&mut self, index: usize) -> io::Result<UdpSocket> {
        match self.remove(index) {
            Some(Socket::Udp(socket)) => Ok(socket),
            Some(Socket::Tcp(_) | Socket::Unix(_)) | None => Err(not_there()),
        }
    }

    /// One of Unix.
    pub(in crate::transport) fn unix(&mut self, index: usize) -> io::Result<UnixListener> {
        match self.remove(index) {
            Some(Socket::Unix(listener)) => Ok(listener),
            Some(Socket::Tcp(_) | Socket::Udp(_)) | None => Err(not_there()),
        }
    }

    fn remove(&mut self, index: usize) -> Option<Socket> {
        self.sockets.get_mut(index).and_then(|(_, socket)| socket.take())
    }
}

fn transport(name: &str) -> Result<Transport, InheritError> {
    match name {
        "tcp" => Ok(Transport::Tcp),
        "tls" => Ok(Transport::Tls),
        "ws" => Ok(Transport::WebSocket),
        "wss" => Ok(Transport::WebSocketTls),
        "quic" => Ok(Transport::Quic),
        "unix" => Ok(Transport::Unix),
        _ => Err(InheritError::Name(name.to_owned())),
    }
}

/// Makes sure that it is what it is called: a service manager is told by hand.
fn take(socket: OwnedFd, transport: Transport) -> io::Result<Socket> {
    let (is_unix, kind) = match transport {
        Transport::Unix => (true, Type::STREAM),
        Transport::Quic => (false, Type::DGRAM),
        Transport::Tcp | Transport::Tls | Transport::WebSocket | Transport::WebSocketTls => {
            (false, Type::STREAM)
        }
    };
    {
        let socket = SockRef::from(&socket);
        let family = socket.local_addr()?.domain();
        let is_of_family =
            if is_unix { family == Domain::UNIX } else { [Domain::IPV4, Domain::IPV6].contains(&family) };
        if !is_of_family || socket.r#type()? != kind {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is of another kind"));
        }
        // Not all systems tell.
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        if kind == Type::STREAM && !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing listens on it"));
        }
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
    }
    Ok(match (is_unix, kind) {
        (true, _) => Socket::Unix(socket.into()),
        (false, Type::DGRAM) => Socket::Udp(socket.into()),
        (false, _) => Socket::Tcp(socket.into()),
    })
}
