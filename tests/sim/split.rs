//! What a connection makes of bytes does not depend on how they were cut on their way.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use mqtt_broker::clock::Instant;
use mqtt_broker::connection::{Connection, ConnectionLimits, Phase, ProtocolError};
use mqtt_broker::mqtt::Packet;

use crate::arb::Choices;

/// Compares what comes of `stream` in one piece with what comes of it in pieces.
pub(crate) fn check(stream: &[u8], choices: &mut Choices<'_>) {
    let limits = Arc::new(ConnectionLimits {
        topic_alias_maximum: 3,
        receive_maximum: NonZeroU16::new(4),
        maximum_packet_size: NonZeroU32::new(20_000),
        packet_before_connected: 10_000,
        ..ConnectionLimits::default()
    });
    let whole = receive(&limits, [stream]);
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        // Once nothing is left to decide by, byte by byte.
        let most = choices.among(&[1, 2, 5, 100, 5_000]);
        let (piece, behind) = rest.split_at((1 + choices.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    assert_eq!(receive(&limits, pieces.iter().copied()), whole, "cut into {pieces:02X?}");
    assert_eq!(receive(&limits, stream.chunks(1)), whole, "byte by byte");
}

/// The packets that a connection makes of these pieces, and what it holds against them.
fn receive<'a>(
    limits: &Arc<ConnectionLimits>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Packet>, Option<ProtocolError>) {
    let mut connection = Connection::new(Arc::clone(limits), Instant::START);
    let mut packets = Vec::new();
    for piece in pieces {
        let mut result = connection.receive(piece, Instant::START, &mut packets);
        if result.is_ok() && connection.phase() == Phase::Authenticating {
            result = connection.accept(Instant::START, &mut packets);
        }
        if let Err(error) = result {
            return (packets, Some(error));
        }
    }
    (packets, None)
}
