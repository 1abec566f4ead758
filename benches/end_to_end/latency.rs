//! Messages that are sent at their times whatever arrives: an open loop.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mqtt_broker::mqtt::QoS;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, yield_now};
use tokio::time::timeout;

use super::client::{Arrival, Client, Template};
use super::process::Broker;
use super::{Figures, PATIENCE};

/// Pairs of a publisher and a subscriber, which have their turns.
const PAIRS: usize = 10;

/// Bytes of each payload.
const PAYLOAD: usize = 64;

/// Each message says when it was due, even where it was sent late, so that a stall is not hidden by what was not sent
/// during it. This program does not sleep meanwhile: what is measured is not how fast it wakes up.
pub(crate) fn latency(
    runtime: &Runtime,
    broker: &Broker,
    rate: u32,
    qos: QoS,
    measured: Duration,
) -> Figures {
    let tasks = LocalSet::new();
    let warm_up = measured / 4;
    let interval = Duration::from_secs(1) / rate;
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let (late, spent) = tasks.block_on(runtime, async {
        let mut publishers = Vec::new();
        let origin = Instant::now();
        for number in 0..PAIRS {
            let (topic, name) = (format!("load/{number}"), format!("subscriber-{number}"));
            let mut subscriber = Client::connect(broker.address, &name).await.unwrap();
            subscriber.subscribe(&[&topic], qos).await.unwrap();
            tasks.spawn_local(receive(subscriber, origin, Rc::clone(&latencies)));
            let client = Client::connect(broker.address, &format!("publisher-{number}")).await.unwrap();
            publishers.push((client, Template::new(&topic, &[0; PAYLOAD], qos, false)));
        }
        let first = Instant::now();
        let count = u32::try_from((warm_up + measured).as_nanos() / interval.as_nanos()).unwrap();
        let (mut late, mut watch) = (Vec::new(), None);
        for (sent, turn) in (0..count).zip((0..PAIRS).cycle()) {
            let due = first + interval * sent;
            while due > Instant::now() {
                yield_now().await;
            }
            if due >= first + warm_up {
                watch.get_or_insert_with(|| broker.watch());
                late.push(due.elapsed());
            }
            let (client, template) = &mut publishers[turn];
            let nanos = u64::try_from(due.duration_since(origin).as_nanos()).unwrap();
            template.payload()[..8].copy_from_slice(&nanos.to_be_bytes());
            client.publish(template);
            client.write().await.unwrap();
            if qos > QoS::AtMostOnce {
                // PUBACKs are not waited for: they are read when they have come.
                let _ = timeout(Duration::ZERO, client.read(|_| ())).await;
                client.write().await.unwrap();
            }
        }
        let spent = watch.expect("more than the warm-up is measured").spent();
        let all = async {
            while latencies.borrow().len() < usize::try_from(count).unwrap() {
                yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.expect("messages are lost");
        (late, spent)
    });
    // In order of arrival, which is that of sending but for some that cross at the end of the warm-up.
    let mut latencies = latencies.take();
    let latencies = sorted(latencies.split_off(latencies.len() - late.len()));
    let late = sorted(late);
    vec![
        ("p50_us", at(&latencies, 500)),
        ("p99_us", at(&latencies, 990)),
        ("p99_9_us", at(&latencies, 999)),
        ("most_us", at(&latencies, 1_000)),
        ("sent_late_p99_us", at(&late, 990)),
        ("broker_cpu_percent", 100.0 * spent.broker / spent.elapsed),
        ("foreign_cpu_percent", 100.0 * spent.foreign / spent.elapsed),
    ]
}

async fn receive(mut client: Client, origin: Instant, latencies: Rc<RefCell<Vec<Duration>>>) {
    loop {
        let read = client.read(|arrival| {
            let Arrival::Message(payload) = arrival else { return };
            let stamp = Duration::from_nanos(u64::from_be_bytes(payload[..8].try_into().unwrap()));
            latencies.borrow_mut().push(origin.elapsed().saturating_sub(stamp));
        });
        read.await.unwrap();
        client.write().await.unwrap();
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn at(sorted: &[Duration], permille: usize) -> f64 {
    sorted[(sorted.len() - 1) * permille / 1_000].as_secs_f64() * 1e6
}
