//! The retained messages (MQTT 5.0 section 3.3.1.3): one for each topic that has one, in an order in which all topics
//! below a level stand together, so that a filter is answered by skipping from match to match.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::record::Number;
use crate::clock::Instant;
use crate::mqtt::{ClientId, Message, TopicFilter, TopicName};

/// All retained messages.
#[derive(Debug, Default)]
pub struct RetainedStore {
    entries: BTreeSet<Retained>,
    /// Those that expire, the next one first.
    expiries: BTreeSet<(Instant, TopicName)>,
    bytes: usize,
}

/// One retained message.
#[derive(Debug, Clone)]
pub struct Retained {
    /// The message.
    pub message: Arc<Message>,
    /// Who published it, for subscriptions with No Local \[MQTT-3.8.3-3\].
    pub publisher: ClientId,
    /// Its number, if the journal holds it.
    pub kept: Option<Number>,
}

/// What one step of a search came to.
#[derive(Debug)]
pub enum Step {
    /// A match. The search goes on behind its topic.
    Match(Retained),
    /// No match, but the search goes on from here.
    Continue(Position),
    /// There are no more matches.
    Done,
}

/// Where a search goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// At this topic, or what follows where it would stand.
    At(Box<str>),
    /// Behind this topic.
    Behind(TopicName),
}

impl Position {
    /// Where the search for `filter` begins.
    pub fn start(filter: &TopicFilter) -> Self {
        let literal: Vec<&str> = filter.levels().take_while(|level| !matches!(*level, "+" | "#")).collect();
        Self::At(Box::from(literal.join("/")))
    }
}

impl RetainedStore {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes they occupy, by and large.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message of this topic.
    pub fn find(&self, topic: &str) -> Option<&Retained> {
        self.entries.get::<dyn Topic>(&topic)
    }

    /// Makes this the message of its topic, in place of the one that was, which is given back.
    pub fn insert(&mut self, entry: Retained) -> Option<Retained> {
        self.bytes += entry.message.footprint();
        let (topic, expires_at) = (entry.message.topic.clone(), entry.message.expires_at);
        let replaced = self.entries.replace(entry).inspect(|replaced| self.forget(replaced));
        if let Some(at) = expires_at {
            self.expiries.insert((at, topic));
        }
        replaced
    }

    /// Forgets the message of this topic, and gives it back.
    pub fn remove(&mut self, topic: &str) -> Option<Retained> {
        let entry = self.entries.take::<dyn Topic>(&topic)?;
        self.forget(&entry);
        Some(entry)
    }

    /// One that is not in the store any more does not count.
    fn forget(&mut self, entry: &Retained) {
        self.bytes -= entry.message.footprint();
        if let Some(at) = entry.message.expires_at {
            self.expiries.remove(&(at, entry.message.topic.clone()));
        }
    }

    /// When the next one expires.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Forgets those that have expired, at most `most` of them, and gives them back.
    pub fn expire(&mut self, now: Instant, most: usize) -> Vec<Retained> {
        let mut expired = Vec::new();
        while expired.len() < most
            && let Some((at, topic)) = self.expiries.first()
            && *at <= now
        {
            let topic = topic.clone();
            expired.extend(self.remove(topic.as_str()));
        }
        expired
    }

    /// Looks at one candidate for `filter`, the first at or behind `position`.
    pub fn step(&self, filter: &TopicFilter, position: &Position) -> Step {
        let lower: Bound<&dyn Topic> = match position {
            Position::At(topic) => Bound::Included(topic),
            Position::Behind(topic) => Bound::Excluded(topic),
        };
        let Some(candidate) = self.entries.range::<dyn Topic, _>((lower, Bound::Unbounded)).next() else {
            return Step::Done;
        };
        let name = &candidate.message.topic;
        match compare(filter, name.as_str()) {
            Comparison::Match => Step::Match(candidate.clone()),
            Comparison::Next => Step::Continue(Position::Behind(name.clone())),
            Comparison::Seek(topic) => Step::Continue(Position::At(topic.into())),
            Comparison::Past => Step::Done,
        }
    }

    /// All messages, in order of their topics.
    pub fn iter(&self) -> impl Iterator<Item = &Retained> {
        self.entries.iter()
    }
}

enum Comparison {
    Match,
    /// No match; the next topic may be one.
    Next,
    /// No match, and none before this.
    Seek(String),
    /// No match, and none behind.
    Past,
}

fn compare(filter: &TopicFilter, name: &str) -> Comparison {
    let mut names = name.split('/');
    // The bytes of the levels that have been compared, with the slashes between them.
    let mut compared = 0;
    let mut seen_wildcard = false;
    for (depth, wanted) in filter.levels().enumerate() {
        let hidden = depth == 0 && name.starts_with('$');
        if wanted == "#" && !hidden {
            return Comparison::Match;
        }
        let Some(level) = names.next() else {
            // A parent of what is wanted: what is wanted may follow.
            return Comparison::Next;
        };
        let with_level = if depth == 0 { level.len() } else { compared + 1 + level.len() };
        if matches!(wanted, "+" | "#") {
            if hidden {
                // [MQTT-4.7.2-1]: pass over all that begins with this level.
                return Comparison::Seek(behind_all_below(name, with_level));
            }
            seen_wildcard = true;
        } else {
            match by_levels(level, wanted) {
                Ordering::Equal => {}
                Ordering::Less => {
                    let mut topic = String::from(name.get(..compared).unwrap_or_default());
                    if depth > 0 {
                        topic.push('/');
                    }
                    topic.push_str(wanted);
                    return Comparison::Seek(topic);
                }
                Ordering::Greater if !seen_wildcard => return Comparison::Past,
                Ordering::Greater => return Comparison::Seek(behind_all_below(name, compared)),
            }
        }
        compared = with_level;
    }
    if names.next().is_none() {
        Comparison::Match
    } else if seen_wildcard {
        Comparison::Seek(behind_all_below(name, compared))
    } else {
        Comparison::Past
    }
}

/// Where the topics stand that follow the first `len` bytes of `name` and all that is below them: U+0001 is the
/// smallest character of a topic, but for the slash, which sorts before all others here.
fn behind_all_below(name: &str, len: usize) -> String {
    let mut topic = String::from(name.get(..len).unwrap_or_default());
    topic.push('\u{1}');
    topic
}

/// Anything that can be looked up as a topic.
trait Topic {
    fn text(&self) -> &str;
}

impl Topic for Retained {
    fn text(&self) -> &str {
        self.message.topic.as_str()
    }
}

impl Topic for TopicName {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Topic for &str {
    fn text(&self) -> &str {
        self
    }
}

impl Topic for Box<str> {
    fn text(&self) -> &str {
        self
    }
}

impl<'a> Borrow<dyn Topic + 'a> for Retained {
    fn borrow(&self) -> &(dyn Topic + 'a) {
        self
    }
}

/// The order of topics: as text, but with the slash before every other character, so that what is below a level
/// follows it at once.
fn by_levels(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let rank = |bytes: &[u8]| bytes.get(common).map(|&byte| if byte == b'/' { 0 } else { byte });
    rank(one).cmp(&rank(other))
}

impl PartialEq for dyn Topic + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for dyn Topic + '_ {}

impl PartialOrd for dyn Topic + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Topic + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_levels(self.text(), other.text())
    }
}

impl PartialEq for Retained {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Retained {}

impl PartialOrd for Retained {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Retained {
    fn cmp(&self, other: &Self) -> Ordering {
        by_levels(self.text(), other.text())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::mqtt::{Places, QoS};

    fn message(topic: &str, expires_at: Option<Instant>) -> Arc<Message> {
        Arc::new(Message {
            topic: TopicName::parse(topic).unwrap(),
            payload: Bytes::from_static(b"x"),
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at,
            properties: None,
            places: Places::default(),
        })
    }

    fn retained(topic: &str, expires_at: Option<Instant>) -> Retained {
        Retained { message: message(topic, expires_at), publisher: ClientId::new("c"), kept: None }
    }

    fn store(topics: &[&str]) -> RetainedStore {
        let mut store = RetainedStore::default();
        for topic in topics {
            store.insert(retained(topic, None));
        }
        store
    }

    /// All matches, and the steps it took to find them.
    fn search(store: &RetainedStore, filter: &str) -> (Vec<String>, usize) {
        let filter = TopicFilter::parse(filter).unwrap();
        let (mut found, mut steps) = (Vec::new(), 0);
        let mut position = Position::start(&filter);
        loop {
            steps += 1;
            match store.step(&filter, &position) {
                Step::Match(retained) => {
                    found.push(retained.message.topic.as_str().to_owned());
                    position = Position::Behind(retained.message.topic.clone());
                }
                Step::Continue(next) => {
                    assert_ne!(next, position, "a search moves");
                    position = next;
                }
                Step::Done => return (found, steps),
            }
        }
    }

    #[test]
    fn a_search_finds_what_matches_and_nothing_else() {
        let alphabet = ["", "a", "b", "a!", "a/", "$S", "ab", "\u{1}"];
        let mut topics = Vec::new();
        for one in alphabet {
            topics.push(one.to_owned());
            for two in alphabet {
                topics.push(format!("{one}/{two}"));
                for three in alphabet {
                    topics.push(format!("{one}/{two}/{three}"));
                }
            }
        }
        topics.retain(|topic| !topic.is_empty());
        topics.sort();
        topics.dedup();
        let texts: Vec<&str> = topics.iter().map(String::as_str).collect();
        let store = store(&texts);
        assert_eq!(store.len(), topics.len());
        let levels = ["+", "a", "b", "", "ab", "$S", "zz", "a!"];
        let mut filters = vec!["#".to_owned()];
        for one in levels {
            filters.push(one.to_owned());
            filters.push(format!("{one}/#"));
            for two in levels {
                filters.push(format!("{one}/{two}"));
                filters.push(format!("{one}/{two}/#"));
                for three in levels {
                    filters.push(format!("{one}/{two}/{three}"));
                }
            }
        }
        for filter in filters.iter().filter(|filter| !filter.is_empty()) {
            let parsed = TopicFilter::parse(filter).unwrap();
            let mut expected: Vec<_> = topics
                .iter()
                .filter(|topic| parsed.matches(&TopicName::parse(topic).unwrap()))
                .cloned()
                .collect();
            expected.sort_by(|one, other| by_levels(one, other));
            assert_eq!(search(&store, filter).0, expected, "{filter}");
        }
    }

    #[test]
    fn a_search_skips_what_cannot_match() {
        let topics: Vec<String> =
            (0..100).flat_map(|one| (0..100).map(move |two| format!("dev/{one}/value/{two}"))).collect();
        let store = store(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        let (found, steps) = search(&store, "dev/+/value/7");
        assert_eq!(found.len(), 100);
        assert!(steps < 500, "{steps} steps");
        assert!(search(&store, "dev/5/value/5").1 < 4);
        assert!(search(&store, "other/#").1 < 3);
    }

    #[test]
    fn what_expires_is_forgotten_and_bytes_add_up() {
        let mut store = RetainedStore::default();
        let at = |seconds| Instant::from_start(Duration::from_secs(seconds));
        assert!(store.insert(retained("a", Some(at(5)))).is_none());
        assert!(store.insert(retained("b", Some(at(3)))).is_none());
        assert!(store.insert(retained("a", Some(at(9)))).is_some());
        assert_eq!(store.deadline(), Some(at(3)));
        assert_eq!(store.expire(at(8), 10).len(), 1);
        assert_eq!((store.len(), store.deadline()), (1, Some(at(9))));
        assert_eq!(store.expire(at(9), 10).len(), 1);
        assert!(store.is_empty());
        assert_eq!((store.bytes(), store.deadline()), (0, None));
    }
}
