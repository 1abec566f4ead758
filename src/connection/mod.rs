//! One connection's protocol: bytes in, packets out, and the other way round. Pure.
//!
//! [`Connection`] is told which bytes arrived and what time it is. It knows everything that dies with the
//! connection: how far it has come, the partial packet at the end of what has arrived, topic aliases, the quota that
//! Receive Maximum sets, keep-alive, and what the client said it takes. What outlives the connection belongs to the
//! session, in the broker.
//!
//! It does not look into messages: whether a payload is what its format indicator says, whether a topic may be
//! published to, whether a feature is offered, is for the broker to say, as it answers.

mod alias;
mod authentication;
pub mod error;
mod keep_alive;
pub mod limits;
mod partial;
pub mod phase;
mod quota;
pub mod rate;
mod send;
#[cfg(test)]
mod tests;
pub mod transmit;

use std::sync::Arc;

use bytes::Bytes;

pub use error::{ProtocolError, SendError};
pub use limits::ConnectionLimits;
pub use phase::Phase;
pub use rate::{RateLimitPolicy, TokenBucket};
pub use transmit::Transmit;

use crate::clock::Instant;
use crate::mqtt::codec::{self, Body, DecodeLimits, FrameHeader};
use crate::mqtt::packet::{Connect, Publish};
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode};
use alias::{InboundAliases, OutboundAliases};
use authentication::Authentication;
use keep_alive::KeepAlive;
use partial::{Partial, frame_len};
use quota::ReceiveQuota;

/// One client's connection, as a value without I/O.
///
/// The caller gives it arriving bytes with [`receive`](Self::receive), authenticates the client of the CONNECT that
/// comes out, with as many [`challenge`](Self::challenge)s as the method takes, then calls [`accept`](Self::accept); sends with the `send` methods and ends with
/// [`close`](Self::close). It calls [`handle_timeout`](Self::handle_timeout) when [`deadline`](Self::deadline) has
/// come.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<ConnectionLimits>,
    phase: Phase,
    /// What CONNECT said. Before that, what a CONNECT that is refused seems to speak.
    version: Option<ProtocolVersion>,
    /// Whether reason strings and user properties are wanted everywhere \[MQTT-3.1.2-29\].
    problem_information: bool,
    /// The largest packet that the client takes.
    client_maximum_packet_size: u32,
    /// Before the client is accepted: since when it has been here.
    keep_alive: KeepAlive,
    partial: Partial,
    /// Only where there is something to count.
    quota: Option<Box<ReceiveQuota>>,
    inbound_aliases: Option<Box<InboundAliases>>,
    outbound_aliases: Option<Box<OutboundAliases>>,
    /// Where CONNECT named a method.
    authentication: Option<Box<Authentication>>,
}

/// Something that should have come and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// CONNECT, or the end of authentication.
    Connect,
    /// Anything, for one and a half times the keep-alive \[MQTT-3.1.2-22\].
    KeepAlive,
}

/// The largest packet that MQTT can say: five bytes of fixed header and 268,435,455 more.
const LARGEST_PACKET: u32 = 268_435_460;

impl Connection {
    /// A connection that has just been made.
    pub fn new(limits: Arc<ConnectionLimits>, now: Instant) -> Self {
        Self {
            phase: Phase::AwaitingConnect,
            version: None,
            problem_information: true,
            client_maximum_packet_size: LARGEST_PACKET,
            keep_alive: KeepAlive::new(now),
            partial: Partial::default(),
            quota: None,
            inbound_aliases: None,
            outbound_aliases: None,
            authentication: None,
            limits,
        }
    }

    /// How far it has come.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Which MQTT the client speaks, once CONNECT has said it.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// These bytes have arrived. Adds the packets that they complete to `packets`, with their topics resolved.
    ///
    /// While the client is being authenticated nothing is decoded and what arrives waits; its bound is that the
    /// caller does not read meanwhile. After an error nothing more is decoded; the packets before it stand.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Instant,
        packets: &mut Vec<Packet>,
    ) -> Result<(), ProtocolError> {
        /// A client in the middle of a large packet cannot send anything else: this much of it is a sign of life.
        const SIGN_OF_LIFE: usize = 1_024;
        let before = packets.len();
        let result = self.decode(bytes, packets);
        let is_accepted = matches!(self.phase, Phase::Accepted | Phase::Connected);
        if is_accepted && (packets.len() > before || bytes.len() >= SIGN_OF_LIFE) {
            self.keep_alive.heard(now);
        }
        if result.is_err() {
            drop(self.partial.take());
        }
        result
    }

    /// The client is who it says it is. Adds the packets that have arrived behind its CONNECT to `packets`.
    pub fn accept(&mut self, now: Instant, packets: &mut Vec<Packet>) -> Result<(), ProtocolError> {
        if self.phase != Phase::Authenticating {
            return Ok(());
        }
        self.phase = Phase::Accepted;
        self.keep_alive.heard(now);
        let waiting = self.partial.take();
        self.decode(&waiting, packets)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` while nothing is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingConnect | Phase::Authenticating | Phase::Exchanging => {
                Some(self.keep_alive.last_heard() + self.limits.connect_timeout)
            }
            Phase::Accepted | Phase::Connected => self.keep_alive.deadline(),
            Phase::Left | Phase::Closing => None,
        }
    }

    /// Tells what should have come by now and did not.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Expired> {
        let due = self.deadline().is_some_and(|at| at <= now);
        due.then_some(match self.phase {
            Phase::AwaitingConnect | Phase::Authenticating | Phase::Exchanging => Expired::Connect,
            Phase::Accepted | Phase::Connected | Phase::Left | Phase::Closing => Expired::KeepAlive,
        })
    }

    /// Nothing was read from the client until now, for a reason of ours: its silence is not its own.
    pub fn excuse_silence(&mut self, now: Instant) {
        self.keep_alive.heard(now);
    }

    fn decode(&mut self, mut bytes: &[u8], packets: &mut Vec<Packet>) -> Result<(), ProtocolError> {
        if self.phase.decodes() && !self.partial.is_empty() {
            let Some(packet) = self.complete_partial(&mut bytes)? else {
                return Ok(());
            };
            packets.push(self.take(packet)?);
        }
        while self.phase.decodes() {
            let header = self.admit(bytes)?;
            let whole = header.and_then(|header| Some((header, bytes.split_at_checked(frame_len(header))?)));
            let Some((header, (frame, rest))) = whole else {
                self.partial.extend(bytes, header);
                return Ok(());
            };
            bytes = rest;
            let body = frame.get(header.header_len..).unwrap_or_default();
            let packet = self.decode_packet(header, body, Body::Borrowed(body))?;
            packets.push(self.take(packet)?);
        }
        if self.phase == Phase::Authenticating {
            self.partial.extend(bytes, None);
        }
        Ok(())
    }

    /// The bytes of a packet that has begun and not ended, as far as they have come.
    pub fn unfinished(&self) -> usize {
        self.partial.as_slice().len()
    }

    /// Takes from `bytes` what the partial packet lacks, and decodes it when it is whole.
    fn complete_partial(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet>, ProtocolError> {
        /// From this length on a packet is decoded without copying its payload once more.
        const SHARED: usize = 4 << 10;
        loop {
            let header = self.admit(self.partial.as_slice())?;
            let frame_len = header.map_or(self.partial.as_slice().len() + 1, frame_len);
            let missing = frame_len.saturating_sub(self.partial.as_slice().len());
            let (arrived, rest) = bytes.split_at(missing.min(bytes.len()));
            *bytes = rest;
            self.partial.extend(arrived, header);
            if arrived.len() < missing {
                return Ok(None);
            }
            let Some(header) = header else { continue };
            let frame = self.partial.take();
            if frame.len() < SHARED {
                let body = frame.get(header.header_len..).unwrap_or_default();
                return self.decode_packet(header, body, Body::Borrowed(body)).map(Some);
            }
            let body = Bytes::from(frame).split_off(header.header_len);
            return self.decode_packet(header, &body, Body::Shared(&body)).map(Some);
        }
    }

    /// Whether the packet that begins here may come now, as far as its first bytes tell.
    fn admit(&self, bytes: &[u8]) -> Result<Option<FrameHeader>, ProtocolError> {
        const CONNECT: u8 = 1;
        const DISCONNECT: u8 = 14;
        const AUTH: u8 = 15;
        let Some(first) = bytes.first() else {
            return Ok(None);
        };
        let (packet_type, awaiting) = (first >> 4, self.phase == Phase::AwaitingConnect);
        // [MQTT-3.1.2-30]
        let only_auth = self.phase == Phase::Exchanging
            || (self.phase == Phase::Accepted && self.authentication.is_some());
        let limit = match packet_type {
            // [MQTT-3.1.0-1]
            CONNECT if awaiting => self.limits.packet_before_connected,
            _ if awaiting => return Err(ProtocolError::protocol("the first packet is not a CONNECT")),
            // [MQTT-3.1.0-2]
            CONNECT => return Err(ProtocolError::protocol("a second CONNECT")),
            // CONNACK, SUBACK, UNSUBACK, PINGRESP.
            2 | 9 | 11 | 13 => return Err(ProtocolError::protocol("a packet that only a server may send")),
            DISCONNECT | AUTH if only_auth => self.limits.packet_before_connected,
            _ if only_auth => {
                return Err(ProtocolError::protocol("another packet than AUTH or DISCONNECT before CONNACK"));
            }
            _ => self.limits.maximum_packet_size.map_or(LARGEST_PACKET, Into::into),
        };
        let Some(header) = codec::frame_header(bytes)? else {
            return Ok(None);
        };
        // [MQTT-3.2.2-15]
        if u32::try_from(frame_len(header)).map_or(true, |size| size > limit) {
            return Err(ProtocolError::because(
                ReasonCode::PacketTooLarge,
                "the packet is larger than allowed",
            ));
        }
        Ok(Some(header))
    }

    fn decode_packet(
        &mut self,
        header: FrameHeader,
        body: &[u8],
        shared: Body<'_>,
    ) -> Result<Packet, ProtocolError> {
        let limits = DecodeLimits {
            user_properties: self.limits.user_properties,
            filters: self.limits.filters_per_packet,
        };
        codec::decode(header, shared, self.version, limits).map_err(|error| {
            if self.phase == Phase::AwaitingConnect {
                self.version = refusable_version(body, error.reason);
            }
            error.into()
        })
    }

    /// What a packet changes for the connection itself.
    fn take(&mut self, mut packet: Packet) -> Result<Packet, ProtocolError> {
        match &mut packet {
            Packet::Connect(connect) => self.connect(connect),
            Packet::Publish(publish) => self.publish(publish)?,
            Packet::Disconnect(disconnect) if disconnect.may_come_from_client() => self.phase = Phase::Left,
            Packet::Disconnect(_) => {
                // [MQTT-3.14.2-1]
                return Err(ProtocolError::protocol(
                    "a DISCONNECT with a reason that only a server may give",
                ));
            }
            Packet::Auth(auth) => self.auth(auth)?,
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(ProtocolError::protocol("a packet that only a server may send"));
            }
            Packet::Acknowledgement(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {}
        }
        Ok(packet)
    }

    fn connect(&mut self, connect: &Connect) {
        let v5 = connect.version.is_v5();
        self.phase = Phase::Authenticating;
        self.version = Some(connect.version);
        self.authentication = connect
            .properties
            .authentication_method
            .clone()
            .map(|method| Box::new(Authentication::new(method)));
        // [MQTT-3.2.2-21]. An MQTT 3.x client cannot be told of another keep-alive: it goes on keeping its own, and to
        // measure it by a shorter one would cut off clients that do all they have promised.
        let keep_alive = self.limits.server_keep_alive.filter(|_| v5).unwrap_or(connect.keep_alive);
        self.keep_alive.agree(keep_alive);
        if v5 {
            self.problem_information = connect.properties.request_problem_information;
            self.client_maximum_packet_size =
                connect.properties.maximum_packet_size.map_or(LARGEST_PACKET, Into::into);
            self.inbound_aliases = Some(self.limits.topic_alias_maximum)
                .filter(|maximum| *maximum > 0)
                .map(|maximum| Box::new(InboundAliases::new(maximum)));
            self.outbound_aliases =
                Some(connect.properties.topic_alias_maximum.min(self.limits.outbound_topic_aliases))
                    .filter(|maximum| *maximum > 0 && self.limits.auto_map_topic_alias)
                    .map(|maximum| Box::new(OutboundAliases::new(maximum)));
        }
    }

    fn publish(&mut self, publish: &mut Publish) -> Result<(), ProtocolError> {
        // [MQTT-3.3.4-6]
        if publish
            .properties
            .as_ref()
            .is_some_and(|properties| !properties.subscription_identifiers.is_empty())
        {
            return Err(ProtocolError::protocol("a client's PUBLISH has a subscription identifier"));
        }
        match self.inbound_aliases.as_mut() {
            Some(aliases) => aliases.resolve(publish)?,
            None => InboundAliases::new(0).resolve(publish)?,
        }
        match publish.packet_id {
            // Receive Maximum is MQTT 5.0's; packet identifiers bound what an MQTT 3.x client has under way.
            Some(packet_id) if self.version.is_some_and(ProtocolVersion::is_v5) => {
                let maximum = self.limits.receive_maximum.map_or(u16::MAX, Into::into);
                let quota = self.quota.get_or_insert_with(|| Box::new(ReceiveQuota::new(maximum)));
                quota.take(packet_id, publish.qos)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// In which form a CONNECT that cannot be accepted is to be refused; `None`: without a word.
fn refusable_version(body: &[u8], reason: ReasonCode) -> Option<ProtocolVersion> {
    let name_len = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let name = body.get(2..2 + name_len)?;
    let level = *body.get(2 + name_len)?;
    if reason == ReasonCode::UnsupportedProtocolVersion {
        // [MQTT-3.1.2-2]. The highest bit is how bridges of some brokers mark themselves; they understand the answer
        // of the version that the other bits name.
        return Some(if level & 0x7F < 5 { ProtocolVersion::V3_1_1 } else { ProtocolVersion::V5 });
    }
    // [MQTT-3.1.4-1] allows the answer; older versions close without one. [MQTT3-3.1.4-1]
    (name == b"MQTT" && level == 5).then_some(ProtocolVersion::V5)
}
