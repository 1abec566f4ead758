//! What the broker has for a client, as bytes.

use tracing::debug;

use crate::actor::ShellCounters;
use crate::broker::{Closure, ToClient};
use crate::clock::Instant;
use crate::connection::{Connection, SendError, Transmit};
use crate::mqtt::{Packet, ReasonCode};

/// Encodes `items` behind what is in `out`. Returns how many bytes they count for the broker's outbound window, and,
/// where the connection is to be closed after them, how and why.
pub(super) fn encode(
    items: Vec<ToClient>,
    connection: &mut Connection,
    counters: &ShellCounters,
    now: Instant,
    out: &mut Transmit,
) -> (usize, Option<(Closure, &'static str)>) {
    let mut handed_over = 0;
    for item in items {
        let sent = match item {
            ToClient::Deliver(delivery) => {
                handed_over += delivery.handed_over_bytes();
                // The broker has seen to it that the message fits: the client misses it rather than its connection.
                if let Err(error) = connection.send_delivery(&delivery, now, out) {
                    debug!(topic = delivery.message.topic.as_str(), %error, "a message was not sent");
                    counters.packets_too_large.increment();
                }
                Ok(())
            }
            ToClient::Acknowledge(packet) => connection.send_acknowledgement(packet, out),
            ToClient::PingResp => connection.send(Packet::PingResp, out),
            ToClient::Send(packet) => connection.send(*packet, out),
            ToClient::Close { reason, detail } => {
                connection.close(reason, detail, out);
                return (handed_over, Some((Closure::Asked, detail)));
            }
        };
        if let Err(SendError::TooLarge | SendError::Unwritable(_)) = sent {
            counters.packets_too_large.increment();
            let (reason, detail) = (ReasonCode::PacketTooLarge, "an answer is larger than the client takes");
            connection.close(Some(reason), detail, out);
            return (handed_over, Some((Closure::Misbehaved(reason), detail)));
        }
    }
    (handed_over, None)
}
