//! MQTT over QUIC: on a connection over UDP that brings TLS 1.3 with it.
//!
//! The first bidirectional stream that a client opens is its control stream: it carries CONNECT and, for most clients,
//! all the rest. Clients may send packets on more streams and in datagrams: see `docs/decisions`. QUIC acknowledges, encrypts and closes
//! by itself, in the process: what the system does for TCP has to be waited for here before a connection is let go.

mod delivery;
mod flow;
mod flows;
pub mod header;
mod stream;
mod subscriptions;
mod walk;
mod whereabouts;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, TokioRuntime, TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};

pub use delivery::QuicDelivery;
use flows::FlowLimits;
use header::{FlowError, FlowKind};
pub use stream::QuicStream;
use stream::close_code;

use super::tls::Tls;
use super::{Handshake, HandshakeError, Peer, SocketOptions, UnfinishedPackets};

/// How QUIC is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicSettings {
    /// After how long a connection of which nothing is heard has ended. A client that is there is heard without its
    /// doing: it is asked for a sign of life three times in this time.
    pub idle_timeout: Duration,
    /// Whether clients that come again may send with their first packet (0-RTT). It is read only when the handshake
    /// is done: what somebody else has recorded and sends once more is never read.
    pub early_data: bool,
    /// How many streams of each direction a client may have open beside its control stream.
    pub data_streams: u16,
    /// How long a packet on such a stream may take without getting on, and a client without taking anything of too much
    /// that waits for it on a stream.
    pub stream_timeout: Duration,
    /// How many bytes may wait on all such streams of a connection for the rest of their packets, and so how large a
    /// packet may be there.
    pub read_budget: usize,
    /// On which streams messages go to clients.
    pub delivery: QuicDelivery,
    /// Whether messages to subscriptions that were made on a data stream go there. Topic aliases must not be assigned
    /// then: they would be overtaken.
    pub follow_subscriptions: bool,
}

impl Default for QuicSettings {
    fn default() -> Self {
        /// What MQTT can say at most, as on other transports.
        const LARGEST_PACKET: usize = 268_435_460;
        Self {
            idle_timeout: Duration::from_secs(60),
            early_data: false,
            data_streams: 100,
            stream_timeout: Duration::from_secs(30),
            read_budget: LARGEST_PACKET,
            delivery: QuicDelivery::ControlOnly,
            follow_subscriptions: true,
        }
    }
}

/// A UDP socket on which QUIC connections are taken.
#[derive(Debug)]
pub struct QuicListener {
    endpoint: Endpoint,
    layer: QuicLayer,
}

impl QuicListener {
    /// Begins to listen. To be called within the runtime.
    pub(super) fn bind(
        address: SocketAddr,
        socket: &SocketOptions,
        settings: &QuicSettings,
        tls: &Arc<Tls>,
        unfinished: &Arc<UnfinishedPackets>,
    ) -> io::Result<Self> {
        Self::adopt(bind(address, socket)?.into(), settings, tls, unfinished)
    }

    /// Listens on a socket that is bound. To be called within the runtime.
    pub(super) fn adopt(
        socket: UdpSocket,
        settings: &QuicSettings,
        tls: &Arc<Tls>,
        unfinished: &Arc<UnfinishedPackets>,
    ) -> io::Result<Self> {
        /// What may have come from a client before its handshake begins, in bytes, and from all of them.
        const EARLY: (u64, u64) = (64 << 10, 64 << 20);
        let mut config = quinn::ServerConfig::with_crypto(tls.quic(settings.early_data));
        config
            .transport_config(Arc::new(transport(settings)?))
            .incoming_buffer_size(EARLY.0)
            .incoming_buffer_size_total(EARLY.1);
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(config.clone()), socket, Arc::new(TokioRuntime))?;
        let layer = QuicLayer {
            tls: Arc::clone(tls),
            config: Arc::new(config),
            early_data: settings.early_data,
            flow_limits: Arc::new(FlowLimits {
                partial: settings.read_budget,
                stall: settings.stream_timeout,
                delivery: settings.delivery,
                follow_subscriptions: settings.follow_subscriptions,
                unfinished: Arc::clone(unfinished),
            }),
        };
        Ok(Self { endpoint, layer })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next connection. Nothing is lost when the future is dropped.
    pub(super) async fn accept(&self) -> io::Result<(Incoming, QuicLayer)> {
        match self.endpoint.accept().await {
            Some(incoming) => Ok((incoming, self.layer.clone())),
            None => Err(io::Error::other("the UDP socket has failed")),
        }
    }

    /// Complete when all its connections have ended and the other ends have been told.
    pub(super) fn idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let endpoint = self.endpoint.clone();
        async move { endpoint.wait_idle().await }
    }
}

impl Drop for QuicListener {
    /// The socket stays open for the connections there are. Who comes from now on is not waited upon, but refused.
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

/// Binds the one socket of all connections of a listener.
fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    /// Room for the first packets of a thousand clients that come at once, where nothing else is asked for. The system
    /// may give less.
    const BUFFER: usize = 4 << 20;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // So that the same port can be bound for IPv4 as well, by itself.
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_send_buffer_size(options.send_buffer.unwrap_or(BUFFER))?;
    socket.set_recv_buffer_size(options.receive_buffer.unwrap_or(BUFFER))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What holds for each connection.
fn transport(settings: &QuicSettings) -> io::Result<TransportConfig> {
    /// What may be under way to us on a stream.
    const TO_US: u32 = 256 << 10;
    /// What may be under way to us on all streams of a connection whose client has not been let in, and that is not
    /// read, as only CONNECT is.
    const BEFORE_CONNECTED: u32 = 64 << 10;
    /// What may be under way from us on a connection: all of it is kept until it is acknowledged.
    const FROM_US: u64 = 1 << 20;
    /// Datagrams that may wait to be read; the oldest give way.
    const DATAGRAMS: usize = 64 << 10;
    const SIGNS_OF_LIFE: u32 = 3;
    let idle_timeout = IdleTimeout::try_from(settings.idle_timeout).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle_timeout))
        .keep_alive_interval(Some(settings.idle_timeout / SIGNS_OF_LIFE))
        .max_concurrent_bidi_streams(VarInt::from_u32(1 + u32::from(settings.data_streams)))
        .max_concurrent_uni_streams(VarInt::from(settings.data_streams))
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .stream_receive_window(VarInt::from_u32(TO_US))
        .receive_window(VarInt::from_u32(BEFORE_CONNECTED))
        .send_window(FROM_US);
    Ok(transport)
}

/// Asks a client to come again and show by that that it is where it says it is. Gives it back where it has shown that
/// already.
pub(super) fn ask_for_address(incoming: Box<Incoming>) -> Option<Box<Incoming>> {
    // What cannot be asked has been asked before.
    incoming.retry().err().map(quinn::RetryError::into_incoming).map(Box::new)
}

/// The way from the first packet to the first bidirectional stream.
#[derive(Debug, Clone)]
pub struct QuicLayer {
    tls: Arc<Tls>,
    /// All but TLS, which is read again now and then.
    config: Arc<quinn::ServerConfig>,
    early_data: bool,
    flow_limits: Arc<FlowLimits>,
}

impl Handshake<Box<Incoming>> for QuicLayer {
    type Stream = QuicStream;

    async fn perform(
        self,
        incoming: Box<Incoming>,
        mut peer: Peer,
    ) -> Result<(QuicStream, Peer), HandshakeError> {
        let failed = |error: quinn::ConnectionError| HandshakeError::Quic(error.into());
        let mut config = quinn::ServerConfig::clone(&self.config);
        config.crypto = self.tls.quic(self.early_data);
        let connecting = incoming.accept_with(Arc::new(config)).map_err(failed)?;
        // Whether or not something came with the first packet: nothing of it is read before the client has shown that
        // it is there, which who only repeats what another has sent cannot.
        let connection = connecting.await.map_err(failed)?;
        if let Err(error) = self.identify(&connection, &mut peer) {
            connection.close(close_code::TLS, error.to_string().as_bytes());
            return Err(HandshakeError::Quic(error));
        }
        let (send, mut receive) = connection.accept_bi().await.map_err(failed)?;
        let first = begin(&mut receive).await.map_err(|error| {
            connection.close(close_code::PROTOCOL, error.to_string().as_bytes());
            HandshakeError::Quic(error)
        })?;
        let stream = QuicStream::new(connection, (send, receive), first, self.flow_limits);
        Ok((stream, peer))
    }
}

/// Reads what the control stream begins with: the header of one, which can be left out, or the first byte of MQTT.
async fn begin(receive: &mut RecvStream) -> io::Result<Option<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut next = [0];
        if receive.read(&mut next).await? != Some(1) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&next);
        match header::read(&bytes).map_err(io::Error::other)? {
            None => {}
            Some((None, _)) => return Ok(bytes.pop()),
            Some((Some(header), _)) => {
                return match header.kind {
                    FlowKind::Control => Ok(None),
                    FlowKind::ClientData { .. } => Err(io::Error::other(FlowError::WrongKind)),
                };
            }
        }
    }
}

impl QuicLayer {
    /// Adds what the handshake says about the other end.
    fn identify(&self, connection: &quinn::Connection, peer: &mut Peer) -> io::Result<()> {
        let identity = connection.peer_identity();
        let certificates = identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'_>>>().ok());
        if let Some([certificate, ..]) = certificates.as_deref().map(Vec::as_slice) {
            peer.certificate = self.tls.identify(certificate)?;
        }
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        peer.server_name = data.and_then(|data| data.server_name).map(Arc::from);
        Ok(())
    }
}
