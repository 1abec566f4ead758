//! The broker task's side of the storage: takes records there, and brings back what it says.

use std::collections::VecDeque;

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::broker::record::{Batch, Number, Sequence};
use crate::broker::{Broker, Input, Room};
use crate::clock::Instant;
use crate::storage::{Directory, Event, Log, Storage, StorageHandle, StorageSettings, thread};

/// Keeps what a broker says is to be kept.
///
/// One batch of records is on its way at a time, and the next one gathers meanwhile: so one write, and one sync, is
/// for all that came while the last ran.
#[derive(Debug)]
pub struct Keeper {
    storage: StorageHandle,
    thread: Storage,
    events: UnboundedReceiver<Event>,
    /// All before this record has been handed over.
    handed_over: Sequence,
    /// All before this record has been written.
    written: Sequence,
    /// So many bytes of all records are needed, as the storage was told.
    told_live: u64,
    /// Whether nothing can be written.
    is_stuck: bool,
    /// What is being read, in the order of the answers.
    fetching: VecDeque<(Number, Sequence)>,
}

impl Keeper {
    /// Keeps records in this log, from its end on.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start<D>(log: Log<D>, settings: StorageSettings) -> std::io::Result<Self>
    where
        D: Directory + Send + 'static,
    {
        let next = log.next_sequence();
        // Bounded by what was asked: one batch, what is fetched, and one slice of records.
        let (sender, events) = mpsc::unbounded_channel();
        let (storage, thread) = Storage::start(log, settings, move |event| {
            // A broker that has ended has no use for it.
            let _ = sender.send(event);
        })?;
        let fetching = VecDeque::new();
        Ok(Self {
            storage,
            thread,
            events,
            handed_over: next,
            written: next,
            told_live: 0,
            is_stuck: false,
            fetching,
        })
    }

    /// The way to the storage, for its counters.
    pub fn storage(&self) -> &StorageHandle {
        &self.storage
    }

    /// Bytes of memory that the storage takes: for what it has not written yet, and for finding what it has.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.storage.backlog_bytes() + self.storage.counters().index_bytes.value();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The next thing that the storage has to say; `None` if it has broken down.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Tells the broker what the storage has said.
    pub(super) fn tell(&mut self, event: Event, broker: &mut Broker, now: Instant) {
        match event {
            Event::Appended { written, synced } => {
                self.written = written;
                broker.handle(Input::Kept { written, synced }, now);
            }
            Event::Fetched { sequence, record } => {
                let content = record.ok().map(|record| (record.kind, record.body));
                if let Some((message, record)) = self.fetching.pop_front() {
                    debug_assert_eq!(
                        record, sequence,
                        "records come in the order in which they were asked for"
                    );
                    broker.handle(Input::Fetched { message, record, content }, now);
                }
            }
            Event::Reclaim(slice) => {
                let up_to = slice.up_to();
                broker.handle(Input::Reclaim { frames: slice.into_bytes() }, now);
                self.hand_over(broker);
                // What makes the old records unnecessary is what was written again, and also what has ended or replaced
                // what they tell of: none of them goes before all of that is on the disk.
                self.storage.slice_done(up_to, broker.last_record());
            }
            Event::Room { room, .. } => {
                let room = match room {
                    thread::Room::Enough => Room::Enough,
                    thread::Room::Low => Room::Low,
                    thread::Room::Full => Room::Full,
                    thread::Room::Failing => Room::Failing,
                };
                self.is_stuck = !room.is_there();
                broker.handle(Input::Room(room), now);
            }
        }
    }

    /// Has these read.
    pub(super) fn fetch(&mut self, wanted: Vec<(Number, Sequence)>, broker: &mut Broker) {
        // What is wanted may be among what has not been handed over yet.
        self.hand_over(broker);
        self.storage.fetch(wanted.iter().map(|(_, record)| *record).collect());
        self.fetching.extend(wanted);
    }

    /// Hands the next batch over, unless the last one is not written yet.
    pub(super) fn flush(&mut self, broker: &mut Broker) {
        if self.written >= self.handed_over {
            self.hand_over(broker);
        } else if self.is_stuck && broker.journal_live_bytes() < self.told_live {
            // It may wait for room that there is now.
            self.append(Batch::new(self.handed_over), broker);
        }
    }

    /// Hands a batch over. Whether there was one.
    fn hand_over(&mut self, broker: &mut Broker) -> bool {
        let Some(batch) = broker.take_batch() else { return false };
        self.handed_over = batch.next();
        self.append(batch, broker);
        true
    }

    fn append(&mut self, batch: Batch, broker: &Broker) {
        self.told_live = broker.journal_live_bytes();
        self.storage.append(batch, self.told_live);
    }

    /// Hands over what is left, and returns once all of it is on the disk, or cannot be.
    pub(super) async fn finish(mut self, broker: &mut Broker) {
        while self.hand_over(broker) {}
        drop(self.storage);
        // It waits for a disk.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::broker::journal::recovery::Recovered;
    use crate::broker::{
        Attach, BrokerConfig, ConnectionId, Durability, Identity, Policy, PolicyName, Recovery,
    };
    use crate::clock::{Epoch, WallTime};
    use crate::mqtt::packet::{
        Connect, ConnectProperties, Publish, Subscribe, SubscribeEntry, SubscriptionOptions,
    };
    use crate::mqtt::{ClientId, Packet, PacketId, ProtocolVersion, QoS, TopicName, UserProperties};
    use crate::storage::faulty::FaultyDirectory;
    use crate::storage::log::LogOptions;

    const CONNECTION: ConnectionId = ConnectionId(1);

    fn open(directory: &FaultyDirectory) -> (Broker, Log<FaultyDirectory>, Recovered) {
        let mut config = BrokerConfig::default();
        config.durability.default = Durability::Memory;
        // So little is handed over at a time.
        config.limits.kept_message_bytes = 4_000;
        let epoch = Epoch::started_at(WallTime::from_unix_millis(1_800_000_000_000));
        let mut recovery = Recovery::new(config, Arc::new(Policy::AllowAll), 1, epoch);
        let options = LogOptions { segment_bytes: 64 << 10, disk_max: None, seed: 1 };
        let (log, _) =
            Log::open(directory.clone(), options, &mut |frame| recovery.replay(frame).unwrap()).unwrap();
        let (broker, recovered) = recovery.finish(log.next_sequence(), Instant::START);
        (broker, log, recovered)
    }

    fn reader() -> Connect {
        let properties =
            ConnectProperties { session_expiry_interval: u32::MAX, ..ConnectProperties::default() };
        Connect {
            version: ProtocolVersion::V5,
            clean_start: false,
            keep_alive: 0,
            client_id: ClientId::new("reader"),
            will: None,
            username: None,
            password: None,
            properties,
        }
    }

    fn subscribe() -> Packet {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        Packet::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::MIN,
            identifier: None,
            user_properties: UserProperties::new(),
            entries: vec![SubscribeEntry { filter: Arc::from("a"), options }],
        }))
    }

    fn publish(id: u16) -> Packet {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::parse("a").unwrap()),
            topic_alias: None,
            packet_id: PacketId::new(id),
            payload: Bytes::from(vec![b'x'; 200]),
            properties: None,
        })
    }

    #[tokio::test]
    async fn what_was_begun_to_be_handed_over_and_what_waits_is_on_the_disk_in_the_end() {
        let directory = FaultyDirectory::new(1, 1 << 30);
        let (mut broker, log, _) = open(&directory);
        let mut keeper = Keeper::start(log, StorageSettings::default()).unwrap();
        let attach = Attach {
            connection: CONNECTION,
            connect: reader(),
            identity: Identity::Anonymous,
            grants: None,
            policy: PolicyName::default(),
            durability: None,
        };
        broker.handle(Input::Attach(Box::new(attach)), Instant::START);
        let packets = std::iter::once(subscribe()).chain((1..=100).map(publish)).collect();
        broker.handle(Input::Received { connection: CONNECTION, packets }, Instant::START);
        keeper.flush(&mut broker);
        assert!(keeper.handed_over < broker.next_record(), "it is handed over in parts");
        keeper.finish(&mut broker).await;

        let (.., recovered) = open(&directory.lose_power());
        assert_eq!((recovered.sessions, recovered.subscriptions, recovered.queued), (1, 1, 100));
    }
}
