//! A client that publishes, and resends what was not acknowledged until it is.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::arb::Choices;
use crate::link::Link;
use crate::model::{Model, Number, Promise, payload};
use crate::session::Session;
use crate::support::{Ack, Packet, Publish, Version, connect, publish, pubrel};

/// A client with a session that persists, and several messages under way.
#[derive(Debug)]
pub(crate) struct Publisher {
    name: String,
    version: Version,
    /// How many messages it has under way at most.
    window: usize,
    /// How many bytes its messages have.
    lengths: [usize; 4],
    session: Session,
    link: Option<Link>,
    is_accepted: bool,
    last_id: u16,
    /// In the order in which they were sent first.
    flights: VecDeque<Flight>,
    /// Packet identifiers of which a broker that promises nothing may have forgotten that they are free: what is sent
    /// under them with QoS 2 may be taken for what was sent before.
    doubtful: BTreeSet<u16>,
}

/// Packet identifiers that are used: few, so that what was forgotten too late is noticed.
const IDS: u16 = 40;

#[derive(Debug)]
struct Flight {
    id: u16,
    number: Number,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH was sent.
    Published,
    /// PUBREC came.
    Received,
    /// PUBREL was sent.
    Released,
}

/// Whether there is more to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    GoesOn,
    IsEnding,
}

impl Publisher {
    pub(crate) fn new(index: usize, lengths: [usize; 4], choices: &mut Choices<'_>) -> Self {
        Self {
            name: format!("publisher-{index}"),
            version: choices.among(&[Version::V5, Version::V311]),
            window: choices.among(&[8, 1, 3, 20]),
            lengths,
            session: Session::Absent,
            link: None,
            is_accepted: false,
            last_id: 0,
            flights: VecDeque::new(),
            doubtful: BTreeSet::new(),
        }
    }

    /// The topics under which it has messages retained.
    pub(crate) fn retained_topics(&self) -> [String; 3] {
        [0, 1, 2].map(|index| format!("r/{}/{index}", self.name))
    }

    /// Whether nothing of it is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_accepted && self.flights.is_empty()
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
            if work == Work::GoesOn && !choices.chance(1, 8) {
                return false;
            }
            self.come(address);
        }
        let mut is_busy = self.read(model);
        if !self.is_accepted {
            return is_busy;
        }
        is_busy |= self.release(work, choices);
        if work == Work::IsEnding {
            return is_busy;
        }
        if self.flights.len() < self.window && choices.chance(1, 3) {
            self.publish(model, choices);
            is_busy = true;
        }
        if choices.chance(1, 400) {
            // What is on its way to it is lost, and must be sent again.
            self.cut();
        }
        is_busy
    }

    /// Reads what the broker sent before it ended.
    pub(crate) fn read_the_rest(&mut self, model: &mut Model) {
        self.read(model);
    }

    /// The broker was killed.
    pub(crate) fn killed(&mut self, promise: Promise) {
        self.session.killed(promise);
        self.cut();
        if promise == Promise::Nothing {
            self.doubtful = (1..=IDS).collect();
        }
    }

    fn cut(&mut self) {
        self.link = None;
        self.is_accepted = false;
    }

    fn come(&mut self, address: SocketAddr) {
        let Some(mut link) = Link::open(address, self.version) else { return };
        self.session.asked_for();
        link.send(connect().version(self.version).client_id(&self.name).persistent());
        self.link = Some(link);
    }

    fn send(&mut self, packet: impl crate::support::Encode) {
        if let Some(link) = &mut self.link {
            link.send(packet);
        }
    }

    fn read(&mut self, model: &mut Model) -> bool {
        let mut is_busy = false;
        while let Some(packet) = self.link.as_mut().and_then(Link::receive) {
            is_busy = true;
            match packet {
                Packet::ConnAck(connack) if connack.reason == 0 => {
                    let is_present = self.session.answered(&self.name, &connack);
                    self.is_accepted = true;
                    if is_present {
                        self.resend(model);
                    } else {
                        // What was under way has come to its end without a word.
                        self.flights.clear();
                    }
                }
                // There is no room for a session that is not there yet.
                Packet::ConnAck(connack) if [3, 0x89, 0x97].contains(&connack.reason) => {}
                Packet::Ack(ack) => self.acknowledged(&ack, model),
                // MQTT 3.1.1 is told that there is no room by the end of the connection.
                Packet::Disconnect(goodbye) if [0x8B, 0x97].contains(&goodbye.reason) => {}
                other => panic!("{} received {other:?}", self.name),
            }
        }
        if self.link.as_ref().is_some_and(Link::is_broken) {
            self.cut();
        }
        is_busy
    }

    /// What was not acknowledged goes out once more, in its order [MQTT-4.4.0-1], [MQTT-4.6.0-1].
    fn resend(&mut self, model: &mut Model) {
        for index in 0..self.flights.len() {
            let Flight { id, number, stage } = self.flights[index];
            match stage {
                Stage::Published => {
                    model.resend(number);
                    self.send(packet(model, number, id).dup());
                }
                Stage::Received => {}
                Stage::Released => self.send(pubrel(id)),
            }
        }
    }

    fn acknowledged(&mut self, ack: &Ack, model: &mut Model) {
        let found = self.flights.iter().position(|flight| flight.id == ack.id);
        let Some(index) = found else { panic!("{} has nothing under way for {ack:?}", self.name) };
        let flight = &mut self.flights[index];
        let qos = model.message(flight.number).qos;
        match (ack.first, flight.stage, qos) {
            (0x40, Stage::Published, 1) | (0x50, Stage::Published, 2) if ack.reason >= 0x80 => {
                assert_eq!(ack.reason, 0x97, "{}: {ack:?}", self.name);
                model.refused(flight.number);
                self.flights.remove(index);
            }
            (0x40, Stage::Published, 1) => {
                model.acknowledged(flight.number);
                self.flights.remove(index);
            }
            (0x50, Stage::Published, 2) => {
                if !self.doubtful.contains(&ack.id) {
                    model.acknowledged(flight.number);
                }
                flight.stage = Stage::Received;
            }
            (0x70, Stage::Released, 2) => {
                self.doubtful.remove(&ack.id);
                self.flights.remove(index);
            }
            (_, stage, _) => panic!("{} received {ack:?} at {stage:?}", self.name),
        }
    }

    /// Sends PUBREL for some of those that wait for it.
    fn release(&mut self, work: Work, choices: &mut Choices<'_>) -> bool {
        let mut is_busy = false;
        for index in 0..self.flights.len() {
            let Flight { id, stage, .. } = self.flights[index];
            if stage != Stage::Received {
                continue;
            }
            if work == Work::GoesOn && choices.chance(3, 4) {
                // They leave in the order in which PUBREC came [MQTT-4.6.0-4].
                break;
            }
            self.flights[index].stage = Stage::Released;
            self.send(pubrel(id));
            is_busy = true;
        }
        is_busy
    }

    fn publish(&mut self, model: &mut Model, choices: &mut Choices<'_>) {
        let (topic, retain) = match choices.below(10) {
            0..=4 => (format!("t/{}", choices.below(3)), false),
            5 => ("s/a/x".to_owned(), false),
            6 => ("s/b/x".to_owned(), false),
            // Retained messages of a topic all come from one client, so that one of them is the last.
            _ => (choices.among(&self.retained_topics()), true),
        };
        // And with one QoS: of QoS 1 and 2, sent again one after the other, the first may be taken twice, and is last then.
        let is_for_qos_2 = topic.ends_with("/1");
        let length = if retain && choices.chance(1, 4) { 0 } else { choices.among(&self.lengths) };
        let qos = if retain { 1 + u8::from(is_for_qos_2) } else { choices.among(&[1, 2]) };
        let number = model.publish(&self.name, topic, qos, retain, length);
        let id = self.free_id();
        self.flights.push_back(Flight { id, number, stage: Stage::Published });
        self.send(packet(model, number, id));
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % IDS + 1;
            if self.flights.iter().all(|flight| flight.id != self.last_id) {
                return self.last_id;
            }
        }
    }
}

fn packet(model: &Model, number: Number, id: u16) -> Publish {
    let message = model.message(number);
    let packet = publish(&message.topic).qos(message.qos).id(id).payload(payload(number, message.length));
    if message.retain { packet.retain() } else { packet }
}
