//! The packets, as on the wire, for all versions of the protocol.
//!
//! Each file holds a packet's type, how it is decoded and encoded, and the tests of both.

pub mod acknowledgement;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod publish;
pub mod subscribe;
pub mod unsubscribe;
pub mod will;

pub use acknowledgement::{Acknowledgement, AcknowledgementKind};
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Password};
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeEntry, SubscriptionOptions};
pub use unsubscribe::{UnsubAck, Unsubscribe};
pub use will::Will;

/// Any packet. The rare ones are boxed, so that a batch of common ones stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT, from the client.
    Connect(Box<Connect>),
    /// CONNACK, from the server.
    ConnAck(Box<ConnAck>),
    /// PUBLISH, both ways.
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL and PUBCOMP, both ways.
    Acknowledgement(Acknowledgement),
    /// SUBSCRIBE, from the client.
    Subscribe(Box<Subscribe>),
    /// SUBACK, from the server.
    SubAck(Box<SubAck>),
    /// UNSUBSCRIBE, from the client.
    Unsubscribe(Box<Unsubscribe>),
    /// UNSUBACK, from the server.
    UnsubAck(Box<UnsubAck>),
    /// PINGREQ, from the client.
    PingReq,
    /// PINGRESP, from the server.
    PingResp,
    /// DISCONNECT, both ways.
    Disconnect(Box<Disconnect>),
    /// AUTH, both ways, MQTT 5.0 only.
    Auth(Box<Auth>),
}
