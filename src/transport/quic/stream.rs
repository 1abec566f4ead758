//! A QUIC connection as the one stream on which MQTT is spoken.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::delivery::LastPacket;
use super::flows::{FlowLimits, Flows, Key, is_about_subscriptions};
use super::walk::Walk;
use super::whereabouts::Whereabouts;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::codec::frame_header;

/// With which codes connections are closed.
pub(super) mod close_code {
    use quinn::VarInt;

    /// All is said.
    pub(crate) const NONE: VarInt = VarInt::from_u32(0);
    /// The client's certificate does not hold.
    pub(crate) const TLS: VarInt = VarInt::from_u32(0xB1);
    /// The client goes on asking for flows of which nothing is remembered.
    pub(crate) const TOO_MANY_RECOVERIES: VarInt = VarInt::from_u32(0xB3);
    /// The first stream begins as a data stream does.
    pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(0xB4);
}

/// The packets of all streams of a connection, in one sequence; and the connection, which ends with it.
///
/// The control stream is the first bidirectional one. What is written goes there, but for answers to what came on
/// another bidirectional stream, for messages to subscriptions that were made on another stream, and for messages where
/// each topic or each message has a stream of its own. Packets of other streams are read, whole, when the client has
/// been accepted.
pub struct QuicStream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    /// What was read from the control stream before it was known what it begins with.
    first: Option<u8>,
    /// Follows the packets that are read from the control stream.
    inbound: Walk,
    /// Follows the packets that are written.
    outbound: Walk,
    /// Where the packet goes that is being written, or is to be written next.
    target: Option<Target>,
    flow_limits: Arc<FlowLimits>,
    /// The other streams, once the client has been accepted.
    flows: Option<Box<Flows>>,
    /// Whether the other streams are heard first the next time.
    flows_first: bool,
    finish: Finish,
    whereabouts: Whereabouts,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy)]
enum Target {
    Control,
    Stream(Key, LastPacket),
}

/// How far our direction is from its end.
enum Finish {
    /// There may be more to say.
    Open,
    /// All is said, but the client may not have it yet.
    Awaited(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    /// The client has it all, or does not want it.
    Done,
}

impl QuicStream {
    /// `first` is the first byte of the control stream.
    pub(super) fn new(
        connection: Connection,
        (send, receive): (SendStream, RecvStream),
        first: Option<u8>,
        flow_limits: Arc<FlowLimits>,
    ) -> Self {
        Self {
            whereabouts: Whereabouts::new(connection.remote_address()),
            connection,
            send,
            receive,
            first,
            inbound: Walk::default(),
            outbound: Walk::default(),
            target: None,
            flow_limits,
            flows: None,
            flows_first: false,
            finish: Finish::Open,
        }
    }

    /// With something to be told where the client is each time that it has moved and stays there.
    #[must_use]
    pub fn when_moved(mut self, tell: impl Fn(SocketAddr) + Send + 'static) -> Self {
        self.whereabouts.when_moved(Box::new(tell));
        self
    }

    /// Reads from the control stream.
    fn poll_control(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Some(first) = self.first.take_if(|_| buffer.remaining() > 0) {
            buffer.put_slice(&[first]);
        } else {
            ready!(Pin::new(&mut self.receive).poll_read(cx, buffer))?;
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        match &mut self.flows {
            Some(flows) if flows.has_subscriptions() => {
                self.inbound.pass_and_tell(read, is_about_subscriptions, |packet| flows.hear_control(packet));
            }
            Some(_) | None => self.inbound.pass(read),
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the other streams, where no other packet is being read.
    fn poll_flows(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.flows {
            Some(flows) if self.inbound.is_between_packets() => flows.poll_read(cx, buffer),
            Some(_) | None => Poll::Pending,
        }
    }

    /// Reads from all streams, from those first that were last before.
    fn poll_streams(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let flows_only = self.flows.as_ref().is_some_and(|flows| flows.is_within_packets());
        if flows_only {
            return self.poll_flows(cx, buffer);
        }
        if std::mem::take(&mut self.flows_first)
            && let Poll::Ready(read) = self.poll_flows(cx, buffer)
        {
            return Poll::Ready(read);
        }
        let control = self.poll_control(cx, buffer);
        if control.is_ready() {
            self.flows_first = true;
            return control;
        }
        self.poll_flows(cx, buffer)
    }

    /// Where these bytes go, and which of them go there in one piece.
    fn route<'a>(&mut self, cx: &mut Context<'_>, bytes: &'a [u8]) -> (Target, &'a [u8]) {
        let Some(flows) = self.flows.as_mut().filter(|flows| self.target.is_some() || flows.has_choice())
        else {
            return (Target::Control, bytes);
        };
        let len = if self.outbound.is_between_packets() {
            frame_header(bytes).ok().flatten().map_or(1, |header| header.header_len + header.body_len)
        } else {
            self.outbound.room()
        };
        let target = *self.target.get_or_insert_with(|| {
            // What has been begun on the control stream is continued there.
            let stream = if self.outbound.is_between_packets() { flows.route(cx, bytes) } else { None };
            stream.map_or(Target::Control, |(key, last)| Target::Stream(key, last))
        });
        (target, bytes.get(..len).unwrap_or(bytes))
    }

    /// The other streams are heard from when the client has been told that it is accepted.
    fn notice_acceptance(&mut self, bytes: &[u8]) {
        const CONNACK: u8 = 0x20;
        if self.flows.is_some() || !self.outbound.is_between_packets() {
            return;
        }
        let header = frame_header(bytes).ok().flatten().filter(|header| header.first == CONNACK);
        let Some(header) = header else { return };
        // Behind the flags stands the reason code.
        if bytes.get(header.header_len + 1) == Some(&0) {
            // MQTT 5.0 has properties behind it, if only to say that there are none.
            let version = if header.body_len > 2 { ProtocolVersion::V5 } else { ProtocolVersion::V3_1_1 };
            let flows = Flows::new(self.connection.clone(), Arc::clone(&self.flow_limits), version);
            self.flows = Some(Box::new(flows));
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        this.whereabouts.poll(cx, || this.connection.remote_address());
        let read = ready!(this.poll_streams(cx, buffer));
        if buffer.filled().len() > before {
            this.whereabouts.notice(this.connection.remote_address());
            // So that the timer wakes who reads.
            this.whereabouts.poll(cx, || this.connection.remote_address());
        } else if matches!(this.finish, Finish::Awaited(_)) && this.connection.close_reason().is_none() {
            // The client has said all that it had to say, but not heard all: who hears of the end now would close, and
            // what is on its way would be lost. Whoever awaits the finish is woken by that.
            return Poll::Pending;
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let (target, part) = this.route(cx, bytes);
        let written = match (target, &mut this.flows) {
            (Target::Stream(key, _), Some(flows)) => ready!(flows.poll_write(cx, key, part)),
            (Target::Stream(..), None) | (Target::Control, _) => {
                ready!(AsyncWrite::poll_write(Pin::new(&mut this.send), cx, part))?
            }
        };
        this.notice_acceptance(part);
        this.outbound.pass(part.get(..written).unwrap_or(part));
        if this.outbound.is_between_packets() {
            this.target = None;
            if let (Target::Stream(key, LastPacket::Yes), Some(flows)) = (target, &mut this.flows) {
                flows.end_stream(cx, key);
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Ready when on no stream much waits for the client to take it. Other streams can be written to while it is not.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.flows {
            Some(flows) => flows.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the client has acknowledged all that was written.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.finish {
                Finish::Open => {
                    let answers = match &mut this.flows {
                        Some(flows) => ready!(flows.poll_finish(cx)),
                        None => Vec::new(),
                    };
                    // A stream that the client has stopped has nothing to finish.
                    this.finish = match this.send.finish() {
                        Ok(()) => {
                            let stopped = this.send.stopped();
                            Finish::Awaited(Box::pin(async move {
                                for answer in answers {
                                    answer.await?;
                                }
                                stopped.await.map(drop).map_err(io::Error::from)
                            }))
                        }
                        Err(_) => Finish::Done,
                    };
                }
                Finish::Awaited(taken) => {
                    let taken = ready!(taken.as_mut().poll(cx));
                    this.finish = Finish::Done;
                    taken?;
                }
                Finish::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream")
            .field("connection", &self.connection)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        self.connection.close(close_code::NONE, &[]);
    }
}
