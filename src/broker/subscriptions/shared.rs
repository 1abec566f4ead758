//! Groups of shared subscriptions (MQTT 5.0 section 4.8.2): which member gets a message.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{NodeKey, Subscription};
use crate::broker::limits::SharedStrategy;
use crate::broker::session::SessionKey;
use crate::mqtt::ShareName;

/// One group: a share name and a filter. Never used again for another group in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub(super) u64);

/// The members of a group.
#[derive(Debug)]
pub struct SharedGroup {
    /// The name of the share.
    pub share: ShareName,
    /// Where its filter ends.
    pub node: NodeKey,
    /// Sorted by session.
    pub members: Vec<Subscription>,
    next: usize,
    favourite: Option<SessionKey>,
}

/// What is known of a member when a message is to be given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It is connected and has room; so many messages are under way to it.
    Ready(usize),
    /// It cannot take the message now, but it can wait there; so many messages wait or are under way already.
    CanQueue(usize),
    /// It cannot take the message.
    Unable,
}

impl SharedGroup {
    pub(super) fn new(share: ShareName, node: NodeKey) -> Self {
        Self { share, node, members: Vec::new(), next: 0, favourite: None }
    }

    pub(super) fn contains(&self, session: SessionKey) -> bool {
        self.place(session).is_ok()
    }

    /// Makes a session a member. Whether it was one already.
    pub(super) fn join(&mut self, subscription: Subscription) -> bool {
        match self.place(subscription.session) {
            Ok(at) => {
                self.members[at] = subscription;
                true
            }
            Err(at) => {
                self.members.insert(at, subscription);
                if at < self.next {
                    self.next += 1;
                }
                false
            }
        }
    }

    pub(super) fn leave(&mut self, session: SessionKey) {
        if let Ok(at) = self.place(session) {
            self.members.remove(at);
            if at < self.next {
                self.next -= 1;
            }
        }
        if self.favourite == Some(session) {
            self.favourite = None;
        }
    }

    pub(super) fn get(&self, session: SessionKey) -> Option<&Subscription> {
        self.members.get(self.place(session).ok()?)
    }

    fn place(&self, session: SessionKey) -> Result<usize, usize> {
        self.members.binary_search_by_key(&session, |member| member.session)
    }

    /// The member that gets a message: by the strategy among those that are ready; if none is, the least loaded of
    /// those where it can wait.
    ///
    /// `key` is what the hash strategies go by, `random` a random number. Asks `readiness` at most once per member.
    pub fn choose(
        &mut self,
        strategy: SharedStrategy,
        key: &str,
        random: u64,
        mut readiness: impl FnMut(&Subscription) -> Readiness,
    ) -> Option<Subscription> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let start = match strategy {
            SharedStrategy::RoundRobin => self.next % count,
            SharedStrategy::Sticky => {
                self.favourite.and_then(|session| self.place(session).ok()).unwrap_or(0)
            }
            SharedStrategy::HashTopic | SharedStrategy::HashClient => {
                remainder(FixedState::with_seed(0).hash_one(key), count)
            }
            SharedStrategy::Random => remainder(random, count),
            SharedStrategy::LeastInflight => 0,
        };
        // Load and place of the best so far.
        let mut ready: Option<(usize, usize)> = None;
        let mut fallback: Option<(usize, usize)> = None;
        for step in 0..count {
            let at = (start + step) % count;
            match readiness(&self.members[at]) {
                Readiness::Ready(load) => {
                    if ready.is_none_or(|(least, _)| load < least) {
                        ready = Some((load, at));
                    }
                    if strategy != SharedStrategy::LeastInflight {
                        break;
                    }
                }
                Readiness::CanQueue(load) => {
                    if fallback.is_none_or(|(least, _)| load < least) {
                        fallback = Some((load, at));
                    }
                }
                Readiness::Unable => {}
            }
        }
        let (_, chosen) = ready.or(fallback)?;
        self.next = (chosen + 1) % count;
        self.favourite = Some(self.members[chosen].session);
        Some(self.members[chosen])
    }
}

fn remainder(number: u64, count: usize) -> usize {
    // `count` is not 0, and a number below it fits where it came from.
    u64::try_from(count).ok().and_then(|count| usize::try_from(number % count).ok()).unwrap_or(0)
}
