//! All topic filters as one tree of levels, so that a match costs levels and not subscriptions.
//!
//! Where only one filter goes on, its node holds all that is left of it, its tail, and there are no nodes for the
//! levels of that: mostly one node for each filter. A node fills one line of the processor's cache. The literal children
//! of all nodes are in one table, found by parent and level; the two wildcards have places of their own in the node.

use super::edges::Edges;
use crate::mqtt::TopicFilter;

/// Where a filter ends in the tree. Stays the same as long as anything hangs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(u32);

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
#[repr(align(64))]
struct Node<T> {
    parent: u32,
    /// Children of all kinds: a node without any and without a value goes.
    children: u32,
    plus: u32,
    hash: u32,
    /// The node's level, and behind it, with a slash between, its tail. Only a node without children has one.
    text: Text,
    value: T,
}

/// A part of a filter. Short ones, which most are, need no memory of their own.
#[derive(Debug)]
enum Text {
    Short(u8, [u8; Self::SHORT]),
    Long(Box<[u8]>),
}

/// A map from topic filters to values, looked up by topic names.
///
/// An empty value (`T::default()`) is no value: nodes that hold none and lead to none are removed.
#[derive(Debug)]
pub struct FilterTree<T> {
    nodes: Nodes<T>,
    edges: Edges,
    pending: Vec<Pending>,
}

/// A node that a match has come to, and how much of the topic name is left below its level.
#[derive(Debug)]
struct Pending {
    node: u32,
    /// Where in the topic name the next level begins; `None`: there is none.
    rest: Option<usize>,
}

impl<T: Default + Vacant> FilterTree<T> {
    /// An empty tree whose hash table is keyed with `seed`, which no client knows.
    pub fn new(seed: u64) -> Self {
        let mut nodes = Nodes { chunks: Vec::new(), free: Vec::new() };
        nodes.add(Node::new(NONE, ""));
        Self { nodes, edges: Edges::new(seed), pending: Vec::new() }
    }

    /// Where `filter` ends, if it is in the tree.
    pub fn find(&self, filter: &TopicFilter) -> Option<NodeKey> {
        let (mut parent, mut text) = (ROOT, filter.as_str());
        loop {
            let (level, below) = split_level(text);
            let child = self.child(parent, level)?;
            let node = self.nodes.at(child);
            if node.text.as_bytes() == text.as_bytes() {
                return Some(NodeKey(child));
            }
            if node.tail().is_some() {
                return None;
            }
            (parent, text) = (child, below?);
        }
    }

    /// The place of `filter`, made if it is not there. Whoever makes a place and leaves it empty calls
    /// [`prune`](Self::prune).
    pub fn insert(&mut self, filter: &TopicFilter) -> NodeKey {
        let (mut parent, mut text) = (ROOT, filter.as_str());
        loop {
            let (level, below) = split_level(text);
            let Some(mut child) = self.child(parent, level) else {
                return NodeKey(self.make(parent, text));
            };
            let node = self.nodes.at(child);
            if node.text.as_bytes() == text.as_bytes() {
                return NodeKey(child);
            }
            if node.tail().is_some() {
                child = self.split(child, level);
            }
            let Some(below) = below else { return NodeKey(child) };
            (parent, text) = (child, below);
        }
    }

    /// The value at a place.
    pub fn value(&self, key: NodeKey) -> &T {
        &self.nodes.at(key.0).value
    }

    /// The value at a place.
    pub fn value_mut(&mut self, key: NodeKey) -> &mut T {
        &mut self.nodes.at_mut(key.0).value
    }

    /// Removes the place if nothing hangs there any more, and those above it that then lead nowhere.
    pub fn prune(&mut self, key: NodeKey) {
        let mut index = key.0;
        while index != ROOT {
            let node = self.nodes.at(index);
            if node.children > 0 || !node.value.is_vacant() {
                return;
            }
            let parent = node.parent;
            match node.level() {
                b"+" => self.nodes.at_mut(parent).plus = NONE,
                b"#" => self.nodes.at_mut(parent).hash = NONE,
                literal => self.edges.remove(self.edges.edge(parent, literal), index),
            }
            self.nodes.at_mut(parent).children -= 1;
            self.nodes.remove(index);
            index = parent;
        }
    }

    /// The filter that ends at a place.
    pub fn filter_text(&self, key: NodeKey) -> String {
        let mut texts = Vec::new();
        let mut index = key.0;
        while index != ROOT {
            let node = self.nodes.at(index);
            texts.push(String::from_utf8_lossy(node.text.as_bytes()));
            index = node.parent;
        }
        texts.reverse();
        texts.join("/")
    }

    /// Calls `found` with the value of each filter that matches the topic `name` (MQTT 5.0 section 4.7).
    ///
    /// No recursion, so that no name of many levels can exhaust the stack, and no allocation once the scratch space
    /// has grown. Returns how many places it came to, which is what it cost.
    pub fn matching(&mut self, name: &str, mut found: impl FnMut(NodeKey, &T)) -> usize {
        let mut steps = 0;
        let name = name.as_bytes();
        // [MQTT-4.7.2-1]: a filter that begins with a wildcard does not match a name that begins with $.
        let hidden = name.first() == Some(&b'$');
        self.pending.clear();
        self.pending.push(Pending { node: ROOT, rest: Some(0) });
        while let Some(Pending { node: index, rest }) = self.pending.pop() {
            steps += 1;
            let node = self.nodes.at(index);
            if let Some(tail) = node.tail() {
                if tail_matches(tail, rest.and_then(|rest| name.get(rest..))) {
                    found(NodeKey(index), &node.value);
                }
                continue;
            }
            let takes_wildcards = !(hidden && index == ROOT);
            if node.hash != NONE && takes_wildcards {
                // [MQTT-4.7.1-2]: '#' matches its parent level too.
                found(NodeKey(node.hash), &self.nodes.at(node.hash).value);
            }
            let Some(rest) = rest else {
                found(NodeKey(index), &node.value);
                continue;
            };
            if node.children == 0 {
                continue;
            }
            let below = name.get(rest..).unwrap_or_default();
            let end = below.iter().position(|&byte| byte == b'/');
            let level = below.get(..end.unwrap_or(below.len())).unwrap_or_default();
            let rest = end.map(|end| rest + end + 1);
            if node.plus != NONE && takes_wildcards {
                self.pending.push(Pending { node: node.plus, rest });
            }
            if let Some(child) = self.literal_child(index, level) {
                self.pending.push(Pending { node: child, rest });
            }
        }
        steps
    }

    /// All values, those of places that are free again among them: these are vacant.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.nodes.chunks.iter().flatten().map(|node| &node.value)
    }

    /// How many places there are, the root not counted.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The child for a level of a filter.
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let wildcard = match level {
            "+" => self.nodes.at(parent).plus,
            "#" => self.nodes.at(parent).hash,
            literal => return self.literal_child(parent, literal.as_bytes()),
        };
        (wildcard != NONE).then_some(wildcard)
    }

    fn literal_child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        self.edges.find(self.edges.edge(parent, level), |index| {
            let node = self.nodes.at(index);
            node.parent == parent && node.has_level(level)
        })
    }

    /// Makes a node for all of a text.
    fn make(&mut self, parent: u32, text: &str) -> u32 {
        let made = self.nodes.add(Node::new(parent, text));
        self.link(made);
        made
    }

    /// Makes a node for the level alone of a node that has a tail. The latter goes below it, with its tail.
    fn split(&mut self, index: u32, level: &str) -> u32 {
        let parent = self.nodes.at(index).parent;
        let above = self.nodes.add(Node::new(parent, level));
        match level {
            "+" => self.nodes.at_mut(parent).plus = above,
            literal => self.edges.redirect(self.edges.edge(parent, literal.as_bytes()), index, above),
        }
        let node = self.nodes.at_mut(index);
        node.parent = above;
        node.text = Text::of(node.tail().unwrap_or_default());
        self.link(index);
        above
    }

    /// Makes a node known to its parent.
    fn link(&mut self, index: u32) {
        let node = self.nodes.at(index);
        let parent = node.parent;
        match node.level() {
            b"+" => self.nodes.at_mut(parent).plus = index,
            b"#" => self.nodes.at_mut(parent).hash = index,
            literal => self.edges.insert(self.edges.edge(parent, literal), index),
        }
        self.nodes.at_mut(parent).children += 1;
    }
}

/// Whether a value is as good as none.
pub trait Vacant {
    /// Whether nothing is here.
    fn is_vacant(&self) -> bool;
}

impl<T: Default> Node<T> {
    fn new(parent: u32, text: &str) -> Self {
        let text = Text::of(text.as_bytes());
        Self { parent, children: 0, plus: NONE, hash: NONE, text, value: T::default() }
    }
}

impl<T> Node<T> {
    fn level(&self) -> &[u8] {
        let text = self.text.as_bytes();
        let end = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
        text.get(..end).unwrap_or_default()
    }

    fn has_level(&self, level: &[u8]) -> bool {
        let behind = self.text.as_bytes().strip_prefix(level);
        behind.is_some_and(|behind| matches!(behind.first(), None | Some(b'/')))
    }

    fn tail(&self) -> Option<&[u8]> {
        if self.children > 0 {
            return None;
        }
        let text = self.text.as_bytes();
        let end = text.iter().position(|&byte| byte == b'/')?;
        text.get(end + 1..)
    }
}

/// The nodes, by number, in pieces: no more of them than there are ever moves when there is one more.
#[derive(Debug)]
struct Nodes<T> {
    chunks: Vec<Vec<Node<T>>>,
    free: Vec<u32>,
}

impl<T: Default> Nodes<T> {
    const CHUNK: usize = 1_024;

    fn at(&self, index: u32) -> &Node<T> {
        let index = to_usize(index);
        &self.chunks[index / Self::CHUNK][index % Self::CHUNK]
    }

    fn at_mut(&mut self, index: u32) -> &mut Node<T> {
        let index = to_usize(index);
        &mut self.chunks[index / Self::CHUNK][index % Self::CHUNK]
    }

    fn add(&mut self, node: Node<T>) -> u32 {
        if let Some(index) = self.free.pop() {
            *self.at_mut(index) = node;
            return index;
        }
        let index = self.places();
        match self.chunks.last_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push(node),
            _ => {
                let mut chunk = Vec::with_capacity(Self::CHUNK);
                chunk.push(node);
                self.chunks.push(chunk);
            }
        }
        to_index(index)
    }

    fn remove(&mut self, index: u32) {
        // Gives back the memory of a long text.
        *self.at_mut(index) = Node::new(NONE, "");
        self.free.push(index);
    }

    fn len(&self) -> usize {
        self.places() - self.free.len()
    }

    /// Those that are free again among them.
    fn places(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * Self::CHUNK + last.len())
    }
}

impl Text {
    /// As much as fits beside the length and the tag into the space that a long text takes.
    const SHORT: usize = 22;

    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; Self::SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(text);
                Self::Short(len, bytes)
            }
            _ => Self::Long(Box::from(text)),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// The first level of a filter, and what stands behind the slash after it.
fn split_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, below)| (level, Some(below)))
}

/// Whether the rest of a filter matches the rest of a name; `None`: nothing is left of the name.
fn tail_matches(tail: &[u8], rest: Option<&[u8]>) -> bool {
    // A name holds no wildcards: what is equal matches, and that is what most tails are.
    if rest == Some(tail) {
        return true;
    }
    let mut names = rest.map(|rest| rest.split(|&byte| byte == b'/')).into_iter().flatten();
    for level in tail.split(|&byte| byte == b'/') {
        if level == b"#" {
            return true;
        }
        match names.next() {
            Some(name) if level == b"+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[expect(clippy::expect_used, reason = "four thousand million nodes do not fit into memory")]
fn to_index(index: usize) -> u32 {
    u32::try_from(index).ok().filter(|&index| index != NONE).expect("fewer than 2^32 - 1 nodes")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mqtt::TopicName;

    impl Vacant for Vec<u32> {
        fn is_vacant(&self) -> bool {
            self.is_empty()
        }
    }

    fn tree(filters: &[&str]) -> FilterTree<Vec<u32>> {
        let mut tree: FilterTree<Vec<u32>> = FilterTree::new(7);
        for (number, filter) in filters.iter().enumerate() {
            let key = tree.insert(&TopicFilter::parse(filter).unwrap());
            tree.value_mut(key).push(u32::try_from(number).unwrap());
        }
        tree
    }

    #[track_caller]
    fn check(filters: &[&str], name: &str, expected: &[&str]) {
        let mut tree = tree(filters);
        let mut seen = Vec::new();
        tree.matching(name, |key, value| {
            if !value.is_empty() {
                seen.push(key);
            }
        });
        let mut seen: Vec<_> = seen.into_iter().map(|key| tree.filter_text(key)).collect();
        seen.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(seen, expected, "{name}");
        let name = TopicName::parse(name).unwrap();
        let mut naive: Vec<_> = filters
            .iter()
            .copied()
            .filter(|filter| TopicFilter::parse(filter).unwrap().matches(&name))
            .collect();
        naive.sort_unstable();
        naive.dedup();
        assert_eq!(expected, naive, "naive matching agrees");
    }

    #[test]
    fn wildcards_match_as_the_standard_says() {
        let filters =
            ["#", "+", "a", "a/#", "a/+", "a/b", "+/b", "+/+", "/+", "/", "a//b", "+/#", "a/b/#", "a/+/c"];
        check(&filters, "a", &["#", "+", "a", "a/#", "+/#"]);
        check(&filters, "a/b", &["#", "a/#", "a/+", "a/b", "+/b", "+/+", "+/#", "a/b/#"]);
        check(&filters, "/b", &["#", "+/b", "+/+", "/+", "+/#"]);
        check(&filters, "/", &["#", "+/+", "/+", "/", "+/#"]);
        check(&filters, "a//b", &["#", "a/#", "a//b", "+/#"]);
        check(&filters, "a/x/c", &["#", "a/#", "a/+/c", "+/#"]);
    }

    #[test]
    fn names_that_begin_with_a_dollar_hide_from_leading_wildcards() {
        let filters = ["#", "+/a", "$SYS/#", "$SYS/+", "$SYS/a"];
        check(&filters, "$SYS/a", &["$SYS/#", "$SYS/+", "$SYS/a"]);
        check(&filters, "$SYS", &["$SYS/#"]);
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let filters = ["a/b/c", "a/+/c", "a/#", "+", "x/a level of more than two dozen characters/z/+/#"];
        let mut tree = tree(&filters);
        for filter in filters {
            let filter = TopicFilter::parse(filter).unwrap();
            let key = tree.find(&filter).unwrap();
            assert_eq!(tree.filter_text(key), filter.as_str());
            tree.value_mut(key).clear();
            tree.prune(key);
            assert_eq!(tree.find(&filter), None);
        }
        assert!(tree.is_empty());
        assert!(tree.edges.is_empty());
        let key = tree.insert(&TopicFilter::parse("a/b").unwrap());
        assert_eq!(tree.filter_text(key), "a/b");
    }

    #[test]
    fn a_node_fills_one_line_of_the_cache() {
        assert_eq!(size_of::<Node<[u64; 3]>>(), 64);
    }

    #[test]
    fn filters_that_come_and_go_match_as_the_standard_says() {
        let levels = ["", "a", "bb", "+", "#", "a level of more than two dozen characters"];
        let mut filters = Vec::new();
        for one in levels {
            filters.push(one.to_owned());
            for two in levels {
                filters.push(format!("{one}/{two}"));
                for three in levels {
                    filters.push(format!("{one}/{two}/{three}"));
                    filters.push(format!("{one}/{two}/{three}/a"));
                }
            }
        }
        let filters: Vec<TopicFilter> =
            filters.iter().filter_map(|filter| TopicFilter::parse(filter).ok()).collect();
        let names: Vec<TopicName> =
            filters.iter().filter_map(|it| TopicName::parse(it.as_str()).ok()).collect();
        let mut tree: FilterTree<Vec<u32>> = FilterTree::new(7);
        let mut keys = BTreeMap::new();
        let mut state = 1_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = usize::try_from(state >> 40).unwrap();
            let filter = &filters[random % filters.len()];
            // From few to many and back, so that tails are split and branches pruned.
            let wanted = (random / filters.len()) % 4_000 < step % 4_000;
            if wanted {
                let key = *keys.entry(filter).or_insert_with(|| tree.insert(filter));
                tree.value_mut(key).push(1);
                assert_eq!(tree.find(filter), Some(key), "{filter}");
                assert_eq!(tree.filter_text(key), filter.as_str());
            } else if let Some(key) = keys.remove(filter) {
                tree.value_mut(key).clear();
                tree.prune(key);
                assert_eq!(tree.find(filter).filter(|key| !tree.value(*key).is_empty()), None, "{filter}");
            }
            let name = &names[random % names.len()];
            let mut seen = Vec::new();
            tree.matching(name.as_str(), |key, value| seen.extend((!value.is_empty()).then_some(key)));
            seen.sort_unstable();
            let mut expected: Vec<_> =
                keys.iter().filter(|(filter, _)| filter.matches(name)).map(|(_, key)| *key).collect();
            expected.sort_unstable();
            assert_eq!(seen, expected, "{name}");
        }
        for key in keys.into_values() {
            tree.value_mut(key).clear();
            tree.prune(key);
        }
        assert!(tree.is_empty() && tree.edges.is_empty());
    }
}
