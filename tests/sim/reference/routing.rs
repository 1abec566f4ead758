//! What the reference broker does with messages and subscriptions.

use std::rc::Rc;
use std::time::Duration;

use mqtt_broker::broker::{Durability, OverlappingSubscriptions, Room};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Publish, RetainHandling, Subscribe, SubscribeEntry,
    SubscriptionOptions, Unsubscribe,
};
use mqtt_broker::mqtt::{
    ClientId, Message, PacketId, Places, QoS, ReasonCode, SubscriptionFilter, SubscriptionIdentifier,
    TopicName,
};

use super::Reference;
use crate::answer::{About, Answer};
use crate::claims::{Expected, Member, SharedClaim, Subscription};

impl Reference {
    pub(super) fn publish(&mut self, session: usize, publish: &Publish, now: Instant) {
        self.tally.received += 1;
        let id = publish.packet_id.map_or(0, PacketId::get);
        let received = &self.sessions[session].received;
        if publish.qos == QoS::ExactlyOnce {
            if received.contains(&id) {
                self.tally.repeated += 1;
                self.durability = self.durability_of(session, publish);
                let session_of = &self.sessions[session];
                if session_of.is_kept {
                    let first = session_of.received_as.get(&id).copied().unwrap_or(Durability::Memory);
                    self.durability = self.durability.max(first);
                    self.about = About::Received(Rc::clone(&session_of.client_id), id);
                }
                return self.acknowledge(session, publish, ReasonCode::Success);
            }
            if received.len() >= self.config.limits.inbound_qos2 {
                return self.close(session, ReasonCode::ReceiveMaximumExceeded, now);
            }
        }
        let topic = publish.topic.clone().unwrap();
        let v5 = self.sessions[session].version.is_v5();
        if publish.qos > self.config.features.maximum_qos {
            return self.close(session, ReasonCode::QoSNotSupported, now);
        }
        let fault = if publish.retain && !self.config.features.retain {
            Some(match publish.qos {
                QoS::AtMostOnce => ReasonCode::RetainNotSupported,
                QoS::AtLeastOnce | QoS::ExactlyOnce => ReasonCode::ImplementationSpecificError,
            })
        } else {
            (!self.within_limits(topic.as_str())).then_some(ReasonCode::TopicNameInvalid)
        };
        match fault {
            Some(reason) if publish.qos == QoS::AtMostOnce || !v5 => return self.close(session, reason, now),
            Some(reason) => return self.acknowledge(session, publish, reason),
            None => {}
        }
        let is_remembered = publish.qos == QoS::ExactlyOnce && self.sessions[session].is_kept;
        if !self.may_publish(session, &topic) {
            if let Some(reason) = self.no_room().filter(|_| is_remembered && !v5) {
                return self.close(session, reason, now);
            }
            return self.acknowledge(session, publish, ReasonCode::NotAuthorized);
        }
        if publish.qos > QoS::AtMostOnce {
            self.durability = self.durability_of(session, publish);
        }
        let properties = publish.properties.clone();
        let message = Message {
            topic,
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: properties
                .as_ref()
                .and_then(|properties| properties.message_expiry_interval)
                .map(|seconds| now + Duration::from_secs(seconds.into())),
            properties,
            places: Places::default(),
        };
        if let Some(reason) = self.no_room().filter(|_| is_remembered || self.would_be_kept(&message)) {
            if !v5 {
                return self.close(session, reason, now);
            }
            return self.acknowledge(session, publish, reason);
        }
        let message = Rc::new(message);
        let publisher = Rc::clone(&self.sessions[session].client_id);
        self.accepted += 1;
        let stored = !message.retain || self.retain(&message, &publisher);
        if !stored && v5 && message.qos > QoS::AtMostOnce {
            return self.acknowledge(session, publish, ReasonCode::QuotaExceeded);
        }
        let matched = self.route(&message, Some(session), &publisher);
        let reason = if matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        if message.retain && stored && message.qos > QoS::AtMostOnce {
            self.about = About::Retained(message.topic.as_str().to_owned());
        }
        self.acknowledge(session, publish, reason);
    }

    /// How certain that has to be of which the answer to a PUBLISH tells.
    fn durability_of(&self, session: usize, publish: &Publish) -> Durability {
        let rules = &self.config.durability.by_topic;
        let topic = publish.topic.as_ref().unwrap();
        let rule = rules.iter().find(|(filter, _)| filter.matches(topic));
        rule.map_or(self.sessions[session].durability, |(_, durability)| *durability)
    }

    /// Whether a message would have to be kept: for a session that is kept, or because it is retained.
    pub(super) fn would_be_kept(&self, message: &Message) -> bool {
        let topic = &message.topic;
        let wants = |subscription: &Subscription| {
            subscription.filter.filter.matches(topic)
                && (subscription.filter.share.is_some() || subscription.options.qos > QoS::AtMostOnce)
        };
        let mut kept = self.sessions.iter().filter(|session| !session.ended && session.is_kept);
        let is_retained = self.retained.iter().any(|retained| retained.message.topic == *topic);
        let clears = message.retain && message.payload.is_empty();
        if clears && is_retained && self.room == Room::Low {
            return false;
        }
        message.qos > QoS::AtMostOnce
            && ((message.retain && (!clears || is_retained))
                || kept.any(|session| session.subscriptions.iter().any(wants)))
    }

    fn acknowledge(&mut self, session: usize, publish: &Publish, reason: ReasonCode) {
        let packet_id = publish.packet_id.map_or(0, PacketId::get);
        let reason = if self.sessions[session].version.is_v5() { reason } else { ReasonCode::Success };
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AcknowledgementKind::PubAck,
            QoS::ExactlyOnce => AcknowledgementKind::PubRec,
        };
        let received = &mut self.sessions[session].received;
        if kind == AcknowledgementKind::PubRec && !reason.is_error() && !received.contains(&packet_id) {
            received.push(packet_id);
            self.sessions[session].received_as.insert(packet_id, self.durability);
        }
        self.answer_session(session, Answer::Acknowledgement { kind, packet_id, reason });
    }

    pub(super) fn may_publish(&self, session: usize, topic: &TopicName) -> bool {
        let system = topic.as_str() == "$SYS" || topic.as_str().starts_with("$SYS/");
        !system && self.permissions(session).may_publish(topic)
    }

    pub(super) fn within_limits(&self, topic: &str) -> bool {
        let limits = &self.config.limits;
        topic.len() <= limits.topic_length && topic.split('/').count() <= limits.topic_levels
    }

    /// Whether the message could be kept, or the one that was kept be forgotten.
    pub(super) fn retain(&mut self, message: &Rc<Message>, publisher: &Rc<str>) -> bool {
        let others = self.retained.iter().filter(|retained| retained.message.topic != message.topic).count();
        let clears = message.payload.is_empty();
        if !clears && others >= self.config.limits.retained_messages {
            return false;
        }
        self.retained.retain(|retained| retained.message.topic != message.topic);
        let topic = message.topic.as_str();
        if self.no_room().is_some() && !clears {
            self.unsure.insert(topic.to_owned());
        } else {
            self.unsure.remove(topic);
        }
        let new = (!clears).then(|| Expected {
            message: Rc::clone(message),
            publisher: Rc::clone(publisher),
            order: self.accepted,
            qos: message.qos,
            retain: true,
            identifiers: Vec::new(),
        });
        for session in &mut self.sessions {
            session.claims.retained_changed(&message.topic, new.as_ref(), session.client_id == *publisher);
        }
        self.once_retained.extend(new.clone());
        self.retained.extend(new);
        true
    }

    /// Whether there was anybody.
    pub(super) fn route(
        &mut self,
        message: &Rc<Message>,
        publisher: Option<usize>,
        publisher_id: &Rc<str>,
    ) -> bool {
        let mut matched = false;
        let order = self.accepted;
        let expected = |of: &[&Subscription]| Expected {
            message: Rc::clone(message),
            publisher: Rc::clone(publisher_id),
            order,
            qos: of.iter().map(|subscription| subscription.options.qos).max().unwrap().min(message.qos),
            retain: message.retain && of.iter().any(|subscription| subscription.options.retain_as_published),
            identifiers: sorted(of.iter().filter_map(|subscription| subscription.identifier).collect()),
        };
        for (index, session) in self.sessions.iter_mut().enumerate().filter(|(_, session)| !session.ended) {
            let matching: Vec<&Subscription> = session
                .subscriptions
                .iter()
                .filter(|subscription| subscription.filter.share.is_none())
                .filter(|subscription| subscription.filter.filter.matches(&message.topic))
                .filter(|subscription| !(subscription.options.no_local && publisher == Some(index)))
                .collect();
            let all_expected: Vec<Expected> = match self.config.overlapping {
                _ if matching.is_empty() => continue,
                OverlappingSubscriptions::Once => vec![expected(&matching)],
                OverlappingSubscriptions::Each => matching.iter().map(|one| expected(&[one])).collect(),
            };
            matched = true;
            let permitted = self
                .policy
                .permissions(&session.identity, &ClientId::new(&*session.client_id))
                .may_receive(&message.topic);
            for expected in all_expected.into_iter().filter(|_| permitted) {
                session.claims.owe(expected, session.takes());
            }
        }
        let mut groups: Vec<SubscriptionFilter> = Vec::new();
        for session in self.sessions.iter().filter(|session| !session.ended) {
            for Subscription { filter, .. } in &session.subscriptions {
                if filter.share.is_some() && filter.filter.matches(&message.topic) && !groups.contains(filter)
                {
                    groups.push(filter.clone());
                }
            }
        }
        for filter in groups {
            matched = true;
            let members = self.members(&filter, message, publisher_id, order);
            // Messages without payload cannot be told apart, and those of several groups are easily confused.
            let must = !message.payload.is_empty()
                && members.iter().all(|member| member.expected.qos > QoS::AtMostOnce)
                && members.iter().any(|member| self.sessions[member.session].takes().takes(&member.expected));
            self.shared.push(SharedClaim::new(filter, members, must, self.input));
        }
        matched
    }

    /// The members of a group who may have a message.
    pub(super) fn members(
        &self,
        filter: &SubscriptionFilter,
        message: &Rc<Message>,
        publisher: &Rc<str>,
        order: u64,
    ) -> Vec<Member> {
        let mut members = Vec::new();
        for (index, session) in self.sessions.iter().enumerate().filter(|(_, session)| !session.ended) {
            for subscription in
                session.subscriptions.iter().filter(|subscription| subscription.filter == *filter)
            {
                let expected = Expected {
                    message: Rc::clone(message),
                    publisher: Rc::clone(publisher),
                    order,
                    qos: message.qos.min(subscription.options.qos),
                    retain: message.retain && subscription.options.retain_as_published,
                    identifiers: subscription.identifier.into_iter().collect(),
                };
                if self.permissions(index).may_receive(&message.topic) {
                    members.push(Member { session: index, expected, excused: false });
                }
            }
        }
        members
    }

    pub(super) fn acknowledged(&mut self, session: usize, packet: &Acknowledgement) {
        let packet_id = packet.packet_id.get();
        let state = &mut self.sessions[session];
        match packet.kind {
            AcknowledgementKind::PubRel => {
                let known = state.received.contains(&packet_id);
                state.received.retain(|id| *id != packet_id);
                let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                let kind = AcknowledgementKind::PubComp;
                self.answer_session(session, Answer::Acknowledgement { kind, packet_id, reason });
            }
            AcknowledgementKind::PubRec if !packet.reason.is_error() => {}
            AcknowledgementKind::PubAck | AcknowledgementKind::PubRec | AcknowledgementKind::PubComp => {
                state.claims.acknowledged(packet_id);
            }
        }
    }

    pub(super) fn subscribe(&mut self, session: usize, packet: &Subscribe, now: Instant) {
        let packet_id = packet.packet_id.get();
        let reasons = packet
            .entries
            .iter()
            .map(|entry| match self.subscription(session, entry, packet.identifier) {
                Ok(subscription) => self.subscribed(session, subscription, now),
                Err(reason) => reason,
            })
            .collect();
        self.answer_session(session, Answer::SubAck { packet_id, reasons });
        self.sessions[session].claims.settle_replays();
    }

    fn subscription(
        &self,
        session: usize,
        entry: &SubscribeEntry,
        identifier: Option<SubscriptionIdentifier>,
    ) -> Result<Subscription, ReasonCode> {
        let features = &self.config.features;
        let filter = SubscriptionFilter::parse(&entry.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let subscriptions = &self.sessions[session].subscriptions;
        let is_new = !subscriptions.iter().any(|subscription| subscription.filter == filter);
        let refusals = [
            (!self.within_limits(filter.filter.as_str()), ReasonCode::TopicFilterInvalid),
            (
                filter.share.is_some() && !features.shared_subscriptions,
                ReasonCode::SharedSubscriptionsNotSupported,
            ),
            (
                identifier.is_some() && !features.subscription_identifiers,
                ReasonCode::SubscriptionIdentifiersNotSupported,
            ),
            (
                filter.filter.has_wildcard() && !features.wildcards,
                ReasonCode::WildcardSubscriptionsNotSupported,
            ),
            (!self.permissions(session).may_subscribe(&filter.filter), ReasonCode::NotAuthorized),
            (
                is_new && subscriptions.len() >= self.config.limits.subscriptions_per_client,
                ReasonCode::QuotaExceeded,
            ),
        ];
        if let Some((_, reason)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(reason);
        }
        if let Some(reason) = self.no_room().filter(|_| self.sessions[session].is_kept) {
            return Err(reason);
        }
        let qos = entry.options.qos.min(features.maximum_qos);
        Ok(Subscription { filter, options: SubscriptionOptions { qos, ..entry.options }, identifier })
    }

    fn subscribed(&mut self, index: usize, subscription: Subscription, now: Instant) -> ReasonCode {
        self.tally.subscribed += 1;
        let permissions = self.permissions(index);
        let session = &mut self.sessions[index];
        let before = session.subscriptions.len();
        session.subscriptions.retain(|other| other.filter != subscription.filter);
        let is_new = session.subscriptions.len() == before;
        let replays = match subscription.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if subscription.filter.share.is_some() {
            session.claims.joined();
        } else if replays {
            session.claims.start_replay(&subscription);
            for retained in &self.retained {
                let own = subscription.options.no_local && retained.publisher == session.client_id;
                let topic = &retained.message.topic;
                let wanted = subscription.filter.filter.matches(topic) && !own;
                if wanted && !retained.message.has_expired(now) {
                    let expected = retained.of_replay(&subscription);
                    // What may not be received now may be by the time its turn comes.
                    let must = session.takes().fits(&expected) && permissions.may_receive(topic);
                    session.claims.owe_retained(expected, &subscription, must);
                }
            }
        }
        if !is_new {
            // As a member of a group it may get the next message otherwise.
            for shared in self.shared.iter_mut().filter(|shared| shared.filter == subscription.filter) {
                shared.excuse(index);
            }
        }
        let granted = subscription.options.qos;
        session.subscriptions.push(subscription);
        ReasonCode::from_u8(granted.as_u8()).unwrap()
    }

    pub(super) fn unsubscribe(&mut self, session: usize, packet: &Unsubscribe) {
        let packet_id = packet.packet_id.get();
        let mut reasons = Vec::new();
        for filter in &packet.filters {
            reasons.push(match SubscriptionFilter::parse(filter) {
                Ok(filter) => self.unsubscribed(session, &filter),
                Err(_) => ReasonCode::TopicFilterInvalid,
            });
        }
        self.answer_session(session, Answer::UnsubAck { packet_id, reasons });
    }

    fn unsubscribed(&mut self, session: usize, filter: &SubscriptionFilter) -> ReasonCode {
        let state = &mut self.sessions[session];
        let before = state.subscriptions.len();
        state.subscriptions.retain(|subscription| subscription.filter != *filter);
        if state.subscriptions.len() == before {
            return ReasonCode::NoSubscriptionExisted;
        }
        self.tally.unsubscribed += 1;
        state.claims.stop_replay(filter);
        for shared in self.shared.iter_mut().filter(|shared| shared.filter == *filter) {
            shared.excuse(session);
        }
        ReasonCode::Success
    }
}

fn sorted(mut identifiers: Vec<SubscriptionIdentifier>) -> Vec<SubscriptionIdentifier> {
    identifiers.sort_unstable();
    identifiers
}
