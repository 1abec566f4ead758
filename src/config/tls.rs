//! Certificates, from what the command line says about them.

use super::arguments::TlsArguments;
use super::choices::ClientCert;
use crate::transport::tls::{CertificateFiles, ClientCertificate, ClientSettings, TlsSettings};
use crate::transport::{ListenerConfig, Transport};

/// What listeners with TLS need, or a sentence about what is wrong; `None` where no listener has TLS.
pub(super) fn tls_settings<'l>(
    arguments: &TlsArguments,
    mut listeners: impl Iterator<Item = &'l ListenerConfig>,
    notes: &mut Vec<String>,
) -> Result<Option<TlsSettings>, String> {
    let TlsArguments { server_crt, server_key, client_ca, client_crl, .. } = arguments;
    if server_crt.len() != server_key.len() {
        return Err(format!(
            "--server-crt is given {} and --server-key {}: expected one --server-key for each --server-crt, in the same \
             order",
            times(server_crt.len()),
            times(server_key.len())
        ));
    }
    let certificate = client_certificate(arguments)?;
    if !client_crl.is_empty() && client_ca.is_empty() {
        return Err("--client-crl revokes what no authority has issued: expected --client-ca".to_owned());
    }
    let is_needed = listeners.any(|listener| match listener {
        ListenerConfig::Tls { .. }
        | ListenerConfig::WebSocketTls { .. }
        | ListenerConfig::Quic { .. }
        | ListenerConfig::Inherited {
            transport: Transport::Tls | Transport::WebSocketTls | Transport::Quic,
            ..
        } => true,
        ListenerConfig::Tcp { .. }
        | ListenerConfig::WebSocket { .. }
        | ListenerConfig::Inherited { .. }
        | ListenerConfig::Unix { .. } => false,
    });
    if !is_needed {
        if !server_crt.is_empty() || !client_ca.is_empty() {
            notes.push(
                "the certificates are of no use: no listener has TLS (--tls-port, --ws-tls-port, --quic-port)"
                    .to_owned(),
            );
        }
        return Ok(None);
    }
    if server_crt.is_empty() {
        return Err(
            "--tls-port, --ws-tls-port and --quic-port need a certificate and its private key: expected --server-crt and \
             --server-key"
                .to_owned(),
        );
    }
    let certificates = server_crt
        .iter()
        .zip(server_key)
        .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() });
    Ok(Some(TlsSettings {
        certificates: certificates.collect(),
        clients: ClientSettings {
            certificate,
            authorities: client_ca.clone(),
            revocation_lists: client_crl.clone(),
            identity: arguments.client_cert_identity.into(),
        },
    }))
}

fn client_certificate(arguments: &TlsArguments) -> Result<ClientCertificate, String> {
    match (arguments.client_cert, arguments.client_ca.is_empty()) {
        (None, true) => Ok(ClientCertificate::Off),
        (None, false) => Ok(ClientCertificate::Optional),
        (Some(ClientCert::Off), false) => {
            Err("--client-ca says whose certificates are taken and --client-cert off that clients are not asked for any: \
                 expected one of them"
                .to_owned())
        }
        (Some(ClientCert::Optional | ClientCert::Required), true) => {
            Err("--client-cert needs to know whose certificates are taken: expected --client-ca".to_owned())
        }
        (Some(choice), _) => Ok(choice.into()),
    }
}

fn times(count: usize) -> String {
    match count {
        0 => "not at all".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}
