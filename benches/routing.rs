//! What it costs to find the subscriptions that match a topic, among 10 to 1,000,000 of them.
//!
//! `cargo bench --bench routing`

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its filters has nothing to measure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use mqtt_broker::broker::SessionKey;
use mqtt_broker::broker::subscriptions::{Subscription, Subscriptions};
use mqtt_broker::mqtt::SubscriptionFilter;
use mqtt_broker::mqtt::packet::SubscriptionOptions;

/// How many subscriptions there are; each is another client's.
const COUNTS: [u32; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Topics that are looked up in turn, spread over all subscriptions: more than a processor's caches keep for free.
const TOPICS: u32 = 4_096;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    matching(&mut criterion, "exact", exact);
    matching(&mut criterion, "plus", plus);
    matching(&mut criterion, "hash", hash);
    matching(&mut criterion, "shared", shared);
    changes(&mut criterion);
    criterion.final_summary();
}

/// Each topic matches the filter of one client.
fn matching(criterion: &mut Criterion, name: &str, filter: fn(u32) -> String) {
    let mut group = criterion.benchmark_group(format!("match/{name}"));
    group.throughput(Throughput::Elements(1));
    for count in COUNTS {
        let mut subscriptions = subscribed(count, filter);
        let step = count.div_ceil(TOPICS);
        let topics: Vec<String> = (0..TOPICS.min(count)).map(|number| topic(number * step % count)).collect();
        let mut next = topics.iter().cycle();
        let (mut plain, mut groups) = (Vec::new(), Vec::new());
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                plain.clear();
                groups.clear();
                let topic = next.next().expect("there is always a next one");
                subscriptions.matching(black_box(topic), &mut plain, &mut groups);
                assert_eq!(plain.len() + groups.len(), 1);
            });
        });
    }
    group.finish();
}

/// One client more, and gone again.
fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe and unsubscribe");
    group.throughput(Throughput::Elements(1));
    for count in COUNTS {
        let mut subscriptions = subscribed(count, exact);
        let filter = parse(&exact(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                subscriptions.subscribe(black_box(&filter), of(count));
                let key = subscriptions.find(&filter, of(count).session).expect("it was just made");
                subscriptions.unsubscribe(key, of(count).session);
            });
        });
    }
    group.finish();
}

fn subscribed(count: u32, filter: fn(u32) -> String) -> Subscriptions {
    let mut subscriptions = Subscriptions::new(1);
    for number in 0..count {
        subscriptions.subscribe(&parse(&filter(number)), of(number));
    }
    subscriptions
}

fn of(session: u32) -> Subscription {
    Subscription {
        session: SessionKey::from_raw(session),
        options: SubscriptionOptions::default(),
        identifier: None,
    }
}

fn parse(filter: &str) -> SubscriptionFilter {
    SubscriptionFilter::parse(filter).expect("a filter")
}

/// Sites of a thousand devices each.
fn topic(number: u32) -> String {
    format!("site/{}/device/{}/state", number / 1_000, number % 1_000)
}

fn exact(number: u32) -> String {
    topic(number)
}

fn plus(number: u32) -> String {
    format!("site/{}/+/{}/+", number / 1_000, number % 1_000)
}

fn hash(number: u32) -> String {
    format!("site/{}/device/{}/#", number / 1_000, number % 1_000)
}

fn shared(number: u32) -> String {
    format!("$share/crew/{}", topic(number))
}
