//! What the broker's memory and its other clients notice of a gibibyte that waits for clients who do not fetch it: half
//! of them are connected and read nothing, the others are away.
//!
//! `cargo bench --bench memory_ceiling`, with `own` or `shared` behind a `--` for one of the two cases: each client has
//! messages of its own, or all wait for the same ones. It starts the broker that was built with it, with
//! `--memory-max=256MiB` and a data directory. `--clients N`, `--mebibytes N` and `--payload N` make it smaller or
//! other. Linux only; both processes need a file for each stalled client. `docs/performance.md` says how to read what it
//! prints.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// Clients that read nothing, and as many that are away.
const CLIENTS: usize = 10_000;

/// What waits for all of them together.
const MEBIBYTES: usize = 1_024;

/// Bytes of a payload.
const PAYLOAD: usize = 1_024;

const MEMORY_MAX: &str = "--memory-max=256MiB";

/// Publications that wait for their PUBACK at any time.
const WINDOW: usize = 256;

/// How long the others are measured before and after.
const MEASURED: Duration = Duration::from_secs(20);

/// Between two messages of the others: 500 in a second.
const INTERVAL: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy)]
struct Case {
    clients: usize,
    messages: usize,
    payload: usize,
    /// Whether each client has a topic of its own.
    own: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without that argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return;
    }
    let number = |name: &str, otherwise: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(otherwise, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (clients, payload) = (number("--clients", CLIENTS), number("--payload", PAYLOAD));
    let messages = number("--mebibytes", MEBIBYTES) * (1 << 20) / payload / (2 * clients);
    raise_file_limit();
    let is_wanted = |name: &str| arguments.iter().any(|argument| argument == name);
    for (name, own) in [("own", true), ("shared", false)] {
        if is_wanted(name) || !(is_wanted("own") || is_wanted("shared")) {
            measure(name, Case { clients, messages, payload, own });
        }
    }
}

/// As many files as the system lets this process open.
fn raise_file_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

fn measure(name: &str, case: Case) {
    let broker = Broker::start(name);
    let Case { clients, messages, payload, .. } = case;
    println!("{name}: {clients} stalled and {clients} away, {messages} messages of {payload} bytes for each");
    println!("  empty: {}", broker.memory());
    let others = Others::connect(broker.address);
    let others = others.measure("alone", || thread::sleep(MEASURED));
    let mut stalled = Vec::new();
    for number in 0..2 * clients {
        let mut client = connect(broker.address, &format!("c{number}"), false);
        let topic = if case.own { format!("own/{number}") } else { "shared".to_owned() };
        client.write_all(&subscribe(&topic)).unwrap();
        read_packet(&mut client);
        if number < clients {
            stalled.push(client);
        } else {
            client.write_all(&[0xE0, 0]).unwrap();
        }
    }
    println!("  subscribed: {}", broker.memory());
    let others = others.measure("with them", || thread::sleep(MEASURED));
    let started = Instant::now();
    let others = others.measure("while it is published", || publish(broker.address, case));
    println!("  published in {:.1} s: {}", started.elapsed().as_secs_f64(), broker.memory());
    let others = others.measure("while it waits", || thread::sleep(MEASURED));
    println!("  waiting: {}", broker.memory());
    others.end();
    println!("  {}", broker.counters());
    drop(stalled);
}

/// Publishes what is to wait.
fn publish(address: SocketAddr, case: Case) {
    let mut client = connect(address, "publisher", true);
    let mut acknowledgements = client.try_clone().unwrap();
    let topics = if case.own { 2 * case.clients } else { 1 };
    let payload = vec![b'x'; case.payload];
    let (mut sent, mut acknowledged) = (0_usize, 0_usize);
    let all = topics * case.messages;
    while acknowledged < all {
        let mut bytes = Vec::new();
        while sent < all && sent - acknowledged < WINDOW {
            let topic = if case.own { format!("own/{}", sent % topics) } else { "shared".to_owned() };
            let id = u16::try_from(sent % 60_000 + 1).unwrap();
            bytes.extend(publication(&topic, Some(id), &payload));
            sent += 1;
        }
        client.write_all(&bytes).unwrap();
        read_packet(&mut acknowledgements);
        acknowledged += 1;
    }
}

/// A publisher and a subscriber of QoS 1, who have nothing to do with the rest.
struct Others {
    publisher: TcpStream,
    subscriber: TcpStream,
}

impl Others {
    fn connect(address: SocketAddr) -> Self {
        let mut subscriber = connect(address, "subscriber", true);
        subscriber.write_all(&subscribe("others")).unwrap();
        read_packet(&mut subscriber);
        Self { publisher: connect(address, "other publisher", true), subscriber }
    }

    /// Measures how long their messages take to arrive while `what` goes on.
    fn measure(self, when: &str, what: impl FnOnce()) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let going = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || self.exchange(&stop))
        };
        what();
        stop.store(true, Ordering::Relaxed);
        let (others, mut times) = going.join().unwrap();
        times.sort_unstable();
        let at = |permille: usize| times[(times.len() - 1) * permille / 1_000].as_secs_f64() * 1e6;
        println!(
            "  others {when}: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, most {:.0} us, {} messages",
            at(500),
            at(990),
            at(999),
            at(1_000),
            times.len(),
        );
        others
    }

    fn exchange(mut self, stop: &AtomicBool) -> (Self, Vec<Duration>) {
        let mut times = Vec::new();
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            due += INTERVAL;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            self.publisher.write_all(&publication("others", Some(1), &[b'x'; 64])).unwrap();
            let body = read_packet(&mut self.subscriber);
            times.push(sent.elapsed());
            let id = &body["others".len() + 2..][..2];
            self.subscriber.write_all(&[0x40, 2, id[0], id[1]]).unwrap();
            read_packet(&mut self.publisher);
        }
        (self, times)
    }

    fn end(self) {
        drop(self);
    }
}

/// Connects with MQTT 3.1.1 and without TCP's usual appetite for what is not read.
fn connect(address: SocketAddr, name: &str, clean: bool) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if !clean {
        socket.set_recv_buffer_size(4 << 10).unwrap();
    }
    socket.connect(&address.into()).expect("a connection; `ulimit -n` may be too low");
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, if clean { 2 } else { 0 }, 0, 0];
    body.extend(text(name));
    stream.write_all(&packet(0x10, &body)).unwrap();
    let connack = read_packet(&mut stream);
    assert_eq!(connack[1], 0, "the broker refuses a client: {connack:?}");
    stream
}

fn subscribe(topic: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(text(topic));
    body.push(1);
    packet(0x82, &body)
}

fn publication(topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    body.extend_from_slice(payload);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left % 128).unwrap();
        left /= 128;
        bytes.push(if left > 0 { low | 128 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the next packet, and gives what follows its length.
fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("the broker has closed a connection");
    let (mut len, mut factor) = (0, 1);
    loop {
        stream.read_exact(&mut byte).unwrap();
        len += usize::from(byte[0] & 127) * factor;
        factor *= 128;
        if byte[0] < 128 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).unwrap();
    body
}

/// The broker, as a process of its own. It is killed when this is dropped, and what it has kept is removed.
struct Broker {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Broker {
    fn start(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let ports = directory.join("ports");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-broker"));
        command
            .args(["--bind", "127.0.0.1", "--tcp-port", "0", "--allow-anonymous", MEMORY_MAX])
            // They are to stay.
            .args(["--write-timeout", "1h", "--data-dir", "data", "--ports-file"])
            .arg(&ports)
            .current_dir(&directory)
            .stderr(Stdio::from(fs::File::create(directory.join("log")).unwrap()));
        let child = command.spawn().unwrap();
        let address = loop {
            if let Some(line) = fs::read_to_string(&ports).ok().filter(|text| text.ends_with('\n')) {
                break line.trim().strip_prefix("tcp ").unwrap().parse().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        };
        Self { child, address, directory }
    }

    /// What it occupies, and has occupied at most, as the system says.
    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1_024
        };
        format!("{} MiB of memory, {} MiB at most", mebibytes("VmRSS:"), mebibytes("VmHWM:"))
    }

    /// What it has counted of all this.
    fn counters(&self) -> String {
        let log = self.directory.join("log");
        let _ = Command::new("kill").arg("-USR1").arg(self.child.id().to_string()).status();
        let line = loop {
            let file = BufReader::new(fs::File::open(&log).unwrap());
            let mut lines = file.lines().map_while(Result::ok);
            if let Some(line) = lines.find(|line| line.contains("counters ")) {
                break line;
            }
            thread::sleep(Duration::from_millis(10));
        };
        let told =
            ["queued_bytes=", "kept_", "cached_", "memory", "held_back", "_memory", "dropped_queue_full="];
        let words = line.split(' ').filter(|word| told.iter().any(|told| word.contains(told)));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
