//! What the program answers before it serves anybody: exit codes, and what is printed where.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
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

    /// The program must end with this code, and print this.
    #[track_caller]
    fn check_answer(&self, arguments: &[&str], code: i32, answer: &str) {
        let output = self.run(arguments);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), answer);
        assert_eq!(output.status.code(), Some(code));
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

const LAST: &str = "  it is the last rule that is about this topic and this user\n";
const PARTLY: &str =
    "  of what the filter matches, each message is delivered only if its topic is allowed: see --receive\n";
const RULES: &str = r#"{
  authentication: [{ name: "u1", method: "client_cert" }, { name: "u2", method: "anonymous" }],
  group: [{ name: "@g", members: ["u2"] }],
  authorization: [
    { topic: "a/#", allow: { sub: ["@any"], pub: ["u1"] } },
    { topic: "a/b", deny: { receive: ["@g"] } },
    { topic: "of/%c", allow: { pub: ["@any"] } },
  ],
}
"#;

#[test]
fn auth_check_tells_what_a_file_holds_or_what_is_wrong_with_it() {
    let directory = Directory::new();
    fs::write(directory.0.join("f"), RULES).unwrap();
    directory.check_answer(&["auth", "check", "f"], 0, "f: fine (users: 2, groups: 1, rules: 3)\n");
    fs::write(directory.0.join("f"), RULES.replace("a/b", "a/#/b")).unwrap();
    directory.check_refused(&["auth", "check", "f"], 78, "error: f:6:14: \"a/#/b\" is not a topic filter");
    directory.check_refused(&["auth", "check", "g"], 78, "error: g: the auth file cannot be read: ");
}

#[test]
fn auth_explain_names_the_rule_that_decides() {
    let directory = Directory::new();
    fs::write(directory.0.join("f"), RULES).unwrap();
    let ask = |question: &[&str], code, answer: &str| {
        let arguments: Vec<_> =
            ["auth", "explain", "f", "--client-id", "c"].iter().chain(question).copied().collect();
        directory.check_answer(&arguments, code, answer);
    };
    ask(
        &["--user", "u1", "--publish", "a/b"],
        0,
        &format!(
            "allowed: the user \"u1\" may publish to \"a/b\"\n  f:5:51: allow pub of rule 1, topic \"a/#\": it names \
             the user\n{LAST}"
        ),
    );
    ask(
        &["--user", "u2", "--subscribe", "$share/g/a/+"],
        0,
        &format!(
            "allowed: the user \"u2\" may subscribe to \"$share/g/a/+\"\n  f:5:36: allow sub of rule 1, topic \
             \"a/#\": @any is everybody\n{LAST}{PARTLY}"
        ),
    );
    ask(
        &["--user", "u2", "--receive", "a/b"],
        1,
        &format!(
            "denied: the user \"u2\" may not receive what is published to \"a/b\"\n  f:6:39: deny receive of rule \
             2, topic \"a/b\": the user is a member of @g\n{LAST}"
        ),
    );
    ask(
        &["--user", "u2", "--publish", "of/d"],
        1,
        "denied: the user \"u2\" may not publish to \"of/d\"\n  no rule is about this topic and this user: what is \
         not allowed is denied\n",
    );
    directory.check_answer(
        &["auth", "explain", "f", "--user", "u2", "--publish", "of/c"],
        1,
        "note: rules of f name the client (%c): without --client-id they do not apply\ndenied: the user \"u2\" may \
         not publish to \"of/c\"\n  no rule is about this topic and this user: what is not allowed is denied\n",
    );
    directory.check_refused(
        &["auth", "explain", "f", "--user", "u3", "--publish", "x"],
        2,
        "error: f: there is no user \"u3\" in `authentication`",
    );
    directory.check_refused(
        &["auth", "explain", "f", "--user", "u1", "--publish", "x/#"],
        2,
        "error: \"x/#\": a topic name cannot hold the wildcards",
    );
}

#[test]
fn auth_explain_knows_what_a_token_grants() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    #[derive(serde::Serialize)]
    struct Claims {
        sub: &'static str,
        exp: u64,
        groups: [&'static str; 1],
        may_publish: [&'static str; 2],
    }
    let token = |exp, secret: &str| {
        let claims = Claims { sub: "u9", exp, groups: ["g"], may_publish: ["own/#", "of/secret"] };
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap() + "\n"
    };
    let directory = Directory::new();
    let rules = r#"{ authentication: [], group: [{ name: "@g" }], authorization: [
        { topic: "of/#", allow: { pub: ["@g"] } }, { topic: "of/secret", deny: { pub: ["@any"] } },
    ], jwt: { key_file: "secret", algorithm: "HS256", claims: { groups: "groups", pub: "may_publish" } } }"#;
    for (name, text) in [
        ("f", rules),
        ("secret", SECRET),
        ("t", &token(4_000_000_000, SECRET)),
        ("expired", &token(1, SECRET)),
        ("forged", &token(4_000_000_000, &SECRET.replace('0', "1"))),
    ] {
        fs::write(directory.0.join(name), text).unwrap();
    }
    let ask = |topic, code, answer: &str| {
        directory.check_answer(&["auth", "explain", "f", "--token", "t", "--publish", topic], code, answer);
    };
    ask(
        "own/a",
        0,
        "allowed: the user \"u9\" may publish to \"own/a\"\n  the token grants it, and no rule is about this topic and \
         this user\n",
    );
    ask(
        "of/a",
        0,
        &format!(
            "allowed: the user \"u9\" may publish to \"of/a\"\n  f:2:41: allow pub of rule 1, topic \"of/#\": the token \
             says that the user is a member of @g\n{LAST}"
        ),
    );
    ask(
        "of/secret",
        1,
        &format!(
            "denied: the user \"u9\" may not publish to \"of/secret\"\n  f:2:88: deny pub of rule 2, topic \
             \"of/secret\": @any is everybody\n{LAST}"
        ),
    );
    let refused = |options: &[&str], error| {
        let arguments = [&["auth", "explain", "f", "--publish", "x"], options].concat();
        directory.check_refused(&arguments, 2, error);
    };
    refused(&["--token", "expired"], "error: f: the token is not taken: ");
    refused(&["--token", "forged"], "error: f: the token is not taken: ");
    refused(
        &["--token", "t", "--user", "u1"],
        "error: f: the token is that of the user \"u9\" and not of \"u1\"",
    );
    refused(&["--token", "none"], "error: none: the token cannot be read: ");
    refused(&[], "error: the following required arguments were not provided:\n  --user <NAME>");
}

#[test]
fn auth_hash_makes_an_entry_that_auth_check_takes() {
    let directory = Directory::new();
    let mut hash = Command::new(env!("CARGO_BIN_EXE_mqtt-broker"))
        .args(["auth", "hash", "--user", "u1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    hash.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let output = hash.wait_with_output().unwrap();
    assert!(output.status.success());
    let entry = String::from_utf8(output.stdout).unwrap();
    assert!(
        entry.starts_with(
            "{ name: \"u1\", method: \"password_hash\", hash: \"$argon2id$v=19$m=19456,t=2,p=1$"
        ),
        "{entry}"
    );
    fs::write(directory.0.join("f"), format!("{{ authentication: [{entry}], authorization: [] }}")).unwrap();
    directory.check_answer(&["auth", "check", "f"], 0, "f: fine (users: 1, groups: 0, rules: 0)\n");
}
