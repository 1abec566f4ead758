//! The task that owns the broker.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{self, Sleep};
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::handle::{BrokerHandle, Letter};
use super::keeper::Keeper;
use super::mailbox::Mailbox;
use super::outside::Outside;
use crate::broker::{Broker, ConnectionId, Input, Output};
use crate::clock::Instant;
use crate::storage::Event;

/// Drives a [`Broker`]: tells it what happens, and does what it says. Waits for nobody but for something to happen.
#[derive(Debug)]
pub struct BrokerTask {
    broker: Broker,
    letters: mpsc::Receiver<Letter>,
    mailboxes: HashMap<ConnectionId, Arc<Mailbox>, foldhash::fast::FixedState>,
    /// The mailboxes of the batches that are being dealt with.
    answered: Vec<(ConnectionId, Arc<Mailbox>)>,
    /// Those of batches that are dealt with, and whose endpoints are to read no more for a while.
    held_back: HashMap<ConnectionId, Vec<Arc<Mailbox>>, foldhash::fast::FixedState>,
    outside: Arc<Outside>,
    /// What of it the broker was told.
    told_outside: usize,
    clock: Clock,
    keeper: Option<Keeper>,
    shutting_down: bool,
}

/// Letters that are dealt with before the answers leave: as many as make the work of a turn worth its wake-ups, and
/// no more than a client would want to wait for.
const TURN: usize = 128;

/// Bytes of records that are worth a batch, although more comes at once.
const BATCH: usize = 64 << 10;

impl BrokerTask {
    /// A task for this broker, whose time is told by `clock`; if it has a journal, `keeper` keeps that. `outside` is what
    /// counts against its memory beside its own state.
    pub fn new(
        broker: Broker,
        clock: Clock,
        keeper: Option<Keeper>,
        outside: Arc<Outside>,
    ) -> (BrokerHandle, Self) {
        let (handle, letters) = BrokerHandle::channel();
        let task = Self {
            broker,
            letters,
            mailboxes: HashMap::default(),
            answered: Vec::new(),
            held_back: HashMap::default(),
            outside,
            told_outside: 0,
            clock,
            keeper,
            shutting_down: false,
        };
        (handle, task)
    }

    /// Runs until all handles are gone, or `stop` is cancelled and what had been sent before is dealt with. Returns
    /// the broker's counters and gauges, by name.
    pub async fn run(mut self, stop: CancellationToken) -> Vec<(&'static str, u64)> {
        let mut turn = Vec::with_capacity(TURN);
        let mut timer = pin!(time::sleep_until(self.clock.to_tokio(self.clock.now())));
        let mut stopped = pin!(stop.cancelled_owned());
        let mut stopping = false;
        loop {
            let due = self.arm(timer.as_mut());
            tokio::select! {
                biased;
                // There is little of it, and clients wait for what it says.
                event = next_event(&mut self.keeper) => {
                    let now = self.clock.now();
                    if let (Some(keeper), Some(event)) = (&mut self.keeper, event) {
                        keeper.tell(event, &mut self.broker, now);
                    } else {
                        // The thread has told its fault, and nothing is kept any more.
                        self.keeper = None;
                    }
                }
                received = self.letters.recv_many(&mut turn, TURN) => {
                    if received == 0 {
                        break;
                    }
                    for letter in turn.drain(..) {
                        self.open(letter);
                    }
                }
                () = timer.as_mut(), if due => {}
                () = stopped.as_mut(), if !stopping => {
                    stopping = true;
                    self.letters.close();
                }
            }
            let now = self.clock.now();
            self.tell_outside(now);
            if self.broker.deadline().is_some_and(|at| at <= now) {
                self.broker.handle(Input::Tick, now);
            }
            self.carry_out();
            if !self.letters.is_empty() || self.broker.deadline().is_some_and(|at| at <= now) {
                // The endpoint that was woken last waits on this very thread, where no other can take it over: it has its
                // turn before the next of ours.
                tokio::task::yield_now().await;
            }
        }
        let counters = self.count();
        if let Some(keeper) = self.keeper.take() {
            keeper.finish(&mut self.broker).await;
        }
        counters
    }

    /// Tells the broker what is around it, unless that is nearly what it was told last.
    fn tell_outside(&mut self, now: Instant) {
        const STEP: usize = 64 << 10;
        let bytes = self.outside.bytes() + self.keeper.as_ref().map_or(0, Keeper::bytes);
        if bytes.abs_diff(self.told_outside) >= STEP {
            self.told_outside = bytes;
            self.broker.handle(Input::Outside { bytes }, now);
        }
        self.outside.set_scarce(self.broker.is_memory_scarce());
    }

    /// Sets the timer to the broker's deadline. Tells whether there is one.
    fn arm(&self, mut timer: std::pin::Pin<&mut Sleep>) -> bool {
        let deadline = self.broker.deadline().map(|at| self.clock.to_tokio(at));
        if let Some(at) = deadline.filter(|at| *at != timer.deadline()) {
            timer.as_mut().reset(at);
        }
        deadline.is_some()
    }

    fn open(&mut self, letter: Letter) {
        let now = self.clock.now();
        match letter {
            Letter::Attach(attach, mailbox) => {
                self.answered.push((attach.connection, Arc::clone(&mailbox)));
                self.mailboxes.insert(attach.connection, mailbox);
                self.broker.handle(Input::Attach(attach), now);
                if self.shutting_down {
                    // It came between two looks of its endpoint: told like those that came before.
                    self.broker.handle(Input::ShutDown, now);
                }
            }
            Letter::Packets(connection, packets, mailbox) => {
                self.answered.push((connection, mailbox));
                self.broker.handle(Input::Received { connection, packets }, now);
            }
            Letter::Input(input) => {
                if let Input::Closed { connection, .. } = &input {
                    self.mailboxes.remove(connection);
                    self.held_back.remove(connection);
                }
                self.shutting_down |= matches!(input, Input::ShutDown);
                self.broker.handle(input, now);
            }
            Letter::Count(answer) => {
                // Who asked may have gone.
                let _ = answer.send(self.count());
            }
        }
    }

    fn count(&self) -> Vec<(&'static str, u64)> {
        let gauges =
            self.broker.gauges().map(|(name, value)| (name, u64::try_from(value).unwrap_or(u64::MAX)));
        let storage = self.keeper.iter().flat_map(|keeper| keeper.storage().counters().iter());
        self.broker.counters().iter().chain(gauges).chain(storage).collect()
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::ToClient { connection, items } => {
                    if let Some(mailbox) = self.mailboxes.get(&connection) {
                        mailbox.post(items);
                    }
                }
                Output::AskWritten { connection } => {
                    if let Some(mailbox) = self.mailboxes.get(&connection) {
                        mailbox.ask();
                    }
                }
                Output::Resume { connection } => {
                    for mailbox in self.held_back.remove(&connection).unwrap_or_default() {
                        mailbox.batch_answered();
                    }
                }
                Output::Fetch(wanted) => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.fetch(wanted, &mut self.broker);
                    }
                }
            }
        }
        // While more comes, the records of a few turns are handed over together: each batch wakes the storage, and what it
        // says of it wakes this task. Where a sync is waited for, that is what they gather behind.
        let is_batch = self.letters.is_empty() || self.broker.has_batch(BATCH);
        if let Some(keeper) = self.keeper.as_mut().filter(|_| is_batch) {
            keeper.flush(&mut self.broker);
        }
        let (broker, held_back) = (&self.broker, &mut self.held_back);
        self.answered.retain(|(connection, mailbox)| {
            if broker.is_behind(*connection) {
                return true;
            }
            if broker.is_held_back(*connection) {
                held_back.entry(*connection).or_default().push(Arc::clone(mailbox));
            } else {
                mailbox.batch_answered();
            }
            false
        });
    }
}

/// What the storage says next; nothing, ever, if there is none.
async fn next_event(keeper: &mut Option<Keeper>) -> Option<Event> {
    match keeper {
        Some(keeper) => keeper.event().await,
        None => std::future::pending().await,
    }
}
