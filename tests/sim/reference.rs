//! A small, slow broker whose every step is evident. It does not say which bytes a client sees, but what each client
//! may see and must see in the end, and every answer that a client gets.
//!
//! It is told the same as the real broker, and at the same time. Sessions stand in a `Vec` and stay there when they
//! have ended, since what was sent to their clients may still be on its way.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::{
    Attach, BrokerConfig, ConnectionId, Identity, Input, OverlappingSubscriptions, Permissions, Policy,
};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, Disconnect, Publish, RetainHandling, Subscribe,
    SubscribeEntry, SubscriptionOptions, Unsubscribe, Will,
};
use mqtt_broker::mqtt::{
    Message, Packet, ProtocolVersion, QoS, ReasonCode, SubscriptionFilter, SubscriptionIdentifier, TopicName,
};

use crate::answer::Answer;
use crate::claims::{
    Arrival, Claims, Expected, Member, Seen, SharedClaim, Subscription, Takes, shared_arrived,
    shared_exchanged,
};

#[derive(Debug)]
pub(crate) struct Reference {
    config: BrokerConfig,
    policy: Arc<Policy>,
    pub(crate) sessions: Vec<Session>,
    /// Which session a connection has, or had.
    pub(crate) connections: BTreeMap<ConnectionId, usize>,
    /// As they were published.
    retained: Vec<Expected>,
    shared: Vec<SharedClaim>,
    /// Wills whose time has come, in order, with their session.
    due: Vec<(usize, Will)>,
    /// The answers that clients have not seen yet.
    pub(crate) answers: BTreeMap<ConnectionId, VecDeque<Answer>>,
    /// Counts what is accepted, so that order can be told.
    accepted: u64,
    pub(crate) tally: Tally,
}

/// How often what happened: to be compared with the counters of the real broker.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) attached: u64,
    pub(crate) detached: u64,
    pub(crate) resumed: u64,
    pub(crate) taken_over: u64,
    pub(crate) ended: u64,
    pub(crate) received: u64,
    pub(crate) repeated: u64,
    pub(crate) wills: u64,
    pub(crate) subscribed: u64,
    pub(crate) unsubscribed: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Rc<str>,
    pub(crate) identity: Identity,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) ended: bool,
    version: ProtocolVersion,
    maximum_packet_size: usize,
    /// What had been accepted when it got its connection.
    accepted_before: u64,
    /// Seconds.
    expiry: u32,
    expires_at: Option<Instant>,
    will: Option<Will>,
    will_at: Option<Instant>,
    subscriptions: Vec<Subscription>,
    /// Packet identifiers of QoS 2 messages that wait for their PUBREL.
    received: Vec<u16>,
    claims: Claims,
}

/// What becomes of the will of a connection that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Publish,
    /// The session goes on at once, if it does not end with its connection.
    TakenOver,
    Discard,
}

impl Reference {
    pub(crate) fn new(config: BrokerConfig, policy: Arc<Policy>) -> Self {
        Self {
            config,
            policy,
            sessions: Vec::new(),
            connections: BTreeMap::new(),
            retained: Vec::new(),
            shared: Vec::new(),
            due: Vec::new(),
            answers: BTreeMap::new(),
            accepted: 0,
            tally: Tally::default(),
        }
    }

    pub(crate) fn handle(&mut self, input: &Input, now: Instant) {
        match input {
            Input::Attach(attach) => self.attach(attach, now),
            Input::Received { connection, packets } => {
                for packet in packets {
                    let Some(session) = self.attached(*connection) else { break };
                    self.received(session, packet, now);
                }
            }
            Input::Closed { connection, .. } => {
                if let Some(session) = self.attached(*connection) {
                    self.detach(session, Fate::Publish, now);
                }
            }
            Input::PolicyChanged { policy } => self.policy_changed(policy, now),
            Input::ShutDown => {
                for session in 0..self.sessions.len() {
                    self.close(session, ReasonCode::ServerShuttingDown, now);
                }
            }
            Input::Tick => self.tick(now),
            Input::Written { .. } => {}
        }
        self.publish_wills(now);
    }

    /// A client is turned away before the broker hears of it.
    pub(crate) fn turned_away(&mut self, connection: ConnectionId, reason: ReasonCode) {
        self.answer(connection, Answer::ConnAck { session_present: false, reason });
    }

    /// A client is told to go by its connection, before the broker hears of it.
    pub(crate) fn dismissed(&mut self, connection: ConnectionId, reason: ReasonCode) {
        if let Some(session) = self.attached(connection) {
            self.tell_disconnect(session, reason);
        }
    }

    /// The broker has closed a connection because the queue of its session is full, which nobody else can foresee.
    pub(crate) fn queue_full(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(session) = self.attached(connection) {
            self.close(session, ReasonCode::QuotaExceeded, now);
            self.publish_wills(now);
        }
    }

    /// A PUBLISH has reached the client of a connection.
    pub(crate) fn arrived(
        &mut self,
        connection: ConnectionId,
        publish: &Publish,
        version: ProtocolVersion,
        now: Instant,
    ) -> Result<Arrival, String> {
        let Some(&index) = self.connections.get(&connection) else {
            return Err("to a client without a session".to_owned());
        };
        let claims = &mut self.sessions[index].claims;
        if claims.is_repeated(publish) {
            return Ok(Arrival::Repeated);
        }
        // What must come is taken for what has come.
        let accepted_until = if publish.dup { self.sessions[index].accepted_before } else { u64::MAX };
        let seen = Seen { publish: publish.clone(), version, accepted_until, at: now };
        let claims = &mut self.sessions[index].claims;
        let must = claims.arrived(&seen, true, now);
        if must == Ok(true) {
            return Ok(Arrival::New);
        }
        if shared_arrived(&mut self.shared, index, &seen, now) {
            claims.remember(publish);
            return Ok(Arrival::New);
        }
        let may = claims.arrived(&seen, false, now);
        if may == Ok(true) {
            return Ok(Arrival::New);
        }
        let sessions = &mut self.sessions;
        if shared_exchanged(&mut self.shared, index, &seen, |holder, its| {
            sessions[holder].claims.can_have_been(its)
        }) {
            sessions[index].claims.remember(publish);
            return Ok(Arrival::New);
        }
        // It is none of these: one that comes too late, or none at all.
        must.and(may)?;
        let claims = &self.sessions[index].claims;
        let about = publish.topic.as_ref().map(|topic| claims.about(topic)).unwrap_or_default();
        Err(format!("that it has no claim to. It had these, the latest first:\n    {about}"))
    }

    fn is_away(&self, session: usize) -> bool {
        !self.sessions[session].ended && self.sessions[session].connection.is_none()
    }

    /// Whether every session has a connection.
    pub(crate) fn nobody_is_away(&self) -> bool {
        !(0..self.sessions.len()).any(|session| self.is_away(session))
    }

    /// What clients who are connected should have seen by `now` and have not.
    pub(crate) fn missing(&self, now: Instant) -> Vec<(Rc<str>, Expected)> {
        let mut missing = Vec::new();
        for session in self.sessions.iter().filter(|session| session.connection.is_some()) {
            let own = session.claims.missing(now).into_iter().cloned();
            missing.extend(own.map(|expected| (Rc::clone(&session.client_id), expected)));
        }
        for shared in
            self.shared.iter().filter(|shared| shared.is_missing(now, |session| self.is_away(session)))
        {
            let expected = shared.members.iter().map(|member| member.expected.clone()).next();
            missing.extend(expected.map(|expected| (Rc::from(shared.filter.to_string()), expected)));
        }
        missing
    }

    pub(crate) fn live_sessions(&self) -> usize {
        self.sessions.iter().filter(|session| !session.ended).count()
    }

    pub(crate) fn retained_messages(&self) -> usize {
        self.retained.len()
    }

    pub(crate) fn permissions(&self, session: usize) -> Permissions {
        self.policy.permissions(&self.sessions[session].identity)
    }

    /// The session that has this connection now.
    pub(crate) fn attached(&self, connection: ConnectionId) -> Option<usize> {
        let session = *self.connections.get(&connection)?;
        (self.sessions[session].connection == Some(connection)).then_some(session)
    }

    pub(crate) fn live(&self, client_id: &str) -> Option<usize> {
        self.sessions.iter().position(|session| !session.ended && *session.client_id == *client_id)
    }

    fn answer(&mut self, connection: ConnectionId, answer: Answer) {
        self.answers.entry(connection).or_default().push_back(answer);
    }

    fn answer_session(&mut self, session: usize, answer: Answer) {
        let connection = self.sessions[session].connection.unwrap();
        self.answer(connection, answer);
    }

    fn attach(&mut self, attach: &Attach, now: Instant) {
        let Attach { connection, connect, identity } = attach;
        if let Some(reason) = self.refusal(connect, identity) {
            return self.answer(*connection, Answer::ConnAck { session_present: false, reason });
        }
        let client_id: Rc<str> = match connect.client_id.is_empty() {
            true => format!("auto {connection}").into(),
            false => connect.client_id.as_str().into(),
        };
        if let Some(old) = self.live(&client_id) {
            if self.sessions[old].connection.is_some() {
                self.tally.taken_over += 1;
                self.tell_disconnect(old, ReasonCode::SessionTakenOver);
                self.detach(old, if connect.clean_start { Fate::Publish } else { Fate::TakenOver }, now);
            }
            if connect.clean_start {
                self.end(old);
            }
        }
        let old = self.live(&client_id);
        let session = old.unwrap_or_else(|| {
            self.sessions.push(Session::new(client_id, identity.clone()));
            self.sessions.len() - 1
        });
        self.tally.attached += 1;
        self.tally.resumed += u64::from(old.is_some());
        self.connections.insert(*connection, session);
        let expiry = self.expiry(connect);
        self.sessions[session].attach(*connection, connect, expiry);
        self.sessions[session].accepted_before = self.accepted;
        self.answer(
            *connection,
            Answer::ConnAck { session_present: old.is_some(), reason: ReasonCode::Success },
        );
    }

    fn refusal(&self, connect: &Connect, identity: &Identity) -> Option<ReasonCode> {
        let features = &self.config.features;
        if let Some(will) = &connect.will {
            if will.qos > features.maximum_qos {
                return Some(ReasonCode::QoSNotSupported);
            }
            if will.retain && !features.retain {
                return Some(ReasonCode::RetainNotSupported);
            }
            if !self.within_limits(will.topic.as_str()) {
                return Some(ReasonCode::TopicNameInvalid);
            }
        }
        let unnamed = connect.client_id.is_empty();
        if unnamed && !connect.version.is_v5() && !connect.clean_start {
            return Some(ReasonCode::ClientIdentifierNotValid);
        }
        match self.live(connect.client_id.as_str()).filter(|_| !unnamed) {
            Some(session) => {
                (self.sessions[session].identity != *identity).then_some(ReasonCode::NotAuthorized)
            }
            None => {
                (self.live_sessions() >= self.config.limits.sessions).then_some(ReasonCode::QuotaExceeded)
            }
        }
    }

    /// Seconds for which a session outlives its connection.
    fn expiry(&self, connect: &Connect) -> u32 {
        let wanted = connect.properties.session_expiry_interval;
        match self.config.features.session_expiry_interval {
            Some(configured) if connect.version.is_v5() || wanted > 0 => self.capped(configured),
            _ => self.capped(wanted),
        }
    }

    fn capped(&self, seconds: u32) -> u32 {
        let cap = self.config.limits.session_expiry_cap;
        cap.map_or(seconds, |cap| seconds.min(u32::try_from(cap.as_secs()).unwrap()))
    }

    fn received(&mut self, session: usize, packet: &Packet, now: Instant) {
        match packet {
            Packet::Publish(publish) => self.publish(session, publish, now),
            Packet::Acknowledgement(packet) => self.acknowledged(session, packet),
            Packet::Subscribe(packet) => self.subscribe(session, packet, now),
            Packet::Unsubscribe(packet) => self.unsubscribe(session, packet),
            Packet::PingReq => self.answer_session(session, Answer::PingResp),
            Packet::Disconnect(packet) => self.disconnected(session, packet, now),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.close(session, ReasonCode::ProtocolError, now),
        }
    }

    fn publish(&mut self, session: usize, publish: &Publish, now: Instant) {
        self.tally.received += 1;
        let id = publish.packet_id.map_or(0, |id| id.get());
        let received = &self.sessions[session].received;
        if publish.qos == QoS::ExactlyOnce {
            if received.contains(&id) {
                self.tally.repeated += 1;
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
        if !self.may_publish(session, &topic) {
            return self.acknowledge(session, publish, ReasonCode::NotAuthorized);
        }
        let properties = publish.properties.clone();
        let message = Rc::new(Message {
            topic,
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: properties
                .as_ref()
                .and_then(|properties| properties.message_expiry_interval)
                .map(|seconds| now + Duration::from_secs(seconds.into())),
            properties,
        });
        let publisher = Rc::clone(&self.sessions[session].client_id);
        self.accepted += 1;
        let stored = !message.retain || self.retain(&message, &publisher);
        if !stored && v5 && message.qos > QoS::AtMostOnce {
            return self.acknowledge(session, publish, ReasonCode::QuotaExceeded);
        }
        let matched = self.route(&message, Some(session), &publisher);
        let reason = if matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        self.acknowledge(session, publish, reason);
    }

    fn acknowledge(&mut self, session: usize, publish: &Publish, reason: ReasonCode) {
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        let reason = if self.sessions[session].version.is_v5() { reason } else { ReasonCode::Success };
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AcknowledgementKind::PubAck,
            QoS::ExactlyOnce => AcknowledgementKind::PubRec,
        };
        let received = &mut self.sessions[session].received;
        if kind == AcknowledgementKind::PubRec && !reason.is_error() && !received.contains(&packet_id) {
            received.push(packet_id);
        }
        self.answer_session(session, Answer::Acknowledgement { kind, packet_id, reason });
    }

    fn may_publish(&self, session: usize, topic: &TopicName) -> bool {
        let system = topic.as_str() == "$SYS" || topic.as_str().starts_with("$SYS/");
        !system && self.permissions(session).may_publish(topic)
    }

    fn within_limits(&self, topic: &str) -> bool {
        let limits = &self.config.limits;
        topic.len() <= limits.topic_length && topic.split('/').count() <= limits.topic_levels
    }

    /// Whether the message could be kept, or the one that was kept be forgotten.
    fn retain(&mut self, message: &Rc<Message>, publisher: &Rc<str>) -> bool {
        let others = self.retained.iter().filter(|retained| retained.message.topic != message.topic).count();
        let clears = message.payload.is_empty();
        if !clears && others >= self.config.limits.retained_messages {
            return false;
        }
        self.retained.retain(|retained| retained.message.topic != message.topic);
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
        self.retained.extend(new);
        true
    }

    /// Whether there was anybody.
    fn route(&mut self, message: &Rc<Message>, publisher: Option<usize>, publisher_id: &Rc<str>) -> bool {
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
            let permitted = self.policy.permissions(&session.identity).may_receive(&message.topic);
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
            let must = members.iter().all(|member| member.expected.qos > QoS::AtMostOnce)
                && members.iter().any(|member| self.sessions[member.session].takes().takes(&member.expected));
            self.shared.push(SharedClaim::new(filter, members, must));
        }
        matched
    }

    /// The members of a group who may have a message.
    fn members(
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

    fn acknowledged(&mut self, session: usize, packet: &Acknowledgement) {
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

    fn subscribe(&mut self, session: usize, packet: &Subscribe, now: Instant) {
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

    fn unsubscribe(&mut self, session: usize, packet: &Unsubscribe) {
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

    fn disconnected(&mut self, session: usize, packet: &Disconnect, now: Instant) {
        if let Some(seconds) = packet.session_expiry_interval {
            if self.sessions[session].expiry == 0 && seconds > 0 {
                return self.close(session, ReasonCode::ProtocolError, now);
            }
            self.sessions[session].expiry = self.capped(seconds);
        }
        let fate = if packet.reason == ReasonCode::Success { Fate::Discard } else { Fate::Publish };
        self.detach(session, fate, now);
    }

    fn policy_changed(&mut self, policy: &Arc<Policy>, now: Instant) {
        self.policy = Arc::clone(policy);
        for index in 0..self.sessions.len() {
            let permissions = self.permissions(index);
            let session = &mut self.sessions[index];
            session.claims.restricted(&permissions);
            for shared in &mut self.shared {
                let denied = |member: &Member| !permissions.may_receive(&member.expected.message.topic);
                if shared.members.iter().any(denied) {
                    shared.excuse(index);
                }
            }
            if !self.policy.knows(&session.identity) {
                self.close(index, ReasonCode::NotAuthorized, now);
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        loop {
            let expiries =
                self.sessions.iter().enumerate().map(|(index, session)| (session.expires_at, index, true));
            let wills =
                self.sessions.iter().enumerate().map(|(index, session)| (session.will_at, index, false));
            let next = expiries.chain(wills).filter_map(|(at, index, ends)| Some((at?, index, ends))).min();
            match next.filter(|(at, ..)| *at <= now) {
                Some((_, session, true)) => self.end(session),
                Some((_, session, false)) => self.will_is_due(session),
                None => break,
            }
        }
        self.retained.retain(|retained| !retained.message.has_expired(now));
    }

    fn tell_disconnect(&mut self, session: usize, reason: ReasonCode) {
        if self.sessions[session].version.is_v5() {
            self.answer_session(session, Answer::Disconnect { reason });
        }
    }

    /// The broker ends the connection of a session, if it has one.
    fn close(&mut self, session: usize, reason: ReasonCode, now: Instant) {
        if self.sessions[session].connection.is_some() {
            self.tell_disconnect(session, reason);
            self.detach(session, Fate::Publish, now);
        }
    }

    fn detach(&mut self, index: usize, fate: Fate, now: Instant) {
        self.tally.detached += 1;
        let session = &mut self.sessions[index];
        session.connection = None;
        session.claims.detached();
        let ends = session.expiry == 0;
        session.expires_at = after(session.expiry, now);
        match (fate, session.will.as_ref().map(|will| will.delay_interval)) {
            (Fate::Discard, _) => session.will = None,
            (Fate::TakenOver, Some(1..)) if !ends => session.will = None,
            (Fate::Publish | Fate::TakenOver, Some(0)) => self.will_is_due(index),
            (Fate::Publish | Fate::TakenOver, Some(delay)) => {
                session.will_at = Some(now + Duration::from_secs(delay.into()));
            }
            (Fate::Publish | Fate::TakenOver, None) => {}
        }
        if ends {
            self.end(index);
        }
    }

    fn end(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        if std::mem::replace(&mut session.ended, true) {
            return;
        }
        session.expires_at = None;
        session.claims.ended();
        self.tally.ended += 1;
        self.will_is_due(index);
        // What the session had of its groups goes to those who are members now.
        for mut shared in std::mem::take(&mut self.shared) {
            let member = shared.members.iter().find(|member| member.session == index);
            if let Some(Expected { message, publisher, order, .. }) =
                member.map(|member| member.expected.clone())
            {
                let others = self.members(&shared.filter, &message, &publisher, order);
                shared.member_ended(index, others);
            }
            self.shared.push(shared);
        }
    }

    fn will_is_due(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        session.will_at = None;
        if let Some(will) = session.will.take() {
            self.due.push((index, will));
        }
    }

    fn publish_wills(&mut self, now: Instant) {
        for (session, will) in std::mem::take(&mut self.due) {
            if !self.may_publish(session, &will.topic) {
                continue;
            }
            self.tally.wills += 1;
            self.accepted += 1;
            let lives = will.properties.message_expiry_interval;
            let message = Rc::new(Message {
                topic: will.topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                expires_at: lives.map(|seconds| now + Duration::from_secs(seconds.into())),
                properties: Some(Box::new(will.properties)),
            });
            let publisher = Rc::clone(&self.sessions[session].client_id);
            if message.retain {
                self.retain(&message, &publisher);
            }
            self.route(&message, Some(session), &publisher);
        }
    }
}

impl Session {
    fn new(client_id: Rc<str>, identity: Identity) -> Self {
        Self {
            client_id,
            identity,
            connection: None,
            ended: false,
            version: ProtocolVersion::V5,
            maximum_packet_size: usize::MAX,
            accepted_before: 0,
            expiry: 0,
            expires_at: None,
            will: None,
            will_at: None,
            subscriptions: Vec::new(),
            received: Vec::new(),
            claims: Claims::default(),
        }
    }

    fn attach(&mut self, connection: ConnectionId, connect: &Connect, expiry: u32) {
        self.connection = Some(connection);
        self.version = connect.version;
        let maximum = connect.properties.maximum_packet_size;
        self.maximum_packet_size = maximum.map_or(usize::MAX, |size| usize::try_from(size.get()).unwrap());
        self.expiry = expiry;
        self.expires_at = None;
        self.will = connect.will.as_deref().cloned();
        self.will_at = None;
        self.claims.attached(self.takes());
    }

    const fn takes(&self) -> Takes {
        let (version, maximum_packet_size) = (self.version, self.maximum_packet_size);
        Takes { version, maximum_packet_size, connected: self.connection.is_some() }
    }
}

/// So many seconds after `now`, if that ever comes.
fn after(seconds: u32, now: Instant) -> Option<Instant> {
    (seconds < u32::MAX).then(|| now + Duration::from_secs(seconds.into()))
}

fn sorted(mut identifiers: Vec<SubscriptionIdentifier>) -> Vec<SubscriptionIdentifier> {
    identifiers.sort_unstable();
    identifiers
}
