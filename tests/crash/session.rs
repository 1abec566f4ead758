//! A client's side of its session: whether the broker must have it.

use crate::model::Promise;
use crate::support::ConnAck;

/// What the broker must have of a client's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Nothing: the client has never been there.
    Absent,
    /// The client has asked for it, or for its end, and had no answer; or it may have been lost.
    Uncertain,
    /// It has said that it has it.
    Certain,
}

impl Session {
    /// CONNECT leaves.
    pub(crate) fn asked_for(&mut self) {
        if *self == Self::Absent {
            *self = Self::Uncertain;
        }
    }

    /// CONNACK has come. Whether the session was there.
    pub(crate) fn answered(&mut self, name: &str, connack: &ConnAck) -> bool {
        assert!(
            *self != Self::Certain || connack.session_present,
            "the session of {name} is lost: {connack:?}"
        );
        *self = Self::Certain;
        connack.session_present
    }

    /// The broker was killed.
    pub(crate) fn killed(&mut self, promise: Promise) {
        if promise == Promise::Nothing && *self == Self::Certain {
            *self = Self::Uncertain;
        }
    }
}
