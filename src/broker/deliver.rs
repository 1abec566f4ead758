//! A session takes a message: now, later or not at all.

use std::sync::Arc;

use super::journal::keep::Novelty;
use super::journal::messages::KeptMessages;
use super::limits::{BrokerLimits, QueuePolicy};
use super::memory::{Waiting, place};
use super::response::{Ownership, ResponseTopics};
use super::session::inflight::Inflight;
use super::session::queue::{MessageQueue, Offer};
use super::session::{Attachment, Session, unacknowledged};
use super::window::Windows;
use super::{Broker, Consequence, Counters, SessionKey, count};
use crate::clock::Instant;
use crate::mqtt::{Message, QoS, ReasonCode, SubscriptionIdentifier, codec};

impl Broker {
    /// Delivers a message to a session, now if it can take it, or later. `message` is what the offer holds.
    pub(super) fn offer(&mut self, key: SessionKey, offer: Offer, message: &Arc<Message>, now: Instant) {
        let windows = self.windows();
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !may_receive(session, key, &self.response_topics, message) {
            self.counters.deliveries_denied += 1;
            return;
        }
        let Some(attachment) = session.attachment.as_mut() else {
            if offer.qos > QoS::AtMostOnce {
                self.enqueue(key, offer, message.expires_at, now);
            }
            return;
        };
        if !fits(attachment, message, offer.qos, offer.identifiers().unwrap_or_default()) {
            // [MQTT-3.1.2-25]: dropped, as if it had been delivered.
            self.counters.dropped_packet_too_large += 1;
            session.dropped += 1;
            return;
        }
        let room = has_room(&session.queue, &session.inflight, attachment, offer.qos, windows);
        // What is under way counts as what waits does: for QoS 1 and 2 there has to be room in all.
        let fits_in_all = offer.qos == QoS::AtMostOnce
            || self.waiting.counted + will_count(session, &offer) <= self.config.limits.queued_bytes_total;
        if room && fits_in_all {
            self.hand_over(key, offer, Arc::clone(message), Novelty::New);
        } else {
            self.enqueue(key, offer, message.expires_at, now);
            self.ask_what_is_written(key);
        }
    }

    /// Hands a message over to the connection of a session that has room for it.
    pub(super) fn hand_over(
        &mut self,
        key: SessionKey,
        offer: Offer,
        message: Arc<Message>,
        novelty: Novelty,
    ) {
        if offer.qos == QoS::AtMostOnce {
            return self.deliver(key, unacknowledged(offer, message), None);
        }
        let offer = if novelty == Novelty::New { self.take_in(key, offer) } else { offer };
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.waiting.add(&offer);
        if session.keeping.is_none() {
            let delivery = session.inflight.begin(offer, message);
            return self.deliver(key, delivery, None);
        }
        let delivery = session.inflight.begin(offer.clone(), message);
        self.was_sent(key, &offer, delivery, novelty);
    }

    /// Lets a message wait that has not waited before, if need be in the place of another.
    fn enqueue(&mut self, key: SessionKey, offer: Offer, expires_at: Option<Instant>, now: Instant) {
        let Some(session) = self.sessions.get(key) else { return };
        let will_count = will_count(session, &offer);
        if !self.may_wait(key, &offer, will_count) {
            return;
        }
        let before = self.waiting.counted;
        if !self.make_room(key, &offer, now) {
            return self.queue_changed(key);
        }
        let offer = self.take_in(key, offer);
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.waiting.add(&offer);
        self.pressure.piling_up += self.waiting.counted.saturating_sub(before);
        if session.keeping.is_none() {
            session.queue.push(offer, expires_at, now);
        } else {
            session.queue.push(offer.clone(), expires_at, now);
            self.was_queued(key, &offer);
        }
        self.queue_changed(key);
    }

    /// Makes room for `offer` in the session's queue, as far as that may be. Whether there is.
    fn make_room(&mut self, key: SessionKey, offer: &Offer, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let bounds = (&self.config.limits, self.config.queue_policy);
        let outcome = make_room(session, &self.messages, offer, bounds, &mut self.waiting, now);
        outcome.count(&mut self.counters);
        session.dropped += count(outcome.dropped_qos0 + outcome.dropped);
        if let (true, Some(attachment)) = (outcome.disconnect, &session.attachment) {
            self.counters.disconnected_queue_full += 1;
            self.consequences.push_back(Consequence::Close {
                connection: attachment.connection,
                reason: ReasonCode::QuotaExceeded,
                detail: "the queue of the session is full",
            });
        }
        for gone in &outcome.gone {
            self.settle_place(key, gone);
        }
        outcome.has_room
    }
}

/// Whether the rules let this session have this message.
pub(super) fn may_receive(
    session: &Session,
    key: SessionKey,
    responses: &ResponseTopics,
    message: &Message,
) -> bool {
    match responses.ownership(message.topic.as_str()) {
        Ownership::Of(owner) => owner == key,
        Ownership::Nobody => false,
        Ownership::Ordinary => session.permissions.may_receive(&message.topic),
    }
}

/// Whether the packet is one that the client takes \[MQTT-3.1.2-24\].
pub(super) fn fits(
    attachment: &Attachment,
    message: &Message,
    qos: QoS,
    identifiers: &[SubscriptionIdentifier],
) -> bool {
    attachment.maximum_packet_size == usize::MAX
        || codec::delivery_len(message, qos, identifiers, attachment.version)
            <= attachment.maximum_packet_size
}

/// Whether a message of this QoS could be handed over at once, without passing others.
pub(super) fn has_room(
    queue: &MessageQueue,
    inflight: &Inflight,
    attachment: &Attachment,
    qos: QoS,
    windows: Windows,
) -> bool {
    windows.is_open(attachment)
        && queue.lane_is_empty(qos)
        && (qos == QoS::AtMostOnce || has_quota(inflight, attachment))
}

/// Whether one more QoS 1 or 2 message may be under way \[MQTT-3.3.4-9\], and would not pass one that is to be sent
/// again.
pub(super) fn has_quota(inflight: &Inflight, attachment: &Attachment) -> bool {
    inflight.active() < attachment.receive_maximum
        && !inflight.is_full()
        && inflight.bytes() < attachment.inflight_bytes
        && inflight.is_resent()
}

/// What it took to make room in a queue.
#[derive(Debug, Default)]
struct Outcome {
    has_room: bool,
    expired: usize,
    dropped_qos0: usize,
    dropped: usize,
    disconnect: bool,
    /// What has given way.
    gone: Vec<Offer>,
}

impl Outcome {
    /// The message that has come is dropped.
    fn refuse(&mut self, qos: QoS, policy: QueuePolicy) {
        if qos == QoS::AtMostOnce {
            self.dropped_qos0 += 1;
        } else {
            self.dropped += 1;
            self.disconnect = policy == QueuePolicy::Disconnect;
        }
    }

    fn count(&self, counters: &mut Counters) {
        counters.expired_messages += count(self.expired);
        counters.dropped_queue_full_qos0 += count(self.dropped_qos0);
        counters.dropped_queue_full += count(self.dropped);
    }
}

/// What the offer will count against the bound on all queues once the session has taken it.
fn will_count(session: &Session, offer: &Offer) -> usize {
    let is_written_down = session.keeping.is_some() && offer.qos > QoS::AtMostOnce;
    if is_written_down { place(offer) } else { offer.footprint() }
}

/// Makes room for `offer` in the session's queue: the newest QoS 0 messages go first, then what the policy says.
/// `waiting` is what waits in all queues.
fn make_room(
    session: &mut Session,
    kept: &KeptMessages,
    offer: &Offer,
    (limits, policy): (&BrokerLimits, QueuePolicy),
    waiting: &mut Waiting,
    now: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (needed, will_count) = (offer.footprint(), will_count(session, offer));
    let queue = &mut session.queue;
    let own = queue.loads().unacknowledged + queue.loads().acknowledged;
    // What can never fit, or not unless others give way, drops nothing but itself.
    if needed > limits.queued_bytes || waiting.counted - own + will_count > limits.queued_bytes_total {
        outcome.refuse(offer.qos, policy);
        return outcome;
    }
    let mut looked_for_expired = false;
    while queue.len() >= limits.queued_messages
        || queue.bytes() + needed > limits.queued_bytes
        || waiting.counted + will_count > limits.queued_bytes_total
    {
        if !looked_for_expired {
            looked_for_expired = true;
            outcome.gone = queue.take_expired(now, kept);
            outcome.expired = outcome.gone.len();
            outcome.gone.iter().for_each(|gone| waiting.remove(gone));
            continue;
        }
        if offer.qos > QoS::AtMostOnce {
            if let Some(newest) = queue.take_newest_qos0() {
                waiting.remove(&newest);
                outcome.dropped_qos0 += 1;
                continue;
            }
            if policy == QueuePolicy::DropOldest
                && let Some(oldest) = queue.take_oldest()
            {
                waiting.remove(&oldest);
                outcome.gone.push(oldest);
                outcome.dropped += 1;
                continue;
            }
        }
        outcome.refuse(offer.qos, policy);
        return outcome;
    }
    outcome.has_room = true;
    outcome
}
