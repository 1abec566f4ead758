//! Response topics (MQTT 5.0 section 4.10): a client that asks for response information gets a prefix, `res_` and 32
//! hexadecimal digits and a slash, for topics to which anybody may publish and only it may subscribe.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::memory::RESPONSE_TOPIC;
use super::session::SessionKey;

/// Whose the response topics are.
#[derive(Debug)]
pub(super) struct ResponseTopics {
    owners: HashMap<Arc<str>, SessionKey, FixedState>,
    secret: u64,
    made: u64,
}

const PREFIX: &str = "res_";
const DIGITS: usize = 32;

/// Whose a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Everybody's, as the rules say.
    Ordinary,
    /// It is the response topic of this session.
    Of(SessionKey),
    /// It was the response topic of a session that has ended, or of none.
    Nobody,
}

impl ResponseTopics {
    pub(super) fn new(seed: u64) -> Self {
        Self { owners: HashMap::with_hasher(FixedState::with_seed(seed)), secret: seed, made: 0 }
    }

    /// A first level for response topics that nobody can guess from others, now of `owner`.
    pub(super) fn assign(&mut self, owner: SessionKey) -> Arc<str> {
        let level: Arc<str> = format!("{PREFIX}{}", self.identifier()).into();
        self.owners.insert(Arc::clone(&level), owner);
        level
    }

    /// The level was given to `owner` before the broker was started.
    pub(super) fn restore(&mut self, level: Arc<str>, owner: SessionKey) {
        self.owners.insert(level, owner);
    }

    /// The bytes that they occupy.
    pub(super) fn bytes(&self) -> usize {
        self.owners.len() * RESPONSE_TOPIC
    }

    pub(super) fn forget(&mut self, level: &str) {
        self.owners.remove(level);
    }

    /// Whether a topic or filter is one for responses, and whose.
    ///
    /// What looks like a response topic is one, even if its owner has gone: a response that comes too late is for
    /// nobody.
    pub(super) fn ownership(&self, topic: &str) -> Ownership {
        let Some(rest) = topic.strip_prefix(PREFIX) else { return Ownership::Ordinary };
        let digits = rest.split('/').next().unwrap_or_default();
        let is_ours =
            digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_ours {
            return Ownership::Ordinary;
        }
        let level = topic.get(..PREFIX.len() + DIGITS).unwrap_or_default();
        self.owners.get(level).map_or(Ownership::Nobody, |owner| Ownership::Of(*owner))
    }

    /// 32 hexadecimal digits that were never given out before in this run and do not tell the next ones.
    pub(super) fn identifier(&mut self) -> String {
        let half = |which: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.secret);
            hasher.write_u64(self.made);
            hasher.write_u8(which);
            hasher.finish()
        };
        let (high, low) = (half(0), half(1));
        self.made += 1;
        format!("{high:016x}{low:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_topic_has_an_owner_until_it_is_forgotten() {
        let mut topics = ResponseTopics::new(5);
        let (one, other) = (SessionKey::from_raw(1), SessionKey::from_raw(2));
        let level = topics.assign(one);
        assert_ne!(topics.assign(other), level);
        assert_eq!(level.len(), 36);
        assert_eq!(topics.ownership(&format!("{level}/x")), Ownership::Of(one));
        assert_eq!(topics.ownership(&level), Ownership::Of(one));
        assert_eq!(topics.ownership(&format!("{level}x")), Ownership::Ordinary);
        assert_eq!(topics.ownership("other"), Ownership::Ordinary);
        topics.forget(&level);
        assert_eq!(topics.ownership(&format!("{level}/x")), Ownership::Nobody);
    }
}
