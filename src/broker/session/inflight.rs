//! The QoS 1 and 2 messages that are under way to one client, by packet identifier (MQTT 5.0 sections 4.3 and 4.9).

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::{Offer, give_back};
use crate::broker::record::Number;
use crate::mqtt::{Delivery, Message, PacketId, QoS};

/// What is under way to one client, across its connections. Costs little while nothing is.
#[derive(Debug, Default)]
pub(in crate::broker) struct Inflight {
    under_way: Option<Box<UnderWay>>,
    /// What the messages occupy.
    bytes: usize,
    /// How many were sent, modulo 2^32.
    sent: u32,
    /// How many count against the client's Receive Maximum on this connection.
    active: u32,
    last_id: Option<PacketId>,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// In the order of their identifiers: they are given out and come back nearly in that order, so that mostly the
    /// ends change.
    entries: VecDeque<Entry>,
    /// What is still to be sent again on this connection, in the order in which it was sent first.
    resend: VecDeque<PacketId>,
}

#[derive(Debug)]
struct Entry {
    id: PacketId,
    /// Which it was among those sent.
    order: u32,
    state: State,
    /// Whether it counts in `active`.
    active: bool,
}

impl UnderWay {
    /// Where the entry of this identifier is, or would be.
    fn place(&self, id: PacketId) -> Result<usize, usize> {
        // Mostly it is the first, or behind the last.
        match (self.entries.front(), self.entries.back()) {
            (Some(first), _) if first.id == id => Ok(0),
            (_, Some(last)) if last.id < id => Err(self.entries.len()),
            _ => self.entries.binary_search_by_key(&id, |entry| entry.id),
        }
    }

    fn get(&self, id: PacketId) -> Option<&Entry> {
        self.entries.get(self.place(id).ok()?)
    }

    fn get_mut(&mut self, id: PacketId) -> Option<&mut Entry> {
        let place = self.place(id).ok()?;
        self.entries.get_mut(place)
    }

    /// Adds an entry, in the place of one with the same identifier.
    fn insert(&mut self, entry: Entry) {
        match self.place(entry.id) {
            Ok(place) => {
                self.entries.remove(place);
                self.entries.insert(place, entry);
            }
            Err(place) => self.entries.insert(place, entry),
        }
    }

    fn remove(&mut self, id: PacketId) -> Option<Entry> {
        let place = self.place(id).ok()?;
        let entry = self.entries.remove(place);
        give_back(&mut self.entries);
        entry
    }
}

impl Entry {
    /// A number that is the larger, the later it was sent; `sent` is that of the last one. The counter comes round, but
    /// not while anything is under way.
    const fn rank(&self, sent: u32) -> u32 {
        self.order.wrapping_sub(sent.wrapping_add(1))
    }
}

#[derive(Debug)]
enum State {
    /// PUBLISH was sent; PUBACK or PUBREC is waited for.
    Published(Offer),
    /// PUBREC came and PUBREL was sent; PUBCOMP is waited for. The number is that of the place that the message had.
    Released(Option<Number>),
}

/// What an acknowledgement meant.
#[derive(Debug)]
pub(in crate::broker) enum Acknowledged {
    /// The exchange has ended, and with it the message, if it was still needed, or the place that it had.
    Ended(Option<Offer>, Option<Number>),
    /// A PUBREL is the answer. The message is no longer needed, if it was until now.
    Release(Option<Offer>),
    /// There is no such message under way, or it waits for something else.
    Unknown,
}

/// What is to be sent again.
#[derive(Debug)]
pub(in crate::broker) enum Resend<'a> {
    /// A PUBLISH, with DUP \[MQTT-3.3.1-1\].
    Publish(PacketId, &'a Offer),
    /// A PUBREL.
    Release(PacketId),
}

impl Inflight {
    /// How many count against the Receive Maximum of the connection there is.
    pub(in crate::broker) fn active(&self) -> usize {
        usize::try_from(self.active).unwrap_or(usize::MAX)
    }

    /// How many messages are under way.
    pub(in crate::broker) fn len(&self) -> usize {
        self.under_way.as_ref().map_or(0, |under_way| under_way.entries.len())
    }

    /// The bytes of the messages that are under way.
    pub(in crate::broker) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all that was under way when the connection was made has been sent again: nothing may overtake it.
    pub(in crate::broker) fn is_resent(&self) -> bool {
        self.under_way.as_ref().is_none_or(|under_way| under_way.resend.is_empty())
    }

    /// Whether all packet identifiers are in use.
    pub(in crate::broker) fn is_full(&self) -> bool {
        self.len() >= usize::from(u16::MAX)
    }

    /// Sends `offer` under a packet identifier that is not in use \[MQTT-2.2.1-4\], of which there must be
    /// [one](Self::is_full).
    pub(in crate::broker) fn begin(&mut self, offer: Offer, message: Arc<Message>) -> Delivery {
        debug_assert!(!self.is_full(), "a message without a packet identifier");
        let under_way = self.under_way.get_or_insert_default();
        let mut id = self.last_id.map_or(PacketId::MIN, PacketId::next);
        while under_way.get(id).is_some() {
            id = id.next();
        }
        self.last_id = Some(id);
        self.bytes += offer.footprint();
        self.sent = self.sent.wrapping_add(1);
        self.active += 1;
        let delivery = deliver(&offer, message, id, false);
        under_way.insert(Entry { id, order: self.sent, state: State::Published(offer), active: true });
        delivery
    }

    /// Takes up what was under way before the broker was started: the message, or the place that it had if only the
    /// packet identifier is still to be released. In the order in which they were sent.
    pub(in crate::broker) fn restore(&mut self, id: PacketId, what: Result<Offer, Number>) {
        let state = match what {
            Ok(offer) => {
                self.bytes += offer.footprint();
                State::Published(offer)
            }
            Err(number) => State::Released(Some(number)),
        };
        self.sent = self.sent.wrapping_add(1);
        self.last_id = self.last_id.max(Some(id));
        let entry = Entry { id, order: self.sent, state, active: false };
        self.under_way.get_or_insert_default().insert(entry);
    }

    /// PUBACK came.
    pub(in crate::broker) fn puback(&mut self, id: PacketId) -> Acknowledged {
        match self.entry(id) {
            Some(Entry { state: State::Published(offer), .. }) if offer.qos == QoS::AtLeastOnce => {
                self.end(id)
            }
            _ => Acknowledged::Unknown,
        }
    }

    /// PUBREC came, with success or without. An error ends the exchange \[MQTT-4.3.3-4\].
    pub(in crate::broker) fn pubrec(&mut self, id: PacketId, success: bool) -> Acknowledged {
        match self.entry(id) {
            Some(Entry { state: State::Published(offer), .. }) if offer.qos == QoS::AtLeastOnce => {
                Acknowledged::Unknown
            }
            Some(Entry { state: State::Published(_), .. }) if !success => self.end(id),
            Some(entry) if success => {
                let number = match &entry.state {
                    State::Published(offer) => offer.number(),
                    State::Released(number) => *number,
                };
                // The message itself has arrived.
                match std::mem::replace(&mut entry.state, State::Released(number)) {
                    State::Published(offer) => {
                        self.bytes -= offer.footprint();
                        Acknowledged::Release(Some(offer))
                    }
                    State::Released(_) => Acknowledged::Release(None),
                }
            }
            Some(_) | None => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP came.
    pub(in crate::broker) fn pubcomp(&mut self, id: PacketId) -> Acknowledged {
        match self.entry(id) {
            Some(Entry { state: State::Released(_), .. }) => self.end(id),
            _ => Acknowledged::Unknown,
        }
    }

    /// A new connection has been made: all that is under way is to be sent again, in order \[MQTT-4.4.0-1\],
    /// \[MQTT-4.6.0-1\].
    pub(in crate::broker) fn begin_again(&mut self) {
        self.active = 0;
        let Some(under_way) = &mut self.under_way else { return };
        let mut ids: Vec<(u32, PacketId)> = Vec::with_capacity(under_way.entries.len());
        for entry in &mut under_way.entries {
            entry.active = false;
            ids.push((entry.rank(self.sent), entry.id));
        }
        ids.sort_unstable();
        under_way.resend = ids.into_iter().map(|(_, id)| id).collect();
    }

    /// What is to be sent again next, if `room` says whether a PUBLISH may go now. It stays the next until it
    /// [is sent](Self::sent_again).
    pub(in crate::broker) fn resend(&mut self, room: bool) -> Option<Resend<'_>> {
        let under_way = self.under_way.as_deref_mut()?;
        while let Some(&id) = under_way.resend.front() {
            if under_way.get(id).is_none() {
                under_way.resend.pop_front(); // Acknowledged meanwhile.
                continue;
            }
            return match under_way.get(id).map(|entry| &entry.state) {
                Some(State::Released(_)) => Some(Resend::Release(id)),
                Some(State::Published(offer)) if room => Some(Resend::Publish(id, offer)),
                Some(State::Published(_)) | None => None,
            };
        }
        None
    }

    /// What was to be sent again next is sent; a PUBLISH is made of this message.
    pub(in crate::broker) fn sent_again(&mut self, message: Option<&Arc<Message>>) -> Option<Delivery> {
        let under_way = self.under_way.as_deref_mut()?;
        let id = under_way.resend.pop_front()?;
        let entry = under_way.get_mut(id)?;
        if !entry.active {
            entry.active = true;
            self.active += 1;
        }
        match &entry.state {
            State::Published(offer) => Some(deliver(offer, Arc::clone(message?), id, true)),
            State::Released(_) => None,
        }
    }

    /// Forgets a message that will not be sent again.
    pub(in crate::broker) fn forget(&mut self, id: PacketId) -> Option<Offer> {
        match self.end(id) {
            Acknowledged::Ended(offer, _) => offer,
            Acknowledged::Release(_) | Acknowledged::Unknown => None,
        }
    }

    /// The place of this number and its packet identifier, if it is there and its message is still needed.
    pub(in crate::broker) fn find(&self, number: Number) -> Option<(PacketId, &Offer)> {
        self.published().find(|(_, offer)| offer.number() == Some(number))
    }

    /// The messages that are under way and still needed, in no order.
    pub(in crate::broker) fn published(&self) -> impl Iterator<Item = (PacketId, &Offer)> {
        let entries = self.under_way.iter().flat_map(|under_way| &under_way.entries);
        entries.filter_map(|entry| match &entry.state {
            State::Published(offer) => Some((entry.id, offer)),
            State::Released(_) => None,
        })
    }

    /// The packet identifiers that are still to be released, with the places that their messages had, in order.
    pub(in crate::broker) fn completing(&self) -> Vec<(Number, PacketId)> {
        let entries = self.under_way.iter().flat_map(|under_way| &under_way.entries);
        let released = entries.filter_map(|entry| match entry.state {
            State::Released(number) => Some((number?, entry.id)),
            State::Published(_) => None,
        });
        let mut completing: Vec<_> = released.collect();
        completing.sort_unstable();
        completing
    }

    /// The messages that were under way, in order. Those of QoS 1 another member of a shared subscription may get;
    /// those of QoS 2 may have been received, and nobody else gets them \[MQTT-4.8.2-5\].
    pub(in crate::broker) fn into_published(self) -> impl Iterator<Item = Offer> {
        let under_way = self.under_way.unwrap_or_default();
        let mut entries: Vec<Entry> = under_way.entries.into();
        entries.sort_unstable_by_key(|entry| entry.rank(self.sent));
        entries.into_iter().filter_map(|entry| match entry.state {
            State::Published(offer) => Some(offer),
            State::Released(_) => None,
        })
    }

    fn entry(&mut self, id: PacketId) -> Option<&mut Entry> {
        self.under_way.as_mut()?.get_mut(id)
    }

    fn end(&mut self, id: PacketId) -> Acknowledged {
        let Some(under_way) = &mut self.under_way else { return Acknowledged::Unknown };
        let Some(entry) = under_way.remove(id) else { return Acknowledged::Unknown };
        self.active -= u32::from(entry.active);
        if under_way.entries.is_empty() {
            self.under_way = None; // An idle session keeps no memory for what has gone.
        }
        match entry.state {
            State::Published(offer) => {
                self.bytes -= offer.footprint();
                let number = offer.number();
                Acknowledged::Ended(Some(offer), number)
            }
            State::Released(number) => Acknowledged::Ended(None, number),
        }
    }
}

fn deliver(offer: &Offer, message: Arc<Message>, id: PacketId, dup: bool) -> Delivery {
    Delivery {
        message,
        packet_id: Some(id),
        qos: offer.qos,
        dup,
        retain: offer.retain,
        identifiers: offer.identifiers().map(Box::from),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::session::queue::Content;
    use crate::mqtt::{Places, TopicName};

    fn offer(qos: QoS) -> (Offer, Arc<Message>) {
        let message = Message {
            topic: TopicName::parse("t").unwrap(),
            payload: Bytes::new(),
            qos,
            retain: false,
            expires_at: None,
            properties: None,
            places: Places::default(),
        };
        let message = Arc::new(message);
        let content = Content::Here(Arc::clone(&message));
        (Offer::new(content, qos, false), message)
    }

    fn begin(inflight: &mut Inflight, qos: QoS) -> PacketId {
        let (offer, message) = offer(qos);
        inflight.begin(offer, message).packet_id.unwrap()
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let mut inflight = Inflight::default();
        let stuck = begin(&mut inflight, QoS::AtLeastOnce);
        for _ in 1..u16::MAX {
            let id = begin(&mut inflight, QoS::AtLeastOnce);
            assert!(matches!(inflight.puback(id), Acknowledged::Ended(..)));
        }
        assert_eq!(stuck.get(), 1);
        assert_eq!(begin(&mut inflight, QoS::AtLeastOnce).get(), 2);
        assert_eq!(inflight.active(), 2);
    }

    #[test]
    fn all_identifiers_in_use_is_said_and_not_looped_over() {
        let mut inflight = Inflight::default();
        for _ in 0..u16::MAX {
            begin(&mut inflight, QoS::AtLeastOnce);
        }
        assert!(inflight.is_full());
        assert!(matches!(inflight.puback(PacketId::new(500).unwrap()), Acknowledged::Ended(..)));
        assert_eq!(begin(&mut inflight, QoS::AtLeastOnce).get(), 500);
    }

    #[test]
    fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
        let mut inflight = Inflight::default();
        let one = begin(&mut inflight, QoS::AtLeastOnce);
        let two = begin(&mut inflight, QoS::ExactlyOnce);
        assert!(matches!(inflight.puback(two), Acknowledged::Unknown));
        assert!(matches!(inflight.pubrec(one, true), Acknowledged::Unknown));
        assert!(matches!(inflight.pubcomp(two), Acknowledged::Unknown));
        assert!(matches!(inflight.pubrec(two, true), Acknowledged::Release(_)));
        assert!(matches!(inflight.pubrec(two, true), Acknowledged::Release(_)));
        assert_eq!(inflight.active(), 2);
        assert!(matches!(inflight.pubcomp(two), Acknowledged::Ended(..)));
        assert!(matches!(inflight.puback(one), Acknowledged::Ended(..)));
        assert_eq!((inflight.active(), inflight.len()), (0, 0));
    }

    #[test]
    fn what_is_under_way_is_sent_again_in_order_and_as_the_window_allows() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..3).map(|_| begin(&mut inflight, QoS::ExactlyOnce)).collect();
        assert!(matches!(inflight.pubrec(ids[0], true), Acknowledged::Release(_)));
        inflight.begin_again();
        assert_eq!(inflight.active(), 0);
        assert!(matches!(inflight.resend(false), Some(Resend::Release(id)) if id == ids[0]));
        assert_eq!(inflight.sent_again(None), None);
        assert!(inflight.resend(false).is_none());
        assert!(!inflight.is_resent());
        let (_, message) = offer(QoS::ExactlyOnce);
        for expected in &ids[1..] {
            assert!(matches!(inflight.resend(true), Some(Resend::Publish(id, _)) if id == *expected));
            let delivery = inflight.sent_again(Some(&message)).unwrap();
            assert_eq!((delivery.packet_id, delivery.dup), (Some(*expected), true));
        }
        assert!(inflight.is_resent());
        assert_eq!(inflight.active(), 3);
    }

    #[test]
    fn what_was_acknowledged_before_it_was_sent_again_is_not() {
        let mut inflight = Inflight::default();
        let id = begin(&mut inflight, QoS::AtLeastOnce);
        let other = begin(&mut inflight, QoS::AtLeastOnce);
        inflight.begin_again();
        assert!(matches!(inflight.puback(id), Acknowledged::Ended(..)));
        assert_eq!(inflight.active(), 0);
        assert!(matches!(inflight.resend(true), Some(Resend::Publish(id, _)) if id == other));
        assert!(inflight.sent_again(Some(&offer(QoS::AtLeastOnce).1)).is_some());
        assert!(inflight.resend(true).is_none());
    }
}
