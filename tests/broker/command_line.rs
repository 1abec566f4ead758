//! The command line.

use std::net::TcpListener;

use crate::support::*;

#[test]
fn the_version_is_told() {
    for option in ["--version", "-V"] {
        let finished = run(&[option]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        assert!(finished.stdout.starts_with("mqtt-broker "), "{}", finished.stdout);
        assert!(finished.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", finished.stdout);
    }
}

#[test]
fn the_help_names_every_option() {
    for option in ["--help", "-h"] {
        let finished = run(&[option]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        for name in [
            "worker-threads",
            "max-blocking-threads",
            "thread-keep-alive",
            "thread-stack-size",
            "global-queue-interval",
            "event-interval",
            "log-level",
            "tcp-port",
            "tls-port",
            "ws-port",
            "ws-tls-port",
            "quic-port",
            "unix-socket",
            "bind",
            "ports-file",
            "server-crt",
            "server-key",
            "socket-no-delay",
            "socket-send-buf-size",
            "socket-recv-buf-size",
            "socket-reuseport",
            "socket-keepalive-time",
            "ep-recv-buf-size",
            "auth-file",
            "allow-anonymous",
            "mqtt-retain-support",
            "mqtt-shared-sub-support",
            "mqtt-sub-id-support",
            "mqtt-wc-support",
            "mqtt-maximum-qos",
            "mqtt-receive-maximum",
            "mqtt-maximum-packet-size",
            "mqtt-topic-alias-maximum",
            "mqtt-auto-map-topic-alias",
            "mqtt-server-keep-alive",
            "mqtt-session-expiry-interval",
            "overlapping-subscriptions",
            "shared-subscription-strategy",
            "queue-policy",
            "max-connections",
            "connect-timeout",
            "write-timeout",
            "shutdown-grace",
        ] {
            assert!(finished.stdout.contains(&format!("--{name}")), "--{name} is not in the help");
        }
    }
}

#[test]
fn wrong_command_lines_are_refused() {
    for (arguments, word) in [
        (vec!["--no-such-option"], "no-such-option"),
        (vec!["argument"], "argument"),
        (vec!["--tcp-port"], "tcp-port"),
        (vec!["--tcp-port=65536"], "65536"),
        (vec!["--tcp-port=-1"], "-1"),
        (vec!["--tcp-port=mqtt"], "mqtt"),
        (vec!["--bind=localhost"], "localhost"),
        (vec!["--mqtt-maximum-qos=3"], "3"),
        (vec!["--mqtt-receive-maximum=0"], "0"),
        (vec!["--mqtt-receive-maximum=65536"], "65536"),
        (vec!["--mqtt-maximum-packet-size=0"], "0"),
        (vec!["--mqtt-maximum-packet-size=4294967296"], "4294967296"),
        (vec!["--mqtt-topic-alias-maximum=65536"], "65536"),
        (vec!["--mqtt-server-keep-alive=65536"], "65536"),
        (vec!["--mqtt-session-expiry-interval=4294967296"], "4294967296"),
        (vec!["--mqtt-retain-support=yes"], "yes"),
        (vec!["--mqtt-retain-support=TRUE"], "TRUE"),
        (vec!["--log-level=INFO"], "INFO"),
        (vec!["--log-level=loud"], "loud"),
        (vec!["--worker-threads=0"], "0"),
        (vec!["--global-queue-interval=0"], "0"),
        (vec!["--event-interval=0"], "0"),
        (vec!["--max-blocking-threads=0"], "0"),
        (vec!["--shared-subscription-strategy=lottery"], "lottery"),
        (vec!["--overlapping-subscriptions=twice"], "twice"),
        (vec!["--queue-policy=panic"], "panic"),
        (vec!["--connect-timeout=0"], "0"),
        (vec!["--connect-timeout=soon"], "soon"),
        (vec!["--auth-file=a", "--auth-file=b"], "auth-file"),
        (vec!["--tls-port=0"], "--server-crt and --server-key"),
        (vec!["--tls-port=0", "--server-crt=a.pem"], "--server-key"),
        (vec!["--tls-port=0", "--server-crt=a", "--server-key=b", "--client-cert=required"], "--client-ca"),
        (vec!["--client-crl=a"], "--client-ca"),
    ] {
        let finished = run(&arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}\n{}", finished.stderr);
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.contains(word), "{arguments:?}\n{}", finished.stderr);
    }
}

#[test]
fn switches_take_a_value_or_stand_alone() {
    for options in [
        ["--mqtt-retain-support", "--mqtt-auto-map-topic-alias", "--socket-no-delay", "--thread-keep-alive"],
        [
            "--mqtt-retain-support=false",
            "--mqtt-auto-map-topic-alias=false",
            "--socket-no-delay=false",
            "--thread-keep-alive=false",
        ],
    ] {
        Client::connect(&Broker::start(&options), connect()).expect_nothing();
    }
    // As the option's own word, as in `--x false`.
    let broker = Broker::start(&["--mqtt-retain-support", "false"]);
    assert!(Client::connect(&broker, connect()).connack().has(&Property::RetainAvailable(0)));
}

#[test]
fn the_runtime_can_be_set_up() {
    let broker = Broker::start(&[
        "--worker-threads=1",
        "--max-blocking-threads=2",
        "--thread-keep-alive=true",
        "--thread-stack-size=1048576",
        "--global-queue-interval=31",
        "--event-interval=61",
    ]);
    Client::connect(&broker, connect()).expect_nothing();
}

#[test]
fn the_log_level_is_obeyed() {
    let broker = Broker::start(&["--log-level=error"]);
    Client::connect(&broker, connect()).disconnect();
    assert_eq!(broker.log(), "");
    for level in ["debug", "trace"] {
        let broker = Broker::start(&[&format!("--log-level={level}")]);
        Client::connect(&broker, connect().client_id("noticed")).disconnect();
        broker.wait_for_log(0, "noticed");
    }
}

#[test]
fn passwords_and_payloads_are_not_logged() {
    let broker = Broker::start(&["--log-level=trace"]);
    let with_secrets = connect().user("somebody").password("hunter2").will(will("w").payload("testament"));
    let mut client = Client::connect(&broker, with_secrets);
    client.subscribe("a", 1);
    client.send(publish("a").payload("confidential"));
    client.receive_publish();
    client.cut();
    let mut last = Client::connect(&broker, connect().client_id("last one"));
    last.expect_nothing();
    broker.wait_for_log(0, "last one");
    let log = broker.log();
    for secret in ["hunter2", "testament", "confidential"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn without_a_listener_it_listens_on_1883() {
    // Whoever uses the port of MQTT on this machine is not to be disturbed.
    if TcpListener::bind("127.0.0.1:1883").is_err() {
        return eprintln!("port 1883 is in use: nothing to be seen here");
    }
    let broker = Setup::new().option("--bind=127.0.0.1").listeners_as_told().start();
    assert_eq!(broker.address(), "127.0.0.1:1883".parse().unwrap());
    Client::connect(&broker, connect()).expect_nothing();
}

#[test]
fn it_says_what_it_listens_on_where_auth_comes_from_and_that_state_is_in_memory() {
    let broker = Broker::start(&["--unix-socket=mqtt.sock"]);
    broker.wait_for_log(0, &broker.address().to_string());
    broker.wait_for_log(0, "mqtt.sock");
    broker.wait_for_log(0, "auth");
    broker.wait_for_log(0, "memory");
    let broker = Setup::new().file("auth.json", "{ authentication: [], authorization: [] }").start();
    broker.wait_for_log(0, "auth.json");
}
