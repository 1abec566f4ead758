//! The set-up of logging.

use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};

use tracing::Level;
use tracing::error;
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::writer::QueuedWriter;

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The broker's events of this level and of more important ones are logged. Of its libraries, warnings and
    /// errors are.
    pub level: Level,
}

/// Logging, for as long as this lives. When it is dropped what was logged is written, if the standard error takes it
/// within a second.
#[derive(Debug)]
#[must_use = "what is still to be written is lost without it"]
pub struct Logging {
    writer: QueuedWriter,
}

impl Logging {
    /// Starts logging, for the whole process, and once in it.
    pub fn start(settings: LogSettings) -> Result<Self, SetGlobalDefaultError> {
        let writer = QueuedWriter::start(io::stderr());
        let lines = fmt::layer().compact().with_ansi(io::stderr().is_terminal()).with_writer(writer.clone());
        set_global_default(tracing_subscriber::registry().with(filter(settings)).with(lines))?;
        panic::set_hook(Box::new(log_panic));
        Ok(Self { writer })
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.writer.finish();
    }
}

fn filter(LogSettings { level }: LogSettings) -> Targets {
    let libraries = LevelFilter::WARN.min(LevelFilter::from_level(level));
    Targets::new().with_default(libraries).with_target("mqtt_broker", level)
}

/// A panic is a fault of ours. It goes where all else goes: the standard hook would wait for the standard error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message.as_str(),
        (None, None) => "something that is not a text",
    };
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(place, "a fault of the broker: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_the_broker() {
        for (level, target, event, expected) in [
            (Level::INFO, "mqtt_broker::server", Level::INFO, true),
            (Level::INFO, "mqtt_broker", Level::DEBUG, false),
            (Level::TRACE, "mqtt_broker", Level::TRACE, true),
            (Level::TRACE, "tokio", Level::INFO, false),
            (Level::INFO, "tokio", Level::WARN, true),
            (Level::ERROR, "tokio", Level::WARN, false),
            (Level::ERROR, "tokio", Level::ERROR, true),
        ] {
            assert_eq!(
                filter(LogSettings { level }).would_enable(target, &event),
                expected,
                "{level} {target} {event}"
            );
        }
    }
}
