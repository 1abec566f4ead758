//! The way to the broker.

use std::sync::Arc;

use tokio::sync::mpsc::{self, OwnedPermit, error::TrySendError};
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use crate::broker::{Attach, ConnectionId, Input, Policy, PolicyName};
use crate::mqtt::Packet;

/// What is sent to the broker task.
#[derive(Debug)]
pub(super) enum Letter {
    /// A client wants its session; its answers go into this mailbox.
    Attach(Box<Attach>, Arc<Mailbox>),
    /// A client sent packets. Its mailbox is told when they have been dealt with.
    Packets(ConnectionId, Vec<Packet>, Arc<Mailbox>),
    /// Anything else that happened.
    Input(Input),
    /// Somebody wants to know the counters.
    Count(oneshot::Sender<Vec<(&'static str, u64)>>),
}

impl Letter {
    /// The bytes that it occupies, without what the packets in it refer to.
    pub(super) fn bytes(&self) -> usize {
        let packets = match self {
            Self::Packets(_, packets, _) => size_of_val(packets.as_slice()),
            Self::Attach(..) | Self::Input(_) | Self::Count(_) => 0,
        };
        size_of::<Self>() + packets
    }
}

/// Reaches the broker task. The task ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct BrokerHandle {
    letters: mpsc::Sender<Letter>,
}

impl BrokerHandle {
    /// Letters that may wait for the broker. Each holds what one read has brought, at most, so that this bounds what
    /// waits to some megabytes; a busy broker empties it in one go.
    pub(super) const CAPACITY: usize = 1_024;

    pub(super) fn channel() -> (Self, mpsc::Receiver<Letter>) {
        let (letters, received) = mpsc::channel(Self::CAPACITY);
        (Self { letters }, received)
    }

    /// From now on these rules decide who may do what, of those who are under the policy of this name.
    pub async fn change_policy(&self, name: PolicyName, policy: Arc<Policy>) {
        // A broker that has ended has no use for them.
        let _ = self.letters.send(Letter::Input(Input::PolicyChanged { name, policy })).await;
    }

    /// The broker is going to be stopped: everybody is to be told.
    pub async fn shut_down(&self) {
        let _ = self.letters.send(Letter::Input(Input::ShutDown)).await;
    }

    /// The broker's counters and gauges, by name; none if it has ended.
    pub async fn counters(&self) -> Vec<(&'static str, u64)> {
        let (answer, counters) = oneshot::channel();
        let _ = self.letters.send(Letter::Count(answer)).await;
        counters.await.unwrap_or_default()
    }

    /// Sends a letter if there is room for it.
    pub(super) fn try_send(&self, letter: Letter) -> Result<(), Letter> {
        match self.letters.try_send(letter) {
            // The broker ends before its endpoints only when all of them are being abandoned.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(letter)) => Err(letter),
        }
    }

    /// Waits for room for one letter; `None` if the broker has ended.
    pub(super) async fn reserve(self) -> Option<OwnedPermit<Letter>> {
        self.letters.reserve_owned().await.ok()
    }

    /// How many letters find room now.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.letters.capacity()
    }
}
