//! What must always hold between the parts of the broker, written down so that simulation and fuzzing can ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::journal::hold::Held;
use super::journal::live;
use super::memory::{ATTACHMENT, HELD, Waiting, place};
use super::record::Number;
use super::session::Session;
use super::session::queue::{Content, Loads, Offer};
use super::subscriptions::SubscriptionKey;
use super::will::footprint;
use super::{Broker, SessionKey};
use crate::mqtt::QoS;

impl Broker {
    /// Panics if the broker's own bookkeeping does not add up. Looks at everything: for tests.
    pub fn assert_invariants(&self) {
        let (mut will_bytes, mut connected, mut subscriptions) = (0, 0, 0);
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get(key) else {
                unreachable!("keys are of sessions that are there")
            };
            self.assert_session(key, session);
            will_bytes += session.will.as_deref().map_or(0, footprint);
            connected += usize::from(session.attachment.is_some());
            subscriptions += session.subscriptions.len();
        }
        for leaving in &self.leaving {
            assert!(
                self.sessions.get(leaving.key).is_none(),
                "a place is free only when nothing points there"
            );
            subscriptions += leaving.subscriptions.len();
        }
        assert_eq!(self.sessions.connections(), connected, "no connection is known that no session has");
        assert_eq!(
            self.subscriptions.count(),
            subscriptions,
            "no subscription is there that no session remembers"
        );
        assert_eq!(self.will_bytes, will_bytes, "bytes of wills add up");
        let retained_bytes: usize = self.retained.iter().map(|entry| entry.message.footprint()).sum();
        assert_eq!(self.retained.bytes(), retained_bytes, "retained bytes add up");
        assert!(self.retained.len() <= self.config.limits.retained_messages, "retained messages are bounded");
        assert!(self.consequences.is_empty(), "what follows has followed");
        self.assert_journal();
        self.assert_memory();
    }

    fn assert_memory(&self) {
        let mut waiting = Waiting::default();
        let mut bodies = BTreeMap::new();
        let (mut sessions, mut received, mut subscriptions, mut outstanding, mut held) = (0, 0, 0, 0, 0);
        for session in self.sessions.keys().filter_map(|key| self.sessions.get(key)) {
            let under_way = session.inflight.published().map(|(_, offer)| offer);
            let mut loads = Loads::default();
            for offer in session.queue.iter() {
                *loads.of(offer.qos) += offer.counted();
            }
            assert_eq!(session.queue.loads(), loads, "what counts of a queue adds up");
            for offer in session.queue.iter().chain(under_way) {
                waiting.counted += offer.counted();
                waiting.places += place(offer);
                waiting.kept += live::place(offer);
                if let Content::Here(message) = &offer.content {
                    bodies.insert(Arc::as_ptr(message).addr(), message.footprint());
                }
            }
            sessions += session.bytes();
            received += session.received.len();
            subscriptions += session.subscription_bytes;
            if let Some(attachment) = &session.attachment {
                sessions += ATTACHMENT;
                outstanding += attachment.outstanding;
                held += attachment.held.as_deref().map_or(0, Held::len);
            }
        }
        waiting.bodies = bodies.values().sum();
        assert_eq!(self.waiting, waiting, "bytes that wait add up, and each body is counted once");
        assert_eq!(self.sessions.bytes(), sessions, "bytes of sessions add up");
        assert_eq!(self.received_ids, received, "identifiers that wait for PUBREL are counted");
        subscriptions += self.leaving.iter().map(|leaving| leaving.bytes).sum::<usize>();
        assert_eq!(self.subscription_bytes, subscriptions, "bytes of subscriptions add up");
        assert_eq!(self.outstanding.of_sessions(), outstanding, "what is on its way adds up");
        assert_eq!(self.journal.bytes(), self.journal.batch_bytes() + held * HELD, "what waits is counted");
        assert_eq!(self.backlog.is_empty(), self.backlog.bytes() == 0, "a backlog has bytes");
    }

    fn assert_journal(&self) {
        let mut needed: BTreeMap<Number, u32> = BTreeMap::new();
        let mut need = |number: Number| *needed.entry(number).or_default() += 1;
        let (mut kept, mut attached, mut subscription_bytes, mut exchanges, mut session_bytes) =
            (0, 0, 0, 0, 0);
        let mut replay_bytes = 0;
        for session in self.sessions.keys().filter_map(|key| self.sessions.get(key)) {
            let under_way = session.inflight.published().map(|(_, offer)| offer);
            for offer in session.queue.acknowledged().chain(under_way) {
                match &offer.content {
                    Content::Here(_) => {
                        assert!(session.keeping.is_none(), "what a kept session has is written down");
                    }
                    Content::Kept(place) => {
                        assert!(session.keeping.is_some(), "only kept sessions have what is written down");
                        need(place.message);
                    }
                }
            }
            let numbers = session.queue.acknowledged().map(Offer::number);
            assert!(session.keeping.is_none() || numbers.is_sorted(), "places are in order");
            replay_bytes += session.replays.values().map(live::replay).sum::<u64>();
            if let Some(keeping) = &session.keeping {
                kept += 1;
                exchanges += session.kept_exchanges();
                session_bytes += u64::from(keeping.bytes);
                attached += usize::from(session.attachment.is_some());
                let number = session.subscriptions.len();
                subscription_bytes += live::subscriptions(number, session.subscription_bytes);
            }
        }
        self.retained.iter().filter_map(|entry| entry.kept).for_each(&mut need);
        self.orphans.needed().for_each(&mut need);
        let publishers = self.retained.iter().filter(|entry| entry.kept.is_some());
        let publisher_bytes = publishers.map(|entry| live::publisher(&entry.publisher)).sum();
        self.messages.assert_adds_up(&needed, publisher_bytes);
        assert_eq!(self.kept_exchanges, exchanges, "exchanges of kept sessions are counted");
        assert_eq!(self.journal.session_bytes, session_bytes, "the records of sessions are counted");
        assert_eq!(self.sessions.kept(), kept, "kept sessions are known by their number");
        assert_eq!(self.kept_attached, attached, "connections of kept sessions are counted");
        assert_eq!(self.replay_bytes, replay_bytes, "their replays are counted");
        assert_eq!(self.kept_subscription_bytes, subscription_bytes, "their subscriptions are counted");
        assert!(self.routing.is_finished(), "what was handed around has been written down");
    }

    fn assert_session(&self, key: SessionKey, session: &Session) {
        let limits = &self.config.limits;
        assert_eq!(
            self.sessions.find(&session.client_id),
            Some(key),
            "a session is found by its client identifier"
        );
        // What was under way when a broker ended waits again, if it is not known that it was sent.
        let (more, times) =
            if session.keeping.is_some() { (usize::from(limits.inflight_messages), 2) } else { (0, 1) };
        let (most, most_bytes) = (limits.queued_messages + more, limits.queued_bytes * times);
        assert!(session.queue.len() <= most, "queues are bounded in messages");
        assert!(session.queue.bytes() <= most_bytes, "queues are bounded in bytes");
        assert!(session.inflight.active() <= session.inflight.len(), "what counts is under way");
        assert!(session.received.len() <= limits.inbound_qos2, "inbound identifiers are bounded");
        assert!(session.subscriptions.len() <= limits.subscriptions_per_client, "subscriptions are bounded");
        if let Some(attachment) = &session.attachment {
            assert_eq!(
                self.sessions.of_connection(attachment.connection),
                Some(key),
                "connections find sessions"
            );
            assert!(session.expiry_timer.is_none(), "a session with a connection does not expire");
            assert!(session.will_timer.is_none(), "a will waits for the end of the connection");
        } else {
            assert!(session.queue.lane_is_empty(QoS::AtMostOnce), "QoS 0 waits for nobody who is away");
        }
        for subscription in &session.subscriptions {
            let filter = self.subscriptions.filter(*subscription);
            let found = filter.as_ref().and_then(|filter| self.subscriptions.find(filter, key));
            assert_eq!(found, Some(*subscription), "what a session remembers is there: {filter:?}");
        }
        for node in session.replays.keys() {
            assert!(
                session.subscriptions.contains(&SubscriptionKey::Plain(*node)),
                "replays are of subscriptions"
            );
        }
    }
}
