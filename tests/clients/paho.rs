//! paho-mqtt, in the virtual environment that `tests/run` makes.

use std::path::Path;
use std::process::Command;

use crate::process::Program;
use crate::scenario::Scenario;
use crate::support::Version;
use crate::version_name;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/.venv/bin/python");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/paho/scenarios.py");

pub(crate) fn missing() -> Option<String> {
    (!Path::new(PYTHON).exists()).then(|| "paho-mqtt is not installed: see tests/run".to_owned())
}

pub(crate) fn play(scenario: Scenario, version: Version, port: u16) -> Vec<String> {
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(SCRIPT).args([scenario.name(), &port.to_string(), version_name(version)]);
    Program::start(&mut command).finish()
}
