//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape, four meanings (MQTT 5.0 sections 3.4 to 3.7).

use std::sync::Arc;

use crate::mqtt::{PacketId, ReasonCode, UserProperties};

/// Which of the four packets it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcknowledgementKind {
    /// Answers a PUBLISH of QoS 1.
    PubAck,
    /// Answers a PUBLISH of QoS 2: received.
    PubRec,
    /// Answers PUBREC: the packet identifier may be forgotten.
    PubRel,
    /// Answers PUBREL: it is forgotten.
    PubComp,
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which of the four.
    pub kind: AcknowledgementKind,
    /// Of the PUBLISH it is about.
    pub packet_id: PacketId,
    /// How it went. [`ReasonCode::Success`] in MQTT 3.x, where the packet cannot say.
    pub reason: ReasonCode,
    /// What else was said; `None` where nothing was.
    pub details: Option<Box<AcknowledgementDetails>>,
}

/// The properties of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcknowledgementDetails {
    /// A sentence for a human.
    pub reason_string: Option<Arc<str>>,
    /// Pairs of names and values, in order.
    pub user_properties: UserProperties,
}
