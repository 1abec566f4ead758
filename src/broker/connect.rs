//! A client wants its session (MQTT 5.0 section 3.1.4).

use std::sync::Arc;
use std::time::Duration;

use super::disconnect::WillFate;
use super::journal::hold::Passing;
use super::journal::{Durability, Room};
use super::pressure::{Scarcity, Share};
use super::session::{Attachment, Expiry, Keeping, Session};
use super::will::footprint;
use super::window::SMALL_WINDOW;
use super::{Attach, Broker, Output, SessionKey, ToClient};
use crate::clock::Instant;
use crate::mqtt::packet::{ConnAck, ConnAckProperties, Connect};
use crate::mqtt::{ClientId, Packet, PayloadFormat, ProtocolVersion, ReasonCode};

/// Why a client does not get its session.
struct Refusal {
    reason: ReasonCode,
    detail: &'static str,
}

impl Refusal {
    const fn new(reason: ReasonCode, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

impl Broker {
    pub(super) fn attach(&mut self, attach: Attach, now: Instant) {
        self.journal.begin(attach.durability.unwrap_or(self.config.durability.default));
        let refusal = match self.admit(&attach, now) {
            Ok(client_id) => return self.give_session(attach, &client_id, now),
            Err(refusal) => refusal,
        };
        let Attach { connection, connect, .. } = attach;
        let version = connect.version;
        tracing::debug!(%connection, client_id = %connect.client_id, reason = %refusal.reason, "{}", refusal.detail);
        let properties = ConnAckProperties {
            reason_string: version.is_v5().then(|| Arc::from(refusal.detail)),
            ..ConnAckProperties::default()
        };
        let answer = ConnAck { session_present: false, reason: refusal.reason, properties };
        let items = vec![
            ToClient::Send(Box::new(Packet::ConnAck(Box::new(answer)))),
            ToClient::Close { reason: None, detail: refusal.detail },
        ];
        self.outputs.push_back(Output::ToClient { connection, items });
    }

    /// Whether the client may have what it asks for, and under which client identifier.
    fn admit(&mut self, attach: &Attach, now: Instant) -> Result<ClientId, Refusal> {
        let Attach { connection: _, connect, identity, grants, policy, durability: _ } = attach;
        if !self.policies.welcome(policy, identity, grants.as_deref()) {
            // Authenticated by rules that have been replaced meanwhile.
            self.counters.refused_identity += 1;
            return Err(Refusal::new(ReasonCode::NotAuthorized, "the user or its token is no longer known"));
        }
        if let Err(refusal) = self.admit_will(connect) {
            self.counters.refused_connect += 1;
            return Err(refusal);
        }
        if connect.client_id.is_empty() {
            // [MQTT3-3.1.3-7], [MQTT3-3.1.3-8]: only a clean session may leave its name to the server; MQTT 3.1
            // wants a name in any case.
            let assigns = match connect.version {
                ProtocolVersion::V3_1 => false,
                ProtocolVersion::V3_1_1 => connect.clean_start,
                ProtocolVersion::V5 => true,
            };
            if !assigns {
                self.counters.refused_connect += 1;
                let detail = "an empty client identifier needs clean session";
                return Err(Refusal::new(ReasonCode::ClientIdentifierNotValid, detail));
            }
        } else if let Some(key) = self.sessions.find(&connect.client_id)
            && let Some(session) = self.sessions.get(key)
        {
            if session.identity != *identity || session.policy != *policy {
                self.counters.refused_identity += 1;
                let detail = "the client identifier belongs to another user";
                return Err(Refusal::new(ReasonCode::NotAuthorized, detail));
            }
            // Who has messages waiting makes room by fetching them.
            self.admit_memory(Scarcity::Full)?;
            let room = self.has_room_for_return(key, connect, now);
            room.map_err(|(reason, detail)| Refusal::new(reason, detail))?;
            self.admit_record(connect)?;
            return Ok(connect.client_id.clone());
        }
        self.admit_memory(Scarcity::Refuse)?;
        if self.sessions.len() >= self.config.limits.sessions {
            self.counters.refused_sessions_limit += 1;
            return Err(Refusal::new(ReasonCode::QuotaExceeded, "there are as many sessions as may be"));
        }
        if self.journal.room != Room::Enough
            && self.session_expiry(connect) > 0
            && let Some((reason, detail)) = self.has_no_room()
        {
            return Err(Refusal::new(reason, detail));
        }
        self.admit_record(connect)?;
        if connect.client_id.is_empty() {
            // [MQTT-3.1.3-6], [MQTT-3.1.3-7]
            return Ok(ClientId::new(format!("auto-{}", self.response_topics.identifier())));
        }
        Ok(connect.client_id.clone())
    }

    /// Whether what has to be written about the session does not come on top of too much that waits for the disk.
    fn admit_record(&mut self, connect: &Connect) -> Result<(), Refusal> {
        let times = if connect.will.is_some() { 1 } else { 2 };
        if self.session_expiry(connect) == 0 || !self.is_journal_behind(times) {
            return Ok(());
        }
        self.counters.refused_disk_behind += 1;
        Err(Refusal::new(ReasonCode::ServerBusy, "too much waits for the disk"))
    }

    /// Whether memory is not as scarce as this.
    fn admit_memory(&mut self, scarcity: Scarcity) -> Result<(), Refusal> {
        if self.pressure.scarcity() < scarcity {
            return Ok(());
        }
        self.counters.refused_memory += 1;
        Err(Refusal::new(ReasonCode::QuotaExceeded, "memory is scarce"))
    }

    fn admit_will(&mut self, connect: &Connect) -> Result<(), Refusal> {
        let Some(will) = &connect.will else { return Ok(()) };
        let features = &self.config.features;
        if will.qos > features.maximum_qos {
            // [MQTT-3.2.2-12]
            return Err(Refusal::new(ReasonCode::QoSNotSupported, "the QoS of the will is not supported"));
        }
        if will.retain && !features.retain {
            // [MQTT-3.2.2-13]
            return Err(Refusal::new(ReasonCode::RetainNotSupported, "retained messages are not supported"));
        }
        if !self.topic_is_within_limits(will.topic.as_str()) {
            self.counters.refused_topic_limit += 1;
            return Err(Refusal::new(
                ReasonCode::TopicNameInvalid,
                "the topic of the will is too long or too deep",
            ));
        }
        if self.will_bytes + footprint(will) > self.config.limits.will_bytes_total {
            self.counters.refused_will_limit += 1;
            return Err(Refusal::new(ReasonCode::QuotaExceeded, "there is no room for the will"));
        }
        if self.journal.is_open()
            && self.session_expiry(connect) > 0
            && footprint(will) > self.config.limits.kept_message_bytes
        {
            self.counters.refused_kept_size += 1;
            let detail = "the will is too large to be kept on this disk";
            return Err(Refusal::new(ReasonCode::QuotaExceeded, detail));
        }
        if will.properties.payload_format == Some(PayloadFormat::Utf8)
            && std::str::from_utf8(&will.payload).is_err()
        {
            return Err(Refusal::new(
                ReasonCode::PayloadFormatInvalid,
                "the payload of the will is not UTF-8",
            ));
        }
        Ok(())
    }

    fn give_session(&mut self, attach: Attach, client_id: &ClientId, now: Instant) {
        let Attach { connection, connect, identity, grants, policy, durability } = attach;
        let found = self.sessions.find(client_id);
        let is_unwritten = self.journal.room != Room::Enough
            && found.is_some_and(|key| {
                let session = self.sessions.get(key);
                session.is_some_and(|session| session.grants == grants)
                    && self.returns_unwritten(key, &connect)
            });
        self.take_over(client_id, connect.clean_start, now);
        // What was there before is over, and written down, before anything is written about what comes: the will that
        // is published is not the one that has just come, and the CONNACK waits for the end of the old session.
        self.draw_consequences(now);
        let expiry_seconds = self.session_expiry(&connect);
        let (key, session_present) = if let Some(key) = self.sessions.find(client_id) {
            (key, true)
        } else {
            let permissions = self.policies.permissions_of(&policy, &identity, client_id, None);
            let session = Session::new(client_id.clone(), policy, identity, permissions);
            (self.sessions.insert(session), false)
        };
        self.grant(key, grants);
        let answer = self.answer(&connect, client_id, key, session_present, expiry_seconds);
        let limits = &self.config.limits;
        let receive_maximum = usize::from(connect.properties.receive_maximum.get())
            .min(usize::from(limits.inflight_messages.max(1)));
        let maximum_packet_size = connect
            .properties
            .maximum_packet_size
            .map_or(usize::MAX, |size| usize::try_from(size.get()).unwrap_or(usize::MAX));
        let attachment = Attachment {
            connection,
            version: connect.version,
            receive_maximum,
            inflight_bytes: self.config.limits.queued_bytes,
            maximum_packet_size,
            outstanding: 0,
            earned_window: SMALL_WINDOW,
            is_asked: false,
            share: Share::default(),
            outbox: Vec::new(),
            held: None,
            durability: durability.unwrap_or(self.config.durability.default),
        };
        self.sessions.attach(key, attachment);
        if let Some(session) = self.sessions.get_mut(key) {
            self.timers.cancel(session.expiry_timer.take());
            self.timers.cancel(session.will_timer.take());
            session.expiry = Expiry::from_seconds(expiry_seconds);
            // [MQTT-3.1.2-10]; a delayed will of the connection before is not published [MQTT-3.1.3-9].
            session.inflight.begin_again();
        }
        self.set_will(key, connect.will);
        self.counters.clients_attached += 1;
        self.counters.sessions_resumed += u64::from(session_present);
        tracing::debug!(%connection, %client_id, session_present, version = %connect.version, "client attached");
        if self.journal.is_open() && expiry_seconds > 0 && !session_present {
            let id = self.journal.next_session();
            self.sessions.keep(key, Keeping::new(id));
        }
        self.kept_attached += usize::from(self.kept_id(key).is_some());
        let answer = ToClient::Send(Box::new(Packet::ConnAck(Box::new(answer))));
        if !is_unwritten {
            self.write_session(key, now);
        }
        let owed = self.rest_on_what_was(key, session_present, now);
        let keeping = self.sessions.get(key).and_then(|session| session.keeping.as_deref());
        if let Some(keeping) = keeping.filter(|_| is_unwritten) {
            let last = self.journal.last().filter(|_| owed > Durability::Memory);
            let record = last.unwrap_or(keeping.record);
            self.send_unwritten(key, answer, record);
        } else {
            self.send_kept(key, answer, Passing::Nothing);
        }
        self.write_alive(now);
        self.pump(key, now);
        self.turn_away_unanswered(key, now);
    }

    /// What a client is told over its new connection rests on what came of the ones before: its CONNACK, which nothing
    /// passes, waits for all of that, and as long as what was held back there would have.
    /// What that was.
    fn rest_on_what_was(&mut self, key: SessionKey, session_present: bool, now: Instant) -> Durability {
        if !session_present {
            self.rest_on_absence(now);
        }
        let keeping = self.sessions.get_mut(key).and_then(|session| session.keeping.as_mut());
        let owed = keeping.map(|keeping| std::mem::replace(&mut keeping.owed, Durability::Memory));
        let owed = owed.unwrap_or(Durability::Memory);
        self.journal.durability = self.journal.durability.max(owed);
        owed
    }

    /// Ends the connection that the client identifier has, and its session too if a clean start is wanted.
    fn take_over(&mut self, client_id: &ClientId, clean_start: bool, now: Instant) {
        let Some(key) = self.sessions.find(client_id) else {
            return;
        };
        if self.sessions.get(key).is_some_and(|session| session.attachment.is_some()) {
            // [MQTT-3.1.4-3]
            self.counters.sessions_taken_over += 1;
            let fate = if clean_start { WillFate::Publish } else { WillFate::PublishUnlessDelayed };
            self.close_with(
                key,
                ReasonCode::SessionTakenOver,
                "another connection has taken over",
                fate,
                now,
            );
        }
        let Some(session) = self.sessions.get(key) else { return };
        // Much may be due at once, after the broker was down for long, and not all of it has been seen to.
        let has_expired = session.expiry_timer.as_ref().is_some_and(|timer| timer.at() <= now);
        if session.will_timer.as_ref().is_some_and(|timer| timer.at() <= now) {
            self.will_is_due(key);
        }
        if clean_start || has_expired {
            // [MQTT-3.1.2-4]
            self.end_session(key, now);
        }
    }

    /// Seconds for which the session outlives its connection.
    pub(super) fn session_expiry(&self, connect: &Connect) -> u32 {
        let wanted = connect.properties.session_expiry_interval;
        let cap = self
            .config
            .limits
            .session_expiry_cap
            .map_or(u32::MAX, |cap| u32::try_from(cap.as_secs()).unwrap_or(u32::MAX));
        let chosen = match self.config.features.session_expiry_interval {
            // A clean session of MQTT 3.x has asked for nothing to be kept, in a word that has no number.
            Some(_) if !connect.version.is_v5() && wanted == 0 => 0,
            Some(configured) => configured,
            None => wanted,
        };
        chosen.min(cap)
    }

    fn answer(
        &mut self,
        connect: &Connect,
        client_id: &ClientId,
        key: SessionKey,
        session_present: bool,
        expiry_seconds: u32,
    ) -> ConnAck {
        let mut properties = ConnAckProperties::default();
        if connect.version.is_v5() {
            let features = &self.config.features;
            let asked = connect.properties.session_expiry_interval;
            properties.session_expiry_interval = (expiry_seconds != asked
                || features.session_expiry_interval.is_some())
            .then_some(expiry_seconds);
            properties.maximum_qos = features.maximum_qos;
            properties.retain_available = features.retain;
            properties.wildcard_subscription_available = features.wildcards;
            properties.subscription_identifier_available = features.subscription_identifiers;
            properties.shared_subscription_available = features.shared_subscriptions;
            // [MQTT-3.2.2-16]
            properties.assigned_client_id = connect.client_id.is_empty().then(|| client_id.clone());
            if connect.properties.request_response_information {
                properties.response_information = Some(self.response_information(key));
            }
        }
        ConnAck { session_present, reason: ReasonCode::Success, properties }
    }

    fn response_information(&mut self, key: SessionKey) -> Arc<str> {
        let known = self.sessions.get(key).and_then(|session| session.response_prefix.clone());
        let level = known.unwrap_or_else(|| {
            let level = self.response_topics.assign(key);
            if let Some(session) = self.sessions.get_mut(key) {
                session.response_prefix = Some(Arc::clone(&level));
            }
            level
        });
        Arc::from(format!("{level}/"))
    }
}

impl Expiry {
    /// For how long, if not for ever.
    pub(super) fn after(self) -> Option<Duration> {
        match self {
            Self::WithConnection => Some(Duration::ZERO),
            Self::After(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            Self::Never => None,
        }
    }
}
