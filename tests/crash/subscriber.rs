//! A client that receives, and acknowledges as its habits are.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::arb::Choices;
use crate::link::Link;
use crate::model::{Book, Model, Promise};
use crate::publisher::Work;
use crate::session::Session;
use crate::support::{
    Ack, ConnAck, Encode, Packet, Property, Publish, Version, connect, disconnect, pingreq, puback, pubcomp,
    pubrec, subscribe, unsubscribe,
};

/// Whether a client is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It comes as soon as it can, and stays.
    Always,
    /// It comes and goes.
    Changing,
    /// It comes seldom, and goes soon.
    Rare,
}

/// Which subscriptions a client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interest {
    /// This one, from the first moment on.
    Fixed(&'static str, u8),
    /// Some of these, now and then.
    Changing(&'static [&'static str]),
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// It never ends.
    Stays,
    /// Its client ends it now and then, and begins another.
    Ends,
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) presence: Presence,
    pub(crate) interest: Interest,
    pub(crate) fidelity: Fidelity,
    /// Whether acknowledgements leave at once.
    pub(crate) is_prompt: bool,
    pub(crate) version: Version,
    pub(crate) receive_maximum: Option<u16>,
}

/// A client with a session that persists.
#[derive(Debug)]
pub(crate) struct Subscriber {
    name: String,
    book: Book,
    habits: Habits,
    session: Session,
    link: Option<Link>,
    is_accepted: bool,
    connection: u32,
    /// Messages of QoS 2 whose PUBREL has not come, by packet identifier.
    received: BTreeMap<u16, Publish>,
    /// A clean start was asked for and perhaps not answered: a session that is there may be the one before or the one
    /// after, of which nobody says which. What was received in the one before may never be released.
    may_be_another: bool,
    /// Acknowledgements that have not left yet.
    owed: VecDeque<Ack>,
    /// What SUBSCRIBE or UNSUBSCRIBE asked for and had no answer.
    asked: Option<(Wish, &'static str)>,
    has_subscribed: bool,
    /// Answers to PINGREQ that are due.
    pings: usize,
    /// PUBLISH packets that came since PINGREQ was sent last.
    news: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Subscribe,
    Unsubscribe,
}

/// The identifier of each SUBSCRIBE and UNSUBSCRIBE: there is one at a time.
const ID: u16 = 60_000;

impl Subscriber {
    pub(crate) fn new(name: String, habits: Habits, model: &mut Model) -> Self {
        Self {
            book: model.open_book(&name),
            name,
            habits,
            session: Session::Absent,
            link: None,
            is_accepted: false,
            connection: 0,
            received: BTreeMap::new(),
            may_be_another: false,
            owed: VecDeque::new(),
            asked: None,
            has_subscribed: false,
            pings: 0,
            news: 0,
        }
    }

    /// Does what there is to do. Whether there was something.
    pub(crate) fn step(
        &mut self,
        address: SocketAddr,
        work: Work,
        model: &mut Model,
        choices: &mut Choices<'_>,
    ) -> bool {
        if self.link.is_none() {
            let comes = match self.habits.presence {
                Presence::Always => true,
                Presence::Changing => choices.chance(1, 100),
                Presence::Rare => choices.chance(1, 1_000),
            };
            if work == Work::GoesOn && !comes {
                return false;
            }
            self.come(address, work, model, choices);
        }
        let is_busy = self.read(model);
        if !self.is_accepted {
            return is_busy;
        }
        self.acknowledge(work, choices);
        if work == Work::GoesOn {
            self.change(model, choices);
            self.leave(model, choices);
        }
        is_busy
    }

    /// Waits for its subscription, if that is to be there from the first moment on.
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.habits.interest, Interest::Fixed(..)) || self.has_subscribed
    }

    /// Asks for a sign that all has been sent. What it says before counts as news.
    pub(crate) fn ping(&mut self) {
        self.news = 0;
        if let Some(link) = &mut self.link {
            self.pings += 1;
            link.send(pingreq());
        }
    }

    /// Whether the sign has come, and nothing before it, and nothing is under way.
    pub(crate) fn is_settled(&self, promise: Promise) -> bool {
        // The broker may have forgotten that it has to send PUBREL.
        let is_released = self.received.is_empty() || self.may_be_another || promise == Promise::Nothing;
        self.has_answer() && self.news == 0 && is_released && self.owed.is_empty()
    }

    /// Whether the sign has come.
    pub(crate) fn has_answer(&self) -> bool {
        self.is_accepted && self.pings == 0 && self.asked.is_none()
    }

    /// Reads what the broker sent before it ended.
    pub(crate) fn read_the_rest(&mut self, model: &mut Model) {
        self.read(model);
    }

    /// The broker was killed.
    pub(crate) fn killed(&mut self, promise: Promise) {
        self.session.killed(promise);
        self.has_subscribed &= promise == Promise::Kept;
        self.cut();
    }

    fn cut(&mut self) {
        self.link = None;
        self.is_accepted = false;
        self.owed.clear();
        self.asked = None;
        self.pings = 0;
    }

    fn come(&mut self, address: SocketAddr, work: Work, model: &mut Model, choices: &mut Choices<'_>) {
        let version = self.habits.version;
        let Some(mut link) = Link::open(address, version) else { return };
        let mut packet = connect().version(version).client_id(&self.name).persistent();
        if let Some(maximum) = self.habits.receive_maximum {
            packet = packet.receive_maximum(maximum);
        }
        if work == Work::GoesOn && self.habits.fidelity == Fidelity::Ends && choices.chance(1, 6) {
            self.end(model);
            self.may_be_another = true;
            packet = packet.clean_start(true);
        }
        self.session.asked_for();
        self.connection += 1;
        link.send(packet);
        self.link = Some(link);
    }

    /// The session ends if the broker hears what is said now.
    fn end(&mut self, model: &mut Model) {
        model.ending(self.book);
        if self.session == Session::Certain {
            self.session = Session::Uncertain;
        }
    }

    fn send(&mut self, packet: impl Encode) {
        if let Some(link) = &mut self.link {
            link.send(packet);
        }
    }

    fn read(&mut self, model: &mut Model) -> bool {
        let mut is_busy = false;
        while let Some(packet) = self.link.as_mut().and_then(Link::receive) {
            is_busy = true;
            self.take(packet, model);
        }
        if self.link.as_ref().is_some_and(Link::is_broken) {
            self.cut();
        }
        is_busy
    }

    fn take(&mut self, packet: Packet, model: &mut Model) {
        match packet {
            Packet::ConnAck(connack) => self.accepted(&connack, model),
            Packet::Publish(publish) => self.receive(publish, model),
            Packet::Ack(Ack { first: 0x62, id, .. }) => {
                self.received.remove(&id);
                self.owed.push_back(pubcomp(id));
            }
            Packet::SubAck(suback) => {
                let (_, filter) = self.asked.take().expect("SUBSCRIBE was sent");
                if suback.reasons[0] <= 2 {
                    self.has_subscribed = true;
                    model.subscribed(self.book, filter);
                } else {
                    // There is no room for another subscription.
                    assert!([0x80, 0x97].contains(&suback.reasons[0]), "{}: {suback:?}", self.name);
                    model.subscription_refused(self.book, filter);
                }
            }
            Packet::UnsubAck(_) => {
                let (_, filter) = self.asked.take().expect("UNSUBSCRIBE was sent");
                model.unsubscribed(self.book, filter);
            }
            Packet::PingResp => self.pings -= 1,
            Packet::Disconnect(goodbye) if goodbye.reason == 0x8B => {}
            other => panic!("{} received {other:?}", self.name),
        }
    }

    fn accepted(&mut self, connack: &ConnAck, model: &mut Model) {
        if [3, 0x89, 0x97].contains(&connack.reason) {
            // There is no room for a session that is not there yet.
            return;
        }
        assert_eq!(connack.reason, 0, "{}: {connack:?}", self.name);
        self.is_accepted = true;
        if !self.session.answered(&self.name, connack) {
            model.ended(self.book);
            self.received.clear();
            self.may_be_another = false;
            self.has_subscribed = false;
        }
        if let Interest::Fixed(filter, qos) = self.habits.interest
            && !self.has_subscribed
        {
            self.subscribe(filter, qos, model);
        }
    }

    fn receive(&mut self, publish: Publish, model: &mut Model) {
        self.news += 1;
        match publish.qos {
            0 => model.delivered(self.book, &publish, self.connection),
            1 => {
                model.delivered(self.book, &publish, self.connection);
                self.owed.push_back(puback(publish.id));
            }
            _ => {
                self.owed.push_back(pubrec(publish.id));
                let before = self.received.get(&publish.id);
                let is_same =
                    |before: &Publish| (&before.topic, &before.payload) == (&publish.topic, &publish.payload);
                match before {
                    // It has it already [MQTT-4.3.3-10].
                    Some(before) if publish.dup && is_same(before) => {}
                    Some(before) if model.promise() == Promise::Kept => panic!(
                        "{}: an identifier in use by {before:?} came with {publish:?}, DUP={}",
                        self.name, publish.dup
                    ),
                    Some(_) | None => {
                        model.delivered(self.book, &publish, self.connection);
                        self.received.insert(publish.id, publish);
                    }
                }
            }
        }
    }

    /// Sends acknowledgements, in the order in which the packets came [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    fn acknowledge(&mut self, work: Work, choices: &mut Choices<'_>) {
        let now = match (work, self.habits.is_prompt) {
            (Work::IsEnding, _) | (_, true) => self.owed.len(),
            _ if choices.chance(1, 20) => choices.below(self.owed.len() + 1),
            _ => 0,
        };
        for ack in self.owed.drain(..now).collect::<Vec<_>>() {
            self.send(ack);
        }
    }

    fn subscribe(&mut self, filter: &'static str, qos: u8, model: &mut Model) {
        self.asked = Some((Wish::Subscribe, filter));
        model.subscribe(self.book, filter, qos);
        self.send(subscribe(filter, qos).id(ID));
    }

    /// Changes its mind about what it wants.
    fn change(&mut self, model: &mut Model, choices: &mut Choices<'_>) {
        if self.asked.is_some() {
            return;
        }
        match self.habits.interest {
            Interest::Fixed(filter, qos) => {
                if !self.has_subscribed {
                    self.subscribe(filter, qos, model);
                }
            }
            Interest::Changing(filters) if choices.chance(1, 60) => {
                let filter = choices.among(filters);
                if choices.chance(1, 3) {
                    self.asked = Some((Wish::Unsubscribe, filter));
                    model.unsubscribe(self.book, filter);
                    self.send(unsubscribe(filter).id(ID));
                } else {
                    self.subscribe(filter, choices.among(&[2, 1, 2, 1, 0]), model);
                }
            }
            Interest::Changing(_) => {}
        }
    }

    /// Goes, if it is time to.
    fn leave(&mut self, model: &mut Model, choices: &mut Choices<'_>) {
        let goes = match self.habits.presence {
            Presence::Always => false,
            Presence::Changing => choices.chance(1, 200),
            Presence::Rare => choices.chance(1, 50),
        };
        if !goes || !self.is_ready() {
            return;
        }
        if self.habits.fidelity == Fidelity::Ends && choices.chance(1, 2) {
            self.end(model);
            self.send(disconnect().property(Property::SessionExpiry(0)));
        } else if choices.chance(1, 2) {
            self.send(disconnect());
        }
        self.cut();
    }
}
