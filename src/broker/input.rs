//! What the broker can be told.

use std::fmt;
use std::sync::Arc;

use super::journal::{Durability, Room};
use super::permissions::{Grants, Identity, Policy, PolicyName};
use super::record::{Number, Sequence};
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, ReasonCode};

/// One connection: never used again in the same run, so that a late word about an old one can be told from a word
/// about a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A client has said who it is, truthfully as far as can be known, and wants its session.
    Attach(Box<Attach>),
    /// A client sent these packets, in this order. Topic aliases are resolved.
    Received {
        /// Whose connection.
        connection: ConnectionId,
        /// What it sent.
        packets: Vec<Packet>,
    },
    /// This many bytes, of those handed over for a client, have been written since this was last said.
    Written {
        /// Whose connection.
        connection: ConnectionId,
        /// How many, as counted by [`Output`](super::Output)'s items.
        bytes: usize,
    },
    /// A connection has ended. The last word about it.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// How.
        how: Closure,
    },
    /// From now on these rules decide who may do what, of those who are under the policy of this name. It may be a new
    /// one.
    PolicyChanged {
        /// Which policy.
        name: PolicyName,
        /// The rules.
        policy: Arc<Policy>,
    },
    /// A client has been authenticated again, as the same user.
    Reauthenticated {
        /// Whose connection.
        connection: ConnectionId,
        /// What its token grants now, if it came with one.
        grants: Option<Arc<Grants>>,
    },
    /// The journal is written and synced as far as this.
    Kept {
        /// All records before this one are written.
        written: Sequence,
        /// All records before this one are synced.
        synced: Sequence,
    },
    /// A record that was to be [fetched](super::Output::Fetch) has been read, or cannot be.
    Fetched {
        /// The message that it holds.
        message: Number,
        /// The record's number.
        record: Sequence,
        /// Its kind and body; `None`: it is not there any more, or damaged.
        content: Option<(u8, Vec<u8>)>,
    },
    /// These records, the oldest there are, are to be made unnecessary: what of them is still true is written again.
    Reclaim {
        /// The records in their frames, whole.
        frames: Vec<u8>,
    },
    /// What is around the broker and made by its clients, such as connections and what they have sent in part, occupies
    /// so many bytes now.
    Outside {
        /// How many.
        bytes: usize,
    },
    /// There is room on the disk, or no longer.
    Room(Room),
    /// The broker is going to be stopped: everybody is to be told.
    ShutDown,
    /// Nothing but the time has changed.
    Tick,
}

/// A client that wants its session.
#[derive(Debug)]
pub struct Attach {
    /// Its connection.
    pub connection: ConnectionId,
    /// What it asked for.
    pub connect: Connect,
    /// Who it is, as found by authentication.
    pub identity: Identity,
    /// What its token grants, if it came with one.
    pub grants: Option<Arc<Grants>>,
    /// What has to hold before it is told that something is kept; `None`: what the broker's settings say.
    pub durability: Option<Durability>,
    /// Under which policy it has come.
    pub policy: PolicyName,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closure {
    /// The other side, or the network between, ended it.
    Lost,
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// It sent what must not be sent.
    Misbehaved(ReasonCode),
    /// It did not take what was written to it.
    WriteStalled,
    /// The broker wanted it closed.
    Asked,
    /// A fault of ours ended it.
    Fault,
}
