//! Where a client is, that may go from one network to another.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};
use tracing::debug;

/// What is to be done with the address where a client has settled.
pub(super) type WhenMoved = Box<dyn Fn(SocketAddr) + Send>;

/// Follows the address of a client.
///
/// QUIC sends to a new address from the first packet on that seems to come from there, and returns to the one before if
/// nobody answers from the new one. So an address is believed only when it has held for a while, and looked at once
/// more after that.
pub(super) struct Whereabouts {
    /// Where the client seems to be.
    seen: SocketAddr,
    /// Where it has settled.
    settled: SocketAddr,
    when_moved: Option<WhenMoved>,
    /// While it is not certain that it stays.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Whereabouts {
    /// Longer than QUIC waits for an answer from a new address, unless the network is very slow.
    const SETTLES: Duration = Duration::from_secs(5);

    pub(super) fn new(address: SocketAddr) -> Self {
        Self { seen: address, settled: address, when_moved: None, timer: None }
    }

    pub(super) fn when_moved(&mut self, tell: WhenMoved) {
        self.when_moved = Some(tell);
    }

    /// Something has come from the client, which is at `address` now.
    pub(super) fn notice(&mut self, address: SocketAddr) {
        if address == self.seen {
            return;
        }
        debug!(from = %self.seen, to = %address, "a QUIC client has moved");
        self.seen = address;
        let at = Instant::now() + Self::SETTLES;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(time::sleep_until(at))),
        }
    }

    /// Looks where the client is when that has held for a while.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, address: impl Fn() -> SocketAddr) {
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.seen = address();
            if self.seen == self.settled {
                self.timer = None;
                return;
            }
            self.settled = self.seen;
            if let Some(tell) = &self.when_moved {
                tell(self.settled);
            }
            timer.as_mut().reset(Instant::now() + Self::SETTLES);
        }
    }
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whereabouts")
            .field("seen", &self.seen)
            .field("settled", &self.settled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::task::Waker;

    use super::*;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 14_567))
    }

    /// Of a client at the first address, with what is told.
    fn followed() -> (Whereabouts, Receiver<SocketAddr>) {
        let mut whereabouts = Whereabouts::new(address(1));
        let (tell, told) = channel();
        whereabouts.when_moved(Box::new(move |address| tell.send(address).unwrap()));
        (whereabouts, told)
    }

    async fn pass(whereabouts: &mut Whereabouts, seconds: u64, host: u8) {
        for _ in 0..seconds {
            time::advance(Duration::from_secs(1)).await;
            whereabouts.poll(&mut Context::from_waker(Waker::noop()), || address(host));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_believed_when_it_has_held() {
        let (mut whereabouts, told) = followed();
        whereabouts.notice(address(2));
        pass(&mut whereabouts, 4, 2).await;
        assert!(told.try_recv().is_err());
        pass(&mut whereabouts, 2, 2).await;
        assert_eq!(told.try_recv(), Ok(address(2)));
        pass(&mut whereabouts, 60, 2).await;
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_is_not_believed() {
        let (mut whereabouts, told) = followed();
        whereabouts.notice(address(2));
        pass(&mut whereabouts, 60, 1).await;
        assert!(told.try_recv().is_err());
        assert_eq!(whereabouts.seen, address(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_was_believed_too_early_is_given_up() {
        let (mut whereabouts, told) = followed();
        whereabouts.notice(address(2));
        pass(&mut whereabouts, 6, 2).await;
        assert_eq!(told.try_recv(), Ok(address(2)));
        pass(&mut whereabouts, 6, 1).await;
        assert_eq!(told.try_recv(), Ok(address(1)));
    }
}
