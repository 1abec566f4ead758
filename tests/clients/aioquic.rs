//! aioquic, a QUIC client of other descent than the library that the broker uses.

use std::path::Path;
use std::process::Command;

use crate::process::Program;
use crate::support::{Setup, certs, server_certificate};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/.venv/bin/python");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/aioquic/streams.py");

/// Each scenario, and what must be seen.
pub(crate) const SCENARIOS: [(&str, &[&str]); 4] = [
    (
        "one-stream",
        &[
            "control: CONNACK 0000",
            "control: SUBACK 000101",
            "control: PUBLISH a x",
            "control: PUBREC 0005",
            "control: PUBLISH a y",
            "control: PUBCOMP 0005",
            "control: end",
            "connection: closed 0x0",
        ],
    ),
    (
        "data-streams",
        &[
            "control: CONNACK 0000",
            "flow: PUBACK 0007",
            "plain: PUBACK 0008",
            "control: PUBACK 0009",
            "flow: PUBACK 000b",
            "plain: PUBREC 000a",
            "plain: PUBCOMP 000a",
            "plain: end",
            "wrong: stop 0xb6",
            "control: end",
            "connection: closed 0x0",
        ],
    ),
    (
        "subscriptions",
        &[
            "control: CONNACK 0000",
            "data: SUBACK 000101",
            "data: PUBLISH a x",
            "data: end",
            "control: PUBLISH a y",
        ],
    ),
    ("datagrams", &["control: CONNACK 0000", "control: SUBACK 000101", "control: PUBLISH a x"]),
];

pub(crate) fn missing() -> Option<String> {
    let imports =
        || Command::new(PYTHON).args(["-c", "import aioquic"]).status().is_ok_and(|status| status.success());
    (!Path::new(PYTHON).exists() || !imports()).then(|| "aioquic is not installed: see tests/run".to_owned())
}

pub(crate) fn play(scenario: &str, expected: &[&str]) {
    let [certificate, key] = server_certificate("server");
    let broker = Setup::new().options(&["--quic-port=0", &certificate, &key]).start();
    let port = broker.addresses()[1].port().to_string();
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(SCRIPT).args([scenario, &port, &certs("ca.crt")]);
    let mut seen = Program::start(&mut command).finish();
    // A message goes to its subscribers when it is released or when it has come: both are right.
    let mut expected: Vec<_> = expected.to_vec();
    if scenario == "one-stream" {
        seen.sort();
        expected.sort_unstable();
    }
    assert_eq!(seen, expected);
}
