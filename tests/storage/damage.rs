//! Damage that nobody has thought of.

use crate::splitmix::SplitMix;

#[path = "../../fuzz/properties/storage.rs"]
mod property;

#[test]
fn any_damage_leaves_what_is_not_damaged() {
    for seed in 0..3_000 {
        let mut random = SplitMix::new(seed);
        let bytes: Vec<u8> = (0..5 * (1 + random.below(5))).map(|_| random.byte()).collect();
        let result = std::panic::catch_unwind(|| property::check(&bytes));
        assert!(result.is_ok(), "seed {seed}: {bytes:?}");
    }
}
