//! Where all that is left to chance comes from: a seed, or bytes that a fuzzer made.
//!
//! A simulation asks one [`Choices`] for every decision, so that the seed, or the bytes, are the whole run.

/// A source of decisions. The first of several possibilities is the harmless one: it is what comes of bytes that have
/// run out.
#[derive(Debug, Clone)]
pub(crate) enum Choices<'a> {
    Seeded(Xoshiro256),
    Given(&'a [u8]),
}

impl<'a> Choices<'a> {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self::Seeded(Xoshiro256::new(seed))
    }

    pub(crate) const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self::Given(bytes)
    }

    /// Whether there is nothing left to decide by. A seed never ends.
    pub(crate) const fn are_exhausted(&self) -> bool {
        match self {
            Self::Seeded(_) => false,
            Self::Given(bytes) => bytes.is_empty(),
        }
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.number(bound) % bound).unwrap()
    }

    /// A number from `range`, its end included.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        let span = range.end() - range.start() + 1;
        range.start() + self.number(span) % span
    }

    /// True in `of` out of `all` cases.
    pub(crate) fn chance(&mut self, of: usize, all: usize) -> bool {
        self.below(all) + of >= all
    }

    pub(crate) fn among<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    /// A number that is good for choosing one of `span`.
    fn number(&mut self, span: u64) -> u64 {
        match self {
            Self::Seeded(generator) => generator.next(),
            Self::Given(bytes) => {
                let wanted = if span <= 1 << 8 {
                    1
                } else if span <= 1 << 16 {
                    2
                } else {
                    8
                };
                let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
                *bytes = rest;
                taken.iter().fold(0, |number, &byte| (number << 8) | u64::from(byte))
            }
        }
    }
}

/// The generator xoshiro256** of Blackman and Vigna, seeded by splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Xoshiro256([u64; 4]);

impl Xoshiro256 {
    fn new(mut seed: u64) -> Self {
        Self([(); 4].map(|()| splitmix64(&mut seed)))
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
