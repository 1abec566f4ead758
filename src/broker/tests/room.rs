//! What happens while there is little room on the disk, or none.

use super::journal::Kept;
use super::*;

const FULL: [(Room, &str); 2] = [(Room::Full, "97"), (Room::Failing, "83")];

fn with_will(client_id: &str, payload: &str) -> Connect {
    let will = Will { payload: Bytes::from(payload.to_owned()), ..*will("will", 1_000) };
    Connect { will: Some(Box::new(will)), ..lasting(client_id) }
}

/// All that waits for the disk.
fn unwritten(kept: &mut Kept) -> usize {
    std::iter::from_fn(|| kept.rig.broker.take_batch()).map(|batch| batch.len()).sum()
}

#[test]
fn a_session_is_resumed_where_nothing_can_be_written_if_nothing_has_to_be() {
    let mut kept = Kept::new();
    let reader = kept.connect(lasting("reader"));
    kept.say(reader, subscribe("a", 1));
    kept.rig.cut(reader);
    let brief = kept.connect(Connect { properties: ConnectProperties::default(), ..lasting("brief") });
    kept.rig.cut(brief);
    kept.connect(with_will("mourned", "gone"));
    kept.sync();
    for (room, reason) in FULL {
        kept.rig.handle(Input::Room(room));
        for connect in [lasting("reader"), v3("reader", false), lasting("reader")] {
            let reader = kept.rig.try_connect(connect, Identity::Anonymous);
            kept.rig.expect(reader, &["CONNACK 00 present=true"]);
        }
        // What has to be written down about these could not be, and they would wait for it.
        let mut expiring = lasting("reader");
        expiring.properties.session_expiry_interval = 60;
        let clean = Connect { clean_start: true, ..v5("reader") };
        let changes = [with_will("reader", "gone"), expiring, clean, lasting("mourned"), lasting("new")];
        for connect in changes {
            let refused = kept.rig.try_connect(connect, Identity::Anonymous);
            kept.rig.expect(refused, &[&format!("CONNACK {reason} present=false"), "CLOSE"]);
        }
        let passing = kept.rig.try_connect(v5("passing"), Identity::Anonymous);
        kept.rig.expect(passing, &["CONNACK 00 present=false"]);
        kept.rig.cut(passing);
    }
    assert!(kept.rig.broker.take_batch().is_none(), "nothing is written");
    kept.rig.handle(Input::Room(Room::Enough));
    let reader = kept.rig.try_connect(lasting("reader"), Identity::Anonymous);
    kept.sync();
    kept.rig.expect(reader, &["CONNACK 00 present=true"]);
}

#[test]
fn who_waits_for_connack_when_the_disk_fills_up_is_told_so() {
    for (room, reason) in FULL {
        let mut kept = Kept::new();
        let waiting = kept.rig.try_connect(with_will("waiting", "gone"), Identity::Anonymous);
        kept.rig.expect(waiting, &[]);
        kept.rig.handle(Input::Room(Room::Low));
        kept.rig.expect(waiting, &[]);
        kept.rig.handle(Input::Room(room));
        // Which becomes a CONNACK on the wire.
        kept.rig.expect(waiting, &[&format!("CLOSE {reason}")]);
        assert_eq!(kept.rig.broker.counters().wills_published, 0, "it was never the client's");
        // That the session is there is still not written down.
        let again = kept.rig.try_connect(lasting("waiting"), Identity::Anonymous);
        assert!(!kept.rig.heard(again).iter().any(|heard| heard.starts_with("CONNACK 00")));
        kept.rig.handle(Input::Room(Room::Enough));
        let again = kept.rig.try_connect(lasting("waiting"), Identity::Anonymous);
        kept.sync();
        kept.rig.expect(again, &["CONNACK 00 present=true"]);
    }
}

#[test]
fn clients_that_come_and_go_write_little_while_there_is_little_room() {
    const LARGEST: usize = 64 << 10;
    let mut kept = Kept::with(|config| config.limits.kept_message_bytes = LARGEST);
    let clients: Vec<String> = (0..10).map(|client| format!("client {client}")).collect();
    for client in &clients {
        let connection = kept.connect(with_will(client, "gone"));
        kept.rig.say(connection, Disconnect::because(ReasonCode::Success));
    }
    kept.sync();
    unwritten(&mut kept);
    kept.rig.handle(Input::Room(Room::Low));
    let large = "x".repeat(5_000);
    let (mut accepted, mut refused, mut written) = (0, 0, 0);
    let mut storm = |kept: &mut Kept, payload: &str| {
        for client in clients.iter().cycle().take(500) {
            let connection = kept.rig.try_connect(with_will(client, payload), Identity::Anonymous);
            written += unwritten(kept);
            let upto = kept.rig.broker.next_record();
            kept.rig.handle(Input::Kept { written: upto, synced: upto });
            match kept.rig.heard(connection).first().map(String::as_str) {
                Some("CONNACK 00 present=true") => accepted += 1,
                Some("CONNACK 97 present=false") => refused += 1,
                other => panic!("{other:?}"),
            }
            kept.rig.say(connection, Disconnect::because(ReasonCode::Success));
            written += unwritten(kept);
        }
        (accepted, refused, written)
    };
    let (accepted, refused, written) = storm(&mut kept, &large);
    assert!(accepted > 0 && refused > 400, "{accepted} of 500 accepted, {refused} refused");
    assert!(written <= LARGEST / 4, "{written} bytes are written");
    kept.rig.now = kept.rig.now + Duration::from_secs(30);
    let (more, _, written) = storm(&mut kept, "small");
    assert!(more > accepted, "after a while there is more");
    assert!(written <= LARGEST / 2, "{written} bytes are written");
    assert_eq!(kept.rig.broker.counters().refused_disk_full, 1_000 - more);
}

#[test]
fn what_waits_for_a_disk_that_does_nothing_is_bounded() {
    const LARGEST: usize = 256 << 10;
    for room in [Room::Enough, Room::Low, Room::Full, Room::Failing] {
        let mut kept = Kept::with(|config| config.limits.kept_message_bytes = LARGEST);
        for client in 0..10 {
            kept.connect(lasting(&format!("client {client}")));
        }
        kept.rig.handle(Input::Room(room));
        let large = "x".repeat(100_000);
        let mut waiting = 0;
        for round in 0..1_000 {
            let connect = match round % 3 {
                0 => with_will(&format!("client {}", round % 10), &large),
                1 => lasting(&format!("client {}", round % 10)),
                _ => lasting(&format!("other {round}")),
            };
            let connection = kept.rig.try_connect(connect, Identity::Anonymous);
            kept.rig.wait(2);
            // One batch is on its way, and never arrives.
            if waiting == 0 {
                waiting = kept.rig.broker.take_batch().map_or(0, |batch| batch.len());
            }
            kept.rig.cut(connection);
        }
        let behind: usize = waiting + unwritten(&mut kept);
        assert!(behind < 3 * LARGEST, "{room:?}: {behind} bytes wait");
    }
}

#[test]
fn a_retained_message_can_be_cleared_and_none_comes_back() {
    let mut kept = Kept::new();
    let writer = kept.connect(v5("writer"));
    let message =
        |topic: &str, payload: &str, qos| Publish { retain: true, ..publish(topic, payload, qos, 1) };
    for topic in ["cleared", "replaced", "left"] {
        kept.say(writer, message(topic, "old", 1));
        kept.rig.expect(writer, &["PUBACK 1 10"]);
    }
    kept.rig.handle(Input::Room(Room::Full));
    kept.say(writer, message("cleared", "", 1));
    kept.say(writer, message("nothing", "", 1));
    kept.rig.expect(writer, &["PUBACK 1 97", "PUBACK 1 10"]);
    kept.rig.handle(Input::Room(Room::Low));
    kept.say(writer, message("cleared", "", 1));
    kept.say(writer, message("left", "new", 1));
    kept.rig.expect(writer, &["PUBACK 1 10", "PUBACK 1 97"]);
    kept.say(writer, message("replaced", "new", 0));
    kept.rig.say(writer, subscribe("#", 0));
    kept.sync();
    kept.rig.expect(writer, &["SUBACK 00", "left old q0 retain", "replaced new q0 retain"]);
    kept.restart(1);
    let writer = kept.connect(v5("writer"));
    kept.say(writer, subscribe("#", 0));
    kept.rig.expect(writer, &["SUBACK 00", "left old q0 retain"]);
}

#[test]
fn a_session_remembers_no_message_of_qos_2_for_which_there_is_no_room() {
    let mut kept = Kept::new();
    let new = kept.connect(lasting("new"));
    let old = kept.connect(v3("old", false));
    kept.sync();
    kept.rig.handle(Input::Room(Room::Low));
    kept.rig.say(new, publish("nobody", "x", 2, 1));
    kept.rig.expect(new, &["PUBREC 1 97"]);
    kept.rig.say(old, publish("nobody", "x", 2, 1));
    kept.rig.expect(old, &["CLOSE 97"]);
    assert!(kept.rig.broker.take_batch().is_none(), "nothing is written");
}

#[test]
fn a_will_for_which_there_is_no_room_reaches_those_who_are_there() {
    let mut kept = Kept::new();
    let heir = kept.connect(lasting("heir"));
    kept.say(heir, subscribe("will", 1));
    let bequest = || Will { qos: QoS::AtLeastOnce, ..*will("will", 0) };
    let passing = kept.connect(Connect { will: Some(Box::new(bequest())), ..v5("passing") });
    let lasting = kept.connect(Connect { will: Some(Box::new(bequest())), ..lasting("lasting") });
    kept.sync();
    kept.rig.heard(heir);
    kept.rig.handle(Input::Room(Room::Low));
    kept.rig.cut(passing);
    kept.rig.expect(heir, &["will gone q0"]);
    assert!(kept.rig.broker.take_batch().is_none(), "nothing is written");
    // This one is on the disk, and takes no more there when it is published.
    let before = kept.rig.broker.journal_live_bytes();
    kept.rig.cut(lasting);
    kept.sync();
    kept.rig.expect(heir, &["will gone q1 #1"]);
    let after = kept.rig.broker.journal_live_bytes();
    assert!(after < before + 100, "{before} bytes were needed, {after} are");
}

#[test]
fn a_client_that_goes_while_there_is_little_room_writes_nothing_that_could_wait() {
    let mut kept = Kept::new();
    let heir = kept.connect(lasting("heir"));
    kept.say(heir, subscribe("will", 0));
    let mut brief = with_will("brief", "gone");
    brief.properties.session_expiry_interval = 10;
    let brief = kept.connect(brief);
    let polite = kept.connect(with_will("polite", "gone"));
    kept.sync();
    kept.rig.handle(Input::Room(Room::Low));
    kept.rig.cut(brief);
    assert!(unwritten(&mut kept) < 50, "that it has gone is not written, only when");
    kept.rig.say(polite, Disconnect::because(ReasonCode::Success));
    kept.sync();
    kept.restart(1);
    // It is taken to have gone with the broker.
    assert_eq!((kept.recovered.sessions, kept.rig.broker.counters().wills_published), (3, 0));
    kept.rig.wait(8);
    assert_eq!(kept.rig.broker.sessions.len(), 3);
    kept.rig.wait(2_000);
    assert_eq!((kept.rig.broker.sessions.len(), kept.rig.broker.counters().wills_published), (2, 1));
}
