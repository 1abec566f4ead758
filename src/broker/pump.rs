//! What waits for a client leaves as the client makes room: first what is to be sent again, then what is queued, then
//! retained messages.

use super::deliver::{fits, has_quota, may_receive};
use super::retained::{Position, RetainedStore, Step};
use super::session::Replay;
use super::session::inflight::Resend;
use super::session::queue::{Leaving, Offer};
use super::{Broker, ConnectionId, SessionKey};
use crate::clock::Instant;
use crate::mqtt::packet::AcknowledgementKind;
use crate::mqtt::{ClientId, PacketId, QoS, ReasonCode};

/// Candidates that a search for retained messages looks at before it lets others have a turn.
const SEARCH_STEPS: usize = 1_000;

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
        attachment.outstanding = attachment.outstanding.saturating_sub(bytes);
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
    }

    fn send_again(&mut self, key: SessionKey) {
        loop {
            let window = self.config.limits.outbound_window;
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_mut() else {
                return;
            };
            let room =
                attachment.outstanding < window && session.inflight.active() < attachment.receive_maximum;
            match session.inflight.resend(room) {
                Some(Resend::Publish(delivery)) => {
                    let identifiers = delivery.identifiers.as_deref().unwrap_or_default();
                    let denied = !may_receive(session, key, &self.response_topics, &delivery.message);
                    let Some(attachment) = session.attachment.as_mut() else { return };
                    if denied || !fits(attachment, &delivery.message, delivery.qos, identifiers) {
                        // The rules are others, or the client takes smaller packets, than when it was sent first.
                        if denied {
                            self.counters.deliveries_denied += 1;
                        } else {
                            self.counters.dropped_packet_too_large += 1;
                            session.dropped += 1;
                        }
                        let Some(id) = delivery.packet_id else { continue };
                        let bytes = session.inflight.bytes();
                        if delivery.qos == QoS::ExactlyOnce {
                            // It may have been received: before its identifier can stand for another message, the
                            // client has to forget it.
                            let _ = session.inflight.pubrec(id, true);
                            self.queued_bytes -= bytes - session.inflight.bytes();
                            self.release(key, id);
                        } else {
                            session.inflight.forget(id);
                            self.queued_bytes -= bytes - session.inflight.bytes();
                        }
                        continue;
                    }
                    if attachment.outbox.is_empty() {
                        self.dirty.push_back(key);
                    }
                    attachment.deliver(delivery);
                    self.counters.deliveries += 1;
                }
                Some(Resend::Release(packet_id)) => {
                    self.release(key, packet_id);
                }
                None => return,
            }
        }
    }

    fn release(&mut self, key: SessionKey, packet_id: PacketId) {
        self.acknowledge(key, AcknowledgementKind::PubRel, packet_id, ReasonCode::Success);
    }

    fn drain_queue(&mut self, key: SessionKey, now: Instant) {
        loop {
            let limits = &self.config.limits;
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            if session.queue.is_empty() || attachment.outstanding >= limits.outbound_window {
                return;
            }
            let leaving =
                if has_quota(&session.inflight, attachment) { Leaving::Any } else { Leaving::OnlyQoS0 };
            let before = session.queue.bytes();
            let Some(offer) = session.queue.pop(leaving) else {
                return;
            };
            self.queued_bytes -= before - session.queue.bytes();
            if offer.message.has_expired(now) {
                // [MQTT-3.3.2-5]
                self.counters.expired_messages += 1;
            } else if !may_receive(session, key, &self.response_topics, &offer.message) {
                self.counters.deliveries_denied += 1;
            } else if !fits(
                attachment,
                &offer.message,
                offer.qos,
                offer.identifiers.as_deref().unwrap_or_default(),
            ) {
                self.counters.dropped_packet_too_large += 1;
                session.dropped += 1;
            } else if let Some(offer) = self.hand_over(key, offer) {
                // All packet identifiers are in use: an acknowledgement will come first.
                return self.enqueue(key, offer, now);
            }
        }
    }

    /// Sends retained messages to new subscriptions, as far as there is room: straight from the store, so that no
    /// queue fills up however many there are.
    fn replay_retained(&mut self, key: SessionKey, now: Instant) {
        for _ in 0..SEARCH_STEPS {
            self.work += 1;
            let window = self.config.limits.outbound_window;
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            if attachment.outstanding >= window || !session.queue.is_empty() {
                return;
            }
            let may_wait = has_quota(&session.inflight, attachment);
            let Some(mut first) = session.replays.first_entry() else {
                return;
            };
            let found = match next_retained(&self.retained, first.get_mut(), may_wait) {
                Found::Nothing => continue,
                Found::NoRoom => return,
                Found::End => {
                    first.remove();
                    continue;
                }
                Found::Offer(offer, publisher) => {
                    let own = first.get().no_local && publisher == session.client_id;
                    (!own).then_some(offer)
                }
            };
            let Some(offer) = found else { continue };
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            if offer.message.has_expired(now) {
                continue;
            }
            if !may_receive(session, key, &self.response_topics, &offer.message) {
                self.counters.deliveries_denied += 1;
            } else if !fits(
                attachment,
                &offer.message,
                offer.qos,
                offer.identifiers.as_deref().unwrap_or_default(),
            ) {
                self.counters.dropped_packet_too_large += 1;
                session.dropped += 1;
            } else if let Some(offer) = self.hand_over(key, offer) {
                return self.enqueue(key, offer, now);
            }
        }
        if let Some(session) = self.sessions.get_mut(key)
            && !session.is_searching
        {
            session.is_searching = true;
            self.searching.push_back(key);
        }
    }
}

/// What the next step of a replay came to.
enum Found {
    /// A message, and who published it.
    Offer(Offer, ClientId),
    /// Nothing yet.
    Nothing,
    /// A message for which there is no room.
    NoRoom,
    /// There are no more.
    End,
}

fn next_retained(retained: &RetainedStore, replay: &mut Replay, may_wait: bool) -> Found {
    match retained.step(&replay.filter, &replay.position) {
        Step::Done => Found::End,
        Step::Continue(position) => {
            replay.position = position;
            Found::Nothing
        }
        Step::Match(found) => {
            let qos = found.message.qos.min(replay.qos);
            if qos > QoS::AtMostOnce && !may_wait {
                return Found::NoRoom;
            }
            replay.position = Position::Behind(found.message.topic.clone());
            let identifiers = replay.identifier.map(|identifier| Box::from([identifier]));
            // [MQTT-3.3.1-8]
            let offer = Offer { message: found.message, qos, retain: true, identifiers, group: None };
            Found::Offer(offer, found.publisher)
        }
    }
}
