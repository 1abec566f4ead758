//! What stands between a connection that has been accepted and the first byte of MQTT on it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::proxy::ProxyError;
use super::websocket::UpgradeError;
use super::{Peer, TooMuch};

/// One layer between the socket and MQTT: TLS, the upgrade to WebSocket, a header that names the real peer.
///
/// A handshake runs in its connection's own task and can be dropped at any time: whoever runs it sees to it that it
/// does not take for ever. Layers are stacked with [`Then`].
pub trait Handshake<S>: Send + 'static {
    /// What MQTT, or the next layer, is spoken on.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Does what is to be done on `stream`. What it learns about the other end goes into the peer.
    fn perform(
        self,
        stream: S,
        peer: Peer,
    ) -> impl Future<Output = Result<(Self::Stream, Peer), HandshakeError>> + Send;
}

/// Why a handshake did not come to its end. The peer's doing, or the network's.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The upgrade to WebSocket.
    #[error("WebSocket: {0}")]
    WebSocket(#[source] UpgradeError),
    /// The header of the PROXY protocol.
    #[error("{0}")]
    Proxy(#[source] ProxyError),
    /// There is no room for the client that a proxy has named. The connection is counted as refused.
    #[error("connection refused")]
    Refused,
    /// QUIC, or the TLS in it.
    #[error("QUIC: {0}")]
    Quic(#[source] io::Error),
}

impl HandshakeError {
    /// Whether it would have come to its end had there been room for what the peer sent.
    pub fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::WebSocket(UpgradeError::TooMuch(TooMuch)) | Self::Proxy(ProxyError::TooMuch(TooMuch)) => {
                true
            }
            Self::WebSocket(_) | Self::Proxy(_) | Self::Tls(_) | Self::Quic(_) | Self::Refused => false,
        }
    }
}

/// Nothing: MQTT is spoken on the stream as it is.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for Plain {
    type Stream = S;

    async fn perform(self, stream: S, peer: Peer) -> Result<(S, Peer), HandshakeError> {
        Ok((stream, peer))
    }
}

/// The first handshake, and on what comes out of it the second.
#[derive(Debug, Clone)]
pub struct Then<A, B>(pub A, pub B);

impl<S, A, B> Handshake<S> for Then<A, B>
where
    S: Send + 'static,
    A: Handshake<S>,
    B: Handshake<A::Stream>,
{
    type Stream = B::Stream;

    async fn perform(self, stream: S, peer: Peer) -> Result<(B::Stream, Peer), HandshakeError> {
        let Self(first, second) = self;
        let (stream, peer) = first.perform(stream, peer).await?;
        second.perform(stream, peer).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::transport::Transport;

    /// Expects one byte, and adds it to what the peer is known as.
    struct Expect(u8);

    impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for Expect {
        type Stream = S;

        async fn perform(self, mut stream: S, peer: Peer) -> Result<(S, Peer), HandshakeError> {
            let byte = stream.read_u8().await.map_err(HandshakeError::Tls)?;
            if byte != self.0 {
                return Err(HandshakeError::Tls(io::ErrorKind::InvalidData.into()));
            }
            let known = peer.server_name.as_deref().unwrap_or_default();
            let server_name = Some(Arc::from(format!("{known}{}", char::from(byte))));
            Ok((stream, Peer { server_name, ..peer }))
        }
    }

    async fn perform(bytes: &[u8]) -> Result<(DuplexStream, Peer), HandshakeError> {
        let (mut theirs, ours) = tokio::io::duplex(16);
        theirs.write_all(bytes).await.unwrap();
        Then(Expect(b'a'), Then(Plain, Expect(b'b'))).perform(ours, Peer::new(Transport::Unix, None)).await
    }

    #[tokio::test]
    async fn layers_are_performed_one_after_the_other() {
        let (mut stream, peer) = perform(b"abc").await.unwrap();
        assert_eq!(peer.server_name.as_deref(), Some("ab"));
        assert_eq!(stream.read_u8().await.unwrap(), b'c');
    }

    #[tokio::test]
    async fn the_first_layer_that_fails_ends_them_all() {
        assert!(perform(b"ba").await.is_err());
        assert!(perform(b"aa").await.is_err());
    }
}
