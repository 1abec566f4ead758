//! A connection ends, and perhaps its session with it (MQTT 5.0 sections 3.14 and 4.1).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::journal::live;
use super::journal::orphans::Departed;
use super::session::Expiry;
use super::subscriptions::SubscriptionKey;
use super::timers::Timer;
use super::{Broker, Closure, ConnectionId, Consequence, Output, SessionKey, ToClient, count};
use crate::clock::Instant;
use crate::mqtt::packet::Disconnect;
use crate::mqtt::{QoS, ReasonCode};

/// What becomes of the will of a connection that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WillFate {
    /// It is published: now, after its delay, or with the end of the session.
    Publish,
    /// It is published now, unless it has a delay: the session goes on at once.
    PublishUnlessDelayed,
    /// It is forgotten.
    Discard,
}

/// Subscriptions that an ended session at this place still has.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) key: SessionKey,
    pub(super) subscriptions: BTreeSet<SubscriptionKey>,
    /// What they occupy, by and large.
    pub(super) bytes: usize,
}

/// Subscriptions of ended sessions that are ended at a time.
const LEFT_AT_A_TIME: usize = 500;

impl Broker {
    /// The connection is gone, and all it brought is handled.
    pub(super) fn connection_ended(&mut self, connection: ConnectionId, how: Closure, now: Instant) {
        // A connection that was taken over, or that we closed, is nobody's any more.
        if let Some(key) = self.sessions.of_connection(connection) {
            tracing::debug!(%connection, ?how, "connection closed");
            // [MQTT-3.1.2-8]
            self.detach(key, WillFate::Publish, now);
        }
        self.outstanding.ended(connection);
    }

    /// The client has said goodbye.
    pub(super) fn disconnected(
        &mut self,
        key: SessionKey,
        packet: &Disconnect,
        now: Instant,
    ) -> ControlFlow<()> {
        let Some(session) = self.sessions.get_mut(key) else {
            return ControlFlow::Break(());
        };
        if let Some(seconds) = packet.session_expiry_interval {
            if session.expiry == Expiry::WithConnection && seconds > 0 {
                // [MQTT-3.14.2-2] and section 3.14.2.2.2: what was to end with the connection cannot be kept.
                return self.refuse(key, ReasonCode::ProtocolError, "session expiry was 0 in CONNECT", now);
            }
            let cap = self
                .config
                .limits
                .session_expiry_cap
                .map_or_else(|| u64::from(u32::MAX), |cap| cap.as_secs());
            let seconds = u32::try_from(u64::from(seconds).min(cap)).unwrap_or(u32::MAX);
            session.expiry = Expiry::from_seconds(seconds);
        }
        // [MQTT-3.14.4-3]: only the normal goodbye takes the will with it.
        let fate = if packet.reason == ReasonCode::Success { WillFate::Discard } else { WillFate::Publish };
        self.send(key, ToClient::Close { reason: None, detail: "the client disconnected" });
        self.detach(key, fate, now);
        ControlFlow::Break(())
    }

    /// Closes the connection of a session, which then goes on without.
    pub(super) fn close(&mut self, key: SessionKey, reason: ReasonCode, detail: &'static str, now: Instant) {
        self.close_with(key, reason, detail, WillFate::Publish, now);
    }

    pub(super) fn close_with(
        &mut self,
        key: SessionKey,
        reason: ReasonCode,
        detail: &'static str,
        fate: WillFate,
        now: Instant,
    ) {
        self.send(key, ToClient::Close { reason: Some(reason), detail });
        self.detach(key, fate, now);
    }

    /// Closes a connection whose client has not been told that it has its session, and its will is forgotten.
    pub(super) fn close_unanswered(
        &mut self,
        key: SessionKey,
        reason: ReasonCode,
        detail: &'static str,
        now: Instant,
    ) {
        self.close_with(key, reason, detail, WillFate::Discard, now);
    }

    /// Takes its connection from a session. What is in its outbox is still handed over.
    pub(super) fn detach(&mut self, key: SessionKey, fate: WillFate, now: Instant) {
        let Some(attachment) = self.sessions.detach(key) else {
            return;
        };
        self.counters.clients_detached += 1;
        self.outstanding.left(attachment.connection, attachment.outstanding);
        self.journal.let_go(attachment.held.as_deref());
        if !attachment.outbox.is_empty() {
            let (connection, items) = (attachment.connection, attachment.outbox);
            self.outputs.push_back(Output::ToClient { connection, items });
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        self.kept_attached -= usize::from(session.keeping.is_some());
        if let (Some(keeping), Some(held)) = (session.keeping.as_mut(), &attachment.held) {
            keeping.owed = keeping.owed.max(held.owes());
        }
        let gone = session.queue.take_qos0();
        self.counters.dropped_connection_lost += count(gone.len());
        for gone in &gone {
            self.waiting.remove(gone);
        }
        self.pressure.loads.note_if_watching(key, session.queue.loads());
        let expiry = session.expiry;
        let delay = session.will.as_ref().map(|will| will.delay_interval);
        match (fate, delay) {
            (WillFate::Discard, _) => self.set_will(key, None), // [MQTT-3.1.2-10]
            (_, None) => {}
            (WillFate::PublishUnlessDelayed | WillFate::Publish, Some(0)) => self.will_is_due(key),
            (WillFate::PublishUnlessDelayed, Some(_)) => {
                // [MQTT-3.1.3-9], but a session that ends with its connection ends here (section 3.1.4).
                if expiry != Expiry::WithConnection {
                    self.set_will(key, None);
                }
            }
            (WillFate::Publish, Some(delay)) => {
                // The end of the session publishes it if that comes first.
                let at = now + std::time::Duration::from_secs(u64::from(delay));
                session.will_timer = Some(self.timers.set(at, Timer::WillDelay(key)));
            }
        }
        match expiry {
            // [MQTT-3.1.2-23]
            Expiry::WithConnection => self.end_session(key, now),
            Expiry::After(_) => {
                let after = expiry.after().unwrap_or_default();
                let timer = self.timers.set(now + after, Timer::SessionExpiry(key));
                if let Some(session) = self.sessions.get_mut(key) {
                    session.expiry_timer = Some(timer);
                }
            }
            Expiry::Never => {}
        }
        self.consequences.push_back(Consequence::WriteSession(key));
    }

    /// Forgets a session that has no connection.
    pub(super) fn end_session(&mut self, key: SessionKey, now: Instant) {
        if self.sessions.get(key).is_none_or(|session| session.attachment.is_some()) {
            return;
        }
        self.will_is_due(key);
        let Some(mut session) = self.sessions.remove(key) else {
            return;
        };
        self.counters.sessions_ended += 1;
        self.queue_changed(key);
        self.timers.cancel(session.expiry_timer.take());
        self.timers.cancel(session.will_timer.take());
        // Its place is free for another session when no subscription points there any more.
        if let Some(keeping) = &session.keeping {
            let subscriptions = live::subscriptions(session.subscriptions.len(), session.subscription_bytes);
            self.kept_subscription_bytes -= subscriptions;
            self.kept_exchanges -= session.kept_exchanges();
            self.journal.session_bytes -= u64::from(keeping.bytes);
        }
        self.replay_bytes -= session.replays.values().map(live::replay).sum::<u64>();
        let subscriptions = std::mem::take(&mut session.subscriptions);
        self.leaving.push_back(Leaving { key, subscriptions, bytes: session.subscription_bytes });
        if self.leaving.len() == 1 {
            self.take_leave();
        }
        self.received_ids -= session.received.len();
        if let Some(level) = &session.response_prefix {
            self.response_topics.forget(level);
        }
        let from = Departed { client_id: session.client_id, id: session.keeping.map(|keeping| keeping.id) };
        // Section 4.8.2: what a member of a shared subscription has not received goes to another one.
        for mut offer in session.inflight.into_published() {
            self.waiting.remove(&offer);
            if offer.qos == QoS::ExactlyOnce {
                offer = offer.of_group(None); // It may have been received [MQTT-4.8.2-5].
            }
            self.hand_on(&from, &offer, now);
        }
        for offer in session.queue.into_acknowledged() {
            self.waiting.remove(&offer);
            self.hand_on(&from, &offer, now);
        }
        if from.id.is_some() {
            self.consequences.push_back(Consequence::WriteEnd(from));
        }
    }

    /// Goes on ending the subscriptions of sessions that have ended.
    pub(super) fn take_leave(&mut self) {
        for _ in 0..LEFT_AT_A_TIME {
            let Some(first) = self.leaving.front_mut() else { return };
            let key = first.key;
            if let Some(subscription) = first.subscriptions.pop_first() {
                self.subscriptions.unsubscribe(subscription, key);
            }
            if first.subscriptions.is_empty() {
                self.subscription_bytes -= first.bytes;
                self.leaving.pop_front();
                self.sessions.release(key);
            }
        }
    }
}
