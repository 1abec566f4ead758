//! The broker daemon.

use std::env;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use mqtt_broker::auth::command::{Answer, AuthCommand, CommandError};
use mqtt_broker::auth::{AuthError, Authenticators};
use mqtt_broker::config::{Config, Invocation};
use mqtt_broker::server::{self, ServeError};
use mqtt_broker::storage::command::{Condition, StoreCommand, StoreError};
use mqtt_broker::telemetry::Logging;
use mqtt_broker::transport::Inherited;
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// It could not run, or not go on.
const FAILED: u8 = 1;
/// The command line contradicts what is there.
const WRONG_COMMAND_LINE: u8 = 2;
/// A file is not what it should be: `EX_CONFIG` of sysexits.
const WRONG_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return fail(FAILED, &error),
    };
    match Invocation::from_command_line(env::args_os(), &inherited.transports()) {
        Ok(Invocation::Serve(config)) => serve(config, inherited),
        Ok(Invocation::Auth(command)) => answer(command),
        Ok(Invocation::Store(command)) => look_into(command),
        Err(answer) => {
            // Where the answer cannot be printed the exit code still tells it.
            let _ = answer.print();
            u8::try_from(answer.exit_code()).unwrap_or(FAILED).into()
        }
    }
}

fn serve(Config { runtime, log, auth, own_auth, server, notes }: Config, inherited: Inherited) -> ExitCode {
    let logging = match Logging::start(log) {
        Ok(logging) => logging,
        Err(error) => return fail(FAILED, &error),
    };
    let auth = match Authenticators::open(auth, own_auth) {
        Ok(auth) => auth,
        Err(error) => {
            drop(logging);
            return fail(code_of(&error), &error);
        }
    };
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &format_args!("the threads cannot be started: {error}")),
    };

    info!("mqtt-broker {}", mqtt_broker::config::VERSION);
    for note in notes {
        info!("{note}");
    }
    for sentence in auth.describe() {
        info!("{sentence}");
    }
    let ended = runtime.block_on(server::run(server, auth, inherited));
    // Whatever still runs, and be it a file that does not come to its end, ends with the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            match error {
                ServeError::Tls(_) | ServeError::Data(_) => WRONG_CONFIGURATION.into(),
                ServeError::NoListener
                | ServeError::NoPolicy(_)
                | ServeError::Bind { .. }
                | ServeError::PortsFile { .. }
                | ServeError::Signals(_)
                | ServeError::StorageThread(_)
                | ServeError::BrokerFailed => FAILED.into(),
            }
        }
    }
}

fn answer(command: AuthCommand) -> ExitCode {
    match command.run(&mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => FAILED.into(),
        Err(CommandError::File(error)) => fail(code_of(&error), &error),
        Err(error @ CommandError::Question(_)) => fail(WRONG_COMMAND_LINE, &error),
        Err(error @ CommandError::Io(_)) => fail(FAILED, &error),
    }
}

fn look_into(command: StoreCommand) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let condition = command.run(&mut out);
    let condition = out.flush().map_err(StoreError::from).and(condition);
    drop(out);
    match condition {
        Ok(Condition::Sound) => ExitCode::SUCCESS,
        Ok(Condition::Damaged) => FAILED.into(),
        Err(error @ (StoreError::Storage(_) | StoreError::Output(..))) => fail(WRONG_CONFIGURATION, &error),
        Err(error @ StoreError::Io(_)) => fail(FAILED, &error),
    }
}

fn code_of(error: &AuthError) -> u8 {
    match error {
        AuthError::Contradiction { .. } => WRONG_COMMAND_LINE,
        AuthError::Unreadable { .. } | AuthError::Invalid { .. } => WRONG_CONFIGURATION,
    }
}

/// Says why, as the command line's errors do.
fn fail(code: u8, why: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {why}");
    code.into()
}
