//! The task of one connection.
//!
//! An [`Endpoint`] is one state machine that is polled as a whole, in a fixed order: what the broker has for the
//! client is encoded and written; what the client has sent is read, decoded and handed to the broker. Neither waits
//! for the other, so that a client that does not read can still be heard, closed, or taken over.

mod arrival;
mod encode;
mod intake;
mod outflow;
mod standing;

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{self, Sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::handle::{BrokerHandle, Letter};
use super::mailbox::{Mailbox, Overflowed, Post};
use super::outbox::Outbox;
use super::outside::{Outside, OutsidePart};
use super::{Clock, ShellCounters, scratch};
use crate::auth::Authenticator;
use crate::broker::{Closure, ConnectionId, Durability, Input, PolicyName};
use crate::clock::Instant;
use crate::connection::{Connection, ConnectionLimits, Expired, Phase, ProtocolError, Transmit};
use crate::mqtt::{Packet, ReasonCode};
use crate::transport::{Peer, TooMuch, UnfinishedPackets, UnfinishedPart};
use arrival::Arrival;
use encode::encode;
use intake::{Exceeded, Intake};
use outflow::Outflow;
use standing::Standing;

/// What endpoints share: all of them, but for what may be different from listener to listener, which is who says who
/// clients are, their policy and the bounds on each connection.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The way to the broker.
    pub broker: BrokerHandle,
    /// Says who clients are.
    pub auth: Arc<Authenticator>,
    /// Under which policy clients come.
    pub policy: PolicyName,
    /// What has to hold before clients are told that something is kept; `None`: what the broker's settings say.
    pub durability: Option<Durability>,
    /// The bounds on each connection.
    pub limits: Arc<ConnectionLimits>,
    /// The broker's bound on what it hands over and is not told is written, in bytes.
    pub outbound_window: usize,
    /// The room for packets that have begun and not ended.
    pub unfinished: Arc<UnfinishedPackets>,
    /// What all connections occupy.
    pub outside: Arc<Outside>,
    /// What the shell counts.
    pub counters: Arc<ShellCounters>,
    /// The time of the broker.
    pub clock: Clock,
    /// Ends the endpoints of which the broker does not know yet; the others are ended by the broker.
    pub shutdown: CancellationToken,
}

/// What is known about a connection when MQTT begins on it.
#[derive(Debug)]
pub struct Newcomer {
    /// The other end.
    pub peer: Peer,
    /// Its number.
    pub id: ConnectionId,
    /// When it was accepted: the time to CONNECT counts from then.
    pub accepted: Instant,
    /// Dropped as soon as the client is let in or turned away: holds its place among those who are neither.
    pub unfinished: Box<dyn Any + Send>,
}

/// One connection: its stream, its protocol, and its way to and from the broker. As a future it is complete when the
/// connection has ended.
///
/// Written as a future by hand: there is one for each connection, and an `async` block would hold it several times
/// over, once for each move.
#[derive(Debug)]
pub struct Endpoint<S> {
    stream: S,
    peer: Peer,
    id: ConnectionId,
    around: Arc<Surroundings>,
    connection: Connection,
    mailbox: Arc<Mailbox>,
    /// What the client has sent and the broker has not got yet.
    intake: Intake,
    outbox: Outbox,
    outflow: Outflow,
    stage: Stage,
    /// What it has of the room for unfinished packets.
    unfinished: UnfinishedPart,
    /// What it has of all that connections occupy.
    outside: OutsidePart,
    /// Whether the broker wants to know what is written, as soon as something is.
    is_asked: bool,
    /// Whether the broker knows about it, and does not know that it has ended.
    attached: bool,
    /// How it has ended, until the broker has been told so, behind all that came before.
    ending: Option<Closure>,
    /// What is left of authentication, where the client can or must be authenticated again.
    standing: Option<Box<Standing>>,
    /// Only where something is to happen in time.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Stage {
    /// Nobody knows yet whose it is.
    Arriving(Box<Arrival>),
    /// The broker knows about it.
    Attached,
    /// The client is to be told why it is closed. What it sent before is answered first, so that what it gets does
    /// not depend on how its bytes were cut.
    Dismissed(Box<Dismissal>),
    /// The last word has been said, or is being written.
    Closing(Box<Closing>),
    /// Nothing is left to be done.
    Ended,
}

/// Why we close a connection.
#[derive(Debug, Clone, Copy)]
struct Dismissal {
    how: Closure,
    reason: ReasonCode,
    detail: &'static str,
}

/// The end of a connection: the last word is written, our direction shut, and what still comes thrown away, so that
/// the system does not answer it with a reset, which can make the last word unreadable for the client.
#[derive(Debug, Clone, Copy)]
struct Closing {
    until: Instant,
    is_shut: bool,
    discarded: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Endpoint<S> {
    /// An endpoint for a stream that has just been made.
    pub fn new(stream: S, newcomer: Newcomer, around: Arc<Surroundings>) -> Self {
        let Newcomer { peer, id, accepted, unfinished } = newcomer;
        Self {
            outside: around.outside.part(peer.transport),
            stream,
            peer,
            id,
            connection: Connection::new(Arc::clone(&around.limits), accepted),
            mailbox: Arc::default(),
            intake: Intake::default(),
            outbox: Outbox::default(),
            outflow: Outflow::default(),
            stage: Stage::Arriving(Box::new(Arrival::new(around.shutdown.clone(), unfinished))),
            attached: false,
            unfinished: around.unfinished.part(),
            is_asked: false,
            ending: None,
            standing: None,
            timer: None,
            around,
        }
    }

    /// Whether it is known what comes of its client: it is let in, or it is not.
    pub fn has_arrived(&self) -> bool {
        !matches!(self.stage, Stage::Arriving(_))
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.around.clock.now();
            // That there is no room yet is noticed where it matters.
            let _ = self.outbox.poll_flush(&self.around.broker, cx);
            self.write(cx, now);
            let progress = self.arrive(cx, now)
                | self.reauthenticate(cx, now)
                | self.read(cx, now)
                | self.pass_on(now)
                | self.dismiss(cx, now)
                | self.close(cx, now)
                | self.expire(now);
            if matches!(self.stage, Stage::Ended) && !self.attached && self.outbox.is_empty() {
                return Poll::Ready(());
            }
            if !progress {
                self.outside.set(self.intake.bytes() + self.outbox.bytes() + self.outflow.own_bytes());
                self.arm(cx, now);
                return Poll::Pending;
            }
        }
    }

    /// Encodes and writes what the broker has for the client.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) {
        /// The part of the window after which the broker is told, so that an idle connection does not say anything.
        const REPORTED_PART: usize = 4;
        let Post { items, is_asked } = match self.mailbox.take(cx.waker()) {
            Ok(post) => post,
            Err(Overflowed) => return self.overflow(),
        };
        self.is_asked |= is_asked;
        match self.stage {
            Stage::Arriving(_) | Stage::Attached | Stage::Dismissed(_) => {}
            Stage::Closing(_) => return self.flush(cx, now),
            Stage::Ended => return,
        }
        let (mut closure, connection, counters) = (None, &mut self.connection, &self.around.counters);
        let encode = |out: &mut Transmit| {
            let (handed_over, end) = encode(items, connection, counters, now, out);
            closure = end;
            handed_over
        };
        match self.outflow.write(&mut self.stream, cx, now, encode) {
            Ok(written) => counters.bytes_sent.add(written),
            Err(error) => return self.lose(&error),
        }
        if let Some((how, detail)) = closure {
            debug!(connection = %self.id, peer = %self.peer, ?how, detail, "closing");
            return self.begin_closing(how, now);
        }
        let reported = if self.is_asked { 1 } else { self.around.outbound_window / REPORTED_PART };
        if self.attached
            && self.ending.is_none()
            && self.outbox.is_empty()
            && let Some(bytes) = self.outflow.take_unreported(reported)
        {
            self.is_asked = false;
            let written = Input::Written { connection: self.id, bytes };
            self.outbox.send(Letter::Input(written), &self.around.broker);
        }
    }

    /// Goes on writing what has been encoded before.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.outflow.is_empty() {
            return;
        }
        match self.outflow.write(&mut self.stream, cx, now, |_| 0) {
            Ok(written) => self.around.counters.bytes_sent.add(written),
            Err(_) => self.stage = Stage::Ended,
        }
    }

    /// Reads once, and hands on what it brought.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if !self.may_read(now) {
            return false;
        }
        let mut packets = Vec::new();
        let (stream, connection) = (Pin::new(&mut self.stream), &mut self.connection);
        let read = scratch::with_read_buffer(self.intake.read_size(&self.around.limits), |buffer| {
            let mut buffer = ReadBuf::new(buffer);
            stream.poll_read(cx, &mut buffer).map_ok(|()| {
                let bytes = buffer.filled();
                (bytes.len(), connection.receive(bytes, now, &mut packets))
            })
        });
        match read {
            Poll::Pending => return false,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidData => self.distrust(&error),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::QuotaExceeded => self.refuse_more(),
            Poll::Ready(Err(error)) => self.lose(&error),
            Poll::Ready(Ok((0, _))) => self.lose(&io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok((len, result))) => {
                self.around.counters.bytes_received.add(len);
                let had = self.unfinished.bytes() + len;
                let room = self.unfinished.set(self.connection.unfinished());
                self.hand_on(packets, had.saturating_sub(self.unfinished.bytes()));
                if let Err(error) = result {
                    self.misbehave(error);
                } else if let Err(TooMuch) = room {
                    self.refuse_more();
                }
                if let Err(Exceeded) = self.intake.count(len, now) {
                    self.exceed();
                }
            }
        }
        true
    }

    /// Whether more may come from the client. What it can have under way, unanswered and unwritten, has a bound.
    fn may_read(&self, now: Instant) -> bool {
        /// Answers that may wait to be written, beyond the messages that the broker hands over.
        const UNWRITTEN_ANSWERS: usize = 1 << 20;
        /// The same where there is little memory left.
        const FEW_UNWRITTEN_ANSWERS: usize = 16 << 10;
        let listens = match self.stage {
            Stage::Arriving(_) => {
                matches!(self.connection.phase(), Phase::AwaitingConnect | Phase::Exchanging)
            }
            Stage::Attached => self.connection.phase() != Phase::Left,
            Stage::Dismissed(_) | Stage::Closing(_) | Stage::Ended => false,
        };
        let unwritten =
            if self.around.outside.is_scarce() { FEW_UNWRITTEN_ANSWERS } else { UNWRITTEN_ANSWERS };
        listens
            && self.intake.may_grow(now)
            && self.outbox.is_empty()
            && self.outflow.len() <= self.around.outbound_window + unwritten
            && !self.mailbox.has_unanswered_beyond(intake::UNANSWERED_BATCHES)
    }

    /// Hands on packets that were read from so many bytes.
    fn hand_on(&mut self, mut packets: Vec<Packet>, bytes: usize) {
        if let Stage::Arriving(arrival) = &mut self.stage {
            // Nothing is decoded behind CONNECT or AUTH until it is known what comes of it.
            match packets.pop() {
                Some(Packet::Connect(connect)) => {
                    arrival.authenticate(connect, &self.peer, Arc::clone(&self.around.auth));
                }
                Some(Packet::Auth(auth)) => arrival.go_on(auth.data, Arc::clone(&self.around.auth)),
                // It has said goodbye before it was let in.
                Some(_) => self.end(Closure::Lost),
                None => {}
            }
            return;
        }
        if self.standing.is_some() {
            for auth in packets.extract_if(.., |packet| matches!(packet, Packet::Auth(_))) {
                if let (Packet::Auth(auth), Some(standing)) = (auth, &mut self.standing) {
                    standing.hear(*auth, &self.peer, Arc::clone(&self.around.auth));
                }
            }
        }
        self.intake.push(packets, bytes);
    }

    fn misbehave(&mut self, error: ProtocolError) {
        debug!(connection = %self.id, peer = %self.peer, reason = %error.reason, detail = error.detail,
            "the client broke the protocol");
        let counters = &self.around.counters;
        counters.protocol_errors.increment();
        if error.reason == ReasonCode::QuotaExceeded {
            counters.refused_packet_parts.increment();
        } else if error.reason == ReasonCode::PacketTooLarge {
            counters.refused_packet_size.increment();
        } else if error.reason == ReasonCode::ReceiveMaximumExceeded {
            counters.refused_receive_maximum.increment();
        }
        let ProtocolError { reason, detail } = error;
        self.stage =
            Stage::Dismissed(Box::new(Dismissal { how: Closure::Misbehaved(reason), reason, detail }));
    }

    /// The client broke the protocol that carries MQTT. There may still be a way to tell it: shutting the stream down
    /// does as far as that protocol can.
    fn distrust(&mut self, error: &io::Error) {
        debug!(connection = %self.id, peer = %self.peer, %error, "the client broke the protocol below MQTT");
        let detail = "the protocol that carries MQTT was broken";
        self.misbehave(ProtocolError { reason: ReasonCode::ProtocolError, detail });
    }

    /// The client has sent more of a packet, and there is no room for it.
    fn refuse_more(&mut self) {
        self.around.counters.refused_unfinished.increment();
        let detail = "there are too many bytes of unfinished packets";
        self.misbehave(ProtocolError::because(ReasonCode::QuotaExceeded, detail));
    }

    /// Closes the connection of a client that is to be told why, once all it sent before is answered.
    fn dismiss(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Stage::Dismissed(dismissal) = &self.stage else { return false };
        let Dismissal { how, reason, detail } = **dismissal;
        if !self.intake.is_empty() || !self.outbox.is_empty() || self.mailbox.has_unanswered_beyond(0) {
            return false;
        }
        // The answers may have been posted since the mailbox was last looked into.
        self.write(cx, now);
        if matches!(self.stage, Stage::Dismissed(_)) {
            self.say_last_word(Some(reason), detail, cx, now);
            self.begin_closing(how, now);
        }
        true
    }

    fn say_last_word(
        &mut self,
        reason: Option<ReasonCode>,
        detail: &str,
        cx: &mut Context<'_>,
        now: Instant,
    ) {
        let connection = &mut self.connection;
        let encode = |out: &mut Transmit| {
            connection.close(reason, detail, out);
            0
        };
        // If it cannot be written, closing will notice.
        if let Ok(written) = self.outflow.write(&mut self.stream, cx, now, encode) {
            self.around.counters.bytes_sent.add(written);
        }
    }

    fn begin_closing(&mut self, how: Closure, now: Instant) {
        self.report_end(how);
        let until = now + self.around.limits.close_timeout;
        self.stage = Stage::Closing(Box::new(Closing { until, is_shut: false, discarded: 0 }));
    }

    /// Goes on closing.
    fn close(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        /// How long a client has to notice that we have closed, once it has been sent.
        const LINGER: Duration = Duration::from_secs(1);
        /// As much as a client may still have under way when it is told to stop.
        const DISCARDED: usize = 16 << 20;
        let Stage::Closing(closing) = &mut self.stage else { return false };
        let mut stream = Pin::new(&mut self.stream);
        if !closing.is_shut && self.outflow.is_empty() {
            match stream.as_mut().poll_shutdown(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    closing.is_shut = true;
                    closing.until = closing.until.min(now + LINGER);
                }
                Poll::Ready(Err(_)) => {
                    self.stage = Stage::Ended;
                    return true;
                }
            }
        }
        let read = scratch::with_read_buffer(self.around.limits.receive_buffer, |buffer| {
            let mut buffer = ReadBuf::new(buffer);
            stream.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        });
        match read {
            Poll::Pending => return false,
            Poll::Ready(Ok(len)) if len > 0 && closing.discarded < DISCARDED => closing.discarded += len,
            Poll::Ready(Ok(_) | Err(_)) => self.stage = Stage::Ended,
        }
        true
    }

    /// The connection is gone.
    fn lose(&mut self, error: &io::Error) {
        debug!(connection = %self.id, peer = %self.peer, %error, "the connection was lost");
        self.end(Closure::Lost);
    }

    fn overflow(&mut self) {
        if !matches!(self.stage, Stage::Ended) {
            warn!(connection = %self.id, peer = %self.peer, "the mailbox of a connection overflowed; closing it");
            self.around.counters.mailboxes_overflowed.increment();
            self.intake.clear();
            self.end(Closure::Fault);
        }
    }

    fn end(&mut self, how: Closure) {
        self.report_end(how);
        self.stage = Stage::Ended;
    }

    /// Has the broker told, once it has got all that came before.
    fn report_end(&mut self, how: Closure) {
        self.ending = self.ending.or_else(|| self.attached.then_some(how));
        // Nobody is there any more who would have to wait.
        self.intake.lift_limits();
        if how == Closure::Asked {
            // The broker has ended it, and would not look at it.
            self.intake.clear();
        }
    }

    /// When something that should have happened will not have happened.
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Arriving(_) | Stage::Attached | Stage::Dismissed(_) => {
                let stall = self.outflow.stuck_since().map(|since| since + self.around.limits.write_timeout);
                let standing = self.standing.as_ref().and_then(|standing| standing.until());
                [self.connection.deadline(), stall, standing].into_iter().flatten().min()
            }
            Stage::Closing(closing) => Some(closing.until),
            Stage::Ended => None,
        }
    }

    /// Acts upon what has not happened in time.
    fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|at| at > now) {
            return false;
        }
        let counters = &self.around.counters;
        if matches!(self.stage, Stage::Closing(_)) {
            self.stage = Stage::Ended;
        } else if self
            .outflow
            .stuck_since()
            .is_some_and(|since| since + self.around.limits.write_timeout <= now)
        {
            debug!(connection = %self.id, peer = %self.peer, "the client takes nothing of what is written to it");
            counters.write_stalls.increment();
            self.end(Closure::WriteStalled);
        } else if self
            .standing
            .as_ref()
            .and_then(|standing| standing.until())
            .is_some_and(|until| until <= now)
        {
            self.standing = None;
            self.withdraw(ReasonCode::MaximumConnectTime, "the authorization of the client has expired");
        } else {
            match self.connection.handle_timeout(now) {
                Some(Expired::Connect) => {
                    debug!(connection = %self.id, peer = %self.peer, "no CONNECT in time");
                    counters.connect_timeouts.increment();
                    self.end(Closure::Lost);
                }
                Some(Expired::KeepAlive) if self.attached && self.may_read(now) => {
                    debug!(connection = %self.id, peer = %self.peer, "nothing came for 1.5 times the keep-alive");
                    counters.keep_alive_timeouts.increment();
                    self.stage = Stage::Dismissed(Box::new(Dismissal {
                        how: Closure::KeepAlive,
                        reason: ReasonCode::KeepAliveTimeout,
                        detail: "nothing came for one and a half times the keep-alive",
                    }));
                }
                Some(Expired::KeepAlive) | None => self.connection.excuse_silence(now),
            }
        }
        true
    }

    /// Sets the timer. It is left alone when the deadline has only moved away, which it does with all that is read:
    /// it is cheaper to look again when it fires.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) {
        let resumes = self.intake.resumes_at(now);
        if resumes.is_some_and(|at| self.intake.begins_to_wait(at)) {
            self.around.counters.rate_limit_delays.increment();
        }
        let at = [self.deadline(), resumes].into_iter().flatten().min();
        let Some(at) = at.map(|at| self.around.clock.to_tokio(at)) else { return };
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(at)));
        if at < timer.deadline() || timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(at);
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Endpoint<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().turn(cx)
    }
}

impl<S> Drop for Endpoint<S> {
    /// Sees to it that the broker hears of the end, however it came.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.around.counters.panics.increment();
            error!(connection = %self.id, peer = %self.peer, "a fault ended a connection");
        }
        if !self.attached {
            return;
        }
        let closed = Letter::Input(Input::Closed { connection: self.id, how: Closure::Fault });
        if let (Err(closed), Ok(runtime)) = (self.around.broker.try_send(closed), Handle::try_current()) {
            let broker = self.around.broker.clone();
            runtime.spawn(async move { drop(broker.reserve().await.map(|room| room.send(closed))) });
        }
    }
}
