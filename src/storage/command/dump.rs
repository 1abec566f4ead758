//! Records as JSON, one line for each: what is in them, by the names that the records have in the code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::broker::permissions::{Grants, Identity};
use crate::broker::record::{Frame, Progress, PublicationOf, Published, Record, SessionRecord, Target};
use crate::clock::WallTime;
use crate::mqtt::codec::Publication;
use crate::mqtt::packet::{RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::{
    PacketId, PayloadFormat, PublishProperties, SubscriptionIdentifier, TopicFilter, TopicName,
};

/// What one line says about a record at this place.
pub(super) fn line(file: &str, offset: u64, frame: Frame<'_>) -> Value {
    let mut line = Map::new();
    line.insert("file".to_owned(), file.into());
    line.insert("offset".to_owned(), offset.into());
    line.insert("sequence".to_owned(), frame.sequence.number().into());
    line.insert("kind".to_owned(), Record::kind_name(frame.kind).into());
    let fields = match Record::decode(frame.kind, frame.body) {
        Ok(record) => fields(record),
        Err(error) => json!({ "error": error.to_string(), "body": STANDARD.encode(frame.body) }),
    };
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    Value::Object(line)
}

fn fields(record: Record<'_>) -> Value {
    match record {
        Record::Published(published) => message(&published),
        Record::Session(record) => session(&record),
        Record::Ended { session } => json!({ "session": session.0 }),
        Record::Subscribed { session, filter, options, identifier } => json!({
            "session": session.0,
            "filter": filter,
            "options": subscription_options(options),
            "identifier": identifier.map(SubscriptionIdentifier::get),
        }),
        Record::Unsubscribed { session, filter } => json!({ "session": session.0, "filter": filter }),
        Record::Received { session, packet_id } | Record::Released { session, packet_id } => {
            json!({ "session": session.0, "packet_id": packet_id.get() })
        }
        Record::Queued { message, from, target } => json!({
            "message": message.0,
            "from": from.map(|(session, number)| json!({ "session": session.0, "number": number.0 })),
            "target": place(&target),
        }),
        Record::Sent { session, number, packet_id } | Record::Completing { session, number, packet_id } => {
            json!({ "session": session.0, "number": number.0, "packet_id": packet_id.get() })
        }
        Record::Settled { session, numbers } => {
            let numbers: Vec<u64> = numbers.iter().map(|number| number.0).collect();
            json!({ "session": session.0, "numbers": numbers })
        }
        Record::Exchanges { session, received, completing } => json!({
            "session": session.0,
            "received": received.iter().map(|id| id.get()).collect::<Vec<_>>(),
            "completing": completing
                .iter()
                .map(|(number, id)| json!({ "number": number.0, "packet_id": id.get() }))
                .collect::<Vec<_>>(),
        }),
        Record::Cleared { topic } => json!({ "topic": topic }),
        Record::Replay { session, filter, options, identifier, progress, queued } => {
            let (at, behind) = match progress {
                Progress::At(topic) => (Some(topic), None),
                Progress::Behind(topic) => (None, Some(topic)),
                Progress::Done => (None, None),
            };
            json!({
                "session": session.0,
                "filter": filter,
                "options": subscription_options(options),
                "identifier": identifier.map(SubscriptionIdentifier::get),
                "at": at,
                "behind": behind,
                "done": progress == Progress::Done,
                "message": queued.as_ref().map(|(message, _)| message.0),
                "target": queued.as_ref().map(|(_, target)| place(target)),
            })
        }
        Record::Alive { at } => json!({ "at": millis(at) }),
    }
}

fn message(published: &Published<'_>) -> Value {
    let publication = match published.publication {
        PublicationOf::Bytes(bytes) => Publication::decode(bytes).ok(),
        PublicationOf::Message(_) => None,
    };
    let mut fields = json!({
        "number": published.number.0,
        "received": published
            .received
            .map(|(session, id)| json!({ "session": session.0, "packet_id": id.get() })),
        "will_of": published.will_of.map(|session| session.0),
        "retained": published.retained,
        "retain": published.retain,
        "qos": published.qos.as_u8(),
        "expires_at": published.expires_at.map(millis),
        "publisher": published.publisher,
        "targets": published.targets.iter().map(place).collect::<Vec<_>>(),
    });
    if let (Value::Object(fields), Some(publication)) = (&mut fields, publication) {
        fields.insert("topic".to_owned(), publication.topic.as_str().into());
        fields.extend(payload(&publication.payload));
        let of_publisher = publication.properties.as_deref().map(properties);
        fields.insert("properties".to_owned(), of_publisher.into());
    }
    fields
}

/// The payload as text where it is, and else in base64.
fn payload(payload: &[u8]) -> Map<String, Value> {
    let (name, value) = match std::str::from_utf8(payload) {
        Ok(text) => ("payload", text.into()),
        Err(_) => ("payload_base64", STANDARD.encode(payload).into()),
    };
    Map::from_iter([(name.to_owned(), value)])
}

fn properties(properties: &PublishProperties) -> Value {
    json!({
        "payload_format": properties.payload_format.map(|format| match format {
            PayloadFormat::Bytes => "bytes",
            PayloadFormat::Utf8 => "utf-8",
        }),
        "message_expiry_interval": properties.message_expiry_interval,
        "response_topic": properties.response_topic.as_ref().map(TopicName::as_str),
        "correlation_data_base64": properties.correlation_data.as_ref().map(|data| STANDARD.encode(data)),
        "content_type": properties.content_type.as_deref(),
        "user_properties": properties
            .user_properties
            .iter()
            .map(|(name, value)| json!([&**name, &**value]))
            .collect::<Vec<_>>(),
    })
}

fn place(target: &Target) -> Value {
    json!({
        "session": target.session.0,
        "number": target.number.0,
        "qos": target.qos.as_u8(),
        "retain": target.retain,
        "packet_id": target.sent.map(PacketId::get),
        "identifiers": target
            .identifiers
            .as_deref()
            .map(|identifiers| identifiers.iter().map(|identifier| identifier.get()).collect::<Vec<_>>()),
        "shared": target.shared.as_deref(),
    })
}

fn session(record: &SessionRecord) -> Value {
    json!({
        "session": record.id.0,
        "client_id": record.client_id,
        "policy": record.policy,
        "user": match &record.identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(&**user),
        },
        "grants": record.grants.as_ref().map(grants),
        "session_expiry_interval": record.expiry,
        "disconnected_at": record.disconnected_at.map(millis),
        "response_prefix": record.response_prefix,
        "will": record.will.as_ref().map(will),
        "will_at": record.will_at.map(millis),
    })
}

fn grants(grants: &Grants) -> Value {
    let filters = |filters: &[TopicFilter]| {
        filters.iter().map(TopicFilter::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    json!({
        "groups": grants.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
        "publish": filters(&grants.publish),
        "subscribe": filters(&grants.subscribe),
        "receive": grants.receive.as_deref().map(filters),
    })
}

fn will(will: &Will) -> Value {
    let mut fields = json!({
        "topic": will.topic.as_str(),
        "qos": will.qos.as_u8(),
        "retain": will.retain,
        "delay_interval": will.delay_interval,
        "properties": properties(&will.properties),
    });
    if let Value::Object(fields) = &mut fields {
        fields.extend(payload(&will.payload));
    }
    fields
}

fn subscription_options(options: SubscriptionOptions) -> Value {
    json!({
        "qos": options.qos.as_u8(),
        "no_local": options.no_local,
        "retain_as_published": options.retain_as_published,
        "retain_handling": match options.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        },
    })
}

fn millis(at: WallTime) -> u64 {
    at.unix_millis()
}
