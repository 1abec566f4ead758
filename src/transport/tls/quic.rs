//! TLS as QUIC has it within itself.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::server::ServerSessionMemoryCache;

use super::error::TlsError;

/// The settings of TLS for QUIC, without early data and with it.
pub(super) struct QuicTls {
    pub(super) without_early_data: Arc<QuicServerConfig>,
    pub(super) with_early_data: Arc<QuicServerConfig>,
}

impl QuicTls {
    /// From settings whose sessions this process keeps for `sessions` clients, without tickets; `tickets` go with the
    /// settings where they can.
    pub(super) fn new(
        mut settings: ServerConfig,
        tickets: Arc<dyn rustls::server::ProducesTickets>,
        sessions: usize,
    ) -> Result<Self, TlsError> {
        settings.alpn_protocols = vec![b"mqtt".to_vec(), b"MQTT-next".to_vec()];
        // Early data is for sessions that are forgotten as soon as they are resumed: a ticket can be shown twice.
        let mut early = settings.clone();
        early.max_early_data_size = u32::MAX;
        early.session_storage = ServerSessionMemoryCache::new(sessions);
        settings.ticketer = tickets;
        Ok(Self { without_early_data: for_quic(settings)?, with_early_data: for_quic(early)? })
    }
}

fn for_quic(settings: ServerConfig) -> Result<Arc<QuicServerConfig>, TlsError> {
    QuicServerConfig::try_from(settings).map(Arc::new).map_err(|error| TlsError::SetUp(error.to_string()))
}

impl fmt::Debug for QuicTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicTls").finish_non_exhaustive()
    }
}
