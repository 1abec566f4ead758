//! What is written down is there after a restart.

use super::super::journal::recovery::Recovered;
use super::super::record::{Batch, Frame, Number, Record, Sequence};
use super::*;
use crate::clock::{Epoch, WallTime};

use AcknowledgementKind::{PubAck, PubComp, PubRec, PubRel};

/// A broker with a journal, and a disk on which it stays.
pub(super) struct Kept {
    pub(super) rig: Rig,
    /// All batches that were taken, the last one perhaps not yet synced.
    disk: Vec<Batch>,
    /// Records before this one are gone.
    reclaimed: Sequence,
    started: WallTime,
    pub(super) recovered: Recovered,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(configure: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut rig = Rig::with(configure);
        let started = WallTime::from_unix_millis(1_800_000_000_000);
        let (broker, recovered) = recover(&rig.broker, &[], Sequence::FIRST, started);
        rig.broker = broker;
        Self { rig, disk: Vec::new(), reclaimed: Sequence::FIRST, started, recovered }
    }

    /// The disk does its work.
    pub(super) fn sync(&mut self) {
        let Some(batch) = self.rig.broker.take_batch() else { return };
        let upto = batch.next();
        self.disk.push(batch);
        self.rig.handle(Input::Kept { written: upto, synced: upto });
    }

    /// The broker is killed, and started again after so many seconds. What was taken is kept, what was not is lost.
    pub(super) fn restart(&mut self, after: u64) {
        self.recover(after);
        self.rig.wait(0);
        self.sync();
    }

    /// Of the records that the disk has not got yet it gets so many, and no more.
    pub(super) fn tear(&mut self, count: usize) {
        let written = self.rig.broker.take_batch().unwrap();
        let mut kept = Batch::new(written.first());
        for frame in written.frames().take(count) {
            kept.append(frame.kind, |body| body.extend_from_slice(frame.body));
        }
        self.disk.push(kept);
    }

    pub(super) fn recover(&mut self, after: u64) {
        let millis = u64::try_from(self.rig.now.since_start().as_millis()).unwrap() + after * 1_000;
        self.started = WallTime::from_unix_millis(self.started.unix_millis() + millis);
        let (broker, recovered) = recover(&self.rig.broker, &self.disk, self.reclaimed, self.started);
        self.rig.broker = broker;
        self.rig.broker.assert_invariants();
        self.recovered = recovered;
        self.rig.now = Instant::START;
        self.rig.heard.clear();
    }

    /// Makes all records unnecessary that there are.
    pub(super) fn reclaim(&mut self) {
        self.sync();
        let last = self.disk.last().map(Batch::next);
        for batch in self.disk.clone() {
            self.rig.handle(Input::Reclaim { frames: batch.bytes().to_vec() });
        }
        let reclaimed = self.rig.broker.take_reclaimed();
        assert_eq!(reclaimed, last);
        self.sync();
        self.reclaimed = reclaimed.unwrap_or(self.reclaimed);
        let reclaimed = self.reclaimed;
        self.disk.retain(|batch| batch.first() >= reclaimed);
        // What is left is what is needed: no less is counted, or reclaim would never be done, and not much more.
        let left: usize = self.disk.iter().map(Batch::len).sum();
        let (left, needed) = (count(left), self.rig.broker.journal_live_bytes());
        assert!(left <= needed, "{left} bytes are written, {needed} are counted");
        assert!(needed <= 200 + 2 * left, "{left} bytes are written, {needed} are counted");
    }

    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.disk.iter().flat_map(Batch::frames)
    }

    /// Reads what the broker wants to read.
    pub(super) fn read(&mut self) {
        while !self.rig.wanted.is_empty() {
            let (message, record) = self.rig.wanted.remove(0);
            let frame = self.frames().find(|frame| frame.sequence == record);
            let content = frame.map(|frame| (frame.kind, frame.body.to_vec()));
            self.rig.handle(Input::Fetched { message, record, content });
        }
    }

    pub(super) fn connect(&mut self, connect: Connect) -> ConnectionId {
        let connection = self.rig.try_connect(connect, Identity::Anonymous);
        self.sync();
        self.read();
        let heard = self.rig.heard.get_mut(&connection).unwrap();
        let connack = heard.remove(0);
        assert!(connack.starts_with("CONNACK 00"), "{connack}");
        connection
    }

    /// Says something, and lets the disk do its work.
    pub(super) fn say(&mut self, connection: ConnectionId, packet: impl Into<Said>) {
        self.rig.say(connection, packet);
        self.sync();
        self.sync();
    }
}

fn recover(like: &Broker, disk: &[Batch], from: Sequence, started: WallTime) -> (Broker, Recovered) {
    let mut recovery =
        Recovery::new(like.config.clone(), Arc::new(Policy::AllowAll), 7, Epoch::started_at(started));
    for frame in disk.iter().flat_map(Batch::frames).filter(|frame| frame.sequence >= from) {
        recovery.replay(frame).unwrap();
    }
    recovery.finish(disk.last().map_or(Sequence::FIRST, Batch::next), Instant::START)
}

#[test]
fn a_will_that_replaces_one_survives_and_the_other_is_published_whatever_is_cut_off() {
    let mut kept = Kept::new();
    let heir = kept.connect(lasting("heir"));
    kept.say(heir, subscribe("#", 1));
    kept.rig.cut(heir);
    kept.sync();
    let with_will = |topic| Connect {
        will: Some(Box::new(Will { qos: QoS::AtLeastOnce, ..*will(topic, 0) })),
        ..lasting("client")
    };
    kept.connect(with_will("first"));
    let before = kept.rig.broker.next_record();
    kept.rig.try_connect(with_will("second"), Identity::Anonymous);
    let all = kept.rig.broker.next_record().since(before);
    kept.sync();
    let last = kept.disk.pop().unwrap();
    for count in 0..=usize::try_from(all).unwrap() {
        // A crash may keep only the first records of what was written last.
        let mut batch = Batch::new(last.first());
        last.frames().take(count).for_each(|frame| {
            Record::decode(frame.kind, frame.body).unwrap().append(&mut batch);
        });
        let disk: Vec<Batch> = kept.disk.iter().cloned().chain([batch]).collect();
        let (broker, _) = recover(&kept.rig.broker, &disk, Sequence::FIRST, kept.started);
        let client = broker.sessions.find(&ClientId::new("client")).unwrap();
        let will = broker.sessions.get(client).unwrap().will.as_deref();
        let will = will.map(|will| will.topic.as_str().to_owned());
        let heir = broker.sessions.find(&ClientId::new("heir")).unwrap();
        let queued = broker.sessions.get(heir).unwrap().queue.len();
        // The first one either waits or has been published.
        match will.as_deref() {
            Some("first") => assert_eq!(queued, 0, "{count} records"),
            Some("second") | None => assert_eq!(queued, 1, "{count} records"),
            Some(other) => panic!("{other}"),
        }
        assert!(count < usize::try_from(all).unwrap() || will.as_deref() == Some("second"));
    }
}

#[test]
fn what_was_due_while_the_broker_was_down_is_seen_to_before_its_client_comes_back() {
    let mut kept = Kept::new();
    let mut brief = lasting("brief");
    brief.properties.session_expiry_interval = 10;
    let brief = kept.connect(brief);
    let mourner = kept.connect(Connect {
        will: Some(Box::new(Will { qos: QoS::AtLeastOnce, ..*will("w", 10) })),
        ..lasting("mourner")
    });
    let heir = kept.connect(lasting("heir"));
    kept.say(heir, subscribe("w", 1));
    for connection in [brief, mourner, heir] {
        kept.rig.cut(connection);
    }
    kept.sync();
    let started = WallTime::from_unix_millis(kept.started.unix_millis() + 20_000);
    kept.rig.broker = recover(&kept.rig.broker, &kept.disk, Sequence::FIRST, started).0;
    // Nobody has looked at the clock yet.
    let heard = [("brief", vec!["CONNACK 00 present=false"]), ("mourner", vec!["CONNACK 00 present=true"])];
    let heir = ("heir", vec!["CONNACK 00 present=true", "w gone q1 #1"]);
    for (client, heard) in heard.into_iter().chain([heir]) {
        let connection = kept.rig.try_connect(lasting(client), Identity::Anonymous);
        kept.sync();
        kept.rig.expect(connection, &heard);
    }
}

#[test]
fn what_was_queued_and_under_way_goes_on_after_a_restart_in_order() {
    for reclaims in [false, true] {
        let mut kept = Kept::new();
        let reader = kept.connect(lasting("reader"));
        kept.say(reader, subscribe_with("a", qos_options(2), 7));
        let writer = kept.connect(v5("writer"));
        for (number, qos) in [(1, 1), (2, 2), (3, 2)] {
            kept.say(writer, publish("a", &number.to_string(), qos, number));
        }
        kept.say(reader, (PubRec, 2));
        kept.rig.cut(reader);
        for number in 4..=5 {
            kept.say(writer, publish("a", &number.to_string(), 1, number));
        }
        if reclaims {
            kept.reclaim();
            kept.reclaim();
        }
        kept.restart(1);
        assert_eq!((kept.recovered.sessions, kept.recovered.queued), (1, 4));
        let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
        kept.sync();
        kept.read();
        kept.sync();
        kept.rig.expect(
            reader,
            &[
                "CONNACK 00 present=true",
                "a 1 q1 #1 dup id7",
                "PUBREL 2 00",
                "a 3 q2 #3 dup id7",
                "a 4 q1 #4 id7",
                "a 5 q1 #5 id7",
            ],
        );
        kept.say(reader, (PubComp, 2));
        for id in [1, 4, 5] {
            kept.say(reader, (PubAck, id));
        }
        kept.restart(0);
        assert_eq!(kept.recovered.queued, 1);
    }
}

fn qos_options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions { qos: QoS::from_u8(qos).unwrap(), ..SubscriptionOptions::default() }
}

#[test]
fn a_message_of_qos_2_that_was_received_is_not_taken_again() {
    for reclaims in [false, true] {
        let mut kept = Kept::new();
        let reader = kept.connect(lasting("reader"));
        kept.say(reader, subscribe("a", 1));
        let writer = kept.connect(lasting("writer"));
        kept.say(writer, publish("a", "x", 2, 1));
        kept.say(writer, publish("nobody", "x", 2, 2));
        kept.say(writer, publish("a", "y", 2, 3));
        kept.say(writer, (PubRel, 3));
        if reclaims {
            kept.reclaim();
        }
        kept.restart(0);
        let writer = kept.connect(lasting("writer"));
        for id in 1..=2 {
            kept.say(writer, Publish { dup: true, ..publish("a", "x", 2, id) });
        }
        kept.say(writer, (PubRel, 3));
        kept.rig.expect(writer, &["PUBREC 1 00", "PUBREC 2 00", "PUBCOMP 3 92"]);
        kept.rig.cut(writer);
        let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
        kept.sync();
        kept.read();
        kept.rig.expect(reader, &["CONNACK 00 present=true", "a x q1 #1 dup", "a y q1 #2 dup"]);
    }
}

#[test]
fn retained_messages_subscriptions_and_wills_survive() {
    for reclaims in [false, true] {
        let mut kept = Kept::new();
        let mut connect = lasting("reader");
        connect.will = Some(will("gone", 60));
        let reader = kept.connect(connect);
        kept.say(reader, subscribe("$share/g/b", 1));
        kept.say(reader, subscribe("gone", 1));
        kept.say(reader, subscribe("left", 1));
        kept.say(reader, unsubscribe("left"));
        let writer = kept.connect(v5("writer"));
        for payload in ["1", "2"] {
            kept.say(writer, retained("a", payload));
            kept.say(writer, retained("b", payload));
            kept.say(writer, retained("c", payload));
        }
        kept.say(writer, retained("c", ""));
        let mut short = retained("d", "x");
        short.properties = Some(Box::new(PublishProperties {
            message_expiry_interval: Some(5),
            ..PublishProperties::default()
        }));
        kept.say(writer, short);
        if reclaims {
            kept.reclaim();
            kept.reclaim();
        }
        kept.restart(10);
        assert_eq!((kept.recovered.retained, kept.recovered.subscriptions), (3, 2));
        assert_eq!(kept.rig.broker.retained.len(), 2, "one has expired meanwhile");
        kept.rig.wait(45);
        assert_eq!(kept.rig.broker.counters().wills_published, 0);
        kept.rig.wait(6);
        assert_eq!(kept.rig.broker.counters().wills_published, 1);
        kept.sync();
        kept.restart(100);
        kept.rig.wait(1);
        assert_eq!(kept.rig.broker.counters().wills_published, 0, "it was published");
        let reader = kept.connect(lasting("reader"));
        kept.say(reader, subscribe("+", 0));
        kept.rig.expect(reader, &["SUBACK 00", "a 2 q0 retain", "b 2 q0 retain"]);
    }
}

#[test]
fn a_session_expires_while_the_broker_is_down() {
    let mut kept = Kept::new();
    let mut connect = v5("reader");
    connect.properties.session_expiry_interval = 10;
    let reader = kept.connect(connect);
    kept.rig.wait(100);
    kept.sync();
    kept.restart(9);
    assert_eq!(kept.rig.broker.sessions.len(), 1, "it was connected until the broker ended");
    kept.restart(2);
    assert_eq!(kept.rig.broker.sessions.len(), 0);
    kept.restart(0);
    assert_eq!(kept.recovered.sessions, 0, "its end is written down");
    let _ = reader;
}

#[test]
fn a_clean_start_leaves_nothing_behind() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    let mut connect = v5("reader");
    connect.clean_start = true;
    kept.connect(connect);
    kept.restart(0);
    assert_eq!((kept.recovered.sessions, kept.recovered.subscriptions), (0, 0));
    kept.reclaim();
    assert_eq!(kept.frames().count(), 0);
}

#[test]
fn messages_that_left_memory_are_read_when_they_are_needed() {
    let mut kept = Kept::with(|config| config.limits.cached_bytes = 0);
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    kept.rig.cut(reader);
    let writer = kept.connect(v5("writer"));
    for number in 1..=100 {
        kept.say(writer, publish("a", &number.to_string(), 1, number));
    }
    kept.restart(0);
    assert_eq!(kept.rig.broker.messages.cached_bytes(), 0);
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.sync();
    while !kept.rig.wanted.is_empty() {
        kept.reclaim();
        kept.read();
    }
    let heard = kept.rig.heard(reader);
    assert_eq!(heard.len(), 101);
    assert_eq!(heard[100], "a 100 q1 #100");
}

#[test]
fn a_message_that_cannot_be_read_is_given_up_and_the_next_one_is_sent() {
    let mut kept = Kept::with(|config| config.limits.cached_bytes = 0);
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    kept.rig.cut(reader);
    let writer = kept.connect(v5("writer"));
    kept.say(writer, publish("a", "1", 1, 1));
    kept.say(writer, publish("a", "2", 1, 2));
    kept.sync();
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.sync();
    let (message, record) = kept.rig.wanted.remove(0);
    kept.rig.handle(Input::Fetched { message, record, content: None });
    kept.read();
    kept.rig.expect(reader, &["CONNACK 00 present=true", "a 2 q1 #1"]);
    assert_eq!(kept.rig.broker.counters().messages_unreadable, 1);
    assert!(message > Number(0));
}

#[test]
fn what_a_departed_member_had_goes_to_another_once() {
    for cached in [usize::MAX, 0] {
        let mut kept = Kept::with(|config| config.limits.cached_bytes = cached);
        let mut connect = v5("one");
        connect.properties.session_expiry_interval = 10;
        let one = kept.connect(connect);
        kept.say(one, subscribe("$share/g/a", 1));
        kept.rig.cut(one);
        let writer = kept.connect(v5("writer"));
        kept.say(writer, publish("a", "1", 1, 1));
        kept.say(writer, publish("a", "2", 1, 2));
        let two = kept.connect(lasting("two"));
        kept.say(two, subscribe("$share/g/a", 1));
        kept.rig.cut(two);
        kept.sync();
        kept.rig.wait(11);
        kept.read();
        kept.sync();
        kept.restart(0);
        assert_eq!((kept.recovered.sessions, kept.recovered.queued), (1, 2));
        let two = kept.connect(lasting("two"));
        kept.read();
        kept.rig.expect(two, &["a 1 q1 #1", "a 2 q1 #2"]);
    }
}

#[test]
fn a_full_disk_refuses_what_would_have_to_be_kept_and_nothing_else() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("kept", 1));
    let writer = kept.connect(v5("writer"));
    kept.rig.heard(reader);
    for (room, reason) in [(Room::Full, "97"), (Room::Failing, "83")] {
        kept.rig.handle(Input::Room(room));
        kept.rig.say(writer, publish("kept", "x", 1, 1));
        kept.rig.say(writer, publish("kept", "x", 2, 2));
        kept.rig.say(writer, publish("other", "x", 1, 3));
        kept.rig
            .expect(writer, &[&format!("PUBACK 1 {reason}"), &format!("PUBREC 2 {reason}"), "PUBACK 3 10"]);
        kept.rig.expect(reader, &[]);
        kept.rig.say(writer, publish("kept", "zero", 0, 0));
        kept.rig.expect(reader, &["kept zero q0"]);
        kept.rig.say(reader, subscribe("more", 1));
        kept.sync();
        kept.rig.expect(reader, &[&format!("SUBACK {reason}")]);
        let refused = kept.rig.try_connect(lasting("new"), Identity::Anonymous);
        assert_eq!(kept.rig.heard(refused)[0], format!("CONNACK {reason} present=false"));
        let old = kept.rig.try_connect(v3("old", true), Identity::Anonymous);
        kept.rig.heard(old);
        kept.rig.say(old, publish("kept", "x", 1, 1));
        assert!(kept.rig.heard(old)[0].starts_with("CLOSE"), "3.x cannot be told");
        kept.rig.handle(Input::Room(Room::Enough));
        kept.say(writer, publish("kept", "x", 1, 4));
        kept.rig.expect(writer, &["PUBACK 4 00"]);
        kept.rig.heard(reader);
    }
}

#[test]
fn all_that_is_written_again_is_counted_as_needed() {
    let mut kept = Kept::new();
    let long = "n".repeat(10_000);
    let member = kept.connect(lasting("member"));
    kept.say(member, subscribe(&format!("$share/{long}/shared"), 1));
    kept.say(member, subscribe_with("plain", qos_options(2), 268_435_455));
    kept.rig.cut(member);
    let user_properties = (0..100).map(|_| (Arc::from("k"), Arc::from("v"))).collect();
    let properties = PublishProperties { user_properties, ..PublishProperties::default() };
    let mut bequest = will("will", 1_000);
    bequest.properties = properties.clone();
    bequest.payload = Bytes::from(long.clone());
    let mourned = kept.connect(Connect { will: Some(bequest), ..lasting(&format!("mourned{long}")) });
    for id in 1..=50 {
        kept.say(mourned, publish("nobody", "", 2, id));
        kept.say(mourned, publish("shared", "", 1, id));
        kept.say(mourned, Publish { retain: true, ..publish(&format!("r/{id}"), "x", 1, id) });
        let with_properties = Some(Box::new(properties.clone()));
        kept.say(mourned, Publish { properties: with_properties, ..publish("plain", "x", 2, 100 + id) });
    }
    kept.say(mourned, Publish { retain: true, ..publish("r/7", "", 1, 1) });
    kept.rig.cut(mourned);
    let member = kept.connect(lasting("member"));
    for id in 1..=20 {
        kept.say(member, (PubRec, 2 * id));
    }
    for _ in 0..3 {
        kept.reclaim();
    }
    kept.restart(1);
    kept.reclaim();
    // What ends is counted no longer.
    for client in ["member", &format!("mourned{long}")] {
        kept.rig.try_connect(Connect { clean_start: true, ..v5(client) }, Identity::Anonymous);
    }
    kept.sync();
    let writer = kept.connect(v5("writer"));
    for id in 1..=50 {
        kept.say(writer, Publish { retain: true, ..publish(&format!("r/{id}"), "", 1, id) });
    }
    kept.reclaim();
    assert!(kept.rig.broker.journal_live_bytes() < 100, "{}", kept.rig.broker.journal_live_bytes());
}

#[test]
fn ten_thousand_queues_take_one_body() {
    let mut kept = Kept::new();
    for client in 0..1_000 {
        let reader = kept.rig.try_connect(lasting(&client.to_string()), Identity::Anonymous);
        kept.rig.say(reader, subscribe("a", 1));
        kept.rig.cut(reader);
    }
    let writer = kept.connect(v5("writer"));
    kept.rig.say(writer, publish("a", &"x".repeat(10_000), 1, 1));
    let batch = kept.rig.broker.take_batch().unwrap();
    assert_eq!(batch.frames().count(), 1);
    assert!(batch.len() < 10_000 + 1_000 * 8, "{}", batch.len());
}
