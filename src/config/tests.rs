mod commands;

use std::env;
use std::fs;
use std::path::Path;

use super::*;
use crate::broker::{OverlappingSubscriptions, QueuePolicy, SharedStrategy};
use crate::connection::RateLimitPolicy;
use crate::transport::proxy::Network;
use crate::transport::quic::{QuicDelivery, QuicSettings};
use crate::transport::tls::{
    CertificateFiles, ClientCertificate, ClientSettings, IdentitySource, TlsSettings,
};
use crate::transport::{ListenerConfig, SocketOptions, Transport, UnixAccess, WebSocketOptions};

fn parse_on(ipv6: Ipv6, line: &str) -> Result<Config, clap::Error> {
    parse_with(ipv6, &[], line)
}

fn parse_with(ipv6: Ipv6, inherited: &[Transport], line: &str) -> Result<Config, clap::Error> {
    let arguments = ["mqtt-broker"].into_iter().chain(line.split_whitespace());
    match Invocation::on_host(arguments, || Host { ipv6, memory: None }, inherited)? {
        Invocation::Serve(config) => Ok(config),
        Invocation::Auth(command) => panic!("{line}: {command:?}"),
        Invocation::Store(command) => panic!("{line}: {command:?}"),
    }
}

fn parse(line: &str) -> Result<Config, clap::Error> {
    parse_on(Ipv6::Present, line)
}

#[track_caller]
fn parsed(line: &str) -> Config {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// With this option, and no other, the settings must be the default ones but for `change`.
#[track_caller]
fn check(line: &str, change: impl FnOnce(&mut Config)) {
    let mut expected = parsed("");
    change(&mut expected);
    assert_eq!(parsed(line), expected, "{line}");
}

/// With this option, and no other, this field must have this value, and all others their defaults.
macro_rules! check {
    ($line:expr, $($field:ident).+ = $value:expr) => {
        check($line, |config| config.$($field).+ = $value)
    };
}

/// The command line must be refused, in a sentence with these parts.
#[track_caller]
fn check_refused(line: &str, parts: &[&str]) {
    let error = parse(line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    assert!(error.use_stderr(), "{line}");
    let sentence = error.to_string();
    for part in parts {
        assert!(sentence.contains(part), "{line}: no {part:?} in {sentence}");
    }
}

fn tcp(address: &str) -> ListenerConfig {
    ListenerConfig::Tcp { address: address.parse().unwrap(), socket: SocketOptions::default() }
}

fn websocket_options(paths: &[&str], origins: &[&str]) -> WebSocketOptions {
    WebSocketOptions {
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
    }
}

fn websocket(address: &str, options: &WebSocketOptions) -> ListenerConfig {
    ListenerConfig::WebSocket {
        address: address.parse().unwrap(),
        socket: SocketOptions::default(),
        options: options.clone(),
    }
}

fn sockets(config: &mut Config) -> impl Iterator<Item = &mut SocketOptions> {
    config.server.listeners.iter_mut().filter_map(|listener| match listener {
        ListenerConfig::Tcp { socket, .. }
        | ListenerConfig::Tls { socket, .. }
        | ListenerConfig::WebSocket { socket, .. }
        | ListenerConfig::WebSocketTls { socket, .. } => Some(socket),
        ListenerConfig::Inherited { .. } | ListenerConfig::Quic { .. } | ListenerConfig::Unix { .. } => None,
    })
}

#[test]
fn without_options_the_settings_are_the_modules_own() {
    let expected = Config {
        runtime: RuntimeSettings::default(),
        log: LogSettings { level: tracing::Level::INFO },
        auth: AuthSettings::FileIfPresent("auth.json".into()),
        own_auth: BTreeMap::new(),
        server: ServerConfig {
            listeners: vec![tcp("0.0.0.0:1883"), tcp("[::]:1883")],
            ..ServerConfig::default()
        },
        notes: Vec::new(),
    };
    assert_eq!(parsed(""), expected);
}

#[test]
fn runtime_options_reach_the_runtime() {
    let threads = NonZeroUsize::new(7);
    let ticks = NonZeroU32::new(9);
    check!("--worker-threads 7", runtime.worker_threads = threads);
    check!("--worker-threads=7", runtime.worker_threads = threads);
    check!("--max-blocking-threads 7", runtime.max_blocking_threads = threads);
    check!("--thread-keep-alive", runtime.thread_keep_alive = Some(Duration::from_secs(10)));
    check!("--thread-keep-alive false", runtime.thread_keep_alive = Some(Duration::ZERO));
    check!("--thread-stack-size 4194304", runtime.thread_stack_size = Some(4 << 20));
    check!("--global-queue-interval 9", runtime.global_queue_interval = ticks);
    check!("--event-interval 9", runtime.event_interval = ticks);
    check_refused("--worker-threads 0", &["'0'", "--worker-threads", "1..=1024"]);
    check_refused("--worker-threads two", &["'two'", "--worker-threads"]);
    check_refused("--max-blocking-threads 0", &["'0'", "--max-blocking-threads"]);
    check_refused("--thread-stack-size 100", &["'100'", "--thread-stack-size", "at least 128KiB"]);
    check_refused("--global-queue-interval 0", &["'0'", "--global-queue-interval"]);
    check_refused("--event-interval 0", &["'0'", "--event-interval"]);
}

#[test]
fn the_log_level_is_one_of_five_words() {
    for (word, level) in [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ] {
        check!(&format!("--log-level {word}"), log.level = level);
    }
    for word in ["INFO", "off", "5"] {
        check_refused(
            &format!("--log-level {word}"),
            &["--log-level", word, "error, warn, info, debug, trace"],
        );
    }
}

#[test]
fn listeners_follow_from_ports_addresses_and_paths() {
    let unix = || ListenerConfig::Unix { path: "/run/mqtt".into(), access: UnixAccess::default() };
    for (line, listeners) in [
        ("--tcp-port 0", vec![tcp("0.0.0.0:0"), tcp("[::]:0")]),
        ("--bind 127.0.0.1", vec![tcp("127.0.0.1:1883")]),
        (
            "--tcp-port 1884 --bind ::1 --bind=127.0.0.1 --bind [::1]",
            vec![tcp("[::1]:1884"), tcp("127.0.0.1:1884")],
        ),
        (
            "--bind 127.0.0.1 --bind ::1 --tcp-port 1 --tcp-port 2",
            vec![tcp("127.0.0.1:1"), tcp("[::1]:1"), tcp("127.0.0.1:2"), tcp("[::1]:2")],
        ),
        ("--unix-socket /run/mqtt", vec![unix()]),
        ("--unix-socket /run/mqtt --tcp-port 1 --bind ::1", vec![tcp("[::1]:1"), unix()]),
        ("--unix-socket /run/mqtt --unix-socket /run/mqtt", vec![unix(), unix()]),
    ] {
        check!(line, server.listeners = listeners);
    }
    check!("--ports-file ports", server.ports_file = Some("ports".into()));
    check_refused("--tcp-port 65536", &["'65536'", "--tcp-port", "0..=65535"]);
    check_refused("--bind localhost", &["'localhost'", "--bind", "expected an IP address"]);
    check_refused("--bind 127.0.0.1:1883", &["'127.0.0.1:1883'", "--bind", "without a port"]);
    check_refused("--unix-socket /run/mqtt --bind ::1", &["--bind", "expected --tcp-port"]);
}

#[test]
fn sockets_that_were_passed_on_take_the_place_of_the_default() {
    let with = |line: &str, inherited: &[Transport]| parse_with(Ipv6::Present, inherited, line);
    let inherited = |index, transport, paths: &[&str]| ListenerConfig::Inherited {
        index,
        transport,
        socket: SocketOptions { no_delay: false, ..SocketOptions::default() },
        options: websocket_options(paths, &[]),
        settings: QuicSettings::default(),
    };
    let config =
        with("--ws-path /a --socket-no-delay=false", &[Transport::Tcp, Transport::WebSocket]).unwrap();
    let expected = [inherited(0, Transport::Tcp, &["/a"]), inherited(1, Transport::WebSocket, &["/a"])];
    assert_eq!(config.server.listeners, expected);
    let config = with("--bind ::1 --tcp-port 1", &[Transport::Unix]).unwrap();
    assert_eq!(config.server.listeners.len(), 2);
    for transport in [Transport::Tls, Transport::WebSocketTls, Transport::Quic] {
        let error = with("", &[transport]).unwrap_err().to_string();
        assert!(error.contains("--server-crt"), "{error}");
    }
}

#[test]
fn websocket_listeners_have_ports_paths_and_origins() {
    let usual = websocket_options(&["/mqtt", "/"], &[]);
    let other = websocket_options(&["/a", "/b"], &["https://a.example", "null"]);
    for (line, listeners) in [
        ("--ws-port 80", vec![websocket("0.0.0.0:80", &usual), websocket("[::]:80", &usual)]),
        (
            "--bind ::1 --ws-port 0 --ws-port 81 --tcp-port 1",
            vec![tcp("[::1]:1"), websocket("[::1]:0", &usual), websocket("[::1]:81", &usual)],
        ),
        (
            "--bind ::1 --ws-port 80 --ws-path /a --ws-path /b --ws-origin https://a.example --ws-origin null",
            vec![websocket("[::1]:80", &other)],
        ),
    ] {
        check!(line, server.listeners = listeners);
    }
    let config = parsed("--bind ::1 --ws-tls-port 443 --ws-path /a --server-crt a --server-key b");
    let [ListenerConfig::WebSocketTls { address, options, .. }] = &config.server.listeners[..] else {
        panic!("{:?}", config.server.listeners)
    };
    assert_eq!((*address, options), ("[::1]:443".parse().unwrap(), &websocket_options(&["/a"], &[])));
    assert!(config.server.tls.is_some());
    check_refused("--ws-tls-port 443", &["--ws-tls-port", "expected --server-crt and --server-key"]);
    check_refused("--ws-port 80 --ws-path mqtt", &["'mqtt'", "--ws-path", "such as /mqtt"]);
    check_refused(
        "--ws-port 80 --ws-origin a.example",
        &["'a.example'", "--ws-origin", "https://example.org"],
    );
    check_refused("--ws-path /a", &["--ws-path", "expected --ws-port"]);
    check_refused("--tcp-port 1 --ws-origin https://a.example", &["--ws-origin", "expected --ws-port"]);
}

#[test]
fn a_host_without_ipv6_is_served_on_ipv4_unless_asked_otherwise() {
    let config = parse_on(Ipv6::Absent, "").unwrap();
    assert_eq!(config.server.listeners, [tcp("0.0.0.0:1883")]);
    assert_eq!(config.notes.len(), 1);
    let config = parse_on(Ipv6::Absent, "--bind ::").unwrap();
    assert_eq!(config.server.listeners, [tcp("[::]:1883")]);
    assert!(config.notes.is_empty());
}

#[test]
fn tls_listeners_have_certificates() {
    let tls = |address: &str| ListenerConfig::Tls {
        address: address.parse().unwrap(),
        socket: SocketOptions::default(),
    };
    let files = |chain: &str, key: &str| CertificateFiles { chain: chain.into(), key: key.into() };
    let one = "--tls-port 1 --bind ::1 --server-crt a.crt --server-key a.key";
    let settings =
        || TlsSettings { certificates: vec![files("a.crt", "a.key")], clients: ClientSettings::default() };
    check(one, |c| {
        c.server.listeners = vec![tls("[::1]:1")];
        c.server.tls = Some(settings());
    });
    check(&format!("{one} --tls-port 2 --tcp-port 3 --server-key b.key --server-crt b.crt"), |c| {
        c.server.listeners = vec![tcp("[::1]:3"), tls("[::1]:1"), tls("[::1]:2")];
        let certificates = vec![files("a.crt", "a.key"), files("b.crt", "b.key")];
        c.server.tls = Some(TlsSettings { certificates, ..settings() });
    });
    check_refused("--tls-port 1", &["--tls-port", "expected --server-crt and --server-key"]);
    check_refused("--tls-port 1 --server-crt a", &["--server-crt is given once and --server-key not at all"]);
    check_refused(&format!("{one} --server-key b"), &["once", "2 times", "one --server-key for each"]);
    check_refused("--tls-port x", &["'x'", "--tls-port"]);

    let useless = parsed("--server-crt a --server-key b");
    assert_eq!((useless.server.tls, useless.notes.len()), (None, 1));
}

#[test]
fn quic_listeners_have_certificates_and_settings() {
    let quic = |address: &str, settings: QuicSettings| ListenerConfig::Quic {
        address: address.parse().unwrap(),
        socket: SocketOptions::default(),
        settings,
    };
    let one = "--quic-port 1 --bind ::1 --server-crt a --server-key b";
    let listeners = |line: &str| parsed(&format!("{one} {line}")).server.listeners;
    assert_eq!(listeners(""), [quic("[::1]:1", QuicSettings::default())]);
    assert_eq!(
        listeners("--quic-port 2 --tcp-port 3"),
        [tcp("[::1]:3"), quic("[::1]:1", QuicSettings::default()), quic("[::1]:2", QuicSettings::default())]
    );
    let settings = QuicSettings {
        idle_timeout: Duration::from_secs(90),
        early_data: true,
        data_streams: 7,
        stream_timeout: Duration::from_secs(5),
        delivery: QuicDelivery::PerTopic,
        follow_subscriptions: true,
        read_budget: 1_000,
    };
    let options = "--quic-idle-timeout 1m30s --quic-early-data --quic-max-streams 7 --quic-stream-timeout 5 \
                   --quic-delivery per-topic \
                   --mqtt-maximum-packet-size 1000";
    assert_eq!(listeners(options), [quic("[::1]:1", settings)]);
    let settings = QuicSettings { follow_subscriptions: false, ..QuicSettings::default() };
    assert_eq!(listeners("--mqtt-auto-map-topic-alias"), [quic("[::1]:1", settings)]);
    check_refused(&format!("{one} --quic-max-streams 1001"), &["1001 is not in 0..=1000"]);
    check_refused("--quic-port 1", &["--quic-port", "expected --server-crt and --server-key"]);
    for time in ["0", "1d1s"] {
        check_refused(&format!("{one} --quic-idle-timeout {time}"), &["expected a time from 1s to 1d"]);
    }
}

#[test]
fn clients_are_asked_for_certificates_of_certain_authorities() {
    let one = "--tls-port 1 --server-crt a --server-key b";
    let clients = |line: &str| parsed(&format!("{one} {line}")).server.tls.unwrap().clients;
    let expected = ClientSettings {
        certificate: ClientCertificate::Optional,
        authorities: vec!["ca".into(), "other".into()],
        revocation_lists: vec!["crl".into()],
        identity: IdentitySource::CommonName,
    };
    assert_eq!(clients("--client-ca ca --client-ca other --client-crl crl"), expected);
    assert_eq!(clients("--client-cert off"), ClientSettings::default());
    for (word, certificate) in
        [("optional", ClientCertificate::Optional), ("required", ClientCertificate::Required)]
    {
        assert_eq!(clients(&format!("--client-ca ca --client-cert {word}")).certificate, certificate);
        check_refused(&format!("{one} --client-cert {word}"), &["--client-cert", "expected --client-ca"]);
    }
    for (word, identity) in [
        ("cn", IdentitySource::CommonName),
        ("san-dns", IdentitySource::DnsName),
        ("san-uri", IdentitySource::Uri),
        ("subject", IdentitySource::Subject),
    ] {
        assert_eq!(clients(&format!("--client-cert-identity {word}")).identity, identity);
    }
    check_refused(&format!("{one} --client-ca ca --client-cert off"), &["--client-ca", "--client-cert off"]);
    check_refused(&format!("{one} --client-crl crl"), &["--client-crl", "expected --client-ca"]);
    check_refused(&format!("{one} --client-cert yes"), &["'yes'", "off, optional, required"]);
    check_refused(&format!("{one} --client-cert-identity san"), &["'san'", "cn, san-dns, san-uri, subject"]);
}

#[test]
fn the_file_of_a_unix_socket_has_permissions_and_an_owner() {
    let options =
        "--unix-socket /run/mqtt --unix-socket-mode 0660 --unix-socket-user root --unix-socket-group 7";
    let access = UnixAccess { mode: Some(0o660), user: Some(0), group: Some(7) };
    check(options, |c| {
        c.server.listeners = vec![ListenerConfig::Unix { path: "/run/mqtt".into(), access }];
    });
    check_refused("--unix-socket-mode 0660", &["--unix-socket"]);
    check_refused("--unix-socket a --unix-socket-mode 999", &["'999'", "octal digits"]);
    check_refused("--unix-socket a --unix-socket-user nobody-here", &["'nobody-here'", "expected a number"]);
}

#[test]
fn proxies_are_believed_on_certain_listeners_from_certain_networks() {
    let networks: Vec<Network> = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).into();
    let transports = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::WebSocketTls];
    check("--proxy-protocol tcp,tls,ws,wss --proxy-from 10.0.0.0/8,::1", |c| {
        c.server.proxies = ProxySettings { transports: transports.into(), proxies: networks };
    });
    check_refused("--proxy-protocol tcp", &["--proxy-from"]);
    check_refused("--proxy-from ::1", &["--proxy-protocol"]);
    check_refused("--proxy-protocol unix --proxy-from ::1", &["'unix'", "tcp, tls, ws, wss"]);
    check_refused("--proxy-protocol tcp --proxy-from 10.0.0.1/8", &["expected 10.0.0.0/8"]);
    check_refused("--proxy-protocol tcp --proxy-from proxy", &["'proxy'", "expected an IP address"]);
}

#[test]
fn a_listener_may_be_on_terms_of_its_own() {
    let own = |line: &str| {
        let Config { auth, own_auth, server, .. } = parsed(line);
        (auth, own_auth, server.listeners, server.groups)
    };
    let terms = Terms {
        connection: ConnectionLimits::default(),
        accept: AcceptLimits { connections: 100, ..AcceptLimits::NONE },
        policy: PolicyName::new("file:guests.json"),
        durability: None,
    };
    let (auth, own_auth, listeners, groups) =
        own("--tcp-port 1 --listener tcp:1884,auth-file=guests.json,max-connections=100");
    assert_eq!(auth, AuthSettings::FileIfPresent("auth.json".into()));
    assert_eq!(own_auth, [(terms.policy.clone(), AuthSettings::File("guests.json".into()))].into());
    assert_eq!(listeners, [tcp("0.0.0.0:1"), tcp("[::]:1")]);
    assert_eq!(groups, [ListenerGroup { listeners: vec![tcp("0.0.0.0:1884"), tcp("[::]:1884")], terms }]);

    let (_, own_auth, listeners, groups) = own(
        "--listener tcp:[::1]:1 --listener tcp:2 --bind 127.0.0.1 --listener unix:s,unix-socket-mode=600",
    );
    assert!(listeners.is_empty() && own_auth.is_empty());
    let access = UnixAccess { mode: Some(0o600), ..UnixAccess::default() };
    let places: Vec<_> = groups.into_iter().flat_map(|group| group.listeners).collect();
    let unix = ListenerConfig::Unix { path: "s".into(), access };
    assert_eq!(places, [tcp("[::1]:1"), tcp("127.0.0.1:2"), unix]);

    check_refused("--listener tls:1", &["--server-crt"]);
    check_refused("--listener tcp:127.0.0.1:1 --bind 127.0.0.2", &["--bind", "--listener"]);
    check_refused("--listener ws:1,max-conections=1", &["--listener", "max-conections", "max-connections, "]);
    parsed("--listener ws:1 --ws-path /x");
}

#[test]
fn listeners_with_the_same_file_have_the_same_users() {
    let policies = |line: &str| {
        let Config { auth, own_auth, server, .. } = parsed(line);
        let names = server.groups.iter().map(|group| group.terms.policy.as_str().to_owned());
        (auth, own_auth.len(), names.collect::<Vec<_>>())
    };
    let (file, everybody) =
        (AuthSettings::File("auth.json".into()), AuthSettings::Everybody { unless: None });
    let (auth, own, names) = policies("--listener tcp:1,auth-file=auth.json --listener tcp:2,auth-file=b");
    assert_eq!((auth, own, names), (file, 1, vec![String::new(), "file:b".to_owned()]));
    let (_, own, names) = policies("--auth-file b --listener tcp:1,auth-file=b --listener tcp:2,auth-file=b");
    assert_eq!((own, names), (0, vec![String::new(); 2]));
    let (_, own, names) = policies("--allow-anonymous --listener tcp:1,allow-anonymous");
    assert_eq!((own, names), (0, vec![String::new()]));
    let Config { own_auth, .. } = parsed("--auth-file b --listener tcp:1,allow-anonymous");
    assert_eq!(own_auth, [(PolicyName::new("everybody"), everybody)].into());
    check_refused("--allow-anonymous --listener tcp:1,allow-anonymous=false", &["expected auth-file"]);
}

#[test]
fn socket_options_reach_each_tcp_listener() {
    check("--socket-no-delay=false", |c| sockets(c).for_each(|s| s.no_delay = false));
    check("--socket-no-delay", |_| {});
    check("--socket-send-buf-size 4096", |c| sockets(c).for_each(|s| s.send_buffer = Some(4_096)));
    check("--socket-recv-buf-size 4KiB", |c| sockets(c).for_each(|s| s.receive_buffer = Some(4_096)));
    check("--socket-send-buf-size 0 --socket-recv-buf-size 0", |_| {});
    check("--socket-reuseport", |c| sockets(c).for_each(|s| s.reuse_port = true));
    let minute = Some(Duration::from_secs(60));
    check("--socket-keepalive-time 60", |c| sockets(c).for_each(|s| s.keepalive = minute));
    check("--socket-keepalive-time 0", |_| {});
    check!("--ep-recv-buf-size 4096", server.connection.receive_buffer = 4_096);
    check_refused("--ep-recv-buf-size 0", &["'0'", "--ep-recv-buf-size", "at least 1"]);
    check_refused("--socket-keepalive-time -1", &["-1"]);
}

#[test]
fn who_may_do_what_is_said_in_one_place() {
    check!("--auth-file my.json", auth = AuthSettings::File("my.json".into()));
    check("--allow-anonymous", |c| c.auth = AuthSettings::Everybody { unless: Some("auth.json".into()) });
    check!("--allow-anonymous=false --auth-file my.json", auth = AuthSettings::File("my.json".into()));
    check_refused(
        "--allow-anonymous --auth-file my.json",
        &["--allow-anonymous", "--auth-file", "expected one of them"],
    );
}

#[test]
fn switches_take_a_value_in_both_forms_or_none() {
    type Field = fn(&mut Config) -> &mut bool;
    let switches: [(&str, Field); 5] = [
        ("--mqtt-retain-support", |c| &mut c.server.broker.features.retain),
        ("--mqtt-shared-sub-support", |c| &mut c.server.broker.features.shared_subscriptions),
        ("--mqtt-sub-id-support", |c| &mut c.server.broker.features.subscription_identifiers),
        ("--mqtt-wc-support", |c| &mut c.server.broker.features.wildcards),
        ("--mqtt-auto-map-topic-alias", |c| &mut c.server.connection.auto_map_topic_alias),
    ];
    for (option, field) in switches {
        check(option, |c| *field(c) = true);
        check(&format!("{option} --log-level info"), |c| *field(c) = true);
        for (word, value) in [("true", true), ("false", false)] {
            check(&format!("{option}={word}"), |c| *field(c) = value);
            check(&format!("{option} {word}"), |c| *field(c) = value);
        }
        check_refused(&format!("{option}=yes"), &["'yes'", option, "true, false"]);
    }
}

#[test]
fn mqtt_options_reach_broker_and_connections() {
    check!("--mqtt-maximum-qos 1", server.broker.features.maximum_qos = QoS::AtLeastOnce);
    check!("--mqtt-maximum-qos 0", server.broker.features.maximum_qos = QoS::AtMostOnce);
    check("--mqtt-receive-maximum 5", |c| {
        c.server.connection.receive_maximum = NonZeroU16::new(5);
    });
    for (text, size) in [("1", 1), ("64", 64), ("1MiB", 1 << 20), ("4294967295", u32::MAX)] {
        check(&format!("--mqtt-maximum-packet-size {text}"), |c| {
            c.server.connection.maximum_packet_size = NonZeroU32::new(size);
        });
    }
    check("--mqtt-topic-alias-maximum 65535", |c| {
        c.server.connection.topic_alias_maximum = u16::MAX;
    });
    check("--mqtt-topic-alias-maximum 0", |_| {});
    check("--mqtt-server-keep-alive 0", |c| {
        c.server.connection.server_keep_alive = Some(0);
    });
    for seconds in [0, 65_536, u32::MAX] {
        check!(
            &format!("--mqtt-session-expiry-interval {seconds}"),
            server.broker.features.session_expiry_interval = Some(seconds)
        );
    }
    check_refused("--mqtt-maximum-qos 3", &["'3'", "--mqtt-maximum-qos", "0..=2"]);
    check_refused("--mqtt-receive-maximum 0", &["'0'", "--mqtt-receive-maximum", "1..=65535"]);
    check_refused("--mqtt-maximum-packet-size 0", &["'0'", "--mqtt-maximum-packet-size", "at least 1"]);
    check_refused("--max-packet-before-connect 63", &["'63'", "--max-packet-before-connect", "at least 64"]);
    check_refused(
        "--mqtt-maximum-packet-size 4294967296",
        &["--mqtt-maximum-packet-size", "at most 4294967295"],
    );
    check_refused(
        "--mqtt-session-expiry-interval 4294967296",
        &["--mqtt-session-expiry-interval", "0..=4294967295"],
    );
}

#[test]
fn choices_are_words() {
    check!("--overlapping-subscriptions each", server.broker.overlapping = OverlappingSubscriptions::Each);
    for (word, strategy) in [
        ("round-robin", SharedStrategy::RoundRobin),
        ("least-inflight", SharedStrategy::LeastInflight),
        ("sticky", SharedStrategy::Sticky),
        ("hash-topic", SharedStrategy::HashTopic),
        ("hash-client", SharedStrategy::HashClient),
        ("random", SharedStrategy::Random),
    ] {
        check!(&format!("--shared-subscription-strategy {word}"), server.broker.shared_strategy = strategy);
    }
    for (word, policy) in [
        ("drop-oldest", QueuePolicy::DropOldest),
        ("drop-newest", QueuePolicy::DropNewest),
        ("disconnect", QueuePolicy::Disconnect),
    ] {
        check!(&format!("--queue-policy {word}"), server.broker.queue_policy = policy);
    }
    check_refused(
        "--queue-policy drop",
        &["'drop'", "--queue-policy", "drop-oldest, drop-newest, disconnect"],
    );
}

#[test]
fn each_bound_is_an_option() {
    let seconds = Duration::from_secs;
    check!("--max-connections 7", server.accept.connections = 7);
    check!("--max-connections-per-address 7", server.accept.connections_per_address = 7);
    check!("--max-connection-rate 7", server.accept.connection_rate = NonZeroU32::new(7));
    check!(
        "--max-connection-rate-per-address 7",
        server.accept.connection_rate_per_address = NonZeroU32::new(7)
    );
    check!("--max-message-rate 7", server.connection.message_rate = NonZeroU32::new(7));
    check!("--max-byte-rate 7KiB", server.connection.byte_rate = NonZeroU64::new(7_168));
    check!(
        "--rate-limit-policy disconnect",
        server.connection.rate_limit_policy = RateLimitPolicy::Disconnect
    );
    check("--rate-limit-policy delay", |_| {});
    check_refused("--max-connection-rate 0", &["'0'", "--max-connection-rate"]);
    check_refused("--max-message-rate 0", &["'0'", "--max-message-rate"]);
    check_refused("--max-byte-rate 0", &["'0'", "--max-byte-rate", "at least 1"]);
    check_refused("--rate-limit-policy no", &["'no'", "--rate-limit-policy", "delay, disconnect"]);
    check!("--max-handshakes 7", server.accept.unfinished = 7);
    check!("--max-handshakes-per-address 7", server.accept.unfinished_per_address = 7);
    check!("--connect-timeout 1m30s", server.connection.connect_timeout = seconds(90));
    check!("--max-packet-before-connect 64KiB", server.connection.packet_before_connected = 65_536);
    check!("--max-user-properties 7", server.connection.user_properties = 7);
    check!("--max-unfinished-bytes-total 7", server.connection.unfinished_bytes_total = 7);
    check!("--max-filters-per-packet 7", server.connection.filters_per_packet = 7);
    check!("--max-outbound-topic-aliases 7", server.connection.outbound_topic_aliases = 7);
    check!("--outbound-window 1MiB", server.broker.limits.outbound_window = 1 << 20);
    check!("--write-timeout 7", server.connection.write_timeout = seconds(7));
    check!("--close-timeout 7", server.connection.close_timeout = seconds(7));
    check!("--max-sessions 7", server.broker.limits.sessions = 7);
    check!("--max-session-expiry 7d", server.broker.limits.session_expiry_cap = Some(seconds(604_800)));
    check!("--max-subscriptions-per-client 7", server.broker.limits.subscriptions_per_client = 7);
    check!("--max-will-bytes-total 7", server.broker.limits.will_bytes_total = 7);
    check!("--max-subscription-bytes-per-client 7", server.broker.limits.subscription_bytes_per_client = 7);
    check!("--max-topic-levels 7", server.broker.limits.topic_levels = 7);
    check!("--max-topic-length 7", server.broker.limits.topic_length = 7);
    check!("--max-inflight 7", server.broker.limits.inflight_messages = 7);
    check!("--max-inbound-qos2 7", server.broker.limits.inbound_qos2 = 7);
    check!("--max-queued-messages 7", server.broker.limits.queued_messages = 7);
    check!("--max-queued-bytes 7MiB", server.broker.limits.queued_bytes = 7 << 20);
    check!("--max-outbound-bytes-total 7MiB", server.broker.limits.outbound_total = 7 << 20);
    check!("--max-queued-bytes-total 7MiB", server.broker.limits.queued_bytes_total = 7 << 20);
    check!("--max-retained-messages 0", server.broker.limits.retained_messages = 0);
    check!("--max-retained-bytes 0", server.broker.limits.retained_bytes = 0);
    check!("--shutdown-grace 0", server.shutdown_grace = Duration::ZERO);
    check_refused("--max-handshakes 0", &["'0'", "--max-handshakes"]);
    check_refused("--max-connections 0", &["'0'", "--max-connections"]);
    check_refused("--connect-timeout 0s", &["'0s'", "--connect-timeout", "above zero"]);
    check_refused("--connect-timeout soon", &["'soon'", "--connect-timeout", "such as 90, 1m30s or 7d"]);
    check_refused("--max-topic-length 64KiB", &["'64KiB'", "--max-topic-length", "at most 65535"]);
    check_refused("--max-queued-bytes 1MB", &["'1MB'", "--max-queued-bytes", "KiB, MiB or GiB"]);
}

#[test]
fn what_is_no_option_is_refused() {
    check_refused("--tcp-prot 1883", &["--tcp-prot", "--tcp-port"]);
    check_refused("--tcp-port", &["--tcp-port"]);
    check_refused("serve", &["'serve'"]);
    check_refused("--auth-file a --auth-file b", &["--auth-file", "multiple times"]);
}

#[test]
fn questions_are_answered_on_the_standard_output() {
    let version = parse("--version").unwrap_err();
    assert_eq!((version.exit_code(), version.use_stderr()), (0, false));
    let said = version.to_string();
    let commit = said
        .strip_prefix(concat!("mqtt-broker ", env!("CARGO_PKG_VERSION"), " (commit "))
        .and_then(|rest| rest.strip_suffix(")\n"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(commit == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    assert_eq!(parse("-V").unwrap_err().to_string(), said);

    let help = parse("-h").unwrap_err();
    assert_eq!((help.exit_code(), help.use_stderr()), (0, false));
}

#[test]
fn bounds_on_bytes_follow_from_the_memory_there_is() {
    let on = |memory: usize, line: &str| {
        let arguments = ["mqtt-broker"].into_iter().chain(line.split_whitespace());
        let host = || Host { ipv6: Ipv6::Present, memory: Some(memory) };
        match Invocation::on_host(arguments, host, &[]) {
            Ok(Invocation::Serve(config)) => config,
            other => panic!("{line}: {other:?}"),
        }
    };
    let config = on(4 << 30, "");
    let limits = &config.server.broker.limits;
    // 75 % of it; of these seven eighths without what the process itself takes.
    let most = (4_usize << 30) / 100 * 75;
    assert_eq!(limits.memory, most - most / 8 - (16 << 20));
    assert_eq!((limits.retained_bytes, limits.will_bytes_total), (limits.memory / 4, limits.memory / 16));
    assert_eq!((limits.outbound_total, limits.cached_bytes), (limits.memory / 20, 256 << 20));
    assert_eq!(limits.queued_bytes_total, usize::MAX);
    assert_eq!(config.server.connection.unfinished_bytes_total, limits.memory / 8);
    assert!(config.notes[0].starts_with("memory is bounded to 3071 MiB"), "{:?}", config.notes);

    let config = on(4 << 30, "--memory-max 256MiB --max-retained-bytes 100MiB");
    let limits = &config.server.broker.limits;
    assert_eq!(limits.memory, (256 << 20) - (32 << 20) - (16 << 20));
    assert_eq!(limits.retained_bytes, 100 << 20);
    assert_eq!(config.notes, [""; 0]);

    let config = on(1 << 30, "--max-queued-bytes-total 2GiB");
    assert_eq!(config.server.broker.limits.queued_bytes_total, 2 << 30);
    assert!(config.notes[0].starts_with("--max-queued-bytes-total of 2GiB is more"), "{:?}", config.notes);
    check_refused(
        "--memory-max 256MiB --max-retained-bytes 257MiB",
        &["--max-retained-bytes of 257MiB", "256MiB by --memory-max"],
    );
    check_refused("--memory-max 31MiB", &["at least 32MiB"]);
}

/// The help is as in `help.txt`. `UPDATE_SNAPSHOTS=1 cargo test` writes the file anew.
#[test]
fn the_help_is_the_one_that_was_read_through() {
    let help = Arguments::command().term_width(100).render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/help.txt");
    if env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::write(&file, &help).unwrap();
    }
    assert_eq!(help, fs::read_to_string(&file).unwrap(), "UPDATE_SNAPSHOTS=1 writes {} anew", file.display());
}
