//! What certificates say about their owners.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{self, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// Which part of a client's certificate is its user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentitySource {
    /// The common name of the subject. A subject with several has none.
    #[default]
    CommonName,
    /// The first DNS name of the subject's alternative names.
    DnsName,
    /// The first URI of the subject's alternative names.
    Uri,
    /// The whole subject, as RFC 4514 writes it: `CN=device1,O=Example`.
    Subject,
}

/// A moment of the calendar, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timestamp(u64);

impl Timestamp {
    const DAY: u64 = 86_400;

    pub(super) fn now() -> Self {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(Self(0), Self::from)
    }

    /// Whole days from this moment to `later`; negative if that lies before.
    pub(super) fn days_until(self, later: Self) -> i64 {
        let days = i64::try_from(self.0.abs_diff(later.0) / Self::DAY).unwrap_or(i64::MAX);
        if later < self { -days } else { days }
    }
}

impl From<Duration> for Timestamp {
    fn from(since_1970: Duration) -> Self {
        Self(since_1970.as_secs())
    }
}

/// Where a moment lies in the life of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// Behind its end.
    Past,
    /// Before its beginning.
    Future,
    /// So near its end that it should be renewed.
    Ending { days_left: i64 },
    /// Far from its end.
    Lasting { days_left: i64 },
}

impl Validity {
    pub(super) fn at(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Self {
        const SOON: i64 = 30;
        match now.days_until(not_after) {
            _ if not_after < now => Self::Past,
            _ if not_before > now => Self::Future,
            days_left if days_left < SOON => Self::Ending { days_left },
            days_left => Self::Lasting { days_left },
        }
    }
}

/// A certificate, taken apart.
pub(super) struct Subject(Certificate);

impl Subject {
    pub(super) fn parse(der: &[u8]) -> Result<Self, der::Error> {
        Certificate::from_der(der).map(Self)
    }

    /// The first moment at which it is valid.
    pub(super) fn not_before(&self) -> Timestamp {
        self.0.tbs_certificate().validity().not_before.to_unix_duration().into()
    }

    /// The last moment at which it is valid.
    pub(super) fn not_after(&self) -> Timestamp {
        self.0.tbs_certificate().validity().not_after.to_unix_duration().into()
    }

    /// All DNS names.
    pub(super) fn dns_names(&self) -> Vec<String> {
        let dns = |name: &GeneralName| {
            if let GeneralName::DnsName(name) = name { Some(name.to_string()) } else { None }
        };
        self.alternative_names(dns)
    }

    /// All URIs.
    fn uris(&self) -> Vec<String> {
        let uri = |name: &GeneralName| {
            if let GeneralName::UniformResourceIdentifier(uri) = name { Some(uri.to_string()) } else { None }
        };
        self.alternative_names(uri)
    }

    /// Who it says its owner is; `None` if it does not say so in this part, or in a way that is not clear.
    pub(super) fn identity(&self, source: IdentitySource) -> Option<Arc<str>> {
        let name = match source {
            IdentitySource::CommonName => self.common_name(),
            IdentitySource::DnsName => self.dns_names().into_iter().next(),
            IdentitySource::Uri => self.uris().into_iter().next(),
            IdentitySource::Subject => Some(self.0.tbs_certificate().subject().to_string()),
        };
        // Names are compared with those of the auth file: one with a control character is not a name.
        name.filter(|name| !name.is_empty() && !name.contains(char::is_control)).map(Arc::from)
    }

    fn common_name(&self) -> Option<String> {
        const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
        let mut names =
            self.0.tbs_certificate().subject().iter().filter(|attribute| attribute.oid == COMMON_NAME);
        let (Some(name), None) = (names.next(), names.next()) else { return None };
        DirectoryString::try_from(&name.value).ok().map(|name| name.value().into_owned())
    }

    fn alternative_names(&self, select: impl Fn(&GeneralName) -> Option<String>) -> Vec<String> {
        match self.0.tbs_certificate().get_extension::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names.iter().filter_map(select).collect(),
            Ok(None) | Err(_) => Vec::new(),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.0.tbs_certificate().subject())
    }
}

/// When the next issue of a revocation list should be there, if it says so.
pub(super) fn next_update(crl: &[u8]) -> Result<Option<Timestamp>, der::Error> {
    let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(crl)?;
    Ok(list.tbs_cert_list.next_update.map(|time| time.to_unix_duration().into()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::pem;
    use super::*;

    fn subject(name: &str) -> Subject {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name);
        let certificates = pem::certificates(&path).unwrap();
        Subject::parse(&certificates[0].value).unwrap()
    }

    #[test]
    fn each_part_of_a_certificate_can_be_the_identity() {
        use IdentitySource::{CommonName, DnsName, Subject, Uri};
        for (file, source, identity) in [
            ("client.crt", CommonName, Some("device1")),
            ("client.crt", DnsName, Some("device1.example")),
            ("client.crt", Uri, Some("urn:example:device1")),
            ("client.crt", Subject, Some("CN=device1,O=Example\\, Inc.")),
            ("client-other.crt", CommonName, Some("device2")),
            ("client-other.crt", DnsName, None),
            ("client-other.crt", Uri, None),
            ("client-other.crt", Subject, Some("CN=device2")),
            ("client-nameless.crt", CommonName, None),
            ("client-nameless.crt", Subject, Some("O=Example")),
        ] {
            assert_eq!(subject(file).identity(source).as_deref(), identity, "{file} {source:?}");
        }
    }

    #[test]
    fn certificates_tell_their_names_and_dates() {
        let subject = subject("server-sni.crt");
        assert_eq!(subject.dns_names(), ["broker.example", "*.wild.example"]);
        // 2020-01-01 and 2120-01-01, both at midnight UTC.
        assert_eq!(subject.not_before(), Timestamp(1_577_836_800));
        assert_eq!(subject.not_after(), Timestamp(4_733_510_400));
    }

    #[test]
    fn days_are_counted_in_both_directions() {
        let day = |days: u64| Timestamp(days * Timestamp::DAY);
        assert_eq!(day(10).days_until(day(40)), 30);
        assert_eq!(day(10).days_until(Timestamp(day(11).0 - 1)), 0);
        assert_eq!(day(10).days_until(day(9)), -1);
    }

    #[test]
    fn certificates_are_warned_about_before_and_after_they_hold_and_for_their_last_30_days() {
        let day = |days: u64| Timestamp(days * Timestamp::DAY);
        let at = |now: u64| Validity::at(day(now), day(100), day(200));
        assert_eq!(at(99), Validity::Future);
        assert_eq!(at(100), Validity::Lasting { days_left: 100 });
        assert_eq!(at(170), Validity::Lasting { days_left: 30 });
        assert_eq!(at(171), Validity::Ending { days_left: 29 });
        assert_eq!(at(200), Validity::Ending { days_left: 0 });
        assert_eq!(at(201), Validity::Past);
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        assert!(Subject::parse(b"").is_err());
        assert!(Subject::parse(&[0x30, 0x80, 0, 0]).is_err());
        assert!(next_update(b"\x30\x03").is_err());
    }
}
