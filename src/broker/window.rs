//! How much may be on its way to one connection: handed over, and not known to be written.
//!
//! A client that does not read holds what is on its way to it. One may hold the whole window; where many do, what all
//! hold together has a bound too, and then each new delivery needs proof that the client reads: connections whose
//! writing goes on keep their windows, the others get one message at a time.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::session::Attachment;
use super::{Broker, ConnectionId, Output, SessionKey};

/// The window of a connection that has not shown that its client reads, where much is on its way in all. One message
/// may always be under way, however large it is.
pub(super) const SMALL_WINDOW: usize = 2 << 10;

/// What was handed over for all clients and has not been written yet, in bytes.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    of_sessions: usize,
    /// On its way to connections that are nobody's any more and have not ended.
    of_departed: usize,
    departed: HashMap<ConnectionId, usize, FixedState>,
}

impl Outstanding {
    /// All of it.
    pub(super) const fn total(&self) -> usize {
        self.of_sessions + self.of_departed
    }

    /// On its way to connections of sessions.
    pub(super) const fn of_sessions(&self) -> usize {
        self.of_sessions
    }

    pub(super) const fn handed_over(&mut self, bytes: usize) {
        self.of_sessions += bytes;
    }

    /// So many bytes were handed over, and so many of them are not on their way any more.
    pub(super) const fn written(&mut self, bytes: usize) {
        self.of_sessions -= bytes;
    }

    /// A connection to which so much is on its way is no longer its session's.
    pub(super) fn left(&mut self, connection: ConnectionId, bytes: usize) {
        self.of_sessions -= bytes;
        if bytes > 0 {
            self.of_departed += bytes;
            self.departed.insert(connection, bytes);
        }
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, connection: ConnectionId) {
        if !self.departed.is_empty() {
            self.of_departed -= self.departed.remove(&connection).unwrap_or_default();
        }
    }
}

/// The windows that connections have now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    most: usize,
    scarcity: Scarcity,
}

/// How much is on its way in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scarcity {
    /// Less than may be.
    None,
    /// As much as should be: only those whose clients read have their whole windows.
    Some,
    /// Twice as much.
    Great,
}

impl Windows {
    /// How many bytes may be on their way to this connection.
    pub(super) fn of(self, attachment: &Attachment) -> usize {
        match self.scarcity {
            Scarcity::None => self.most,
            Scarcity::Some => attachment.earned_window.min(self.most),
            Scarcity::Great => SMALL_WINDOW.min(self.most),
        }
    }

    /// Whether more may be handed over to this connection.
    pub(super) fn is_open(self, attachment: &Attachment) -> bool {
        attachment.outstanding < self.of(attachment)
    }
}

impl Attachment {
    /// Bytes have been written: its client reads, or did until now. How many of them were on their way.
    pub(super) fn written(&mut self, bytes: usize, most: usize) -> usize {
        let bytes = bytes.min(self.outstanding);
        self.outstanding -= bytes;
        self.earned_window = self.earned_window.saturating_mul(2).clamp(SMALL_WINDOW, most.max(SMALL_WINDOW));
        self.is_asked = false;
        bytes
    }
}

impl Broker {
    pub(super) fn windows(&self) -> Windows {
        let limits = &self.config.limits;
        let total = self.outstanding.total();
        let scarcity = if total < limits.outbound_total {
            Scarcity::None
        } else if total / 2 < limits.outbound_total {
            Scarcity::Some
        } else {
            Scarcity::Great
        };
        Windows { most: limits.outbound_window, scarcity }
    }

    /// Something waits for a connection because its window is smaller than usual: what has been written is to be said
    /// at once, and not when there is more of it.
    pub(super) fn ask_what_is_written(&mut self, key: SessionKey) {
        let windows = self.windows();
        if windows.scarcity == Scarcity::None {
            return;
        }
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        if !windows.is_open(attachment) && !attachment.is_asked {
            attachment.is_asked = true;
            self.outputs.push_back(Output::AskWritten { connection: attachment.connection });
        }
    }
}
