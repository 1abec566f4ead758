//! QUIC for the test client, with blocking calls.

use std::io::{Error, ErrorKind, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::client::{Client, Layered};
use super::connect::connect;
use super::server::{Broker, PATIENCE, Setup};
use super::tls::{Tls, server_certificate};

/// Drives the connections of all tests of a process.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

/// A broker with QUIC, beside the TCP listener that all have.
pub(crate) fn setup_with_quic(options: &[&str]) -> Setup {
    let [certificate, key] = server_certificate("server");
    Setup::new().options(&["--quic-port=0", &certificate, &key]).options(options)
}

/// The same, started: QUIC is at the second of its addresses.
pub(crate) fn start_with_quic(options: &[&str]) -> Broker {
    setup_with_quic(options).start()
}

/// How a client speaks QUIC. Connections that are made with the same one can resume each other's sessions.
#[derive(Debug, Clone)]
pub(crate) struct Quic {
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Quic {
    /// As an MQTT client.
    pub(crate) fn new() -> Self {
        Self::over(Tls::with(None, &[&rustls::version::TLS13], "ca.crt").offering(&["mqtt"]))
    }

    /// With this certificate of the client.
    pub(crate) fn certificate(name: &str) -> Self {
        Self::over(Tls::with(Some(name), &[&rustls::version::TLS13], "ca.crt").offering(&["mqtt"]))
    }

    /// With this TLS.
    pub(crate) fn over(tls: Tls) -> Self {
        let mut config = tls.into_config();
        config.enable_early_data = true;
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let _context = RUNTIME.enter();
        Self { endpoint: Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap(), config }
    }

    /// Lets the broker open no streams.
    pub(crate) fn without_streams() -> Self {
        let mut quic = Self::new();
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0));
        quic.config.transport_config(Arc::new(transport));
        quic
    }

    /// Has room for so many bytes on each stream that are not read.
    pub(crate) fn narrow(bytes: u32) -> Self {
        let mut quic = Self::new();
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(bytes));
        quic.config.transport_config(Arc::new(transport));
        quic
    }

    /// Opens a connection; it fails where the server, or the client, breaks the handshake off.
    pub(crate) fn open(&self, address: SocketAddr) -> Result<QuicConnection, ConnectionError> {
        let connecting = self.begin(address);
        let connection = wait(connecting).expect("the handshake takes too long")?;
        Ok(QuicConnection { connection })
    }

    /// Begins a handshake.
    pub(crate) fn begin(&self, address: SocketAddr) -> quinn::Connecting {
        let _context = RUNTIME.enter();
        self.endpoint.connect_with(self.config.clone(), address, "localhost").unwrap()
    }

    /// Opens a connection of a session that is resumed, and may send before the handshake is done. `None`: the server
    /// has not offered that. Besides the connection: what waits for the handshake, and tells whether the server takes
    /// what was sent before.
    pub(crate) fn open_early(
        &self,
        address: SocketAddr,
    ) -> Option<(QuicConnection, impl FnOnce() -> bool + use<>)> {
        let (connection, accepted) = self.begin(address).into_0rtt().ok()?;
        Some((QuicConnection { connection }, || wait(accepted).expect("the handshake takes too long")))
    }

    /// Opens a connection to the QUIC listener of a broker that was [started](start_with_quic) here, and is let in on
    /// its control stream.
    pub(crate) fn connected(&self, broker: &Broker) -> (QuicConnection, Client) {
        let connection = self.open(broker.addresses()[1]).unwrap();
        let mut control = connection.client();
        control.attach(connect());
        (connection, control)
    }

    /// Opens a connection, which must come to be, and its first stream.
    pub(crate) fn connect(&self, address: SocketAddr) -> Client {
        self.open(address).unwrap().client()
    }

    /// Is not heard of any more, and hears nothing.
    pub(crate) fn vanish(&self) {
        let _context = RUNTIME.enter();
        self.endpoint.rebind_abstract(Arc::new(Void)).unwrap();
    }

    /// Goes to another port of this machine, with all connections.
    pub(crate) fn migrate(&self) {
        self.migrate_to(Ipv4Addr::LOCALHOST);
    }

    /// Goes to another address of this machine, with all connections.
    pub(crate) fn migrate_to(&self, address: Ipv4Addr) {
        let _context = RUNTIME.enter();
        self.endpoint.rebind(UdpSocket::bind((address, 0)).unwrap()).unwrap();
    }
}

/// A socket that leads nowhere.
#[derive(Debug)]
struct Void;

impl AsyncUdpSocket for Void {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Self)
    }

    fn try_send(&self, _: &Transmit<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

impl UdpPoller for Void {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Waits as long as there is patience.
fn wait<F: Future>(future: F) -> Option<F::Output> {
    RUNTIME.block_on(async { timeout(PATIENCE, future).await.ok() })
}

/// A connection whose handshake is done.
#[derive(Debug, Clone)]
pub(crate) struct QuicConnection {
    pub(crate) connection: Connection,
}

impl QuicConnection {
    /// An MQTT client on a new bidirectional stream.
    pub(crate) fn client(&self) -> Client {
        Client::over_layers(Box::new(self.open_bi()))
    }

    /// Opens a bidirectional stream.
    pub(crate) fn open_bi(&self) -> QuicStream {
        let (send, receive) = wait(self.connection.open_bi()).expect("no stream can be opened").unwrap();
        QuicStream::new(self, Some(send), Some(receive))
    }

    /// Waits until the broker has closed the connection, and tells with which code.
    pub(crate) fn close_code(&self) -> u64 {
        match self.ended() {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("the connection ended with {other}"),
        }
    }

    /// Waits for a bidirectional stream that the broker opens.
    pub(crate) fn accept_bi(&self) -> QuicStream {
        let (send, receive) = wait(self.connection.accept_bi()).expect("no stream is opened").unwrap();
        QuicStream::new(self, Some(send), Some(receive))
    }

    /// Waits for a stream that the broker opens, on which only it sends.
    pub(crate) fn accept_uni(&self) -> QuicStream {
        let receive = wait(self.connection.accept_uni()).expect("no stream is opened").unwrap();
        QuicStream::new(self, None, Some(receive))
    }

    /// Opens a stream on which only the client sends.
    pub(crate) fn open_uni(&self) -> QuicStream {
        let send = wait(self.connection.open_uni()).expect("no stream can be opened").unwrap();
        QuicStream::new(self, Some(send), None)
    }

    /// Whether another bidirectional stream cannot be opened now.
    pub(crate) fn has_no_stream_left(&self) -> bool {
        RUNTIME
            .block_on(async { timeout(Duration::from_millis(50), self.connection.open_bi()).await.is_err() })
    }

    /// How the connection ended.
    pub(crate) fn ended(&self) -> ConnectionError {
        wait(self.connection.closed()).expect("the connection does not end")
    }

    /// The certificate that the server has shown.
    pub(crate) fn server_certificate(&self) -> Vec<u8> {
        let identity = self.connection.peer_identity().unwrap();
        identity.downcast::<Vec<CertificateDer<'static>>>().unwrap()[0].to_vec()
    }

    /// Closes the connection as soon as the broker has what the client has sent.
    pub(crate) fn finish_and_close(&self, mut client: Client) {
        client.shutdown_write();
        while self.connection.stats().frame_tx.stream < 2 {
            std::thread::yield_now();
        }
        self.close();
    }

    /// Sends a datagram.
    pub(crate) fn send_datagram(&self, bytes: &[u8]) {
        self.connection.send_datagram(bytes.to_vec().into()).unwrap();
    }

    /// Closes the connection at once.
    pub(crate) fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }

    /// What was agreed upon as the protocol.
    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        self.connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
    }
}

/// A stream of a connection, in one or both directions.
#[derive(Debug)]
pub(crate) struct QuicStream {
    connection: QuicConnection,
    pub(crate) send: Option<SendStream>,
    pub(crate) receive: Option<RecvStream>,
}

impl QuicStream {
    fn new(connection: &QuicConnection, send: Option<SendStream>, receive: Option<RecvStream>) -> Self {
        Self { connection: connection.clone(), send, receive }
    }
}

impl QuicStream {
    /// An MQTT client on this stream.
    pub(crate) fn client(self) -> Client {
        Client::over_layers(Box::new(self))
    }

    /// Sends these bytes.
    pub(crate) fn begin(mut self, bytes: &[u8]) -> Self {
        self.write_all(bytes).unwrap();
        self
    }

    /// How many of so many bytes can be sent at once.
    pub(crate) fn room_for(&mut self, bytes: usize) -> usize {
        wait(self.send.as_mut().unwrap().write(&vec![0; bytes])).expect("there is no room").unwrap()
    }

    /// Breaks the stream off.
    pub(crate) fn reset(mut self) {
        self.send.as_mut().unwrap().reset(VarInt::from_u32(0)).unwrap();
    }

    /// Waits until the broker has acknowledged all that was sent.
    pub(crate) fn wait_until_heard(&mut self) {
        // Only whole packets are answered, but all that comes on a stream is taken before what comes on one that was
        // opened later.
        let mut later = self.connection.open_bi().client();
        later.send(super::packet::publish("heard").qos(1).id(65_000));
        assert!(matches!(later.receive(), super::packet::Packet::Ack(_)));
    }

    /// Waits until the broker breaks its direction off, and tells with which code.
    pub(crate) fn reset_code(&mut self) -> u64 {
        let receive = self.receive.as_mut().unwrap();
        match wait(receive.read(&mut [0])).expect("the stream is not reset") {
            Err(ReadError::Reset(code)) => code.into_inner(),
            other => panic!("the stream is not reset: {other:?}"),
        }
    }

    /// Waits until the broker refuses the stream, and tells with which code.
    pub(crate) fn refusal(&mut self) -> u64 {
        let stopped = self.send.as_ref().unwrap().stopped();
        let code = wait(stopped).expect("the stream is not refused").unwrap();
        code.expect("the stream is finished").into_inner()
    }
}

impl Read for QuicStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let receive = self.receive.as_mut().expect("nothing comes on this stream");
        match wait(receive.read(buffer)) {
            None => Err(ErrorKind::TimedOut.into()),
            Some(Ok(count)) => Ok(count.unwrap_or(0)),
            Some(Err(ReadError::ConnectionLost(error))) => Err(Error::new(ErrorKind::ConnectionReset, error)),
            Some(Err(error)) => Err(Error::other(error)),
        }
    }
}

impl Write for QuicStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let send = self.send.as_mut().expect("nothing is sent on this stream");
        wait(send.write(bytes)).ok_or(ErrorKind::TimedOut)?.map_err(Error::other)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Layered for QuicStream {
    fn socket(&self) -> &TcpStream {
        panic!("QUIC is not spoken over TCP")
    }

    fn set_patience(&self, patience: Duration) {
        assert_eq!(patience, PATIENCE, "QUIC has one patience");
    }

    fn local_address(&self) -> SocketAddr {
        panic!("the address of a QUIC client may change")
    }

    fn shutdown_write(&mut self) {
        // It may have been stopped by the broker already.
        let _ = self.send.as_mut().map(SendStream::finish);
    }
}
