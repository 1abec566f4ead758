//! MQTT.js in node, as `tests/run` installs it.

use std::path::Path;
use std::process::Command;

use crate::process::{Program, can_run};
use crate::scenario::Scenario;
use crate::support::Version;
use crate::version_name;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/node_modules/mqtt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mqttjs/node.js");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/ca.crt");

pub(crate) fn missing() -> Option<String> {
    if can_run("node", "--version") { missing_module() } else { Some("node is not installed".to_owned()) }
}

/// What is missing of MQTT.js itself.
pub(crate) fn missing_module() -> Option<String> {
    (!Path::new(MODULE).exists()).then(|| "MQTT.js is not installed: see tests/run".to_owned())
}

pub(crate) fn play(scenario: Scenario, version: Version, url: &str) -> Vec<String> {
    let mut command = Command::new("node");
    command.arg(SCRIPT).args([scenario.name(), url, version_name(version)]);
    Program::start(command.env("NODE_EXTRA_CA_CERTS", AUTHORITY)).finish()
}
