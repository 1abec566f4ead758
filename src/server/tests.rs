//! Whole servers, over sockets.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::*;
use crate::auth::AuthSettings;
use crate::transport::{SocketOptions, UnixAccess};

/// A server that runs.
struct Running {
    addresses: Vec<BoundAddress>,
    controls: Controls,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
}

fn auth() -> Authenticators {
    Authenticators::open(AuthSettings::Everybody { unless: None }, []).unwrap()
}

fn tcp() -> ListenerConfig {
    ListenerConfig::Tcp { address: "127.0.0.1:0".parse().unwrap(), socket: SocketOptions::default() }
}

fn start(config: ServerConfig) -> Running {
    let server = Server::bind(config, auth(), Inherited::default()).unwrap();
    let (addresses, controls) = (server.addresses().to_vec(), server.controls());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(server.run(shutdown.clone()));
    Running { addresses, controls, shutdown, ended }
}

impl Running {
    /// A connection to the first listener.
    async fn connect(&self) -> TcpStream {
        let Some(BoundAddress::Tcp(address)) = self.addresses.first() else { panic!("no TCP listener") };
        TcpStream::connect(address).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

/// Says CONNECT as a client of MQTT 5.0 and awaits CONNACK.
async fn greet(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'c']).await.unwrap();
    let mut connack = [0; 5];
    stream.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 3, 0, 0, 0]);
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    // It may be closed before, or after, what is written arrives.
    let _ = stream.write_all(&[0xC0, 0]).await;
    !matches!(stream.read(&mut [0; 16]).await, Ok(1..))
}

#[tokio::test]
async fn every_listener_serves_and_a_shutdown_tells_everybody() {
    let directory = std::env::temp_dir().join(format!("mqtt-broker-server-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (socket, ports) = (directory.join("socket"), directory.join("ports"));
    let listeners = vec![tcp(), ListenerConfig::Unix { path: socket.clone(), access: UnixAccess::default() }];
    let server = start(ServerConfig { listeners, ports_file: Some(ports.clone()), ..Default::default() });
    let written = std::fs::read_to_string(&ports).unwrap();
    let lines: Vec<_> = server.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(written.lines().collect::<Vec<_>>(), lines);

    let mut over_tcp = server.connect().await;
    greet(&mut over_tcp).await;
    let mut over_unix = UnixStream::connect(&socket).await.unwrap();
    greet(&mut over_unix).await;
    let mut last_word = [0; 3];
    // The second took the first one's client identifier.
    over_tcp.read_exact(&mut last_word).await.unwrap();
    assert_eq!((last_word[0], last_word[2]), (0xE0, 0x8E));

    server.shutdown.cancel();
    over_unix.read_exact(&mut last_word).await.unwrap();
    assert_eq!((last_word[0], last_word[2]), (0xE0, 0x8B));
    drop((over_tcp, over_unix));
    server.stop().await;
    assert!(!Path::new(&socket).exists());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limits_are_closed_and_counted() {
    for (connections, connections_per_address) in [(1, 10), (10, 1)] {
        let accept = AcceptLimits { connections, connections_per_address, ..AcceptLimits::default() };
        let server = start(ServerConfig { listeners: vec![tcp()], accept, ..Default::default() });
        let mut first = server.connect().await;
        greet(&mut first).await;
        assert!(is_closed(&mut server.connect().await).await);
        let counters = server.controls.counters();
        let refused =
            (counters.connections_refused_total.value(), counters.connections_refused_address.value());
        assert_eq!(refused, if connections == 1 { (1, 0) } else { (0, 1) });

        drop(first);
        while server.controls.counters().connections_ended.value() < 1 {
            tokio::task::yield_now().await;
        }
        greet(&mut server.connect().await).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_longer_than_the_grace_period() {
    let shutdown_grace = Duration::from_millis(20);
    let server = start(ServerConfig { listeners: vec![tcp()], shutdown_grace, ..Default::default() });
    // It neither reads nor closes, so that its endpoint waits for the close time-out.
    let mut stubborn = server.connect().await;
    greet(&mut stubborn).await;
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = Server::bind(
        ServerConfig { listeners: vec![tcp()], ..Default::default() },
        auth(),
        Inherited::default(),
    )
    .unwrap();
    let Some(&BoundAddress::Tcp(address)) = first.addresses().first() else { panic!("no TCP listener") };
    let listeners = vec![ListenerConfig::Tcp { address, socket: SocketOptions::default() }];
    let error = Server::bind(ServerConfig { listeners, ..Default::default() }, auth(), Inherited::default())
        .unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on tcp {address}: ")), "{error}");
    let error = Server::bind(ServerConfig::default(), auth(), Inherited::default()).unwrap_err();
    assert!(matches!(error, ServeError::NoListener));
}

#[tokio::test]
async fn servers_share_a_process() {
    let servers = [(); 2].map(|()| start(ServerConfig { listeners: vec![tcp()], ..Default::default() }));
    for server in &servers {
        greet(&mut server.connect().await).await;
    }
    for server in servers {
        server.stop().await;
    }
}
