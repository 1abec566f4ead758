//! Whose certificates are taken.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tracing::warn;

use super::error::TlsError;
use super::pem;
use super::subject::{Timestamp, next_update};
use super::{ClientCertificate, ClientSettings};

/// What verifies the certificates of clients.
pub(super) fn verifier(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder = match settings.certificate {
        ClientCertificate::Off => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificate::Optional => builder(settings, provider)?.allow_unauthenticated(),
        ClientCertificate::Required => builder(settings, provider)?,
    };
    builder.build().map_err(|error| TlsError::SetUp(format!("--client-ca, --client-crl: {error}")))
}

fn builder(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::server::ClientCertVerifierBuilder, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in &settings.authorities {
        for authority in pem::certificates(path)? {
            roots.add(authority.value).map_err(|error| {
                TlsError::invalid(path, authority.line, format!("not a certificate of an authority: {error}"))
            })?;
        }
    }
    let mut lists = Vec::new();
    for path in &settings.revocation_lists {
        for list in pem::revocation_lists(path)? {
            let next = next_update(&list.value).map_err(|error| {
                TlsError::invalid(path, list.line, format!("not a revocation list: {error}"))
            })?;
            if next.is_some_and(|next| next < Timestamp::now()) {
                warn!(file = %path.display(), line = list.line, "a newer revocation list should be there by now");
            }
            lists.push(list.value);
        }
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(lists)
        // Those of an authority without a list are taken: not all have one.
        .allow_unknown_revocation_status())
}
