//! How many connections there are and come, in all and from each address, and how many of them nobody knows yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::AcceptLimits;
use super::pace::Pace;
use crate::clock::Instant;

/// Counts connections against [`AcceptLimits`].
#[derive(Debug)]
pub(super) struct Admission {
    limits: AcceptLimits,
    /// Where they are counted too.
    whole: Option<Arc<Self>>,
    present: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    pace: Pace,
    all: Count,
    /// Clients choose their addresses: hashed with a key of this process.
    by_source: HashMap<Source, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    connections: usize,
    /// Those of them whose client has not been let in.
    unfinished: usize,
}

/// Those that are counted together: one IPv4 address, or the 64 bits of an IPv6 network, of which one host usually
/// has all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

/// For whom a connection is counted, beside all.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// For nobody.
    All,
    /// For the address it comes from.
    Address(Source),
    /// For the address that its proxy will name.
    Proxied(Arc<OnceLock<Source>>),
    /// For the address where it is: it can move.
    Mobile(Arc<Mutex<Whereabouts>>),
}

/// Where a connection is that can move. Changed only while all counts are held still.
#[derive(Debug)]
pub(super) struct Whereabouts {
    source: Source,
    /// Whether it counts among those whose client has not been let in.
    is_unfinished: bool,
}

/// Which of the limits was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Address,
    UnfinishedTotal,
    UnfinishedAddress,
    RateTotal,
    RateAddress,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    account: Account,
}

/// Its place among those whose client has not been let in; given back when dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    admission: Arc<Admission>,
    account: Account,
}

impl Admission {
    pub(super) fn new(limits: AcceptLimits) -> Arc<Self> {
        Self::counting_in(None, limits)
    }

    /// For some of the connections that are counted by `whole`, which keeps its own limits.
    pub(super) fn within(whole: &Arc<Self>, limits: AcceptLimits) -> Arc<Self> {
        Self::counting_in(Some(Arc::clone(whole)), limits)
    }

    fn counting_in(whole: Option<Arc<Self>>, limits: AcceptLimits) -> Arc<Self> {
        let pace = Pace::new(limits.connection_rate, limits.connection_rate_per_address);
        let present = Present { pace, all: Count::default(), by_source: HashMap::new() };
        Arc::new(Self { limits, whole, present: Mutex::new(present) })
    }

    /// Places for a connection, if there are any.
    pub(super) fn admit(
        self: &Arc<Self>,
        account: Account,
        now: Instant,
    ) -> Result<(Place, Unfinished), Full> {
        let mut levels = self.lock_levels();
        let source = account.source();
        for (present, limits) in &mut levels {
            present.look_for_place(source, limits, now)?;
        }
        for (present, _) in &mut levels {
            if let Some(source) = source {
                present.enter(source);
            }
            present.all.connections += 1;
            present.all.unfinished += 1;
        }
        let place = Place { admission: Arc::clone(self), account: account.clone() };
        Ok((place, Unfinished { admission: Arc::clone(self), account }))
    }

    /// The proxy of a connection that has been admitted has named the address it comes from.
    pub(super) fn attribute(&self, account: &Account, address: IpAddr, now: Instant) -> Result<(), Full> {
        let Account::Proxied(named) = account else { return Ok(()) };
        let source = Source::of(address);
        let mut levels = self.lock_levels();
        for (present, limits) in &mut levels {
            present.look_for_room(source, limits, now)?;
        }
        if named.set(source).is_ok() {
            for (present, _) in &mut levels {
                present.enter(source);
            }
        }
        Ok(())
    }

    /// All that count a connection, to be looked at and changed at once; from the part to the whole, as what is refused
    /// in a part must not use up what may come in the whole.
    fn lock_levels(&self) -> Vec<(MutexGuard<'_, Present>, &AcceptLimits)> {
        self.levels().map(|level| (level.present(), &level.limits)).collect()
    }

    /// Itself, and where its connections are counted too.
    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |level| level.whole.as_deref())
    }

    /// A connection has moved to this address and is counted there from now on. It is not refused where there is no room:
    /// it has a place already.
    pub(super) fn relocate(&self, account: &Account, address: IpAddr) {
        let Account::Mobile(whereabouts) = account else { return };
        let mut levels = self.lock_levels();
        let mut whereabouts = lock(whereabouts);
        let to = Source::of(address);
        let from = std::mem::replace(&mut whereabouts.source, to);
        if from != to {
            for (present, _) in &mut levels {
                present.relocate(from, to, whereabouts.is_unfinished);
            }
        }
    }

    /// Whether so many are not let in yet, in all or from this address, that the rest of the places is for those who
    /// have shown where they are: others could take the places of an address that is not theirs.
    pub(super) fn is_crowded(&self, address: Option<IpAddr>) -> bool {
        const PART: usize = 8;
        self.levels().any(|level| {
            let (present, limits) = (level.present(), &level.limits);
            let from_address = address.and_then(|address| present.by_source.get(&Source::of(address)));
            present.all.unfinished >= limits.unfinished / PART
                || from_address.is_some_and(|count| count.unfinished >= limits.unfinished_per_address / PART)
        })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        lock(&self.present)
    }
}

/// No critical section can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl Account {
    /// Of a connection that comes from there by itself.
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        address.map_or(Self::All, |address| Self::Address(Source::of(address)))
    }

    /// Of one that can move from there.
    pub(super) fn of_mobile(address: IpAddr) -> Self {
        let whereabouts = Whereabouts { source: Source::of(address), is_unfinished: true };
        Self::Mobile(Arc::new(Mutex::new(whereabouts)))
    }

    fn source(&self) -> Option<Source> {
        match self {
            Self::All => None,
            Self::Address(source) => Some(*source),
            Self::Proxied(named) => named.get().copied(),
            Self::Mobile(whereabouts) => Some(lock(whereabouts).source),
        }
    }
}

impl Present {
    fn look_for_place(
        &mut self,
        source: Option<Source>,
        limits: &AcceptLimits,
        now: Instant,
    ) -> Result<(), Full> {
        if self.all.connections >= limits.connections {
            return Err(Full::Total);
        }
        if self.all.unfinished >= limits.unfinished {
            return Err(Full::UnfinishedTotal);
        }
        if let Some(source) = source {
            // First by itself: it must not use up what may come in all.
            self.look_for_room(source, limits, now)?;
        }
        self.pace.take(now)
    }

    fn look_for_room(&mut self, source: Source, limits: &AcceptLimits, now: Instant) -> Result<(), Full> {
        let count = self.by_source.get(&source).copied().unwrap_or_default();
        if count.connections >= limits.connections_per_address {
            return Err(Full::Address);
        }
        if count.unfinished >= limits.unfinished_per_address {
            return Err(Full::UnfinishedAddress);
        }
        self.pace.take_from(source, now)
    }

    fn enter(&mut self, source: Source) {
        let count = self.by_source.entry(source).or_default();
        count.connections += 1;
        count.unfinished += 1;
    }

    fn relocate(&mut self, from: Source, to: Source, is_unfinished: bool) {
        let count = self.by_source.entry(to).or_default();
        count.connections += 1;
        count.unfinished += usize::from(is_unfinished);
        self.leave_source(from, |count| {
            count.connections -= 1;
            count.unfinished -= usize::from(is_unfinished);
        });
    }

    /// One less of what `field` counts. An address of which nothing is left is forgotten.
    fn leave(&mut self, source: Option<Source>, field: impl Fn(&mut Count) -> &mut usize) {
        *field(&mut self.all) -= 1;
        if let Some(source) = source {
            self.leave_source(source, |count| *field(count) -= 1);
        }
    }

    fn leave_source(&mut self, source: Source, leave: impl FnOnce(&mut Count)) {
        if let Entry::Occupied(mut count) = self.by_source.entry(source) {
            leave(count.get_mut());
            if count.get().connections == 0 && count.get().unfinished == 0 {
                count.remove();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut levels = self.admission.lock_levels();
        let source = self.account.source();
        for (present, _) in &mut levels {
            present.leave(source, |count| &mut count.connections);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut levels = self.admission.lock_levels();
        let source = self.account.source();
        for (present, _) in &mut levels {
            present.leave(source, |count| &mut count.unfinished);
        }
        if let Account::Mobile(whereabouts) = &self.account {
            lock(whereabouts).is_unfinished = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_address: usize) -> Arc<Admission> {
        Admission::new(AcceptLimits { connections, connections_per_address, ..AcceptLimits::default() })
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = admission(2, 2);
        let first = admission.admit(Account::of(Some(from("192.0.2.1"))), Instant::START).unwrap();
        let _second = admission.admit(Account::of(None), Instant::START).unwrap();
        assert_eq!(
            admission.admit(Account::of(Some(from("192.0.2.2"))), Instant::START).unwrap_err(),
            Full::Total
        );
        drop(first);
        assert!(admission.admit(Account::of(Some(from("192.0.2.2"))), Instant::START).is_ok());
        assert!(admission.present().by_source.is_empty());
    }

    #[test]
    fn those_who_are_not_let_in_yet_have_bounds_of_their_own() {
        let limits = AcceptLimits { unfinished: 3, unfinished_per_address: 2, ..AcceptLimits::default() };
        let admission = Admission::new(limits);
        let (one, other) = (Some(from("192.0.2.1")), Some(from("192.0.2.2")));
        let (_place, unfinished) = admission.admit(Account::of(one), Instant::START).unwrap();
        let _second = admission.admit(Account::of(one), Instant::START).unwrap();
        assert_eq!(admission.admit(Account::of(one), Instant::START).unwrap_err(), Full::UnfinishedAddress);
        let _third = admission.admit(Account::of(other), Instant::START).unwrap();
        assert_eq!(admission.admit(Account::of(other), Instant::START).unwrap_err(), Full::UnfinishedTotal);
        drop(unfinished);
        let (place, unfinished) = admission.admit(Account::of(one), Instant::START).unwrap();
        drop(place);
        assert_eq!(admission.admit(Account::of(one), Instant::START).unwrap_err(), Full::UnfinishedTotal);
        drop(unfinished);
        assert!(admission.admit(Account::of(one), Instant::START).is_ok());
    }

    #[track_caller]
    fn counted_together(one: &str, other: &str) -> bool {
        let admission = admission(10, 1);
        let _one = admission.admit(Account::of(Some(from(one))), Instant::START).unwrap();
        admission
            .admit(Account::of(Some(from(other))), Instant::START)
            .is_err_and(|full| full == Full::Address)
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_an_ipv6_network() {
        assert!(counted_together("192.0.2.1", "192.0.2.1"));
        assert!(!counted_together("192.0.2.1", "192.0.2.2"));
        assert!(counted_together("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(counted_together("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!counted_together("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn unix_sockets_count_only_in_all() {
        let admission = admission(2, 1);
        let _places = [
            admission.admit(Account::of(None), Instant::START).unwrap(),
            admission.admit(Account::of(None), Instant::START).unwrap(),
        ];
        assert_eq!(admission.admit(Account::of(None), Instant::START).unwrap_err(), Full::Total);
    }

    #[test]
    fn who_moves_is_counted_where_it_is() {
        let limits = AcceptLimits { connections_per_address: 1, ..AcceptLimits::default() };
        let admission = Admission::new(limits);
        let (old, new) = (from("192.0.2.1"), from("192.0.2.2"));
        let admit = |address| admission.admit(Account::of(Some(address)), Instant::START);
        let account = Account::of_mobile(old);
        let (place, unfinished) = admission.admit(account.clone(), Instant::START).unwrap();
        admission.relocate(&account, new);
        assert_eq!(admit(new).unwrap_err(), Full::Address);
        drop(unfinished);
        let other = admit(old).unwrap();
        // There is no room, but nobody is turned out.
        admission.relocate(&account, old);
        assert!(admit(new).is_ok());
        assert_eq!(admit(old).unwrap_err(), Full::Address);
        drop(other);
        assert_eq!(admit(old).unwrap_err(), Full::Address);
        drop(place);
        assert!(admission.present().by_source.is_empty());
    }

    #[test]
    fn who_comes_through_a_proxy_is_counted_once_it_is_named() {
        let limits = AcceptLimits { connections: 3, connections_per_address: 1, ..AcceptLimits::default() };
        let admission = Admission::new(limits);
        let visit = || {
            let account = Account::Proxied(Arc::default());
            admission.admit(account.clone(), Instant::START).map(|places| (places, account))
        };
        let name = |account: &Account, address| admission.attribute(account, from(address), Instant::START);
        let (first, account) = visit().unwrap();
        name(&account, "192.0.2.1").unwrap();
        let (second, account) = visit().unwrap();
        assert_eq!(name(&account, "192.0.2.1"), Err(Full::Address));
        let (_third, account) = visit().unwrap();
        name(&account, "192.0.2.2").unwrap();
        assert_eq!(visit().unwrap_err(), Full::Total);
        drop(second);
        let (fourth, account) = visit().unwrap();
        assert_eq!(name(&account, "192.0.2.1"), Err(Full::Address));
        drop(first);
        name(&account, "192.0.2.1").unwrap();
        drop(fourth);
        assert_eq!(admission.present().by_source.len(), 1);
    }
    #[test]
    fn a_part_has_bounds_of_its_own_and_counts_in_the_whole() {
        let whole = admission(3, 3);
        let part = Admission::within(&whole, AcceptLimits { connections: 2, ..AcceptLimits::NONE });
        let admit = |admission: &Arc<Admission>, address| {
            admission.admit(Account::of(Some(from(address))), Instant::START)
        };
        let (_first, second) = (admit(&part, "192.0.2.1").unwrap(), admit(&part, "192.0.2.1").unwrap());
        assert_eq!(admit(&part, "192.0.2.2").unwrap_err(), Full::Total);
        let _third = admit(&whole, "192.0.2.1").unwrap();
        drop(second);
        let account = Account::Proxied(Arc::default());
        let proxied = part.admit(account.clone(), Instant::START).unwrap();
        part.attribute(&account, from("192.0.2.1"), Instant::START).unwrap();
        assert_eq!(admit(&whole, "192.0.2.1").unwrap_err(), Full::Total);
        drop(proxied);
        assert_eq!(part.present().all.connections, 1);
        assert_eq!(whole.present().all.connections, 2);
        assert_eq!(whole.present().by_source.values().map(|count| count.connections).sum::<usize>(), 2);
    }
}
