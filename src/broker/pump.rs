//! What waits for a client leaves as the client makes room: first what is to be sent again, then what is queued, then
//! retained messages.

use std::sync::Arc;

use super::deliver::{fits, has_quota, may_receive};
use super::journal::keep::Novelty;
use super::session::Session;
use super::session::inflight::{Acknowledged, Resend};
use super::session::queue::{Content, Leaving, Offer};
use super::{Broker, ConnectionId, SessionKey};
use crate::clock::Instant;
use crate::mqtt::packet::AcknowledgementKind;
use crate::mqtt::{Message, PacketId, QoS, ReasonCode};

/// Messages that are read from the journal at a time for one session.
const READ_AHEAD: usize = 32;

impl Broker {
    /// Bytes have been written to a client: there may be room for more.
    pub(super) fn written(&mut self, connection: ConnectionId, bytes: usize, now: Instant) {
        let Some(key) = self.sessions.of_connection(connection) else {
            return;
        };
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        self.outstanding.written(attachment.written(bytes, self.config.limits.outbound_window));
        self.pump(key, now);
    }

    /// Hands over what a session's connection has room for: first what is to be sent again, then what waits, then
    /// retained messages.
    pub(super) fn pump(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        if session.attachment.is_none() {
            return;
        }
        if !session.inflight.is_resent() {
            self.send_again(key);
        }
        self.drain_queue(key, now);
        if self.sessions.get(key).is_some_and(|session| !session.replays.is_empty()) {
            self.replay_retained(key, now);
        }
        self.queue_changed(key);
        if self.sessions.get(key).is_some_and(Session::is_waiting) {
            self.ask_what_is_written(key);
        }
    }

    fn send_again(&mut self, key: SessionKey) {
        loop {
            let windows = self.windows();
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            let room = windows.is_open(attachment) && session.inflight.active() < attachment.receive_maximum;
            let (id, qos, message) = match session.inflight.resend(room) {
                Some(Resend::Publish(id, offer)) => match offer.message(&self.messages) {
                    Some(message) => (id, offer.qos, Arc::clone(message)),
                    None => return self.fetch(key),
                },
                Some(Resend::Release(packet_id)) => {
                    session.inflight.sent_again(None);
                    self.release(key, packet_id);
                    continue;
                }
                None => return,
            };
            let Some(delivery) = session.inflight.sent_again(Some(&message)) else { return };
            let denied = !may_receive(session, key, &self.response_topics, &message);
            let Some(attachment) = session.attachment.as_ref() else { return };
            let identifiers = delivery.identifiers.as_deref().unwrap_or_default();
            if !denied && fits(attachment, &message, qos, identifiers) {
                self.deliver(key, delivery, None);
                continue;
            }
            // The rules are others, or the client takes smaller packets, than when it was sent first.
            if denied {
                self.counters.deliveries_denied += 1;
            } else {
                self.counters.dropped_packet_too_large += 1;
                session.dropped += 1;
            }
            if qos == QoS::ExactlyOnce {
                // It may have been received: before its identifier can stand for another message, the client has to
                // forget it.
                self.complete(key, id);
            } else if let Some(offer) = session.inflight.forget(id) {
                self.waiting.remove(&offer);
                self.settle_place(key, &offer);
            }
        }
    }

    fn release(&mut self, key: SessionKey, packet_id: PacketId) {
        self.acknowledge(key, AcknowledgementKind::PubRel, packet_id, ReasonCode::Success);
    }

    /// Of a message of QoS 2 only the packet identifier is to be released now.
    fn complete(&mut self, key: SessionKey, packet_id: PacketId) {
        if let Some(session) = self.sessions.get_mut(key)
            && let Acknowledged::Release(Some(offer)) = session.inflight.pubrec(packet_id, true)
        {
            self.waiting.remove(&offer);
            self.complete_place(key, &offer, packet_id);
        }
        self.release(key, packet_id);
    }

    fn drain_queue(&mut self, key: SessionKey, now: Instant) {
        loop {
            let windows = self.windows();
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            if session.queue.is_empty() || !windows.is_open(attachment) {
                return;
            }
            let mut leaving =
                if has_quota(session, attachment, windows) { Leaving::Any } else { Leaving::OnlyQoS0 };
            let Some(mut front) = session.queue.front(leaving) else { return };
            let has_expired = |offer: &Offer| offer.expires_at(&self.messages).is_some_and(|at| at <= now);
            if front.message(&self.messages).is_none() && !has_expired(front) {
                // It has to be read. What is of QoS 0 need not wait for that.
                leaving = Leaving::OnlyQoS0;
                let Some(other) = session.queue.front(leaving) else { return self.fetch(key) };
                front = other;
            }
            let message = front.message(&self.messages).filter(|_| !has_expired(front)).cloned();
            let Some(offer) = session.queue.pop(leaving) else { return };
            self.waiting.remove(&offer);
            if let Some(message) = message {
                self.check_and_hand_over(key, offer, message, Novelty::Waited);
            } else {
                // [MQTT-3.3.2-5]
                self.counters.expired_messages += 1;
                self.settle_place(key, &offer);
            }
        }
    }

    /// Hands over a message that the client may have and can take.
    pub(super) fn check_and_hand_over(
        &mut self,
        key: SessionKey,
        offer: Offer,
        message: Arc<Message>,
        novelty: Novelty,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(attachment) = session.attachment.as_ref() else { return };
        if !may_receive(session, key, &self.response_topics, &message) {
            self.counters.deliveries_denied += 1;
        } else if !fits(attachment, &message, offer.qos, offer.identifiers().unwrap_or_default()) {
            self.counters.dropped_packet_too_large += 1;
            session.dropped += 1;
        } else {
            return self.hand_over(key, offer, message, novelty);
        }
        if novelty == Novelty::Waited {
            self.settle_place(key, &offer);
        }
    }

    /// Has the messages read that the session needs next.
    fn fetch(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let again = match session.inflight.resend(true) {
            Some(Resend::Publish(_, Offer { content: Content::Kept(place), .. })) => Some(place.message),
            Some(Resend::Publish(..) | Resend::Release(_)) | None => None,
        };
        let mut session_to_tell = Some(key);
        for number in again.into_iter().chain(session.queue.upcoming(READ_AHEAD)) {
            // It is told of the first: by then the others are there, or nearly.
            if self.messages.body(number).is_none() {
                self.messages.want(number, session_to_tell.take());
            }
        }
    }
}
