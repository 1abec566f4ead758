//! All topic filters as one tree of levels, so that a match costs levels and not subscriptions.
//!
//! Nodes live in a slab, each with the text of its level, so that a step down costs one look into the table of edges
//! and one at the node. The literal children of all nodes are in that one table, found by parent and text; the two
//! wildcards have places of their own in the node.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::mqtt::TopicFilter;

/// Where a filter ends in the tree. Stays the same as long as anything hangs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(u32);

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<T> {
    parent: u32,
    /// Children of all kinds: a node without any and without a value goes.
    children: u32,
    plus: u32,
    hash: u32,
    level: Level,
    value: T,
}

/// What a level of a filter says. Short texts, which most are, need no memory of their own.
#[derive(Debug, PartialEq, Eq)]
enum Level {
    Plus,
    Hash,
    Short(u8, [u8; Self::SHORT]),
    Long(Box<str>),
}

/// A map from topic filters to values, looked up by topic names.
///
/// An empty value (`T::default()`) is no value: nodes that hold none and lead to none are removed.
#[derive(Debug)]
pub struct FilterTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    /// Literal children, by parent and text.
    edges: HashTable<u32>,
    hasher: FixedState,
    pending: Vec<Pending>,
}

/// A node that a match has come to, and how much of the topic name is left below it.
#[derive(Debug)]
struct Pending {
    node: u32,
    /// Where in the topic name the next level begins; `None`: there is none.
    rest: Option<usize>,
}

impl<T: Default + Vacant> FilterTree<T> {
    /// An empty tree whose hash table is keyed with `seed`, which no client knows.
    pub fn new(seed: u64) -> Self {
        let root = Node {
            parent: NONE,
            children: 0,
            plus: NONE,
            hash: NONE,
            level: Level::Hash,
            value: T::default(),
        };
        Self {
            nodes: vec![root],
            free: Vec::new(),
            edges: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            pending: Vec::new(),
        }
    }

    /// Where `filter` ends, if it is in the tree.
    pub fn find(&self, filter: &TopicFilter) -> Option<NodeKey> {
        let end = filter.levels().try_fold(ROOT, |node, text| self.child(node, text))?;
        Some(NodeKey(end))
    }

    /// The place of `filter`, made if it is not there. Whoever makes a place and leaves it empty calls
    /// [`prune`](Self::prune).
    pub fn insert(&mut self, filter: &TopicFilter) -> NodeKey {
        let end = filter
            .levels()
            .fold(ROOT, |node, text| self.child(node, text).unwrap_or_else(|| self.make(node, text)));
        NodeKey(end)
    }

    /// The value at a place.
    pub fn value(&self, key: NodeKey) -> &T {
        &self.node(key.0).value
    }

    /// The value at a place.
    pub fn value_mut(&mut self, key: NodeKey) -> &mut T {
        &mut self.node_mut(key.0).value
    }

    /// Removes the place if nothing hangs there any more, and those above it that then lead nowhere.
    pub fn prune(&mut self, key: NodeKey) {
        let mut index = key.0;
        while index != ROOT {
            let node = self.node(index);
            if node.children > 0 || !node.value.is_vacant() {
                return;
            }
            let parent = node.parent;
            match &node.level {
                Level::Plus => self.node_mut(parent).plus = NONE,
                Level::Hash => self.node_mut(parent).hash = NONE,
                literal @ (Level::Short(..) | Level::Long(_)) => {
                    let hash = edge_hash(&self.hasher, parent, literal.text());
                    if let Ok(entry) = self.edges.find_entry(hash, |&other| other == index) {
                        entry.remove();
                    }
                }
            }
            self.node_mut(parent).children -= 1;
            self.node_mut(index).level = Level::Hash; // Gives back the memory of a long text.
            self.free.push(index);
            index = parent;
        }
    }

    /// The filter that ends at a place.
    pub fn filter_text(&self, key: NodeKey) -> String {
        let mut levels = Vec::new();
        let mut index = key.0;
        while index != ROOT {
            let node = self.node(index);
            levels.push(String::from_utf8_lossy(node.level.text()));
            index = node.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// Calls `found` with the value of each filter that matches the topic `name` (MQTT 5.0 section 4.7).
    ///
    /// No recursion, so that no name of many levels can exhaust the stack, and no allocation once the scratch space
    /// has grown. Returns how many places it came to, which is what it cost.
    pub fn matching(&mut self, name: &str, mut found: impl FnMut(NodeKey, &T)) -> usize {
        let mut steps = 0;
        let mut pending = std::mem::take(&mut self.pending);
        // [MQTT-4.7.2-1]: a filter that begins with a wildcard does not match a name that begins with $.
        let hidden = name.starts_with('$');
        pending.push(Pending { node: ROOT, rest: Some(0) });
        while let Some(Pending { node: index, rest }) = pending.pop() {
            steps += 1;
            let node = self.node(index);
            let takes_wildcards = !(hidden && index == ROOT);
            if node.hash != NONE && takes_wildcards {
                // [MQTT-4.7.1-2]: '#' matches its parent level too.
                found(NodeKey(node.hash), &self.node(node.hash).value);
            }
            let Some(rest) = rest else {
                found(NodeKey(index), &node.value);
                continue;
            };
            if node.children == 0 {
                continue;
            }
            let below = name.get(rest..).unwrap_or_default();
            let (text, rest) = match below.as_bytes().iter().position(|&byte| byte == b'/') {
                Some(end) => (below.get(..end).unwrap_or_default(), Some(rest + end + 1)),
                None => (below, None),
            };
            if node.plus != NONE && takes_wildcards {
                pending.push(Pending { node: node.plus, rest });
            }
            if let Some(child) = self.literal_child(index, text.as_bytes()) {
                pending.push(Pending { node: child, rest });
            }
        }
        self.pending = pending;
        steps
    }

    /// All values, those of places that are free again among them: these are vacant.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().map(|node| &node.value)
    }

    /// How many places there are, the root not counted.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len() - 1
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The child for a level of a filter.
    fn child(&self, parent: u32, text: &str) -> Option<u32> {
        let wildcard = match text {
            "+" => self.node(parent).plus,
            "#" => self.node(parent).hash,
            text => return self.literal_child(parent, text.as_bytes()),
        };
        (wildcard != NONE).then_some(wildcard)
    }

    fn literal_child(&self, parent: u32, text: &[u8]) -> Option<u32> {
        let hash = edge_hash(&self.hasher, parent, text);
        let found = self.edges.find(hash, |&index| {
            let node = self.node(index);
            node.parent == parent && node.level.text() == text
        });
        found.copied()
    }

    fn make(&mut self, parent: u32, text: &str) -> u32 {
        let level = Level::of(text);
        let node = Node { parent, children: 0, plus: NONE, hash: NONE, level, value: T::default() };
        let made = if let Some(index) = self.free.pop() {
            *self.node_mut(index) = node;
            index
        } else {
            self.nodes.push(node);
            to_index(self.nodes.len() - 1)
        };
        let above = self.node_mut(parent);
        above.children += 1;
        match text {
            "+" => above.plus = made,
            "#" => above.hash = made,
            text => {
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                self.edges.insert_unique(edge_hash(hasher, parent, text.as_bytes()), made, |&index| {
                    let node = &nodes[to_usize(index)];
                    edge_hash(hasher, node.parent, node.level.text())
                });
            }
        }
        made
    }

    fn node(&self, index: u32) -> &Node<T> {
        &self.nodes[to_usize(index)]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node<T> {
        &mut self.nodes[to_usize(index)]
    }
}

/// Whether a value is as good as none.
pub trait Vacant {
    /// Whether nothing is here.
    fn is_vacant(&self) -> bool;
}

impl Level {
    /// As much as fits beside the length and the tag into the space that a long text takes.
    const SHORT: usize = 22;

    fn of(text: &str) -> Self {
        match text {
            "+" => Self::Plus,
            "#" => Self::Hash,
            text => {
                let mut bytes = [0; Self::SHORT];
                match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
                    (Some(start), Ok(len)) => {
                        start.copy_from_slice(text.as_bytes());
                        Self::Short(len, bytes)
                    }
                    _ => Self::Long(Box::from(text)),
                }
            }
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Self::Plus => b"+",
            Self::Hash => b"#",
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

fn edge_hash(hasher: &FixedState, parent: u32, text: &[u8]) -> u64 {
    hasher.hash_one((parent, text))
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
        assert_eq!(tree.edges.len(), 0);
        let key = tree.insert(&TopicFilter::parse("a/b").unwrap());
        assert_eq!(tree.filter_text(key), "a/b");
    }
}
