//! All topic filters as one tree of levels, so that a match costs levels and not subscriptions.
//!
//! Nodes live in a slab. The literal children of all nodes are in one hash table, keyed by parent and interned
//! level; the two wildcards have places of their own in the node. Texts of levels are interned: each is kept once.

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
    level: u32,
    /// Literal children, and the wildcard ones: a node with none and without a value goes.
    children: u32,
    plus: u32,
    hash: u32,
    value: T,
}

/// A map from topic filters to values, looked up by topic names.
///
/// An empty value (`T::default()`) is no value: nodes that hold none and lead to none are removed.
#[derive(Debug)]
pub struct FilterTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    /// Indexes of nodes by parent and level.
    edges: HashTable<u32>,
    levels: Levels,
    hasher: FixedState,
    path: Vec<u32>,
    pending: Vec<(u32, usize)>,
}

impl<T: Default + Vacant> FilterTree<T> {
    /// An empty tree whose hash tables are keyed with `seed`, which no client knows.
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let root =
            Node { parent: NONE, level: NONE, children: 0, plus: NONE, hash: NONE, value: T::default() };
        Self {
            nodes: vec![root],
            free: Vec::new(),
            edges: HashTable::new(),
            levels: Levels::default(),
            hasher,
            path: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Where `filter` ends, if it is in the tree.
    pub fn find(&self, filter: &TopicFilter) -> Option<NodeKey> {
        let mut node = ROOT;
        for text in filter.levels() {
            node = match text {
                "+" => self.node(node).plus,
                "#" => self.node(node).hash,
                text => self.child(node, self.levels.find(text, &self.hasher)?)?,
            };
            if node == NONE {
                return None;
            }
        }
        Some(NodeKey(node))
    }

    /// The place of `filter`, made if it is not there. Whoever makes a place and leaves it empty calls
    /// [`prune`](Self::prune).
    pub fn insert(&mut self, filter: &TopicFilter) -> NodeKey {
        let mut node = ROOT;
        for text in filter.levels() {
            node = match text {
                "+" => match self.node(node).plus {
                    NONE => {
                        let made = self.make(node, NONE);
                        self.node_mut(node).plus = made;
                        made
                    }
                    there => there,
                },
                "#" => match self.node(node).hash {
                    NONE => {
                        let made = self.make(node, NONE);
                        self.node_mut(node).hash = made;
                        made
                    }
                    there => there,
                },
                text => {
                    let level = self.levels.find(text, &self.hasher);
                    match level.and_then(|level| self.child(node, level)) {
                        Some(there) => there,
                        None => self.make_literal(node, text),
                    }
                }
            };
        }
        NodeKey(node)
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
            let (parent, level) = (node.parent, node.level);
            if level == NONE {
                let above = self.node_mut(parent);
                if above.plus == index {
                    above.plus = NONE;
                } else {
                    above.hash = NONE;
                }
            } else {
                let hash = edge_hash(&self.hasher, parent, level);
                if let Ok(entry) = self.edges.find_entry(hash, |&other| other == index) {
                    entry.remove();
                }
                self.levels.release(level, &self.hasher);
            }
            self.node_mut(parent).children -= 1;
            self.free.push(index);
            index = parent;
        }
    }

    /// The filter that ends at a place.
    pub fn filter_text(&self, key: NodeKey) -> String {
        let mut texts = Vec::new();
        let mut index = key.0;
        while index != ROOT {
            let node = self.node(index);
            texts.push(if node.level != NONE {
                self.levels.text(node.level)
            } else if self.node(node.parent).plus == index {
                "+"
            } else {
                "#"
            });
            index = node.parent;
        }
        texts.reverse();
        texts.join("/")
    }

    /// Calls `found` with the value of each filter that matches the topic `name` (MQTT 5.0 section 4.7).
    ///
    /// No recursion, so that no name of many levels can exhaust the stack, and no allocation once the scratch space
    /// has grown.
    pub fn matching(&mut self, name: &str, mut found: impl FnMut(NodeKey, &T)) {
        let mut path = std::mem::take(&mut self.path);
        let mut pending = std::mem::take(&mut self.pending);
        path.clear();
        path.extend(name.split('/').map(|text| self.levels.find(text, &self.hasher).unwrap_or(NONE)));
        // [MQTT-4.7.2-1]: a filter that begins with a wildcard does not match a name that begins with $.
        let hidden = name.starts_with('$');
        pending.push((ROOT, 0));
        while let Some((index, depth)) = pending.pop() {
            let node = self.node(index);
            if node.hash != NONE && !(hidden && depth == 0) {
                // [MQTT-4.7.1-2]: '#' matches its parent level too.
                found(NodeKey(node.hash), &self.node(node.hash).value);
            }
            let Some(&level) = path.get(depth) else {
                found(NodeKey(index), &node.value);
                continue;
            };
            if node.plus != NONE && !(hidden && depth == 0) {
                pending.push((node.plus, depth + 1));
            }
            if level != NONE
                && let Some(child) = self.child(index, level)
            {
                pending.push((child, depth + 1));
            }
        }
        self.path = path;
        self.pending = pending;
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

    fn make_literal(&mut self, parent: u32, text: &str) -> u32 {
        let level = self.levels.acquire(text, &self.hasher);
        let made = self.make(parent, level);
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.edges.insert_unique(edge_hash(hasher, parent, level), made, |&index| {
            let node = &nodes[to_usize(index)];
            edge_hash(hasher, node.parent, node.level)
        });
        made
    }

    fn make(&mut self, parent: u32, level: u32) -> u32 {
        self.node_mut(parent).children += 1;
        let node = Node { parent, level, children: 0, plus: NONE, hash: NONE, value: T::default() };
        if let Some(index) = self.free.pop() {
            *self.node_mut(index) = node;
            index
        } else {
            self.nodes.push(node);
            to_index(self.nodes.len() - 1)
        }
    }

    fn child(&self, parent: u32, level: u32) -> Option<u32> {
        let hash = edge_hash(&self.hasher, parent, level);
        let found = self.edges.find(hash, |&index| {
            let node = self.node(index);
            node.parent == parent && node.level == level
        });
        found.copied()
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

/// The texts of levels, each once.
#[derive(Debug, Default)]
struct Levels {
    texts: Vec<Level>,
    free: Vec<u32>,
    table: HashTable<u32>,
}

#[derive(Debug)]
struct Level {
    text: Box<str>,
    /// How many nodes use it.
    uses: u32,
}

impl Levels {
    fn find(&self, text: &str, hasher: &FixedState) -> Option<u32> {
        self.table.find(hasher.hash_one(text), |&index| self.text(index) == text).copied()
    }

    fn text(&self, index: u32) -> &str {
        &self.texts[to_usize(index)].text
    }

    fn acquire(&mut self, text: &str, hasher: &FixedState) -> u32 {
        if let Some(index) = self.find(text, hasher) {
            self.texts[to_usize(index)].uses += 1;
            return index;
        }
        let level = Level { text: Box::from(text), uses: 1 };
        let index = if let Some(index) = self.free.pop() {
            self.texts[to_usize(index)] = level;
            index
        } else {
            self.texts.push(level);
            to_index(self.texts.len() - 1)
        };
        let texts = &self.texts;
        self.table.insert_unique(hasher.hash_one(text), index, |&other| {
            hasher.hash_one(&*texts[to_usize(other)].text)
        });
        index
    }

    fn release(&mut self, index: u32, hasher: &FixedState) {
        let level = &mut self.texts[to_usize(index)];
        level.uses -= 1;
        if level.uses > 0 {
            return;
        }
        let hash = hasher.hash_one(&*level.text);
        level.text = Box::from("");
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.free.push(index);
    }
}

fn edge_hash(hasher: &FixedState, parent: u32, level: u32) -> u64 {
    hasher.hash_one((u64::from(parent) << 32) | u64::from(level))
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
        let filters = ["a/b/c", "a/+/c", "a/#", "+", "x/y/z/+/#"];
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
        assert_eq!(tree.levels.table.len(), 0);
        assert_eq!(tree.edges.len(), 0);
        let key = tree.insert(&TopicFilter::parse("a/b").unwrap());
        assert_eq!(tree.filter_text(key), "a/b");
    }
}
