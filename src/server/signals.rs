//! What the process is told from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Controls;

/// The signals that are listened to; from the moment they are made on, none ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    count: Signal,
}

impl Signals {
    /// Listens to SIGTERM, SIGINT, SIGHUP and SIGUSR1. To be called within the runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            count: signal(SignalKind::user_defined1())?,
        })
    }

    /// Does what signals ask for: SIGTERM and SIGINT cancel `shutdown`, SIGHUP reloads the files, SIGUSR1 logs
    /// the counters. Returns when asked to stop a second time, which means: at once.
    pub async fn obey(mut self, controls: &Controls, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => {}
                Some(()) = self.interrupt.recv() => {}
                Some(()) = self.reload.recv() => {
                    controls.reload().await;
                    continue;
                }
                Some(()) = self.count.recv() => {
                    controls.log_counters().await;
                    continue;
                }
                else => return,
            }
            if shutdown.is_cancelled() {
                warn!("asked to stop once more: stopping at once");
                return;
            }
            info!("asked to stop");
            shutdown.cancel();
        }
    }
}
