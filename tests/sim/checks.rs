//! What must hold at every step between the broker and those it hands packets over to, whatever becomes of the
//! packets: packet identifiers, Receive Maximum, DUP, expiry, permissions, and the window.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use mqtt_broker::broker::{Broker, BrokerLimits, ConnectionId, Counters, Input, ToClient};
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::packet::{Acknowledgement, AcknowledgementKind};
use mqtt_broker::mqtt::{Delivery, Packet, ProtocolVersion, QoS, codec};

use crate::reference::Reference;

/// Follows what is handed over.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: BrokerLimits,
    /// What is under way, by session.
    under_way: BTreeMap<usize, BTreeMap<u16, UnderWay>>,
    connections: BTreeMap<ConnectionId, Window>,
    /// Whether what is handed over may have waited for a disk before.
    waits: bool,
}

#[derive(Debug)]
struct UnderWay {
    delivery: Delivery,
    is_released: bool,
    /// The connection on which it was last sent.
    connection: ConnectionId,
}

#[derive(Debug)]
struct Window {
    version: ProtocolVersion,
    maximum_packet_size: usize,
    receive_maximum: usize,
    outstanding: usize,
}

impl Watch {
    pub(crate) const fn new(limits: BrokerLimits, waits: bool) -> Self {
        Self { limits, under_way: BTreeMap::new(), connections: BTreeMap::new(), waits }
    }

    /// Another broker has taken over.
    pub(crate) fn restarted(&mut self) {
        self.under_way.clear();
        self.connections.clear();
    }

    /// The broker is being told something.
    pub(crate) fn input(&mut self, input: &Input, reference: &Reference) {
        match input {
            Input::Attach(attach) => {
                let properties = &attach.connect.properties;
                let receive_maximum = properties.receive_maximum.get().min(self.limits.inflight_messages);
                let maximum_packet_size = properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get);
                let window = Window {
                    version: attach.connect.version,
                    maximum_packet_size: usize::try_from(maximum_packet_size).unwrap(),
                    receive_maximum: usize::from(receive_maximum),
                    outstanding: 0,
                };
                self.connections.insert(attach.connection, window);
            }
            Input::Received { connection, packets } => {
                let Some(session) = reference.attached(*connection) else { return };
                let under_way = self.under_way.entry(session).or_default();
                for packet in packets {
                    match packet {
                        Packet::Acknowledgement(packet) => acknowledge(under_way, packet),
                        Packet::Disconnect(_) => return,
                        Packet::Publish(_)
                        | Packet::Subscribe(_)
                        | Packet::Unsubscribe(_)
                        | Packet::PingReq
                        | Packet::Connect(_)
                        | Packet::ConnAck(_)
                        | Packet::SubAck(_)
                        | Packet::UnsubAck(_)
                        | Packet::PingResp
                        | Packet::Auth(_) => {}
                    }
                }
            }
            Input::Written { connection, bytes } => {
                if let Some(window) = self.connections.get_mut(connection) {
                    window.outstanding -= bytes;
                }
            }
            Input::Kept { .. }
            | Input::Fetched { .. }
            | Input::Reclaim { .. }
            | Input::Room(_)
            | Input::Outside { .. }
            | Input::Closed { .. }
            | Input::PolicyChanged { .. }
            | Input::Reauthenticated { .. }
            | Input::ShutDown
            | Input::Tick => {}
        }
    }

    /// The broker hands something over to a client.
    pub(crate) fn output(
        &mut self,
        connection: ConnectionId,
        item: &ToClient,
        reference: &Reference,
        now: Instant,
    ) {
        let delivery = match item {
            ToClient::Deliver(delivery) => delivery,
            ToClient::Acknowledge(packet) if packet.kind == AcknowledgementKind::PubRel => {
                return self.release(connection, packet, reference);
            }
            ToClient::Acknowledge(_) | ToClient::PingResp | ToClient::Send(_) | ToClient::Close { .. } => {
                return;
            }
        };
        let session = reference.connections[&connection];
        let window = self.connections.get_mut(&connection).unwrap();
        assert!(
            window.outstanding < self.limits.outbound_window || self.waits,
            "the window of {connection} is overrun: {} bytes are not written yet",
            window.outstanding
        );
        window.outstanding += delivery.handed_over_bytes();
        let topic = &delivery.message.topic;
        let permitted = reference.permissions(session).may_receive(topic);
        assert!(
            permitted || self.waits,
            "a message is delivered to {connection} that may not receive from {topic}"
        );
        let has_expired = delivery.message.has_expired(now);
        assert!(
            delivery.dup || !has_expired || self.waits,
            "a message that has expired is delivered: {delivery:?}"
        );
        let Some(packet_id) = delivery.packet_id else {
            return assert_eq!(delivery.qos, QoS::AtMostOnce, "{delivery:?}");
        };
        let under_way = self.under_way.entry(session).or_default();
        match under_way.get(&packet_id.get()) {
            // It may have been about to be handed over when its connection or its broker ended.
            None => {
                assert!(
                    !delivery.dup || self.waits,
                    "DUP on a message that was never sent before: {delivery:?}"
                );
            }
            Some(before) => {
                assert!(
                    delivery.dup,
                    "{packet_id:?} is used for {delivery:?} and still in use for {before:?}"
                );
                let (one, other) = (&before.delivery.message, &delivery.message);
                assert!(
                    one.topic == other.topic && one.payload == other.payload,
                    "{packet_id:?} stands for another message now: {delivery:?}"
                );
                assert!(!before.is_released, "a message is sent again after its PUBREC: {before:?}");
                assert_ne!(before.connection, connection, "sent again on the same connection: {before:?}");
            }
        }
        let sent = UnderWay { delivery: delivery.clone(), is_released: false, connection };
        under_way.insert(packet_id.get(), sent);
        let active = under_way.values().filter(|sent| sent.connection == connection).count();
        assert!(
            active <= window.receive_maximum,
            "{active} messages are under way on {connection}, which takes {}",
            window.receive_maximum
        );
    }

    fn release(&mut self, connection: ConnectionId, packet: &Acknowledgement, reference: &Reference) {
        let session = reference.connections[&connection];
        let sent = self.under_way.entry(session).or_default().get_mut(&packet.packet_id.get());
        let Some(sent) = sent else {
            return assert!(
                packet.reason.is_error() || self.waits,
                "PUBREL for what is not under way: {packet:?}"
            );
        };
        // A client that may not receive it any more, or takes smaller packets than before, is told to forget what
        // cannot be sent again.
        let denied = !reference.permissions(session).may_receive(&sent.delivery.message.topic);
        let cannot = denied || !self.connections[&connection].fits(&sent.delivery);
        // If it has waited for the disk, the rules may have been others when it was decided.
        let cannot = cannot || self.waits;
        let may_forget = sent.connection != connection && cannot;
        assert!(sent.is_released || may_forget, "PUBREL before PUBREC: {sent:?}");
        sent.is_released = true;
        sent.connection = connection;
    }
}

impl Window {
    fn fits(&self, delivery: &Delivery) -> bool {
        let identifiers = delivery.identifiers.as_deref().unwrap_or_default();
        codec::delivery_len(&delivery.message, delivery.qos, identifiers, self.version)
            <= self.maximum_packet_size
    }
}

fn acknowledge(under_way: &mut BTreeMap<u16, UnderWay>, packet: &Acknowledgement) {
    let id = packet.packet_id.get();
    let Some(sent) = under_way.get_mut(&id) else { return };
    match (packet.kind, sent.delivery.qos) {
        (AcknowledgementKind::PubRec, QoS::ExactlyOnce) if !packet.reason.is_error() => {
            sent.is_released = true;
        }
        (AcknowledgementKind::PubAck, QoS::AtLeastOnce) => drop(under_way.remove(&id)),
        (AcknowledgementKind::PubRec, QoS::ExactlyOnce) if !sent.is_released => drop(under_way.remove(&id)),
        (AcknowledgementKind::PubComp, QoS::ExactlyOnce) if sent.is_released => drop(under_way.remove(&id)),
        _ => {}
    }
}

/// The broker's own books are in order, and its counters tell what happened.
pub(crate) fn check_books(broker: &Broker, reference: &Reference) {
    broker.assert_invariants();
    let counters = broker.counters();
    let (tally, before) = (&reference.tally, &reference.tally_before);
    let pairs = [
        ("clients_attached", counters.clients_attached, tally.attached - before.attached),
        ("clients_detached", counters.clients_detached, tally.detached - before.detached),
        ("sessions_resumed", counters.sessions_resumed, tally.resumed - before.resumed),
        ("sessions_taken_over", counters.sessions_taken_over, tally.taken_over - before.taken_over),
        ("sessions_ended", counters.sessions_ended, tally.ended - before.ended),
        ("publish_received", counters.publish_received, tally.received - before.received),
        ("publish_repeated", counters.publish_repeated, tally.repeated - before.repeated),
        ("wills_published", counters.wills_published, tally.wills - before.wills),
        ("subscribed", counters.subscribed, tally.subscribed - before.subscribed),
        ("unsubscribed", counters.unsubscribed, tally.unsubscribed - before.unsubscribed),
        ("sessions", gauge(broker, "sessions"), count(reference.live_sessions())),
        ("retained", gauge(broker, "retained"), count(reference.retained_messages())),
    ];
    for (name, counted, expected) in pairs {
        assert_eq!(counted, expected, "{name}");
    }
}

/// What is missing in the end is what the counters say was dropped.
pub(crate) fn check_missing(
    counters: &Counters,
    past: &BTreeMap<&'static str, u64>,
    reference: &mut Reference,
    now: Instant,
) {
    let missing = reference.missing(now);
    let (qos0, others): (Vec<_>, Vec<_>) =
        missing.iter().partition(|(_, expected)| expected.qos == QoS::AtMostOnce);
    let sum = |names: &[&str]| -> u64 {
        let now = counters.iter().filter(|(name, _)| names.contains(name)).map(|(_, count)| count);
        let past = names.iter().filter_map(|name| past.get(name).copied());
        now.chain(past).sum()
    };
    let dropped_qos0 = sum(&["dropped_queue_full_qos0", "dropped_connection_lost"]);
    let dropped = sum(&["dropped_queue_full", "dropped_packet_too_large", "shared_unserved"]);
    for (missing, dropped) in [(qos0, dropped_qos0), (others, dropped)] {
        assert!(
            count(missing.len()) <= dropped,
            "{dropped} messages were dropped, but these did not arrive:\n    {}",
            missing
                .iter()
                .map(|(client, expected)| format!("{client}: {expected:?}"))
                .collect::<Vec<_>>()
                .join("\n    ")
        );
    }
}

fn gauge(broker: &Broker, name: &str) -> u64 {
    let found = broker.gauges().find(|(there, _)| *there == name);
    count(found.unwrap_or_else(|| panic!("there is no gauge {name}")).1)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}
