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

mod certificates;
mod mosquitto;
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
    /// Plays a scenario with the broker at this port of 127.0.0.1, and returns what was seen, line by line.
    play: fn(Scenario, Version, u16) -> Vec<String>,
}

const CLIENTS: [Client; 4] = [
    Client { name: "mosquitto", versions: &Version::ALL, missing: mosquitto::missing, play: mosquitto::play },
    Client { name: "paho", versions: &Version::ALL, missing: paho::missing, play: paho::play },
    Client { name: "mqttjs", versions: &Version::ALL, missing: mqttjs::missing, play: mqttjs::play },
    Client {
        name: "rumqttc",
        versions: &[Version::V311, Version::V5],
        missing: || None,
        play: rumqttc::play,
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
                    let broker = Broker::start(&[]);
                    let seen = (client.play)(scenario, version, broker.address().port());
                    scenario.check(version, &seen);
                }));
            }
        }
    }
    for policy in ["optional", "required"] {
        let name = format!("mosquitto::certificates::{policy}");
        trials.push(trial(name, mosquitto::missing(), required, move || certificates::play(policy)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
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
