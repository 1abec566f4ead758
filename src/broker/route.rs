//! A message finds its subscribers.

use std::sync::Arc;

use super::deliver::{fits, has_room, may_receive};
use super::limits::{OverlappingSubscriptions, SharedStrategy};
use super::session::queue::{Content, Offer};
use super::subscriptions::{GroupKey, Readiness, Subscription};
use super::{Broker, Matches, SessionKey};
use crate::clock::Instant;
use crate::mqtt::{ClientId, Message, QoS, SubscriptionIdentifier};

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
        let steps =
            self.subscriptions.matching(message.topic.as_str(), &mut matches.plain, &mut matches.groups);
        self.work += steps + matches.plain.len() + matches.groups.len();
        let mut found = false;
        for of_one_session in matches.plain.chunk_by(|one, other| one.session == other.session) {
            found |= self.route_to(message, publisher, of_one_session, now);
        }
        for group in &matches.groups {
            found = true;
            self.route_shared(*group, message, publisher_id, now);
        }
        matches.plain.clear();
        matches.groups.clear();
        self.matches = Matches { plain: matches.plain, groups: matches.groups };
        found
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
                .then(|| counting().filter_map(|subscription| subscription.identifier).collect());
            // [MQTT-3.8.4-8]
            let qos = message.qos.min(qos);
            // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
            let retain = message.retain && keeps_flag;
            let offer = Offer::new(Content::Here(Arc::clone(message)), qos, retain);
            Some((first.session, offer.with_identifiers(identifiers)))
        };
        let mut found = false;
        match self.config.overlapping {
            OverlappingSubscriptions::Once => {
                if let Some((session, offer)) = offer(subscriptions) {
                    found = true;
                    self.offer(session, offer, message, now);
                }
            }
            OverlappingSubscriptions::Each => {
                for one in subscriptions {
                    if let Some((session, offer)) = offer(std::slice::from_ref(one)) {
                        found = true;
                        self.offer(session, offer, message, now);
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
        let random = if strategy == SharedStrategy::Random { self.random.next() } else { 0 };
        let (sessions, responses) = (&self.sessions, &self.response_topics);
        let windows = self.windows();
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
                    Some(attachment)
                        if has_room(&session.queue, &session.inflight, attachment, qos, windows) =>
                    {
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
        let qos = message.qos.min(member.options.qos);
        let retain = message.retain && member.options.retain_as_published;
        let offer = Offer::new(Content::Here(Arc::clone(message)), qos, retain)
            .with_identifiers(member.identifier.map(|identifier| Box::from([identifier])))
            // What is not acknowledged is not sent to another member either.
            .of_group(Some(group).filter(|_| qos > QoS::AtMostOnce));
        self.offer(member.session, offer, message, now);
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
}
