//! Writing packets: what is written is said once, and counted before it is written.

use super::EncodeError;
use super::frame::{MAX_VARIABLE, variable_len};
use super::property::EncodeProperties;
use crate::mqtt::ProtocolVersion;

/// What bytes are written to: a buffer, or a [`Length`] that only counts them.
pub(crate) trait Sink: Sized {
    /// Appends these bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends properties, with their length before them.
    fn properties(&mut self, properties: &impl EncodeProperties) -> Result<(), EncodeError>;

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a Variable Byte Integer of at most four bytes, in the fewest \[MQTT-1.5.5-1\].
    fn variable(&mut self, mut value: u32) {
        while value > 0x7F {
            self.u8(low_seven_bits(value) | 0x80);
            value >>= 7;
        }
        self.u8(low_seven_bits(value));
    }

    /// Appends a UTF-8 Encoded String.
    fn text(&mut self, what: &'static str, text: &str) -> Result<(), EncodeError> {
        self.data(what, text.as_bytes())
    }

    /// Appends Binary Data.
    fn data(&mut self, what: &'static str, data: &[u8]) -> Result<(), EncodeError> {
        let len = u16::try_from(data.len()).map_err(|_| EncodeError { what })?;
        self.u16(len);
        self.put(data);
        Ok(())
    }
}

fn low_seven_bits(value: u32) -> u8 {
    let [.., low] = value.to_be_bytes();
    low & 0x7F
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn properties(&mut self, properties: &impl EncodeProperties) -> Result<(), EncodeError> {
        let mut length = Length::default();
        properties.encode_properties(&mut length)?;
        self.variable(length.checked("the properties")?);
        properties.encode_properties(self)
    }
}

/// Counts the bytes that would be written.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Length(pub(crate) usize);

impl Length {
    /// The length as a Variable Byte Integer's value, if it is not too large for one.
    pub(crate) fn checked(self, what: &'static str) -> Result<u32, EncodeError> {
        if self.0 > MAX_VARIABLE {
            return Err(EncodeError { what });
        }
        u32::try_from(self.0).map_err(|_| EncodeError { what })
    }
}

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn properties(&mut self, properties: &impl EncodeProperties) -> Result<(), EncodeError> {
        let mut length = Self::default();
        properties.encode_properties(&mut length)?;
        length.checked("the properties")?;
        self.0 += variable_len(length.0) + length.0;
        Ok(())
    }
}

/// A packet that can be written.
pub(crate) trait EncodePacket {
    /// The first byte: packet type and flags.
    fn first_byte(&self) -> u8;

    /// Writes what follows the fixed header.
    fn encode_body<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError>;

    /// Appends the packet to `out`. After an error `out` is as it was.
    fn append(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.append_before(0, version, out)
    }

    /// Appends the packet but for its last `payload_len` bytes, which the caller appends.
    fn append_before(
        &self,
        payload_len: usize,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let length = self.body_len(payload_len, version)?;
        let remaining = length.checked("the packet")?;
        out.reserve(1 + variable_len(length.0) + length.0 - payload_len);
        out.u8(self.first_byte());
        out.variable(remaining);
        self.encode_body(version, out)
    }

    /// The length of what follows the fixed header.
    fn body_len(&self, payload_len: usize, version: ProtocolVersion) -> Result<Length, EncodeError> {
        let mut length = Length(payload_len);
        self.encode_body(version, &mut length)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_variable_byte_integers_in_their_shortest_form() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (321, &[0xC1, 0x02]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            out.variable(value);
            assert_eq!(out, bytes, "{value}");
            let mut length = Length::default();
            length.variable(value);
            assert_eq!(length.0, bytes.len());
        }
    }

    #[test]
    fn refuses_what_two_bytes_of_length_cannot_say() {
        let longest = vec![b'x'; 65_535];
        let mut out = Vec::new();
        assert_eq!(out.data("it", &longest), Ok(()));
        assert_eq!(out.len(), 65_537);
        let longer = vec![b'x'; 65_536];
        assert_eq!(out.data("it", &longer), Err(EncodeError { what: "it" }));
        assert_eq!(Length(MAX_VARIABLE).checked("it"), Ok(268_435_455));
        assert_eq!(Length(MAX_VARIABLE + 1).checked("it"), Err(EncodeError { what: "it" }));
    }
}
