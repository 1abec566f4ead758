//! The bytes of packets that have begun and not ended, in all connections together.
//!
//! One connection may hold a whole packet, and a packet may be large: what all hold at once is bounded here.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much there is, and may be.
#[derive(Debug)]
pub struct UnfinishedPackets {
    bytes: AtomicUsize,
    most: usize,
}

/// There is more than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

impl UnfinishedPackets {
    /// Room for so many bytes.
    pub fn with_room_for(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
    }

    /// A connection that held `before` bytes holds `now` bytes.
    pub(super) fn change(&self, before: usize, now: usize) -> Result<(), TooMuch> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_may_take() {
        let packets = UnfinishedPackets::with_room_for(10);
        assert_eq!(packets.change(0, 6), Ok(()));
        assert_eq!(packets.change(0, 5), Err(TooMuch));
        assert_eq!(packets.change(5, 0), Ok(()));
        assert_eq!(packets.change(6, 0), Ok(()));
        assert_eq!(packets.change(0, 10), Ok(()));
    }
}
