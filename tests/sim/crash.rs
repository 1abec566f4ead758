//! A broker comes to its end, and another one takes over from what is left on the disk.

use std::sync::Arc;
use std::time::Duration;

use mqtt_broker::broker::record::{Frame, Published, Record, Sequence};
use mqtt_broker::broker::{Durability, Input, Recovery};
use mqtt_broker::clock::{Epoch, Instant};

use crate::account::Account;
use crate::answer::{About, Answer, Due};
use crate::disk::Crash;
use crate::keeping::{EPOCH, Keeping, Moment};
use crate::reference::memory::Outlived;
use crate::world::World;

impl World<'_> {
    /// The broker comes to its end, and after a while another one is started; perhaps not for long.
    pub(crate) fn crash(&mut self) {
        if self.keeping.as_ref().is_none_or(|keeping| !keeping.scenario.crashes) {
            return;
        }
        loop {
            self.take_records();
            let how = self.choices.among(&[Crash::PowerLost, Crash::Killed]);
            let left = self.lose(how);
            self.restart(left);
            if !self.choices.chance(1, 6) {
                break;
            }
        }
        self.tell(Input::Tick);
    }

    /// Loses what is not on the disk, and finds out what has outlived the broker. The record behind all that is left.
    fn lose(&mut self, how: Crash) -> Sequence {
        for client in &mut self.clients {
            client.disconnect();
        }
        self.endpoints.clear();
        self.pass_down_time();
        let account = self.reference.account();
        let Some(keeping) = &mut self.keeping else { unreachable!("without a disk nothing crashes") };
        let all = keeping.disk.next();
        let lost: Vec<(Sequence, u8, Vec<u8>)> = {
            let records = keeping.disk.records(all);
            records.map(|frame| (frame.sequence, frame.kind, frame.body.to_vec())).collect()
        };
        let left = keeping.disk.crash(how, &mut self.choices);
        self.trace.note(|| format!("-- {how:?}: of the records before {all} those before {left} are left"));

        let at = keeping.moments.iter().rposition(|moment| moment.next <= left);
        let before = at.and_then(|at| keeping.moments.get(at));
        let start = before.map_or(Sequence::FIRST, |moment| moment.next);
        let partly = keeping.moments.get(at.map_or(0, |at| at + 1)).filter(|_| left > start);
        let nothing = Account::default();
        let before_account = match before {
            _ if left == all => &account,
            Some(moment) => &moment.account,
            None => &nothing,
        };
        let after_account = partly.map(|moment| &moment.account);

        let now = self.now;
        let whole = Account::read(keeping.disk.records(start), Keeping::epoch(), now);
        check(&whole, before_account, None, now);
        let told = Account::read(keeping.disk.records(left), Keeping::epoch(), now);
        check(&told, before_account, after_account, now);
        // What was written again only repeats what others have said, in other words.
        let is_repetition = |frame: &Frame<'_>| {
            matches!(Record::decode(frame.kind, frame.body), Ok(Record::Exchanges { .. }))
        };
        let never_reclaimed = keeping.disk.history().filter(|frame| !is_repetition(frame));
        let never_reclaimed = Account::read(never_reclaimed, Keeping::epoch(), now);
        assert_eq!(told.places, never_reclaimed.places, "what was removed was unnecessary");
        let lost: Vec<Frame<'_>> = lost
            .iter()
            .filter(|(sequence, ..)| *sequence >= left)
            .map(|(sequence, kind, body)| Frame { sequence: *sequence, kind: *kind, body })
            .collect();
        if let Some(moment) = partly {
            check_wills(&told, moment, &lost);
        }
        let inputs = if left == all { self.reference.input } else { before.map_or(0, |moment| moment.input) };
        let certain = match how {
            Crash::Killed => Durability::Os,
            Crash::PowerLost => Durability::Fsync,
        };
        let is_lossy = keeping.scenario.least < certain;
        let outlived = Outlived { inputs, partly: partly.map(|moment| moment.input), is_lossy };
        for due in keeping.promises.iter().filter(|due| due.durability >= certain) {
            let then = keeping.moments.iter().rposition(|moment| moment.input <= due.input);
            // All that was there when it was promised is there, unless that was later.
            if let Some(then) = then.filter(|then| at.is_none_or(|at| at < *then)) {
                check_certainty(due, &told, &keeping.moments[then].account, now);
            }
            // What was promised may have led to nothing that would be kept.
            let at = keeping.moments.iter().position(|moment| moment.input == due.input);
            if let Some((before, moment)) = at.and_then(|at| {
                let before = at.checked_sub(1).and_then(|at| keeping.moments.get(at));
                keeping.moments.get(at).map(|moment| (before, moment))
            }) {
                let first = before.map_or(Sequence::FIRST, |moment| moment.next);
                let kept = keeping.disk.records(moment.next).filter(|frame| frame.sequence >= first);
                let lost = lost.iter().filter(|frame| (first..moment.next).contains(&frame.sequence));
                check_promise(due, kept, lost.copied());
            }
        }
        keeping.is_lossy |= is_lossy;
        self.reference.recover(&told, outlived);
        self.watch.restarted();
        left
    }

    /// For so long nobody runs.
    fn pass_down_time(&mut self) {
        let times: &[u64] = if self.is_steady() { &[0, 0, 1] } else { &[0, 1, 20, 200] };
        let time = Duration::from_secs(self.choices.among(times));
        let millis = u64::try_from((self.now + time).since_start().as_millis()).unwrap();
        self.now = Instant::from_start(Duration::from_millis(millis + 1));
    }

    /// Another broker takes over.
    fn restart(&mut self, next: Sequence) {
        let seed = self.choices.within(0..=u64::from(u32::MAX));
        let Some(keeping) = &mut self.keeping else { unreachable!("without a disk nothing is restarted") };
        let epoch = Epoch::started_at(EPOCH.saturating_add(self.now.since_start()));
        let config = self.scenario.broker.clone();
        let mut recovery = Recovery::new(config, Arc::clone(&self.policy), seed, epoch);
        for frame in keeping.disk.records(next) {
            recovery.replay(frame).unwrap();
        }
        let (broker, report) = recovery.finish(next, Instant::START);
        assert_eq!((report.malformed, report.incomplete), (0, 0), "{report:?}");
        for (name, count) in self.broker.counters().iter() {
            *self.past.entry(name).or_default() += count;
        }
        self.broker = broker;
        keeping.restarted(next, self.now);
        self.reference.restarted();
        keeping.moments.push_back(Moment {
            input: self.reference.input,
            next,
            account: self.reference.account(),
        });
        self.reference.input += 1;
        self.take_records();
        crate::checks::check_books(&self.broker, &self.reference);
    }
}

/// Compares what records tell with what is known.
fn check(told: &Account, before: &Account, after: Option<&Account>, now: Instant) {
    let differences = told.differences(before, after, now);
    assert!(
        differences.is_empty(),
        "what outlived the broker is not what was there:\n{}",
        differences.join("\n")
    );
}

/// A will that is not there any more has been published, if that was written down at all.
fn check_wills(told: &Account, moment: &Moment, lost: &[Frame<'_>]) {
    for frame in lost.iter().filter(|frame| frame.sequence < moment.next) {
        if let Ok(Record::Published(Published { will_of: Some(id), .. })) =
            Record::decode(frame.kind, frame.body)
        {
            let mut sessions = told.sessions.values().filter(|session| session.id == Some(id));
            let is_there = sessions.any(|session| session.will.is_some());
            assert!(is_there, "the will of {id:?} is neither there nor published");
        }
    }
}

/// What a client was told of what others may have done, when it was so, is still so.
fn check_certainty(due: &Due, told: &Account, then: &Account, now: Instant) {
    match &due.about {
        About::Nothing => {}
        About::Retained(topic) => {
            let of_topic = |account: &Account| {
                let retained = account.retained.get(topic);
                retained.filter(|retained| retained.expires_at.is_none_or(|at| at > now)).cloned()
            };
            let (is, was) = (of_topic(told), of_topic(then));
            assert!(is == was || then.unsure.contains(topic), "{due:?} was told, and {is:?} is retained");
        }
        About::Received(client, id) => {
            let received = told.sessions.get(&**client).map(|session| &session.received);
            assert!(
                received.is_some_and(|received| received.contains(id)),
                "{due:?} was told, and is forgotten"
            );
        }
        About::NoSession(client) => {
            let session = told.sessions.get(&**client);
            let lives = session.is_some_and(|session| session.ends.is_none_or(|at| at > now));
            assert!(!lives, "{due:?} was told, and now there is {session:?}");
        }
    }
}

/// What a client was told has outlived the broker, of the records that came of what it had asked.
fn check_promise<'a>(
    due: &Due,
    mut kept: impl Iterator<Item = Frame<'a>>,
    mut lost: impl Iterator<Item = Frame<'a>>,
) {
    let is_promised = |frame: Frame<'_>| match (&due.answer, Record::decode(frame.kind, frame.body).unwrap())
    {
        (Answer::ConnAck { .. }, Record::Session(session)) => session.disconnected_at.is_none(),
        (Answer::SubAck { .. }, Record::Subscribed { .. })
        | (Answer::UnsubAck { .. }, Record::Unsubscribed { .. })
        | (Answer::Acknowledgement { .. }, Record::Received { .. } | Record::Released { .. }) => true,
        (Answer::Acknowledgement { .. }, Record::Published(published)) => published.will_of.is_none(),
        _ => false,
    };
    let is_one_of_many = matches!(due.answer, Answer::SubAck { .. } | Answer::UnsubAck { .. });
    // One message is all that is promised at once; another may have come of the end of a session.
    let is_kept = !is_one_of_many && kept.any(is_promised);
    assert!(is_kept || !lost.any(is_promised), "{due:?} was promised, and is lost");
}
