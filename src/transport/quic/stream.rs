//! A QUIC connection as the stream on which MQTT is spoken.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quinn::{Connection, RecvStream, SendStream, StoppedError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

/// With which codes connections are closed.
pub(super) mod close_code {
    use quinn::VarInt;

    /// All is said.
    pub(crate) const NONE: VarInt = VarInt::from_u32(0);
    /// The client's certificate does not hold.
    pub(crate) const TLS: VarInt = VarInt::from_u32(0xB1);
}

/// The first bidirectional stream of a connection, and the connection, which ends with it.
pub struct QuicStream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    finish: Finish,
    /// Where the client was last.
    address: SocketAddr,
}

/// How far our direction is from its end.
enum Finish {
    /// There may be more to say.
    Open,
    /// All is said, but the client may not have it yet.
    Awaited(Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>),
    /// The client has it all, or does not want it.
    Done,
}

impl QuicStream {
    pub(super) fn new(connection: Connection, send: SendStream, receive: RecvStream) -> Self {
        let address = connection.remote_address();
        Self { connection, send, receive, finish: Finish::Open, address }
    }

    /// Clients may go from one network to another.
    fn notice_migration(&mut self) {
        let address = self.connection.remote_address();
        if address != self.address {
            debug!(from = %self.address, to = %address, "a QUIC client has moved");
            self.address = address;
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.receive).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.notice_migration();
        } else if matches!(self.finish, Finish::Awaited(_)) && self.connection.close_reason().is_none() {
            // The client has said all that it had to say, but not heard all: who hears of the end now would close, and
            // what is on its way would be lost. Whoever awaits the finish is woken by that.
            return Poll::Pending;
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has acknowledged all that was written.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.finish {
                Finish::Open => {
                    // A stream that the client has stopped has nothing to finish.
                    self.finish = match self.send.finish() {
                        Ok(()) => Finish::Awaited(Box::pin(self.send.stopped())),
                        Err(_) => Finish::Done,
                    };
                }
                Finish::Awaited(stopped) => {
                    let stopped = ready!(stopped.as_mut().poll(cx));
                    self.finish = Finish::Done;
                    stopped?;
                }
                Finish::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        self.connection.close(close_code::NONE, &[]);
    }
}
