use std::sync::mpsc::{Receiver, channel};

use super::gated::{Gate, Gated};
use super::*;
use crate::broker::record::frame::Horizon;
use crate::storage::faulty::{Faults, FaultyDirectory};
use crate::storage::log::LogOptions;

const SEGMENT: u64 = 64 << 10;
const ROOMY: u64 = 1 << 30;

/// A storage thread, and somebody who drives it.
struct Rig {
    directory: FaultyDirectory,
    gate: Arc<Gate>,
    handle: StorageHandle,
    thread: Storage,
    events: Receiver<Event>,
    next: Sequence,
}

impl Rig {
    fn new(capacity: u64) -> Self {
        Self::on(FaultyDirectory::new(1, capacity))
    }

    fn on(directory: FaultyDirectory) -> Self {
        let (sender, events) = channel();
        Self::start(directory, events, move |event| {
            let _ = sender.send(event);
        })
    }

    fn bounded(disk_max: u64) -> Self {
        let (sender, events) = channel();
        let options = LogOptions { segment_bytes: SEGMENT, disk_max: Some(disk_max), seed: 1 };
        Self::start_with(options, FaultyDirectory::new(1, ROOMY), events, move |event| {
            let _ = sender.send(event);
        })
    }

    fn start(
        directory: FaultyDirectory,
        events: Receiver<Event>,
        tell: impl FnMut(Event) + Send + 'static,
    ) -> Self {
        let options = LogOptions { segment_bytes: SEGMENT, disk_max: None, seed: 1 };
        Self::start_with(options, directory, events, tell)
    }

    fn start_with(
        options: LogOptions,
        directory: FaultyDirectory,
        events: Receiver<Event>,
        tell: impl FnMut(Event) + Send + 'static,
    ) -> Self {
        let gate = Arc::new(Gate::default());
        let gated = Gated { directory: directory.clone(), gate: Arc::clone(&gate) };
        let (log, _) = Log::open(gated, options, &mut |_| ()).unwrap();
        let next = log.next_sequence();
        let settings = StorageSettings {
            // Nothing in these tests waits for the clock, but for what is tried again.
            sync_interval: Duration::from_secs(3_600),
            retry_first: Duration::from_millis(1),
            ..StorageSettings::default()
        };
        let (handle, thread) = Storage::start(log, settings, tell).unwrap();
        Self { directory, gate, handle, thread, events, next }
    }

    fn append(&mut self, count: usize, len: usize, horizon: Option<Horizon>) {
        self.append_alive(count, len, horizon, 0);
    }

    fn append_alive(&mut self, count: usize, len: usize, horizon: Option<Horizon>, live: u64) {
        let mut batch = Batch::new(self.next);
        for _ in 0..count {
            batch.append(1, |body| body.resize(body.len() + len, 7));
        }
        if let Some(horizon) = horizon {
            batch.wait_for(horizon);
        }
        self.next = batch.next();
        self.handle.append(batch, live);
    }

    fn event(&self) -> Event {
        self.events.recv().unwrap()
    }

    /// What is fetched next. Meanwhile something may have been written, and something be to be looked through.
    fn fetched(&self) -> (Sequence, Result<Record, ReadError>) {
        loop {
            match self.event() {
                Event::Fetched { sequence, record } => return (sequence, record),
                Event::Appended { .. } | Event::Reclaim(_) => {}
                event @ Event::Room { .. } => panic!("{event:?}"),
            }
        }
    }

    #[track_caller]
    fn check_horizons(&self, expected: (u64, u64)) {
        match self.event() {
            Event::Appended { written, synced } => assert_eq!((written.number(), synced.number()), expected),
            event @ (Event::Fetched { .. } | Event::Reclaim(_) | Event::Room { .. }) => panic!("{event:?}"),
        }
    }

    /// What has come by the time that all is on the disk.
    fn until_all_is_synced(&self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            let done = matches!(event, Event::Appended { synced, .. } if synced == self.next);
            events.push(event);
            if done {
                return events;
            }
        }
    }

    fn end(self) -> FaultyDirectory {
        drop(self.handle);
        self.thread.join();
        self.directory
    }
}

fn records_in(directory: FaultyDirectory) -> u64 {
    let options = LogOptions { segment_bytes: SEGMENT, disk_max: None, seed: 1 };
    let mut count = 0;
    Log::open(directory, options, &mut |_| count += 1).unwrap();
    count
}

#[test]
fn who_waits_for_the_disk_is_told_when_it_is_there() {
    let mut rig = Rig::new(ROOMY);
    rig.append(3, 10, Some(Horizon::Synced));
    rig.check_horizons((4, 4));
    rig.append(1, 10, Some(Horizon::Synced));
    rig.check_horizons((5, 5));
    assert_eq!(records_in(rig.directory.lose_power()), 4);
}

#[test]
fn who_waits_for_the_system_does_not_wait_for_the_disk() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Written));
    rig.check_horizons((2, 1));
    // For this nobody waits: it is told with the next.
    rig.append(1, 10, None);
    rig.append(1, 10, Some(Horizon::Synced));
    assert!(matches!(rig.until_all_is_synced().last(), Some(Event::Appended { .. })));
    assert_eq!(rig.handle.counters().commits.value(), 1);
}

#[test]
fn all_that_came_during_a_commit_is_made_durable_by_the_next() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.gate.close();
    rig.append(1, 10, Some(Horizon::Synced));
    rig.gate.wait_for_sync();
    for _ in 0..100 {
        rig.append(1, 10, Some(Horizon::Synced));
    }
    // When that is answered, all before it has been taken.
    rig.handle.fetch(vec![Sequence::new(102)]);
    assert!(rig.fetched().1.is_ok());
    rig.gate.open();
    rig.until_all_is_synced();
    assert_eq!(rig.handle.counters().commits.value(), 3);
    assert_eq!(rig.handle.counters().largest_commit_records.value(), 100);
    assert!(rig.handle.counters().commit_times.longest() > Duration::ZERO);
}

#[test]
fn records_are_fetched_wherever_they_are() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 100_000, Some(Horizon::Synced));
    rig.append(100, 1_000, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.append(1, 3, None);
    let asked = [102, 1, 50, 103];
    rig.handle.fetch(asked.map(Sequence::new).to_vec());
    for (asked, len) in asked.into_iter().zip([Some(3), Some(100_000), Some(1_000), None]) {
        let (sequence, record) = rig.fetched();
        assert_eq!(sequence.number(), asked);
        assert_eq!(record.ok().map(|record| record.body.len()), len);
    }
}

#[test]
fn what_could_not_be_written_is_written_when_the_disk_is_well_again() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.directory.set_faults(Faults { sync: 1_000, ..Faults::NONE });
    rig.append(10, 10, Some(Horizon::Synced));
    assert!(
        matches!(rig.event(), Event::Room { room: Room::Failing, reason } if reason == "input/output error")
    );
    rig.append(10, 10, Some(Horizon::Synced));
    rig.directory.set_faults(Faults::NONE);
    rig.until_all_is_synced();
    assert!(matches!(rig.event(), Event::Room { room: Room::Enough, .. }));
    assert!(rig.handle.counters().write_faults.value() > 0);
    assert_eq!(rig.handle.backlog_bytes(), 0);
    assert_eq!(records_in(rig.directory.lose_power()), 21);
}

#[test]
fn a_full_disk_is_told_before_and_when_it_is_full_and_when_it_no_longer_is() {
    let mut rig = Rig::new(4 * SEGMENT);
    let mut rooms = Vec::new();
    while rooms.last() != Some(&Room::Full) {
        rig.append(1, 10_000, Some(Horizon::Synced));
        let mut is_synced = false;
        while !is_synced && rooms.last() != Some(&Room::Full) {
            match rig.event() {
                Event::Room { room, .. } => rooms.push(room),
                Event::Appended { synced, .. } => is_synced = synced == rig.next,
                // Nobody looks through what the broker no longer needs.
                Event::Reclaim(_) => {}
                event @ Event::Fetched { .. } => panic!("{event:?}"),
            }
        }
    }
    assert_eq!(rooms, [Room::Low, Room::Full]);
    assert!(rig.handle.backlog_bytes() >= 10_000, "it waits in memory");
    rig.directory.set_capacity(ROOMY);
    // It is told when something can be written, which may be before that is on the disk.
    let mut events = rig.until_all_is_synced();
    let is_enough = |event: &Event| matches!(event, Event::Room { room: Room::Enough, .. });
    while !events.iter().any(is_enough) {
        events.push(rig.event());
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_told_before_anything_is_appended() {
    let rig = Rig::new(SEGMENT);
    assert!(matches!(rig.event(), Event::Room { room: Room::Low, .. }));
}

#[test]
fn segments_in_which_little_matters_are_looked_through_and_removed() {
    let mut rig = Rig::new(ROOMY);
    let mut appended = 0;
    let mut moved = 0;
    // Of all that is appended, every twentieth matters.
    while rig.handle.counters().segments_reclaimed.value() < 10 {
        rig.append_alive(20, 1_000, Some(Horizon::Synced), 20_000);
        appended += 20;
        for event in rig.until_all_is_synced() {
            let Event::Reclaim(slice) = event else { continue };
            let mut batch = Batch::new(rig.next);
            for frame in slice.frames().filter(|frame| frame.sequence.number() % 20 == 0) {
                batch.append(frame.kind, |body| body.extend_from_slice(frame.body));
                moved += 1;
            }
            let last = (!batch.is_empty()).then(|| Sequence::new(batch.next().number() - 1));
            rig.next = batch.next();
            rig.handle.append(batch, 20_000);
            rig.handle.slice_done(slice.up_to(), last);
        }
    }
    let segments = rig.handle.counters().segments.value();
    assert!(segments < 12, "{segments} segments");
    assert!(moved > 0);
    let there = records_in(rig.end());
    assert!(there < appended, "{there} of {appended} records are there");
}

#[test]
fn more_than_the_reserve_at_once_does_not_keep_room_from_being_made() {
    const MAX: u64 = 6 * SEGMENT;
    let mut rig = Rig::bounded(MAX);
    // Three times what may be used, and of all that only the last record matters.
    for _ in 0..60 {
        rig.append_alive(20, 1_000, None, 1_000);
    }
    let mut room = Room::Enough;
    let counters = Arc::clone(rig.handle.counters());
    while counters.segments_reclaimed.value() < 10
        || counters.disk_bytes.value() > MAX - 3 * SEGMENT
        || room != Room::Enough
    {
        match rig.event() {
            Event::Room { room: now, .. } => room = now,
            Event::Reclaim(slice) => {
                let moved = rig.next;
                rig.append_alive(1, 1_000, Some(Horizon::Synced), 1_000);
                rig.handle.slice_done(slice.up_to(), Some(moved));
            }
            Event::Appended { .. } => {}
            event @ Event::Fetched { .. } => panic!("{event:?}"),
        }
    }
}

#[test]
fn in_the_end_all_is_on_the_disk() {
    let mut rig = Rig::new(ROOMY);
    for _ in 0..10 {
        rig.append(10, 100, None);
    }
    let directory = rig.end();
    assert_eq!(records_in(directory.lose_power()), 100);
}

#[test]
fn nobody_waits_for_a_sync_that_is_another_s() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.gate.close();
    rig.append(1, 10, Some(Horizon::Synced));
    rig.gate.wait_for_sync();
    // Who waits for the system, goes on.
    rig.append(1, 10, Some(Horizon::Written));
    rig.check_horizons((4, 2));
    rig.append(1, 10, Some(Horizon::Written));
    rig.check_horizons((5, 2));
    // So does who wants to read, wherever that is.
    rig.handle.fetch([1, 2, 4].map(Sequence::new).to_vec());
    for _ in 0..3 {
        assert!(matches!(rig.event(), Event::Fetched { record: Ok(_), .. }));
    }
    assert_eq!(rig.handle.backlog_bytes(), 3 * 30, "what is not synced is in memory");
    rig.gate.open();
    // That covers what was written when it began.
    rig.check_horizons((5, 3));
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    assert_eq!(records_in(rig.directory.lose_power()), 5);
}

#[test]
fn all_that_was_written_during_a_sync_that_fails_is_written_again() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.gate.close();
    rig.append(1, 10, Some(Horizon::Synced));
    rig.gate.wait_for_sync();
    rig.append(1, 10, Some(Horizon::Written));
    rig.check_horizons((4, 2));
    rig.directory.set_faults(Faults { sync: 1_000, ..Faults::NONE });
    rig.gate.open();
    assert!(matches!(rig.event(), Event::Room { room: Room::Failing, .. }));
    rig.append(1, 10, Some(Horizon::Written));
    rig.directory.set_faults(Faults::NONE);
    let events = rig.until_all_is_synced();
    assert!(!events.iter().any(|event| matches!(event, Event::Room { .. })), "{events:?}");
    assert!(matches!(rig.event(), Event::Room { room: Room::Enough, .. }));
    assert_eq!(records_in(rig.directory.lose_power()), 4);
}

#[test]
fn the_end_waits_for_a_sync_that_is_under_way() {
    let mut rig = Rig::new(ROOMY);
    rig.append(1, 10, Some(Horizon::Synced));
    rig.until_all_is_synced();
    rig.gate.close();
    rig.append(1, 10, Some(Horizon::Synced));
    rig.gate.wait_for_sync();
    rig.append(1, 10, None);
    let Rig { directory, gate, handle, thread, .. } = rig;
    drop(handle);
    gate.open();
    thread.join();
    assert_eq!(records_in(directory.lose_power()), 3);
}
