//! The messages that wait for one session.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::subscriptions::GroupKey;
use crate::clock::Instant;
use crate::mqtt::message::identifiers_footprint;
use crate::mqtt::{Message, QoS, SubscriptionIdentifier};

/// A message that is to be delivered to one session.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Offer {
    pub(in crate::broker) message: Arc<Message>,
    /// The QoS of the delivery.
    pub(in crate::broker) qos: QoS,
    /// The retain flag of the delivery.
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) identifiers: Option<Box<[SubscriptionIdentifier]>>,
    /// The group through which the session got it: another member gets it if this session ends before.
    pub(in crate::broker) group: Option<GroupKey>,
}

impl Offer {
    /// The bytes that it occupies while it waits, the message among them.
    pub(in crate::broker) fn footprint(&self) -> usize {
        self.message.footprint() + identifiers_footprint(self.identifiers.as_deref())
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
    unacknowledged: VecDeque<(u64, Offer)>,
    acknowledged: VecDeque<(u64, Offer)>,
    bytes: usize,
    arrivals: u64,
    /// Not later than the moment when the first of them expires; `None`: none does.
    first_expiry: Option<Instant>,
    /// How many had come when it was last looked for expired ones.
    looked_at: u64,
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

    pub(in crate::broker) fn push(&mut self, offer: Offer) {
        self.0.get_or_insert_default().push(offer);
    }

    /// Takes the message that is next.
    pub(in crate::broker) fn pop(&mut self, leaving: Leaving) -> Option<Offer> {
        self.change(|lanes| lanes.pop(leaving))?
    }

    /// Drops the QoS 0 message that came last.
    pub(in crate::broker) fn drop_newest_qos0(&mut self) -> bool {
        self.change(Lanes::drop_newest_qos0).unwrap_or_default()
    }

    /// Drops the QoS 1 or 2 message that has waited longest.
    pub(in crate::broker) fn drop_oldest(&mut self) -> bool {
        self.change(Lanes::drop_oldest).unwrap_or_default()
    }

    /// Drops all messages of QoS 0. How many.
    pub(in crate::broker) fn drop_qos0(&mut self) -> usize {
        self.change(Lanes::drop_qos0).unwrap_or_default()
    }

    /// Drops what has expired, unless it was looked for not long ago. How many.
    pub(in crate::broker) fn drop_expired(&mut self, now: Instant) -> usize {
        self.change(|lanes| lanes.drop_expired(now)).unwrap_or_default()
    }

    /// The messages of QoS 1 and 2, in order.
    pub(in crate::broker) fn into_acknowledged(self) -> impl Iterator<Item = Offer> {
        self.0.into_iter().flat_map(|lanes| lanes.acknowledged).map(|(_, offer)| offer)
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

    fn lane(&self, qos: QoS) -> &VecDeque<(u64, Offer)> {
        match qos {
            QoS::AtMostOnce => &self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &self.acknowledged,
        }
    }

    fn push(&mut self, offer: Offer) {
        self.bytes += offer.footprint();
        self.arrivals += 1;
        self.first_expiry = match (self.first_expiry, offer.message.expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let lane = match offer.qos {
            QoS::AtMostOnce => &mut self.unacknowledged,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.acknowledged,
        };
        lane.push_back((self.arrivals, offer));
    }

    fn pop(&mut self, leaving: Leaving) -> Option<Offer> {
        let zero = self.unacknowledged.front().map(|(arrival, _)| *arrival);
        let other = match leaving {
            Leaving::Any => self.acknowledged.front().map(|(arrival, _)| *arrival),
            Leaving::OnlyQoS0 => None,
        };
        let zero_is_next = match (zero, other) {
            (None, None) => return None,
            (Some(zero), Some(other)) => zero < other,
            (zero, None) => zero.is_some(),
            (None, Some(_)) => false,
        };
        let lane = if zero_is_next { &mut self.unacknowledged } else { &mut self.acknowledged };
        let (_, offer) = lane.pop_front()?;
        self.bytes -= offer.footprint();
        Some(offer)
    }

    fn drop_newest_qos0(&mut self) -> bool {
        let Some((_, offer)) = self.unacknowledged.pop_back() else { return false };
        self.bytes -= offer.footprint();
        true
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, offer)) = self.acknowledged.pop_front() else { return false };
        self.bytes -= offer.footprint();
        true
    }

    fn drop_qos0(&mut self) -> usize {
        let gone = std::mem::take(&mut self.unacknowledged);
        self.bytes -= gone.iter().map(|(_, offer)| offer.footprint()).sum::<usize>();
        gone.len()
    }

    fn drop_expired(&mut self, now: Instant) -> usize {
        let before = self.len();
        // To look at all of them is worth it only if one has expired, and not for each message that comes.
        let come_since = usize::try_from(self.arrivals - self.looked_at).unwrap_or(usize::MAX);
        if self.first_expiry.is_none_or(|at| at > now) || come_since < before / 2 {
            return 0;
        }
        self.looked_at = self.arrivals;
        self.first_expiry = None;
        for lane in [&mut self.unacknowledged, &mut self.acknowledged] {
            lane.retain(|(_, offer)| {
                let keep = !offer.message.has_expired(now);
                if keep {
                    let at = offer.message.expires_at;
                    self.first_expiry = self.first_expiry.into_iter().chain(at).min();
                } else {
                    self.bytes -= offer.footprint();
                }
                keep
            });
        }
        before - self.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::mqtt::TopicName;

    fn offer(qos: QoS, payload: &'static str, expires: Option<u64>) -> Offer {
        let message = Message {
            topic: TopicName::parse("t").unwrap(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos,
            retain: false,
            expires_at: expires.map(|seconds| Instant::from_start(Duration::from_secs(seconds))),
            properties: None,
        };
        Offer { message: Arc::new(message), qos, retain: false, identifiers: None, group: None }
    }

    fn drain(queue: &mut MessageQueue, leaving: Leaving) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.pop(leaving)).map(|offer| offer.message.payload.clone()).collect()
    }

    #[test]
    fn messages_leave_in_order_and_qos_0_may_pass_the_others() {
        let mut queue = MessageQueue::default();
        for (qos, payload) in
            [(QoS::AtLeastOnce, "1"), (QoS::AtMostOnce, "2"), (QoS::ExactlyOnce, "3"), (QoS::AtMostOnce, "4")]
        {
            queue.push(offer(qos, payload, None));
        }
        assert_eq!(queue.pop(Leaving::Any).unwrap().message.payload, "1");
        assert_eq!(drain(&mut queue, Leaving::OnlyQoS0), ["2", "4"]);
        assert_eq!(drain(&mut queue, Leaving::Any), ["3"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn what_is_dropped_gives_its_bytes_back() {
        let mut queue = MessageQueue::default();
        for expires in [None, Some(1), Some(3)] {
            queue.push(offer(QoS::AtMostOnce, "zero", expires));
            queue.push(offer(QoS::AtLeastOnce, "one", expires));
        }
        assert_eq!(queue.drop_expired(Instant::from_start(Duration::from_secs(2))), 2);
        assert!(queue.drop_newest_qos0());
        assert!(queue.drop_oldest());
        assert_eq!(queue.drop_qos0(), 1);
        assert!(!queue.drop_newest_qos0());
        assert_eq!(queue.len(), 1);
        assert!(queue.drop_oldest());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
