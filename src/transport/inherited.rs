//! Sockets that were opened for us before we were started: socket activation, as systemd does it.

use std::env;
use std::io;
use std::iter;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::SockRef;

use super::Transport;

/// Sockets that listen already. Their names say what for.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Transport, Option<Socket>)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why a socket is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// Its name does not say what for.
    #[error(
        "a socket was passed on with the name {0:?}: expected tcp, tls, ws, wss or unix (FileDescriptorName= in the \
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

impl Inherited {
    /// Takes what the environment says was passed on to this process. To be called once, and before there are other
    /// threads: the environment is changed, so that no one takes it again.
    pub fn take() -> Result<Self, InheritError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').chain(iter::repeat(""));
        let mut sockets = ListenFd::from_env();
        let taken = (0..sockets.len()).map(|index| {
            let name = names.next().unwrap_or_default().to_owned();
            let transport = transport(&name)?;
            let socket = take(&mut sockets, index, transport)
                .map_err(|source| InheritError::Socket { name, source })?;
            Ok((transport, Some(socket)))
        });
        Ok(Self { sockets: taken.collect::<Result<_, _>>()? })
    }

    /// What each of them is for.
    pub fn transports(&self) -> Vec<Transport> {
        self.sockets.iter().map(|(transport, _)| *transport).collect()
    }

    /// One of TCP.
    pub(super) fn tcp(&mut self, index: usize) -> io::Result<TcpListener> {
        match self.remove(index) {
            Some(Socket::Tcp(listener)) => Ok(listener),
            Some(Socket::Unix(_)) | None => Err(not_there()),
        }
    }

    /// One of Unix.
    pub(super) fn unix(&mut self, index: usize) -> io::Result<UnixListener> {
        match self.remove(index) {
            Some(Socket::Unix(listener)) => Ok(listener),
            Some(Socket::Tcp(_)) | None => Err(not_there()),
        }
    }

    fn remove(&mut self, index: usize) -> Option<Socket> {
        self.sockets.get_mut(index).and_then(|(_, socket)| socket.take())
    }
}

fn not_there() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such socket was passed on")
}

fn transport(name: &str) -> Result<Transport, InheritError> {
    match name {
        "tcp" => Ok(Transport::Tcp),
        "tls" => Ok(Transport::Tls),
        "ws" => Ok(Transport::WebSocket),
        "wss" => Ok(Transport::WebSocketTls),
        "unix" => Ok(Transport::Unix),
        _ => Err(InheritError::Name(name.to_owned())),
    }
}

fn take(sockets: &mut ListenFd, index: usize, transport: Transport) -> io::Result<Socket> {
    let socket = match transport {
        Transport::Tcp | Transport::Tls | Transport::WebSocket | Transport::WebSocketTls => {
            let listener = sockets.take_tcp_listener(index)?.ok_or_else(not_there)?;
            check_listening(&listener)?;
            listener.set_nonblocking(true)?;
            Socket::Tcp(listener)
        }
        Transport::Unix => {
            let listener = sockets.take_unix_listener(index)?.ok_or_else(not_there)?;
            check_listening(&listener)?;
            listener.set_nonblocking(true)?;
            Socket::Unix(listener)
        }
    };
    Ok(socket)
}

/// One that does not listen could never be accepted from. Not all systems tell.
fn check_listening(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !SockRef::from(socket).is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing listens on it"));
    }
    Ok(())
}
