//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 and 3.10).

use std::ops::ControlFlow;

use super::journal::hold::Passing;
use super::journal::{Room, live};
use super::pressure::Scarcity;
use super::record::Record;
use super::response::Ownership;
use super::subscriptions::{Subscribed, Subscription, SubscriptionKey};
use super::{Broker, SessionKey, ToClient};
use crate::clock::Instant;
use crate::mqtt::packet::{RetainHandling, SubAck, Subscribe, SubscribeEntry, UnsubAck, Unsubscribe};
use crate::mqtt::{Packet, QoS, ReasonCode, SubscriptionFilter, SubscriptionIdentifier, UserProperties};

impl Broker {
    pub(super) fn subscribe(&mut self, key: SessionKey, packet: &Subscribe, now: Instant) -> ControlFlow<()> {
        let mut reasons = Vec::with_capacity(packet.entries.len());
        for entry in &packet.entries {
            // [MQTT-3.8.4-5]: as if each had come alone; [MQTT-3.8.4-6]: one answer for all.
            let granted = self.subscribe_to(key, entry, packet.identifier);
            let reason = granted.unwrap_or_else(|reason| {
                if reason == ReasonCode::NotAuthorized {
                    self.counters.subscribe_denied += 1;
                } else if reason == ReasonCode::QuotaExceeded {
                    self.counters.refused_subscriptions_limit += 1;
                } else {
                    self.counters.subscribe_refused += 1;
                }
                reason
            });
            reasons.push(reason);
        }
        let answer = SubAck {
            packet_id: packet.packet_id,
            reasons,
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        self.send_kept(key, ToClient::Send(Box::new(Packet::SubAck(Box::new(answer)))), Passing::Nothing);
        self.pump(key, now);
        ControlFlow::Continue(())
    }

    fn subscribe_to(
        &mut self,
        key: SessionKey,
        entry: &SubscribeEntry,
        identifier: Option<SubscriptionIdentifier>,
    ) -> Result<ReasonCode, ReasonCode> {
        let filter = SubscriptionFilter::parse(&entry.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        self.work += filter.filter.levels().count();
        if !self.topic_is_within_limits(filter.filter.as_str()) {
            self.counters.refused_topic_limit += 1;
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let features = &self.config.features;
        if filter.share.is_some() && !features.shared_subscriptions {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if identifier.is_some() && !features.subscription_identifiers {
            return Err(ReasonCode::SubscriptionIdentifiersNotSupported);
        }
        if filter.filter.has_wildcard() && !features.wildcards {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        let qos = entry.options.qos.min(features.maximum_qos);
        self.may_subscribe(key, &filter)?;
        if self.journal.room != Room::Enough
            && self.kept_id(key).is_some()
            && let Some((reason, _)) = self.has_no_room()
        {
            return Err(reason);
        }
        let mut options = entry.options;
        options.qos = qos;
        let subscribed =
            self.subscriptions.subscribe(&filter, Subscription { session: key, options, identifier });
        self.counters.subscribed += 1;
        let (place, is_new) = (subscribed.key(), matches!(subscribed, Subscribed::New(_)));
        let wants_retained = match options.retain_handling {
            RetainHandling::Always => true,  // [MQTT-3.3.1-9]
            RetainHandling::IfNew => is_new, // [MQTT-3.3.1-10]
            RetainHandling::Never => false,  // [MQTT-3.3.1-11]
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let bytes = footprint(&filter);
        let is_new_place = session.subscriptions.insert(place);
        if is_new_place {
            session.subscription_bytes += bytes;
            self.subscription_bytes += bytes;
        }
        // Section 4.8.2: a shared subscription gets no retained messages.
        if let (SubscriptionKey::Plain(node), true) = (place, wants_retained) {
            self.begin_replay(node, filter.filter, Subscription { session: key, options, identifier });
        }
        if let Some(session) = self.kept_id(key) {
            let text = entry.filter.as_ref();
            self.journal.append(&Record::Subscribed { session, filter: text, options, identifier });
            self.kept_subscription_bytes += if is_new_place { live::subscriptions(1, bytes) } else { 0 };
        }
        Ok(match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        })
    }

    fn may_subscribe(&self, key: SessionKey, filter: &SubscriptionFilter) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get(key) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        match self.response_topics.ownership(filter.filter.as_str()) {
            Ownership::Of(owner) if owner == key => {}
            Ownership::Of(_) | Ownership::Nobody => return Err(ReasonCode::NotAuthorized),
            Ownership::Ordinary if !session.permissions.may_subscribe(&filter.filter) => {
                return Err(ReasonCode::NotAuthorized);
            }
            Ownership::Ordinary => {}
        }
        let is_scarce = self.pressure.scarcity() >= Scarcity::Refuse;
        let full = is_scarce || session.subscriptions.len() >= self.config.limits.subscriptions_per_client;
        let bytes = session.subscription_bytes + footprint(filter);
        let full = full || bytes > self.config.limits.subscription_bytes_per_client;
        if full && self.subscriptions.find(filter, key).is_none() {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, packet: &Unsubscribe) -> ControlFlow<()> {
        let reasons = packet.filters.iter().map(|filter| self.unsubscribe_from(key, filter)).collect();
        let answer = UnsubAck {
            packet_id: packet.packet_id,
            reasons,
            reason_string: None,
            user_properties: UserProperties::new(),
        };
        // [MQTT-3.10.4-4], [MQTT-3.10.4-5]
        self.send_kept(key, ToClient::Send(Box::new(Packet::UnsubAck(Box::new(answer)))), Passing::Nothing);
        ControlFlow::Continue(())
    }

    fn unsubscribe_from(&mut self, key: SessionKey, text: &str) -> ReasonCode {
        let Ok(filter) = SubscriptionFilter::parse(text) else {
            return ReasonCode::TopicFilterInvalid;
        };
        self.work += filter.filter.levels().count();
        // [MQTT-3.10.4-1]
        let Some(place) = self.subscriptions.find(&filter, key) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        self.subscriptions.unsubscribe(place, key);
        self.counters.unsubscribed += 1;
        if let Some(session) = self.sessions.get_mut(key) {
            if session.subscriptions.remove(&place) {
                session.subscription_bytes -= footprint(&filter);
                self.subscription_bytes -= footprint(&filter);
                if let Some(keeping) = &session.keeping {
                    self.kept_subscription_bytes -= live::subscriptions(1, footprint(&filter));
                    let session = keeping.id;
                    self.journal.append(&Record::Unsubscribed { session, filter: text });
                }
            }
            if let SubscriptionKey::Plain(node) = place {
                let ended = session.replays.remove(&node);
                self.replay_bytes -= ended.as_ref().map_or(0, live::replay);
                session.forget_replays();
            }
        }
        ReasonCode::Success
    }
}

/// What of its [`footprint`] a subscription has beside its texts.
pub(super) const FIXED_FOOTPRINT: usize = 160;

/// The bytes that a subscription occupies, by and large: the text of its filter and the name of its group, where it stands
/// in its session, and what the tree has for it, which is two nodes at most.
pub(super) fn footprint(filter: &SubscriptionFilter) -> usize {
    let group = filter.share.as_ref().map_or(0, |share| share.as_str().len());
    FIXED_FOOTPRINT + filter.filter.as_str().len() + group
}
