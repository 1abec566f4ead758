//! What the broker wants done.

use super::input::ConnectionId;
use super::record::{Number, Sequence};
use crate::mqtt::packet::Acknowledgement;
use crate::mqtt::{Delivery, Packet, ReasonCode};

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Hand these to a client, in this order, behind all that was handed to it before.
    ToClient {
        /// Whose connection.
        connection: ConnectionId,
        /// What for.
        items: Vec<ToClient>,
    },
    /// [Say](super::Input::Written) what has been written to this client, as soon as something has that was not said.
    AskWritten {
        /// Whose connection.
        connection: ConnectionId,
    },
    /// Read again from this client: it was [held back](super::Broker::is_held_back).
    Resume {
        /// Whose connection.
        connection: ConnectionId,
    },
    /// Read these records of the journal, and [say](super::Input::Fetched) what is in each: the message with this
    /// number is wanted.
    Fetch(Vec<(Number, Sequence)>),
}

/// Something for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// A message. Counts [`Delivery::handed_over_bytes`] against the window.
    Deliver(Delivery),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Acknowledge(Acknowledgement),
    /// PINGRESP.
    PingResp,
    /// Another packet.
    Send(Box<Packet>),
    /// The end: nothing follows. To MQTT 5.0 clients that have had their CONNACK, say why in a DISCONNECT first.
    Close {
        /// Why; `None`: without a word, as after a CONNACK that refuses or the client's own DISCONNECT.
        reason: Option<ReasonCode>,
        /// A sentence for a human, for the log and, if there is room, for the client.
        detail: &'static str,
    },
}
