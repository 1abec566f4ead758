//! The way out: what is sent, adapted to what the client takes.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::error::SendError;
use super::phase::Phase;
use super::{Connection, Transmit};
use crate::clock::Instant;
use crate::mqtt::codec::{self, DeliveryTopic};
use crate::mqtt::packet::{Acknowledgement, AcknowledgementKind, ConnAck, ConnAckProperties, Disconnect};
use crate::mqtt::{Delivery, Packet, ProtocolVersion, QoS, ReasonCode};

impl Connection {
    /// Sends a message.
    ///
    /// Fails where the packet is larger than the client takes, which the broker makes sure of before.
    pub fn send_delivery(
        &mut self,
        delivery: &Delivery,
        now: Instant,
        out: &mut Transmit,
    ) -> Result<(), SendError> {
        let Some(version) = self.writable() else {
            return Ok(());
        };
        let topic = &delivery.message.topic;
        let named = match self.outbound_aliases.as_mut() {
            None => DeliveryTopic::Name,
            Some(aliases) => match aliases.known(topic) {
                Some(alias) => DeliveryTopic::Alias(alias),
                None => aliases.next().map_or(DeliveryTopic::Name, DeliveryTopic::NameAndAlias),
            },
        };
        let expiry = delivery.message.expires_at.map(|at| seconds_left(at.saturating_since(now)));
        match self.write_delivery(delivery, named, expiry, version, out) {
            Ok(()) => {
                if let (DeliveryTopic::NameAndAlias(alias), Some(aliases)) =
                    (named, self.outbound_aliases.as_mut())
                {
                    aliases.assign(alias, topic);
                }
                Ok(())
            }
            // An alias takes three bytes, and more than a very short name.
            Err(SendError::TooLarge) if named != DeliveryTopic::Name => {
                self.write_delivery(delivery, DeliveryTopic::Name, expiry, version, out)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn send_acknowledgement(
        &mut self,
        packet: Acknowledgement,
        out: &mut Transmit,
    ) -> Result<(), SendError> {
        let freed = match packet.kind {
            AcknowledgementKind::PubAck => Some(QoS::AtLeastOnce),
            AcknowledgementKind::PubComp => Some(QoS::ExactlyOnce),
            AcknowledgementKind::PubRec if packet.reason.is_error() => Some(QoS::ExactlyOnce),
            AcknowledgementKind::PubRec | AcknowledgementKind::PubRel => None,
        };
        if let (Some(qos), Some(quota)) = (freed, self.quota.as_mut()) {
            quota.release(packet.packet_id, qos);
        }
        self.send(Packet::Acknowledgement(packet), out)
    }

    /// Sends a packet. What is only there to explain is left out where the client does not want it
    /// \[MQTT-3.1.2-29\] or where the packet would be larger than the client takes \[MQTT-3.2.2-19\].
    pub fn send(&mut self, mut packet: Packet, out: &mut Transmit) -> Result<(), SendError> {
        let Some(version) = self.writable() else {
            return Ok(());
        };
        let always_explained = match &packet {
            Packet::ConnAck(_) | Packet::Publish(_) | Packet::Disconnect(_) => true,
            Packet::Connect(_)
            | Packet::Acknowledgement(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Auth(_) => false,
        };
        if let Packet::ConnAck(connack) = &mut packet
            && !connack.reason.is_error()
        {
            self.explain_login(connack);
            self.announce_limits(&mut connack.properties);
        }
        if !self.problem_information && !always_explained {
            strip_explanation(&mut packet);
        }
        match self.write(&packet, version, out) {
            Err(SendError::TooLarge | SendError::Unwritable(_)) if strip_explanation(&mut packet) => {
                self.write(&packet, version, out)?;
            }
            result => result?,
        }
        if let Packet::ConnAck(connack) = &packet {
            let accepted = self.phase == Phase::Accepted && !connack.reason.is_error();
            if accepted {
                self.phase = Phase::Connected;
            } else if self.phase != Phase::Left {
                self.phase = Phase::Closing;
            }
        }
        Ok(())
    }

    /// Says the last word, if there is one to be said: a CONNACK that refuses where the client was not accepted yet,
    /// a DISCONNECT where it understands that \[MQTT-3.14.0-1\]. Nothing can be sent after it.
    ///
    /// `None` as the reason: nothing is said.
    pub fn close(&mut self, reason: Option<ReasonCode>, detail: &str, out: &mut Transmit) {
        let reason_string = Some(Arc::<str>::from(detail)).filter(|text| !text.is_empty());
        let packet = match (reason, self.phase, self.version) {
            (Some(reason), Phase::AwaitingConnect | Phase::Authenticating | Phase::Exchanging, Some(_)) => {
                let properties = ConnAckProperties { reason_string, ..ConnAckProperties::default() };
                Some(Packet::ConnAck(Box::new(ConnAck { session_present: false, reason, properties })))
            }
            // Even a client's DISCONNECT can be one that must not be sent.
            (Some(reason), Phase::Connected | Phase::Left, Some(ProtocolVersion::V5)) => {
                Some(Packet::Disconnect(Box::new(Disconnect {
                    reason_string,
                    ..Disconnect::because(reason)
                })))
            }
            _ => None,
        };
        // A client that does not even take this gets nothing.
        let _ = packet.map(|packet| self.send(packet, out));
        self.phase = Phase::Closing;
    }

    /// Adds to a CONNACK the limits that are kept here; older versions of MQTT are not told.
    fn announce_limits(&self, properties: &mut ConnAckProperties) {
        properties.receive_maximum = self.limits.receive_maximum;
        properties.maximum_packet_size = self.limits.maximum_packet_size;
        properties.topic_alias_maximum = self.limits.topic_alias_maximum;
        properties.server_keep_alive = self.limits.server_keep_alive;
    }

    /// The version to write in, if anything may be written.
    fn writable(&self) -> Option<ProtocolVersion> {
        self.version.filter(|_| self.phase != Phase::Closing)
    }

    fn write(&self, packet: &Packet, version: ProtocolVersion, out: &mut Transmit) -> Result<(), SendError> {
        let buffer = out.buffer();
        let before = buffer.len();
        codec::encode(packet, version, buffer)?;
        let fits = self.fits(buffer.len() - before);
        if !fits {
            buffer.truncate(before);
        }
        fits.then_some(()).ok_or(SendError::TooLarge)
    }

    fn write_delivery(
        &self,
        delivery: &Delivery,
        topic: DeliveryTopic,
        expiry: Option<u32>,
        version: ProtocolVersion,
        out: &mut Transmit,
    ) -> Result<(), SendError> {
        let buffer = out.buffer();
        let before = buffer.len();
        codec::encode_delivery_head(delivery, topic, expiry, version, buffer)?;
        if !self.fits(buffer.len() - before + delivery.message.payload.len()) {
            buffer.truncate(before);
            return Err(SendError::TooLarge);
        }
        out.push_payload(&delivery.message.payload);
        Ok(())
    }

    fn fits(&self, len: usize) -> bool {
        u32::try_from(len).is_ok_and(|len| len <= self.client_maximum_packet_size)
    }
}

/// What is left of a message's life, in whole seconds, rounded up. A message that has been handed over is sent, even
/// if it expires on its last step: then with the shortest life that can be said \[MQTT-3.3.2-6\].
fn seconds_left(left: Duration) -> u32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// Leaves out reason string and user properties. Tells whether there were any.
fn strip_explanation(packet: &mut Packet) -> bool {
    let (reason_string, user_properties) = match packet {
        Packet::Acknowledgement(packet) => return packet.details.take().is_some(),
        Packet::ConnAck(packet) => {
            (&mut packet.properties.reason_string, &mut packet.properties.user_properties)
        }
        Packet::SubAck(packet) => (&mut packet.reason_string, &mut packet.user_properties),
        Packet::UnsubAck(packet) => (&mut packet.reason_string, &mut packet.user_properties),
        Packet::Disconnect(packet) => (&mut packet.reason_string, &mut packet.user_properties),
        Packet::Auth(packet) => (&mut packet.reason_string, &mut packet.user_properties),
        Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::PingResp => return false,
    };
    let any = reason_string.take().is_some();
    !mem::take(user_properties).is_empty() || any
}
