//! The broker: sessions, subscriptions, retained messages, wills. Pure.
//!
//! [`Broker`] is told what happened and what time it is ([`Broker::handle`]), and says what is to be done
//! ([`Broker::poll_output`]) and when it next wants to be told the time ([`Broker::deadline`]). It does no I/O, reads
//! no clock, starts nothing, waits for nothing and cannot fail: a client's fault becomes an output that closes its
//! connection, a fault of ours is an assertion. With the same seed and the same inputs it does the same.
//!
//! It knows nothing of bytes on the wire (`connection` does) and nothing of passwords (`auth` does).
//!
//! Each thing that happens has a file: `connect`, `publish`, `deliver`, `acknowledge`, `subscribe`, `disconnect`,
//! `will`. What is kept has one too: `session`, `subscriptions`, `retained`, `timers`.

mod acknowledge;
mod backlog;
mod connect;
pub mod counters;
mod deliver;
mod disconnect;
pub mod input;
mod invariants;
pub mod journal;
pub mod limits;
mod loads;
pub mod memory;
pub mod output;
pub mod permissions;
mod policies;
mod pressure;
mod publish;
mod pump;
pub mod record;
mod replay;
mod response;
pub mod retained;
mod route;
mod session;
mod subscribe;
pub mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;
mod will;
mod window;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use counters::Counters;
pub use input::{Attach, Closure, ConnectionId, Input};
pub use journal::recovery::Recovery;
pub use journal::{Durability, DurabilityRules, Room};
pub use limits::{
    BrokerConfig, BrokerLimits, Features, OverlappingSubscriptions, QueuePolicy, SharedStrategy,
};
pub use loads::SessionLoad;
pub use memory::Memory;
pub use output::{Output, ToClient};
pub use permissions::{Grants, Identity, Permissions, Policy, PolicyName, TokenKey};
pub use session::SessionKey;

use self::backlog::Backlog;
use self::disconnect::Leaving;
use self::journal::Journal;
use self::journal::keep::Routing;
use self::journal::messages::KeptMessages;
use self::journal::orphans::{Departed, Orphans};
use self::memory::Waiting;
use self::policies::Policies;
use self::pressure::Pressure;
use self::response::ResponseTopics;
use self::retained::RetainedStore;
use self::session::{Session, Sessions};
use self::subscriptions::{GroupKey, Subscription, Subscriptions};
use self::timers::{Timer, TimerQueue};
use self::will::DueWill;
use self::window::Outstanding;
use crate::clock::Instant;
use crate::mqtt::{Packet, ReasonCode};

/// Expired retained messages that are cleared away at a time, so that no client waits for a million of them.
const EXPIRED_AT_A_TIME: usize = 1_000;

/// Searches for retained messages that go on at a time, so that no client waits for all of them.
const SEARCHES_AT_A_TIME: usize = 8;

/// Timers that fall due at a time, so that no client waits for the end of a million sessions.
const TIMERS_AT_A_TIME: usize = 500;

/// The whole broker, as a value.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    policies: Policies,
    sessions: Sessions,
    subscriptions: Subscriptions,
    retained: RetainedStore,
    timers: TimerQueue,
    backlog: Backlog,
    /// What has been done since the broker was made, in steps that cost about the same.
    work: usize,
    response_topics: ResponseTopics,
    random: Random,
    counters: Counters,
    /// The messages that wait in all queues, or are under way.
    waiting: Waiting,
    /// Bytes that were handed over and not yet written.
    outstanding: Outstanding,
    /// Packet identifiers of all clients that wait for their PUBREL.
    received_ids: usize,
    pressure: Pressure,
    /// What is around the broker occupies so many bytes.
    outside: usize,
    /// Bytes of all wills.
    will_bytes: usize,
    /// Consequences that would be handled in the midst of something else: handled after it.
    consequences: VecDeque<Consequence>,
    /// Sessions whose search for retained messages has paused to let others have a turn.
    searching: VecDeque<SessionKey>,
    /// Sessions that have ended and had too many subscriptions for these to be ended at once.
    leaving: VecDeque<Leaving>,
    /// What is done for connections that are no longer anybody's.
    outputs: VecDeque<Output>,
    /// Sessions that have something in their outbox.
    dirty: VecDeque<SessionKey>,
    matches: Matches,
    journal: Journal,
    /// The messages that the journal holds.
    messages: KeptMessages,
    /// What is known of the message that is being handed around.
    routing: Routing,
    /// Messages of sessions that have ended, which are to be read before another can have them.
    orphans: Orphans,
    /// Bytes of all subscriptions.
    subscription_bytes: usize,
    /// Bytes of the records of subscriptions of sessions that are kept.
    kept_subscription_bytes: u64,
    /// Of the records that say how far retained messages are on their way.
    replay_bytes: u64,
    /// Exchanges of QoS 2 of sessions that are kept, whose message is not queued.
    kept_exchanges: usize,
    /// Sessions that are kept and have a connection.
    kept_attached: usize,
}

/// Space for the matches of one message, used again and again.
#[derive(Debug, Default)]
struct Matches {
    plain: Vec<Subscription>,
    groups: Vec<GroupKey>,
}

/// Something that follows from what has just been handled.
#[derive(Debug)]
enum Consequence {
    /// A connection is to be closed.
    Close { connection: ConnectionId, reason: ReasonCode, detail: &'static str },
    /// A will is to be published.
    PublishWill(Box<DueWill>),
    /// It is to be written down how a session is, behind what became of its will: never is it without a will that has
    /// not been published.
    WriteSession(SessionKey),
    /// The end of a session is to be written down, behind all that led to it.
    WriteEnd(Departed),
}

impl Broker {
    /// A broker without any state. All who come are under this policy, unless they come under another, of which it has
    /// to be told before. `seed` should be unknown to clients: it keys hash tables and makes identifiers.
    pub fn new(config: BrokerConfig, policy: Arc<Policy>, seed: u64) -> Self {
        Self {
            config,
            policies: Policies::new(policy, seed),
            sessions: Sessions::new(seed),
            subscriptions: Subscriptions::new(seed),
            retained: RetainedStore::default(),
            timers: TimerQueue::default(),
            backlog: Backlog::default(),
            work: 0,
            response_topics: ResponseTopics::new(seed),
            random: Random::new(seed),
            counters: Counters::default(),
            waiting: Waiting::default(),
            outstanding: Outstanding::default(),
            received_ids: 0,
            pressure: Pressure::default(),
            outside: 0,
            will_bytes: 0,
            consequences: VecDeque::new(),
            searching: VecDeque::new(),
            leaving: VecDeque::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            matches: Matches::default(),
            journal: Journal::none(),
            messages: KeptMessages::new(seed),
            routing: Routing::default(),
            orphans: Orphans::default(),
            subscription_bytes: 0,
            kept_subscription_bytes: 0,
            replay_bytes: 0,
            kept_exchanges: 0,
            kept_attached: 0,
        }
    }

    /// Takes note of what happened. `now` never goes back.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.journal.begin(self.config.durability.default);
        match input {
            Input::Attach(attach) => self.attach(*attach, now),
            Input::Received { connection, packets } => self.received(connection, packets, now),
            Input::Written { connection, bytes } => self.written(connection, bytes, now),
            Input::Closed { connection, how } => self.closed(connection, how, now),
            Input::PolicyChanged { name, policy } => self.policy_changed(&name, policy, now),
            Input::Reauthenticated { connection, grants } => {
                if let Some(key) = self.sessions.of_connection(connection) {
                    self.regrant(key, grants, now);
                }
            }
            Input::Kept { written, synced } => {
                self.journal.wrote(written);
                self.kept(written, synced);
            }
            Input::Fetched { message, record, content } => self.fetched(message, record, content, now),
            Input::Reclaim { frames } => self.reclaim(&frames, now),
            Input::Room(room) => self.room_changed(room, now),
            Input::Outside { bytes } => self.outside = bytes,
            Input::ShutDown => self.shut_down(now),
            Input::Tick => self.tick(now),
        }
        self.draw_consequences(now);
        self.journal.flush_settled();
    }

    /// Handles what follows from what has just been handled.
    fn draw_consequences(&mut self, now: Instant) {
        loop {
            while let Some(consequence) = self.consequences.pop_front() {
                match consequence {
                    Consequence::Close { connection, reason, detail } => {
                        if let Some(key) = self.sessions.of_connection(connection) {
                            self.close(key, reason, detail, now);
                        }
                    }
                    Consequence::PublishWill(will) => self.publish_will(*will, now),
                    Consequence::WriteSession(key) => self.write_gone(key, now),
                    Consequence::WriteEnd(departed) => self.write_end(&departed, now),
                }
            }
            let bereft = self.messages.take_bereft();
            if bereft.is_empty() {
                break;
            }
            for key in bereft {
                self.pump(key, now);
            }
        }
        self.feel_pressure();
    }

    /// What is to be done next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let wanted = self.messages.take_wanted();
        if !wanted.is_empty() {
            return Some(Output::Fetch(wanted));
        }
        while let Some(key) = self.dirty.pop_front() {
            let attachment = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut());
            if let Some(attachment) = attachment.filter(|attachment| !attachment.outbox.is_empty()) {
                let items = std::mem::take(&mut attachment.outbox);
                return Some(Output::ToClient { connection: attachment.connection, items });
            }
        }
        None
    }

    /// When it wants to be told the time, at the latest; [`Instant::START`]: as soon as others have had their turn.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.searching.is_empty() || !self.backlog.is_empty() || !self.leaving.is_empty() {
            return Some(Instant::START);
        }
        let alive = self.alive_deadline();
        [self.timers.deadline(), self.retained.deadline(), alive, self.pressure_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What happened how often.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What there is now: names and values, in a fixed order.
    pub fn gauges(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("sessions", self.sessions.len()),
            ("connected", self.sessions.connections()),
            ("subscription_nodes", self.subscriptions.nodes()),
            ("retained", self.retained.len()),
            ("retained_bytes", self.retained.bytes()),
            ("queued_bytes", self.waiting.counted),
            ("kept_sessions", self.sessions.kept()),
            ("kept_messages", self.messages.len()),
            ("cached_bytes", self.messages.cached_bytes()),
            ("will_bytes", self.will_bytes),
            ("timers", self.timers.len()),
            ("held_back", self.pressure.held_back()),
        ]
        .into_iter()
        .chain(self.memory().iter())
        .chain([("memory", self.memory().total())])
    }

    /// The clients that lost most messages to the bounds of their queue or packet size: client identifier, messages
    /// lost, messages waiting now. At most `most`, the worst first.
    pub fn lossy_clients(&self, most: usize) -> Vec<(String, u64, usize)> {
        let mut lossy: Vec<_> = self
            .sessions
            .keys()
            .filter_map(|key| self.sessions.get(key))
            .filter(|session| session.dropped > 0)
            .map(|session| (session.client_id.to_string(), session.dropped, session.queue.len()))
            .collect();
        lossy.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        lossy.truncate(most);
        lossy
    }

    fn packet(&mut self, key: SessionKey, packet: Packet, now: Instant) -> ControlFlow<()> {
        if self.journal.is_open() {
            let attachment = self.sessions.get(key).and_then(|session| session.attachment.as_ref());
            self.journal.begin(attachment.map_or(Durability::Fsync, |attachment| attachment.durability));
        }
        match packet {
            Packet::Publish(publish) => self.publish(key, publish, now),
            Packet::Acknowledgement(acknowledgement) => self.acknowledgement(key, &acknowledgement, now),
            Packet::Subscribe(subscribe) => self.subscribe(key, &subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(key, &unsubscribe),
            Packet::PingReq => {
                // [MQTT-3.12.4-1]
                self.send(key, ToClient::PingResp);
                ControlFlow::Continue(())
            }
            Packet::Disconnect(disconnect) => self.disconnected(key, &disconnect, now),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.refuse(key, ReasonCode::ProtocolError, "unexpected packet", now),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.relieve(now);
        self.catch_up(now);
        self.take_leave();
        for _ in 0..SEARCHES_AT_A_TIME.min(self.searching.len()) {
            let Some(key) = self.searching.pop_front() else {
                break;
            };
            if let Some(session) = self.sessions.get_mut(key) {
                session.is_searching = false;
                self.pump(key, now);
            }
        }
        for _ in 0..TIMERS_AT_A_TIME {
            match self.timers.pop_due(now) {
                Some(Timer::SessionExpiry(key)) => {
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.expiry_timer = None;
                        self.end_session(key, now);
                    }
                }
                Some(Timer::WillDelay(key)) => self.will_is_due(key),
                None => break,
            }
        }
        for expired in self.retained.expire(now, EXPIRED_AT_A_TIME) {
            self.counters.expired_retained += 1;
            self.no_longer_retained(&expired);
        }
        self.write_alive(now);
    }

    fn policy_changed(&mut self, name: &PolicyName, policy: Arc<Policy>, now: Instant) {
        self.policies.put(name.clone(), policy);
        let keys: Vec<SessionKey> = self.sessions.keys().collect();
        for key in keys {
            let Some(session) = self.sessions.get_mut(key).filter(|session| session.policy == *name) else {
                continue;
            };
            let Session { identity, client_id, grants, .. } = &*session;
            session.permissions = self.policies.permissions_of(name, identity, client_id, grants.as_deref());
            self.expel_stranger(key, now);
        }
    }

    /// Closes the connection of a client that could not log in any more.
    fn expel_stranger(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get(key).filter(|session| session.attachment.is_some()) else {
            return;
        };
        let Session { policy, identity, grants, .. } = session;
        if !self.policies.welcome(policy, identity, grants.as_deref()) {
            self.counters.disconnected_by_policy += 1;
            self.close(key, ReasonCode::NotAuthorized, "the user or its token is no longer known", now);
        }
    }

    /// From now on the client of this session has these grants, and no others.
    fn grant(&mut self, key: SessionKey, grants: Option<Arc<Grants>>) {
        let Some(session) = self.sessions.get_mut(key).filter(|session| session.grants != grants) else {
            return;
        };
        let Session { policy, identity, client_id, .. } = &*session;
        session.permissions = self.policies.permissions_of(policy, identity, client_id, grants.as_deref());
        session.grants = grants;
    }

    /// The client of this session has proved again who it is, and has these grants from now on.
    fn regrant(&mut self, key: SessionKey, grants: Option<Arc<Grants>>, now: Instant) {
        let Some(session) = self.sessions.get(key).filter(|session| session.grants != grants) else { return };
        if let Some(keeping) = &session.keeping
            && self.journal.room != Room::Enough
            && !self.allow(usize::try_from(keeping.bytes).unwrap_or(usize::MAX), now)
            && let Some((reason, detail)) = self.has_no_room()
        {
            return self.close(key, reason, detail, now);
        }
        self.grant(key, grants);
        self.write_session(key, now);
        self.expel_stranger(key, now);
    }

    fn shut_down(&mut self, now: Instant) {
        let keys: Vec<SessionKey> = self.sessions.keys().collect();
        for key in keys {
            if self.sessions.get(key).is_some_and(|session| session.attachment.is_some()) {
                self.close(key, ReasonCode::ServerShuttingDown, "the server is shutting down", now);
            }
        }
    }

    /// Closes the connection of a client that broke the protocol, or asked for what is not to be had.
    fn refuse(
        &mut self,
        key: SessionKey,
        reason: ReasonCode,
        detail: &'static str,
        now: Instant,
    ) -> ControlFlow<()> {
        self.counters.protocol_errors += 1;
        self.close(key, reason, detail, now);
        ControlFlow::Break(())
    }
}

/// Numbers that look random: splitmix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A number of things, as counters count them.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
