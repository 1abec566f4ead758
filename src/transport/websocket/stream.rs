//! A WebSocket as a stream of bytes.

use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{CLIENT_HEADER_LEN, CloseCode};
use super::idling::Idling;
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
    /// Once something has come that brought nothing.
    idling: Option<Box<Idling>>,
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
            idling: None,
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
    /// does not let that go on without end, as it makes a task that does much pause; and only so many of them are read
    /// in a second.
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
            if let Some(idling) = &mut this.idling {
                ready!(idling.poll_pause(cx));
            }
            ready!(this.poll_read_raw(cx, buffer))?;
            let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let came = read.len();
            let kept = this.inbound.receive(read, &mut this.outbound);
            // A frame that brings something needs no more than this for each byte of it.
            let idle = came.saturating_sub(kept.saturating_mul(CLIENT_HEADER_LEN + 1));
            if idle > 0 {
                this.idling.get_or_insert_with(|| Box::new(Idling::new())).count(idle);
            }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A WebSocket over a pipe that takes so many bytes at once, and the client's end of the pipe.
    fn pair(capacity: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(capacity);
        (WebSocket::new(ours, Bytes::new()), theirs)
    }

    #[test]
    fn a_connection_that_is_idle_owns_little_beyond_its_stream() {
        assert!(size_of::<WebSocket<()>>() <= 256, "{}", size_of::<WebSocket<()>>());
    }

    #[tokio::test]
    async fn a_write_that_is_taken_in_parts_is_one_frame() {
        let (mut socket, mut client) = pair(7);
        let payload: Vec<u8> = (0..=250).cycle().take(1_000).collect();
        let expected = [&[0x82, 126, 3, 232][..], &payload].concat();
        let mut received = vec![0; expected.len()];
        let (written, read) = tokio::join!(socket.write_all(&payload), client.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn a_pong_waits_for_the_end_of_the_frame_under_way() {
        let (mut socket, mut client) = pair(8);
        let begun = socket.write(&[1; 20]).await.unwrap();
        assert_eq!(begun, 6);
        // A ping with the mask zero, and a byte to be read behind it.
        let mut received = vec![0; 22 + 2];
        let ((), (), read) = tokio::join!(
            async {
                let mut byte = [0];
                socket.read_exact(&mut byte).await.unwrap();
                socket.write_all(&[1; 14]).await.unwrap();
                socket.flush().await.unwrap();
            },
            async { tokio::task::yield_now().await },
            async {
                client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
                client.write_all(&[0x82, 0x81, 0, 0, 0, 0, 9]).await.unwrap();
                client.read_exact(&mut received).await
            }
        );
        read.unwrap();
        assert_eq!(received, [&[0x82, 20][..], &[1; 20], &[0x8A, 0]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_nothing_is_read_slowly_and_what_brings_something_is_not() {
        const MIB: usize = 1 << 20;
        let (mut socket, mut client) = pair(MIB);
        let ping = [&[0x89, 0xFD, 0, 0, 0, 0][..], &[7; 125]].concat();
        let (empty, large) = ([0x82, 0x80, 0, 0, 0, 0], [0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        let started = tokio::time::Instant::now();
        let mut payload = vec![0; MIB];
        // The client has some answers in its buffer, and reads none of the others.
        for nothing in [ping.repeat(MIB / ping.len()), empty.repeat(MIB / empty.len())] {
            let (written, read) = tokio::join!(
                async {
                    client.write_all(&nothing).await?;
                    client.write_all(&large).await?;
                    client.write_all(&vec![7; MIB]).await
                },
                socket.read_exact(&mut payload)
            );
            written.unwrap();
            read.unwrap();
        }
        let seconds = started.elapsed().as_secs();
        assert!((29..=33).contains(&seconds), "{seconds}");
        // Many small messages are none of that.
        let small = [0x82, 0x81, 0, 0, 0, 0, 7].repeat(MIB);
        let (written, read) = tokio::join!(client.write_all(&small), socket.read_exact(&mut payload));
        written.unwrap();
        read.unwrap();
        assert!(started.elapsed().as_secs() <= seconds + 1);
    }

    #[tokio::test]
    async fn what_came_with_the_request_is_read_first() {
        let (ours, mut client) = duplex(64);
        let early = Bytes::from_static(&[0x82, 0x83, 0, 0, 0, 0, 1, 2]);
        let mut socket = WebSocket::new(ours, early);
        client.write_all(&[3]).await.unwrap();
        let mut bytes = [0; 3];
        socket.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_breach_is_reported_behind_what_came_before_it_and_told_at_the_end() {
        let (mut socket, mut client) = pair(64);
        client.write_all(&[0x82, 0x81, 0, 0, 0, 0, 7, 0x81, 0x80]).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), 7);
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        socket.write_all(&[8]).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [0x82, 1, 8, 0x88, 2, 0x03, 0xEB]);
    }
}
