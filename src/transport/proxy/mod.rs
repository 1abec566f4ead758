//! The PROXY protocol, versions 1 and 2: a proxy says, in front of all else, whose connection it passes on.
//!
//! What it says is believed only of the proxies that the operator has named, and from them it is demanded: see
//! [`ProxySettings`]. Who else sends such a header sends what is neither MQTT nor TLS nor HTTP, and is refused for it.

mod checksum;
mod header;
mod network;
mod v1;
mod v2;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

pub use header::{Progress, ProxyError, ProxyHeader, Source, parse};
pub use network::{Network, ParseNetworkError};

use super::{Handshake, HandshakeError, Peer, Transport, UnfinishedPackets, UnfinishedPart};

/// Where a client is whose proxy does not tell.
const UNTOLD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// From whom a header is expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// On which listeners.
    pub transports: Vec<Transport>,
    /// From where.
    pub proxies: Vec<Network>,
}

impl ProxySettings {
    /// Whether this is a proxy, which must say for whom it speaks.
    pub fn expects_header(&self, peer: &Peer) -> bool {
        let is_proxy = |address: IpAddr| self.proxies.iter().any(|network| network.contains(address));
        self.transports.contains(&peer.transport)
            && peer.address.is_some_and(|address| is_proxy(address.ip()))
    }
}

/// The header as a layer of connections: it is read to its last byte and no further.
#[derive(Debug, Clone)]
pub struct ProxyLayer(Arc<UnfinishedPackets>);

impl ProxyLayer {
    /// For headers that count there until they are whole.
    pub fn new(unfinished: Arc<UnfinishedPackets>) -> Self {
        Self(unfinished)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for ProxyLayer {
    type Stream = S;

    async fn perform(self, mut stream: S, peer: Peer) -> Result<(S, Peer), HandshakeError> {
        let header = read(&mut stream, self.0.part()).await.map_err(HandshakeError::Proxy)?;
        let peer = match header.source {
            Source::Proxy => peer,
            Source::Client(address) => Peer { address: Some(address), ..peer },
            // All of them count as one address, which is none of this host: with the proxy's own they could be given
            // rights that are the proxy's.
            Source::Untold => Peer { address: Some(UNTOLD), ..peer },
        };
        Ok((stream, Peer { certificate: header.common_name, server_name: header.server_name, ..peer }))
    }
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    mut unfinished: UnfinishedPart,
) -> Result<ProxyHeader, ProxyError> {
    let mut bytes = Vec::new();
    loop {
        let len = bytes.len();
        match parse(&bytes)? {
            Progress::Whole { header, .. } => return Ok(header),
            Progress::Lacks(missing) => {
                unfinished.set(len + missing)?;
                bytes.resize(len + missing, 0);
            }
        }
        let rest = bytes.get_mut(len..).unwrap_or_default();
        stream.read_exact(rest).await.map_err(|error| ProxyError::Lost(error.kind()))?;
    }
}

#[cfg(test)]
mod tests;
