//! The client's side of a WebSocket, which sends frames as it is told, right or wrong.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::client::Layered;
use super::server::PATIENCE;

/// First bytes of frames that are whole messages.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// A request that is granted, as clients send it.
pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\n\
    Host: localhost\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A connection to a WebSocket listener, over TCP or a layer above it. Written to and read from as a stream, it is one
/// binary frame for each write.
#[derive(Debug)]
pub(crate) struct WebSocket<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
    payload: Vec<u8>,
}

/// A frame from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSocketFrame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// A frame, masked as a client's has to be.
pub(crate) fn websocket_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len), _) if len < 126 => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0xFE);
            bytes.extend(len.to_be_bytes());
        }
        _ => {
            bytes.push(0xFF);
            bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

impl WebSocket {
    /// Opens a TCP connection and sends nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    /// Opens a WebSocket.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::connect(address).upgrade()
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// The same connection once more, for another thread to write to.
    pub(crate) fn duplicate(&self) -> Self {
        Self::over(self.stream.try_clone().unwrap())
    }
}

impl<S: Read + Write> WebSocket<S> {
    /// Over a connection on which nothing has been sent.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new(), payload: Vec::new() }
    }

    /// Asks for what must be granted.
    pub(crate) fn upgrade(mut self) -> Self {
        self.send_raw(REQUEST.as_bytes());
        let head = self.receive_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends these bytes. The broker may have closed the connection in their midst.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&websocket_frame(first, payload));
    }

    /// Receives the head of an answer to a request, with the empty line at its end.
    pub(crate) fn receive_head(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..end + 4).collect()).unwrap();
            }
            assert!(self.receive_more(), "closed within the head of an answer: {:?}", self.received);
        }
    }

    /// Receives all until the end of the connection.
    pub(crate) fn receive_rest(&mut self) -> Vec<u8> {
        while self.receive_more() {}
        std::mem::take(&mut self.received)
    }

    /// Receives the next frame; `None` at the end of the connection.
    pub(crate) fn try_receive(&mut self) -> Option<WebSocketFrame> {
        loop {
            if let Some((start, end)) = self.find_frame() {
                let frame =
                    WebSocketFrame { first: self.received[0], payload: self.received[start..end].to_vec() };
                self.received.drain(..end);
                return Some(frame);
            }
            if !self.receive_more() {
                assert!(self.received.is_empty(), "closed within a frame: {:02x?}", self.received);
                return None;
            }
        }
    }

    /// Receives the next frame.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> WebSocketFrame {
        self.try_receive().expect("the broker closed the connection instead of sending a frame")
    }

    /// Receives this frame next.
    #[track_caller]
    pub(crate) fn expect(&mut self, first: u8, payload: &[u8]) {
        assert_eq!(self.receive(), WebSocketFrame { first, payload: payload.to_vec() });
    }

    /// The broker closes the WebSocket with this code, and the connection behind it.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) {
        self.expect(CLOSE, &code.to_be_bytes());
        self.send(CLOSE, &code.to_be_bytes());
        assert_eq!(self.try_receive(), None);
    }

    /// Where the first frame's payload begins and ends, if it is all there.
    fn find_frame(&self) -> Option<(usize, usize)> {
        let second = *self.received.get(1)?;
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (start, len) = match second {
            126 => (4, u64::from(u16::from_be_bytes(*self.received.get(2..)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*self.received.get(2..)?.first_chunk()?)),
            len => (2, u64::from(len)),
        };
        let end = start + usize::try_from(len).unwrap();
        (self.received.len() >= end).then_some((start, end))
    }

    fn receive_more(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                count > 0
            }
            // Layers below may be cut as well as closed.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                false
            }
            Err(error) => panic!("reading: {error}; received so far: {:02x?}", self.received),
        }
    }
}

impl<S: Read + Write> Read for WebSocket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            match self.try_receive() {
                Some(WebSocketFrame { first: BINARY, payload }) => self.payload = payload,
                Some(WebSocketFrame { first: PONG, .. }) => {}
                Some(WebSocketFrame { first: CLOSE, .. }) | None => return Ok(0),
                Some(frame) => panic!("an unexpected frame: {frame:?}"),
            }
        }
        let len = buffer.len().min(self.payload.len());
        buffer[..len].copy_from_slice(&self.payload[..len]);
        self.payload.drain(..len);
        Ok(len)
    }
}

impl<S: Read + Write> Write for WebSocket<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_all(&websocket_frame(BINARY, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Layered> Layered for WebSocket<S> {
    fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }
}

impl WebSocket {
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}
