//! What happens to the messages of a session that has ended.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::keep::{Course, Source};
use crate::broker::Broker;
use crate::broker::memory::PLACE;
use crate::broker::record::{Number, Record, SessionId};
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
/// somewhere else it is not written down that their session has ended.
#[derive(Debug, Default)]
pub(in crate::broker) struct Orphans {
    by_message: HashMap<Number, Vec<Orphan>, FixedState>,
    /// How many there are of each session.
    by_session: BTreeMap<SessionId, usize>,
    count: usize,
}

#[derive(Debug)]
struct Orphan {
    session: SessionId,
    publisher: ClientId,
    place: Place,
    group: GroupKey,
}

impl Orphans {
    /// The bytes that they occupy.
    pub(in crate::broker) const fn bytes(&self) -> usize {
        self.count * PLACE
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
        match (&offer.content, offer.group) {
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
                let orphan = Orphan { session, publisher, place: *place, group };
                if self.messages.body(place.message).is_some() {
                    self.move_place(orphan, now);
                } else {
                    self.messages.want(place.message, None);
                    *self.orphans.by_session.entry(session).or_default() += 1;
                    self.orphans.count += 1;
                    self.orphans.by_message.entry(place.message).or_default().push(orphan);
                }
            }
        }
    }

    fn move_place(&mut self, orphan: Orphan, now: Instant) {
        let Orphan { session, publisher, place, group } = orphan;
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
            self.move_place(orphan, now);
            if let Some(left) = self.orphans.by_session.get_mut(&session) {
                *left -= 1;
                if *left == 0 {
                    self.orphans.by_session.remove(&session);
                    self.write_end(session);
                }
            }
        }
    }

    /// Writes down that a session has ended, unless messages of it are still to go elsewhere.
    pub(in crate::broker) fn write_end(&mut self, session: SessionId) {
        if !self.orphans.by_session.contains_key(&session) {
            self.journal.append(&Record::Ended { session });
        }
    }
}
