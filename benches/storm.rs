//! What those who are in notice when ten thousand others come back at once: how long messages take to arrive before a
//! storm of connections and during it.
//!
//! `cargo bench --bench storm`, or with `tcp` or `tls` behind a `--`. It starts the broker that was built with it, and
//! itself once more, at the lowest priority, for the storm: so that what is measured is what the broker does, as far as
//! one machine can be both. Linux only. `docs/performance.md` says how to read what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

/// Clients that come at once.
const STORM: u64 = 10_000;

/// Pairs of a publisher and a subscriber that are in before.
const PAIRS: u32 = 10;

/// Messages of each second, of all pairs together.
const RATE: u32 = 2_000;

const WARM_UP: Duration = Duration::from_secs(2);
const BEFORE: Duration = Duration::from_secs(10);

/// How long a client waits for an answer before it tries again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of the payload of a message, the first of which say when it was sent.
const PAYLOAD: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    raise_file_limit();
    match words.as_slice() {
        ["come", kind, address] => come(&Door::new(kind, address.parse().unwrap())),
        // `cargo test --benches` runs this too, without that argument.
        words if !words.contains(&"--bench") => println!("nothing is measured but by `cargo bench`"),
        words => {
            for kind in ["tcp", "tls"] {
                if words.contains(&kind) || !words.iter().any(|word| ["tcp", "tls"].contains(word)) {
                    measure(kind);
                }
            }
        }
    }
}

/// As many files as the system lets this process open.
fn raise_file_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

fn measure(kind: &str) {
    let broker = Broker::start();
    let door = Door::new(kind, broker.address(kind));
    let samples = Rc::new(Samples::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    let (before, during, report) = tasks.block_on(&runtime, async {
        let started = Instant::now();
        for number in 0..PAIRS {
            tasks.spawn_local(exchange(door.clone(), number, started, Rc::clone(&samples)));
        }
        sleep(WARM_UP).await;
        samples.take();
        sleep(BEFORE).await;
        let before = samples.take();
        let mut storm = Storm::gather(kind, door.address);
        samples.take();
        let began = Instant::now();
        storm.let_loose();
        let report = storm.end().await;
        let report = format!("{report} in {:.1} s", began.elapsed().as_secs_f64());
        (before, samples.take(), report)
    });
    let (before, during) = (Distribution::of(before), Distribution::of(during));
    println!(
        "storm {kind}: {report}; before it {before}; during it {during}; p99 {:.2} times",
        during.at(990) / before.at(990)
    );
}

/// How long messages took, since this was last taken.
#[derive(Debug, Default)]
struct Samples(RefCell<Vec<Duration>>);

impl Samples {
    fn add(&self, latency: Duration) {
        self.0.borrow_mut().push(latency);
    }

    fn take(&self) -> Vec<Duration> {
        self.0.take()
    }
}

struct Distribution(Vec<Duration>);

impl Distribution {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// In microseconds.
    fn at(&self, permille: usize) -> f64 {
        self.0[(self.0.len() - 1) * permille / 1_000].as_secs_f64() * 1e6
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.0} us, p99 {:.0} us, most {:.0} us of {} messages",
            self.at(500),
            self.at(990),
            self.at(1_000),
            self.0.len()
        )
    }
}

/// One pair: messages leave at their times, whether earlier ones have arrived or not.
async fn exchange(door: Door, number: u32, started: Instant, samples: Rc<Samples>) {
    let topic = format!("storm/{number}");
    let mut publisher = door.connect(&format!("publisher-{number}")).await.unwrap();
    let mut subscriber = door.connect(&format!("subscriber-{number}")).await.unwrap();
    subscriber.write_all(&subscribe(&topic)).await.unwrap();
    subscriber.read_exact(&mut [0; 5]).await.unwrap();
    tokio::task::spawn_local(async move {
        let mut packet = vec![0; publish(&format!("storm/{number}"), Duration::ZERO).len()];
        loop {
            subscriber.read_exact(&mut packet).await.unwrap();
            let stamp = packet[packet.len() - PAYLOAD..][..8].try_into().unwrap();
            samples.add(started.elapsed().saturating_sub(Duration::from_nanos(u64::from_be_bytes(stamp))));
        }
    });
    let interval = Duration::from_secs(1) * PAIRS / RATE;
    let mut due = Instant::now() + interval * number / PAIRS;
    loop {
        sleep_until(due.into()).await;
        // It says when it is sent; where this program or the broker has held it up, when it should have been.
        let stamp = if due.elapsed() > interval { due } else { Instant::now() };
        publisher.write_all(&publish(&topic, stamp.duration_since(started))).await.unwrap();
        publisher.flush().await.unwrap();
        due += interval;
    }
}

/// Where the broker is reached.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Door {
    fn new(kind: &str, address: SocketAddr) -> Self {
        Self { address, tls: (kind == "tls").then(connector) }
    }

    /// Connects, and waits for the CONNACK.
    async fn connect(&self, name: &str) -> io::Result<Box<dyn Stream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?),
        };
        stream.write_all(&connect(name)).await?;
        stream.flush().await?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await?;
        assert_eq!(connack, [0x20, 2, 0, 0]);
        Ok(stream)
    }
}

/// Clients that come anew have no session to resume.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs().join("ca.crt")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn certs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs")
}

/// This program once more, to be the storm.
struct Storm(Child);

impl Storm {
    fn gather(kind: &str, address: SocketAddr) -> Self {
        let program = std::env::current_exe().unwrap();
        // Whatever this program has been started with, the storm is to be behind everything.
        let mut command = Command::new("chrt");
        command.args(["--other", "0", "nice", "-n", "19"]).arg(program);
        command.args(["come", kind, &address.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It says when it is ready.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn let_loose(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits until all are in, and tells what it took.
    async fn end(mut self) -> String {
        let output = self.0.stdout.take().unwrap();
        let report = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let report = report.await.unwrap().unwrap();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        report.trim().to_owned()
    }
}

/// Comes as ten thousand clients at once. Those that do not get in try again.
fn come(door: &Door) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    io::stdout().write_all(b".").and_then(|()| io::stdout().flush()).unwrap();
    io::stdin().lock().read_line(&mut String::new()).unwrap();
    let (tasks, failures) = (LocalSet::new(), Rc::new(Cell::new(0_u64)));
    let clients = tasks.block_on(&runtime, async {
        let arrive = |number| {
            let (door, failures) = (door.clone(), Rc::clone(&failures));
            tasks.spawn_local(async move {
                loop {
                    match timeout(PATIENCE, door.connect(&format!("storm-{number}"))).await {
                        Ok(Ok(stream)) => break stream,
                        Ok(Err(_)) | Err(_) => failures.set(failures.get() + 1),
                    }
                    // Not all at the same moment.
                    sleep(Duration::from_millis(number % 1_000)).await;
                }
            })
        };
        let mut clients = Vec::new();
        for client in (0..STORM).map(arrive).collect::<Vec<_>>() {
            clients.push(client.await.unwrap());
        }
        clients
    });
    println!("{} clients were let in, after {} attempts that failed,", clients.len(), failures.get());
    // They stay until the process is ended.
    thread::park();
}

/// The broker, as a process of its own. It is killed when this is dropped.
struct Broker {
    child: Child,
    ports: String,
    directory: PathBuf,
}

impl Broker {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("mqtt-broker-storm-{}", std::process::id()));
        // One that was cut off may have left it behind.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("ports");
        let child = Command::new(env!("CARGO_BIN_EXE_mqtt-broker"))
            .args(["--bind", "127.0.0.1", "--tcp-port", "0", "--tls-port", "0", "--log-level", "error"])
            .args(["--max-handshakes=40000", "--max-handshakes-per-address=40000"])
            .args(["--server-crt".as_ref(), certs().join("server.crt").as_os_str()])
            .args(["--server-key".as_ref(), certs().join("server.key").as_os_str()])
            .args(["--ports-file".as_ref(), file.as_os_str()])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let ports = loop {
            match fs::read_to_string(&file) {
                Ok(text) => break text,
                Err(_) if started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                Err(error) => panic!("the broker does not listen: {error}"),
            }
        };
        Self { child, ports, directory }
    }

    fn address(&self, kind: &str) -> SocketAddr {
        let mut lines = self.ports.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(name, _)| *name == kind).expect("it listens there").1.parse().unwrap()
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

/// CONNECT of MQTT 3.1.1, with a clean session and without keep-alive.
fn connect(name: &str) -> Vec<u8> {
    let name = string(name);
    packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0", &name[..]].concat())
}

fn subscribe(topic: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &string(topic)[..], &[0]].concat())
}

/// PUBLISH with QoS 0, of a payload that says when.
fn publish(topic: &str, when: Duration) -> Vec<u8> {
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&u64::try_from(when.as_nanos()).unwrap().to_be_bytes());
    packet(0x30, &[&string(topic)[..], &payload].concat())
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).expect("a short packet");
    assert!(len < 128);
    [&[first, len], body].concat()
}
