//! Everything there is in a simulation: clients, the network, the broker's side of each connection, the broker, and the
//! reference broker that is told the same; all in one thread, under one clock, driven by one source of choices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::record::Sequence;
use mqtt_broker::broker::{
    Attach, Broker, Closure, ConnectionId, Identity, Input, Output, Policy, PolicyName, Recovery, ToClient,
};
use mqtt_broker::clock::{Epoch, Instant};
use mqtt_broker::connection::ConnectionLimits;
use mqtt_broker::mqtt::packet::Publish;
use mqtt_broker::mqtt::{Packet, QoS, ReasonCode, codec};

use crate::answer::Answer;
use crate::arb::Choices;
use crate::checks::{Watch, check_books, check_missing};
use crate::claims::Arrival;
use crate::client::Client;
use crate::endpoint::{Endpoint, Event};
use crate::keeping::{EPOCH, Keeping};
use crate::network::{Link, Read};
use crate::reference::Reference;
use crate::scenario::{Scenario, USERS};
use crate::trace::{Trace, brief, brief_input, brief_item};

#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) choices: Choices<'a>,
    pub(crate) scenario: Scenario,
    pub(crate) now: Instant,
    pub(crate) clients: Vec<Client>,
    pub(crate) endpoints: BTreeMap<ConnectionId, Endpoint>,
    pub(crate) trace: Trace,
    /// The disk, if there is one.
    pub(crate) keeping: Option<Keeping>,
    /// The counters of the brokers before this one, added up.
    pub(crate) past: BTreeMap<&'static str, u64>,
    /// The rules that hold.
    pub(crate) policy: Arc<Policy>,
    pub(crate) broker: Broker,
    pub(crate) reference: Reference,
    pub(crate) watch: Watch,
    limits: Arc<ConnectionLimits>,
    /// What the broker's side should read, in order.
    sent: BTreeMap<ConnectionId, VecDeque<Sent>>,
    /// What is to be told to the broker.
    inputs: VecDeque<Input>,
    is_telling: bool,
    next_connection: u64,
    next_number: u64,
}

/// What a client has written.
#[derive(Debug)]
pub(crate) enum Sent {
    Packet(Packet),
    /// Bytes that are to be refused.
    Fault,
}

impl<'a> World<'a> {
    pub(crate) fn new(mut choices: Choices<'a>, trace: Trace) -> Self {
        let scenario = Scenario::draw(&mut choices);
        let seed = choices.within(0..=u64::from(u32::MAX));
        let policy = Arc::clone(&scenario.policies[0]);
        let clients = (0..scenario.clients)
            .map(|number| {
                let user = USERS[number % USERS.len()].into();
                Client::new(format!("c{number}"), user, scenario.connection.receive_maximum)
            })
            .collect();
        let keeping = scenario.keeping.clone().map(|keeping| Keeping::new(keeping, &mut choices));
        let mut world = Self {
            now: Instant::START + Duration::from_secs(1),
            clients,
            endpoints: BTreeMap::new(),
            trace,
            broker: new_broker(&scenario, &policy, seed),
            reference: Reference::new(
                scenario.broker.clone(),
                Arc::clone(&policy),
                scenario.keeping.is_some(),
            ),
            watch: Watch::new(scenario.broker.limits.clone(), scenario.keeping.is_some()),
            keeping,
            past: BTreeMap::new(),
            limits: Arc::new(scenario.connection.clone()),
            sent: BTreeMap::new(),
            inputs: VecDeque::new(),
            is_telling: false,
            next_connection: 1,
            next_number: 1,
            policy,
            scenario,
            choices,
        };
        let scenario = &world.scenario;
        world.trace.note(|| format!("{scenario:#?}"));
        world
    }

    /// A number that no message has had yet.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Opens a connection for a client; the one that it has, if any, is left to itself.
    pub(crate) fn open(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let window = self.scenario.broker.limits.outbound_window;
        let link = Link::new(self.scenario.down_capacity);
        self.endpoints.insert(id, Endpoint::new(id, link, &self.limits, window, self.now));
        id
    }

    /// A client writes a packet; `understood` is what the broker's side is to make of it.
    pub(crate) fn send_as(&mut self, client: usize, packet: &Packet, understood: Packet) {
        let Some(connection) = self.clients[client].connection else { return };
        let mut bytes = Vec::new();
        codec::encode(packet, self.clients[client].version, &mut bytes).unwrap();
        let name = &self.clients[client].name;
        self.trace.note(|| format!("{name} on {connection} sends {}", brief(packet)));
        self.sent.entry(connection).or_default().push_back(Sent::Packet(understood));
        if let Some(endpoint) = self.endpoints.get_mut(&connection) {
            endpoint.link.write_up(&bytes);
        }
    }

    pub(crate) fn send(&mut self, client: usize, packet: Packet) {
        self.send_as(client, &packet.clone(), packet);
    }

    /// A client writes something that must not be.
    pub(crate) fn send_fault(&mut self, client: usize, bytes: &[u8]) {
        let Some(connection) = self.clients[client].connection else { return };
        self.sent.entry(connection).or_default().push_back(Sent::Fault);
        if let Some(endpoint) = self.endpoints.get_mut(&connection) {
            endpoint.link.write_up(bytes);
        }
    }

    /// The network carries at most so many bytes to the broker's side.
    pub(crate) fn carry_up(&mut self, connection: ConnectionId, most: usize) {
        let Some(endpoint) = self.endpoints.get_mut(&connection) else { return };
        let event = endpoint.read(most, self.now);
        self.happened(connection, event);
    }

    /// A client reads at most so many bytes.
    pub(crate) fn carry_down(&mut self, connection: ConnectionId, most: usize) {
        let Some(endpoint) = self.endpoints.get_mut(&connection) else { return };
        let read = endpoint.link.read_down(most);
        let event = endpoint.write(self.now);
        self.happened(connection, event);
        let client = self.clients.iter().position(|client| client.connection == Some(connection));
        match (read, client) {
            (Read::Bytes(bytes), Some(client)) => self.client_read(client, &bytes),
            (Read::End, Some(client)) => {
                self.trace.note(|| format!("{connection} is closed"));
                self.clients[client].disconnect();
                self.hang_up(connection);
            }
            (Read::End, None) => self.hang_up(connection),
            (Read::Bytes(_) | Read::Nothing, _) => {}
        }
    }

    /// The client's end of a connection is closed.
    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        let Some(endpoint) = self.endpoints.get_mut(&connection) else { return };
        endpoint.link.end_up();
        if endpoint.has_ended() {
            self.endpoints.remove(&connection);
        }
    }

    /// The network breaks a connection.
    pub(crate) fn cut(&mut self, connection: ConnectionId) {
        if let Some(endpoint) = self.endpoints.get_mut(&connection) {
            endpoint.link.cut();
        }
    }

    /// It has been found out who a client is.
    pub(crate) fn authenticated(&mut self, connection: ConnectionId) {
        let Some(endpoint) = self.endpoints.get_mut(&connection) else { return };
        let Some(connect) = endpoint.authenticating() else { return };
        let user = connect.username.clone().expect("each client of a simulation names its user");
        let identity = Identity::User(user);
        if !self.policy.knows(&identity) {
            // As the task of a connection does before the broker hears of it.
            self.reference.turned_away(connection, ReasonCode::NotAuthorized);
            let event = endpoint.dismiss(ReasonCode::NotAuthorized, Closure::Asked, self.now);
            return self.happened(connection, event);
        }
        let (connect, event) = endpoint.accept(self.now);
        let durability = self.scenario.draw_durability(&mut self.choices);
        self.tell(Input::Attach(Box::new(Attach {
            connection,
            connect: *connect,
            identity,
            grants: None,
            policy: PolicyName::default(),
            durability,
        })));
        self.happened(connection, Some(event));
    }

    pub(crate) fn change_policy(&mut self, policy: &Arc<Policy>) {
        self.policy = Arc::clone(policy);
        self.tell(Input::PolicyChanged { name: PolicyName::default(), policy: Arc::clone(policy) });
    }

    /// The time passes, and what falls due happens when it falls due; or, if it jumps, all at once behind the jump.
    pub(crate) fn pass(&mut self, time: Duration, jumps: bool) {
        let until = self.now + time;
        loop {
            let next = self.deadline().filter(|at| *at <= until);
            self.now = if jumps { until } else { self.now.max(next.unwrap_or(until)) };
            if next.is_none() {
                return;
            }
            if self.broker.deadline().is_some_and(|at| at <= self.local()) {
                self.tell(Input::Tick);
            }
            for connection in self.endpoints.keys().copied().collect::<Vec<_>>() {
                let Some(endpoint) = self.endpoints.get_mut(&connection) else { continue };
                let event = endpoint.expire(self.now);
                self.happened(connection, event);
            }
        }
    }

    /// Whether the broker keeps a session for a client.
    pub(crate) fn has_session(&self, client: usize) -> bool {
        self.reference.live(&self.clients[client].name).is_some()
    }

    /// Whether a client that is not connected could be.
    pub(crate) fn is_welcome(&self, client: &Client) -> bool {
        match self.reference.live(&client.name) {
            Some(session) => self.reference.sessions[session].identity == client.identity(),
            None => self.reference.live_sessions() < self.scenario.broker.limits.sessions,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let endpoints = self.endpoints.values().filter_map(Endpoint::deadline);
        let started = self.now.saturating_since(self.local());
        let broker = self.broker.deadline().map(|at| at + started);
        endpoints.chain(broker).min()
    }

    /// Something happened at the broker's side of a connection.
    fn happened(&mut self, connection: ConnectionId, event: Option<Event>) {
        match event {
            None => {}
            Some(Event::Arrived) => {
                let sent = self.sent.get_mut(&connection).and_then(VecDeque::pop_front);
                assert!(matches!(sent, Some(Sent::Packet(Packet::Connect(_)))), "{sent:?}");
                if !self.scenario.authenticates_slowly {
                    self.authenticated(connection);
                }
            }
            Some(Event::Received(packets)) => self.received(connection, packets),
            Some(Event::Misbehaved(packets, reason)) => {
                self.received(connection, packets);
                let sent = self.sent.get_mut(&connection).and_then(VecDeque::pop_front);
                assert!(matches!(sent, Some(Sent::Fault)), "{connection} is refused for {sent:?}: {reason}");
                self.reference.dismissed(connection, reason);
                let endpoint = self.endpoints.get_mut(&connection).unwrap();
                let event = endpoint.dismiss(reason, Closure::Misbehaved(reason), self.now);
                self.happened(connection, event);
            }
            Some(Event::Written(bytes)) => self.tell(Input::Written { connection, bytes }),
            Some(Event::Closed(how)) => {
                if how == Closure::KeepAlive {
                    self.reference.dismissed(connection, ReasonCode::KeepAliveTimeout);
                }
                self.tell(Input::Closed { connection, how });
            }
        }
        let endpoint = self.endpoints.get_mut(&connection);
        if let Some(event) = endpoint.and_then(|endpoint| endpoint.write(self.now)) {
            self.happened(connection, Some(event));
        }
    }

    fn received(&mut self, connection: ConnectionId, packets: Vec<Packet>) {
        if packets.is_empty() {
            return;
        }
        let sent = self.sent.entry(connection).or_default();
        for packet in &packets {
            match sent.pop_front() {
                Some(Sent::Packet(expected)) => assert_eq!(*packet, expected, "decoded as something else"),
                sent => panic!("{connection}: {packet:?} was never sent: {sent:?}"),
            }
        }
        let crashes = self.keeping.as_ref().is_some_and(|keeping| keeping.scenario.crashes);
        if crashes || self.reference.is_short_of_room() {
            // What is there after each is to be known; or one of them may end the connection.
            for packet in packets {
                self.tell(Input::Received { connection, packets: vec![packet] });
            }
        } else {
            self.tell(Input::Received { connection, packets });
        }
    }

    /// Tells the broker and the reference broker, and carries out what comes of it.
    pub(crate) fn tell(&mut self, input: Input) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.is_telling, true) {
            return; // Who tells the one before goes on with this one.
        }
        while let Some(input) = self.inputs.pop_front() {
            self.trace.note(|| format!("the broker is told {}", brief_input(&input)));
            self.watch.input(&input, &self.reference);
            self.reference.handle(&input, self.now);
            self.broker.handle(input, self.local());
            let mut touched = Vec::new();
            while let Some(output) = self.broker.poll_output() {
                match output {
                    Output::ToClient { connection, items } => {
                        self.hand_over(connection, items);
                        touched.push(connection);
                    }
                    // What has been written already is said with what comes next.
                    Output::AskWritten { connection } => {
                        if let Some(endpoint) = self.endpoints.get_mut(&connection) {
                            endpoint.is_asked = true;
                        }
                        touched.push(connection);
                    }
                    Output::Resume { .. } => {}
                    Output::Fetch(records) => {
                        let keeping = self.keeping.as_mut().expect("nothing is read without a disk");
                        keeping.wanted.extend(records);
                    }
                }
            }
            check_books(&self.broker, &self.reference);
            if self.keeping.as_ref().is_some_and(|keeping| keeping.scenario.crashes) {
                self.take_records();
            }
            for connection in touched {
                self.happened(connection, None);
            }
        }
        self.is_telling = false;
    }

    fn hand_over(&mut self, connection: ConnectionId, mut items: Vec<ToClient>) {
        let started = self.now.saturating_since(self.local());
        for item in &mut items {
            by_our_clock(item, started);
        }
        for item in &items {
            self.trace.note(|| format!("{connection} is handed {}", brief_item(item)));
            self.watch.output(connection, item, &self.reference, self.now);
            if let ToClient::Close { reason, detail } = item
                && self.reference.attached(connection).is_some()
            {
                if detail.starts_with("the disk is") {
                    self.reference.unanswered(connection, reason.unwrap(), self.now);
                    continue;
                }
                let policy = self.scenario.broker.queue_policy;
                let may_be = policy == mqtt_broker::broker::QueuePolicy::Disconnect;
                assert!(
                    may_be && *reason == Some(ReasonCode::QuotaExceeded),
                    "{connection} is closed for nothing: {reason:?} {detail}"
                );
                self.reference.queue_full(connection, self.now);
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(&connection) {
            let event = endpoint.take(items, self.now);
            self.happened(connection, event);
        }
    }

    fn client_read(&mut self, client: usize, bytes: &[u8]) {
        self.trace.hash(bytes);
        let name = self.clients[client].name.clone();
        let packets = self.clients[client].decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (packet, len) in packets {
            let Some(connection) = self.clients[client].connection else { return };
            self.trace.note(|| format!("{name} on {connection} gets {}", brief(&packet)));
            let what = format!("{packet:?}");
            let result = self.clients[client].check(&packet, len);
            let result = result.and_then(|()| self.client_got(client, connection, packet));
            if let Err(error) = result {
                panic!("{name} on {connection} got {what}: {error}");
            }
        }
    }

    fn client_got(
        &mut self,
        client: usize,
        connection: ConnectionId,
        mut packet: Packet,
    ) -> Result<(), String> {
        let version = self.clients[client].version;
        if let Some(seen) = Answer::of(&packet) {
            match self.reference.take_answer(connection, &seen) {
                Some(due) if due.answer.is(&seen, version) => {
                    due.answer.tell_truly(&mut packet);
                    if let Some(keeping) = &mut self.keeping {
                        keeping.promised(due);
                    }
                }
                due => return Err(format!("the answer should have been {due:?}")),
            }
        }
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => {
                self.clients[client].disconnect();
                self.hang_up(connection);
            }
            Packet::ConnAck(connack) => {
                for again in self.clients[client].accepted(&connack, &self.reference.connections) {
                    self.send(client, again);
                }
            }
            Packet::Publish(publish) => self.delivered(client, connection, publish)?,
            Packet::Acknowledgement(packet) => self.clients[client].acknowledged(&packet)?,
            Packet::SubAck(packet) => self.clients[client].answered(packet.packet_id)?,
            Packet::UnsubAck(packet) => self.clients[client].answered(packet.packet_id)?,
            Packet::Disconnect(_) | Packet::PingResp => {}
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => return Err("a server does not send that".to_owned()),
        }
        Ok(())
    }

    fn delivered(
        &mut self,
        client: usize,
        connection: ConnectionId,
        mut publish: Publish,
    ) -> Result<(), String> {
        let is_known = self.clients[client].receive(&mut publish)?;
        let version = self.clients[client].version;
        let arrival = self.reference.arrived(connection, &publish, version, self.now)?;
        let Some(packet_id) = publish.packet_id else { return Ok(()) };
        let is_lossy = self.keeping.as_ref().is_some_and(|keeping| keeping.is_lossy);
        if publish.qos == QoS::ExactlyOnce && !is_lossy {
            if arrival == Arrival::Repeated && self.clients[client].would_take_again(packet_id) {
                return Err("a message of QoS 2 came twice".to_owned());
            }
            if arrival == Arrival::New && is_known {
                return Err("a packet identifier stands for a new message before it was released".to_owned());
            }
        }
        let refuses = self.choices.chance(1, 16);
        self.clients[client].will_acknowledge(packet_id, publish.qos, refuses);
        Ok(())
    }

    /// What must be seen when the broker has been told to shut down.
    pub(crate) fn check_shut_down(&self, connected: &[ConnectionId]) {
        for client in &self.clients {
            assert_eq!(client.connection, None, "{} has not been closed", client.name);
        }
        for connection in connected {
            let answers = &self.reference.answers[connection];
            assert!(answers.is_empty(), "{connection} still waits for {answers:?}");
        }
    }

    /// What the end must show: nothing is on its way, nothing is missing.
    pub(crate) fn check_end(&mut self) {
        let is_lossy = self.keeping.as_ref().is_some_and(|keeping| keeping.is_lossy);
        for client in &self.clients {
            let Some(connection) = client.connection else {
                assert!(!self.is_welcome(client), "{} has been turned away for nothing", client.name);
                continue;
            };
            assert!(client.is_quiet(is_lossy), "{client:?} still waits");
            let answers = self.reference.answers.get(&connection);
            assert!(answers.is_none_or(VecDeque::is_empty), "{} still waits for {answers:?}", client.name);
        }
        check_missing(self.broker.counters(), &self.past, &mut self.reference, self.now);
        let queued = self.broker.gauges().find(|(name, _)| *name == "queued_bytes");
        if self.reference.nobody_is_away() {
            assert_eq!(
                queued,
                Some(("queued_bytes", 0)),
                "nothing waits for clients that have read everything"
            );
        }
    }
}

/// A broker that has no past.
fn new_broker(scenario: &Scenario, policy: &Arc<Policy>, seed: u64) -> Broker {
    let (config, policy) = (scenario.broker.clone(), Arc::clone(policy));
    if scenario.keeping.is_none() {
        return Broker::new(config, policy, seed);
    }
    Recovery::new(config, policy, seed, Epoch::started_at(EPOCH)).finish(Sequence::FIRST, Instant::START).0
}

/// The broker tells times since it was started, which was so much later than all began.
fn by_our_clock(item: &mut ToClient, started: Duration) {
    if let ToClient::Deliver(delivery) = item
        && let Some(at) = delivery.message.expires_at
        && started > Duration::ZERO
    {
        Arc::make_mut(&mut delivery.message).expires_at = Some(at + started);
    }
}
