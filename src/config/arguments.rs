//! The command line, option by option. The comments on the fields are the help.

#![allow(clippy::doc_markdown, reason = "the help is plain text: backticks would be seen")]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser, value_parser};

use super::accounts::{group, mode, user};
use super::auth_command::Command;
use super::choices::{
    CertIdentity, ClientCert, Delivery, Durable, DurableTopics, Level, Overlapping, Policy, Proxied,
    RateLimit, Strategy,
};
use super::own_listener::OwnListener;
use super::units::{
    ByteSize, TimeSpan, byte_rate, first_packet_size, packet_size, size, time, time_above_zero,
};
use crate::broker::BrokerLimits;
use crate::connection::ConnectionLimits;
use crate::server::{AcceptLimits, ServerConfig};
use crate::transport::proxy::Network;
use crate::transport::quic::QuicSettings;
use crate::transport::websocket::{Origin, RequestPath};

/// Which broker this is: `0.1.0 (commit abc1234)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("MQTT_BROKER_COMMIT"), ")");

/// An MQTT broker for MQTT 3.1, 3.1.1 and 5.0.
///
/// Without a command it serves clients, until asked to stop.
///
/// Options that are switches take true or false; given alone they mean true. Sizes are bytes, plain (65536) or with a
/// unit (64KiB, 16MiB, 1GiB). Times are seconds, plain (90) or with units (1m30s, 2h, 7d).
///
/// Exit codes: 0 stopped as asked, 1 failed while starting to listen or running, 2 wrong command line, 78 wrong auth
/// file, certificate or key.
#[derive(Debug, Parser)]
#[command(name = "mqtt-broker", version = VERSION, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) runtime: RuntimeArguments,
    #[command(flatten)]
    pub(super) log: LogArguments,
    #[command(flatten)]
    pub(super) listeners: ListenerArguments,
    #[command(flatten)]
    pub(super) tls: TlsArguments,
    #[command(flatten)]
    pub(super) quic: QuicArguments,
    #[command(flatten)]
    pub(super) sockets: SocketArguments,
    #[command(flatten)]
    pub(super) authentication: AuthenticationArguments,
    #[command(flatten)]
    pub(super) mqtt: MqttArguments,
    #[command(flatten)]
    pub(super) connections: ConnectionArguments,
    #[command(flatten)]
    pub(super) sessions: SessionArguments,
    #[command(flatten)]
    pub(super) memory: MemoryArguments,
    #[command(flatten)]
    pub(super) durability: DurabilityArguments,
    #[command(flatten)]
    pub(super) shutdown: ShutdownArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(super) struct RuntimeArguments {
    /// Use this many threads to serve clients: 1 to 1024 [default: one per CPU]
    #[arg(long, value_name = "THREADS", value_parser = at_least_one(1_024))]
    pub(super) worker_threads: Option<usize>,
    /// Use at most this many threads for blocking work such as verifying passwords: 1 to 65536 [default: 512]
    #[arg(long, value_name = "THREADS", value_parser = at_least_one(65_536))]
    pub(super) max_blocking_threads: Option<usize>,
    /// Keep idle threads for blocking work for 10 s (true) or not at all (false) [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", hide_possible_values = true)]
    pub(super) thread_keep_alive: Option<bool>,
    /// Give each thread a stack of this size: 128KiB to 1GiB [default: 2MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::<{ 128 << 10 }, { 1 << 30 }>)]
    pub(super) thread_stack_size: Option<ByteSize>,
    /// Have a thread look at the queue that all threads share each so many scheduler ticks [default: adapted to the load]
    #[arg(long, value_name = "TICKS", value_parser = value_parser!(u32).range(1..))]
    pub(super) global_queue_interval: Option<u32>,
    /// Have a thread look for network events and timers each so many scheduler ticks [default: 61]
    #[arg(long, value_name = "TICKS", value_parser = value_parser!(u32).range(1..))]
    pub(super) event_interval: Option<u32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArguments {
    /// Log this and what is more important, to the standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: Level,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listeners")]
pub(super) struct ListenerArguments {
    /// Listen for MQTT over TCP on this port; 0 takes a free one; may be given several times [default: 1883 if there
    /// is no other listener]
    #[arg(long, value_name = "PORT", action = ArgAction::Append)]
    pub(super) tcp_port: Vec<u16>,
    /// Listen for MQTT over TLS on this port; 0 takes a free one; may be given several times
    #[arg(long, value_name = "PORT", action = ArgAction::Append)]
    pub(super) tls_port: Vec<u16>,
    /// Listen for MQTT over WebSocket on this port; 0 takes a free one; may be given several times
    #[arg(long, value_name = "PORT", action = ArgAction::Append)]
    pub(super) ws_port: Vec<u16>,
    /// Listen for MQTT over WebSocket over TLS on this port; 0 takes a free one; may be given several times
    #[arg(long, value_name = "PORT", action = ArgAction::Append)]
    pub(super) ws_tls_port: Vec<u16>,
    /// Serve WebSocket at this path; may be given several times [default: /mqtt and /]
    #[arg(long, value_name = "PATH", action = ArgAction::Append, value_parser = RequestPath::from_str)]
    pub(super) ws_path: Vec<RequestPath>,
    /// Let only pages of this origin, such as `https://example.org`, connect with a browser over WebSocket; may be given
    /// several times [default: pages of all origins]
    #[arg(long, value_name = "ORIGIN", action = ArgAction::Append, value_parser = Origin::from_str)]
    pub(super) ws_origin: Vec<Origin>,
    /// Listen for MQTT over QUIC on this UDP port; 0 takes a free one; may be given several times
    #[arg(long, value_name = "PORT", action = ArgAction::Append)]
    pub(super) quic_port: Vec<u16>,
    /// Listen for MQTT on a Unix socket in this file, which is removed at exit; may be given several times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(super) unix_socket: Vec<PathBuf>,
    /// Give the file of the Unix socket these permissions, such as 0660 [default: what the umask leaves]
    #[arg(long, value_name = "MODE", value_parser = mode, requires = "unix_socket")]
    pub(super) unix_socket_mode: Option<u32>,
    /// Give the file of the Unix socket to this user, by name or number
    #[arg(long, value_name = "USER", value_parser = user, requires = "unix_socket")]
    pub(super) unix_socket_user: Option<u32>,
    /// Give the file of the Unix socket to this group, by name or number
    #[arg(long, value_name = "GROUP", value_parser = group, requires = "unix_socket")]
    pub(super) unix_socket_group: Option<u32>,
    /// Listen at such a place and on terms of its own; may be given several times. First the kind of listener and where
    /// it listens, as in tcp:1884, tls:192.0.2.1:8884, ws:80, wss:443, quic:14567 or unix:/run/mqtt.sock, then what is
    /// different there: auth-file or allow-anonymous, and most limits of connections, each an option without its
    /// dashes. For example tcp:1884,auth-file=guests.json,max-connections=100
    #[arg(long, value_name = "PLACE[,TERM=VALUE]...", action = ArgAction::Append, value_parser = OwnListener::from_str)]
    pub(super) listener: Vec<OwnListener>,
    /// Listen on this IP address; may be given several times [default: 0.0.0.0 and, where the host has
    /// IPv6, ::]
    #[arg(long, value_name = "ADDRESS", action = ArgAction::Append, value_parser = parse_address)]
    pub(super) bind: Vec<IpAddr>,
    /// Expect proxies to say, by a header of the PROXY protocol, whose connections they pass on to these listeners
    /// [default: to none]
    #[arg(long, value_name = "LISTENERS", action = ArgAction::Append, value_delimiter = ',', requires = "proxy_from")]
    pub(super) proxy_protocol: Vec<Proxied>,
    /// Expect such headers, and believe them, from these addresses and networks only, such as 192.0.2.0/24
    #[arg(long, value_name = "NETWORKS", action = ArgAction::Append, value_delimiter = ',', requires = "proxy_protocol")]
    pub(super) proxy_from: Vec<Network>,
    /// Write the addresses and ports to this file once the broker listens
    #[arg(long, value_name = "FILE")]
    pub(super) ports_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArguments {
    /// Show clients the certificate in this PEM file, and those behind it, which lead to a root; may be given several
    /// times: the name by which a client calls the server chooses, and where none fits the first is shown
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(super) server_crt: Vec<PathBuf>,
    /// Take the private key for it from this PEM file: PKCS#8, PKCS#1 or SEC1, not encrypted; once for each
    /// --server-crt, in the same order
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(super) server_key: Vec<PathBuf>,
    /// Ask clients for a certificate [default: optional with --client-ca, otherwise off]
    #[arg(long, value_name = "WHETHER")]
    pub(super) client_cert: Option<ClientCert>,
    /// Take the certificates of clients from the authorities in this PEM file; may be given several times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(super) client_ca: Vec<PathBuf>,
    /// Refuse the certificates that are revoked by the list in this file, PEM or DER; may be given several times.
    /// Those of an authority without a list are taken
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(super) client_crl: Vec<PathBuf>,
    /// Find the name of the auth file's user of method "client_cert" in this part of the client's certificate
    #[arg(long, value_name = "PART", default_value = "cn")]
    pub(super) client_cert_identity: CertIdentity,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "QUIC")]
#[expect(clippy::struct_field_names, reason = "each is an option of its own name")]
pub(super) struct QuicArguments {
    /// Let clients that come again send with their first packet (0-RTT). It is read once they have shown that they are
    /// there: what was recorded and is sent once more is not
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) quic_early_data: bool,
    /// End a connection of which nothing is heard for this time: 1s to 1d. The broker asks for a sign of life each
    /// third of it, so that clients need not send anything
    #[arg(long, value_name = "TIME", value_parser = time_for_quic,
          default_value_t = TimeSpan(QuicSettings::default().idle_timeout))]
    pub(super) quic_idle_timeout: TimeSpan,
    /// Send messages to clients, but for subscriptions that they made on data streams: these have their messages there
    #[arg(long, value_name = "STREAMS", default_value = "control-only")]
    pub(super) quic_delivery: Delivery,
    /// Let a client have at most so many streams open in each direction beside its first: 0 to 1000
    #[arg(long, value_name = "STREAMS", value_parser = value_parser!(u16).range(0..=1_000),
          default_value_t = QuicSettings::default().data_streams)]
    pub(super) quic_max_streams: u16,
    /// Close a stream on which a packet was begun and does not get on for this time, and a connection of which one stream
    /// is not read for this time while much waits on it
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(QuicSettings::default().stream_timeout))]
    pub(super) quic_stream_timeout: TimeSpan,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sockets")]
pub(super) struct SocketArguments {
    /// Send small packets at once (TCP_NODELAY)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) socket_no_delay: bool,
    /// Have the system buffer so many bytes that are sent to a connection (SO_SNDBUF); 0 leaves it to the system
    /// [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = size::<0, MAX_SOCKET_BUFFER>)]
    pub(super) socket_send_buf_size: Option<ByteSize>,
    /// Have the system buffer so many bytes that come from a connection (SO_RCVBUF); 0 leaves it to the system [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = size::<0, MAX_SOCKET_BUFFER>)]
    pub(super) socket_recv_buf_size: Option<ByteSize>,
    /// Let several processes listen on the same port (SO_REUSEPORT)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) socket_reuseport: bool,
    /// Probe whether the peer is still there where a connection was idle for so many seconds (SO_KEEPALIVE); 0 does
    /// not [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(super) socket_keepalive_time: Option<u32>,
    /// Take at most so many bytes from a connection at a time. More is faster and costs little: the buffer is lent to
    /// a connection only while there is something to read
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { 64 << 20 }>,
          default_value_t = ByteSize(ConnectionLimits::default().receive_buffer))]
    pub(super) ep_recv_buf_size: ByteSize,
}

/// What setsockopt takes.
const MAX_SOCKET_BUFFER: usize = (1 << 31) - 1;

#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub(super) struct AuthenticationArguments {
    /// Let this file say who may connect, publish and subscribe [default: auth.json in the working directory; where
    /// there is none only clients of this host are served]
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    /// Let everybody connect, publish and subscribe; there must be no auth file
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) allow_anonymous: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "MQTT")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own name")]
pub(super) struct MqttArguments {
    /// Offer retained messages
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_retain_support: bool,
    /// Offer shared subscriptions
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_shared_sub_support: bool,
    /// Offer subscription identifiers
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_sub_id_support: bool,
    /// Offer wildcards in subscriptions
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_wc_support: bool,
    /// Offer no higher QoS than this: 0, 1 or 2
    #[arg(long, value_name = "QOS", value_parser = value_parser!(u8).range(0..=2), default_value_t = 2)]
    pub(super) mqtt_maximum_qos: u8,
    /// Let a client have at most so many QoS 1 and 2 messages under way to the broker: 1 to 65535 [default: 65535,
    /// not announced]
    #[arg(long, value_name = "MESSAGES", value_parser = value_parser!(u16).range(1..))]
    pub(super) mqtt_receive_maximum: Option<u16>,
    /// Let a client send packets of at most so many bytes: 1 to 4294967295 [default: what MQTT allows, not announced]
    #[arg(long, value_name = "SIZE", value_parser = packet_size)]
    pub(super) mqtt_maximum_packet_size: Option<ByteSize>,
    /// Let a client use so many topic aliases: 0 to 65535 [default: 0, not announced]
    #[arg(long, value_name = "ALIASES")]
    pub(super) mqtt_topic_alias_maximum: Option<u16>,
    /// Use topic aliases in what is sent to clients that take them
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_auto_map_topic_alias: bool,
    /// Replace the clients' keep-alive by so many seconds; 0 turns it off [default: the client's]
    #[arg(long, value_name = "SECONDS")]
    pub(super) mqtt_server_keep_alive: Option<u16>,
    /// Replace the clients' session expiry by so many seconds: 0 to 4294967295, which is for ever [default: the
    /// client's]
    #[arg(long, value_name = "SECONDS")]
    pub(super) mqtt_session_expiry_interval: Option<u32>,
    /// Send a client with several matching subscriptions
    #[arg(long, value_name = "COPIES", default_value = "once")]
    pub(super) overlapping_subscriptions: Overlapping,
    /// Send a message of a shared subscription, of the members that are connected and have room, to
    #[arg(long, value_name = "STRATEGY", default_value = "round-robin")]
    pub(super) shared_subscription_strategy: Strategy,
    /// Drop, where a client's queue is full and holds no QoS 0 message
    #[arg(long, value_name = "POLICY", default_value = "drop-oldest")]
    pub(super) queue_policy: Policy,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of connections")]
pub(super) struct ConnectionArguments {
    /// Serve at most so many connections at a time
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().connections)]
    pub(super) max_connections: usize,
    /// Serve at most so many connections at a time from one IPv4 address, or from one IPv6 network of 64 bits
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().connections_per_address)]
    pub(super) max_connections_per_address: usize,
    /// Have at most so many connections at a time that are not let in yet: whose handshake or CONNECT is under way
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().unfinished)]
    pub(super) max_handshakes: usize,
    /// Have at most so many of them from one IPv4 address, or from one IPv6 network of 64 bits
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().unfinished_per_address)]
    pub(super) max_handshakes_per_address: usize,
    /// Take on at most so many connections in a second; those beyond are closed [default: any number]
    #[arg(long, value_name = "CONNECTIONS")]
    pub(super) max_connection_rate: Option<NonZeroU32>,
    /// Take on at most so many connections in a second from one IPv4 address, or from one IPv6 network of 64 bits
    /// [default: any number]
    #[arg(long, value_name = "CONNECTIONS")]
    pub(super) max_connection_rate_per_address: Option<NonZeroU32>,
    /// Let a client publish at most so many messages in a second [default: any number]
    #[arg(long, value_name = "MESSAGES")]
    pub(super) max_message_rate: Option<NonZeroU32>,
    /// Let a client send at most so many bytes in a second [default: any number]
    #[arg(long, value_name = "SIZE", value_parser = byte_rate)]
    pub(super) max_byte_rate: Option<ByteSize>,
    /// Where a client sends more than --max-message-rate or --max-byte-rate
    #[arg(long, value_name = "POLICY", default_value = "delay")]
    pub(super) rate_limit_policy: RateLimit,
    /// Close a connection whose handshakes are not done, or whose CONNECT has not come and been authenticated, within
    /// this time
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().connect_timeout))]
    pub(super) connect_timeout: TimeSpan,
    /// Take at most so many bytes in the packet of a client that is not authenticated
    #[arg(long, value_name = "SIZE", value_parser = first_packet_size,
          default_value_t = packet_before_connect())]
    pub(super) max_packet_before_connect: ByteSize,
    /// Take at most so many user properties in a packet
    #[arg(long, value_name = "PROPERTIES", default_value_t = ConnectionLimits::default().user_properties)]
    pub(super) max_user_properties: usize,
    /// Keep at most so many bytes of packets that have begun and not ended, and of what comes before them, of all
    /// connections [default: an eighth of what --memory-max leaves]
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>)]
    pub(super) max_unfinished_bytes_total: Option<ByteSize>,
    /// Take at most so many topic filters in one SUBSCRIBE or UNSUBSCRIBE
    #[arg(long, value_name = "FILTERS", default_value_t = ConnectionLimits::default().filters_per_packet)]
    pub(super) max_filters_per_packet: usize,
    /// Use at most so many topic aliases in what is sent to one client, with --mqtt-auto-map-topic-alias
    #[arg(long, value_name = "ALIASES", default_value_t = ConnectionLimits::default().outbound_topic_aliases)]
    pub(super) max_outbound_topic_aliases: u16,
    /// Have at most so many bytes on their way to one connection; what is more waits in the client's queue
    #[arg(long, value_name = "SIZE", value_parser = size::<1_024, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().outbound_window))]
    pub(super) outbound_window: ByteSize,
    /// Close a connection that takes nothing of what is written to it for this time
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().write_timeout))]
    pub(super) write_timeout: TimeSpan,
    /// Cut a connection that takes longer than this to be closed
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().close_timeout))]
    pub(super) close_timeout: TimeSpan,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of sessions and messages")]
#[expect(clippy::struct_field_names, reason = "each is an option of its own name")]
pub(super) struct SessionArguments {
    /// Keep at most so many sessions, of clients that are connected or not
    #[arg(long, value_name = "SESSIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = BrokerLimits::default().sessions)]
    pub(super) max_sessions: usize,
    /// Keep a session no longer than this after its connection has ended [default: as long as the client wants]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) max_session_expiry: Option<TimeSpan>,
    /// Keep at most so many subscriptions of one client
    #[arg(long, value_name = "SUBSCRIPTIONS", default_value_t = BrokerLimits::default().subscriptions_per_client)]
    pub(super) max_subscriptions_per_client: usize,
    /// Keep subscriptions of at most so many bytes of one client
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().subscription_bytes_per_client))]
    pub(super) max_subscription_bytes_per_client: ByteSize,
    /// Take topic names and filters of at most so many levels
    #[arg(long, value_name = "LEVELS", value_parser = at_least_one(65_536),
          default_value_t = BrokerLimits::default().topic_levels)]
    pub(super) max_topic_levels: usize,
    /// Take topic names and filters of at most so many bytes: 1 to 65535
    #[arg(long, value_name = "SIZE", value_parser = size::<1, 65_535>,
          default_value_t = ByteSize(BrokerLimits::default().topic_length))]
    pub(super) max_topic_length: ByteSize,
    /// Have at most so many QoS 1 and 2 messages under way to one client, or fewer if it wants that: 1 to 65535
    #[arg(long, value_name = "MESSAGES", value_parser = value_parser!(u16).range(1..),
          default_value_t = BrokerLimits::default().inflight_messages)]
    pub(super) max_inflight: u16,
    /// Have at most so many QoS 2 messages under way from one client, or fewer if --mqtt-receive-maximum says so:
    /// 1 to 65535
    #[arg(long, value_name = "MESSAGES", value_parser = at_least_one(65_535),
          default_value_t = BrokerLimits::default().inbound_qos2)]
    pub(super) max_inbound_qos2: usize,
    /// Queue at most so many messages for one client
    #[arg(long, value_name = "MESSAGES", value_parser = at_least_one(u64::MAX),
          default_value_t = BrokerLimits::default().queued_messages)]
    pub(super) max_queued_messages: usize,
    /// Queue at most so many bytes of messages for one client
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().queued_bytes))]
    pub(super) max_queued_bytes: ByteSize,
    /// Queue at most so many bytes of messages for all clients, each counted as often as it is queued; of those that the
    /// data directory holds only their places count [default: as memory allows]
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>)]
    pub(super) max_queued_bytes_total: Option<ByteSize>,
    /// Keep wills of at most so many bytes of all clients [default: a sixteenth of what --memory-max leaves]
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>)]
    pub(super) max_will_bytes_total: Option<ByteSize>,
    /// Retain at most so many messages
    #[arg(long, value_name = "MESSAGES", default_value_t = BrokerLimits::default().retained_messages)]
    pub(super) max_retained_messages: usize,
    /// Retain at most so many bytes of messages [default: a quarter of what --memory-max leaves]
    #[arg(long, value_name = "SIZE", value_parser = size::<0, { usize::MAX }>)]
    pub(super) max_retained_bytes: Option<ByteSize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct MemoryArguments {
    /// Use at most so much memory: 32MiB or more. What clients make grow is bounded so that the whole process stays
    /// below. Near to it, in this order, those publishers are not read from for whom most piles up, queued QoS 0
    /// messages are dropped, other queued messages as --queue-policy says, and new clients are refused [default: 75 % of
    /// what the cgroup or the machine has]
    #[arg(long, value_name = "SIZE", value_parser = size::<{ 32 << 20 }, { usize::MAX }>)]
    pub(super) memory_max: Option<ByteSize>,
    /// Let connections have their whole --outbound-window while so many bytes are on their way to all of them; then only
    /// those whose clients read [default: a twentieth of what --memory-max leaves]
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>)]
    pub(super) max_outbound_bytes_total: Option<ByteSize>,
    /// Have so many bytes of the messages in memory, too, that the data directory holds [default: an eighth of what
    /// --memory-max leaves, and at most 256MiB]
    #[arg(long, value_name = "SIZE", requires = "data_dir", value_parser = size::<0, { usize::MAX }>)]
    pub(super) max_cached_bytes: Option<ByteSize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Durability")]
pub(super) struct DurabilityArguments {
    /// Keep sessions, queued and retained messages in this directory, so that they survive the end of the broker
    /// [default: they are in memory, and end with it]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Acknowledge what has to be kept once this is true of it
    #[arg(long, value_name = "LEVEL", default_value = "fsync", requires = "data_dir")]
    pub(super) durability: Durable,
    /// Acknowledge messages whose topic matches a filter once something else is true of them, such as
    /// `telemetry/#=memory`; may be given several times, and the first that matches decides
    #[arg(long, value_name = "FILTER=LEVEL", action = ArgAction::Append, requires = "data_dir", value_parser = DurableTopics::from_str)]
    pub(super) durability_for: Vec<DurableTopics>,
    /// Use at most this much of the disk for the data directory, of which a message may have an eighth: 1MiB or more
    /// [default: all there is]
    #[arg(long, value_name = "SIZE", requires = "data_dir", value_parser = size::<{ 1 << 20 }, { usize::MAX }>)]
    pub(super) disk_max: Option<ByteSize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shutdown")]
pub(super) struct ShutdownArguments {
    /// Give connections this time to end when the broker is asked to stop
    #[arg(long, value_name = "TIME", value_parser = time,
          default_value_t = TimeSpan(ServerConfig::default().shutdown_grace))]
    pub(super) shutdown_grace: TimeSpan,
}

fn at_least_one(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

fn time_for_quic(text: &str) -> Result<TimeSpan, String> {
    const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
    let TimeSpan(time) = time(text)?;
    if RANGE.contains(&time) { Ok(TimeSpan(time)) } else { Err("expected a time from 1s to 1d".to_owned()) }
}

fn packet_before_connect() -> ByteSize {
    ByteSize(usize::try_from(ConnectionLimits::default().packet_before_connected).unwrap_or(usize::MAX))
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        "expected an IP address such as 127.0.0.1 or ::1, without a port: that is named by --tcp-port"
            .to_owned()
    })
}
