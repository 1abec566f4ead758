//! Publishers that send as soon as what they sent has arrived: a closed loop, in which nothing has to be dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mqtt_broker::mqtt::QoS;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::client::{Arrival, Client, Lifetime, Template};
use super::process::Broker;
use super::{Figures, PATIENCE, float};

/// Messages of a publisher that are on their way at any time.
const WINDOW: u64 = 64;

/// Who publishes to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// As many pairs, each with a topic of its own.
    Pairs(usize),
    /// The same, whose sessions outlive their connections.
    KeptPairs(usize),
    /// As many publishers, each with a topic of its own, and one subscriber to all of them.
    FanIn(usize),
    /// One publisher, and as many subscribers.
    FanOut(usize),
}

/// A publisher's messages.
struct Flow {
    published: Cell<u64>,
    /// Those of QoS 1 and 2 that are done with on the publisher's side.
    done: Cell<u64>,
    /// Those that have come to each subscriber.
    arrived: RefCell<Vec<u64>>,
    room: Notify,
}

#[expect(clippy::too_many_arguments, reason = "each is a column of the table")]
pub(crate) fn throughput(
    runtime: &Runtime,
    broker: &Broker,
    shape: Shape,
    qos: QoS,
    payload: usize,
    measured: Duration,
) -> Figures {
    let (flows, subscribers) = match shape {
        Shape::Pairs(count) | Shape::KeptPairs(count) => (count, count),
        Shape::FanIn(count) => (count, 1),
        Shape::FanOut(count) => (1, count),
    };
    let lifetime = match shape {
        Shape::KeptPairs(_) => Lifetime::Unbounded,
        Shape::Pairs(_) | Shape::FanIn(_) | Shape::FanOut(_) => Lifetime::Connection,
    };
    let slots = if matches!(shape, Shape::FanOut(_)) { subscribers } else { 1 };
    let flows: Rc<[Flow]> = (0..flows).map(|_| Flow::new(slots)).collect();
    let received = Rc::new(Cell::new(0_u64));
    let tasks = LocalSet::new();
    let (messages, spent) = tasks.block_on(runtime, async {
        for number in 0..subscribers {
            let (filter, slot) = match shape {
                Shape::Pairs(_) | Shape::KeptPairs(_) => (format!("load/{number}"), 0),
                Shape::FanIn(_) => ("load/+".to_owned(), 0),
                Shape::FanOut(_) => ("load/0".to_owned(), number),
            };
            let name = format!("subscriber-{number}");
            let mut client = Client::with_session(broker.address, &name, lifetime).await.unwrap();
            client.subscribe(&[&filter], qos).await.unwrap();
            tasks.spawn_local(subscriber(client, Rc::clone(&flows), slot, Rc::clone(&received)));
        }
        for number in 0..flows.len() {
            let name = format!("publisher-{number}");
            let client = Client::with_session(broker.address, &name, lifetime).await.unwrap();
            tasks.spawn_local(publisher(client, Rc::clone(&flows), number, qos, payload));
        }
        sleep(measured / 4).await;
        let (before, watch) = (received.get(), broker.watch());
        sleep(measured).await;
        (received.get() - before, watch.spent())
    });
    let arrived = received.get();
    let millions = float(messages) / 1e6;
    vec![
        ("messages_per_second", float(messages) / spent.elapsed),
        ("cpu_seconds_per_million", spent.broker / millions),
        ("broker_cpu_percent", 100.0 * spent.broker / spent.elapsed),
        ("load_cpu_percent", 100.0 * spent.own / spent.elapsed),
        ("foreign_cpu_percent", 100.0 * spent.foreign / spent.elapsed),
        ("peak_mib", float(broker.peak_bytes()) / 1_048_576.0),
        ("arrived", float(arrived)),
    ]
}

async fn publisher(mut client: Client, flows: Rc<[Flow]>, number: usize, qos: QoS, payload: usize) {
    let mut template = Template::new(&format!("load/{number}"), &vec![0; payload], qos, false);
    template.payload()[..4].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    let flow = &flows[number];
    loop {
        let room = flow.has_room_for(qos);
        for _ in 0..room {
            client.publish(&template);
        }
        flow.published.set(flow.published.get() + room);
        client.write().await.unwrap();
        let more = async {
            tokio::select! {
                () = flow.room.notified() => {}
                read = client.read(|arrival| if arrival == Arrival::Done {
                    flow.done.set(flow.done.get() + 1);
                }) => read.unwrap(),
            }
        };
        timeout(PATIENCE, more).await.expect("messages are lost");
    }
}

async fn subscriber(mut client: Client, flows: Rc<[Flow]>, slot: usize, received: Rc<Cell<u64>>) {
    let mut touched = vec![false; flows.len()];
    loop {
        let read = client.read(|arrival| {
            let Arrival::Message(payload) = arrival else { return };
            let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
            let number = usize::try_from(number).unwrap();
            flows[number].arrived.borrow_mut()[slot] += 1;
            touched[number] = true;
            received.set(received.get() + 1);
        });
        read.await.unwrap();
        for (flow, touched) in flows.iter().zip(&mut touched) {
            if std::mem::take(touched) && flow.may_go_on(slot) {
                flow.room.notify_one();
            }
        }
        client.write().await.unwrap();
    }
}

impl Flow {
    fn new(slots: usize) -> Self {
        Self {
            published: Cell::new(0),
            done: Cell::new(0),
            arrived: RefCell::new(vec![0; slots]),
            room: Notify::new(),
        }
    }

    /// How many messages may be published: none is dropped when every subscriber lags no more than the window.
    fn has_room_for(&self, qos: QoS) -> u64 {
        let slowest = self.arrived.borrow().iter().copied().min().unwrap_or_default();
        let done = if qos > QoS::AtMostOnce { self.done.get().min(slowest) } else { slowest };
        WINDOW - (self.published.get() - done)
    }

    /// Whether it is worth a look, after something has come to this subscriber. Where there are many, to look at all of
    /// them is worth it only when this one has at least half of what is on its way.
    fn may_go_on(&self, slot: usize) -> bool {
        let arrived = self.arrived.borrow();
        arrived.len() == 1 || arrived[slot] + WINDOW / 2 >= self.published.get()
    }
}
