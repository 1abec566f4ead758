//! What the process is told from outside.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
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
    ///
    /// Neither a file that cannot be read at once nor a busy broker keeps it from hearing the next signal.
    pub async fn obey(mut self, controls: &Controls, shutdown: &CancellationToken) {
        let (reload, count) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        let (controls_of_reload, wanted) = (controls.clone(), Arc::clone(&reload));
        tasks.spawn(async move {
            loop {
                wanted.notified().await;
                controls_of_reload.reload().await;
            }
        });
        let (controls_of_count, wanted) = (controls.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            loop {
                wanted.notified().await;
                controls_of_count.log_counters().await;
            }
        });
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => {}
                Some(()) = self.interrupt.recv() => {}
                Some(()) = self.reload.recv() => {
                    reload.notify_one();
                    continue;
                }
                Some(()) = self.count.recv() => {
                    count.notify_one();
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
