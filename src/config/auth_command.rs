//! The command `auth` and its own commands. The comments are the help.

#![allow(clippy::doc_markdown, reason = "the help is plain text: backticks would be seen")]

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::store_command::StoreArguments;
use crate::auth::command::{AuthCommand, Explain, Hash, HashMethod, Question};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check an auth file, ask which of its rules decides, make entries for it
    #[command(subcommand, disable_help_subcommand = true)]
    Auth(AuthArguments),
    /// Look into a data directory on which no broker runs
    #[command(subcommand, disable_help_subcommand = true)]
    Store(StoreArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthArguments {
    /// Say whether an auth file is as it should be; if not, exit with 78
    Check {
        /// The auth file
        file: PathBuf,
    },
    /// Say which rule of an auth file decides what a user may do, and exit with 0 if it allows, with 1 if it denies
    Explain(ExplainArguments),
    /// Make the entry of a user, for a password that is read from the standard input or, at a terminal, asked for
    Hash(HashArguments),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("question").required(true))]
pub(super) struct ExplainArguments {
    /// The auth file
    file: PathBuf,
    /// The name of the user; with --token it is the token's
    #[arg(long, value_name = "NAME", required_unless_present = "token")]
    user: Option<String>,
    /// Ask for the bearer of the token in this file, or on the standard input if it is -
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The client identifier, for rules that name it with %c
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// May the user publish to this topic?
    #[arg(long, value_name = "TOPIC", group = "question")]
    publish: Option<String>,
    /// May the user subscribe to this topic filter?
    #[arg(long, value_name = "FILTER", group = "question")]
    subscribe: Option<String>,
    /// May the user receive what is published to this topic?
    #[arg(long, value_name = "TOPIC", group = "question")]
    receive: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct HashArguments {
    /// The name of the user
    #[arg(long, value_name = "NAME", default_value = "user")]
    user: String,
    /// How the password is kept
    #[arg(long, value_name = "METHOD", default_value = "argon2id")]
    method: Method,
    /// Iterations of PBKDF2 [default: 600000 with pbkdf2-sha256, 210000 with pbkdf2-sha512, 15000 with scram-sha-256]
    #[arg(long, value_name = "ITERATIONS")]
    iterations: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// takes time and memory to guess
    Argon2id,
    /// takes time to guess
    Pbkdf2Sha256,
    /// takes time to guess
    Pbkdf2Sha512,
    /// for MQTT 5.0 clients that prove to know the password without telling it
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

impl From<AuthArguments> for AuthCommand {
    fn from(arguments: AuthArguments) -> Self {
        match arguments {
            AuthArguments::Check { file } => Self::Check(file),
            AuthArguments::Explain(ExplainArguments {
                file,
                user,
                token,
                client_id,
                publish,
                subscribe,
                receive,
            }) => {
                // One of the three is there: the group requires it.
                let question = publish
                    .map(Question::Publish)
                    .or_else(|| subscribe.map(Question::Subscribe))
                    .unwrap_or_else(|| Question::Receive(receive.unwrap_or_default()));
                Self::Explain(Explain { file, user, token, client_id, question })
            }
            AuthArguments::Hash(HashArguments { user, method, iterations }) => {
                let method = match method {
                    Method::Argon2id => HashMethod::Argon2id,
                    Method::Pbkdf2Sha256 => HashMethod::Pbkdf2Sha256,
                    Method::Pbkdf2Sha512 => HashMethod::Pbkdf2Sha512,
                    Method::ScramSha256 => HashMethod::ScramSha256,
                };
                Self::Hash(Hash { user, method, iterations })
            }
        }
    }
}
