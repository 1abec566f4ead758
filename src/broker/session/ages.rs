//! For how long messages have waited, without a time kept for each.

use std::time::Duration;

use crate::clock::Instant;

/// When the messages of a queue came: the times of a few of them.
#[derive(Debug, Default)]
pub(super) struct Ages(Vec<(u32, Instant)>);

impl Ages {
    /// As many times as are kept; beyond, every second one is forgotten.
    const MOST: usize = 16;
    /// What comes within this time is of the same age.
    const FINEST: Duration = Duration::from_millis(100);
    /// Likewise what comes within this part of the time that the oldest has waited.
    const PART: u32 = 8;

    /// A message has come. The oldest that still waits is this one; `is_later` tells which of two came later.
    pub(super) fn note(
        &mut self,
        order: u32,
        now: Instant,
        oldest: Option<u32>,
        is_later: impl Fn(u32, u32) -> bool,
    ) {
        if let Some(oldest) = oldest {
            let passed = self.0.iter().take_while(|(order, _)| !is_later(*order, oldest)).count();
            self.0.drain(..passed.saturating_sub(1));
        } else {
            self.0.clear();
        }
        let is_due = match (self.0.first(), self.0.last()) {
            (Some((_, first)), Some((_, last))) => {
                now.saturating_since(*last) >= Self::FINEST.max(now.saturating_since(*first) / Self::PART)
            }
            _ => true,
        };
        if is_due {
            if self.0.len() == Self::MOST {
                let mut number = 0;
                self.0.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
            self.0.push((order, now));
        }
    }

    /// Since when this one waits, or one that came not long before it.
    pub(super) fn since(&self, order: u32, is_later: impl Fn(u32, u32) -> bool) -> Option<Instant> {
        let (_, at) = self.0.iter().take_while(|(noted, _)| !is_later(*noted, order)).last()?;
        Some(*at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_later(one: u32, other: u32) -> bool {
        one > other
    }

    fn at(seconds: u32) -> Instant {
        Instant::from_start(Duration::from_secs(seconds.into()))
    }

    #[test]
    fn ages_are_known_nearly_and_take_little() {
        let mut ages = Ages::default();
        let mut oldest = 1;
        for order in 1..100_000 {
            // One comes each second, and the oldest one leaves at half the pace.
            ages.note(order, at(order), Some(oldest), is_later);
            oldest = 1 + order / 2;
            let since = ages.since(oldest, is_later).unwrap();
            let (waits, said) = (order - oldest, at(order).saturating_since(since).as_secs());
            assert!(said >= u64::from(waits) && said <= u64::from(waits + waits / 2 + 2), "{waits} {said}");
            assert!(ages.0.len() <= Ages::MOST);
        }
    }

    #[test]
    fn an_empty_queue_begins_anew() {
        let mut ages = Ages::default();
        ages.note(1, at(1), None, is_later);
        ages.note(2, at(1_000), None, is_later);
        assert_eq!(ages.since(2, is_later), Some(at(1_000)));
    }
}
