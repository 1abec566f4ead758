//! One data stream: its header, its packets, and the answers that go back on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::header::{self, FlowError, FlowHeader};
use crate::mqtt::codec::{FrameHeader, frame_header};

/// A data stream of a client.
#[derive(Debug)]
pub(super) struct Flow {
    receive: Option<RecvStream>,
    /// Only on bidirectional streams.
    send: Option<SendStream>,
    beginning: Beginning,
    /// The beginning of a packet, or of the header, whose end has not come.
    partial: Vec<u8>,
    /// Since when that does not get on.
    stuck_since: Option<Instant>,
    /// What the client has not taken yet.
    unsent: Vec<u8>,
    /// Since when it has taken nothing of too much.
    untaken_since: Option<Instant>,
    /// Answers that are still to come.
    pub(super) unanswered: usize,
    pub(super) origin: Origin,
    /// Whether more may be sent on it although the client has said all.
    pub(super) is_lasting: bool,
    /// Whether nothing is to be sent behind what waits to be.
    ends: bool,
}

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client, for both directions.
    Client,
    /// The client, for what it sends: there never was a way back.
    ClientOneWay,
    /// We did.
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// The header, or that there is none, has not come.
    Awaited,
    Header(FlowHeader),
    None,
}

/// What came of reading from a data stream.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing has come.
    Pending,
    /// Something has come.
    Read,
    /// The header has come: before anything more is read it is to be judged.
    Header(FlowHeader),
    /// Nothing more will come.
    Ended(End),
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As its client wanted.
    Finished,
    /// In the middle, by its client's decision or ours.
    Broken,
}

/// A whole packet that asks for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) packet_id: u16,
    /// Whether it goes on with one that was asked before: its answer belongs to where that one came.
    pub(super) continues: bool,
}

impl Flow {
    /// What may wait for a client to take it: beyond that it is too much.
    const UNSENT: usize = 64 << 10;

    /// One that the client has opened.
    pub(super) fn new(receive: RecvStream, send: Option<SendStream>) -> Self {
        let origin = if send.is_some() { Origin::Client } else { Origin::ClientOneWay };
        Self { origin, ..Self::ours(Some(receive), send) }
    }

    /// One that we have opened.
    pub(super) fn ours(receive: Option<RecvStream>, send: Option<SendStream>) -> Self {
        Self {
            receive,
            send,
            beginning: Beginning::Awaited,
            partial: Vec::new(),
            stuck_since: None,
            unsent: Vec::new(),
            untaken_since: None,
            unanswered: 0,
            origin: Origin::Server,
            is_lasting: false,
            ends: false,
        }
    }

    /// Its header, if it has come and there is one.
    pub(super) fn header(&self) -> Option<FlowHeader> {
        match self.beginning {
            Beginning::Header(header) => Some(header),
            Beginning::Awaited | Beginning::None => None,
        }
    }

    /// How many bytes wait here for the rest of their packet.
    pub(super) fn waiting(&self) -> usize {
        self.partial.len()
    }

    /// How many bytes its client has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Since when its client has taken nothing, although there is too much.
    pub(super) fn untaken_since(&self) -> Option<Instant> {
        self.untaken_since
    }

    /// Since when its client has left a packet, or the header, unfinished.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since
    }

    /// Whether answers can go back on it.
    pub(super) fn takes_answers(&self) -> bool {
        self.send.is_some()
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_over(&self) -> bool {
        let says_no_more = self.unanswered == 0 && self.unsent.is_empty() && !self.is_lasting;
        self.receive.is_none() && (self.send.is_none() || says_no_more)
    }

    /// Reads once. Packets that are whole are added to `packets`, and each of them is told to `hear`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<u8>,
        largest: usize,
        hear: impl FnMut(FrameHeader, &[u8]),
    ) -> Result<Progress, FlowError> {
        /// Of one stream at a time, so that the others get their turn.
        const CHUNK: usize = 8 << 10;
        let Some(receive) = &mut self.receive else { return Ok(Progress::Pending) };
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        match AsyncRead::poll_read(Pin::new(receive), cx, &mut buffer) {
            Poll::Pending => return Ok(Progress::Pending),
            Poll::Ready(Err(_)) => {
                self.receive = None;
                self.let_go();
                return Ok(Progress::Ended(End::Broken));
            }
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.receive = None;
                let whole = self.partial.is_empty();
                return whole.then_some(Progress::Ended(End::Finished)).ok_or(FlowError::Incomplete);
            }
            Poll::Ready(Ok(())) => {}
        }
        self.partial.extend_from_slice(buffer.filled());
        self.go_on(buffer.filled().len(), packets, largest, hear)
    }

    /// Takes the packets that have come behind the header, which was found to be good.
    pub(super) fn begin(
        &mut self,
        packets: &mut Vec<u8>,
        largest: usize,
        hear: impl FnMut(FrameHeader, &[u8]),
    ) -> Result<Progress, FlowError> {
        self.go_on(0, packets, largest, hear)
    }

    fn go_on(
        &mut self,
        come: usize,
        packets: &mut Vec<u8>,
        largest: usize,
        hear: impl FnMut(FrameHeader, &[u8]),
    ) -> Result<Progress, FlowError> {
        /// A client in the middle of a large packet gets on if so much of it comes at a time.
        const SIGN_OF_LIFE: usize = 1 << 10;
        if self.beginning == Beginning::Awaited {
            let Some((header, len)) = header::read(&self.partial)? else {
                self.stuck_since.get_or_insert_with(Instant::now);
                return Ok(Progress::Read);
            };
            self.partial.drain(..len);
            self.beginning = header.map_or(Beginning::None, Beginning::Header);
            if let Some(header) = header {
                return Ok(Progress::Header(header));
            }
        }
        let taken = take_packets(&self.partial, packets, largest, hear);
        self.partial.drain(..taken);
        if self.partial.is_empty() {
            self.partial = Vec::new();
            self.stuck_since = None;
        } else if taken > 0 || come >= SIGN_OF_LIFE || self.stuck_since.is_none() {
            self.stuck_since = Some(Instant::now());
        }
        Ok(Progress::Read)
    }

    /// Adds a part of a packet of ours behind those that the client has not taken.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.send.is_some() {
            self.unsent.extend_from_slice(bytes);
        }
    }

    /// Nothing is to be sent behind what waits to be.
    pub(super) fn end(&mut self) {
        self.is_lasting = false;
        self.ends = true;
    }

    /// Sends what waits, as far as the client takes it. Pending: more waits than should.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.unsent.len();
        while let (Some(send), false) = (&mut self.send, self.unsent.is_empty()) {
            match AsyncWrite::poll_write(Pin::new(send), cx, &self.unsent) {
                Poll::Ready(Ok(sent)) => drop(self.unsent.drain(..sent)),
                Poll::Ready(Err(_)) => {
                    // The client does not want them here.
                    self.send = None;
                    self.unsent = Vec::new();
                }
                Poll::Pending => break,
            }
        }
        if self.ends && self.unsent.is_empty() {
            // That finishes it.
            self.send = None;
        }
        if self.unsent.len() < Self::UNSENT {
            self.untaken_since = None;
            return Poll::Ready(());
        }
        if self.unsent.len() < before || self.untaken_since.is_none() {
            self.untaken_since = Some(Instant::now());
        }
        Poll::Pending
    }

    /// Sends what waits, all of it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = self.poll_room(cx);
        if self.unsent.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Says that no more answers come. Complete when the client has them all.
    pub(super) fn finish(&mut self) -> Option<impl Future<Output = io::Result<()>> + Send + use<>> {
        let mut send = self.send.take()?;
        send.finish().ok()?;
        let stopped = send.stopped();
        Some(async move { stopped.await.map(drop).map_err(io::Error::from) })
    }

    /// Refuses the stream, or what is left of it.
    pub(super) fn refuse(&mut self, code: VarInt) {
        // It may have ended already.
        let _ = self.receive.take().map(|mut receive| receive.stop(code));
        let _ = self.send.take().map(|mut send| send.reset(code));
        self.let_go();
    }

    /// The rest of what waits for it will not come.
    fn let_go(&mut self) {
        self.partial = Vec::new();
        self.stuck_since = None;
    }
}

/// Moves whole packets from the beginning of `bytes` to `packets`. Returns how many bytes that were. What cannot be
/// the beginning of a packet, or only of one that is too large, goes with them: who reads it knows what to answer.
fn take_packets(
    bytes: &[u8],
    packets: &mut Vec<u8>,
    largest: usize,
    mut hear: impl FnMut(FrameHeader, &[u8]),
) -> usize {
    let mut rest = bytes;
    let taken = loop {
        let header = match frame_header(rest) {
            Ok(Some(header)) => header,
            Ok(None) => break bytes.len() - rest.len(),
            Err(_) => break bytes.len(),
        };
        let len = header.header_len + header.body_len;
        if len > largest {
            break bytes.len();
        }
        let Some((packet, behind)) = rest.split_at_checked(len) else { break bytes.len() - rest.len() };
        hear(header, packet);
        rest = behind;
    };
    packets.extend_from_slice(bytes.get(..taken).unwrap_or_default());
    taken
}

/// What a packet of a client asks; `None` where no answer goes back on its stream.
pub(super) fn question_in(header: FrameHeader, packet: &[u8]) -> Option<Question> {
    const PUBLISH: u8 = 3;
    const PUBREL: u8 = 6;
    const SUBSCRIBE: u8 = 8;
    const UNSUBSCRIBE: u8 = 10;
    let body = packet.get(header.header_len..)?;
    let packet_type = header.first >> 4;
    let at = match packet_type {
        PUBLISH if header.first & 0x06 == 0 => return None,
        PUBLISH => 2 + usize::from(integer_at(body, 0)?),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0,
        _ => return None,
    };
    Some(Question { packet_id: integer_at(body, at)?, continues: packet_type == PUBREL })
}

/// An answer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) packet_id: u16,
    /// Whether it is the last one to its question.
    pub(super) is_last: bool,
    /// The whole of it, if it is a SUBACK.
    pub(super) suback: Option<&'a [u8]>,
}

/// The answer that begins here; `None`: it is none, or one that cannot be told from its first bytes.
pub(super) fn answer_in(packet: &[u8]) -> Option<Answer<'_>> {
    const PUBACK: u8 = 4;
    const PUBREC: u8 = 5;
    const PUBCOMP: u8 = 7;
    const SUBACK: u8 = 9;
    const UNSUBACK: u8 = 11;
    let header = frame_header(packet).ok()??;
    let body = packet.get(header.header_len..)?;
    let is_last = match header.first >> 4 {
        PUBACK | PUBCOMP | SUBACK | UNSUBACK => true,
        // With an error the message is not released any more. [MQTT-4.3.3-4]
        PUBREC => header.body_len > 2 && *body.get(2)? >= 0x80,
        _ => return None,
    };
    let whole = packet.get(..header.header_len + header.body_len);
    let suback = whole.filter(|_| header.first >> 4 == SUBACK);
    Some(Answer { packet_id: integer_at(body, 0)?, is_last, suback })
}

/// What is sent to the client of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent<'a> {
    Publish(Message<'a>),
    Release { packet_id: u16 },
}

/// A message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a [u8],
    pub(super) qos: u8,
    /// 0 for QoS 0.
    pub(super) packet_id: u16,
}

/// The message that begins here, if it is one and its topic is there, or its release.
pub(super) fn message_in(packet: &[u8]) -> Option<Sent<'_>> {
    const PUBLISH: u8 = 3;
    const PUBREL: u8 = 6;
    let header = frame_header(packet).ok()??;
    let body = packet.get(header.header_len..)?;
    match header.first >> 4 {
        PUBLISH => {
            let len = usize::from(integer_at(body, 0)?);
            let (topic, qos) = (body.get(2..2 + len)?, header.first >> 1 & 0x03);
            let packet_id = if qos == 0 { 0 } else { integer_at(body, 2 + len)? };
            Some(Sent::Publish(Message { topic, qos, packet_id }))
        }
        PUBREL => Some(Sent::Release { packet_id: integer_at(body, 0)? }),
        _ => None,
    }
}

fn integer_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|integer| u16::from_be_bytes(*integer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> (usize, Vec<u16>) {
        let (mut packets, mut ids) = (Vec::new(), Vec::new());
        let taken = take_packets(bytes, &mut packets, 1_000, |header, packet| {
            ids.extend(question_in(header, packet).map(|question| question.packet_id));
        });
        assert_eq!(packets, bytes[..taken]);
        (taken, ids)
    }

    #[test]
    fn whole_packets_are_taken_and_questions_noticed() {
        let publish_0 = [0x30, 4, 0, 1, b'a', 0];
        let publish_1 = [0x32, 6, 0, 1, b'a', 0x12, 0x34, 0];
        let publish_2 = [0x3D, 6, 0, 1, b'a', 0x00, 0x02, 0];
        let pubrel = [0x62, 2, 0x00, 0x03];
        let subscribe = [0x82, 7, 0x00, 0x04, 0, 0, 1, b'a', 0];
        let puback = [0x40, 2, 0x00, 0x05];
        let all = [&publish_0[..], &publish_1, &publish_2, &pubrel, &subscribe, &puback].concat();
        assert_eq!(taken(&all), (all.len(), vec![0x1234, 2, 3, 4]));
        assert_eq!(taken(&all[..all.len() - 1]), (all.len() - 4, vec![0x1234, 2, 3, 4]));
        assert_eq!(taken(&all[..7]), (6, vec![]));
        assert_eq!(taken(&[]), (0, vec![]));
    }

    #[test]
    fn what_is_no_packet_is_passed_on() {
        assert_eq!(taken(&[0xC0, 0, 0x00, 1, 2, 3]), (6, vec![]));
        assert_eq!(taken(&[0x30, 0xFF, 0x7F, 0, 1]), (5, vec![]));
        // A topic that is longer than its packet.
        assert_eq!(taken(&[0x32, 4, 0xFF, 0xFF, 0, 0]), (6, vec![]));
    }

    #[test]
    fn messages_are_known_by_topic_and_identifier() {
        for (packet, expected) in [
            (
                &[0x30, 4, 0, 1, b'a', 0][..],
                Some(Sent::Publish(Message { topic: b"a", qos: 0, packet_id: 0 })),
            ),
            (
                &[0x34, 9, 0, 1, b'a', 1, 2],
                Some(Sent::Publish(Message { topic: b"a", qos: 2, packet_id: 0x0102 })),
            ),
            (&[0x62, 2, 0, 7], Some(Sent::Release { packet_id: 7 })),
            (&[0x34, 9, 0, 1, b'a', 1], None),
            (&[0x30, 9, 0, 5, b'a', 1], None),
            (&[0x40, 2, 0, 7], None),
        ] {
            assert_eq!(message_in(packet), expected, "{packet:02x?}");
        }
    }

    #[test]
    fn answers_are_known_by_their_identifiers() {
        for (packet, expected) in [
            (&[0x40, 2, 0, 1][..], Some((1, true))),
            (&[0x50, 2, 0, 2], Some((2, false))),
            (&[0x50, 3, 0, 2, 0x10], Some((2, false))),
            (&[0x50, 3, 0, 2, 0x97], Some((2, true))),
            (&[0x70, 2, 0, 3], Some((3, true))),
            (&[0x90, 4, 0, 4, 0, 0], Some((4, true))),
            (&[0xB0, 4, 0, 5, 0, 0], Some((5, true))),
            (&[0x62, 2, 0, 6], None),
            (&[0x32, 6, 0, 1, b'a', 0, 7, 0], None),
            (&[0xD0, 0], None),
            (&[0x40, 2, 0], None),
        ] {
            let answer = answer_in(packet);
            assert_eq!(answer.map(|answer| (answer.packet_id, answer.is_last)), expected, "{packet:02x?}");
        }
        let packets = [0x90, 4, 0, 4, 0, 0x80, 0x40, 2, 0, 1];
        assert_eq!(answer_in(&packets).and_then(|answer| answer.suback), Some(&packets[..6]));
    }
}
