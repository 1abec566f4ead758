//! The command line, option by option. The comments on the fields are the help.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser, value_parser};

use super::choices::{Level, Overlapping, Policy, Strategy};
use super::units::{ByteSize, TimeSpan, size, time, time_above_zero};
use crate::broker::BrokerLimits;
use crate::connection::ConnectionLimits;
use crate::server::{AcceptLimits, ServerConfig};

/// Which broker this is: `0.1.0 (commit abc1234)`.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("MQTT_BROKER_COMMIT"),
    ")"
);

/// An MQTT broker for MQTT 3.1, 3.1.1 and 5.0.
///
/// Options that are switches take true or false; given alone they mean true. Sizes are bytes, plain (65536) or with a
/// unit (64KiB, 16MiB, 1GiB). Times are seconds, plain (90) or with units (1m30s, 2h, 7d).
///
/// Exit codes: 0 stopped as asked, 1 failed while starting to listen or running, 2 wrong command line, 78 wrong auth
/// file.
#[derive(Debug, Parser)]
#[command(name = "mqtt-broker", version = VERSION, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) runtime: RuntimeArguments,
    #[command(flatten)]
    pub(super) log: LogArguments,
    #[command(flatten)]
    pub(super) listeners: ListenerArguments,
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
    pub(super) shutdown: ShutdownArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(super) struct RuntimeArguments {
    /// Threads that serve clients [default: one per CPU]
    #[arg(long, value_name = "THREADS", value_parser = at_least_one(1_024))]
    pub(super) worker_threads: Option<usize>,
    /// Most threads for blocking work such as verifying passwords [default: 512]
    #[arg(long, value_name = "THREADS", value_parser = at_least_one(65_536))]
    pub(super) max_blocking_threads: Option<usize>,
    /// Keep idle threads for blocking work for 10 s (true) or not at all (false) [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", hide_possible_values = true)]
    pub(super) thread_keep_alive: Option<bool>,
    /// Stack of each thread, in bytes [default: 2MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::<{ 128 << 10 }, { 1 << 30 }>)]
    pub(super) thread_stack_size: Option<ByteSize>,
    /// Scheduler ticks after which a thread looks at the queue that all threads share [default: adapted to the load]
    #[arg(long, value_name = "TICKS", value_parser = value_parser!(u32).range(1..))]
    pub(super) global_queue_interval: Option<u32>,
    /// Scheduler ticks after which a thread looks for network events and timers [default: 61]
    #[arg(long, value_name = "TICKS", value_parser = value_parser!(u32).range(1..))]
    pub(super) event_interval: Option<u32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArguments {
    /// How much the broker logs, to the standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: Level,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listeners")]
pub(super) struct ListenerArguments {
    /// Port for MQTT over TCP; 0 takes a free one [default: 1883 if there is no other listener]
    #[arg(long, value_name = "PORT")]
    pub(super) tcp_port: Option<u16>,
    /// Port for MQTT over TLS; not in this build yet
    #[arg(long, value_name = "PORT")]
    pub(super) tls_port: Option<u16>,
    /// Port for MQTT over WebSocket; not in this build yet
    #[arg(long, value_name = "PORT")]
    pub(super) ws_port: Option<u16>,
    /// Port for MQTT over WebSocket over TLS; not in this build yet
    #[arg(long, value_name = "PORT")]
    pub(super) ws_tls_port: Option<u16>,
    /// Port for MQTT over QUIC; not in this build yet
    #[arg(long, value_name = "PORT")]
    pub(super) quic_port: Option<u16>,
    /// File of the Unix socket for MQTT; removed at exit
    #[arg(long, value_name = "FILE")]
    pub(super) unix_socket: Option<PathBuf>,
    /// IP address to listen on with each port; may be given several times [default: 0.0.0.0 and, where the host has
    /// IPv6, ::]
    #[arg(long, value_name = "ADDRESS", action = ArgAction::Append, value_parser = parse_address)]
    pub(super) bind: Vec<IpAddr>,
    /// File to which the addresses and ports are written once the broker listens
    #[arg(long, value_name = "FILE")]
    pub(super) ports_file: Option<PathBuf>,
    /// File of the server's certificate chain, in PEM; not in this build yet
    #[arg(long, value_name = "FILE")]
    pub(super) server_crt: Option<PathBuf>,
    /// File of the server's private key, in PEM; not in this build yet
    #[arg(long, value_name = "FILE")]
    pub(super) server_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sockets")]
pub(super) struct SocketArguments {
    /// Send small packets at once (TCP_NODELAY)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) socket_no_delay: bool,
    /// The system's send buffer of a TCP connection (SO_SNDBUF), in bytes; 0 leaves it [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = size::<0, MAX_SOCKET_BUFFER>)]
    pub(super) socket_send_buf_size: Option<ByteSize>,
    /// The system's receive buffer of a TCP connection (SO_RCVBUF), in bytes; 0 leaves it [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = size::<0, MAX_SOCKET_BUFFER>)]
    pub(super) socket_recv_buf_size: Option<ByteSize>,
    /// Let several processes listen on the same port (SO_REUSEPORT)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) socket_reuseport: bool,
    /// Idle time after which TCP probes whether the peer is still there (SO_KEEPALIVE), in seconds; 0 turns it off
    /// [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(super) socket_keepalive_time: Option<u32>,
    /// Most bytes taken from a connection at a time; the buffer is lent to a connection only while it reads
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { 64 << 20 }>,
          default_value_t = ByteSize(ConnectionLimits::default().receive_buffer))]
    pub(super) ep_recv_buf_size: ByteSize,
}

/// What setsockopt takes.
const MAX_SOCKET_BUFFER: usize = (1 << 31) - 1;

#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub(super) struct AuthenticationArguments {
    /// File that says who may connect, publish and subscribe [default: auth.json in the working directory; without
    /// it only clients of this host are served]
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
    /// Retained messages
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_retain_support: bool,
    /// Shared subscriptions
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_shared_sub_support: bool,
    /// Subscription identifiers
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_sub_id_support: bool,
    /// Wildcards in subscriptions
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_wc_support: bool,
    /// Highest QoS that clients may use: 0, 1 or 2
    #[arg(long, value_name = "QOS", value_parser = value_parser!(u8).range(0..=2), default_value_t = 2)]
    pub(super) mqtt_maximum_qos: u8,
    /// QoS 1 and 2 messages that a client may have under way to the broker: 1 to 65535 [default: 65535, not
    /// announced]
    #[arg(long, value_name = "MESSAGES", value_parser = value_parser!(u16).range(1..))]
    pub(super) mqtt_receive_maximum: Option<u16>,
    /// Largest packet that a client may send, in bytes: 1 to 4294967295 [default: what MQTT allows, not announced]
    #[arg(long, value_name = "SIZE", value_parser = size::<1, MAX_U32>)]
    pub(super) mqtt_maximum_packet_size: Option<ByteSize>,
    /// Topic aliases that a client may use: 0 to 65535 [default: 0, not announced]
    #[arg(long, value_name = "ALIASES")]
    pub(super) mqtt_topic_alias_maximum: Option<u16>,
    /// Use topic aliases in what is sent to clients that take them
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          action = ArgAction::Set, hide_possible_values = true)]
    pub(super) mqtt_auto_map_topic_alias: bool,
    /// Keep-alive that replaces the clients' own, in seconds; 0 turns it off [default: the client's]
    #[arg(long, value_name = "SECONDS")]
    pub(super) mqtt_server_keep_alive: Option<u16>,
    /// Session expiry that replaces the clients' own, in seconds: 0 to 4294967295, which is for ever [default: the
    /// client's]
    #[arg(long, value_name = "SECONDS")]
    pub(super) mqtt_session_expiry_interval: Option<u32>,
    /// What a client with several matching subscriptions gets
    #[arg(long, value_name = "COPIES", default_value = "once")]
    pub(super) overlapping_subscriptions: Overlapping,
    /// Which member of a shared subscription gets a message, of those that are connected and have room
    #[arg(long, value_name = "STRATEGY", default_value = "round-robin")]
    pub(super) shared_subscription_strategy: Strategy,
    /// What gives way where a client's queue is full and holds no QoS 0 message
    #[arg(long, value_name = "POLICY", default_value = "drop-oldest")]
    pub(super) queue_policy: Policy,
}

#[cfg(target_pointer_width = "64")]
const MAX_U32: usize = 0xFFFF_FFFF;
#[cfg(not(target_pointer_width = "64"))]
const MAX_U32: usize = usize::MAX;

/// The largest packet that MQTT can say: one byte, four of length, and 268,435,455.
const MAX_PACKET: usize = 268_435_460;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of connections")]
pub(super) struct ConnectionArguments {
    /// Connections at a time
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().connections)]
    pub(super) max_connections: usize,
    /// Connections at a time from one IPv4 address, or from one IPv6 network of 64 bits
    #[arg(long, value_name = "CONNECTIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = AcceptLimits::default().connections_per_address)]
    pub(super) max_connections_per_address: usize,
    /// Time from a connection's beginning until its CONNECT is there and its client authenticated
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().connect_timeout))]
    pub(super) connect_timeout: TimeSpan,
    /// Largest packet of a client that is not authenticated, in bytes
    #[arg(long, value_name = "SIZE", value_parser = size::<64, MAX_PACKET>,
          default_value_t = packet_before_connect())]
    pub(super) max_packet_before_connect: ByteSize,
    /// User properties of a packet
    #[arg(long, value_name = "PROPERTIES", default_value_t = ConnectionLimits::default().user_properties)]
    pub(super) max_user_properties: usize,
    /// Topic aliases given to one client, with --mqtt-auto-map-topic-alias
    #[arg(long, value_name = "ALIASES", default_value_t = ConnectionLimits::default().outbound_topic_aliases)]
    pub(super) max_outbound_topic_aliases: u16,
    /// Bytes on their way to one connection; what is more waits in the client's queue
    #[arg(long, value_name = "SIZE", value_parser = size::<1_024, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().outbound_window))]
    pub(super) outbound_window: ByteSize,
    /// Time without any progress after which a write ends its connection
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().write_timeout))]
    pub(super) write_timeout: TimeSpan,
    /// Time for the last words to a client before its connection is cut
    #[arg(long, value_name = "TIME", value_parser = time_above_zero,
          default_value_t = TimeSpan(ConnectionLimits::default().close_timeout))]
    pub(super) close_timeout: TimeSpan,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of sessions and messages")]
pub(super) struct SessionArguments {
    /// Sessions, of clients that are connected or not
    #[arg(long, value_name = "SESSIONS", value_parser = at_least_one(u64::MAX),
          default_value_t = BrokerLimits::default().sessions)]
    pub(super) max_sessions: usize,
    /// Time that a session may outlive its connection [default: as long as the client wants]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) max_session_expiry: Option<TimeSpan>,
    /// Subscriptions of one client
    #[arg(long, value_name = "SUBSCRIPTIONS", default_value_t = BrokerLimits::default().subscriptions_per_client)]
    pub(super) max_subscriptions_per_client: usize,
    /// Levels of a topic name or filter
    #[arg(long, value_name = "LEVELS", value_parser = at_least_one(65_536),
          default_value_t = BrokerLimits::default().topic_levels)]
    pub(super) max_topic_levels: usize,
    /// Bytes of a topic name or filter
    #[arg(long, value_name = "SIZE", value_parser = size::<1, 65_535>,
          default_value_t = ByteSize(BrokerLimits::default().topic_length))]
    pub(super) max_topic_length: ByteSize,
    /// QoS 1 and 2 messages under way to one client, if it does not want fewer
    #[arg(long, value_name = "MESSAGES", value_parser = value_parser!(u16).range(1..),
          default_value_t = BrokerLimits::default().inflight_messages)]
    pub(super) max_inflight: u16,
    /// QoS 2 messages of one client whose exchange is not complete, if --mqtt-receive-maximum does not say less
    #[arg(long, value_name = "MESSAGES", value_parser = at_least_one(65_535),
          default_value_t = BrokerLimits::default().inbound_qos2)]
    pub(super) max_inbound_qos2: usize,
    /// Messages that wait for one client
    #[arg(long, value_name = "MESSAGES", value_parser = at_least_one(u64::MAX),
          default_value_t = BrokerLimits::default().queued_messages)]
    pub(super) max_queued_messages: usize,
    /// Bytes of the messages that wait for one client
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().queued_bytes))]
    pub(super) max_queued_bytes: ByteSize,
    /// Bytes of the messages that wait for all clients, each counted as often as it waits
    #[arg(long, value_name = "SIZE", value_parser = size::<1, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().queued_bytes_total))]
    pub(super) max_queued_bytes_total: ByteSize,
    /// Retained messages
    #[arg(long, value_name = "MESSAGES", default_value_t = BrokerLimits::default().retained_messages)]
    pub(super) max_retained_messages: usize,
    /// Bytes of the retained messages
    #[arg(long, value_name = "SIZE", value_parser = size::<0, { usize::MAX }>,
          default_value_t = ByteSize(BrokerLimits::default().retained_bytes))]
    pub(super) max_retained_bytes: ByteSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shutdown")]
pub(super) struct ShutdownArguments {
    /// Time that connections are given to end when the broker is asked to stop
    #[arg(long, value_name = "TIME", value_parser = time,
          default_value_t = TimeSpan(ServerConfig::default().shutdown_grace))]
    pub(super) shutdown_grace: TimeSpan,
}

fn at_least_one(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

fn packet_before_connect() -> ByteSize {
    ByteSize(usize::try_from(ConnectionLimits::default().packet_before_connected).unwrap_or(MAX_PACKET))
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().map_err(|_| {
        "expected an IP address such as 127.0.0.1 or ::1, without a port: that is named by --tcp-port"
            .to_owned()
    })
}
