//! What is asked of those who want to speak WebSocket.

use std::fmt;
use std::str::FromStr;

/// Which requests are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// The paths at which there is MQTT.
    pub paths: Vec<RequestPath>,
    /// The pages whose scripts may connect, by their origins; empty: all. Clients that are no browsers name no origin,
    /// or any they like: they are not kept out.
    pub origins: Vec<Origin>,
}

impl Default for WebSocketOptions {
    /// `/mqtt`, as most clients have it, and `/`; all origins.
    fn default() -> Self {
        Self { paths: ["/mqtt", "/"].map(|path| RequestPath(path.to_owned())).to_vec(), origins: Vec::new() }
    }
}

/// The path of a request, as it is written in one: `/mqtt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath(String);

impl RequestPath {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        if text.starts_with('/') && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "expected a path such as /mqtt, beginning with a slash, without ? and #, other characters encoded \
                 as in a URL",
            )
        }
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The origin of a page, as browsers write it (RFC 6454): scheme, host, and port where it is not the scheme's own.
/// Or `null`, which they write for pages from files, among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Whether a request whose Origin says so comes from here.
    pub(super) fn is(&self, origin: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(origin)
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_origin = text == "null"
            || text.split_once("://").is_some_and(|(scheme, host)| {
                let is_plain =
                    |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@');
                !scheme.is_empty()
                    && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                    && !host.is_empty()
                    && host.bytes().all(is_plain)
            });
        if is_origin {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected an origin such as https://example.org or http://localhost:8080, without a path")
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_in_a_request() {
        for path in ["/", "/mqtt", "/a/b.c", "/a%20b"] {
            assert_eq!(path.parse::<RequestPath>().unwrap().as_str(), path);
        }
        for path in ["", "mqtt", "/a b", "/a?b", "/a#b", "/ä", "/a\n"] {
            assert!(path.parse::<RequestPath>().is_err(), "{path}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        for origin in ["https://example.org", "http://localhost:8080", "http://[::1]:80", "null"] {
            assert!(origin.parse::<Origin>().unwrap().is(origin.to_ascii_uppercase().as_bytes()), "{origin}");
        }
        for origin in ["", "example.org", "https://example.org/", "https://", "://x", "https://a b", "*"] {
            assert!(origin.parse::<Origin>().is_err(), "{origin}");
        }
    }
}
