//! A client that has a will, and comes and goes.

use std::net::SocketAddr;

use crate::arb::Choices;
use crate::link::Link;
use crate::model::{Model, Number, Promise, payload};
use crate::session::Session;
use crate::support::{Packet, Version, connect, disconnect, will};

/// A client with a session that persists, and another will each time it comes.
#[derive(Debug)]
pub(crate) struct Mourner {
    name: String,
    session: Session,
    link: Option<Link>,
    /// The will that the broker has of it, or may have.
    will: Option<Number>,
}

impl Mourner {
    pub(crate) fn new(index: usize) -> Self {
        Self { name: format!("mourner-{index}"), session: Session::Absent, link: None, will: None }
    }

    /// Does what there is to do. Whether there was something.
    pub(crate) fn step(&mut self, address: SocketAddr, model: &mut Model, choices: &mut Choices<'_>) -> bool {
        if self.link.is_none() && choices.chance(1, 300) {
            self.come(address, model, choices);
        }
        let is_busy = self.read(model);
        if self.link.is_some() && choices.chance(1, 300) {
            self.leave(model, choices);
        }
        is_busy
    }

    /// Goes, and leaves its will.
    pub(crate) fn go(&mut self) {
        self.link = None;
    }

    /// Reads what the broker sent before it ended.
    pub(crate) fn read_the_rest(&mut self, model: &mut Model) {
        self.read(model);
    }

    /// The broker was killed.
    pub(crate) fn killed(&mut self, promise: Promise) {
        self.session.killed(promise);
        self.link = None;
    }

    fn come(&mut self, address: SocketAddr, model: &mut Model, choices: &mut Choices<'_>) {
        let Some(mut link) = Link::open(address, Version::V5) else { return };
        if let Some(before) = self.will.take() {
            model.disarmed(before);
        }
        let topic = format!("w/{}", self.name);
        let number = model.publish(&self.name, topic.clone(), 2, false, 50);
        let will = will(topic).qos(2).payload(payload(number, 50)).delay(choices.among(&[1, 0]));
        self.session.asked_for();
        link.send(connect().client_id(&self.name).persistent().will(will));
        self.will = Some(number);
        self.link = Some(link);
    }

    fn read(&mut self, model: &mut Model) -> bool {
        let mut is_busy = false;
        while let Some(packet) = self.link.as_mut().and_then(Link::receive) {
            is_busy = true;
            match packet {
                Packet::ConnAck(connack) if connack.reason == 0 => {
                    self.session.answered(&self.name, &connack);
                    model.armed(self.will.unwrap());
                }
                // The disk is full, or too much waits for it.
                Packet::ConnAck(connack) if matches!(connack.reason, 0x97 | 0x89) => {}
                Packet::Disconnect(goodbye) if goodbye.reason == 0x8B => {}
                other => panic!("{} received {other:?}", self.name),
            }
        }
        if self.link.as_ref().is_some_and(Link::is_broken) {
            self.link = None;
        }
        is_busy
    }

    /// Goes: without a word, or with one that leaves the will, or takes it along if the broker hears it.
    fn leave(&mut self, model: &mut Model, choices: &mut Choices<'_>) {
        let Some(mut link) = self.link.take() else { return };
        match choices.below(3) {
            0 => {}
            1 => link.send(disconnect().reason(0x04)),
            _ => {
                if let Some(number) = self.will.take() {
                    model.disarmed(number);
                }
                link.send(disconnect());
            }
        }
    }
}
