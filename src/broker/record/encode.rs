//! The bytes of each kind of record, as they are written.

use super::wire::{put_data, put_length, put_number, put_text};
use super::{
    Batch, Number, Progress, PublicationOf, Published, Record, Sequence, SessionId, SessionRecord, Target,
};
use crate::broker::permissions::{Grants, Identity};
use crate::clock::WallTime;
use crate::mqtt::codec::Publication;
use crate::mqtt::packet::{RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::{Message, PacketId, QoS, SubscriptionIdentifier, TopicFilter};

/// The kinds of records, as on disk.
pub(super) mod kind {
    pub(in super::super) const PUBLISHED: u8 = 1;
    pub(in super::super) const SESSION: u8 = 2;
    pub(in super::super) const ENDED: u8 = 3;
    pub(in super::super) const SUBSCRIBED: u8 = 4;
    pub(in super::super) const UNSUBSCRIBED: u8 = 5;
    pub(in super::super) const RECEIVED: u8 = 6;
    pub(in super::super) const RELEASED: u8 = 7;
    pub(in super::super) const QUEUED: u8 = 8;
    pub(in super::super) const SENT: u8 = 9;
    pub(in super::super) const COMPLETING: u8 = 10;
    pub(in super::super) const SETTLED: u8 = 11;
    pub(in super::super) const EXCHANGES: u8 = 12;
    pub(in super::super) const CLEARED: u8 = 13;
    pub(in super::super) const ALIVE: u8 = 14;
    pub(in super::super) const REPLAY: u8 = 15;
    pub(in super::super) const ALL_SETTLED: u8 = 16;
}

/// Bits of the byte that says what follows in a record.
pub(super) mod flag {
    pub(in super::super) const QOS: u8 = 0b0000_0011;
    pub(in super::super) const RETAIN: u8 = 0b0000_0100;

    // Of a published message.
    pub(in super::super) const RETAINED: u8 = 0b0000_1000;
    pub(in super::super) const RECEIVED: u8 = 0b0001_0000;
    pub(in super::super) const WILL_OF: u8 = 0b0010_0000;
    pub(in super::super) const EXPIRES: u8 = 0b0100_0000;

    // Of a place in a queue.
    pub(in super::super) const SENT: u8 = 0b0000_1000;
    pub(in super::super) const IDENTIFIERS: u8 = 0b0001_0000;
    pub(in super::super) const SHARED: u8 = 0b0010_0000;

    // Of a subscription.
    pub(in super::super) const NO_LOCAL: u8 = 0b0000_1000;
    pub(in super::super) const IF_NEW: u8 = 0b0001_0000;
    pub(in super::super) const NEVER: u8 = 0b0010_0000;
    pub(in super::super) const IDENTIFIER: u8 = 0b0100_0000;

    // Of a replay.
    pub(in super::super) const BEHIND: u8 = 0b0000_0001;
    pub(in super::super) const DONE: u8 = 0b0000_0010;
    pub(in super::super) const PLACE: u8 = 0b0000_0100;

    // Of a session.
    pub(in super::super) const USER: u8 = 0b0000_0001;
    pub(in super::super) const GRANTS: u8 = 0b0000_0010;
    pub(in super::super) const DISCONNECTED: u8 = 0b0000_0100;
    pub(in super::super) const RESPONSE_PREFIX: u8 = 0b0000_1000;
    pub(in super::super) const WILL: u8 = 0b0001_0000;
    pub(in super::super) const WILL_AT: u8 = 0b0010_0000;
    pub(in super::super) const RECEIVES: u8 = 0b0100_0000;
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

impl Record<'_> {
    /// Appends the record to a batch. Its place in the log.
    pub fn append(&self, batch: &mut Batch) -> Sequence {
        match self {
            Self::Published(published) => published.append(batch),
            Self::Session(session) => batch.append(kind::SESSION, |out| put_session(out, session)),
            Self::Ended { session } => batch.append(kind::ENDED, |out| put_number(out, session.0)),
            Self::Subscribed { session, filter, options, identifier } => {
                batch.append(kind::SUBSCRIBED, |out| {
                    put_number(out, session.0);
                    put_options(out, *options, *identifier);
                    out.extend_from_slice(filter.as_bytes());
                })
            }
            Self::Unsubscribed { session, filter } => batch.append(kind::UNSUBSCRIBED, |out| {
                put_number(out, session.0);
                out.extend_from_slice(filter.as_bytes());
            }),
            Self::Received { session, packet_id } => {
                batch.append(kind::RECEIVED, |out| put_exchange(out, *session, *packet_id))
            }
            Self::Released { session, packet_id } => {
                batch.append(kind::RELEASED, |out| put_exchange(out, *session, *packet_id))
            }
            Self::Queued { message, from, target } => batch.append(kind::QUEUED, |out| {
                put_number(out, message.0);
                out.push(u8::from(from.is_some()));
                if let Some((session, number)) = from {
                    put_place(out, *session, *number, None);
                }
                put_target(out, target, *message);
            }),
            Self::Sent { session, number, packet_id } => {
                batch.append(kind::SENT, |out| put_place(out, *session, *number, Some(*packet_id)))
            }
            Self::Completing { session, number, packet_id } => {
                batch.append(kind::COMPLETING, |out| put_place(out, *session, *number, Some(*packet_id)))
            }
            Self::Settled { session, numbers } => {
                if let [number] = numbers[..] {
                    return batch.append(kind::SETTLED, |out| put_place(out, *session, number, None));
                }
                batch.append(kind::ALL_SETTLED, |out| {
                    put_number(out, session.0);
                    let mut before = 0;
                    for number in numbers {
                        // Mostly they are told in the order in which they came, and are not far from one another.
                        put_number(out, number.0.wrapping_sub(before));
                        before = number.0;
                    }
                })
            }
            Self::Exchanges { session, received, completing } => batch.append(kind::EXCHANGES, |out| {
                put_number(out, session.0);
                put_length(out, received.len());
                for packet_id in received {
                    put_packet_id(out, *packet_id);
                }
                put_length(out, completing.len());
                for (number, packet_id) in completing {
                    put_number(out, number.0);
                    put_packet_id(out, *packet_id);
                }
            }),
            Self::Cleared { topic } => {
                batch.append(kind::CLEARED, |out| out.extend_from_slice(topic.as_bytes()))
            }
            Self::Replay { session, filter, options, identifier, progress, queued } => {
                batch.append(kind::REPLAY, |out| {
                    put_number(out, session.0);
                    put_options(out, *options, *identifier);
                    put_text(out, filter);
                    put_progress(out, *progress, queued.as_ref());
                })
            }
            Self::Alive { at } => batch.append(kind::ALIVE, |out| put_time(out, *at)),
        }
    }
}

impl Published<'_> {
    fn append(&self, batch: &mut Batch) -> Sequence {
        batch.append(kind::PUBLISHED, |out| {
            let flags = self.qos.as_u8()
                | flag(self.retain, flag::RETAIN)
                | flag(self.retained, flag::RETAINED)
                | flag(self.received.is_some(), flag::RECEIVED)
                | flag(self.will_of.is_some(), flag::WILL_OF)
                | flag(self.expires_at.is_some(), flag::EXPIRES);
            out.push(flags);
            put_number(out, self.number.0);
            if let Some((session, packet_id)) = self.received {
                put_exchange(out, session, packet_id);
            }
            if let Some(session) = self.will_of {
                put_number(out, session.0);
            }
            if let Some(at) = self.expires_at {
                put_time(out, at);
            }
            put_number(out, u64::from(self.footprint));
            put_text(out, self.publisher);
            put_length(out, self.targets.len());
            for target in &self.targets {
                put_target(out, target, self.number);
            }
            match self.publication {
                PublicationOf::Bytes(bytes) => out.extend_from_slice(bytes),
                PublicationOf::Message(Message { topic, payload, properties, .. }) => {
                    // What has come in a packet can be written as one.
                    let _ = Publication::append(topic, payload, properties.as_deref(), out);
                }
            }
        })
    }
}

fn put_time(out: &mut Vec<u8>, at: WallTime) {
    put_number(out, at.unix_millis());
}

fn put_packet_id(out: &mut Vec<u8>, packet_id: PacketId) {
    put_number(out, u64::from(packet_id.get()));
}

fn put_exchange(out: &mut Vec<u8>, session: SessionId, packet_id: PacketId) {
    put_number(out, session.0);
    put_packet_id(out, packet_id);
}

fn put_place(out: &mut Vec<u8>, session: SessionId, number: Number, packet_id: Option<PacketId>) {
    put_number(out, session.0);
    put_number(out, number.0);
    if let Some(packet_id) = packet_id {
        put_packet_id(out, packet_id);
    }
}

/// A place in the queue, whose number is told as its distance from that of its message: mostly none.
fn put_target(out: &mut Vec<u8>, target: &Target, message: Number) {
    let flags = target.qos.as_u8()
        | flag(target.retain, flag::RETAIN)
        | flag(target.sent.is_some(), flag::SENT)
        | flag(target.identifiers.is_some(), flag::IDENTIFIERS)
        | flag(target.shared.is_some(), flag::SHARED);
    out.push(flags);
    put_number(out, target.session.0);
    put_number(out, target.number.0.saturating_sub(message.0));
    if let Some(packet_id) = target.sent {
        put_packet_id(out, packet_id);
    }
    if let Some(identifiers) = &target.identifiers {
        put_length(out, identifiers.len());
        for identifier in identifiers {
            put_number(out, u64::from(identifier.get()));
        }
    }
    if let Some(shared) = &target.shared {
        put_text(out, shared);
    }
}

fn put_options(out: &mut Vec<u8>, options: SubscriptionOptions, identifier: Option<SubscriptionIdentifier>) {
    let handling = match options.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::IfNew => flag::IF_NEW,
        RetainHandling::Never => flag::NEVER,
    };
    let flags = options.qos.as_u8()
        | flag(options.retain_as_published, flag::RETAIN)
        | flag(options.no_local, flag::NO_LOCAL)
        | handling
        | flag(identifier.is_some(), flag::IDENTIFIER);
    out.push(flags);
    if let Some(identifier) = identifier {
        put_number(out, u64::from(identifier.get()));
    }
}

fn put_progress(out: &mut Vec<u8>, progress: Progress<'_>, queued: Option<&(Number, Target)>) {
    let (bit, topic) = match progress {
        Progress::At(topic) => (0, topic),
        Progress::Behind(topic) => (flag::BEHIND, topic),
        Progress::Done => (flag::DONE, ""),
    };
    out.push(bit | flag(queued.is_some(), flag::PLACE));
    put_text(out, topic);
    if let Some((message, target)) = queued {
        put_number(out, message.0);
        put_target(out, target, *message);
    }
}

fn put_session(out: &mut Vec<u8>, session: &SessionRecord) {
    let user = match &session.identity {
        Identity::Anonymous => None,
        Identity::User(user) => Some(user),
    };
    let flags = flag(user.is_some(), flag::USER)
        | flag(session.grants.is_some(), flag::GRANTS)
        | flag(session.disconnected_at.is_some(), flag::DISCONNECTED)
        | flag(session.response_prefix.is_some(), flag::RESPONSE_PREFIX)
        | flag(session.will.is_some(), flag::WILL)
        | flag(session.will_at.is_some(), flag::WILL_AT);
    out.push(flags);
    put_number(out, session.id.0);
    put_text(out, &session.client_id);
    put_text(out, &session.policy);
    put_number(out, u64::from(session.expiry));
    if let Some(user) = user {
        put_text(out, user);
    }
    if let Some(grants) = &session.grants {
        put_grants(out, grants);
    }
    if let Some(at) = session.disconnected_at {
        put_time(out, at);
    }
    if let Some(prefix) = &session.response_prefix {
        put_text(out, prefix);
    }
    if let Some(at) = session.will_at {
        put_time(out, at);
    }
    if let Some(will) = &session.will {
        put_will(out, will);
    }
}

fn put_grants(out: &mut Vec<u8>, grants: &Grants) {
    out.push(flag(grants.receive.is_some(), flag::RECEIVES));
    put_length(out, grants.groups.len());
    for group in &grants.groups {
        put_text(out, group);
    }
    put_filters(out, &grants.publish);
    put_filters(out, &grants.subscribe);
    if let Some(receive) = &grants.receive {
        put_filters(out, receive);
    }
}

fn put_filters(out: &mut Vec<u8>, filters: &[TopicFilter]) {
    put_length(out, filters.len());
    for filter in filters {
        put_text(out, filter.as_str());
    }
}

fn put_will(out: &mut Vec<u8>, will: &Will) {
    out.push(will.qos.as_u8() | flag(will.retain, flag::RETAIN));
    put_number(out, u64::from(will.delay_interval));
    let mut publication = Vec::new();
    // What came in a CONNECT fits into a PUBLISH.
    let _ = Publication::append(&will.topic, &will.payload, Some(&will.properties), &mut publication);
    put_data(out, &publication);
}

/// The QoS that stands in the lowest bits of `flags`.
pub(super) fn qos(flags: u8) -> Option<QoS> {
    QoS::from_u8(flags & flag::QOS)
}
