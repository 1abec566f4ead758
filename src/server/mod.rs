//! The broker as a service: listeners, signals, start and stop.

use std::path::PathBuf;
use std::time::Duration;

use crate::broker::BrokerConfig;
use crate::connection::ConnectionLimits;
use crate::transport::ListenerConfig;

/// All that can be set about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// The broker's own settings.
    pub broker: BrokerConfig,
    /// The bounds on each connection.
    pub connection: ConnectionLimits,
    /// How many connections there may be.
    pub accept: AcceptLimits,
    /// Where to write the addresses that were bound, once all listeners stand.
    pub ports_file: Option<PathBuf>,
    /// How long connections are given to end when the server is asked to stop.
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            broker: BrokerConfig::default(),
            connection: ConnectionLimits::default(),
            accept: AcceptLimits::default(),
            ports_file: None,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// How many connections there may be at a time. Those beyond are closed without a word: which version of MQTT they
/// speak is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptLimits {
    /// In all.
    pub connections: usize,
    /// From one IPv4 address, or from one IPv6 network of 64 bits. Connections over Unix sockets count only in all.
    pub connections_per_address: usize,
}

impl Default for AcceptLimits {
    /// No address can take more than half of what there is.
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 50_000,
        }
    }
}

/// Why a server ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
#[error("the server cannot run")]
pub struct ServeError;

/// Serves until asked to stop.
#[expect(clippy::unused_async, reason = "it stands in for the server, which waits")]
pub async fn run(
    _config: ServerConfig,
    _auth: std::sync::Arc<crate::auth::Authenticator>,
) -> Result<(), ServeError> {
    Ok(())
}
