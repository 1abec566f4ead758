//! A small, slow broker whose every step is evident. It does not say which bytes a client sees, but what each client
//! may see and must see in the end, and every answer that a client gets.
//!
//! It is told the same as the real broker, and at the same time. Sessions stand in a `Vec` and stay there when they
//! have ended, since what was sent to their clients may still be on its way.

pub(crate) mod memory;
mod routing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::record::SessionId;
use mqtt_broker::broker::{
    Attach, BrokerConfig, ConnectionId, Durability, Identity, Input, Permissions, Policy, Room,
};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{Connect, Disconnect, Publish, Will};
use mqtt_broker::mqtt::{ClientId, Message, Packet, Places, ProtocolVersion, QoS, ReasonCode};

use crate::answer::{About, Answer, Due};
use crate::claims::{
    Arrival, Claims, Expected, Member, Seen, SharedClaim, Subscription, Takes, settle_groups, shared_arrived,
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
    /// All that were ever retained.
    once_retained: Vec<Expected>,
    shared: Vec<SharedClaim>,
    /// Wills whose time has come, in order, with their session.
    due: Vec<(usize, Will)>,
    /// The answers that clients have not seen yet.
    pub(crate) answers: BTreeMap<ConnectionId, VecDeque<Due>>,
    /// Counts what is accepted, so that order can be told.
    accepted: u64,
    pub(crate) tally: Tally,
    /// The same when the broker was started.
    pub(crate) tally_before: Tally,
    /// Whether what there is outlives the broker.
    keeps: bool,
    room: Room,
    /// Topics whose retained message came when there was no room, and is not kept.
    unsure: BTreeSet<String>,
    /// What has to hold before what is told now is answered.
    durability: Durability,
    /// What the next answer tells of that others have done.
    about: About,
    /// How often it has been told something.
    pub(crate) input: u64,
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
    durability: Durability,
    /// The number under which it outlives the broker; `None`: it does not, or nobody knows yet.
    pub(crate) id: Option<SessionId>,
    /// Whether it outlives the broker.
    pub(crate) is_kept: bool,
    /// Whether its connection ended with a broker, and nothing has been heard of it since.
    was_cut_off: bool,
    subscriptions: Vec<Subscription>,
    /// Packet identifiers of QoS 2 messages that wait for their PUBREL.
    received: Vec<u16>,
    /// How certain it had to be of each that it had come.
    received_as: BTreeMap<u16, Durability>,
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
    pub(crate) fn new(config: BrokerConfig, policy: Arc<Policy>, keeps: bool) -> Self {
        Self {
            durability: config.durability.default,
            about: About::default(),
            config,
            policy,
            sessions: Vec::new(),
            connections: BTreeMap::new(),
            retained: Vec::new(),
            once_retained: Vec::new(),
            shared: Vec::new(),
            due: Vec::new(),
            answers: BTreeMap::new(),
            accepted: 0,
            tally: Tally::default(),
            tally_before: Tally::default(),
            keeps,
            room: Room::Enough,
            unsure: BTreeSet::new(),
            input: 0,
        }
    }

    pub(crate) fn handle(&mut self, input: &Input, now: Instant) {
        self.input += 1;
        self.durability = self.config.durability.default;
        for session in &mut self.sessions {
            session.claims.input = self.input;
        }
        match input {
            Input::Attach(attach) => self.attach(attach, now),
            Input::Received { connection, packets } => {
                for packet in packets {
                    let Some(session) = self.attached(*connection) else { break };
                    self.durability = self.sessions[session].durability;
                    self.received(session, packet, now);
                }
            }
            Input::Closed { connection, .. } => {
                if let Some(session) = self.attached(*connection) {
                    self.detach(session, Fate::Publish, now);
                }
            }
            Input::PolicyChanged { name: _, policy } => self.policy_changed(policy, now),
            Input::ShutDown => {
                for session in 0..self.sessions.len() {
                    self.close(session, ReasonCode::ServerShuttingDown, now);
                }
            }
            Input::Tick => self.tick(now),
            Input::Room(room) => self.room = *room,
            // Nobody authenticates a second time here; the rest nobody can see.
            Input::Written { .. }
            | Input::Reauthenticated { .. }
            | Input::Kept { .. }
            | Input::Fetched { .. }
            | Input::Outside { .. }
            | Input::Reclaim { .. } => {}
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
        if claims.came_again(&seen) {
            self.shared.iter_mut().for_each(|shared| shared.may_have_come(index, &seen));
            return Ok(Arrival::Repeated);
        }
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
        let mut can_have_been_its_own =
            |holder: usize, its: &Seen| sessions[holder].claims.can_have_been(its);
        if shared_exchanged(&mut self.shared, index, &seen, &mut can_have_been_its_own, &mut Vec::new()) {
            self.sessions[index].claims.remember(publish);
            return Ok(Arrival::New);
        }
        // It is none of these: one that comes too late, or none at all.
        must.and(may)?;
        let claims = &self.sessions[index].claims;
        let mut about = publish.topic.as_ref().map(|topic| claims.about(topic)).unwrap_or_default();
        let shared = self.shared.iter().filter(|shared| shared.is_about(publish));
        about.extend(shared.map(|shared| format!("\n    {shared:?}")));
        Err(format!("that it has no claim to. It had these, the latest first:\n    {about}"))
    }

    fn is_away(&self, session: usize) -> bool {
        !self.sessions[session].ended && self.sessions[session].connection.is_none()
    }

    /// Whether every session has a connection.
    pub(crate) fn nobody_is_away(&self) -> bool {
        !(0..self.sessions.len()).any(|session| self.is_away(session))
    }

    /// Takes the answer that `seen` is from those that a connection waits for. Where answers wait for the disk, PINGRESP
    /// passes them, and DISCONNECT, behind which nothing comes, takes their place.
    pub(crate) fn take_answer(&mut self, connection: ConnectionId, seen: &Answer) -> Option<Due> {
        let is_over = self.attached(connection).is_none();
        let due = self.answers.get_mut(&connection)?;
        if self.keeps && is_over && matches!(seen, Answer::ConnAck { reason, .. } if reason.is_error()) {
            // Its session could not be promised to it before it lost it.
            due.clear();
            let (input, durability) = (self.input, Durability::Memory);
            return Some(Due { answer: seen.clone(), input, durability, about: About::Nothing });
        }
        let passes = self.keeps && matches!(seen, Answer::PingResp | Answer::Disconnect { .. });
        let kind = std::mem::discriminant(seen);
        let at =
            if passes { due.iter().position(|due| std::mem::discriminant(&due.answer) == kind)? } else { 0 };
        if matches!(seen, Answer::Disconnect { .. }) {
            due.drain(..at);
            return due.pop_front();
        }
        due.remove(at)
    }

    /// What clients who are connected should have seen by `now` and have not.
    pub(crate) fn missing(&mut self, now: Instant) -> Vec<(Rc<str>, Expected)> {
        settle_groups(&mut self.shared, now);
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
        self.policy
            .permissions(&self.sessions[session].identity, &ClientId::new(&*self.sessions[session].client_id))
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
        let about = std::mem::take(&mut self.about);
        let due = Due { answer, input: self.input, durability: self.durability, about };
        self.answers.entry(connection).or_default().push_back(due);
    }

    fn answer_session(&mut self, session: usize, answer: Answer) {
        let connection = self.sessions[session].connection.unwrap();
        self.answer(connection, answer);
    }

    fn attach(&mut self, attach: &Attach, now: Instant) {
        let Attach { connection, connect, identity, grants: _, policy: _, durability } = attach;
        self.durability = durability.unwrap_or(self.config.durability.default);
        if let Some(reason) = self.refusal(connect, identity) {
            return self.answer(*connection, Answer::ConnAck { session_present: false, reason });
        }
        let client_id: Rc<str> = if connect.client_id.is_empty() {
            format!("auto {connection}").into()
        } else {
            connect.client_id.as_str().into()
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
            self.publish_wills(now);
        }
        let old = self.live(&client_id);
        let session = old.unwrap_or_else(|| {
            let mut session = Session::new(client_id, identity.clone());
            session.claims.input = self.input;
            session.is_kept = self.keeps && self.expiry(connect) > 0;
            self.sessions.push(session);
            self.sessions.len() - 1
        });
        self.tally.attached += 1;
        self.tally.resumed += u64::from(old.is_some());
        self.connections.insert(*connection, session);
        let expiry = self.expiry(connect);
        self.sessions[session].attach(*connection, connect, expiry);
        self.sessions[session].durability = self.durability;
        self.sessions[session].accepted_before = self.accepted;
        if old.is_none() && !self.sessions[session].is_kept {
            self.about = About::NoSession(Rc::clone(&self.sessions[session].client_id));
        }
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
            Some(session) if self.sessions[session].identity != *identity => Some(ReasonCode::NotAuthorized),
            Some(session) => self.no_room().filter(|_| !self.has_room_for_return(session, connect)),
            None if self.live_sessions() >= self.config.limits.sessions => Some(ReasonCode::QuotaExceeded),
            None => self.no_room().filter(|_| self.expiry(connect) > 0),
        }
    }

    /// Whether a client can have its session though there is little room, or none.
    fn has_room_for_return(&self, session: usize, connect: &Connect) -> bool {
        let (session, expiry) = (&self.sessions[session], self.expiry(connect));
        let never_ends = session.expiry == u32::MAX && expiry == u32::MAX && !connect.clean_start;
        let is_plain = never_ends && session.will.is_none() && connect.will.is_none();
        match (session.is_kept, self.room) {
            (false, _) => expiry == 0,
            (true, Room::Enough | Room::Low) => !connect.clean_start || expiry == 0,
            (true, Room::Full | Room::Failing) => is_plain,
        }
    }

    /// A client that has not been told that it has its session is turned away, as the disk can write nothing now.
    pub(crate) fn unanswered(&mut self, connection: ConnectionId, reason: ReasonCode, now: Instant) {
        if let Some(session) = self.attached(connection) {
            self.tell_disconnect(session, reason);
            self.detach(session, Fate::Discard, now);
            self.publish_wills(now);
        }
    }

    /// Whether nothing that has to be kept is taken now.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.no_room().is_some()
    }

    /// Why nothing that has to be kept is taken now.
    fn no_room(&self) -> Option<ReasonCode> {
        match self.room {
            _ if !self.keeps => None,
            Room::Enough => None,
            Room::Low | Room::Full => Some(ReasonCode::QuotaExceeded),
            Room::Failing => Some(ReasonCode::ImplementationSpecificError),
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
                // If it is this member who has it, nobody else gets it for that.
                let loses = |member: &Member| {
                    member.session == index && !permissions.may_receive(&member.expected.message.topic)
                };
                shared.must &= !shared.members.iter().any(loses);
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
        let is_short_of_room = self.is_short_of_room();
        let session = &mut self.sessions[index];
        session.connection = None;
        // While there is no room it need not be written down.
        session.was_cut_off = is_short_of_room;
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
            let mut message = Message {
                topic: will.topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                expires_at: lives.map(|seconds| now + Duration::from_secs(seconds.into())),
                properties: Some(Box::new(will.properties)),
                places: Places::default(),
            };
            let is_new = !self.sessions[session].is_kept && self.is_short_of_room();
            if is_new && self.would_be_kept(&message) {
                message.qos = QoS::AtMostOnce;
            }
            let message = Rc::new(message);
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
            durability: Durability::Fsync,
            id: None,
            is_kept: false,
            was_cut_off: false,
            subscriptions: Vec::new(),
            received: Vec::new(),
            received_as: BTreeMap::new(),
            claims: Claims::default(),
        }
    }

    fn attach(&mut self, connection: ConnectionId, connect: &Connect, expiry: u32) {
        self.connection = Some(connection);
        self.was_cut_off = false;
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
pub(crate) fn after(seconds: u32, now: Instant) -> Option<Instant> {
    (seconds < u32::MAX).then(|| now + Duration::from_secs(seconds.into()))
}
