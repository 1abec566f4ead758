//! Bytes on their way out.

use std::io::IoSlice;
use std::mem;

use bytes::{Buf, Bytes};

/// Bytes to be written, in order. Small parts are copied together; large payloads are only referred to, so that a
/// vectored write sends them without a copy.
#[derive(Debug, Default)]
pub struct Transmit {
    copied: Vec<u8>,
    /// How much of `copied` has been written.
    written: usize,
    /// In ascending order of `at`.
    payloads: Vec<Payload>,
    /// How many of `payloads` have been written.
    payloads_written: usize,
}

#[derive(Debug)]
struct Payload {
    /// How much of `copied` goes before it.
    at: usize,
    bytes: Bytes,
}

impl Transmit {
    /// From this length on, a payload is not copied: an entry of a vectored write costs less than the copy.
    const BY_REFERENCE: usize = 4 << 10;
    /// The most that an emptied buffer goes on holding.
    const KEPT: usize = 256 << 10;

    /// Nothing to write.
    pub const fn new() -> Self {
        Self { copied: Vec::new(), written: 0, payloads: Vec::new(), payloads_written: 0 }
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.written == self.copied.len() && self.payloads_written == self.payloads.len()
    }

    /// The bytes that have not been written yet.
    pub fn len(&self) -> usize {
        self.copied.len() - self.written
            + self.payloads_left().iter().map(|payload| payload.bytes.len()).sum::<usize>()
    }

    /// The bytes of memory that it takes, without the payloads that it only refers to.
    pub fn memory(&self) -> usize {
        self.copied.capacity() + self.payloads.capacity() * size_of::<Payload>()
    }

    /// Gives back the room of what has been written, if that is most of it: where something is always left, it would
    /// grow without an end.
    pub fn compact(&mut self) {
        if self.written > Self::BY_REFERENCE && self.written > self.copied.len() / 2 {
            self.copied.drain(..self.written);
            for payload in &mut self.payloads {
                payload.at = payload.at.saturating_sub(self.written);
            }
            self.written = 0;
        }
        if self.payloads_written > 0 && self.payloads_written >= self.payloads.len() / 2 {
            self.payloads.drain(..self.payloads_written);
            self.payloads_written = 0;
        }
    }

    /// Whether all that is to be written lies in one piece.
    pub fn is_contiguous(&self) -> bool {
        self.payloads_left().is_empty()
    }

    /// The first bytes that have not been written, as far as they lie in one piece.
    pub fn front(&self) -> &[u8] {
        match self.payloads_left().first() {
            Some(payload) if payload.at == self.written => &payload.bytes,
            Some(payload) => self.copied.get(self.written..payload.at).unwrap_or_default(),
            None => self.copied.get(self.written..).unwrap_or_default(),
        }
    }

    /// Fills `slices` with what has not been written, as far as it goes. Returns how many were filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut at = self.written;
        let mut filled = 0;
        let mut free = slices.iter_mut();
        let mut push = |part: &'a [u8]| {
            if part.is_empty() {
                return true;
            }
            let Some(slice) = free.next() else { return false };
            *slice = IoSlice::new(part);
            filled += 1;
            true
        };
        for payload in self.payloads_left() {
            if !push(self.copied.get(at..payload.at).unwrap_or_default()) || !push(&payload.bytes) {
                return filled;
            }
            at = payload.at;
        }
        push(self.copied.get(at..).unwrap_or_default());
        filled
    }

    /// `count` bytes have been written.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(payload) = self.payloads.get_mut(self.payloads_written) {
            let before = count.min(payload.at - self.written);
            self.written += before;
            count -= before;
            let within = count.min(payload.bytes.len());
            payload.bytes.advance(within);
            count -= within;
            if self.written < payload.at || !payload.bytes.is_empty() {
                return;
            }
            self.payloads_written += 1;
        }
        self.written = self.copied.len().min(self.written + count);
    }

    /// Forgets everything; keeps room for more.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.copied.shrink_to(Self::KEPT);
        self.written = 0;
        self.payloads.clear();
        self.payloads_written = 0;
    }

    /// Moves what has not been written to a buffer of its own, of just that size.
    #[must_use]
    pub fn take_unwritten(&mut self) -> Self {
        let copied = self.copied.get(self.written..).unwrap_or_default().to_vec();
        let payloads = mem::take(&mut self.payloads)
            .into_iter()
            .skip(self.payloads_written)
            .map(|payload| Payload { at: payload.at - self.written, bytes: payload.bytes })
            .collect();
        self.clear();
        Self { copied, written: 0, payloads, payloads_written: 0 }
    }

    /// Where small parts are written to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Adds the payload of the packet whose head has just been written.
    pub(super) fn push_payload(&mut self, payload: &Bytes) {
        if payload.len() < Self::BY_REFERENCE {
            self.copied.extend_from_slice(payload);
        } else {
            self.payloads.push(Payload { at: self.copied.len(), bytes: payload.clone() });
        }
    }

    fn payloads_left(&self) -> &[Payload] {
        self.payloads.get(self.payloads_written..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<`, a large payload, `-`, a small payload, two large payloads in a row, `>`.
    fn mixed() -> (Transmit, Vec<u8>) {
        let large = |byte| Bytes::from(vec![byte; Transmit::BY_REFERENCE]);
        let mut transmit = Transmit::new();
        transmit.buffer().push(b'<');
        transmit.push_payload(&large(1));
        transmit.buffer().push(b'-');
        transmit.push_payload(&Bytes::from_static(b"small"));
        transmit.push_payload(&large(2));
        transmit.push_payload(&large(3));
        transmit.buffer().push(b'>');
        let mut expected = vec![b'<'];
        expected.extend_from_slice(&large(1));
        expected.extend_from_slice(b"-small");
        expected.extend_from_slice(&large(2));
        expected.extend_from_slice(&large(3));
        expected.push(b'>');
        (transmit, expected)
    }

    fn contents(transmit: &Transmit) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = transmit.fill(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn large_payloads_are_not_copied_and_keep_their_place() {
        let (transmit, expected) = mixed();
        assert_eq!(contents(&transmit), expected);
        assert_eq!(transmit.len(), expected.len());
        assert_eq!(transmit.copied.len(), b"<-small>".len());
        assert!(!transmit.is_contiguous());
    }

    #[test]
    fn whatever_is_written_at_a_time_the_rest_follows() {
        for step in [1, 2, 6, 7, 4_095, 4_096, 4_097, 9_000, 20_000] {
            let (mut transmit, expected) = mixed();
            let mut written = Vec::new();
            while !transmit.is_empty() {
                let before = contents(&transmit);
                assert!(before.starts_with(transmit.front()) && !transmit.front().is_empty());
                let count = step.min(before.len());
                written.extend_from_slice(&before[..count]);
                transmit.advance(count);
                assert_eq!(contents(&transmit), before[count..]);
                assert_eq!(transmit.len(), before.len() - count);
            }
            assert_eq!(written, expected, "step {step}");
        }
    }

    #[test]
    fn what_has_been_written_takes_no_room_though_something_is_always_left() {
        let mut transmit = Transmit::new();
        let large = Bytes::from(vec![7; Transmit::BY_REFERENCE]);
        let (mut added, mut written) = (Vec::new(), Vec::new());
        for round in 0..10_000_usize {
            transmit.compact();
            let small = vec![u8::try_from(round % 251).unwrap(); 900];
            transmit.buffer().extend_from_slice(&small);
            added.extend_from_slice(&small);
            if round.is_multiple_of(5) {
                transmit.push_payload(&large);
                added.extend_from_slice(&large);
            }
            let step = transmit.len().saturating_sub(5_000);
            written.extend_from_slice(&contents(&transmit)[..step]);
            transmit.advance(step);
            assert!(!transmit.is_empty() && transmit.memory() < 64 << 10, "{}", transmit.memory());
        }
        assert_eq!(written, added[..written.len()]);
        assert_eq!(contents(&transmit), added[written.len()..]);
    }

    #[test]
    fn what_is_not_written_can_be_taken_along() {
        for written in [0, 1, 100, 4_097, 4_098, 5_000, 12_000] {
            let (mut transmit, expected) = mixed();
            transmit.advance(written);
            let mut rest = transmit.take_unwritten();
            assert!(transmit.is_empty());
            assert_eq!(contents(&rest), expected[written..]);
            rest.advance(1);
            assert_eq!(contents(&rest), expected[written + 1..]);
        }
    }

    #[test]
    fn few_slices_hold_the_first_parts() {
        let (transmit, expected) = mixed();
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(transmit.fill(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), expected[..=Transmit::BY_REFERENCE].split_at(1));
    }
}
