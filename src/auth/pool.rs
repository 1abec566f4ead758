//! Where passwords are verified: on threads for blocking work, so many at a time, and with so much memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

/// Bounds what verifying passwords can take: threads, memory, and attempts that wait for their turn.
///
/// Attempts are served in the order in which they come. One whose future is dropped before its turn costs nothing.
#[derive(Debug)]
pub(super) struct HashingPool {
    threads: Arc<Semaphore>,
    /// In MiB, as semaphores count in 32 bits.
    memory: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Why something was not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotComputed {
    /// Too many wait already.
    Busy,
    /// It panicked, or the runtime ends.
    Failed,
}

impl HashingPool {
    /// Attempts that may wait: with the slowest hash that is let in, many more would only wait to be too late.
    const WAITING: usize = 4_096;
    /// What all hashes together may take, in MiB; the most that one may.
    const MEMORY: u32 = 1_024;

    /// One computation for each CPU at a time.
    pub(super) fn new() -> Self {
        Self {
            threads: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))),
            memory: Arc::new(Semaphore::new(usize::try_from(Self::MEMORY).unwrap_or(usize::MAX))),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until something that takes so many KiB can be computed.
    pub(super) async fn enter(&self, memory: u32) -> Result<Seat, NotComputed> {
        let place = Waiting::begin(&self.waiting).ok_or(NotComputed::Busy)?;
        // First the memory: who waits for it must not keep a thread from others.
        let mebibytes = memory.div_ceil(1_024).min(Self::MEMORY);
        let space =
            Arc::clone(&self.memory).acquire_many_owned(mebibytes).await.map_err(|_| NotComputed::Failed)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| NotComputed::Failed)?;
        drop(place);
        Ok(Seat { _space: space, _thread: thread })
    }
}

/// What it takes to compute. Whoever holds it has come to its turn.
#[derive(Debug)]
pub(super) struct Seat {
    _space: OwnedSemaphorePermit,
    _thread: OwnedSemaphorePermit,
}

impl Seat {
    /// Does `work`.
    pub(super) async fn compute<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotComputed> {
        let computed = task::spawn_blocking(move || {
            // It goes with the work and not with its future, which may be dropped before.
            let _seat = self;
            work()
        });
        computed.await.map_err(|_| NotComputed::Failed)
    }
}

/// A place among those who wait.
struct Waiting<'p>(&'p AtomicUsize);

impl<'p> Waiting<'p> {
    fn begin(count: &'p AtomicUsize) -> Option<Self> {
        // Nothing is ordered by it.
        let before = count.fetch_add(1, Ordering::Relaxed);
        let place = Self(count);
        (before < HashingPool::WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    impl HashingPool {
        /// How many wait.
        pub(in crate::auth) fn waiting(&self) -> usize {
            self.waiting.load(Ordering::Relaxed)
        }

        async fn compute<T: Send + 'static>(
            &self,
            memory: u32,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Result<T, NotComputed> {
            self.enter(memory).await?.compute(work).await
        }
    }

    #[tokio::test]
    async fn what_takes_all_the_memory_is_alone() {
        let pool = Arc::new(HashingPool::new());
        let running = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (pool, running) = (Arc::clone(&pool), Arc::clone(&running));
                tokio::spawn(async move {
                    let work = move || {
                        let others = running.fetch_add(1, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                        others
                    };
                    pool.compute(HashingPool::MEMORY * 1_024, work).await
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(0));
        }
    }

    #[tokio::test]
    async fn whoever_would_be_one_too_many_is_turned_away_at_once() {
        let pool = Arc::new(HashingPool::new());
        let all = pool.threads.available_permits();
        let barrier = Arc::new(Barrier::new(all + 1));
        let start = || {
            let (pool, barrier) = (Arc::clone(&pool), Arc::clone(&barrier));
            tokio::spawn(async move { pool.compute(0, move || barrier.wait().is_leader()).await })
        };
        let running: Vec<_> = (0..all).map(|_| start()).collect();
        while pool.threads.available_permits() > 0 {
            task::yield_now().await;
        }
        let waiting: Vec<_> = (0..HashingPool::WAITING)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.compute(0, || ()).await })
            })
            .collect();
        while pool.waiting.load(Ordering::Relaxed) < HashingPool::WAITING {
            task::yield_now().await;
        }
        assert_eq!(pool.compute(0, || ()).await, Err(NotComputed::Busy));

        // Those who give up make room.
        for task in waiting {
            task.abort();
            assert!(task.await.is_err());
        }
        barrier.wait();
        for task in running {
            task.await.unwrap().unwrap();
        }
        assert_eq!(pool.compute(0, || 7).await, Ok(7));
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_gives_its_thread_back() {
        let pool = HashingPool::new();
        for _ in 0..=pool.threads.available_permits() {
            assert_eq!(pool.compute(1, || panic!("as wanted")).await, Err::<(), _>(NotComputed::Failed));
        }
    }
}
