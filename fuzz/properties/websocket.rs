//! What must hold of any bytes that come to a listener for WebSocket.

use mqtt_broker::transport::websocket::{End, Inbound, Outbound, WebSocketOptions, answer};

/// Panics unless it holds: as a request, the bytes are answered or not, and a request that is granted ends within
/// them; as frames, they are the same however they are cut. The first byte says where.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    if let Ok(Some(acceptance)) = answer(bytes, &WebSocketOptions::default()) {
        assert!(acceptance.request_len <= bytes.len());
        assert!(acceptance.response().ends_with("\r\n\r\n"));
    }

    let whole = receive([bytes]);
    assert!(whole.payload.len() <= bytes.len());
    assert_eq!(receive(bytes.chunks(usize::from(cut).max(1))), whole, "in parts of {cut}");
    let (one, other) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(receive([one, other]), whole, "cut at {cut}");
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    payload: Vec<u8>,
    /// The last answer to a ping.
    answer: Vec<u8>,
    end: Option<End>,
}

fn receive<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let (mut inbound, mut seen) = (Inbound::default(), Seen::default());
    for part in parts {
        let (mut outbound, mut part) = (Outbound::default(), part.to_vec());
        let kept = inbound.receive(&mut part, &mut outbound);
        seen.payload.extend_from_slice(&part[..kept]);
        // Of many pings at once only the latest are answered: what is common to all cuts is the last answer.
        while let Some(frame) = outbound.control() {
            seen.answer = frame.to_vec();
            outbound.advance_control(seen.answer.len());
        }
    }
    seen.end = inbound.end();
    seen
}
