use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::transport::Transport;

/// A file of the test certificates.
pub(super) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name)
}

/// A test certificate with its key.
pub(super) fn certificate(name: &str) -> CertificateFiles {
    CertificateFiles { chain: file(&format!("{name}.crt")), key: file(&format!("{name}.key")) }
}

fn settings(server: &str, clients: ClientSettings) -> TlsSettings {
    TlsSettings { certificates: vec![certificate(server)], clients }
}

fn clients(certificate: ClientCertificate) -> ClientSettings {
    ClientSettings {
        certificate,
        authorities: vec![file("ca.crt")],
        revocation_lists: vec![file("ca.crl")],
        identity: IdentitySource::CommonName,
    }
}

fn open(settings: TlsSettings) -> Arc<Tls> {
    Arc::new(Tls::open(settings).unwrap())
}

/// A client that trusts the test authority, with a certificate or without.
fn client(own: Option<&str>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in pem::certificates(&file("ca.crt")).unwrap() {
        roots.add(authority.value).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let CertificateFiles { chain, key } = certificate(name);
            let chain = pem::certificates(&chain).unwrap().into_iter().map(|item| item.value).collect();
            builder.with_client_auth_cert(chain, pem::private_key(&key).unwrap().value).unwrap()
        }
    }
}

const ALL: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

type Opened = (TlsStream<DuplexStream>, Peer);

/// Connects both ends; a byte is exchanged, so that each knows what the other thinks of it.
async fn connect(
    tls: &Arc<Tls>,
    config: &Arc<ClientConfig>,
) -> (Result<Opened, HandshakeError>, io::Result<client::TlsStream<DuplexStream>>) {
    let (theirs, ours) = tokio::io::duplex(1 << 14);
    let server = async {
        let (mut stream, peer) =
            tls.layer(Application::Mqtt).perform(ours, Peer::new(Transport::Tls, None)).await?;
        stream.write_all(b"x").await.map_err(HandshakeError::Tls)?;
        stream.flush().await.map_err(HandshakeError::Tls)?;
        Ok((stream, peer))
    };
    let client = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, theirs).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(server, client)
}

async fn identity(tls: &Arc<Tls>, own: Option<&str>) -> Result<Option<String>, String> {
    let (server, client) = connect(tls, &Arc::new(client(own, ALL))).await;
    assert_eq!(server.is_ok(), client.is_ok());
    let (_, peer) = server.map_err(|error| error.to_string())?;
    assert_eq!(peer.server_name.as_deref(), Some("localhost"));
    Ok(peer.certificate.as_deref().map(str::to_owned))
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_with_and_without_alpn() {
    let tls = open(settings("server", ClientSettings::default()));
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (offered, agreed) in
            [(vec![], None), (vec![b"x".to_vec(), b"mqtt".to_vec()], Some(b"mqtt".as_slice()))]
        {
            let mut config = client(None, &[version]);
            config.alpn_protocols = offered;
            let (server, client) = connect(&tls, &Arc::new(config)).await;
            assert!(server.is_ok());
            let client = client.unwrap();
            assert_eq!(client.get_ref().1.protocol_version(), Some(expected));
            assert_eq!(client.get_ref().1.alpn_protocol(), agreed);
        }
    }
}

#[tokio::test]
async fn a_client_that_speaks_only_something_else_is_refused() {
    let tls = open(settings("server", ClientSettings::default()));
    let mut config = client(None, ALL);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (server, client) = connect(&tls, &Arc::new(config)).await;
    assert!(server.is_err());
    assert!(client.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn certificates_of_clients_are_verified() {
    use ClientCertificate::{Off, Optional, Required};
    for (policy, own, expected) in [
        (Off, None, Some(None)),
        (Off, Some("client"), Some(None)),
        (Optional, None, Some(None)),
        (Optional, Some("client"), Some(Some("device1"))),
        (Optional, Some("client-nameless"), Some(None)),
        (Optional, Some("client-unknown"), None),
        (Required, None, None),
        (Required, Some("client"), Some(Some("device1"))),
        (Required, Some("client-rsa"), Some(Some("device1"))),
        (Required, Some("client-other"), Some(Some("device2"))),
        (Required, Some("client-chain"), Some(Some("device3"))),
        (Required, Some("client-unknown"), None),
        (Required, Some("client-expired"), None),
        (Required, Some("client-revoked"), None),
        (Required, Some("server"), None),
    ] {
        let tls = open(settings("server", clients(policy)));
        let found = identity(&tls, own).await;
        assert_eq!(
            found.clone().ok(),
            expected.map(|name| name.map(str::to_owned)),
            "{policy:?} {own:?} {found:?}"
        );
    }
}

#[tokio::test]
async fn sessions_are_resumed_with_their_identity_until_a_reload() {
    let tls = open(settings("server", clients(ClientCertificate::Required)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client(Some("client"), &[version]));
        let expect = async |kind: HandshakeKind| {
            let (server, client) = connect(&tls, &config).await;
            let (server, client) = (server.unwrap(), client.unwrap());
            assert_eq!(client.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            assert_eq!(server.1.certificate.as_deref(), Some("device1"));
        };
        expect(HandshakeKind::Full).await;
        expect(HandshakeKind::Resumed).await;
        tls.install(tls.read_again().unwrap());
        expect(HandshakeKind::Full).await;
    }
}

#[test]
fn days_are_those_of_the_certificate_that_expires_first() {
    let one = open(settings("server", ClientSettings::default()));
    assert!(one.days_left() > 30_000);
    let mut both = settings("server", ClientSettings::default());
    both.certificates.push(certificate("server-expired"));
    assert_eq!(open(both).days_left(), 0);
}

#[test]
fn authorities_and_lists_that_are_none_are_named_with_their_place() {
    let with = |authority: &str, list: &str| {
        let clients = ClientSettings {
            authorities: vec![file(authority)],
            revocation_lists: vec![file(list)],
            ..clients(ClientCertificate::Required)
        };
        Tls::open(settings("server", clients)).unwrap_err().to_string()
    };
    for (error, parts) in [
        (with("server.key", "ca.crl"), ["server.key: ", "there is no certificate in it"]),
        (with("ca.crt", "ca.crt"), ["ca.crt: ", "there is no revocation list in it"]),
        (with("absent.crt", "ca.crl"), ["absent.crt: ", "cannot be read"]),
    ] {
        for part in parts {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
    }
}
