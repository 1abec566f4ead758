//! Systems on which nothing is passed on.

#![expect(clippy::unused_self, reason = "elsewhere there is something")]

use std::io;
use std::net::{TcpListener, UdpSocket};

use super::{InheritError, not_there};
use crate::transport::Transport;

/// No sockets.
#[derive(Debug, Default)]
pub struct Inherited;

impl Inherited {
    /// Takes nothing: there is nothing.
    pub fn take() -> Result<Self, InheritError> {
        Ok(Self)
    }

    /// What each of them is for.
    pub fn transports(&self) -> Vec<Transport> {
        Vec::new()
    }

    pub(in crate::transport) fn tcp(&mut self, _index: usize) -> io::Result<TcpListener> {
        Err(not_there())
    }

    pub(in crate::transport) fn udp(&mut self, _index: usize) -> io::Result<UdpSocket> {
        Err(not_there())
    }
}
