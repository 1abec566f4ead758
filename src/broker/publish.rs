//! A client publishes (MQTT 5.0 section 3.3).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::journal::hold::Passing;
use super::journal::keep::Source;
use super::journal::{Durability, Room};
use super::permissions::Permissions;
use super::pressure::Scarcity;
use super::record::Record;
use super::response::Ownership;
use super::retained::Retained;
use super::{Broker, SessionKey, ToClient};
use crate::clock::Instant;
use crate::mqtt::packet::{Acknowledgement, AcknowledgementKind, Publish};
use crate::mqtt::{
    ClientId, Message, PacketId, PayloadFormat, Places, ProtocolVersion, QoS, ReasonCode, TopicName,
};

impl Broker {
    pub(super) fn publish(&mut self, key: SessionKey, publish: Publish, now: Instant) -> ControlFlow<()> {
        self.counters.publish_received += 1;
        let Some(session) = self.sessions.get(key) else { return ControlFlow::Break(()) };
        let Some(attachment) = &session.attachment else { return ControlFlow::Break(()) };
        let header = Header {
            key,
            version: attachment.version,
            qos: publish.qos,
            packet_id: publish.packet_id,
            durability: attachment.durability,
        };
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            if session.received.contains(&id) {
                // [MQTT-4.3.3-10]: it was routed when it came first.
                self.counters.publish_repeated += 1;
                self.acknowledge(key, AcknowledgementKind::PubRec, id, ReasonCode::Success);
                return ControlFlow::Continue(());
            }
            if session.received.len() >= self.config.limits.inbound_qos2 {
                self.counters.refused_qos2_limit += 1;
                let detail = "too many messages wait for PUBREL";
                return self.refuse(key, ReasonCode::ReceiveMaximumExceeded, detail, now);
            }
        }
        let (client_id, permissions) = (session.client_id.clone(), Arc::clone(&session.permissions));
        let Some(topic) = publish.topic else {
            return self.refuse(key, ReasonCode::ProtocolError, "a PUBLISH without a topic", now);
        };
        let properties = publish.properties;
        let lives = properties.as_ref().and_then(|properties| properties.message_expiry_interval);
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_at: lives.map(|seconds| now + Duration::from_secs(u64::from(seconds))),
            properties,
            places: Places::default(),
        };
        if let Err((reason, detail)) = self.vet(&message) {
            return self.turn_away(header, reason, detail, now);
        }
        if self.journal.is_open() && message.qos > QoS::AtMostOnce {
            self.journal.durability = self.durability_of(message.topic.as_str(), header.durability);
        }
        if !self.may_publish(&permissions, &message.topic) {
            self.counters.publish_denied += 1;
            tracing::debug!(%client_id, topic = %message.topic, "publishing is not allowed");
            return self.settle_unrouted(header, ReasonCode::NotAuthorized, now);
        }
        let is_large = message.footprint() > self.config.limits.kept_message_bytes;
        if (is_large || self.journal.room != Room::Enough)
            && (self.would_be_kept(&message) || (!is_large && self.is_remembered(header)))
            && let Some((reason, detail)) = self.has_no_room_for(&message)
        {
            return self.turn_away(header, reason, detail, now);
        }
        let message = Arc::new(message);
        let retained_before = self.retained.bytes();
        self.pressure.piling_up = 0;
        // A message too many to be retained is refused where that can be said; otherwise it is delivered all the same.
        let can_be_told = header.version.is_v5() && header.qos > QoS::AtMostOnce;
        if message.retain && !self.retain(&message, &client_id) && can_be_told {
            return self.settle(header, ReasonCode::QuotaExceeded);
        }
        let received = header.packet_id.filter(|_| header.qos == QoS::ExactlyOnce);
        let received = received.and_then(|id| Some((self.kept_id(key)?, id)));
        if message.retain && message.payload.is_empty() {
            self.rest_on_absence(now);
        }
        let reason = if self.route(&message, Some(key), &client_id, now) {
            ReasonCode::Success
        } else {
            self.counters.publish_unmatched += 1;
            ReasonCode::NoMatchingSubscribers
        };
        self.finish_routing(&message, &client_id, Source::Client(received));
        let retained = self.retained.bytes().saturating_sub(retained_before);
        self.blame(key, self.pressure.piling_up + retained, now);
        self.settle(header, reason)
    }

    /// Whether a message is one that this broker takes, whoever publishes it. If not, why.
    fn vet(&mut self, message: &Message) -> Result<(), (ReasonCode, &'static str)> {
        if message.qos > self.config.features.maximum_qos {
            // [MQTT-3.2.2-11]
            self.counters.publish_refused += 1;
            return Err((ReasonCode::QoSNotSupported, "the QoS is not supported"));
        }
        if message.retain && !self.config.features.retain {
            // [MQTT-3.2.2-14]
            self.counters.publish_refused += 1;
            let reason = match message.qos {
                QoS::AtMostOnce => ReasonCode::RetainNotSupported,
                QoS::AtLeastOnce | QoS::ExactlyOnce => ReasonCode::ImplementationSpecificError,
            };
            return Err((reason, "retained messages are not supported"));
        }
        if !self.topic_is_within_limits(message.topic.as_str()) {
            self.counters.refused_topic_limit += 1;
            return Err((ReasonCode::TopicNameInvalid, "the topic is too long or has too many levels"));
        }
        let format = message.properties.as_ref().and_then(|properties| properties.payload_format);
        if format == Some(PayloadFormat::Utf8) && std::str::from_utf8(&message.payload).is_err() {
            self.counters.publish_refused += 1;
            return Err((ReasonCode::PayloadFormatInvalid, "the payload is not UTF-8"));
        }
        Ok(())
    }

    /// Keeps a message for later subscribers, or, if it is empty, forgets the one that is kept
    /// \[MQTT-3.3.1-5\], \[MQTT-3.3.1-6\]. Whether that could be done.
    pub(super) fn retain(&mut self, message: &Arc<Message>, publisher: &ClientId) -> bool {
        let topic = message.topic.as_str();
        if message.payload.is_empty() || self.response_topics.ownership(topic) == Ownership::Nobody {
            if let Some(old) = self.retained.remove(topic) {
                self.no_longer_retained(&old);
                if self.journal.is_open() {
                    self.journal.append(&Record::Cleared { topic });
                }
            }
            return true;
        }
        let replaced = self.retained.find(topic).map(|old| old.message.footprint());
        let count = self.retained.len() - usize::from(replaced.is_some());
        let bytes = self.retained.bytes() - replaced.unwrap_or_default();
        let limits = &self.config.limits;
        if count >= limits.retained_messages
            || bytes + message.footprint() > limits.retained_bytes
            || (self.pressure.scarcity() >= Scarcity::Refuse
                && message.footprint() > replaced.unwrap_or_default())
        {
            self.counters.refused_retained_limit += 1;
            return false;
        }
        let kept = self.keep_retained(message);
        let entry = Retained { message: Arc::clone(message), publisher: publisher.clone(), kept };
        if let Some(old) = self.retained.insert(entry) {
            self.no_longer_retained(&old);
            if kept.is_none() && old.kept.is_some() {
                // The old one must not come back with the next start.
                self.journal.append(&Record::Cleared { topic });
            }
        }
        true
    }

    /// Whether `topic` is neither longer nor deeper than allowed.
    pub(super) fn topic_is_within_limits(&self, topic: &str) -> bool {
        let limits = &self.config.limits;
        // What is no longer than the levels allowed cannot have more of them.
        topic.len() <= limits.topic_length
            && (topic.len() < limits.topic_levels || topic.split('/').count() <= limits.topic_levels)
    }

    pub(super) fn may_publish(&self, permissions: &Permissions, topic: &TopicName) -> bool {
        let text = topic.as_str();
        // What the server says about itself is said by nobody else.
        if text.starts_with("$SYS") && matches!(text.as_bytes().get(4), None | Some(b'/')) {
            return false;
        }
        match self.response_topics.ownership(text) {
            Ownership::Ordinary => permissions.may_publish(topic),
            Ownership::Of(_) | Ownership::Nobody => true,
        }
    }

    /// Says that a message is not taken for what it is: where the client has a way to be told, it stays connected.
    fn turn_away(
        &mut self,
        header: Header,
        reason: ReasonCode,
        detail: &'static str,
        now: Instant,
    ) -> ControlFlow<()> {
        // [MQTT-3.2.2-11]: too high a QoS ends the connection in any case.
        let can_be_told = header.version.is_v5() && header.qos > QoS::AtMostOnce;
        if !can_be_told || reason == ReasonCode::QoSNotSupported {
            return self.refuse(header.key, reason, detail, now);
        }
        self.settle(header, reason)
    }

    /// Answers a PUBLISH that leads to nothing. A client that cannot be told so sends PUBREL for it all the same.
    fn settle_unrouted(&mut self, header: Header, reason: ReasonCode, now: Instant) -> ControlFlow<()> {
        if header.version.is_v5() {
            return self.settle(header, reason);
        }
        if self.is_remembered(header)
            && let Some((reason, detail)) = self.has_no_room()
        {
            return self.turn_away(header, reason, detail, now);
        }
        if header.qos == QoS::ExactlyOnce
            && let (Some(session), Some(packet_id)) = (self.kept_id(header.key), header.packet_id)
        {
            self.journal.append(&Record::Received { session, packet_id });
        }
        self.settle(header, reason)
    }

    /// Whether it is written down that the message came, whatever comes of it.
    fn is_remembered(&self, header: Header) -> bool {
        header.qos == QoS::ExactlyOnce && self.kept_id(header.key).is_some()
    }

    /// Answers a PUBLISH, with success or without.
    fn settle(&mut self, header: Header, reason: ReasonCode) -> ControlFlow<()> {
        let (kind, id) = match (header.qos, header.packet_id) {
            (QoS::AtMostOnce, _) | (_, None) => return ControlFlow::Continue(()),
            (QoS::AtLeastOnce, Some(id)) => (AcknowledgementKind::PubAck, id),
            (QoS::ExactlyOnce, Some(id)) => (AcknowledgementKind::PubRec, id),
        };
        // MQTT 3.x cannot be told: for the client it went well.
        let reason = if header.version.is_v5() { reason } else { ReasonCode::Success };
        if kind == AcknowledgementKind::PubRec
            && !reason.is_error()
            && let Some(session) = self.sessions.get_mut(header.key)
        {
            // Forgotten at PUBREL [MQTT-4.3.3-11]; an error ends the exchange at once.
            let is_new = usize::from(session.received.insert(id));
            self.received_ids += is_new;
            self.kept_exchanges += if session.keeping.is_some() { is_new } else { 0 };
        }
        self.acknowledge(header.key, kind, id, reason);
        ControlFlow::Continue(())
    }

    pub(super) fn acknowledge(
        &mut self,
        key: SessionKey,
        kind: AcknowledgementKind,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        let answer = Acknowledgement { kind, packet_id, reason, details: None };
        self.send_kept(key, ToClient::Acknowledge(answer), Passing::Messages);
    }
}

/// What of a PUBLISH its answer depends on.
#[derive(Debug, Clone, Copy)]
struct Header {
    key: SessionKey,
    version: ProtocolVersion,
    qos: QoS,
    packet_id: Option<PacketId>,
    durability: Durability,
}
