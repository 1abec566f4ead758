//! What a client wants published when it goes without a goodbye (MQTT 5.0 section 3.1.2.5).

use std::sync::Arc;
use std::time::Duration;

use super::journal::Room;
use super::journal::keep::Source;
use super::permissions::Permissions;
use super::record::SessionId;
use super::{Broker, Consequence, SessionKey};
use crate::clock::Instant;
use crate::mqtt::message::properties_footprint;
use crate::mqtt::packet::Will;
use crate::mqtt::{ClientId, Message, Places, QoS};

/// A will whose time has come. Its session may be gone.
#[derive(Debug)]
pub(super) struct DueWill {
    will: Will,
    client_id: ClientId,
    permissions: Arc<Permissions>,
    session: SessionKey,
    kept: Option<SessionId>,
}

impl Broker {
    /// Takes the will from a session, if there is one, and has it published: so it is published once.
    pub(super) fn will_is_due(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        self.timers.cancel(session.will_timer.take());
        let Some(will) = session.will.take() else { return };
        self.will_bytes -= footprint(&will);
        let due = DueWill {
            will: *will,
            client_id: session.client_id.clone(),
            permissions: Arc::clone(&session.permissions),
            session: key,
            kept: session.keeping.as_ref().map(|keeping| keeping.id),
        };
        self.consequences.push_back(Consequence::PublishWill(Box::new(due)));
    }

    /// Gives a session a will in place of the one it has, or none.
    pub(super) fn set_will(&mut self, key: SessionKey, will: Option<Box<Will>>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let before = session.will.as_deref().map_or(0, footprint);
        self.will_bytes = self.will_bytes - before + will.as_deref().map_or(0, footprint);
        session.will = will;
    }

    pub(super) fn publish_will(&mut self, due: DueWill, now: Instant) {
        let DueWill { will, client_id, permissions, session, kept } = due;
        if !self.may_publish(&permissions, &will.topic) {
            self.counters.wills_denied += 1;
            tracing::debug!(%client_id, topic = %will.topic, "the will may not be published");
            return self.write_without_will(kept, now);
        }
        self.counters.wills_published += 1;
        let lives = will.properties.message_expiry_interval;
        let mut message = Message {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: lives.map(|seconds| now + Duration::from_secs(u64::from(seconds))),
            properties: (!will.properties.is_empty()).then(|| Box::new(will.properties)),
            places: Places::default(),
        };
        let is_large = message.footprint() > self.config.limits.kept_message_bytes;
        // That of a session that is kept is on the disk already, and needs no more there when it is published.
        let is_new = kept.is_none() && self.journal.room != Room::Enough;
        if (is_large || is_new) && self.would_be_kept(&message) && self.has_no_room_for(&message).is_some() {
            // Nobody can be told that it is not kept. Who is there gets it.
            message.qos = QoS::AtMostOnce;
        }
        let message = Arc::new(message);
        if message.retain {
            // [MQTT-3.1.2-15]
            let _ = self.retain(&message, &client_id);
        }
        let publisher = self.sessions.find(&client_id).filter(|key| *key == session);
        self.route(&message, publisher, &client_id, now);
        self.finish_routing(&message, &client_id, Source::Will(kept));
        self.write_without_will(kept, now);
    }

    /// Writes down that a session has no will any more, if it is still there.
    fn write_without_will(&mut self, kept: Option<SessionId>, now: Instant) {
        if let Some(key) = kept.and_then(|id| self.sessions.of_id(id)) {
            self.write_session(key, now);
        }
    }
}

/// The bytes that a will occupies, by and large.
pub(super) fn footprint(will: &Will) -> usize {
    const FIXED: usize = 160;
    FIXED + will.topic.as_str().len() + will.payload.len() + properties_footprint(&will.properties)
}
