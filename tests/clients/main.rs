//! Other people's clients against the broker, as a process: `mosquitto_pub` and `mosquitto_sub`, paho-mqtt, MQTT.js
//! and rumqttc play the same scenarios in each version of the protocol that they know, and must see the same.
//!
//! `tests/run` installs the clients. A test whose client is missing is reported as ignored, with the reason; where
//! the environment says `CI=true` it fails.
//!
//! The tests of this binary are made at run time, one for each client, version and scenario, as in
//! `mosquitto::3.1.1::retained`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics, and it names only what it expects"
)]

#[path = "../support/mod.rs"]
mod support;

mod aioquic;
mod browser;
mod certificates;
mod mosquitto;
mod mqtt5;
mod mqttjs;
mod paho;
mod process;
mod rumqttc;
mod scenario;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

use self::scenario::Scenario;
use self::support::{Broker, Version};

/// Somebody else's client.
#[derive(Debug, Clone, Copy)]
struct Client {
    name: &'static str,
    versions: &'static [Version],
    /// What is missing to run it, if anything.
    missing: fn() -> Option<String>,
    door: Door,
    /// Plays a scenario with the broker, and returns what was seen, line by line.
    play: Play,
}

/// How it is told where the broker is.
#[derive(Debug, Clone, Copy)]
enum Play {
    /// By the port on 127.0.0.1.
    AtPort(fn(Scenario, Version, u16) -> Vec<String>),
    /// By a URL.
    AtUrl(fn(Scenario, Version, &str) -> Vec<String>),
}

/// By which way it comes in.
#[derive(Debug, Clone, Copy)]
enum Door {
    Tcp,
    WebSocket,
    WebSocketTls,
}

impl Door {
    /// The broker's options for it, besides TCP, which is always there.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Tcp => &[],
            Self::WebSocket => &["--ws-port=0"],
            Self::WebSocketTls => &[
                "--ws-tls-port=0",
                concat!("--server-crt=", env!("CARGO_MANIFEST_DIR"), "/certs/server.crt"),
                concat!("--server-key=", env!("CARGO_MANIFEST_DIR"), "/certs/server.key"),
            ],
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
        }
    }
}

/// A client that comes in over TCP.
const fn client(name: &'static str, missing: fn() -> Option<String>, play: Play) -> Client {
    Client { name, versions: &Version::ALL, missing, door: Door::Tcp, play }
}

const MQTTJS: Client = client("mqttjs", mqttjs::missing, Play::AtUrl(mqttjs::play));

/// A browser takes long to start, and what is version-specific is seen in node.
const BROWSER: Client =
    Client { versions: &[Version::V5], ..client("browser", browser::missing, Play::AtUrl(browser::play)) };

const CLIENTS: [Client; 8] = [
    client("mosquitto", mosquitto::missing, Play::AtPort(mosquitto::play)),
    client("paho", paho::missing, Play::AtPort(paho::play)),
    MQTTJS,
    Client { name: "mqttjs-ws", door: Door::WebSocket, ..MQTTJS },
    Client { name: "mqttjs-wss", door: Door::WebSocketTls, ..MQTTJS },
    Client { name: "browser-ws", door: Door::WebSocket, ..BROWSER },
    Client { name: "browser-wss", door: Door::WebSocketTls, ..BROWSER },
    Client {
        versions: &[Version::V311, Version::V5],
        ..client("rumqttc", || None, Play::AtPort(rumqttc::play))
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("CI").is_some_and(|value| value == "true");
    let mut trials = Vec::new();
    for client in CLIENTS {
        let missing = (client.missing)();
        for version in client.versions.iter().copied() {
            for scenario in Scenario::of(version) {
                let name = format!("{}::{}::{}", client.name, version_name(version), scenario.name());
                trials.push(trial(name, missing.clone(), required, move || {
                    let seen = play(client, scenario, version);
                    scenario.check(version, &seen);
                }));
            }
        }
    }
    for policy in ["optional", "required"] {
        let name = format!("mosquitto::certificates::{policy}");
        trials.push(trial(name, mosquitto::missing(), required, move || certificates::play(policy)));
    }
    let missing = aioquic::missing();
    for (scenario, expected) in aioquic::SCENARIOS {
        let name = format!("aioquic::{scenario}");
        trials.push(trial(name, missing.clone(), required, move || aioquic::play(scenario, expected)));
    }
    let missing = mqtt5::missing();
    for scenario in mqtt5::SCENARIOS {
        let [strategy, headers, delivery] = scenario;
        let headers = if headers == "true" { "with-headers" } else { "without-headers" };
        let name = format!("mqtt5::{strategy}::{headers}::{delivery}");
        trials.push(trial(name, missing.clone(), required, move || mqtt5::play(scenario)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn play(client: Client, scenario: Scenario, version: Version) -> Vec<String> {
    let broker = Broker::start(client.door.options());
    // TCP comes first.
    let port = broker.addresses().last().expect("it listens").port();
    match client.play {
        Play::AtPort(play) => play(scenario, version, port),
        Play::AtUrl(play) => play(scenario, version, &format!("{}://127.0.0.1:{port}", client.door.scheme())),
    }
}

/// A test, if nothing is missing for it.
fn trial(
    name: String,
    missing: Option<String>,
    required: bool,
    play: impl FnOnce() + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match missing {
        Some(reason) if required => Err(reason.into()),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            play();
            Ok(Completion::Completed)
        }
    })
}

const fn version_name(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}
