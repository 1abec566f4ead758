//! The broker's side of one connection: what the task of a connection does, over a simulated network.

use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::{Closure, ConnectionId, ToClient};
use mqtt_broker::clock::Instant;
use mqtt_broker::connection::{Connection, ConnectionLimits, Expired, Transmit};
use mqtt_broker::mqtt::packet::Connect;
use mqtt_broker::mqtt::{Packet, ReasonCode};

use crate::network::{Link, Read};

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: ConnectionId,
    pub(crate) link: Link,
    connection: Connection,
    out: Transmit,
    /// Bytes of deliveries, as the broker counts them, that are in `out`.
    handed_over: usize,
    /// Those that are not any more, and of which the broker has not been told.
    unreported: usize,
    /// How many there must be before it is told.
    reports_from: usize,
    /// Whether it is to be told as soon as there are any.
    pub(crate) is_asked: bool,
    stuck_since: Option<Instant>,
    stage: Stage,
    write_timeout: Duration,
    close_timeout: Duration,
}

#[derive(Debug)]
enum Stage {
    Arriving,
    /// It is being found out who the client is.
    Authenticating(Box<Connect>),
    Attached,
    /// The last word is being written.
    Closing {
        until: Instant,
    },
    Ended,
}

/// What is to be told to the broker.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is to be found out who this is.
    Arrived,
    Received(Vec<Packet>),
    /// The client did what it must not.
    Misbehaved(Vec<Packet>, ReasonCode),
    Written(usize),
    Closed(Closure),
}

impl Endpoint {
    pub(crate) fn new(
        id: ConnectionId,
        link: Link,
        limits: &Arc<ConnectionLimits>,
        outbound_window: usize,
        now: Instant,
    ) -> Self {
        Self {
            id,
            link,
            connection: Connection::new(Arc::clone(limits), now),
            out: Transmit::new(),
            handed_over: 0,
            unreported: 0,
            reports_from: outbound_window / 4,
            is_asked: false,
            stuck_since: None,
            stage: Stage::Arriving,
            write_timeout: limits.write_timeout,
            close_timeout: limits.close_timeout,
        }
    }

    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whom it is being found out about.
    pub(crate) fn authenticating(&self) -> Option<&Connect> {
        match &self.stage {
            Stage::Authenticating(connect) => Some(connect),
            Stage::Arriving | Stage::Attached | Stage::Closing { .. } | Stage::Ended => None,
        }
    }

    /// Whether anything is under way, or waits to be.
    pub(crate) fn is_busy(&self) -> bool {
        self.authenticating().is_some()
            || !self.is_drained()
            || self.link.is_readable_down()
            || (self.link.is_readable_up() && !self.has_ended())
    }

    /// Whether everything that was to be written has been.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    const fn reads(&self) -> bool {
        matches!(self.stage, Stage::Arriving | Stage::Attached)
    }

    /// Reads at most so many bytes of what has come.
    pub(crate) fn read(&mut self, most: usize, now: Instant) -> Option<Event> {
        if matches!(self.stage, Stage::Closing { .. }) {
            if self.link.read_up(most) == Read::End {
                self.end();
            }
            return None;
        }
        if !self.reads() {
            return None;
        }
        match self.link.read_up(most) {
            Read::Nothing => None,
            Read::End => self.lose(Closure::Lost),
            Read::Bytes(bytes) => {
                let mut packets = Vec::new();
                let result = self.connection.receive(&bytes, now, &mut packets);
                if matches!(self.stage, Stage::Arriving)
                    && let Some(Packet::Connect(connect)) = packets.pop()
                {
                    self.stage = Stage::Authenticating(connect);
                    return Some(Event::Arrived);
                }
                match result {
                    Ok(()) => (!packets.is_empty()).then_some(Event::Received(packets)),
                    Err(error) => Some(Event::Misbehaved(packets, error.reason)),
                }
            }
        }
    }

    /// The client is who it says it is: what it wants, and what it has sent meanwhile.
    pub(crate) fn accept(&mut self, now: Instant) -> (Box<Connect>, Event) {
        let Stage::Authenticating(connect) = std::mem::replace(&mut self.stage, Stage::Attached) else {
            panic!("nobody is waiting to be let in");
        };
        let mut packets = Vec::new();
        let event = match self.connection.accept(now, &mut packets) {
            Ok(()) => Event::Received(packets),
            Err(error) => Event::Misbehaved(packets, error.reason),
        };
        (connect, event)
    }

    /// Turns the client away, or ends its connection.
    pub(crate) fn dismiss(&mut self, reason: ReasonCode, how: Closure, now: Instant) -> Option<Event> {
        self.connection.close(Some(reason), "dismissed", &mut self.out);
        self.begin_closing(how, now)
    }

    /// Takes what the broker has for the client.
    pub(crate) fn take(&mut self, items: Vec<ToClient>, now: Instant) -> Option<Event> {
        if !matches!(self.stage, Stage::Attached) {
            return None;
        }
        for item in items {
            match item {
                ToClient::Deliver(delivery) => {
                    self.handed_over += delivery.handed_over_bytes();
                    let sent = self.connection.send_delivery(&delivery, now, &mut self.out);
                    assert_eq!(sent, Ok(()), "the broker hands over what the client takes: {delivery:?}");
                }
                ToClient::Acknowledge(packet) => {
                    assert_eq!(self.connection.send_acknowledgement(packet, &mut self.out), Ok(()));
                }
                ToClient::PingResp => {
                    assert_eq!(self.connection.send(Packet::PingResp, &mut self.out), Ok(()));
                }
                ToClient::Send(packet) => {
                    assert_eq!(self.connection.send(*packet, &mut self.out), Ok(()));
                }
                ToClient::Close { reason, detail } => {
                    self.connection.close(reason, detail, &mut self.out);
                    return self.begin_closing(Closure::Asked, now);
                }
            }
        }
        None
    }

    /// Writes as much as the network takes.
    pub(crate) fn write(&mut self, now: Instant) -> Option<Event> {
        if self.has_ended() {
            return None;
        }
        let mut written = 0;
        while !self.out.is_empty() {
            let taken = self.link.write_down(self.out.front());
            self.out.advance(taken);
            written += taken;
            if taken == 0 {
                break;
            }
        }
        if self.out.is_empty() {
            self.out.clear();
            self.stuck_since = None;
            self.unreported += std::mem::take(&mut self.handed_over);
            if matches!(self.stage, Stage::Closing { .. }) {
                self.end();
            }
        } else {
            let credit = written.min(self.handed_over);
            self.handed_over -= credit;
            self.unreported += credit;
            if written > 0 || self.stuck_since.is_none() {
                self.stuck_since = Some(now);
            }
        }
        let reports = matches!(self.stage, Stage::Attached) && self.unreported > 0;
        (reports && (self.is_asked || self.unreported >= self.reports_from)).then(|| {
            self.is_asked = false;
            Event::Written(std::mem::take(&mut self.unreported))
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Arriving | Stage::Authenticating(_) | Stage::Attached => {
                let stuck = self.stuck_since.map(|since| since + self.write_timeout);
                [self.connection.deadline(), stuck].into_iter().flatten().min()
            }
            Stage::Closing { until } => Some(until),
            Stage::Ended => None,
        }
    }

    /// Acts upon what has not happened in time.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Event> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        if matches!(self.stage, Stage::Closing { .. }) {
            self.end();
            return None;
        }
        if self.stuck_since.is_some_and(|since| since + self.write_timeout <= now) {
            return self.lose(Closure::WriteStalled);
        }
        match self.connection.handle_timeout(now) {
            Some(Expired::Connect) => self.lose(Closure::Lost),
            Some(Expired::KeepAlive) => self.dismiss(ReasonCode::KeepAliveTimeout, Closure::KeepAlive, now),
            None => None,
        }
    }

    fn begin_closing(&mut self, how: Closure, now: Instant) -> Option<Event> {
        let was_attached = matches!(self.stage, Stage::Attached);
        self.stage = Stage::Closing { until: now + self.close_timeout };
        was_attached.then_some(Event::Closed(how))
    }

    fn lose(&mut self, how: Closure) -> Option<Event> {
        let was_attached = matches!(self.stage, Stage::Attached);
        self.end();
        was_attached.then_some(Event::Closed(how))
    }

    fn end(&mut self) {
        self.stage = Stage::Ended;
        self.out.clear();
        self.link.end_down();
    }
}
