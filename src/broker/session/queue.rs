//! The messages that wait for one session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ages::Ages;
use crate::broker::journal::messages::KeptMessages;
use crate::broker::memory::place;
use crate::broker::record::Number;
use crate::broker::subscriptions::GroupKey;
use crate::clock::Instant;
use crate::mqtt::message::identifiers_footprint;
use crate::mqtt::{Message, QoS, SubscriptionIdentifier};

/// What a place in a queue holds.
#[derive(Debug, Clone)]
pub(in crate::broker) enum Content {
    /// The message itself.
    Here(Arc<Message>),
    /// The number of one that the journal holds. Only sessions that are kept have such, and then all of QoS 1 and 2.
    Kept(Place),
}

/// A place in a queue that is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// Without gaps, as there may be millions.
#[repr(C, packed(4))]
pub(in crate::broker) struct Place {
    pub(in crate::broker) message: Number,
    /// The place's own number: later places of a queue have larger ones.
    pub(in crate::broker) number: Number,
    /// The footprint of the message.
    pub(in crate::broker) footprint: u32,
}

/// A message that is to be delivered to one session.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Offer {
    pub(in crate::broker) content: Content,
    /// Where it stands among those of its holder, who sets it.
    order: u32,
    /// The QoS of the delivery.
    pub(in crate::broker) qos: QoS,
    /// The retain flag of the delivery.
    pub(in crate::broker) retain: bool,
    /// What most have not.
    ways: Option<Box<Ways>>,
}

/// How a message has come to a session, where that has to be known.
#[derive(Debug, Clone, Default)]
struct Ways {
    identifiers: Option<Box<[SubscriptionIdentifier]>>,
    group: Option<GroupKey>,
    /// What its record has because of that.
    shared_bytes: u32,
}

impl Offer {
    /// A message for a session.
    pub(in crate::broker) fn new(content: Content, qos: QoS, retain: bool) -> Self {
        Self { content, order: 0, qos, retain, ways: None }
    }

    /// With these identifiers.
    pub(in crate::broker) fn with_identifiers(
        mut self,
        identifiers: Option<Box<[SubscriptionIdentifier]>>,
    ) -> Self {
        if identifiers.is_some() {
            self.ways.get_or_insert_default().identifiers = identifiers;
        }
        self
    }

    /// Through this group.
    pub(in crate::broker) fn of_group(mut self, group: Option<GroupKey>) -> Self {
        if group.is_some() || self.ways.is_some() {
            self.ways.get_or_insert_default().group = group;
        }
        self
    }

    /// With so many bytes in its record because the subscription is shared.
    pub(in crate::broker) fn with_shared_bytes(mut self, bytes: u32) -> Self {
        if bytes > 0 {
            self.ways.get_or_insert_default().shared_bytes = bytes;
        }
        self
    }

    /// Bytes in its record because the subscription is shared.
    pub(in crate::broker) fn shared_bytes(&self) -> u32 {
        self.ways.as_ref().map_or(0, |ways| ways.shared_bytes)
    }

    /// The identifiers of the subscriptions that it matches, where they have any.
    pub(in crate::broker) fn identifiers(&self) -> Option<&[SubscriptionIdentifier]> {
        self.ways.as_ref()?.identifiers.as_deref()
    }

    /// The same, when nothing else of it is needed any more.
    pub(in crate::broker) fn into_identifiers(self) -> Option<Box<[SubscriptionIdentifier]>> {
        self.ways?.identifiers
    }

    /// The group through which the session got it: another member gets it if this session ends before.
    pub(in crate::broker) fn group(&self) -> Option<GroupKey> {
        self.ways.as_ref()?.group
    }

    /// The bytes that it occupies while it waits, the message among them.
    pub(in crate::broker) fn footprint(&self) -> usize {
        let message = match &self.content {
            Content::Here(message) => message.footprint(),
            Content::Kept(place) => usize::try_from(place.footprint).unwrap_or(usize::MAX),
        };
        message + identifiers_footprint(self.identifiers())
    }

    /// The bytes that it counts against the bound on all queues: those of its message where that is in memory for it,
    /// otherwise only those of its place.
    pub(in crate::broker) fn counted(&self) -> usize {
        match &self.content {
            Content::Here(_) => self.footprint(),
            Content::Kept(_) => place(self),
        }
    }

    /// The message, if it is in memory.
    pub(in crate::broker) fn message<'a>(&'a self, kept: &'a KeptMessages) -> Option<&'a Arc<Message>> {
        match &self.content {
            Content::Here(message) => Some(message),
            Content::Kept(place) => kept.body(place.message),
        }
    }

    /// When the message expires.
    pub(in crate::broker) fn expires_at(&self, kept: &KeptMessages) -> Option<Instant> {
        match &self.content {
            Content::Here(message) => message.expires_at,
            Content::Kept(place) => kept.expires_at(place.message),
        }
    }

    /// The number of the place that it has, if it is written down.
    pub(in crate::broker) fn number(&self) -> Option<Number> {
        match &self.content {
            Content::Here(_) => None,
            Content::Kept(place) => Some(place.number),
        }
    }
}

/// Messages in two lanes, so that QoS 0 need not wait for acknowledgements that QoS 1 and 2 wait for. Within a lane
/// they leave in the order in which they came.
///
/// Most sessions have none waiting, and then this is one word.
#[derive(Debug, Default)]
pub(in crate::broker) struct MessageQueue(Option<Box<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    unacknowledged: VecDeque<Offer>,
    acknowledged: VecDeque<Offer>,
    bytes: usize,
    loads: Loads,
    ages: Ages,
    /// How many have come, modulo 2^32.
    arrivals: u32,
    /// Not later than the moment when the first of them expires; `None`: none does.
    first_expiry: Option<Instant>,
    /// How many had come when it was last looked for expired ones.
    looked_at: u32,
}

/// What the two lanes of a queue count against the bound on all queues, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::broker) struct Loads {
    /// Messages of QoS 0.
    pub(in crate::broker) unacknowledged: usize,
    /// Messages of QoS 1 and 2.
    pub(in crate::broker) acknowledged: usize,
}

impl Loads {
    pub(in crate::broker) fn of(&mut self, qos: QoS) -> &mut usize {
        match qos {
            QoS::AtMostOnce => &mut self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.acknowledged,
        }
    }
}

/// Which messages may leave now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Leaving {
    /// Any.
    Any,
    /// Only those of QoS 0: no more acknowledgements may be waited for.
    OnlyQoS0,
}

impl MessageQueue {
    pub(in crate::broker) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |lanes| lanes.len())
    }

    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether no message of this kind waits, so that one that comes may pass.
    pub(in crate::broker) fn lane_is_empty(&self, qos: QoS) -> bool {
        self.0.as_ref().is_none_or(|lanes| lanes.lane(qos).is_empty())
    }

    /// The bytes that wait.
    pub(in crate::broker) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |lanes| lanes.bytes)
    }

    /// What waits counts so much against the bound on all queues.
    pub(in crate::broker) fn loads(&self) -> Loads {
        self.0.as_ref().map(|lanes| lanes.loads).unwrap_or_default()
    }

    /// Since when the one waits that has waited longest, or not much longer.
    pub(in crate::broker) fn oldest(&self) -> Option<Instant> {
        let lanes = self.0.as_ref()?;
        lanes.ages.since(lanes.oldest()?, is_later)
    }

    /// Adds a message that comes now and expires at this moment.
    pub(in crate::broker) fn push(&mut self, offer: Offer, expires_at: Option<Instant>, now: Instant) {
        self.0.get_or_insert_default().push(offer, expires_at, now);
    }

    /// The message that is next.
    pub(in crate::broker) fn front(&self, leaving: Leaving) -> Option<&Offer> {
        self.0.as_ref()?.front(leaving)
    }

    /// Takes the message that is next.
    pub(in crate::broker) fn pop(&mut self, leaving: Leaving) -> Option<Offer> {
        self.change(|lanes| lanes.pop(leaving))?
    }

    /// The next messages of QoS 1 and 2 that are written down, at most so many.
    pub(in crate::broker) fn upcoming(&self, most: usize) -> impl Iterator<Item = Number> {
        let offers = self.0.iter().flat_map(move |lanes| lanes.acknowledged.iter().take(most));
        offers.filter_map(|offer| match &offer.content {
            Content::Here(_) => None,
            Content::Kept(place) => Some(place.message),
        })
    }

    /// The place of this number, if it is there.
    pub(in crate::broker) fn find(&self, number: Number) -> Option<&Offer> {
        let lane = &self.0.as_ref()?.acknowledged;
        let index = lane.binary_search_by_key(&Some(number), Offer::number).ok()?;
        lane.get(index)
    }

    /// The messages of QoS 1 and 2, in order.
    pub(in crate::broker) fn acknowledged(&self) -> impl Iterator<Item = &Offer> {
        self.0.iter().flat_map(|lanes| &lanes.acknowledged)
    }

    /// All messages, those of QoS 0 first.
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Offer> {
        self.0.iter().flat_map(|lanes| lanes.unacknowledged.iter().chain(&lanes.acknowledged))
    }

    /// Takes the first message of QoS 1 or 2 that is meant, out of turn.
    pub(in crate::broker) fn take(&mut self, is_meant: impl Fn(&Offer) -> bool) -> Option<Offer> {
        self.change(|lanes| {
            let index = lanes.acknowledged.iter().position(is_meant)?;
            let offer = lanes.acknowledged.remove(index)?;
            lanes.removed(&offer);
            Some(offer)
        })?
    }

    /// Takes out the QoS 0 message that came last.
    pub(in crate::broker) fn take_newest_qos0(&mut self) -> Option<Offer> {
        self.change(Lanes::take_newest_qos0)?
    }

    /// Takes out the QoS 1 or 2 message that has waited longest.
    pub(in crate::broker) fn take_oldest(&mut self) -> Option<Offer> {
        self.change(Lanes::take_oldest)?
    }

    /// Takes out all messages of QoS 0.
    pub(in crate::broker) fn take_qos0(&mut self) -> VecDeque<Offer> {
        self.change(Lanes::take_qos0).unwrap_or_default()
    }

    /// Takes out the message of QoS 1 or 2 that came last.
    pub(in crate::broker) fn take_newest(&mut self) -> Option<Offer> {
        self.change(Lanes::take_newest)?
    }

    /// Takes out what has expired, unless it was looked for not long ago.
    pub(in crate::broker) fn take_expired(&mut self, now: Instant, kept: &KeptMessages) -> Vec<Offer> {
        self.change(|lanes| lanes.take_expired(now, kept)).unwrap_or_default()
    }

    /// The messages of QoS 1 and 2, in order.
    pub(in crate::broker) fn into_acknowledged(self) -> impl Iterator<Item = Offer> {
        self.0.into_iter().flat_map(|lanes| lanes.acknowledged)
    }

    /// Does something to the lanes, if there are any, and forgets them once they are empty.
    fn change<T>(&mut self, change: impl FnOnce(&mut Lanes) -> T) -> Option<T> {
        let lanes = self.0.as_mut()?;
        let result = change(lanes);
        if lanes.len() == 0 {
            self.0 = None;
        }
        Some(result)
    }
}

impl Lanes {
    fn len(&self) -> usize {
        self.unacknowledged.len() + self.acknowledged.len()
    }

    fn lane(&self, qos: QoS) -> &VecDeque<Offer> {
        match qos {
            QoS::AtMostOnce => &self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &self.acknowledged,
        }
    }

    fn push(&mut self, mut offer: Offer, expires_at: Option<Instant>, now: Instant) {
        self.bytes += offer.footprint();
        *self.loads.of(offer.qos) += offer.counted();
        self.arrivals = self.arrivals.wrapping_add(1);
        offer.order = self.arrivals;
        let oldest = self.oldest();
        self.ages.note(offer.order, now, oldest, is_later);
        self.first_expiry = match (self.first_expiry, expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let lane = match offer.qos {
            QoS::AtMostOnce => &mut self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.acknowledged,
        };
        lane.push_back(offer);
    }

    /// Which of the first messages has waited longest.
    fn oldest(&self) -> Option<u32> {
        let first = self.lane(self.next(Leaving::Any)?).front()?;
        Some(first.order)
    }

    /// The lane whose first message is next.
    fn next(&self, leaving: Leaving) -> Option<QoS> {
        let zero = self.unacknowledged.front().map(|offer| offer.order);
        let other = match leaving {
            Leaving::Any => self.acknowledged.front().map(|offer| offer.order),
            Leaving::OnlyQoS0 => None,
        };
        match (zero, other) {
            (None, None) => None,
            (Some(zero), Some(other)) if is_later(zero, other) => Some(QoS::AtLeastOnce),
            (Some(_), _) => Some(QoS::AtMostOnce),
            (None, Some(_)) => Some(QoS::AtLeastOnce),
        }
    }

    fn front(&self, leaving: Leaving) -> Option<&Offer> {
        self.lane(self.next(leaving)?).front()
    }

    fn pop(&mut self, leaving: Leaving) -> Option<Offer> {
        let lane = match self.next(leaving)? {
            QoS::AtMostOnce => &mut self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.acknowledged,
        };
        let offer = lane.pop_front()?;
        self.removed(&offer);
        Some(offer)
    }

    fn take_newest_qos0(&mut self) -> Option<Offer> {
        let offer = self.unacknowledged.pop_back()?;
        self.removed(&offer);
        Some(offer)
    }

    fn take_newest(&mut self) -> Option<Offer> {
        let offer = self.acknowledged.pop_back()?;
        self.removed(&offer);
        Some(offer)
    }

    fn take_oldest(&mut self) -> Option<Offer> {
        let offer = self.acknowledged.pop_front()?;
        self.removed(&offer);
        Some(offer)
    }

    fn take_qos0(&mut self) -> VecDeque<Offer> {
        let gone = std::mem::take(&mut self.unacknowledged);
        for offer in &gone {
            self.removed(offer);
        }
        gone
    }

    fn removed(&mut self, offer: &Offer) {
        self.bytes -= offer.footprint();
        *self.loads.of(offer.qos) -= offer.counted();
        give_back(match offer.qos {
            QoS::AtMostOnce => &mut self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.acknowledged,
        });
    }

    fn take_expired(&mut self, now: Instant, kept: &KeptMessages) -> Vec<Offer> {
        let before = self.len();
        // To look at all of them is worth it only if one has expired, and not for each message that comes.
        let come_since = usize::try_from(self.arrivals.wrapping_sub(self.looked_at)).unwrap_or(usize::MAX);
        if self.first_expiry.is_none_or(|at| at > now) || come_since < before / 2 {
            return Vec::new();
        }
        self.looked_at = self.arrivals;
        self.first_expiry = None;
        let mut expired = Vec::new();
        for lane in [&mut self.unacknowledged, &mut self.acknowledged] {
            for offer in std::mem::take(lane) {
                match offer.expires_at(kept) {
                    Some(at) if at <= now => expired.push(offer),
                    at => {
                        self.first_expiry = self.first_expiry.into_iter().chain(at).min();
                        lane.push_back(offer);
                    }
                }
            }
        }
        for offer in &expired {
            self.removed(offer);
        }
        expired
    }
}

/// Gives back the room that was needed once, when most of it is not any more.
pub(super) fn give_back<T>(entries: &mut VecDeque<T>) {
    const SMALL: usize = 64;
    if entries.capacity() > SMALL && entries.len() < entries.capacity() / 4 {
        entries.shrink_to(entries.len() * 2);
    }
}

/// Whether this one came after the other one. Nobody has so many waiting that the counter comes round.
const fn is_later(one: u32, other: u32) -> bool {
    one != other && one.wrapping_sub(other) < 1 << 31
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::mqtt::{Places, TopicName};

    fn offer(qos: QoS, payload: &'static str, expires: Option<u64>) -> Offer {
        let message = Message {
            topic: TopicName::parse("t").unwrap(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos,
            retain: false,
            expires_at: expires.map(|seconds| Instant::from_start(Duration::from_secs(seconds))),
            properties: None,
            places: Places::default(),
        };
        Offer::new(Content::Here(Arc::new(message)), qos, false)
    }

    fn payload(offer: &Offer) -> Bytes {
        offer.message(&KeptMessages::new(1)).unwrap().payload.clone()
    }

    fn push(queue: &mut MessageQueue, offer: Offer) {
        let expires_at = offer.expires_at(&KeptMessages::new(1));
        queue.push(offer, expires_at, Instant::START);
    }

    fn drain(queue: &mut MessageQueue, leaving: Leaving) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.pop(leaving)).map(|offer| payload(&offer)).collect()
    }

    #[test]
    fn messages_leave_in_order_and_qos_0_may_pass_the_others() {
        let mut queue = MessageQueue::default();
        for (qos, payload) in
            [(QoS::AtLeastOnce, "1"), (QoS::AtMostOnce, "2"), (QoS::ExactlyOnce, "3"), (QoS::AtMostOnce, "4")]
        {
            push(&mut queue, offer(qos, payload, None));
        }
        assert_eq!(queue.pop(Leaving::Any).map(|offer| payload(&offer)).unwrap(), "1");
        assert_eq!(drain(&mut queue, Leaving::OnlyQoS0), ["2", "4"]);
        assert_eq!(drain(&mut queue, Leaving::Any), ["3"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn what_is_dropped_gives_its_bytes_back() {
        let mut queue = MessageQueue::default();
        for expires in [None, Some(1), Some(3)] {
            push(&mut queue, offer(QoS::AtMostOnce, "zero", expires));
            push(&mut queue, offer(QoS::AtLeastOnce, "one", expires));
        }
        let now = Instant::from_start(Duration::from_secs(2));
        assert_eq!(queue.take_expired(now, &KeptMessages::new(1)).len(), 2);
        assert!(queue.take_newest_qos0().is_some());
        assert!(queue.take_oldest().is_some());
        assert_eq!(queue.take_qos0().len(), 1);
        assert!(queue.take_newest_qos0().is_none());
        assert_eq!(queue.len(), 1);
        assert!(queue.take_oldest().is_some());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
