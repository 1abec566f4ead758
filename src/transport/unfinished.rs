//! The bytes of what has begun and not ended, in all connections together: packets, and the requests and headers that
//! come before the first one.
//!
//! One connection may hold a whole packet, and a packet may be large: what all hold at once is bounded here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much there is, and may be.
#[derive(Debug)]
pub struct UnfinishedPackets {
    bytes: AtomicUsize,
    most: usize,
}

/// There is more than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many bytes of unfinished packets")]
pub struct TooMuch;

impl UnfinishedPackets {
    /// Room for so many bytes.
    pub fn with_room_for(most: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), most })
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The part of one holder, who has nothing yet.
    pub fn part(self: &Arc<Self>) -> UnfinishedPart {
        UnfinishedPart { all: Arc::clone(self), bytes: 0 }
    }

    /// Somebody who held `before` bytes holds `now` bytes.
    fn change(&self, before: usize, now: usize) -> Result<(), TooMuch> {
        // Nothing is ordered by it; and what is a little too much for a moment harms nobody.
        if now <= before {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
            return Ok(());
        }
        let grown = now - before;
        let all = self.bytes.fetch_add(grown, Ordering::Relaxed).saturating_add(grown);
        if all > self.most { Err(TooMuch) } else { Ok(()) }
    }
}

/// What one holder has of it; given back when dropped.
#[derive(Debug)]
pub struct UnfinishedPart {
    all: Arc<UnfinishedPackets>,
    bytes: usize,
}

impl UnfinishedPart {
    /// How many bytes are held.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many bytes are held now. They count whether or not that is too much: whoever has too much is to let go of them.
    pub fn set(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes == before { Ok(()) } else { self.all.change(before, bytes) }
    }
}

impl Drop for UnfinishedPart {
    fn drop(&mut self) {
        let _ = self.set(0);
    }
}

impl From<TooMuch> for io::Error {
    fn from(error: TooMuch) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_may_take() {
        let packets = UnfinishedPackets::with_room_for(10);
        let (mut one, mut other) = (packets.part(), packets.part());
        assert_eq!(one.set(6), Ok(()));
        assert_eq!(other.set(5), Err(TooMuch));
        // It has them nevertheless, until it lets go.
        assert_eq!(one.set(7), Err(TooMuch));
        drop(other);
        assert_eq!(one.set(10), Ok(()));
        assert_eq!(one.set(11), Err(TooMuch));
        drop(one);
        assert_eq!(packets.part().set(10), Ok(()));
    }
}
