//! TCP, over IPv4 and IPv6.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{BACKLOG, SocketOptions};

/// Listens on this address.
pub(super) fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that the same port can be bound for IPv4 as well, by itself.
        socket.set_only_v6(true)?;
    }
    // On Windows it would let others take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    // Connections inherit the sizes, and what is offered to the other side depends on them: set before it connects.
    options.send_buffer.map_or(Ok(()), |size| socket.set_send_buffer_size(size))?;
    options.receive_buffer.map_or(Ok(()), |size| socket.set_recv_buffer_size(size))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The next connection, set up. Nothing is lost when the future is dropped.
pub(super) async fn accept(
    listener: &TcpListener,
    options: &SocketOptions,
) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    set_up(&stream, options)?;
    Ok((stream, address))
}

/// Sets up a connection that has been accepted.
fn set_up(stream: &TcpStream, options: &SocketOptions) -> io::Result<()> {
    stream.set_nodelay(options.no_delay)?;
    if let Some(idle) = options.keepalive {
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn both_families_can_listen_on_one_port() {
        let options = SocketOptions::default();
        let v6 = bind("[::]:0".parse().unwrap(), &options).unwrap();
        let port = v6.local_addr().unwrap().port();
        let v4 = bind(SocketAddr::from(([0, 0, 0, 0], port)), &options).unwrap();
        let (client, served) =
            tokio::join!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))), v4.accept());
        assert!(client.unwrap().local_addr().unwrap().is_ipv4() && served.is_ok());
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused_unless_it_is_shared() {
        let address = "127.0.0.1:0".parse().unwrap();
        let exclusive = bind(address, &SocketOptions::default()).unwrap();
        let error = bind(exclusive.local_addr().unwrap(), &SocketOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);

        let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
        let shared = bind(address, &options).unwrap();
        bind(shared.local_addr().unwrap(), &options).unwrap();
    }

    #[tokio::test]
    async fn connections_are_set_up_as_configured() {
        for no_delay in [true, false] {
            let keepalive = Some(Duration::from_secs(42));
            let options = SocketOptions { no_delay, keepalive, ..SocketOptions::default() };
            let listener = bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (served, _) = listener.accept().await.unwrap();
            set_up(&served, &options).unwrap();
            assert_eq!(served.nodelay().unwrap(), no_delay);
            assert!(SockRef::from(&served).keepalive().unwrap());
            #[cfg(target_os = "linux")]
            assert_eq!(SockRef::from(&served).tcp_keepalive_time().unwrap(), Duration::from_secs(42));
        }
    }
}
