//! What is written to disk: what has changed in the state that outlives the broker, one record for each change.
//!
//! The log of all records, read in order, gives the state again. A record is never changed. The oldest are given to
//! the broker again ([`Input::Reclaim`](super::Input)), which appends anew what of them still holds, so that they can
//! go: oldest first, so that a word about the end of something may go with its segment.
//!
//! A record that is [`Published`] is about all that one PUBLISH did, so that none of it survives without the rest.
//! `frame` has the bytes around a record, `wire` those of its parts, `encode` and `decode` those of each kind.

mod decode;
mod encode;
pub mod frame;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::Gist;
pub use frame::{Batch, Frame, Horizon, Sequence};
pub use wire::Malformed;

use super::permissions::{Grants, Identity};
use crate::clock::WallTime;
use crate::mqtt::packet::{SubscriptionOptions, Will};
use crate::mqtt::{ClientId, Message, PacketId, QoS, SubscriptionIdentifier};

/// The number of a session, never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The number of a message, and of each of its places in a queue: the later, the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message was published, by a client or as a will.
    Published(Published<'a>),
    /// A session was made, or something about it has changed.
    Session(Box<SessionRecord>),
    /// A session has ended, and with it all that it had.
    Ended {
        /// Which.
        session: SessionId,
    },
    /// A session has subscribed, or changed the options of a subscription.
    Subscribed {
        /// Which session.
        session: SessionId,
        /// The filter, with `$share/name/` before it where there is one.
        filter: &'a str,
        /// The options, with the QoS granted.
        options: SubscriptionOptions,
        /// The subscription identifier.
        identifier: Option<SubscriptionIdentifier>,
    },
    /// A session has unsubscribed.
    Unsubscribed {
        /// Which session.
        session: SessionId,
        /// The filter, as in [`Subscribed`](Self::Subscribed).
        filter: &'a str,
    },
    /// A message of QoS 2 came from a session's client and led to nothing that is kept, but that it came.
    Received {
        /// Which session.
        session: SessionId,
        /// Under which packet identifier.
        packet_id: PacketId,
    },
    /// A session's client has sent PUBREL: the packet identifier is free.
    Released {
        /// Which session.
        session: SessionId,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// A message was put into a queue after it was published: a retained message for a new subscription, or one of a
    /// shared subscription whose member has ended.
    Queued {
        /// The message.
        message: Number,
        /// The place in a queue that it had before, and has no longer.
        from: Option<(SessionId, Number)>,
        /// The place in a queue that it has now.
        target: Target,
    },
    /// A message was sent to a session's client.
    Sent {
        /// Which session.
        session: SessionId,
        /// Its place in the queue.
        number: Number,
        /// Under which packet identifier.
        packet_id: PacketId,
    },
    /// PUBREC came: of the message only the packet identifier is still to be released.
    Completing {
        /// Which session.
        session: SessionId,
        /// Its place in the queue.
        number: Number,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// Messages have been acknowledged, or dropped: they are no longer in the queue.
    Settled {
        /// Which session.
        session: SessionId,
        /// Their places in the queue.
        numbers: Vec<Number>,
    },
    /// All packet identifiers that are in use in exchanges of QoS 2 whose message is not queued: in place of all
    /// that was said about them before.
    Exchanges {
        /// Which session.
        session: SessionId,
        /// Those of its client that wait for PUBREL.
        received: Vec<PacketId>,
        /// Ours that wait for PUBCOMP.
        completing: Vec<(Number, PacketId)>,
    },
    /// There is no retained message of this topic any more.
    Cleared {
        /// The topic.
        topic: &'a str,
    },
    /// Retained messages are on their way to a subscription, or have all been sent.
    Replay {
        /// The session that has the subscription.
        session: SessionId,
        /// Its filter.
        filter: &'a str,
        /// Its options when they began to be sent: it may have others by now.
        options: SubscriptionOptions,
        /// Its subscription identifier then.
        identifier: Option<SubscriptionIdentifier>,
        /// How far they are.
        progress: Progress<'a>,
        /// The one that has come last: the message, and the place in the queue that it has now. So it is known of each
        /// that it was sent if and only if it is known what has become of it.
        queued: Option<(Number, Target)>,
    },
    /// The broker was running.
    Alive {
        /// When.
        at: WallTime,
    },
}

impl Record<'_> {
    /// Whether it says that something is there no more that others may ask for, so that nothing is left to tell of it.
    pub fn says_gone(&self) -> bool {
        match self {
            Self::Cleared { .. } | Self::Ended { .. } => true,
            Self::Session(session) => session.has_ended(),
            Self::Published(_)
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Received { .. }
            | Self::Released { .. }
            | Self::Queued { .. }
            | Self::Sent { .. }
            | Self::Completing { .. }
            | Self::Settled { .. }
            | Self::Exchanges { .. }
            | Self::Replay { .. }
            | Self::Alive { .. } => false,
        }
    }
}

/// How far a subscription's retained messages are, in the order of [`RetainedStore`](super::retained::RetainedStore):
/// by level, and in each by bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Those are still to be sent whose topics stand where this text would, or behind that.
    At(&'a str),
    /// Those are still to be sent whose topics stand behind this one.
    Behind(&'a str),
    /// None is still to be sent.
    Done,
}

/// All that one published message did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published<'a> {
    /// The message's number.
    pub number: Number,
    /// The session of the client from which it came as QoS 2, and its packet identifier, which waits for PUBREL.
    pub received: Option<(SessionId, PacketId)>,
    /// The session whose will it was, which now has none.
    pub will_of: Option<SessionId>,
    /// Whether it is retained now.
    pub retained: bool,
    /// The retain flag with which it was published.
    pub retain: bool,
    /// The QoS with which it was published.
    pub qos: QoS,
    /// When it is not worth delivering any more.
    pub expires_at: Option<WallTime>,
    /// What it counts against bounds on bytes.
    pub footprint: u32,
    /// The client identifier of who published it; of use if it is retained, and else mostly empty.
    pub publisher: &'a str,
    /// The queues that it is in.
    pub targets: Vec<Target>,
    /// Topic, payload and properties.
    pub publication: PublicationOf<'a>,
}

/// What was published, to be written or as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicationOf<'a> {
    /// That of a message.
    Message(&'a Message),
    /// As [`Publication`](crate::mqtt::codec::Publication) writes it.
    Bytes(&'a [u8]),
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The session whose queue it is.
    pub session: SessionId,
    /// The place: larger than all before it in this queue.
    pub number: Number,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// The retain flag of the delivery.
    pub retain: bool,
    /// The packet identifier under which it was sent, if it was.
    pub sent: Option<PacketId>,
    /// The identifiers of the subscriptions that it matched.
    pub identifiers: Option<Box<[SubscriptionIdentifier]>>,
    /// The shared subscription through which the session got it, as `$share/name/filter`.
    pub shared: Option<Box<str>>,
}

/// A session, without its subscriptions and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its number.
    pub id: SessionId,
    /// The name under which it is kept.
    pub client_id: String,
    /// The name of the policy under which it is.
    pub policy: String,
    /// Whose it is, under that policy.
    pub identity: Identity,
    /// What the token grants with which the client came last.
    pub grants: Option<Grants>,
    /// The session expiry interval, in seconds; `u32::MAX`: it never ends.
    pub expiry: u32,
    /// When its connection ended; `None`: it has one, or ends with it.
    pub disconnected_at: Option<WallTime>,
    /// The first level of its response topics.
    pub response_prefix: Option<String>,
    /// What is published when its connection ends badly, or later.
    pub will: Option<Will>,
    /// When the will is to be published, if its connection has ended.
    pub will_at: Option<WallTime>,
}

impl SessionRecord {
    /// The last word about a session that has ended, while there are messages of it that others are to have.
    pub fn last(session: SessionId, client_id: &ClientId, at: WallTime) -> Self {
        Self {
            id: session,
            client_id: client_id.as_str().to_owned(),
            policy: String::new(),
            identity: Identity::Anonymous,
            grants: None,
            expiry: 0,
            disconnected_at: Some(at),
            response_prefix: None,
            will: None,
            will_at: None,
        }
    }

    /// Whether the session has ended: it was to end with its connection, and has none.
    pub const fn has_ended(&self) -> bool {
        self.expiry == 0 && self.disconnected_at.is_some()
    }
}
