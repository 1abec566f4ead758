//! What a client has sent, on its way to the broker: in portions, and no faster than the client may send.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::{Dismissal, Endpoint, Stage};
use crate::actor::handle::Letter;
use crate::broker::{Closure, Input};
use crate::clock::Instant;
use crate::connection::{ConnectionLimits, RateLimitPolicy, TokenBucket};
use crate::mqtt::{Packet, ReasonCode};

/// Enough to keep the broker busy with one client while the next batch is read.
pub(super) const UNANSWERED_BATCHES: usize = 3;

/// Packets of one letter to the broker: enough to make its work worth a wake-up, and no more than other clients would
/// want to wait for.
const LETTER: usize = 256;

/// Packets that the broker has not got yet: what one read brought, at most.
#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: VecDeque<Packet>,
    /// Bytes from which they were read, while there are any.
    payloads: usize,
    /// Only where there are limits.
    rates: Option<Box<Rates>>,
}

#[derive(Debug)]
struct Rates {
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    policy: RateLimitPolicy,
    /// What is being waited for.
    resumes_at: Option<Instant>,
}

/// The client has sent more than it may, and is not to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded;

impl Intake {
    /// The intake of a client that is let in now.
    pub(super) fn new(limits: &ConnectionLimits, now: Instant) -> Self {
        let messages = limits.message_rate.map(|rate| TokenBucket::new(rate, now));
        let bytes = limits.byte_rate.map(|rate| TokenBucket::new(rate, now));
        let is_limited = messages.is_some() || bytes.is_some();
        let rates = Rates { messages, bytes, policy: limits.rate_limit_policy, resumes_at: None };
        Self { waiting: VecDeque::new(), payloads: 0, rates: is_limited.then(|| Box::new(rates)) }
    }

    /// Whether the broker has got everything.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes that it occupies.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.len() * size_of::<Packet>() + if self.waiting.is_empty() { 0 } else { self.payloads }
    }

    /// Adds what has been read.
    pub(super) fn push(&mut self, packets: Vec<Packet>, payloads: usize) {
        if self.waiting.is_empty() {
            self.payloads = payloads;
            self.waiting = packets.into();
        } else {
            self.payloads += payloads;
            self.waiting.extend(packets);
        }
    }

    /// Bytes to read at a time: no more than may come in a second, so that nobody has to wait for longer than that.
    pub(super) fn read_size(&self, limits: &ConnectionLimits) -> usize {
        let may_come = self.rates.as_ref().and_then(|rates| rates.bytes).map(|bytes| bytes.capacity());
        let may_come = may_come.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        may_come.map_or(limits.receive_buffer, |bytes| bytes.min(limits.receive_buffer))
    }

    /// So many bytes were read.
    pub(super) fn count(&mut self, len: usize, now: Instant) -> Result<(), Exceeded> {
        let Some(Rates { bytes: Some(bytes), policy, .. }) = self.rates.as_deref_mut() else { return Ok(()) };
        bytes.take(u64::try_from(len).unwrap_or(u64::MAX), now);
        match policy {
            RateLimitPolicy::Disconnect if bytes.is_in_debt(now) => Err(Exceeded),
            RateLimitPolicy::Delay | RateLimitPolicy::Disconnect => Ok(()),
        }
    }

    /// Whether more may be read.
    pub(super) fn may_grow(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.resumes_at(now).is_none()
    }

    /// When it goes on, where the client has to wait because it has sent more than it may.
    pub(super) fn resumes_at(&self, now: Instant) -> Option<Instant> {
        let rates = self.rates.as_ref()?;
        let waits_for = match self.waiting.front() {
            Some(Packet::Publish(_)) => rates.messages,
            Some(_) => None,
            None => rates.bytes,
        };
        waits_for.map(|bucket| bucket.available_at()).filter(|at| *at > now)
    }

    /// Whether the wait until then is a new one.
    pub(super) fn begins_to_wait(&mut self, at: Instant) -> bool {
        self.rates.as_mut().is_some_and(|rates| rates.resumes_at.replace(at) != Some(at))
    }

    /// Whether a wait has come to its end, which is told once.
    fn has_waited(&mut self, now: Instant) -> bool {
        self.rates.as_mut().is_some_and(|rates| rates.resumes_at.take_if(|at| *at <= now).is_some())
    }

    /// The next packets for the broker; none if they have to wait.
    fn next(&mut self, now: Instant) -> Result<Vec<Packet>, Exceeded> {
        let next = self.waiting.iter().take(LETTER);
        let count = match self.rates.as_deref_mut() {
            Some(Rates { messages: Some(messages), policy, .. }) => {
                let may_go =
                    |packet: &&Packet| !matches!(packet, Packet::Publish(_)) || messages.try_take(now);
                let count = next.take_while(may_go).count();
                if count == 0 && *policy == RateLimitPolicy::Disconnect {
                    return Err(Exceeded);
                }
                count
            }
            Some(_) | None => next.count(),
        };
        if count == self.waiting.len() {
            return Ok(mem::take(&mut self.waiting).into());
        }
        Ok(self.waiting.drain(..count).collect())
    }

    /// Nothing has to wait any more.
    pub(super) fn lift_limits(&mut self) {
        self.rates = None;
    }

    /// Forgets what the broker has not got.
    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Endpoint<S> {
    /// Sends the broker what the client has sent, as far as it may go now; and behind all of it, that the connection
    /// has ended. Tells whether that made room for more.
    pub(super) fn pass_on(&mut self, now: Instant) -> bool {
        let had_no_room = !self.intake.is_empty();
        if self.intake.has_waited(now) {
            self.connection.excuse_silence(now);
        }
        while !self.intake.is_empty()
            && self.outbox.is_empty()
            && !self.mailbox.has_unanswered_beyond(UNANSWERED_BATCHES)
        {
            match self.intake.next(now) {
                Ok(packets) if packets.is_empty() => return false,
                Ok(packets) => {
                    self.mailbox.batch_sent();
                    let letter = Letter::Packets(self.id, packets, Arc::clone(&self.mailbox));
                    self.outbox.send(letter, &self.around.broker);
                }
                Err(Exceeded) => self.exceed(),
            }
        }
        if self.intake.is_empty()
            && let Some(how) = self.ending.take()
        {
            self.attached = false;
            let closed = Input::Closed { connection: self.id, how };
            self.outbox.send(Letter::Input(closed), &self.around.broker);
        }
        had_no_room && self.intake.is_empty()
    }

    /// The client is closed for what it has sent beyond what it may. What came before is answered first.
    pub(super) fn exceed(&mut self) {
        debug!(connection = %self.id, peer = %self.peer, "the client sends more than it may");
        self.around.counters.rate_limit_disconnects.increment();
        self.intake.clear();
        let reason = ReasonCode::MessageRateTooHigh;
        self.stage = Stage::Dismissed(Box::new(Dismissal {
            how: Closure::Misbehaved(reason),
            reason,
            detail: "more messages or bytes in a second than allowed",
        }));
    }
}
