//! Listeners on terms of their own, as they are written: `tcp:1884,auth-file=guests.json,max-connections=100`.
//!
//! First the kind of listener and where it listens, then the terms. A term is an option of the command line without
//! its dashes, means the same, and takes the same values.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use super::accounts::{group, mode, user};
use super::choices::{Durable, RateLimit};
use super::units::{ByteSize, TimeSpan, byte_rate, first_packet_size, packet_size, time_above_zero};
use crate::connection::ConnectionLimits;
use crate::server::AcceptLimits;
use crate::transport::{Transport, UnixAccess};

/// One of `--listener`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnListener {
    pub(super) place: Place,
    pub(super) terms: OwnTerms,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On a port; without an address on those of `--bind`.
    Port { transport: Transport, address: Option<IpAddr>, port: u16 },
    /// On a Unix socket in this file.
    Unix(PathBuf),
}

/// What is different there; `None`: as elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OwnTerms {
    pub(super) auth_file: Option<PathBuf>,
    pub(super) allow_anonymous: Option<bool>,
    pub(super) unix_access: UnixAccess,
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    max_handshakes: Option<usize>,
    max_handshakes_per_address: Option<usize>,
    max_connection_rate: Option<NonZeroU32>,
    max_connection_rate_per_address: Option<NonZeroU32>,
    max_message_rate: Option<NonZeroU32>,
    max_byte_rate: Option<ByteSize>,
    rate_limit_policy: Option<RateLimit>,
    connect_timeout: Option<TimeSpan>,
    max_packet_before_connect: Option<ByteSize>,
    mqtt_maximum_packet_size: Option<ByteSize>,
    mqtt_receive_maximum: Option<NonZeroU16>,
    mqtt_server_keep_alive: Option<u16>,
    write_timeout: Option<TimeSpan>,
    pub(super) durability: Option<Durable>,
}

impl FromStr for OwnListener {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place: Place = parts.next().unwrap_or_default().parse()?;
        let mut terms = OwnTerms::default();
        let mut seen = BTreeSet::new();
        for part in parts {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
            terms.set(name, value)?;
            if !seen.insert(name) {
                return Err(format!("{name} is given twice"));
            }
            if name.starts_with("unix-") && !matches!(place, Place::Unix(_)) {
                return Err(format!("{name} is for listeners of kind unix"));
            }
        }
        if terms.auth_file.is_some() && terms.allow_anonymous == Some(true) {
            return Err(
                "allow-anonymous lets everybody do everything and auth-file says who may do what: expected \
                        one of them"
                    .to_owned(),
            );
        }
        Ok(Self { place, terms })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected a kind of listener and where it listens, such as tcp:1884, tls:[::1]:8884 or \
             unix:/run/mqtt.sock, and behind a comma what is different there, such as tcp:1884,max-connections=100"
                .to_owned()
        };
        let (kind, place) = text.split_once(':').ok_or_else(expected)?;
        let transport = match kind {
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "ws" => Transport::WebSocket,
            "wss" => Transport::WebSocketTls,
            "quic" => Transport::Quic,
            "unix" if place.is_empty() => {
                return Err("expected a file, such as unix:/run/mqtt.sock".to_owned());
            }
            "unix" => return Ok(Self::Unix(PathBuf::from(place))),
            _ => {
                return Err(format!(
                    "{kind} is no kind of listener: expected tcp, tls, ws, wss, quic or unix"
                ));
            }
        };
        if let Ok(port) = place.parse() {
            return Ok(Self::Port { transport, address: None, port });
        }
        let address: SocketAddr = place.parse().map_err(|_| {
            format!(
                "{place} is not where to listen: expected a port, or an IP address and a port, such as 1884, \
                     127.0.0.1:1884 or [::1]:1884"
            )
        })?;
        Ok(Self::Port { transport, address: Some(address.ip()), port: address.port() })
    }
}

/// All terms, in the order in which they are listed where something else is found.
const TERMS: [&str; 21] = [
    "auth-file",
    "allow-anonymous",
    "max-connections",
    "max-connections-per-address",
    "max-handshakes",
    "max-handshakes-per-address",
    "max-connection-rate",
    "max-connection-rate-per-address",
    "max-message-rate",
    "max-byte-rate",
    "rate-limit-policy",
    "connect-timeout",
    "max-packet-before-connect",
    "mqtt-maximum-packet-size",
    "mqtt-receive-maximum",
    "mqtt-server-keep-alive",
    "write-timeout",
    "durability",
    "unix-socket-mode",
    "unix-socket-user",
    "unix-socket-group",
];

impl OwnTerms {
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        if !TERMS.contains(&name) {
            return Err(format!(
                "{name:?} is nothing that a listener can have by itself: expected {}",
                listed(&TERMS)
            ));
        }
        let value = match (name, value) {
            ("allow-anonymous", None) => "true",
            (_, Some(value)) if !value.is_empty() => value,
            _ => return Err(format!("{name} has no value: expected one behind an equals sign")),
        };
        self.read(name, value).map_err(|expected| format!("{name}={value}: {expected}"))
    }

    fn read(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "auth-file" => self.auth_file = Some(PathBuf::from(value)),
            "allow-anonymous" => self.allow_anonymous = Some(parse(value, "true or false")?),
            "max-connections" => self.max_connections = Some(above_zero(value)?),
            "max-connections-per-address" => self.max_connections_per_address = Some(above_zero(value)?),
            "max-handshakes" => self.max_handshakes = Some(above_zero(value)?),
            "max-handshakes-per-address" => self.max_handshakes_per_address = Some(above_zero(value)?),
            "max-connection-rate" => self.max_connection_rate = Some(parse(value, RATE)?),
            "max-connection-rate-per-address" => {
                self.max_connection_rate_per_address = Some(parse(value, RATE)?);
            }
            "max-message-rate" => self.max_message_rate = Some(parse(value, RATE)?),
            "max-byte-rate" => self.max_byte_rate = Some(byte_rate(value)?),
            "rate-limit-policy" => {
                let policy = RateLimit::from_str(value, false).map_err(|_| "expected delay or disconnect")?;
                self.rate_limit_policy = Some(policy);
            }
            "connect-timeout" => self.connect_timeout = Some(time_above_zero(value)?),
            "max-packet-before-connect" => self.max_packet_before_connect = Some(first_packet_size(value)?),
            "mqtt-maximum-packet-size" => self.mqtt_maximum_packet_size = Some(packet_size(value)?),
            "mqtt-receive-maximum" => {
                self.mqtt_receive_maximum = Some(parse(value, "a number from 1 to 65535")?);
            }
            "mqtt-server-keep-alive" => {
                self.mqtt_server_keep_alive = Some(parse(value, "a number of seconds up to 65535")?);
            }
            "write-timeout" => self.write_timeout = Some(time_above_zero(value)?),
            "durability" => {
                let durability =
                    Durable::from_str(value, false).map_err(|_| "expected fsync, os or memory")?;
                self.durability = Some(durability);
            }
            "unix-socket-mode" => self.unix_access.mode = Some(mode(value)?),
            "unix-socket-user" => self.unix_access.user = Some(user(value)?),
            "unix-socket-group" => self.unix_access.group = Some(group(value)?),
            _ => return Err("it is in the list of terms and nothing is done about it".to_owned()),
        }
        Ok(())
    }

    /// The bounds on a connection there, where elsewhere they are these.
    pub(super) fn connection(&self, elsewhere: &ConnectionLimits) -> ConnectionLimits {
        let own = self.clone();
        let mut limits = elsewhere.clone();
        let set_time = |field: &mut std::time::Duration, time: Option<TimeSpan>| {
            if let Some(TimeSpan(time)) = time {
                *field = time;
            }
        };
        set_time(&mut limits.connect_timeout, own.connect_timeout);
        set_time(&mut limits.write_timeout, own.write_timeout);
        if let Some(size) = own.max_packet_before_connect {
            limits.packet_before_connected = size.saturating_u32();
        }
        if let Some(policy) = own.rate_limit_policy {
            limits.rate_limit_policy = policy.into();
        }
        let packet_size =
            own.mqtt_maximum_packet_size.and_then(|size| NonZeroU32::new(size.saturating_u32()));
        let byte_rate =
            own.max_byte_rate.and_then(|ByteSize(bytes)| NonZeroU64::new(u64::try_from(bytes).ok()?));
        limits.maximum_packet_size = packet_size.or(limits.maximum_packet_size);
        limits.receive_maximum = own.mqtt_receive_maximum.or(limits.receive_maximum);
        limits.server_keep_alive = own.mqtt_server_keep_alive.or(limits.server_keep_alive);
        limits.message_rate = own.max_message_rate.or(limits.message_rate);
        limits.byte_rate = byte_rate.or(limits.byte_rate);
        limits
    }

    /// How many connections there may be, and come, there.
    pub(super) fn accept(&self) -> AcceptLimits {
        let none = AcceptLimits::NONE;
        AcceptLimits {
            connections: self.max_connections.unwrap_or(none.connections),
            connections_per_address: self.max_connections_per_address.unwrap_or(none.connections_per_address),
            unfinished: self.max_handshakes.unwrap_or(none.unfinished),
            unfinished_per_address: self.max_handshakes_per_address.unwrap_or(none.unfinished_per_address),
            connection_rate: self.max_connection_rate,
            connection_rate_per_address: self.max_connection_rate_per_address,
        }
    }
}

const RATE: &str = "a number above zero";

fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {expected}"))
}

fn above_zero(value: &str) -> Result<usize, String> {
    parse(value, RATE).map(std::num::NonZeroUsize::get)
}

fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, names)) => format!("{} or {last}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check_place(text: &str, expected: Place) {
        let listener: OwnListener = text.parse().unwrap();
        assert_eq!((listener.place, listener.terms), (expected, OwnTerms::default()), "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, parts: &[&str]) {
        let sentence = text.parse::<OwnListener>().expect_err(text);
        for part in parts {
            assert!(sentence.contains(part), "{text}: no {part:?} in {sentence}");
        }
    }

    fn terms(text: &str) -> OwnTerms {
        format!("unix:socket,{text}").parse::<OwnListener>().unwrap().terms
    }

    #[test]
    fn a_listener_is_a_kind_and_a_place() {
        let port = |transport, address: Option<&str>, port| Place::Port {
            transport,
            address: address.map(|address| address.parse().unwrap()),
            port,
        };
        check_place("tcp:1884", port(Transport::Tcp, None, 1_884));
        check_place("tls:0", port(Transport::Tls, None, 0));
        check_place("ws:127.0.0.1:80", port(Transport::WebSocket, Some("127.0.0.1"), 80));
        check_place("wss:[::1]:443", port(Transport::WebSocketTls, Some("::1"), 443));
        check_place("quic:14567", port(Transport::Quic, None, 14_567));
        check_place("unix:/run/mqtt:1.sock", Place::Unix("/run/mqtt:1.sock".into()));
        check_refused("1884", &["such as tcp:1884"]);
        check_refused("", &["such as tcp:1884"]);
        check_refused("udp:1884", &["udp is no kind of listener", "quic or unix"]);
        check_refused("tcp:", &["expected a port"]);
        check_refused("tcp:65536", &["65536", "expected a port"]);
        check_refused("tcp:localhost:1884", &["localhost:1884", "expected a port"]);
        check_refused("unix:", &["expected a file"]);
    }

    #[test]
    fn every_term_is_read() {
        let values = |name| match name {
            "auth-file" => "guests.json",
            "allow-anonymous" => "true",
            "rate-limit-policy" => "disconnect",
            "unix-socket-mode" => "0660",
            "durability" => "os",
            _ => "1234",
        };
        for name in TERMS {
            assert_ne!(terms(&format!("{name}={}", values(name))), OwnTerms::default(), "{name}");
        }
    }

    #[test]
    fn what_a_connection_may_do_takes_the_place_of_what_it_may_elsewhere() {
        let elsewhere = ConnectionLimits { message_rate: NonZeroU32::new(7), ..ConnectionLimits::default() };
        assert_eq!(OwnTerms::default().connection(&elsewhere), elsewhere);
        let own = terms(
            "max-byte-rate=1KiB,rate-limit-policy=disconnect,connect-timeout=3s,max-packet-before-connect=128,\
             mqtt-maximum-packet-size=1KiB,mqtt-receive-maximum=5,mqtt-server-keep-alive=0,write-timeout=1m",
        );
        let expected = ConnectionLimits {
            connect_timeout: Duration::from_secs(3),
            packet_before_connected: 128,
            maximum_packet_size: NonZeroU32::new(1_024),
            receive_maximum: NonZeroU16::new(5),
            server_keep_alive: Some(0),
            byte_rate: NonZeroU64::new(1_024),
            rate_limit_policy: crate::connection::RateLimitPolicy::Disconnect,
            write_timeout: Duration::from_secs(60),
            ..elsewhere
        };
        assert_eq!(own.connection(&elsewhere), expected);
        assert_eq!(terms("max-message-rate=8").connection(&elsewhere).message_rate, NonZeroU32::new(8));
    }

    #[test]
    fn how_many_there_may_be_is_counted_there_alone() {
        assert_eq!(OwnTerms::default().accept(), AcceptLimits::NONE);
        let own = terms(
            "max-connections=1,max-connections-per-address=2,max-handshakes=3,max-handshakes-per-address=4,\
             max-connection-rate=5,max-connection-rate-per-address=6",
        );
        let expected = AcceptLimits {
            connections: 1,
            connections_per_address: 2,
            unfinished: 3,
            unfinished_per_address: 4,
            connection_rate: NonZeroU32::new(5),
            connection_rate_per_address: NonZeroU32::new(6),
        };
        assert_eq!(own.accept(), expected);
    }

    #[test]
    fn what_is_no_term_is_refused_in_a_sentence() {
        check_refused(
            "tcp:1,colour=red",
            &["\"colour\"", "auth-file, allow-anonymous", "or unix-socket-group"],
        );
        check_refused("tcp:1,", &["\"\"", "expected auth-file"]);
        check_refused("tcp:1,max-connections", &["max-connections has no value"]);
        check_refused("tcp:1,auth-file=", &["auth-file has no value"]);
        check_refused("tcp:1,max-connections=0", &["max-connections=0", "above zero"]);
        check_refused("tcp:1,max-byte-rate=fast", &["max-byte-rate=fast", "64KiB"]);
        check_refused("tcp:1,allow-anonymous=yes", &["allow-anonymous=yes", "true or false"]);
        check_refused("tcp:1,max-handshakes=1,max-handshakes=2", &["max-handshakes is given twice"]);
        check_refused("tcp:1,unix-socket-mode=0600", &["unix-socket-mode is for listeners of kind unix"]);
        check_refused("tcp:1,allow-anonymous,auth-file=a", &["expected one of them"]);
    }
}
