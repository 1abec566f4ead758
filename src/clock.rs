//! Time as the core knows it: told from outside, never asked for.
//!
//! [`Instant`] counts from the start of the broker, so that it can be made at will in tests, written into a
//! regression file and used where the platform has no clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, as the time since the broker was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(Duration);

impl Instant {
    /// The moment the broker was started.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment that lies `since_start` after the start of the broker.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time from the start of the broker to this moment.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is not earlier.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: a moment too far away to be told is the last moment there is.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the start of the broker.
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_subtracting_saturate() {
        let far = Instant::from_start(Duration::MAX);
        assert_eq!(far + Duration::from_secs(1), far);
        assert_eq!(Instant::START - Duration::from_secs(1), Instant::START);
        assert_eq!(Instant::START.saturating_since(far), Duration::ZERO);
    }
}
