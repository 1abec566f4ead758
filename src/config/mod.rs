//! The command line, read into the settings of each module.
//!
//! What comes out of here is valid: each setting has its type, its range was checked, and what contradicts itself
//! was refused with a sentence. There are no other sources of settings: neither the environment nor files.
//!
//! `arguments` has the options and their help, `auth_command` those of `mqtt-broker auth`; [`Invocation`] is what they
//! become.

mod accounts;
mod arguments;
mod auth_command;
mod choices;
mod listeners;
mod runtime;
mod tls;
mod units;

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

pub use arguments::VERSION;
pub use runtime::RuntimeSettings;

use arguments::{Arguments, AuthenticationArguments, MqttArguments, RuntimeArguments};
use auth_command::Command;
use choices::Delivery;
use listeners::Ipv6;
use units::{ByteSize, TimeSpan};

use crate::auth::AuthSettings;
use crate::auth::command::AuthCommand;
use crate::broker::{BrokerConfig, BrokerLimits, Features};
use crate::connection::ConnectionLimits;
use crate::mqtt::QoS;
use crate::server::{AcceptLimits, ServerConfig};
use crate::telemetry::LogSettings;
use crate::transport::Transport;
use crate::transport::proxy::ProxySettings;

/// The auth file that is looked for where none is named.
const DEFAULT_AUTH_FILE: &str = "auth.json";

/// All that the command line says about serving clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The threads.
    pub runtime: RuntimeSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Who may do what.
    pub auth: AuthSettings,
    /// All the rest.
    pub server: ServerConfig,
    /// What the operator may want to know about how the command line was understood, a sentence each; for the log.
    pub notes: Vec<String>,
}

/// What the program is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is taken apart at once")]
pub enum Invocation {
    /// To serve clients.
    Serve(Config),
    /// To do something with an auth file.
    Auth(AuthCommand),
}

impl Invocation {
    /// Reads a command line; the first of the arguments is the program's name. The process has been passed on sockets
    /// for these transports.
    ///
    /// The error may be an answer: to `--help` and `--version`. It knows what to print, where, and with which code
    /// to exit.
    pub fn from_command_line(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        inherited: &[Transport],
    ) -> Result<Self, clap::Error> {
        Self::on_host(arguments, Ipv6::probe, inherited)
    }

    fn on_host(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        ipv6: impl FnOnce() -> Ipv6,
        inherited: &[Transport],
    ) -> Result<Self, clap::Error> {
        let mut arguments = Arguments::try_parse_from(arguments)?;
        match arguments.command.take() {
            Some(Command::Auth(command)) => Ok(Self::Auth(command.into())),
            None => Config::read(arguments, ipv6(), inherited).map(Self::Serve),
        }
    }
}

impl Config {
    fn read(arguments: Arguments, ipv6: Ipv6, inherited: &[Transport]) -> Result<Self, clap::Error> {
        let wrong = |sentence| Arguments::command().error(ErrorKind::ArgumentConflict, sentence);

        let socket = listeners::socket_options(&arguments.sockets);
        let listeners = listeners::listeners(
            &arguments.listeners,
            &listeners::quic_settings(&arguments.quic, &arguments.mqtt),
            &socket,
            ipv6,
            inherited,
        )
        .map_err(wrong)?;
        let mut notes = Vec::new();
        if ipv6 == Ipv6::Absent && arguments.listeners.bind.is_empty() {
            notes.push("this host has no IPv6: the broker listens on IPv4 only".to_owned());
        }
        if arguments.mqtt.mqtt_auto_map_topic_alias && arguments.quic.quic_delivery != Delivery::ControlOnly {
            return Err(wrong(
                "--mqtt-auto-map-topic-alias needs messages to come in order and --quic-delivery sends them on streams \
                 that overtake each other: expected one of them"
                    .to_owned(),
            ));
        }
        let tls = tls::tls_settings(&arguments.tls, &listeners, &mut notes).map_err(wrong)?;
        Ok(Self {
            runtime: runtime_settings(&arguments.runtime),
            log: LogSettings { level: arguments.log.log_level.into() },
            auth: auth_settings(&arguments.authentication).map_err(wrong)?,
            server: ServerConfig {
                listeners,
                tls,
                broker: broker_config(&arguments),
                connection: connection_limits(&arguments),
                accept: AcceptLimits {
                    connections: arguments.connections.max_connections,
                    connections_per_address: arguments.connections.max_connections_per_address,
                    unfinished: arguments.connections.max_handshakes,
                    unfinished_per_address: arguments.connections.max_handshakes_per_address,
                    connection_rate: arguments.connections.max_connection_rate,
                    connection_rate_per_address: arguments.connections.max_connection_rate_per_address,
                },
                proxies: ProxySettings {
                    transports: arguments.listeners.proxy_protocol.into_iter().map(Into::into).collect(),
                    proxies: arguments.listeners.proxy_from,
                },
                ports_file: arguments.listeners.ports_file,
                shutdown_grace: arguments.shutdown.shutdown_grace.0,
            },
            notes,
        })
    }
}

fn runtime_settings(arguments: &RuntimeArguments) -> RuntimeSettings {
    const KEPT: Duration = Duration::from_secs(10);
    RuntimeSettings {
        worker_threads: arguments.worker_threads.and_then(NonZeroUsize::new),
        max_blocking_threads: arguments.max_blocking_threads.and_then(NonZeroUsize::new),
        thread_keep_alive: arguments.thread_keep_alive.map(|keep| if keep { KEPT } else { Duration::ZERO }),
        thread_stack_size: arguments.thread_stack_size.map(|ByteSize(bytes)| bytes),
        global_queue_interval: arguments.global_queue_interval.and_then(NonZeroU32::new),
        event_interval: arguments.event_interval.and_then(NonZeroU32::new),
    }
}

fn auth_settings(arguments: &AuthenticationArguments) -> Result<AuthSettings, String> {
    match (&arguments.auth_file, arguments.allow_anonymous) {
        (Some(file), false) => Ok(AuthSettings::File(file.clone())),
        (None, false) => Ok(AuthSettings::FileIfPresent(PathBuf::from(DEFAULT_AUTH_FILE))),
        (None, true) => Ok(AuthSettings::Everybody { unless: PathBuf::from(DEFAULT_AUTH_FILE) }),
        (Some(_), true) => Err("--allow-anonymous lets everybody do everything and --auth-file says who may do what: \
                                expected one of them (a user of method \"anonymous\" in the file admits clients \
                                without credentials)"
            .to_owned()),
    }
}

fn broker_config(arguments: &Arguments) -> BrokerConfig {
    let Arguments { mqtt, sessions, connections, .. } = arguments;
    BrokerConfig {
        features: features(mqtt),
        limits: BrokerLimits {
            sessions: sessions.max_sessions,
            subscriptions_per_client: sessions.max_subscriptions_per_client,
            subscription_bytes_per_client: sessions.max_subscription_bytes_per_client.0,
            topic_levels: sessions.max_topic_levels,
            topic_length: sessions.max_topic_length.0,
            queued_messages: sessions.max_queued_messages,
            queued_bytes: sessions.max_queued_bytes.0,
            queued_bytes_total: sessions.max_queued_bytes_total.0,
            will_bytes_total: sessions.max_will_bytes_total.0,
            inflight_messages: sessions.max_inflight,
            retained_messages: sessions.max_retained_messages,
            retained_bytes: sessions.max_retained_bytes.0,
            outbound_window: connections.outbound_window.0,
            session_expiry_cap: sessions.max_session_expiry.map(|TimeSpan(time)| time),
            inbound_qos2: sessions.max_inbound_qos2,
        },
        overlapping: mqtt.overlapping_subscriptions.into(),
        shared_strategy: mqtt.shared_subscription_strategy.into(),
        queue_policy: mqtt.queue_policy.into(),
    }
}

fn features(mqtt: &MqttArguments) -> Features {
    Features {
        retain: mqtt.mqtt_retain_support,
        shared_subscriptions: mqtt.mqtt_shared_sub_support,
        subscription_identifiers: mqtt.mqtt_sub_id_support,
        wildcards: mqtt.mqtt_wc_support,
        maximum_qos: QoS::from_u8(mqtt.mqtt_maximum_qos).unwrap_or(QoS::ExactlyOnce),
        receive_maximum: receive_maximum(mqtt),
        maximum_packet_size: maximum_packet_size(mqtt),
        topic_alias_maximum: mqtt.mqtt_topic_alias_maximum.unwrap_or(0),
        server_keep_alive: mqtt.mqtt_server_keep_alive,
        session_expiry_interval: mqtt.mqtt_session_expiry_interval,
    }
}

fn connection_limits(arguments: &Arguments) -> ConnectionLimits {
    let Arguments { mqtt, connections, sockets, .. } = arguments;
    ConnectionLimits {
        connect_timeout: connections.connect_timeout.0,
        packet_before_connected: saturate(connections.max_packet_before_connect),
        maximum_packet_size: maximum_packet_size(mqtt),
        receive_maximum: receive_maximum(mqtt),
        topic_alias_maximum: mqtt.mqtt_topic_alias_maximum.unwrap_or(0),
        auto_map_topic_alias: mqtt.mqtt_auto_map_topic_alias,
        outbound_topic_aliases: connections.max_outbound_topic_aliases,
        server_keep_alive: mqtt.mqtt_server_keep_alive,
        receive_buffer: sockets.ep_recv_buf_size.0,
        user_properties: connections.max_user_properties,
        unfinished_bytes_total: connections.max_unfinished_bytes_total.0,
        filters_per_packet: connections.max_filters_per_packet,
        message_rate: connections.max_message_rate,
        byte_rate: connections
            .max_byte_rate
            .and_then(|ByteSize(bytes)| NonZeroU64::new(u64::try_from(bytes).ok()?)),
        rate_limit_policy: connections.rate_limit_policy.into(),
        write_timeout: connections.write_timeout.0,
        close_timeout: connections.close_timeout.0,
    }
}

fn receive_maximum(mqtt: &MqttArguments) -> Option<NonZeroU16> {
    mqtt.mqtt_receive_maximum.and_then(NonZeroU16::new)
}

fn maximum_packet_size(mqtt: &MqttArguments) -> Option<NonZeroU32> {
    mqtt.mqtt_maximum_packet_size.map(saturate).and_then(NonZeroU32::new)
}

fn saturate(ByteSize(bytes): ByteSize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
