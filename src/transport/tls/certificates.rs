//! The certificates that the server shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use super::CertificateFiles;
use super::error::TlsError;
use super::pem;
use super::subject::{Subject, Timestamp};

/// Certificates and their keys, one of which is chosen by the name that a client calls the server.
#[derive(Debug)]
pub(super) struct ServerCertificates(Vec<ServerCertificate>);

#[derive(Debug)]
pub(super) struct ServerCertificate {
    pub(super) file: PathBuf,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl ServerCertificates {
    /// Reads them; the first is for clients whose name for the server is in none of them.
    pub(super) fn read(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, TlsError> {
        if files.is_empty() {
            return Err(TlsError::SetUp("there is no certificate".to_owned()));
        }
        files.iter().map(|files| ServerCertificate::read(files, provider)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ServerCertificate> {
        self.0.iter()
    }

    /// The first certificate for this name that the client can verify; where there is none for the name, of all.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&ServerCertificate> {
        let is_for_name =
            |certificate: &&ServerCertificate| name.is_some_and(|name| certificate.is_for(name));
        let can_be_verified =
            |certificate: &&ServerCertificate| certificate.key.key.choose_scheme(schemes).is_some();
        let for_name = || self.0.iter().filter(is_for_name);
        for_name()
            .find(can_be_verified)
            .or_else(|| for_name().next())
            .or_else(|| self.0.iter().find(can_be_verified))
            .or_else(|| self.0.first())
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .map(|certificate| Arc::clone(&certificate.key))
    }
}

impl ServerCertificate {
    fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let CertificateFiles { chain: file, key: key_file } = files;
        let chain = pem::certificates(file)?;
        let leaf = chain.first().ok_or_else(|| TlsError::unfit(file, "there is no certificate in it"))?;
        let subject = Subject::parse(&leaf.value).map_err(|error| {
            TlsError::invalid(file, leaf.line, format!("the certificate cannot be decoded: {error}"))
        })?;
        let pem_key = pem::private_key(key_file)?;
        let key = provider.key_provider.load_private_key(pem_key.value).map_err(|error| {
            let expected =
                "expected one of RSA (2048 bits or more), ECDSA (P-256, P-384 or P-521) or Ed25519";
            TlsError::invalid(
                key_file,
                pem_key.line,
                format!("the private key cannot be used, {expected}: {error}"),
            )
        })?;
        let key = CertifiedKey::new(chain.into_iter().map(|item| item.value).collect(), key);
        match key.keys_match() {
            // That it cannot be told says nothing against it.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(mismatch(file, key_file, pem_key.line)),
            Err(error) => {
                return Err(TlsError::unfit(file, format!("the certificate cannot be used: {error}")));
            }
        }
        Ok(Self {
            file: file.clone(),
            not_before: subject.not_before(),
            not_after: subject.not_after(),
            names: subject.dns_names(),
            key: Arc::new(key),
        })
    }

    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| match pattern.strip_prefix("*.") {
            // A wildcard stands for one label (RFC 6125, 6.4.3).
            Some(parent) => name
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
            None => pattern.eq_ignore_ascii_case(name),
        })
    }
}

fn mismatch(file: &Path, key_file: &Path, line: usize) -> TlsError {
    let message = format!(
        "the private key is not that of the first certificate in {}, expected the key for which it was issued",
        file.display()
    );
    TlsError::invalid(key_file, line, message)
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::super::tests::{certificate, file};
    use super::*;

    fn read(names: &[&str]) -> ServerCertificates {
        let files: Vec<_> = names.iter().map(|name| certificate(name)).collect();
        ServerCertificates::read(&files, &default_provider()).unwrap()
    }

    #[test]
    fn the_name_chooses_the_certificate() {
        let certificates = read(&["server", "server-sni"]);
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        for (name, expected) in [
            (None, "server.crt"),
            (Some("localhost"), "server.crt"),
            (Some("elsewhere.example"), "server.crt"),
            (Some("broker.example"), "server-sni.crt"),
            (Some("Broker.Example"), "server-sni.crt"),
            (Some("a.wild.example"), "server-sni.crt"),
            (Some("a.b.wild.example"), "server.crt"),
            (Some("wild.example"), "server.crt"),
            (Some(".wild.example"), "server.crt"),
        ] {
            assert_eq!(certificates.choose(name, &schemes).unwrap().file, file(expected), "{name:?}");
        }
    }

    #[test]
    fn of_several_for_a_name_one_is_chosen_that_the_client_can_verify() {
        let certificates = read(&["server", "server-rsa", "server-ed25519"]);
        for (scheme, expected) in [
            (SignatureScheme::ECDSA_NISTP256_SHA256, "server.crt"),
            (SignatureScheme::RSA_PSS_SHA256, "server-rsa.crt"),
            (SignatureScheme::ED25519, "server-ed25519.crt"),
            (SignatureScheme::ML_DSA_44, "server.crt"),
        ] {
            let chosen = certificates.choose(Some("localhost"), &[scheme]).unwrap();
            assert_eq!(chosen.file, file(expected), "{scheme:?}");
        }
    }

    #[test]
    fn keys_are_taken_in_all_forms() {
        for (chain, key) in [
            ("server", "server"),
            ("server", "server-sec1"),
            ("server-rsa", "server-rsa"),
            ("server-rsa", "server-rsa-pkcs1"),
            ("server-ed25519", "server-ed25519"),
            ("server-chain", "server-chain"),
        ] {
            let files =
                CertificateFiles { chain: file(&format!("{chain}.crt")), key: file(&format!("{key}.key")) };
            let read = ServerCertificates::read(&[files], &default_provider());
            assert!(read.is_ok(), "{chain} {key}: {read:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_place() {
        for (chain, key, parts) in [
            (
                "server.crt",
                "server-renewed.key",
                ["server-renewed.key:1: ", "not that of the first certificate"],
            ),
            ("server.crt", "server-encrypted.key", ["server-encrypted.key:1: ", "is encrypted"]),
            ("server-rsa.crt", "server-rsa-encrypted.key", ["server-rsa-encrypted.key:1: ", "is encrypted"]),
            ("server.crt", "server.crt", ["server.crt: ", "there is no private key in it"]),
            ("server.key", "server.key", ["server.key: ", "there is no certificate in it"]),
            ("absent.crt", "server.key", ["absent.crt: ", "cannot be read"]),
            ("server.crt", "absent.key", ["absent.key: ", "cannot be read"]),
        ] {
            let files = CertificateFiles { chain: file(chain), key: file(key) };
            let error = ServerCertificates::read(&[files], &default_provider()).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
        }
    }
}
