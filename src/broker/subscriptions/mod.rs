//! Who is subscribed to what.

mod edges;
mod shared;
mod trie;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

pub use shared::{GroupKey, Readiness, SharedGroup};
pub use trie::{FilterTree, NodeKey, Vacant};

use super::session::SessionKey;
use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::{ShareName, SubscriptionFilter, SubscriptionIdentifier, TopicFilter};

/// One session's subscription to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Whose.
    pub session: SessionKey,
    /// How its messages are delivered; the QoS is the one granted.
    pub options: SubscriptionOptions,
    /// What the client calls it.
    pub identifier: Option<SubscriptionIdentifier>,
}

/// Where a subscription hangs: what its session remembers of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubscriptionKey {
    /// At the end of its filter.
    Plain(NodeKey),
    /// In a group.
    Shared(GroupKey),
}

/// Whether a subscription was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// It was not.
    New(SubscriptionKey),
    /// It was, and its options are the new ones now \[MQTT-3.8.4-3\].
    Replaced(SubscriptionKey),
}

impl Subscribed {
    /// Where the subscription hangs.
    pub const fn key(self) -> SubscriptionKey {
        match self {
            Self::New(key) | Self::Replaced(key) => key,
        }
    }
}

/// All subscriptions of all sessions.
#[derive(Debug)]
pub struct Subscriptions {
    tree: FilterTree<Place>,
    groups: HashMap<GroupKey, SharedGroup, FixedState>,
    /// The groups again, by filter and name: a client may make any number of them with one filter.
    names: HashMap<(NodeKey, ShareName), GroupKey, FixedState>,
    next_group: u64,
}

/// What hangs at the end of a filter.
#[derive(Debug, Default)]
struct Place {
    plain: Subscribers,
    #[expect(clippy::box_collection, reason = "most places have no group: 8 bytes each instead of 24")]
    groups: Option<Box<BTreeSet<GroupKey>>>,
}

/// The plain subscriptions to one filter: mostly one, and then without an allocation.
#[derive(Debug, Default)]
enum Subscribers {
    #[default]
    None,
    One(Subscription),
    /// Sorted by session.
    #[expect(
        clippy::box_collection,
        reason = "most filters have one subscription: 16 bytes each instead of 24"
    )]
    Many(Box<Vec<Subscription>>),
}

impl Vacant for Place {
    fn is_vacant(&self) -> bool {
        matches!(self.plain, Subscribers::None) && self.groups.is_none()
    }
}

impl Subscriptions {
    /// No subscriptions; `seed` keys the hash tables.
    pub fn new(seed: u64) -> Self {
        Self {
            tree: FilterTree::new(seed),
            groups: HashMap::with_hasher(FixedState::with_seed(seed)),
            names: HashMap::with_hasher(FixedState::with_seed(seed)),
            next_group: 0,
        }
    }

    /// Where the subscription of `session` to `filter` hangs, if there is one.
    pub fn find(&self, filter: &SubscriptionFilter, session: SessionKey) -> Option<SubscriptionKey> {
        let node = self.tree.find(&filter.filter)?;
        if let Some(share) = &filter.share {
            let key = self.find_group(node, share)?;
            let group = self.groups.get(&key)?;
            group.contains(session).then_some(SubscriptionKey::Shared(key))
        } else {
            self.tree.value(node).plain.contains(session).then_some(SubscriptionKey::Plain(node))
        }
    }

    /// The group of a shared subscription, if it has a member.
    pub fn find_shared(&self, filter: &SubscriptionFilter) -> Option<GroupKey> {
        self.find_group(self.tree.find(&filter.filter)?, filter.share.as_ref()?)
    }

    /// Makes a subscription, or replaces the options of the one that is there.
    pub fn subscribe(&mut self, filter: &SubscriptionFilter, subscription: Subscription) -> Subscribed {
        let node = self.tree.insert(&filter.filter);
        let Some(share) = &filter.share else {
            let key = SubscriptionKey::Plain(node);
            return if self.tree.value_mut(node).plain.put(subscription) {
                Subscribed::Replaced(key)
            } else {
                Subscribed::New(key)
            };
        };
        let key = self.find_group(node, share).unwrap_or_else(|| {
            let key = GroupKey(self.next_group);
            self.next_group += 1;
            self.groups.insert(key, SharedGroup::new(share.clone(), node));
            self.names.insert((node, share.clone()), key);
            self.tree.value_mut(node).groups.get_or_insert_default().insert(key);
            key
        });
        let Some(group) = self.groups.get_mut(&key) else {
            unreachable!("a node names groups that are there")
        };
        if group.join(subscription) {
            Subscribed::Replaced(SubscriptionKey::Shared(key))
        } else {
            Subscribed::New(SubscriptionKey::Shared(key))
        }
    }

    /// Ends the subscription of `session` that hangs at `key`.
    pub fn unsubscribe(&mut self, key: SubscriptionKey, session: SessionKey) {
        match key {
            SubscriptionKey::Plain(node) => {
                self.tree.value_mut(node).plain.remove(session);
                self.tree.prune(node);
            }
            SubscriptionKey::Shared(key) => {
                let Some(group) = self.groups.get_mut(&key) else {
                    return;
                };
                group.leave(session);
                if !group.members.is_empty() {
                    return;
                }
                let node = group.node;
                if let Some(group) = self.groups.remove(&key) {
                    self.names.remove(&(node, group.share));
                }
                let groups = &mut self.tree.value_mut(node).groups;
                if let Some(there) = groups {
                    there.remove(&key);
                    if there.is_empty() {
                        *groups = None;
                    }
                }
                self.tree.prune(node);
            }
        }
    }

    /// Collects the plain subscriptions and the groups whose filter matches the topic `name`. A session with several
    /// matching subscriptions stands in `plain` as often. Returns how many places of the tree were looked at.
    pub fn matching(
        &mut self,
        name: &str,
        plain: &mut Vec<Subscription>,
        groups: &mut Vec<GroupKey>,
    ) -> usize {
        let mut places = 0_usize;
        let steps = self.tree.matching(name, |_, place| {
            match &place.plain {
                Subscribers::None => {}
                Subscribers::One(one) => {
                    plain.push(*one);
                    places += 1;
                }
                Subscribers::Many(many) => {
                    plain.extend_from_slice(many);
                    places += 1;
                }
            }
            if let Some(there) = &place.groups {
                groups.extend(there.iter().copied());
            }
        });
        if places > 1 {
            plain.sort_by_key(|subscription| subscription.session);
        }
        steps
    }

    /// A group, if it is still there.
    pub fn group_mut(&mut self, key: GroupKey) -> Option<&mut SharedGroup> {
        self.groups.get_mut(&key)
    }

    /// The subscription of `session` that hangs at `key`.
    pub fn get(&self, key: SubscriptionKey, session: SessionKey) -> Option<&Subscription> {
        match key {
            SubscriptionKey::Plain(node) => self.tree.value(node).plain.get(session),
            SubscriptionKey::Shared(key) => self.groups.get(&key)?.get(session),
        }
    }

    /// The filter of a subscription as it would be subscribed to again.
    pub fn filter(&self, key: SubscriptionKey) -> Option<SubscriptionFilter> {
        let (share, node) = match key {
            SubscriptionKey::Plain(node) => (None, node),
            SubscriptionKey::Shared(key) => {
                let group = self.groups.get(&key)?;
                (Some(group.share.clone()), group.node)
            }
        };
        let filter = TopicFilter::parse(&self.tree.filter_text(node)).ok()?;
        Some(SubscriptionFilter { share, filter })
    }

    /// How many subscriptions there are. Looks at all of them.
    pub fn count(&self) -> usize {
        let plain = self.tree.values().map(|place| match &place.plain {
            Subscribers::None => 0,
            Subscribers::One(_) => 1,
            Subscribers::Many(many) => many.len(),
        });
        plain.sum::<usize>() + self.tree.values().map(|place| self.members(place)).sum::<usize>()
    }

    fn members(&self, place: &Place) -> usize {
        let groups = place.groups.iter().flat_map(|groups| groups.iter());
        groups.filter_map(|key| self.groups.get(key)).map(|group| group.members.len()).sum()
    }

    /// How many filters there are, and levels that lead to them.
    pub fn nodes(&self) -> usize {
        self.tree.len()
    }

    fn find_group(&self, node: NodeKey, share: &ShareName) -> Option<GroupKey> {
        self.names.get(&(node, share.clone())).copied()
    }
}

impl Subscribers {
    fn contains(&self, session: SessionKey) -> bool {
        self.get(session).is_some()
    }

    fn get(&self, session: SessionKey) -> Option<&Subscription> {
        match self {
            Self::None => None,
            Self::One(one) => Some(one).filter(|one| one.session == session),
            Self::Many(many) => {
                let at = many.binary_search_by_key(&session, |there| there.session).ok()?;
                many.get(at)
            }
        }
    }

    /// Whether it replaced the session's subscription.
    fn put(&mut self, subscription: Subscription) -> bool {
        match self {
            Self::None => {
                *self = Self::One(subscription);
                false
            }
            Self::One(one) if one.session == subscription.session => {
                *one = subscription;
                true
            }
            Self::One(one) => {
                let mut both = vec![*one, subscription];
                both.sort_unstable_by_key(|there| there.session);
                *self = Self::Many(Box::new(both));
                false
            }
            Self::Many(many) => match many.binary_search_by_key(&subscription.session, |there| there.session)
            {
                Ok(at) => {
                    many[at] = subscription;
                    true
                }
                Err(at) => {
                    many.insert(at, subscription);
                    false
                }
            },
        }
    }

    fn remove(&mut self, session: SessionKey) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if one.session == session {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                if let Ok(at) = many.binary_search_by_key(&session, |there| there.session) {
                    many.remove(at);
                }
                if let [one] = many.as_slice() {
                    *self = Self::One(*one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> SubscriptionFilter {
        SubscriptionFilter::parse(text).unwrap()
    }

    fn of(session: u32) -> Subscription {
        Subscription {
            session: SessionKey::from_raw(session),
            options: SubscriptionOptions::default(),
            identifier: None,
        }
    }

    fn matching(subscriptions: &mut Subscriptions, name: &str) -> (Vec<u32>, usize) {
        let (mut plain, mut groups) = (Vec::new(), Vec::new());
        subscriptions.matching(name, &mut plain, &mut groups);
        (plain.into_iter().map(|there| there.session.raw()).collect(), groups.len())
    }

    #[test]
    fn a_place_holds_any_number_of_sessions_once_each() {
        let mut subscriptions = Subscriptions::new(1);
        let keys: Vec<_> = [3, 1, 2, 1]
            .into_iter()
            .map(|session| subscriptions.subscribe(&filter("a/+"), of(session)))
            .collect();
        assert!(matches!(
            keys[..],
            [Subscribed::New(_), Subscribed::New(_), Subscribed::New(_), Subscribed::Replaced(_)]
        ));
        assert_eq!(matching(&mut subscriptions, "a/b"), (vec![1, 2, 3], 0));
        for session in [2, 3, 1] {
            let key = subscriptions.find(&filter("a/+"), SessionKey::from_raw(session)).unwrap();
            subscriptions.unsubscribe(key, SessionKey::from_raw(session));
            assert_eq!(subscriptions.find(&filter("a/+"), SessionKey::from_raw(session)), None);
        }
        assert_eq!(subscriptions.nodes(), 0);
    }

    #[test]
    fn a_group_is_a_share_name_and_a_filter() {
        let mut subscriptions = Subscriptions::new(1);
        for (text, session) in
            [("$share/g/a", 1), ("$share/g/a", 2), ("$share/h/a", 1), ("$share/g/+", 1), ("a", 1)]
        {
            assert!(
                matches!(subscriptions.subscribe(&filter(text), of(session)), Subscribed::New(_)),
                "{text}"
            );
        }
        assert_eq!(matching(&mut subscriptions, "a"), (vec![1], 3));
        let key = subscriptions.find(&filter("$share/h/a"), SessionKey::from_raw(1)).unwrap();
        assert_eq!(subscriptions.filter(key).unwrap(), filter("$share/h/a"));
        subscriptions.unsubscribe(key, SessionKey::from_raw(1));
        assert_eq!(matching(&mut subscriptions, "a"), (vec![1], 2));
        assert_eq!(subscriptions.find(&filter("$share/h/a"), SessionKey::from_raw(1)), None);
    }
}
