//! What outlives a broker: as its records tell it, and as the reference broker knows it, so that both can be compared.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mqtt_broker::broker::Identity;
use mqtt_broker::broker::record::{
    Frame, Number, PublicationOf, Published, Record, SessionId, SessionRecord, Target,
};
use mqtt_broker::clock::{Epoch, Instant, WallTime};
use mqtt_broker::mqtt::codec::Publication;
use mqtt_broker::mqtt::packet::{SubscriptionOptions, Will};
use mqtt_broker::mqtt::{PacketId, SubscriptionIdentifier};

/// All that outlives a broker, but for the messages that wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// By client identifier.
    pub(crate) sessions: BTreeMap<String, SessionAccount>,
    /// By topic.
    pub(crate) retained: BTreeMap<String, RetainedAccount>,
    /// The places of messages, and the exchanges that are still to be completed, by session: only records tell of them.
    pub(crate) places: BTreeMap<SessionId, Places>,
    /// Topics whose retained message may be gone, as there was no room when it came.
    pub(crate) unsure: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetainedAccount {
    pub(crate) payload: Bytes,
    pub(crate) publisher: String,
    pub(crate) expires_at: Option<Instant>,
}

#[derive(Debug, Clone)]
pub(crate) struct SessionAccount {
    pub(crate) id: Option<SessionId>,
    pub(crate) identity: Identity,
    pub(crate) expiry: u32,
    pub(crate) presence: Presence,
    /// When it ends, if it has no connection by then.
    pub(crate) ends: Option<Instant>,
    pub(crate) will: Option<Will>,
    /// When the will is published, if the session has no connection by then.
    pub(crate) will_at: Option<Instant>,
    pub(crate) subscriptions: Subscriptions,
    /// Packet identifiers that wait for PUBREL.
    pub(crate) received: BTreeSet<u16>,
}

/// By the number of the place: the message, and the packet identifier under which it was sent; and the packet
/// identifiers of which only the end is missing.
pub(crate) type Places = (BTreeMap<Number, (Number, Option<PacketId>)>, BTreeMap<Number, PacketId>);

pub(crate) type Subscriptions = BTreeMap<String, (SubscriptionOptions, Option<SubscriptionIdentifier>)>;

/// Whether a session has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Connected,
    Away,
    /// Its connection ended with the broker. That need not be written down.
    CutOff,
}

impl Account {
    /// What these records tell to a broker that is started `now`. `epoch` is when time began.
    pub(crate) fn read<'a>(records: impl Iterator<Item = Frame<'a>>, epoch: Epoch, now: Instant) -> Self {
        let mut reader = Reader::default();
        for frame in records {
            reader.take(Record::decode(frame.kind, frame.body).unwrap(), epoch);
        }
        reader.finish(epoch, now)
    }

    /// Where this, which records tell, differs from what is known: from what was there before something happened, and,
    /// if the records tell only a part of that, from what was there after it.
    pub(crate) fn differences(&self, before: &Self, after: Option<&Self>, now: Instant) -> Vec<String> {
        let (is_between, after) = (after.is_some(), after.unwrap_or(before));
        let mut found = Vec::new();
        let clients: BTreeSet<&String> =
            [self, before, after].iter().flat_map(|account| account.sessions.keys()).collect();
        for client in clients {
            let of_client = [self, before, after].map(|account| account.sessions.get(client));
            if let [None, Some(one), Some(other)] = of_client
                && one.id != other.id
            {
                continue; // The one has ended, and the other has not begun.
            }
            let filters: BTreeSet<&String> =
                of_client.iter().flatten().flat_map(|session| session.subscriptions.keys()).collect();
            let [told, one, other] = of_client.map(|session| parts(session, &filters));
            let has_left = presence_differs(of_client[0], of_client[1], is_between, now)
                && presence_differs(of_client[0], of_client[2], is_between, now);
            if has_left {
                found.push(format!(
                    "presence of {client}: {:?} is neither {:?} nor {:?}",
                    of_client[0], of_client[1], of_client[2]
                ));
            }
            for (name, told) in &told {
                let (one, other) = (&one[name], &other[name]);
                // A will goes before another comes.
                let is_gone = name == "will" && told == "None" && one != other;
                // The same filter may be in a packet twice.
                let is_twice = name.starts_with("subscription") && one != other;
                if told != one && told != other && !is_gone && !is_twice {
                    found.push(format!("{name} of {client}: {told} is neither {one} nor {other}"));
                }
            }
        }
        let topics: BTreeSet<&String> =
            [self, before, after].iter().flat_map(|account| account.retained.keys()).collect();
        for topic in topics {
            let lives = |retained: &&RetainedAccount| retained.expires_at.is_none_or(|at| at > now);
            let [told, one, other] =
                [self, before, after].map(|account| account.retained.get(topic).filter(lives));
            let unsure = before.unsure.contains(topic) || after.unsure.contains(topic);
            // It may be that there is none, and never that there is one which was replaced.
            if told != one && told != other && !(unsure && told.is_none()) {
                found.push(format!("retained of {topic}: {told:?} is neither {one:?} nor {other:?}"));
            }
        }
        found
    }
}

/// The parts of a session that may change one without the other, by name.
fn parts(session: Option<&SessionAccount>, filters: &BTreeSet<&String>) -> BTreeMap<String, String> {
    let described = |part: Option<String>| part.unwrap_or_else(|| "nothing".to_owned());
    let mut parts = BTreeMap::from([
        ("identity".to_owned(), described(session.map(|session| format!("{:?}", session.identity)))),
        ("expiry".to_owned(), described(session.map(|session| session.expiry.to_string()))),
        ("will".to_owned(), format!("{:?}", session.and_then(|session| session.will.as_ref()))),
        ("received".to_owned(), described(session.map(|session| format!("{:?}", session.received)))),
    ]);
    for filter in filters {
        let subscription = session.and_then(|session| session.subscriptions.get(*filter));
        let subscription = described(subscription.map(|subscription| format!("{subscription:?}")));
        parts.insert(format!("subscription to {filter}"), subscription);
    }
    parts
}

/// Whether one session has a connection, or has had it, where the other has not. If what is `told` lies between two
/// known states, the connection may have ended on the way from one to the other.
fn presence_differs(
    told: Option<&SessionAccount>,
    known: Option<&SessionAccount>,
    is_between: bool,
    now: Instant,
) -> bool {
    let (told, known) = match (told, known) {
        (None, None) => return false,
        (Some(told), Some(known)) => (told, known),
        (None, Some(_)) | (Some(_), None) => return true,
    };
    // What is overdue is due now.
    let same = |one: Option<Instant>, other: Option<Instant>| {
        one.map(|at| at.max(now)) == other.map(|at| at.max(now))
    };
    let same_times =
        same(told.ends, known.ends) && (told.will.is_none() || same(told.will_at, known.will_at));
    let is_plain = |session: &SessionAccount| session.expiry == u32::MAX && session.will.is_none();
    match known.presence {
        // Nothing follows from it; while there is no room it is not written down.
        _ if is_plain(told) && is_plain(known) => false,
        Presence::Connected => told.presence != Presence::Connected && !is_between,
        Presence::Away => told.presence != Presence::Away || !same_times,
        // Where nothing is known of when the broker was running last, it is taken to have been until the next start.
        Presence::CutOff => !same_times && (told.ends < known.ends || told.will_at < known.will_at),
    }
}

/// The name of a publisher. Those that the broker has named are not told apart.
pub(crate) fn publisher_name(client_id: &str) -> String {
    if client_id.starts_with("auto") { "auto" } else { client_id }.to_owned()
}

#[derive(Debug, Default)]
struct Reader {
    sessions: BTreeMap<SessionId, Entry>,
    retained: BTreeMap<String, RetainedAccount>,
    last_alive: Option<WallTime>,
}

#[derive(Debug, Default)]
struct Entry {
    record: Option<SessionRecord>,
    subscriptions: Subscriptions,
    received: BTreeSet<u16>,
    places: Places,
}

impl Reader {
    fn of(&mut self, session: SessionId) -> &mut Entry {
        self.sessions.entry(session).or_default()
    }

    fn take(&mut self, record: Record<'_>, epoch: Epoch) {
        match record {
            Record::Published(published) => self.published(&published, epoch),
            Record::Session(record) => {
                self.last_alive = self.last_alive.max(record.disconnected_at);
                let entry = self.of(record.id);
                entry.record = Some(*record);
            }
            Record::Ended { session } => drop(self.sessions.remove(&session)),
            Record::Subscribed { session, filter, options, identifier } => {
                self.of(session).subscriptions.insert(filter.to_owned(), (options, identifier));
            }
            Record::Unsubscribed { session, filter } => {
                self.of(session).subscriptions.remove(filter);
            }
            Record::Received { session, packet_id } => {
                self.of(session).received.insert(packet_id.get());
            }
            Record::Released { session, packet_id } => {
                self.of(session).received.remove(&packet_id.get());
            }
            Record::Exchanges { session, received, completing } => {
                let entry = self.of(session);
                entry.received = received.into_iter().map(PacketId::get).collect();
                entry.places.1 = completing.into_iter().collect();
            }
            Record::Cleared { topic } => drop(self.retained.remove(topic)),
            Record::Alive { at } => self.last_alive = self.last_alive.max(Some(at)),
            Record::Queued { message, from, target } => {
                if let Some((session, number)) = from {
                    self.of(session).places.0.remove(&number);
                }
                self.place(message, &target);
            }
            Record::Replay { queued, .. } => {
                if let Some((message, target)) = queued {
                    self.place(message, &target);
                }
            }
            Record::Sent { session, number, packet_id } => {
                if let Some((_, sent)) = self.of(session).places.0.get_mut(&number) {
                    *sent = Some(packet_id);
                }
            }
            Record::Completing { session, number, packet_id } => {
                let (places, completing) = &mut self.of(session).places;
                places.remove(&number);
                completing.insert(number, packet_id);
            }
            Record::Settled { session, numbers } => {
                let (places, completing) = &mut self.of(session).places;
                for number in numbers {
                    places.remove(&number);
                    completing.remove(&number);
                }
            }
        }
    }

    fn place(&mut self, message: Number, target: &Target) {
        self.of(target.session).places.0.insert(target.number, (message, target.sent));
    }

    fn published(&mut self, published: &Published<'_>, epoch: Epoch) {
        if let Some((session, packet_id)) = published.received {
            self.of(session).received.insert(packet_id.get());
        }
        if let Some(record) = published.will_of.and_then(|session| self.of(session).record.as_mut()) {
            (record.will, record.will_at) = (None, None);
        }
        for target in &published.targets {
            self.place(published.number, target);
        }
        if published.retained {
            let PublicationOf::Bytes(publication) = published.publication else { panic!("it was read") };
            let publication = Publication::decode(publication).unwrap();
            let retained = RetainedAccount {
                payload: publication.payload,
                publisher: publisher_name(published.publisher),
                expires_at: published.expires_at.map(|at| epoch.to_instant(at)),
            };
            self.retained.insert(publication.topic.as_str().to_owned(), retained);
        }
    }

    fn finish(self, epoch: Epoch, now: Instant) -> Account {
        let mut account = Account { retained: self.retained, ..Account::default() };
        for (id, entry) in self.sessions {
            // What is said of a session after its end, and after the record of its end has gone, is about nobody.
            let Some(record) = entry.record else { continue };
            if record.has_ended() {
                continue; // Of its places only those matter that others are to have.
            }
            account.places.insert(id, entry.places);
            let left = record.disconnected_at.or(self.last_alive);
            let left = left.map_or(now, |at| epoch.to_instant(at)).min(now);
            let will_at = record.will.as_ref().map(|will| {
                let delayed = left + std::time::Duration::from_secs(will.delay_interval.into());
                record.will_at.map_or(delayed, |at| epoch.to_instant(at))
            });
            let is_connected = record.disconnected_at.is_none();
            let session = SessionAccount {
                id: Some(id),
                identity: record.identity,
                expiry: record.expiry,
                presence: if is_connected { Presence::Connected } else { Presence::Away },
                ends: crate::reference::after(record.expiry, left),
                will: record.will,
                will_at,
                subscriptions: entry.subscriptions,
                received: entry.received,
            };
            // The later session of a client has replaced the one before.
            account.sessions.insert(record.client_id, session);
        }
        account
    }
}
