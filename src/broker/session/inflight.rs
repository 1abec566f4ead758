//! The QoS 1 and 2 messages that are under way to one client, by packet identifier (MQTT 5.0 sections 4.3 and 4.9).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::queue::Offer;
use crate::mqtt::{Delivery, PacketId, QoS};

/// What is under way to one client, across its connections. Costs little while nothing is.
#[derive(Debug, Default)]
pub(in crate::broker) struct Inflight {
    under_way: Option<Box<UnderWay>>,
    /// What the messages occupy.
    bytes: usize,
    sent: u64,
    /// How many count against the client's Receive Maximum on this connection.
    active: u32,
    last_id: Option<PacketId>,
}

#[derive(Debug, Default)]
struct UnderWay {
    entries: HashMap<PacketId, Entry, FixedState>,
    /// What is still to be sent again on this connection, in the order in which it was sent first.
    resend: VecDeque<PacketId>,
}

#[derive(Debug)]
struct Entry {
    order: u64,
    state: State,
    /// Whether it counts in `active`.
    active: bool,
}

#[derive(Debug)]
enum State {
    /// PUBLISH was sent; PUBACK or PUBREC is waited for.
    Published(Offer),
    /// PUBREC came and PUBREL was sent; PUBCOMP is waited for.
    Released,
}

/// What an acknowledgement meant.
#[derive(Debug)]
pub(in crate::broker) enum Acknowledged {
    /// The exchange has ended, and with it the message.
    Ended,
    /// A PUBREL is the answer.
    Release,
    /// There is no such message under way, or it waits for something else.
    Unknown,
}

/// What is to be sent again.
#[derive(Debug)]
pub(in crate::broker) enum Resend {
    /// A PUBLISH, with DUP \[MQTT-3.3.1-1\].
    Publish(Delivery),
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

    /// Sends `offer` under a packet identifier that is not in use \[MQTT-2.2.1-4\]; gives it back if all are.
    pub(in crate::broker) fn begin(&mut self, offer: Offer) -> Result<Delivery, Offer> {
        let entries = &mut self.under_way.get_or_insert_default().entries;
        if entries.len() >= usize::from(u16::MAX) {
            return Err(offer);
        }
        let mut id = self.last_id.map_or(PacketId::MIN, PacketId::next);
        while entries.contains_key(&id) {
            id = id.next();
        }
        self.last_id = Some(id);
        self.bytes += offer.footprint();
        self.sent += 1;
        self.active += 1;
        let delivery = deliver(&offer, id, false);
        entries.insert(id, Entry { order: self.sent, state: State::Published(offer), active: true });
        Ok(delivery)
    }

    /// PUBACK came.
    pub(in crate::broker) fn puback(&mut self, id: PacketId) -> Acknowledged {
        match self.entry(id) {
            Some(Entry { state: State::Published(offer), .. }) if offer.qos == QoS::AtLeastOnce => {
                self.end(id);
                Acknowledged::Ended
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
            Some(Entry { state: State::Published(_), .. }) if !success => {
                self.end(id);
                Acknowledged::Ended
            }
            Some(entry) if success => {
                // The message itself has arrived.
                if let State::Published(offer) = std::mem::replace(&mut entry.state, State::Released) {
                    self.bytes -= offer.footprint();
                }
                Acknowledged::Release
            }
            Some(_) | None => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP came.
    pub(in crate::broker) fn pubcomp(&mut self, id: PacketId) -> Acknowledged {
        match self.entry(id) {
            Some(Entry { state: State::Released, .. }) => {
                self.end(id);
                Acknowledged::Ended
            }
            _ => Acknowledged::Unknown,
        }
    }

    /// A new connection has been made: all that is under way is to be sent again, in order \[MQTT-4.4.0-1\],
    /// \[MQTT-4.6.0-1\].
    pub(in crate::broker) fn begin_again(&mut self) {
        self.active = 0;
        let Some(under_way) = &mut self.under_way else { return };
        let mut ids: Vec<(u64, PacketId)> = Vec::with_capacity(under_way.entries.len());
        for (id, entry) in &mut under_way.entries {
            entry.active = false;
            ids.push((entry.order, *id));
        }
        ids.sort_unstable();
        under_way.resend = ids.into_iter().map(|(_, id)| id).collect();
    }

    /// What is to be sent again next, if `room` says whether a PUBLISH may go now.
    pub(in crate::broker) fn resend(&mut self, room: bool) -> Option<Resend> {
        let under_way = self.under_way.as_mut()?;
        while let Some(&id) = under_way.resend.front() {
            let Some(entry) = under_way.entries.get_mut(&id) else {
                under_way.resend.pop_front(); // Acknowledged meanwhile.
                continue;
            };
            let again = match &entry.state {
                State::Released => Resend::Release(id),
                State::Published(offer) if room => Resend::Publish(deliver(offer, id, true)),
                State::Published(_) => return None,
            };
            if !entry.active {
                entry.active = true;
                self.active += 1;
            }
            under_way.resend.pop_front();
            return Some(again);
        }
        None
    }

    /// Forgets a message that will not be sent again.
    pub(in crate::broker) fn forget(&mut self, id: PacketId) {
        self.end(id);
    }

    /// The messages of QoS 1 that were under way, in order: what another member of a shared subscription may get.
    /// Those of QoS 2 may have been received, and nobody else gets them \[MQTT-4.8.2-5\].
    pub(in crate::broker) fn into_repeatable(self) -> impl Iterator<Item = Offer> {
        let under_way = self.under_way.unwrap_or_default();
        let mut entries: Vec<Entry> = under_way.entries.into_values().collect();
        entries.sort_unstable_by_key(|entry| entry.order);
        entries.into_iter().filter_map(|entry| match entry.state {
            State::Published(offer) if offer.qos == QoS::AtLeastOnce => Some(offer),
            State::Published(_) | State::Released => None,
        })
    }

    fn entry(&mut self, id: PacketId) -> Option<&mut Entry> {
        self.under_way.as_mut()?.entries.get_mut(&id)
    }

    fn end(&mut self, id: PacketId) {
        let Some(under_way) = &mut self.under_way else { return };
        if let Some(entry) = under_way.entries.remove(&id) {
            self.active -= u32::from(entry.active);
            if let State::Published(offer) = entry.state {
                self.bytes -= offer.footprint();
            }
        }
        if under_way.entries.is_empty() {
            self.under_way = None; // An idle session keeps no memory for what has gone.
        }
    }
}

fn deliver(offer: &Offer, id: PacketId, dup: bool) -> Delivery {
    Delivery {
        message: std::sync::Arc::clone(&offer.message),
        packet_id: Some(id),
        qos: offer.qos,
        dup,
        retain: offer.retain,
        identifiers: offer.identifiers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::mqtt::{Message, TopicName};

    fn offer(qos: QoS) -> Offer {
        let message = Message {
            topic: TopicName::parse("t").unwrap(),
            payload: Bytes::new(),
            qos,
            retain: false,
            expires_at: None,
            properties: None,
        };
        Offer { message: Arc::new(message), qos, retain: false, identifiers: None, group: None }
    }

    fn begin(inflight: &mut Inflight, qos: QoS) -> PacketId {
        inflight.begin(offer(qos)).unwrap().packet_id.unwrap()
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let mut inflight = Inflight::default();
        let stuck = begin(&mut inflight, QoS::AtLeastOnce);
        for _ in 1..u16::MAX {
            let id = begin(&mut inflight, QoS::AtLeastOnce);
            assert!(matches!(inflight.puback(id), Acknowledged::Ended));
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
        assert!(inflight.begin(offer(QoS::AtLeastOnce)).is_err());
        assert!(matches!(inflight.puback(PacketId::new(500).unwrap()), Acknowledged::Ended));
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
        assert!(matches!(inflight.pubrec(two, true), Acknowledged::Release));
        assert!(matches!(inflight.pubrec(two, true), Acknowledged::Release));
        assert_eq!(inflight.active(), 2);
        assert!(matches!(inflight.pubcomp(two), Acknowledged::Ended));
        assert!(matches!(inflight.puback(one), Acknowledged::Ended));
        assert_eq!((inflight.active(), inflight.len()), (0, 0));
    }

    #[test]
    fn what_is_under_way_is_sent_again_in_order_and_as_the_window_allows() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..3).map(|_| begin(&mut inflight, QoS::ExactlyOnce)).collect();
        assert!(matches!(inflight.pubrec(ids[0], true), Acknowledged::Release));
        inflight.begin_again();
        assert_eq!(inflight.active(), 0);
        assert!(matches!(inflight.resend(false), Some(Resend::Release(id)) if id == ids[0]));
        assert!(inflight.resend(false).is_none());
        assert!(!inflight.is_resent());
        for id in &ids[1..] {
            match inflight.resend(true) {
                Some(Resend::Publish(delivery)) => {
                    assert_eq!((delivery.packet_id, delivery.dup), (Some(*id), true));
                }
                other => panic!("{other:?}"),
            }
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
        assert!(matches!(inflight.puback(id), Acknowledged::Ended));
        assert_eq!(inflight.active(), 0);
        assert!(
            matches!(inflight.resend(true), Some(Resend::Publish(delivery)) if delivery.packet_id == Some(other))
        );
        assert!(inflight.resend(true).is_none());
    }
}
