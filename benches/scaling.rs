//! An experiment: what it would bring to route on several threads, each with a table of subscriptions of its own, instead
//! of on one that owns everything.
//!
//! `cargo bench --no-default-features --bench scaling`; `docs/performance.md` says what came of it. Counted is processor
//! time, so that it does not matter what else the machine does. Linux only.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

use std::fs;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use bytes::Bytes;
use mqtt_broker::broker::SessionKey;
use mqtt_broker::broker::subscriptions::{GroupKey, Subscription, Subscriptions};
use mqtt_broker::mqtt::packet::SubscriptionOptions;
use mqtt_broker::mqtt::{Message, Places, QoS, SubscriptionFilter, TopicName};

/// Messages of one publisher that are routed at a time.
const BATCH: usize = 64;

/// Batches of each publisher.
const BATCHES: usize = 200;

type Mailbox = Mutex<Vec<Arc<Message>>>;

/// Who is subscribed to what.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    publishers: usize,
    /// Of each publisher's topic.
    subscribers: usize,
    /// Subscriptions to what nobody publishes.
    others: u32,
}

const LOADS: [Load; 4] = [
    Load { name: "20 pairs", publishers: 20, subscribers: 1, others: 0 },
    Load { name: "20 pairs among 300,000", publishers: 20, subscribers: 1, others: 300_000 },
    Load { name: "20 times 1 to 100", publishers: 20, subscribers: 100, others: 0 },
    Load { name: "20 publishers to the same 1,000", publishers: 20, subscribers: 1_000, others: 0 },
];

fn main() {
    // `cargo test --benches` runs this too, without that argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return;
    }
    for load in LOADS {
        let one = owner(load);
        let alone = shared(load, 1);
        let two = shared(load, 2);
        println!(
            "{}: nanoseconds for a delivery: one owner {one:.0}, mailboxes with locks and one thread {alone:.0}, two {two:.0}",
            load.name
        );
    }
}

/// One thread that owns the table and what waits for each session.
fn owner(load: Load) -> f64 {
    let mut subscriptions = table(load);
    let mut outboxes: Vec<Vec<Arc<Message>>> = vec![Vec::new(); sessions(load)];
    let (mut plain, mut groups) = (Vec::new(), Vec::new());
    let topics: Vec<TopicName> = (0..load.publishers).map(topic).collect();
    let (began, mut deliveries) = (thread_nanos(), 0);
    for _ in 0..BATCHES {
        for topic in &topics {
            let mut touched = Vec::new();
            for _ in 0..BATCH {
                let message = message(topic);
                matching(&mut subscriptions, &message, &mut plain, &mut groups);
                for there in &plain {
                    let session = index(there.session);
                    if outboxes[session].is_empty() {
                        touched.push(session);
                    }
                    outboxes[session].push(Arc::clone(&message));
                    deliveries += 1;
                }
            }
            for session in touched {
                // Handed over, as an endpoint takes it.
                drop(std::mem::take(&mut outboxes[session]));
            }
        }
    }
    per(thread_nanos() - began, deliveries)
}

/// Threads that share the publishers between them. Each has a table; what comes of a batch for a session is put into its
/// mailbox at once.
fn shared(load: Load, threads: usize) -> f64 {
    let mailboxes: Vec<Mailbox> = (0..sessions(load)).map(|_| Mutex::default()).collect();
    let together = Barrier::new(threads);
    let spent: Vec<(u64, usize)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let (mailboxes, together) = (&mailboxes, &together);
                scope.spawn(move || {
                    let mut subscriptions = table(load);
                    let topics: Vec<TopicName> =
                        (number..load.publishers).step_by(threads).map(topic).collect();
                    together.wait();
                    let began = thread_nanos();
                    let deliveries = route(&mut subscriptions, &topics, mailboxes);
                    (thread_nanos() - began, deliveries)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    per(spent.iter().map(|(nanos, _)| nanos).sum(), spent.iter().map(|(_, deliveries)| deliveries).sum())
}

fn route(subscriptions: &mut Subscriptions, topics: &[TopicName], mailboxes: &[Mailbox]) -> usize {
    let (mut plain, mut groups) = (Vec::new(), Vec::new());
    let mut outboxes: Vec<Vec<Arc<Message>>> = vec![Vec::new(); mailboxes.len()];
    let mut deliveries = 0;
    for _ in 0..BATCHES {
        for topic in topics {
            let mut touched = Vec::new();
            for _ in 0..BATCH {
                let message = message(topic);
                matching(subscriptions, &message, &mut plain, &mut groups);
                for there in &plain {
                    let session = index(there.session);
                    if outboxes[session].is_empty() {
                        touched.push(session);
                    }
                    outboxes[session].push(Arc::clone(&message));
                    deliveries += 1;
                }
            }
            for session in touched {
                let mut mailbox = mailboxes[session].lock().unwrap();
                if mailbox.is_empty() {
                    std::mem::swap(&mut *mailbox, &mut outboxes[session]);
                } else {
                    mailbox.append(&mut outboxes[session]);
                }
                let taken = std::mem::take(&mut *mailbox);
                drop(mailbox);
                drop(taken);
            }
        }
    }
    deliveries
}

fn matching(
    subscriptions: &mut Subscriptions,
    message: &Message,
    plain: &mut Vec<Subscription>,
    groups: &mut Vec<GroupKey>,
) {
    plain.clear();
    subscriptions.matching(message.topic.as_str(), plain, groups);
}

fn table(load: Load) -> Subscriptions {
    let mut subscriptions = Subscriptions::new(1);
    for number in 0..load.others {
        subscribe(&mut subscriptions, &format!("other/{}/{number}/state", number / 1_000), number);
    }
    for publisher in 0..load.publishers {
        for subscriber in 0..load.subscribers {
            // A thousand are the same for all publishers; fewer are each publisher's own.
            let first = if load.subscribers < 1_000 { publisher * load.subscribers } else { 0 };
            subscribe(
                &mut subscriptions,
                topic(publisher).as_str(),
                u32::try_from(first + subscriber).unwrap(),
            );
        }
    }
    subscriptions
}

fn subscribe(subscriptions: &mut Subscriptions, filter: &str, session: u32) {
    let session = SessionKey::from_raw(session);
    let options = SubscriptionOptions::default();
    subscriptions.subscribe(
        &SubscriptionFilter::parse(filter).unwrap(),
        Subscription { session, options, identifier: None },
    );
}

fn sessions(load: Load) -> usize {
    load.subscribers.max(load.publishers * load.subscribers)
}

fn topic(publisher: usize) -> TopicName {
    TopicName::parse(&format!("site/{publisher}/line/3/temperature")).unwrap()
}

fn message(topic: &TopicName) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.clone(),
        payload: Bytes::from_static(&[b'x'; 64]),
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at: None,
        properties: None,
        places: Places::default(),
    })
}

fn index(session: SessionKey) -> usize {
    usize::try_from(session.raw()).unwrap()
}

/// The processor time of this thread.
fn thread_nanos() -> u64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split_whitespace().next().unwrap().parse().unwrap()
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures are printed without a fraction"
)]
fn per(nanos: u64, deliveries: usize) -> f64 {
    nanos as f64 / deliveries as f64
}
