//! A client as light as can be, so that it is the broker that is measured.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::mqtt::codec::{encode, frame_header};
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, ConnectProperties, Disconnect, Publish, Subscribe,
    SubscribeEntry, SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicName, UserProperties,
};
use tokio::net::TcpStream;

const VERSION: ProtocolVersion = ProtocolVersion::V3_1_1;

const BUFFER: usize = 256 << 10;

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// A connection, with what is to be written and what has been read in part.
pub(crate) struct Client {
    stream: TcpStream,
    outgoing: Vec<u8>,
    partial: Vec<u8>,
    next_id: PacketId,
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As long as its connection.
    Connection,
    /// For ever: in MQTT 3.1.1 that of a client that does not ask for a clean session.
    Unbounded,
}

/// What a client looks at of what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// A message: its payload.
    Message(&'a [u8]),
    /// The client's own message is done with: PUBACK or PUBCOMP.
    Done,
    /// SUBACK, PINGRESP or CONNACK.
    Answer,
}

impl Client {
    /// Connects with a session that ends with the connection, and waits for the CONNACK.
    pub(crate) async fn connect(address: SocketAddr, name: &str) -> io::Result<Self> {
        Self::with_session(address, name, Lifetime::Connection).await
    }

    /// Connects, and waits for the CONNACK.
    pub(crate) async fn with_session(
        address: SocketAddr,
        name: &str,
        lifetime: Lifetime,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, outgoing: Vec::new(), partial: Vec::new(), next_id: PacketId::MIN };
        client.queue(&Packet::Connect(Box::new(Connect {
            version: VERSION,
            clean_start: lifetime == Lifetime::Connection,
            keep_alive: 60,
            client_id: ClientId::new(name),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        })));
        client.ask().await?;
        Ok(client)
    }

    /// Subscribes to these, and waits for the SUBACK.
    pub(crate) async fn subscribe(&mut self, filters: &[&str], qos: QoS) -> io::Result<()> {
        self.queue_subscribe(filters, qos);
        self.ask().await
    }

    pub(crate) fn queue_subscribe(&mut self, filters: &[&str], qos: QoS) {
        self.queue(&Packet::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::MIN,
            identifier: None,
            user_properties: UserProperties::new(),
            entries: filters
                .iter()
                .map(|filter| SubscribeEntry {
                    filter: Arc::from(*filter),
                    options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
                })
                .collect(),
        })));
    }

    /// Goes, in good order.
    pub(crate) async fn leave(mut self) -> io::Result<()> {
        self.queue(&Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success))));
        self.write().await
    }

    /// Sends a PINGREQ, and waits for the PINGRESP.
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.queue(&Packet::PingReq);
        self.ask().await
    }

    pub(crate) fn queue(&mut self, packet: &Packet) {
        encode(packet, VERSION, &mut self.outgoing).expect("a packet that fits");
    }

    pub(crate) fn publish(&mut self, template: &Template) {
        let id = template.append(self.next_id, &mut self.outgoing);
        self.next_id = id;
    }

    /// Writes all that is queued.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.outgoing.len() {
            match self.stream.try_write(&self.outgoing[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(BUFFER);
        Ok(())
    }

    /// Waits for something to read, and hands over what it is. Answers messages and what belongs to them; the answers
    /// are queued.
    pub(crate) async fn read(&mut self, mut arrived: impl FnMut(Arrival<'_>)) -> io::Result<()> {
        self.stream.readable().await?;
        READ.with_borrow_mut(|buffer| {
            loop {
                match self.stream.try_read(buffer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(len) => {
                        self.split(&buffer[..len], &mut arrived)?;
                        if len < buffer.len() {
                            return Ok(());
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Writes what is queued, and waits for one answer. Messages that come before it are answered and not looked at.
    async fn ask(&mut self) -> io::Result<()> {
        self.write().await?;
        let mut is_answered = false;
        while !is_answered {
            self.read(|arrival| is_answered |= arrival == Arrival::Answer).await?;
        }
        Ok(())
    }

    fn split(&mut self, bytes: &[u8], arrived: &mut impl FnMut(Arrival<'_>)) -> io::Result<()> {
        let mut whole = std::mem::take(&mut self.partial);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        let mut at = 0;
        while let Some(header) = frame_header(&bytes[at..]).map_err(io::Error::other)? {
            let body = at + header.header_len;
            let Some(body) = bytes.get(body..body + header.body_len) else { break };
            self.take(header.first, body, arrived);
            at += header.header_len + header.body_len;
        }
        self.partial = bytes[at..].to_vec();
        Ok(())
    }

    fn take(&mut self, first: u8, body: &[u8], arrived: &mut impl FnMut(Arrival<'_>)) {
        let id = |at: usize| PacketId::new(u16::from_be_bytes([body[at], body[at + 1]])).expect("not 0");
        match first >> 4 {
            3 => {
                let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let qos = (first >> 1) & 3;
                arrived(Arrival::Message(&body[topic_end + if qos > 0 { 2 } else { 0 }..]));
                match qos {
                    0 => {}
                    1 => self.acknowledge(AcknowledgementKind::PubAck, id(topic_end)),
                    _ => self.acknowledge(AcknowledgementKind::PubRec, id(topic_end)),
                }
            }
            5 => self.acknowledge(AcknowledgementKind::PubRel, id(0)),
            6 => self.acknowledge(AcknowledgementKind::PubComp, id(0)),
            4 | 7 => arrived(Arrival::Done),
            9 => {
                assert!(!body[2..].contains(&0x80), "a subscription is refused");
                arrived(Arrival::Answer);
            }
            _ => arrived(Arrival::Answer),
        }
    }

    fn acknowledge(&mut self, kind: AcknowledgementKind, packet_id: PacketId) {
        self.queue(&Packet::Acknowledgement(Acknowledgement {
            kind,
            packet_id,
            reason: ReasonCode::Success,
            details: None,
        }));
    }
}

/// A PUBLISH whose bytes are made once.
pub(crate) struct Template {
    bytes: Vec<u8>,
    payload: usize,
    qos: QoS,
}

impl Template {
    pub(crate) fn new(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Self {
        let mut bytes = Vec::new();
        let publish = Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic: Some(TopicName::parse(topic).expect("a topic name")),
            topic_alias: None,
            packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
            payload: Bytes::copy_from_slice(payload),
            properties: None,
        });
        encode(&publish, VERSION, &mut bytes).expect("a packet that fits");
        Self { payload: bytes.len() - payload.len(), bytes, qos }
    }

    /// What is sent from now on.
    pub(crate) fn payload(&mut self) -> &mut [u8] {
        &mut self.bytes[self.payload..]
    }

    /// Adds the packet, with this identifier if it needs one; returns the one that is next.
    fn append(&self, id: PacketId, out: &mut Vec<u8>) -> PacketId {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        if self.qos == QoS::AtMostOnce {
            return id;
        }
        out[at + self.payload - 2..at + self.payload].copy_from_slice(&id.get().to_be_bytes());
        id.next()
    }
}
