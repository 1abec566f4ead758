//! Where to listen, from what the command line says about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use super::arguments::{ListenerArguments, MqttArguments, QuicArguments, SocketArguments};
use super::own_listener::{OwnListener, Place};
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

/// What the command line says about listeners, with all that it takes to make them.
pub(super) struct Listening<'a> {
    pub(super) arguments: &'a ListenerArguments,
    pub(super) quic: &'a QuicArguments,
    pub(super) mqtt: &'a MqttArguments,
    pub(super) socket: SocketOptions,
    pub(super) ipv6: Ipv6,
    pub(super) inherited: &'a [Transport],
}

impl Listening<'_> {
    /// The listeners on common terms, or a sentence about what is wrong. These let clients send packets of so many bytes.
    pub(super) fn common(&self, largest_packet: Option<NonZeroU32>) -> Result<Vec<ListenerConfig>, String> {
        let arguments = self.arguments;
        let ListenerArguments { tcp_port, tls_port, ws_port, ws_tls_port, quic_port, bind, .. } = arguments;
        let unix = &arguments.unix_socket;
        let has_port = self.binds_port();
        let has_other = !unix.is_empty() || !arguments.listener.is_empty();
        if has_other && !has_port && !bind.is_empty() {
            return Err(
                "--bind names addresses but no option names a port: expected --tcp-port, --tls-port, \
                        --ws-port, --ws-tls-port, --quic-port or a port in --listener"
                    .to_owned(),
            );
        }
        let is_default = !has_port && !has_other && self.inherited.is_empty();
        let tcp_port = if is_default { &[DEFAULT_PORT] } else { &**tcp_port };
        let options = self.websocket_options()?;
        let ports = [
            (Transport::Tcp, tcp_port),
            (Transport::Tls, tls_port),
            (Transport::WebSocket, ws_port),
            (Transport::WebSocketTls, ws_tls_port),
            (Transport::Quic, quic_port),
        ];
        let mut listeners = Vec::new();
        for (transport, ports) in ports {
            for port in ports {
                listeners.extend(self.on_port(transport, None, *port, &options, largest_packet));
            }
        }
        for path in unix {
            listeners.push(unix_listener("--unix-socket", path, unix_access(arguments))?);
        }
        listeners.extend(self.inherited.iter().enumerate().map(|(index, transport)| {
            ListenerConfig::Inherited {
                index,
                transport: *transport,
                socket: self.socket.clone(),
                options: options.clone(),
                settings: quic_settings(self.quic, self.mqtt, largest_packet),
            }
        }));
        Ok(listeners)
    }

    /// The listeners that are at this place, or a sentence about what is wrong.
    pub(super) fn at(
        &self,
        place: &Place,
        access: UnixAccess,
        largest_packet: Option<NonZeroU32>,
    ) -> Result<Vec<ListenerConfig>, String> {
        match place {
            Place::Unix(path) => Ok(vec![unix_listener("--listener", path, access)?]),
            Place::Port { transport, address, port } => {
                Ok(self.on_port(*transport, *address, *port, &self.websocket_options()?, largest_packet))
            }
        }
    }

    /// Whether any option names a port that is for the addresses of `--bind`.
    fn binds_port(&self) -> bool {
        let ListenerArguments { tcp_port, tls_port, ws_port, ws_tls_port, quic_port, listener, .. } =
            self.arguments;
        let is_bound = |own: &OwnListener| matches!(own.place, Place::Port { address: None, .. });
        [tcp_port, tls_port, ws_port, ws_tls_port, quic_port].into_iter().any(|ports| !ports.is_empty())
            || listener.iter().any(is_bound)
    }

    fn on_port(
        &self,
        transport: Transport,
        address: Option<IpAddr>,
        port: u16,
        options: &WebSocketOptions,
        largest_packet: Option<NonZeroU32>,
    ) -> Vec<ListenerConfig> {
        let socket = || self.socket.clone();
        let options = || options.clone();
        let listener = |address| match transport {
            Transport::Tls => ListenerConfig::Tls { address, socket: socket() },
            Transport::WebSocket => {
                ListenerConfig::WebSocket { address, socket: socket(), options: options() }
            }
            Transport::WebSocketTls => {
                ListenerConfig::WebSocketTls { address, socket: socket(), options: options() }
            }
            Transport::Quic => {
                let settings = quic_settings(self.quic, self.mqtt, largest_packet);
                ListenerConfig::Quic { address, socket: socket(), settings }
            }
            // A Unix socket has no port.
            Transport::Tcp | Transport::Unix => ListenerConfig::Tcp { address, socket: socket() },
        };
        let addresses = match address {
            Some(address) => vec![address],
            None => addresses(&self.arguments.bind, self.ipv6),
        };
        addresses.into_iter().map(|address| listener(SocketAddr::new(address, port))).collect()
    }

    /// Which requests are taken, where there is a listener for them.
    fn websocket_options(&self) -> Result<WebSocketOptions, String> {
        let ListenerArguments { ws_port, ws_tls_port, ws_path, ws_origin, listener, .. } = self.arguments;
        let is_for_websocket =
            |transport: &Transport| matches!(transport, Transport::WebSocket | Transport::WebSocketTls);
        let own = listener.iter().filter_map(|own| match &own.place {
            Place::Port { transport, .. } => Some(transport),
            Place::Unix(_) => None,
        });
        if ws_port.is_empty() && ws_tls_port.is_empty() && !own.chain(self.inherited).any(is_for_websocket) {
            for (option, given) in
                [("--ws-path", !ws_path.is_empty()), ("--ws-origin", !ws_origin.is_empty())]
            {
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
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it fails")]
fn unix_listener(_option: &str, path: &Path, access: UnixAccess) -> Result<ListenerConfig, String> {
    Ok(ListenerConfig::Unix { path: path.to_owned(), access })
}

#[cfg(not(unix))]
fn unix_listener(option: &str, _path: &Path, _access: UnixAccess) -> Result<ListenerConfig, String> {
    Err(format!("{option}: this system has no Unix sockets"))
}

fn unix_access(arguments: &ListenerArguments) -> UnixAccess {
    UnixAccess {
        mode: arguments.unix_socket_mode,
        user: arguments.unix_socket_user,
        group: arguments.unix_socket_group,
    }
}

fn quic_settings(
    arguments: &QuicArguments,
    mqtt: &MqttArguments,
    largest_packet: Option<NonZeroU32>,
) -> QuicSettings {
    let largest_packet = largest_packet.and_then(|size| usize::try_from(size.get()).ok());
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
