//! Places in queues are written down: made, sent, acknowledged, given up.

use std::sync::Arc;
use std::time::Duration;

use super::hold::Until;
use super::{Durability, Room, live};
use crate::broker::record::{
    Number, PublicationOf, Published, Record, Sequence, SessionId, SessionRecord, Target,
};
use crate::broker::retained::Retained;
use crate::broker::session::queue::{Content, Offer, Place};
use crate::broker::session::{Expiry, Said, Session};
use crate::broker::subscriptions::{NodeKey, SubscriptionKey};
use crate::broker::{Broker, SessionKey};
use crate::clock::{Instant, WallTime};
use crate::mqtt::{ClientId, Delivery, Message, PacketId, QoS};

/// What the message that is being handed around has led to.
#[derive(Debug, Default)]
pub(in crate::broker) struct Routing {
    /// How it came to be handed around.
    pub(in crate::broker) course: Course,
    /// Its number, once somebody needs it kept.
    message: Option<Number>,
    /// How many places in queues it has.
    references: u32,
    is_retained: bool,
    targets: Vec<Target>,
    /// Deliveries that must not leave before it is written down.
    deferred: Vec<(SessionKey, Delivery)>,
}

impl Routing {
    /// Whether nothing is being handed around.
    pub(in crate::broker) fn is_finished(&self) -> bool {
        self.course == Course::Published
            && self.message.is_none()
            && self.references == 0
            && !self.is_retained
            && self.targets.is_empty()
            && self.deferred.is_empty()
    }
}

/// How a message came to be handed around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::broker) enum Course {
    /// It has just been published: one record tells of all its places.
    #[default]
    Published,
    /// It is retained, under this number, and replayed to a subscription at this node: each place has its own record.
    Retained(Number, NodeKey),
    /// It had this place in the queue of a session that has ended.
    Moved(SessionId, Place),
    /// The place that it had, of this message, is another session's now.
    HasMoved(Number),
}

/// Whether a session takes a message, or has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Novelty {
    /// It takes it now.
    New,
    /// It was in its queue.
    Waited,
}

/// Who published a message.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Source {
    /// A client; if with QoS 2, and if its session is kept, that and the packet identifier.
    Client(Option<(SessionId, PacketId)>),
    /// It was the will of a session, that of a kept one if its number is known.
    Will(Option<SessionId>),
}

/// What a delivery has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Nothing.
    Nothing,
    /// This record.
    At(Sequence),
    /// The record of the message that is being handed around.
    WithMessage,
}

impl Broker {
    /// What has to hold before a PUBLISH to `topic` is acknowledged, if for its client it is `otherwise`.
    pub(in crate::broker) fn durability_of(&self, topic: &str, otherwise: Durability) -> Durability {
        let rules = &self.config.durability.by_topic;
        let rule = rules.iter().find(|(filter, _)| filter.matches_any(topic));
        rule.map_or(otherwise, |(_, durability)| *durability)
    }

    /// The number of a session that is kept.
    pub(in crate::broker) fn kept_id(&self, key: SessionKey) -> Option<SessionId> {
        self.sessions.get(key)?.keeping.as_ref().map(|keeping| keeping.id)
    }

    /// The session takes this message: from here on it has a number, if the session is kept.
    pub(in crate::broker) fn take_in(&mut self, key: SessionKey, mut offer: Offer) -> Offer {
        if !self.journal.is_open() {
            return offer;
        }
        let Some(session) = self.kept_id(key).filter(|_| offer.qos > QoS::AtMostOnce) else {
            return offer;
        };
        let Content::Here(message) = &offer.content else { return offer };
        let footprint = u32::try_from(message.footprint()).unwrap_or(u32::MAX);
        let (number, place) = match self.routing.course {
            Course::Published => {
                let number = self.keep_message();
                self.routing.references += 1;
                let has_one = |target: &Target| target.session == session;
                let is_first = offer.group().is_none() && !self.routing.targets.last().is_some_and(has_one);
                (number, if is_first { number } else { self.journal.next_number() })
            }
            Course::Moved(_, Place { message, .. })
            | Course::Retained(message, _)
            | Course::HasMoved(message) => (message, self.journal.next_number()),
        };
        self.messages.refer(number);
        offer.content = Content::Kept(Place { message: number, number: place, footprint });
        let shared_bytes = self.shared_filter(&offer).map_or(0, |filter| live::shared(&filter));
        offer.with_shared_bytes(shared_bytes)
    }

    /// The message that is being handed around has to be kept: under this number.
    fn keep_message(&mut self) -> Number {
        let journal = &mut self.journal;
        *self.routing.message.get_or_insert_with(|| journal.next_number())
    }

    /// The message that is being handed around is retained now. Its number, if that is kept.
    pub(in crate::broker) fn keep_retained(&mut self, message: &Message) -> Option<Number> {
        let is_large = message.footprint() > self.config.limits.kept_message_bytes;
        // Whoever waits for an answer has been told already that there is no room.
        let has_no_room = self.journal.room != Room::Enough && message.qos == QoS::AtMostOnce;
        if !self.journal.is_open() || has_no_room || is_large {
            return None;
        }
        self.routing.is_retained = true;
        Some(self.keep_message())
    }

    /// A message is needed once less.
    pub(in crate::broker) fn release_message(&mut self, number: Number) {
        if self.routing.message == Some(number) {
            self.routing.references -= 1;
        } else {
            self.messages.release(number);
        }
    }

    /// Writes down that the session has this message in its queue or, under a packet identifier, under way.
    fn write_place(
        &mut self,
        key: SessionKey,
        offer: &Offer,
        sent: Option<PacketId>,
        novelty: Novelty,
    ) -> Written {
        let Content::Kept(place) = offer.content else { return Written::Nothing };
        let Some(session) = self.kept_id(key) else { return Written::Nothing };
        if novelty == Novelty::Waited {
            let Some(packet_id) = sent else { return Written::Nothing };
            let record = Record::Sent { session, number: place.number, packet_id };
            return Written::At(self.journal.append(&record));
        }
        let target = self.target(session, offer, place.number, sent);
        let from = match self.routing.course {
            Course::Published => {
                self.routing.targets.push(target);
                return Written::WithMessage;
            }
            Course::Moved(session, place) => {
                self.routing.course = Course::HasMoved(place.message);
                Some((session, place.number))
            }
            Course::Retained(_, node) => {
                return Written::At(self.write_replayed(key, node, place.message, target));
            }
            Course::HasMoved(_) => None,
        };
        let record = Record::Queued { message: place.message, from, target };
        Written::At(self.journal.append(&record))
    }

    fn target(&self, session: SessionId, offer: &Offer, number: Number, sent: Option<PacketId>) -> Target {
        Target {
            session,
            number,
            qos: offer.qos,
            retain: offer.retain,
            sent,
            identifiers: offer.identifiers().map(Box::from),
            shared: self.shared_filter(offer),
        }
    }

    /// The filter of the shared subscription through which an offer came, if one was.
    fn shared_filter(&self, offer: &Offer) -> Option<Box<str>> {
        let filter = self.subscriptions.filter(SubscriptionKey::Shared(offer.group()?))?;
        Some(filter.to_string().into())
    }

    /// The session has put this message into its queue.
    pub(in crate::broker) fn was_queued(&mut self, key: SessionKey, offer: &Offer) {
        self.write_place(key, offer, None, Novelty::New);
    }

    /// The message is under way now: it is delivered, QoS 2 when it is certain that nobody forgets that it was sent.
    pub(in crate::broker) fn was_sent(
        &mut self,
        key: SessionKey,
        offer: &Offer,
        delivery: Delivery,
        novelty: Novelty,
    ) {
        let written = self.write_place(key, offer, delivery.packet_id, novelty);
        match written {
            Written::At(record) if offer.qos == QoS::ExactlyOnce => {
                let until = self.until(key, record);
                self.deliver(key, delivery, until);
            }
            Written::WithMessage if offer.qos == QoS::ExactlyOnce => {
                self.routing.deferred.push((key, delivery));
            }
            Written::Nothing | Written::At(_) | Written::WithMessage => self.deliver(key, delivery, None),
        }
    }

    fn until(&self, key: SessionKey, record: Sequence) -> Option<Until> {
        let attachment = self.sessions.get(key)?.attachment.as_ref()?;
        Some(Until { record, durability: attachment.durability })
    }

    /// The session no longer has this message: it was acknowledged, or given up.
    pub(in crate::broker) fn settle_place(&mut self, key: SessionKey, offer: &Offer) {
        let Content::Kept(place) = offer.content else { return };
        if let Some(session) = self.kept_id(key) {
            if self.routing.message == Some(place.message) {
                // It has given way to another copy of the same message: of that there is no record yet, and there is
                // to be none.
                let number = place.number;
                let is_it = |target: &Target| target.session == session && target.number == number;
                self.routing.targets.retain(|target| !is_it(target));
            } else {
                self.journal.settle(session, place.number);
            }
        }
        self.release_message(place.message);
    }

    /// Of the session's message only the packet identifier is still to be released.
    pub(in crate::broker) fn complete_place(&mut self, key: SessionKey, offer: &Offer, packet_id: PacketId) {
        let Content::Kept(place) = offer.content else { return };
        if let Some(session) = self.kept_id(key) {
            self.kept_exchanges += 1;
            self.journal.append(&Record::Completing { session, number: place.number, packet_id });
        }
        self.release_message(place.message);
    }

    /// A message has been handed around: what came of it is written down.
    pub(in crate::broker) fn finish_routing(
        &mut self,
        message: &Arc<Message>,
        publisher: &ClientId,
        source: Source,
    ) {
        let (received, will_of) = match source {
            Source::Client(received) => (received, None),
            Source::Will(session) => (None, session),
        };
        let Some(number) = self.routing.message.take() else {
            if let Some((session, packet_id)) = received {
                self.journal.append(&Record::Received { session, packet_id });
            }
            return;
        };
        let retained = std::mem::take(&mut self.routing.is_retained);
        let record = Record::Published(Published {
            number,
            received,
            will_of,
            retained,
            retain: message.retain,
            qos: message.qos,
            expires_at: message.expires_at.map(|at| self.journal.wall(at)),
            footprint: u32::try_from(message.footprint()).unwrap_or(u32::MAX),
            publisher: if retained { publisher.as_str() } else { "" },
            targets: std::mem::take(&mut self.routing.targets),
            publication: PublicationOf::Message(message),
        });
        let home = self.journal.append(&record);
        if let Record::Published(Published { mut targets, .. }) = record {
            targets.clear();
            self.routing.targets = targets;
        }
        let references = std::mem::take(&mut self.routing.references);
        if retained || references > 0 {
            self.messages.insert(number, message, home, references);
        }
        if retained {
            self.messages.retained(number, live::publisher(publisher));
        }
        for (key, delivery) in std::mem::take(&mut self.routing.deferred) {
            let until = self.until(key, home);
            self.deliver(key, delivery, until);
        }
    }

    /// Hands a message around that is not published now.
    pub(in crate::broker) fn on_course(&mut self, course: Course, hand_around: impl FnOnce(&mut Self)) {
        self.routing.course = course;
        hand_around(self);
        let came_to = std::mem::take(&mut self.routing.course);
        if let Course::Moved(session, place) = course {
            if came_to == course {
                // Nobody has it instead, or nobody of whom that is written down.
                self.journal.settle(session, place.number);
            }
            self.messages.release(place.message);
        }
    }

    /// Writes down how a session is now, if it is kept.
    pub(in crate::broker) fn write_session(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(record) = session_record(session, &self.journal, now) else { return };
        self.write_session_record(key, record);
    }

    /// Writes down a session whose connection ended with the last broker, then. That says nothing of others, which may
    /// have been connected as long as that broker was running, and no longer.
    pub(super) fn write_cut_off(&mut self, key: SessionKey, disconnected_at: WallTime, now: Instant) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(record) = session_record(session, &self.journal, now) else { return };
        self.write_session_record(key, SessionRecord { disconnected_at: Some(disconnected_at), ..record });
    }

    fn write_session_record(&mut self, key: SessionKey, record: SessionRecord) {
        let before = self.journal.batch_bytes();
        let said = Said::by(&record);
        let sequence = self.journal.append(&Record::Session(Box::new(record)));
        let bytes = u32::try_from(self.journal.batch_bytes() - before).unwrap_or(u32::MAX);
        if let Some(keeping) = self.sessions.get_mut(key).and_then(|session| session.keeping.as_mut()) {
            keeping.said = said;
            let replaced = std::mem::replace(&mut keeping.bytes, bytes);
            self.journal.session_bytes = self.journal.session_bytes - u64::from(replaced) + u64::from(bytes);
            keeping.record = sequence;
        }
    }

    /// A message has lost its place in the retained store.
    pub(in crate::broker) fn no_longer_retained(&mut self, old: &Retained) {
        if let Some(number) = old.kept {
            self.messages.no_longer_retained(number, live::publisher(&old.publisher));
        }
    }
}

fn session_record(session: &Session, journal: &super::Journal, now: Instant) -> Option<SessionRecord> {
    let keeping = session.keeping.as_ref()?;
    let is_attached = session.attachment.is_some();
    let will_at = session.will_timer.as_ref().map(|timer| journal.wall(timer.at()));
    let expires_at = session.expiry_timer.as_ref().map(|timer| timer.at());
    let disconnected_at = match (session.expiry, expires_at) {
        _ if is_attached => None,
        // It ends with its connection, if that has not been seen to yet.
        (Expiry::WithConnection, _) => None,
        // So that what is written again later still says when its connection ended.
        (Expiry::After(seconds), Some(at)) => {
            Some(journal.wall(at).saturating_sub(Duration::from_secs(u64::from(seconds))))
        }
        (Expiry::After(_) | Expiry::Never, _) => Some(journal.wall(now)),
    };
    Some(SessionRecord {
        id: keeping.id,
        client_id: session.client_id.as_str().to_owned(),
        policy: session.policy.as_str().to_owned(),
        identity: session.identity.clone(),
        grants: session.grants.as_deref().cloned(),
        expiry: session.expiry.to_seconds(),
        disconnected_at,
        response_prefix: session.response_prefix.as_deref().map(str::to_owned),
        will: session.will.as_deref().cloned(),
        will_at,
    })
}
