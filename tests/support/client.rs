//! A client that does what it is told and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::connect::{Connect, connect};
use super::packet::{ConnAck, Disconnect, Packet, Publish, Subscribe};
use super::packet::{disconnect, pingreq, puback, pubcomp, publish, pubrec, pubrel, suback, subscribe};
use super::server::{Broker, PATIENCE};
use super::websocket::WebSocket;
use super::wire::{Encode, Version, split};

/// A connection, used with blocking calls. What does not come within [`PATIENCE`] fails the test.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    version: Version,
    received: Vec<u8>,
    /// The CONNACK, once it has come.
    pub(crate) connack: Option<ConnAck>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    WebSocket(WebSocket),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
    Layers(Box<dyn Layered>),
}

/// TLS, or another layer above TCP.
pub(crate) trait Layered: std::fmt::Debug + Read + Write + Send {
    /// What it is spoken over.
    fn socket(&self) -> &TcpStream;

    /// How long is waited from now on for what must come.
    fn set_patience(&self, patience: Duration) {
        self.socket().set_read_timeout(Some(patience)).unwrap();
    }

    /// The client's own address.
    fn local_address(&self) -> SocketAddr {
        self.socket().local_addr().unwrap()
    }

    /// Says that nothing more will be sent.
    fn shutdown_write(&mut self) {
        // It may have been closed by the broker already.
        let _ = self.socket().shutdown(Shutdown::Write);
    }
}

/// Opens a TCP connection from this address of this machine, such as 127.0.0.2.
pub(crate) fn tcp_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

impl Client {
    /// Opens a TCP connection to the broker and sends nothing.
    pub(crate) fn open(broker: &Broker) -> Self {
        Self::open_at(broker.address())
    }

    /// Opens a TCP connection to this address and sends nothing.
    pub(crate) fn open_at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Self::over(Stream::Tcp(stream))
    }

    /// Opens a TCP connection to the broker from this address of this machine, such as 127.0.0.2.
    pub(crate) fn open_from(source: IpAddr, broker: &Broker) -> Self {
        Self::over(Stream::Tcp(tcp_from(source, broker.address())))
    }

    /// Opens a TCP connection whose receive buffer holds little, so that a broker soon finds it slow.
    pub(crate) fn open_narrow(broker: &Broker, receive_buffer: usize) -> Self {
        let address = broker.address();
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(receive_buffer).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(Stream::Tcp(socket.into()))
    }

    /// Opens a WebSocket to this address and sends no packet.
    pub(crate) fn open_websocket(address: SocketAddr) -> Self {
        Self::over(Stream::WebSocket(WebSocket::open(address)))
    }

    /// Opens a connection to a Unix socket and sends nothing.
    #[cfg(unix)]
    pub(crate) fn open_unix(path: &std::path::Path) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(path)
            .unwrap_or_else(|error| panic!("connecting to {}: {error}", path.display()));
        Self::over(Stream::Unix(stream))
    }

    /// A client above layers that have been opened.
    pub(crate) fn over_layers(layers: Box<dyn Layered>) -> Self {
        Self::over(Stream::Layers(layers))
    }

    fn over(stream: Stream) -> Self {
        let client = Self { stream, version: Version::V5, received: Vec::new(), connack: None };
        client.set_patience(PATIENCE);
        client
    }

    /// Connects and insists on being accepted.
    pub(crate) fn connect(broker: &Broker, connect: Connect) -> Self {
        let mut client = Self::open(broker);
        client.attach(connect);
        client
    }

    /// Connects and insists on being refused with this code; the broker must close the connection then.
    pub(crate) fn refused(broker: &Broker, connect: Connect, reason: u8) -> ConnAck {
        let mut client = Self::open(broker);
        let connack = client.handshake(connect);
        assert_eq!(connack.reason, reason, "{connack:?}");
        client.expect_closed();
        connack
    }

    /// Sends CONNECT and insists on being accepted.
    pub(crate) fn attach(&mut self, connect: Connect) -> ConnAck {
        let connack = self.handshake(connect);
        assert_eq!(connack.reason, 0, "refused: {connack:?}");
        connack
    }

    /// Sends CONNECT and receives CONNACK, whatever it says.
    pub(crate) fn handshake(&mut self, connect: Connect) -> ConnAck {
        self.version = connect.version;
        self.send(connect);
        match self.receive() {
            Packet::ConnAck(connack) => {
                self.connack = Some(connack.clone());
                connack
            }
            other => panic!("expected CONNACK, received {other:?}"),
        }
    }

    /// Receives the CONNACK for a CONNECT that was sent before, and insists on being accepted.
    pub(crate) fn expect_accepted(&mut self) {
        match self.receive() {
            Packet::ConnAck(connack) if connack.reason == 0 => self.connack = Some(connack),
            other => panic!("expected to be accepted, received {other:?}"),
        }
    }

    /// The CONNACK it was accepted with.
    pub(crate) fn connack(&self) -> &ConnAck {
        self.connack.as_ref().expect("not connected yet")
    }

    /// Which version it encodes and decodes from now on; CONNECT sets it.
    pub(crate) fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// How long it waits from now on for what must come.
    pub(crate) fn set_patience(&self, patience: Duration) {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(patience)).unwrap(),
            Stream::WebSocket(socket) => socket.tcp().set_read_timeout(Some(patience)).unwrap(),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.set_read_timeout(Some(patience)).unwrap(),
            Stream::Layers(layers) => layers.set_patience(patience),
        }
    }

    /// Its own address.
    pub(crate) fn local_address(&self) -> SocketAddr {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().unwrap(),
            Stream::WebSocket(socket) => socket.tcp().local_addr().unwrap(),
            #[cfg(unix)]
            Stream::Unix(_) => panic!("a Unix socket has no such address"),
            Stream::Layers(layers) => layers.local_address(),
        }
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, packet: impl Encode) {
        let bytes = packet.frame(self.version).bytes();
        self.send_raw(&bytes);
    }

    /// Sends several packets at once.
    pub(crate) fn send_all<T: Encode>(&mut self, packets: impl IntoIterator<Item = T>) {
        let mut bytes = Vec::new();
        for packet in packets {
            bytes.extend(packet.frame(self.version).bytes());
        }
        self.send_raw(&bytes);
    }

    /// Sends these bytes.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("the broker does not take what is sent");
    }

    /// Sends these bytes if the connection still stands.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::WebSocket(socket) => socket.write_all(bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Layers(layers) => layers.write_all(bytes).and_then(|()| layers.flush()),
        }
    }

    /// Receives the next packet.
    pub(crate) fn receive(&mut self) -> Packet {
        self.try_receive().expect("the broker closed the connection instead of sending a packet")
    }

    /// Receives all that comes until the broker closes the connection.
    pub(crate) fn receive_raw(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.received)
    }

    /// Receives the next packet; `None` when the broker has closed the connection.
    pub(crate) fn try_receive(&mut self) -> Option<Packet> {
        loop {
            if let Some((start, end)) = split(&self.received) {
                let packet = Packet::decode(self.version, self.received[0], &self.received[start..end]);
                self.received.drain(..end);
                return Some(packet);
            }
            if !self.read_more() {
                assert!(self.received.is_empty(), "closed within a packet: {:02x?}", self.received);
                return None;
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut buffer),
            Stream::WebSocket(socket) => socket.read(&mut buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(&mut buffer),
            Stream::Layers(layers) => layers.read(&mut buffer),
        };
        match result {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                count > 0
            }
            // Nothing was read: the caller asks again. It happens where the whole process is stopped for a while.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // Linux resets a connection that is closed before all that was sent has been read.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
                ) =>
            {
                false
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came in time; received so far: {:02x?}", self.received)
            }
            Err(error) => panic!("reading: {error}"),
        }
    }

    /// Receives this packet next; see [`Packet::is`] for what may differ. Returns it as it came.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl Into<Packet>) -> Packet {
        let expected = expected.into();
        let received = self.receive();
        assert!(received.is(&expected), "\nexpected: {expected:?}\nreceived: {received:?}");
        received
    }

    /// Receives these packets next, in any order.
    #[track_caller]
    pub(crate) fn expect_unordered(&mut self, expected: impl IntoIterator<Item = Packet>) {
        let mut expected: Vec<Packet> = expected.into_iter().collect();
        while !expected.is_empty() {
            let received = self.receive();
            let Some(index) = expected.iter().position(|expected| received.is(expected)) else {
                panic!("\nexpected one of: {expected:?}\nreceived: {received:?}");
            };
            expected.remove(index);
        }
    }

    /// Receives a PUBLISH next.
    #[track_caller]
    pub(crate) fn receive_publish(&mut self) -> Publish {
        match self.receive() {
            Packet::Publish(publish) => publish,
            other => panic!("expected a PUBLISH, received {other:?}"),
        }
    }

    /// Receives PUBLISH packets next and completes the handshake of each.
    #[track_caller]
    pub(crate) fn receive_messages(&mut self, count: usize) -> Vec<Publish> {
        let mut messages = Vec::new();
        let mut releases = 0;
        while messages.len() < count || releases > 0 {
            match self.receive() {
                Packet::Publish(message) => {
                    match message.qos {
                        0 => {}
                        1 => self.send(puback(message.id)),
                        _ => {
                            self.send(pubrec(message.id));
                            releases += 1;
                        }
                    }
                    messages.push(message);
                }
                Packet::Ack(ack) if ack.first == 0x62 => {
                    self.send(pubcomp(ack.id));
                    releases -= 1;
                }
                other => panic!("expected a PUBLISH, received {other:?}"),
            }
        }
        assert_eq!(messages.len(), count, "more messages than expected: {messages:?}");
        messages
    }

    /// Nothing waits to be received: the answer to a PINGREQ comes next.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        self.send(pingreq());
        self.expect(Packet::PingResp);
    }

    /// The broker closes the connection without another packet.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        if let Some(packet) = self.try_receive() {
            panic!("expected the end of the connection, received {packet:?}");
        }
    }

    /// The broker closes the connection; to a client of MQTT 5.0 it says why before.
    #[track_caller]
    pub(crate) fn expect_disconnect(&mut self, reason: u8) {
        if self.version.is_v5() {
            self.expect(disconnect().reason(reason));
        }
        self.expect_closed();
    }

    /// The broker closes the connection; to a client of MQTT 5.0 it gives one of these reasons before.
    #[track_caller]
    pub(crate) fn expect_disconnect_for(&mut self, reasons: &[u8]) {
        if self.version.is_v5() {
            match self.receive() {
                Packet::Disconnect(disconnect) if reasons.contains(&disconnect.reason) => {}
                other => panic!("expected a DISCONNECT with one of {reasons:02x?}, received {other:?}"),
            }
        }
        self.expect_closed();
    }

    /// The broker closes the connection instead of letting it in; a CONNACK before must give one of these reasons.
    #[track_caller]
    pub(crate) fn expect_refusal(&mut self, reasons: &[u8]) {
        match self.try_receive() {
            None => {}
            Some(Packet::ConnAck(connack)) if reasons.contains(&connack.reason) => self.expect_closed(),
            Some(other) => panic!("expected a CONNACK with one of {reasons:02x?}, received {other:?}"),
        }
    }

    /// Subscribes to one filter and insists on the QoS asked for.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.subscribe_with(subscribe(filter, qos), &[qos]);
    }

    /// Is let in, and hears what it publishes: all is well with this client's connection.
    #[track_caller]
    pub(crate) fn exchange(&mut self, connect: Connect) {
        self.attach(connect);
        self.subscribe("a", 1);
        self.send(publish("a").qos(1).id(1).payload("x"));
        self.expect_unordered([puback(1).into(), publish("a").qos(1).payload("x").into()]);
    }

    /// Is let in, and hears a message of some megabytes that it publishes.
    #[track_caller]
    pub(crate) fn exchange_much(&mut self, connect: Connect) {
        self.attach(connect);
        self.subscribe("large", 1);
        let payload: String = ('a'..='w').cycle().take(3 << 20).collect();
        self.send(publish("large").qos(1).id(1).payload(&payload));
        self.expect_unordered([puback(1).into(), publish("large").qos(1).payload(&payload).into()]);
    }

    /// Subscribes and insists on these results. Retained messages are left to be received.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, subscribe: Subscribe, reasons: &[u8]) {
        let id = subscribe.id;
        self.send(subscribe);
        self.expect(suback(id, reasons));
    }

    /// Subscribes to one filter with an older version of the protocol and insists on being refused: by the code, or
    /// by the end of the connection.
    #[track_caller]
    pub(crate) fn expect_subscription_refused(&mut self, filter: &str) {
        self.send(subscribe(filter, 1));
        match self.try_receive() {
            None => {}
            Some(packet) => assert!(packet.is(&suback(1, &[0x80]).into()), "{packet:?}"),
        }
    }

    /// Publishes and goes through the handshake of the QoS. Returns the reason code of the PUBACK or PUBREC. A
    /// message of QoS 1 or 2 without an identifier gets 1. With QoS 0 it makes sure, by PINGREQ, that the broker has
    /// taken the message.
    #[track_caller]
    pub(crate) fn publish(&mut self, mut publish: Publish) -> u8 {
        if publish.id == 0 {
            publish.id = 1;
        }
        let (qos, id) = (publish.qos, publish.id);
        self.send(publish);
        match qos {
            0 => {
                self.expect_nothing();
                0
            }
            1 => self.receive_ack(0x40, id),
            _ => {
                let reason = self.receive_ack(0x50, id);
                if reason < 0x80 {
                    self.send(pubrel(id));
                    self.expect(pubcomp(id));
                }
                reason
            }
        }
    }

    #[track_caller]
    fn receive_ack(&mut self, first: u8, id: u16) -> u8 {
        match self.receive() {
            Packet::Ack(ack) if (ack.first, ack.id) == (first, id) => ack.reason,
            other => panic!("expected the acknowledgement 0x{first:02x} of {id}, received {other:?}"),
        }
    }

    /// Sends DISCONNECT and waits until the broker has closed the connection.
    pub(crate) fn disconnect(self) {
        self.disconnect_with(disconnect());
    }

    /// Sends this DISCONNECT and waits until the broker has closed the connection.
    pub(crate) fn disconnect_with(mut self, packet: Disconnect) {
        self.send(packet);
        while self.try_receive().is_some() {}
    }

    /// Ends the connection without a word and waits until the broker has noticed.
    pub(crate) fn cut(mut self) {
        self.shutdown_write();
        while self.try_receive().is_some() {}
    }

    /// Whether the broker has closed the connection; waits for that as long as it has patience.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut byte),
            Stream::WebSocket(socket) => socket.read(&mut byte),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(&mut byte),
            Stream::Layers(layers) => layers.read(&mut byte),
        };
        match result {
            Ok(count) => {
                self.received.extend_from_slice(&byte[..count]);
                count == 0
            }
            Err(error) => {
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
            }
        }
    }

    /// The same connection once more, for another thread to write to.
    pub(crate) fn duplicate(&self) -> Self {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
            Stream::WebSocket(socket) => Stream::WebSocket(socket.duplicate()),
            #[cfg(unix)]
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
            Stream::Layers(_) => panic!("only one thread can use a connection with layers"),
        };
        Self { stream, version: self.version, received: Vec::new(), connack: self.connack.clone() }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shutdown_write(&mut self) {
        // It may have been closed by the broker already.
        let _ = match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::WebSocket(socket) => socket.shutdown_write(),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Layers(layers) => {
                layers.shutdown_write();
                Ok(())
            }
        };
    }
}
