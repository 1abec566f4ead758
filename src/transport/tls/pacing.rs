//! Handshakes compute a lot. Not all threads of the runtime should do so at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// Lets half of the threads work on handshakes at a time; the other half goes on serving those who are in.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Semaphore>);

impl Pace {
    /// For the runtime in which it is called.
    pub(super) fn new() -> Self {
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self(Arc::new(Semaphore::new(threads.div_ceil(2))))
    }

    /// Runs a future at this pace. It holds its place only while it computes, and none while it waits for its peer:
    /// those who are silent keep nobody waiting. Places are given in the order in which they were asked for.
    pub(super) async fn run<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        let mut places = PollSemaphore::new(Arc::clone(&self.0));
        std::future::poll_fn(|cx| poll(&mut places, Pin::new(&mut future), cx)).await
    }
}

fn poll<F: Future>(places: &mut PollSemaphore, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    // The semaphore is never closed: without a place, the future runs as it would without a pace.
    let _place = std::task::ready!(places.poll_acquire(cx));
    future.poll(cx)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_its_peer_keeps_nobody_waiting() {
        let pace = Pace(Arc::new(Semaphore::new(1)));
        let (release, peer) = oneshot::channel();
        let silent = tokio::spawn({
            let pace = pace.clone();
            async move { pace.run(peer).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(pace.run(std::future::ready(42)).await, 42);
        release.send(7).unwrap();
        assert_eq!(silent.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn no_more_compute_at_a_time_than_there_are_places() {
        let pace = Pace(Arc::new(Semaphore::new(1)));
        let taken = Arc::clone(&pace.0).try_acquire_owned().unwrap();
        let mut paced = Box::pin(pace.run(std::future::ready(42)));
        assert!(poll_once(paced.as_mut()).is_pending());
        drop(taken);
        assert_eq!(paced.await, 42);
    }

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
