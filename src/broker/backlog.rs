//! What clients have sent and is not handled yet, so that no client has the broker to itself.
//!
//! A batch of packets is handled as far as a bound on the work allows. The rest waits, in order, while other clients
//! have their turn.

use std::collections::{BTreeMap, VecDeque};

use super::{Broker, Closure, ConnectionId, Room};
use crate::clock::Instant;
use crate::mqtt::Packet;

/// The work for one client before others have a turn: about as many deliveries, or steps of a search. Some hundred
/// microseconds.
const WORK_AT_A_TIME: usize = 2_000;

/// The work for all who wait, at a time.
const WORK_OF_A_TURN: usize = 8 * WORK_AT_A_TIME;

/// Packets that wait for their turn, by connection.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<ConnectionId, Waiting>,
    /// The connections, in the order of their turns.
    turns: VecDeque<ConnectionId>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    /// The connection has ended, once all that came before is handled.
    closed: Option<Closure>,
}

#[derive(Debug)]
struct Batch {
    packets: std::vec::IntoIter<Packet>,
    /// What they occupied when they came.
    bytes: usize,
}

impl Batch {
    fn new(packets: std::vec::IntoIter<Packet>) -> Self {
        let payloads = packets.as_slice().iter().map(|packet| match packet {
            Packet::Publish(publish) => publish.payload.len(),
            Packet::Subscribe(packet) => packet.entries.iter().map(|entry| entry.filter.len()).sum(),
            Packet::Unsubscribe(packet) => packet.filters.iter().map(|filter| filter.len()).sum(),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Acknowledgement(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => 0,
        });
        let bytes = size_of_val(packets.as_slice()) + payloads.sum::<usize>();
        Self { packets, bytes }
    }
}

impl Backlog {
    /// The bytes that they occupy.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn contains(&self, connection: ConnectionId) -> bool {
        self.waiting.contains_key(&connection)
    }
}

impl Broker {
    /// Whether some of what came over this connection is not handled yet: whoever hands packets over should hold back.
    pub fn is_behind(&self, connection: ConnectionId) -> bool {
        self.backlog.contains(connection) || (self.is_journal_behind(1) && self.may_write(connection))
    }

    /// Whether what comes over this connection may lead to more records: while there is no room, only of sessions that
    /// are kept.
    fn may_write(&self, connection: ConnectionId) -> bool {
        let session = self.sessions.of_connection(connection).and_then(|key| self.sessions.get(key));
        self.journal.room == Room::Enough || session.is_some_and(|session| session.keeping.is_some())
    }

    pub(super) fn received(&mut self, connection: ConnectionId, packets: Vec<Packet>, now: Instant) {
        if let Some(waiting) = self.backlog.waiting.get_mut(&connection) {
            let batch = Batch::new(packets.into_iter());
            self.backlog.bytes += batch.bytes;
            waiting.batches.push_back(batch);
            return;
        }
        let mut packets = packets.into_iter();
        self.work_through(connection, &mut packets, now);
        if packets.len() > 0 {
            let batch = Batch::new(packets);
            self.backlog.bytes += batch.bytes;
            let waiting = Waiting { batches: VecDeque::from([batch]), closed: None };
            self.backlog.waiting.insert(connection, waiting);
            self.backlog.turns.push_back(connection);
        }
    }

    /// The connection is gone. What it brought before is handled first.
    pub(super) fn closed(&mut self, connection: ConnectionId, how: Closure, now: Instant) {
        if let Some(waiting) = self.backlog.waiting.get_mut(&connection) {
            waiting.closed = Some(how);
        } else {
            self.connection_ended(connection, how, now);
        }
    }

    /// Gives those who wait their turns.
    pub(super) fn catch_up(&mut self, now: Instant) {
        let until = self.work + WORK_OF_A_TURN;
        while self.work < until
            && let Some(connection) = self.backlog.turns.pop_front()
        {
            let Some(waiting) = self.backlog.waiting.get_mut(&connection) else { continue };
            if let Some(mut batch) = waiting.batches.pop_front() {
                self.work_through(connection, &mut batch.packets, now);
                match self.backlog.waiting.get_mut(&connection) {
                    Some(waiting) if batch.packets.len() > 0 => waiting.batches.push_front(batch),
                    _ => self.backlog.bytes -= batch.bytes,
                }
            }
            match self.backlog.waiting.get(&connection) {
                Some(waiting) if !waiting.batches.is_empty() => self.backlog.turns.push_back(connection),
                _ => {
                    let waiting = self.backlog.waiting.remove(&connection);
                    if let Some(how) = waiting.and_then(|waiting| waiting.closed) {
                        self.connection_ended(connection, how, now);
                    }
                }
            }
        }
    }

    /// Handles packets until there are no more, the connection is no longer anybody's, or others should have a turn.
    fn work_through(
        &mut self,
        connection: ConnectionId,
        packets: &mut std::vec::IntoIter<Packet>,
        now: Instant,
    ) {
        let until = self.work + WORK_AT_A_TIME;
        let Some(key) = self.sessions.of_connection(connection) else {
            packets.by_ref().for_each(drop);
            return;
        };
        while self.work < until
            && let Some(packet) = packets.next()
        {
            self.work += 1;
            if self.packet(key, packet, now).is_break() {
                packets.by_ref().for_each(drop);
                return;
            }
        }
    }
}
