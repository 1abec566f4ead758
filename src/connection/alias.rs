//! Topic aliases (MQTT 5.0 section 3.3.2.3.4): numbers that stand for topics, one table for each direction.

use std::collections::BTreeMap;

use super::error::ProtocolError;
use crate::mqtt::packet::Publish;
use crate::mqtt::{ReasonCode, TopicAlias, TopicName};

/// The aliases that the client has given. Grows with the aliases in use, not with the maximum.
#[derive(Debug)]
pub(super) struct InboundAliases {
    maximum: u16,
    topics: BTreeMap<u16, TopicName>,
}

impl InboundAliases {
    /// Aliases up to `maximum`; 0: none.
    pub(super) const fn new(maximum: u16) -> Self {
        Self { maximum, topics: BTreeMap::new() }
    }

    /// Sees to it that the PUBLISH names its topic.
    pub(super) fn resolve(&mut self, publish: &mut Publish) -> Result<(), ProtocolError> {
        let Some(alias) = publish.topic_alias else {
            return match publish.topic {
                Some(_) => Ok(()),
                None => Err(ProtocolError::protocol("a PUBLISH names neither a topic nor an alias")),
            };
        };
        // [MQTT-3.3.2-9]
        if alias.get() > self.maximum {
            return Err(ProtocolError::because(
                ReasonCode::TopicAliasInvalid,
                "a topic alias is larger than Topic Alias Maximum",
            ));
        }
        if let Some(topic) = &publish.topic {
            self.topics.insert(alias.get(), topic.clone());
            return Ok(());
        }
        match self.topics.get(&alias.get()) {
            Some(topic) => {
                publish.topic = Some(topic.clone());
                Ok(())
            }
            None => Err(ProtocolError::protocol("a topic alias stands for no topic yet")),
        }
    }
}

/// The aliases that we give: to each topic as it comes, the least recently used giving way.
#[derive(Debug)]
pub(super) struct OutboundAliases {
    maximum: u16,
    by_topic: BTreeMap<TopicName, Entry>,
    /// The topics in the order of their last use.
    by_use: BTreeMap<u64, TopicName>,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    alias: TopicAlias,
    used: u64,
}

impl OutboundAliases {
    /// Aliases up to `maximum`.
    pub(super) const fn new(maximum: u16) -> Self {
        Self { maximum, by_topic: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// The alias that the client knows for `topic`, which is used now.
    pub(super) fn known(&mut self, topic: &TopicName) -> Option<TopicAlias> {
        let entry = self.by_topic.get_mut(topic)?;
        self.uses += 1;
        if let Some(name) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.uses, name);
        }
        entry.used = self.uses;
        Some(entry.alias)
    }

    /// The alias that a new topic would be given: a free one, or that of the topic that was not used for longest.
    pub(super) fn next(&self) -> Option<TopicAlias> {
        let given = u16::try_from(self.by_topic.len()).unwrap_or(u16::MAX);
        if given < self.maximum {
            return TopicAlias::new(given + 1);
        }
        let oldest = self.by_use.values().next()?;
        self.by_topic.get(oldest).map(|entry| entry.alias)
    }

    /// The client has been told that `alias`, which [`next`](Self::next) returned, stands for `topic` from now on.
    pub(super) fn assign(&mut self, alias: TopicAlias, topic: &TopicName) {
        if self.by_topic.len() >= usize::from(self.maximum)
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_topic.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, topic.clone());
        self.by_topic.insert(topic.clone(), Entry { alias, used: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::QoS;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn publish(name: Option<&str>, alias: Option<u16>) -> Publish {
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: name.map(topic),
            topic_alias: alias.and_then(TopicAlias::new),
            packet_id: None,
            payload: Bytes::new(),
            properties: None,
        }
    }

    #[track_caller]
    fn resolves(aliases: &mut InboundAliases, name: Option<&str>, alias: Option<u16>, expected: &str) {
        let mut publish = publish(name, alias);
        aliases.resolve(&mut publish).unwrap();
        assert_eq!(publish.topic, Some(topic(expected)));
    }

    #[test]
    fn an_alias_stands_for_the_topic_it_was_last_given() {
        let mut aliases = InboundAliases::new(2);
        resolves(&mut aliases, Some("a"), Some(1), "a");
        resolves(&mut aliases, None, Some(1), "a");
        resolves(&mut aliases, Some("b"), Some(1), "b");
        resolves(&mut aliases, None, Some(1), "b");
        resolves(&mut aliases, Some("c"), None, "c");
    }

    #[test]
    fn aliases_that_cannot_be_resolved_are_refused() {
        let mut aliases = InboundAliases::new(2);
        let mut refusal = |name, alias| aliases.resolve(&mut publish(name, alias)).unwrap_err().reason;
        assert_eq!(refusal(Some("a"), Some(3)), ReasonCode::TopicAliasInvalid);
        assert_eq!(refusal(None, Some(2)), ReasonCode::ProtocolError);
        assert_eq!(refusal(None, None), ReasonCode::ProtocolError);
    }

    /// Uses `topic` as a sender does. Returns its alias and whether the client knew it.
    fn using(aliases: &mut OutboundAliases, name: &str) -> (u16, bool) {
        let topic = topic(name);
        if let Some(alias) = aliases.known(&topic) {
            return (alias.get(), true);
        }
        let alias = aliases.next().unwrap();
        aliases.assign(alias, &topic);
        (alias.get(), false)
    }

    #[test]
    fn the_least_recently_used_topic_gives_its_alias_away() {
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(using(&mut aliases, "a"), (1, false));
        assert_eq!(using(&mut aliases, "b"), (2, false));
        assert_eq!(using(&mut aliases, "a"), (1, true));
        assert_eq!(using(&mut aliases, "c"), (2, false));
        assert_eq!(using(&mut aliases, "b"), (1, false));
        assert_eq!(using(&mut aliases, "c"), (2, true));
    }
}
