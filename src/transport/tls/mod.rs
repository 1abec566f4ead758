//! TLS 1.2 and 1.3, below any stream transport.
//!
//! [`Tls`] holds what the files say, and is the layer that connections open: see [`TlsLayer`]. The files can be read
//! again while it is in use; connections go on with what they began with.

mod certificates;
mod clients;
mod error;
mod pem;
mod quic;
mod subject;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::ServerSessionMemoryCache;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

pub use error::TlsError;
pub use subject::IdentitySource;

use super::{Handshake, HandshakeError, Peer};
use certificates::ServerCertificates;
use quic::QuicTls;
use subject::{Subject, Timestamp, Validity};

/// Where certificates and keys are, and what clients must show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// The server's certificates; at least one. The first is for clients that ask for a name that none has.
    pub certificates: Vec<CertificateFiles>,
    /// What is asked of clients.
    pub clients: ClientSettings,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// A PEM file with the certificate, and behind it those of the authorities that lead to a root.
    pub chain: PathBuf,
    /// A PEM file with the private key, unencrypted: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What is asked of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Whether they show a certificate.
    pub certificate: ClientCertificate,
    /// PEM files with the authorities whose certificates are taken.
    pub authorities: Vec<PathBuf>,
    /// Files with revocation lists.
    pub revocation_lists: Vec<PathBuf>,
    /// What in a certificate is the name of a user.
    pub identity: IdentitySource,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// They are not asked for one.
    #[default]
    Off,
    /// They may; one that does not hold ends the handshake.
    Optional,
    /// They must.
    Required,
}

/// What is spoken within TLS, for clients that want to agree upon it (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// `mqtt`.
    Mqtt,
    /// `http/1.1`, for WebSocket.
    Http,
}

/// What the files say, as of when they were read last.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    state: RwLock<Arc<State>>,
}

/// What is logged about the expiry of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// All certificates.
    All,
    /// Those that somebody must renew.
    Warnings,
}

/// What holds from one reload to the next.
#[derive(Debug)]
struct State {
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    quic: QuicTls,
    certificates: Arc<ServerCertificates>,
}

/// What a reload has read, and what holds once it is [installed](Tls::install).
#[derive(Debug)]
pub struct Reloaded(State);

impl Tls {
    /// Reads the files.
    pub fn open(settings: TlsSettings) -> Result<Self, TlsError> {
        let state = State::read(&settings)?;
        Ok(Self { settings, state: RwLock::new(Arc::new(state)) })
    }

    /// Reads the files again, and changes nothing yet. Not for the threads of the runtime.
    pub fn read_again(&self) -> Result<Reloaded, TlsError> {
        State::read(&self.settings).map(Reloaded)
    }

    /// Handshakes that begin from now on go by what was read. Sessions from before are not resumed: their clients
    /// show their certificates anew.
    pub fn install(&self, Reloaded(state): Reloaded) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Days until the first of the server's certificates expires; 0 once one has.
    pub fn days_left(&self) -> u64 {
        let (now, state) = (Timestamp::now(), self.current());
        let days = state.certificates.iter().map(|certificate| now.days_until(certificate.not_after)).min();
        days.and_then(|days| u64::try_from(days).ok()).unwrap_or_default()
    }

    /// Warns once a day about certificates that expire soon. Does not end.
    pub async fn watch_expiry(&self) {
        const DAY: Duration = Duration::from_secs(86_400);
        loop {
            time::sleep(DAY).await;
            self.log_expiry(Report::Warnings);
        }
    }

    /// Logs when the server's certificates expire; warns about those that do soon.
    pub fn log_expiry(&self, report: Report) {
        let now = Timestamp::now();
        for certificate in self.current().certificates.iter() {
            let file = certificate.file.display();
            match Validity::at(now, certificate.not_before, certificate.not_after) {
                Validity::Past => {
                    warn!(%file, "the server's certificate has expired: clients will refuse it");
                }
                Validity::Future => {
                    warn!(%file, "the server's certificate is not valid yet: clients will refuse it");
                }
                Validity::Ending { days_left } => {
                    warn!(%file, days_left, "the server's certificate expires soon");
                }
                Validity::Lasting { days_left } if report == Report::All => {
                    info!(%file, days_left, "the server's certificate is valid");
                }
                Validity::Lasting { .. } => {}
            }
        }
    }

    /// The layer below what is spoken in TLS.
    pub fn layer(self: &Arc<Self>, application: Application) -> TlsLayer {
        TlsLayer { tls: Arc::clone(self), application }
    }

    /// TLS as QUIC has it within itself, for connections that begin now.
    pub(super) fn quic(&self, early_data: bool) -> Arc<QuicServerConfig> {
        let state = self.current();
        let quic = &state.quic;
        Arc::clone(if early_data { &quic.with_early_data } else { &quic.without_early_data })
    }

    fn current(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        /// Sessions that can be resumed by clients that do not keep them themselves, as a ticket.
        const SESSIONS: usize = 4_096;
        let set_up = |error: rustls::Error| TlsError::SetUp(error.to_string());
        let provider = Arc::new(default_provider());
        let certificates = Arc::new(ServerCertificates::read(&settings.certificates, &provider)?);
        let verifier = clients::verifier(&settings.clients, &provider)?;
        let resolver = Arc::clone(&certificates);
        let mut mqtt = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(set_up)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        mqtt.alpn_protocols = vec![b"mqtt".to_vec()];
        let for_quic = mqtt.clone();
        // New ones for each reading: what was verified by what held before is not resumed.
        mqtt.ticketer = Ticketer::new().map_err(set_up)?;
        mqtt.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let mut http = mqtt.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let quic = QuicTls::new(for_quic, Arc::clone(&mqtt.ticketer), SESSIONS)?;
        Ok(Self { mqtt: Arc::new(mqtt), http: Arc::new(http), quic, certificates })
    }
}

/// TLS as a layer of connections.
#[derive(Debug, Clone)]
pub struct TlsLayer {
    tls: Arc<Tls>,
    application: Application,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> for TlsLayer {
    type Stream = TlsStream<S>;

    async fn perform(self, stream: S, peer: Peer) -> Result<(TlsStream<S>, Peer), HandshakeError> {
        /// What may wait in TLS to be written, beyond what the connection itself has waiting.
        const UNSENT: usize = 16 << 10;
        let state = self.tls.current();
        let config = match self.application {
            Application::Mqtt => &state.mqtt,
            Application::Http => &state.http,
        };
        let accept = TlsAcceptor::from(Arc::clone(config))
            .accept_with(stream, |session| session.set_buffer_limit(Some(UNSENT)));
        let stream = accept.await.map_err(HandshakeError::Tls)?;
        let (_, session) = stream.get_ref();
        let certificate = match session.peer_certificates() {
            Some([certificate, ..]) => self.tls.identify(certificate).map_err(HandshakeError::Tls)?,
            Some([]) | None => None,
        };
        let server_name = session.server_name().map(Arc::from);
        Ok((stream, Peer { certificate, server_name, ..peer }))
    }
}

impl Tls {
    /// Who the owner of a verified certificate is.
    pub(super) fn identify(&self, certificate: &[u8]) -> io::Result<Option<Arc<str>>> {
        let subject = Subject::parse(certificate).map_err(io::Error::other)?;
        // In a session that is resumed nobody has looked at it since the first handshake.
        if subject.not_after() < Timestamp::now() {
            return Err(io::Error::other("the certificate of the session has expired"));
        }
        Ok(subject.identity(self.settings.clients.identity))
    }
}

#[cfg(test)]
mod tests;
