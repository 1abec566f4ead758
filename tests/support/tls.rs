//! TLS for the test client, with the certificates of the repository.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::client::{Client, Layered};
use super::server::PATIENCE;
use super::websocket::WebSocket;

/// The path of one of the certificates and keys in `certs`.
pub(crate) fn certs(name: &str) -> String {
    certs_path(name).display().to_string()
}

fn certs_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name)
}

/// The options that name a server certificate and its key.
pub(crate) fn server_certificate(name: &str) -> [String; 2] {
    ["crt", "key"].map(|kind| format!("--server-{kind}={}", certs(&format!("{name}.{kind}"))))
}

/// How a client speaks TLS. Connections that are made with the same one can resume each other's sessions.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: ClientConfig,
    shared: Option<Arc<ClientConfig>>,
    server_name: &'static str,
}

impl Tls {
    /// TLS of any version, without a certificate.
    pub(crate) fn new() -> Self {
        Self::with(None, rustls::ALL_VERSIONS, "ca.crt")
    }

    /// With this certificate of the client.
    pub(crate) fn certificate(name: &str) -> Self {
        Self::with(Some(name), rustls::ALL_VERSIONS, "ca.crt")
    }

    /// Of these versions.
    pub(crate) fn with(
        certificate: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
        authority: &str,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certs_path(authority)).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(certs_path(&format!("{name}.crt"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(certs_path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        Self { config, shared: None, server_name: "localhost" }
    }

    /// Calls the server by this name.
    pub(crate) fn server_name(mut self, name: &'static str) -> Self {
        self.server_name = name;
        self
    }

    /// Offers to speak one of these within TLS.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// The settings, for another transport than TCP.
    pub(crate) fn into_config(self) -> ClientConfig {
        self.config
    }

    /// Opens a connection; it fails where the server, or the client, breaks the handshake off.
    pub(crate) fn open(&mut self, address: SocketAddr) -> std::io::Result<TlsStream> {
        self.open_over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Opens a connection over one of TCP, on which something else may have been sent before.
    pub(crate) fn open_over(&mut self, socket: TcpStream) -> std::io::Result<TlsStream> {
        let config = Arc::clone(self.shared.get_or_insert_with(|| Arc::new(self.config.clone())));
        let name = ServerName::try_from(self.server_name).unwrap();
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut stream = TlsStream(StreamOwned::new(session, socket));
        while stream.0.conn.is_handshaking() {
            stream.0.conn.complete_io(&mut stream.0.sock)?;
        }
        Ok(stream)
    }

    /// Opens a connection that must come to be.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> Client {
        Client::over_layers(Box::new(self.open(address).unwrap()))
    }

    /// Opens a WebSocket.
    pub(crate) fn connect_websocket(&mut self, address: SocketAddr) -> Client {
        Client::over_layers(Box::new(WebSocket::over(self.open(address).unwrap()).upgrade()))
    }

    /// Opens a connection that the server must refuse, and returns the error that the client gets: with TLS 1.3 only
    /// when it reads.
    pub(crate) fn refused(&mut self, address: SocketAddr) -> String {
        let read = self.open(address).and_then(|mut stream| stream.read(&mut [0]));
        match read {
            Err(error) => error.to_string(),
            Ok(read) => panic!("the handshake should have failed; {read} bytes came"),
        }
    }
}

/// A connection over TLS.
#[derive(Debug)]
pub(crate) struct TlsStream(StreamOwned<ClientConnection, TcpStream>);

impl TlsStream {
    /// The certificate that the server has shown.
    pub(crate) fn server_certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Layered for TlsStream {
    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }
}

/// Makes this certificate of the server and its key the files `a.crt` and `a.key` in a directory.
pub(crate) fn install_certificate(directory: &Path, name: &str) {
    for kind in ["crt", "key"] {
        std::fs::copy(certs(&format!("{name}.{kind}")), directory.join(format!("a.{kind}"))).unwrap();
    }
}

/// The first certificate in a file of `certs`.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(certs_path(name)).unwrap().to_vec()
}
