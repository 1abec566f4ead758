//! WebSocket (RFC 6455), as far as MQTT needs it: binary messages whose payloads, one behind the other, are the
//! stream of MQTT packets [MQTT-6.0.0-1], [MQTT-6.0.0-2].
//!
//! [`upgrade()`] answers the HTTP request and makes a [`WebSocket`], which is a stream like that below it. Frames are
//! taken apart where they were read, so that nothing but part of a header, or of a control frame, is ever kept: a
//! frame may announce any length, and a message have any number of frames. There are no extensions.
//!
//! What brings no payload is read at a bounded pace (`idling`), so that nobody is kept busy with it.
//!
//! `frame` has the words of the wire, `inbound` and `outbound` the two directions, and `request` the HTTP before them,
//! all without I/O; `stream` and `upgrade` bring them to a stream.

mod frame;
mod idling;
mod inbound;
mod options;
mod outbound;
mod request;
mod stream;
mod upgrade;

pub use frame::{CloseCode, Violation};
pub use inbound::{End, Inbound};
pub use options::{Origin, RequestPath, WebSocketOptions};
pub use outbound::Outbound;
pub use request::{Acceptance, Refusal, Status, answer};
pub use stream::WebSocket;
pub use upgrade::{Upgrade, UpgradeError, upgrade};
