//! What the broker costs from socket to socket: messages per second and processor time, time to arrive, and memory for
//! each idle connection. It starts the broker that was built with it, and speaks to it over the loopback.
//!
//! `cargo bench --bench end_to_end`, or with some of `throughput`, `latency` and `connections` behind a `--`;
//! `--pin` there gives the broker the processor 0 and nothing else, by means of `taskset`. Linux only: figures of the
//! broker's process are read from `/proc`. `docs/performance.md` says how to read what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_broker::mqtt::codec::{encode, frame_header};
use mqtt_broker::mqtt::packet::{
    Acknowledgement, AcknowledgementKind, Connect, ConnectProperties, Publish, Subscribe, SubscribeEntry,
    SubscriptionOptions,
};
use mqtt_broker::mqtt::{
    ClientId, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicName, UserProperties,
};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until, timeout};

const VERSION: ProtocolVersion = ProtocolVersion::V3_1_1;

/// Pairs of a publisher and a subscriber, each with a topic of its own.
const PAIRS: u16 = 10;

/// Messages of a pair that are on their way at any time.
const WINDOW: u16 = 64;

/// Bytes of each payload.
const PAYLOAD: usize = 64;

/// Messages of each second where time to arrive is measured, of all pairs together.
const RATE: u32 = 2_000;

/// Connections that do nothing.
const IDLE: u32 = 5_000;

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

/// Nothing should take so long; if it does, messages were lost.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let arguments: BTreeSet<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without that argument.
    if !arguments.contains("--bench") {
        println!("nothing is measured but by `cargo bench`");
        return;
    }
    let scenarios = ["throughput", "latency", "connections"];
    let all = !scenarios.iter().any(|name| arguments.contains(*name));
    let pin = arguments.contains("--pin");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, qos) in [("QoS 0", QoS::AtMostOnce), ("QoS 1", QoS::AtLeastOnce)] {
        if all || arguments.contains("throughput") {
            throughput(&runtime, pin, name, qos);
        }
    }
    for (name, qos) in [("QoS 0", QoS::AtMostOnce), ("QoS 1", QoS::AtLeastOnce)] {
        if all || arguments.contains("latency") {
            latency(&runtime, pin, name, qos);
        }
    }
    if all || arguments.contains("connections") {
        connections(&runtime, pin);
    }
}

/// Ten pairs, each of which sends a message for each that has arrived.
fn throughput(runtime: &Runtime, pin: bool, name: &str, qos: QoS) {
    let broker = Broker::start(pin);
    let received = Rc::new(Cell::new(0_u64));
    let tasks = LocalSet::new();
    for number in 0..PAIRS {
        tasks.spawn_local(keep_full(broker.address, number, qos, Rc::clone(&received)));
    }
    let (messages, elapsed, cpu) = tasks.block_on(runtime, async {
        sleep(WARM_UP).await;
        let before = (received.get(), Instant::now(), broker.cpu_time());
        sleep(MEASURED).await;
        (received.get() - before.0, before.1.elapsed(), broker.cpu_time().saturating_sub(before.2))
    });
    let (millions, seconds) = (float(messages) / 1e6, elapsed.as_secs_f64());
    println!(
        "throughput {name}: {:.0} msgs/s, {:.2} CPU s per million, {:.0} % of a processor, {:.1} MiB",
        float(messages) / seconds,
        cpu.as_secs_f64() / millions,
        100.0 * cpu.as_secs_f64() / seconds,
        float(broker.resident_bytes()) / 1_048_576.0,
    );
}

async fn keep_full(address: SocketAddr, number: u16, qos: QoS, received: Rc<Cell<u64>>) {
    let mut pair = Pair::connect(address, number, qos).await;
    pair.publish(WINDOW, &[0; PAYLOAD]).await;
    loop {
        let arrived = timeout(PATIENCE, pair.arrivals(|_| ())).await.expect("messages are lost");
        received.set(received.get() + u64::from(arrived));
        pair.publish(arrived, &[0; PAYLOAD]).await;
    }
}

/// Ten pairs, whose publishers send at their times whatever arrives.
fn latency(runtime: &Runtime, pin: bool, name: &str, qos: QoS) {
    let broker = Broker::start(pin);
    let tasks = LocalSet::new();
    let started = Instant::now();
    let mut latencies = tasks.block_on(runtime, async {
        let pairs =
            (0..PAIRS).map(|number| tasks.spawn_local(send_on_time(broker.address, number, qos, started)));
        let mut latencies = Vec::new();
        for pair in pairs.collect::<Vec<_>>() {
            latencies.extend(pair.await.unwrap());
        }
        latencies
    });
    latencies.sort_unstable();
    let at = |permille: usize| latencies[(latencies.len() - 1) * permille / 1_000].as_secs_f64() * 1e6;
    println!(
        "latency {name} at {RATE} msgs/s: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, most {:.0} us, {} messages",
        at(500),
        at(990),
        at(999),
        at(1_000),
        latencies.len(),
    );
}

/// Returns how long each message took that was sent after the warm-up.
async fn send_on_time(address: SocketAddr, number: u16, qos: QoS, started: Instant) -> Vec<Duration> {
    let mut pair = Pair::connect(address, number, qos).await;
    let mut latencies = Vec::new();
    let interval = Duration::from_secs(1) * u32::from(PAIRS) / RATE;
    let first = Instant::now() + interval * u32::from(number) / u32::from(PAIRS);
    let count = u32::try_from((WARM_UP + MEASURED).as_nanos() / interval.as_nanos()).unwrap();
    let warm = u32::try_from(WARM_UP.as_nanos() / interval.as_nanos()).unwrap();
    let (mut sent, mut arrived) = (0, 0);
    while arrived < count {
        let due = first + interval * sent;
        tokio::select! {
            () = sleep_until(due.into()), if sent < count => {
                // The message says when it is sent. Where the broker did not take the ones before it in time it says
                // when it should have been.
                let late = due.elapsed();
                let stamp = if late > interval { due } else { Instant::now() };
                let mut payload = [0; PAYLOAD];
                let nanos = u64::try_from(stamp.duration_since(started).as_nanos()).unwrap();
                payload[..8].copy_from_slice(&nanos.to_be_bytes());
                pair.publish(1, &payload).await;
                sent += 1;
            }
            more = pair.arrivals(|payload| {
                let stamp = Duration::from_nanos(u64::from_be_bytes(payload[..8].try_into().unwrap()));
                latencies.push(started.elapsed().saturating_sub(stamp));
            }) => arrived += u32::from(more),
        }
    }
    latencies.split_off(usize::try_from(warm).unwrap())
}

/// Clients that connect and do nothing.
fn connections(runtime: &Runtime, pin: bool) {
    let broker = Broker::start(pin);
    runtime.block_on(async {
        let (before, started) = (broker.resident_bytes(), Instant::now());
        let cpu_before = broker.cpu_time();
        let mut clients = Vec::new();
        for number in 0..IDLE {
            match Client::connect(broker.address, &format!("idle-{number}")).await {
                Ok(client) => clients.push(client),
                Err(error) => {
                    println!("connections: {number} connected, then: {error}; `ulimit -n` may be too low");
                    return;
                }
            }
        }
        let (elapsed, cpu) = (started.elapsed().as_secs_f64(), broker.cpu_time().saturating_sub(cpu_before));
        sleep(WARM_UP).await;
        let bytes = broker.resident_bytes().saturating_sub(before);
        println!(
            "connections: {:.0} bytes of memory each for {IDLE}, {:.0} connects/s, {:.0} CPU us each",
            float(bytes) / f64::from(IDLE),
            f64::from(IDLE) / elapsed,
            cpu.as_secs_f64() * 1e6 / f64::from(IDLE),
        );
    });
}

/// A publisher, and a subscriber to what it publishes.
struct Pair {
    publisher: Client,
    subscriber: Client,
    qos: QoS,
    topic: TopicName,
    next_id: PacketId,
}

impl Pair {
    async fn connect(address: SocketAddr, number: u16, qos: QoS) -> Self {
        let publisher = Client::connect(address, &format!("publisher-{number}")).await.unwrap();
        let mut subscriber = Client::connect(address, &format!("subscriber-{number}")).await.unwrap();
        let topic = TopicName::parse(&format!("bench/{number}")).unwrap();
        let entry = SubscribeEntry {
            filter: topic.as_str().into(),
            options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
        };
        subscriber.queue(&Packet::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::MIN,
            identifier: None,
            user_properties: UserProperties::new(),
            entries: vec![entry],
        })));
        subscriber.write().await.unwrap();
        while subscriber.read(|_, _| ()).await.unwrap() == 0 {}
        Self { publisher, subscriber, qos, topic, next_id: PacketId::MIN }
    }

    /// Sends so many messages in one write, as far as the socket takes them.
    async fn publish(&mut self, count: u16, payload: &[u8]) {
        for _ in 0..count {
            let packet_id = (self.qos > QoS::AtMostOnce).then_some(self.next_id);
            self.next_id = self.next_id.next();
            self.publisher.queue(&Packet::Publish(Publish {
                dup: false,
                qos: self.qos,
                retain: false,
                topic: Some(self.topic.clone()),
                topic_alias: None,
                packet_id,
                payload: Bytes::copy_from_slice(payload),
                properties: None,
            }));
        }
        self.publisher.write().await.unwrap();
    }

    /// Waits until something arrives at either client, and acknowledges it. Returns how many messages arrived.
    async fn arrivals(&mut self, mut arrived: impl FnMut(&[u8])) -> u16 {
        let mut count = 0;
        tokio::select! {
            // PUBACKs: the window makes sure that packet identifiers are free again in time.
            read = self.publisher.read(|_, _| ()) => {
                read.unwrap();
                return 0;
            }
            ready = self.subscriber.stream.readable() => ready.unwrap(),
        }
        let (qos, body_offset) = (self.qos, 2 + self.topic.as_str().len());
        let mut acknowledged = Vec::new();
        self.subscriber
            .read(|first, body| {
                if first >> 4 != 3 {
                    return;
                }
                count += 1;
                let mut rest = &body[body_offset..];
                if qos > QoS::AtMostOnce {
                    acknowledged.extend(PacketId::new(u16::from_be_bytes([rest[0], rest[1]])));
                    rest = &rest[2..];
                }
                arrived(rest);
            })
            .await
            .unwrap();
        for packet_id in acknowledged {
            self.subscriber.queue(&Packet::Acknowledgement(Acknowledgement {
                kind: AcknowledgementKind::PubAck,
                packet_id,
                reason: ReasonCode::Success,
                details: None,
            }));
        }
        self.subscriber.write().await.unwrap();
        count
    }
}

/// A connection, with what is to be written and what has been read in part.
struct Client {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Client {
    /// Connects, and waits for the CONNACK.
    async fn connect(address: SocketAddr, name: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, outgoing: Vec::new(), incoming: Vec::new() };
        client.queue(&Packet::Connect(Box::new(Connect {
            version: VERSION,
            clean_start: true,
            keep_alive: 0,
            client_id: ClientId::new(name),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        })));
        client.write().await?;
        while client.read(|_, _| ()).await? == 0 {}
        Ok(client)
    }

    fn queue(&mut self, packet: &Packet) {
        encode(packet, VERSION, &mut self.outgoing).expect("a packet that fits");
    }

    /// Writes all that is queued.
    async fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.outgoing.len() {
            match self.stream.try_write(&self.outgoing[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        Ok(())
    }

    /// Waits for something to read and hands each whole packet over: its first byte, and what follows the fixed
    /// header. Returns how many there were.
    async fn read(&mut self, mut packet: impl FnMut(u8, &[u8])) -> io::Result<usize> {
        self.stream.readable().await?;
        self.take()?;
        let (mut at, mut count) = (0, 0);
        while let Some(header) = frame_header(&self.incoming[at..]).map_err(io::Error::other)? {
            let body = at + header.header_len;
            let Some(body) = self.incoming.get(body..body + header.body_len) else { break };
            packet(header.first, body);
            at += header.header_len + header.body_len;
            count += 1;
        }
        self.incoming.drain(..at);
        Ok(count)
    }

    /// Reads what is there.
    fn take(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.incoming.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The broker, as a process of its own. It is killed when this is dropped.
struct Broker {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Broker {
    fn start(pin: bool) -> Self {
        let directory = std::env::temp_dir().join(format!("mqtt-broker-bench-{}", std::process::id()));
        // One that was cut off may have left it behind.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let ports = directory.join("ports");
        let binary = env!("CARGO_BIN_EXE_mqtt-broker");
        let mut command = if pin {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "0", binary]);
            command
        } else {
            Command::new(binary)
        };
        let child = command
            .args(["--bind", "127.0.0.1", "--tcp-port", "0", "--log-level", "error", "--ports-file"])
            .arg(&ports)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let started = Instant::now();
        let text = loop {
            match fs::read_to_string(&ports) {
                Ok(text) => break text,
                Err(_) if started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                Err(error) => panic!("the broker does not listen: {error}"),
            }
        };
        let address = text.split_whitespace().find_map(|word| word.parse().ok()).expect("it listens on TCP");
        Self { child, address, directory }
    }

    /// The processor time that it has used, in the kernel and outside; Linux counts it in hundredths of a second.
    fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name of the program, which may hold anything, come the state and then numbers.
        let (_, numbers) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            numbers.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, with a word about why.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A number that is not so large that it matters.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed with a few digits"
)]
fn float(number: u64) -> f64 {
    number as f64
}
