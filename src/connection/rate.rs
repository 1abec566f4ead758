//! How much may happen in a second.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::clock::Instant;

/// What is done about a client that sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateLimitPolicy {
    /// What is beyond waits in its socket until the next second.
    #[default]
    Delay,
    /// Its connection is closed; MQTT 5.0 has a reason for it, Message rate too high.
    Disconnect,
}

/// So many a second, and at most so many at once: a token bucket that holds what comes in one second.
///
/// It is told the time, and owns nothing but the moment at which it will be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    per_second: NonZeroU64,
    full_at: Instant,
}

/// In which time an empty bucket is full.
const FILLING: Duration = Duration::from_secs(1);

impl TokenBucket {
    /// A full bucket.
    pub fn new(per_second: impl Into<NonZeroU64>, now: Instant) -> Self {
        Self { per_second: per_second.into(), full_at: now }
    }

    /// Takes one, if it is there.
    pub fn try_take(&mut self, now: Instant) -> bool {
        let is_there = self.available_at() <= now;
        if is_there {
            self.take(1, now);
        }
        is_there
    }

    /// Takes so many, even if they are not there: then the next one comes when the debt is paid.
    pub fn take(&mut self, count: u64, now: Instant) {
        self.full_at = self.full_at.max(now) + self.time_for(count);
    }

    /// When the next one is there, if none is taken before.
    pub fn available_at(&self) -> Instant {
        (self.full_at + self.time_for(1)) - FILLING
    }

    /// Whether more was taken than was there.
    pub fn is_in_debt(&self, now: Instant) -> bool {
        self.full_at > now + FILLING
    }

    /// How many it holds when it is full.
    pub const fn capacity(&self) -> u64 {
        self.per_second.get()
    }

    fn time_for(&self, count: u64) -> Duration {
        let nanos = u128::from(count) * FILLING.as_nanos() / u128::from(self.per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    fn bucket(per_second: u64) -> TokenBucket {
        TokenBucket::new(NonZeroU64::new(per_second).unwrap(), at(0))
    }

    /// How many there are, one after the other.
    fn drain(bucket: &mut TokenBucket, now: Instant) -> usize {
        std::iter::from_fn(|| bucket.try_take(now).then_some(())).count()
    }

    #[test]
    fn it_holds_what_comes_in_a_second_and_no_more() {
        for per_second in [1, 3, 7, 1_000, 12_345] {
            let expected = usize::try_from(per_second).unwrap();
            let mut bucket = bucket(per_second);
            assert_eq!(drain(&mut bucket, at(0)), expected);
            assert_eq!(drain(&mut bucket, at(1_000)), expected);
            assert_eq!(drain(&mut bucket, at(60_000)), expected);
        }
    }

    #[test]
    fn it_fills_evenly() {
        let mut bucket = bucket(10);
        drain(&mut bucket, at(0));
        assert_eq!(bucket.available_at(), at(100));
        assert_eq!(drain(&mut bucket, at(99)), 0);
        assert_eq!(drain(&mut bucket, at(100)), 1);
        assert_eq!(drain(&mut bucket, at(450)), 3);
    }

    #[test]
    fn a_debt_is_paid_before_the_next_one() {
        let mut bucket = bucket(1_000);
        bucket.take(1_000, at(0));
        assert!(!bucket.is_in_debt(at(0)));
        bucket.take(500, at(0));
        assert!(bucket.is_in_debt(at(499)));
        assert_eq!(bucket.available_at(), at(501));
        assert!(!bucket.try_take(at(500)));
        assert!(bucket.try_take(at(501)));
    }

    #[test]
    fn what_cannot_be_paid_in_all_time_is_no_fault() {
        let mut bucket = bucket(1);
        bucket.take(u64::MAX, at(0));
        bucket.take(u64::MAX, at(0));
        assert!(!bucket.try_take(at(86_400_000)));
    }
}
