//! Those who come compute a lot: handshakes above all, and all of them together after a cut. Who is in must not notice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use super::admission::Source;

/// Lets half of the threads work for those who are not in yet, one connection at a time each; the others wait in
/// queues of their own, so that no more than these few stand in the runtime's queue before those who are in.
///
/// Each source has a queue, and of each no more than could have a turn at the same time stand in the common one: who
/// comes from elsewhere is served after a few of a source that opens connections without end, and not after all.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    /// So many at a time.
    width: usize,
    all: Arc<Semaphore>,
    by_source: Arc<Mutex<HashMap<Option<Source>, OfSource>>>,
}

/// The queue of those that come from one source, and how many there are.
#[derive(Debug)]
struct OfSource {
    turns: Arc<Semaphore>,
    connections: usize,
}

/// The place of one connection in these queues.
#[derive(Debug)]
pub(super) struct Queue {
    turns: Turns,
    source: Option<Source>,
    of_source: PollSemaphore,
    all: PollSemaphore,
    /// While it waits in the common queue.
    first_of_source: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// For the runtime in which it is called.
    pub(super) fn new() -> Self {
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self::of_width(threads.div_ceil(2))
    }

    fn of_width(width: usize) -> Self {
        Self { width, all: Arc::new(Semaphore::new(width)), by_source: Arc::default() }
    }

    /// A place for a connection from there; `None`: from this host, by a Unix socket. Those that a proxy passes on come
    /// from the proxy.
    pub(super) fn queue(&self, source: Option<Source>) -> Queue {
        let mut sources = self.sources();
        let of_source = sources
            .entry(source)
            .or_insert_with(|| OfSource { turns: Arc::new(Semaphore::new(self.width)), connections: 0 });
        of_source.connections += 1;
        Queue {
            turns: self.clone(),
            source,
            of_source: PollSemaphore::new(Arc::clone(&of_source.turns)),
            all: PollSemaphore::new(Arc::clone(&self.all)),
            first_of_source: None,
        }
    }

    /// No critical section can panic half-way.
    fn sources(&self) -> MutexGuard<'_, HashMap<Option<Source>, OfSource>> {
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Polls a future when it is its turn. It has the turn only while it computes, and none while it waits for its peer:
    /// those who are silent keep nobody waiting. Turns are given in the order in which they were asked for, among those
    /// of one source.
    pub(super) fn poll<F: Future + ?Sized>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // The semaphores are never closed: without a turn, the future runs as it would without a queue.
        if self.first_of_source.is_none() {
            self.first_of_source = ready!(self.of_source.poll_acquire(cx));
        }
        let _turn = ready!(self.all.poll_acquire(cx));
        let polled = future.poll(cx);
        self.first_of_source = None;
        polled
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Entry::Occupied(mut of_source) = self.turns.sources().entry(self.source) {
            of_source.get_mut().connections -= 1;
            if of_source.get().connections == 0 {
                of_source.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    fn poll<F: Future + Unpin>(queue: &mut Queue, future: &mut F) -> Poll<F::Output> {
        queue.poll(Pin::new(future), &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_for_its_peer_keeps_nobody_waiting() {
        let turns = Turns::of_width(1);
        let (mut silent, mut other) = (turns.queue(None), turns.queue(None));
        let (release, mut peer) = oneshot::channel();
        assert!(poll(&mut silent, &mut peer).is_pending());
        assert_eq!(poll(&mut other, &mut std::future::ready(42)), Poll::Ready(42));
        release.send(7).unwrap();
        assert_eq!(poll(&mut silent, &mut peer), Poll::Ready(Ok(7)));
    }

    #[test]
    fn turns_are_given_in_order() {
        let turns = Turns::of_width(1);
        let taken = Arc::clone(&turns.all).try_acquire_owned().unwrap();
        let (mut first, mut second) = (turns.queue(None), turns.queue(None));
        let mut ready = std::future::ready(());
        assert!(poll(&mut first, &mut ready.clone()).is_pending());
        assert!(poll(&mut second, &mut ready.clone()).is_pending());
        drop(taken);
        assert!(poll(&mut second, &mut ready.clone()).is_pending());
        assert!(poll(&mut first, &mut ready).is_ready());
        assert!(poll(&mut second, &mut std::future::ready(())).is_ready());
    }

    #[test]
    fn who_comes_from_elsewhere_does_not_wait_for_all_of_a_source() {
        let source = |last| Some(Source::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))));
        let turns = Turns::of_width(1);
        let taken = Arc::clone(&turns.all).try_acquire_owned().unwrap();
        let mut many: Vec<_> = (0..100).map(|_| turns.queue(source(1))).collect();
        let mut ready = std::future::ready(());
        for queue in &mut many {
            assert!(poll(queue, &mut ready.clone()).is_pending());
        }
        let mut other = turns.queue(source(2));
        assert!(poll(&mut other, &mut ready.clone()).is_pending());
        drop(taken);
        assert!(poll(&mut other, &mut ready.clone()).is_pending());
        assert!(poll(&mut many[0], &mut ready.clone()).is_ready());
        // The second of the many stands in the common queue only now, behind it.
        assert!(poll(&mut many[1], &mut ready.clone()).is_pending());
        assert!(poll(&mut other, &mut ready.clone()).is_ready());
        assert!(poll(&mut many[1], &mut ready).is_ready());
    }

    #[test]
    fn who_gives_up_keeps_nobody_waiting_and_sources_are_forgotten() {
        let turns = Turns::of_width(1);
        let taken = Arc::clone(&turns.all).try_acquire_owned().unwrap();
        let (mut first, mut second) = (turns.queue(None), turns.queue(None));
        let mut ready = std::future::ready(());
        assert!(poll(&mut first, &mut ready.clone()).is_pending());
        assert!(poll(&mut second, &mut ready.clone()).is_pending());
        drop((first, taken));
        assert!(poll(&mut second, &mut ready).is_ready());
        assert_eq!(turns.sources().len(), 1);
        drop(second);
        assert!(turns.sources().is_empty());
    }
}
