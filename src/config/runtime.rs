//! The threads that everything runs on.

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How the runtime is set up; `None` leaves it to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeSettings {
    /// Threads that run tasks; `None`: one per CPU.
    pub worker_threads: Option<NonZeroUsize>,
    /// The most threads for blocking work.
    pub max_blocking_threads: Option<NonZeroUsize>,
    /// How long such a thread is kept without work.
    pub thread_keep_alive: Option<Duration>,
    /// The stack of each thread, in bytes.
    pub thread_stack_size: Option<usize>,
    /// Scheduler ticks between two looks at the queue that the threads share.
    pub global_queue_interval: Option<NonZeroU32>,
    /// Scheduler ticks between two looks at network events and timers.
    pub event_interval: Option<NonZeroU32>,
}

impl RuntimeSettings {
    /// The runtime that is set up so.
    pub fn build(&self) -> io::Result<Runtime> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("mqtt-broker");
        // Always said, as the runtime would else look for it in an environment variable of its own.
        let cpus = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        builder.worker_threads(self.worker_threads.unwrap_or_else(cpus).get());
        if let Some(threads) = self.max_blocking_threads {
            builder.max_blocking_threads(threads.get());
        }
        if let Some(time) = self.thread_keep_alive {
            builder.thread_keep_alive(time);
        }
        if let Some(bytes) = self.thread_stack_size {
            builder.thread_stack_size(bytes);
        }
        if let Some(ticks) = self.global_queue_interval {
            builder.global_queue_interval(ticks.get());
        }
        if let Some(ticks) = self.event_interval {
            builder.event_interval(ticks.get());
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_one_that_the_runtime_takes() {
        let one = NonZeroUsize::MIN;
        let settings = RuntimeSettings {
            worker_threads: Some(one),
            max_blocking_threads: Some(one),
            thread_keep_alive: Some(Duration::ZERO),
            thread_stack_size: Some(128 << 10),
            global_queue_interval: Some(NonZeroU32::MIN),
            event_interval: Some(NonZeroU32::MIN),
        };
        let runtime = settings.build().unwrap();
        assert_eq!(runtime.metrics().num_workers(), 1);
        let answer = runtime.block_on(async { tokio::task::spawn_blocking(|| 42).await });
        assert_eq!(answer.unwrap(), 42);
    }
}
