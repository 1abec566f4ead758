//! PEM files: certificates, keys and revocation lists, and the lines where they stand.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::TlsError;
use crate::files;

/// Something that was found in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item<T> {
    /// The line of its beginning, counted from 1.
    pub(super) line: usize,
    pub(super) value: T,
}

/// The certificates of a file, at least one, in their order.
pub(super) fn certificates(path: &Path) -> Result<Vec<Item<CertificateDer<'static>>>, TlsError> {
    all(path, "CERTIFICATE", "a certificate")
}

/// The revocation lists of a file, at least one. A file that holds one as it is, without PEM, is taken too: that is
/// how authorities publish them.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<Item<CertificateRevocationListDer<'static>>>, TlsError> {
    const SEQUENCE: u8 = 0x30;
    let bytes = read(path)?;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![Item { line: 1, value: bytes.into() }]);
    }
    all(path, "X509 CRL", "a revocation list")
}

/// The only private key of a file, as PKCS#8, PKCS#1 or SEC1.
pub(super) fn private_key(path: &Path) -> Result<Item<PrivateKeyDer<'static>>, TlsError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let mut keys =
        sections(&text, path)?.into_iter().filter(|section| section.label.ends_with("PRIVATE KEY"));
    let Some(section) = keys.next() else {
        return Err(TlsError::unfit(
            path,
            "there is no private key in it, expected one in PEM (\"-----BEGIN PRIVATE KEY-----\", or EC or RSA)",
        ));
    };
    if let Some(second) = keys.next() {
        return Err(TlsError::invalid(path, second.line, "a second private key, expected one"));
    }
    if section.label == "ENCRYPTED PRIVATE KEY" || section.text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::invalid(
            path,
            section.line,
            "the private key is encrypted, expected one without a passphrase (openssl pkey -in FILE -out NEW writes \
             it without)",
        ));
    }
    Ok(Item { line: section.line, value: section.decode(path)? })
}

fn all<T: PemObject>(path: &Path, label: &str, what: &str) -> Result<Vec<Item<T>>, TlsError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let sections = sections(&text, path)?;
    let items: Vec<_> = sections
        .iter()
        .filter(|section| section.label == label)
        .map(|section| Ok(Item { line: section.line, value: section.decode(path)? }))
        .collect::<Result<_, TlsError>>()?;
    if items.is_empty() {
        let message = format!("there is no {what} in it, expected one in PEM (\"-----BEGIN {label}-----\")");
        return Err(TlsError::unfit(path, message.replace("no a ", "no ")));
    }
    Ok(items)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(path)
        .map(|(_, bytes)| bytes)
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// A part of a PEM file, from its BEGIN to its END.
#[derive(Debug, PartialEq, Eq)]
struct Section<'t> {
    label: &'t str,
    line: usize,
    text: &'t str,
}

impl Section<'_> {
    fn decode<T: PemObject>(&self, path: &Path) -> Result<T, TlsError> {
        T::from_pem_slice(self.text.as_bytes()).map_err(|error| {
            let message = if matches!(error, Error::NoItemsFound) {
                format!("{:?} is of no kind that TLS can use", self.label)
            } else {
                format!("{:?} cannot be decoded: {error}", self.label)
            };
            TlsError::invalid(path, self.line, message)
        })
    }
}

/// The sections of `text`. What stands between them is comment.
fn sections<'t>(text: &'t str, path: &Path) -> Result<Vec<Section<'t>>, TlsError> {
    let mut sections = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (begin, end) = (offset, offset + line.len());
        offset = end;
        let marker = |kind: &str| {
            line.trim().strip_prefix("-----")?.strip_suffix("-----")?.strip_prefix(kind)?.strip_prefix(' ')
        };
        if let Some(label) = marker("BEGIN") {
            if let Some((label, line, _)) = open {
                return Err(unfinished(path, label, line));
            }
            open = Some((label, index + 1, begin));
        } else if let Some((label, line, begin)) = open
            && marker("END") == Some(label)
        {
            sections.push(Section { label, line, text: text.get(begin..end).unwrap_or_default() });
            open = None;
        }
    }
    match open {
        Some((label, line, _)) => Err(unfinished(path, label, line)),
        None => Ok(sections),
    }
}

fn unfinished(path: &Path, label: &str, line: usize) -> TlsError {
    TlsError::invalid(path, line, format!("{label:?} has no end, expected \"-----END {label}-----\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<(String, usize)>, String> {
        let sections = sections(text, Path::new("file")).map_err(|error| error.to_string())?;
        Ok(sections.iter().map(|section| (section.label.to_owned(), section.line)).collect())
    }

    #[test]
    fn sections_are_found_between_comments() {
        let text = "comment\r\n-----BEGIN A B-----\r\nAAAA\r\n-----END A B-----\r\n\n-----BEGIN C-----\n-----END C-----";
        assert_eq!(found(text), Ok(vec![("A B".to_owned(), 2), ("C".to_owned(), 6)]));
        assert_eq!(found(""), Ok(vec![]));
    }

    #[test]
    fn a_section_without_its_end_is_named_with_its_line() {
        let error = Err("file:2: \"A\" has no end, expected \"-----END A-----\"".to_owned());
        assert_eq!(found("\n-----BEGIN A-----\nAAAA\n"), error);
        assert_eq!(
            found("\n-----BEGIN A-----\n-----END B-----\n-----BEGIN C-----\n-----END C-----\n"),
            error
        );
    }
}
