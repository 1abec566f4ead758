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
            let (name, socket) = (name.unwrap_or_default(), socket.into_std());
            let transport = match purpose(&name) {
                Purpose::Named(transport) => Ok(transport),
                Purpose::AsItIs => natural_transport(&socket),
                Purpose::Unknown => return Err(InheritError::Name(name)),
            };
            let taken = transport.and_then(|transport| Ok((transport, Some(take(socket, transport)?))));
            taken.map_err(|source| InheritError::Socket { name, source })
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

/// What a socket's name says that it is for.
enum Purpose {
    Named(Transport),
    /// Nobody has given it a name.
    AsItIs,
    Unknown,
}

fn purpose(name: &str) -> Purpose {
    match name {
        "tcp" => Purpose::Named(Transport::Tcp),
        "tls" => Purpose::Named(Transport::Tls),
        "ws" => Purpose::Named(Transport::WebSocket),
        "wss" => Purpose::Named(Transport::WebSocketTls),
        "quic" => Purpose::Named(Transport::Quic),
        "unix" => Purpose::Named(Transport::Unix),
        "" | "unknown" => Purpose::AsItIs,
        // Where `FileDescriptorName=` is left out, systemd gives it the name of its unit.
        name if name.ends_with(".socket") => Purpose::AsItIs,
        _ => Purpose::Unknown,
    }
}

/// What a socket of this kind is for, if nothing else is said.
fn natural_transport(socket: &OwnedFd) -> io::Result<Transport> {
    let socket = SockRef::from(socket);
    Ok(if socket.local_addr()?.domain() == Domain::UNIX {
        Transport::Unix
    } else if socket.r#type()? == Type::DGRAM {
        Transport::Quic
    } else {
        Transport::Tcp
    })
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
