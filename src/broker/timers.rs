//! What is to happen when.

use std::collections::BTreeMap;

use super::session::SessionKey;
use crate::clock::Instant;

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A session without a connection ends.
    SessionExpiry(SessionKey),
    /// A will that was delayed is published.
    WillDelay(SessionKey),
}

/// Names a timer that was set, so that it can be cancelled. Sessions keep it in a box: most have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    at: Instant,
    number: u64,
}

impl TimerKey {
    /// When it falls due.
    pub(super) const fn at(&self) -> Instant {
        self.at
    }
}

/// All timers that are set.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    timers: BTreeMap<TimerKey, Timer>,
    next: u64,
}

impl TimerQueue {
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "a session that waits for nothing keeps one word for it"
    )]
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> Box<TimerKey> {
        let key = TimerKey { at, number: self.next };
        self.next += 1;
        self.timers.insert(key, timer);
        Box::new(key)
    }

    pub(super) fn cancel(&mut self, key: Option<Box<TimerKey>>) {
        if let Some(key) = key {
            self.timers.remove(&*key);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|(key, _)| key.at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.timers.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }

    pub(super) fn len(&self) -> usize {
        self.timers.len()
    }
}
