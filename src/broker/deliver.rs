//! A message finds its subscribers, and each of them takes it now, later or not at all.

use std::sync::Arc;

use super::limits::{BrokerLimits, OverlappingSubscriptions, QueuePolicy, SharedStrategy};
use super::response::ResponseTopics;
use super::retained::{Position, RetainedStore, Step};
use super::session::inflight::Resend;
use super::session::queue::{Leaving, Offer};
use super::session::{Attachment, Session, unacknowledged};
use super::subscriptions::{GroupKey, Readiness, Subscription};
use super::{Broker, ConnectionId, Consequence, Counters, Matches, SessionKey, ToClient, count};
use crate::clock::Instant;
use crate::mqtt::packet::{Acknowledgement, AcknowledgementKind};
use crate::mqtt::{ClientId, Message, QoS, ReasonCode, SubscriptionIdentifier, codec};

/// Candidates that a search for retained messages looks at before it lets others have a turn.
const SEARCH_STEPS: usize = 1_000;

impl Broker {
    /// Offers a message to all who are subscribed to its topic. Whether there was anybody.
    pub(super) fn route(
        &mut self,
        message: &Arc<Message>,
        publisher: Option<SessionKey>,
        publisher_id: &ClientId,
        now: Instant,
    ) -> bool {
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions
            .matching(message.topic.as_str(), &mut matches.plain, &mut matches.groups);
        let mut matched = false;
        for of_one_session in matches.plain.chunk_by(|one, other| one.session == other.session) {
            matched |= self.route_to(message, publisher, of_one_session, now);
        }
        for group in &matches.groups {
            matched = true;
            self.route_shared(*group, message, publisher_id, now);
        }
        matches.plain.clear();
        matches.groups.clear();
        self.matches = Matches {
            plain: matches.plain,
            groups: matches.groups,
        };
        matched
    }

    /// Offers a message to one session, all of whose matching subscriptions are given.
    fn route_to(
        &mut self,
        message: &Arc<Message>,
        publisher: Option<SessionKey>,
        subscriptions: &[Subscription],
        now: Instant,
    ) -> bool {
        // [MQTT-3.8.3-3]
        let counts = |subscription: &&Subscription| {
            !(subscription.options.no_local && publisher == Some(subscription.session))
        };
        let offer = |of: &[Subscription]| {
            let first = of.iter().find(counts)?;
            let counting = || of.iter().filter(counts);
            let qos = counting().map(|subscription| subscription.options.qos).max()?;
            let keeps_flag = counting().any(|subscription| subscription.options.retain_as_published);
            let identifiers: Option<Box<[SubscriptionIdentifier]>> = counting()
                .any(|subscription| subscription.identifier.is_some())
                .then(|| {
                    counting()
                        .filter_map(|subscription| subscription.identifier)
                        .collect()
                });
            let offer = Offer {
                message: Arc::clone(message),
                // [MQTT-3.8.4-8]
                qos: message.qos.min(qos),
                // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
                retain: message.retain && keeps_flag,
                identifiers,
                group: None,
            };
            Some((first.session, offer))
        };
        let mut found = false;
        match self.config.overlapping {
            OverlappingSubscriptions::Once => {
                if let Some((session, offer)) = offer(subscriptions) {
                    found = true;
                    self.offer(session, offer, now);
                }
            }
            OverlappingSubscriptions::Each => {
                for one in subscriptions {
                    if let Some((session, offer)) = offer(std::slice::from_ref(one)) {
                        found = true;
                        self.offer(session, offer, now);
                    }
                }
            }
        }
        found
    }

    /// Gives a message to one member of a group.
    fn route_shared(&mut self, group: GroupKey, message: &Arc<Message>, publisher: &ClientId, now: Instant) {
        let strategy = self.config.shared_strategy;
        let key = match strategy {
            SharedStrategy::HashClient => publisher.as_str(),
            SharedStrategy::HashTopic
            | SharedStrategy::RoundRobin
            | SharedStrategy::LeastInflight
            | SharedStrategy::Sticky
            | SharedStrategy::Random => message.topic.as_str(),
        };
        let random = if strategy == SharedStrategy::Random {
            self.random.next()
        } else {
            0
        };
        let (sessions, responses) = (&self.sessions, &self.response_topics);
        let window = self.config.limits.outbound_window;
        let chosen = self.subscriptions.group_mut(group).and_then(|members| {
            members.choose(strategy, key, random, |member| {
                let Some(session) = sessions.get(member.session) else {
                    return Readiness::Unable;
                };
                let qos = message.qos.min(member.options.qos);
                if !may_receive(session, member.session, responses, message) {
                    return Readiness::Unable;
                }
                match &session.attachment {
                    Some(attachment) if !fits(attachment, message, qos, member.identifier.as_slice()) => {
                        Readiness::Unable
                    }
                    Some(attachment) if has_room(session, attachment, qos, window) => {
                        Readiness::Ready(session.load())
                    }
                    None if qos == QoS::AtMostOnce => Readiness::Unable,
                    Some(_) | None => Readiness::CanQueue(session.load()),
                }
            })
        });
        let Some(member) = chosen else {
            self.counters.shared_unserved += 1;
            return;
        };
        let offer = Offer {
            message: Arc::clone(message),
            qos: message.qos.min(member.options.qos),
            retain: message.retain && member.options.retain_as_published,
            identifiers: member.identifier.map(|identifier| Box::from([identifier])),
            group: Some(group),
        };
        self.offer(member.session, offer, now);
    }

    /// Gives a message of a group to another member than the one that is gone.
    pub(super) fn offer_to_another(
        &mut self,
        group: GroupKey,
        message: &Arc<Message>,
        publisher: &ClientId,
        now: Instant,
    ) {
        if self.subscriptions.group_mut(group).is_some() && !message.has_expired(now) {
            self.counters.shared_redelivered += 1;
            self.route_shared(group, message, publisher, now);
        }
    }

    /// Delivers a message to a session, now if it can take it, or later.
    pub(super) fn offer(&mut self, key: SessionKey, offer: Offer, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !may_receive(session, key, &self.response_topics, &offer.message) {
            self.counters.deliveries_denied += 1;
            return;
        }
        let Some(attachment) = session.attachment.as_mut() else {
            if offer.qos > QoS::AtMostOnce {
                self.enqueue(key, offer, now);
            }
            return;
        };
        if !fits(
            attachment,
            &offer.message,
            offer.qos,
            offer.identifiers.as_deref().unwrap_or_default(),
        ) {
            // [MQTT-3.1.2-25]: dropped, as if it had been delivered.
            self.counters.dropped_packet_too_large += 1;
            session.dropped += 1;
            return;
        }
        let room = attachment.outstanding < self.config.limits.outbound_window
            && session.queue.lane_is_empty(offer.qos)
            && (offer.qos == QoS::AtMostOnce
                || (session.inflight.active() < attachment.receive_maximum && session.inflight.is_resent()));
        let refused = if room {
            self.hand_over(key, offer)
        } else {
            Some(offer)
        };
        if let Some(offer) = refused {
            self.enqueue(key, offer, now);
        }
    }

    /// Hands a message over to the connection of a session that has room for it. Gives it back if there is no packet
    /// identifier for it.
    fn hand_over(&mut self, key: SessionKey, offer: Offer) -> Option<Offer> {
        let session = self.sessions.get_mut(key)?;
        let attachment = session.attachment.as_mut()?;
        let delivery = if offer.qos == QoS::AtMostOnce {
            unacknowledged(offer)
        } else {
            match session.inflight.begin(offer) {
                Ok(delivery) => delivery,
                Err(offer) => return Some(offer),
            }
        };
        if attachment.outbox.is_empty() {
            self.dirty.push_back(key);
        }
        attachment.deliver(delivery);
        self.counters.deliveries += 1;
        None
    }

    /// Lets a message wait, if need be in the place of another.
    fn enqueue(&mut self, key: SessionKey, offer: Offer, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let before = session.queue.bytes();
        let elsewhere = self.queued_bytes - before;
        let outcome = make_room(
            session,
            &offer,
            &self.config.limits,
            elsewhere,
            self.config.queue_policy,
            now,
        );
        outcome.count(&mut self.counters);
        session.dropped += count(outcome.dropped_qos0 + outcome.dropped);
        if outcome.has_room {
            session.queue.push(offer);
        }
        self.queued_bytes = elsewhere + session.queue.bytes();
        if let (true, Some(attachment)) = (outcome.disconnect, &session.attachment) {
            self.counters.disconnected_queue_full += 1;
            self.consequences.push_back(Consequence::Close {
                connection: attachment.connection,
                reason: ReasonCode::QuotaExceeded,
                detail: "the queue of the session is full",
            });
        }
    }

    /// Bytes have been written to a client: there may be room for more.
    pub(super) fn written(&mut self, connection: ConnectionId, bytes: usize, now: Instant) {
        let Some(key) = self.sessions.of_connection(connection) else {
            return;
        };
        let Some(attachment) = self
            .sessions
            .get_mut(key)
            .and_then(|session| session.attachment.as_mut())
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
        if self
            .sessions
            .get(key)
            .is_some_and(|session| !session.replays.is_empty())
        {
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
                    if !fits(attachment, &delivery.message, delivery.qos, identifiers) {
                        // The client takes smaller packets than on the connection before.
                        let id = delivery.packet_id;
                        self.counters.dropped_packet_too_large += 1;
                        session.dropped += 1;
                        if let Some(id) = id {
                            session.inflight.forget(id);
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
                    let again = Acknowledgement {
                        kind: AcknowledgementKind::PubRel,
                        packet_id,
                        reason: ReasonCode::Success,
                        details: None,
                    };
                    self.send(key, ToClient::Acknowledge(again));
                }
                None => return,
            }
        }
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
                if session.inflight.is_resent() && session.inflight.active() < attachment.receive_maximum {
                    Leaving::Any
                } else {
                    Leaving::OnlyQoS0
                };
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
            let may_wait =
                session.inflight.is_resent() && session.inflight.active() < attachment.receive_maximum;
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

fn next_retained(retained: &RetainedStore, replay: &mut super::session::Replay, may_wait: bool) -> Found {
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
            let offer = Offer {
                message: found.message,
                qos,
                retain: true,
                identifiers,
                group: None,
            };
            Found::Offer(offer, found.publisher)
        }
    }
}

/// Whether the rules let this session have this message.
fn may_receive(session: &Session, key: SessionKey, responses: &ResponseTopics, message: &Message) -> bool {
    match responses.owner(message.topic.as_str()) {
        Some(owner) => owner == key,
        None => session.permissions.may_receive(&message.topic),
    }
}

/// Whether the packet is one that the client takes \[MQTT-3.1.2-24\].
fn fits(
    attachment: &Attachment,
    message: &Message,
    qos: QoS,
    identifiers: &[SubscriptionIdentifier],
) -> bool {
    attachment.maximum_packet_size == usize::MAX
        || codec::delivery_len(message, qos, identifiers, attachment.version)
            <= attachment.maximum_packet_size
}

/// Whether a message could be handed over at once.
fn has_room(session: &Session, attachment: &Attachment, qos: QoS, window: usize) -> bool {
    attachment.outstanding < window
        && session.queue.lane_is_empty(qos)
        && (qos == QoS::AtMostOnce
            || (session.inflight.active() < attachment.receive_maximum && session.inflight.is_resent()))
}

/// What it took to make room in a queue.
#[derive(Debug, Default)]
struct Outcome {
    has_room: bool,
    expired: usize,
    dropped_qos0: usize,
    dropped: usize,
    disconnect: bool,
}

impl Outcome {
    fn count(&self, counters: &mut Counters) {
        counters.expired_messages += count(self.expired);
        counters.dropped_queue_full_qos0 += count(self.dropped_qos0);
        counters.dropped_queue_full += count(self.dropped);
    }
}

/// Makes room for `offer` in the session's queue: the newest QoS 0 messages go first, then what the policy says.
/// `elsewhere` are the bytes that wait in other queues.
fn make_room(
    session: &mut Session,
    offer: &Offer,
    limits: &BrokerLimits,
    elsewhere: usize,
    policy: QueuePolicy,
    now: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let needed = offer.message.footprint();
    let queue = &mut session.queue;
    let mut looked_for_expired = false;
    while queue.len() >= limits.queued_messages
        || queue.bytes() + needed > limits.queued_bytes
        || elsewhere + queue.bytes() + needed > limits.queued_bytes_total
    {
        if !looked_for_expired {
            looked_for_expired = true;
            outcome.expired = queue.drop_expired(now);
            continue;
        }
        if offer.qos == QoS::AtMostOnce {
            outcome.dropped_qos0 += 1;
            return outcome;
        }
        if queue.drop_newest_qos0() {
            outcome.dropped_qos0 += 1;
            continue;
        }
        if policy == QueuePolicy::DropOldest && queue.drop_oldest() {
            outcome.dropped += 1;
            continue;
        }
        outcome.dropped += 1;
        outcome.disconnect = policy == QueuePolicy::Disconnect;
        return outcome;
    }
    outcome.has_room = true;
    outcome
}
