//! The broker's settings: which features it offers, and every bound there is, with its default and its reason.

use std::time::Duration;

use super::journal::DurabilityRules;
use crate::mqtt::QoS;

/// All that can be set about a [`Broker`](super::Broker).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerConfig {
    /// What the broker offers its clients.
    pub features: Features,
    /// How much of anything there may be.
    pub limits: BrokerLimits,
    /// What a client with several matching subscriptions gets.
    pub overlapping: OverlappingSubscriptions,
    /// Which member of a shared subscription gets a message.
    pub shared_strategy: SharedStrategy,
    /// What gives way where a queue is full.
    pub queue_policy: QueuePolicy,
    /// How surely a message is kept before it is acknowledged, where there is a journal.
    pub durability: DurabilityRules,
}

/// What the broker offers its clients; announced in CONNACK where it differs from MQTT's default, enforced for all
/// versions of the protocol. What concerns the connection alone is announced and enforced there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, named as in CONNACK")]
pub struct Features {
    /// Retained messages.
    pub retain: bool,
    /// Shared subscriptions.
    pub shared_subscriptions: bool,
    /// Subscription identifiers.
    pub subscription_identifiers: bool,
    /// Wildcards in subscriptions.
    pub wildcards: bool,
    /// The highest QoS.
    pub maximum_qos: QoS,
    /// The session expiry interval that replaces the clients' own, in seconds.
    pub session_expiry_interval: Option<u32>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            retain: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
            wildcards: true,
            maximum_qos: QoS::ExactlyOnce,
            session_expiry_interval: None,
        }
    }
}

/// Every bound of the broker. Each has a counter that tells how often it was hit, see
/// [`Counters`](super::Counters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Sessions, with and without a connection: what clients can leave behind.
    pub sessions: usize,
    /// Subscriptions of one client.
    pub subscriptions_per_client: usize,
    /// Bytes that the subscriptions of one client occupy, by and large: their filters and what leads to them.
    pub subscription_bytes_per_client: usize,
    /// Levels of a topic name or filter: what a match may cost.
    pub topic_levels: usize,
    /// Bytes of a topic name or filter.
    pub topic_length: usize,
    /// Messages that wait for one session.
    pub queued_messages: usize,
    /// Bytes of the messages that wait for one session, and again of those under way to it.
    pub queued_bytes: usize,
    /// Bytes of the messages that wait for all sessions or are under way to them, each counted as often as it waits.
    pub queued_bytes_total: usize,
    /// Bytes of the wills of all clients: sessions keep them while they last.
    pub will_bytes_total: usize,
    /// QoS 1 and 2 messages under way to one client, if its Receive Maximum does not say less.
    pub inflight_messages: u16,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of the retained messages.
    pub retained_bytes: usize,
    /// Bytes handed to one connection and not yet written: what a slow client can hold outside its queue.
    pub outbound_window: usize,
    /// Bytes handed to all connections and not yet written, beyond which only connections whose clients read have their
    /// whole window.
    pub outbound_total: usize,
    /// The longest that a session outlives its connection; `None`: as long as the client wants.
    pub session_expiry_cap: Option<Duration>,
    /// Bytes of a message that is kept, where there is a journal: the disk has to have room for it.
    pub kept_message_bytes: usize,
    /// Bytes that all that clients make grow may occupy, as far as it is [accounted for](super::Memory); near to that
    /// things give way, in an order that `pressure` has. `usize::MAX`: there is no bound.
    pub memory: usize,
    /// Bytes of the messages that are in memory although the journal holds them.
    pub cached_bytes: usize,
    /// QoS 2 packet identifiers of one client that wait for their PUBREL, where no Receive Maximum says less.
    pub inbound_qos2: usize,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            sessions: 1_000_000,
            subscriptions_per_client: 100_000,
            subscription_bytes_per_client: 32 << 20,
            topic_levels: 128,
            topic_length: 65_535,
            queued_messages: 100_000,
            queued_bytes: 64 << 20,
            queued_bytes_total: 1 << 30,
            will_bytes_total: 256 << 20,
            inflight_messages: 4_096,
            retained_messages: 2_000_000,
            retained_bytes: 1 << 30,
            outbound_window: 256 << 10,
            outbound_total: 256 << 20,
            session_expiry_cap: None,
            kept_message_bytes: usize::MAX,
            memory: usize::MAX,
            cached_bytes: 64 << 20,
            inbound_qos2: 65_535,
        }
    }
}

/// What a client with several matching subscriptions gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlappingSubscriptions {
    /// One copy of the message, at the highest QoS granted, with all identifiers.
    #[default]
    Once,
    /// One copy for each of its subscriptions.
    Each,
}

/// Which member of a shared subscription gets a message, among those that are connected and have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Who has the fewest messages under way and waiting.
    LeastInflight,
    /// The same as long as it can take messages.
    Sticky,
    /// By the topic: the same topic goes to the same member.
    HashTopic,
    /// By the publisher: its messages go to the same member.
    HashClient,
    /// Anyone.
    Random,
}

/// What gives way where a session's queue is full and no QoS 0 message can give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueuePolicy {
    /// The message that has waited longest.
    #[default]
    DropOldest,
    /// The message that has just come.
    DropNewest,
    /// The connection of the client, and the message that has just come.
    Disconnect,
}
