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

/// A moment by the calendar, in milliseconds since 1970 began (UTC): what is written to disk, where the start of the
/// broker means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(u64);

impl WallTime {
    /// The moment so many milliseconds after 1970 began.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `time` before this one; the beginning of 1970 at the earliest.
    #[must_use]
    pub fn saturating_sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The moment `time` after this one.
    #[must_use]
    pub fn saturating_add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds since 1970 began.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }
}

/// Which moment by the calendar the start of the broker was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(WallTime);

impl Epoch {
    /// The broker was started at this moment.
    pub const fn started_at(start: WallTime) -> Self {
        Self(start)
    }

    /// What the calendar says at `now`.
    pub fn to_wall(self, now: Instant) -> WallTime {
        let since_start = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        WallTime(self.0.0.saturating_add(since_start))
    }

    /// When the calendar says `at`; the start of the broker, if that was before.
    pub fn to_instant(self, at: WallTime) -> Instant {
        Instant::from_start(Duration::from_millis(at.0.saturating_sub(self.0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_the_start_is_at_the_start() {
        let epoch = Epoch::started_at(WallTime::from_unix_millis(5_000));
        let later = Instant::START + Duration::from_millis(250);
        assert_eq!(epoch.to_wall(later).unix_millis(), 5_250);
        assert_eq!(epoch.to_instant(epoch.to_wall(later)), later);
        assert_eq!(epoch.to_instant(WallTime::from_unix_millis(4_999)), Instant::START);
    }

    #[test]
    fn adding_and_subtracting_saturate() {
        let far = Instant::from_start(Duration::MAX);
        assert_eq!(far + Duration::from_secs(1), far);
        assert_eq!(Instant::START - Duration::from_secs(1), Instant::START);
        assert_eq!(Instant::START.saturating_since(far), Duration::ZERO);
    }
}
