//! Makes guessing slow: who fails has to wait before the next attempt, longer each time.
//!
//! Failures are counted for each pair of a source and a user name, for each source, and for each user name.
//!
//! - A pair and a source have a queue: an attempt has to wait until those before it have had their time, and is
//!   refused, without being verified, where that would take too long. The pair is the strictest; a pair that has
//!   succeeded before does not wait for its source.
//! - A name has no queue, as others must not be able to keep its user out: an attempt from a source that has not shown
//!   to be the user's waits a little, and never longer than [`NAME`]'s longest delay.
//! - Only the first failures of a pair count for its source and its name. One source that guesses a thousand times is
//!   no reason to have others wait, and neither is one device with a wrong password among many behind one address.
//!
//! A failure is forgiven by half with each [`HALF_LIFE`].

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Origin;

/// Failures that cost nothing, and how the delays after them grow.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    free: u32,
    first: Duration,
    longest: Duration,
}

const PAIR: Schedule =
    Schedule { free: 5, first: Duration::from_millis(500), longest: Duration::from_secs(60) };
const SOURCE: Schedule =
    Schedule { free: 30, first: Duration::from_millis(100), longest: Duration::from_secs(5) };
const NAME: Schedule =
    Schedule { free: 30, first: Duration::from_millis(100), longest: Duration::from_secs(2) };

/// Failures of a pair that count for its source and its name too.
const SHARED: u32 = 3;
/// The longest that an attempt is made to wait; what would have to wait longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const HALF_LIFE: Duration = Duration::from_secs(300);
/// Entries of each table and generation: with 48 bytes each, some megabytes in all.
const ENTRIES: usize = 16_384;

/// Counts failures and says who has to wait.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Names and addresses are kept as hashes with a key of this process: clients can make names as long as they like.
    hasher: RandomState,
    tables: Mutex<Tables>,
    delayed: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
}

/// Whose attempt it is, as the tables know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guess {
    pair: u64,
    source: u64,
    name: u64,
}

/// An attempt that may be made when it has waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) guess: Guess,
    /// For how long it waits.
    pub(super) wait: Duration,
    /// For how long it could have been made to wait.
    patience: Duration,
    /// What failures cost when it was given.
    cost: Cost,
}

/// The delays after an attempt that fails, for each of those for whom failures are counted.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    pair: Duration,
    source: Duration,
    name: Duration,
}

/// There were too many failures: the attempt is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) struct TooMany;

#[derive(Debug, Default)]
struct Tables {
    pairs: Generations<Record>,
    sources: Generations<Record>,
    names: Generations<Record>,
    /// Pairs that have succeeded.
    trusted: Generations<()>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    /// Since when they are forgiven.
    since: Instant,
    /// When the next attempt may be made.
    next: Instant,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            tables: Mutex::default(),
            delayed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// The attempt of somebody at `origin` to be the user of this name, or of what stands for one.
    pub(super) fn guess(&self, origin: Origin, name: &(impl Hash + ?Sized)) -> Guess {
        let source = self.hasher.hash_one(Source::of(origin));
        let name = self.hasher.hash_one(name);
        Guess { pair: self.hasher.hash_one((source, name)), source, name }
    }

    /// How long the attempt has to wait before it is verified. To be called once for each attempt.
    pub(super) fn admit(&self, guess: Guess, now: Instant) -> Result<Turn, TooMany> {
        self.admit_within(guess, LONGEST_WAIT, now)
    }

    /// Another turn, for an attempt whose turn [holds](Self::holds) no longer.
    pub(super) fn admit_again(&self, missed: &Turn, now: Instant) -> Result<Turn, TooMany> {
        let Turn { guess, patience, wait, .. } = *missed;
        self.admit_within(guess, patience.saturating_sub(wait), now)
    }

    fn admit_within(&self, guess: Guess, patience: Duration, now: Instant) -> Result<Turn, TooMany> {
        let tables = &mut *self.tables();
        let cost = tables.cost(guess, now);
        let trusted = tables.trusted.find(guess.pair).is_some();
        let source = if trusted { None } else { tables.sources.find(guess.source) };
        let mut queued = [(tables.pairs.find(guess.pair), cost.pair), (source, cost.source)];
        let nexts = queued.iter().filter_map(|(record, _)| Some(record.as_ref()?.next));
        let turn = nexts.fold(now, Instant::max);
        if turn.saturating_duration_since(now) > patience {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooMany);
        }
        for (record, delay) in &mut queued {
            if let Some(record) = record {
                record.next = record.next.max(now) + *delay;
            }
        }
        let wait = turn.max(now + cost.name).saturating_duration_since(now);
        if !wait.is_zero() {
            self.delayed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Turn { guess, wait, patience, cost })
    }

    /// Whether the attempt may still be made: others, which were given their turns before any of them had failed, may
    /// have failed since. It needs another turn then.
    pub(super) fn holds(&self, turn: &Turn, now: Instant) -> bool {
        let cost = self.tables().cost(turn.guess, now);
        cost.pair <= turn.cost.pair && cost.source <= turn.cost.source && cost.name <= turn.cost.name
    }

    /// The attempt has failed.
    pub(super) fn failed(&self, guess: Guess, now: Instant) {
        let tables = &mut *self.tables();
        let new = || Record { failures: 0, since: now, next: now };
        let (pair, mut evicted) = tables.pairs.find_or_insert(guess.pair, new);
        let failures = pair.fail(PAIR, now);
        if failures <= SHARED {
            let (source, evicted_source) = tables.sources.find_or_insert(guess.source, new);
            source.fail(SOURCE, now);
            let (name, evicted_name) = tables.names.find_or_insert(guess.name, new);
            name.fail(NAME, now);
            evicted += evicted_source + evicted_name;
        }
        self.evicted.fetch_add(u64::try_from(evicted).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The attempt was the user's own.
    pub(super) fn succeeded(&self, guess: Guess) {
        let tables = &mut *self.tables();
        tables.pairs.remove(guess.pair);
        tables.trusted.find_or_insert(guess.pair, || ());
    }

    /// What happened how often, by name.
    pub(super) fn counters(&self) -> [(&'static str, u64); 3] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("logins_delayed", value(&self.delayed)),
            ("logins_throttled", value(&self.refused)),
            ("login_failures_forgotten", value(&self.evicted)),
        ]
    }

    /// No critical section can panic half-way.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// What failures cost now. A pair that has succeeded does not pay for those of others.
    fn cost(&mut self, guess: Guess, now: Instant) -> Cost {
        let delay = |record: Option<&mut Record>, schedule: Schedule| {
            record.map_or(Duration::ZERO, |record| {
                record.forgive(now);
                schedule.delay(record.failures)
            })
        };
        let pair = delay(self.pairs.find(guess.pair), PAIR);
        if self.trusted.find(guess.pair).is_some() {
            return Cost { pair, ..Cost::default() };
        }
        let source = delay(self.sources.find(guess.source), SOURCE);
        Cost { pair, source, name: delay(self.names.find(guess.name), NAME) }
    }
}

impl Schedule {
    fn delay(self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None | Some(0) => Duration::ZERO,
            Some(beyond) => {
                let factor = 1_u32.checked_shl(beyond - 1).unwrap_or(u32::MAX);
                self.first.saturating_mul(factor).min(self.longest)
            }
        }
    }
}

impl Record {
    fn forgive(&mut self, now: Instant) {
        while self.failures > 0 && now.saturating_duration_since(self.since) >= HALF_LIFE {
            self.failures /= 2;
            self.since += HALF_LIFE;
        }
        if self.failures == 0 {
            self.since = now;
        }
    }

    /// One more failure. Returns how many that makes.
    fn fail(&mut self, schedule: Schedule, now: Instant) -> u32 {
        self.forgive(now);
        self.failures = self.failures.saturating_add(1);
        self.next = self.next.max(now + schedule.delay(self.failures));
        self.failures
    }
}

/// Those that are counted together: one IPv4 address, the 64 bits of an IPv6 network, of which one host usually has
/// all addresses, or all of this host that use a Unix socket.
#[derive(Hash)]
enum Source {
    V4([u8; 4]),
    V6([u16; 4]),
    Unix,
}

impl Source {
    fn of(origin: Origin) -> Self {
        match origin {
            Origin::Unix => Self::Unix,
            Origin::Ip(address) => match address.to_canonical() {
                std::net::IpAddr::V4(address) => Self::V4(address.octets()),
                std::net::IpAddr::V6(address) => {
                    let [a, b, c, d, ..] = address.segments();
                    Self::V6([a, b, c, d])
                }
            },
        }
    }
}

/// A table that forgets what has not been touched for longest, roughly: of two generations the older one goes when
/// the younger one is full.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Default for Generations<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V> Generations<V> {
    fn find(&mut self, key: u64) -> Option<&mut V> {
        match self.young.get_mut(&key) {
            Some(value) => Some(value),
            None => self.old.get_mut(&key),
        }
    }

    /// The entry of this key, and how many others were forgotten for it.
    fn find_or_insert(&mut self, key: u64, new: impl FnOnce() -> V) -> (&mut V, usize) {
        let mut forgotten = 0;
        if self.young.len() >= ENTRIES && !self.young.contains_key(&key) {
            let kept = self.old.remove(&key);
            forgotten = self.old.len();
            self.old = std::mem::take(&mut self.young);
            if let Some(kept) = kept {
                self.young.insert(key, kept);
            }
        }
        let old = &mut self.old;
        let value = self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_else(new));
        (value, forgotten)
    }

    fn remove(&mut self, key: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn at(last: u32) -> Origin {
        Origin::Ip(IpAddr::V4(Ipv4Addr::from_bits(0x7F00_0000 + last)))
    }

    /// One wrong attempt, made at once; tells how long it would have had to wait.
    fn fail(throttle: &Throttle, origin: Origin, name: &str, now: Instant) -> Result<Duration, TooMany> {
        let guess = throttle.guess(origin, name);
        let Turn { wait, .. } = throttle.admit(guess, now)?;
        throttle.failed(guess, now + wait);
        Ok(wait)
    }

    fn wait(throttle: &Throttle, origin: Origin, name: &str, now: Instant) -> Result<Duration, TooMany> {
        throttle.admit(throttle.guess(origin, name), now).map(|turn| turn.wait)
    }

    #[test]
    fn a_turn_is_missed_when_others_fail_that_were_admitted_before() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let admit = |name: &str| throttle.admit(throttle.guess(at(2), name), now).unwrap();
        let (turns, elsewhere) = ([(); 20].map(|()| admit("u")), admit("v"));
        let trusted = throttle.guess(at(2), "t");
        throttle.succeeded(trusted);
        let trusted = throttle.admit(trusted, now).unwrap();
        let mut verified = 0;
        for turn in turns {
            if throttle.holds(&turn, now) {
                verified += 1;
                throttle.failed(turn.guess, now);
            }
        }
        assert_eq!(verified, PAIR.free + 1);
        assert!(throttle.holds(&elsewhere, now), "few failures of one name are nothing to another");
        for name in 0..=SOURCE.free {
            throttle.failed(throttle.guess(at(2), &format!("n{name}")), now);
        }
        assert!(!throttle.holds(&elsewhere, now), "many are");
        assert!(throttle.holds(&trusted, now), "but not to who has shown to be a user");
    }

    #[test]
    fn a_thousand_wrong_guesses_do_not_touch_the_user_elsewhere() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let refused = (0..1_000).filter(|_| fail(&throttle, at(2), "u", now).is_err()).count();
        assert!(refused > 980, "{refused}");
        assert_eq!(wait(&throttle, at(1), "u", now), Ok(Duration::ZERO));
        // Nor others behind the same address.
        assert_eq!(wait(&throttle, at(2), "v", now), Ok(Duration::ZERO));
    }

    #[test]
    fn delays_of_a_pair_grow_to_a_minute() {
        let (throttle, mut now) = (Throttle::new(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..14 {
            let guess = throttle.guess(at(2), "u");
            let Ok(Turn { wait, .. }) = throttle.admit(guess, now) else {
                delays.push(LONGEST_WAIT);
                now += Duration::from_secs(60);
                continue;
            };
            delays.push(wait);
            throttle.failed(guess, now + wait);
        }
        assert_eq!(delays.iter().take(6).sum::<Duration>(), Duration::ZERO, "{delays:?}");
        assert_eq!(delays.get(6), Some(&PAIR.first));
        assert!(delays.contains(&LONGEST_WAIT), "{delays:?}");
    }

    #[test]
    fn attempts_that_are_made_at_the_same_time_wait_for_each_other() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for _ in 0..7 {
            fail(&throttle, at(2), "u", now).unwrap();
        }
        let waits: Vec<_> = (0..10).map(|_| wait(&throttle, at(2), "u", now)).collect();
        assert!(waits.windows(2).all(|pair| pair[0].is_err() || pair[1].is_err() || pair[0] < pair[1]));
        assert!(waits.contains(&Err(TooMany)), "{waits:?}");
    }

    #[test]
    fn one_source_that_tries_many_names_has_to_wait() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let refused =
            (0..100).filter(|name| fail(&throttle, at(2), &format!("u{name}"), now).is_err()).count();
        assert!(refused > 50, "{refused}");
        assert_eq!(wait(&throttle, at(1), "u0", now), Ok(Duration::ZERO));
    }

    #[test]
    fn many_sources_that_try_one_name_wait_a_little_and_the_user_where_it_has_been_does_not() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        throttle.succeeded(throttle.guess(at(1), "u"));
        for source in 2..1_000 {
            fail(&throttle, at(source), "u", now).unwrap();
        }
        assert_eq!(wait(&throttle, at(2_000), "u", now), Ok(NAME.longest));
        assert_eq!(wait(&throttle, at(1), "u", now), Ok(Duration::ZERO));
    }

    #[test]
    fn success_and_time_forgive() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for _ in 0..7 {
            fail(&throttle, at(2), "u", now).unwrap();
        }
        assert_ne!(wait(&throttle, at(2), "u", now), Ok(Duration::ZERO));
        assert_eq!(wait(&throttle, at(2), "u", now + HALF_LIFE), Ok(Duration::ZERO));
        throttle.succeeded(throttle.guess(at(2), "u"));
        assert_eq!(wait(&throttle, at(2), "u", now), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_what_is_in_use_stays() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for name in 0..u32::try_from(ENTRIES * 3).unwrap() {
            throttle.failed(throttle.guess(at(name), "u"), now);
            throttle.failed(throttle.guess(at(0), "v"), now);
        }
        let tables = throttle.tables();
        for table in [&tables.pairs, &tables.sources, &tables.names] {
            assert!(table.young.len() <= ENTRIES && table.old.len() <= ENTRIES);
        }
        drop(tables);
        assert!(
            throttle
                .counters()
                .contains(&("login_failures_forgotten", throttle.evicted.load(Ordering::Relaxed)))
        );
        assert_ne!(throttle.evicted.load(Ordering::Relaxed), 0);
        assert_eq!(wait(&throttle, at(0), "v", now), Err(TooMany));
    }

    #[test]
    fn a_network_of_64_bits_is_one_source() {
        let throttle = Throttle::new();
        let pair = |address: &str| throttle.guess(Origin::Ip(address.parse().unwrap()), "u").pair;
        assert_eq!(pair("2001:db8::1"), pair("2001:db8::ffff:2"));
        assert_ne!(pair("2001:db8::1"), pair("2001:db8:0:1::1"));
        assert_eq!(pair("::ffff:127.0.0.1"), pair("127.0.0.1"));
        assert_ne!(pair("127.0.0.2"), pair("127.0.0.1"));
    }
}
