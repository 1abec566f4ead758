//! The way out of an endpoint.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::actor::scratch;
use crate::clock::Instant;
use crate::connection::Transmit;

/// What is being written to one client. Owns a buffer only while the client is slower than the broker.
#[derive(Debug, Default)]
pub(super) struct Outflow {
    backlog: Option<Box<Backlog>>,
    /// Bytes that the broker handed over, that have been written, and of which the broker has not been told.
    unreported: usize,
}

#[derive(Debug)]
struct Backlog {
    transmit: Transmit,
    /// Bytes that the broker handed over and that are in `transmit`, as the broker counts them.
    handed_over: usize,
    /// Since when the client has taken nothing.
    stuck_since: Instant,
}

impl Outflow {
    /// Whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.backlog.is_none()
    }

    /// Bytes that have not been written.
    pub(super) fn len(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.transmit.len())
    }

    /// The bytes of memory that it takes, beside what the broker counts as handed over and not written.
    pub(super) fn own_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| {
            size_of::<Backlog>() + backlog.transmit.memory().saturating_sub(backlog.handed_over)
        })
    }

    /// Since when there has been something to write of which the client takes nothing.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.backlog.as_ref().map(|backlog| backlog.stuck_since)
    }

    /// Takes the bytes of which the broker is to be told, if they are `at_least` so many.
    pub(super) fn take_unreported(&mut self, at_least: usize) -> Option<usize> {
        (self.unreported > 0 && self.unreported >= at_least).then(|| std::mem::take(&mut self.unreported))
    }

    /// Writes what `encode` encodes, behind what has not been written yet, as far as the client takes it. `encode`
    /// returns how many bytes that counts for the broker. Returns how many bytes were written.
    pub(super) fn write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        now: Instant,
        encode: impl FnOnce(&mut Transmit) -> usize,
    ) -> io::Result<usize> {
        let Some(backlog) = &mut self.backlog else {
            return scratch::with_transmit(|transmit| self.write_new(stream, cx, now, transmit, encode));
        };
        backlog.transmit.compact();
        backlog.handed_over += encode(&mut backlog.transmit);
        let (written, progress) = write_out(stream, cx, &mut backlog.transmit)?;
        let credit = credit(backlog.handed_over, written, &backlog.transmit, progress);
        backlog.handed_over -= credit;
        self.unreported += credit;
        if written > 0 {
            backlog.stuck_since = now;
        }
        if progress.is_ready() {
            self.backlog = None;
        }
        Ok(written)
    }

    fn write_new<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        now: Instant,
        transmit: &mut Transmit,
        encode: impl FnOnce(&mut Transmit) -> usize,
    ) -> io::Result<usize> {
        let handed_over = encode(transmit);
        if transmit.is_empty() {
            self.unreported += handed_over;
            return Ok(0);
        }
        let (written, progress) = write_out(stream, cx, transmit)?;
        if progress.is_ready() {
            self.unreported += handed_over;
        } else {
            let credit = credit(handed_over, written, transmit, progress);
            self.unreported += credit;
            self.backlog = Some(Box::new(Backlog {
                transmit: transmit.take_unwritten(),
                handed_over: handed_over - credit,
                stuck_since: now,
            }));
        }
        Ok(written)
    }
}

/// How many of the bytes that were handed over count as written.
fn credit(handed_over: usize, written: usize, transmit: &Transmit, progress: Poll<()>) -> usize {
    match progress {
        Poll::Ready(()) => handed_over,
        // The stream has taken all, and holds it: that is not to be more and more.
        Poll::Pending if transmit.is_empty() => 0,
        Poll::Pending => written.min(handed_over),
    }
}

/// Writes until all is written and flushed, or the stream takes no more. Tells how many bytes it took.
fn write_out<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    transmit: &mut Transmit,
) -> io::Result<(usize, Poll<()>)> {
    /// Parts of one vectored write; more would not make it faster.
    const SLICES: usize = 64;
    let mut stream = Pin::new(stream);
    let mut total = 0;
    while !transmit.is_empty() {
        let written = if transmit.is_contiguous() || !stream.is_write_vectored() {
            stream.as_mut().poll_write(cx, transmit.front())
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = transmit.fill(&mut slices);
            stream.as_mut().poll_write_vectored(cx, slices.get(..filled).unwrap_or_default())
        };
        match written {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => {
                transmit.advance(written);
                total += written;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok((total, Poll::Pending)),
        }
    }
    Ok((total, stream.poll_flush(cx)?))
}
