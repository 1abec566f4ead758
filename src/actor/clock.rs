//! The time that the core is told.

use tokio::time;

use crate::clock::Instant;

/// Tells the time since the broker was started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: time::Instant,
}

impl Clock {
    /// A clock of a broker that is started now.
    pub fn start() -> Self {
        Self { started: time::Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    /// The same moment for the timers of the runtime; one too far away to be told is far enough.
    pub fn to_tokio(self, at: Instant) -> time::Instant {
        const FAR: std::time::Duration = std::time::Duration::from_secs(86_400 * 365);
        self.started.checked_add(at.since_start()).unwrap_or_else(|| time::Instant::now() + FAR)
    }
}
