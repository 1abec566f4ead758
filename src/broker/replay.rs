//! Retained messages on their way to a new subscription (MQTT 5.0 section 3.3.1.3): straight from the store, so that no
//! queue fills up however many there are.
//!
//! If the session outlives the broker, so does what is on its way: it is written down that there is something before the
//! subscription is, with each message how far the replay has come, and in the end that it has.

use std::sync::Arc;

use super::deliver::has_quota;
use super::journal::keep::{Course, Novelty, Source};
use super::journal::{Room, live};
use super::record::{Number, Progress, Record, Sequence, SessionId, Target};
use super::retained::{Position, Retained, RetainedStore, Step};
use super::session::Replay;
use super::session::queue::{Content, Offer};
use super::subscriptions::{NodeKey, Subscription};
use super::{Broker, SessionKey};
use crate::clock::Instant;
use crate::mqtt::{QoS, TopicFilter};

/// Candidates that a search for retained messages looks at before it lets others have a turn.
const SEARCH_STEPS: usize = 1_000;

/// Candidates that are looked at to find out whether there is anything to be sent at all.
const FIRST_STEPS: usize = 32;

impl Replay {
    /// From the first that matches.
    pub(super) fn new(filter: TopicFilter, subscription: Subscription) -> Self {
        let Subscription { session: _, options, identifier } = subscription;
        let position = Position::start(&filter);
        Self { filter, position, options, identifier, is_written: false }
    }

    /// How far it is, as it is written down; and with what came last, if that is written down with it.
    pub(super) fn record(&self, session: SessionId, queued: Option<(Number, Target)>) -> Record<'_> {
        let progress = match &self.position {
            Position::At(topic) => Progress::At(topic),
            Position::Behind(topic) => Progress::Behind(topic.as_str()),
        };
        self.record_of(session, progress, queued)
    }

    /// That it has come to its end.
    fn last_record(&self, session: SessionId) -> Record<'_> {
        self.record_of(session, Progress::Done, None)
    }

    fn record_of<'a>(
        &'a self,
        session: SessionId,
        progress: Progress<'a>,
        queued: Option<(Number, Target)>,
    ) -> Record<'a> {
        let (filter, options, identifier) = (self.filter.as_str(), self.options, self.identifier);
        Record::Replay { session, filter, options, identifier, progress, queued }
    }
}

impl Broker {
    /// All retained messages that match are to be sent to a subscription that has been made. Nothing is written down of
    /// that yet.
    pub(super) fn begin_replay(&mut self, node: NodeKey, filter: TopicFilter, subscription: Subscription) {
        let key = subscription.session;
        let mut replay = Replay::new(filter, subscription);
        let kept = self.kept_id(key).filter(|_| replay.options.qos > QoS::AtMostOnce);
        let is_due = kept.is_some() && self.may_find(&replay);
        let Some(session) = self.sessions.get_mut(key) else { return };
        // What is written of the one before holds for this one: that it has begun is to be written, and that it ends.
        replay.is_written = is_due || session.replays.get(&node).is_some_and(|before| before.is_written);
        if let Some(keeping) = session.keeping.as_ref().filter(|_| replay.is_written) {
            self.journal.append(&replay.record(keeping.id, None));
        }
        self.replay_bytes += live::replay(&replay);
        let before = session.replays.insert(node, replay);
        self.replay_bytes -= before.as_ref().map_or(0, live::replay);
    }

    /// Whether there is a retained message to be sent, as far as can be told at once.
    fn may_find(&mut self, replay: &Replay) -> bool {
        let mut position = replay.position.clone();
        for _ in 0..FIRST_STEPS {
            self.work += 1;
            match self.retained.step(&replay.filter, &position) {
                Step::Match(_) => return true,
                Step::Continue(next) => position = next,
                Step::Done => return false,
            }
        }
        true
    }

    /// Sends retained messages to new subscriptions, as far as there is room.
    pub(super) fn replay_retained(&mut self, key: SessionKey, now: Instant) {
        for _ in 0..SEARCH_STEPS {
            self.work += 1;
            let windows = self.windows();
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(attachment) = session.attachment.as_ref() else {
                return;
            };
            if !windows.is_open(attachment) || !session.queue.is_empty() {
                return;
            }
            let may_wait = has_quota(session, attachment, windows);
            let Some(mut first) = session.replays.first_entry() else {
                return;
            };
            if first.get().is_written && self.journal.room != Room::Enough {
                // Each message takes a record, and it is kept already: it goes on when there is room again.
                return;
            }
            let before = live::replay(first.get());
            let found = next_retained(&self.retained, first.get_mut(), may_wait);
            self.replay_bytes = self.replay_bytes - before + live::replay(first.get());
            let found = match found {
                Found::Nothing => continue,
                Found::NoRoom => return,
                Found::End => {
                    let ended = first.remove();
                    self.replay_bytes -= live::replay(&ended);
                    session.forget_replays();
                    if let Some(keeping) = session.keeping.as_ref().filter(|_| ended.is_written) {
                        self.journal.append(&ended.last_record(keeping.id));
                    }
                    continue;
                }
                Found::Offer(offer, found) => {
                    let own = first.get().options.no_local && found.publisher == session.client_id;
                    (!own).then_some((offer, found))
                }
            };
            let node = *first.key();
            let Some((offer, Retained { message, publisher, kept: number })) = found else { continue };
            if message.has_expired(now) {
                continue;
            }
            let course = number.map_or(Course::Published, |number| Course::Retained(number, node));
            self.on_course(course, |broker| {
                broker.check_and_hand_over(key, offer, Arc::clone(&message), Novelty::New);
            });
            // It is written down now if it was not yet.
            self.finish_routing(&message, &publisher, Source::Client(None));
        }
        if let Some(session) = self.sessions.get_mut(key)
            && !session.is_searching
        {
            session.is_searching = true;
            self.searching.push_back(key);
        }
    }

    /// There is room for records again: what stood still goes on.
    pub(super) fn resume_replays(&mut self) {
        let keys: Vec<SessionKey> = self.sessions.keys().collect();
        for key in keys {
            if let Some(session) = self.sessions.get_mut(key)
                && session.attachment.is_some()
                && !session.replays.is_empty()
                && !session.is_searching
            {
                session.is_searching = true;
                self.searching.push_back(key);
            }
        }
    }

    /// Writes down that the session has a retained message in its queue or under way, and how far that brings the replay
    /// at this node.
    pub(super) fn write_replayed(
        &mut self,
        key: SessionKey,
        node: NodeKey,
        message: Number,
        target: Target,
    ) -> Sequence {
        let replay = self.sessions.get(key).and_then(|session| session.replays.get(&node));
        match replay.filter(|replay| replay.is_written) {
            Some(replay) => {
                let record = replay.record(target.session, Some((message, target)));
                self.journal.append(&record)
            }
            None => self.journal.append(&Record::Queued { message, from: None, target }),
        }
    }
}

/// What the next step of a replay came to.
enum Found {
    /// A message.
    Offer(Offer, Retained),
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
            let qos = found.message.qos.min(replay.options.qos);
            if qos > QoS::AtMostOnce && !may_wait {
                return Found::NoRoom;
            }
            replay.position = Position::Behind(found.message.topic.clone());
            let identifiers = replay.identifier.map(|identifier| Box::from([identifier]));
            // [MQTT-3.3.1-8]
            let content = Content::Here(Arc::clone(&found.message));
            Found::Offer(Offer::new(content, qos, true).with_identifiers(identifiers), found)
        }
    }
}
