//! Version 1: a line of text.

use std::net::{IpAddr, SocketAddr};
use std::str::{self, FromStr};

use super::header::{Progress, ProxyError, ProxyHeader, Source};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line there can be, with its end.
const LONGEST: usize = 107;
/// The shortest.
const SHORTEST: usize = b"PROXY UNKNOWN\r\n".len();
const END: &[u8] = b"\r\n";

/// Reads the line at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let bytes_of_line = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(len) = bytes_of_line.windows(END.len()).position(|window| window == END) else {
        if bytes.len() >= LONGEST {
            return Err(ProxyError::Malformed("the line has no end"));
        }
        let lacks_one = bytes.ends_with(b"\r");
        let missing = END.len() - usize::from(lacks_one);
        return Ok(Progress::Lacks(missing.max(SHORTEST.saturating_sub(bytes.len()))));
    };
    let line = bytes.get(..len).and_then(|line| str::from_utf8(line).ok());
    let line = line.ok_or(ProxyError::Malformed("the line is not text"))?;
    let source = client(line)?;
    let header = ProxyHeader { source, common_name: None, server_name: None };
    Ok(Progress::Whole { header, len: len + END.len() })
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 49152 1883`: the client, the proxy, their ports.
fn client(line: &str) -> Result<Source, ProxyError> {
    let mut words = line.split(' ').skip(1);
    let address: fn(&str) -> Option<IpAddr> = match words.next() {
        Some("TCP4") => |word| word.parse().ok().map(IpAddr::V4),
        Some("TCP6") => |word| word.parse().ok().map(IpAddr::V6),
        // Whatever follows does not count.
        Some("UNKNOWN") => return Ok(Source::Untold),
        Some(_) | None => return Err(ProxyError::Malformed("expected TCP4, TCP6 or UNKNOWN")),
    };
    let [client, proxy] = [(); 2].map(|()| words.next().and_then(address));
    let [client_port, proxy_port] = [(); 2].map(|()| words.next().and_then(port));
    match (client, proxy, client_port, proxy_port, words.next()) {
        (Some(client), Some(_), Some(port), Some(_), None) => {
            Ok(Source::Client(SocketAddr::new(client.to_canonical(), port)))
        }
        _ => Err(ProxyError::Malformed("expected two addresses and two ports")),
    }
}

/// Digits only, and no zero before another digit.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain.then(|| u16::from_str(word).ok()).flatten()
}
