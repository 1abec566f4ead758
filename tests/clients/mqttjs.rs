//! MQTT.js, as `tests/run` installs it.

use std::path::Path;
use std::process::Command;

use crate::process::{Program, can_run};
use crate::scenario::Scenario;
use crate::support::Version;
use crate::version_name;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/node_modules/mqtt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mqttjs/scenarios.js");

pub(crate) fn missing() -> Option<String> {
    if !can_run("node", "--version") {
        Some("node is not installed".to_owned())
    } else if Path::new(MODULE).exists() {
        None
    } else {
        Some("MQTT.js is not installed: see tests/run".to_owned())
    }
}

pub(crate) fn play(scenario: Scenario, version: Version, port: u16) -> Vec<String> {
    let mut command = Command::new("node");
    command.arg(SCRIPT).args([scenario.name(), &port.to_string(), version_name(version)]);
    Program::start(&mut command).finish()
}
