//! A connection that may break at any moment, and with which nobody ever waits.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::{Encode, Packet, Version, split};

/// A connection of one client.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    unsent: Vec<u8>,
    is_broken: bool,
}

impl Link {
    /// Connects; `None` if the broker is not there.
    pub(crate) fn open(address: SocketAddr, version: Version) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, version, received: Vec::new(), unsent: Vec::new(), is_broken: false })
    }

    /// Whether no more can come.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Sends a packet, now or when there is room for it.
    pub(crate) fn send(&mut self, packet: impl Encode) {
        self.unsent.extend(packet.frame(self.version).bytes());
        self.flush();
    }

    /// The next packet, if it is there. What was cut off by the end of the connection never comes.
    pub(crate) fn receive(&mut self) -> Option<Packet> {
        self.flush();
        loop {
            if let Some((start, end)) = split(&self.received) {
                let packet = Packet::decode(self.version, self.received[0], &self.received[start..end]);
                self.received.drain(..end);
                return Some(packet);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Broken or busy: what has been received is read in any case, and tells which.
                Err(_) => return,
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_broken = true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.is_broken = true,
            }
            return !self.is_broken;
        }
    }
}
