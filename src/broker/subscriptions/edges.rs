//! The way from a node of the filter tree to its literal children: one table for all nodes.
//!
//! It holds a part of each edge's hash beside the child, so that a look into it comes to one node, the right one, and
//! mostly to one line of the processor's cache; with a million filters these lines are what a match costs. It grows
//! without a look at any node.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Literal children of all nodes, by parent and level. Open addressing with linear probing.
#[derive(Debug)]
pub(super) struct Edges {
    hasher: FixedState,
    /// None, or a power of two of them.
    slots: Vec<Slot>,
    len: usize,
}

/// What is looked up: the hash of parent and level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge(u32);

#[derive(Debug, Clone, Copy)]
struct Slot {
    edge: Edge,
    /// [`Slot::FREE`] or the child.
    child: u32,
}

impl Slot {
    const FREE: u32 = u32::MAX;
    const EMPTY: Self = Self { edge: Edge(0), child: Self::FREE };
}

impl Edges {
    const FIRST: usize = 16;

    /// No edges; `seed` keys the hashes, and no client knows it.
    pub(super) fn new(seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(seed), slots: Vec::new(), len: 0 }
    }

    /// What to look for below `parent`.
    pub(super) fn edge(&self, parent: u32, level: &[u8]) -> Edge {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(level);
        let [_, _, _, _, bytes @ ..] = hasher.finish().to_le_bytes();
        Edge(u32::from_le_bytes(bytes))
    }

    /// The child at the end of this edge; `is_child` tells it from others whose edges have the same hash.
    pub(super) fn find(&self, edge: Edge, is_child: impl Fn(u32) -> bool) -> Option<u32> {
        let place = self.place(edge, is_child)?;
        Some(self.slots[place].child)
    }

    /// Adds an edge that is not there.
    pub(super) fn insert(&mut self, edge: Edge, child: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let grown = vec![Slot::EMPTY; (self.slots.len() * 2).max(Self::FIRST)];
            for slot in std::mem::replace(&mut self.slots, grown) {
                if slot.child != Slot::FREE {
                    self.put(slot);
                }
            }
        }
        self.put(Slot { edge, child });
        self.len += 1;
    }

    /// Lets an edge lead from `old` to `new`.
    pub(super) fn redirect(&mut self, edge: Edge, old: u32, new: u32) {
        if let Some(place) = self.place(edge, |child| child == old) {
            self.slots[place].child = new;
        }
    }

    /// Removes the edge to a child.
    pub(super) fn remove(&mut self, edge: Edge, child: u32) {
        let Some(mut gap) = self.place(edge, |there| there == child) else { return };
        self.len -= 1;
        // Whoever stands behind the gap, and would have come to it on the way, moves up: no way has a gap in it.
        let mut next = self.behind(gap);
        while self.slots[next].child != Slot::FREE {
            let home = self.home(self.slots[next].edge);
            if self.distance(home, next) >= self.distance(gap, next) {
                self.slots[gap] = self.slots[next];
                gap = next;
            }
            next = self.behind(next);
        }
        self.slots[gap] = Slot::EMPTY;
        if self.len == 0 {
            self.slots = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, edge: Edge, is_child: impl Fn(u32) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut place = self.home(edge);
        loop {
            let slot = self.slots[place];
            if slot.child == Slot::FREE {
                return None;
            }
            if slot.edge == edge && is_child(slot.child) {
                return Some(place);
            }
            place = self.behind(place);
        }
    }

    fn put(&mut self, slot: Slot) {
        let mut place = self.home(slot.edge);
        while self.slots[place].child != Slot::FREE {
            place = self.behind(place);
        }
        self.slots[place] = slot;
    }

    /// Where the way of an edge begins.
    fn home(&self, edge: Edge) -> usize {
        usize::try_from(edge.0).unwrap_or(usize::MAX) & (self.slots.len() - 1)
    }

    fn behind(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_added_is_found_until_it_is_removed() {
        let mut edges = Edges::new(3);
        let mut model = BTreeMap::new();
        let mut state = 1_u64;
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let parent = u32::try_from(state >> 54).unwrap();
            // Few hashes, so that many ways cross and pass the end of the table.
            let edge = Edge(edges.edge(parent, b"level").0 | 0xFFFF_FF00);
            if let Some(child) = model.remove(&parent) {
                assert_eq!(edges.find(edge, |there| there == child), Some(child));
                edges.redirect(edge, child, child + 1);
                assert_eq!(edges.find(edge, |there| there == child), None);
                edges.remove(edge, child + 1);
                assert_eq!(edges.find(edge, |there| there == child + 1), None);
            } else {
                edges.insert(edge, 2 * step);
                model.insert(parent, 2 * step);
            }
            assert_eq!(edges.len, model.len());
            if step % 500 == 0 {
                for (parent, child) in &model {
                    let edge = Edge(edges.edge(*parent, b"level").0 | 0xFFFF_FF00);
                    assert_eq!(edges.find(edge, |there| there == *child), Some(*child));
                }
            }
        }
    }

    #[test]
    fn a_table_without_edges_holds_no_memory() {
        let mut edges = Edges::new(3);
        let edge = edges.edge(0, b"a");
        assert_ne!(edge, edges.edge(1, b"a"));
        edges.insert(edge, 7);
        edges.remove(edge, 7);
        assert_eq!((edges.slots.capacity(), edges.len), (0, 0));
    }
}
