//! Records come back as they were written, and bytes that are none are refused.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::broker::permissions::TokenKey;
use crate::mqtt::codec::Publication;
use crate::mqtt::packet::RetainHandling;
use crate::mqtt::{PublishProperties, TopicFilter, TopicName};

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn target(session: u64, number: u64) -> Target {
    Target {
        session: SessionId(session),
        number: Number(number),
        qos: QoS::AtLeastOnce,
        retain: false,
        sent: None,
        identifiers: None,
        shared: None,
    }
}

fn will() -> Will {
    Will {
        topic: TopicName::parse("gone").unwrap(),
        payload: Bytes::from_static(b"bye"),
        qos: QoS::ExactlyOnce,
        retain: true,
        delay_interval: 300,
        properties: PublishProperties { content_type: Some(Arc::from("text")), ..Default::default() },
    }
}

#[expect(clippy::too_many_lines, reason = "one of each kind")]
fn records(publication: &[u8]) -> Vec<Record<'_>> {
    let (session, number) = (SessionId(300), Number(70_000));
    let full = Target {
        sent: Some(packet_id(9)),
        identifiers: SubscriptionIdentifier::new(1_000).map(|identifier| Box::from([identifier])),
        shared: Some("$share/workers/a/#".into()),
        retain: true,
        qos: QoS::ExactlyOnce,
        ..target(300, 70_005)
    };
    let published = Published {
        number,
        received: None,
        will_of: None,
        retained: false,
        retain: false,
        qos: QoS::AtMostOnce,
        expires_at: None,
        footprint: 0,
        publisher: "",
        targets: Vec::new(),
        publication: PublicationOf::Bytes(publication),
    };
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::Never,
    };
    let quiet = SessionRecord {
        id: session,
        client_id: "client".to_owned(),
        policy: String::new(),
        identity: Identity::Anonymous,
        grants: None,
        expiry: u32::MAX,
        disconnected_at: None,
        response_prefix: None,
        will: None,
        will_at: None,
    };
    let grants = Grants {
        key: TokenKey::default(),
        groups: [Arc::from("operators")].into(),
        publish: vec![TopicFilter::parse("a/+").unwrap()],
        subscribe: vec![TopicFilter::parse("#").unwrap()],
        receive: Some(Vec::new()),
    };
    let loud = SessionRecord {
        policy: "factory.json".to_owned(),
        identity: Identity::User(Arc::from("ada")),
        grants: Some(grants),
        expiry: 60,
        disconnected_at: Some(WallTime::from_unix_millis(1_800_000_000_000)),
        response_prefix: Some("res_x".to_owned()),
        will: Some(will()),
        will_at: Some(WallTime::from_unix_millis(1_800_000_300_000)),
        ..quiet.clone()
    };
    vec![
        Record::Published(published.clone()),
        Record::Published(Published {
            received: Some((session, packet_id(u16::MAX))),
            will_of: Some(SessionId(1)),
            retained: true,
            retain: true,
            qos: QoS::ExactlyOnce,
            expires_at: Some(WallTime::from_unix_millis(5)),
            footprint: u32::MAX,
            publisher: "who",
            targets: vec![target(1, 70_000), full.clone(), target(2, 70_001)],
            ..published
        }),
        Record::Session(Box::new(quiet)),
        Record::Session(Box::new(loud)),
        Record::Ended { session },
        Record::Subscribed {
            session,
            filter: "$share/g/a/#",
            options,
            identifier: SubscriptionIdentifier::new(7),
        },
        Record::Subscribed {
            session,
            filter: "+",
            options: SubscriptionOptions { retain_handling: RetainHandling::IfNew, ..options },
            identifier: None,
        },
        Record::Unsubscribed { session, filter: "a" },
        Record::Received { session, packet_id: packet_id(1) },
        Record::Released { session, packet_id: packet_id(2) },
        Record::Queued { message: number, from: None, target: full.clone() },
        Record::Queued { message: number, from: Some((SessionId(4), Number(5))), target: full },
        Record::Sent { session, number, packet_id: packet_id(3) },
        Record::Completing { session, number, packet_id: packet_id(4) },
        Record::Settled { session, numbers: vec![number] },
        Record::Exchanges {
            session,
            received: vec![packet_id(5), packet_id(6)],
            completing: vec![(number, packet_id(7))],
        },
        Record::Cleared { topic: "a/b" },
        Record::Alive { at: WallTime::from_unix_millis(77) },
    ]
}

/// Records of the kinds that came later.
fn later_records() -> Vec<Record<'static>> {
    let (session, number) = (SessionId(300), Number(70_000));
    let filter = "a/#";
    let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
    let identifier = SubscriptionIdentifier::new(7);
    let replay = |progress, queued| Record::Replay { session, filter, options, identifier, progress, queued };
    vec![
        replay(Progress::At("a"), None),
        replay(Progress::Behind("a/b"), Some((number, target(300, 70_005)))),
        replay(Progress::Done, None),
        Record::Settled { session, numbers: vec![number, Number(u64::MAX), Number(0), Number(1)] },
    ]
}

fn publication() -> Vec<u8> {
    let mut publication = Vec::new();
    Publication::append(&TopicName::parse("a/b").unwrap(), b"payload", None, &mut publication).unwrap();
    publication
}

#[test]
fn records_are_read_as_they_were_written() {
    let publication = publication();
    let records: Vec<Record<'_>> = records(&publication).into_iter().chain(later_records()).collect();
    let mut batch = Batch::new(Sequence::FIRST);
    for record in &records {
        record.append(&mut batch);
    }
    let read: Vec<_> = batch.frames().map(|frame| Record::decode(frame.kind, frame.body).unwrap()).collect();
    assert_eq!(read, records);
    assert!(batch.frames().all(|frame| Record::kind_name(frame.kind) != "unknown"));
}

/// The records above, as they were written when there were first such records. They are read for ever: what is written in
/// another way gets another kind, and other records here.
const FIRST_FORMAT: &[u8] = include_bytes!("../../../tests/fixtures/records/v1.bin");
const LATER_KINDS: &[u8] = include_bytes!("../../../tests/fixtures/records/v1-later.bin");

fn check_fixture(fixture: &[u8], expected: &[Record<'_>]) {
    let frames: Vec<_> = frame::Frames::new(fixture).collect();
    assert_eq!(frames.len(), expected.len());
    for (frame, expected) in frames.iter().zip(expected) {
        assert_eq!(Record::decode(frame.kind, frame.body).as_ref(), Ok(expected));
    }
    assert!(written(expected).bytes() == fixture, "a new format has a fixture of its own");
}

fn written(records: &[Record<'_>]) -> Batch {
    let mut batch = Batch::new(Sequence::FIRST);
    for record in records {
        record.append(&mut batch);
    }
    batch
}

#[test]
fn what_was_written_once_is_read_for_ever_and_written_in_no_other_way() {
    let publication = publication();
    check_fixture(FIRST_FORMAT, &records(&publication));
    check_fixture(LATER_KINDS, &later_records());
}

#[test]
#[ignore = "it makes the fixture of a new format"]
fn write_the_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/records/new.bin");
    std::fs::write(path, written(&later_records()).bytes()).unwrap();
}

#[test]
fn what_is_cut_off_is_refused_or_another_record_and_never_a_panic() {
    let publication = publication();
    let mut batch = written(&records(&publication));
    for record in later_records() {
        record.append(&mut batch);
    }
    for frame in batch.frames() {
        for end in 0..frame.body.len() {
            let _ = Record::decode(frame.kind, &frame.body[..end]);
        }
        for index in 0..frame.body.len() {
            for value in [0, 0x7F, 0xFF] {
                let mut body = frame.body.to_vec();
                body[index] = value;
                let _ = Record::decode(frame.kind, &body);
            }
        }
    }
    assert_eq!(Record::decode(99, &[]), Err(Malformed("a record of unknown kind")));
}
