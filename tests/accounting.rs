//! What the broker says that its state occupies, compared with what the allocator has given it: never much less, and not
//! so much more that memory lies idle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::broker::{
    Attach, Broker, BrokerConfig, Closure, ConnectionId, Identity, Input, Output, Policy, PolicyName,
    Recovery, ToClient,
};
use mqtt_broker::clock::{Epoch, Instant, WallTime};
use mqtt_broker::mqtt::packet::{
    Connect, ConnectProperties, Publish, Subscribe, SubscribeEntry, SubscriptionOptions, Will,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, PublishProperties, QoS, TopicName, UserProperties,
};

const NOW: Instant = Instant::START;

/// Clients, or messages: so many that tables and queues are seen at sizes of all kinds.
const MANY: u64 = 5_000;

#[test]
fn what_clients_make_grow_is_accounted_for() {
    check("sessions", Stage::in_memory, |stage| stage.come(MANY, |_| None));
    check("sessions that are kept", Stage::with_journal, |stage| stage.come(MANY, |_| None));
    check("subscriptions", Stage::in_memory, |stage| {
        stage.come(MANY, |client| Some(format!("site/{}/device/{client}/state", client % 7)));
    });
    check("subscriptions that are kept", Stage::with_journal, |stage| {
        stage.come(MANY, |client| Some(format!("site/{}/device/{client}/state", client % 7)));
    });
    check("many subscriptions of one client", Stage::in_memory, |stage| {
        for number in 0..MANY {
            stage.subscribe(0, &format!("{number}/{number}/{number}"));
        }
    });
    check("retained messages", Stage::in_memory, |stage| {
        for number in 0..MANY {
            stage.publish(&format!("site/{number}"), 64, true);
        }
    });
    check("wills", Stage::in_memory, |stage| stage.come_with_wills(MANY));
}

#[test]
fn what_waits_is_accounted_for() {
    for size in [10, 1_000, 10_000] {
        for clients in [1, 10, 100] {
            let all = |_| Some("all".to_owned());
            let own = |client| Some(format!("own/{client}"));
            for (kind, make) in
                [("in memory", Stage::in_memory as fn() -> Stage), ("kept", Stage::with_journal)]
            {
                let of = format!("of {size} bytes for {clients}, {kind}");
                check_waiting(&format!("for all, {of}"), make, clients, all, |stage| {
                    for _ in 0..MANY / 10 {
                        stage.publish("all", size, false);
                    }
                });
                check_waiting(&format!("for each, {of}"), make, clients, own, |stage| {
                    for number in 0..MANY {
                        stage.publish(&format!("own/{}", number % clients), size, false);
                    }
                });
            }
        }
    }
}

/// Those who wait are there before.
fn check_waiting(
    what: &str,
    make: fn() -> Stage,
    clients: u64,
    filter: impl Fn(u64) -> Option<String> + Copy,
    grow: impl Fn(&mut Stage),
) {
    let make = || {
        let mut stage = make();
        stage.come(clients, filter);
        stage.leave(clients);
        stage
    };
    check(what, make, grow);
}

/// What `grow` makes a stage grow must be accounted for.
#[track_caller]
fn check(what: &str, make: impl Fn() -> Stage, grow: impl Fn(&mut Stage)) {
    let mut stage = make();
    stage.come(1, |_| None);
    let before = stage.broker.memory().total();
    let allocated = allocation_counter::measure(|| grow(&mut stage)).bytes_current;
    let accounted = i64::try_from(stage.broker.memory().total() - before).unwrap();
    // A table that has just grown is half empty; of the eighth that is set aside for the allocator there is enough left.
    assert!(
        accounted * 10 >= allocated * 9,
        "{what}: {allocated} bytes are allocated, {accounted} accounted for"
    );
    assert!(accounted <= allocated * 2, "{what}: {allocated} bytes are allocated, {accounted} accounted for");
}

/// A broker, and clients that are connected under the numbers from 0 on. The last one publishes.
struct Stage {
    broker: Broker,
    next: u64,
}

impl Stage {
    fn in_memory() -> Self {
        Self { broker: Broker::new(BrokerConfig::default(), Arc::new(Policy::AllowAll), 1), next: 0 }
    }

    fn with_journal() -> Self {
        let mut config = BrokerConfig::default();
        config.limits.cached_bytes = 1 << 20;
        let epoch = Epoch::started_at(WallTime::from_unix_millis(1_800_000_000_000));
        let recovery = Recovery::new(config, Arc::new(Policy::AllowAll), 1, epoch);
        let (broker, _) = recovery.finish(mqtt_broker::broker::record::Sequence::FIRST, NOW);
        Self { broker, next: 0 }
    }

    /// So many clients connect, and subscribe to what `filter` says of each.
    fn come(&mut self, clients: u64, filter: impl Fn(u64) -> Option<String>) {
        for number in 0..clients {
            let connection = self.next;
            self.connect(None);
            if let Some(filter) = filter(number) {
                self.subscribe(connection, &filter);
            }
        }
    }

    fn come_with_wills(&mut self, clients: u64) {
        for number in 0..clients {
            let will = Will {
                topic: TopicName::parse(&format!("gone/{number}")).unwrap(),
                payload: Bytes::from(vec![b'x'; 100]),
                qos: QoS::AtLeastOnce,
                retain: false,
                delay_interval: 0,
                properties: PublishProperties::default(),
            };
            self.connect(Some(Box::new(will)));
        }
    }

    fn connect(&mut self, will: Option<Box<Will>>) {
        let connection = ConnectionId(self.next);
        self.next += 1;
        let properties =
            ConnectProperties { session_expiry_interval: u32::MAX, ..ConnectProperties::default() };
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: false,
            keep_alive: 0,
            client_id: ClientId::new(format!("a-client-of-some-kind-{connection}")),
            will,
            username: None,
            password: None,
            properties,
        };
        self.handle(Input::Attach(Box::new(Attach {
            connection,
            connect,
            identity: Identity::Anonymous,
            grants: None,
            policy: PolicyName::default(),
            durability: None,
        })));
    }

    /// The first so many clients go away.
    fn leave(&mut self, clients: u64) {
        for number in 0..clients {
            self.handle(Input::Closed { connection: ConnectionId(number), how: Closure::Lost });
        }
    }

    fn subscribe(&mut self, connection: u64, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        self.say(
            connection,
            Packet::Subscribe(Box::new(Subscribe {
                packet_id: PacketId::MIN,
                identifier: None,
                user_properties: UserProperties::new(),
                entries: vec![SubscribeEntry { filter: Arc::from(filter), options }],
            })),
        );
    }

    /// The client that came last publishes a message of its own, of so many bytes.
    fn publish(&mut self, topic: &str, size: usize, retain: bool) {
        self.say(
            self.next - 1,
            Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain,
                topic: Some(TopicName::parse(topic).unwrap()),
                topic_alias: None,
                packet_id: Some(PacketId::MIN),
                payload: Bytes::from(vec![b'x'; size]),
                properties: None,
            }),
        );
    }

    fn say(&mut self, connection: u64, packet: Packet) {
        self.handle(Input::Received { connection: ConnectionId(connection), packets: vec![packet] });
    }

    /// Tells the broker, and lets the disk and all clients do what is to be done.
    fn handle(&mut self, input: Input) {
        self.broker.handle(input, NOW);
        loop {
            if let Some(batch) = self.broker.take_batch() {
                let upto = batch.next();
                self.broker.handle(Input::Kept { written: upto, synced: upto }, NOW);
            }
            match self.broker.poll_output() {
                Some(Output::ToClient { connection, items }) => {
                    let bytes = items.iter().map(|item| match item {
                        ToClient::Deliver(delivery) => delivery.handed_over_bytes(),
                        _ => 0,
                    });
                    let bytes = bytes.sum();
                    self.broker.handle(Input::Written { connection, bytes }, NOW);
                }
                Some(_) => {}
                None if self.broker.deadline().is_some_and(|at| at <= NOW) => {
                    self.broker.handle(Input::Tick, NOW);
                }
                None => return,
            }
        }
    }
}
