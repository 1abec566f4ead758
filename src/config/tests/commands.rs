//! The commands beside serving, as they are written.

use super::*;
use crate::auth::command::{Explain, Hash, HashMethod, Question};

#[track_caller]
fn check_command(line: &str, expected: AuthCommand) {
    let arguments = ["mqtt-broker"].into_iter().chain(line.split_whitespace());
    let invocation = Invocation::on_host(arguments, || panic!("no listener is needed"), &[]).unwrap();
    assert_eq!(invocation, Invocation::Auth(expected), "{line}");
}

#[test]
fn commands_are_told_from_options() {
    check_command("auth check f", AuthCommand::Check("f".into()));
    let explain = |client_id: Option<&str>, question| {
        let (file, user, client_id) = ("f".into(), Some("u".to_owned()), client_id.map(str::to_owned));
        AuthCommand::Explain(Explain { file, user, token: None, client_id, question })
    };
    let bearer = Explain {
        file: "f".into(),
        user: None,
        token: Some("t".into()),
        client_id: None,
        question: Question::Publish("a/b".to_owned()),
    };
    check_command("auth explain f --token t --publish a/b", AuthCommand::Explain(bearer));
    let topic = || "a/b".to_owned();
    check_command("auth explain f --user u --publish a/b", explain(None, Question::Publish(topic())));
    check_command("auth explain f --user u --receive a/b", explain(None, Question::Receive(topic())));
    check_command(
        "auth explain --client-id c --subscribe a/b f --user u",
        explain(Some("c"), Question::Subscribe(topic())),
    );
    let hash = |user: &str, method, iterations| {
        AuthCommand::Hash(Hash { user: user.to_owned(), method, iterations: NonZeroU32::new(iterations) })
    };
    check_command("auth hash", hash("user", HashMethod::Argon2id, 0));
    check_command("auth hash --user a --method argon2id", hash("a", HashMethod::Argon2id, 0));
    check_command(
        "auth hash --method pbkdf2-sha256 --iterations 7",
        hash("user", HashMethod::Pbkdf2Sha256, 7),
    );
    check_command("auth hash --method scram-sha-256", hash("user", HashMethod::ScramSha256, 0));
    check_command("auth hash --method pbkdf2-sha512", hash("user", HashMethod::Pbkdf2Sha512, 0));

    check_refused("auth explain f --user u", &["--publish", "--subscribe", "--receive"]);
    check_refused("auth explain f --user u --publish a --receive a", &["cannot be used with"]);
    check_refused("auth explain f --publish a", &["--user"]);
    check_refused("auth check", &["<FILE>"]);
    check_refused("auth hash --iterations 0", &["'0'", "--iterations"]);
    check_refused("auth hash --method md5", &["'md5'", "argon2id"]);
    check_refused("--tcp-port 1 auth check f", &["auth"]);
}
