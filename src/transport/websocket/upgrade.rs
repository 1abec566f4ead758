//! From a stream to a WebSocket: the request is read and answered.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::options::WebSocketOptions;
use super::request::{Acceptance, Refusal, Status, answer};
use super::stream::WebSocket;
use crate::transport::{Handshake, HandshakeError, Peer, TooMuch, UnfinishedPackets, UnfinishedPart};

/// The upgrade as the handshake of a connection.
#[derive(Debug, Clone)]
pub struct Upgrade {
    options: Arc<WebSocketOptions>,
    unfinished: Arc<UnfinishedPackets>,
}

impl Upgrade {
    /// For requests that these options let through, and that count there until they are whole.
    pub fn new(options: WebSocketOptions, unfinished: Arc<UnfinishedPackets>) -> Self {
        Self { options: Arc::new(options), unfinished }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for Upgrade {
    type Stream = WebSocket<S>;

    async fn perform(self, stream: S, peer: Peer) -> Result<(WebSocket<S>, Peer), HandshakeError> {
        let stream = upgrade(stream, &self.options, self.unfinished.part())
            .await
            .map_err(HandshakeError::WebSocket)?;
        Ok((stream, peer))
    }
}

/// Why a stream did not become a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// What the client asked for is not what there is. It has been told.
    #[error("the request was refused with {}: {}", .0.status, .0.sentence)]
    Refused(Refusal),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// All connections together hold as much as they may.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// Reads and answers the client's request. The time that may take is for the caller to bound.
///
/// A refusal returns once the client has closed the connection, or sent much more: otherwise the system might tear
/// the answer away from it.
pub async fn upgrade<S>(
    mut stream: S,
    options: &WebSocketOptions,
    unfinished: UnfinishedPart,
) -> Result<WebSocket<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = BytesMut::new();
    match read_request(&mut stream, &mut bytes, options, unfinished).await? {
        Ok(acceptance) => {
            stream.write_all(acceptance.response().as_bytes()).await?;
            stream.flush().await?;
            // A copy, as a rule of nothing, rather than what held the request.
            let early = bytes.get(acceptance.request_len..).map(Bytes::copy_from_slice);
            Ok(WebSocket::new(stream, early.unwrap_or_default()))
        }
        Err(refusal) => {
            stream.write_all(refusal.response().as_bytes()).await?;
            stream.shutdown().await?;
            discard(&mut stream, bytes).await?;
            Err(UpgradeError::Refused(refusal))
        }
    }
}

/// Reads until the request can be answered.
async fn read_request<S>(
    stream: &mut S,
    bytes: &mut BytesMut,
    options: &WebSocketOptions,
    mut unfinished: UnfinishedPart,
) -> Result<Result<Acceptance, Refusal>, UpgradeError>
where
    S: AsyncRead + Unpin,
{
    /// The longest request that is read, in bytes.
    const LONGEST: usize = 8 << 10;
    /// As much as most requests have; more is taken as more comes.
    const FIRST: usize = 512;
    let mut looked_at = 0;
    loop {
        if bytes.capacity() == bytes.len() {
            bytes.reserve(bytes.len().clamp(FIRST, LONGEST - bytes.len()));
            unfinished.set(bytes.capacity())?;
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // Not with each byte that trickles in.
        if may_be_answered(bytes, looked_at) {
            match answer(bytes, options) {
                Ok(Some(acceptance)) => return Ok(Ok(acceptance)),
                Ok(None) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        looked_at = bytes.len();
        if looked_at >= LONGEST {
            return Ok(Err(Refusal::new(Status::TooLarge, Refusal::TOO_LARGE)));
        }
    }
}

/// Whether a request may end in what is behind `looked_at`, or what came is none, as no method begins so.
fn may_be_answered(bytes: &[u8], looked_at: usize) -> bool {
    let begins_otherwise = bytes.first().is_some_and(|first| !first.is_ascii_uppercase());
    let fresh = bytes.get(looked_at.saturating_sub(3)..).unwrap_or_default();
    begins_otherwise
        || fresh.windows(2).any(|two| two == b"\n\n")
        || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// Throws away what still comes.
async fn discard<S: AsyncRead + Unpin>(stream: &mut S, mut bytes: BytesMut) -> io::Result<()> {
    const MOST: usize = 64 << 10;
    let mut discarded = 0;
    while discarded < MOST {
        bytes.clear();
        bytes.reserve(1);
        match stream.read_buf(&mut bytes).await? {
            0 => return Ok(()),
            read => discarded += read,
        }
    }
    Ok(())
}
