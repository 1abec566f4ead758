//! What is kept for sessions whose clients are away.

use std::time::Instant;

use mqtt_broker::mqtt::QoS;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::client::{Arrival, Client, Lifetime, Template};
use super::process::Broker;
use super::{Figures, PATIENCE, float};

/// Clients that come and go at the same time.
const AT_ONCE: u32 = 100;

/// Bytes of a payload.
const PAYLOAD: usize = 64;

/// The topic of what is for all of them.
const ALL: &str = "kept/all";

/// Clients subscribe to what is for all, and to a topic of their own, and go; their sessions stay.
pub(crate) fn leave(runtime: &Runtime, broker: &Broker, count: u32) -> Figures {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let (watch, address) = (broker.watch(), broker.address);
        let leaving: Vec<_> = (0..AT_ONCE)
            .map(|first| {
                tasks.spawn_local(async move {
                    for number in (first..count).step_by(usize::try_from(AT_ONCE).unwrap()) {
                        let name = format!("away-{number}");
                        let mut client =
                            Client::with_session(address, &name, Lifetime::Unbounded).await.unwrap();
                        client.subscribe(&[ALL, &own_topic(number)], QoS::AtLeastOnce).await.unwrap();
                        client.leave().await.unwrap();
                    }
                })
            })
            .collect();
        for some in leaving {
            some.await.unwrap();
        }
        let spent = watch.spent();
        vec![
            ("sessions_per_second", f64::from(count) / spent.elapsed),
            ("resident_mib", float(broker.resident_bytes()) / 1_048_576.0),
        ]
    })
}

/// Messages for all of them, so many under way at a time, and how long each took to be acknowledged.
pub(crate) fn queue(runtime: &Runtime, broker: &Broker, count: u32, at_once: u32) -> Figures {
    let template = Template::new(ALL, &[0; PAYLOAD], QoS::AtLeastOnce, false);
    publish(runtime, broker, &[template], count, at_once)
}

/// Messages for a hundred of them, each for one.
pub(crate) fn fill(runtime: &Runtime, broker: &Broker, count: u32) -> Figures {
    let templates: Vec<_> = (0..100)
        .map(|number| Template::new(&own_topic(number), &[0; PAYLOAD], QoS::AtLeastOnce, false))
        .collect();
    publish(runtime, broker, &templates, count, 1_000)
}

fn own_topic(number: u32) -> String {
    format!("kept/{number}")
}

fn publish(runtime: &Runtime, broker: &Broker, templates: &[Template], count: u32, at_once: u32) -> Figures {
    let mut times = Vec::new();
    let spent = runtime.block_on(async {
        let mut client = Client::connect(broker.address, "publisher").await.unwrap();
        let (watch, mut sent, mut done) = (broker.watch(), Vec::new(), 0);
        let mut template = templates.iter().cycle();
        while done < usize::try_from(count).unwrap() {
            let room = usize::try_from(count.min(at_once)).unwrap() + done - sent.len();
            for _ in 0..room.min(usize::try_from(count).unwrap() - sent.len()) {
                client.publish(template.next().unwrap());
                sent.push(Instant::now());
            }
            client.write().await.unwrap();
            let acknowledged = client.read(|arrival| {
                if arrival == Arrival::Done {
                    // They are acknowledged in the order in which they were sent.
                    times.push(sent[done].elapsed());
                    done += 1;
                }
            });
            timeout(PATIENCE, acknowledged).await.expect("messages are lost").unwrap();
        }
        watch.spent()
    });
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
    vec![
        ("messages_per_second", f64::from(count) / spent.elapsed),
        ("cpu_seconds_per_million", spent.broker * 1e6 / f64::from(count)),
        ("acknowledged_p50_us", at(50)),
        ("acknowledged_p99_us", at(99)),
        ("foreign_cpu_percent", 100.0 * spent.foreign / spent.elapsed),
        ("resident_mib", float(broker.resident_bytes()) / 1_048_576.0),
    ]
}
