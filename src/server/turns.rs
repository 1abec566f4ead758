//! Those who come compute a lot: handshakes above all, and all of them together after a cut. Who is in must not notice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// Lets half of the threads work for those who are not in yet, one connection at a time each; the others wait in a
/// queue of their own, so that no more than these few stand in the runtime's queue before those who are in.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// The place of one connection in that queue.
#[derive(Debug)]
pub(super) struct Queue(PollSemaphore);

impl Turns {
    /// For the runtime in which it is called.
    pub(super) fn new() -> Self {
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self(Arc::new(Semaphore::new(threads.div_ceil(2))))
    }

    /// A place for a connection.
    pub(super) fn queue(&self) -> Queue {
        Queue(PollSemaphore::new(Arc::clone(&self.0)))
    }
}

impl Queue {
    /// Polls a future when it is its turn. It has the turn only while it computes, and none while it waits for its peer:
    /// those who are silent keep nobody waiting. Turns are given in the order in which they were asked for.
    pub(super) fn poll<F: Future + ?Sized>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // The semaphore is never closed: without a turn, the future runs as it would without a queue.
        let _turn = std::task::ready!(self.0.poll_acquire(cx));
        future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    fn poll<F: Future + Unpin>(queue: &mut Queue, future: &mut F) -> Poll<F::Output> {
        queue.poll(Pin::new(future), &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_for_its_peer_keeps_nobody_waiting() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let (mut silent, mut other) = (turns.queue(), turns.queue());
        let (release, mut peer) = oneshot::channel();
        assert!(poll(&mut silent, &mut peer).is_pending());
        assert_eq!(poll(&mut other, &mut std::future::ready(42)), Poll::Ready(42));
        release.send(7).unwrap();
        assert_eq!(poll(&mut silent, &mut peer), Poll::Ready(Ok(7)));
    }

    #[test]
    fn turns_are_given_in_order() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let taken = Arc::clone(&turns.0).try_acquire_owned().unwrap();
        let (mut first, mut second) = (turns.queue(), turns.queue());
        let mut ready = std::future::ready(());
        assert!(poll(&mut first, &mut ready.clone()).is_pending());
        assert!(poll(&mut second, &mut ready.clone()).is_pending());
        drop(taken);
        assert!(poll(&mut second, &mut ready.clone()).is_pending());
        assert!(poll(&mut first, &mut ready).is_ready());
        assert!(poll(&mut second, &mut std::future::ready(())).is_ready());
    }
}
