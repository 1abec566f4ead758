//! What is around the broker and made by its clients: connections, what they have sent and the broker has not got, and
//! what they are sent and do not take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::transport::{Transport, UnfinishedPackets};

/// How much there is, in bytes.
#[derive(Debug)]
pub struct Outside {
    unfinished: Arc<UnfinishedPackets>,
    bytes: AtomicUsize,
    is_scarce: AtomicBool,
}

impl Outside {
    /// There are no connections yet. What `unfinished` counts is part of it.
    pub fn new(unfinished: Arc<UnfinishedPackets>) -> Arc<Self> {
        Arc::new(Self { unfinished, bytes: AtomicUsize::new(0), is_scarce: AtomicBool::new(false) })
    }

    /// All of it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed).saturating_add(self.unfinished.bytes())
    }

    /// The part of a connection.
    pub(super) fn part(self: &Arc<Self>, transport: Transport) -> OutsidePart {
        let mut part = OutsidePart { all: Arc::clone(self), least: connection_bytes(transport), bytes: 0 };
        part.set(0);
        part
    }

    /// Whether the broker has little memory left.
    pub(super) fn is_scarce(&self) -> bool {
        self.is_scarce.load(Ordering::Relaxed)
    }

    pub(super) fn set_scarce(&self, is_scarce: bool) {
        if self.is_scarce() != is_scarce {
            self.is_scarce.store(is_scarce, Ordering::Relaxed);
        }
    }
}

/// What an idle connection takes, with its task; `docs/performance.md` has how that is measured.
const fn connection_bytes(transport: Transport) -> usize {
    match transport {
        Transport::Tcp | Transport::Unix => 1_536,
        Transport::WebSocket => 2 << 10,
        Transport::Tls => 10 << 10,
        Transport::WebSocketTls => 11 << 10,
        Transport::Quic => 48 << 10,
    }
}

/// What one connection has of it; given back when dropped.
#[derive(Debug)]
pub(super) struct OutsidePart {
    all: Arc<Outside>,
    least: usize,
    bytes: usize,
}

impl OutsidePart {
    /// So that what changes all the time is not told all the time.
    const STEP: usize = 4 << 10;

    /// It is so much now, beside the connection itself.
    pub(super) fn set(&mut self, bytes: usize) {
        let now = self.least + bytes / Self::STEP * Self::STEP;
        let before = std::mem::replace(&mut self.bytes, now);
        // Nothing is ordered by it.
        if now > before {
            self.all.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.all.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl Drop for OutsidePart {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_while_they_last_with_what_they_hold() {
        let unfinished = UnfinishedPackets::with_room_for(usize::MAX);
        let outside = Outside::new(Arc::clone(&unfinished));
        let mut part = outside.part(Transport::Tcp);
        let idle = outside.bytes();
        assert!(idle > 0);
        part.set(100_000);
        assert!((idle + 96_000..=idle + 100_000).contains(&outside.bytes()));
        part.set(10);
        assert_eq!(outside.bytes(), idle);
        let mut packet = unfinished.part();
        packet.set(77).unwrap();
        assert_eq!(outside.bytes(), idle + 77);
        drop((part, packet));
        assert_eq!(outside.bytes(), 0);
    }
}
