//! Which subscriptions were made on which data streams: their messages go there.

use std::collections::HashMap;

use super::flows::Key;
use crate::mqtt::codec::{self, Body, DecodeLimits, FrameHeader};
use crate::mqtt::{Packet, ProtocolVersion, SubscriptionFilter, TopicFilter, TopicName};

/// Where a subscription was made, other than on the control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// On a stream without a number: it is gone with it.
    Stream(Key),
    /// In a flow, on whatever stream that is.
    Flow(u64),
}

/// The subscriptions of a client that were made elsewhere than on its control stream. Each is where its last SUBSCRIBE
/// came.
///
/// The broker does not know of it: what is not found here, or no more, goes as if the subscription had been made on the
/// control stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Filters without wildcards.
    exact: HashMap<Box<str>, Bound>,
    /// Filters with wildcards, in the order in which they came: the first one that matches decides.
    wild: Vec<(TopicFilter, Bound)>,
    /// The bytes of all filters.
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    home: Home,
    asked: Option<Asked>,
}

/// A SUBSCRIBE that has not been answered.
#[derive(Debug, Clone, Copy)]
struct Asked {
    packet_id: u16,
    /// Which of its filters, counted from the last one, which is 1.
    from_last: usize,
    /// What held before, and will again if the subscription is refused.
    before: Option<Home>,
}

impl Subscriptions {
    /// Filters without wildcards, and with, and bytes of all: as much as clients with a stream for each subscription
    /// have. Each filter with wildcards is looked at for each message.
    const EXACT: usize = 1_024;
    const WILD: usize = 128;
    const BYTES: usize = 64 << 10;

    /// Whether no message can have a stream for its subscription.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }

    /// Takes note of a SUBSCRIBE or UNSUBSCRIBE that came there; `None`: on the control stream.
    pub(super) fn hear(
        &mut self,
        header: FrameHeader,
        body: &[u8],
        version: ProtocolVersion,
        home: Option<Home>,
    ) {
        /// What is beyond is not remembered, or refused by who decodes it for the session.
        const LIMITS: DecodeLimits = DecodeLimits { user_properties: 256, filters: 4_096 };
        match codec::decode(header, Body::Borrowed(body), Some(version), LIMITS) {
            Ok(Packet::Subscribe(subscribe)) => {
                let packet_id = subscribe.packet_id.get();
                for (from_last, entry) in (1..=subscribe.entries.len()).rev().zip(&subscribe.entries) {
                    self.subscribe(&entry.filter, packet_id, from_last, home);
                }
            }
            Ok(Packet::Unsubscribe(unsubscribe)) => {
                for filter in &unsubscribe.filters {
                    if let Ok(SubscriptionFilter { filter, .. }) = SubscriptionFilter::parse(filter) {
                        self.remove(&filter);
                    }
                }
            }
            // It ends the connection elsewhere, or is none of them.
            Ok(_) | Err(_) => {}
        }
    }

    fn subscribe(&mut self, filter: &str, packet_id: u16, from_last: usize, home: Option<Home>) {
        // One that is shared and one that is not can only be told apart by what matches both.
        let Ok(SubscriptionFilter { filter, .. }) = SubscriptionFilter::parse(filter) else { return };
        let Some(home) = home else { return self.remove(&filter) };
        let before = self.find(&filter).map(|bound| bound.home);
        let bound = Bound { home, asked: Some(Asked { packet_id, from_last, before }) };
        if let Some(known) = self.find(&filter) {
            *known = bound;
            return;
        }
        let count_is_full = if filter.has_wildcard() {
            self.wild.len() >= Self::WILD
        } else {
            self.exact.len() >= Self::EXACT
        };
        let bytes = self.bytes + filter.as_str().len();
        if count_is_full || bytes > Self::BYTES {
            return;
        }
        self.bytes = bytes;
        if filter.has_wildcard() {
            self.wild.push((filter, bound));
        } else {
            self.exact.insert(filter.as_str().into(), bound);
        }
    }

    /// A SUBACK goes out: what was refused is not subscribed to.
    pub(super) fn answered(&mut self, packet_id: u16, suback: &[u8]) {
        const FAILURE: u8 = 0x80;
        self.retain(|bound| {
            let Some(asked) = bound.asked.take_if(|asked| asked.packet_id == packet_id) else { return true };
            // The reason codes are the last thing in the packet, one for each filter.
            let reason = suback.len().checked_sub(asked.from_last).and_then(|at| suback.get(at));
            if reason.is_some_and(|reason| *reason < FAILURE) {
                return true;
            }
            let Some(before) = asked.before else { return false };
            bound.home = before;
            true
        });
    }

    /// Where messages of this topic go, if it is not the control stream.
    pub(super) fn home_of(&self, topic: &[u8]) -> Option<Home> {
        let topic = str::from_utf8(topic).ok()?;
        if let Some(bound) = self.exact.get(topic) {
            return Some(bound.home);
        }
        if self.wild.is_empty() {
            return None;
        }
        let topic = TopicName::parse(topic).ok()?;
        self.wild.iter().find(|(filter, _)| filter.matches(&topic)).map(|(_, bound)| bound.home)
    }

    /// Messages do not go there any more.
    pub(super) fn forget(&mut self, home: Home) {
        self.retain(|bound| {
            if let Some(asked) = &mut bound.asked {
                asked.before = asked.before.filter(|before| *before != home);
            }
            bound.home != home
        });
    }

    /// What is on the control stream from now on is not known.
    pub(super) fn forget_all(&mut self) {
        *self = Self::default();
    }

    fn find(&mut self, filter: &TopicFilter) -> Option<&mut Bound> {
        if !filter.has_wildcard() {
            return self.exact.get_mut(filter.as_str());
        }
        self.wild.iter_mut().find(|(known, _)| known == filter).map(|(_, bound)| bound)
    }

    fn remove(&mut self, filter: &TopicFilter) {
        let removed = if filter.has_wildcard() {
            let at = self.wild.iter().position(|(known, _)| known == filter);
            at.map(|at| self.wild.remove(at)).is_some()
        } else {
            self.exact.remove(filter.as_str()).is_some()
        };
        if removed {
            self.bytes -= filter.as_str().len();
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&mut Bound) -> bool) {
        let bytes = &mut self.bytes;
        self.exact.retain(|filter, bound| {
            stays(bound) || {
                *bytes -= filter.len();
                false
            }
        });
        self.wild.retain_mut(|(filter, bound)| {
            stays(bound) || {
                *bytes -= filter.as_str().len();
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::codec::frame_header;

    const A: Option<Home> = Some(Home::Flow(2));
    const B: Option<Home> = Some(Home::Flow(4));

    fn hear(subscriptions: &mut Subscriptions, first: u8, id: u8, filters: &[&str], home: Option<Home>) {
        let mut body = vec![0, id];
        for filter in filters {
            body.extend(u16::try_from(filter.len()).unwrap().to_be_bytes());
            body.extend(filter.as_bytes());
            body.extend((first == 0x82).then_some(1));
        }
        let mut packet = vec![first];
        let len = u8::try_from(body.len() & 0x7F).unwrap();
        packet.extend([len | 0x80, u8::try_from(body.len() >> 7).unwrap()]);
        let header = frame_header(&packet).unwrap().unwrap();
        subscriptions.hear(header, &body, ProtocolVersion::V3_1_1, home);
    }

    fn subscribed(filters: &[&str], home: Option<Home>) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        hear(&mut subscriptions, 0x82, 1, filters, home);
        subscriptions
    }

    #[track_caller]
    fn check(subscriptions: &Subscriptions, expected: &[(&str, Option<Home>)]) {
        for (topic, home) in expected {
            assert_eq!(subscriptions.home_of(topic.as_bytes()), *home, "{topic}");
        }
    }

    #[test]
    fn messages_go_where_they_were_subscribed_to() {
        let mut subscriptions = subscribed(&["a/b", "c/+", "$share/g/s"], A);
        hear(&mut subscriptions, 0x82, 2, &["a/c"], B);
        check(&subscriptions, &[("a/b", A), ("a/c", B), ("c/d", A), ("s", A), ("a", None), ("c/d/e", None)]);
    }

    #[test]
    fn of_several_that_match_the_exact_one_decides_and_then_the_first() {
        let mut subscriptions = subscribed(&["a/+"], A);
        hear(&mut subscriptions, 0x82, 2, &["#", "a/b"], B);
        check(&subscriptions, &[("a/b", B), ("a/c", A), ("c", B), ("$SYS/a", None)]);
    }

    #[test]
    fn the_last_subscribe_of_a_filter_decides() {
        let mut subscriptions = subscribed(&["a", "b", "+"], A);
        hear(&mut subscriptions, 0x82, 2, &["a"], B);
        hear(&mut subscriptions, 0x82, 3, &["b", "+"], None);
        check(&subscriptions, &[("a", B), ("b", None)]);
    }

    #[test]
    fn what_is_unsubscribed_from_is_nowhere() {
        let mut subscriptions = subscribed(&["a", "b/#", "c"], A);
        hear(&mut subscriptions, 0xA2, 2, &["a", "b/#"], None);
        check(&subscriptions, &[("a", None), ("b/c", None), ("c", A)]);
        hear(&mut subscriptions, 0xA2, 3, &["c"], B);
        assert!(subscriptions.is_empty());
        assert_eq!(subscriptions.bytes, 0);
    }

    #[test]
    fn what_is_refused_is_as_it_was_before() {
        let mut subscriptions = subscribed(&["a", "b", "c/#"], A);
        subscriptions.answered(1, &[0x90, 5, 0, 1, 0, 0x80, 2]);
        check(&subscriptions, &[("a", A), ("b", None), ("c/d", A)]);
        hear(&mut subscriptions, 0x82, 2, &["a", "c/#"], B);
        check(&subscriptions, &[("a", B), ("c/d", B)]);
        subscriptions.answered(2, &[0x90, 4, 0, 2, 0x87, 1]);
        check(&subscriptions, &[("a", A), ("c/d", B)]);
        subscriptions.answered(2, &[0x90, 4, 0, 2, 0x87, 0x87]);
        check(&subscriptions, &[("a", A), ("c/d", B)]);
    }

    #[test]
    fn what_was_made_on_a_stream_that_has_ended_is_nowhere() {
        let mut subscriptions = subscribed(&["a", "b/#"], A);
        hear(&mut subscriptions, 0x82, 2, &["c"], B);
        hear(&mut subscriptions, 0x82, 3, &["a"], B);
        subscriptions.forget(Home::Flow(2));
        subscriptions.answered(3, &[0x90, 3, 0, 3, 0x80]);
        check(&subscriptions, &[("a", None), ("b/c", None), ("c", B)]);
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let mut subscriptions = Subscriptions::default();
        let long = "x".repeat(100);
        for number in 0..2_000 {
            hear(&mut subscriptions, 0x82, 1, &[&format!("{long}/{number}"), &format!("{number}/+")], A);
        }
        assert_eq!(subscriptions.wild.len(), Subscriptions::WILD);
        assert!(subscriptions.exact.len() > 500);
        assert!(subscriptions.bytes <= Subscriptions::BYTES);
        subscriptions.forget(Home::Flow(2));
        assert_eq!(subscriptions.bytes, 0);
        for number in 0..2_000 {
            hear(&mut subscriptions, 0x82, 1, &[&number.to_string()], A);
        }
        assert_eq!(subscriptions.exact.len(), Subscriptions::EXACT);
        check(&subscriptions, &[("0", A), ("1999", None)]);
    }
}
