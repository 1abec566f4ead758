//! How many connections come in a second, in all and from each address.

use std::collections::HashMap;
use std::mem;
use std::num::NonZeroU32;
use std::time::Duration;

use super::admission::{Full, Source};
use crate::clock::Instant;
use crate::connection::TokenBucket;

/// Counts what comes against the rates of [`AcceptLimits`](super::AcceptLimits).
#[derive(Debug)]
pub(super) struct Pace {
    all: Option<TokenBucket>,
    per_address: Option<NonZeroU32>,
    /// Those who came since the last turn, and in the second before it. Who has not come for a second has a full
    /// bucket, and need not be remembered.
    recent: HashMap<Source, TokenBucket>,
    earlier: HashMap<Source, TokenBucket>,
    turned: Instant,
}

impl Pace {
    /// Sources that are remembered for each second. A flood from more of them is not one that a limit for each could
    /// stop: those beyond are only counted in all.
    const SOURCES: usize = 1 << 16;
    const TURN: Duration = Duration::from_secs(1);

    pub(super) fn new(all: Option<NonZeroU32>, per_address: Option<NonZeroU32>) -> Self {
        Self {
            all: all.map(|rate| TokenBucket::new(rate, Instant::START)),
            per_address,
            recent: HashMap::new(),
            earlier: HashMap::new(),
            turned: Instant::START,
        }
    }

    /// One more comes.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Full> {
        let may_come = self.all.as_mut().is_none_or(|bucket| bucket.try_take(now));
        may_come.then_some(()).ok_or(Full::RateTotal)
    }

    /// One more comes from there.
    pub(super) fn take_from(&mut self, source: Source, now: Instant) -> Result<(), Full> {
        let Some(rate) = self.per_address else { return Ok(()) };
        self.forget_the_idle(now);
        if let Some(bucket) = self.recent.get_mut(&source) {
            return bucket.try_take(now).then_some(()).ok_or(Full::RateAddress);
        }
        let mut bucket = self.earlier.remove(&source).unwrap_or_else(|| TokenBucket::new(rate, now));
        let may_come = bucket.try_take(now);
        if self.recent.len() < Self::SOURCES {
            self.recent.insert(source, bucket);
        }
        may_come.then_some(()).ok_or(Full::RateAddress)
    }

    fn forget_the_idle(&mut self, now: Instant) {
        let since = now.saturating_since(self.turned);
        if since < Self::TURN {
            return;
        }
        self.earlier = mem::take(&mut self.recent);
        if since >= Self::TURN * 2 {
            self.earlier = HashMap::new();
        }
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn pace(all: u32, per_address: u32) -> Pace {
        Pace::new(NonZeroU32::new(all), NonZeroU32::new(per_address))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn without_rates_anything_may_come() {
        let mut pace = pace(0, 0);
        for _ in 0..10_000 {
            assert_eq!((pace.take(at(0)), pace.take_from(source(1), at(0))), (Ok(()), Ok(())));
        }
        assert!(pace.recent.is_empty());
    }

    #[test]
    fn all_are_counted_together() {
        let mut pace = pace(2, 0);
        assert_eq!([(); 3].map(|()| pace.take(at(0))), [Ok(()), Ok(()), Err(Full::RateTotal)]);
        assert_eq!(pace.take(at(500)), Ok(()));
        assert_eq!(pace.take(at(501)), Err(Full::RateTotal));
    }

    #[test]
    fn each_address_is_counted_by_itself_however_the_seconds_turn() {
        let mut pace = pace(0, 2);
        let mut allowed = 0;
        for millis in 0..10_000 {
            allowed += u32::from(pace.take_from(source(1), at(millis)).is_ok());
            // Another one, once in a second.
            assert!(millis % 1_000 != 0 || pace.take_from(source(2), at(millis)).is_ok());
        }
        assert_eq!(allowed, 2 + 2 * 10 - 1);
    }

    #[test]
    fn only_those_of_the_last_seconds_are_remembered_and_no_more_than_so_many() {
        let mut pace = pace(0, 1);
        for number in 0..100_000 {
            pace.take_from(source(number), at(10)).unwrap();
        }
        assert_eq!(pace.recent.len(), Pace::SOURCES);
        assert_eq!(pace.take_from(source(0), at(20)), Err(Full::RateAddress));
        pace.take_from(source(0), at(1_020)).unwrap();
        assert_eq!(pace.recent.len(), 1);
        pace.take_from(source(0), at(9_000)).unwrap();
        assert!(pace.recent.len() == 1 && pace.earlier.is_empty());
    }
}
