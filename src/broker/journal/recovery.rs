//! A journal is read, and gives the broker that it tells of.
//!
//! What is written again when old records go stands behind what was said later about the same thing: a session's
//! subscriptions may come before the session. So all is gathered first, by session, and put together at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::live;
use super::orphans::Departed;
use super::reclaim::message_of;
use crate::broker::record::frame::HEADER_LEN;
use crate::broker::record::{
    Frame, Malformed, Number, Progress, Published, Record, Sequence, SessionId, SessionRecord, Target,
};
use crate::broker::retained::{Position, Retained};
use crate::broker::session::queue::{Content, Offer, Place};
use crate::broker::session::{Expiry, Keeping, Replay, Said, Session};
use crate::broker::subscriptions::{Subscription, SubscriptionKey};
use crate::broker::timers::Timer;
use crate::broker::{Broker, BrokerConfig, Policy, PolicyName, SessionKey, count};
use crate::clock::{Epoch, Instant, WallTime};
use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::{ClientId, PacketId, QoS, SubscriptionFilter, SubscriptionIdentifier, TopicName};

/// A broker in the making: it is told all records of its journal, in order.
#[derive(Debug)]
pub struct Recovery {
    broker: Broker,
    sessions: BTreeMap<SessionId, Gathered>,
    /// When the broker was running for certain.
    last_alive: Option<WallTime>,
    last_session: u64,
    last_number: u64,
    /// Who published last: mostly the same as before.
    publisher: ClientId,
    /// Sessions that have ended, and the messages that they have left.
    departed: Vec<(Departed, Places)>,
    report: Recovered,
}

/// The places of a session, by their numbers, and the messages there.
type Places = BTreeMap<Number, (Number, Target)>;

/// What was read, and what of it made no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Sessions that go on.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages in their queues or under way, each as often as it is.
    pub queued: u64,
    /// Retained messages.
    pub retained: u64,
    /// Sessions and places in queues of which only a part is known: a sign of damage.
    pub incomplete: u64,
    /// Records that could not be understood.
    pub malformed: u64,
}

/// What is known of a session.
#[derive(Debug, Default)]
struct Gathered {
    record: Option<GatheredRecord>,
    subscriptions: BTreeMap<Box<str>, (SubscriptionOptions, Option<SubscriptionIdentifier>)>,
    /// Where retained messages go on that are on their way to these, and what these were when that began.
    replays: BTreeMap<Box<str>, (Position, SubscriptionOptions, Option<SubscriptionIdentifier>)>,
    /// Packet identifiers of its client that wait for PUBREL.
    received: BTreeSet<PacketId>,
    /// Messages that it has, and their places.
    places: Places,
    /// Packet identifiers of ours that wait for PUBCOMP.
    completing: BTreeMap<Number, PacketId>,
}

/// The last record that says how a session is.
#[derive(Debug)]
struct GatheredRecord {
    at: Sequence,
    /// Its bytes in the journal.
    bytes: u32,
    record: SessionRecord,
}

impl Recovery {
    /// Nothing has been read. `epoch` tells the time at which the broker is started.
    pub fn new(config: BrokerConfig, policy: Arc<Policy>, seed: u64, epoch: Epoch) -> Self {
        let mut broker = Broker::new(config, policy, seed);
        broker.journal.epoch = epoch;
        broker.messages.set_cache_bytes(broker.config.limits.cached_bytes);
        Self {
            broker,
            sessions: BTreeMap::new(),
            last_alive: None,
            last_session: 0,
            last_number: 0,
            publisher: ClientId::new(""),
            departed: Vec::new(),
            report: Recovered::default(),
        }
    }

    /// Takes the next record. One that cannot be understood changes nothing, and is counted.
    pub fn replay(&mut self, frame: Frame<'_>) -> Result<(), Malformed> {
        let taken = Record::decode(frame.kind, frame.body).and_then(|record| self.take(&frame, record));
        self.report.malformed += u64::from(taken.is_err());
        taken
    }

    fn take(&mut self, frame: &Frame<'_>, record: Record<'_>) -> Result<(), Malformed> {
        let at = frame.sequence;
        match record {
            Record::Published(published) => self.published(at, published)?,
            Record::Session(record) => {
                self.last_alive = self.last_alive.max(record.disconnected_at);
                let bytes = u32::try_from(HEADER_LEN + frame.body.len()).unwrap_or(u32::MAX);
                let gathered = self.of(record.id);
                gathered.record = Some(GatheredRecord { at, bytes, record: *record });
            }
            Record::Ended { session } => {
                self.of(session);
                self.sessions.remove(&session);
            }
            Record::Subscribed { session, filter, options, identifier } => {
                let subscriptions = &mut self.of(session).subscriptions;
                subscriptions.insert(filter.into(), (options, identifier));
            }
            Record::Unsubscribed { session, filter } => {
                let session = self.of(session);
                session.subscriptions.remove(filter);
                session.replays.remove(filter);
            }
            Record::Replay { session, filter, options, identifier, progress, queued } => {
                if let Some((message, target)) = queued {
                    self.place(message, target);
                }
                let replays = &mut self.of(session).replays;
                match position_of(progress)? {
                    Some(position) => drop(replays.insert(filter.into(), (position, options, identifier))),
                    None => drop(replays.remove(filter)),
                }
            }
            Record::Received { session, packet_id } => {
                self.of(session).received.insert(packet_id);
            }
            Record::Released { session, packet_id } => {
                self.of(session).received.remove(&packet_id);
            }
            Record::Queued { message, from, target } => {
                if let Some((session, number)) = from {
                    self.of(session).places.remove(&number);
                }
                self.place(message, target);
            }
            Record::Sent { session, number, packet_id } => {
                if let Some((_, target)) = self.of(session).places.get_mut(&number) {
                    target.sent = Some(packet_id);
                }
            }
            Record::Completing { session, number, packet_id } => {
                let session = self.of(session);
                session.places.remove(&number);
                session.completing.insert(number, packet_id);
            }
            Record::Settled { session, numbers } => {
                let session = self.of(session);
                for number in numbers {
                    session.places.remove(&number);
                    session.completing.remove(&number);
                }
            }
            Record::Exchanges { session, received, completing } => {
                let session = self.of(session);
                session.received = received.into_iter().collect();
                session.completing = completing.into_iter().collect();
            }
            Record::Cleared { topic } => {
                self.broker.retained.remove(topic);
            }
            Record::Alive { at } => self.last_alive = self.last_alive.max(Some(at)),
        }
        Ok(())
    }

    fn of(&mut self, session: SessionId) -> &mut Gathered {
        self.last_session = self.last_session.max(session.0);
        self.sessions.entry(session).or_default()
    }

    fn place(&mut self, message: Number, target: Target) {
        self.last_number = self.last_number.max(target.number.0);
        self.of(target.session).places.insert(target.number, (message, target));
    }

    fn published(&mut self, at: Sequence, published: Published<'_>) -> Result<(), Malformed> {
        let number = published.number;
        self.last_number = self.last_number.max(number.0);
        let epoch = self.broker.journal.epoch;
        if published.retained {
            let message = message_of(&published, epoch).ok_or(Malformed("a message that is none"))?;
            if self.publisher.as_str() != published.publisher {
                self.publisher = ClientId::new(published.publisher);
            }
            let entry = Retained {
                message: Arc::new(message),
                publisher: self.publisher.clone(),
                kept: Some(number),
            };
            self.broker.retained.insert(entry);
        }
        if let Some((session, packet_id)) = published.received {
            self.of(session).received.insert(packet_id);
        }
        if let Some(gathered) = published.will_of.and_then(|session| self.of(session).record.as_mut()) {
            (gathered.record.will, gathered.record.will_at) = (None, None);
        }
        let expires_at = published.expires_at.map(|at| epoch.to_instant(at));
        self.broker.messages.insert_unread(number, at, published.footprint, expires_at);
        for target in published.targets {
            self.place(number, target);
        }
        Ok(())
    }

    /// All has been read, and the journal goes on with the record `next`: the broker as it was. `now` is its start.
    pub fn finish(mut self, next: Sequence, now: Instant) -> (Broker, Recovered) {
        let journal = &mut self.broker.journal;
        journal.open(next);
        journal.last_number = self.last_number;
        journal.last_session = self.last_session;
        self.broker.restore_retained();
        // Should two have the same client identifier, as the end of one was not written down, the later one has it.
        for (id, gathered) in std::mem::take(&mut self.sessions).into_iter().rev() {
            self.restore(id, gathered, now);
        }
        for (departed, places) in std::mem::take(&mut self.departed) {
            self.broker.hand_on_all(&departed, places, now);
        }
        self.broker.messages.forget_all_unneeded();
        self.report.sessions = count(self.broker.sessions.len());
        self.report.retained = count(self.broker.retained.len());
        (self.broker, self.report)
    }

    fn restore(&mut self, id: SessionId, gathered: Gathered, now: Instant) {
        let Gathered { record, subscriptions, mut replays, received, places, completing } = gathered;
        let broker = &mut self.broker;
        let Some(GatheredRecord { at, bytes, record }) = record else {
            self.report.incomplete += 1;
            return;
        };
        let client_id = ClientId::new(record.client_id.as_str());
        if record.has_ended() {
            self.departed.push((Departed { client_id, id: Some(id) }, places));
            return;
        }
        if broker.sessions.find(&client_id).is_some() {
            self.report.incomplete += 1;
            return;
        }
        let said = Said::by(&record);
        let policy = PolicyName::new(&record.policy);
        let permissions =
            broker.policies.permissions_of(&policy, &record.identity, &client_id, record.grants.as_ref());
        let mut session = Session::new(client_id, policy, record.identity, permissions);
        session.grants = record.grants.map(Arc::new);
        session.expiry = Expiry::from_seconds(record.expiry);
        broker.received_ids += received.len();
        session.received = received;
        let key = broker.sessions.insert(session);
        broker.sessions.keep(key, Keeping { record: at, bytes, said, ..Keeping::new(id) });
        broker.journal.session_bytes += u64::from(bytes);
        if let Some(level) = record.response_prefix {
            broker.restore_response_prefix(key, level.into());
        }
        for (text, (options, identifier)) in subscriptions {
            let Ok(filter) = SubscriptionFilter::parse(&text) else {
                self.report.malformed += 1;
                continue;
            };
            let subscription = Subscription { session: key, options, identifier };
            let place = broker.restore_subscription(&filter, subscription);
            if let (SubscriptionKey::Plain(node), Some((position, options, identifier))) =
                (place, replays.remove(&text))
            {
                let replay =
                    Replay { filter: filter.filter, position, options, identifier, is_written: true };
                broker.replay_bytes += live::replay(&replay);
                broker.sessions.get_mut(key).and_then(|session| session.replays.insert(node, replay));
            }
            self.report.subscriptions += 1;
        }
        self.report.queued += count(places.len());
        self.report.incomplete += broker.restore_places(key, places, completing);
        broker.set_will(key, record.will.map(Box::new));
        let started = broker.journal.wall(now);
        let disconnected_at = record.disconnected_at.or(self.last_alive).unwrap_or(started).min(started);
        broker.restore_timers(key, disconnected_at, record.will_at, now);
        if record.disconnected_at.is_none() && record.expiry > 0 {
            // Next time it need not be guessed.
            broker.write_cut_off(key, disconnected_at, now);
        }
    }
}

impl Broker {
    fn restore_retained(&mut self) {
        let entries: Vec<Retained> = self.retained.iter().cloned().collect();
        for entry in entries {
            if let Some(number) = entry.kept {
                self.messages.retained(number, live::publisher(&entry.publisher));
                self.messages.set_body(number, entry.message);
            }
        }
    }

    fn restore_response_prefix(&mut self, key: SessionKey, level: Arc<str>) {
        self.response_topics.restore(Arc::clone(&level), key);
        if let Some(session) = self.sessions.get_mut(key) {
            session.response_prefix = Some(level);
        }
    }

    fn restore_subscription(
        &mut self,
        filter: &SubscriptionFilter,
        subscription: Subscription,
    ) -> SubscriptionKey {
        let place = self.subscriptions.subscribe(filter, subscription).key();
        let Some(session) = self.sessions.get_mut(subscription.session) else { return place };
        if session.subscriptions.insert(place) {
            let bytes = crate::broker::subscribe::footprint(filter);
            session.subscription_bytes += bytes;
            self.subscription_bytes += bytes;
            self.kept_subscription_bytes += live::subscriptions(1, bytes);
        }
        place
    }

    /// Puts messages into their places. How many of them the journal does not hold.
    fn restore_places(
        &mut self,
        key: SessionKey,
        places: Places,
        completing: BTreeMap<Number, PacketId>,
    ) -> u64 {
        let mut lost = 0;
        let mut under_way: BTreeMap<Number, (PacketId, Option<Offer>)> =
            completing.into_iter().map(|(number, packet_id)| (number, (packet_id, None))).collect();
        for (number, (message, target)) in places {
            if !self.messages.contains(message) {
                lost += 1;
                continue;
            }
            self.messages.refer(message);
            let footprint = self.messages.footprint(message);
            let shared_bytes = target.shared.as_deref().map_or(0, live::shared);
            let group = target.shared.and_then(|filter| self.group_of(key, &filter));
            let content = Content::Kept(Place { message, number, footprint });
            let offer = Offer::new(content, target.qos, target.retain)
                .with_identifiers(target.identifiers)
                .of_group(group)
                .with_shared_bytes(shared_bytes);
            self.waiting.add(&offer);
            if let Some(packet_id) = target.sent {
                under_way.insert(number, (packet_id, Some(offer)));
            } else if let Some(session) = self.sessions.get_mut(key) {
                // When it came is not known any more.
                session.queue.push(offer, self.messages.expires_at(message), Instant::START);
            }
        }
        if let Some(session) = self.sessions.get_mut(key) {
            for (number, (packet_id, offer)) in under_way {
                session.inflight.restore(packet_id, offer.ok_or(number));
            }
            self.kept_exchanges += session.kept_exchanges();
        }
        lost
    }

    /// Hands on what a session has left that has ended.
    fn hand_on_all(&mut self, departed: &Departed, places: Places, now: Instant) {
        for (number, (message, target)) in places {
            let shared_bytes = target.shared.as_deref().map_or(0, live::shared);
            let may_have_come = target.qos == QoS::ExactlyOnce && target.sent.is_some();
            let filter = target.shared.and_then(|filter| SubscriptionFilter::parse(&filter).ok());
            let group = filter.and_then(|filter| self.subscriptions.find_shared(&filter));
            if !self.messages.contains(message) || group.is_none() || may_have_come {
                continue; // What it had for itself alone went with it, and so did what may have come [MQTT-4.8.2-5].
            }
            self.messages.refer(message);
            let footprint = self.messages.footprint(message);
            let content = Content::Kept(Place { message, number, footprint });
            let offer = Offer::new(content, target.qos, target.retain)
                .with_identifiers(target.identifiers)
                .of_group(group)
                .with_shared_bytes(shared_bytes);
            self.hand_on(departed, &offer, now);
        }
        self.write_end(departed, now);
    }

    fn group_of(&self, key: SessionKey, filter: &str) -> Option<crate::broker::subscriptions::GroupKey> {
        let filter = SubscriptionFilter::parse(filter).ok()?;
        match self.subscriptions.find(&filter, key)? {
            SubscriptionKey::Shared(group) => Some(group),
            SubscriptionKey::Plain(_) => None,
        }
    }

    fn restore_timers(
        &mut self,
        key: SessionKey,
        disconnected_at: WallTime,
        will_at: Option<WallTime>,
        now: Instant,
    ) {
        let epoch = self.journal.epoch;
        let after = |seconds: u32| {
            now.max(epoch.to_instant(disconnected_at.saturating_add(Duration::from_secs(u64::from(seconds)))))
        };
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(will) = &session.will {
            let at = will_at.map_or_else(|| after(will.delay_interval), |at| now.max(epoch.to_instant(at)));
            session.will_timer = Some(self.timers.set(at, Timer::WillDelay(key)));
        }
        let ends_at = match session.expiry {
            Expiry::WithConnection => Some(now),
            Expiry::After(seconds) => Some(after(seconds)),
            Expiry::Never => None,
        };
        session.expiry_timer = ends_at.map(|at| self.timers.set(at, Timer::SessionExpiry(key)));
    }
}

/// Where a replay goes on; `None`: it has come to its end.
fn position_of(progress: Progress<'_>) -> Result<Option<Position>, Malformed> {
    Ok(match progress {
        Progress::At(topic) => Some(Position::At(topic.into())),
        Progress::Behind(topic) => {
            let topic = TopicName::parse(topic).map_err(|_| Malformed("no topic name"))?;
            Some(Position::Behind(topic))
        }
        Progress::Done => None,
    })
}
