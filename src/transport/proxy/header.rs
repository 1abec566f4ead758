//! What a header says, in either version.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{v1, v2};
use crate::transport::TooMuch;

/// What a proxy says about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Whose connection it is.
    pub source: Source,
    /// The common name in the certificate that the client has shown to the proxy, which has verified it.
    pub common_name: Option<Arc<str>>,
    /// The name by which the client called the proxy.
    pub server_name: Option<Arc<str>>,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The proxy's own: it looks whether we are well.
    Proxy,
    /// A client's.
    Client(SocketAddr),
    /// A client's, of which the proxy does not know, or does not tell, where it is.
    Untold,
}

/// How far a header has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes belong to it for certain that have not come; at least one.
    Lacks(usize),
    /// It is there.
    Whole {
        /// What it says.
        header: ProxyHeader,
        /// Its bytes; what follows is the client's.
        len: usize,
    },
}

/// Why a proxy's connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// There is no header.
    #[error("a proxy has sent no PROXY header")]
    Missing,
    /// It is not as it should be.
    #[error("the PROXY header is wrong: {0}")]
    Malformed(&'static str),
    /// It is larger than any proxy would have to make it.
    #[error("the PROXY header has {0} bytes: expected at most {max}", max = v2::LONGEST)]
    TooLong(usize),
    /// It says that there is a client which cannot be one of ours.
    #[error("the PROXY header says that the connection is none of TCP or of a Unix stream socket")]
    Foreign,
    /// The connection ended within it.
    #[error("the connection ended within the PROXY header: {0}")]
    Lost(io::ErrorKind),
    /// All connections together hold as much as they may.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// Looks for a header at the beginning of `bytes`, which may be all that has come of it, or more.
pub fn parse(bytes: &[u8]) -> Result<Progress, ProxyError> {
    if bytes.is_empty() {
        return Ok(Progress::Lacks(v1::SIGNATURE.len()));
    }
    if is_beginning_of(bytes, &v2::SIGNATURE) {
        v2::parse(bytes)
    } else if is_beginning_of(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether one of them is the beginning of the other.
fn is_beginning_of(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}
