//! Which sessions have most waiting, so that the largest queues can give way first.
//!
//! Nobody asks as long as there is memory enough, and then nothing is kept here. When memory becomes scarce all
//! sessions are looked at, some in each turn, and what changes is noted from then on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broker;
use super::session::SessionKey;
use super::session::queue::Loads;
use crate::clock::Instant;
use crate::mqtt::ClientId;

/// What waits for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLoad {
    /// Its client.
    pub client_id: ClientId,
    /// Messages that wait.
    pub messages: usize,
    /// Their bytes, as the bounds on one session count them.
    pub bytes: usize,
    /// For how long the one has waited that has waited longest, or not much less; since the start of the broker at most.
    pub oldest: Duration,
}

impl Broker {
    /// The sessions for which most bytes wait, at most `most`, the largest first. Looks at all sessions.
    pub fn session_loads(&self, most: usize, now: Instant) -> Vec<SessionLoad> {
        let mut largest = BTreeSet::new();
        for key in self.sessions.keys() {
            let bytes = self.sessions.get(key).map_or(0, |session| session.queue.bytes());
            if bytes > 0 {
                largest.insert((bytes, Reverse(key)));
                if largest.len() > most {
                    largest.pop_first();
                }
            }
        }
        let sessions = largest.into_iter().rev().filter_map(|(_, Reverse(key))| self.sessions.get(key));
        let loads = sessions.map(|session| SessionLoad {
            client_id: session.client_id.clone(),
            messages: session.queue.len(),
            bytes: session.queue.bytes(),
            oldest: session.queue.oldest().map_or(Duration::ZERO, |since| now.saturating_since(since)),
        });
        loads.collect()
    }
}

/// The lanes of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Messages of QoS 0.
    Unacknowledged,
    /// Messages of QoS 1 and 2.
    Acknowledged,
}

/// Queues that count less are not looked for: there is little to be had.
pub(super) const SMALLEST: usize = 1 << 10;

/// Sessions that are looked at in a turn, or forgotten.
const AT_A_TIME: usize = 1_000;

/// Sessions by the size of their queues.
#[derive(Debug, Default)]
pub(super) struct LoadIndex {
    is_watching: bool,
    /// The session that is looked at next; `None`: all have been.
    next: Option<u32>,
    known: BTreeMap<SessionKey, [u8; 2]>,
    by_size: [BTreeSet<(u8, SessionKey)>; 2],
}

impl LoadIndex {
    /// Begins, or goes on.
    pub(super) const fn watch(&mut self) {
        if !self.is_watching {
            self.is_watching = true;
            self.next = Some(0);
        }
    }

    /// Nobody wants to know any more.
    pub(super) const fn rest(&mut self) {
        self.is_watching = false;
        self.next = None;
    }

    /// Whether there are sessions that are to be looked at, or forgotten.
    pub(super) fn has_work(&self) -> bool {
        if self.is_watching { self.next.is_some() } else { !self.known.is_empty() }
    }

    /// Looks at some more sessions of `count` there are, or forgets some.
    pub(super) fn work(&mut self, count: usize, loads_of: impl Fn(SessionKey) -> Option<Loads>) {
        for _ in 0..AT_A_TIME {
            if !self.is_watching {
                let Some((key, _)) = self.known.first_key_value() else { return };
                self.note(*key, Loads::default());
                continue;
            }
            let Some(next) = self.next else { return };
            let key = SessionKey::from_raw(next);
            self.next = next.checked_add(1).filter(|next| usize::try_from(*next).is_ok_and(|at| at < count));
            if let Some(loads) = loads_of(key) {
                self.note(key, loads);
            }
        }
    }

    fn note(&mut self, key: SessionKey, loads: Loads) {
        let now = [class(loads.unacknowledged), class(loads.acknowledged)];
        let before = if now == [0, 0] { self.known.remove(&key) } else { self.known.insert(key, now) };
        let before = before.unwrap_or_default();
        for ((sizes, before), now) in self.by_size.iter_mut().zip(before).zip(now) {
            if before != now {
                if before > 0 {
                    sizes.remove(&(before, key));
                }
                if now > 0 {
                    sizes.insert((now, key));
                }
            }
        }
    }

    /// The same, if anybody wants to know.
    pub(super) fn note_if_watching(&mut self, key: SessionKey, loads: Loads) {
        if self.is_watching {
            self.note(key, loads);
        }
    }

    /// One of those with most waiting in this lane.
    pub(super) fn largest(&self, lane: Lane) -> Option<SessionKey> {
        let [unacknowledged, acknowledged] = &self.by_size;
        let sizes = match lane {
            Lane::Unacknowledged => unacknowledged,
            Lane::Acknowledged => acknowledged,
        };
        sizes.last().map(|(_, key)| *key)
    }
}

/// Classes of sizes, each at most a quarter larger than the one before; 0 is too small to be looked for.
fn class(bytes: usize) -> u8 {
    let Some(octave) = bytes.checked_ilog2().filter(|_| bytes >= SMALLEST) else { return 0 };
    // The two bits behind the first one.
    let quarter = (bytes >> (octave - 2)) & 0b11;
    u8::try_from(octave).unwrap_or(u8::MAX) * 4 + u8::try_from(quarter).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(unacknowledged: usize, acknowledged: usize) -> Loads {
        Loads { unacknowledged, acknowledged }
    }

    fn key(raw: u32) -> SessionKey {
        SessionKey::from_raw(raw)
    }

    #[test]
    fn classes_grow_with_sizes() {
        assert_eq!((class(0), class(1_023)), (0, 0));
        let mut last = 0;
        for bytes in (1_024..100_000).step_by(16) {
            assert!((last..=last.max(39) + 1).contains(&class(bytes)), "{bytes}");
            last = class(bytes);
        }
        assert!(class(usize::MAX) > last);
        assert!(class(1_300) > class(1_024) && class(1_100) == class(1_024));
    }

    #[test]
    fn the_largest_is_found_in_each_lane_and_changes_are_followed() {
        let mut index = LoadIndex::default();
        index.watch();
        index.note(key(1), loads(5_000, 0));
        index.note(key(2), loads(2_000, 9_000));
        assert_eq!(index.largest(Lane::Unacknowledged), Some(key(1)));
        assert_eq!(index.largest(Lane::Acknowledged), Some(key(2)));
        index.note(key(1), loads(0, 20_000));
        assert_eq!(index.largest(Lane::Unacknowledged), Some(key(2)));
        assert_eq!(index.largest(Lane::Acknowledged), Some(key(1)));
        index.note(key(1), loads(0, 0));
        index.note(key(2), loads(0, 100));
        assert_eq!((index.largest(Lane::Unacknowledged), index.largest(Lane::Acknowledged)), (None, None));
    }

    #[test]
    fn all_are_looked_at_bit_by_bit_and_forgotten_bit_by_bit() {
        let mut index = LoadIndex::default();
        index.watch();
        let mut turns = 0;
        while index.has_work() {
            index.work(2_500, |key| (key.raw() != 7).then(|| loads(0, 2_000)));
            turns += 1;
        }
        assert_eq!((turns, index.known.len()), (3, 2_499));
        index.rest();
        while index.has_work() {
            index.work(2_500, |_| None);
            turns += 1;
        }
        assert_eq!((turns, index.largest(Lane::Acknowledged)), (6, None));
    }
}
