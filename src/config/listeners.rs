//! Where to listen, from what the command line says about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::arguments::{ListenerArguments, MqttArguments, QuicArguments, SocketArguments};
use super::units::ByteSize;
use crate::transport::quic::QuicSettings;
use crate::transport::{ListenerConfig, SocketOptions, Transport, UnixAccess, WebSocketOptions};

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
    quic: &QuicSettings,
    socket: &SocketOptions,
    ipv6: Ipv6,
    inherited: &[Transport],
) -> Result<Vec<ListenerConfig>, String> {
    let access = unix_access(arguments);
    let unix = arguments.unix_socket.iter().map(|path| ListenerConfig::Unix { path: path.clone(), access });
    #[cfg(not(unix))]
    if unix.len() > 0 {
        return Err("--unix-socket: this system has no Unix sockets".to_owned());
    }
    let ListenerArguments { tcp_port, tls_port, ws_port, ws_tls_port, quic_port, bind, .. } = arguments;
    let has_port =
        [tcp_port, tls_port, ws_port, ws_tls_port, quic_port].into_iter().any(|ports| !ports.is_empty());
    let tcp_ports = match &arguments.unix_socket {
        None if !has_port && inherited.is_empty() => &[DEFAULT_PORT],
        Some(_) if !has_port && !bind.is_empty() => {
            return Err(
                "--bind names addresses but no option names a port: expected --tcp-port, --tls-port, \
                 --ws-port, --ws-tls-port or --quic-port"
                    .to_owned(),
            );
        }
        Some(_) | None => &**tcp_port,
    };
    let options = websocket_options(arguments, inherited)?;
    let on = |ports: &[u16], config: &dyn Fn(SocketAddr) -> ListenerConfig| {
        sockets(ports, bind, ipv6).into_iter().map(config).collect::<Vec<_>>()
    };
    let socket = || socket.clone();
    let mut listeners = on(tcp_ports, &|address| ListenerConfig::Tcp { address, socket: socket() });
    listeners.extend(on(tls_port, &|address| ListenerConfig::Tls { address, socket: socket() }));
    listeners.extend(on(ws_port, &|address| ListenerConfig::WebSocket {
        address,
        socket: socket(),
        options: options.clone(),
    }));
    listeners.extend(on(ws_tls_port, &|address| ListenerConfig::WebSocketTls {
        address,
        socket: socket(),
        options: options.clone(),
    }));
    listeners.extend(on(quic_port, &|address| ListenerConfig::Quic {
        address,
        socket: socket(),
        settings: quic.clone(),
    }));
    listeners.extend(unix);
    listeners.extend(inherited.iter().enumerate().map(|(index, transport)| ListenerConfig::Inherited {
        index,
        transport: *transport,
        socket: socket(),
        options: options.clone(),
    }));
    Ok(listeners)
}

fn unix_access(arguments: &ListenerArguments) -> UnixAccess {
    UnixAccess {
        mode: arguments.unix_socket_mode,
        user: arguments.unix_socket_user,
        group: arguments.unix_socket_group,
    }
}

/// Which requests are taken, where there is a listener for them.
fn websocket_options(
    arguments: &ListenerArguments,
    inherited: &[Transport],
) -> Result<WebSocketOptions, String> {
    let ListenerArguments { ws_port, ws_tls_port, ws_path, ws_origin, .. } = arguments;
    let is_for_websocket =
        |transport: &Transport| matches!(transport, Transport::WebSocket | Transport::WebSocketTls);
    if ws_port.is_empty() && ws_tls_port.is_empty() && !inherited.iter().any(is_for_websocket) {
        for (option, given) in [("--ws-path", !ws_path.is_empty()), ("--ws-origin", !ws_origin.is_empty())] {
            if given {
                return Err(format!(
                    "{option} is about WebSocket, for which there is no listener: expected --ws-port or --ws-tls-port"
                ));
            }
        }
    }
    let mut options = WebSocketOptions { origins: ws_origin.clone(), ..WebSocketOptions::default() };
    if !ws_path.is_empty() {
        options.paths.clone_from(ws_path);
    }
    Ok(options)
}

/// How QUIC is spoken.
pub(super) fn quic_settings(arguments: &QuicArguments, mqtt: &MqttArguments) -> QuicSettings {
    let largest_packet = mqtt.mqtt_maximum_packet_size.map(|ByteSize(bytes)| bytes);
    QuicSettings {
        idle_timeout: arguments.quic_idle_timeout.0,
        early_data: arguments.quic_early_data,
        data_streams: arguments.quic_max_streams,
        delivery: arguments.quic_delivery.into(),
        follow_subscriptions: !mqtt.mqtt_auto_map_topic_alias,
        stream_timeout: arguments.quic_stream_timeout.0,
        read_budget: largest_packet.unwrap_or_else(|| QuicSettings::default().read_budget),
    }
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

/// How sockets are set up.
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
