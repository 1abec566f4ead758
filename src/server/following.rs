//! Connections that move, counted where they are.

use std::sync::Arc;

use super::admission::{Account, Admission};
use crate::transport::quic::QuicStream;
use crate::transport::{Handshake, HandshakeError, Peer};

/// A layer of connections that tells when they move.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) admission: Arc<Admission>,
    pub(super) account: Account,
}

impl Handshake<QuicStream> for Following {
    type Stream = QuicStream;

    async fn perform(self, stream: QuicStream, peer: Peer) -> Result<(QuicStream, Peer), HandshakeError> {
        let Self { admission, account } = self;
        Ok((stream.when_moved(move |address| admission.relocate(&account, address.ip())), peer))
    }
}
