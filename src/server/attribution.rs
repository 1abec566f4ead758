//! Connections that come through a proxy, counted for whom it names.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{Account, Admission};
use super::reception::turn_away;
use crate::actor::Surroundings;
use crate::transport::{Handshake, HandshakeError, Peer};

/// A layer of connections, behind the header that names their clients: from here on the limits of addresses hold for
/// these.
#[derive(Debug)]
pub(super) struct Attribution {
    pub(super) admission: Arc<Admission>,
    pub(super) account: Account,
    pub(super) around: Arc<Surroundings>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for Attribution {
    type Stream = S;

    async fn perform(self, stream: S, peer: Peer) -> Result<(S, Peer), HandshakeError> {
        let Some(address) = peer.address else { return Ok((stream, peer)) };
        match self.admission.attribute(&self.account, address.ip(), self.around.clock.now()) {
            Ok(()) => Ok((stream, peer)),
            Err(full) => {
                turn_away(full, &peer, &self.around.counters);
                Err(HandshakeError::Refused)
            }
        }
    }
}
