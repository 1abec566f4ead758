//! What is written down while there is little room for it, or none.
//!
//! What has to be kept and was not there before is refused then. What is left is small, and bounded: acknowledgements
//! and ends by what they are about, sessions whose clients come and go by an [`Allowance`]. A session that never expires
//! and has no will can be resumed without a word about it: nothing would follow from the word.

use std::time::Duration;

use super::Room;
use crate::broker::session::{Expiry, Keeping};
use crate::broker::will::footprint;
use crate::broker::{Broker, SessionKey};
use crate::clock::Instant;
use crate::mqtt::packet::Connect;
use crate::mqtt::{Message, QoS, ReasonCode};

/// Why something is not taken.
pub(in crate::broker) type Shortage = (ReasonCode, &'static str);

/// What may be written about sessions whose clients come and go, in bytes. Half a segment, where the disk is bounded:
/// the reserve has two.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: usize,
    /// When it was looked at last.
    at: Instant,
}

/// After so long all of the allowance is there again. What has been written about a session is dead when something is
/// written about it again: it is removed meanwhile.
const RENEWAL: Duration = Duration::from_secs(60);

/// The most that there is of it.
const MOST_ALLOWED: usize = 16 << 20;

/// The bytes of an empty retained message that may be more than what it clears.
const SMALL: usize = 4_096;

impl Allowance {
    /// Takes so many bytes of `most`, if they are there.
    fn take(&mut self, bytes: usize, most: usize, now: Instant) -> bool {
        let passed = now.saturating_since(self.at).as_millis().min(RENEWAL.as_millis());
        let most_renewed = u128::try_from(most).unwrap_or(u128::MAX);
        let renewed = most_renewed.saturating_mul(passed) / RENEWAL.as_millis();
        if renewed > 0 {
            self.at = now;
            self.used = self.used.saturating_sub(usize::try_from(renewed).unwrap_or(usize::MAX));
        }
        let used = self.used.saturating_add(bytes);
        if used <= most {
            self.used = used;
        }
        used <= most
    }
}

impl Room {
    /// Whether what is taken on can be written at all.
    pub(crate) const fn is_there(self) -> bool {
        match self {
            Self::Enough | Self::Low => true,
            Self::Full | Self::Failing => false,
        }
    }
}

impl Broker {
    /// The disk has room now, or has none.
    pub(in crate::broker) fn room_changed(&mut self, room: Room, now: Instant) {
        self.journal.room = room;
        if room == Room::Enough {
            self.resume_replays();
        }
        if room.is_there() {
            return;
        }
        for key in self.journal.holding.clone() {
            self.turn_away_unanswered(key, now);
        }
    }

    /// Says that there is no room to a client whose CONNACK would have to wait until there is.
    pub(in crate::broker) fn turn_away_unanswered(&mut self, key: SessionKey, now: Instant) {
        let attachment = self.sessions.get(key).and_then(|session| session.attachment.as_ref());
        let held = attachment.and_then(|attachment| attachment.held.as_deref());
        if self.journal.room.is_there() || !held.is_some_and(super::hold::Held::is_unanswered) {
            return;
        }
        if let Some((reason, detail)) = self.has_no_room() {
            self.close_unanswered(key, reason, detail, now);
        }
    }

    /// Why nothing that has to be kept is taken now; `None`: it is.
    pub(in crate::broker) fn has_no_room(&mut self) -> Option<Shortage> {
        match self.journal.room {
            Room::Enough => None,
            Room::Low | Room::Full => {
                self.counters.refused_disk_full += 1;
                Some((ReasonCode::QuotaExceeded, "the disk is full"))
            }
            Room::Failing => {
                self.counters.refused_disk_failing += 1;
                Some((ReasonCode::ImplementationSpecificError, "the disk is failing"))
            }
        }
    }

    /// Why a message that has to be kept is not taken; `None`: it is.
    pub(in crate::broker) fn has_no_room_for(&mut self, message: &Message) -> Option<Shortage> {
        if self.journal.is_open() && message.footprint() > self.config.limits.kept_message_bytes {
            self.counters.refused_kept_size += 1;
            return Some((ReasonCode::QuotaExceeded, "the message is too large to be kept on this disk"));
        }
        self.has_no_room()
    }

    /// Whether a message of QoS 1 or 2 would be written down: a session that is kept would have it, or it is retained.
    pub(in crate::broker) fn would_be_kept(&mut self, message: &Message) -> bool {
        if message.qos == QoS::AtMostOnce {
            return false;
        }
        if message.retain {
            let clears = self.retained.find(message.topic.as_str()).map(|old| old.message.footprint());
            match clears.filter(|_| message.payload.is_empty()) {
                // It takes less than it gives back.
                Some(bytes) if message.footprint() <= bytes.max(SMALL) && self.journal.room.is_there() => {
                    return false;
                }
                None if message.payload.is_empty() => {}
                Some(_) | None => return true,
            }
        }
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions.matching(message.topic.as_str(), &mut matches.plain, &mut matches.groups);
        let is_kept =
            |key: SessionKey| self.sessions.get(key).is_some_and(|session| session.keeping.is_some());
        let plain = matches
            .plain
            .iter()
            .any(|subscription| subscription.options.qos > QoS::AtMostOnce && is_kept(subscription.session));
        let shared = matches.groups.iter().any(|group| {
            let members = self.subscriptions.group_mut(*group).map(|group| &group.members);
            members.is_some_and(|members| members.iter().any(|member| is_kept(member.session)))
        });
        matches.plain.clear();
        matches.groups.clear();
        self.matches = matches;
        plain || shared
    }

    /// Whether a client may have this session, which is there, as far as that has to be written down.
    pub(in crate::broker) fn has_room_for_return(
        &mut self,
        key: SessionKey,
        connect: &Connect,
        now: Instant,
    ) -> Result<(), Shortage> {
        if self.journal.room == Room::Enough || self.returns_unwritten(key, connect) {
            return Ok(());
        }
        let keeping = self.sessions.get(key).and_then(|session| session.keeping.as_deref());
        let bytes = keeping.map(|keeping| usize::try_from(keeping.bytes).unwrap_or(usize::MAX));
        let will_be_kept = self.session_expiry(connect) > 0;
        let fits = match bytes {
            None => !will_be_kept,
            Some(_) if !self.journal.room.is_there() => false,
            Some(_) if connect.clean_start => !will_be_kept,
            // When it comes, and when it goes.
            Some(bytes) => {
                let will = connect.will.as_deref().map_or(0, footprint);
                self.allow(bytes.saturating_add(will).saturating_mul(2), now)
            }
        };
        if fits {
            return Ok(());
        }
        self.has_no_room().map_or(Ok(()), Err)
    }

    /// Whether so many bytes may be written about a session.
    pub(in crate::broker) fn allow(&mut self, bytes: usize, now: Instant) -> bool {
        let most = (self.config.limits.kept_message_bytes / 4).min(MOST_ALLOWED);
        self.journal.allowance.take(bytes, most, now)
    }

    /// Whether nothing has to be written down if the session is resumed like this: it never expires, has no will, and
    /// gets none.
    pub(in crate::broker) fn returns_unwritten(&self, key: SessionKey, connect: &Connect) -> bool {
        let asks = connect.properties.request_response_information;
        let session = self.sessions.get(key);
        self.is_plain(key)
            && !connect.clean_start
            && connect.will.is_none()
            && Expiry::from_seconds(self.session_expiry(connect)) == Expiry::Never
            && session.is_some_and(|session| !asks || session.response_prefix.is_some())
    }

    /// Writes down that the connection of this session has ended, and what followed from that.
    pub(in crate::broker) fn write_gone(&mut self, key: SessionKey, now: Instant) {
        if !self.leaves_unwritten(key) {
            return self.write_session(key, now);
        }
        if !self.is_plain(key) {
            // From here on its expiry is counted, and the delay of its will, should the broker end before it is written.
            self.journal.say_alive(now);
        }
    }

    /// Whether it need not be written down that the connection of this session has ended: of one of which it is written
    /// that it has a connection, the same will and the same expiry, a broker that comes back takes it that the
    /// connection ended with the last one. All that follows is that session and will may last longer.
    fn leaves_unwritten(&self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let Some(Keeping { said, .. }) = session.keeping.as_deref() else { return false };
        self.journal.room != Room::Enough
            && said.expiry == session.expiry.to_seconds()
            && said.has_will == session.will.is_some()
            && (said.is_connected || self.is_plain(key))
    }

    /// Whether the session never expires and has no will, and was written down so.
    fn is_plain(&self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let never = Expiry::Never.to_seconds();
        let was_plain = session
            .keeping
            .as_ref()
            .is_some_and(|keeping| keeping.said.expiry == never && !keeping.said.has_will);
        was_plain && session.expiry == Expiry::Never && session.will.is_none()
    }
}
