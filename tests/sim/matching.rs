//! Finding who is subscribed to a topic, and which retained messages match a filter, compared with looking at each.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_broker::broker::SessionKey;
use mqtt_broker::broker::retained::{Position, Retained, RetainedStore, Step};
use mqtt_broker::broker::subscriptions::{Subscribed, Subscription, SubscriptionKey, Subscriptions};
use mqtt_broker::mqtt::packet::SubscriptionOptions;
use mqtt_broker::mqtt::{ClientId, Message, Places, QoS, SubscriptionFilter, TopicFilter, TopicName};

use crate::arb::Choices;

/// Subscribes, unsubscribes, retains, forgets, and compares what is found; so often, or until the choices are exhausted.
pub(crate) fn check(choices: &mut Choices<'_>, operations: usize) {
    let mut both = Both::new();
    for _ in 0..operations {
        if choices.are_exhausted() {
            return;
        }
        match choices.below(8) {
            0 | 1 => both.subscribe(&draw_filter(choices), draw_session(choices)),
            2 => both.unsubscribe_one(choices),
            3 | 4 => both.check_match(&draw_name(choices)),
            5 => both.retain(&draw_name(choices)),
            6 => both.forget(&draw_name(choices)),
            _ => both.check_search(&draw_filter(choices).filter),
        }
        both.check_counts();
    }
}

/// The real ones, and plain lists.
struct Both {
    subscriptions: Subscriptions,
    retained: RetainedStore,
    all_subscribed: Vec<(SubscriptionFilter, SessionKey)>,
    all_retained: BTreeSet<TopicName>,
}

impl Both {
    fn new() -> Self {
        Self {
            subscriptions: Subscriptions::new(7),
            retained: RetainedStore::default(),
            all_subscribed: Vec::new(),
            all_retained: BTreeSet::new(),
        }
    }

    fn subscribe(&mut self, filter: &SubscriptionFilter, session: SessionKey) {
        let subscription =
            Subscription { session, options: SubscriptionOptions::default(), identifier: None };
        let known = self.all_subscribed.iter().any(|there| *there == (filter.clone(), session));
        let key = match self.subscriptions.subscribe(filter, subscription) {
            Subscribed::New(key) => {
                assert!(!known, "{filter} was there");
                self.all_subscribed.push((filter.clone(), session));
                key
            }
            Subscribed::Replaced(key) => {
                assert!(known, "{filter} was not there");
                key
            }
        };
        assert_eq!(self.subscriptions.find(filter, session), Some(key));
        assert_eq!(self.subscriptions.filter(key).as_ref(), Some(filter));
    }

    fn unsubscribe_one(&mut self, choices: &mut Choices<'_>) {
        if self.all_subscribed.is_empty() {
            return;
        }
        let (filter, session) = self.all_subscribed.swap_remove(choices.below(self.all_subscribed.len()));
        let key =
            self.subscriptions.find(&filter, session).unwrap_or_else(|| panic!("{filter} is not there"));
        self.subscriptions.unsubscribe(key, session);
        assert_eq!(self.subscriptions.find(&filter, session), None, "{filter} is still there");
    }

    fn check_match(&mut self, name: &TopicName) {
        let (mut plain, mut groups) = (Vec::new(), Vec::new());
        self.subscriptions.matching(name.as_str(), &mut plain, &mut groups);
        let mut sessions: Vec<SessionKey> = plain.iter().map(|subscription| subscription.session).collect();
        sessions.sort_unstable();
        let mut expected_sessions = Vec::new();
        let mut expected_groups = BTreeSet::new();
        for (filter, session) in &self.all_subscribed {
            if filter.filter.matches(name) {
                match &filter.share {
                    None => expected_sessions.push(*session),
                    Some(_) => drop(expected_groups.insert(filter.clone())),
                }
            }
        }
        expected_sessions.sort_unstable();
        assert_eq!(sessions, expected_sessions, "{name} among {:?}", self.all_subscribed);
        let filters =
            groups.iter().filter_map(|group| self.subscriptions.filter(SubscriptionKey::Shared(*group)));
        let found: BTreeSet<SubscriptionFilter> = filters.collect();
        assert_eq!(found, expected_groups, "{name} among {:?}", self.all_subscribed);
        assert_eq!(groups.len(), found.len(), "each group once");
    }

    fn retain(&mut self, name: &TopicName) {
        let message = Message {
            topic: name.clone(),
            payload: Bytes::from_static(b"kept"),
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at: None,
            properties: None,
            places: Places::default(),
        };
        self.retained.insert(Retained {
            message: Arc::new(message),
            publisher: ClientId::new("publisher"),
            kept: None,
        });
        self.all_retained.insert(name.clone());
    }

    fn forget(&mut self, name: &TopicName) {
        assert_eq!(self.retained.remove(name.as_str()).is_some(), self.all_retained.remove(name), "{name}");
    }

    fn check_search(&self, filter: &TopicFilter) {
        let mut found = BTreeSet::new();
        let mut position = Position::start(filter);
        // Each step gets past a topic or the levels that a topic begins with.
        for _ in 0..=self.all_retained.len() * 8 + 8 {
            match self.retained.step(filter, &position) {
                Step::Match(retained) => {
                    let topic = retained.message.topic.clone();
                    assert!(found.insert(topic.clone()), "{topic} is found twice for {filter}");
                    position = Position::Behind(topic);
                }
                Step::Continue(next) => position = next,
                Step::Done => {
                    let matching = self.all_retained.iter().filter(|name| filter.matches(name));
                    let expected: BTreeSet<TopicName> = matching.cloned().collect();
                    assert_eq!(found, expected, "{filter} among {:?}", self.all_retained);
                    return;
                }
            }
        }
        panic!("the search for {filter} among {:?} does not end", self.all_retained);
    }

    fn check_counts(&self) {
        assert_eq!(self.subscriptions.count(), self.all_subscribed.len());
        assert_eq!(
            self.subscriptions.nodes() == 0,
            self.all_subscribed.is_empty(),
            "no more nodes than needed"
        );
        assert_eq!(self.retained.len(), self.all_retained.len());
        let bytes: usize = self.retained.iter().map(|entry| entry.message.footprint()).sum();
        assert_eq!(self.retained.bytes(), bytes);
    }
}

fn draw_session(choices: &mut Choices<'_>) -> SessionKey {
    SessionKey::from_raw(u32::try_from(choices.below(4)).unwrap())
}

fn draw_name(choices: &mut Choices<'_>) -> TopicName {
    loop {
        let name = draw_levels(choices, &["a", "b", "", "ab", "a!", "$d", "$"]);
        if let Ok(name) = TopicName::parse(&name) {
            return name;
        }
        if choices.are_exhausted() {
            return TopicName::parse("a").unwrap();
        }
    }
}

fn draw_filter(choices: &mut Choices<'_>) -> SubscriptionFilter {
    let share = choices.among(&["", "", "", "$share/g/", "$share/h/"]);
    loop {
        let filter = draw_levels(choices, &["a", "+", "#", "b", "", "ab", "a!", "$d", "$"]);
        if let Ok(filter) = SubscriptionFilter::parse(&format!("{share}{filter}")) {
            return filter;
        }
        if choices.are_exhausted() {
            return SubscriptionFilter::parse("a").unwrap();
        }
    }
}

fn draw_levels(choices: &mut Choices<'_>, levels: &[&str]) -> String {
    let levels: Vec<&str> = (0..=choices.below(4)).map(|_| choices.among(levels)).collect();
    levels.join("/")
}
