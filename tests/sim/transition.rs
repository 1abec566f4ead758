//! What can happen in a simulation, one thing at a time, and how it ends.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::{BrokerConfig, ConnectionId, Input, Room};
use mqtt_broker::mqtt::packet::{
    Connect, ConnectProperties, Disconnect, Publish, RetainHandling, Subscribe, SubscribeEntry,
    SubscriptionOptions, Unsubscribe, Will,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, ProtocolVersion, PublishProperties, QoS, ReasonCode, SubscriptionIdentifier, TopicName,
    UserProperties,
};

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::scenario::{FILTERS, TOPICS, USERS};
use crate::world::World;

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transition {
    /// Bytes reach the broker's side.
    Up,
    /// A client reads.
    Down,
    Acknowledge,
    Publish,
    Subscribe,
    Unsubscribe,
    Connect,
    Disconnect,
    Ping,
    /// Time passes.
    Pass,
    /// Time passes at once, as if the machine had slept.
    Jump,
    /// The network breaks a connection.
    Cut,
    /// A client forgets its connection without closing it.
    Abandon,
    /// A client sends what must not be.
    Fault,
    /// It has been found out who a client is.
    Authenticate,
    ChangePolicy,
    /// The disk does something.
    Disk,
    /// The oldest records are made unnecessary.
    Reclaim,
    /// The disk is full, or fails, or does so no longer.
    Room,
    /// The broker ends, and another one takes over.
    Crash,
}

/// How often each happens, compared with the others: in calm weather, and in a storm.
const WEIGHTS: [(Transition, usize, usize); 20] = [
    (Transition::Up, 24, 24),
    (Transition::Down, 24, 24),
    (Transition::Acknowledge, 20, 18),
    (Transition::Publish, 16, 14),
    (Transition::Subscribe, 5, 5),
    (Transition::Unsubscribe, 2, 2),
    (Transition::Connect, 6, 12),
    (Transition::Disconnect, 1, 2),
    (Transition::Ping, 1, 1),
    (Transition::Pass, 4, 4),
    (Transition::Jump, 0, 1),
    (Transition::Cut, 0, 4),
    (Transition::Abandon, 0, 2),
    (Transition::Fault, 0, 1),
    (Transition::Authenticate, 4, 4),
    (Transition::ChangePolicy, 3, 3),
    (Transition::Disk, 40, 40),
    (Transition::Reclaim, 4, 4),
    (Transition::Room, 1, 1),
    (Transition::Crash, 1, 2),
];

impl World<'_> {
    /// Runs so many steps, and then to the end.
    pub(crate) fn run(&mut self, steps: usize) {
        for step in 0..steps {
            if self.choices.are_exhausted() {
                break;
            }
            // No two things happen at the same time.
            self.now = self.now + Duration::from_nanos(self.choices.within(1..=3_000_000));
            self.trace.at(step, self.now);
            let transition = self.draw();
            self.trace.note(|| format!("-- {transition:?}"));
            self.apply(transition);
            self.pass(Duration::ZERO, false);
        }
        self.finish();
    }

    fn draw(&mut self) -> Transition {
        let weight = |world: &Self, (transition, calm, stormy): &(Transition, usize, usize)| {
            let needs_disk = matches!(
                transition,
                Transition::Disk | Transition::Reclaim | Transition::Room | Transition::Crash
            );
            if needs_disk && world.keeping.is_none() {
                0
            } else if world.is_contested() && matches!(transition, Transition::Disk | Transition::Crash) {
                4
            } else if world.scenario.is_stormy {
                *stormy
            } else {
                *calm
            }
        };
        let all = WEIGHTS.iter().map(|entry| weight(self, entry)).sum();
        let mut left = self.choices.below(all);
        for entry in &WEIGHTS {
            let weight = weight(self, entry);
            if left < weight {
                return entry.0;
            }
            left -= weight;
        }
        Transition::Up
    }

    fn apply(&mut self, transition: Transition) {
        let client = self.choices.below(self.clients.len());
        match transition {
            Transition::Up => self.up(),
            Transition::Down => self.down(),
            Transition::Acknowledge => self.acknowledge(client),
            Transition::Publish if self.is_contested() => {
                (0..self.clients.len()).for_each(|each| self.publish(each));
            }
            Transition::Publish => self.publish(client),
            Transition::Subscribe if self.is_contested() && self.choices.chance(3, 4) => {}
            Transition::Subscribe => self.subscribe(client),
            Transition::Unsubscribe => self.unsubscribe(client),
            Transition::Connect => self.connect(client),
            Transition::Disconnect => self.disconnect(client),
            Transition::Ping => self.ping(client),
            Transition::Pass => {
                let most = self.choices.among(&[100, 2_000, 9_000]);
                let time = Duration::from_millis(self.choices.within(1..=most));
                self.pass(time, false);
            }
            Transition::Jump => {
                let time = Duration::from_secs(self.choices.within(1..=120));
                self.pass(time, true);
            }
            Transition::Cut => {
                if let Some(connection) = self.some_connection(|_| true) {
                    self.trace.note(|| format!("{connection} breaks"));
                    self.cut(connection);
                }
            }
            Transition::Abandon => self.clients[client].disconnect(),
            Transition::Fault => self.fault(client),
            Transition::Authenticate => {
                if let Some(connection) = self.some_connection(|endpoint| endpoint.authenticating().is_some())
                {
                    self.authenticated(connection);
                }
            }
            Transition::ChangePolicy => {
                let policy = self.choices.among(&self.scenario.policies);
                if self.scenario.policies.len() > 1 {
                    self.change_policy(&policy);
                }
            }
            Transition::Disk => self.disk_works(),
            Transition::Reclaim => self.reclaim(),
            Transition::Room => self.change_room(),
            Transition::Crash => self.crash(),
        }
    }

    fn some_connection(&mut self, is_wanted: impl Fn(&Endpoint) -> bool) -> Option<ConnectionId> {
        let wanted: Vec<ConnectionId> = self
            .endpoints
            .values()
            .filter(|endpoint| is_wanted(endpoint))
            .map(|endpoint| endpoint.id)
            .collect();
        (!wanted.is_empty()).then(|| self.choices.among(&wanted))
    }

    fn up(&mut self) {
        let most = self.choices.among(&[usize::MAX, usize::MAX, 40, 7, 1]);
        if let Some(connection) = self.some_connection(|endpoint| endpoint.link.is_readable_up()) {
            self.carry_up(connection, most);
        }
    }

    fn down(&mut self) {
        let most = if self.scenario.reads_slowly {
            self.choices.among(&[usize::MAX, 100, 30, 5, 1])
        } else {
            self.choices.among(&[usize::MAX, usize::MAX, usize::MAX, 100, 3])
        };
        if let Some(connection) = self.some_connection(|endpoint| endpoint.link.is_readable_down()) {
            self.carry_down(connection, most);
        }
    }

    fn acknowledge(&mut self, client: usize) {
        let pending = self.clients[client].pending.len();
        if pending == 0 || self.clients[client].is_doomed {
            return;
        }
        let at = if self.scenario.is_disorderly { self.choices.below(pending) } else { 0 };
        let packet = self.clients[client].acknowledge(at);
        self.send(client, Packet::Acknowledgement(packet));
    }

    /// Whether the client sends what a client sends: once it is connected, and here and there before it knows.
    fn sends(&mut self, client: usize) -> bool {
        let client = &self.clients[client];
        client.connection.is_some()
            && !client.is_doomed
            && client.load() < 12
            && (client.is_connected || self.choices.chance(1, 6))
    }

    fn publish(&mut self, client: usize) {
        if !self.sends(client) {
            return;
        }
        let config = &self.scenario.broker;
        let v5 = self.clients[client].version.is_v5();
        let topic = match self.choices.below(24) {
            0 => "$SYS/x".to_owned(),
            1 => format!("w/{}", self.clients[client].name),
            _ if self.is_contested() => TOPICS[0].to_owned(),
            _ if self.is_steady() => self.choices.among(&TOPICS[..2]).to_owned(),
            _ => self.choices.among(&TOPICS).to_owned(),
        };
        let most = if self.choices.chance(1, 24) { QoS::ExactlyOnce } else { config.features.maximum_qos };
        let retain = self.choices.chance(if self.is_contested() { 7 } else { 3 }, 9)
            && (config.features.retain || self.choices.chance(1, 16));
        let most_common = if self.is_steady() { QoS::ExactlyOnce } else { QoS::AtMostOnce };
        let qos = self.choices.among(&[QoS::AtLeastOnce, QoS::ExactlyOnce, most_common]).min(most);
        let properties = if v5 { self.publish_properties() } else { None };
        let padding = self.choices.among(&[0, 0, 0, 20, 150, 400]);
        let mut publish = Publish {
            dup: false,
            qos,
            retain,
            topic: Some(TopicName::parse(&topic).unwrap()),
            topic_alias: None,
            packet_id: None,
            payload: if self.is_contested() && retain && self.choices.chance(2, 3) {
                bytes::Bytes::new()
            } else {
                self.payload(padding)
            },
            properties,
        };
        let is_sin = is_sin(&publish, &self.scenario.broker, v5);
        if is_sin && !self.choices.chance(1, 8) {
            return;
        }
        let client_state = &mut self.clients[client];
        if !client_state.may_send(qos, self.scenario.broker.limits.inbound_qos2) {
            return;
        }
        let alias = self.choices.chance(1, 3).then(|| if self.choices.chance(1, 2) { 1 } else { 2 });
        let sent = client_state.publish(&mut publish, alias.filter(|_| v5));
        if is_sin {
            client_state.is_doomed = true;
            client_state.outgoing.retain(|outgoing| !outgoing.is_of(&publish));
        }
        self.send_as(client, &Packet::Publish(sent), Packet::Publish(publish));
    }

    fn payload(&mut self, padding: usize) -> bytes::Bytes {
        if self.choices.chance(1, 16) {
            return bytes::Bytes::new();
        }
        format!("{}{}", self.number(), ".".repeat(padding)).into()
    }

    fn publish_properties(&mut self) -> Option<Box<PublishProperties>> {
        let mut properties = PublishProperties::default();
        if self.choices.chance(1, 4) {
            properties.message_expiry_interval = Some(self.choices.among(&[60, 10, 2, 1]));
        }
        if self.choices.chance(1, 8) {
            properties.user_properties = vec![("k".into(), "v".into()), ("k".into(), "w".into())];
        }
        if self.choices.chance(1, 12) {
            properties.response_topic = TopicName::parse("reply").ok();
            properties.correlation_data = Some(bytes::Bytes::from_static(b"correlation"));
        }
        (!properties.is_empty()).then(|| Box::new(properties))
    }

    fn subscribe(&mut self, client: usize) {
        if !self.sends(client) {
            return;
        }
        let v5 = self.clients[client].version.is_v5();
        let entries = (0..=self.choices.below(3)).map(|_| self.subscribe_entry(v5)).collect();
        let identifier = (v5 && self.choices.chance(1, 3))
            .then(|| SubscriptionIdentifier::new(self.choices.among(&[1, 2, 200])).unwrap());
        let packet_id = self.clients[client].ask();
        let user_properties = UserProperties::new();
        self.send(
            client,
            Packet::Subscribe(Box::new(Subscribe { packet_id, identifier, user_properties, entries })),
        );
    }

    fn subscribe_entry(&mut self, v5: bool) -> SubscribeEntry {
        let filters = if self.is_steady() { &FILTERS[..5] } else { &FILTERS[..] };
        let filter = self.choices.among(filters);
        let qos = self.choices.among(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce]);
        let mut options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        if v5 {
            options.no_local = self.choices.chance(1, 4) && !filter.starts_with("$share");
            options.retain_as_published = self.choices.chance(1, 3);
            options.retain_handling = self.choices.among(&[
                RetainHandling::Always,
                RetainHandling::Always,
                RetainHandling::IfNew,
                RetainHandling::Never,
            ]);
        }
        SubscribeEntry { filter: filter.into(), options }
    }

    fn unsubscribe(&mut self, client: usize) {
        if !self.sends(client) {
            return;
        }
        let filters = (0..=self.choices.below(2)).map(|_| self.choices.among(&FILTERS).into()).collect();
        let packet_id = self.clients[client].ask();
        let user_properties = UserProperties::new();
        self.send(client, Packet::Unsubscribe(Box::new(Unsubscribe { packet_id, user_properties, filters })));
    }

    fn connect(&mut self, client: usize) {
        let is_offline = self.clients[client].connection.is_none();
        let takes_over = self.scenario.is_stormy && self.choices.chance(1, 6);
        if !(is_offline || takes_over) {
            return;
        }
        let mut connect = self.some_connect(client);
        if self.choices.chance(1, 24) && self.has_session(client) && !connect.clean_start {
            connect.username = Some(self.choices.among(&USERS).into());
            connect.properties = ConnectProperties {
                session_expiry_interval: if connect.version.is_v5() { 0 } else { u32::MAX },
                ..ConnectProperties::default()
            };
        }
        self.connect_with(client, connect);
    }

    fn connect_with(&mut self, client: usize, connect: Connect) {
        let connection = self.open();
        self.clients[client].connect(connection, &connect);
        self.send(client, Packet::Connect(Box::new(connect)));
    }

    fn some_connect(&mut self, client: usize) -> Connect {
        let version = if self.scenario.has_strict_features() {
            ProtocolVersion::V5
        } else {
            self.choices.among(&[
                ProtocolVersion::V5,
                ProtocolVersion::V5,
                ProtocolVersion::V3_1_1,
                ProtocolVersion::V3_1,
            ])
        };
        let begins_anew = self.choices.chance(1, if self.is_steady() { 30 } else { 6 });
        let clean_start = begins_anew || self.clients[client].has_forgotten;
        let mut connect = plain_connect(&self.clients[client], version, clean_start);
        connect.keep_alive = self.choices.among(&[0, 0, 30, 5]);
        if version.is_v5() {
            connect.properties = self.connect_properties();
        }
        if self.choices.chance(1, 24) && version != ProtocolVersion::V3_1 && clean_start {
            connect.client_id = ClientId::new("");
            connect.properties.maximum_packet_size = None;
        }
        connect.will = self.choices.chance(1, 3).then(|| Box::new(self.will(client, version)));
        connect
    }

    fn connect_properties(&mut self) -> ConnectProperties {
        ConnectProperties {
            session_expiry_interval: if self.is_steady() {
                u32::MAX
            } else if self.is_contested() {
                self.choices.among(&[0, u32::MAX])
            } else {
                self.choices.among(&[u32::MAX, 60, 10, 0])
            },
            receive_maximum: self.choices.among(&[
                NonZeroU16::MAX,
                NonZeroU16::MIN,
                NonZeroU16::new(2).unwrap(),
            ]),
            maximum_packet_size: self.choices.among(&[
                None,
                None,
                None,
                NonZeroU32::new(120),
                NonZeroU32::new(64),
            ]),
            topic_alias_maximum: self.choices.among(&[0, 2]),
            ..ConnectProperties::default()
        }
    }

    fn will(&mut self, client: usize, version: ProtocolVersion) -> Will {
        let features = self.scenario.broker.features.clone();
        let retain = features.retain && self.choices.chance(1, 3);
        // Two wills that fall due at once leave it open which is retained, were it not for a topic of their own.
        let topic = if retain {
            format!("w/{}", self.clients[client].name)
        } else {
            self.choices.among(&TOPICS).to_owned()
        };
        let qos = self.choices.among(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce]);
        let mut will = Will {
            topic: TopicName::parse(&topic).unwrap(),
            payload: self.payload(0),
            qos: qos.min(features.maximum_qos),
            retain,
            delay_interval: 0,
            properties: PublishProperties::default(),
        };
        if version.is_v5() {
            will.delay_interval = self.choices.among(&[0, 0, 5, 30]);
            will.properties = self.publish_properties().map(|properties| *properties).unwrap_or_default();
        }
        will
    }

    fn disconnect(&mut self, client: usize) {
        let Some(connection) = self.clients[client].connection.filter(|_| self.clients[client].is_connected)
        else {
            return;
        };
        let mut packet = Disconnect::because(ReasonCode::Success);
        if self.clients[client].version.is_v5() {
            if self.choices.chance(1, 3) {
                packet.reason = ReasonCode::DisconnectWithWill;
            }
            if self.choices.chance(1, 3) {
                packet.session_expiry_interval = Some(self.choices.among(&[60, u32::MAX, 5, 0]));
            }
        }
        self.send(client, Packet::Disconnect(Box::new(packet)));
        self.clients[client].disconnect();
        self.hang_up(connection);
    }

    fn ping(&mut self, client: usize) {
        if self.clients[client].is_connected && !self.clients[client].is_doomed {
            self.send(client, Packet::PingReq);
        }
    }

    fn fault(&mut self, client: usize) {
        if !self.clients[client].is_connected {
            return;
        }
        let bytes: &[u8] = match self.choices.below(4) {
            0 => &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF],
            1 => &[0x00, 0x00],
            2 => &[0x10, 0x00],
            _ => &[0x36, 0x03, 0x00, 0x01, b'a'],
        };
        self.send_fault(client, bytes);
        self.clients[client].is_doomed = true;
    }

    /// Lets everybody come back, read everything and say everything; then nothing may be missing.
    fn finish(&mut self) {
        self.trace.note(|| "-- the end begins".to_owned());
        let friendly = self.scenario.policies.last().map(Arc::clone).unwrap();
        self.change_policy(&friendly);
        if self.keeping.is_some() {
            self.tell(Input::Room(Room::Enough));
        }
        for connection in self.endpoints.keys().copied().collect::<Vec<_>>() {
            self.authenticated(connection);
            self.cut(connection);
        }
        for client in &mut self.clients {
            client.disconnect();
        }
        self.exhaust();
        assert!(self.endpoints.is_empty(), "what was cut is forgotten");
        self.all_come_back();
        self.check_end();

        self.clients.push(Client::new("observer".to_owned(), USERS[0].into(), None));
        let observer = self.clients.len() - 1;
        self.come_back(observer, true);
        self.exhaust();
        if self.clients[observer].is_connected {
            self.observe(observer);
            self.exhaust();
        }
        self.check_end();

        let connected: Vec<ConnectionId> =
            self.clients.iter().filter_map(|client| client.connection).collect();
        self.tell(Input::ShutDown);
        self.exhaust();
        self.check_shut_down(&connected);
    }

    /// Connects everybody; also those again who are thrown out because their queue overflows.
    fn all_come_back(&mut self) {
        for round in 0..100 {
            let away = |client: &&Client| client.connection.is_none() && self.is_welcome(client);
            let away: Vec<String> =
                self.clients.iter().filter(away).map(|client| client.name.clone()).collect();
            if away.is_empty() {
                return;
            }
            for client in 0..self.clients.len() {
                if away.contains(&self.clients[client].name) {
                    if self.keeping.is_some() && round > 50 {
                        // Who is thrown out for what he sends before he is told that it has come would send it for
                        // ever.
                        self.clients[client].outgoing.clear();
                    }
                    self.come_back(client, self.clients[client].has_forgotten);
                }
            }
            self.exhaust();
        }
        panic!("not everybody can stay");
    }

    fn come_back(&mut self, client: usize, clean_start: bool) {
        let client_state = &self.clients[client];
        let connect = plain_connect(client_state, client_state.version, clean_start);
        self.connect_with(client, connect);
    }

    /// Subscribes to everything that may be retained.
    fn observe(&mut self, observer: usize) {
        let filters: Vec<String> = if self.scenario.broker.features.wildcards {
            vec!["#".to_owned(), "$d/#".to_owned()]
        } else {
            TOPICS.iter().map(|topic| (*topic).to_owned()).collect()
        };
        for filter in filters {
            let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
            let packet = Subscribe {
                packet_id: self.clients[observer].ask(),
                identifier: None,
                user_properties: UserProperties::new(),
                entries: vec![SubscribeEntry { filter: filter.into(), options }],
            };
            self.send(observer, Packet::Subscribe(Box::new(packet)));
        }
    }

    /// Carries and acknowledges everything, until nothing happens any more.
    fn exhaust(&mut self) {
        for _ in 0..100_000 {
            let mut busy = self.disk_works_off();
            for connection in self.endpoints.keys().copied().collect::<Vec<_>>() {
                busy |= self.endpoints.get(&connection).is_some_and(Endpoint::is_busy);
                self.carry_up(connection, usize::MAX);
                self.authenticated(connection);
                self.carry_down(connection, usize::MAX);
            }
            for client in 0..self.clients.len() {
                while !self.clients[client].pending.is_empty() {
                    busy = true;
                    let packet = self.clients[client].acknowledge(0);
                    self.send(client, Packet::Acknowledgement(packet));
                }
            }
            self.pass(Duration::ZERO, false);
            if !busy {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

fn plain_connect(client: &Client, version: ProtocolVersion, clean_start: bool) -> Connect {
    let session_expiry_interval = if version.is_v5() || !clean_start { u32::MAX } else { 0 };
    Connect {
        version,
        clean_start,
        keep_alive: 0,
        client_id: ClientId::new(client.name.as_str()),
        will: None,
        username: Some(Arc::clone(&client.user)),
        password: None,
        properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
    }
}

/// Whether a client is thrown out for this.
fn is_sin(publish: &Publish, config: &BrokerConfig, v5: bool) -> bool {
    let topic = publish.topic.as_ref().unwrap();
    let too_much = publish.qos > config.features.maximum_qos;
    let not_here =
        (publish.retain && !config.features.retain) || topic.levels().count() > config.limits.topic_levels;
    too_much || (not_here && (publish.qos == QoS::AtMostOnce || !v5))
}
