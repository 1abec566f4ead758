//! The bytes of each kind of record, as they are read.

use super::encode::{flag, kind, qos};
use super::wire::Parts;
use super::{
    Malformed, Number, Progress, PublicationOf, Published, Record, SessionId, SessionRecord, Target,
};
use crate::broker::permissions::{Grants, Identity, TokenKey};
use crate::clock::WallTime;
use crate::mqtt::codec::Publication;
use crate::mqtt::packet::{RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::{PacketId, QoS, SubscriptionIdentifier, TopicFilter};

impl<'a> Record<'a> {
    /// The record of this kind that these bytes say.
    pub fn decode(of_kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut parts = Parts(body);
        let record = match of_kind {
            kind::PUBLISHED => return published(parts).map(Self::Published),
            kind::SESSION => Self::Session(Box::new(session(&mut parts)?)),
            kind::ENDED => Self::Ended { session: SessionId(parts.number()?) },
            kind::SUBSCRIBED => {
                let session = SessionId(parts.number()?);
                let (options, identifier) = options(&mut parts)?;
                return Ok(Self::Subscribed { session, filter: text(parts.rest())?, options, identifier });
            }
            kind::UNSUBSCRIBED => {
                let session = SessionId(parts.number()?);
                return Ok(Self::Unsubscribed { session, filter: text(parts.rest())? });
            }
            kind::RECEIVED => {
                Self::Received { session: SessionId(parts.number()?), packet_id: parts.packet_id()? }
            }
            kind::RELEASED => {
                Self::Released { session: SessionId(parts.number()?), packet_id: parts.packet_id()? }
            }
            kind::QUEUED => queued(&mut parts)?,
            kind::SENT => {
                let (session, number) = place(&mut parts)?;
                Self::Sent { session, number, packet_id: parts.packet_id()? }
            }
            kind::COMPLETING => {
                let (session, number) = place(&mut parts)?;
                Self::Completing { session, number, packet_id: parts.packet_id()? }
            }
            kind::SETTLED => {
                let (session, number) = place(&mut parts)?;
                Self::Settled { session, numbers: vec![number] }
            }
            kind::ALL_SETTLED => all_settled(&mut parts)?,
            kind::EXCHANGES => exchanges(&mut parts)?,
            kind::CLEARED => return Ok(Self::Cleared { topic: text(parts.rest())? }),
            kind::REPLAY => replay(&mut parts)?,
            kind::ALIVE => Self::Alive { at: time(&mut parts)? },
            _ => return Err(Malformed("a record of unknown kind")),
        };
        parts.finish()?;
        Ok(record)
    }

    /// What the first bytes of a record say: for most records that is all that matters when they are to go.
    pub fn gist(of_kind: u8, body: &[u8]) -> Gist {
        match of_kind {
            kind::ENDED | kind::RELEASED | kind::SENT | kind::SETTLED | kind::ALL_SETTLED | kind::CLEARED => {
                Gist::Change
            }
            kind::PUBLISHED => {
                let mut parts = Parts(body);
                match (parts.byte(), parts.number()) {
                    (Ok(flags), Ok(number)) if flags & flag::RECEIVED == 0 => Gist::Message(Number(number)),
                    (Ok(_) | Err(_), Ok(_) | Err(_)) => Gist::Other,
                }
            }
            _ => Gist::Other,
        }
    }

    /// What this kind of record is called.
    pub const fn kind_name(of_kind: u8) -> &'static str {
        match of_kind {
            kind::PUBLISHED => "published",
            kind::SESSION => "session",
            kind::ENDED => "ended",
            kind::SUBSCRIBED => "subscribed",
            kind::UNSUBSCRIBED => "unsubscribed",
            kind::RECEIVED => "received",
            kind::RELEASED => "released",
            kind::QUEUED => "queued",
            kind::SENT => "sent",
            kind::COMPLETING => "completing",
            kind::SETTLED | kind::ALL_SETTLED => "settled",
            kind::EXCHANGES => "exchanges",
            kind::CLEARED => "cleared",
            kind::ALIVE => "alive",
            kind::REPLAY => "replay",
            _ => "unknown",
        }
    }
}

/// What a record is about, as far as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gist {
    /// It only changes what an older one said: without that one it says nothing.
    Change,
    /// It holds this message and its places in queues, and nothing else.
    Message(Number),
    /// The whole record has to be looked at.
    Other,
}

fn published(mut parts: Parts<'_>) -> Result<Published<'_>, Malformed> {
    let flags = parts.byte()?;
    let number = Number(parts.number()?);
    let is = |bit: u8| flags & bit != 0;
    let received =
        is(flag::RECEIVED).then(|| Ok((SessionId(parts.number()?), parts.packet_id()?))).transpose()?;
    let will_of = is(flag::WILL_OF).then(|| parts.number().map(SessionId)).transpose()?;
    let expires_at = is(flag::EXPIRES).then(|| time(&mut parts)).transpose()?;
    let footprint = parts.small()?;
    let publisher = parts.text()?;
    let targets = (0..parts.count()?).map(|_| target(&mut parts, number)).collect::<Result<_, _>>()?;
    Ok(Published {
        number,
        received,
        will_of,
        retained: is(flag::RETAINED),
        retain: is(flag::RETAIN),
        qos: level(flags)?,
        expires_at,
        footprint,
        publisher,
        targets,
        publication: PublicationOf::Bytes(parts.rest()),
    })
}

fn level(flags: u8) -> Result<QoS, Malformed> {
    qos(flags).ok_or(Malformed("the QoS is 3"))
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}

fn time(parts: &mut Parts<'_>) -> Result<WallTime, Malformed> {
    parts.number().map(WallTime::from_unix_millis)
}

fn place(parts: &mut Parts<'_>) -> Result<(SessionId, Number), Malformed> {
    Ok((SessionId(parts.number()?), Number(parts.number()?)))
}

fn all_settled<'a>(parts: &mut Parts<'_>) -> Result<Record<'a>, Malformed> {
    let session = SessionId(parts.number()?);
    let (mut numbers, mut last) = (Vec::new(), 0_u64);
    while !parts.0.is_empty() {
        last = last.wrapping_add(parts.number()?);
        numbers.push(Number(last));
    }
    Ok(Record::Settled { session, numbers })
}

fn queued<'a>(parts: &mut Parts<'_>) -> Result<Record<'a>, Malformed> {
    let message = Number(parts.number()?);
    let from = match parts.byte()? {
        0 => None,
        1 => Some(place(parts)?),
        _ => return Err(Malformed("a flag is neither set nor not")),
    };
    Ok(Record::Queued { message, from, target: target(parts, message)? })
}

fn replay<'a>(parts: &mut Parts<'a>) -> Result<Record<'a>, Malformed> {
    let session = SessionId(parts.number()?);
    let (options, identifier) = options(parts)?;
    let filter = parts.text()?;
    let flags = parts.byte()?;
    let topic = parts.text()?;
    let progress = match (flags & flag::BEHIND != 0, flags & flag::DONE != 0) {
        (false, false) => Progress::At(topic),
        (true, false) => Progress::Behind(topic),
        (false, true) => Progress::Done,
        (true, true) => return Err(Malformed("messages are still to be sent, and are not")),
    };
    let mut queued = None;
    if flags & flag::PLACE != 0 {
        let message = Number(parts.number()?);
        queued = Some((message, target(parts, message)?));
    }
    Ok(Record::Replay { session, filter, options, identifier, progress, queued })
}

fn target(parts: &mut Parts<'_>, message: Number) -> Result<Target, Malformed> {
    let flags = parts.byte()?;
    let session = SessionId(parts.number()?);
    let number = message.0.checked_add(parts.number()?).ok_or(Malformed("a number is too large"))?;
    let is = |bit: u8| flags & bit != 0;
    let sent = is(flag::SENT).then(|| parts.packet_id()).transpose()?;
    let identifiers: Option<Box<[SubscriptionIdentifier]>> = is(flag::IDENTIFIERS)
        .then(|| (0..parts.count()?).map(|_| parts.identifier()).collect())
        .transpose()?;
    let shared = is(flag::SHARED).then(|| parts.text().map(Box::from)).transpose()?;
    Ok(Target {
        session,
        number: Number(number),
        qos: level(flags)?,
        retain: is(flag::RETAIN),
        sent,
        identifiers,
        shared,
    })
}

fn options(
    parts: &mut Parts<'_>,
) -> Result<(SubscriptionOptions, Option<SubscriptionIdentifier>), Malformed> {
    let flags = parts.byte()?;
    let retain_handling = match (flags & flag::IF_NEW != 0, flags & flag::NEVER != 0) {
        (false, false) => RetainHandling::Always,
        (true, false) => RetainHandling::IfNew,
        (false, true) => RetainHandling::Never,
        (true, true) => return Err(Malformed("two ways to handle retained messages")),
    };
    let identifier = (flags & flag::IDENTIFIER != 0).then(|| parts.identifier()).transpose()?;
    let options = SubscriptionOptions {
        qos: level(flags)?,
        no_local: flags & flag::NO_LOCAL != 0,
        retain_as_published: flags & flag::RETAIN != 0,
        retain_handling,
    };
    Ok((options, identifier))
}

fn exchanges<'a>(parts: &mut Parts<'_>) -> Result<Record<'a>, Malformed> {
    let session = SessionId(parts.number()?);
    let received = (0..parts.count()?).map(|_| parts.packet_id()).collect::<Result<_, _>>()?;
    let completing = (0..parts.count()?)
        .map(|_| Ok((Number(parts.number()?), parts.packet_id()?)))
        .collect::<Result<Vec<(Number, PacketId)>, _>>()?;
    Ok(Record::Exchanges { session, received, completing })
}

fn session(parts: &mut Parts<'_>) -> Result<SessionRecord, Malformed> {
    let flags = parts.byte()?;
    let is = |bit: u8| flags & bit != 0;
    let id = SessionId(parts.number()?);
    let client_id = parts.text()?.to_owned();
    let policy = parts.text()?.to_owned();
    let expiry = parts.small()?;
    let identity = if is(flag::USER) { Identity::User(parts.text()?.into()) } else { Identity::Anonymous };
    let grants = is(flag::GRANTS).then(|| grants(parts)).transpose()?;
    let disconnected_at = is(flag::DISCONNECTED).then(|| time(parts)).transpose()?;
    let response_prefix = is(flag::RESPONSE_PREFIX).then(|| parts.text().map(str::to_owned)).transpose()?;
    let will_at = is(flag::WILL_AT).then(|| time(parts)).transpose()?;
    let will = is(flag::WILL).then(|| will(parts)).transpose()?;
    Ok(SessionRecord {
        id,
        client_id,
        policy,
        identity,
        grants,
        expiry,
        disconnected_at,
        response_prefix,
        will,
        will_at,
    })
}

fn grants(parts: &mut Parts<'_>) -> Result<Grants, Malformed> {
    let flags = parts.byte()?;
    let groups = (0..parts.count()?).map(|_| parts.text().map(Into::into)).collect::<Result<_, _>>()?;
    let publish = filters(parts)?;
    let subscribe = filters(parts)?;
    let receive = (flags & flag::RECEIVES != 0).then(|| filters(parts)).transpose()?;
    // Keys of tokens have no name beyond a run: who comes again brings a new token.
    Ok(Grants { key: TokenKey::default(), groups, publish, subscribe, receive })
}

fn filters(parts: &mut Parts<'_>) -> Result<Vec<TopicFilter>, Malformed> {
    (0..parts.count()?)
        .map(|_| TopicFilter::parse(parts.text()?).map_err(|_| Malformed("no topic filter")))
        .collect()
}

fn will(parts: &mut Parts<'_>) -> Result<Will, Malformed> {
    let flags = parts.byte()?;
    let delay_interval = parts.small()?;
    let publication =
        Publication::decode(parts.data()?).map_err(|_| Malformed("what is to be published is no PUBLISH"))?;
    Ok(Will {
        topic: publication.topic,
        payload: publication.payload,
        qos: level(flags)?,
        retain: flags & flag::RETAIN != 0,
        delay_interval,
        properties: publication.properties.map(|properties| *properties).unwrap_or_default(),
    })
}
