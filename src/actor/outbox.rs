//! Letters to the broker that found no room.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc::OwnedPermit;

use super::handle::{BrokerHandle, Letter};

type Reservation = Pin<Box<dyn Future<Output = Option<OwnedPermit<Letter>>> + Send>>;

/// What one endpoint has for the broker, in order. Costs nothing while the broker keeps up.
///
/// An endpoint does not read its socket while anything waits here, which bounds it.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Waiting>>);

struct Waiting {
    letters: VecDeque<Letter>,
    reservation: Reservation,
}

impl Outbox {
    /// Whether everything has reached the broker.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes that it occupies, by and large.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.letters.iter().map(Letter::bytes).sum())
    }

    /// Sends a letter, now or as soon as there is room.
    pub(super) fn send(&mut self, letter: Letter, broker: &BrokerHandle) {
        if let Some(waiting) = &mut self.0 {
            waiting.letters.push_back(letter);
        } else if let Err(letter) = broker.try_send(letter) {
            let reservation = Box::pin(broker.clone().reserve());
            self.0 = Some(Box::new(Waiting { letters: VecDeque::from([letter]), reservation }));
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn poll_flush(&mut self, broker: &BrokerHandle, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(waiting) = &mut self.0 {
            let room = std::task::ready!(waiting.reservation.as_mut().poll(cx));
            match (room, waiting.letters.pop_front()) {
                (Some(room), Some(letter)) => drop(room.send(letter)),
                _ => waiting.letters.clear(),
            }
            if waiting.letters.is_empty() {
                self.0 = None;
            } else {
                waiting.reservation = Box::pin(broker.clone().reserve());
            }
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("letters", &self.letters.len()).finish_non_exhaustive()
    }
}
