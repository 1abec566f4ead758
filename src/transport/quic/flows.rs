//! All data streams of a connection, and its datagrams, as one sequence of packets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::io::ReadBuf;
use tokio::time::{self, Instant, Sleep};
use tracing::debug;

use super::delivery::{Deliveries, LastPacket, QuicDelivery};
use super::flow::{End, Flow, Origin, Progress, Question, Sent, answer_in, message_in, question_in};
use super::header::{FlowError, FlowHeader, FlowKind};
use super::stream::close_code;
use super::subscriptions::{Home, Subscriptions};
use super::walk::Kept;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::codec::{FrameHeader, frame_header};
use crate::transport::{UnfinishedPackets, UnfinishedPart};

/// What the data streams of one connection may cost.
#[derive(Debug)]
pub(super) struct FlowLimits {
    /// Bytes that may wait, on all of them, for the rest of their packets. The packet that has waited longest may
    /// go beyond.
    pub(super) partial: usize,
    /// How long a packet may take without getting on.
    pub(super) stall: Duration,
    /// On which streams messages go to the client.
    pub(super) delivery: QuicDelivery,
    /// Whether they go where they were subscribed to.
    pub(super) follow_subscriptions: bool,
    /// What waits on all connections for the rest of its packets.
    pub(super) unfinished: Arc<UnfinishedPackets>,
}

/// How many flows are known of one connection, open or remembered.
const FLOWS: usize = 256;

/// The data streams of a connection.
pub(super) struct Flows {
    connection: Connection,
    limits: Arc<FlowLimits>,
    arriving: Option<Arriving>,
    open: Streams,
    deliveries: Deliveries,
    version: ProtocolVersion,
    /// Which subscriptions were made on which of them.
    subscriptions: Subscriptions,
    /// The flows of ours for the messages of flows on whose streams only the client can send.
    beside: HashMap<u64, Key>,
    /// On which stream a question came to which there are answers to come.
    questions: HashMap<u16, Key>,
    /// What is known of flows with a number.
    known: HashMap<u64, Known>,
    /// Whether the client has been told once that nothing is remembered of a flow.
    lacked_state: bool,
    /// Whole packets that have not been read.
    packets: Vec<u8>,
    read: usize,
    /// The room for what waits for the rest of its packets, and for what is whole and has not been read.
    unfinished: UnfinishedPart,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Names a stream for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// On this stream.
    Open(Key),
    /// Its stream broke: it can be resumed until then.
    Until(Instant),
}

/// The streams that are open beside the control stream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// In the order in which they get their turn.
    flows: Vec<(Key, Flow)>,
    next: u64,
}

impl Streams {
    pub(super) fn add(&mut self, flow: Flow) -> Key {
        let key = Key(self.next);
        self.next += 1;
        self.flows.push((key, flow));
        key
    }

    pub(super) fn find(&mut self, key: Key) -> Option<&mut Flow> {
        self.flows.iter_mut().find(|(open, _)| *open == key).map(|(_, flow)| flow)
    }

    /// How many of them we opened.
    pub(super) fn ours(&self) -> usize {
        self.flows.iter().filter(|(_, flow)| flow.origin == Origin::Server).count()
    }
}

type Arriving = Pin<Box<dyn Future<Output = Result<Arrival, ConnectionError>> + Send>>;

enum Arrival {
    Stream(RecvStream, Option<SendStream>),
    Datagram(Bytes),
}

/// The next of what the client opens or sends. Nothing is lost when the future is dropped.
async fn arrival(connection: Connection) -> Result<Arrival, ConnectionError> {
    tokio::select! {
        stream = connection.accept_bi() => stream.map(|(send, receive)| Arrival::Stream(receive, Some(send))),
        stream = connection.accept_uni() => stream.map(|receive| Arrival::Stream(receive, None)),
        datagram = connection.read_datagram() => datagram.map(Arrival::Datagram),
    }
}

impl Flows {
    pub(super) fn new(connection: Connection, limits: Arc<FlowLimits>, version: ProtocolVersion) -> Self {
        /// What may be under way to us on all streams of a connection.
        const TO_US: u32 = 1 << 20;
        connection.set_receive_window(VarInt::from_u32(TO_US));
        Self {
            arriving: Some(Box::pin(arrival(connection.clone()))),
            connection,
            open: Streams::default(),
            deliveries: Deliveries::new(limits.delivery),
            version,
            subscriptions: Subscriptions::default(),
            beside: HashMap::new(),
            questions: HashMap::new(),
            known: HashMap::new(),
            lacked_state: false,
            packets: Vec::new(),
            read: 0,
            unfinished: limits.unfinished.part(),
            timer: None,
            limits,
        }
    }

    /// Reads packets into the buffer: the next part of those that are whole. Ready only if there are some, or there is
    /// no room for more.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.packets.is_empty() {
            self.advance(cx);
            if let Err(error) = self.unfinished.set(self.waiting() + self.packets.len()) {
                self.let_go();
                return Poll::Ready(Err(error.into()));
            }
        }
        let left = self.packets.get(self.read..).unwrap_or_default();
        if left.is_empty() {
            return Poll::Pending;
        }
        let (part, behind) = left.split_at(left.len().min(buffer.remaining()));
        buffer.put_slice(part);
        self.read += part.len();
        if behind.is_empty() {
            self.read = 0;
            self.packets = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Refuses what has no room, and holds nothing more of it.
    fn let_go(&mut self) {
        for (_, flow) in &mut self.open.flows {
            if flow.waiting() > 0 {
                flow.refuse(FlowError::Refused.code());
            }
        }
        self.open.flows.retain(|(_, flow)| !flow.is_over());
        self.packets = Vec::new();
        let _ = self.unfinished.set(0);
    }

    /// Bytes that wait for the rest of their packets.
    fn waiting(&self) -> usize {
        self.open.flows.iter().map(|(_, flow)| flow.waiting()).sum()
    }

    /// Whether a packet that was begun to be read has not been read to its end.
    pub(super) fn is_within_packets(&self) -> bool {
        self.read > 0
    }

    /// Whether a packet of ours may be for another stream than the control stream.
    pub(super) fn has_choice(&self) -> bool {
        !self.questions.is_empty() || self.has_subscriptions() || self.deliveries.has_choice()
    }

    /// Whether there are subscriptions that were made on these streams: what the client says about them elsewhere is to
    /// be told.
    pub(super) fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// A SUBSCRIBE or UNSUBSCRIBE has come on the control stream.
    pub(super) fn hear_control(&mut self, packet: Kept<'_>) {
        match packet {
            Kept::Whole(header, body) => self.subscriptions.hear(header, body, self.version, None),
            Kept::TooLong => self.subscriptions.forget_all(),
        }
    }

    /// The stream for the packet of ours that begins here, if it is not the control stream. To be asked once for each
    /// packet.
    pub(super) fn route(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> Option<(Key, LastPacket)> {
        let Some(answer) = answer_in(packet) else { return self.route_message(cx, packet) };
        if let Some(suback) = answer.suback {
            self.subscriptions.answered(answer.packet_id, suback);
        }
        let Entry::Occupied(question) = self.questions.entry(answer.packet_id) else { return None };
        let key = *question.get();
        if answer.is_last {
            question.remove();
        }
        let flow = self.open.find(key)?;
        flow.unanswered -= usize::from(answer.is_last);
        flow.takes_answers().then_some((key, LastPacket::No))
    }

    fn route_message(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> Option<(Key, LastPacket)> {
        let message = match message_in(packet)? {
            Sent::Release { packet_id } => {
                return self.deliveries.stream_for_release(packet_id, &mut self.open);
            }
            Sent::Publish(message) => message,
        };
        let home = self.subscriptions.home_of(message.topic);
        if let Some(key) = home.and_then(|home| self.stream_at(cx, home)) {
            self.deliveries.remember(&message, key, LastPacket::No);
            return Some((key, LastPacket::No));
        }
        self.deliveries.stream_for(cx, &message, &self.connection, &mut self.open)
    }

    /// The stream for messages to those who subscribed there, opened if need be.
    fn stream_at(&mut self, cx: &mut Context<'_>, home: Home) -> Option<Key> {
        let key = match home {
            Home::Stream(key) => key,
            Home::Flow(number) => {
                let Some(Known::Open(key)) = self.known.get(&number) else { return None };
                if self.open.find(*key)?.origin != Origin::ClientOneWay {
                    *key
                } else if let Some(beside) = self.beside.get(&number) {
                    *beside
                } else {
                    let beside = self.deliveries.open_flow(cx, &self.connection, &mut self.open)?;
                    self.beside.insert(number, beside);
                    beside
                }
            }
        };
        self.open.find(key)?.takes_answers().then_some(key)
    }

    /// Takes a part of a packet of ours, and tells how long that was. Pending: the client does not take what was
    /// before, and that is so much that all other streams have to wait for it.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, key: Key, bytes: &[u8]) -> Poll<usize> {
        /// Taken at a time.
        const PART: usize = 64 << 10;
        /// More than is handed over before the client has taken some of it, but for messages that are as large.
        const HELD: usize = 1 << 20;
        let part = bytes.get(..PART).unwrap_or(bytes);
        let held = self.open.flows.iter().map(|(_, flow)| flow.unsent()).sum::<usize>();
        // What belongs to a stream that has ended in the meantime is nobody's.
        if let Some(flow) = self.open.find(key) {
            if flow.poll_room(cx).is_pending() && held >= HELD {
                return Poll::Pending;
            }
            flow.append(part);
            let _ = flow.poll_room(cx);
        }
        Poll::Ready(part.len())
    }

    /// Pending: on some stream more waits for the client than should. An error: it takes nothing of that.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut flushed = Poll::Ready(Ok(()));
        let now = Instant::now();
        for (_, flow) in &mut self.open.flows {
            if flow.poll_room(cx).is_pending() {
                if flow.untaken_since().is_some_and(|since| since + self.limits.stall <= now) {
                    let error = "the client takes nothing of what is written to one of its streams";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
                }
                flushed = Poll::Pending;
            }
        }
        if flushed.is_pending() {
            self.arm(cx);
        }
        flushed
    }

    /// Nothing more is to be sent on this stream.
    pub(super) fn end_stream(&mut self, cx: &mut Context<'_>, key: Key) {
        if let Some(flow) = self.open.find(key) {
            flow.end();
            let _ = flow.poll_room(cx);
        }
    }

    /// Sends all answers and finishes the streams; what it returns is complete when the client has them.
    pub(super) fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Vec<impl Future<Output = io::Result<()>> + Send + use<>>> {
        for (_, flow) in &mut self.open.flows {
            ready!(flow.poll_flush(cx));
        }
        Poll::Ready(self.open.flows.iter_mut().filter_map(|(_, flow)| flow.finish()).collect())
    }

    /// Does what can be done until there are packets.
    fn advance(&mut self, cx: &mut Context<'_>) {
        self.accept(cx);
        let now = Instant::now();
        let waiting = self.waiting();
        // Where too much waits, only what has waited longest gets on.
        let oldest = self.open.flows.iter().filter(|(_, flow)| flow.waiting() > 0);
        let oldest = oldest.min_by_key(|(_, flow)| flow.stuck_since()).map(|(key, _)| *key);
        let only = oldest.filter(|_| waiting >= self.limits.partial);
        let mut index = 0;
        while self.packets.is_empty() && index < self.open.flows.len() {
            let Some((key, flow)) = self.open.flows.get_mut(index) else { return };
            let key = *key;
            // Who does not take the answers is not asked what else there is.
            let takes_answers = flow.poll_room(cx).is_ready();
            if takes_answers && only.is_none_or(|only| only == key) {
                while self.packets.is_empty() && self.poll_flow(cx, index) {}
                // Not before it had the chance to get on.
                self.refuse_if_stuck(key, now);
            }
            index += 1;
        }
        // Whoever was served goes behind those who were not.
        self.open.flows.rotate_left(index);
        self.open.flows.retain(|(_, flow)| !flow.is_over());
        self.arm(cx);
    }

    fn accept(&mut self, cx: &mut Context<'_>) {
        while let Some(arriving) = &mut self.arriving {
            let Poll::Ready(arrived) = arriving.as_mut().poll(cx) else { return };
            // The control stream tells of the end of the connection.
            self.arriving =
                arrived.is_ok().then(|| -> Arriving { Box::pin(arrival(self.connection.clone())) });
            match arrived {
                Ok(Arrival::Stream(receive, send)) => {
                    self.open.add(Flow::new(receive, send));
                }
                Ok(Arrival::Datagram(datagram)) if is_publish_at_most_once(&datagram) => {
                    self.packets.extend_from_slice(&datagram);
                    // Datagrams come as fast as they want: the streams get their turn.
                    return cx.waker().wake_by_ref();
                }
                Ok(Arrival::Datagram(datagram)) if datagram.first().is_none_or(|first| *first == 0) => {}
                Ok(Arrival::Datagram(datagram)) => {
                    debug!(
                        bytes = datagram.len(),
                        "a QUIC datagram is not one PUBLISH of QoS 0; it is dropped"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Reads once from a stream. Tells whether that brought anything, but no end.
    fn poll_flow(&mut self, cx: &mut Context<'_>, index: usize) -> bool {
        let Some((key, flow)) = self.open.flows.get_mut(index) else { return false };
        let (key, packets, largest) = (*key, &mut self.packets, self.limits.partial);
        let mut ear = Ear {
            questions: &mut self.questions,
            subscriptions: self.limits.follow_subscriptions.then_some(&mut self.subscriptions),
            version: self.version,
            stream: key,
            home: home_on(key, flow),
            takes_answers: flow.takes_answers(),
            asked: 0,
            displaced: Vec::new(),
        };
        let mut progress = flow.poll_read(cx, packets, largest, |header, packet| ear.hear(header, packet));
        if let Ok(Progress::Header(header)) = progress {
            progress = match judge(header, key, &mut self.known, &mut self.lacked_state) {
                Ok(was) => {
                    ear.begin(home_on(key, flow), was);
                    flow.begin(packets, largest, |header, packet| ear.hear(header, packet))
                }
                Err(error) => Err(error),
            };
        }
        flow.unanswered += ear.asked;
        for key in ear.displaced {
            if let Some(flow) = self.open.find(key) {
                flow.unanswered -= 1;
            }
        }
        match progress {
            Ok(Progress::Pending) => false,
            Ok(Progress::Read | Progress::Header(_)) => true,
            Ok(Progress::Ended(end)) => {
                self.end(key, end);
                false
            }
            Err(error) => {
                self.refuse(key, error);
                false
            }
        }
    }

    /// Nothing more comes on this stream.
    fn end(&mut self, key: Key, end: End) {
        self.subscriptions.forget(Home::Stream(key));
        let Some(flow) = self.open.find(key) else { return };
        let Some(FlowHeader { kind: FlowKind::ClientData { flow: number, expires }, .. }) = flow.header()
        else {
            return;
        };
        if let Some(beside) = self.beside.remove(&number).and_then(|beside| self.open.find(beside)) {
            beside.end();
        }
        match (end, Instant::now().checked_add(Duration::from_secs(expires))) {
            (End::Broken, Some(until)) if expires > 0 => {
                self.known.insert(number, Known::Until(until));
            }
            (End::Broken | End::Finished, _) => {
                self.known.remove(&number);
                self.subscriptions.forget(Home::Flow(number));
            }
        }
    }

    fn refuse_if_stuck(&mut self, key: Key, now: Instant) {
        let flow = self.open.find(key);
        let since = flow.and_then(|flow| flow.stuck_since());
        if since.is_some_and(|since| since + self.limits.stall <= now) {
            self.refuse(key, FlowError::Incomplete);
        }
    }

    fn refuse(&mut self, key: Key, error: FlowError) {
        debug!(%error, "a QUIC stream is refused");
        if error == FlowError::NoState && std::mem::replace(&mut self.lacked_state, true) {
            self.connection.close(close_code::TOO_MANY_RECOVERIES, error.to_string().as_bytes());
        }
        // Whoever has the number goes on having it.
        if error == FlowError::Incomplete {
            self.end(key, End::Broken);
        }
        if let Some(flow) = self.open.find(key) {
            flow.refuse(error.code());
        }
    }

    /// Sees to it that it is noticed when a packet does not get on, in either direction.
    fn arm(&mut self, cx: &mut Context<'_>) {
        let waits = |flow: &Flow| flow.untaken_since().or_else(|| flow.stuck_since());
        let Some(since) = self.open.flows.iter().filter_map(|(_, flow)| waits(flow)).min() else {
            self.timer = None;
            return;
        };
        let at = since + self.limits.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

/// Where subscriptions belong that are made on this stream.
fn home_on(key: Key, flow: &Flow) -> Option<Home> {
    match flow.header() {
        Some(FlowHeader { kind: FlowKind::ClientData { flow, .. }, .. }) => Some(Home::Flow(flow)),
        Some(FlowHeader { kind: FlowKind::Control, .. }) | None => {
            (flow.origin != Origin::ClientOneWay).then_some(Home::Stream(key))
        }
    }
}

/// Takes note of what comes on a stream.
struct Ear<'a> {
    questions: &'a mut HashMap<u16, Key>,
    subscriptions: Option<&'a mut Subscriptions>,
    version: ProtocolVersion,
    stream: Key,
    home: Option<Home>,
    takes_answers: bool,
    /// How many questions have come.
    asked: usize,
    /// Streams where questions had come with the same identifiers.
    displaced: Vec<Key>,
}

impl Ear<'_> {
    /// The header has come.
    fn begin(&mut self, home: Option<Home>, was: Was) {
        self.home = home;
        if let (Some(home), Some(subscriptions), Was::Unknown) = (home, &mut self.subscriptions, was) {
            subscriptions.forget(home);
        }
    }

    fn hear(&mut self, header: FrameHeader, packet: &[u8]) {
        if let Some(subscriptions) =
            self.subscriptions.as_mut().filter(|_| is_about_subscriptions(header.first))
        {
            let body = packet.get(header.header_len..).unwrap_or_default();
            subscriptions.hear(header, body, self.version, self.home);
        }
        if let Some(question) = question_in(header, packet) {
            self.ask(question);
        }
    }

    fn ask(&mut self, question: Question) {
        match self.questions.entry(question.packet_id) {
            Entry::Occupied(_) if question.continues => {}
            Entry::Occupied(other) if !self.takes_answers => self.displaced.push(other.remove()),
            Entry::Occupied(mut other) => {
                self.displaced.push(other.insert(self.stream));
                self.asked += 1;
            }
            Entry::Vacant(free) if self.takes_answers => {
                free.insert(self.stream);
                self.asked += 1;
            }
            Entry::Vacant(_) => {}
        }
    }
}

/// Whether a packet that begins so is SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn is_about_subscriptions(first: u8) -> bool {
    const SUBSCRIBE: u8 = 8;
    const UNSUBSCRIBE: u8 = 10;
    matches!(first >> 4, SUBSCRIBE | UNSUBSCRIBE)
}

/// What is known of a flow that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Unknown,
    Broken,
}

/// Whether a flow may begin on this stream as the header wants.
fn judge(
    header: FlowHeader,
    stream: Key,
    known: &mut HashMap<u64, Known>,
    lacked_state: &mut bool,
) -> Result<Was, FlowError> {
    let FlowKind::ClientData { flow, .. } = header.kind else { return Err(FlowError::WrongKind) };
    let now = Instant::now();
    known.retain(|_, known| match known {
        Known::Open(_) => true,
        Known::Until(until) => *until > now,
    });
    let was = match known.get(&flow) {
        Some(Known::Open(_)) => return Err(FlowError::NotOwner),
        None if header.flags.aborts_without_state() => return Err(FlowError::NoState),
        None if known.len() >= FLOWS => return Err(FlowError::Refused),
        Some(Known::Until(_)) => {
            *lacked_state = false;
            if header.flags.is_clean() { Was::Unknown } else { Was::Broken }
        }
        None => Was::Unknown,
    };
    known.insert(flow, Known::Open(stream));
    Ok(was)
}

/// Whether a datagram is what it may be: one whole PUBLISH of QoS 0.
fn is_publish_at_most_once(datagram: &[u8]) -> bool {
    frame_header(datagram).ok().flatten().is_some_and(|header| {
        header.first & 0xF6 == 0x30 && header.header_len + header.body_len == datagram.len()
    })
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").field("open", &self.open).field("known", &self.known).finish_non_exhaustive()
    }
}
