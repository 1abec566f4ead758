//! The packets by which a broker answers, less what is free to differ.
//!
//! A broker answers the packets of a connection in the order in which they came, so that all answers of a connection
//! are one sequence that is known beforehand.

use std::rc::Rc;

use mqtt_broker::broker::Durability;
use mqtt_broker::mqtt::packet::{AcknowledgementKind, ConnAck};
use mqtt_broker::mqtt::{Packet, ProtocolVersion, ReasonCode};

/// An answer that a client has not seen yet.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) answer: Answer,
    /// What it answers: so many inputs had the broker been told.
    pub(crate) input: u64,
    /// What has to hold for the records of that before it is given.
    pub(crate) durability: Durability,
    pub(crate) about: About,
}

/// What an answer tells of that need not be the doing of whoever gets it: it has to be as certain all the same.
#[derive(Debug, Clone, Default)]
pub(crate) enum About {
    /// Nothing.
    #[default]
    Nothing,
    /// The retained message of this topic, or that there is none.
    Retained(String),
    /// That a message under this packet identifier has come before from the client of this name.
    Received(Rc<str>, u16),
    /// That the client of this name has no session from before.
    NoSession(Rc<str>),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    ConnAck {
        session_present: bool,
        reason: ReasonCode,
    },
    /// PUBACK, PUBREC or PUBCOMP.
    Acknowledgement {
        kind: AcknowledgementKind,
        packet_id: u16,
        reason: ReasonCode,
    },
    SubAck {
        packet_id: u16,
        reasons: Vec<ReasonCode>,
    },
    UnsubAck {
        packet_id: u16,
        reasons: Vec<ReasonCode>,
    },
    PingResp,
    Disconnect {
        reason: ReasonCode,
    },
}

impl Answer {
    /// What a packet that came from the broker answers; `None` for a PUBLISH or PUBREL, which the broker sends of its
    /// own accord.
    pub(crate) fn of(packet: &Packet) -> Option<Self> {
        Some(match packet {
            Packet::ConnAck(connack) => {
                let ConnAck { session_present, reason, .. } = **connack;
                Self::ConnAck { session_present, reason }
            }
            Packet::Acknowledgement(packet) if packet.kind != AcknowledgementKind::PubRel => {
                Self::Acknowledgement {
                    kind: packet.kind,
                    packet_id: packet.packet_id.get(),
                    reason: packet.reason,
                }
            }
            Packet::SubAck(packet) => {
                Self::SubAck { packet_id: packet.packet_id.get(), reasons: packet.reasons.clone() }
            }
            Packet::UnsubAck(packet) => {
                Self::UnsubAck { packet_id: packet.packet_id.get(), reasons: packet.reasons.clone() }
            }
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(packet) => Self::Disconnect { reason: packet.reason },
            Packet::Publish(_)
            | Packet::Acknowledgement(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => return None,
        })
    }

    /// Whether `seen`, which came to a client of this version, is this answer.
    pub(crate) fn is(&self, seen: &Self, version: ProtocolVersion) -> bool {
        match (self, seen) {
            _ if version.is_v5() => self == seen,
            (Self::ConnAck { reason, .. }, Self::ConnAck { session_present, reason: seen })
                if version == ProtocolVersion::V3_1 =>
            {
                !session_present && reason.is_error() == seen.is_error()
            }
            // Older versions have no words for most reasons.
            (
                Self::ConnAck { session_present, reason },
                Self::ConnAck { session_present: present, reason: seen },
            ) => session_present == present && reason.is_error() == seen.is_error(),
            (Self::SubAck { packet_id, reasons }, Self::SubAck { packet_id: id, reasons: seen }) => {
                let told = |reason: &ReasonCode| {
                    if reason.is_error() { ReasonCode::UnspecifiedError } else { *reason }
                };
                packet_id == id && reasons.iter().map(told).eq(seen.iter().copied())
            }
            (Self::UnsubAck { packet_id, .. }, Self::UnsubAck { packet_id: id, .. }) => packet_id == id,
            (
                Self::Acknowledgement { kind, packet_id, .. },
                Self::Acknowledgement { kind: seen_kind, packet_id: id, reason: seen },
            ) => kind == seen_kind && packet_id == id && *seen == ReasonCode::Success,
            _ => self == seen,
        }
    }

    /// MQTT 3.1 has no word for a session that is present: its client is told all the same, since what it then does
    /// would otherwise depend on a guess.
    pub(crate) fn tell_truly(&self, packet: &mut Packet) {
        if let (Self::ConnAck { session_present, .. }, Packet::ConnAck(connack)) = (self, packet) {
            connack.session_present = *session_present;
        }
    }
}
