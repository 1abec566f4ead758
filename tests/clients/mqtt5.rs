//! The client of the Rust crate mqtt5 on QUIC, in each of its ways to use streams: a program of its own, which
//! `tests/run` builds.

use std::path::Path;
use std::process::Command;

use crate::process::Program;
use crate::support::{Setup, certs, server_certificate};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/mqtt5-client/debug/mqtt5-client");

/// On which streams the client sends, whether these begin with headers, and on which streams the broker sends.
pub(crate) const SCENARIOS: [[&str; 3]; 12] = [
    ["control-only", "false", "control-only"],
    ["control-only", "false", "per-topic"],
    ["control-only", "false", "per-publish"],
    ["per-publish", "false", "control-only"],
    ["per-publish", "true", "control-only"],
    ["per-publish", "true", "per-publish"],
    ["per-topic", "false", "control-only"],
    ["per-topic", "true", "control-only"],
    ["per-topic", "true", "per-topic"],
    ["per-subscription", "false", "per-topic"],
    ["per-subscription", "true", "control-only"],
    ["per-subscription", "true", "per-publish"],
];

pub(crate) fn missing() -> Option<String> {
    (!Path::new(PROGRAM).exists()).then(|| "the client of mqtt5 is not built: see tests/run".to_owned())
}

pub(crate) fn play([strategy, headers, delivery]: [&str; 3]) {
    let [certificate, key] = server_certificate("server");
    let options = ["--quic-port=0", "--quic-delivery", delivery, &certificate, &key];
    let broker = Setup::new().options(&options).start();
    let port = broker.addresses()[1].port().to_string();
    let mut command = Command::new(PROGRAM);
    command.args([strategy, headers, &port, &certs("ca.crt")]);
    let seen = Program::start(&mut command).finish();
    let mut expected =
        vec!["subscribed: one ExactlyOnce".to_owned(), "subscribed: two/+ ExactlyOnce".to_owned()];
    let of_each = |what: &str, topics: &[&str]| {
        let lines = topics.iter().flat_map(|topic| {
            ["AtLeastOnce", "AtMostOnce", "ExactlyOnce"].map(|qos| format!("{what}: {topic} {qos}"))
        });
        lines.collect::<Vec<_>>()
    };
    let published = of_each("published", &["one", "two/a", "one"]);
    let mut received = of_each("received", &["one", "two/a", "one"]);
    received.sort();
    expected.extend(published);
    expected.extend(received);
    expected.push("received: two/a last".to_owned());
    assert_eq!(seen, expected);
}
