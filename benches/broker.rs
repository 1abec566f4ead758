//! What the broker itself costs, without sockets and tasks: one message to 1, 100 or 10,000 subscribers, and clients
//! that come and go.
//!
//! `cargo bench --bench broker`

#[path = "support/stage.rs"]
mod stage;

use criterion::{BenchmarkId, Criterion, Throughput};
use mqtt_broker::broker::ConnectionId;
use mqtt_broker::mqtt::QoS;

use stage::{Stage, publish};

/// Publications that reach the broker as one input, as they do when a socket is read under load.
const BURST: u64 = 64;

const PUBLISHER: ConnectionId = ConnectionId(0);

const TOPIC: &str = "site/7/line/3/temperature";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        fan_out(&mut criterion, qos);
    }
    come_and_go(&mut criterion);
    criterion.final_summary();
}

/// One publisher; each of its messages goes to all subscribers. Counted are deliveries.
fn fan_out(criterion: &mut Criterion, qos: QoS) {
    let mut group = criterion.benchmark_group(format!("fan out/{qos:?}"));
    for subscribers in [1, 100, 10_000] {
        let mut stage = Stage::new();
        stage.attach(PUBLISHER);
        for number in 1..=subscribers {
            stage.attach(ConnectionId(number));
            stage.subscribe(ConnectionId(number), &[TOPIC], qos);
        }
        group.throughput(Throughput::Elements(subscribers * BURST));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                stage.say(PUBLISHER, (1..=BURST).map(|number| publish(TOPIC, number, qos, false)).collect());
                assert_eq!(stage.settle(), subscribers * BURST);
            });
        });
    }
    group.finish();
}

/// A client connects, subscribes and disconnects, among others that stay.
fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("come and go");
    group.throughput(Throughput::Elements(1));
    for others in [0, 100_000] {
        let mut stage = Stage::new();
        for number in 0..others {
            stage.attach(ConnectionId(number));
            stage.subscribe(ConnectionId(number), &[&format!("device/{number}/command")], QoS::AtLeastOnce);
        }
        let mut next = others;
        group.bench_function(BenchmarkId::from_parameter(others), |bencher| {
            bencher.iter(|| {
                let connection = ConnectionId(next);
                next += 1;
                stage.attach(connection);
                stage.subscribe(connection, &["device/new/command"], QoS::AtLeastOnce);
                stage.disconnect(connection);
            });
        });
    }
    group.finish();
}
