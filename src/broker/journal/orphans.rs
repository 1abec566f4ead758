//! What happens to the messages of a session that has ended.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::keep::{Course, Source};
use super::live;
use crate::broker::Broker;
use crate::broker::memory::PLACE;
use crate::broker::record::{Number, Record, SessionId, SessionRecord, Target};
use crate::broker::session::queue::{Content, Offer, Place};
use crate::broker::subscriptions::GroupKey;
use crate::clock::Instant;
use crate::mqtt::ClientId;

/// A session that has ended.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Departed {
    pub(in crate::broker) client_id: ClientId,
    pub(in crate::broker) id: Option<SessionId>,
}

/// Messages of shared subscriptions that another member is to have, and that have to be read for that. Until they are
/// somewhere else the last word about their session is that [it has left them](SessionRecord::last).
#[derive(Debug, Default)]
pub(in crate::broker) struct Orphans {
    by_message: HashMap<Number, Vec<Orphan>, FixedState>,
    /// How many there are of each session.
    by_session: BTreeMap<SessionId, usize>,
    count: usize,
    /// Bytes of the records that say so.
    kept_bytes: u64,
}

#[derive(Debug)]
struct Orphan {
    session: SessionId,
    publisher: ClientId,
    place: Place,
    group: GroupKey,
    kept_bytes: u64,
}

impl Orphans {
    /// The bytes that they occupy.
    pub(in crate::broker) const fn bytes(&self) -> usize {
        self.count * PLACE
    }

    /// Bytes of the records that say where they are.
    pub(in crate::broker) const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Whether a session has left messages.
    pub(in crate::broker) fn has_left_some(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// Whether this place of a message is that of a session that has left it.
    pub(in crate::broker) fn contains(&self, message: Number, target: &Target) -> bool {
        let is_it =
            |orphan: &Orphan| orphan.session == target.session && { orphan.place.number } == target.number;
        self.by_message.get(&message).is_some_and(|orphans| orphans.iter().any(is_it))
    }

    /// The messages that are needed for them, each as often as it is.
    pub(in crate::broker) fn needed(&self) -> impl Iterator<Item = Number> {
        let mut needed: Vec<Number> = Vec::new();
        for (number, orphans) in &self.by_message {
            needed.extend(std::iter::repeat_n(*number, orphans.len()));
        }
        needed.sort_unstable();
        needed.into_iter()
    }
}

impl Broker {
    /// A session that has ended had this message.
    pub(in crate::broker) fn hand_on(&mut self, from: &Departed, offer: &Offer, now: Instant) {
        match (&offer.content, offer.group()) {
            (Content::Here(_), None) => {}
            (Content::Here(message), Some(group)) => {
                self.offer_to_another(group, message, &from.client_id, now);
                // A member that is kept may have it now.
                self.finish_routing(message, &from.client_id, Source::Client(None));
            }
            (Content::Kept(place), None) => self.messages.release(place.message),
            (Content::Kept(place), Some(group)) => {
                let Some(session) = from.id else { return };
                let publisher = from.client_id.clone();
                let kept_bytes = live::place(offer);
                let orphan = Orphan { session, publisher, place: *place, group, kept_bytes };
                if self.messages.body(place.message).is_some() {
                    self.move_place(orphan, now);
                } else {
                    self.messages.want(place.message, None);
                    *self.orphans.by_session.entry(session).or_default() += 1;
                    self.orphans.count += 1;
                    self.orphans.kept_bytes += kept_bytes;
                    self.orphans.by_message.entry(place.message).or_default().push(orphan);
                }
            }
        }
    }

    fn move_place(&mut self, orphan: Orphan, now: Instant) {
        let Orphan { session, publisher, place, group, kept_bytes: _ } = orphan;
        let message = self.messages.body(place.message).cloned();
        self.on_course(Course::Moved(session, place), |broker| {
            if let Some(message) = message {
                broker.offer_to_another(group, &message, &publisher, now);
            }
        });
    }

    /// A message has been read, or cannot be: those who have been left with it are dealt with.
    pub(in crate::broker) fn move_orphans(&mut self, message: Number, now: Instant) {
        for orphan in self.orphans.by_message.remove(&message).unwrap_or_default() {
            let session = orphan.session;
            self.orphans.count -= 1;
            self.orphans.kept_bytes -= orphan.kept_bytes;
            self.move_place(orphan, now);
            if let Some(left) = self.orphans.by_session.get_mut(&session) {
                *left -= 1;
                if *left == 0 {
                    self.orphans.by_session.remove(&session);
                    self.journal.append(&Record::Ended { session });
                }
            }
        }
    }

    /// Writes down that a session has ended, or, if messages of it are still to go elsewhere, that it has left them.
    pub(in crate::broker) fn write_end(&mut self, departed: &Departed, now: Instant) {
        let Some(session) = departed.id else { return };
        if self.orphans.by_session.contains_key(&session) {
            let record = SessionRecord::last(session, &departed.client_id, self.journal.wall(now));
            self.journal.append(&Record::Session(Box::new(record)));
        } else {
            self.journal.append(&Record::Ended { session });
        }
    }
}
