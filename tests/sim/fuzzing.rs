//! The fuzz targets: what each makes of its bytes. The fuzzer calls these, and so does `cargo test`, over the corpus.

use crate::arb::Choices;
use crate::trace::Trace;
use crate::world::World;
use crate::{matching, split};

/// Subscriptions and retained messages against looking at each.
pub(crate) fn trie(bytes: &[u8]) {
    matching::check(&mut Choices::from_bytes(bytes), 1_000);
}

/// The first eight bytes say where the others are cut.
pub(crate) fn connection_split(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len().min(8));
    split::check(stream, &mut Choices::from_bytes(cuts));
}

/// A whole simulation: what happens, and to whom.
pub(crate) fn broker_ops(bytes: &[u8]) {
    World::new(Choices::from_bytes(bytes), Trace::new(false)).run(2_000);
}
