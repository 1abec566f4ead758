//! A WebSocket as a stream of bytes.

use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::CloseCode;
use super::inbound::{End, Inbound};
use super::outbound::Outbound;

/// The server's side of a WebSocket, over the stream `S`.
///
/// What is read is the payload of the client's binary messages. What it sent is read to the end before a breach of
/// the protocol is reported, as [`io::ErrorKind::InvalidData`]; the stream should then be shut down, which tells the
/// client why. From there on reads give whatever comes, to be thrown away. A client that closes is answered, and is an
/// end of the stream.
///
/// Each write is one binary frame: header and payload in one vectored write. A write that takes only part of what it
/// is offered has announced all of it, so that the rest has to be offered next, as whoever writes all of something
/// does.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    /// What came together with the request, and has not been looked at.
    early: Bytes,
    inbound: Inbound,
    outbound: Outbound,
    /// Whether control frames may still be in a buffer of the stream's.
    is_unflushed: bool,
    /// Whether the client's breach of the protocol has been reported.
    is_failed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket over a stream whose request has been granted, and brought `early` behind it.
    pub fn new(stream: S, early: Bytes) -> Self {
        Self {
            stream,
            early,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            is_unflushed: false,
            is_failed: false,
        }
    }

    /// Reads what there is, behind what is in `buffer`.
    fn poll_read_raw(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let len = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(len));
        if self.early.is_empty() {
            // The rest of what it was part of goes with it.
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes control frames if they can be written now. If they cannot, it is tried again when the stream takes
    /// something, or is next read or written; if they never can, that is noticed elsewhere.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if self.outbound.is_between_frames() && self.poll_control(cx).is_ready() && self.is_unflushed {
            self.is_unflushed = Pin::new(&mut self.stream).poll_flush(cx).is_pending();
        }
    }

    /// Writes the control frames that wait, between two frames.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(frame) = self.outbound.control() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, frame))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.advance_control(written);
            self.is_unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes header and payload of the frame under way. Returns how much of `payload` was taken.
    fn poll_payload(&mut self, cx: &mut Context<'_>, payload: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        /// As many parts as the endpoint offers at once, and the header.
        const PARTS: usize = 65;
        loop {
            let stream = Pin::new(&mut self.stream);
            let mut left = usize::try_from(self.outbound.payload_left()).unwrap_or(usize::MAX);
            let of_frame = payload.iter().map(|part| {
                let part = part.get(..left).unwrap_or(part);
                left -= part.len();
                part
            });
            let mut parts =
                iter::once(self.outbound.header()).chain(of_frame).filter(|part| !part.is_empty());
            let written = if stream.is_write_vectored() {
                let mut slices = [IoSlice::new(&[]); PARTS];
                let filled =
                    slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count();
                ready!(stream.poll_write_vectored(cx, slices.get(..filled).unwrap_or_default()))?
            } else {
                ready!(stream.poll_write(cx, parts.next().unwrap_or_default()))?
            };
            let of_payload = self.outbound.advance(written);
            if of_payload > 0 || written == 0 {
                return Poll::Ready(Ok(of_payload));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    /// Control frames and empty ones bring nothing to be read: it goes on until something else comes. A TCP stream
    /// does not let that go on without end, as it makes a task that does much pause.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            this.answer(cx);
            match this.inbound.end() {
                None => {}
                Some(End::Closed(code)) => {
                    this.outbound.close(code);
                    this.answer(cx);
                    return Poll::Ready(Ok(()));
                }
                Some(End::Violated(violation)) if !this.is_failed => {
                    this.is_failed = true;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                Some(End::Violated(_)) => return this.poll_read_raw(cx, buffer),
            }
            ready!(this.poll_read_raw(cx, buffer))?;
            let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let kept = this.inbound.receive(read, &mut this.outbound);
            buffer.set_filled(before + kept);
            if kept > 0 {
                this.answer(cx);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbound.is_closing() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.outbound.is_between_frames() {
            ready!(this.poll_control(cx))?;
            let len = parts.iter().map(|part| part.len()).sum::<usize>();
            if len == 0 {
                return Poll::Ready(Ok(0));
            }
            this.outbound.begin(u64::try_from(len).unwrap_or(u64::MAX));
        }
        this.poll_payload(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.outbound.is_between_frames() {
            ready!(this.poll_control(cx))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Says why, as the last of all frames, unless a frame is left half-written; and shuts the stream down.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outbound.close(Some(match this.inbound.end() {
            Some(End::Violated(violation)) => violation.code,
            Some(End::Closed(_)) | None => CloseCode::NORMAL,
        }));
        if this.outbound.is_between_frames() {
            ready!(this.poll_control(cx))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
