//! What the broker has for one client, until the client's endpoint takes it.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::broker::ToClient;

/// The way from the broker to one endpoint. The broker never waits at it.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    items: Vec<ToClient>,
    overflowed: bool,
    /// Batches of this endpoint that the broker has not dealt with.
    unanswered: usize,
    /// Whether the endpoint waits for an answer, and not only for items.
    awaits_answer: bool,
    /// Whether the broker wants to know what is written.
    is_asked: bool,
    endpoint: Option<Waker>,
}

/// What was in a mailbox.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Post {
    pub(super) items: Vec<ToClient>,
    /// Whether the broker wants to know what is written as soon as something is.
    pub(super) is_asked: bool,
}

/// A mailbox held more than the broker should ever put there; the rest was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflowed;

impl Mailbox {
    /// The most items that may wait. Deliveries are bounded by the outbound window long before, answers by
    /// the batches that may be unanswered: to get here takes a fault of ours.
    const CAPACITY: usize = 1 << 18;

    /// Adds items, and wakes the endpoint if nothing has woken it since it last looked.
    pub(super) fn post(&self, mut items: Vec<ToClient>) {
        let mut contents = self.contents();
        if contents.items.len() + items.len() > Self::CAPACITY {
            contents.items = Vec::new();
            contents.overflowed = true;
        } else if contents.items.is_empty() {
            contents.items = items;
        } else {
            contents.items.append(&mut items);
        }
        let waker = contents.endpoint.take();
        drop(contents);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The broker wants to know what is written as soon as something is.
    pub(super) fn ask(&self) {
        let mut contents = self.contents();
        contents.is_asked = true;
        let waker = contents.endpoint.take();
        drop(contents);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all there is. `endpoint` is woken when there is more.
    pub(super) fn take(&self, endpoint: &Waker) -> Result<Post, Overflowed> {
        let mut contents = self.contents();
        if contents.overflowed {
            return Err(Overflowed);
        }
        if !contents.endpoint.as_ref().is_some_and(|waker| waker.will_wake(endpoint)) {
            contents.endpoint = Some(endpoint.clone());
        }
        Ok(Post { items: mem::take(&mut contents.items), is_asked: mem::take(&mut contents.is_asked) })
    }

    /// A batch of the endpoint goes to the broker.
    pub(super) fn batch_sent(&self) {
        self.contents().unanswered += 1;
    }

    /// The broker has dealt with a batch of the endpoint: what it had to answer has been posted.
    pub(super) fn batch_answered(&self) {
        let mut contents = self.contents();
        contents.unanswered = contents.unanswered.saturating_sub(1);
        let waker = if contents.awaits_answer { contents.endpoint.take() } else { None };
        drop(contents);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether more than `count` batches are unanswered. If so the endpoint, which must have
    /// [looked](Self::take) before, is woken with the next answer.
    pub(super) fn has_unanswered_beyond(&self, count: usize) -> bool {
        let mut contents = self.contents();
        contents.awaits_answer = contents.unanswered > count;
        contents.awaits_answer
    }

    /// No critical section can panic half-way.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Bell {
        fn rung(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (Arc::clone(&bell), Waker::from(bell))
    }

    #[test]
    fn the_endpoint_is_woken_once_until_it_looks_again() {
        let (bell, waker) = bell();
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.take(&waker), Ok(Post::default()));
        mailbox.post(vec![ToClient::PingResp]);
        mailbox.post(vec![ToClient::PingResp]);
        assert_eq!(bell.rung(), 1);
        assert_eq!(mailbox.take(&waker).map(|post| post.items.len()), Ok(2));
        mailbox.post(vec![ToClient::PingResp]);
        assert_eq!(bell.rung(), 2);
    }

    #[test]
    fn the_endpoint_is_asked_once_what_is_written() {
        let (bell, waker) = bell();
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.take(&waker), Ok(Post::default()));
        mailbox.ask();
        assert_eq!(bell.rung(), 1);
        assert_eq!(mailbox.take(&waker), Ok(Post { items: Vec::new(), is_asked: true }));
        assert_eq!(mailbox.take(&waker), Ok(Post::default()));
    }

    #[test]
    fn an_answer_wakes_only_an_endpoint_that_waits_for_it() {
        let (bell, waker) = bell();
        let mailbox = Mailbox::default();
        mailbox.batch_sent();
        mailbox.batch_sent();
        mailbox.take(&waker).unwrap();
        assert!(!mailbox.has_unanswered_beyond(2));
        mailbox.batch_answered();
        assert_eq!(bell.rung(), 0);
        assert!(mailbox.has_unanswered_beyond(0));
        mailbox.batch_answered();
        assert_eq!(bell.rung(), 1);
        assert!(!mailbox.has_unanswered_beyond(0));
    }

    #[test]
    fn an_overflow_is_told_and_frees_what_was_there() {
        let (bell, waker) = bell();
        let mailbox = Mailbox::default();
        mailbox.take(&waker).unwrap();
        mailbox.post(vec![ToClient::PingResp; Mailbox::CAPACITY]);
        mailbox.post(vec![ToClient::PingResp]);
        assert_eq!(mailbox.take(&waker), Err(Overflowed));
        assert_eq!(mailbox.contents().items.capacity(), 0);
        assert_eq!(bell.rung(), 1);
    }
}
