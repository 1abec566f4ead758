//! Records that are to go: what of them is still true is written again. And messages that are to be read again.
//!
//! What is written again is how things are now, whatever the old record said. The oldest records come first, so that
//! a record that only changes what an older one said has nothing to say any more when its turn comes.

use std::sync::Arc;

use crate::broker::record::frame::Frames;
use crate::broker::record::{Gist, Number, PublicationOf, Published, Record, Sequence, SessionId, Target};
use crate::broker::session::queue::Content;
use crate::broker::subscriptions::SubscriptionKey;
use crate::broker::{Broker, SessionKey};
use crate::clock::{Epoch, Instant};
use crate::mqtt::codec::Publication;
use crate::mqtt::{Message, Places};

/// The message that a record tells of.
pub(super) fn message_of(published: &Published<'_>, epoch: Epoch) -> Option<Message> {
    let publication = match published.publication {
        PublicationOf::Message(message) => return Some(message.clone()),
        PublicationOf::Bytes(bytes) => Publication::decode(bytes).ok()?,
    };
    Some(Message {
        topic: publication.topic,
        payload: publication.payload,
        qos: published.qos,
        retain: published.retain,
        expires_at: published.expires_at.map(|at| epoch.to_instant(at)),
        properties: publication.properties,
        places: Places::default(),
    })
}

impl Broker {
    /// Writes again what of these records is still true.
    pub(in crate::broker) fn reclaim(&mut self, frames: &[u8], now: Instant) {
        for frame in Frames::new(frames) {
            self.work += 1;
            match Record::gist(frame.kind, frame.body) {
                Gist::Change => {}
                Gist::Message(number) if self.messages.home(number) != Some(frame.sequence) => {}
                Gist::Message(_) | Gist::Other => match Record::decode(frame.kind, frame.body) {
                    Ok(record) => self.write_again(frame.sequence, record, now),
                    // It was read when the broker was started, and set aside then.
                    Err(error) => tracing::debug!(sequence = %frame.sequence, %error, "not written again"),
                },
            }
            self.journal.reclaimed = Some(frame.sequence.next());
        }
    }

    fn write_again(&mut self, at: Sequence, record: Record<'_>, now: Instant) {
        match record {
            Record::Published(published) => self.write_message_again(at, published),
            Record::Session(session) if session.has_ended() => {
                if self.orphans.has_left_some(session.id) {
                    self.journal.append(&Record::Session(session));
                }
            }
            Record::Session(session) => {
                let key = self.sessions.of_id(session.id);
                let keeping = key.and_then(|key| self.sessions.get(key)?.keeping.as_ref());
                if let Some(key) = key.filter(|_| keeping.is_some_and(|keeping| keeping.record == at)) {
                    self.write_session(key, now);
                }
            }
            Record::Subscribed { session, .. } | Record::Unsubscribed { session, .. } => {
                self.write_subscriptions_again(at, session);
            }
            Record::Received { session, .. }
            | Record::Completing { session, .. }
            | Record::Exchanges { session, .. } => self.write_exchanges_again(at, session),
            Record::Queued { message, target, .. } => {
                if let Some(target) = self.as_it_is(message, target) {
                    self.journal.append(&Record::Queued { message, from: None, target });
                }
            }
            Record::Replay { session, queued, .. } => {
                self.write_subscriptions_again(at, session);
                let queued =
                    queued.and_then(|(message, target)| Some((message, self.as_it_is(message, target)?)));
                if let Some((message, target)) = queued {
                    self.journal.append(&Record::Queued { message, from: None, target });
                }
            }
            Record::Alive { at } => {
                // The last one is needed until there is another.
                if self.journal.last_alive.is_some_and(|last| self.journal.wall(last) <= at) {
                    (self.journal.alive_asked, self.journal.alive_record) = (None, None);
                    self.write_alive(now);
                }
            }
            Record::Ended { .. }
            | Record::Released { .. }
            | Record::Sent { .. }
            | Record::Settled { .. }
            | Record::Cleared { .. } => {}
        }
    }

    fn write_message_again(&mut self, at: Sequence, published: Published<'_>) {
        if let Some((session, _)) = published.received {
            self.write_exchanges_again(at, session);
        }
        let number = published.number;
        if self.messages.home(number) != Some(at) {
            return;
        }
        let targets =
            published.targets.into_iter().filter_map(|target| self.as_it_is(number, target)).collect();
        let retained = self.messages.is_retained(number);
        let mut again = Published { received: None, will_of: None, retained, targets, ..published };
        if !retained {
            again.publisher = "";
        }
        let home = self.journal.append(&Record::Published(again));
        self.messages.set_home(number, home);
    }

    /// A place in a queue, as it is now, if it is still there.
    fn as_it_is(&self, message: Number, target: Target) -> Option<Target> {
        let Some(session) = self.sessions.of_id(target.session).and_then(|key| self.sessions.get(key)) else {
            return self.orphans.contains(message, &target).then_some(target);
        };
        if session.queue.find(target.number).is_some() {
            return Some(Target { sent: None, ..target });
        }
        let (packet_id, _) = session.inflight.find(target.number)?;
        Some(Target { sent: Some(packet_id), ..target })
    }

    fn write_subscriptions_again(&mut self, at: Sequence, id: SessionId) {
        let Some(key) = self.sessions.of_id(id) else { return };
        let next = self.journal.batch.next();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(keeping) = session.keeping.as_mut().filter(|keeping| keeping.subscriptions_from <= at)
        else {
            return;
        };
        keeping.subscriptions_from = next;
        let Some(session) = self.sessions.get(key) else { return };
        for place in &session.subscriptions {
            let Some(filter) = self.subscriptions.filter(*place) else { continue };
            let Some(subscription) = self.subscriptions.get(*place, key) else { continue };
            if let SubscriptionKey::Plain(node) = place
                && let Some(replay) = session.replays.get(node).filter(|replay| replay.is_written)
            {
                self.journal.append(&replay.record(id, None));
            }
            self.journal.append(&Record::Subscribed {
                session: id,
                filter: &filter.to_string(),
                options: subscription.options,
                identifier: subscription.identifier,
            });
        }
    }

    fn write_exchanges_again(&mut self, at: Sequence, id: SessionId) {
        let Some(session) = self.sessions.of_id(id).and_then(|key| self.sessions.get_mut(key)) else {
            return;
        };
        let Some(keeping) = session.keeping.as_mut().filter(|keeping| keeping.exchanges_from <= at) else {
            return;
        };
        let received: Vec<_> = session.received.iter().copied().collect();
        let completing = session.inflight.completing();
        if received.is_empty() && completing.is_empty() {
            // What ended them is said behind what began them.
            return;
        }
        keeping.exchanges_from =
            self.journal.append(&Record::Exchanges { session: id, received, completing });
    }

    /// A message that was wanted has been read, or cannot be.
    pub(in crate::broker) fn fetched(
        &mut self,
        number: Number,
        record: Sequence,
        content: Option<(u8, Vec<u8>)>,
        now: Instant,
    ) {
        let Some(home) = self.messages.home(number) else { return };
        let epoch = self.journal.epoch;
        let message = content.and_then(|(kind, body)| match Record::decode(kind, &body) {
            Ok(Record::Published(published)) if published.number == number => message_of(&published, epoch),
            Ok(_) | Err(_) => None,
        });
        let waiting = match message {
            Some(message) => {
                self.counters.messages_read += 1;
                self.messages.set_body(number, Arc::new(message))
            }
            None if home != record => {
                // It was written again meanwhile, and its old place is gone.
                return self.messages.want_again(number);
            }
            None => {
                self.counters.messages_unreadable += 1;
                tracing::debug!(?number, %record, "a message cannot be read");
                let waiting = self.messages.give_up(number);
                for key in &waiting {
                    self.lose(*key, number);
                }
                waiting
            }
        };
        self.move_orphans(number, now);
        for key in waiting {
            self.pump(key, now);
        }
        self.messages.make_room(self.journal.written);
    }

    /// The session cannot have this message any more.
    fn lose(&mut self, key: SessionKey, number: Number) {
        let is_lost =
            |content: &Content| matches!(content, Content::Kept(place) if { place.message } == number);
        loop {
            let Some(session) = self.sessions.get_mut(key) else { return };
            let packet_id = session.inflight.published().find(|(_, offer)| is_lost(&offer.content));
            let packet_id = packet_id.map(|(packet_id, _)| packet_id);
            let offer = match packet_id {
                Some(packet_id) => session.inflight.forget(packet_id),
                None => session.queue.take(|offer| is_lost(&offer.content)),
            };
            let Some(offer) = offer else { return };
            self.waiting.remove(&offer);
            session.dropped += 1;
            self.settle_place(key, &offer);
            self.queue_changed(key);
        }
    }
}
