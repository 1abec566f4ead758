//! A bound on what brings nothing: control frames, and frames without payload.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};

/// Bytes of it that may come in a second, and at once. Limits on what clients send are about what they say; without this
/// they could have a thread do nothing but read and answer pings. A client that pings each second takes a hundredth of a
/// percent.
const ALLOWED: u32 = 64 << 10;
const FILLING: Duration = Duration::from_secs(1);

/// What has come, as the time that it was worth.
#[derive(Debug)]
pub(super) struct Idling {
    /// When all of it has been made up for.
    settled_at: Instant,
    /// While nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Idling {
    /// Nothing has come.
    pub(super) fn new() -> Self {
        Self { settled_at: Instant::now(), pause: None }
    }

    /// So many bytes have come.
    pub(super) fn count(&mut self, bytes: usize) {
        let now = Instant::now();
        let worth = FILLING / ALLOWED * u32::try_from(bytes).unwrap_or(u32::MAX);
        self.settled_at = self.settled_at.max(now) + worth;
        let may_come_at = self.settled_at.checked_sub(FILLING);
        self.pause = may_come_at.filter(|at| *at > now).map(|at| Box::pin(time::sleep_until(at)));
    }

    /// Waits until more may come.
    pub(super) fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
