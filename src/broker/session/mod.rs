//! What is kept of a client, with or without a connection (MQTT 5.0 section 4.1).

mod ages;
pub(super) mod inflight;
pub(super) mod queue;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use self::inflight::Inflight;
use self::queue::{MessageQueue, Offer};
use super::input::ConnectionId;
use super::journal::Durability;
use super::journal::hold::Held;
use super::memory::{ATTACHMENT, SESSION};
use super::output::ToClient;
use super::permissions::{Grants, Identity, Permissions, PolicyName};
use super::pressure::Share;
use super::record::{Sequence, SessionId, SessionRecord};
use super::retained::Position;
use super::subscriptions::{NodeKey, SubscriptionKey};
use super::timers::TimerKey;
use crate::mqtt::packet::{SubscriptionOptions, Will};
use crate::mqtt::{
    ClientId, Delivery, Message, PacketId, ProtocolVersion, QoS, SubscriptionIdentifier, TopicFilter,
};

/// Where a session stands among all. Used again once the session has ended; whoever keeps one beyond a session's
/// life must be told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u32);

impl SessionKey {
    /// The key of this number, for tests and benchmarks of parts of the broker.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Its number.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

/// When a session without a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// With its connection.
    WithConnection,
    /// So many seconds after it.
    After(u32),
    /// Never.
    Never,
}

impl Expiry {
    /// Of a session expiry interval as on the wire.
    pub(super) const fn from_seconds(seconds: u32) -> Self {
        match seconds {
            0 => Self::WithConnection,
            u32::MAX => Self::Never,
            seconds => Self::After(seconds),
        }
    }

    /// As on the wire.
    pub(super) const fn to_seconds(self) -> u32 {
        match self {
            Self::WithConnection => 0,
            Self::After(seconds) => seconds,
            Self::Never => u32::MAX,
        }
    }
}

/// The connection that a session has.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) connection: ConnectionId,
    pub(super) version: ProtocolVersion,
    /// How many QoS 1 and 2 messages may be under way.
    pub(super) receive_maximum: usize,
    /// How many bytes of them.
    pub(super) inflight_bytes: usize,
    /// The largest packet that the client takes.
    pub(super) maximum_packet_size: usize,
    /// Bytes of deliveries handed over and not yet written.
    pub(super) outstanding: usize,
    /// How many of these there may be where many are on their way in all: the more, the more was written.
    pub(super) earned_window: usize,
    /// Whether it was asked what is written, and has not said so yet.
    pub(super) is_asked: bool,
    /// What is to be handed over next.
    pub(super) outbox: Vec<ToClient>,
    /// What waits for the journal.
    pub(super) held: Option<Box<Held>>,
    /// What it has made pile up.
    pub(super) share: Share,
    /// What has to hold for what its client is told, where the topic does not say.
    pub(super) durability: Durability,
}

/// What is written down of how a session is, as far as that may not be so any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) expiry: u32,
    pub(super) has_will: bool,
    /// Whether it has a connection. If the broker ends, the connection is taken to have ended with it.
    pub(super) is_connected: bool,
}

impl Said {
    pub(super) const fn by(record: &SessionRecord) -> Self {
        let is_connected = record.disconnected_at.is_none();
        Self { expiry: record.expiry, has_will: record.will.is_some(), is_connected }
    }
}

/// What is known of a session that outlives the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keeping {
    pub(super) id: SessionId,
    /// The record that says how it is.
    pub(super) record: Sequence,
    /// Its bytes in the journal.
    pub(super) bytes: u32,
    /// What it says.
    pub(super) said: Said,
    /// What records before this one say about its subscriptions has been said again.
    pub(super) subscriptions_from: Sequence,
    /// What records before this one say about its exchanges of QoS 2 has been said again.
    pub(super) exchanges_from: Sequence,
    /// What had to be true before its client would have been told all that its last connection did not live to tell.
    pub(super) owed: Durability,
}

impl Keeping {
    /// Of a session of which nothing is written down yet.
    pub(super) const fn new(id: SessionId) -> Self {
        let none = Sequence::FIRST;
        Self {
            id,
            record: none,
            bytes: 0,
            said: Said { expiry: 0, has_will: false, is_connected: false },
            subscriptions_from: none,
            exchanges_from: none,
            owed: Durability::Memory,
        }
    }
}

/// Retained messages on their way to a new subscription: a place in the store instead of a queue.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: TopicFilter,
    pub(super) position: Position,
    /// The options of the subscription when it was made.
    pub(super) options: SubscriptionOptions,
    /// Its identifier then.
    pub(super) identifier: Option<SubscriptionIdentifier>,
    /// Whether it is written down how far they are, as the session outlives the broker and none of them may be lost.
    pub(super) is_written: bool,
}

/// What is kept of one client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: ClientId,
    /// Under which policy its client comes.
    pub(super) policy: PolicyName,
    /// Whose it is: nobody else may have it.
    pub(super) identity: Identity,
    /// What the token grants with which the client came last.
    pub(super) grants: Option<Arc<Grants>>,
    pub(super) permissions: Arc<Permissions>,
    pub(super) expiry: Expiry,
    pub(super) attachment: Option<Attachment>,
    pub(super) subscriptions: BTreeSet<SubscriptionKey>,
    /// What they occupy, by and large.
    pub(super) subscription_bytes: usize,
    pub(super) inflight: Inflight,
    /// Packet identifiers of QoS 2 messages that were received and not yet released.
    pub(super) received: BTreeSet<PacketId>,
    pub(super) queue: MessageQueue,
    pub(super) replays: BTreeMap<NodeKey, Replay>,
    /// Whether its search for retained messages has paused and waits for its turn.
    pub(super) is_searching: bool,
    /// While there is a connection: what is published if it ends badly. Without: what is published later.
    pub(super) will: Option<Box<Will>>,
    pub(super) expiry_timer: Option<Box<TimerKey>>,
    pub(super) will_timer: Option<Box<TimerKey>>,
    /// The first level of its response topics, once it has asked.
    pub(super) response_prefix: Option<Arc<str>>,
    /// If it outlives the broker: what that takes.
    pub(super) keeping: Option<Box<Keeping>>,
    /// Messages that this client should have got and did not, as a queue or its packet size was too small.
    pub(super) dropped: u64,
}

impl Session {
    pub(super) fn new(
        client_id: ClientId,
        policy: PolicyName,
        identity: Identity,
        permissions: Arc<Permissions>,
    ) -> Self {
        Self {
            client_id,
            policy,
            identity,
            grants: None,
            permissions,
            expiry: Expiry::WithConnection,
            attachment: None,
            subscriptions: BTreeSet::new(),
            subscription_bytes: 0,
            inflight: Inflight::default(),
            received: BTreeSet::new(),
            queue: MessageQueue::default(),
            replays: BTreeMap::new(),
            is_searching: false,
            will: None,
            expiry_timer: None,
            will_timer: None,
            response_prefix: None,
            keeping: None,
            dropped: 0,
        }
    }

    /// The bytes that it occupies, without what is counted elsewhere and what can change.
    pub(super) fn bytes(&self) -> usize {
        let identity = match &self.identity {
            Identity::Anonymous => 0,
            Identity::User(name) => name.len(),
        };
        SESSION + self.client_id.as_str().len() + identity
    }

    /// Gives back the memory for replays if there are none: an emptied map keeps some.
    pub(super) fn forget_replays(&mut self) {
        if self.replays.is_empty() {
            self.replays = BTreeMap::new();
        }
    }

    /// Whether something waits that could be sent if there was room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || !self.replays.is_empty() || !self.inflight.is_resent()
    }

    /// Messages that wait or are under way.
    pub(super) fn load(&self) -> usize {
        self.queue.len() + self.inflight.len()
    }
}

/// The delivery of an offer of QoS 0.
pub(super) fn unacknowledged(offer: Offer, message: Arc<Message>) -> Delivery {
    Delivery {
        message,
        packet_id: None,
        qos: QoS::AtMostOnce,
        dup: false,
        retain: offer.retain,
        identifiers: offer.into_identifiers(),
    }
}

/// All sessions, by place and by client identifier.
#[derive(Debug)]
pub(super) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    by_client_id: HashMap<ClientId, SessionKey, FixedState>,
    by_connection: HashMap<ConnectionId, SessionKey, FixedState>,
    /// Those that outlive the broker.
    by_id: HashMap<SessionId, SessionKey, FixedState>,
    bytes: usize,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_client_id: HashMap::with_hasher(FixedState::with_seed(seed)),
            by_connection: HashMap::default(),
            by_id: HashMap::default(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_client_id.len()
    }

    /// The bytes that they and their connections occupy, without what is counted elsewhere.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.by_connection.len() * ATTACHMENT
    }

    pub(super) fn find(&self, client_id: &ClientId) -> Option<SessionKey> {
        self.by_client_id.get(client_id).copied()
    }

    pub(super) fn of_connection(&self, connection: ConnectionId) -> Option<SessionKey> {
        self.by_connection.get(&connection).copied()
    }

    pub(super) fn of_id(&self, id: SessionId) -> Option<SessionKey> {
        self.by_id.get(&id).copied()
    }

    /// How many outlive the broker.
    pub(super) fn kept(&self) -> usize {
        self.by_id.len()
    }

    /// From now on the session outlives the broker.
    pub(super) fn keep(&mut self, key: SessionKey, keeping: Keeping) {
        if let Some(session) = self.get_mut(key) {
            session.keeping = Some(Box::new(keeping));
            self.by_id.insert(keeping.id, key);
        }
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.slots.get(slot(key))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.slots.get_mut(slot(key))?.as_deref_mut()
    }

    #[expect(clippy::expect_used, reason = "four thousand million sessions do not fit into memory")]
    pub(super) fn insert(&mut self, session: Session) -> SessionKey {
        let client_id = session.client_id.clone();
        self.bytes += session.bytes();
        let session = Some(Box::new(session));
        let key = if let Some(index) = self.free.pop() {
            let key = SessionKey(index);
            self.slots[slot(key)] = session;
            key
        } else {
            self.slots.push(session);
            SessionKey(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 sessions"))
        };
        self.by_client_id.insert(client_id, key);
        key
    }

    /// Forgets a session. Its key stays taken until it is [released](Self::release).
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = *self.slots.get_mut(slot(key))?.take()?;
        self.by_client_id.remove(&session.client_id);
        self.bytes -= session.bytes();
        if let Some(attachment) = &session.attachment {
            self.by_connection.remove(&attachment.connection);
        }
        if let Some(keeping) = &session.keeping {
            self.by_id.remove(&keeping.id);
        }
        Some(session)
    }

    /// Nothing knows the key of a session that was removed any more: it may be another's.
    pub(super) fn release(&mut self, key: SessionKey) {
        self.free.push(key.0);
    }

    /// Gives the session this connection.
    pub(super) fn attach(&mut self, key: SessionKey, attachment: Attachment) {
        let connection = attachment.connection;
        if let Some(session) = self.get_mut(key) {
            session.attachment = Some(attachment);
            self.by_connection.insert(connection, key);
        }
    }

    /// Takes its connection from the session.
    pub(super) fn detach(&mut self, key: SessionKey) -> Option<Attachment> {
        let attachment = self.get_mut(key)?.attachment.take()?;
        self.by_connection.remove(&attachment.connection);
        Some(attachment)
    }

    /// There is no session whose key is this number or a larger one.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The keys of all sessions, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        (0_u32..).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(index, _)| SessionKey(index))
    }

    /// Of how many connections the session is known.
    pub(super) fn connections(&self) -> usize {
        self.by_connection.len()
    }
}

fn slot(key: SessionKey) -> usize {
    usize::try_from(key.0).unwrap_or(usize::MAX)
}
