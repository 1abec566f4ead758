//! Signals as Unix has them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Wish;

/// Where signals come from.
#[derive(Debug)]
pub(super) struct Sources {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    count: Signal,
}

impl Sources {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            count: signal(SignalKind::user_defined1())?,
        })
    }

    /// What the next one asks for; `None`: none will come.
    pub(super) async fn next(&mut self) -> Option<Wish> {
        tokio::select! {
            Some(()) = self.terminate.recv() => Some(Wish::Stop),
            Some(()) = self.interrupt.recv() => Some(Wish::Stop),
            Some(()) = self.reload.recv() => Some(Wish::Reload),
            Some(()) = self.count.recv() => Some(Wish::Count),
            else => None,
        }
    }
}
