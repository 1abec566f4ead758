//! The command line, read into the settings of each module.
//!
//! What comes out of here is valid: each setting has its type, its range was checked, and what contradicts itself
//! was refused with a sentence. There are no other sources of settings: neither the environment nor files.
//!
//! `arguments` has the options and their help, `auth_command` and `store_command` those of `mqtt-broker auth` and
//! `mqtt-broker store`; [`Invocation`] is what they become.

mod accounts;
mod arguments;
mod auth_command;
mod choices;
mod listeners;
mod memory;
mod own_listener;
mod runtime;
mod store_command;
mod tls;
mod units;

use std::collections::BTreeMap;
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
use choices::{Delivery, DurableTopics};
use listeners::{Ipv6, Listening};
use memory::MemoryBounds;
use own_listener::{OwnListener, OwnTerms};
use units::{ByteSize, TimeSpan};

use crate::auth::AuthSettings;
use crate::auth::command::AuthCommand;
use crate::broker::{BrokerConfig, BrokerLimits, DurabilityRules, Features, PolicyName};
use crate::connection::ConnectionLimits;
use crate::mqtt::QoS;
use crate::server::{AcceptLimits, DataDirectory, ListenerGroup, ServerConfig, Terms};
use crate::storage::command::StoreCommand;
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
    /// Who may do what under policies of their own, which some listeners have.
    pub own_auth: BTreeMap<PolicyName, AuthSettings>,
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
    /// To do something with a data directory.
    Store(StoreCommand),
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
        Self::on_host(arguments, Host::probe, inherited)
    }

    fn on_host(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        host: impl FnOnce() -> Host,
        inherited: &[Transport],
    ) -> Result<Self, clap::Error> {
        let mut arguments = Arguments::try_parse_from(arguments)?;
        match arguments.command.take() {
            Some(Command::Auth(command)) => Ok(Self::Auth(command.into())),
            Some(Command::Store(command)) => Ok(Self::Store(command.into())),
            None => Config::read(arguments, host(), inherited).map(Self::Serve),
        }
    }
}

/// What the broker runs on.
struct Host {
    ipv6: Ipv6,
    /// The bytes of memory that there are; `None`: it does not tell.
    memory: Option<usize>,
}

impl Host {
    fn probe() -> Self {
        Self { ipv6: Ipv6::probe(), memory: memory::of_host() }
    }
}

impl Config {
    fn read(
        arguments: Arguments,
        Host { ipv6, memory }: Host,
        inherited: &[Transport],
    ) -> Result<Self, clap::Error> {
        let wrong = |sentence| Arguments::command().error(ErrorKind::ArgumentConflict, sentence);

        let mut notes = Vec::new();
        let bounds = MemoryBounds::read(&arguments, memory, &mut notes).map_err(wrong)?;
        let connection = connection_limits(&arguments, &bounds);
        let listening = Listening {
            arguments: &arguments.listeners,
            quic: &arguments.quic,
            mqtt: &arguments.mqtt,
            socket: listeners::socket_options(&arguments.sockets),
            ipv6,
            inherited,
        };
        let listeners = listening.common(connection.maximum_packet_size).map_err(wrong)?;
        let mut auth = auth_settings(&arguments.authentication).map_err(wrong)?;
        let mut own_auth = BTreeMap::new();
        let mut groups = Vec::new();
        for OwnListener { place, terms } in &arguments.listeners.listener {
            let policy = own_policy(terms, &mut auth, &mut own_auth).map_err(wrong)?;
            if terms.durability.is_some() && arguments.durability.data_dir.is_none() {
                return Err(wrong("durability of a --listener has no meaning without --data-dir".to_owned()));
            }
            let own = Terms {
                connection: terms.connection(&connection),
                accept: terms.accept(),
                policy,
                durability: terms.durability.map(Into::into),
            };
            let listeners = listening.at(place, terms.unix_access, own.connection.maximum_packet_size);
            groups.push(ListenerGroup { listeners: listeners.map_err(wrong)?, terms: own });
        }
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
        let all = groups.iter().flat_map(|group| &group.listeners).chain(&listeners);
        let tls = tls::tls_settings(&arguments.tls, all, &mut notes).map_err(wrong)?;
        Ok(Self {
            runtime: runtime_settings(&arguments.runtime),
            log: LogSettings { level: arguments.log.log_level.into() },
            auth,
            own_auth,
            server: ServerConfig {
                listeners,
                groups,
                tls,
                broker: broker_config(&arguments, &bounds),
                data: arguments.durability.data_dir.map(|path| DataDirectory {
                    path,
                    disk_max: arguments
                        .durability
                        .disk_max
                        .map(|ByteSize(bytes)| u64::try_from(bytes).unwrap_or(u64::MAX)),
                }),
                connection,
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
        (None, true) => Ok(AuthSettings::Everybody { unless: Some(PathBuf::from(DEFAULT_AUTH_FILE)) }),
        (Some(_), true) => Err("--allow-anonymous lets everybody do everything and --auth-file says who may do what: \
                                expected one of them (a user of method \"anonymous\" in the file admits clients \
                                without credentials)"
            .to_owned()),
    }
}

/// Under which policy clients come at a listener with these terms. Where it is another than elsewhere, `all` gets what
/// it is.
fn own_policy(
    terms: &OwnTerms,
    elsewhere: &mut AuthSettings,
    all: &mut BTreeMap<PolicyName, AuthSettings>,
) -> Result<PolicyName, String> {
    let (name, own) = match (&terms.auth_file, terms.allow_anonymous) {
        (Some(file), _) => {
            (PolicyName::new(&format!("file:{}", file.display())), AuthSettings::File(file.clone()))
        }
        (None, Some(true)) => (PolicyName::new("everybody"), AuthSettings::Everybody { unless: None }),
        (None, Some(false)) if matches!(elsewhere, AuthSettings::Everybody { .. }) => {
            return Err(
                "--listener: allow-anonymous=false leaves open who may come in there: expected auth-file"
                    .to_owned(),
            );
        }
        (None, Some(false) | None) => return Ok(PolicyName::default()),
    };
    if let (AuthSettings::File(own), AuthSettings::FileIfPresent(file)) = (&own, &*elsewhere)
        && own == file
    {
        // It has been named, and so must be there.
        *elsewhere = AuthSettings::File(own.clone());
    }
    let is_same = match (&own, &*elsewhere) {
        (AuthSettings::Everybody { .. }, AuthSettings::Everybody { .. }) => true,
        (own, elsewhere) => own == elsewhere,
    };
    if is_same {
        return Ok(PolicyName::default());
    }
    all.insert(name.clone(), own);
    Ok(name)
}

fn broker_config(arguments: &Arguments, bounds: &MemoryBounds) -> BrokerConfig {
    let Arguments { mqtt, sessions, connections, durability, .. } = arguments;
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
            queued_bytes_total: bounds.queued,
            will_bytes_total: bounds.wills,
            inflight_messages: sessions.max_inflight,
            retained_messages: sessions.max_retained_messages,
            retained_bytes: bounds.retained,
            outbound_window: connections.outbound_window.0,
            outbound_total: bounds.outbound,
            kept_message_bytes: usize::MAX,
            memory: bounds.memory,
            cached_bytes: bounds.cached,
            session_expiry_cap: sessions.max_session_expiry.map(|TimeSpan(time)| time),
            inbound_qos2: sessions.max_inbound_qos2,
        },
        overlapping: mqtt.overlapping_subscriptions.into(),
        shared_strategy: mqtt.shared_subscription_strategy.into(),
        queue_policy: mqtt.queue_policy.into(),
        durability: DurabilityRules {
            default: durability.durability.into(),
            by_topic: durability
                .durability_for
                .iter()
                .map(|DurableTopics { filter, durability }| (filter.clone(), (*durability).into()))
                .collect(),
        },
    }
}

fn features(mqtt: &MqttArguments) -> Features {
    Features {
        retain: mqtt.mqtt_retain_support,
        shared_subscriptions: mqtt.mqtt_shared_sub_support,
        subscription_identifiers: mqtt.mqtt_sub_id_support,
        wildcards: mqtt.mqtt_wc_support,
        maximum_qos: QoS::from_u8(mqtt.mqtt_maximum_qos).unwrap_or(QoS::ExactlyOnce),
        session_expiry_interval: mqtt.mqtt_session_expiry_interval,
    }
}

fn connection_limits(arguments: &Arguments, bounds: &MemoryBounds) -> ConnectionLimits {
    let Arguments { mqtt, connections, sockets, .. } = arguments;
    ConnectionLimits {
        connect_timeout: connections.connect_timeout.0,
        packet_before_connected: connections.max_packet_before_connect.saturating_u32(),
        maximum_packet_size: mqtt
            .mqtt_maximum_packet_size
            .map(ByteSize::saturating_u32)
            .and_then(NonZeroU32::new),
        receive_maximum: mqtt.mqtt_receive_maximum.and_then(NonZeroU16::new),
        topic_alias_maximum: mqtt.mqtt_topic_alias_maximum.unwrap_or(0),
        auto_map_topic_alias: mqtt.mqtt_auto_map_topic_alias,
        outbound_topic_aliases: connections.max_outbound_topic_aliases,
        server_keep_alive: mqtt.mqtt_server_keep_alive,
        receive_buffer: sockets.ep_recv_buf_size.0,
        user_properties: connections.max_user_properties,
        unfinished_bytes_total: bounds.unfinished,
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

#[cfg(test)]
mod tests;
