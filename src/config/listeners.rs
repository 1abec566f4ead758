//! Where to listen, from what the command line says about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::arguments::{ListenerArguments, SocketArguments};
use super::units::ByteSize;
use crate::transport::{ListenerConfig, SocketOptions};

/// The port for MQTT that IANA has assigned.
const DEFAULT_PORT: u16 = 1883;

/// Whether this host has IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipv6 {
    Present,
    Absent,
}

impl Ipv6 {
    /// Asks the host.
    pub(super) fn probe() -> Self {
        match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
            Ok(_) => Self::Present,
            Err(_) => Self::Absent,
        }
    }
}

/// The listeners, or a sentence about what is wrong.
pub(super) fn listeners(
    arguments: &ListenerArguments,
    socket: &SocketOptions,
    ipv6: Ipv6,
) -> Result<Vec<ListenerConfig>, String> {
    refuse_what_is_not_built(arguments)?;
    let unix = arguments.unix_socket.iter().map(|path| ListenerConfig::Unix { path: path.clone() });
    #[cfg(not(unix))]
    if unix.len() > 0 {
        return Err("--unix-socket: this system has no Unix sockets".to_owned());
    }
    let tcp_ports = match (&*arguments.tcp_port, &*arguments.tls_port, &arguments.unix_socket) {
        ([], [], None) => &[DEFAULT_PORT],
        ([], [], Some(_)) if !arguments.bind.is_empty() => {
            return Err(
                "--bind names addresses but no option names a port: expected --tcp-port or --tls-port"
                    .to_owned(),
            );
        }
        (ports, _, _) => ports,
    };
    let tcp = sockets(tcp_ports, &arguments.bind, ipv6)
        .into_iter()
        .map(|address| ListenerConfig::Tcp { address, socket: socket.clone() });
    let tls = sockets(&arguments.tls_port, &arguments.bind, ipv6)
        .into_iter()
        .map(|address| ListenerConfig::Tls { address, socket: socket.clone() });
    Ok(tcp.chain(tls).chain(unix).collect())
}

/// Each port on each address.
fn sockets(ports: &[u16], bind: &[IpAddr], ipv6: Ipv6) -> Vec<SocketAddr> {
    let addresses = addresses(bind, ipv6);
    let at =
        |port: &u16| addresses.iter().map(|address| SocketAddr::new(*address, *port)).collect::<Vec<_>>();
    ports.iter().flat_map(at).collect()
}

/// Each address once, in the order given.
fn addresses(bind: &[IpAddr], ipv6: Ipv6) -> Vec<IpAddr> {
    if bind.is_empty() {
        let every = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let every_v6 = (ipv6 == Ipv6::Present).then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        return every.into_iter().chain(every_v6).collect();
    }
    let mut addresses = Vec::new();
    for address in bind {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

fn refuse_what_is_not_built(arguments: &ListenerArguments) -> Result<(), String> {
    let ListenerArguments { ws_port, ws_tls_port, quic_port, .. } = arguments;
    for (option, given, transport) in [
        ("--ws-port", ws_port.is_some(), "WebSocket"),
        ("--ws-tls-port", ws_tls_port.is_some(), "WebSocket over TLS"),
        ("--quic-port", quic_port.is_some(), "QUIC"),
    ] {
        if given {
            return Err(format!(
                "{option} cannot be used: this build does not have {transport} yet, expected --tcp-port, --tls-port or --unix-socket"
            ));
        }
    }
    Ok(())
}

/// How TCP sockets are set up.
pub(super) fn socket_options(arguments: &SocketArguments) -> SocketOptions {
    let buffer = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes).filter(|bytes| *bytes != 0);
    SocketOptions {
        no_delay: arguments.socket_no_delay,
        send_buffer: buffer(arguments.socket_send_buf_size),
        receive_buffer: buffer(arguments.socket_recv_buf_size),
        reuse_port: arguments.socket_reuseport,
        keepalive: arguments
            .socket_keepalive_time
            .filter(|seconds| *seconds != 0)
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
    }
}
