//! How the parts of a record are written as bytes: numbers in as few bytes as they need (LEB128), text and data
//! behind their length.

use std::fmt;

use crate::mqtt::{PacketId, SubscriptionIdentifier};

/// The bytes of a record do not say what records say. With a whole checksum this is a fault of whoever wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed record: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        out.push(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven_bits(value));
}

fn low_seven_bits(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low & 0x7F
}

pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_number(out, u64::try_from(length).unwrap_or(u64::MAX));
}

pub(super) fn put_data(out: &mut Vec<u8>, data: &[u8]) {
    put_length(out, data.len());
    out.extend_from_slice(data);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_data(out, text.as_bytes());
}

/// Takes the parts of a record from its front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too large"))
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed("a number is too large"))
    }

    pub(super) fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.small()?;
        let (data, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(data)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.data()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, Malformed> {
        PacketId::new(self.small()?).ok_or(Malformed("a packet identifier is 0"))
    }

    pub(super) fn identifier(&mut self) -> Result<SubscriptionIdentifier, Malformed> {
        SubscriptionIdentifier::new(self.small()?).ok_or(Malformed("no subscription identifier"))
    }

    /// How many things follow, each of at least one byte: never more than there are bytes.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.small()?;
        if count > self.0.len() { Err(Malformed("it ends too early")) } else { Ok(count) }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("it is longer than what it holds")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            let mut parts = Parts(&out);
            assert_eq!(parts.number(), Ok(value));
            assert_eq!(parts.finish(), Ok(()));
        }
    }

    #[test]
    fn a_number_too_large_and_a_length_too_long_are_refused() {
        assert_eq!(Parts(&[0xFF; 11]).number(), Err(Malformed("a number is too large")));
        assert_eq!(Parts(&[5, 1, 2]).data(), Err(Malformed("it ends too early")));
        assert_eq!(Parts(&[200, 1, 2]).count(), Err(Malformed("it ends too early")));
    }
}
