//! What the broker keeps: connections that do nothing, many subscriptions, many retained messages.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mqtt_broker::mqtt::packet::Disconnect;
use mqtt_broker::mqtt::{Packet, QoS, ReasonCode};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::client::{Arrival, Client, Template};
use super::process::Broker;
use super::{Figures, PATIENCE, float};

/// Clients that connect at the same time.
const AT_ONCE: u32 = 100;

/// Messages under way through a table of subscriptions.
const UNDER_WAY: u32 = 256;

/// Nothing happens at all.
pub(crate) fn idle(runtime: &Runtime, broker: &Broker, measured: Duration) -> Figures {
    runtime.block_on(async {
        sleep(Duration::from_secs(1)).await;
        let (switches, watch) = (broker.switches(), broker.watch());
        sleep(measured).await;
        vec![
            ("resident_mib", float(broker.resident_bytes()) / 1_048_576.0),
            ("wake_ups_per_second", float(broker.switches() - switches) / watch.spent().elapsed),
        ]
    })
}

/// Clients that connect and do nothing.
pub(crate) fn connections(runtime: &Runtime, broker: &Broker, count: u32, measured: Duration) -> Figures {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let (before, watch) = (broker.resident_bytes(), broker.watch());
        let address = broker.address;
        let connecting: Vec<_> = (0..AT_ONCE)
            .map(|first| {
                tasks.spawn_local(async move {
                    let mut clients = Vec::new();
                    for number in (first..count).step_by(usize::try_from(AT_ONCE).unwrap()) {
                        let client = Client::connect(address, &format!("idle-{number}")).await;
                        clients.push(client.expect("`ulimit -n` is high enough"));
                    }
                    clients
                })
            })
            .collect();
        let mut clients = Vec::new();
        for some in connecting {
            clients.extend(some.await.unwrap());
        }
        let spent = watch.spent();
        sleep(Duration::from_secs(1)).await;
        let (bytes, watch) = (broker.resident_bytes().saturating_sub(before), broker.watch());
        sleep(measured).await;
        let idle = watch.spent();
        vec![
            ("connects_per_second", f64::from(count) / spent.elapsed),
            ("cpu_us_per_connect", spent.broker * 1e6 / f64::from(count)),
            ("bytes_per_connection", float(bytes) / f64::from(count)),
            ("idle_cpu_percent", 100.0 * idle.broker / idle.elapsed),
            ("foreign_cpu_percent", 100.0 * spent.foreign / spent.elapsed),
        ]
    })
}

/// Subscriptions of ten clients, thirds of them exact, with `+` and with `#`; then messages each of which matches one.
pub(crate) fn subscriptions(runtime: &Runtime, broker: &Broker, count: u32, measured: Duration) -> Figures {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let mut subscribers = Vec::new();
        for number in 0..10 {
            subscribers.push(Client::connect(broker.address, &format!("subscriber-{number}")).await.unwrap());
        }
        let (before, began) = (broker.resident_bytes(), Instant::now());
        let filters: Vec<String> = (0..count).map(filter).collect();
        for (some, client) in filters.chunks(10).zip((0..10).cycle()) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            subscribers[client].subscribe(&some, QoS::AtMostOnce).await.unwrap();
        }
        let subscribing = began.elapsed().as_secs_f64();
        let bytes = broker.resident_bytes().saturating_sub(before);

        let arrived = Rc::new(tokio::sync::Semaphore::new(usize::try_from(UNDER_WAY).unwrap()));
        for mut client in subscribers {
            let arrived = Rc::clone(&arrived);
            tasks.spawn_local(async move {
                loop {
                    let mut count = 0;
                    client
                        .read(|arrival| count += usize::from(matches!(arrival, Arrival::Message(_))))
                        .await
                        .unwrap();
                    arrived.add_permits(count);
                }
            });
        }
        let mut publisher = Client::connect(broker.address, "publisher").await.unwrap();
        let (mut place, mut messages) = (0_u32, 0_u64);
        let mut watch = None;
        let first = Instant::now();
        while first.elapsed() < measured + measured / 4 {
            if first.elapsed() > measured / 4 && watch.is_none() {
                (watch, messages) = (Some(broker.watch()), 0);
            }
            let room = arrived.available_permits().clamp(1, 64);
            let waiting = arrived.acquire_many(u32::try_from(room).unwrap());
            timeout(PATIENCE, waiting).await.expect("messages are lost").unwrap().forget();
            for _ in 0..room {
                // From one end of the table to the other, as nothing in it is near what came before.
                place = (place + 2_654_435_761 % count.max(2)) % count;
                publisher.publish(&Template::new(&topic(place), &[0; 64], QoS::AtMostOnce, false));
            }
            messages += u64::try_from(room).unwrap();
            publisher.write().await.unwrap();
        }
        let spent = watch.expect("more than the warm-up is measured").spent();
        let going = farewell(broker).await;
        vec![
            ("bytes_per_subscription", float(bytes) / f64::from(count)),
            ("subscriptions_per_second", f64::from(count) / subscribing),
            ("messages_per_second", float(messages) / spent.elapsed),
            ("cpu_seconds_per_million", spent.broker * 1e6 / float(messages)),
            ("farewell_of_10000_ms", going.as_secs_f64() * 1e3),
            ("foreign_cpu_percent", 100.0 * spent.foreign / spent.elapsed),
        ]
    })
}

/// A client with 10,000 subscriptions disconnects: the longest that another one waits for an answer until the broker is
/// done with it.
async fn farewell(broker: &Broker) -> Duration {
    let mut other = Client::connect(broker.address, "other").await.unwrap();
    let mut client = Client::connect(broker.address, "leaving").await.unwrap();
    let filters: Vec<String> = (0..10_000).map(|number| format!("leaving/{number}/+")).collect();
    for some in filters.chunks(10) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        client.subscribe(&some, QoS::AtMostOnce).await.unwrap();
    }
    client.queue(&Packet::Disconnect(Box::new(Disconnect::because(ReasonCode::Success))));
    client.write().await.unwrap();
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_millis(200) {
        let asked = Instant::now();
        other.ping().await.unwrap();
        longest = longest.max(asked.elapsed());
    }
    longest
}

/// Retained messages, stored with QoS 1 in a thousand branches; then one client gets them all.
pub(crate) fn retained(runtime: &Runtime, broker: &Broker, count: u32) -> Figures {
    runtime.block_on(async {
        let (before, began) = (broker.resident_bytes(), Instant::now());
        let mut publisher = Client::connect(broker.address, "publisher").await.unwrap();
        let (mut stored, mut done) = (0, 0);
        while done < count {
            while stored < count && stored - done < 64 {
                let topic = format!("store/{}/value-{stored}", stored % 1_000);
                publisher.publish(&Template::new(&topic, &[b'x'; 64], QoS::AtLeastOnce, true));
                stored += 1;
            }
            publisher.write().await.unwrap();
            let read = publisher.read(|arrival| done += u32::from(arrival == Arrival::Done));
            timeout(PATIENCE, read).await.expect("PUBACKs are lost").unwrap();
        }
        let storing = began.elapsed().as_secs_f64();
        let bytes = broker.resident_bytes().saturating_sub(before);
        let mut client = Client::connect(broker.address, "subscriber").await.unwrap();
        let began = Instant::now();
        // Not waited for, as messages may come before the SUBACK.
        client.queue_subscribe(&["store/#"], QoS::AtMostOnce);
        client.write().await.unwrap();
        let mut fetched = 0;
        while fetched < count {
            let read = client.read(|arrival| fetched += u32::from(matches!(arrival, Arrival::Message(_))));
            timeout(PATIENCE, read).await.expect("retained messages are lost").unwrap();
        }
        vec![
            ("bytes_per_message", float(bytes) / f64::from(count)),
            ("stored_per_second", f64::from(count) / storing),
            ("fetched_in_ms", began.elapsed().as_secs_f64() * 1e3),
        ]
    })
}

fn filter(number: u32) -> String {
    let site = number / 1_000;
    match number % 3 {
        0 => topic(number),
        1 => format!("site/+/{number}/state"),
        _ => format!("site/{site}/{number}/#"),
    }
}

fn topic(number: u32) -> String {
    format!("site/{}/{number}/state", number / 1_000)
}
