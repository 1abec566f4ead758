//! What a broker costs from socket to socket: processor time for each message, time to arrive, memory for what it keeps.
//! It starts the broker that was built with it, or measures one that is there, and speaks MQTT 3.1.1 over the loopback.
//!
//! `cargo bench --bench end_to_end -- [--pin] [--seconds N] [--port PORT --pid PROCESS] [--json] [SCENARIO …]`
//!
//! Without a scenario it plays all but those with a million. `--pin` gives our broker the processor 0 and nothing else,
//! by means of `taskset`. `--port` and `--pid` are those of a broker that is there, anybody's. `--json` prints each result
//! as an object in a line of its own. Linux only: figures of the broker's process are read from `/proc`.
//! `docs/performance.md` says how to read what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

mod client;
mod kept;
mod latency;
mod process;
mod tables;
mod throughput;

use std::time::Duration;

use mqtt_broker::mqtt::QoS;
use tokio::runtime::Runtime;

use self::process::Broker;
use self::throughput::Shape;

/// Names and values of what was measured.
type Figures = Vec<(&'static str, f64)>;

/// Nothing should take so long; if it does, messages were lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Scenario {
    Idle,
    Throughput(Shape, QoS, usize),
    Latency(u32, QoS),
    Connections(u32),
    Subscriptions(u32),
    Retained(u32),
    /// Sessions that are left behind, as many.
    Leave(u32),
    /// Messages for all of these, as many and as many at a time.
    Queue(u32, u32),
    /// Messages each of which is for one of a hundred of these, as many.
    Fill(u32),
}

const SCENARIOS: &[(&str, Scenario)] = &[
    ("idle", Scenario::Idle),
    ("pairs-qos0", Scenario::Throughput(Shape::Pairs(10), QoS::AtMostOnce, 64)),
    ("pairs-qos1", Scenario::Throughput(Shape::Pairs(10), QoS::AtLeastOnce, 64)),
    ("pairs-qos2", Scenario::Throughput(Shape::Pairs(10), QoS::ExactlyOnce, 64)),
    ("pairs-1k", Scenario::Throughput(Shape::Pairs(10), QoS::AtMostOnce, 1 << 10)),
    ("pairs-64k", Scenario::Throughput(Shape::Pairs(10), QoS::AtMostOnce, 64 << 10)),
    ("fan-in-50", Scenario::Throughput(Shape::FanIn(50), QoS::AtLeastOnce, 64)),
    ("fan-out-100", Scenario::Throughput(Shape::FanOut(100), QoS::AtMostOnce, 64)),
    ("fan-out-1000", Scenario::Throughput(Shape::FanOut(1_000), QoS::AtMostOnce, 64)),
    ("latency-2k-qos0", Scenario::Latency(2_000, QoS::AtMostOnce)),
    ("latency-2k-qos1", Scenario::Latency(2_000, QoS::AtLeastOnce)),
    ("latency-20k-qos0", Scenario::Latency(20_000, QoS::AtMostOnce)),
    ("latency-20k-qos1", Scenario::Latency(20_000, QoS::AtLeastOnce)),
    ("connections-10k", Scenario::Connections(10_000)),
    ("subscriptions-100", Scenario::Subscriptions(100)),
    ("subscriptions-100k", Scenario::Subscriptions(100_000)),
    ("retained-100k", Scenario::Retained(100_000)),
    (FIRST_OF_THE_LARGE, Scenario::Subscriptions(1_000_000)),
    ("retained-1m", Scenario::Retained(1_000_000)),
    // Of use with a data directory, and played one behind the other: see benches/durable/run.
    ("kept-1-qos1", Scenario::Throughput(Shape::KeptPairs(1), QoS::AtLeastOnce, 64)),
    ("kept-10-qos1", Scenario::Throughput(Shape::KeptPairs(10), QoS::AtLeastOnce, 64)),
    ("kept-100-qos1", Scenario::Throughput(Shape::KeptPairs(100), QoS::AtLeastOnce, 64)),
    ("kept-1-qos2", Scenario::Throughput(Shape::KeptPairs(1), QoS::ExactlyOnce, 64)),
    ("kept-10-qos2", Scenario::Throughput(Shape::KeptPairs(10), QoS::ExactlyOnce, 64)),
    ("kept-100-qos2", Scenario::Throughput(Shape::KeptPairs(100), QoS::ExactlyOnce, 64)),
    ("leave-1", Scenario::Leave(1)),
    ("leave-100", Scenario::Leave(100)),
    ("leave-10k", Scenario::Leave(10_000)),
    ("queue-one-by-one", Scenario::Queue(500, 1)),
    ("queue-200", Scenario::Queue(200, 64)),
    ("queue-20k", Scenario::Queue(20_000, 64)),
    ("queue-50k", Scenario::Queue(50_000, 64)),
    ("fill-1m", Scenario::Fill(1_000_000)),
];

const FIRST_OF_THE_LARGE: &str = "subscriptions-1m";

#[derive(Debug)]
struct Arguments {
    pin: bool,
    json: bool,
    seconds: u64,
    /// Port and process of a broker that is there.
    broker: Option<(u16, u32)>,
    scenarios: Vec<String>,
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without that argument.
    if arguments.last().is_none_or(|last| last != "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return;
    }
    arguments.pop();
    let arguments = Arguments::read(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let everyday = SCENARIOS.iter().take_while(|(name, _)| *name != FIRST_OF_THE_LARGE);
    let everyday: Vec<String> = everyday.map(|(name, _)| (*name).to_owned()).collect();
    for name in if arguments.scenarios.is_empty() { &everyday } else { &arguments.scenarios } {
        let Some((_, scenario)) = SCENARIOS.iter().find(|(there, _)| there == name) else {
            let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
            panic!("there is no scenario {name}, only {}", names.join(", "));
        };
        let broker = match arguments.broker {
            Some((port, process)) => Broker::at(port, process),
            None => Broker::start(arguments.pin),
        };
        let figures = play(*scenario, &runtime, &broker, Duration::from_secs(arguments.seconds));
        print(name, &figures, arguments.json);
    }
}

fn play(scenario: Scenario, runtime: &Runtime, broker: &Broker, measured: Duration) -> Figures {
    match scenario {
        Scenario::Idle => tables::idle(runtime, broker, measured),
        Scenario::Throughput(shape, qos, payload) => {
            throughput::throughput(runtime, broker, shape, qos, payload, measured)
        }
        Scenario::Latency(rate, qos) => latency::latency(runtime, broker, rate, qos, measured),
        Scenario::Connections(count) => tables::connections(runtime, broker, count, measured),
        Scenario::Subscriptions(count) => tables::subscriptions(runtime, broker, count, measured),
        Scenario::Retained(count) => tables::retained(runtime, broker, count),
        Scenario::Leave(count) => kept::leave(runtime, broker, count),
        Scenario::Queue(count, at_once) => kept::queue(runtime, broker, count, at_once),
        Scenario::Fill(count) => kept::fill(runtime, broker, count),
    }
}

fn print(name: &str, figures: &Figures, json: bool) {
    if json {
        let figures: Vec<String> =
            figures.iter().map(|(name, value)| format!("\"{name}\":{value:.3}")).collect();
        println!("{{\"scenario\":\"{name}\",{}}}", figures.join(","));
    } else {
        let figures = figures.iter().map(|(name, value)| {
            let digits = if *value < 100.0 { 2 } else { 0 };
            format!("{} {value:.digits$}", name.replace('_', " "))
        });
        println!("{name}: {}", figures.collect::<Vec<_>>().join(", "));
    }
}

impl Arguments {
    fn read(arguments: Vec<String>) -> Self {
        let mut read = Self { pin: false, json: false, seconds: 5, broker: None, scenarios: Vec::new() };
        let (mut port, mut process) = (None, None);
        let mut left = arguments.into_iter();
        while let Some(argument) = left.next() {
            let mut number = || left.next().and_then(|value| value.parse::<u32>().ok());
            match argument.as_str() {
                "--pin" => read.pin = true,
                "--json" => read.json = true,
                "--seconds" => read.seconds = u64::from(number().expect("--seconds takes a number")),
                "--port" => port = number().and_then(|port| u16::try_from(port).ok()),
                "--pid" => process = number(),
                _ => read.scenarios.push(argument),
            }
        }
        read.broker = port.zip(process);
        assert_eq!(port.is_some(), process.is_some(), "--port and --pid belong together");
        read
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
