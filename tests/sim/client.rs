//! A client: what it remembers of its session, what it has yet to acknowledge, and what it will not put up with.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use mqtt_broker::broker::{ConnectionId, Identity};
use mqtt_broker::mqtt::codec::{self, Body, DecodeLimits};
use mqtt_broker::mqtt::packet::{Acknowledgement, AcknowledgementKind, ConnAck, Connect, Publish};
use mqtt_broker::mqtt::{Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicAlias, TopicName};

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) user: Arc<str>,
    /// The connection that it uses, if any.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) version: ProtocolVersion,
    /// Whether CONNACK has come.
    pub(crate) is_connected: bool,
    /// The session that it knows.
    session: Option<usize>,
    /// Whether it has forgotten what its session was: until the broker has forgotten too, it must start clean.
    pub(crate) has_forgotten: bool,
    is_nameless: bool,
    /// Whether it has sent what it will be thrown out for: it sends nothing more.
    pub(crate) is_doomed: bool,
    /// Bytes that have arrived and are not a whole packet.
    buffer: Vec<u8>,
    /// Messages on their way to the broker.
    pub(crate) outgoing: Vec<Outgoing>,
    next_id: u16,
    /// SUBSCRIBEs and UNSUBSCRIBEs that have not been answered.
    asked: BTreeSet<u16>,
    /// QoS 2 messages from the broker that it has and that have not been released.
    incoming: BTreeSet<u16>,
    /// QoS 2 messages from the broker that it did not want.
    refused: BTreeSet<u16>,
    /// What it has yet to say.
    pub(crate) pending: Vec<Acknowledgement>,
    receive_maximum: usize,
    maximum_packet_size: Option<NonZeroU32>,
    alias_maximum: u16,
    aliases: BTreeMap<u16, TopicName>,
    /// Messages of this connection that it has not acknowledged to the end.
    unacknowledged: BTreeSet<u16>,
    server_receive_maximum: usize,
    pub(crate) server_alias_maximum: u16,
    given_aliases: BTreeMap<u16, TopicName>,
}

/// A message on its way to the broker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    publish: Publish,
    /// PUBREC has come.
    is_released: bool,
    /// Where it was sent last.
    sent_on: ConnectionId,
}

impl Outgoing {
    /// Whether it is this message.
    pub(crate) fn is_of(&self, publish: &Publish) -> bool {
        self.publish.packet_id == publish.packet_id
    }
}

impl Client {
    /// A client that has connected nowhere. It keeps `receive_maximum` to the broker even where its version of MQTT does
    /// not ask for it, since it may speak another the next time.
    pub(crate) fn new(name: String, user: Arc<str>, receive_maximum: Option<NonZeroU16>) -> Self {
        Self {
            name,
            user,
            connection: None,
            version: ProtocolVersion::V5,
            is_connected: false,
            session: None,
            has_forgotten: false,
            is_nameless: false,
            is_doomed: false,
            buffer: Vec::new(),
            outgoing: Vec::new(),
            next_id: 1,
            asked: BTreeSet::new(),
            incoming: BTreeSet::new(),
            refused: BTreeSet::new(),
            pending: Vec::new(),
            receive_maximum: usize::from(u16::MAX),
            maximum_packet_size: None,
            alias_maximum: 0,
            aliases: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            server_receive_maximum: usize::from(receive_maximum.unwrap_or(NonZeroU16::MAX).get()),
            server_alias_maximum: 0,
            given_aliases: BTreeMap::new(),
        }
    }

    /// Whom it says to be.
    pub(crate) fn identity(&self) -> Identity {
        Identity::User(Arc::clone(&self.user))
    }

    /// It connects, and forgets what it knew of the connection before.
    pub(crate) fn connect(&mut self, connection: ConnectionId, connect: &Connect) {
        let properties = &connect.properties;
        self.connection = Some(connection);
        self.version = connect.version;
        self.is_connected = false;
        self.is_doomed = false;
        self.is_nameless = connect.client_id.is_empty();
        self.buffer.clear();
        self.asked.clear();
        self.pending.clear();
        self.receive_maximum = usize::from(properties.receive_maximum.get());
        self.maximum_packet_size = properties.maximum_packet_size;
        self.alias_maximum = properties.topic_alias_maximum;
        self.aliases.clear();
        self.unacknowledged.clear();
        self.server_alias_maximum = 0;
        self.given_aliases.clear();
        if connect.clean_start {
            self.has_forgotten = true;
            self.outgoing.clear();
            self.forget_incoming();
        }
    }

    /// It stops using its connection.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
        self.is_connected = false;
        self.pending.clear();
        self.buffer.clear();
        if self.is_nameless {
            self.outgoing.clear();
            self.forget_incoming();
        }
    }

    fn forget_incoming(&mut self) {
        self.incoming.clear();
        self.refused.clear();
    }

    /// Bytes have arrived: the packets that they complete, with their lengths.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<(Packet, usize)>, String> {
        self.buffer.extend_from_slice(bytes);
        let mut packets = Vec::new();
        loop {
            let header = codec::frame_header(&self.buffer).map_err(|error| error.to_string())?;
            let Some(header) = header else { return Ok(packets) };
            let len = header.header_len + header.body_len;
            if self.buffer.len() < len {
                return Ok(packets);
            }
            let frame: Vec<u8> = self.buffer.drain(..len).collect();
            let limits = DecodeLimits { user_properties: usize::MAX, filters: usize::MAX };
            let body = Body::Borrowed(&frame[header.header_len..]);
            let packet = codec::decode(header, body, Some(self.version), limits)
                .map_err(|error| format!("{frame:02X?} cannot be read: {error}"))?;
            packets.push((packet, len));
        }
    }

    /// Whether a packet may come now, and so large.
    pub(crate) fn check(&self, packet: &Packet, len: usize) -> Result<(), String> {
        if self.is_connected == matches!(packet, Packet::ConnAck(_)) {
            return Err("CONNACK comes first, and once".to_owned());
        }
        match self.maximum_packet_size {
            Some(maximum) if len > usize::try_from(maximum.get()).unwrap() => {
                Err(format!("{len} bytes are more than its Maximum Packet Size of {maximum}"))
            }
            _ => Ok(()),
        }
    }

    /// The broker has let it in: what it has to send again.
    ///
    /// `sessions` tells which session of the broker a connection has, or had. A client that has missed a CONNACK can take
    /// a new session for the one it knows, and MQTT has no remedy for that: here it does not.
    pub(crate) fn accepted(
        &mut self,
        connack: &ConnAck,
        sessions: &BTreeMap<ConnectionId, usize>,
    ) -> Vec<Packet> {
        self.is_connected = true;
        self.has_forgotten &= self.is_nameless;
        self.server_alias_maximum = connack.properties.topic_alias_maximum;
        let connection = self.connection.unwrap();
        let session = sessions.get(&connection);
        if !connack.session_present || self.session.as_ref() != session {
            // [MQTT-3.2.2-5]
            self.session = session.copied();
            self.outgoing.retain(|outgoing| sessions.get(&outgoing.sent_on) == session);
            self.forget_incoming();
        }
        let mut again = Vec::new();
        for outgoing in self.outgoing.iter_mut().filter(|outgoing| outgoing.sent_on != connection) {
            outgoing.sent_on = connection;
            let packet_id = outgoing.publish.packet_id.unwrap();
            again.push(if outgoing.is_released {
                Packet::Acknowledgement(acknowledgement(AcknowledgementKind::PubRel, packet_id))
            } else {
                let properties = outgoing.publish.properties.clone().filter(|_| self.version.is_v5());
                Packet::Publish(Publish { dup: true, properties, ..outgoing.publish.clone() })
            });
        }
        again
    }

    /// A message has come from the broker, with its topic resolved where it must be. Whether it may come; and
    /// whether it is one that the client has and must not take a second time.
    pub(crate) fn receive(&mut self, publish: &mut Publish) -> Result<bool, String> {
        if let Some(alias) = publish.topic_alias.take().map(TopicAlias::get) {
            if alias > self.alias_maximum {
                return Err(format!("topic alias {alias} is above {}", self.alias_maximum));
            }
            match &publish.topic {
                Some(topic) => drop(self.aliases.insert(alias, topic.clone())),
                None => publish.topic = self.aliases.get(&alias).cloned(),
            }
        }
        if publish.topic.is_none() {
            return Err("without a topic".to_owned());
        }
        let Some(packet_id) = publish.packet_id else {
            return if publish.dup { Err("QoS 0 with DUP".to_owned()) } else { Ok(false) };
        };
        self.unacknowledged.insert(packet_id.get());
        if self.unacknowledged.len() > self.receive_maximum {
            return Err(format!("more at a time than its Receive Maximum of {}", self.receive_maximum));
        }
        Ok(publish.qos == QoS::ExactlyOnce && self.incoming.contains(&packet_id.get()))
    }

    /// It has something to say about a message that has come; if `refuses`, that it does not want it.
    pub(crate) fn will_acknowledge(&mut self, packet_id: PacketId, qos: QoS, refuses: bool) {
        let kind =
            if qos == QoS::AtLeastOnce { AcknowledgementKind::PubAck } else { AcknowledgementKind::PubRec };
        let mut answer = acknowledgement(kind, packet_id);
        let id = packet_id.get();
        let refuses = refuses && self.version.is_v5() && !self.incoming.contains(&id);
        if refuses {
            answer.reason = ReasonCode::ImplementationSpecificError;
        }
        if kind == AcknowledgementKind::PubRec {
            let (there, elsewhere) = if refuses {
                (&mut self.refused, &mut self.incoming)
            } else {
                (&mut self.incoming, &mut self.refused)
            };
            there.insert(id);
            elsewhere.remove(&id);
        }
        self.pending.push(answer);
    }

    /// Whether it would take a repeated message of QoS 2 for a new one.
    pub(crate) fn would_take_again(&self, packet_id: PacketId) -> bool {
        !self.incoming.contains(&packet_id.get()) && !self.refused.contains(&packet_id.get())
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP has come.
    pub(crate) fn acknowledged(&mut self, packet: &Acknowledgement) -> Result<(), String> {
        let id = packet.packet_id;
        if packet.kind == AcknowledgementKind::PubRel {
            self.incoming.remove(&id.get());
            self.pending.push(acknowledgement(AcknowledgementKind::PubComp, id));
            return Ok(());
        }
        let Some(at) = self.outgoing.iter().position(|outgoing| outgoing.publish.packet_id == Some(id))
        else {
            return Err(format!("{packet:?} is about nothing that is under way"));
        };
        let outgoing = &mut self.outgoing[at];
        match (packet.kind, outgoing.publish.qos) {
            (AcknowledgementKind::PubRec, QoS::ExactlyOnce) if !packet.reason.is_error() => {
                outgoing.is_released = true;
                self.pending.push(acknowledgement(AcknowledgementKind::PubRel, id));
            }
            (AcknowledgementKind::PubAck, QoS::AtLeastOnce)
            | (AcknowledgementKind::PubRec, QoS::ExactlyOnce) => drop(self.outgoing.remove(at)),
            (AcknowledgementKind::PubComp, QoS::ExactlyOnce) if outgoing.is_released => {
                drop(self.outgoing.remove(at));
            }
            _ => return Err(format!("{packet:?} is not the answer to {outgoing:?}")),
        }
        Ok(())
    }

    /// It says one of the things that it has yet to say.
    pub(crate) fn acknowledge(&mut self, at: usize) -> Acknowledgement {
        let packet = self.pending.remove(at);
        if matches!(packet.kind, AcknowledgementKind::PubAck | AcknowledgementKind::PubComp)
            || packet.reason.is_error()
        {
            self.unacknowledged.remove(&packet.packet_id.get());
        }
        packet
    }

    /// A packet identifier for a SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn ask(&mut self) -> PacketId {
        let id = self.free_id();
        self.asked.insert(id.get());
        id
    }

    pub(crate) fn answered(&mut self, id: PacketId) -> Result<(), String> {
        let was_asked = self.asked.remove(&id.get());
        was_asked.then_some(()).ok_or_else(|| format!("{id:?} was not asked"))
    }

    /// Whether the broker takes one more message of this QoS, of QoS 2 no more than `most` at a time.
    pub(crate) fn may_send(&self, qos: QoS, most: usize) -> bool {
        let others = self.outgoing.iter().filter(|outgoing| outgoing.publish.qos == QoS::ExactlyOnce).count();
        match qos {
            QoS::AtMostOnce => true,
            QoS::AtLeastOnce => self.outgoing.len() < self.server_receive_maximum,
            QoS::ExactlyOnce => self.outgoing.len() < self.server_receive_maximum && others < most,
        }
    }

    /// Completes a PUBLISH: the packet as it is sent, with an alias if that is wanted and there can be one.
    pub(crate) fn publish(&mut self, publish: &mut Publish, alias: Option<u16>) -> Publish {
        if publish.qos > QoS::AtMostOnce {
            publish.packet_id = Some(self.free_id());
            let sent_on = self.connection.unwrap();
            self.outgoing.push(Outgoing { publish: publish.clone(), is_released: false, sent_on });
        }
        let mut sent = publish.clone();
        if let Some(alias) = alias.filter(|alias| *alias <= self.server_alias_maximum) {
            publish.topic_alias = TopicAlias::new(alias);
            sent.topic_alias = publish.topic_alias;
            let given = self.given_aliases.insert(alias, publish.topic.clone().unwrap());
            if given == publish.topic {
                sent.topic = None;
            }
        }
        sent
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::new(self.next_id);
            self.next_id = self.next_id % 20 + 1;
            let used = |id: PacketId| {
                self.asked.contains(&id.get())
                    || self.outgoing.iter().any(|outgoing| outgoing.publish.packet_id == Some(id))
            };
            if let Some(id) = id.filter(|id| !used(*id)) {
                return id;
            }
        }
    }

    /// Whether it has nothing more to say. If the broker `may_forget` what it has sent, it may wait for ever for the rest.
    pub(crate) fn is_quiet(&self, may_forget: bool) -> bool {
        self.outgoing.is_empty()
            && self.pending.is_empty()
            && self.asked.is_empty()
            && (self.incoming.is_empty() || may_forget)
    }

    /// How much it has under way, so that it does not run out of packet identifiers.
    pub(crate) fn load(&self) -> usize {
        self.outgoing.len() + self.asked.len()
    }
}

pub(crate) const fn acknowledgement(kind: AcknowledgementKind, packet_id: PacketId) -> Acknowledgement {
    Acknowledgement { kind, packet_id, reason: ReasonCode::Success, details: None }
}
