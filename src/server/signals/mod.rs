//! What the process is told from outside.

#[cfg(not(unix))]
mod keys;
#[cfg(unix)]
mod unix;

use std::io;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Controls;
#[cfg(not(unix))]
use keys::Sources;
#[cfg(unix)]
use unix::Sources;

/// The signals that are listened to; from the moment they are made on, none ends the process by itself.
#[derive(Debug)]
pub struct Signals(Sources);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// To stop.
    Stop,
    /// To read the files again.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no signal for it"))]
    Reload,
    /// To log the counters.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no signal for it"))]
    Count,
}

impl Signals {
    /// Listens to SIGTERM, SIGINT, SIGHUP and SIGUSR1, or to what there is instead. To be called within the runtime.
    pub fn listen() -> io::Result<Self> {
        Sources::listen().map(Self)
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
        while let Some(wish) = self.0.next().await {
            match wish {
                Wish::Reload => reload.notify_one(),
                Wish::Count => count.notify_one(),
                Wish::Stop if shutdown.is_cancelled() => {
                    warn!("asked to stop once more: stopping at once");
                    return;
                }
                Wish::Stop => {
                    info!("asked to stop");
                    shutdown.cancel();
                }
            }
        }
    }
}
