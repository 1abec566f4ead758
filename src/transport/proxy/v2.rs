//! Version 2: binary, with room for what a proxy knows beside the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;
use std::sync::Arc;

use super::checksum::Crc32c;
use super::header::{Progress, ProxyError, ProxyHeader, Source};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Up to the length of what follows.
const FIXED: usize = 16;
/// The longest header that is taken: addresses take 36 bytes, names a few hundred.
pub(super) const LONGEST: usize = 4_096;

/// Families of addresses, and protocols, that tell no address to us.
const UNSPECIFIED: u8 = 0x00;
const UNIX_STREAM: u8 = 0x31;

/// Types of what may follow the addresses.
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
const SSL_COMMON_NAME: u8 = 0x22;

/// Reads the header at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Progress::Lacks(FIXED - bytes.len()));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    if version_and_command >> 4 != 2 {
        return Err(ProxyError::Malformed("expected version 2"));
    }
    let rest_len = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED + rest_len;
    if len > LONGEST {
        return Err(ProxyError::TooLong(len));
    }
    let Some(rest) = rest.get(..rest_len) else {
        return Ok(Progress::Lacks(rest_len - rest.len()));
    };
    let header = match version_and_command & 0x0F {
        // Whatever else it says does not count.
        0 => ProxyHeader { source: Source::Proxy, common_name: None, server_name: None },
        // Here neither.
        1 if [UNSPECIFIED, UNIX_STREAM].contains(&family) => {
            ProxyHeader { source: Source::Untold, common_name: None, server_name: None }
        }
        1 => {
            let (client, values) = client(family, rest)?;
            read_values(client, values, bytes.get(..len).unwrap_or_default())?
        }
        _ => return Err(ProxyError::Malformed("expected the command LOCAL or PROXY")),
    };
    Ok(Progress::Whole { header, len })
}

/// The client's address, and what follows the addresses.
fn client(family: u8, rest: &[u8]) -> Result<(SocketAddr, &[u8]), ProxyError> {
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    const SHORT: ProxyError = ProxyError::Malformed("it is too short for its addresses");
    let (ip, rest) = match family {
        TCP_OVER_IPV4 => {
            let (client, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let (_, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            (IpAddr::V4(Ipv4Addr::from(*client)), rest)
        }
        TCP_OVER_IPV6 => {
            let (client, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (_, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            (IpAddr::V6(Ipv6Addr::from(*client)), rest)
        }
        _ => return Err(ProxyError::Foreign),
    };
    let (port, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let (_, values) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    Ok((SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*port)), values))
}

fn read_values(client: SocketAddr, mut values: &[u8], whole: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let mut header = ProxyHeader { source: Source::Client(client), common_name: None, server_name: None };
    while let Some((kind, value)) = next_value(&mut values)? {
        match kind {
            AUTHORITY => header.server_name = text(value),
            SSL => header.common_name = verified_name(value)?,
            CRC32C => verify(value, values.len(), whole)?,
            // There are more than we have a use for.
            _ => {}
        }
    }
    Ok(header)
}

/// Type, length, value.
fn next_value<'a>(values: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, ProxyError> {
    const SHORT: ProxyError = ProxyError::Malformed("one of its values is cut off");
    if values.is_empty() {
        return Ok(None);
    }
    let ([kind, high, low], rest) = values.split_first_chunk().ok_or(SHORT)?;
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(len).ok_or(SHORT)?;
    *values = rest;
    Ok(Some((*kind, value)))
}

/// The common name of a client that has shown a certificate, in this connection or in its session, which was verified.
fn verified_name(value: &[u8]) -> Result<Option<Arc<str>>, ProxyError> {
    const OVER_TLS: u8 = 0x01;
    const CERTIFICATE: u8 = 0x02 | 0x04;
    let Some(([flags, result @ ..], mut values)) = value.split_first_chunk::<5>() else {
        return Err(ProxyError::Malformed("what it says about TLS is cut off"));
    };
    let is_verified = flags & OVER_TLS != 0 && flags & CERTIFICATE != 0 && *result == [0; 4];
    let mut name = None;
    while let Some((kind, value)) = next_value(&mut values)? {
        if kind == SSL_COMMON_NAME && is_verified {
            name = text(value);
        }
    }
    Ok(name)
}

/// The checksum is of the whole header, in which it is counted as zero itself.
fn verify(value: &[u8], behind: usize, whole: &[u8]) -> Result<(), ProxyError> {
    const WRONG: ProxyError = ProxyError::Malformed("its checksum does not hold");
    let expected = u32::from_be_bytes(value.try_into().map_err(|_| WRONG)?);
    let (before, behind) = whole.split_at_checked(whole.len() - behind).ok_or(WRONG)?;
    let (before, _) = before.split_last_chunk::<4>().ok_or(WRONG)?;
    let sum = Crc32c::default().add(before).add(&[0; 4]).add(behind).value();
    (sum == expected).then_some(()).ok_or(WRONG)
}

/// A name that can be used as one.
fn text(value: &[u8]) -> Option<Arc<str>> {
    let is_usable = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
    str::from_utf8(value).ok().filter(is_usable).map(Arc::from)
}
