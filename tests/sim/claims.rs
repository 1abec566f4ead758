//! What a session has a claim to, and what came of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mqtt_broker::broker::Permissions;
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{Publish, SubscriptionOptions};
use mqtt_broker::mqtt::{
    Message, PacketId, ProtocolVersion, PublishProperties, QoS, SubscriptionFilter, SubscriptionIdentifier,
    TopicName, codec,
};

use crate::reference::memory::Outlived;

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: SubscriptionFilter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: Option<SubscriptionIdentifier>,
}

/// A message as one client is to see it.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) message: Rc<Message>,
    pub(crate) publisher: Rc<str>,
    /// When it was accepted, compared with others.
    pub(crate) order: u64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// In ascending order.
    pub(crate) identifiers: Vec<SubscriptionIdentifier>,
}

/// What the client of a session takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Takes {
    pub(crate) version: ProtocolVersion,
    pub(crate) maximum_packet_size: usize,
    pub(crate) connected: bool,
}

/// A PUBLISH that has reached a client.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) publish: Publish,
    pub(crate) version: ProtocolVersion,
    /// The latest that can have been accepted of what it may be: with DUP, it was sent on an earlier connection.
    pub(crate) accepted_until: u64,
    pub(crate) at: Instant,
}

/// Moments are written down in milliseconds: what is read again may expire earlier by that.
const ROUNDING: Duration = Duration::from_millis(1);

/// The claims of one session.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: Vec<Claim>,
    /// How often the broker has been told something.
    pub(crate) input: u64,
    /// Subscriptions that have been getting retained messages.
    replays: Vec<Replay>,
    /// Whether messages of a group may be on their way to it, which nobody but the broker knows.
    is_member: bool,
    /// What each packet identifier stood for last.
    packets: BTreeMap<u16, (TopicName, bytes::Bytes)>,
    /// Packet identifiers that the client has not acknowledged to the end.
    unacknowledged: Vec<u16>,
    /// The last live message, by publisher, topic and QoS.
    last: BTreeMap<(Rc<str>, TopicName, QoS), u64>,
}

#[derive(Debug)]
struct Claim {
    expected: Expected,
    /// The subscription whose retained messages it is one of.
    replay: Option<SubscriptionFilter>,
    /// Whether it has to be delivered; otherwise it may be.
    must: bool,
    got: bool,
    /// What gave rise to it: so many inputs had the broker been told.
    made: u64,
    /// Under which packet identifier it came.
    packet: Option<u16>,
    /// When the broker was told that the client has it.
    settled: Option<u64>,
    /// Whether it may come once more, since a broker did not remember that it had sent it.
    again: bool,
}

impl Claim {
    const fn new(expected: Expected, replay: Option<SubscriptionFilter>, must: bool, made: u64) -> Self {
        Self { expected, replay, must, got: false, made, packet: None, settled: None, again: false }
    }
}

/// Retained messages are sent to a subscription.
#[derive(Debug, Clone)]
struct Replay {
    subscription: Subscription,
    /// So many inputs had the broker been told.
    made: u64,
    /// When the subscription was replaced, or ended.
    stopped: Option<u64>,
    /// Whether all have come, as far as is known.
    is_settled: bool,
}

impl Replay {
    const fn goes_on(&self) -> bool {
        self.stopped.is_none() && !self.is_settled
    }
}

/// A message that one member of a group has a claim to.
#[derive(Debug)]
pub(crate) struct SharedClaim {
    pub(crate) filter: SubscriptionFilter,
    pub(crate) members: Vec<Member>,
    pub(crate) must: bool,
    /// Who has seen it, and as what.
    got: Vec<(usize, Seen)>,
    /// How often it may be seen: once, and once more for each member whose session has ended.
    most: usize,
    /// What gave rise to it: so many inputs had the broker been told.
    made: u64,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) session: usize,
    pub(crate) expected: Expected,
    /// Whether it need not get the message: it has left the group or may not have it any more.
    pub(crate) excused: bool,
}

/// What a PUBLISH from the broker was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// What had not been seen before.
    New,
    /// What had been seen on an earlier connection, and not been acknowledged to the end.
    Repeated,
}

impl Claims {
    /// A message has been routed to the session.
    pub(crate) fn owe(&mut self, expected: Expected, takes: Takes) {
        let must = takes.takes(&expected);
        self.claims.push(Claim::new(expected, None, must, self.input));
    }

    /// Retained messages are being sent because of a subscription.
    pub(crate) fn start_replay(&mut self, subscription: &Subscription) {
        self.stop_replay(&subscription.filter);
        let (subscription, made) = (subscription.clone(), self.input);
        self.replays.push(Replay { subscription, made, stopped: None, is_settled: false });
    }

    /// A retained message is to be sent because of a subscription.
    pub(crate) fn owe_retained(&mut self, expected: Expected, subscription: &Subscription, must: bool) {
        let replay = Some(subscription.filter.clone());
        self.claims.push(Claim::new(expected, replay, must, self.input));
    }

    /// The session has joined a group.
    pub(crate) const fn joined(&mut self) {
        self.is_member = true;
    }

    /// No more retained messages need come of a subscription.
    pub(crate) fn stop_replay(&mut self, filter: &SubscriptionFilter) {
        for replay in self.replays.iter_mut().filter(|replay| replay.subscription.filter == *filter) {
            replay.stopped.get_or_insert(self.input);
        }
        let stopped = |claim: &Claim| claim.replay.as_ref() == Some(filter);
        // What has come may have come because of another subscription: then it is that one's which does not.
        let got: Vec<Expected> = self
            .claims
            .iter()
            .filter(|claim| stopped(claim) && claim.got)
            .map(|claim| claim.expected.clone())
            .collect();
        for claim in self.claims.iter_mut().filter(|claim| claim.replay.is_some()) {
            claim.must &= !stopped(claim) && !got.iter().any(|expected| expected.looks_like(&claim.expected));
        }
    }

    /// The retained message of a topic has been replaced, or forgotten. What was there need not arrive any more where
    /// it was on its way; where others are, the new one may come instead.
    pub(crate) fn retained_changed(&mut self, topic: &TopicName, new: Option<&Expected>, own: bool) {
        for claim in self.claims.iter_mut().filter(|claim| claim.replay.is_some()) {
            claim.must &= claim.expected.message.topic != *topic;
        }
        let Some(new) = new else { return };
        for Replay { subscription, .. } in self.going_on() {
            if subscription.filter.filter.matches(topic) && !(own && subscription.options.no_local) {
                self.owe_retained(new.of_replay(&subscription), &subscription, false);
            }
        }
    }

    fn going_on(&self) -> Vec<Replay> {
        self.replays.iter().filter(|replay| replay.goes_on()).cloned().collect()
    }

    /// The client takes other packets from now on.
    pub(crate) fn attached(&mut self, takes: Takes) {
        for claim in &mut self.claims {
            claim.must &= takes.fits(&claim.expected);
        }
    }

    /// The connection is gone, and with it what was not to be acknowledged.
    pub(crate) fn detached(&mut self) {
        for claim in &mut self.claims {
            claim.must &= claim.expected.qos > QoS::AtMostOnce;
        }
    }

    /// The session may receive less.
    pub(crate) fn restricted(&mut self, permissions: &Permissions) {
        for claim in &mut self.claims {
            claim.must &= permissions.may_receive(&claim.expected.message.topic);
        }
    }

    /// Another broker has taken over, which knows of so much, and has these `retained` messages.
    pub(crate) fn outlive(&mut self, outlived: Outlived, retained: &[Expected]) {
        // What has come of what is forgotten its publisher will send again, if it was not told that it is kept.
        for claim in self.claims.iter().filter(|claim| !outlived.includes(claim.made)) {
            claim.packet.and_then(|id| self.packets.remove(&id));
        }
        self.claims.retain(|claim| outlived.includes(claim.made));
        for claim in &mut self.claims {
            let is_there = claim.replay.is_none() || retained.iter().any(|now| now.is_same(&claim.expected));
            let waits = claim.expected.qos > QoS::AtMostOnce && (is_there || claim.got);
            claim.must &= waits && Some(claim.made) != outlived.partly;
            claim.settled = claim.settled.filter(|settled| *settled <= outlived.inputs);
            claim.again = claim.got
                && match claim.expected.qos {
                    // It is not written down that it was sent.
                    QoS::AtMostOnce => claim.replay.is_some(),
                    QoS::AtLeastOnce => claim.settled.is_none(),
                    QoS::ExactlyOnce => outlived.is_lossy && claim.settled.is_none(),
                };
        }
        self.replays.retain(|replay| outlived.includes(replay.made));
        for replay in &mut self.replays {
            replay.stopped = replay.stopped.filter(|stopped| *stopped <= outlived.inputs);
            // That it has come to its end need not have been written down.
            replay.is_settled = false;
        }
        self.owe_what_is_back(retained);
    }

    /// What is retained again, as what replaced it is forgotten, may be sent.
    fn owe_what_is_back(&mut self, retained: &[Expected]) {
        for Replay { subscription, .. } in self.going_on() {
            let filter = &subscription.filter;
            for message in retained.iter().filter(|now| filter.filter.matches(&now.message.topic)) {
                let is_it =
                    |claim: &Claim| claim.replay.as_ref() == Some(filter) && claim.expected.is_same(message);
                if !self.claims.iter().any(is_it) {
                    self.owe_retained(message.of_replay(&subscription), &subscription, false);
                }
            }
        }
    }

    /// Whether a PUBLISH is one that may come again and had come before another broker took over, which may not know that.
    pub(crate) fn came_again(&mut self, seen: &Seen) -> bool {
        let Some(claim) = self.claims.iter_mut().find(|claim| claim.again && claim.expected.is(seen)) else {
            return false;
        };
        claim.again = false;
        claim.packet = seen.publish.packet_id.map(PacketId::get);
        // It may as well be another that looks like it.
        for claim in self.claims.iter_mut().filter(|claim| !claim.got && claim.expected.is(seen)) {
            claim.must = false;
        }
        self.remember(&seen.publish);
        true
    }

    /// The session has ended.
    pub(crate) fn ended(&mut self) {
        for claim in &mut self.claims {
            claim.must = false;
        }
    }

    /// The broker has got the client's last word about a packet identifier.
    pub(crate) fn acknowledged(&mut self, packet_id: u16) {
        self.unacknowledged.retain(|id| *id != packet_id);
        let of_packet = |claim: &&mut Claim| claim.packet == Some(packet_id) && claim.settled.is_none();
        for claim in self.claims.iter_mut().filter(of_packet) {
            claim.settled = Some(self.input);
        }
        self.settle_replays();
    }

    /// Once nothing is on its way any more, all retained messages have been sent.
    pub(crate) fn settle_replays(&mut self) {
        if !self.is_member && self.unacknowledged.is_empty() && self.claims.iter().all(|claim| claim.got) {
            self.replays.iter_mut().for_each(|replay| replay.is_settled = true);
        }
    }

    /// A PUBLISH has reached the client: whether it is one of those that must come, or else of those that may.
    /// Fails if it is one of them but not as it should be.
    pub(crate) fn arrived(&mut self, seen: &Seen, must: bool, now: Instant) -> Result<bool, String> {
        // One that was accepted several times, as its publisher repeated it, may be any of them.
        let same = self.claims.iter().filter(|claim| claim.expected.is(seen));
        let orders: Vec<u64> = same.map(|claim| claim.expected.order).collect();
        let mut too_late = None;
        let fits = |claim: &&mut Claim| claim.must_by(now) == must && !claim.got && claim.expected.is(seen);
        let mut fitting: Vec<&mut Claim> = self.claims.iter_mut().filter(fits).collect();
        fitting.sort_by_key(|claim| claim.replay.is_some());
        let found = fitting.into_iter().find(|claim| {
            let Expected { publisher, message, qos, order, .. } = &claim.expected;
            if seen.publish.retain {
                return true; // A retained message, or one that looks like one: they come when they come.
            }
            let last = self.last.entry((Rc::clone(publisher), message.topic.clone(), *qos)).or_default();
            let Some(order) = orders.iter().copied().filter(|order| order >= last).min() else {
                too_late = Some(format!("after one that was accepted later ({order} after {last})"));
                return false;
            };
            *last = order;
            true
        });
        let Some(claim) = found else { return too_late.map_or(Ok(false), Err) };
        claim.got = true;
        claim.packet = seen.publish.packet_id.map(PacketId::get);
        self.remember(&seen.publish);
        self.settle_replays();
        Ok(true)
    }

    /// Whether what was seen, and taken for a message of a group, can have been one of the session's own.
    pub(crate) fn can_have_been(&mut self, seen: &Seen) -> bool {
        let claim = self.claims.iter_mut().find(|claim| !claim.got && claim.expected.is(seen));
        claim.is_some_and(|claim| {
            claim.got = true;
            true
        })
    }

    /// Whether a PUBLISH is one that was seen on an earlier connection and not acknowledged to the end.
    pub(crate) fn is_repeated(&mut self, publish: &Publish) -> bool {
        let id = publish.packet_id.map(PacketId::get);
        let known = id.and_then(|id| self.packets.get(&id));
        let is_repeated = publish.dup
            && known.is_some_and(|(topic, payload)| {
                publish.topic.as_ref() == Some(topic) && publish.payload == *payload
            });
        // The broker remembers that it has sent it.
        for claim in self.claims.iter_mut().filter(|claim| is_repeated && claim.packet == id) {
            claim.again = false;
        }
        is_repeated
    }

    /// The client has this, under its packet identifier.
    pub(crate) fn remember(&mut self, publish: &Publish) {
        if let (Some(id), Some(topic)) = (publish.packet_id, &publish.topic) {
            self.packets.insert(id.get(), (topic.clone(), publish.payload.clone()));
            self.unacknowledged.push(id.get());
        }
    }

    /// What should have come by `now` and has not: how many messages of QoS 0, and of the others.
    pub(crate) fn missing(&self, now: Instant) -> Vec<&Expected> {
        let missing = |claim: &&Claim| claim.must_by(now) && !claim.got;
        self.claims.iter().filter(missing).map(|claim| &claim.expected).collect()
    }

    /// What there is of a topic, to explain why something should not have come.
    pub(crate) fn about(&self, topic: &TopicName) -> String {
        let about = self.claims.iter().filter(|claim| claim.expected.message.topic == *topic);
        let mut lines: Vec<String> = about.map(|claim| format!("{claim:?}")).collect();
        lines.reverse();
        lines.truncate(8);
        lines.join("\n    ")
    }
}

impl Claim {
    /// Whether the message has to be delivered, if `now` is the last moment.
    fn must_by(&self, now: Instant) -> bool {
        self.must && !self.expected.message.has_expired(now + ROUNDING)
    }
}

impl SharedClaim {
    pub(crate) const fn new(filter: SubscriptionFilter, members: Vec<Member>, must: bool, made: u64) -> Self {
        Self { filter, members, must, got: Vec::new(), most: 1, made }
    }

    /// Another broker has taken over, which knows of so much; these sessions are gone. Whether it knows of the message.
    pub(crate) fn outlive(&mut self, outlived: Outlived, gone: &[usize]) -> bool {
        // A member that has it may get it again; one that is gone takes it along.
        self.most += 1;
        let is_gone = |member: &Member| gone.contains(&member.session);
        self.must &= !self.members.iter().any(is_gone) && Some(self.made) != outlived.partly;
        outlived.includes(self.made)
    }

    /// The session of a member has ended: the members that there are now stand in for it.
    pub(crate) fn member_ended(&mut self, session: usize, others: Vec<Member>) {
        self.most += 1;
        // Of QoS 2 it may have been given to the member, and then nobody else may have it [MQTT-4.8.2-5].
        self.must &= !self
            .members
            .iter()
            .any(|member| member.session == session && member.expected.qos == QoS::ExactlyOnce);
        self.excuse(session);
        // One who has joined since may take it with QoS 0, and lose it.
        self.must &= others.iter().all(|member| member.expected.qos > QoS::AtMostOnce);
        self.members.extend(others.into_iter().map(|member| Member { excused: true, ..member }));
    }

    /// The session need not get the message any more.
    pub(crate) fn excuse(&mut self, session: usize) {
        for member in self.members.iter_mut().filter(|member| member.session == session) {
            member.excused = true;
        }
    }

    /// What was taken for something else may have been this.
    pub(crate) fn may_have_come(&mut self, session: usize, seen: &Seen) {
        self.must &= !(self.got.is_empty() && self.is(session, seen));
    }

    /// Whether it is a claim to the same message.
    pub(crate) fn is_about(&self, publish: &Publish) -> bool {
        let same = |message: &Message| {
            publish.topic.as_ref() == Some(&message.topic) && publish.payload == message.payload
        };
        self.members.iter().any(|member| same(&member.expected.message))
    }

    /// Whether a PUBLISH that has reached the client of a session can be this message.
    fn is(&self, session: usize, seen: &Seen) -> bool {
        self.members.iter().any(|member| member.session == session && member.expected.is(seen))
    }

    /// Whether it should have come to somebody by `now` and has not. It may be waiting for a member who is away.
    pub(crate) fn is_missing(&self, now: Instant, is_away: impl Fn(usize) -> bool) -> bool {
        self.must_by(now) && self.got.is_empty() && !self.members.iter().any(|member| is_away(member.session))
    }

    /// Whether it may be seen once more.
    const fn is_open(&self) -> bool {
        self.got.len() < self.most
    }

    fn must_by(&self, now: Instant) -> bool {
        let can = |member: &Member| !member.excused && !member.expected.message.has_expired(now + ROUNDING);
        self.must && self.members.iter().any(can)
    }
}

/// A PUBLISH has reached the client of a session: whether it is one of these that has not come yet.
pub(crate) fn shared_arrived(all: &mut [SharedClaim], session: usize, seen: &Seen, now: Instant) -> bool {
    let open = (0..all.len()).filter(|&index| all[index].is_open() && all[index].is(session, seen));
    // What must come, and has not, is taken for what has come.
    let Some(index) = open.min_by_key(|&index| (all[index].got.len(), !all[index].must_by(now))) else {
        return false;
    };
    all[index].got.push((session, seen.clone()));
    true
}

/// As [`shared_arrived`], where what was taken for one of these may have been another, or the session's own.
pub(crate) fn shared_exchanged(
    all: &mut [SharedClaim],
    session: usize,
    seen: &Seen,
    can_have_been_its_own: &mut impl FnMut(usize, &Seen) -> bool,
    tried: &mut Vec<usize>,
) -> bool {
    for index in 0..all.len() {
        if tried.contains(&index) || !all[index].is(session, seen) {
            continue;
        }
        tried.push(index);
        if all[index].is_open() {
            all[index].got.push((session, seen.clone()));
            return true;
        }
        for place in 0..all[index].got.len() {
            let (holder, its) = all[index].got[place].clone();
            if can_have_been_its_own(holder, &its)
                || shared_exchanged(all, holder, &its, can_have_been_its_own, tried)
            {
                all[index].got[place] = (session, seen.clone());
                return true;
            }
        }
    }
    false
}

/// Gives what was seen to the groups that lack it, where it may have been taken for that of another that does not.
pub(crate) fn settle_groups(all: &mut [SharedClaim], now: Instant) {
    for index in 0..all.len() {
        if all[index].must_by(now) && all[index].got.is_empty() {
            fill(all, index, now, &mut vec![index]);
        }
    }
}

fn fill(all: &mut [SharedClaim], index: usize, now: Instant, tried: &mut Vec<usize>) -> bool {
    for other in 0..all.len() {
        let fits = |(session, seen): &(usize, Seen)| all[index].is(*session, seen);
        let Some(place) = all[other].got.iter().position(fits).filter(|_| !tried.contains(&other)) else {
            continue;
        };
        tried.push(other);
        let seen = all[other].got.remove(place);
        all[index].got.push(seen);
        let can_spare = !all[other].got.is_empty() || !all[other].must_by(now);
        if can_spare || fill(all, other, now, tried) {
            return true;
        }
        let seen = all[index].got.pop();
        all[other].got.extend(seen);
    }
    false
}

impl Takes {
    pub(crate) fn fits(self, expected: &Expected) -> bool {
        let len = codec::delivery_len(&expected.message, expected.qos, &expected.identifiers, self.version);
        len <= self.maximum_packet_size
    }

    /// Whether a message must reach the client, as things are.
    pub(crate) fn takes(self, expected: &Expected) -> bool {
        if self.connected { self.fits(expected) } else { expected.qos > QoS::AtMostOnce }
    }
}

impl Expected {
    /// The expected of a retained message that a subscription is sent.
    pub(crate) fn of_replay(&self, subscription: &Subscription) -> Self {
        Self {
            qos: self.message.qos.min(subscription.options.qos),
            retain: true,
            identifiers: subscription.identifier.into_iter().collect(),
            ..self.clone()
        }
    }

    /// Whether it is the same message, perhaps for somebody else.
    fn is_same(&self, other: &Self) -> bool {
        self.message.topic == other.message.topic && self.message.payload == other.message.payload
    }

    /// Whether a client cannot tell one from the other.
    fn looks_like(&self, other: &Self) -> bool {
        let key = |expected: &Self| (expected.qos, expected.retain, expected.identifiers.clone());
        Rc::ptr_eq(&self.message, &other.message) && key(self) == key(other)
    }

    /// Whether what a client has seen is this.
    fn is(&self, seen: &Seen) -> bool {
        let Seen { publish, version, accepted_until, at } = seen;
        let same = self.order <= *accepted_until
            && publish.topic.as_ref() == Some(&self.message.topic)
            && publish.payload == self.message.payload
            && publish.qos == self.qos
            && publish.retain == self.retain;
        if !same || !version.is_v5() {
            return same;
        }
        let plain = |properties: Option<&PublishProperties>| PublishProperties {
            message_expiry_interval: None,
            subscription_identifiers: Vec::new(),
            ..properties.cloned().unwrap_or_default()
        };
        let properties = publish.properties.as_deref();
        let mut identifiers =
            properties.map(|properties| properties.subscription_identifiers.clone()).unwrap_or_default();
        identifiers.sort_unstable();
        identifiers == self.identifiers
            && plain(properties) == plain(self.message.properties.as_deref())
            && self.has_life(properties, *at)
    }

    /// Whether as much is told of the message's life as was left when it was sent \[MQTT-3.3.2-6\].
    fn has_life(&self, told: Option<&PublishProperties>, at: Instant) -> bool {
        let told = told.and_then(|properties| properties.message_expiry_interval);
        let said = self.message.properties.as_ref().and_then(|properties| properties.message_expiry_interval);
        let left = self.message.expires_at.map(|expires| expires.saturating_since(at + ROUNDING).as_secs());
        match (told, said, left) {
            (None, None, None) => true,
            (Some(told), Some(said), Some(left)) => told <= said && u64::from(told) >= left,
            _ => false,
        }
    }
}
