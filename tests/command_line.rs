//! What the program answers before it serves anybody: exit codes, and what is printed where.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A working directory of one test's own.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("mqtt-broker-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mqtt-broker")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    /// The program must end with this code, print nothing on its standard output, and begin its error so.
    #[track_caller]
    fn check_refused(&self, arguments: &[&str], code: i32, error: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(output.stdout.is_empty());
        assert!(said.starts_with(error), "{said}");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn answers_go_to_the_standard_output() {
    let directory = Directory::new();
    for (argument, beginning) in [
        ("--version", "mqtt-broker 0."),
        ("-V", "mqtt-broker 0."),
        ("--help", "An MQTT broker"),
        ("-h", "An MQTT broker"),
    ] {
        let output = directory.run(&[argument]);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(output.stderr.is_empty(), "{argument}");
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(beginning), "{argument}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let directory = Directory::new();
    directory.check_refused(&["--tcp-port", "x"], 2, "error: invalid value 'x' for '--tcp-port <PORT>'");
    directory.check_refused(
        &["--worker-threads=0"],
        2,
        "error: invalid value '0' for '--worker-threads <THREADS>'",
    );
    directory.check_refused(
        &["--quic-port", "1"],
        2,
        "error: --tls-port, --ws-tls-port and --quic-port need a certificate and its private key",
    );
}

#[test]
fn an_auth_file_that_is_not_as_it_should_be_ends_with_78_and_its_place() {
    let directory = Directory::new();
    directory.check_refused(&["--auth-file", "none"], 78, "error: none: the auth file cannot be read: ");

    fs::write(directory.0.join("auth.json"), "{\n  authentication: [\n    { name: '' }\n  ]\n}").unwrap();
    directory.check_refused(&[], 78, "error: auth.json:3:5: missing field `method`");
    directory.check_refused(&["--auth-file=auth.json"], 78, "error: auth.json:3:5: missing field `method`");
}

#[test]
fn an_auth_file_and_an_open_door_contradict_each_other() {
    let directory = Directory::new();
    fs::write(directory.0.join("auth.json"), "{ authentication: [], authorization: [] }").unwrap();
    directory.check_refused(
        &["--allow-anonymous"],
        2,
        "error: --allow-anonymous lets everybody do everything",
    );
    directory.check_refused(
        &["--allow-anonymous", "--auth-file=auth.json"],
        2,
        "error: --allow-anonymous lets everybody do everything",
    );
}
