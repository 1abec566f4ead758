//! On which streams messages go to the client.

use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll};

use quinn::Connection;

use super::flow::{Flow, Message};
use super::flows::{Key, Streams};

/// On which streams messages go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuicDelivery {
    /// All on the control stream.
    #[default]
    ControlOnly,
    /// Each topic on a stream of its own, as far as the client lets us open streams.
    PerTopic,
    /// Each message on a stream of its own, as far as the client lets us open streams.
    PerPublish,
}

/// How many streams we have open at a time.
const OPEN: usize = 100;

/// The streams that we have opened for messages.
#[derive(Debug)]
pub(super) struct Deliveries {
    how: QuicDelivery,
    /// The last used comes last.
    topics: Vec<(Box<[u8]>, Key)>,
    /// Where messages of QoS 2 went, that are to be released there.
    unreleased: HashMap<u16, (Key, LastPacket)>,
    next_flow: u64,
}

impl Deliveries {
    pub(super) fn new(how: QuicDelivery) -> Self {
        Self { how, topics: Vec::new(), unreleased: HashMap::new(), next_flow: 1 }
    }

    /// Whether there is anything to choose.
    pub(super) fn has_choice(&self) -> bool {
        self.how != QuicDelivery::ControlOnly || !self.unreleased.is_empty()
    }

    /// The stream for a message, opened if need be, and whether the message is the last packet on it. `None`: the
    /// control stream.
    pub(super) fn stream_for(
        &mut self,
        cx: &mut Context<'_>,
        message: &Message<'_>,
        connection: &Connection,
        streams: &mut Streams,
    ) -> Option<(Key, LastPacket)> {
        match (self.how, message.qos) {
            (QuicDelivery::ControlOnly, _) => None,
            (QuicDelivery::PerTopic, _) => {
                let key = self.stream_of(cx, message.topic, connection, streams)?;
                self.remember(message, key, LastPacket::No);
                Some((key, LastPacket::No))
            }
            (QuicDelivery::PerPublish, 2) => {
                let key = open(cx, connection, streams)?;
                self.remember(message, key, LastPacket::Yes);
                Some((key, LastPacket::No))
            }
            (QuicDelivery::PerPublish, qos) => {
                Some((open_for_message(cx, connection, streams, qos)?, LastPacket::Yes))
            }
        }
    }

    /// A message goes there. If it is of QoS 2 it will be released there, by the last packet or another.
    pub(super) fn remember(&mut self, message: &Message<'_>, stream: Key, release: LastPacket) {
        if message.qos == 2 {
            self.unreleased.insert(message.packet_id, (stream, release));
        }
    }

    /// The stream for the release of a message, and whether that is the last packet on it. `None`: the control stream.
    pub(super) fn stream_for_release(
        &mut self,
        packet_id: u16,
        streams: &mut Streams,
    ) -> Option<(Key, LastPacket)> {
        let place = self.unreleased.remove(&packet_id);
        place.filter(|(key, _)| streams.find(*key).is_some_and(|flow| flow.takes_answers()))
    }

    /// Opens a flow of ours, with a header.
    pub(super) fn open_flow(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
        streams: &mut Streams,
    ) -> Option<Key> {
        let key = open(cx, connection, streams)?;
        let flow = streams.find(key)?;
        flow.is_lasting = true;
        flow.append(&server_flow(self.next_flow));
        self.next_flow += 2;
        Some(key)
    }

    fn stream_of(
        &mut self,
        cx: &mut Context<'_>,
        topic: &[u8],
        connection: &Connection,
        streams: &mut Streams,
    ) -> Option<Key> {
        if let Some(index) = self.topics.iter().position(|(known, _)| **known == *topic) {
            let (topic, key) = self.topics.remove(index);
            if streams.find(key).is_some_and(|flow| flow.takes_answers()) {
                self.topics.push((topic, key));
                return Some(key);
            }
        }
        if streams.ours() >= OPEN && !self.topics.is_empty() {
            // Its place is free when the client has closed its side: until then the control stream serves.
            let (_, oldest) = self.topics.remove(0);
            if let Some(flow) = streams.find(oldest) {
                flow.end();
            }
        }
        let key = self.open_flow(cx, connection, streams)?;
        self.topics.push((topic.into(), key));
        Some(key)
    }
}

/// Whether a packet is the last on its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastPacket {
    Yes,
    No,
}

/// Answers come back on the stream of a message that wants them.
fn open_for_message(
    cx: &mut Context<'_>,
    connection: &Connection,
    streams: &mut Streams,
    qos: u8,
) -> Option<Key> {
    if qos > 0 {
        return open(cx, connection, streams);
    }
    if streams.ours() >= OPEN {
        return None;
    }
    match pin!(connection.open_uni()).poll(cx) {
        Poll::Ready(Ok(send)) => Some(streams.add(Flow::ours(None, Some(send)))),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

/// Opens a bidirectional stream if the client takes one now.
fn open(cx: &mut Context<'_>, connection: &Connection, streams: &mut Streams) -> Option<Key> {
    if streams.ours() >= OPEN {
        return None;
    }
    match pin!(connection.open_bi()).poll(cx) {
        Poll::Ready(Ok((send, receive))) => Some(streams.add(Flow::ours(Some(receive), Some(send)))),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

/// The header of a flow of ours, that is kept for five minutes if its stream breaks.
fn server_flow(number: u64) -> Vec<u8> {
    const EXPIRES: u16 = 0x4000 + 300;
    let mut header = vec![0x13];
    // An integer of eight bytes says so in its highest bits.
    header.extend_from_slice(&(number & u64::MAX >> 2 | 0b11 << 62).to_be_bytes());
    header.extend_from_slice(&EXPIRES.to_be_bytes());
    header.push(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_our_flows_is_as_it_should_be() {
        assert_eq!(server_flow(1), [0x13, 0xC0, 0, 0, 0, 0, 0, 0, 1, 0x41, 0x2C, 0]);
    }
}
