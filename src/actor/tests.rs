//! Endpoints and the broker task together, over streams in memory.

use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handle::Letter;
use super::{BrokerHandle, BrokerTask, Clock, Endpoint, Newcomer, Outside, ShellCounters, Surroundings};
use crate::auth::{AuthSettings, Authenticator};
use crate::broker::{Broker, BrokerConfig, ConnectionId, Input, PolicyName};
use crate::connection::{ConnectionLimits, RateLimitPolicy};
use crate::transport::{Peer, Transport, UnfinishedPackets};

const PEER: Peer = Peer::new(Transport::Unix, None);

/// A broker, and what it takes to connect to it.
struct World {
    around: Arc<Surroundings>,
    next: u64,
}

impl World {
    /// A world in which the broker runs.
    fn new(limits: ConnectionLimits) -> Self {
        let (world, task) = Self::before_start(limits);
        tokio::spawn(task.run(CancellationToken::new()));
        world
    }

    fn before_start(limits: ConnectionLimits) -> (Self, BrokerTask) {
        let auth = Authenticator::open(AuthSettings::Everybody { unless: None }).unwrap();
        let (clock, config) = (Clock::start(), BrokerConfig::default());
        let outbound_window = config.limits.outbound_window;
        let unfinished = UnfinishedPackets::with_room_for(limits.unfinished_bytes_total);
        let outside = Outside::new(Arc::clone(&unfinished));
        let broker = Broker::new(config, auth.policy(), 0);
        let (broker, task) = BrokerTask::new(broker, clock, None, Arc::clone(&outside));
        let around = Arc::new(Surroundings {
            broker,
            auth: Arc::new(auth),
            policy: PolicyName::default(),
            durability: None,
            unfinished,
            outside,
            limits: Arc::new(limits),
            outbound_window,
            counters: Arc::new(ShellCounters::default()),
            clock,
            shutdown: CancellationToken::new(),
        });
        (Self { around, next: 0 }, task)
    }

    fn endpoint<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) -> Endpoint<S> {
        self.next += 1;
        let newcomer = Newcomer {
            peer: PEER,
            id: ConnectionId(self.next),
            accepted: self.around.clock.now(),
            unfinished: Box::new(()),
        };
        Endpoint::new(stream, newcomer, Arc::clone(&self.around))
    }

    /// Connects over a stream that holds `room` bytes in each direction.
    fn open(&mut self, room: usize) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(room);
        let endpoint = self.endpoint(far);
        (near, tokio::spawn(endpoint))
    }

    /// Connects a client of MQTT 5.0.
    async fn client(&mut self, client_id: &str) -> DuplexStream {
        let (mut stream, _) = self.open(64 << 10);
        stream.write_all(&connect(client_id)).await.unwrap();
        let head = read(&mut stream, 2).await;
        assert_eq!(head[0], 0x20);
        assert_eq!(read(&mut stream, head[1].into()).await[..2], [0, 0]);
        stream
    }

    /// Waits until the broker's counter or gauge has this value.
    async fn until(&self, name: &str, value: u64) {
        while self.around.broker.counters().await.into_iter().find(|(n, _)| *n == name).unwrap().1 != value {
            tokio::task::yield_now().await;
        }
    }
}

async fn read(stream: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn read_to_end(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// A CONNECT of MQTT 5.0 with clean start, without keep-alive.
fn connect(client_id: &str) -> Vec<u8> {
    connect_with(client_id, 0x02, &[])
}

fn connect_with(client_id: &str, flags: u8, will: &[u8]) -> Vec<u8> {
    let id_len = u8::try_from(client_id.len()).unwrap();
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 0, 0, 0, id_len];
    body.extend_from_slice(client_id.as_bytes());
    body.extend_from_slice(will);
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

/// SUBSCRIBE to `t` with QoS 0, its SUBACK awaited.
async fn subscribe(stream: &mut DuplexStream) {
    stream.write_all(&SUBSCRIBE).await.unwrap();
    assert_eq!(read(stream, 6).await, [0x90, 4, 0, 1, 0, 0]);
}

const SUBSCRIBE: [u8; 9] = [0x82, 7, 0, 1, 0, 0, 1, b't', 0];
const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];
/// PUBLISH of `x` to `t` with QoS 0.
const PUBLISH: [u8; 7] = [0x30, 5, 0, 1, b't', 0, b'x'];
const PUBLISHED: [u8; 7] = PUBLISH;

#[tokio::test]
async fn messages_find_their_way() {
    let mut world = World::new(ConnectionLimits::default());
    let mut subscriber = world.client("subscriber").await;
    subscribe(&mut subscriber).await;
    let mut publisher = world.client("publisher").await;
    publisher.write_all(&PUBLISH).await.unwrap();
    assert_eq!(read(&mut subscriber, PUBLISHED.len()).await, PUBLISHED);
}

#[tokio::test]
async fn what_came_before_an_offence_is_answered_before_the_disconnect() {
    let mut world = World::new(ConnectionLimits::default());
    let (mut stream, endpoint) = world.open(64 << 10);
    // CONNECT, PINGREQ, and a PINGRESP, which only servers send; all at once.
    stream.write_all(&[&connect("client")[..], &PING, &PONG].concat()).await.unwrap();
    let said = read_to_end(&mut stream).await;
    assert!(said.starts_with(&[0x20]), "{said:x?}");
    let after_connack = &said[2 + usize::from(said[1])..];
    assert_eq!(after_connack[..2], PONG);
    assert_eq!((after_connack[2], after_connack[4]), (0xE0, 0x82));
    drop(stream);
    endpoint.await.unwrap();
    world.until("connected", 0).await;
    assert_eq!(world.around.counters.protocol_errors.value(), 1);
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_connect_is_closed_without_a_word() {
    let mut world = World::new(ConnectionLimits::default());
    let (mut stream, _) = world.open(64);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let connect_timeout = Duration::from_millis(20);
    let mut world = World::new(ConnectionLimits { connect_timeout, ..Default::default() });
    let (mut stream, endpoint) = world.open(64);
    stream.write_all(&[0x10]).await.unwrap();
    assert!(read_to_end(&mut stream).await.is_empty());
    endpoint.await.unwrap();
    assert_eq!(world.around.counters.connect_timeouts.value(), 1);
}

#[tokio::test]
async fn a_client_that_falls_silent_is_told_and_closed() {
    let server_keep_alive = Some(1);
    let mut world = World::new(ConnectionLimits { server_keep_alive, ..Default::default() });
    let mut stream = world.client("client").await;
    let said = read_to_end(&mut stream).await;
    assert_eq!((said[0], said[2]), (0xE0, 0x8D));
    assert_eq!(world.around.counters.keep_alive_timeouts.value(), 1);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_and_delays_nobody() {
    let write_timeout = Duration::from_millis(50);
    let mut world = World::new(ConnectionLimits { write_timeout, ..Default::default() });
    let (mut stalled, endpoint) = world.open(16);
    stalled.write_all(&connect("stalled")[..16]).await.unwrap();
    stalled.write_all(&connect("stalled")[16..]).await.unwrap();
    stalled.write_all(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0]).await.unwrap();
    assert_eq!(read(&mut stalled, 5 + 6).await[5..], [0x90, 4, 0, 1, 0, 0]);
    let mut publisher = world.client("publisher").await;
    subscribe(&mut publisher).await;
    for _ in 0..1_000 {
        publisher.write_all(&PUBLISH).await.unwrap();
        assert_eq!(read(&mut publisher, PUBLISHED.len()).await, PUBLISHED);
    }
    endpoint.await.unwrap();
    assert_eq!(world.around.counters.write_stalls.value(), 1);
    world.until("connected", 1).await;
}

#[tokio::test]
async fn a_client_that_is_slow_gets_everything_it_has_room_for() {
    let mut world = World::new(ConnectionLimits::default());
    let (mut slow, _) = world.open(32);
    slow.write_all(&connect("slow")).await.unwrap();
    slow.write_all(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0]).await.unwrap();
    assert_eq!(read(&mut slow, 5 + 6).await[5..], [0x90, 4, 0, 1, 0, 0]);
    let mut publisher = world.client("publisher").await;
    publisher.write_all(&PUBLISH.repeat(5_000)).await.unwrap();
    for _ in 0..5_000 {
        assert_eq!(read(&mut slow, PUBLISHED.len()).await, PUBLISHED);
    }
}

#[tokio::test]
async fn a_take_over_does_not_wait_for_a_stuck_connection() {
    let close_timeout = Duration::from_millis(20);
    let mut world = World::new(ConnectionLimits { close_timeout, ..Default::default() });
    let (mut old, endpoint) = world.open(24);
    old.write_all(&connect("client")).await.unwrap();
    read(&mut old, 5).await;
    old.write_all(&PING.repeat(12)).await.unwrap();
    old.write_all(&PING.repeat(12)).await.unwrap();
    let mut new = world.client("client").await;
    new.write_all(&PING).await.unwrap();
    assert_eq!(read(&mut new, 2).await, PONG);
    endpoint.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_clients_and_those_who_have_not_said_who_they_are() {
    let mut world = World::new(ConnectionLimits::default());
    let mut client = world.client("client").await;
    let (mut nobody, endpoint) = world.open(64);
    world.around.shutdown.cancel();
    world.around.broker.shut_down().await;
    let said = read_to_end(&mut client).await;
    assert_eq!((said[0], said[2]), (0xE0, 0x8B));
    assert!(read_to_end(&mut nobody).await.is_empty());
    endpoint.await.unwrap();
}

/// A stream that breaks when its client says PINGREQ.
struct Brittle(DuplexStream);

impl AsyncRead for Brittle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        assert!(!buf.filled().ends_with(&PING), "a fault, as the test wants it");
        read
    }
}

impl AsyncWrite for Brittle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client with the will `x` to `t` whose connection breaks when it says PINGREQ.
async fn brittle_client(world: &mut World) -> (DuplexStream, JoinHandle<()>) {
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let endpoint = tokio::spawn(world.endpoint(Brittle(far)));
    near.write_all(&connect_with("brittle", 0x06, &[0, 0, 1, b't', 0, 1, b'x'])).await.unwrap();
    (near, endpoint)
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_the_broker_hears_of_it() {
    let mut world = World::new(ConnectionLimits::default());
    let mut witness = world.client("witness").await;
    subscribe(&mut witness).await;
    let (mut brittle, endpoint) = brittle_client(&mut world).await;
    read(&mut brittle, 5).await;
    brittle.write_all(&PING).await.unwrap();
    assert_eq!(read(&mut witness, PUBLISHED.len()).await, PUBLISHED, "the will");
    assert!(endpoint.await.unwrap_err().is_panic());
    assert_eq!(world.around.counters.panics.value(), 1);
}

#[tokio::test]
async fn the_broker_hears_of_a_panic_even_when_it_had_no_room_for_the_word() {
    let (mut world, task) = World::before_start(ConnectionLimits::default());
    let (mut brittle, endpoint) = brittle_client(&mut world).await;
    // Until its Attach has been sent. The broker does not run yet.
    while world.around.broker.room() == BrokerHandle::CAPACITY {
        tokio::task::yield_now().await;
    }
    while world.around.broker.try_send(Letter::Input(Input::Tick)).is_ok() {}
    brittle.write_all(&PING).await.unwrap();
    assert!(endpoint.await.unwrap_err().is_panic());
    tokio::spawn(task.run(CancellationToken::new()));
    world.until("clients_attached", 1).await;
    world.until("connected", 0).await;
}

#[tokio::test]
async fn an_endpoint_waits_for_a_broker_that_is_busy() {
    let (mut world, task) = World::before_start(ConnectionLimits::default());
    while world.around.broker.try_send(Letter::Input(Input::Tick)).is_ok() {}
    let (mut stream, _) = world.open(64 << 10);
    stream.write_all(&[&connect("client")[..], &PING].concat()).await.unwrap();
    tokio::task::yield_now().await;
    tokio::spawn(task.run(CancellationToken::new()));
    assert_eq!(read(&mut stream, 7).await[5..], PONG);
}

/// PUBLISH of a number to `t` with QoS 0.
fn publish_number(number: u16) -> [u8; 8] {
    let [high, low] = number.to_be_bytes();
    [0x30, 6, 0, 1, b't', 0, high, low]
}

/// As many of them, from 0 on.
fn publish_numbers(count: u16) -> Vec<u8> {
    (0..count).flat_map(publish_number).collect()
}

const DISCONNECT: [u8; 2] = [0xE0, 0];

#[tokio::test]
async fn what_one_read_brought_reaches_a_busy_broker_in_portions_and_in_order() {
    const COUNT: u16 = 5_000;
    let (mut world, task) = World::before_start(ConnectionLimits::default());
    let (mut publisher, endpoint) = world.open(64 << 10);
    let connect = connect_with("publisher", 0x06, &[0, 0, 1, b't', 0, 1, b'w']);
    publisher.write_all(&connect).await.unwrap();
    while world.around.broker.room() == BrokerHandle::CAPACITY {
        tokio::task::yield_now().await;
    }
    publisher.write_all(&[&publish_numbers(COUNT)[..], &DISCONNECT].concat()).await.unwrap();
    drop(publisher);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    // CONNECT, and three letters of 256 packets each.
    assert_eq!(BrokerHandle::CAPACITY - world.around.broker.room(), 4);
    // Somebody who hears it all, if the others let it.
    let (mut subscriber, _) = world.open(64 << 10);
    subscriber.write_all(&[&connect_with("subscriber", 0x02, &[])[..], &SUBSCRIBE].concat()).await.unwrap();
    while BrokerHandle::CAPACITY - world.around.broker.room() < 6 {
        tokio::task::yield_now().await;
    }
    tokio::spawn(task.run(CancellationToken::new()));
    read(&mut subscriber, 5 + 6).await;
    let first = read(&mut subscriber, 8).await;
    let first = u16::from_be_bytes([first[6], first[7]]);
    assert_eq!(first, 3 * 256, "the subscription was heard behind the first portions");
    for number in first + 1..COUNT {
        assert_eq!(read(&mut subscriber, 8).await, publish_number(number));
    }
    // It said goodbye behind all of them: its will is not published.
    endpoint.await.unwrap();
    world.until("connected", 1).await;
    subscriber.write_all(&PING).await.unwrap();
    assert_eq!(read(&mut subscriber, 2).await, PONG);
}

#[tokio::test(start_paused = true)]
async fn messages_beyond_the_rate_wait_and_keep_their_order() {
    let limits = ConnectionLimits { message_rate: NonZeroU32::new(10), ..Default::default() };
    let mut world = World::new(limits);
    let mut client = world.client("client").await;
    subscribe(&mut client).await;
    let start = world.around.clock.now();
    client.write_all(&[&publish_numbers(35)[..], &PING].concat()).await.unwrap();
    for number in 0..35 {
        assert_eq!(read(&mut client, 8).await, publish_number(number));
        if number == 9 {
            assert_eq!(world.around.clock.now().saturating_since(start), Duration::ZERO);
        }
    }
    assert_eq!(read(&mut client, 2).await, PONG);
    let passed = world.around.clock.now().saturating_since(start).as_millis();
    assert!((2_500..2_600).contains(&passed), "{passed}");
    assert_eq!(world.around.counters.rate_limit_delays.value(), 25);
    assert_eq!(world.around.counters.rate_limit_disconnects.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_beyond_the_rate_wait_in_the_socket() {
    let limits = ConnectionLimits { byte_rate: NonZeroU64::new(1_000), ..Default::default() };
    let mut world = World::new(limits);
    let mut client = world.client("client").await;
    subscribe(&mut client).await;
    let start = world.around.clock.now();
    client.write_all(&publish_numbers(500)).await.unwrap();
    for number in 0..500 {
        assert_eq!(read(&mut client, 8).await, publish_number(number));
    }
    // 4,009 bytes: the first thousand at once, the last read not waited for.
    let passed = world.around.clock.now().saturating_since(start).as_millis();
    assert!((2_000..=3_100).contains(&passed), "{passed}");
    assert!(world.around.counters.rate_limit_delays.value() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_to_wait_is_not_a_silent_one() {
    let (message_rate, server_keep_alive) = (NonZeroU32::new(1), Some(1));
    let limits = ConnectionLimits { server_keep_alive, message_rate, ..Default::default() };
    let mut world = World::new(limits);
    let mut client = world.client("client").await;
    subscribe(&mut client).await;
    client.write_all(&publish_numbers(10)).await.unwrap();
    for number in 0..10 {
        assert_eq!(read(&mut client, 8).await, publish_number(number));
    }
    assert_eq!(world.around.counters.keep_alive_timeouts.value(), 0);
    let said = read_to_end(&mut client).await;
    assert_eq!((said[0], said[2]), (0xE0, 0x8D));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_may_not_wait_gets_what_it_may_and_is_told() {
    let rate_limit_policy = RateLimitPolicy::Disconnect;
    let limits = ConnectionLimits { rate_limit_policy, ..Default::default() };
    let messages = ConnectionLimits { message_rate: NonZeroU32::new(10), ..limits.clone() };
    let bytes = ConnectionLimits { byte_rate: NonZeroU64::new(1_000), ..limits };
    for (limits, allowed) in [(messages, 10), (bytes, 0)] {
        let mut world = World::new(limits);
        let mut client = world.client("client").await;
        subscribe(&mut client).await;
        client.write_all(&publish_numbers(150)).await.unwrap();
        let said = read_to_end(&mut client).await;
        let (messages, end) = said.split_at(said.len() - (2 + usize::from(said[allowed * 8 + 1])));
        assert_eq!(messages, publish_numbers(u16::try_from(allowed).unwrap()));
        assert_eq!((end[0], end[2]), (0xE0, 0x96));
        assert_eq!(world.around.counters.rate_limit_disconnects.value(), 1);
        world.until("connected", 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_to_the_rate_does_not_notice_it() {
    let rate_limit_policy = RateLimitPolicy::Disconnect;
    let message_rate = NonZeroU32::new(10);
    let mut world = World::new(ConnectionLimits { message_rate, rate_limit_policy, ..Default::default() });
    let mut client = world.client("client").await;
    for _ in 0..10 {
        client.write_all(&publish_numbers(10)).await.unwrap();
        client.write_all(&PING.repeat(50)).await.unwrap();
        read(&mut client, 100).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.around.counters.rate_limit_disconnects.value(), 0);
}

#[tokio::test]
async fn what_needs_no_answer_does_not_keep_the_next_from_being_read() {
    let mut world = World::new(ConnectionLimits::default());
    let mut client = world.client("client").await;
    // PUBACKs of nothing: far more than one read, and than may be unanswered at a time.
    client.write_all(&[0x40, 2, 0, 1].repeat(50_000)).await.unwrap();
    client.write_all(&PING).await.unwrap();
    assert_eq!(read(&mut client, 2).await, PONG);
}
