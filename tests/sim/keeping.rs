//! What a world with a journal does for it: takes the records, writes and syncs them when it likes, says so when it
//! likes, reads records again, and has the oldest made unnecessary.

use std::collections::VecDeque;

use mqtt_broker::broker::record::{Number, Record, Sequence};
use mqtt_broker::broker::{Durability, Input, Room};
use mqtt_broker::clock::{Epoch, Instant, WallTime};

use crate::account::Account;
use crate::answer::{Answer, Due};
use crate::arb::Choices;
use crate::disk::Disk;
use crate::scenario::KeepingScenario;
use crate::trace::brief_record;
use crate::world::World;

/// When time began, by the calendar.
pub(crate) const EPOCH: WallTime = WallTime::from_unix_millis(1_800_000_000_000);

#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) scenario: KeepingScenario,
    pub(crate) disk: Disk,
    /// When the broker was started.
    pub(crate) started: Instant,
    /// What there was after what the broker was told; those that are synced are forgotten, but for the last.
    pub(crate) moments: VecDeque<Moment>,
    /// What clients have been told of what is not synced yet.
    pub(crate) promises: Vec<Due>,
    /// How the disk is, as the broker knows it.
    room: Room,
    /// What the broker wants to read.
    pub(crate) wanted: VecDeque<(Number, Sequence)>,
    /// Whether something was lost that somebody had been told and that he knew might get lost.
    pub(crate) is_lossy: bool,
}

/// What there was when the broker had been told something.
#[derive(Debug)]
pub(crate) struct Moment {
    /// So many inputs it had been told.
    pub(crate) input: u64,
    /// The number of the record after the last that came of it.
    pub(crate) next: Sequence,
    pub(crate) account: Account,
}

impl Keeping {
    pub(crate) fn new(scenario: KeepingScenario, choices: &mut Choices<'_>) -> Self {
        let disk = if scenario.has_log { Disk::with_log(choices) } else { Disk::new() };
        Self {
            scenario,
            disk,
            started: Instant::START,
            moments: VecDeque::new(),
            promises: Vec::new(),
            room: Room::Enough,
            wanted: VecDeque::new(),
            is_lossy: false,
        }
    }

    pub(crate) const fn epoch() -> Epoch {
        Epoch::started_at(EPOCH)
    }

    /// A client has been told something.
    pub(crate) fn promised(&mut self, due: Due) {
        let is_promise = match &due.answer {
            Answer::ConnAck { reason, .. } | Answer::Acknowledgement { reason, .. } => !reason.is_error(),
            Answer::SubAck { .. } | Answer::UnsubAck { .. } => true,
            Answer::PingResp | Answer::Disconnect { .. } => false,
        };
        if is_promise && due.durability > Durability::Memory {
            self.promises.push(due);
        }
    }

    /// Forgets what is settled, as all that is synced is.
    fn forget_synced(&mut self) {
        let synced = self.disk.synced();
        while self.moments.get(1).is_some_and(|moment| moment.next <= synced) {
            self.moments.pop_front();
        }
        let settled = self.moments.front().map_or(0, |moment| moment.input);
        self.promises.retain(|due| due.input > settled);
    }

    /// Another broker has been started with what is left before this record. It may be that this is not all synced.
    pub(crate) fn restarted(&mut self, next: Sequence, now: Instant) {
        self.started = now;
        self.moments.retain(|moment| moment.next < next);
        self.wanted.clear();
        self.room = Room::Enough;
    }
}

impl World<'_> {
    /// Whether clients come back to their sessions and have little else in mind than messages.
    pub(crate) fn is_steady(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.scenario.is_steady)
    }

    /// Whether clients want the same few things while the disk is slow.
    pub(crate) fn is_contested(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.scenario.is_contested)
    }

    /// The time as the broker knows it.
    pub(crate) fn local(&self) -> Instant {
        let started = self.keeping.as_ref().map_or(Instant::START, |keeping| keeping.started);
        Instant::from_start(self.now.saturating_since(started))
    }

    /// Takes the records that there are, if there is a disk to which they can go.
    pub(crate) fn take_records(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        let Some(batch) = self.broker.take_batch() else { return };
        for frame in batch.frames() {
            self.trace.note(|| format!("record {}", brief_record(frame)));
            if keeping.scenario.crashes
                && let Ok(Record::Session(session)) = Record::decode(frame.kind, frame.body)
                && session.disconnected_at.is_none()
            {
                self.reference.learn(session.id, &session.client_id);
            }
        }
        let next = batch.next();
        keeping.disk.take(batch);
        if keeping.scenario.crashes {
            let moment = Moment { input: self.reference.input, next, account: self.reference.account() };
            keeping.moments.push_back(moment);
        }
    }

    /// The disk does something, or the broker hears of it.
    pub(crate) fn disk_works(&mut self) {
        self.take_records();
        let Some(keeping) = &mut self.keeping else { return };
        match self.choices.below(6) {
            0 | 1 => {
                keeping.disk.flush();
                self.tell_kept();
            }
            2 => keeping.disk.write(&mut self.choices),
            3 => keeping.disk.sync(),
            4 => self.tell_kept(),
            _ => self.read_record(),
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.forget_synced();
        }
        self.tell_room();
    }

    /// The broker hears how the disk is.
    fn tell_room(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        let Some(room) = keeping.disk.room().filter(|room| *room != keeping.room) else { return };
        keeping.room = room;
        self.tell(Input::Room(room));
    }

    /// The disk does all that it can. Whether there was anything.
    pub(crate) fn disk_works_off(&mut self) -> bool {
        self.take_records();
        let Some(keeping) = &mut self.keeping else { return false };
        keeping.disk.mend();
        let busy = keeping.disk.synced() < keeping.disk.next() || !keeping.wanted.is_empty();
        if busy {
            keeping.disk.flush();
            keeping.forget_synced();
            self.tell_kept();
            self.tell_room();
            while self.keeping.as_ref().is_some_and(|keeping| !keeping.wanted.is_empty()) {
                self.read_record();
            }
        }
        busy
    }

    fn tell_kept(&mut self) {
        let Some(keeping) = &self.keeping else { return };
        let (written, synced) = (keeping.disk.written(), keeping.disk.synced());
        self.tell(Input::Kept { written, synced });
    }

    fn read_record(&mut self) {
        // It may be among those that have not been taken yet.
        self.take_records();
        let Some(keeping) = &mut self.keeping else { return };
        let Some((message, record)) = keeping.wanted.pop_front() else { return };
        let content = keeping.disk.read(record);
        self.tell(Input::Fetched { message, record, content });
    }

    /// The oldest records are to be made unnecessary.
    pub(crate) fn reclaim(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        let frames = keeping.disk.oldest(1 + self.choices.below(12));
        self.tell(Input::Reclaim { frames });
        let reclaimed = self.broker.take_reclaimed();
        self.take_records();
        let Some(keeping) = &mut self.keeping else { return };
        keeping.disk.made_unnecessary(reclaimed);
        keeping.forget_synced();
    }

    pub(crate) fn change_room(&mut self) {
        let room = self.choices.among(&[
            Room::Enough,
            Room::Full,
            Room::Enough,
            Room::Low,
            Room::Enough,
            Room::Failing,
        ]);
        // A real log knows how its disk is.
        if self.keeping.as_ref().is_some_and(|keeping| keeping.disk.room().is_none()) {
            self.tell(Input::Room(room));
        }
    }
}
