//! Noticing that a client has gone silent.

use std::time::Duration;

use crate::clock::Instant;

/// The keep-alive of one connection (MQTT 5.0 section 3.1.2.10).
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    seconds: u16,
    last_heard: Instant,
}

impl KeepAlive {
    /// A client that has promised nothing.
    pub(super) const fn new(now: Instant) -> Self {
        Self { seconds: 0, last_heard: now }
    }

    /// The client promises to send something every so many seconds; with 0 it promises nothing.
    pub(super) fn agree(&mut self, seconds: u16) {
        self.seconds = seconds;
    }

    /// When the client last sent something.
    pub(super) const fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// The client has sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// When the client will have been silent for too long: one and a half times what it promised \[MQTT-3.1.2-22\].
    pub(super) fn deadline(&self) -> Option<Instant> {
        const GRACE_MILLIS_PER_SECOND: u64 = 1_500;
        (self.seconds > 0).then(|| {
            self.last_heard + Duration::from_millis(u64::from(self.seconds) * GRACE_MILLIS_PER_SECOND)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn the_deadline_is_one_and_a_half_times_the_keep_alive_after_the_last_word() {
        let mut keep_alive = KeepAlive::new(at(0));
        keep_alive.agree(10);
        assert_eq!(keep_alive.deadline(), Some(at(15)));
        keep_alive.heard(at(7));
        assert_eq!(keep_alive.deadline(), Some(at(22)));
    }

    #[test]
    fn a_keep_alive_of_zero_has_no_deadline() {
        assert_eq!(KeepAlive::new(at(0)).deadline(), None);
    }
}
