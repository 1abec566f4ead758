//! What happened: a hash of every byte that clients have read, always; and lines to read, where they are wanted.

use mqtt_broker::clock::Instant;

#[derive(Debug)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
    hash: u64,
    step: usize,
    now: Instant,
}

impl Trace {
    /// A trace that only hashes, or one that can be read afterwards.
    pub(crate) fn new(is_readable: bool) -> Self {
        /// Where the FNV-1a hash begins.
        const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
        Self { lines: is_readable.then(Vec::new), hash: OFFSET_BASIS, step: 0, now: Instant::START }
    }

    pub(crate) const fn at(&mut self, step: usize, now: Instant) {
        self.step = step;
        self.now = now;
    }

    pub(crate) const fn step(&self) -> usize {
        self.step
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!(
                "{:>4} {:>12.6}s  {}",
                self.step,
                self.now.since_start().as_secs_f64(),
                line()
            ));
        }
    }

    pub(crate) fn hash(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01B3;
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.hash
    }

    /// The last so many lines.
    pub(crate) fn last(&self, count: usize) -> &[String] {
        let lines = self.lines.as_deref().unwrap_or_default();
        &lines[lines.len().saturating_sub(count)..]
    }
}
