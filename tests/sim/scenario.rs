//! The settings of one run, drawn from its seed: mostly mild, with small bounds and rare features here and there.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::permissions::{Names, Rule, RuleTopic, Verdicts};
use mqtt_broker::broker::{
    BrokerConfig, BrokerLimits, Durability, DurabilityRules, Features, OverlappingSubscriptions, Policy,
    QueuePolicy, SharedStrategy,
};
use mqtt_broker::connection::ConnectionLimits;
use mqtt_broker::mqtt::{QoS, TopicFilter};

use crate::arb::Choices;

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) broker: BrokerConfig,
    pub(crate) connection: ConnectionLimits,
    /// The rules there are; those that hold first come first.
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) clients: usize,
    /// Bytes that the network holds on their way to one client.
    pub(crate) down_capacity: usize,
    /// Whether connections break, clients fall silent and come back under their own noses.
    pub(crate) is_stormy: bool,
    /// Whether clients acknowledge in any order.
    pub(crate) is_disorderly: bool,
    /// Whether it takes time to find out who a client is.
    pub(crate) authenticates_slowly: bool,
    /// Whether a stalled network and slow clients leave the broker with full buffers.
    pub(crate) reads_slowly: bool,
    /// If what there is outlives the broker: how.
    pub(crate) keeping: Option<KeepingScenario>,
}

/// How what there is outlives the broker.
#[derive(Debug, Clone)]
pub(crate) struct KeepingScenario {
    /// Whether brokers end before their time.
    pub(crate) crashes: bool,
    /// Whether the records go to the real log, on a bad disk.
    pub(crate) has_log: bool,
    /// Whether clients come back to their sessions and have little else in mind than messages of QoS 1 and 2 on few
    /// topics.
    pub(crate) is_steady: bool,
    /// Whether all want the same few things at the same time, and the disk is slow: what one of them is told may then be
    /// another's doing that is not kept yet.
    pub(crate) is_contested: bool,
    /// What clients are promised at the least.
    pub(crate) least: Durability,
}

pub(crate) const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "a/c", "b", "b/", "$d/x", "w/c0"];

pub(crate) const FILTERS: [&str; 16] = [
    "a/b",
    "#",
    "+",
    "a/+",
    "a/#",
    "+/b",
    "a",
    "b/#",
    "$d/#",
    "w/+",
    "$share/g/a/#",
    "$share/g/+",
    "$share/h/a/b",
    "+/+",
    "a#",
    "a/+/c",
];

/// The users whose clients there are: client number n is of user number n modulo their number.
pub(crate) const USERS: [&str; 3] = ["u0", "u1", "u2"];

impl Scenario {
    pub(crate) fn draw(choices: &mut Choices<'_>) -> Self {
        let (features, connection) = draw_features(choices);
        let mut broker = BrokerConfig {
            features,
            limits: draw_limits(choices),
            overlapping: choices.among(&[OverlappingSubscriptions::Once, OverlappingSubscriptions::Each]),
            shared_strategy: choices.among(&[
                SharedStrategy::RoundRobin,
                SharedStrategy::LeastInflight,
                SharedStrategy::Sticky,
                SharedStrategy::HashTopic,
                SharedStrategy::HashClient,
                SharedStrategy::Random,
            ]),
            queue_policy: choices.among(&[
                QueuePolicy::DropOldest,
                QueuePolicy::DropNewest,
                QueuePolicy::Disconnect,
            ]),
            durability: DurabilityRules::default(),
        };
        let connection = ConnectionLimits { auto_map_topic_alias: choices.chance(1, 2), ..connection };
        let policies =
            if choices.chance(1, 3) { draw_policies(choices) } else { vec![Arc::new(Policy::AllowAll)] };
        let keeping = choices.chance(3, 5).then(|| draw_keeping(choices, &mut broker));
        let is_steady = keeping.as_ref().is_some_and(|keeping| keeping.is_steady);
        Self {
            broker,
            connection,
            policies,
            clients: 2 + choices.below(if is_steady { 2 } else { 4 }),
            down_capacity: choices.among(&[usize::MAX, 1 << 16, 300, 60]),
            is_stormy: choices.chance(2, 3),
            is_disorderly: choices.chance(1, 2),
            authenticates_slowly: choices.chance(1, 8),
            reads_slowly: choices.chance(1, 3),
            keeping,
        }
    }
}

impl Scenario {
    /// What has to hold before a client is told that something is kept, if it is not what holds for all.
    pub(crate) fn draw_durability(&self, choices: &mut Choices<'_>) -> Option<Durability> {
        let KeepingScenario { least, is_contested, .. } = *self.keeping.as_ref()?;
        choices
            .chance(1, if is_contested { 2 } else { 6 })
            .then(|| choices.among(&[Durability::Fsync, Durability::Os, Durability::Memory]).max(least))
    }

    /// Whether some messages are answered in MQTT 5.0 and end the connection in older versions, so that no client may
    /// change its version while such a message is under way.
    pub(crate) fn has_strict_features(&self) -> bool {
        !self.broker.features.retain || self.broker.limits.topic_levels < 4
    }
}

fn draw_keeping(choices: &mut Choices<'_>, broker: &mut BrokerConfig) -> KeepingScenario {
    use Durability::{Fsync, Memory, Os};
    let least = choices.among(&[Fsync, Fsync, Fsync, Os, Memory]);
    broker.durability.default = choices.among(&[Fsync, Fsync, least]);
    if choices.chance(1, 4) {
        let filter = TopicFilter::parse(choices.among(&["a/#", "b", "w/+"])).unwrap();
        broker.durability.by_topic = vec![(filter, choices.among(&[Fsync, Os, Memory]).max(least))];
    }
    if choices.chance(1, 2) {
        broker.limits.cached_bytes = choices.among(&[0, 1_000]);
    }
    let crashes = choices.chance(3, 4);
    if crashes {
        // Wills that fell due while nobody ran are published in any order: it must not decide which are retained.
        broker.limits.retained_messages = BrokerLimits::default().retained_messages;
    }
    let is_steady = crashes && choices.chance(1, 2);
    if is_steady {
        broker.features = Features::default();
        broker.limits.session_expiry_cap = None;
        broker.limits.inflight_messages = choices.among(&[1, 2, 4_096]);
    }
    let is_contested = crashes && !is_steady && choices.chance(1, 2);
    KeepingScenario { crashes, has_log: choices.chance(1, 2), is_steady, is_contested, least }
}

fn draw_features(choices: &mut Choices<'_>) -> (Features, ConnectionLimits) {
    let mut features = Features::default();
    let mut connection = ConnectionLimits::default();
    if choices.chance(1, 2) {
        connection.topic_alias_maximum = 2;
    }
    if choices.chance(1, 4) {
        connection.receive_maximum = NonZeroU16::new(2);
    }
    if choices.chance(1, 8) {
        connection.server_keep_alive = Some(20);
    }
    if choices.chance(1, 8) {
        features.session_expiry_interval = Some(30);
    }
    if choices.chance(1, 12) {
        features.retain = false;
    }
    if choices.chance(1, 12) {
        features.shared_subscriptions = false;
    }
    if choices.chance(1, 12) {
        features.subscription_identifiers = false;
    }
    if choices.chance(1, 12) {
        features.wildcards = false;
    }
    if choices.chance(1, 12) {
        features.maximum_qos = QoS::AtLeastOnce;
    }
    (features, connection)
}

fn draw_limits(choices: &mut Choices<'_>) -> BrokerLimits {
    let mut limits = BrokerLimits::default();
    if choices.chance(1, 4) {
        limits.queued_messages = 3;
    }
    if choices.chance(1, 12) {
        limits.queued_bytes = 1_200;
    }
    if choices.chance(1, 12) {
        limits.queued_bytes_total = 3_000;
    }
    if choices.chance(1, 2) {
        limits.outbound_window = 200;
    } else {
        // Windows shrink as soon as a few clients have something under way.
        limits.outbound_total = 1_000;
    }
    if choices.chance(1, 4) {
        limits.inflight_messages = 2;
    }
    if choices.chance(1, 8) {
        limits.retained_messages = 2;
    }
    if choices.chance(1, 12) {
        limits.sessions = 3;
    }
    if choices.chance(1, 12) {
        limits.subscriptions_per_client = 2;
    }
    if choices.chance(1, 12) {
        limits.topic_levels = 2;
    }
    if choices.chance(1, 12) {
        limits.inbound_qos2 = 2;
    }
    if choices.chance(1, 8) {
        limits.session_expiry_cap = Some(Duration::from_secs(20));
    }
    limits
}

/// Rules that allow everything and then take some of it away.
fn draw_policies(choices: &mut Choices<'_>) -> Vec<Arc<Policy>> {
    let count = 1 + choices.below(3);
    let mut policies: Vec<Arc<Policy>> = (0..count).map(|_| Arc::new(draw_policy(choices))).collect();
    policies.push(Arc::new(Policy::AllowAll));
    policies
}

fn draw_policy(choices: &mut Choices<'_>) -> Policy {
    let everybody = Names { any: true, ..Names::default() };
    let allow = Verdicts { allow: everybody, deny: Names::default() };
    let mut rules = vec![Rule {
        topic: RuleTopic::parse("#").unwrap(),
        publish: allow.clone(),
        receive: allow.clone(),
        subscribe: allow,
    }];
    for _ in 0..=choices.below(3) {
        let user = Names { users: BTreeSet::from([choices.among(&USERS).into()]), ..Names::default() };
        let deny = Verdicts { allow: Names::default(), deny: user };
        let (publish, subscribe) = match choices.below(3) {
            0 => (deny, Verdicts::default()),
            1 => (Verdicts::default(), deny),
            _ => (deny.clone(), deny),
        };
        let topic = RuleTopic::parse(choices.among(&["a/b", "a/#", "w/+", "b"])).unwrap();
        rules.push(Rule { topic, publish, receive: subscribe.clone(), subscribe });
    }
    let known = if choices.chance(1, 3) { &USERS[..2] } else { &USERS[..] };
    Policy::Rules { rules, users: known.iter().copied().map(Arc::from).collect(), tokens: BTreeSet::new() }
}
